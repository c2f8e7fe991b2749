import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgstudy.data import manifest
from ecgstudy.data.beats import (
    AAMI,
    BEFORE,
    DS1,
    DS2,
    PACED,
    SAMPLES,
    SEGMENTS,
    SIMULATED,
    VALIDATION,
    cut,
    halves,
    mitdb_beats,
    random_halves,
    read_beats,
    rhythm,
    simulated_beats,
)
from ecgstudy.data.formats import read_annotation, wfdb
from ecgstudy.data.records import LEADS, RecordError, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.heart import PAC, PVC

# wfdb writes with what pandas 3 deprecates
quietly = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


@quietly
@pytest.mark.parametrize("path", ["9", "9.hea", "9.dat"])
def test_beats_only(tmp_path, path):
    symbol = list("N+VA~Fj/|QL[!]")
    wfdb.wrann("9", "atr", np.arange(len(symbol)) * 100 + 5, symbol, write_dir=str(tmp_path))
    beats = read_beats(tmp_path / path)
    assert list(beats.columns) == ["sample", "symbol", "aami"]
    assert beats["symbol"].tolist() == list("NVAFj/QL") and beats["aami"].tolist() == list("NVSFNQQN")
    assert beats["sample"].tolist() == [5, 205, 305, 505, 605, 705, 905, 1005]


def test_aami_holds_every_beat_symbol_of_wfdb():
    """All that wfdb's table calls a QRS complex, but for flutter waves, which have none."""
    table = wfdb.io.annotation.ann_label_table
    is_qrs = [wfdb.io.annotation.is_qrs[label] for label in table["label_store"]]
    assert set(AAMI) == set(table["symbol"][is_qrs]) - {"!"}
    assert set(AAMI.values()) == set("NSVFQ")


def test_splits():
    assert len(DS1) == len(DS2) == 22 and len({*DS1, *DS2, *PACED}) == 48


def test_missing_file(tmp_path):
    with pytest.raises(RecordError, match=r"100\.atr: no readable annotation .*; download"):
        read_beats(tmp_path / "100")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.atr"
    path.write_bytes(data)
    try:
        beats = read_beats(path.with_suffix(""))
    except RecordError as error:
        assert "fuzz.atr" in str(error)
    else:
        assert set(beats["aami"]) <= set("NSVFQ")


@quietly
def test_annotations_equal_wfdbs(real_data):
    for path, extension in [("mitdb/100", "atr"), ("mitdb/207", "atr"), ("ludb/data/7", "v1"), ("ludb/data/200", "ii")]:
        ours, theirs = read_annotation(real_data / path, extension), wfdb.rdann(str(real_data / path), extension)
        np.testing.assert_array_equal(ours["sample"], theirs.sample)
        assert ours["symbol"].tolist() == theirs.symbol


@quietly
@pytest.mark.parametrize("gaps", [[5, 1023, 1024, 70_000, 3, 2**31 - 1], [0, 0, 0], []])
def test_annotations_written_by_wfdb(tmp_path, gaps):
    sample = np.cumsum([1, *gaps])
    symbol = ["N", "V", "+", "A", "~", "F", "N"][: len(sample)]
    notes = ["", "odd", "(AFIB", "", "text", "", ""][: len(sample)]
    wfdb.wrann("9", "atr", sample, symbol, chan=np.arange(len(sample)) % 2, aux_note=notes, write_dir=str(tmp_path))
    found = read_annotation(tmp_path / "9", "atr")
    assert found["sample"].tolist() == sample.tolist() and found["symbol"].tolist() == symbol
    whole = (tmp_path / "9.atr").read_bytes()
    for length in range(len(whole) - 1):  # cut short anywhere
        (tmp_path / "cut.atr").write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"cut\.atr: is cut short.*download"):
            read_annotation(tmp_path / "cut", "atr")
    (tmp_path / "padded.atr").write_bytes(whole + bytes(7))
    assert read_annotation(tmp_path / "padded", "atr").equals(found)


def header(folder, fs, name="9"):
    (folder / f"{name}.hea").write_text(f"{name} 1 {fs} 5000\n{name}.dat 16 200 12 0 0 0 0 II\n")


@quietly
@pytest.mark.parametrize("fs", [125, 250, 360, 500, 1000, 128.5])
def test_annotations_at_a_rate_of_their_own(tmp_path, fs):
    """As wfdb's, in seconds; the note that states the rate is no annotation."""
    sample = np.array([0, 125, 250, 375, 100_001])
    wfdb.wrann("9", "atr", sample, list("+NVNA"), aux_note=["(AFIB", "", "", "", ""], fs=fs, write_dir=str(tmp_path))
    header(tmp_path, 500)
    found, theirs = read_annotation(tmp_path / "9", "atr"), wfdb.rdann(str(tmp_path / "9"), "atr")
    assert found["symbol"].tolist() == theirs.symbol == list("+NVNA") and theirs.fs == fs
    np.testing.assert_allclose(found["sample"] / 500, theirs.sample / theirs.fs, atol=0.5 / 500)
    assert found["sample"].dtype == np.int64
    if fs == 125:
        assert read_beats(tmp_path / "9")["sample"].tolist() == [500, 1000, 1500, 400_004]


@quietly
def test_a_rate_of_their_own_needs_the_records(tmp_path):
    wfdb.wrann("9", "atr", np.array([125]), ["N"], fs=125, write_dir=str(tmp_path))
    with pytest.raises(RecordError, match=r"9\.atr: counts time at a rate of its own; put 9\.hea beside it"):
        read_beats(tmp_path / "9")
    header(tmp_path, 0)
    with pytest.raises(RecordError, match=r"9\.hea: a sampling rate of 0 Hz"):
        read_beats(tmp_path / "9")
    (tmp_path / "9.hea").write_text("9\n")
    with pytest.raises(RecordError, match=r"9\.hea: has no record line"):
        read_beats(tmp_path / "9")


@quietly
def test_labels_of_their_own(tmp_path):
    own = [(42, "K", "a beat of the first kind"), (43, "q", "a beat of the second kind")]
    wfdb.wrann("9", "atr", np.array([5, 6, 7, 8]), label_store=np.array([42, 1, 43, 5]), fs=250, custom_labels=own,
               chan=np.array([0, 1, 0, 1]), num=np.array([0, 2, 3, 3]), subtype=np.array([0, 1, 0, -1]),
               aux_note=["", "", "odd", "even"], write_dir=str(tmp_path))  # fmt: skip
    header(tmp_path, 250)
    found = read_annotation(tmp_path / "9", "atr")
    assert found["sample"].tolist() == [5, 6, 7, 8] and found["symbol"].tolist() == ["K", "N", "q", "V"]
    theirs = wfdb.rdann(str(tmp_path / "9"), "atr")
    assert theirs.sample.tolist() == [5, 6, 7, 8] and theirs.symbol == ["K", "N", "q", "V"]
    assert read_beats(tmp_path / "9")["symbol"].tolist() == ["N", "V"]


def word(label, value):
    return (label << 10 | value).to_bytes(2, "little")


def test_forms_of_a_jump(tmp_path):
    """Several jumps before an annotation, one back, one before the end, one with zeros in it; a text of zeros."""
    data = (
        word(59, 0) + word(0, 1) + word(0, 0)  # 65,536
        + word(59, 7) + word(0, 0) + word(0, 100) + word(1, 5)  # N at 65,641
        + word(59, 0) + word(63, 1023) + word(63, 1023 - 99) + word(5, 0)  # V 100 before it
        + word(63, 3) + bytes(4) + word(0, 0) + word(1, 4)  # a text of three zeros, no annotation, N
        + word(59, 0) + word(0, 0) + word(0, 0)
    )  # fmt: skip
    (tmp_path / "9.atr").write_bytes(data + word(0, 0))
    found = read_annotation(tmp_path / "9", "atr")
    assert found["sample"].tolist() == [65_641, 65_541, 65_545] and found["symbol"].tolist() == ["N", "V", "N"]
    (tmp_path / "9.atr").write_bytes(data)
    with pytest.raises(RecordError, match="is cut short"):
        read_annotation(tmp_path / "9", "atr")


@quietly
@pytest.mark.parametrize("given", ["9", "9.atr", "9.hea", "9.dat", "9.mat"])
def test_the_annotation_file_itself_may_be_given(tmp_path, given):
    wfdb.wrann("9", "atr", np.array([5]), ["N"], write_dir=str(tmp_path))
    assert len(read_beats(tmp_path / given)) == 1


def test_a_long_file_is_refused_unread(tmp_path):
    with (tmp_path / "9.atr").open("wb") as file:
        file.truncate(2**24 + 2)
    with pytest.raises(RecordError, match=r"9\.atr has 16,777,218 bytes, more than the 4,194,304 that are read"):
        read_beats(tmp_path / "9")


def test_every_real_annotation_ends_in_a_zero(real_data):
    """So that its lack tells of a file cut short."""
    files = [
        *(real_data / "mitdb").glob("*.atr"),
        *(p for lead in LEADS for p in (real_data / "ludb").rglob(f"*.{lead.lower()}")),
    ]
    assert len(files) == 2448 and all(path.read_bytes()[-2:] == b"\0\0" for path in files)


@pytest.fixture(scope="module")
def beats(real_data):
    return {name: read_beats(real_data / "mitdb" / name) for name in (*DS1, *DS2, *PACED)}


def test_mitdb_totals(beats):
    every = pd.concat(beats.values())
    assert len(every) == 109_494
    assert Counter(every["aami"]) == {"N": 90631, "S": 2781, "V": 7236, "F": 803, "Q": 8043}
    halves = [Counter(pd.concat([beats[name] for name in half])["aami"]) for half in (DS1, DS2)]
    assert halves[0] == {"N": 45866, "S": 944, "V": 3788, "F": 415, "Q": 8}
    assert halves[1] == {"N": 44259, "S": 1837, "V": 3221, "F": 388, "Q": 7}


def test_paced_records_are_those_with_paced_beats(beats):
    assert {name for name, table in beats.items() if (table["symbol"] == "/").any()} == set(PACED)


def test_marks_lie_on_the_beats(beats, real_data):
    """The marks belong to this signal: around them it is steeper than elsewhere."""
    for name in ("100", "119", "234"):
        record = read_record(real_data / "mitdb" / name)
        near = np.zeros(record.signal.shape[1], bool)
        for shift in range(-18, 19):  # 50 ms each side
            near[np.clip(beats[name]["sample"] + shift, 0, near.size - 1)] = True
        slope = np.abs(np.gradient(record.signal[0]))
        assert slope[near].mean() > 3 * slope[~near].mean(), name


# --- beats cut out ---------------------------------------------------------------------------------------------------


def test_a_window_by_hand():
    x = np.arange(2000, dtype=np.float32).reshape(2, 1000)
    windows = cut(x, np.array([0, 98, 99, 500, 834, 835, 999]))
    assert windows.shape == (7, 2, 264)
    for window, sample in zip(windows, (0, 98, 99, 500, 834, 835, 999), strict=True):
        for lead in range(2):
            naive = [x[lead, min(max(sample - 99 + i, 0), 999)] for i in range(264)]
            np.testing.assert_array_equal(window[lead], naive)
    assert (BEFORE * SEGMENTS) // SAMPLES == 4  # R is in the fifth segment


def test_rhythm_by_hand_and_blind_to_what_comes():
    rr = np.array([0.8, 0.9, 0.5, 1.1, 0.8, 0.8])
    seconds = 3 + np.concatenate([[0], np.cumsum(rr)])
    found = rhythm(seconds)
    assert found.shape == (7, 4)
    np.testing.assert_allclose(found[:, 0], [0.8, *rr], rtol=1e-6)
    np.testing.assert_allclose(found[:2, 1:], 0, atol=1e-6)
    assert found[3, 1] == pytest.approx(np.log(0.5 * 3 / 2.5)) == found[3, 2]  # before: 0.8 (twice) and 0.9
    assert found[3, 3] == pytest.approx(np.log(0.5 / 0.9))
    assert found[4, 1] == pytest.approx(np.log(1.1 * 4 / 3)) and found[4, 3] == pytest.approx(np.log(1.1 / 0.5))
    np.testing.assert_array_equal(rhythm(np.append(seconds, 99)), [*found, rhythm(np.append(seconds, 99))[-1]])
    faster = np.concatenate([np.full(30, 1.0), np.full(12, 0.5)])
    late = rhythm(np.cumsum(faster))[-1]
    assert late[1] == pytest.approx(0, abs=1e-6)  # ten beats back
    assert late[2] == pytest.approx(np.log(0.5 * 41 / (30 + 0.5 * 11)), abs=1e-6)  # the whole record


@pytest.fixture(scope="module")
def simulated():
    return simulated_beats(24, seed=3, seconds=12)


def test_simulated_beats_are_the_simulators(simulated):
    assert set(simulated.table["aami"]) == {"N", "S", "V"} and len(simulated.medians) == 24
    for index in (0, 3, 9, 22):
        one = synthetic.simulate(index, 3, fs=360, seconds=12, labels=frozenset(SIMULATED[(index // 3) % 8]))
        rows = simulated.of([one.record.name])
        table = simulated.table.iloc[rows]
        assert set(table["patient_id"]) == {one.record.patient_id}
        beats = one.parameters["beats"]
        for row, sample, aami in zip(rows, table["sample"], table["aami"], strict=True):
            np.testing.assert_array_equal(
                simulated.signal[row, :, 99], one.record.signal[[LEADS.index("II"), LEADS.index("V1")], sample]
            )
            lag = sample / 360 - np.array(beats["onset"])  # the QRS that began last before its peak
            kind = beats["kind"][int(np.flatnonzero(lag >= 0)[-1])]
            assert aami == {PAC: "S", PVC: "V"}.get(kind, "N")
        median = np.median(simulated.signal[rows], axis=0)
        np.testing.assert_allclose(simulated.medians[one.record.name], median, atol=1e-6)


def test_simulated_premature_beats_are_premature(simulated):
    ratio = simulated.rhythm[:, 1]
    assert np.median(ratio[simulated.target == 1]) < -0.05 < np.median(ratio[simulated.target == 0])


def test_halves_of_simulated_beats_share_no_patient(simulated):
    parts = halves(simulated)
    patients = {part: set(simulated.table["patient_id"].iloc[places]) for part, places in parts.items()}
    assert not patients["DS1"] & patients["DS2"] and patients["validation"] < patients["DS1"]
    assert len(parts["DS1"]) + len(parts["DS2"]) == len(simulated)
    one, other = random_halves(simulated)
    assert len(np.union1d(one, other)) == len(simulated) and abs(len(one) - len(other)) <= 1
    shared = set(simulated.table["patient_id"].iloc[one]) & set(simulated.table["patient_id"].iloc[other])
    assert len(shared) == simulated.table["patient_id"].nunique()


def test_the_checksum_names_the_beats(simulated):
    assert simulated_beats(24, seed=3, seconds=12).checksum == simulated.checksum
    other = simulated.table.assign(aami=["V", *simulated.table["aami"][1:]])
    for changed in ({"table": other}, {"signal": simulated.signal + np.float32(0.002)}):
        assert dataclasses.replace(simulated, **changed).checksum != simulated.checksum


def test_mitdb_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    with pytest.raises(manifest.DataError, match="ecgstudy data fetch mitdb"):
        mitdb_beats()


def test_mitdb_halves_share_no_patient_and_no_beat_is_lost(real_data):
    assert real_data
    whole = mitdb_beats()
    counts = whole.table.groupby(whole.table["record"].isin(DS1))["aami"].value_counts()
    assert counts[True].to_dict() == {"N": 45866, "V": 3788, "S": 944, "F": 415}
    assert counts[False].to_dict() == {"N": 44259, "V": 3221, "S": 1837, "F": 388}
    parts = halves(whole)
    patients = {part: set(whole.table["patient_id"].iloc[places]) for part, places in parts.items()}
    assert not patients["DS1"] & patients["DS2"]
    assert {name.removeprefix("MIT-BIH/") for name in patients["validation"]} == set(VALIDATION)
    assert len(patients["DS1"]) == 21 and len(patients["DS2"]) == 22
    # 201 and 202 are one person, and 201 is the record that was left out for it.
    owner = whole.table.groupby("record")["patient_id"].first()
    assert owner["201"] == owner["202"] and len(parts["DS1"]) == 51013 - (whole.table["record"] == "201").sum()
    # Lead II comes first, also in 114, whose file has it second.
    record = read_record(real_data / "mitdb" / "114")
    sample = whole.table.iloc[(rows := whole.of(["114"]))]["sample"].to_numpy()
    np.testing.assert_array_equal(whole.signal[rows, 0, 99], record.signal[record.leads.index("MLII"), sample])
