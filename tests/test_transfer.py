"""Readers that saw simulated ECGs alone, on the real records that may adjust the simulator."""

from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecgstudy import metrics
from ecgstudy.data.cohort import real_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator.variety import steps_of
from ecgstudy.studies import intact, leaderboard, transfer
from ecgstudy.studies.trainings import in_order


def test_development_records_are_two_folds_of_the_real_board_and_share_no_patient_with_the_others(real_data):
    cohort = real_cohort(100)
    there = transfer.development(cohort.table)
    np.testing.assert_array_equal(there, leaderboard.fold_of("real", cohort) < 2)
    assert there.sum() == len(transfer._listed())
    patient = cohort.table["patient_id"]
    assert not set(patient[there]) & set(patient[~there])


@pytest.fixture(scope="module")
def made():
    """Targets, and readings of three trainings: noise, and what knows the classes."""
    rng = np.random.default_rng(0)
    targets = rng.random((200, len(CLASSES))) < 0.2
    noise = rng.random((3, *targets.shape))
    patients = [f"patient {k // 2}" for k in range(200)]
    return targets, patients, {transfer.PLAIN: noise, "forms": noise, "all": noise + 0.5 * targets}


def test_areas_are_those_of_scikit_learn_and_differences_are_paired(made):
    targets, patients, read = made
    table = transfer.scored(read, targets, patients).set_index(["variety", "measure", "class"]).sort_index()
    for variety, p in read.items():
        areas = [[roc_auc_score(targets[:, k], one[:, k]) for k in range(9)] for one in p]
        rows = table.loc[variety, transfer.AUROC]
        np.testing.assert_allclose(rows["value"][list(CLASSES)], np.mean(areas, axis=0))
        assert rows.loc["", "value"] == pytest.approx(np.mean(areas)) and rows["p"].isna().all()
        assert (rows["low"] < rows["value"]).all() and (rows["value"] < rows["high"]).all()
        assert rows.loc["AF", "positives"] == targets[:, CLASSES.index("AF")].sum()
    same, more = (table.loc[variety, transfer.LESS] for variety in ("forms", "all"))
    assert not same[["value", "low", "high"]].any(axis=None)
    assert (more["low"] > 0.1).all() and (more["p"] < 0.01).all()
    both = table.loc["all", transfer.AUROC]["value"] - table.loc[transfer.PLAIN, transfer.AUROC]["value"]
    np.testing.assert_allclose(more["value"], both)


def test_each_reader_is_trained_on_records_of_its_own_rate_and_all_steps_are_tried_by_trees():
    assert {variety for variety, _ in transfer.points(transfer.TREES)} == {*transfer.VARIETIES}
    assert {variety for variety, _ in transfer.points("xECGNet")} == {*transfer.TRIED} <= {*transfer.VARIETIES}
    assert steps_of(transfer.VARIETIES[transfer.HEARTS]) | {"recorders"} == steps_of(transfer.VARIETIES[transfer.ALL])
    for reader in transfer.readers():
        tasks = transfer.tasks(reader)
        assert len(tasks) == len(set(tasks)) == len(transfer.points(reader))
        (cohorts,) = {len(in_order([task])) for task in tasks}
        assert cohorts == 2
        seeds = {need.arguments[0].seed for task in tasks for need in task.needs}
        assert seeds == {*transfer.SEEDS} and not seeds & {leaderboard.PRETRAINING["seed"]}


@pytest.fixture
def answers(monkeypatch):
    """Sixty real records, half of which adjust; readers answer with noise, and the truth the more they have seen."""
    rng = np.random.default_rng(1)
    targets = rng.random((60, len(CLASSES))) < 0.3
    records = pd.DataFrame(targets, columns=list(CLASSES))
    records = records.assign(
        name=[f"r{k}" for k in range(60)], source="ptb-xl", patient_id=[f"p{k}" for k in range(60)]
    )
    monkeypatch.setattr(transfer, "_listed", lambda: {("ptb-xl", f"r{k}") for k in range(0, 60, 2)})

    def answer(knows):
        p = (rng.random(targets.shape) + knows * targets).astype(np.float32) / 4
        return p, p > 0.3

    names = ["CNN-GAP", "xECGNet"]
    real = {transfer.TREES: answer(0.3), transfer.TREES + leaderboard.ALONE: answer(0.2), "CNN-GAP": answer(0)}
    real |= {"xECGNet": answer(2.0), "xECGNet, one": answer(0)}  # an ensemble stands beside its first member
    real |= {name + leaderboard.ALONE: answer(0.4) for name in names}
    real |= {name + leaderboard.VARIED: answer(3.0) for name in names}
    real |= {name + leaderboard.MIDWAY: answer(1.0) for name in names}
    boards = {"real": real, "by-source": {name: answer(0) for name in (transfer.TREES, *names)}}
    monkeypatch.setattr(leaderboard, "records_of", lambda board: records)
    monkeypatch.setattr(leaderboard, "answers_of", boards.__getitem__)
    return records, boards


def test_readings_are_of_single_networks_on_held_out_records(answers):
    records, boards = answers
    assert transfer.held_out()["name"].tolist() == records["name"].tolist()[1::2]
    found = transfer.readings()
    np.testing.assert_array_equal(found["xECGNet", transfer.REAL][0], boards["real"]["xECGNet, one"][0][1::2])
    np.testing.assert_array_equal(found["CNN-GAP", transfer.ASIDE][1], boards["by-source"]["CNN-GAP"][1][1::2])
    assert ("CNN-GAP", transfer.BOTH_ASIDE) not in found and ("BUTTeam", transfer.REAL) not in found
    both = [found[name, transfer.BOTH][0] for name in ("CNN-GAP", "xECGNet")]
    np.testing.assert_allclose(found[transfer.MEAN, transfer.BOTH][0], np.mean(both, axis=0), rtol=1e-6)
    for seen, trees in ((transfer.BOTH, transfer.REAL), (transfer.SIMULATED, transfer.SIMULATED)):
        three = [found[name, seen][0] for name in ("CNN-GAP", "xECGNet")] + [found[transfer.TREES, trees][0]]
        np.testing.assert_allclose(found[transfer.WITH_TREES, seen][0], np.mean(three, axis=0), rtol=1e-6)
    calls = np.stack([found[name, transfer.BOTH][1] for name in ("CNN-GAP", "xECGNet")])
    np.testing.assert_array_equal(found[transfer.MEAN, transfer.BOTH][1], calls.all(axis=0))  # more than half of two


def test_what_is_tested_is_scored_as_elsewhere_and_compared_on_the_same_patients(answers):
    records, _ = answers
    table = transfer.tested(repeats=60).set_index(["reader", "seen", "measure", "class"]).sort_index()
    half, found = records.iloc[1::2], transfer.readings()
    y = half[list(CLASSES)].to_numpy()
    p, called = found["xECGNet", transfer.BOTH]
    rows = table.loc["xECGNet", transfer.BOTH]
    areas = [roc_auc_score(y[:, k], p[:, k]) for k in range(9)]
    np.testing.assert_allclose(rows.loc[transfer.AUROC]["value"][["", *CLASSES]], [np.mean(areas), *areas])
    assert rows.loc[(transfer.F1, ""), "value"] == pytest.approx(f1_score(y, called, average="macro"))
    error = metrics.calibration_error(y, p, np.ones(len(y)))
    np.testing.assert_allclose(rows.loc[transfer.ERROR]["value"][list(CLASSES)], error)
    for measure, other in ((transfer.LESS_REAL, "xECGNet"), (transfer.LESS_TREES, transfer.TREES)):
        before = table.loc[other, transfer.REAL].loc[transfer.AUROC]["value"]
        np.testing.assert_allclose(rows.loc[measure]["value"], rows.loc[transfer.AUROC]["value"] - before)
        assert rows.loc[(measure, ""), "low"] > 0 and rows.loc[(measure, ""), "p"] < 0.05
    midway = table.loc["xECGNet", transfer.MIDWAY]["value"]
    np.testing.assert_allclose(
        midway[transfer.LESS_TUNED], midway[transfer.WITHIN] - rows.loc[transfer.WITHIN]["value"]
    )
    alone = table.loc["xECGNet", transfer.SIMULATED].loc[transfer.WITHIN]["value"]
    np.testing.assert_allclose(midway[transfer.LESS_ALONE], midway[transfer.WITHIN] - alone)
    assert transfer.LESS_TUNED not in rows.index.get_level_values("measure")
    # Who saw no real record is compared with trees that saw none, and who saw other sources with those that did.
    for seen in (transfer.SIMULATED, transfer.ASIDE):
        of = table.loc["CNN-GAP", seen]["value"] - table.loc[transfer.TREES, seen]["value"]
        assert table.loc[("CNN-GAP", seen, transfer.LESS_TREES, ""), "value"] == pytest.approx(of[transfer.AUROC, ""])
    assert transfer.LESS_REAL not in table.loc["CNN-GAP", transfer.REAL].index.get_level_values("measure")
    assert (table["n"] == 30).all() and rows.loc[(transfer.AUROC, "AF"), "positives"] == y[:, CLASSES.index("AF")].sum()


@pytest.mark.slow
def test_rows_of_trees_are_kept_beside_those_of_others(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RECORDS", 90)
    monkeypatch.setattr(transfer, "SEEDS", (11, 12))
    monkeypatch.setattr(transfer, "VARIETIES", {transfer.PLAIN: "", "all": "all"})
    monkeypatch.setattr(transfer, "REPEATS", 50)
    monkeypatch.setattr(transfer, "TABLE", tmp_path / "transfer.csv")
    monkeypatch.setattr(transfer, "committed", lambda: other)
    other = pd.DataFrame({column: ["x"] for column in transfer.COLUMNS}).assign(reader=transfer.readers()[1])
    # Some records of each source, which are opened, and measured for the trees, once.
    monkeypatch.setattr(transfer, "real_cohort", cache(partial(real_cohort, limit=120)))
    transfer.keep(transfer.TREES, [task() for task in transfer.tasks(transfer.TREES)])
    table = pd.read_csv(tmp_path / "transfer.csv", keep_default_na=False)
    assert list(table["reader"].unique()) == transfer.readers()[:2]
    rows = table[table["reader"] == transfer.TREES]
    assert not rows.duplicated(intact.TABLES["transfer.csv"][0]).any() and len(rows) == 3 * 10
    assert 0.5 < float(rows["value"].iloc[0]) < 1  # trees of ninety simulated records read real ones better than chance


def test_nsr_is_told_from_records_of_another_class_and_from_those_of_none(answers):
    records, _ = answers
    records.loc[records.index % 4 == 1, "source"] = transfer.THERE  # half of the held-out ones
    half = records.iloc[1::2]
    there = half["source"].eq(transfer.THERE).to_numpy()
    y, labels = half["NSR"].to_numpy(), half[list(CLASSES)].sum(axis=1).to_numpy()
    assert (labels == 0).any() and (y & (labels > 1)).any()
    table = transfer.normal(repeats=60).set_index(["reader", "seen", "against"])
    for key, (p, _) in transfer.readings().items():
        for against, others, nsr in (
            (transfer.ANOTHER, ~y & (labels > 0), y),
            (transfer.NONE, labels == 0, y),
            (transfer.NONE_THERE, (labels == 0) & there, y & there),
        ):
            row = table.loc[(*key, against)]
            assert row["n"] == others.sum() > 0
            assert row["value"] == pytest.approx(roc_auc_score(y[nsr | others], p[nsr | others, 0]))
            assert row["low"] <= row["value"] <= row["high"]
