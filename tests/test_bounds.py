"""Reading ends soon and takes little memory, whatever a file says: harmless files that would cost much if believed."""

import io
import os
import socket
import time
from contextlib import suppress

import numpy as np
import pytest
import scipy.io

from ecgstudy.data import arrays, formats
from ecgstudy.data.formats import read_annotation
from ecgstudy.data.records import LEADS, RecordError, _lead_names, find_records, read_record
from tests.attack.mutations import memory

HEADER = "r 12 500 {n}\n" + "".join(f"r.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)


@pytest.fixture(autouse=True)
def quickly():
    began = time.process_time()
    yield
    assert time.process_time() - began < 5


def struct(compressed, **fields):
    file = io.BytesIO()
    ecg = {"sex": "Male", "age": 50, "data": np.zeros((12, 100))} | fields
    scipy.io.savemat(file, {"ECG": ecg}, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a", "I", ""])
def test_one_name_for_many_leads_takes_no_time(tmp_path, name):
    count = 900
    names = [name, "a (2)"] * (count // 2)
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + (",".join(["0.5"] * count) + "\n") * 3)
    record = read_record(tmp_path / "a.csv", fs=500)
    assert len(set(record.leads)) == count


def test_copies_are_numbered_as_before():
    notes = []
    assert _lead_names(["a", "a (2)", "a", "a", "i", "I", "a (2)"], notes) == [
        "a", "a (2)", "a (3)", "a (4)", "I", "I (2)", "a (2) (2)"
    ]  # fmt: skip
    assert notes[0] == "lead names: a further a called 'a (3)'" and len(notes) == 4
    assert len(set(_lead_names(["x"] * 100_000, []))) == 100_000


def test_a_table_of_many_columns_is_no_ecg(tmp_path):
    (tmp_path / "a.csv").write_text(
        ",".join(f"x{i}" for i in range(60_000)) + "\n" + (",".join(["0.5"] * 60_000) + "\n") * 2
    )
    with pytest.raises(RecordError, match="holds 60,000 leads, no ECG has more than 1,000"):
        read_record(tmp_path / "a.csv", fs=500)


def test_a_line_of_many_numbers_is_one_lead(tmp_path):
    values = np.round(np.random.default_rng(0).normal(0, 0.3, 100_000), 3)
    (tmp_path / "a.csv").write_text(",".join(map(str, values)) + "\n")
    assert find_records(tmp_path) == [tmp_path / "a.csv"]
    with pytest.raises(RecordError, match=r"shape \(1, 100000\), not 12 leads"):
        read_record(tmp_path / "a.csv", fs=500)
    record = read_record(tmp_path / "a.csv", fs=500, leads=["II"])
    np.testing.assert_array_equal(record.signal[0], values.astype(np.float32))


@pytest.mark.parametrize("blanks", [" " * 60_000, " _" * 60_000, "( " * 60_000])
def test_a_long_name_takes_no_time(tmp_path, blanks):
    rows = "".join(f"{i},0.{i},0.5\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"time{blanks}x,x{blanks}(y,II\n{rows}")
    assert "II" in read_record(tmp_path / "a.csv", fs=500).leads


@pytest.mark.parametrize(
    "cell", ["1" * 100_000, "1" * 100_000 + "x", "1:" * 60_000, "1." * 60_000, " " * 100_000 + "x"]
)
@pytest.mark.parametrize("name", ["I", "time ({})", "{}"])
def test_a_long_cell_takes_no_time(tmp_path, cell, name):
    (tmp_path / "a.csv").write_text(f"{name.format(cell)},II\n{cell},0.5\n{cell},0.5\n")
    find_records(tmp_path)
    with suppress(RecordError):  # a clock, a text or a number too large: what is left may be leads
        read_record(tmp_path / "a.csv", fs=500)


def test_a_struct_unpacks_to_what_one_may(tmp_path, monkeypatch):
    path = tmp_path / "A0001.mat"
    path.write_bytes(struct(True, data=np.zeros((12, 176_000))))  # 17 MB of zeros in 17 kB
    with pytest.raises(RecordError, match=r"is not a CPSC 2018 struct .*cut short"), memory(path.stat().st_size):
        read_record(path)
    path.write_bytes(struct(True, data=np.zeros((12, 100_000))))  # 200 s of flat leads
    assert read_record(path).signal.shape == (12, 100_000)
    monkeypatch.setattr(formats, "_SMALL_STRUCT", 0)
    noise = np.random.default_rng(0).normal(0, 0.3, (12, 5000))
    path.write_bytes(struct(True, data=noise))  # which does not compress
    np.testing.assert_array_equal(read_record(path).signal, noise.astype(np.float32))


def test_a_struct_of_many_fields_is_none(tmp_path):
    path = tmp_path / "A0001.mat"
    path.write_bytes(struct(False, **{f"f{i}": 0 for i in range(2000)}))
    with pytest.raises(RecordError, match="is not a CPSC 2018 struct"):
        read_record(path)


def test_a_long_error_keeps_the_file_and_the_remedy(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(f"lead {i}" for i in range(900)) + "\n" + "0.1," * 899 + "0.1\n")
    with pytest.raises(RecordError) as error:
        read_record(tmp_path / "a.csv", fs=500, leads=["I"])
    said = str(error.value)
    assert said.startswith(f"{tmp_path}/a.csv: holds 900 leads") and len(said) < 1100
    assert said.endswith("lead 899, not 1; name those in leads=")


# What is no file, or mostly a hole


def pipe(path):
    os.mkfifo(path)


def plug(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def endless(path):
    path.symlink_to("/dev/zero")


def hole(path):
    with path.open("wb") as file:
        file.truncate(3 << 30)


KINDS = [pipe, plug, endless, hole]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [0, 100])
def test_signal_files_that_are_none(here, kind, samples):
    (here / "r.hea").write_text(HEADER.format(n=samples))
    kind(here / "r.dat")
    if kind is hole and samples:
        assert read_record(here / "r").signal.shape == (12, 100)  # the rest is not looked at
        return
    with pytest.raises(RecordError, match=r"r\.hea: (r\.dat is not a file|holds [\d,]+ samples)"), memory(1000):
        read_record(here / "r")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["r.hea", "A0001.mat", "a.npy", "a.csv"])
def test_records_that_are_no_files(here, kind, name):
    kind(here / name)
    with memory(1000):
        find_records(here)
        with pytest.raises(RecordError, match=name.replace(".", r"\.")):
            read_record(here / name, fs=500)


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_that_are_no_files(here, kind):
    kind(here / "r.atr")
    with pytest.raises(RecordError, match=r"r\.atr"), memory(1000):
        read_annotation(here / "r", "atr")


@pytest.mark.parametrize("kind", KINDS)
def test_tables_that_are_no_files(here, kind):
    (here / "A0001.mat").write_bytes(struct(False))
    (here / "00001_hr.hea").write_text(HEADER.format(n=10))
    (here / "r.dat").write_bytes(bytes(240))
    for table, record in (("REFERENCE.csv", "A0001"), ("ptbxl_database.csv", "00001_hr")):
        kind(here / table)
        with memory(10_000):
            if kind is hole:
                with pytest.raises(RecordError, match=rf"{table} has 3,221,225,472 bytes"):
                    read_record(here / record)
            else:
                assert not read_record(here / record).codes


def test_arrays_of_more_samples_than_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MOST_VALUES", 11_999)
    monkeypatch.setattr(arrays, "_LARGEST", 50_000)
    np.save(tmp_path / "a.npy", np.zeros((12, 1000)))
    (tmp_path / "b.csv").write_text("0.001,0.002\n" * 5000)
    (tmp_path / "r.hea").write_text(HEADER.format(n=1000))
    (tmp_path / "r.dat").write_bytes(bytes(24_000))
    for name, said in {"a.npy": "12,000 samples", "b.csv": "60,000 bytes", "r.hea": "12,000 samples"}.items():
        with pytest.raises(RecordError, match=rf"{name}: .*{said}, more than the"):
            read_record(tmp_path / name, fs=500)


@pytest.mark.parametrize(
    "lines",
    [
        "# a comment\n" * 80_000,
        "#Dx: 426783006\n" * 40_000,
        "#Dx: " + ",".join(["59118001"] * 50_000) + "\n",
        "#Age: x\n" * 100_000,
        "#" + "1" * 900_000 + "\n",
        "#<age>: " + "(" * 900_000 + "\n",
        "# " + "a: b " * 150_000 + "\n",
        "#" + " " * 900_000 + "x\n",
    ],
    ids=lambda lines: lines[:12],
)
def test_long_headers_take_no_time(tmp_path, lines):
    (tmp_path / "r.hea").write_text(HEADER.format(n=1) + lines)
    (tmp_path / "r.dat").write_bytes(bytes(24))
    with memory((tmp_path / "r.hea").stat().st_size):
        assert read_record(tmp_path / "r").signal.shape == (12, 1)
