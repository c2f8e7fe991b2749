"""Figures of numbers with intervals: every dot, bar and line stands where its number is."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection

from ecgstudy.book import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rows(*values, **columns):
    """Rows with intervals of 0.1 to either side, but for those that have none."""
    table = pd.DataFrame({"value": values, **columns})
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)


def dots(ax):
    """Points (x, y) of an axes' dots, with whether each is filled."""
    found: list[Any] = []
    for one in ax.collections:
        if isinstance(one, PathCollection):
            filled = not np.allclose(one.get_facecolor()[0], 1)
            found += [(round(x, 6), round(y, 6), filled) for x, y in np.asarray(one.get_offsets())]
    return sorted(found, key=lambda dot: (-dot[1], dot[0]))


def bars(ax):
    """Ends (low, high) of an axes' intervals."""
    lines = [one for one in ax.collections if isinstance(one, LineCollection)]
    return [tuple(np.round(segment[:, 0], 6)) for one in lines for segment in one.get_segments()]


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_rows_stand_from_the_top_with_their_numbers():
    (ax,) = plots.forest(rows(0.5, 0.8, system=["a", "b"]), xlabel="AUROC").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert dots(ax) == [(0.5, 0, True), (0.8, -1, True)] and bars(ax) == [(0.4, 0.6), (0.7, 0.9)]
    assert words(ax) == ["0.50", "0.80"] and ax.get_xlabel() == "AUROC"


def test_a_dot_is_open_where_its_interval_holds_the_line():
    (ax,) = plots.forest(rows(0.05, 0.3, -0.3, system=list("abc")), reference=0, said="no difference").axes
    assert [filled for *_, filled in dots(ax)] == [False, True, True]
    assert "no difference" in words(ax) and list(ax.lines[0].get_xdata()) == [0, 0]
    table = rows(0.05, 0.3, system=list("ab"), decided=[True, False])
    (ax,) = plots.forest(table, reference=0, sure="decided").axes
    assert [filled for *_, filled in dots(ax)] == [True, False]


def test_panels_share_rows_and_may_have_their_own_line():
    table = rows(0.5, 0.6, 0.1, system=["a", "b", "b"], metric=["AUROC", "AUROC", "less a"])
    figure = plots.forest(table, panels="metric", reference={"less a": 0}, xlabel="of the test")
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["AUROC", "less a"]
    assert dots(left) == [(0.5, 0, True), (0.6, -1, True)] and not left.lines
    assert dots(right) == [(0.1, -1, False)] and len(right.lines) == 1
    assert figure.get_supxlabel() == "of the test"


def test_series_share_a_row_below_each_other_and_are_named():
    table = rows(0.5, 0.7, 0.6, system=["a", "a", "b"], where=["real", "simulated", "simulated"])
    figure = plots.forest(table, series="where")
    ax = figure.axes[0]
    assert dots(ax) == [(0.5, 0, True), (0.7, -0.6, True), (0.6, -2.2, True)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    np.testing.assert_allclose(ax.get_yticks(), [-0.3, -1.9])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["real", "simulated"]


def test_more_series_than_marks_are_refused():
    with pytest.raises(ValueError, match="5 series on one row, at most 4"):
        plots.forest(rows(*range(5), system=["a"] * 5, where=list("abcde")), series="where")


def test_a_series_without_intervals_stands_on_the_row_of_the_first():
    table = rows(0.5, 0.6, 0.9, system=["a", "b", "a"], whose=["here", "here", "paper"])
    table.loc[2, ["low", "high"]] = np.nan
    figure = plots.forest(table, series="whose")
    ax = figure.axes[0]
    assert dots(ax) == [(0.5, 0, True), (0.9, 0, False), (0.6, -1, True)]
    assert [handle.get_marker() for handle in figure.legends[0].legend_handles] == ["o", "d"]
    assert words(ax) == ["0.50", "0.60", "0.90"] and np.allclose(ax.texts[2].get_position(), (4, 0))


def test_groups_have_headings():
    table = rows(0.5, 0.7, 0.6, system=["x", "y", "x"], group=["one", "two", "one"])
    ax = plots.forest(table.iloc[[0, 1]], groups="group").axes[0]
    labels = {round(y): label for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert {y: label.get_text() for y, label in labels.items()} == {0: "one", -1: "x", -2: "two", -3: "y"}
    assert [labels[y].get_fontweight() for y in (0, -1, -2, -3)] == ["bold", "normal", "bold", "normal"]
    assert dots(ax) == [(0.5, -1, True), (0.7, -3, True)]


def test_a_value_without_interval_has_no_bar_and_what_has_no_value_keeps_its_row():
    table = pd.DataFrame(
        {
            "system": ["a", "b", "c"],
            "value": [0.5, np.nan, 0.7],
            "low": [np.nan, np.nan, 0.6],
            "high": [np.nan] * 2 + [0.8],
        }
    )
    (ax,) = plots.forest(table, reference=0.65).axes
    assert bars(ax) == [(0.6, 0.8)] and [dot[:2] for dot in dots(ax)] == [(0.5, 0), (0.7, -2)]
    assert words(ax) == ["0.50", "0.70"]


def test_a_dollar_in_a_name_is_a_dollar():
    figure = plots.forest(rows(0.5, system=["2 $ an ECG"], metric=["$"]), panels="metric")
    figure.canvas.draw()


def test_axes_may_be_shorter_than_intervals():
    (ax,) = plots.forest(rows(0.05, system=["a"]), limits=(0, 1)).axes
    assert ax.get_xlim() == (0, 1)


def test_pairs_join_an_open_dot_and_a_filled_one():
    ax = plots.pairs(pd.DataFrame({"few": [0.1, 0.2], "many": [0.3, 0.1]}, index=["a", "b"]), xlabel="AUROC").axes[0]
    few, many = ax.lines
    assert few.get_xdata().tolist() == [0.1, 0.2] and few.get_markerfacecolor() == "white"
    assert many.get_xdata().tolist() == [0.3, 0.1] and many.get_ydata().tolist() == [1, 0]
    assert bars(ax) == [(0.1, 0.3), (0.1, 0.2)] or bars(ax) == [(0.1, 0.3), (0.2, 0.1)]


def test_bars_have_their_numbers_and_may_be_none():
    ax = plots.bars(pd.Series({"most": 1200, "least": 3}), xlabel="records", log=True).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["least", "most"]
    drawn: Any = ax.patches
    assert [bar.get_width() for bar in drawn] == [3, 1200] and words(ax) == ["3", "1,200"]
    assert ax.get_xscale() == "log"
    assert not plots.bars(pd.Series(dtype=int), xlabel="records", log=True).axes[0].patches
