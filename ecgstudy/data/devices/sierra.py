"""Philips Sierra ECG XML, 1.03 to 1.04.02: 12 leads or more in base64, most of them in Philips' XLI compression."""

import base64
import binascii
from pathlib import Path

from ecgstudy.data.devices.common import Recording, library, number, of_kit, parsed, unquoted, xml_tree
from ecgstudy.data.formats import RecordError, check_values

_MOST_LEADS = 32
_SPARE = 4096  # bytes that a chunk may hold beyond its samples
_CHUNK_HEADER = 8


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the rhythm, in mV by the file's resolution in microvolts."""
    root = xml_tree(file)
    waves = root.find("waveforms/parsedwaveforms")
    if waves is None:
        raise RecordError("is a Sierra file without waveforms; export them with it")
    about = root.find("dataacquisition/signalcharacteristics")
    rate = number(waves.get("samplespersecond") or (None if about is None else about.findtext("samplingrate")))
    duration = number(waves.get("durationperchannel"))
    if not (rate > 0 and duration > 0):
        raise RecordError("states no sampling rate or duration, or one of zero; export it again")
    samples = round(rate * duration / 1000)
    check_values(samples)
    if "XLI" in {(waves.get(name) or "").upper() for name in ("compression", "compressmethod")}:
        _check_chunks(waves.text or "", samples)
    record = parsed(file, "sierra_xml", "SierraXMLParser", "a Sierra file")
    return of_kit(record, rate, "a Sierra file", leads, show_identity)


def _check_chunks(text: str, samples: int) -> None:
    """Raise for chunks that unpack to far more than the samples they stand for, before all of them are unpacked."""
    broken = RecordError("is a Sierra file whose compressed leads are damaged or cut short; export it again")
    decoder = library("ecgdatakit.parsing.codecs").LzwDecoder
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise broken from None
    start = 0
    for _ in range(_MOST_LEADS):
        if start + _CHUNK_HEADER > len(data):
            return
        size = int.from_bytes(data[start : start + 4], "little", signed=True)
        start += _CHUNK_HEADER
        if not 0 < size <= len(data) - start:
            raise broken
        with unquoted("a Sierra file"):
            unpacked = decoder(data[start : start + size], bits=10)
            for _ in range(2 * samples + _SPARE):
                if unpacked.read() < 0:
                    break
            else:
                raise broken
        start += size
    raise broken
