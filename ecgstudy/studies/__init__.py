"""Studies: questions that many runs answer, each with its committed table and the check of it.

``Study`` is the shape that all of them share; ``studies.catalogue`` lists them. ``ecgstudy train`` and ``ecgstudy
verify-results`` go through that list and know no study by name.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from ecgstudy import workers
from ecgstudy.paths import RESULTS, needs_checkout, told_if_broken, written_whole
from ecgstudy.studies.checks import Check

Missing = dict[str, float | None]  # answer → seconds that it may take, None where nobody knows
DECIMALS = 6  # of tables: of four, pages that show three would round what is rounded, 0.87750 to 0.877 or 0.878


def read_committed(file: str | Path, numbers: Sequence[str]) -> pd.DataFrame:
    """Read a table of ``results/``; no rows where a checkout does not have it.

    Parameters
    ----------
    file
        Its name.
    numbers
        Columns that are empty where a number is not defined; in all others an empty cell is an empty text.
    """
    path = RESULTS / file
    if not path.exists():
        needs_checkout(f"results/{path.name}")
        return pd.DataFrame()
    with told_if_broken(path):
        return pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(numbers, ""))


class Study(ABC):
    """A question that many runs answer.

    Class variables
    ---------------
    file
        Its table under ``results/``.
    keys
        Columns of the table that name a row.
    numbers
        Columns of the table that may be empty where a number is not defined.
    command
        What makes the table again.
    """

    file: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    numbers: ClassVar[tuple[str, ...]] = ("value", "low", "high")
    command: ClassVar[str] = "ecgstudy train"

    @abstractmethod
    def parts(self) -> list[str]:
        """Names of its parts, a board or a cohort each, as ``ecgstudy train --part`` takes them."""

    @abstractmethod
    def entries(self, part: str) -> list[str]:
        """Names that may be asked for in a part: systems, or questions."""

    @abstractmethod
    def missing(self, part: str, entries: Sequence[str] | None = None, *, again: bool = False) -> Missing:
        """Answers of a part that are not committed, each with the seconds that it may take (None: nobody knows).

        Parameters
        ----------
        entries
            Only of these; of all if None.
        again
            Also the answers that are committed.
        """

    @abstractmethod
    def tasks(self, part: str, answer: str) -> list[Callable[[], Any]]:
        """What must be trained or computed for an answer: functions that can be pickled, in any order."""

    def keep(self, part: str, answer: str, found: list[Any]) -> None:  # noqa: B027
        """Commit an answer, once its tasks have given what they ``found``, in order; a task may have kept it."""

    def answer_all(self, part: str, answers: Sequence[str], jobs: int | None = None) -> Iterator[tuple[str, float]]:
        """Make answers of a part, ``jobs`` tasks at a time (None: all that fit), and keep each as soon as it is whole.

        Yields
        ------
        Each answer that is kept, and the seconds so far.
        """
        begun = time.monotonic()
        found: dict[str, list[Any]] = {}
        of_which: dict[str, tuple[str, int]] = {}
        todo = []
        for answer in answers:
            tasks = self.tasks(part, answer)
            found[answer] = [None] * len(tasks)
            for number, task in enumerate(tasks):
                name = f"{answer} {number + 1}/{len(tasks)}" if len(tasks) > 1 else answer
                of_which[name] = answer, number
                todo.append(workers.Job(name, task))
        waiting = {answer: len(several) for answer, several in found.items()}
        with closing(workers.work_off(todo, jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error:
                    raise outcome.error
                answer, number = of_which[outcome.job.name]
                found[answer][number] = outcome.result
                waiting[answer] -= 1
                if not waiting[answer]:
                    self.keep(part, answer, found[answer])
                    yield answer, time.monotonic() - begun

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """Compute the table from the committed answers."""

    def committed(self) -> pd.DataFrame:
        """Read the table: the same as ``table``, to its decimals."""
        return read_committed(self.file, self.numbers)

    def write(self) -> Path:
        """Commit the table."""
        path = RESULTS / self.file
        with written_whole(path) as partial:
            self.table().to_csv(partial, index=False, float_format=f"%.{DECIMALS}f")
        return path

    @abstractmethod
    def check(self) -> Check:
        """Hold the committed table against what its sources give."""
