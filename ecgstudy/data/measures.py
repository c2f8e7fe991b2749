"""Simple measures of a signal that the reader notes and `ecgstudy.data.quality` judges."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

CLIPPED = 0.02  # s at the extreme value, which is …
CLIPPED_FROM_MEAN = 1.0  # … at least so many mV from the mean: a quantised baseline, too, can rest at an extreme
_CONSTANT_EDGE = 0.05  # s
_SAME_SPAN = 1e-4  # of three leads or more: no heart does that


class Extent(NamedTuple):
    """Lowest and highest value of each lead in mV, NaN where nothing is known; missing samples of each lead."""

    low: Array
    high: Array
    missing: NDArray[np.intp]

    @property
    def flat(self) -> NDArray[np.bool_]:
        """Leads that do not move."""
        return self.low == self.high


def extent(signal: Array) -> Extent:
    """How far each lead of (leads, samples) goes; missing samples are NaN."""
    low, high = signal.min(axis=1), signal.max(axis=1)
    if not np.isnan(low).any():
        return Extent(low, high, np.zeros(len(signal), dtype=np.intp))
    missing = np.isnan(signal).sum(axis=1)
    return Extent(np.fmin.reduce(signal, axis=1), np.fmax.reduce(signal, axis=1), missing)


def without_constant_ends(signal: Array, fs: float) -> tuple[Array, list[tuple[str, float]]]:
    """Cut off a start and an end during which no lead moves; tell which (``start``, ``end``) lasted how many s."""
    edge, found = math.ceil(_CONSTANT_EDGE * fs), []
    for where, step, value in (("start", 1, signal[:, :1]), ("end", -1, signal[:, -1:])):
        if (signal[:, ::step][:, :edge] == value).all():
            constant = int((signal != value).any(axis=0)[::step].argmax())
            found.append((where, constant / fs))
            signal = signal[:, ::step][:, constant - 1 :][:, ::step]
    return signal, found


class Rest(NamedTuple):
    """A lead that rests at its lowest or highest value: which lead, the value in mV, samples there."""

    lead: int
    at: float
    samples: int


def clipped(
    signal: Array, fs: float, whole: Extent, least: float = CLIPPED_FROM_MEAN
) -> tuple[list[Rest], NDArray[np.floating]]:
    """Find leads that rest at an extreme for ``CLIPPED`` s on end, at least ``least`` mV from their mean.

    Parameters
    ----------
    signal
        (leads, samples) in mV, without constant ends; missing samples are NaN.
    fs
        In Hz.
    whole
        Extent of the leads.
    least
        In mV.

    Returns
    -------
    rests, middle
        In the order lowest values, highest values; and the approximate mean of each lead.
    """
    run = math.ceil(CLIPPED * fs)  # a run this long is found by looking at every n-th sample
    coarse = np.ascontiguousarray(signal[:, ::run])
    middle = (np.where(np.isnan(coarse), 0, coarse) if whole.missing.any() else coarse).mean(axis=1)
    found = []
    for extreme in (whole.low, whole.high):
        held = (coarse == extreme[:, None]).any(axis=1) & (np.abs(extreme - middle) >= least)
        for lead in np.flatnonzero(held):
            rests = signal[lead] == extreme[lead]
            if (count := np.count_nonzero(rests)) >= run:
                edges = np.flatnonzero(np.diff(rests, prepend=False, append=False))
                if (edges[1::2] - edges[::2]).max() >= run:
                    found.append(Rest(int(lead), float(extreme[lead]), int(count)))
    return found, middle


def one_span(spans: Array | Sequence[float]) -> float:
    """Span in mV that three moving leads or more share, as if each was scaled by its own range; 0 if they do not."""
    moving = np.asarray(spans)[np.asarray(spans) > 0]
    return float(moving.max()) if len(moving) > 2 and np.ptp(moving) <= _SAME_SPAN * moving.max() else 0.0
