"""One run in many processes, which ``torchrun`` starts, against the same run in this process."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ecgstudy import distributed, layers, training
from tests.trained_together import SYSTEMS, VALID, given, in_float64, trained


def torchrun(processes, *command, cache):
    """Run a module in so many processes of this machine, with caches of their own."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    environment = os.environ | {"ECGSTUDY_CACHE": str(cache), "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run([*start, *command], env=environment, capture_output=True, text=True, timeout=300)


def in_cache(function, name, cache, monkeypatch):
    """Train, open or name a run as in one process, in a cache."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(cache))
    with in_float64():
        return function(name)


def found(name):
    run = training.trained(*given(name))
    assert run, f"no run {name}"
    return run


def seen(cache):
    """How many windows each process put through a network at each validation."""
    return [list(map(int, file.read_text().split())) for file in cache.glob("validated *.txt")]


def assert_same(run, other):
    """Same name, losses and selection scores epoch by epoch, weights, answers."""
    assert run.folder.name == other.folder.name and run.config == other.config
    np.testing.assert_allclose(run.log["loss"], other.log["loss"], rtol=1e-6)
    np.testing.assert_allclose(run.log["valid"], other.log["valid"], rtol=1e-6)
    for name, value in run.network().state_dict().items():
        torch.testing.assert_close(value, other.network().state_dict()[name], rtol=1e-5, atol=1e-7)
    columns = list(run.classes)
    np.testing.assert_allclose(run.predictions[columns], other.predictions[columns], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_many_processes_make_the_run_of_one(processes, tmp_path, monkeypatch):
    names = [name for name in SYSTEMS if name != "longer"]
    result = torchrun(processes, "tests.trained_together", "; ".join(names), cache=tmp_path / "many")
    assert result.returncode == 0, result.stderr
    for name in names:
        alone = in_cache(trained, name, tmp_path / "one", monkeypatch)
        many = in_cache(found, name, tmp_path / "many", monkeypatch)
        with in_float64():
            assert_same(many, alone)
        assert many.card["processes"] == processes and "processes" not in alone.card
        assert len(alone.log) == 2 and alone.log["loss"].nunique() == 2
    windows = {name: VALID * (1 if SYSTEMS[name].seconds == 10 else 3) for name in names}
    windows |= dict.fromkeys(("BUTTeam", "small GAP", "small GAP, challenge metric"), VALID)  # one of a longer record
    each = list(map(sum, seen(tmp_path / "many")))
    assert len(each) == processes and sum(each) == 2 * sum(windows.values())
    assert max(each) - min(each) <= 2 * len(names)
    assert not list((tmp_path / "many" / "unfinished").glob("*"))


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_goes_on_with_another_number(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    result = torchrun(2, "tests.trained_together", "longer", "1", "3", cache=begun)
    assert result.returncode != 0
    told = [line for line in result.stderr.splitlines() if line.startswith("ecgstudy: ")]
    assert len(told) == 1 and "the process of rank 1 (of 2) has ended" in told[0] and "Run the command again" in told[0]
    assert len(list((begun / "unfinished").glob("*.safetensors"))) == 1 and not list(begun.glob("runs/*/card.json"))
    shutil.copytree(begun, tmp_path / "by three")
    result = torchrun(3, "tests.trained_together", "longer", cache=tmp_path / "by three")
    assert result.returncode == 0, result.stderr
    undisturbed = in_cache(trained, "longer", tmp_path / "undisturbed", monkeypatch)
    by_one = in_cache(trained, "longer", begun, monkeypatch)
    by_three = in_cache(found, "longer", tmp_path / "by three", monkeypatch)
    with in_float64():
        assert_same(by_one, undisturbed)
        assert_same(by_three, undisturbed)
    assert by_three.card["processes"] == 3 and "processes" not in by_one.card
    # Two of the four epochs were there: the rest was trained, no more.
    assert sum(map(sum, seen(tmp_path / "by three"))) - sum(map(sum, seen(begun))) == 2 * 3 * VALID


@pytest.mark.slow
def test_the_process_that_leads_may_be_killed_too(tmp_path):
    result = torchrun(2, "tests.trained_together", "longer", "0", "1", cache=tmp_path)
    assert result.returncode != 0
    told = [line for line in result.stderr.splitlines() if line.startswith("ecgstudy: ")]
    assert len(told) == 1 and "the process of rank 0 (of 2) has ended" in told[0]


@pytest.mark.slow
def test_one_process_runs_the_command_and_the_others_end_with_it(tmp_path):
    result = torchrun(2, "ecgstudy.cli", "train", "--dry", "--part", "realism", cache=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("nothing is missing") == 1
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
