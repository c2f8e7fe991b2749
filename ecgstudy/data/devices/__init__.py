"""Read the files of ECG devices: DICOM, SCP-ECG, HL7 aECG, GE MUSE, Philips Sierra, EDF and BDF, ISHNE.

Each format has a file of its own. Names, identifiers, dates and places stay out of what it returns and out of its
errors unless they are asked for.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgstudy.data.devices.common import decoded, finish
from ecgstudy.data.formats import Reading, RecordError, check_values, checked_size, source_of
from ecgstudy.paths import is_file

SUFFIXES = {".dcm": "dicom", ".scp": "scp", ".edf": "edf", ".bdf": "edf", ".ecg": "ishne", ".xml": "xml"}
"""Suffix → format that a file of this name is expected to have."""

_HEAD = 2**16  # bytes that show the format
_ROOT = re.compile(r"<(?:[\w.-]{1,99}:)?(AnnotatedECG|RestingECG|restingecgdata)(?=[\s>/])", re.IGNORECASE)
_XML = {"annotatedecg": "aecg", "restingecg": "muse", "restingecgdata": "sierra"}
_DICOM = b"1.2.840.10008."  # begins the UID of what a file is, before all others
_DICOM_WAVEFORM = _DICOM + b"5.1.4.1.1.9."


def format_of(file: Path) -> str:
    """The device format that the content of a file shows, "" if none."""
    return _format(_head(file))


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_HEAD)


def _format(head: bytes) -> str:
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:8] == b"ISHNE1.0":
        return "ishne"
    if head[:8] in (b"0       ", b"\xffBIOSEMI") and re.fullmatch(rb"\d+ *", head[252:256]):
        return "edf"
    if head[8:10] == b"\0\0" and head[22:24] == b"\0\0" and head[28:32] == b"\7\0\0\0":
        return "scp"  # section 0 begins at byte 7 and points to itself
    if b"<" in head[:64]:
        text = re.sub(r"<!--.*?(-->|$)", "", decoded(head), flags=re.DOTALL)
        if found := _ROOT.search(text):
            return _XML[found[1].lower()]
    return ""


def holds_ecg(file: Path) -> bool:
    """Whether a file of a folder is a device's ECG: by its suffix, or by its content where that says too little.

    One that is damaged counts unless it shows that it is something else: reading tells what is wrong.
    """
    suffix = file.suffix.lower()
    if suffix in (".scp", ".edf", ".bdf"):
        return is_file(file)
    if suffix not in (".dcm", ".xml", ".ecg", "") or not is_file(file):
        return False
    try:
        head = _head(file)
    except OSError:
        return suffix != ""  # reading it tells
    found = _format(head)
    if suffix == ".dcm" or found == "dicom":  # most DICOM files are images
        at = head.find(_DICOM)
        return head.startswith(_DICOM_WAVEFORM, at) if at >= 0 else suffix == ".dcm"
    if suffix:
        return bool(found) or not head.strip(b"\0")  # of a broken copy zeros may be left
    return found == "scp"


def read_device(file: Path, source: str | None, leads: Sequence[str] | None, show_identity: bool) -> Reading:
    """Read a device file.

    Parameters
    ----------
    file
        Its path.
    source
        Name of the data set, default from the folder.
    leads
        Names of the leads, in place of the file's.
    show_identity
        Whether to keep who it is, where and when.

    Raises
    ------
    RecordError
        that names what is wrong and the remedy, and quotes nothing of the file.
    """
    checked_size(file, 2**30)  # before anything is opened: no pipe, no device
    kind = format_of(file) or SUFFIXES.get(file.suffix.lower(), "")
    if kind == "xml":
        raise RecordError("is no XML of HL7 aECG, GE MUSE (RestingECG) or Philips Sierra; export it as one of them")
    reader = importlib.import_module(f"ecgstudy.data.devices.{kind}")
    recording = reader.read(file, None if leads is None else list(leads), show_identity)
    check_values(sum(map(len, recording.signals)))
    if not recording.signals or not len(recording.signals[0]):
        raise RecordError("holds no samples; export it again")
    finish(recording)
    return Reading(
        signal=np.array(recording.signals, np.float32),
        leads=recording.names,
        source=source or source_of(file),
        fs=recording.fs,
        age=recording.age,
        sex=recording.sex,
        identity=recording.identity,
        notes=recording.notes,
    )
