"""Locks, their conda face, the package. ``python -m tests.test_environment`` writes what follows from them."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ecgstudy import cli, paths
from ecgstudy.data import audit
from ecgstudy.paths import REPOSITORY, RESULTS, listed
from ecgstudy.studies import claims, explanations, leaderboard

LOCKS = tuple(f"requirements{name}.lock" for name in ("", "-class", "-cluster", "-test", "-uv"))


def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def torch():
    """The pin of torch, which stands in no lock: its CPU builds have other hashes."""
    (pin,) = [d for d in project()["dependencies"] if d.startswith("torch")]
    return pin


def pins(name):
    """``name==version ; marker`` of every package in a lock, and how many hashes follow it."""
    text = (REPOSITORY / name).read_text(encoding="utf-8").replace("\\\n", "")
    found = {}
    for line in text.splitlines():
        pin, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        found[pin] = sum(bool(re.fullmatch("[0-9a-f]{64}", h)) for h in hashes)
    return found


def split(pin):
    """Name and version of a pin."""
    return re.match(r"([\w.-]+)==([^ ;]+)", pin).groups()


def lock(*names):
    """Name → version of every pin of the locks (default: the book's), and of torch."""
    return dict(split(pin) for pin in [*(pin for name in names or LOCKS[:1] for pin in pins(name)), torch()])


def conda_face():
    """The text of environment.yml: Python from conda, all else and the package itself through pip."""
    head = [
        "# The pins of requirements.lock for conda: conda env create -f environment.yml. Written by `make lock`.",
        "name: ecgstudy",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
        "      - --extra-index-url https://download.pytorch.org/whl/cpu",
    ]
    lines = [*sorted([*pins("requirements.lock"), torch()]), "--editable ."]
    return "\n".join([*head, *(f'      - "{line}"' if ";" in line else f"      - {line}" for line in lines), ""])


def plain(name):
    """A package's name as locks spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licences():
    """The text of book/licences.md: the packages of all environments and what each may be used under."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout)
    named = {plain(package["Name"]): package for package in found}
    text = [
        "# Licences of what the study stands on",
        "",
        "The packages that `make book`, `make env-class`, `make env-cluster` and `make test` install on Linux, each",
        "with the licence that it states for itself. The command `make licences` writes this page. `LICENSE` has the",
        "study's own licence, `data_manifest.yaml` those of the recordings. [Real ECGs that come with the",
        "book](real_records.md) have the licences that their page names.",
    ]
    titles = ("The book", "A class, besides", "Jobs on a cluster, besides", "Slides, tests and linting, besides")
    for title, name in zip(titles, LOCKS, strict=False):
        packages = lock() if name == LOCKS[0] else dict(map(split, pins(name)))
        text += ["", f"## {title}", "", "| package | version | licence |", "|---|---|---|"]
        for name in sorted(packages.keys() & named.keys()):  # others are of other systems
            licence = named[name]["License"].splitlines()[0].replace("|", "/")
            if licence == "UNKNOWN":  # stated in its file of the licence alone
                files = importlib.metadata.distribution(name).files or []
                licence = next(f.read_text() for f in files if f.name == "LICENSE").splitlines()[0]
            text.append(f"| {name} | {named[name]['Version'].split('+')[0]} | {licence} |")
    return "\n".join([*text, ""])


def imported():
    """Names of the modules that the package and the notebooks import, Python's own left out."""
    sources = [path.read_text(encoding="utf-8") for path in listed(REPOSITORY / "ecgstudy", "**/*.py")]
    for path in listed(REPOSITORY / "notebooks", "*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    whole = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    parts = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in whole | parts} - sys.stdlib_module_names


def test_environment_yml_holds_the_pins_of_the_lock_and_the_package():
    assert (REPOSITORY / "environment.yml").read_text(encoding="utf-8") == conda_face()
    pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    found = dict(split(line) for line in pip if not line.startswith("--"))
    assert found == lock()
    assert pip[-1] == "--editable ."


def test_every_dependency_is_pinned():
    extras = project()["optional-dependencies"]
    names = {re.match(r"[\w.-]+", d).group().lower() for d in project()["dependencies"] + extras["devices"]}
    assert names <= set(lock())
    for extra, of in (("class", "class"), ("cluster", "cluster"), ("slides", "test"), ("test", "test")):
        names = {re.match(r"[\w.-]+", d).group().lower() for d in extras[extra]}
        assert names <= set(lock(f"requirements-{of}.lock"))


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name):
    assert pins(name)
    assert not [pin for pin, hashes in pins(name).items() if not hashes]


def test_what_only_a_class_a_cluster_or_tests_want_is_not_in_the_books_environment():
    names = [split(pin)[0] for lock_ in LOCKS[:1] + LOCKS[2:4] for pin in pins(lock_)]
    assert len(set(names)) == len(names)
    assert "jupyterlab" not in lock() and "jupyterlab" in lock("requirements-class.lock")
    for name in ("snakemake", "kubernetes", "pulp"):
        assert name not in lock() and name in lock("requirements-cluster.lock")
    for name in ("quantus", "opencv-python", "scikit-image", "playwright", "hypothesis", "ruff", "pytest"):
        assert name not in lock() and name in lock("requirements-test.lock")


def test_the_makefile_installs_the_locked_uv():
    (stated,) = re.findall(r"^UV_VERSION := (\S+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    assert lock("requirements-uv.lock")["uv"] == stated


def test_no_cuda_in_the_lock():
    assert not [name for name in lock(*LOCKS) if name.startswith(("nvidia", "cuda", "triton"))]


def test_what_is_installed_is_what_is_pinned():
    for name in ("numpy", "torch", "jupyter-book", "papermill", "wfdb"):
        assert version(name).split("+")[0] == lock()[name]


def test_actions_are_pinned_by_their_commit():
    for workflow in (REPOSITORY / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", workflow.read_text(encoding="utf-8")):
            assert re.search(r"@[0-9a-f]{40}$", action), f"{workflow.name}: {action}"


def test_the_page_of_licences_names_every_package():
    text = (REPOSITORY / "book" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| (\d\S*) \| [^|]{2,}\|$", text, re.M))
    here = [pin for name in LOCKS[:4] for pin in pins(name) if ";" not in pin]  # a marker: not on every system
    assert rows.items() >= dict(map(split, [*here, torch()])).items()
    assert rows.keys() <= lock(*LOCKS[:4]).keys()
    assert "UNKNOWN" not in text


def test_what_is_imported_is_declared_for_the_book_or_its_slides():
    found = packages_distributions()
    stated = project()["dependencies"] + project()["optional-dependencies"]["slides"]
    declared = {plain(re.match(r"[\w.-]+", d).group()) for d in stated}
    optional = {"torch_ecg", "deepecgkit"}  # of one bench each, which says so
    lacking = {m for m in imported() - optional - {"ecgstudy"} if not declared & set(map(plain, found.get(m, ())))}
    assert not lacking


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package from a wheel that was built from a source archive, in a folder without a checkout around it."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for pattern in ("*", "ecgstudy/**/*", "notebooks/**/*"):
        for path in filter(Path.is_file, listed(REPOSITORY, pattern)):
            target = source / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())

    def built(kind, place):
        code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
        said = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, check=True, text=True)
        return folder / said.stdout.split()[-1]

    with tarfile.open(built("sdist", source)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    with zipfile.ZipFile(built("wheel", *(folder / "unpacked").iterdir())) as wheel:
        wheel.extractall(folder / "lib")
    (folder / "empty").mkdir()
    before = sorted((folder / "lib").rglob("*"))

    def call(*arguments, module="ecgstudy.cli"):
        known = {k: v for k, v in os.environ.items() if not k.startswith(("ECGSTUDY", "XDG"))}
        known |= {"PYTHONPATH": str(folder / "lib"), "HOME": str(folder / "home"), "COLUMNS": "100"}
        command = [sys.executable, "-B", *(["-m", module] if module else ["-c"]), *arguments]
        done = subprocess.run(command, cwd=folder / "empty", env=known, capture_output=True, text=True, check=False)
        assert sorted((folder / "lib").rglob("*")) == before  # nothing is written beside the package
        return done

    return call, folder


def test_an_installed_package_has_what_it_reads(installed):
    call, folder = installed
    for name in ("data_manifest.yaml", "notebooks/profiles.yaml"):
        assert (folder / "lib/ecgstudy/shipped" / name).read_bytes() == (REPOSITORY / name).read_bytes()
    names = {str(path.relative_to(REPOSITORY)) for path in listed(REPOSITORY / "ecgstudy", "**/*.*")}
    assert names <= {str(path.relative_to(folder / "lib")) for path in (folder / "lib").rglob("*")}
    there = call("data", "list")
    assert there.returncode == 0, there.stderr
    assert "ludb" in there.stdout and str(folder / "home") in there.stdout.replace("\n", "")


ALONE = """
import sys
from ecgstudy import paths, profiles
assert not paths.IN_CHECKOUT
print(*(p.relative_to(paths.Path.home()) for p in (paths.cache_root(), paths.data_root(), paths.RESULTS)), sep="\\n")
assert profiles.profile_values("smoke", "03_cnn_gap")
try:
    paths.read_json(paths.RESULTS / "leaderboard" / "x.json")
except FileNotFoundError as error:
    print(error)
"""


def test_an_installed_package_keeps_what_it_makes_in_the_users_folders(installed):
    said = installed[0](ALONE, module=None)
    assert said.returncode == 0, said.stderr
    cache, data, results, told = said.stdout.splitlines()
    assert "cache" in cache.lower() and "ecgstudy" in cache
    if sys.platform == "linux":
        assert (cache, data, results) == (".cache/ecgstudy", ".local/share/ecgstudy", ".local/share/ecgstudy/results")
    assert re.fullmatch(r"results/leaderboard/x.json needs the repository, .+: clone it and run `make env` there", told)


@pytest.fixture
def no_repository(monkeypatch, tmp_path):
    for attribute in ("REPOSITORY", "RESULTS"):
        monkeypatch.setattr(paths, attribute, tmp_path)


def test_an_installed_command_that_needs_the_repository_says_so(installed):
    said = installed[0]("run")
    assert said.returncode == 1 and not said.stdout
    assert re.fullmatch(r"ecgstudy: .+ needs the repository, .+: clone it and run `make env` there\n", said.stderr)


@pytest.mark.parametrize("command", ["run", "book", "train", "plan", "job", "verify-results", "serve", "data audit"])
def test_what_needs_the_repository_says_so_and_has_its_help(command, no_repository):
    said = CliRunner().invoke(cli.app, [*command.split(), *{"plan": ["x"], "job": ["x", "y"]}.get(command, [])])
    assert said.exit_code == 1 and not said.stdout
    assert re.fullmatch(rf"ecgstudy: `.*{command}` needs the repository, .+: clone it .+\n", said.stderr)
    helped = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert helped.exit_code == 0 and "Usage:" in helped.stdout


@pytest.mark.parametrize(
    ("module", "name", "read"),
    [
        (audit, "RESULTS", lambda: audit.study_records("ludb")),
        (claims, "FILE", claims.load),
        (explanations, "FILE", explanations.committed),
        (explanations, "RESULTS", explanations.beats),
        (leaderboard, "FOLDER", lambda: leaderboard.runs_of("synthetic-large", "ECGMaster")),
    ],
)
def test_results_that_an_installed_package_lacks_are_told_as_such(
    module, name, read, no_repository, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, name, tmp_path / getattr(module, name).relative_to(RESULTS))
    with pytest.raises(FileNotFoundError, match=r"^results/.+ needs the repository, .+: clone it"):
        read()


def test_a_process_of_the_study_loads_what_takes_seconds_only_when_it_is_used():
    """scikit-learn, captum and matplotlib took a quarter of the time that every worker needs to start."""
    slow = ("sklearn", "captum", "matplotlib", "IPython")
    code = f"import sys, ecgstudy.studies.catalogue; print([m for m in {slow} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


if __name__ == "__main__":
    print(licences() if "licences" in sys.argv else conda_face(), end="")
