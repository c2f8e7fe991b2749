"""What each chapter wants of a reader and gives: the guide's table, from ``book/teaching/chapters.yaml``."""

import json
from typing import Any

import yaml

from ecgstudy.book.build import chapter_names
from ecgstudy.book.opening import minutes_to_read
from ecgstudy.course.exercises import FOLDER, read
from ecgstudy.paths import NOTEBOOKS, REPOSITORY


def chapters() -> dict[str, dict[str, Any]]:
    """Of each chapter, by the name of its notebook: what to ``know``, what one ``can`` then, ``seconds`` of class."""
    text = (REPOSITORY / "book" / "teaching" / "chapters.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def table() -> str:
    """Markdown: a row for each chapter; minutes to read are those of its opening, those of exercises their pages'."""
    lines = [
        "| chapter | you should know | afterwards you can | minutes to read | of exercises | seconds to run |",
        "|---|---|---|---:|---:|---:|",
    ]
    about = chapters()
    for name in chapter_names():
        notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
        known = ", ".join(_link(page) for page in about[name]["know"])
        goals = "; ".join(about[name]["can"])
        exercises = sum(one.minutes for one in read(FOLDER / f"{name}.md"))
        numbers = (minutes_to_read(notebook), exercises, about[name]["seconds"])
        cells = (_link(f"notebooks/{name}"), known, goals, *map(str, numbers))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _link(page: str) -> str:
    """A link from a page of ``book/teaching``: a chapter by its number, another page by its title."""
    folder, _, name = page.partition("/")
    if folder == "notebooks":
        return f"[{name[:2]}](../../{page}.ipynb)"
    text = (REPOSITORY / f"{page}.md").read_text(encoding="utf-8")
    return f"[{text.partition(chr(10))[0].removeprefix('# ')}](../{name}.md)"
