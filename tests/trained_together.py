"""Tiny trainings in float64, which tests/test_distributed.py does in one process and, by this file, in many.

``torchrun -m tests.trained_together NAMES KILLED EPOCH``: train those; the process of rank KILLED kills itself at the
end of epoch EPOCH, counted over all trainings, before it is saved.
"""

import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ecgstudy import distributed, training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.systems.benchmark import WangSystem, XResNet, XResNetSystem
from ecgstudy.systems.butt import BUTTSystem
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.ecgmaster import ECGMasterSystem
from ecgstudy.systems.local_evidence import LocalEvidenceSystem, keyed
from ecgstudy.systems.small_gap import SmallGAPSystem
from ecgstudy.systems.xecgnet import XECGNetSystem


@dataclass(frozen=True, kw_only=True)
class ShallowXResNetSystem(XResNetSystem):
    def network(self, classes=9):
        return XResNet(groups=(1, 1, 1, 1), classes=classes, dropout=self.dropout)


@dataclass(frozen=True, kw_only=True)
class GradientSystem(SmallGAPSystem):
    """Adam would hide a gradient that is too large or too small by a factor."""

    def optimiser(self, network):
        return torch.optim.SGD(network.parameters(), lr=self.rate)


# The last batch has two records: with three processes one of them has none.
common = {"fs": 100, "seconds": 1, "epochs": 2, "batch": 7}
butt = BUTTSystem(**common, filters=2, convolutions=2, levels=3)
master = ECGMasterSystem(**common, width=0.1, kernel=0.25, depth=1, masked=True)
small = SmallGAPSystem(**common)
local = LocalEvidenceSystem(**common, channels=8, rhythm=4)
SYSTEMS = {
    "CNN-GAP": CNNGAPSystem(**common, width=0.03, dilation=0.25),
    "xECGNet": XECGNetSystem(**common | {"seconds": 10}, width=0.02, pools=3, rate=1e-3, roll=0.5),
    "BUTTeam": butt,
    "BUTTeam, as published": replace(butt, mask="published", seconds=10),
    "ECGMaster": master,
    "Local evidence": local,
    "Local evidence, keyed": replace(local, key_weight=0.1),
    "xresnet1d101": ShallowXResNetSystem(**common),
    "resnet1d_wang": WangSystem(**common),
    "small GAP": small,
    "small GAP, challenge metric": GradientSystem(**common, rate=1, loss="challenge metric"),
    "longer": replace(master, epochs=4, rate=3e-3),
}
TRAIN, VALID, TEST = 9, 7, 3
SPLIT = {"train": np.arange(TRAIN), "valid": np.arange(TRAIN, TRAIN + VALID), "test": np.arange(19)[-TEST:]}


@contextmanager
def in_float64():
    """Networks, their inputs and what is drawn for them."""
    inputs = training.inputs

    def doubled(*given):
        x, owner = inputs(*given)
        return x.double(), owner

    torch.set_default_dtype(torch.float64)
    training.inputs = doubled
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        training.inputs = inputs


def given(name):
    """System, cohort and split of a training."""
    cohort = synthetic_cohort(19, 100, balance=1)
    return SYSTEMS[name], keyed(cohort, 0, 1) if name.endswith("keyed") else cohort, SPLIT


def trained(name):
    return training.train(*given(name), quiet=True)


def main(names, killed, epoch):
    rank, predict, calls = int(os.environ["RANK"]), training._predict, []
    file = Path(os.environ["ECGSTUDY_CACHE"]) / f"validated {rank}.txt"

    def counted(network, x, owner):
        """Predict, and note how many windows this process put through the network."""
        if distributed.size() == 1:
            return predict(network, x, owner)
        calls.append(None)
        if rank == killed and len(calls) == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

        def note(_, given):
            with file.open("a") as out:
                out.write(f"{len(given[0])}\n")

        hook = network.register_forward_pre_hook(note)
        try:
            return predict(network, x, owner)
        finally:
            hook.remove()

    training._predict = counted
    with in_float64():
        for name in names.split("; "):
            trained(name)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
