"""What the files of the field say: WFDB headers, signals and annotations, MATLAB structs; record by record."""

import csv
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from ecgstudy.data.labels import CLASSES, MISSING, SCP_STATEMENTS, classes_of, codes_in, spelled
from ecgstudy.paths import data_root

with warnings.catch_warnings():  # that wfdb 4.3 uses what pandas 3 deprecates is no concern of the reader's
    warnings.simplefilter("ignore", DeprecationWarning)
    import wfdb

T = TypeVar("T")

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

CANONICAL = {lead.lower(): lead for lead in LEADS}
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}
_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3}

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
}
# The Challenge's sources whose integers are microvolts whatever a header says (St Petersburg's are not).
_MICROVOLT_SOURCES = {"cpsc_2018", "cpsc_2018_extra", "georgia", "ningbo", "chapman_shaoxing", "ptb-xl", "ptb"}
_LABELLED = set(_FOLDERS.values()) - {"MIT-BIH", "PTB-XL"}  # by their headers
_CHALLENGE_PREFIXES = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "E": "georgia",
    "HR": "ptb-xl",
    "S": "ptb",
    "I": "st_petersburg_incart",
}
_LAST_CHAPMAN_SHAOXING = 10646  # JS00001 … JS10646; Ningbo's numbers follow

# Bytes per value of the WFDB formats; the first three are read here, the others by wfdb.
_BYTES = {"16": 2, "212": 1.5, "80": 1, "8": 1, "24": 3, "32": 4, "61": 2, "160": 2, "310": 4 / 3, "311": 4 / 3}
_INVALID = {"16": -(2**15), "212": -(2**11), "80": -(2**7)}
_COMPRESSED = {"508", "516", "524"}
_VALUES_PER_COMPRESSED_BYTE = 1000  # what FLAC makes of a flat lead: about 300
_LONGEST_HEADER = 2**20  # bytes
_LONGEST_SIGNAL = 2**31 - 2**12  # bytes, of what systems read at once

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

_ANNOTATION_SKIP, _ANNOTATION_TEXT = 59, 63
_ANNOTATION_SYMBOL = dict(wfdb.io.annotation.ann_label_table[["label_store", "symbol"]].to_numpy().tolist())


class RecordError(ValueError):
    """A file that cannot be read as an ECG; the message names the file, what is wrong and the remedy."""


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
    notes: list[str] = field(default_factory=list)


def _while_unchanged(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """Remember what was read of a file for as long as its size and time of change stay."""
    remembered = lru_cache(maxsize=4)(lambda file, *_: read(file))

    @wraps(read)
    def fresh(file: Path) -> T:
        stat = file.stat()
        return remembered(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    fresh.cache_clear = remembered.cache_clear
    return fresh


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


def read_annotation(path: str | Path, extension: str) -> pd.DataFrame:
    """Sample (from 0) and symbol of every annotation in a WFDB annotation file.

    The same as ``wfdb.rdann`` in a fraction of its time, most of which goes into reading the header for every file.

    Parameters
    ----------
    path
        The record, with or without suffix.
    extension
        Of the annotation file, such as "atr".

    Raises
    ------
    RecordError
        if the file is missing or cut short.

    References
    ----------
    The format: physionet.org/physiotools/wag/annot-5.htm.
    """
    path = Path(path).absolute()
    file = Path(f"{path.with_suffix('') if path.suffix in ('.hea', '.dat') else path}.{extension}")
    try:
        words = np.fromfile(file, "<u2").tolist()
    except OSError as error:
        raise RecordError(f"{file}: no readable annotation ({error.strerror}); download the data set again") from error
    samples, symbols, time, i = [], [], 0, 0
    while i < len(words) and words[i]:  # a zero ends the file
        label, value = words[i] >> 10, words[i] & 0x3FF
        i += 1
        if label == _ANNOTATION_SKIP:  # a jump of 32 bits, the upper half first
            if i + 2 > len(words):
                raise RecordError(f"{file}: is cut short; download it again")
            jump = words[i] << 16 | words[i + 1]
            time += jump - (1 << 32) * (jump >> 31)
            i += 2
        elif label == _ANNOTATION_TEXT:
            i += (value + 1) // 2
        elif label < _ANNOTATION_SKIP:  # those between say more of the annotation before
            time += value
            samples.append(time)
            symbols.append(_ANNOTATION_SYMBOL.get(label, ""))
    return pd.DataFrame({"sample": np.array(samples, np.int64), "symbol": pd.Series(symbols, dtype="str")})


def read_wfdb(header: Path, source: str | None, leads: Sequence[str] | None) -> Reading:
    """Header, signal files, and what the header's comments or PTB-XL's table say of the patient."""
    lines, comments = _header_lines(header)
    fields = lines[0].split() if lines else []
    if len(fields) < 2:
        raise RecordError("has no record line; download it again")
    name, _, segments = fields[0].partition("/")
    if segments:
        raise RecordError("is a record of several segments; read its segments one by one")
    n_leads = _number(int, fields[1], "number of leads")
    rate = re.split("[/(]", fields[2])[0] if len(fields) > 2 else ""
    fs = _number(float, rate, "sampling rate") if rate else 250.0
    n_samples = _number(int, fields[3], "number of samples") if len(fields) > 3 else 0
    if not 0 < n_leads <= len(lines) - 1 or n_samples < 0:
        raise RecordError(
            f"declares {n_leads} leads of {n_samples} samples and describes {len(lines) - 1} leads; download it again"
        )
    described = [line.split(maxsplit=8) for line in lines[1 : n_leads + 1]]
    if short := [" ".join(line) for line in described if len(line) < 2]:
        raise RecordError(f"the line {short[0]!r} describes no lead; download it again")
    files = [line[0] for line in described]
    specs = [_spec(*itemgetter(1, 2, 4)(line + [""] * 4)) for line in described]

    reading = Reading(
        signal=np.empty((0, 0), np.float32),
        leads=[line[8] if len(line) > 8 else "" for line in described],
        source=source or _source(header, files[0]),
        fs=fs,
    )
    if not rate:
        reading.notes.append("rate: none in the header, read as WFDB's default of 250 Hz")
    if name != header.stem:
        reading.notes.append(f"record line: names {name}, read as {header.stem}")
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
    reading.signal = _signal(header, files, specs, n_samples, reading.notes)
    _describe(reading, header, comments)
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


def _number(kind: type, text: str, what: str) -> int | float:
    """A finite number of at most 12 digits, or an error that says what it was to be."""
    try:
        number = kind(text) if len(text) <= 24 else math.inf
    except ValueError:
        number = math.inf
    if not abs(number) < 1e12:
        raise RecordError(f"{text[:40]!r} is no {what}; correct the header or download it again")
    return number


@lru_cache(maxsize=4096)
def _spec(format_field: str, gain_field: str, zero_field: str) -> _Spec:
    """Parse ``16x1:0+24``, ``1000(0)/mV`` and the ADC's zero, which stands in for the baseline."""
    how = re.fullmatch(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", format_field, re.ASCII)
    scale = re.fullmatch(r"([^(/]*)(?:\(([^)]*)\))?(?:/(.*))?", gain_field)
    if not how or not scale:
        raise RecordError(f"{format_field!r} {gain_field!r} is no format and gain of a lead; correct the header")
    units = scale[3] or "mV"
    if units.lower() not in _MV_PER_UNIT:
        raise RecordError(f"a lead in {units!r} is no ECG in mV; remove that lead or correct its unit")
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


def _signal(header: Path, files: list[str], specs: list[_Spec], n_samples: int, notes: list[str]) -> np.ndarray:
    """(leads, samples) in mV, equal to ``wfdb.rdrecord``'s ``p_signal`` once rounded to float32."""
    for units in sorted({spec.units for spec in specs if spec.mv_per_unit != 1}):
        notes.append(f"unit: {units} converted to mV")
    groups: dict[str, list[int]] = {}
    for lead, file in enumerate(files):
        groups.setdefault(file, []).append(lead)
    for file, members in groups.items():
        n_samples = _checked_length(header, file, [specs[lead] for lead in members], n_samples, notes)
    gain = np.array([spec.gain for spec in specs])[:, None]
    baseline = np.array([spec.baseline for spec in specs], np.float64)[:, None]
    mv_per_unit = np.array([spec.mv_per_unit for spec in specs])[:, None]

    if not all(spec.format in _INVALID and spec.per_frame == 1 and spec.skew == 0 for spec in specs):
        try:
            values = wfdb.rdrecord(str(header.with_suffix(""))).p_signal.T
        except Exception as error:  # wfdb has no error of its own
            raise RecordError(f"wfdb cannot read it ({type(error).__name__}: {error}); download it again") from error
    else:
        exact = np.abs(baseline).max() < 2**23  # float32 holds the difference to 16-bit integers
        values = np.empty((len(specs), n_samples), np.float32 if exact else np.float64)
        for file, members in groups.items():
            spec = specs[members[0]]
            digital = _digital(header.with_name(file), spec, n_samples * len(members))
            invalid = (digital == _INVALID[spec.format]).any()
            digital = np.ascontiguousarray(digital.reshape(n_samples, len(members)).T)
            rows = slice(None) if len(groups) == 1 else members  # a slice is copied faster than a list of rows
            values[rows] = digital
            if invalid:
                values[rows] = np.where(digital == _INVALID[spec.format], np.nan, digital)
        if baseline.any():
            values -= baseline.astype(values.dtype)
        # A float32 quotient of exact values is the float64 quotient rounded (Figueroa, SIGNUM Newsletter 30:3, 1995).
        narrow = gain.astype(np.float32)
        values /= narrow if (narrow == gain).all() else gain
    return values if (mv_per_unit == 1).all() else values * mv_per_unit


def _checked_length(header: Path, file: str, specs: list[_Spec], n_samples: int, notes: list[str]) -> int:
    """Samples per lead, after comparing what the header declares with the size of the signal file."""
    first = specs[0]
    if not re.fullmatch(r"\w[\w.-]*", file):  # not out of the folder
        raise RecordError(f"{file!r} is no signal file beside it; correct the header")
    try:
        size = header.with_name(file).stat().st_size - first.offset
    except FileNotFoundError:
        raise RecordError(f"its signal file {file} is not beside it; download both") from None
    if any(spec.format != first.format or spec.offset != first.offset for spec in specs):
        raise RecordError(f"describes leads of one signal file {file} in several formats; correct the header")
    if n_samples and max(spec.skew for spec in specs) > n_samples:
        raise RecordError(f"describes leads of {file} skewed by more than the record's length; correct the header")
    per_frame = sum(spec.per_frame for spec in specs)
    if first.format in _COMPRESSED:
        if not 0 < n_samples * per_frame <= _VALUES_PER_COMPRESSED_BYTE * size:
            raise RecordError(f"declares {n_samples} samples, which {file} cannot hold; download both again")
        return n_samples
    if first.format not in _BYTES or per_frame < 1:
        raise RecordError(f"format {first.format} of {file} is none of WFDB's; correct the header")
    width = _BYTES[first.format] * per_frame
    n_samples = n_samples or max(0, int(size / width))
    needed = math.ceil(n_samples * width)
    if size < needed:
        raise RecordError(
            f"{file} is cut short: {n_samples} samples of {per_frame} leads need {needed + first.offset} bytes, "
            f"found {size + first.offset}; download it again"
        )
    if size > needed and first.format in _INVALID:
        notes.append(f"file length: {size - needed} bytes of {file} after the declared samples, left unread")
    return n_samples


def _digital(file: Path, spec: _Spec, count: int) -> np.ndarray:
    """``count`` integers of a signal file as they follow each other, int16."""
    size = math.ceil(_BYTES[spec.format] * count)
    if size > _LONGEST_SIGNAL:
        raise RecordError(f"{file.name} has {size} bytes of signal, more than {_LONGEST_SIGNAL}; cut it in parts")
    with file.open("rb", buffering=0) as values:  # half the time of np.fromfile
        values.seek(spec.offset)
        data = values.read(size)
    match spec.format:
        case "16":
            return np.frombuffer(data, "<i2")
        case "80":
            return np.frombuffer(data, np.uint8).astype(np.int16) - 128
        case _:  # 212: two 12-bit values in three bytes
            packed = np.frombuffer(data, np.uint8)
            packed = np.pad(packed, (0, -len(packed) % 3)).reshape(-1, 3).astype(np.int16)
            values = np.empty((len(packed), 2), np.int16)
            # into the upper twelve bits, whose sign comes back down with the shift
            values[:, 0] = (packed[:, 1] << 12) | (packed[:, 0] << 4)
            values[:, 1] = ((packed[:, 1] & 0xF0) << 8) | (packed[:, 2] << 4)
            return (values >> 4).ravel()[:count]


def _source(file: Path, signal_file: str = "") -> str:
    """The data set, from the nearest folder it is known by, else from a Challenge record's name."""
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


# What is known of the patient


def _describe(reading: Reading, header: Path, comments: list[str]) -> None:
    """Codes, age, sex, patient and fold, from the header's comments and from PTB-XL's table."""
    codes: list[str] = []
    notes = reading.notes
    in_diagnoses = False  # LUDB: the statements follow, one a line
    for comment in comments:
        key, _, value = (part.strip() for part in comment.partition(":"))
        match key.strip("<>").lower():
            case "age":
                reading.age = _age(value, notes)
            case "sex":
                reading.sex = _sex(value, notes)
            case "dx":
                codes += codes_in(value)
                if comment[0].isspace():
                    notes.append("comment style: '# Dx:' with a space")
                if any(code in CLASSES or code == "Normal" for code in codes):
                    notes.append("class names: in place of SNOMED CT codes")
                if odd := [c for c in codes if not re.fullmatch(r"\d{6,18}", c, re.ASCII) and not classes_of([c])]:
                    notes.append(f"unknown codes: {', '.join(odd)}, no SNOMED CT and no class names, kept")
            case "diagnoses":
                in_diagnoses = True
            case _ if in_diagnoses and comment.strip():
                codes.append(comment.strip().rstrip("."))
    described = any(re.match(r"\s*<?(age|sex|dx|diagnoses)\b", comment, re.IGNORECASE) for comment in comments)
    if not codes and reading.source != "PTB-XL" and (described or reading.source in _LABELLED):
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
            person = patient.number("patient_id")
            reading.fold = patient.number("strat_fold")
            reading.patient_id = None if person is None else f"PTB-XL/{person}"
        if reading.source == "PTB-XL":  # the Challenge's labels are its headers'
            if patient:
                reading.codes, reading.age = codes_in(patient.scp_codes), _age(patient.age, notes)
                reading.sex = _sex({"0": "M", "1": "F"}.get(spelled(patient.sex), patient.sex), notes)
                if unknown := sorted(set(reading.codes) - SCP_STATEMENTS):
                    notes.append(f"unknown codes: {', '.join(unknown)}, none of PTB-XL's statements, kept")
                if not reading.codes:
                    notes.append("no labels: its row in ptbxl_database.csv states none")
            else:
                notes.append("no labels: no row in a ptbxl_database.csv above the record")


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
    """PTB-XL's table, above the folder or in the data root."""
    for parent in (folder, *folder.parents, data_root()):
        for table in (parent / "ptbxl_database.csv", parent / "ptb-xl" / "ptbxl_database.csv"):
            if table.is_file():
                return table
    raise FileNotFoundError("ptbxl_database.csv")


@_while_unchanged
def _ptbxl_table(file: Path) -> dict[int, _Patient]:
    """ecg_id → row; the table may have passed through pandas or a spreadsheet."""
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
    try:
        fields = _mat_struct(file.read_bytes())
        data, age = fields["data"], fields["age"].ravel()
        sex = fields["sex"].tobytes().replace(b"\0", b"").decode("latin-1")
    except (ValueError, KeyError, struct.error, zlib.error) as error:
        raise RecordError(
            f"is no CPSC 2018 struct ({error}); download it again, or its .hea too if it is a Challenge record"
        ) from error
    if data.ndim != 2 or len(data) != len(LEADS):
        raise RecordError(f"holds an array of shape {data.shape}, not 12 leads; download it again")
    reading = Reading(signal=data, leads=list(LEADS), source=source or "CPSC 2018", fs=500.0)
    reading.age = _age(str(age[0]) if age.size else "", reading.notes)
    reading.sex = _sex(sex, reading.notes)
    reference = file.with_name("REFERENCE.csv")
    row = _reference(reference).get(file.stem) if reference.is_file() else None
    reading.codes = row or ()
    if unknown := [code for code in reading.codes if not classes_of([code])]:
        raise RecordError(f"{reference} labels it {', '.join(unknown)}, none of CPSC 2018's 1 to 9; correct that row")
    if row is None:
        reading.notes.append("no labels: no row in a REFERENCE.csv beside the record")
    elif not row:
        reading.notes.append("no labels: its row in REFERENCE.csv states none")
    return reading


def _mat_struct(data: bytes) -> dict[str, np.ndarray]:
    """The fields of the first variable of a MATLAB 5 file, a 1×1 struct of plain arrays.

    Read here because a flipped bit in such a file can crash the process in ``scipy.io.loadmat``. The format:
    MathWorks, "MAT-File Format", chapter "Level 5 MAT-Files".
    """
    (kind, body), *_ = _mat_elements(memoryview(data)[128:])
    if kind == _MAT_COMPRESSED:
        (_, body), *_ = _mat_elements(memoryview(zlib.decompressobj().decompress(body, _LONGEST_STRUCT)))
    _, _, _, (_, width), (_, names), *fields = _mat_elements(body)
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
    """CPSC 2018's REFERENCE.csv: record → one to three integers; it may have passed through pandas or a spreadsheet."""
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
