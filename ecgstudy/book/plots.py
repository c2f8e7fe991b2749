"""Figures: ECGs as they look on paper, maps over them, and the curves of a training."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from ecgstudy.book import report
from ecgstudy.data.records import LEADS, Record
from ecgstudy.reading.chart import MARK, MARKED

PAPER, GRID, INK, EVIDENCE = "#fffaf5", "#e8a598", "#1a1a1a", "#117733"
# Any two differ to the colour-blind and in grey print too, and each stands out from white (tests/test_plots.py).
NAVY, ORANGE, GREEN, BLUE, RED, BLACK = PALETTE = ("#102a80", "#d97a0c", "#0a7350", "#1d7fd6", "#9c2117", "#141414")
# So many that colour and dash together tell 30 lines apart.
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (9, 2)))
# Of numbers with a sign. What is for a class is red, what is against it blue, and lighter, so that grey print tells.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#7db8e8", "#f7f7f7", "#a50f15"])
MM = 1 / 25.4  # of an inch
# Columns of the usual chart: limb leads, augmented leads, V1-V3, V4-V6; lead II once more as rhythm strip.
CHART = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))


def plain(text: str) -> str:
    """Text as a figure shows it as it is: a dollar would begin a formula, and an odd one end the figure."""
    return str(text).replace("$", r"\$")


def style() -> None:
    """One look for all figures of the book."""
    sns.set_theme(context="paper", style="ticks", palette=list(PALETTE), font_scale=1.05)
    plt.rcParams.update(
        {"figure.dpi": 144, "savefig.bbox": "tight", "axes.spines.top": False, "axes.spines.right": False}
    )


def looks(names: Iterable[str], order: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Colour and dash of a line for each name; a name of ``order`` looks the same in every figure."""
    names = list(names)
    places = {name: place for place, name in enumerate(dict.fromkeys([*order, *names]))}
    return {
        name: {"color": PALETTE[places[name] % len(PALETTE)], "linestyle": DASHES[places[name] % len(DASHES)]}
        for name in names
    }


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Move numbers as little as possible, in the square, until they are ``gap`` apart, within 0 and 1, in their order.

    Where so many do not fit they are as far apart as they can be.
    """
    order = np.argsort(places, kind="stable")
    steps = np.arange(len(order)) * min(gap, 1 / max(len(order) - 1, 1))
    moved = np.empty(len(order))
    wanted = np.asarray(places, dtype=float)[order] - steps
    moved[order] = isotonic_regression(wanted, y_min=0, y_max=1 - steps[-1]) + steps
    return moved.tolist()


def label_ends(ax: Axes, *, gap: float = 0.07, fontsize: float = 8) -> None:
    """Write the name of each line that has one beside its right end, in place of a legend; a thin line leads there.

    Call it last: it wants the limits of the axes.
    """
    ax.autoscale_view()
    named = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    if not named:
        return
    ends = [np.asarray(line.get_xydata())[-1] for line in named]
    heights = [ax.transAxes.inverted().transform(ax.transData.transform(end))[1] for end in ends]
    for line, end, place in zip(named, ends, apart(heights, gap), strict=True):
        arrow = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2}
        ax.annotate(
            str(line.get_label()),
            end,
            (1.06, place),
            textcoords=ax.transAxes,
            va="center",
            fontsize=fontsize,
            arrowprops=arrow,
            annotation_clip=False,
        )


def legend_above(ax: Axes, **look: Any) -> Legend:
    """Put the legend above the axes, where it covers nothing; ``look`` is what ``Axes.legend`` takes."""
    given = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "frameon": False, "handlelength": 3}
    return ax.legend(**given | {"ncols": 4} | look)


def strip_paper(ax: Axes) -> None:
    """Lay chart paper behind a strip of an ECG in s and mV: a line each 0.2 s and each 0.5 mV, a large square of paper.

    Call it last: where there would be more lines than one could tell apart there are none.
    """
    ax.set_facecolor(PAPER)
    ax.set_axisbelow(True)
    for axis, step, limits in ((ax.xaxis, 0.2, ax.get_xlim()), (ax.yaxis, 0.5, ax.get_ylim())):
        if abs(limits[1] - limits[0]) / step <= 100:
            axis.set_minor_locator(MultipleLocator(step))
            axis.remove_overlapping_locs = False  # where a number stands there is a line too
            axis.grid(True, which="minor", color=GRID, linewidth=0.35)
    for axis_name, sharing in (("x", ax.get_shared_x_axes()), ("y", ax.get_shared_y_axes())):
        for other in sharing.get_siblings(ax):
            other.tick_params(axis=axis_name, which="minor", length=0)


def _paper(axes: Axes, seconds: float, low: float, high: float) -> None:
    """Draw the paper: a line each mm (40 ms, 0.1 mV), a heavier one each 5 mm (0.2 s, 0.5 mV); no other axis."""
    axes.set(xlim=(0, seconds), ylim=(low, high), aspect=0.4, facecolor=PAPER)  # 25 mm/s and 10 mm/mV
    for step, width in ((1, 0.25), (5, 0.7)):
        xs = np.arange(0, seconds + 1e-9, 0.04 * step)
        ys = np.arange(np.ceil(low / (0.1 * step)), high / (0.1 * step) + 1e-9) * 0.1 * step
        lines = [((x, low), (x, high)) for x in xs] + [((0, y), (seconds, y)) for y in ys]
        axes.add_collection(LineCollection(lines, colors=GRID, linewidths=width, zorder=0))
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def paper_ecg(record: Record, *, title: str | None = None, row_mm: float = 26) -> Figure:
    """Draw a 12-lead ECG as a paper chart: 25 mm/s, 10 mm/mV, 4 columns of 2.5 s, lead II as rhythm strip below.

    The figure is made at true size: printed unscaled, a large square measures 5 mm.
    """
    return paper_ecgs([(record, title or record.name)], row_mm=row_mm)


def paper_ecgs(records: Sequence[tuple[Record, str]], *, row_mm: float = 26) -> Figure:
    """Draw several records and their titles as paper charts one below the other (see ``paper_ecg``)."""
    seconds, height = 10.0, row_mm / 10  # mV
    # The tallest wave of the uppermost row stays on the paper.
    first = [record.signal[list(record.leads).index(column[0])] for record, _ in records for column in CHART]
    top = max(height / 4, *(float(np.nanmax(x) - np.nanmedian(x)) - 0.6 * height + 0.1 for x in first))
    size = (seconds * 25 * MM, (4 * row_mm + 10 * top + 12) * MM * len(records))
    figure, axes = plt.subplots(len(records), 1, figsize=size, squeeze=False)
    for ax, (record, title) in zip(axes[:, 0], records, strict=True):
        _paper(ax, seconds, -4 * height, top)
        _chart(ax, record, seconds, height)
        ax.set_title(plain(title), fontsize=10, loc="left")
        ax.text(seconds, -4 * height - 0.05, "25 mm/s   10 mm/mV", ha="right", va="top", fontsize=8)
    figure.tight_layout()
    return figure


def _chart(ax: Axes, record: Record, seconds: float, height: float) -> None:
    x = record.signal - np.nanmedian(record.signal, axis=1, keepdims=True)
    index = {lead: i for i, lead in enumerate(record.leads)}
    rows = [[column[row] for column in CHART] for row in range(3)]
    for number, leads in enumerate([*rows, ["II"]]):
        zero, span = -(number + 0.6) * height, seconds / len(leads)
        for place, lead in enumerate(leads):
            start = int(place * span * record.fs)
            y = x[index[lead], start : start + int(span * record.fs)]
            t = place * span + np.arange(len(y)) / record.fs
            ax.plot(t, y + zero, color=INK, linewidth=0.8)
            ax.text(place * span + 0.06, zero + 0.45 * height, lead, fontsize=9, weight="bold")
            if place:  # where one lead ends and the next begins
                edge = np.array([-0.1, 0.1]) * height + zero
                ax.plot([place * span] * 2, edge, color=INK, linewidth=1.4)


def paper(seconds: float, low: float, high: float, *, scale: float = 1) -> tuple[Figure, Axes]:
    """A piece of chart paper from ``low`` to ``high`` mV, ``scale`` times its true size (25 mm/s and 10 mm/mV)."""
    style()
    size = (seconds * 25 * MM * scale, (high - low) * 10 * MM * scale)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    _paper(ax, seconds, low, high)
    return figure, ax


def strip_ecg(
    signal: NDArray[np.floating],
    fs: float,
    leads: Sequence[str],
    *,
    start: float,
    seconds: float,
    evidence: NDArray[np.bool_] | None = None,
    scale: float = 1.5,
) -> Figure:
    """Draw some leads of an ECG for a few seconds on chart paper, one below the other.

    Parameters
    ----------
    signal, fs
        (12, samples) in mV, each lead's baseline at zero, and its rate in Hz.
    start, seconds
        What is shown.
    evidence
        (12, samples): where it is, the trace is thick and the paper behind it is tinted.
    scale
        See ``paper``.
    """
    shown = slice(round(start * fs), round((start + seconds) * fs))
    t = np.arange(shown.stop - shown.start) / fs
    traces = {lead: signal[LEADS.index(lead), shown] for lead in leads}
    tops = [max(y.max() + 0.35, 0.6) for y in traces.values()]
    feet = [min(y.min() - 0.25, -0.3) for y in traces.values()]
    figure, ax = paper(seconds, float(sum(feet) - sum(tops)), 0, scale=scale)
    ceiling = 0.0
    for (lead, y), top, foot in zip(traces.items(), tops, feet, strict=True):
        zero = ceiling - top
        ax.plot(t, y + zero, color=INK, linewidth=1.1)
        if evidence is not None:
            where = evidence[LEADS.index(lead), shown]
            ax.fill_between(t, zero + foot + 0.03, ceiling - 0.03, where=where, color=MARKED, linewidth=0, zorder=-1)
            ax.plot(t, np.where(where, y + zero, np.nan), color=MARK, linewidth=2.4)
        ax.text(0.03, ceiling - 0.08, lead, fontsize=11, weight="bold", va="top")
        ceiling += foot - top
    return figure


def svg(figure: Figure) -> str:
    """A figure as the text of an SVG file, the same for the same figure; the figure is closed."""
    with plt.rc_context({"svg.hashsalt": "ecgstudy", "svg.fonttype": "path"}):
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    plt.close(figure)
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def steps(signals: Sequence[tuple[str, NDArray[np.float32], float]], *, seconds: float, unit: str = "mV") -> Figure:
    """One lead through the steps of a preprocessing, one row a step: (name, signal (samples,), fs)."""
    figure, axes = plt.subplots(len(signals), 1, figsize=(9, 1.4 * len(signals)), sharex=True, squeeze=False)
    for ax, (name, y, fs) in zip(axes[:, 0], signals, strict=True):
        shown = y[: int(seconds * fs)]
        ax.plot(np.arange(len(shown)) / fs, shown, color=INK, linewidth=0.8)
        ax.set_title(name, fontsize=9, loc="left")
        ax.set_ylabel(unit)
        if unit == "mV":
            strip_paper(ax)
    axes[-1, 0].set_xlabel("time (s)")
    figure.tight_layout()
    return figure


def map_over_ecg(
    signal: NDArray[np.floating],
    fs: float,
    maps: NDArray[np.floating],
    names: Sequence[str],
    *,
    leads: Sequence[str] = ("II", "V1", "V5"),
    evidence: NDArray[np.bool_] | None = None,
    title: str | None = None,
) -> Figure:
    """Leads of one ECG on chart paper, its maps as a band around the line, one column a class.

    Parameters
    ----------
    signal
        (12, samples) in mV.
    maps
        (classes shown, samples): red supports the class, blue opposes it, the stronger the wider; one scale for all.
    names
        Titles of the columns.
    evidence
        (classes shown, 12, samples) booleans: where the answer key has the evidence, drawn as a bar below the lead.
    """
    limit = max(float(np.abs(maps).max()), 1e-9)
    norm, t = TwoSlopeNorm(0, -limit, limit), np.arange(signal.shape[1]) / fs
    figure, axes = plt.subplots(
        len(leads),
        len(names),
        figsize=(max(9, 5.2 * len(names)), 1.4 * len(leads)),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for column, name in enumerate(names):
        for row, lead in enumerate(leads):
            ax, number = axes[row, column], LEADS.index(lead)
            points = np.column_stack([t, signal[number]])
            lines = LineCollection(
                list(np.stack([points[:-1], points[1:]], axis=1)),
                cmap=SIGNED,
                norm=norm,
                linewidths=1 + 6 * np.abs(maps[column][:-1]) / limit,
            )
            lines.set_array(maps[column][:-1])
            ax.add_collection(lines)
            ax.plot(t, signal[number], color=INK, linewidth=0.6, zorder=3)
            ax.autoscale_view()
            ax.set_ylabel(f"{lead} (mV)" if column == 0 else "")
        axes[0, column].set_title(plain(name), fontsize=10, loc="left")
        axes[-1, column].set_xlabel("time (s)")
    for row, lead in enumerate(leads):
        limits = axes[row, 0].get_ylim()  # those of the whole row
        for column, ax in enumerate(axes[row]):
            if evidence is not None:
                answer_key(ax, t, evidence[column, LEADS.index(lead)], limits)
            strip_paper(ax)
    if evidence is not None:
        name_answer_key(axes[0, -1])
    figure.suptitle(plain(title or ""), fontsize=10)
    figure.tight_layout()
    bar = figure.colorbar(lines, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label("for (+) or against (−)")
    return figure


def answer_key(ax: Axes, t: NDArray[np.floating], inside: NDArray[np.bool_], limits: tuple[float, float]) -> None:
    """Draw where the evidence is, ``inside`` at the times ``t``, as a bar below the ``limits`` of what is drawn."""
    low, high = limits
    foot = low - 0.12 * (high - low)
    ax.fill_between(t, foot, foot + 0.09 * (high - low), where=inside, color=EVIDENCE, linewidth=0)
    ax.set_ylim(foot, high)


def name_answer_key(ax: Axes) -> None:
    """Say above an axes what its green bars are."""
    ax.text(1, 1.02, "▬ answer key", color=EVIDENCE, fontsize=8, ha="right", va="bottom", transform=ax.transAxes)


def learning_curves(logs: Iterable[pd.DataFrame], *, loss: str, score: str = "macro-F1") -> Figure:
    """Training loss and validation score of each member by epoch; the epoch that was kept is marked."""
    logs = list(logs)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.5))
    names = [f"member {number}" for number in range(1, len(logs) + 1)]
    for (name, look), log in zip(looks(names).items(), logs, strict=True):
        left.plot(log["epoch"], log["loss"], **look)
        right.plot(log["epoch"], log["valid"], label=name, **look)
        kept = log["valid"].idxmax()
        right.plot(log["epoch"][kept], log["valid"][kept], "o", color=look["color"])
    left.set(xlabel="epoch", ylabel=loss)
    right.set(xlabel="epoch", ylabel=f"{score}, validation records")
    figure.tight_layout()
    label_ends(right)
    return figure


# Of several values on one row: they differ in shape and in grey, not in colour alone.
SERIES = (("o", INK), ("s", BLUE), ("^", ORANGE), ("D", GREEN))
_ROW, _NEXT = 0.2, 0.6  # inches of a row; rows from one series to the next on the same row


def forest(
    rows: pd.DataFrame,
    *,
    xlabel: str = "",
    names: str = "system",
    panels: str | None = None,
    series: str | None = None,
    groups: str | None = None,
    sure: str | None = None,
    reference: float | Mapping[str, float] | None = None,
    said: str = "",
    digits: int = 2,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw values with their intervals, one row each from the top, each value written beside its dot.

    A dot is filled where its interval leaves out the reference line, and open where it does not. A value without an
    interval is a diamond.

    Parameters
    ----------
    rows
        Columns value, low and high, and those that the other parameters name. What has no value keeps its row.
    names
        Column of what a row is called.
    panels
        Column with the panel of each value, side by side over the same rows: of its metric, say.
    series
        Column that tells values on the same row of the same panel apart, at most four.
    groups
        Column of headings, below which the rows that have it stand together.
    sure
        Column of booleans that says which dots are filled, where the interval is not to decide.
    reference
        Where an upright line stands, what no difference or chance would be: of all panels, or by panel.
    said
        What is written at that line.
    digits
        Of the written values.
    limits
        Of the axes, where intervals may be wider than the scale.

    Raises
    ------
    ValueError
        when there are more series than marks that one can tell apart.
    """
    panel, kind, group = (_column(rows, name) for name in (panels, series, groups))
    label, titles, kinds = _column(rows, names), list(dict.fromkeys(panel)), list(dict.fromkeys(kind))
    if len(kinds) > len(SERIES):
        raise ValueError(f"{len(kinds)} series on one row, at most {len(SERIES)} can be told apart: {kinds}")
    # A series without intervals stands on the row of the first, its numbers beside its diamonds.
    bare = {one: rows["low"][[k == one for k in kind]].isna().all() and len(kinds) > 1 for one in kinds}
    measured = [one for one in kinds if not bare[one]]
    middle = _NEXT * max(len(measured) - 1, 0) / 2
    place, headings, low = _places(list(zip(group, label, strict=True)), 1 + 2 * middle)
    figure, axes = plt.subplots(
        1,
        len(titles),
        figsize=((7, 8.5)[len(titles) - 1] if len(titles) < 3 else 9.5, 0.9 - _ROW * low + _ROW * (len(kinds) > 1)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    below = {one: 0.0 if bare[one] else _NEXT * measured.index(one) for one in kinds}
    y = np.array([place[g, name] - below[k] for g, name, k in zip(group, label, kind, strict=True)])
    for number, (ax, title) in enumerate(zip(axes[0], titles, strict=True)):
        line = reference.get(title) if isinstance(reference, Mapping) else reference
        if line is not None:
            ax.axvline(line, color="0.55", linestyle="--", linewidth=1, zorder=1)
            if said and not number:
                across = ax.get_xaxis_transform()
                ax.text(line, 1.01, said, transform=across, ha="center", va="bottom", fontsize=7.5, color="0.35")
        for one, look in zip(kinds, SERIES, strict=False):
            mine = np.array([p == title and k == one for p, k in zip(panel, kind, strict=True)])
            _dots(ax, rows[mine], y[mine], look, line, sure, digits, bare[one])
        ax.set_title(plain(title), loc="left", fontsize=10, pad=16 if said else 6)
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        if limits:
            ax.set_xlim(limits)
    ticks = {**headings, **{at - middle: name for (_, name), at in place.items()}}
    axes[0, 0].set_yticks(list(ticks), [plain(name) for name in ticks.values()])
    axes[0, 0].set_ylim(low + 0.4, 0.7)
    for text in axes[0, 0].get_yticklabels()[: len(headings)]:
        text.set_fontweight("bold")
    if len(titles) == 1:
        axes[0, 0].set_xlabel(xlabel)
    elif xlabel:
        figure.supxlabel(xlabel, fontsize=9)
    if len(kinds) > 1:
        marks = [
            Line2D([], [], color=colour, markersize=5, linewidth=0 if bare[one] else 1.4)
            for one, (_, colour) in zip(kinds, SERIES, strict=False)
        ]
        for line2d, one, (mark, colour) in zip(marks, kinds, SERIES, strict=False):
            line2d.set(marker="d" if bare[one] else mark, markerfacecolor="white" if bare[one] else colour)
        figure.legend(marks, [plain(one) for one in kinds], loc="outside upper left", ncols=len(kinds), frameon=False)
    return figure


def _column(rows: pd.DataFrame, name: str | None) -> list[str]:
    """Texts of a column; empty ones where no column is named."""
    return [str(text) for text in rows[name]] if name else [""] * len(rows)


def _places(
    rows: Sequence[tuple[str, str]], height: float
) -> tuple[dict[tuple[str, str], float], dict[float, str], float]:
    """Where each (group, name) stands, from 0 down, where each group's heading does, and where the last row ends."""
    place: dict[tuple[str, str], float] = {}
    headings: dict[float, str] = {}
    y = 0.0
    for group in dict.fromkeys(group for group, _ in rows):
        if group:
            headings[y] = group
            y -= 1
        for one in dict.fromkeys(one for one in rows if one[0] == group):
            place[one] = y
            y -= height
    return place, headings, y


def _dots(
    ax: Axes,
    rows: pd.DataFrame,
    y: NDArray[np.floating],
    look: tuple[str, str],
    line: float | None,
    sure: str | None,
    digits: int,
    bare: bool,
) -> None:
    """Draw values (rows,) at heights (rows,) as ``forest`` does."""
    mark, colour = look
    value, low, high = (rows[end].to_numpy(dtype=float) for end in ("value", "low", "high"))
    there, measured = ~np.isnan(value), ~np.isnan(value) & ~np.isnan(low)
    filled = np.ones(len(rows), dtype=bool) if line is None else (low > line) | (high < line)
    if sure:
        filled = rows[sure].to_numpy(dtype=bool)
    ax.hlines(y[measured], low[measured], high[measured], color=colour, linewidth=1.4, zorder=2)
    for chosen, face, shape in (
        (measured & filled, colour, mark),
        (measured & ~filled, "white", mark),
        (there & ~measured, "white", "d"),
    ):
        if chosen.any():
            ax.scatter(value[chosen], y[chosen], s=26, marker=shape, facecolor=face, edgecolor=colour, zorder=3)
    edge = ax.get_yaxis_transform()
    look_of_text: dict[str, Any] = {"va": "center", "fontsize": 7.5, "color": "0.3", "annotation_clip": False}
    for at, one in zip(y[there], value[there], strict=True):
        place, frame = ((one, at), ax.transData) if bare else ((1.015, at), edge)
        beside = (4, 0) if bare else (0, 0)
        ax.annotate(report.number(one, digits), place, beside, frame, "offset points", **look_of_text)


def pairs(rows: pd.DataFrame, *, xlabel: str) -> Figure:
    """Two numbers of each row joined by a line: the first column is an open dot, the second a filled one."""
    left, right = rows.columns
    figure, ax = plt.subplots(figsize=(7.5, 0.8 + 0.17 * len(rows)))
    place = np.arange(len(rows))[::-1]
    ax.hlines(place, rows[left], rows[right], color="0.7", linewidth=1)
    ax.plot(rows[left], place, "o", markerfacecolor="white", markeredgecolor="0.1", markersize=5, label=left)
    ax.plot(rows[right], place, "o", color="0.1", markersize=5, label=right)
    ax.set_yticks(place, [plain(name) for name in rows.index])
    ax.set_xlabel(xlabel)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.tight_layout()
    return figure


def bars(values: pd.Series, *, xlabel: str, digits: int = 0, log: bool = False) -> Figure:
    """Draw numbers as bars with what they are called (the index), the first on top, each with its number."""
    figure, ax = plt.subplots(figsize=(7, 0.8 + 0.26 * max(len(values), 1)), layout="constrained")
    drawn = ax.barh([plain(name) for name in values.index[::-1]], values[::-1], color="0.6")
    ax.bar_label(drawn, [report.number(value, digits) for value in values[::-1]], padding=3, fontsize=8)
    if log and len(values):
        ax.set_xscale("log")
    ax.margins(x=0.08)
    ax.set_xlabel(xlabel)
    return figure


def counts(table: pd.DataFrame, *, label: str = "records") -> Figure:
    """Heat map of a table of counts, each cell with its number (on a logarithmic scale of colour)."""
    figure, ax = plt.subplots(figsize=(1.6 + 0.62 * table.shape[1], 0.8 + 0.38 * table.shape[0]))
    shade = np.log1p(table.to_numpy(dtype=float))
    sns.heatmap(shade, annot=table.to_numpy(), fmt="d", cmap="Blues", cbar=False, ax=ax, annot_kws={"fontsize": 9})
    ax.set_xticklabels([plain(name) for name in table.columns], rotation=45, ha="right")
    ax.set_yticklabels([plain(name) for name in table.index], rotation=0)
    ax.set_xlabel("")
    ax.set_ylabel("")
    ax.set_title(label, fontsize=10, loc="left")
    return figure
