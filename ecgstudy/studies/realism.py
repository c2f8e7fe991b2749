"""How near simulated records are to real ones: what is measured of both, and how the two are compared.

``ecgstudy train --part realism`` measures everything on the real recordings at hand and writes
``results/realism.csv``, from which the book's chapter on the simulator is drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import signal, stats
from torch import Tensor, nn
from torch.nn import functional as F

from ecgstudy import metrics, training
from ecgstudy.data import qrs
from ecgstudy.data.cohort import Cohort, read_all, real_cohort, record_paths, refuse_unread, synthetic_cohort
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import at_hand
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.layers import BatchNorm1d, Conv1d
from ecgstudy.paths import RESULTS, written_table
from ecgstudy.preprocessing import detrend, fill_gaps, resample
from ecgstudy.systems import System, batches, clip_thrice, rolled

SEED = 4_000  # no cohort of the study is simulated from it
SECONDS = 10.0
FS = 125.0  # of what networks are trained on here
PERCENTILES = (5, 25, 50, 75, 95)
TABLE = RESULTS / "realism.csv"
COLUMNS = ["question", "group", "quantity", "statistic", "value", "low", "high", "n"]
# Below 0.5 Hz is the baseline, up to 15 Hz P, T and the large QRS, up to 40 Hz its edges, above mostly muscles.
BANDS = ((0.5, 5), (5, 15), (15, 40), (40, 100))


class Pair(NamedTuple):
    """A real record and its twin: simulated with the same labels, rate and length."""

    real: Record
    simulated: synthetic.SimulatedRecord


def pairs(paths: Sequence[Path], seed: int = SEED, failed: list[dict[str, str]] | None = None) -> Iterator[Pair]:
    """Cut real records of ten seconds and more to their first ten, and simulate the twin of each.

    A record is left out if it cannot be read (it is added to ``failed``: name, error), is shorter, lacks a lead or has
    a flat one, carries none of the nine classes, or a set of them that the simulator does not draw. NSR beside another
    class counts as that class.
    """
    for index, record in enumerate(read_all(paths)):
        if isinstance(record, tuple):
            if failed is not None:
                failed.append({"name": record[0], "error": str(record[1])})
            continue
        if record.leads != LEADS or record.seconds < SECONDS:
            continue
        labels = record.labels - {"NSR"} or record.labels
        x = fill_gaps(record.signal[:, : round(SECONDS * record.fs)])
        if labels not in synthetic.CPSC_2018 or (np.ptp(x, axis=1) == 0).any():
            continue
        cut = Record(record.name, x, record.fs, LEADS, record.source, record.patient_id, labels)
        yield Pair(cut, synthetic.simulate(index, seed, fs=record.fs, seconds=SECONDS, labels=labels))


def intervals(waves: pd.DataFrame, fs: float, lead: str = "II") -> dict[str, float]:
    """Medians over the beats of a delineated record (see ``read_delineation``) in one lead; NaN where none is marked.

    In ms: RR, PR and QT between onsets and offsets of whole waves, the durations of P, QRS and T. ``RR variation`` is
    the standard deviation of RR over its mean.
    """
    waves = waves[waves["lead"] == lead].dropna()
    onset, peak, offset = (
        {wave: waves.loc[waves["wave"] == wave, mark].to_numpy(dtype=float) / fs * 1000 for wave in ("P", "QRS", "T")}
        for mark in ("onset", "peak", "offset")
    )
    rr = np.diff(peak["QRS"])
    pr = _distance(onset["P"], onset["QRS"], 500)
    found = {"RR (ms)": rr, "PR (ms)": pr, "QT (ms)": _distance(onset["QRS"], offset["T"], 700)}
    found |= {f"{wave} (ms)": offset[wave] - onset[wave] for wave in ("P", "QRS", "T")}
    medians = {name: float(np.median(values)) if len(values) else np.nan for name, values in found.items()}
    return medians | {"RR variation": float(rr.std() / rr.mean()) if len(rr) > 1 else np.nan}


def _distance(start: NDArray[np.float64], end: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """From each start to the next end, where that is near enough to be of the same beat."""
    after = np.searchsorted(end, start)
    distance = end[after[after < len(end)]] - start[after < len(end)]
    return distance[distance < most]


def _around(start: float, end: float, fs: float) -> slice:
    """Samples of a beat cut from 0.3 s before its middle, between two times (s) from there."""
    return slice(round((0.3 + start) * fs), round((0.3 + end) * fs))


def features(x: NDArray[np.float32], fs: float) -> dict[str, float]:
    """Measure a record (12, samples) in mV, real or simulated, in the same way; NaN where it has too few beats.

    Of the rhythm: RR and its variation. Of the median beat: for each lead the peak-to-peak QRS, the ST level 110 ms
    after the middle of QRS and the signed extreme of T, all against the 30 ms that end 70 ms before it; P in II; the
    electrical axes of QRS (of its area) and T in the frontal plane; the time that the dipole moves fast. Of the rest:
    how beats differ from the median beat, what is below 0.5 Hz, what is
    above 45 Hz in quiet moments, and how each lead's power is spread over ``BANDS``, relative to 5 to 15 Hz.
    """
    x = signal.detrend(x, axis=1, type="constant").astype(np.float64)
    beats, found = qrs.REALISM.find(x, fs), {}
    rr = np.diff(beats) / fs * 1000
    found["RR (ms)"] = float(np.median(rr)) if len(rr) else np.nan
    found["RR variation"] = float(rr.std() / rr.mean()) if len(rr) > 1 else np.nan

    before, after = round(0.3 * fs), round(0.45 * fs)
    whole = beats[(beats >= before) & (beats + after <= x.shape[1])]
    if len(whole) < 3:
        shape = np.full((12, before + after), np.nan)
        rest = shape[None]
    else:
        each = np.stack([x[:, b - before : b + after] for b in whole])
        each -= each[..., _around(-0.10, -0.07, fs)].mean(axis=-1, keepdims=True)
        shape = np.median(each, axis=0)
        rest = each - shape
    t = shape[:, _around(0.15, 0.45, fs)]
    measured = {
        "QRS (mV)": np.ptp(shape[:, _around(-0.07, 0.07, fs)], axis=1),
        "ST (mV)": shape[:, _around(0.105, 0.115, fs)].mean(axis=1),
        "T (mV)": np.take_along_axis(t, np.abs(t).argmax(axis=1)[:, None], 1)[:, 0],
    }
    found["P in II (mV)"] = float(shape[1, _around(-0.25, -0.10, fs)].max())
    frontal = np.array([shape[0], shape[5] * 2 / np.sqrt(3)])  # aVF is scaled down by Goldberger's factor
    area = frontal[:, _around(-0.07, 0.07, fs)].sum(axis=1)
    peak = frontal[:, _around(0.15, 0.45, fs)][:, np.abs(t).sum(axis=0).argmax()]
    for name, (left, feet) in (("QRS", area), ("T", peak)):
        found[f"{name} axis (degrees)"] = float(np.degrees(np.arctan2(feet, left)))
    speed = np.linalg.norm(np.gradient(shape[[0, 1, 6, 7, 8, 9, 10, 11]], axis=1), axis=0)[_around(-0.12, 0.12, fs)]
    found["fast part of QRS (ms)"] = float((speed > 0.15 * speed.max()).sum() / fs * 1000)
    found["beat-to-beat, QRS (mV)"] = float(np.sqrt((rest[..., _around(-0.07, 0.07, fs)] ** 2).mean()))
    found["beat-to-beat, T (mV)"] = float(np.sqrt((rest[..., _around(0.15, 0.45, fs)] ** 2).mean()))

    spectrum = np.fft.rfft(x, axis=1)
    hz = np.fft.rfftfreq(x.shape[1], 1 / fs)
    slow = np.fft.irfft(spectrum * (hz < 0.5), x.shape[1]).std(axis=1)
    quick = np.fft.irfft(spectrum * (hz > 45), x.shape[1])
    tenths = quick[:, : x.shape[1] // round(0.1 * fs) * round(0.1 * fs)].reshape(12, -1, round(0.1 * fs))
    measured["below 0.5 Hz (mV)"] = slow
    measured["above 45 Hz (mV)"] = np.percentile(np.sqrt((tenths**2).mean(axis=2)), 30, axis=1)
    power = [np.log10(1e-12 + (np.abs(spectrum[:, (hz >= low) & (hz < high)]) ** 2).sum(axis=1)) for low, high in BANDS]
    for (low, high), band in zip(BANDS, power, strict=True):
        if (low, high) != BANDS[1]:
            measured[f"{low:g}-{high:g} Hz (log10)"] = band - power[1]
    return found | {
        f"{name}, {lead}": float(value)
        for name, values in measured.items()
        for lead, value in zip(LEADS, values, strict=True)
    }


def ks(
    real: NDArray[np.float64],
    simulated: NDArray[np.float64],
    patients: Sequence[str] | np.ndarray,
    repeats: int,
    seed: int = 0,
) -> metrics.Interval:
    """Kolmogorov and Smirnov's two-sample statistic, the largest distance of two distribution functions.

    Its limits are of the distance between the two distributions: a basic bootstrap over the real records' patients,
    each with the twins of their records. It takes out what sampling alone adds to the statistic (0.12 on average for
    two samples of 100 from one distribution), and so the value can lie above them. Of nominally 95 %, they covered the
    true distance in 84 to 88 % of 200 trials with samples of 120. Missing values are left out.
    """
    grid = np.sort(np.concatenate([real[~np.isnan(real)], simulated[~np.isnan(simulated)]]))
    below = [(~np.isnan(v) & (v <= grid[:, None])).astype(np.float32) for v in (real, simulated)]
    there = [(~np.isnan(v)).astype(np.float32) for v in (real, simulated)]

    def distance(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        one, other = (b @ weights.T / (t @ weights.T) for b, t in zip(below, there, strict=True))
        return np.abs(one - other).max(axis=0)

    names, group = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=repeats)[:, group]
    value = float(distance(np.ones((1, len(real)), dtype=np.float32))[0])
    high, low = 2 * value - np.percentile(distance(drawn.astype(np.float32)), (2.5, 97.5))
    return metrics.Interval(value, max(low, 0), max(high, 0))


def distributions(group: str, real: pd.DataFrame, simulated: pd.DataFrame, repeats: int) -> pd.DataFrame:
    """Compare two tables of measures (a row a record, twins in the same place) with the column ``patient``, by column.

    Returns rows question, group, quantity, statistic, value, low, high, n: KS with its interval, and the percentiles of
    the real and of the simulated records.
    """
    rows = []
    for quantity in real.columns.drop("patient"):
        one, other = both = [frame[quantity].to_numpy(dtype=float) for frame in (real, simulated)]
        n = int(min((~np.isnan(v)).sum() for v in both))
        about = {"question": "distribution", "group": group, "quantity": quantity, "n": n}
        rows.append(about | {"statistic": "KS"} | ks(one, other, real["patient"], repeats)._asdict())
        for side, values in zip(("real", "simulated"), both, strict=True):
            points = np.nanpercentile(values, PERCENTILES)
            rows += [
                about | {"statistic": f"{side} p{q}", "value": v} for q, v in zip(PERCENTILES, points, strict=True)
            ]
    return pd.DataFrame(rows)


def tell_apart(
    x: pd.DataFrame, real: NDArray[np.bool_], patients: Sequence[str] | np.ndarray, seed: int = 0
) -> tuple[NDArray[np.float64], pd.Series]:
    """Tell real from simulated records by their features, with boosted trees in five folds; twins stay together.

    Returns scores (records,) of the held-out folds, and for each feature how much AUROC they lose when it is shuffled.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to load
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import StratifiedGroupKFold

    scores, lost = np.zeros(len(x)), np.zeros(x.shape[1])
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(x, real, patients):
        trees = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=8, random_state=seed)
        trees.fit(x.iloc[train], real[train])
        scores[test] = trees.predict_proba(x.iloc[test])[:, 1]
        shuffled = permutation_importance(
            trees, x.iloc[test], real[test], scoring="roc_auc", n_repeats=3, random_state=seed
        )
        lost += shuffled["importances_mean"] / 5
    return scores, pd.Series(lost, x.columns)


class StridedCNN(nn.Module):
    """Six convolutions of stride 2, each with batch normalisation and ReLU; mean and maximum over time; linear.

    A plain network that any engineer would try first: what it learns, most networks learn.
    """

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = len(LEADS)
        for filters, kernel in ((32, 9), (64, 7), (64, 7), (128, 5), (128, 5), (128, 5)):
            layers += [Conv1d(channels, filters, kernel, stride=2, padding=kernel // 2)]
            layers += [BatchNorm1d(filters), nn.ReLU()]
            channels = filters
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads, samples) in mV."""
        y = self.blocks(x)
        return self.head(torch.cat([y.mean(dim=-1), y.amax(dim=-1)], dim=1))


@dataclass(frozen=True, kw_only=True)
class StridedCNNSystem(System):
    """The plain network, detrended mV, records rolled in time, cross-entropy, AdamW, one-cycle."""

    name: ClassVar[str] = "strided CNN"
    paper: ClassVar[str] = ""

    fs: float = FS
    seconds: float = SECONDS
    epochs: int = 12
    batch: int = 32
    rate: float = 4e-3
    schedule: Literal["constant", "one-cycle", "published"] = "one-cycle"
    weight_decay: float = 0.01

    def network(self, classes: int = len(CLASSES)) -> StridedCNN:
        """Make the network, untrained."""
        return StridedCNN(classes)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Detrend; clip a longer record at head, middle and end, zero-pad a shorter one on both sides."""
        return clip_thrice(detrend(signal), self.samples)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Roll each record by a time of its own."""
        return rolled(x, _anywhere(x, generator))

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Macro-AUROC: no threshold of this network is ever used."""
        return float(metrics.macro_auroc(targets, probabilities))


def _anywhere(x: Tensor, generator: torch.Generator) -> Tensor:
    """A time in samples for each record of a batch, any as likely as any other."""
    return -torch.randint(x.shape[-1], (len(x),), generator=generator)


def tell_apart_by_network(
    x: NDArray[np.float32],
    real: NDArray[np.bool_],
    patients: Sequence[str] | np.ndarray,
    epochs: int = 6,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Tell real from simulated records (n, 12, samples) with the plain network; scores of the held-out three folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    inputs, scores = torch.from_numpy(x), np.zeros(len(x))
    y = torch.from_numpy(real).float()
    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(x, real, patients):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        network = StridedCNN(classes=1)
        steps = epochs * -(-len(train) // 32)
        optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
        for _ in range(epochs):
            order = torch.from_numpy(train)[torch.randperm(len(train), generator=generator)]
            for chosen in batches(order, 32, network, inputs):
                batch = inputs[chosen]
                logits = network(rolled(batch, _anywhere(batch, generator)))[:, 0]
                optimiser.zero_grad()
                F.binary_cross_entropy_with_logits(logits, y[chosen]).backward()
                optimiser.step()
                schedule.step()
        with torch.inference_mode():
            parts = [network.eval()(part)[:, 0] for part in inputs[test].split(128)]
        scores[test] = torch.cat(parts).numpy()
    return scores


def transfer(system: System, simulated: Cohort, real: Cohort, repeats: int = 1000, folds: int = 5) -> pd.DataFrame:
    """Train on simulated records and score on real ones; train on real ones from that start, and from none.

    Each of the ``folds`` is the test fold once, with its own seed and the next fold for validation. Rows as those of
    ``distributions``: per class, AUROC over all real records with an interval by bootstrap over patients; as a mean
    over folds, macro-AUROC and its difference to training on real records alone, with intervals by Student's t.
    """
    part = simulated.folds(10, 0)
    split = {"train": np.flatnonzero(part > 1), "valid": np.flatnonzero(part == 1), "test": np.flatnonzero(part == 0)}
    before = training.train(system, simulated, split, note="simulated")
    home = before.probabilities(split["test"])
    fold = real.folds(folds, 0)
    everything = np.arange(len(real))
    arms = {"simulated alone": training.predict(system, before.network(), real, everything)}
    for arm, start in (("real alone", None), ("simulated, then real", before)):
        arms[arm] = np.zeros_like(arms["simulated alone"])
        for k in range(folds):
            test, valid = fold == k, fold == (k + 1) % folds
            parts = {"train": ~(test | valid), "valid": valid, "test": test}
            split_k = {name: np.flatnonzero(mask) for name, mask in parts.items()}
            run = training.train(system, real, split_k, seed=k, start=start, note=f"{arm} {k + 1}")
            arms[arm][split_k["test"]] = run.probabilities(split_k["test"])

    rows = []
    patients = real.table["patient_id"].to_numpy()
    own = simulated.table["patient_id"].iloc[split["test"]].to_numpy()
    scored: dict[str, tuple[NDArray, NDArray, NDArray]]
    scored = {"simulated alone, on simulated": (simulated.labels[split["test"]], home, own)}
    scored |= {arm: (real.labels, p, patients) for arm, p in arms.items()}
    for arm, (targets, p, groups) in scored.items():
        found = metrics.bootstrap_interval(metrics.auroc, targets, p, groups, repeats)
        macro = metrics.bootstrap_interval(metrics.macro_auroc, targets, p, groups, repeats)
        for name, n, *values in zip(CLASSES, targets.sum(axis=0), *found, strict=True):
            rows.append((arm, name, "AUROC", *values, n))
        rows.append((arm, "macro", "AUROC", *macro, len(targets)))
    by_fold = {
        arm: np.array([metrics.macro_auroc(real.labels[fold == k], p[fold == k]) for k in range(folds)])
        for arm, p in arms.items()
    }
    for arm, areas in by_fold.items():
        rows.append((arm, "macro", "AUROC, mean of folds", *_student(areas), folds))
        if arm != "real alone":
            rows.append((arm, "macro", "AUROC above real alone", *_student(areas - by_fold["real alone"]), folds))
    return pd.DataFrame(rows, columns=COLUMNS[1:]).assign(question="transfer")


def _student(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and 95 % limits by Student's t."""
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return mean, mean - half, mean + half


def strips(count: int = 8, seed: int = 0) -> list[tuple[Record, bool]]:
    """Choose records to guess at, half of them real where real recordings are at hand: record, whether it is real."""
    paths = record_paths([name for name in ("ptb-xl", "challenge-2021") if at_hand([name])])
    if not paths:
        return [(synthetic.simulate(i, SEED + seed, balance=1).record, False) for i in range(count)]
    rng = np.random.default_rng(seed)
    chosen = [paths[k] for k in rng.permutation(len(paths))]
    real = rng.permutation(np.arange(count) % 2 == 0)
    both = zip(pairs(chosen, SEED + seed), real, strict=False)
    return [(pair.real if shown else pair.simulated.record, bool(shown)) for pair, shown in both]


def ludb_measures() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Intervals of LUDB's records as cardiologists marked them, and of their twins as the simulator knows them."""
    paths = {path.stem: path for path in record_paths(["ludb"])}
    found: tuple[list, list] = ([], [])
    unread: list[dict[str, str]] = []
    for pair in pairs(list(paths.values()), failed=unread):
        marked = (read_delineation(paths[pair.real.name]), pair.simulated.waves)
        for rows, waves in zip(found, marked, strict=True):
            rows.append({"patient": pair.real.patient_id} | intervals(waves, pair.real.fs))
    refuse_unread(unread)
    return pd.DataFrame(found[0]), pd.DataFrame(found[1])


def compare(repeats: int = 1000) -> pd.DataFrame:
    """Compare the real recordings at hand with their twins: distributions, and what tells them apart."""
    tables = [distributions("LUDB", *ludb_measures(), repeats)]
    found: tuple[list, list] = ([], [])
    signals: tuple[list, list] = ([], [])
    cpsc = [path for path in record_paths(["challenge-2021", "cpsc-2018-original"]) if path.stem[0] in "AQ"]
    unread: list[dict[str, str]] = []
    for pair in pairs([*record_paths(["ptb-xl"]), *cpsc], failed=unread):
        source = "PTB-XL" if pair.real.source == "PTB-XL" else "CPSC 2018"
        about = {"patient": pair.real.patient_id, "source": source}
        for rows, x, record in zip(found, signals, (pair.real, pair.simulated.record), strict=True):
            rows.append(about | features(record.signal, record.fs))
            x.append(detrend(resample(record.signal, record.fs, FS)))
    refuse_unread(unread)
    real, simulated = map(pd.DataFrame, found)
    for source in ("PTB-XL", "CPSC 2018"):
        one, other = (table[table["source"] == source].drop(columns="source") for table in (real, simulated))
        tables.append(distributions(source, one, other, repeats))

    values = pd.concat([real, simulated], ignore_index=True)
    is_real, patients = np.arange(len(values)) < len(real), values["patient"].to_numpy()
    scores, lost = tell_apart(values.drop(columns=["patient", "source"]), is_real, patients)
    by_network = tell_apart_by_network(np.stack(signals[0] + signals[1]), is_real, patients)
    for group, s in (("trees on features", scores), ("strided CNN on signals", by_network)):
        area = metrics.bootstrap_interval(metrics.macro_auroc, is_real[:, None], s[:, None], patients, repeats)
        row = {"group": group, "statistic": "AUROC", "n": len(s)} | area._asdict()
        tables.append(pd.DataFrame([row]).assign(question="real or simulated"))
    lost = lost.sort_values(ascending=False).head(20)
    given = {"group": "trees on features", "quantity": lost.index, "statistic": "AUROC lost", "value": lost.to_numpy()}
    tables.append(pd.DataFrame(given).assign(question="gives away", n=len(values)))
    return pd.concat(tables, ignore_index=True)


def compute(records: int = 5000) -> pd.DataFrame:
    """Measure everything on the real recordings at hand, with ``records`` simulated ones for the transfer."""
    simulated = synthetic_cohort(records, FS, seed=SEED, balance=1)
    table = pd.concat([compare(), transfer(StridedCNNSystem(), simulated, real_cohort(FS))])[COLUMNS]
    return table.assign(simulator=synthetic.VERSION)


def write(table: pd.DataFrame) -> None:
    """Commit the table."""
    with written_table(TABLE) as partial:
        table.to_csv(partial, index=False, float_format="%.4g")
