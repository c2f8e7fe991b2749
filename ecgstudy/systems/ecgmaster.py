"""ECGMaster: nine residual blocks, class-wise attention, weighted focal loss.

Liu Y, Wang K, Yuan Y, Li Q, Li Y, Xu Y, Zhang H. Multi-label classification of 12-lead ECGs by using residual CNN and
class-wise attention. Computing in Cardiology 2020; 47:285. What the paper leaves unsaid is marked "our choice".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d
from ecgstudy.losses import Loss, weighted_focal
from ecgstudy.metrics import best_thresholds, class_mean, counts, f2_g2
from ecgstudy.preprocessing import denoise, remove_baseline
from ecgstudy.systems import Arm, OwnMaps, System, clip_thrice, register, rolled

# Filters and kernel of the three sizes of residual block; the stem (our choice) has those of the first.
SIZES = ((32, 32), (64, 16), (96, 8))
RATE = 250  # Hz, of the paper's input


class Block(nn.Module):
    """Twice batch normalisation, dropout, ReLU and convolution, added to the input; max pooling halves the time axis.

    Where the number of filters grows, a 1 x 1 convolution brings the input to it (our choice).
    """

    def __init__(self, channels: int, filters: int, kernel: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in (channels, filters):
            layers += [BatchNorm1d(size), Dropout(dropout), nn.ReLU()]
            # No bias here or below: every path to the output has a batch normalisation, which would subtract it.
            layers.append(Conv1d(size, filters, kernel, padding="same", bias=False))
        self.branch = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if channels == filters else Conv1d(channels, filters, 1, bias=False)
        self.pool = MaxPool1d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, samples) → (batch, filters, samples / 2)."""
        return self.pool(self.branch(x) + self.shortcut(x))


class ECGMaster(nn.Module):
    """Stem, residual blocks, an attention over time for each class, a linear unit for each class.

    Parameters
    ----------
    width
        Share of the published number of filters (1: 999,442 parameters at nine classes).
    kernel
        Share of the published kernels: at half the paper's rate, half of them see the same milliseconds.
    depth
        Blocks of each of the three sizes, 3 as published; fewer leave finer cells.
    dropout
        Probability, before every ReLU of a block.
    masked
        Keep the attention off the padding. The paper does not: padding enters the softmax.

    Notes
    -----
    (batch, 13, 15000), the last row the validity, becomes a feature map (batch, 96, 29) of stride 512, whose cells each
    see 8,929 samples.
    """

    def __init__(
        self,
        *,
        leads: int = len(LEADS),
        classes: int = len(CLASSES),
        width: float = 1,
        kernel: float = 1,
        depth: int = 3,
        dropout: float = 0.3,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = [(round(f * width), max(2, round(k * kernel))) for f, k in SIZES for _ in range(depth)]
        self.stride = 2 ** len(self.sizes)
        self.masked = masked
        channels = self.sizes[0][0]
        self.stem = Conv1d(leads, channels, self.sizes[0][1], padding="same", bias=False)
        blocks: list[nn.Module] = []
        for filters, size in self.sizes:
            blocks.append(Block(channels, filters, size, dropout))
            channels = filters
        self.blocks = nn.Sequential(*blocks, BatchNorm1d(channels), nn.ReLU())
        self.key = nn.Linear(channels, classes)
        self.head = nn.Linear(channels, classes)  # row c is the linear unit of class c

    def features(self, x: Tensor) -> Tensor:
        """Values V of (batch, leads + 1, samples): (batch, channels, cells)."""
        return self.blocks(self.stem(x[:, :-1]))

    def valid(self, x: Tensor) -> Tensor:
        """Whether a cell's own samples hold any of the record: (batch, cells), of (batch, leads + 1, samples)."""
        return F.max_pool1d(x[:, -1:], self.stride)[:, 0] > 0

    def attention(self, x: Tensor) -> Tensor:
        """Weights of each class over time (batch, classes, cells); they sum to one."""
        return self._attend(self.features(x), x)

    def _attend(self, values: Tensor, x: Tensor) -> Tensor:
        # The queries are one-hot, so that Q·Kᵀ is Kᵀ itself: the row of a class is its score at each cell (eq. 1).
        scores = self.key(values.transpose(1, 2)).transpose(1, 2)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.masked:
            scores = scores.masked_fill(~self.valid(x)[:, None], torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads + 1, samples): leads in mV, then validity."""
        values = self.features(x)
        vectors = self._attend(values, x) @ values.transpose(1, 2)  # F: one vector for each class
        return (vectors * self.head.weight).sum(dim=-1) + self.head.bias

    def contributions(self, x: Tensor) -> Tensor:
        """What each cell adds to each logit (batch, classes, cells): attention times the class's score of the value.

        Their sum over time plus the head's bias is the logit.
        """
        values = self.features(x)
        return self._attend(values, x) * torch.einsum("ck,bkt->bct", self.head.weight, values)

    @property
    def receptive_field(self) -> int:
        """Samples of the input that one cell of the feature map sees."""
        field, step = self.sizes[0][1], 1
        for _, kernel in self.sizes:
            field, step = field + (2 * (kernel - 1) + 1) * step, step * 2
        return field


@register
@dataclass(frozen=True, kw_only=True)
class ECGMasterSystem(System):
    """The recipe: 60 s at 250 Hz, without baseline and noise, placed at random; weighted focal loss; Adam.

    Parameters
    ----------
    width, kernel, depth, dropout, masked
        Of the network.
    b, r
        Balance and focus of the weighted focal loss (eq. 2-4); the paper gives no r.
    plateau
        The published schedule divides the rate by ten after so many epochs without a better validation score.
    """

    name: ClassVar[str] = "ECGMaster"
    title: ClassVar[str] = "ECGMaster: class-wise attention"
    paper: ClassVar[str] = "liu2020ecgmaster"
    chapter: ClassVar[str] = "06_ecgmaster"
    reported: ClassVar[Mapping[str, float]] = {
        "AUROC": 0.9486,
        "AUPRC": 0.5615,
        "F2": 0.5765,
        "G2": 0.3240,
        "challenge metric": 0.5501,
    }
    feature_layer: ClassVar[str] = "blocks"
    own_maps: ClassVar[OwnMaps] = {
        "attention": lambda network, x: network.attention(x),
        "contributions": lambda network, x: network.contributions(x),
    }
    rules_miss: ClassVar[tuple[str, ...]] = ("DeepLIFT",)
    resampling: ClassVar[Literal["folds", "random"]] = "random"

    fs: float = RATE
    seconds: float = 60
    epochs: int = 60
    batch: int = 32
    rate: float = 1e-3
    schedule: Literal["constant", "one-cycle", "published"] = "published"
    patience: int | None = 12
    loss: str = "weighted focal"
    width: float = 1
    kernel: float = 1
    depth: int = 3
    dropout: float = 0.3
    masked: bool = False
    b: float = 0.5
    r: float = 2
    plateau: int = 5

    def arms(self, p: SimpleNamespace) -> Mapping[str, Arm]:
        """Train as many members whose softmax leaves padding out."""
        return {"masked": Arm(replace(self, masked=True), p.members)}

    def network(self, classes: int = len(CLASSES)) -> ECGMaster:
        """Make the network, untrained."""
        return ECGMaster(
            classes=classes,
            width=self.width,
            kernel=self.kernel,
            depth=self.depth,
            dropout=self.dropout,
            masked=self.masked,
        )

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract the moving average of 1 s, shrink wavelet details; clip at head, middle and end, or pad both sides.

        Three levels of details at 250 Hz begin at 15.6 Hz, and so do the two taken at 125 Hz.
        """
        levels = max(1, 3 + round(math.log2(self.fs / RATE)))
        clean = denoise(remove_baseline(signal, round(self.fs)), level=levels)
        return clip_thrice(clean, self.samples, mask=True)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each padded record, and its validity with it, to a random place."""
        valid = x[:, -1] > 0
        room = x.shape[-1] - valid.sum(dim=-1)
        start = (torch.rand(len(x), generator=generator).to(x.device) * (room + 1)).long()
        return rolled(x, start - valid.int().argmax(dim=-1))

    def criterion(self, positives: Tensor, records: int) -> Loss:
        """Weighted focal loss with this system's b and r, or another of ``ecgstudy.losses.LOSSES``."""
        if self.loss == "weighted focal":
            return partial(weighted_focal, positives=positives, records=records, b=self.b, r=self.r)
        return super().criterion(positives, records)

    def learning_rate(self, epoch: float, scores: Sequence[float]) -> float:
        """Step size: the published schedule divides it by ten at every plateau of the validation scores."""
        if self.schedule != "published":
            return super().learning_rate(epoch, scores)
        best, waited, drops = -math.inf, 0, 0
        for score in scores:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited == self.plateau:
                waited, drops = 0, drops + 1
        return self.rate * 0.1**drops

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Mean √(F2·G2) of the classes at ``thresholds`` (our choice): what is reported, at what will be used."""
        called = probabilities >= self.thresholds(targets, probabilities)
        return float(class_mean(f2_g2(counts(targets, called))))

    def thresholds(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability of each class that maximises √(F2·G2) on validation records (our choice; the paper has none)."""
        return best_thresholds(targets, probabilities, f2_g2)
