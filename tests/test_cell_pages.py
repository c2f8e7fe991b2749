"""Tables of cells beside evidence, against sums over the simulator's own table of evidence."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ecgstudy import maps
from ecgstudy.book import cell_pages, chapter, examples, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.metrics import Difference
from ecgstudy.systems.butt import BUTTSystem
from ecgstudy.systems.ecgmaster import ECGMasterSystem

STRIDE, SEED = 125, 8  # cells of a second


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def evidence(simulated, label, cells, first=0):
    """Cells that hold evidence of a class, of a record whose input begins after ``first`` samples of padding."""
    there = np.zeros(cells, dtype=bool)
    for one in simulated.evidence.itertuples():
        if one[1] == label:
            there[(first + one.onset) // STRIDE : (first + one.offset - 1) // STRIDE + 1] = True
    return there


def test_the_share_of_winning_cells_is_of_the_positive_part(monkeypatch):
    system = BUTTSystem(fs=125, seconds=10)
    ramp = torch.linspace(-1, 1, 10).expand(1, 9, -1)  # five cells are positive, by any network
    monkeypatch.setattr(maps, "max_cam", lambda network, x: ramp.expand(len(x), -1, -1))
    run = SimpleNamespace(network=lambda: SimpleNamespace(stride=STRIDE))
    ours = SimpleNamespace(has_key=True, system=system, runs=[run], repeats=20)
    won = cell_pages.winning_cells(ours, ["PVC", "PAC"], SEED, 4)
    table = won.set_index("class")
    positive = ramp[0, 0].clamp(min=0).numpy()
    for label in ("PVC", "PAC"):
        simulated = [synthetic.simulate(3 * i, SEED, fs=125, labels=frozenset({label})) for i in range(4)]
        key = np.array([evidence(s, label, 10) for s in simulated])
        assert table.loc[label, "records"] == 4
        assert table.loc[label, "won"] == pytest.approx((key @ positive / positive.sum()).mean())
        assert table.loc[label, "chance"] == pytest.approx(key.mean())
        assert table.loc[label, "value"] == pytest.approx(table.loc[label, "won"] - table.loc[label, "chance"])
    html = cell_pages.winners_table(won).data
    assert report.intervals(won)[0] in html and "<summary>Table: shares" in html
    (ax,) = cell_pages.drawn_winners(won).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["PVC", "PAC"]
    assert cell_pages.drawn_winners(None) is None is cell_pages.winners_table(None)


class Fixed:
    """A network of 14 cells whose attention all lies on one of them."""

    stride = STRIDE

    def __init__(self, cell):
        self.cell = cell

    def attention(self, x):
        weights = torch.zeros(len(x), 9, 14)
        weights[..., self.cell] = 1
        return weights


@pytest.fixture
def looks():
    """Inputs of 14 s whose records of 10 s begin after 2 s: as published on padding, masked in the record."""
    system = ECGMasterSystem(fs=125, seconds=14)

    def arm(*cells):
        runs = [SimpleNamespace(network=lambda c=c: Fixed(c)) for c in cells]
        difference = lambda *_: Difference(0.1, 0.05, 0.2, 0.01)  # noqa: E731
        answer = (np.zeros((4, 9)), None)
        return SimpleNamespace(has_key=True, system=system, runs=runs, repeats=20, difference=difference, answer=answer)

    return cell_pages.Attention(arm(0, 13), arm(5, 6), 12, SEED)


def test_attention_on_padding_and_what_masking_changes(looks, monkeypatch):
    glued = {}
    monkeypatch.setattr(report, "glue_all", lambda texts, **more: glued.update(texts, **more))
    (ax,) = looks.on_padding().axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)
    assert [text.get_text() for text in ax.texts] == ["share of cells", *["1.00"] * 9]
    assert looks.padding_table().data.count(">1.000 (1.000–1.000)<") == 9
    assert glued == {
        "padding_cells": "29", "padding_low": "100", "padding_high": "100",
        "masking": "0.100 (0.050–0.200)", "masking_p": "= 0.010", "masking_verdict": "masking helps",
    }  # fmt: skip


def test_shares_inside_the_evidence_and_overlaps(looks):
    table = report.wide(looks._inside, "class", "of", digits=2).set_index("class")
    assert table.loc["PVC", "energy"] in looks.inside_table().data
    simulated = [synthetic.simulate(i, SEED, fs=125, balance=1) for i in range(12)]
    for label in CLASSES:
        key = [evidence(s, label, 14, first=250) for s in simulated if label in s.record.labels]
        if key:
            inside = np.mean([(at[5] + at[6]) / 2 for at in np.array(key, dtype=float)])
            assert table.loc[label, "attention, masked"].startswith(report.number(inside, 2))
            assert table.loc[label, "attention, as published"].startswith("0.00 ")
            even = np.mean([at[2:12].mean() for at in key])
            assert table.loc[label, "evenly over the record"].startswith(report.number(even, 2))
    assert [text.get_text() for text in looks.inside().legends[0].get_texts()] == list(table)
    found = looks._overlaps.set_index("of")
    assert found.loc["two true classes", "value"].tolist() == [1, 1]  # each member looks at one cell
    assert found.loc["one true class, two members", "value"].tolist() == [0, 0]
    assert "1.00 (1.00–1.00)" in looks.overlaps_table().data and len(looks.overlaps().axes) == 1


def test_the_record_that_is_drawn_is_the_first_with_several_labels(looks, monkeypatch):
    drawn = []
    monkeypatch.setattr(examples, "class_rows", lambda *given, **options: drawn.append((given, options)))
    looks.over_a_record(looks.weights["masked"][0], "attention")
    ((x, fs, weights, stride), options) = drawn[0]
    simulated = (synthetic.simulate(i, SEED, fs=125, balance=1) for i in range(12))
    first = next(s for s in simulated if len(s.record.labels) > 1)
    assert set(options["labels"]) == first.record.labels and (fs, stride) == (125, STRIDE)
    assert x.shape[-1] == 14 * 125 and weights[:, 5].all()
    for label in options["labels"]:
        np.testing.assert_array_equal(options["evidence"][CLASSES.index(label)], evidence(first, label, 14, first=250))


def test_without_a_key_nothing_is_simulated(monkeypatch):
    said, glued = [], {}
    monkeypatch.setattr(chapter, "display", said.append)
    monkeypatch.setattr(report, "glue_all", glued.update)
    ours = SimpleNamespace(has_key=False)
    looks = cell_pages.Attention(ours, ours, 12, SEED)
    shown = [cell_pages.winning_cells(ours, ["PVC"], SEED), looks.on_padding(), looks.over_a_record(None, "")]
    shown += [looks.padding_table(), looks.inside(), looks.inside_table(), looks.overlaps(), looks.overlaps_table()]
    assert shown == [None] * 8 == [None for _ in said]
    assert set(glued.values()) == {"–"} and len(glued) == 6
