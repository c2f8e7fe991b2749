"""Simulated 12-lead ECGs that know where in time and lead the evidence of each of their labels stands."""

import json
import warnings
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import disturbance
from ecgstudy.data.simulator import heart as hearts
from ecgstudy.data.simulator import variety as varieties
from ecgstudy.data.simulator.dipole import Wave, draw, eight_to_twelve
from ecgstudy.data.simulator.heart import ABERRANT, CONDUCTED, PAC, PVC, Beats, Heart, Labels, Segment

VERSION = 5  # raised when the same seed would give another record

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
_LABEL_SETS = list(CPSC_2018)
_CONTRADICTIONS = ({"AF", "I-AVB"}, {"AF", "PAC"}, {"LBBB", "RBBB"})
DISAGREEMENT = 0.05  # share of drawn label sets of which one label is read as another
READINGS = {
    "NSR": ("I-AVB", "RBBB", "PAC", "STD", "STE"),
    "AF": ("PAC", "NSR"),
    "I-AVB": ("NSR",),
    "LBBB": ("RBBB", "STD"),
    "RBBB": ("NSR",),
    "PAC": ("NSR", "PVC", "AF"),
    "PVC": ("PAC",),
    "STD": ("NSR",),
    "STE": ("NSR",),
}
"""True class → what a reader who disagrees says instead; NSR: in a record with other findings, nothing."""
_DISPUTED = "disputed label"  # kind of the note that such a record carries


class Criterion(NamedTuple):
    """What a class means here, and where its evidence stands; ``reference`` is a key of the book's bibliography."""

    definition: str
    evidence: str
    leads: str
    reference: str


# Keys of book/references.bib.
_AHA_3, _MI_4, _ESC_AF, _INTERVALS = "surawicz2009aha", "thygesen2018mi", "hindricks2021af", "surawicz2008"
CRITERIA = {
    "NSR": Criterion(
        "Sinus P before every QRS, PR 120 to 200 ms, QRS below 120 ms, no ST deviation that meets STD or STE.",
        "every beat from the onset of P to the offset of T", "all", _INTERVALS,
    ),
    "AF": Criterion(
        "Irregular RR intervals and no P wave: fibrillatory waves of 4 to 9 Hz instead.",
        "from the offset of T to the onset of the next QRS (TQ)", "all", _ESC_AF,
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
        "A premature P of another shape, its QRS as in sinus beats or aberrant, an incomplete compensatory pause.",
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
_WAVE_CODES = {name: code for code, name in enumerate(_WAVE.categories)}
_EVIDENCE_COLUMNS = pd.Index(["class", "lead", "onset", "offset"])
_WAVE_COLUMNS = pd.Index(["lead", "wave", "onset", "peak", "offset"])
# The last four are what varieties draw.
_PURPOSES = (
    "body", "labels", "own labels", "heart", "beats", "st", "disturbance", "noise", "reading",
    "more body", "more heart", "recorder", "others", "runs",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SimulatedRecord:
    """A simulated ECG with its answer.

    ``evidence`` has a row per interval (class, lead, onset, offset; in samples, offset exclusive), ``waves`` a row per
    whole wave as LUDB delineates them (lead, wave "P"/"QRS"/"T", onset, peak, offset; in samples, offset inclusive),
    and ``parameters`` holds everything drawn (JSON-able; times in seconds, amplitudes in mV). Its ``truth`` is what the
    heart has, of which evidence and waves tell; ``record.labels`` is what was read, in a few records something else.
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
    without: str = "",
    variety: str = "",
) -> SimulatedRecord:
    """Simulate record ``index`` of the endless cohort ``seed``; equal arguments give equal bytes.

    Of three records in a row the first two are of one patient. Calls that differ only in ``labels`` or ``noise`` draw
    the same body, heart and instants, so they show what a class or the noise adds. (NSR also takes away what no normal
    ECG has: an inverted T, beats with passing aberrance.)

    Parameters
    ----------
    index, seed
        not negative.
    fs
        Hz, at least 100 and at most 100,000.
    seconds
        at least 6.
    labels
        classes of the record; drawn if None, and then in a few records (``DISAGREEMENT``) not read as they are.
    balance
        0 draws the label sets as often as CPSC 2018 has them, 1 each class equally often, between is a mixture.
    noise
        1 disturbs as real recordings are disturbed, 0 not at all (no lead fault either).
    without
        a finding that the heart loses; it is then read as it is. All else is drawn from the same streams and stays: the
        body, the noise, the other findings with their beats, and the times of all beats that the finding does not move.
        AF moves all of them, PAC those that follow it. Without a block, QRS and T have the form that the same heart has
        without it, which may be an incomplete block.
    variety
        in what the hearts and recorders differ more than those of the study's trials do: steps of ``variety.STEPS``
        joined by +, or ``all``; the patients and their labels stay. With ``unlabelled`` besides, one record in four has
        none of the drawn labels and something else, and 15 in 100 more become normal. With ``runs`` besides, a
        premature atrial beat begins a run in half of all cases.

    Raises
    ------
    ValueError
        when an argument is out of its range, ``labels`` contradict each other, the heart cannot lose ``without``, or
        there is no such step of ``variety``.
    """
    if not (100 <= fs <= 100_000 and 6 <= seconds < np.inf and 0 <= noise < np.inf and 0 <= balance <= 1):
        raise ValueError(
            f"fs={fs}, seconds={seconds}, balance={balance}, noise={noise}: "
            "fs must be at least 100 Hz and at most 100 kHz, seconds at least 6, balance within 0 and 1, "
            "noise not negative"
        )
    patient = _patient(index)
    chosen = _draw_labels(seed, index, patient, balance) if labels is None else _consistent(labels)
    read = _read(_stream(seed, "reading", index), chosen) if labels is None else chosen
    steps = varieties.steps_of(variety)
    others = unnamed = None
    if varieties.UNLABELLED in steps and labels is None:
        others, unnamed = varieties.draw_others(_stream(seed, "others", index))
    if others is not None:
        chosen = read = others
    if without:
        _refuse_to_remove(without, chosen, _name(index, seed))
        read = chosen - {without}
    removed = without
    body = hearts.draw_body(_stream(seed, "body", patient))
    if steps:
        body = varieties.vary_body(_stream(seed, "more body", patient), body, steps, chosen)
    if unnamed:
        body = varieties.body_with(unnamed, body)

    def drawn_heart(labels: Labels) -> Heart:
        heart = hearts.draw_heart(_stream(seed, "heart", index), body, labels)
        heart = varieties.vary_heart(_stream(seed, "more heart", index), heart, labels, steps) if steps else heart
        return varieties.heart_with(unnamed, heart) if unnamed else heart

    heart = drawn_heart(chosen)
    if removed == "AF":  # with which the rhythm goes
        chosen, removed = chosen - {"AF"}, ""
        heart = drawn_heart(chosen)
    healed = heart
    if removed:
        left = drawn_heart(chosen - {removed})
        healed = replace(left, aberrant_beats=heart.aberrant_beats)  # which a block hides: they stay hidden
    runs = _stream(seed, "runs", index) if varieties.RUNS in steps else None
    beats = hearts.draw_beats(
        _stream(seed, "beats", index), heart, chosen, seconds, removed=removed, healed=healed, runs=runs
    )
    chosen, heart = chosen - {removed}, healed
    leads = hearts.lead_vectors(body)
    twelve = eight_to_twelve(leads)
    waves = hearts.make_waves(heart, body, twelve, chosen)
    st, segment = hearts.make_st(_stream(seed, "st", index), heart, body, waves, twelve, chosen)
    waves |= {(kind, "ST"): st for kind in (CONDUCTED, PAC, ABERRANT) if (kind, "QRS") in waves}
    placed = list(hearts.place(waves, heart, beats))

    samples = round(seconds * fs)
    time = np.arange(samples) / fs
    vector = draw([(wave, onset, duration) for _, _, wave, onset, duration in placed], samples, fs)
    if "AF" in chosen:
        vector += hearts.fibrillate(heart, time)
    breath = np.sin(2 * np.pi * heart.respiration * time + heart.respiration_phase)
    eight = np.outer(heart.respiration_gain, breath)
    eight += 1
    eight *= leads @ vector
    disturbed = disturbance.draw_disturbance(_stream(seed, "disturbance", index), seconds)
    if noise:
        added = disturbance.electrode_noise(_stream(seed, "noise", index), disturbed, samples, fs)
        added *= noise
        eight += added
    fault = disturbed["fault"] if noise else None
    eight, shown = disturbance.mix_up(eight, fault)
    seen = samples
    recorder = varieties.draw_recorder(_stream(seed, "recorder", index)) if "recorders" in steps and noise else None
    if recorder:
        eight, seen = varieties.record(eight, recorder, fs)
        if recorder["flat"]:
            shown[shown == LEADS.index(recorder["flat"])] = -1

    notes = [f"simulated fault: {fault}"] if fault else []
    if read != chosen:
        notes.append(f"{_DISPUTED}: {_joined(chosen)} read as {_joined(read)}")
    # Whole microvolts, as a converter gives them: the last bit of some machine's exp() does not change the record.
    eight *= 1000
    # float32 holds them and their halves exactly, up to 8 V; then its quotient is the float64 quotient rounded.
    signal = eight_to_twelve(np.rint(eight, out=eight).astype(np.float32))
    signal /= 1000
    record = Record(
        name=_name(index, seed),
        signal=signal,
        fs=fs,
        leads=LEADS,
        source="synthetic",
        patient_id=_patient_id(index, seed),
        labels=read,
        codes=tuple(name for name in CLASSES if name in read),
        age=body.age,
        sex=body.sex,
        notes=tuple(notes),
    )
    parameters = {
        "patient": patient,
        "labels": list(record.codes),
        "truth": [name for name in CLASSES if name in chosen],
        "body": vars(body),
        "heart": {**vars(heart), "st": segment._asdict()},
        "beats": {name: values.tolist() for name, values in beats._asdict().items()},
        "noise": noise,
        "disturbance": disturbed if noise else None,
    }
    if steps:
        parameters |= {"variety": sorted(steps), "recorder": recorder}
    if varieties.UNLABELLED in steps:
        parameters["unnamed"] = unnamed._asdict() if unnamed else None
    evidence = _tell_evidence(placed, heart, segment, beats, chosen, shown, fs, seen)
    return SimulatedRecord(record, evidence, _tell_waves(placed, shown, fs, seen), parameters)


def removable(findings: Set[str]) -> frozenset[str]:
    """Findings of a heart that can be taken away alone.

    NSR is what is left without findings, and where STD is with STE both are one dipole's.
    """
    return frozenset(findings) - ({"NSR", "STD", "STE"} if {"STD", "STE"} <= findings else {"NSR"})


def _refuse_to_remove(name: str, findings: frozenset[str], record: str) -> None:
    if name not in findings:
        raise ValueError(f"{record} has no {name}: it has {_joined(findings) or 'none of the classes'}")
    if name not in removable(findings):
        raise ValueError(f"{name} of {_joined(findings)} cannot be taken away alone; take another finding or record")


def parsed(name: str) -> tuple[int, int] | None:
    """Index and seed of a simulated record's name, as in ``7-000012``; None of another name."""
    seed, _, index = name.partition("-")
    return (int(index), int(seed)) if seed.isdecimal() and index.isdecimal() else None


def drawn_again(record: Record, **settings: Any) -> SimulatedRecord | None:
    """Simulate the record of this name at this rate; None unless that has this signal, to the microvolt of a file.

    ``settings`` are the other arguments of ``simulate``.
    """
    if not (place := parsed(record.name)):
        return None
    try:
        again = simulate(*place, fs=record.fs, **settings)
    except (TypeError, ValueError):  # arguments that this version refuses
        return None
    one, other = record.signal, again.record.signal
    return again if one.shape == other.shape and np.abs(one - other).max() <= 1e-3 else None


def identity(index: int, seed: int, balance: float = 0.0) -> tuple[str, str, frozenset[str]]:
    """Name, patient and labels of the record that ``simulate`` makes of these arguments, without simulating it.

    No step of a variety changes them but ``unlabelled``.
    """
    chosen = _draw_labels(seed, index, _patient(index), balance)
    return _name(index, seed), _patient_id(index, seed), _read(_stream(seed, "reading", index), chosen)


def _patient(index: int) -> int:
    """Number of the patient: of three records in a row the first two are of one."""
    return 2 * (index // 3) + index % 3 // 2


def _name(index: int, seed: int) -> str:
    return f"{seed}-{index:06d}"


def _patient_id(index: int, seed: int) -> str:
    return f"synthetic/{seed}-{_patient(index)}"


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
    return key if leads == 12 else np.any(key, axis=1, keepdims=True)


def write(simulated: Iterable[SimulatedRecord], folder: Path) -> None:
    """Write records to a folder as WFDB (.hea, .dat), and evidence.csv, waves.csv and parameters.json of them all."""
    evidence, waves, parameters = [], [], {}
    for one in simulated:
        record = one.record
        with warnings.catch_warnings():  # that wfdb 4.3 uses what pandas 3 deprecates is no concern of the reader's
            warnings.simplefilter("ignore", DeprecationWarning)
            import wfdb

            wfdb.wrsamp(
                record.name,
                fs=record.fs,
                units=["mV"] * 12,
                sig_name=list(record.leads),
                d_signal=np.rint(2000 * record.signal.T).astype(np.int64),  # aVR, aVL and aVF have half microvolts
                fmt=["16"] * 12,
                adc_gain=[2000] * 12,
                baseline=[0] * 12,
                comments=[f"Age: {record.age:.0f}", f"Sex: {record.sex}", f"Dx: {','.join(record.codes)}"],
                write_dir=str(folder),
            )
        evidence.append(one.evidence.assign(record=record.name))
        waves.append(one.waves.assign(record=record.name))
        parameters[record.name] = one.parameters
    pd.concat(evidence).to_csv(folder / "evidence.csv", index=False)
    pd.concat(waves).to_csv(folder / "waves.csv", index=False)
    (folder / "parameters.json").write_text(json.dumps(parameters), encoding="utf-8")


def _stream(seed: int, purpose: str, number: int) -> np.random.Generator:
    """One stream per purpose: what one purpose draws never shifts what another draws."""
    return np.random.default_rng([seed, _PURPOSES.index(purpose), number])


@lru_cache
def _label_chances(balance: float) -> np.ndarray:
    """Cumulative chances of the label sets of ``CPSC_2018``."""
    natural = np.array(list(CPSC_2018.values()), dtype=float)
    member = np.array([[name in labels for labels in CPSC_2018] for name in CLASSES])
    uniform = (member * natural / (member @ natural)[:, None]).mean(axis=0)
    return np.cumsum((1 - balance) * natural / natural.sum() + balance * uniform)


def _draw_labels(seed: int, index: int, patient: int, balance: float) -> frozenset[str]:
    """Draw a label set; a patient's second record keeps the first one's seven times in ten."""
    rng = _stream(seed, "labels", patient)
    if index % 3 == 1 and (own := _stream(seed, "own labels", index)).random() > 0.7:
        rng = own
    drawn = int(_label_chances(balance).searchsorted(rng.random(), side="right"))
    return _LABEL_SETS[min(drawn, len(_LABEL_SETS) - 1)]


def _read(rng: np.random.Generator, truth: frozenset[str]) -> frozenset[str]:
    """What is read in a record: nearly always what it has, else one label less or another in its place."""
    if rng.random() >= DISAGREEMENT:
        return truth
    missed = str(rng.choice(sorted(truth)))
    read = truth - {missed} | {rng.choice(READINGS[missed])}
    if len(read) > 1:
        read -= {"NSR"}
    return truth - {missed} if any(read >= both for both in _CONTRADICTIONS) else read


def _joined(labels: frozenset[str]) -> str:
    return "+".join(name for name in CLASSES if name in labels)


def disputed(notes: pd.Series) -> np.ndarray:
    """Records (records,) whose label is not what their heart has, from the column ``notes`` of a cohort's table.

    Trials of maps leave them out: a class that is only in the label has no evidence to find.
    """
    return notes.str.contains(_DISPUTED, regex=False).to_numpy(dtype=bool)


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


_Placed = list[tuple[int, str, Wave, np.ndarray, np.ndarray]]  # see heart.place


def _tell_waves(placed: _Placed, shown: np.ndarray, fs: float, samples: int) -> pd.DataFrame:
    """On- and offset and peak of each whole wave in each lead."""
    seen = [(name, wave.marks, onset, duration) for _, name, wave, onset, duration in placed if name in _WAVE_CODES]
    marks = np.concatenate([o[:, None, None] + d[:, None, None] * m for _, m, o, d in seen])  # waves, leads, marks
    marks = np.rint(marks * fs)
    name = np.repeat([_WAVE_CODES[name] for name, _, _, _ in seen], [len(onset) for _, _, onset, _ in seen])
    one, lead = np.nonzero((marks[..., 0] >= 0) & (marks[..., 2] < samples) & (shown >= 0))
    name, marks, lead = name[one], marks[one, lead].astype(int), shown[lead]
    order = np.lexsort((marks[:, 0], lead))
    return _frame(_WAVE_COLUMNS, (_LEAD, lead[order]), (_WAVE, name[order]), *marks[order].T)


def _tell_evidence(
    placed: _Placed,
    heart: Heart,
    segment: Segment,
    beats: Beats,
    labels: frozenset[str],
    shown: np.ndarray,
    fs: float,
    samples: int,
) -> pd.DataFrame:
    """Intervals of evidence as ``CRITERIA`` define them."""
    start = {(kind, name): onset for kind, name, _, onset, _ in placed}
    end = {(kind, name): onset + duration for kind, name, _, onset, duration in placed}
    conducted = [kind for kind in (CONDUCTED, PAC, ABERRANT) if (kind, "QRS") in start]
    usual = [kind for kind in conducted if kind != ABERRANT and not (kind == PAC and heart.pac_aberrant)]
    sinus = [kind for kind in (CONDUCTED, ABERRANT) if (kind, "P") in start]
    everywhere = np.ones(12, dtype=bool)
    spans = []  # class, onset and offset of its intervals in s, leads
    for name in labels:
        if name == "NSR":
            spans.append((name, start[CONDUCTED, "P"], end[CONDUCTED, "T"], everywhere))
        elif name == "AF":
            spans.append((name, (beats.onset + beats.qt)[:-1], beats.onset[1:], everywhere))
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
            affected = np.isin(LEADS, segment.affected[name])
            spans += [(name, end[kind, "QRS"], start[kind, "T"], affected) for kind in usual]
    if not spans:  # of a heart that has lost its only finding
        nothing = np.array([], dtype=int)
        return _frame(_EVIDENCE_COLUMNS, (_CLASS, nothing), (_LEAD, nothing), nothing, nothing)
    intervals = [len(onset) for _, onset, _, _ in spans]
    of_class = np.repeat([CLASSES.index(name) for name, _, _, _ in spans], intervals)
    onset = np.rint(np.concatenate([onset for _, onset, _, _ in spans]) * fs).astype(int).clip(0, samples)
    offset = np.rint(np.concatenate([offset for _, _, offset, _ in spans]) * fs).astype(int).clip(0, samples)
    leads = np.repeat([leads & (shown >= 0) for _, _, _, leads in spans], intervals, axis=0)
    one, lead = np.nonzero((onset < offset)[:, None] & leads)
    of_class, lead, onset, offset = of_class[one], shown[lead], onset[one], offset[one]
    order = np.lexsort((onset, lead, of_class))
    return _frame(_EVIDENCE_COLUMNS, (_CLASS, of_class[order]), (_LEAD, lead[order]), onset[order], offset[order])


_Codes = tuple[pd.CategoricalDtype, np.ndarray]


def _frame(names: pd.Index, first: _Codes, second: _Codes, *columns: np.ndarray) -> pd.DataFrame:
    """A table of columns; to make an index of their names anew for each record costs as much as the rest of it."""
    named = [pd.Categorical.from_codes(codes, dtype=dtype, validate=False) for dtype, codes in (first, second)]
    frame = pd.DataFrame(dict(enumerate([*named, *columns])), copy=False)
    frame.columns = names
    return frame
