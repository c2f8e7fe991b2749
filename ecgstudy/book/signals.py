"""Figures of signals and of their preparation."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import signal

from ecgstudy import preprocessing
from ecgstudy.book import plots


def rates(x: NDArray[np.float32], fs: float, drawn: Mapping[float, str], *, seconds: float, ylabel: str) -> Figure:
    """Draw the beginning of one lead (samples,) of ``fs`` Hz at several rates, each with its own marker."""
    figure, ax = plt.subplots(figsize=(9, 3.2))
    for (rate, marker), look in zip(drawn.items(), plots.looks(map(str, drawn)).values(), strict=True):
        y = preprocessing.resample(x, fs, rate)[: int(seconds * rate)]
        ax.plot(np.arange(len(y)) / rate, y, marker=marker, markersize=4, linewidth=1, label=f"{rate:g} Hz", **look)
    ax.set(xlabel="time (s)", ylabel=ylabel)
    plots.strip_paper(ax)
    plots.legend_above(ax)
    return figure


def spectra(signals: Mapping[str, NDArray[np.float32]], fs: float) -> Figure:
    """Draw the power spectrum of each signal (samples,) in mV, windows of 1,024 samples averaged (Welch)."""
    figure, ax = plt.subplots(figsize=(9, 3.2))
    for (name, y), look in zip(signals.items(), plots.looks(signals).values(), strict=True):
        frequency, power = signal.welch(y, fs, nperseg=1024)
        ax.loglog(frequency[1:], power[1:], label=name, linewidth=1.2, **look)
    ax.set(xlabel="frequency (Hz)", ylabel="power (mV²/Hz)", ylim=(1e-9, None))
    plots.legend_above(ax)
    return figure


def padded(x: NDArray[np.float32], fs: float, samples: int, places: Mapping[str, float]) -> Figure:
    """Draw one lead (n,) in an input of so many samples, a row for each place, and its validity as a bar."""
    figure, axes = plt.subplots(len(places), 1, figsize=(9, 4), sharex=True)
    t = np.arange(samples) / fs
    for ax, (name, where) in zip(axes, places.items(), strict=True):
        y, valid = preprocessing.fit_length(x, samples, where)
        ax.plot(t, y, color=plots.INK, linewidth=0.8)
        ax.fill_between(t, y.min() - 0.1, y.min(), where=valid, color=plots.EVIDENCE, linewidth=0)
        ax.set_title(name, fontsize=9, loc="left")
        plots.strip_paper(ax)
    axes[-1].set_xlabel("time (s)")
    figure.tight_layout()
    return figure


def durations(table: pd.DataFrame, ticks: Sequence[float] = (0.5, 1, 2, 5, 10, 20)) -> Figure:
    """Box plots by source of the rows of an audit: seconds, and largest deflection in mV (logarithmic)."""
    shown = table.assign(source=table["source"].map(plots.plain), deflection=table[["low", "high"]].abs().max(axis=1))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    plots.sns.boxplot(shown, x="seconds", y="source", ax=left, fliersize=2)
    plots.sns.boxplot(shown, x="deflection", y="source", ax=right, fliersize=2, log_scale=True)
    left.set(xlabel="duration (s)", ylabel="")
    right.set(xlabel="largest deflection (mV)", xticks=ticks, xticklabels=ticks)
    right.minorticks_off()
    return figure
