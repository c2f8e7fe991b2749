"""Grad-CAM on beats: an FCN and an LSTM on single beats of MIT-BIH, from the map of one beat to that of a class.

Jones Y, Deligianni F, Dalton J. Improving ECG classification interpretability using saliency maps. arXiv:2201.04070.
Of the paper only the abstract and slides were at hand: a CNN, an LSTM with "a variation of Grad-CAM", beats cut into 11
segments, maps averaged over classes. Everything else is our choice; the FCN is that of Wang, Yan and Oates, "Time
series classification from scratch with deep neural networks: a strong baseline", IJCNN 2017. A beat is no 12-lead
record, so that ``studies.single_beats`` has a training of its own for it.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.data.beats import BEAT_CLASSES, SAMPLES, SEGMENTS, TIMINGS, Beats
from ecgstudy.layers import BatchNorm1d, Conv1d


class BeatNetwork(nn.Module, ABC):
    """A feature map over the beat, its average over time, beside it the rhythm; one linear layer.

    Parameters
    ----------
    channels
        Of the feature map.
    rhythm
        How many numbers tell of the beat's timing, 0 for none.
    pool
        What the head reads of the feature map: its ``mean`` over time, or its ``last`` cell.

    Class variables
    ---------------
    feature_layer, steps_first
        The module that gives the feature map, and whether it gives it as (batch, cells, channels).
    """

    feature_layer: ClassVar[str]
    steps_first: ClassVar[bool] = False

    def __init__(self, channels: int, rhythm: int, pool: Literal["mean", "last"] = "mean") -> None:
        super().__init__()
        self.pool, units = pool, 16 if rhythm else 0
        self.timing = nn.Sequential(nn.BatchNorm1d(rhythm), nn.Linear(rhythm, units), nn.ReLU()) if rhythm else None
        self.head = nn.Linear(channels + units, len(BEAT_CLASSES))

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Feature map (batch, channels, cells) of (batch, leads, samples)."""

    def decide(self, features: Tensor, rhythm: Tensor) -> Tensor:
        """Logits (batch, 4), of sum 0, of a feature map and the rhythm (batch, numbers)."""
        pooled = features.mean(dim=-1) if self.pool == "mean" else features[..., -1]
        logits = self.head(pooled if self.timing is None else torch.cat([pooled, self.timing(rhythm)], dim=1))
        # Softmax leaves open what all logits share; the maps of single logits would show it.
        return logits - logits.mean(dim=1, keepdim=True)

    def forward(self, x: Tensor, rhythm: Tensor) -> Tensor:
        """Logits (batch, 4) of beats (batch, leads, samples) and their rhythm (batch, numbers)."""
        return self.decide(self.features(x), rhythm)


class FCN(BeatNetwork):
    """Wang's fully convolutional network: 128 filters of 8 samples, 256 of 5, 128 of 3, each normalised, then ReLU.

    The feature map keeps every sample; each of its cells sees 14.
    """

    feature_layer: ClassVar[str] = "blocks"

    def __init__(self, leads: int = 1, rhythm: int = 0, width: float = 1) -> None:
        sizes = [(round(filters * width), kernel) for filters, kernel in ((128, 8), (256, 5), (128, 3))]
        super().__init__(sizes[-1][0], rhythm)
        layers: list[nn.Module] = []
        for filters, kernel in sizes:
            layers += [Conv1d(leads, filters, kernel, padding="same"), BatchNorm1d(filters), nn.ReLU()]
            leads = filters
        self.blocks = nn.Sequential(*layers)

    def features(self, x: Tensor) -> Tensor:
        """Feature map (batch, 128, samples)."""
        return self.blocks(x)


class BeatLSTM(BeatNetwork):
    """An LSTM of 128 units over the beat's 11 segments; its state after one has seen all segments up to it."""

    feature_layer: ClassVar[str] = "lstm"
    steps_first: ClassVar[bool] = True

    def __init__(
        self, leads: int = 1, rhythm: int = 0, width: float = 1, every: int = 1, pool: Literal["mean", "last"] = "mean"
    ) -> None:
        units = round(128 * width)
        super().__init__(units, rhythm, pool)
        self.lstm = nn.LSTM(leads * SAMPLES // SEGMENTS // every, units, batch_first=True)

    def features(self, x: Tensor) -> Tensor:
        """Feature map (batch, 128, 11)."""
        steps = x.unflatten(-1, (SEGMENTS, -1)).transpose(1, 2).flatten(2)
        return self.lstm(steps)[0].transpose(1, 2)


@dataclass(frozen=True, kw_only=True)
class BeatSystem:
    """One way to classify beats: the network, what it is given, how it is trained.

    Parameters
    ----------
    network
        ``fcn``; ``lstm``; ``lstm-last``, whose head reads only the last step.
    leads
        1: lead II; 2: the record's other lead too.
    rhythm
        Whether it is told the beat's timing by what came before it (``ecgstudy.data.beats.rhythm``), or by what lies on
        both sides (``ecgstudy.data.beats.timing``).
    median
        Whether it is shown the record's median beat beside the beat, in the same leads.
    width
        Share of the network's channels.
    every
        Take the mean of so many samples as one: 3 makes 120 Hz of 360 Hz and 88 samples of 264.
    epochs, beats, batch, rate, weight_decay
        Of the training: how often ``beats`` beats are drawn, with replacement, in steps of ``batch``; AdamW with a
        one-cycle schedule up to ``rate``.
    balance
        A class's share of the draws is that of (its number) ** (1 − balance): 0 as they come, 1 all alike.
    jitter
        Largest shift in training, in samples either way, of a batch.
    """

    name: ClassVar[str] = "Grad-CAM on beats"
    paper: ClassVar[str] = "jones2022gradcam"
    version: ClassVar[int] = 1  # raised when the same configuration would train another network

    network: Literal["fcn", "lstm", "lstm-last"] = "fcn"
    leads: int = 1
    rhythm: bool | Literal["both sides"] = True
    median: bool = True
    width: float = 1
    every: int = 1
    epochs: int = 5
    beats: int = 8000
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 1e-2
    balance: float = 0.5
    jitter: int = 1

    @property
    def config(self) -> dict[str, Any]:
        """Everything that makes two runs of a system differ, except seed and beats."""
        return {"system": self.name, "version": self.version, **asdict(self)}

    def make(self) -> BeatNetwork:
        """Make the network, untrained."""
        leads, rhythm = self.leads * (1 + self.median), TIMINGS if self.rhythm == "both sides" else 4 * self.rhythm
        if self.network == "fcn":
            return FCN(leads, rhythm, self.width)
        return BeatLSTM(leads, rhythm, self.width, self.every, "last" if self.network == "lstm-last" else "mean")

    def inputs(self, beats: Beats, places: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Network inputs of some beats: (n, leads, samples), each lead standardised, and rhythm (n, numbers)."""
        x = self._standardised(beats.signal[places])
        if self.median:
            own = {name: self._standardised(median) for name, median in beats.medians.items()}
            x = np.concatenate([x, np.stack([own[name] for name in beats.table["record"].iloc[places]])], axis=1)
        rhythm = beats.timing if self.rhythm == "both sides" else beats.rhythm
        return torch.from_numpy(x), torch.from_numpy(rhythm[places])

    def _standardised(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        x = x[..., : self.leads, :].reshape(*x.shape[:-2], self.leads, -1, self.every).mean(axis=-1)
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.maximum(x.std(axis=-1, keepdims=True), 1e-3)  # a flat lead stays 0
