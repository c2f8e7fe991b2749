"""Figures: ECGs as they look on paper, maps over them, and the curves of a training."""

from collections.abc import Iterable, Sequence
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
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from ecgstudy.data.records import LEADS, Record

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
        figsize=(max(9, 5.2 * len(names)), 1.6 * len(leads)),
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
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
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


def forest(rows: pd.DataFrame, *, xlabel: str, reference: float | None = None, names: str = "system") -> Figure:
    """Values with their intervals, one row each from the top: columns ``names``, value, low, high.

    ``reference`` is where a vertical line stands: what no difference, or chance, would be.
    """
    figure, ax = plt.subplots(figsize=(7, 0.7 + 0.3 * len(rows)))
    place = np.arange(len(rows))[::-1]
    ax.hlines(place, rows["low"], rows["high"], color="0.4", linewidth=1.5)
    ax.plot(rows["value"], place, "o", color="0.1", markersize=5)
    if reference is not None:
        ax.axvline(reference, color="0.6", linestyle="--", linewidth=1)
    ax.set_yticks(place, rows[names])
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="0.92")
    figure.tight_layout()
    return figure


def differences(
    rows: pd.DataFrame, metrics: Sequence[str], *, control: str | None = None, title: str | None = None
) -> Figure:
    """Arms of an ablation less their control, one row an arm, one panel a metric: a difference with its interval.

    ``rows`` are those of ``ablation_tables.table``; the control's own are left out.
    """
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm != control]
    figure, axes = plt.subplots(1, len(metrics), figsize=(9.5, 1 + 0.27 * len(arms)), sharey=True, squeeze=False)
    place = np.arange(len(arms))[::-1]
    for ax, metric in zip(axes[0], metrics, strict=True):
        shown = rows[rows["metric"] == metric].set_index("arm").loc[arms]
        ax.hlines(place, shown["difference_low"], shown["difference_high"], color="0.4", linewidth=1.5)
        ax.plot(shown["difference"], place, "o", color="0.1", markersize=4)
        ax.axvline(0, color="0.6", linestyle="--", linewidth=1)
        ax.set_xlabel(f"{metric},\nless {control}" if control else f"{metric}, difference")
    axes[0, 0].set_yticks(place, arms)
    if title:
        axes[0, 0].set_title(title, loc="left")
    figure.tight_layout()
    return figure


def pairs(rows: pd.DataFrame, left: str, right: str, *, xlabel: str) -> Figure:
    """Two metrics of each arm joined by a line: ``left`` an open dot, ``right`` a filled one; a block a system."""
    wide = rows.pivot(index=["system", "arm"], columns="metric", values="value")
    wide = wide.loc[list(dict.fromkeys(zip(rows["system"], rows["arm"], strict=True)))]
    figure, ax = plt.subplots(figsize=(7.5, 0.8 + 0.24 * len(wide)))
    place = np.arange(len(wide))[::-1]
    ax.hlines(place, wide[left], wide[right], color="0.7", linewidth=1)
    ax.plot(wide[left], place, "o", markerfacecolor="white", markeredgecolor="0.1", markersize=5, label=left)
    ax.plot(wide[right], place, "o", color="0.1", markersize=5, label=right)
    ax.set_yticks(place, [f"{system}: {arm}" for system, arm in wide.index])
    ax.set_xlabel(xlabel)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.tight_layout()
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
