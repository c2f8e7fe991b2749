#!/usr/bin/env bash
# dicom-ecg-plot 1.4.1: of a file at 500 Hz half the heart rate is printed, at 250 Hz a quarter; 1000 Hz alone is right.
#
# Electrocardiographs keep the RR interval in DICOM as an annotation in milliseconds. Where there is no rate beside it,
# the plotter works it out as samples a minute over RR. That takes RR for a number of samples, which is the same number
# only at 1000 Hz. A heart that beats 75 times a minute is printed as 37.5 a minute, a bradycardia, above a trace that is
# drawn right. The annotation says its unit (PS3.3 C.10.10: Measurement Units Code Sequence), which is not read. It has
# here the form that it has in the 12-lead ECG among pydicom's test files, which is at 1000 Hz.
#
# Seen with dicom-ecg-plot 1.4.1, ecg2dcm 1.3.1, pydicom 2.4.5, matplotlib 3.11.2, numpy 2.4.6, one ECG at three rates:
#   1000 Hz, RR interval 800 ms, printed: 75.0 BPM
#    500 Hz, RR interval 800 ms, printed: 37.5 BPM
#    250 Hz, RR interval 800 ms, printed: 18.8 BPM
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
from pydicom.dataset import Dataset

matplotlib.use("svg")
matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
RR = 800  # ms


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def printed(rate):
    """The heart rate on the plot of 8 s at ``rate`` Hz with an R wave every ``RR`` ms."""
    phase = np.arange(8 * rate) / rate % (RR / 1000) - 0.4
    beats = (200 * np.exp(-((phase / 0.012) ** 2))).astype("<i2")
    waveform = Waveform("Rhythm", "ORIGINAL", rate, 5, dict.fromkeys(LEAD_ORDER, beats))
    dataset = build(EcgRecord("made up", [waveform], acquisition_date="20260102"))
    note = Dataset()
    note.ConceptNameCodeSequence = [code("5.10.2.1-3", "SCPECG", "RR Interval")]
    note.MeasurementUnitsCodeSequence = [code("ms", "UCUM", "millisecond")]
    note.NumericValue, note.ReferencedWaveformChannels = str(RR), [1, 0]
    dataset.WaveformAnnotationSequence = [note]
    assert check_iod_constraints(dataset) == []
    dataset.save_as("ecg.dcm", write_like_original=False)
    with ECG("ecg.dcm") as ecg:
        ecg.draw("12x1")
        found = re.search(r"([\d.]+) BPM", ecg.save(outformat="svg").decode())
    print(f"{rate:4} Hz, RR interval {RR} ms, printed: {found[0]}")
    return float(found[1])


print("dicom-ecg-plot", version("dicom-ecg-plot"), "ecg2dcm", version("ecg2dcm"), "pydicom", version("pydicom"))
seen = [printed(rate) for rate in (1000, 500, 250)]
assert seen == [75, 37.5, 18.8], "the behaviour has changed"
PY
echo "as described"
