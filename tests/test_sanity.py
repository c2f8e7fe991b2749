"""The cascade takes the layers' weights one after the other, from the logits down, and tells what maps lose."""

import numpy as np
import torch
from torch import nn

from ecgstudy.explain import outside, sanity


class Net(nn.Module):
    """Its modules are not in the order in which they are called, and one weight is no module's that is called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(6, 2)
        self.second = nn.Conv1d(4, 6, 5, padding=2)
        self.first = nn.Conv1d(2, 4, 5, padding=2)
        self.norm = nn.BatchNorm1d(4)
        self.free = nn.ParameterList([nn.Parameter(torch.ones(6))])

    def features(self, x):
        return torch.relu(self.second(torch.relu(self.norm(self.first(x))))) * self.free[0][:, None]

    def forward(self, x):
        return self.head(self.features(x).mean(dim=-1))


def cam(network, x):
    return torch.einsum("ck,bkt->bct", network.head.weight, network.features(x))


X = torch.randn(3, 2, 60, generator=torch.Generator().manual_seed(1))


def test_layers_come_from_the_logits_down():
    assert sanity.layers(Net(), X) == ["free", "head", "second", "norm", "first"]


def test_each_step_takes_one_layer_more_and_leaves_the_network():
    network = Net().eval()
    before = {name: p.clone() for name, p in network.named_parameters()}
    lost = set()
    for name, after in sanity.cascade(network, X, seed=1):
        lost.add(name)
        for key, p in after.named_parameters():
            changed = not torch.equal(p, before[key])
            # A redrawn norm has the ones and zeros that it began with.
            assert changed == (key.rpartition(".")[0] in lost and not key.startswith(("norm", "free"))), (name, key)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_map_of_the_network_loses_and_one_of_the_record_does_not():
    rng = np.random.default_rng(0)
    signals, key = rng.standard_normal((6, 2, 60)), np.zeros((6, 60), dtype=bool)
    key[:, 10:20] = True
    cases = outside.cases_of(signals, [0, 1] * 3, key, fs=100, known=["a", "b"])
    about, wrapped = outside.explained(Net(), cases, own={"CAM": cam}, layer="first")
    (_, _, whole), *steps = sanity.cascade_maps(about, wrapped, cases, "CAM")
    names = ["network.free", "network.head", "network.second", "network.norm", "network.first"]
    assert [(step, name) for step, name, _ in steps] == list(enumerate(names, start=1))
    assert np.abs(sanity.likeness(whole, steps[-1][2])).mean() < 0.5
    (_, _, whole), *steps = sanity.cascade_maps(about, wrapped, cases, "signal energy")
    assert all(np.array_equal(after, whole) for *_, after in steps)
