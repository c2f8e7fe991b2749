"""Small networks that differ only in how far a cell of their feature map sees: how fine can a map be?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, MaxPool1d
from ecgstudy.preprocessing import fit_length
from ecgstudy.systems import OwnMaps, System, rolled


class SmallGAP(nn.Module):
    """Blocks of convolution, batch normalisation, ReLU (and pooling); mean or maximum over time; linear.

    Parameters
    ----------
    dilations
        Of the blocks' convolutions, one each.
    pools
        How many blocks, from the first, halve the time axis.
    """

    def __init__(
        self,
        dilations: tuple[int, ...],
        pools: int,
        *,
        width: int = 32,
        kernel: int = 7,
        pooling: str = "mean",
        classes: int = len(CLASSES),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self.receptive_field, self.stride, self.pooling = len(LEADS), 1, 1, pooling
        for block, spacing in enumerate(dilations):
            layers += [Conv1d(channels, width, kernel, dilation=spacing, padding="same"), BatchNorm1d(width), nn.ReLU()]
            self.receptive_field += (kernel - 1) * spacing * self.stride
            if block < pools:
                layers.append(MaxPool1d(2))
                self.receptive_field, self.stride = self.receptive_field + self.stride, self.stride * 2
            channels = width
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Feature map of (batch, leads, samples): (batch, width, cells)."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        features = self.features(x)
        return self.head(features.amax(dim=-1) if self.pooling == "max" else features.mean(dim=-1))


@dataclass(frozen=True, kw_only=True)
class SmallGAPSystem(System):
    """The recipe is ours: cross-entropy, one cycle of step sizes, records moved in a circle at random.

    Parameters
    ----------
    dilations, pools, pooling
        Of the network.
    """

    name: ClassVar[str] = "small GAP"
    title: ClassVar[str] = "Small networks with global average pooling"
    paper: ClassVar[str] = "zhou2016cam"
    feature_layer: ClassVar[str] = "blocks"
    linear_head: ClassVar[bool] = True
    own_maps: ClassVar[OwnMaps] = {"CAM": maps.cam}

    fs: float = 125
    seconds: float = 10
    epochs: int = 10
    batch: int = 32
    rate: float = 1e-2
    schedule: Literal["constant", "one-cycle", "published"] = "one-cycle"
    dilations: tuple[int, ...] = (1, 1, 1)
    pools: int = 3
    pooling: Literal["mean", "max"] = "mean"

    def network(self, classes: int = len(CLASSES)) -> SmallGAP:
        """Make the network, untrained."""
        return SmallGAP(self.dilations, self.pools, pooling=self.pooling, classes=classes)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract each lead's median; crop or pad both sides."""
        return [fit_length(signal - np.median(signal, axis=-1, keepdims=True), self.samples)[0]]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each record in a circle by its own random time."""
        return rolled(x, -torch.randint(x.shape[-1], (len(x),), generator=generator))
