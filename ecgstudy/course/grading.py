"""Grades a class: each notebook of a folder runs in a process of its own, with limits; its answers are checked here.

Of a student's notebook nothing is believed but the answers that it displayed, and these are checked again in the
grader's process. What it prints goes nowhere.
"""

import csv
import hashlib
import io
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from ecgstudy import threads
from ecgstudy.course.checks import chapters, check_exercise, checks_of
from ecgstudy.paths import BrokenError, code_hash, files_below, read_json, written_whole
from ecgstudy.profiles import nearest
from ecgstudy.text import no_formula, printable
from ecgstudy.workers import Bar

COLUMNS = ("student", "file", "exercise", "right", "hint", "seconds", "status", "detail")
ANSWERED, MISSING, MALFORMED = "ok", "not answered", "malformed"
_MOST_TOLD = 4 * 2**20  # bytes that a notebook may tell: hundreds of times what honest answers take
_MOST_FILES = 256 * 2**20  # bytes that it may leave in its folder, and of one file
_MOST_PROCESSES = 64
_MOST_NOTEBOOK = 64 * 2**20  # bytes of a notebook: figures of a student's own are in it
_STEP = 0.1  # seconds between two looks at a notebook that runs
_HERE = Path(__file__).parent
_CHAPTER = re.compile(r"(?:ch(?:apter)?[ _-]?)?\d\d?(?:[_ -].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What a notebook may take.

    Attributes
    ----------
    seconds
        Of wall time.
    memory
        MiB of all its processes together.
    """

    seconds: float = 300
    memory: float = 2048


@dataclass(frozen=True)
class Isolation:
    """What keeps a notebook off the rest of the machine.

    Attributes
    ----------
    cut
        Some of ``network``, ``files`` and ``processes``.
    prefix
        What begins the command line.
    """

    cut: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()

    def told(self) -> str:
        """In a sentence."""
        names = {
            "network": "the network was cut",
            "files": "other files could not be written",
            "processes": "no process could leave its cage",
        }
        kept = {
            "network": "the network was NOT cut",
            "files": "other files of yours could have been written",
            "processes": "a process may have outlived its notebook",
        }
        return "; ".join(names[one] if one in self.cut else kept[one] for one in names).capitalize() + "."


@dataclass
class Ran:
    """What became of one notebook.

    Attributes
    ----------
    status
        ok, error, timeout, memory, processes, output, crashed, empty or "not a notebook".
    detail
        The first error, or what else there is to say.
    seconds
        That it took.
    answers
        What it displayed, in order: bundles that nobody has checked.
    """

    status: str = "ok"
    detail: str = ""
    seconds: float = 0.0
    answers: list[Any] = field(default_factory=list)


# Everything but the notebook's own folder becomes read-only, then the right to change that is given up.
_CAGE = """\
mount --bind "$1" "$1" || exit 97
while read -r _ _ _ _ point options _; do
  [ "$point" = "$1" ] || mount -o "remount,bind,$options,ro" "$point" 2>/dev/null
done < /proc/self/mountinfo
cd "$1" || exit 97
folder=$1; shift
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


@lru_cache(maxsize=1)
def isolation() -> Isolation:
    """Find the strongest isolation that this machine offers without being root: Linux's namespaces, else none."""
    if sys.platform != "linux" or not (unshare := shutil.which("unshare")):
        return Isolation()
    space = (unshare, "--map-root-user", "--net", "--ipc")
    whole = (*space, "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _CAGE, "cage")
    offers = (
        Isolation(("network", "files", "processes"), whole),
        Isolation(("network", "processes"), (*space, "--pid", "--fork", "--kill-child")),
        Isolation(("network",), space),
    )
    with tempfile.TemporaryDirectory(prefix="ecgstudy-course-") as name, tempfile.TemporaryDirectory() as other:
        for offer in offers:
            test = f'test -w "$0" {"&& ! test -w" if "files" in offer.cut else "&& test -w"} "$1"'
            folder = (name,) if "files" in offer.cut else ()
            command = [*offer.prefix, *folder, "sh", "-c", test, name, other]
            with suppress(OSError, subprocess.TimeoutExpired):
                done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
                if done.returncode == 0:
                    return offer
    return Isolation()


# --- which notebooks there are --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handed:
    """A notebook that was handed in: its path, the same below the class's folder, and whose it is."""

    path: Path
    file: str
    student: str


def handed_in(folder: Path) -> list[Handed]:
    """Every file below a folder that may be a notebook, with its student: the folder in it, else the file's own name.

    Folders that bear a chapter's number, such as ``03`` or ``03_cnn_gap``, are of no student. Nor do links lead out of
    the folder.

    Raises
    ------
    FileNotFoundError
        when there is no such folder, or no file in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: name the one in which the notebooks of the class are")
    root = folder.resolve()
    found = []
    for path in files_below(folder, misplaced=(".ipynb",)):
        if not path.resolve().is_relative_to(root):
            continue
        file = path.relative_to(folder)
        above = [part for part in file.parts[:-1] if not _CHAPTER.fullmatch(part)]
        if above and path.suffix.lower() != ".ipynb" and any(path.parent.glob("*.ipynb")):
            continue  # beside a student's notebook: its data, a picture
        found.append(Handed(path, file.as_posix(), above[0] if above else file.stem))
    if not found:
        raise FileNotFoundError(f"{folder} holds no notebook: put one file a student there, or a folder a student")
    return sorted(found, key=lambda one: one.file)


def code_of(path: Path) -> tuple[list[str], str]:
    """Return the code cells of a notebook and the name of the page of exercises that it was made from, if any.

    Raises
    ------
    ValueError
        when it is no notebook: in what way.
    """
    try:
        if path.stat().st_size > _MOST_NOTEBOOK:
            raise ValueError(f"it has more than {_MOST_NOTEBOOK >> 20} MiB")
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = notebook["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        about = notebook.get("metadata", {}).get("ecgstudy", {})
        page = about.get("exercises", "") if isinstance(about, dict) else ""
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"no cells could be read ({type(error).__name__})") from None
    return code, page if isinstance(page, str) else ""


# --- one notebook ---------------------------------------------------------------------------------------------------


def run(code: Sequence[str], limits: Limits, cage: Isolation, stop: threading.Event | None = None) -> Ran:
    """Run the cells of a notebook in a process of its own and return what it displayed, whatever it does.

    Parameters
    ----------
    stop
        Ends it at once when it is set.
    """
    if not any(text.strip() for text in code):
        return Ran("empty", "it holds no code")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ecgstudy-course-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        _hand_fonts(folder)
        (folder / "cells.json").write_text(json.dumps(list(code)), encoding="utf-8")
        with _started(folder, limits, cage) as (guard, pipe):
            ran = _watch(guard, pipe, folder, limits, stop or threading.Event())
    ran.seconds = round(time.monotonic() - start, 1)
    return ran


@contextmanager
def _started(folder: Path, limits: Limits, cage: Isolation) -> Iterator[tuple[subprocess.Popen, int]]:
    """The guard of a running notebook, and the pipe through which it tells; all that it started is gone at the end."""
    pipe, theirs = os.pipe()
    own = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": _MOST_FILES,
        "RLIMIT_CPU": int(limits.seconds * _MOST_PROCESSES) + 1,
    }
    if sys.platform == "linux":
        own["RLIMIT_DATA"] = int(limits.memory * 2**20) + 2**30  # of one process; address space that torch never fills
    inside = (str(folder),) if "files" in cage.cut else ()
    python = (sys.executable, "-m", "ecgstudy.course.cells", str(folder / "cells.json"), str(theirs))
    command = [sys.executable, "-I", str(_HERE / "guard.py"), json.dumps(own), *cage.prefix, *inside, *python]
    try:
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(folder),
            pass_fds=(theirs,),
            start_new_session=True,
        )
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(theirs)
    assert guard.stdin is not None
    try:
        yield guard, pipe
    finally:
        guard.stdin.close()  # which tells it to end all
        try:
            guard.wait(30)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        os.close(pipe)


def _hand_fonts(folder: Path) -> None:
    """Give a notebook this machine's list of fonts, which matplotlib else looks for again, for seconds."""
    known = os.environ.get("MPLCONFIGDIR")
    own = Path(known) if known else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    (folder / "matplotlib").mkdir()
    with suppress(OSError):
        for file in own.glob("fontlist-*.json"):
            shutil.copy(file, folder / "matplotlib")


def _environment(folder: Path) -> dict[str, str]:
    """What a notebook knows of this machine: none of its secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT") if name in os.environ}
    home = str(folder)
    own = {"HOME": home, "TMPDIR": home, "IPYTHONDIR": f"{home}/ipython", "ECGSTUDY_CACHE": f"{home}/cache"}
    own["MPLCONFIGDIR"] = f"{home}/matplotlib"
    # The package that grades is the one that is graded with, from wherever it was imported.
    path = os.pathsep.join([str(_HERE.parents[1]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    return {**kept, **own, **threads.ONE, "PYTHONPATH": path, "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}


def _watch(guard: subprocess.Popen, pipe: int, folder: Path, limits: Limits, stop: threading.Event) -> Ran:
    """Read what a notebook tells until it ends, or takes more than it may."""
    told, number, begun = b"", 0, time.monotonic()
    looked = 0.0
    os.set_blocking(pipe, False)
    broken = ""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not broken:
            ended = guard.poll() is not None
            if selector.select(0 if ended else _STEP):
                with suppress(BlockingIOError):
                    block = os.read(pipe, 1 << 16)
                    told += block
                    if not block:  # closed: by its end, or by the student's code
                        selector.unregister(pipe)
                        ended = _wait(guard, begun + limits.seconds - time.monotonic(), stop) or ended
                        if not ended:
                            broken = "timeout"
                        break
            elif ended:
                break
            now = time.monotonic()
            if len(told) > _MOST_TOLD:
                broken = "output"
            elif now - begun > limits.seconds:
                broken = "timeout"
            elif stop.is_set():
                raise KeyboardInterrupt
            elif now - looked > _STEP and not ended:
                broken, looked = _too_much(guard.pid, folder, limits), now
        number = guard.poll() or 0
    return _ran(told[:_MOST_TOLD], broken, number, limits)


def _wait(guard: subprocess.Popen, seconds: float, stop: threading.Event) -> bool:
    """Whether it ends in time."""
    until = time.monotonic() + max(0.0, seconds)
    while guard.poll() is None:
        if stop.is_set():
            raise KeyboardInterrupt
        if time.monotonic() > until:
            return False
        time.sleep(_STEP / 2)
    return True


def _too_much(pid: int, folder: Path, limits: Limits) -> str:
    """What a notebook and its processes take too much of, if anything."""
    try:
        processes = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return ""
    if len(processes) > _MOST_PROCESSES:
        return "processes"
    memory = 0
    for process in processes:
        with suppress(psutil.Error):
            memory += process.memory_info().rss
    if memory > limits.memory * 2**20:
        return "memory"
    return "output" if _size(folder, _MOST_FILES) > _MOST_FILES else ""


def _size(folder: Path, enough: int) -> int:
    """Bytes below a folder, counted until there are enough."""
    size = count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += Path(parent, name).lstat().st_size
            count += 1
            if size > enough or count > 20_000:
                return enough + 1
    return size


def _ran(told: bytes, broken: str, code: int, limits: Limits) -> Ran:
    """What a notebook's lines say; a line that nobody can read is an answer that is malformed."""
    ran, cell, end, first = Ran(), 0, False, ""
    for line in told.split(b"\n")[:-1]:  # what follows the last end of a line was cut off
        if not line.strip():
            continue
        try:
            what = json.loads(line)
        except (ValueError, RecursionError):
            what = {"answer": None}
        if not isinstance(what, dict):
            what = {"answer": None}
        if "answer" in what:
            ran.answers.append(what["answer"])
        elif "error" in what:
            first = first or printable(f"cell {what.get('number')}: {what['error']}")[:500]
            ran.status = "memory" if what.get("memory") else ran.status if ran.status == "memory" else "error"
        elif isinstance(what.get("cell"), int):
            cell = what["cell"]
        end = end or "end" in what
    ran.detail = first
    where = f"in cell {cell}" if cell else "before its first cell"
    reasons = {
        "timeout": f"it took more than {limits.seconds:g} s, it was stopped {where}",
        "memory": f"it took more than {limits.memory:g} MiB of memory, it was stopped {where}",
        "processes": f"it started more than {_MOST_PROCESSES} processes, it was stopped {where}",
        "output": f"it told or wrote too much, it was stopped {where}",
    }
    if broken:
        ran.status, ran.detail = broken, reasons[broken]
    elif not end:
        signal = f" (signal {code - 128})" if code > 128 else ""
        ran.status, ran.detail = "crashed", f"its Python ended {where}{signal}"
    return ran


# --- its answers ----------------------------------------------------------------------------------------------------


def checked(answers: Sequence[Any], known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Check what a notebook displayed: by exercise, whether it is right. Of several answers the last one counts.

    Parameters
    ----------
    answers
        Bundles, of any form.
    known
        Numbers of the exercises that may be answered.
    """
    rows: dict[str, dict[str, Any]] = {}
    for bundle in answers:
        number = bundle.get("exercise") if isinstance(bundle, dict) else None
        if not isinstance(number, str) or number not in known or "answer" not in bundle:
            fault = "it names no exercise"
            if isinstance(number, str):
                fault = f"no answer to {number}" if number in known else f"no exercise {number[:40]!r} here"
            rows[f"?{len(rows)}"] = {"exercise": "", "right": False, "hint": "", "status": MALFORMED, "detail": fault}
            continue
        if bundle["answer"] is None:  # the cell is as it was handed out
            rows[number] = {"exercise": number, "right": False, "hint": "", "status": MISSING, "detail": ""}
            continue
        try:
            outcome = check_exercise(number, bundle["answer"])
            right, hint, status = outcome.right, outcome.hint, ANSWERED
        except Exception as error:  # an answer that was made to break its check breaks nothing else
            right, hint, status = False, f"the answer could not be checked ({type(error).__name__})", MALFORMED
        rows[number] = {"exercise": number, "right": right, "hint": hint, "status": status, "detail": ""}
    return rows


def _asked(page: str, chapter: str | None) -> list[str]:
    """Numbers of the exercises that a notebook should answer: of one chapter, or of that which it was made for."""
    of_page = page[:2] if page[:2] in chapters() else None
    wanted = chapter or of_page
    return [*checks_of(wanted)] if wanted else []


# --- a class --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graded:
    """A class's results.

    Attributes
    ----------
    rows
        As in the CSV: see ``COLUMNS``.
    isolation
        What kept the notebooks off the machine.
    again
        How many were kept from an earlier run.
    """

    rows: list[dict[str, Any]]
    isolation: Isolation
    again: int

    def summary(self) -> list[str]:
        """Return a line a student, and one that says how safe it was."""
        lines = []
        for student in dict.fromkeys(row["student"] for row in self.rows):
            own = [row for row in self.rows if row["student"] == student]
            exercises = {row["exercise"] for row in own if row["exercise"]}
            right = {row["exercise"] for row in own if row["right"]}
            files = list(dict.fromkeys(row["file"] for row in own))
            bad = dict.fromkeys(row["status"] for row in own if row["status"] not in (ANSWERED, MISSING))
            more = f", {len(files)} files" if len(files) > 1 else ""
            told = f" ({', '.join(bad)})" if bad else ""
            lines.append(f"{student}: {len(right)} of {len(exercises)} right{more}{told}")
        kept = f" {self.again} of them had not changed and were not run again." if self.again else ""
        count = len({row["file"] for row in self.rows})
        lines.append(f"{count} file{'s' if count != 1 else ''}.{kept} {self.isolation.told()}")
        return lines


def grade(
    folder: Path,
    out: Path,
    limits: Limits | None = None,
    chapter: str | None = None,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Graded:
    """Run a class's notebooks, check their answers, and write a CSV: a row for each student's file and exercise.

    A notebook that was run before with the same content, limits and checks is not run again: ``<out>.json`` keeps what
    became of it. The CSV is written anew whenever a notebook has ended.

    Parameters
    ----------
    folder
        With one file a student, or a folder a student.
    out
        The CSV.
    chapter
        Its number: notebooks that were made for another chapter are left out.
    jobs
        Notebooks at a time; by default one for each processor for which there is memory.
    progress
        Gets a line for each notebook that has ended.

    Raises
    ------
    FileNotFoundError
        when there is nothing to grade.
    ValueError
        when there is no such chapter.
    """
    limits, cage = limits or Limits(), isolation()
    if chapter is not None and (chapter := chapter[:2].zfill(2)) not in chapters():
        raise ValueError(f"no exercises for chapter {chapter!r}{nearest(chapter, chapters(), '.')}")
    out = out.resolve()
    state = out.with_name(f"{out.name}.json")
    notebooks = [one for one in handed_in(folder) if one.path.resolve() not in (out, state)]
    before, results = _kept(state), {}
    keep: dict[str, Any] = {}
    todo: dict[str, tuple[Handed, list[str], list[str], str]] = {}
    for one in notebooks:
        try:
            code, page = code_of(one.path)
        except ValueError as error:
            results[one.file] = _rows(one, Ran("not a notebook", str(error)), [])
            continue
        if chapter and page and page[:2] != chapter:
            continue
        asked = _asked(page, chapter)
        key = _key(code, asked, limits, cage)
        if before.get(one.file, {}).get("key") == key:
            keep[one.file] = before[one.file]
            results[one.file] = keep[one.file]["rows"]
        else:
            todo[one.file] = one, code, asked, key
    again, stop, bar = len(keep), threading.Event(), Bar(len(todo), note="notebooks", unit="notebook")
    _write(out, state, results, keep)
    with ThreadPoolExecutor(jobs or _at_a_time(limits)) as pool:
        running = {pool.submit(run, code, limits, cage, stop): name for name, (_, code, _, _) in todo.items()}
        try:
            for future in as_completed(running):
                name = running[future]
                one, _, asked, key = todo[name]
                ran = future.result()
                results[name] = _rows(one, ran, asked)
                keep[name] = {"key": key, "rows": results[name]}
                _write(out, state, results, keep)
                bar.step()
                progress(f"{name}: {ran.status}, {ran.seconds:.0f} s{f' ({ran.detail})' if ran.detail else ''}")
        finally:
            stop.set()
            for future in running:
                future.cancel()
            bar.close()
    return Graded([row for name in sorted(results) for row in results[name]], cage, again)


def _at_a_time(limits: Limits) -> int:
    free = psutil.virtual_memory().available // int(limits.memory * 2**20)
    return int(max(1, min(os.cpu_count() or 1, free)))


def _key(code: Sequence[str], asked: Sequence[str], limits: Limits, cage: Isolation) -> str:
    made_of = [list(code), list(asked), asdict(limits), cage.cut, code_hash("course/*.py")]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def _kept(state: Path) -> dict[str, Any]:
    if not state.exists():
        return {}
    try:
        known = read_json(state)
    except BrokenError:
        return {}  # everything is run again
    return known if isinstance(known, dict) else {}


def _rows(one: Handed, ran: Ran, asked: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a notebook: an exercise each, and what is malformed; one row where there is neither."""
    every = [number for chapter in chapters() for number in checks_of(chapter)] if ran.answers and not asked else asked
    found = checked(ran.answers, every)
    absent = {"right": False, "hint": "", "status": MISSING, "detail": ""}
    for number in asked:
        found.setdefault(number, {"exercise": number, **absent})
    rows = sorted(found.values(), key=lambda row: (row["exercise"] == "", row["exercise"]))
    rows = rows or [{"exercise": "", "right": False, "hint": "", "status": ran.status, "detail": ""}]
    about = {"student": one.student, "file": one.file, "seconds": ran.seconds}
    for row in rows:
        if ran.status != "ok":
            row["detail"] = row["detail"] or ran.detail
            if row["status"] == MISSING:  # what was answered before the end counts
                row["status"] = ran.status
    return [{**about, **row} for row in rows]


def _write(out: Path, state: Path, results: dict[str, list[dict[str, Any]]], keep: dict[str, Any]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name in sorted(results):
        for row in results[name]:
            texts = {key: no_formula(printable(value)) for key, value in row.items() if isinstance(value, str)}
            writer.writerow({**row, **texts, "right": int(row["right"])})
    with written_whole(out) as partial:
        partial.write_text(table.getvalue(), encoding="utf-8", newline="")
    with written_whole(state) as partial:
        partial.write_text(json.dumps(keep, indent=1), encoding="utf-8")
