"""Which distance from the training data to show, how often it is a false alarm, and what it finds.

``ecgstudy train --part unlike --again`` writes ``results/unlike.safetensors``, what `ecgstudy.explain.unlike` needs to
know of real records, and ``results/unlike.csv``, on the real recordings at hand.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ecgstudy import training
from ecgstudy.data.cohort import Cohort, read_all, real_cohort, record_paths
from ecgstudy.data.leads import LEADS
from ecgstudy.data.records import Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import unlike
from ecgstudy.paths import RESULTS, written_table
from ecgstudy.preprocessing import resample
from ecgstudy.studies import leaderboard
from ecgstudy.studies.fitness import ENTRY, SEED
from ecgstudy.studies.planted import FAULTS, Fault

TABLE = RESULTS / "unlike.csv"
COLUMNS = ["question", "distance", "group", "n", "value"]
CHOSEN = "Mahalanobis"
Array = NDArray[np.floating]


def _looped(x: Array, fs: float, factor: float, rng: np.random.Generator) -> Array:
    """The same heart ``factor`` times as fast, beats and waves, repeated to the old length."""
    fast = resample(x, fs, fs / factor)
    return np.tile(fast, -(-x.shape[1] // fast.shape[1]))[:, : x.shape[1]]


def _noise(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    return rng.normal(size=x.shape) * x.std(axis=1, keepdims=True)


def _drift(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    walk = np.cumsum(rng.normal(size=x.shape), axis=1)
    return 0.3 * walk / walk.std(axis=1, keepdims=True)


def _shuffled(x: Array, fs: float, strength: float, rng: np.random.Generator) -> Array:
    return x[rng.permutation(len(LEADS))]


STRANGE = (
    Fault("a flat line", "", "", (1,), lambda x, fs, strength, rng: np.zeros_like(x)),
    Fault("white noise of the leads' size", "", "", (1,), _noise),
    Fault("a random walk", "", "", (1,), _drift),
    Fault("leads in random order", "", "", (1,), _shuffled),
    Fault("lead II in all leads", "", "", (1,), lambda x, fs, strength, rng: np.repeat(x[1:2], len(LEADS), axis=0)),
    Fault("backwards in time", "", "", (1,), lambda x, fs, strength, rng: x[:, ::-1]),
    Fault("a heart so many times as fast", "", "times", (1.6, 2), _looped),
    Fault("taken for half its rate", "", "", (1,), lambda x, fs, strength, rng: resample(x, fs, 2 * fs)),
)
"""What is no 12-lead ECG of a resting adult; 1.6 times as fast is an infant's rate."""

_AS_WELL = {
    "leads off": (3, 6), "muscle noise": (0.1, 0.4), "mains 50 Hz": (500,), "clipped": (0.3,), "wander": (4,),
    "RA-LA exchanged": (1,), "RA-LL exchanged": (1,), "LA-LL exchanged": (1,), "V1-V2 exchanged": (1,),
    "V1 to V6 reversed": (1,), "wrong sign of all leads": (1,), "scaled up": (2, 3, 10, 1000),
    "scaled down": (3, 10, 1000), "each lead scaled by its own size": (1,),
}  # fmt: skip


def strange() -> list[tuple[Fault, float]]:
    """What is planted: kinds and strengths."""
    faults = [(fault, strength) for fault in STRANGE for strength in fault.strengths]
    return faults + [(f, strength) for f in FAULTS for strength in _AS_WELL.get(f.name, ()) if strength in f.strengths]


class Seen(NamedTuple):
    """What runs see of records: features (runs, records, 64) and logits (runs, records, 9), means over windows."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]


def seen(runs: Sequence[training.Run], signals: Sequence[Array]) -> Seen:
    """Show signals (12, samples), at the rate of the runs' system, to each run."""
    system = runs[0].system
    windows = [system.windows(np.ascontiguousarray(x, dtype=np.float32)) for x in signals]
    owner = np.repeat(np.arange(len(signals)), [len(some) for some in windows])
    flat = [window for some in windows for window in some]
    found: tuple[list, list] = ([], [])
    for run in runs:
        network = run.network()
        rows = unlike.features(network, flat, system)
        with torch.inference_mode():
            parts = [network(torch.from_numpy(np.stack(flat[k : k + 32]))) for k in range(0, len(flat), 32)]
        logits = torch.cat(parts).numpy()
        for kept, values in zip(found, (rows, logits), strict=True):
            kept.append(np.stack([values[owner == row].mean(axis=0) for row in range(len(signals))]))
    return Seen(np.stack(found[0]), np.stack(found[1]))


Fit = Callable[[Array], unlike.Distance]
DISTANCES: dict[str, tuple[str, Fit]] = {
    CHOSEN: ("features", lambda known: unlike.reference(known).distance),
    "Mahalanobis, shrunk by 0.3": ("features", lambda known: unlike.reference(known, 0.3).distance),
    "Euclid, features scaled": ("features", lambda known: unlike.reference(known, 1).distance),
    "nearest training record": ("features", unlike.nearest),
    "largest logit": ("logits", lambda known: lambda logits: -np.asarray(logits).max(axis=1)),
}
"""Name → which part of ``Seen`` it looks at, and what fits it to the training records'."""


class Split(NamedTuple):
    """Real records as the runs saw them, and the part of each run's split that each is in: (runs, records)."""

    runs: list[training.Run]
    cohort: Cohort
    seen: Seen
    part: NDArray[np.str_]


def real_split() -> Split:
    """Show the real cohort to the runs."""
    runs = leaderboard.runs_of("real", ENTRY)
    cohort = real_cohort(runs[0].system.fs)
    part = np.full((len(runs), len(cohort)), "train", dtype="<U5")
    for row, run in zip(part, runs, strict=True):
        row[run.predictions["record"].to_numpy()] = run.predictions["split"].to_numpy()
    return Split(runs, cohort, seen(runs, [cohort[k] for k in range(len(cohort))]), part)


def fitted(split: Split, name: str, among: NDArray[np.bool_] | None = None) -> list[unlike.Distance]:
    """Fit a distance to the training records of each run, or to those ``among`` them."""
    kind, fit = DISTANCES[name]
    values, among = getattr(split.seen, kind), np.ones(split.part.shape[1], bool) if among is None else among
    return [fit(values[run, (part == "train") & among]) for run, part in enumerate(split.part)]


def distances(split: Split, name: str, part: str, fits: Sequence[unlike.Distance]) -> NDArray[np.float64]:
    """Distance of each real record from the run that has it in a part, NaN where none has; the first run counts."""
    values = getattr(split.seen, DISTANCES[name][0])
    found = np.full(split.part.shape[1], np.nan)
    for run in reversed(range(len(fits))):
        rows = split.part[run] == part
        found[rows] = fits[run](values[run, rows])
    return found


def choice(split: Split, every: int = 4) -> pd.DataFrame:
    """Share of strange things beyond the border of each distance that leaves 95 % of the validation records within.

    Strange things are made of every fourth validation record (``valid``, by which a distance is chosen) and every
    fourth test record, and shown to the run that was not trained on it.
    """
    rows = []
    fits = {name: fitted(split, name) for name in DISTANCES}
    border = {}
    for name, own in fits.items():
        near = distances(split, name, "valid", own)
        border[name] = np.nanquantile(near, 1 - unlike.FALSE_ALARMS)
    for part in ("valid", "test"):
        chosen = [(run, int(k)) for run, own in enumerate(split.part) for k in np.flatnonzero(own == part)[::every]]
        for fault, strength in strange():
            made: dict[int, list[Array]] = {}
            for run, k in chosen:
                old = Record("", split.cohort[k], split.cohort.fs, LEADS, "", "")
                new = fault(old, strength, np.random.default_rng([SEED, k]))
                made.setdefault(run, []).append(new.signal)
            shown = {run: seen([split.runs[run]], signals) for run, signals in made.items()}
            group = fault.name if len(fault.strengths) == 1 else f"{fault.name}, {strength:g} {fault.unit}"
            for name, own in fits.items():
                far = np.concatenate([own[run](getattr(one, DISTANCES[name][0])[0]) for run, one in shown.items()])
                value = float((far >= border[name]).mean())
                rows.append(
                    {"question": f"found, {part}", "distance": name, "group": group, "n": len(far), "value": value}
                )
    return pd.DataFrame(rows)


def others(split: Split) -> dict[str, list[Array]]:
    """Records of no run's cohort, at the runs' rate: LUDB's, simulated ones, and MIT-BIH's two leads in all twelve."""
    fs = split.cohort.fs
    two = []
    for record in read_all(record_paths(("mitdb",))):
        assert isinstance(record, Record)
        x = resample(record.signal[:, : round(20 * record.fs)], record.fs, fs)
        two += [part[[0] * 6 + [1] * 6] for part in (x[:, : round(10 * fs)], x[:, round(10 * fs) :])]
    ludb = [r for r in read_all(record_paths(("ludb",))) if isinstance(r, Record)]
    return {
        "LUDB": [resample(r.signal, r.fs, fs) for r in ludb],
        "simulated": [synthetic.simulate(3 * k, SEED, fs=fs).record.signal for k in range(100)],
        "MIT-BIH's two leads in all twelve": two,
    }


def alarms(split: Split) -> pd.DataFrame:
    """False alarms: of test records by source, the border from validation; and of sources that were left out.

    A source that is left out is in neither the training records that the distance is fitted to nor the validation
    records that give the border; the networks have seen it. LUDB no network has seen.
    """
    source = split.cohort.table["source"].to_numpy()
    rows = []
    shown = {group: seen(split.runs, signals) for group, signals in others(split).items()}
    for name in DISTANCES:
        kind = DISTANCES[name][0]
        fits = fitted(split, name)
        border = np.nanquantile(distances(split, name, "valid", fits), 1 - unlike.FALSE_ALARMS)
        far = distances(split, name, "test", fits) >= border
        for group, chosen in {"all": far == far, **{one: source == one for one in np.unique(source)}}.items():
            rows.append(
                {
                    "question": "test",
                    "distance": name,
                    "group": group,
                    "n": int(chosen.sum()),
                    "value": far[chosen].mean(),
                }
            )
        for group, one in shown.items():
            mean = np.mean([fit(getattr(one, kind)[run]) for run, fit in enumerate(fits)], axis=0)
            rows.append(
                {
                    "question": "others",
                    "distance": name,
                    "group": group,
                    "n": len(mean),
                    "value": (mean >= border).mean(),
                }
            )
        for group, folders in leaderboard.SOURCES.items():
            inside = np.isin(source, folders)
            without = fitted(split, name, ~inside)
            near = distances(split, name, "valid", without)[~inside]
            border_without = np.nanquantile(near, 1 - unlike.FALSE_ALARMS)
            left = distances(split, name, "test", without)[inside] >= border_without
            rows.append(
                {"question": "source left out", "distance": name, "group": group, "n": len(left), "value": left.mean()}
            )
    return pd.DataFrame(rows)


def known_of(split: Split) -> dict[str, NDArray[np.float32]]:
    """What is kept of real records, by the chosen distance."""
    known = {
        run.folder.name: unlike.reference(split.seen.features[k, split.part[k] == "train"])
        for k, run in enumerate(split.runs)
    }
    fits = [one.distance for one in known.values()]
    return unlike.packed(known, distances(split, CHOSEN, "test", fits))


def compute() -> tuple[pd.DataFrame, dict[str, NDArray[np.float32]]]:
    """Measure everything, and what is kept of real records."""
    split = real_split()
    return pd.concat([choice(split), alarms(split)], ignore_index=True)[COLUMNS], known_of(split)


def write(table: pd.DataFrame, known: dict[str, NDArray[np.float32]]) -> None:
    """Commit both."""
    with written_table(unlike.FILE) as partial:
        save_file(known, partial)
    with written_table(TABLE) as partial:
        table.to_csv(partial, index=False, float_format="%.4g")
