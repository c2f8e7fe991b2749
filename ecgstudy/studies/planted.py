"""Faults planted in sound records at a known strength, to measure which are found and what they do to an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgstudy.data.leads import LEADS
from ecgstudy.data.records import Record
from ecgstudy.data.simulator.dipole import eight_to_twelve
from ecgstudy.preprocessing import resample

Array = NDArray[np.float32]
Planting = Callable[[Array, float, float, np.random.Generator], Array]
_EIGHT = [0, 1, *range(6, 12)]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes
    ----------
    name
        Unique.
    check
        The check of `ecgstudy.data.quality` that should find it; empty for what is no 12-lead ECG of a resting adult.
    unit
        Of the strength.
    strengths
        From the weakest to the strongest; for exchanges a single 1.
    plant
        Signal (12, samples) in mV, rate in Hz, strength and random numbers → a new signal.
    rate
        New rate in Hz, given the old one and the strength, where it changes.
    """

    name: str
    check: str
    unit: str
    strengths: tuple[float, ...]
    plant: Planting
    rate: Callable[[float, float], float] = lambda fs, strength: fs

    def __call__(self, record: Record, strength: float, rng: np.random.Generator) -> Record:
        """Plant it in a record with twelve leads."""
        x = self.plant(record.signal, record.fs, strength, rng)
        fs = self.rate(record.fs, strength)
        return replace(record, signal=np.ascontiguousarray(x, dtype=np.float32), fs=fs, notes=())


def _flat_leads(x: Array, fs: float, number: float, rng: np.random.Generator) -> Array:
    y = x.copy()
    y[rng.permutation(len(LEADS))[: int(number)]] = 0
    return y


def _rest(x: Array, fs: float, seconds: float, rng: np.random.Generator) -> Array:
    y, length = x.copy(), min(round(seconds * fs), x.shape[1])
    start = int(rng.integers(x.shape[1] - length + 1))
    y[:, start : start + length] = y[:, start : start + 1]
    return y


def _missing(x: Array, fs: float, percent: float, rng: np.random.Generator) -> Array:
    """Half a second at a time, all leads at once."""
    y, length = x.copy(), round(0.5 * fs)
    parts = -(-x.shape[1] // length)
    for part in rng.permutation(parts)[: max(1, round(percent / 100 * parts))]:
        y[:, part * length : (part + 1) * length] = np.nan
    return y


def _clip(x: Array, fs: float, level: float, rng: np.random.Generator) -> Array:
    middle = np.median(x, axis=1, keepdims=True)
    return np.clip(x, middle - level, middle + level)


def _twelve(eight: NDArray[np.floating]) -> Array:
    return eight_to_twelve(eight.astype(np.float32))


def _muscle(x: Array, fs: float, rms: float, rng: np.random.Generator) -> Array:
    """White noise between 20 and 150 Hz in I, II and V1 to V6, and what follows from it in the others."""
    noise = signal.sosfilt(
        signal.butter(2, (20, min(150, 0.45 * fs)), "bandpass", fs=fs, output="sos"), rng.normal(size=(8, x.shape[1]))
    )
    return x + _twelve(rms * noise / noise.std())


def _mains(hz: float) -> Planting:
    def plant(x: Array, fs: float, microvolts: float, rng: np.random.Generator) -> Array:
        """Of another size and sign in each lead, on average as large as ``microvolts`` says."""
        size = rng.uniform(0.5, 1.5, 8) * rng.choice((-1, 1), 8) * microvolts / 1000
        return x + _twelve(np.outer(size, np.sin(2 * np.pi * hz * np.arange(x.shape[1]) / fs)))

    return plant


def _wander(x: Array, fs: float, span: float, rng: np.random.Generator) -> Array:
    """Three slow waves (0.1 to 0.45 Hz) in I, II and V1 to V6, together ``span`` mV from peak to peak."""
    time = np.arange(x.shape[1]) / fs
    waves = np.sin(2 * np.pi * rng.uniform(0.1, 0.45, (8, 3, 1)) * time + rng.uniform(0, 2 * np.pi, (8, 3, 1))).sum(1)
    return x + _twelve(span * waves / np.ptp(waves, axis=1, keepdims=True))


def electrodes(x: Array, names: Sequence[str]) -> Array:
    """The twelve leads after electrodes were exchanged in a circle: each hangs where the next one of ``names`` does."""
    zero = np.zeros_like(x[0])
    potential = {"RA": zero, "LA": x[0], "LL": x[1]}  # RA as the reference
    centre = (x[0] + x[1]) / 3
    potential |= {lead: x[LEADS.index(lead)] + centre for lead in LEADS[6:]}
    moved = potential | {one: potential[other] for one, other in pairwise([*names, names[0]])}
    right, left, foot = (moved[name] for name in ("RA", "LA", "LL"))
    chest = [moved[lead] - (right + left + foot) / 3 for lead in LEADS[6:]]
    return _twelve(np.stack([left - right, foot - right, *chest]))


def _exchanged(*names: str) -> Planting:
    return lambda x, fs, strength, rng: electrodes(x, names)


def _reversed_chest(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    return np.vstack([x[:6], x[:5:-1]])


def _one_sign(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    y = x.copy()
    y[rng.integers(6, 12)] *= -1
    return y


def _pulses(x: Array, fs: float, number: float, rng: np.random.Generator) -> Array:
    """In place of the signal: 1 mV in every lead for 0.2 s, with rest before and after."""
    y, length = x.copy(), round(0.2 * fs)
    for start in np.linspace(0, x.shape[1], int(number), endpoint=False).astype(int):
        part = slice(start, start + 3 * length)
        y[:, part] = 0
        y[:, start + length : start + 2 * length] = 1
    return y


def _lead_pulses(x: Array, fs: float, number: float, rng: np.random.Generator) -> Array:
    """As they are where I, II and V1 to V6 are recorded and the others are computed from them."""
    return _twelve(_pulses(x, fs, number, rng)[_EIGHT])


def _spikes(x: Array, fs: float, millivolts: float, rng: np.random.Generator) -> Array:
    """Pacing spikes of 2 ms as a recorder of 150 Hz passes them, 70 a minute, of another size in each lead."""
    times = np.arange(rng.uniform(0, 0.8), x.shape[1] / fs, 60 / 70)
    fine, narrow = 10_000.0, round(0.002 * 10_000)
    at = np.zeros(round(0.2 * fine))
    at[len(at) // 2 : len(at) // 2 + narrow] = 1
    shape = signal.sosfilt(signal.butter(2, 150, fs=fine, output="sos"), at)
    shape /= np.abs(shape).max()
    sampled = np.interp(np.arange(x.shape[1])[:, None] / fs - times, np.arange(len(at)) / fine - 0.1, shape, 0, 0)
    size = rng.uniform(0.3, 1, 8) * rng.choice((-1, 1), 8) * millivolts
    return x + _twelve(np.outer(size, sampled.sum(axis=1)))


def _one_gain(x: Array, fs: float, factor: float, rng: np.random.Generator) -> Array:
    y = x.copy()
    y[rng.integers(6)] *= factor
    return y


def _own_scale(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    return (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-6)


_LIMB = (("RA", "LA"), ("RA", "LL"), ("LA", "LL"), ("RA", "LA", "LL"), ("RA", "LL", "LA"))
_CHEST = tuple((one, other) for n, one in enumerate(LEADS[6:]) for other in LEADS[7 + n :])

FAULTS = (
    Fault("leads off", "leads off", "leads", (1, 2, 3, 4, 6, 8), _flat_leads),
    Fault("all leads at rest", "flat", "s", (0.5, 1, 2, 3, 5, 7), _rest),
    Fault("missing samples", "missing", "%", (5, 10, 20, 40, 60, 80), _missing),
    Fault("clipped", "clipped", "mV", (1.5, 1, 0.7, 0.5, 0.3, 0.2, 0.1), _clip),
    Fault("muscle noise", "noise", "mV rms", (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8), _muscle),
    Fault("mains 50 Hz", "mains", "µV", (10, 20, 50, 100, 200, 500, 1000), _mains(50)),
    Fault("mains 60 Hz", "mains", "µV", (10, 20, 50, 100, 200, 500, 1000), _mains(60)),
    Fault("wander", "wander", "mV", (1, 2, 4, 8, 16, 32), _wander),
    *(Fault(f"{'-'.join(names)} exchanged", "limb leads", "", (1,), _exchanged(*names)) for names in _LIMB),
    *(Fault(f"{one}-{other} exchanged", "V leads", "", (1,), _exchanged(one, other)) for one, other in _CHEST),
    Fault("V1 to V6 reversed", "V leads", "", (1,), _reversed_chest),
    Fault("wrong sign of all leads", "sign", "", (1,), lambda x, fs, strength, rng: -x),
    Fault("wrong sign of the limb leads", "sign", "", (1,), lambda x, fs, strength, rng: np.vstack([-x[:6], x[6:]])),
    Fault("wrong sign of the V leads", "sign", "", (1,), lambda x, fs, strength, rng: np.vstack([x[:6], -x[6:]])),
    Fault("wrong sign of one V lead", "sign", "", (1,), _one_sign),
    Fault("scaled up", "high scale", "times", (1.5, 2, 3, 5, 10, 1000), lambda x, fs, by, rng: x * np.float32(by)),
    Fault("scaled down", "low scale", "times", (1.5, 2, 3, 5, 10, 1000), lambda x, fs, by, rng: x / np.float32(by)),
    Fault("each lead scaled by its own size", "own scale", "", (1,), _own_scale),
    Fault("calibration pulses in all leads", "pulse", "pulses", (1, 2, 5), _pulses),
    Fault("calibration pulses in recorded leads", "pulse", "pulses", (1, 2, 5), _lead_pulses),
    Fault("cut short", "length", "s", (9, 7, 5, 4, 3, 2, 1.5, 1), lambda x, fs, to, rng: x[:, : round(to * fs)]),
    Fault("pacing spikes", "paced", "mV", (0.1, 0.2, 0.5, 1, 2), _spikes),
    Fault("gain of one limb lead", "lead laws", "times", (1.1, 1.2, 1.5, 2, 4), _one_gain),
    Fault(
        "sampled slowly", "rate", "Hz", (125, 100, 80, 60, 50, 40, 30, 25),
        lambda x, fs, to, rng: resample(x, fs, to), lambda fs, to: to,
    ),
)  # fmt: skip
