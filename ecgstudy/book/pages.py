"""A Sphinx extension for the pages of the book: what Jupyter Book gets wrong, on each page and before the first."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def _clean(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    # Thebe, live code in the page, would be loaded from another host, and its settings are declared twice.
    context["script_files"] = [s for s in context["script_files"] if "thebe" not in f"{s} {s.attributes}".lower()]
    context["css_files"] = [s for s in context["css_files"] if "thebe" not in str(s)]
    # Light or dark as the reader's system says.
    context["default_mode"] = "auto"


def _link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Below the title of each chapter, links to the pages on which one can try what it is about."""
    if not page.startswith("notebooks/") or "book/explorer" not in app.env.found_docs or "body" not in context:
        return
    chapter, pathto = page.removeprefix("notebooks/"), context["pathto"]
    before, heading, after = context["body"].partition("</h1>")
    links = (
        f'<p><small>Try it: <a href="{pathto("book/explorer")}#chapter={chapter}">Explorer</a>, '
        f'<a href="{pathto("book/game")}">Where would you look?</a></small></p>'
    )
    context["body"] = f"{before}{heading}{links if heading else ''}{after}"


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


def _redirect(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text(REDIRECT.format(config=app.config), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("html-page-context", _clean, priority=900)
    app.connect("html-page-context", _link)
    app.connect("build-finished", _redirect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
