from fractions import Fraction

import numpy as np
import pytest
import pywt
from scipy import signal

from ecgstudy import preprocessing as pre


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(3, 12, 1000)).astype(np.float32)


@pytest.mark.parametrize(("fs", "to"), [(500, 100), (500, 250), (257, 100), (1000, 500), (360, 250), (100, 500)])
@pytest.mark.parametrize("samples", [1000, 1003])
def test_resampled_tones_keep_their_time(fs, to, samples):
    # A tone far below both Nyquist rates is the same function of time on any grid.
    t, tone = np.arange(samples) / fs, lambda t: np.sin(2 * np.pi * 5 * t + 0.3) + 0.2 * t
    y = pre.resample(tone(t)[None].astype(np.float32), fs, to)
    assert y.shape == (1, int(np.ceil(samples * to / fs)))
    grid = np.arange(y.shape[1]) / to
    inside = (grid > 0.3) & (grid < t[-1] - 0.3)  # the ends are extrapolated
    np.testing.assert_allclose(y[0, inside], tone(grid)[inside], atol=0.03)


def test_resampling_takes_out_what_the_new_rate_cannot_hold():
    t = np.arange(5000) / 500
    y = pre.resample(np.sin(2 * np.pi * 80 * t)[None].astype(np.float32), 500, 100)
    assert np.abs(y[0, 50:-50]).max() < 0.01


@pytest.mark.parametrize(("fs", "to"), [(500, 100), (500, 125), (256, 100), (100, 500), (360, 250)])
def test_resampling_equals_scipys_between_straight_lines(x, fs, to):
    ratio = Fraction(to, fs)
    samples = 10 * ratio.denominator  # of a length that needs no padding
    x = x[0, :, :samples]
    line = x[:, :1] + (x[:, -1:] - x[:, :1]) / (x.shape[1] - 1) * np.arange(x.shape[1], dtype=np.float32)
    expected = signal.resample((x - line).astype(np.float64), x.shape[1] * to // fs, axis=-1)
    grid = np.arange(expected.shape[1]) * fs / to
    expected += x[:, :1] + (x[:, -1:] - x[:, :1]) / (x.shape[1] - 1) * grid
    np.testing.assert_allclose(pre.resample(x, fs, to), expected, atol=1e-5)


def test_resampling_to_the_same_rate_is_a_copy(x):
    y = pre.resample(x, 500, 500)
    np.testing.assert_array_equal(x, y)
    assert not np.shares_memory(x, y)


def test_gaps_become_straight_lines():
    x = np.array([[0, np.nan, 2, np.inf, np.nan, 5], [np.nan] * 6], dtype=np.float32)
    np.testing.assert_allclose(pre.fill_gaps(x), [[0, 1, 2, 3, 4, 5], [0] * 6])


def test_detrending_equals_least_squares(x):
    t = np.arange(1000)
    for lead in range(12):
        line = np.polyval(np.polyfit(t, x[1, lead].astype(np.float64), 1), t)
        np.testing.assert_allclose(pre.detrend(x)[1, lead], x[1, lead] - line, atol=1e-5)


@pytest.mark.parametrize("window", [250, 51])
def test_baseline_equals_a_naive_moving_average(x, window):
    y, row = pre.remove_baseline(x, window), x[0, 3].astype(np.float64)
    left = window // 2
    mirrored = np.concatenate([row[:left][::-1], row, row[::-1][:window]])
    naive = [row[i] - mirrored[i : i + window].mean() for i in range(len(row))]
    np.testing.assert_allclose(y[0, 3], naive, atol=1e-5)


def test_denoising_equals_pywt_row_by_row(x):
    for lead in (0, 7):
        coefficients = pywt.wavedec(x[2, lead].astype(np.float64), "db4", level=3)
        sigma = np.median(np.abs(coefficients[-1])) / 0.6745
        threshold = sigma * np.sqrt(2 * np.log(1000))
        coefficients[1:] = [pywt.threshold(c, threshold, "soft") for c in coefficients[1:]]
        np.testing.assert_allclose(pre.denoise(x)[2, lead], pywt.waverec(coefficients, "db4")[:1000], atol=1e-5)


def test_standardised_padding_stays_padding(x):
    mean, deviation = pre.lead_statistics(list(x))
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2)), atol=1e-6)
    valid = np.arange(1000)[None] < np.array([1000, 600, 1])[:, None]
    y = pre.standardise(x, mean, deviation, valid)
    assert (y[1, :, 600:] == 0).all()
    np.testing.assert_allclose(y[1, 4, :600], (x[1, 4, :600] - mean[4]) / deviation[4], rtol=1e-6)


@pytest.mark.parametrize("n", [3, 10, 11, 24])
@pytest.mark.parametrize("where", [0, 0.3, 0.5, 1])
def test_fitted_length_holds_the_signal_and_says_where(n, where):
    x = np.arange(1, n + 1, dtype=np.float32)[None]
    y, valid = pre.fit_length(x, 11, where)
    assert y.shape == (1, 11)
    assert valid.sum() == min(n, 11)
    assert (y[0, ~valid] == 0).all()
    kept = y[0, valid]
    np.testing.assert_array_equal(np.diff(kept), 1)  # contiguous, in order
    if where in (0, 1):
        assert kept[-int(where)] == (x[0, 0] if where == 0 else x[0, -1])


def test_inputs_are_left_as_they_were(x):
    before = x.copy()
    for function in (pre.detrend, pre.denoise, lambda x: pre.remove_baseline(x, 250), pre.fill_gaps):
        function(x)
    np.testing.assert_array_equal(x, before)
