"""Cases: what is to be explained, and where its evidence is.

The answer key is exact for simulated records. For LUDB's it follows from the waves that cardiologists marked, for other
real records with ST changes from the QRS complexes that a detector finds.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ecgstudy.data import qrs
from ecgstudy.data.cohort import Cohort, in_short, record_paths, skipping
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import LEADS, Record, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.preprocessing import fill_gaps, fit_length, resample
from ecgstudy.systems import Tried


class Cases(NamedTuple):
    """What is to be explained, one record and one of its classes a row."""

    signals: NDArray[np.float32]  # (rows, 12, n) in mV
    classes: NDArray[np.intp]
    key: NDArray[np.bool_]  # (rows, 12, n), of the row's class
    any_class: NDArray[np.bool_]  # (rows, n), of all classes of the record, in any lead
    st: NDArray[np.bool_]  # (rows, n), the ST segments in any lead
    labels: NDArray[np.bool_]  # (rows, 9), all classes of the record
    patients: NDArray[np.str_]
    names: NDArray[np.str_]  # of the records
    fs: float
    known: tuple[str, ...] = CLASSES  # what the classes are called
    qrs: NDArray[np.bool_] | None = None  # (rows, n), the QRS complexes in any lead, where the waves are known

    def take(self, rows: NDArray) -> "Cases":
        """Some of the rows."""
        kept = {name: getattr(self, name)[rows] for name in self._fields[:-3]}
        return self._replace(**kept, qrs=None if self.qrs is None else self.qrs[rows])

    @property
    def any_lead(self) -> NDArray[np.bool_]:
        """The key (rows, n) in any lead."""
        return np.any(self.key, axis=1)

    @property
    def names_of_classes(self) -> NDArray[np.str_]:
        """Name of each row's class."""
        return np.array(self.known)[self.classes]

    def inputs(self, system: Tried) -> Tensor:
        """Network inputs of a system: the first window of each record."""
        return torch.from_numpy(np.stack([system.windows(s)[0] for s in self.signals]))


def synthetic_cases(
    fs: float, per_class: int, *, seed: int, fewest: int = 1, classes: Sequence[str] = CLASSES
) -> Cases:
    """Simulate records of 10 s until each of the classes has ``per_class`` rows.

    Parameters
    ----------
    seed
        Of the simulator; another than the training cohort's, so that no network has seen a patient of it.
    fewest
        Take only records with at least so many classes (and then none of NSR, which stands alone).
    """
    rows: list[tuple] = []
    full = {name: 0 for name in classes if name != "NSR" or fewest == 1}
    index = 0
    while any(n < per_class for n in full.values()):
        s = synthetic.simulate(index, seed, fs=fs, balance=1)
        index += 1
        # Where a label is disputed, what counts is what the heart has: only that has evidence.
        keys = synthetic.answer_key(s.evidence, s.record.signal.shape[1])
        there = keys.any(axis=(1, 2))
        if there.sum() >= fewest:
            wanted = [c for c in np.flatnonzero(there) if full.get(CLASSES[c], per_class) < per_class]
            if wanted:
                union = keys.any(axis=(0, 1))
                st, complexes = (wave_key(s.waves, c, LEADS, keys.shape[-1]).any(axis=0) for c in ("STD", "LBBB"))
            for c in wanted:
                full[CLASSES[c]] += 1
                about = (s.record.patient_id, s.record.name)
                rows.append((s.record.signal, c, keys[c], union, st, there, *about, complexes))
    return _cases(rows, fs)


def ludb_cases(fs: float, *, per_class: int | None = None, failed: list[dict[str, str]] | None = None) -> Cases:
    """LUDB's records at ``fs`` Hz with the keys that its delineated waves give; PAC and PVC have none.

    A record that cannot be read, or whose annotation cannot, is left out, and added to ``failed`` (name, error), unless
    it stands there already.

    Raises
    ------
    manifest.DataError
        when LUDB is not at hand, or nothing of it can be read.
    """
    rows = []
    full = dict.fromkeys(CLASSES, 0)
    unread: list[dict[str, str]] = []

    def read(path: Path) -> tuple[Record, pd.DataFrame | None]:
        record = read_record(path)
        return record, read_delineation(path) if record.labels & set(WAVE_CLASSES) else None

    for _, (record, waves) in skipping(read, record_paths(["ludb"]), unread):
        wanted = [c for c in CLASSES if c in record.labels and c in WAVE_CLASSES and full[c] < (per_class or 1000)]
        if not wanted or waves is None:
            continue
        signal = resample(fill_gaps(record.signal), record.fs, fs)
        for edge in ("onset", "peak", "offset"):
            waves[edge] = (waves[edge].astype("Float64") * (fs / record.fs)).round().astype("Int64")
        labels = np.isin(CLASSES, list(record.labels))
        keys = {c: wave_key(waves, c, LEADS, signal.shape[1]) for c in (*wanted, "STD", "LBBB")}
        st, complexes = (keys[c].any(axis=0) for c in ("STD", "LBBB"))
        union = np.any([keys[c].any(axis=0) for c in wanted], axis=0)
        for c in wanted:
            if keys[c].any():
                full[c] += 1
                about = (record.patient_id, record.name)
                rows.append((signal, CLASSES.index(c), keys[c], union, st, labels, *about, complexes))
    if failed is not None:
        failed += [row for row in unread if row not in failed]
    if not rows:
        why = in_short([row["error"] for row in unread]) or "none has a class of which waves tell"
        raise DataError(f"no record of LUDB can be explained ({why}): fetch all of it with `ecgstudy data fetch ludb`")
    return _cases(rows, fs)


def ludb_at_hand(rates: Iterable[float], per_class: int | None, failed: list[dict[str, str]]) -> dict[float, Cases]:
    """``ludb_cases`` at several rates in Hz; none where LUDB is not at hand, or nothing of it can be read."""
    try:
        return {fs: ludb_cases(fs, per_class=per_class, failed=failed) for fs in rates}
    except DataError:
        return {}


def unkeyed_cases(cohort: Cohort, records: NDArray[np.intp], per_class: int, seconds: float = 10.0) -> Cases | None:
    """Records of any cohort without a key, the first of each class, as ``seconds`` from their beginning.

    They serve the trials that need no key. A record that has every class is left out, since one trial asks for the map
    of a class that the record lacks; None where no record is left.
    """
    rows, length = [], round(seconds * cohort.fs)
    nothing = np.zeros(length, dtype=bool)
    for c in range(len(cohort.classes)):
        found = [i for i in records if cohort.labels[i, c] and not cohort.labels[i].all()]
        for i in found[:per_class]:
            signal = fit_length(cohort[int(i)], length, where=0)[0].astype(np.float32)
            about = cohort.table.iloc[i]
            key = np.tile(nothing, (len(LEADS), 1))
            rows.append((signal, c, key, nothing, nothing, cohort.labels[i], about["patient_id"], about["name"]))
    return _cases(rows, cohort.fs)._replace(known=cohort.classes) if rows else None


def real_st_cases(cohort: Cohort, records: NDArray[np.intp], seconds: float = 10.0) -> Cases:
    """Records of a real cohort with STD or STE, cut to their first seconds; the key is ``st_key``'s.

    Left out are shorter records and those with a bundle branch block, whose QRS reaches into that key.
    """
    rows, length = [], round(seconds * cohort.fs)
    wanted = np.isin(CLASSES, ("STD", "STE"))
    block = np.isin(CLASSES, ("LBBB", "RBBB"))
    for i in records:
        labels = cohort.labels[i]
        signal = cohort[i][:, :length]
        if not (labels & wanted).any() or (labels & block).any() or signal.shape[1] < length:
            continue
        st = st_key(signal[None], cohort.fs)[0]
        about = cohort.table.iloc[i]
        for c in np.flatnonzero(labels & wanted):
            key = np.tile(st, (len(LEADS), 1))
            rows.append((signal, c, key, st, st, labels, about["patient_id"], about["name"]))
    return _cases(rows, cohort.fs)


def _cases(rows: list[tuple], fs: float) -> Cases:
    """Cases of rows that have the fields of one, some with the QRS complexes after them."""
    rows.sort(key=lambda row: row[1])
    columns: Any = dict(zip((*Cases._fields[:-3], "qrs"), map(np.array, zip(*rows, strict=True)), strict=False))
    return Cases(**columns, fs=fs)


KEYS = ("as defined", "AF with the QRS complexes", "0.1 s longer")


def with_key(cases: Cases, key: str) -> Cases:
    """Cases with another of the ``KEYS`` that one may defend.

    ``AF with the QRS complexes``: AF shows in f waves between the beats and in beats that come at irregular times, and
    the second finding is where the QRS complexes are. ``0.1 s longer``: all intervals, on either side.

    Raises
    ------
    ValueError
        for another key, and for AF of cases whose QRS complexes are not known.
    """
    if key not in KEYS:
        raise ValueError(f"no key {key!r}; there are {', '.join(KEYS)}")
    if key == "as defined":
        return cases
    if key == "0.1 s longer":
        shape = (1, 1, 2 * round(0.1 * cases.fs) + 1)
        return cases._replace(key=ndimage.binary_dilation(cases.key, np.ones(shape, dtype=bool)))
    af = cases.names_of_classes == "AF"
    if cases.qrs is None:
        raise ValueError("the QRS complexes of these cases are not known")
    return cases._replace(key=cases.key | (cases.qrs & af[:, None])[:, None])


def st_key(x: NDArray[np.floating], fs: float) -> NDArray[np.bool_]:
    """The surest part of each ST segment of records without delineated waves: (rows, samples).

    From 60 to 150 ms after each QRS that ``qrs.BLIND`` finds. In LUDB's records without a bundle branch block, 99 % of
    it is delineated as ST in at least one lead, and it covers half of what is.
    """
    key = np.zeros((len(x), x.shape[-1]), dtype=bool)
    after = np.arange(round(0.06 * fs), round(0.15 * fs) + 1)
    for row, ecg in zip(key, x, strict=True):
        at = (qrs.BLIND.find(np.asarray(ecg, dtype=np.float64), fs)[:, None] + after).ravel()
        row[at[at < len(row)]] = True
    return key


_SPANS = {
    "NSR": (("P", "onset", 0), ("T", "offset", 0)),
    "AF": (("T", "offset", 0), ("QRS", "onset", 1)),
    "I-AVB": (("P", "onset", 0), ("QRS", "onset", 0)),
    "LBBB": (("QRS", "onset", 0), ("QRS", "offset", 0)),
    "RBBB": (("QRS", "onset", 0), ("QRS", "offset", 0)),
    "STD": (("QRS", "offset", 0), ("T", "onset", 0)),
    "STE": (("QRS", "offset", 0), ("T", "onset", 0)),
}
WAVE_CLASSES = tuple(_SPANS)


def wave_key(waves: pd.DataFrame, name: str, leads: Sequence[str], samples: int) -> NDArray[np.bool_]:
    """Where delineated waves put the evidence of a class, as the simulator defines it: (leads, samples).

    Parameters
    ----------
    waves
        Of ``read_delineation`` or the simulator: lead, wave, onset, peak, offset, in samples.
    name
        A class whose evidence is in every beat. (Which beats are premature, the waves do not say.)

    Raises
    ------
    ValueError
        for PAC and PVC.
    """
    if name not in _SPANS:
        raise ValueError(f"waves do not say where {name} is; they do for {', '.join(_SPANS)}")
    key = np.zeros((len(leads), samples), dtype=bool)
    (first, edge, _), (last, edge_last, step) = _SPANS[name]
    whole = waves.dropna(subset=["onset", "offset"])
    of_lead, of_wave = whole["lead"].to_numpy(dtype=object), whole["wave"].to_numpy(dtype=object)
    edges = {edge: whole[edge].to_numpy(dtype=float) for edge in ("onset", "peak", "offset")}
    order = np.argsort(edges["peak"], kind="stable")  # what has no peak comes last
    for row, lead in enumerate(leads):
        own = order[of_lead[order] == lead]
        # Arrays, since a table would be asked hundreds of times.
        parts = {wave: {e: v[own[of_wave[own] == wave]] for e, v in edges.items()} for wave in ("P", "QRS", "T")}
        qrs = parts["QRS"]["peak"]
        for beat, at in enumerate(qrs):
            around = (qrs[beat - 1] if beat else -np.inf, at, qrs[beat + 1] if beat + 1 < len(qrs) else np.inf)
            start = _edge(parts[first], first, edge, around)
            if step:
                stop = parts["QRS"]["onset"][beat + 1] if beat + 1 < len(qrs) else None
            else:
                stop = _edge(parts[last], last, edge_last, around)
            if start is not None and stop is not None:
                key[row, int(start) : int(stop) + (edge_last == "offset")] = True
    return key


def _edge(
    waves: Mapping[str, NDArray[np.floating]], wave: str, edge: str, around: tuple[float, float, float]
) -> int | None:
    """On- or offset of the beat's wave: the last P before its QRS, the first T after it, itself."""
    before, at, after = around
    peak = waves["peak"]
    chosen = {"P": (peak > before) & (peak < at), "QRS": peak == at, "T": (peak > at) & (peak < after)}[wave]
    if not chosen.any():
        return None
    return int(waves[edge][np.flatnonzero(chosen)[-1 if wave == "P" else 0]])
