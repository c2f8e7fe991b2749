"""The zip for a room without a network, and what the page on setting up a class names."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecgstudy.book import build
from ecgstudy.cli import app
from ecgstudy.course import bundle, exercises
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, listed
from ecgstudy.profiles import BookError
from ecgstudy.studies.trainings import Records
from tests.test_book import built as built
from tests.test_environment import plain, torch

SETUP = (REPOSITORY / "book" / "teaching" / "setup.md").read_text(encoding="utf-8")
COHORT = Records("synthetic", 125.0, 9, 1, 0)
# Runs the class's notebook, as a student does, and opens what the zip has simulated; neither may want a network.
RUN = """
import json, pathlib, socket, sys
if sys.argv[1] == "alone":
    try:
        socket.create_connection(("192.0.2.1", 80), 1)
    except OSError:
        pass
    else:
        raise SystemExit("there is a network")
import ecgstudy.paths
assert ecgstudy.paths.REPOSITORY == pathlib.Path("repository").resolve(), ecgstudy.paths.REPOSITORY
from ecgstudy.studies.trainings import Records
assert len(Records("synthetic", 125.0, 9, 1, 0).task(only_open=True)) == 9
space = {}
for cell in json.loads(pathlib.Path("notebooks/chapters/class.ipynb").read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
print(sorted(space["made"]))
"""


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "x-1-py3-none-any.whl").write_bytes(bytes(1000))
    monkeypatch.setattr(bundle, "fetched_wheels", lambda *_: folder)


def alone():
    """What cuts a command off the network, where the machine allows that."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    able = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if able else []


@pytest.mark.slow
@pytest.mark.usefixtures("wheels")
def test_the_class_runs_from_the_unpacked_zip_without_a_network(built, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "trainings", lambda *_, **__: [COHORT.task])
    file, room = tmp_path / "class.zip", tmp_path / "smoke"
    (room / "slides").mkdir(parents=True)
    (room / "slides" / "class.html").touch()
    (room / "_build").symlink_to(built / "_build")
    monkeypatch.setattr(bundle, "build_folder", lambda _: room)
    call = CliRunner().invoke(app, ["course", "bundle", str(file), "--profile", "smoke"])
    assert call.exit_code == 0, call.output
    told = dict(re.findall(r"^(\w+): ([\d,]+) files, [\d.,]+ MB \([\d.,]+ MB unpacked\)$", call.stdout, re.MULTILINE))
    assert list(told) == ["book", "notebooks", "cache", "slides", "wheels", "repository"]
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names)) == 1 + sum(int(count.replace(",", "")) for count in told.values())
        archive.extractall(tmp_path)
    top = tmp_path / bundle.TOP
    assert {path.name for path in top.iterdir()} == {"README.txt", *told}
    text = (top / "README.txt").read_text(encoding="utf-8")
    assert "wheels in here are for Python 3" in text and "{" not in text
    for path in re.findall(r"(?:book|notebooks|slides)/[\w/.]*\w", text):
        assert (top / path).exists(), path
    assert not [name for name in names if name.endswith(".lock") and "/cache/" in name]
    html = built / "_build" / "html" / "notebooks"
    assert {path.name for path in (top / "book/notebooks").iterdir()} == {path.name for path in html.iterdir()}
    exercised = {path.stem for path in (top / "notebooks/exercises").iterdir()}
    assert exercised == {path.stem for path in exercises.paths()}
    assert (top / "repository/results/leaderboard.csv").exists() and not (top / "repository/_build").exists()
    cut, known = alone(), {k: v for k, v in os.environ.items() if not k.startswith("ECGSTUDY")}
    known |= {"PYTHONPATH": str(top / "repository"), "ECGSTUDY_CACHE": str(top / "cache"), "HOME": str(tmp_path)}
    before = sorted((top / "cache").rglob("*"))
    command = [*cut, sys.executable, "-c", RUN, "alone" if cut else ""]
    done = subprocess.run(command, cwd=top, env=known | {"MPLBACKEND": "agg"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "QRS detector" in done.stdout and sorted((top / "cache").rglob("*")) == before


def test_without_a_built_book_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "REPOSITORY", tmp_path)
    call = CliRunner().invoke(app, ["course", "bundle", str(tmp_path / "class.zip")])
    assert call.exit_code == 1 and "run `ecgstudy book --profile class`" in call.stderr
    assert not list(tmp_path.iterdir())


def test_wheels_are_fetched_once_as_the_locks_have_them(tmp_path, monkeypatch):
    asked = []

    def pip(command, **_):
        asked.append(command)
        Path(command[command.index("-d") + 1]).mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    (tmp_path / "of other locks").mkdir()
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    folder = bundle.fetched_wheels(tmp_path, print)
    assert [command[-2:] for command in asked[:2]] == [["-r", str(REPOSITORY / name)] for name in bundle.LOCKS]
    assert torch() in asked[2] and bundle.CPU in asked[2] and all("--only-binary" in command for command in asked)
    assert bundle.fetched_wheels(tmp_path, print) == folder and len(asked) == 3
    assert list(tmp_path.iterdir()) == [folder]


def test_packages_that_cannot_be_fetched_are_told(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stderr="Looking\nERROR: no matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BookError, match=r"--no-wheels leaves them out\):\nLooking\nERROR: no matching"):
        bundle.fetched_wheels(tmp_path, print)


def test_a_checkout_without_git_is_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "REPOSITORY", tmp_path)
    for name in ("a.py", "b/c.md", "_build/x", ".venv/y", "data/z", "e.egg-info/PKG-INFO", "b/data/kept"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.as_posix() for path in bundle.tracked()] == ["a.py", "b/c.md", "b/data/kept"]


# Binder and Colab.


def test_binder_installs_what_the_locks_say():
    script = (REPOSITORY / "binder" / "postBuild").read_text(encoding="utf-8")
    assert os.access(REPOSITORY / "binder" / "postBuild", os.X_OK)
    assert subprocess.run(["bash", "-n", str(REPOSITORY / "binder" / "postBuild")]).returncode == 0
    assert all((REPOSITORY / name).exists() for name in re.findall(r"-r (\S+)", script))
    (look,) = re.findall(r'"\$\((grep .*?)\)"', script)
    found = subprocess.run(["bash", "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [torch()]
    assert (REPOSITORY / "binder" / "runtime.txt").read_text(encoding="utf-8") == "python-3.11\n"


# What Colab has, by its own list of packages, in whatever versions.
COLAB = {"ipython", "joblib", "markupsafe", "matplotlib", "numpy", "pandas", "pyyaml", "scikit-learn", "scipy"}
COLAB |= {"seaborn", "torch", "tqdm"}


def imports(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (str(node.module), *(f"{node.module}.{name.name}" for name in node.names))


def test_colab_is_given_what_it_lacks_for_the_class_and_the_exercises():
    """Whatever code can be reached from theirs; what is imported where it is used counts, too."""
    cells = json.loads((NOTEBOOKS / "class.ipynb").read_text(encoding="utf-8"))["cells"]
    codes = ["\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")]
    codes += [f"{one.given}\n{one.solution}" for path in exercises.paths() for one in exercises.read(path)]
    codes += [path.read_text(encoding="utf-8") for path in listed(REPOSITORY / "ecgstudy" / "course", "chapter_*.py")]
    todo, seen, read = {name for code in codes for name in imports(code)}, set(), set()
    while todo:
        seen.add(name := todo.pop())
        parts = name.split(".")
        places = [REPOSITORY.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)] if parts[0] == "ecgstudy" else []
        files = {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")} - read
        read |= files
        for file in filter(Path.is_file, files):
            todo |= set(imports(file.read_text(encoding="utf-8"))) - seen
    known = importlib.metadata.packages_distributions()
    wanted = {name.partition(".")[0] for name in seen} - sys.stdlib_module_names - {"ecgstudy"}
    wanted = {plain(known[name][0]) for name in wanted if name in known}
    (line,) = re.findall(r"^!pip install --quiet (?!--)(.*)$", SETUP, re.MULTILINE)
    # Only chapters glue numbers into their text.
    assert wanted - COLAB - {"myst-nb"} == set(line.split()), sorted(wanted - COLAB)
