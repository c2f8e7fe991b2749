import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from ecgstudy import metrics, studies, training
from ecgstudy.data import cohort
from ecgstudy.data.cohort import simulated_checksum, synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.profiles import profile_values
from ecgstudy.studies import DECIMALS, leaderboard, own_scores
from ecgstudy.studies.catalogue import Leaderboard
from ecgstudy.systems import System, catalogue
from ecgstudy.systems.baselines import FeatureBaseline
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.cnn_gap import CNNGAPSystem

# A system that is new has no committed answers yet: `ecgstudy train --dry` lists them.
LARGE = leaderboard.FOLDER / "synthetic-large"
COMMITTED = [cls.name for cls in catalogue.with_chapter() if (LARGE / f"{cls.name}.json").exists()]
WITH_WEIGHTS = [name for name, (run, *_) in own_scores.shipped().items() if name in COMMITTED]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A trial of 45 short simulated records in three folds."""
    data = synthetic_cohort(45, 100, seconds=6, balance=1)
    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    monkeypatch.setattr(studies, "RESULTS", tmp_path)
    monkeypatch.setattr(leaderboard, "cohort_of", lambda trial, fs: data)
    system = CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=1, batch=16)
    monkeypatch.setattr(System, "of_profile", lambda profile: (system, 2))
    return data


def test_every_record_is_tested_once_by_what_has_not_seen_it(small):
    leaderboard.answer("synthetic", "CNN-GAP", quiet=True)
    fold = small.folds(3, 0)
    records = leaderboard.records_of("synthetic")
    assert (records["fold"] == fold).all() and (records[list(CLASSES)].to_numpy() == small.labels).all()
    card = leaderboard.card_of("synthetic", "CNN-GAP")
    assert len(card["runs"]) == 6
    p, called = leaderboard.answers_of("synthetic")["CNN-GAP"]
    for f in range(3):
        runs = [
            training.Run(leaderboard.training.cache_root() / "runs" / r, None) for r in card["runs"][2 * f : 2 * f + 2]
        ]
        test = np.flatnonzero(fold == f)
        for run in runs:
            # What is predicted is not trained on: training, validation and test records are all there are.
            seen = run.card["records"]
            assert seen["train"] + seen["valid"] + seen["test"] == 45 and seen["test"] == len(test)
            assert set(run.predictions.loc[run.predictions["split"] == "test", "record"]) == set(test)
        np.testing.assert_allclose(p[test], np.mean([run.probabilities(test) for run in runs], axis=0), atol=1e-6)
    assert (called == (p >= 0.5)).all()


@pytest.mark.parametrize("entry", ["CNN-GAP", *("CNN-GAP" + start for start in leaderboard.STARTS)])
def test_the_trainings_of_an_entry_are_those_that_its_answer_opens(entry, small, monkeypatch, tmp_path):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    for start, records in leaderboard.STARTS.items():
        monkeypatch.setitem(leaderboard.STARTS, start, records | {"records": 40})
    tasks = leaderboard.tasks("synthetic", entry)
    _, start = leaderboard.parts_of(entry)
    number = 3 if start else 6  # one member of each fold starts from simulated records
    assert [task(only_open=True) for task in tasks] == [None] * number
    runs = [task() for task in tasks]
    there = sorted((tmp_path / "cache" / "runs").glob("*/card.json"))
    leaderboard.answer("synthetic", entry, quiet=True)
    card = leaderboard.card_of("synthetic", entry)
    assert card["runs"] == [run.folder.name for run in runs]
    assert sorted((tmp_path / "cache" / "runs").glob("*/card.json")) == there
    assert card["wall_seconds"] >= card["training_seconds"] > 0
    assert [task(only_open=True).folder for task in tasks] == [run.folder for run in runs]
    if not start:
        assert "start" not in runs[0].config
        return
    first = tasks[0].needs[-1](only_open=True)
    if start == leaderboard.MIDWAY:
        assert {run.config["mean_of"][0] for run in runs} == {first.folder.name}
        tuned = training.opened(runs[0].config["mean_of"][1], first.system)
        assert tuned.config["start"] == first.folder.name and tuned.config["split"] == runs[0].config["split"]
        before, after, mean = (run.network().state_dict() for run in (first, tuned, runs[0]))
        for name, value in mean.items():  # in eight bits
            wanted = (before[name] + after[name]) / 2 if value.is_floating_point() else after[name]
            torch.testing.assert_close(value, wanted, rtol=1e-3, atol=float(wanted.abs().max()) / 250)
        assert any((before[name] != after[name]).any() for name in mean)
    else:
        assert {run.config["start"] for run in runs} == {first.folder.name}
    alone = "CNN-GAP" + leaderboard.ALONE
    answers = leaderboard.FOLDER / "synthetic" / f"{alone}.parquet"
    assert answers.exists() == (start == leaderboard.VARIED)
    if not answers.exists():
        return
    assert first.config["cohort"] == simulated_checksum(40, 100, seed=1, balance=1, variety="all")
    card = leaderboard.card_of("synthetic", alone)
    assert card["runs"] == [first.folder.name]
    assert card["training_seconds"] == card["wall_seconds"] == round(first.card["seconds"], 1)
    p = training.predict(first.system, first.network(), small, np.arange(45))
    answered = pd.read_parquet(answers)
    np.testing.assert_allclose(answered[list(CLASSES)], p, atol=1e-6)
    called = answered[[f"called {c}" for c in CLASSES]]
    np.testing.assert_array_equal(called, p >= [*first.card["thresholds"].values()])


def test_trees_alone_have_seen_varied_records_and_no_other(small, monkeypatch):
    monkeypatch.setitem(
        leaderboard.STARTS, leaderboard.VARIED, {"records": 60, "seed": 1, "balance": 1, "variety": "all"}
    )
    entry = leaderboard.BASELINES[2]
    assert entry in leaderboard.entries("real") and entry not in leaderboard.entries("synthetic")
    leaderboard.answer("synthetic", entry, quiet=True)
    first = synthetic_cohort(60, small.fs, seed=1, balance=1, variety="all")
    fold = first.folds(10, 0)
    trees = FeatureBaseline().fit(first, np.flatnonzero(fold > 0))
    p, called = leaderboard.answers_of("synthetic")[entry]
    np.testing.assert_allclose(p, trees.predict(small, np.arange(len(small))), atol=1e-6)
    valid = np.flatnonzero(fold == 0)
    thresholds = metrics.best_thresholds(first.labels[valid], trees.predict(first, valid))
    np.testing.assert_array_equal(called, p >= thresholds.astype(np.float32))


def test_what_a_board_wants_is_the_cohort_that_it_has(monkeypatch):
    monkeypatch.setitem(leaderboard.SIMULATED, "records", 12)
    monkeypatch.setitem(leaderboard.BOARDS, "synthetic", leaderboard.Board("demo", 3, simulated=12))
    made = leaderboard.cohort_of("synthetic", 100)
    assert leaderboard.records_wanted("synthetic", 100).task(only_open=True).folder == made.folder


def test_the_runs_of_an_answer_are_opened_or_the_command_is_named(small, monkeypatch):
    leaderboard.answer("synthetic", "CNN-GAP", quiet=True)
    runs, system = leaderboard.runs_of("synthetic", "CNN-GAP"), by_name("CNN-GAP").of_profile("demo")
    assert [run.folder.name for run in runs] == leaderboard.card_of("synthetic", "CNN-GAP")["runs"]
    monkeypatch.setattr(CNNGAPSystem, "of_profile", lambda profile: system)
    first = leaderboard.runs_of("synthetic", "CNN-GAP, one")
    assert [run.folder for run in first] == [run.folder for run in runs[::2]]
    p, _ = leaderboard.answers_of("synthetic")["CNN-GAP, one"]
    for f, run in enumerate(first):
        test = np.flatnonzero(small.folds(3, 0) == f)
        np.testing.assert_allclose(run.probabilities(test), p[test], atol=1e-6)
    x = torch.randn(2, 12, 600)
    assert not torch.equal(runs[0].network()(x), runs[1].network()(x))
    (runs[-1].folder / "card.json").unlink()
    with pytest.raises(FileNotFoundError, match='ecgstudy train "CNN-GAP" --part synthetic --again'):
        leaderboard.runs_of("synthetic", "CNN-GAP")


@pytest.mark.parametrize("entry", WITH_WEIGHTS)
def test_committed_weights_answer_as_committed(entry):
    (run,) = leaderboard.runs_of("synthetic-large", entry)
    assert run.folder.parent.parent == training.RESULTS
    first = synthetic_cohort(fs=run.system.fs, **leaderboard.simulated("synthetic") | {"records": 4})
    answered = training.predict(run.system, run.network(), first, np.arange(4))
    p, _ = leaderboard.answers_of("synthetic-large")[entry]
    np.testing.assert_allclose(answered, p[:4], atol=1e-3)


def test_the_large_trial_tests_the_records_of_the_small_one_on_what_follows_them(small, monkeypatch):
    monkeypatch.setattr(leaderboard, "simulated", lambda trial: {"records": {"synthetic": 12}.get(trial, 45)})
    leaderboard.answer("synthetic-large", "CNN-GAP", quiet=True)
    records, card = leaderboard.records_of("synthetic-large"), leaderboard.card_of("synthetic-large", "CNN-GAP")
    assert records["name"].tolist() == small.table["name"][:12].tolist() and (records["fold"] == 0).all()
    (name,) = card["runs"]  # one network, whatever the system's ensemble
    run = training.Run(leaderboard.training.cache_root() / "runs" / name, None)
    assert set(run.predictions.loc[run.predictions["split"] == "test", "record"]) == set(range(12))
    assert run.card["records"]["train"] + run.card["records"]["valid"] == 33
    p, called = leaderboard.answers_of("synthetic-large")["CNN-GAP"]
    np.testing.assert_allclose(p, run.probabilities(np.arange(12)), atol=1e-6)
    assert p.shape == called.shape == (12, 9)


def test_the_large_trial_separates_no_patient_and_begins_with_the_small_one():
    small, large = leaderboard.simulated("synthetic"), leaderboard.simulated("synthetic-large")
    assert large["records"] == 20_000 and {**large, "records": 0} == {**small, "records": 0}
    border = small["records"]
    ids = [
        synthetic.simulate(i, small["seed"], fs=100, seconds=6).record.patient_id for i in range(border - 3, border + 3)
    ]
    assert not set(ids[:3]) & set(ids[3:])


def test_the_first_member_stands_beside_the_ensemble(small):
    leaderboard.answer("synthetic", "CNN-GAP", quiet=True)
    answers = leaderboard.answers_of("synthetic")
    assert set(answers) == {"CNN-GAP", "CNN-GAP, one", leaderboard.TOGETHER}
    assert (answers["CNN-GAP"][0] != answers["CNN-GAP, one"][0]).any()


def test_features_are_fitted_on_the_rest_and_called_from_thresholds_of_the_rest(small, monkeypatch):
    fitted = []
    fit = FeatureBaseline.fit

    def spied(self, data, records):
        fitted.append(set(records.tolist()))
        self.forest.n_estimators = 5
        return fit(self, data, records)

    monkeypatch.setattr(FeatureBaseline, "fit", spied)
    leaderboard.answer("synthetic", "features and trees", quiet=True)
    fold = small.folds(3, 0)
    for f, (inner, outer) in enumerate(zip(fitted[::2], fitted[1::2], strict=True)):
        assert outer == set(np.flatnonzero(fold != f)) and inner < outer


def committed(trial, answers, records):
    folder = leaderboard.FOLDER / trial
    folder.mkdir(parents=True)
    records.to_parquet(folder / "records.parquet")
    for name, (p, called) in answers.items():
        frame = pd.DataFrame(p, columns=list(CLASSES))
        frame[[f"called {c}" for c in CLASSES]] = called
        frame.to_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.json").write_text(json.dumps({"entry": name, "runs": ["a", "b"], "wall_seconds": 90.0}))


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Committed answers of a good and of a random entry on 120 records of two sources."""
    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    monkeypatch.setattr(studies, "RESULTS", tmp_path)
    rng = np.random.default_rng(0)
    y = rng.random((120, 9)) < 0.25
    records = pd.DataFrame({"name": range(120), "patient_id": [f"p{i // 2}" for i in range(120)], "fold": 0})
    records["source"] = np.where(np.arange(120) < 80, "georgia", "ptb")
    records[list(CLASSES)] = y
    good = (0.6 * y + 0.4 * rng.random((120, 9))).astype(np.float32)
    answers = {"CNN-GAP": (good, good > 0.5), "xECGNet": (rng.random((120, 9)).astype(np.float32), y & False)}
    committed("real", answers, records)
    return records, answers


def test_table_is_what_the_metrics_say_of_the_committed_answers(two):
    records, answers = two
    table = leaderboard.table("real", repeats=50).set_index(["system", "metric", "class"])
    y = records[list(CLASSES)].to_numpy()
    for entry, (p, called) in answers.items():
        assert table.loc[(entry, "AUROC", ""), "value"] == pytest.approx(metrics.macro_auroc(y, p))
        assert table.loc[(entry, "micro-F1", ""), "value"] == pytest.approx(metrics.micro_f1(y, called))
    together = (answers["CNN-GAP"][0] + answers["xECGNet"][0]) / 2
    assert table.loc[(leaderboard.TOGETHER, "AUROC", ""), "value"] == pytest.approx(metrics.macro_auroc(y, together))
    assert table.loc[("CNN-GAP", "F2", ""), "paper_value"] == 0.816
    assert table["paper_value"].notna().sum() == 6
    study, columns = Leaderboard(), ["system", "cohort", "metric", "class", "value", "low", "high", "n"]
    study.write()
    computed = study.table()
    assert list(computed) == [*columns, "paper_value", "run"]
    computed["paper_value"] = computed["paper_value"].astype(float)
    # To the decimals of the file, a table that is read is the one that was computed, cell by cell and type by type.
    pd.testing.assert_frame_equal(study.committed(), computed.round(DECIMALS), check_dtype=True)
    pd.testing.assert_frame_equal(leaderboard.committed("real"), study.committed())


def test_differences_are_paired_and_signed(two):
    records, answers = two
    rows = leaderboard.differences("real", "CNN-GAP", repeats=200).set_index("system")
    y = records[list(CLASSES)].to_numpy()
    expected = metrics.macro_auroc(y, answers["xECGNet"][0]) - metrics.macro_auroc(y, answers["CNN-GAP"][0])
    assert rows.loc["xECGNet", "difference"] == pytest.approx(expected)
    assert rows.loc["xECGNet", "high"] < 0 and rows.loc["xECGNet", "p"] < 0.05
    alone = leaderboard.differences("real", "CNN-GAP", ["xECGNet"], repeats=200).set_index("system")
    pd.testing.assert_frame_equal(alone, rows.loc[["xECGNet"]])
    assert len(rows) == 2


def test_more_records_are_paired_with_the_first_member_on_few(two):
    records, answers = two
    (good, called), (bad, _) = answers.values()
    few = {"CNN-GAP": (good, called), "CNN-GAP, one": (bad, called), "features and trees": (bad, called)}
    many = {"CNN-GAP": (good, called), "features and trees": (bad, called)}
    committed("synthetic", few, records)
    committed("synthetic-large", many, records)
    rows = leaderboard.more_records(repeats=200)
    y = records[list(CLASSES)].to_numpy()
    assert rows["system"].tolist() == ["CNN-GAP", "features and trees"]
    first = rows.iloc[0]
    assert first["few"] == pytest.approx(metrics.macro_auroc(y, bad))
    assert first["many"] == pytest.approx(metrics.macro_auroc(y, good))
    assert first["difference"] == pytest.approx(first["many"] - first["few"]) and first["low"] > 0
    assert (rows.loc[1, ["difference", "low", "high"]] == 0).all()
    path = leaderboard.FOLDER / "synthetic-large" / "records.parquet"
    records[::-1].to_parquet(path)
    with pytest.raises(ValueError, match="not of the same records"):
        leaderboard.more_records()


def test_within_a_source_only_its_records_count(two):
    records, answers = two
    rows = leaderboard.within_sources("real", repeats=50).set_index(["system", "source"])
    inside = (records["source"] == "ptb").to_numpy()
    y = records.loc[inside, list(CLASSES)].to_numpy()
    enough = y.sum(axis=0) >= 5
    expected = metrics.macro_auroc(y[:, enough], answers["CNN-GAP"][0][inside][:, enough])
    assert rows.loc[("CNN-GAP", "PTB"), "value"] == pytest.approx(expected)
    assert rows.loc[("CNN-GAP", "PTB"), ["n", "classes"]].tolist() == [40, enough.sum()]
    assert set(rows.index.get_level_values("source")) == {"PTB", "Georgia"}


def test_by_source_leaves_whole_sources_out_and_separates_no_patient():
    sources = ["CPSC 2018", "cpsc_2018", "PTB-XL", "ptb-xl", "georgia", "ningbo", "chapman_shaoxing", "ptb"]
    table = pd.DataFrame(
        {"source": sources, "patient_id": list("abcdefcg"), "signal_hash": [f"h{i}" for i in range(8)]}
    )
    data = cohort.Cohort(None, 100, table, np.zeros((8, 9), bool), pd.DataFrame(), "x")
    # The record of chapman_shaoxing is of the patient of the PTB-XL one, and goes with it.
    assert leaderboard.fold_of("by-source", data).tolist() == [0, 0, 1, 1, 2, 3, 1, 1]


def test_missing_tells_what_and_how_long(two):
    assert "CNN-GAP" not in leaderboard.missing("real")
    lacking = leaderboard.missing("synthetic")
    # The same network in 9 runs of 12 epochs on two thirds of the records, in place of 15 of 10 epochs on four fifths.
    assert lacking["CNN-GAP"] == pytest.approx(90 * (9 * 12 * 2 / 3) / (15 * 10 * 4 / 5))
    assert lacking["BUTTeam"] is None
    # As published: the multiply-adds of the network for each that the small one has, in ten times the epochs.
    small, large = (leaderboard.multiply_adds(by_name("CNN-GAP").of_profile(p)[0]) for p in ("real", "paper"))
    assert leaderboard.missing("paper")["CNN-GAP"] == pytest.approx(90 * 10 * large / small)


def test_systems_are_those_of_the_chapters():
    for name in [cls.name for cls in catalogue.with_chapter()]:
        for profile in ("demo", "real"):
            system, members = by_name(name).of_profile(profile)
            assert system.name == name and members >= 1


def test_size_counts_multiply_adds():
    system = CNNGAPSystem(fs=100, seconds=6, width=0.03)
    network, total, length = system.network(), 0, 600
    for block, (filters, kernel, _) in enumerate(network.sizes):
        channels = 12 if block == 0 else network.sizes[block - 1][0]
        total += channels * filters * kernel * length
        length //= 2 if block in (0, 4, 9) else 1
    total += network.sizes[-1][0] * 9
    assert leaderboard.size(system)["multiply_adds"] == total


def test_the_mean_of_entries_is_scored_with_its_interval(two):
    records, answers = two
    y, who = records[list(CLASSES)].to_numpy(), records["patient_id"]
    (good, _), (bad, _) = answers.values()
    found = leaderboard.mean_of("real", list(answers), repeats=50)
    assert found == metrics.bootstrap_interval(metrics.macro_auroc, y, (good + bad) / 2, who, 50)
    assert leaderboard.mean_of("real", ["xECGNet"], repeats=50).value < found.low


def test_simulated_boards_test_the_records_that_the_demos_chapters_draw():
    for cls in catalogue.with_chapter():
        values = profile_values("demo", cls.chapter)
        assert {name: values[name] for name in leaderboard.SIMULATED} == leaderboard.SIMULATED, cls.name


def test_an_answer_that_is_not_there_yet_names_its_command():
    assert len(COMMITTED) >= 5
    for entry in ("Residual", "Residual, one"):
        with pytest.raises(
            FileNotFoundError, match='has no answer on the board real yet: ecgstudy train "Residual" --part real'
        ):
            leaderboard.card_of("real", entry)


def test_the_trees_that_ship_are_those_of_the_real_records(real_data, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(real_data))
    real = leaderboard.cohort_of("real", 100)
    found = FeatureBaseline(trees=1).fit(real, np.arange(len(real))).kept()
    committed = load_file(leaderboard.TREES_KEPT)
    records = leaderboard.records_of("real")
    np.testing.assert_array_equal(committed["labels"], records[list(CLASSES)].to_numpy())
    # A beat that is found a sample later has other measures; another machine may find a few so.
    assert np.isclose(found["inputs"], committed["inputs"], rtol=2e-3, atol=2e-3).mean() > 0.99
    np.testing.assert_allclose(found["mean"], committed["mean"], atol=1e-3)
    # All but one fold of them answer the last much as the committed answer does, which has its own components.
    fold, (answer, _) = records["fold"].to_numpy(), leaderboard.answers_of("real")["features and trees"]
    part = {"inputs": committed["inputs"][fold > 0], "labels": committed["labels"][fold > 0]}
    grown = FeatureBaseline().grown_from(committed | part).predict(real, np.flatnonzero(fold == 0))
    assert np.corrcoef(grown.ravel(), answer[fold == 0].ravel())[0, 1] > 0.95
