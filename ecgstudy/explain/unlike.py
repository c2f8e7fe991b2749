"""How far is a record from what the networks were trained on? A distance in their own feature space, calibrated.

The features of a record are the means over time of the channels from which the own network scores its windows (the
layer ``join``, 64 channels). Their distance from the training records is Mahalanobis's, with a covariance shrunk
towards its diagonal (Lee K et al. A simple unified framework for detecting out-of-distribution samples. NeurIPS 2018,
without its classes). What it says is a percentile: how many real records that a run had not seen are nearer.

``results/unlike.safetensors`` holds what is needed of the training records, 47 KB for five runs, and the distances of
the 937 real records from the run that was tested on each. ``results/unlike.csv`` has what follows, and how other
distances do (the nearest training record finds about as much, and would take 380 KB; the largest logit finds less).

Beyond the border are 5 % of the test records and 2 % of LUDB's, which no network has seen; of a source that the
distance has not seen, between none (Georgia) and a fifth (Ningbo and Chapman, whose records have flat leads and mains).
It sees noise, lost scale, mains and, half the time, stretched time. It does not see exchanged leads, few leads at rest
or a record played backwards: a network that was trained for nine diagnoses has few features for them.
`ecgstudy.data.quality` sees most of these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from ecgstudy import training
from ecgstudy.data.records import LEADS, Record
from ecgstudy.paths import RESULTS, needs_checkout, told_if_broken
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.systems import System

Array = NDArray[np.floating]

FILE = RESULTS / "unlike.safetensors"
SHRINKAGE = 0.05  # by validation, of .02 to 1: results/unlike.csv
FALSE_ALARMS = 0.05  # share of real records held out that are called unlike
_HELD_OUT = "held out"


class Reference(NamedTuple):
    """Training records of a run in its feature space: mean (features,), whitening (features, features)."""

    mean: Array
    whitening: Array

    def distance(self, features: Array) -> NDArray[np.float64]:
        """Mahalanobis distance of (records, features) over the root of their number; .6 is the median held out."""
        far = (np.asarray(features, dtype=np.float64) - self.mean) @ self.whitening.T
        return np.sqrt((far**2).mean(axis=1))


@dataclass(frozen=True)
class Unlikeness:
    """How far a record is from training records.

    Attributes
    ----------
    distance
        Mean over the runs; without unit.
    border
        Distance from which a record is called unlike.
    percentile
        Of 100 real records that a run had not seen, so many are nearer than this one.
    p
        Chance that such a record is as far as this one, or farther.
    false_alarm_rate
        Share of such records beyond the border.
    records
        How many there are.
    """

    distance: float
    border: float
    percentile: float
    p: float
    false_alarm_rate: float
    records: int

    @property
    def unlike(self) -> bool:
        """Whether the record is beyond the border."""
        return self.distance >= self.border

    @property
    def sentence(self) -> str:
        """What it says, in one sentence."""
        much = "all" if self.percentile >= 100 else f"{self.percentile:.1f} %"
        where = f"farther from the training data than {much} of {self.records:,} records that it had not seen"
        if self.unlike:
            return f"Unlike the training data: {where}."
        return f"Not unlike the training data: {where}."


def unlikeness(runs: training.Run | Sequence[training.Run], record: Record) -> Unlikeness:
    """Say how far a record is from what runs were trained on.

    Parameters
    ----------
    runs
        Of ``references()``, one or more; their distances are averaged.
    record
        With the twelve leads, in mV, at any rate and length; gaps are bridged.

    Raises
    ------
    ValueError
        when nothing is known of a run's training records, or the record has other leads.
    """
    given = [runs] if isinstance(runs, training.Run) else list(runs)
    if record.leads != LEADS:
        raise ValueError(f"{record.name} has the leads {', '.join(record.leads)}, not the twelve that the runs read")
    windows: dict[System, list[NDArray[np.float32]]] = {}
    seen = {}
    for run in given:
        if run.system not in windows:
            windows[run.system] = windows_of(run.system, record)
        seen[run.folder.name] = features(_network(run), windows[run.system], run.system).mean(axis=0)
    return of_features(seen)


def of_features(seen: Mapping[str, Array]) -> Unlikeness:
    """Say the same of features (64,) that runs, by name, have given: for whoever has them from a pass of their own.

    Raises
    ------
    ValueError
        when nothing is known of a run's training records.
    """
    known = references()
    if not seen or (unknown := [name for name in seen if name not in known]):
        what = f"nothing is known of the training records of {', '.join(unknown)}" if seen else "no run is given"
        raise ValueError(f"{what}; known are {', '.join(known)}, those of results/{FILE.name}")
    return judged(float(np.mean([known[name].distance(one[None])[0] for name, one in seen.items()])))


def judged(distance: float) -> Unlikeness:
    """Hold a distance against those of records held out."""
    others = held_out()
    nearer = int(np.searchsorted(others, distance))
    border = float(np.quantile(others, 1 - FALSE_ALARMS))
    return Unlikeness(
        distance=distance,
        border=border,
        percentile=100 * nearer / len(others),
        p=(len(others) - nearer + 1) / (len(others) + 1),
        false_alarm_rate=float((others >= border).mean()),
        records=len(others),
    )


def windows_of(system: System, record: Record) -> list[NDArray[np.float32]]:
    """Inputs (rows, samples) that a system makes of a record."""
    return system.windows(resample(fill_gaps(record.signal), record.fs, system.fs))


def features(network: nn.Module, windows: Sequence[NDArray[np.float32]], system: System) -> NDArray[np.float32]:
    """Mean over time of each channel of the system's feature layer, without padding: (windows, features)."""
    found: list[Tensor] = []
    layer = network.get_submodule(system.feature_layer)
    hook = layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    rows = []
    try:
        with torch.inference_mode():
            for start in range(0, len(windows), 32):
                x = torch.from_numpy(np.stack(windows[start : start + 32]))
                found.clear()
                network(x)
                maps = found[0].float()
                # The last row of an input is 0 in padding.
                there = (x[:, -1:, :: int(network.stride)] > 0).float()  # type: ignore[arg-type]
                rows.append(((maps * there).sum(dim=-1) / there.sum(dim=-1).clamp(min=1)).numpy())
    finally:
        hook.remove()
    return np.concatenate(rows)


def reference(seen: Array, shrinkage: float = SHRINKAGE) -> Reference:
    """Mean and whitening of features (records, features), their correlations shrunk towards none."""
    mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    correlation = np.cov(((seen - mean) / scale).T)
    correlation = (1 - shrinkage) * correlation + shrinkage * np.eye(len(mean))
    return Reference(mean, np.linalg.inv(np.linalg.cholesky(correlation)) / scale)


@lru_cache(maxsize=1)
def _opened() -> dict[str, NDArray[np.float32]]:
    if not FILE.exists():
        needs_checkout(f"results/{FILE.name}")
    with told_if_broken(FILE):
        return load_file(FILE)


@lru_cache(maxsize=1)
def references() -> dict[str, Reference]:
    """What is known of training records, by the name of the run."""
    found = _opened()
    names = [name.removesuffix("/mean") for name in found if name.endswith("/mean")]
    return {name: Reference(found[f"{name}/mean"], _square(found[f"{name}/whitening"])) for name in sorted(names)}


def held_out() -> NDArray[np.float32]:
    """Distances of the real records, each from the training records of the run that was tested on it, ascending."""
    return _opened()[_HELD_OUT]


def packed(known: Mapping[str, Reference], distances: Array) -> dict[str, NDArray[np.float32]]:
    """What ``results/unlike.safetensors`` holds: triangles, and distances in order."""
    arrays = {_HELD_OUT: np.sort(distances).astype(np.float32)}
    for name, one in known.items():
        arrays[f"{name}/mean"] = one.mean.astype(np.float32)
        arrays[f"{name}/whitening"] = one.whitening[np.tril_indices(len(one.mean))].astype(np.float32)
    return arrays


def _square(triangle: Array) -> NDArray[np.float32]:
    size = int(np.sqrt(2 * len(triangle)))
    square = np.zeros((size, size), dtype=np.float32)
    square[np.tril_indices(size)] = triangle
    return square


@lru_cache(maxsize=8)
def _network(run: training.Run) -> nn.Module:
    return run.network()


Distance = Callable[[Array], NDArray[np.float64]]  # of (records, features) or (records, logits), larger is farther


def nearest(seen: Array) -> Distance:
    """Distance from the nearest training record, every feature scaled to a deviation of 1: what else was tried."""
    mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    known = (seen - mean) / scale

    def distance(features: Array) -> NDArray[np.float64]:
        z = (np.asarray(features, dtype=np.float64) - mean) / scale
        squares = (z**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * z @ known.T
        return np.sqrt(np.maximum(squares.min(axis=1), 0) / len(mean))

    return distance
