"""Where things are on disk, and how files are written: whole or not at all, and compact."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).resolve().parent
IN_CHECKOUT = (PACKAGE.parent / "data_manifest.yaml").exists()
# An installed package has the files that its wheel ships (see setup.py) in the same places; nothing is written there.
REPOSITORY = PACKAGE.parent if IN_CHECKOUT else PACKAGE / "shipped"
MANIFEST = REPOSITORY / "data_manifest.yaml"
# Whoever has chapters of their own, with their profiles, outside the checkout names that folder.
NOTEBOOKS = Path(os.environ.get("ECGSTUDY_NOTEBOOKS") or REPOSITORY / "notebooks").resolve()
RESULTS = (REPOSITORY if IN_CHECKOUT else platformdirs.user_data_path("ecgstudy")) / "results"


class BrokenError(ValueError):
    """A file that this package wrote and can no longer read. The message names it and says what to delete."""


def data_root() -> Path:
    """Folder of the real recordings: ``$ECGSTUDY_DATA``, else ``data/`` in the repository or the user's data folder."""
    default = REPOSITORY / "data" if IN_CHECKOUT else platformdirs.user_data_path("ecgstudy")
    return _resolved(os.environ.get("ECGSTUDY_DATA") or default)


def cache_root() -> Path:
    """Folder of what can be computed again: ``$ECGSTUDY_CACHE``, else ``.cache/`` in the repository or the user's."""
    default = REPOSITORY / ".cache" if IN_CHECKOUT else platformdirs.user_cache_path("ecgstudy")
    return _resolved(os.environ.get("ECGSTUDY_CACHE") or default)


def own_cohorts() -> dict[str, Path]:
    """Files that say what each cohort of one's own is (``data.own``), by its name."""
    return {path.stem: path for path in listed(cache_root() / "own", "*.json")}


@lru_cache(maxsize=64)
def code_hash(*patterns: str) -> str:
    """SHA-256 of the package's own files that match, such as ``explain/*.py``; ``**/*.py`` are all of its modules.

    What code has made is named by it, so that it is made again when the code is another.
    """
    files = sorted({path for pattern in patterns for path in PACKAGE.glob(pattern) if not is_sidecar(path.name)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def needs_checkout(what: str) -> None:
    """Raise an error unless the package is in a checkout of the repository, with its chapters, pages and results.

    Raises
    ------
    FileNotFoundError
        that says what cannot be done, and what helps.
    """
    if not (REPOSITORY / "_toc.yml").exists():  # neither wheels nor source archives have one
        raise FileNotFoundError(
            f"{what} needs the repository, with its notebooks and results, which an installed package lacks: "
            "clone it and run `make env` there"
        )


def _resolved(path: str | Path) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except RuntimeError as error:  # a ~user that there is not
        raise ValueError(f"{path}: {error}") from None


@contextmanager
def told_if_broken(path: Path) -> Iterator[None]:
    """Turn a failure to read a file or folder that this package wrote into an error that says what to delete.

    Raises
    ------
    BrokenError
        naming ``path``. Errors of the machine (no memory, a failing disk) pass unchanged.
    """
    try:
        yield
    except (BrokenError, MemoryError):  # told already, or the machine's
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
            raise
        if path.is_relative_to(RESULTS):
            needs_checkout(f"results/{path.relative_to(RESULTS).as_posix()}")
            remedy = f"bring it back with `git restore {path.relative_to(REPOSITORY)}`"
        else:
            remedy = "delete it and run the command again, which makes it anew"
        detail = str(error).partition("\n")[0]
        raise BrokenError(f"{path} is broken ({type(error).__name__}: {detail}): {remedy}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file that this package wrote; a broken one is a ``BrokenError`` that names it."""
    with told_if_broken(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_table(path: Path) -> "pd.DataFrame":
    """Read a Parquet table that this package wrote; a broken one is a ``BrokenError`` that names it."""
    import pandas as pd

    with told_if_broken(path):
        return pd.read_parquet(path)


# What systems, editors and browsers leave beside data, by name: hidden files (macOS's ._name and .DS_Store, notebooks'
# checkpoints), Windows' and Synology's own, backups, unfinished transfers, and where a download came from.
_SIDECAR = re.compile(
    r"\..*|~\$.*|#.*#|.*~|.*\.(tmp|temp|part|partial|crdownload)|.*zone\.identifier|(eh)?thumbs.*\.db|desktop\.ini|"
    r"icon\r|__macosx|__pycache__|@eadir|\$recycle\.bin|system volume information|lost\+found",
    re.IGNORECASE | re.DOTALL,
)


# Errors of the system that say something about the file: it is gone, is not a file, or may not be read.
_OF_THE_FILE = {
    None,  # raised by a library because of what is in the file
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL),
    *(errno.EACCES, errno.EPERM),
}


def by_machine(error: BaseException) -> bool:
    """Whether an error, or its cause, comes from the machine (disk, network, memory) and may pass.

    Such a failure says nothing about the file. The file is read again or the failure is reported, but it is never kept
    as the file's own.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or (isinstance(seen, OSError) and seen.errno not in _OF_THE_FILE):
            return True
        seen = seen.__cause__
    return False


def is_file(path: Path) -> bool:
    """Whether something is a file, or may be one: of what cannot be looked at, reading tells."""
    try:
        return path.is_file()
    except OSError:
        return True


def is_sidecar(name: str) -> bool:
    """Whether a file or folder of this name is not data, but something that a system or program left there."""
    return bool(_SIDECAR.fullmatch(name))


def listed(folder: Path, pattern: str = "*") -> list[Path]:
    """Return everything below a folder that matches a pattern, in order, without sidecars and their contents."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not any(map(is_sidecar, path.relative_to(folder).parts)))


def files_below(
    folder: Path, onerror: Callable[[OSError], None] | None = None, misplaced: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Yield every file below a folder except sidecars, in order. Links to folders are followed, each folder once.

    ``onerror`` gets the error of each folder that cannot be listed; the folder is skipped. A folder whose name ends in
    one of ``misplaced`` stands where a file belongs and is yielded, too.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_sidecar(name))
        names += [name for name in folders if misplaced and name.endswith(misplaced)]
        yield from (Path(parent, name) for name in sorted(names) if not is_sidecar(name))


_LOCK = ".lock"  # of a writer, in its own folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to. What is there is renamed to ``path`` once it is complete and on disk.

    ``path`` may become a file or a folder. On any exception (a full disk, an interrupt) what was written is
    removed and an earlier ``path`` stays as it was. Of several writers the last one to finish wins. Each writes into a
    folder of its own beside ``path``, ``<path>.<random>.partial``, and holds a lock there while it lives. So the next
    writer recognises what a killed one left, on any machine and in any container, and removes it.

    Raises
    ------
    OSError
        with the path and what to do, when the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(path)
        with _own_folder(path) as folder:
            partial = folder / path.name
            yield partial
            for part in [*partial.rglob("*"), partial] if partial.is_dir() else [partial]:
                _flush(part)
            _install(partial, path, folder)
    except BaseException as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        # safetensors, written in Rust, says it in words alone.
        if not full and not any(f"(os error {code})" in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise OSError(
            errno.ENOSPC,
            f"the disk is full, nothing of {path} was kept: free some space there and run the command again",
        ) from error


SEALS = "crc32.json"


@contextmanager
def written_table(path: Path) -> Iterator[Path]:
    """As ``written_whole``, for a table that nothing recomputes: its CRC-32 is kept in ``crc32.json`` beside it."""
    with written_whole(path) as partial:
        yield partial
    seals = path.with_name(SEALS)
    known = read_json(seals) if seals.exists() else {}
    text = json.dumps(known | {path.name: crc32(path)}, indent=1, sort_keys=True)
    with written_whole(seals) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def _own_folder(path: Path) -> Iterator[Path]:
    """Make a new locked folder beside ``path``, and remove it at the end."""
    while True:
        folder = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        folder.mkdir()
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire()
            break
        except (FileNotFoundError, FileExistsError):  # another writer took it for a dead one's before it was locked
            continue
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(path: Path) -> None:
    """Remove what killed writers of ``path`` left: empty, with a lock that nobody holds, or a day without a lock."""
    for left in path.parent.iterdir():
        if not (left.name.startswith(f"{path.name}.") and left.name.endswith(".partial")):
            continue
        with suppress(OSError, Timeout):  # somebody else removes it, or may
            if (left / _LOCK).exists():
                with FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
            elif time.time() - left.lstat().st_mtime > 86400:
                _remove(left)
            else:
                left.rmdir()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _flush(part: Path) -> None:
    """Flush a file or folder to disk. Windows cannot flush folders, and files only if they are open for writing."""
    posix = os.name == "posix"
    if part.is_dir() and not posix:
        return
    handle = os.open(part, os.O_RDONLY if posix else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _install(partial: Path, path: Path, aside: Path) -> None:
    """Rename ``partial`` to ``path``. A folder of that name is moved aside, again if another writer was faster."""
    for turn in range(100):
        try:
            partial.replace(path)
            return
        except OSError as error:  # it exists; Windows reports a missing permission
            if not partial.is_dir() or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
        with suppress(FileNotFoundError):
            path.replace(aside / f"earlier {turn}")
    raise FileExistsError(errno.EEXIST, f"{path} is written by many processes at once: run the command again")


def stamp(file: Path) -> tuple[int, ...]:
    """Size, time of change and whether it may be read of a file: they stand for its content, for recordings are large.

    Of what cannot be looked at, such as a link to nothing, the system's error stands there.
    """
    try:
        stat = file.stat()
    except OSError as error:
        return (error.errno or -1,)
    return stat.st_size, stat.st_mtime_ns, os.access(file, os.R_OK)


def label_tables(folders: Iterable[Path]) -> list[Path]:
    """Tables of labels for the records of these folders: in them, above them, or in the data root."""
    above = {place for folder in (*folders, data_root()) for place in (folder, *folder.parents)}
    names = ("REFERENCE.csv", "ptbxl_database.csv", "ptb-xl/ptbxl_database.csv")
    return sorted(table for place in above for name in names if os.path.exists(table := place / name))  # noqa: PTH110


@contextmanager
def alone(folder: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock of a cached folder. Of several processes that want it, one makes it; the others wait and open it.

    ``waiting`` is printed if this process has to wait.

    Raises
    ------
    PermissionError
        when the cache may not be written to; the message names it and says what to do.
    """
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            print(waiting, file=sys.stderr, flush=True)
        lock.acquire()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        lacks = f"{folder.parent} lacks {folder.name}, and may not be written to"
        remedy = "let ECGSTUDY_CACHE name a folder of yours, into which you may copy that one"
        raise PermissionError(error.errno, f"{lacks}: {remedy}") from error
    try:
        yield
    finally:
        lock.release()


def write_sealed(path: Path, about: Mapping[str, Any]) -> None:
    """Write ``about`` as JSON, with the CRC-32 of itself and of every other file of its folder."""
    files = {file.name: crc32(file) for file in sorted(path.parent.iterdir()) if file != path}
    sealed = {**about, "crc32": files}
    path.write_text(json.dumps({**sealed, "seal": _seal(sealed)}, indent=1), encoding="utf-8")


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what ``write_sealed`` wrote, and check that every file of the folder is unchanged.

    A folder without checksums, such as a committed run, is not checked. A file is read again only if its size or time
    of change differs.

    Raises
    ------
    BrokenError
        naming the file that changed, and the folder to delete.
    """
    with told_if_broken(path.parent):
        about = json.loads(path.read_text(encoding="utf-8"))
        seal = about.pop("seal", None)
        if seal and seal != _seal(about):
            raise ValueError(f"{path.name} is not as it was written")
        for name, crc in about.pop("crc32", {}).items() if seal else ():
            if crc32(path.with_name(name)) != crc:
                raise ValueError(f"{name} is not as it was written")
    return about


def _seal(about: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(about, sort_keys=True).encode()):08x}"


def crc32(file: Path) -> str:
    """CRC-32 of a file in hexadecimal: 2 GB/s, and only one random change in four thousand million goes unnoticed."""
    stat = file.stat()
    return _crc32(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _crc32(file: Path, *_: int) -> str:
    crc = 0
    with file.open("rb") as data:
        while block := data.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def write_compact(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table of answers as Parquet without its index: the same values and types in as few bytes as it can.

    Floating-point columns go by byte planes, whole numbers by their differences, and all else by its repeats. Left out
    are statistics and pandas' own notes, longer than a small table and read by nobody. That halves pandas' default.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    encoding = {}
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if pa.types.is_floating(kind):
            encoding[name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_int32(kind) or pa.types.is_int64(kind):
            encoding[name] = "DELTA_BINARY_PACKED"
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in encoding],
        column_encoding=encoding,
        write_statistics=False,
    )
