"""Methods: what may be asked of which system, captum's among them, under one name each.

``explain`` gives the map of one class a row, whatever the system and the method, at the samples of the record.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecgstudy import maps
from ecgstudy.data.records import LEADS
from ecgstudy.systems import Explained

# Methods that promise maps whose sum is f(x) − f(0), the change of the logit from a flat line; how much of it one may
# miss, that change taken as at least FLOOR (logits); and at how many steps integrated gradients give up. GradientSHAP
# promises it of the mean over all that it might draw, not of one map.
PROMISING = ("integrated gradients", "DeepLIFT")
TOLERANCE, FLOOR, MOST = 0.01, 0.01, 512


# Whose functions are in ``captum_map``.
CAPTUMS = ("saliency", "input × gradient", "integrated gradients", "GradientSHAP", "DeepLIFT", "guided Grad-CAM")


@dataclass(frozen=True)
class Method:
    """What a method says of itself.

    Parameters
    ----------
    name
        As tables have it.
    gives
        ``layer``: a value for each cell of the feature map, (rows, cells), by a function of network, layer, inputs
        (rows, leads, samples) and classes (rows,). ``samples``: a value for each sample of each lead, (rows, leads,
        samples), by a function of network, inputs and classes; captum's need none. ``windows``: occlusion alone.
    function
        What makes the maps.
    own_if_linear
        Whether a linear head over the pooled feature map makes it one of the system's own maps, up to a factor.
    costly
        Whether it runs the network many times for a map.

    Raises
    ------
    ValueError
        for another ``gives``, and where a function is missing.
    """

    name: str
    gives: Literal["layer", "samples", "windows"]
    function: Callable[..., Tensor] | None = None
    own_if_linear: bool = False
    costly: bool = False

    def __post_init__(self) -> None:
        """See that its maps can be made."""
        if self.gives not in ("layer", "samples", "windows"):
            raise ValueError(f"the method {self.name!r} gives {self.gives!r}: take layer, samples or windows")
        if self.function is None and self.name not in (*CAPTUMS, "occlusion"):
            raise ValueError(f"the method {self.name!r} has no function that makes its maps: give it one")

    def suits(self, system: Explained) -> bool:
        """Whether it tells something of a system that no map of the system's own tells."""
        if self.gives == "layer" and not system.feature_layer:
            return False
        return self.name not in system.rules_miss and not (self.own_if_linear and system.linear_head)


METHODS = {
    method.name: method
    for method in (
        Method("Grad-CAM", "layer", maps.grad_cam, own_if_linear=True),
        Method("Grad-CAM++", "layer", maps.grad_cam_plus_plus),
        Method("HiRes-CAM", "layer", maps.hires_cam, own_if_linear=True),
        Method("saliency", "samples"),
        Method("input × gradient", "samples"),
        Method("integrated gradients", "samples", costly=True),
        Method("GradientSHAP", "samples", costly=True),
        Method("DeepLIFT", "samples"),
        Method("guided Grad-CAM", "samples"),
        Method("occlusion", "windows", costly=True),
    )
}


def methods(system: Explained) -> list[str]:
    """Names of the methods that explain a system, its own first; none that is another by identity."""
    return [*system.own_maps, *(name for name, method in METHODS.items() if method.suits(system))]


def explain(
    system: Explained,
    method: str,
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    *,
    by_lead: bool = False,
    width: int = 25,
    batch: int = 64,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Map of one class a row, at the samples of its record.

    Parameters
    ----------
    system, method
        See ``methods``.
    network
        It is explained as it is in evaluation mode.
    x
        Inputs (rows, leads, samples) of the system's ``windows``, their records of one length.
    classes
        (rows,) the class that each row explains.
    by_lead
        Keep the leads apart, where the method tells them apart; else their sum.
    width
        Samples that occlusion erases at once.
    batch
        Rows at a time; a row's map does not depend on the others.
    seed
        Of what a method draws, the same for every row.

    Returns
    -------
    array (rows, n) or (rows, leads, n)
        Signed: positive values support the class.
    """
    parts = []
    options: dict[str, Any]
    stride: Any  # a network's attribute, which torch's stubs do not know
    for part, c in zip(x.split(batch), classes.split(batch), strict=True):
        if method in system.own_maps:
            with torch.no_grad(), maps.evaluating(network):
                cells, stride = system.own_maps[method](network, part)[range(len(part)), c], network.stride
        elif method not in METHODS:
            known = ", ".join(methods(system))
            raise ValueError(f"no method {method!r}; of {system.name} there are {known}")
        elif METHODS[method].gives == "layer":
            made, stride = _function(method)(network, system.feature_layer, part, c), network.stride
            cells = _fits(method, made, (len(part), None))
        elif METHODS[method].gives == "samples":
            options = {"layer": system.feature_layer, "stride": network.stride, "seed": seed}
            captums = METHODS[method].function is None
            made = captum_map(method, network, part, c, **options) if captums else _function(method)(network, part, c)
            cells, stride = _fits(method, made, (len(part), min(part.shape[1], len(LEADS)), part.shape[2])), 1
        else:
            cells, stride = maps.occlusion(network, part, c, width, by_lead=by_lead), width
        if cells.dim() == 3 and not by_lead:
            cells = cells.sum(dim=1)
        parts += maps.on_record(cells, stride, part)
    return np.stack(parts)


def _function(method: str) -> Callable[..., Tensor]:
    function = METHODS[method].function
    assert function is not None  # Method has seen to it
    return function


def _fits(method: str, made: Any, shape: tuple[int | None, ...]) -> Tensor:
    """Maps of a shape (None: any length), all finite; else an error that names the method."""
    found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    wanted = tuple(a if b is None else b for a, b in zip(found, shape, strict=False))
    if not isinstance(made, Tensor) or found != wanted or len(found) != len(shape):
        like = ", ".join("cells" if length is None else f"{length}" for length in shape)
        raise ValueError(f"the method {method!r} gave maps {found}, where ({like}) is wanted")
    if not torch.isfinite(made).all():
        raise ValueError(f"the method {method!r} gave maps with NaN or infinity")
    return made


class IncompleteMap(UserWarning):
    """A map that should sum to f(x) − f(0), the change of the logit from a flat line, misses too much of it."""


def completeness(network: nn.Module, x: Tensor, classes: Tensor, relevance: Tensor) -> Tensor:
    """What maps (batch, leads, samples) miss of the change of their logit from a flat line, as a share: (batch,).

    (f(x) − f(0) − Σ map) / max(|f(x) − f(0)|, ``FLOOR``); the validity row of the inputs stays as it is.
    """
    change, scale = _change(_Joined(network), x[:, : len(LEADS)], x[:, len(LEADS) :], classes)
    return (change - relevance.double().sum(dim=(1, 2))) / scale


def captum_map(
    method: str,
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    *,
    layer: str = "",
    stride: int | None = None,
    steps: int = 32,
    seed: int = 0,
) -> Tensor:
    """Relevance of every sample of every lead by a method of captum's: (batch, leads, samples).

    A row's map depends on nothing but the row: each is made as if it were alone.

    Parameters
    ----------
    method
        ``saliency`` (absolute gradient), ``input × gradient``, ``integrated gradients``, ``DeepLIFT``,
        ``GradientSHAP`` (these three from a flat line) or ``guided Grad-CAM`` (of ``layer``).
    stride
        Samples of a cell of ``layer``, which stand at i × ``stride``; the network's own by default or, if it has none,
        samples over cells.
    steps
        Of the integral at least, and samples of GradientSHAP.
    seed
        Of GradientSHAP's samples, which are the same for every row; no global generator is touched.

    Raises
    ------
    RuntimeError
        where no gradients are kept: see ``maps.gradients``.
    ValueError
        for another method; for guided Grad-CAM when the network rectifies outside ``nn.ReLU``, whose rule would pass by
        it, or when it is not known where the layer's cells stand; for DeepLIFT when what the network computes outside
        modules with rules is not linear (attention, a functional softmax, a product of activations …), when such a
        module is called twice, and when the map is not complete.

    Warns
    -----
    IncompleteMap
        when ``integrated gradients``, which are refined until they miss at most ``TOLERANCE`` of f(x) − f(0), still
        miss more at ``MOST`` steps.

    Notes
    -----
    ``GradientSHAP`` is complete on average over draws only. One map of 32 samples misses much of f(x) − f(0): in the
    study's five systems 13 to 39 % (median), where integrated gradients, which it estimates, miss less than 1 %.
    """
    if method not in CAPTUMS:
        raise ValueError(f"no method {method!r} of captum here; there are {', '.join(CAPTUMS)}")
    with maps.gradients(network), warnings.catch_warnings():
        # That it sets hooks and wants gradients of its input.
        warnings.filterwarnings("ignore", module="captum")
        attr = _captum()
        joined = _Joined(_for_rules(network))
        leads, rest = x[:, : len(LEADS)].detach().clone(), x[:, len(LEADS) :]
        if not joined(leads[:1].requires_grad_(), rest[:1]).requires_grad:
            raise ValueError(f"no gradient of {type(network).__name__} reaches its input: it detaches what it computes")
        options: dict[str, Any] = {"target": classes, "additional_forward_args": (rest,)}
        match method:
            case "saliency":
                m = attr.Saliency(joined).attribute(leads.requires_grad_(), **options)
            case "input × gradient":
                m = attr.InputXGradient(joined).attribute(leads.requires_grad_(), **options)
            case "guided Grad-CAM":
                _check_rectifiers(joined, leads[:1], rest[:1])
                m = attr.GuidedBackprop(joined).attribute(leads.requires_grad_(), **options)
                m = m * _placed(network, maps.grad_cam(network, layer, x, classes).clamp(min=0), stride, x.shape[-1])
            case "DeepLIFT":
                _check_rules(joined, leads[:1], rest[:1])
                # Row by row: where a maximum does not change, captum 0.9 takes the gradient of the batch's first row.
                rows = zip(leads.split(1), rest.split(1), classes, strict=True)
                explainer = attr.DeepLift(joined)
                m = torch.cat([explainer.attribute(a, target=int(c), additional_forward_args=(b,)) for a, b, c in rows])
            case "GradientSHAP":
                drawn = torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                ways = [_Way(joined, *row) for row in zip(leads, rest, classes, strict=True)]
                m = torch.stack([way.at(drawn)[1].mean(dim=0) * way.row for way in ways])
            case _:
                rows = zip(leads, rest, classes, strict=True)
                m = torch.stack([_integrated(_Way(joined, *row), steps) for row in rows])
    if method in PROMISING:
        missed = completeness(network, x, classes, m.detach()).abs()
        if few := int((~(missed <= TOLERANCE)).sum()):
            said = (
                f"{method} of {type(network).__name__} is not complete: in {few} of {len(x)} rows it misses up to "
                f"{missed.max():.1%} of f(x) − f(0), more than the {TOLERANCE:.0%} that it may"
            )
            if method == "DeepLIFT":
                raise ValueError(f"{said}: take integrated gradients")
            warnings.warn(said, IncompleteMap, stacklevel=2)
    return m.detach()


def _captum() -> ModuleType:
    """captum.attr, loaded when it is first asked for: it brings IPython and pyplot, almost a second."""
    with warnings.catch_warnings():  # in a notebook without ipywidgets its progress bar complains
        warnings.filterwarnings("ignore", message="IProgress not found")
        from captum import attr
    return attr


@cache
def _ruled() -> set[type[nn.Module]]:
    """Modules with a rule of DeepLIFT. captum's for softmax takes the mean over the batch, which no time axis is."""
    _captum()
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    return set(SUPPORTED_NON_LINEAR) - {nn.Softmax}


class _Joined(nn.Module):
    """The network with its validity row apart, so that no method changes or explains it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, leads: Tensor, rest: Tensor) -> Tensor:
        return maps.logits_of(self.network, torch.cat([leads, rest], dim=1))


def _for_rules(network: nn.Module) -> nn.Module:
    """A copy that captum's rules can be trusted with.

    Pooling is torch's own, which DeepLIFT knows by its type: a subclass would pass as linear. Every module with a rule
    gets a tensor of its own: of two in a row, ReLU and pooling for instance, captum 0.9 gives the first the gradient
    from before the second's rule (its issue 1104, mended since).
    """
    network = copy.deepcopy(network).eval()
    module: Any  # the stubs of torch let no attribute of a module be a number
    for module in network.modules():
        if isinstance(module, nn.MaxPool1d):
            module.__class__ = nn.MaxPool1d
        if type(module) in _ruled():
            module.register_forward_pre_hook(lambda _, inputs: tuple(x.clone() for x in inputs))
        if getattr(module, "inplace", False):
            module.inplace = False
    return network


@torch.no_grad()
def _change(joined: nn.Module, leads: Tensor, rest: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) − f(0) of each row's logit, and what a share of it is a share of."""
    with maps.evaluating(joined):
        pairs = [
            joined(a, b).double() - joined(torch.zeros_like(a), b).double()
            for a, b in zip(leads.split(64), rest.split(64), strict=True)
        ]
    change = torch.cat(pairs).gather(1, classes[:, None])[:, 0]
    return change, change.abs().clamp(min=FLOOR)


class _Way(NamedTuple):
    """The way of one row (leads, samples) from zero, its validity (0 or 1, samples) staying; which logit is asked."""

    joined: nn.Module
    row: Tensor
    rest: Tensor
    c: Tensor

    def logits(self, shares: Tensor) -> Tensor:
        """Logits (n,) at shares of the way."""
        return torch.cat([self._at(part)[1].detach().double() for part in shares.split(64)])

    def at(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n,) and their gradients (n, leads, samples) at shares of the way."""
        parts = []
        for part in shares.split(64):
            x, logits = self._at(part)
            parts.append((logits.detach().double(), torch.autograd.grad(logits.sum(), x)[0]))
        logits, gradients = (torch.cat(several) for several in zip(*parts, strict=True))
        return logits, gradients

    def _at(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        x = (shares.to(self.row.dtype)[:, None, None] * self.row.detach()).requires_grad_(torch.is_grad_enabled())
        return x, self.joined(x, self.rest.expand(len(shares), -1, -1))[:, self.c]


def _integrated(way: _Way, steps: int) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017) of one row by the midpoint rule, in steps of unequal width.

    What each step misses is known, since its true integral is the change of the logit: the steps that miss most are
    halved until the whole misses little enough.
    """

    def looked(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logit and gradient in the middle of steps, and the integral that these stand for."""
        logit, gradient = way.at((left + right) / 2)
        return logit, gradient, (right - left) * (gradient * way.row).double().sum(dim=(1, 2))

    edges = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    with torch.no_grad():
        logits = way.logits(edges)
    enough = TOLERANCE * max(abs(float(logits[-1] - logits[0])), FLOOR)
    left, right, before, after = edges[:-1], edges[1:], logits[:-1], logits[1:]
    parts: tuple[Tensor, ...] = (left, right, before, after, *looked(left, right))
    while True:
        left, right, before, after, within, gradient, integral = parts
        missed = after - before - integral
        # A little less than enough, for the sum in the network's own precision; NaN is never enough.
        if abs(float(missed.sum())) <= 0.9 * enough or len(left) >= MOST:
            return ((right - left).to(gradient.dtype)[:, None, None] * gradient).sum(dim=0) * way.row
        worst = torch.zeros(len(left), dtype=torch.bool)
        worst[missed.abs().topk(min(8, len(left))).indices] = True
        middle = (left + right)[worst] / 2
        begin, end = torch.cat([left[worst], middle]), torch.cat([middle, right[worst]])
        ends = torch.cat([before[worst], within[worst]]), torch.cat([within[worst], after[worst]])
        halves = (begin, end, *ends, *looked(begin, end))
        parts = tuple(torch.cat([kept[~worst], new]) for kept, new in zip(parts, halves, strict=True))


def _placed(network: nn.Module, cells: Tensor, stride: int | None, samples: int) -> Tensor:
    """Cells (batch, cells) at their samples, (batch, 1, samples): cell i from i × stride, the last one to the end."""
    count = cells.shape[-1]
    stride = stride or getattr(network, "stride", None) or (samples // count if samples % count == 0 else None)
    if stride is None:
        raise ValueError(f"{samples} samples are not a whole number for each of {count} cells: name the layer's stride")
    if (count - 1) * stride >= samples:
        raise ValueError(f"{count} cells of stride={stride} reach beyond {samples} samples: name the layer's stride")
    at = (torch.arange(samples) // stride).clamp(max=count - 1)
    return cells[:, None, at]


_HIDDEN = ("relu", "relu_", "relu6", "hardtanh", "threshold", "clamp", "clamp_", "clamp_min", "clamp_min_", "clip")


class _CountReLU(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").removeprefix("_")
        if name in _HIDDEN:
            low = args[1] if len(args) > 1 else (kwargs or {}).get("min")
            # A clamp at another border than zero rectifies nothing.
            self.calls += not name.startswith("cl") or (isinstance(low, (int, float)) and low == 0)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _check_rectifiers(joined: nn.Module, leads: Tensor, rest: Tensor) -> None:
    by_modules = 0

    def count(*_: Any) -> None:
        nonlocal by_modules
        by_modules += 1

    hooks = [m.register_forward_hook(count) for m in joined.modules() if isinstance(m, nn.ReLU)]
    try:
        with _CountReLU() as counter:
            joined(leads, rest)
    finally:
        for hook in hooks:
            hook.remove()
    if counter.calls > by_modules:
        name = type(joined.network).__name__
        raise ValueError(f"{name} rectifies outside nn.ReLU, where captum's rule would not apply")


@torch.no_grad()
def _check_rules(joined: nn.Module, leads: Tensor, rest: Tensor) -> None:
    """Refuse a network that is not linear but for its modules with rules, once each.

    With something linear in the place of every such module, f(a + b) + f(0) must be f(a) + f(b).
    """
    _check_rectifiers(joined, leads, rest)
    name, called = type(joined.network).__name__, set()

    def linear(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if module in called:
            raise ValueError(f"{name} calls one {type(module).__name__} twice, where DeepLIFT needs two: make another")
        called.add(module)
        (x,) = inputs
        if x.shape == output.shape:
            return x
        # Of each window of a pooling its last sample.
        places = torch.arange(x[0, 0].numel(), dtype=torch.float64).reshape(1, *x.shape[2:])
        last = module.forward(places.expand(1, *places.shape)).flatten().long()
        return x.flatten(2)[..., last].reshape(output.shape)

    hooks = [m.register_forward_hook(linear) for m in joined.modules() if type(m) in _ruled()]

    def at(x: Tensor) -> Tensor:
        called.clear()
        return joined(x, rest).double()

    other = torch.randn(leads.shape, generator=torch.Generator().manual_seed(0)).to(leads)
    other *= 10 * leads.std()  # far enough for what bends only there
    try:
        nothing, one, two, both = (at(x) for x in (torch.zeros_like(leads), leads, other, leads + other))
    finally:
        for hook in hooks:
            hook.remove()
    bent = (both + nothing - one - two).abs().max()
    if not bent <= TOLERANCE * ((one - nothing).abs() + (two - nothing).abs()).max():
        raise ValueError(
            f"{name} computes what is not linear outside of modules with a rule (attention, say, or a functional "
            "softmax), which DeepLIFT would pass by: take integrated gradients"
        )
