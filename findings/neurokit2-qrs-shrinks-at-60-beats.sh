#!/usr/bin/env bash
# neurokit2 0.3.0: the same QRS is 14 ms shorter at 60.1 beats a minute than at 59.9.
#
# The default method of `ecg_delineate`, "dwt", chooses the scale of its wavelet by the heart rate, in whole powers of two,
# rounded down. The step lies at 60 beats a minute, in the midst of what hearts do at rest (and again at 120). Below it
# the wavelet is twice as long, QRS begins earlier and ends later, and so QT is longer. A patient whose rate goes from 59
# to 61 gets another QRS and QT although no wave has changed, two groups of different rates differ for that alone, and at
# QRS widths around 120 ms it decides whether the QRS is "wide".
#
# Seen with neurokit2 0.3.0, numpy 2.4.6, scipy 1.17.1, 500 Hz (medians; beats alike but for their distance):
#   50.0 beats a minute: QRS 108 ms, QT 410 ms
#   59.9 beats a minute: QRS 108 ms, QT 410 ms
#   60.1 beats a minute: QRS  94 ms, QT 400 ms
#   70.0 beats a minute: QRS  94 ms, QT 400 ms
#   a broader QRS: 130 ms at 59.9, 118 ms at 60.1
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
BROAD = tuple((1.3 * at, 1.3 * w, h) if abs(at) < 0.1 else (at, w, h) for at, w, h in WAVES)


def qrs_and_qt(rate, waves=WAVES):
    """Median QRS and QT in ms of beats that are all alike, at ``rate`` beats a minute."""
    time, samples = np.arange(30 * FS) / FS, np.round(np.arange(0.6, 29.4, 60 / rate) * FS).astype(int)
    ecg = sum(h * np.exp(-(((time - r / FS - at) / w) ** 2)) for r in samples for at, w, h in waves)
    _, found = nk.ecg_delineate(ecg, samples, sampling_rate=FS)
    begin, *ends = (np.array(found[name], dtype=float) for name in ("ECG_R_Onsets", "ECG_R_Offsets", "ECG_T_Offsets"))
    return [1000 * np.nanmedian(end - begin) / FS for end in ends]


print("neurokit2", nk.__version__, "numpy", np.__version__)
seen = {rate: qrs_and_qt(rate) for rate in (50.0, 59.9, 60.1, 70.0)}
for rate, (qrs, qt) in seen.items():
    print(f"{rate} beats a minute: QRS {qrs:3.0f} ms, QT {qt:.0f} ms")
slower, faster = (qrs_and_qt(rate, BROAD)[0] for rate in (59.9, 60.1))
print(f"a broader QRS: {slower:.0f} ms at 59.9, {faster:.0f} ms at 60.1")
for one, other in ((50.0, 59.9), (60.1, 70.0)):
    assert np.abs(np.subtract(seen[one], seen[other])).max() <= 4, "the behaviour away from 60 has changed"
assert seen[59.9][0] - seen[60.1][0] >= 10 and seen[59.9][1] - seen[60.1][1] >= 6, "the step at 60 has changed"
assert slower > 120 > faster, "the behaviour of a broader QRS has changed"
PY
echo "as described"
