"""From simulated hearts to real ones: how well readers that saw none but simulated ECGs read real ones.

``ecgstudy train --part transfer [READER ...]`` writes ``results/transfer.csv``: the AUROC on real records after
``RECORDS`` simulated ones, plain and with each step of ``data.simulator.variety``, of trees on measured features and of
systems with the sizes of the demo. The real records are those of ``development.yaml``, which is older than any of the
answers: they may adjust the simulator, and test nothing that is claimed of it.

What is claimed is tested on the others (``held_out``), by answers that the leaderboard keeps.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from ecgstudy import metrics, training
from ecgstudy.data.cohort import real_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator.variety import STEPS, UNLABELLED
from ecgstudy.paths import RESULTS
from ecgstudy.studies import leaderboard, put_rows, read_committed
from ecgstudy.studies.trainings import Records, Task, anew
from ecgstudy.systems import System, catalogue
from ecgstudy.systems.baselines import FeatureBaseline
from ecgstudy.systems.catalogue import by_name

TABLE = RESULTS / "transfer.csv"
NUMBERS = ("value", "low", "high", "p")
ENTRY = "reader"
COLUMNS = ("reader", "variety", "measure", "class", *NUMBERS, "n", "positives", "trainings", "records", "run")
DEVELOPMENT = Path(__file__).with_name("development.yaml")
TREES = leaderboard.BASELINES[0]
FS = 100  # Hz, of the trees' records
RECORDS, SEEDS = 2000, (11, 12, 13)  # simulated for each training; each has records of its own
PLAIN, HEARTS, ALL, WIDEST = "plain", "all but recorders", "all", "all and unlabelled"
VARIETIES = {
    PLAIN: "",
    **{step: step for step in STEPS},
    HEARTS: "intervals+forms+diagnoses+atria",
    ALL: "all",
    WIDEST: f"all+{UNLABELLED}",
}
TRIED = (PLAIN, STEPS[0], HEARTS, ALL, WIDEST)  # by systems, whose trainings take longer than trees
AUROC, LESS = "AUROC", "AUROC less plain"
# What a reader has seen before it is tested: ``studies.realism`` names its trainings so, too.
REAL, SIMULATED, BOTH = "real alone", "simulated alone", "simulated, then real"
ASIDE, BOTH_ASIDE = "other sources alone", "simulated, then other sources"
# The mean of the weights before and after real records (``leaderboard.MIDWAY``).
MIDWAY, MIDWAY_ASIDE = "midway", "midway to other sources"
# Beside what a network has seen: what the trees have that stand beside it.
TREES_HAVE_SEEN = {
    REAL: REAL,
    SIMULATED: SIMULATED,
    BOTH: REAL,
    MIDWAY: REAL,
    ASIDE: ASIDE,
    BOTH_ASIDE: ASIDE,
    MIDWAY_ASIDE: ASIDE,
}
MEAN, WITH_TREES = "the networks together", "the networks and the trees"
LESS_REAL, LESS_TREES, WITHIN = "AUROC less real alone", "AUROC less the trees'", "AUROC within sources"
LESS_TUNED, LESS_ALONE = "AUROC within sources less all the way", "AUROC within sources less simulated alone"
F1, ERROR = "F1", "calibration error"
ANOTHER, NONE = "records of another class", "records of none of the nine"
NONE_THERE, THERE = "records of none of the nine, PTB-XL alone", "PTB-XL"  # the folder where NSR means a normal ECG
REPEATS = 2000

Array = NDArray[np.floating]


@cache
def _listed() -> frozenset[tuple[str, str]]:
    records = yaml.safe_load(DEVELOPMENT.read_text(encoding="utf-8"))["records"]
    return frozenset((source, str(name)) for source, names in records.items() for name in names)


def development(records: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of some real records (source, name) may adjust simulator and training; the others test them."""
    pairs = zip(records["source"], records["name"], strict=True)
    return np.array([pair in _listed() for pair in pairs], dtype=bool)


def readers() -> list[str]:
    """Names of what reads: the trees, and the systems that have a chapter."""
    return [TREES, *(cls.name for cls in catalogue.with_chapter())]


def points(reader: str) -> list[tuple[str, int]]:
    """Variety and seed of all that a reader is trained on."""
    return [(variety, seed) for variety in (VARIETIES if reader == TREES else TRIED) for seed in SEEDS]


def simulated(variety: str, seed: int, fs: float, records: int | None = None) -> Records:
    """The records (``RECORDS`` if not said) of one training, all classes equally frequent.

    Fewer of a seed are the first of more.
    """
    return Records("synthetic", fs, records or RECORDS, 1, seed, VARIETIES[variety])


def read_by_trees(first: Records, every: bool = False) -> Array:
    """Probabilities (records, classes) of real records, the development ones or all, by trees that saw none of them."""
    cohort, real = first.made(), real_cohort(first.fs)
    trees = FeatureBaseline().fit(cohort, np.arange(len(cohort)))
    return trees.predict(real, np.flatnonzero(development(real.table) | every))


def train_system(system: System, first: Records, *, only_open: bool = False) -> training.Run | None:
    """Train a system on simulated records alone, or open that run: a tenth of their patients chooses the epoch."""
    cohort = first.made()
    fold = cohort.folds(10, 0)
    given = system, cohort, {"train": np.flatnonzero(fold > 0), "valid": np.flatnonzero(fold == 0)}
    if only_open:
        return training.trained(*given, seed=first.seed)
    return training.train(*given, seed=first.seed, note=_note(system, first))


def _note(system: System | None, first: Records) -> str:
    return f"{system.name if system else TREES}, {first.records:,} records, {first.variety or PLAIN}, {first.seed}"


def task(system: System | None, first: Records) -> Task:
    """To train a system, or the trees (None), on simulated records alone."""
    if system is None:
        return Task(_note(system, first), anew, (read_by_trees, first), (first.task,))
    return Task(_note(system, first), train_system, (system, first), (first.task,))


def tasks(reader: str) -> list[Task]:
    """One a training."""
    system = None if reader == TREES else by_name(reader).of_profile("demo")[0]
    fs = system.fs if system else FS
    return [task(system, simulated(variety, seed, fs)) for variety, seed in points(reader)]


def keep(reader: str, found: Sequence[Any]) -> None:
    """Write the rows of a reader in the place of those that it had; ``found`` is what its ``tasks`` gave, in order."""
    real = real_cohort(FS if reader == TREES else found[0].system.fs)
    there = np.flatnonzero(development(real.table))
    read: dict[str, list[Array]] = {}
    runs: dict[str, list[str]] = {}
    for (variety, _), one in zip(points(reader), found, strict=True):
        if isinstance(one, training.Run):
            runs.setdefault(variety, []).append(one.folder.name)
        p = training.predict(one.system, one.network(), real, there) if isinstance(one, training.Run) else one
        read.setdefault(variety, []).append(p)
    patients = real.table["patient_id"].iloc[there]
    rows = scored({variety: np.stack(each) for variety, each in read.items()}, real.labels[there], patients)
    rows["run"] = [" ".join(runs.get(variety, [])) for variety in rows["variety"]]
    rows = rows.assign(reader=reader, records=RECORDS)
    put_rows(TABLE, rows, committed(), ENTRY, readers(), COLUMNS)


def scored(
    read: Mapping[Any, Array],
    targets: NDArray[np.bool_],
    patients: Sequence | pd.Series,
    reference: Any = PLAIN,
    less: str = LESS,
) -> pd.DataFrame:
    """AUROC of each variety by class and in the mean of classes, and what it is more than that of one of them.

    Parameters
    ----------
    read
        Probabilities (trainings, records, classes) by variety, or whatever else names them; the trainings of one place
        are compared with each other.
    targets
        (records, classes).
    patients
        Of each record.
    reference, less
        The one of ``read`` that the others are compared with, and what the measure is called.

    Returns
    -------
    DataFrame
        Columns variety, measure, class (empty: mean of classes), value, low, high, p, n, positives, trainings. The
        intervals know patients and trainings (``metrics.interval_over_trainings``).
    """
    groups, targets = np.asarray(patients, dtype=str), np.asarray(targets, dtype=bool)

    # The first of all records as they are.
    weights = [np.ones((1, len(targets))), *metrics.resamples(groups, len(targets), REPEATS, 0)]

    def weighted(each: Array) -> Array:
        """(1 + repeats, trainings, 1 + classes)."""
        return np.concatenate([np.stack([class_areas(targets, p, w) for p in each], axis=1) for w in weights])

    found = {variety: weighted(each) for variety, each in read.items()}
    tables = []
    for variety, all_areas in found.items():
        measured = {AUROC: all_areas}
        if variety != reference:
            measured[less] = all_areas - found[reference]
        for measure, values in measured.items():
            interval = metrics.interval_over_trainings(values[0], values[1:].mean(axis=1), len(set(groups)))
            tables.append(
                pd.DataFrame(
                    {
                        "variety": [variety] * (1 + len(CLASSES)),
                        "measure": measure,
                        "class": ["", *CLASSES],
                        **interval._asdict(),
                        "n": len(targets),
                        "positives": [targets.any(axis=1).sum(), *targets.sum(axis=0)],
                        "trainings": len(read[variety]),
                    }
                )
            )
    table = pd.concat(tables, ignore_index=True)
    areas_alone = table["measure"] == AUROC
    table.loc[areas_alone, "p"] = np.nan  # that an area is not 0 says nothing
    table.loc[areas_alone, "high"] = table.loc[areas_alone, "high"].clip(upper=1)  # Student's t knows no limit
    return table


def committed() -> pd.DataFrame:
    """The table as committed."""
    return read_committed(TABLE, NUMBERS)


def readings() -> dict[tuple[str, str], leaderboard.Answer]:
    """Committed answers (reader, what it has seen) to the held-out real records, each by one network.

    ``MEAN`` is the mean probability of all networks that have an answer after simulated records alone, whatever they
    have seen; ``WITH_TREES`` that of these and the trees.
    """
    boards = {board: leaderboard.records_of(board) for board in ("real", "by-source")}
    answers = {board: leaderboard.answers_of(board) for board in boards}
    systems = [cls.name for cls in catalogue.with_chapter()]
    entries = {(TREES, REAL): ("real", TREES), (TREES, SIMULATED): ("real", TREES + leaderboard.ALONE)}
    entries[TREES, ASIDE] = "by-source", TREES
    for name in systems:
        first = f"{name}, one" if f"{name}, one" in answers["real"] else name
        entries |= {
            (name, REAL): ("real", first),
            (name, SIMULATED): ("real", name + leaderboard.ALONE),
            (name, BOTH): ("real", name + leaderboard.VARIED),
            (name, ASIDE): ("by-source", name),
            (name, MIDWAY): ("real", name + leaderboard.MIDWAY),
            (name, BOTH_ASIDE): ("by-source", name + leaderboard.VARIED),
            (name, MIDWAY_ASIDE): ("by-source", name + leaderboard.MIDWAY),
        }
    there = {board: np.flatnonzero(~development(records)) for board, records in boards.items()}
    found = {
        key: (answers[board][entry][0][there[board]], answers[board][entry][1][there[board]])
        for key, (board, entry) in entries.items()
        if entry in answers[board]
    }
    several = [name for name in systems if (name, SIMULATED) in found]
    for seen, as_trees in TREES_HAVE_SEEN.items():
        networks = [found[name, seen] for name in several if (name, seen) in found]
        if len(networks) < len(several) or len(several) < 2:
            continue
        found[MEAN, seen] = _mean(networks)
        if (TREES, as_trees) in found:
            found[WITH_TREES, seen] = _mean([*networks, found[TREES, as_trees]])
    return found


def _mean(answers: Sequence[leaderboard.Answer]) -> leaderboard.Answer:
    """Mean probability, and what most of them call."""
    p, called = (np.mean([answer[part] for answer in answers], axis=0) for part in (0, 1))
    return p.astype(np.float32), called > 0.5


def held_out() -> pd.DataFrame:
    """The real records that are not ``development`` records, as the leaderboard keeps them."""
    records = leaderboard.records_of("real")
    return records[~development(records)].reset_index(drop=True)


def tested(*, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How well each reader reads the held-out real records, after what it has seen.

    Returns
    -------
    DataFrame
        Columns reader, seen, measure, class (empty: mean of classes), value, low, high, p, n, positives. The measures
        are AUROC, over all pairs and over those within a source; what it is more than that of the same reader on real
        records alone, and than that of the trees; within sources also what it is more than after simulated records
        alone, and midway than all the way; F1 of what is called; the calibration error. Intervals are over patients:
        each reader is one training a fold.
    """
    records, found = held_out(), readings()
    targets, patients = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    tables = []
    within = _with_mean(metrics.auroc_within(leaderboard.source_of(records)))

    def sampled(metric: metrics.Metric, answer: Array | NDArray[np.bool_]) -> metrics.Resampled:
        return metrics.resampled(metric, targets, answer, patients, repeats, seed)

    areas = {key: sampled(class_areas, p) for key, (p, _) in found.items()}
    pairs = {key: sampled(within, p) for key, (p, _) in found.items()}
    for (reader, seen), (p, called) in found.items():
        area, pair = areas[reader, seen], pairs[reader, seen]
        measured: dict[str, metrics.Interval | metrics.Difference] = {
            AUROC: area.interval(),
            WITHIN: pair.interval(),
            F1: sampled(_with_mean(metrics.f1), called).interval(),
            ERROR: sampled(_with_mean(metrics.calibration_error), p).interval(),
        }
        if seen in (SIMULATED, BOTH, MIDWAY):
            measured[LESS_REAL] = area.less(areas[reader, REAL])
        if further := pairs.get((reader, {MIDWAY: BOTH, MIDWAY_ASIDE: BOTH_ASIDE}.get(seen, ""))):
            measured[LESS_TUNED] = pair.less(further)
        if seen in (BOTH, MIDWAY, BOTH_ASIDE, MIDWAY_ASIDE) and (alone := pairs.get((reader, SIMULATED))):
            measured[LESS_ALONE] = pair.less(alone)
        if reader != TREES and (trees := areas.get((TREES, TREES_HAVE_SEEN[seen]))):
            measured[LESS_TREES] = area.less(trees)
        for measure, interval in measured.items():
            rows = pd.DataFrame({"class": ["", *CLASSES], **interval._asdict()})
            tables.append(rows.assign(reader=reader, seen=seen, measure=measure))
    table = pd.concat(tables, ignore_index=True)
    positives = {"": int(targets.any(axis=1).sum()), **dict(zip(CLASSES, targets.sum(axis=0).tolist(), strict=True))}
    table = table.assign(n=len(targets), positives=table["class"].map(positives))
    return table[["reader", "seen", "measure", "class", *NUMBERS, "n", "positives"]]


def normal(*, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How well each reader tells the held-out records with NSR from those of another class, and from those of none.

    Returns
    -------
    DataFrame
        Columns reader, seen, against (``ANOTHER``, ``NONE`` or ``NONE_THERE``), value, low, high, n (records without
        NSR). The value is the AUROC of NSR; intervals are over patients.
    """
    records = held_out()
    nsr, several = records["NSR"].to_numpy(dtype=bool), records[list(CLASSES)].to_numpy(dtype=bool).sum(axis=1)
    there, everywhere = records["source"].eq(THERE).to_numpy(), np.ones(len(records), dtype=bool)
    column, rows = CLASSES.index("NSR"), []
    for (reader, seen), (p, _) in readings().items():
        for against, others, inside in (
            (ANOTHER, ~nsr & (several > 0), everywhere),
            (NONE, several == 0, everywhere),
            (NONE_THERE, several == 0, there),
        ):
            those = (nsr | others) & inside
            found = metrics.bootstrap_interval(
                metrics.macro_auroc,
                nsr[those, None],
                p[those, column, None],
                records.loc[those, "patient_id"].to_numpy(),
                repeats,
                seed,
            )
            about = {"reader": reader, "seen": seen, "against": against, "n": int((others & inside).sum())}
            rows.append({**about, **{name: float(number) for name, number in found._asdict().items()}})
    return pd.DataFrame(rows)


def _with_mean(metric: metrics.Metric) -> metrics.Metric:
    """A metric of each class with the mean of the classes before it: (..., 1 + classes)."""

    def both(targets: Array, scores: Array, weights: Array) -> Array:
        by_class = metric(targets, scores, weights)
        return np.concatenate([np.asarray(metrics.class_mean(by_class))[..., None], by_class], axis=-1)

    return both


class_areas = _with_mean(metrics.auroc)
