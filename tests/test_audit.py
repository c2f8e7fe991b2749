import numpy as np
import pandas as pd
import pytest
import yaml

from ecgstudy.data import audit, cohort, manifest
from ecgstudy.data.records import LEADS, Record, RecordError
from ecgstudy.paths import REPOSITORY, RESULTS


def record(name, seed, *, source="test", labels=(), flat=(), notes=(), seconds=10):
    x = np.random.default_rng(seed).normal(size=(12, 100 * seconds)).astype(np.float32)
    x[[LEADS.index(lead) for lead in flat]] = 0.25
    return Record(name, x, 100, LEADS, source, name, frozenset(labels), notes=tuple(notes))


@pytest.fixture
def table():
    missing = record("c", 2, source="other")
    missing.signal[3, :120] = np.nan
    nothing = record("e", 4, source="other")
    nothing.signal[:] = np.nan
    return audit.audit(
        [
            record("a", 0, labels=("AF", "RBBB"), notes=("header gain: 200/mV read as 1000/mV", "flat leads: V1")),
            record("b", 1, labels=("AF",), flat=("V1", "V2"), notes=("header gain: 200/mV read as 1000/mV",)),
            missing,
            Record("d", record("a", 0).signal, 100, LEADS, "other", "d", frozenset({"PVC"})),
            ("broken", RecordError("broken.hea: no samples")),
            nothing,
        ]
    )


def test_a_row_a_record(table):
    assert table["name"].tolist() == ["a", "b", "c", "d", "broken", "e"]
    assert table["flat"].tolist()[:3] == ["", "V1 V2", ""]
    assert table["missing"].tolist()[:3] == [0, 0, pytest.approx(0.01)]
    assert table.loc[5, "missing"] == 1 and table.loc[5, "flat"].split() == list(LEADS)
    assert table.loc[4, "error"] == "broken.hea: no samples"
    x = record("a", 0).signal
    assert table.loc[0, "low"] == pytest.approx(np.percentile(x, 0.1), abs=1e-3)


def test_counts(table):
    counts = audit.class_counts(table)
    assert counts.loc["test", ["AF", "RBBB", "none", "records"]].tolist() == [2, 1, 0, 2]
    assert counts.loc["other", ["PVC", "none", "records"]].tolist() == [1, 2, 3]
    assert counts.loc["all", "records"] == 5
    together = audit.cooccurrence(table)
    assert together.loc["AF", "RBBB"] == together.loc["RBBB", "AF"] == 1
    assert together.loc["AF", "AF"] == 2 and together.loc["AF", "PVC"] == 0


def test_an_example_is_of_what_is_at_hand(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    (tmp_path / "ptb-xl").symlink_to(real_data / "ptb-xl")
    assert audit.example().source == "PTB-XL" and "AF" in audit.example(label="AF").labels


def test_what_is_not_at_hand_keeps_its_committed_rows():
    committed = (RESULTS / "audit.csv").read_text(encoding="utf-8")
    assert audit.renewed(audit.committed().iloc[:0], {}).to_csv(index=False) == committed
    fresh = audit.committed().query("source == 'PTB-XL'").head(3).assign(fs=1.0)
    renewed = audit.renewed(fresh, ["ptb-xl"])
    assert renewed.query("source == 'PTB-XL'")["fs"].tolist() == [1.0] * 3
    rest = renewed.query("source != 'PTB-XL'").reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, audit.committed().query("source != 'PTB-XL'").reset_index(drop=True))
    assert audit.renewed(fresh, manifest.SIGNALS) is fresh


def test_the_real_cohort_is_counted_without_second_copies():
    counts = audit.real_cohort_counts(audit.committed())
    assert counts.loc["all"].tolist() == [415, 87, 26, 19, 52, 50, 42, 49, 11, 241, 937]


def test_codes_beyond_the_nine_are_counted():
    found = audit.unmapped_codes(audit.committed(), most=1000).set_index("code")
    assert not {"426783006", "NORM", "AF", "STE", "59118001"} & set(found.index)
    by_hand = sum("SR" in codes.split("|") for codes in audit.committed()["codes"])
    assert found.loc["SR", "records"] == by_hand > 100


def test_duplicates_and_whether_their_labels_agree(table):
    (found,) = audit.duplicates(table).to_dict("records")
    assert found == {"records": "test/a = other/d", "labels": "AF+RBBB / PVC", "agree": "no"}


def test_traps_are_counted_by_kind(table):
    found = audit.traps(table).set_index("trap")
    assert found.loc["header gain", "records"] == 2
    assert found.loc["flat leads", ["records", "example", "commonest"]].tolist() == [1, "a", "V1"]
    gains = audit.traps(audit.committed()).set_index("trap").loc["header gain"]
    assert gains["records"] == 258 and "its own range" in gains["commonest"] and "200/mV" in gains["commonest"]


def test_ranges_of_the_readable(table):
    found = audit.ranges(table).set_index("source")
    assert found.loc["test", "with a flat lead"] == 1
    assert found.loc["other", "with missing samples"] == 2
    assert found.loc["test", "seconds"] == "10"


def test_the_committed_audit_is_a_table_of_the_same_form(table):
    committed = audit.committed()
    assert list(committed.columns) == list(table.columns)
    assert len(committed) == 1210 and (committed["error"] == "").all()


def test_an_audit_with_unreadable_records_comes_back_from_its_file(table, tmp_path, monkeypatch):
    table.to_csv(tmp_path / "audit.csv", index=False)
    monkeypatch.setattr(audit, "RESULTS", tmp_path)
    back = audit.committed()
    for count in (audit.class_counts, audit.ranges, audit.cooccurrence, audit.traps):
        pd.testing.assert_frame_equal(count(back), count(table), check_dtype=False)


def test_the_studys_records_are_listed_by_data_set(table):
    sizes = {name: len(audit.study_records(name)) for name in manifest.SIGNALS}
    assert sizes == {"ludb": 200, "mitdb": 48, "ptb-xl": 500, "challenge-2021": 452, "cpsc-2018-original": 10}
    assert {"A0001", "HR00001", "JS20004"} <= audit.study_records("challenge-2021")
    assert "00001_hr" in audit.study_records("ptb-xl")


@pytest.mark.slow
def test_the_committed_audit_is_what_reading_gives(real_data):
    fresh = audit.audit(cohort.read_all(cohort.record_paths(manifest.SIGNALS)))
    committed = audit.committed()
    pd.testing.assert_frame_equal(
        fresh.sort_values(["source", "name"], ignore_index=True),
        committed.sort_values(["source", "name"], ignore_index=True),
        check_dtype=False,
        atol=1.1e-3,
    )


def test_waves_and_beats_are_counted(real_data):
    waves = audit.wave_counts(real_data / "ludb", limit=5)
    assert waves["wave"].tolist() == ["P", "QRS", "T"] and (waves["marked"] > 100).all()
    beats = audit.beat_counts(real_data / "mitdb", limit=6).set_index("beats")
    assert beats.loc["all"].sum() > beats.loc["DS1"].sum() > 0


def test_sidecars_are_no_records(real_data, tmp_path):
    for file in [*(real_data / "ludb" / "data").glob("1.*"), *(real_data / "mitdb").glob("100.*")]:
        folder = tmp_path / ("ludb/data" if file.stem == "1" else "mitdb")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(file)
        (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7")
        (folder / f"{file.name}~").symlink_to(file)
    waves = audit.wave_counts(tmp_path / "ludb")
    pd.testing.assert_frame_equal(waves, audit.wave_counts(real_data / "ludb", limit=1))
    beats = audit.beat_counts(tmp_path / "mitdb")
    pd.testing.assert_frame_equal(beats, audit.beat_counts(real_data / "mitdb", limit=1))


def test_without_real_recordings_the_example_is_simulated(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    assert manifest.at_hand() == {}
    assert audit.example().source == "synthetic"


def test_data_sets_of_the_study_and_which_are_at_hand():
    entries = yaml.safe_load((REPOSITORY / "data_manifest.yaml").read_text(encoding="utf-8"))
    sets = audit.data_sets(["mitdb"]).set_index("data set")
    assert sorted(sets.index) == sorted(entries[name]["title"] for name in manifest.SIGNALS)
    for name in manifest.SIGNALS:  # and no table of scores, which the manifest holds too
        row = sets.loc[entries[name]["title"]]
        assert row["version"] == str(entries[name]["version"]) and row["licence"] == entries[name]["licence"]
        assert row["records"] == entries[name]["records"]
        assert row["at hand"] == ("yes" if name == "mitdb" else "no")
