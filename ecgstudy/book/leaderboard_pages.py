"""Tables and figures of the chapter on the leaderboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import report
from ecgstudy.data.labels import CLASSES

_ONE = ", one"
_DIFFERENCE = ("difference", "low", "high")


def ordered(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``leaderboard.committed`` with the systems in order of macro-AUROC, the best first."""
    order = overall(scores, "AUROC").sort_values("value", ascending=False)["system"]
    scores = scores.assign(system=pd.Categorical(scores["system"], order, ordered=True))
    return scores.sort_values("system", kind="stable")


def overall(scores: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """Rows of some metrics, in that order, that are no single class's: means over the classes, or of whole records."""
    rows = scores[(scores["class"] == "") & scores["metric"].isin(metrics)]
    return rows.sort_values("metric", key=lambda names: names.map(metrics.index), kind="stable")


def means(scores: pd.DataFrame, metrics: Sequence[str], caption: str) -> Styler:
    """One row a system in the order of ``ordered``, one column a metric, each with its interval."""
    return report.table(report.wide(overall(scores, *metrics), "system", "metric"), caption)


def without_first_members(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows but those of an ensemble's first member alone, which figures leave to the tables."""
    return rows[~rows["system"].str.endswith(_ONE)]


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


def differences(found: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``leaderboard.differences`` as ``plots.forest`` and ``report.with_p`` take them."""
    return found.rename(columns={"difference": "value"})


def within_sources(found: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Rows of ``leaderboard.within_sources`` with systems in a given order and sources told by what they hold."""
    rows = found[found["system"].isin(order)].copy()
    rows["system"] = pd.Categorical(rows["system"], order, ordered=True)
    told = [f"{r.source}\n{r.n} records, {r.classes} classes" for r in rows.itertuples()]
    place = {source: number for number, source in enumerate(dict.fromkeys(found["source"]))}
    rows = rows.assign(place=rows["source"].map(place), source=told)
    return rows.sort_values(["place", "system"], kind="stable").drop(columns="place")


def pooled_and_within(scores: pd.DataFrame, within: pd.DataFrame) -> pd.DataFrame:
    """Macro-AUROC over all pairs of records and over those of one source (``pairs``), systems in their order."""
    pooled = overall(scores, "AUROC").assign(pairs="all pairs")
    order = list(scores["system"].cat.categories)
    within = within.assign(system=pd.Categorical(within["system"], order, ordered=True), pairs="pairs of one source")
    return pd.concat([pooled, within.sort_values("system")], ignore_index=True)


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


def beside_papers(scores: pd.DataFrame) -> pd.DataFrame:
    """What a paper reports beside what its system has here: two rows a system and metric, told apart by ``whose``.

    The paper's has no interval.
    """
    here = scores.dropna(subset="paper_value")
    paper = here.assign(value=here["paper_value"], low=np.nan, high=np.nan)
    return pd.concat([here.assign(whose="this cohort"), paper.assign(whose="paper")], ignore_index=True)


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
