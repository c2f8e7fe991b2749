"""What is mended in a rendered page."""

import json

import pytest
from bs4 import BeautifulSoup
from docutils.utils.math import MathError
from PIL import Image

from ecgstudy.book.markup import WORDS, definitions, mended, smaller
from ecgstudy.book.pages import folded, mathml
from ecgstudy.paths import REPOSITORY

TERMS = {
    "cell": "One step in time.",
    "lead": "One of the twelve voltages.",
    "AUROC": "Area.",
    "macro-micro": "Two ways.",
}


def chapter(text, tmp_path, **options):
    return BeautifulSoup(
        mended(f"<html><body><main><article>{text}</article></main></body></html>", tmp_path, TERMS, **options),
        "html.parser",
    )


def test_code_loses_the_tokens_that_have_no_colour_and_no_letter():
    code = '<pre><span class="n">a</span> <span class="o">&lt;</span> <span class="mi">1</span></pre>'
    assert smaller(code) == '<pre>a &lt; <span class="mi">1</span></pre>'
    outside = '<p><span class="n">a</span></p>'
    assert smaller(outside) == outside


def test_a_table_of_pandas_keeps_its_texts_and_what_heads_what():
    import pandas as pd

    from ecgstudy.book.report import table

    frame = pd.DataFrame({"a b": [1.5, 2], "": ["x", "y & z"]}, index=["first", "second"])
    html = table(frame, "Numbers.", index=True).to_html()
    before, after = BeautifulSoup(html, "html.parser"), BeautifulSoup(smaller(html), "html.parser")
    texts = [[cell.get_text() for cell in soup.select("td, th, caption")] for soup in (before, after)]
    assert texts[0] == texts[1] and "y & z" in texts[1]
    assert not after.select("[id], td[class], style") and after.table["class"] == ["dataframe", "ecgstudy-table"]
    assert [head.get_text() for head in after.select('th[scope="row"]')] == ["first", "second"]
    assert after.select_one('th[scope="col"]').get_text() == "a b"
    assert len(smaller(html)) < 0.7 * len(html)


def test_a_table_with_a_style_of_its_own_is_left_alone():
    style = '<style type="text/css">\n#T_ab_row0_col0 { color: red; }\n</style>\n'
    html = f'{style}<table id="T_ab"><td id="T_ab_row0_col0" class="data row0 col0" >1</td></table>'
    assert smaller(html) == html


def test_a_heading_of_nothing_is_no_heading(tmp_path):
    soup = chapter("<table><tr><th scope='col'> \xa0</th><th>b</th></tr></table>", tmp_path)
    assert [cell.name for cell in soup.select("tr > *")] == ["td", "th"] and not soup.td.attrs


def test_a_figure_leads_to_its_picture_and_to_its_code(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    figure = '<figure id="fig-a"><img alt="A." src="a.png"/><figcaption><p>Fig. 1</p></figcaption></figure>'
    cell = (
        f'<div class="cell"><details class="hide"><summary aria-label="Toggle">Show</summary>x</details>{figure}</div>'
    )
    soup = chapter(cell + figure.replace("fig-a", "fig-b"), tmp_path)
    first, second = soup.select("figure")
    assert first.img.parent["href"] == "a.png" and (first.img["width"], first.img["height"]) == ("30", "20")
    assert "loading" not in first.img.attrs and second.img["loading"] == "lazy"
    mark = first.select_one("figcaption a")
    assert soup.select_one(mark["href"]) is soup.details and mark.get_text() == "code"
    assert second.select_one("figcaption a") is None  # no cell has drawn it
    assert "aria-label" not in soup.summary.attrs


def test_the_first_use_of_a_word_leads_to_the_glossary(tmp_path):
    text = (
        "<h2>Cells</h2><p>The cells of <code>cell</code>, which lead to macro-AUROC; more cells.</p>"
        "<table><tr><td><p>12 leads</p></td></tr></table><p>It leads. Of 12 leads <em>one</em>.</p>"
    )
    soup = chapter(text, tmp_path, chapter=True)
    links = soup.select("a.term")
    assert [link.get_text() for link in links] == ["cells", "macro", "AUROC", "leads"]
    assert links[0]["href"] == "../book/glossary.html#term-cell" and links[0]["data-definition"] == TERMS["cell"]
    assert soup.get_text() == BeautifulSoup(text, "html.parser").get_text()
    assert not chapter(text, tmp_path).select("a.term")


def test_a_word_that_the_page_links_itself_is_linked_once(tmp_path):
    text = '<p>A cell, and a <a class="reference" href="../book/glossary.html#term-cell"><span>cell</span></a>.</p>'
    (link,) = chapter(text, tmp_path, chapter=True).select("a")
    assert link["class"] == ["reference", "term"] and link["data-definition"] == TERMS["cell"]


def test_the_words_are_in_the_glossary():
    text = (REPOSITORY / "book" / "glossary.md").read_text(encoding="utf-8")
    terms = {line.replace(",", "").replace(" ", "-") for line in text.splitlines() if line and not line.startswith(" ")}
    assert WORDS.keys() <= terms


def test_a_definition_is_the_text_below_its_term():
    html = '<dl><dt id="term-J-point">J point<a>#</a></dt><dd><p>Where <em>QRS</em>\nends.</p></dd></dl>'
    assert definitions(html) == {"J-point": "Where QRS ends."}


def test_icons_of_the_theme_are_not_loaded_and_every_part_has_a_landmark(tmp_path):
    html = (
        '<html><head><script src="../_static/vendor/fontawesome/6/js/all.min.js"></script><meta name="viewport"/>'
        '<meta name="viewport"/></head><body><button id="pst-back-to-top"></button><div class="bd-sidebar-primary">'
        "</div><main></main></body></html>"
    )
    soup = BeautifulSoup(mended(html, tmp_path, {}), "html.parser")
    assert "fontawesome" not in str(soup) and len(soup.select("meta")) == 1
    assert (
        soup.main.button["id"] == "pst-back-to-top"
        and soup.select_one(".bd-sidebar-primary")["role"] == "complementary"
    )


def notebook(*cells):
    return json.dumps(
        {"cells": [{"cell_type": "code", "metadata": {}, "outputs": [], "source": ""} | c for c in cells]}
    )


def test_parameters_and_imports_are_folded():
    cells = [
        {"source": ["profile = 'demo'\n"], "metadata": {"tags": ["parameters"]}},
        {"source": ["# those of a chapter\n", "import numpy as np\n", "x = 1"]},
        {"source": ["from ecgstudy.profiles import settings\n", "p = settings('02', globals())"]},
        {"source": ["import this"], "outputs": ["seen"]},
        {"source": ["x = 2\n", "import numpy"]},
        {"source": ["%magic"]},
        {"source": []},
    ]
    done = json.loads(folded(notebook(*cells)))["cells"]
    assert [cell["metadata"].get("tags", []) for cell in done] == [
        ["hide-input", "parameters"],
        ["hide-input"],
        ["hide-input"],
        [],
        [],
        [],
        [],
    ]
    assert done[0]["metadata"]["mystnb"]["code_prompt_show"] == "Show the parameters"
    assert done[1]["metadata"]["mystnb"]["code_prompt_hide"] == "Hide the imports"
    assert [cell["source"] for cell in done] == [cell["source"] for cell in cells]


def test_formulas_are_mathml():
    assert mathml("x^2") == '<math xmlns="http://www.w3.org/1998/Math/MathML"><msup><mi>x</mi><mn>2</mn></msup></math>'
    big = BeautifulSoup(mathml(r"\Big(\sum_t \big(a - b\big)^2\Big)^{1/2}", block=True), "html.parser")
    assert big.math["display"] == "block" and big.select_one(".large").get_text() == "∑"
    assert [bracket.get_text() for bracket in big.select(".fence")] == ["(", "(", ")", ")"]
    brace = BeautifulSoup(mathml(r"\underbrace{a (b)}_{\text{of } t} + 1", block=True), "html.parser")
    base, below = brace.munder.find_all(recursive=False)
    assert base.name == "munder" and below.get_text() == "of\xa0t"
    with pytest.raises(MathError, match="nonsense"):
        mathml(r"\nonsense x")


def test_every_reference_leads_to_its_text():
    """But for a book, and for papers that have no number, or whose number nobody has checked."""
    from pybtex.database import parse_file

    entries = parse_file(str(REPOSITORY / "book" / "references.bib")).entries
    without = {key for key, entry in entries.items() if not {"doi", "eprint"} & set(entry.fields)}
    assert without == {
        "yoo2021xecgnet", "surawicz2008", "dower1980deriving", "holm1979multiple", "brendel2019bagnet",
        "hedstrom2023quantus",
    }  # fmt: skip
