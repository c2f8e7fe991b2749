#!/usr/bin/env bash
# edfio 0.4.18 and mne 1.13.2: an EDF+ annotation that has a line break in it is not read, and nothing says so.
#
# EDF+ (section 2.2.3) allows TAB, LF and CR in the text of an annotation, so that a note can have several lines. Both
# readers look for annotations with a pattern whose "any character" is not a line feed. Such a note is missing from
# what they return, the notes around it are there. edfio writes it too, and then does not see it: a note that was just
# put into a recording is not among its annotations, and taking all annotations to a new file drops it for good.
# pyedflib, which rests on another library, writes and reads it.
#
# Seen with edfio 0.4.18, mne 1.13.2, pyedflib 0.1.42, numpy 2.4.6, one file of three notes:
#   pyedflib reads: ['start', 'VT, 12 beats\nno pulse', 'end']
#   edfio reads:    ['start', 'end']
#   mne reads:      ['start', 'end'], warnings: 0
#   written by edfio: edfio ['start', 'end'], pyedflib ['start', 'VT, 12 beats\nno pulse', 'end']
#   taken over by edfio to another file: pyedflib ['start', 'end']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check edfio==0.4.18 mne==1.13.2 pyedflib==0.1.42 numpy==2.4.6
env/bin/python - <<'PY'
import warnings
from importlib.metadata import version

import edfio
import mne
import numpy as np
import pyedflib

NOTES = ["start", "VT, 12 beats\nno pulse", "end"]
ecg = np.sin(np.arange(2500) / 20)


def by_pyedflib(name):
    with pyedflib.EdfReader(name) as reader:
        return [str(text) for text in reader.readAnnotations()[2]]


def by_edfio(edf):
    return [annotation.text for annotation in edf.annotations]


with pyedflib.EdfWriter("notes.edf", 1) as writer:  # 10 s at 250 Hz
    writer.setSignalHeader(0, pyedflib.highlevel.make_signal_header(
        "ECG II", dimension="mV", sample_frequency=250, physical_min=-5, physical_max=5, digital_min=-32768,
        digital_max=32767))
    writer.writeSamples([ecg])
    for number, note in enumerate(NOTES):
        writer.writeAnnotation(2 + 2 * number, -1, note)

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    of_mne = [str(text) for text in mne.io.read_raw_edf("notes.edf", verbose="warning").annotations.description]
of_edfio = by_edfio(edfio.read_edf("notes.edf"))

signal = edfio.EdfSignal(ecg, 250, label="ECG II", physical_dimension="mV", physical_range=(-5, 5))
written = edfio.Edf([signal], annotations=[edfio.EdfAnnotation(2 + 2 * n, None, note) for n, note in enumerate(NOTES)])
written.write("written.edf")
edfio.Edf([signal], annotations=written.annotations).write("taken.edf")

print("edfio", version("edfio"), "mne", version("mne"), "pyedflib", version("pyedflib"))
print(f"pyedflib reads: {by_pyedflib('notes.edf')}")
print(f"edfio reads:    {of_edfio}")
print(f"mne reads:      {of_mne}, warnings: {len(told)}")
print(f"written by edfio: edfio {by_edfio(written)}, pyedflib {by_pyedflib('written.edf')}")
print(f"taken over by edfio to another file: pyedflib {by_pyedflib('taken.edf')}")
assert by_pyedflib("notes.edf") == by_pyedflib("written.edf") == NOTES
assert of_edfio == of_mne == by_edfio(written) == by_pyedflib("taken.edf") == ["start", "end"], "the behaviour has changed"
assert not told, "the behaviour has changed: there is a warning"
PY
echo "as described"
