#!/usr/bin/env bash
# wfdb 4.3.1: a note of more than 255 characters turns into annotations that nobody made.
#
# An annotation file keeps the length of a note in one byte. `wrann` writes the length modulo 256 and then the whole
# note, and says nothing. What does not fit is later read as annotations. Two beats, one with a note of 300
# characters, come back as well over a hundred "annotations" at times that the characters happen to spell.
#
# Seen with wfdb 4.3.1, numpy 2.4.6, pandas 3.1.1:
#   a note of 255: 2 annotations, note of 255
#   a note of 300: 130 annotations, note of 44
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
env/bin/python -W ignore - <<'PY'
import numpy as np
import wfdb

print("wfdb", wfdb.__version__)
seen = {}
for length in (255, 300):
    wfdb.wrann("record", "atr", np.array([100, 300]), symbol=["N", "V"], aux_note=["", "x" * length], fs=100)
    read = wfdb.rdann("record", "atr")
    seen[length] = (len(read.sample), len(read.aux_note[1]))
    print(f"a note of {length}: {seen[length][0]} annotations, note of {seen[length][1]}")
assert seen[255] == (2, 255)
assert seen[300][1] == 300 - 256 and seen[300][0] > 100, "the behaviour has changed"
PY
echo "as described"
