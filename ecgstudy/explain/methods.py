"""Methods: what may be asked of which system, captum's among them, under one name each.

``explain`` gives the map of one class a row, whatever the system and the method, at the samples of the record.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecgstudy.data.records import LEADS
from ecgstudy.explain import maps

with warnings.catch_warnings():  # in a notebook without ipywidgets, captum's progress bar complains when it is imported
    warnings.filterwarnings("ignore", message="IProgress not found")
    from captum import attr

# The layer of each system whose output is its feature map over time.
LAYERS = {
    "CNN-GAP": "blocks",
    "xECGNet": "backbone",
    "BUTTeam": "last",
    "ECGMaster": "blocks",
    "Local evidence": "join",
    "small GAP": "blocks",
}

# What a system's own algebra or attention says of all classes, (batch, classes, cells), without a gradient.
OWN: dict[str, dict[str, Callable[[Any, Tensor], Tensor]]] = {
    "CNN-GAP": {"CAM": maps.cam},
    "xECGNet": {
        "response maps": lambda network, x: network.responses(x),
        "attention": lambda network, x: network.attention(x)[:, None].expand(-1, network.head[-1].out_features, -1),
    },
    "BUTTeam": {"CAM": maps.cam, "max CAM": maps.max_cam},
    "ECGMaster": {
        "attention": lambda network, x: network.attention(x),
        "contributions": lambda network, x: network.contributions(x),
    },
    "Local evidence": {"evidence": lambda network, x: network.contributions(x)},
    "small GAP": {"CAM": maps.cam},
}
BY_LAYER = {"Grad-CAM": maps.grad_cam, "Grad-CAM++": maps.grad_cam_plus_plus, "HiRes-CAM": maps.hires_cam}
BY_SAMPLE = ("saliency", "input × gradient", "integrated gradients", "GradientSHAP", "DeepLIFT", "guided Grad-CAM")
# These networks rectify outside nn.ReLU, which DeepLIFT's and guided Grad-CAM's rules would pass by.
_UNRULED = ("xECGNet", "BUTTeam")
# Where the head is linear over the pooled features, these are the system's own maps by identity.
_POOLED = ("CNN-GAP", "BUTTeam", "small GAP")


def methods(system: str) -> list[str]:
    """Names of the methods that explain a system, its own first; none that is another by identity."""
    by_sample = BY_SAMPLE[:4] if system in _UNRULED else BY_SAMPLE
    by_layer = ("Grad-CAM++",) if system in _POOLED else BY_LAYER
    return [*OWN[system], *by_layer, *by_sample, "occlusion"]


def explain(
    system: str,
    method: str,
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    *,
    by_lead: bool = False,
    width: int = 25,
    batch: int = 64,
) -> NDArray[np.float32]:
    """Map of one class a row, at the samples of its record.

    Parameters
    ----------
    system, method
        See ``methods``.
    network
        In evaluation mode.
    x
        Inputs (rows, leads, samples) of the system's ``windows``, their records of one length.
    classes
        (rows,) the class that each row explains.
    by_lead
        Keep the leads apart, where the method tells them apart; else their sum.
    width
        Samples that occlusion erases at once.
    batch
        Rows at a time.

    Returns
    -------
    array (rows, n) or (rows, leads, n)
        Signed: positive speaks for the class.
    """
    parts = []
    for part, c in zip(x.split(batch), classes.split(batch), strict=True):
        if method in OWN[system]:
            with torch.no_grad():
                cells, stride = OWN[system][method](network, part)[range(len(part)), c], network.stride
        elif method in BY_LAYER:
            cells, stride = BY_LAYER[method](network, LAYERS[system], part, c), network.stride
        elif method in BY_SAMPLE:
            cells, stride = captum_map(method, network, part, c, layer=LAYERS[system]), 1
        elif method == "occlusion":
            cells, stride = maps.occlusion(network, part, c, width, by_lead=by_lead), width
        else:
            raise ValueError(f"no method {method!r}; of {system} there are {', '.join(methods(system))}")
        if cells.dim() == 3 and not by_lead:
            cells = cells.sum(dim=1)
        parts += maps.on_record(cells, stride, part)
    return np.stack(parts)


def captum_map(
    method: str, network: nn.Module, x: Tensor, classes: Tensor, *, layer: str = "", steps: int = 32
) -> Tensor:
    """Relevance of every sample of every lead by one of captum's methods: (batch, leads, samples).

    Parameters
    ----------
    method
        ``saliency`` (absolute gradient), ``input × gradient``, ``integrated gradients``, ``DeepLIFT``,
        ``GradientSHAP`` (these three from a flat line) or ``guided Grad-CAM`` (of ``layer``).
    steps
        Of the integral, and samples of GradientSHAP.

    Raises
    ------
    ValueError
        for another method, and for DeepLIFT and guided Grad-CAM when the network rectifies outside ``nn.ReLU``: their
        rules would pass by such a ReLU unseen.
    """
    joined = _Joined(_torch_pooling(network).eval())
    leads, rest = x[:, : len(LEADS)].clone(), x[:, len(LEADS) :]
    options: dict[str, Any] = {"target": classes, "additional_forward_args": (rest,)}
    if method in ("DeepLIFT", "guided Grad-CAM"):
        _check_rectifiers(network, x[:1])
    match method:
        case "saliency":
            explainer = attr.Saliency(joined)
        case "input × gradient":
            explainer = attr.InputXGradient(joined)
        case "integrated gradients":
            explainer = attr.IntegratedGradients(joined)
            options |= {"n_steps": steps, "internal_batch_size": 256}
        case "DeepLIFT":
            explainer = attr.DeepLift(joined)
        case "GradientSHAP":
            explainer = attr.GradientShap(joined)
            options |= {"n_samples": steps, "baselines": torch.zeros_like(leads[:1])}
        case "guided Grad-CAM":
            explainer = attr.GuidedGradCam(joined, joined.network.get_submodule(layer))
        case _:
            raise ValueError(f"no method {method!r} of captum here")
    with warnings.catch_warnings():
        # That it sets hooks and wants gradients of its input.
        warnings.filterwarnings("ignore", module="captum")
        return explainer.attribute(leads.requires_grad_(), **options).detach()


class _Joined(nn.Module):
    """The network with its validity row apart, so that no method changes or explains it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, leads: Tensor, rest: Tensor) -> Tensor:
        return self.network(torch.cat([leads, rest], dim=1))


def _torch_pooling(network: nn.Module) -> nn.Module:
    """A copy whose pooling is torch's own, which DeepLIFT knows by its type: a subclass would pass as linear."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.MaxPool1d):
            module.__class__ = nn.MaxPool1d
    return network


class _CountReLU(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func in (nn.functional.relu, torch.relu, Tensor.relu)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _check_rectifiers(network: nn.Module, x: Tensor) -> None:
    by_modules = 0

    def count(*_: Any) -> None:
        nonlocal by_modules
        by_modules += 1

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.ReLU)]
    try:
        with _CountReLU() as counter:
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    if counter.calls > by_modules:
        raise ValueError(f"{type(network).__name__} rectifies outside nn.ReLU, where captum's rule would not apply")
