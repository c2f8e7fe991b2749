"""Download a data set: in parallel, from several mirrors, resumed where it broke off, every byte checked."""

import bz2
import errno
import gzip
import itertools
import lzma
import math
import shutil
import socket
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event, Lock
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, urljoin, urlsplit
from weakref import WeakSet

import filelock
import requests
import urllib3

from ecgstudy import __version__, paths
from ecgstudy.data.manifest import (
    LARGEST_LIST,
    DataError,
    DataSet,
    data_set,
    file_hash,
    file_states,
    matches,
    read_checksums,
    safe_path,
)

_LARGEST_UNSTATED = 2**30  # bytes of a file whose size neither the manifest nor the server states
_LEAST_PROGRESS = 1024  # bytes that a server must send in its time-out: fewer count as silence
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_LARGEST_RATIO = 100  # of an archive's content to the archive, where the manifest does not state the data set's size
_LARGEST_PIECE = 2**16  # bytes that a tar may ask for at once; its own headers are far shorter
# By the first bytes of a compressed tar.
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
# Errors of the file system that every file would meet; other errors stop only their file.
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# Those that the names in an archive bring about; None is what decompressors raise.
_OF_THE_ARCHIVE = {None, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL}


@dataclass(frozen=True)
class Progress:
    """Progress of a fetch: ``bytes`` came over the network in ``seconds``."""

    files: int
    files_total: int
    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds if self.seconds else 0.0


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
    """Download a data set to ``$ECGSTUDY_DATA/name``; files that are there and right are not fetched again.

    Parameters
    ----------
    records
        Names of the records to fetch (all files of that stem), besides the tables; None for everything.
    connections
        Files to download at the same time.
    progress
        Called about five times a second, in the caller's thread.
    timeout
        Seconds that a server may be silent or send next to nothing (a byte now and then, endless headers).
    attempts, backoff
        Rounds over the mirrors for each file, with ``backoff``, twice ``backoff`` ... seconds in between.

    Raises
    ------
    DataError
        naming each file that did not arrive, every URL tried and its answer. Files that did arrive are kept. No file
        may be larger than the manifest (its own size, else the data set's) and the server say.
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
            full = "Free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Mend that"
            raise DataError(
                f"cannot write to {dataset.folder}: {error}\n{full}, or set ECGSTUDY_DATA to another folder. "
                f"What has arrived is kept: `ecgstudy data fetch {name}` goes on from it."
            ) from error
    seconds = time.monotonic() - began
    return Summary(name, dataset.folder, len(plan.files), transfer.fetched, transfer.bytes, seconds, tuple(notes))


def record_names(text: str) -> set[str]:
    """Names of records: with commas, or in a file of one name a line.

    Raises
    ------
    DataError
        when it names no record, or is a folder or a file of something else.
    """
    path = Path(text)
    try:
        there = path.exists()
    except (OSError, ValueError):  # names enough to be too long for a path
        there = False
    if not there:
        names = text.split(",")
    elif not path.is_file():
        raise DataError(f"{text} is not a file: give names of records, with commas, or a file of one name a line")
    else:
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_LIST + 1)
            names = content.decode("utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{text} cannot be read as a list of names ({error})") from error
        if len(content) > LARGEST_LIST or any(not name.isprintable() for name in names):
            raise DataError(f"{text} is not a list of names: give a file of one name of a record a line")
    named = {name.strip() for name in names} - {""}
    if not named:
        raise DataError(f"{text!r} names no record: give names with commas, or a file of one name a line")
    return named


class _Plan(NamedTuple):
    """The wanted files as far as they are known, and those that are missing or wrong."""

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
        named = ", ".join(sorted(unknown)[:5]) + (f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else "")
        raise DataError(f"{dataset.name} has no record {named}; {dataset.folder} lists what it has")
    if records is not None:
        left_out = stems - set(records)
        known = {path: checksum for path, checksum in known.items() if PurePosixPath(path).stem not in left_out}
    todo = [path for path, state in file_states(dataset.folder, known) if state != "ok"]
    return _Plan(known, todo, settled)


def _bring(
    dataset: DataSet, records: Collection[str] | None, plan: _Plan, transfer: "_Transfer", notes: list[str]
) -> _Plan:
    """Fetch the list if there is one, then the files, then the archives; raise an error for what did not arrive."""
    if not plan.settled and not dataset.archives:
        # Part of an older list would pass for a list: only a known checksum tells them apart.
        (dataset.folder / f"{dataset.checksum_file}.partial").unlink(missing_ok=True)
        transfer.run([transfer.job(dataset.checksum_file, transfer.no_list)], 1)
        if not transfer.failures:  # without its list, files with a checksum of their own are still fetched
            if not dataset.checksum_file_sha256:
                notes.append(
                    f"the checksum of {dataset.name}'s {dataset.checksum_file} is not known beforehand: the list "
                    f"that upstream sent now is taken on trust, stays in {dataset.folder}, and everything is checked "
                    "against it."
                )
            plan = _plan(dataset, records)
    offered = [path for path in plan.todo if transfer.urls(path)]
    jobs = (transfer.job(path, partial(_other_bytes, checksum=plan.files[path])) for path in offered)
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
        transfer.run([transfer.job(name, partial(_other_bytes, checksum=archive.checksum), [archive.url])], 1)
        if name in transfer.failures:
            continue
        try:
            unpacked += unpack(dataset.folder / name, dataset.folder, dataset.most_bytes)
        except DataError as error:
            transfer.failures[name] = {archive.url: str(error)}
            continue
        (dataset.folder / name).unlink()
        plan = _plan(dataset, records)
        if records and plan.settled and not plan.todo:
            return
    if not any(PurePosixPath(archive.url).name in transfer.failures for archive in dataset.archives):
        with paths.written_whole(dataset.folder / dataset.checksum_file) as file:
            sums = (f"{file_hash(dataset.folder / path)}  {path}\n" for path in sorted(unpacked))
            file.write_text("".join(sums), encoding="utf-8")


def unpack(archive: Path, folder: Path, most: int | None = None) -> list[str]:
    """Unpack a ``.zip`` or ``.tar.gz`` into a folder, without the archive's top folder if it has just one.

    Parameters
    ----------
    most
        Bytes that the content may take; 100 times the archive's size (and at least 1 GiB) if None.

    Returns
    -------
    list of str
        The paths of the files, relative to ``folder``.

    Raises
    ------
    DataError
        when the archive is broken, encrypted or too large when unpacked, or holds a link, a device, a path that leads
        out of the folder, or one path twice. Then nothing of it is unpacked.
    """
    scratch = folder / f"{archive.name}.unpacked.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        most = most or max(_LARGEST_UNSTATED, _LARGEST_RATIO * archive.stat().st_size)
        scratch.mkdir(parents=True)
        (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, scratch, most)
        tops = paths.listed(scratch)  # a zip made on macOS holds __MACOSX beside its folder
        top = tops[0] if len(tops) == 1 and tops[0].is_dir() else scratch
        files = [file for file in paths.files_below(top) if file.is_file()]
        if not files:
            raise DataError(f"{archive} holds no files: look for another copy")
        for file in files:
            target = folder / file.relative_to(top)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise DataError(f"{target} cannot be written ({error.strerror}): move what is in its way") from error
        return [file.relative_to(top).as_posix() for file in files]
    except DataError:
        raise
    except Exception as error:  # zipfile, tarfile and the decompressors raise a dozen kinds for what is broken
        if isinstance(error, OSError) and error.errno not in _OF_THE_ARCHIVE:
            raise
        raise DataError(f"{archive} is broken ({error}): delete it and fetch again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Members:
    """Checks each member of an archive before it is unpacked: its path, its kind, and the total size so far."""

    def __init__(self, archive: Path, most: int) -> None:
        self.archive, self.most, self.left = archive, most, most
        self.seen: set[str] = set()

    def check(self, name: str, plain: bool, size: int) -> None:
        """Refuse the archive if this member is at fault; the ``name`` of a folder ends in a slash."""
        path = safe_path(name, str(self.archive))
        if not plain:
            raise DataError(f"{self.archive} holds {name!r}, a link or a device: nothing of it is used")
        if path in self.seen and not name.endswith("/"):
            raise DataError(f"{self.archive} holds {name!r} twice: nothing of it is used")
        self.seen.add(path)
        self.left -= size
        if size < 0 or self.left < 0:
            raise DataError(f"{self.archive} unpacks to more than {self.most:,} bytes: nothing of it is used")


def _unzip(archive: Path, scratch: Path, most: int) -> None:
    """Unpack a zip; no member becomes larger than the archive states."""
    members = _Members(archive, most)
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            members.check(info.orig_filename, plain, info.file_size)  # the other name ends at a NUL
            if info.flag_bits & 1:
                raise DataError(f"{archive} holds {info.filename!r}, which is encrypted: nothing of it is used")
        for info in opened.infolist():
            target = Path(opened.extract(info, scratch))
            if target.is_file() and target.stat().st_size != info.file_size:
                raise zipfile.BadZipFile(f"{info.filename!r} does not have the size that is stated")


def _untar(archive: Path, scratch: Path, most: int) -> None:
    """Unpack a tar, however compressed, in one pass."""
    members = _Members(archive, most)
    with archive.open("rb") as file:
        opener = _OPENERS.get(file.read(2), open)
    with (
        opener(archive, "rb") as stream,
        tarfile.open(fileobj=cast(BinaryIO, _Bounded(stream, archive, most)), mode="r:") as opened,  # reads and seeks
    ):
        opened.extraction_filter = tarfile.data_filter
        while member := opened.next():
            name = member.name + "/" * member.isdir()
            members.check(name, member.isfile() or member.isdir(), member.size)
            opened.extract(member, scratch)
            opened.members.clear()  # type: ignore[attr-defined]  # undocumented: all members so far, kept in memory
        opened.fileobj.seek(opened.offset)
        if opened.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a wrong header for the end
            raise tarfile.ReadError(f"no header at {opened.offset:,}")


class _Bounded:
    """A decompressed stream that is read in small pieces and raises an error after ``most`` bytes."""

    def __init__(self, stream: BinaryIO, archive: Path, most: int) -> None:
        self.stream, self.archive, self.most = stream, archive, most

    def _reach(self, position: int) -> None:
        # Headers and padding come on top of the content: with a tar's blocks, at most as much again.
        if position > 2 * self.most + _LARGEST_PIECE:
            raise DataError(f"{self.archive} unpacks to more than {self.most:,} bytes: nothing of it is used")

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        if not 0 <= size <= _LARGEST_PIECE:
            raise DataError(f"{self.archive} has a header of {size:,} bytes: nothing of it is used")
        self._reach(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        """Go on at ``position``."""
        self._reach(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        """Say where the stream is."""
        return self.stream.tell()


def _other_bytes(file: Path, checksum: str) -> str:
    """A message that a file does not have this checksum; empty if it has."""
    return "" if matches(file, checksum) else "the checksum does not match"


class _Job(NamedTuple):
    path: str
    urls: list[str]
    fault: Callable[[Path], str]  # what is wrong with the bytes that came, nothing if they are right
    most: int | None  # bytes, if the manifest states them


class _RefusedError(Exception):
    """An answer that would not change on another try: the URL is not asked again."""


class _Line:
    """One worker's connections, which another thread can cut, since a blocking read cannot watch the clock."""

    def __init__(self, timeout: float) -> None:
        self.timeout, self.deadline, self.cut = timeout, math.inf, False
        self.sockets: WeakSet[socket.socket] = WeakSet()
        self.session = _Session()
        self.session.headers.update({"User-Agent": f"ecgstudy/{__version__}", "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _Adapter(self.sockets))

    def progress(self) -> None:
        """Give the server another ``timeout`` seconds."""
        self.deadline = time.monotonic() + self.timeout

    def watch(self, stop: bool) -> None:
        """Cut the connections if the deadline has passed, or at once to ``stop``."""
        if stop or time.monotonic() > self.deadline:
            self.cut = True
            for one in list(self.sockets):
                with suppress(OSError):  # past TLS, which two threads must not use at once
                    socket.socket.shutdown(one, socket.SHUT_RDWR)

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask for ``url`` and follow its redirects, none of whose bodies are read."""
        self.cut = False
        for _ in range(_MOST_REDIRECTS):
            self.progress()
            response = self.session.get(url, headers=headers, stream=True, timeout=self.timeout, allow_redirects=False)
            if response.status_code not in _REDIRECTS:
                return response
            target = self.session.target(response)
            response.close()
            if not target:
                raise _RefusedError(f"{response.status_code} {response.reason}, without an address")
            before, url = url, urljoin(url, target)
            scheme = urlsplit(url).scheme
            if scheme not in ("http", "https") or (scheme == "http" and before.startswith("https:")):
                raise _RefusedError(f"leads to {url[:200]!r}, which is no web address that is as safe")
        raise _RefusedError(f"leads on more than {_MOST_REDIRECTS} times")


class _Session(requests.Session):
    """Leaves redirects alone: requests reads the whole body of a redirect even if it is told not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none."""

    def target(self, response: requests.Response) -> str | None:
        """Address that a response leads to."""
        return super().get_redirect_target(response)


class _Adapter(requests.adapters.HTTPAdapter):
    """Notes the sockets of its connections, through a proxy or not."""

    def __init__(self, sockets: WeakSet[socket.socket]) -> None:
        self.sockets = sockets
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **options)
        self._note(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        """Make the manager of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        self._note(manager)
        return manager

    def _note(self, manager: urllib3.PoolManager) -> None:
        manager.pool_classes_by_scheme = {
            "http": _noting(urllib3.HTTPConnectionPool, self.sockets),
            "https": _noting(urllib3.HTTPSConnectionPool, self.sockets),
        }


def _noting(pool: type[urllib3.HTTPConnectionPool], sockets: WeakSet[socket.socket]) -> type:
    def connect(self: Any) -> None:
        pool.ConnectionCls.connect(self)
        sockets.add(self.sock)

    connection = type("Connection", (pool.ConnectionCls,), {"connect": connect})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Transfer:
    """Transfers into one data set's folder, with what they share and count."""

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

    def job(self, path: str, fault: Callable[[Path], str], urls: list[str] | None = None) -> _Job:
        """Make the job of bringing a file."""
        most = self.dataset.most_bytes
        for file in self.dataset.files:
            if file.path == path and file.bytes:
                most = file.bytes
        if path == self.dataset.checksum_file:
            most = min(most or LARGEST_LIST, LARGEST_LIST)
        return _Job(path, urls or self.urls(path), fault, most)

    def no_list(self, file: Path) -> str:
        """Say why a file is not a checksum list, or not the one that the manifest knows."""
        try:
            read_checksums(file)
        except DataError as error:
            return str(error)
        known = self.dataset.checksum_file_sha256
        return _other_bytes(file, known) if known else ""

    def run(self, jobs: Iterable[_Job], total: int) -> None:
        """Do all jobs, also if some fail; an exception here or in ``progress`` stops them."""
        todo, self.total = iter(jobs), self.total + total
        workers = max(1, min(self.connections, total))
        lines = [_Line(self.timeout) for _ in range(workers)]

        def work(line: _Line) -> None:
            with line.session:
                while not self.stop.is_set():
                    with self.lock:
                        job = next(todo, None)
                    if job is None:
                        return
                    answers = self._bring_file(line, job)
                    with self.lock:
                        self.done += 1
                        if answers is not None:
                            self.failures[job.path] = answers

        with ThreadPoolExecutor(workers) as pool:
            running = {pool.submit(work, line) for line in lines}
            try:
                while running:
                    finished, running = wait(running, timeout=0.2, return_when=FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    for line in lines:
                        line.watch(stop=False)
                    if self.progress:
                        self.progress(Progress(self.done, self.total, self.bytes, time.monotonic() - self.began))
            except BaseException:
                self.stop.set()
                for line in lines:
                    line.watch(stop=True)
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

    def _bring_file(self, line: _Line, job: _Job) -> dict[str, str] | None:
        """Fetch one file; return None once it is complete and has its name, else the last answer of each URL."""
        target = self.dataset.folder / job.path
        with suppress(OSError):  # what is there but cannot be read is brought again
            if target.is_file() and not job.fault(target):
                return None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return self._try_urls(line, job, target)
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise
            return {str(target): f"cannot be written ({error.strerror})"}

    def _try_urls(self, line: _Line, job: _Job, target: Path) -> dict[str, str] | None:
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
                    fault = self._receive(line, url, arriving, had, job.most) or job.fault(arriving)
                except requests.HTTPError as error:
                    status = error.response.status_code
                    answers[url] = f"{status} {error.response.reason}"
                    if status < 500 and status not in (408, 429):
                        urls.remove(url)
                except _RefusedError as error:
                    answers[url] = str(error)
                    urls.remove(url)
                except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                    silent = isinstance(error, requests.Timeout) or "timed out" in str(error)
                    answers[url] = f"{type(error).__name__}: {error}"
                    if silent or line.cut:
                        answers[url] = f"silent for {self.timeout:g} s, or all but silent"
                else:
                    if not fault:
                        arriving.replace(target)
                        with self.lock:
                            self.fetched += 1
                        return None
                    arriving.unlink(missing_ok=True)
                    answers[url] = f"sent wrong bytes ({fault})"
                    if had:
                        queue.insert(0, url)  # the wrong ones may be those that were here before
                    else:
                        urls.remove(url)
                finally:
                    line.deadline = math.inf
            if not urls:
                break
        return answers

    def _receive(self, line: _Line, url: str, arriving: Path, had: int, most: int | None) -> str:
        """Append the missing part of a file, or write all of it if the server ignores the range.

        Returns
        -------
        str
            Why it cannot be the file, if it is larger than manifest and server say; else nothing.
        """
        headers = {"Range": f"bytes={had}-"} if had else {}
        with line.get(url, headers) as response:
            if had and response.status_code == 416:
                return ""  # there is nothing beyond what is here: the checksum tells whether that is the file
            response.raise_for_status()
            if response.status_code not in (200, 206):
                raise _RefusedError(f"{response.status_code} {response.reason}, which is not a file")
            appends = response.status_code == 206
            appends &= response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
            size = counted = had if appends else 0
            stated = response.headers.get("Content-Length", "")
            length = size + int(stated) if stated.isdecimal() and len(stated) < 20 else None
            allowed = min((n for n in (most, length) if n), default=_LARGEST_UNSTATED)
            larger = f"more than the {allowed:,} that are stated"
            if not (most or length):
                larger = f"more than {allowed:,}, though no size is stated"
            if (length or 0) > allowed:
                return larger
            with arriving.open("ab" if appends else "wb") as file:
                # Not decoded: data that came compressed against the request would have no stated size.
                while chunk := response.raw.read1(1 << 16, decode_content=False):
                    size += len(chunk)
                    if size > allowed:
                        return larger
                    file.write(chunk)
                    if size - counted >= _LEAST_PROGRESS:
                        counted = size
                        line.progress()
                    with self.lock:
                        self.bytes += len(chunk)
                    if self.stop.is_set():
                        break
            if line.cut or self.stop.is_set():  # then its end is not the file's
                raise requests.Timeout
        return ""
