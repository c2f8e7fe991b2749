"""The simulated ECGs that show a class: they meet what is asked of them, and their pictures show where the key is."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ecgstudy.book import hearts
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.heart import PVC
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.reading import chart


@pytest.mark.parametrize("name", CLASSES)
def test_the_chosen_record_meets_all_criteria(name):
    s = hearts.shown(name)
    assert not hearts.unmet(s)
    assert s.one.record.labels == {name} and s.one.parameters["truth"] == [name]


@pytest.mark.parametrize("name", CLASSES)
def test_the_chosen_record_is_the_first_that_does(name):
    before = range(max(hearts.CHOSEN[name] - 20, 0), hearts.CHOSEN[name])
    assert all(hearts.unmet(hearts.simulated(name, index)) for index in before)


def test_a_search_says_when_it_finds_nothing(monkeypatch):
    never = {"never": lambda s: False}
    monkeypatch.setattr(hearts, "CRITERIA", {"NSR": never})
    with pytest.raises(LookupError, match=r"none of the first 2 records of seed 26 meets what is asked of NSR"):
        hearts.search("NSR", 2)
    monkeypatch.setattr(hearts, "CRITERIA", {"NSR": {"always": lambda s: True}})
    assert hearts.search("NSR", 2) == 0


def test_what_is_measured_is_what_the_signal_has():
    """Against the plain definition, sample by sample."""
    s = hearts.shown("PVC")
    two = s.signal[LEADS.index("II")]
    assert s.span("II") == pytest.approx(two.max() - two.min())
    rows = s.one.waves[(s.one.waves["lead"] == "II") & (s.one.waves["wave"] == "P")]
    assert s.wave("II", "P") == pytest.approx(np.median([two[r.peak] - two[r.onset] for r in rows.itertuples()]))
    width, inside = s.heart("pvc_duration"), 0
    for onset in s.beats(PVC):
        column = [k for k in range(4) if 2.5 * k <= onset - 0.1 and onset + width + 0.4 < 2.5 * (k + 1)]
        inside += len(column)
    assert inside == len(s.whole(PVC, width)) == len(s.beats(PVC))


def test_the_example_of_before_would_not_be_chosen():
    """Its premature beats lay between two columns of the chart, and lead II had .2 mV."""
    one = synthetic.simulate(0, 0, fs=hearts.FS, labels=frozenset({"PVC"}))
    assert hearts.unmet(hearts.Shown("PVC", one))


def test_a_case_of_it_has_the_key_of_the_simulator():
    case, s = hearts.case("STE", 125), hearts.shown("STE", 125)
    assert (case.key[0] == synthetic.answer_key(s.one.evidence, case.signals.shape[-1])[CLASSES.index("STE")]).all()
    again = synthetic_cases(125, 1, seed=1000, classes=["STE"])
    for name in case._fields:
        one, other = getattr(case, name), getattr(again, name)
        if isinstance(one, np.ndarray):
            assert one.shape == other.shape and one.dtype.kind == other.dtype.kind, name


def test_a_chart_tints_the_evidence_in_the_leads_that_have_it():
    signal = np.zeros((12, 1000), dtype=np.float32)
    key = np.zeros((12, 1000), dtype=bool)
    key[LEADS.index("V1"), 550:600] = True  # 5.5 to 6 s: within V1's column, from 5 to 7.5 s
    key[LEADS.index("I"), 550:600] = True  # lead I is not shown then
    drawn = chart.chart(signal, 100, title="t", description="d", evidence=key, names=[(1.5, 0.5, "P")])
    root = ElementTree.fromstring(drawn)
    tints = [p.get("d") for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("fill") == chart.MARKED]
    tints = [d for d in tints if d]
    assert len(tints) == 1
    x, width = (int(n) for n in re.match(r"M(\d+) \d+h(\d+)", tints[0]).groups())
    assert (x, width) == (700 + 5.5 * 2500, 0.5 * 2500)
    texts = {t.text: t for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert float(texts["P"].get("x")) == 700 + 1.5 * 2500
    plain = chart.chart(signal, 100, title="t", description="d")
    assert chart.MARKED not in plain and chart.MARK not in plain


@pytest.mark.parametrize("name", sorted(hearts.drawings()))
def test_every_drawing_is_svg_and_the_same_twice(name):
    draw = hearts.drawings()[name]
    text = draw()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg" and text == draw()
    assert len(text) < 250_000


def test_a_strip_shows_some_of_the_evidence_of_its_class():
    for name, (leads, start) in hearts.STRIPS.items():
        s = hearts.shown(name)
        shown = slice(round(start * s.fs), round((start + hearts.STRIP) * s.fs))
        assert all(s.key[LEADS.index(lead), shown].any() for lead in leads), name


def test_the_page_lists_every_criterion():
    text = hearts.rules()
    for name, criteria in hearts.CRITERIA.items():
        assert f"**{name}** (record {hearts.CHOSEN[name]:,})" in text
        assert all(one in text for one in criteria)
