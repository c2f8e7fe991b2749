"""What the guide and the project's page name is there, and the template passes as it stands."""

import importlib
import inspect
import json
import re
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
import typer
import yaml

from ecgstudy import profiles
from ecgstudy.book import build, opening, teaching_pages
from ecgstudy.cli import app
from ecgstudy.course import exercises
from ecgstudy.course import project as projects
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.paths import NOTEBOOKS, REPOSITORY
from ecgstudy.systems import CATALOGUE

FOLDER = REPOSITORY / "book" / "teaching"
PAGES = {name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in ("guide", "project", "setup")}


def test_every_exercise_that_the_guide_names_is_there():
    there = {one.number for path in exercises.paths() for one in exercises.read(path)}
    named = set(re.findall(r"\b\d\d-\d\b", PAGES["guide"]))
    assert len(named) >= 20 and named <= there, sorted(named - there)


def test_the_class_gives_each_step_of_its_notebook_the_minutes_that_it_states():
    timetable = PAGES["guide"].partition("## A class of 90 minutes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+)–(\d+) \| (?:Step (\d))?", timetable, re.MULTILINE)
    assert [row[0] for row in rows] == ["0", *(row[1] for row in rows[:-1])] and rows[-1][1] == "90"
    given = {int(step): int(end) - int(begin) for begin, end, step in rows if step}
    cells = nbformat.read(REPOSITORY / "notebooks" / "class.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for stated in (r"^## (\d)\. .* \((\d+) minutes\)$", r"^\| (\d)\. .* \| (\d+) \|$"):
        assert {int(step): int(minutes) for step, minutes in re.findall(stated, text, re.MULTILINE)} == given


def test_every_command_of_ours_is_one_with_these_options():
    counted = 0
    for page in PAGES.values():
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
            for line in block.splitlines():
                if "bin/ecgstudy " not in line:
                    continue
                words = line.partition("#")[0].split()[1:]
                command = typer.main.get_command(app)
                while there := getattr(command, "commands", None):
                    name = words.pop(0)
                    assert name in there, line
                    command = there[name]
                command.make_context(name, words)  # which refuses an option that there is not
                counted += 1
    assert counted >= 5


def test_every_chapter_has_goals_prerequisites_and_its_time():
    about = teaching_pages.chapters()
    assert sorted(about) == build.chapter_names()
    seen = set()
    for name, chapter in about.items():
        assert set(chapter) == {"know", "can", "seconds"}
        assert 2 <= len(chapter["can"]) <= 3 and chapter["know"]
        # A minute at most, but for those that the guide names.
        longer = re.search(rf"Chapters [^.]*\b{name[:2]}\b[^.]* first train", PAGES["guide"])
        assert 0 < chapter["seconds"] <= 60 or longer
        assert not seen & set(chapter["can"])
        seen |= set(chapter["can"])
        for page in chapter["know"]:
            kind = "ipynb" if page.startswith("notebooks/") else "md"
            assert (REPOSITORY / f"{page}.{kind}").exists() and page != f"notebooks/{name}"
    table = teaching_pages.table()
    rows = re.findall(r"^\| \[(\d\d)\]\(.*\) \| .* \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == [name[:2] for name in build.chapter_names()]
    for (_, read, exercised, seconds), name in zip(rows, build.chapter_names(), strict=True):
        assert int(read) == opening.minutes_to_read(json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8")))
        told = (exercises.FOLDER / f"{name}.md").read_text(encoding="utf-8")
        assert int(exercised) == sum(map(int, re.findall(r"^\*\w+ · level \d · (\d+) minutes?", told, re.MULTILINE)))
        assert int(seconds) == about[name]["seconds"]


def test_the_points_add_up():
    rows = re.findall(r"^\|.*\| (\d+) \|", PAGES["project"], re.MULTILINE)
    assert sum(map(int, rows)) == 50
    rows = re.findall(r"^\| [^|]+\| (\d+) \|", PAGES["guide"], re.MULTILINE)
    assert sum(map(int, rows)) == 100


def test_there_are_enough_misconceptions_each_with_an_answer():
    part = PAGES["guide"].partition("## What students get wrong")[2].partition("\n## ")[0]
    assert len(re.findall(r'^"[^"]+"\n: \S', part, re.MULTILINE)) >= 15


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projects") / "mine"
    projects.make("Lighthouse", folder)
    return folder


def test_a_project_has_the_files_of_the_page_and_the_students_name(project):
    names = sorted(path.name for path in project.iterdir())
    assert names == sorted(re.findall(r"^\| `([^`]+)` \|", PAGES["project"], re.MULTILINE))
    for path in project.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "eventh" not in text and "ighthouse" in text
    blocks = yaml.safe_load((project / "profiles.yaml").read_text(encoding="utf-8"))
    assert {"99_lighthouse", "03_cnn_gap"} <= set(blocks)


@pytest.fixture
def known(project, monkeypatch):
    """The project as it is while its student works on it: its folder names chapters and modules."""
    before = dict(CATALOGUE)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(profiles, "NOTEBOOKS", project)
    yield project
    for name in ("lighthouse", "test_lighthouse"):
        sys.modules.pop(name, None)
    CATALOGUE.clear()
    CATALOGUE.update(before)


def test_a_project_passes_its_tests_as_it_stands(known):
    suite = importlib.import_module("test_lighthouse")
    system = suite.LighthouseSystem()
    given = {"system": system, "cases": synthetic_cases(system.fs, 1, seed=1000)}
    tests = [function for name, function in vars(suite).items() if name.startswith("test_")]
    assert len(tests) == 5
    for test in tests:
        test(**{name: given[name] for name in inspect.signature(test).parameters})


def test_the_chapter_of_a_project_runs_from_its_first_cell_to_its_last(known):
    (words,) = re.findall(r"python -m papermill ([^\n]+)", PAGES["project"])
    assert words.split()[0] == "99_lighthouse.ipynb"
    notebook = nbformat.read(known / words.split()[0], as_version=4)
    nbformat.validate(notebook)
    space = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), space)
    assert space["profile"] == "smoke" and {*space["blind"].BASELINES, "CAM"} == set(space["found"]["method"])
    plt.close("all")


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("light house", ValueError, "cannot be the system's name"),
        ("../X", ValueError, "cannot be the system's name"),
        ("CnnGap", ValueError, "has a system 'CnnGap' already"),
        ("Other", FileExistsError, "is not empty"),
    ],
)
def test_a_project_that_does_not_suit_is_refused(project, name, error, told):
    with pytest.raises(error, match=told):
        projects.make(name, project)
