"""A Sphinx extension for the pages of the book: what Jupyter Book gets wrong, on each page and before the first."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from ecgstudy import workers
from ecgstudy.book.markup import definitions, mended
from ecgstudy.book.readable import citation, readable


def _launch(app: Sphinx, config: Config) -> None:
    # Buttons of the theme for Binder and Colab want the repository's address.
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def _clean(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    # Thebe, live code in the page, would be loaded from another host, and its settings are declared twice.
    context["script_files"] = [s for s in context["script_files"] if "thebe" not in f"{s} {s.attributes}".lower()]
    context["css_files"] = [s for s in context["css_files"] if "thebe" not in str(s)]
    # Light or dark as the reader's system says.
    context["default_mode"] = "auto"
    # A 12-lead chart scrolls on a narrow screen, and what scrolls must be reached without a mouse.
    chart = r"<figure (?=[^>]*>\s*(?:<a [^>]*>\s*)?<img [^>]*ecg-chart)"
    context["body"] = re.sub(chart, '<figure tabindex="0" ', context.get("body", ""))


def _link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Below the title of each chapter: its paper in brief, if there is one, and pages on which one can try its maps.

    And its exercises, there and at its end; below the title of these the chapter, and a notebook to work in.
    """
    folder, _, chapter = page.rpartition("/")
    if "body" not in context or not re.match(r"\d\d_", chapter) or folder not in ("notebooks", "book/exercises"):
        return
    pathto, links = context["pathto"], []
    exercises = f"book/exercises/{chapter}"
    pages = {
        f"book/papers/{chapter.partition('_')[2]}": "The paper in brief",
        "book/explorer": "Explorer",
        "book/game": "Where would you look?",
        exercises: "Exercises",
    }
    if page == exercises:
        file = pathto(f"_static/exercises/{chapter}.ipynb", 1)
        links.append(f'<a href="{file}" download>A notebook of this page, with cells for your answers</a>')
        pages = {f"notebooks/{chapter}": "The chapter", "book/exercises/index": "All exercises"}
    links += [
        f'<a href="{pathto(name)}{f"#chapter={chapter}" if name == "book/explorer" else ""}">{title}</a>'
        for name, title in pages.items()
        if name in app.env.found_docs
    ]
    before, heading, after = context["body"].partition("</h1>")
    shown = f"<p><small>See also: {', '.join(links)}</small></p>" if heading and links else ""
    if page != exercises and exercises in app.env.found_docs:
        after += f'<p>Now you: <a href="{pathto(exercises)}">the exercises of this chapter</a>.</p>'
    context["body"] = f"{before}{heading}{shown}{after}"


# Jupyter Book's own redirect names no icon, and a browser, if it is quick, asks for /favicon.ico and gets a 404. The
# book's icon would be a request that the redirect breaks off: this page has an empty one.
REDIRECT = """<!DOCTYPE html>
<html lang="{config.language}">
<head>
<meta charset="utf-8">
<title>{config.html_title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={config.master_doc}.html">
</head>
<body><p><a href="{config.master_doc}.html">{config.html_title}</a></p></body>
</html>
"""


def folded(notebook: str) -> str:
    """The text of a notebook, its parameters and its imports folded: they show a reader nothing."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code" and (what := _what_shows_nothing(cell)):
            about = cell["metadata"]
            about["tags"] = sorted({*about.get("tags", []), "hide-input"})
            prompts = {f"code_prompt_{verb}": f"{verb.capitalize()} {what}" for verb in ("show", "hide")}
            about["mystnb"] = prompts | about.get("mystnb", {})
    return json.dumps(content)


def _what_shows_nothing(cell: dict[str, Any]) -> str | None:
    """What a cell holds that nobody wants to see at first: the parameters, or imports; None for any other."""
    if "parameters" in cell["metadata"].get("tags", []):
        return "the parameters"
    if cell.get("outputs"):
        return None
    try:
        first = ast.parse("".join(cell["source"])).body[:1]
    except SyntaxError:
        return None
    if not first or not isinstance(first[0], ast.Import | ast.ImportFrom):
        return None
    return "how they are read" if "settings(" in "".join(cell["source"]) else "the imports"


def _fold(app: Sphinx, page: str, source: list[str]) -> None:
    if page.startswith("notebooks/"):
        source[0] = folded(source[0])


def mathml(formula: str, *, block: bool = False) -> str:
    r"""A formula of TeX as MathML, which needs no script, takes no tab stop and is read aloud.

    Raises
    ------
    docutils.utils.math.MathError
        when it holds a command that is not known.
    """
    # Of \Big and its like docutils knows only those that say whether they open or close.
    formula = re.sub(r"(\\[Bb]igg?)(?=[(\[])", r"\1l", re.sub(r"(\\[Bb]igg?)(?=[)\]])", r"\1r", formula))
    # What stands below a brace would be a subscript of it.
    below = r"\\underbrace\{([^{}]*)\}_\{((?:[^{}]|\{[^{}]*\})*)\}"
    formula = re.sub(below, r"\\underset{\2}{\\underbrace{\1}}", formula)
    found = re.sub(r">\s+<", "><", tex2mathml(formula, as_block=block))
    # Large signs are large in every font: few systems have one for mathematics.
    found = re.sub(r'<mo maxsize="[\d.]+em" minsize="[\d.]+em" symmetric="true">', '<mo class="fence">', found)
    return re.sub("<mo([^>]*)>([∑∏])</mo>", r'<mo largeop="false" class="large"\1>\2</mo>', found) if block else found


def math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Sphinx calls this for a formula."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = mathml(node.astext(), block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from None
    self.body.append(f"{self.starttag(node, 'div', CLASS='math')}{formula}</div>\n" if block else formula)
    raise nodes.SkipNode


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    glossary = out / "book" / "glossary.html"
    terms = definitions(glossary.read_text(encoding="utf-8")) if glossary.exists() else {}
    pages = [page for page in out.rglob("*.html") if "_static" not in page.relative_to(out).parts]
    # Sphinx writes the pages in one process, since not all of its extensions can do with more.
    joblib.Parallel(n_jobs=workers.processes())(joblib.delayed(_mend)(page, terms) for page in pages)
    _copies(app, out / "_sources" / "notebooks")
    (out / "index.html").write_text(REDIRECT.format(config=app.config), encoding="utf-8")


def _mend(page: Path, terms: Mapping[str, str]) -> None:
    text = page.read_text(encoding="utf-8")
    page.write_text(mended(text, page.parent, terms, chapter=page.parent.name == "notebooks"), encoding="utf-8")


def _copies(app: Sphinx, folder: Path) -> None:
    """What the download button of a chapter gives: Sphinx has put the executed notebooks there as they are."""
    entries = app.env.get_domain("cite").bibdata.data.entries  # type: ignore[attr-defined]
    cited = {key: citation(entry) for key, entry in entries.items()}
    files = sorted(folder.glob("*.ipynb"))
    for file in files:
        copy = readable(json.loads(file.read_text(encoding="utf-8")), cited, {other.name for other in files})
        file.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_js_file("book.js", loading_method="defer")
    app.add_html_math_renderer("mathml", (math, None), (math, None))
    app.connect("config-inited", _launch)
    app.connect("source-read", _fold)
    app.connect("html-page-context", _clean, priority=900)
    app.connect("html-page-context", _link)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
