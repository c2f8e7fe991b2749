"""The trial of maps on the page: one figure of ceilings, floors and scores, and a table for each question."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.studies import fair_trial

ROWS = ("", "waves", "segments", "rhythm and absence", *(c for c in CLASSES if c != "NSR"))
_NAMES = {"": "eight classes"}
_COLUMNS = ("value", "low", "high")


def scores(table: pd.DataFrame, *, cohort: str, trained: str, trial: str, key: str) -> pd.DataFrame:
    """Rows of ``fair_trial.table`` of one cohort, training, trial and key that have a ceiling."""
    wanted = {"cohort": cohort, "trained": trained, "trial": trial, "key": key}
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table[table["ceiling"].notna()]


def ceilings(rows: pd.DataFrame, shown: Mapping[str, str]) -> Figure:
    """Draw each system's map between floor and ceiling, class by class.

    Parameters
    ----------
    rows
        Of ``scores``.
    shown
        System → the map of it that is drawn.
    """
    figure, axes = plt.subplots(1, len(shown), figsize=(2.1 * len(shown), 4.4), sharey=True, sharex=True, squeeze=False)
    for ax, (system, method) in zip(axes[0], shown.items(), strict=True):
        mine = rows[(rows["system"] == system) & (rows["method"] == method)].set_index("class")
        there = [name for name in ROWS if name in mine.index]
        for place, name in enumerate(reversed(there)):
            row = mine.loc[name]
            ax.barh(place, row["ceiling"] - row["floor"], left=row["floor"], height=0.72, color="0.88")
            ax.plot([row["ceiling"]] * 2, [place - 0.36, place + 0.36], color=plots.EVIDENCE, linewidth=1.8)
            ax.plot([row["floor"]] * 2, [place - 0.36, place + 0.36], color="0.35", linewidth=1.2, linestyle=":")
            ax.plot([row["low"], row["high"]], [place] * 2, color=plots.INK, linewidth=1.4)
            ax.plot(row["value"], place, "o", color=plots.INK, markersize=4.5)
        ax.axvline(0, color="0.7", linewidth=0.7, zorder=0)
        ax.set_title(f"{system}\n{method}", fontsize=9)
        ax.set_yticks(range(len(there)), [_NAMES.get(name, name) for name in reversed(there)])
    figure.supxlabel("excess mass: 0 is chance, 1 all on the evidence", fontsize=9)
    figure.tight_layout()
    return figure


def share(rows: pd.DataFrame) -> pd.Series:
    """How much of what is possible a map reaches: 0 at its floor, 1 at its ceiling; NaN where these are not apart."""
    room = rows["ceiling"] - rows["floor"]
    return ((rows["value"] - rows["floor"]) / room.where(room > 0.02)).rename("share")


def verdicts(answers: pd.DataFrame, question: str) -> Styler:
    """Table of the answers to one question."""
    rows = answers[answers["question"] == question]
    asked = fair_trial.rules()["questions"][question]
    reached = rows["value"] / (rows["ceiling"] - rows["floor"])  # of the way from the best blind map to the perfect one
    also = np.where(rows["also"] == "", "the same", "another: " + rows["also"].astype(str))
    shown = pd.DataFrame(
        {
            "map": rows["system"] + ": " + rows["method"],
            **({"classes": rows["class"].map(lambda c: _NAMES.get(c, c))} if len(asked["classes"]) > 1 else {}),
            "against": rows["against"],
            "difference": report.intervals(rows, _COLUMNS, 2),
            **({"of what is possible": [f"{100 * r:.0f} %" for r in reached]} if asked["against"] == "blind" else {}),
            "verdict": rows["verdict"],
            "by AUC": rows["second"],
            "under other keys": also,
        }
    )
    m = asked["m"]
    level = 100 * (1 - 0.05 / m)
    return report.table(
        shown,
        f"{asked['hypothesis']} Difference in excess mass, {rows['trainings'].max()} trainings, {rows['n'].max()} "
        f"explanations; intervals over patients and trainings at {level:.1f} %, so that all {m} together hold at 95 %. "
        "The verdict is read from this interval.",
    )


def verdict_texts(answers: pd.DataFrame) -> dict[str, str]:
    """Texts of the answers for the prose: ``own_maps_simulated_cnn_gap_cam`` and so on, and counts of each verdict."""
    texts = {}
    for row in answers.itertuples():
        name = _key(f"{row.question} {row.system} {row.method} {row[answers.columns.get_loc('class') + 1]}")
        texts[name] = report.interval(row.value, row.low, row.high, digits=2)
        texts[f"{name}_verdict"] = row.verdict
    for question, rows in answers.groupby("question"):
        for verdict, some in rows.groupby("verdict"):
            which = [f"{one.method} of {one.system}" for one in some.itertuples()]
            texts[_key(f"{question} {verdict}")] = listed(which)
    return texts


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _key(text: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
