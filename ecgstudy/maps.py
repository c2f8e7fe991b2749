"""Maps: what each moment of an ECG contributed to each class. Small functions over a network and a batch.

Each takes a network that gives logits (batch, classes), alone or first of several outputs, for inputs (batch, leads,
samples), and explains it as it is in evaluation mode, whatever its mode. Some also take ``more``: what else the network
is given and is not explained, such as a beat's rhythm. An input of more than twelve rows ends with its validity (1
where the record is, 0 where its padding is), which is never changed and gets no relevance. Maps by algebra give all
classes in one pass, (batch, classes, cells); maps by gradient or by perturbation explain one class a row, (batch,
cells) or (batch, leads, cells). A map is signed: positive supports the class, negative opposes it. The
ReLU that ends Grad-CAM's formula is ``map.clamp(min=0)``.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.data.records import LEADS

Fill = Literal["zero", "bridge"]


class PooledNetwork(Protocol):
    """A network whose logits are a linear head over its feature map, pooled over time."""

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """(batch, leads, samples) → (batch, channels, cells)."""

    def modules(self) -> Iterator[nn.Module]:
        """As ``torch.nn.Module`` has it."""

    def eval(self) -> object:
        """As ``torch.nn.Module`` has it."""


@contextmanager
def evaluating(network: nn.Module | PooledNetwork) -> Iterator[None]:
    """Evaluation mode while inside; then every module is again in the mode that it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def gradients(network: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients, also under ``torch.no_grad()``.

    Raises
    ------
    RuntimeError
        under ``torch.inference_mode()``, and for a network that was made there: torch keeps nothing for gradients.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "this map needs gradients, which torch.inference_mode() forbids: leave it, or use torch.no_grad()"
        )
    if any(parameter.is_inference() for parameter in network.parameters()):
        raise RuntimeError(
            f"{type(network).__name__} was made under torch.inference_mode(), which keeps no gradients: make it outside"
        )
    with evaluating(network), torch.enable_grad():
        yield


def logits_of(network: nn.Module, x: Tensor, *more: Tensor) -> Tensor:
    """Logits (batch, classes) of inputs: what the network gives, or the first of several things that it gives.

    ``more`` is what else the network takes, (batch, ...) each.

    Raises
    ------
    ValueError
        for an output of another shape.
    """
    given = network(x, *more)
    logits = given[0] if isinstance(given, (tuple, list)) and given else given
    if not isinstance(logits, Tensor) or logits.shape[:1] != x.shape[:1] or logits.dim() != 2:
        about = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{type(network).__name__} must give logits (batch, classes) for {len(x)} inputs, not {about}")
    return logits


@torch.no_grad()
def cam(network: PooledNetwork, x: Tensor) -> Tensor:
    """Class activation maps of all classes of a batch, in one pass (Zhou et al. 2016; Lin et al. 2020).

    Parameters
    ----------
    network
        With global average pooling before its head.
    x
        (batch, leads, samples).

    Returns
    -------
    Tensor (batch, classes, cells)
        CAM_c(t) = Σ_k w_ck f_k(t). Its mean over time plus the head's bias is the logit.
    """
    with evaluating(network):
        return torch.einsum("ck,bkt->bct", network.head.weight, network.features(x))


@torch.no_grad()
def max_cam(network: PooledNetwork, x: Tensor) -> Tensor:
    """Class activation maps of all classes where the head follows global *max* pooling: (batch, classes, cells).

    A channel counts only in the (first) cell of its maximum, Σ_k w_ck f_k(t) [t = argmax f_k], so that the sum over
    time plus the head's bias is the logit. ``cam`` of such a network also shows cells that lost to the maximum.
    """
    with evaluating(network):
        features = network.features(x)
    peak, cell = features.max(dim=-1)
    parts = network.head.weight * peak[:, None]  # batch, classes, channels
    maps = parts.new_zeros(*parts.shape[:2], features.shape[-1])
    return maps.scatter_add_(-1, cell[:, None].expand_as(parts), parts)


def grad_cam(
    network: nn.Module,
    layer: str,
    x: Tensor,
    classes: Tensor,
    more: Sequence[Tensor] = (),
    *,
    steps_first: bool = False,
) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): channels of a layer weighted by the time average of their gradient.

    Parameters
    ----------
    layer
        Name of a module of the network whose output, or the first of them, is (batch, channels, cells). Of a module
        that is called several times the last call counts, as in captum.
    x
        (batch, leads, samples).
    classes
        (batch,): the class that each row explains.
    more
        What else the network takes, (batch, ...) each.
    steps_first
        The layer is recurrent and gives its states as (batch, cells, channels). Their gradient is the direct one: how
        a state changes later states is not in it.

    Returns
    -------
    Tensor (batch, cells)
        Σ_k A_k(t) · mean_t ∂logit/∂A_k(t), at least in float32. Under global average pooling it is the CAM over the
        number of cells.

    Raises
    ------
    RuntimeError
        where no gradients are kept: see ``gradients``.
    ValueError
        when the layer is not called, does not reach the logits, or gives something of another shape.
    """
    a, g = _activation_and_gradient(network, layer, x, classes, more)
    if steps_first:
        a, g = a.transpose(1, 2), g.transpose(1, 2)
    return (a * g.mean(dim=-1, keepdim=True)).sum(dim=1)


def grad_cam_plus_plus(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018): only positive gradients weigh, each by α_kt = g² / (2 g² + Σ_t A g³).

    Arguments as for ``grad_cam``; the score is exp(logit), whose own factor is left out: it scales the whole map.
    """
    a, g = _activation_and_gradient(network, layer, x, classes)
    # Divided by g², which a small gradient's would make zero; where g is zero, α weighs nothing.
    below = 2 + a.sum(dim=-1, keepdim=True) * g
    alpha = torch.where(below != 0, 1 / torch.where(below != 0, below, 1), 0)
    return (a * (alpha * g.clamp(min=0)).sum(dim=-1, keepdim=True)).sum(dim=1)


def hires_cam(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
    """HiRes-CAM (Draelos & Carin 2020): Σ_k A_k(t) · ∂logit/∂A_k(t), gradient not averaged over time.

    Arguments as for ``grad_cam``. Under max pooling it is ``max_cam``.
    """
    a, g = _activation_and_gradient(network, layer, x, classes)
    return (a * g).sum(dim=1)


@torch.no_grad()
def occlusion(
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    width: int,
    *,
    fill: Fill = "bridge",
    by_lead: bool = False,
    keep_ends: bool = False,
    more: Sequence[Tensor] = (),
    rows_at_once: int = 1,
    batch: int = 256,
) -> Tensor:
    """How much the logit falls when a window of ``width`` samples is erased (Zeiler & Fergus 2014).

    Parameters
    ----------
    keep_ends
        Leave the first and the last sample of each window, so that a bridge joins the window's own ends.
    more
        What else the network takes, (batch, ...) each.
    rows_at_once, batch
        So many inputs, times so many windows of each, make a batch.

    Returns
    -------
    Tensor (batch, cells) or, ``by_lead``, (batch, leads, cells)
        Cells of ``width`` samples side by side, the last may be shorter.
    """
    leads, samples = min(x.shape[1], len(LEADS)), x.shape[2]
    cells = -(-samples // width)
    rows = leads if by_lead else 1
    at = torch.arange(samples)
    windows = at // width == torch.arange(cells)[:, None]
    if keep_ends:
        windows &= (at % width > 0) & (at % width < width - 1) & (at < samples - 1)
    masks = torch.zeros(rows, cells, rows, samples, dtype=torch.bool)
    for row in range(rows):
        masks[row, :, row] = windows
    masks = masks.flatten(0, 1)
    drops = []
    with evaluating(network):
        whole = logits_of(network, x, *more).gather(1, classes[:, None])
        for part, c, before, *rest in zip(*(t.split(rows_at_once) for t in (x, classes, whole, *more)), strict=True):
            after = []
            for m in masks.split(batch):
                each, *others = (t.repeat_interleave(len(m), dim=0) for t in (part, *rest))
                logits = logits_of(network, erase(each, m.repeat(len(part), 1, 1), fill), *others)
                after.append(logits.unflatten(0, (len(part), -1))[range(len(part)), :, c])
            drops.append(before - torch.cat(after, dim=1))
    return torch.cat(drops).reshape(len(x), *([leads] if by_lead else []), cells)


def erase(x: Tensor, mask: Tensor, fill: Fill) -> Tensor:
    """Replace masked samples of (batch, leads, samples); a row beyond the twelve leads stays as it is.

    Parameters
    ----------
    mask
        (batch, 1 or leads, samples) booleans: True is erased.
    fill
        ``zero``; or ``bridge``, the straight line between what stands on either side (level from there at the ends,
        zero where a lead has nothing left).
    """
    leads = x[:, : len(LEADS)]
    mask = mask.expand_as(leads)
    if fill == "zero":
        new = torch.zeros_like(leads)
    elif fill == "bridge":
        new = _bridge(leads, mask)
    else:
        raise ValueError(f"fill by 'zero' or 'bridge', not {fill!r}")
    return torch.cat([torch.where(mask, new, leads), x[:, len(LEADS) :]], dim=1)


def _bridge(x: Tensor, mask: Tensor) -> Tensor:
    n = x.shape[-1]
    at = torch.arange(n).expand_as(x)
    left = torch.where(mask, -1, at).cummax(dim=-1).values
    right = torch.where(mask, n, at).flip(-1).cummin(dim=-1).values.flip(-1)
    first, last = torch.where(left < 0, right, left), torch.where(right >= n, left, right)
    share = (at - first).to(x) / (last - first).clamp(min=1).to(x)
    begin, end = (x.gather(-1, side.clamp(0, n - 1)) for side in (first, last))
    return torch.lerp(begin, end, share).masked_fill(mask.all(dim=-1, keepdim=True), 0)


@contextmanager
def _recorded(layer: nn.Module, *, apart: bool = False) -> Iterator[list[Tensor]]:
    """What the layer gives at each call while inside; the hook goes whatever happens.

    The network goes on with a copy, so that what it does in place afterwards leaves the record as it is. ``apart``: the
    record is where gradients end, whatever is frozen, or computed without gradients, before it.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, given: Any) -> Any:
        several = isinstance(given, (tuple, list)) and len(given) > 0
        first = given[0] if several else given
        if not isinstance(first, Tensor):
            raise ValueError(f"a layer must give a tensor, or several, not {type(first).__name__}: name another layer")
        with torch.enable_grad():
            kept.append(first.detach().clone().requires_grad_() if apart else first.clone())
            copy = kept[-1].clone()
        if not several:
            return copy
        rest = [copy, *given[1:]]
        return given._make(rest) if hasattr(given, "_make") else type(given)(rest)

    hook = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def _activation_and_gradient(
    network: nn.Module, layer: str, x: Tensor, classes: Tensor, more: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Output of a layer at its last call and the gradient of each row's logit there, in float32 or better."""
    with gradients(network):
        with _recorded(network.get_submodule(layer), apart=True) as kept:
            logits = logits_of(network, x.detach().clone(), *more)
        if not kept:
            raise ValueError(f"{type(network).__name__} never calls its layer {layer!r}: name one that it does")
        a = kept[-1]
        chosen = logits.gather(1, classes[:, None]).sum()
        reached = torch.autograd.grad(chosen, a, allow_unused=True) if chosen.requires_grad else (None,)
    if reached[0] is None:
        raise ValueError(f"no logit depends on what the layer {layer!r} gives: name one on the way to the logits")
    if a.dim() != 3:
        raise ValueError(f"the layer {layer!r} gives {tuple(a.shape)}, not (batch, channels, cells): name another one")
    kind = torch.promote_types(a.dtype, torch.float32)
    return a.detach().to(kind), reached[0].to(kind)


class Scale(NamedTuple):
    """How coarse a map is, in samples of the input: of a cell, of all that a cell sees, and of 90 % of its gradient."""

    stride: float
    field: int
    effective: int


def scale(network: nn.Module, layer: str, x: Tensor) -> Scale:
    """Measure stride and receptive field of a layer.

    The stride is how many samples an input must grow by for one cell more. The field is where the gradient of the
    middle cell with respect to real inputs is not zero; it may miss samples at its ends that no input of the batch
    (batch, leads, samples) brings to bear. ``effective`` is the span that leaves 5 % of the absolute gradient out on
    either side (Luo et al. 2016).

    Raises
    ------
    ValueError
        when no input moves the middle cell.
    """
    module = network.get_submodule(layer)
    with gradients(network):
        with _recorded(module) as kept:
            network(x := x.detach().clone().requires_grad_())
        cells = kept[-1].shape[-1]
        gradient = torch.autograd.grad(kept[-1][..., cells // 2].sum(), x)[0][:, : len(LEADS)]
    seen = gradient.double().abs().sum(dim=(0, 1))
    if not seen.any():
        raise ValueError(f"no input moves the middle cell of {layer!r}")
    within = torch.nonzero(seen).flatten()
    mass = seen.cumsum(0) / seen.sum()
    span = torch.searchsorted(mass, torch.tensor([0.05, 0.95], dtype=mass.dtype))
    return Scale(_stride(network, module, x[:1].detach()), int(within[-1] - within[0]) + 1, int(span[1] - span[0]) + 1)


@torch.no_grad()
def _stride(network: nn.Module, layer: nn.Module, x: Tensor) -> float:
    """Samples from the length at which one cell more begins to that of the next; of a fixed number, their mean."""

    def cells(samples: int) -> int:
        longer = nn.functional.pad(x, (0, samples - x.shape[-1]), mode="replicate")
        with evaluating(network), _recorded(layer) as kept:
            try:
                network(longer)
            except RuntimeError:  # of a head for one length alone: the layer has been seen
                if not kept:
                    raise
        return kept[-1].shape[-1]

    now = cells(x.shape[-1])
    lengths = range(x.shape[-1], x.shape[-1] + 3 * -(-x.shape[-1] // now) + 3)
    first, second = (bisect_left(lengths, now + more, key=cells) for more in (1, 2))
    return second - first or x.shape[-1] / now


def upsample(maps: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Spread maps (..., cells) evenly over (..., samples), whatever the cells' stride, which ``at_samples`` knows.

    Linear between the centres of the cells, constant beyond the outermost.
    """
    x = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).reshape(1, -1, maps.shape[-1])
    y = nn.functional.interpolate(x, size=samples, mode="linear", align_corners=False)
    return y.reshape(*maps.shape[:-1], samples).numpy()


def validity(x: Tensor) -> NDArray[np.bool_]:
    """Where each input's record is: (batch, samples), by its last row or, without one, by the zeros at either end."""
    if x.shape[1] > len(LEADS):
        return (x[:, -1] > 0).numpy()
    there = (x != 0).any(dim=1).int()
    return ((there.cummax(-1).values > 0) & (there.flip(-1).cummax(-1).values.flip(-1) > 0)).numpy()


def at_samples(maps: Tensor, stride: int, samples: int) -> NDArray[np.float32]:
    """Maps (..., cells) of cells of ``stride`` samples at the samples of the input: (..., samples).

    Cell i begins at sample i × ``stride``; between the cells' centres the map is linear, beyond the outermost it is
    constant. A last cell that would reach beyond the input ends with it, and its centre is that of what is left of it.
    """
    coarse = maps.detach().float().numpy()
    cells = min(coarse.shape[-1], -(-samples // stride))
    fine = upsample(coarse[..., :cells], cells * stride)[..., :samples]
    fine = np.concatenate([fine, np.repeat(fine[..., -1:], samples - fine.shape[-1], axis=-1)], axis=-1)
    begin = (cells - 1) * stride
    if cells > 1 and samples < begin + stride:
        before, centre = begin - (stride + 1) / 2, (begin + samples - 1) / 2
        tail = np.arange(int(np.ceil(before)), samples)
        share = ((tail - before) / (centre - before)).clip(0, 1).astype(np.float32)
        fine[..., tail] = coarse[..., cells - 2, None] * (1 - share) + coarse[..., cells - 1, None] * share
    return fine


def on_record(maps: Tensor, stride: int, x: Tensor) -> list[NDArray[np.float32]]:
    """Maps (batch, ..., cells) of inputs ``at_samples`` of their records, padding left out: (..., samples) each."""
    fine = at_samples(maps, stride, x.shape[-1])
    return [m[..., valid] for m, valid in zip(fine, validity(x), strict=True)]
