"""Maps of single beats (batch, cells), and what their trial needs: segments, windows, random maps, patients.

Grad-CAM is that of Jones Y, Deligianni F, Dalton J, arXiv:2201.04070; its chapter derives it for both networks.
"""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from ecgstudy import maps as record_maps
from ecgstudy.data.beats import BEFORE, FS, SAMPLES, SEGMENTS
from ecgstudy.explain import trials
from ecgstudy.systems.beat_gradcam import BeatNetwork

# Where in a beat the literature looks, in ms from R. Ventricular: de Chazal et al. 2004 take the QRS from 50 ms before
# to 100 ms after their fiducial point. Supraventricular: a P wave of up to 120 ms, a PR interval of 120 to 200 ms
# (Surawicz & Knilans 2008) and 50 ms from QRS onset to R.
WINDOWS = {"S": (-250, -50), "V": (-50, 100)}


def grad_cam(
    network: BeatNetwork, x: Tensor, rhythm: Tensor, target: Tensor, *, relu: bool = True
) -> NDArray[np.float32]:
    """Grad-CAM (Selvaraju et al. 2017) of one class a beat over the feature map: (batch, cells).

    L_t = ReLU(Σ_k α_k f_kt) with α_k = (1/T) Σ_t ∂y/∂f_kt. For the LSTM f is its states, and the derivative is the
    head's own: what a state does to later states is not in it. Under mean pooling α_k is the head's weight over T, so
    that the map is the ReLU of the class activation map over T, for both networks.

    Parameters
    ----------
    network
        It is explained as it is in evaluation mode.
    x, rhythm
        Beats (batch, leads, samples) and their rhythm (batch, numbers).
    target
        (batch,) class of each beat, as its place in ``BEAT_CLASSES``.
    relu
        Keep only what supports the class.
    """
    layer, steps_first = network.feature_layer, network.steps_first
    signed = record_maps.grad_cam(network, layer, x, target, [rhythm], steps_first=steps_first)
    return (signed.relu() if relu else signed).numpy()


def head_gradient(network: BeatNetwork, x: Tensor, rhythm: Tensor, target: Tensor) -> NDArray[np.float32]:
    """Share of |∂y/∂f| at each cell of the feature map f, mean over beats and channels: (cells,), of sum 1.

    Arguments are those of ``grad_cam``. It is what the head reads: Grad-CAM averages it over the cells.
    """
    with record_maps.gradients(network):
        f = network.features(x).detach().requires_grad_()
        logits = network.decide(f, rhythm).gather(1, target[:, None])
        (gradient,) = torch.autograd.grad(logits.sum(), f)
    size = gradient.abs().mean(dim=(0, 1)).numpy()
    return size / size.sum()


def occlusion(network: BeatNetwork, x: Tensor, rhythm: Tensor, target: Tensor) -> NDArray[np.float32]:
    """What each of the 11 segments adds to the logit of a class: (batch, 11).

    A segment is taken out of all leads alike: the straight line between its ends takes its place.
    """
    width = x.shape[-1] // SEGMENTS
    return record_maps.occlusion(network, x, target, width, keep_ends=True, more=[rhythm], rows_at_once=64).numpy()


def to_samples(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (..., cells) at the 264 samples of a beat, each cell's value at all of its samples.

    Raises
    ------
    ValueError
        when a cell is not a whole number of samples.
    """
    if SAMPLES % maps.shape[-1]:
        raise ValueError(f"{maps.shape[-1]} cells: of a beat's {SAMPLES} samples each must have a whole number")
    return np.repeat(maps, SAMPLES // maps.shape[-1], axis=-1)


def by_segment(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of maps (..., cells) in each segment: (..., 11)."""
    return maps.reshape(*maps.shape[:-1], SEGMENTS, -1).mean(axis=-1)


def normalised(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (beats, cells), each over its maximum; one that is 0 everywhere stays so."""
    return maps / np.maximum(maps.max(axis=-1, keepdims=True), 1e-12)


def window_mass(maps: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Share of each map (beats, cells) in the class's window (``WINDOWS``): (beats,); NaN for an empty map."""
    low, high = (BEFORE + round(ms * FS / 1000) for ms in WINDOWS[name])
    at = to_samples(maps)
    with np.errstate(invalid="ignore"):
        return at[:, low:high].sum(axis=1) / at.sum(axis=1)


def rank_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spearman's correlation of each row of two (beats, cells): (beats,); NaN where a row is constant."""
    a, b = (rankdata(rows, axis=1) for rows in (a, b))
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def by_patient(
    values: NDArray[np.floating], patients: NDArray, repeats: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values (beats,), NaN left out, and its 95 % bootstrap limits over patients, NaN if there is only one."""
    kept = ~np.isnan(values)
    values, patients = values[kept], np.asarray(patients)[kept]
    if len(np.unique(patients)) < 2:
        return float(values.mean()), np.nan, np.nan
    found = trials.mean_interval(values[:, None], patients, repeats=repeats, seed=seed, multinomial=True)
    return float(found.value[0]), float(found.low[0]), float(found.high[0])


def between_records(maps: NDArray[np.float32], records: NDArray) -> float:
    """Share of the variance of maps (beats, cells) that the record explains (η²), of all cells together."""
    table = pd.DataFrame(maps)
    means = table.groupby(np.asarray(records)).transform("mean")
    return float(((means - table.mean()) ** 2).to_numpy().sum() / ((table - table.mean()) ** 2).to_numpy().sum())
