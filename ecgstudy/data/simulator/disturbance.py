"""What comes between a simulated heart and its record: electrodes, muscles, mains, movement and mixed-up cables.

The levels are those of real records (rms in µV, 5/50/95 % over the limb leads, then the chest leads, of 250 records of
PTB-XL and 120 of CPSC 2018):

- below 0.5 Hz: 13/36/134 and 15/41/206; 1/6/47 and 3/13/99;
- 2 to 25 Hz between T and P, what differs from the median beat: 6/10/17 and 5/7/13; 3/6/14 and 3/6/19;
- above 45 Hz in quiet 100 ms: 1.1/3.1/10 and 1.0/1.5/3.4; 0.6/3.7/18 and 0.4/2.4/9.1;
- mains: in 8 and 3 % of the records, of 4 to 8 µV.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft

from ecgstudy.data.records import LEADS

# I, II, V1 ... V6 from the potentials of the electrodes RA, LA, LL, C1 ... C6: so noise obeys Einthoven, too.
_ELECTRODES = np.zeros((8, 9))
_ELECTRODES[0, [1, 0]] = _ELECTRODES[1, [2, 0]] = 1, -1
_ELECTRODES[2:, :3], _ELECTRODES[2:, 3:] = -1 / 3, np.eye(6)
_LIMB = np.arange(9) < 3
# How often cables are mixed up or off.
_FAULTS = {"RA-LA reversed": 0.010, "LA-LL reversed": 0.003}
_FAULTS |= {f"V{k}-V{k + 1} reversed": 0.0015 for k in range(1, 6)} | {f"V{k} off": 0.0015 for k in range(1, 7)}

_FAULT_CHANCES = np.cumsum(list(_FAULTS.values()))


def draw_disturbance(rng: np.random.Generator, seconds: float) -> dict[str, Any]:
    """What disturbs one record; rms and amplitudes in mV, of each electrode RA, LA, LL, C1 ... C6 where lists of 9."""
    artefacts = rng.choice(4, p=[0.64, 0.18, 0.10, 0.08])
    each = [
        {
            "electrode": int(rng.integers(9)),
            "at": rng.random() * seconds,
            "size": rng.normal(0, 0.35),
            "decay": 0.03 * 20 ** rng.random(),  # from what looks like an early beat to a slow recovery
        }
        for _ in range(3)
    ]
    fault = _FAULT_CHANCES.searchsorted(rng.random(), side="right")
    return {
        "baseline": (rng.lognormal(np.log(0.022), 0.9) * np.where(_LIMB, 0.6, 1) * rng.lognormal(0, 0.5, 9)).tolist(),
        "electrode": (rng.lognormal(np.log(0.0082), 0.5) * rng.lognormal(0, 0.2, 9)).tolist(),
        "muscle": (rng.lognormal(np.log(0.0016), 0.9) * np.where(_LIMB, 1.3, 0.6) * rng.lognormal(0, 0.3, 9)).tolist(),
        # A movement: muscle and contact noise swell for a while, at some electrodes more than at others.
        "burst": {
            "factor": ((rng.random() < 0.3) * rng.lognormal(np.log(2.5), 0.6) * rng.lognormal(-0.5, 1, 9)).tolist(),
            "at": rng.random() * seconds,
            "length": rng.uniform(0.15, 1.5),
        },
        "mains": ((rng.random() < 0.06) * rng.lognormal(np.log(0.004), 0.4) * rng.normal(size=9)).tolist(),
        "mains_hz": (50, 60)[rng.integers(2)],
        "tremor": (rng.random() < 0.12) * rng.lognormal(np.log(0.02), 0.5),  # of one limb
        "tremor_hz": rng.uniform(4, 8),
        "tremor_phases": rng.uniform(0, 2 * np.pi, 2).tolist(),
        "tremor_limb": int(rng.integers(3)),
        "artefacts": each[:artefacts],
        "fault": [*_FAULTS, None][fault],
    }


@lru_cache(maxsize=4)
def _shapes(samples: int, fs: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Length of the transform, power spectra (2, bins) of electrode and muscle noise and slow waves (32, samples).

    All are of rms 1.
    """
    length = scipy.fft.next_fast_len(samples, real=True)
    hz = scipy.fft.rfftfreq(length, 1 / fs)
    hz = np.maximum(hz[hz <= 200], 0.05)  # above, next to nothing is left
    electrode = length * fs / 12.6 / hz / (1 + hz**-4) / (1 + (hz / 30) ** 4)  # 1/f from 1 to 30 Hz
    muscle = length * fs / 520 / (1 + (20 / hz) ** 4) / (1 + (hz / 150) ** 6)  # 20 to 150 Hz
    slow = np.arange(1, 17) / 16  # 0.06 to 1 Hz
    angle = 2 * np.pi * np.outer(slow, np.arange(samples) / fs)
    waves = np.concatenate([np.sin(angle), np.cos(angle)]) / np.sqrt((slow**-2.0).sum()) / np.tile(slow, 2)[:, None]
    return length, np.stack([electrode, muscle]).astype(np.float32), waves.astype(np.float32)


def electrode_noise(rng: np.random.Generator, drawn: dict[str, Any], samples: int, fs: float) -> np.ndarray:
    """Noise of I, II, V1 ... V6 (8, samples) in mV."""
    time = np.arange(samples) / fs
    length, power, slow = _shapes(samples, fs)
    variance = np.array([drawn["electrode"], drawn["muscle"]], dtype=np.float32).T ** 2
    white = rng.standard_normal((9, power.shape[1], 2), dtype=np.float32).view(np.complex64)[..., 0]
    white *= np.sqrt(variance @ power)
    potential = scipy.fft.irfft(white, length)[:, :samples]
    if any((burst := drawn["burst"])["factor"]):
        swell = np.exp(-0.5 * ((time - burst["at"]) / burst["length"]) ** 2).astype(np.float32)
        potential *= 1 + np.outer(np.float32(burst["factor"]), swell)
    potential += (np.array(drawn["baseline"])[:, None] * rng.normal(size=(9, 32))).astype(np.float32) @ slow
    if any(drawn["mains"]) and drawn["mains_hz"] < 0.45 * fs:  # else the recorder's filter has removed it
        potential += np.outer(drawn["mains"], np.sin(2 * np.pi * drawn["mains_hz"] * time))
    if drawn["tremor"]:
        swell = drawn["tremor"] * (1 + 0.5 * np.sin(2 * np.pi * 0.3 * time + drawn["tremor_phases"][0]))
        tremor = swell * np.sin(2 * np.pi * drawn["tremor_hz"] * time + drawn["tremor_phases"][1])
        potential[drawn["tremor_limb"]] += tremor
    for one in drawn["artefacts"]:
        since = np.maximum(time - one["at"], 0) / one["decay"]
        potential[one["electrode"]] += one["size"] * (np.exp(-since) - np.exp(-since / 0.3))
    return _ELECTRODES @ potential


def mix_up(eight: np.ndarray, fault: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Apply an electrode fault to I, II, V1 ... V6 (8, samples).

    The second value says as which lead each of the 12 is shown; -1: as none.
    """
    eight, shown = eight.copy(), np.arange(12)
    what, _, how = (fault or "").partition(" ")
    if what == "RA-LA":
        eight[0], eight[1] = -eight[0], eight[1] - eight[0]
        shown[[1, 2, 3, 4]] = 2, 1, 4, 3
    elif what == "LA-LL":
        eight[[0, 1]] = eight[[1, 0]]
        shown[[0, 1, 4, 5]] = 1, 0, 5, 4
    elif how == "reversed":
        one, other = map(LEADS.index, what.split("-"))
        eight[[one - 4, other - 4]] = eight[[other - 4, one - 4]]
        shown[[one, other]] = other, one
    elif how == "off":
        eight[LEADS.index(what) - 4] = 0
        shown[LEADS.index(what)] = -1
    return eight, shown
