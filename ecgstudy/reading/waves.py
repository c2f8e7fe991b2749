"""Which part of the beat each moment belongs to, by the QRS detector and windows around what it finds.

A QRS lasts while the leads are steep, so that a wide one is taken whole. P and T are not looked for: their windows are
the medians of simulated records, those of T by the median interval. So a late P of a first-degree block, or one hidden
in a T, is counted as something else, and a P window is there where no P wave is: in atrial fibrillation, say.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from ecgstudy.data import qrs

PARTS = ("P", "PR", "QRS", "ST", "T", "TQ")
_P, _PR, _QRS, _ST, _T, _TQ = range(len(PARTS))
# Seconds from the middle of a QRS complex: P's window, and what a QRS spans at least and at most.
_P_ONSET, _P_OFFSET = -0.22, -0.11
_NARROWEST, _WIDEST = (-0.035, 0.04), (-0.12, 0.12)
_USUAL_OFFSET = 0.054  # by what a QRS ends later than this, ST and T are later, too: T's end by half of it
_STEEP = 0.15  # of the steepest moment of the beat
_FEWEST = 2  # beats that make an interval
AGREES = 0.84
"""Share of the time that the waves of LUDB's cardiologists cover (II, V2, V5) in which these parts are the same."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Where the beats of a record are, and its parts.

    Attributes
    ----------
    beats
        Middle of each QRS complex, in samples.
    of_sample
        (samples,) number of the part in ``PARTS``.
    """

    beats: NDArray[np.intp]
    of_sample: NDArray[np.intp]

    def cut(self, start: int, stop: int) -> "Parts":
        """Those of some of the samples."""
        inside = (self.beats >= start) & (self.beats < stop)
        return Parts(self.beats[inside] - start, self.of_sample[start:stop])

    @property
    def chance(self) -> NDArray[np.float64]:
        """Share of the time that each part has, (6,): what a level map has of its mass there."""
        return np.bincount(self.of_sample, minlength=len(PARTS)) / max(len(self.of_sample), 1)

    def shares(self, maps: NDArray[np.floating]) -> NDArray[np.float64]:
        """Share of the positive mass of maps (..., samples) in each part, (..., 6); NaN where nothing is positive."""
        positive = np.asarray(maps, dtype=np.float64).clip(min=0)
        mass = self.sums(positive)
        total = mass.sum(axis=-1, keepdims=True)
        return np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)

    def sums(self, maps: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum of maps (..., samples) over each part, (..., 6)."""
        inside = self.of_sample[:, None] == np.arange(len(PARTS))
        return np.asarray(maps, dtype=np.float64) @ inside


def delineate(ecg: NDArray[np.floating], fs: float) -> Parts | None:
    """Parts of (leads, samples) in mV at ``fs`` Hz; None where fewer than two beats are found.

    T wins over the P of a beat that comes early, QRS over all.
    """
    beats = qrs.ROBUST.find(np.asarray(ecg, dtype=np.float64), fs)
    if len(beats) < _FEWEST:
        return None
    rate = np.cbrt(np.median(np.diff(beats)) / fs)
    onset, offset = _edges(ecg, fs, beats)
    late = ((offset - beats) / fs - _USUAL_OFFSET).clip(min=0)
    t_onset, t_offset = 0.065 + 0.104 * rate + 0.7 * late, 0.056 + 0.309 * rate + 0.5 * late
    t_onset, t_offset = (beats + np.rint(t * fs).astype(np.intp) for t in (t_onset, t_offset))
    p_onset, p_offset = (beats + round(t * fs) for t in (_P_ONSET, _P_OFFSET))
    of_sample = np.full(ecg.shape[-1], _TQ, dtype=np.intp)
    spans = ((_P, p_onset, p_offset), (_PR, p_offset, onset), (_T, t_onset, t_offset), (_ST, offset, t_onset))
    for part, begins, ends in (*spans, (_QRS, onset, offset)):
        for begin, end in zip(begins.clip(0), ends.clip(0), strict=True):
            of_sample[begin:end] = part
    return Parts(beats, of_sample)


def _edges(ecg: NDArray[np.floating], fs: float, beats: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """On- and offset (exclusive) of each QRS complex: where its slope, the mean of the leads over 20 ms, is steep."""
    band = signal.sosfiltfilt(qrs.bandpass(1, 20, fs), ecg, axis=-1)
    slope = ndimage.uniform_filter1d(np.abs(np.gradient(band, axis=-1)).mean(axis=0), max(1, round(0.02 * fs)))
    around = np.arange(round(_WIDEST[0] * fs), round(_WIDEST[1] * fs) + 1)
    near = slope[(beats[:, None] + around).clip(0, len(slope) - 1)]
    steep = near > _STEEP * near.max(axis=1, keepdims=True)
    first, last = steep.argmax(axis=1), steep.shape[1] - 1 - steep[:, ::-1].argmax(axis=1)
    onset = np.minimum(beats + around[first], beats + round(_NARROWEST[0] * fs))
    offset = np.maximum(beats + around[last] + 1, beats + round(_NARROWEST[1] * fs))
    return onset, offset
