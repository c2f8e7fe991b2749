import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import explanation_figures as figures
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain.cases import Cases


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_one_record_has_its_lead_its_maps_and_its_key():
    signals = np.random.default_rng(0).normal(size=(2, 12, 300)).astype(np.float32)
    key = np.zeros((2, 12, 300), dtype=bool)
    key[0, 3, 100:150], key[1, 5, 200:220] = True, True
    names, any_lead = np.array(["r7", "r7"]), key.any(axis=1)
    classes = np.array([CLASSES.index("AF"), CLASSES.index("PVC")])
    cases = Cases(signals, classes, key, any_lead, any_lead, np.ones((2, 9), bool), names, names, 100.0)
    coarse = np.arange(2 * 150.0).reshape(2, 150)
    figure = figures.one_record(cases, [figures.Drawn("a\nCAM", coarse, 50.0), figures.Drawn("b", -coarse, 50.0)])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["r7: AF", "r7: PVC"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["II (mV)", "a\nCAM", "b"]
    np.testing.assert_array_equal(axes[0, 1].lines[0].get_ydata(), signals[1, 1])
    time, drawn = axes[1, 1].lines[0].get_data()
    np.testing.assert_array_equal(drawn, coarse[1])
    assert time[-1] == 149 / 50
    # From the sample where the evidence begins to the one where it ends, in seconds.
    (shade,) = axes[2, 1].collections
    inside = shade.get_paths()[0].get_extents()
    assert (inside.x0, inside.x1) == (2.0, 2.19)


def heat_of(figure):
    """Numbers written into a heat map, row by row, and its labels."""
    ax = figure.axes[0]
    rows, columns = ([t.get_text() for t in labels] for labels in (ax.get_yticklabels(), ax.get_xticklabels()))
    return np.array([float(t.get_text()) for t in ax.texts]).reshape(len(rows), -1), rows, columns


def test_a_heat_map_writes_its_numbers():
    table = pd.DataFrame([[1, 0.25], [-0.5, 1]], index=["a", "b"], columns=["c", "d"])
    figure = figures.heat(table, "correlation", size=(4, 3), title="of it", rotation=30)
    numbers, rows, columns = heat_of(figure)
    np.testing.assert_array_equal(numbers, table)
    assert (rows, columns) == (["a", "b"], ["c", "d"])
    assert figure.axes[0].get_title() == "of it" and figure.axes[1].get_ylabel() == "correlation"
    assert [t.get_rotation() for t in figure.axes[0].get_xticklabels()] == [30, 30]


def test_maps_that_know_nothing_stand_last_and_once():
    values = {"CAM": 0.1, "random": 0.2, "signal energy": 0.3, "QRS detector": 0.4}
    rows = [
        (system, method, trial, name, value + (system == "t"))
        for system in ("s", "t")
        for method, value in values.items()
        for trial, name in (("excess mass", "AF"), ("excess mass", "NSR"), ("excess mass", ""), ("AUC", "AF"))
    ]
    table = pd.DataFrame(rows, columns=["system", "method", "trial", "class", "value"])
    figure = figures.by_class(table)
    ax = figure.axes[0]
    rows = ["s: CAM", "s: random", "t: CAM", "t: random", "signal energy", "QRS detector"]
    assert [t.get_text() for t in ax.get_yticklabels()] == rows
    assert [t.get_text() for t in ax.get_xticklabels()] == list(CLASSES)
    # Two classes were tried; the rows' values of AF and NSR are the same.
    assert sorted(float(t.get_text()) for t in ax.texts) == sorted([0.1, 0.2, 1.1, 1.2, 0.3, 0.4] * 2)


def test_a_line_leads_from_few_records_to_many():
    rows = [
        ("s", "CAM", "few", 0.1), ("s", "CAM", "many", 0.3), ("t", "map", "few", 0.2), ("t", "map", "many", 0.7),
        ("t", "saliency", "few", 0.5), ("t", "saliency", "many", 0.6),
        ("s", "signal energy", "many", 0.2), ("t", "signal energy", "many", 0.4),
        ("s", "QRS detector", "many", 0.25), ("t", "QRS detector", "many", 0.25),
    ]  # fmt: skip
    six = pd.DataFrame(rows, columns=["system", "method", "network", "value"])
    six = pd.concat([six.assign(cohort="synthetic"), six.assign(cohort="LUDB", value=six["value"] / 2)])
    auroc = pd.DataFrame([("s", 0.8, 0.9), ("t", 0.7, 0.95)], columns=["system", "few", "many"])
    panels = {"synthetic": "simulated", "LUDB": "real"}
    figure = figures.few_and_many(six, auroc, {"s": ["CAM"], "t": ["map"], "u": ["none"]}, panels, bold=["t"])
    assert [ax.get_title() for ax in figure.axes] == ["simulated", "real"]
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    np.testing.assert_allclose(lines["t: map"].get_xydata(), [[0.7, 0.1], [0.95, 0.35]])
    assert lines["t: map"].get_linewidth() > lines["s: CAM"].get_linewidth()
    # The detector's and the energy's levels are means over the systems' rates.
    assert lines["signal energy"].get_ydata()[0] == pytest.approx(0.15)
    assert {"s: CAM", "QRS detector"} < set(lines) and not any("saliency" in label for label in lines)
