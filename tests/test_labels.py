import csv
import io
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ecgstudy.data.labels import (
    CHALLENGE_2020,
    CHALLENGE_2020_EQUIVALENT,
    CHALLENGE_2020_MERGED,
    CLASSES,
    SCP_STATEMENTS,
    SUPERCLASSES,
    classes_of,
    codes_in,
    multi_hot,
    spelled,
    superclasses,
    unmapped,
)
from ecgstudy.data.records import find_records, read_record


@pytest.mark.parametrize(
    "name, spellings",
    {
        "NSR": ["426783006", "NORM", "1", "Normal", "Rhythm: Sinus rhythm"],
        "AF": ["164889003", "AFIB", "2", "Rhythm: Atrial fibrillation"],
        "I-AVB": ["270492004", "1AVB", "3", "I degree AV block"],
        "LBBB": ["164909002", "733534002", "CLBBB", "4", "Complete left bundle branch block"],
        "RBBB": ["59118001", "713427006", "CRBBB", "5", "Complete right bundle branch block"],
        "PAC": ["284470004", "63593006", "6", "Atrial extrasystole: low atrial", "Atrial extrasystole, type: bigemini"],
        "PVC": ["427172004", "17338001", "164884008", "7", "Ventricular extrasystole, type: couplet"],
        "STD": ["429622005", "STD_", "8"],
        "STE": ["164931005", "STE_", "9"],
    }.items(),
)
def test_spellings(name, spellings):
    for spelling in [*spellings, name, f" {name} "]:
        assert classes_of([spelling]) == {name}, spelling


@pytest.mark.parametrize(
    "other",
    [
        "713426002", "251120003", "IRBBB", "ILBBB", "Incomplete right bundle branch block",  # incomplete blocks
        "164890007", "AFLT", "Rhythm: Atrial flutter, typical",  # flutter
        "426177001", "427084000", "427393009", "SR", "SBRAD", "Rhythm: Sinus bradycardia",  # not a normal sinus rhythm
        "55930002", "164930006", "428750005", "NST_", "STEMI: septal",  # ST changes of another kind
        "III degree AV-block", "195042002", "2AVB", "LPR", "164947007",  # other blocks
        "0", "10", "", "Rhythm", "normal", "1,2", "59118001;164889003", "AF, RBBB", "5:100",  # several, or no code
    ],
)  # fmt: skip
def test_neighbours_stay_apart(other):
    assert classes_of([other]) == frozenset() and unmapped([other]) == {other: 1}


def test_a_record_with_several():
    codes = ["59118001", "164889003", "39732003", "713427006", "39732003"]
    assert classes_of(codes) == {"RBBB", "AF"}
    assert unmapped(codes) == {"39732003": 2}
    assert classes_of([]) == frozenset() and unmapped([]) == {}


@pytest.mark.parametrize(
    "code", ["59118001", "59118001.0", " '59118001' ", "5.9118001E7", "5.9118001e+07", "59118001.", 59118001,
             59118001.0, np.int64(59118001), np.float64(59118001), np.str_("59118001"), 5, 5.0, np.float32(5),
             np.uint8(5), "5.0"],
)  # fmt: skip
def test_a_code_through_a_table_or_a_spreadsheet(code):
    assert classes_of([code]) == {"RBBB"} and unmapped([code]) == {}


def test_what_is_no_known_code_is_counted_and_what_is_missing_is_not():
    missing = [None, np.nan, float("nan"), pd.NA, pd.NaT]
    assert classes_of(missing) == frozenset() and unmapped(missing) == {}
    # rounded by a spreadsheet, a half, an infinity, with a leading zero: none is taken for a code that it is near
    codes = ["1.64889E+08", 5.5, float("inf"), "05", 39732003.0, "39732003"]
    assert classes_of(codes) == frozenset()
    assert unmapped(codes) == {"1.64889E+08": 1, "5.5": 1, "inf": 1, "05": 1, "39732003": 2}
    frame = pd.read_csv(io.StringIO("a,b,c\n2,5,\n1,,\n"))  # integers beside missing ones become 5.0 and NaN
    assert list(map(classes_of, frame.to_numpy())) == [{"AF", "RBBB"}, {"NSR"}]


@pytest.mark.parametrize("codes", ["164889003", "NORM", b"NORM", [True], [b"NORM"], [["NORM"]], [{"NORM": 100}]])
def test_what_is_no_list_of_codes_is_refused(codes):
    """The letters and digits of one text are codes, too: 164889003 holds 1 (NSR), 6 (PAC), 4 (LBBB) …"""
    for function in (classes_of, lambda codes: dict(unmapped(codes)), superclasses):
        with pytest.raises(ValueError, match=r"not a code: give codes|one text: give a list"):
            function(codes)


@pytest.mark.parametrize(
    "text, codes",
    [
        ("59118001,164889003", ("59118001", "164889003")),
        ("59118001; 164889003 ;", ("59118001", "164889003")),
        ("59118001\t164889003", ("59118001", "164889003")),
        ("RBBB|AF", ("RBBB", "AF")),
        (str(["59118001", "164889003"]), ("59118001", "164889003")),
        (str(np.array([59118001, 164889003.0])), ("59118001", "1.64889003e+08")),
        (str(np.array(["AF", "RBBB"])), ("AF", "RBBB")),
        (json.dumps({"NORM": 100.0, "PRC(S)": None}), ("NORM", "PRC(S)")),
        (str({"LAO/LAE": np.float64(0)}), ("LAO/LAE",)),
        ("Atrial fibrillation, Sinus rhythm", ("Atrial fibrillation", "Sinus rhythm")),
        ("NaN", ()),
        ("{}", ()),
        (" ", ()),
        ("[", ("[",)),
    ],
)
def test_codes_in_a_field(text, codes):
    assert codes_in(text) == tuple(map(spelled, codes))


def test_superclasses():
    assert SUPERCLASSES == ("NORM", "MI", "STTC", "CD", "HYP")
    assert superclasses(["NORM", "SR"]) == {"NORM"}
    assert superclasses(["IMI", "LAFB", "LVH", "NST_", "AFIB"]) == {"MI", "CD", "HYP", "STTC"}
    with pytest.raises(ValueError, match=r"'164889003'.* scp_statements.csv: leave"):  # closed: 71 statements
        superclasses(["NORM", "164889003"])


def test_multi_hot():
    hot = multi_hot([{"STE", "NSR"}, frozenset(), {"AF"}])
    assert hot.dtype == bool and hot.shape == (3, 9)
    assert [[CLASSES[i] for i in np.flatnonzero(row)] for row in hot] == [["NSR", "STE"], [], ["AF"]]
    assert multi_hot([]).shape == (0, 9)
    assert multi_hot([{"MI"}], SUPERCLASSES).tolist() == [[False, True, False, False, False]]
    with pytest.raises(ValueError, match="AFIB"):
        multi_hot([{"AFIB"}])


def test_challenge_2020():
    assert len(CHALLENGE_2020) == 27 and len(CHALLENGE_2020_MERGED) == 24
    assert set(CHALLENGE_2020_EQUIVALENT.values()) <= set(CHALLENGE_2020_MERGED)
    for code, other in CHALLENGE_2020_EQUIVALENT.items():
        assert classes_of([code]) == classes_of([other]) != frozenset()
    for name in ("AF", "LBBB", "RBBB", "PAC", "PVC", "NSR"):  # what the two vocabularies call alike
        assert {classes_of([code]) for code, short in CHALLENGE_2020.items() if short == name} == {frozenset({name})}


# Real tables and recordings


def test_challenge_2020s_own_tables(real_data):
    folder = real_data / "challenge-2020-evaluation"
    with (folder / "weights.csv").open() as file:
        assert next(csv.reader(file))[1:] == list(CHALLENGE_2020)
    with (folder / "dx_mapping_scored.csv").open() as file:
        scored = {row["SNOMED CT Code"]: row for row in csv.DictReader(file)}
    assert {code: row["Abbreviation"] for code, row in scored.items()} == CHALLENGE_2020
    for one, other in CHALLENGE_2020_EQUIVALENT.items():
        assert one in scored[other]["Notes"] and other in scored[one]["Notes"]


def test_cpsc_classes_in_challenge_2020(real_data):
    """Challenge 2020 counts as many CPSC records of each SNOMED CT code as CPSC 2018 does of each integer."""
    counted = Counter()
    for name in ("scored", "unscored"):
        with (real_data / "challenge-2020-evaluation" / f"dx_mapping_{name}.csv").open() as file:
            for row in csv.DictReader(file):
                counted.update(dict.fromkeys(classes_of([row["SNOMED CT Code"]]), int(row["CPSC"])))
    assert counted == reference_counts(real_data)


def reference_counts(real_data):
    with (real_data / "cpsc-2018-original" / "REFERENCE.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == 6877
    return Counter(name for row in rows for name in classes_of(filter(None, row[1:])))


def test_cpsc_reference(real_data):
    assert reference_counts(real_data) == {
        "RBBB": 1857, "AF": 1221, "NSR": 918, "STD": 869, "I-AVB": 722, "PVC": 700, "PAC": 616, "LBBB": 236, "STE": 220,
    }  # fmt: skip


def test_superclasses_are_ptbxls(real_data):
    with (real_data / "ptb-xl" / "scp_statements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row[""] for row in rows} == SCP_STATEMENTS
    for row in rows:
        expected = {row["diagnostic_class"]} if row["diagnostic"] == "1.0" else set()
        assert superclasses([row[""]]) == expected, row[""]


def test_ptbxl_superclass_counts(real_data):
    found = map(read_record, find_records(real_data / "ptb-xl"))
    assert Counter(name for record in found for name in superclasses(record.codes)) == {
        "NORM": 297, "STTC": 96, "CD": 78, "MI": 73, "HYP": 40,
    }  # fmt: skip


def test_ludb_statements(real_data):
    """Numbers of records as LUDB's own README states them."""
    found = [read_record(path) for path in find_records(real_data / "ludb")]
    counts = Counter(name for record in found for name in record.labels)
    assert (counts["NSR"], counts["AF"], counts["I-AVB"], counts["LBBB"], counts["RBBB"]) == (143, 15, 10, 4, 4)
    assert counts["STE"] == counts["STD"] == 0
    for name, word in (("PAC", "Atrial extrasystole"), ("PVC", "Ventricular extrasystole")):
        assert counts[name] == sum(any(word in code for code in record.codes) for record in found) > 0


def test_every_code_is_mapped_or_counted(real_data):
    codes = [code for path in find_records(real_data / "challenge-2021") for code in read_record(path).codes]
    other = unmapped(codes)
    assert sum(other.values()) + sum(bool(classes_of([code])) for code in codes) == len(codes)
    assert other["426177001"] == 46 and not set(other) & {"Normal", "AF", "STE"}
