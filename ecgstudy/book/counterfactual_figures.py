"""Figure and table of simulated records with and without one finding."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import plots
from ecgstudy.book.plots import EVIDENCE, INK
from ecgstudy.book.report import table
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.reading.counterfactual import Counterfactual

# With a finding, and without it: the line is dashed too, so that grey print tells.
_HAS, _LACKS = {"color": INK}, {"color": plots.ORANGE, "linestyle": (0, (4, 1.5))}


def with_and_without(several: Sequence[Counterfactual], *, leads: Sequence[str], seconds: float = 4) -> Figure:
    """Draw a lead of records with and without a finding, and the maps of it, one column a record.

    Parameters
    ----------
    leads
        Which lead is shown of each.
    seconds
        Length of the stretch that is shown, the one in which most has changed.
    """
    figure, axes = plt.subplots(2, len(several), figsize=(3.4 * len(several), 3.6), squeeze=False, sharex="col")
    for (top, bottom), one, lead in zip(axes.T, several, leads, strict=True):
        c, fs = CLASSES.index(one.name), one.has.record.fs
        start = _where_most_changes(one, seconds)
        at = np.arange(round(start * fs), round((start + seconds) * fs))
        for simulated, answer, look, word in (
            (one.lacks, one.without, _LACKS, "without"),
            (one.has, one.answer, _HAS, "with"),
        ):
            probability = answer.probabilities[c]
            top.plot(at / fs, simulated.record.signal[LEADS.index(lead), at], linewidth=0.9, **look)
            window = answer.window(one.name)
            m = answer.map(one.name)
            time = window.start + np.arange(len(m)) / window.fs
            shown = (time >= start) & (time < start + seconds)
            bottom.plot(time[shown], m[shown], linewidth=0.9, **look, label=f"{word} it: {probability:.2f}")
        window = one.answer.window(one.name)
        time = window.start + np.arange(len(one.changed)) / window.fs
        shown = (time >= start) & (time < start + seconds)
        low, high = bottom.get_ylim()
        foot = low - 0.08 * (high - low)
        bottom.fill_between(
            time[shown], foot, low, where=one.changed[shown], color=EVIDENCE, linewidth=0, step="mid", label="_"
        )
        top.set_title(f"{one.name}, {lead}", fontsize=10, loc="left")
        plots.strip_paper(top)
        plots.legend_above(bottom, fontsize=8)
        bottom.set_xlabel("time (s)")
    axes[0, 0].set_ylabel("mV")
    axes[1, 0].set_ylabel("map")
    figure.tight_layout()
    return figure


def _where_most_changes(one: Counterfactual, seconds: float) -> float:
    """Second at which the stretch begins in which the finding changes most."""
    window = one.answer.window(one.name)
    changed = np.cumsum([0, *one.changed])
    length = min(round(seconds * window.fs), len(one.changed))
    return window.start + int(np.argmax(changed[length:] - changed[:-length])) / window.fs


def counterfactual_table(compared: pd.DataFrame) -> Styler:
    """Mean over records of what changes without each finding: the rows of ``counterfactual.compared`` by class."""
    numbers = compared.drop(columns="record").groupby("class", sort=False).mean(numeric_only=True)
    numbers.insert(0, "records", compared.groupby("class", sort=False).size())
    return table(
        numbers.reset_index(),
        "The same hearts with one finding and without it: mean probability of the finding, share called, largest "
        "change of another probability, largest change of the ECG (mV), share of the time that changes, excess mass "
        "of the map there, and how the two maps agree.",
        digits=2,
    )
