"""Scores on a cohort of one's own: of the networks that ship with the study, and of entries trained on its folds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy import metrics, training
from ecgstudy.data import own
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError
from ecgstudy.profiles import nearest
from ecgstudy.studies import leaderboard
from ecgstudy.studies.leaderboard import Answer
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import CATALOGUE, by_name

FOLDS = 5  # where the table gives none
TREES = leaderboard.BASELINES[0]
NETWORK = f"Local evidence{leaderboard.MIDWAY}"
BOTH = f"{NETWORK}, and trees"
COLUMNS = ("entry", "metric", "class", "value", "low", "high", "n")


def shipped() -> dict[str, list[training.Run]]:
    """Networks that come with the study, with their weights: entry → the runs of its ensemble.

    Those named by their system alone were trained on 18,000 simulated records, one network each; those *midway* are
    five each, between as many varied ones and the real cohort.
    """
    return {
        entry: leaderboard.runs_of(board, entry)
        for board in ("synthetic-large", "real")
        for entry in leaderboard.entries(board)
        if leaderboard.has_weights(board, entry)
    }


def thresholds_of(entry: str) -> NDArray[np.float32]:
    """Thresholds (9,) of ``TREES`` or ``BOTH``: the best F1 of what folds of the real cohort answered, unseen."""
    answers = leaderboard.answers_of("real")
    p = np.mean([answers[part][0] for part in ((TREES,) if entry == TREES else (NETWORK, TREES))], axis=0)
    return metrics.best_thresholds(leaderboard.records_of("real")[list(CLASSES)].to_numpy(dtype=bool), p)


def zero_shot(name: str, entries: Sequence[str] | None = None, *, repeats: int = 1000) -> pd.DataFrame:
    """Score what ships on a cohort of one's own as it is: nothing of the cohort is trained on.

    Parameters
    ----------
    name
        Of the cohort.
    entries
        Of ``shipped``, or ``TREES``, which have learned from the real cohort, or ``BOTH``, the mean of these and of
        ``NETWORK``; all if None.
    repeats
        Of the bootstrap over patients.

    Returns
    -------
    DataFrame
        Columns entry, and those of ``metrics.summary``, over the classes that cohort and networks share. A class that
        no record has is not defined in any metric of classes, and not in their means.

    Raises
    ------
    DataError
        when they share no class that a record has.
    ValueError
        for an entry that does not ship.
    """
    known = own.own(name)
    shared = [c for c in CLASSES if c in known.classes]
    if not shared:
        raise DataError(
            f"the networks of the study know {', '.join(CLASSES)}, and the cohort {name!r} has other classes "
            f"({', '.join(known.classes[:9])}): add it again with a mapping of its codes to these, or train on it"
        )
    runs = shipped()
    everyone = [*runs, TREES, BOTH]
    for entry in entries or ():
        if entry not in everyone:
            raise ValueError(f"{entry!r} does not ship; there are {', '.join(everyone)}{nearest(entry, everyone)}")
    told: list[float] = []

    def at(fs: float) -> Cohort:
        cohort = own.cohort_of(name, fs, tell=not told)
        told.append(fs)
        return cohort

    @cache
    def of_networks(entry: str) -> tuple[Cohort, Answer]:
        system = runs[entry][0].system
        cohort = at(system.fs)
        every = np.arange(len(cohort))
        probabilities = np.stack([training.predict(system, run.network(), cohort, every) for run in runs[entry]])
        thresholds = np.array([list(run.card["thresholds"].values()) for run in runs[entry]])
        return cohort, system.vote(probabilities.astype(np.float32), thresholds)

    @cache
    def of_trees() -> tuple[Cohort, NDArray[np.float32]]:
        cohort = at(100)
        return cohort, leaderboard.shipped_trees().predict(cohort, np.arange(len(cohort)))

    tables: list[pd.DataFrame] = []
    for entry in entries or everyone:
        if entry in runs:
            cohort, (p, called) = of_networks(entry)
        else:
            cohort, of_these = of_trees()
            p = np.mean([of_these, of_networks(NETWORK)[1][0]], axis=0) if entry == BOTH else of_these
            called = p >= thresholds_of(entry)
        ours, theirs = ([names.index(c) for c in shared] for names in (cohort.classes, CLASSES))
        tables.append(_scored(entry, cohort, (p[:, theirs], called[:, theirs]), shared, ours, repeats))
    return pd.concat(tables, ignore_index=True)


def trained(
    name: str,
    entries: Sequence[str] | None = None,
    *,
    profile: str = "real",
    repeats: int = 1000,
    quiet: bool = False,
    **changes: Any,
) -> pd.DataFrame:
    """Train entries of the leaderboard on a cohort of one's own and score them, each record by what has not seen it.

    The folds are the table's, else five. What is trained is kept, as all trainings are.

    Parameters
    ----------
    name
        Of the cohort.
    entries
        Systems or ``features and trees``; all if None.
    profile
        Whose sizes the systems have.
    repeats
        Of the bootstrap over patients.
    quiet
        Show no progress.
    changes
        Settings that replace the profile's.

    Returns
    -------
    DataFrame
        Columns entry, and those of ``metrics.summary``.

    Raises
    ------
    ValueError
        for an entry that there is not.
    """
    trees = leaderboard.BASELINES[0]
    everyone = [*CATALOGUE, trees]
    for entry in entries or ():
        if entry not in everyone:
            raise ValueError(f"no entry {entry!r}; there are {', '.join(everyone)}{nearest(entry, everyone)}")
    tables: list[pd.DataFrame] = []
    for entry in entries or everyone:
        if entry == trees:
            cohort = own.cohort_of(name, 100, tell=not tables)
            of_fold = partial(leaderboard.baseline_answer, trees, cohort)
        else:
            system, members = by_name(entry).of_profile(profile)
            system = replace(system, **changes)
            cohort = own.cohort_of(name, system.fs, tell=not tables)
            of_fold = partial(_ensemble, system, members, quiet, cohort)
        given = cohort.given_folds()
        fold = cohort.folds(FOLDS, 0) if given is None else given
        answer = leaderboard.cross_validated(fold, cohort, partial(_alone, of_fold))[""]
        tables.append(_scored(entry, cohort, answer, cohort.classes, range(len(cohort.classes)), repeats))
    return pd.concat(tables, ignore_index=True)


def _alone(
    of_fold: Callable[[NDArray[np.intp], NDArray[np.intp]], Answer], rest: NDArray[np.intp], test: NDArray[np.intp]
) -> dict[str, Answer]:
    return {"": of_fold(rest, test)}


def _ensemble(
    system: System, members: int, quiet: bool, cohort: Cohort, rest: NDArray[np.intp], test: NDArray[np.intp]
) -> Answer:
    """What an ensemble that is trained on the rest answers to the records of a fold."""
    runs = training.train_members(system, cohort, test, members=members, quiet=quiet)
    return training.ensemble(runs, test)


def _scored(
    entry: str, cohort: Cohort, answer: Answer, classes: Sequence[str], columns: Sequence[int], repeats: int
) -> pd.DataFrame:
    """Every metric; none of a class that no record has, and means over the others."""
    targets, patients = cohort.labels[:, list(columns)], cohort.table["patient_id"].to_numpy()
    rows = metrics.summary(targets, *answer, patients, classes, repeats=repeats)
    there: NDArray[np.bool_] = np.asarray(targets.any(axis=0))
    if not there.any():
        raise DataError(f"no record of the cohort has {' or '.join(classes)}: nothing can be scored")
    if not there.all():
        p, called = (part[:, there] for part in answer)
        named = [name for name, some in zip(classes, there, strict=True) if some]
        of_these = metrics.summary(targets[:, there], p, called, patients, named, repeats=repeats)
        keys = ["metric", "class"]
        by_class = rows["metric"].isin(rows.loc[rows["class"] != "", "metric"])
        known = rows[keys].merge(of_these, how="left", on=keys).set_index(rows.index)
        rows.loc[by_class, ["value", "low", "high"]] = known.loc[by_class, ["value", "low", "high"]]
    return rows.assign(entry=entry)[list(COLUMNS)]
