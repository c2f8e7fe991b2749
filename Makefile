# make book · make test. Each sets itself up from nothing but Python ≥ 3.11; CONTRIBUTING.md has the rest.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= demo
PORT ?= 8000
SHARE ?= 1
# "cpu" keeps torch at 200 MB; TORCH_BACKEND=auto takes the CUDA build that fits this machine's driver (3 GB).
TORCH_BACKEND ?= cpu
UV_VERSION := 0.13.8
# Torch is pinned by its version alone: its CPU builds come from an index of their own, with other hashes.
TORCH := $(shell grep -oE 'torch==[0-9.]+' pyproject.toml)
# A torch wheel that pip was already pointed to (PIP_FIND_LINKS) is taken as it is.
LOCAL_TORCH := $(wildcard $(addsuffix /torch-*.whl,$(PIP_FIND_LINKS)))
UV_TORCH := $(if $(LOCAL_TORCH),--find-links $(PIP_FIND_LINKS),--torch-backend $(TORCH_BACKEND))
BIN := $(VENV)/bin
# The environment of the book; a class and jobs on a cluster want more, slides, tests and linting more than the latter.
READY := $(VENV)/.ready
CLASS := $(VENV)/.ready-class
CLUSTER := $(VENV)/.ready-cluster
TESTS := $(VENV)/.ready-test
# --no-build: what is built from source would bring build tools that no lock knows.
INSTALL := $(BIN)/uv pip install --python $(BIN)/python
LOCKED := $(INSTALL) --no-deps --no-build --require-hashes -r
# One package of the cluster has no wheel: the locked setuptools builds it.
BUILD_ONE := --only-binary :all: --no-binary connection-pool --no-build-isolation
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --no-header --no-annotate --quiet

# A Python without it compiles torch, pandas and all the others in every notebook's process, for ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Of two locks the second, without what is in the first.
BESIDES := awk 'NR == FNR {if (/^[^ ]/) known[$$1]; next} /^[^ ]/ {keep = !($$1 in known)} keep'

.PHONY: book class test smoke slides serve env env-class env-cluster env-test lint lock licences bench attack clean
.DELETE_ON_ERROR:

book: $(READY)  ## run the study (PROFILE=demo) and render the book
	$(BIN)/ecgstudy book --profile $(PROFILE)

class: $(CLASS)  ## the students' notebooks in JupyterLab
	$(BIN)/ecgstudy course notebooks handout
	$(BIN)/jupyter lab handout

test: $(TESTS)  ## the whole suite, a process for each core
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

smoke: $(READY)  ## every notebook and page in a few minutes, as CI does
	$(BIN)/ecgstudy book --profile smoke

slides: $(TESTS)  ## the slides of the course, from the book of PROFILE, with a PDF of each deck
	$(BIN)/ecgstudy course slides --profile $(PROFILE)

serve: $(READY)  ## show the built book on localhost
	$(BIN)/ecgstudy serve --profile $(PROFILE) --port $(PORT)

bench: $(READY)  ## measure speed, write results/bench.json
	$(BIN)/python -m ecgstudy.bench

attack: $(READY)  ## changed files, servers that do wrong, kills: hours; SHARE=0.01 is quick; writes results/attack.json
	$(BIN)/python -m tests.attack --share $(SHARE)

lint: $(TESTS)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

env: $(READY)
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	    f"ecgstudy needs Python 3.11 or newer, and {sys.executable} is {v.major}.{v.minor}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-uv.lock
	$(LOCKED) requirements.lock
	$(INSTALL) --no-build --constraints requirements.lock $(UV_TORCH) $(TORCH)
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

env-cluster: $(CLUSTER)  ## with Snakemake and what sends its jobs to SLURM and Kubernetes
$(CLUSTER): $(READY) requirements-cluster.lock
	$(LOCKED:--no-build=$(BUILD_ONE)) requirements-cluster.lock
	@touch $@

env-class: $(CLASS)  ## with JupyterLab
$(CLASS): $(READY) requirements-class.lock
	$(LOCKED) requirements-class.lock
	@touch $@

env-test: $(TESTS)
$(TESTS): $(CLUSTER) requirements-test.lock
	$(LOCKED) requirements-test.lock
	@touch $@

# What only CUDA builds of torch want is left out: such a build brings the exact packages it needs. So is a grammar
# of addresses, which JupyterLab can do without: each process that imports nbformat would parse it, for seconds.
lock: $(TESTS)  ## pin the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade --extra devices pyproject.toml -o requirements-all.new
	awk '/^[^ ]/ {keep = !/^(nvidia-|cuda-|triton|torch=)/} keep' requirements-all.new > requirements.lock
	$(COMPILE) --upgrade --extra devices --extra cluster --constraint requirements-all.new pyproject.toml \
	    -o requirements-cluster.new
	$(BESIDES) requirements-all.new requirements-cluster.new > requirements-cluster.lock
	$(COMPILE) --upgrade --all-extras --constraint requirements-cluster.new pyproject.toml -o requirements-every.new
	$(COMPILE) --extra devices --extra class --constraint requirements-every.new pyproject.toml -o requirements-class.new
	$(BESIDES) requirements-all.new requirements-class.new \
	    | awk '/^[^ ]/ {keep = !/^(lark|rfc3987-syntax)=/} keep' > requirements-class.lock
	$(COMPILE) --extra devices --extra cluster --extra slides --extra test --constraint requirements-every.new \
	    pyproject.toml -o requirements-test.new
	$(BESIDES) requirements-cluster.new requirements-test.new > requirements-test.lock
	rm requirements-*.new
	echo uv==$(UV_VERSION) | $(COMPILE) - -o requirements-uv.lock
	$(BIN)/python -m tests.test_environment > environment.yml

licences: $(CLASS) $(TESTS)  ## write book/licences.md: what each installed package may be used under
	$(BIN)/python -m tests.test_environment licences > book/licences.md

clean:  ## the built book and the caches; .venv, data/ and results/ stay
	rm -rf _build .cache
