"""Trials that change the record or the network: does the answer change where the map says it should?

Rows are explanations as in ``ecgstudy.explain.trials``: maps (rows, n) at the samples of the record, inputs
(rows, leads, samples) that hold the record and its padding. Probabilities are those of each row's class.
"""

import copy
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.explain.trials import relevance
from ecgstudy.maps import Fill, erase, evaluating, logits_of, validity

STEPS = 10  # of erasing: a multiple of five, for the first fifth
Network = TypeVar("Network", bound=nn.Module)


class Curves(NamedTuple):
    """Probability after each step of erasing: of the record (deletion) and of all that is not yet put back (insertion).

    (rows, ``STEPS`` + 1) each; step s has erased or put back the share s / ``STEPS`` of the segments, the
    map's first ones.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Name → (rows,).

        - ``deletion``, ``insertion``: area under the curve (Petsiuk et al. 2018); a good map's deletion is low, its
          insertion high.
        - ``comprehensiveness``: fall of the probability without the first fifth (high is good); ``sufficiency``: fall
          with nothing but the first fifth (low is good) (DeYoung et al. 2020).
        """
        whole, fifth = self.deletion[:, 0], STEPS // 5
        return {
            "deletion": np.asarray(np.trapezoid(self.deletion, axis=1)) / STEPS,
            "insertion": np.asarray(np.trapezoid(self.insertion, axis=1)) / STEPS,
            "comprehensiveness": whole - self.deletion[:, fifth],
            "sufficiency": whole - self.insertion[:, fifth],
        }


def curves(
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    maps: NDArray[np.floating],
    width: int,
    *,
    fill: Fill = "bridge",
    seed: int = 0,
) -> Curves:
    """Erase the record segment by segment in the order of the map's mass, and put it back in the same order.

    Parameters
    ----------
    width
        Samples of a segment. Of segments with equal mass the order is random (``seed``).
    fill
        What stands in for what is erased: see ``maps.erase``.
    """
    segment = _segments(x, width)
    mass = _by_segment(relevance(maps), width)
    noise = np.random.default_rng(seed).random(mass.shape)
    rank = np.lexsort((noise, -mass), axis=1).argsort(axis=1)
    count = mass.shape[1]
    place = torch.from_numpy(np.where(segment < 0, count, np.take_along_axis(rank, segment.clip(0), axis=1)))
    deletion, insertion = [], []
    for step in range(STEPS + 1):
        first = round(count * step / STEPS)
        record = place < count
        deletion.append(_probability(network, erase(x, (place < first)[:, None], fill), classes))
        insertion.append(_probability(network, erase(x, (record & (place >= first))[:, None], fill), classes))
    return Curves(np.stack(deletion, axis=1), np.stack(insertion, axis=1))


class Erasures(NamedTuple):
    """Random erasures and what they cost, the same for every map of the rows.

    Parameters
    ----------
    width
        Samples of a segment.
    erased
        Segments that each erasure takes away, (erasures, rows, segments).
    drop
        By how much the logit of each row's class is lower then, (erasures, rows).
    """

    width: int
    erased: NDArray[np.bool_]
    drop: NDArray[np.float64]


def random_erasures(
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    width: int,
    *,
    samples: int = 30,
    share: float = 0.2,
    seed: int = 0,
) -> Erasures:
    """Set a random share of each record's segments to zero, again and again.

    Parameters
    ----------
    network
        It gives logits (rows, classes); it is run as in evaluation mode.
    x
        Inputs (rows, leads, samples) of records, with their padding.
    classes
        (rows,) the class whose logit is watched.
    width
        Samples of a segment.
    samples
        How many erasures.
    share
        Of the segments that one erasure sets to zero; at least one.
    seed
        Of the choice of segments.
    """
    segment, rng = _segments(x, width), np.random.default_rng(seed)
    count, whole = int(segment.max()) + 1, _logit(network, x, classes)
    erased, drop = [], []
    for _ in range(samples):
        chosen = rng.random((len(x), count)).argsort(axis=1) < max(1, round(share * count))
        mask = torch.from_numpy(np.take_along_axis(chosen, segment.clip(0), axis=1) & (segment >= 0))
        erased.append(chosen)
        drop.append(whole - _logit(network, erase(x, mask[:, None], "zero"), classes))
    return Erasures(width, np.array(erased), np.array(drop))


def infidelity(maps: NDArray[np.floating], erasures: Erasures) -> NDArray[np.float64]:
    """Infidelity (Yeh et al. 2019) of signed maps, with optimal scale, over that of a map of zeros: (rows,) in 0 … 1.

    E[(β·a − d)²] / E[d²] over erasures: a is the sum of the map over what is erased, d the drop of the logit, β the
    scale that makes it smallest. 0: the map predicts every drop. Captum's ``infidelity(normalize=True)`` is the
    numerator.
    """
    parts = _by_segment(np.asarray(maps, dtype=np.float64), erasures.width)
    a, d = (parts * erasures.erased).sum(axis=-1), erasures.drop
    tiny = np.finfo(float).tiny
    beta = (a * d).mean(axis=0) / np.maximum((a**2).mean(axis=0), tiny)
    return ((beta * a - d) ** 2).mean(axis=0) / np.maximum((d**2).mean(axis=0), tiny)


def randomised(
    network: Network, *, part: str = "", alone: bool = False, redrawn: bool = False, seed: int = 0
) -> Network:
    """A copy of a network, in evaluation mode, that has lost what it learned (Adebayo et al. 2018).

    Parameters
    ----------
    part
        Name of the module that loses it; by default the whole network.
    alone
        Only the weights that the module itself has, and none of the modules within it.
    redrawn
        Draw the weights as those of an untrained network, of layers that know how. By default the values within each
        weight are shuffled (our choice), so that its scale stays and no map is empty for that reason alone.
    seed
        Of the order or the weights; no global generator is touched.
    """
    network = copy.deepcopy(network).eval()
    whole = network.get_submodule(part)
    modules = [whole] if alone else list(whole.modules())
    if redrawn:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in modules:
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        return network
    generator = torch.Generator().manual_seed(seed)
    for module in reversed(modules):
        for p in module.parameters(recurse=False):
            order = torch.randperm(p.numel(), generator=generator)
            p.data = p.data.flatten()[order].reshape(p.shape)
    return network


def _segments(x: Tensor, width: int) -> NDArray[np.intp]:
    """Segment of the record that each sample (rows, samples) of the inputs is in, −1 for padding."""
    valid = validity(x)
    return np.where(valid, (valid.cumsum(axis=1) - 1) // width, -1)


def _by_segment(maps: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Sum of maps (rows, n) over each segment: (rows, segments), the last may be shorter."""
    return np.add.reduceat(maps, np.arange(0, maps.shape[1], width), axis=1)


@torch.no_grad()
def _logit(network: nn.Module, x: Tensor, classes: Tensor, batch: int = 256) -> NDArray[np.float64]:
    with evaluating(network):
        logits = torch.cat([logits_of(network, part) for part in x.split(batch)])
    return logits.gather(1, classes[:, None])[:, 0].double().numpy()


def _probability(network: nn.Module, x: Tensor, classes: Tensor) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-_logit(network, x, classes).clip(-500, 500)))
