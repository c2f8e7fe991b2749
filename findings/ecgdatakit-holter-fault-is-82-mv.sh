#!/usr/bin/env bash
# ecgdatakit 2.0.3: a sample that an ISHNE Holter file marks as faulty is read as a voltage, -81.92 mV.
#
# The ISHNE standard (Badilini 1998) keeps -32768 for a sample that could not be taken, a lead that fell off for
# instance. The reader counts such samples in `raw_metadata`, and scales them like all others: at 2.5 µV a step one
# becomes -81.92 mV. Nothing warns, and a filter afterwards spreads it over its neighbours.
#
# Seen with ecgdatakit 2.0.3, numpy 2.4.6:
#   samples 499 to 501: 1.2475, -81.92, 1.2525 mV, warnings: 0, counted as faulty: [1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ecgdatakit==2.0.3 numpy==2.4.6
env/bin/python - <<'PY'
import struct
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ecgdatakit import FileParser

RATE, STEP = 200, 2500  # Hz; nV

samples = np.arange(1000, dtype="<i2")
samples[500] = -32768
# After the magic number and a checksum (0: not computed) comes the fixed header of 512 bytes, then the samples.
header = bytearray(512)
struct.pack_into("<iiii", header, 0, 0, len(samples), 522, 522)  # no variable part; samples; where parts begin
struct.pack_into("<h", header, 16, 1)  # version
struct.pack_into("<h", header, 146, 1)  # leads
struct.pack_into("<12h", header, 148, 1, *[-9] * 11)  # what each is
struct.pack_into("<12h", header, 196, STEP, *[0] * 11)  # resolution
struct.pack_into("<h", header, 262, RATE)
Path("h.ecg").write_bytes(b"ISHNE1.0" + struct.pack("<H", 0) + bytes(header) + samples.tobytes())

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    record = FileParser.parse("h.ecg")
lead = record.leads[0]
assert lead.sampling_rate == RATE and len(lead.samples) == 1000
counted = [value for name, value in record.raw_metadata.items() if "fault" in name]
print("ecgdatakit", version("ecgdatakit"))
before, faulty, after = (f"{value:g}" for value in np.round(lead.samples[499:502], 4))
print(f"samples 499 to 501: {before}, {faulty}, {after} mV, warnings: {len(told)}, counted as faulty: {counted[0]}")
assert np.allclose(lead.samples[499:502], [1.2475, -81.92, 1.2525]), "the behaviour has changed"
PY
echo "as described"
