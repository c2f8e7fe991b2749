"""Tables and figures of the chapter on the leaderboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import report
from ecgstudy.data.labels import CLASSES

_DIFFERENCE = ("difference", "low", "high")


def ordered(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``leaderboard.committed`` with the systems in order of macro-AUROC, the best first."""
    order = overall(scores, "AUROC").sort_values("value", ascending=False)["system"]
    scores = scores.assign(system=pd.Categorical(scores["system"], order, ordered=True))
    return scores.sort_values("system", kind="stable")


def overall(scores: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """Rows of some metrics that are no single class's: means over the classes, or of whole records."""
    return scores[(scores["class"] == "") & scores["metric"].isin(metrics)]


def means(scores: pd.DataFrame, metrics: Sequence[str], caption: str) -> Styler:
    """One row a system in the order of ``ordered``, one column a metric, each with its interval."""
    rows = overall(scores, *metrics)
    shown = rows.assign(cell=report.intervals(rows)).pivot(index="system", columns="metric", values="cell")
    return report.table(shown[list(metrics)].reset_index(), caption)


def best_of(scores: pd.DataFrame, names: Sequence[str]) -> str:
    """The one of some systems that comes first in the order of ``ordered``."""
    return next(system for system in scores["system"].cat.categories if system in names)


def difference(found: pd.DataFrame, system: str, *, reverse: bool = False) -> str:
    """Difference of a system in ``leaderboard.differences``, with its interval; or the other way round."""
    value, low, high = found.set_index("system").loc[system, ["difference", "low", "high"]]
    return report.interval(-value, -high, -low) if reverse else report.interval(value, low, high)


def by_class(scores: pd.DataFrame, positives: Mapping[str, int]) -> Figure:
    """Heat map of AUROC: a row a system, a column a class, below each class the number of its records."""
    rows = scores[(scores["class"] != "") & (scores["metric"] == "AUROC")]
    grid = rows.pivot(index="system", columns="class", values="value")[list(CLASSES)]
    figure, ax = plt.subplots(figsize=(8, 0.6 + 0.32 * len(grid)))
    sns.heatmap(grid, annot=True, fmt=".2f", vmin=0.5, vmax=1, cmap="Greys", cbar=False, ax=ax)
    ax.set(xlabel="", ylabel="", xticklabels=[f"{c}\n{positives[c]}" for c in CLASSES])
    return figure


def differences(found: pd.DataFrame, heading: str, caption: str) -> Styler:
    """Differences of ``leaderboard.differences`` with intervals and p-values."""
    shown = pd.DataFrame(
        {
            "": found["system"],
            heading: report.intervals(found, _DIFFERENCE),
            "p": found["p"].map(report.p_value),
        }
    )
    return report.table(shown, caption)


def within_sources(found: pd.DataFrame, order: Sequence[str], caption: str) -> Styler:
    """Scores of ``leaderboard.within_sources``: a row a system in a given order, a column a source."""
    columns = {
        source: f"{source}: {rows['n'].iloc[0]} records, {rows['classes'].iloc[0]} classes"
        for source, rows in found.groupby("source", sort=False)
    }
    shown = found.assign(cell=report.intervals(found)).pivot(index="system", columns="source", values="cell")
    shown = shown.reindex(order)[list(columns)].rename(columns=columns)
    return report.table(shown.reset_index(names="system"), caption)


def more_records(found: pd.DataFrame, few: str, many: str, caption: str) -> Styler:
    """Scores of ``leaderboard.more_records`` under two headings, and their differences."""
    shown = pd.DataFrame(
        {
            "": found["system"],
            few: found["few"],
            many: found["many"],
            "difference": report.intervals(found, _DIFFERENCE),
        }
    )
    return report.table(shown, caption)


def beside_papers(scores: pd.DataFrame, caption: str) -> Styler:
    """What a paper reports beside what its system has here."""
    beside = scores.dropna(subset="paper_value")
    beside = beside.assign(**{"this cohort": report.intervals(beside)}).rename(columns={"paper_value": "paper"})
    return report.table(beside[["system", "metric", "this cohort", "paper"]], caption)


def costs(cards: Mapping[str, Mapping[str, Any]], caption: str) -> Styler:
    """Size, speed and training time of each entry's network, from its ``leaderboard.card_of``."""
    rows = [
        {
            "": entry,
            "parameters": card["parameters"],
            "multiply-adds (million)": card["multiply_adds"] / 1e6,
            "records/s, one thread": card["records_per_second"],
            "networks trained": len(card["runs"]),
            "minutes of training": card["training_seconds"] / 60,
        }
        for entry, card in cards.items()
    ]
    return report.table(pd.DataFrame(rows), caption, digits=1)
