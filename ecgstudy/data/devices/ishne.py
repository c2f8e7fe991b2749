"""ISHNE Holter files (Badilini, Ann Noninvasive Electrocardiol 1998;3:263): 16-bit samples of up to 12 leads."""

import struct
from pathlib import Path

import numpy as np

from ecgstudy.data.devices.common import Recording, of_kit, parsed
from ecgstudy.data.formats import RecordError, checked_size

_LARGEST = 2**27  # bytes: a day of three leads
_HEADER = 522
_FAULT = -32768  # a sample of a lead that was off


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the rhythm, in mV by each lead's own resolution."""
    size = checked_size(file, _LARGEST)
    with file.open("rb") as opened:
        head = opened.read(_HEADER)
    if len(head) < _HEADER or not head.startswith(b"ISHNE1.0"):
        raise RecordError("is no ISHNE file, or cut short within its header; copy it again")
    (comments, declared) = struct.unpack_from("<ii", head, 10)
    (width,) = struct.unpack_from("<h", head, 156)
    if comments < 0 or not 1 <= width <= 12 or (size - _HEADER - comments) % (2 * width) or size <= _HEADER + comments:
        raise RecordError("is an ISHNE file that does not hold whole samples of its 1 to 12 leads; copy it again")
    if any(step <= 0 for step in struct.unpack_from(f"<{width}h", head, 206)):
        raise RecordError("states no voltage of a step for each lead; export it with its resolution")
    record = parsed(file, "ishne_holter", "ISHNEHolterParser", "an ISHNE file")
    for lead in record.leads:
        lead.samples[lead.samples == _FAULT] = np.nan
    recording = of_kit(record, record.leads[0].sampling_rate, "an ISHNE file", leads, show_identity)
    held = len(recording.signals[0])
    if declared != held:
        recording.notes.append(f"length: {declared:,} samples a lead declared, {held:,} held and read")
    if record.raw_metadata.get("checksum_valid") is False:
        recording.notes.append("checksum: that of the header does not match")
    return recording
