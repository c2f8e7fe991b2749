"""Preprocessing as the papers state it, on whole arrays: the last axis is time, all others are done at once.

Every function takes and gives float32 in mV (or what it is given) and leaves its input as it was.
"""

from fractions import Fraction

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

Signals = NDArray[np.float32]


def fill_gaps(x: Signals) -> Signals:
    """Replace what is not finite by the straight line between its neighbours, a lead that has nothing by zeros.

    ``x`` is (leads, samples). Filters would spread one missing sample over the whole record.
    """
    bad = ~np.isfinite(x)
    if not bad.any():
        return np.asarray(x, dtype=np.float32)
    y, at = np.array(x, dtype=np.float32), np.arange(x.shape[-1])
    for lead in np.flatnonzero(bad.any(axis=-1)):
        good = ~bad[lead]
        y[lead] = np.interp(at, at[good], y[lead, good]) if good.any() else 0
    return y


def resample(x: Signals, fs: float, to: float) -> Signals:
    """Change the sampling rate in the frequency domain (zero phase, no gain below the lower Nyquist rate).

    Parameters
    ----------
    x
        (..., samples) at ``fs`` Hz, all finite. Each row's straight line from first to last sample is taken out
        before and put back after, so that the ends, which a Fourier transform joins, do not ring.
    fs, to
        Rates in Hz; the result has ``ceil(samples * to / fs)`` samples, the first at the same instant as before.
    """
    x = np.asarray(x, dtype=np.float32)
    if fs == to or x.shape[-1] < 2:
        return x.copy()
    ratio = Fraction(to / fs).limit_denominator(10_000)
    up, down, n = ratio.numerator, ratio.denominator, x.shape[-1]
    # Padded to a length that the ratio divides (else the time axis would stretch) and the transform likes.
    blocks = fft.next_fast_len(-(-n // down))
    first, slope = x[..., :1], (x[..., -1:] - x[..., :1]) / (n - 1)
    before, after = blocks * down, blocks * up
    flat = np.zeros((*x.shape[:-1], before), dtype=np.float32)
    line = np.multiply(slope, np.arange(n, dtype=np.float32), out=flat[..., :n])
    line += first
    np.subtract(x, line, out=line)
    # As scipy.signal.resample does it, at once.
    shorter = min(before, after)
    spectrum = fft.rfft(flat)[..., : shorter // 2 + 1]
    if shorter % 2 == 0 and before != after:  # a bin that is its own mirror image in one of the two
        spectrum[..., -1] *= 2 if after < before else 0.5
    kept = -(-n * up // down)
    y = fft.irfft(spectrum / (before / after), after, overwrite_x=True)[..., :kept]
    y += first + slope * (np.arange(kept, dtype=np.float32) * (down / up))
    return np.ascontiguousarray(y)


def detrend(x: Signals) -> Signals:
    """Subtract the regression line over time of each lead (CNN-GAP: Lin et al. 2020)."""
    return signal.detrend(np.asarray(x, dtype=np.float32), axis=-1, type="linear")


def remove_baseline(x: Signals, window: int) -> Signals:
    """Subtract a centred moving average of ``window`` samples (ECGMaster: Liu et al. 2020, 250 samples at 250 Hz).

    Edges are averaged over the mirrored signal.
    """
    x = np.asarray(x, dtype=np.float32)
    # float64 inside: the running sum of a float32 filter drifts over a long record.
    return (x - ndimage.uniform_filter1d(x.astype(np.float64), window, axis=-1, mode="reflect")).astype(np.float32)


def denoise(x: Signals, wavelet: str = "db4", level: int = 3) -> Signals:
    """Soft-threshold the detail coefficients of a wavelet transform (ECGMaster: db4, three levels).

    The paper gives no threshold: this is the universal one, σ √(2 ln n) per lead with σ = MAD / 0.6745 of the finest
    details (Donoho & Johnstone 1994).
    """
    x = np.asarray(x, dtype=np.float32)
    approximation, *details = pywt.wavedec(x, wavelet, level=level, axis=-1)
    sigma = np.median(np.abs(details[-1]), axis=-1, keepdims=True) / 0.6745
    threshold = sigma * np.sqrt(2 * np.log(x.shape[-1]))
    details = [np.sign(d) * np.maximum(np.abs(d) - threshold, 0) for d in details]
    return pywt.waverec([approximation, *details], wavelet, axis=-1)[..., : x.shape[-1]].astype(np.float32)


def standardise(x: Signals, mean: Signals, deviation: Signals, valid: NDArray[np.bool_] | None = None) -> Signals:
    """Subtract each lead's mean over the training records and divide by its standard deviation (BUTTeam, xECGNet).

    Parameters
    ----------
    x
        (..., leads, samples).
    mean, deviation
        (leads,), of ``lead_statistics``.
    valid
        (..., samples) booleans; where False the result is 0, so that padding stays padding.
    """
    y = (np.asarray(x, dtype=np.float32) - mean[:, None]) / deviation[:, None]
    return y if valid is None else np.where(valid[..., None, :], y, np.float32(0))


def lead_statistics(records: list[Signals]) -> tuple[Signals, Signals]:
    """Mean over records of each lead's mean and of its standard deviation, both (leads,) (BUTTeam's code)."""
    mean = np.mean([r.mean(axis=-1, dtype=np.float64) for r in records], axis=0)
    deviation = np.mean([r.std(axis=-1, dtype=np.float64) for r in records], axis=0)
    return mean.astype(np.float32), np.maximum(deviation, 1e-6).astype(np.float32)


def fit_length(x: Signals, samples: int, where: float = 0.5) -> tuple[Signals, NDArray[np.bool_]]:
    """Cut or zero-pad to a length.

    Parameters
    ----------
    x
        (..., n).
    samples
        The length wanted.
    where
        0 keeps the head (pads the end), 1 keeps the end (pads the front), 0.5 is centred.

    Returns
    -------
    array (..., samples) and its validity mask (samples,): False where padded.
    """
    n = x.shape[-1]
    start = round((n - samples) * where)
    if n >= samples:
        return np.asarray(x[..., start : start + samples], dtype=np.float32), np.ones(samples, dtype=bool)
    y = np.zeros((*x.shape[:-1], samples), dtype=np.float32)
    y[..., -start : n - start] = x
    valid = np.zeros(samples, dtype=bool)
    valid[-start : n - start] = True
    return y, valid
