"""HL7 annotated ECG (ANSI HL7 V3, PORT_MT020001): XML in which each lead is a list of numbers with origin and scale."""

from pathlib import Path

from ecgstudy.data.devices.common import Recording, of_kit, parsed, xml_tree
from ecgstudy.data.formats import RecordError

_BEAT = "REPRESENTATIVE_BEAT"


def read(file: Path, leads: list[str] | None, show_identity: bool) -> Recording:
    """Read the first rhythm series, in mV by each lead's own scale."""
    root = xml_tree(file)
    series = [found for found in root.findall("component/series") if _code(found) != _BEAT]
    if not series:
        raise RecordError("is an aECG without a rhythm series; export the rhythm with it")
    record = parsed(file, "hl7_aecg", "HL7aECGParser", "an aECG")
    fs = record.raw_metadata["rhythm_time"].get("sampling_rate_exact", 0.0)
    fs = float(round(fs)) if abs(fs - round(fs)) < 1e-6 * fs else fs  # 1 / 0.002 s
    recording = of_kit(record, fs, "an aECG", leads, show_identity)
    if len(series) > 1:
        recording.notes.append(f"series: the first of {len(series)} read")
    if (sets := len(series[0].findall("component/sequenceSet"))) > 1:
        recording.notes.append(f"sequence sets: the first of {sets} read")
    return recording


def _code(series: object) -> str:
    code = series.find("code")  # type: ignore[attr-defined]
    return "" if code is None else (code.get("code") or "").upper()
