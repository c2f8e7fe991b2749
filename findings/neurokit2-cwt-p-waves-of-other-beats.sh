#!/usr/bin/env bash
# neurokit2 0.3.0: delineation by "cwt" gives each beat the P wave of the next one, and the T wave where there is no P.
#
# `ecg_delineate` returns lists of waves, one entry a beat. Those of the methods "dwt", "peak" and "prominence" stand beside
# the R peak that they belong to. "cwt" looks between two R peaks and calls the first wave there T and the last one P. So
# entry i of its P waves belongs to beat i + 1, the list is one short, and a PR interval taken entry by entry is negative,
# by a whole beat. Where only one wave lies between two beats, as in atrial fibrillation, it is both: the T wave is given
# as P wave, too, at the same sample, and nothing tells that there was no P wave. "dwt" and "peak" give NaN on that signal.
# (Parts of it were reported as NeuroKit issues 804 and 809, closed as "wontfix".)
#
# Seen with neurokit2 0.3.0, numpy 2.4.6, scipy 1.17.1, 500 Hz, 75 beats a minute, P peak 160 ms before R, T 280 ms after:
#   cwt, 36 beats: 35 P peaks, median R - P by entry -640 ms, with the next beat's R 160 ms
#   prominence, 36 beats: 36 P peaks, median R - P by entry 160 ms
#   no P waves, cwt: 35 P peaks, of which 35 at the sample of a T peak
#   no P waves, dwt: 0 P peaks
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check neurokit2==0.3.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
env/bin/python -W ignore - <<'PY'
import neurokit2 as nk
import numpy as np

FS = 500
# (place after R in s, width in s, height in mV) of P, Q, R, S, T
WAVES = ((-0.16, 0.025, 0.12), (-0.03, 0.01, -0.1), (0, 0.012, 1), (0.03, 0.01, -0.2), (0.28, 0.05, 0.25))


def delineated(waves, method):
    """R peaks, and the P and T peaks that the method gives, in samples (NaN where it gives none)."""
    time, r_peaks = np.arange(30 * FS) / FS, np.arange(0.6, 29.4, 0.8)
    ecg = sum(h * np.exp(-(((time - r - at) / w) ** 2)) for r in r_peaks for at, w, h in waves)
    samples = np.round(r_peaks * FS).astype(int)
    _, found = nk.ecg_delineate(ecg, samples, sampling_rate=FS, method=method)
    return samples, *(np.array(found[f"ECG_{wave}_Peaks"], dtype=float) for wave in "PT")


def interval(r_peaks, p_peaks):
    """Median time in ms from entry i of the P peaks to entry i of the R peaks."""
    count = min(len(r_peaks), len(p_peaks))
    return 1000 * np.nanmedian(r_peaks[:count] - p_peaks[:count]) / FS


print("neurokit2", nk.__version__, "numpy", np.__version__)
r_peaks, p_peaks, _ = delineated(WAVES, "cwt")
by_entry, shifted = interval(r_peaks, p_peaks), interval(r_peaks[1:], p_peaks)
print(
    f"cwt, {len(r_peaks)} beats: {len(p_peaks)} P peaks, median R - P by entry {by_entry:.0f} ms, "
    f"with the next beat's R {shifted:.0f} ms"
)
assert len(p_peaks) == len(r_peaks) - 1 and abs(by_entry + 640) < 10 and abs(shifted - 160) < 10, "cwt has changed"
_, others, _ = delineated(WAVES, "prominence")
by_entry = interval(r_peaks, others)
print(f"prominence, {len(r_peaks)} beats: {len(others)} P peaks, median R - P by entry {by_entry:.0f} ms")
assert len(others) == len(r_peaks) and abs(by_entry - 160) < 10, "prominence has changed"

_, p_peaks, t_peaks = delineated(WAVES[1:], "cwt")
found, both = np.isfinite(p_peaks).sum(), (p_peaks == t_peaks).sum()
print(f"no P waves, cwt: {found} P peaks, of which {both} at the sample of a T peak")
assert both == found == len(r_peaks) - 1, "cwt without P waves has changed"
found = np.isfinite(delineated(WAVES[1:], "dwt")[1]).sum()
print(f"no P waves, dwt: {found} P peaks")
assert found == 0, "dwt without P waves has changed"
PY
echo "as described"
