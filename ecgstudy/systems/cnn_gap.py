"""CNN-GAP: twelve convolution blocks, global average pooling, macro-F2 loss, class activation maps.

Lin Y-C, Lee Y-C, Tsai W-C, Beh W-K, Wu A-Y. Explainable deep neural network for identifying cardiac abnormalities using
class activation map. Computing in Cardiology 2020; 47:072. What the paper leaves unsaid is marked "our choice".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d
from ecgstudy.preprocessing import detrend
from ecgstudy.systems import OwnMaps, System, clip_thrice, register

# Filters, kernel and dilation of the twelve blocks (the authors' single-lead code of 2019, which the 12-lead paper's
# figure agrees with); those in POOLED halve the time axis.
BLOCKS = (
    (256, 16, 2),
    *[(256, 16, 4)] * 3,
    (128, 8, 4),
    *[(128, 8, 6)] * 4,
    (128, 8, 8),
    *[(64, 8, 8)] * 2,
)
POOLED = (0, 4, 9)


class CNNGAP(nn.Module):
    """Twelve blocks of convolution, batch normalisation, ReLU, pooling (three of them) and dropout; GAP; linear.

    Parameters
    ----------
    width
        Share of the published number of filters in every block (1: 4,217,033 parameters at nine classes), of which at
        least 32 are kept: fewer before the head could not tell nine classes apart.
    dilation
        Share of the published dilations: at half the paper's rate, half of them see the same milliseconds.
    dropout
        Probability, after every block.

    Notes
    -----
    Every convolution keeps the length; (batch, 12, 2500) becomes a feature map (batch, 64, 312) of stride 8 whose cells
    each see 2,246 samples.
    """

    stride = 2 ** len(POOLED)

    def __init__(
        self,
        *,
        leads: int = len(LEADS),
        classes: int = len(CLASSES),
        width: float = 1,
        dilation: float = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = leads
        self.sizes = [(max(min(f, 32), round(f * width)), k, max(1, round(d * dilation))) for f, k, d in BLOCKS]
        for block, (filters, kernel, spacing) in enumerate(self.sizes):
            layers += [Conv1d(channels, filters, kernel, dilation=spacing, padding="same"), BatchNorm1d(filters)]
            layers += [nn.ReLU(), *([MaxPool1d(2)] if block in POOLED else []), Dropout(dropout)]
            channels = filters
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Feature map of (batch, leads, samples): (batch, channels, samples / 8)."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads, samples) in mV."""
        return self.head(self.features(x).mean(dim=-1))

    @property
    def receptive_field(self) -> int:
        """Samples of the input that one cell of the feature map sees."""
        field, step = 1, 1
        for block, (_, kernel, spacing) in enumerate(self.sizes):
            field += (kernel - 1) * spacing * step
            if block in POOLED:
                field, step = field + step, step * 2
        return field


@register
@dataclass(frozen=True, kw_only=True)
class CNNGAPSystem(System):
    """The recipe: 10 s at 250 Hz in mV, detrended; oversampled; flipped and scaled; macro-F2; Adam.

    Parameters
    ----------
    width, dilation, dropout
        Of the network.
    oversampling_cap
        A record is shown round(largest class / its rarest class) times an epoch, at most so often (our choice; the
        paper says only that minor data are oversampled). 1 turns it off.
    flip, scale
        Probability of changing a record's sign; of multiplying it by U(0.5, 2.5).
    """

    name: ClassVar[str] = "CNN-GAP"
    title: ClassVar[str] = "CNN-GAP: class activation maps"
    paper: ClassVar[str] = "lin2020cnngap"
    chapter: ClassVar[str] = "03_cnn_gap"
    reported: ClassVar[Mapping[str, float]] = {"F2": 0.816, "G2": 0.592, "geometric mean": 0.695}
    version: ClassVar[int] = 2
    feature_layer: ClassVar[str] = "blocks"
    linear_head: ClassVar[bool] = True
    own_maps: ClassVar[OwnMaps] = {"CAM": maps.cam}

    fs: float = 250
    seconds: float = 10
    epochs: int = 100
    batch: int = 64  # the authors' 20 leaves most batches without the rare classes, whose F2 then has no gradient
    rate: float = 1e-3
    loss: str = "macro-F2"
    width: float = 1
    dilation: float = 1
    dropout: float = 0.3
    oversampling_cap: int = 4
    flip: float = 0.5
    scale: float = 0.5

    def network(self, classes: int = len(CLASSES)) -> CNNGAP:
        """Make the network, untrained."""
        return CNNGAP(classes=classes, width=self.width, dilation=self.dilation, dropout=self.dropout)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Detrend; clip a longer record at head, middle and end, zero-pad a shorter one on both sides."""
        return clip_thrice(detrend(signal), self.samples)

    def epoch(self, labels: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
        """Show records of rare classes several times."""
        return rng.permutation(np.repeat(np.arange(len(labels)), oversampling(labels, self.oversampling_cap)))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Flip and scale whole records."""
        u = torch.rand(3, len(x), generator=generator)
        gain = torch.where(u[0] < self.scale, 0.5 + 2 * u[1], torch.ones(len(x)))
        gain = torch.where(u[2] < self.flip, -gain, gain)
        return x * gain.to(x)[:, None, None]


def oversampling(labels: NDArray[np.bool_], cap: int) -> NDArray[np.intp]:
    """How often each record (records, classes) is shown an epoch: largest class / its rarest class, at most ``cap``."""
    counts = labels.sum(axis=0)
    times = np.round(counts.max() / np.maximum(counts, 1)).clip(1, cap)
    return np.where(labels, times, 1).max(axis=1).astype(np.intp)
