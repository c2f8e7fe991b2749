"""SCP-ECG files (EN 1064, ISO 11073-91064): sections of bits, Huffman-coded, perhaps with a mean beat subtracted."""

import struct
from pathlib import Path

from ecgstudy.data.devices.common import Recording, of_kit, parsed
from ecgstudy.data.formats import RecordError, checked_size

_LARGEST = 2**22  # bytes; a section counts a lead's bytes with 16 bits
_MOST_LEADS = 85  # that the standard has codes for
_MOST_SAMPLES = 8 * 2**16  # of a lead, one bit each
_HEADER = 16
_LEADS_SECTION, _RHYTHM_SECTION = 3, 6


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the rhythm of section 6, in mV by the step it states."""
    checked_size(file, _LARGEST)
    _check_counts(file.read_bytes())
    record = parsed(file, "scp_ecg", "SCPECGParser", "an SCP-ECG file")
    step = record.raw_metadata["rhythm_sample_interval_us"]
    recording = of_kit(record, 1e6 / step if step else 0.0, "an SCP-ECG file", leads, show_identity)
    if "reference beat subtraction" in record.recording.acquisition.signal.compression:
        recording.notes.append("compression: the reference beat was added back to what was left of each beat")
    if record.raw_metadata["checksum_valid"] is False:
        recording.notes.append("checksum: does not match, so that something in the file has changed")
    return recording


def _check_counts(data: bytes) -> None:
    """Raise for leads and samples that the file cannot hold, before room is made for them."""
    broken = RecordError("is an SCP-ECG file that is damaged or cut short; export it again")
    try:
        (length,) = struct.unpack_from("<I", data, 10)
        for at in range(6 + _HEADER, min(6 + length, len(data)), 10):
            section, size, start = struct.unpack_from("<HII", data, at)
            if section != _LEADS_SECTION or not size:
                continue
            count = data[start - 1 + _HEADER]
            if not 1 <= count <= _MOST_LEADS:
                raise broken
            for lead in range(count):
                first, last = struct.unpack_from("<II", data, start + 1 + _HEADER + 9 * lead)
                if not 0 <= last - first < _MOST_SAMPLES or last >= 2**31:
                    raise broken
    except (struct.error, IndexError):
        raise broken from None
