"""Simulated patients: which body and heart they have, when their beats come, and of which waves these are made.

Everything is drawn whatever the labels are; the labels only choose from it. So the same streams with other labels give
the same patient with another diagnosis.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator.dipole import DOWER, Wave, plateau, rotation, wave

CONDUCTED, PAC, PVC, ABERRANT = range(4)  # kinds of beats; aberrant: on time, but with a passing bundle branch block
Labels = frozenset[str]

# Templates: one row per Gaussian: centre and width in ms, x (left), y (feet), z (back) in mV.
_P = np.array([(0, 18, 0.035, 0.055, -0.045), (34, 20, 0.052, 0.055, 0.038)])
_QRS = {
    "normal": np.array(
        [
            (16, 6, -0.10, 0.04, -0.26),  # septum: to the right and front
            (36, 6.2, 0.90, 0.42, -0.18),  # free walls
            (46, 7.2, 0.42, 0.24, 0.74),  # posterior left wall
            (64, 9, -0.10, -0.08, 0.24),  # base
        ]
    ),
    "RBBB": np.array(
        [
            (16, 6, -0.10, 0.04, -0.26),
            (36, 6.2, 0.90, 0.41, -0.14),
            (47, 7.2, 0.40, 0.22, 0.65),
            (80, 13, -0.28, -0.05, -0.20),  # right ventricle, late and slow: to the right and front
            (108, 15, -0.42, -0.02, -0.48),
        ]
    ),
    "LBBB": np.array(
        [
            (24, 11, 0.25, 0.12, 0.12),  # septum from right to left: no q in I and V6
            (54, 16, 0.72, 0.28, 0.62),
            (84, 17, 0.42, 0.14, 0.78),  # the notch
            (114, 16, 0.58, 0.12, 0.40),
        ]
    ),
}
_T = np.array([(-60, 40, 0.14, 0.05, -0.11), (0, 33, 0.31, 0.105, -0.23)])  # slow rise, quick fall
_SECONDARY_T = {"RBBB": (0.12, 0, 0.22), "LBBB": (-0.55, -0.2, -0.3)}  # against the late forces of the block
_SECONDARY_ST = {"RBBB": 0.12, "LBBB": 0.25}  # fraction of the T's
_PVC_ORIGINS = {
    "right outflow": (0.2, 1.0, 0.5),
    "left outflow": (-0.2, 0.9, -0.6),
    "right apex": (0.7, -0.7, 0.5),
    "left apex": (-0.5, -0.7, -0.7),
    "left lateral": (-0.9, 0.3, -0.3),
    "fascicles": None,  # as a conducted beat with another bundle branch block
}

# Directions of the ST dipole.
_TERRITORIES: dict[str, dict[str, tuple[float, float, float]]] = {
    "STE": {"anterior": (0.25, 0.05, -1), "inferior": (-0.15, 1, 0.15), "lateral": (1, -0.4, 0.2)},
    "STD": {
        "anterolateral": (-1, -0.5, 0.2),
        "inferior": (-0.3, -1, 0),
        "lateral": (-1, 0.1, -0.1),
        "anterior": (0.1, 0, 1),
    },
}
_BENIGN = np.array([0.7, 0.35, -0.7])  # early repolarisation; reversed: slight depression
_USUAL = np.array([0.5, 0.15, -1])  # as most hearts have it: V1 to V3 above the baseline
_CONTIGUOUS = np.array(
    [
        [LEADS.index(one), LEADS.index(other)]
        for group in ("I aVL", "II aVF III", "V1 V2 V3 V4 V5 V6")
        for one, other in pairwise(group.split())
    ]
)
ST_MEASURED = 0.06  # s after the J point


def _clipped(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


@dataclass(frozen=True)
class Body:
    """What a patient keeps from record to record. Sizes are factors of the templates."""

    age: float  # years
    sex: str  # F or M
    axes: list[float]  # (3,) degrees by which the whole dipole is rotated, see rotation
    qrs_axis: float  # degrees by which the QRS is rotated in the frontal plane, besides
    electrode_gain: list[float]  # (6,) of V1 ... V6
    electrode_shift: list[float]  # (6,) fraction of the way to the neighbour on the chest; negative: to the one before
    p_size: float
    qrs_size: float
    t_size: float
    t_axes: list[float]  # (3,) degrees by which T is rotated, besides
    p_shape: list[list[float]]  # (Gaussians, 5) standard normal: how each departs from its template, see _varied
    qrs_shape: list[list[float]]
    t_shape: list[list[float]]
    rate: float  # standard normal, as the next three: where the patient stands among others
    pr: float
    qrs: float
    qtc: float


@dataclass(frozen=True)
class Heart:
    """What the heart is like in one record: s, Hz and mV unless a field says otherwise."""

    rate: float  # beats per minute
    rsa: float  # amplitude of respiratory sinus arrhythmia, fraction of RR
    irregularity: float  # standard deviation of what has no rhythm, fraction of RR
    lf: float  # amplitude of the 0.1 Hz part, fraction of RR
    lf_phase: float  # rad
    respiration: float
    respiration_phase: float  # rad
    respiration_gain: list[float]  # (8,) by which fraction a breath changes I, II, V1 ... V6
    af_irregularity: float  # coefficient of variation of RR in AF
    f_rate: float  # fibrillatory waves
    f_size: float
    f_axis: list[float]  # (3,) direction of the dipole
    f_phases: list[float]  # (4,) rad: two sawtooths, their wander and their swell
    p_factor: float  # on the size of P
    pr: float  # from the onset of P to the onset of QRS
    p_duration: float
    qrs_form: str  # normal, RBBB or LBBB
    qrs_duration: float
    block_strength: float  # factor on the late forces of a right bundle branch block, and on a block's ST and T
    secondary: float  # how much of a block's change of ST and T, 0 to 1
    qtc: float  # QT at 60 beats per minute
    t_factor: float  # on the size of T; negative: inverted
    t_share: float  # of the time from the J point to the end of T
    pac_coupling: float  # fraction of the sinus cycle
    pac_pause: float  # RR after a premature atrial beat, fraction of the sinus cycle
    pac_pr: float
    pac_axes: list[float]  # (3,) degrees by which its P is rotated
    pac_size: float  # of its P, factor
    pac_aberrant: bool
    aberrant_beats: int  # how many in the record
    aberrant_form: str  # RBBB or LBBB
    aberrant_duration: float  # of their QRS
    pvc_coupling: float  # fraction of the sinus cycle
    pvc_pause: float  # RR after a premature ventricular beat in AF, fraction of the mean cycle
    pvc_origin: str  # key of _PVC_ORIGINS
    pvc_axis: list[list[float]]  # (3, 3) how its three Gaussians depart from the direction of the origin
    pvc_size: float
    pvc_duration: float  # of its QRS
    pvc_t: float  # its T, fraction of its QRS, in the opposite direction


class Beats(NamedTuple):
    """Onset of QRS (s), kind and QT (s) of each beat, each (beats,)."""

    onset: np.ndarray
    kind: np.ndarray
    qt: np.ndarray


class Segment(NamedTuple):
    """The ST segment of a record: (3,) ``dipole`` in mV, ``slope`` see plateau.

    ``territory`` says where a primary deviation is (None: there is none), ``affected`` which leads meet the criterion
    of each class.
    """

    territory: str | None
    slope: float
    dipole: list[float]
    affected: dict[str, list[str]]


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a patient's body."""
    return Body(
        age=float(round(_clipped(rng.normal(58, 17), 18, 95))),
        sex="FM"[rng.integers(2)],
        # The electrical axes that come of it stand beside PTB-XL's in results/realism.csv.
        axes=(rng.normal(size=3) * (6, 12, 6)).tolist(),
        qrs_axis=rng.normal(-1, 15),
        electrode_gain=(rng.lognormal(0, 0.12, 6) * (0.74, 1.12, 0.98, 0.94, 0.98, 1.0)).tolist(),
        electrode_shift=rng.normal(0, 0.15, 6).clip(-0.35, 0.35).tolist(),
        p_size=rng.lognormal(0.45, 0.28),
        qrs_size=rng.lognormal(0.18, 0.25),
        t_size=rng.lognormal(0.0, 0.27),
        t_axes=rng.normal(0, 5, 3).tolist(),
        p_shape=rng.normal(size=(2, 5)).tolist(),
        qrs_shape=rng.normal(size=(5, 5)).tolist(),
        t_shape=rng.normal(size=(2, 5)).tolist(),
        rate=rng.normal(),
        pr=rng.normal(),
        qrs=rng.normal(),
        qtc=rng.normal(),
    )


def lead_vectors(body: Body) -> np.ndarray:
    """Lead vectors (8, 3) of I, II, V1 ... V6 for one body and its electrodes."""
    leads = DOWER @ rotation(*body.axes)
    chest = leads[2:]
    shift = np.array(body.electrode_shift)
    neighbour = chest[np.clip(np.arange(6) + np.sign(shift).astype(int), 0, 5)]
    leads[2:] = (chest + np.abs(shift)[:, None] * (neighbour - chest)) * np.array(body.electrode_gain)[:, None]
    return leads


def draw_heart(rng: np.random.Generator, body: Body, labels: Labels) -> Heart:
    """Draw what the heart of a patient is like in one record.

    Parameters
    ----------
    rng
        as many numbers are drawn from it whatever ``labels`` are, so that other labels choose from the same heart.
    body
        the patient's, whose ``rate``, ``pr``, ``qrs`` and ``qtc`` shift what is drawn.
    labels
        classes that the record shows, free of contradictions (see ``synthetic.simulate``). AF chooses the rate, I-AVB a
        PR above 0.2 s, LBBB and RBBB form and width of the QRS; NSR leaves out what no normal ECG has.
    """
    sinus_rate = 70 + 8 * body.rate + 7 * rng.normal()
    af_rate = 86 * np.exp(0.2 * body.rate + 0.15 * rng.normal())
    usual_pr = _clipped(0.154 + 0.020 * body.pr + 0.006 * rng.normal(), 0.122, 0.190)
    high_pr, long_pr = rng.uniform(0.186, 0.199), min(0.202 + 0.010 * rng.exponential(), 0.34)
    pr = high_pr if rng.random() < 0.28 else usual_pr
    qrs = _clipped(0.094 + 0.009 * body.qrs, 0.072, 0.112)
    wide_qrs = min(0.121 + 0.007 * rng.exponential(), 0.170)
    partial, partial_qrs, partial_strength = rng.random(), rng.uniform(0.108, 0.118), rng.uniform(0.25, 0.8)
    slow_qrs, is_slow = rng.uniform(0.120, 0.135), rng.random() < 0.10
    strength = _clipped(rng.lognormal(-0.05, 0.35), 0.4, 1.8)
    if block := labels & {"RBBB", "LBBB"}:
        (form,) = block
        qrs = wide_qrs
    elif is_slow and "NSR" not in labels:  # an unspecific delay: as wide as a block, but of normal form
        form, qrs = "normal", slow_qrs
    elif partial < 0.34:  # an incomplete block, or a normal form that is slow
        form = "RBBB" if partial < 0.12 else "LBBB" if partial < 0.20 and "NSR" not in labels else "normal"
        qrs, strength = partial_qrs, partial_strength
    else:
        form = "normal"
    usual_t, low_t, tall_t, unusual = rng.lognormal(0, 0.2), rng.uniform(0.3, 0.7), rng.uniform(1.2, 1.6), rng.random()
    t_factor = low_t if unusual < 0.15 else tall_t if unusual < 0.30 else usual_t
    if rng.random() < 0.12 and "NSR" not in labels:
        t_factor *= -0.5
    aberrant_qrs, aberrant_form = rng.uniform(0.115, 0.145), "RBBB" if rng.random() < 0.7 else "LBBB"
    pac_aberrant, aberrant_beats = rng.random() < 0.35, rng.choice(4, p=[0.62, 0.20, 0.12, 0.06])
    calm, strong, is_strong = rng.lognormal(np.log(0.014), 0.7), rng.uniform(0.05, 0.16), rng.random() < 0.2
    return Heart(
        rate=_clipped(af_rate, 55, 135) if "AF" in labels else _clipped(sinus_rate, 50, 98),
        rsa=strong if is_strong else calm,
        irregularity=rng.uniform(0.04, 0.14) if rng.random() < 0.30 else 0.006,
        lf=rng.lognormal(np.log(0.011), 0.5),
        lf_phase=rng.uniform(0, 2 * np.pi),
        respiration=rng.uniform(0.15, 0.35),
        respiration_phase=rng.uniform(0, 2 * np.pi),
        respiration_gain=rng.normal(0, 0.032, 8).clip(-0.08, 0.08).tolist(),
        af_irregularity=0.055 + 0.14 * rng.beta(1, 2),
        f_rate=rng.uniform(4.5, 8.5),
        f_size=_clipped(rng.lognormal(np.log(0.009), 0.7), 0.0025, 0.1),
        f_axis=(np.array([-0.25, 0.45, -0.65]) + rng.normal(0, 0.15, 3)).tolist(),
        f_phases=rng.uniform(0, 2 * np.pi, 4).tolist(),
        p_factor=rng.uniform(0.08, 0.45) if rng.random() < 0.35 else 1.0,
        pr=long_pr if "I-AVB" in labels else pr,
        p_duration=_clipped(0.118 + 0.014 * rng.normal(), 0.075, min(0.140, pr - 0.020)),
        qrs_form=form,
        qrs_duration=float(qrs),
        block_strength=strength,
        secondary=rng.uniform(0.4, 1.0) * (1 if block else 0.4),
        qtc=_clipped(0.424 + 0.022 * body.qtc, 0.360, 0.480) + (0.6 * (qrs - 0.095) if block else 0),
        t_factor=float(t_factor),
        t_share=rng.uniform(0.60, 0.76),
        pac_coupling=0.70 + 0.25 * rng.beta(2.5, 1),
        pac_pause=rng.uniform(1.0, 1.08),
        pac_pr=rng.uniform(0.135, 0.19),
        pac_axes=[rng.choice([-1, 1]) * rng.uniform(25, 150), rng.normal(0, 30), rng.normal(0, 20)],
        pac_size=rng.uniform(0.3, 0.8),
        pac_aberrant=bool(pac_aberrant),
        aberrant_beats=int(aberrant_beats) if not labels & {"NSR", "RBBB", "LBBB"} else 0,
        aberrant_form=form if block else aberrant_form,
        aberrant_duration=float(max(aberrant_qrs, qrs)),
        pvc_coupling=rng.uniform(0.6, 0.95),
        pvc_pause=rng.uniform(1.1, 1.4),
        pvc_origin=str(rng.choice(list(_PVC_ORIGINS), p=[0.13, 0.13, 0.13, 0.13, 0.13, 0.35])),
        pvc_axis=rng.normal(0, 0.2, (3, 3)).tolist(),
        pvc_size=rng.uniform(0.25, 0.9),
        pvc_duration=0.121 + 0.05 * rng.beta(1, 3),
        pvc_t=rng.uniform(0.1, 0.4),
    )


def draw_beats(
    rng: np.random.Generator,
    heart: Heart,
    labels: Labels,
    seconds: float,
    *,
    removed: str = "",
    healed: Heart | None = None,
    runs: np.random.Generator | None = None,
) -> Beats:
    """Draw the beats of a record of ``seconds``, from before its start to after its end.

    ``removed`` is PAC or PVC, whose beats come on time instead, or nothing of the rhythm; ``healed`` is the heart
    without what is removed, which says how long its beats last. With ``runs`` premature atrial beats come in runs, too.
    """
    cycle = 60 / heart.rate
    count = int(seconds / 0.3) + 6
    jitter, order = rng.normal(size=count), rng.random(count)
    phase, pattern = rng.random(), rng.random()
    wanted = min(rng.geometric(0.7), 4) * max(1, round(seconds / 10))
    shortest = 1.03 * heart.qtc * cycle ** (1 / 3)  # no QRS falls into the T wave before it
    if "AF" in labels:
        seen = int(seconds / cycle) + 1
        jitter = (jitter - jitter[:seen].mean()) / jitter[:seen].std()  # as irregular as drawn, also in few beats
        rr = np.maximum(cycle * np.exp(heart.af_irregularity * jitter), shortest)
    else:
        nominal = cycle * np.arange(count)
        breath = np.sin(2 * np.pi * heart.respiration * nominal + heart.respiration_phase)
        slow = np.sin(2 * np.pi * 0.1 * nominal + heart.lf_phase)
        rr = cycle * (1 + heart.rsa * breath + heart.lf * slow + heart.irregularity * jitter)
        rr = np.maximum(rr, shortest)
    start = -(1 + phase) * cycle - rr[0]
    onset = start + np.cumsum(rr)

    kind = np.full(count, CONDUCTED)
    inside = np.flatnonzero((onset[:-1] > 0.1) & (onset[1:] < seconds - 0.6)) + 1  # with the beat before it
    if not len(inside):  # a slow AF in a short record
        inside = np.array([np.argmin(np.abs(onset - seconds / 2))])
    inside = inside[np.argsort(order[inside])]
    ectopic = sorted(labels & {"PAC", "PVC"})
    for name in ectopic:
        free = [k for k in inside if not kind[k - 1 : k + 2].any()]
        if len(ectopic) == 1 and pattern < 0.1:
            chosen = sorted(free)[::2]  # bigeminy
        elif ectopic == ["PVC"] and pattern > 0.88 and (first := [k for k in free if k + 1 in free]):
            chosen = [first[0], first[0] + 1]  # a couplet
        else:
            chosen = []
            while free and len(chosen) < wanted:
                chosen.append(free[0])
                free = [k for k in free if abs(k - chosen[-1]) > 1]
        kind[chosen] = PAC if name == "PAC" else PVC
    if runs:
        _lengthen(runs, kind)

    on_time = rr.copy()
    rr = _coupled(rr, kind, heart, labels, cycle, shortest)
    if "AF" in labels:  # a bundle branch that is still refractory: after the shortest intervals
        inside = inside[np.argsort(rr[inside])]
    aberrant = inside[kind[inside] == CONDUCTED][: heart.aberrant_beats]
    if removed in ("PAC", "PVC"):
        kind[kind == (PAC if removed == "PAC" else PVC)] = CONDUCTED
        rr = _coupled(on_time, kind, heart, labels, cycle, shortest)
    kind[aberrant] = ABERRANT
    onset = start + np.cumsum(rr)
    lasting = healed or heart
    qt = lasting.qtc * (0.8 * cycle + 0.2 * rr) ** (1 / 3)  # Fridericia, with memory of the mean rate
    qt += np.where(kind == PVC, 0.6 * (lasting.pvc_duration - lasting.qrs_duration), 0)
    qt[:-1] = np.minimum(qt[:-1], 0.97 * rr[1:])
    seen = onset < seconds + 2
    return Beats(onset[seen], kind[seen], qt[seen])


def _lengthen(rng: np.random.Generator, kind: np.ndarray) -> None:
    """Let half of all premature atrial beats begin a run, which ends before the next beat that is not conducted."""
    for first in np.flatnonzero(kind == PAC).tolist():
        begins, more = rng.random() < 0.5, int(rng.choice([1, 2, 3, 5, 10, 25], p=[0.30, 0.20, 0.20, 0.15, 0.10, 0.05]))
        end = min(first + 1 + more, len(kind) - 2) if begins else first
        for k in range(first + 1, end):
            if kind[k] != CONDUCTED:
                break
            kind[k] = PAC


def _coupled(
    rr: np.ndarray, kind: np.ndarray, heart: Heart, labels: Labels, cycle: float, shortest: float
) -> np.ndarray:
    """Intervals (beats,) in s with those before and after each premature beat as it makes them."""
    rr = rr.copy()
    for k in np.flatnonzero(kind):
        expected = min(rr[k], cycle) if "AF" in labels else rr[k]  # early also where no two intervals are alike
        coupling = heart.pac_coupling if kind[k] == PAC else heart.pvc_coupling
        rr[k] = max(coupling * expected, min(shortest, 0.95 * expected))
        if kind[k] == PAC:
            full = rr[k + 1] + expected - rr[k]
            rr[k + 1] = min(heart.pac_pause * rr[k + 1], 0.98 * full)  # it resets the sinus node
        elif "AF" in labels:
            rr[k + 1] = heart.pvc_pause * cycle
        else:
            rr[k + 1] += expected - rr[k]  # the sinus node keeps its time: a full compensatory pause
    return rr


def make_waves(heart: Heart, body: Body, leads: np.ndarray, labels: Labels) -> dict[tuple[int, str], Wave]:
    """Waves by kind of beat and name, as ``leads`` (12, 3) show them; without the ST segment."""
    p = _varied(_P, body.p_shape)
    p[:, 2:] *= body.p_size * heart.p_factor
    premature = p.copy()
    premature[:, 2:] = heart.pac_size * p[:, 2:] @ rotation(*heart.pac_axes).T

    if heart.pvc_origin == "fascicles":
        ectopic = _qrs(heart, body, "LBBB" if heart.qrs_form == "RBBB" else "RBBB")
    else:
        axis = np.array(_PVC_ORIGINS[heart.pvc_origin]) + np.array(heart.pvc_axis)
        axis *= np.array([0.5, 1.0, 0.6])[:, None] * heart.pvc_size
        ectopic = np.column_stack([(32, 62, 98), (15, 16, 20), axis])
    against = -heart.pvc_t * ectopic[:, 2:].sum(axis=0)
    discordant = np.column_stack([(-110, -60, 0), (42, 44, 36), np.outer((0.25, 0.4, 0.7), against)])

    forms = {CONDUCTED: heart.qrs_form}
    if heart.aberrant_beats:
        forms[ABERRANT] = heart.aberrant_form
    if "PAC" in labels:
        forms[PAC] = heart.aberrant_form if heart.pac_aberrant else heart.qrs_form
    shaped = {
        form: (wave(_qrs(heart, body, form), leads), wave(_t(heart, body, form), leads)) for form in forms.values()
    }
    waves = {}
    for kind, form in forms.items():
        waves[kind, "QRS"], waves[kind, "T"] = shaped[form]
        if "AF" not in labels:
            waves[kind, "P"] = wave(premature if kind == PAC else p, leads)
    if "PVC" in labels:
        waves |= {(PVC, "QRS"): wave(ectopic, leads), (PVC, "T"): wave(discordant, leads)}
    return waves


def _varied(template: np.ndarray, shape: list[list[float]], tilt: float = 0.14) -> np.ndarray:
    """A patient's own form of a template: each Gaussian earlier or later, narrower or wider, rotated and resized.

    ``tilt`` is the deviation of each component of its dipole, over the dipole's length.
    """
    varied, drawn = template.copy(), np.array(shape[: len(template)])
    varied[:, 0] += 0.45 * template[:, 1] * drawn[:, 0]
    varied[:, 1] *= np.exp(0.15 * drawn[:, 1])
    varied[:, 2:] += tilt * np.linalg.norm(template[:, 2:], axis=1, keepdims=True) * drawn[:, 2:]
    return varied


def _qrs(heart: Heart, body: Body, form: str) -> np.ndarray:
    """A patient's template of QRS in one form."""
    qrs = _varied(_QRS[form], body.qrs_shape)
    if form == "RBBB":
        qrs[-2:, 2:] *= heart.block_strength
    qrs[:, 2:] = body.qrs_size * qrs[:, 2:] @ rotation(body.qrs_axis, 0, 0).T
    return qrs


def _secondary_t(heart: Heart, body: Body, form: str) -> np.ndarray:
    """What a bundle branch block adds to T (3,) in mV."""
    return np.array(_SECONDARY_T.get(form, (0, 0, 0))) * body.qrs_size * heart.block_strength * heart.secondary


def _t(heart: Heart, body: Body, form: str) -> np.ndarray:
    """A patient's template of T after a QRS of one form."""
    t = _varied(_T, body.t_shape, 0.08)
    t[:, 2:] = body.t_size * heart.t_factor * t[:, 2:] @ rotation(*body.t_axes).T
    t[:, 2:] += np.outer((0.3, 0.7), _secondary_t(heart, body, form))
    return t


def make_st(
    rng: np.random.Generator,
    heart: Heart,
    body: Body,
    waves: dict[tuple[int, str], Wave],
    leads: np.ndarray,
    labels: Labels,
) -> tuple[Wave, Segment]:
    """Draw the ST segment: benign below each threshold, or as far beyond the threshold of STD or STE as drawn."""
    t = waves[CONDUCTED, "T"]
    jt = heart.qtc * (60 / heart.rate) ** (1 / 3) - heart.qrs_duration
    t_duration = heart.t_share * jt
    length = jt - t_duration + t.centre[-1] * t_duration  # from the J point to the peak of T
    secondary = _SECONDARY_ST.get(heart.qrs_form, 0) * _secondary_t(heart, body, heart.qrs_form)
    level = leads @ (t.at((ST_MEASURED - jt + t_duration) / t_duration) + secondary)

    jitter = rng.normal(0, 0.15, 3)
    slope = rng.uniform(-0.3, 0.8)
    excess = {"STD": 1.06 + 0.25 * rng.exponential(), "STE": 1.06 + 0.12 * rng.exponential()}
    fraction, pick = np.cbrt(rng.random()), rng.random()
    size = 0.095 * rng.lognormal(0, 0.5)

    side = {"STD": -1, "STE": 1}
    threshold = {"STD": np.full(12, 0.05), "STE": np.full(12, 0.1)}
    in_v2_v3 = 0.15 if body.sex == "F" else 0.2 if body.age >= 40 else 0.25
    threshold["STE"][[LEADS.index("V2"), LEADS.index("V3")]] = in_v2_v3

    unmet = {name: _CONTIGUOUS[~(side[name] * level >= threshold[name])[_CONTIGUOUS].all(axis=1)] for name in side}

    def needed(name: str, change: np.ndarray, factor: float) -> float:
        """How much of ``change`` (12,) takes two more contiguous leads to ``factor`` times the threshold."""
        missing = np.maximum(factor * threshold[name] - side[name] * level, 0)
        scale = np.divide(missing, side[name] * change, out=np.full(12, np.inf), where=side[name] * change > 0.08)
        return scale[unmet[name]].max(axis=1).min(initial=np.inf)

    usual = min(size, 0.8 * min(needed(name, leads @ _USUAL, 1) for name in side)) * _USUAL
    level += leads @ usual

    primary = [name for name in ("STE", "STD") if name in labels]
    if primary:
        territories = _TERRITORIES[primary[0]]
        # Both at once: an elevation whose reciprocal depression counts too.
        names = ["inferior", "lateral"] if len(primary) == 2 else list(territories)
        first = int(pick * len(names))
        options = []
        for territory in names[first:] + names[:first]:
            change = leads @ (territories[territory] + jitter)
            scale = max(needed(name, change, excess[name]) for name in primary)
            options.append((np.abs(scale * change).max(), scale, territory))
        # A block's own ST may hide a territory: take the next one rather than more than 0.6 mV.
        _, scale, territory = next((option for option in options if option[0] <= 0.6), min(options))
        direction = territories[territory] + jitter
    else:
        territory = None
        benign = np.array([_BENIGN, -_BENIGN, *_TERRITORIES["STE"].values(), *_TERRITORIES["STD"].values()])
        direction = benign[int(pick * len(benign))] + jitter
        scale = min(1.0, fraction * min(needed(name, leads @ direction, 0.95) for name in side))
    change = leads @ direction
    affected: dict[str, list[str]] = {}
    for name in primary:
        after = side[name] * (level + scale * change) >= 1.05 * threshold[name]
        affected[name] = [LEADS[lead] for lead in np.unique(unmet[name][after[unmet[name]].all(axis=1)])]
    moved = scale * direction + usual + secondary
    return plateau(moved, slope, ST_MEASURED / length), Segment(territory, slope, moved.tolist(), affected)


def place(
    waves: dict[tuple[int, str], Wave], heart: Heart, beats: Beats
) -> Iterator[tuple[int, str, Wave, np.ndarray, np.ndarray]]:
    """Each wave with its kind of beat, its name and where it is drawn: onset and duration (beats,) in seconds."""
    for (kind, name), one in waves.items():
        at = beats.kind == kind
        onset, qt = beats.onset[at], beats.qt[at]
        wide = kind == ABERRANT or (kind == PAC and heart.pac_aberrant)
        qrs = heart.pvc_duration if kind == PVC else heart.aberrant_duration if wide else heart.qrs_duration
        t = (0.85 if kind == PVC else heart.t_share) * (qt - qrs)
        if name == "P":
            onset, duration = onset - (heart.pac_pr if kind == PAC else heart.pr), np.full_like(qt, heart.p_duration)
        elif name == "QRS":
            duration = np.full_like(qt, qrs)
        elif name == "T":
            onset, duration = onset + qt - t, t
        else:
            onset, duration = onset + qrs, qt - qrs - t + waves[kind, "T"].centre[-1] * t
        yield kind, name, one, onset, duration


def fibrillate(heart: Heart, time: np.ndarray) -> np.ndarray:
    """Fibrillatory waves (3, samples) in mV at ``time`` (samples,) s: two wandering sawtooths.

    After Stridh M, Sörnmo L. Spatiotemporal QRST cancellation techniques for analysis of atrial fibrillation.
    IEEE Trans Biomed Eng 2001;48:105-111.
    """
    phases, axis = heart.f_phases, np.array(heart.f_axis)
    swell = heart.f_size * (1 + 0.4 * np.sin(2 * np.pi * 0.23 * time + phases[3]))
    wander = 0.9 * np.sin(2 * np.pi * 0.37 * time + phases[2])
    first, second = 2 * np.pi * np.outer((1, 1.17), heart.f_rate * time) + np.array(phases[:2])[:, None] + wander
    waves = swell * (np.sin(first) + np.sin(2 * first) / 3), swell * (np.sin(second) + np.sin(2 * second) / 3)
    return np.outer(axis, waves[0]) + np.outer(0.5 * axis[[1, 2, 0]], waves[1])
