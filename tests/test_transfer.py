"""Readers that saw simulated ECGs alone, on the real records that may adjust the simulator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecgstudy.data.cohort import real_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.studies import intact, leaderboard, transfer
from ecgstudy.studies.trainings import in_order


def test_development_records_are_two_folds_of_the_real_board_and_share_no_patient_with_the_others(real_data):
    cohort = real_cohort(100)
    there = transfer.development(cohort)
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
    for reader in transfer.readers():
        tasks = transfer.tasks(reader)
        assert len(tasks) == len(set(tasks)) == len(transfer.points(reader))
        (cohorts,) = {len(in_order([task])) for task in tasks}
        assert cohorts == 2
        seeds = {need.arguments[0].seed for task in tasks for need in task.needs}
        assert seeds == {*transfer.SEEDS} and not seeds & {leaderboard.PRETRAINING["seed"]}


@pytest.mark.slow
def test_rows_of_trees_are_kept_beside_those_of_others(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RECORDS", 90)
    monkeypatch.setattr(transfer, "SEEDS", (11, 12))
    monkeypatch.setattr(transfer, "VARIETIES", {transfer.PLAIN: "", "all": "all"})
    monkeypatch.setattr(transfer, "REPEATS", 50)
    monkeypatch.setattr(transfer, "TABLE", tmp_path / "transfer.csv")
    monkeypatch.setattr(transfer, "committed", lambda: other)
    other = pd.DataFrame({column: ["x"] for column in transfer.COLUMNS}).assign(reader=transfer.readers()[1])
    every = transfer.development  # a third of them is quicker
    monkeypatch.setattr(transfer, "development", lambda cohort: every(cohort) & (np.arange(len(cohort)) % 3 == 0))
    transfer.keep(transfer.TREES, [task() for task in transfer.tasks(transfer.TREES)])
    table = pd.read_csv(tmp_path / "transfer.csv", keep_default_na=False)
    assert list(table["reader"].unique()) == transfer.readers()[:2]
    rows = table[table["reader"] == transfer.TREES]
    assert not rows.duplicated(intact.TABLES["transfer.csv"][0]).any() and len(rows) == 3 * 10
    assert 0.5 < float(rows["value"].iloc[0]) < 1  # trees of ninety simulated records read real ones better than chance
