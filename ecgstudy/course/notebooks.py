"""Notebooks for a class: of exercises, a student's and one with the solutions, and of the chapters.

Those of exercises are the same whenever they are made.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode, v4

from ecgstudy.book.build import build_folder, notebook_names
from ecgstudy.book.readable import LINK, ROLE, readable
from ecgstudy.course.exercises import Exercise, Page, paths, read_page
from ecgstudy.paths import NOTEBOOKS, written_whole
from ecgstudy.profiles import BookError, nearest

CLASS = "class"
SETUP = "from ecgstudy.course import check_exercise"


def student(page: Page) -> NotebookNode:
    """Make the notebook that students work in: it holds nothing of the solutions."""
    return _notebook(page, solved=False)


def solved(page: Page) -> NotebookNode:
    """Make the notebook with solutions, what they print, and why."""
    return _notebook(page, solved=True)


def _notebook(page: Page, *, solved: bool) -> NotebookNode:
    title = f"# {page.title}{', solved' if solved else ''}\n\n{in_notebook(page.opening)}"
    asks = "Put what you found into `answer` and run the cell below it, which says whether it is right."
    cells = [_cell("markdown", "title", f"{title}\n\n{asks}"), _cell("code", "setup", SETUP)]
    for exercise in page.exercises:
        cells += _cells(exercise, solved)
    about = {"exercises": page.name, "made": fingerprint(cells)}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}, "ecgstudy": about}
    return v4.new_notebook(cells=cells, metadata=metadata)


def _cells(exercise: Exercise, solved: bool) -> list[NotebookNode]:
    name = f"ex-{exercise.number}"
    minutes = f"{exercise.minutes} minute{'' if exercise.minutes == 1 else 's'}"
    hurts = " · hurts on purpose" if exercise.hurts else ""
    about = f"*{exercise.kind} · level {exercise.level} · {minutes}{hurts}*"
    heading = f"## {exercise.number} · {exercise.title}\n\n{about}\n\n{in_notebook(exercise.question)}"
    cells = [_cell("markdown", name, heading)]
    if exercise.given:
        cells.append(_cell("code", f"{name}-given", exercise.given))
    cells.append(_cell("code", f"{name}-answer", exercise.solution if solved else "answer = ..."))
    if solved:
        # What given code prints by itself would stand above it: the page does not say which lines these are.
        cells[-1]["outputs"] = [v4.new_output("stream", name="stdout", text=f"{exercise.output}\n")]
    cells.append(_cell("code", f"{name}-check", f'check_exercise("{exercise.number}", answer)'))
    if solved:
        cells.append(_cell("markdown", f"{name}-why", in_notebook(exercise.explanation)))
    return cells


def _cell(kind: str, name: str, source: str) -> NotebookNode:
    make = {"markdown": v4.new_markdown_cell, "code": v4.new_code_cell}[kind]
    return make(source, id=name)


def in_notebook(text: str) -> str:
    """Markdown of a page as a notebook shows it, far from the book: without its roles and its links to other pages."""
    return ROLE.sub(lambda role: role[2], LINK.sub(lambda link: link[1], text))


def fingerprint(cells: list[Any]) -> str:
    """Return a hash of what stands in the cells of a notebook, whatever they printed."""
    told = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def text(notebook: NotebookNode) -> str:
    """Return a notebook as the text of its file."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def write(folder: Path, *, solutions: bool = False, chapter: str | None = None, force: bool = False) -> dict[Path, str]:
    """Write the notebooks of the book's exercises into a folder.

    Parameters
    ----------
    folder
        Made if it is not there.
    solutions
        Write ``NN_name_solved.ipynb`` in place of students' ``NN_name.ipynb``.
    chapter
        Its number (``03``) or the name of its notebook; all of them if None.
    force
        Also overwrite a notebook that somebody has worked in.

    Returns
    -------
    dict of Path and str
        Of each file what became of it: ``made``, ``unchanged``, or ``kept``, since somebody has worked in it.

    Raises
    ------
    ValueError
        when there is no such chapter, or a page does not keep to the format.
    OSError
        when the folder cannot be written to.
    """
    contents = {}
    for source in _chosen(chapter):
        page = read_page(source)
        notebook = solved(page) if solutions else student(page)
        contents[folder / f"{page.name}{'_solved' if solutions else ''}.ipynb"] = text(notebook)
    return _written(contents, force)


def write_class(folder: Path, *, force: bool = False) -> dict[Path, str]:
    """Write the notebook of the class into a folder, as ``write`` does those of exercises; no book need be built."""
    return _written({folder / f"{CLASS}.ipynb": text(of_class())}, force)


def of_class() -> NotebookNode:
    """Make the notebook of the class as students get it: it has nothing that only a built book knows."""
    copy = readable(nbformat.read(NOTEBOOKS / f"{CLASS}.ipynb", as_version=4), {})
    return _named(nbformat.from_dict(copy), CLASS)


def _named(notebook: NotebookNode, name: str) -> NotebookNode:
    """Note in a copy of a chapter which it is, and what stood in it, so that a student's work is known later."""
    notebook.metadata["ecgstudy"] = {"chapter": name, "made": fingerprint(notebook.cells)}
    return notebook


def write_chapters(folder: Path, profile: str, *, outputs: bool = False, force: bool = False) -> dict[Path, str]:
    """Write the chapters and the class's notebook of a built book into a folder, its numbers filled in.

    Parameters
    ----------
    folder
        Made if it is not there.
    profile
        Of the book.
    outputs
        Keep the figures and tables of that book.
    force
        Also overwrite a notebook that somebody has worked in.

    Returns
    -------
    dict of Path and str
        As ``write`` does.

    Raises
    ------
    BookError
        when there is no such book; the message says how to build it.
    OSError
        when the folder cannot be written to.
    """
    contents = {}
    for name in notebook_names():
        source = build_folder(profile) / "_build" / "html" / "_sources" / "notebooks" / f"{name}.ipynb"
        if not source.exists():
            raise BookError(f"{source.name} of profile {profile} is not built: run `ecgstudy book --profile {profile}`")
        notebook = nbformat.read(source, as_version=4)
        for cell in notebook.cells if not outputs else ():
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        contents[folder / source.name] = text(_named(notebook, name))
    return _written(contents, force)


def _written(contents: Mapping[Path, str], force: bool) -> dict[Path, str]:
    """Write notebooks, but for those that are there or that somebody has worked in; return what became of each."""
    made = {}
    for file, content in contents.items():
        made[file] = _state(file, content)
        if made[file] == "made" or (force and made[file] == "kept"):
            made[file] = "made"
            file.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(file) as partial:
                partial.write_text(content, encoding="utf-8", newline="\n")
    return made


def _chosen(chapter: str | None) -> list[Path]:
    there = paths()
    chosen = [path for path in there if chapter in (None, path.stem, path.stem[:2], path.stem[:2].lstrip("0"))]
    if not chosen:
        known = [name for path in there for name in (path.stem[:2], path.stem)]
        raise ValueError(f"no exercises for chapter {chapter!r}{nearest(str(chapter), known, '.')}")
    return chosen


def _state(file: Path, content: str) -> str:
    """What is to be done with a file: it is as it should be, may be made (anew), or somebody has worked in it."""
    try:
        there = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "made"
    except UnicodeDecodeError:
        return "kept"
    if there == content:
        return "unchanged"
    try:
        notebook = json.loads(there)
        own = fingerprint(notebook["cells"]) == notebook["metadata"]["ecgstudy"]["made"]
    except (ValueError, KeyError, TypeError):
        return "kept"  # no notebook of ours any more
    return "made" if own else "kept"
