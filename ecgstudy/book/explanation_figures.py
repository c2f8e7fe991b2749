"""Figures of the chapter on explanations."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgstudy.book import plots
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.explain.blind import BASELINES
from ecgstudy.explain.cases import Cases


class Drawn(NamedTuple):
    """Maps (rows, n) at ``fs`` Hz under a name."""

    name: str
    maps: NDArray[np.floating]
    fs: float


def one_record(cases: Cases, drawn: Sequence[Drawn]) -> Figure:
    """Lead II of one record, then each map of it; a column a class, with the answer key shaded over the maps.

    Parameters
    ----------
    cases
        Rows of one record.
    drawn
        Maps of these rows; a rate may differ from the cases'.
    """
    size = (10, 1.25 * (len(drawn) + 1))
    shape = (len(drawn) + 1, len(cases.classes))
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, squeeze=False)
    time = np.arange(cases.signals.shape[-1]) / cases.fs
    for column, label in enumerate(cases.names_of_classes):
        axes[0, column].plot(time, cases.signals[column, LEADS.index("II")], color=plots.INK, linewidth=0.7)
        axes[0, column].set_title(f"{cases.names[column]}: {label}", fontsize=9, loc="left")
        axes[0, 0].set_ylabel("II (mV)")
        plots.strip_paper(axes[0, column])
        for row, (name, maps, fs) in enumerate(drawn, start=1):
            ax, m = axes[row, column], maps[column]
            ax.plot(np.arange(len(m)) / fs, m, color=plots.BLUE, linewidth=1.1)
            ax.axhline(0, color="0.6", linewidth=0.5)
            low, high = ax.get_ylim()
            inside = cases.any_lead[column]
            ax.fill_between(time, low, high, where=inside, color=plots.EVIDENCE, alpha=0.25, linewidth=0)
            ax.set_yticks([])
            if column == 0:
                ax.set_ylabel(name, fontsize=7)
        axes[-1, column].set_xlabel("time (s)")
    plots.name_answer_key(axes[1, -1])
    figure.tight_layout()
    return figure


def heat(
    table: pd.DataFrame,
    label: str,
    *,
    size: tuple[float, float],
    fontsize: float | None = None,
    title: str = "",
    rotation: float | None = None,
) -> Figure:
    """Heat map of numbers between -1 and 1, each cell with its number; ``label`` is that of the colours.

    What is below zero is light blue: 1 and -1 look different in grey print too.
    """
    figure, ax = plt.subplots(figsize=size)
    scale = {"vmin": -1, "vmax": 1, "cmap": plots.SIGNED, "cbar_kws": {"label": label}}
    sns.heatmap(table, annot=True, fmt=".2f", annot_kws={"fontsize": fontsize} if fontsize else None, ax=ax, **scale)
    ax.set(xlabel="", ylabel="", title=title)
    if rotation is not None:
        ax.tick_params(axis="x", rotation=rotation)
    return figure


def by_class(table: pd.DataFrame) -> Figure:
    """Excess mass of every system and method by class; the baselines that are the same for all stand last, once.

    Parameters
    ----------
    table
        Of ``explanations.tidy``, several systems.
    """
    rows = table[(table["trial"] == "excess mass") & (table["class"] != "")]
    nothing = rows["method"].isin(BASELINES[1:])
    names = (rows["system"] + ": " + rows["method"]).mask(nothing, rows["method"])
    order = [*dict.fromkeys(names[~nothing]), *(m for m in BASELINES[1:] if m in set(names))]
    grid = rows.assign(row=names).drop_duplicates(["row", "class"])
    grid = grid.pivot(index="row", columns="class", values="value").reindex(index=order, columns=list(CLASSES))
    figure = heat(grid, "excess mass (0 is chance)", size=(8, 0.8 + 0.26 * len(grid)), fontsize=7)
    figure.axes[0].tick_params(axis="y", labelsize=7)
    return figure


def few_and_many(
    six: pd.DataFrame,
    auroc: pd.DataFrame,
    own: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
    *,
    bold: Sequence[str],
) -> Figure:
    """Own maps' excess mass against their networks' macro-AUROC: a line from few records to many (dot).

    Parameters
    ----------
    six
        Of ``questions.few_and_many``.
    auroc
        Of ``leaderboard.more_records``.
    own
        System → its own maps.
    titles
        Cohort → title of its panel.
    bold
        Systems whose lines are drawn thicker.
    """
    auroc = auroc.set_index("system")[["few", "many"]]
    every = [f"{system}: {method}" for system, maps in own.items() for method in maps]
    figure, axes = plt.subplots(1, len(titles), figsize=(9.5, 4.2), sharey=True)
    for ax, (cohort, title) in zip(axes, titles.items(), strict=True):
        here = six[six["cohort"] == cohort].set_index(["system", "method", "network"])["value"]
        for system, method in ((system, m) for system, maps in own.items() for m in maps):
            if (system, method, "many") not in here.index:
                continue
            x, y = auroc.loc[system].to_numpy(), [here[system, method, end] for end in ("few", "many")]
            name = f"{system}: {method}"
            (line,) = ax.plot(x, y, label=name, linewidth=2.5 if system in bold else 1.2, **plots.looks(every)[name])
            ax.plot(x[1], y[1], "o", color=line.get_color(), markersize=5)
        for method, dash in (("signal energy", ":"), ("QRS detector", "--")):
            level = here.xs((method, "many"), level=("method", "network")).mean()
            ax.axhline(level, color="0.4", linestyle=dash, linewidth=1, label=method)
        ax.axhline(0, color="0.8", linewidth=0.7)
        ax.set(title=title, xlabel="macro-AUROC, simulated records")
    axes[0].set_ylabel("excess mass")
    figure.subplots_adjust(wspace=0.55)
    for ax in axes:
        plots.label_ends(ax, gap=0.06, fontsize=7)
    return figure
