"""The studies: what each consists of, what it lacks, how it is made and how its table is checked.

A new study subclasses ``Study`` in its own module and is added to ``STUDIES``; the commands find it there.
"""

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import pandas as pd

from ecgstudy.paths import RESULTS, listed
from ecgstudy.studies import (
    Missing,
    Study,
    ablation_tables,
    ablations,
    beat_transfer,
    costs,
    curve,
    explanations,
    fair_trial,
    fitness,
    intact,
    leaderboard,
    realism,
    sanity_checks,
    starts,
    transfer,
    unlike,
)
from ecgstudy.studies.checks import Check, as_text, compare, text_table, told, tried
from ecgstudy.studies.trainings import Task, anew
from ecgstudy.systems import catalogue


class Leaderboard(Study):
    """Every system on the same folds of one cohort; a part is a board, an answer an entry of it."""

    file = "leaderboard.csv"
    keys = ("system", "cohort", "metric", "class")
    numbers = leaderboard.NUMBERS

    def parts(self) -> list[str]:
        """Trials."""
        return list(leaderboard.BOARDS)

    def entries(self, part: str) -> list[str]:
        """Systems and baselines of a board."""
        return leaderboard.entries(part)

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Entries without a committed answer."""
        return leaderboard.missing(part, list(entries) if entries else None, again=again)

    def tasks(self, part: str, answer: str) -> list[Task]:
        """One task a run: each fold and each member of an ensemble. That of a baseline keeps its answer, too."""
        if answer in leaderboard.BASELINES:
            return [Task(answer, anew, (leaderboard.answer, part, answer))]
        return leaderboard.tasks(part, answer)

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Write what the entry's runs answered."""
        if answer not in leaderboard.BASELINES:
            leaderboard.answer(part, answer, quiet=True)

    def table(self) -> pd.DataFrame:
        """Every metric of every committed answer."""
        there = [board for board in self.parts() if (leaderboard.FOLDER / board).exists()]
        return pd.concat([leaderboard.table(board) for board in there], ignore_index=True)

    @told(file)
    def check(self) -> Check:
        """The table against the answers of every board that is whole, and what is wrong with the others."""
        committed = as_text(self.file)
        tables, wrong, known = [], [], {path.name for path in listed(leaderboard.FOLDER)}
        for board in sorted(known, key=[*leaderboard.BOARDS, *known].index):
            if faults := intact.board_faults(board):
                wrong += faults
                committed = committed[committed["cohort"] != board] if len(committed) else committed
            else:
                tables.append(leaderboard.table(board))
        return _compared(self, committed, tables, wrong)


class Ablations(Study):
    """One part of a system changed at a time; a part is a cohort, an answer an arm of a question."""

    file = "ablations.csv"
    keys = ("question", "arm", "cohort", "metric")
    numbers = ablation_tables.NUMBERS
    PREFIX: ClassVar[str] = "ablations "

    def parts(self) -> list[str]:
        """Cohorts, as in ``ablations real``."""
        return [self.PREFIX + cohort for cohort in ablations.COHORTS]

    def entries(self, part: str) -> list[str]:
        """Questions."""
        return list(ablations.QUESTIONS)

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Arms without a committed answer, as in ``gamma: gamma 0``."""
        lacking = ablations.missing(part.removeprefix(self.PREFIX), list(entries) if entries else None)
        arms = {arm: lacking.get(arm) for arm in _arms(entries) if again or arm in lacking}
        return {": ".join(arm): seconds for arm, seconds in arms.items()}

    def tasks(self, part: str, answer: str) -> list[Task]:
        """One task a run: each fold and each member of an ensemble."""
        return ablations.tasks(part.removeprefix(self.PREFIX), *_arm(answer))

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Write what the arm's runs answered."""
        ablations.keep(part.removeprefix(self.PREFIX), *_arm(answer))

    def table(self) -> pd.DataFrame:
        """Every metric of every committed arm, and its difference to the control's."""
        tables = [ablation_tables.table(cohort, q) for cohort in ablations.COHORTS for q in ablations.QUESTIONS]
        return pd.concat([table for table in tables if len(table)], ignore_index=True)

    @told(file)
    def check(self) -> Check:
        """The table against the answers to every question that are whole, and what is wrong with the others."""
        committed = as_text(self.file)
        tables, wrong = [], []
        for path in listed(ablations.FOLDER):
            faults = intact.ablation_faults(path.name)
            broken = [question for question, found in faults.items() if found]
            wrong += [fault for found in faults.values() for fault in found]
            if len(committed) and broken:
                elsewhere = committed["cohort"] != path.name
                committed = committed[elsewhere | ~(committed["question"].isin(broken) | ("" in broken))]
            if "" not in broken:
                sound = [q for q in ablations.QUESTIONS if q not in broken and ablations.arms_of(path.name, q)]
                tables += [ablation_tables.table(path.name, question) for question in sound]
        return _compared(self, committed, [table for table in tables if len(table)], wrong)


def _arms(questions: Sequence[str] | None = None) -> list[tuple[str, str]]:
    asked = questions or ablations.QUESTIONS
    return [(question, arm) for question in asked for arm in ablations.QUESTIONS[question].arms]


def _arm(answer: str) -> tuple[str, str]:
    return next(arm for arm in _arms() if ": ".join(arm) == answer)


def _compared(study: Study, committed: pd.DataFrame, tables: list[pd.DataFrame], wrong: list[str]) -> Check:
    if not tables:
        return Check(study.file, 0, 0.0, wrong or (["its answers are not there"] if len(committed) else []))
    computed = pd.concat(tables)
    check = compare(study.file, committed, computed.astype(dict.fromkeys(study.numbers, float)), study.keys)
    return dataclasses.replace(check, wrong=wrong + check.wrong)


class FromRecordings(Study):
    """A study whose table is made from recordings and networks that are not committed: the table is its only source."""

    name: ClassVar[str]

    def parts(self) -> list[str]:
        """The study as a whole."""
        return [self.name]

    def table(self) -> pd.DataFrame:
        """Read the committed table."""
        return self.committed()

    def write(self) -> Any:
        """Leave the table as it is: ``keep`` has written it."""
        return RESULTS / self.file

    def check(self) -> Check:
        """Whether such a table can be so."""
        path = RESULTS / self.file
        wrong = tried(path, intact.table_faults, self.command)
        return Check(self.file, 0 if wrong else len(text_table(path)), 0.0, wrong)


class Explanations(FromRecordings):
    """Every map of every system in every trial; an answer is a system."""

    name = "explanations"
    file = explanations.FILE.name
    keys = ("system", "method", "trial", "cohort", "trained", "class")
    command = "ecgstudy train --part explanations --again"

    def entries(self, part: str) -> list[str]:
        """Systems that have a chapter."""
        return [cls.name for cls in catalogue.with_chapter()]

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Systems of which the table has no row."""
        there = set(explanations.committed()["system"])
        return {name: None for name in entries or self.entries(part) if again or name not in there}

    def tasks(self, part: str, answer: str) -> list[Task]:
        """One task tries all maps of a system, trained in every way."""
        return [Task(answer, anew, (explanations.compute, answer))]

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Put the system's rows, and those of the beats, in the place of the committed ones."""
        ((tables, answered),) = found
        for rows in (*tables, explanations.beats()):
            explanations.put(rows)
        for rows in answered:
            explanations.keep(rows)


class FairTrial(FromRecordings):
    """Maps of five trainings of each system, and the questions whose rules were fixed before; an answer is a system."""

    name = "trial"
    file = fair_trial.VERDICTS.name
    keys = ("question", "system", "method", "class")
    numbers = fair_trial.NUMBERS
    command = "ecgstudy train --part trial --again"

    def entries(self, part: str) -> list[str]:
        """Systems that have a chapter, as they are and fine-tuned."""
        return fair_trial.entries()

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Entries of which the table has no row, or rows of fewer trainings than there are to be."""
        table = fair_trial.table()
        table = table[table["trainings"].astype(int) >= fair_trial.TRAININGS] if len(table) else table
        there = {*zip(table["system"], table["trained"], strict=True)} if len(table) else set()
        wanted = entries or self.entries(part)
        return {entry: None for entry in wanted if again or fair_trial.named(entry) not in there}

    def tasks(self, part: str, answer: str) -> list[Task]:
        """One task a training."""
        return fair_trial.tasks(answer)

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Write the entry's rows and answers."""
        fair_trial.keep(answer, found)


class ByEntry(FromRecordings):
    """A study of one table, which a module makes, where each entry of its ``ENTRIES`` has rows of its own."""

    module: ClassVar[ModuleType]

    def entries(self, part: str) -> list[str]:
        """Those that the module names."""
        return list(self.module.ENTRIES)

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Entries of which the table has no row."""
        table = self.module.committed()
        there = set(table[self.module.ENTRY]) if len(table) else set()
        return {name: None for name in entries or self.entries(part) if again or name not in there}

    def tasks(self, part: str, answer: str) -> list[Task]:
        """What the module does for an entry."""
        return self.module.tasks(answer)

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Write the entry's rows."""
        self.module.keep(answer, found)


class Sanity(ByEntry):
    """Whether maps depend on weights, labels and time; an answer is a system."""

    name = "sanity"
    module: ClassVar[ModuleType] = sanity_checks
    file = sanity_checks.TABLE.name
    keys = ("test", "system", "method", "measure", "step")
    command = "ecgstudy train --part sanity --again"

    def entries(self, part: str) -> list[str]:
        """Systems that have a chapter."""
        return [cls.name for cls in catalogue.with_chapter()]


class Transfer(ByEntry):
    """How well readers that saw simulated ECGs alone read real ones; an answer is a reader."""

    name = "transfer"
    module: ClassVar[ModuleType] = transfer
    file = transfer.TABLE.name
    keys = ("reader", "variety", "measure", "class")
    numbers = transfer.NUMBERS
    command = "ecgstudy train --part transfer --again"

    def entries(self, part: str) -> list[str]:
        """The trees, and systems that have a chapter."""
        return transfer.readers()


class Curve(ByEntry):
    """How well readers of more and more simulated ECGs alone read real ones; an answer is a reader."""

    name = "curve"
    module: ClassVar[ModuleType] = curve
    file = curve.TABLE.name
    keys = ("reader", "records", "variety", "measure", "class")
    numbers = curve.NUMBERS
    command = "ecgstudy train --part curve --again"


class Starts(ByEntry):
    """What a reader scores from five starts on simulated records, one by one and together; an answer is a reader."""

    name = "starts"
    module: ClassVar[ModuleType] = starts
    file = starts.TABLE.name
    keys = ("reader", "seen", "who", "tested", "measure", "class")
    numbers = starts.NUMBERS
    command = "ecgstudy train --part starts --again"


class BeatTransfer(ByEntry):
    """How well readers of beats find each class in patients they have not seen; an answer is a network."""

    name = "beats"
    module: ClassVar[ModuleType] = beat_transfer
    file = beat_transfer.TABLE.name
    keys = ("network", "reader", "tested", "metric", "class")
    numbers = beat_transfer.NUMBERS
    command = "ecgstudy train --part beats --again"


class OneTable(FromRecordings):
    """A study of one answer, its table, which a module computes and writes."""

    module: ClassVar[ModuleType]

    def entries(self, part: str) -> list[str]:
        """The table itself."""
        return [self.name]

    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """The table, where it is not there."""
        return {self.name: None} if again or not (RESULTS / self.file).exists() else {}

    def tasks(self, part: str, answer: str) -> list[Task]:
        """One task measures everything."""
        return [Task(answer, anew, (self.module.compute,))]

    def keep(self, part: str, answer: str, found: list[Any]) -> None:
        """Write the table, and what comes with it."""
        self.module.write(*(found[0] if isinstance(found[0], tuple) else found))


class Realism(OneTable):
    """How near simulated records are to real ones."""

    name = "realism"
    module: ClassVar[ModuleType] = realism
    file = realism.TABLE.name
    keys = ("question", "group", "quantity", "statistic")
    command = "ecgstudy train --part realism --again"


class Fitness(OneTable):
    """What the checks of a record find and what they alarm about."""

    name = "fitness"
    module: ClassVar[ModuleType] = fitness
    file = fitness.TABLE.name
    keys = ("question", "source", "check", "fault", "strength")
    numbers = ("value", "changed", "noted", "unfit")
    command = "ecgstudy train --part fitness --again"


class Unlike(OneTable):
    """Distances from the training data: which is shown, what it finds, what it alarms about."""

    name = "unlike"
    module: ClassVar[ModuleType] = unlike
    file = unlike.TABLE.name
    keys = ("question", "distance", "group")
    command = "ecgstudy train --part unlike --again"


class Costs(OneTable):
    """What the study's work costs, and how that grows."""

    name = "costs"
    module: ClassVar[ModuleType] = costs
    file = costs.TABLE.name
    keys = tuple(costs.KEYS)
    numbers = costs.NUMBERS
    command = "ecgstudy train --part costs --again"


STUDIES: tuple[Study, ...] = (
    *(Leaderboard(), Ablations(), Explanations(), FairTrial(), Sanity(), Transfer(), Curve(), Starts()),
    BeatTransfer(),
    *(Realism(), Fitness(), Unlike(), Costs()),
)
