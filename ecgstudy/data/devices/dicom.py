"""DICOM waveforms (PS3.3 A.34): 12-lead, general and ambulatory ECG, in multiplex groups of one rate each."""

import io
import math
import re
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

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

_LARGEST = 2**28  # bytes
_MOST_GROUPS = 64
_IDENTITY = {
    "name": "PatientName",
    "patient id": "PatientID",
    "birth date": "PatientBirthDate",
    "study date": "StudyDate",
    "recorded": "AcquisitionDateTime",
    "accession number": "AccessionNumber",
    "institution": "InstitutionName",
    "address": "InstitutionAddress",
    "department": "InstitutionalDepartmentName",
    "physician": "ReferringPhysicianName",
    "operator": "OperatorsName",
}
_READ = ("SOPClassUID", "WaveformSequence", "PatientAge", "PatientSex")
_HEAD = 4096  # bytes, in which the file's meta information ends
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([\d.]+)", re.DOTALL)  # element (0002,0010)
_SYNTAXES = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}  # the others pack the file or swap its bytes
_DAYS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}  # of a year

# Codes of lead sources, the same numbers in MDC ("2:61", "131389") and SCP-ECG ("5.6.3-9-61").
_MDC_POTENTIALS = 131328
_CODES = {1: "I", 2: "II", **{2 + n: f"V{n}" for n in range(1, 8)}, **{8 + n: f"V{n}R" for n in range(2, 8)}}
_CODES |= {16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8", 67: "V9"}


_Piece = tuple[str, int, NDArray[np.float64]]  # lead, first sample, mV


class _Group(NamedTuple):
    """A multiplex group, read."""

    fs: float
    start: float  # s
    names: list[str]
    signals: list[NDArray[np.float64]]


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the rhythm, in mV by sensitivity, correction factor and baseline of each channel."""
    checked_size(file, _LARGEST)
    with unquoted("a DICOM file"):
        return _read(file, leads, show_identity)


def _read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    pydicom = library("pydicom")
    content = file.read_bytes()
    if content[128:132] != b"DICM":
        raise RecordError("is no DICOM file (it lacks the mark at byte 128); export it again")
    syntax = _SYNTAX.search(content[:_HEAD])  # before pydicom unpacks, to whatever size
    if not syntax or syntax[1].decode() not in _SYNTAXES:
        raise RecordError(
            "is a DICOM file that is packed, byte-swapped or cut short; export it as Explicit VR Little Endian"
        )
    wanted = [*_READ, *(_IDENTITY.values() if show_identity else ())]
    data = pydicom.dcmread(io.BytesIO(content), specific_tags=wanted)  # of a file it makes room for a length stated
    groups = list(data.get("WaveformSequence") or ())
    if len(groups) > _MOST_GROUPS:
        raise RecordError(f"holds {len(groups):,} multiplex groups, no ECG has more than {_MOST_GROUPS}; export fewer")
    if not groups:
        raise RecordError("is a DICOM file without a waveform, perhaps a picture or PDF of one; export the waveform")
    notes: list[str] = []
    rhythm = [number for number, group in enumerate(groups) if not _is_median(group, groups)]
    if len(rhythm) < len(groups):
        notes.append("median beat: beside the rhythm, left out")
    if not rhythm:
        raise RecordError("is a DICOM file of median beats alone; export the rhythm with them")
    parts: list[_Group] = []
    for number in rhythm:
        parts.append(_group(data, number, 1 + sum(len(part.names) for part in parts), notes))
    parts = [part for part in parts if part.names]
    if not parts:
        raise RecordError(
            "states no voltage of a step (channel sensitivity and its unit) for any channel, so that its numbers are "
            "no mV; export it with them"
        )
    first = max(parts, key=lambda part: len(part.names) - sum(map(is_unnamed, part.names)))
    same = [part for part in parts if part.fs == first.fs]
    if len(same) < len(parts):
        notes.append(f"multiplex groups: {len(parts) - len(same)} at another rate than {first.fs:g} Hz left out")
    pieces = [
        (name, round(part.start * part.fs), signal)
        for part in same
        for name, signal in zip(part.names, part.signals, strict=True)
    ]
    if len(same) > 1:
        notes.append(f"multiplex groups: {len(same)} put on one time axis")
        if doubled := sorted({one[0] for one, other in combinations(pieces, 2) if _overlap(one, other)}):
            notes.append(f"multiplex groups: {', '.join(doubled)} in two at a time, read from the first")
    names, signals = placed(pieces)
    recording = Recording(renamed(names, leads), signals, first.fs, notes=notes)
    age = re.fullmatch(r"(\d{1,3})([DWMY])", str(data.get("PatientAge") or ""))
    recording.age = age_in_years(int(age[1]) / _DAYS[age[2]] if age else None, notes)
    recording.sex = sex_of(str(data.get("PatientSex") or ""))
    if show_identity:
        recording.identity = told({name: data.get(tag) for name, tag in _IDENTITY.items()})
    return recording


def _is_median(group: Any, groups: list[Any]) -> bool:
    """Whether a group is a mean beat and no rhythm: by its label, or derived where others are original."""
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    derived = [str(other.get("WaveformOriginality") or "") == "DERIVED" for other in groups]
    return any(word in label for word in ("MEDIAN", "REPRES", "AVERAGE", "MEAN")) or (
        group.get("WaveformOriginality") == "DERIVED" and not all(derived)
    )


def _overlap(one: _Piece, other: _Piece) -> bool:
    """Whether two pieces are of one lead and in part of one time."""
    (name, start, values), (other_name, other_start, other_values) = one, other
    return name == other_name and start < other_start + len(other_values) and other_start < start + len(values)


def _group(data: Any, number: int, channel_number: int, notes: list[str]) -> _Group:
    """One multiplex group, without the channels that state no voltage; unnamed channels count from a number on."""
    group = data.WaveformSequence[number]
    samples, width = int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels)
    channels = list(group.ChannelDefinitionSequence)
    fs = float(group.SamplingFrequency)
    if not (0 < fs < math.inf):
        raise RecordError("states no sampling rate, or one of zero; export it again")
    if not (samples > 0 and width > 0):
        raise RecordError("holds no samples; export it again")
    check_values(samples * width)
    if str(group.WaveformSampleInterpretation) not in ("SB", "UB", "SS", "US", "SL", "UL"):
        raise RecordError("holds samples of logarithmic steps (mu-law or A-law); export it with linear ones")
    if width != len(channels) or samples * width * (int(group.WaveformBitsAllocated) // 8) > len(group.WaveformData):
        raise RecordError("is a DICOM file that does not hold the samples it declares; export it again")
    raw = library("pydicom.waveforms").multiplex_array(data, number, as_raw=True)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, int):
        missing = raw.dtype.type(padding)
    else:
        missing = np.frombuffer(padding[: raw.itemsize], raw.dtype)[0] if padding else None
    names, signals, unscaled, inside, skewed = [], [], 0, False, 0.0
    for row, channel in enumerate(channels):
        steps, unit = _scale(channel)
        if not unit:
            unscaled += 1
            continue
        counts = raw[:, row]
        values = counts * steps + float(channel.get("ChannelBaseline") or 0)
        if not np.isfinite(steps) or not np.isfinite(values[0]):
            raise RecordError("states a sensitivity or baseline that is no number; export it again")
        if missing is not None:
            padded, is_inside = _padded(counts, missing, fs)
            values[padded] = np.nan
            inside |= is_inside
        skewed = max(skewed, abs(float(channel.get("ChannelTimeSkew") or 0) * fs))
        skewed = max(skewed, abs(float(channel.get("ChannelSampleSkew") or 0)))
        names.append(_name(channel, channel_number + row))
        signals.append(to_mv(values, unit))
    if unscaled:
        notes.append(f"channels: {unscaled} left out, which state no voltage of a step")
    if inside:
        notes.append("padding: its value is one that samples take, too, and missing only at a lead's start or end")
    if skewed >= 1:
        notes.append(f"skew: channels sampled up to {skewed:g} samples apart, left as they are")
    if len(set(names)) < len(names):
        raise RecordError("names a lead twice in one group; export it again")
    return _Group(fs, float(group.get("MultiplexGroupTimeOffset") or 0) / 1000, names, signals)


def _scale(channel: Any) -> tuple[float, str]:
    """Units of a step, and the unit; "" where the channel does not state both."""
    sensitivity = float(channel.get("ChannelSensitivity") or 0)
    factor = channel.get("ChannelSensitivityCorrectionFactor")
    units = list(channel.get("ChannelSensitivityUnitsSequence") or ())
    unit = unit_of(str(units[0].get("CodeValue") or "")) if units else ""
    steps = sensitivity * (1.0 if factor is None else float(factor))
    return steps, unit if steps else ""


def _padded(counts: NDArray[Any], value: Any, fs: float) -> tuple[NDArray[np.bool_], bool]:
    """Samples that stand for none, and whether the padding value is one that other samples take as well."""
    padded = counts == value
    others = counts[~padded]
    if not padded.any() or not others.size or not others.min() <= value <= others.max():
        return padded, False
    least = math.ceil(0.1 * fs)
    before, after = int((~padded).argmax()), int((~padded[::-1]).argmax())
    at_ends = np.zeros(len(counts), bool)
    if before >= least:
        at_ends[:before] = True
    if after >= least:
        at_ends[len(counts) - after :] = True
    return at_ends, True


def _name(channel: Any, number: int) -> str:
    """A channel's lead by its source's code, else by its source's meaning, else by its label."""
    sources = list(channel.get("ChannelSourceSequence") or ())
    for source in sources:
        code = re.fullmatch(r"(2:|5\.6\.3-9-|)(\d{1,6})", str(source.get("CodeValue") or ""))
        if code and (number_of := int(code[2]) - (0 if code[1] else _MDC_POTENTIALS)) in _CODES:
            return _CODES[number_of]
    texts = [str(source.get("CodeMeaning") or "") for source in sources] + [str(channel.get("ChannelLabel") or "")]
    for text in texts:
        name = lead_name(re.split("[(,]", text)[0], number)
        if not is_unnamed(name):
            return name
    return f"channel {number}"
