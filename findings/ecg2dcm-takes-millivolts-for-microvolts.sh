#!/usr/bin/env bash
# ecg2dcm 1.3.1: an HL7 aECG in millivolts becomes a DICOM with 1 µV in the place of 1 mV, and all leads get one scale.
#
# In an aECG (ANSI/HL7 V3 ECG R1-2004) each lead is an SLIST_PQ: value = origin + scale x digit, with a unit at both. The
# converter reads the scale's number without its unit, as microvolts; keeps the number of the last lead for all of them;
# and does not read the origin. So 0.005 mV a step is written as 0.005 µV a step, a lead at 5 µV beside one at 2.5 µV is
# halved, and an origin of 1000 µV is gone. The command says "1 converted, 0 refused", and the DICOM file is sound.
#
# pydicom gives what the DICOM file says, in µV. ecgdatakit reads the same aECG as it was meant, in mV.
#
# Seen with ecg2dcm 1.3.1, pydicom 2.4.5, ecgdatakit 2.0.3, numpy 2.4.6 (highest value of lead I, which is 1 mV in each):
#   I and V1 at 5 µV a step:      ecgdatakit 1000 µV, ecg2dcm 1000 µV
#   I and V1 at 0.005 mV a step:  ecgdatakit 1000 µV, ecg2dcm 1 µV
#   I at 5 µV, V1 at 2.5 µV:      ecgdatakit 1000 µV, ecg2dcm 500 µV
#   all digits 0, origin 1000 µV: ecgdatakit 1000 µV, ecg2dcm 0 µV
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ecg2dcm==1.3.1 pydicom==2.4.5 ecgdatakit==2.0.3 numpy==2.4.6
cat > compare.py <<'PY'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pydicom
from ecgdatakit import FileParser

MDC, ACT = "2.16.840.1.113883.6.24", "2.16.840.1.113883.5.4"
TIME = '<effectiveTime><low value="20260102030405.000"/><high value="20260102030405.010"/></effectiveTime>'


def sequence(code, system, value):
    return f'<component><sequence><code code="{code}" codeSystem="{system}"/>{value}</sequence></component>'


def lead(name, digits, scale, origin):
    numbers = " ".join(map(str, digits))
    value = f'<value xsi:type="SLIST_PQ"><origin {origin}/><scale {scale}/><digits>{numbers}</digits></value>'
    return sequence(f"MDC_ECG_LEAD_{name}", MDC, value)


def both(what, scale_i, scale_v1, digits, origin='value="0" unit="uV"'):
    """Highest value of lead I in µV, as ecgdatakit and as ecg2dcm have it, of an aECG with the leads I and V1."""
    clock = '<value xsi:type="GLIST_TS"><head value="20260102030405.000"/><increment value="0.002" unit="s"/></value>'
    leads = lead("I", digits, scale_i, origin) + lead("V1", digits, scale_v1, origin)
    Path("ecg.xml").write_text(
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="2.25.1"/>'
        f'<code code="93000" codeSystem="2.16.840.1.113883.6.12"/>{TIME}<componentOf><timepointEvent><componentOf>'
        "<subjectAssignment><subject><trialSubject/></subject><componentOf><clinicalTrial>"
        '<id root="2.25.2"/></clinicalTrial></componentOf></subjectAssignment></componentOf></timepointEvent>'
        f'</componentOf><component><series><code code="RHYTHM" codeSystem="{ACT}"/>{TIME}<component><sequenceSet>'
        f"{sequence('TIME_ABSOLUTE', ACT, clock)}{leads}</sequenceSet></component></series></component></AnnotatedECG>"
    )
    command = [str(Path(sys.executable).with_name("ecg2dcm-convert")), "ecg.xml", "-o", "out"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.endswith("1 converted, 0 refused\n")
    dataset = pydicom.dcmread("out/ecg.dcm")
    units = dataset.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue
    read = FileParser.parse("ecg.xml").leads[0]
    assert units == "uV" and read.units == "mV"
    meant, written = 1000 * read.samples.max(), dataset.waveform_array(0)[:, 0].max()
    print(f"{what + ':':<29} ecgdatakit {meant:g} µV, ecg2dcm {written:g} µV")
    return round(meant, 6), round(written, 6)


print("ecg2dcm", version("ecg2dcm"), "pydicom", version("pydicom"), "ecgdatakit", version("ecgdatakit"))
STEPS, FLAT = [0, 100, 200, 100, 0], [0, 0, 0, 0, 0]
FIVE, HALF, MILLI = 'value="5" unit="uV"', 'value="2.5" unit="uV"', 'value="0.005" unit="mV"'
assert both("I and V1 at 5 µV a step", FIVE, FIVE, STEPS) == (1000, 1000)
assert both("I and V1 at 0.005 mV a step", MILLI, MILLI, STEPS) == (1000, 1), "the behaviour has changed"
assert both("I at 5 µV, V1 at 2.5 µV", FIVE, HALF, STEPS) == (1000, 500), "the behaviour has changed"
shifted = both("all digits 0, origin 1000 µV", FIVE, FIVE, FLAT, 'value="1000" unit="uV"')
assert shifted == (1000, 0), "the behaviour has changed"
PY
env/bin/python -W ignore compare.py
echo "as described"
