"""What the device formats share: lead names, units, missing leads, and a patient who stays unknown unless asked for."""

import importlib
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from ecgstudy.data.formats import MOST_VALUES, RecordError, check_values, checked_size
from ecgstudy.data.leads import CANONICAL, FROM_I_AND_II, LEADS

_PER_MV = {"uv": 1e3, "mv": 1.0, "nv": 1e6, "v": 1e-3}
_UNITS = {"µv": "uv", "μv": "uv", "microvolt": "uv", "millivolt": "mv", "nanovolt": "nv", "volt": "v"}
_UNITS |= {f"{name}s": unit for name, unit in _UNITS.items() if name.endswith("volt")}

# Further names of ECG leads. Any other text of a channel may be a patient's name and is not repeated.
_MORE_LEADS = re.compile(
    r"-aVR|V[1-9]R?|ML?(I{1,3}|V[1-6])|C[CMS][1-6]|EC(G|G ?[1-9]\d?)|[XYZDAJ]|ES|AS|AI|LA|RA|LL|Defib", re.IGNORECASE
)
_SPELLING = {name.lower(): name for name in ("ES", "AS", "AI", "LA", "RA", "LL", "-aVR", "Defib")}

_LARGEST_XML = 2**25  # bytes, minutes of 12 leads
_SHORTEST_TAIL = 0.1  # s
_PULSE = (0.8, 1.2)  # mV, of calibration
_OLDEST = 89.0  # years, beyond which an age may tell who it is
_LARGEST_BLANK = 2**24  # samples of pauses


@dataclass
class Recording:
    """What a device file holds.

    Attributes
    ----------
    names
        A name for each lead; no other text of the file.
    signals
        A row (samples,) in mV for each lead, all of one length; missing samples are NaN.
    fs
        In Hz.
    age, sex
        Years; "F" or "M"; None where unknown.
    identity
        Who it is, where and when: only if asked for.
    notes
        What was unusual, in words of the reader.
    """

    names: list[str]
    signals: list[NDArray[np.float64]]
    fs: float
    age: float | None = None
    sex: str | None = None
    identity: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def library(name: str) -> Any:
    """Import a module of the extra ``devices``.

    Raises
    ------
    RecordError
        with the command that installs it, where it is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise RecordError(
            f"needs the package {package}, which is not installed: run `make env` in the clone, or "
            f"`pip install {package}` (the extra 'devices' of ecgstudy has all that device files need)"
        ) from error


@contextmanager
def unquoted(what: str) -> Iterator[None]:
    """Let a library neither warn nor log nor raise, for what it says quotes the file, in which a name may stand.

    Raises
    ------
    RecordError
        in place of what the library raises: the file is ``what``, damaged or cut short.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "edfio", "ecgdatakit")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, MemoryError, RecordError):
        raise
    except Exception:
        raise RecordError(f"is {what} that is damaged or cut short; export it again") from None
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


# Leads and units


def lead_name(text: str, number: int) -> str:
    """The standard name that a channel's label stands for, ``channel <number>`` if it names no lead.

    Labels are free text, in which a name may stand: what is no lead's name is never repeated.
    """
    label = re.sub(r"^EKG", "ECG", " ".join(text.split()), flags=re.IGNORECASE)
    bare = re.sub(r"^(lead|ECG( lead)?)[ _:-]+", "", label, flags=re.IGNORECASE)
    if found := CANONICAL.get(label.lower()) or CANONICAL.get(bare.lower()):
        return found
    if _MORE_LEADS.fullmatch(bare):
        return _SPELLING.get(bare.lower(), bare.upper())
    return f"channel {number}"


def is_unnamed(name: str) -> bool:
    """Whether `lead_name` found no lead in a label."""
    return name.startswith("channel ")


def renamed(names: list[str], leads: list[str] | None) -> list[str]:
    """The names that the caller gave to leads, else their own.

    Raises
    ------
    RecordError
        if the caller named more or fewer.
    """
    if leads is None:
        return names
    if len(leads) != len(names):
        raise RecordError(f"holds {len(names)} leads, not {len(leads)}; name as many in leads=")
    return leads


def unit_of(text: str) -> str:
    """The voltage that a unit names ("uv", "mv", "nv", "v"), "" for anything else."""
    unit = text.strip().lower()
    unit = _UNITS.get(unit, unit)
    return unit if unit in _PER_MV else ""


def to_mv(values: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """Convert values in a unit that `unit_of` gave to mV."""
    return values / _PER_MV[unit]


def placed(pieces: Sequence[tuple[str, int, NDArray[np.float64]]]) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Put pieces of leads (name, first sample, values) on one time axis; what none of them holds is NaN.

    Raises
    ------
    RecordError
        if most of that axis would be empty.
    """
    names = list(dict.fromkeys(name for name, _, _ in pieces))
    if len(names) == len(pieces) and len({(start, len(values)) for _, start, values in pieces}) == 1:
        return names, [values for _, _, values in pieces]
    first = min(start for _, start, _ in pieces)
    length = max(start + len(values) for _, start, values in pieces) - first
    held = sum(len(values) for _, _, values in pieces)
    if length * len(names) > min(MOST_VALUES, 10 * held + _LARGEST_BLANK):
        raise RecordError("holds parts that lie hours apart; export them one by one")
    rows = [np.full(length, np.nan) for _ in names]
    for name, start, values in reversed(pieces):  # the first one wins
        rows[names.index(name)][start - first :][: len(values)] = values
    return names, rows


# What is wrong with many a file


def finish(recording: Recording) -> None:
    """Turn -aVR around, leave out a calibration tail, and compute limb leads that the file lacks, each with a note."""
    notes, names = recording.notes, recording.names
    if unnamed := sum(map(is_unnamed, names)):
        notes.append(f"lead names: {unnamed} of {len(names)} are no lead's and called channel 1, 2 …")
    if "-aVR" in names and "aVR" not in names:
        row = names.index("-aVR")
        names[row], recording.signals[row] = "aVR", -recording.signals[row]
        notes.append("lead names: -aVR turned around and called aVR")
    _cut_tail(recording)
    lacking = [lead for lead in FROM_I_AND_II if lead not in names]
    if not lacking or not {"I", "II"} <= set(names):
        return
    if (len(names) + len(lacking)) * len(recording.signals[0]) > MOST_VALUES:
        notes.append(f"lacking leads: {', '.join(lacking)} not computed from I and II, for the recording is too long")
    else:
        first, second = (recording.signals[names.index(lead)] for lead in ("I", "II"))
        in_order = [name for name in LEADS if name in names] == names
        for lead in lacking:
            of_first, of_second = FROM_I_AND_II[lead]
            names.append(lead)
            recording.signals.append(of_first * first + of_second * second)
        notes.append(f"computed leads: {', '.join(lacking)} from I and II, since the file lacks them")
        if in_order:  # the order of the rest is the file's own
            order = sorted(range(len(names)), key=lambda row: LEADS.index(names[row]))
            recording.names = [names[row] for row in order]
            recording.signals = [recording.signals[row] for row in order]


def _cut_tail(recording: Recording) -> None:
    """Leave out the zeros and the pulse that Philips carts append: the end that is the same in every lead."""
    signals = recording.signals
    if len(signals) < 3:
        return
    length = len(signals[0])
    same = np.ones(length, bool)
    for row in signals[1:]:
        same &= row == signals[0]
    start = length - int((~same[::-1]).argmax()) if not same.all() else 0
    tail = signals[0][start:]
    if not start or len(tail) < _SHORTEST_TAIL * recording.fs:
        return
    levels, counts = np.unique(tail, return_counts=True)
    if len(levels) == 2 and _PULSE[0] <= levels[1] - levels[0] <= _PULSE[1] and counts.min() >= 0.02 * recording.fs:
        recording.signals = [row[:start] for row in signals]
        recording.notes.append(
            f"calibration tail: the last {len(tail) / recording.fs:.3g} s, the same pulse of "
            f"{levels[1] - levels[0]:.2g} mV in every lead, left out"
        )


# The patient


def age_in_years(years: float | None, notes: list[str]) -> float | None:
    """Years as a Record tells them: none beyond 89, None where unknown or impossible."""
    if years is None or not math.isfinite(years):
        return None
    if not 0 <= years <= 150:
        notes.append("age: not between 0 and 150 years, left out")
        return None
    if years > _OLDEST:
        notes.append("age: more than 89, told as 90")
        return 90.0
    return float(years)


def sex_of(text: str | None) -> str | None:
    """F or M by the first letter, None where unknown."""
    return {"f": "F", "m": "M"}.get((text or "").strip().lower()[:1])


def told(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields of identity that are not empty, as text."""
    texts = {name: " ".join(str(value).split()) for name, value in fields.items() if value is not None}
    return {name: text for name, text in texts.items() if text}


# XML


def xml_tree(file: Path) -> Element:
    """The elements of an XML file, names without their namespace; no entities, no other files.

    Raises
    ------
    RecordError
        for a file that is too large, not well-formed, or declares entities.
    """
    checked_size(file, _LARGEST_XML)
    safe = library("defusedxml.ElementTree")
    data = file.read_bytes()
    forbidden = library("defusedxml").DefusedXmlException
    try:
        try:
            root = safe.fromstring(data)
        except ParseError:  # its bytes may not be in the encoding that it declares
            root = safe.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", decoded(data), count=1))
    except forbidden:
        raise RecordError(
            "declares XML entities or points to other files, which no ECG needs and nothing here opens; "
            "remove its <!ENTITY …> lines if you trust it"
        ) from None
    except ParseError as error:
        line, column = error.position
        raise RecordError(
            f"is no well-formed XML (line {line}, column {column}), perhaps cut short; export it again"
        ) from None
    except (ValueError, LookupError):
        raise RecordError("is XML in an encoding that is not read; export it as UTF-8") from None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def decoded(data: bytes) -> str:
    """The text of an XML file whatever it says of its encoding."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace").lstrip("\ufeff")
    if b"\0" in data[:4]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def number(text: str | None) -> float:
    """A finite number, NaN for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


# Formats that ecgdatakit decodes


def parsed(file: Path, module: str, parser: str, what: str) -> Any:
    """The ``ECGRecord`` of ecgdatakit with raw counts.

    Raises
    ------
    RecordError
        if the file cannot be read.
    """
    kind = getattr(library(f"ecgdatakit.parsing.parsers.{module}"), parser)
    unsupported = library("ecgdatakit").UnsupportedFormatError
    with unquoted(what):
        try:
            return kind().parse(file)
        except unsupported:
            raise RecordError(
                f"is {what} of a version or compression that is not read; export it uncompressed, or as another format"
            ) from None


def in_mv(lead: Any) -> NDArray[np.float64]:
    """A lead of ecgdatakit in mV.

    Raises
    ------
    RecordError
        if the file states no unit for it.
    """
    unit = unit_of(lead.resolution_unit or "")
    if not unit or not (math.isfinite(lead.resolution) and lead.resolution and math.isfinite(lead.offset)):
        raise RecordError("states no voltage of a step, so that its numbers are no mV; export it with its resolution")
    return to_mv(np.asarray(lead.samples, np.float64) * lead.resolution + lead.offset, unit)


def of_kit(record: Any, fs: float, what: str, leads: list[str] | None, show_identity: bool) -> Recording:
    """A `Recording` of what ecgdatakit read, by its own lead names or by ``leads``; without leads of calibration."""
    check_values(sum(len(lead.samples) for lead in record.leads))
    if not 0 < fs < math.inf:
        raise RecordError("states no sampling rate, or one of zero; export it again")
    own = [
        "" if lead.label.endswith("-cal") else lead_name(lead.label, row) for row, lead in enumerate(record.leads, 1)
    ]
    names = renamed(own, leads)
    pieces = []
    for name, lead in zip(names, record.leads, strict=True):
        if name:
            pieces.append((name, int(lead.annotations.get("start_sample", 1)) - 1, in_mv(lead)))
        lead.samples = None  # a day of them needs the room
    if not pieces:
        raise RecordError(f"is {what} without an ECG lead; export the rhythm with it")
    if len({name for name, _, _ in pieces}) < len(pieces):
        raise RecordError("names a lead twice; export it again")
    recording = Recording(*placed(pieces), fs)
    if not all(names):
        recording.notes.append(f"calibration leads: {len(names) - len(pieces)} left out")
    if record.median_beats:
        recording.notes.append("median beat: beside the rhythm, left out")
    patient = record.patient
    recording.age, recording.sex = age_in_years(patient.age, recording.notes), sex_of(patient.sex)
    if show_identity:
        about, device = record.recording, record.recording.device
        recording.identity = told(
            {
                "name": f"{patient.first_name} {patient.last_name}",
                "patient id": patient.patient_id,
                "birth date": patient.birth_date and f"{patient.birth_date:%Y-%m-%d}",
                "recorded": about.date,
                "institution": device.institution,
                "department": device.department,
                "location": about.location,
                "room": about.room,
                "technician": about.technician,
                "physician": about.referring_physician,
            }
        )
    return recording
