"""Work side by side: processes of one thread each, the order in which jobs are done, and what is seen of them.

A training has one thread (see ``threads``). What uses many cores is many trainings at a time.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from queue import Empty
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from tqdm import tqdm

from ecgstudy import threads
from ecgstudy.text import printable

_MEMORY = 2 * 2**30  # bytes that a worker may need: torch and its libraries, a cohort's inputs, a network
Report = Callable[[str, int, int, str, str], None]  # job, done, of how many, what is counted, what else to show


class WorkerError(RuntimeError):
    """A worker process that ended in the middle of its job."""


@dataclass(frozen=True)
class Job:
    """A piece of work for one process.

    Attributes
    ----------
    name
        What its lines begin with; no other job has it.
    work
        A function that can be pickled.
    after
        Names of the jobs that must have succeeded before.
    """

    name: str
    work: Callable[[], Any]
    after: tuple[str, ...] = ()


@dataclass
class Outcome:
    """How a job ended: with a result or with an error.

    A job that was not begun, because one of ``Job.after`` failed, has that one's error.
    """

    job: Job
    result: Any = None
    error: BaseException | None = None
    begun: bool = True


def processes() -> int:
    """How many processes can work side by side: a core each, and 2 GiB of the free memory; one where there is a GPU."""
    import joblib
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    return max(1, min(joblib.cpu_count(), psutil.virtual_memory().available // _MEMORY))


# --- in a worker, and wherever else work is done ---------------------------------------------------------------------

_report: Report | None = None  # where the progress of this process's job goes; None: to a bar of its own
_job = ""
_last: tuple[Any, ...] | None = None  # what was reported last: a job's result may be faster than its reports
_worker = False
_in_this_process = False


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class Bar:
    """Progress of a piece of work: a bar on a terminal or in a notebook, a report to the process that shows it."""

    def __init__(self, total: int, done: int = 0, *, note: str, unit: str = "epoch", quiet: bool = False) -> None:
        self._done, self._total, self._unit, self._quiet = done, total, unit, quiet
        # Redrawn bars fill a file with thousands of lines.
        hidden = quiet or _report is not None or not (sys.stderr.isatty() or _in_notebook())
        self._bar = tqdm(total=total, initial=done, desc=f"{note:<12}", unit=unit, disable=hidden, mininterval=1)
        self._tell("")

    def _tell(self, text: str) -> None:
        if _report and not self._quiet:
            _report(_job, self._done, self._total, self._unit, text)

    def step(self, **shown: float) -> None:
        """One more is done; ``shown`` are numbers to see, such as the loss."""
        self._done += 1
        numbers = {name: f"{value:.3f}" for name, value in shown.items()}
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update()
        self._tell(", ".join(f"{name} {number}" for name, number in numbers.items()))

    def close(self) -> None:
        """Take it away."""
        self._bar.close()


def is_worker() -> bool:
    """Whether this process is one of several that work side by side: it starts no others."""
    return _worker


def do_in_turn() -> None:
    """From now on do all jobs in this process, one after the other: the machine's cores help with each of them."""
    global _in_this_process
    _in_this_process = True


def _begin(queue: Any) -> None:
    global _report, _worker
    # Ctrl-C reaches the whole group of a terminal's processes: who started this one decides, and tells it once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threads.one()  # before torch is loaded, and for kernels, which are processes of their own

    def report(*progress: Any) -> None:
        global _last
        _last = progress
        queue.put(progress)

    _report, _worker = report, True

    def follow() -> None:
        parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    # Killed, a parent cannot tell its workers: they would train on, each on a processor, for hours.
    threading.Thread(target=follow, daemon=True).start()


def _do(name: str, work: Callable[[], Any]) -> tuple[Any, tuple[Any, ...] | None]:
    global _job, _last
    _job, _last = name, None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = work()
        return result, _last
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # One that cannot travel would end all processes.
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


# --- in the process that hands it out --------------------------------------------------------------------------------


def _console() -> Console:
    # In a notebook what is seen of work is no part of the page: it goes to where warnings go, as text.
    return Console(stderr=_in_notebook(), force_jupyter=False, highlight=False, markup=False, soft_wrap=True)


@dataclass
class Display:
    """What is seen of jobs: on a terminal a bar for each that runs, and for each that has ended a line.

    Attributes
    ----------
    jobs
        How many there are.
    console
        Where it is shown.
    """

    jobs: int
    console: Console = field(default_factory=lambda: _console())
    _bars: dict[str, TaskID] = field(default_factory=dict)
    _known: dict[str, tuple[int, int, str, str]] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)
    _ended: int = 0

    def __post_init__(self) -> None:
        columns = TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.fields[text]}")
        live = self.console.is_terminal
        self._progress = Progress(*columns, console=self.console, transient=True, disable=not live)
        self._whole = self._progress.add_task("all", total=1.0, text="") if self.jobs > 1 else None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, job: Job) -> None:
        """Show that a job runs."""
        self._begun[job.name] = time.monotonic()
        self._bars[job.name] = self._progress.add_task(printable(job.name), total=None, text="")

    def progress(self, name: str, done: int, total: int, unit: str, text: str) -> None:
        """Show how far a job is."""
        if name not in self._bars:  # a late report
            return
        self._known[name] = done, total, unit, text
        about = f"{done}/{total}{f'  {text}' if text else ''}"
        self._progress.update(self._bars[name], completed=done, total=total, text=about)
        self._all()

    def end(self, outcome: Outcome) -> None:
        """Take a job's bar away and write a line, if it had anything to do."""
        job = outcome.job
        self._ended += 1
        if job.name in self._bars:
            self._progress.remove_task(self._bars.pop(job.name))
        _, total, unit, text = self._known.pop(job.name, (0, 0, "", ""))
        taken = time.monotonic() - self._begun.pop(job.name, time.monotonic())
        left = f", {self._left()} left" if self._left() else ""
        if outcome.error is not None:
            # An error is told once, by the job that had it.
            self.console.print(f"{job.name}: failed" if outcome.begun else f"{job.name}: left out")
        elif total:
            about = f"{total:,} {unit}{'s' if total != 1 else ''}{f', {text}' if text else ''}"
            self.console.print(f"{job.name}: {about}, {taken:.0f} s  ({self._ended} of {self.jobs}{left})")
        self._all()

    def _share(self) -> float:
        running = sum(done / total for done, total, *_ in self._known.values() if total)
        return min(1.0, (self._ended + running) / max(1, self.jobs))

    def _left(self) -> str:
        """Time that is left, if all jobs were alike; a better guess than none."""
        share, passed = self._share(), time.monotonic() - self._start
        if not 0 < share < 1 or passed < 10:
            return ""
        seconds = passed * (1 - share) / share
        return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(10, round(seconds, -1)):.0f} s"

    def _all(self) -> None:
        if self._whole is not None:
            left = f", {self._left()} left" if self._left() else ""
            text = f"{self._ended}/{self.jobs}{left}"
            self._progress.update(self._whole, completed=self._share(), text=text)


def work_off(jobs: Sequence[Job], workers: int | None = None) -> Generator[Outcome, None, None]:
    """Do jobs, as many at a time as there are ``workers``, and yield how each ended as soon as it did.

    The first job of the list that may begin is the next one. When one fails, those that come after it are left out, and
    the others go on. What runs is interrupted when the generator is closed. With one worker everything is done in this
    process, in order.

    Parameters
    ----------
    workers
        Processes of one thread each; by default those that fit on this machine.

    Raises
    ------
    ValueError
        when a job comes after one that is not in the list.
    WorkerError
        when a worker process dies, mostly because memory ran out: which jobs it may have had.
    OSError, MemoryError
        of a job: the machine failed, which the others would meet as well. Those that run are interrupted.
    KeyboardInterrupt
        likewise.
    """
    if unknown := {name for job in jobs for name in job.after} - {job.name for job in jobs}:
        raise ValueError(f"jobs come after others that are not there: {', '.join(sorted(unknown))}")
    workers = min(processes() if workers is None else workers, len(jobs))
    alone = workers <= 1 or is_worker() or _in_this_process
    with Display(len(jobs)) as display:
        yield from _in_turn(jobs, display) if alone else _side_by_side(jobs, workers, display)


def _next(waiting: list[Job], ended: dict[str, Outcome]) -> Job | None:
    """The first job that may begin, or that never can."""
    for job in waiting:
        known = [ended.get(name) for name in job.after]
        if all(known) or any(outcome and outcome.error for outcome in known):
            return job
    return None


def _left_out(job: Job, ended: dict[str, Outcome]) -> Outcome | None:
    failed = next((ended[name] for name in job.after if name in ended and ended[name].error), None)
    return Outcome(job, error=failed.error, begun=False) if failed else None


def _in_turn(jobs: Sequence[Job], display: Display) -> Iterator[Outcome]:
    global _report, _job
    ended: dict[str, Outcome] = {}
    waiting, before = list(jobs), (_report, _job)
    while job := _next(waiting, ended):
        waiting.remove(job)
        outcome = _left_out(job, ended)
        if not outcome:
            display.begin(job)
            if before[0] is None:
                _report, _job = display.progress, job.name
            try:
                outcome = Outcome(job, job.work())
            except (OSError, MemoryError):
                raise
            except Exception as error:
                outcome = Outcome(job, error=error)
            finally:
                _report, _job = before
        ended[job.name] = outcome
        display.end(outcome)
        yield outcome


def _side_by_side(jobs: Sequence[Job], workers: int, display: Display) -> Iterator[Outcome]:
    context = get_context("spawn")
    queue = context.Queue()
    pool = ProcessPoolExecutor(workers, context, _begin, (queue,))
    ended: dict[str, Outcome] = {}
    waiting = list(jobs)
    running: dict[Future, Job] = {}

    def drain() -> None:
        with suppress(Empty):
            while True:
                display.progress(*queue.get_nowait())

    try:
        while waiting or running:
            while len(running) < workers and (job := _next(waiting, ended)):
                waiting.remove(job)
                if outcome := _left_out(job, ended):
                    ended[job.name] = outcome
                    display.end(outcome)
                    yield outcome
                    continue
                display.begin(job)
                running[pool.submit(_do, job.name, job.work)] = job
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            drain()
            for future in done:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    names = " or ".join(job.name for job in running.values())
                    raise WorkerError(
                        f"a process ended while it worked on {names}, probably because memory ran out: free some, or "
                        "take fewer records or workers (--jobs 1), and run the command again"
                    ) from error
                if isinstance(error, OSError | MemoryError | KeyboardInterrupt):
                    raise error
                job = running.pop(future)
                result, last = (None, None) if error else future.result()
                if last:
                    display.progress(*last)
                outcome = ended[job.name] = Outcome(job, result, error)
                display.end(outcome)
                yield outcome
    except BaseException:
        _interrupt(pool, running)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        queue.close()


def _interrupt(pool: ProcessPoolExecutor, running: dict[Future, Job]) -> None:
    """Interrupt what runs and wait for it: trainings and notebooks keep what they have done."""
    processes = list((pool._processes or {}).values())
    for pid in filter(None, (process.pid for process in processes)):
        with suppress(OSError):
            os.kill(pid, signal.SIGINT)
    if wait(running, timeout=30).not_done:  # deep in a library, which hears nothing
        for process in processes:
            process.terminate()
