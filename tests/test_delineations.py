from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.formats import wfdb
from ecgstudy.data.records import LEADS, RecordError, read_record

# wfdb writes with what pandas 3 deprecates
quietly = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


@pytest.fixture
def ludb(tmp_path):
    """Marks of one record; in V1 an onset and an offset are missing."""
    for lead in LEADS:
        sample = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90])
        symbol = list("(p)(N)(t)")
        if lead == "V1":
            sample, symbol = sample[[1, 2, 3, 4, 6, 7, 8]], list("p)(N(t)")
        wfdb.wrann("7", "x", sample, symbol, write_dir=str(tmp_path))  # refuses extensions such as v1
        (tmp_path / "7.x").rename(tmp_path / f"7.{lead.lower()}")
    return tmp_path


@quietly
@pytest.mark.parametrize("path", ["7", "7.hea", "7.i", "7.avr"])
def test_waves(ludb, path):
    waves = read_delineation(ludb / path)
    assert list(waves.columns) == ["lead", "wave", "onset", "peak", "offset"]
    assert list(dict.fromkeys(waves["lead"])) == list(LEADS) and len(waves) == 36
    whole = waves[waves["lead"] == "aVR"].drop(columns="lead")
    assert whole.values.tolist() == [["P", 10, 20, 30], ["QRS", 40, 50, 60], ["T", 70, 80, 90]]
    lacking = waves[waves["lead"] == "V1"]
    assert lacking["onset"].isna().tolist() == [True, False, False]
    assert lacking["offset"].isna().tolist() == [False, True, False]
    assert lacking["peak"].tolist() == [20, 50, 80]


@quietly
def test_missing_lead(ludb):
    (ludb / "7.avf").unlink()
    with pytest.raises(RecordError, match=r"7\.avf: no readable annotation .*; download"):
        read_delineation(ludb / "7")


@quietly
def test_cut_short(ludb):
    whole = (ludb / "7.v3").read_bytes()
    (ludb / "7.v3").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"7\.v3: is cut short.*download"):
        read_delineation(ludb / "7")


@quietly
def test_at_the_records_rate(ludb):
    sample, symbol = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90]), list("(p)(N)(t)")
    wfdb.wrann("7", "x", sample, symbol, fs=125, write_dir=str(ludb))
    (ludb / "7.x").rename(ludb / "7.v6")
    (ludb / "7.hea").write_text("7 1 500 5000\n7.dat 16 200 12 0 0 0 0 II\n")
    waves = read_delineation(ludb / "7")
    assert waves[waves["lead"] == "V6"][["onset", "peak", "offset"]].values.tolist() == [
        [40, 80, 120], [160, 200, 240], [280, 320, 360]
    ]  # fmt: skip
    assert waves[waves["lead"] == "V5"]["peak"].tolist() == [20, 50, 80]


@pytest.fixture(scope="module")
def waves(real_data):
    return {number: read_delineation(real_data / "ludb" / "data" / str(number)) for number in range(1, 201)}


def test_ludb_totals(waves):
    """As counted on the files; LUDB's README says 21,966 QRS and 19,666 T."""
    every = pd.concat(waves.values())
    assert Counter(every["wave"]) == {"P": 16797, "QRS": 21965, "T": 19661}
    assert (every["onset"].isna().sum(), every["offset"].isna().sum()) == (131, 29)
    assert (every["onset"] <= every["peak"]).fillna(True).all() and (every["peak"] <= every["offset"]).fillna(
        True
    ).all()


def test_waves_lie_in_the_signal_in_order(waves, real_data):
    for number in range(1, 201, 20):
        record = read_record(real_data / "ludb" / "data" / str(number))
        for _, lead in waves[number].groupby("lead"):
            assert lead["peak"].is_monotonic_increasing and lead["peak"].between(0, record.signal.shape[1] - 1).all()


def test_qrs_is_where_the_signal_moves(waves, real_data):
    """The delineation belongs to this signal: it is steeper within QRS than outside."""
    for number in range(1, 201, 20):
        record = read_record(real_data / "ludb" / "data" / str(number))
        inside = np.zeros(record.signal.shape, bool)
        complete = waves[number].query("wave == 'QRS'").dropna()
        for row in complete.itertuples():
            inside[LEADS.index(row.lead), row.onset : row.offset] = True
        slope = np.abs(np.gradient(record.signal, axis=1))
        assert slope[inside].mean() > 3 * slope[~inside].mean(), number
