import pytest

from ecgstudy.data.records import LEADS, Record
from ecgstudy.text import no_formula, printable, without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Sinus rhythm, Bläsi μV 心电图", "Sinus rhythm, Bläsi μV 心电图"),
        ("a\x1b[31mb\x07", r"a\x1b[31mb\x07"),
        ("a\nb\tc\x85", r"a\nb\tc\x85"),
        ("rec\udcff\udc80", r"rec\xff\x80"),
        ("abc\u202edef\u200b", r"abc\u202edef\u200b"),
        ("", ""),
    ],
)
def test_what_does_not_print_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text).isprintable()
    printable(text).encode()


def test_no_text_is_a_formula():
    for text in ("=1+1", "+1", "-1", "@SUM(A1)"):
        assert no_formula(text) == f"'{text}"
    for text in ("", "A=1", "'=1", "age: -1"):
        assert no_formula(text) == text


def test_lines_may_be_kept():
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"


def test_a_records_texts_print():
    bad = "a\x1b]0;title\x07\udcff"
    leads = (bad, *LEADS[1:])
    record = Record(bad, None, 100, leads, bad, bad, codes=(bad, "5"), sex=bad, notes=(f"age: {bad}",))
    for text in (
        record.name,
        record.source,
        record.patient_id,
        record.sex,
        *record.leads,
        *record.codes,
        *record.notes,
    ):
        assert text.isprintable()
    assert record.codes[1] == "5"


def test_paths_are_relative_to_the_data_root(tmp_path, monkeypatch):
    root = tmp_path / "home" / "jane.doe" / "ecg"
    monkeypatch.setenv("ECGSTUDY_DATA", str(root))
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "home" / "jane.doe" / ".cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "jane.doe"))
    for text, shown in (
        (f"{root}/ludb/1.hea: cut short", "ludb/1.hea: cut short"),
        (f"[Errno 5] Input/output error: '{root}/a b.dat'", "[Errno 5] Input/output error: 'a b.dat'"),
        (f"{root}: {root} {root}/", ".: . ./"),
        (f"file://{root}/x", "file://x"),
        (f"{root.parent}/ptbxl_database.csv is not", "~/ptbxl_database.csv is not"),
        (f"{root}2/y", "~/ecg2/y"),
        (f"{root.parent}/.cache/runs/ab", "$ECGSTUDY_CACHE/runs/ab"),
        ("/usr/share/x and 1/2", "/usr/share/x and 1/2"),
    ):
        assert without_folders(text) == shown
    assert without_folders("/srv/somebody/r/x.hea: no", elsewhere=(tmp_path / "/srv/somebody/r")) == "x.hea: no"


def test_a_table_above_the_data_root_tells_nothing_of_its_place(tmp_path, monkeypatch):
    root = tmp_path / "jane.doe" / "study" / "ecg"
    monkeypatch.setenv("ECGSTUDY_DATA", str(root))
    assert without_folders(f"{tmp_path}/jane.doe/ptbxl_database.csv") == "../../ptbxl_database.csv"
