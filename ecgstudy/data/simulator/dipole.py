"""The heart as one moving dipole: waves as sums of Gaussians, seen by twelve leads.

The dipole (vectorcardiogram) has the axes x to the left, y to the feet, z to the back, in mV. Each wave of a beat is a
sum of Gaussians in time, each with its own direction [1]_ [2]_; Dower's matrix projects them to the leads [3]_.

References
----------
.. [1] McSharry PE, Clifford GD, Tarassenko L, Smith LA. A dynamical model for generating synthetic electrocardiogram
   signals. IEEE Trans Biomed Eng 2003;50:289-294.
.. [2] Sameni R, Clifford GD, Jutten C, Shamsollahi MB. Multichannel ECG and noise modeling: application to maternal
   and fetal ECG signals. EURASIP J Adv Signal Process 2007:043407.
.. [3] Dower GE, Machado HB, Osborne JA. On deriving the electrocardiogram from vectorcardiographic leads.
   Clin Cardiol 1980;3:87-95.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Rows I, II, V1 ... V6; columns x, y, z (Dower 1980).
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_PLATEAU = np.linspace(-0.1, 0.9, 6)  # centres of an ST segment's Gaussians
_STEPS = np.arange(250.0)  # of the time in which a wave is delineated
REACH = 4.0  # a Gaussian is drawn to this many widths: there a wave of 2 mV is down to 0.7 µV


def eight_to_twelve(eight: np.ndarray) -> np.ndarray:
    """Derive all leads (12, ...) from I, II, V1 ... V6 (8, ...), floats, by Einthoven's and Goldberger's equations."""
    twelve = np.empty((12, *eight.shape[1:]), dtype=eight.dtype)
    twelve[:2], twelve[6:] = eight[:2], eight[2:]
    first, second = eight[0], eight[1]
    np.subtract(second, first, out=twelve[2])
    np.divide(first + second, -2, out=twelve[3])
    np.subtract(first, second / 2, out=twelve[4])
    np.subtract(second, first / 2, out=twelve[5])
    return twelve


def rotation(frontal: float, horizontal: float, sagittal: float) -> np.ndarray:
    """Rotation (3, 3) of the dipole by angles in degrees.

    ``frontal`` turns what points to the left to the feet (as the electrical axis is counted), ``horizontal`` turns it
    to the back, ``sagittal`` turns what points to the feet to the back.
    """
    angles = np.radians((frontal, horizontal, sagittal))
    (cos_f, cos_h, cos_s), (sin_f, sin_h, sin_s) = np.cos(angles).tolist(), np.sin(angles).tolist()
    in_frontal = np.array([[cos_f, -sin_f, 0], [sin_f, cos_f, 0], [0, 0, 1]])
    in_horizontal = np.array([[cos_h, 0, -sin_h], [0, 1, 0], [sin_h, 0, cos_h]])
    in_sagittal = np.array([[1, 0, 0], [0, cos_s, -sin_s], [0, sin_s, cos_s]])
    return in_sagittal @ (in_horizontal @ in_frontal)


@dataclass(frozen=True, eq=False)
class Wave:
    """A wave in its own time: 0 at its onset and 1 at its offset, over all leads.

    ``centre`` and ``width`` (Gaussians,), ``dipole`` (Gaussians, 3) in mV; ``marks`` (12, 3) are onset, peak and offset
    in each lead, NaN in a lead that does not show the wave.
    """

    centre: np.ndarray
    width: np.ndarray
    dipole: np.ndarray
    marks: np.ndarray

    def at(self, time: float) -> np.ndarray:
        """Dipole (3,) in mV at ``time``."""
        return np.exp(-0.5 * ((time - self.centre) / self.width) ** 2) @ self.dipole


def wave(template: np.ndarray, leads: np.ndarray, visible: float = 0.015) -> Wave:
    """Delineate a template as an annotator sees it, and put it in its own time.

    Parameters
    ----------
    template
        (Gaussians, 5): centre and width in any unit of time, dipole x, y, z in mV.
    leads
        (12, 3) lead vectors.
    visible
        mV; a lead shows the wave if its peak reaches this (the largest leads show it in any case), from where it first
        exceeds a tenth of the peak (at least 2 and at most 25 µV) to where it last does.
    """
    centre, width, dipole = template[:, 0], template[:, 1], template[:, 2:]
    start, end = (centre - 4 * width).min(), (centre + 4 * width).max()
    time = start + _STEPS * ((end - start) / _STEPS[-1])
    drawn = np.abs(leads @ (dipole.T @ np.exp(-0.5 * ((time - centre[:, None]) / width[:, None]) ** 2)))
    peak = drawn.max(axis=1)
    above = drawn > np.minimum(np.minimum(np.maximum(peak / 10, 0.002), 0.025), peak / 2)[:, None]
    marks = time[np.array([above.argmax(1), drawn.argmax(1), len(time) - 1 - above[:, ::-1].argmax(1)]).T]
    marks[peak < min(visible, 0.9 * peak.max())] = np.nan
    onset, offset = np.fmin.reduce(marks, axis=None), np.fmax.reduce(marks, axis=None)
    length = offset - onset
    return Wave((centre - onset) / length, width / length, dipole, (marks - onset) / length)


def plateau(dipole: np.ndarray, slope: float, measured_at: float) -> Wave:
    """An ST segment in its own time, 0 at the J point and 1 at the peak of T.

    It has ``dipole`` (3,) mV at the time ``measured_at`` and grows by the fraction ``slope`` from 0 to 1.
    """
    centre, width = _PLATEAU, np.full(6, 0.16)
    weight = 1 + slope * (centre - 0.4)
    weight /= np.exp(-0.5 * ((measured_at - centre) / width) ** 2) @ weight
    return Wave(centre, width, weight[:, None] * dipole, np.full((12, 3), np.nan))


def draw(placed: Iterable[tuple[Wave, np.ndarray, np.ndarray]], samples: int, fs: float) -> np.ndarray:
    """Draw each wave at all its beats into one dipole (3, samples) in mV.

    ``placed`` gives a wave with onset and duration (beats,) of its beats in seconds. Gaussians are computed near their
    centres only.
    """
    waves = [
        (onset[:, None] + one.centre * duration[:, None], one.width * duration[:, None], one.dipole)
        for one, onset, duration in placed
    ]
    # The Gaussians of all waves in a row, then their samples in a row: a loop over waves takes half as long again.
    gaussians = [centre.size for centre, _, _ in waves]
    reach = np.repeat([int(np.ceil(REACH * (width * fs).max(initial=0))) for _, width, _ in waves], gaussians)
    centre = np.concatenate([centre.ravel() for centre, _, _ in waves]) * fs
    width = np.concatenate([width.ravel() for _, width, _ in waves]) * fs
    dipole = np.concatenate([dipole for centre, _, dipole in waves for _ in centre]).astype(np.float32)
    count = 2 * reach + 1
    end = count.cumsum()
    at = np.arange(float(end[-1]))
    at += np.repeat(np.rint(centre) - reach - (end - count), count)
    distance = at - np.repeat(centre, count)
    distance /= np.repeat(width, count)
    value = distance.astype(np.float32)
    value *= value
    value *= -0.5
    value = np.exp(value, out=value) * np.repeat(dipole.T, count, axis=1)
    at += 1
    bins = at.clip(0, samples + 1, out=at).astype(np.intp)  # what falls outside goes to the first and the last
    return np.array([np.bincount(bins, axis, samples + 2)[1:-1] for axis in value])
