"""Studies: questions that many runs answer, each with its committed table and the check of it.

``Study`` is the shape that all of them share; ``studies.catalogue`` lists them. ``ecgstudy train`` and ``ecgstudy
verify-results`` go through that list and know no study by name.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from ecgstudy import workers
from ecgstudy.paths import RESULTS, alone, cache_root, needs_checkout, told_if_broken, written_table, written_whole
from ecgstudy.studies.checks import Check
from ecgstudy.studies.trainings import Task
from ecgstudy.studies.trainings import jobs as all_jobs

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


def put_rows(
    path: Path, rows: pd.DataFrame, before: pd.DataFrame, entry: str, order: Sequence[str], columns: Sequence[str]
) -> None:
    """Write rows of some entries to a table in the place of those that they had.

    Parameters
    ----------
    before
        The committed table.
    entry, order
        Column that names the entry, and all of its values in the order of the table.
    columns
        Of the table.
    """
    if len(before):
        rows = pd.concat([before[~before[entry].isin(rows[entry])], rows])
    rows = rows.sort_values(entry, key=lambda names: names.map(list(order).index), kind="stable")
    with written_table(path) as partial:
        rows[list(columns)].to_csv(partial, index=False, float_format="%.4f")


def committing() -> AbstractContextManager[None]:
    """Hold what lets one process at a time write to ``results/``, where tables are read, changed and written again."""
    return alone(cache_root() / "results", "another process writes results, waiting for it")


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
    def tasks(self, part: str, answer: str) -> list[Task]:
        """What must be trained or computed for an answer, in any order; that what they need is done is seen to."""

    def keep(self, part: str, answer: str, found: list[Any]) -> None:  # noqa: B027
        """Commit an answer, once its tasks have given what they ``found``, in order; a task may have kept it."""

    def answer_all(self, part: str, answers: Sequence[str], jobs: int | None = None) -> Iterator[tuple[str, float]]:
        """Make answers of a part, ``jobs`` tasks at a time (None: all that fit), and keep each as soon as it is whole.

        Yields
        ------
        Each answer that is kept, and the seconds so far.
        """
        begun = time.monotonic()
        waiting = {answer: self.tasks(part, answer) for answer in answers}
        of_job = {job.name: (task, job) for task, job in all_jobs(t for some in waiting.values() for t in some).items()}
        found: dict[Task, Any] = {}
        with closing(workers.work_off([job for _, job in of_job.values()], jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error:
                    raise outcome.error
                found[of_job[outcome.job.name][0]] = outcome.result
                for answer in [one for one, tasks in waiting.items() if all(task in found for task in tasks)]:
                    with committing():
                        self.keep(part, answer, [found[task] for task in waiting.pop(answer)])
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
