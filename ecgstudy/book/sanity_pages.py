"""What the chapter on explanations shows of ``results/sanity.csv``: a figure, two tables, and what its text says."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecgstudy.book import plots, report
from ecgstudy.studies import leaderboard
from ecgstudy.studies import sanity_checks as checks

SIDES = {False: "own maps", True: "gradients"}
ENERGY = "signal energy"


def cascade(rows: pd.DataFrame) -> Figure:
    """Draw what a map keeps while its network loses layer after layer: a row a system, own maps and gradients apart.

    The band is what another record's map has of it: from the lowest limit of the panel's methods to the highest.
    """
    rows = rows[rows["test"] == "cascade"]
    systems = list(dict.fromkeys(rows["system"]))
    size: dict[str, Any] = {"figsize": (9.5, 0.6 + 1.35 * len(systems)), "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(len(systems), len(SIDES), **size)
    figure.subplots_adjust(wspace=0.5, hspace=0.6)
    for pair, system in zip(axes, systems, strict=True):
        here = rows[rows["system"] == system]
        for ax, (general, title) in zip(pair, SIDES.items(), strict=True):
            _panel(ax, here[here["method"].isin(checks.GRADIENTS) == general])
            ax.set_title(plots.plain(f"{system}: {title}"), loc="left", fontsize=9.5)
        pair[0].set_ylabel("correlation")
    for ax in axes[-1]:
        ax.set_xlabel("layers lost, from the logits down")
    axes[0, 0].set_ylim(-1.05, 1.08)
    for ax in axes.flat:
        plots.label_ends(ax, gap=0.17, fontsize=8)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the lines of some methods with their intervals, and the band."""
    other, lost = (rows[rows["measure"] == measure] for measure in (checks.ANOTHER, checks.LOST))
    ax.axhspan(other["low"].min(), other["high"].max(), color="0.87", lw=0, zorder=0)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=1)
    for method, look in plots.looks(dict.fromkeys(lost["method"])).items():
        line = lost[lost["method"] == method]
        ax.fill_between(line["step"], line["low"], line["high"], color=look["color"], alpha=0.13, lw=0)
        points: dict[str, Any] = {"marker": "o", "markersize": 3} if checks.costly(method) else {}
        ax.plot([0, *line["step"]], [1, *line["value"]], label=method, linewidth=1.3, **look, **points)
    ax.plot([0, lost["step"].max()], [other["value"].mean()] * 2, color="0.87", lw=0, label="another record's map")
    ax.set_xlim(0, lost["step"].max())
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _wide(rows: pd.DataFrame, measures: dict[str, str]) -> pd.DataFrame:
    """Means with intervals of some measures as texts, a row a system and method; titles by measure."""
    chosen = rows[rows["measure"].isin(measures)]
    shown = report.wide(chosen, ["system", "method"], "measure", digits=2)
    return shown[["system", "method", *measures]].rename(columns=measures)


def labels(rows: pd.DataFrame) -> HTML:
    """Table of what permuted labels change, folded."""
    rows = rows[rows["test"] == "labels"]
    measures = {
        checks.ALIKE: "correlation of the two maps",
        checks.TRUE: "excess mass, true labels",
        checks.PERMUTED: "excess mass, permuted labels",
        checks.LESS: "difference",
    }
    caption = (
        "Maps of two networks of the demo profile, trained from one seed, one with true labels and one with permuted "
        "labels. Means of eight classes, 95 % intervals over patients (results/sanity.csv)."
    )
    shown = _wide(rows[rows["method"] != ""], measures)
    return report.folded(report.table(shown, caption), "maps after a training with permuted labels")


def time(rows: pd.DataFrame) -> HTML:
    """Table of what another order of the samples changes, folded."""
    measures = {
        checks.FOLLOWS: "correlation, put back",
        checks.STAYS: "correlation, left",
        checks.BEFORE: "excess mass before",
        checks.AFTER: "excess mass after",
        checks.FORMER: "where the evidence was",
    }
    tables = []
    for how in (checks.MOVED, checks.PIECES):
        shown = _wide(rows[(rows["test"] == f"time, {how}") & (rows["method"] != "")], measures)
        shown.insert(0, "samples", how)
        tables.append(shown)
    caption = (
        "Records with their samples in another order. Put back: each value of the map is returned to its sample "
        "before it is compared with the map of the record as it was; left: it is not. The perfect map is the answer "
        "key on the cells of the system's own maps. Means of eight classes, 95 % intervals over patients "
        "(results/sanity.csv)."
    )
    return report.folded(report.table(pd.concat(tables), caption), "maps of records in another order of time")


def _few(rows: pd.DataFrame) -> pd.Series:
    """Whether fewer records count than a costly method explains."""
    return rows["n"] < checks.PER_CLASS * len(checks.EXPLAINED) / checks.SPARING


def _named(rows: pd.DataFrame) -> str:
    """Methods of rows with their values as a text lists them, and of how many records where few count."""
    texts = [
        f"{row.system}'s {row.method}, {value}{f' in {row.n} records' if few else ''}"
        for row, value, few in zip(rows.itertuples(), report.intervals(rows, digits=2), _few(rows), strict=True)
    ]
    return "; ".join(texts) or "none"


def _spread(rows: pd.DataFrame) -> str:
    """Smallest and largest value of rows, of those in which not only few records count: ``0.05 to 0.16``."""
    values = rows.loc[~_few(rows), "value"]
    return " to ".join(dict.fromkeys(report.number(value, 2) for value in (values.min(), values.max())))


def _count(rows: pd.DataFrame) -> str:
    """How many rows have an interval above 0: ``6 of 8``."""
    return f"{(rows['low'] > 0).sum()} of {len(rows)}"


def _most(rows: pd.DataFrame) -> str:
    return _named(rows.loc[[rows["value"].idxmax()]])


def texts(rows: pd.DataFrame) -> dict[str, str]:
    """What the text of the page says of the three tests, for ``report.glue_all``."""
    kinds = dict.fromkeys(checks.GRADIENTS, "gradient") | dict.fromkeys((checks.PERFECT, ENERGY, ""), "reference")
    rows = rows.assign(kind=[kinds.get(method, "own") for method in rows["method"]])
    return _cascade_texts(rows) | _labels_texts(rows) | _time_texts(rows)


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["kind"] == "own"]


def _gradient(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["kind"] == "gradient"]


def _cascade_texts(rows: pd.DataFrame) -> dict[str, str]:
    rows = rows[rows["test"] == "cascade"]
    lost, more, other, energy = (
        rows[rows["measure"] == measure] for measure in (checks.LOST, checks.MORE, checks.ANOTHER, checks.ENERGY)
    )
    steps = lost.groupby("system")["step"].max()
    last = lost[lost["step"] == lost["system"].map(steps)]
    level = _own(last[last["n"] < last["n"].max()])
    return {
        "cascade_records": f"{leaderboard.LARGE - leaderboard.simulated('synthetic')['records']:,}",
        "cascade_layers": f"{steps.min()} to {steps.max()}",
        "cascade_n": str(last["n"].max()),
        "cascade_few": str(last.loc[last["method"].map(checks.costly), "n"].max()),
        "cascade_own_kept": _named(_own(more[more["low"] > 0])),
        "cascade_gradients_kept": _count(_gradient(more)),
        "cascade_gradients_last": _spread(_gradient(last)),
        "cascade_gradients_energy": _spread(_gradient(energy)),
        "cascade_gradients_other": _spread(_gradient(other)),
        "cascade_own_other": _named(_own(other[other["low"] > 0])),
        "cascade_level": ", ".join(f"{r.n} for {r.system}'s {r.method}" for r in level.itertuples()) or "none fewer",
    }


def _labels_texts(rows: pd.DataFrame) -> dict[str, str]:
    rows = rows[rows["test"] == "labels"]
    answers = rows[rows["method"] == ""].set_index("measure")
    alike, less, after = (rows[rows["measure"] == m] for m in (checks.ALIKE, checks.LESS, checks.PERMUTED))
    tested, trained = (
        {which: _spread(answers.loc[[f"{measure}, {which} labels"]]) for which in ("true", "permuted")}
        for measure in (checks.TESTED, checks.TRAINED)
    )
    return {
        "labels_tested_true": tested["true"],
        "labels_tested_permuted": tested["permuted"],
        "labels_trained_permuted": trained["permuted"],
        "labels_own_alike": _spread(_own(alike)),
        "labels_gradients_alike": _spread(_gradient(alike)),
        "labels_less": _count(less),
        "labels_most": _most(less),
        "labels_still": _named(after[after["low"] > 0]),
    }


def _time_texts(rows: pd.DataFrame) -> dict[str, str]:
    moved, pieces = (rows[rows["test"] == f"time, {how}"] for how in (checks.MOVED, checks.PIECES))

    def measured(here: pd.DataFrame, measure: str) -> pd.DataFrame:
        return here[here["measure"] == measure]

    follows, more = measured(moved, checks.FOLLOWS), measured(moved, checks.MORE_FOLLOWS)
    stay = measured(pieces, checks.MORE_FOLLOWS)
    in_pieces, still = measured(pieces, checks.FOLLOWS), measured(pieces, checks.AFTER)
    perfect = follows[follows["method"] == checks.PERFECT]
    still = still[still["kind"] != "reference"]
    return {
        "moved_before": _spread(measured(moved, f"{checks.PROBABILITY}, before")),
        "moved_after": _spread(measured(moved, f"{checks.PROBABILITY}, after")),
        "moved_own": _spread(_own(follows)),
        "moved_perfect": ", ".join(f"{row.system} {report.number(row.value, 2)}" for row in perfect.itertuples()),
        "moved_follow": _named(_own(more[more["low"] > 0])),
        "moved_stay": _named(_own(more[more["high"] < 0])),
        "moved_gradients": _spread(_gradient(follows)),
        "pieces_after": _spread(measured(pieces, f"{checks.PROBABILITY}, after")),
        "pieces_stay": _named(_own(stay[stay["high"] < 0])),
        "pieces_gradients": _spread(_gradient(in_pieces)),
        "pieces_energy": _spread(in_pieces[in_pieces["method"] == ENERGY]),
        "pieces_still": _count(still),
        "pieces_most": _most(still),
    }
