# make book · make test. Each sets itself up from nothing but Python ≥ 3.11; CONTRIBUTING.md has the rest.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= demo
PORT ?= 8000
# "cpu" keeps torch at 200 MB; TORCH_BACKEND=auto takes the CUDA build that fits this machine's driver (3 GB).
TORCH_BACKEND ?= cpu
UV_VERSION := 0.13.8
# A torch wheel that pip was already pointed to (PIP_FIND_LINKS) is taken as it is.
LOCAL_TORCH := $(wildcard $(addsuffix /torch-*.whl,$(PIP_FIND_LINKS)))
UV_TORCH := $(if $(LOCAL_TORCH),--find-links $(PIP_FIND_LINKS),--torch-backend $(TORCH_BACKEND))
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: book test smoke serve env lint lock bench clean
.DELETE_ON_ERROR:

book: $(READY)  ## run the study (PROFILE=demo) and render the book
	$(BIN)/ecgstudy book --profile $(PROFILE)

test: $(READY)  ## the whole suite
	$(BIN)/python -m pytest

smoke: $(READY)  ## every notebook and page in a few minutes, as CI does
	$(BIN)/ecgstudy book --profile smoke

serve: $(READY)  ## show the built book on localhost
	$(BIN)/ecgstudy serve --profile $(PROFILE) --port $(PORT)

bench: $(READY)  ## measure speed, write results/bench.json
	$(BIN)/python -m ecgstudy.bench

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify notebooks/*.ipynb

env: $(READY)
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	    f"ecgstudy needs Python 3.11 or newer, and {sys.executable} is {v.major}.{v.minor}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python $(UV_TORCH) -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# CUDA's own packages are left out of the lock: a CUDA build of torch names the exact ones it needs.
lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
	    --fork-strategy fewest --no-header --no-annotate --quiet \
	  | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock.new
	mv requirements.lock.new requirements.lock
	$(BIN)/python -m tests.test_environment > environment.yml

clean:  ## the built book and the caches; .venv, data/ and results/ stay
	rm -rf _build .cache
