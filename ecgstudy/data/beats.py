"""The annotated beats of MIT-BIH, cut out one by one, and simulated ones that stand in for them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy.data import manifest
from ecgstudy.data.cohort import skipping
from ecgstudy.data.formats import read_annotation
from ecgstudy.data.records import LEADS, Record, RecordError, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.heart import PAC, PVC
from ecgstudy.preprocessing import fill_gaps

VERSION = 1  # increased when the same beats get another rhythm, timing or median beat

# ANSI/AAMI EC57's five groups of the PhysioNet beat symbols (de Chazal et al. 2004, table I).
AAMI = {
    **dict.fromkeys("NLRBej", "N"),
    **dict.fromkeys("AaJSn", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
"""Beat symbol → N, S, V, F or Q."""

# The 44 records without pacing in halves: de Chazal, O'Dwyer and Reilly, "Automatic classification of heartbeats using
# ECG morphology and heartbeat interval features", IEEE Trans. Biomed. Eng. 51:1196, 2004. One patient is in both: 201
# and 202.
# fmt: off
DS1 = ("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122", "124", "201", "203", "205", "207",
       "208", "209", "215", "220", "223", "230")
DS2 = ("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210", "212", "213", "214", "219", "221",
       "222", "228", "231", "232", "233", "234")
VALIDATION = ("114", "119", "124", "207", "209", "223")  # part of DS1: every choice is made on these patients
# fmt: on
PACED = ("102", "104", "107", "217")
# What simulated records are labelled with, in turn: their beats are conducted (N), PAC (S) or PVC (V).
SIMULATED = (
    ("PAC",),
    ("PVC",),
    ("NSR",),
    ("PAC", "PVC"),
    ("RBBB", "PAC"),
    ("RBBB", "PVC"),
    ("I-AVB", "PAC"),
    ("STD", "PVC"),
)

# As many kinds again for networks that are to read real beats: most patients have no premature atrial beats.
SIMULATED_WIDELY = (
    *SIMULATED,
    *(("AF",), ("AF", "PVC"), ("LBBB", "PAC"), ("PAC",), ("PAC", "STD")),
    *(("NSR",),) * 6,
    *(("AF",), ("RBBB",), ("LBBB",), ("I-AVB",), ("STD",), ("STE",)),
)

BEAT_CLASSES = ("N", "S", "V", "F")  # Q, 15 beats outside the paced records, is no class
FS = 360.0  # Hz
TIMINGS = 17  # numbers that tell of a beat's timing within its record
BEFORE, SAMPLES, SEGMENTS = 99, 264, 11  # of a window: samples before R, in all, and parts of 24 samples each


def read_beats(path: str | Path) -> pd.DataFrame:
    """Every annotated beat of one MIT-BIH record.

    Parameters
    ----------
    path
        The record, with or without suffix, or its annotation file ``<record>.atr``.

    Returns
    -------
    DataFrame
        Columns sample (of the beat's mark, from 0), symbol (PhysioNet's) and aami (N, S, V, F, Q), in time order;
        annotations of rhythm, noise and the like are left out.

    Raises
    ------
    RecordError
        if the annotation file is missing, cut short or cannot be read.
    """
    beats = read_annotation(path, "atr")
    beats["aami"] = beats["symbol"].map(AAMI)
    return beats.dropna(subset="aami").reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of many records, each a window around its R peak.

    Attributes
    ----------
    signal
        (beats, 2, 264) float32 in mV at 360 Hz, R at sample 99; first lead II, then the record's other lead.
    rhythm
        (beats, 4) float32, timing of each beat compared with those before it (see ``rhythm``).
    table
        One row a beat: record, patient_id, sample (of R in the record), symbol, aami (N, S, V or F).
    medians
        Record → its median beat (2, 264), over all of its beats of any class.
    """

    signal: NDArray[np.float32]
    rhythm: NDArray[np.float32]
    table: pd.DataFrame
    medians: dict[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def target(self) -> NDArray[np.intp]:
        """Class of each beat, as its place in ``BEAT_CLASSES``."""
        return self.table["aami"].map({name: i for i, name in enumerate(BEAT_CLASSES)}).to_numpy(np.intp)

    @cached_property
    def timing(self) -> NDArray[np.float32]:
        """Timing of each beat within its record, before and after it (beats, 17), see ``timing``."""
        found = np.empty((len(self), TIMINGS), np.float32)
        for places in self.table.groupby("record").indices.values():
            found[places] = timing(self.table["sample"].to_numpy()[places] / FS)
        return found

    @cached_property
    def checksum(self) -> str:
        """Hash that names the beats in every run: of ``VERSION``, signals (whole microvolts), positions and classes."""
        digest = hashlib.sha256(f"beats {VERSION}".encode() + np.rint(self.signal * 1000).astype("<i4").tobytes())
        digest.update(self.table[["record", "sample", "aami"]].to_csv(index=False).encode())
        return digest.hexdigest()[:16]

    @property
    def classes(self) -> list[str]:
        """Names of the classes that some beat has, in the order of ``BEAT_CLASSES``."""
        return [name for name in BEAT_CLASSES if (self.table["aami"] == name).any()]

    @property
    def of_mitdb(self) -> bool:
        """Whether all records are MIT-BIH's."""
        return set(self.medians) <= {*DS1, *DS2}

    def of(self, records: Iterable[str]) -> NDArray[np.intp]:
        """Places of all beats of some records."""
        return np.flatnonzero(self.table["record"].isin(list(records)))


def cut(x: NDArray[np.float32], samples: NDArray[np.intp]) -> NDArray[np.float32]:
    """Windows (beats, leads, 264) of a record (leads, n) with R at sample 99; the record's first and last value go on.

    A window is 11 segments of 24 samples (66.7 ms); R lies in the fifth.
    """
    padded = np.pad(fill_gaps(x), ((0, 0), (BEFORE, SAMPLES - BEFORE)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, SAMPLES, axis=1)[:, samples].transpose(1, 0, 2).copy()


def rhythm(seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Describe the timing of each beat by the beats up to it; nothing that comes later is used.

    Parameters
    ----------
    seconds
        (beats,) time of each R peak of one record, in order.

    Returns
    -------
    array (beats, 4)
        RR, the time since the beat before, in s; and the logarithms of RR over the mean of the ten RR before it, over
        the mean of all RR before it in the record, and over the RR before it. A beat without so much past has 0
        for lack of past beats; the RR of the first beat is that of the second.
    """
    rr = np.diff(seconds)
    rr = np.maximum(np.concatenate([rr[:1], rr]), 0.01)
    past = pd.Series(rr).shift(1)
    local, whole = past.rolling(10, min_periods=1).mean(), past.expanding().mean()
    ratios = [np.log(rr / reference.fillna(pd.Series(rr))) for reference in (local, whole, past)]
    return np.column_stack([rr, *ratios]).astype(np.float32)


def timing(seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Describe the timing of each beat by all of its record, what comes after the beat too.

    Parameters
    ----------
    seconds
        (beats,) time of each R peak of one record, in order.

    Returns
    -------
    array (beats, 17)
        RR before and RR after, within 0.15 and 3 s; the logarithm of each over five intervals of the record: median and
        mean of all RR, the median of the 21 around the beat, and what a quarter of 101 and a tenth of 41 around it
        exceed; the logarithms of RR before over RR after, over the one before it, and of RR after over the one after
        it; and how irregular the rhythm is around the beat: standard deviation of 21 RR over their median, and the
        median change from RR to RR of 41.
    """
    rr = np.diff(seconds).clip(0.15, 3)
    before, after = (np.concatenate(ends) for ends in ((rr[:1], rr), (rr, rr[-1:])))
    rows = pd.Series(before)

    def around(beats: int) -> pd.api.typing.Rolling:
        return rows.rolling(beats, center=True, min_periods=1)

    local = around(21).median()
    usual = (rows.median(), rows.mean(), local, around(101).quantile(0.75), around(41).quantile(0.9))
    ratios = [np.log(interval / reference) for reference in usual for interval in (before, after)]
    earlier, later = np.concatenate([before[:1], before[:-1]]), np.concatenate([after[1:], after[-1:]])
    steps = [np.log(before / after), np.log(before / earlier), np.log(after / later)]
    spread = around(21).std() / local
    change = rows.pct_change().abs().rolling(41, center=True, min_periods=1).median()
    return np.nan_to_num(np.column_stack([before, after, *ratios, *steps, spread, change])).astype(np.float32)


def _gather(parts: Iterable[tuple[Record, pd.DataFrame]]) -> Beats:
    """Cut the marked beats (sample, symbol, aami) out of records whose first lead is II."""
    signals, rhythms, tables, medians = [], [], [], {}
    for record, marks in parts:
        windows = cut(record.signal[:2], marks["sample"].to_numpy())
        medians[record.name] = np.median(windows, axis=0)
        # Beats of no class (Q) are left out, but they are part of the rhythm.
        kept = marks["aami"].isin(BEAT_CLASSES).to_numpy()
        signals.append(windows[kept])
        rhythms.append(rhythm(marks["sample"].to_numpy() / record.fs)[kept])
        about = {"record": record.name, "patient_id": record.patient_id}
        tables.append(marks[kept].assign(**about)[["record", "patient_id", "sample", "symbol", "aami"]])
    if not tables:
        raise manifest.DataError("no record with beats can be read: fetch them again, `ecgstudy data fetch mitdb`")
    return Beats(np.concatenate(signals), np.concatenate(rhythms), pd.concat(tables, ignore_index=True), medians)


def mitdb_beats(records: Iterable[str] = (*DS1, *DS2), failed: list[dict[str, str]] | None = None) -> Beats:
    """Beats N, S, V and F of MIT-BIH records, by default of the 44 without pacing.

    A record that cannot be read, or whose annotation cannot, is left out, and added to ``failed`` (name, error).

    Raises
    ------
    manifest.DataError
        when MIT-BIH is not at hand (where it was looked for, the command that fetches it), or none of it can be read.
    """
    folder = manifest.locate("mitdb")

    def read(path: Path) -> tuple[Record, pd.DataFrame]:
        record = read_record(path)
        if "MLII" not in record.leads or len(record.leads) != 2:
            raise RecordError(f"{path}: has {' and '.join(record.leads)}, not MLII and another lead; fetch it again")
        first = record.leads.index("MLII")  # the second one in record 114
        marks, samples = read_beats(path), record.signal.shape[1]
        if not marks["sample"].between(0, samples - 1).all():
            raise RecordError(f"{path}.atr: marks beats outside of the record's {samples} samples; fetch both again")
        return replace(record, signal=record.signal[[first, 1 - first]]), marks

    return _gather(part for _, part in skipping(read, [folder / name for name in sorted(records)], failed))


def simulated_beats(
    records: int,
    seed: int = 0,
    seconds: float = 30,
    *,
    kinds: Sequence[tuple[str, ...]] = SIMULATED,
    variety: str = "",
) -> Beats:
    """Beats N, S and V in leads II and V1 of simulated records (of three in a row, two are one patient's); no F.

    R is the peak of the simulator's QRS in lead II. Beats that the record cuts off are left out.

    Parameters
    ----------
    records, seed, seconds, variety
        See ``synthetic.simulate``.
    kinds
        Labels of the records, in turn: three in a row have the same.
    """

    def parts() -> Iterable[tuple[Record, pd.DataFrame]]:
        for index in range(records):
            labels = frozenset(kinds[(index // 3) % len(kinds)])
            one = synthetic.simulate(index, seed, fs=FS, seconds=seconds, labels=labels, variety=variety)
            waves = one.waves[(one.waves["lead"] == "II") & (one.waves["wave"] == "QRS")]
            onset = np.array(one.parameters["beats"]["onset"])
            nearest = np.abs(onset[:, None] - waves["onset"].to_numpy() / FS).argmin(axis=0)
            kind = np.array(one.parameters["beats"]["kind"])[nearest]
            aami = np.select([kind == PAC, kind == PVC], ["S", "V"], "N")
            marks = pd.DataFrame({"sample": waves["peak"].to_numpy(), "symbol": "", "aami": aami})
            leads = [LEADS.index("II"), LEADS.index("V1")]
            yield replace(one.record, leads=("II", "V1"), signal=one.record.signal[leads]), marks

    return _gather(parts())


def halves(beats: Beats) -> dict[str, NDArray[np.intp]]:
    """Indices of the beats for training (DS1), validation (a part of DS1) and test (DS2).

    MIT-BIH is split into de Chazal's halves, without record 201: its patient is that of 202, which is in DS2.
    Simulated beats are split by every other patient.
    """
    if beats.of_mitdb:
        return {"DS1": beats.of(set(DS1) - {"201"}), "validation": beats.of(VALIDATION), "DS2": beats.of(DS2)}
    patient = pd.factorize(beats.table["patient_id"])[0]
    return {
        part: np.flatnonzero(chosen)
        for part, chosen in {"DS1": patient % 2 == 0, "validation": patient % 8 == 0, "DS2": patient % 2 == 1}.items()
    }


def random_halves(beats: Beats, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of all beats, split in two halves at random, so that every patient is in both: the leak to be shown."""
    drawn = np.random.default_rng(seed).permutation(len(beats))
    return np.sort(drawn[: len(drawn) // 2]), np.sort(drawn[len(drawn) // 2 :])
