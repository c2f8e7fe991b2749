"""All methods of a system in all trials: one row an explanation, one column a method and trial.

The maps that have seen no network stand in the same table: ``random`` (the system's own map, moved), ``signal energy``
and ``QRS detector``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.data.cohort import Cohort, skipping
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError, locate
from ecgstudy.data.records import LEADS, Record, find_records, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import faithfulness, methods, trials
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.systems import System

BASELINES = ("random", "signal energy", "QRS detector")
# Trial → whether more is better; None: a property, neither good nor bad.
TRIALS: dict[str, bool | None] = {
    **dict.fromkeys((*trials.LOCALISATION, "tolerant excess mass"), True),
    "deletion": False,
    "insertion": True,
    "comprehensiveness": True,
    "sufficiency": False,
    "infidelity": False,
    "random weights": False,
    "wrong class": False,
    "wrong record": False,
    "noise": True,
    "time shift": True,
    "seeds": True,
    "folds": True,
    "members": True,
    "ST": None,
    "speaks": None,
    "Gini": None,
    "entropy": None,
}
FAMILIES = {
    "localisation": ("excess mass", "pointing", "AUC", "AP", "top-k", "tolerant excess mass"),
    "faithfulness": ("deletion", "insertion", "comprehensiveness", "sufficiency", "infidelity"),
    "sanity": ("random weights", "wrong class", "wrong record"),
    "stability": ("noise", "time shift", "seeds", "folds", "members"),
}


class Cases(NamedTuple):
    """What is to be explained, one record and one of its classes a row."""

    signals: NDArray[np.float32]  # (rows, 12, n) in mV
    classes: NDArray[np.intp]
    key: NDArray[np.bool_]  # (rows, 12, n), of the row's class
    union: NDArray[np.bool_]  # (rows, n), of all classes of the record, in any lead
    st: NDArray[np.bool_]  # (rows, n), the ST segments in any lead
    labels: NDArray[np.bool_]  # (rows, 9), all classes of the record
    patients: NDArray[np.str_]
    names: NDArray[np.str_]  # of the records
    fs: float

    def take(self, rows: NDArray) -> "Cases":
        """Some of the rows."""
        return Cases(*(part[rows] for part in self[:-1]), self.fs)

    @property
    def any_lead(self) -> NDArray[np.bool_]:
        """The key (rows, n) in any lead."""
        return self.key.any(axis=1)

    @property
    def names_of_classes(self) -> NDArray[np.str_]:
        """Name of each row's class."""
        return np.array(CLASSES)[self.classes]

    def inputs(self, system: System) -> Tensor:
        """Network inputs of a system."""
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
                union, st = keys.any(axis=(0, 1)), trials.wave_key(s.waves, "STD", LEADS, keys.shape[-1]).any(axis=0)
            for c in wanted:
                full[CLASSES[c]] += 1
                about = (s.record.patient_id, s.record.name)
                rows.append((s.record.signal, c, keys[c], union, st, there, *about))
    return _cases(rows, fs)


def ludb_cases(fs: float, *, per_class: int | None = None, failed: list[dict[str, str]] | None = None) -> Cases:
    """LUDB's records at ``fs`` Hz with the keys that its delineated waves give; PAC and PVC have none.

    A record that cannot be read, or whose annotation cannot, is left out, and added to ``failed`` (name, error).

    Raises
    ------
    manifest.DataError
        when LUDB is not at hand, or nothing of it can be read.
    """
    rows = []
    full = dict.fromkeys(CLASSES, 0)

    def read(path: Path) -> tuple[Record, pd.DataFrame | None]:
        record = read_record(path)
        return record, read_delineation(path) if record.labels & set(trials.WAVE_CLASSES) else None

    for _, (record, waves) in skipping(read, find_records(locate("ludb")), failed):
        wanted = [
            c for c in CLASSES if c in record.labels and c in trials.WAVE_CLASSES and full[c] < (per_class or 1000)
        ]
        if not wanted:
            continue
        signal = resample(fill_gaps(record.signal), record.fs, fs)
        for edge in ("onset", "peak", "offset"):
            waves[edge] = (waves[edge].astype("Float64") * (fs / record.fs)).round().astype("Int64")
        labels = np.isin(CLASSES, list(record.labels))
        keys = {c: trials.wave_key(waves, c, LEADS, signal.shape[1]) for c in (*wanted, "STD")}
        st, union = keys["STD"].any(axis=0), np.any([keys[c].any(axis=0) for c in wanted], axis=0)
        for c in wanted:
            if keys[c].any():
                full[c] += 1
                about = (record.patient_id, record.name)
                rows.append((signal, CLASSES.index(c), keys[c], union, st, labels, *about))
    if not rows:
        raise DataError("no record of LUDB can be read with its annotation: fetch it again, `ecgstudy data fetch ludb`")
    return _cases(rows, fs)


def real_st_cases(cohort: Cohort, records: NDArray[np.intp], seconds: float = 10.0) -> Cases:
    """Records of a real cohort with STD or STE, cut to their first seconds; the key is ``trials.st_key``'s.

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
        st = trials.st_key(signal[None], cohort.fs)[0]
        about = cohort.table.iloc[i]
        for c in np.flatnonzero(labels & wanted):
            key = np.tile(st, (len(LEADS), 1))
            rows.append((signal, c, key, st, st, labels, about["patient_id"], about["name"]))
    return _cases(rows, cohort.fs)


def _cases(rows: list[tuple], fs: float) -> Cases:
    rows.sort(key=lambda row: row[1])
    return Cases(*(np.array(column) for column in zip(*rows, strict=True)), fs)


def make(
    method: str,
    system: System,
    network: nn.Module,
    cases: Cases,
    *,
    x: Tensor | None = None,
    classes: NDArray[np.intp] | None = None,
    rng: np.random.Generator | None = None,
    seed: int = 0,
) -> NDArray[np.floating]:
    """Maps (rows, n) of cases by a method or a baseline: of their own classes or of others.

    ``x`` are the cases' inputs, if they are at hand; ``rng`` moves the random maps, ``seed`` is of methods that draw.
    """
    if method == "signal energy":
        return trials.energy_maps(cases.signals, cases.fs)
    if method == "QRS detector":
        return trials.qrs_maps(cases.signals, cases.fs)
    x = cases.inputs(system) if x is None else x
    chosen = torch.from_numpy(cases.classes if classes is None else classes)
    if method == "random":
        own = methods.explain(system.name, methods.methods(system.name)[0], network, x, chosen)
        return trials.random_maps(own, rng or np.random.default_rng(0))
    return methods.explain(system.name, method, network, x, chosen, width=round(0.4 * cases.fs), seed=seed)


def evaluate(
    system: System,
    network: nn.Module,
    cases: Cases,
    chosen: Sequence[str],
    *,
    deep: int = 1,
    others: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of explanations: one row a case, columns (method, trial), ``chosen`` methods and the baselines.

    Parameters
    ----------
    deep
        Every ``deep``-th row also goes through the costly trials (faithfulness, sanity, stability); NaN in the others.
    others
        The same system trained again, by the trial that compares with it: from another seed (``seeds``), on other
        folds (``folds``), or as another member of an ensemble, which differs in both (``members``).
    seed
        Of all that is drawn: the same seed gives the same table, and no global generator is touched.

    Notes
    -----
    ``random weights``, ``noise``, ``time shift``, ``seeds`` (``folds``, ``members``): agreement with the map of the
    shuffled network, of the record with white noise of 0.02 mV, of the record moved by 0.12 s (and moved back), of the
    other network.
    ``wrong class``: agreement with the map of a class that the record does not have. ``wrong record``: excess mass in
    the key of the class's next case. ``ST``: excess mass on the ST segments, whatever the class. ``speaks``: is any
    of the map positive? Segments of faithfulness are 0.2 s; erased samples are bridged.
    """
    rng = np.random.default_rng(seed)
    x = cases.inputs(system)
    some = np.arange(0, len(x), deep)
    few, x_few = cases.take(some), x[some]
    classes, shift = torch.from_numpy(few.classes), round(0.12 * cases.fs)
    wrong = np.array([rng.choice(np.flatnonzero(~labels)) for labels in few.labels])
    noisy = few._replace(signals=few.signals + 0.02 * rng.standard_normal(few.signals.shape).astype(np.float32))
    moved = few._replace(signals=np.roll(few.signals, shift, axis=-1))
    *_, (_, shuffled) = faithfulness.randomised(network, 1, seed=seed)
    width = round(0.2 * cases.fs)
    fallen = faithfulness.falls(network, x_few, classes, width, samples=20, seed=seed)
    wide, following = trials.tolerant(cases.any_lead, round(0.1 * cases.fs)), _next_of_class(few)
    columns = {}
    for method in (*chosen, *BASELINES):
        of = partial(make, method, system, rng=rng, seed=seed)
        m = of(network, cases, x=x)
        found = trials.localisation(m, cases.any_lead)
        found["tolerant excess mass"] = trials.localisation(m, wide)["excess mass"]
        found["ST"] = trials.localisation(m, cases.st)["excess mass"]
        found |= {"Gini": trials.gini(m), "entropy": trials.entropy(m), "speaks": (m > 0).any(axis=1).astype(float)}
        part = m[some]
        costly = faithfulness.curves(network, x_few, classes, part, width, seed=seed).scores()
        costly["infidelity"] = faithfulness.infidelity(part, fallen)
        costly["random weights"] = trials.agreement(part, of(shuffled, few, x=x_few))
        costly["wrong class"] = trials.agreement(part, of(network, few, x=x_few, classes=wrong))
        costly["wrong record"] = trials.localisation(part, few.any_lead[following])["excess mass"]
        costly["noise"] = trials.agreement(part, of(network, noisy))
        back = np.roll(of(network, moved), -shift, axis=-1)
        costly["time shift"] = trials.agreement(part, back)
        for trial, other in (others or {}).items():
            costly[trial] = trials.agreement(part, of(other, few, x=x_few))
        for name, values in costly.items():
            found[name] = np.full(len(x), np.nan)
            found[name][some] = values
        columns |= {(method, name): values for name, values in found.items()}
    return pd.DataFrame(columns).rename_axis(columns=["method", "trial"])


def _next_of_class(cases: Cases) -> NDArray[np.intp]:
    """For each row the next one of its class (the first after the last)."""
    following = np.empty(len(cases.classes), dtype=np.intp)
    for c in np.unique(cases.classes):
        rows = np.flatnonzero(cases.classes == c)
        following[rows] = np.roll(rows, -1)
    return following
