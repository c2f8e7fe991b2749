"""Is an ECG fit to be read? Eighteen checks, each with what it measured, how, and the border that it was held to.

Where the borders come from (``results/quality.csv`` has the numbers, ``ecgstudy train --part fitness --again`` measures
them again):

- A *note* is due beyond what 98 % or more of the 1,137 distinct real records show. Of these records 9.8 % have a note
  of any kind, and 0.4 % are unfit: three have no chest leads, one spans 12 mV, in one V1 to V6 look reversed.
- A record is *unfit* from the strength at which a planted fault changes as many of the own network's calls as another
  training of that network does, 4.8 %. Where a fault cannot be told from a healthy extreme (amplitude), it is unfit
  beyond nearly all real records; a network that never saw the fault may well be wrong before that.

Checks of single leads (from ``flat`` to ``wander``) make a record unfit once ``LOST`` leads are beyond the border: so
many may be lost before the answer changes by that much. What the checks miss: a tenth of the records in which leads
with the same shape of QRS were exchanged, a quarter where these are neighbours, more than half where LA and LL were;
two thirds of those whose scale is wrong by a factor of two; spikes of half of the paced, which recorders filter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ecgstudy.data import placement, qrs
from ecgstudy.data.leads import LEADS, check_electrodes, contradiction
from ecgstudy.data.measures import Extent, clipped, extent, without_constant_ends
from ecgstudy.preprocessing import fill_gaps

if TYPE_CHECKING:  # the reader shares measures with this module
    from ecgstudy.data.records import Record

Array = NDArray[np.floating]
Verdict = Literal["ok", "note", "unfit"]

LOST = 6  # leads of twelve
_BLOCK = 0.1  # s
_REST = 0.01  # mV within a block
_PULSE = 0.4  # mV from the lead's median to a level at which it rests
_CLIPPED_FROM_MEAN = 0.3  # mV, unless it rests there …
_CLIPPED_OFTEN = 2.0  # … % of the time
_QUICK = (45.0, 150.0)  # Hz: above P, T and most of QRS
_MAINS = (50.0, 60.0)
_SLOW = 0.5  # Hz
_COARSE = 125.0  # Hz, about: enough for the shape of a beat
_SLOWEST_SHAPE = 84.0  # Hz: fewer samples do not resolve the parts of a beat
_SPIKE = 0.1  # mV
_SPIKE_SIDE, _SPIKE_AROUND = 0.004, 0.016  # s: half its width; where nothing else may be as large
_SPIKE_SHARE, _SPIKE_LEADS, _SPIKE_RATE = 0.6, 4, 250.0
_SHORTEST_SPECTRUM = 2.0  # s


class Check(NamedTuple):
    """What a check measures and the borders of what it measured.

    Attributes
    ----------
    unit
        Of values and borders.
    note, unfit
        Values from which a finding is noted, and from which the record is unfit; infinite where there is no such value.
    how
        In words: how it is measured.
    falling
        Whether low values are the bad ones.
    """

    unit: str
    note: float
    unfit: float
    how: str
    falling: bool = False

    def reached(self, value: Any, border: float) -> Any:
        """Whether a value, or each of many, is at a border or beyond; NaN never is."""
        return value <= border if self.falling else value >= border


_NEVER = np.inf
CHECKS: Mapping[str, Check] = {
    "leads off": Check(
        "leads", 1, LOST, "leads of the twelve that are absent or stay within 10 µV for half of the record"
    ),
    "flat": Check(
        "s", 0.9, 0.9, "longest time that a lead stays within 10 µV in every 0.1 s"
    ),
    "missing": Check("%", 0.01, 11.0, "share of samples without a value, mean over leads"),
    "clipped": Check(
        "%", 0.2, 10.0, "share of the time that a lead is at its lowest or highest value, if it rests there for 20 ms "
        "on end, 0.3 mV or more from its mean or 2 % of the time"
    ),
    "noise": Check(
        "mV rms", 0.045, 0.25, "45 to 150 Hz without mains, median of 0.1 s pieces, so that QRS does not count",
    ),
    "mains": Check(
        "mV", 0.04, 0.35, "amplitude at 50 or 60 Hz beyond that of frequencies 1 to 3 Hz away"
    ),
    "wander": Check("mV", 3.5, 3.5, "span of what is slower than 0.5 Hz"),
    "limb leads": Check(
        "log likelihood ratio", 5.0, 15.0, "how much likelier P, QRS and T are if an exchange of limb electrodes is "
        "undone: a model of real beats",
    ),
    "V leads": Check(
        "log likelihood ratio", 16.0, 40.0, "how much likelier P, QRS and T are if an exchange of V1 to V6 is undone: "
        "a model of real beats",
    ),
    "sign": Check(
        "log likelihood ratio", 2.0, 8.0, "how much likelier P, QRS and T are if leads are turned over: a model of "
        "real beats",
    ),
    "low scale": Check(
        "mV", 0.5, 0.1, "span of a second, median over time and leads; what is low may be in another unit", falling=True
    ),
    "high scale": Check(
        "mV", 2.5, 8.0, "span of a second, median over time and leads; what is high may be in another unit"
    ),
    "own scale": Check(
        "of the mean", 0.1, 0.05, "how much leads differ in size (standard deviation or span, whichever differs "
        "less): leads that were scaled one by one do not", falling=True,
    ),
    "pulse": Check(
        "s", 0.1, 0.3, "time at which half of the leads rest 0.4 mV or more from their medians, or of a pulse in all "
        "limb leads",
    ),
    "length": Check("s", 9.9, 1.25, "duration", falling=True),
    "paced": Check(
        "a second", 0.5, _NEVER, "spikes of 0.1 mV or more in four leads at once, within 8 ms, most of the span of "
        "32 ms around",
    ),
    "lead laws": Check(
        "mV", 0.02, _NEVER, "largest violation of Einthoven's and Goldberger's laws, from peak to peak; noted if it is "
        "more than rounding and a tenth of the limb leads' size, too",
    ),
    "rate": Check("Hz", 99.0, 29.0, "sampling rate", falling=True),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    name
        A key of ``CHECKS``.
    verdict
        ``ok``, ``note`` (look at it) or ``unfit``.
    value, unit
        What was measured, of the worst lead where leads differ; NaN where it could not be measured.
    border
        Value from which it is noted.
    leads
        Those concerned, in the order of the record.
    how
        How it was measured.
    detail
        What it looks like, or why it could not be measured; empty where there is nothing to say.
    limit
        Value from which the record is unfit (where leads differ, six of them), infinite where none is.
    """

    name: str
    verdict: Verdict
    value: float
    unit: str
    border: float
    leads: tuple[str, ...] = ()
    how: str = ""
    detail: str = ""
    limit: float = np.inf

    def __str__(self) -> str:
        what = f": {self.detail}" if self.detail else ""
        if np.isnan(self.value):
            return f"{self.name} not measured{what}"
        where = f" in {', '.join(self.leads)}" if self.leads else ""
        unit = self.unit.removesuffix("s") if self.value == 1 and len(self.unit) > 1 else self.unit
        return f"{self.name} {self.value:.3g} {unit}{where}{what}"


@dataclass(frozen=True)
class Quality:
    """Whether a record is fit to be read: the findings of all ``CHECKS``, in their order."""

    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        return next(one for one in self.findings if one.name == name)

    @property
    def fit(self) -> bool:
        """Whether no finding makes the record unfit."""
        return all(one.verdict != "unfit" for one in self.findings)

    @property
    def sentence(self) -> str:
        """The verdict and what it rests on, in one sentence."""
        unfit, noted = ([one for one in self.findings if one.verdict == verdict] for verdict in ("unfit", "note"))
        if unfit:
            return f"Not fit to be read: {'; '.join(map(str, unfit))}."
        if noted:
            return f"Fit to be read, with a look at {'; '.join(map(str, noted))}."
        return "Fit to be read: nothing was found."


@dataclass
class _Measured:
    """Value of a check, leads and words; ``each`` are the values of all leads of the record."""

    value: float = np.nan
    leads: Sequence[str] = ()
    detail: str = ""
    each: Array | None = None
    harmless: bool = False  # it may be noted, but does not make a record unfit
    noted: bool | None = None  # whatever the value


def quality(record: "Record", *, model: placement.Model | None = None) -> Quality:
    """Check whether a record is fit to be read.

    A 10 s record of twelve leads at 500 Hz takes about 5 ms. What cannot be measured (shape of beats in a record with
    other leads than the twelve, say) has the value NaN and the verdict ``ok``.

    Parameters
    ----------
    record
        Any leads, rate and length; signal in mV, missing samples NaN.
    model
        Of the beat, for exchanged electrodes; the committed one by default.
    """
    measured = _measured(record, model)
    return Quality(tuple(_finding(name, check, measured[name], record.leads) for name, check in CHECKS.items()))


def _finding(name: str, check: Check, found: _Measured, names: Sequence[str]) -> Finding:
    value, leads = found.value, tuple(found.leads)
    if found.each is not None:
        value = float(np.fmax.reduce(found.each))
        if check.reached(value, min(check.note, check.unfit)):
            leads = tuple(lead for lead, bad in zip(names, check.reached(found.each, check.note), strict=True) if bad)
        unfit = bool((found.each >= check.unfit).sum() >= LOST) if value >= check.unfit else False
    else:
        unfit = check.reached(value, check.unfit)
    noted = check.reached(value, check.note) if found.noted is None else found.noted
    verdict: Verdict = "note" if noted else "ok"
    if unfit and not found.harmless:
        verdict = "unfit"
    detail = found.detail
    if value != value:  # NaN
        leads, detail = (), detail or "cannot be measured at this rate or length"
    elif verdict == "ok":
        leads, detail = (), ""
    return Finding(name, verdict, float(value), check.unit, check.note, leads, check.how, detail, check.unfit)


def _measured(record: "Record", model: placement.Model | None) -> dict[str, _Measured]:
    names, fs = record.leads, record.fs
    found = {name: _Measured() for name in CHECKS}
    found["length"].value, found["rate"].value = record.seconds, float(fs)
    there = [row for row, name in enumerate(names) if name in LEADS]
    if not record.signal.size:
        found["leads off"] = _Measured(len(LEADS), LEADS, "no samples")
        return found
    whole = extent(record.signal)
    found["missing"] = _Measured(100 * float(whole.missing.mean()) / record.signal.shape[1])
    found["missing"].leads = [name for name, count in zip(names, whole.missing, strict=True) if count]
    x = fill_gaps(record.signal)
    blocks = _Blocks.of(x, fs)
    at_rest = blocks.resting
    off = (at_rest.mean(axis=1) >= 0.5) | whole.flat | (whole.missing == record.signal.shape[1])
    absent = [name for name in LEADS if name not in names]
    lost = [*absent, *(names[row] for row in there if off[row])]
    found["leads off"] = _Measured(len(lost), lost, "no signal" if len(lost) > len(absent) else "not recorded")
    found["flat"].each = _longest(at_rest) * blocks.seconds
    inside, constant = (record.signal, []) if whole.flat.all() else without_constant_ends(record.signal, fs)
    found["clipped"].each = _time_at_extremes(inside, fs, whole)
    spectrum = _Spectrum.of(x, fs)
    found["wander"].each = spectrum.slow_span()
    if record.seconds >= _SHORTEST_SPECTRUM:
        found["noise"].each = spectrum.quick_noise(blocks.samples)
        amplitudes = {hz: spectrum.beyond(hz) for hz in _MAINS if fs / 2 > hz + 3.5}
        if amplitudes:
            each = np.stack(list(amplitudes.values()))
            found["mains"].each = each.max(axis=0)
            found["mains"].detail = f"{list(amplitudes)[int(each.max(axis=1).argmax())]:g} Hz"
    coarse, rate = coarser(x, fs)
    _scale(found, coarse, whole, blocks, whole.high > whole.low)
    _laws(found, record, whole, blocks, dict(constant))
    if fs >= _SPIKE_RATE:
        found["paced"].value = _spikes(x, fs) / record.seconds
    _shape(found, record, coarse, rate, whole, off, model or placement.committed())
    return found


def coarser(x: Array, fs: float) -> tuple[Array, float]:
    """Means of a few samples each, at about 125 Hz or at the lower rate that the signal has."""
    step = max(1, round(fs / _COARSE))
    number = x.shape[1] // step
    total = x[:, : number * step : step].copy()
    for offset in range(1, step):
        total += x[:, offset : number * step : step]
    total /= step
    return total, fs / step


class _Blocks(NamedTuple):
    """Lowest and highest values of each 0.1 s: (leads, blocks) in mV."""

    low: Array
    high: Array
    samples: int
    seconds: float

    @classmethod
    def of(cls, x: Array, fs: float) -> "_Blocks":
        samples = min(max(2, round(_BLOCK * fs)), x.shape[1])
        number = x.shape[1] // samples
        parts = x[:, : number * samples].reshape(len(x), number, samples)
        return cls(parts.min(axis=2), parts.max(axis=2), samples, samples / fs)

    @property
    def resting(self) -> NDArray[np.bool_]:
        return self.high - self.low < _REST

    def span_of_a_second(self) -> Array:
        """Median over seconds, (leads,)."""
        each = max(1, min(round(1 / self.seconds), self.low.shape[1]))
        number = self.low.shape[1] // each
        low, high = (a[:, : number * each].reshape(len(a), number, each) for a in (self.low, self.high))
        return np.median(high.max(axis=2) - low.min(axis=2), axis=1)


def _longest(true: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Longest run of true values in each row."""
    padded = np.pad(true, ((0, 0), (1, 1)))
    place = np.arange(padded.shape[1])
    last_false = np.maximum.accumulate(np.where(padded, 0, place), axis=1)
    return (place - last_false).max(axis=1)


def _time_at_extremes(signal: Array, fs: float, whole: Extent) -> Array:
    """Percent of the time that each lead is clipped."""
    share = np.zeros(len(signal))
    far = np.zeros(len(signal), dtype=bool)
    rests, middle = clipped(signal, fs, whole, _CLIPPED_FROM_MEAN / 10)
    for lead, at, samples in rests:
        share[lead] += 100 * samples / signal.shape[1]
        far[lead] |= abs(at - middle[lead]) >= _CLIPPED_FROM_MEAN
    return np.where(far | (share >= _CLIPPED_OFTEN), share, 0)


class _Spectrum(NamedTuple):
    """Fourier transform of a signal (leads, samples) less the straight line through its ends."""

    values: NDArray[np.complexfloating]
    hz: Array
    first: Array
    slope: Array
    samples: int
    length: int

    @classmethod
    def of(cls, x: Array, fs: float) -> "_Spectrum":
        samples = x.shape[1]
        first = x[:, :1]
        slope = (x[:, -1:] - first) / max(1, samples - 1)
        length = fft.next_fast_len(samples, real=True)
        level = x - (first + slope * np.arange(samples, dtype=np.float32))
        return cls(fft.rfft(level, length), fft.rfftfreq(length, 1 / fs), first, slope, samples, length)

    def _power(self, low: float, high: float) -> tuple[Array, int]:
        part = slice(*np.searchsorted(self.hz, (low, high)))
        values = self.values[:, part]
        return (values.real**2 + values.imag**2).sum(axis=1), values.shape[1]

    def beyond(self, hz: float) -> Array:
        """Amplitude (mV) at a frequency beyond what those beside it have."""
        own, width = self._power(hz - 0.3, hz + 0.3)
        (below, n), (above, m) = self._power(hz - 3, hz - 1), self._power(hz + 1, hz + 3)
        excess = np.maximum(own - (below + above) * (width / max(1, n + m)), 0)
        return 2 * np.sqrt(excess / self.length / self.samples)

    def quick_noise(self, block: int) -> Array | None:
        """Median over blocks of the rms (mV) between 45 and 150 Hz; None where the rate has none of them."""
        low, high = np.searchsorted(self.hz, _QUICK)
        if self.hz[-1] < _QUICK[0] + 5:
            return None
        quick = np.zeros_like(self.values)
        quick[:, low:high] = self.values[:, low:high]
        for hz in (*_MAINS, 100.0, 120.0):
            quick[:, slice(*np.searchsorted(self.hz, (hz - 1, hz + 1)))] = 0
        noise = fft.irfft(quick, self.length, overwrite_x=True)[:, : self.samples]
        number = self.samples // block
        parts = noise[:, : number * block].reshape(len(noise), number, block)
        return np.sqrt(np.median(np.einsum("lbs,lbs->lb", parts, parts), axis=1) / block)

    def slow_span(self) -> Array:
        """Span (mV) of the line and of what is slower than 0.5 Hz, on a grid of about 12 points a period."""
        bins = int(np.searchsorted(self.hz, _SLOW))
        grid = max(16, 12 * bins)
        slow = fft.irfft(self.values[:, :bins], grid) * (grid / self.length)
        at = np.arange(grid) * (self.length / grid)
        return np.ptp((self.first + self.slope * at + slow)[:, at < self.samples], axis=1)


def _scale(
    found: dict[str, _Measured], coarse: Array, whole: Extent, blocks: _Blocks, moving: NDArray[np.bool_]
) -> None:
    if not moving.any() or coarse.shape[1] < 2:
        return
    spans = blocks.span_of_a_second()[moving]
    found["low scale"].value = found["high scale"].value = float(np.median(spans))
    if moving.sum() > 2:
        differences = [
            sizes.std() / sizes.mean() for sizes in (coarse[moving].std(axis=1), (whole.high - whole.low)[moving])
        ]
        found["own scale"].value = float(min(differences))


def _laws(
    found: dict[str, _Measured], record: "Record", whole: Extent, blocks: _Blocks, constant: Mapping[str, float]
) -> None:
    """Limb leads against each other; pulses, which break their laws or let half of all leads rest at another level."""
    broken, residual = contradiction(record.signal, record.leads, whole.high - whole.low, record.fs)
    found["lead laws"].value = np.nan if residual is None else residual
    levels = (blocks.low + blocks.high) / 2
    away = blocks.resting & (np.abs(levels - np.median(levels, axis=1, keepdims=True)) >= _PULSE)
    # Where a record is padded it rests, too, but there is no way back.
    first, last = (round(constant.get(end, 0) / blocks.seconds + 0.5) for end in ("start", "end"))
    away[:, :first] = away[:, away.shape[1] - last :] = False
    together = away.sum(axis=0) >= max(1, -(-len(levels) // 2))
    found["pulse"] = _Measured(float(together.sum() * blocks.seconds), detail="leads rest at another level")
    if broken is None:
        found["lead laws"].noted = False
        return
    found["lead laws"].noted = True
    found["lead laws"].leads = [name for name in record.leads if name in LEADS[:6]]
    found["lead laws"].detail = broken.exchange or broken.odd_one or "no single lead explains it"
    if broken.pulse:
        found["lead laws"].detail = str(broken.pulse)
        length = broken.pulse.end - broken.pulse.start
        found["pulse"] = _Measured(max(found["pulse"].value, length), detail=str(broken.pulse))
    for name, word in (("sign", "wrong sign"), ("limb leads", "swapped")):
        if word in broken.exchange:
            found[name].noted, found[name].detail = True, broken.exchange


def _spikes(x: Array, fs: float) -> int:
    """Count pacing spikes: needles of two sides within 4 ms each, in several leads at once."""
    side, around = max(1, round(_SPIKE_SIDE * fs)), round(_SPIKE_AROUND * fs)
    if x.shape[1] <= 2 * side:
        return 0
    step = x[:, side:] - x[:, :-side]
    up, down = step > _SPIKE, step < -_SPIKE
    needle = up[:, :-side] & down[:, side:]
    needle |= down[:, :-side] & up[:, side:]
    leads, times = np.nonzero(needle)
    if len(np.unique(leads)) < min(_SPIKE_LEADS, len(x)):
        return 0
    size = np.minimum(np.abs(step[leads, times]), np.abs(step[leads, times + side]))
    near = np.clip(times[:, None] + side + np.arange(-around, around + 1), 0, x.shape[1] - 1)
    alone = size > _SPIKE_SHARE * np.ptp(x[leads[:, None], near], axis=1)
    moments = np.unique(np.stack([times[alone] // max(1, round(0.006 * fs)), leads[alone]], axis=1), axis=0)[:, 0]
    moments, number = np.unique(moments, return_counts=True)
    moments = moments[number >= min(_SPIKE_LEADS, len(x))]
    return int(len(moments) and 1 + (np.diff(moments) * 0.006 > 0.1).sum())


def _shape(
    found: dict[str, _Measured],
    record: "Record",
    coarse: Array,
    rate: float,
    whole: Extent,
    off: NDArray[np.bool_],
    model: placement.Model,
) -> None:
    """Electrodes and signs, from the shape of the beat in I, II and V1 to V6."""
    groups = ("limb leads", "V leads", "sign")
    parts, eight = None, list(placement.EIGHT)
    if twelve := set(LEADS) <= set(record.leads):
        rows = [record.leads.index(lead) for lead in LEADS]
        coarse, off, whole = coarse[rows], off[rows], Extent(whole.low[rows], whole.high[rows], whole.missing[rows])
    if not twelve:
        why = "needs the twelve leads"
    elif off[eight].any():
        why = "needs a signal in I, II and V1 to V6"
    elif rate < _SLOWEST_SHAPE:
        why = f"needs {_SLOWEST_SHAPE:g} Hz"
    else:
        parts = placement.beat_parts(coarse[eight], qrs.ROBUST.find(coarse[eight], rate), rate)
        why = "needs three whole beats"
    if parts is None:
        for name in groups:
            found[name].detail = found[name].detail or why
        return
    gains = model.gains(parts)
    best = int(gains.argmax())
    for name in groups:
        found[name].value = 0.0
    if gains[best] > 0:
        exchange = placement.EXCHANGES[best]
        told = found[exchange.group]
        told.value, told.leads = float(gains[best]), exchange.leads
        told.detail = told.detail or f"as if {exchange.what}"
        told.harmless = not exchange.matters
    up_less_down = whole.low + whole.high - 2 * coarse.mean(axis=1)
    signal = record.signal if record.leads == LEADS else record.signal[rows]
    for note in check_electrodes(signal, LEADS, record.fs, up_less_down):
        found["limb leads"].noted = True
        found["limb leads"].detail = found["limb leads"].detail or note.partition(": ")[2]
