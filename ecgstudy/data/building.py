"""Build named cohorts by many processes: ``ecgstudy data build``, here or as the jobs of a cluster."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ecgstudy import workers
from ecgstudy.data import shards
from ecgstudy.data.cohort import Cohort, Recipe, named_cohort, named_recipe

RECORDS = 8192  # of a shard at most, where nobody says how many shards there are


@dataclass(frozen=True)
class Build:
    """A cohort to build, by the parameters of ``cohort.named_cohort``."""

    name: str
    fs: float
    records: int | None
    balance: float | None
    seed: int
    variety: str = ""

    @property
    def recipe(self) -> Recipe:
        """How it is made."""
        return named_recipe(self.name, self.fs, **self._made_of)

    @property
    def _made_of(self) -> dict[str, Any]:
        return {"records": self.records, "balance": self.balance, "seed": self.seed, "variety": self.variety}

    def shard(self, number: int, count: int) -> list[int]:
        """Make a shard, and join all of them if it is the last one; return the numbers of those that lack.

        Where the cohort is whole already, nothing is made.
        """
        recipe = self.recipe
        first, last = shards.bounds(recipe.total, number, count)
        if (recipe.folder / "cohort.json").exists():
            return []
        with _bar(f"shard {number}/{count}", last - first) as progress:
            recipe.shard(number, count, progress)
        absent = shards.lacking(recipe.folder, count)
        if not absent:
            recipe.cohort()
        return absent

    def lacking(self, jobs: int = 1) -> tuple[list[int], int]:
        """Numbers of the shards that lack, and how many there are in all: none lack of a cohort that is small or whole.

        If none is there yet, each of ``jobs`` processes gets as many shards as the others: none waits at the end.
        """
        recipe = self.recipe
        pieces = -(-recipe.total // RECORDS)
        count = shards.begun(recipe.folder) or (pieces if pieces < 2 else -(-pieces // jobs) * jobs)
        if count < 2 or (recipe.folder / "cohort.json").exists():
            return [], count
        return shards.lacking(recipe.folder, count), count

    def whole(self, jobs: int | None = None) -> Cohort:
        """Make the cohort, or what lacks of it, ``jobs`` shards at a time (None: all that fit), and open it.

        A cohort of few records is built in one piece, unless shards of it are there.
        """
        absent, count = self.lacking(jobs or workers.processes())
        todo = [workers.Job(f"shard {number}/{count}", partial(self.shard, number, count)) for number in absent]
        with closing(workers.work_off(todo, jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error:
                    raise outcome.error
        recipe = self.recipe
        with _bar(self.name, recipe.total) as progress:
            return named_cohort(self.name, self.fs, **self._made_of, progress=progress)


@contextmanager
def _bar(note: str, total: int) -> Iterator[Callable[[int, int | None], None]]:
    """What counts records on a bar, which is there as soon as there is a record to count."""
    bars: list[workers.Bar] = []

    def progress(*_: int | None) -> None:
        if not bars:
            bars.append(workers.Bar(total, note=note, unit="record"))
        bars[0].step()

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()
