"""A network whose map is its computation: evidence from a quarter of a second, and from the beat intervals around it.

The study's own system. Like a bag of local features (Brendel & Bethge 2019) it scores every class in short windows at a
fine stride. A logit is a bias plus the sum of these scores, each weighted by its own share; the terms of that sum are
the map. What no short window can see, the rhythm, comes in as six numbers a moment: five intervals and their median.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ecgstudy import metrics
from ecgstudy.data import qrs
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.layers import BatchNorm1d, Conv1d, Dropout
from ecgstudy.losses import Loss
from ecgstudy.systems import Arm, Outputs, OwnMaps, System, clip_thrice, register

AROUND = (-2, -1, 0, 1, 2)  # intervals that a moment knows, 0 the one it lies in
INTERVALS = len(AROUND) + 1
KEY = len(LEADS) + INTERVALS  # the first row that only training uses


class LocalEvidence(nn.Module):
    """Local convolutions, a small network on the intervals, evidence of each class in each cell, its weighted sum.

    The input's rows: twelve leads, ``INTERVALS``, in training perhaps the answer key's nine, validity (0 in padding).
    (batch, 19, 1250) gives evidence (batch, 9, 313) of stride 4.

    Parameters
    ----------
    classes
        Of the output.
    channels, depth, dropout
        Filters; convolutions of kernel 3 after the two that halve the time axis (a cell sees 15 + 8 depth samples);
        dropout before each of them and before the evidence.
    rhythm
        Channels of the intervals' network; 0 leaves the intervals out.
    """

    def __init__(
        self, *, classes: int = len(CLASSES), channels: int = 64, depth: int = 2, rhythm: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.stride, self.receptive_field = 4, 15 + 8 * depth
        layers = _unit(len(LEADS), channels // 2, 7, 2) + _unit(channels // 2, channels, 5, 2)
        for _ in range(depth):
            layers += [Dropout(dropout), *_unit(channels, channels, 3)]
        self.local = nn.Sequential(*layers)
        self.rhythm = nn.Sequential(*_unit(INTERVALS, rhythm, 1), *_unit(rhythm, rhythm, 1)) if rhythm else None
        self.join = nn.Sequential(*_unit(channels + rhythm, channels, 1), Dropout(dropout))
        self.head = Conv1d(channels, classes, 1)
        # Of each class: how much the strongest cells outweigh the others, scale of the map, what stands without any.
        self.sharpness, self.gain, self.bias = (nn.Parameter(torch.zeros(classes)) for _ in range(3))

    def evidence(self, x: Tensor) -> Tensor:
        """Score e of each class in each cell (batch, classes, cells): what its window and its intervals say."""
        y = self.local(x[:, : len(LEADS)])
        if self.rhythm:
            y = torch.cat([y, self.rhythm(x[:, len(LEADS) : KEY, :: self.stride])], dim=1)
        e = self.head(self.join(y))
        return e if e.dtype == torch.float64 else e.float()

    def shares(self, evidence: Tensor, x: Tensor) -> Tensor:
        """Weight of each cell (batch, classes, cells): softmax of its own evidence, 0 in padding, their sum 1."""
        padding = x[:, -1:, :: self.stride] == 0
        return torch.softmax((evidence * self.sharpness.exp()[:, None]).masked_fill(padding, -1e4), dim=-1)

    def contributions(self, x: Tensor) -> Tensor:
        """Terms of the logits (batch, classes, cells), the map: their sum over time and ``bias`` is the logit."""
        evidence = self.evidence(x)
        return self.gain.exp()[:, None] * self.shares(evidence, x) * evidence

    def incompleteness(self, x: Tensor) -> Tensor:
        """What the map, summed over time, and ``bias`` miss of each logit: (batch, classes), 0 but for rounding."""
        return (self.contributions(x).sum(dim=-1) + self.bias - self(x)).abs()

    def forward(self, x: Tensor) -> Outputs:
        """Logits (batch, classes); in training also the map, and the answer key if the input holds it."""
        parts = self.contributions(x)
        logits = parts.sum(dim=-1) + self.bias
        return (logits, parts, x[:, KEY:-1, :: self.stride]) if self.training else logits


def _unit(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [Conv1d(channels, filters, kernel, stride, kernel // 2, bias=False), BatchNorm1d(filters), nn.ReLU()]


def without_baseline(ecg: NDArray[np.floating], fs: float) -> NDArray[np.floating]:
    """Subtract from (leads, samples) its median over 0.2 s, of that over 0.6 s (de Chazal et al. 2004), at 25 Hz."""
    step, samples = round(fs / 25), ecg.shape[-1]
    coarse = np.pad(ecg, ((0, 0), (0, -samples % step)), mode="edge").reshape(len(ecg), -1, step).mean(axis=-1)
    coarse = ndimage.median_filter(ndimage.median_filter(coarse, size=(1, 5)), size=(1, 15))
    coarse = ndimage.uniform_filter1d(coarse, 3, axis=-1)
    centres = np.arange(coarse.shape[-1]) * step + (step - 1) / 2
    return ecg - np.stack([np.interp(np.arange(samples), centres, lead) for lead in coarse])


def beat_intervals(ecg: NDArray[np.floating], fs: float) -> NDArray[np.float32]:
    """Logarithms of the intervals around each sample of (leads, samples) in mV, from one QRS to the next: (6, samples).

    Rows 0 to 4: the interval ``AROUND`` the sample's own over the record's median, within e⁻¹ and e, 0 where there is
    none. Row 5: the median over 0.8 s. All are 0 in a record with fewer than three detected beats.
    """
    rows = np.zeros((INTERVALS, ecg.shape[-1]), dtype=np.float32)
    at = qrs.ROBUST.find(ecg, fs)
    if len(at) < 3:
        return rows
    intervals = np.diff(at) / fs
    typical = np.median(intervals)
    own = np.searchsorted(at, np.arange(ecg.shape[-1])) - 1  # -1 before the first QRS
    rows[:-1] = np.pad(np.log(intervals / typical).clip(-1, 1), 3)[own + 3 + np.array(AROUND)[:, None]]
    rows[-1] = np.log(typical / 0.8)
    return rows


@register
@dataclass(frozen=True, kw_only=True)
class LocalEvidenceSystem(System):
    """The recipe: 10 s without baseline, leads scaled at random; cross-entropy; AdamW in one cycle.

    Parameters
    ----------
    channels, depth, rhythm, dropout
        Of the network.
    scaling
        Largest change of each lead's amplitude in training, as a share.
    key_weight
        Weight of −log of the share of a true class's positive map inside a ``KeyedCohort``'s key (Ross et al. 2017).
    """

    name: ClassVar[str] = "Local evidence"
    title: ClassVar[str] = "Local evidence: a network whose map is its computation"
    kind: ClassVar[Literal["paper", "own", "benchmark"]] = "own"
    chapter: ClassVar[str] = "12_local_evidence"
    feature_layer: ClassVar[str] = "join"
    own_maps: ClassVar[OwnMaps] = {"evidence": lambda network, x: network.contributions(x)}
    rules_miss: ClassVar[tuple[str, ...]] = ("DeepLIFT",)
    named_before: ClassVar[Mapping[str, str]] = {"key_weight": "taught"}
    resampling: ClassVar[Any] = "random"

    fs: float = 125
    seconds: float = 10
    epochs: int = 12
    batch: int = 16
    rate: float = 4e-3
    schedule: Any = "one-cycle"
    weight_decay: float = 0.01
    channels: int = 64
    depth: int = 2
    rhythm: int = 32
    dropout: float = 0.1
    scaling: float = 0.2
    key_weight: float = 0

    def arms(self, p: SimpleNamespace) -> Mapping[str, Arm]:
        """Train the first member with the answer key, which simulated records have."""
        if p.cohort != "synthetic":
            return {}
        return {"and the key": Arm(replace(self, key_weight=p.key_weight), 1, keyed)}

    def network(self, classes: int = len(CLASSES)) -> LocalEvidence:
        """Make the network, untrained."""
        return LocalEvidence(
            classes=classes, channels=self.channels, depth=self.depth, rhythm=self.rhythm, dropout=self.dropout
        )

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take the baseline away, add the intervals; clip at head, middle and end, or pad both sides."""
        clean = without_baseline(signal[: len(LEADS)], self.fs)
        rows = np.vstack([clean, beat_intervals(clean, self.fs), signal[len(LEADS) :]])
        return clip_thrice(rows, self.samples, mask=True)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Scale each lead. (To move records in time would teach nothing: all windows are judged alike.)"""
        factor = 1 + self.scaling * (2 * torch.rand(len(x), len(LEADS), 1, generator=generator) - 1)
        return torch.cat([x[:, : len(LEADS)] * factor.to(x.device), x[:, len(LEADS) :]], dim=1)

    def objective(self, outputs: Outputs, targets: Tensor, criterion: Loss) -> Tensor:
        """Cross-entropy, and ``key_weight`` times what the answer key says of the map."""
        logits, parts, key = outputs
        if not (self.key_weight and key.shape[1]):
            return criterion(logits, targets)
        positive = parts.clamp(min=0)
        inside = (positive * key).sum(dim=-1) / positive.sum(dim=-1).clamp(min=1e-6)
        known = (targets > 0) & (key.sum(dim=-1) > 0)
        return criterion(logits, targets) - self.key_weight * inside[known].clamp(min=1e-4).log().sum() / len(logits)

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Macro-AUROC: a rare class that is ranked well and not yet called is learnt all the same."""
        return float(metrics.macro_auroc(targets, probabilities))

    def thresholds(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability of each class that maximises F1 on validation records."""
        return metrics.best_thresholds(targets, probabilities)


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyedCohort(Cohort):
    """A simulated cohort whose signals carry the answer key (in any lead) as nine rows more, for ``key_weight``."""

    seed: int
    balance: float

    def __getitem__(self, record: int) -> NDArray[np.float32]:
        evidence = synthetic.simulate(record, self.seed, fs=self.fs, balance=self.balance).evidence
        signal = super().__getitem__(record)
        return np.vstack([signal, synthetic.answer_key(evidence, signal.shape[1], leads=1)[:, 0]]).astype(np.float32)


def keyed(cohort: Cohort, seed: int, balance: float) -> KeyedCohort:
    """``synthetic_cohort(len(cohort), cohort.fs, seed=seed, balance=balance)`` with its answer key."""
    return KeyedCohort(**{**vars(cohort), "checksum": f"{cohort.checksum}, keyed", "seed": seed, "balance": balance})
