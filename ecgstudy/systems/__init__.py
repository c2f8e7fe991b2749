"""Systems: one published recipe, one file. ``System`` is what they have in common.

A system is a frozen dataclass: its fields are its whole configuration, published values as defaults. What a paper does
is a method of it, so that a reader finds the paper's network, input, sampling, augmentation and loss in one file.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """What every system has: an input, a network, a loss and a way to train it.

    Parameters
    ----------
    fs
        Rate of the input in Hz.
    seconds
        Length of the input.
    epochs, batch, rate
        Of the training: passes over the training records, windows a step, step size of Adam.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    version: ClassVar[int] = 1  # raised when the same configuration would train another network

    fs: float
    seconds: float
    epochs: int
    batch: int
    rate: float

    @property
    def samples(self) -> int:
        """Length of the network's input."""
        return round(self.fs * self.seconds)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that makes two runs of a system differ, except seed and data."""
        return {"system": self.name, "version": self.version, **asdict(self)}

    @abstractmethod
    def network(self) -> nn.Module:
        """Make the network, untrained: (batch, leads, samples) → logits (batch, 9)."""

    @abstractmethod
    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Cut a record at ``fs`` (leads, n) into inputs (leads, samples); its probability is their mean."""

    def epoch(self, labels: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
        """Order in which one epoch shows the training windows, (windows, 9) labels given: each once, shuffled."""
        return rng.permutation(len(labels))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change a training batch (batch, leads, samples)."""
        return x

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of a batch: (batch, 9) logits and 0/1 targets → scalar."""
        return nn.functional.binary_cross_entropy_with_logits(logits, targets)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam at ``rate``."""
        return torch.optim.Adam(network.parameters(), lr=self.rate)

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> float:
        """Validation score whose best epoch is kept: macro-F1 at threshold 0.5."""
        tp = (targets & (probabilities >= 0.5)).sum(axis=0)
        total = targets.sum(axis=0) + (probabilities >= 0.5).sum(axis=0)
        return float(np.mean(2 * tp / np.maximum(total, 1)))


def parameter_count(network: nn.Module) -> int:
    """Trainable numbers in a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def clip_thrice(signal: NDArray[np.float32], samples: int) -> list[NDArray[np.float32]]:
    """Clip a longer record at head, middle and end; zero-pad a shorter one on both sides."""
    from ecgstudy.preprocessing import fit_length

    places: Sequence[float] = (0, 0.5, 1) if signal.shape[-1] > samples else (0.5,)
    return [fit_length(signal, samples, where)[0] for where in places]
