from typing import Any, ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import beat_figures
from ecgstudy.book.beat_figures import MS
from ecgstudy.explain import beat_maps
from ecgstudy.studies.single_beats import Explained
from tests.planted_beats import planted_beats

BEATS = planted_beats()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


class Known(Explained):
    """What no network is asked for."""

    occluded: ClassVar = {(name, c): np.full((20, 11), 2.0) for name in ("FCN", "LSTM") for c in ("S", "V")}


@pytest.fixture(scope="module")
def explained():
    """Twenty beats each of S and V; maps, probabilities and answers are made up."""
    rng = np.random.default_rng(0)
    places = {c: np.flatnonzero(BEATS.table["aami"] == c)[:20] for c in ("S", "V")}
    keys = [(name, c) for name in ("FCN", "LSTM") for c in places]
    cells = {"FCN": 88, "LSTM": 11}
    return Known(
        BEATS,
        {"FCN": None, "LSTM": None},
        places,
        {key: rng.random(20) for key in keys},
        {key: np.arange(20) < 15 for key in keys},
        {key: rng.normal(size=(20, cells[key[0]])).astype(np.float32) for key in keys},
    )


def test_one_beat_of_each_class_with_ten_edges_between_segments():
    figure = beat_figures.one_of_each(BEATS, seed=3)
    assert [ax.get_title(loc="left")[0] for ax in figure.axes] == ["N", "S", "V", "F"]
    for ax in figure.axes:
        beat, *edges = ax.lines
        at = [edge.get_xdata()[0] for edge in edges]
        assert len(at) == 12 and np.ptp(np.diff(at)) < 1e-9 and at[4] < 0 < at[5]  # R in the fifth
        place = np.flatnonzero((BEATS.signal[:, 0] == beat.get_ydata()).all(axis=1))
        assert BEATS.table["aami"].iloc[place.item()] == ax.get_title(loc="left")[0]


def test_gradients_of_heads_are_named_by_what_they_read():
    shares = {"mean": np.full(11, 1 / 11), "last": np.eye(11)[-1]}
    (ax,) = beat_figures.head_gradients(shares).axes
    for line, (name, share) in zip(ax.lines, shares.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), share)


def test_the_surest_beat_is_that_of_the_less_sure_network(explained):
    figure = beat_figures.surest(explained)
    both = np.minimum(explained.probability["FCN", "V"], explained.probability["LSTM", "V"])
    ax = figure.axes[3]  # LSTM, V
    p = explained.probability["LSTM", "V"][both.argmax()]
    assert ax.get_title(loc="left") == f"LSTM: V, p = {p:.2f}"
    lines: Any = ax.collections[0]
    pieces, widths = np.array(lines.get_segments()), lines.get_linewidths()
    np.testing.assert_allclose(pieces[:, 0, 1], BEATS.signal[explained.places["V"][both.argmax()], 0, :-1])
    m = beat_maps.to_samples(explained.maps["LSTM", "V"])[both.argmax()]
    assert widths[m[:-1].argmax()] == pytest.approx(3.5) and widths[m[:-1].argmin()] == pytest.approx(1)


def test_rows_of_the_heat_map_are_sorted_and_the_line_counts_what_is_right(explained):
    ax = beat_figures.heat(explained).axes[0]
    (image,), (line,) = ax.images, ax.lines
    order = np.argsort(-explained.probability["FCN", "S"])
    maps = beat_maps.to_samples(explained.maps["FCN", "S"])[order]
    np.testing.assert_allclose(image.get_array(), maps / maps.max(axis=1, keepdims=True), rtol=1e-6)
    assert line.get_ydata()[0] == 15


def test_means_of_a_class_are_apart_by_answer(explained):
    figure = beat_figures.class_means(explained)
    beat, fcn = figure.axes[0], figure.axes[2]
    assert beat.get_title(loc="left") == "S: 20 beats"
    np.testing.assert_allclose(beat.lines[0].get_ydata(), np.median(explained.signals("S"), axis=0))
    right, wrong = fcn.lines
    assert (right.get_label(), wrong.get_label()) == ("right: 75%", "wrong: 25%")
    maps = beat_maps.to_samples(explained.maps["FCN", "S"])
    maps = maps / maps.max(axis=1, keepdims=True)
    np.testing.assert_allclose(wrong.get_ydata(), maps[15:].mean(axis=0), rtol=1e-5)


def test_bars_by_segment_are_shares_of_the_map_and_falls_of_the_logit(explained):
    figure = beat_figures.by_segment(explained, repeats=20)
    share, fall = figure.axes[1], figure.axes[3]  # of V
    bars: tuple[Any, ...] = (*share.patches, *fall.patches)
    heights = [bar.get_height() for bar in bars[: len(share.patches)]]
    assert sum(heights[:11]) == pytest.approx(1, abs=1e-6) and sum(heights[11:]) == pytest.approx(1, abs=1e-6)
    lstm = explained.maps["LSTM", "V"]
    assert heights[11] == pytest.approx((lstm[:, 0] / lstm.sum(axis=1)).mean(), abs=1e-6)
    assert all(bar.get_height() == pytest.approx(2) for bar in bars[len(share.patches) :])


def test_groups_stand_by_size_and_name_the_record_that_gives_most():
    group, records = np.array([1] * 6 + [0] * 4), np.array(list("aaabbb" + "cccd"))
    x, maps = np.tile(np.arange(10.0)[:, None], 264), np.eye(11)[np.arange(10)]
    figure = beat_figures.groups(x, maps, group, records)
    first, second = (ax.get_title(loc="left") for ax in figure.axes[:2])
    assert first.startswith("60%; 50% of it from") and second == "40%; 75% of it from c"
    assert figure.axes[0].lines[0].get_ydata()[0] == 2.5 and figure.axes[1].lines[0].get_ydata()[0] == 7.5
    mean = figure.axes[3].lines[0].get_ydata()
    np.testing.assert_allclose(mean[::24][:11], [0] * 6 + [0.25] * 4 + [0])
    assert len(mean) == len(MS)


def row(network, metric, c, value, split="DS1/DS2"):
    about = {"network": network, "split": split, "metric": metric, "class": c}
    return about | {"value": value, "low": value - 0.1, "high": value + 0.1}


def names(ax):
    """What stands at the rows of a figure, from the top."""
    found = zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
    return [label.get_text() for _, label in sorted(found, key=lambda tick: -tick[0])]


def test_scores_are_drawn_by_what_a_network_was_tested_on():
    rows = [row("A", "F1", "S", 0.5), row("A", "accuracy", "", 0.9), row("A", "F1", "F", 0.1)]
    figure = beat_figures.scores(pd.DataFrame([*rows, row("A", "accuracy", "", 0.8, "random beats")]))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["accuracy", "F1 S"]
    assert names(figure.axes[0]) == ["A", "A: random beats"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.90", "0.80"]


def test_maps_are_drawn_against_both_rivals():
    start = "map in the window"
    rows = [row("FCN", start, "V", 0.9), row("FCN", f"{start}, more than random", "V", 0.3)]
    rows += [row("FCN", f"{start}, more than energy", "V", -0.05), row("LSTM", f"{start}, more than random", "V", 0.2)]
    random, energy = beat_figures.windows(pd.DataFrame(rows)).axes
    assert random.get_title(loc="left") == "less at a random place" and names(random) == ["maps of V", "FCN", "LSTM"]
    assert [text.get_text() for text in random.texts] == ["no better", "0.30", "0.20"]
    assert [text.get_text() for text in energy.texts] == ["−0.05"]


def test_correlations_have_a_mark_a_class():
    rows = [row("FCN", "map correlates with: LSTM", c, v) for c, v in (("S", 0.2), ("V", 0.6))]
    figure = beat_figures.correlations(pd.DataFrame([*rows, row("FCN", "accuracy", "", 0.9)]))
    assert names(figure.axes[0]) == ["map of the FCN", "with LSTM"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["S", "V"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["no relation", "0.20", "0.60"]
