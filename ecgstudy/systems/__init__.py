"""Systems: one published recipe, one file. ``System`` is what they have in common.

A system is a frozen dataclass: its fields are its whole configuration, published values as defaults. What a paper does
is a method of it, so that a reader finds the paper's network, input, sampling, augmentation and loss in one file. What
is known of it beyond that (its chapter, what its paper reports, its maps) are class variables of the same class, and
``systems.catalogue`` lists the systems of the study.
"""

import copy
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.data.labels import CLASSES
from ecgstudy.layers import at_least_float32
from ecgstudy.losses import LOSSES, Loss
from ecgstudy.preprocessing import fit_length
from ecgstudy.profiles import ProfileError, profile_values
from ecgstudy.profiles import file as profiles_file

Outputs = Tensor | tuple[Tensor, ...]
# A system's own maps: name → function of its network and inputs (batch, leads, samples) that gives (batch, classes,
# cells), in evaluation mode and without gradients.
OwnMaps = Mapping[str, Callable[[Any, Tensor], Tensor]]


class Explained(Protocol):
    """What methods must know of what they explain. ``explain.outside`` says it of networks that are no system's."""

    @property
    def name(self) -> str:
        """As tables and errors have it."""

    @property
    def feature_layer(self) -> str:
        """As ``System`` has it."""

    @property
    def linear_head(self) -> bool:
        """As ``System`` has it."""

    @property
    def own_maps(self) -> OwnMaps:
        """As ``System`` has it."""

    @property
    def rules_miss(self) -> tuple[str, ...]:
        """As ``System`` has it."""


class Tried(Explained, Protocol):
    """What the trials must know besides: how a record becomes inputs."""

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """As ``System`` has it."""


S = TypeVar("S", bound="System")
CATALOGUE: dict[str, type["System"]] = {}  # by name, in the order in which tables list them: see ``register``


@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """What every system has: an input, a network, a loss and a way to train it.

    Class variables
    ---------------
    name
        Short and unique: tables, files of results and run names have it.
    title
        As a heading or a table of the book words it.
    kind
        Whether it is a ``paper``'s, the study's ``own``, or a network of another ``benchmark``.
    paper
        Key of its paper in ``book/references.bib``, empty where there is none.
    chapter
        Its notebook (without ``.ipynb``), whose parameters in a profile are its settings there.
    reported
        What the paper reports, on other data: metric → value.
    version
        Raised when the same configuration would train another network.
    resampling
        How members of an ensemble differ: each leaves out another of k ``folds``, or another ``random`` fifth of the
        patients.
    feature_layer
        The module of its network whose output (batch, channels, cells) is the feature map that Grad-CAM explains.
    linear_head
        Whether the logits are linear over the pooled feature map, so that Grad-CAM and HiRes-CAM are its own maps.
    own_maps
        The maps that its algebra or its attention gives without a gradient. The first one stands for the system.
    named_before
        Fields that had another name when the first runs were named by their configuration: field → name there.
    rules_miss
        Methods of ``explain.methods`` whose rules for modules would miss something that its network computes outside of
        modules: attention times values, say, or a functional ReLU.

    Parameters
    ----------
    fs
        Rate of the input in Hz.
    seconds
        Length of the input.
    epochs, batch, rate
        Of the training: passes over the training records, windows a step, step size of Adam.
    schedule
        ``constant``; ``one-cycle``, up to ``rate`` in the first 30 % of the steps, then down to nothing, which a
        training of few epochs wants; or ``published``, what ``learning_rate`` of the system says.
    weight_decay
        Decoupled, of Adam.
    patience
        Stop when the validation score has not risen for so many epochs; None trains them all.
    loss
        A name in ``ecgstudy.losses.LOSSES``.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    kind: ClassVar[Literal["paper", "own", "benchmark"]] = "paper"
    paper: ClassVar[str] = ""
    chapter: ClassVar[str] = ""
    reported: ClassVar[Mapping[str, float]] = {}
    version: ClassVar[int] = 1
    resampling: ClassVar[Literal["folds", "random"]] = "folds"
    feature_layer: ClassVar[str] = ""
    linear_head: ClassVar[bool] = False
    own_maps: ClassVar[OwnMaps] = {}
    rules_miss: ClassVar[tuple[str, ...]] = ()
    named_before: ClassVar[Mapping[str, str]] = {}

    fs: float
    seconds: float
    epochs: int
    batch: int
    rate: float
    schedule: Literal["constant", "one-cycle", "published"] = "constant"
    weight_decay: float = 0
    patience: int | None = None
    loss: str = "cross-entropy"

    @classmethod
    def configured(cls, values: Mapping[str, Any]) -> Self:
        """Make the system from parameters, of which those count that are its fields."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    @classmethod
    def of_profile(cls, profile: str) -> tuple[Self, int]:
        """Make the system as ``profile`` trains it in its chapter, and tell how many members its ensemble has."""
        values = profile_values(profile, cls.chapter)
        if "members" not in values:
            raise ProfileError(
                f"{profiles_file()}: {cls.chapter}, the chapter of {cls.name}, lacks 'members': add its block"
            )
        return cls.configured(values), values["members"]

    def arms(self, p: SimpleNamespace) -> "Mapping[str, Arm]":
        """What its chapter trains besides its ensemble, by name, given the chapter's parameters: nothing."""
        return {}

    @property
    def samples(self) -> int:
        """Length of the network's input."""
        return round(self.fs * self.seconds)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that makes two runs of a system differ, except seed and data."""
        settings = {self.named_before.get(name, name): value for name, value in asdict(self).items()}
        return {"system": self.name, "version": self.version, **settings}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the system that has this ``config``, as JSON gives it back.

        Raises
        ------
        ValueError
            when the configuration has settings that are no fields of this class.
        """
        now = {before: name for name, before in cls.named_before.items()}
        settings: dict[str, Any] = {now.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in config.items()}
        settings = {k: v for k, v in settings.items() if k not in ("system", "version")}
        if unknown := settings.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
        return cls(**settings)

    @abstractmethod
    def network(self, classes: int = len(CLASSES)) -> nn.Module:
        """Make the network, untrained: (batch, leads, samples) → logits (batch, classes)."""

    @abstractmethod
    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Cut a record at ``fs`` (leads, n) into inputs (leads, samples); its probability is their mean.

        How many there are follows from its length, and a longer record has as many or more. A network that masks
        padding takes one row more: 1 where the record is, 0 where its padding is.
        """

    def epoch(self, labels: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
        """Order in which one epoch shows the training windows, (windows, classes) labels given: each once, shuffled."""
        return rng.permutation(len(labels))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change a training batch (batch, leads, samples), which may lie on a GPU; the generator is the CPU's."""
        return x

    def criterion(self, positives: Tensor, records: int) -> Loss:
        """Loss of a batch, given how many of the training ``records`` carry each class, (classes,)."""
        return LOSSES[self.loss](positives, records)

    def objective(self, outputs: Outputs, targets: Tensor, criterion: Loss) -> Tensor:
        """What is minimised, of what the network gives in training mode (mostly its logits) and the targets."""
        assert isinstance(outputs, Tensor)
        return criterion(outputs, targets)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam, its weight decay decoupled."""
        # Tensor after tensor a step would take a tenth of a small network's training.
        return torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.weight_decay, fused=True)

    def learning_rate(self, epoch: float, scores: Sequence[float]) -> float:
        """Step size after ``epoch`` epochs (fractions of one included), given the validation scores so far."""
        if self.schedule != "one-cycle":
            return self.rate
        done, top = epoch / self.epochs, 0.3
        if done < top:
            return self.rate * (0.04 + 0.96 * (1 - math.cos(math.pi * done / top)) / 2)
        return self.rate * (1 + math.cos(math.pi * (done - top) / (1 - top))) / 2

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Validation score whose best epoch is kept: macro-F1 at threshold 0.5."""
        tp = (targets & (probabilities >= 0.5)).sum(axis=0)
        total = targets.sum(axis=0) + (probabilities >= 0.5).sum(axis=0)
        return float(np.mean(2 * tp / np.maximum(total, 1)))

    def thresholds(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities (classes,) from which a class is called, chosen on validation records: 0.5."""
        return np.full(targets.shape[1], 0.5)

    def vote(
        self, probabilities: NDArray[np.float32], thresholds: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Join members (members, records, classes), thresholds (members, classes): probabilities and predictions.

        The mean probability (records, classes), called from the mean threshold.
        """
        mean = probabilities.mean(axis=0)
        return mean, mean >= thresholds.mean(axis=0)


@dataclass(frozen=True)
class Arm:
    """Networks that a chapter trains besides its ensemble: one thing differs, records, splits and seeds are the same.

    Attributes
    ----------
    system
        With another setting.
    members
        How many, the first ones of the ensemble.
    prepared
        Changes the cohort (given its seed and balance) for a system that wants more than records and labels.
    """

    system: System
    members: int
    prepared: Callable[[Any, int, Any], Any] | None = None


def register(cls: type[S]) -> type[S]:
    """Add a system to the study (a decorator): chapters, leaderboard, explanations and verification know it from then.

    Tables list systems by their chapters, then those of benchmarks. Every file under ``ecgstudy/systems`` is found by
    ``systems.catalogue``; a system from outside the package registers itself when it is imported.

    Raises
    ------
    ValueError
        when another system has that name or chapter, the name makes no file name, or the class does not say what the
        study asks of every system: which class it is, and what is wrong.
    """
    where, name = f"{cls.__module__}.{cls.__name__}", getattr(cls, "name", "")
    if "__dataclass_params__" not in vars(cls):
        raise ValueError(f"{where} is not a dataclass itself: decorate it with @dataclass(frozen=True, kw_only=True)")
    if inspect.isabstract(cls):
        raise ValueError(f"{where} lacks {', '.join(sorted(cls.__abstractmethods__))}: write what is missing")
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise ValueError(f"{where} is named {name!r}: files take that name, so use letters, digits, spaces, - and .")
    for other in CATALOGUE.values():
        whose = f"{other.__module__}.{other.__name__}"
        if other is not cls and other.name.casefold() == name.casefold():
            raise ValueError(f"{where} is named {name!r}, as {whose} is: rename one of them")
        if other is not cls and cls.chapter and other.chapter == cls.chapter:
            raise ValueError(f"{where} has the chapter {cls.chapter!r}, as {whose} has: give it one of its own")
    wanted = ["title", "feature_layer", *(() if cls.kind == "benchmark" else ("chapter", "own_maps"))]
    if lacking := [what for what in wanted if not getattr(cls, what)]:
        raise ValueError(f"{where} does not say its {', '.join(lacking)}")
    known: list[type[System]] = [*(one for one in CATALOGUE.values() if one is not cls), cls]
    known.sort(key=lambda one: (one.kind == "benchmark", one.chapter))
    CATALOGUE.clear()
    CATALOGUE.update({one.name: one for one in known})
    return cls


def batches(order: Tensor, size: int, network: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Cut the order of an epoch into steps of ``size``; every training loop takes its steps from here.

    A record that would be alone in the last step is left out if the network cannot learn from one: batch normalisation
    over records alone has no variance there.

    Parameters
    ----------
    order
        (windows,) places in the inputs.
    network
        In training mode.
    inputs
        What the network takes, (windows, ...) each; the first window is tried, which leaves no trace.

    Raises
    ------
    ValueError
        when such a network would never be given two records.
    """
    steps = order.split(size)
    if len(steps[-1]) != 1 or _learns_from_one(network, *(x[:1] for x in inputs)):
        return steps
    if len(steps[0]) == 1:
        raise ValueError("the network normalises over the records of a batch: give two records and a batch of two")
    return steps[:-1]


def _learns_from_one(network: nn.Module, *inputs: Tensor) -> bool:
    device = next(network.parameters()).device
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            copy.deepcopy(network)(*(x.to(device) for x in inputs))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            return False
    return True


def widened(outputs: Outputs) -> Outputs:
    """What a network gives, in float32 at least."""
    return at_least_float32(outputs) if isinstance(outputs, Tensor) else tuple(map(at_least_float32, outputs))


def parameter_count(network: nn.Module) -> int:
    """Trainable numbers in a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def clip_thrice(signal: NDArray[np.floating], samples: int, *, mask: bool = False) -> list[NDArray[np.float32]]:
    """Clip a longer record (leads, n) at head, middle and end; zero-pad a shorter one on both sides.

    ``mask`` adds a row to each window (leads, samples): 1 where the record is, 0 where its padding is.
    """
    places: Sequence[float] = (0, 0.5, 1) if signal.shape[-1] > samples else (0.5,)
    clipped = [fit_length(signal, samples, where) for where in places]
    if mask:
        return [np.vstack(both).astype(np.float32) for both in clipped]
    return [window for window, _ in clipped]


def rolled(x: Tensor, shift: Tensor) -> Tensor:
    """Move each record of (batch, leads, samples) in a circle, later by its own ``shift`` (batch,) in samples."""
    source = (torch.arange(x.shape[-1], device=shift.device) - shift[:, None]) % x.shape[-1]
    return x.gather(-1, source.to(x.device)[:, None].expand_as(x))
