"""A cohort: many records at one rate and in one lead order, in a memory-mapped cache that is built once."""

import hashlib
import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ecgstudy.data import labels as label_table
from ecgstudy.data import manifest, shards
from ecgstudy.data.records import LEADS, Record, RecordError, find_records, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator import variety as varieties
from ecgstudy.paths import (
    alone,
    by_machine,
    cache_root,
    data_root,
    is_sidecar,
    label_tables,
    read_json,
    read_sealed,
    stamp,
    told_if_broken,
    write_sealed,
    written_whole,
)
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.profiles import ProfileError, typed
from ecgstudy.text import printable, without_folders

T = TypeVar("T")

# Increased when the same input would give another cache.
CACHE_VERSION = 1
# The real nine-class cohort, in this order: where one signal stands under two names, the first is kept.
REAL_SOURCES = ("cpsc-2018-original", "ptb-xl", "challenge-2021")


_COLUMNS = (
    *("name", "source", "patient_id", "signal_hash", "fs", "seconds", "samples", "offset"),
    *("age", "sex", "fold", "codes", "notes"),
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Many records at one rate; ``cohort[i]`` is the signal (leads, samples) float32 in mV of record ``i``.

    Attributes
    ----------
    folder
        Where the cache is.
    fs
        Rate in Hz of all records.
    table
        One row a record: name, source, patient_id, signal_hash, fs (as recorded), seconds, samples, offset, age, sex,
        fold (the data set's official one), codes and notes (joined by ``|``).
    labels
        (records, classes) booleans in the order of ``classes``.
    left_out
        Records that are not in the cohort: name, reason (unreadable, or the same signal as another), detail.
    checksum
        Hash of the records' signals and labels as they were read, and of the rate; it names the cohort in every run.
        Patients and folds are not in it: a run depends on them only through its split, and its name holds the split.
    dtype
        On disk: ``float32`` mV or ``int16`` microvolts.
    classes
        Names of the classes: the study's nine, or those of a cohort of one's own.
    own
        Whether it is a cohort of one's own (``data.own``), whose table may say the fold of every record.
    shards, places
        Of a cohort that was built in shards (``data.shards``): their folders, and (records, 2) the shard of each record
        and where its samples begin there. Of one built in one piece, all signals are in ``folder``.
    """

    folder: Path
    fs: float
    table: pd.DataFrame
    labels: NDArray[np.bool_]
    left_out: pd.DataFrame
    checksum: str
    dtype: str = "float32"
    classes: tuple[str, ...] = label_table.CLASSES
    own: bool = False
    shards: tuple[Path, ...] = ()
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, record: int) -> NDArray[np.float32]:
        file, offset, samples = self._place(record)
        # Mapped record by record: a map of the whole file would count as this process's memory, page by page.
        stored = np.memmap(file, self.dtype, "r", offset, (len(LEADS), samples))
        return stored.astype(np.float32) * np.float32(1e-3) if self.dtype == "int16" else np.asarray(stored)

    def _place(self, record: int) -> tuple[Path, int, int]:
        """File of a record's signal, the byte that it begins at, and the samples of a lead."""
        if self.places is None:
            file, start = self.folder / "signals.bin", int(self.table["offset"].iat[record])
        else:
            file, start = shards.signals(self.shards[self.places[record, 0]]), int(self.places[record, 1])
        return file, start * len(LEADS) * np.dtype(self.dtype).itemsize, int(self.table["samples"].iat[record])

    def ahead(self, records: Iterable[int]) -> None:
        """Let the system begin to read records that will soon be asked for, side by side, if it can (Linux does)."""
        if not hasattr(os, "posix_fadvise"):
            return
        of_file: dict[Path, list[list[int]]] = {}
        for record in records:
            file, *part = self._place(record)
            of_file.setdefault(file, []).append(part)
        for file, parts in of_file.items():
            with file.open("rb") as opened:
                for offset, samples in parts:
                    length = samples * len(LEADS) * np.dtype(self.dtype).itemsize
                    os.posix_fadvise(opened.fileno(), offset, length, os.POSIX_FADV_WILLNEED)

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.bool_]]]:
        """Records in order, ``size`` at a time: indices, signals (size, leads, longest), validity (size, longest)."""
        for first in range(0, len(self), size):
            indices = np.arange(first, min(first + size, len(self)))
            signals = [self[int(i)] for i in indices]
            longest = max(s.shape[1] for s in signals)
            x = np.zeros((len(indices), len(LEADS), longest), dtype=np.float32)
            valid = np.zeros((len(indices), longest), dtype=bool)
            for row, s in enumerate(signals):
                x[row, :, : s.shape[1]], valid[row, : s.shape[1]] = s, True
            yield indices, x, valid

    def folds(self, k: int, seed: int = 0, among: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
        """Fold 0 … k-1 of each record (-1 for those not ``among``); the same for one seed on every machine.

        No patient and no signal is in two folds; the classes are spread evenly over the folds (iterative
        stratification, Sechidis et al. 2011), counted by patient.
        """
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # brings scikit-learn, a second to load

        among = np.arange(len(self)) if among is None else np.asarray(among)
        group = patient_groups(self.table.iloc[among])
        members = pd.DataFrame(self.labels[among]).groupby(group).max().sort_index()
        # A last column for "none of the classes", so that these records are spread evenly, too.
        y = np.column_stack([members, ~members.any(axis=1)]).astype(int)
        if len(y) < k:
            raise ValueError(f"{len(y)} patients cannot be split into {k} folds: take a larger cohort or fewer folds")
        fold_of_group = np.empty(len(y), dtype=np.intp)
        stratifier = MultilabelStratifiedKFold(n_splits=k, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(stratifier.split(y, y)):
            fold_of_group[test] = number
        fold = np.full(len(self), -1, dtype=np.intp)
        fold[among] = fold_of_group[members.index.get_indexer(group)]
        return fold

    def given_folds(self) -> NDArray[np.intp] | None:
        """Folds that the table of one's own cohort gives, numbered from the highest (0); None where it gives none.

        The highest is the one to test on. A patient's or signal's records all go where the highest of them is.
        """
        if not self.own or self.table["fold"].isna().any() or self.table["fold"].nunique() < 2:
            return None
        group = patient_groups(self.table)
        fold = self.table["fold"].astype(int).groupby(group).transform("max")
        return np.unique(-fold.to_numpy(), return_inverse=True)[1].astype(np.intp)

    def test(self, seed: int, fold: int = 0) -> NDArray[np.intp]:
        """Records to test on: one of five folds (``folds``), or of those that the table gives (``given_folds``)."""
        given = self.given_folds()
        return np.flatnonzero((self.folds(5, seed) if given is None else given) == fold)

    def official_split(self) -> dict[str, NDArray[np.intp]]:
        """PTB-XL's own split of the records that have an official fold: 1 to 8 train, 9 chooses, 10 tests.

        The official folds keep patients together, yet 145 and 463 are one signal under two patients in two folds: a
        record whose patient or signal is also in a later part is left out of the earlier one.
        """
        fold, group = self.table["fold"].fillna(0).to_numpy(dtype=int), patient_groups(self.table)
        test, valid = np.flatnonzero(fold == 10), np.flatnonzero(fold == 9)
        valid = valid[~np.isin(group[valid], group[test])]
        train = np.flatnonzero((fold >= 1) & (fold <= 8))
        return {"train": train[~np.isin(group[train], group[[*valid, *test]])], "valid": valid, "test": test}


def patient_groups(table: pd.DataFrame) -> NDArray[np.int32]:
    """Number the groups of records that must stay together: linked by patients or signals, also through others."""
    n = len(table)
    patient = pd.factorize(table["patient_id"], sort=True)[0]
    signal_ = pd.factorize(table["signal_hash"], sort=True)[0] + patient.max() + 1
    records = np.tile(np.arange(n), 2)
    nodes = n + np.concatenate([patient, signal_])
    size = int(nodes.max()) + 1
    graph = coo_array((np.ones(2 * n), (records, nodes)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n]


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a cohort is made: whoever has it can make the cohort, or one of its shards (``data.shards``).

    Attributes
    ----------
    fs, identity, dtype, by_content, classes
        As for ``build_cohort``.
    total
        How many records there are to read or simulate.
    read
        ``read(first, last)`` reads or simulates those from ``first`` on, ``last`` excluded, one after the other.
    command
        ``ecgstudy data build`` with the arguments that name the cohort.
    """

    fs: float
    identity: dict[str, Any]
    total: int
    read: Callable[[int, int], Iterator[Record | tuple[str, Exception]]]
    dtype: str = "float32"
    by_content: bool = True
    classes: Sequence[str] = label_table.CLASSES
    command: str = "ecgstudy data build"

    @property
    def folder(self) -> Path:
        """Where the cohort is, or will be."""
        return _folder(self._config)

    @property
    def _config(self) -> dict[str, Any]:
        return _config(self.fs, self.dtype, self.identity, self.classes)

    def cohort(self, progress: Callable[[int, int | None], None] | None = None) -> Cohort:
        """Make the cohort in this process, or open it."""
        return build_cohort(
            self.read(0, self.total),
            fs=self.fs,
            identity=self.identity,
            dtype=self.dtype,
            by_content=self.by_content,
            classes=self.classes,
            total=self.total,
            progress=progress,
        )

    def shard(self, number: int, count: int, progress: Callable[[int, int | None], None] | None = None) -> Path:
        """Make a shard, the ``number``-th of ``count``, or find it made; return its folder.

        Raises
        ------
        ValueError
            when there is no such shard, or the one that is there is not as it was written.
        """
        first, last = shards.bounds(self.total, number, count)
        folder = shards.folder_of(self.folder, number, count)
        with alone(folder):
            if (folder / shards.SEALED).exists():
                read_sealed(folder / shards.SEALED)
                return folder
            with written_whole(folder) as partial:
                partial.mkdir()
                records = self.read(first, last)
                kept, left_out = _write_signals(partial / "signals.bin", records, self._config, last - first, progress)
                kept.to_parquet(partial / "table.parquet")
                left_out.to_parquet(partial / "left_out.parquet")
                write_sealed(partial / shards.SEALED, {"command": self.command})
        return folder


def build_cohort(
    records: Iterable[Record | tuple[str, Exception]],
    *,
    fs: float,
    identity: dict[str, Any],
    dtype: str = "float32",
    by_content: bool = True,
    classes: Sequence[str] = label_table.CLASSES,
    total: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Cohort:
    """Resample records into a memory-mapped cache, or open the one that is there.

    Parameters
    ----------
    records
        Records in memory (a list, say, or an iterator over one) name the cache by their content. A generator that
        reads records as it goes is asked for one at a time, and only if there is no cache yet, so that memory does not
        grow with their signals. A pair (name, error) stands for a record that cannot be read: it is left out and
        listed. Of records with the same signal the first is kept.
    fs
        Rate of the cohort in Hz.
    identity
        What the records are (JSON-able). With ``fs`` and ``dtype`` it names the cache. For a generator it must hold
        everything that its records depend on.
    dtype
        ``float32``, or ``int16`` in steps of 1 µV within ±32.7 mV for half the disk.
    by_content
        Whether ``checksum`` is a hash of what was read, or of ``identity`` (for simulated records, whose last bit may
        differ between machines).
    classes
        Names of the classes that the records' labels are of, in the order of the columns.
    total, progress
        ``progress(done, total)`` is called after each record.

    Raises
    ------
    RecordError
        if the machine failed while a record was read (a disk error, no memory): nothing is kept. Or if a cache is not
        as it was written; the message names the folder to delete.
    """
    config = _config(fs, dtype, identity, classes)
    known, records = _in_memory(records)
    for named in (config, config | {"in_memory": known}):
        folder = _folder(named)
        # What is there is opened without its lock: a class may share a cache that it cannot write to. Of two processes
        # that want the same cohort the second waits for the first instead of building it again.
        if not (folder / "cohort.json").exists():
            with alone(folder):
                if not (folder / "cohort.json").exists():
                    _make(folder, records, config, known, by_content, total, progress)
        about = read_sealed(folder / "cohort.json")
        if known in (None, about.get("in_memory")) or "checksum" not in about:  # which _open reports
            break  # else the cache of this identity was made from other records, or from the same with other labels
    return _open(folder)


def _make(
    folder: Path,
    records: Iterable[Record | tuple[str, Exception]],
    config: dict[str, Any],
    known: str | None,
    by_content: bool,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Write the cache of a cohort, from its shards where it was begun in shards."""
    parts = shards.all_of(folder, number) if (number := shards.begun(folder)) else ()
    with written_whole(folder) as partial:
        partial.mkdir()
        if parts:
            about = _join(partial, parts, config, by_content)
        else:
            about = _write(partial, records, config, by_content, total, progress)
        write_sealed(partial / "cohort.json", config | {"in_memory": known} | about)


def _config(
    fs: float, dtype: str, identity: Mapping[str, Any], classes: Sequence[str] = label_table.CLASSES
) -> dict[str, Any]:
    # What names the caches and runs of the nine stays as it was.
    others = {} if tuple(classes) == label_table.CLASSES else {"classes": list(classes)}
    return {"version": CACHE_VERSION, "fs": fs, "dtype": dtype, **identity, **others}


def _folder(named: Mapping[str, Any]) -> Path:
    # Caches from before they had checksums are not opened.
    key = hashlib.sha256(json.dumps({**named, "layout": 2}, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / "cohorts" / key


def _in_memory(
    records: Iterable[Record | tuple[str, Exception]],
) -> tuple[str | None, Iterable[Record | tuple[str, Exception]]]:
    """Hash of everything known about records in memory; None for records that are still to be read."""
    if operator.length_hint(records, -1) < 0:
        return None, records
    records, digest = list(records), hashlib.sha256()
    for record in records:
        about = [str(part) for part in record] if isinstance(record, tuple) else _about(record)
        digest.update(repr(about).encode("utf-8", "backslashreplace"))
    return digest.hexdigest(), records


def _about(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "source": record.source,
        "patient_id": record.patient_id,
        "signal_hash": record.signal_hash,
        "leads": record.leads,
        "fs": float(record.fs),
        "labels": sorted(record.labels),
        "age": record.age,
        "sex": record.sex,
        "fold": record.fold,
        "codes": "|".join(record.codes),
        "notes": "|".join(record.notes),
    }


def _write(
    folder: Path,
    records: Iterable[Record | tuple[str, Exception]],
    config: dict[str, Any],
    by_content: bool,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> dict[str, Any]:
    """Write signals and tables of a cohort; return its checksum and the samples of a lead in all records."""
    kept, left_out = _write_signals(folder / "signals.bin", records, config, total, progress)
    return _write_tables(folder, kept, left_out, config, by_content)


def _join(folder: Path, parts: Sequence[Path], config: dict[str, Any], by_content: bool) -> dict[str, Any]:
    """Write the tables of a cohort whose signals are in shards; return what ``_write`` does, and of the shards."""
    kept, left_out, places = shards.join(parts)
    about = _write_tables(folder, kept, left_out, config, by_content)
    np.save(folder / "places.npy", places)
    return about | {"shards": len(parts), "command": read_json(parts[0] / shards.SEALED)["command"]}


def _write_signals(
    file: Path,
    records: Iterable[Record | tuple[str, Exception]],
    config: dict[str, Any],
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the signals of records; return what is known of those kept and of those left out.

    Besides the columns of a cohort's tables they have ``place``, among all that were read; those left out have their
    ``signal_hash``.
    """
    rows, labels, left_out = [], [], []
    seen: dict[str, str] = {}
    classes, offset = tuple(config.get("classes", label_table.CLASSES)), 0
    with file.open("wb") as out:
        for done, record in enumerate(records, start=1):
            if progress:
                progress(done, total)
            if isinstance(record, tuple):
                name, error = record
                if by_machine(error):
                    raise RecordError(f"{name} could not be read, nothing of the cohort was kept: {error}") from error
                detail = printable(without_folders(str(error)))
                about = {"name": printable(name), "reason": "unreadable", "detail": detail, "signal_hash": ""}
                left_out.append({**about, "place": done})
                continue
            reason = _unfit(record, seen)
            if reason:
                left_out.append({"name": record.name, **reason, "signal_hash": record.signal_hash, "place": done})
                continue
            seen[record.signal_hash] = record.name
            x = resample(fill_gaps(record.signal), record.fs, config["fs"])
            if config["dtype"] == "int16":
                x = np.clip(np.rint(x * 1000), -32767, 32767).astype(np.int16)
            out.write(np.ascontiguousarray(x).data)
            labels.append(record.labels)
            about = _about(record) | {"seconds": record.seconds, "samples": x.shape[1], "offset": offset, "place": done}
            rows.append({column: about[column] for column in (*_COLUMNS, "place")})
            offset += x.shape[1]
    kept = pd.DataFrame(rows, columns=[*_COLUMNS, "place"])
    kept[list(classes)] = label_table.multi_hot(labels, classes)
    return kept, pd.DataFrame(left_out, columns=["name", "reason", "detail", "signal_hash", "place"])


def _write_tables(
    folder: Path, kept: pd.DataFrame, left_out: pd.DataFrame, config: dict[str, Any], by_content: bool
) -> dict[str, Any]:
    """Write the tables of a cohort; return its checksum and the samples of a lead in all records.

    Raises
    ------
    ValueError
        when no record is left.
    """
    if not len(kept):
        raise ValueError(f"no record to make a cohort of ({len(left_out)} left out): {config}")
    classes = tuple(config.get("classes", label_table.CLASSES))
    kept[[*_COLUMNS, *classes]].to_parquet(folder / "table.parquet")
    # From its rows, so that its types are the same however it came about.
    columns = ["name", "reason", "detail"]
    pd.DataFrame(left_out[columns].to_dict("records"), columns=columns).to_parquet(folder / "left_out.parquet")
    named_by = config["fs"] if classes == label_table.CLASSES else [config["fs"], *classes]
    digest = hashlib.sha256(json.dumps(named_by if by_content else config).encode())
    if by_content:
        names, y = np.array(classes, dtype=object), kept[list(classes)].to_numpy(dtype=bool)
        for signal_hash, row in zip(kept["signal_hash"], y, strict=True):
            digest.update(f"{signal_hash} {sorted(names[row])}".encode())
    return {"checksum": digest.hexdigest()[:16], "samples": int(kept["samples"].sum())}


def _unfit(record: Record, seen: dict[str, str]) -> dict[str, str] | None:
    if record.leads != LEADS:
        return {"reason": "not twelve leads", "detail": " ".join(record.leads)}
    if record.signal_hash in seen:
        return {"reason": shards.SAME, "detail": seen[record.signal_hash]}
    return None


def _open(folder: Path) -> Cohort:
    about = read_sealed(folder / "cohort.json")
    classes = tuple(about.get("classes", label_table.CLASSES))
    number = about.get("shards", 0)
    parts = shards.all_of(folder, number, about["command"]) if number else ()
    with told_if_broken(folder):
        table = pd.read_parquet(folder / "table.parquet")
        return Cohort(
            folder=folder,
            fs=about["fs"],
            table=table.drop(columns=list(classes)),
            labels=table[list(classes)].to_numpy(dtype=bool),
            left_out=pd.read_parquet(folder / "left_out.parquet"),
            checksum=about["checksum"],
            dtype=about["dtype"],
            classes=classes,
            own="own" in about,
            shards=parts,
            places=np.load(folder / "places.npy", mmap_mode="r") if parts else None,
        )


def record_paths(data_sets: Sequence[str], limit: int | None = None) -> list[Path]:
    """Every record of data sets under ``$ECGSTUDY_DATA``, or at most ``limit`` of each folder, evenly spaced.

    A folder that may not be listed is returned, too, so that ``read_all`` reports it.

    Raises
    ------
    manifest.DataError
        when a data set is not at hand; the message says which, where it was looked for, and how to fetch it.
    """
    by_folder: dict[Path, list[Path]] = {}
    unlisted: list[Path] = []
    for data_set in data_sets:
        for path in find_records(manifest.locate(data_set), unlisted):
            by_folder.setdefault(path.parent, []).append(path)
    thinned = [paths[:: max(1, len(paths) // limit)][:limit] if limit else paths for paths in by_folder.values()]
    return [*(path for paths in thinned for path in paths), *unlisted]


def read_all(
    paths: Sequence[Path], machine: list[RecordError] | None = None
) -> Iterator[Record | tuple[str, Exception]]:
    """Read records one after the other; one that cannot be read is yielded as (name, error).

    The errors name files relative to the data root, because pages and tables that readers publish show them.

    Parameters
    ----------
    machine
        Gets the errors of records that the machine fails to read, also a second time (see ``by_machine``). The others
        are read all the same, and nothing of them may be kept.

    Raises
    ------
    RecordError
        if the machine fails to read a record and there is no such list.
    """
    for path in paths:
        try:
            yield patiently(read_record, path)
        except RecordError as error:
            if not by_machine(error):
                yield told(path, error)
            elif machine is None:
                raise
            else:
                machine.append(error)


def patiently(read: Callable[[Path], T], path: Path) -> T:
    """Read a file, and try again if the machine failed: a passing fault must not cost an hour's work."""
    try:
        return read(path)
    except RecordError as error:
        if not by_machine(error):
            raise
    return read(path)


def told(path: Path, error: RecordError) -> tuple[str, RecordError]:
    """Name of a record that cannot be read, and its error without this machine's folders."""
    elsewhere = None if path.is_relative_to(data_root()) else path.parent
    return printable(path.stem), RecordError(printable(without_folders(str(error), elsewhere)))


def skipping(
    read: Callable[[Path], T], paths: Iterable[Path], failed: list[dict[str, str]] | None = None
) -> Iterator[tuple[Path, T]]:
    """Yield paths and what was read; those that cannot be read are left out and added to ``failed`` (name, error)."""
    for path in paths:
        try:
            yield path, patiently(read, path)
        except RecordError as error:
            if by_machine(error):
                raise
            if failed is not None:
                name, short = told(path, error)
                failed.append({"name": name, "error": str(short)})


def real_cohort(
    fs: float,
    *,
    sources: Sequence[str] = REAL_SOURCES,
    limit: int | None = None,
    dtype: str = "float32",
    progress: Callable[[int, int | None], None] | None = None,
) -> Cohort:
    """Make the real nine-class cohort: every distinct 12-lead record of the sources, which must all be at hand.

    Parameters
    ----------
    fs
        Rate in Hz.
    sources
        Data sets, in order of precedence.
    limit
        Take at most so many records of each source folder, evenly spaced (for tests).
    dtype, progress
        As for ``build_cohort``.

    Raises
    ------
    manifest.DataError
        when a data set is not at hand, or files changed while they were read.
    """
    return real_recipe(fs, sources=sources, limit=limit, dtype=dtype).cohort(progress)


def real_recipe(
    fs: float, *, sources: Sequence[str] = REAL_SOURCES, limit: int | None = None, dtype: str = "float32"
) -> Recipe:
    """How ``real_cohort`` makes a cohort of the recordings as they are now."""
    paths = record_paths(sources, limit)
    before = dependencies(paths)
    identity = {
        "cohort": "real",
        "manifest": manifest.manifest_checksum(),
        "records": hashlib.sha256(repr([os.path.relpath(path, data_root()) for path in paths]).encode()).hexdigest(),
        "files": before,
        "reader": reader(),
    }

    def read(first: int, last: int) -> Iterator[Record | tuple[str, Exception]]:
        yield from read_all(paths[first:last])
        if dependencies(paths) != before:
            raise manifest.DataError("files of the cohort changed while it was built, nothing was kept: run again")

    return Recipe(fs, identity, len(paths), read, dtype)


def dependencies(paths: Sequence[Path]) -> str:
    """Hash of everything that reading the records depends on: the files beside them, and tables of labels above."""
    root, folders = data_root(), {path.parent for path in paths}
    beside = (file for folder in folders for file in folder.iterdir() if not is_sidecar(file.name))
    files = sorted({*beside, *label_tables(folders)})
    return hashlib.sha256(repr([(os.path.relpath(file, root), stamp(file)) for file in files]).encode()).hexdigest()


@cache
def reader() -> str:
    """Hash of the code that reads, since other code may find other labels in the same files."""
    code = [
        *Path(__file__).parent.glob("*.py"),
        *Path(__file__).parent.glob("devices/*.py"),
        Path(__file__).parents[1] / "preprocessing.py",
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(code))).hexdigest()


class Simulated(TypedDict, total=False):
    """What simulated records are besides their number and rate: see ``data.simulator.synthetic``."""

    seed: int
    seconds: float
    balance: float
    variety: str


def synthetic_cohort(
    records: int,
    fs: float,
    *,
    dtype: str = "float32",
    progress: Callable[[int, int | None], None] | None = None,
    **simulated: Unpack[Simulated],
) -> Cohort:
    """Simulate a cohort: ``records``, by default of ten seconds and of seed 0, the same for the same arguments."""
    return synthetic_recipe(records, fs, dtype=dtype, **simulated).cohort(progress)


def synthetic_recipe(records: int, fs: float, *, dtype: str = "float32", **simulated: Unpack[Simulated]) -> Recipe:
    """How ``synthetic_cohort`` makes a cohort."""
    seed, variety = simulated.get("seed", 0), simulated.get("variety", "")
    seconds, balance = simulated.get("seconds", 10.0), simulated.get("balance", 0.5)
    identity: dict[str, Any] = {"cohort": "synthetic", "simulator": synthetic.VERSION, "records": records}
    identity |= {"seed": seed, "seconds": seconds, "balance": balance}
    if steps := varieties.steps_of(variety):  # else what names caches and runs stays as it was
        identity |= {"variety": sorted(steps), "varieties": varieties.version_of(steps)}

    def read(first: int, last: int) -> Iterator[Record]:
        for index in range(first, last):
            yield synthetic.simulate(index, seed, fs=fs, seconds=seconds, balance=balance, variety=variety).record

    return Recipe(fs, identity, records, read, dtype, by_content=False)


def named_cohort(
    name: str,
    fs: float,
    *,
    records: int | None,
    balance: float | None,
    seed: int,
    variety: str = "",
    tell: bool = True,
    dtype: str = "float32",
    progress: Callable[[int, int | None], None] | None = None,
) -> Cohort:
    """Make the cohort that a notebook's parameters name.

    Parameters
    ----------
    name
        ``synthetic``; ``real``, of the sources that are at hand; or one of your own (``data.own``).
    fs
        Rate in Hz.
    records
        How many to simulate; of a real cohort, at most so many of each folder, of your own at most so many; all if
        None.
    balance, seed, variety
        Of simulated records.
    tell
        Print what a real cohort lacks: data sets that are not at hand, records that cannot be read.
    dtype, progress
        As for ``build_cohort``.

    Raises
    ------
    ProfileError
        when there is no such cohort, or when a simulated one has no number of records or no balance.
    manifest.DataError
        when none of the real sources is at hand.
    """
    if typed("cohort", name) == "synthetic":
        made_of: dict[str, Any] = {"records": records, "balance": balance, "seed": seed, "variety": variety}
        return named_recipe(name, fs, **made_of, dtype=dtype).cohort(progress)
    if name != "real":
        from ecgstudy.data import own  # it builds on this module

        return own.cohort_of(name, fs, limit=records, tell=tell, dtype=dtype, progress=progress)
    there = real_sources()
    lacking = [source for source in REAL_SOURCES if source not in there]
    if lacking and tell:
        print(f"The real cohort is here of {' and '.join(there)} alone; not at hand: {', '.join(lacking)}.")
    made = real_cohort(fs, sources=there, limit=records, dtype=dtype, progress=progress)
    unread = made.left_out[made.left_out["reason"] == "unreadable"]
    if len(unread) and tell:
        print(f"It lacks what could not be read: {in_short(unread['detail'])}.")
    return made


def named_recipe(
    name: str,
    fs: float,
    *,
    records: int | None,
    balance: float | None,
    seed: int,
    variety: str = "",
    dtype: str = "float32",
) -> Recipe:
    """How ``named_cohort`` makes a cohort; parameters and errors are its."""
    if typed("cohort", name) == "synthetic":
        if records is None or balance is None:
            raise ProfileError(
                f"records={records}, balance={balance}: a simulated cohort needs both, as -p records=2000 -p balance=1"
            )
        recipe = synthetic_recipe(records, fs, seed=seed, balance=balance, dtype=dtype, variety=variety)
    elif name == "real":
        recipe = real_recipe(fs, sources=real_sources(), limit=records, dtype=dtype)
    else:
        from ecgstudy.data import own  # it builds on this module

        recipe = own.recipe(name, fs, limit=records, dtype=dtype)
    if variety and name != "synthetic":
        raise ProfileError(f"variety={variety}: only simulated records differ by it, and {name!r} are recordings")
    drawn = {"balance": balance, "seed": seed, "variety": variety or None} if name == "synthetic" else {}
    given = {"cohort": name, "fs": fs, "records": records, **drawn}
    arguments = " ".join(f"--{option} {value}" for option, value in given.items() if value is not None)
    return replace(recipe, command=f"ecgstudy data build {arguments}")


def refuse_unread(failed: Sequence[Mapping[str, str]]) -> None:
    """Raise a `DataError` if records could not be read, where a committed number is to be of all of them."""
    if failed:
        raise manifest.DataError(
            f"{len(failed):,} records cannot be read, and what is committed is of all of them: "
            f"{in_short([one['error'] for one in failed])}"
        )


def in_short(errors: Sequence[str], most: int = 5) -> str:
    """The first errors, and how many more there are."""
    more = f"; and {len(errors) - most:,} more" if len(errors) > most else ""
    return "; ".join(errors[:most]) + more


def real_sources() -> tuple[str, ...]:
    """Those of ``REAL_SOURCES`` that are at hand.

    Raises
    ------
    manifest.DataError
        when none is: where they were looked for, the command that fetches one.
    """
    there = tuple(manifest.at_hand(REAL_SOURCES))
    if not there:
        raise manifest.DataError(
            f"no real recordings are at hand: looked in {data_root()} for {', '.join(REAL_SOURCES)}\n"
            f"Get one with `ecgstudy data fetch {REAL_SOURCES[-1]}`, or set ECGSTUDY_DATA to the folder that holds it."
        )
    return there


def simulated_checksum(records: int, fs: float, *, dtype: str = "float32", **simulated: Unpack[Simulated]) -> str:
    """Checksum of a ``synthetic_cohort`` of the present simulator, without simulating it."""
    config = synthetic_recipe(records, fs, dtype=dtype, **simulated)._config
    return hashlib.sha256(json.dumps(config).encode()).hexdigest()[:16]
