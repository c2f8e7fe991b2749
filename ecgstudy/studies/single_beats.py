"""The study of single beats: training, scores and the trial of maps on the beats of MIT-BIH, ``results/beats.csv``.

A training takes a fixed number of epochs; nothing stops it early, so that no beat is needed to choose an epoch.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ecgstudy import layers, metrics, training, workers
from ecgstudy.data.beats import BEAT_CLASSES, DS1, Beats, halves, mitdb_beats, random_halves, simulated_beats
from ecgstudy.data.manifest import at_hand
from ecgstudy.explain import beat_maps, blind, faithfulness
from ecgstudy.paths import (
    RESULTS,
    alone,
    cache_root,
    data_root,
    told_if_broken,
    write_sealed,
    written_table,
    written_whole,
)
from ecgstudy.studies import read_committed
from ecgstudy.studies.trainings import Task, together_by_name
from ecgstudy.systems import batches
from ecgstudy.systems.beat_gradcam import BeatNetwork, BeatSystem


@dataclass(frozen=True, eq=False)
class BeatRun:
    """A finished training."""

    folder: Path
    system: BeatSystem

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a tested beat: beat (its place), record, sample, target, and a probability for each class."""
        with told_if_broken(self.folder):
            return pd.read_parquet(self.folder / "predictions.parquet")

    @property
    def confusion(self) -> pd.DataFrame:
        """One row a record: the flattened 4 × 4 confusion matrix (true class by row) of its tested beats."""
        p = self.predictions[list(BEAT_CLASSES)].to_numpy()
        if not np.isfinite(p).all():  # the greatest of some numbers and NaN is NaN
            file = self.folder / "predictions.parquet"
            raise ValueError(f"{file} holds NaN: delete {self.folder} and train it again")
        return confusion_of(p, self.predictions["target"].to_numpy(), self.predictions["record"].to_numpy())

    def network(self) -> BeatNetwork:
        """Load the trained network, in evaluation mode."""
        network = self.system.make()
        with told_if_broken(self.folder):
            network.load_state_dict(load_file(self.folder / "weights.safetensors"))
        return network.eval()


def confusion_of(
    probability: NDArray[np.floating], target: NDArray[np.integer], record: NDArray[np.object_]
) -> pd.DataFrame:
    """One row a record: its flattened 4 × 4 confusion matrix (true class by row), of probabilities (beats, 4)."""
    classes = len(BEAT_CLASSES)
    cell = np.eye(classes**2)[target * classes + probability.argmax(axis=1)]
    return pd.DataFrame(cell).groupby(record).sum()


def train(
    system: BeatSystem,
    beats: Beats,
    train_on: NDArray[np.intp],
    test: NDArray[np.intp],
    *,
    seed: int = 0,
    start: BeatRun | None = None,
) -> BeatRun:
    """Train a system on some beats and predict others once, or open the run that is there.

    Parameters
    ----------
    train_on, test
        Places of the beats.
    start
        A run whose weights the training starts from, instead of random ones.

    Raises
    ------
    ValueError
        when a beat is in both.
    """
    if np.intersect1d(train_on, test).size:
        raise ValueError("a beat is in training and test")
    config = _config(system, beats, train_on, test, seed)
    if start:
        config["start"] = start.folder.name
    name = training.name_of(config)
    if run := _opened(name, system):
        return run
    folder = cache_root() / "runs" / name
    waits = f"{system.network}: another process trains this run, waiting for it"
    with training.one_thread(), alone(folder, "" if workers.is_worker() else waits):
        if run := _opened(name, system):
            return run
        network = _fit(system, beats, train_on, seed, start)
        p = predict(network, *system.inputs(beats, test))
        about = beats.table.iloc[test][["record", "sample"]].reset_index(drop=True)
        table = pd.concat(
            [about.assign(beat=test, target=beats.target[test]), pd.DataFrame(p, columns=list(BEAT_CLASSES))], axis=1
        )
        with written_whole(folder) as partial:
            partial.mkdir()
            save_file(network.state_dict(), partial / "weights.safetensors")
            table.to_parquet(partial / "predictions.parquet")
            write_sealed(partial / "config.json", config)
    return BeatRun(folder, system)


def trained(
    system: BeatSystem, beats: Beats, train_on: NDArray[np.intp], test: NDArray[np.intp], *, seed: int = 0
) -> BeatRun | None:
    """Open the run that ``train`` would make, if it is there."""
    return _opened(training.name_of(_config(system, beats, train_on, test, seed)), system)


def _config(
    system: BeatSystem, beats: Beats, train_on: NDArray[np.intp], test: NDArray[np.intp], seed: int
) -> dict[str, Any]:
    parts = training.split_names({"train": train_on, "test": test})
    return system.config | {"seed": seed, "beats_checksum": beats.checksum, "parts": list(parts.values())}


def _opened(name: str, system: BeatSystem) -> BeatRun | None:
    folder = training.folder_of(name, "config.json")
    return BeatRun(folder, system) if folder else None


def _fit(
    system: BeatSystem, beats: Beats, train_on: NDArray[np.intp], seed: int, start: BeatRun | None = None
) -> BeatNetwork:
    layers.keep_memory()
    precision = layers.best_precision(torch.device("cpu"))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = system.make().train()
    if start:
        network.load_state_dict(start.network().state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=system.rate, weight_decay=system.weight_decay, fused=True)
    x, rhythm = system.inputs(beats, train_on)
    steps = system.epochs * len(batches(torch.arange(system.beats), system.batch, network, x, rhythm))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, system.rate, total_steps=steps)
    target = beats.target[train_on]
    chance = np.bincount(target)[target] ** -float(system.balance)
    chance /= chance.sum()
    bar = workers.Bar(system.epochs, note=system.network)
    for _ in range(system.epochs):
        drawn = torch.from_numpy(rng.choice(len(target), system.beats, p=chance))
        for chosen in batches(drawn, system.batch, network, x, rhythm):
            shift = int(rng.integers(-system.jitter, system.jitter + 1))
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                logits = network(torch.roll(x[chosen], shift, dims=-1), rhythm[chosen])
            loss = F.cross_entropy(logits.float(), torch.from_numpy(target)[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        bar.step(loss=loss.item())
    bar.close()
    return network.eval()


@torch.inference_mode()
def predict(network: BeatNetwork, x: Tensor, rhythm: Tensor, batch: int = 512) -> NDArray[np.float32]:
    """Probabilities (beats, 4)."""
    parts = zip(x.split(batch), rhythm.split(batch), strict=True)
    return torch.cat([torch.softmax(network(*part), dim=1) for part in parts]).numpy()


# --- scores ----------------------------------------------------------------------------------------------------------


def scores(confusion: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Every score of confusion matrices (..., 4, 4), true class by row, N, S, V, F: (...) or, by class, (..., 4).

    ``j-kappa`` is κ / 2 + (Se_S + Se_V + P_S + P_V) / 8 with Cohen's κ of the four classes (Mar et al., "Optimization
    of ECG classification by means of feature selection", IEEE Trans. Biomed. Eng. 58:2168, 2011; Mondéjar-Guerra et al.
    2019 use it). A ratio of nothing is NaN; macro-F1 is over the classes that are present or answered.
    """
    classes = len(BEAT_CLASSES)
    if confusion.shape[-2:] != (classes, classes) or not (np.isfinite(confusion) & (confusion >= 0)).all():
        raise ValueError(f"confusion {confusion.shape} must be counts (..., {classes}, {classes}), none below 0")
    right, true, answered = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = true.sum(axis=-1)
    accuracy, chance = right.sum(axis=-1) / total, (true * answered).sum(axis=-1) / total**2
    with np.errstate(invalid="ignore"):
        sensitivity, precision, f1 = right / true, right / answered, 2 * right / (true + answered)
        kappa = (accuracy - chance) / (1 - chance)
    return {
        "accuracy": accuracy,
        "sensitivity": sensitivity,
        "precision": precision,
        "F1": f1,
        "macro-F1": metrics.class_mean(f1),
        "mean sensitivity": metrics.class_mean(sensitivity),
        "kappa": kappa,
        # A class that is never answered adds nothing.
        "j-kappa": kappa / 2 + (np.nan_to_num(sensitivity) + np.nan_to_num(precision))[..., 1:3].sum(axis=-1) / 8,
    }


def score_table(
    runs: Sequence[BeatRun], patient_of: Mapping[str, str], repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean scores of runs that differ only in their seed: metric, class, value, low, high, n, deviation.

    Limits are of a 95 % bootstrap over patients (``patient_of`` tells each record's); every resample is scored for
    every run. ``n`` is the number of tested beats (of the class), ``deviation`` the standard deviation between runs. A
    class without any is left out.
    """
    return scored_confusions([run.confusion.groupby(patient_of.__getitem__).sum() for run in runs], repeats, seed)


def scored_confusions(
    tables: Sequence[pd.DataFrame], repeats: int = 1000, seed: int = 0, *, draw_runs: bool = False
) -> pd.DataFrame:
    """What ``score_table`` gives, of the confusion matrices of runs: in each table one row a patient, the same ones.

    With ``draw_runs`` a resample draws runs as well as patients, so that the limits know both.
    """
    cells = np.stack([table.to_numpy().reshape(-1, 4, 4) for table in tables])  # runs, patients, 4, 4
    drawn = metrics.resamples(tables[0].index, cells.shape[1], repeats, seed, multinomial=True)
    resampled = scores(np.einsum("br,srij->bsij", np.concatenate(list(drawn)), cells))
    if draw_runs:
        chosen = np.random.default_rng(seed).integers(len(tables), size=(repeats, len(tables)))
        resampled = {name: values[np.arange(repeats)[:, None], chosen] for name, values in resampled.items()}
    beats, rows = cells[0].sum(axis=(0, 2)), []
    for metric, values in scores(cells.sum(axis=1)).items():
        by_class = values.ndim == 2
        for c, name in enumerate(BEAT_CLASSES if by_class else ("",)):
            if by_class and not beats[c]:
                continue
            value, again = (v[..., c] if by_class else v for v in (values, resampled[metric]))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "All-NaN")  # the precision of a class that is never answered
                low, high = np.nanquantile(again.mean(axis=1), [0.025, 0.975])
            n = int(beats[c] if by_class else beats.sum())
            rows.append((metric, name, value.mean(), low, high, n, value.std(ddof=1) if len(tables) > 1 else np.nan))
    return pd.DataFrame(rows, columns=["metric", "class", "value", "low", "high", "n", "deviation"])


# What others report on DS1/DS2. The first three as the repository of Mondéjar-Guerra et al. (2019) lists them; Xu et
# al., "Interpatient ECG arrhythmia detection by residual attention CNN", Comput. Math. Methods Med. 2022; Mousavi and
# Afghah, "Inter- and intra-patient ECG heartbeat classification for arrhythmia detection", ICASSP 2019.
PUBLISHED = {
    "SVM ensemble (Mondéjar-Guerra 2019)": {"accuracy": 0.945, "mean sensitivity": 0.703, "j-kappa": 0.773},
    "feature selection (Mar 2011)": {"accuracy": 0.899, "mean sensitivity": 0.802, "j-kappa": 0.649},
    "linear discriminants (de Chazal 2004)": {"accuracy": 0.862, "mean sensitivity": 0.832, "j-kappa": 0.612},
    "residual attention CNN (Xu 2022)": {"accuracy": 0.985, "F1 S": 0.828, "F1 V": 0.917},
    "sequence to sequence (Mousavi 2019)": {"sensitivity S": 0.889, "precision S": 0.926, "sensitivity V": 0.999},
}

# Arms of the study, and the classes whose maps are on trial.
FCN, LSTM = "FCN, shape + rhythm + median beat", "LSTM, as the best FCN"
WIDE = "FCN, the same: all channels, 360 Hz"
TRIED = ("S", "V")
TABLE = RESULTS / "beats.csv"
COLUMNS = ["network", "split", "metric", "class", "value", "low", "high", "n", "paper_value", "run"]


def arms(best: BeatSystem) -> dict[str, BeatSystem]:
    """What the FCN may be given, one thing after the other, and the LSTM given what ``best`` is given."""
    bare = replace(best, network="fcn", leads=1, rhythm=False, median=False)
    return {
        "FCN, shape": bare,
        "FCN, shape + rhythm": replace(bare, rhythm=True),
        "FCN, shape + rhythm + other lead": replace(bare, rhythm=True, leads=2),
        FCN: replace(bare, rhythm=True, median=True),
        "FCN, all of these": replace(bare, rhythm=True, leads=2, median=True),
        LSTM: replace(best, network="lstm"),
    }


@dataclass(frozen=True)
class Source:
    """Where a chapter's beats come from: MIT-BIH, or so many records simulated from a seed."""

    of_mitdb: bool
    records: int | None = None
    seed: int = 0

    @classmethod
    def of_chapter(cls, p: SimpleNamespace) -> Self:
        """As the parameters have it: ``at hand`` is MIT-BIH where it is at hand."""
        real = p.source == "mitdb" or (p.source == "at hand" and bool(at_hand(["mitdb"])))
        return cls(True) if real else cls(False, p.records, p.seed)

    def beats(self, failed: list[dict[str, str]] | None = None) -> Beats:
        """Read or simulate them, once a process; records that cannot be read are added to ``failed`` (name, error)."""
        made, unread = _made(self, data_root())
        if failed is not None:
            failed += unread
        return made


@lru_cache(maxsize=1)
def _made(source: Source, _: Path) -> tuple[Beats, list[dict[str, str]]]:
    unread: list[dict[str, str]] = []
    made = mitdb_beats(failed=unread) if source.of_mitdb else simulated_beats(source.records or 0, source.seed)
    return made, unread


Key = tuple[str, str]  # name of an arm, and of how its beats are split


def planned(best: BeatSystem, *, of_mitdb: bool, seeds: int, arm_seeds: int) -> dict[Key, tuple[BeatSystem, int]]:
    """Every arm on DS1, and FCN and LSTM also on beats drawn at random: (arm, split) → system, number of trainings.

    Of MIT-BIH there is more: the FCN with record 201 in training, as others have it, and ``WIDE``.

    Parameters
    ----------
    seeds, arm_seeds
        How many trainings there are of the two networks that are explained (and of ``WIDE``), and of all else.
    """
    systems = arms(best)
    plan = {(name, "DS1/DS2"): (one, seeds if name in (FCN, LSTM) else arm_seeds) for name, one in systems.items()}
    plan |= {(name, "random beats"): (systems[name], arm_seeds) for name in (FCN, LSTM)}
    if of_mitdb:
        plan[FCN, "DS1 with 201/DS2"] = systems[FCN], arm_seeds
        plan[WIDE, "DS1/DS2"] = replace(best, width=1, every=1), seeds
    return plan


def split_of(beats: Beats, split: str, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the beats to train on and to test; ``seed`` is of the halves at random."""
    if split == "random beats":
        return random_halves(beats, seed)
    parts = halves(beats)
    return (beats.of(DS1) if split == "DS1 with 201/DS2" else parts["DS1"]), parts["DS2"]


def chapter_system(p: SimpleNamespace) -> BeatSystem:
    """The best FCN as the parameters of chapter 07 have it."""
    return BeatSystem(width=p.width, every=p.every, epochs=p.epochs, beats=p.draws)


def tasks(p: SimpleNamespace) -> dict[Key, list[Task]]:
    """The trainings of chapter 07: (arm, split) → one a seed."""
    source = Source.of_chapter(p)
    plan = planned(chapter_system(p), of_mitdb=source.of_mitdb, seeds=p.seeds, arm_seeds=p.arm_seeds)
    return {
        (arm, split): [
            Task(f"{arm}, {split} {s + 1}/{number}", train_arm, (source, system, split, p.seed, s))
            for s in range(number)
        ]
        for (arm, split), (system, number) in plan.items()
    }


def train_arm(
    source: Source, system: BeatSystem, split: str, seed: int, number: int, *, only_open: bool = False
) -> BeatRun | None:
    """Train one network of a chapter's beats, or open it: the seed of the first is ``seed``."""
    beats = source.beats()
    given = system, beats, *split_of(beats, split, seed)
    return trained(*given, seed=seed + number) if only_open else train(*given, seed=seed + number)


def train_arms(p: SimpleNamespace) -> dict[Key, list[BeatRun]]:
    """Train the networks of chapter 07, side by side, or open them: (arm, split) → one run a seed."""
    return together_by_name(tasks(p))


def score_runs(
    runs: Mapping[tuple[str, str], Sequence[BeatRun]], patient_of: Mapping[str, str], repeats: int = 1000
) -> pd.DataFrame:
    """``score_table`` of the runs of each (network, split), with these and the runs' names as columns."""
    tables = [
        score_table(some, patient_of, repeats).assign(
            network=network, split=split, run=" ".join(run.folder.name for run in some)
        )
        for (network, split), some in runs.items()
    ]
    return pd.concat(tables)


def results(scores: pd.DataFrame) -> pd.DataFrame:
    """Score tables with their network, split and run, and what others published, as ``results/beats.csv`` has them."""
    deviations = scores.assign(metric=scores["metric"] + ", deviation over seeds", value=scores["deviation"])
    deviations = deviations[deviations["value"].notna()].assign(low=np.nan, high=np.nan)
    published = [
        {
            "network": network,
            "split": "DS1/DS2",
            "metric": metric[0],
            "class": "".join(metric[1:]),
            "paper_value": value,
        }
        for network, values in PUBLISHED.items()
        for metric, value in ((re.split(r" (?=[NSVF]$)", name), value) for name, value in values.items())
    ]
    table = pd.concat([scores, deviations, pd.DataFrame(published)]).reindex(columns=COLUMNS)
    return table.assign(n=table["n"].astype("Int64"), run=table["run"].fillna("")).round(4)


def committed() -> pd.DataFrame:
    """``results/beats.csv``; what is not given is NaN among the numbers and empty among the names."""
    return read_committed(TABLE, ["value", "low", "high", "n", "paper_value"])


def save(scores: pd.DataFrame, trial: pd.DataFrame) -> pd.DataFrame:
    """Write ``results/beats.csv`` of score tables (``score_runs``) and the rows of the trial; return what it holds."""
    with written_table(TABLE) as partial:
        pd.concat([results(scores), trial.round(4)]).to_csv(partial, index=False)
    return committed()


# --- maps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Explained:
    """Beats of each class, what networks make of them, and the maps of their own class.

    Attributes
    ----------
    beats
        All beats, of which some are explained.
    networks
        Name → its run.
    places
        Class → places of its explained beats.
    probability
        (network, class) → probability of the class, (beats,).
    right
        (network, class) → whether that is the network's answer, (beats,).
    signed
        (network, class) → map before its ReLU, (beats, cells).
    """

    beats: Beats
    networks: Mapping[str, BeatRun]
    places: Mapping[str, NDArray[np.intp]]
    probability: dict[tuple[str, str], NDArray[np.float32]]
    right: dict[tuple[str, str], NDArray[np.bool_]]
    signed: dict[tuple[str, str], NDArray[np.float32]]

    @cached_property
    def maps(self) -> dict[tuple[str, str], NDArray[np.float32]]:
        """(network, class) → map, (beats, cells)."""
        return {key: values.clip(min=0) for key, values in self.signed.items()}

    @cached_property
    def occluded(self) -> dict[tuple[str, str], NDArray[np.float32]]:
        """(network, class) → what each segment adds to the logit, (beats, 11)."""
        return {
            (name, c): beat_maps.occlusion(self.networks[name].network(), *self.inputs(name, c))
            for name, c in self.signed
        }

    @property
    def tried(self) -> list[str]:
        """The classes there are whose maps are on trial."""
        return [c for c in TRIED if c in self.places]

    def inputs(self, network: str, c: str) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, rhythm and class of the explained beats of a class, for a network."""
        x, rhythm = self.networks[network].system.inputs(self.beats, self.places[c])
        return x, rhythm, torch.full((len(x),), BEAT_CLASSES.index(c))

    def signals(self, c: str) -> NDArray[np.float32]:
        """Lead II of the explained beats of a class, each less its median, in mV: (beats, 264)."""
        x = self.beats.signal[self.places[c], 0]
        return x - np.median(x, axis=1, keepdims=True)

    def of_table(self, column: str, c: str) -> NDArray:
        """A column of the beats' table for the explained beats of a class, (beats,): record, say."""
        return self.beats.table[column].iloc[self.places[c]].to_numpy()


def explain(networks: Mapping[str, BeatRun], beats: Beats, most: int, seed: int = 0) -> Explained:
    """Explain at most ``most`` beats of each class of DS2, drawn at random, for their own class."""
    rng, tested = np.random.default_rng(seed), halves(beats)["DS2"]
    places = {}
    for c in BEAT_CLASSES:
        of_class = tested[beats.table["aami"].iloc[tested] == c]
        if c in beats.classes:
            places[c] = np.sort(rng.choice(of_class, min(most, len(of_class)), replace=False))
    explained = Explained(beats, networks, places, {}, {}, {})
    for name, run in networks.items():
        answers, network = run.predictions.set_index("beat")[list(BEAT_CLASSES)], run.network()
        for c, drawn in places.items():
            p = answers.loc[drawn].to_numpy()
            explained.probability[name, c] = p[:, BEAT_CLASSES.index(c)]
            explained.right[name, c] = p.argmax(axis=1) == BEAT_CLASSES.index(c)
            explained.signed[name, c] = beat_maps.grad_cam(network, *explained.inputs(name, c), relu=False)
    return explained


def _trial_row(
    explained: Explained, network: str, metric: str, c: str, values: NDArray[np.floating], n: int, repeats: int
) -> dict[str, Any]:
    """A row of ``results/beats.csv``: mean of values (beats,) with limits over patients."""
    limits = beat_maps.by_patient(values, explained.of_table("patient_id", c), repeats)
    run = explained.networks[network].folder.name if network in explained.networks else ""
    about: dict[str, Any] = {"network": network, "split": "DS1/DS2", "metric": metric, "class": c}
    return about | dict(zip(("value", "low", "high"), limits, strict=True)) | {"n": n, "run": run}


def window_trial(explained: Explained, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How much of each map lies in its class's window, and how much more than of its rivals: rows of the results.

    The rivals are the same map, shifted in a circle by a random amount, and the beat's energy: the square of lead II
    after standardising.
    """
    rows = []
    for c in explained.tried:
        rivals = {name: explained.maps[name, c] for name in explained.networks}
        for name in explained.networks:
            rng = np.random.default_rng(seed)
            rivals[f"{name}, turned at random"] = blind.random_maps(rivals[name], rng, earlier=True)
        rivals["energy"] = explained.inputs(next(iter(explained.networks)), c)[0][:, 0].numpy() ** 2
        mass = {name: beat_maps.window_mass(values, c) for name, values in rivals.items()}
        for name, values in mass.items():
            n = int((~np.isnan(values)).sum())
            rows.append(_trial_row(explained, name, "map in the window", c, values, n, repeats))
            if name in explained.networks:
                for what, rival in (("random", f"{name}, turned at random"), ("energy", "energy")):
                    metric, more = f"map in the window, more than {what}", values - mass[rival]
                    rows.append(_trial_row(explained, name, metric, c, more, n, repeats))
    return pd.DataFrame(rows)


def correlation_trial(
    explained: Explained, again: Mapping[str, BeatRun], repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Spearman's correlation over segments of each network's maps with others before their ReLU: rows of the results.

    The others are the other network's map, segment occlusion, the map with the head's weights or all weights drawn
    anew, that of ``again`` (the same network trained from another seed), and itself, shifted by a random amount.
    """
    rows = []
    for c in explained.tried:
        own = {name: beat_maps.by_segment(explained.signed[name, c]) for name in explained.networks}
        pairs = {tuple(own): tuple(own.values())}
        for name, run in explained.networks.items():
            others = {
                "head drawn anew": faithfulness.randomised(run.network(), part="head", redrawn=True, seed=97),
                "all weights drawn anew": faithfulness.randomised(run.network(), redrawn=True, seed=97),
                "its own of another seed": again[name].network(),
            }
            pairs[name, "segment occlusion"] = own[name], explained.occluded[name, c]
            for other, network in others.items():
                theirs = beat_maps.grad_cam(network, *explained.inputs(name, c), relu=False)
                pairs[name, other] = own[name], beat_maps.by_segment(theirs)
            moved = blind.random_maps(own[name], np.random.default_rng(seed), earlier=True)
            pairs[name, "itself, turned at random"] = own[name], moved
        for (name, other), (a, b) in pairs.items():
            values = beat_maps.rank_correlation(a, b)
            metric, n = f"map correlates with: {other}", int((~np.isnan(values)).sum())
            rows.append(_trial_row(explained, name, metric, c, values, n, repeats))
    return pd.DataFrame(rows)


def variance_by_record(explained: Explained, seed: int = 0) -> pd.DataFrame:
    """How much of the variance of maps within a class (by segment, each over its maximum) the record explains.

    One row a network and class; beside the true records the same ones shuffled among the beats.
    """
    rows = []
    for name, c in explained.signed:
        owner = explained.of_table("record", c)
        shape = beat_maps.normalised(beat_maps.by_segment(explained.maps[name, c]))
        shuffled = np.random.default_rng(seed).permutation(owner)
        names, number = np.unique(owner, return_counts=True)
        rows.append(
            {
                "network": name,
                "class": c,
                "beats": len(owner),
                "records": len(names),
                "largest record": number.max() / len(owner),
                "explained by record": beat_maps.between_records(shape, owner),
                "by a shuffled record": beat_maps.between_records(shape, shuffled),
            }
        )
    return pd.DataFrame(rows)
