"""``results/explanations.csv.gz``: every method of every system in every trial, on simulated records and on real ones.

``ecgstudy train --part explanations [SYSTEM ...]`` writes it from networks of the demo profile (trained on
simulated records) and of the real one, which it trains if they are missing, and from the leaderboard's that were
trained on many simulated records (``MANY``); it takes the beats' trials from ``beats.csv``. The answers to chapter 09's
questions, whose trial begins with ``ANSWER``, are written by that chapter (``save``); the first question on real
records, and the sixth, are answered here.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from ecgstudy import training
from ecgstudy.data.beats import FS, SAMPLES
from ecgstudy.data.cohort import REAL_SOURCES, record_paths, refuse_unread
from ecgstudy.data.manifest import at_hand
from ecgstudy.explain import blind, evaluation, methods, trials
from ecgstudy.explain.beat_maps import WINDOWS
from ecgstudy.explain.cases import Cases, ludb_cases, real_st_cases, synthetic_cases
from ecgstudy.paths import RESULTS, told_if_broken, written_table
from ecgstudy.profiles import profile_values
from ecgstudy.studies import leaderboard, questions, read_committed
from ecgstudy.studies.map_trials import MapTrials
from ecgstudy.studies.questions import ANSWER, SIX
from ecgstudy.studies.trainings import Ensemble
from ecgstudy.systems import System

FILE = RESULTS / "explanations.csv.gz"
COLUMNS = ("system", "method", "trial", "cohort", "trained", "class", "value", "low", "high", "n", "run")
MANY = "synthetic-large"  # board of the leaderboard whose networks were trained on many records
CASE_SEED = 1000  # of the simulated records that are explained; cohorts to train on have the profile's small seed


def _read() -> pd.DataFrame:
    return read_committed(FILE, ("value", "low", "high")).reindex(columns=list(COLUMNS))


def committed() -> pd.DataFrame:
    """The table as committed, without the answers to chapter 09's questions."""
    table = _read()
    return table[~table["trial"].str.startswith(ANSWER)]


def answers() -> pd.DataFrame:
    """Committed answers to chapter 09's questions, one row each."""
    table = _read()
    return table[table["trial"].str.startswith(ANSWER)]


def write(tables: pd.DataFrame, answered: pd.DataFrame) -> None:
    """Write the committed table: means of the trials, then the answers to chapter 09's questions."""
    with written_table(FILE) as partial:
        whole = pd.concat([tables, answered]) if len(answered) else tables
        text = whole.to_csv(index=False, float_format="%.4f")
        # An eighth of the bytes; without a time, so that the same table is the same file.
        partial.write_bytes(gzip.compress(text.encode(), mtime=0))


def keep(answered: pd.DataFrame) -> None:
    """Put answers to chapter 09's questions in the place of the committed ones; those without a value are left out."""
    answered, before = answered.dropna(subset="value")[list(COLUMNS)], answers()
    keys = [*COLUMNS[:2], "trial", "cohort", "trained"]
    again = pd.MultiIndex.from_frame(before[keys]).isin(pd.MultiIndex.from_frame(answered[keys]))
    before = before[~again]
    write(committed(), pd.concat([before, answered]) if len(before) else answered)


def put(rows: pd.DataFrame) -> None:
    """Put trials in the place of the committed ones of the same systems, cohorts and training."""
    before, keys = committed(), ["system", "cohort", "trained"]
    again = pd.MultiIndex.from_frame(before[keys]).isin(pd.MultiIndex.from_frame(rows[keys]))
    before = before[~again]
    write(pd.concat([before, rows[list(COLUMNS)]]) if len(before) else rows[list(COLUMNS)], answers())


def trained_on(profile: str) -> str:
    """Cohort that a profile trains the systems on: ``synthetic`` or ``real``."""
    return profile_values(profile, "03_cnn_gap")["cohort"]


def chapter_runs(
    name: str, profile: str, most: int = 1, *, seed: int, fold: int = 0, reseed: int = 0, **changes: Any
) -> list[training.Run]:
    """Open, or train, the first members of a system's ensemble as its chapter makes them.

    Parameters
    ----------
    most
        How many members, if the chapter has as many.
    seed
        Of the chapter.
    fold, reseed
        As ``Ensemble`` has them.
    changes
        Fields of the system that differ.
    """
    return replace(Ensemble.of_profile(name, profile, seed, **changes), fold=fold, reseed=reseed).runs(most)


def map_trials(ensemble: Ensemble, p: SimpleNamespace, methods: Sequence[str]) -> MapTrials:
    """Trials of an ensemble's maps by these methods, as the parameters of chapter 09 or 12 have them."""
    return MapTrials(
        ensemble, p.members, tuple(methods), p.per_class, CASE_SEED, costly_every=p.costly_every, seed=p.seed
    )


def trials_of_chapter(system: System, p: SimpleNamespace) -> MapTrials:
    """Chapter 12's trials: the system's own map, its gradient and occlusion."""
    ensemble = Ensemble.of_chapter(system, p)
    return map_trials(ensemble, p, questions.chosen(system, ["input × gradient", "occlusion"]))


def trials_of_systems(p: SimpleNamespace) -> dict[str, MapTrials]:
    """Chapter 09's trials by system: its own maps, and the general methods that explain it."""
    found = {}
    for name in p.systems:
        ensemble = Ensemble.of_profile(name, p.profile, p.seed)
        found[name] = map_trials(ensemble, p, questions.chosen(ensemble.system, p.methods))
    return found


def tidy(
    scores: pd.DataFrame,
    cases: Cases,
    run: training.Run,
    cohort: str,
    *,
    trained: str = "synthetic",
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means with intervals of ``evaluation.evaluate``'s scores, with the columns of the committed table.

    ``cohort`` is what is explained, ``trained`` what the network was trained on.
    """
    table = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats, seed=seed)
    table = table.assign(system=run.system.name, cohort=cohort, trained=trained, run=run.folder.name)
    # By class only where every case counts: of the costly trials a class has a few.
    kept = (table["n"] > 0) & ((table["class"] == "") | table["trial"].isin(trials.LOCALISATION))
    return table.loc[kept, list(COLUMNS)]


def ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Rank (1 is best) of each system's methods in each trial that has a better and a worse, by the mean of classes.

    Returns
    -------
    DataFrame
        One row a system and method, one column a trial.
    """
    whole = table[table["class"] == ""].pivot(index=["system", "method"], columns="trial", values="value")
    good = {t.name: t.higher_is_better for t in trials.TRIALS.values() if t.name in whole and t.family != "property"}
    return pd.DataFrame({t: whole[t].groupby("system").rank(ascending=not more) for t, more in good.items()})


def cases_by_cohort(fs: float, trained: str, per_class: int) -> dict[str, Cases]:
    """What networks are tried on: simulated records, if they were trained on such, and LUDB's, if it is at hand."""
    cohorts = {}
    if trained != "real":
        cohorts["synthetic"] = synthetic_cases(fs, per_class, seed=CASE_SEED)
    if "ludb" in at_hand():
        unread: list[dict[str, str]] = []
        cohorts["LUDB"] = ludb_cases(fs, per_class=2 * per_class, failed=unread)
        refuse_unread(unread)
    return cohorts


def tried(
    run: training.Run, others: dict[str, training.Run], trained: str, per_class: int, costly_every: int
) -> Iterator[pd.DataFrame]:
    """All methods of one network in all trials, a table for each cohort; ``others`` as in ``evaluation.evaluate``."""
    networks = {trial: other.network() for trial, other in others.items()}
    for cohort, cases in cases_by_cohort(run.system.fs, trained, per_class).items():
        scores = evaluation.evaluate(
            run.system, run.network(), cases, methods.methods(run.system), costly_every=costly_every, others=networks
        )
        yield tidy(scores, cases, run, cohort, trained=trained)


def of_profile(name: str, profile: str) -> tuple[training.Run, dict[str, training.Run]]:
    """A system's network as its chapter makes it, and two more: from another seed, and on another fold's records."""
    seed = profile_values(profile, "09_cam_analysis")["seed"]
    (run,) = chapter_runs(name, profile, seed=seed)
    (seeds,) = chapter_runs(name, profile, seed=seed, reseed=100)
    (folds,) = chapter_runs(name, profile, seed=seed, fold=1)
    return run, {"seeds": seeds, "folds": folds}


def many_answers(name: str, per_class: int = 30) -> pd.DataFrame:
    """Question 6: excess mass of a system's maps, its network trained on few simulated records, and on many."""
    (few,) = chapter_runs(name, "demo", seed=profile_values("demo", "09_cam_analysis")["seed"])
    (many,) = leaderboard.runs_of(MANY, name)
    chosen = [*few.system.own_maps, "saliency", "input × gradient", *blind.BASELINES]
    rows, names = [], {"synthetic": few, MANY: many}
    for cohort, cases in cases_by_cohort(few.system.fs, MANY, per_class).items():
        networks = {trained: run.network() for trained, run in names.items()}
        found = questions.excess_of_two(few.system, networks, cases, chosen)
        # What knows nothing of a network is the same twice.
        found = found[~found["method"].isin(blind.BASELINES[1:]) | (found["network"] == MANY)]
        differs = found["network"] == "difference"
        found["trial"] = np.where(differs, SIX + ", many less few", SIX)
        found["trained"] = found["network"].where(~differs, MANY)
        found["run"] = [
            " ".join(r.folder.name for t, r in names.items() if n in (t, "difference")) for n in found["network"]
        ]
        rows.append(found.assign(system=name, cohort=cohort, **{"class": ""})[list(COLUMNS)])
    return pd.concat(rows)


def real_st_answers(name: str, folds: int = 5) -> pd.DataFrame:
    """Question 1 on real records: a system's own maps of STD and STE, each record by a network of a fold without it."""
    seed, parts, runs = profile_values("real", "09_cam_analysis")["seed"], [], []
    cohort = Ensemble.of_profile(name, "real", seed).cohort()
    for fold in range(folds):
        (run,) = chapter_runs(name, "real", seed=seed, fold=fold)
        cases = real_st_cases(cohort, np.flatnonzero(cohort.folds(5, seed) == fold))
        parts.append((run.network(), np.array(list(run.card["thresholds"].values())), cases))
        runs.append(run.folder.name)
    found = questions.focus_on_st(run.system, parts)
    found = found[found["class"] == " or ".join(questions.ST)].assign(**{"class": ""})
    found = found.rename(columns={f"focus {end}": end for end in questions.ENDS})
    about = {"system": name, "trial": ANSWER + "1, focus on ST", "cohort": "real", "trained": "real"}
    return found.assign(**about, run=" ".join(runs))[list(COLUMNS)]


_BEATS = {
    "map in the window": "mass",
    "map correlates with: all weights drawn anew": "random weights",
    "map correlates with: its own of another seed": "seeds",
}


def beats() -> pd.DataFrame:
    """Trials of maps of beats as ``beats.csv`` has them: Grad-CAM of two networks on MIT-BIH's DS2, S and V.

    ``mass`` is the share in the class's window, the same for every beat, so that excess mass follows from it; the
    correlations are Spearman's over the segments of a beat.
    """
    with told_if_broken(RESULTS / "beats.csv"):
        table = pd.read_csv(RESULTS / "beats.csv", keep_default_na=False)
    table = table[table["metric"].isin(_BEATS)]
    rows = []
    for network in ("FCN", "LSTM"):
        known = {network: "Grad-CAM", f"{network}, turned at random": "random", "energy": "signal energy"}
        rows.append(table.assign(method=table["network"].map(known), system=f"{network} on beats").dropna())
    found = pd.concat(rows).assign(cohort="MIT-BIH", trained="MIT-BIH").astype(dict.fromkeys(questions.ENDS, float))
    found["trial"] = found["metric"].map(_BEATS)
    mass = found[found["trial"] == "mass"]
    width = {name: (high - low) / 1000 * FS for name, (low, high) in WINDOWS.items()}
    share = mass["class"].map(width) / SAMPLES
    ends = {end: (mass[end] - share) / (1 - share) for end in questions.ENDS}
    return pd.concat([found, mass.assign(trial="excess mass", **ends)])[list(COLUMNS)]


def cohorts_of(name: str, trained: str, per_class: int = 6, costly_every: int = 3) -> list[pd.DataFrame]:
    """Everything that one training of a system answers: its trials on each cohort, a table for each.

    Parameters
    ----------
    trained
        ``synthetic``: its chapter's network of the demo profile; ``MANY``: the leaderboard's of many simulated records;
        ``real``: its chapter's of the real profile, whose costly trials take half as many cases.
    """
    if trained == MANY:
        (run,) = leaderboard.runs_of(MANY, name)
        return list(tried(run, {}, MANY, per_class, costly_every))
    profile, every = ("real", 2 * costly_every) if trained == "real" else ("demo", costly_every)
    run, others = of_profile(name, profile)
    return list(tried(run, others, trained, per_class, every))


def trainings(name: str) -> list[str]:
    """Trainings of a system whose maps are tried: those that can be had here."""
    many = [MANY] if not leaderboard.missing(MANY, [name]) else []
    return ["synthetic", *many, *(["real"] if at_hand() else [])]


def compute(name: str) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Try all maps of a system, trained in every way: tables of its trials, and its answers to chapter 09's questions.

    Raises
    ------
    manifest.DataError
        when only some of the real data sets are at hand: what is committed is of all of them.
    """
    tables, answered, known = [], [], trainings(name)
    if "real" in known:
        record_paths(REAL_SOURCES, limit=1)
    for trained in known:
        tables += cohorts_of(name, trained)
    if MANY in known:
        answered.append(many_answers(name))
    if "real" in known:
        answered.append(real_st_answers(name))
    return tables, answered
