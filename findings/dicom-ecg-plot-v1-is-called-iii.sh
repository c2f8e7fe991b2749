#!/usr/bin/env bash
# dicom-ecg-plot 1.4.1: the printed ECG has V1 as "III", V2 to V4 as "aVR" to "aVF", V5 as "V1" and V6 as "V2".
#
# DICOM names the lead of a channel by a code of context group CID 3001 (PS3.16): in the scheme MDC, V1 to V6 are 2:3 to
# 2:8, and III and aVR to aVF are 2:61 to 2:64. The plotter has its own table, in which 2:3 is III and 2:7 is V1, and
# looks at the text that the file gives beside the code ("Lead V1") only where the table has no such code. So the chest
# leads get the names of other leads, two traces are called III, and none is called V3 to V6. Nothing warns.
#
# The file is written by ecg2dcm. Its codes are compared with those that pydicom has for CID 3001.
#
# Seen with dicom-ecg-plot 1.4.1, ecg2dcm 1.3.1, pydicom 2.4.5, matplotlib 3.11.2, numpy 2.4.6:
#   in the file:  I | II | III | aVR | aVL | aVF | V1 | V2 | V3 | V4 | V5 | V6
#   on the paper: I | II | III | aVR | aVL | aVF | III | aVR | aVL | aVF | V1 | V2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check \
    dicom-ecg-plot==1.4.1 ecg2dcm==1.3.1 pydicom==2.4.5 matplotlib==3.11.2 numpy==2.4.6
env/bin/python -W ignore - <<'PY'
import re
from importlib.metadata import version

import matplotlib
import numpy as np
from ecg import ECG
from ecg2dcm import build, check_iod_constraints
from ecg2dcm.ir import LEAD_ORDER, EcgRecord, Waveform
from pydicom.sr.codedict import codes

matplotlib.use("svg")
matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text

# 2 s at 500 Hz, 5 µV a step, each lead a wave of its own height
time = np.arange(1000) / 500
leads = {lead: (40 * (1 + n) * np.sin(2 * np.pi * time)).astype("<i2") for n, lead in enumerate(LEAD_ORDER)}
record = EcgRecord("made up", [Waveform("Rhythm", "ORIGINAL", 500, 5, leads)], acquisition_date="20260102")
dataset = build(record)
assert check_iod_constraints(dataset) == []
dataset.save_as("ecg.dcm", write_like_original=False)

# What the file says, by the codes of the standard
standard = {getattr(codes.cid3001, f"LeadV{n}").value: f"V{n}" for n in range(1, 7)}
standard |= {codes.cid3001.LeadI.value: "I", codes.cid3001.LeadII.value: "II", codes.cid3001.LeadIII.value: "III"}
standard |= {"2:62": "aVR", "2:63": "aVL", "2:64": "aVF"}
sources = [channel.ChannelSourceSequence[0] for channel in dataset.WaveformSequence[0].ChannelDefinitionSequence]
in_file = [standard[source.CodeValue] for source in sources]

# What is printed, from top to bottom: this layout has one row for each channel, in the file's order
with ECG("ecg.dcm") as ecg:
    ecg.draw("12x1")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", ecg.save(outformat="svg").decode())
on_paper = [text.split(",")[0] for text in texts if text.split(",")[0] in LEAD_ORDER]

print("dicom-ecg-plot", version("dicom-ecg-plot"), "ecg2dcm", version("ecg2dcm"), "pydicom", version("pydicom"))
print("in the file: ", " | ".join(in_file))
print("on the paper:", " | ".join(on_paper))
assert in_file == LEAD_ORDER and sources[6].CodeMeaning == "Lead V1"
assert on_paper == LEAD_ORDER[:6] + LEAD_ORDER[2:8], "the behaviour has changed"
PY
echo "as described"
