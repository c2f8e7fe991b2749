"""Find the QRS complexes of an ECG, after Pan J, Tompkins WJ. IEEE Trans Biomed Eng 1985; 32:230-236.

One detector (band-pass, slope, mean over leads and a moment, peaks; no search back for missed beats) in three settings.
Each was chosen for one use, and committed numbers rest on all three.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

Array = NDArray[np.floating]

SHORTEST = 1.0  # seconds: long enough for the filter at any rate; a shorter record hardly has a beat


@dataclass(frozen=True)
class Detector:
    """A setting of the detector.

    Parameters
    ----------
    band
        Of the Butterworth filter of second order, in Hz.
    strength
        Filtered signal (leads, samples) and rate in Hz → strength (samples,), whose peaks are beats.
    typical
        Strength (samples,), samples of all its peaks and the record's length in seconds → strength of a typical beat.
    threshold
        Share of ``typical`` that a beat must exceed.
    """

    band: tuple[float, float]
    strength: Callable[[Array, float], Array]
    typical: Callable[[Array, NDArray[np.intp], float], float]
    threshold: float

    def find(self, ecg: Array, fs: float) -> NDArray[np.intp]:
        """Middle of each QRS complex of (leads, samples) in mV at ``fs`` Hz (above 40): samples, ascending.

        Beats are at least 250 ms apart. A record shorter than ``SHORTEST``, or in which nothing moves, has none.
        """
        nothing = np.array([], dtype=np.intp)
        if ecg.shape[-1] < SHORTEST * fs:
            return nothing
        strength = self.strength(signal.sosfiltfilt(bandpass(*self.band, fs), ecg, axis=-1), fs)
        peaks, _ = signal.find_peaks(strength, distance=round(0.25 * fs))
        if not len(peaks):
            return nothing
        return peaks[strength[peaks] > self.threshold * self.typical(strength, peaks, ecg.shape[-1] / fs)]


@lru_cache(maxsize=16)
def bandpass(low: float, high: float, fs: float) -> Array:
    """Butterworth filter of second order from ``low`` to ``high`` Hz, as sections; ``high`` stays below Nyquist's."""
    return signal.butter(2, (low, min(high, 0.45 * fs)), "bandpass", fs=fs, output="sos")


def _each_lead_alike(band: Array, fs: float) -> Array:
    """Absolute slope in units of each lead's own, so that one noisy or large lead does not decide; over 100 ms."""
    slope = np.abs(np.diff(band, axis=-1))
    scale = slope.mean(axis=-1, keepdims=True)
    alive = scale[:, 0] > 0.01 / fs  # a hundredth of a mV a second
    if not alive.any():
        return np.zeros(slope.shape[-1])
    return ndimage.uniform_filter1d((slope[alive] / scale[alive]).mean(axis=0), round(0.1 * fs))


def _power(band: Array, fs: float) -> Array:
    """Squared slope, mean over leads and 120 ms."""
    slope = np.gradient(band, axis=-1)
    return ndimage.uniform_filter1d((slope**2).mean(axis=0), max(1, round(0.12 * fs)), axis=-1)


def _amplitude(band: Array, fs: float) -> Array:
    """Root of the squared slope, summed over leads and 100 ms under a Hann window."""
    slope = np.gradient(band, axis=-1)
    return np.sqrt(signal.fftconvolve((slope**2).sum(axis=0), np.hanning(round(0.1 * fs)), mode="same").clip(0))


def _middle_of_highest(strength: Array, peaks: NDArray[np.intp], seconds: float) -> float:
    """Median of the highest peaks, one for each second: hearts beat about once a second."""
    return float(np.median(np.sort(strength[peaks])[-max(1, round(seconds)) :]))


def _near_the_top(strength: Array, peaks: NDArray[np.intp], seconds: float) -> float:
    return float(np.percentile(strength, 98))


# For features, and for the own network's intervals. A half in place of 0.4 would miss broad ectopic beats.
ROBUST = Detector((5, 20), _each_lead_alike, _middle_of_highest, 0.4)
# What maps are compared with, and what places beats for erasing and for the key of ST segments.
BLIND = Detector((5, 15), _power, _near_the_top, 0.3)
# For measuring real and simulated records alike.
REALISM = Detector((5, 25), _amplitude, _near_the_top, 0.4)
