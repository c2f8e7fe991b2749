"""Five starts of one system, each with simulated records of its own."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.studies import curve, leaderboard, starts, transfer
from ecgstudy.studies.trainings import in_order
from ecgstudy.systems.small_gap import SmallGAPSystem

OWN = "Local evidence"


class SimpleCohort(NamedTuple):
    """What is asked of a cohort here."""

    table: pd.DataFrame
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


def test_each_fold_of_each_start_is_one_task_and_a_start_is_a_point_of_the_curve():
    tasks = starts.tasks(OWN)
    assert len(set(tasks)) == 5 * 5 + 3 + 3
    every = in_order(tasks)
    first = [task for task in every if task.function is starts.start]
    assert [task.arguments[1] for task in first] == [*starts.SEEDS] and set(transfer.SEEDS) < set(starts.SEEDS)
    # Networks, starts, their records, the real ones; trees, theirs, the real ones at their rate; ECGMasters.
    assert len(every) == 25 + 5 + 5 + 1 + 3 + 3 + 1 + 3 and set(tasks[28:]) < {*curve.tasks("ECGMaster")}
    seen = [task.arguments[1] for task in tasks[25:28]]
    assert {one.seed for one in seen} == {*transfer.SEEDS} and {one.fs for one in seen} == {transfer.FS}
    assert (curve.USUAL, transfer.ALL) in curve.POINTS


@pytest.fixture(scope="module")
def answers():
    """Sixty records of thirty patients; five trainings that know a little, and each something else."""
    rng = np.random.default_rng(0)
    targets = rng.random((60, len(CLASSES))) < 0.3
    records = pd.DataFrame(targets, columns=list(CLASSES)).assign(patient_id=[f"p{k // 2}" for k in range(60)])
    found = {
        seen: rng.random((5, *targets.shape)) + knows * targets
        for seen, knows in zip(starts.SEEN, (0.2, 0.4, 0.3), strict=True)
    }
    trees, blind, other = (rng.random(targets.shape) + knows * targets for knows in (0.3, 0.1, 0.2))
    return records, found, trees, blind, other


def test_scores_are_those_of_scikit_learn(answers):
    records, found, trees, blind, other = answers
    targets = records[list(CLASSES)].to_numpy()
    beside = {(transfer.SIMULATED, "blind"): [blind], (transfer.MIDWAY, "everything"): [other, trees, blind]}
    rows = (
        starts.scored(found, trees, records, beside, repeats=60)
        .set_index(["seen", "who", "measure", "class"])["value"]
        .sort_index()
    )

    def area(p):
        return np.mean([roc_auc_score(targets[:, k], p[:, k]) for k in range(9)])

    for seen, each in found.items():
        one, together = np.mean([area(p) for p in each]), area(each.mean(axis=0))
        assert rows[seen, starts.ONE, transfer.AUROC, ""] == pytest.approx(one)
        assert rows[seen, starts.TOGETHER, transfer.AUROC, ""] == pytest.approx(together) and together > one
        assert rows[seen, starts.TOGETHER, starts.LESS_ONE, ""] == pytest.approx(together - one)
        assert rows[seen, starts.TOGETHER, transfer.LESS_TREES, ""] == pytest.approx(together - area(trees))
        pair = np.mean([area((p + trees) / 2) for p in each])
        assert rows[seen, starts.ONE_WITH_TREES, transfer.AUROC, ""] == pytest.approx(pair)
        both = area((each.mean(axis=0) + trees) / 2)
        assert rows[seen, starts.WITH_TREES, transfer.AUROC, ""] == pytest.approx(both)
    no_real = (found[transfer.SIMULATED].mean(axis=0) + blind) / 2
    assert rows[transfer.SIMULATED, "blind", transfer.AUROC, ""] == pytest.approx(area(no_real))
    assert not {(seen, "blind") for seen in starts.SEEN[1:]} & {key[:2] for key in rows.index}
    everything = (found[transfer.MIDWAY].mean(axis=0) + other + trees + blind) / 4
    assert rows[transfer.MIDWAY, "everything", transfer.AUROC, ""] == pytest.approx(area(everything))
    less = rows[transfer.MIDWAY, starts.ONE, starts.LESS_ALONE, ""]
    assert less == pytest.approx(
        np.mean([area(p) for p in found[transfer.MIDWAY]]) - np.mean([area(p) for p in found[transfer.SIMULATED]])
    )
    assert (transfer.SIMULATED, starts.ONE, starts.LESS_ALONE, "") not in rows.index


def test_what_stands_beside_the_five_is_kept_under_its_name(answers, tmp_path, monkeypatch):
    records, found, trees, blind, other = answers
    targets, also = records[list(CLASSES)].to_numpy(), 0.5 * (trees + blind)
    kept = pd.DataFrame({column: ["x"] for column in starts.COLUMNS}).assign(reader=OWN)
    board = {transfer.TREES: (trees, None)}
    systems = ("CNN-GAP", "xECGNet", "BUTTeam", "ECGMaster")
    board |= {
        name + leaderboard.MIDWAY: (p, None) for name, p in zip(systems, [other, other, other, trees], strict=True)
    }
    # Forty records of another hospital, where nobody has the last class.
    abroad = np.where(np.arange(9) < 8, targets[:40], False)
    elsewhere = {("ludb",): SimpleCohort(records[["patient_id"]][:40], abroad)}
    run = SimpleNamespace(system=SmallGAPSystem(), network=lambda: None, folder=tmp_path)
    for module, name, value in (
        (starts, "TABLE", tmp_path / "starts.csv"),
        (starts, "committed", lambda: kept),
        (starts, "read", lambda reader, tuned: found),
        (starts, "real_cohort", lambda fs, sources: elsewhere[sources]),
        (starts, "read_elsewhere", lambda reader, tuned, cohort: {seen: each[:, :40] for seen, each in found.items()}),
        (leaderboard, "shipped_trees", lambda: SimpleNamespace(predict=lambda cohort, there: trees[there])),
        (leaderboard, "records_of", lambda board: records),
        (leaderboard, "answers_of", lambda _: board),
        (leaderboard, "cohort_of", lambda board, fs: targets),
        (training, "predict", lambda system, network, cohort, there: also),
        (transfer, "development", lambda table: np.arange(len(table)) % 3 == 0),
        (transfer, "REPEATS", 20),
    ):
        monkeypatch.setattr(module, name, value)
    starts.keep(OWN, [*[run] * 25, *[blind - 0.1, blind, blind + 0.1], *[run] * 3])
    rows = pd.read_csv(tmp_path / "starts.csv", keep_default_na=False).set_index(["tested", "seen", "who"])
    rows = rows[(rows["measure"] == transfer.AUROC) & (rows["class"] == "")]["value"].astype(float)
    alone, midway = (found[seen].mean(axis=0) for seen in (transfer.SIMULATED, transfer.MIDWAY))
    joined = {
        (transfer.SIMULATED, starts.NONE_REAL): (alone + blind) / 2,
        (transfer.SIMULATED, starts.ALL_SIMULATED): (alone + blind + also) / 3,
        (transfer.MIDWAY, starts.EVERYTHING): (midway + trees + blind + 0.75 * other + 0.25 * trees) / 4,
    }
    third = np.arange(60) % 3 == 0
    for tested, there in ((starts.HELD_OUT, ~third), (starts.ALL_RECORDS, third | ~third), (starts.DEVELOPMENT, third)):
        for key, p in joined.items():
            area = np.mean([roc_auc_score(targets[there, k], p[there, k]) for k in range(9)])
            assert rows[tested, *key] == pytest.approx(area, abs=1e-4)
    for seen, who, p in (
        (transfer.MIDWAY, starts.TOGETHER, midway[:40]),
        (transfer.MIDWAY, starts.WITH_TREES, (midway + trees)[:40]),
        (transfer.REAL, transfer.TREES, trees[:40]),
    ):
        area = np.mean([roc_auc_score(abroad[:, k], p[:, k]) for k in range(8)])
        assert rows[starts.ELSEWHERE, seen, who] == pytest.approx(area, abs=1e-4)


@pytest.mark.slow
def test_networks_answer_the_fold_that_they_have_not_seen(tmp_path, monkeypatch):
    """With small networks, and simulated records in the place of the real ones."""
    system = SmallGAPSystem(fs=100, seconds=6, epochs=1)
    cohort = synthetic_cohort(60, 100, seconds=6, balance=1)
    monkeypatch.setattr(curve, "system_of", lambda reader: system)
    monkeypatch.setattr(curve, "USUAL", 30)
    monkeypatch.setattr(starts, "SEEDS", (11, 12))
    monkeypatch.setattr(leaderboard, "BOARDS", {"real": leaderboard.Board("real", 2)})
    monkeypatch.setattr(leaderboard, "cohort_of", lambda board, fs: cohort)
    tuned = [starts.fine_tune(OWN, member, fold) for member, fold in starts._places()]
    assert all(
        starts.fine_tune(OWN, *place, only_open=True).folder == run.folder
        for place, run in zip(starts._places(), tuned, strict=True)
    )
    found = starts.read(OWN, tuned)
    fold = leaderboard.fold_of("real", cohort)
    for member in range(2):
        first = starts.start(OWN, starts.SEEDS[member])
        everything = training.predict(system, first.network(), cohort, np.arange(60))
        np.testing.assert_allclose(found[transfer.SIMULATED][member], everything, atol=1e-6)
        for number in range(2):
            run = tuned[2 * member + number]
            mine = np.flatnonzero(fold == number)
            assert set(mine) <= set(run.predictions["record"])  # which it has not learned from
            np.testing.assert_allclose(
                found[transfer.BOTH][member, mine], training.predict(system, run.network(), cohort, mine), atol=1e-6
            )
            before, after, half = (
                first.network().state_dict(),
                run.network().state_dict(),
                found[transfer.MIDWAY][member, mine],
            )
            network = system.network()
            network.load_state_dict(
                {k: (before[k] + after[k]) / 2 if before[k].is_floating_point() else after[k] for k in before}
            )
            np.testing.assert_allclose(
                half, training.predict(system, network, cohort, mine), atol=0.02
            )  # in eight bits
    assert len(found) == 3
    other = synthetic_cohort(12, 100, seconds=6, seed=9)
    abroad, every = starts.read_elsewhere(OWN, tuned, other), np.arange(12)
    for member in range(2):
        both = [training.predict(system, run.network(), other, every) for run in tuned[2 * member : 2 * member + 2]]
        np.testing.assert_allclose(abroad[transfer.BOTH][member], np.mean(both, axis=0), atol=1e-6)
        first = training.predict(system, starts.start(OWN, starts.SEEDS[member]).network(), other, every)
        np.testing.assert_allclose(abroad[transfer.SIMULATED][member], first, atol=1e-6)
        halfway = abroad[transfer.MIDWAY][member]
        assert np.abs(halfway - first).max() > 1e-4 and np.abs(halfway - np.mean(both, axis=0)).max() > 1e-4
    firsts = [starts.start(OWN, seed) for seed in starts.SEEDS]
    tenth = [transfer.simulated(transfer.ALL, seed, 100, 30).made().folds(10, 0) == 0 for seed in starts.SEEDS]
    assert sum(len(first.predictions) for first in firsts) == np.sum(tenth)
