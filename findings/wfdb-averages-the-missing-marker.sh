#!/usr/bin/env bash
# wfdb 4.3.1: in a record with several samples a frame, a missing sample is averaged as if it were one.
#
# A WFDB signal in format 16 marks a missing sample by -32768. `rdrecord` turns that marker into NaN where a frame
# holds one sample. Where a frame holds two, it first takes the mean of the frame, marker included, and only then
# looks for markers. A frame of 50 and "missing" at 100 steps a millivolt comes out as -163.59 mV; .5 mV or NaN would
# be right. There is no warning. With `smooth_frames=False` the marker is recognised.
#
# Seen with wfdb 4.3.1, numpy 2.4.6, pandas 3.1.1:
#   one sample a frame:  [0.5 nan]
#   two samples a frame: [-163.59]
#   the same, not smoothed: [0.5 nan]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
env/bin/python -W ignore - <<'PY'
from pathlib import Path

import numpy as np
import wfdb

np.array([50, -32768], "<i2").tofile("signal.dat")
Path("single.hea").write_text("single 1 100 2\nsignal.dat 16 100/mV 16 0 0 0 0 I\n")
Path("double.hea").write_text("double 1 100 1\nsignal.dat 16x2 100/mV 16 0 0 0 0 I\n")

single = wfdb.rdrecord("single").p_signal[:, 0]
double = wfdb.rdrecord("double").p_signal[:, 0]
apart = wfdb.rdrecord("double", smooth_frames=False).e_p_signal[0]
print("wfdb", wfdb.__version__)
print("one sample a frame: ", single)
print("two samples a frame:", double)
print("the same, not smoothed:", apart)
assert np.array_equal(single, [0.5, np.nan], equal_nan=True)
assert np.array_equal(apart, [0.5, np.nan], equal_nan=True)
assert np.allclose(double, [(50 - 32768) / 2 / 100]), "the behaviour has changed"
PY
echo "as described"
