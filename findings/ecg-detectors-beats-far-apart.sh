#!/usr/bin/env bash
# py-ecg-detectors 1.3.5: the place of a beat depends on the detector, and in one of them on when the recording begins.
#
# All detectors of the package give "R peaks". On a clean ECG with R peaks at known times some give the R peak, and
# others a place that is 56 or 72 ms later, after the QRS. `hamilton_detector` gives a place 32 ms after R, or 124 ms
# before it: the same beats, recorded from 0.1 s earlier on, move by 156 ms against R. Beats of two detectors, or of two
# recordings, cannot be compared, nor beats be cut out by them.
#
# Seen with py-ecg-detectors 1.3.5, numpy 2.4.6, scipy 1.17.1, 250 Hz, 75 beats a minute (median offset from R):
#   first R at 0.6 s: hamilton  +32 ms, christov 0, engzee 0, pan_tompkins 0, swt +56, two_average +72
#   first R at 0.7 s: hamilton -124 ms, christov 0, engzee 0, pan_tompkins 0, swt +60, two_average +72
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check py-ecg-detectors==1.3.5 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
env/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from ecgdetectors import Detectors

FS = 250
# (place after R in s, width in s, height in mV) of P, Q, R, S, T
WAVES = ((-0.16, 0.025, 0.12), (-0.03, 0.01, -0.1), (0, 0.012, 1), (0.03, 0.01, -0.2), (0.25, 0.05, 0.25))
NAMES = ("hamilton", "christov", "engzee", "pan_tompkins", "swt", "two_average")


def offsets(first):
    """Median distance in ms of each detector's beats from the R peaks, the first of which is at ``first`` s."""
    time, r_peaks = np.arange(20 * FS) / FS, np.arange(first, 19.6, 0.8)
    ecg = sum(h * np.exp(-(((time - r - at) / w) ** 2)) for r in r_peaks for at, w, h in WAVES)
    ecg = ecg + np.random.default_rng(0).normal(0, 0.01, len(ecg))
    seen = {}
    for name in NAMES:
        found = np.array(getattr(Detectors(FS), f"{name}_detector")(ecg)) / FS
        nearest = found[np.abs(found[:, None] - r_peaks).argmin(axis=0)]
        seen[name] = 1000 * np.median(nearest - r_peaks)
    print(f"first R at {first} s: " + ", ".join(f"{name} {offset:+.0f} ms" for name, offset in seen.items()))
    return seen


print("py-ecg-detectors", version("py-ecg-detectors"))
early, late = offsets(0.6), offsets(0.7)
for seen in (early, late):
    assert abs(seen["engzee"]) <= 4 and seen["swt"] > 40 and seen["two_average"] > 60, "the behaviour has changed"
assert early["hamilton"] > 20 and late["hamilton"] < -100, "the behaviour of hamilton_detector has changed"
PY
echo "as described"
