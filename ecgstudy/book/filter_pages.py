"""What a filter does to ST deviation, measured as cardiologists measure it: figure and table of chapter 02."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, report
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.heart import ST_MEASURED

BEFORE_QRS = 0.02  # s
DEVIATIONS = ("STD", "STE")


def st_level(x: NDArray[np.floating], onset: NDArray[np.intp], offset: NDArray[np.intp], fs: float) -> float:
    """ST level of one lead (samples,): 60 ms after each QRS less 20 ms before it, the median over beats.

    Parameters
    ----------
    x
        In mV.
    onset, offset
        (beats,) samples at which each QRS begins and ends.
    fs
        In Hz.
    """
    return float(np.median(x[offset + round(ST_MEASURED * fs)] - x[onset - round(BEFORE_QRS * fs)]))


def st_levels(
    filtered: Callable[[NDArray[np.float32]], NDArray[np.float32]], hearts: int = 100, fs: float = 250, seed: int = 0
) -> pd.DataFrame:
    """ST level of simulated hearts before and after a filter of (leads, samples), without any noise.

    Returns
    -------
    One row a heart: class (``STD`` or ``STE``, ``hearts`` of each), rate (beats per minute), lead (of those that meet
    the criterion the one that deviates most), before and after in mV.
    """
    rows = []
    for name in DEVIATIONS:
        for index in range(hearts):
            simulated = synthetic.simulate(index, seed, fs=fs, labels=frozenset({name}), noise=0)
            x, heart = simulated.record.signal, simulated.parameters["heart"]
            y, levels = filtered(x), {}
            for lead in heart["st"]["affected"][name]:
                # The first beat and the last may lie where the window of a filter leaves the record.
                qrs = simulated.waves.query("lead == @lead and wave == 'QRS'")[1:-1]
                at = qrs["onset"].to_numpy(np.intp), qrs["offset"].to_numpy(np.intp)
                levels[lead] = [st_level(signal[LEADS.index(lead)], *at, fs) for signal in (x, y)]
            most = max(levels, key=lambda lead: abs(levels[lead][0]))
            rows.append((name, heart["rate"], most, *levels[most]))
    return pd.DataFrame(rows, columns=["class", "rate", "lead", "before", "after"])


def st_figure(levels: pd.DataFrame) -> Figure:
    """Draw each heart's ST level after the filter over that before it, with the line on which nothing changes."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2))
    for (name, some), look in zip(levels.groupby("class"), plots.looks(DEVIATIONS).values(), strict=True):
        ax.scatter(some["before"], some["after"], s=14, label=name, color=look["color"], alpha=0.7, linewidth=0)
    ends = [levels[["before", "after"]].min().min(), levels[["before", "after"]].max().max()]
    ax.plot(ends, ends, color=plots.INK, linewidth=0.8)
    ax.set(xlabel="ST level before the filter (mV)", ylabel="and after it (mV)")
    plots.legend_above(ax)
    figure.tight_layout()
    return figure


def st_table(levels: pd.DataFrame, caption: str) -> Styler:
    """Of each class the median level before and after, and percentiles of the size after in per cent of that before."""
    rows = []
    for name, some in levels.groupby("class"):
        low, middle, high = np.percentile(100 * some["after"] / some["before"], [5, 50, 95])
        about = {"class": name, "hearts": len(some), "before (mV)": some["before"].median()}
        kept = {"left, 5th percentile": f"{low:.0f} %", "median": f"{middle:.0f} %", "95th": f"{high:.0f} %"}
        rows.append(about | {"after (mV)": some["after"].median()} | kept)
    return report.table(pd.DataFrame(rows), caption, digits=2)
