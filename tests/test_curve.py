"""The curve over the number of simulated records."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecgstudy.data.cohort import real_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.studies import curve, intact, leaderboard, transfer
from ecgstudy.studies.trainings import in_order


def test_each_point_has_records_of_its_own_and_the_sizes_that_the_leaderboard_pretrains():
    wanted = [(number, transfer.VARIETIES[v], seed) for number, v in curve.POINTS for seed in transfer.SEEDS]
    for reader in curve.ENTRIES:
        tasks = curve.tasks(reader)
        cohorts = [need.arguments[0] for task in tasks for need in task.needs]
        assert len(in_order(tasks)) == 2 * len(set(tasks)) == 2 * len(wanted)
        assert [(records.records, records.variety, records.seed) for records in cohorts] == wanted
    assert {(1000, transfer.ALL), (curve.USUAL, transfer.ALL), (curve.USUAL, transfer.WIDEST)} < {*curve.POINTS}
    assert curve.system_of("Local evidence") == leaderboard._members("real", "Local evidence, midway")[0]


def test_fewer_records_of_a_seed_are_the_first_of_more():
    few, more = (transfer.simulated(transfer.ALL, 11, 100, number).made() for number in (6, 9))
    np.testing.assert_array_equal(few.labels, more.labels[:6])
    np.testing.assert_array_equal(few[5], more[5])


def test_rows_follow_from_what_was_read(real_data, tmp_path, monkeypatch):
    real = real_cohort(transfer.FS, limit=120)
    there = np.flatnonzero(transfer.development(real.table))
    targets = real.labels[there]
    points = ((40, transfer.ALL), (90, transfer.ALL), (90, transfer.WIDEST))
    for name, value in (("POINTS", points), ("USUAL", 90), ("TABLE", tmp_path / "curve.csv")):
        monkeypatch.setattr(curve, name, value)
    monkeypatch.setattr(transfer, "SEEDS", (11, 12))
    monkeypatch.setattr(transfer, "REPEATS", 50)
    other = pd.DataFrame({column: ["x"] for column in curve.COLUMNS}).assign(reader=curve.ENTRIES[1])
    monkeypatch.setattr(curve, "committed", lambda: other)
    monkeypatch.setattr(curve, "real_cohort", lambda fs: real)
    rng = np.random.default_rng(0)
    found = [rng.random(targets.shape) + knows * targets for knows in (0.2, 0.2, 0.5, 0.5, 0.6, 0.6)]
    curve.keep(transfer.TREES, found)
    table = pd.read_csv(tmp_path / "curve.csv", keep_default_na=False)
    assert list(table["reader"].unique()) == [*curve.ENTRIES[:2]]
    rows = table[table["reader"] == transfer.TREES].set_index(["records", "variety", "measure", "class"])
    assert (
        rows.index.is_unique
        and len(rows) == (3 + 2) * 10
        and list(rows.index.names) == intact.TABLES["curve.csv"][0][1:]
    )
    afs = [[roc_auc_score(targets[:, 1], p[:, 1]) for p in found[k : k + 2]] for k in (0, 2, 4)]
    for (records, variety), af in zip(points, afs, strict=True):
        row = rows.loc[(str(records), variety, transfer.AUROC, "AF")]
        assert float(row["value"]) == pytest.approx(np.mean(af), abs=1e-4) and CLASSES[1] == "AF"
        if (records, variety) == points[1]:
            assert (str(records), variety, curve.LESS, "AF") not in rows.index
            continue
        more = rows.loc[(str(records), variety, curve.LESS, "AF"), "value"]
        assert float(more) == pytest.approx(np.mean(af) - np.mean(afs[1]), abs=1e-4)


def test_scores_on_simulated_records_are_of_those_that_chose_the_epoch():
    rng = np.random.default_rng(0)
    labels, p = rng.random((40, len(CLASSES))) < 0.4, rng.random((40, len(CLASSES)))
    there = np.arange(5, 35)[::-1]
    run = SimpleNamespace(predictions=pd.DataFrame({"record": there}), probabilities=lambda records: p[records])
    area = curve._area(run, SimpleNamespace(labels=labels))
    assert area == pytest.approx(roc_auc_score(labels[there], p[there], average="macro"))
    row = curve._on_simulated([0.9, 0.7], 7).iloc[0]
    assert row["value"] == pytest.approx(0.8) and row["n"] == row["positives"] == 7 and row["trainings"] == 2
    # Student's t of one degree of freedom, and a standard error of 0.1.
    assert row["low"] == pytest.approx(0.8 - 12.706 * 0.1, abs=1e-3) and row["high"] == 1
