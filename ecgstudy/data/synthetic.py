"""Simulated 12-lead ECGs that know where in time and lead the evidence of each of their labels stands."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.fft

from ecgstudy.data import heart as hearts
from ecgstudy.data.dipole import Wave, draw, eight_to_twelve
from ecgstudy.data.heart import ABERRANT, CONDUCTED, PAC, PVC
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record

VERSION = 1  # raised when the same seed would give another record

# How often each set of labels occurs in CPSC 2018 (REFERENCE.csv, 6,877 records). AF with PAC (4 records) is left out:
# a premature atrial beat has no meaning while the atria fibrillate.
CPSC_2018 = {
    frozenset(labels.split("+")): count
    for labels, count in {
        "NSR": 918, "AF": 976, "I-AVB": 686, "LBBB": 179, "RBBB": 1533, "PAC": 533, "PVC": 607, "STD": 784, "STE": 185,
        "AF+LBBB": 26, "AF+RBBB": 172, "AF+PVC": 8, "AF+STD": 30, "AF+STE": 2, "AF+LBBB+STD": 3,
        "I-AVB+LBBB": 8, "I-AVB+RBBB": 10, "I-AVB+PAC": 3, "I-AVB+PVC": 5, "I-AVB+STD": 6, "I-AVB+STE": 4,
        "LBBB+PAC": 10, "LBBB+PVC": 6, "LBBB+STE": 4,
        "RBBB+PAC": 52, "RBBB+PVC": 51, "RBBB+STD": 20, "RBBB+STE": 16, "RBBB+PAC+STE": 3,
        "PAC+PVC": 3, "PAC+STD": 6, "PAC+STE": 2, "PVC+STD": 18, "PVC+STE": 2, "STD+STE": 2,
    }.items()
}  # fmt: skip
_CONTRADICTIONS = ({"AF", "I-AVB"}, {"AF", "PAC"}, {"LBBB", "RBBB"})


class Criterion(NamedTuple):
    """What a class means here, and where its evidence stands."""

    definition: str
    evidence: str
    leads: str
    reference: str


_AHA_3 = "Surawicz et al., AHA/ACCF/HRS recommendations part III, J Am Coll Cardiol 2009;53:976-981"
_MI_4 = "Thygesen et al., Fourth Universal Definition of Myocardial Infarction, J Am Coll Cardiol 2018;72:2231-2264"
_INTERVALS = "Surawicz & Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed., 2008"
CRITERIA = {
    "NSR": Criterion(
        "Sinus P before every QRS, PR 120 to 200 ms, QRS below 120 ms, no ST deviation that meets STD or STE.",
        "every beat from the onset of P to the offset of T", "all", _INTERVALS,
    ),
    "AF": Criterion(
        "Irregular RR intervals and no P wave: fibrillatory waves of 4 to 9 Hz instead.",
        "from the offset of T to the onset of the next QRS (TQ)", "all",
        "Hindricks et al., ESC guidelines on atrial fibrillation, Eur Heart J 2021;42:373-498",
    ),
    "I-AVB": Criterion(
        "PR above 200 ms at every sinus beat.",
        "from the onset of P to the onset of QRS", "those that show the P wave", _INTERVALS,
    ),
    "LBBB": Criterion(
        "QRS of at least 120 ms, broad notched or slurred R without q in I and V6, rS or QS in V1.",
        "the QRS of every conducted beat", "I aVL V1 V5 V6", _AHA_3,
    ),
    "RBBB": Criterion(
        "QRS of at least 120 ms, late R' in V1 or V2, wide S in I and V6.",
        "the QRS of every conducted beat", "I V1 V2 V6", _AHA_3,
    ),
    "PAC": Criterion(
        "A premature P of another shape, followed by a QRS as in sinus beats and an incomplete compensatory pause.",
        "from the onset of the premature P to the offset of its QRS", "all", _INTERVALS,
    ),
    "PVC": Criterion(
        "A premature QRS of at least 120 ms without P before it, discordant T, as a rule a full compensatory pause.",
        "the ectopic beat from the onset of QRS to the offset of T", "all", _INTERVALS,
    ),
    "STD": Criterion(
        "ST at least 0.05 mV below the baseline 60 ms after the J point in two contiguous leads, neither reciprocal to "
        "an elevation nor secondary to a bundle branch block.",
        "from the J point to the onset of T", "those which meet the criterion", _MI_4,
    ),
    "STE": Criterion(
        "ST 60 ms after the J point at least 0.1 mV above the baseline in two contiguous leads; in V2 and V3 0.15 mV "
        "(women), 0.2 mV (men from 40 years), 0.25 mV (younger men).",
        "from the J point to the onset of T", "those which meet the criterion", _MI_4,
    ),
}  # fmt: skip
_BLOCK_LEADS = {name: np.isin(LEADS, CRITERIA[name].leads.split()) for name in ("LBBB", "RBBB")}
_CLASS, _LEAD, _WAVE = (pd.CategoricalDtype(names) for names in (CLASSES, LEADS, ("P", "QRS", "T")))
_PURPOSES = ("body", "labels", "own labels", "heart", "beats", "st", "noise")

# I, II, V1 ... V6 from the potentials of the electrodes RA, LA, LL, C1 ... C6.
_ELECTRODES = np.zeros((8, 9))
_ELECTRODES[0, [1, 0]] = _ELECTRODES[1, [2, 0]] = 1, -1
_ELECTRODES[2:, :3], _ELECTRODES[2:, 3:] = -1 / 3, np.eye(6)
# How often electrodes are mixed up or off.
_FAULTS = {"RA-LA reversed": 0.010, "LA-LL reversed": 0.003}
_FAULTS |= {f"V{k}-V{k + 1} reversed": 0.0015 for k in range(1, 6)} | {f"V{k} off": 0.0015 for k in range(1, 7)}


@dataclass(frozen=True, eq=False)
class SimulatedRecord:
    """A simulated ECG with its answer.

    ``evidence`` has a row per interval (class, lead, onset, offset; in samples, offset exclusive), ``waves`` a row per
    whole wave as LUDB delineates them (lead, wave "P"/"QRS"/"T", onset, peak, offset; in samples, offset inclusive), and
    ``parameters`` holds everything drawn (JSON-able; times in seconds, amplitudes in mV).
    """

    record: Record
    evidence: pd.DataFrame
    waves: pd.DataFrame
    parameters: dict[str, Any]


def simulate(
    index: int,
    seed: int,
    *,
    fs: float = 500.0,
    seconds: float = 10.0,
    labels: frozenset[str] | None = None,
    balance: float = 0.0,
    noise: float = 1.0,
) -> SimulatedRecord:
    """Simulate record ``index`` of the endless cohort ``seed``; equal arguments give equal bytes.

    Of three records in a row the first two are of one patient. Calls that differ only in ``labels`` or ``noise`` draw
    the same body, heart and instants, so they show what a class or the noise adds.

    Parameters
    ----------
    index, seed
        not negative.
    fs
        Hz, at least 100.
    seconds
        at least 6.
    labels
        classes of the record; drawn if None.
    balance
        0 draws the label sets as often as CPSC 2018 has them, 1 each class equally often, between is a mixture.
    noise
        1 disturbs as real recordings are disturbed, 0 not at all (no lead fault either).

    Raises
    ------
    ValueError
        when an argument is out of its range or ``labels`` contradict each other.
    """
    if fs < 100 or seconds < 6 or noise < 0 or not 0 <= balance <= 1:
        raise ValueError(
            f"fs={fs}, seconds={seconds}, balance={balance}, noise={noise}: "
            "fs must be at least 100 Hz, seconds at least 6, balance within 0 and 1, noise not negative"
        )
    patient = 2 * (index // 3) + index % 3 // 2
    chosen = _draw_labels(seed, index, patient, balance) if labels is None else _consistent(labels)
    body = hearts.draw_body(_stream(seed, "body", patient))
    heart = hearts.draw_heart(_stream(seed, "heart", index), body, chosen)
    beats = hearts.draw_beats(_stream(seed, "beats", index), heart, chosen, seconds)
    leads = hearts.lead_vectors(body)
    twelve = eight_to_twelve(leads)
    waves = hearts.make_waves(heart, body, twelve, chosen)
    st, heart["st"] = hearts.make_st(_stream(seed, "st", index), heart, body, waves, twelve, chosen)
    waves |= {(kind, "ST"): st for kind in (CONDUCTED, PAC, ABERRANT) if (kind, "QRS") in waves}
    placed = list(hearts.place(waves, heart, beats))

    samples = round(seconds * fs)
    time = np.arange(samples) / fs
    vector = draw([(wave, onset, duration) for _, _, wave, onset, duration in placed], samples, fs)
    if "AF" in chosen:
        vector += hearts.fibrillate(heart, time)
    breath = np.sin(2 * np.pi * heart["respiration"] * time + heart["respiration_phase"])
    eight = (leads @ vector) * (1 + np.outer(heart["respiration_gain"], breath))
    eight, shown, fault = _disturb(eight, _stream(seed, "noise", index), fs, noise)

    record = Record(
        name=f"{seed}-{index:06d}",
        # Whole microvolts, as a converter gives them: the last bit of some machine's exp() does not change the record.
        signal=(eight_to_twelve(np.rint(1000 * eight)) / 1000).astype(np.float32),
        fs=fs,
        leads=LEADS,
        source="synthetic",
        patient_id=f"synthetic/{seed}-{patient}",
        labels=chosen,
        codes=tuple(name for name in CLASSES if name in chosen),
        age=body["age"],
        sex=body["sex"],
        notes=(f"simulated fault: {fault}",) if fault else (),
    )
    parameters = {"patient": patient, "labels": list(record.codes), "fault": fault, "body": body, "heart": heart}
    parameters["beats"] = {name: values.tolist() for name, values in beats.items()}
    evidence = _tell_evidence(placed, heart, beats, chosen, shown, fs, samples)
    return SimulatedRecord(record, evidence, _tell_waves(placed, shown, fs, samples), parameters)


def answer_key(evidence: pd.DataFrame, samples: int, leads: int = 12, stride: int = 1) -> np.ndarray:
    """Render evidence to booleans (classes, leads, cells), cells of ``stride`` samples each.

    A cell is true if any of its samples is evidence; the last cell may be shorter. With ``leads=1`` it is true if it is
    evidence in any lead.

    Raises
    ------
    ValueError
        when ``leads`` is neither 12 nor 1, or ``stride`` is below 1.
    """
    if leads not in (1, 12) or stride < 1:
        raise ValueError(f"leads={leads}, stride={stride}: leads must be 12, or 1 for any lead; stride at least 1")
    steps = np.zeros((len(CLASSES), len(LEADS), -(-samples // stride) + 1), dtype=np.int32)
    where = evidence["class"].cat.codes.to_numpy(), evidence["lead"].cat.codes.to_numpy()
    np.add.at(steps, (*where, evidence["onset"].to_numpy() // stride), 1)
    np.add.at(steps, (*where, -(-evidence["offset"].to_numpy() // stride)), -1)
    key = steps.cumsum(axis=2)[..., :-1] > 0
    return key if leads == 12 else key.any(axis=1, keepdims=True)


def _stream(seed: int, purpose: str, number: int) -> np.random.Generator:
    """One stream per purpose: what one purpose draws never shifts what another draws."""
    return np.random.default_rng([seed, _PURPOSES.index(purpose), number])


@lru_cache
def _label_chances(balance: float) -> np.ndarray:
    """Chance of each label set of ``CPSC_2018``."""
    natural = np.array(list(CPSC_2018.values()), dtype=float)
    member = np.array([[name in labels for labels in CPSC_2018] for name in CLASSES])
    uniform = (member * natural / (member @ natural)[:, None]).mean(axis=0)
    return (1 - balance) * natural / natural.sum() + balance * uniform


def _draw_labels(seed: int, index: int, patient: int, balance: float) -> frozenset[str]:
    """Draw a label set; a patient's second record keeps the first one's seven times in ten."""
    rng = _stream(seed, "labels", patient)
    if index % 3 == 1 and (own := _stream(seed, "own labels", index)).random() > 0.7:
        rng = own
    return list(CPSC_2018)[rng.choice(len(CPSC_2018), p=_label_chances(balance))]


def _consistent(labels: frozenset[str]) -> frozenset[str]:
    labels = frozenset(labels)
    if not labels or labels - set(CLASSES):
        raise ValueError(f"labels {sorted(labels)}: use one or more of {', '.join(CLASSES)}")
    if (labels > {"NSR"}) or any(labels >= both for both in _CONTRADICTIONS):
        raise ValueError(
            f"labels {sorted(labels)} contradict each other: "
            "NSR stands alone, AF has neither I-AVB nor PAC, and a bundle branch block is LBBB or RBBB"
        )
    return labels


@lru_cache(maxsize=4)
def _noise_shapes(samples: int, fs: float) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Length of the transform, spectra of electrode and muscle noise of rms 1, and slow waves (32, samples) of rms 1."""
    length = scipy.fft.next_fast_len(samples, real=True)
    hz = np.maximum(scipy.fft.rfftfreq(length, 1 / fs), 0.05)
    electrode = np.sqrt(length * fs / 12.6 / hz / (1 + hz**-4) / (1 + (hz / 30) ** 4))  # 1/f from 1 to 30 Hz
    muscle = np.sqrt(length * fs / 520 / (1 + (20 / hz) ** 4) / (1 + (hz / 150) ** 6))  # 20 to 150 Hz
    slow = np.arange(1, 17) / 16  # 0.06 to 1 Hz
    angle = 2 * np.pi * np.outer(slow, np.arange(samples) / fs)
    waves = np.concatenate([np.sin(angle), np.cos(angle)]) / np.sqrt((slow**-2.0).sum()) / np.tile(slow, 2)[:, None]
    return length, electrode.astype(np.float32), muscle.astype(np.float32), waves.astype(np.float32)


def _disturb(
    eight: np.ndarray, rng: np.random.Generator, fs: float, noise: float
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Add to I, II, V1 ... V6 (8, samples) what electrodes, muscles, mains and mix-ups add.

    The second value says where each of the 12 leads is shown (-1: nowhere), the third names the electrode fault.

    The levels are those of PTB-XL and CPSC 2018 (rms in µV, 5/50/95 % of 250 and 120 records), limb and chest leads:
    below 0.5 Hz 13/36/134, 15/41/206 and 1/6/47, 3/13/99; 2 to 25 Hz between T and P, what is left of the median beat
    6/10/17, 5/7/13 and 3/6/14, 3/6/19; above 45 Hz in quiet 100 ms 1/3/10, 1/2/3 and 1/4/18, 0/2/9. Mains: 8 and 3 % of
    the records, 4 to 8 µV.
    """
    shown = np.arange(12)
    if not noise:
        return eight, shown, None
    samples = eight.shape[1]
    time = np.arange(samples) / fs
    length, electrode_shape, muscle_shape, slow = _noise_shapes(samples, fs)
    limb = np.array([True] * 3 + [False] * 6)
    baseline = rng.lognormal(np.log(0.022), 0.95) * rng.lognormal(0, 0.5, 9)
    electrode = rng.lognormal(np.log(0.0072), 0.5) * rng.lognormal(0, 0.2, 9)
    muscle = rng.lognormal(np.log(0.0024), 0.9) * np.where(limb, 1.4, 0.9) * rng.lognormal(0, 0.3, 9)
    mains = (rng.random() < 0.06) * rng.lognormal(np.log(0.004), 0.4) * rng.normal(size=9)
    mains_hz = rng.choice([50, 60])
    burst, burst_at, burst_length = rng.random() < 0.25, rng.random() * time[-1], rng.uniform(0.3, 2)
    tremor = (rng.random() < 0.12) * rng.lognormal(np.log(0.02), 0.5)
    tremor_hz, tremor_phase, trembling = rng.uniform(4, 8), rng.uniform(0, 2 * np.pi, 2), rng.integers(3)
    artefacts = rng.choice(4, p=[0.7, 0.16, 0.08, 0.06])
    touched, artefact_at, size = rng.integers(9, size=3), rng.random(3) * time[-1], rng.normal(0, 0.35, 3)
    decay = 0.03 * 20 ** rng.random(3)  # from what looks like an early beat to a slow recovery
    drawn = np.searchsorted(np.cumsum(list(_FAULTS.values())), rng.random(), side="right")
    fault = [*_FAULTS, None][drawn]

    white = rng.standard_normal((2, 9, len(muscle_shape)), dtype=np.float32)
    spread = np.hypot(np.outer(electrode, electrode_shape), np.outer(muscle, muscle_shape)).astype(np.float32)
    potential = scipy.fft.irfft((white[0] + 1j * white[1]) * spread, length)[:, :samples]
    if burst:
        potential *= 1 + 2.5 * np.exp(-0.5 * ((time - burst_at) / burst_length) ** 2).astype(np.float32)
    potential += (baseline[:, None] * rng.normal(size=(9, 32))).astype(np.float32) @ slow
    if mains.any():
        potential += np.outer(mains, np.sin(2 * np.pi * mains_hz * time))
    if tremor:
        swell = 1 + 0.5 * np.sin(2 * np.pi * 0.3 * time + tremor_phase[0])
        potential[trembling] += tremor * swell * np.sin(2 * np.pi * tremor_hz * time + tremor_phase[1])
    for k in range(artefacts):
        since = np.maximum(time - artefact_at[k], 0)
        potential[touched[k]] += size[k] * (np.exp(-since / decay[k]) - np.exp(-since / (0.3 * decay[k])))
    eight = eight + noise * (_ELECTRODES @ potential)

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
    return eight, shown, fault


_Placed = list[tuple[int, str, Wave, np.ndarray, np.ndarray]]  # see heart.place


def _tell_waves(placed: _Placed, shown: np.ndarray, fs: float, samples: int) -> pd.DataFrame:
    """On- and offset and peak of each whole wave in each lead."""
    rows = []
    for _, name, wave, onset, duration in placed:
        if name not in _WAVE.categories:
            continue
        marks = np.rint((onset[:, None, None] + wave.marks * duration[:, None, None]) * fs)  # beats, leads, marks
        beat, lead = np.nonzero((marks[..., 0] >= 0) & (marks[..., 2] < samples) & (shown >= 0))
        code = np.full(len(lead), _WAVE.categories.get_loc(name))
        rows.append(np.column_stack([shown[lead], code, marks[beat, lead].astype(int)]))
    rows = np.concatenate(rows)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    lead, wave = pd.Categorical.from_codes(rows[:, 0], dtype=_LEAD), pd.Categorical.from_codes(rows[:, 1], dtype=_WAVE)
    return pd.DataFrame({"lead": lead, "wave": wave, "onset": rows[:, 2], "peak": rows[:, 3], "offset": rows[:, 4]})


def _tell_evidence(
    placed: _Placed,
    heart: dict[str, Any],
    beats: dict[str, np.ndarray],
    labels: frozenset[str],
    shown: np.ndarray,
    fs: float,
    samples: int,
) -> pd.DataFrame:
    """Intervals of evidence as ``CRITERIA`` define them."""
    start = {(kind, name): onset for kind, name, _, onset, _ in placed}
    end = {(kind, name): onset + duration for kind, name, _, onset, duration in placed}
    conducted = [kind for kind in (CONDUCTED, PAC, ABERRANT) if (kind, "QRS") in start]
    sinus = [kind for kind in (CONDUCTED, ABERRANT) if (kind, "P") in start]
    everywhere = np.ones(12, dtype=bool)
    spans = []  # class, onset and offset of its intervals in s, leads
    for name in labels:
        if name == "NSR":
            spans.append((name, start[CONDUCTED, "P"], end[CONDUCTED, "T"], everywhere))
        elif name == "AF":
            spans.append((name, (beats["onset"] + beats["qt"])[:-1], beats["onset"][1:], everywhere))
        elif name == "I-AVB":
            visible = next(
                ~np.isnan(wave.marks[:, 0]) for kind, what, wave, _, _ in placed if (kind, what) == (CONDUCTED, "P")
            )
            spans += [(name, start[kind, "P"], start[kind, "QRS"], visible) for kind in sinus]
        elif name == "PAC":
            spans.append((name, start[PAC, "P"], end[PAC, "QRS"], everywhere))
        elif name == "PVC":
            spans.append((name, start[PVC, "QRS"], end[PVC, "T"], everywhere))
        elif name in _BLOCK_LEADS:
            spans += [(name, start[kind, "QRS"], end[kind, "QRS"], _BLOCK_LEADS[name]) for kind in conducted]
        else:
            affected = np.isin(LEADS, heart["st"]["affected"][name])
            spans += [(name, end[kind, "QRS"], start[kind, "T"], affected) for kind in conducted]
    rows = []
    for name, onset, offset, leads in spans:
        onset, offset = (np.rint(edge * fs).astype(int).clip(0, samples) for edge in (onset, offset))
        beat, lead = np.nonzero((onset < offset)[:, None] & leads & (shown >= 0))
        code = np.full(len(lead), CLASSES.index(name))
        rows.append(np.column_stack([code, shown[lead], onset[beat], offset[beat]]))
    rows = np.concatenate(rows)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    name, lead = pd.Categorical.from_codes(rows[:, 0], dtype=_CLASS), pd.Categorical.from_codes(rows[:, 1], dtype=_LEAD)
    return pd.DataFrame({"class": name, "lead": lead, "onset": rows[:, 2], "offset": rows[:, 3]})
