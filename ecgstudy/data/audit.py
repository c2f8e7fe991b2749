"""The data audit: one row for each record, and the tables made from it."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from ecgstudy.data.beats import DS1, DS2, read_beats
from ecgstudy.data.cohort import skipping
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES, unmapped
from ecgstudy.data.manifest import SIGNALS, DataSet, at_hand, load_manifest
from ecgstudy.data.records import LEADS, Record, find_records, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import RESULTS, told_if_broken, written_table
from ecgstudy.text import no_formula, printable

_TEXTS = ("name", "source", "patient_id", "flat", "codes", "notes", "error")  # of a row


def data_sets(there: Collection[str]) -> pd.DataFrame:
    """Data sets of the study as the manifest describes them, and whether each is at hand, that is ``there``."""
    known = {name: one for name, one in load_manifest().items() if name in SIGNALS}
    rows = {
        "data set": [one.title for one in known.values()],
        "version": [one.version for one in known.values()],
        "licence": [one.licence for one in known.values()],
        "records": [one.records for one in known.values()],
        "at hand": ["yes" if name in there else _absence(one) for name, one in known.items()],
    }
    return pd.DataFrame(rows)


def _absence(one: DataSet) -> str:
    """``no``, or why nobody can tell."""
    hidden = [f"{one.name}/ cannot be listed ({error.strerror})" for error in one.at_hand().unlisted[:1]]
    return "".join(hidden) or "no"


def committed() -> pd.DataFrame:
    """The audit of the study's real recordings as committed in ``results/audit.csv``."""
    file = RESULTS / "audit.csv"
    with told_if_broken(file):
        # Of a record that could not be read only name and error are known.
        empty = dict.fromkeys(("fs", "seconds", "leads", "low", "high", "missing", *CLASSES), "")
        table = pd.read_csv(file, keep_default_na=False, na_values=empty)
        table[list(CLASSES)] = table[list(CLASSES)].eq(True)
        return table


def study_records(data_set: str) -> set[str]:
    """Names of the records of a data set that this study reads, from ``results/audit.csv``."""
    return set(_rows_of(committed(), data_set)["name"]) if data_set in SIGNALS else set()


def renewed(table: pd.DataFrame, there: Collection[str]) -> pd.DataFrame:
    """Join the audit of the data sets that are ``there`` with the committed rows of the others."""
    if set(SIGNALS) <= set(there):
        return table
    before = committed()
    return pd.concat([_rows_of(table if name in there else before, name) for name in SIGNALS], ignore_index=True)


def write(table: pd.DataFrame) -> None:
    """Write ``results/audit.csv``. No text of a record becomes a formula where a spreadsheet opens it."""
    texts = {column: table[column].map(no_formula, na_action="ignore") for column in _TEXTS}
    with written_table(RESULTS / "audit.csv") as partial:
        table.assign(**texts).to_csv(partial, index=False)


def _rows_of(table: pd.DataFrame, data_set: str) -> pd.DataFrame:
    whole = {"ludb": "LUDB", "mitdb": "MIT-BIH", "ptb-xl": "PTB-XL", "cpsc-2018-original": "CPSC 2018"}
    # The Challenge's sources are the folders it consists of.
    chosen = table["source"] == whole[data_set] if data_set in whole else ~table["source"].isin(whole.values())
    # What is known of an unreadable record begins with its path below the data root.
    own = table["error"].str.match(rf"{re.escape(data_set)}\b")
    return table[chosen.where(table["source"] != "unreadable", own)]


def audit(records: Iterable[Record | tuple[str, Exception]], classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Examine each record once and keep what a reader should know about it; memory does not grow with the signals.

    Parameters
    ----------
    records
        What ``read_all`` yields.
    classes
        What their labels are of.

    Returns
    -------
    DataFrame
        One row a record: name, source, patient_id, fs (Hz), seconds, leads (how many), one boolean column a class,
        low and high (mV, the 0.1 and 99.9 percentile of all leads), flat (leads that do not move), missing (share of
        samples), signal_hash, codes, notes, and error for what ``read_all`` could not read.
    """
    return pd.DataFrame([_row(record, classes) for record in records])


def _row(record: Record | tuple[str, Exception], classes: Sequence[str]) -> dict:
    if isinstance(record, tuple):
        name, error = record
        text = printable(str(error))
        return {"name": printable(name), "source": "unreadable", "error": text, "notes": "", "codes": "", "flat": ""}
    x = record.signal
    finite = np.isfinite(x)
    low, high = np.percentile(x[finite], [0.1, 99.9]) if finite.any() else (np.nan, np.nan)
    # nanmin over nothing warns: a lead without a finite sample is as flat as one that does not move.
    moves = np.where(finite, x, -np.inf).max(axis=1) > np.where(finite, x, np.inf).min(axis=1)
    flat = [lead for lead, moving in zip(record.leads, moves, strict=True) if not moving]
    return {
        "name": record.name,
        "source": record.source,
        "patient_id": record.patient_id,
        "fs": float(record.fs),
        "seconds": record.seconds,
        "leads": len(record.leads),
        **{c: c in record.labels for c in classes},
        "low": round(float(low), 3),
        "high": round(float(high), 3),
        "flat": " ".join(flat),
        "missing": round(1 - finite.mean(), 6),
        "signal_hash": record.signal_hash[:16],
        "codes": "|".join(record.codes),
        "notes": "|".join(record.notes),
        "error": "",
    }


def _classes(table: pd.DataFrame) -> list[str]:
    """Classes of an audit, whose columns stand between those of leads and amplitudes."""
    return list(table.loc[:, "leads":"low"].columns[1:-1])


def class_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Records of each class by source, those with none of them, and all."""
    read = table[table["error"] == ""]
    labels = read[_classes(table)].astype(bool)
    counts = labels.groupby(read["source"]).sum()
    counts["none"] = (~labels.any(axis=1)).groupby(read["source"]).sum()
    counts["records"] = read.groupby("source").size()
    counts.loc["all"] = counts.sum()
    return counts.astype(int)


def cooccurrence(table: pd.DataFrame) -> pd.DataFrame:
    """How many records carry each pair of classes; on the diagonal, each class."""
    y = table.loc[table["error"] == "", _classes(table)].astype(int)
    return y.T @ y


def real_cohort_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Records of each class in the real nine-class cohort: every distinct 12-lead signal but LUDB's, by source."""
    apart = ("synthetic", "unreadable", "LUDB", "MIT-BIH")
    real = table[~table["source"].isin(apart)]
    # The order of cohort.REAL_SOURCES: of one signal under two names the first is kept.
    first = real["source"].map({"CPSC 2018": 0, "PTB-XL": 1}).fillna(2)
    return class_counts(real.loc[first.sort_values(kind="stable").index].drop_duplicates("signal_hash"))


def unmapped_codes(
    table: pd.DataFrame, most: int = 15, class_of: Callable[[str], str | None] | None = None
) -> pd.DataFrame:
    """Diagnoses outside the classes, most frequent first: code, number of records, sources.

    ``class_of`` tells the class of a code, for classes that are not the study's nine.
    """
    codes = table.assign(code=table["codes"].str.split("|")).explode("code")
    there = codes["code"].dropna()
    outside = unmapped(there).keys() if class_of is None else {code for code in set(there) if class_of(code) is None}
    codes = codes[codes["code"].isin(outside) & (codes["code"] != "")]
    found = codes.groupby("code").agg(records=("name", "size"), sources=("source", lambda s: ", ".join(sorted(set(s)))))
    return found.sort_values("records", ascending=False).head(most).reset_index()


def ranges(table: pd.DataFrame) -> pd.DataFrame:
    """Rates, durations, amplitudes and flat leads by source."""
    groups = table[table["error"] == ""].groupby("source")
    rows = {
        source: {
            "records": len(g),
            "leads": "/".join(f"{n:g}" for n in sorted(g["leads"].unique())),
            "rate (Hz)": "/".join(f"{f:g}" for f in sorted(g["fs"].unique())),
            "seconds": "–".join(dict.fromkeys(f"{q:.0f}" for q in g["seconds"].quantile([0, 1]))),
            "median": round(g["seconds"].median()),
            "low (mV)": g["low"].median(),
            "high (mV)": g["high"].median(),
            "largest (mV)": max(g["high"].max(), -g["low"].min()),
            "with a flat lead": int((g["flat"] != "").sum()),
            "with missing samples": int((g["missing"] > 0).sum()),
        }
        for source, g in groups
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("source").reset_index()


def duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Signals that have more than one name: the names, and whether their labels agree."""
    read = table[table["error"] == ""]
    rows = []
    for _, group in read.groupby("signal_hash", sort=False):
        if len(group) > 1:
            labels = ["+".join(c for c in _classes(table) if row[c]) or "none" for _, row in group.iterrows()]
            names = [f"{row['source']}/{row['name']}" for _, row in group.iterrows()]
            agree = "yes" if len(set(labels)) == 1 else "no"
            rows.append({"records": " = ".join(names), "labels": " / ".join(dict.fromkeys(labels)), "agree": agree})
    return pd.DataFrame(rows, columns=["records", "labels", "agree"])


def traps(table: pd.DataFrame) -> pd.DataFrame:
    """Every kind of note that the reader left: how many records of which sources have it, and its commonest wordings.

    Up to three wordings that ten records have are shown, else the commonest one.
    """
    notes = table.assign(note=table["notes"].str.split("|")).explode("note")
    notes = notes[notes["note"].fillna("") != ""]
    notes[["trap", "detail"]] = notes["note"].str.split(": ", n=1, expand=True)
    found = notes.groupby("trap").agg(
        records=("name", "nunique"),
        sources=("source", lambda s: ", ".join(sorted(set(s)))),
        commonest=(
            "detail",
            lambda s: "; ".join(s.value_counts()[lambda n: (n >= 10) | (n.index == n.index[0])].index[:3]),
        ),
        example=("name", "first"),
    )
    return found.sort_values("records", ascending=False).reset_index()


def wave_counts(ludb: Path, limit: int | None = None, failed: list[dict[str, str]] | None = None) -> pd.DataFrame:
    """LUDB's marked waves by kind: how many, and of how many the onset or offset is missing.

    Records whose annotation cannot be read are left out, and added to ``failed`` (name, error).
    """
    found = [waves for _, waves in skipping(read_delineation, _paths(ludb, limit), failed)]
    waves = pd.concat(found) if found else pd.DataFrame(columns=["wave", "onset", "offset"])
    groups = waves.groupby("wave")
    ends = {"marked": groups.size(), "without onset": groups["onset"].apply(lambda s: int(s.isna().sum()))}
    ends["without offset"] = groups["offset"].apply(lambda s: int(s.isna().sum()))
    return pd.DataFrame(ends).reset_index()


def beat_counts(mitdb: Path, limit: int | None = None, failed: list[dict[str, str]] | None = None) -> pd.DataFrame:
    """MIT-BIH's beats by AAMI class: in all, in DS1 and in DS2.

    Records whose annotation cannot be read are left out, and added to ``failed`` (name, error).
    """
    read = skipping(read_beats, _paths(mitdb, limit), failed)
    found = [beats.assign(record=path.stem) for path, beats in read]
    beats = pd.concat(found) if found else pd.DataFrame(columns=["aami", "record"])
    halves = {"all": slice(None), "DS1": beats["record"].isin(DS1), "DS2": beats["record"].isin(DS2)}
    counted = {
        half: beats.loc[rows, "aami"].value_counts().reindex(list("NSVFQ"), fill_value=0)
        for half, rows in halves.items()
    }
    return pd.DataFrame(counted).T.rename_axis("beats").reset_index()


def _paths(folder: Path, limit: int | None) -> list[Path]:
    """At most ``limit`` records of a folder, and what may not be listed in it."""
    unlisted: list[Path] = []
    return find_records(folder, unlisted)[:limit] + unlisted


def example(*, label: str | None = None, seed: int = 0) -> Record | None:
    """One record to look at: real, from the 2021 challenge if that is at hand, or simulated where none is.

    With a ``label``, a real record of ten seconds or more that carries it, or None where there is none at hand. Without
    one, a simulated record where no real one can be shown.
    """
    folders = at_hand(["challenge-2021", "ptb-xl", "cpsc-2018-original"])
    for _, record in skipping(read_record, chain.from_iterable(map(find_records, folders.values()))):
        marred = any(note.startswith(("flat", "clipped", "amplitude", "missing")) for note in record.notes)
        whole = record.leads == LEADS and record.seconds >= 10 and not marred
        if whole and (label is None or label in record.labels):
            return record
    return synthetic.simulate(0, seed).record if label is None else None
