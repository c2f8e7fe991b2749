"""Seventh: say here what the system is, in a sentence. It begins as one convolution, a mean and a linear layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.systems import OwnMaps, System, clip_thrice, register


class Seventh(nn.Module):
    """Network (batch, 12, samples) → logits (batch, classes)."""

    def __init__(self, heads: int = 8, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.stride = 5  # samples from one cell of the map to the next
        self.blocks = nn.Sequential(nn.Conv1d(len(LEADS), heads, self.stride, self.stride), nn.ReLU())
        self.head = nn.Linear(heads, classes)

    def features(self, x: Tensor) -> Tensor:
        """Feature map (batch, heads, cells)."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return self.head(self.features(x).mean(dim=-1))


@register
@dataclass(frozen=True, kw_only=True)
class SeventhSystem(System):
    """10 s at 100 Hz, median subtracted; cross-entropy.

    Parameters
    ----------
    heads
        Channels of the network.
    """

    name: ClassVar[str] = "Seventh"
    title: ClassVar[str] = "Seventh: a project"
    paper: ClassVar[str] = "zhou2016cam"  # an entry of book/references.bib
    chapter: ClassVar[str] = "99_seventh"
    reported: ClassVar[Mapping[str, float]] = {}
    feature_layer: ClassVar[str] = "blocks"
    linear_head: ClassVar[bool] = True  # the logit is linear in the mean of the feature map
    own_maps: ClassVar[OwnMaps] = {"CAM": maps.cam}

    fs: float = 100
    seconds: float = 10
    epochs: int = 3
    batch: int = 16
    rate: float = 1e-2
    heads: int = 16

    def network(self, classes: int = len(CLASSES)) -> Seventh:
        """Make the network, untrained."""
        return Seventh(self.heads, classes)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract each lead's median; clip or pad."""
        return clip_thrice(signal - np.median(signal, axis=-1, keepdims=True), self.samples)
