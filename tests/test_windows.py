"""Inputs that are read batch by batch are those that are kept in memory."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from ecgstudy import training, windows
from ecgstudy.data.cohort import build_cohort, synthetic_cohort
from ecgstudy.data.records import LEADS, Record
from ecgstudy.systems import catalogue
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.windows import Windows, inputs


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mixed():
    """Records of several lengths, some longer than an input of 10 s."""
    rng = np.random.default_rng(0)
    lengths = [1250, 800, 3000, 1250, 4100, 800, 1251]
    signals = [rng.normal(size=(12, n)).astype(np.float32).cumsum(axis=1) / 9 for n in lengths]
    records = [Record(str(i), x, 125, LEADS, "test", str(i)) for i, x in enumerate(signals)]
    return build_cohort(records, fs=125, identity={"test": "windows"})


def by_hand(system, cohort, records):
    """All windows in a list, then one array."""
    cut = [system.windows(cohort[int(i)]) for i in records]
    return np.stack([w for ws in cut for w in ws]), np.repeat(np.arange(len(records)), [len(ws) for ws in cut])


@pytest.mark.parametrize("cls", [c for c in catalogue.with_chapter() if c.kind != "benchmark"], ids=lambda c: c.name)
def test_inputs_are_those_made_by_hand_wherever_they_are(cls, mixed, monkeypatch):
    system, _ = cls.of_profile("smoke")
    records = np.array([6, 2, 0, 4, 1, 3])
    x, owner = by_hand(system, mixed, records)
    kept, kept_owner = inputs(system, mixed, records)
    assert isinstance(kept, torch.Tensor)
    assert kept.numpy().tobytes() == x.tobytes() and kept.shape == x.shape
    np.testing.assert_array_equal(kept_owner, owner)
    monkeypatch.setattr(windows, "IN_MEMORY", x.nbytes - 1)
    read, read_owner = inputs(system, mixed, records)
    assert isinstance(read, Windows) and read.shape == x.shape and len(read) == len(x)
    np.testing.assert_array_equal(read_owner, owner)
    for chosen in (torch.randperm(len(x)), torch.tensor([1, 1, 0, len(x) - 1]), slice(None, 1), slice(1, 4)):
        assert torch.equal(read[chosen], torch.from_numpy(x)[chosen])


def test_a_training_that_reads_its_inputs_is_the_one_that_keeps_them(tmp_path, monkeypatch):
    system = CNNGAPSystem(fs=100, seconds=4, width=0.03, epochs=1, batch=8)  # three windows a record
    split = {"train": np.arange(24), "valid": np.arange(24, 32), "test": np.arange(32, 40)}
    runs = []
    for border in (2**31, 0):
        monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / str(border)))
        monkeypatch.setattr(windows, "IN_MEMORY", border)
        data = synthetic_cohort(40, 100, seconds=6, balance=1)
        assert isinstance(training.inputs(system, data, split["train"])[0], Windows) == (border == 0)
        runs.append(training.train(system, data, split, quiet=True))
    kept, read = runs
    assert kept.folder.name == read.folder.name and kept.folder != read.folder
    for name in ("weights.safetensors", "predictions.parquet", "metrics.json"):
        assert (kept.folder / name).read_bytes() == (read.folder / name).read_bytes(), name
    pd.testing.assert_frame_equal(kept.log.drop(columns="seconds"), read.log.drop(columns="seconds"), check_exact=True)


def test_a_system_whose_inputs_do_not_follow_from_lengths_is_told(mixed, monkeypatch):
    first = {i: mixed[i][0, 0] for i in (0, 3)}  # two records of one length

    class Odd(CNNGAPSystem):
        def windows(self, signal):
            return super().windows(signal) * (2 if signal[0, 0] == first[3] else 1)

    odd = Odd(fs=125)
    with pytest.raises(
        ValueError, match="cuts record 3 into more inputs than a longer one: let `windows` cut by length"
    ):
        inputs(odd, mixed, np.array([0, 3]))
    monkeypatch.setattr(windows, "IN_MEMORY", 0)
    x, _ = inputs(odd, mixed, np.array([0, 3]))
    with pytest.raises(ValueError, match="CNN-GAP cuts record 3 into 2 inputs, and others of its length into 1: let"):
        x[:]


MEMORY = """
import re
import sys
from pathlib import Path
import numpy as np
from torch import nn
from ecgstudy import training, windows
from ecgstudy.data.cohort import Recipe
from ecgstudy.data.records import LEADS, Record
from ecgstudy.systems.small_gap import SmallGAPSystem

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def read(first, last):
    for i in range(first, last):
        x = np.random.default_rng(i).normal(size=(12, 1000)).astype("f4")
        yield Record(str(i), x, 100, LEADS, "t", str(i), frozenset({"AF"} if i % 2 else {"NSR"}))

class Tiny(SmallGAPSystem):
    def network(self, classes=9):
        return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, classes))

system = Tiny(fs=100, epochs=1)
peaks = []
windows.IN_MEMORY = int(sys.argv[1])
for total in (300, 3000):
    recipe = Recipe(100, {"test": total}, total, read)
    for number in (1, 2, 3):
        recipe.shard(number, 3)
    data = recipe.cohort()
    training.train(system, data, {"train": np.arange(total - 100), "valid": np.arange(total - 100, total)}, quiet=True)
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_memory_of_a_training_does_not_grow_with_its_records(tmp_path):
    """A stand-in for 300,000 records: 2,700 records more have 124 MiB of inputs."""
    result = subprocess.run([sys.executable, "-c", MEMORY, str(2**20)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 60
