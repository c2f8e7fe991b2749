"""Tables and figures of the chapter on how far simulated hearts carry."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, real_records, report
from ecgstudy.book.simulator_pages import interval_of, number_of, row_of
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.studies import curve, fair_trial, leaderboard, transfer
from ecgstudy.studies import starts as several_starts
from ecgstudy.systems.catalogue import by_name

# A real ECG of the book and the lead that shows its finding best, by class.
SHOWN = {
    "NSR": ("ptbxl-10", "II"),
    "I-AVB": ("georgia-E06320", "II"),
    "RBBB": ("cpsc-A0010", "V1"),
    "STD": ("ptbxl-296", "V5"),
}
SECONDS = 4.0  # of each strip
KEYS = {  # what ``told`` calls a reader and what it has seen
    "networks": transfer.MEAN,
    "with_trees": transfer.WITH_TREES,
    "own": "Local evidence",
    "xecgnet": "xECGNet",
    "ecgmaster": "ECGMaster",
    "butt": "BUTTeam",
    "gap": "CNN-GAP",
    "trees": transfer.TREES,
}
SEEN = {
    "real": transfer.REAL,
    "alone": transfer.SIMULATED,
    "both": transfer.BOTH,
    "midway": transfer.MIDWAY,
    "aside": transfer.ASIDE,
    "both_aside": transfer.BOTH_ASIDE,
    "midway_aside": transfer.MIDWAY_ASIDE,
}
MEASURES = {
    "": transfer.AUROC,
    "_less_real": transfer.LESS_REAL,
    "_less_trees": transfer.LESS_TREES,
    "_less_tuned": transfer.LESS_TUNED,
    "_less_alone": transfer.LESS_ALONE,
    "_within": transfer.WITHIN,
    "_f1": transfer.F1,
    "_error": transfer.ERROR,
}
# What ``maps`` calls a network that has gone from simulated to real records.
_MAPS = {"plain": leaderboard.PRETRAINED, "varied": leaderboard.VARIED, "midway": leaderboard.MIDWAY}


def hearts(name: str, index: int, seed: int, fs: float = 250) -> list[tuple[str, Record]]:
    """A real record of a class, a plain simulated one and a varied one before its recorder: (what it is, record)."""
    labels, varied = frozenset({name}), transfer.VARIETIES[transfer.HEARTS]
    return [
        ("real", real_records.committed()[SHOWN[name][0]].record),
        ("plain", synthetic.simulate(index, seed, fs=fs, labels=labels).record),
        ("varied", synthetic.simulate(index, seed, fs=fs, labels=labels, variety=varied).record),
    ]


def side_by_side(rows: Mapping[str, Sequence[tuple[str, Record]]]) -> Figure:
    """Strips of each class in a row: the lead of ``SHOWN``, ``SECONDS`` from the start, on paper of one scale."""
    across = max(map(len, rows.values()))
    figure, axes = plt.subplots(len(rows), across, figsize=(10, 1.6 * len(rows)), squeeze=False, sharex=True)
    for (name, records), line in zip(rows.items(), axes, strict=True):
        lead = SHOWN[name][1]
        drawn = []
        for what, record in records:
            y = record.signal[LEADS.index(lead), : round(SECONDS * record.fs)]
            drawn.append((what, np.arange(len(y)) / record.fs, y - np.nanmedian(y)))
        low, high = min(y.min() for *_, y in drawn) - 0.2, max(y.max() for *_, y in drawn) + 0.2
        for ax, (what, t, y) in zip(line, drawn, strict=True):
            ax.plot(t, y, color=plots.INK, lw=0.8)
            ax.set(xlim=(0, SECONDS), ylim=(low, high), xticks=[], yticks=[])
            ax.set_title(f"{name}, {lead}: {what}", loc="left", fontsize=9)
            plots.strip_paper(ax)
    figure.tight_layout()
    return figure


def steps(rows: pd.DataFrame) -> Figure:
    """Draw what each step of variety adds to the mean AUROC of readers of simulated records, on real ones."""
    shown = rows[(rows["measure"] == transfer.LESS) & (rows["class"] == "")]
    return plots.forest(
        shown,
        names="variety",
        groups="reader",
        xlabel="macro-AUROC on real records, less that after plain ones",
        reference=0,
        said="no more",
        digits=3,
    )


def steps_by_class(rows: pd.DataFrame, caption: str) -> Styler:
    """AUROC on real records of each reader, class and variety, and how many of the records have the class."""
    areas = rows[rows["measure"] == transfer.AUROC].assign(**{"class": rows["class"].replace("", "mean of classes")})
    shown = report.wide(
        areas.rename(columns={"positives": "records with it"}), ["reader", "class", "records with it"], "variety"
    )
    return report.table(shown, caption)


def curve_by_class(rows: pd.DataFrame, caption: str) -> Styler:
    """The same after each number of simulated records, with the unlabelled hearts in the last column."""
    named = [
        "with unlabelled" if variety == transfer.WIDEST else f"{records:,}"
        for records, variety in zip(rows["records"], rows["variety"], strict=True)
    ]
    return steps_by_class(rows.assign(variety=named), caption)


def of_steps(rows: pd.DataFrame, reader: str, prefix: str) -> dict[str, str]:
    """What the prose says of a reader after each variety: ``<prefix>_<variety>_<class>``, and how much ``_more``."""
    found = {}
    for variety in dict.fromkeys(rows.loc[rows["reader"] == reader, "variety"]):
        for name in ("", *CLASSES):
            where = {"reader": reader, "variety": variety, "class": name}
            key = "_".join(part for part in (prefix, variety.replace(" ", "_"), name.replace("-", "")) if part)
            found[key] = number_of(rows, measure=transfer.AUROC, **where)
            if variety != transfer.PLAIN:
                found[f"{key}_more"] = interval_of(rows, measure=transfer.LESS, **where)
    one = row_of(rows, reader=reader, variety=transfer.PLAIN, measure=transfer.AUROC, **{"class": ""})
    return found | {
        f"{prefix}_records": f"{one['records']:,}",
        f"{prefix}_n": f"{one['n']:,}",
        f"{prefix}_trainings": str(one["trainings"]),
    }


def by_records(rows: pd.DataFrame) -> Figure:
    """Draw the macro-AUROC of readers after each number of simulated records, with the unlabelled hearts beside."""
    shown = rows[(rows["measure"] == transfer.AUROC) & (rows["class"] == "")]
    figure, ax = plt.subplots(figsize=(7, 3.4))
    for place, (reader, some) in enumerate(shown.groupby("reader", sort=False)):
        marker, color = plots.SERIES[place]
        for variety, line, named in ((transfer.ALL, "-", reader), (transfer.WIDEST, "", f"{reader}, with unlabelled")):
            points = some[some["variety"] == variety].sort_values("records")
            ends = np.abs(points[["low", "high"]].to_numpy().T - points["value"].to_numpy())
            aside = 1.06**place  # so that no bar hides another
            ax.errorbar(
                points["records"] * aside * (1 if line else 1.2),
                points["value"],
                yerr=ends,
                color=color,
                marker=marker,
                mfc=color if line else "white",
                ls=line,
                lw=1.2,
                capsize=2,
                label=named,
            )
    numbers = sorted(set(shown["records"]))
    ax.set_xscale("log")
    ax.set_xticks(numbers, [f"{number:,}" for number in numbers])
    ax.minorticks_off()
    ax.set(xlabel="simulated records that were trained on", ylabel="macro-AUROC on real records")
    plots.legend_above(ax, ncols=2)
    figure.tight_layout()
    return figure


def of_curve(rows: pd.DataFrame) -> dict[str, str]:
    """What the prose says: ``<reader>_<records>`` of the mean and by class, and how much ``_more`` than usually.

    The point with unlabelled hearts is ``<reader>_unlabelled``.
    """
    found = {}
    for key, reader in (("trees", transfer.TREES), ("own", "Local evidence"), ("ecgmaster", "ECGMaster")):
        for records, variety in curve.POINTS:
            for name in ("", *CLASSES):
                where = {"reader": reader, "records": records, "variety": variety, "class": name}
                point = "unlabelled" if variety == transfer.WIDEST else str(records)
                place = "_".join(part for part in ("curve", key, point, name.replace("-", "")) if part)
                found[place] = number_of(rows, measure=transfer.AUROC, **where)
                if (records, variety) != (curve.USUAL, transfer.ALL):
                    found[f"{place}_more"] = interval_of(rows, measure=curve.LESS, **where)
        less = row_of(rows, reader=reader, records=2000, measure=curve.LESS, **{"class": ""})  # of fewer
        found[f"curve_{key}_gain"] = report.interval(-less["value"], -less["high"], -less["low"], digits=3)
        on_simulated = rows[(rows["measure"] == curve.ON_SIMULATED) & (rows["reader"] == reader)]
        for row in on_simulated.itertuples():
            found[f"curve_{key}_simulated_{row.records}"] = report.number(row.value, 3)
    return found


def area(rows: pd.DataFrame, reader: str, seen: str) -> float:
    """Mean AUROC of a reader after what it has seen."""
    return float(row_of(rows, reader=reader, seen=seen, measure=transfer.AUROC, **{"class": ""})["value"])


def by_start(rows: pd.DataFrame, tested: str = several_starts.HELD_OUT) -> Figure:
    """Draw the macro-AUROC of one of five trainings and of the five together by what they saw, beside the trees'."""
    shown = rows[(rows["measure"] == transfer.AUROC) & (rows["class"] == "") & (rows["tested"] == tested)]
    trees = float(row_of(shown, who=transfer.TREES)["value"])
    return plots.forest(
        pd.concat([shown[shown["seen"] == seen] for seen in several_starts.SEEN]),
        names="who",
        groups="seen",
        xlabel="macro-AUROC on real records",
        reference=trees,
        said="trees on real records",
        digits=3,
    )


TESTED = {"": several_starts.HELD_OUT, "_all": several_starts.ALL_RECORDS, "_ludb": several_starts.ELSEWHERE}


def of_starts(rows: pd.DataFrame) -> dict[str, str]:
    """What the prose says: ``<who>_<seen><measure>``, on all folds with ``_all`` at the end, on LUDB with ``_ludb``."""
    whose = {"one": several_starts.ONE, "five": several_starts.TOGETHER, "five_trees": several_starts.WITH_TREES}
    whose |= {"one_trees": several_starts.ONE_WITH_TREES, "no_real": several_starts.NONE_REAL}
    whose |= {"no_real_more": several_starts.ALL_SIMULATED, "everything": several_starts.EVERYTHING}
    measures = MEASURES | {"_less_one": several_starts.LESS_ONE, "_less_alone": several_starts.LESS_ALONE}
    means = rows[rows["class"] == ""].set_index(["who", "seen", "measure", "tested"])[["value", "low", "high"]]
    found = {}
    for who, called in whose.items():
        for short, seen in SEEN.items():
            for end, measure in measures.items():
                for last, tested in TESTED.items():
                    if (called, seen, measure, tested) in means.index:
                        numbers = means.loc[(called, seen, measure, tested)]
                        found[f"{who}_{short}{end}{last}"] = report.interval(*numbers, digits=3)
    in_class = rows[(rows["tested"] == several_starts.HELD_OUT) & rows["measure"].isin(measures.values())]
    in_class = in_class.set_index(["who", "measure", "class"])[["value", "low", "high"]].sort_index()
    for name in ("I-AVB", "NSR"):
        less = in_class.loc[(several_starts.NONE_REAL, transfer.LESS_TREES, name)]
        found[f"no_real_{name}_less_trees"] = report.interval(*less, digits=3)
    there = rows[rows["tested"] == several_starts.ELSEWHERE].set_index(["who", "seen", "measure", "class"])
    there = there[["value", "low", "high"]].sort_index()
    by_trees = there.loc[(transfer.TREES, transfer.REAL, transfer.AUROC)]
    alone = there.loc[(several_starts.TOGETHER, transfer.SIMULATED)]
    found["trees_ludb"] = report.interval(*by_trees.loc[""], digits=3)
    found["trees_NSR_ludb"] = report.interval(*by_trees.loc["NSR"], digits=3)
    found["five_alone_NSR_ludb"] = report.interval(*alone.loc[(transfer.AUROC, "NSR")], digits=3)
    for name in ("I-AVB", "RBBB"):
        less = alone.loc[(transfer.LESS_TREES, name)]
        found[f"five_alone_{name}_less_trees_ludb"] = report.interval(*less, digits=3)
    positives = rows[rows["tested"] == several_starts.ELSEWHERE].groupby("class")["positives"].first()
    found |= {f"n_{name or 'any'}_ludb": str(number) for name, number in positives.items()}
    for who, name in (("no_real", "STD"), ("no_real_more", "STD"), ("everything", "STE")):
        found[f"{who}_{name}"] = report.interval(*in_class.loc[(whose[who], transfer.AUROC, name)], digits=3)
    return found


def starts(
    rows: pd.DataFrame,
    *,
    seen: Sequence[str],
    measure: str = transfer.AUROC,
    reference: float | None = None,
    said: str = "",
) -> Figure:
    """Draw a mean over classes of each reader on held-out records, a mark for each thing it has ``seen``."""
    return plots.forest(
        _of(rows, measure, seen),
        names="reader",
        series="seen",
        xlabel=f"{measure.replace('AUROC', 'macro-AUROC')}, real records",
        reference=reference,
        said=said,
        digits=3,
    )


def by_class(rows: pd.DataFrame, reader: str, *, seen: Sequence[str]) -> Figure:
    """Draw the AUROC of a reader in each class, a mark for each thing it has ``seen``."""
    shown = rows[(rows["reader"] == reader) & (rows["measure"] == transfer.AUROC) & (rows["class"] != "")]
    shown = pd.concat([shown[shown["seen"] == one] for one in seen])
    return plots.forest(
        shown, names="class", series="seen", xlabel="AUROC on real records", reference=0.5, said="chance"
    )


def normal(rows: pd.DataFrame, readers: Sequence[str], *, seen: Sequence[str]) -> Figure:
    """Draw the AUROC of NSR by what it is told from (``transfer.normal``), a row for all that a reader has ``seen``."""
    two = rows[rows["against"].isin((transfer.ANOTHER, transfer.NONE))]
    shown = [two[(two["reader"] == reader) & (two["seen"] == one)] for reader in readers for one in seen]
    return plots.forest(
        pd.concat(shown),
        names="seen",
        groups="reader",
        series="against",
        xlabel="AUROC of NSR on real records",
        reference=0.5,
        said="chance",
        digits=3,
    )


def told_of_normal(rows: pd.DataFrame) -> dict[str, str]:
    """What the prose says: ``<reader>_<seen>_another``, ``_none`` and ``_there``, and how many records these are."""
    found: dict[str, str] = {}
    for end, against in (
        ("another", transfer.ANOTHER),
        ("none", transfer.NONE),
        ("there", transfer.NONE_THERE),
    ):
        one = rows[rows["against"] == against].set_index(["reader", "seen"])
        found |= {
            f"{key}_{short}_{end}": report.interval(*one.loc[(reader, seen), ["value", "low", "high"]], digits=3)
            for key, reader in KEYS.items()
            for short, seen in SEEN.items()
            if (reader, seen) in one.index
        }
        found[f"n_{end}"] = str(one["n"].iloc[0])
    labels = leaderboard.records_of("real")[list(CLASSES)]
    return found | {
        "all_with_nsr": str(labels["NSR"].sum()),
        "all_with_nsr_and_more": str((labels["NSR"] & (labels.sum(axis=1) > 1)).sum()),
        "all_none": str((labels.sum(axis=1) == 0).sum()),
    }


def table(rows: pd.DataFrame, caption: str, *, seen: Sequence[str], classes: bool = False) -> Styler:
    """Means over the classes of what was measured of each reader, or the AUROC of each class."""
    if not classes:
        shown = _of(rows, None, seen)
        return report.table(report.wide(shown, ["reader", "seen"], "measure"), caption)
    areas = rows[(rows["measure"] == transfer.AUROC) & (rows["class"] != "") & rows["seen"].isin(seen)]
    areas = areas.rename(columns={"positives": "records with it"})
    shown = report.wide(areas, ["class", "records with it", "reader"], "seen")
    return report.table(shown, caption)


def told(rows: pd.DataFrame) -> dict[str, str]:
    """What the prose says: ``<reader>_<seen><measure>`` by ``KEYS``, ``SEEN`` and ``MEASURES``.

    Of AUROC and of its gain over real records alone also by class: ``own_alone_less_real_IAVB``.
    """
    names = [(key, reader, short, seen) for key, reader in KEYS.items() for short, seen in SEEN.items()]
    known = rows.set_index(["reader", "seen", "measure", "class"])[["value", "low", "high"]]
    found = {}
    for key, reader, short, seen in names:
        for end, measure in MEASURES.items():
            for name in ("", *CLASSES) if measure in (transfer.AUROC, transfer.LESS_REAL) else ("",):
                if (reader, seen, measure, name) in known.index:
                    numbers = known.loc[(reader, seen, measure, name)]
                    place = f"{key}_{short}{end}_{name.replace('-', '')}".removesuffix("_")
                    found[place] = report.interval(*numbers, digits=3)
    return found | {
        f"n_{name.replace('-', '')}": str(n) for name, n in transfer.held_out()[list(CLASSES)].sum().items()
    }


def maps(system: str) -> dict[str, str]:
    """Excess mass of a system's first own map on LUDB after each training that starts from simulated records.

    ``map_<start>``, with ``detector_<start>`` beside it: the best of what has seen no network, on the same cells.
    """
    method = next(iter(by_name(system).own_maps))
    rows = fair_trial.table()
    where = {"system": system, "cohort": "LUDB", "method": method, "trial": "excess mass", "class": ""}
    found = {}
    for name, start in _MAPS.items():
        row = row_of(rows, **where, key=fair_trial.KEYS[1], trained=fair_trial.FINE_TUNED[start])
        found[f"map_{name}"] = report.interval(*row[["value", "low", "high"]], digits=2)
        found[f"detector_{name}"] = report.number(row["floor"], 2)
    return found | {"map_trainings": str(row["trainings"]), "map_n": str(row["n"])}


def _of(rows: pd.DataFrame, measure: str | None, seen: Sequence[str]) -> pd.DataFrame:
    """Rows of the mean over classes in the order of ``seen``."""
    shown = rows[(rows["class"] == "") & ((rows["measure"] == measure) if measure else True)]
    return pd.concat([shown[shown["seen"] == one] for one in seen], ignore_index=True)
