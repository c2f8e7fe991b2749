"""Many records: a page each, a table of all, side by side, and kept where nothing has changed."""

import hashlib
import html.parser
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from ecgstudy import workers
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import SUFFIXES, Record, RecordError, file_of, find_records, read_record
from ecgstudy.explain import unlike
from ecgstudy.paths import written_whole
from ecgstudy.reading import counterfactual
from ecgstudy.reading.explanation import explain
from ecgstudy.reading.page import page, percent, row, style, template
from ecgstudy.reading.shipped import USE, shipped
from ecgstudy.text import no_formula, printable, without_folders

TABLE, INDEX = "table.csv", "index.html"
_CHUNK = 32  # records that a process takes at a time, at most
_SHARE = 16  # records for which another process is worth the seconds that it takes to start
_SUFFIXES = {".dat", *SUFFIXES}  # that a page's name lacks
_LONGEST_NAME = 120  # characters of a page's file name, of the 255 bytes that file systems allow


@dataclass(frozen=True)
class Settings:
    """How records are read.

    Attributes
    ----------
    systems
        Names in ``shipped.ENTRIES``; a page each.
    classes
        Findings that get a map; empty: those that are called.
    show_identity, even_if_unfit
        As ``page`` and ``explain`` have them.
    fs
        Rate in Hz of arrays; None: the one that each of them states.
    """

    systems: tuple[str, ...]
    classes: tuple[str, ...] = ()
    show_identity: bool = False
    even_if_unfit: bool = False
    fs: float | None = None


@dataclass(frozen=True)
class Target:
    """A record and what is made of it: its path, what pages call it, and its pages by system."""

    path: Path
    file: str
    pages: tuple[str, ...]


def found(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Every record of files and folders, each once however it is named, and what pages call it.

    That is its file's name, or its place in the folder that was named.

    Raises
    ------
    RecordError
        when a folder holds no record.
    """
    records: dict[Path, tuple[Path, str]] = {}
    for path in paths:
        inside = find_records(path) if path.is_dir() else [_file_of(path)]
        if not inside:
            raise RecordError(printable(f"{path} holds no ECG that can be read: name a record, or another folder"))
        for file in inside:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            records.setdefault(file.parent.resolve() / file.name, (file, printable(name)))
    return list(records.values())


def _file_of(path: Path) -> Path:
    try:
        return file_of(path)
    except (OSError, RecordError):  # reading will tell why
        return path


def targets(paths: Iterable[Path], systems: Sequence[str]) -> list[Target]:
    """Name the pages of records: after the record, and after the system where there are several."""
    taken: set[str] = set()
    named = []
    for path, file in found(paths):
        stem = file[: -len(suffix)] if (suffix := Path(file).suffix).lower() in _SUFFIXES else file
        stem = "/".join(
            re.sub(r"[^\w+ ().@-]", "_", part)[-_LONGEST_NAME:].strip(". ") or "_" for part in stem.split("/")
        )
        pages = []
        for system in systems:
            name = stem if len(systems) == 1 else f"{stem} ({system})"
            copy, unique = 1, name
            while f"{unique}.html".casefold() in taken | {INDEX}:
                copy += 1
                unique = f"{name} {copy}"
            taken.add(f"{unique}.html".casefold())
            pages.append(f"{unique}.html")
        named.append(Target(path, file, tuple(pages)))
    return named


def read_many(paths: Iterable[Path], out: Path, settings: Settings, jobs: int | None = None) -> pd.DataFrame:
    """Read records, write their pages, ``table.csv`` and ``index.html`` to a folder.

    A page that is there and was made of the same signal with the same settings is kept. A record that cannot be read
    stops no other: its row says why.

    Returns
    -------
    DataFrame
        What ``table.csv`` holds: a row a record and system.

    Raises
    ------
    RecordError
        when a folder holds no record.
    OSError
        when a page cannot be written.
    """
    todo = targets(paths, settings.systems)
    for name in settings.systems:
        shipped(name)  # which says what is missing before anything is read
    workers_ = min(jobs or workers.processes(), -(-len(todo) // _SHARE))
    size = max(1, min(_CHUNK, -(-len(todo) // max(workers_, 1))))
    parts = [todo[i : i + size] for i in range(0, len(todo), size)]
    work = [
        workers.Job(f"ECGs from number {1 + i * size}", partial(_read_some, part, out, settings))
        for i, part in enumerate(parts)
    ]
    rows = {}
    for outcome in workers.work_off(work, workers_):
        if outcome.error is not None:
            raise outcome.error
        rows[outcome.job.name] = outcome.result
    table = pd.DataFrame([one for job in work for one in rows[job.name]])
    _write(table, out, settings)
    return table


def _read_some(some: Sequence[Target], out: Path, settings: Settings) -> list[dict[str, Any]]:
    bar = workers.Bar(len(some), note="ECGs", unit="record")
    rows = []
    for target in some:
        rows += _read_one(target, out, settings)
        bar.step()
    bar.close()
    return rows


def _read_one(target: Target, out: Path, settings: Settings) -> list[dict[str, Any]]:
    try:
        fs = settings.fs if target.path.suffix in (".npy", ".csv") else None
        record = read_record(target.path, fs=fs, show_identity=settings.show_identity)
    except RecordError as error:
        return [_failed(target, system, error) for system in settings.systems]
    rows = []
    for system, name in zip(settings.systems, target.pages, strict=True):
        made_of = _digest(record, target.file, system, settings)
        told = kept(out / name, made_of)
        if told is None:
            try:
                e = explain(record, system=system, even_if_unfit=settings.even_if_unfit)
                text = page(
                    e,
                    file=target.file,
                    classes=settings.classes or None,
                    show_identity=settings.show_identity,
                    without=counterfactual.of_file(target.path, e) if e.answered else (),
                    made_of=made_of,
                )
                told = row(e, target.file)
            except (OSError, MemoryError):
                raise
            except Exception as error:
                rows.append(_failed(target, system, error))
                continue
            with written_whole(out / name) as partial_:
                partial_.write_text(text, encoding="utf-8")
        rows.append({**told, "page": name, "error": ""})
    return rows


def _failed(target: Target, system: str, error: Exception) -> dict[str, Any]:
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    told = str(error).removeprefix(f"{target.path.absolute()}: ")
    text = without_folders(f"{kind}{told}", target.path.absolute().parent)
    return {"file": target.file, "system": system, "page": "", "error": printable(text)}


def _digest(record: Record, file: str, system: str, settings: Settings) -> str:
    """Hash of all that a page follows from: the record, the settings, the networks, and the code that writes it."""
    own = asdict(settings) | {"systems": system}
    about = [record.signal_hash, record.leads, record.notes, sorted(record.labels), record.source, record.name, file]
    if settings.show_identity:
        about.append(repr((record, dict(record.identity))))
    runs = [run.folder.name for run in shipped(system).runs]
    return hashlib.sha256(json.dumps([own, about, runs, _code()], default=str).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the package, which reads, judges, answers and draws, and of what is known of the training data."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*.*") if path.suffix in (".py", ".csv", ".html", ".css"))
    digest = hashlib.sha256()
    for path in (*files, unlike.FILE):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Meta(html.parser.HTMLParser):
    """What a page's head says of how it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "meta" and (name := own.get("name") or "").startswith("ecgstudy:"):
            self.said[name] = own.get("content") or ""


def kept(path: Path, made_of: str) -> dict[str, Any] | None:
    """Row of a page that is there and was made of the same; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    meta = _Meta()
    meta.feed(text.partition("<style>")[0])
    if meta.said.get("ecgstudy:made-of") != made_of or not text.rstrip().endswith("</html>"):
        return None
    return json.loads(meta.said["ecgstudy:row"])


def summary(table: pd.DataFrame) -> str:
    """How many were read, in a sentence."""
    failed, unfit = _failures(table), _unfit(table)
    systems = table["system"].nunique()
    counts = [f"{len(table) - failed - unfit:,} answered"]
    counts += [f"{unfit:,} unfit and not answered"] if unfit else []
    counts += [f"{failed:,} could not be read"] if failed else []
    ecgs = len(table) // systems
    told = f"{ecgs:,} ECG{'s' if ecgs != 1 else ''}{f' by {systems} systems' if systems > 1 else ''}"
    return f"{told}: {', '.join(counts)}."


def exit_code(table: pd.DataFrame) -> int:
    """0 where every record is answered, 1 where one could not be read, 3 where one is unfit and has no answer."""
    return 1 if _failures(table) else 3 if _unfit(table) else 0


def _failures(table: pd.DataFrame) -> int:
    return int((table["error"] != "").sum())


def _unfit(table: pd.DataFrame) -> int:
    there = table.reindex(columns=[CLASSES[0]])[CLASSES[0]]
    return int(((table["error"] == "") & there.isna()).sum())


_COLUMNS = ("file", "system", "seconds", "fit", "quality", "unlike", "seen", "called", *CLASSES, "page", "error")


def _write(table: pd.DataFrame, out: Path, settings: Settings) -> None:
    table = table.reindex(columns=list(_COLUMNS))
    texts = table.select_dtypes(exclude="number").fillna("").astype(str).map(no_formula)
    with written_whole(out / TABLE) as partial_:
        table.assign(**texts).to_csv(partial_, index=False)
    rows = []
    for one in table.to_dict("records"):
        told = {key: "" if isinstance(value, float) and np.isnan(value) else value for key, value in one.items()}
        called = str(told["called"]).split()
        cells = [SimpleNamespace(text=percent(one[name]), called=name in called) for name in CLASSES]
        there = told["page"] and told[CLASSES[0]] != ""
        rows.append(told | {"cells": cells if there else [], "href": quote(str(told["page"]))})
    context: dict[str, Any] = {
        "rows": rows,
        "style": style(),
        "use": USE,
        "classes": CLASSES,
        "summary": summary(table),
        "ecgs": len(table) // table["system"].nunique(),
    }
    context["several"] = len(settings.systems) > 1
    with written_whole(out / INDEX) as partial_:
        partial_.write_text(template(INDEX).render(context), encoding="utf-8")
