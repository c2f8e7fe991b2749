"""Maps: what each moment of an ECG contributed to each class. Small functions over a network and a batch.

Each takes a network in evaluation mode that gives logits (batch, classes) for inputs (batch, leads, samples); an input
of more than twelve rows ends with its validity (1 where the record is, 0 where its padding is), which is never changed
and gets no relevance. Maps by algebra give all classes in one pass, (batch, classes, cells); maps by gradient or by
perturbation explain one class a row, (batch, cells) or (batch, leads, cells). A map is signed: positive speaks for the
class, negative against it. The ReLU that ends Grad-CAM's formula is ``map.clamp(min=0)``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal
from torch import Tensor, nn

from ecgstudy.data.records import LEADS

Fill = Literal["zero", "bridge"]


class PooledNetwork(Protocol):
    """A network whose logits are a linear head over its feature map, pooled over time."""

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """(batch, leads, samples) → (batch, channels, cells)."""


@torch.no_grad()
def cam(network: PooledNetwork, x: Tensor) -> Tensor:
    """Class activation maps of all classes of a batch, in one pass (Zhou et al. 2016; Lin et al. 2020).

    Parameters
    ----------
    network
        In evaluation mode, with global average pooling before its head.
    x
        (batch, leads, samples).

    Returns
    -------
    Tensor (batch, classes, cells)
        CAM_c(t) = Σ_k w_ck f_k(t). Its mean over time plus the head's bias is the logit.
    """
    return torch.einsum("ck,bkt->bct", network.head.weight, network.features(x))


@torch.no_grad()
def max_cam(network: PooledNetwork, x: Tensor) -> Tensor:
    """Class activation maps of all classes where the head follows global *max* pooling: (batch, classes, cells).

    A channel counts only in the (first) cell of its maximum, Σ_k w_ck f_k(t) [t = argmax f_k], so that the sum over
    time plus the head's bias is the logit. ``cam`` of such a network also shows cells that lost to the maximum.
    """
    features = network.features(x)
    peak, cell = features.max(dim=-1)
    parts = network.head.weight * peak[:, None]  # batch, classes, channels
    maps = parts.new_zeros(*parts.shape[:2], features.shape[-1])
    return maps.scatter_add_(-1, cell[:, None].expand_as(parts), parts)


def grad_cam(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): channels of a layer weighted by the time average of their gradient.

    Parameters
    ----------
    layer
        Name of a module of the network whose output is (batch, channels, cells).
    x
        (batch, leads, samples).
    classes
        (batch,): the class that each row explains.

    Returns
    -------
    Tensor (batch, cells)
        Σ_k A_k(t) · mean_t ∂logit/∂A_k(t). Under global average pooling it is the CAM over the number of cells.
    """
    a, g = _activation_and_gradient(network, layer, x, classes)
    return (a * g.mean(dim=-1, keepdim=True)).sum(dim=1)


def grad_cam_plus_plus(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018): only positive gradients weigh, each by α_kt = g² / (2 g² + Σ_t A g³).

    Arguments as for ``grad_cam``; the score is exp(logit), whose own factor is left out: it scales the whole map.
    """
    a, g = _activation_and_gradient(network, layer, x, classes)
    below = 2 * g**2 + a.sum(dim=-1, keepdim=True) * g**3
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1), 0)
    return (a * (alpha * g.clamp(min=0)).sum(dim=-1, keepdim=True)).sum(dim=1)


def hires_cam(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """HiRes-CAM (Draelos & Carin 2020): Σ_k A_k(t) · ∂logit/∂A_k(t), gradient not averaged over time.

    Arguments as for ``grad_cam``. Under max pooling it is ``max_cam``.
    """
    a, g = _activation_and_gradient(network, layer, x, classes)
    return (a * g).sum(dim=1)


def lstm_grad_cam(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM over the hidden states (batch, steps, units) of a recurrent layer: (batch, steps).

    α_k = mean_t ∂logit/∂h_tk and L_t = Σ_k α_k h_tk, after Jones et al. 2022, whose formula is not published. The
    head must pool all states: with the last state only, no earlier one has a direct gradient.
    """
    h, g = _activation_and_gradient(network, layer, x, classes)
    return (h * g.mean(dim=1, keepdim=True)).sum(dim=-1)


@torch.no_grad()
def occlusion(
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    width: int,
    *,
    fill: Fill = "bridge",
    by_lead: bool = False,
    batch: int = 256,
) -> Tensor:
    """How much the logit falls when a window of ``width`` samples is erased (Zeiler & Fergus 2014).

    Returns
    -------
    Tensor (batch, cells) or, ``by_lead``, (batch, leads, cells)
        Cells of ``width`` samples side by side, the last may be shorter.
    """
    leads, samples = min(x.shape[1], len(LEADS)), x.shape[2]
    cells = -(-samples // width)
    rows = leads if by_lead else 1
    windows = torch.arange(samples) // width == torch.arange(cells)[:, None]
    masks = torch.zeros(rows, cells, rows, samples, dtype=torch.bool)
    for row in range(rows):
        masks[row, :, row] = windows
    masks = masks.flatten(0, 1)
    whole = network(x).gather(1, classes[:, None])
    drops = []
    for one, c, before in zip(x, classes, whole, strict=True):
        erased = (erase(one.expand(len(m), -1, -1), m, fill) for m in masks.split(batch))
        drops.append(before - torch.cat([network(e)[:, c] for e in erased]))
    return torch.stack(drops).reshape(len(x), *([leads] if by_lead else []), cells)


def erase(x: Tensor, mask: Tensor, fill: Fill | Tensor) -> Tensor:
    """Replace masked samples of (batch, leads, samples); a row beyond the twelve leads stays as it is.

    Parameters
    ----------
    mask
        (batch, 1 or leads, samples) booleans: True is erased.
    fill
        ``zero``; ``bridge``, the straight line between what stands on either side (level from there at the ends, zero
        where a lead has nothing left); or a tensor like x to take the samples from.
    """
    leads = x[:, : len(LEADS)]
    mask = mask.expand_as(leads)
    if isinstance(fill, Tensor):
        new = fill[:, : len(LEADS)]
    elif fill == "zero":
        new = torch.zeros_like(leads)
    elif fill == "bridge":
        new = _bridge(leads, mask)
    else:
        raise ValueError(f"fill by 'zero', 'bridge' or a tensor, not {fill!r}")
    return torch.cat([torch.where(mask, new, leads), x[:, len(LEADS) :]], dim=1)


def _bridge(x: Tensor, mask: Tensor) -> Tensor:
    n = x.shape[-1]
    at = torch.arange(n).expand_as(x)
    left = torch.where(mask, -1, at).cummax(dim=-1).values
    right = torch.where(mask, n, at).flip(-1).cummin(dim=-1).values.flip(-1)
    first, last = torch.where(left < 0, right, left), torch.where(right >= n, left, right)
    share = (at - first).to(x) / (last - first).clamp(min=1).to(x)
    ends = (x.gather(-1, side.clamp(0, n - 1)) for side in (first, last))
    return torch.lerp(*ends, share).masked_fill(mask.all(dim=-1, keepdim=True), 0)


@contextmanager
def _recorded(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What the layer gives while inside; the hook goes whatever happens."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _m, _i, o: kept.append(o if isinstance(o, Tensor) else o[0]))
    try:
        yield kept
    finally:
        hook.remove()


def _activation_and_gradient(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad(), _recorded(network.get_submodule(layer)) as kept:
        logits = network(x.detach().clone().requires_grad_())
    gradient = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept[0])[0]
    return kept[0].detach(), gradient


class Scale(NamedTuple):
    """How coarse a map is, in samples of the input: of a cell, of all that a cell sees, and of 90 % of its gradient."""

    stride: float
    field: int
    effective: int


def scale(network: nn.Module, layer: str, x: Tensor) -> Scale:
    """Measure stride and receptive field of a layer by the gradient of its middle cell with respect to real inputs.

    The ``field`` may miss samples at its ends that no input of the batch (batch, leads, samples) brings to bear.
    ``effective`` is the span that leaves 5 % of the absolute gradient out on either side (Luo et al. 2016).
    """
    with torch.enable_grad(), _recorded(network.get_submodule(layer)) as kept:
        network(x := x.detach().clone().requires_grad_())
    cells = kept[0].shape[-1]
    gradient = torch.autograd.grad(kept[0][..., cells // 2].sum(), x)[0][:, : len(LEADS)]
    seen = gradient.double().abs().sum(dim=(0, 1))
    if not seen.any():
        raise ValueError(f"no input moves the middle cell of {layer!r}")
    within = torch.nonzero(seen).flatten()
    mass = seen.cumsum(0) / seen.sum()
    span = torch.searchsorted(mass, torch.tensor([0.05, 0.95], dtype=mass.dtype))
    return Scale(x.shape[-1] / cells, int(within[-1] - within[0]) + 1, int(span[1] - span[0]) + 1)


def upsample(maps: NDArray[np.float32], samples: int, method: str = "linear") -> NDArray[np.float32]:
    """Bring maps (..., cells) to (..., samples).

    Parameters
    ----------
    method
        ``linear``: between the centres of the cells, constant beyond the outermost. ``fourier``: as CNN-GAP's authors'
        code does it, which rings where a map steps, and joins its ends.
    """
    if method == "fourier":
        return signal.resample(maps, samples, axis=-1).astype(np.float32)
    if method != "linear":
        raise ValueError(f"upsample by 'linear' or 'fourier', not {method!r}")
    x = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).reshape(1, -1, maps.shape[-1])
    y = nn.functional.interpolate(x, size=samples, mode="linear", align_corners=False)
    return y.reshape(*maps.shape[:-1], samples).numpy()


def validity(x: Tensor) -> NDArray[np.bool_]:
    """Where each input's record is: (batch, samples), by its last row or, without one, by the zeros at either end."""
    if x.shape[1] > len(LEADS):
        return (x[:, -1] > 0).numpy()
    there = (x != 0).any(dim=1).int()
    return ((there.cummax(-1).values > 0) & (there.flip(-1).cummax(-1).values.flip(-1) > 0)).numpy()


def on_record(maps: Tensor, stride: int, x: Tensor) -> list[NDArray[np.float32]]:
    """Maps (batch, ..., cells) of inputs at the samples of their records, padding left out: (..., samples) each.

    Cells of ``stride`` samples begin with the input's first; what lies beyond the last takes its value.
    """
    fine = upsample(maps.numpy(), maps.shape[-1] * stride)[..., : x.shape[-1]]
    fine = np.concatenate([fine, np.repeat(fine[..., -1:], x.shape[-1] - fine.shape[-1], axis=-1)], axis=-1)
    return [m[..., valid] for m, valid in zip(fine, validity(x), strict=True)]
