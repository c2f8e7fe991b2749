#!/usr/bin/env bash
# ecgdatakit 2.0.3: a GE MUSE file at 125.5 Hz is read as 126 Hz, one at 0.4 Hz as 0 Hz, without a warning.
#
# MUSE XML states a rate as SampleBase times ten to the power of SampleExponent, so 1255 and -1 are 125.5 Hz. The reader
# rounds that to whole hertz. After an hour at 125.5 Hz, a beat stands 14 s too early.
#
# Seen with ecgdatakit 2.0.3, numpy 2.4.6:
#   1255 x 10^-1 Hz: read as 126 Hz, warnings: 0; the last of 3600 s stands at 3585.7 s
#   4 x 10^-1 Hz: read as 0 Hz, warnings: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ecgdatakit==2.0.3 numpy==2.4.6
env/bin/python - <<'PY'
import base64
import warnings
from importlib.metadata import version
from pathlib import Path

from ecgdatakit import FileParser

FILE = """<RestingECG><Waveform><WaveformType>Rhythm</WaveformType>
<SampleBase>{base}</SampleBase><SampleExponent>{exponent}</SampleExponent><LeadData><LeadID>I</LeadID>
<LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>
<WaveFormData>{data}</WaveFormData></LeadData></Waveform></RestingECG>"""


def rate(base, exponent):
    data = base64.b64encode(bytes(2000)).decode()
    Path("m.xml").write_text(FILE.format(base=base, exponent=exponent, data=data))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read = FileParser.parse("m.xml").leads[0].sampling_rate
    print(f"{base} x 10^{exponent} Hz: read as {read} Hz, warnings: {len(told)}", end="")
    return read, len(told)


print("ecgdatakit", version("ecgdatakit"))
read, told = rate(1255, -1)
print(f"; the last of 3600 s stands at {3600 * 125.5 / read:.1f} s")
assert (read, told) == (126, 0), "the behaviour has changed"
read, told = rate(4, -1)
print()
assert (read, told) == (0, 0), "the behaviour has changed"
PY
echo "as described"
