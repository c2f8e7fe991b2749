"""The trial of maps: five trainings of each system, ceilings and floors, and questions whose rules were fixed before.

``ecgstudy train --part trial [SYSTEM ...]`` trains what is missing on 18,000 simulated records and scores the maps of
every training on the same explanations, simulated ones and LUDB's. It writes their means with ceiling, floor and number
of trainings in ``results/explanations_trial.csv.gz``, and the answers to the questions of ``rules.yaml`` in
``results/verdicts.csv``.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from ecgstudy import metrics, training
from ecgstudy.data.manifest import at_hand
from ecgstudy.explain import blind, ceilings, evaluation, trials
from ecgstudy.explain.cases import KEYS, Cases, with_key
from ecgstudy.paths import RESULTS, told_if_broken, written_table
from ecgstudy.studies import explanations, leaderboard, map_trials, read_committed
from ecgstudy.studies.explanations import MANY
from ecgstudy.studies.trainings import Task, anew
from ecgstudy.systems import System, catalogue
from ecgstudy.systems.catalogue import by_name

RULES = Path(__file__).with_name("rules.yaml")
VERDICTS = RESULTS / "verdicts.csv"
TABLE = RESULTS / "explanations_trial.csv.gz"
TRAININGS = 5
PER_CLASS = 30  # simulated explanations of each class; of LUDB's there are up to twice as many
REPEATS = 20_000  # resamples behind an answer: at a family's level a limit is far out in the tail
GENERAL = ("saliency", "input × gradient", "integrated gradients")
SCORED = ("excess mass", "AUC", "pointing")
# What networks that start from simulated records, and are then trained on the real ones but a fold's, are called here.
FINE_TUNED = {
    leaderboard.PRETRAINED: "pre-trained",
    leaderboard.VARIED: "varied records first",
    leaderboard.MIDWAY: "midway",
}
SEPARATOR = ": "
COLUMNS = (
    *("system", "method", "trial", "key", "cohort", "trained", "class"),
    *("value", "low", "high", "ceiling", "floor", "n", "trainings", "run"),
)
NUMBERS = ("value", "low", "high", "level", "p", "border", "smallest", "ceiling", "floor")


def rules() -> dict[str, Any]:
    """The questions as ``rules.yaml`` has them.

    Raises
    ------
    ValueError
        where a family has not as many answers as it says.
    """
    with told_if_broken(RULES):
        read = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for name, question in read["questions"].items():
        if question["m"] != len(question["maps"]) * len(question["classes"]):
            raise ValueError(f"{RULES.name}: {name!r} says m: {question['m']} and has another number of answers")
    return read


def train_one(name: str, number: int) -> training.Run:
    """Train one of five networks of a system on the simulated records that are not tested, or open it.

    The first is the leaderboard's. They differ in their seed, and with it in the part of the records by which they
    choose their epoch.
    """
    system, _ = by_name(name).of_profile(leaderboard.BOARDS[MANY].profile)
    cohort = leaderboard.cohort_of(MANY, system.fs)
    test = np.flatnonzero(leaderboard.fold_of(MANY, cohort) == 0)
    (run,) = training.train_members(system, cohort, test, members=1, seed=number)
    return run


def runs(name: str, trained: str) -> list[training.Run]:
    """All trainings of a system: five seeds of ``MANY``, or the five folds of one of ``FINE_TUNED``."""
    if trained == MANY:
        return [train_one(name, number) for number in range(TRAININGS)]
    start = next(start for start, called in FINE_TUNED.items() if called == trained)
    return leaderboard.runs_of("real", name + start)


def scored(run: training.Run, cohort: str, per_class: int = PER_CLASS) -> pd.DataFrame:
    """Scores of one network's maps and of those that have seen none: columns (method, trial, key), made or opened.

    Blind maps on the cells of the system's own are called ``QRS detector on the cells``, and so on.
    """
    system = run.system
    about = {"run": run.folder.name, "cohort": cohort, "per_class": per_class, "methods": [*system.own_maps, *GENERAL]}
    return map_trials.kept(about, type(system), lambda: _scored(run, cases_of(system, cohort, per_class)))


def cases_of(system: System, cohort: str, per_class: int = PER_CLASS) -> Cases:
    """Explanations of a cohort at a system's rate, the same records for every system."""
    return explanations.cases_by_cohort(system.fs, MANY, per_class)[cohort]


def _scored(run: training.Run, cases: Cases) -> pd.DataFrame:
    system, network = run.system, run.network()
    x = cases.inputs(system)
    made: dict[str, NDArray] = {
        method: evaluation.make_maps(method, system, network, cases, x=x) for method in (*system.own_maps, *GENERAL)
    }
    first = next(iter(system.own_maps))
    made["random"] = blind.random_maps(made[GENERAL[-1]], np.random.default_rng(0))
    made[on_cells("random")] = blind.random_maps(made[first], np.random.default_rng(0))
    found: dict[tuple[str, str, str], NDArray[np.float64]] = {}
    cells = ceilings.cells_of(system, network, x)
    for key in KEYS:
        with_it = with_key(cases, key)
        maps = dict(made)
        for coarse in (None, cells):
            for name, m in ceilings.references(with_it, coarse).items():
                maps[on_cells(name) if coarse else name] = m
        for name, m in maps.items():
            scores = trials.localisation(m, with_it.any_lead)
            found |= {(name, trial, key): scores[trial] for trial in SCORED}
    return pd.DataFrame(found).rename_axis(columns=["method", "trial", "key"])


def on_cells(name: str) -> str:
    """What a reference is called on the cells of a system's own maps."""
    return f"{name} on the cells"


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of all trainings of a system on one cohort.

    Attributes
    ----------
    system, cohort, trained
        Whose, on what, and what they were trained on.
    each
        Of each training: one row an explanation, columns (method, trial, key).
    classes, patients
        Of each row.
    run
        Names of the runs.
    """

    system: System
    cohort: str
    trained: str
    each: Sequence[pd.DataFrame]
    classes: NDArray[np.str_]
    patients: NDArray[np.str_]
    run: str

    @classmethod
    def of(cls, name: str, trained: str, cohort: str, each: Sequence[pd.DataFrame], runs: Sequence[str]) -> "Scores":
        """With the cases' classes and patients."""
        system, _ = by_name(name).of_profile(leaderboard.BOARDS[MANY].profile)
        cases = cases_of(system, cohort)
        return cls(system, cohort, trained, each, cases.names_of_classes, cases.patients, " ".join(runs))

    def means(self, columns: Mapping[Any, Sequence[Any]], level: float = 0.95, repeats: int = 1000) -> pd.DataFrame:
        """Means with intervals of columns or differences of two: name → (column,) or (column, column less)."""
        tables = [
            pd.DataFrame({name: one[c[0]] - one[c[1]] if len(c) > 1 else one[c[0]] for name, c in columns.items()})
            for one in self.each
        ]
        names = ["method", "trial", "key"] if tables[0].columns.nlevels > 1 else ["name"]
        tables = [table.rename_axis(columns=names) for table in tables]
        return trials.over_trainings(tables, self.classes, self.patients, level=level, repeats=repeats)

    @cached_property
    def every(self) -> pd.DataFrame:
        """Means with intervals of every column."""
        return self.means({column: (column,) for column in self.each[0].columns})

    @cached_property
    def plain(self) -> dict[tuple[str, str, str, str], float]:
        """Mean of each column by (method, trial, key, class or group)."""
        return self.every.set_index(["method", "trial", "key", "class"])["value"].to_dict()

    def best_blind(self, method: str, trial: str, key: str, classes: str) -> str:
        """The column of the best map that has seen no network, at the resolution of a method."""
        coarse = ceilings.of_cells(self.system, method)
        names = [on_cells(name) if coarse else name for name in blind.BASELINES]
        return max(names, key=lambda name: self.plain[name, trial, key, classes])

    def bounds(self, method: str, trial: str, key: str, classes: str) -> tuple[float, float]:
        """Ceiling and floor of a method: of a perfect map, and of the best that has seen no network."""
        perfect = "perfect map"
        perfect = on_cells(perfect) if ceilings.of_cells(self.system, method) else perfect
        return (
            self.plain[perfect, trial, key, classes],
            self.plain[self.best_blind(method, trial, key, classes), trial, key, classes],
        )

    def rows(self) -> pd.DataFrame:
        """Rows of ``TABLE``: every column of scores, by class and group."""
        found = self.every.copy()
        known = {*self.system.own_maps, *GENERAL}
        limits = [
            self.bounds(m, t, k, c) if m in known else (np.nan, np.nan)
            for m, t, k, c in zip(found["method"], found["trial"], found["key"], found["class"], strict=True)
        ]
        found[["ceiling", "floor"]] = limits
        about = {"system": self.system.name, "cohort": self.cohort, "trained": self.trained, "run": self.run}
        return found.assign(**about)[list(COLUMNS)]


def answered(question: str, scores: Mapping[str, Scores], *, repeats: int = REPEATS) -> pd.DataFrame:
    """Answers to one question of the rules, one row a map and class or group.

    Parameters
    ----------
    scores
        Of the systems whose maps the question names, on its cohort, by name; those that are missing have no rows.

    Returns
    -------
    DataFrame
        question, system, method, class, metric, against, value, low, high (at the family's level), level, p, border,
        smallest, ceiling, floor, n, trainings, verdict, ``second`` (the other metric's verdict), ``also`` (the keys
        under which the verdict is another).
    """
    fixed = rules()
    asked = fixed["questions"][question]
    level = 1 - (1 - fixed["level"]) / asked["m"]
    rows = []
    for which in asked["maps"]:
        name, method = which.split(SEPARATOR)
        if name not in scores:
            continue
        for classes in asked["classes"]:
            one = _Asked(scores[name], method, classes, asked["against"], level, fixed["smallest"], repeats)
            row = one.answer(fixed["metric"], fixed["key"])
            others = [key for key in fixed["also"] if one.answer(fixed["metric"], key)["verdict"] != row["verdict"]]
            second = one.answer(fixed["second"], fixed["key"])["verdict"]
            rows.append({"question": question, **row, "second": second, "also": "; ".join(others)})
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Asked:
    scores: Scores
    method: str
    classes: str
    against: str
    level: float
    smallest: Mapping[str, float]
    repeats: int

    def answer(self, metric: str, key: str) -> dict[str, Any]:
        scores, method = self.scores, self.method
        ceiling, floor = scores.bounds(method, metric, key, self.classes)
        blindly = self.against == "blind"
        other = scores.best_blind(method, metric, key, self.classes) if blindly else self.against
        columns = (method, metric, key), (other, metric, key)
        found = scores.means({"difference": columns}, self.level, self.repeats)
        row = found[found["class"] == self.classes].iloc[0]
        smallest = self.smallest[metric]
        said = metrics.verdict(row["low"], row["high"], 0, smallest)
        if blindly and ceiling - floor < smallest:
            said = "not testable"
        return {
            "system": scores.system.name,
            "method": method,
            "class": self.classes,
            "metric": metric,
            "against": other,
            **{name: float(row[name]) for name in ("value", "low", "high", "p")},
            "level": self.level,
            "border": 0.0,
            "smallest": smallest,
            "ceiling": ceiling,
            "floor": floor,
            "n": int(row["n"]),
            "trainings": int(row["trainings"]),
            "verdict": said,
        }


def entries() -> list[str]:
    """Systems on trial, then the study's own with its networks that were fine-tuned on real records."""
    systems = catalogue.with_chapter()
    fine_tuned = [cls.name + start for cls in systems if cls.kind == "own" for start in FINE_TUNED]
    return [cls.name for cls in systems] + fine_tuned


def tasks(entry: str) -> list[Task]:
    """One for each training of an entry. Runs and scores are kept in the cache, so that to do one again is quick."""
    name, trained = named(entry)
    system, _ = by_name(name).of_profile(leaderboard.BOARDS[MANY].profile)
    needs = (leaderboard.records_wanted(MANY, system.fs).task,) if trained == MANY else ()
    return [Task(f"{entry}, training {n + 1}", anew, (tried, entry, n), needs) for n in range(TRAININGS)]


def tried(entry: str, number: int) -> tuple[str, dict[str, pd.DataFrame]]:
    """Name of one training of an entry, and its scores by cohort: trained and scored, or opened."""
    name, trained = named(entry)
    run = train_one(name, number) if trained == MANY else runs(name, trained)[number]
    cohorts = ["LUDB"] if "ludb" in at_hand() else []
    if trained == MANY:
        cohorts.insert(0, "synthetic")
    return run.folder.name, {cohort: scored(run, cohort) for cohort in cohorts}


def named(entry: str) -> tuple[str, str]:
    """System of an entry, and what it was trained on."""
    name, start = leaderboard.parts_of(entry)
    return name, FINE_TUNED[start] if start else MANY


def keep(entry: str, found: Sequence[tuple[str, dict[str, pd.DataFrame]]]) -> None:
    """Commit an entry's rows and its answers, in the place of those that are there."""
    name, trained = named(entry)
    names = [run for run, _ in found]
    answers = []
    for cohort in found[0][1]:
        scores = Scores.of(name, trained, cohort, [by_cohort[cohort] for _, by_cohort in found], names)
        _put(scores.rows())
        for question, asked in rules()["questions"].items():
            if (asked["cohort"], asked["trained"]) == (cohort, trained):
                answers.append(answered(question, {name: scores}))
    if not answers:  # no question is asked of such networks
        return
    new = pd.concat(answers, ignore_index=True)
    before = committed()
    if len(before):
        keys = ["question", "system"]
        again = pd.MultiIndex.from_frame(before[keys]).isin(pd.MultiIndex.from_frame(new[keys]))
        new = pd.concat([before[~again], new], ignore_index=True)
    order = list(rules()["questions"])
    new = new.sort_values("question", key=lambda c: c.map(order.index), kind="stable", ignore_index=True)
    with written_table(VERDICTS) as partial:
        new.to_csv(partial, index=False, float_format="%.5f")


def _put(rows: pd.DataFrame) -> None:
    before, keys = table(), ["system", "cohort", "trained"]
    if len(before):
        again = pd.MultiIndex.from_frame(before[keys]).isin(pd.MultiIndex.from_frame(rows[keys]))
        rows = pd.concat([before[~again], rows], ignore_index=True)
    with written_table(TABLE) as partial:
        partial.write_bytes(gzip.compress(rows.to_csv(index=False, float_format="%.4f").encode(), mtime=0))


def table() -> pd.DataFrame:
    """Means of the trial as committed."""
    return read_committed(TABLE, ("value", "low", "high", "ceiling", "floor"))


def committed() -> pd.DataFrame:
    """The answers as committed."""
    return read_committed(VERDICTS, NUMBERS)
