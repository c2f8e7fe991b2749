"""Attempts in processes of their own, each with a limit of time, and what became of them."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

READ, REFUSED, FAILED = "read", "refused", "failed"


@dataclass(frozen=True)
class Kind:
    """One row of the table: ``attempt(seed, number, folder)`` returns READ or REFUSED; what it raises is a failure."""

    name: str
    tries: int
    attempt: Callable[[int, int, Path], str]
    seconds: float = 5.0


@dataclass
class Row:
    """What became of a kind's attempts."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, outcome: str, detail: str) -> None:
        """Count an attempt."""
        self.tried += 1
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == FAILED:
            self.failures[number] = detail


class Worker:
    """A process that makes attempts, one after the other; one that takes too long is killed with all it started."""

    context = get_context("forkserver")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: BaseProcess | None = None
        self.process_code: int | None = None

    def attempt(self, kind: Kind, seed: int, number: int) -> tuple[str, str]:
        """Return the outcome and, of a failure, what happened."""
        if self.process is None:
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=_work, args=(theirs, self.root), daemon=True)
            self.process.start()
            theirs.close()
            self.pipe.recv()  # it is ready
        self.pipe.send((kind, seed, number))
        late = not self.pipe.poll(kind.seconds)
        with contextlib.suppress(EOFError):
            if not late:
                return self.pipe.recv()
        self.end()
        return FAILED, f"took more than {kind.seconds:g} s" if late else f"died ({self.process_code})"

    def end(self) -> None:
        """End the process and its children."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            self.process_code, self.process = self.process.exitcode, None
            self.pipe.close()


def _work(pipe, root: Path) -> None:
    os.setsid()
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    pipe.send("ready")
    while True:
        try:
            kind, seed, number = pipe.recv()
        except EOFError:
            return
        folder = Path(tempfile.mkdtemp(dir=root))
        try:
            answer = kind.attempt(seed, number, folder), ""
        except Exception as error:
            answer = FAILED, f"{type(error).__name__}: {error}"[:500]
        shutil.rmtree(folder, ignore_errors=True)
        pipe.send(answer)


def run(kinds: list[Kind], share: float = 1.0, seed: int = 0, jobs: int = 1) -> Iterator[tuple[str, Row]]:
    """Attempt a share of each kind, at least two, and yield its row."""
    with tempfile.TemporaryDirectory(prefix="attack-") as root:
        workers = [Worker(Path(root)) for _ in range(jobs)]
        try:
            with ThreadPoolExecutor(jobs) as pool:
                for kind in kinds:
                    tries = min(kind.tries, max(2, round(kind.tries * share)))
                    numbers = [i * kind.tries // tries for i in range(tries)]
                    row, begun = Row(), time.monotonic()

                    def some(worker: Worker, place: int, kind=kind, numbers=numbers, row=row) -> None:
                        for number in numbers[place::jobs]:
                            row.add(number, *worker.attempt(kind, seed, number))

                    list(pool.map(some, workers, range(jobs)))
                    row.seconds = round(time.monotonic() - begun, 1)
                    yield kind.name, row
        finally:
            for worker in workers:
                worker.end()
