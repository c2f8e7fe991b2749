"""GE MUSE XML (RestingECG): 8 leads in base64, a median beat beside the rhythm."""

from pathlib import Path
from xml.etree.ElementTree import Element

from ecgstudy.data.devices.common import Recording, number, of_kit, parsed, unit_of, xml_tree
from ecgstudy.data.formats import RecordError

_OFFSETS = ("FirstSampleBaseline", "LeadOffsetFirstSample")  # of no documented meaning


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the rhythm, in mV by each lead's own step."""
    root = xml_tree(file)
    waveforms = [w for w in root.findall("Waveform") if (_text(w, "WaveformType") or "rhythm").lower() == "rhythm"]
    if not waveforms:
        raise RecordError("is a MUSE file without a rhythm; export the waveforms with it")
    rhythm = waveforms[0]
    base, exponent = number(_text(rhythm, "SampleBase")), number(_text(rhythm, "SampleExponent") or "0")
    if not (base > 0 and abs(exponent) <= 9):
        raise RecordError("states no sampling rate, or one of zero; export it again")
    for lead in rhythm.findall("LeadData"):
        if not (number(_text(lead, "LeadAmplitudeUnitsPerBit")) > 0 and unit_of(_text(lead, "LeadAmplitudeUnits"))):
            raise RecordError("states no voltage of a step for each lead; export it with LeadAmplitudeUnits")
    record = parsed(file, "ge_muse_xml", "GEMuseXMLParser", "a MUSE file")
    recording = of_kit(record, base * 10**exponent, "a MUSE file", leads, show_identity)
    if len(waveforms) > 1:
        recording.notes.append(f"waveforms: the first rhythm of {len(waveforms)} read")
    if any(number(_text(lead, tag) or "0") != 0 for lead in rhythm for tag in _OFFSETS):
        recording.notes.append("offsets: first samples state a baseline of no documented meaning, not added")
    if record.raw_metadata.get("checksum_valid") is False:
        recording.notes.append("checksum: of a lead does not match, so that something in the file has changed")
    return recording


def _text(element: Element, tag: str) -> str:
    found = element.find(tag)
    return "" if found is None else "".join(found.itertext()).strip()
