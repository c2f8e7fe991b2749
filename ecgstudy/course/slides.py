"""Slides of the book's own figures and rows: ``slides/*.md`` → ``_build/PROFILE/slides``, as HTML and PDF.

A deck is a page of Markdown: ``# Title``, then a slide for each ``## Heading``, and at its top the numbers that it
names (``course.rows``). Besides Markdown it has

- ``![](drawing:NAME)``: a drawing that pages of the book compute, with the alternative text that it has there;
- ``![](figure:fig-NAME)``: a figure of an executed chapter, with its alternative text;
- ``@ DECK: Heading``: the slide of another deck, with its numbers.

So a deck holds no number and no picture of its own, and all of them are those of the book that was built last.
"""

import base64
import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ecgstudy.book.build import build_folder, notebook_names
from ecgstudy.course import rows
from ecgstudy.paths import REPOSITORY, listed, written_whole
from ecgstudy.profiles import BookError

FOLDER = REPOSITORY / "slides"
WIDTH, HEIGHT = 1280, 720  # of a slide, in pixels
_PICTURE = re.compile(r"!\[\]\((drawing|figure):([\w.-]+)\)")
_FROM = re.compile(r"^@ *(\w+): *(.+?) *$", re.MULTILINE)

CONF = f"""
project = "ecgstudy"
html_title = "ecgstudy"
language = "en"
extensions = ["myst_parser", "sphinx_revealjs"]
myst_enable_extensions = ["dollarmath", "smartquotes"]
html_math_renderer = "mathml"
revealjs_style_theme = "white"
revealjs_static_path = ["static"]
revealjs_css_files = ["slides.css"]
revealjs_script_plugins = [{{"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"}}]
revealjs_script_conf = {{
    "width": {WIDTH}, "height": {HEIGHT}, "margin": 0.02, "center": False, "hash": True, "slideNumber": "c/t",
    "transition": "none", "pdfSeparateFragments": False, "pdfMaxPagesPerSlide": 1,
}}

def setup(app):
    from ecgstudy.book.pages import math
    app.add_html_math_renderer("mathml", (math, None), (math, None))
"""


@dataclass(frozen=True)
class Deck:
    """A deck as it is written: the numbers that it names, its first slide, and the others by their headings."""

    numbers: Mapping[str, Mapping[str, Any]]
    opening: str
    slides: Mapping[str, str]


def names() -> list[str]:
    """The decks, in the order of the sessions."""
    return [path.stem for path in listed(FOLDER, "*.md")]


@lru_cache
def read(name: str) -> Deck:
    """A deck as it is written.

    Raises
    ------
    BookError
        where there is none of that name, or its header is no YAML; the message names the file.
    """
    path = FOLDER / f"{name}.md"
    if not path.exists():
        raise BookError(f"{path}: there is no such deck; there are: {', '.join(names())}")
    text = path.read_text(encoding="utf-8")
    header: dict[str, Any] = {}
    if match := re.match(r"---\n(.*?)\n---\n", text, re.DOTALL):
        try:
            header = yaml.safe_load(match[1]) or {}
        except yaml.YAMLError as error:
            raise BookError(f"{path}: its header is not YAML: {error}") from error
        text = text[match.end() :]
    opening, *slides = re.split(r"^(?=## |@ )", text, flags=re.MULTILINE)
    return Deck(header.get("numbers", {}), opening, {slide.partition("\n")[0]: slide for slide in slides})


def markdown(name: str) -> str:
    """A deck with its numbers, and with the slides of others that it takes; its pictures are still named.

    Raises
    ------
    BookError
        for a slide or a number that is not there; the message names the file.
    """
    deck = read(name)
    try:
        parts = [rows.filled(deck.opening, deck.numbers)]
        for slide in deck.slides.values():
            if taken := _FROM.match(slide):
                other = read(taken[1])
                if f"## {taken[2]}" not in other.slides:
                    raise BookError(f"{FOLDER / name}.md: {taken[1]} has no slide {taken[2]!r}")
                parts.append(rows.filled(other.slides[f"## {taken[2]}"], other.numbers))
            else:
                parts.append(rows.filled(slide, deck.numbers))
    except rows.RowError as error:
        raise BookError(f"{FOLDER / name}.md: {error}") from error
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _drawing(build: Path, name: str) -> tuple[bytes, str, str]:
    """A drawing of the book's pages: its content, its ending, its alternative text."""
    book = build / "source" / "book"
    file = book / "computed" / f"{name}.svg"
    if file.exists():
        option = re.compile(rf"\{{figure\}} [./]*computed/{re.escape(name)}\.svg\n(?::.*\n)*?:alt: (.*)")
        for page in sorted(book.rglob("*.md")):
            if found := option.search(page.read_text(encoding="utf-8")):
                return file.read_bytes(), "svg", found[1]
    known = ", ".join(path.stem for path in sorted((book / "computed").glob("*.svg")))
    raise BookError(f"no page of the book shows a drawing {name!r}; there are: {known}")


def _figure(build: Path, name: str) -> tuple[bytes, str, str]:
    """A figure of an executed chapter: its content, its ending, its alternative text."""
    for path in [build / "notebooks" / f"{notebook}.ipynb" for notebook in notebook_names()]:
        if not path.exists():
            raise BookError(f"{path} is not there: run `ecgstudy book --profile {build.name}` first")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            about = cell["metadata"].get("mystnb", {})
            if about.get("figure", {}).get("name") == name:
                for output in cell.get("outputs", []):
                    data = output.get("data", {})
                    if "image/svg+xml" in data:
                        return "".join(data["image/svg+xml"]).encode(), "svg", about["image"]["alt"]
                    if "image/png" in data:
                        return base64.b64decode("".join(data["image/png"])), "png", about["image"]["alt"]
    raise BookError(f"no executed chapter draws a figure {name!r}")


def stage(profile: str, folder: Path) -> None:
    """Write what Sphinx is given for the decks: their pages, their pictures, its settings.

    Raises
    ------
    BookError
        where the book of the profile has not been built, or a deck names what is not there.
    """
    build = build_folder(profile)
    if not (build / "source").exists():
        raise BookError(
            f"{build} holds no book: run `ecgstudy book --profile {profile}` first, slides show its figures"
        )
    (folder / "pictures").mkdir()
    shutil.copytree(FOLDER / "static", folder / "static")
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    for name in names():

        def shown(match: re.Match[str], name: str = name) -> str:
            kind, picture = match.groups()
            try:
                content, ending, alt = (_drawing if kind == "drawing" else _figure)(build, picture)
            except BookError as error:
                raise BookError(f"{FOLDER / name}.md: {error}") from error
            (folder / "pictures" / f"{picture}.{ending}").write_bytes(content)
            return f"```{{image}} pictures/{picture}.{ending}\n:alt: {alt}\n```"

        text = _PICTURE.sub(shown, markdown(name))
        # Pages of Sphinx are in some toctree, or say that they are in none.
        (folder / f"{name}.md").write_text(f"---\norphan: true\n---\n\n{text}", encoding="utf-8")
    decks = "".join(f"- [{_title(name)}]({name}.md)\n" for name in names())
    index = f"---\norphan: true\n---\n\n# Slides of the course\n\n{decks}"
    (folder / "index.md").write_text(index, encoding="utf-8")


def _title(name: str) -> str:
    return read(name).opening.strip().partition("\n")[0].removeprefix("# ")


def make(profile: str, *, pdf: bool = True) -> list[Path]:
    """Build all decks from the book of a profile; as PDF too, where there is a Chromium.

    Returns
    -------
    list of Path
        The decks (HTML) in ``_build/PROFILE/slides``, and their PDF files.

    Raises
    ------
    BookError
        where a deck cannot be built; the message names the file, and what is to be done.
    """
    if importlib.util.find_spec("sphinx_revealjs") is None:
        raise BookError('slides need sphinx-revealjs: run `make env-test`, or pip install "ecgstudy[slides]"')
    target = build_folder(profile) / "slides"
    with written_whole(target) as made, tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        source.mkdir()
        stage(profile, source)
        result = subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "revealjs", "-d",
             f"{temporary}/doctrees", str(source), str(made)],
            capture_output=True, encoding="utf-8", errors="replace", check=False, env=os.environ | {"PYTHONUTF8": "1"},
        )  # fmt: skip
        if result.returncode:
            raise BookError(f"the slides do not render:\n{result.stderr.strip()}")
        for name in names():
            _finish(made / f"{name}.html")
        if pdf:
            _print(made)
    return [path for name in names() for path in sorted(target.glob(f"{name}.*")) if path.suffix in {".html", ".pdf"}]


def _finish(page: Path) -> None:
    """Give a deck its language and its title, which the theme leaves out."""
    text = page.read_text(encoding="utf-8")
    title = html.escape(_title(page.stem))
    text = re.sub(r"<html(?![^>]* lang=)", '<html lang="en"', text, count=1)
    page.write_text(re.sub(r"<title>.*?</title>", f"<title>{title}</title>", text, flags=re.DOTALL), encoding="utf-8")


def browser() -> str | None:
    """A Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _print(folder: Path) -> None:
    """Each deck as a PDF, a page a slide; nothing where there is no Chromium."""
    program = browser()
    if program is None:
        print("no Chromium, so no PDF: a browser prints a deck that is opened with ?print-pdf at its address's end")
        return
    from playwright.sync_api import sync_playwright

    # Chromium's own --print-to-pdf does not wait until reveal.js has laid out its pages.
    laid_out = "document.querySelector('.pdf-page') && [...document.images].every((one) => one.complete)"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = opened.new_page()
        for name in names():
            page.goto(f"{(folder / name).as_uri()}.html?print-pdf")
            page.wait_for_function(laid_out)
            page.pdf(path=f"{folder / name}.pdf", prefer_css_page_size=True, print_background=True)
        opened.close()
