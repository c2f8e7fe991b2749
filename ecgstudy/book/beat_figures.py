"""Figures of the chapter on single beats: beats, their maps one by one, over a class, by segment, in groups."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgstudy.book import plots
from ecgstudy.book.plots import INK
from ecgstudy.data.beats import BEFORE, FS, SAMPLES, SEGMENTS, Beats
from ecgstudy.explain import beat_maps
from ecgstudy.studies import beat_transfer
from ecgstudy.studies.single_beats import Explained

MAP = plots.RED
MS = (np.arange(SAMPLES) - BEFORE) / FS * 1000  # of each sample, from R
EDGES = MS[0] + 1000 / FS * SAMPLES / SEGMENTS * np.arange(SEGMENTS + 1)  # of the segments, in ms from R
FEWEST = 5  # beats of which a mean is drawn
_SCORES = ("accuracy", "F1 V", "F1 S", "macro-F1")  # that are drawn; a table has all
_RIVALS = {"random": "at a random place", "energy": "the beat's energy"}


def one_of_each(beats: Beats, seed: int = 0) -> Figure:
    """Lead II of one beat of each class, drawn at random, with the edges of the segments."""
    rng = np.random.default_rng(seed)
    figure, axes = plt.subplots(1, len(beats.classes), figsize=(2.4 * len(beats.classes), 2.2), sharey=True)
    for ax, c in zip(np.atleast_1d(axes), beats.classes, strict=True):
        place = rng.choice(np.flatnonzero(beats.table["aami"] == c))
        ax.plot(MS, beats.signal[place, 0], color=INK)
        for edge in EDGES:
            ax.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
        ax.set_title(f"{c} ({beats.table['record'].iloc[place]})", loc="left", fontsize=10)
        ax.set_xlabel("ms from R")
    figure.axes[0].set_ylabel("lead II (mV)")
    figure.tight_layout()
    return figure


def head_gradients(shares: Mapping[str, NDArray[np.floating]]) -> Figure:
    """Share of the head's gradient by segment, (11,) each, by what the head reads."""
    figure, ax = plt.subplots(figsize=(5.5, 2.4))
    for (head, share), mark in zip(shares.items(), ("o-", "s--"), strict=True):
        ax.plot(np.arange(1, SEGMENTS + 1), share, mark, color=INK, label=head)
    ax.set(xlabel="segment", ylabel="share of |∂y/∂h|", ylim=(-0.03, 1.05), xticks=range(1, 12))
    plots.legend_above(ax, title="the head reads")
    return figure


def surest(explained: Explained) -> Figure:
    """Of each class the beat of which all networks are surest, and over it each network's map."""
    classes, names = list(explained.places), list(explained.networks)
    figure, axes = plt.subplots(
        len(names), len(classes), figsize=(2.6 * len(classes), 1.7 * len(names)), sharex=True, squeeze=False
    )
    for column, c in enumerate(classes):
        best = int(np.min([explained.probability[name, c] for name in names], axis=0).argmax())
        for ax, name in zip(axes[:, column], names, strict=True):
            beat = explained.beats.signal[explained.places[c][best], 0]
            _coloured(ax, beat, beat_maps.to_samples(explained.maps[name, c][best]))
            probability = explained.probability[name, c][best]
            ax.set_title(f"{name}: {c}, p = {probability:.2f}", loc="left", fontsize=9)
        axes[-1, column].set_xlabel("ms from R")
    for ax in axes[:, 0]:
        ax.set_ylabel("lead II (mV)")
    figure.tight_layout()
    return figure


def _coloured(ax: Axes, y: NDArray[np.floating], values: NDArray[np.floating]) -> None:
    """Draw a beat whose line is as dark and wide as its map is high."""
    points = np.column_stack([MS, y])
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    shade = values[:-1] / max(values.max(), 1e-9)
    colours, widths = plt.colormaps["Reds"](0.25 + 0.75 * shade), 1 + 2.5 * shade
    ax.add_collection(LineCollection(list(pieces), colors=colours, linewidths=widths))
    ax.autoscale_view()


def heat(explained: Explained) -> Figure:
    """All maps of the classes on trial, one row a beat, surest first; a line below as many as are right."""
    classes = explained.tried
    figure, axes = plt.subplots(2, len(classes), figsize=(4.4 * len(classes), 4.2), squeeze=False)
    for column, c in enumerate(classes):
        for ax, name in zip(axes[:, column], explained.networks, strict=True):
            order = np.argsort(-explained.probability[name, c], kind="stable")
            rows = beat_maps.normalised(beat_maps.to_samples(explained.maps[name, c]))[order]
            ax.imshow(rows, aspect="auto", cmap="Greys", extent=(MS[0], MS[-1], len(rows), 0))
            ax.axhline(explained.right[name, c].sum(), color=MAP, linewidth=1)
            ax.set(ylabel="beats, surest first", xlabel="ms from R")
            ax.set_title(f"{name}: {c}", loc="left", fontsize=10)
    figure.tight_layout()
    return figure


def class_means(explained: Explained) -> Figure:
    """Median beat of each class, and the mean map of its beats that a network has right, and of the others."""
    classes = list(explained.places)
    figure, axes = plt.subplots(
        3, len(classes), figsize=(2.6 * len(classes), 4.2), sharex=True, sharey="row", squeeze=False
    )
    for column, c in enumerate(classes):
        x = explained.signals(c)
        axes[0, column].plot(MS, np.median(x, axis=0), color=INK)
        _middle_half(axes[0, column], x, color="0.85")
        axes[0, column].set_title(f"{c}: {len(x):,} beats", loc="left", fontsize=10)
        for ax, name in zip(axes[1:, column], explained.networks, strict=True):
            rows, right = beat_maps.normalised(beat_maps.to_samples(explained.maps[name, c])), explained.right[name, c]
            for chosen, colour, line, word in ((right, MAP, "-", "right"), (~right, INK, "--", "wrong")):
                if chosen.sum() >= FEWEST:
                    ax.plot(MS, rows[chosen].mean(axis=0), line, color=colour, label=f"{word}: {chosen.mean():.0%}")
                    _middle_half(ax, rows[chosen], color=colour, alpha=0.15)
            plots.legend_above(ax, fontsize=7)
        axes[2, column].set_xlabel("ms from R")
    for ax, label in zip(axes[:, 0], ("lead II (mV)", *(f"{name} map" for name in explained.networks)), strict=True):
        ax.set_ylabel(label)
    figure.tight_layout()
    return figure


def _middle_half(ax: Axes, rows: NDArray[np.floating], **look: Any) -> None:
    """Shade what lies between the quartiles of (beats, 264)."""
    low, high = np.quantile(rows, [0.25, 0.75], axis=0)
    ax.fill_between(MS, low, high, linewidth=0, **look)


def by_segment(explained: Explained, repeats: int = 1000) -> Figure:
    """Share of the maps in each segment, and what occlusion of it takes from the logit, with limits over patients."""
    classes, shifts = explained.tried, (-0.2, 0.2)
    figure, axes = plt.subplots(2, len(classes), figsize=(4.4 * len(classes), 3.8), sharex=True, squeeze=False)
    for column, c in enumerate(classes):
        patients = explained.of_table("patient_id", c)
        looks = (("0.4", ""), ("0.8", "///"))
        for name, shift, (colour, hatch) in zip(explained.networks, shifts, looks, strict=True):
            mass = beat_maps.by_segment(explained.maps[name, c])
            share = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
            for ax, values in zip(axes[:, column], (share, explained.occluded[name, c]), strict=True):
                limits = np.array([beat_maps.by_patient(v, patients, repeats) for v in values.T])
                at = np.arange(1, SEGMENTS + 1) + shift
                ax.bar(at, limits[:, 0], 0.38, facecolor=colour, hatch=hatch, edgecolor="0.35", linewidth=0, label=name)
                ax.vlines(at, limits[:, 1], limits[:, 2], color=INK, linewidth=1)
        axes[0, column].set_title(c, loc="left", fontsize=10)
        axes[1, column].set(xlabel="segment (R in 5)", xticks=range(1, SEGMENTS + 1))
    plots.legend_above(axes[1, 0], handlelength=1.5)
    axes[0, 0].set_ylabel("share of the map")
    axes[1, 0].set_ylabel("fall of the logit")
    figure.tight_layout()
    return figure


def scores(rows: pd.DataFrame) -> Figure:
    """Draw some scores, a panel each, a row a network and what it was tested on, of rows of ``results/beats.csv``."""
    rows = rows.assign(measure=(rows["metric"] + " " + rows["class"]).str.strip())
    tested = rows["split"].where(rows["split"] != "DS1/DS2", "")
    rows = rows.assign(name=rows["network"] + tested.where(tested == "", ": " + tested))
    rows = rows[rows["measure"].isin(_SCORES)]
    rows = rows.sort_values("measure", key=lambda names: names.map(_SCORES.index), kind="stable")
    return plots.forest(rows, names="name", panels="measure")


def found(rows: pd.DataFrame) -> Figure:
    """Draw F1 of S and V, a panel each, a row a reader and a mark for what it was tested on (``beat_transfer.csv``)."""
    rows = rows[(rows["metric"] == "F1") & rows["class"].isin(["S", "V"])].copy()
    rows = rows[rows["tested"].isin([beat_transfer.VALIDATED, beat_transfer.TESTED, beat_transfer.OTHERS])]
    rows["class"] = "F1 of " + rows["class"]
    return plots.forest(rows, names="reader", series="tested", panels="class")


def windows(rows: pd.DataFrame) -> Figure:
    """Draw by how much more of each map lies in its class's window than of its rivals (``window_trial``)."""
    more = "map in the window, more than "
    rows = rows[rows["metric"].str.startswith(more)].copy()
    rows["rival"] = "less " + rows["metric"].str.removeprefix(more).map(_RIVALS)
    rows["class"] = "maps of " + rows["class"]
    options: dict[str, Any] = {
        "names": "network",
        "groups": "class",
        "panels": "rival",
        "reference": 0,
        "said": "no better",
    }
    return plots.forest(rows, xlabel="share of the map in the window, less that of its rival", **options)


def correlations(rows: pd.DataFrame) -> Figure:
    """Draw the correlation of each network's maps with others, a mark a class (``correlation_trial``)."""
    start = "map correlates with: "
    rows = rows[rows["metric"].str.startswith(start)].copy()
    rows["other"] = "with " + rows["metric"].str.removeprefix(start)
    rows["network"] = "map of the " + rows["network"]
    options: dict[str, Any] = {
        "names": "other",
        "groups": "network",
        "series": "class",
        "reference": 0,
        "said": "no relation",
    }
    return plots.forest(rows, xlabel="Spearman's correlation over segments", **options)


def groups(x: NDArray[np.floating], maps: NDArray[np.floating], group: NDArray[np.intp], records: NDArray) -> Figure:
    """Median beat and mean map of groups of beats, the largest first.

    Parameters
    ----------
    x
        (beats, 264) in mV.
    maps
        (beats, cells).
    group
        (beats,) number of each beat's group, from 0.
    records
        (beats,) record of each beat; the title names the one that gives most to a group.
    """
    sizes = np.bincount(group)
    figure, axes = plt.subplots(
        2, len(sizes), figsize=(2.8 * len(sizes), 3.3), sharex=True, sharey="row", squeeze=False
    )
    for column, g in enumerate(np.argsort(-sizes)):
        mine = group == g
        names = pd.Series(records[mine]).value_counts()
        axes[0, column].plot(MS, np.median(x[mine], axis=0), color=INK)
        title = f"{mine.mean():.0%}; {names.iloc[0] / mine.sum():.0%} of it from {names.index[0]}"
        axes[0, column].set_title(title, loc="left", fontsize=9)
        axes[1, column].plot(MS, beat_maps.to_samples(maps[mine]).mean(axis=0), color=MAP)
        axes[1, column].set_xlabel("ms from R")
    axes[0, 0].set_ylabel("lead II (mV)")
    axes[1, 0].set_ylabel("mean map")
    figure.tight_layout()
    return figure
