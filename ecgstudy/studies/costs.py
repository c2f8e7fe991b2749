"""What the study's work costs and how that grows: with records, samples of a record, processes and shards.

``ecgstudy train --part costs --again`` measures every point in a process of its own and writes ``results/costs.csv``;
that wants two idle cores and some 32 GB of disk. ``python -m ecgstudy.studies.costs maps trials`` measures some
tasks. Seconds are those of the measured work alone, its preparation excluded. Those of the processor add up over
processes and are nearly the same on a busy machine; those on the wall are not. Memory is the largest that a process
had, torch and its libraries included.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ecgstudy import maps, training, workers
from ecgstudy.data import building, cohort
from ecgstudy.data.building import Build
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import at_hand
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import evaluation
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.paths import RESULTS, cache_root, written_table
from ecgstudy.studies import leaderboard, read_committed
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.small_gap import SmallGAPSystem
from ecgstudy.windows import inputs

TABLE = RESULTS / "costs.csv"
KEYS = ["task", "varied", "amount"]
NUMBERS = ("amount", "records", "samples", "processes", "shards", "cpu_seconds", "wall_seconds", "peak_mib", "disk_mib")
SECONDS = 10  # of a record
SEED = 9_000  # no cohort of the study is simulated from it
LARGE = 300_000
RECORDS, RATES = (1_000, 3_000, 10_000, 30_000), (100, 500, 1500)  # of the curves; rates in Hz

Work = Callable[[], Any]


class Averaging(SmallGAPSystem):
    """A network that hardly computes: one layer over the mean of each lead."""

    def network(self, classes: int = len(CLASSES)) -> nn.Module:  # type: ignore[override]
        """Make the network, untrained."""
        return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(len(LEADS), classes))


@dataclass(frozen=True)
class Point:
    """One measurement: a task at one size.

    Attributes
    ----------
    task
        A name in ``TASKS``.
    varied
        Which of the other attributes the curve is drawn over.
    records, fs, processes, shards
        Records that are worked on; their rate in Hz; processes that work side by side; shards of the cohort.
    """

    task: str
    varied: str
    records: int = 1000
    fs: int = 100
    processes: int = 1
    shards: int = 1

    @property
    def samples(self) -> int:
        """Of a record."""
        return SECONDS * self.fs

    @property
    def amount(self) -> int:
        """What is varied."""
        return getattr(self, self.varied)

    @property
    def build(self) -> Build:
        """The cohort that is built, or that the work is done on."""
        return Build("synthetic", self.fs, self.records, 1, SEED)

    @property
    def system(self) -> SmallGAPSystem:
        """What is trained and explained: one epoch of a small network, whose size does not change."""
        return (Averaging if self.task == "training, noise" else SmallGAPSystem)(fs=self.fs, epochs=1)


# --- what is measured: each function prepares, and returns the work ---------------------------------------------------


def simulation(point: Point) -> Work:
    """Simulate records, and keep none."""

    def work() -> None:
        for index in range(point.records):
            synthetic.simulate(index, SEED, fs=point.fs, balance=1)

    return work


def build(point: Point) -> Work:
    """Simulate a cohort into its cache."""
    shutil.rmtree(cache_root() / "cohorts", ignore_errors=True)
    return partial(_built, point)


def _built(point: Point) -> cohort.Cohort:
    if point.shards > 1 and not (point.build.recipe.folder / "cohort.json").exists():
        numbers = range(1, point.shards + 1)
        _together([partial(point.build.shard, number, point.shards) for number in numbers], point.processes)
    return point.build.recipe.cohort()


def _together(tasks: Sequence[Work], processes: int) -> None:
    jobs = [workers.Job(str(number), task) for number, task in enumerate(tasks)]
    with closing(workers.work_off(jobs, processes)) as outcomes:
        for outcome in outcomes:
            if outcome.error:
                raise outcome.error


def reading(point: Point) -> Work:
    """Read real recordings, some longer than 10 s, into a cohort."""
    paths = cohort.record_paths(tuple(at_hand(cohort.REAL_SOURCES)))
    chosen = paths[:: len(paths) // point.records][: point.records]
    identity = {"costs": time.time_ns()}
    return lambda: cohort.build_cohort(cohort.read_all(chosen), fs=point.fs, identity=identity)


def random_reads(point: Point) -> Work:
    """Read every record of a cohort once, in random order; the system has the file in memory."""
    data = _built(point)
    for record in range(len(data)):
        data[record]
    order = np.random.default_rng(0).permutation(len(data))
    return lambda: [data[record].sum() for record in order]


def cold_reads(point: Point, batch: int = 64) -> Work:
    """The same from the disk, a batch at a time."""
    data = _built(point)
    for file in cache_root().glob("cohorts/**/signals.bin"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def work() -> None:
        for records in np.array_split(np.random.default_rng(0).permutation(len(data)), -(-len(data) // batch)):
            if point.task == "cold reads, prefetched":
                data.ahead(records)
            for record in records:
                data[record].sum()

    return work


def split(point: Point) -> Work:
    """Part a cohort into what is tested, chosen on and trained on, as the chapters do."""
    data = _built(point)
    return lambda: training.member_splits(point.system, data, data.test(0), 1)


def train(point: Point) -> Work:
    """Train one epoch on four fifths of a cohort and predict the rest; over processes, two trainings."""
    data = _built(point)
    shutil.rmtree(cache_root() / "runs", ignore_errors=True)
    _trained(point, 2, data, most=20)  # torch loads much at a process's first step
    trainings = 2 if point.varied == "processes" else 1
    tasks = [partial(_trained, point, seed) for seed in range(trainings)]
    return partial(_together, tasks, point.processes) if trainings > 1 else partial(_trained, point, 0, data)


def _trained(point: Point, seed: int, data: cohort.Cohort | None = None, most: int | None = None) -> None:
    data = data or _built(point)
    tested = np.arange(len(data))[:most] % 5 == 0
    split = {"train": np.flatnonzero(~tested), "valid": np.flatnonzero(tested)}
    training.train(point.system, data, split, seed=seed, quiet=True)


def train_on_noise(point: Point) -> Work:
    """Train a network of one layer on one record of noise under many names: memory depends on how many there are."""
    identity = {"costs": "noise", "records": point.records}
    recipe = cohort.Recipe(point.fs, identity, point.records, partial(_noise, point))
    for number in range(1, point.shards + 1):
        recipe.shard(number, point.shards)
    data = recipe.cohort()
    shutil.rmtree(cache_root() / "runs", ignore_errors=True)
    _trained(point, 2, data, most=20)
    return partial(_trained, point, 0, data)


def _noise(point: Point, first: int, last: int) -> Iterator[Record]:
    x = np.random.default_rng(0).standard_normal((len(LEADS), point.samples), np.float32)
    for index in range(first, last):
        labels = frozenset({CLASSES[index % len(CLASSES)]})
        record = Record(f"{index}", x, point.fs, LEADS, "noise", f"{index}", labels)
        record.__dict__["signal_hash"] = f"{index:064}"  # so that each is kept
        yield record


def draw_maps(point: Point) -> Work:
    """Class activation maps of all classes of all records, inputs included."""
    data, network = _built(point), point.system.network().eval()

    def work() -> None:
        with training.one_thread():
            for records in np.array_split(np.arange(len(data)), -(-len(data) // 256)):
                x, _ = inputs(point.system, data, records)
                maps.cam(network, x[:])

    return work


def try_maps(point: Point) -> Work:
    """All trials of one map and the three that know no network; a record is a case, one class to explain."""
    cases = synthetic_cases(point.fs, point.records // 9, seed=SEED)
    network = point.system.network().eval()

    def work() -> None:
        with training.one_thread():
            evaluation.evaluate(point.system, network, cases, ["CAM"])

    return work


TASKS: dict[str, Callable[[Point], Work]] = {
    "simulation": simulation,
    "cohort, simulated": build,
    "cohort, real": reading,
    "random reads": random_reads,
    "cold reads": cold_reads,
    "cold reads, prefetched": cold_reads,
    "folds": split,
    "training": train,
    "training, noise": train_on_noise,
    "maps": draw_maps,
    "trials": try_maps,
}


def points() -> list[Point]:
    """Everything that is measured, small points first; a cohort is built before something is done with it."""
    found = [Point("simulation", "records", records=n) for n in RECORDS]
    found += [Point("simulation", "samples", fs=fs) for fs in RATES]
    found += [Point("cohort, real", "records", records=n, fs=125) for n in (200, 400, 800)]
    for task, records, few in (
        ("cohort, simulated", RECORDS, 1_000),
        ("random reads", RECORDS, 0),
        ("folds", RECORDS, 0),
        ("training", RECORDS, 1_000),
        ("maps", RECORDS, 1_000),
        ("trials", (9, 27, 81), 9),
    ):
        found += [Point(task, "records", records=n) for n in records]
        found += [Point(task, "samples", records=few, fs=fs) for fs in RATES if few]
    for task in ("cohort, simulated", "training"):
        found += [Point(task, "shards", records=2_000, shards=n) for n in (1, 2, 4, 8)]
        found += [Point(task, "processes", records=4_000, shards=2, processes=n) for n in (1, 2)]
    found += [Point(f"cold reads{how}", "records", records=10_000) for how in ("", ", prefetched")]
    shards = -(-LARGE // building.RECORDS)
    found += [Point("training, noise", "records"), Point("training, noise", "records", records=LARGE, shards=shards)]
    for task in ("cohort, simulated", "random reads", "folds", "training"):
        found.append(Point(task, "records", records=LARGE, shards=shards, processes=2))
    return found


# --- how it is measured -----------------------------------------------------------------------------------------------


def measure(point: Point, folder: str | Path) -> dict[str, Any]:
    """Measure a point in this process, with caches in ``folder``: a row of the table."""
    what = "noise" if point.task == "training, noise" else "records"
    cache = Path(folder) / f"{point.records} {what}, {point.fs} Hz, {point.shards} shards"
    os.environ["ECGSTUDY_CACHE"] = str(cache)
    work = TASKS[point.task](point)
    cpu, wall = _cpu(), time.perf_counter()
    work()
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    stored = sum(file.stat().st_size for file in cache.glob("cohorts/**/*") if file.is_file())
    about = {name: getattr(point, name) for name in ("records", "samples", "processes", "shards")}
    amounts = {"cpu_seconds": cpu, "wall_seconds": wall, "peak_mib": _peak() / 2**20, "disk_mib": stored / 2**20}
    return {"task": point.task, "varied": point.varied, "amount": point.amount, **about, **amounts}


def _cpu() -> float:
    """Seconds of the processor so far, those of processes that have ended included."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak() -> float:
    """Bytes of memory that this process, or one that it started, has had at most."""
    import resource  # which Windows lacks

    unit = 1 if sys.platform == "darwin" else 1024
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    if not status.exists():
        return max(largest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    # Linux counts what the starting process had, too, as this one's ru_maxrss.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
    return max(largest, 1024 * int(found[1]) if found else 0)


def measured(chosen: Sequence[Point], folder: str | Path) -> Iterator[dict[str, Any]]:
    """Measure points, each in a new process: their rows."""
    for point in chosen:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            row = pool.submit(measure, point, folder).result()
        print(json.dumps(asdict(point)), {k: round(row[k], 2) for k in NUMBERS[-4:]}, file=sys.stderr, flush=True)
        yield row


def paper_networks() -> list[dict[str, Any]]:
    """A row for each system of a paper as published: multiply-adds of one input, what a forward pass takes."""
    rows = []
    for cls in catalogue.of_papers():
        system, _ = by_name(cls.name).of_profile("paper")
        cpu, wall = _cpu(), time.perf_counter()
        work = leaderboard.multiply_adds(system)
        taken = {"cpu_seconds": _cpu() - cpu, "wall_seconds": time.perf_counter() - wall}
        about = {"records": 1, "samples": system.samples, "processes": 1, "shards": 0, "disk_mib": 0}
        rows.append({"task": "paper network", "varied": cls.name, "amount": work, **about, **taken, "peak_mib": 0})
    return rows


def compute(tasks: Sequence[str] = ()) -> pd.DataFrame:
    """Measure tasks, all by default, and put their rows in the place of the committed ones."""
    chosen = [point for point in points() if not tasks or point.task in tasks]
    if not at_hand(cohort.REAL_SOURCES):
        chosen = [point for point in chosen if point.task != "cohort, real"]
    with TemporaryDirectory(dir=_room()) as folder:
        rows = list(measured(chosen, folder))
    return merged(committed(), pd.DataFrame(rows + (paper_networks() if not tasks or "paper network" in tasks else [])))


def _room() -> Path:
    folder = cache_root()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def merged(before: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the place of those before them."""
    both = pd.concat([before, rows], ignore_index=True) if len(before) else rows
    both = both.drop_duplicates(KEYS, keep="last")
    order = {task: number for number, task in enumerate([*TASKS, "paper network"])}
    return both.sort_values(KEYS, key=lambda column: column.map(order) if column.name == "task" else column)


def committed() -> pd.DataFrame:
    """Read the table."""
    return read_committed(TABLE, NUMBERS)


def write(table: pd.DataFrame) -> None:
    """Commit the table."""
    with written_table(TABLE) as partial_file:
        table.to_csv(partial_file, index=False, float_format="%.4g")


if __name__ == "__main__":
    write(compute(sys.argv[1:]))
