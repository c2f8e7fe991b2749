"""Tables of the chapter on single beats, of rows as ``results/beats.csv`` has them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from ecgstudy.book import report
from ecgstudy.data.beats import BEAT_CLASSES, Beats
from ecgstudy.studies import beat_transfer

METRICS = (("accuracy", ""), *(("F1", c) for c in BEAT_CLASSES), ("macro-F1", ""), ("j-kappa", ""))


def class_counts(beats: Beats, parts: Mapping[str, NDArray[np.intp]], caption: str) -> Styler:
    """How many beats of each class are in each part, given by the places of its beats."""
    counts = {part: beats.table["aami"].iloc[places].value_counts() for part, places in parts.items()}
    table = pd.DataFrame(counts).reindex(beats.classes).fillna(0).astype(int)
    return report.table(table.rename_axis("class").reset_index(), caption)


def scores(rows: pd.DataFrame, caption: str) -> Styler:
    """``METRICS`` with their intervals, one row a network and what it was tested on."""
    shown = []
    for (network, split), some in rows.groupby(["network", "split"], sort=False):
        row = {"network": network, "tested on": split}
        for metric, c in METRICS:
            if ((some["metric"] == metric) & (some["class"] == c)).any():
                row[f"{metric} {c}".strip()] = cited(some, network, metric, c, split)
        shown.append(row)
    return report.table(pd.DataFrame(shown), caption)


def cited(rows: pd.DataFrame, network: str, metric: str, c: str = "", split: str = "DS1/DS2") -> str:
    """A number of the rows with its interval, as the text has it.

    Raises
    ------
    LookupError
        when there is no such row.
    """
    wanted = {"network": network, "split": split, "metric": metric, "class": c}
    found = rows[(rows[list(wanted)] == list(wanted.values())).all(axis=1)]
    if found.empty:
        raise LookupError(f"no row of {', '.join(filter(None, wanted.values()))}")
    return report.interval(*found[["value", "low", "high"]].to_numpy(float)[0], digits=2)


def reported(rows: pd.DataFrame, caption: str) -> Styler:
    """What others report: one row a network, one column a metric and class."""
    theirs = rows[rows["paper_value"].notna()]
    theirs = theirs.assign(measure=(theirs["metric"] + " " + theirs["class"]).str.strip())
    return _wide(theirs, "network", "measure", "paper_value", caption)


def errors_by_record(predictions: pd.DataFrame, most: int, caption: str) -> Styler:
    """The records with most errors about S: S beats that are missed, N beats that are called S.

    Parameters
    ----------
    predictions
        One row a beat: record, target (its class's place in ``BEAT_CLASSES``), a probability for each class.
    most
        Show so many records.
    """
    answer = predictions[list(BEAT_CLASSES)].idxmax(axis=1)
    truth = predictions["target"].map(dict(enumerate(BEAT_CLASSES)))
    table = pd.DataFrame(
        {
            "S beats": truth == "S",
            "of them found": (truth == "S") & (answer == "S"),
            "N beats": truth == "N",
            "of them called S": (truth == "N") & (answer == "S"),
            "of them called V or F": (truth == "N") & answer.isin(["V", "F"]),
        }
    )
    table = table.groupby(predictions["record"]).sum()
    wrong = table["of them called S"] + table["S beats"] - table["of them found"]
    worst = wrong.sort_values(ascending=False).index[:most]
    return report.table(table.loc[worst].reset_index(), caption)


def s_by_record(rows: pd.DataFrame, readers: Sequence[str], caption: str) -> Styler:
    """S in the records of DS2 that have some, or of which a reader calls 100 other beats S (``beat_transfer.csv``)."""
    single = rows[rows["tested"].str.startswith("record ") & rows["reader"].isin(readers)]
    single = single.assign(record=single["tested"].str.removeprefix("record "))
    alarms = single["metric"] == beat_transfer.ALARMS
    wide = single.pivot(index="record", columns=["metric", "reader"], values="value")
    beats = single[single["metric"] == "sensitivity"].groupby("record")["n"].first().reindex(wide.index)
    many = single[alarms & (single["value"] >= 100)]["record"]
    shown = pd.DataFrame(
        {"record": wide.index, "S beats": ["" if np.isnan(n) else report.number(n, 0) for n in beats]}, index=wide.index
    )
    for reader in readers:
        shown[f"found, {reader}"] = ["" if np.isnan(x) else report.number(x, 2) for x in wide["sensitivity", reader]]
        shown[f"false alarms, {reader}"] = [report.number(x, 0) for x in wide[beat_transfer.ALARMS, reader]]
    kept = beats.notna() | wide.index.isin(many)
    return report.table(shown[kept].iloc[np.argsort(-beats[kept].fillna(0), kind="stable")], caption)


def of_transfer(rows: pd.DataFrame) -> dict[str, str]:
    """What the prose says of ``beat_transfer.csv``: ``<reader>_<class>_<tested>``, and of S its two shares."""
    readers = {
        "before": beat_transfer.CHAPTER,
        "both": beat_transfer.OFFLINE,
        "alone": beat_transfer.ALONE,
        "first": beat_transfer.FIRST,
        "trees": beat_transfer.TREES,
        "both_trees": beat_transfer.OFFLINE + beat_transfer.AND_TREES,
        "first_trees": beat_transfer.FIRST + beat_transfer.AND_TREES,
    }
    places = {"ds1": beat_transfer.VALIDATED, "ds2": beat_transfer.TESTED, "others": beat_transfer.OTHERS}
    numbers = rows.set_index(["reader", "tested", "metric", "class"])[["value", "low", "high"]]
    shown = {("F1", "S"): "s", ("F1", "V"): "v", ("sensitivity", "S"): "s_found", ("precision", "S"): "s_right"}
    alarms = rows[(rows["metric"] == beat_transfer.ALARMS) & (rows["reader"] == readers["first_trees"])]
    irregular = alarms["tested"].isin([f"record {name}" for name in beat_transfer.IRREGULAR])
    several = {"alarms": alarms["value"].sum(), "alarms_irregular": alarms["value"][irregular].sum()}
    return {name: report.number(value, 0) for name, value in several.items()} | {
        f"{short}_{name}_{place}": report.interval(*numbers.loc[(reader, tested, *measure)], digits=2)
        for short, reader in readers.items()
        for place, tested in places.items()
        for measure, name in shown.items()
    }


def in_window(rows: pd.DataFrame, caption: str) -> Styler:
    """Share of each map in its class's window, and by how much it is more than its rivals' (``window_trial``)."""
    start = "map in the window, "
    named = rows["metric"].str.removeprefix(start).replace("map in the window", "in the window")
    texts = rows.assign(map=rows["network"], what=named, text=_intervals(rows))
    texts = texts.pivot(index=["class", "map"], columns="what", values="text").fillna("")
    order = rows[["class", "network"]].drop_duplicates().itertuples(index=False, name=None)
    return report.table(texts.loc[list(order), named.unique()].reset_index(), caption)


def correlations(rows: pd.DataFrame, caption: str) -> Styler:
    """Correlation of each network's maps with others, one column a class (``correlation_trial``)."""
    other = rows["metric"].str.removeprefix("map correlates with: ")
    texts = rows.assign(**{"map of": rows["network"], "with": other, "text": _intervals(rows)})
    return _wide(texts, ["map of", "with"], "class", "text", caption)


def _intervals(rows: pd.DataFrame) -> list[str]:
    return [report.interval(*limits, digits=2) for limits in rows[["value", "low", "high"]].to_numpy(float)]


def _wide(rows: pd.DataFrame, index: str | Sequence[str], columns: str, values: str, caption: str) -> Styler:
    wide = rows.pivot(index=index, columns=columns, values=values)
    return report.table(wide.reset_index().rename_axis(None, axis=1), caption)
