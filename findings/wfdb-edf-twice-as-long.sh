#!/usr/bin/env bash
# wfdb 4.3.1: a record of 10 s becomes an EDF of 20 s, and one of 10.5 s loses the end of its leads.
#
# `wfdb_to_edf` writes blocks of 10 s. A record that fills its blocks exactly gets one block more, at the lowest value
# of the range: it reads back twice as long, its second half a flat line. The last block of any other record is
# filled up at the end of the block instead of at the end of each lead. What is left of the second lead then stands
# within the first one's part, and the second lead's part is flat.
#
# Seen with wfdb 4.3.1, numpy 2.4.6, pandas 3.1.1, two leads at 250 Hz, a sine of 1 mV and a cosine of 2 mV:
#   10.0 s: written 2500 samples, read 5000; the further ones have a spread of 0
#   10.5 s: written 2625 samples, read 5000; largest error of the leads, first 10 s: 0.0000 0.0000 mV
#           largest error of the last half second: 0.0000 4.0001 mV; the first lead goes on with the second's: correlation 1.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
env/bin/python -W ignore - <<'PY'
import contextlib
import io

import numpy as np
import wfdb
from wfdb.io.convert.edf import read_edf, wfdb_to_edf

FS = 250


def there_and_back(seconds):
    time = np.arange(round(seconds * FS)) / FS
    written = np.column_stack([np.sin(2 * np.pi * time), 2 * np.cos(2 * np.pi * 1.3 * time)])
    wfdb.wrsamp("record", fs=FS, units=["mV"] * 2, sig_name=["I", "II"], p_signal=written, fmt=["16"] * 2)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its block sizes
        wfdb_to_edf("record")
        return written, read_edf("record.edf").p_signal


print("wfdb", wfdb.__version__)
written, read = there_and_back(10)
further = read[len(written) :]
print(f"10.0 s: written {len(written)} samples, read {len(read)}; the further ones have a spread of {np.ptp(further, axis=0).max():g}")
assert len(read) == 2 * len(written) and (np.ptp(further, axis=0) == 0).all(), "the behaviour has changed"

written, read = there_and_back(10.5)
error = np.abs(read[: len(written)] - written)
whole, last = error[: 10 * FS].max(axis=0), error[10 * FS :].max(axis=0)
print(f"10.5 s: written {len(written)} samples, read {len(read)}; largest error of the leads, first 10 s: {whole[0]:.4f} {whole[1]:.4f} mV")
print(f"        largest error of the last half second: {last[0]:.4f} {last[1]:.4f} mV", end="; ")
left = len(written) - 10 * FS
gone_on = read[len(written) : len(written) + left, 0]
same = np.corrcoef(gone_on, written[10 * FS :, 1])[0, 1]
print(f"the first lead goes on with the second's: correlation {same:.4f}")
assert (whole < 1e-3).all() and last[0] < 1e-3 and last[1] > 3.9, "the behaviour has changed"
assert same > 0.999, "the behaviour has changed"
PY
echo "as described"
