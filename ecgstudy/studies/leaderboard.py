"""The leaderboard: every system on the same folds of one cohort, each record tested once.

What an entry answered is kept under ``results/leaderboard/<board>``: ``records.parquet`` (name, patient, source, fold,
the nine labels of what is tested) and for each entry ``<entry>.parquet`` (a probability and a call for each class) and
``<entry>.json`` (configuration, runs, size, time). All tables are computed from these, without training and without the
recordings.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ecgstudy import metrics, training
from ecgstudy.data.cohort import Cohort, patient_groups, real_cohort, synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import (
    RESULTS,
    listed,
    needs_checkout,
    read_json,
    read_table,
    told_if_broken,
    write_compact,
    written_table,
    written_whole,
)
from ecgstudy.studies import read_committed
from ecgstudy.studies.trainings import Records, Task
from ecgstudy.systems import System, catalogue, parameter_count
from ecgstudy.systems.baselines import FeatureBaseline, source_baseline
from ecgstudy.systems.catalogue import CATALOGUE, by_name

Answer = tuple[NDArray[np.float32], NDArray[np.bool_]]  # probabilities and calls, (records, 9) each

FOLDER = RESULTS / "leaderboard"
LARGE = 20_000  # simulated records, of which the first are tested and the others trained on
# Of all simulated records that are tested: as the demo's chapters draw them.
SIMULATED = {"records": 2000, "seed": 7, "balance": 1}


@dataclass(frozen=True)
class Board:
    """A cohort and its split, on which entries are ranked.

    Parameters
    ----------
    profile
        Whose sizes the systems have.
    folds
        Each is tested once by what the others trained.
    simulated
        How many records are simulated; 0 for the real cohort.
    single
        Whether an entry is one network and no ensemble.
    """

    profile: str
    folds: int
    simulated: int = 0
    single: bool = False


# ``by-source`` leaves one source out at a time; ``synthetic-large`` tests on the records of ``synthetic`` a network
# that was trained on those that follow them; ``paper`` has networks as published: days on a GPU.
BOARDS = {
    "real": Board("real", 5),
    "by-source": Board("real", 4, single=True),
    "synthetic": Board("demo", 3, simulated=SIMULATED["records"]),
    "synthetic-large": Board("demo", 1, simulated=LARGE, single=True),
    "paper": Board("paper", 5),
}
NUMBERS = ("value", "low", "high", "paper_value")  # columns that may be empty
PRETRAINED = ", pre-trained"
PRETRAINING: dict[str, Any] = {"records": 3 * SIMULATED["records"], "seed": 1, "balance": 1}
VARIED, ALONE, MIDWAY = ", varied records first", ", varied records alone", ", midway"
BASELINES = ("features and trees", "source alone", "features and trees" + ALONE)
# What such an entry starts from: plain hearts, or three times as many that differ as ``studies.transfer`` tried.
STARTS: dict[str, dict[str, Any]] = {
    PRETRAINED: PRETRAINING,
    VARIED: PRETRAINING | {"records": 3 * PRETRAINING["records"], "variety": "all"},
}
# The mean of the weights that VARIED starts from and of those that it comes to.
STARTS[MIDWAY] = STARTS[VARIED]
TOGETHER = "all together"
TREES_KEPT = RESULTS / "trees.safetensors"
# The folders of the real cohort that one institution, or one publication, gave.
SOURCES = {
    "CPSC": ("CPSC 2018", "cpsc_2018", "cpsc_2018_extra"),
    "PTB": ("PTB-XL", "ptb-xl", "ptb"),
    "Georgia": ("georgia",),
    "Ningbo and Chapman": ("ningbo", "chapman_shaoxing"),
}


def entries(board: str) -> list[str]:
    """Names of what is trained on a board (of ``STARTS``: one member that starts from simulated records)."""
    everyone = [*CATALOGUE, BASELINES[0]]
    if board == "real":
        return [*everyone, *BASELINES[1:], *(cls.name + start for start in STARTS for cls in catalogue.with_chapter())]
    if board == "by-source":
        return [*everyone, *(cls.name + start for start in (VARIED, MIDWAY) for cls in catalogue.with_chapter())]
    return everyone


def parts_of(entry: str) -> tuple[str, str]:
    """A system's name, and which of ``STARTS`` the entry is trained from (empty: from nothing)."""
    start = next((start for start in STARTS if entry.endswith(start)), "")
    return entry.removesuffix(start), start


def saw_its_board_alone(entry: str) -> bool:
    """Whether an entry has learned from its board's records and no others: it has seen no simulated ones before."""
    return not (parts_of(entry)[1] or entry.endswith(ALONE))


def cohort_of(board: str, fs: float) -> Cohort:
    """Cohort of a board at ``fs`` Hz: the same records in the same order at every rate."""
    return synthetic_cohort(fs=fs, **simulated(board)) if BOARDS[board].simulated else real_cohort(fs)


def records_wanted(board: str, fs: float) -> Records:
    """What ``cohort_of`` makes, before it is made; of the real cohort, as far as its data sets are at hand."""
    return (
        Records("synthetic", fs, **simulated(board)) if BOARDS[board].simulated else Records("real", fs, None, None, 0)
    )


def simulated(board: str) -> dict[str, Any]:
    """Number, seed and balance of the records of a simulated board."""
    return SIMULATED | {"records": BOARDS[board].simulated}


def fold_of(board: str, cohort: Cohort) -> NDArray[np.intp]:
    """Fold in which each record is tested, -1 for one that is only trained on."""
    if board == "synthetic-large":
        return np.where(np.arange(len(cohort)) < simulated("synthetic")["records"], 0, -1)
    if board != "by-source":
        return cohort.folds(BOARDS[board].folds, 0)
    fold = source_of(cohort.table).map([*SOURCES].index).to_numpy(dtype=np.intp)
    # A patient or signal of two sources is tested with the first of them.
    return pd.Series(fold).groupby(patient_groups(cohort.table)).transform("min").to_numpy()


def answer(board: str, entry: str, *, quiet: bool = False) -> None:
    """Train an entry on all folds of a board and keep what it answers; finished runs are opened, not trained again.

    An ensemble is kept beside its first member, which is the entry ``<name>, one``; what was trained from ``VARIED``
    records beside the network that has seen nothing else, ``<name>`` and ``ALONE``.
    """
    begun = time.monotonic()
    about: dict[str, Any]
    about_alone: dict[str, Any] = {}
    if entry in BASELINES:
        cohort, about = cohort_of(board, 100), {"fs": 100}
        fold = fold_of(board, cohort)
        if entry == BASELINES[2]:
            answers = {entry: trees_alone(cohort)}
        else:
            answers = cross_validated(fold, cohort, lambda *given: {entry: baseline_answer(entry, cohort, *given)})
    else:
        system, members = _members(board, entry)
        cohort = cohort_of(board, system.fs)
        fold = fold_of(board, cohort)
        whose, first = parts_of(entry)
        start = pretrained(system, first, quiet=quiet) if first else None
        runs: list[training.Run] = []

        def trained(rest: NDArray[np.intp], test: NDArray[np.intp]) -> dict[str, Answer]:
            number = int(fold[test[0]])
            new = [train_member(board, system, number, m, members, first, quiet=quiet) for m in range(members)]
            runs.extend(new)
            one = {f"{entry}, one": training.ensemble(new[:1], test)}
            return one | {entry: training.ensemble(new, test)} if members > 1 else {entry: one.popitem()[1]}

        answers = cross_validated(fold, cohort, trained)
        about = {"config": system.config, "runs": [run.folder.name for run in runs], **size(system)}
        about["training_seconds"] = round(sum(run.card["seconds"] for run in runs), 1)
        if start and first == VARIED and board != "by-source":  # it would answer as on the board of all sources
            answers[whose + ALONE] = _alone(start, cohort)
            seconds_alone = round(start.card["seconds"], 1)
            about_alone = {
                "runs": [start.folder.name],
                "training_seconds": seconds_alone,
                "wall_seconds": seconds_alone,
            }
    # Runs that were trained before, by others maybe, took their time all the same.
    seconds = max(round(time.monotonic() - begun, 1), about.get("training_seconds", 0.0))
    about |= {"cohort": cohort.checksum, "wall_seconds": seconds, "torch": torch.__version__}
    about["machine"] = training.machine()
    folder = FOLDER / board
    records = cohort.table[["name", "patient_id", "source"]].assign(fold=fold)
    records[list(CLASSES)] = cohort.labels
    tested = (records["fold"] >= 0).to_numpy()
    with written_whole(folder / "records.parquet") as partial:
        write_compact(records[tested], partial)
    if (board, entry) == ("real", BASELINES[0]):
        keep_trees(cohort)
    for name, (probabilities, called) in answers.items():
        frame = pd.DataFrame(probabilities[tested].astype(np.float32), columns=list(CLASSES))
        frame[[f"called {c}" for c in CLASSES]] = called[tested]
        with written_whole(folder / f"{name}.parquet") as partial:
            write_compact(frame, partial)
        with written_whole(folder / f"{name}.json") as partial:
            sha256 = training.fingerprint(records[tested], frame)
            more = about_alone if name.endswith(ALONE) else {}
            text = json.dumps({"entry": name, **about, **more, "sha256": sha256}, indent=1) + "\n"
            partial.write_text(text, encoding="utf-8")


def _alone(run: training.Run, cohort: Cohort) -> Answer:
    """Answers of a network that has seen none of the cohort to all of it."""
    p = training.predict(run.system, run.network(), cohort, np.arange(len(cohort))).astype(np.float32)
    return run.system.vote(p[None], np.array([[*run.card["thresholds"].values()]]))


def cross_validated(
    fold: NDArray[np.intp], cohort: Cohort, of_fold: Callable[[NDArray[np.intp], NDArray[np.intp]], dict[str, Answer]]
) -> dict[str, Answer]:
    """Answers of entries to every record, each fold's by what ``of_fold`` gives for (the rest, the fold)."""
    joined: dict[str, Answer] = {}
    for f in range(fold.max() + 1):
        test = np.flatnonzero(fold == f)
        for name, (probabilities, called) in of_fold(np.flatnonzero(fold != f), test).items():
            all_p, all_called = joined.setdefault(
                name, (np.zeros(cohort.labels.shape, np.float32), np.zeros(cohort.labels.shape, bool))
            )
            all_p[test], all_called[test] = probabilities, called
    return joined


def baseline_answer(entry: str, cohort: Cohort, rest: NDArray[np.intp], test: NDArray[np.intp]) -> Answer:
    """Answer of a baseline, called from thresholds chosen (by F1) on a fifth of the rest, which it is not fitted on."""

    def fitted(train: NDArray[np.intp], records: NDArray[np.intp]) -> NDArray[np.float32]:
        if entry == BASELINES[1]:
            return source_baseline(cohort, train, records)
        return FeatureBaseline().fit(cohort, train).predict(cohort, records)

    valid = np.flatnonzero(cohort.folds(5, 0, rest) == 0)
    thresholds = metrics.best_thresholds(cohort.labels[valid], fitted(np.setdiff1d(rest, valid), valid))
    probabilities = fitted(rest, test)
    return probabilities, probabilities >= thresholds


def keep_trees(cohort: Cohort) -> None:
    """Keep what the trees can be grown from that have learned from all records of the real cohort: they ship."""
    trees = FeatureBaseline().fit(cohort, np.arange(len(cohort)))
    with written_table(TREES_KEPT) as partial:
        save_file(trees.kept(), partial)


def shipped_trees() -> FeatureBaseline:
    """Trees on measured features that have learned from all 937 real records; they take a cohort at 100 Hz."""
    with told_if_broken(TREES_KEPT):
        return FeatureBaseline().grown_from(load_file(TREES_KEPT))


def trees_alone(cohort: Cohort) -> Answer:
    """Answer of trees that saw the simulated records of ``VARIED`` alone: a tenth of these chooses the thresholds."""
    first = synthetic_cohort(fs=cohort.fs, **STARTS[VARIED])
    fold = first.folds(10, 0)
    trees, valid = FeatureBaseline().fit(first, np.flatnonzero(fold > 0)), np.flatnonzero(fold == 0)
    thresholds = metrics.best_thresholds(first.labels[valid], trees.predict(first, valid))
    probabilities = trees.predict(cohort, np.arange(len(cohort)))
    return probabilities, probabilities >= thresholds


@overload
def pretrained(system: System, start: str, *, quiet: bool = False) -> training.Run: ...
@overload
def pretrained(system: System, start: str, *, only_open: bool, quiet: bool = False) -> training.Run | None: ...
def pretrained(system: System, start: str, *, only_open: bool = False, quiet: bool = False) -> training.Run | None:
    """Train the same system on the simulated records of one of ``STARTS`` alone, or open that run."""
    cohort = synthetic_cohort(fs=system.fs, **STARTS[start])
    fold = cohort.folds(10, 0)
    split = {"train": np.flatnonzero(fold > 0), "valid": np.flatnonzero(fold == 0)}
    if only_open:
        return training.trained(system, cohort, split)
    return training.train(system, cohort, split, note=f"{system.name}, simulated records", quiet=quiet)


def _members(board: str, entry: str) -> tuple[System, int]:
    """System of an entry, and how many networks each fold has."""
    name, start = parts_of(entry)
    system, members = by_name(name).of_profile(BOARDS[board].profile)
    return system, 1 if start or BOARDS[board].single else members


def tasks(board: str, entry: str) -> list[Task]:
    """The trainings of a system's entry, which ``answer`` opens: one for each fold and member."""
    system, members = _members(board, entry)
    _, start = parts_of(entry)
    needs = [records_wanted(board, system.fs).task]
    if start:
        simulated_first = Records("synthetic", system.fs, **STARTS[start]).task
        needs.append(Task(f"{system.name} simulated", pretrained, (system, start), (simulated_first,)))
    return [
        Task(
            f"{entry}, fold {fold + 1}{f', {member + 1}/{members}' if members > 1 else ''}",
            train_member,
            (board, system, fold, member, members, start),
            tuple(needs),
        )
        for fold in range(BOARDS[board].folds)
        for member in range(members)
    ]


@overload
def train_member(
    board: str, system: System, fold: int, member: int, members: int, start: str = "", *, quiet: bool = False
) -> training.Run: ...
@overload
def train_member(
    board: str,
    system: System,
    fold: int,
    member: int,
    members: int,
    start: str = "",
    *,
    only_open: bool,
    quiet: bool = False,
) -> training.Run | None: ...
def train_member(
    board: str,
    system: System,
    fold: int,
    member: int,
    members: int,
    start: str = "",
    *,
    only_open: bool = False,
    quiet: bool = False,
) -> training.Run | None:
    """Train, or open, a member of an entry's ensemble on all folds but one, from one of ``STARTS`` if any.

    ``only_open`` trains nothing; a mean of two runs is made of them.
    """
    cohort = cohort_of(board, system.fs)
    test = np.flatnonzero(fold_of(board, cohort) == fold)
    split = training.member_splits(system, cohort, test, members)[member]
    first = pretrained(system, start, only_open=only_open, quiet=quiet) if start else None
    run = None
    if not only_open:
        note = f"{system.name} {member + 1}/{members}"
        run = training.train(system, cohort, split, seed=member, start=first, note=note, quiet=quiet)
    elif first or not start:
        run = training.trained(system, cohort, split, seed=member, start=first)
    return training.mean_of((first, run), cohort, split) if run and first and start == MIDWAY else run


@lru_cache(maxsize=256)
def multiply_adds(system: System) -> int:
    """Multiply-adds of a system's network on one input."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        system.network().eval()(_zeros(system))
    # The counter counts a multiply-add as two.
    return counter.get_total_flops() // 2


def _zeros(system: System) -> Tensor:
    """One input of a system, from 10 s without a signal."""
    return torch.from_numpy(system.windows(np.zeros((12, round(10 * system.fs)), np.float32))[0])[None]


def size(system: System) -> dict[str, float]:
    """Parameters, multiply-adds and inference speed (records/s on one thread) of a system's network on one input."""
    network = system.network().eval()
    batch, threads = _zeros(system).expand(32, -1, -1).contiguous(), torch.get_num_threads()
    torch.set_num_threads(1)
    taken = []
    with torch.inference_mode():
        for _ in range(4):
            begun = time.perf_counter()
            network(batch)
            taken.append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return {
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(system),
        "records_per_second": round(32 / min(taken)),
    }


def missing(board: str, names: list[str] | None = None, *, again: bool = False) -> dict[str, float | None]:
    """Entries of a board that have no committed answer, each with the seconds that it may take.

    They are taken from the entry's longest other board, by multiply-adds of the network and records that all runs go
    through; as they are, where there is no network; None, where there is no other board.
    """
    lacking: dict[str, float | None] = {}
    for name in names or entries(board):
        if again or not (FOLDER / board / f"{name}.json").exists():
            pace = _pace(name)
            lacking[name] = pace and pace * _work(board, name)
    return lacking


def _pace(entry: str) -> float | None:
    """Seconds for a unit of an entry's ``_work``, on the board where it took longest; None, if it is on none."""
    known = {t: card_of(t, entry)["wall_seconds"] for t in BOARDS if (FOLDER / t / f"{entry}.json").exists()}
    if not known:
        return None
    longest = max(known, key=lambda t: known[t])
    return known[longest] / _work(longest, entry)


def seconds_of(system: System, records: int) -> float | None:
    """Time that one training on so many records may take, by the system's committed answers; None without any."""
    pace = _pace(system.name)
    return pace and pace * multiply_adds(system) * system.epochs * records


def _work(board: str, entry: str) -> float:
    """Multiply-adds of a record times records that the runs of an entry go through; 1 for a baseline."""
    if entry in BASELINES:
        return 1
    system, members = _members(board, entry)
    runs = BOARDS[board].folds * members
    there = [t for t in (board, "real") if (FOLDER / t / "records.parquet").exists()]
    tested = len(records_of(there[0])) if there else 1
    records = LARGE - tested if board == "synthetic-large" else tested * (1 - 1 / BOARDS[board].folds)
    return multiply_adds(system) * system.epochs * runs * records


def committed(board: str) -> pd.DataFrame:
    """Rows of a board in ``results/leaderboard.csv``: what every page shows.

    Raises
    ------
    ValueError
        when there are none.
    """
    frame = read_committed("leaderboard.csv", NUMBERS)
    if frame.empty or board not in set(frame["cohort"]):
        raise ValueError(f"results/leaderboard.csv has no {board!r}: `ecgstudy train --part {board}` makes it")
    return frame[frame["cohort"] == board].reset_index(drop=True)


def records_of(board: str) -> pd.DataFrame:
    """Committed records of a board: name, patient_id, source, fold, and the nine labels."""
    return read_table(FOLDER / board / "records.parquet")


def answers_of(board: str) -> dict[str, Answer]:
    """Committed answers of a board; ``TOGETHER`` is the mean probability and the majority of all systems and trees."""
    answers: dict[str, Answer] = {}
    for path in listed(FOLDER / board, "*.json"):
        frame = read_table(path.with_suffix(".parquet"))
        called = frame[[f"called {c}" for c in CLASSES]].to_numpy(dtype=bool)
        answers[path.stem] = (frame[list(CLASSES)].to_numpy(dtype=np.float32), called)
    several = [answers[name] for name in (*CATALOGUE, BASELINES[0]) if name in answers]
    if not several:
        return answers
    probabilities, called = (np.mean([a[part] for a in several], axis=0) for part in (0, 1))
    return answers | {TOGETHER: (probabilities, called > 0.5)}


def card_of(board: str, entry: str) -> dict[str, Any]:
    """How a committed answer was made.

    Raises
    ------
    FileNotFoundError
        when there is no such answer yet: the command that makes it.
    """
    path = FOLDER / board / f"{entry}.json"
    if not path.exists():
        needs_checkout(f"results/leaderboard/{board}/{entry}.json")
        command = f'ecgstudy train "{entry.removesuffix(", one")}" --part {board}'
        raise FileNotFoundError(f"{entry} has no answer on the board {board} yet: {command}")
    return read_json(path)


def has_weights(board: str, entry: str) -> bool:
    """Whether an entry is answered, and the weights of all its networks are committed."""
    if not (FOLDER / board / f"{entry}.json").exists():
        return False
    runs = card_of(board, entry).get("runs", [])
    return bool(runs) and all((training.RESULTS / "runs" / run / "weights.safetensors").exists() for run in runs)


def runs_of(board: str, entry: str) -> list[training.Run]:
    """Open the runs behind a committed answer, fold by fold and in each member by member: weights, log, predictions.

    Raises
    ------
    FileNotFoundError
        when a run is neither under ``results/runs`` nor in the cache: which, and the command that trains it.
    """
    trained = entry.removesuffix(", one")
    system, _ = by_name(parts_of(trained)[0].removesuffix(ALONE)).of_profile(BOARDS[board].profile)
    names = card_of(board, entry)["runs"]
    if trained != entry:  # the card lists the whole ensemble
        names = names[:: len(names) // records_of(board)["fold"].nunique()]
    runs = []
    for name in names:
        if (run := training.opened(name, system)) is None:
            command = f'ecgstudy train "{trained}" --part {board} --again'
            raise FileNotFoundError(f"run {name} of {entry} is not under results/runs or in the cache: {command}")
        runs.append(run)
    return runs


def table(board: str, *, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Every metric of every committed answer of a board, as ``results/leaderboard.csv`` has them."""
    records = records_of(board)
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    tables = []
    for entry, (probabilities, called) in answers_of(board).items():
        rows = metrics.summary(targets, probabilities, called, patients, repeats=repeats, seed=seed)
        runs = card_of(board, entry).get("runs", []) if entry != TOGETHER else []
        paper = CATALOGUE[entry].reported if entry in CATALOGUE else {}
        paper_values = [paper.get(m) if not c else None for m, c in zip(rows["metric"], rows["class"], strict=True)]
        tables.append(rows.assign(system=entry, cohort=board, paper_value=paper_values, run=name_of_all(runs)))
    columns = ["system", "cohort", "metric", "class", "value", "low", "high", "n", "paper_value", "run"]
    return pd.concat(tables, ignore_index=True)[columns]


def name_of_all(runs: Sequence[str]) -> str:
    """Name that stands for several runs in a table: the hash of their names, empty where there are none."""
    return hashlib.sha256(" ".join(runs).encode()).hexdigest()[:12] if runs else ""


def differences(
    board: str, against: str, entries: Sequence[str] | None = None, *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Macro-AUROC of entries (of all others if None) less that of ``against``, on the same resamples of patients."""
    records = records_of(board)
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    answers = answers_of(board)

    def sampled(entry: str) -> metrics.Resampled:
        return metrics.resampled(metrics.macro_auroc, targets, answers[entry][0], patients, repeats, seed)

    rows, other_one = [], sampled(against)
    for entry in entries or [other for other in answers if other != against]:
        d = sampled(entry).less(other_one)
        rows.append({"system": entry, "difference": d.value, "low": d.low, "high": d.high, "p": d.p})
    return pd.DataFrame(rows).sort_values("difference", ascending=False, ignore_index=True)


def more_records(*, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Macro-AUROC of one network trained on few simulated records and on many, and the paired difference.

    Returns
    -------
    DataFrame
        system, few, many (``synthetic`` and ``synthetic-large``, on the same records), difference, low, high, p.
    """
    records, few, many = records_of("synthetic"), answers_of("synthetic"), answers_of("synthetic-large")
    if records["name"].tolist() != records_of("synthetic-large")["name"].tolist():
        raise ValueError(
            f"{FOLDER}: synthetic and synthetic-large are not of the same records; train one of them again"
        )
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    rows = []
    for system in many.keys() - {TOGETHER}:
        a, b = many[system][0], (few.get(f"{system}, one") or few[system])[0]
        d = metrics.bootstrap_difference(metrics.macro_auroc, targets, a, b, patients, repeats, seed)
        values = [float(metrics.macro_auroc(targets, p)) for p in (b, a)]
        rows.append((system, *values, d.value, d.low, d.high, d.p))
    columns = ["system", "few", "many", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns).sort_values("many", ascending=False, ignore_index=True)


def within_sources(board: str, *, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Macro-AUROC inside each source, over the classes with five records there, and how many classes those are."""
    records = records_of(board)
    rows = []
    for source, folders in SOURCES.items():
        inside = records["source"].isin(folders).to_numpy()
        targets = records.loc[inside, list(CLASSES)].to_numpy(dtype=bool)
        enough = targets.sum(axis=0) >= 5
        if not enough.any():
            continue
        patients = records.loc[inside, "patient_id"].to_numpy()
        for entry, (probabilities, _) in answers_of(board).items():
            value = metrics.bootstrap_interval(
                metrics.macro_auroc, targets[:, enough], probabilities[inside][:, enough], patients, repeats, seed
            )
            rows.append(
                {"system": entry, "source": source, "classes": enough.sum(), "n": inside.sum(), **value._asdict()}
            )
    return pd.DataFrame(rows)


def source_of(records: pd.DataFrame) -> pd.Series:
    """The one of ``SOURCES`` that each of some real records (column ``source``) is from."""
    return records["source"].map({folder: source for source, folders in SOURCES.items() for folder in folders})


def pairs_within_sources(
    board: str, entries: Sequence[str] | None = None, *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Macro-AUROC of entries (all if None) that compares records of one source alone: system, value, low, high.

    Where each source was answered by another network (``by-source``), or has another share of a class, pooled records
    are ranked by that, too.
    """
    records = records_of(board)
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    within = metrics.auroc_within(source_of(records))

    def mean_within(targets: NDArray[np.bool_], scores: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
        return metrics.class_mean(within(targets, scores, weights))

    rows, answers = [], answers_of(board)
    for entry in entries or answers:
        found = metrics.bootstrap_interval(mean_within, targets, answers[entry][0], patients, repeats, seed)
        rows.append({"system": entry, **found._asdict()})
    return pd.DataFrame(rows)


def mean_of(board: str, entries: Sequence[str], *, repeats: int = 1000, seed: int = 0) -> metrics.Interval:
    """Macro-AUROC of the mean probability of several entries, with its interval over patients."""
    records, answers = records_of(board), answers_of(board)
    mean = np.mean([answers[entry][0] for entry in entries], axis=0)
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    return metrics.bootstrap_interval(metrics.macro_auroc, targets, mean, patients, repeats, seed)
