import json

import numpy as np
import pandas as pd
import pytest
import torch

from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.losses import LOSSES
from ecgstudy.preprocessing import remove_baseline
from ecgstudy.studies import ablation_tables, ablations, leaderboard
from ecgstudy.studies.ablations import AlteredECGMaster, PooledECGMaster, Question
from ecgstudy.systems import System, parameter_count
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.ecgmaster import ECGMaster, ECGMasterSystem

TINY = {"width": 0.25, "kernel": 0.25, "depth": 1}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One question with three arms, put to 60 short simulated records in two folds."""
    data = synthetic_cohort(60, 100, seconds=6, balance=1)
    question = Question(
        asks="Does it?",
        system="CNN-GAP",
        arms={"plain": {"loss": "cross-entropy"}, "macro": {"loss": "macro-F2"}, "two": {"members": 2}},
        verdict=("macro", "F2"),
    )
    monkeypatch.setattr(ablations, "FOLDER", tmp_path / "ablations")
    monkeypatch.setattr(ablations, "FOLDS", 2)
    monkeypatch.setattr(ablations, "QUESTIONS", {"loss": question})
    monkeypatch.setattr(leaderboard, "cohort_of", lambda cohort, fs: data)
    system = CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=2, batch=16)
    monkeypatch.setattr(System, "of_profile", lambda profile: (system, 3))
    return data


@pytest.mark.parametrize("question", ablations.QUESTIONS)
@pytest.mark.parametrize("cohort", ablations.COHORTS)
def test_arms_differ_from_the_chapters_system_in_what_they_name_alone(question, cohort):
    of = ablations.QUESTIONS[question]
    chapter, _ = by_name(of.system).of_profile(leaderboard.BOARDS[cohort].profile)
    seen = []
    for arm, changes in of.arms.items():
        system, members = ablations.system_of(question, arm, cohort)
        assert members == changes.get("members", 1)
        named = {k: v for k, v in changes.items() if k != "members"}
        rest = {k: v for k, v in system.config.items() if k not in {*named, "pooling", "denoised"}}
        assert rest == {k: v for k, v in chapter.config.items() if k not in named}
        assert named.items() <= system.config.items()
        seen.append(json.dumps([system.config, members], sort_keys=True))
    assert len(set(seen)) == len(seen)
    assert of.verdict[0] in of.arms and of.verdict[0] != of.control and of.verdict[1] in ablation_tables.METRICS


def test_the_grid_holds_every_pair_of_balance_and_focus():
    for question in ("loss of ECGMaster", "balance and focus of CNN-GAP"):
        of = ablations.QUESTIONS[question]
        pairs = {(a["b"], a["r"]) for a in of.arms.values() if "b" in a}
        assert pairs == {(b, r) for b in (0, 0.25, 0.5, 0.75, 1) for r in (0, 1, 2, 3)}
        assert of.arms[of.control].items() >= {"b": 0, "r": 0}.items()


@pytest.mark.parametrize(
    ("arm", "loss"),
    [("b 0, r 0 (cross-entropy)", "cross-entropy"), ("b 1, r 0 (weighted cross-entropy)", "weighted cross-entropy"),
     ("b 0, r 2 (focal)", "focal"), ("b 0.5, r 2", "weighted focal")],
)  # fmt: skip
def test_pairs_with_names_of_their_own_are_those_losses(arm, loss):
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(8, 9, generator=generator), (torch.rand(8, 9, generator=generator) < 0.3).float()
    positives = torch.arange(10, 100, 10)
    named = LOSSES[loss](positives, 200)(logits, targets)
    for question in ("loss of ECGMaster", "balance and focus of CNN-GAP"):
        system, _ = ablations.system_of(question, arm, "real")
        torch.testing.assert_close(system.criterion(positives, 200)(logits, targets), named)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_over_the_record_and_not_its_padding(pooling):
    torch.manual_seed(0)
    network = PooledECGMaster(pooling, **TINY).double().eval()
    x = torch.randn(2, 13, 320, dtype=torch.float64)
    x[:, -1] = 1
    values = network.features(x)
    vectors = values.mean(dim=-1) if pooling == "mean" else values.amax(dim=-1)
    torch.testing.assert_close(network(x), vectors @ network.head.weight.T + network.head.bias)
    # Cells of padding alone change nothing, whatever the network makes of them.
    x[:, -1, 160:] = 0
    short = values[..., : 160 // network.stride]
    vectors = short.mean(dim=-1) if pooling == "mean" else short.amax(dim=-1)
    torch.testing.assert_close(network(x), vectors @ network.head.weight.T + network.head.bias)


def test_the_altered_system_is_ecgmaster_unless_told_otherwise():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(12, 1250)).astype(np.float32)
    plain, altered = ECGMasterSystem(fs=125, seconds=10), AlteredECGMaster(fs=125, seconds=10)
    (a,), (b,) = plain.windows(signal), altered.windows(signal)
    np.testing.assert_array_equal(a, b)
    assert type(altered.network()) is ECGMaster
    (c,) = AlteredECGMaster(fs=125, seconds=10, denoised=False).windows(signal)
    np.testing.assert_allclose(c[:12], remove_baseline(signal, 125), atol=1e-6)
    assert np.abs(c - a).max() > 0.1


def test_kept_answers_are_the_runs_own_and_can_be_made_again(small):
    arms = list(ablations.missing("synthetic"))
    assert arms == [("loss", "plain"), ("loss", "macro"), ("loss", "two")]
    for arm in arms:
        ablations.keep("synthetic", *arm)
    assert not ablations.missing("synthetic") and ablations.arms_of("synthetic", "loss") == ["plain", "macro", "two"]
    records = ablations.records_of("synthetic")
    np.testing.assert_array_equal(records[list(CLASSES)].to_numpy(), small.labels)
    card = ablations.card_of("synthetic", "loss", "two")
    assert [len(of) for of in card["runs"]] == [2, 2] and card["cohort"] == small.checksum
    folds = ablation_tables.folds_of("synthetic", "loss", "two")
    tested = []
    for number, fold in enumerate(folds):
        names = card["runs"][number]
        runs = [training.Run(training.cache_root() / "runs" / name, None) for name in names]
        test = np.flatnonzero(records["fold"] == number)
        assert {run.config["seed"] for run in runs} == {number, number + 2}
        np.testing.assert_array_equal(fold.targets, small.labels[test])
        np.testing.assert_allclose(fold.probabilities, np.mean([r.probabilities(test) for r in runs], 0), atol=1e-3)
        tested.extend(test)
    assert sorted(tested) == list(range(60))
    before = ablations.path("synthetic", "loss", "macro", ".parquet").read_bytes()
    ablations.path("synthetic", "loss", "macro", ".parquet").unlink()
    (seconds,) = ablations.missing("synthetic").values()
    assert seconds is not None and list(ablations.missing("synthetic")) == [("loss", "macro")]
    ablations.keep("synthetic", "loss", "macro")
    assert ablations.path("synthetic", "loss", "macro", ".parquet").read_bytes() == before


def test_the_trainings_of_an_arm_are_those_that_are_kept(small, monkeypatch, tmp_path):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    tasks = ablations.tasks("synthetic", "loss", "two")
    assert [task(only_open=True) for task in tasks] == [None] * 4
    runs = [task() for task in tasks]
    ablations.keep("synthetic", "loss", "two")
    card = ablations.card_of("synthetic", "loss", "two")
    assert {run.folder.name for run in runs} == {name for of_fold in card["runs"] for name in of_fold}
    assert [task(only_open=True).folder for task in tasks] == [run.folder for run in runs]
    assert len({task.note for task in tasks}) == 4 and len({task.needs for task in tasks}) == 1


def test_members_and_arms_share_what_is_the_same(small):
    system, _ = ablations.system_of("loss", "two", "synthetic")
    one = ablations.train_run(system, small, 1, 0, folds=2)
    macro, _ = ablations.system_of("loss", "macro", "synthetic")
    assert ablations.train_run(macro, small, 1, 0, folds=2).folder == one.folder
    assert ablations.train_run(system, small, 1, 1, folds=2).folder != one.folder


def test_a_table_of_the_kept_answers_has_every_arm_and_metric(small):
    for arm in ("plain", "macro", "two"):
        ablations.keep("synthetic", "loss", arm)
    frame = ablation_tables.table("synthetic", "loss")
    assert list(frame.columns) == list(ablation_tables.COLUMNS)
    assert (
        len(frame) == 3 * len(ablation_tables.METRICS)
        and (frame.groupby("arm").size() == len(ablation_tables.METRICS)).all()
    )
    wide = frame.pivot(index="arm", columns="metric", values="value")
    d = frame.pivot(index="arm", columns="metric", values="difference")
    np.testing.assert_allclose(d.loc["macro"], wide.loc["macro"] - wide.loc["plain"], atol=1e-12)
    assert frame.loc[frame["arm"] == "plain", ["difference", "p"]].isna().all().all()
    assert dict(zip(frame["arm"], frame["seeds"], strict=True)) == {"plain": 2, "macro": 2, "two": 4}
    # The means over the folds, computed the long way from the committed files.
    rows = pd.read_parquet(ablations.path("synthetic", "loss", "macro", ".parquet"))
    exact = []
    for _, of in rows[rows["part"] == "test"].groupby("fold"):
        called = of[list(CLASSES)].to_numpy() >= 0
        exact.append((called == small.labels[of["record"]]).all(axis=1).mean())
    assert wide.loc["macro", "exact match"] == pytest.approx(np.mean(exact))


def test_validation_scores_are_the_means_of_the_runs_logs(small):
    for arm in ("plain", "two"):
        ablations.keep("synthetic", "loss", arm)
    scores = ablation_tables.validation_scores("synthetic", "loss")
    assert list(scores) == ["plain", "two"] and list(scores.index) == [1, 2]
    for arm, members in (("plain", 1), ("two", 2)):
        system, _ = ablations.system_of("loss", arm, "synthetic")
        runs = [ablations.train_run(system, small, fold, m, folds=2) for fold in range(2) for m in range(members)]
        for epoch in (1, 2):
            mean = sum(run.log["valid"].iloc[epoch - 1] for run in runs) / len(runs)
            assert scores.loc[epoch, arm] == pytest.approx(mean, abs=1e-4)  # logs are kept with four decimals


def test_without_its_control_a_question_has_no_answer(small):
    ablations.keep("synthetic", "loss", "macro")
    assert ablation_tables.table("synthetic", "loss").empty


def test_a_training_that_two_arms_share_is_counted_once(small):
    for arm in ("plain", "macro", "two"):
        ablations.keep("synthetic", "loss", arm)
    seconds = [ablations.card_of("synthetic", "loss", arm)["seconds"] for arm in ("plain", "macro", "two")]
    runs, spent = ablations.trained_so_far()
    # Two folds each of plain and macro, and of the ensemble its second members: the first are those of macro.
    assert runs == 6 and spent == pytest.approx(sum(seconds))


def test_growth_is_that_of_the_networks():
    question = "width of ECGMaster"
    small, whole = (ablations.system_of(question, arm, "real")[0] for arm in ("small", "as published"))
    expected = parameter_count(whole.network()) / parameter_count(small.network())
    assert ablations.growth("real", question, "as published") == pytest.approx(expected) and expected > 2
