"""Device formats: read back what another library, or a writer after the specification, wrote of simulated records."""

import numpy as np
import pytest

from ecgstudy.data.records import LEADS, read_record
from ecgstudy.data.simulator.synthetic import simulate
from tests import device_files as files

pytest.importorskip("ecgdatakit", reason="needs the extra devices")
FS = 500

# Format → suffix, writer, steps of µV, leads that the file stores
FORMATS = {
    "dicom": (".dcm", files.write_dicom, 0.5, LEADS),
    "edf": (".edf", files.write_edf, 0.5, LEADS),
    "bdf": (".bdf", files.write_bdf, 0.5, LEADS),
    "ishne": (".ecg", files.write_ishne, 0.5, LEADS),
    "scp": (".scp", files.write_scp, 0.5, LEADS),
    "aecg": (".xml", files.write_aecg, 0.5, LEADS),
    "muse": (".xml", files.write_muse, 4.88, files.EIGHT),
    "sierra": (".xml", files.write_sierra, 5, LEADS),
}


@pytest.fixture(scope="module")
def source():
    """(12, samples) in mV of a simulated record."""
    return simulate(3, 1, labels=frozenset({"RBBB"}), fs=FS, seconds=10).record.signal.astype(np.float64)


def counts_of(signal, step, leads=LEADS):
    """Whole steps of the leads."""
    return np.rint(signal[[LEADS.index(lead) for lead in leads]] * 1000 / step).astype(np.int64)


def kinds(record):
    return {note.split(":")[0] for note in record.notes}


@pytest.mark.parametrize("name", FORMATS)
def test_a_simulated_record_is_read_back_within_the_formats_resolution(name, source, tmp_path):
    suffix, write, step, leads = FORMATS[name]
    path = tmp_path / f"ecg{suffix}"
    write(path, counts_of(source, step, leads), FS, leads, step)
    record = read_record(path)
    assert record.leads == LEADS and record.fs == FS and record.signal.dtype == np.float32
    assert record.name == "ecg" and record.sex == "F" and record.age == 61 and not record.identity
    computed = 1.5 if len(leads) < 12 else 1.0  # of two rounded leads
    np.testing.assert_allclose(record.signal, source, atol=computed * step / 2000 + 1e-6)
    assert kinds(record) <= {"median beat", "computed leads", "amplitude"}
    print(record.notes)
