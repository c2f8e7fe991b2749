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
REACH = 4.0  # a Gaussian is drawn to this many widths: there a wave of 2 mV is down to 0.7 µV


def eight_to_twelve(eight: np.ndarray) -> np.ndarray:
    """Derive all leads (12, ...) from I, II, V1 ... V6 (8, ...) by Einthoven's and Goldberger's equations."""
    first, second = eight[0], eight[1]
    derived = [second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.concatenate([eight[:2], derived, eight[2:]])


def rotation(frontal: float, horizontal: float, sagittal: float) -> np.ndarray:
    """Rotation (3, 3) of the dipole by angles in degrees.

    ``frontal`` turns what points to the left to the feet (as the electrical axis is counted), ``horizontal`` turns it
    to the back, ``sagittal`` turns what points to the feet to the back.
    """
    turned = np.eye(3)
    for angle, start, end in ((frontal, 0, 1), (horizontal, 0, 2), (sagittal, 1, 2)):
        plane = np.eye(3)
        plane[start, start] = plane[end, end] = np.cos(np.radians(angle))
        plane[end, start] = np.sin(np.radians(angle))
        plane[start, end] = -plane[end, start]
        turned = plane @ turned
    return turned


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
    time = np.linspace((centre - 4 * width).min(), (centre + 4 * width).max(), 250)
    drawn = np.abs(leads @ (dipole.T @ np.exp(-0.5 * ((time - centre[:, None]) / width[:, None]) ** 2)))
    peak = drawn.max(axis=1)
    above = drawn > np.minimum(np.minimum(np.maximum(peak / 10, 0.002), 0.025), peak / 2)[:, None]
    marks = time[np.stack([above.argmax(1), drawn.argmax(1), len(time) - 1 - above[:, ::-1].argmax(1)], axis=1)]
    marks[peak < min(visible, 0.9 * peak.max())] = np.nan
    onset, offset = np.fmin.reduce(marks, axis=None), np.fmax.reduce(marks, axis=None)
    length = offset - onset
    return Wave((centre - onset) / length, width / length, dipole, (marks - onset) / length)


def plateau(dipole: np.ndarray, slope: float, measured_at: float) -> Wave:
    """An ST segment in its own time, 0 at the J point and 1 at the peak of T.

    It has ``dipole`` (3,) mV at the time ``measured_at`` and grows by the fraction ``slope`` from 0 to 1.
    """
    centre = np.linspace(-0.1, 0.9, 6)
    width = np.full(6, 0.16)
    weight = 1 + slope * (centre - 0.4)
    weight /= np.exp(-0.5 * ((measured_at - centre) / width) ** 2) @ weight
    return Wave(centre, width, weight[:, None] * dipole, np.full((12, 3), np.nan))


def draw(placed: Iterable[tuple[Wave, np.ndarray, np.ndarray]], samples: int, fs: float) -> np.ndarray:
    """Draw each wave at all its beats into one dipole (3, samples) in mV.

    ``placed`` gives a wave with onset and duration (beats,) of its beats in seconds. Gaussians are computed near their
    centres only.
    """
    signal = np.zeros((3, samples + 2))  # what falls outside goes to the first and the last
    for one, onset, duration in placed:
        centre = (onset[:, None] + one.centre * duration[:, None]).ravel() * fs
        width = (one.width * duration[:, None]).ravel() * fs
        dipole = np.tile(one.dipole, (len(onset), 1)).astype(np.float32)
        reach = int(np.ceil(REACH * width.max(initial=0)))
        at = np.rint(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)
        value = np.exp(-0.5 * ((at - centre[:, None]) / width[:, None]).astype(np.float32) ** 2)
        at = at.clip(-1, samples).ravel() + 1
        for axis in range(3):
            signal[axis] += np.bincount(at, (value * dipole[:, axis, None]).ravel(), samples + 2)
    return signal[:, 1:-1]
