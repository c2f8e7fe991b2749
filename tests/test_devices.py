"""Device formats: files that another library, or a writer after the specification, wrote, and each format's traps."""

import base64
import re
import struct
import sys
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from pathlib import Path

import ecgdatakit
import edfio
import numpy as np
import pydicom
import pytest

from ecgstudy.data import devices
from ecgstudy.data.devices import common
from ecgstudy.data.devices.common import lead_name
from ecgstudy.data.records import LEADS, SUFFIXES, RecordError, find_records, read_record
from ecgstudy.data.simulator.synthetic import simulate
from tests import device_files as files
from tests.device_files import EIGHT, FORMATS, counts_of

FS = 500


@pytest.fixture(scope="module")
def source():
    """(12, samples) in mV of a simulated record."""
    return simulate(3, 1, labels=frozenset({"RBBB"}), fs=FS, seconds=10).record.signal.astype(np.float64)


@pytest.fixture(scope="module")
def half(source):
    """The record in steps of half a microvolt, which are exact."""
    return counts_of(source, 0.5)


def kinds(record):
    return {note.split(":")[0] for note in record.notes}


def note(record, kind):
    (found,) = [text for text in record.notes if text.startswith(f"{kind}:")]
    return found


def assert_reads(path, signal, **asked):
    """Read the file and compare with (leads, samples) in mV, to a float32's rounding."""
    record = read_record(path, **asked)
    np.testing.assert_allclose(record.signal, signal, atol=2e-6, rtol=1e-6)
    return record


@pytest.mark.parametrize("name", FORMATS)
def test_a_simulated_record_is_read_back_within_the_formats_resolution(name, source, tmp_path):
    suffix, write, step, leads = FORMATS[name]
    path = tmp_path / f"ecg{suffix}"
    write(path, counts_of(source, step, leads), FS, leads, step)
    record = read_record(path)
    assert record.leads == LEADS and record.fs == FS and record.signal.dtype == np.float32
    assert record.name == "ecg" and record.source == tmp_path.name and record.patient_id == f"{tmp_path.name}/ecg"
    assert record.sex == "F" and record.age == 61 and not record.identity
    rounded = 2 if len(leads) < 12 else 1  # III is a difference of two
    np.testing.assert_allclose(record.signal, source, atol=rounded * step / 2000 + 1e-6)
    median = {"median beat"} if name in ("dicom", "aecg", "muse") else set()
    assert kinds(record) == (median | {"computed leads"} if len(leads) < 12 else median)


@pytest.mark.parametrize("name", ["edf", "ishne", "scp", "aecg", "muse"])
def test_limb_leads_that_are_not_stored_are_computed(name, source, tmp_path):
    suffix, write, _, _ = FORMATS[name]
    path = tmp_path / f"ecg{suffix}"
    write(path, counts_of(source, 1, EIGHT), FS, EIGHT, 1)
    record = assert_reads(path, source)
    assert note(record, "computed leads") == (
        "computed leads: III, aVR, aVL, aVF from I and II, since the file lacks them"
    )
    assert "lead order" not in kinds(record)


def test_leads_of_a_very_long_recording_are_not_computed(half, source, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "MOST_VALUES", 30_000)
    files.write_ishne(tmp_path / "a.ecg", half[:2], FS, LEADS[:2])
    record = assert_reads(tmp_path / "a.ecg", source[:6])  # 6 × 5,000
    assert record.leads == LEADS[:6]
    files.write_ishne(tmp_path / "a.ecg", half[[0, 1, 6]], FS, ("I", "II", "V1"))
    record = assert_reads(tmp_path / "a.ecg", source[[0, 1, 6]])
    assert "not computed from I and II" in note(record, "lacking leads")


def test_eight_leads_of_a_dicom_file_too(source, tmp_path):
    files.write_dicom(tmp_path / "a.dcm", counts_of(source, 1, EIGHT), FS, EIGHT, 1)
    assert "computed leads" in kinds(assert_reads(tmp_path / "a.dcm", source))


@pytest.mark.parametrize("name", FORMATS)
def test_a_lead_with_the_wrong_sign_or_scale_is_noted(name, source, tmp_path):
    suffix, write, step, _ = FORMATS[name]
    wrong = source.copy()
    wrong[3] *= -1
    path = tmp_path / f"ecg{suffix}"
    write(path, counts_of(wrong, step), FS, LEADS, step)
    assert "aVR has the wrong sign" in note(read_record(path), "lead laws")
    write(path, counts_of(source, step), FS, LEADS, 40 * step)
    assert "more than an ECG's" in note(read_record(path), "amplitude")
    write(path, counts_of(source, 5), FS, LEADS, 0.001 if name == "ishne" else 0.005)
    assert "less than an ECG's" in note(read_record(path), "amplitude")


def test_leads_in_another_order_are_put_in_standard_order(half, source, tmp_path):
    order = (*EIGHT, "III", "aVR", "aVL", "aVF")  # SCP-ECG's and the aECG's
    for suffix, write in ((".scp", files.write_scp), (".xml", files.write_aecg), (".dcm", files.write_dicom)):
        write(tmp_path / f"a{suffix}", half[[LEADS.index(lead) for lead in order]], FS, order)
        assert "lead order" in kinds(assert_reads(tmp_path / f"a{suffix}", source))


def test_minus_avr_is_turned_around(half, source, tmp_path):
    leads = tuple("-aVR" if lead == "aVR" else lead for lead in LEADS)
    turned = half * np.where(np.array(LEADS) == "aVR", -1, 1)[:, None]
    for suffix, write in ((".scp", files.write_scp), (".xml", files.write_aecg)):
        write(tmp_path / f"a{suffix}", turned, FS, leads)
        record = assert_reads(tmp_path / f"a{suffix}", source)
        assert "-aVR" in note(record, "lead names") and "lead laws" not in kinds(record)


# Real files, against a reading of their own


def real_file(real_data, name):
    path = real_data / "devices" / name
    if not path.is_file():
        pytest.skip(f"{name} is not at hand")
    return path


def test_pydicoms_own_ecg():
    from pydicom.data import get_testdata_file

    path = get_testdata_file("waveform_ecg.dcm")
    data = pydicom.dcmread(path)
    record = assert_reads(path, data.waveform_array(0).T / 1000)
    assert record.leads == LEADS and record.fs == 1000 and kinds(record) == {"median beat"}
    assert not read_record(path).identity and read_record(path, show_identity=True).identity["patient id"]
    theirs = ecgdatakit.FileParser.parse(path)
    np.testing.assert_allclose(record.signal, [lead.samples for lead in theirs.leads], atol=1e-6)


def test_a_real_aecg(real_data):
    path = real_file(real_data, "fda-aecg-subject1_0.xml")
    text = path.read_text(encoding="utf-8").partition("<derivation>")[0]
    found = re.findall(
        r'MDC_ECG_LEAD_(\w+)".*?<scale value="([\d.]+)" unit="uV".*?<digits>([^<]+)</digits>', text, re.DOTALL
    )
    leads = {lead.lower(): np.array(digits.split(), float) * float(scale) / 1000 for lead, scale, digits in found}
    record = assert_reads(path, [leads[lead.lower()] for lead in LEADS])
    assert record.fs == 500 and record.seconds == 10 and record.sex == "M"
    assert kinds(record) == {"lead order", "median beat"}


def unpacked(data):
    """Leads of an XLI stream: LZW with codes of 10 bits, then second differences. Nothing of ecgdatakit is used."""
    while data:
        (size, _, start), data = struct.unpack_from("<ihh", data), data[8:]
        bits, data = "".join(f"{byte:08b}" for byte in data[:size]), data[size:]
        table, out, last = {n: bytes([n]) for n in range(256)}, b"", b""
        for at in range(0, len(bits) - 9, 10):
            code = int(bits[at : at + 10], 2)
            if code == 1023:
                break
            entry = table.get(code, last + last[:1])
            if last and len(table) < 1023:
                table[len(table)] = last + entry[:1]
            out, last = out + entry, entry
        half = len(out) // 2
        codes = np.frombuffer(bytes(b for pair in zip(out[:half], out[half:], strict=False) for b in pair), ">i2")
        values = codes[:2].astype(int).tolist()
        for code in codes[2:].astype(int).tolist():
            values.append(2 * values[-1] - values[-2] - start)
            start = code - 64
        yield np.array(values)


def test_a_real_sierra_file(real_data):
    path = real_file(real_data, "philips-sierra-1.04.xml")
    root = ET.fromstring(path.read_bytes())
    (waves,) = root.iter("{http://www3.medical.philips.com}parsedwaveforms")
    leads = [lead[:5500] for lead in unpacked(base64.b64decode(waves.text))]
    one, two = leads[:2]
    three = two - one - leads[2]
    limb = [three, -leads[3] - (one + two) // 2, (one - three) // 2 - leads[4], (two + three) // 2 - leads[5]]
    whole = np.array([one, two, *limb, *leads[6:12]]) * 5 / 1000  # four more are empty
    assert set(whole[:, -50:].ravel()) == {0.0} and set(whole[:, -100].ravel()) == {1.0}  # the same in every lead
    record = assert_reads(path, whole[:, :5300])
    assert record.fs == 500 and record.leads == LEADS and record.sex == "F" and record.age == 38
    assert note(record, "calibration tail").startswith("calibration tail: the last 0.4 s, the same pulse of 1 mV")


@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("ludb/data/1", 1),
        ("mitdb/100", 5),
        ("challenge-2021/training/georgia/g1/E00001", 1),
        ("challenge-2021/training/ningbo", 1),
        ("ptb-xl", 1),
    ],
)
def test_real_recordings_are_the_same_as_dicom_and_edf(place, step, real_data, tmp_path):
    path = real_data / place
    path = min(path.rglob("*.hea")) if path.is_dir() else path
    record = read_record(path)
    samples = int(min(record.seconds, 60) * record.fs)
    signal = record.signal[:, :samples]
    counts = np.rint(signal.astype(np.float64) * 1000 / step).astype(np.int64)
    for suffix, write in ((".dcm", files.write_dicom), (".edf", files.write_edf)):
        named = tmp_path / f"a{suffix}"
        if suffix == ".dcm":
            channels = [
                files.dicom_channel(lead, coded="2:{}" if lead in EIGHT else "", sensitivity=f"{step}")
                for lead in record.leads
            ]
            files.save_dicom(named, [files.dicom_group(counts, record.fs, channels)])
        else:
            write(named, counts, record.fs, record.leads, step)
        again = read_record(named)
        np.testing.assert_array_equal(again.signal, signal)
        assert again.leads == record.leads and again.fs == record.fs


# DICOM


@pytest.mark.parametrize(
    ("sensitivity", "correction", "unit", "step"),
    [("0.5", None, "uV", 0.5), ("0.0005", "1", "mV", 0.5), ("1", "0.5", "uV", 0.5), ("500", "0.001", "µV", 0.5),
     ("500", None, "nV", 0.5), ("5e-7", None, "V", 0.5)],
)  # fmt: skip
def test_the_gain_of_a_dicom_channel(sensitivity, correction, unit, step, half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity=sensitivity, unit=unit, correction=correction) for lead in LEADS]
    group = files.dicom_group(half, FS, channels)
    files.save_dicom(tmp_path / "a.dcm", [group])
    assert_reads(tmp_path / "a.dcm", source)


@pytest.mark.parametrize("sop", [f"1.2.840.10008.5.1.4.1.1.9.{kind}" for kind in ("1.1", "1.2", "1.3")])
def test_classes_of_dicom_ecg(sop, half, source, tmp_path):
    group = files.dicom_group(half, FS, [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS])
    files.save_dicom(tmp_path / "a.dcm", [group], sop=sop)
    assert_reads(tmp_path / "a.dcm", source)
    assert find_records(tmp_path) == [tmp_path / "a.dcm"]


@pytest.mark.parametrize("kind", ["<i2", "<i4"])
def test_dicom_baseline_and_words(kind, half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5", baseline="-250") for lead in LEADS]
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half + 500, FS, channels, kind=kind)])
    assert_reads(tmp_path / "a.dcm", source)
    channels = [files.dicom_channel(lead, sensitivity="0.5", baseline="-10000") for lead in LEADS]
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half + 20000, FS, channels, kind="<u2")])
    assert_reads(tmp_path / "a.dcm", source)


def test_dicom_leads_by_their_meaning_and_unknown_ones_by_number(half, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS]
    channels[0] = files.dicom_channel("I", sensitivity="0.5", coded="")
    channels[11] = files.dicom_channel(files.WHO, sensitivity="0.5", coded="")
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half, FS, channels)])
    record = read_record(tmp_path / "a.dcm")
    assert record.leads == (*LEADS[:11], "channel 12")
    assert note(record, "lead names") == "lead names: 1 of 12 are no lead's and called channel 1, 2 …"


@pytest.mark.parametrize("coded", ["2:{}", "5.6.3-9-{}", "MDC", ""])
def test_codes_of_dicom_leads(coded, half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5", coded=coded) for lead in LEADS]
    if coded == "MDC":
        numbers = {**{lead: 131328 + n for n, lead in enumerate(EIGHT, 1)}, "III": 131389, "aVR": 131390}
        numbers |= {"aVL": 131391, "aVF": 131392}
        for lead, channel in zip(LEADS, channels, strict=True):
            channel.ChannelSourceSequence[0].CodeValue = str(numbers[lead])
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half, FS, channels)])
    assert_reads(tmp_path / "a.dcm", source)


def test_dicom_padding_below_all_samples_is_missing(half, source, tmp_path):
    counts = half.copy()
    counts[2, 4000:] = counts[:, :10] = -32768
    group = files.dicom_group(counts, FS, [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS])
    group.add_new("WaveformPaddingValue", "OW", struct.pack("<h", -32768))
    files.save_dicom(tmp_path / "a.dcm", [group])
    expected = source.copy()
    expected[2, 4000:] = expected[:, :10] = np.nan
    assert "missing samples" in kinds(assert_reads(tmp_path / "a.dcm", expected))


def test_a_dicom_padding_of_zero_takes_no_true_zero(half, source, tmp_path):
    counts = half.copy()
    counts[0, 4000:] = 0
    assert (counts[:, 1000:3000] == 0).any()
    group = files.dicom_group(counts, FS, [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS])
    group.add_new("WaveformPaddingValue", "OW", bytes(2))
    files.save_dicom(tmp_path / "a.dcm", [group])
    record = read_record(tmp_path / "a.dcm")
    assert (
        np.isnan(record.signal[0, 4000:]).all() and np.isnan(record.signal).sum() == 1000 and "padding" in kinds(record)
    )
    whole = ~np.isnan(record.signal)
    np.testing.assert_allclose(record.signal[whole], source[whole], atol=1e-6)


def test_dicom_channels_without_a_voltage_are_left_out(half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity=None if lead == "V1" else "0.5") for lead in LEADS]
    channels[11] = files.dicom_channel("V6", sensitivity="0.5", unit="mm[Hg]")
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half, FS, channels)])
    record = read_record(tmp_path / "a.dcm")
    assert record.leads == tuple(lead for lead in LEADS if lead not in ("V1", "V6"))
    assert note(record, "channels") == "channels: 2 left out, which state no voltage of a step"
    channels = [files.dicom_channel(lead, sensitivity=None) for lead in LEADS]
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half, FS, channels)])
    with pytest.raises(RecordError, match=r"a\.dcm: states no voltage of a step .*; export"):
        read_record(tmp_path / "a.dcm")


def test_dicom_groups_of_other_leads_and_times_are_joined(half, source, tmp_path):
    """Four times three leads for 2.5 s each, as carts print them, and one of them all the time."""
    groups, expected = [], np.full(source.shape, np.nan)
    for part in range(4):
        rows, span = slice(3 * part, 3 * part + 3), slice(1250 * part, 1250 * (part + 1))
        channels = [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS[rows]]
        groups.append(files.dicom_group(half[rows, span], FS, channels, offset=2500 * part))
        expected[rows, span] = source[rows, span]
    other = files.dicom_group(half[:1, ::2], FS / 2, [files.dicom_channel("II", sensitivity="0.5")])
    files.save_dicom(tmp_path / "a.dcm", [*groups, other])
    record = assert_reads(tmp_path / "a.dcm", expected)
    assert "multiplex groups: 4 put on one time axis" in record.notes
    assert "multiplex groups: 1 at another rate than 500 Hz left out" in record.notes


def test_a_lead_in_two_dicom_groups_is_read_from_the_first(half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS]
    others = [files.dicom_channel("II", sensitivity="0.5"), files.dicom_channel("?", sensitivity="0.5")]
    groups = [files.dicom_group(half, FS, channels), files.dicom_group(half[:2, :1000], FS, others)]
    groups += [files.dicom_group(half[2:3], FS, others[1:])]
    files.save_dicom(tmp_path / "a.dcm", groups)
    record = assert_reads(tmp_path / "a.dcm", source)
    assert "multiplex groups: II in two at a time, read from the first" in record.notes
    assert note(record, "extra leads") == "extra leads: channel 14, channel 15 left out"


def test_a_derived_dicom_group_is_no_rhythm(half, source, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS]
    beat = files.dicom_group(half[:, :400], FS, channels, label="", WaveformOriginality="DERIVED")
    files.save_dicom(tmp_path / "a.dcm", [beat, files.dicom_group(half, FS, channels, label="")])
    assert "median beat" in kinds(assert_reads(tmp_path / "a.dcm", source))
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half[:, :400], FS, channels, label="Median Beat")])
    with pytest.raises(RecordError, match="median beats alone; export the rhythm"):
        read_record(tmp_path / "a.dcm")


def test_skewed_dicom_channels_are_noted(half, tmp_path):
    channels = [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS]
    channels[3].ChannelSampleSkew = "2"
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(half, FS, channels)])
    assert "up to 2 samples apart" in note(read_record(tmp_path / "a.dcm"), "skew")


@pytest.mark.parametrize(("age", "told"), [("061Y", 61), ("018M", 1.5), ("095Y", 90), ("", None), ("x", None)])
def test_age_is_told_up_to_89(age, told, half, tmp_path):
    group = files.dicom_group(half[:, :500], FS, [files.dicom_channel(lead, sensitivity="0.5") for lead in LEADS])
    with pytest.warns(UserWarning, match="Invalid value") if age == "x" else nullcontext():
        files.save_dicom(tmp_path / "a.dcm", [group], age=age)
    record = read_record(tmp_path / "a.dcm")
    assert record.age == told
    assert ("age: more than 89, told as 90" in record.notes) == (told == 90)


# SCP-ECG


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("difference", [0, 1, 2])
def test_encodings_of_scp(packed, difference, source, tmp_path):
    counts = counts_of(source, 2.5)
    files.write_scp(tmp_path / "a.scp", counts, FS, LEADS, 2.5, packed=packed, difference=difference)
    assert_reads(tmp_path / "a.scp", counts * 0.0025)


@pytest.mark.parametrize("packed", [False, True])
def test_the_reference_beat_of_scp_is_added_back(packed, source, tmp_path):
    counts = counts_of(source, 2.5)
    beats, width = np.array([700, 1300, 2600, 4000]), 250
    beat = np.rint(np.mean([counts[:, at - 1 - 125 : at - 1 + 125] for at in beats], axis=0)).astype(np.int64)
    files.write_scp(tmp_path / "a.scp", counts, FS, LEADS, 2.5, packed=packed, beats=beats, beat=beat)
    assert beat.shape[1] == width
    record = assert_reads(tmp_path / "a.scp", counts * 0.0025)
    assert "compression" in kinds(record) and "median beat" in kinds(record)


def test_scp_leads_of_other_lengths_and_calibrations(half, source, tmp_path):
    starts, lengths = [1] * 11 + [101], [5000] * 10 + [4000, 4900]
    counts = half.copy()
    counts[11, :4900] = half[11, 100:]
    leads = (*LEADS, "I-cal")
    both = np.vstack([counts, counts[:1]])
    files.write_scp(tmp_path / "a.scp", both, FS, leads, starts=[*starts, 1], lengths=[*lengths, 5000])
    expected = source.copy()
    expected[10, 4000:] = expected[11, :100] = np.nan
    record = assert_reads(tmp_path / "a.scp", expected)
    assert "calibration leads: 1 left out" in record.notes and "missing samples" in kinds(record)


def test_a_changed_scp_file_is_noted_by_its_checksum(half, tmp_path):
    data = bytearray(files.scp_bytes(half, FS, packed=False, difference=0))
    data[-4000] ^= 1
    (tmp_path / "a.scp").write_bytes(data)
    assert "does not match" in note(read_record(tmp_path / "a.scp"), "checksum")


# aECG


@pytest.mark.parametrize(("unit", "factor"), [("uV", 0.5), ("mV", 0.0005), ("nV", 500), ("V", 5e-7)])
def test_units_of_an_aecg(unit, factor, half, source, tmp_path):
    files.write_aecg(tmp_path / "a.xml", half - 40, FS, step=factor, unit=unit, origin=f"{40 * factor:.8f}")
    assert_reads(tmp_path / "a.xml", source)


def test_rates_of_an_aecg_are_not_rounded(half, tmp_path):
    for increment, fs in (("0.01", 100.0), ("0.00390625", 256.0), ("0.0075", 1 / 0.0075)):
        tick = f'<increment value="{increment}" unit="s"/>'
        files.write_aecg(tmp_path / "a.xml", half, FS, increment=tick)
        assert read_record(tmp_path / "a.xml").fs == pytest.approx(fs, rel=1e-12)
    files.write_aecg(tmp_path / "a.xml", half, FS, increment='<increment value="2" unit="ms"/>')
    assert read_record(tmp_path / "a.xml").fs == 500


def with_tail(counts, step):
    """The half second that Philips carts append."""
    tail = np.zeros((12, 250), np.int64)
    tail[:, 100:200] = round(1000 / step)
    return np.hstack([counts, tail])


def test_a_calibration_tail_is_left_out_wherever_a_file_kept_it(half, source, tmp_path):
    for suffix, write in ((".xml", files.write_aecg), (".dcm", files.write_dicom), (".edf", files.write_edf)):
        counts = with_tail(half[:, :4750], 0.5)  # whole seconds
        write(tmp_path / f"a{suffix}", counts, FS)
        assert "the last 0.5 s" in note(assert_reads(tmp_path / f"a{suffix}", source[:, :4750]), "calibration tail")
    flat = half.copy()
    flat[:, 4000:] = 0  # no pulse: that is no calibration
    files.write_aecg(tmp_path / "a.xml", flat, FS)
    assert read_record(tmp_path / "a.xml").seconds == 10


def test_further_series_and_sets_of_an_aecg_are_noted(half, source, tmp_path):
    more = files.aecg_text(half[:, :500], FS).partition("</author>")[2].partition("<derivation>")[0]
    files.write_aecg(tmp_path / "a.xml", half, FS, more=more)
    assert "sequence sets: the first of 2 read" in assert_reads(tmp_path / "a.xml", source).notes
    second = f'</series></component><component><series><code code="RHYTHM"/>{more}'
    files.write_aecg(tmp_path / "a.xml", half, FS, more=second)
    assert "series: the first of 2 read" in assert_reads(tmp_path / "a.xml", source).notes


# GE MUSE


@pytest.mark.parametrize(("base", "exponent", "fs"), [(500, 0, 500), (5, 2, 500), (2500, -1, 250), (1255, -1, 125.5)])
def test_the_exponent_of_muses_rate(base, exponent, fs, source, tmp_path):
    files.write_muse(tmp_path / "a.xml", counts_of(source, 1, EIGHT), base, step=1, exponent=exponent)
    assert assert_reads(tmp_path / "a.xml", source).fs == pytest.approx(fs)


@pytest.mark.parametrize("unit, step", [("MICROVOLTS", 4.88), ("MILLIVOLTS", 0.00488)])
@pytest.mark.parametrize("median, qrs", [(True, 3), (False, 1), (True, 0)])
def test_muse_files_with_little_in_them(unit, step, median, qrs, source, tmp_path):
    counts = counts_of(source, 4.88, EIGHT)
    files.write_muse(tmp_path / "a.xml", counts, FS, step=step, unit=unit, median=median, qrs=qrs)
    record = read_record(tmp_path / "a.xml")
    np.testing.assert_allclose(record.signal[[0, 1, 6, 7, 8, 9, 10, 11]], counts * 0.00488, atol=1e-6)
    assert ("median beat" in kinds(record)) == median


@pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-8", "UTF-16"])
def test_muse_names_in_latin_1_whatever_the_file_declares(declared, source, tmp_path):
    text = files.muse_text(counts_of(source, 1, EIGHT), FS, step=1, who="Zaphöd", encoding=declared)
    (tmp_path / "a.xml").write_bytes(text.encode("latin-1"))
    assert_reads(tmp_path / "a.xml", source)
    assert "Zaphöd" in read_record(tmp_path / "a.xml", show_identity=True).identity["name"]


def test_muse_checksums_offsets_and_units(source, tmp_path):
    counts = counts_of(source, 1, EIGHT)
    files.write_muse(tmp_path / "a.xml", counts, FS, step=1, crc=1, baseline=7)
    record = assert_reads(tmp_path / "a.xml", source)
    assert {"checksum", "offsets"} <= kinds(record)
    for unit in ("", "PARSECS"):
        files.write_muse(tmp_path / "a.xml", counts, FS, step=1, unit=unit)
        with pytest.raises(RecordError, match=r"a\.xml: states no voltage of a step .*; export it"):
            read_record(tmp_path / "a.xml")


# Philips Sierra


@pytest.mark.parametrize("version", ["1.03", "1.04", "1.04.01"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_versions_of_sierra(version, packed, encoding, source, tmp_path):
    counts = counts_of(source, 5)
    files.write_sierra(tmp_path / "a.xml", counts, FS, version=version, packed=packed, encoding=encoding)
    assert_reads(tmp_path / "a.xml", counts * 0.005)


def test_a_large_offset_and_the_tail_of_a_sierra_file(source, tmp_path):
    counts = counts_of(source, 5)
    counts[8] -= 3400  # −17 mV
    files.write_sierra(tmp_path / "a.xml", with_tail(counts, 5), FS)
    record = assert_reads(tmp_path / "a.xml", counts * 0.005)
    assert "calibration tail" in kinds(record) and "lead laws" not in kinds(record)


def test_a_sierra_file_without_resolution_is_refused(source, tmp_path):
    files.write_sierra(tmp_path / "a.xml", counts_of(source, 5), FS, step=None)
    with pytest.raises(RecordError, match=r"a\.xml: states no voltage of a step.*; export it with its resolution"):
        read_record(tmp_path / "a.xml")


# EDF and BDF


@pytest.mark.parametrize("kind", ["edf", "bdf"])
@pytest.mark.parametrize(("unit", "step"), [("uV", 0.5), ("UV", 0.5), ("µV", 0.5), ("mV", 0.0005), ("nV", 500)])
def test_units_of_edf(kind, unit, step, half, source, tmp_path):
    path = tmp_path / f"a.{kind}"
    files.write_edf(path, half, FS, step=step, kind=kind, unit=unit.replace("µ", "u"))
    if unit == "µV":
        data = path.read_bytes()
        path.write_bytes(data[:4096].replace(b"uV      ", b"\xb5V      ") + data[4096:])
    assert_reads(path, source)


def test_other_signals_and_rates_of_edf(half, source, tmp_path):
    extra = [
        files.edf_signal(half[0], FS, "EEG Fpz-Cz"),
        files.edf_signal(half[0, ::20], FS / 20, "SpO2", unit="%"),
        files.edf_signal(half[0, ::2], FS / 2, "ECG V7"),
        files.edf_signal(half[0], FS, "V8", unit="degC"),
    ]
    files.write_edf(tmp_path / "a.edf", half, FS, extra=extra)
    record = assert_reads(tmp_path / "a.edf", source)
    assert note(record, "other signals").startswith("other signals: 2 that")
    assert note(record, "several rates") == "several rates: V7 at 250 Hz left out, the leads at 500 Hz read"
    assert note(record, "unit") == "unit: V8 left out, whose unit is no voltage"


def test_an_edf_whose_voltage_falls_as_its_steps_rise(half, source, tmp_path):
    """An inverted range is the format's way to say that a signal was stored upside down."""
    signals = [
        edfio.EdfSignal.from_digital(
            np.asarray(-row, np.int16), FS, label=lead, physical_dimension="uV",
            physical_range=(7500, -7500), digital_range=(-15000, 15000),
        )
        for row, lead in zip(half, LEADS, strict=True)
    ]  # fmt: skip
    edfio.Edf(signals).write(tmp_path / "a.edf")
    assert_reads(tmp_path / "a.edf", source)


def test_edf_labels(half, source, tmp_path):
    labels = ("EKG", "ECG LA-RA", "ECG II", "MLII", "V1")
    edfio.Edf([files.edf_signal(row, FS, label) for row, label in zip(half, labels, strict=False)]).write(
        tmp_path / "a.edf"
    )
    assert read_record(tmp_path / "a.edf").leads == ("ECG", "ECG (2)", "II", "MLII", "V1")
    record = read_record(tmp_path / "a.edf", leads=["I", "II", "III", "aVR", "aVL"])
    assert record.leads == ("I", "II", "III", "aVR", "aVL", "aVF") and "computed leads" in kinds(record)
    with pytest.raises(RecordError, match="holds 5 leads, not 2; name as many"):
        read_record(tmp_path / "a.edf", leads=["I", "II"])
    edfio.Edf([files.edf_signal(half[0], FS, files.WHO)]).write(tmp_path / "a.edf")
    with pytest.raises(RecordError, match="names no ECG lead among its 1 signals; name them in leads="):
        read_record(tmp_path / "a.edf")
    assert_reads(tmp_path / "a.edf", source[:1], leads=["I"])


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_pauses_of_edf_d_are_missing_samples(kind, half, source, tmp_path):
    path = tmp_path / f"a.{kind}"
    files.write_edf(path, half, FS, kind=kind)
    data = path.read_bytes()
    plus = b"EDF+" if kind == "edf" else b"BDF+"
    assert plus + b"C" in data[:256]
    data = data.replace(plus + b"C", plus + b"D", 1)
    path.write_bytes(data)
    assert "pauses" not in kinds(assert_reads(path, source))  # it may be, but need not be discontinuous
    for second in range(4, 10):  # the clock runs on for 3 s
        at = data.rindex(f"+{second}\x14\x14".encode())
        stamp = f"+{second + 3}\x14\x14".encode()
        data = data[:at] + stamp + data[at + len(stamp) :]
    path.write_bytes(data)
    expected = np.hstack([source[:, :2000], np.full((12, 1500), np.nan), source[:, 2000:]])
    record = assert_reads(path, expected)
    assert "pauses: 1, 3 s in all, read as NaN" in record.notes


def test_edf_that_is_not_whole(half, tmp_path):
    path = tmp_path / "a.edf"
    files.write_edf(path, half, FS)
    data = path.read_bytes()
    path.write_bytes(data[:-30000])
    with pytest.raises(RecordError, match=r"a\.edf: is cut short: it holds 7 of the 10 data records .*; copy it again"):
        read_record(path)
    path.write_bytes(data[:236] + b"-1      " + data[244:])  # never closed
    assert "-1 data records declared, 10 held" in note(read_record(path), "length")


# ISHNE


def test_steps_lead_codes_and_faults_of_ishne(half, source, tmp_path):
    leads = ("X", "Y", "Z", "V1", "ES", "?")
    counts = half[:6].copy()
    counts[2, 100:200] = -32768
    files.write_ishne(tmp_path / "a.ecg", counts, 200, leads)
    expected = source[:6].copy()
    expected[2, 100:200] = np.nan
    record = assert_reads(tmp_path / "a.ecg", expected)
    assert record.leads == ("X", "Y", "Z", "V1", "ES", "channel 6") and record.fs == 200
    data = bytearray(files.ishne_bytes(half, FS))
    struct.pack_into("<h", data, 206 + 2, 0)
    (tmp_path / "a.ecg").write_bytes(data)
    with pytest.raises(RecordError, match="states no voltage of a step for each lead; export"):
        read_record(tmp_path / "a.ecg")
    data = bytearray(files.ishne_bytes(half, FS))
    struct.pack_into("<i", data, 14, 9999)
    (tmp_path / "a.ecg").write_bytes(data)
    record = assert_reads(tmp_path / "a.ecg", source)
    assert {"length", "checksum"} <= kinds(record)


# Which files are found, and what they are called


def test_files_are_known_by_their_content(half, tmp_path):
    for name, (suffix, write, step, leads) in FORMATS.items():
        for odd in (suffix, suffix.upper(), ".txt", ""):
            path = tmp_path / f"{name}{odd}"
            write(path, half[[LEADS.index(lead) for lead in leads], :1000], FS, leads, step)
            assert devices.format_of(path) == {"bdf": "edf"}.get(name, name)
            assert read_record(path).name == (name if odd != ".txt" else f"{name}.txt")
    (tmp_path / "notes.xml").write_text("<!-- <AnnotatedECG> --><notes/>")
    (tmp_path / "tape.ecg").write_bytes(b"something else")
    (tmp_path / "README").write_text("no ECG")
    (tmp_path / "letter.txt").write_text("Dear all")
    found = {path.name for path in find_records(tmp_path)}
    wanted = {f"{name}{s}" for name, (suffix, *_) in FORMATS.items() for s in (suffix, suffix.upper())}
    assert found == wanted | {"dicom", "scp"}
    assert read_record(tmp_path / "muse").signal.shape == (12, 1000)
    with pytest.raises(RecordError, match=r"letter\.txt: is of no format that is read: .*; export it"):
        read_record(tmp_path / "letter.txt")
    with pytest.raises(RecordError, match=r"notes\.xml: is no XML of HL7 aECG, .*; export it"):
        read_record(tmp_path / "notes.xml")


def test_images_and_texts_of_dicom_are_no_ecgs():
    data = Path(pydicom.__file__).parent / "data"
    found = {path.name for path in find_records(data)}
    assert len(list(data.rglob("*.dcm"))) > 50
    assert found == {"waveform_ecg.dcm", "meta_missing_tsyntax.dcm"}  # the latter does not say what it is


def test_what_is_left_of_a_file_is_found_and_reading_tells(half, tmp_path):
    files.write_dicom(tmp_path / "whole.dcm", half, FS)
    data = (tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "headless.dcm").write_bytes(data[132:])
    (tmp_path / "image.dcm").write_bytes(data[132:].replace(b"10008.5.1.4.1.1.9.", b"10008.5.1.4.1.1.2."))
    for suffix in SUFFIXES:
        (tmp_path / f"empty{suffix}").touch()
        (tmp_path / f"zeros{suffix}").write_bytes(bytes(100_000))
    (tmp_path / "empty").touch()
    (tmp_path / "empty.txt").touch()
    found = find_records(tmp_path)
    kept = {f"{name}{suffix}" for name in ("empty", "zeros") for suffix in SUFFIXES} - {"empty.mat", "zeros.mat"}
    assert {path.name for path in found} == kept | {"whole.dcm", "headless.dcm"}
    for path in found:
        if path.name != "whole.dcm":
            with pytest.raises(RecordError, match=rf"{re.escape(path.name)}: .*; "):
                read_record(path, fs=FS)


def test_a_record_may_be_named_without_its_suffix(half, source, tmp_path):
    files.write_edf(tmp_path / "a.edf", half, FS)
    assert read_record(tmp_path / "a").name == "a"
    files.write_dicom(tmp_path / "a", half[:, :1000], FS)  # which is found as well
    assert_reads(tmp_path / "a", source[:, :1000])
    assert_reads(tmp_path / "a.edf", source)
    (tmp_path / "a").write_text("no ECG")
    assert_reads(tmp_path / "a", source)


def test_what_is_asked_for_counts_more_than_what_the_file_says(half, source, tmp_path):
    for name, (suffix, write, step, leads) in FORMATS.items():
        path = tmp_path / f"{name}{suffix}"
        write(path, half[[LEADS.index(lead) for lead in leads]], FS, leads, step)
        named = [f"Q{number}" for number in range(len(leads))]
        record = read_record(path, fs=250, leads=named, source="mine")
        assert record.fs == 250 and record.leads == tuple(named) and record.source == "mine"
        with pytest.raises(RecordError, match=rf"{name}.*: holds {len(leads)} leads, not 2; name as many in leads="):
            read_record(path, leads=["I", "II"])


@pytest.mark.parametrize("name", FORMATS)
def test_without_the_extra_a_message_says_what_to_install(name, half, tmp_path, monkeypatch):
    suffix, write, step, leads = FORMATS[name]
    path = tmp_path / f"a{suffix}"
    write(path, half[[LEADS.index(lead) for lead in leads]], FS, leads, step)
    for module in list(sys.modules):
        if module.partition(".")[0] in ("pydicom", "edfio", "ecgdatakit", "defusedxml"):
            monkeypatch.setitem(sys.modules, module, None)
    for module in ("pydicom", "edfio", "ecgdatakit", "defusedxml"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecordError, match=rf"a\{suffix}: needs the package \w+, .*`pip install \w+`"):
        read_record(path)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Lead I (Einthoven)".partition(" (")[0], "I"), ("ECG II", "II"), ("EKG V3", "V3"), ("AVR", "aVR"),
        ("-avr", "-aVR"), ("mlii", "MLII"), ("V3r", "V3R"), ("ECG", "ECG"), ("EKG2", "ECG2"), ("CM5", "CM5"),
        ("es", "ES"), ("Dr Marvin", "channel 7"), ("", "channel 7"), ("I Zaphod", "channel 7"), ("EEG C3", "channel 7"),
    ],
)  # fmt: skip
def test_only_names_of_leads_are_repeated(label, name):
    assert lead_name(label, 7) == name
