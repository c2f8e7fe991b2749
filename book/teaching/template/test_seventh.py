"""What the system must keep to, whatever becomes of it. Run by ``python -m pytest``."""

import numpy as np
import pytest
import torch
from seventh import SeventhSystem

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import blind, evaluation, methods
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.systems import CATALOGUE


@pytest.fixture(scope="module")
def system():
    torch.manual_seed(0)
    return SeventhSystem()


@pytest.fixture(scope="module")
def cases(system):
    return synthetic_cases(system.fs, 1, seed=1000)


def test_the_study_knows_the_system(system):
    assert CATALOGUE[system.name] is SeventhSystem


def test_there_is_a_logit_for_each_class_and_a_gradient_for_each_parameter(system, cases):
    network = system.network().train()
    logits = network(cases.inputs(system))
    assert logits.shape == (len(cases.classes), len(CLASSES)) and logits.isfinite().all()
    (logits**2).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_it_can_learn_eight_records_by_heart(system, cases):
    network, x = system.network().train(), cases.inputs(system)[:8]
    y = torch.from_numpy(cases.labels[:8]).float()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_map_adds_up_to_the_logit(system, cases):
    """Of a CAM. Whoever has another map writes what is true of that."""
    network, x = system.network().eval(), cases.inputs(system)
    with torch.no_grad():
        logits = network(x)
        added = maps.cam(network, x).mean(dim=-1) + network.head.bias
    np.testing.assert_allclose(added, logits, rtol=1e-4, atol=1e-5)


def test_its_maps_can_be_put_on_trial_beside_those_that_know_no_network(system, cases):
    own = list(system.own_maps)
    assert set(own) <= set(methods.methods(SeventhSystem))
    scores = evaluation.evaluate(system, system.network().eval(), cases, own, costly_every=9)
    assert set(scores.columns.get_level_values("method")) == {*own, *blind.BASELINES}
    assert scores[own[0], "excess mass"].between(-5, 1).all()
