"""Trials of maps against an answer key, against each other and against maps that have seen no network.

Rows are explanations, one record and one class each: relevance (rows, samples) or (rows, leads, samples), the key
booleans of the same shape. What speaks for the class is on trial, a map's positive part; a map without any points
nowhere and is scored as a level one. Each trial is batched and gives one number a row; ``summary`` gives their means
with intervals over patients. ``chance`` says what a map scores that does not know where the evidence is.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, signal

from ecgstudy import metrics
from ecgstudy.data.labels import CLASSES

Array = NDArray[np.float64]
LOCALISATION = ("mass", "excess mass", "pointing", "AUC", "AP", "top-k")
FULLEST = 0.9  # a key that fills more leaves no elsewhere: one stray sample would decide


def relevance(maps: NDArray[np.floating]) -> Array:
    """Positive part of maps (rows, ...), flattened to (rows, n), one where a map has none; its largest value is 1.

    Raises
    ------
    ValueError
        when a map is not finite.
    """
    m = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    if not np.isfinite(m).all():
        raise ValueError("a map holds NaN or infinity: look for the record that made it")
    m = m.clip(min=0)
    top = m.max(axis=1, keepdims=True)
    # Subnormal numbers would lose their ratios in the division below.
    silent = top < np.finfo(np.float64).tiny
    return np.where(silent, 1.0, m / np.where(silent, 1, top))


# --- localisation ----------------------------------------------------------------------------------------------------


def localisation(maps: NDArray[np.floating], key: NDArray[np.bool_]) -> dict[str, Array]:
    """Does the map lie where the evidence is? Name → (rows,), NaN where a key is empty or over nine tenths of all.

    - ``mass``: share of the relevance that is inside (Quantus: relevance mass accuracy).
    - ``excess mass``: (mass − share of time inside) / (1 − that share): 0 by chance, 1 at best, whatever the class.
    - ``pointing``: is the largest value inside (Zhang et al. 2018)? Of several equal ones, the share of them.
    - ``AUC``, ``AP``: do values inside rank above those outside: area under the ROC curve, average precision.
    - ``top-k``: share inside of the k largest values, k the size of the key (Quantus: relevance rank accuracy).
    """
    m = relevance(maps)
    inside = np.asarray(key, dtype=bool).reshape(len(m), -1)
    if inside.shape != m.shape:
        raise ValueError(f"maps {np.shape(maps)} and key {np.shape(key)} must have one shape")
    size = inside.sum(axis=1)
    mass, share = (m * inside).sum(axis=1) / m.sum(axis=1), size / m.shape[1]
    largest = m == 1
    pointing = (largest & inside).sum(axis=1) / largest.sum(axis=1)
    defined = (size > 0) & (share <= FULLEST)
    k_th = -np.sort(-m, axis=1)[np.arange(len(m)), np.maximum(size - 1, 0)][:, None]
    above, level = m > k_th, m == k_th
    # Of values equal to the last that counts, as many as fit, taken at random.
    fits = (size - above.sum(axis=1)) / level.sum(axis=1)
    top = ((above & inside).sum(axis=1) + (level & inside).sum(axis=1) * fits) / np.maximum(size, 1)
    excess = (mass - share) / np.where(defined, 1 - share, 1)
    found = (mass, excess, pointing, metrics.auroc(inside.T, m.T), metrics.auprc(inside.T, m.T), top)
    return {name: np.where(defined, v, np.nan) for name, v in zip(LOCALISATION, found, strict=True)}


def chance(key: NDArray[np.bool_]) -> dict[str, Array]:
    """What ``localisation`` gives on average to a map moved to a random time, (rows,) each (AP: to a level map)."""
    inside = np.asarray(key, dtype=bool).reshape(len(key), -1)
    share = inside.mean(axis=1)
    value = {"excess mass": np.zeros_like(share), "AUC": np.full_like(share, 0.5)}
    defined = (share > 0) & (share <= FULLEST)
    return {name: np.where(defined, value.get(name, share), np.nan) for name in LOCALISATION}


def rank_among_shifts(maps: NDArray[np.floating], key: NDArray[np.bool_]) -> Array:
    """Share of all circular shifts of each map (rows, samples) that have less of their mass inside: (rows,).

    Of a map that does not know where the evidence is, any share is as likely as any other: 0.95 and above is what one
    in twenty of them has (fewer, where shifts tie).
    """
    m = relevance(maps)
    spectrum = np.fft.rfft(m, axis=1) * np.conj(np.fft.rfft(np.asarray(key, dtype=float), axis=1))
    inside = np.fft.irfft(spectrum, n=m.shape[1], axis=1)
    return (inside < inside[:, :1] - 1e-9 * m.sum(axis=1, keepdims=True)).mean(axis=1)


def tolerant(key: NDArray[np.bool_], samples: int) -> NDArray[np.bool_]:
    """The key (..., time) with every interval longer by ``samples`` on either side, for maps of coarse cells."""
    shape = (1,) * (key.ndim - 1) + (2 * samples + 1,)
    return ndimage.binary_dilation(key, np.ones(shape, dtype=bool))


# --- maps that know nothing of the network ---------------------------------------------------------------------------


def random_maps(maps: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """The same maps (rows, ..., samples), each moved in a circle by a random time (leads, if any, also permuted).

    Values and smoothness stay, what goes is the place: over all shifts mass, pointing and AUC are exactly ``chance``.
    """
    moved = np.stack([np.roll(m, rng.integers(m.shape[-1]), axis=-1) for m in maps])
    return moved if maps.ndim == 2 else np.stack([m[rng.permutation(m.shape[0])] for m in moved])


def energy_maps(x: NDArray[np.floating], fs: float) -> Array:
    """Where the signal moves: squared slope of (rows, leads, samples), mean over leads and 100 ms: (rows, samples)."""
    slope = np.gradient(np.asarray(x, dtype=np.float64), axis=-1)
    return ndimage.uniform_filter1d((slope**2).mean(axis=1), max(1, round(0.1 * fs)), axis=-1)


def r_peaks(x: NDArray[np.floating], fs: float) -> list[NDArray[np.intp]]:
    """Samples of the QRS complexes of each of (rows, leads, samples), after Pan & Tompkins 1985.

    Band of 5 to 15 Hz, slope, square, mean over leads and 120 ms; peaks at least 250 ms apart and above 0.3 of the
    98th percentile.
    """
    band = signal.butter(2, (5, 15), "bandpass", fs=fs, output="sos")
    y = np.gradient(signal.sosfiltfilt(band, np.asarray(x, dtype=np.float64), axis=-1), axis=-1)
    y = ndimage.uniform_filter1d((y**2).mean(axis=1), max(1, round(0.12 * fs)), axis=-1)
    floor = 0.3 * np.percentile(y, 98, axis=-1)
    return [signal.find_peaks(r, height=f, distance=round(0.25 * fs))[0] for r, f in zip(y, floor, strict=True)]


def qrs_maps(x: NDArray[np.floating], fs: float) -> Array:
    """One within 50 ms of each QRS complex that ``r_peaks`` finds, zero elsewhere: (rows, samples)."""
    maps = np.zeros((len(x), x.shape[-1]))
    for row, peaks in zip(maps, r_peaks(x, fs), strict=True):
        row[peaks] = 1
    return ndimage.maximum_filter1d(maps, 2 * round(0.05 * fs) + 1, axis=-1)


def st_key(x: NDArray[np.floating], fs: float) -> NDArray[np.bool_]:
    """The surest part of each ST segment of records without delineated waves: (rows, samples).

    From 60 to 150 ms after each QRS that ``r_peaks`` finds. In LUDB's records without a bundle branch block, 99 % of it
    is delineated as ST in at least one lead, and it covers half of what is.
    """
    key = np.zeros((len(x), x.shape[-1]), dtype=bool)
    after = np.arange(round(0.06 * fs), round(0.15 * fs) + 1)
    for row, peaks in zip(key, r_peaks(x, fs), strict=True):
        at = (peaks[:, None] + after).ravel()
        row[at[at < len(row)]] = True
    return key


# --- stability and complexity ----------------------------------------------------------------------------------------


def agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """Pearson correlation of the positive parts of two sets of maps by row; 0 where one is level, NaN where both."""
    a, b = (m - m.mean(axis=1, keepdims=True) for m in (relevance(a), relevance(b)))
    of_a, of_b = (a**2).sum(axis=1), (b**2).sum(axis=1)
    norm = np.sqrt(of_a * of_b)
    value = np.where(norm > 1e-12, (a * b).sum(axis=1) / np.where(norm > 1e-12, norm, 1), 0)
    return np.where((of_a <= 1e-12) & (of_b <= 1e-12), np.nan, value)


def gini(maps: NDArray[np.floating]) -> Array:
    """Gini coefficient of the relevance of each row: 0 level, nearly 1 all in one sample (Chalasani et al. 2020)."""
    m = np.sort(relevance(maps), axis=1)
    n = m.shape[1]
    return ((2 * np.arange(1, n + 1) - n - 1) * m).sum(axis=1) / (n * m.sum(axis=1))


def entropy(maps: NDArray[np.floating]) -> Array:
    """Entropy of each row's relevance over a level map's: 1 level, 0 all in one sample (Bhatt et al. 2020)."""
    m = relevance(maps)
    p = m / m.sum(axis=1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1) / np.log(m.shape[1])


# --- answer keys of real records -------------------------------------------------------------------------------------

_SPANS = {
    "NSR": (("P", "onset", 0), ("T", "offset", 0)),
    "AF": (("T", "offset", 0), ("QRS", "onset", 1)),
    "I-AVB": (("P", "onset", 0), ("QRS", "onset", 0)),
    "LBBB": (("QRS", "onset", 0), ("QRS", "offset", 0)),
    "RBBB": (("QRS", "onset", 0), ("QRS", "offset", 0)),
    "STD": (("QRS", "offset", 0), ("T", "onset", 0)),
    "STE": (("QRS", "offset", 0), ("T", "onset", 0)),
}
WAVE_CLASSES = tuple(_SPANS)


def wave_key(waves: pd.DataFrame, name: str, leads: Sequence[str], samples: int) -> NDArray[np.bool_]:
    """Where delineated waves put the evidence of a class, as the simulator defines it: (leads, samples).

    Parameters
    ----------
    waves
        Of ``read_delineation`` or the simulator: lead, wave, onset, peak, offset, in samples.
    name
        A class whose evidence is in every beat. (Which beats are premature, the waves do not say.)

    Raises
    ------
    ValueError
        for PAC and PVC.
    """
    if name not in _SPANS:
        raise ValueError(f"waves do not say where {name} is; they do for {', '.join(_SPANS)}")
    key = np.zeros((len(leads), samples), dtype=bool)
    (first, edge, _), (last, edge_last, step) = _SPANS[name]
    for row, lead in enumerate(leads):
        own = waves[waves["lead"] == lead].dropna(subset=["onset", "offset"])
        peaks = {wave: own[own["wave"] == wave].sort_values("peak") for wave in ("P", "QRS", "T")}
        qrs = peaks["QRS"]["peak"].to_numpy(dtype=float)
        for beat, at in enumerate(qrs):
            around = (qrs[beat - 1] if beat else -np.inf, at, qrs[beat + 1] if beat + 1 < len(qrs) else np.inf)
            start = _edge(peaks[first], first, edge, around)
            if step:
                stop = peaks["QRS"]["onset"].iloc[beat + 1] if beat + 1 < len(qrs) else None
            else:
                stop = _edge(peaks[last], last, edge_last, around)
            if start is not None and stop is not None:
                key[row, int(start) : int(stop) + (edge_last == "offset")] = True
    return key


def _edge(waves: pd.DataFrame, wave: str, edge: str, around: tuple[float, float, float]) -> int | None:
    """On- or offset of the beat's wave: the last P before its QRS, the first T after it, itself."""
    before, at, after = around
    peak = waves["peak"].to_numpy(dtype=float)
    chosen = {"P": (peak > before) & (peak < at), "QRS": peak == at, "T": (peak > at) & (peak < after)}[wave]
    if not chosen.any():
        return None
    return int(waves[edge].to_numpy()[np.flatnonzero(chosen)[-1 if wave == "P" else 0]])


# --- intervals -------------------------------------------------------------------------------------------------------


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over rows of (rows, columns), NaN left out, NaN where nothing is left."""
    there = (weights @ ~np.isnan(values)).astype(float)
    return np.divide(weights @ np.nan_to_num(values), there, out=np.full_like(there, np.nan), where=there > 0)


def mean_interval(
    values: NDArray[np.floating], patients: Sequence, *, repeats: int = 1000, seed: int = 0
) -> metrics.Interval:
    """Mean over rows of (rows, columns) with a 95 % bootstrap interval over patients, NaN left out."""
    values = np.asarray(values, dtype=float)
    return metrics.bootstrap_interval(
        lambda _, v, weights: _mean(v, weights), np.ones(len(values)), values, patients, repeats, seed
    )


def summary(
    scores: pd.DataFrame, classes: Sequence[str], patients: Sequence, *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Tidy table of means: the levels of the columns, class, value, low, high, n.

    Parameters
    ----------
    scores
        One row an explanation, one column a score; the columns' levels (system, method, trial …) become columns.
    classes
        Class that each row explains. The mean over all classes (class empty) is the mean of the classes' means, so
        that a common class does not outweigh a rare one.
    patients
        Of each row.
    """
    values, classes, patients = scores.to_numpy(dtype=float), np.asarray(classes), np.asarray(patients)
    names = [c for c in CLASSES if (classes == c).any()]
    indicator = np.stack([classes == c for c in names])

    def means(_: np.ndarray, v: np.ndarray, weights: np.ndarray) -> np.ndarray:
        by_class = np.stack([_mean(v[i], weights[..., i]) for i in indicator], axis=-1)
        return np.concatenate([metrics.class_mean(by_class)[..., None], by_class], axis=-1)

    interval = metrics.bootstrap_interval(means, np.ones(len(values)), values, patients, repeats, seed)
    n = [(~np.isnan(values)).sum(axis=0), *((~np.isnan(values[i])).sum(axis=0) for i in indicator)]
    index = scores.columns.to_frame(index=False)
    tables = [
        index.assign(**{"class": name, **{k: getattr(interval, k)[:, i] for k in interval._fields}, "n": n[i]})
        for i, name in enumerate(["", *names])
    ]
    return pd.concat(tables, ignore_index=True)
