"""How every chapter begins and ends, and how long it says that it takes."""

import json
import re

import pytest

from ecgstudy.book import opening
from ecgstudy.paths import NOTEBOOKS
from ecgstudy.studies import chapters

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


def cells_of(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def prose(cell):
    return "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""


def admonition(cells, title):
    """Text of the box with a title."""
    (text,) = re.findall(rf"```{{admonition}} {title}\n:class: \w+\n(.*?)```", "\n".join(map(prose, cells)), re.DOTALL)
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_opens_with_its_question_and_what_one_will_see(name):
    title, question, seen, *_ = prose(cells_of(name)[0]).split("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert re.fullmatch(r"\*\*.+\?\*\*", question, re.DOTALL), question
    assert seen.startswith("You will see ")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_stands_before_the_first_section(name):
    cells = cells_of(name)
    section = next(place for place, cell in enumerate(cells) if re.search(r"^## ", prose(cell), re.MULTILINE))
    assert any("figure" in cell["metadata"].get("mystnb", {}) for cell in cells[:section])


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_ends_with_what_to_take_away_and_what_would_change_our_mind(name):
    cells = cells_of(name)
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z*`{\[])", " ".join(admonition(cells, "What to take away").split()))
    assert 1 <= len(sentences) <= 3, sentences
    assert admonition(cells, "What would change our mind").strip()
    assert "What would change our mind" in prose(cells[-1])


def notebook(*cells, seconds=None):
    metadata = {} if seconds is None else {"ecgstudy": {"seconds": seconds}}
    return {"metadata": metadata, "cells": [{"metadata": {}, "source": [], **cell} for cell in cells]}


def words(number):
    return {"cell_type": "markdown", "source": ["word " * number]}


def test_minutes_are_of_the_words_that_one_reads():
    assert opening.minutes_to_read(notebook(words(10))) == 1
    assert opening.minutes_to_read(notebook(words(300), words(310))) == 3
    caption = {
        "cell_type": "code",
        "metadata": {"mystnb": {"figure": {"caption": "word " * 400}}},
        "source": ["word " * 999],
    }
    assert opening.minutes_to_read(notebook(caption)) == 2
    box = "```{admonition} A title\n:class: tip\none two\n```"
    assert opening._told(notebook({"cell_type": "markdown", "source": [box]}))[0].split() == [
        "```",
        "A",
        "title",
        "one",
        "two",
        "```",
    ]
    listing = (
        "```python\n" + "word " * 999 + "\n```\n$$" + "x " * 999 + "$$ $x y$ {glue:text}`a b` [words](a-long/address)"
    )
    assert opening._told(notebook({"cell_type": "markdown", "source": [listing]}))[0].split() == ["[words"]


def test_a_chapter_says_how_long_it_took(monkeypatch):
    monkeypatch.setattr(chapters, "trains", lambda name, profile: (name, profile) == ("a", "demo"))
    before = notebook({"cell_type": "markdown", "source": ["# Title\n", "\n", "**Why?**\n"]}, words(500), seconds=34.4)
    after = json.loads(opening.with_time(json.dumps(before), "a", "demo"))
    assert "".join(after["cells"][0]["source"]) == (
        "# Title\n\n**Why?**\n\n*3 minutes to read. It ran in 34 seconds on the machine that made this page (profile "
        "demo), once its networks were trained.*\n"
    )
    assert after["cells"][1:] == before["cells"][1:]
    slow = notebook(words(1), seconds=240)
    told = "*1 minute to read. It ran in 4 minutes on the machine that made this page (profile real).*"
    assert opening.time_line(slow, "a", "real") == told


def test_a_notebook_that_was_not_timed_stays_as_it_is():
    text = json.dumps(notebook(words(3)))
    assert opening.with_time(text, "a", "demo") == text


def test_chapters_that_train_are_known():
    assert chapters.trains("03_cnn_gap", "smoke") and chapters.trains("07_beat_gradcam", "smoke")
    assert not chapters.trains("10_leaderboard", "smoke")
