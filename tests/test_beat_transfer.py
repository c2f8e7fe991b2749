"""Beats of MIT-BIH after simulated ones: timing on both sides, a simulated start, trees."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from ecgstudy.book import beat_figures, beat_tables
from ecgstudy.data import beats as beat_data
from ecgstudy.data.beats import BEAT_CLASSES, DS1, DS2, SIMULATED_WIDELY, mitdb_beats, simulated_beats, timing
from ecgstudy.data.manifest import DataError
from ecgstudy.data.simulator import synthetic, variety
from ecgstudy.data.simulator.heart import PAC
from ecgstudy.studies import beat_transfer, intact, single_beats
from tests.planted_beats import SYSTEM, planted_beats


def test_timing_of_a_regular_rhythm_with_one_early_beat():
    """One second from beat to beat, but beat 30 comes 0.4 s early and the next one on time."""
    seconds = np.arange(60.0)
    seconds[30] -= 0.4
    found = timing(seconds)
    assert found.shape == (60, beat_data.TIMINGS) and np.isfinite(found).all()
    np.testing.assert_allclose(found[30, :2], [0.6, 1.4], atol=1e-6)
    np.testing.assert_allclose(found[10, :2], 1)
    # Median of all, of 21, and what a quarter and a tenth exceed: one second. The mean of all is one second, too.
    mean = np.diff(seconds, prepend=-1).mean()
    np.testing.assert_allclose(found[30, 2:12:2], np.log(0.6 / np.array([1, mean, 1, 1, 1])), atol=1e-6)
    np.testing.assert_allclose(found[30, 3:12:2], np.log(1.4 / np.array([1, mean, 1, 1, 1])), atol=1e-6)
    np.testing.assert_allclose(found[30, 12:15], np.log([0.6 / 1.4, 0.6, 1.4]), atol=1e-6)
    around = np.r_[np.ones(19), 0.6, 1.4]
    assert found[30, 15] == pytest.approx(around.std(ddof=1), abs=1e-6) and found[5, 15] == 0
    assert found[30, 16] == found[5, 16] == 0  # most intervals are as long as the one before


def test_timing_knows_its_record_alone():
    beats = planted_beats()
    other = beats.table.assign(sample=np.arange(400) ** 2)
    shuffled = replace(beats, table=other)
    for record in ("r0", "r5"):
        there = np.flatnonzero(other["record"] == record)
        np.testing.assert_array_equal(shuffled.timing[there], timing(other["sample"].to_numpy()[there] / 360))


def test_runs_are_premature_beats_side_by_side_and_change_no_other_record():
    def kinds(labels, steps):
        one = synthetic.simulate(5, 2, fs=100, seconds=60, labels=frozenset(labels), variety=steps)
        return np.array(one.parameters["beats"]["kind"]), one

    longest = []
    for labels in (("PAC",), ("PAC", "PVC")):
        before, plain = kinds(labels, "all")
        after, one = kinds(labels, "all+runs")
        assert (before == PAC).sum() < (after == PAC).sum() and plain.record.labels == one.record.labels
        beside = np.flatnonzero((after[:-1] == PAC) & (after[1:] == PAC))
        longest.append(len(beside))
        pac = one.evidence[one.evidence["class"] == "PAC"]
        assert pac["onset"].nunique() > plain.evidence[plain.evidence["class"] == "PAC"]["onset"].nunique()
    assert max(longest) > 0
    same, other = (kinds(("PVC",), steps)[1].record.signal for steps in ("all", "all+runs"))
    np.testing.assert_array_equal(same, other)
    assert variety.version_of(variety.steps_of("all+runs")) == "1, runs 1"
    assert variety.version_of(variety.steps_of("all+runs+unlabelled")) == "1, unlabelled 2, runs 1"


def test_simulated_beats_have_the_kinds_and_the_variety_that_are_asked_for():
    few = {"records": 3 * len(SIMULATED_WIDELY), "seed": 4, "seconds": 8}
    wide = simulated_beats(**few, kinds=SIMULATED_WIDELY, variety="all+runs")
    narrow = simulated_beats(**few, kinds=SIMULATED_WIDELY)
    assert len(wide.medians) == few["records"] and wide.checksum != narrow.checksum
    normal = [k for k, kind in enumerate(SIMULATED_WIDELY) if kind == ("NSR",)]
    names = [name for k, name in enumerate(dict.fromkeys(wide.table["record"])) if k // 3 in normal]
    assert set(wide.table["aami"][wide.table["record"].isin(names)]) == {"N"}


def test_each_record_of_ds1_is_answered_by_networks_that_have_not_seen_it(real_data):
    assert real_data
    beats = mitdb_beats()
    record = beats.table["record"].to_numpy()
    answered = [set(record[test]) for _, test in beat_transfer.folds(beats)]
    assert [len(some) for some in answered] == [3] * 7 and set().union(*answered) == set(DS1) - {"201"}
    s = pd.Series(record[np.isin(record, list(set(DS1) - {"201"})) & (beats.target == 1)]).value_counts()
    assert (s > 30).sum() == 6  # as the chapter says
    for train_on, test in beat_transfer.folds(beats):
        assert not set(record[train_on]) & (set(record[test]) | set(DS2) | {"201"})


def test_rows_follow_from_the_answers(real_data):
    assert real_data
    beats = mitdb_beats()
    rng = np.random.default_rng(0)
    target, record = beats.target, beats.table["record"].to_numpy()
    each = [rng.random((len(beats), 4)) + 0.7 * np.eye(4)[target] for _ in range(2)]
    rows = beat_transfer.scored({"one": each}, beats, repeats=40).set_index(["tested", "metric", "class"]).sort_index()
    assert rows.index.is_unique and (rows["trainings"] == 2).all()
    places = {
        beat_transfer.VALIDATED: np.isin(record, list(set(DS1) - {"201"})),
        beat_transfer.TESTED: np.isin(record, DS2),
        beat_transfer.OTHERS: np.isin(record, list(set(DS2) - {"232"})),
    }
    for tested, there in places.items():
        expected = np.mean([f1_score(target[there] == 1, p[there].argmax(axis=1) == 1) for p in each])
        row = rows.loc[(tested, "F1", "S")]
        assert row["value"] == pytest.approx(expected) and row["n"] == (target[there] == 1).sum()
        assert row["low"] < row["value"] < row["high"]
    for name in DS2:
        there = record == name
        called, s = [p[there].argmax(axis=1) == 1 for p in each], target[there] == 1
        row = rows.loc[(f"record {name}", beat_transfer.ALARMS, "S")]
        assert row["value"] == np.mean([(some & ~s).sum() for some in called]) and row["n"] == (~s).sum()
        shown = (f"record {name}", "sensitivity", "S") in rows.index
        assert shown == (s.sum() >= beat_transfer.FEWEST)
        if shown:
            found = rows.loc[(f"record {name}", "sensitivity", "S"), "value"]
            assert found == pytest.approx(np.mean([some[s].mean() for some in called]))


def test_limits_that_know_trainings_are_wider():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=600)
    record = np.repeat([f"r{k}" for k in range(20)], 30)
    tables = []
    for right in (0.5, 0.7, 0.9):
        answer = np.where(rng.random(600) < right, truth, rng.integers(4, size=600))
        tables.append(single_beats.confusion_of(np.eye(4)[answer], truth, record))
    rows = [
        single_beats.scored_confusions(tables, 400, draw_runs=draw).set_index(["metric", "class"]) for draw in (0, 1)
    ]
    width = [table.loc[("macro-F1", ""), "high"] - table.loc[("macro-F1", ""), "low"] for table in rows]
    assert rows[0]["value"].equals(rows[1]["value"]) and width[1] > 2 * width[0]


def test_a_training_from_a_start_begins_with_its_weights():
    beats = planted_beats()
    parts = np.arange(0, 300), np.arange(300, 400)
    start = single_beats.train(SYSTEM, beats, *parts, seed=1)
    still = replace(SYSTEM, rate=1e-12, epochs=1, beats=32)
    again = single_beats.train(still, beats, *parts, seed=2, start=start)
    anew = single_beats.train(still, beats, *parts, seed=2)
    assert again.folder != anew.folder
    there, here, other = (run.network().head.weight.detach().numpy() for run in (start, again, anew))
    np.testing.assert_allclose(here, there, atol=1e-6)
    assert np.abs(other - there).max() > 0.01


@pytest.mark.slow
def test_a_seed_answers_every_beat_once_and_the_rows_are_of_these_answers(real_data, tmp_path, monkeypatch):
    """With small networks, seven records, few simulated beats, and the timing alone in the place of the trees."""
    assert real_data
    beats = mitdb_beats(("101", "114", "209", "220", "100", "232", "234"))
    monkeypatch.setattr(beat_transfer, "whole_mitdb", lambda: beats)
    small = replace(beat_transfer.BEFORE, width=0.05, epochs=1, beats=256)
    for name, system in (("BEFORE", small), ("BOTH", replace(small, rhythm="both sides"))):
        monkeypatch.setattr(beat_transfer, name, system)
    monkeypatch.setattr(beat_transfer, "START", beat_transfer.BOTH)
    monkeypatch.setattr(beat_transfer, "SIMULATED", beat_transfer.SIMULATED | {"records": 30, "seconds": 8})
    monkeypatch.setattr(beat_transfer, "FOLDS", 2)
    monkeypatch.setattr(beat_transfer, "SEEDS", (1, 2))
    monkeypatch.setattr(beat_transfer, "TABLE", tmp_path / "beat_transfer.csv")
    monkeypatch.setattr(beat_transfer, "committed", lambda: pd.DataFrame())
    answered = []

    def trees(beats, train_on, test, seed):
        assert not np.intersect1d(train_on, test).size
        answered.append(test)
        early = beats.timing[test, 2] < -0.1
        return np.where(early[:, None], [0, 1, 0, 0], [1, 0, 0, 0]).astype(np.float32)

    monkeypatch.setattr(beat_transfer, "trees", trees)
    found = [task() for task in beat_transfer.tasks("FCN")]
    every = np.sort(np.concatenate(answered[:3]))
    np.testing.assert_array_equal(every, np.arange(len(beats)))
    for reader in beat_transfer.READERS:
        assert np.isfinite(found[0][reader][every]).all()
    mean = (found[0][beat_transfer.FIRST] + found[0][beat_transfer.TREES]) / 2
    np.testing.assert_allclose(found[0][beat_transfer.FIRST + beat_transfer.AND_TREES][every], mean[every], atol=1e-6)
    assert len(set(found[0]["runs"]) | set(found[1]["runs"])) == 2 * (1 + 3 * 3)
    beat_transfer.keep("FCN", found)
    table = pd.read_csv(tmp_path / "beat_transfer.csv", keep_default_na=False)
    assert list(table.columns) == list(beat_transfer.COLUMNS) and (table["trainings"] == 2).all()
    early = table[(table["reader"] == beat_transfer.TREES) & (table["metric"] == "F1") & (table["class"] == "S")]
    ds2 = np.isin(beats.table["record"], DS2)
    expected = f1_score(beats.target[ds2] == 1, beats.timing[ds2, 2] < -0.1)
    assert float(early.set_index("tested").loc["DS2", "value"]) == pytest.approx(expected, abs=1e-4)


def test_less_than_all_of_mitdb_is_refused(real_data, tmp_path, monkeypatch):
    source = real_data / "mitdb"
    (tmp_path / "mitdb").mkdir()
    for path in source.iterdir():
        if path.stem != "232":
            (tmp_path / "mitdb" / path.name).symlink_to(path)
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"needs all of MIT-BIH's records \(`ecgstudy data fetch mitdb`\): .*232"):
        beat_transfer.whole_mitdb()


@pytest.mark.slow
def test_trees_learn_what_the_timing_tells():
    """S comes early: with nothing but the times of the beats the trees find it."""
    made = simulated_beats(60, seed=1, seconds=30)
    patient = pd.factorize(made.table["patient_id"])[0]
    train_on, test = np.flatnonzero(patient % 2 == 0), np.flatnonzero(patient % 2)
    p = beat_transfer.trees(made, train_on, test, 0)
    assert p.shape == (len(test), len(BEAT_CLASSES)) and (p[:, 3] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert f1_score(made.target[test] > 0, p[:, 1:].sum(axis=1) > 0.5) > 0.8


def test_the_committed_table_has_every_reader():
    table = beat_transfer.committed()
    assert list(table.columns) == list(beat_transfer.COLUMNS) and set(table["reader"]) == set(beat_transfer.READERS)
    assert not table.duplicated(intact.TABLES["beat_transfer.csv"][0]).any()


def test_the_chapter_says_what_the_table_holds():
    rows = beat_transfer.committed().set_index(["reader", "tested", "metric", "class"]).sort_index()
    best, ds1, ds2 = beat_transfer.FIRST + beat_transfer.AND_TREES, beat_transfer.VALIDATED, beat_transfer.TESTED
    steps = (beat_transfer.CHAPTER, beat_transfer.OFFLINE, beat_transfer.OFFLINE + beat_transfer.AND_TREES, best)
    on_ds1 = [rows.loc[(reader, ds1, "F1", "S"), "value"] for reader in steps]
    assert on_ds1 == sorted(on_ds1) and on_ds1[-1] > 0.75
    row = rows.loc[(best, ds2, "F1", "S")]
    assert row["value"] < rows.loc[(best, ds1, "F1", "S"), "low"]  # the interval of DS1 does not reach down to it
    assert row["value"] < rows.loc[(beat_transfer.CHAPTER, ds2, "F1", "S"), "value"] + 0.01
    alarms = {name: rows.loc[(best, f"record {name}", beat_transfer.ALARMS, "S"), "value"] for name in DS2}
    assert {*sorted(alarms, key=alarms.__getitem__)[-3:]} == {*beat_transfer.IRREGULAR}
    of_232 = [rows.loc[(r, "record 232", "sensitivity", "S"), "value"] for r in (best, beat_transfer.ALONE)]
    assert of_232[0] < 0.5 and of_232[1] > 0.9
    v = [rows.loc[(reader, ds2, "F1", "V")] for reader in (beat_transfer.ALONE, beat_transfer.CHAPTER)]
    assert v[0]["low"] < v[1]["value"] < v[0]["high"]


def test_tables_and_figure_of_the_chapter():
    rows = beat_transfer.committed()
    said = beat_tables.of_transfer(rows)
    row = rows[
        (rows["reader"] == beat_transfer.ALONE) & (rows["tested"] == "DS2") & (rows["metric"] == "precision")
    ].set_index("class")
    assert said["alone_s_right_ds2"].startswith(f"{row.loc['S', 'value']:.2f} (") and int(said["alarms"]) > 100
    table = beat_tables.s_by_record(rows, [beat_transfer.ALONE], "caption").data
    assert list(table["record"][:2]) == ["232", "222"] and table["S beats"].iloc[0] == "1,382"
    alarms = table[f"false alarms, {beat_transfer.ALONE}"].str.replace(",", "").astype(int)
    assert (alarms[table["S beats"] == ""] >= 100).all() and (table["S beats"] == "").any()
    figure = beat_figures.found(rows)
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["F1 of S", "F1 of V"]
