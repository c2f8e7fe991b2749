"""Trials of maps of any network: yours, another library's, not one of this study's systems.

A network here is a ``torch.nn.Module`` that takes (batch, leads, samples) and gives logits (batch, classes), alone or
first of several outputs. ``cases_of`` makes cases of arrays, ``evaluate`` puts every map that can be had on trial:

    cases = cases_of(signals, classes, key, fs=250)
    scores = evaluate(network, cases, own={"CAM": my_cam}, layer="features.7")
    print(trials.summary(scores, cases.names_of_classes, cases.patients))
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.data.records import LEADS
from ecgstudy.explain import ceilings, evaluation, methods
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import OwnMaps

OwnMap = Callable[[Any, Tensor], Tensor]


class NotExplained(UserWarning):
    """A method that does not suit a network, and is left out: which, and why."""


class Wrapped(nn.Module):
    """A network behind the study's inputs: twelve rows, those of leads it lacks zero, then a row of validity."""

    def __init__(self, network: nn.Module, leads: int, stride: int) -> None:
        super().__init__()
        self.network, self.leads, self.stride = network, leads, stride

    def forward(self, x: Tensor) -> Tensor:
        """Give logits (batch, classes) for (batch, 13, samples)."""
        return maps.logits_of(self.network, x[:, : self.leads])


@dataclass(frozen=True)
class Outside:
    """What the study's methods must know of a network that is none of its systems'.

    Attributes
    ----------
    name
        Of the network's class.
    own_maps, feature_layer
        Of the wrapped network.
    """

    name: str
    own_maps: OwnMaps
    feature_layer: str = ""
    linear_head: bool = False
    rules_miss: tuple[str, ...] = field(default=())

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Make a record (leads, n) an input (13, n)."""
        whole = np.zeros((len(LEADS) + 1, signal.shape[1]), dtype=np.float32)
        whole[: len(signal)], whole[-1] = signal, 1
        return [whole]


def cases_of(
    signals: NDArray[np.floating],
    classes: Sequence[int] | NDArray[np.intp],
    key: NDArray[np.bool_],
    *,
    fs: float,
    known: Sequence[str],
    labels: NDArray[np.bool_] | None = None,
    patients: Sequence[str] | NDArray | None = None,
) -> Cases:
    """Make cases of arrays, one record and one class a row.

    Parameters
    ----------
    signals
        (rows, leads, n), as the network takes them, at most twelve leads.
    classes
        (rows,): the output that each row explains.
    key
        (rows, n) or (rows, leads, n): where the evidence of that class is.
    known
        Names of the network's outputs.
    labels
        (rows, outputs): all classes of each record, so that one trial can ask for the map of a class that is not
        there; by default its own alone.
    patients
        Of each record; by default each is somebody else's.

    Raises
    ------
    ValueError
        for shapes that do not fit.
    """
    x = np.asarray(signals, dtype=np.float32)
    chosen, inside = np.asarray(classes, dtype=np.intp), np.asarray(key, dtype=bool)
    if x.ndim != 3 or x.shape[1] > len(LEADS):
        raise ValueError(f"signals must be (rows, leads, n) with at most {len(LEADS)} leads, not {x.shape}")
    inside = np.repeat(inside[:, None], x.shape[1], axis=1) if inside.ndim == 2 else inside
    if inside.shape != x.shape:
        raise ValueError(f"the key must be (rows, n) or (rows, leads, n) of the signals {x.shape}, not {np.shape(key)}")
    if chosen.shape != (len(x),) or not ((chosen >= 0) & (chosen < len(known))).all():
        raise ValueError(f"classes must be (rows,), each the number of one of {len(known)} outputs")
    own = np.eye(len(known), dtype=bool)[chosen] if labels is None else np.asarray(labels, dtype=bool)
    if own.shape != (len(x), len(known)) or own.all(axis=1).any():
        raise ValueError("labels must be (rows, outputs), and no record may have every class")
    names = np.array([str(i) for i in range(len(x))])
    whose = names if patients is None else np.asarray(patients).astype(str)
    any_lead = np.any(inside, axis=1)
    nowhere = np.zeros_like(any_lead)
    return Cases(x, chosen, inside, any_lead, nowhere, own, whose, names, fs, tuple(known))


def explained(
    network: nn.Module,
    cases: Cases,
    *,
    own: Mapping[str, OwnMap] | None = None,
    layer: str = "",
    stride: int | None = None,
) -> tuple[Outside, Wrapped]:
    """What the functions of ``explain`` take in place of a system and its network; parameters as ``evaluate`` has them.

    Raises
    ------
    ValueError
        where it cannot be told how many samples a cell has: name the stride.
    """
    leads = cases.signals.shape[1]
    x = torch.from_numpy(cases.signals[:4])
    with torch.no_grad(), maps.evaluating(network):
        outputs = maps.logits_of(network, x).shape[1]
    if outputs != len(cases.known):
        raise ValueError(f"{type(network).__name__} has {outputs} outputs, the cases are of {len(cases.known)} classes")
    cells = 0
    for name, function in (own or {}).items():
        with torch.no_grad(), maps.evaluating(network):
            made = function(network, x)
        if made.dim() != 3 or made.shape[:2] != (len(x), outputs):
            raise ValueError(f"the map {name!r} must be (batch, classes, cells), not {tuple(made.shape)}")
        cells = made.shape[-1]
    if stride is None and layer:
        stride = round(maps.scale(network, layer, x).stride)
    if stride is None and cells:
        if x.shape[-1] % cells:
            raise ValueError(f"{x.shape[-1]} samples are not a whole number for each of {cells} cells: name the stride")
        stride = x.shape[-1] // cells
    wrapped = Wrapped(network, leads, stride or 1)

    def unwrapped(function: OwnMap) -> OwnMap:
        return lambda outer, x: function(outer.network, x[:, : outer.leads])

    about = Outside(
        type(network).__name__,
        {name: unwrapped(function) for name, function in (own or {}).items()},
        f"network.{layer}" if layer else "",
    )
    return about, wrapped


def evaluate(
    network: nn.Module,
    cases: Cases,
    *,
    own: Mapping[str, OwnMap] | None = None,
    layer: str = "",
    stride: int | None = None,
    chosen: Sequence[str] | None = None,
    costly_every: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of a network's maps in all trials, beside those of maps that have seen no network.

    Parameters
    ----------
    network
        Explained as in evaluation mode.
    cases
        Of ``cases_of``, or any of ``explain.cases`` at the network's own rate.
    own
        Maps of the network's own by name: functions of network and inputs that give (batch, classes, cells).
    layer
        Name of the module whose output (batch, channels, cells) the class activation maps explain.
    stride
        Samples of a cell; measured, where it is not stated.
    chosen
        General methods, names of ``methods.METHODS``; by default all. One that does not suit the network (DeepLIFT,
        where something is computed outside of modules with a rule) is left out, with a warning.
    costly_every, seed
        As ``evaluation.evaluate`` has them.

    Returns
    -------
    DataFrame
        One row a case, columns (method, trial).

    Warns
    -----
    NotExplained
        which methods are left out, and why.
    """
    about, wrapped = explained(network, cases, own=own, layer=layer, stride=stride)
    x, classes = cases.inputs(about)[:1], torch.from_numpy(cases.classes[:1])
    fits = []
    for method in (m for m in methods.methods(about) if m in about.own_maps or chosen is None or m in chosen):
        try:
            methods.explain(about, method, wrapped, x, classes, width=round(0.4 * cases.fs), seed=seed)
        except ValueError as error:
            warnings.warn(f"{method} is left out: {error}", NotExplained, stacklevel=2)
        else:
            fits.append(method)
    return evaluation.evaluate(about, wrapped, cases, fits, costly_every=costly_every, seed=seed)


def bounds(network: nn.Module, cases: Cases, scores: pd.DataFrame, **known: Any) -> pd.DataFrame:
    """Ceiling and floor of every row of ``evaluate``'s means: see ``ceilings``.

    ``known`` is what ``evaluate`` was told of the network (own, layer, stride).

    Returns
    -------
    DataFrame
        Index (method, trial, class) of the trials of localisation, columns ceiling and floor.
    """
    about, wrapped = explained(network, cases, **known)
    return ceilings.of_methods(about, wrapped, cases, list(scores.columns.unique("method")))
