"""``results/explanations.csv``: every method of every system in every trial, on simulated records and on real ones.

``python -m ecgstudy.explain.results [SYSTEM ...]`` writes it from networks of the demo profile (trained on simulated
records) and of the real one, which it trains if they are missing, and takes the beats' trials from ``beats.csv``.
The answers to chapter 09's questions, whose trial begins with ``ANSWER``, are written by that chapter (``save``); the
first question on real records is answered here.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ecgstudy import leaderboard, training
from ecgstudy.data.audit import at_hand
from ecgstudy.data.beats import FS, SAMPLES
from ecgstudy.data.cohort import Cohort, real_cohort, synthetic_cohort
from ecgstudy.explain import evaluation, methods, questions, trials
from ecgstudy.explain.beat_maps import WINDOWS
from ecgstudy.paths import RESULTS, written_whole
from ecgstudy.profiles import profile_values

FILE = RESULTS / "explanations.csv"
COLUMNS = ("system", "method", "trial", "cohort", "trained", "class", "value", "low", "high", "n", "run")
ANSWER = "answer "
CASE_SEED = 1000  # of the simulated records that are explained; cohorts to train on have the profile's small seed


def _read() -> pd.DataFrame:
    if not FILE.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(FILE, keep_default_na=False, na_values=dict.fromkeys(("value", "low", "high"), ""))


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
    with written_whole(FILE) as partial:
        whole = pd.concat([tables, answered]) if len(answered) else tables
        whole.to_csv(partial, index=False, float_format="%.4f")


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


def chapter_cohort(name: str, profile: str, seed: int) -> Cohort:
    """Cohort that a system's chapter trains it on."""
    values = profile_values(profile, leaderboard.CHAPTERS[name][1])
    if values["cohort"] == "synthetic":
        return synthetic_cohort(values["records"], values["fs"], seed=seed, balance=values["balance"])
    return real_cohort(values["fs"], limit=values["records"])


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
    fold
        Of five, which is not trained on; the chapter's is the first.
    reseed
        Added to the seed of weights and order, on the same records.
    changes
        Fields of the system that differ.
    """
    system, members = leaderboard.system_of(name, profile)
    system = replace(system, **changes)
    cohort = chapter_cohort(name, profile, seed)
    test = np.flatnonzero(cohort.folds(5, seed) == fold)
    splits = training.member_splits(system, cohort, test, members, seed)[:most]
    return [
        training.train(system, cohort, split, seed=seed + m + reseed, note=f"{name} {m + 1}/{len(splits)}")
        for m, split in enumerate(splits)
    ]


def tidy(
    scores: pd.DataFrame,
    cases: evaluation.Cases,
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
    good = {trial: more for trial, more in evaluation.TRIALS.items() if more is not None and trial in whole}
    return pd.DataFrame({t: whole[t].groupby("system").rank(ascending=not more) for t, more in good.items()})


def verdict(low: float, high: float, border: float = 0) -> str:
    """Answer to "is it more than ``border``?" by a 95 % interval."""
    return "supported" if low > border else "not supported" if high < border else "undecided"


def tried(name: str, profile: str, per_class: int, deep: int) -> Iterator[pd.DataFrame]:
    """All methods of one system in all trials, a table for each cohort: simulated, if it was trained on such, and LUDB.

    Beside its network stand two more, of another seed on the same records and of the same seed on another fold's.
    """
    seed, trained = profile_values(profile, "09_cam_analysis")["seed"], trained_on(profile)
    (run,) = chapter_runs(name, profile, seed=seed)
    (seeds,) = chapter_runs(name, profile, seed=seed, reseed=100)
    (folds,) = chapter_runs(name, profile, seed=seed, fold=1)
    others, fs = {"seeds": seeds.network(), "folds": folds.network()}, run.system.fs
    cohorts = {}
    if trained == "synthetic":
        cohorts["synthetic"] = evaluation.synthetic_cases(fs, per_class, seed=CASE_SEED)
    if "ludb" in at_hand():
        cohorts["LUDB"] = evaluation.ludb_cases(fs, per_class=2 * per_class)
    for cohort, cases in cohorts.items():
        chosen = methods.methods(name)
        scores = evaluation.evaluate(run.system, run.network(), cases, chosen, deep=deep, others=others)
        yield tidy(scores, cases, run, cohort, trained=trained)


def real_st_answers(name: str, folds: int = 5) -> pd.DataFrame:
    """Question 1 on real records: a system's own maps of STD and STE, each record by a network of a fold without it."""
    seed, parts, runs = profile_values("real", "09_cam_analysis")["seed"], [], []
    cohort = chapter_cohort(name, "real", seed)
    for fold in range(folds):
        (run,) = chapter_runs(name, "real", seed=seed, fold=fold)
        cases = evaluation.real_st_cases(cohort, np.flatnonzero(cohort.folds(5, seed) == fold))
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


def main(names: Sequence[str], per_class: int = 6, deep: int = 3) -> None:
    """Try the systems' networks of the demo profile and, with recordings at hand, of the real one; write the table."""
    profiles = ["demo", *(["real"] if at_hand() else [])]
    for name in names or leaderboard.CHAPTERS:
        for profile in profiles:
            for table in tried(name, profile, per_class, deep if profile == "demo" else 2 * deep):
                put(table)
                cohort, trained = table[["cohort", "trained"]].iloc[0]
                print(f"{name}, trained on {trained}: {cohort}, {table['n'].max()} explanations", flush=True)
        if "real" in profiles:
            keep(real_st_answers(name))
            print(f"{name}: STD and STE of real records", flush=True)
    put(beats())


if __name__ == "__main__":
    main(sys.argv[1:])
