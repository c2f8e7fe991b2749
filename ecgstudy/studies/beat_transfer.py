"""Beats of MIT-BIH after simulated ones: what timing on both sides, a simulated start and trees on the timing give.

``ecgstudy train --part beats`` writes ``results/beat_transfer.csv``. Every choice was made on DS1, where each record is
answered by networks that were trained on other records of DS1; then all of DS1 is trained on and DS2 is answered. The
study of chapter 07 asks what maps show; this one asks how well premature atrial beats (S) can be found at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy import training
from ecgstudy.data.beats import (
    BEAT_CLASSES,
    SIMULATED_WIDELY,
    Beats,
    halves,
    mitdb_beats,
    simulated_beats,
)
from ecgstudy.data.manifest import DataError
from ecgstudy.data.simulator.variety import RUNS
from ecgstudy.paths import RESULTS
from ecgstudy.studies import put_rows, read_committed, single_beats
from ecgstudy.studies.leaderboard import name_of_all
from ecgstudy.studies.trainings import Task, anew
from ecgstudy.systems.beat_gradcam import BeatSystem

TABLE = RESULTS / "beat_transfer.csv"
NUMBERS = ("value", "low", "high")
ENTRY = "network"
ENTRIES = ("FCN",)
SEEDS = (11, 12, 13, 14, 15)  # of simulated records and trainings
COLUMNS = ("network", "reader", "tested", "metric", "class", *NUMBERS, "n", "trainings", "run")

BEFORE = BeatSystem(width=0.5, every=3)  # the FCN of chapter 07, as the study has it
BOTH = replace(BEFORE, rhythm="both sides")
START = replace(BOTH, epochs=10, beats=32_000)
SIMULATED: dict[str, Any] = {
    "records": 2400,
    "seconds": 120,
    "kinds": SIMULATED_WIDELY,
    "variety": f"all+{RUNS}",
}
FOLDS = 7  # of DS1's records
PATIENT = "232"  # who has three quarters of DS2's S beats
FEWEST = 10  # S beats of a record whose S are scored by themselves
# In which the atria fibrillate or flutter, as the directory of MIT-BIH has it: their rhythm marks are not at hand.
IRREGULAR = ("202", "219", "222")
ALARMS = "false alarms"

CHAPTER, OFFLINE, ALONE, FIRST = (
    "timing before",
    "timing on both sides",
    "simulated beats alone",
    "simulated beats first",
)
TREES, AND_TREES = "trees on the timing", ", and trees"
READERS = (CHAPTER, OFFLINE, ALONE, FIRST, TREES, OFFLINE + AND_TREES, FIRST + AND_TREES)
VALIDATED, TESTED, OTHERS = "DS1, by patient", "DS2", f"DS2 without {PATIENT}"

Array = NDArray[np.float32]
Places = NDArray[np.intp]


def whole_mitdb() -> Beats:
    """Beats of all 44 records without pacing.

    Raises
    ------
    manifest.DataError
        when MIT-BIH is not at hand, or not all of it can be read.
    """
    failed: list[dict[str, str]] = []
    beats = mitdb_beats(failed=failed)
    if failed:
        told = "; ".join(one["error"] for one in failed)
        raise DataError(f"this study needs all of MIT-BIH's records (`ecgstudy data fetch mitdb`): {told}")
    return beats


def folds(beats: Beats) -> list[tuple[Places, Places]]:
    """Places of the beats of DS1 to train on and to answer, ``FOLDS`` times: every so many records are together."""
    there = halves(beats)["DS1"]
    records = beats.table["record"].to_numpy()[there]
    fold = np.searchsorted(np.unique(records), records) % FOLDS
    return [(there[fold != k], there[fold == k]) for k in range(FOLDS)]


def simulated_start(seed: int) -> single_beats.BeatRun:
    """Train on simulated beats alone, or open that run, which has answered a tenth of the records."""
    made = simulated_beats(seed=seed, **SIMULATED)
    patient = pd.factorize(made.table["patient_id"])[0]
    kept = patient >= 0.9 * (patient.max() + 1)
    return single_beats.train(START, made, np.flatnonzero(~kept), np.flatnonzero(kept), seed=seed)


def trees(beats: Beats, train_on: Places, test: Places, seed: int) -> Array:
    """Probabilities (beats, 4) by boosted trees on ``Beats.timing``, whose classes weigh as the networks draw them."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to load

    target = beats.target[train_on]
    weight = np.bincount(target)[target] ** -float(BOTH.balance)
    fitted = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1.0, random_state=seed
    ).fit(beats.timing[train_on], target, sample_weight=weight / weight.mean())
    p = np.zeros((len(test), len(BEAT_CLASSES)), np.float32)
    p[:, fitted.classes_] = fitted.predict_proba(beats.timing[test])
    return p


def member(seed: int) -> dict[str, Any]:
    """Answers of every reader trained from one seed: reader → probabilities (beats of MIT-BIH, 4), and ``runs``."""
    beats = whole_mitdb()
    parts = halves(beats)
    start = simulated_start(seed)
    found: dict[str, Array] = {
        reader: np.full((len(beats), len(BEAT_CLASSES)), np.nan, np.float32) for reader in READERS
    }
    runs = [start]
    every = np.concatenate([parts["DS1"], parts["DS2"]])
    with training.one_thread():
        found[ALONE][every] = single_beats.predict(start.network(), *BOTH.inputs(beats, every))
    for train_on, test in [*folds(beats), (parts["DS1"], parts["DS2"])]:
        for reader, system, first in ((CHAPTER, BEFORE, None), (OFFLINE, BOTH, None), (FIRST, BOTH, start)):
            run = single_beats.train(system, beats, train_on, test, seed=seed, start=first)
            found[reader][test] = run.predictions[list(BEAT_CLASSES)].to_numpy(np.float32)
            runs.append(run)
        found[TREES][test] = trees(beats, train_on, test, seed)
    for reader in (OFFLINE, FIRST):
        found[reader + AND_TREES] = np.mean([found[reader], found[TREES]], axis=0, dtype=np.float32)
    return {"runs": [run.folder.name for run in runs], **found}


def tasks(network: str) -> list[Task]:
    """One a seed."""
    return [Task(f"{network}, beats {k + 1}/{len(SEEDS)}", anew, (member, seed)) for k, seed in enumerate(SEEDS)]


def scored(answers: Mapping[str, Sequence[Array]], beats: Beats, repeats: int = 1000) -> pd.DataFrame:
    """Rows of each reader: on DS1, on DS2 with and without ``PATIENT``, and S in each record of DS2.

    Parameters
    ----------
    answers
        Reader → probabilities (beats, 4), one a training. Intervals know patients and trainings; rows of single records
        have none.
    """
    target, record = beats.target, beats.table["record"].to_numpy()
    patient_of = beats.table.groupby("record")["patient_id"].first()
    parts = halves(beats)
    tested = {
        VALIDATED: parts["DS1"],
        TESTED: parts["DS2"],
        OTHERS: parts["DS2"][record[parts["DS2"]] != PATIENT],
    }
    rows = []
    for reader, each in answers.items():
        for name, there in tested.items():
            tables = [single_beats.confusion_of(p[there], target[there], record[there]) for p in each]
            by_patient = [table.groupby(patient_of.__getitem__).sum() for table in tables]
            rows.append(
                single_beats.scored_confusions(by_patient, repeats, draw_runs=True).assign(reader=reader, tested=name)
            )
            if name == TESTED:
                rows += [_of_record(tables, one).assign(reader=reader) for one in tables[0].index]
    return pd.concat(rows, ignore_index=True).drop(columns="deviation").assign(trainings=len(each)).astype({"n": int})


def _of_record(tables: Sequence[pd.DataFrame], record: str) -> pd.DataFrame:
    """How many beats of a record are called S and are not, mean over trainings; where S is not rare, how S is found."""
    cells = np.stack([table.loc[record].to_numpy().reshape(4, 4) for table in tables])
    s = BEAT_CLASSES.index("S")
    n, others = cells[0, s].sum(), np.delete(cells, s, axis=1)
    rows = [{"metric": ALARMS, "value": others[..., s].sum(axis=1).mean(), "n": others[0].sum()}]
    if n >= FEWEST:
        found = single_beats.scores(cells)
        rows += [{"metric": name, "value": found[name][:, s].mean(), "n": n} for name in ("sensitivity", "precision")]
    return pd.DataFrame(rows).assign(tested=f"record {record}", **{"class": "S"})


def keep(network: str, found: Sequence[Any]) -> None:
    """Write the table; ``found`` is what ``tasks`` gave, in order."""
    beats = whole_mitdb()
    rows = scored({reader: [one[reader] for one in found] for reader in READERS}, beats)
    runs = [run for one in found for run in one["runs"]]
    put_rows(TABLE, rows.assign(network=network, run=name_of_all(runs)), committed(), ENTRY, ENTRIES, COLUMNS)


def committed() -> pd.DataFrame:
    """The table as committed."""
    return read_committed(TABLE, NUMBERS)
