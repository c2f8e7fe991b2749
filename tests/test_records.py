import hashlib
import io
import re
import tracemalloc
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgstudy.data import formats
from ecgstudy.data.formats import wfdb
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.leads import residuals
from ecgstudy.data.records import LEADS, Record, RecordError, find_records, read_record

HEADER = "{name} 12 500 1000\n" + "".join(f"{{name}}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)


def lawful(seed, samples, highest):
    """Noise (samples, 12), whose limb leads obey Einthoven's and Goldberger's laws."""
    values = np.random.default_rng(seed).integers(-highest, highest, (samples, 12)).astype("<i2")
    first, second = (values[:, :2] // 4 * 2).T
    limb = [first, second, second - first, -(first + second) // 2, first - second // 2, second - first // 2]
    values[:, :6] = np.column_stack(limb)
    return values


@pytest.fixture
def digital():
    return lawful(0, 1000, 1000)


@pytest.fixture
def write(tmp_path, digital):
    """Write a header and its signal file, return the path without suffix; a header without comments gets a label."""

    def write(header=HEADER, name="rec", folder=tmp_path, suffix=".dat", data=None, label="#Dx: 426783006\n"):
        folder.mkdir(parents=True, exist_ok=True)
        comments = "" if "#" in header else label
        (folder / f"{name}.hea").write_text(header.replace("{name}", name) + comments, encoding="utf-8")
        (folder / f"{name}{suffix}").write_bytes(digital.tobytes() if data is None else data)
        return folder / name

    return write


def challenge(gain="1000/mV", line="{name}", comments="#Age: 74\n#Sex: Male\n#Dx: 59118001\n"):
    leads = "".join(f"{{name}}.mat 16+24 {gain} 16 0 0 0 0 {lead}\n" for lead in LEADS)
    return f"{line} 12 500 1000\n{leads}{comments}"


def write_with_wfdb(**fields):
    with warnings.catch_warnings():  # it uses what pandas 3 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        wfdb.wrsamp(**fields)


def kinds(record):
    return {note.split(":")[0] for note in record.notes}


def assert_equals_wfdb(path, ours=None):
    ours, theirs = ours or read_record(path), wfdb.rdrecord(str(path).removesuffix(".hea"))
    assert ours.fs == theirs.fs
    expected = dict(zip([name.lower() for name in theirs.sig_name], theirs.p_signal.T.astype(np.float32), strict=True))
    for lead, values in zip(ours.leads, ours.signal, strict=True):
        np.testing.assert_array_equal(values, expected[lead.lower()], err_msg=f"{path} {lead}")
    assert ours.signal.dtype == np.float32 and ours.signal.flags.c_contiguous and len(ours.leads) == theirs.n_sig


# Formats: the oracle is wfdb, which also writes the files


@pytest.mark.parametrize("leads, samples", [(1, 7), (3, 101), (12, 500)])
@pytest.mark.parametrize("fmt", ["80", "212", "16", "24", "32", "508", "516", "524"])
def test_written_by_wfdb(tmp_path, fmt, leads, samples):
    bits = {"80": 8, "508": 8, "212": 12, "24": 24, "32": 32, "524": 24}.get(fmt, 16)
    random = np.random.default_rng(samples)
    d_signal = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (samples, leads))
    d_signal[samples // 2, 0] = -(2 ** (bits - 1))  # WFDB's invalid sample
    full_scale = 2 ** (bits - 1) / 10  # steps per mV, so that the range is ±10 mV
    gains = [full_scale, full_scale * np.pi, full_scale + 0.1] * 4
    names = ["V1", "x", "II", "III", "I", "aVL", "aVR", "aVF", "v2", "v3", "v4", "v5"]
    write_with_wfdb(
        record_name="rec", fs=360, units=["mV"] * leads, sig_name=names[:leads], d_signal=d_signal, fmt=[fmt] * leads,
        adc_gain=gains[:leads], baseline=[0, -3, 7, *range(9)][:leads], write_dir=str(tmp_path),
    )  # fmt: skip
    assert_equals_wfdb(tmp_path / "rec")
    assert np.isnan(read_record(tmp_path / "rec").signal[0]).any()


@pytest.mark.parametrize("fmt, bytes_per_value", [("8", 1), ("61", 2), ("160", 2), ("310", 4 / 3), ("311", 4 / 3)])
def test_formats_that_wfdb_cannot_write(write, fmt, bytes_per_value):
    header = "{name} 3 250 120\n" + "".join(f"{{name}}.dat {fmt} 2000(5)/mV 16 0 3 0 0 V{i}\n" for i in (1, 2, 3))
    data = np.random.default_rng(1).integers(0, 256, int(360 * bytes_per_value), np.uint8)
    if fmt == "311":
        data[3::4] &= 0x3F  # two bits of no value, of which wfdb takes one for part of the third
    assert_equals_wfdb(write(header, data=data.tobytes()))


# Values by the definition of each format; the last of them is the missing sample.
BY_HAND = {
    "16": ([1, -2, -(2**15)], np.array([1, -2, -(2**15)], "<i2").tobytes()),
    "24": ([1, -2, -(2**23)], bytes([1, 0, 0, 0xFE, 0xFF, 0xFF, 0, 0, 0x80])),
    "32": ([1, -2, -(2**31)], np.array([1, -2, -(2**31)], "<i4").tobytes()),
    "61": ([1, -2, -(2**15)], np.array([1, -2, -(2**15)], ">i2").tobytes()),
    "80": ([1, -2, -(2**7)], bytes([129, 126, 0])),
    "160": ([1, -2, -(2**15)], np.array([32769, 32766, 0], "<u2").tobytes()),
    "212": ([1, -2, -(2**11)], bytes([0x01, 0xF0, 0xFE, 0x00, 0x08])),
    "310": ([1, -2, -(2**9)], bytes([0x02, 0x00, 0xFC, 0x87])),
    "311": ([1, -2, -(2**9)], (1 | (0x3FE << 10) | (0x200 << 20)).to_bytes(4, "little")),
}


@pytest.mark.parametrize("fmt", BY_HAND)
def test_missing_sample_of_every_format(write, fmt):
    values, data = BY_HAND[fmt]
    record = read_record(write(f"{{name}} 1 250 3\n{{name}}.dat {fmt} 100(4)/mV 12 0 0 0 0 V1\n", data=data))
    expected = (np.array(values, np.float64) - 4) / 100
    np.testing.assert_array_equal(record.signal[0], np.float32([*expected[:2], np.nan]))
    assert record.notes == ("fewer leads: V1", "missing samples: 1 in V1, read as NaN")


@pytest.mark.parametrize("fmt", BY_HAND)
def test_a_missing_sample_in_a_frame_of_every_format(write, fmt):
    """All three in one frame, then the first two of one lead and the last of another."""
    data = BY_HAND[fmt][1]
    with pytest.raises(RecordError, match="every sample is missing"):
        read_record(write(f"{{name}} 1 250 1\n{{name}}.dat {fmt}x3 100/mV 12 0 0 0 0 V1\n", data=data))
    lines = f"{{name}}.dat {fmt}x2 10(-4)/mV 12 0 0 0 0 II\n{{name}}.dat {fmt} 100/mV 12 0 0 0 0 V1\n"
    record = read_record(write("{name} 2 250 1\n" + lines, data=data))
    np.testing.assert_array_equal(record.signal, np.float32([[0.4], [np.nan]]))  # (1 - 2)/2 is cut to 0


def test_frames(write):
    """Means are cut to a whole step as wfdb does, but not over a missing sample, which it takes for a value."""
    frames = np.array([[50, 51, 7], [50, -(2**15), 8], [-50, -51, 9], [-(2**15), -(2**15), 9]], "<i2")
    lines = "{name}.dat 16x2 100/mV 12 0 0 0 0 II\n{name}.dat 16 100/mV 12 0 0 0 0 V1\n"
    path = write("{name} 2 250 4\n" + lines, data=frames.tobytes())
    record = read_record(path)
    np.testing.assert_array_equal(record.signal, np.float32([[0.5, np.nan, -0.5, np.nan], [0.07, 0.08, 0.09, 0.09]]))
    assert "samples per frame: 2 in some leads, their mean read at 250 Hz" in record.notes
    assert "missing samples: 2 in II, read as NaN" in record.notes
    whole = [0, 2]
    np.testing.assert_array_equal(record.signal[:, whole], wfdb.rdrecord(str(path)).p_signal.T[:, whole].astype("f4"))


@pytest.mark.parametrize("fmt, subtype", [("508", "PCM_S8"), ("516", "PCM_16"), ("524", "PCM_24")])
def test_frames_in_flac(write, tmp_path, fmt, subtype):
    bits = int(fmt) - 500
    values = np.array([[10, 1], [12, 2], [-(2 ** (bits - 1)), 3], [11, 4]])  # a lead a column
    soundfile.write(tmp_path / "rec.dat", (values << (32 - bits)).astype(np.int32), 500, subtype, format="FLAC")
    header = "{name} 2 250 2\n" + "".join(f"{{name}}.dat {fmt}x2 1E1/mV 12 0 0 0 0 {lead}\n" for lead in ("II", "V1"))
    record = read_record(write(header, data=(tmp_path / "rec.dat").read_bytes()))
    np.testing.assert_array_equal(record.signal, np.float32([[1.1, np.nan], [0.1, 0.3]]))


@pytest.mark.parametrize("fmt", ["16", "24", "32", "61", "16x2", "8"])
@pytest.mark.parametrize(
    "gain, baseline, per_mv",
    [
        ("1E2/mV", 0, 100),
        ("100(+5)/mV", 5, 100),
        ("1e+2(-5.0)/mV", -5, 100),
        (".5e3/mV", 0, 500),
        ("+200./mV", 0, 200),
        ("100.00000000000000000000000000/mV", 0, 100),
        ("1e+16/V", 0, 1e13),
        ("1e-4/nV", 0, 100),
        ("0.1/uV", 0, 100),
        ("100/millivolts", 0, 100),
    ],
)  # fmt: skip
def test_gain_and_baseline_are_the_same_in_all_formats(write, fmt, gain, baseline, per_mv):
    """Those that wfdb's header reader gets wrong among them."""
    kind = {"24": "<i4", "32": "<i4", "61": ">i2", "8": "i1"}.get(fmt, "<i2")
    per_frame = 2 if "x" in fmt else 1
    values = np.repeat(np.array([0, 20, -30, 40]), per_frame)
    data = (np.diff(values, prepend=0) if fmt == "8" else values).astype(kind)
    data = data.view(np.uint8).reshape(-1, 4)[:, :3].tobytes() if fmt == "24" else data.tobytes()
    record = read_record(write(f"{{name}} 1 250 4\n{{name}}.dat {fmt} {gain} 12 0 0 0 0 V1\n", data=data))
    np.testing.assert_allclose(record.signal[0], (np.array([0, 20, -30, 40]) - baseline) / per_mv, rtol=1e-6)


def test_several_samples_per_frame_and_skew(write):
    header = "{name} 2 250 100\n{name}.dat 16x2 200 12 0 0 0 0 II\n{name}.dat 16:3 200 12 0 0 0 0 V1\n"
    assert_equals_wfdb(write(header, data=np.arange(-150, 150, dtype="<i2").tobytes()))


@pytest.mark.parametrize("offset", ["+24", "x1+24", "x1:0+24", "+3"])
@pytest.mark.parametrize("fmt", ["16", "80", "212"])
def test_byte_offset(write, fmt, offset):
    header = "{name} 2 250 99\n" + "".join(f"{{name}}.dat {fmt}{offset} 300(2)/mV 12 0 0 0 0 {n}\n" for n in ("a", "b"))
    data = np.random.default_rng(2).integers(0, 256, 2 * 198 + 24, np.uint8).tobytes()
    assert_equals_wfdb(write(header, data=data))


def test_several_signal_files(write, tmp_path):
    header = "{name} 3 250 50\nother.dat 212 200 12 0 0 0 0 MLII\n{name}.dat 16 400(1)/mV 16 0 0 0 0 V1\n"
    path = write(header + "{name}.dat 16 500/mV 16 0 0 0 0 V2\n", data=np.arange(100, dtype="<i2").tobytes())
    (tmp_path / "other.dat").write_bytes(bytes(range(75)))
    assert_equals_wfdb(path)


@pytest.mark.parametrize(
    "header",
    [
        "{name} 2 250\n{name}.dat 16 200 12 0 0 0 0 a\n{name}.dat 16 200 12 0 0 0 0 b\n",  # no length
        "{name} 2\n{name}.dat 16 200 12 0 0 0 0 a\n{name}.dat 16 200 12 0 0 0 0 b\n",  # no rate: 250
        # no gain
        "{name} 2 250 10 11:22:33 01/02/2003\n{name}.dat 16 0 12 0 0 0 0 a\n{name}.dat 16 0(3) 12 0 0 0 0 b\n",
        "# first\n{name} 2 250/250(0) 10\n{name}.dat 16 200 12 5 0 0 0 a\n#x\n\n{name}.dat 16 200 12 7 0 0 0 b c\n",
        "{name} 2 250.5 10\r\n{name}.dat 16 1e2/mv 12 0 0 0 0 a\r\n{name}.dat 16 -200 12 0 0 0 0 b\r\n",
        "{name} 2 250 10\n{name}.dat 16 200(9000000)/mV 30 0 0 0 0 a\n{name}.dat 16 0.7 12 0 0 0 0 b\n",
    ],
)
def test_header_defaults_are_wfdbs(write, header):
    path = write(header, data=np.arange(-10, 10, dtype="<i2").tobytes())
    assert_equals_wfdb(path)


# The standard form


def test_standard_order(write, digital):
    order = np.random.default_rng(3).permutation(12)
    spelt = ["I", "II", "III", "AVR", "AVL", "avf", "v1", "V2", "V3", "V4", "V5", "V6"]
    lines = "".join(f"{{name}}.dat 16 1000/mV 16 0 0 0 0 {spelt[i]}\n" for i in order)
    record = read_record(write("{name} 12 500 1000\n" + lines))
    assert record.leads == LEADS and "lead order" in kinds(record)
    np.testing.assert_array_equal(record.signal[order], digital.T.astype(np.float32) / np.float32(1000))
    assert record.seconds == 2


def test_plain_record_has_no_notes(write):
    record = read_record(write())
    assert record.notes == () and record.patient_id == f"{record.source}/rec" and record.age is None


@pytest.mark.parametrize("comments", ["", "#made by a Holter\n", "#Rx: 59118001\n"])
def test_a_record_of_any_source_without_labels_says_so(write, comments):
    record = read_record(write(HEADER + comments, label=""))
    assert record.codes == () and record.notes == ("no labels: none under '#Dx:' in the header",)


def test_frank_leads_are_left_out(write, digital):
    data = np.hstack([digital[:, :3], digital]).tobytes()
    header = "{name} 15 500 1000\n" + "".join(
        f"{{name}}.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in ("vx", "vy", "vz", *LEADS)
    )
    record = read_record(write(header, data=data))
    assert record.leads == LEADS and "extra leads: vx, vy, vz left out" in record.notes
    np.testing.assert_array_equal(record.signal, read_record(write(name="twelve")).signal)


def test_the_callers_word(write):
    record = read_record(write(), fs=250, leads=LEADS[::-1], source="mine")
    assert (record.fs, record.source, record.patient_id) == (250, "mine", "mine/rec")
    assert "rate" in kinds(record)
    np.testing.assert_array_equal(record.signal, read_record(write()).signal[::-1])


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_with_and_without_suffix(write, suffix, monkeypatch, tmp_path):
    path = write(name="1.2")
    monkeypatch.chdir(tmp_path)
    for given_path in (f"{path}{suffix}", f"1.2{suffix}"):
        assert read_record(given_path).name == "1.2"


def test_units(write, digital):
    header = "{name} 12 500 1000\n" + "".join(
        f"{{name}}.dat 16 {gain} 16 0 0 0 0 {lead}\n"
        for lead, gain in zip(LEADS, ["1/uV", "1/µV", "1e6/V", "1000/mv"] * 3, strict=True)
    )
    record = read_record(write(header))
    np.testing.assert_allclose(record.signal, digital.T / 1000, rtol=1e-7)
    assert {"unit: V converted to mV", "unit: uV converted to mV", "unit: µV converted to mV"} == set(record.notes)


@pytest.mark.parametrize("names", [("DI", "DII", "DIII"), ("LI", "LII", "LIII"), ("D1", "d2", "Lead III"),
                                   ("ECG_I", "ecg lead II", "lead_iii"), ("D I", "D-II", "L_III")])  # fmt: skip
def test_spelling_of_leads(write, names):
    spelt = (*names, *(f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS[3:]))
    header = HEADER
    for lead, name in zip(LEADS, spelt, strict=True):
        header = header.replace(f" {lead}\n", f" {name}\n")
    record = read_record(write(header))
    assert record.leads == LEADS and kinds(record) == {"lead names"}
    assert f"{names[0]} read as I, {names[1]} read as II" in record.notes[0]


def test_names_that_are_no_lead_stay(write):
    """An EEG's C3, an inverted aVR, an unaugmented VR, a modified II: none is taken for a standard lead."""
    names = ("C3", "-aVR", "VR", "MLII", "1")
    header = "{name} 5 500 1000\n" + "".join(f"{{name}}.dat 16 200 12 0 0 0 0 {name}\n" for name in names)
    assert read_record(write(header)).leads == names


@pytest.mark.parametrize("slashed", ["{name}/1", "g1/{name}", "a/b/{name}", "mitdb/{name}"])
def test_a_slash_in_the_record_line(write, digital, slashed):
    record = read_record(write(HEADER.replace("{name} 12", f"{slashed} 12", 1), name="100"))
    assert record.notes == (f"record line: names {slashed.format(name='100')}, read as 100",)
    np.testing.assert_array_equal(record.signal, digital.T.astype(np.float32) / np.float32(1000))


def test_null_leads_are_missing(write, tmp_path):
    header = "{name} 3 250 4\n~ 0 200 12 0 0 0 0 I\n{name}.dat 16 100 12 0 0 0 0 II\n{name}.dat 0 200 12 0 0 0 0 V1\n"
    record = read_record(write(header, data=np.arange(4, dtype="<i2").tobytes()))
    np.testing.assert_array_equal(record.signal, np.float32([[np.nan] * 4, [0, 0.01, 0.02, 0.03], [np.nan] * 4]))
    assert "missing samples: 4 in I, 4 in V1, read as NaN" in record.notes
    with pytest.raises(RecordError, match=r"rec\.hea: all its leads are null \(format 0\); read"):
        read_record(write("{name} 1 250 100000000000\n~ 0 200 12 0 0 0 0 I\n"))
    with pytest.raises(RecordError, match=r"1000 leads that are null .*remove"):
        read_record(write("{name} 1001 250 100000\n{name}.dat 16\n" + "~ 0\n" * 1000, data=bytes(200_000)))


def test_fields_that_no_format_needs_may_hold_anything(write):
    path = write("{name} 1 250 3\n{name}.dat 80 100/mV 8 0 x y z V1\n", data=bytes([128, 129, 130]))
    np.testing.assert_array_equal(read_record(path).signal, np.float32([[0, 0.01, 0.02]]))


@pytest.mark.parametrize("fmt, block, values", [("212", 3, 2), ("310", 4, 3), ("311", 4, 3)])
def test_padding_of_a_last_block_is_no_surplus(write, fmt, block, values):
    for samples in range(1, 8):
        blocks = -(-samples // values)
        header = f"{{name}} 1 250 {samples}\n{{name}}.dat {fmt} 100/mV 12 0 0 0 0 V1\n"
        data = np.random.default_rng(samples).integers(0, 60, blocks * block, np.uint8).tobytes()
        path = write(header, data=data)
        assert "file length" not in kinds(read_record(path))
        assert_equals_wfdb(path)
        assert "file length" in kinds(read_record(write(header, data=data + b"1")))
        with pytest.raises(RecordError, match="is cut short"):
            read_record(write(header, data=data[: (blocks - 1) * block + 1]))


# Records of several segments: the oracle is wfdb, segment by segment


def write_segments(write, tmp_path, layout):
    data = np.random.default_rng(6).integers(-500, 500, (300, 2)).astype("<i2")
    write("{name} 2 250 100\n" + "".join(f"{{name}}.dat 16 200(3)/mV 12 0 0 0 0 {n}\n" for n in ("II", "V1")),
          "s1", data=data[:100].tobytes())  # fmt: skip
    second = ("V1", "II") if layout else ("II", "V1")  # by name; without a layout in the same order
    write("{name} 2 250 200\n" + "".join(f"{{name}}.dat 16 400/mV 12 0 0 0 0 {n}\n" for n in second),
          "s2", data=data[100:].tobytes())  # fmt: skip
    if layout:
        write("{name} 2 250 0\n~ 0 200 12 0 0 0 0 II\n~ 0 200 12 0 0 0 0 V1\n", "m_layout", suffix=".none")
    lines = ["m_layout 0"] * layout + ["s1 100", "~ 50", "s2 200", "s1 100"]
    text = f"m/{len(lines)} 2 250 450\n" + "\n".join(lines) + "\n#Age: 33\n"
    (tmp_path / "m.hea").write_text(text)
    return tmp_path / "m"


@pytest.mark.parametrize("layout", [0, 1])
def test_segments(write, tmp_path, layout):
    path = write_segments(write, tmp_path, layout)
    record = read_record(path)
    first, second = (wfdb.rdrecord(str(tmp_path / name)).p_signal.T for name in ("s1", "s2"))
    expected = np.hstack([first, np.full((2, 50), np.nan), second[::-1] if layout else second, first])
    np.testing.assert_array_equal(record.signal, expected.astype(np.float32))
    if layout:  # without one wfdb stumbles over the gap
        np.testing.assert_array_equal(wfdb.rdrecord(str(path)).p_signal.T, expected)
    assert np.isnan(record.signal).sum() == 100 and record.leads == ("II", "V1") and record.age == 33
    assert record.notes[0] == "segments: 2 joined, 0.2 s between them read as NaN"


def test_labels_of_segments_are_the_whole_records(write, tmp_path):
    path = write_segments(write, tmp_path, layout=1)
    for header in ("s1.hea", "s2.hea"):
        (tmp_path / header).write_text((tmp_path / header).read_text().split("#")[0])
    (tmp_path / "m.hea").write_text((tmp_path / "m.hea").read_text() + "#Dx: 59118001\n")
    record = read_record(path)
    assert record.labels == {"RBBB"} and "no labels" not in kinds(record)


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("s2 200", "s3 200", "its segment s3 is not beside it; download"),
        ("s2 200", "../s2 200", "is not beside it"),
        ("s2 200", "m 200", "of segments itself"),
        ("s2 200", "s2 190", "declares 450 samples in segments of 440"),
        ("s2 200\ns1 100", "s2 190\ns1 110", "declares 190 samples at 250 Hz in its segment s2, which holds 200"),
        ("m/4 2 250", "m/4 2 500", "at 500 Hz in its segment s1, which holds 100 at 250 Hz"),
        ("m/4 2", "m/4 3", "declares 3 leads, its segments have 2"),
        ("m/4 2", "m/5 2", "declares 5 segments and does not list as many"),
        ("450\n", "\n", None),
        (
            "m/4 2 250 450\ns1 100\n~ 50",
            "m/4 2 250\ns1 100\n~ 50000000000",
            "in no segment; read its segments one by one",
        ),
    ],
)
def test_malformed_segments(write, tmp_path, old, new, fault):
    path = write_segments(write, tmp_path, 0)
    text = (tmp_path / "m.hea").read_text()
    assert old in text
    (tmp_path / "m.hea").write_text(text.replace(old, new))
    if fault is None:
        assert read_record(path).signal.shape == (2, 450)
    else:
        with pytest.raises(RecordError, match=rf"m\.hea: .*{re.escape(fault)}"):
            read_record(path)


# Notes


def test_flat_missing_clipped_padded(write, digital):
    digital[:, 6] = 7
    digital[10:13, 7] = -(2**15)
    digital[100:130, 8] = 5000
    digital[300:305, 9] = 5000  # too short to be a rail
    record = read_record(write())
    assert record.notes == (
        "missing samples: 3 in V2, read as NaN",
        "flat leads: V1",
        "clipped: V3 at 5 mV for 30 samples",
    )
    assert np.isnan(record.signal[7, 10:13]).all() and np.isnan(record.signal).sum() == 3
    digital[-50:] = digital[-50]
    digital[:30] = digital[0]
    assert {"constant end: all leads for 0.1 s", "constant start: all leads for 0.06 s"} <= set(
        read_record(write()).notes
    )


def test_a_baseline_resting_at_its_minimum_is_not_clipped(write, digital):
    digital[:, 6:] = np.maximum(digital[:, 6:], 900)
    assert read_record(write()).notes == ()


def test_all_leads_flat(write):
    assert read_record(write(data=bytes(24000))).notes == (f"flat leads: {', '.join(LEADS)}",)


@pytest.mark.parametrize("gain", ["20", "1e+16", "1000000"])  # volts called millivolts, say
def test_implausible_amplitude(write, gain):
    assert kinds(read_record(write(HEADER.replace("1000(0)", gain)))) == {"amplitude"}


def test_lead_names(write):
    header = "{name} 4 500 1000\n" + "".join(f"{{name}}.dat 16 200 12 0 0 0 0 {n}\n" for n in ("ECG", "ECG", "", "ECG"))
    record = read_record(write(header))
    assert record.leads == ("ECG", "ECG (2)", "lead 3", "ECG (3)")
    assert kinds(record) == {"lead names", "fewer leads", "file length"}


# Refusals name the file, the fault and the remedy


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("12 500 1000", "12 500 1001", "need 24024 bytes, found 24000"),
        ("12 500 1000", "12 500 100000000000", "need 2400000000000 bytes"),
        ("12 500 1000", "12 -500 1000", "-500 Hz"),
        ("12 500 1000", "12 0 1000", "0 Hz"),
        ("12 500 1000", "12 1e-9 1000", "1e-09 Hz"),
        ("12 500 1000", "12 nan 1000", "'nan' is no sampling rate"),
        ("12 500 1000", "12 1e999 1000", "'1e999' is no sampling rate"),
        ("12 500 1000", "12 500 -5", "declares 12 leads of -5"),
        ("12 500 1000", "0 500 1000", "declares 0 leads"),
        ("12 500 1000", "13 500 1000", "describes 12 leads"),
        ("12 500 1000", "1000000000 500 1000", "describes 12 leads"),
        ("{name} 12 500 1000", "{name}/3 12 500 1000", "segments"),
        ("1000(0)", "nan(0)", "'nan' is no gain"),
        ("1000(0)", "inf(0)", "'inf' is no gain"),
        ("1000(0)", "1000(x)", "'x' is no baseline"),
        ("1000(0)", "1e-40(0)", "cannot be an ECG's"),
        ("1000(0)", "1e-323(0)", "inf mV"),
        ("1000(0)", "1000(900000000000)", "cannot be an ECG's"),
        ("/mV", "/mmHg", "mmHg"),
        (".dat 16 ", ".dat 17 ", "format 17"),
        (".dat 16 ", ".dat 16x0 ", "format 16"),
        (".dat 16 ", ".dat 16:99999999 ", "skewed"),
        (".dat 16 ", ".dat 16+23999 ", "found 24000"),
        (".dat 16 ", ".dat 516 ", "cannot be read as FLAC"),
        ("1000(0)", "1_0(0)", "'1_0' is no gain"),
        ("1000(0)", "200(5.5)", "'5.5' is no baseline"),
        (".dat 16 ", ".dat sixteen ", "'sixteen'"),
        ("{name}.dat", "../rec.dat", "not a signal file beside it"),
        ("{name}.dat", "gone.dat", "gone.dat is not beside it"),
        ("{name}.dat 16 1000(0)/mV 16 0 0 0 0 V6", "{name}.dat", "describes no lead"),
        ("{name}.dat 16 1000(0)/mV 16 0 0 0 0 V6", "{name}.dat 80 1000 8 0 0 0 0 V6", "several formats"),
    ],
)
def test_malformed_header(write, old, new, fault):
    assert old in HEADER
    with pytest.raises(RecordError, match=rf"rec\.hea: .*{re.escape(fault)}") as error:
        read_record(write(HEADER.replace(old, new)))
    assert re.search("download|correct|pass|name|read its|remove", str(error.value)), "no remedy"


@pytest.mark.parametrize("text", ["", "\n", "#only a comment\n", "rec\n", "\0\0\0\0", "rec 12 500 1000 " * 100_000])
def test_no_header(write, text):
    with pytest.raises(RecordError, match=r"rec\.hea"):
        read_record(write(text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "latin-1", "cp037"])
def test_encodings(write, tmp_path, encoding):
    path = write()
    text = HEADER.replace("{name}", "rec") + "#Sex: Female\n#Naïve: ü\n"
    (tmp_path / "rec.hea").write_bytes(text.encode(encoding))
    if encoding in ("utf-8-sig", "latin-1"):
        assert read_record(path).sex == "F"
    else:
        with pytest.raises(RecordError, match=r"rec\.hea"):
            read_record(path)


def test_missing_files(write, tmp_path):
    with pytest.raises(RecordError, match=r"gone: no such record \(looked for gone, gone.hea"):
        read_record(tmp_path / "gone")
    write()
    (tmp_path / "rec.dat").unlink()
    with pytest.raises(RecordError, match=r"signal file rec.dat is not beside it; download"):
        read_record(tmp_path / "rec")
    (tmp_path / "rec.dat").mkdir()
    with pytest.raises(RecordError, match=r"rec\.hea"):
        read_record(tmp_path / "rec")


def test_nothing_but_missing_samples(write):
    with pytest.raises(RecordError, match="every sample is missing"):
        read_record(write(data=np.full(12000, -(2**15), "<i2").tobytes()))


@pytest.mark.parametrize("fmt", ["16", "212", "24", "8", "516", "16x1000000", "24:99999999"])
def test_a_declared_length_allocates_nothing(write, fmt):
    path = write(HEADER.replace(" 1000\n", " 100000000\n", 1).replace(".dat 16", f".dat {fmt}"))
    tracemalloc.start()
    with pytest.raises(RecordError):
        read_record(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


# Challenge records


@pytest.mark.parametrize("gain", ["200/mV", "4880/mV", "0", "1000.0(0)/mv"])
@pytest.mark.parametrize("folder, name", [("ptb-xl/g1", "HR99999"), ("georgia", "E00015"), ("anywhere", "JS45551")])
def test_challenge_integers_are_microvolts(write, tmp_path, digital, folder, name, gain):
    folder = tmp_path / folder
    record = read_record(write(challenge(gain, "{name}.mat"), name, folder, ".mat", bytes(24) + digital.tobytes()))
    np.testing.assert_array_equal(record.signal, digital.T.astype(np.float32) / np.float32(1000))
    assert ("header gain" in kinds(record)) == ("1000" not in gain)
    assert f"record line: names {name}.mat, read as {name}" in record.notes
    assert record.source == {"E": "georgia", "H": "ptb-xl", "J": "ningbo"}[name[0]]
    assert (record.age, record.sex, record.codes, record.labels) == (74, "M", ("59118001",), {"RBBB"})


def test_other_gains_are_the_headers(write, tmp_path, digital):
    data = bytes(24) + digital.tobytes()
    petersburg = read_record(write(challenge("306/mV"), "I0001", tmp_path / "st_petersburg_incart", ".mat", data))
    np.testing.assert_array_equal(petersburg.signal, digital.T.astype(np.float32) / np.float32(306))
    original = HEADER.replace("1000(0)", "2000")  # the PTB database itself, under the same folder name
    np.testing.assert_array_equal(
        read_record(write(original, "s0010_re", tmp_path / "ptb")).signal,
        digital.T.astype(np.float32) / np.float32(2000),
    )


@pytest.mark.parametrize(
    "comments, codes, labels, age, sex, noted",
    [
        ("# Age: 61\n# Sex: Female\n# Dx: 164889003,164931005\n", 2, {"AF", "STE"}, 61, "F", {"comment style"}),
        ("#Dx: RBBB,STD,Normal\n#Age: NaN\n#Sex: Unknown\n", 3, {"RBBB", "STD", "NSR"}, None, None, {"class names"}),
        ("#Dx: \n#Age: -1\n#Sex: NaN\n", 0, set(), None, None, {"age", "no labels"}),
        ("#Dx: 39732003\n#Age: 300\n", 1, set(), 90, None, {"age"}),
        ("", 0, set(), None, None, {"no labels"}),
        ("#Age: 60\n#Sex: F\n", 0, set(), 60, "F", {"no labels"}),
        ("#Dx: NaN\n", 0, set(), None, None, {"no labels"}),
        ("#Dx: 59118001;164889003\n", 2, {"RBBB", "AF"}, None, None, set()),
        ("#Dx: 59118001 164889003\n", 2, {"RBBB", "AF"}, None, None, set()),
        ("#Dx: ['59118001', '164889003']\n", 2, {"RBBB", "AF"}, None, None, set()),
        ("#Dx: 59118001.0, 1.64889003E+08\n", 2, {"RBBB", "AF"}, None, None, set()),
        ("#Dx: 59118001,39732003\n", 2, {"RBBB"}, None, None, set()),  # SNOMED CT has many more
        ("#Dx: RBBB,RBB\n", 2, {"RBBB"}, None, None, {"class names", "unknown codes"}),  # there are nine names
        ("#Dx: 1.64889E+08\n#Sex: Femal\n", 1, set(), None, None, {"unknown codes", "sex"}),  # rounded
    ],
)
def test_challenge_comments(write, digital, comments, codes, labels, age, sex, noted):
    record = read_record(
        write(challenge(comments=comments), "A9999", suffix=".mat", data=bytes(24) + digital.tobytes(), label="")
    )
    assert len(record.codes) == codes and record.labels == labels and kinds(record) == noted
    assert (record.age, record.sex) == (age, sex) and record.source == "cpsc_2018"


# The other data sets, written here as upstream writes them


def test_ptbxl(write, tmp_path, digital, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    folder = tmp_path / "ptb-xl" / "records500" / "00000"
    path = write(name="00007_hr", folder=folder)
    assert kinds(read_record(path)) == {"no labels"} and read_record(path).patient_id == "PTB-XL/00007_hr"
    (tmp_path / "ptb-xl" / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold\n"
        "7,16193.0,300.0,0,\"a, b\",\"{'NORM': 0.0, '1AVB': 100.0}\",7\n"
        "8,,,,,{},\n"
    )
    record = read_record(path)
    assert (record.patient_id, record.age, record.sex, record.fold) == ("PTB-XL/16193", 90, "M", 7)
    assert record.codes == ("NORM", "1AVB") and record.labels == {"NSR", "I-AVB"} and kinds(record) == {"age"}
    assert read_record(write(name="00008_hr", folder=folder)).patient_id == "PTB-XL/00008_hr"
    # The Challenge's copy of the same ECG is the same patient's; its labels are its own.
    copy = read_record(
        write(challenge(), "HR00007", tmp_path / "challenge" / "ptb-xl" / "g1", ".mat", bytes(24) + digital.tobytes())
    )
    assert (copy.patient_id, copy.fold, copy.source) == ("PTB-XL/16193", 7, "ptb-xl")
    assert copy.codes == ("59118001",) and copy.age == 74 and copy.signal_hash == record.signal_hash


def resaved(table):
    """What becomes of a table in other hands."""
    yield table.to_csv(index=False)
    yield table.to_csv()
    yield table.to_csv(index=False, sep=";")
    yield table[table.columns[::-1]].assign(more="x,y").to_csv(index=False)
    floats = {column: float for column in table if table[column].dtype == int}
    yield "\ufeff" + table.astype(floats).to_csv(index=False)
    if "sex" in table:
        yield table.astype({"sex": bool}).to_csv(index=False)


PTBXL = pd.DataFrame(
    {
        "ecg_id": [7, 8, 9],
        "patient_id": [16193, 5, 5],
        "age": [54, 60, 60],
        "sex": [1, 0, 0],
        "scp_codes": ["", "", "{'NORM': 80.0, 'STEMI': 15.0}"],
        "strat_fold": [7, 8, 8],
    }
)


@pytest.mark.parametrize(
    "codes",
    [
        "{'NORM': 80.0, 'PRC(S)': 0.0, 'LAO/LAE': 0.0}",
        '{"NORM": 80.0, "PRC(S)": 0.0, "LAO/LAE": 0.0}',
        "{'NORM': np.float64(80.0), 'PRC(S)': nan, 'LAO/LAE': 0}",
        "['NORM', 'PRC(S)', 'LAO/LAE']",
        "NORM;PRC(S);LAO/LAE",
    ],
)
def test_ptbxls_table_resaved(write, tmp_path, codes):
    paths = [write(name=f"0000{i}_hr") for i in (7, 8, 9)]
    for text in resaved(
        PTBXL.assign(scp_codes=PTBXL["scp_codes"].replace({"": codes}).where(PTBXL["ecg_id"] != 8, ""))
    ):
        (tmp_path / "ptbxl_database.csv").write_text(text, encoding="utf-8")
        formats._remembered.cache_clear()
        record, empty, odd = map(read_record, paths)
        assert (record.patient_id, record.age, record.sex, record.fold) == ("PTB-XL/16193", 54, "F", 7)
        assert record.codes == ("NORM", "PRC(S)", "LAO/LAE") and record.notes == ()
        assert empty.notes == ("no labels: its row in ptbxl_database.csv states none",) and empty.sex == "M"
        assert odd.codes == ("NORM", "STEMI") and odd.labels == {"NSR"} and kinds(odd) == {"unknown codes"}


def test_cpscs_table_resaved(struct):
    table = pd.DataFrame(
        {
            "Recording": ["A0001", "A0002", "A0003"],
            "First_label": [2, 1, 1],
            "Second_label": [5, None, None],
            "Third_label": [None] * 3,
        }
    )
    # melted: a row a label
    texts = [
        *resaved(table),
        "A0001,2,5.0,\n",
        "Recording,label\nA0001,AF\nA0001,RBBB\n",
        "Recording,l\nA0001.mat,2 5\n",
    ]
    for text in texts:
        struct.with_name("REFERENCE.csv").write_text(text, encoding="utf-8")
        formats._remembered.cache_clear()
        record = read_record(struct)
        assert record.labels == {"AF", "RBBB"} and len(record.codes) == 2 and record.notes == (), text
    for text, note in (("A0001,,,\n", "its row in REFERENCE.csv states none"), ("A0002,1\n", "no row in a REF")):
        struct.with_name("REFERENCE.csv").write_text(text)
        formats._remembered.cache_clear()
        assert read_record(struct).codes == () and note in read_record(struct).notes[0]
    struct.with_name("REFERENCE.csv").write_text("A0001,5,10,\n")
    formats._remembered.cache_clear()
    with pytest.raises(RecordError, match=r"A0001\.mat: .*REFERENCE\.csv labels it 10, none of .*; correct that row"):
        read_record(struct)


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "ecg_id,patient_id\nx,y\n", "ecg_id\n7\n", "\0\xff"])
def test_ptbxl_table_malformed(write, tmp_path, table):
    (tmp_path / "ptbxl_database.csv").write_text(table, encoding="latin-1")
    with pytest.raises(RecordError, match=r"ptbxl_database\.csv is not PTB-XL's table.*download"):
        read_record(write(name="00007_hr"))


def test_ludb_comments(write, tmp_path):
    comments = "#<age>: 51\n#<sex>: F\n#<diagnoses>:\n#Rhythm: Sinus rhythm.\n#I degree AV block. \n#\n"
    record = read_record(write(HEADER + comments, folder=tmp_path / "ludb" / "data"))
    assert (record.source, record.age, record.sex) == ("LUDB", 51, "F")
    assert record.codes == ("Rhythm: Sinus rhythm", "I degree AV block") and record.labels == {"NSR", "I-AVB"}


def write_as_ludb(write, folder, counts, names=LEADS, gain=None):
    """Counts with the gains that LUDB's headers state: each lead's own range."""
    gain = np.ptp(counts, axis=0) if gain is None else gain
    lines = "".join(f"{{name}}.dat 16 {g}(6)/mV 0 0 0 0 0 {n.lower()}\n" for g, n in zip(gain, names, strict=True))
    comments = "#<diagnoses>:\n#Rhythm: Sinus rhythm.\n"
    return write(
        f"{{name}} {len(names)} 500 {len(counts)}\n{lines}{comments}", "1", folder, data=counts.astype("<i2").tobytes()
    )


def test_ludbs_counts_are_microvolts(write, tmp_path, digital):
    for folder in ("ludb", "anywhere"):
        record = read_record(write_as_ludb(write, tmp_path / folder / "data", digital))
        np.testing.assert_array_equal(record.signal, (digital.T - np.float32(6)) / np.float32(1000))
        assert record.notes == (
            "header gain: each lead's is its own range, read as 1000/mV for all, as in all of LUDB",
        )
    # Cut in time, or to leads that prove nothing, it is known by its folder.
    part = digital[:500]
    record = read_record(write_as_ludb(write, tmp_path / "ludb" / "data", part, gain=np.ptp(digital, axis=0)))
    np.testing.assert_array_equal(record.signal, (part.T - np.float32(6)) / np.float32(1000))
    record = read_record(write_as_ludb(write, tmp_path / "ludb" / "data", digital[:, [1, 6]], ("II", "V1")))
    np.testing.assert_array_equal(record.signal, (digital.T[[1, 6]] - np.float32(6)) / np.float32(1000))
    record = read_record(write_as_ludb(write, tmp_path / "ludb" / "data", digital[:, [6]], ("V1",)))
    np.testing.assert_array_equal(record.signal, (digital.T[[6]] - np.float32(6)) / np.float32(1000))


def test_gains_that_lose_the_scale_are_noted(write, tmp_path, digital):
    """Read by their header, since nothing proves what a step is."""
    apart = digital[:, [1, 6, 7]]
    record = read_record(write_as_ludb(write, tmp_path / "other", apart, ("II", "V1", "V2")))
    np.testing.assert_array_equal(np.ptp(record.signal, axis=1), np.ones(3, np.float32))
    assert {"header gain", "scale"} <= kinds(record)
    record = read_record(write_as_ludb(write, tmp_path / "cut", digital[:500], gain=np.ptp(digital, axis=0)))
    assert {"header gain", "lead laws"} == kinds(record) and "which the steps obey" in record.notes[0]
    np.save(tmp_path / "x.npy", digital / np.ptp(digital, axis=0))
    assert any(note.startswith("scale: every lead spans 1 mV") for note in read_record(tmp_path / "x", fs=500).notes)


def test_st_petersburg_comments(write, tmp_path):
    comments = (
        "# <age>: 65 <sex>: F <diagnoses> Coronary artery disease, arterial hypertension\n# patient 1\n# PVCs, noise\n"
    )
    record = read_record(write(HEADER + comments, "I01", tmp_path / "incartdb"))
    assert (record.age, record.sex, record.patient_id) == (65, "F", "St Petersburg INCART/patient 1")
    assert record.codes == ("Coronary artery disease", "arterial hypertension") and record.notes == ()


@pytest.mark.parametrize(
    "comment",
    [
        *("#Age: 65 Sex: F", "# age:65, sex:female", "#<Age> 65 <Sex> F", "#Sex: F\n#Age: 65"),
        *("#<age>:65<sex>:F", "#Age:65;Sex:F"),
    ],
)
def test_age_and_sex_on_one_line(write, comment):
    record = read_record(write(f"{HEADER}#Hx: in his age: 12\n{comment}\n"))
    assert (record.age, record.sex) == (65, "F")


def test_mitbih_comments_and_shared_patient(write, tmp_path):
    record = read_record(write(HEADER + "# 68 M 1 1 x1\n# Digoxin\n", "202", tmp_path / "mitdb"))
    assert (record.source, record.patient_id, record.age, record.sex) == ("MIT-BIH", "MIT-BIH/201", 68, "M")


def save_struct(path, data, compressed):
    ecg = np.array([[("Male", np.array([[52]], np.uint8), data)]], [("sex", "O"), ("age", "O"), ("data", "O")])
    scipy.io.savemat(path, {"ECG": ecg}, appendmat=False, do_compression=compressed)


@pytest.fixture(params=[True, False])
def struct(request, tmp_path, digital):
    save_struct(tmp_path / "A0001.mat", digital.T / 1000, request.param)
    return tmp_path / "A0001.mat"


def test_cpsc_struct(struct, digital):
    assert kinds(read_record(struct)) == {"no labels"}
    struct.with_name("REFERENCE.csv").write_text("Recording,First_label,Second_label,Third_label\r\nA0001,5,8,\r\n")
    record = read_record(struct.with_suffix(""))
    np.testing.assert_array_equal(record.signal, digital.T.astype(np.float32) / np.float32(1000))
    assert (record.source, record.fs, record.age, record.sex) == ("CPSC 2018", 500, 52, "M")
    assert record.codes == ("5", "8") and record.labels == {"RBBB", "STD"} and record.notes == ()


def test_cpsc_table_above_the_training_sets(struct, tmp_path):
    (tmp_path / "TrainingSet1").mkdir()
    struct.rename(tmp_path / "TrainingSet1" / "A0001.mat")
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label,Second_label,Third_label\r\nA0001,5,8,\r\n")
    assert read_record(tmp_path / "TrainingSet1" / "A0001").codes == ("5", "8")


@pytest.mark.parametrize("line, beside", [("A0001", "A0001.mat"), ("old.dat", "A0001.mat"), ("A0001.mat", "A0001.dat")])
def test_a_signal_file_under_another_name_is_told(write, tmp_path, line, beside):
    header = f"A0001 2 500 1000\n{line} 16+24 1000/mV 16 0 0 0 0 I\n{line} 16+24 1000/mV 16 0 0 0 0 II\n"
    write(header, "A0001", suffix=f".{beside[-3:]}")
    remedy = f"its signal file {line} is not beside it, but {beside} is; write {beside} in the header's signal lines"
    with pytest.raises(RecordError, match=rf"A0001\.hea: {re.escape(remedy)}"):
        read_record(tmp_path / "A0001.hea")


def test_a_mat_that_is_no_struct(tmp_path):
    scipy.io.savemat(tmp_path / "A0002.mat", {"val": np.zeros((12, 5), np.int16)})
    with pytest.raises(RecordError, match=r"A0002\.mat: is not a CPSC 2018 struct .*\.hea"):
        read_record(tmp_path / "A0002")


# Arrays


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "<f2"])
def test_npy(tmp_path, digital, dtype):
    for number, array in enumerate((digital[:, :].T, digital, np.asfortranarray(digital))):
        np.save(tmp_path / f"{number}.npy", (array // 200).astype(dtype))
        record = read_record(tmp_path / f"{number}", fs=500, source="mine")
        np.testing.assert_array_equal(record.signal, (digital.T // 200).astype(np.float32))
        assert record.leads == LEADS and record.signal.flags.writeable
    np.save(tmp_path / "one.npy", digital[:, 0] / 1000)
    assert read_record(tmp_path / "one.npy", fs=300, leads=["II"]).leads == ("II",)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path, digital, separator):
    values = digital / 1000
    rows = (
        separator.join(["Time (s)", *LEADS[::-1]]),
        *(separator.join(map(repr, [i / 500, *map(float, row[::-1])])) for i, row in enumerate(values)),
    )
    (tmp_path / "named.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    np.savetxt(tmp_path / "bare.csv", values, delimiter=separator)
    np.savetxt(tmp_path / "rows.csv", values.T, delimiter=separator)
    for name in ("named", "bare", "rows"):
        record = read_record(tmp_path / name, fs=500)
        np.testing.assert_array_equal(record.signal, values.T.astype(np.float32))
        assert record.leads == LEADS


FRAME = pd.DataFrame(lawful(7, 40, 2000) / 1000)


def assert_holds(record, frame, leads=LEADS):
    assert record.leads == tuple(leads)
    np.testing.assert_array_equal(record.signal, frame.to_numpy().T.astype(np.float32))


@pytest.mark.parametrize("index", [False, True, "n", "float"])
@pytest.mark.parametrize("labels", ["0", "1", "0.0", "1.0", "V1", "X0"])
@pytest.mark.parametrize("transposed", [False, True])
def test_csv_column_numbers(tmp_path, labels, transposed, index):
    """``to_csv`` writes the numbers of columns and rows as it would names; R calls columns V1 …"""
    frame = FRAME.T.copy() if transposed else FRAME.copy()
    start = float(labels.strip("VX"))
    plain = [int(start) + i if "." not in labels else start + i for i in range(frame.shape[1])]
    frame.columns = [f"{labels[0]}{number}" for number in plain] if labels[0] in "VX" else plain
    if index == "float":
        frame = frame.set_axis(frame.index.astype(float))
    for number, separator in enumerate(",;\t"):
        options = {"index_label": "n"} if index == "n" else {"quoting": 2 * (number % 2)}
        frame.to_csv(tmp_path / "x.csv", sep=separator, index=bool(index), **options)
        record = read_record(tmp_path / "x.csv", fs=500)
        assert_holds(record, FRAME)
        assert "column numbers" in kinds(record) and find_records(tmp_path)
        assert ("columns" in kinds(record)) == bool(index)


@pytest.mark.parametrize("start", [0, 1, 0.0])
@pytest.mark.parametrize("names", [("II",), ("MLII", "V5"), LEADS[:3]])
def test_csv_column_numbers_of_fewer_leads(tmp_path, names, start):
    frame = FRAME.iloc[:, : len(names)] / 10
    frame.columns = [start + i for i in range(len(names))]
    for index in (False, True):
        frame.to_csv(tmp_path / "x.csv", index=index)
        if len(names) == 1 and isinstance(start, float) and not index:
            continue  # a single 0.0 may as well be a sample, and is one below
        assert_holds(read_record(tmp_path / "x.csv", fs=500, leads=names), frame, names)
    with pytest.raises(RecordError, match="not 12 leads; name its leads"):
        read_record(tmp_path / "x.csv", fs=500)


def test_csv_a_sample_like_column_numbers(tmp_path):
    """A sine and a cosine start at 0 and 1, and go on from there."""
    phase = np.arange(100) / 50
    frame = pd.DataFrame({"a": np.sin(phase), "b": np.cos(phase)}).round(6)
    for leads in (["II"], ["II", "V1"]):
        part = frame.iloc[:, : len(leads)]
        part.to_csv(tmp_path / "x.csv", index=False, header=False)
        assert_holds(read_record(tmp_path / "x.csv", fs=500, leads=leads), part, leads)


@pytest.mark.parametrize(
    "name, step, fs",
    [
        ("Unnamed: 0", 1, None), ("", 1, None), ("sample #", 1, None), ("sample_index", 1, None),
        ("Sample Number", 1, None), ("nr", 1, None), ("frame", 1, None), ("index", 1, None), ("#", 1, None),
        ("n", 1, None), ("SampleIndex", 1, None), ("ms", 2, 500), ("Time (ms)", 2, 500), ("time_ms", 2, 500),
        ("time (s)", 0.002, 500), ("Elapsed time", 0.002, None), ("Timestamp", 1e9, None), ("seconds", 0.004, 250),
        ("time", 0.002, None), ("t", 0.002, None), ("t [s]", 1 / 128, 128), ("Zeit", 5, None), ("0", 0.002, None),
        ("Elapsed time (seconds)", 1 / 360, 360),
    ],
)  # fmt: skip
def test_csv_counters_and_times_are_no_leads(tmp_path, name, step, fs):
    for leads, place in ((LEADS, 0), (("MLII", "V5"), 0), (("MLII", "V5"), 2)):
        frame = FRAME.iloc[:, : len(leads)].set_axis(leads, axis=1)
        if name in ("", "0") and place:
            continue
        mixed = frame.copy()
        mixed.insert(place, name, np.round(np.arange(40) * step, 6 if step < 1 else 0))
        if name == "0":
            mixed.columns = range(mixed.shape[1])
        mixed.to_csv(tmp_path / "x.csv", index=False)
        record = read_record(tmp_path / "x.csv", fs=fs or 500, leads=None if name != "0" else leads)
        assert_holds(record, frame, leads)
        assert any(note.startswith("columns: ") and "left out" in note for note in record.notes)
        assert (f"rate: {fs} Hz by its column of times" in record.notes) == bool(fs)
        if fs:  # the file states its rate
            assert read_record(tmp_path / "x.csv").fs == fs
            assert f"rate: 99 Hz as the caller says, not {fs}" in read_record(tmp_path / "x.csv", fs=99).notes
        else:
            with pytest.raises(RecordError, match="pass fs="):
                read_record(tmp_path / "x.csv", leads=None if name != "0" else leads)


def test_csv_a_lead_is_never_dropped(tmp_path):
    """A name alone does not make a counter, nor do values that no lead has, where a lead's name stands above."""
    frame = FRAME.iloc[:, :6].set_axis(["sample", "S", "realtime", "I", "", "frame"], axis=1)
    frame["I"] = np.arange(40)  # whatever it is, it is called I
    frame.to_csv(tmp_path / "x.csv", index=False)
    record = read_record(tmp_path / "x.csv", fs=500)
    assert_holds(record, frame, ["sample", "S", "realtime", "I", "lead 5", "frame"])
    assert sum("read as a lead" in note for note in record.notes) == 4
    frame = FRAME.set_axis(LEADS, axis=1)
    frame.insert(0, "time", np.tile(np.arange(20) * 0.002, 2))  # two recordings, one after the other
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert_holds(read_record(tmp_path / "x.csv", fs=500), FRAME)
    FRAME.assign(foo=range(40)).set_axis([*LEADS, "foo"], axis=1).to_csv(tmp_path / "x.csv", index=False)
    record = read_record(tmp_path / "x.csv", fs=500)
    assert_holds(record, FRAME)
    assert {"extra leads: foo left out", "columns: 'foo' rises evenly like a counter, read as a lead"} <= {
        *record.notes
    }


def test_csv_square_with_names(tmp_path):
    """As many samples as leads: the names tell which is which."""
    frame = FRAME.iloc[:12].set_axis(LEADS, axis=1)
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert_holds(read_record(tmp_path / "x.csv", fs=500), frame)
    np.save(tmp_path / "x.npy", frame.to_numpy())
    assert_holds(read_record(tmp_path / "x.npy", fs=500), frame.T)
    assert kinds(read_record(tmp_path / "x.npy", fs=500)) == {"orientation", "lead laws"}


def test_csv_decimal_commas(tmp_path):
    named = FRAME.set_axis(LEADS, axis=1)
    named.insert(0, "Zeit (s)", np.arange(40) / 250)
    for separator in ";\t":
        named.to_csv(tmp_path / "named.csv", sep=separator, decimal=",", index=False)
        FRAME.to_csv(tmp_path / "bare.csv", sep=separator, decimal=",", index=False, header=False)
        FRAME.T.to_csv(tmp_path / "rows.csv", sep=separator, decimal=",")
        assert read_record(tmp_path / "named.csv").fs == 250
        for name in ("named", "bare", "rows"):
            assert_holds(read_record(tmp_path / f"{name}.csv", fs=250), FRAME)
    named.to_csv(tmp_path / "quoted.csv", decimal=",", index=False)
    assert_holds(read_record(tmp_path / "quoted.csv"), FRAME)


@pytest.mark.parametrize(
    "head, unit, clock, fs",
    [
        ("'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'\n", 1, lambda i: f"'0:00.{i:03}'", 1000),
        (
            "'Elapsed time','MLII','V5'\n'seconds','mV','mV'\n",
            1,
            lambda i: f"{i / 360:.3f}",
            None,
        ),  # 40 samples: 360 ± 2
        ("'Elapsed time','MLII','V5'\n'seconds','uV','uV'\n", 1000, lambda i: f"{i / 250:.3f}", 250),
        ("'sample #','MLII','V5'\n", 1, str, None),
        ("'sample interval','MLII','V5'\n'0.004 sec','mV','mV'\n", 1, str, 250),
        ("time (ms),MLII (uV),V5_uV\n", 1000, lambda i: str(4 * i), 250),
        ("Timestamp,MLII [mV],V5\n", 1, lambda i: f"2020-01-01 10:00:{i * 0.004:06.3f}", 250),
        ("date,MLII,V5\n", 1, lambda i: "2020-01-01", None),
    ],
)
def test_csv_of_wfdbs_programs_and_others(tmp_path, head, unit, clock, fs):
    """PhysioNet's rdsamp and its site write quotes, clocks, a line of units, and - for a missing sample."""
    frame = FRAME.iloc[:, :2]
    lines = [f"{clock(i)},{unit * a:.3f},{unit * b:.3f}\n" for i, (a, b) in enumerate(frame.to_numpy())]
    lines[5] = f"{clock(5)},-,-\n"
    (tmp_path / "x.csv").write_text(head + "".join(lines))
    record = read_record(tmp_path / "x.csv", fs=fs or 99)
    assert np.isnan(record.signal[:, 5]).all() and record.leads == ("MLII", "V5")
    np.testing.assert_allclose(np.delete(record.signal, 5, 1), frame.drop(5).to_numpy().T, rtol=1e-6)
    assert ("unit" in kinds(record)) == (unit != 1) and find_records(tmp_path)
    if fs:
        assert read_record(tmp_path / "x.csv").fs == fs
    else:
        with pytest.raises(RecordError, match="pass fs="):
            read_record(tmp_path / "x.csv")


@pytest.mark.parametrize("header", [False, True, "times"])
def test_csv_a_lead_a_line_after_its_name(tmp_path, header):
    frame = FRAME.T.set_axis(LEADS)
    if header == "times":
        frame.columns = np.arange(40) / 500
    frame[::-1].to_csv(tmp_path / "x.csv", header=bool(header))
    assert_holds(read_record(tmp_path / "x.csv", fs=500), FRAME)
    assert find_records(tmp_path)
    wide = pd.DataFrame(np.tile(frame, 30), frame.index)  # 1,200 columns are read another way
    for index, options in ((True, {"header": bool(header)}), (True, {"sep": ";", "decimal": ","}), (False, {})):
        wide.to_csv(tmp_path / "x.csv", index=index, **options)
        assert_holds(read_record(tmp_path / "x.csv", fs=500), pd.DataFrame(wide.to_numpy().T))


def test_csv_as_other_programs_write_it(tmp_path):
    named = FRAME.set_axis(LEADS, axis=1)
    texts = {
        "savetxt": io.StringIO(),
        "comment": "# 500 Hz\n# " + named.to_csv(index=False),
        "R": named.to_csv().removeprefix(","),
        "separator at the end": named.to_csv(index=False).replace("\n", ",\n"),
        "separator at the end of samples": named.to_csv(index=False).replace("\n", ",\n").replace("V6,", "V6", 1),
        "blanks": ", ".join(LEADS) + "\n" + FRAME.to_csv(index=False, header=False).replace(",", " ,  "),
        "one more index": named.reset_index().to_csv(),
        "an index of texts": named.set_axis([f"s{i}" for i in range(40)]).to_csv(),
        "an empty column": named.assign(empty=np.nan).rename(columns={"empty": "Unnamed: 12"}).to_csv(index=False),
        "numbers and units": FRAME.to_csv(index=False).replace("\n", "\n" + ",".join(["mV"] * 12) + "\n", 1),
        "Excel": "sep=;\n" + named.to_csv(index=False, sep=";", decimal=","),
        "units": named.rename(columns="{} / mV".format).to_csv(index=False),
        "lines": named.to_csv(index=False).replace("\n", "\r\n\r\n"),
        "no first sample": "NaN," * 11 + "NaN\n" + FRAME.to_csv(index=False, header=False),
    }
    np.savetxt(texts["savetxt"], FRAME, header=" ".join(LEADS))
    texts["savetxt"] = texts["savetxt"].getvalue()
    for kind, text in texts.items():
        (tmp_path / "x.csv").write_text(text, newline="")
        record = read_record(tmp_path / "x.csv", fs=500)
        assert record.leads == LEADS, kind
        np.testing.assert_allclose(record.signal[:, -40:], FRAME.to_numpy().T, rtol=1e-6, err_msg=kind)
    assert record.signal.shape == (12, 41)
    # a first sample that lacks a value is no line of names
    (tmp_path / "x.csv").write_text(",0.5\n0.25,NA\n-,1\n")
    expected = np.float32([[np.nan, 0.25, np.nan], [0.5, np.nan, 1]])
    np.testing.assert_array_equal(read_record(tmp_path / "x", fs=99, leads=["I", "II"]).signal, expected)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("time (s),I,II\n0,1,2,3,4\n", "names 3 columns, holds 5"),
        ("I (mmHg),II\n0.1,0.2\n", None),
        ("t,I,II\ns,adu,mV\n0,1,2\n1,2,3\n", "'adu' is not an ECG in mV; remove"),
        ("t,I,label\n0,0.1,N\n1,0.2,V\n", "'N' in column 'label'; leave it out"),
        ("time,index\n0,0\n1,1\n", "only columns of times and counters"),
        ("0.1,0.2,0.3\nx,0.1,0.2\n", "not an array of numbers"),
    ],
)
def test_csv_what_is_unclear_is_refused(tmp_path, text, fault):
    (tmp_path / "x.csv").write_text(text)
    if fault:
        with pytest.raises(RecordError, match=fault):
            read_record(tmp_path / "x.csv", fs=500)
    else:
        assert read_record(tmp_path / "x.csv", fs=500).leads == ("I (mmHg)", "II")


def test_arrays_with_a_time_or_an_index(tmp_path):
    """Among 13 columns without names the one that rises evenly is no lead; among 12 that is an error."""
    x = FRAME.to_numpy()
    for step in (1, 0.002, 1 / 360):
        timed = np.column_stack([np.round(np.arange(40) * step, 3), x])
        for array in (timed, timed.T, np.column_stack([np.arange(40), timed])):
            np.save(tmp_path / "x.npy", array)
            np.savetxt(tmp_path / "x.csv", array, delimiter=",")
            for path in (tmp_path / "x.npy", tmp_path / "x.csv"):
                record = read_record(path, fs=500)
                np.testing.assert_array_equal(record.signal, x.T.astype(np.float32))
                assert kinds(record) <= {"columns", "column numbers"} and record.notes
        np.save(tmp_path / "x.npy", timed[:, :12])
        with pytest.raises(RecordError, match=r"number 1 rises evenly.*name them in leads="):
            read_record(tmp_path / "x.npy", fs=500)
        assert_holds(read_record(tmp_path / "x.npy", fs=500, leads=LEADS[:11]), FRAME.iloc[:, :11], LEADS[:11])
    ramps = np.arange(480.0).reshape(40, 12)  # all of them rise evenly: nothing tells a counter
    np.save(tmp_path / "x.npy", ramps)
    np.testing.assert_array_equal(read_record(tmp_path / "x.npy", fs=500).signal, ramps.T.astype(np.float32))


def test_structured_arrays(tmp_path):
    named = FRAME.set_axis(LEADS[::-1], axis=1)
    named.insert(0, "ms", np.arange(40) * 4)
    np.save(tmp_path / "x.npy", named.to_records(index=False))
    record = read_record(tmp_path / "x.npy")
    assert_holds(record, FRAME.iloc[:, ::-1])
    assert record.fs == 250
    np.save(tmp_path / "x.npy", np.rec.fromarrays(FRAME.to_numpy().T))  # f0 … f11
    assert_holds(read_record(tmp_path / "x.npy", fs=500), FRAME)


def test_csv_missing_values(tmp_path):
    (tmp_path / "x.csv").write_text("MLII,V5\n0.1,0.2\n,NaN\n0.3,0.4\n")
    record = read_record(tmp_path / "x.csv", fs=100)
    np.testing.assert_array_equal(record.signal, np.float32([[0.1, np.nan, 0.3], [0.2, np.nan, 0.4]]))
    assert "missing samples: 1 in MLII, 1 in V5, read as NaN" in record.notes


@pytest.mark.parametrize(
    "text, fault",
    [
        ("I,II\n1,2\n", "pass fs="),
        ("", "not an array"),
        ("I,II\n1,x\n", "not an array"),
        ("1,2,3\n4,5\n6,7,8,9\n", "not an array"),
        ("I,II\n1,inf\n", "inf mV"),
        ("1,2\n3,4\n", "not 12 leads"),
        ("I,II\n", "no"),
    ],
)
def test_csv_malformed(tmp_path, text, fault):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(RecordError, match=rf"x\.csv: .*{fault}"):
        read_record(tmp_path / "x.csv", fs=None if "fs" in fault else 100)


@pytest.mark.parametrize(
    "array", [np.arange(12.0), np.zeros((2, 12, 9)), np.zeros((12, 9), complex), np.array([{}]), np.zeros((12, 0))]
)
def test_npy_malformed(tmp_path, array):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(RecordError, match=r"x\.npy: "):
        read_record(tmp_path / "x", fs=500)


# One signal under two names


def test_signal_hash(write, digital):
    plain = read_record(write())
    assert read_record(write(HEADER.replace("1000(0)", "2000"), "b", data=(digital * 2).tobytes())).signal_hash == (
        plain.signal_hash
    )
    hashes = {plain.signal_hash}
    for value in (digital[500, 5] + 1, 0, -(2**15)):
        digital[500, 5] = value
        hashes.add(read_record(write(name="changed")).signal_hash)
    hashes.add(read_record(write(HEADER.replace("500 1000", "250 1000"), "slower")).signal_hash)
    assert len(hashes) == 5


def test_signal_hash_is_of_clamped_whole_microvolts():
    signal = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    wild = signal.copy()
    wild[0, :4] = np.nan, np.inf, -np.inf, 1e9
    for x in (signal, wild):
        record = Record("a", x, 500.0, ("I", "II"), "test", "test/a")
        naive = [-(2**31) if np.isnan(v) else round(min(max(float(v) * 1000, -(2**31)), 2**31 - 1)) for v in x.ravel()]
        naive = np.array(naive, dtype="<i4").tobytes()
        assert record.signal_hash == hashlib.sha256(b"500 Hz (2, 50)" + naive).hexdigest()


# Finding


def test_find_records(write, tmp_path, struct):
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label\nA0001,5\n")
    (tmp_path / "ludb.csv").write_text("ID,Sex\n1,F\n")
    (tmp_path / "weights.csv").write_text(",270492004,164889003\n270492004,1.0,0.3\n164889003,0.3,1.0\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "leads.csv").write_text("I,II\n0,1\n")
    (tmp_path / "a" / "bare.csv").write_text("0,1\n")
    (tmp_path / "a" / "gone.csv").symlink_to(tmp_path / "nowhere")
    np.save(tmp_path / "a" / "x.npy", np.zeros(3))
    (tmp_path / "a" / "x.atr").write_bytes(b"")
    write(name="E00001", folder=tmp_path / "b", suffix=".mat")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    for name in ("._E00001.hea", "E00001.hea~", ".x.npy", "._A0001.mat", "E00001.tmp.hea.tmp", "__MACOSX/E00001.hea"):
        (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "b" / name).write_bytes(b"Mac OS X")
    expected = ["A0001.mat", "a/bare.csv", "a/leads.csv", "a/x.npy", "b/E00001.hea"]
    assert [path.relative_to(tmp_path).as_posix() for path in find_records(tmp_path)] == expected
    with pytest.raises(RecordError, match="no such folder"):
        find_records(tmp_path / "nowhere")


# Fuzzing: whatever the bytes, a sound Record or a RecordError, no warning, no other exception


def fuzz(examples):
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def sound_or_refused(path, **given_words):
    try:
        record = read_record(path, **given_words)
    except RecordError as error:
        assert path.stem in str(error)
        return
    assert record.signal.dtype == np.float32 and record.signal.shape[0] == len(record.leads) == len(set(record.leads))
    assert record.signal.size and np.nanmax(np.abs(record.signal)) <= 1e6
    assert 10 <= record.fs <= 1e5 and record.seconds > 0 and record.labels <= set(CLASSES)
    assert all(": " in note for note in record.notes) and re.fullmatch("[0-9a-f]{64}", record.signal_hash)
    assert record.age is None or 0 <= record.age <= 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


ODD = """0 1 2 12 -1 16 212 80 24 32 61 8 310 311 508 516 524 160 16+24 16x2 16:5 16x0 1e3 1e-300 1e300 nan inf -inf NaN
    200(1024)/mV 1000/ (5)/mV 1000(nan)/mV 1/uV 1/mmHg rec.dat ~ - ../x / # 250/360(1) 99999999999999999 १२ ² \x00 \xff
    I II V1 aVR x/0 rec/2 0x10 1_0 +5 .5 5. e 1e"""
odd = st.one_of(st.sampled_from(ODD.split()), st.integers().map(str), st.floats().map(str), st.text(max_size=6))


@fuzz(500)
@given(
    record_line=st.lists(odd, max_size=6),
    lines=st.lists(st.lists(odd, max_size=10), max_size=4),
    plain=st.lists(st.booleans(), min_size=14, max_size=14),
    data=st.binary(max_size=200),
)
def test_fuzz_header_fields(folder, record_line, lines, plain, data):
    """Fields of a header replaced by odd ones, some left as they should be."""
    good = ["rec", str(len(lines)), "250", "5"]
    record_line = [g if keep else o for g, o, keep in zip(good, record_line + good, plain, strict=False)]
    good = ["rec.dat", "16", "200(0)/mV", "12", "0", "0", "0", "0", "II"]
    lines = [[g if keep else o for g, o, keep in zip(good, line + good, plain[4:], strict=False)] for line in lines]
    text = "\n".join(map(" ".join, [record_line, *lines]))
    (folder / "rec.hea").write_bytes(text.encode("utf-8", "surrogatepass"))
    (folder / "rec.dat").write_bytes(data)
    sound_or_refused(folder / "rec")


mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6)


def mutate(data, changes, keep):
    """Some bytes replaced, and only a share of them kept."""
    data = bytearray(data)
    for where, value in changes:
        data[int(where * len(data))] = value
    return bytes(data[: round(keep * len(data))])


FORMATS = ["16", "80", "212", "24", "32", "61", "8", "160", "310", "311", "0", "516", "16x2", "24x3", "16:2", "212x2:9"]
keep = st.one_of(st.just(1.0), st.floats(0, 1))
COMMENTS = (
    "# Age: 61\n#Sex: F\n#<age>: 5 <sex>: M <diagnoses> a, b\n# patient 7\n# Dx: 164889003,RBBB\n"
    "#<diagnoses>:\n#Rhythm: Atrial fibrillation.\n"
)


@fuzz(400)
@given(changes=mutations, keep=keep, fmt=st.sampled_from(FORMATS), length=st.sampled_from(["20", ""]))
def test_fuzz_header_bytes(folder, changes, keep, fmt, length):
    gains = ("200(5)/mV", "1E2/mV", "57(-3)/uV")
    leads = "".join(f"h.dat {fmt} {g} 12 0 0 0 0 {lead}\n" for g, lead in zip(gains, ("II", "III", "aVF"), strict=True))
    (folder / "h.hea").write_bytes(mutate(f"h 3 250 {length}\n{leads}{COMMENTS}".encode(), changes, keep))
    (folder / "h.dat").write_bytes(bytes(range(256)))
    sound_or_refused(folder / "h")


@fuzz(200)
@given(changes=mutations, keep=keep, layout=st.booleans())
def test_fuzz_segments(folder, changes, keep, layout):
    (folder / "part.hea").write_text("part 2 250 9\n" + "part.dat 212 200 12 0 0 0 0 II\n" * 2)
    (folder / "part.dat").write_bytes(bytes(range(27)))
    (folder / "null.hea").write_text("null 2 250 0\n" + "~ 0 200 12 0 0 0 0 II\n" * 2)
    lines = "null 0\n" * layout + "part 9\n~ 3\npart 9\n"
    (folder / "m.hea").write_bytes(mutate(f"m/{3 + layout} 2 250 21\n{lines}{COMMENTS}".encode(), changes, keep))
    sound_or_refused(folder / "m")


@pytest.fixture(scope="module")
def written(folder):
    """One record per format, and its signal file's bytes."""
    files = {}
    for fmt in ("16", "80", "212", "24", "32", "508", "516", "524"):
        d_signal = np.random.default_rng(4).integers(-100, 100, (300, 2))
        write_with_wfdb(
            record_name=f"f{fmt}", fs=250, units=["mV"] * 2, sig_name=["II", "V1"], d_signal=d_signal, fmt=[fmt] * 2,
            adc_gain=[200.0] * 2, baseline=[0, 1], write_dir=str(folder),
        )  # fmt: skip
        files[fmt] = (folder / f"f{fmt}.dat").read_bytes()
    return files


@fuzz(400)
@given(changes=mutations, keep=keep, fmt=st.sampled_from(["16", "80", "212", "24", "32", "508", "516", "524"]))
def test_fuzz_signal_bytes(folder, written, changes, keep, fmt):
    (folder / f"f{fmt}.dat").write_bytes(mutate(written[fmt], changes, keep))
    sound_or_refused(folder / f"f{fmt}")


@fuzz(300)
@given(changes=mutations, keep=keep, compressed=st.booleans())
def test_fuzz_struct_bytes(folder, changes, keep, compressed):
    path = folder / f"struct{compressed}.mat"
    original = path.with_suffix(".original")
    if not original.exists():
        save_struct(original, np.ones((12, 20)), compressed)
    path.write_bytes(mutate(original.read_bytes(), changes, keep))
    sound_or_refused(path)


@fuzz(300)
@given(changes=mutations, keep=keep)
def test_fuzz_npy_bytes(folder, changes, keep):
    original = folder / "x.original"
    if not original.exists():
        with original.open("wb") as file:
            np.save(file, np.random.default_rng(5).normal(size=(12, 20)))
    (folder / "x.npy").write_bytes(mutate(original.read_bytes(), changes, keep))
    sound_or_refused(folder / "x.npy", fs=500)


def test_a_table_of_infinities_is_looked_at_without_a_warning(tmp_path):
    (tmp_path / "x.csv").write_text("inf,inf\n", encoding="utf-8")
    for path in find_records(tmp_path):
        with pytest.raises(RecordError, match=r"x\.csv"):
            read_record(path, fs=500)


@fuzz(300)
@given(rows=st.lists(st.lists(odd, max_size=4), max_size=5), separator=st.sampled_from([",", ";", "\t"]))
def test_fuzz_csv(folder, rows, separator):
    (folder / "x.csv").write_bytes("\n".join(map(separator.join, rows)).encode("utf-8", "surrogatepass"))
    sound_or_refused(folder / "x.csv", fs=500)
    sound_or_refused(folder / "x.csv", fs=500, leads=["I", "II"])
    find_records(folder)


@fuzz(300)
@given(changes=mutations, keep=keep)
def test_fuzz_ptbxl_table(folder, changes, keep):
    inside = folder / "tables"
    inside.mkdir(exist_ok=True)
    (inside / "00007_hr.hea").write_text("00007_hr 1 250 5\n00007_hr.dat 16\n")
    (inside / "00007_hr.dat").write_bytes(bytes(range(10)))
    table = "ecg_id,patient_id,age,sex,scp_codes,strat_fold\n7,16193.0,54.0,0,\"{'NORM': 100.0}\",7\n"
    (inside / "ptbxl_database.csv").write_bytes(mutate(table.encode(), changes, keep))
    formats._remembered.cache_clear()
    sound_or_refused(inside / "00007_hr")


# Real recordings


def stratified(paths, every):
    """Every so-many-th of each folder."""
    for parent in sorted({path.parent for path in paths}):
        yield from [path for path in paths if path.parent == parent][::every]


def wfdb_reads(path):
    """All but the Georgia headers whose record line ends in .mat."""
    return not path.read_text().split(maxsplit=1)[0].endswith(".mat")


def compare(paths, records):
    compared = 0
    for path, ours in zip(paths, records, strict=True):
        if path.suffix == ".hea" and wfdb_reads(path) and "header gain" not in kinds(ours):
            assert_equals_wfdb(path, ours)
            compared += 1
    return compared


def test_real_sample_equals_wfdb(real_data):
    paths = list(stratified(find_records(real_data), 20))
    assert compare(paths, map(read_record, paths)) > 40


@pytest.fixture(scope="module")
def known(real_data):
    """All real recordings by their paths."""
    paths = (path for path in find_records(real_data) if path.parent.name != "devices")  # which are no data set
    return {path: read_record(path) for path in paths}


@pytest.mark.slow
def test_real_records_all_equal_wfdb(known):
    assert compare(known, known.values()) == 901


@pytest.fixture(scope="module")
def real(known):
    return {(record.source, record.name): record for record in known.values()}


def test_real_counts(real):
    assert Counter(source for source, _ in real) == {
        "LUDB": 200, "MIT-BIH": 48, "PTB-XL": 500, "CPSC 2018": 10, "cpsc_2018": 166, "cpsc_2018_extra": 32,
        "georgia": 74, "ningbo": 66, "chapman_shaoxing": 20, "ptb-xl": 92, "ptb": 2,
    }  # fmt: skip


def test_real_traps(real):
    noted = Counter((source, kind) for (source, _), record in real.items() for kind in kinds(record))
    assert noted == {
        ("LUDB", "header gain"): 200,
        ("LUDB", "clipped"): 1,
        ("PTB-XL", "lead laws"): 1,
        ("georgia", "record line"): 44,
        ("georgia", "header gain"): 3,
        ("georgia", "comment style"): 20,
        ("ningbo", "comment style"): 20,
        ("ningbo", "flat leads"): 6,
        ("ptb-xl", "header gain"): 55,
        ("ptb-xl", "comment style"): 10,
        ("cpsc_2018", "class names"): 109,
        ("MIT-BIH", "fewer leads"): 48,
        ("MIT-BIH", "clipped"): 3,
        ("MIT-BIH", "patient"): 1,
        # PTB-XL holds the last value of every record for the last 0.1 s
        ("PTB-XL", "constant end"): 500,
        ("ptb-xl", "constant end"): 92,
    }
    for name in ("E00015", "E00018", "E00793"):
        assert any("4880/mV read as 1000/mV" in note for note in real["georgia", name].notes)
        assert 0.5 < np.median(np.ptp(real["georgia", name].signal, axis=1)) < 5


def test_real_limb_leads(real):
    """One of PTB-XL's 500 breaks the laws, by spikes in two leads; LUDB's microvolts obey them within rounding."""
    law = "lead laws: aVR = -(I + II)/2 broken by up to 2.6 mV, aVF = (II + III)/2 broken by up to 2.6 mV"
    assert law in real["PTB-XL", "00162_hr"].notes
    largest = [np.abs(residuals(r.signal[:6], LEADS[:6])[1]).max() for (s, _), r in real.items() if s == "LUDB"]
    assert max(largest) < 0.003 and len(largest) == 200
    # As the headers have it, each lead spans 1 mV, and that breaks the first law by so much.
    broken = []
    for (source, _), record in real.items():
        if source == "LUDB":
            limb = record.signal[:6] / np.ptp(record.signal[:6], axis=1, keepdims=True)
            rest = residuals(limb, LEADS[:6])[1][0]
            broken.append(np.abs(rest - np.median(rest)).max())
    assert np.median(broken) == pytest.approx(0.38, abs=0.005)
    # A step is taken for a microvolt because the leads are then as large as PTB-XL's, half of which span so many mV.
    for lead in ("I", "II", "V2", "V5"):
        spans = {"LUDB": [], "PTB-XL": []}
        for (source, _), record in real.items():
            if source in spans:
                spans[source].append(np.ptp(record.signal[LEADS.index(lead)]))
        assert 0.6 < np.median(spans["LUDB"]) / np.median(spans["PTB-XL"]) < 1.5


def test_real_copies(real):
    """The Challenge's copies of PTB-XL are equal to the last integer, and the patient is the same."""
    twins = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 169, 218, 329, 431, 434, 482]
    for ecg_id in twins:
        copy, original = real["ptb-xl", f"HR{ecg_id:05}"], real["PTB-XL", f"{ecg_id:05}_hr"]
        np.testing.assert_array_equal(copy.signal, original.signal)
        assert copy.signal_hash == original.signal_hash and copy.patient_id == original.patient_id
        assert (copy.fold, copy.sex, copy.age) == (original.fold, original.sex, original.age)
    assert real["PTB-XL", "00001_hr"].patient_id == "PTB-XL/15709" and real["PTB-XL", "00001_hr"].fold == 3
    assert {name for (source, name), r in real.items() if source == "ptb-xl" and r.fold} == {
        f"HR{ecg_id:05}" for ecg_id in twins
    }
    same = {("cpsc_2018", "A1041"): ("cpsc_2018_extra", "Q1179"), ("georgia", "E07509"): ("georgia", "E07510"),
            ("cpsc_2018_extra", "Q0048"): ("cpsc_2018", "A0101")}  # fmt: skip
    for one, other in same.items():
        assert real[one].signal_hash == real[other].signal_hash
    within = [(137, 138), (143, 144), (145, 463), (456, 457), (459, 460)]  # PTB-XL itself holds ECGs twice
    for pair in within:
        one, other = (real["PTB-XL", f"{ecg_id:05}_hr"] for ecg_id in pair)
        assert one.signal_hash == other.signal_hash
    assert len({record.signal_hash for record in real.values()}) == len(real) - len(twins) - len(same) - len(within)
    assert len({r.patient_id for (source, _), r in real.items() if source == "PTB-XL"}) == 466


def test_real_structs_equal_scipys(real, real_data):
    for path in (real_data / "cpsc-2018-original").glob("*.mat"):
        expected = scipy.io.loadmat(path)["ECG"][0, 0]
        record = real["CPSC 2018", path.stem]
        np.testing.assert_array_equal(record.signal, expected["data"].astype(np.float32))
        assert (record.age, record.sex) == (expected["age"][0, 0], expected["sex"][0][0])


def test_real_patients_and_labels(real):
    a, b = real["cpsc_2018", "A1041"], real["cpsc_2018_extra", "Q1179"]
    assert a.labels != b.labels
    assert real["ptb", "S0001"].fs == 1000 and real["MIT-BIH", "100"].fs == 360
    assert real["MIT-BIH", "202"].patient_id == real["MIT-BIH", "201"].patient_id
    assert all(record.leads == LEADS for (source, _), record in real.items() if source != "MIT-BIH")
    assert real["CPSC 2018", "A1980"].codes and real["CPSC 2018", "A1980"].labels
    assert max(record.seconds for record in real.values() if record.source == "ptb") > 100
    assert real["LUDB", "1"].codes[0] == "Rhythm: Sinus bradycardia" and real["LUDB", "1"].age == 51


def test_a_table_about_leads_is_no_record(tmp_path):
    """Such as the simulator writes beside its records."""
    (tmp_path / "waves.csv").write_text("lead,wave,onset,peak,offset,record\nI,P,23,58,75,3-000000\n")
    (tmp_path / "rows.csv").write_text("I,0.1,0.2,0.3\nII,0.2,0.3,0.4\n")
    (tmp_path / "gaps.csv").write_text("I,0.1,,0.3\nII,0.2,0.3,0.4\n")
    assert [path.name for path in find_records(tmp_path)] == ["gaps.csv", "rows.csv"]
