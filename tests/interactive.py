"""Pages that one touches, as small as can be: the page's own HTML in the book's style sheets, without Sphinx."""

import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from ecgstudy.paths import REPOSITORY

STATIC = REPOSITORY / "book" / "static"
_PYDATA = Path(str(files("pydata_sphinx_theme"))) / "theme/pydata_sphinx_theme/static/styles"
_BOOK = Path(str(files("sphinx_book_theme"))) / "theme/sphinx_book_theme/static/styles"
_NAMES = ("bootstrap", "pydata-sphinx-theme")
STYLES = (*(_PYDATA / f"{name}.css" for name in _NAMES), _BOOK / "sphinx-book-theme.css")
WIDTHS = (360, 390, 1400)


def blocks(markdown: str) -> str:
    """HTML of the blocks of a page that are raw."""
    return "".join(re.findall(r"```\{raw\} html\n(.*?)```", markdown, re.DOTALL))


def write_page(folder: Path, name: str, body: str) -> Path:
    """Write a page into ``folder/book`` beside the scripts in ``folder/_static``; gives its path."""
    (folder / "book").mkdir(parents=True, exist_ok=True)
    (folder / "_static").mkdir(exist_ok=True)
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        shutil.copy(path, folder / "_static")
    styles = "".join(f'<link rel="stylesheet" href="{path.as_uri()}">' for path in STYLES)
    page = folder / "book" / f"{name}.html"
    page.write_text(
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f'{styles}<link rel="stylesheet" href="../_static/book.css"></head><body><main class="bd-main">'
        f'<article class="bd-article" style="padding:1rem"><h1>{name}</h1>{body}</article></main></body></html>',
        encoding="utf-8",
    )
    return page


def visit(browser, path, address="", **context):
    """Open a page in a context of its own; gives the page, and what went wrong on it."""
    settings = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"} | context
    page, said = browser.new_context(**settings).new_page(), []
    # The theme's own fonts cannot be had from a file, nor style sheets by axe.
    heard = re.compile(r"^(?!.*(\bfont\b|ERR_FAILED|XMLHttpRequest))", re.DOTALL)
    page.on("console", lambda m: said.append(m.text) if m.type == "error" and heard.match(m.text) else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
    page.goto(path.as_uri() + address)
    return page, said


def touch(page, *points):
    """One finger, or as many as each of the points (places of all fingers) has, from the first point to the last."""
    client = page.context.new_cdp_session(page)
    for number, fingers in enumerate(points):
        kind = "touchMove" if number else "touchStart"
        where = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    client.detach()


def settle(page):
    """Wait until a changed size or colour is drawn: it is seen in one frame, and drawn in the next."""
    page.evaluate("async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); }")


def check_layout_and_axe(page, widths=WIDTHS):
    """No screen is too narrow, and axe finds nothing, light or dark (but on the narrowest)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{wider} px wider than a screen of {width} px"
        for theme in ("light", "dark") if width != 360 else ():
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            settle(page)
            found = axe.Axe().run(page)
            assert not found.response["violations"], (width, theme, found.generate_report())
