"""Two networks that a user would otherwise pick: xresnet1d101 and a ResNet after Wang, trained by one recipe.

Strodthoff N, Wagner P, Schaeffter T, Samek W. Deep learning for ECG analysis: benchmarks and insights from PTB-XL.
IEEE J Biomed Health Inform 2021; 25:1519-1528, in which they are the best of the convolutional networks. They adapt
He T et al., Bag of tricks for image classification with convolutional neural networks, CVPR 2019, and Wang Z, Yan W,
Oates T, Time series classification from scratch with deep neural networks, IJCNN 2017. Layers and sizes are those of
the benchmark's code. What differs from it is marked "our choice".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, MaxPool1d
from ecgstudy.metrics import best_thresholds, macro_auroc
from ecgstudy.systems import System, clip_thrice, register, rolled


def _normed(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution that keeps the length (at stride 1), batch normalisation."""
    conv = Conv1d(channels, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, BatchNorm1d(filters)]


class Residual(nn.Module):
    """ReLU of what two paths give together."""

    def __init__(self, path: list[nn.Module], shortcut: list[nn.Module]) -> None:
        super().__init__()
        self.path, self.shortcut = nn.Sequential(*path), nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Change (batch, channels, samples)."""
        return F.relu(self.path(x) + self.shortcut(x))


class PooledHead(nn.Module):
    """The benchmark's head: maximum and mean over time, 128 hidden units, dropout before either layer.

    Parameters
    ----------
    channels
        Of the feature map; it has twice as many inputs.
    classes
        Number of logits.
    dropout
        Probability before the last layer, half of it before the hidden one.
    """

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[nn.BatchNorm1d(2 * channels), nn.Dropout(dropout / 2), nn.Linear(2 * channels, 128), nn.ReLU()],
            *[nn.BatchNorm1d(128), nn.Dropout(dropout), nn.Linear(128, classes)],
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, classes) of a feature map (batch, channels, cells)."""
        return self.layers(torch.cat([features.amax(dim=-1), features.mean(dim=-1)], dim=1))


class BenchmarkNetwork(nn.Module):
    """Residual blocks, then the head; weights start as He et al. (2015) draw them.

    Parameters
    ----------
    blocks
        What makes the feature map.
    channels
        Of the feature map.
    classes, dropout
        Of the head.
    """

    def __init__(self, blocks: list[nn.Module], channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = PooledHead(channels, classes, dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """Feature map of (batch, leads, samples): (batch, channels, ⌈samples / stride⌉)."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads, samples) in mV."""
        return self.head(self.features(x))


class XResNet(BenchmarkNetwork):
    """xresnet1d101: a stem of three convolutions, four groups of bottleneck blocks, 256 channels in all of them.

    He et al.'s tricks: three small convolutions for a large first one, the stride in a block's middle convolution, mean
    pooling before a shortcut's projection, and blocks that start as the identity: the last normalisation of each has
    weight 0. The benchmark sets all of these to 1 before it trains; the paper's 0 is our choice.

    Parameters
    ----------
    groups
        Number of blocks in each group (101 layers: 1,872,777 parameters at nine classes).
    leads, classes
        Of input and output.
    dropout
        Of the head.

    Notes
    -----
    All kernels have 5 samples or 1. (batch, 12, 1000) becomes a feature map (batch, 256, 32) of stride 32.
    """

    stride = 32

    def __init__(
        self,
        *,
        groups: tuple[int, ...] = (3, 4, 23, 3),
        leads: int = len(LEADS),
        classes: int = len(CLASSES),
        dropout: float = 0.5,
    ) -> None:
        channels, inner, outer = 64, 64, 256
        layers: list[nn.Module] = [*_normed(leads, 32, 5, stride=2), nn.ReLU(), *_normed(32, 32, 5), nn.ReLU()]
        layers += [*_normed(32, channels, 5), nn.ReLU(), MaxPool1d(3, stride=2, padding=1)]
        for group, blocks in enumerate(groups):
            for block in range(blocks):
                stride = 2 if group and not block else 1
                path = [*_normed(channels, inner, 1), nn.ReLU(), *_normed(inner, inner, 5, stride), nn.ReLU()]
                path += _normed(inner, outer, 1)
                nn.init.zeros_(cast(Tensor, path[-1].weight))
                shortcut: list[nn.Module] = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
                layers.append(Residual(path, shortcut + (_normed(channels, outer, 1) if channels != outer else [])))
                channels = outer
        super().__init__(layers, channels, classes, dropout)


class WangResNet(BenchmarkNetwork):
    """resnet1d_wang of the benchmark: a first convolution, three blocks of two, 128 channels in all of them.

    Wang's own has three convolutions a block with kernels 8, 5 and 3, no stride and 64, 128 and 128 channels; the
    benchmark has a first convolution of 7, then 5 and 3 in each block, the second and third of which halve the time.

    Parameters
    ----------
    leads, classes
        Of input and output.
    dropout
        Of the head.

    Notes
    -----
    (batch, 12, 1000) becomes a feature map (batch, 128, 250) of stride 4; 473,865 parameters at nine classes.
    """

    stride = 4

    def __init__(self, *, leads: int = len(LEADS), classes: int = len(CLASSES), dropout: float = 0.5) -> None:
        channels = 128
        layers: list[nn.Module] = [*_normed(leads, channels, 7), nn.ReLU()]
        for stride in (1, 2, 2):
            path = [*_normed(channels, channels, 5, stride), nn.ReLU(), *_normed(channels, channels, 3)]
            layers.append(Residual(path, _normed(channels, channels, 1, stride) if stride == 2 else []))
        super().__init__(layers, channels, classes, dropout)


@dataclass(frozen=True, kw_only=True)
class BenchmarkSystem(System):
    """The recipe of both: 10 s at 100 Hz in mV, each lead less its median; cross-entropy; AdamW, one cycle.

    Rate, weight decay, batch, epochs and dropout are the benchmark's. It trains on 2.5 s, takes the highest probability
    of all windows, keeps the last epoch and draws thresholds from the ROC curve of its training records. Our choice are
    the whole 10 s, the augmentation, the epoch of the best validation AUROC and thresholds of the best validation F1.

    Parameters
    ----------
    dropout
        Of the head.
    roll
        A record is rolled along time by at most so many seconds either way.
    gain
        A record is multiplied by a number between ``1 / gain`` and ``gain``, of uniform logarithm.
    """

    kind: ClassVar[Literal["paper", "own", "benchmark"]] = "benchmark"
    paper: ClassVar[str] = "strodthoff2021ptbxl"
    feature_layer: ClassVar[str] = "blocks"

    fs: float = 100
    seconds: float = 10
    epochs: int = 50
    batch: int = 128
    rate: float = 1e-2
    schedule: Literal["constant", "one-cycle", "published"] = "one-cycle"
    weight_decay: float = 1e-2
    dropout: float = 0.5
    roll: float = 1
    gain: float = 1.25

    @classmethod
    def of_profile(cls, profile: str) -> tuple[Self, int]:
        """One network with the steps of so few records, whatever the profile.

        The benchmark's 50 epochs in batches of 128 would be 300 steps on them; these are 480, at its rate's third.
        """
        return cls(epochs=20, batch=32, rate=3e-3), 1

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract the median; clip a longer record at head, middle and end, zero-pad a shorter one on both sides."""
        return clip_thrice(signal - np.median(signal, axis=-1, keepdims=True), self.samples)

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Validation score whose best epoch is kept: macro-AUROC."""
        return float(macro_auroc(targets, probabilities))

    def thresholds(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Thresholds (9,) of the best F1 of each class on validation records."""
        return best_thresholds(targets, probabilities)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Roll and scale whole records."""
        u = 2 * torch.rand(2, len(x), generator=generator) - 1
        moved = rolled(x, (u[0] * self.roll * self.fs).round().long())
        return moved * (self.gain ** u[1]).to(x.device)[:, None, None]


@register
@dataclass(frozen=True, kw_only=True)
class XResNetSystem(BenchmarkSystem):
    """xresnet1d101 under the common recipe."""

    name: ClassVar[str] = "xresnet1d101"
    title: ClassVar[str] = "xresnet1d101"

    def network(self, classes: int = len(CLASSES)) -> XResNet:
        """Make the network, untrained."""
        return XResNet(classes=classes, dropout=self.dropout)


@register
@dataclass(frozen=True, kw_only=True)
class WangSystem(BenchmarkSystem):
    """The Wang-style ResNet under the common recipe."""

    name: ClassVar[str] = "resnet1d_wang"
    title: ClassVar[str] = "resnet1d_wang"

    def network(self, classes: int = len(CLASSES)) -> WangResNet:
        """Make the network, untrained."""
        return WangResNet(classes=classes, dropout=self.dropout)
