"""Trainings that are known before they are done, so that they can be done side by side.

A ``Task`` is one training. A chapter opens, by ``together``, the very tasks that ``studies.chapters`` lists of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgstudy import training, workers
from ecgstudy.data.cohort import Cohort, named_cohort
from ecgstudy.paths import cache_root, data_root, own_cohorts
from ecgstudy.profiles import profile_values
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import by_name

K = TypeVar("K")


@dataclass(frozen=True)
class Task:
    """One piece of work that is done once and kept. Equal tasks give the same.

    Attributes
    ----------
    note
        What its progress line begins with.
    function, arguments
        What does it. With ``only_open=True`` besides, it opens what is there, and gives None if there is nothing.
    needs
        Tasks that should be done before.
    """

    note: str = field(compare=False)
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: "tuple[Task, ...]" = ()

    def __call__(self, *, only_open: bool = False) -> Any:
        """Do it, or open what was done."""
        return self.function(*self.arguments, only_open=only_open)


def jobs(tasks: Iterable[Task]) -> dict[Task, workers.Job]:
    """Make a job of each task, and of each that one needs; in order, what is needed before."""
    made: dict[Task, workers.Job] = {}
    for task in in_order(tasks):
        names = [job.name for job in made.values()]
        name = next(n for n in _numbered(task.note) if n not in names)
        made[task] = workers.Job(name, task, tuple(made[one].name for one in task.needs))
    return made


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Tasks and all that they need, each once: what is needed before."""
    found: dict[Task, None] = {}
    for task in tasks:
        found |= dict.fromkeys([*in_order(task.needs), task])
    return list(found)


def lacking(tasks: Iterable[Task]) -> list[Task]:
    """Those of tasks, and of all that they need, that are not done yet, in order.

    One whose need is not done is not done either, and is not opened: to open a training, its cohort must be there.
    """
    found: dict[Task, None] = {}
    for task in in_order(tasks):
        if any(need in found for need in task.needs) or task(only_open=True) is None:
            found[task] = None
    return list(found)


def anew(function: Callable[..., Any], *arguments: Any, only_open: bool = False) -> Any:
    """Do what is never there to be opened: its study keeps it, or what takes its time is kept within."""
    return None if only_open else function(*arguments)


def _numbered(note: str) -> Iterator[str]:
    yield note
    number = 2
    while True:
        yield f"{note} ({number})"
        number += 1


def together(tasks: Sequence[Task]) -> list[Any]:
    """Do tasks, those that are not done yet side by side, and give what each gives, in order.

    Raises
    ------
    Exception
        the first one that a task raised, once the others are done.
    """
    found = {task: task(only_open=True) for task in dict.fromkeys(tasks)}
    missing = [task for task, one in found.items() if one is None]
    if len(missing) > 1 and not workers.is_worker():
        of_job = {job.name: (task, job) for task, job in jobs(missing).items()}
        outcomes = list(workers.work_off([job for _, job in of_job.values()]))
        for outcome in outcomes:
            if outcome.error:
                raise outcome.error
            found[of_job[outcome.job.name][0]] = outcome.result
    else:
        found |= {task: task() for task in missing}
    return [found[task] for task in tasks]


def together_by_name(tasks: Mapping[K, Sequence[Task]]) -> dict[K, list[Any]]:
    """Do tasks of several kinds, those that are not done yet side by side: kind → what each task gives."""
    found = iter(together([task for some in tasks.values() for task in some]))
    return {kind: [next(found) for _ in some] for kind, some in tasks.items()}


@dataclass(frozen=True)
class Records:
    """What a cohort is made of, before it is made: see ``data.cohort.named_cohort``."""

    cohort: str
    fs: float
    records: int | None
    balance: float | None
    seed: int
    variety: str = ""

    @property
    def task(self) -> Task:
        """To make the cohort."""
        number = f"{self.records:,} " if self.records and self.cohort not in own_cohorts() else ""
        of_variety = f" ({self.variety})" if self.variety else ""
        return Task(f"{number}{self.cohort} records{of_variety}, {self.fs:g} Hz", Records.do, (self,))

    def do(self, *, only_open: bool = False) -> Cohort | None:
        """Make the cohort, or open it; None if it is not there and only to be opened."""
        if not only_open:
            return self.made()
        known = self._known()
        return known if isinstance(known, Cohort) else None

    @property
    def size(self) -> int:
        """How many records there are; of a cohort that is not made yet, at most."""
        known = self._known()
        return len(known) if isinstance(known, Cohort) else known

    def _known(self) -> Cohort | int:
        """The cohort, or of one that is not there the number of records that it would be made of."""

        def absent(_: int, total: int | None) -> None:
            raise _AbsentError(total)

        try:
            return self._named(progress=absent)  # called before the first record: nothing is kept
        except _AbsentError as error:
            return int(error.args[0])

    def made(self, *, tell: bool = False) -> Cohort:
        """Make the cohort, or open it. ``tell``: print what a real one lacks."""
        bars: list[workers.Bar] = []

        def progress(done: int, total: int | None) -> None:
            if not bars:
                bars.append(workers.Bar(total or 0, note=self.task.note, unit="record"))
            bars[0].step()

        try:
            return self._named(tell=tell, progress=progress)
        finally:
            for bar in bars:
                bar.close()

    def _named(self, *, tell: bool = False, progress: Callable[[int, int | None], None]) -> Cohort:
        made_of = {"records": self.records, "balance": self.balance, "seed": self.seed, "variety": self.variety}
        return named_cohort(self.cohort, self.fs, **made_of, tell=tell, progress=progress)  # type: ignore[arg-type]


class _AbsentError(Exception):
    """A cohort that is not there, and the number of its records."""


@dataclass(frozen=True)
class Ensemble:
    """The networks of a system's chapter: trained on all records of a cohort but a fifth of the patients.

    Attributes
    ----------
    system
        The recipe.
    records
        The cohort.
    members
        How many networks there are; each chooses its epoch on another part of the records (``member_splits``).
    seed
        Of the first member; each further one has the next.
    fold
        Of five, which is not trained on; the chapter's is the first.
    reseed
        Added to the seed of weights and order, on the same records.
    arm
        What lines of progress say of it besides the system's name.
    prepared
        Changes the cohort for an arm that wants more than records and labels.
    """

    system: System
    records: Records
    members: int
    seed: int
    fold: int = 0
    reseed: int = 0
    arm: str = field(default="", compare=False)
    prepared: Callable[[Any, int, Any], Any] | None = None

    @classmethod
    def of_chapter(cls, system: System, p: SimpleNamespace) -> Self:
        """As the parameters of the system's chapter have it."""
        return cls(system, Records(p.cohort, system.fs, p.records, p.balance, p.seed), p.members, p.seed)

    @classmethod
    def of_profile(cls, name: str, profile: str, seed: int, **changes: Any) -> Self:
        """As the chapter of the system of that name has it in a profile; ``changes`` are other fields of the system."""
        kind = by_name(name)
        values = profile_values(profile, kind.chapter) | {"seed": seed}
        return cls.of_chapter(kind.configured(values | changes), SimpleNamespace(**values))

    def tasks(self, most: int | None = None) -> list[Task]:
        """The first members, all by default."""
        number = min(most or self.members, self.members)
        return [Task(self._note(m), Ensemble.member, (self, m), (self.records.task,)) for m in range(number)]

    def all_tasks(self, p: SimpleNamespace) -> dict[str, list[Task]]:
        """Everything that the chapter with these parameters trains: its members under ``""``, its arms by name."""
        found = {"": self.tasks()}
        for name, arm in self.system.arms(p).items():
            other = replace(self, system=arm.system, arm=name, prepared=arm.prepared)
            found[name] = other.tasks(arm.members)
        return found

    def _note(self, number: int) -> str:
        return f"{self.system.name}{f', {self.arm}' if self.arm else ''} {number + 1}/{self.members}"

    def cohort(self, *, tell: bool = False) -> Cohort:
        """Records, trained on and tested."""
        made = self.records.made(tell=tell)
        return self.prepared(made, self.records.seed, self.records.balance) if self.prepared else made

    def test(self, cohort: Cohort) -> NDArray[np.intp]:
        """Records of the cohort that no member sees."""
        return cohort.test(self.seed, self.fold)

    def member(self, number: int, *, only_open: bool = False) -> training.Run | None:
        """Train one member, or open it."""
        cohort, splits = _opened(self, cache_root(), data_root())
        seed, given = self.seed + number + self.reseed, (self.system, cohort, splits[number])
        if only_open:
            return training.trained(*given, seed=seed)
        return training.train(*given, seed=seed, note=self._note(number))

    def runs(self, most: int | None = None) -> list[training.Run]:
        """Train the first members, those that are missing side by side, or open them."""
        return together(self.tasks(most))


@lru_cache(maxsize=4)
def _opened(ensemble: Ensemble, *_: Path) -> tuple[Cohort, list[dict[str, NDArray[np.intp]]]]:
    cohort = ensemble.cohort()
    test = ensemble.test(cohort)
    return cohort, training.member_splits(ensemble.system, cohort, test, ensemble.members, ensemble.seed)
