from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgstudy.data.beats import AAMI, DS1, DS2, PACED, read_beats
from ecgstudy.data.formats import read_annotation, wfdb
from ecgstudy.data.records import RecordError, read_record

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
    for length in range(0, len(whole), 2):  # cut short: a part of it or an error, nothing else
        (tmp_path / "cut.atr").write_bytes(whole[:length])
        try:
            part = read_annotation(tmp_path / "cut", "atr")
        except RecordError as error:
            assert "cut short" in str(error)
        else:
            assert part.equals(found[: len(part)])


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
