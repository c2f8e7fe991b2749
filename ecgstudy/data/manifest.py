"""The data sets of the study (``data_manifest.yaml``): which and where they are, and whether they are complete."""

import hashlib
import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, get_origin, get_type_hints

import yaml

from ecgstudy import paths
from ecgstudy.profiles import nearest
from ecgstudy.text import printable

LARGEST_LIST = 2**26  # bytes of a checksum list, some 500,000 files
_LARGEST_MANIFEST = 2**20  # bytes
_LONGEST_NAME = 240  # bytes: file systems allow 255, and ".partial" comes on top of it
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# Data sets with 12-lead or two-lead signals, in the order of the audit.
SIGNALS = ("ludb", "mitdb", "ptb-xl", "challenge-2021", "cpsc-2018-original")


class DataError(Exception):
    """Data are missing or broken. The message says what, where it was looked for, and the command that helps.

    What does not print in it, such as a control character of a file's name, is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, keep="\n"))


@dataclass(frozen=True)
class File:
    """A file known by its checksum; ``url`` where it has an address of its own."""

    path: str
    sha256: str
    bytes: int = 0
    url: str = ""


@dataclass(frozen=True)
class Archive:
    """A ``.zip`` or ``.tar.gz`` with its checksum as ``algorithm:hex``."""

    url: str
    checksum: str


@dataclass(frozen=True)
class DataSet:
    """One entry of ``data_manifest.yaml``, whose first lines explain the fields."""

    name: str
    title: str
    version: str
    licence: str
    licence_url: str
    citation: str
    landing_page: str
    users: str
    note: str
    records: int
    doi: str = ""
    size: str = ""
    urls: tuple[str, ...] = ()
    take: tuple[str, ...] = ("*",)
    record_files: str = ""
    checksum_file: str = ""
    checksum_file_sha256: str = ""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    archives: tuple[Archive, ...] = ()

    @property
    def most_bytes(self) -> int | None:
        """No file of the data set is larger than its ``size``, which is rounded; None where that is not stated."""
        if not self.size:
            return None
        number, unit = self.size.split()
        return math.ceil(1.1 * float(number) * _UNITS[unit])

    @property
    def folder(self) -> Path:
        """Where the data set is or would be."""
        return paths.data_root() / self.name

    def takes(self, path: str) -> bool:
        """Whether the study uses this file of the data set."""
        return any(fnmatchcase(path, pattern) for pattern in self.take)

    def at_hand(self) -> "AtHand":
        """Find what is at hand of it, without the checksum list, unfinished transfers and what systems leave."""
        unlisted: list[OSError] = []
        found = (file for file in paths.files_below(self.folder, unlisted.append) if paths.is_file(file))
        files = [path for file in found if (path := file.relative_to(self.folder).as_posix()) != self.checksum_file]
        records = [path for path in files if self.record_files and _is_one(path, self.record_files)]
        # A data set that is not there is no folder that cannot be listed.
        unlisted = [error for error in unlisted if not isinstance(error, FileNotFoundError)]
        return AtHand(files, records, unlisted, bool(records if self.record_files else files))

    def list_state(self) -> str:
        """State of the checksum list, as in ``file_states``: ``"wrong"`` if the manifest knows it otherwise."""
        return _state(self.folder / self.checksum_file, self.checksum_file_sha256) if self.checksum_file else "missing"

    def pinned(self) -> bool:
        """Whether the checksum list is at hand and, if the manifest knows its checksum, is the right one."""
        return self.list_state() == "ok"

    def checksums(self) -> dict[str, str]:
        """SHA-256 by path, of every file that the manifest or the list at hand, if it can be read, knows."""
        readable = self.list_state() in ("ok", "wrong")
        listed = read_checksums(self.folder / self.checksum_file) if readable else {}
        return listed | {file.path: file.sha256 for file in self.files}


class AtHand(NamedTuple):
    """What is at hand of a data set: paths relative to its folder."""

    files: list[str]
    records: list[str]  # of each, the one file that every record has
    unlisted: list[OSError]  # of folders that cannot be listed
    any: bool  # a record, or a file of a data set that has no records


def load_manifest(path: Path = paths.MANIFEST) -> dict[str, DataSet]:
    """Read and check the manifest.

    Raises
    ------
    DataError
        naming file, data set and field, when a field is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    try:
        entries = yaml.safe_load(_text(path, _LARGEST_MANIFEST, "strict"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise DataError(f"{path} must map the names of data sets to their fields")
    return {name: _data_set(name, entry, f"{path}: {name}") for name, entry in entries.items()}


def manifest_checksum(path: Path = paths.MANIFEST) -> str:
    """SHA-256 of the manifest."""
    return file_hash(path)


def data_set(name: str, manifest: Path = paths.MANIFEST) -> DataSet:
    """One data set of the manifest; an unknown name is a `DataError` that lists the known ones."""
    known = load_manifest(manifest)
    if name not in known:
        hint = nearest(name, known)
        raise DataError(f"there is no data set {name!r}; {manifest} has {', '.join(known)}{hint}")
    return known[name]


def locate(name: str, manifest: Path = paths.MANIFEST) -> Path:
    """Folder of a data set that is at hand, whole or in part.

    Raises
    ------
    DataError
        saying where it was looked for, which folders there may not be listed, and how to get it.
    OSError
        if the machine fails to list a folder: then nobody knows what is at hand.
    """
    dataset = data_set(name, manifest)
    found = dataset.at_hand()
    if not found.any:
        for error in found.unlisted:
            if paths.by_machine(error):
                raise error
        hidden = "".join(
            f"\n{error.filename} cannot be listed ({error.strerror}): allow it" for error in found.unlisted
        )
        raise DataError(
            f"{name} ({dataset.title}, {dataset.licence}) is not at hand: looked in {dataset.folder}{hidden}\n"
            f"Get it with `ecgstudy data fetch {name}`, or set ECGSTUDY_DATA to the folder that holds {name}/."
        )
    return dataset.folder


@dataclass(frozen=True)
class Report:
    """What `verify` found: paths relative to ``folder``.

    Files and folders (with a slash) are ``unreadable`` for the reason that stands beside them: a disk error, no
    permission, a folder or a link to nothing where a file belongs. No checksum covers the ``extra`` ones.
    """

    name: str
    folder: Path
    ok: int
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    extra: tuple[str, ...]
    records: int
    records_expected: int
    checked: bool
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every record and file is there and every byte is right."""
        faults = self.missing or self.wrong or self.unreadable
        return self.checked and not faults and self.records == self.records_expected

    def text(self, names: int = 5) -> str:
        """The report in words, naming at most ``names`` files of each kind."""
        records = f": {self.records:,} of {self.records_expected:,} records" if self.records_expected else ""
        lines = [f"{self.name} in {self.folder}{records}"]
        if not self.checked:
            lines.append(f"no checksums are at hand, nothing was checked: `ecgstudy data fetch {self.name}` gets them")
        lines.append(f"{self.ok:,} files are right")
        unreadable = tuple(f"{path} ({why})" for path, why in self.unreadable.items())
        kinds = {"missing": self.missing, "wrong": self.wrong, "unreadable": unreadable}
        for kind, found in (kinds | {"without a checksum": self.extra}).items():
            if found:
                more = f" and {len(found) - names:,} more" if len(found) > names else ""
                lines.append(f"{len(found):,} {kind}: {', '.join(found[:names])}{more}")
        if self.missing or self.wrong or self.unreadable:
            lines.append(f"`ecgstudy data fetch {self.name}` brings what is missing, wrong or unreadable, nothing else")
        return "\n".join(lines)


def at_hand(data_sets: Sequence[str] = SIGNALS) -> dict[str, Path]:
    """Folders of those data sets that are under ``$ECGSTUDY_DATA``."""
    found = {}
    for name in data_sets:
        try:
            found[name] = locate(name)
        except DataError:
            continue
    return found


def verify(name: str, manifest: Path = paths.MANIFEST) -> Report:
    """Compare a data set at hand with its checksums and its number of records.

    A checksum list that the manifest does not know counts as wrong; the files are compared with it all the same.
    Files and folders that cannot be read are listed, and stop nothing.

    Raises
    ------
    DataError
        when the data set is not at hand at all, or a line of its checksum list is none.
    """
    dataset = data_set(name, manifest)
    folder, found = dataset.folder, dataset.at_hand()
    if not found.any and not found.unlisted:
        locate(name, manifest)
    known = dataset.checksums()
    states = dict(file_states(folder, known))
    ok = sum(state == "ok" for state in states.values())
    if dataset.checksum_file and (state := dataset.list_state()) not in ("ok", "missing"):
        states[dataset.checksum_file] = state
    unreadable = {path: state for path, state in states.items() if state not in ("ok", "wrong", "missing")}
    for error in found.unlisted:
        unreadable[f"{Path(error.filename).relative_to(folder).as_posix()}/"] = f"{error.strerror}"
    return Report(
        name=name,
        folder=folder,
        ok=ok,
        missing=tuple(sorted(path for path, state in states.items() if state == "missing" and dataset.takes(path))),
        wrong=tuple(sorted(path for path, state in states.items() if state == "wrong")),
        extra=tuple(sorted(path for path in found.files if path not in known)),
        records=len(found.records),
        records_expected=dataset.records,
        checked=bool(known),
        unreadable=dict(sorted(unreadable.items())),
    )


def file_states(folder: Path, checksums: Mapping[str, str], threads: int = 4) -> Iterator[tuple[str, str]]:
    """Yield each path of ``checksums`` with ``"ok"``, ``"wrong"``, ``"missing"`` or why it cannot be read, in order."""
    with ThreadPool(threads) as pool:
        states = pool.imap(lambda path: _state(folder / path, checksums[path]), checksums, chunksize=16)
        yield from zip(checksums, states, strict=True)


def _state(file: Path, checksum: str) -> str:
    """State of a file in a word, or why it cannot be read. Without a checksum every file is right that can be read."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return "a folder, a pipe or a device stands there"
        return "ok" if matches(file, checksum) or not checksum else "wrong"
    except FileNotFoundError:
        return "a link to nothing" if file.is_symlink() else "missing"
    except OSError as error:
        return error.strerror or type(error).__name__


def _is_one(path: str, pattern: str) -> bool:
    """Whether a path is one of a pattern, whose ``*`` stands for a part of one name."""
    return PurePosixPath(path).match(pattern) and path.count("/") == pattern.count("/")


def matches(path: Path, checksum: str) -> bool:
    """Whether a file has this checksum: ``algorithm:hex``, or a bare SHA-256."""
    algorithm, _, digest = checksum.rpartition(":")
    return file_hash(path, algorithm or "sha256") == digest


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list of lines ``SHA-256 path``, as ``sha256sum`` writes them.

    Raises
    ------
    DataError
        naming a line that is something else, a path that leads out of the folder or cannot be a file's, or a path with
        two checksums.
    """
    checksums: dict[str, str] = {}
    try:
        text = _text(path, LARGEST_LIST, "replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); delete it and fetch again") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            match = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*?)\r?", line)
            if not match:
                raise DataError(f"{path}, line {number}: not a SHA-256 and a path; delete the file and fetch again")
            name, checksum = safe_path(match[2], str(path)), match[1].lower()
            if checksums.setdefault(name, checksum) != checksum:
                raise DataError(f"{path} has two sums for {name!r}: delete the file and fetch again")
    if not checksums:
        raise DataError(f"{path} lists no files; delete it and fetch again")
    return checksums


def _text(path: Path, most: int, errors: str) -> str:
    """Text of a regular file (no pipe or device) of at most so many bytes."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        raise DataError(f"{path} is not a file of at most {most:,} bytes; put the right one in its place")
    return path.read_text(encoding="utf-8-sig", errors=errors)


def safe_path(path: str, where: str) -> str:
    """Return ``path`` in plain form if on every system it names a file inside its folder, else raise `DataError`."""
    plain = PurePosixPath(path)
    if not plain.parts or path.startswith("/") or "\\" in path or ":" in path or ".." in plain.parts:
        raise DataError(f"{where} names {path!r}, which leads out of its folder: nothing of it is used")
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in plain.parts)
    if longest > _LONGEST_NAME or re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", path):
        raise DataError(f"{where} names {path[:300]!r}, which no file can be called: nothing of it is used")
    return str(plain)


def _data_set(name: Any, entry: Any, where: str) -> DataSet:
    if not isinstance(name, str) or len(PurePosixPath(name).parts) != 1:
        raise DataError(f"{where}: a data set is called by one word, as its folder is")
    safe_path(name, where)
    dataset = _build(DataSet, {"name": name, **entry} if isinstance(entry, dict) else entry, where)
    named = [path for path in (dataset.checksum_file, dataset.record_files) if path]
    for path in [*(file.path for file in dataset.files), *named]:
        safe_path(path, where)
    sums = [file.sha256 for file in dataset.files] + [dataset.checksum_file_sha256] * bool(dataset.checksum_file_sha256)
    for checksum in sums:
        if not re.fullmatch("[0-9a-f]{64}", checksum):
            raise DataError(f"{where}: {checksum!r} is not a SHA-256 in lower case")
    for archive in dataset.archives:
        algorithm, _, digest = archive.checksum.rpartition(":")
        known = hashlib.new(algorithm).digest_size if algorithm in hashlib.algorithms_guaranteed else 0
        if not known or not re.fullmatch(f"[0-9a-f]{{{2 * known}}}", digest):
            raise DataError(f"{where}: {archive.checksum!r} is not a checksum: write it as algorithm:hex")
    if dataset.size and not re.fullmatch(rf"\d+(\.\d+)? ({'|'.join(_UNITS)})", dataset.size, re.ASCII):
        raise DataError(f"{where}: {dataset.size!r} is not a size: write it as 25 MB")
    return dataset


def _build(kind: type, entry: Any, where: str) -> Any:
    """Make a dataclass of a YAML mapping; its annotations say which fields there are and of what kind."""
    if not isinstance(entry, dict):
        raise DataError(f"{where} must be a mapping of fields")
    known = {field.name: field for field in fields(kind)}
    required = {f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING}
    for wrong, what in ((set(entry) - set(known), "unknown"), (required - set(entry), "missing")):
        if wrong:
            raise DataError(f"{where}: {what} field {', '.join(sorted(map(str, wrong)))}")
    values = {}
    for key, value in entry.items():
        hint = get_type_hints(kind)[key]
        wanted = {tuple: list}.get(origin := get_origin(hint) or hint, origin)
        if not isinstance(value, wanted):
            raise DataError(f"{where}: field {key} must be {wanted.__name__}, not {value!r}")
        if hint == tuple[str, ...] and not all(isinstance(one, str) for one in value):
            raise DataError(f"{where}: field {key} must be a list of texts, not {value!r}")
        item = {"files": File, "archives": Archive}.get(key)
        if item:
            value = [_build(item, one, f"{where}: {key}[{index}]") for index, one in enumerate(value)]
        values[key] = tuple(value) if wanted is list else value
    return kind(**values)
