"""The page of one record: its numbers are the API's, no text on it is markup, and it works where it is opened."""

import dataclasses
import html.parser
import re
from types import SimpleNamespace

import numpy as np
import pytest

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.reading import counterfactual
from ecgstudy.reading.chart import LEVELS, chart
from ecgstudy.reading.explanation import ERASED, explain
from ecgstudy.reading.page import _agreement, page, percent, sentence, signed, span
from ecgstudy.reading.shipped import shipped
from ecgstudy.reading.waves import PARTS
from tests.test_book import browser as browser

HOSTILE = '<script>alert(1)</script>" onload="alert(2)\' & {{ 7777*7 }} \x1b[31m'


@pytest.fixture(scope="module")
def simulated():
    return synthetic.simulate(3, 0, labels=frozenset({"RBBB", "PVC"}))


@pytest.fixture(scope="module")
def answer(simulated):
    return explain(simulated.record)


@pytest.fixture(scope="module")
def text(answer):
    return page(answer, file="r1")


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, and tables as rows of texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.cell, self.words = [], [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        self.words.append(data)
        if self.cell:
            self.tables[-1][-1][-1] += data


def table(parsed, heading):
    (found,) = [rows for rows in parsed.tables if rows and rows[0] and heading in rows[0]]
    return found


def test_numbers_of_the_answer_are_the_apis(answer, text):
    rows = table(Parsed(text), "Called from")[1:]
    assert [row[0].split()[0] for row in rows] == list(CLASSES)
    for c, row in enumerate(rows):
        assert row[1] == percent(answer.probabilities[c]) and row[3] == percent(answer.thresholds[c])
        assert row[4] == ("yes" if answer.called[c] else "no")
        assert row[5] == f"{(answer.members[:, c] >= answer.shipped.thresholds[:, c]).sum()} of 5"
        assert row[6] == span(answer.members[:, c].min(), answer.members[:, c].max())
        held_out = answer.shipped.targets[:, c], answer.shipped.called[:, c]
        assert row[7] == f"{(held_out[0] & held_out[1]).sum()} of {held_out[1].sum()}"
        assert row[8] == str(held_out[0].sum())
        value, low, high = answer.shipped.score("AUROC", CLASSES[c])
        assert row[9] == f"{value:.2f} ({low:.2f} – {high:.2f})"
    for c, row in enumerate(table(Parsed(text), "No. 1")[1:]):
        assert row == [CLASSES[c], *map(percent, answer.members[:, c])]


def test_numbers_of_map_sum_and_bridges_are_the_apis(answer, text):
    parsed, name = Parsed(text), answer.main[0]
    shares = answer.shares(name)
    rows = table(parsed, "TQ")
    assert rows[0][1:] == list(PARTS)
    assert rows[1] == ["the map", *map(percent, shares["share"])] and rows[2] == [
        "chance",
        *map(percent, shares["chance"]),
    ]
    by_lead = table(parsed, "aVR")
    assert by_lead[0][1:] == list(LEADS)
    assert by_lead[1][1:] == [f"{100 * v:.0f}" for v in answer.leads(name)]
    assert by_lead[4][1:] == [f"{100 * v:.0f}" for v in answer.shares_by_lead(name).loc["QRS"]]
    terms = answer.terms(name)
    rows = {row[0]: row[1:] for row in table(parsed, "member 1")[1:]}
    for part in (*PARTS, "bias"):
        assert rows[part] == [signed(terms.loc[terms["part"] == part, m].sum()) for m in range(1, 6)]
    assert rows["logit"] == [signed(v) for v in answer.window(name).logits[:, CLASSES.index(name)]]
    assert rows["probability, calibrated"] == [percent(p) for p in answer.members[:, CLASSES.index(name)]]
    rows = {row[0]: row[1:] for row in table(parsed, "Without")[1:]}
    for wave in ERASED:
        assert rows[wave] == [signed(100 * v, 0) for v in answer.bridged.loc[wave]]


def test_numbers_are_written_as_people_read_them():
    no_break = "\N{NO-BREAK SPACE}"
    assert [percent(p).replace(no_break, " ") for p in (0.5749, 0.0996, 0.0994, 0, 1, np.nan)] == [
        "57 %", "10 %", "9.9 %", "0.0 %", "100 %", "–"
    ]  # fmt: skip
    assert [signed(v) for v in (0.004, -0.004, 1.5, -2)] == ["0.00", "0.00", "+1.50", "−2.00"]


def test_the_answer_in_a_sentence(answer):
    p = dict(zip(CLASSES, answer.probabilities, strict=True))
    expected = f"Premature ventricular beat (PVC, {percent(p['PVC'])}) and right bundle branch block"
    assert sentence(answer).startswith(expected)
    nothing = dataclasses.replace(answer, members=answer.members * 0.01)
    assert sentence(nothing).startswith("None of the nine findings is called. Nearest is ")
    assert "not fit" in sentence(dataclasses.replace(answer, windows=()))


def test_hostile_names_are_shown_as_they_are(answer):
    evil = dataclasses.replace(answer.record, name=HOSTILE, patient_id=HOSTILE, codes=(HOSTILE,), sex=HOSTILE)
    parsed = Parsed(page(dataclasses.replace(answer, record=evil), file=HOSTILE, show_identity=True))
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "iframe", "object", "embed", "form", "img")]
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    assert "".join(parsed.words).count("<script>alert(1)</script>") >= 3
    assert "54439" not in "".join(parsed.words) and "\x1b" not in "".join(parsed.words)


def test_the_page_asks_no_host(text):
    for tag, attrs in Parsed(text).tags:
        for name, value in attrs.items():
            if name in (
                "href",
                "src",
                "srcset",
                "action",
                "poster",
                "data",
                "xlink:href",
                "fill",
                "style",
                "clip-path",
            ):
                assert not re.search(r"//|url\((?!#)", value or ""), (tag, name, value)
    css = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css and "@import" not in css and "//" not in css
    assert "default-src 'none'" in text


def test_whose_it_is_stays_off_the_page_unless_asked(answer):
    about = {"patient_id": "SMITH^JANE", "age": 61.0, "sex": "F", "codes": ("Dr. Jones saw it",), "name": "hospital-7"}
    about["identity"] = {"hospital": "St. Elsewhere"}
    record = dataclasses.replace(answer.record, **about)
    text = page(dataclasses.replace(answer, record=record), file="a.hea")
    words = "".join(Parsed(text.partition("<svg")[0] + text.rpartition("</svg>")[2]).words)
    for secret in ("SMITH", "JANE", "Jones", "hospital-7"):
        assert secret not in words, secret
    assert not re.search(r"\b61(?!\.?\d| %)", words)  # the age; a share may be 61 %
    for secret in ("SMITH", "Jones", "hospital-7", "Elsewhere"):
        assert secret not in text
    shown = page(dataclasses.replace(answer, record=record), file="a.hea", show_identity=True)
    assert "SMITH^JANE" in shown and "St. Elsewhere" in shown and "Dr. Jones saw it" in shown


def test_every_map_and_the_simulated_heart_without_a_finding_are_told(simulated, answer):
    one = counterfactual.compare("PVC", 3, 0, labels=frozenset({"RBBB", "PVC"}))
    text = page(answer, file="r", classes=["RBBB", "AF", "STE"], without=[one])
    assert text.count("<svg xmlns") == 3 and "The map of AF" in text and "The map of STE" in text
    (rows,) = [t for t in Parsed(text).tables if t[0][0] == "Without" and t[1][0] == "PVC"]
    assert rows[1][1:10] == [signed(100 * v, 0) for v in one.without.probabilities - answer.probabilities]
    numbers = one.numbers()
    assert rows[1][10:] == [f"{numbers['ECG']:.2f}", percent(numbers["time"]), percent(numbers["mass"])]


@pytest.mark.parametrize("name", ["CNN-GAP", "xECGNet", "BUTTeam", "ECGMaster", "Local evidence, simulated"])
def test_every_system_has_its_page(simulated, name):
    text = page(explain(simulated.record, system=name), file="r")
    assert f"Read by <b>{name}</b>" in text and ("The sum that makes" in text) == name.startswith("Local")
    assert ("There is one network." in text) == (len(shipped(name).runs) == 1)


def test_flat_maps_have_no_order_to_compare():
    pairs = np.full(3, np.nan)
    one = SimpleNamespace(agreement=lambda name: pairs)
    assert "have a flat map" in _agreement(one, "AF")
    pairs[1] = 0.25
    assert "correlate by 0.25 to 0.25 (Spearman, mean 0.25)" in _agreement(one, "AF")


def test_an_unfit_record_is_drawn_and_not_answered(simulated, answer):
    finding = SimpleNamespace(name="flat", verdict="unfit", value=3.0, unit="s", leads=("V1",), how="looked", detail="")
    quality = SimpleNamespace(fit=False, sentence="Not fit to be read: flat.", findings=(finding,))
    text = page(dataclasses.replace(answer, quality=quality, windows=()), file="r")
    assert "Not fit to be read: flat." in text and "None is given" in text and "<svg xmlns" in text
    assert 'id="table-1"' not in text and "3 s" in text


# --- the chart -------------------------------------------------------------------------------------------------------


def test_the_trace_is_the_ecg_at_its_scale():
    t = np.arange(2500) / 250
    signal = np.array([(0.1 + lead / 20) * np.sin(2 * np.pi * (0.5 + lead / 8) * t) for lead in range(12)])
    drawn = str(chart(signal, 250, title="t", description="d"))
    paths = re.findall(r'<path d="M(-?\d+) (-?\d+)l([-\d ]+)"/>', drawn)
    assert len(paths) == 13
    order = ("I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II")
    for number, (lead, (x, y, steps)) in enumerate(zip(order, paths, strict=True)):
        moved = np.cumsum([[int(x), int(y)], *np.array(steps.split(), dtype=int).reshape(-1, 2)], axis=0)
        seconds = (moved[:, 0] - 700) / 2500
        column, row = (number % 4, number // 4) if number < 12 else (0, 3)
        base = 300 + round((row + 0.55) * 2600)
        if number < 12:
            assert seconds[0] == pytest.approx(2.5 * column) and seconds[-1] == pytest.approx(2.5 * column + 2.496)
        own = signal[LEADS.index(lead)]
        expected = np.interp(seconds, t, own - np.median(own))
        np.testing.assert_allclose((base - moved[:, 1]) / 1000, expected, atol=0.0006)


def test_the_map_is_laid_where_it_is_high():
    m = np.zeros(1250)
    m[250:300], m[1000:1010], m[600:700] = 1, 0.4, -2
    drawn = str(chart(np.zeros((12, 2500)), 250, title="t", description="d", maps=m, map_fs=125))
    (_, low), (_, high) = LEVELS[1], LEVELS[3]
    for colour, begin, seconds in ((high, 2.0, 0.4), (low, 8.0, 0.08)):
        found = re.findall(rf'fill="{colour}" d="M(\d+) (\d+)h(\d+)v\d+h-\d+z"', drawn)
        rows = 4  # the three leads of that column, and lead II below
        assert len(found) == rows
        assert {(int(x), int(width)) for x, _, width in found} == {(700 + 2500 * begin, 2500 * seconds)}
    assert drawn.count(LEVELS[2][1]) == 1  # in the legend alone


def test_a_map_by_lead_is_laid_over_its_lead_alone():
    m = np.zeros((12, 1250))
    m[LEADS.index("aVL"), 400:420] = 1  # in its column
    drawn = str(chart(np.zeros((12, 2500)), 250, title="t", description="d", maps=m, map_fs=125))
    ((x, y),) = re.findall(rf'fill="{LEVELS[3][1]}" d="M(\d+) (\d+)h', drawn)
    assert int(x) == 700 + 2500 * 3.2 and 300 + 2600 < int(y) < 300 + 2 * 2600


def test_the_chart_says_what_it_shows(text):
    (about,) = re.findall(r"<desc[^>]*>(.*?)</desc>", text)[:1]
    assert re.search(
        r"\d+.% of what speaks for PVC lies .*, which take .*% of the time\. \d+ beats, \d+ a minute\.", about
    )


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(browser, text, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "r1.html"
    path.write_text(text, encoding="utf-8")
    one, said = browser.new_page(viewport={"width": 1440, "height": 900}), []
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("request", lambda request: said.append(request.url))
    one.goto(path.as_uri())
    yield one, said, path
    one.close()


def test_the_page_opens_from_a_file_and_fits_every_screen(opened):
    one, said, path = opened
    assert said == [path.as_uri()]
    for width in (360, 390, 768, 1440):
        one.set_viewport_size({"width": width, "height": 900})
        wider = one.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{wider} px wider than a screen of {width} px"


def test_everything_is_reached_by_keyboard(opened):
    one, _, _ = opened
    one.set_viewport_size({"width": 390, "height": 900})
    count = one.locator("summary, [tabindex='0']").count()
    reached = set()
    for _ in range(count):
        one.keyboard.press("Tab")
        reached.add(one.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    closed = one.locator("details [tabindex='0']").count()
    assert len(reached) >= count - closed
    one.locator("summary").first.focus()
    one.keyboard.press("Enter")
    assert one.locator("details").first.evaluate("d => d.open")
    one.keyboard.press("Enter")


def test_headings_and_regions_have_names_in_order(opened):
    one, _, _ = opened
    levels = one.eval_on_selector_all("h1, h2, h3", "all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1 and max(levels) == 2
    names = one.eval_on_selector_all(
        "[role=region], table",
        "all => all.map(r => r.getAttribute('aria-label') || "
        "document.getElementById(r.getAttribute('aria-labelledby')).textContent)",
    )
    assert all(len(name) > 15 for name in names) and len(names) >= 9
    charts = one.eval_on_selector_all("svg[role=img]", "all => all.map(s => s.querySelector('desc').textContent)")
    assert all(len(about) > 40 for about in charts)


@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(browser, opened, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    _, _, path = opened
    context = browser.new_context(viewport={"width": width, "height": 900}, bypass_csp=True)
    one = context.new_page()
    one.goto(path.as_uri())
    one.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = axe.Axe().run(one)
    context.close()
    assert not found.response["violations"], found.generate_report()


def test_text_stands_out_from_its_ground(opened):
    """WCAG 2.2, AA: 4.5 to 1."""
    one, _, _ = opened
    one.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    pairs = one.evaluate(
        """() => [...document.querySelectorAll('h1,h2,p,li,th,td,summary,figcaption,b,span')].map(e => {
            let g = e; while (g && getComputedStyle(g).backgroundColor === 'rgba(0, 0, 0, 0)') g = g.parentElement;
            const ground = g ? getComputedStyle(g).backgroundColor : 'rgb(255, 255, 255)';
            return [getComputedStyle(e).color, ground, e.tagName]})"""
    )
    one.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
    assert len(pairs) > 100
    for colour, ground, tag in {tuple(pair) for pair in pairs}:
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (tag, colour, ground)


def luminance(colour: str) -> float:
    c = np.array([int(v) for v in re.findall(r"\d+", colour)[:3]]) / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def test_levels_of_the_map_can_be_told_apart_in_grey_and_under_the_trace():
    grey = [
        luminance("rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))) for _, colour in LEVELS
    ]
    ratios = [(a + 0.05) / (b + 0.05) for a, b in zip([1.0, *grey], grey, strict=False)]
    assert min(ratios) > 1.25 and (grey[-1] + 0.05) / (luminance("rgb(26, 26, 26)") + 0.05) > 3


def test_it_prints_on_one_sheet_across_and_one_upright(browser, answer, text, tmp_path):
    several = [counterfactual.compare(name, 3, 0, labels=frozenset({"RBBB", "PVC"})) for name in ("RBBB", "PVC")]
    for number, one in enumerate((text, page(answer, file="r", without=several))):
        path = tmp_path / f"{number}.html"
        path.write_text(one, encoding="utf-8")
        opened = browser.new_page()
        opened.goto(path.as_uri())
        opened.pdf(path=tmp_path / "r1.pdf", prefer_css_page_size=True, print_background=True)
        opened.close()
        boxes = re.findall(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+) ?\]", (tmp_path / "r1.pdf").read_bytes())
        sizes = [tuple(round(float(v) / 72 * 25.4) for v in box) for box in boxes]
        assert sizes == [(297, 210), (210, 297)]
