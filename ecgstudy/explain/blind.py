"""Maps that know nothing of the network: what a method must beat to have explained anything.

``BASELINES`` stand in every table of explanations: ``random`` (the system's own map, moved in a circle), ``signal
energy`` and ``QRS detector``.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ecgstudy.data import qrs

Array = NDArray[np.float64]
BASELINES = ("random", "signal energy", "QRS detector")


def random_maps(maps: NDArray[np.floating], rng: np.random.Generator, *, earlier: bool = False) -> NDArray[np.floating]:
    """The same maps (rows, ..., samples), each moved in a circle by a random time (leads, if any, also permuted).

    Values and smoothness stay, what goes is the place: over all shifts mass, pointing and AUC are exactly
    ``trials.chance``. ``earlier`` moves them to earlier times, in place of later ones.
    """
    sign = -1 if earlier else 1
    moved = np.stack([np.roll(m, sign * rng.integers(m.shape[-1]), axis=-1) for m in maps])
    return moved if maps.ndim == 2 else np.stack([m[rng.permutation(m.shape[0])] for m in moved])


def energy_maps(x: NDArray[np.floating], fs: float) -> Array:
    """Where the signal moves: squared slope of (rows, leads, samples), mean over leads and 100 ms: (rows, samples)."""
    slope = np.gradient(np.asarray(x, dtype=np.float64), axis=-1)
    return ndimage.uniform_filter1d((slope**2).mean(axis=1), max(1, round(0.1 * fs)), axis=-1)


def qrs_maps(x: NDArray[np.floating], fs: float) -> Array:
    """One within 50 ms of each QRS complex that ``qrs.BLIND`` finds, zero elsewhere: (rows, samples)."""
    maps = np.zeros((len(x), x.shape[-1]))
    for row, ecg in zip(maps, x, strict=True):
        row[qrs.BLIND.find(np.asarray(ecg, dtype=np.float64), fs)] = 1
    return ndimage.maximum_filter1d(maps, 2 * round(0.05 * fs) + 1, axis=-1)
