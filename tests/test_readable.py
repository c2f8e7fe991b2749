"""Chapters as notebooks to work in: nothing of MyST is left, and they run outside the book."""

import html
import json
import re

import nbformat
import papermill
import pytest
from pybtex.database import parse_file
from typer.testing import CliRunner

from ecgstudy.book import build, readable
from ecgstudy.cli import app
from ecgstudy.course import notebooks
from ecgstudy.paths import REPOSITORY
from tests.test_book import built as built

OF_MYST = re.compile(r"\{[\w:-]+\}`|^>? ?(:{3,}|`{3,}\{)|\{(glue|cite|numref|doc|ref)", re.MULTILINE)
VALUES, CITED = {"a": "0.5 (0.4–0.6)", "b": "`x`"}, {"k": "[K, 2020](https://doi.org/1)", "l": "L, 2021"}


def test_roles_become_what_they_show():
    text = "{glue:text}`a` and {glue:md}`b`, by {cite}`k,l`; {term}`lead`, {doc}`it <x>`"
    shown = readable.plain(text, VALUES, CITED)
    assert shown == "0.5 (0.4–0.6) and `x`, by [[K, 2020](https://doi.org/1); L, 2021]; lead, it"


def test_a_number_that_nothing_glued_is_told():
    with pytest.raises(ValueError, match="nothing glued 'c'"):
        readable.plain("{glue:text}`c`", VALUES, CITED)


def test_links_stay_where_their_page_lies_beside():
    text = "[one](01.ipynb), [two](02.ipynb), [page](../book/x.md#y), [web](https://a.org), ![](x.png)"
    assert readable.plain(text, {}, {}, {"01.ipynb"}) == (
        "[one](01.ipynb), two, page, [web](https://a.org), ![](x.png)"
    )


def test_directives_become_quotations():
    text = """\
Before.
````{admonition} What to *do*
:class: tip
One {glue:text}`a`.

```{note}
:::
```
````
```python
{a: `b`}
```"""
    assert (
        readable.plain(text, VALUES, CITED)
        == """\
Before.
> **What to *do***
>
> One 0.5 (0.4–0.6).
>
> > **Note**
> >
> > :::
```python
{a: `b`}
```"""
    )


def test_every_entry_of_the_bibliography_has_a_name_and_a_year():
    entries = parse_file(REPOSITORY / "book" / "references.bib").entries
    for entry in entries.values():
        text = readable.citation(entry)
        assert re.fullmatch(r"\[?[^\W\d][^\\{}\[\]]*, \d{4}(\]\(https://\S+\))?", text), text
    assert readable.citation(entries["vicar2020butt"]) == (
        "[Vicar et al., 2020](https://doi.org/10.22489/CinC.2020.189)"
    )


@pytest.mark.slow
def test_downloads_hold_nothing_of_the_books_markup_and_the_numbers_of_the_page(built):
    pages = built / "_build" / "html"
    for name in build.notebook_names():
        text = (pages / "_sources" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        told = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        assert not [found[0] for one in told if (found := OF_MYST.search(one))], name
        assert "papermill.record" not in text and told[1] == readable.NEEDS
        executed = nbformat.read(built / "notebooks" / f"{name}.ipynb", as_version=4)
        code = [[cell.source for cell in one.cells if cell.cell_type == "code"] for one in (notebook, executed)]
        assert code[0] == code[1]
        asked = sum(cell.source.count("{glue:") for cell in executed.cells)
        assert asked or name in ("02_preprocessing", "class"), name
        # What the page shows for each mark: Sphinx has filled it in by itself.
        page = (pages / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        shown = re.findall(r'<span class="pasted-text">([^<]*)</span>', page)
        text = "\n".join(told)
        assert not [one for one in shown if html.unescape(one).replace("’", "'") not in text], name


@pytest.mark.slow
def test_a_copy_runs_by_itself_outside_the_repository(tmp_path, built):
    call = CliRunner().invoke(app, ["course", "chapters", str(tmp_path / "new"), "--profile", "smoke"])
    assert call.exit_code == 0 and call.stdout.count(": made\n") == len(build.notebook_names())
    file = tmp_path / "new" / "02_preprocessing.ipynb"
    assert not any(cell.get("outputs") for cell in json.loads(file.read_text(encoding="utf-8"))["cells"])
    papermill.execute_notebook(file, file, cwd=tmp_path, progress_bar=False)
    done = json.loads(file.read_text(encoding="utf-8"))
    assert done["metadata"]["papermill"]["exception"] is None
    assert any("image/png" in output.get("data", {}) for cell in done["cells"] for output in cell.get("outputs", []))
    # Run, but not worked in.
    assert set(notebooks.write_chapters(tmp_path / "new", "smoke").values()) <= {"unchanged", "made"}


def test_a_book_that_is_not_built_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "REPOSITORY", tmp_path)
    call = CliRunner().invoke(app, ["course", "chapters", str(tmp_path / "new")])
    assert call.exit_code == 1 and "run `ecgstudy book --profile class`" in call.stderr
    assert not (tmp_path / "new").exists()
