"""``results/explanations.csv``: every method of every system in every trial, on simulated records and on LUDB.

``python -m ecgstudy.explain.results`` writes it from the runs of the demo profile, which it trains if they are missing.
The answers to chapter 09's questions, whose trial begins with ``ANSWER``, are written by that chapter (``save``).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ecgstudy import leaderboard, training
from ecgstudy.data.audit import at_hand
from ecgstudy.data.cohort import Cohort, real_cohort, synthetic_cohort
from ecgstudy.explain import evaluation, methods, trials
from ecgstudy.paths import RESULTS, written_whole
from ecgstudy.profiles import profile_values

FILE = RESULTS / "explanations.csv"
COLUMNS = ("system", "method", "trial", "cohort", "class", "value", "low", "high", "n", "run")
ANSWER = "answer "
CASE_SEED = 1000  # of the simulated records that are explained; cohorts to train on have the profile's small seed


def _read() -> pd.DataFrame:
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
    before = before[~before["trial"].isin(answered["trial"])]
    write(committed(), pd.concat([before, answered]) if len(before) else answered)


def chapter_cohort(name: str, profile: str, seed: int) -> Cohort:
    """Cohort that a system's chapter trains it on."""
    values = profile_values(profile, leaderboard.CHAPTERS[name][1])
    if values["cohort"] == "synthetic":
        return synthetic_cohort(values["records"], values["fs"], seed=seed, balance=values["balance"])
    return real_cohort(values["fs"], limit=values["records"])


def chapter_runs(name: str, profile: str, most: int = 1, *, seed: int, **changes: Any) -> list[training.Run]:
    """Open, or train, the first members of a system's ensemble as its chapter makes them.

    Parameters
    ----------
    most
        How many members, if the chapter has as many.
    seed
        Of the chapter.
    changes
        Fields of the system that differ.
    """
    system, members = leaderboard.system_of(name, profile)
    system = replace(system, **changes)
    cohort = chapter_cohort(name, profile, seed)
    test = np.flatnonzero(cohort.folds(5, seed) == 0)
    splits = training.member_splits(system, cohort, test, members, seed)[:most]
    return [
        training.train(system, cohort, split, seed=seed + m, note=f"{name} {m + 1}/{len(splits)}")
        for m, split in enumerate(splits)
    ]


def tidy(
    scores: pd.DataFrame,
    cases: evaluation.Cases,
    run: training.Run,
    cohort: str,
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means with intervals of ``evaluation.evaluate``'s scores, with the columns of the committed table."""
    table = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats, seed=seed)
    table = table.assign(system=run.system.name, cohort=cohort, run=run.folder.name)
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


def main(per_class: int = 6, deep: int = 3) -> None:
    """Evaluate the demo profile's systems on new simulated records and, if it is at hand, on LUDB; write the table."""
    tables, answered, seed = [], answers(), profile_values("demo", "09_cam_analysis")["seed"]
    for name in leaderboard.CHAPTERS:
        run, *others = chapter_runs(name, "demo", 2, seed=seed)
        other, fs = others[0].network() if others else None, run.system.fs
        cohorts = {"synthetic": evaluation.synthetic_cases(fs, per_class, seed=CASE_SEED)}
        if "ludb" in at_hand():
            cohorts["LUDB"] = evaluation.ludb_cases(fs, per_class=2 * per_class)
        for cohort, cases in cohorts.items():
            chosen = methods.methods(name)
            scores = evaluation.evaluate(run.system, run.network(), cases, chosen, deep=deep, other=other)
            tables.append(tidy(scores, cases, run, cohort))
            print(f"{name}, {cohort}: {len(cases.classes)} cases", flush=True)
        write(pd.concat(tables), answered)


if __name__ == "__main__":
    main()
