"""Does a map depend on what the network has learnt, and on when things happen? After Adebayo et al. 2018.

In the cascade the layers lose their weights one after the other, from the logits down to the leads, and after each step
the map is compared with that of the whole network. A map that stays the same tells of the record, not of the network.
Records whose samples stand in another order ask the second question: a map that stays where it was tells of places.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecgstudy import maps
from ecgstudy.explain import evaluation, faithfulness, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import Tried


def layers(network: nn.Module, x: torch.Tensor) -> list[str]:
    """Names of the modules that have weights of their own, from the logits down: in the reverse order of their calls.

    A module that a pass of ``x`` does not call, because its weights are used otherwise, comes first. The empty name is
    the network itself, where it has weights outside its modules.
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
        network = faithfulness.randomised(network, part=name, alone=True, redrawn=redrawn, seed=seed)
        yield name, network


def likeness(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of the positive parts of two sets of maps by row: (rows,).

    0 where the second is level; NaN where the first is, which has nothing to lose.
    """
    nothing = np.isnan(trials.agreement(first, first))
    return np.where(nothing, np.nan, np.nan_to_num(trials.agreement(first, second)))


def cascade_maps(
    system: Tried, network: nn.Module, cases: Cases, method: str, *, every: int = 1, seed: int = 0
) -> Iterator[tuple[int, str, NDArray[np.floating]]]:
    """A method's maps along the cascade: step, layer that was lost last, maps (rows, n); first 0, "", the whole's.

    Parameters
    ----------
    every
        Only after the first layer, every so-many-th from it, and the last: for methods that take their time.
    """
    x = cases.inputs(system)
    last = len(layers(network, x[:1]))
    yield 0, "", evaluation.make_maps(method, system, network, cases, x=x, seed=seed)
    for step, (name, lost) in enumerate(cascade(network, x[:1], seed=seed), start=1):
        if step in (1, last) or (step - 1) % every == 0:
            yield step, name, evaluation.make_maps(method, system, lost, cases, x=x, seed=seed)


def moved_in_a_circle(rows: int, n: int, least: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Order of the samples (rows, n) of records that are each moved in a circle by a random ``least`` … n − ``least``.

    Everything but the place stays, and one seam comes in where the record's ends meet.
    """
    shift = rng.integers(least, n - least, size=(rows, 1), endpoint=True)
    return (np.arange(n) - shift) % n


def in_pieces(rows: int, n: int, width: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Order of the samples (rows, n) of records cut into pieces of ``width`` samples that change places at random.

    What a piece shows stays, its place, its neighbours and the rhythm do not. What is left of the last piece stays.
    """
    order = np.tile(np.arange(n), (rows, 1))
    whole = n // width * width
    for row in order:
        row[:whole] = row[:whole].reshape(-1, width)[rng.permutation(n // width)].ravel()
    return order


def reordered(cases: Cases, order: NDArray[np.intp]) -> Cases:
    """Cases whose samples stand in another order (rows, n), with all that is known of each sample."""
    by_row, by_lead = order, order[:, None]
    return cases._replace(
        signals=np.take_along_axis(cases.signals, by_lead, axis=-1),
        key=np.take_along_axis(cases.key, by_lead, axis=-1),
        any_class=np.take_along_axis(cases.any_class, by_row, axis=-1),
        st=np.take_along_axis(cases.st, by_row, axis=-1),
        qrs=None if cases.qrs is None else np.take_along_axis(cases.qrs, by_row, axis=-1),
    )


def put_back(values: NDArray, order: NDArray[np.intp]) -> NDArray:
    """Values (rows, n) of reordered samples, each at the sample that it belongs to: the inverse of ``reordered``."""
    return np.take_along_axis(values, order.argsort(axis=-1), axis=-1)
