"""Hearts and recorders that differ more than those of the study's trials do, for networks that are to read real ECGs.

The hearts of ``heart`` are plain examples of nine classes, as trials of maps need them. Real records have more: other
rates and intervals, other diagnoses beside the nine, electrodes in other places, and recorders with filters. Each is a
step of its own; nobody knows how often each of them comes, so they are drawn more widely than life has them.
"""

from collections.abc import Set
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator.heart import Body, Heart, Labels

VERSION = 1  # raised when the same seed and steps would give another record
STEPS = ("intervals", "forms", "diagnoses", "atria", "recorders")


def steps_of(variety: str) -> frozenset[str]:
    """Steps of a variety as it is written: joined by +, ``all`` or nothing.

    Raises
    ------
    ValueError
        when it names another step.
    """
    if variety == "all":
        return frozenset(STEPS)
    steps = frozenset(variety.split("+")) - {""}
    if unknown := steps - set(STEPS):
        raise ValueError(f"variety {variety!r}: no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    return steps


def vary_body(rng: np.random.Generator, body: Body, steps: Set[str]) -> Body:
    """Another body in the place of ``body``: as many numbers are drawn whatever the steps are."""
    axes, qrs_axis, fascicle = rng.normal(size=3) * (10, 18, 12), rng.normal(15, 27), rng.random()
    gain, shift = rng.lognormal(0, 0.25, 6), rng.normal(0, 0.35, 6).clip(-0.9, 0.9)
    shape, sizes = rng.uniform(1.0, 1.9), np.exp(rng.normal(size=3) * (0.35, 0.4, 0.45))
    t_axes = rng.normal(0, 18, 3)
    if "forms" in steps:
        fascicular = -55.0 if fascicle < 0.07 else 70.0 if fascicle < 0.09 else qrs_axis - 15
        body = replace(
            body,
            axes=axes.tolist(),
            qrs_axis=fascicular,
            electrode_gain=(gain * (0.74, 1.12, 0.98, 0.94, 0.98, 1.0)).tolist(),
            electrode_shift=shift.tolist(),
            p_size=float(1.5 * sizes[0]),
            qrs_size=float(1.15 * sizes[1]),
            t_size=float(sizes[2]),
            t_axes=t_axes.tolist(),
            p_shape=(shape * np.array(body.p_shape)).tolist(),
            qrs_shape=(shape * np.array(body.qrs_shape)).tolist(),
            t_shape=(shape * np.array(body.t_shape)).tolist(),
        )
    kind, depth = rng.random(), rng.uniform(0.5, 1.0)
    if "diagnoses" in steps:
        body = _diagnosed(body, kind, depth)
    return body


def _diagnosed(body: Body, kind: float, depth: float) -> Body:
    """A body with another diagnosis: of the size of its forces, or a scar, which turns the first of them."""
    qrs = [list(row) for row in body.qrs_shape]
    if kind < 0.10:  # left ventricular hypertrophy
        return replace(body, qrs_size=body.qrs_size * (1.2 + 0.8 * depth))
    if kind < 0.16:  # low voltage
        return replace(body, qrs_size=body.qrs_size * (0.8 - 0.45 * depth))
    if kind < 0.24:  # an anterior scar: first forces to the back
        qrs[0][4] += 12 * depth
        qrs[1][4] += 3 * depth
    elif kind < 0.32:  # an inferior scar: first forces up
        qrs[0][3] -= 11 * depth
        qrs[0][1] += 3
    elif kind < 0.35:  # a lateral scar: first forces to the right
        qrs[0][2] -= 9 * depth
        qrs[1][2] -= 4 * depth
    return replace(body, qrs_shape=qrs)


def vary_heart(rng: np.random.Generator, heart: Heart, labels: Labels, steps: Set[str]) -> Heart:
    """Another heart in the place of ``heart``: as many numbers are drawn whatever steps and labels are."""
    rate, qtc, strength, f_size, pr = rng.normal(size=5)
    wide, long = rng.exponential(size=2)
    unusual, share, pac, pvc, size, duration, t, flat, inverted, f_rate = rng.random(10)
    irregular = rng.beta(1.6, 2)
    if "intervals" in steps:
        slowest, fastest = (42, 175) if "AF" in labels else (52, 104) if "NSR" in labels else (38, 145)
        beats = 75 + 10 * rate if unusual < 0.6 else 45 + 85 * share
        beats = 90 * np.exp(0.28 * rate) if "AF" in labels else beats
        block = bool(labels & {"RBBB", "LBBB"})
        pr_usual, pr_long = np.clip(0.158 + 0.022 * pr, 0.110, 0.199), min(0.201 + 0.032 * long, 0.40)
        heart = replace(
            heart,
            rate=float(
                np.clip(90 * np.exp(0.28 * rate), 42, 175) if "AF" in labels else np.clip(beats, slowest, fastest)
            ),
            af_irregularity=float(0.06 + 0.28 * irregular),
            pr=float(pr_long if "I-AVB" in labels else pr_usual),
            qrs_duration=float(min(0.120 + 0.018 * wide, 0.200)) if block else heart.qrs_duration,
            qtc=float(np.clip(heart.qtc + 0.025 * qtc, 0.34, 0.54)),
            pac_coupling=float(0.45 + 0.45 * pac),
            pvc_coupling=float(0.42 + 0.50 * pvc),
            pvc_size=float(0.25 + 1.1 * size),
            pvc_duration=float(0.120 + 0.065 * duration),
            t_share=float(0.5 + 0.3 * t),
            block_strength=float(np.clip(np.exp(0.45 * strength), 0.3, 2.6)),
        )
        heart = replace(heart, p_duration=min(heart.p_duration, heart.pr - 0.02))
    if "diagnoses" in steps and "NSR" not in labels and flat < 0.25:  # T flat or inverted, of whatever cause
        heart = replace(heart, t_factor=heart.t_factor * (0.4 - 1.2 * inverted))
    if "atria" in steps:
        heart = replace(
            heart, f_size=float(np.clip(0.026 * np.exp(0.75 * f_size), 0.003, 0.15)), f_rate=float(4 + 5.5 * f_rate)
        )
    return heart


def draw_recorder(rng: np.random.Generator) -> dict[str, Any]:
    """What a recorder does to a record.

    Filters in Hz (0: none) and the order of the low cut, gain, steps in mV, seconds at the end without a signal, and a
    chest lead that is flat.
    """
    flat, silent = rng.random(2)
    return {
        "low_cut": float(rng.choice([0, 0.05, 0.15, 0.32, 0.5, 0.67], p=[0.30, 0.45, 0.10, 0.05, 0.08, 0.02])),
        "order": 1 + int(rng.random() < 0.2),
        "high_cut": float(rng.choice([0, 35, 40, 70, 100, 150], p=[0.30, 0.10, 0.15, 0.10, 0.15, 0.20])),
        "step": float(rng.choice([0.001, 0.0025, 0.00488, 0.01], p=[0.4, 0.2, 0.3, 0.1])),
        "gain": float(np.exp(rng.normal(0, 0.06))),
        "silent": float(rng.uniform(0.1, 2.5)) * (silent < 0.02),
        "flat": str(rng.choice(LEADS[6:])) if flat < 0.03 else "",
    }


def record(eight: NDArray[np.float64], recorder: dict[str, Any], fs: float) -> tuple[NDArray[np.float64], int]:
    """What a recorder keeps of I, II, V1 ... V6 (8, samples) in mV, and how many samples of it have a signal."""
    if cut := recorder["low_cut"]:
        b, a = signal.butter(recorder["order"], cut, "high", fs=fs)
        # It has settled, as if the first value had been there for long.
        eight = signal.lfilter(b, a, eight, axis=1, zi=signal.lfilter_zi(b, a) * eight[:, :1])[0]
    if 0 < (cut := recorder["high_cut"]) < 0.45 * fs:  # else it is above all that the record holds
        eight = signal.sosfilt(signal.butter(2, cut, fs=fs, output="sos"), eight, axis=1)
    eight = np.rint(eight * (recorder["gain"] / recorder["step"])) * recorder["step"]
    seen = eight.shape[1] - round(recorder["silent"] * fs)
    eight[:, seen:] = 0
    if recorder["flat"]:
        eight[LEADS.index(recorder["flat"]) - 4] = 0
    return eight, seen
