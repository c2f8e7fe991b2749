"""Does a map depend on what the network has learnt? The cascade of Adebayo et al. 2018.

In the cascade the layers lose their weights one after the other, from the logits down to the leads, and after each step
the map is compared with that of the whole network. A map that stays the same tells of the record, not of the network.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecgstudy import maps
from ecgstudy.explain import evaluation, faithfulness, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import Tried


def layers(network: nn.Module, x: torch.Tensor) -> list[str]:
    """Names of the modules that have weights of their own, from the logits down: in the reverse order of their calls.

    A module that a pass of ``x`` does not call, because its weights are used otherwise, comes first.
    """
    with_weights = {
        name: m for name, m in network.named_modules() if next(m.parameters(recurse=False), None) is not None
    }
    called: dict[str, None] = {}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.setdefault(name, None))
        for name, module in with_weights.items()
    ]
    try:
        with torch.no_grad(), maps.evaluating(network):
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [*(name for name in with_weights if name not in called), *reversed(called)]


def cascade(network: nn.Module, x: torch.Tensor, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Networks that have lost ever more: the name of the last layer that lost its weights, and the network.

    Weights are drawn as those of an untrained network where the layer knows how, else shuffled.
    """
    for name in layers(network, x):
        module = network.get_submodule(name)
        redrawn = callable(getattr(module, "reset_parameters", None))
        network = faithfulness.randomised(network, part=name, redrawn=redrawn, seed=seed)
        yield name, network


def cascade_scores(system: Tried, network: nn.Module, cases: Cases, method: str, *, seed: int = 0) -> pd.DataFrame:
    """Agreement of a method's maps with those of the network after each step of the cascade.

    Returns
    -------
    DataFrame
        One row a case, one column a layer, from the logits down: correlation of the positive parts of both maps.
    """
    x = cases.inputs(system)
    whole = evaluation.make_maps(method, system, network, cases, x=x, seed=seed)
    found = {}
    for name, lost in cascade(network, x[:1], seed=seed):
        after = evaluation.make_maps(method, system, lost, cases, x=x, seed=seed)
        found[name] = np.nan_to_num(trials.agreement(whole, after))
    return pd.DataFrame(found).rename_axis(columns="layer")
