"""The real ECGs that are committed with the book."""

import re

import numpy as np
import pytest

from ecgstudy.book import real_records
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import load_manifest
from ecgstudy.data.records import LEADS
from ecgstudy.paths import data_root

NAMES = list(real_records.committed())


def test_every_class_is_there_and_every_file_is_listed():
    labels = {label for one in real_records.committed().values() for label in one.labels}
    assert labels == set(CLASSES)
    files = {path.name for path in real_records.FOLDER.iterdir()} - {"records.yaml"}
    marks = {f"ludb-96.{lead.lower()}" for lead in LEADS}  # the waves that cardiologists marked in one of them
    assert files == {f"{name}{suffix}" for name in NAMES for suffix in (".hea", ".dat")} | marks


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_read_and_says_nothing_of_the_patient(name):
    one = real_records.committed()[name]
    record = one.record
    assert record.labels == set(one.labels) and record.codes == one.codes and record.leads == LEADS
    assert record.fs == one.fs and record.signal.shape == (12, round(10 * one.fs))
    assert record.age is None and record.sex is None
    kinds = {note.partition(":")[0] for note in record.notes}
    assert kinds <= {"comment style", "constant end"}  # as WFDB writes it; as PTB-XL ends
    assert np.isfinite(record.signal).all() and 0.1 < np.abs(record.signal).max() < 8
    path = real_records.FOLDER / f"{name}.hea"
    head = path.read_text(encoding="utf-8")
    assert head.splitlines()[0] == f"{name} 12 {one.fs:g} {record.signal.shape[1]}"  # no date, no time
    assert not re.search(r"(?i)\b(age|sex|male|female|born|patient)\b", head)
    assert path.with_suffix(".dat").stat().st_size <= 120_000


@pytest.mark.parametrize("name", NAMES)
def test_its_licence_allows_it_and_is_named(name):
    one = real_records.committed()[name]
    licence = load_manifest()[one.data_set].licence
    assert licence in ("CC BY 4.0", "ODC-By 1.0")
    head = (real_records.FOLDER / f"{name}.hea").read_text(encoding="utf-8")
    assert licence in head and one.path.rpartition("/")[2].removesuffix("_hr") in head
    row = next(line for line in real_records.table().splitlines() if f"`{name}`" in line)
    assert licence in row and one.path in row and "{cite}" in row


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_original(name):
    """Against the recording itself, resampled by another: in time and not in frequency."""
    one = real_records.committed()[name]
    if not (data_root() / one.data_set / f"{one.path}.hea").exists():
        pytest.skip(f"{one.data_set} is not at hand")
    original = one.original()
    assert original.labels == set(one.labels)
    kept = np.rint(1000 * one.record.signal).astype(int)
    assert np.abs(kept - one.cut(original)).max() <= 1  # another machine's transform may round otherwise
    step = round(original.fs / one.fs)
    first = round(one.start * original.fs)
    plain = 1000 * original.signal[:, first : first + 10 * round(original.fs) : step]
    for ours, theirs in zip(kept[:, 50:-50], plain[:, 50:-50], strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.98
        assert np.median(np.abs(ours - theirs)) < 25


def test_the_gallery_shows_each():
    text = real_records.gallery()
    for drawing, name in real_records.drawings().items():
        assert f"computed/{drawing}.svg" in text and f"`{name}`" in text
