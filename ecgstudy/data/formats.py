"""Read the file formats of the field, record by record: WFDB headers, signals and annotations, MATLAB structs."""

import csv
import math
import re
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy.data.labels import CLASSES, MISSING, SCP_STATEMENTS, classes_of, codes_in, spelled
from ecgstudy.data.leads import CANONICAL, LEADS, residuals
from ecgstudy.paths import data_root

with warnings.catch_warnings():  # wfdb 4.3 uses what pandas 3 deprecates; readers of the book need not know
    warnings.simplefilter("ignore", DeprecationWarning)
    import wfdb

T = TypeVar("T")
Number = TypeVar("Number", int, float)

_PTBXL_SEX = {"0": "M", "1": "F", "false": "M", "true": "F"}
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}
_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}
_MV_PER_UNIT |= {"millivolt": 1.0, "microvolt": 1e-3, "nanovolt": 1e-6, "volt": 1e3}
_MV_PER_UNIT |= {f"{name}s": factor for name, factor in _MV_PER_UNIT.items() if name.endswith("volt")}

# Folder (as in the upstream download) → source.
_FOLDERS = {
    "ludb": "LUDB",
    "mitdb": "MIT-BIH",
    "cpsc-2018-original": "CPSC 2018",
    "cpsc_2018": "cpsc_2018",
    "cpsc_2018_extra": "cpsc_2018_extra",
    "georgia": "georgia",
    "ningbo": "ningbo",
    "chapman_shaoxing": "chapman_shaoxing",
    "ptb-xl": "ptb-xl",
    "ptb": "ptb",
    "st_petersburg_incart": "st_petersburg_incart",
    "incartdb": "St Petersburg INCART",
}
# Sources of the Challenge whose integers are microvolts, whatever a header says (St Petersburg's are not).
_MICROVOLT_SOURCES = {"cpsc_2018", "cpsc_2018_extra", "georgia", "ningbo", "chapman_shaoxing", "ptb-xl", "ptb"}
_CHALLENGE_PREFIXES = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "E": "georgia",
    "HR": "ptb-xl",
    "S": "ptb",
    "I": "st_petersburg_incart",
}
_LAST_CHAPMAN_SHAOXING = 10646  # JS00001 … JS10646; Ningbo's numbers follow

# The WFDB formats: bytes that the first one, two … values of a block take. Format 0 is a lead that is missing.
_BLOCKS: dict[str, tuple[int, ...]] = {
    "8": (1,), "16": (2,), "24": (3,), "32": (4,), "61": (2,), "80": (1,), "160": (2,), "212": (2, 3),
    "310": (2, 4, 4), "311": (2, 3, 4),
}  # fmt: skip
_FLAC_BITS = {"508": 8, "516": 16, "524": 24}
# The value that stands for a missing sample; format 8, of differences, has none.
_BITS = {"16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10, **_FLAC_BITS}
_MISSING = {name: -(2 ** (bits - 1)) for name, bits in _BITS.items()} | {"8": math.nan}
_MOST_STEPS = 2  # by which rounding alone may break a law of the limb leads
_VALUES_PER_COMPRESSED_BYTE = 1000  # what FLAC makes of a flat lead: about 300
_LARGEST_BLANK = 1e8  # bytes of what is in no file: null leads, gaps between segments
_LONGEST_MESSAGE = 1000  # characters of an error
_LONGEST_HEADER = 2**20  # bytes

_MAT_COMPRESSED = 15
_MAT_TYPES = {
    1: "<i1",
    2: "<u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<f4",
    9: "<f8",
    12: "<i8",
    13: "<u8",
    16: "<u1",
}
_LONGEST_STRUCT = 2**28  # bytes, an hour of 12 leads
_LARGEST_RATIO = 100  # of a struct to the compressed file; waves in double precision have 10 at most
_SMALL_STRUCT = 2**24  # bytes, whatever its ratio: flat leads compress well
_MOST_FIELDS = 100  # of a struct

# What can be read in seconds. Without a limit, a sparse file could take all memory.
MOST_VALUES = 2**27  # samples of all leads: 6 hours of 12 leads at 500 Hz
_LARGEST_TABLE = 2**26  # bytes of a table of labels, ten times PTB-XL's

_ANNOTATION_NOTE, _ANNOTATION_SKIP, _ANNOTATION_TEXT = 22, 59, 63
_LONGEST_ANNOTATION = 2**22  # bytes, weeks of beats
_ANNOTATION_SYMBOL = dict(wfdb.io.annotation.ann_label_table[["label_store", "symbol"]].to_numpy().tolist())


# A key and its value in a comment; others may follow on the same line.
_COMMENT_FIELD = re.compile(r"<(age|sex|dx|diagnoses)>\s*:?|(?:^|(?<=[\s,;]))(age|sex|dx|diagnoses)\s*:", re.IGNORECASE)


class RecordError(ValueError):
    """A file that cannot be read as an ECG; the message names the file, what is wrong and the remedy.

    Quotations from the file may be long: only the beginning and the end of a long message are kept.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[: _LONGEST_MESSAGE - 300]} … {message[-300:]}"
        super().__init__(message)


@dataclass
class Reading:
    """What a file holds, before it is checked and put in order."""

    signal: np.ndarray  # (leads, samples), mV
    leads: list[str]
    source: str
    fs: float | None = None
    codes: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    patient_id: str | None = None
    fold: int | None = None
    identity: dict[str, str] = field(default_factory=dict)  # only if it was asked for
    notes: list[str] = field(default_factory=list)


def _while_unchanged(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """Remember what was read of a file while its size and time of change stay the same."""

    @wraps(read)
    def fresh(file: Path) -> T:
        stat = file.stat()
        return _remembered(read, file, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    return fresh


@lru_cache(maxsize=8)
def _remembered(read: Callable[[Path], Any], file: Path, *_: int) -> Any:
    return read(file)


class _Spec(NamedTuple):
    """Format and scale of one lead, from the first fields of its header line."""

    format: str
    per_frame: int
    skew: int
    offset: int  # bytes before the first value
    gain: float  # integer steps per unit; 0: not stated
    baseline: int
    units: str
    mv_per_unit: float


class _Patient(NamedTuple):
    """One row of ptbxl_database.csv, as it stands there."""

    ecg_id: str
    patient_id: str
    age: str
    sex: str
    scp_codes: str
    strat_fold: str

    def number(self, column: str) -> int | None:
        """A whole number, which pandas may have written as 7.0; None where there is none."""
        text = spelled(getattr(self, column))
        try:
            return int(text) if text.lower() not in MISSING else None
        except ValueError:
            raise RecordError(f"ptbxl_database.csv gives it the {column} {text[:20]!r}; correct that row") from None


def checked_size(file: Path, most: int) -> int:
    """Size in bytes of a regular file (no pipe or device) that is small enough to be read in seconds.

    Raises
    ------
    RecordError
        if it is not.
    """
    about = file.stat()
    if not stat.S_ISREG(about.st_mode):
        raise RecordError(f"{file.name} is not a file but a folder, a pipe or a device; put the right one there")
    if about.st_size > most:
        raise RecordError(f"{file.name} has {about.st_size:,} bytes, more than the {most:,} that are read; split it")
    return about.st_size


def check_values(count: int) -> None:
    """Raise `RecordError` for more samples than can be read in seconds."""
    if count > MOST_VALUES:
        raise RecordError(
            f"holds {count:,} samples, more than the {MOST_VALUES:,} of all leads that are read at once; cut it into "
            "parts of some hours, a WFDB record with wfdb.rdrecord(…, sampfrom=, sampto=) and wfdb.wrsamp"
        )


def read_annotation(path: str | Path, extension: str) -> pd.DataFrame:
    """Sample (from 0) and symbol of every annotation in a WFDB annotation file.

    The result is that of ``wfdb.rdann``, which takes many times longer, mostly for reading the header again for every
    file. One difference: if the file states a time resolution of its own, samples are converted to the record's rate.

    Parameters
    ----------
    path
        The record, with or without suffix, or the annotation file.
    extension
        Of the annotation file, such as "atr".

    Raises
    ------
    RecordError
        if the file is missing or cut short, or counts time at a rate of its own without a header beside it.

    References
    ----------
    The format: physionet.org/physiotools/wag/annot-5.htm.
    """
    sample, symbol = annotations(path, extension)
    return pd.DataFrame({"sample": sample, "symbol": pd.Series(symbol, dtype="str")})


def annotations(path: str | Path, extension: str) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """What ``read_annotation`` reads, as arrays: a table takes longer than the file, and a record may have twelve."""
    path = Path(path).absolute()
    record = path.with_suffix("") if path.suffix in (".hea", ".dat", ".mat", f".{extension}") else path
    file = Path(f"{record}.{extension}")
    try:
        checked_size(file, _LONGEST_ANNOTATION)
        data = file.read_bytes()
    except RecordError as error:
        raise RecordError(f"{file}: {error}") from None
    except OSError as error:
        raise RecordError(f"{file}: no readable annotation ({error.strerror}); download the data set again") from error
    words = np.frombuffer(data, "<u2", len(data) // 2)
    label, value = words >> 10, (words & 0x3FF).astype(np.int64)
    step = np.where(label < _ANNOTATION_SKIP, value, 0)  # the labels above say more about the annotation before
    carried = np.zeros(len(words), bool)  # words of a text or a jump, which are not annotations
    texts = []
    free = 0  # the first word that belongs to nothing before it
    for at in np.flatnonzero((label == _ANNOTATION_SKIP) | (label == _ANNOTATION_TEXT)).tolist():
        if at < free:
            continue
        is_text = label[at] == _ANNOTATION_TEXT
        free = at + 1 + (int(value[at]) + 1) // 2 if is_text else at + 3
        carried[at + 1 : free] = True
        if is_text:
            texts.append(at)
        elif free <= len(words):  # a jump of 32 bits, the upper half first
            jump = int(words[at + 1]) << 16 | int(words[at + 2])
            step[at] = jump - (1 << 32) * (jump >> 31)
    if max(free, int(np.flatnonzero(words).max(initial=-1)) + 1) >= len(words):  # a zero ends the file
        raise RecordError(f"{file}: is cut short, it lacks the zero at its end; download it again")
    step[carried] = 0
    places = np.flatnonzero((label < _ANNOTATION_SKIP) & (label > 0) & ~carried)
    label, sample = label[places], np.cumsum(step)[places]
    # Notes at the first sample hold for the whole file: a time resolution, labels of its own.
    of_file = (label == _ANNOTATION_NOTE) & (sample == 0)
    owner = np.searchsorted(places, texts) - 1
    notes = [
        data[2 * at + 2 :][: words[at] & 0x3FF].decode("latin-1")
        for at, row in zip(texts, owner.tolist(), strict=True)
        if row >= 0 and of_file[row]
    ]
    symbols, resolution = _definitions(notes)
    label, sample = label[~of_file], sample[~of_file]
    if resolution:
        sample = np.floor(sample * (_rate(record, file) / resolution) + 0.5).astype(np.int64)
    return sample, symbols[label]


def _definitions(notes: list[str]) -> tuple[np.ndarray, float | None]:
    """Label → symbol, and the rate in Hz at which the file counts time (None: the record's), by its first notes."""
    symbols = np.full(_ANNOTATION_TEXT + 1, "", object)
    symbols[list(_ANNOTATION_SYMBOL)] = list(_ANNOTATION_SYMBOL.values())
    resolution, defines = None, False
    for note in notes:
        if rate := re.match(r"## time resolution: (\d+\.?\d*)", note, re.ASCII):
            resolution = resolution or float(rate[1]) or None
        elif note.startswith("## "):
            defines = note.startswith("## annotation type definitions")
        elif defines and (label := re.match(r"(\d{1,2}) (\S+) ", note, re.ASCII)) and int(label[1]) < _ANNOTATION_SKIP:
            symbols[int(label[1])] = label[2]
    return symbols, resolution


def _rate(record: Path, file: Path) -> float:
    """Rate of a record in Hz, to which the annotations in a file are scaled."""
    header = record.with_name(f"{record.name}.hea")
    if not header.is_file():
        raise RecordError(f"{file}: counts time at a rate of its own; put {header.name} beside it")
    try:
        fs = _parse(header).fs
    except RecordError as error:
        raise RecordError(f"{header}: {error}") from error
    if not fs > 0:
        raise RecordError(f"{header}: a sampling rate of {fs:g} Hz cannot be an ECG's; correct it")
    return fs


class _Header(NamedTuple):
    """The fields of a header's lines, not yet interpreted."""

    n_leads: int
    fs: float
    n_samples: int  # 0: not stated
    lines: list[list[str]]  # fields of each lead, or of each segment
    segments: bool
    comments: list[str]
    notes: list[str]


def read_wfdb(header: Path, source: str | None, leads: Sequence[str] | None) -> Reading:
    """Read header, signal files, and what the header's comments or PTB-XL's table say about the patient."""
    parsed = _parse(header)
    if parsed.segments:
        return _joined(header, parsed, source)
    described = [[*line, *[""] * (9 - len(line))] for line in parsed.lines]
    files = [line[0] for line in described]
    specs = [_spec(*itemgetter(1, 2, 4)(line)) for line in described]
    reading = Reading(
        signal=np.empty((0, 0), np.float32),
        leads=[line[8] for line in described],
        source=source or source_of(header, files[0]),
        fs=parsed.fs,
        notes=parsed.notes,
    )
    if reading.source in _MICROVOLT_SOURCES and files[0].endswith(".mat"):
        gain, why = 1000.0, f"as all of {reading.source}"
        wrong = {spec for spec in specs if spec.gain != gain}
    else:
        gain, why = 200.0, "WFDB's default"
        wrong = {spec for spec in specs if spec.gain == 0}
    if wrong:
        written = ", ".join(sorted({f"{spec.gain:g}/{spec.units}" for spec in wrong}))
        reading.notes.append(f"header gain: {written} read as {gain:g}/mV, {why}")
        specs = [spec._replace(gain=gain) if spec in wrong else spec for spec in specs]
    for units in sorted({spec.units for spec in specs if spec.mv_per_unit != 1}):
        reading.notes.append(f"unit: {units} converted to mV")
    if several := sorted({spec.per_frame for spec in specs if spec.per_frame > 1}):
        numbers = ", ".join(map(str, several))
        reading.notes.append(f"samples per frame: {numbers} in some leads, their mean read at {parsed.fs:g} Hz")
    initial = [
        _number(int, line[5] or "0", "initial value") if spec.format == "8" else 0
        for spec, line in zip(specs, described, strict=True)
    ]
    values = _values(header, files, specs, initial, parsed.n_samples, reading.notes)
    reading.signal = _scaled(values, specs, reading)
    _describe(reading, header, parsed.comments)
    return reading


def _parse(header: Path) -> _Header:
    """Read and check the record line; split the lines that follow into fields."""
    lines, comments = _header_lines(header)
    fields = lines[0].split() if lines else []
    if len(fields) < 2:
        raise RecordError("has no record line; download it again")
    notes = []
    n_leads = _number(int, fields[1], "number of leads")
    rate = re.split("[/(]", fields[2])[0] if len(fields) > 2 else ""
    fs = _number(float, rate, "sampling rate") if rate else 250.0
    if not rate:
        notes.append("rate: none in the header, read as WFDB's default of 250 Hz")
    n_samples = _number(int, fields[3], "number of samples") if len(fields) > 3 else 0
    # WFDB's "name/segments", unless the slash is of a path or the only segment is described here.
    described = [line.split(maxsplit=8) for line in lines[1:]]
    count = re.fullmatch(r"[^/]+/(\d{1,9})", fields[0], re.ASCII)
    if count and count[1] != header.stem and not (int(count[1]) == 1 and any(len(line) > 2 for line in described)):
        if len(described) != int(count[1]) or any(len(line) != 2 for line in described):
            raise RecordError(f"declares {count[1]} segments and does not list as many; correct its record line")
        return _Header(n_leads, fs, n_samples, described, True, comments, notes)
    if fields[0] != header.stem:
        notes.append(f"record line: names {fields[0]}, read as {header.stem}")
    if not 0 < n_leads <= len(described) or n_samples < 0:
        raise RecordError(
            f"declares {n_leads} leads of {n_samples} samples and describes {len(described)} leads; download it again"
        )
    if short := [" ".join(line) for line in described[:n_leads] if len(line) < 2]:
        raise RecordError(f"the line {short[0]!r} describes no lead; download it again")
    return _Header(n_leads, fs, n_samples, described[:n_leads], False, comments, notes)


def _joined(header: Path, parsed: _Header, source: str | None) -> Reading:
    """Join the segments of a record; where no segment holds a lead, its samples are missing."""
    lengths = [_number(int, length, "number of samples") for _, length in parsed.lines]
    names = [name for name, _ in parsed.lines]
    if min(lengths) < 0 or parsed.n_samples not in (0, sum(lengths)):
        raise RecordError(f"declares {parsed.n_samples} samples in segments of {sum(lengths)}; download it again")
    parts: dict[str, Reading] = {}
    leads: list[str] = []
    for name, length in zip(names, lengths, strict=True):
        if name == "~" or name in parts:
            continue
        if not re.fullmatch(r"[\w-]+", name) or not (segment := header.with_name(f"{name}.hea")).is_file():
            raise RecordError(f"its segment {name} is not beside it; download all of them")
        described = _parse(segment)
        if described.segments or segment == header:
            raise RecordError(f"its segment {name} is of segments itself; read that one by itself")
        leads = leads or [line[8] if len(line) > 8 else "" for line in described.lines]
        if length:  # one without samples comes first and lists the leads of all
            parts[name] = read_wfdb(segment, source, None)
    if len(leads) != parsed.n_leads:
        raise RecordError(
            f"declares {parsed.n_leads} leads, its segments have {len(leads)}; download all of them again"
        )
    n_samples = sum(lengths)
    held = sum(part.signal.nbytes for part in parts.values())
    if not parts or len(leads) * n_samples * 4 > 10 * held + _LARGEST_BLANK:
        raise RecordError(f"declares {n_samples} samples, most of them in no segment; read its segments one by one")
    joined = np.full((len(leads), n_samples), np.nan, np.float32)
    start, notes = 0, parsed.notes
    for name, length in zip(names, lengths, strict=True):
        if name in parts and length:
            part = parts[name]
            if part.signal.shape[1] != length or part.fs != parsed.fs:
                raise RecordError(
                    f"declares {length} samples at {parsed.fs:g} Hz in its segment {name}, which holds "
                    f"{part.signal.shape[1]} at {part.fs:g} Hz; read its segments one by one"
                )
            rows = (
                list(range(len(leads)))
                if part.leads == leads
                else [leads.index(lead) for lead in part.leads if lead in leads]
            )
            if len(set(rows)) < len(part.leads):
                raise RecordError(f"its segment {name} has other leads than the first; read its segments one by one")
            joined[rows, start : start + length] = part.signal
            # The labels are those of the whole record.
            notes += [note for note in part.notes if note not in notes and not note.startswith("no labels:")]
        start += length
    gaps = sum(length for name, length in zip(names, lengths, strict=True) if name == "~")
    gap = f", {gaps / parsed.fs:.4g} s between them read as NaN" if gaps else ""
    notes.insert(0, f"segments: {len(parts)} joined{gap}")
    first = next(iter(parts.values()))
    reading = Reading(signal=joined, leads=leads, source=first.source, fs=parsed.fs, notes=notes)
    _describe(reading, header, parsed.comments)
    return reading


def _header_lines(header: Path) -> tuple[list[str], list[str]]:
    """The header's lines, and its comments without their hash."""
    with header.open("rb", buffering=0) as file:
        data = file.read(_LONGEST_HEADER + 1)
    if len(data) > _LONGEST_HEADER:
        raise RecordError(f"is longer than {_LONGEST_HEADER} bytes, no WFDB header; check the file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line for raw in text.splitlines() if (line := raw.strip())]
    return [line for line in lines if line[0] != "#"], [line[1:] for line in lines if line[0] == "#"]


def _number(kind: type[Number], text: str, what: str) -> Number:
    """A finite number, or an error that says what it should be. Whole ones are below 1e12, perhaps written 5000.0."""
    try:
        number = float(text) if len(text) <= 400 and text.isascii() and "_" not in text else math.inf
    except ValueError:
        number = math.inf
    if not math.isfinite(number) or (kind is int and not (number.is_integer() and abs(number) < 1e12)):
        raise RecordError(f"{text[:40]!r} is no {what}; correct the header or download it again")
    return kind(number)


@lru_cache(maxsize=4096)
def _spec(format_field: str, gain_field: str, zero_field: str) -> _Spec:
    """Parse ``16x1:0+24``, ``1000(0)/mV`` and the ADC's zero, which stands in for the baseline."""
    how = re.fullmatch(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", format_field, re.ASCII)
    scale = re.fullmatch(r"([^(/]*)(?:\(([^)]*)\))?(?:/(.*))?", gain_field)
    if not how or not scale:
        raise RecordError(f"{format_field!r} {gain_field!r} is not a format and gain of a lead; correct the header")
    units = scale[3] or "mV"
    if units.lower() not in _MV_PER_UNIT:
        raise RecordError(f"a lead in {units!r} is not an ECG in mV; remove that lead or correct its unit")
    return _Spec(
        format=how[1],
        per_frame=_number(int, how[2] or "1", "number of samples per frame"),
        skew=_number(int, how[3] or "0", "skew"),
        offset=_number(int, how[4] or "0", "byte offset"),
        gain=_number(float, scale[1] or "0", "gain"),
        baseline=_number(int, scale[2] or zero_field or "0", "baseline"),
        units=units,
        mv_per_unit=_MV_PER_UNIT[units.lower()],
    )


def _values(
    header: Path, files: list[str], specs: list[_Spec], initial: list[int], n_samples: int, notes: list[str]
) -> np.ndarray:
    """The converter's numbers (leads, samples) as floats that hold them exactly; missing ones are NaN."""
    groups: dict[str, list[int]] = {}
    for lead, file in enumerate(files):
        if specs[lead].format != "0":
            groups.setdefault(file, []).append(lead)
    if not groups:
        raise RecordError("all its leads are null (format 0); read the record whose signals it stands for")
    for file, members in groups.items():
        n_samples = _checked_length(header, file, [specs[lead] for lead in members], n_samples, notes)
    check_values(n_samples * sum(max(spec.per_frame, 1) for spec in specs))
    if max(spec.skew for spec in specs) > n_samples:
        raise RecordError("describes leads skewed by more than the record's length; correct the header")
    if (null := [lead for lead, spec in enumerate(specs) if spec.format == "0"]) and (
        len(null) * n_samples * 4 > _LARGEST_BLANK
    ):
        raise RecordError(f"describes {len(null)} leads that are null (format 0); remove them")
    # float32 holds the difference of a 16-bit number and such a baseline
    narrow = all(_BITS.get(spec.format, 32) <= 16 and abs(spec.baseline) < 2**23 for spec in specs)
    values = np.empty((len(specs), n_samples), np.float32 if narrow else np.float64)
    values[null] = np.nan
    plain = all(spec.per_frame == 1 and spec.skew == 0 and spec.format != "8" for spec in specs)
    for file, members in groups.items():
        group = [specs[lead] for lead in members]
        frames = _digital(header.with_name(file), group, n_samples)
        if plain:
            missing = _MISSING[group[0].format]
            invalid = (frames == missing).any()
            digital = np.ascontiguousarray(frames.T)
            rows = slice(None) if len(members) == len(specs) else members  # a slice is copied faster than a list
            values[rows] = digital
            if invalid:
                values[rows] = np.where(digital == missing, np.nan, digital)
        else:
            start = 0
            for lead, spec in zip(members, group, strict=True):
                values[lead] = _lead(frames[:, start : start + spec.per_frame], spec, initial[lead])
                start += spec.per_frame
    return values


def _lead(block: np.ndarray, spec: _Spec, initial: int) -> np.ndarray:
    """One value for each frame of a lead, from (frames, values of a frame); NaN where one of them is missing.

    The mean of a frame is truncated to a whole number, as in WFDB's library.
    """
    if spec.format == "8":  # differences
        block = block.ravel().cumsum(dtype=np.int64).reshape(block.shape) + initial
    values = np.trunc(block.mean(axis=1))
    values[(block == _MISSING[spec.format]).any(axis=1)] = np.nan
    return np.concatenate([values[spec.skew :], np.full(spec.skew, np.nan)])


def _scaled(values: np.ndarray, specs: list[_Spec], reading: Reading) -> np.ndarray:
    """(leads, samples) in mV, equal to ``wfdb.rdrecord``'s ``p_signal`` once rounded to float32."""
    gain = np.array([spec.gain for spec in specs])[:, None]
    baseline = np.array([spec.baseline for spec in specs], np.float64)[:, None]
    mv_per_unit = np.array([spec.mv_per_unit for spec in specs])[:, None]
    if values.size and ((gain != gain[0]).any() or reading.source == "LUDB"):
        gain = _checked_gain(values, gain, mv_per_unit, reading)
    if baseline.any():
        values -= baseline.astype(values.dtype)
    # A float32 quotient of exact values is the float64 quotient rounded (Figueroa, SIGNUM Newsletter 30:3, 1995).
    narrow = gain.astype(np.float32)
    values /= narrow if (narrow == gain).all() else gain
    return values if (mv_per_unit == 1).all() else values * mv_per_unit


def _checked_gain(values: np.ndarray, gain: np.ndarray, mv_per_unit: np.ndarray, reading: Reading) -> np.ndarray:
    """Correct LUDB's gains, each of which is the lead's own range in steps, so that every lead would span 1 mV.

    Its steps are microvolts: they obey Einthoven's and Goldberger's laws within one step, and give waves as large as
    PTB-XL's. The millivolts of the header break II = I + III by .38 mV (median over its records of the largest
    violation). Two marks show a record of LUDB under any name: gains that are ranges, and steps that obey the laws.
    """
    span = np.fmax.reduce(values, axis=1) - np.fmin.reduce(values, axis=1)
    own_range = (span == gain[:, 0]).all()
    names = [CANONICAL.get(name.strip().lower(), "") for name in reading.leads]
    limb = [i for i, name in enumerate(names) if name in LEADS[:6] and names.count(name) == 1]
    laws, rest = residuals(values[limb], [names[i] for i in limb])
    large = len(laws) > 0 and span[limb].min() > 100 * _MOST_STEPS
    rest = rest[:, np.isfinite(rest).all(axis=0)]
    lawful = large and rest.size > 0 and np.ptp(rest, axis=1).max() <= 2 * _MOST_STEPS
    per_mv = (gain / mv_per_unit)[limb]
    contradicted = lawful and np.ptp(per_mv) > 0.02 * np.abs(per_mv).max()
    if (own_range and lawful) or ((own_range or contradicted) and reading.source == "LUDB"):
        reading.notes.append("header gain: each lead's is its own range, read as 1000/mV for all, as in all of LUDB")
        return 1000.0 * mv_per_unit
    if own_range:
        reading.notes.append("header gain: each lead's is its own range, so that each spans 1 mV; its scale is lost")
    elif contradicted:
        reading.notes.append("header gain: those of the leads break the laws of limb leads, which the steps obey")
    return gain


def _checked_length(header: Path, file: str, specs: list[_Spec], n_samples: int, notes: list[str]) -> int:
    """Samples per lead, after a comparison of the header with the size of the signal file."""
    first = specs[0]
    if not re.fullmatch(r"\w[\w.-]*", file):  # not out of the folder
        raise RecordError(f"{file!r} is not a signal file beside it; correct the header")
    try:
        size = checked_size(header.with_name(file), sys.maxsize) - first.offset
    except FileNotFoundError:
        likely = (f"{stem}{suffix}" for stem in (file, header.stem) for suffix in (".mat", ".dat"))
        if meant := next((name for name in likely if header.with_name(name).is_file()), None):
            raise RecordError(
                f"its signal file {file} is not beside it, but {meant} is; write {meant} in the header's signal lines"
            ) from None
        raise RecordError(f"its signal file {file} is not beside it; download both") from None
    if any(spec.format != first.format or spec.offset != first.offset for spec in specs):
        raise RecordError(f"describes leads of one signal file {file} in several formats; correct the header")
    per_frame = sum(spec.per_frame for spec in specs)
    if first.format in _FLAC_BITS:
        size += first.offset  # which is in samples
        if not 0 < n_samples * per_frame <= _VALUES_PER_COMPRESSED_BYTE * size:
            raise RecordError(f"declares {n_samples} samples, which {file} cannot hold; download both again")
        return n_samples
    if first.format not in _BLOCKS or min(spec.per_frame for spec in specs) < 1:
        raise RecordError(f"format {first.format} of {file} is none of WFDB's; correct the header")
    block = _BLOCKS[first.format]
    blocks, rest = divmod(max(0, size), block[-1])
    n_samples = n_samples or (blocks * len(block) + sum(needs <= rest for needs in block[:-1])) // per_frame
    needed = _bytes(first.format, n_samples * per_frame)
    if size < needed:
        raise RecordError(
            f"{file} is cut short: {n_samples} samples of {per_frame} leads need {needed + first.offset} bytes, "
            f"found {size + first.offset}; download it again"
        )
    if size > math.ceil(n_samples * per_frame / len(block)) * block[-1]:  # more than the last block's padding
        notes.append(f"file length: {size - needed} bytes of {file} after the declared samples, left unread")
    return n_samples


def _bytes(fmt: str, count: int) -> int:
    """Bytes that so many values of a format take at least."""
    block = _BLOCKS[fmt]
    blocks, rest = divmod(count, len(block))
    return blocks * block[-1] + (block[rest - 1] if rest else 0)


def _digital(file: Path, specs: list[_Spec], n_samples: int) -> np.ndarray:
    """Integers (frames, values of a frame) of a signal file, in their order."""
    fmt, width = specs[0].format, sum(spec.per_frame for spec in specs)
    if fmt in _FLAC_BITS:
        return _flac(file, specs, n_samples)
    count = n_samples * width
    with file.open("rb", buffering=0) as values:  # half the time of np.fromfile
        values.seek(specs[0].offset)
        data = values.read(_bytes(fmt, count))
    if fmt in ("212", "310", "311"):
        data += bytes(-len(data) % _BLOCKS[fmt][-1])
    flat: np.ndarray
    match fmt:
        case "8":
            flat = np.frombuffer(data, np.int8)
        case "16":
            flat = np.frombuffer(data, "<i2")
        case "61":
            flat = np.frombuffer(data, ">i2")
        case "32":
            flat = np.frombuffer(data, "<i4")
        case "80":
            flat = np.frombuffer(data, np.uint8).astype(np.int16) - 128
        case "160":
            flat = np.frombuffer(data, "<u2").astype(np.int32) - 32768
        case "24":  # into the upper three bytes, whose sign comes back down with the shift; so below
            wide = np.zeros((count, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            flat = wide.view("<i4").ravel() >> 8
        case "212":  # two 12-bit values in three bytes
            packed = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int16)
            pairs = np.empty((len(packed), 2), np.int16)
            pairs[:, 0] = (packed[:, 1] << 12) | (packed[:, 0] << 4)
            pairs[:, 1] = ((packed[:, 1] & 0xF0) << 8) | (packed[:, 2] << 4)
            flat = (pairs >> 4).ravel()
        case "310":  # three 10-bit values in two words, the third in the upper five bits of both
            words = np.frombuffer(data, "<u2").reshape(-1, 2)
            third = (words[:, 0] >> 11 << 6) | (words[:, 1] >> 11 << 11)
            flat = (np.column_stack([words << 5, third]).view(np.int16) >> 6).ravel()
        case _:  # 311: three 10-bit values in one word of 32 bits
            words = np.frombuffer(data, "<u4")[:, None]
            flat = ((words << np.array([22, 12, 2], np.uint32)).view(np.int32) >> 22).ravel()
    return flat[:count].reshape(n_samples, width)


def _flac(file: Path, specs: list[_Spec], n_samples: int) -> np.ndarray:
    """Integers (frames, values of a frame) of a compressed signal file."""
    import soundfile  # few records need it

    per_frame, fmt = specs[0].per_frame, specs[0].format
    if any(spec.per_frame != per_frame for spec in specs):
        raise RecordError(f"{file.name} in FLAC cannot hold leads of different rates; correct the header")
    length = n_samples * per_frame
    try:
        with soundfile.SoundFile(file) as flac:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(flac.subtype, 32)
            if flac.format != "FLAC" or bits > _FLAC_BITS[fmt] or flac.channels != len(specs):
                raise RecordError(
                    f"{file.name} is {flac.channels} leads of {flac.subtype} in {flac.format}, not {len(specs)} in "
                    f"WFDB's format {fmt}; download both again"
                )
            flac.seek(specs[0].offset)
            values = np.empty((length, len(specs)), np.int32)
            for start in range(0, length, 2**20):  # libsndfile reads no more than 2**24 values at once
                part = values[start : start + 2**20]
                if len(flac.read(out=part)) < len(part):
                    raise RecordError(
                        f"{file.name} is cut short: it holds fewer than {length} samples; download it again"
                    )
    except soundfile.SoundFileError as error:
        raise RecordError(f"{file.name} cannot be read as FLAC ({error}); download it again") from error
    values >>= 32 - bits
    return values.reshape(n_samples, per_frame, len(specs)).transpose(0, 2, 1).reshape(n_samples, -1)


def source_of(file: Path, signal_file: str = "") -> str:
    """The data set, by the nearest folder with a known name, else by the name of a Challenge record."""
    if re.fullmatch(r"\d{5}_[lh]r", file.stem):
        return "PTB-XL"
    for parent in file.parents:
        if parent.name in _FOLDERS:
            return _FOLDERS[parent.name]
    challenge = re.fullmatch(r"([AQESI]|HR|JS)(\d{4,5})", file.stem, re.ASCII)
    if not challenge or not signal_file.endswith(".mat"):
        return file.parent.name
    if challenge[1] == "JS":
        return "chapman_shaoxing" if int(challenge[2]) <= _LAST_CHAPMAN_SHAOXING else "ningbo"
    return _CHALLENGE_PREFIXES[challenge[1]]


# What is known about the patient


def _describe(reading: Reading, header: Path, comments: list[str]) -> None:
    """Codes, age, sex, patient and fold, from the header's comments and from PTB-XL's table."""
    codes: list[str] = []
    coded: list[str] = []
    notes = reading.notes
    spaced = in_diagnoses = False  # LUDB: the statements follow, one on each line
    for comment, key, value in _comment_fields(comments):
        match key:
            case "age":
                reading.age = _age(value, notes)
            case "sex":
                reading.sex = _sex(value, notes)
            case "dx":
                coded += (found := codes_in(value))
                codes += found
                if comment[0].isspace() and not spaced:
                    notes.append("comment style: '# Dx:' with a space")
                    spaced = True
            case "diagnoses" if value:  # St Petersburg's are on the same line
                codes += [code.strip() for code in value.split(",") if code.strip()]
            case "diagnoses":
                in_diagnoses = True
            case "patient" if value.isdecimal():
                reading.patient_id = f"{reading.source}/patient {int(value)}"
            case _ if in_diagnoses and comment.strip():
                codes.append(comment.strip().rstrip("."))
    if any(code in CLASSES or code == "Normal" for code in coded):
        notes.append("class names: in place of SNOMED CT codes")
    if odd := [c for c in coded if not re.fullmatch(r"\d{6,18}", c, re.ASCII) and not classes_of([c])]:
        notes.append(f"unknown codes: {', '.join(odd)}, no SNOMED CT and no class names, kept")
    if not codes and reading.source not in ("MIT-BIH", "PTB-XL"):  # whose labels are elsewhere
        line = "#<diagnoses>:" if reading.source == "LUDB" else "#Dx:"
        notes.append(f"no labels: none under {line!r} in the header")
    if reading.source == "MIT-BIH":
        if comments and (person := re.match(r"\s*(-?\d+)\s+([MF])\b", comments[0], re.ASCII)):
            reading.age, reading.sex = _age(person[1], notes), person[2]
        if header.stem == "202":
            reading.patient_id = "MIT-BIH/201"
            notes.append("patient: the same as record 201's")
    reading.codes = tuple(codes)

    if reading.source in ("PTB-XL", "ptb-xl") and (number := re.search(r"\d{5}", header.stem, re.ASCII)):
        patient = _ptbxl_patient(header, int(number[0]))
        if patient:
            identifier = patient.number("patient_id")
            reading.fold = patient.number("strat_fold")
            reading.patient_id = None if identifier is None else f"PTB-XL/{identifier}"
        if reading.source == "PTB-XL":  # the Challenge's labels are its headers'
            if patient:
                reading.codes, reading.age = codes_in(patient.scp_codes), _age(patient.age, notes)
                reading.sex = _sex(_PTBXL_SEX.get(spelled(patient.sex).lower(), patient.sex), notes)
                if unknown := sorted(set(reading.codes) - SCP_STATEMENTS):
                    notes.append(f"unknown codes: {', '.join(unknown)}, none of PTB-XL's statements, kept")
                if not reading.codes:
                    notes.append("no labels: its row in ptbxl_database.csv states none")
            else:
                notes.append("no labels: no row in a ptbxl_database.csv above the record")


def _comment_fields(comments: list[str]) -> Iterator[tuple[str, str, str]]:
    """Comment, key in lower case and value: ``Age: 65``, ``<age>: 65 <sex>: F <diagnoses> PVC``, ``patient 1``."""
    for comment in comments:
        text, *fields = _COMMENT_FIELD.split(comment)
        if text.strip() or not fields:
            patient = re.fullmatch(r"\s*patient (\d{1,9})\s*", comment, re.ASCII)
            yield comment, "patient" if patient else "", patient[1] if patient else ""
        else:
            for tag, word, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
                yield comment, (tag or word).lower(), value.strip(" \t,;")


def _age(text: str, notes: list[str]) -> float | None:
    """Years, None where unknown."""
    if text.lower() in MISSING:
        return None
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if age == 300:
        notes.append("age: 300 stands for more than 89, read as 90")
        return 90.0
    if not 0 <= age <= 120:
        notes.append(f"age: {text[:20]!r} left out")
        return None
    return age


def _sex(text: str, notes: list[str]) -> str | None:
    """F or M, None where unknown."""
    sex = _SEX.get(text.lower())
    if sex is None and text.lower() not in MISSING:
        notes.append(f"sex: {text[:20]!r} left out")
    return sex


def _ptbxl_patient(header: Path, ecg_id: int) -> _Patient | None:
    """The row of PTB-XL's table, if table and row are at hand."""
    try:
        return _ptbxl_table(_ptbxl_file(header.parent)).get(ecg_id)
    except FileNotFoundError:
        return None


def _ptbxl_file(folder: Path) -> Path:
    """Path of PTB-XL's table: above the folder, or in the data root."""
    for parent in (folder, *folder.parents, data_root()):
        for table in (parent / "ptbxl_database.csv", parent / "ptb-xl" / "ptbxl_database.csv"):
            if table.is_file():
                return table
    raise FileNotFoundError("ptbxl_database.csv")


@_while_unchanged
def _ptbxl_table(file: Path) -> dict[int, _Patient]:
    """ecg_id → row. The table may have been saved by pandas or a spreadsheet."""
    checked_size(file, _LARGEST_TABLE)
    columns = list(_Patient._fields)
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            separator = max(",;\t", key=lines.readline().count)
            lines.seek(0)
            table = pd.read_csv(lines, sep=separator, dtype=str, keep_default_na=False, usecols=columns)[columns]
        return {int(spelled(row[0])): _Patient(*row) for row in table.itertuples(index=False, name=None) if row[0]}
    except (ValueError, OverflowError) as error:
        raise RecordError(f"{file} is not PTB-XL's table ({error}); download it again") from error


# CPSC 2018's structs


def read_struct(file: Path, source: str | None, leads: Sequence[str] | None) -> Reading:
    """CPSC 2018's ``ECG`` struct: sex, age and 12 leads in mV at 500 Hz."""
    checked_size(file, _LONGEST_STRUCT)
    try:
        fields = _mat_struct(file.read_bytes())
        data, age = fields["data"], fields["age"].ravel()
        sex = fields["sex"].tobytes().replace(b"\0", b"").decode("latin-1")
    except (ValueError, KeyError, struct.error, zlib.error) as error:
        raise RecordError(
            f"is not a CPSC 2018 struct ({error}); download it again, or its .hea too if it is a Challenge record"
        ) from error
    if data.ndim != 2 or len(data) != len(LEADS):
        raise RecordError(f"holds an array of shape {data.shape}, not 12 leads; download it again")
    reading = Reading(signal=data, leads=list(LEADS), source=source or "CPSC 2018", fs=500.0)
    reading.age = _age(str(age[0]) if age.size else "", reading.notes)
    reading.sex = _sex(sex, reading.notes)
    tables = (folder / "REFERENCE.csv" for folder in file.parents)  # beside it, or above TrainingSet1 … 3
    reference = next((table for table in tables if table.is_file() and file.stem in _reference(table)), None)
    reading.codes = _reference(reference)[file.stem] if reference else ()
    if unknown := [code for code in reading.codes if not classes_of([code])]:
        raise RecordError(f"{reference} labels it {', '.join(unknown)}, none of CPSC 2018's 1 to 9; correct that row")
    if reference is None:
        reading.notes.append("no labels: no row in a REFERENCE.csv beside or above the record")
    elif not reading.codes:
        reading.notes.append("no labels: its row in REFERENCE.csv states none")
    return reading


def _mat_struct(data: bytes) -> dict[str, np.ndarray]:
    """The fields of the first variable of a MATLAB 5 file, a 1×1 struct of plain arrays.

    Not read by ``scipy.io.loadmat``, because there a flipped bit can crash the process. The format:
    MathWorks, "MAT-File Format", chapter "Level 5 MAT-Files".
    """
    none = (0, memoryview(b""))
    kind, body = next(_mat_elements(memoryview(data)[128:]), none)
    if kind == _MAT_COMPRESSED:
        most = min(_LONGEST_STRUCT, max(_SMALL_STRUCT, _LARGEST_RATIO * len(body)))
        _, body = next(_mat_elements(memoryview(zlib.decompressobj().decompress(body, most))), none)
    _, _, _, (_, width), (_, names), *fields = islice(_mat_elements(body), 5 + _MOST_FIELDS)
    step = int.from_bytes(width, "little")
    keys = [bytes(names[i : i + step]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), step)]
    return {key: _mat_array(field) for key, (_, field) in zip(keys, fields, strict=True)}


def _mat_array(body: memoryview) -> np.ndarray:
    """A plain array."""
    _, (_, shape), _, (kind, values) = _mat_elements(body)
    return np.frombuffer(values, _MAT_TYPES[kind]).reshape(np.frombuffer(shape, "<i4"), order="F")


def _mat_elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each data element."""
    while data:
        kind, size = struct.unpack_from("<II", data)
        if kind >> 16:  # up to four bytes fit into the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 8
        else:
            start, end = 8, 8 + size + (-size % 8 if kind != _MAT_COMPRESSED else 0)
        if start + size > min(end, len(data)):
            raise ValueError(f"cut short: an element of {size} bytes has {len(data) - start}")
        yield kind, data[start : start + size]
        data = data[end:]


@_while_unchanged
def _reference(file: Path) -> dict[str, tuple[str, ...]]:
    """CPSC 2018's REFERENCE.csv: record → one to three integers. It may have been saved by pandas or a spreadsheet."""
    checked_size(file, _LARGEST_TABLE)
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
            separator = max(",;\t", key=lines.readline().count)
            lines.seek(0)
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error as error:
        raise RecordError(f"{file} is not CPSC 2018's table ({error}); download it again") from error
    head = [cell.lower() for cell in rows[0]] if rows else []
    titled = "recording" in head
    first = head.index("recording") if titled else 0  # pandas puts the row's number before it
    labels = [i for i, name in enumerate(head) if name.endswith("label")] if titled else []
    table: dict[str, tuple[str, ...]] = {}
    for row in rows[titled:]:
        name = "".join(row[first : first + 1]).removesuffix(".mat")
        cells = [row[i] for i in labels if i < len(row)] if labels else row[first + 1 :]
        table[name] = tuple(dict.fromkeys((*table.get(name, ()), *codes_in(",".join(cells)))))
    return table
