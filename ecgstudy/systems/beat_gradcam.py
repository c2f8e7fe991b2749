"""Grad-CAM on beats: an FCN and an LSTM on single beats of MIT-BIH, from the map of one beat to that of a class.

Jones Y, Deligianni F, Dalton J. Improving ECG classification interpretability using saliency maps. arXiv:2201.04070.
Of the paper only the abstract and slides were at hand: a CNN, an LSTM with "a variation of Grad-CAM", beats cut into 11
segments, maps averaged over classes. Everything else is our choice; the FCN is that of Wang, Yan and Oates, "Time
series classification from scratch with deep neural networks: a strong baseline", IJCNN 2017. A beat is no 12-lead
record, so that the training is here too: a fixed number of epochs, nothing that stops it early.
"""

import hashlib
import json
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ecgstudy import layers
from ecgstudy.data.beats import BEAT_CLASSES, SAMPLES, SEGMENTS, Beats
from ecgstudy.layers import BatchNorm1d, Conv1d
from ecgstudy.metrics import class_mean
from ecgstudy.paths import RESULTS, alone, cache_root, read_sealed, told_if_broken, write_sealed, written_whole
from ecgstudy.systems import batches


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
    """

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
        Whether it is told the beat's timing (``ecgstudy.data.beats.rhythm``).
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
    rhythm: bool = True
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

    def make(self) -> BeatNetwork:
        """Make the network, untrained."""
        leads, rhythm = self.leads * (1 + self.median), 4 * self.rhythm
        if self.network == "fcn":
            return FCN(leads, rhythm, self.width)
        return BeatLSTM(leads, rhythm, self.width, self.every, "last" if self.network == "lstm-last" else "mean")

    def inputs(self, beats: Beats, places: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Network inputs of some beats: (n, leads, samples), each lead standardised, and rhythm (n, 4)."""
        x = self._standardised(beats.signal[places])
        if self.median:
            own = {name: self._standardised(median) for name, median in beats.medians.items()}
            x = np.concatenate([x, np.stack([own[name] for name in beats.table["record"].iloc[places]])], axis=1)
        return torch.from_numpy(x), torch.from_numpy(beats.rhythm[places])

    def _standardised(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        x = x[..., : self.leads, :].reshape(*x.shape[:-2], self.leads, -1, self.every).mean(axis=-1)
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.maximum(x.std(axis=-1, keepdims=True), 1e-3)  # a flat lead stays 0


@dataclass(frozen=True, eq=False)
class BeatRun:
    """A finished training."""

    folder: Path
    system: BeatSystem

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a tested beat: beat (its place), record, sample, target, and a probability for each class."""
        with told_if_broken(self.folder):
            return pd.read_parquet(self.folder / "predictions.parquet")

    @property
    def confusion(self) -> pd.DataFrame:
        """One row a record: the flattened 4 × 4 confusion matrix (true class by row) of its tested beats."""
        p = self.predictions[list(BEAT_CLASSES)].to_numpy()
        if not np.isfinite(p).all():  # the greatest of some numbers and NaN is NaN
            file = self.folder / "predictions.parquet"
            raise ValueError(f"{file} holds NaN: delete {self.folder} and train it again")
        answer = p.argmax(axis=1)
        cell = np.eye(len(BEAT_CLASSES) ** 2)[self.predictions["target"] * len(BEAT_CLASSES) + answer]
        return pd.DataFrame(cell).groupby(self.predictions["record"].to_numpy()).sum()

    def network(self) -> BeatNetwork:
        """Load the trained network, in evaluation mode."""
        network = self.system.make()
        with told_if_broken(self.folder):
            network.load_state_dict(load_file(self.folder / "weights.safetensors"))
        return network.eval()


def train(
    system: BeatSystem, beats: Beats, training: NDArray[np.intp], test: NDArray[np.intp], *, seed: int = 0
) -> BeatRun:
    """Train a system on some beats and predict others once, or open the run that is there.

    Raises
    ------
    ValueError
        when a beat is in both.
    """
    if np.intersect1d(training, test).size:
        raise ValueError("a beat is in training and test")
    parts = [hashlib.sha256(np.sort(part).astype("<i8").tobytes()).hexdigest()[:12] for part in (training, test)]
    config = {"system": system.name, "version": system.version, **asdict(system), "seed": seed}
    config |= {"beats_checksum": beats.checksum, "parts": parts}
    name = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    if run := _opened(name, system):
        return run
    folder = cache_root() / "runs" / name
    with alone(folder, f"{system.network}: another process trains this run, waiting for it"):
        if run := _opened(name, system):
            return run
        network = _fit(system, beats, training, seed)
        p = predict(network, *system.inputs(beats, test))
        about = beats.table.iloc[test][["record", "sample"]].reset_index(drop=True)
        table = pd.concat(
            [about.assign(beat=test, target=beats.target[test]), pd.DataFrame(p, columns=list(BEAT_CLASSES))], axis=1
        )
        with written_whole(folder) as partial:
            partial.mkdir()
            save_file(network.state_dict(), partial / "weights.safetensors")
            table.to_parquet(partial / "predictions.parquet")
            write_sealed(partial / "config.json", config)
    return BeatRun(folder, system)


def _opened(name: str, system: BeatSystem) -> BeatRun | None:
    for folder in (RESULTS / "runs" / name, cache_root() / "runs" / name):
        if (folder / "config.json").exists():
            if folder.is_relative_to(cache_root()):
                read_sealed(folder / "config.json")
            return BeatRun(folder, system)
    return None


def _fit(system: BeatSystem, beats: Beats, training: NDArray[np.intp], seed: int) -> BeatNetwork:
    layers.keep_memory()
    precision = layers.best_precision(torch.device("cpu"))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = system.make().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=system.rate, weight_decay=system.weight_decay)
    x, rhythm = system.inputs(beats, training)
    steps = system.epochs * len(batches(torch.arange(system.beats), system.batch, network, x, rhythm))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, system.rate, total_steps=steps)
    target = beats.target[training]
    chance = np.bincount(target)[target] ** -float(system.balance)
    chance /= chance.sum()
    for _ in tqdm(range(system.epochs), desc=f"{system.network:<10}", unit="epoch", mininterval=1):
        drawn = torch.from_numpy(rng.choice(len(target), system.beats, p=chance))
        for chosen in batches(drawn, system.batch, network, x, rhythm):
            shift = int(rng.integers(-system.jitter, system.jitter + 1))
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                logits = network(torch.roll(x[chosen], shift, dims=-1), rhythm[chosen])
            loss = F.cross_entropy(logits.float(), torch.from_numpy(target)[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def predict(network: BeatNetwork, x: Tensor, rhythm: Tensor, batch: int = 512) -> NDArray[np.float32]:
    """Probabilities (beats, 4)."""
    parts = zip(x.split(batch), rhythm.split(batch), strict=True)
    return torch.cat([torch.softmax(network(*part), dim=1) for part in parts]).numpy()


# --- scores ----------------------------------------------------------------------------------------------------------


def scores(confusion: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Every score of confusion matrices (..., 4, 4), true class by row, N, S, V, F: (...) or, by class, (..., 4).

    ``j-kappa`` is κ / 2 + (Se_S + Se_V + P_S + P_V) / 8 with Cohen's κ of the four classes (Mar et al., "Optimization
    of ECG classification by means of feature selection", IEEE Trans. Biomed. Eng. 58:2168, 2011; Mondéjar-Guerra et al.
    2019 use it). A ratio of nothing is NaN; macro-F1 is over the classes that are present or answered.
    """
    classes = len(BEAT_CLASSES)
    if confusion.shape[-2:] != (classes, classes) or not (np.isfinite(confusion) & (confusion >= 0)).all():
        raise ValueError(f"confusion {confusion.shape} must be counts (..., {classes}, {classes}), none below 0")
    right, true, answered = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = true.sum(axis=-1)
    accuracy, chance = right.sum(axis=-1) / total, (true * answered).sum(axis=-1) / total**2
    with np.errstate(invalid="ignore"):
        sensitivity, precision, f1 = right / true, right / answered, 2 * right / (true + answered)
        kappa = (accuracy - chance) / (1 - chance)
    return {
        "accuracy": accuracy,
        "sensitivity": sensitivity,
        "precision": precision,
        "F1": f1,
        "macro-F1": class_mean(f1),
        "mean sensitivity": class_mean(sensitivity),
        "kappa": kappa,
        # A class that is never answered adds nothing.
        "j-kappa": kappa / 2 + (np.nan_to_num(sensitivity) + np.nan_to_num(precision))[..., 1:3].sum(axis=-1) / 8,
    }


def score_table(
    runs: Sequence[BeatRun], patient_of: Mapping[str, str], repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean scores of runs that differ only in their seed: metric, class, value, low, high, n, deviation.

    Limits are of a 95 % bootstrap over patients (``patient_of`` tells each record's); every resample is scored for
    every run. ``n`` is the number of tested beats (of the class), ``deviation`` the standard deviation between runs. A
    class without any is left out.
    """
    tables = [run.confusion.groupby(patient_of.__getitem__).sum() for run in runs]
    cells = np.stack([table.to_numpy().reshape(-1, 4, 4) for table in tables])  # runs, patients, 4, 4
    patients = cells.shape[1]
    drawn = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=repeats)
    resampled = scores(np.einsum("br,srij->bsij", drawn, cells))
    beats, rows = cells[0].sum(axis=(0, 2)), []
    for metric, values in scores(cells.sum(axis=1)).items():
        by_class = values.ndim == 2
        for c, name in enumerate(BEAT_CLASSES if by_class else ("",)):
            if by_class and not beats[c]:
                continue
            value, again = (v[..., c] if by_class else v for v in (values, resampled[metric]))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "All-NaN")  # the precision of a class that is never answered
                low, high = np.nanquantile(again.mean(axis=1), [0.025, 0.975])
            n = int(beats[c] if by_class else beats.sum())
            rows.append((metric, name, value.mean(), low, high, n, value.std(ddof=1) if len(runs) > 1 else np.nan))
    return pd.DataFrame(rows, columns=["metric", "class", "value", "low", "high", "n", "deviation"])


# What others report on DS1/DS2. The first three as the repository of Mondéjar-Guerra et al. (2019) lists them; Xu et
# al., "Interpatient ECG arrhythmia detection by residual attention CNN", Comput. Math. Methods Med. 2022; Mousavi and
# Afghah, "Inter- and intra-patient ECG heartbeat classification for arrhythmia detection", ICASSP 2019.
PUBLISHED = {
    "SVM ensemble (Mondéjar-Guerra 2019)": {"accuracy": 0.945, "mean sensitivity": 0.703, "j-kappa": 0.773},
    "feature selection (Mar 2011)": {"accuracy": 0.899, "mean sensitivity": 0.802, "j-kappa": 0.649},
    "linear discriminants (de Chazal 2004)": {"accuracy": 0.862, "mean sensitivity": 0.832, "j-kappa": 0.612},
    "residual attention CNN (Xu 2022)": {"accuracy": 0.985, "F1 S": 0.828, "F1 V": 0.917},
    "sequence to sequence (Mousavi 2019)": {"sensitivity S": 0.889, "precision S": 0.926, "sensitivity V": 0.999},
}


def arms(best: BeatSystem) -> dict[str, BeatSystem]:
    """What the FCN may be given, one thing after the other, and the LSTM given what ``best`` is given."""
    bare = replace(best, network="fcn", leads=1, rhythm=False, median=False)
    return {
        "FCN, shape": bare,
        "FCN, shape + rhythm": replace(bare, rhythm=True),
        "FCN, shape + rhythm + other lead": replace(bare, rhythm=True, leads=2),
        "FCN, shape + rhythm + median beat": replace(bare, rhythm=True, median=True),
        "FCN, all of these": replace(bare, rhythm=True, leads=2, median=True),
        "LSTM, as the best FCN": replace(best, network="lstm"),
    }


def results(scores: pd.DataFrame) -> pd.DataFrame:
    """Score tables with their network, split and run, and what others published, as ``results/beats.csv`` has them."""
    deviations = scores.assign(metric=scores["metric"] + ", deviation over seeds", value=scores["deviation"])
    deviations = deviations[deviations["value"].notna()].assign(low=np.nan, high=np.nan)
    published = [
        {
            "network": network,
            "split": "DS1/DS2",
            "metric": metric[0],
            "class": "".join(metric[1:]),
            "paper_value": value,
        }
        for network, values in PUBLISHED.items()
        for metric, value in ((re.split(r" (?=[NSVF]$)", name), value) for name, value in values.items())
    ]
    columns = ["network", "split", "metric", "class", "value", "low", "high", "n", "paper_value", "run"]
    table = pd.concat([scores, deviations, pd.DataFrame(published)]).reindex(columns=columns)
    return table.assign(n=table["n"].astype("Int64")).round(4)
