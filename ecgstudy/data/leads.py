"""The twelve leads: how files spell them, and whether the limb leads agree with each other.

Six limb leads come from three electrodes, so that four of them follow from the other two (Einthoven, Goldberger). If
they do not in a file, its leads have different gains, a wrong sign or exchanged names, or all of them hold something
that no electrode saw. Electrodes that were exchanged at the patient break no law. Only the shape of the beat shows
that, and it is noted only if P, QRS and T agree.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_LIMB = LEADS[:6]

_GAPS = ("", " ", "_", "-")
# Lead → further spellings; D and L are for derivation and lead. C1 … C6 are not among them: C3 and C4 are an EEG's too.
_SPELLINGS = {lead: tuple(f"{lead[:-1]}{gap}{lead[-1]}" for gap in _GAPS) for lead in LEADS[3:]} | {
    lead: (lead, *(f"{letter}{gap}{name}" for letter in "DL" for gap in _GAPS for name in (lead, number)))
    for number, lead in enumerate(("I", "II", "III"), 1)
}
_PREFIXES = ("", *(f"{word}{gap}" for word in ("lead", "ecg", "ecg lead", "ecg_lead") for gap in _GAPS))
CANONICAL = {
    f"{prefix}{spelling}".lower(): lead
    for lead, spellings in _SPELLINGS.items()
    for prefix in (*_PREFIXES, "MDC_ECG_LEAD_")
    for spelling in spellings
}
"""Spelling in lower case → standard name."""

LAWS = {
    "II = I + III": (-1, 1, -1, 0, 0, 0),
    "aVR = -(I + II)/2": (0.5, 0.5, 0, 1, 0, 0),
    "aVL = (I - III)/2": (-0.5, 0, 0.5, 0, 1, 0),
    "aVF = (II + III)/2": (0, -0.5, -0.5, 0, 0, 1),
}
"""Law of Einthoven or Goldberger → factors of the six limb leads whose sum it says is zero."""
FROM_I_AND_II = {
    "I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)
}  # fmt: skip
"""Limb lead → factors of I and II whose sum it is."""

# Residuals up to here are rounding: real records have 3 µV at most.
_ROUNDING = 0.02  # mV
# More than this share of the limb leads' size, rms to rms or peak to span, breaks a law.
_BROKEN = 0.1
# Exchanged augmented leads look the same as electrodes exchanged in I, II and III alone.
_ELECTRODES = {("aVR", "aVL"): "RA and LA", ("aVR", "aVF"): "RA and LL", ("aVL", "aVF"): "LA and LL"}
_SHORTEST_PULSE = 0.02  # s
_STEEP = 0.3  # of I to aVF, in P, QRS and T of a very vertical heart
_SHORTEST_RR = 0.5  # s; at a higher rate P lies in T
_LARGEST_P = 0.4  # mV
_LOWEST_RATE = 100.0  # Hz at which the parts of a beat can be told apart
_LONGEST = 60.0  # s of a record that are enough to find its beat
_MOST_SAMPLES = 2**19  # that are searched for what explains a broken law, some seconds' work
_SURE_WAVE, _SURE_QRS, _SURE_LEAD = 0.03, 0.1, 0.3  # mV

Array = NDArray[np.floating]


def residuals(limb: Array, names: Sequence[str]) -> tuple[list[str], Array]:
    """How far the limb leads at hand violate each law.

    Parameters
    ----------
    limb
        (leads, samples), any unit; what is missing is NaN.
    names
        Of these leads.

    Returns
    -------
    laws, residual
        The laws all of whose leads are at hand, and (laws, samples) what should be zero.
    """
    laws, factors = _factors(tuple(names), limb.dtype)
    return laws, factors @ limb


@lru_cache(maxsize=64)
def _factors(names: tuple[str, ...], dtype: np.dtype) -> tuple[list[str], Array]:
    """The laws of these leads, and (laws, leads) factors."""
    rows = [_LIMB.index(name) for name in names]
    laws = [law for law, factors in LAWS.items() if {i for i, factor in enumerate(factors) if factor} <= set(rows)]
    return laws, np.array([LAWS[law] for law in laws], dtype).reshape(len(laws), 6)[:, rows]


class Pulse(NamedTuple):
    """A pulse in all limb leads at once, such as an amplifier's 1 mV: level (mV), start and end (s), further ones."""

    level: float
    start: float
    end: float
    more: int

    def __str__(self) -> str:
        more = f" and {self.more} times more" if self.more else ""
        return f"calibration pulse: {self.level:.2g} mV in all leads from {self.start:.3g} to {self.end:.3g} s{more}"


class Contradiction(NamedTuple):
    """How limb leads contradict each other: law → largest violation in mV, and what explains it, if anything does."""

    laws: dict[str, float]
    exchange: str = ""
    pulse: Pulse | None = None
    odd_one: str = ""

    @property
    def notes(self) -> list[str]:
        """As a record's notes say it."""
        note = "lead laws: " + ", ".join(f"{law} broken by up to {by:.2g} mV" for law, by in self.laws.items())
        if why := self.exchange or self.odd_one:
            note = f"{note}; {why}"
        return [note, str(self.pulse)] if self.pulse else [note]


def check_limb_leads(x: Array, names: Sequence[str], spans: Array, fs: float) -> list[str]:
    """Note limb leads that contradict each other, of `contradiction` with the same arguments."""
    found, _ = contradiction(x, names, spans, fs)
    return found.notes if found else []


def contradiction(x: Array, names: Sequence[str], spans: Array, fs: float) -> tuple[Contradiction | None, float | None]:
    """Find limb leads that contradict each other: which law, by how much, and what explains it.

    Offsets do not count. Leads that do not move are left out, and so are samples that a limb lead lacks. Of a record of
    hours only the part around the largest contradiction is examined.

    Parameters
    ----------
    x
        (leads, samples) in mV; missing samples are NaN.
    names
        Standard names of the leads.
    spans
        (leads,) highest less lowest value.
    fs
        In Hz.

    Returns
    -------
    contradiction, residual
        None if every law holds; and the largest violation from peak to peak in mV, of rounding and converters, too:
        None without a law all of whose leads are at hand.
    """
    rows = [names.index(lead) for lead in _LIMB if lead in names and spans[names.index(lead)] > 0]
    limb = x[: len(rows)] if rows == list(range(len(rows))) else x[rows]  # a view where it can be
    there = [names[row] for row in rows]
    laws, residual = residuals(limb, there)
    if not laws:
        return None, None
    largest = float(np.fmax.reduce(np.fmax.reduce(residual, axis=1) - np.fmin.reduce(residual, axis=1)))
    return (_contradiction(limb, there, residual, fs) if not largest <= _ROUNDING else None), largest


def _contradiction(limb: Array, there: list[str], residual: Array, fs: float) -> Contradiction | None:
    start = _worst(residual)
    limb = limb[:, start : start + _MOST_SAMPLES].astype(np.float64)
    whole = np.isfinite(limb).all(axis=0)
    if not whole.any():
        return None
    limb -= np.median(limb[:, whole], axis=1, keepdims=True)
    limb[:, ~whole] = 0  # where every law holds
    limits = _limits(limb)
    broken = _broken(limb, there, limits)
    if not broken:
        return None
    if why := _exchange(limb, there, limits):
        return Contradiction(broken, exchange=why)
    if pulse := _pulse(limb, there, fs, start):
        return Contradiction(broken, pulse=pulse)
    return Contradiction(broken, odd_one=_odd_one(limb, there))


def _worst(residual: Array) -> int:
    """First of the samples around the largest residual of a long record; 0 of a short one, which is taken whole."""
    if residual.shape[1] <= _MOST_SAMPLES:
        return 0
    far = np.zeros(residual.shape[1], residual.dtype)
    for law in residual:
        some = law[:: 1 + len(law) // _MOST_SAMPLES]
        some = some[np.isfinite(some)]
        np.fmax(far, np.abs(law - (np.median(some) if some.size else 0)), out=far)
    at = int(far.argmax())
    return min(max(0, at - _MOST_SAMPLES // 2), residual.shape[1] - _MOST_SAMPLES)


def _limits(limb: Array) -> tuple[float, float, float]:
    """What breaks a law of these leads, as peak, as root mean square, and at least (mV): the same for any signs."""
    steps = np.abs(np.diff(limb, axis=1))
    step = np.min(steps, initial=np.inf, where=steps > 1e-5)  # a coarse converter's rounding is no violation
    floor = max(_ROUNDING, 3 * step) if np.isfinite(step) else _ROUNDING
    return _BROKEN * float(np.ptp(limb, axis=1).mean()), _BROKEN * float(limb.std(axis=1).mean()), floor


def _broken(limb: Array, names: Sequence[str], limits: tuple[float, float, float]) -> dict[str, float]:
    """Laws that are broken by leads with a median of zero → largest violation in mV."""
    laws, residual = residuals(limb, names)
    residual = np.abs(residual - np.median(residual, axis=1, keepdims=True))
    of_peak, of_rms, floor = limits
    broken = (residual.max(axis=1) > of_peak) | (np.sqrt((residual**2).mean(axis=1)) > of_rms)
    peak = residual.max(axis=1).tolist()
    return {law: by for law, by, is_broken in zip(laws, peak, broken, strict=True) if is_broken and by > floor}


def _exchange(limb: Array, names: Sequence[str], limits: tuple[float, float, float]) -> str:
    """The one wrong sign or the two exchanged names whose repair restores every law; both if two repairs do."""
    found = []
    for row, name in enumerate(names):
        mended = limb.copy()
        mended[row] *= -1
        if not _broken(mended, names, limits):
            found.append(f"{name} has the wrong sign")
    for pair in combinations(range(len(names)), 2):
        mended = limb.copy()
        mended[list(pair)] = limb[list(pair[::-1])]
        if not _broken(mended, names, limits):
            exchanged = tuple(names[row] for row in pair)
            as_well = (
                f" (or the electrodes {_ELECTRODES[exchanged]} in I, II and III)" if exchanged in _ELECTRODES else ""
            )
            found.append(f"{exchanged[0]} and {exchanged[1]} are swapped{as_well}")
    return " or ".join(found) if len(found) <= 2 else ""


def _pulse(limb: Array, names: Sequence[str], fs: float, start: int) -> Pulse | None:
    """A pulse in all leads at once, such as an amplifier's 1 mV, if it is what breaks the laws; from ``start`` on."""
    _, residual = residuals(limb, names)
    _, of_one = residuals(np.ones((len(names), 1)), names)
    if not of_one.any():  # aVF's law does not see it
        return None
    common = (of_one.T @ residual)[0] / (of_one**2).sum()
    common -= np.median(common)
    if _broken(limb - common, names, _limits(limb - common)):
        return None
    highest = np.abs(common).max()
    inside = np.abs(common) > highest / 2
    level = float(np.median(common[inside]))
    if abs(level) <= highest / 2:  # both ways
        return None
    edges = (start + np.flatnonzero(np.diff(inside, prepend=False, append=False))) / fs
    flat, rest = np.abs(common[inside] / level - 1) < 0.2, np.abs(common[~inside] / level) < 0.2
    if flat.mean() < 0.8 or rest.mean() < 0.8 or np.median(edges[1::2] - edges[::2]) < _SHORTEST_PULSE:
        return None
    return Pulse(level, float(edges[0]), float(edges[1]), len(edges) // 2 - 1)


def _odd_one(limb: Array, names: Sequence[str]) -> str:
    """The one lead without which the others agree, and how it differs from what they predict."""
    found = []
    for row, name in enumerate(names):
        others = [i for i in range(len(names)) if i != row]
        basis = np.array([FROM_I_AND_II[names[i]] for i in others])
        if len(others) < 3:  # which two leads cannot contradict
            continue
        i_and_ii = np.linalg.pinv(basis) @ limb[others]
        if np.abs(limb[others] - basis @ i_and_ii).max() > _BROKEN / 2 * np.ptp(limb, axis=1).mean():
            continue
        told = np.array(FROM_I_AND_II[name]) @ i_and_ii
        product, norm = float(told @ limb[row]), float(told @ told)
        alike = product > 0.98 * np.sqrt(norm * float(limb[row] @ limb[row])) > 0
        if alike and not 0.9 < product / norm < 1.1:
            found.append(f"{name} is {product / norm:.2g} times what the others give")
        else:
            found.append(f"{name} is not what the others give")
    return found[0] if len(found) == 1 else ""


def check_electrodes(x: Array, names: Sequence[str], fs: float, up_less_down: Array) -> list[str]:
    """A note if P, QRS and T all point as they do when the right arm's electrode is exchanged.

    In a true aVR every wave points down. Here they do in aVL (RA and LA exchanged) or aVF (RA and LL), and in I or II
    too, while V6 is as it should be. This needs a P wave. LA and LL exchanged leave no such sign and are not found.

    Parameters
    ----------
    x
        (12, samples) in mV, leads in standard order.
    names
        Those of LEADS, else nothing is noted.
    fs
        In Hz.
    up_less_down
        (12,) how much further each lead goes up from its middle than down; it saves most records the rest.
    """
    if list(names) != list(LEADS) or fs < _LOWEST_RATE:
        return []
    first, second, _, right, left, foot = up_less_down[:6].tolist()
    if not ((first < 0 and left < right) or (second < 0 and foot < right)):
        return []
    beat = _beat(x[:, : round(_LONGEST * fs)].astype(np.float64), fs)
    if beat is None:
        return []
    p, qrs, t = beat
    down = (p < -_SURE_WAVE) & (p > -_LARGEST_P) & (qrs < -_SURE_QRS) & (t < 0)
    total = p + qrs + t
    v6 = LEADS.index("V6")
    if not (p[v6] > 0 and qrs[v6] > _SURE_QRS and t[v6] > 0):
        return []
    # A vertical heart makes I go down a little; exchanged arms make it go down as far as it went up.
    far = all(-wave[0] > _STEEP * abs(wave[5]) for wave in beat)
    for lead, arm, electrodes, sure in (("I", "aVL", "RA and LA", far), ("II", "aVF", "RA and LL", True)):
        row, most = LEADS.index(lead), LEADS.index(arm)
        lowest = total[most] == total[3:6].min() and total[3] > total[most] + _SURE_LEAD
        if sure and down[row] and down[most] and lowest:
            return [f"electrodes: P, QRS and T point down in {lead} and {arm}, as if {electrodes} were swapped"]
    return []


def _beat(x: Array, fs: float) -> tuple[Array, Array, Array] | None:
    """(leads,) amplitude of P, QRS (up plus down) and T in the median beat; None without a beat at rest."""
    if np.isnan(x).any():
        return None
    lag = max(1, round(0.02 * fs))
    slope = np.abs(x[:, lag:] - x[:, :-lag])
    slope = (slope / (slope.mean(axis=1, keepdims=True) + 1e-9)).mean(axis=0)
    steep = np.flatnonzero(slope > 0.4 * np.percentile(slope, 98)) if slope.size else np.empty(0, dtype=np.intp)
    before, after = round(0.28 * fs), round(0.42 * fs)
    middles = [
        (run[0] + run[-1] + lag) // 2
        for run in np.split(steep, np.flatnonzero(np.diff(steep) > 0.15 * fs) + 1)
        if len(run)
    ]
    if len(middles) < 3 or np.median(np.diff(middles)) < _SHORTEST_RR * fs:
        return None
    beats = [x[:, at - before : at + after] for at in middles if before <= at < x.shape[1] - after]
    if not beats:
        return None
    beat = np.median(beats, axis=0)
    time = np.arange(-before, after) / fs
    beat -= np.median(beat[:, (time > -0.09) & (time < -0.06)], axis=1, keepdims=True)
    parts = [
        beat[:, span] for span in ((time > -0.24) & (time < -0.09), np.abs(time) < 0.06, (time > 0.14) & (time < 0.4))
    ]
    p, qrs, t = ((part.max(axis=1), part.min(axis=1), part.mean(axis=1)) for part in parts)
    # The larger deflection of P and T, if the whole wave has its sign.
    atria, rest = (np.where((up > -down) == (mean > 0), np.where(up > -down, up, down), 0) for up, down, mean in (p, t))
    return atria, qrs[0] + qrs[1], rest
