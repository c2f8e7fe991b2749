"""European Data Format: EDF, EDF+C, EDF+D (with pauses) and their 24-bit sister BDF."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgstudy.data.devices.common import (
    Recording,
    age_in_years,
    is_unnamed,
    lead_name,
    library,
    placed,
    renamed,
    sex_of,
    to_mv,
    told,
    unit_of,
    unquoted,
)
from ecgstudy.data.formats import RecordError, check_values, checked_size

_LARGEST = {"edf": 2**29, "bdf": 2**27}  # bytes; a BDF is unpacked as a whole
_SAME_PLACE = 0.5  # samples, by which the clock may round a data record's start
_ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{1,12})?)\x14\x14")


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the ECG leads, in mV by each signal's own unit and range; pauses between data records become NaN."""
    with file.open("rb") as opened:
        head = opened.read(256)
    kind = "bdf" if head[:1] == b"\xff" else "edf"
    checked_size(file, _LARGEST[kind])
    if len(head) < 256 or head[:8] not in (b"0       ", b"\xffBIOSEMI"):
        raise RecordError("is no EDF or BDF file; export it again")
    with unquoted(f"an {kind.upper()} file"):
        return _read(file, kind, head, leads, show_identity)


def _read(file: Path, kind: str, head: bytes, leads: list[str] | None, show_identity: bool) -> Recording:
    edfio = library("edfio")
    data = getattr(edfio, f"read_{kind}")(file, header_encoding="latin-1")
    notes: list[str] = []
    declared = int(head[236:244])
    if declared > data.num_data_records:
        raise RecordError(
            f"is cut short: it holds {data.num_data_records:,} of the {declared:,} data records it declares; "
            "copy it again"
        )
    if declared != data.num_data_records:
        notes.append(f"length: {declared:,} data records declared, {data.num_data_records:,} held and read")
    every = [*data.signals, *data._annotation_signals]  # the latter have no public name
    width = {"edf": 2, "bdf": 3}[kind] * sum(signal.samples_per_data_record for signal in every)
    begin = 256 * (1 + len(every))
    if data.bytes_in_header_record != begin or (file.stat().st_size - begin) % width:
        raise RecordError(f"is an {kind.upper()} file that holds no whole data records; copy or export it again")
    chosen = _chosen(list(data.signals), leads, notes)
    names = renamed([name for name, _ in chosen], leads)
    fs = chosen[0][1].sampling_frequency
    check_values(sum(signal.samples_per_data_record for _, signal in chosen) * data.num_data_records)
    for _, signal in chosen:
        if not signal.digital_max > signal.digital_min or signal.physical_max == signal.physical_min:
            raise RecordError("states an empty range of steps or of voltage for a lead; correct its header")
    rows = [to_mv(signal.data, unit_of(signal.physical_dimension)) for _, signal in chosen]
    if data.reserved[:5].upper() in ("EDF+D", "BDF+D"):
        names, rows = _with_pauses(data, names, rows, fs, notes)
    recording = Recording(names, rows, fs, notes=notes)
    _tell_patient(recording, data, show_identity)
    return recording


def _chosen(signals: list[Any], leads: list[str] | None, notes: list[str]) -> list[tuple[str, Any]]:
    """The ECG leads of one rate, each with its name."""
    named = [(_name(signal.label, number), signal) for number, signal in enumerate(signals, 1)]
    if leads is not None and len(leads) == len(named):
        found = list(zip(leads, signals, strict=True))
    else:
        found = [(name, signal) for name, signal in named if not is_unnamed(name)]
    if not found:
        raise RecordError(
            f"names no ECG lead among its {len(named)} signals; name them in leads= if all of them are leads"
        )
    if len(found) < len(named):
        notes.append(f"other signals: {len(named) - len(found)} that are no ECG leads by their labels left out")
    scaled = [(name, signal) for name, signal in found if unit_of(signal.physical_dimension)]
    if not scaled:
        raise RecordError("states no voltage as the unit of its leads; correct their physical dimension (uV or mV)")
    if len(scaled) < len(found):
        without = [name for name, signal in found if not unit_of(signal.physical_dimension)]
        notes.append(f"unit: {', '.join(without)} left out, whose unit is no voltage")
    rates = Counter(signal.sampling_frequency for _, signal in scaled)
    fs = max(rates, key=lambda rate: (rates[rate], rate))
    if not 0 < fs < math.inf:
        raise RecordError("states no sampling rate, or one of zero; export it again")
    kept = [(name, signal) for name, signal in scaled if signal.sampling_frequency == fs]
    if len(kept) < len(scaled):
        others = ", ".join(f"{n} at {s.sampling_frequency:g} Hz" for n, s in scaled if s.sampling_frequency != fs)
        notes.append(f"several rates: {others} left out, the leads at {fs:g} Hz read")
    unique: dict[str, int] = {}
    for number, (name, _) in enumerate(kept, 1):  # two of a label, as Holters have
        unique[name if name not in unique else f"{name} ({number})"] = number
    return [(name, signal) for name, (_, signal) in zip(unique, kept, strict=True)]


def _name(label: str, number: int) -> str:
    """The lead that a label names; ECG for one that says no more than that, such as ``EKG LA-RA``."""
    name = lead_name(label, number)
    return "ECG" if is_unnamed(name) and re.match(r"E[CK]G(?![A-Za-z])", label, re.IGNORECASE) else name


def _with_pauses(
    data: Any, names: list[str], rows: list[NDArray[np.float64]], fs: float, notes: list[str]
) -> tuple[list[str], list[NDArray[np.float64]]]:
    """The rows with NaN where the clock of an EDF+D ran on between two data records."""
    clock = next(iter(data._annotation_signals), None)
    if clock is None:
        raise RecordError("is discontinuous (EDF+D) and lacks the clock of its data records; export it again")
    stamps = [bytes(part) for part in clock.digital.reshape(data.num_data_records, -1)]
    found = [_ONSET.match(stamp) for stamp in stamps]
    if not all(found):
        raise RecordError("is discontinuous (EDF+D), and a data record lacks its time; export it again")
    seconds = np.array([float(match[1]) for match in found if match])
    width = len(rows[0]) // len(seconds)
    late = np.diff(seconds) - width / fs
    if (late < -_SAME_PLACE / fs).any():
        raise RecordError("is discontinuous (EDF+D), and its data records overlap in time; export it again")
    pauses = late[late > _SAME_PLACE / fs]
    if not len(pauses):
        return names, rows
    notes.append(f"pauses: {len(pauses)}, {pauses.sum():.4g} s in all, read as NaN")
    # Within a stretch the samples follow each other, whatever the clock rounds.
    starts = np.flatnonzero(np.concatenate([[True], late > _SAME_PLACE / fs]))
    ends = np.append(starts[1:], len(seconds))
    pieces = [
        (name, round((seconds[start] - seconds[0]) * fs), row[start * width : end * width])
        for name, row in zip(names, rows, strict=True)
        for start, end in zip(starts, ends, strict=True)
    ]
    return placed(pieces)


def _tell_patient(recording: Recording, data: Any, show_identity: bool) -> None:
    """Sex and age of EDF+'s patient field, whose parts are code, sex, birth date and name."""
    parts = data.local_patient_identification.split()
    if data.reserved[:4].upper() in ("EDF+", "BDF+") and len(parts) >= 4:
        recording.sex = sex_of(parts[1] if parts[1] in ("F", "M") else None)
        try:
            born, begun = data.patient.birthdate, data.startdate
            whole = begun.year - born.year - ((begun.month, begun.day) < (born.month, born.day))
            recording.age = age_in_years(whole, recording.notes)
        except Exception:  # a date that is unknown or none, as anonymised ones are
            recording.age = None
    if show_identity:
        fields = {"patient": data.local_patient_identification, "recording": data.local_recording_identification}
        recording.identity = told(fields | {"start": f"{_raw(data._startdate)} {_raw(data._starttime)}"})


def _raw(field: bytes) -> str:
    return field.decode("latin-1").strip()
