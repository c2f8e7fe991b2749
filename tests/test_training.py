import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import BrokenError
from ecgstudy.systems import parameter_count
from ecgstudy.systems.cnn_gap import CNNGAPSystem


@pytest.fixture(scope="module")
def system():
    return CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=3, batch=16)


@pytest.fixture
def data():
    return synthetic_cohort(48, 100, seconds=6, balance=1)


@pytest.fixture
def split():
    return {"train": np.arange(30), "valid": np.arange(30, 40), "test": np.arange(40, 48)}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))


def weights(run):
    return {k: v.clone() for k, v in run.network().state_dict().items()}


def test_a_run_is_whole(system, data, split):
    run = training.train(system, data, split, quiet=True)
    assert {p.name for p in run.folder.iterdir()} == {
        "config.json", "log.csv", "metrics.json", "predictions.parquet", "weights.safetensors", "card.json"
    }  # fmt: skip
    assert run.log["epoch"].tolist() == [1, 2, 3]
    assert run.config["cohort"] == data.checksum and run.config["width"] == 0.03
    card = json.loads((run.folder / "card.json").read_text())
    assert card["parameters"] == parameter_count(system.network())
    assert card["records"] == {"train": 30, "valid": 10, "test": 8}
    assert not list(run.folder.parent.parent.glob("unfinished/*"))


@pytest.mark.parametrize("content", [b"", b"x" * 100, (2).to_bytes(8, "little") + b"{}"])
def test_a_broken_unfinished_training_says_what_to_delete(system, data, split, content, monkeypatch, tmp_path):
    short = dataclasses.replace(system, epochs=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_predictions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        training.train(short, data, split, quiet=True)
    (unfinished,) = (tmp_path / "unfinished").iterdir()
    unfinished.write_bytes(content)
    with pytest.raises(BrokenError, match="delete it and run the command again") as told:
        training.train(short, data, split, quiet=True)
    assert str(unfinished) in str(told.value) and "\n" not in str(told.value)
    unfinished.unlink()
    assert training.train(short, data, split, quiet=True).log["epoch"].tolist() == [1]


def test_a_broken_run_says_what_to_delete(system, data, split):
    run = training.train(dataclasses.replace(system, epochs=1), data, split, quiet=True)
    for path in run.folder.iterdir():
        path.write_bytes(b"\x00")
    for part in ("config", "predictions", "card"):
        with pytest.raises(BrokenError, match=f"{run.folder} is broken .* delete it"):
            getattr(training.Run(run.folder, system), part)
    with pytest.raises(BrokenError, match=f"{run.folder} is broken .* delete it"):
        run.network()


def test_saved_predictions_are_the_saved_networks(system, data, split):
    run = training.train(system, data, split, quiet=True)
    network = run.network()
    for part in ("valid", "test"):
        by_hand = []
        for i in split[part]:
            with torch.no_grad():
                (x,) = system.windows(data[i])
                by_hand.append(torch.sigmoid(network(torch.from_numpy(x)[None]))[0].numpy())
        np.testing.assert_allclose(run.probabilities(split[part]), by_hand, atol=1e-5)
    assert list(run.predictions.columns) == ["record", "name", "split", *CLASSES]
    with pytest.raises(KeyError):
        run.probabilities(split["train"])


def test_the_best_epoch_on_validation_is_kept(system, data, split):
    run = training.train(system, data, split, quiet=True)
    again = system.selection(data.labels[split["valid"]], run.probabilities(split["valid"]))
    assert again == pytest.approx(run.log["valid"].max())


def test_the_same_run_is_never_trained_twice(system, data, split, monkeypatch):
    first = training.train(system, data, split, quiet=True)
    monkeypatch.setattr(training, "_fit", lambda *_: pytest.fail("trained again"))
    assert training.train(system, data, split, quiet=True).folder == first.folder
    shuffled = split | {"train": split["train"][::-1]}
    assert training.train(system, data, shuffled, quiet=True).folder == first.folder


def test_whatever_changes_the_outcome_changes_the_name(system, data, split):
    names = {training.train(system, data, split, quiet=True).folder}
    names.add(training.train(system, data, split, seed=1, quiet=True).folder)
    names.add(training.train(dataclasses.replace(system, rate=2e-3), data, split, quiet=True).folder)
    names.add(training.train(system, data, split | {"train": np.arange(29)}, quiet=True).folder)
    names.add(training.train(system, synthetic_cohort(48, 100, seconds=6, balance=0.9), split, quiet=True).folder)
    assert len(names) == 5


def test_interrupted_and_resumed_is_the_run_that_would_have_been(system, data, split, monkeypatch, tmp_path):
    system = dataclasses.replace(system, rate=3e-3)
    whole = weights(training.train(system, data, split, quiet=True))
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "other"))
    save, calls = training._save, []

    def killed(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train(system, data, split, quiet=True)
    monkeypatch.setattr(training, "_save", save)
    run = training.train(system, data, split, quiet=True)
    assert len(run.log) == 3
    for name, value in weights(run).items():
        torch.testing.assert_close(value, whole[name], atol=1e-3, rtol=1e-3)


def test_members_of_an_ensemble_leave_each_another_fold_out(system, data):
    test = np.arange(40, 48)
    runs = training.train_members(dataclasses.replace(system, epochs=1), data, test, members=3, quiet=True)
    held = [set(r.predictions.loc[r.predictions["split"] == "valid", "record"]) for r in runs]
    assert set.union(*held) == set(range(40))
    assert sum(map(len, held)) == 40
    for run in runs:
        assert set(run.predictions.loc[run.predictions["split"] == "test", "record"]) == set(test)


def test_random_members_leave_each_another_fifth_out(system, data):
    class Resampled(CNNGAPSystem):
        resampling = "random"

    splits = training.member_splits(Resampled(seconds=6), data, np.arange(40, 48), members=11)
    held = [frozenset(s["valid"].tolist()) for s in splits]
    assert len(set(held)) > 8 and all(4 <= len(h) <= 12 for h in held)
    assert all(set(s["train"]) | h == set(range(40)) for s, h in zip(splits, held, strict=True))


def test_an_ensemble_joins_its_members_as_the_system_says(system, data):
    runs = training.train_members(dataclasses.replace(system, epochs=1), data, np.arange(40, 48), members=2, quiet=True)
    p, called = training.ensemble(runs, np.arange(40, 48))
    np.testing.assert_allclose(
        p, (runs[0].probabilities(np.arange(40, 48)) + runs[1].probabilities(np.arange(40, 48))) / 2
    )
    assert called.dtype == bool and (called == (p >= 0.5)).all()


def test_one_cycle_rises_and_falls():
    system = CNNGAPSystem(epochs=10, rate=0.02, schedule="one-cycle")
    rates = [system.learning_rate(e / 10, []) for e in range(101)]
    assert rates[30] == pytest.approx(0.02) == max(rates)
    assert rates[0] == pytest.approx(0.0008) and rates[100] == pytest.approx(0, abs=1e-12)
    assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:]) < 0).all()


def test_patience_stops_after_so_many_epochs_without_a_rise(system, data, split, monkeypatch):
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.1, 0.9])
    monkeypatch.setattr(CNNGAPSystem, "selection", lambda *_: next(scores, 0.5))
    run = training.train(dataclasses.replace(system, epochs=6, patience=3), data, split, quiet=True)
    assert run.log["valid"].tolist() == [0.1, 0.3, 0.2, 0.3, 0.1]
    assert run.card["best_epoch"] == 2


def test_the_last_epoch_is_kept_where_it_is_asked_for(system, data, split, monkeypatch):
    monkeypatch.setattr(CNNGAPSystem, "selection", lambda *_: 0.5)  # which keeps the first
    first, last = (training.train(system, data, split, last=which, quiet=True) for which in (False, True))
    assert (first.card["best_epoch"], last.card["best_epoch"]) == (1, 3)
    assert first.folder != last.folder == training.trained(system, data, split, last=True).folder
    assert first.log["loss"].tolist() == last.log["loss"].tolist()  # the same training
    assert any(not torch.equal(value, weights(last)[name]) for name, value in weights(first).items())


def test_starting_from_a_run_starts_from_its_weights(system, data, split):
    first = training.train(system, data, split, quiet=True)
    still = dataclasses.replace(system, rate=0.0, epochs=1)
    again = training.train(still, data, split, start=first, quiet=True)
    assert again.folder != training.train(still, data, split, quiet=True).folder
    moved = weights(again)
    for name, value in weights(first).items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(moved[name], value)


def test_what_the_mean_of_two_runs_predicts_its_saved_weights_predict(system, data, split):
    one = dataclasses.replace(system, epochs=1)
    first = training.train(one, data, split, quiet=True)
    runs = first, training.train(one, data, split, start=first, quiet=True)
    mean = training.mean_of(runs, data, split)
    assert mean.config["mean_of"] == [run.folder.name for run in runs]
    again = training.predict(one, mean.network(), data, split["test"])
    np.testing.assert_allclose(mean.probabilities(split["test"]), again, atol=1e-6)  # though they are in eight bits
    assert training.mean_of(runs, data, split).folder == mean.folder != runs[1].folder
    with pytest.raises(ValueError, match="are of different systems: their weights have no mean"):
        training.mean_of((first, training.Run(first.folder, system)), data, split)


TOGETHER = """
import os, sys
import numpy as np
from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.systems.cnn_gap import CNNGAPSystem

training.torch.set_num_threads(1)
system = CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=1, batch=16)
data = synthetic_cohort(24, 100, seconds=6, balance=1)
split = {"train": np.arange(14), "valid": np.arange(14, 20), "test": np.arange(20, 24)}
fit = training._fit
training._fit = lambda *given: print("trains", flush=True) or fit(*given)
children = []
for child in range(3):
    if not (child := os.fork()):
        run = training.train(system, data, split)
        run.probabilities(split["test"]), run.log, run.card, run.network()
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] for child in children))
"""


def test_three_trainings_of_one_run_all_succeed_and_one_trains(tmp_path):
    result = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("another process trains this run, waiting for it") == 2
    assert result.stdout.count("trains") == 1
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {run.name, f"{run.name}.lock"}


@pytest.mark.parametrize("harm", ["twice", "above 1", "order", "weights", "log", "card"])
def test_a_cached_run_that_is_not_as_it_was_written_is_noticed(system, data, split, harm):
    quick = dataclasses.replace(system, epochs=1)
    folder = training.train(quick, data, split, quiet=True).folder
    predictions = pd.read_parquet(folder / "predictions.parquet")
    match harm:
        case "twice":
            pd.concat([predictions, predictions[:3]]).to_parquet(folder / "predictions.parquet")
        case "above 1":
            predictions.assign(AF=predictions["AF"] + 1).to_parquet(folder / "predictions.parquet")
        case "order":
            predictions[::-1].to_parquet(folder / "predictions.parquet")
        case "weights":
            content = (folder / "weights.safetensors").read_bytes()
            (folder / "weights.safetensors").write_bytes(content[:-400] + bytes(400))
        case "log":
            (folder / "log.csv").write_text("epoch,loss,valid,seconds\n1,0.1,0.9,1\n")
        case "card":
            (folder / "card.json").write_text(
                (folder / "card.json").read_text().replace('"best_epoch": 1', '"best_epoch": 2')
            )
    with pytest.raises(BrokenError, match=rf"{folder} is broken \(.* is not as it was written\): delete it"):
        training.train(quick, data, split, quiet=True)


def test_longer_records_count_once_each(system, data):
    long = dataclasses.replace(system, seconds=1)
    x, owner = training.inputs(long, data, np.array([3, 9]))
    assert x.shape == (6, 12, 100) and owner.tolist() == [0, 0, 0, 1, 1, 1]
    network = long.network().eval()
    with torch.no_grad():
        each = torch.sigmoid(network(x)).numpy().reshape(2, 3, 9).mean(axis=1)
    np.testing.assert_allclose(training.predict(long, network, data, np.array([3, 9])), each, atol=1e-6)


def test_wrong_input_is_told(system, data, split):
    with pytest.raises(ValueError, match="CNN-GAP wants 250 Hz, the cohort is at 100 Hz"):
        training.train(dataclasses.replace(system, fs=250), data, split, quiet=True)
    with pytest.raises(ValueError, match="in two parts"):
        training.train(system, data, split | {"test": np.array([0])}, quiet=True)
