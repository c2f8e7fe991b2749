"""Executed chapters as notebooks to work in: what only the book's pages understand becomes plain Markdown."""

import re
from collections.abc import Collection, Mapping
from itertools import dropwhile
from typing import Any

from markdown_it import MarkdownIt

# A role of MyST, {name}`content` or {name}`text <target>`, and a link to what is no address of the web.
ROLE = re.compile(r"\{([\w:-]+)\}`([^`<]*?)\s*(?:<[^`]*>)?`")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:)([^)]*)\)")
_DIRECTIVE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
_OPTION = re.compile(r":[\w-]+:")
_GLUED = "application/papermill.record/"

# What a reader finds below the opening of a chapter that has been taken out of the book.
NEEDS = """\
> **To run this notebook** you need the book's repository. `make class` there opens JupyterLab with all that it wants;
> in an environment of your own, `pip install -e .` there does. The numbers in the text are those of the book from which
> it comes."""


def readable(notebook: Mapping[str, Any], cited: Mapping[str, str], beside: Collection[str] = ()) -> dict[str, Any]:
    """Make a copy of an executed notebook that reads well in JupyterLab and runs anywhere.

    The numbers that it glued stand in its text, directives are quotations, captions stand below their figures. Code
    that the book folds is folded. Code and outputs are otherwise as they were.

    Parameters
    ----------
    notebook
        Executed.
    cited
        Markdown for each key that it cites.
    beside
        Files that lie beside the copy: links to these stay, and of links to other pages the words.

    Raises
    ------
    ValueError
        naming what the text wants to show and nothing glued.
    """
    values = {name: text for cell in notebook["cells"] for name, text in _glued(cell)}
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cells.append({**cell, "metadata": {}, "source": plain("".join(cell["source"]), values, cited, beside)})
            continue
        cells.append(_code(cell))
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if "caption" in figure:
            text = f"**Figure.** {plain(figure['caption'], values, cited, beside)}"
            cells.append({"cell_type": "markdown", "id": f"{cell['id']}-caption", "metadata": {}, "source": text})
    cells.insert(1, {"cell_type": "markdown", "id": "needs", "metadata": {}, "source": NEEDS})
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "ecgstudy"}
    return {**notebook, "cells": cells, "metadata": metadata}


def _glued(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for output in cell.get("outputs", []):
        if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            data = output["data"]
            # A text is kept as Python writes it, in quotes.
            text = "".join(data.get(f"{_GLUED}text/markdown", data.get(f"{_GLUED}text/plain", "")))
            found.append((name, text[1:-1] if re.fullmatch(r"(['\"]).*\1", text, re.DOTALL) else text))
    return found


def _code(cell: Mapping[str, Any]) -> dict[str, Any]:
    tags = cell["metadata"].get("tags", [])
    kept = [tag for tag in tags if tag in ("parameters", "injected-parameters")]  # papermill's
    folded = {"hide-input", "hide-cell", "remove-input"} & set(tags)
    metadata = ({"tags": kept} if kept else {}) | ({"jupyter": {"source_hidden": True}} if folded else {})
    outputs = [output for output in cell["outputs"] if "scrapbook" not in output.get("metadata", {})]
    return {**cell, "metadata": metadata, "outputs": outputs}


def plain(text: str, values: Mapping[str, str], cited: Mapping[str, str], beside: Collection[str] = ()) -> str:
    """Markdown of a chapter without what MyST adds to it; parameters and errors as ``readable`` has them."""

    def role(match: re.Match[str]) -> str:
        kind, content = match[1], match[2]
        if kind.startswith("glue"):
            if content not in values:
                raise ValueError(f"nothing glued {content!r}, which the text shows")
            return values[content]
        if kind.startswith("cite"):
            return f"[{'; '.join(cited.get(key.strip(), key.strip()) for key in content.split(','))}]"
        return content

    text = LINK.sub(lambda link: link[0] if link[2] in beside else link[1], _without_directives(text))
    return ROLE.sub(role, text)


def _without_directives(text: str) -> str:
    """Each directive as a quotation: its title, or else its name, then what is in it."""
    lines = text.splitlines()
    for token in reversed(MarkdownIt("commonmark").parse(text)):
        match = _DIRECTIVE.match(token.info)
        if token.type != "fence" or token.level or token.map is None or match is None:
            continue
        inner = "\n".join(dropwhile(_OPTION.match, token.content.splitlines()))
        quoted = f"**{match[2] or match[1].capitalize()}**\n\n{_without_directives(inner)}"
        lines[slice(*token.map)] = [f"> {line}".rstrip() for line in quoted.splitlines()]
    return "\n".join(lines)


def citation(entry: Any) -> str:
    """Markdown of an entry of the bibliography (pybtex's): authors and year, linked if its address is known."""
    names = [
        " ".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in entry.persons["author"]
    ]
    text = f"{' and '.join(names) if len(names) < 3 else f'{names[0]} et al.'}, {entry.fields['year']}"
    doi, arxiv = entry.fields.get("doi"), entry.fields.get("eprint")
    url = f"https://doi.org/{doi}" if doi else f"https://arxiv.org/abs/{arxiv}" if arxiv else entry.fields.get("url")
    return f"[{text}]({url})" if url else text
