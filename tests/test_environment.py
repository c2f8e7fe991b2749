"""Locks, their conda face, the package. ``python -m tests.test_environment`` writes what follows from them."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from ecgstudy.paths import REPOSITORY

LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-uv.lock")


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


def lock(*names):
    """Name → version of every pin of the locks (default: the book's), and of torch."""
    lines = [pin for name in names or LOCKS[:1] for pin in pins(name)]
    return dict(re.match(r"([\w.-]+)==([^ ;]+)", line).groups() for line in [*lines, torch()])


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


def licences():
    """The text of book/licences.md: the packages of the book's environment and what each may be used under."""
    command = [Path(sys.executable).with_name("pip-licenses"), "--from=mixed", "--format=json", "--with-system"]
    found = yaml.safe_load(subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout)
    named = {re.sub(r"[-_.]+", "-", package["Name"]).lower(): package for package in found}
    rows = []
    for name in sorted(lock()):
        package = named.get(re.sub(r"[-_.]+", "-", name).lower())
        if package:  # else of another system
            licence = package["License"].splitlines()[0].replace("|", "/")
            rows.append(f"| {name} | {package['Version'].split('+')[0]} | {licence[:80]} |")
    head = [
        "# Licences of what the study stands on",
        "",
        "The packages that `make book` installs on Linux, with the licence that each states for itself. `make",
        "licences` writes this page. The licences of the study and of the recordings stand in `LICENSE` and",
        "`data_manifest.yaml`.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def test_environment_yml_holds_the_pins_of_the_lock_and_the_package():
    assert (REPOSITORY / "environment.yml").read_text(encoding="utf-8") == conda_face()
    pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    found = dict(re.match(r"([\w.-]+)==([^ ;]+)", line).groups() for line in pip if not line.startswith("--"))
    assert found == lock()
    assert pip[-1] == "--editable ."


def test_every_dependency_is_pinned():
    names = {re.match(r"[\w.-]+", d).group().lower() for d in project()["dependencies"]}
    assert names <= set(lock())
    extra = {re.match(r"[\w.-]+", d).group().lower() for d in project()["optional-dependencies"]["test"]}
    assert extra <= set(lock("requirements-test.lock"))


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name):
    assert pins(name)
    assert not [pin for pin, hashes in pins(name).items() if not hashes]


def test_what_only_tests_want_is_not_in_the_books_environment():
    book, tests = pins("requirements.lock"), pins("requirements-test.lock")
    assert not book.keys() & tests.keys()
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


def test_the_page_of_licences_names_every_package_of_the_book():
    text = (REPOSITORY / "book" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| (\S+) \| [^|]{2,}\|$", text, re.M))
    there = {
        name: v for name, v in lock().items() if not any(p.startswith(f"{name}==") and ";" in p for p in pins(LOCKS[0]))
    }
    assert rows.items() >= there.items()
    assert "UNKNOWN" not in text


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as a wheel brings it, in an empty folder: no checkout around it."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout
    for name in names.splitlines():
        if name.startswith(("ecgstudy/", "notebooks/profiles/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(folder / "lib")]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (folder / "empty").mkdir()

    def call(*arguments):
        known = {k: v for k, v in os.environ.items() if not k.startswith(("ECGSTUDY", "XDG"))}
        known |= {"PYTHONPATH": str(folder / "lib"), "HOME": str(folder / "home"), "COLUMNS": "100"}
        command = [sys.executable, "-m", "ecgstudy.cli", *arguments]
        return subprocess.run(command, cwd=folder / "empty", env=known, capture_output=True, text=True, check=False)

    return call, folder


def test_an_installed_package_has_its_manifest_and_profiles(installed):
    call, folder = installed
    assert (folder / "lib/ecgstudy/shipped/profiles/demo.yaml").read_bytes() == (
        REPOSITORY / "notebooks/profiles/demo.yaml"
    ).read_bytes()
    listed = call("data", "list")
    assert listed.returncode == 0, listed.stderr
    assert "ludb" in listed.stdout and str(folder / "home") in listed.stdout.replace("\n", "")
    made = call("data", "simulate", "--records", "1", "--out", "made", "--fs", "100")
    assert made.returncode == 0, made.stderr
    assert len(list((folder / "empty/made").glob("*.hea"))) == 1


def test_an_installed_package_keeps_its_cache_out_of_site_packages(installed):
    _, folder = installed
    code = "import ecgstudy.paths as p; print(p.cache_root(), p.data_root(), p.IN_CHECKOUT)"
    known = {"PYTHONPATH": str(folder / "lib"), "HOME": str(folder / "home"), "PATH": os.environ["PATH"]}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=known, capture_output=True, text=True, check=True
    )
    cache, data, checkout = said.stdout.split()
    assert checkout == "False"
    assert cache.startswith(str(folder / "home")) and data.startswith(str(folder / "home"))
    assert "cache" in cache.lower() and "ecgstudy" in cache and cache != data


@pytest.mark.parametrize("command", ["run", "book", "verify-results", "train", "serve", "data audit"])
def test_what_needs_the_repository_says_so(installed, command):
    said = installed[0](*command.split())
    assert said.returncode == 1
    assert "clone it" in said.stderr.replace("\n", " ") and "Traceback" not in said.stderr


if __name__ == "__main__":
    print(licences() if "licences" in sys.argv else conda_face(), end="")
