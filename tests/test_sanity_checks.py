"""Maps that know the weights, the labels and the time lose or follow; maps that do not are told from them."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ecgstudy.book import sanity_pages as pages
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.explain import outside, sanity
from ecgstudy.paths import NOTEBOOKS
from ecgstudy.studies import sanity_checks
from ecgstudy.studies.catalogue import Sanity
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name


class Detector(nn.Module):
    """Finds where lead I is high; its logits are means over time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv1d(2, 4, 5, padding=2), nn.Conv1d(4, 6, 5, padding=2)
        self.head = nn.Linear(6, 2)
        self.head.weight.data.abs_()  # so that every map of a class has a positive part

    def features(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))))

    def forward(self, x):
        return self.head(self.features(x).mean(dim=-1)) + x[:, :1].clamp(min=0).mean(dim=-1)


def both_classes(m):
    return m.expand(-1, 2, -1)


OWN = {
    "CAM": lambda network, x: torch.einsum("ck,bkt->bct", network.head.weight, network.features(x)),
    "of the record": lambda network, x: both_classes(x[:, :1].clamp(min=0)),
    "of the place": lambda network, x: both_classes(torch.linspace(0, 1, x.shape[-1]).expand(len(x), 1, -1)),
}


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    signals, key = 0.1 * rng.standard_normal((6, 2, 500)), np.zeros((6, 500), dtype=bool)
    for row, inside in zip(signals, key, strict=True):
        for start in rng.choice(np.arange(0, 490, 20), 5, replace=False):
            row[:, start + 2 : start + 8], inside[start + 2 : start + 8] = 1, True
    return outside.cases_of(signals, [0, 1] * 3, key, fs=100, known=["a", "b"])


@pytest.fixture
def explained(cases):
    return outside.explained(Detector().eval(), cases, own=OWN, stride=1)


def mean(found, measure):
    (values,) = (v for (what, *_), v in found.items() if what == measure)
    return np.nanmean(values)


def test_a_map_of_the_record_outlives_all_weights_and_one_of_the_layers_does_not(explained, cases):
    found = {method: sanity_checks.lose_layers(explained[0], explained[1], cases, method) for method in OWN}
    steps = {key[1:]: v.mean() for key, v in found["CAM"].items() if key[0] == sanity_checks.LOST}
    assert list(steps) == [(1, "network.head"), (2, "network.second"), (3, "network.first")]
    assert list(steps.values())[-1] < 0.5
    kept = [v for key, v in found["of the record"].items() if key[0] == sanity_checks.LOST]
    assert len(kept) == 3
    np.testing.assert_allclose(kept, 1)
    # What no relation reads like: the marks of another record stand elsewhere, a ramp is in every record the same.
    assert abs(mean(found["of the record"], sanity_checks.ANOTHER)) < 0.3
    assert mean(found["of the record"], sanity_checks.MORE) > 0.7
    assert mean(found["of the record"], sanity_checks.ENERGY) > 0.3
    assert mean(found["of the place"], sanity_checks.ANOTHER) == pytest.approx(1)
    assert mean(found["of the place"], sanity_checks.MORE) == pytest.approx(0)


def test_a_level_map_has_nothing_to_lose():
    level, peak = np.full((1, 9), -1.0), np.eye(9)[:1]
    assert np.isnan(sanity.likeness(level, peak)) and np.isnan(sanity.likeness(level, level))
    assert sanity.likeness(peak, level) == 0 and sanity.likeness(peak, peak) == pytest.approx(1)


def test_costly_methods_skip_layers_but_neither_the_first_nor_the_last(explained, cases):
    every = {step: m for step, _, m in sanity.cascade_maps(explained[0], explained[1], cases, "CAM")}
    some = {step: m for step, _, m in sanity.cascade_maps(explained[0], explained[1], cases, "CAM", every=5)}
    assert list(every) == [0, 1, 2, 3] and list(some) == [0, 1, 3]
    assert all(np.array_equal(m, every[step]) for step, m in some.items())


def test_costly_methods_explain_fewer_records(cases):
    scores = {("x", 0, ""): np.arange(6.0)}, {("x", 0, ""): np.array([0.0, 2.0, 4.0])}
    found = dict(zip(("saliency", "integrated gradients"), scores, strict=True))
    rows = sanity_checks.means(found, cases, test="t", system="s", run="r").set_index("method")
    assert rows["n"].to_dict() == {"saliency": 6, "integrated gradients": 3}
    # Rows 0, 2 and 4 are of class a, which then is the only one; of all rows the mean is that of both classes.
    assert rows["value"].to_dict() == {"saliency": 2.5, "integrated gradients": 2.0}


def test_weights_beside_modules_are_lost_alone():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.arange(8.0)), nn.Linear(3, 8)

        def forward(self, x):
            return self.inner(x) * self.scale

    network, x = Scaled().eval(), torch.ones(1, 3)
    steps = dict(sanity.cascade(network, x))
    assert list(steps) == ["", "inner"]
    assert torch.equal(steps[""].inner.weight, network.inner.weight)
    assert not torch.equal(steps[""].scale, network.scale)
    assert not torch.equal(steps["inner"].inner.weight, network.inner.weight)


def test_permuted_labels_keep_their_number_in_each_part():
    cohort = synthetic_cohort(40, 125, seed=3)
    split = {"train": np.arange(0, 24), "valid": np.arange(24, 32), "test": np.arange(32, 40)}
    other = sanity_checks.permuted(cohort, split, 0)
    for part in split.values():
        np.testing.assert_array_equal(np.sort(other.labels[part], axis=0), np.sort(cohort.labels[part], axis=0))
    rows = [sorted(map(tuple, labels[split["train"]])) for labels in (cohort.labels, other.labels)]
    assert rows[0] == rows[1]  # whole records' labels changed places, not each class by itself
    assert (other.labels[split["train"]] != cohort.labels[split["train"]]).any()
    np.testing.assert_array_equal(other.labels[split["test"]], cohort.labels[split["test"]])
    assert other.checksum != cohort.checksum == synthetic_cohort(40, 125, seed=3).checksum
    assert other.checksum != sanity_checks.permuted(cohort, split, 1).checksum


def test_samples_in_another_order_are_put_back():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 503))
    for order in sanity_checks.orders(5, 503, 100).values():
        np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(503), (5, 1)))
        changed = np.take_along_axis(x, order, axis=1)
        assert not np.array_equal(changed, x)
        np.testing.assert_array_equal(sanity.put_back(changed, order), x)
    moved, pieces = sanity_checks.orders(5, 503, 100).values()
    assert np.isin(np.diff(moved, axis=1), (1, -502)).all()
    assert (np.diff(pieces[:, :500].reshape(5, -1, 20), axis=2) == 1).all()
    np.testing.assert_array_equal(pieces[:, 500:], np.tile(np.arange(500, 503), (5, 1)))


def test_the_key_moves_with_its_samples(cases):
    order = sanity_checks.orders(6, 500, 100)[sanity_checks.PIECES]
    after = sanity.reordered(cases, order)
    for row in range(6):
        np.testing.assert_array_equal(after.signals[row], cases.signals[row][:, order[row]])
        np.testing.assert_array_equal(after.key[row], cases.key[row][:, order[row]])
    np.testing.assert_array_equal(after.any_class, after.any_lead)


@pytest.mark.parametrize("how", [sanity_checks.MOVED, sanity_checks.PIECES])
def test_a_detector_follows_exactly_and_a_map_of_the_place_stays(explained, cases, how):
    found = sanity_checks.permute_time(explained[0], explained[1], cases, "of the record")[how]
    assert mean(found, sanity_checks.FOLLOWS) == pytest.approx(1)
    assert mean(found, sanity_checks.STAYS) < 0.5
    assert mean(found, sanity_checks.AFTER) == pytest.approx(mean(found, sanity_checks.BEFORE))
    assert mean(found, sanity_checks.AFTER) > 0.5 > mean(found, sanity_checks.FORMER)
    found = sanity_checks.permute_time(explained[0], explained[1], cases, "of the place")[how]
    assert mean(found, sanity_checks.STAYS) == pytest.approx(1)
    assert mean(found, sanity_checks.FOLLOWS) < 0.5
    assert mean(found, sanity_checks.MORE_FOLLOWS) < -0.5
    # Cells of one sample: the answer key on them is the answer key.
    found = sanity_checks.permute_time(explained[0], explained[1], cases, sanity_checks.PERFECT)[how]
    assert mean(found, sanity_checks.FOLLOWS) == mean(found, sanity_checks.AFTER) == pytest.approx(1)


def test_a_network_that_averages_over_time_answers_a_moved_record_alike(explained, cases):
    found = sanity_checks.probabilities(explained[0], explained[1], cases)[sanity_checks.MOVED]
    before, after = (found[f"{sanity_checks.PROBABILITY}, {when}", 0, ""] for when in ("before", "after"))
    np.testing.assert_allclose(before, after, atol=0.01)


def test_the_same_network_is_no_other(explained, cases):
    system, network = explained
    found = sanity_checks.permute_labels(system, network, network, cases, "CAM")
    assert mean(found, sanity_checks.ALIKE) == pytest.approx(1)
    assert mean(found, sanity_checks.LESS) == 0


@pytest.mark.slow
def test_a_system_through_all_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sanity_checks, "PROFILE", "smoke")
    monkeypatch.setattr(sanity_checks, "PER_CLASS", 1)
    monkeypatch.setattr(sanity_checks, "GRADIENTS", ("input × gradient",))
    monkeypatch.setattr(sanity_checks, "TABLE", tmp_path / "sanity.csv")
    study, name = Sanity(), "Local evidence"
    assert name in study.missing("sanity")
    (done,) = study.answer_all("sanity", [name])
    assert done[0] == name and name not in study.missing("sanity")
    rows = sanity_checks.committed()
    assert not rows.duplicated(list(study.keys)).any()
    assert set(rows["test"]) == {"cascade", "labels", *(f"time, {how}" for how in sanity_checks.orders(1, 500, 100))}
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    assert rows.loc[rows["test"] == "labels", "run"].str.split().map(len).max() == 2
    sanity_checks.keep(name, [rows.assign(value=0.0)])  # in the place of those that are there
    pd.testing.assert_frame_equal(sanity_checks.committed().drop(columns="value"), rows.drop(columns="value"))
    assert (sanity_checks.committed()["value"] == 0).all()


@pytest.fixture
def closed():
    yield
    plt.close("all")


def test_the_chapter_shows_the_committed_rows(closed):
    rows = sanity_checks.committed()
    systems = [cls.name for cls in catalogue.with_chapter()]
    assert list(dict.fromkeys(rows["system"])) == systems
    figure = pages.cascade(rows)
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert list(panels) == [f"{system}: {side}" for system in systems for side in ("own maps", "gradients")]
    for system in systems:
        drawn = {line.get_label(): line for line in panels[f"{system}: gradients"].lines}
        lost = rows.query("system == @system and method == 'input × gradient' and measure == @sanity_checks.LOST")
        np.testing.assert_array_equal(drawn["input × gradient"].get_ydata(), [1, *lost["value"]])
        assert set(by_name(system).own_maps) <= {line.get_label() for line in panels[f"{system}: own maps"].lines}
    for table in (pages.labels(rows), pages.time(rows)):
        assert all(name in table.data for name in (*systems, *sanity_checks.GRADIENTS))


def test_the_chapter_says_what_it_has_texts_for():
    cells = json.loads((NOTEBOOKS / "09_cam_analysis.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    texts = pages.texts(sanity_checks.committed())
    begins = {name.split("_")[0] for name in texts}
    told = {name for name in re.findall(r"{glue:text}`(\w+)`", prose) if name.split("_")[0] in begins}
    assert told == set(texts)
    assert not [name for name, text in texts.items() if not text or "nan" in text.split()]


def test_texts_follow_from_rows(closed):
    rows = sanity_checks.committed()
    before = pages.texts(rows)
    own = rows["method"].isin([name for cls in catalogue.with_chapter() for name in cls.own_maps])
    none = rows.assign(low=rows["low"].where(~(own & (rows["measure"] == sanity_checks.MORE)), -1))
    assert pages.texts(none)["cascade_own_kept"] == "none"
    every = rows.assign(low=rows["low"].where(~(own & (rows["measure"] == sanity_checks.MORE)), 0.01))
    assert pages.texts(every)["cascade_own_kept"].count("'s ") == own[rows["measure"] == sanity_checks.MORE].sum()
    assert pages.texts(every)["cascade_gradients_kept"] == before["cascade_gradients_kept"]
