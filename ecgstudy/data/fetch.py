"""Bring a data set to disk: in parallel, resumed where it broke off, from several mirrors, checked byte for byte."""

import gzip
import itertools
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event, Lock
from typing import NamedTuple
from urllib.parse import quote

import filelock
import requests

from ecgstudy import __version__, paths
from ecgstudy.data.manifest import (
    DataError,
    DataSet,
    data_set,
    file_hash,
    file_states,
    matches,
    read_checksums,
    safe_path,
)


@dataclass(frozen=True)
class Progress:
    """How far a fetch is; ``bytes`` came over the network in ``seconds``."""

    files: int
    files_total: int
    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the files done (their sizes are not known beforehand), None before the first."""
        return self.seconds * (self.files_total - self.files) / self.files if self.files else None


@dataclass(frozen=True)
class Summary:
    """What a fetch did: ``files`` are there, ``fetched`` files came over the network, ``notes`` are for the user."""

    name: str
    folder: Path
    files: int
    fetched: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]


def fetch(
    name: str,
    *,
    records: Collection[str] | None = None,
    connections: int = 8,
    progress: Callable[[Progress], None] | None = None,
    timeout: float = 30.0,
    attempts: int = 4,
    backoff: float = 1.0,
    manifest: Path = paths.MANIFEST,
) -> Summary:
    """Bring a data set to ``$ECGSTUDY_DATA/name``; what is there and right is not fetched again.

    Parameters
    ----------
    records
        Names of the records to bring (all files of that stem) together with the tables; None for everything.
    connections
        Files under way at the same time.
    progress
        Called about five times a second, in the caller's thread.
    timeout
        Seconds that a server may be silent.
    attempts, backoff
        Rounds over the mirrors for each file, with ``backoff``, twice ``backoff`` ... seconds in between.

    Raises
    ------
    DataError
        naming each file that did not arrive, every URL tried and its answer. All that did arrive is kept.
    """
    dataset = data_set(name, manifest)
    began = time.monotonic()
    transfer = _Transfer(dataset, connections, timeout, attempts, backoff, progress)
    notes: list[str] = []
    plan = _plan(dataset, records)
    if plan.todo or not plan.settled:
        if not (dataset.urls or dataset.archives or any(file.url for file in dataset.files)):
            raise DataError(
                f"{name} is not offered for download: get it from {dataset.landing_page} ({dataset.licence}), "
                f"put it in {dataset.folder} and run `ecgstudy data verify {name}`"
            )
        try:
            dataset.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(paths.data_root() / f".{name}.lock", timeout=0):
                plan = _bring(dataset, records, plan, transfer, notes)
        except filelock.Timeout:
            raise DataError(f"another process is fetching {name} into {dataset.folder}: wait for it") from None
        except OSError as error:
            raise DataError(
                f"cannot write to {dataset.folder}: {error}\nFree some space there, or set ECGSTUDY_DATA to another "
                f"folder. What has arrived is kept: `ecgstudy data fetch {name}` goes on from it."
            ) from error
    seconds = time.monotonic() - began
    return Summary(name, dataset.folder, len(plan.files), transfer.fetched, transfer.bytes, seconds, tuple(notes))


class _Plan(NamedTuple):
    """The wanted files as far as they are known, and those that are not there or not right."""

    files: dict[str, str]
    todo: list[str]
    settled: bool  # all wanted files are known


def _plan(dataset: DataSet, records: Collection[str] | None) -> _Plan:
    pinned = dataset.pinned()
    known = dataset.checksums() if pinned else {file.path: file.sha256 for file in dataset.files}
    known = {path: checksum for path, checksum in known.items() if dataset.takes(path)}
    stems = {PurePosixPath(path).stem for path in known if fnmatchcase(path, dataset.record_files)}
    unknown = set(records or ()) - stems
    settled = pinned or not dataset.checksum_file or (bool(records) and not unknown)
    if settled and unknown:
        raise DataError(
            f"{dataset.name} has no record {', '.join(sorted(unknown))}; {dataset.folder} lists what it has"
        )
    if records is not None:
        left_out = stems - set(records)
        known = {path: checksum for path, checksum in known.items() if PurePosixPath(path).stem not in left_out}
    todo = [path for path, state in file_states(dataset.folder, known) if state != "ok"]
    return _Plan(known, todo, settled)


def _bring(
    dataset: DataSet, records: Collection[str] | None, plan: _Plan, transfer: "_Transfer", notes: list[str]
) -> _Plan:
    """Bring the list if there is one, then the files, then the archives; raise what did not arrive."""
    if not plan.settled and not dataset.archives:
        # Half a list of another day would pass for a list: only a known checksum tells them apart.
        (dataset.folder / f"{dataset.checksum_file}.partial").unlink(missing_ok=True)
        transfer.run([_Job(dataset.checksum_file, transfer.urls(dataset.checksum_file), transfer.is_list)], 1)
        transfer.raise_failures()
        if not dataset.checksum_file_sha256:
            notes.append(
                f"the checksum of {dataset.name}'s {dataset.checksum_file} is not known beforehand: the list that "
                f"upstream sent now is taken on trust, stays in {dataset.folder}, and everything is checked against it."
            )
        plan = _plan(dataset, records)
    offered = [path for path in plan.todo if transfer.urls(path)]
    jobs = (_Job(path, transfer.urls(path), partial(matches, checksum=plan.files[path])) for path in offered)
    transfer.run(jobs, len(offered))
    if dataset.archives and (not plan.settled or len(offered) < len(plan.todo)):
        _bring_archives(dataset, records, transfer)
        plan = _plan(dataset, records)
        if not transfer.failures:
            absent = {archive.url: "does not hold it, or not as the manifest knows it" for archive in dataset.archives}
            transfer.failures = dict.fromkeys(plan.todo, absent)
    transfer.raise_failures()
    for path in plan.todo:
        if not transfer.urls(path):
            notes.append(f"{path} is not offered for download: look for it at {dataset.landing_page}")
    return plan


def _bring_archives(dataset: DataSet, records: Collection[str] | None, transfer: "_Transfer") -> None:
    """Unpack one archive after the other until the wanted records are there; after the last, write the list."""
    unpacked: list[str] = []
    for archive in dataset.archives:
        name = safe_path(PurePosixPath(archive.url).name, archive.url)
        transfer.run([_Job(name, [archive.url], partial(matches, checksum=archive.checksum))], 1)
        if name in transfer.failures:
            continue
        unpacked += unpack(dataset.folder / name, dataset.folder)
        (dataset.folder / name).unlink()
        plan = _plan(dataset, records)
        if records and plan.settled and not plan.todo:
            return
    if not any(PurePosixPath(archive.url).name in transfer.failures for archive in dataset.archives):
        with paths.written_whole(dataset.folder / dataset.checksum_file) as file:
            sums = (f"{file_hash(dataset.folder / path)}  {path}\n" for path in sorted(unpacked))
            file.write_text("".join(sums), encoding="utf-8")


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a ``.zip`` or ``.tar.gz`` into a folder, without the archive's top folder if it has just one.

    Returns
    -------
    list of str
        The paths of the files, relative to ``folder``.

    Raises
    ------
    DataError
        when the archive is broken, or holds a link, a device or a path that leads out of the folder; then nothing
        of it is unpacked.
    """
    scratch = folder / f"{archive.name}.unpacked.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            if isinstance(opened, zipfile.ZipFile):
                members = [(info.filename, not stat.S_ISLNK(info.external_attr >> 16)) for info in opened.infolist()]
            else:
                opened.extraction_filter = tarfile.data_filter
                members = [(member.name, member.isfile() or member.isdir()) for member in opened.getmembers()]
            for member, plain in members:
                safe_path(member, str(archive))
                if not plain:
                    raise DataError(f"{archive} holds {member!r}, a link or a device: nothing of it is used")
            opened.extractall(scratch)
        tops = paths.listed(scratch)  # a zip made on macOS holds __MACOSX beside its folder
        top = tops[0] if len(tops) == 1 and tops[0].is_dir() else scratch
        files = [file for file in paths.files_below(top) if file.is_file()]
        for file in files:
            target = folder / file.relative_to(top)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        return [file.relative_to(top).as_posix() for file in files]
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is broken ({error}): delete it and fetch again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Job(NamedTuple):
    path: str
    urls: list[str]
    is_whole: Callable[[Path], bool]


class _Transfer:
    """Transfers into one data set's folder: what they share, and what they count."""

    def __init__(
        self,
        dataset: DataSet,
        connections: int,
        timeout: float,
        attempts: int,
        backoff: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.dataset, self.connections, self.timeout = dataset, connections, timeout
        self.attempts, self.backoff, self.progress = attempts, backoff, progress
        self.total = self.done = self.fetched = self.bytes = 0
        self.failures: dict[str, dict[str, str]] = {}  # path -> URL -> its last answer
        self.began, self.lock, self.stop = time.monotonic(), Lock(), Event()

    def urls(self, path: str) -> list[str]:
        """Every address of a file, in order of preference."""
        own = [file.url for file in self.dataset.files if file.path == path and file.url]
        return own or [f"{base.rstrip('/')}/{quote(path)}" for base in self.dataset.urls]

    def is_list(self, file: Path) -> bool:
        """Whether a file is a checksum list, and the one that the manifest knows if it knows one."""
        try:
            read_checksums(file)
        except DataError:
            return False
        return not self.dataset.checksum_file_sha256 or matches(file, self.dataset.checksum_file_sha256)

    def run(self, jobs: Iterable[_Job], total: int) -> None:
        """Do all jobs, whatever becomes of each; an exception here or in ``progress`` stops them."""
        todo, self.total = iter(jobs), self.total + total

        def work() -> None:
            with requests.Session() as session:
                session.headers.update({"User-Agent": f"ecgstudy/{__version__}", "Accept-Encoding": "identity"})
                while not self.stop.is_set():
                    with self.lock:
                        job = next(todo, None)
                    if job is None:
                        return
                    answers = self._bring_file(session, job)
                    with self.lock:
                        self.done += 1
                        if answers is not None:
                            self.failures[job.path] = answers

        with ThreadPoolExecutor(max(1, min(self.connections, total))) as pool:
            running = {pool.submit(work) for _ in range(min(self.connections, total))}
            try:
                while running:
                    finished, running = wait(running, timeout=0.2, return_when=FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    if self.progress:
                        self.progress(Progress(self.done, self.total, self.bytes, time.monotonic() - self.began))
            except BaseException:
                self.stop.set()
                raise

    def raise_failures(self) -> None:
        """Raise a `DataError` that names the files that did not arrive and what each URL answered."""
        if self.failures:
            shown = itertools.islice(sorted(self.failures.items()), 10)
            lines = [line for path, answers in shown for line in (path, *(f"  {u}: {a}" for u, a in answers.items()))]
            raise DataError(
                f"{len(self.failures)} of {self.total} files of {self.dataset.name} did not arrive; the others are in "
                f"{self.dataset.folder}\n" + "\n".join(lines) + "\n"
                f"`ecgstudy data fetch {self.dataset.name}` tries again and goes on where this one stopped."
            )

    def _bring_file(self, session: requests.Session, job: _Job) -> dict[str, str] | None:
        """Bring one file; return None once it is whole and has its name, else the last answer of each URL."""
        target = self.dataset.folder / job.path
        if target.is_file() and job.is_whole(target):
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(target.name + ".partial")
        answers: dict[str, str] = {}
        urls = list(job.urls)
        for attempt in range(self.attempts):
            if attempt and self.stop.wait(self.backoff * 2 ** (attempt - 1)):
                break
            queue = list(urls)
            while queue and not self.stop.is_set():
                url = queue.pop(0)
                had = arriving.stat().st_size if arriving.exists() else 0
                try:
                    self._receive(session, url, arriving, had)
                except requests.HTTPError as error:
                    status = error.response.status_code
                    answers[url] = f"{status} {error.response.reason}"
                    if status < 500 and status not in (408, 429):
                        urls.remove(url)
                except requests.RequestException as error:
                    silent = isinstance(error, requests.Timeout) or "timed out" in str(error)
                    answers[url] = f"silent for {self.timeout:g} s" if silent else f"{type(error).__name__}: {error}"
                else:
                    if job.is_whole(arriving):
                        arriving.replace(target)
                        with self.lock:
                            self.fetched += 1
                        return None
                    arriving.unlink()
                    answers[url] = "sent wrong bytes (the checksum does not match)"
                    if had:
                        queue.insert(0, url)  # the wrong ones may be those that were here before
                    else:
                        urls.remove(url)
            if not urls:
                break
        return answers

    def _receive(self, session: requests.Session, url: str, arriving: Path, had: int) -> None:
        """Append what is missing of a file, or all of it if the server ignores the range."""
        headers = {"Range": f"bytes={had}-"} if had else {}
        with session.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            if had and response.status_code == 416:
                return  # there is nothing beyond what is here: the checksum tells whether that is the file
            response.raise_for_status()
            appends = response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
            with arriving.open("ab" if response.status_code == 206 and appends else "wb") as file:
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    with self.lock:
                        self.bytes += len(chunk)
                    if self.stop.is_set():
                        raise requests.RequestException("stopped")
