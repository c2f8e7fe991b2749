"""What the networks that ship answer to one ECG, and why.

``explain(record)`` gives every number that the page of ``reading.page`` shows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.quality import Quality, quality
from ecgstudy.data.records import LEADS, Record
from ecgstudy.explain import methods
from ecgstudy.explain.unlike import Unlikeness, of_features, references
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.profiles import nearest
from ecgstudy.reading.calibration import sigmoid
from ecgstudy.reading.shipped import OWN, Shipped, shipped
from ecgstudy.reading.waves import PARTS, Parts, delineate
from ecgstudy.systems import System
from ecgstudy.systems.local_evidence import LocalEvidence

SHORTEST, LONGEST = 2.0, 144.0  # s; of a longer record the first so many are read, as long as CPSC 2018's longest
BY_LEAD = "input × gradient"  # what tells leads apart where a system's own map does not
ERASED = ("P", "QRS", "ST", "T")  # what is bridged, in all beats
Found = TypeVar("Found")


def short(seconds: float) -> str:
    """Seconds to a tenth."""
    return f"{seconds:.1f}".removesuffix(".0")


class UnreadableError(ValueError):
    """A record that the networks cannot be asked about: which, why, and what helps."""


@dataclass(frozen=True, eq=False)
class Terms:
    """What the own network sums: values (members, 9, cells), each at a sample (cells,), and bias (members, 9)."""

    values: NDArray[np.float64]
    at: NDArray[np.intp]
    bias: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of the record as the networks saw it.

    Attributes
    ----------
    first, fs
        Its first sample in the record at the system's rate, and that rate in Hz.
    signal
        (12, samples) in mV, before the system's own preprocessing.
    x
        What the networks are given, (leads, samples); and where in it (samples,) the record is, and no padding.
    parts
        Its beats and parts; None where fewer than two beats are found in the record.
    logits
        (members, 9).
    maps
        The first of the system's own maps, (members, 9, samples).
    terms
        What the own network's logit is the sum of; None of other systems.
    features
        Mean over time of each channel of the system's feature layer, (members, channels).
    """

    first: int
    fs: float
    signal: NDArray[np.float32]
    x: Tensor
    there: NDArray[np.bool_]
    parts: Parts | None
    logits: NDArray[np.float64]
    maps: NDArray[np.float32]
    terms: Terms | None
    features: NDArray[np.float64]

    @property
    def start(self) -> float:
        """Where it begins, in seconds of the record."""
        return self.first / self.fs

    @property
    def stop(self) -> float:
        """Where it ends, in seconds of the record."""
        return (self.first + self.signal.shape[1]) / self.fs


def _once(method: Callable[["Explanation", str], Found]) -> Callable[["Explanation", str], Found]:
    """Keep what a method says of a class, so that asking again costs nothing."""

    @wraps(method)
    def kept(self: "Explanation", name: str) -> Found:
        if (key := (method.__name__, name)) not in self._made:
            self._made[key] = method(self, name)
        return self._made[key]

    return kept


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer to one record, and why.

    Attributes
    ----------
    record
        What was read.
    shipped
        The networks that were asked, their calibration, scores and card.
    method
        Of the maps.
    quality, unlike
        Whether the record is fit to be read, and whether it is unlike the training data: of ``data.quality`` and
        ``explain.unlike``.
    signal
        What was read, (12, samples) in mV at the system's rate.
    parts
        Its beats and parts; None where fewer than two beats are found, or there is no answer.
    windows
        Stretches of it that the networks saw; empty where there is no answer, because the record is unfit.
    seen
        Which members (members,) learned from this very record.
    members
        Calibrated probabilities (members, 9), the mean over the windows.

    What is not needed for the answer is computed when it is asked for, once.
    """

    record: Record
    shipped: Shipped
    method: str
    quality: Quality
    unlike: Unlikeness | None
    signal: NDArray[np.float32]
    parts: Parts | None = None
    windows: tuple[Window, ...] = ()
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    members: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, len(CLASSES))))
    _made: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return bool(self.windows)

    @property
    def system(self) -> System:
        """The recipe of the networks."""
        return self.shipped.system

    @property
    def used(self) -> NDArray[np.bool_]:
        """Members (members,) whose answer counts: those that have not seen the record or, if all have, all."""
        return self.seen if self.seen.all() else ~self.seen

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated probability of each class, (9,): the mean of the members used."""
        return self.members[self.used].mean(axis=0)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Probability from which each class is called, (9,): the mean of the members used."""
        return self.shipped.thresholds[self.used].mean(axis=0)

    @property
    def called(self) -> NDArray[np.bool_]:
        """Classes that are called, (9,)."""
        return self.probabilities >= self.thresholds

    @property
    def saying_yes(self) -> NDArray[np.intp]:
        """How many of the members call each class at their own threshold, (9,)."""
        return (self.members >= self.shipped.thresholds).sum(axis=0)

    @property
    def answer(self) -> pd.DataFrame:
        """Of each class: class, probability, threshold, called, yes (members that call it), members."""
        columns = {"class": CLASSES, "probability": self.probabilities, "threshold": self.thresholds}
        return pd.DataFrame({**columns, "called": self.called, "yes": self.saying_yes, "members": len(self.members)})

    @property
    def read(self) -> str:
        """Which seconds were read."""
        spans = [f"{short(w.start)} to {short(w.stop)}" for w in self.windows]
        return f"{spans[0]} s" if len(spans) == 1 else f"{', '.join(spans[:-1])} and {spans[-1]} s"

    def window(self, name: str) -> Window:
        """The stretch in which the members find most of a class."""
        c = CLASSES.index(name)
        return max(self.windows, key=lambda w: sigmoid(w.logits[self.used, c]).mean())

    @property
    def used_networks(self) -> list[nn.Module]:
        """Members whose answer counts."""
        return [network for network, use in zip(self.shipped.networks, self.used, strict=True) if use]

    @property
    def main(self) -> tuple[str, ...]:
        """Classes that are called, the most probable first; where none is, the one that is nearest to it."""
        p, called = self.probabilities, self.called
        if not called.any():
            return (CLASSES[int(np.argmax(p / self.thresholds))],)
        return tuple(CLASSES[c] for c in np.argsort(-p, kind="stable") if called[c])

    @property
    def tells_leads_apart(self) -> bool:
        """Whether the maps themselves are by lead."""
        return self.method not in self.system.own_maps and methods.METHODS[self.method].gives != "layer"

    @_once
    def _raw_maps(self, name: str) -> NDArray[np.float64]:
        """Map of a class in its window by each member: (members, samples), or (members, 12, samples)."""
        window, c = self.window(name), CLASSES.index(name)
        if self.method == next(iter(self.system.own_maps)):
            return window.maps[:, c].astype(np.float64)
        x, classes = window.x[None], torch.tensor([c])
        each = [
            methods.explain(self.system, self.method, network, x, classes, by_lead=True)[0]
            for network in self.shipped.networks
        ]
        return np.array(each, dtype=np.float64)

    def member_maps(self, name: str) -> NDArray[np.float64]:
        """Map of a class in its window by each member: (members, samples), leads summed where there are several."""
        maps_ = self._raw_maps(name)
        return maps_.sum(axis=1) if maps_.ndim == 3 else maps_

    def map(self, name: str) -> NDArray[np.float64]:
        """Map of a class in its window, (samples,): the mean of the members used."""
        return self.member_maps(name)[self.used].mean(axis=0)

    @_once
    def lead_map(self, name: str) -> NDArray[np.float64]:
        """Map of a class in its window by lead, (12, samples), the mean of the members used.

        The method's own, if it tells leads apart; else that of ``BY_LEAD``.
        """
        if self.tells_leads_apart:
            return self._raw_maps(name)[self.used].mean(axis=0)
        window, c = self.window(name), CLASSES.index(name)
        each = []
        for network in self.used_networks:
            with maps.gradients(network):
                x = window.x[None].clone().requires_grad_()
                (gradient,) = torch.autograd.grad(maps.logits_of(network, x)[0, c], x)
            each.append((gradient[0] * window.x)[: len(LEADS)].double().numpy()[:, window.there])
        return np.mean(each, axis=0)

    @_once
    def shares(self, name: str) -> pd.DataFrame:
        """Share of the map's positive mass in each part of the beat, beside that of the time.

        Returns
        -------
        DataFrame
            A row a part: ``share``, ``chance``, ``low`` and ``high`` (of the members). Without beats it is empty.
        """
        if (parts := self.window(name).parts) is None:
            return pd.DataFrame()
        each = parts.shares(self.member_maps(name))
        columns = {"share": parts.shares(self.map(name)), "chance": parts.chance}
        columns |= {"low": np.fmin.reduce(each), "high": np.fmax.reduce(each)}
        return pd.DataFrame(columns, index=list(PARTS))

    def shares_by_lead(self, name: str) -> pd.DataFrame:
        """Share of the map by lead in each part of the beat, (6, 12), parts by leads; without beats it is empty."""
        if (parts := self.window(name).parts) is None:
            return pd.DataFrame()
        return pd.DataFrame(parts.shares(self.lead_map(name)).T, index=list(PARTS), columns=list(LEADS))

    def leads(self, name: str) -> NDArray[np.float64]:
        """Share of the positive mass of the map by lead that each lead has, (12,); NaN where nothing is positive."""
        mass = self.lead_map(name).clip(min=0).sum(axis=1)
        return mass / mass.sum() if mass.sum() > 0 else np.full(len(LEADS), np.nan)

    def agreement(self, name: str) -> NDArray[np.float64]:
        """Rank correlation (Spearman) of the maps of every two members; empty where there is one."""
        ranks = stats.rankdata(self.member_maps(name), axis=1)
        ranks -= ranks.mean(axis=1, keepdims=True)
        size = np.sqrt((ranks**2).sum(axis=1))
        pairs = list(combinations(range(len(ranks)), 2))
        return np.array([ranks[a] @ ranks[b] / (size[a] * size[b]) if size[a] * size[b] else np.nan for a, b in pairs])

    @cached_property
    def bridged(self) -> pd.DataFrame:
        """Change of each probability (4, 9) when P, QRS, ST or T of all beats is a straight line; empty without beats.

        The bridged record goes the whole way again: without QRS complexes the networks find no beats, either.
        """
        if self.parts is None:
            return pd.DataFrame()
        whole, inputs = torch.from_numpy(self.signal)[None], []
        for wave in ERASED:
            mask = torch.from_numpy(self.parts.of_sample == PARTS.index(wave))[None, None]
            inputs.append(np.stack(self.system.windows(maps.erase(whole, mask, "bridge")[0].numpy())))
        x = torch.from_numpy(np.concatenate(inputs))
        raw = []
        for network in self.used_networks:
            with torch.no_grad():
                raw.append(sigmoid(maps.logits_of(network, x).double().numpy()).reshape(len(ERASED), -1, len(CLASSES)))
        after = self.shipped.calibration(np.stack(raw).mean(axis=2)).mean(axis=0)
        return pd.DataFrame(after - self.probabilities, index=list(ERASED), columns=list(CLASSES))

    def terms(self, name: str) -> pd.DataFrame:
        """Sum that makes the own network's logit, in the window of a class.

        Returns
        -------
        DataFrame
            A row a cell: ``seconds`` of its middle in the record, ``part`` of the beat, and one column a member (from
            1). The last row has the bias, without a time. The sum of a column is that member's logit.

        Raises
        ------
        ValueError
            of a system whose logit is no such sum.
        """
        window, c = self.window(name), CLASSES.index(name)
        if window.terms is None:
            raise ValueError(f"a logit of {self.shipped.name} is no sum over time; that of {OWN} is")
        at, values = window.terms.at, window.terms.values[:, c]
        part = [""] * len(at) if window.parts is None else [PARTS[i] for i in window.parts.of_sample[at]]
        frame = pd.DataFrame({"seconds": window.start + at / self.system.fs, "part": part})
        frame = frame.join(pd.DataFrame(values.T, columns=range(1, len(values) + 1)))
        bias = {"seconds": np.nan, "part": "bias"} | dict(enumerate(window.terms.bias[:, c], 1))
        return pd.concat([frame, pd.DataFrame([bias])], ignore_index=True)


def explain(
    record: Record, *, system: str | Shipped = OWN, method: str | None = None, even_if_unfit: bool = False
) -> Explanation:
    """Ask the networks that ship about a record: what they answer, and why.

    The record is resampled and cut as the system's chapter does it; its own labels are not looked at.

    Parameters
    ----------
    record
        Of ``read_record``, with all twelve leads, at least ``SHORTEST`` seconds of them. Of a record longer than
        ``LONGEST`` its beginning is read.
    system
        A name in ``shipped.ENTRIES``, or what ``shipped`` opened.
    method
        Of the maps: one of ``explain.methods.methods`` of the system; by default its own.
    even_if_unfit
        Answer although the record is unfit to be read.

    Raises
    ------
    UnreadableError
        when leads are missing, or the record is too short.
    ValueError
        for a system or a method that there is not.
    """
    ships = shipped(system) if isinstance(system, str) else system
    recipe = ships.system
    known = methods.methods(recipe)
    if method is not None and method not in known:
        raise ValueError(f"no map {method!r} of {ships.name}; there are {', '.join(known)}{nearest(method, known)}")
    signal = prepared(record, recipe.fs)
    fitness = quality(record)
    explanation = Explanation(record, ships, method or known[0], fitness, None, signal)
    if not fitness.fit and not even_if_unfit:
        return explanation
    parts = delineate(signal, recipe.fs)
    windows = _windows(ships, signal, parts)
    logits = np.stack([window.logits for window in windows], axis=1)  # members, windows, classes
    members = ships.calibration(sigmoid(logits).mean(axis=1))
    unlike = _unlike(ships, windows)
    seen = ships.seen(record)
    return replace(explanation, unlike=unlike, parts=parts, windows=windows, seen=seen, members=members)


def prepared(record: Record, fs: float) -> NDArray[np.float32]:
    """Twelve leads of a record at ``fs`` Hz, its gaps filled, its first ``LONGEST`` seconds: (12, samples) in mV.

    Raises
    ------
    UnreadableError
        when leads are missing, or the record is too short.
    """
    if tuple(record.leads) != LEADS:
        lacking = [lead for lead in LEADS if lead not in record.leads]
        raise UnreadableError(
            f"{record.name} lacks {', '.join(lacking)}: the networks need all twelve leads; export it with all of them"
        )
    if record.seconds < SHORTEST:
        raise UnreadableError(
            f"{record.name} lasts {record.seconds:.2g} s: no beat can be judged by its neighbours in less than "
            f"{SHORTEST:g} s; export a longer stretch"
        )
    signal = record.signal[:, : round(LONGEST * record.fs)]
    return resample(fill_gaps(signal), record.fs, fs)


def _unlike(ships: Shipped, windows: tuple[Window, ...]) -> Unlikeness | None:
    """How unlike the training data a record is, by what the networks have just made of it; None where nobody knows.

    It is ``explain.unlike.unlikeness`` of the record, without asking the networks twice.
    """
    known = references()
    if not all(run.folder.name in known for run in ships.runs):
        return None
    features = np.mean([window.features for window in windows], axis=0)
    return of_features({run.folder.name: one for run, one in zip(ships.runs, features, strict=True)})


def _windows(ships: Shipped, signal: NDArray[np.float32], parts: Parts | None) -> tuple[Window, ...]:
    """Stretches of a prepared record, with what every member answers to each and why."""
    recipe, samples = ships.system, signal.shape[1]
    x = torch.from_numpy(np.stack(recipe.windows(signal)))
    length = x.shape[-1]
    # Where inputs are cut from a longer record: ``clip_thrice``, or its beginning alone.
    first = [round((samples - length) * place) for place in (0, 0.5, 1)][: len(x)] if samples > length else [0]
    there = _there(recipe, samples, length)
    answers = [_ask(network, recipe, x, there) for network in ships.networks]
    logits = np.stack([one for one, _, _ in answers]).astype(np.float64)  # members, windows, classes
    cells = torch.stack([own for _, own, _ in answers])  # members, windows, classes, cells
    features = np.stack([one for _, _, one in answers]).astype(np.float64)  # members, windows, channels
    own: Any = ships.networks[0]
    made = maps.at_samples(cells, own.stride, length)[..., there]
    terms = [None] * len(x) if not isinstance(own, LocalEvidence) else _terms(ships, cells, there)
    return tuple(
        Window(
            begin,
            recipe.fs,
            signal[:, begin : begin + length],
            x[i],
            there,
            parts and parts.cut(begin, min(begin + length, samples)),
            logits[:, i],
            made[:, i],
            terms[i],
            features[:, i],
        )
        for i, begin in enumerate(first)
    )


def _there(recipe: System, samples: int, length: int) -> NDArray[np.bool_]:
    """Where a record of so many samples lies in an input, (length,): found by a record that is nowhere zero."""
    if samples >= length:
        return np.ones(length, dtype=bool)
    noise = np.random.default_rng(0).normal(size=(len(LEADS), samples)).astype(np.float32)
    return maps.validity(torch.from_numpy(np.stack(recipe.windows(noise))))[0]


@torch.no_grad()
def _ask(
    network: nn.Module, recipe: System, x: Tensor, there: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], Tensor, NDArray[np.float32]]:
    """Logits (windows, 9), own maps (windows, 9, cells) and features (windows, channels) of one member."""
    made: list[Tensor] = []
    layer = network.get_submodule(recipe.feature_layer)
    hook = layer.register_forward_hook(lambda module, inputs, output: made.append(output))
    try:
        if isinstance(network, LocalEvidence):  # its map is the sum that makes the logit: once is enough
            cells = network.contributions(x)
            logits = cells.sum(dim=-1) + network.bias
        else:
            logits, cells = maps.logits_of(network, x), next(iter(recipe.own_maps.values()))(network, x)
    finally:
        hook.remove()
    inside = there[:: x.shape[-1] // made[0].shape[-1]][: made[0].shape[-1]]
    return logits.numpy(), cells, made[0].float().numpy()[..., inside].mean(axis=-1)


def _terms(ships: Shipped, cells: Tensor, there: NDArray[np.bool_]) -> list[Terms]:
    """Terms of the own network's logits in each window, without those of padding, which are zero."""
    own: Any = ships.networks
    stride, values = own[0].stride, cells.double().numpy()
    inside = np.flatnonzero(there[::stride])
    at = np.minimum(inside * stride + stride // 2 - int(there.argmax()), int(there.sum()) - 1)
    bias = np.stack([network.bias.detach().double().numpy() for network in own])
    return [Terms(values[:, i][..., inside], at, bias) for i in range(values.shape[1])]
