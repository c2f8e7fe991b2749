"""BUTTeam: growing levels of convolutions with dense shortcuts, a masked maximum over time, weighted cross-entropy.

Vicar T, Hejc J, Novotna P, Ronzhina M, Janousek O. ECG abnormalities recognition using convolutional network with
global skip connections and custom loss function. Computing in Cardiology 2020; 47:189. The paper describes the entry of
the challenge's official phase; the defaults here are the entry of the unofficial phase (nine classes), as the authors'
code of April 2020 and its stored models have it. What neither says is marked "our choice".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ecgstudy import distributed, maps, metrics
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, MaxPool1d
from ecgstudy.preprocessing import fit_length
from ecgstudy.systems import Arm, OwnMaps, System, register

Mask = Literal["correct", "published"]

# Thresholds that the authors' code tries: finer where weighted training seldom puts them, near 0.
GRID = np.union1d(np.linspace(0, 0.1, 100), np.linspace(0, 1, 100))
DEVIATION = 0.2  # mV


class Unit(nn.Module):
    """Convolution that keeps the length, batch normalisation, ReLU; zero again where ``valid`` is False."""

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.convolution = Conv1d(channels, filters, kernel, padding="same")
        self.norm = BatchNorm1d(filters)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:  # noqa: D102
        x = F.relu(self.norm(self.convolution(x)))
        # A mask in x's own layout and type multiplies three times as fast as one that is broadcast.
        return x if valid is None else x * torch.empty_like(x).copy_(valid.to(x))


class BUTT(nn.Module):
    """A stem, levels that each halve the time axis, a last unit, the maximum over the record's cells, linear.

    Level l has ``convolutions`` units of l·``filters`` channels. It passes on three signals side by side: its
    output, the output of its first unit, and the stem's output averaged down to its length.

    Parameters
    ----------
    filters
        Of the stem and, times l, of level l.
    convolutions, kernel, levels
        Units a level, samples of every convolution, number of levels. At the published 6, 4, 7 and 8 the network has
        285,939 parameters.
    mask
        ``correct``: padding is zero after every unit, and the maximum is over the cells that hold any of the record.
        ``published``: padding is convolved like signal, and the maximum is over ⌊samples / 2^(levels−1)⌋ cells, twice
        as many as the record has. As in the authors' code so many zeros follow that no convolution of the record
        sees the end of the batch.

    Notes
    -----
    The last of the input's rows is validity: 1 where the record is, 0 where its padding is, at the end.
    (batch, 13, 5000) becomes a feature map (batch, 48, 20) of stride 256.
    """

    def __init__(
        self,
        *,
        leads: int = len(LEADS),
        classes: int = len(CLASSES),
        filters: int = 6,
        convolutions: int = 4,
        kernel: int = 7,
        levels: int = 8,
        mask: Mask = "correct",
    ) -> None:
        super().__init__()
        if mask not in ("correct", "published"):
            raise ValueError(f"the mask is 'correct' or 'published', not {mask!r}")
        self.mask, self.stride = mask, 2**levels
        # Samples on either side that a cell depends on, and one cell more.
        self.reach = kernel // 2 * (1 + convolutions * (2**levels - 1) + 2**levels) + self.stride
        self.stem = Unit(leads, filters, kernel)
        self.levels = nn.ModuleList()
        channels = filters
        for level in range(1, levels + 1):
            width = level * filters
            sizes = [channels, *[width] * (convolutions - 1)]
            self.levels.append(nn.ModuleList(Unit(size, width, kernel) for size in sizes))
            channels = filters + 2 * width
        self.pool = MaxPool1d(2)
        self.last = Unit(channels, levels * filters, kernel)
        self.head = nn.Linear(levels * filters, classes)

    def cells(self, lengths: Tensor) -> Tensor:
        """Cells of the feature map that the maximum of a record of so many samples is over, (batch,) each."""
        if self.mask == "published":
            return lengths // (self.stride // 2)
        return -(-lengths // self.stride)

    def features(self, x: Tensor) -> Tensor:
        """Feature map of (batch, leads + 1, samples): (batch, channels, cells), zero in the cells that do not count.

        Zero stands for minus infinity: after a ReLU it never beats a cell of the record. Padding that no record of the
        batch needs is left out.
        """
        lengths = (x[:, -1] > 0).sum(dim=-1)
        longest = distributed.largest(lengths) + (self.reach if self.mask == "published" else 0)
        samples = -(-longest // self.stride) * self.stride
        x = x[:, :-1, :samples]
        x = F.pad(x, (0, samples - x.shape[-1]))

        def valid(level: int) -> Tensor | None:
            within = -(-lengths // 2**level)
            # A batch without padding needs no mask, which would take a tenth of the time.
            whole = self.mask == "published" or bool((within == samples // 2**level).all())
            return None if whole else _first(within, samples // 2**level)

        y = stem = self.stem(x, valid(0))
        for level, units in enumerate(self.levels):
            here = valid(level)
            first, *others = units.children()
            y = beginning = first(y, here)
            for unit in others:
                y = unit(y, here)
            y = self.pool(torch.cat([stem, y, beginning], dim=1))
            stem = F.avg_pool1d(stem, 2)
        y = self.last(y, None)
        return y * _first(self.cells(lengths), y.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads + 1, samples)."""
        return self.head(self.features(x).amax(dim=-1))


def _first(number: Tensor, cells: int) -> Tensor:
    """True in the first ``number`` (batch,) of ``cells``: (batch, 1, cells)."""
    return (torch.arange(cells, device=number.device) < number[:, None])[:, None]


@register
@dataclass(frozen=True, kw_only=True)
class BUTTSystem(System):
    """The recipe: whole records; shifted, stretched and scaled; weighted cross-entropy; a threshold for each class.

    Parameters
    ----------
    seconds
        Records are padded to it, which costs nothing (the network leaves out what no record of a batch needs); longer
        ones keep their beginning.
    filters, convolutions, kernel, levels, mask
        Of the network.
    milestones
        Epochs after which the published schedule divides the rate by 10.
    chance
        Probability of each of the three augmentations of a record.
    stretch, gain
        Largest change of its duration, and of each lead's amplitude, as a share.
    """

    name: ClassVar[str] = "BUTTeam"
    title: ClassVar[str] = "BUTTeam: masked max pooling"
    paper: ClassVar[str] = "vicar2020butt"
    chapter: ClassVar[str] = "05_butt"
    reported: ClassVar[Mapping[str, float]] = {"geometric mean": 0.737}
    feature_layer: ClassVar[str] = "last"
    linear_head: ClassVar[bool] = True
    own_maps: ClassVar[OwnMaps] = {"CAM": maps.cam, "max CAM": maps.max_cam}
    rules_miss: ClassVar[tuple[str, ...]] = ("DeepLIFT", "guided Grad-CAM")
    resampling: ClassVar[Literal["folds", "random"]] = "random"

    fs: float = 500
    seconds: float = 144  # the longest of CPSC 2018
    epochs: int = 107
    batch: int = 32
    rate: float = 1e-2
    schedule: Literal["constant", "one-cycle", "published"] = "published"
    weight_decay: float = 1e-8
    loss: str = "weighted cross-entropy"
    filters: int = 6
    convolutions: int = 4
    kernel: int = 7
    levels: int = 8
    mask: Mask = "correct"
    milestones: tuple[int, ...] = (35, 70, 105)
    chance: float = 0.7
    stretch: float = 0.2
    gain: float = 0.2

    @classmethod
    def official(cls, filters: int = 48) -> "tuple[BUTTSystem, BUTTSystem]":
        """Make the entry of the official phase: two trainings, the second of which starts from the first.

        48 filters were the paper's best, 30 are in the authors' last configuration, as are the epochs. Not in it:
        Bayesian search of thresholds, weight averaging, members of 90 % of the records.
        """
        shape: dict[str, Any] = {"fs": 125, "filters": filters, "convolutions": 3, "levels": 6}
        recipe: dict[str, Any] = {"rate": 1e-3, "weight_decay": 1e-5, "chance": 0.8, "stretch": 0.1}
        first = cls(**shape, **recipe, epochs=60, milestones=(30, 50))
        return first, replace(first, loss="challenge metric", epochs=35, milestones=(15, 25))

    def arms(self, p: SimpleNamespace) -> Mapping[str, Arm]:
        """Train some members with the mask as published."""
        return {"mask as published": Arm(replace(self, mask="published"), p.replicas)}

    def network(self, classes: int = len(CLASSES)) -> BUTT:
        """Make the network, untrained."""
        return BUTT(
            classes=classes,
            filters=self.filters,
            convolutions=self.convolutions,
            kernel=self.kernel,
            levels=self.levels,
            mask=self.mask,
        )

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract each lead's mean, divide by 0.2 mV (our choice, see the chapter); zero-pad the end."""
        signal = (signal - signal.mean(axis=-1, keepdims=True)) / np.float32(DEVIATION)
        x, valid = fit_length(signal, self.samples, where=0)
        return [np.concatenate([x, valid[None].astype(np.float32)])]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Shift records in a circle, stretch them in time, scale their leads; padding stays padding.

        The batch becomes as long as its longest record after stretching, at most as long as all had been stretched.
        """
        u = torch.rand(5, len(x), generator=generator, dtype=torch.float64).to(x.device)
        before = (x[:, -1] > 0).sum(dim=-1)
        shift = torch.where(u[0] < self.chance, (u[1] * before).long(), 0)
        factor = torch.where(u[2] < self.chance, 1 + self.stretch * (2 * u[3] - 1), 1.0)
        after = (before * factor).round().long().clamp(min=1)
        valid = _first(after, int(after.max()))
        # Ends stay ends: sample j of the result lies at j·(before − 1)/(after − 1) of the shifted record.
        pace = (before - 1) / (after - 1).clamp(min=1)
        at = torch.arange(valid.shape[-1], device=x.device) * pace[:, None]
        left = at.long().minimum(before[:, None] - 1)
        share = (at - left).to(x)[:, None]
        left, right = ((i + shift[:, None]) % before[:, None] for i in (left, (left + 1).minimum(before[:, None] - 1)))
        leads = x[:, :-1]
        left, right = (leads.gather(-1, i[:, None].expand(-1, leads.shape[1], -1)) for i in (left, right))
        gain = 1 + self.gain * (2 * torch.rand(leads.shape[:2], generator=generator) - 1)
        gain = torch.where((u[4] < self.chance)[:, None], gain.to(x.device), 1.0)
        y = torch.lerp(left, right, share) * gain[:, :, None].to(x) * valid
        return torch.cat([y, valid.to(x)], dim=1)

    def learning_rate(self, epoch: float, scores: Sequence[float]) -> float:
        """Divide by 10 at each milestone."""
        if self.schedule != "published":
            return super().learning_rate(epoch, scores)
        return self.rate * 0.1 ** sum(epoch >= m for m in self.milestones)

    def thresholds(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Take from the grid what maximises √(F2·G2) of each class."""
        return metrics.best_thresholds(targets, probabilities, metrics.f2_g2, GRID)

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Mean over classes of √(F2·G2), each at the threshold that is best for it on these records."""
        called = probabilities >= self.thresholds(targets, probabilities)
        return float(metrics.class_mean(metrics.f2_g2(metrics.counts(targets, called))))

    def vote(
        self, probabilities: NDArray[np.float32], thresholds: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Mean probability; called is what more than half of the members call, each from its own thresholds."""
        return probabilities.mean(axis=0), (probabilities >= thresholds[:, None]).mean(axis=0) > 0.5
