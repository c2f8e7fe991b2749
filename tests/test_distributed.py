"""One run in many processes, which ``torchrun`` starts, against the same run in this process."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from ecgstudy import distributed, layers, training
from tests.trained_together import SYSTEMS, VALID, given, in_float64, trained

# With three processes one has no record of the last batch: batch normalisation, windows and a loss of the whole batch.
OF_THREE = ("xECGNet", "ECGMaster", "small GAP, challenge metric")
# Those that take one window of a record of ten seconds; the others take three.
ONE_WINDOW = ("xECGNet", "BUTTeam", "BUTTeam, as published", "small GAP", "small GAP, challenge metric")


def torchrun(processes, *command, cache):
    """Run a module in so many processes of this machine, with caches of their own."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    run += [f"--nproc-per-node={processes}", "-m", *command]
    environment = os.environ | {"ECGSTUDY_CACHE": str(cache)}
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=900)


def in_cache(function, name, cache, monkeypatch):
    """Train, open or name a run as in one process, in a cache."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(cache))
    with in_float64():
        return function(name)


def found(name):
    run = training.trained(*given(name))
    assert run, f"no run {name}"
    return run


def assert_same(run, other):
    """Same name, losses and selection scores epoch by epoch, weights, answers."""
    assert run.folder.name == other.folder.name and run.config == other.config
    np.testing.assert_allclose(run.log["loss"], other.log["loss"], rtol=1e-7)
    np.testing.assert_allclose(run.log["valid"], other.log["valid"], rtol=1e-6)
    for name, value in run.network().state_dict().items():
        torch.testing.assert_close(value, other.network().state_dict()[name], rtol=1e-5, atol=1e-7)
    columns = list(run.classes)
    np.testing.assert_allclose(run.predictions[columns], other.predictions[columns], atol=1e-6)


@pytest.mark.slow
def test_many_processes_make_the_runs_of_one_and_a_killed_one_goes_on_with_another_number(tmp_path, monkeypatch):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    every = [name for name in SYSTEMS if name != "longer"]
    # In each number of processes another one kills itself at the second validation of the last training.
    for cache, processes, killed, names in ((two, 2, 1, every), (three, 3, 0, OF_THREE)):
        if processes == 3:
            shutil.copytree(two / "unfinished", three / "unfinished")
        before, training_of = 2 * len(names), "; ".join([*names, "longer"])
        result = torchrun(processes, "tests.trained_together", training_of, str(killed), str(before + 2), cache=cache)
        assert result.returncode != 0
        told = [line for line in result.stderr.splitlines() if line.startswith("ecgstudy: ")]
        assert len(told) == 1, result.stderr
        assert f"the process of rank {killed} (of {processes}) has ended" in told[0] and "the command again" in told[0]
        for name in names:
            alone = in_cache(trained, name, one, monkeypatch)
            many = in_cache(found, name, cache, monkeypatch)
            with in_float64():
                assert_same(many, alone)
            assert many.card["processes"] == processes and "processes" not in alone.card
            assert len(alone.log) == 2 and alone.log["loss"].nunique() == 2
        windows = VALID * sum(1 if name in ONE_WINDOW else 3 for name in names)
        seen = [list(map(int, file.read_text().split()))[:before] for file in cache.glob("validated *.txt")]
        assert len(seen) == processes and sum(map(sum, seen)) == 2 * windows
        assert np.ptp(np.sum(seen, axis=1)) <= before
        (unfinished,) = (cache / "unfinished").glob("*.safetensors")
        with safe_open(unfinished, framework="pt") as file:
            assert len(json.loads(file.metadata()["log"])) == processes - 1
    undisturbed, by_all = (in_cache(trained, "longer", cache, monkeypatch) for cache in (one, three))
    with in_float64():
        assert_same(by_all, undisturbed)
    assert len(by_all.log) == 4 and "processes" not in by_all.card


@pytest.mark.slow
def test_one_process_runs_the_command_and_the_others_end_with_it(tmp_path):
    result = torchrun(2, "ecgstudy.cli", "train", "no such thing", cache=tmp_path)
    assert result.returncode != 0 and result.stderr.count("no part has 'no such thing'") == 1
    assert "has ended" not in result.stderr


# --- a GPU, as far as a machine without one can tell -----------------------------------------------------------------


def test_inputs_are_put_on_a_gpu_that_has_twice_their_memory_free(monkeypatch):
    x, y = torch.zeros(10, 12, 100), torch.zeros(2, 12, 100)
    free = SimpleNamespace(bytes=2 * (x.nbytes + y.nbytes))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free.bytes, 10**12))
    pretended = torch.device("meta")
    assert [t.device for t in training.placed(pretended, x, y)] == [pretended] * 2
    free.bytes -= 1
    assert [t.device.type for t in training.placed(pretended, x, y)] == ["cpu"] * 2
    monkeypatch.undo()
    assert training.placed(torch.device("cpu"), x, y) == (x, y)


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_are_augmented_where_they_lie(name, monkeypatch):
    """Tensors of the meta device hold nothing, but refuse to meet others, as a GPU's do."""
    system, cohort, split = given(name)
    x, _ = training.inputs(system, cohort, split["valid"][:3])
    y = system.augment(x, torch.Generator().manual_seed(0))
    # What BUTTeam asks of its batch: how long the longest record is.
    monkeypatch.setattr(torch.Tensor, "__int__", lambda _: y.shape[-1], raising=False)
    there = system.augment(x.to("meta"), torch.Generator().manual_seed(0))
    assert there.device.type == "meta" and there.shape == y.shape and there.dtype == y.dtype


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match="give torchrun --nproc-per-node 1"):
        distributed.join()


# --- alone -----------------------------------------------------------------------------------------------------------


def test_alone_nothing_is_changed():
    network = nn.Sequential(layers.Conv1d(2, 3, 5), layers.BatchNorm1d(3), layers.Dropout(0.5))
    kinds = [type(module) for module in network.modules()]
    assert distributed.together(network) is network and [type(module) for module in network.modules()] == kinds
    assert distributed.part(7) == slice(0, 7) and distributed.of_all("a") == ["a"] and distributed.of_first(2) == 2
    assert distributed.everywhere(max, 1, 2) == 2 and distributed.largest(torch.tensor([3, 5])) == 5


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 937])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_no_row_is_taken_twice_or_left_out(rows, processes, monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: processes)
    parts = [np.arange(rows)[distributed.part(rows, rank)] for rank in range(processes)]
    assert np.concatenate(parts).tolist() == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
