#!/usr/bin/env bash
# wfdb 4.3.1: a gain with a capital exponent loses it, and a baseline with a plus sign is dropped; neither is said.
#
# In a WFDB header the gain of a lead is a floating-point number, and its baseline an integer in brackets. `rdheader`
# finds both with a pattern that knows `1e2` but not `1E2`, and `(-5)` but not `(+5)`. From "1E2/mV" it reads a gain
# of 1 and takes "E2/mV" for the unit, so that the signal is a hundred times too large. From "100(+5)/mV" it reads a
# baseline of 0. Programs in C that print a number with %G or %+d write such headers.
#
# Seen with wfdb 4.3.1, numpy 2.4.6, pandas 3.1.1, for 100 steps:
#   1e2/mV       gain 100  baseline 0   unit mV      1.0
#   1E2/mV       gain 1    baseline 0   unit E2/mV   100.0
#   100(-5)/mV   gain 100  baseline -5  unit mV      1.05
#   100(+5)/mV   gain 100  baseline 0   unit mV      1.0    (0.95 is right)
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

np.array([100], "<i2").tofile("signal.dat")
expected = {
    "1e2/mV": (100, 0, "mV", 1.0),
    "1E2/mV": (1, 0, "E2/mV", 100.0),
    "100(-5)/mV": (100, -5, "mV", 1.05),
    "100(+5)/mV": (100, 0, "mV", 1.0),
}
print("wfdb", wfdb.__version__)
for gain, seen in expected.items():
    Path("one.hea").write_text(f"one 1 100 1\nsignal.dat 16 {gain} 16 0 0 0 0 I\n")
    record = wfdb.rdrecord("one")
    found = (record.adc_gain[0], record.baseline[0], record.units[0], record.p_signal[0, 0])
    print(f"{gain:<12} gain {found[0]:<4g} baseline {found[1]:<3} unit {found[2]:<8} {found[3]}")
    assert found[:3] == seen[:3] and np.isclose(found[3], seen[3]), f"{gain}: the behaviour has changed"
PY
echo "as described"
