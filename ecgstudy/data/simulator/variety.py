"""Hearts and recorders that differ more than those of the study's trials do, for networks that are to read real ECGs.

The hearts of ``heart`` are plain examples of nine classes, as trials of maps need them. Real records have more: other
rates and intervals, other diagnoses beside the nine, electrodes in other places, and recorders with filters. Each is a
step of its own; nobody knows how often each of them comes, so they are drawn more widely than life has them.

The last step changes labels, too. Of the real records of this study a quarter have none of the nine classes, and most
of these are not normal either. Hearts like that are drawn with ``unlabelled``, and NSR then means a normal ECG.
"""

from collections.abc import Set
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator.heart import Body, Heart, Labels

VERSION = 1  # raised when the same seed and steps of ``STEPS`` would give another record
STEPS = ("intervals", "forms", "diagnoses", "atria", "recorders")
"""Those that leave patients and labels as they are; ``all`` means these."""
UNLABELLED = "unlabelled"
RUNS = "runs"  # premature atrial beats come in runs, too: labels stay, their beats are more
VERSION_UNLABELLED, VERSION_RUNS = 2, 1  # the same, with that step besides
UNNAMED = {
    "hypertrophy": 0.16,
    "low voltage": 0.05,
    "anterior scar": 0.10,
    "inferior scar": 0.10,
    "lateral scar": 0.03,
    "changed T": 0.24,
    "bradycardia": 0.14,
    "tachycardia": 0.07,
    "axis": 0.07,
    "long QT": 0.04,
}
"""What an unlabelled heart has, and how often."""
_NONE, _NORMAL = 0.25, 0.15  # with ``unlabelled``: share of hearts without a label, and of those that become normal
# What a normal ECG has then; unlabelled hearts lie outside in what they are named after.
_RATE, _AXIS, _SIZE, _QTC = (54, 100), (-35, 40), (0.55, 1.9), 0.46
_SCARS = {"anterior scar": 0.16, "inferior scar": 0.24, "lateral scar": 0.32}  # as ``_diagnosed`` numbers them


def steps_of(variety: str) -> frozenset[str]:
    """Steps of a variety as it is written: joined by +, ``all`` for those of ``STEPS``, or nothing.

    Raises
    ------
    ValueError
        when it names another step.
    """
    steps, known = frozenset(variety.split("+")) - {""}, (*STEPS, UNLABELLED, RUNS)
    if unknown := steps - {"all", *known}:
        raise ValueError(f"variety {variety!r}: no step {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return steps - {"all"} | set(STEPS) if "all" in steps else steps


def version_of(steps: Set[str]) -> int | str:
    """What names the records of some steps in caches and runs, beside the steps themselves."""
    besides = {UNLABELLED: VERSION_UNLABELLED, RUNS: VERSION_RUNS}
    named = [f"{step} {version}" for step, version in besides.items() if step in steps]
    return ", ".join([str(VERSION), *named]) if named else VERSION


class Unnamed(NamedTuple):
    """What a heart has that none of the nine classes names (of ``UNNAMED``), and how much of it, 0 to 1."""

    name: str
    depth: float


def draw_others(rng: np.random.Generator) -> tuple[Labels | None, Unnamed | None]:
    """Labels in the place of a record's own (None: it keeps them), and what a heart without any has.

    Some become normal, so that NSR is not rare: among the real records it is the most frequent class.
    """
    chance, depth = rng.random(2)
    name = str(rng.choice(list(UNNAMED), p=list(UNNAMED.values())))
    if chance < _NONE:
        return frozenset(), Unnamed(name, float(depth))
    return frozenset({"NSR"}) if chance < _NONE + _NORMAL else None, None


def vary_body(rng: np.random.Generator, body: Body, steps: Set[str], labels: Labels) -> Body:
    """Another body in the place of ``body``: as many numbers are drawn whatever steps and labels are."""
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
    if UNLABELLED in steps and "NSR" in labels:  # a normal ECG: no other diagnosis, axis and size as most have them
        axis, size = np.clip(body.qrs_axis, *_AXIS), np.clip(body.qrs_size, *_SIZE)
        return replace(body, qrs_axis=float(axis), qrs_size=float(size))
    if "diagnoses" in steps and (labels or UNLABELLED not in steps):  # an unlabelled heart has one already
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
    if UNLABELLED in steps and "NSR" in labels:
        heart = replace(heart, rate=float(np.clip(heart.rate, *_RATE)), qtc=min(heart.qtc, _QTC))
    if "diagnoses" in steps and "NSR" not in labels and flat < 0.25:  # T flat or inverted, of whatever cause
        heart = replace(heart, t_factor=heart.t_factor * (0.4 - 1.2 * inverted))
    if "atria" in steps:
        heart = replace(
            heart, f_size=float(np.clip(0.026 * np.exp(0.75 * f_size), 0.003, 0.15)), f_rate=float(4 + 5.5 * f_rate)
        )
    return heart


def body_with(unnamed: Unnamed, body: Body) -> Body:
    """The body of a record whose heart has ``unnamed``, as far as QRS or the axis of T show it."""
    name, depth = unnamed
    if name in _SCARS:
        return _diagnosed(body, _SCARS[name], 0.5 + 0.5 * depth)
    if name == "hypertrophy":
        return replace(body, qrs_size=_SIZE[1] * (1.05 + 0.6 * depth))
    if name == "low voltage":
        return replace(body, qrs_size=_SIZE[0] * (0.95 - 0.45 * depth))
    if name == "axis":  # to the left, as in a fascicular block, or to the right
        return replace(body, qrs_axis=-45 - 40 * depth if depth < 0.7 else 50 + 40 * depth)
    if name == "changed T" and depth < 0.5:  # inverted in some leads
        t_axes = (np.array(body.t_axes) + np.array([1, -1, 1]) * (40 + 160 * depth)).tolist()
        return replace(body, t_axes=t_axes)
    return body


def heart_with(unnamed: Unnamed, heart: Heart) -> Heart:
    """The heart of a record that has ``unnamed``, as far as T, rate or QT show it."""
    name, depth = unnamed
    if name == "changed T" and depth >= 0.5:  # from flat to inverted everywhere
        return replace(heart, t_factor=abs(heart.t_factor) * (1.4 - 2 * depth))
    if name in ("hypertrophy", "anterior scar", "inferior scar", "lateral scar") and depth > 0.4:
        return replace(heart, t_factor=abs(heart.t_factor) * (0.8 - 1.4 * depth))
    if name == "bradycardia":
        return replace(heart, rate=_RATE[0] - 1 - 15 * depth)
    if name == "tachycardia":
        return replace(heart, rate=_RATE[1] + 2 + 45 * depth)
    return replace(heart, qtc=_QTC + 0.02 + 0.07 * depth) if name == "long QT" else heart


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
