"""Two baselines without a network: measured features in a forest, and the record's source alone.

The features are what a reader of ECGs measures (rate, regularity, intervals, amplitudes, ST level) and the leading
principal components of each lead's median beat. Extremely randomised trees (Geurts P, Ernst D, Wehenkel L. Machine
Learning 2006; 63:3-42) decide. The choice of features is ours.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy.data import qrs
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.records import LEADS

Array = NDArray[np.floating]

BEFORE, AFTER = 0.32, 0.52  # seconds of a beat on either side of the middle of its QRS


def measure(ecg: Array, fs: float) -> tuple[dict[str, float], Array]:
    """Measure a record; what cannot be measured (no beat, a flat lead) is 0, or NaN where it is about beats.

    Parameters
    ----------
    ecg
        (leads, samples) in mV.
    fs
        In Hz.

    Returns
    -------
    features by name (intervals in s, amplitudes in mV), and the median beat (leads, beat samples) in mV over the level
    before its QRS
    """
    at = qrs.ROBUST.find(ecg, fs)
    before, after = round(BEFORE * fs), round(AFTER * fs)
    whole = at[(at >= before) & (at + after <= ecg.shape[-1])]
    beats = np.zeros((max(1, len(whole)), len(ecg), before + after))
    if len(whole):
        beats[:] = ecg[:, whole[:, None] + np.arange(-before, after)].transpose(1, 0, 2)
    # Each beat's own level, as the baseline wanders.
    beats -= np.median(beats[..., before - round(0.12 * fs) : before - round(0.06 * fs)], axis=-1, keepdims=True)
    beat = np.median(beats, axis=0)
    onset, offset = _qrs(beat, before, fs)
    found = _rhythm(at, fs) | _likeness(beats, beat, whole, at, before, onset, fs)
    found |= {"QRS width": (offset - onset) / fs, "P to QRS": (onset - _p_peak(beat, onset, fs)) / fs}
    for name, values in _amplitudes(beat, onset, offset, fs).items():
        found |= {f"{name} {lead}": float(v) for lead, v in zip(LEADS, values, strict=True)}
    return found, beat


def _rhythm(at: NDArray[np.intp], fs: float) -> dict[str, float]:
    """Statistics of the intervals between beats."""
    names = (
        "rate",
        "RR deviation",
        "RR change",
        "RR shortest",
        "RR longest",
        "RR early",
        "RR paused",
        "RR irregular",
    )
    rr = np.diff(at) / fs
    if len(rr) < 3:
        return dict.fromkeys(names, np.nan)
    typical = np.median(rr)
    share, change = rr / typical, np.abs(np.diff(rr)) / typical
    paused = (share[:-1] < 0.85) & (share[1:] > 1.05)  # a premature beat and its compensatory pause
    values: tuple[float, ...] = (60 / typical, share.std(), np.sqrt(np.mean(change**2)), share.min(), share.max())
    values += ((share < 0.85).mean(), paused.mean(), np.median(change))
    return dict(zip(names, map(float, values), strict=True))


def _likeness(
    beats: Array, beat: Array, whole: NDArray[np.intp], at: NDArray[np.intp], before: int, onset: int, fs: float
) -> dict[str, float]:
    """How much the single beats look like the median one: as a whole, before the QRS (P waves), and the early ones."""
    names = ("beat alike, least", "beat alike, second", "beat alike, typical", "P alike", "P residue", "early alike")
    if len(whole) < 3:
        return dict.fromkeys(names, np.nan)
    alike = _correlation(beats, beat)
    p = slice(max(0, onset - round(0.22 * fs)), max(2, onset - round(0.02 * fs)))
    p_alike = _correlation(beats[..., p], beat[:, p])
    residue = np.median(np.abs(beats[..., p] - beat[:, p])) / max(np.abs(beat).mean(), 1e-6)
    rr = np.diff(at, prepend=at[0]).astype(float)
    rr[0] = np.median(rr[1:])
    earliest = np.argmin(rr[np.isin(at, whole)])
    low = np.sort(alike)
    values = (low[0], low[1], np.median(alike), np.median(p_alike), residue, alike[earliest])
    return dict(zip(names, map(float, values), strict=True))


def _correlation(beats: Array, beat: Array) -> Array:
    """Correlation of each beat (beats, leads, samples) with one (leads, samples), each lead about its own mean."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (beats, beat))
    norm = np.sqrt((a**2).sum(axis=(1, 2)) * (b**2).sum())
    return (a * b).sum(axis=(1, 2)) / np.maximum(norm, 1e-9)


def _qrs(beat: Array, middle: int, fs: float) -> tuple[int, int]:
    """On- and offset of the QRS of a beat: where the slope of all leads sinks below a sixth of its maximum."""
    slope = np.abs(np.gradient(beat, axis=-1)).mean(axis=0)
    reach = round(0.12 * fs)
    near = slope[middle - reach : middle + reach]
    steep = np.flatnonzero(near > near.max() / 6)
    if not len(steep):
        return middle, middle
    return middle - reach + int(steep[0]), middle - reach + int(steep[-1]) + 1


def _p_peak(beat: Array, onset: int, fs: float) -> int:
    """Place of the P wave: the largest of the mean absolute lead before the QRS."""
    end = max(1, onset - round(0.03 * fs))
    return int(np.argmax(np.abs(beat).mean(axis=0)[:end]))


def _amplitudes(beat: Array, onset: int, offset: int, fs: float) -> dict[str, Array]:
    """Amplitudes of each lead (leads,): P, R, S, ST level 40 to 80 ms after the QRS and its rise, T, QRS area."""
    p = beat[:, max(0, onset - round(0.22 * fs)) : max(1, onset - round(0.02 * fs))]
    qrs = beat[:, onset : max(onset + 1, offset)]
    st, later = (
        beat[:, offset + round(s * fs) : offset + round(s * fs) + max(1, round(0.04 * fs))].mean(axis=1)
        for s in (0.04, 0.10)
    )
    t = beat[:, offset + round(0.1 * fs) :]
    t = np.take_along_axis(t, np.abs(t).argmax(axis=1)[:, None], axis=1)[:, 0]
    area = qrs.sum(axis=1) / fs
    return {
        "P": p.max(axis=1),
        "R": qrs.max(axis=1),
        "S": qrs.min(axis=1),
        "ST": st,
        "ST rise": later - st,
        "T": t,
        "QRS area": area,
    }


@lru_cache(maxsize=4)
def cohort_features(cohort: Cohort) -> tuple[pd.DataFrame, Array]:
    """Features (records × names) and median beats (records, leads, samples) of a cohort, kept in memory."""
    found, beats = zip(*(measure(cohort[i], cohort.fs) for i in range(len(cohort))), strict=True)
    return pd.DataFrame(found), np.stack(beats).astype(np.float32)


class FeatureBaseline:
    """Features and median-beat components in extremely randomised trees, all classes at once.

    Parameters
    ----------
    trees
        Number of trees.
    components
        Of each lead's median beat.
    seed
        Of the trees.
    """

    def __init__(self, *, trees: int = 500, components: int = 6, seed: int = 0) -> None:
        from sklearn.ensemble import ExtraTreesClassifier  # takes a second to load

        self.components = components
        self.forest = ExtraTreesClassifier(trees, min_samples_leaf=2, random_state=seed)

    def fit(self, cohort: Cohort, records: NDArray[np.intp]) -> Self:
        """Learn from these records; components are those of their beats alone."""
        from sklearn.decomposition import PCA

        beats = cohort_features(cohort)[1][records]
        kept = min(self.components, len(records))
        found = [PCA(kept, svd_solver="full").fit(beats[:, lead]) for lead in range(beats.shape[1])]
        self.mean = np.stack([pca.mean_ for pca in found])
        self.axes = np.stack([pca.components_ for pca in found])
        return self._grow(self._inputs(cohort, records), cohort.labels[records])

    def _grow(self, inputs: Array, labels: NDArray[np.bool_]) -> Self:
        self.inputs, self.labels = inputs, labels
        self.forest.fit(inputs, labels)
        return self

    def kept(self) -> dict[str, NDArray]:
        """What the trees can be grown from again: inputs (records, features), in half precision, labels, components."""
        inputs, labels = self.inputs.astype(np.float16), self.labels.astype(np.uint8)
        return {"inputs": inputs, "labels": labels, "mean": self.mean, "axes": self.axes}

    def grown_from(self, kept: Mapping[str, NDArray]) -> Self:
        """Grow the trees from what ``kept`` gave: a second for a thousand records, and the same trees each time."""
        self.mean, self.axes = kept["mean"], kept["axes"]
        return self._grow(kept["inputs"].astype(np.float32), kept["labels"].astype(bool))

    def predict(self, cohort: Cohort, records: NDArray[np.intp]) -> NDArray[np.float32]:
        """Probabilities (records, classes)."""
        parts = self.forest.predict_proba(self._inputs(cohort, records))
        # A class that all training records have, or none has, gives one column only.
        known = zip(parts, self.forest.classes_, strict=True)
        return np.stack([p @ values for p, values in known], axis=1).astype(np.float32)

    def _inputs(self, cohort: Cohort, records: NDArray[np.intp]) -> NDArray[np.float32]:
        table, beats = cohort_features(cohort)
        scores = []
        for lead, (mean, axes) in enumerate(zip(self.mean, self.axes, strict=True)):
            scores.append(beats[records, lead] @ axes.T - mean @ axes.T)
        return np.hstack([table.to_numpy()[records], *scores]).astype(np.float32)


def source_baseline(cohort: Cohort, train: NDArray[np.intp], test: NDArray[np.intp]) -> NDArray[np.float32]:
    """Probabilities (test, classes) from the record's source alone: (k + 1) / (n + 2) of its training records.

    What a network could score by knowing where a record is from.
    """
    source = cohort.table["source"].to_numpy()
    given = source[train][None, :] == source[test][:, None]
    n, k = given.sum(axis=1, keepdims=True), given @ cohort.labels[train].astype(float)
    return ((k + 1) / (n + 2)).astype(np.float32)
