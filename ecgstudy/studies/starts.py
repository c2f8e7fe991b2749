"""How much does a training matter? The own network from five starts, each with simulated records of its own.

``ecgstudy train --part starts`` writes ``results/starts.csv``. Each start is a training on as many varied simulated
records as the leaderboard's networks saw, with other hearts and another seed; from each of them a network is
fine-tuned on the real records of all folds but one, and *midway* is the mean of the weights before and after. The
table has one of five trainings, with intervals that know patients and trainings, and the five together, also with
others: with the leaderboard's trees, which learned from real records; with trees, and with trees and the ECGMasters of
the curve, that have seen none; and with both kinds of trees and the leaderboard's other networks. On LUDB, from which
none of them has learned, a start answers with the mean of its five networks, and the trees are those that ship.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy import metrics, training
from ecgstudy.data.cohort import Cohort, real_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import RESULTS
from ecgstudy.studies import curve, leaderboard, put_rows, read_committed, transfer
from ecgstudy.studies.trainings import Records, Task, anew
from ecgstudy.systems import catalogue

TABLE = RESULTS / "starts.csv"
NUMBERS = transfer.NUMBERS
ENTRY = "reader"
ENTRIES = ("Local evidence",)  # the best of the leaderboard
SEEDS = (11, 12, 13, 14, 15)  # of records and training; the first three are those of the curve
SEEN = (transfer.SIMULATED, transfer.MIDWAY, transfer.BOTH)
HELD_OUT, ALL_RECORDS, DEVELOPMENT, ELSEWHERE = "held out", "all folds", "development", "LUDB"
ONE, TOGETHER, WITH_TREES = "one of five", "five together", "five and the trees"
ONE_WITH_TREES = "one of five and the trees"  # as `studies.own_scores` ships it, with another start
NONE_REAL = "five and trees on simulated records"  # which, too, have seen no real one
ALL_SIMULATED = "these and ECGMaster"
EVERYTHING = "all networks and all trees"  # with the leaderboard's other systems midway
ALSO = "ECGMaster"  # the curve's other network
LESS_ALONE, LESS_ONE = f"AUROC less {transfer.SIMULATED}", "AUROC less one of five"
COLUMNS = ("reader", "seen", "who", "tested", "measure", "class", *NUMBERS, "n", "positives", "trainings", "run")

Array = NDArray[np.floating]


def start(reader: str, seed: int, *, only_open: bool = False) -> training.Run | None:
    """Train a network on simulated records alone, or open that run: a point of the curve, with a seed more."""
    system = curve.system_of(reader)
    return transfer.train_system(system, _first(system.fs, seed), only_open=only_open)


def _first(fs: float, seed: int) -> Records:
    return transfer.simulated(transfer.ALL, seed, fs, curve.USUAL)


def fine_tune(reader: str, member: int, fold: int, *, only_open: bool = False) -> training.Run | None:
    """Train on the real records of all folds but one from the start of a member, or open that run."""
    first = start(reader, SEEDS[member], only_open=only_open)
    if first is None:
        return None
    system = first.system
    cohort = leaderboard.cohort_of("real", system.fs)
    test = np.flatnonzero(leaderboard.fold_of("real", cohort) == fold)
    split = training.member_splits(system, cohort, test, len(SEEDS))[member]
    if only_open:
        return training.trained(system, cohort, split, seed=member, start=first)
    return training.train(system, cohort, split, seed=member, start=first, note=f"{reader} {member + 1}/{len(SEEDS)}")


def _places() -> list[tuple[int, int]]:
    """Member and fold of each fine-tuned network."""
    return [(member, fold) for member in range(len(SEEDS)) for fold in range(leaderboard.BOARDS["real"].folds)]


def tasks(reader: str) -> list[Task]:
    """One a fine-tuned network, which needs its start; then trees and networks that have seen no real record."""
    fs = curve.system_of(reader).fs
    real = leaderboard.records_wanted("real", fs).task
    made = []
    for member, fold in _places():
        first = Task(f"{reader}, start {member + 1}", start, (reader, SEEDS[member]), (_first(fs, SEEDS[member]).task,))
        note = f"{reader}, start {member + 1}, fold {fold + 1}"
        made.append(Task(note, fine_tune, (reader, member, fold), (real, first)))
    real = leaderboard.records_wanted("real", transfer.FS).task
    for seed in transfer.SEEDS:
        records = transfer.simulated(transfer.WIDEST, seed, transfer.FS, curve.USUAL)
        note = f"{transfer.TREES}, {records.records:,} records, {seed}"
        made.append(Task(note, anew, (transfer.read_by_trees, records, True), (real, records.task)))
    also = curve.system_of(ALSO)
    return [*made, *(transfer.task(also, _first(also.fs, seed)) for seed in transfer.SEEDS)]


def _runs(
    reader: str, tuned: Sequence[training.Run]
) -> Iterator[tuple[int, NDArray[np.intp], dict[str, training.Run]]]:
    """Member, the records that it has not seen, and its run after each of ``SEEN``; ``tuned`` in order of tasks."""
    system = tuned[0].system
    cohort = leaderboard.cohort_of("real", system.fs)
    fold_of = leaderboard.fold_of("real", cohort)
    for (member, fold), run in zip(_places(), tuned, strict=True):
        first, test = start(reader, SEEDS[member]), np.flatnonzero(fold_of == fold)
        assert first is not None
        split = training.member_splits(system, cohort, test, len(SEEDS))[member]
        halfway = training.mean_of((first, run), cohort, split)
        yield member, test, {transfer.SIMULATED: first, transfer.MIDWAY: halfway, transfer.BOTH: run}


def read(reader: str, tuned: Sequence[training.Run]) -> dict[str, Array]:
    """Probabilities (members, records, classes) of the real records by what was seen; ``tuned`` in order of tasks."""
    system = tuned[0].system
    cohort = leaderboard.cohort_of("real", system.fs)
    found = {seen: np.zeros((len(SEEDS), *cohort.labels.shape), np.float32) for seen in SEEN}
    for member, test, runs in _runs(reader, tuned):
        found[transfer.SIMULATED][member, test] = training.predict(
            system, runs[transfer.SIMULATED].network(), cohort, test
        )
        for seen in (transfer.MIDWAY, transfer.BOTH):
            found[seen][member, test] = runs[seen].probabilities(test)
    return found


def read_elsewhere(reader: str, tuned: Sequence[training.Run], cohort: Cohort) -> dict[str, Array]:
    """Probabilities (members, records, classes) of records that no network has learned from, by what was seen.

    After real records, a member is the mean of its networks, one of each fold.
    """
    every, folds = np.arange(len(cohort)), leaderboard.BOARDS["real"].folds
    found = {seen: np.zeros((len(SEEDS), *cohort.labels.shape), np.float32) for seen in SEEN}
    for member, _, runs in _runs(reader, tuned):
        for seen, run in runs.items():
            found[seen][member] += training.predict(run.system, run.network(), cohort, every) / folds
    return found


def scored(
    found: Mapping[str, Array],
    trees: Array,
    records: pd.DataFrame,
    beside: Mapping[tuple[str, str], Sequence[Array]],
    repeats: int = transfer.REPEATS,
) -> pd.DataFrame:
    """Rows of one of the trainings and of all together, on some real records.

    Parameters
    ----------
    found
        Probabilities (trainings, records, classes) by what was seen, as ``read`` gives them.
    trees
        Those of trees on real records, (records, classes).
    records
        patient_id and the nine labels of each record.
    beside
        Others, (records, classes) each, whose mean with all trainings is scored too: what was seen, and their name.
    """
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"]
    one = transfer.scored(found, targets, patients, transfer.SIMULATED, LESS_ALONE)
    beside_trees = {seen: (each + trees) / 2 for seen, each in found.items()}
    helped = transfer.scored(beside_trees, targets, patients, transfer.SIMULATED, LESS_ALONE)
    tables = [one.assign(who=ONE), helped[helped["measure"] == transfer.AUROC].assign(who=ONE_WITH_TREES)]
    tables = [table.rename(columns={"variety": "seen"}) for table in tables]

    def sampled(p: Array) -> metrics.Resampled:
        return metrics.resampled(transfer.class_areas, targets, p, patients.to_numpy(), repeats)

    of_trees = sampled(trees)
    alone = pd.DataFrame({"class": ["", *CLASSES], **of_trees.interval()._asdict()})
    tables.append(alone.assign(seen=transfer.REAL, who=transfer.TREES, measure=transfer.AUROC, trainings=1))
    for seen, each in found.items():
        singles = [sampled(p) for p in each]
        # The mean score of the members on each resample, which is what one of them scores.
        single = singles[0]._replace(
            value=np.mean([s.value for s in singles], axis=0), samples=np.mean([s.samples for s in singles], axis=0)
        )
        mean = each.mean(axis=0)
        together = {TOGETHER: mean, WITH_TREES: (mean + trees) / 2}
        for (where, who), others in beside.items():
            if where == seen:
                together[who] = np.mean([mean, *others], axis=0)
        for who, p in together.items():
            area = sampled(p)
            measured: dict[str, metrics.Interval | metrics.Difference] = {
                transfer.AUROC: area.interval(),
                transfer.LESS_TREES: area.less(of_trees),
                LESS_ONE: area.less(single),
            }
            for measure, interval in measured.items():
                rows = pd.DataFrame({"class": ["", *CLASSES], **interval._asdict()})
                tables.append(rows.assign(seen=seen, who=who, measure=measure, trainings=len(each)))
    table = pd.concat(tables, ignore_index=True)
    positives = {"": int(targets.any(axis=1).sum()), **dict(zip(CLASSES, targets.sum(axis=0).tolist(), strict=True))}
    return table.assign(n=len(targets), positives=table["class"].map(positives))


def keep(reader: str, found: Sequence[Any]) -> None:
    """Write the rows of a reader in the place of those that it had; ``found`` is what its ``tasks`` gave, in order."""
    records, networks = leaderboard.records_of("real"), len(_places())
    tuned, blind, also = found[:networks], found[networks : -len(transfer.SEEDS)], found[-len(transfer.SEEDS) :]
    answers = read(reader, tuned)
    board = {name: p for name, (p, _) in leaderboard.answers_of("real").items()}
    trees, real = board[transfer.TREES], leaderboard.cohort_of("real", also[0].system.fs)
    trees_alone = np.mean(blind, axis=0)
    also_alone = np.mean([training.predict(r.system, r.network(), real, np.arange(len(real))) for r in also], axis=0)
    systems = [cls.name for cls in catalogue.with_chapter() if cls.name != reader]
    others = np.mean([board[name + leaderboard.MIDWAY] for name in systems], axis=0)
    beside = {
        (transfer.SIMULATED, NONE_REAL): (trees_alone,),
        (transfer.SIMULATED, ALL_SIMULATED): (trees_alone, also_alone),
        (transfer.MIDWAY, EVERYTHING): (trees, trees_alone, others),
    }
    tables = []
    looked_at = transfer.development(records)
    for tested, there in ((HELD_OUT, ~looked_at), (ALL_RECORDS, looked_at | True), (DEVELOPMENT, looked_at)):
        here = {seen: each[:, there] for seen, each in answers.items()}
        those = {key: [p[there] for p in some] for key, some in beside.items()}
        found_there = scored(here, trees[there], records[there], those).assign(tested=tested)
        # They have too few of most classes to say more than the mean.
        tables.append(found_there[found_there["class"] == ""] if tested == DEVELOPMENT else found_there)
    elsewhere = [real_cohort(fs, sources=("ludb",)) for fs in (tuned[0].system.fs, 100)]
    its_trees = leaderboard.shipped_trees().predict(elsewhere[1], np.arange(len(elsewhere[1])))
    its_records = elsewhere[0].table[["patient_id"]].assign(**dict(zip(CLASSES, elsewhere[0].labels.T, strict=True)))
    found_there = scored(read_elsewhere(reader, tuned, elsewhere[0]), its_trees, its_records, {})
    tables.append(found_there[found_there["value"].notna()].assign(tested=ELSEWHERE))
    rows = pd.concat(tables, ignore_index=True).assign(reader=reader)
    rows["run"] = leaderboard.name_of_all([run.folder.name for run in tuned])
    put_rows(TABLE, rows, committed(), ENTRY, ENTRIES, COLUMNS)


def committed() -> pd.DataFrame:
    """The table as committed."""
    return read_committed(TABLE, NUMBERS)
