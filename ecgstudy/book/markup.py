"""The HTML of a rendered page, mended: what Jupyter Book and its theme get wrong for readers without mouse or sight.

It is also made smaller, its figures lead to their whole picture and to their code, and a chapter's first use of a word
of the glossary leads there.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from sphinx.util.images import get_image_size

# What a chapter links at its first use: the end of the glossary's anchor → the words. Words that are mostly used in
# their everyday sense (map, run, record) are left out, and a lead is one only where a number or a name says so.
WORDS = {
    "ablation": r"ablations?",
    "answer-key": r"answer keys?",
    "AUROC": r"AUROC",
    "bootstrap": r"bootstrap",
    "cell": r"cells?",
    "class-activation-map": r"class activation maps?|(?<!-)CAMs?",
    "excess-mass": r"excess mass",
    "F2-G2": r"F2|G2",
    "global-average-pooling": r"global average pooling",
    "J-point": r"J points?",
    "lead": r"(?<=\b12[ -])leads?|(?<=\btwelve )leads|(?<=\beach )lead|leads?(?= (?:I{1,3}|aV[RLF]|V[1-6])\b)",
    "logit": r"logits?",
    "macro-micro": r"macro|micro",
    "member": r"members?",
    "P-wave": r"P waves?",
    "PR-interval": r"PR intervals?",
    "premature-beat": r"premature beats?",
    "QRS-complex": r"QRS complex(?:es)?|QRS",
    "receptive-field": r"receptive fields?",
    "ST-segment": r"ST segments?",
    "T-wave": r"T waves?",
}
_TERM = "glossary.html#term-"

_PRE = re.compile(r"<pre>.*?</pre>", re.DOTALL)
_PLAIN_TOKEN = re.compile(r'<span class="(?:n|nn|o|p|w)">([^<]*)</span>')
_TABLE = re.compile(r'<style type="text/css">\s*</style>\s*<table id="T_\w+"(.*?</table>)', re.DOTALL)
_CELL = re.compile(r'<(t[dh])(?: id="T_\w+")? class="([a-z_]+)[^"]*"([^>]*?) ?>')
_SCOPES = {"col_heading": ' scope="col"', "row_heading": ' scope="row"'}

# In the theme's scripts. The button is named "Search" where one reads "Search Ctrl+K"; and without a choice of the
# reader's the page has no colours before its last script has run, and none at all without scripts.
_SCRIPTS = {
    'search-button-field search-button__button" title="Search" aria-label="Search"': (
        'search-button-field search-button__button"'
    ),
    'localStorage.getItem("theme") || "auto"': (
        'localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")'
    ),
    'data-theme="auto"': 'data-theme="light"',
}


def smaller(html: str) -> str:
    """Drop what changes nothing on a page: tokens of code that have no colour, and names of the cells of tables."""

    def cell(match: re.Match[str]) -> str:
        tag, kind, more = match.groups()
        return f"<{tag}{_SCOPES.get(kind, '')}{more.rstrip()}>"

    html = _PRE.sub(lambda match: _PLAIN_TOKEN.sub(r"\1", match[0]), html)
    return _TABLE.sub(lambda match: "<table" + re.sub(r"\n\s+", "\n", _CELL.sub(cell, match[1])), html)


def definitions(glossary: str) -> dict[str, str]:
    """What the glossary's page (HTML) says of each term, by the end of its anchor."""
    found: dict[str, str] = {}
    for name in BeautifulSoup(glossary, "html.parser").select('dt[id^="term-"]'):
        text = name.find_next_sibling("dd")
        if text is not None:
            found[str(name["id"]).removeprefix("term-")] = " ".join(text.get_text().split())
    return found


def mended(html: str, folder: Path, terms: Mapping[str, str], *, chapter: bool = False) -> str:
    """Mend the HTML of a page that lies in ``folder``.

    Parameters
    ----------
    terms
        ``definitions`` of the glossary, which links to it carry.
    chapter
        Whether first uses of words are linked to the glossary.
    """
    html = smaller(html)
    for wrong, right in _SCRIPTS.items():
        html = html.replace(wrong, right)
    soup = BeautifulSoup(html, "html.parser")
    _head(soup)
    _landmarks(soup)
    _solutions(soup)
    _names(soup)
    _figures(soup, folder)
    if chapter:
        _first_uses(soup, terms)
    for link in soup.select(f'a[href*="{_TERM}"]'):
        if text := terms.get(str(link["href"]).partition(_TERM)[2]):
            link["class"] = " ".join(dict.fromkeys([*filter(None, link.get_attribute_list("class")), "term"]))
            link["data-definition"] = text
    return str(soup)


def _head(soup: BeautifulSoup) -> None:
    """Leave out a megabyte and a half of icons (book.css draws the dozen in use), and what live code would want."""
    for one in soup.select('link[href*="fontawesome"], script[src*="fontawesome"], script[type="text/x-thebe-config"]'):
        one.decompose()
    for script in soup.find_all("script"):
        if str(script.string or "").startswith("kernelName"):
            script.decompose()
    for again in soup.select('meta[name="viewport"]')[1:]:
        again.decompose()


def _landmarks(soup: BeautifulSoup) -> None:
    """Give every part of a page a landmark that says what it is."""
    for selector, role, name in (
        (".bd-sidebar-primary", "complementary", "Sidebar"),
        ("form.bd-search", "search", None),
        (".bd-sidebar-secondary nav", None, "On this page"),
    ):
        for part in soup.select(selector):
            part.attrs |= {key: value for key, value in (("role", role), ("aria-label", name)) if value}
    top, main = soup.select_one("#pst-back-to-top"), soup.select_one("main")
    if top and main:
        main.append(top.extract())


def _names(soup: BeautifulSoup) -> None:
    """Names that say what one sees, roles that exist, headings of tables that head something."""
    for summary in soup.select("details > summary"):
        if summary.get_text(strip=True):
            del summary["aria-label"]
        elif link := summary.find_parent("details").find_previous("a"):  # type: ignore[union-attr]
            summary["aria-label"] = f"Pages of {link.get_text(strip=True)}"
    for link in soup.select('a.btn-download-source-button[href$=".ipynb"]'):
        link["download"] = ""  # else a browser shows its JSON
        del link["target"]
    for entry in soup.select('[role="doc-biblioentry"]'):
        entry["role"] = "listitem"
    for head in soup.select("th"):
        if not head.get_text(strip=True) and not head.find("img"):
            head.name = "td"
            head.attrs.pop("scope", None)


def _solutions(soup: BeautifulSoup) -> None:
    """Fold the solutions of exercises without a script, name each by its exercise, and leave no id that two have."""
    for part in soup.select("#exercise-content, #solution-content"):
        del part["id"]
        part.name = "div"  # a section is a landmark without a name
    for shown in soup.select("div.exercise > p.admonition-title"):
        shown.decompose()  # the heading above says it
    for solution in soup.select("div.solution.dropdown"):
        title = solution.select_one("p.admonition-title")
        exercise = solution.find_previous("div", class_="exercise")
        if title is None or exercise is None:
            continue
        number = str(exercise["id"]).removeprefix("ex-")
        title.replace_with(soup.new_tag("summary", string=f"Solution of {number}"))
        solution.name = "details"
        solution["class"] = "solution ecgstudy-fold"


def _figures(soup: BeautifulSoup, folder: Path) -> None:
    """Each picture leads to itself at its own size, and is loaded when it is wanted; each figure leads to its code."""
    for number, image in enumerate(soup.select("article figure img, article .cell_output img")):
        source = str(image["src"])
        if not source.startswith("data:"):
            if not image.get("width") and (size := get_image_size(str(folder / source))):
                image["width"], image["height"] = map(str, size)
            if number:
                image["loading"] = "lazy"
            if image.find_parent("a") is None:
                image.wrap(soup.new_tag("a", attrs={"class": "enlarge", "href": source}))
    for figure in soup.select("article .cell figure[id]"):
        cell, caption = figure.find_parent(class_="cell"), figure.select_one("figcaption p")
        code = cell.select_one("details.hide, .cell_input") if cell else None
        if code is None or caption is None:
            continue
        code.attrs.setdefault("id", f"code-{figure['id']}")
        mark = soup.new_tag("a", attrs={"class": "figure-code", "href": f"#{code['id']}"}, string="code")
        caption.extend([" ", mark])


def _first_uses(soup: BeautifulSoup, terms: Mapping[str, str]) -> None:
    """Link the first use of each word in the text of a page; not in headings, code, tables, captions or other links."""
    linked = {str(link["href"]).partition(_TERM)[2] for link in soup.select(f'a[href*="{_TERM}"]')}
    wanted = {
        name: re.compile(rf"(?<!\w)(?:{words})(?!\w)")
        for name, words in WORDS.items()
        if name in terms and name not in linked
    }
    outside = {id(part) for part in soup.select("table, figcaption, details, form, a, .admonition-title, [data-plain]")}
    for block in soup.select("article p, article li, article dd"):
        if any(id(part) in outside for part in (block, *block.parents)):
            continue
        for text in [one for one in block.children if type(one) is NavigableString]:
            text.replace_with(*_with_links(soup, str(text), wanted))


def _with_links(soup: BeautifulSoup, text: str, wanted: dict[str, re.Pattern[str]]) -> list[str | Tag]:
    """Split a text at the first uses of the words that are still wanted, which are wanted no longer."""
    parts: list[str | Tag] = []
    while found := [(match, name) for name, words in wanted.items() if (match := words.search(text))]:
        match, name = min(found, key=lambda one: (one[0].start(), -one[0].end()))
        link = soup.new_tag("a", attrs={"class": "term", "href": f"../book/{_TERM}{name}"}, string=match[0])
        parts += [text[: match.start()], link]
        text = text[match.end() :]
        del wanted[name]
    return [*parts, text]
