"""A Sphinx extension for the pages of the book: what Jupyter Book puts on each page and this book cannot use."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def _clean(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    # Thebe, live code in the page, would be loaded from another host, and its settings are declared twice.
    context["script_files"] = [s for s in context["script_files"] if "thebe" not in f"{s} {s.attributes}".lower()]
    context["css_files"] = [s for s in context["css_files"] if "thebe" not in str(s)]
    # Light or dark as the reader's system says.
    context["default_mode"] = "auto"


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("html-page-context", _clean, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
