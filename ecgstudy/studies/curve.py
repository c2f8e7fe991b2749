"""How many simulated records? The curve of a reader that saw none but simulated ECGs, on real ones.

``ecgstudy train --part curve [READER ...]`` writes ``results/curve.csv``: the AUROC on the real records of
``development.yaml`` after more and more records with all steps of ``data.simulator.variety`` that the leaderboard's
networks saw, and after as many as these saw with unlabelled hearts besides. Readers are trees on measured features and
networks of the profile ``real``; a training has as many epochs whatever its records, so that its steps grow with them.
Of networks it also has the AUROC on simulated records that chose the epoch and were not trained on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ecgstudy import metrics, training
from ecgstudy.data.cohort import Cohort, real_cohort
from ecgstudy.paths import RESULTS
from ecgstudy.studies import leaderboard, put_rows, read_committed, transfer
from ecgstudy.studies.trainings import Task
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import by_name

TABLE = RESULTS / "curve.csv"
NUMBERS = transfer.NUMBERS
ENTRY = "reader"
ENTRIES = (transfer.TREES, "Local evidence", "ECGMaster")
USUAL = leaderboard.STARTS[leaderboard.VARIED]["records"]
POINTS = (*((number, transfer.ALL) for number in (1000, 2000, 6000, USUAL)), (USUAL, transfer.WIDEST))
LESS, ON_SIMULATED = f"AUROC less {USUAL:,} records", "AUROC on simulated records"
COLUMNS = ("reader", "records", "variety", "measure", "class", *NUMBERS, "n", "positives", "trainings", "run")


def system_of(reader: str) -> System:
    """A reader that is a network, in the size that the leaderboard pre-trains."""
    return by_name(reader).of_profile("real")[0]


def tasks(reader: str) -> list[Task]:
    """One a training."""
    system = None if reader == transfer.TREES else system_of(reader)
    fs = system.fs if system else transfer.FS
    return [
        transfer.task(system, transfer.simulated(variety, seed, fs, records))
        for records, variety in POINTS
        for seed in transfer.SEEDS
    ]


def keep(reader: str, found: Sequence[Any]) -> None:
    """Write the rows of a reader in the place of those that it had; ``found`` is what its ``tasks`` gave, in order."""
    real = real_cohort(transfer.FS if reader == transfer.TREES else found[0].system.fs)
    there = np.flatnonzero(transfer.development(real.table))
    each = iter(found)
    read, runs, tables = {}, {}, []
    for point in POINTS:
        some = [next(each) for _ in transfer.SEEDS]
        trained = [one for one in some if isinstance(one, training.Run)]
        runs[point] = " ".join(run.folder.name for run in trained)
        read[point] = np.stack(
            [training.predict(run.system, run.network(), real, there) for run in trained] if trained else some
        )
        if trained and point[1] == transfer.ALL:  # where each record has a label
            cohorts = [transfer.simulated(point[1], seed, real.fs, point[0]).made() for seed in transfer.SEEDS]
            areas = [_area(run, cohort) for run, cohort in zip(trained, cohorts, strict=True)]
            tables.append(_on_simulated(areas, sum(len(run.predictions) for run in trained)).assign(variety=[point]))
    usual = (USUAL, transfer.ALL)
    tables.append(transfer.scored(read, real.labels[there], real.table["patient_id"].iloc[there], usual, LESS))
    rows = pd.concat(tables, ignore_index=True)
    rows = rows.assign(
        reader=reader,
        records=[point[0] for point in rows["variety"]],
        run=[runs[point] for point in rows["variety"]],
        variety=[point[1] for point in rows["variety"]],
    )
    put_rows(TABLE, rows, committed(), ENTRY, ENTRIES, COLUMNS)


def _area(run: training.Run, cohort: Cohort) -> float:
    """Macro-AUROC on the simulated records that chose the epoch; none was kept for a test."""
    records = run.predictions["record"].to_numpy()
    return float(metrics.macro_auroc(cohort.labels[records], run.probabilities(records)))


def _on_simulated(areas: Sequence[float], tested: int) -> pd.DataFrame:
    """The row of what trainings scored on simulated records."""
    number, mean = len(areas), np.mean(areas)
    half = stats.t.ppf(0.975, number - 1) * np.std(areas, ddof=1) / number**0.5
    ends = {"value": mean, "low": mean - half, "high": min(mean + half, 1)}
    about = {"measure": ON_SIMULATED, "class": "", "n": tested, "positives": tested, "trainings": number}
    return pd.DataFrame([ends | about])


def committed() -> pd.DataFrame:
    """The table as committed."""
    return read_committed(TABLE, NUMBERS)
