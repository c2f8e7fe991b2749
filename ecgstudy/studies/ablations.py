"""Ablations: one part of a system changed at a time, the same folds and seeds for every arm.

Fold k of five is tested by a network of seed k, so that the five runs of an arm differ in data and seed alike and every
record is tested once. What an arm's runs answered is kept under ``results/ablations/<cohort>/<question>``:
``<arm>.parquet`` (run, fold, member, part, record, and a log-odds for each class) and ``<arm>.json`` (configuration,
runs, logs, machine). ``ecgstudy.studies.ablation_tables`` computes all numbers and verdicts from these.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from ecgstudy import training
from ecgstudy.data import own
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.losses import Loss, weighted_focal
from ecgstudy.paths import RESULTS, read_json, read_table, write_compact, written_whole
from ecgstudy.preprocessing import remove_baseline
from ecgstudy.studies import leaderboard
from ecgstudy.studies.trainings import Records, Task, together_by_name
from ecgstudy.systems import System, clip_thrice, parameter_count
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.ecgmaster import ECGMaster, ECGMasterSystem

FOLDER = RESULTS / "ablations"
COHORTS = ("real", "synthetic")
FOLDS = 5


@dataclass(frozen=True)
class Question:
    """One question to a system: arms that differ in the named settings, the first of which is the control.

    Parameters
    ----------
    asks
        The question as the book words it.
    system
        Name of a system of the catalogue, with the settings that its chapter's profile gives it.
    arms
        Name of an arm → what it changes: fields of the system, or ``members`` of an ensemble.
    verdict
        The arm and the metric that answer the question: is the arm better than the control?
    variant
        A subclass of the system that has what an arm changes, where the system itself has not.
    """

    asks: str
    system: str
    arms: dict[str, dict[str, Any]]
    verdict: tuple[str, str]
    variant: type[System] | None = None

    @property
    def control(self) -> str:
        """What the other arms are compared with."""
        return next(iter(self.arms))


class PooledECGMaster(ECGMaster):
    """ECGMaster with the mean or the maximum of the record's cells in place of attention."""

    def __init__(self, pooling: Literal["mean", "max"], **options: Any) -> None:
        super().__init__(**options)
        self.pooling = pooling
        del self.key

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of (batch, leads + 1, samples)."""
        values, valid = self.features(x), self.valid(x)[:, None]
        if self.pooling == "max":  # of what a ReLU left: padding's zero never wins
            return self.head((values * valid).amax(dim=-1))
        return self.head((values * valid).sum(dim=-1) / valid.sum(dim=-1))


@dataclass(frozen=True, kw_only=True)
class AlteredECGMaster(ECGMasterSystem):
    """ECGMaster without its attention, or without its denoising."""

    pooling: Literal["attention", "mean", "max"] = "attention"
    denoised: bool = True

    def network(self, classes: int = len(CLASSES)) -> ECGMaster:
        """Make the network, untrained."""
        if self.pooling == "attention":
            return super().network(classes)
        sizes: dict[str, Any] = {"width": self.width, "kernel": self.kernel, "depth": self.depth}
        return PooledECGMaster(self.pooling, classes=classes, dropout=self.dropout, **sizes)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """As the system's, with or without the wavelet's shrinkage."""
        if self.denoised:
            return super().windows(signal)
        clean = remove_baseline(signal, round(self.fs))
        return clip_thrice(clean, self.samples, mask=True)


@dataclass(frozen=True, kw_only=True)
class WeightedCNNGAP(CNNGAPSystem):
    """CNN-GAP with ECGMaster's weighted focal loss at any balance b and focus r."""

    loss: str = "weighted focal"
    b: float = 0.5
    r: float = 2

    def criterion(self, positives: Tensor, records: int) -> Loss:
        """Weighted focal loss with this system's b and r."""
        return partial(weighted_focal, positives=positives, records=records, b=self.b, r=self.r)


def _grid() -> dict[str, dict[str, Any]]:
    """Arms of weighted focal loss over b and r, the paper's b first; some of them have names of their own."""
    known: dict[tuple[float, int], str] = {
        (0, 0): " (cross-entropy)",
        (1, 0): " (weighted cross-entropy)",
        (0, 2): " (focal)",
    }
    pairs = [(0.5, 2), *[(b, r) for r in range(4) for b in (0, 0.25, 0.5, 0.75, 1) if (b, r) != (0.5, 2)]]
    return {f"b {b:g}, r {r}{known.get((b, r), '')}": {"b": b, "r": r} for b, r in pairs}


_CROSS_ENTROPY = "b 0, r 0 (cross-entropy)"
_CONTROLLED = {_CROSS_ENTROPY: {"b": 0, "r": 0}} | _grid()  # the control first
_SOFT = {name: {"loss": name} for name in ("macro-F1", "macro-F2", "challenge metric")}
_GAMMAS = (0.001, 0.01, 0.1, 1, 10)

QUESTIONS: dict[str, Question] = {
    "gamma": Question(
        asks="Does drawing the attention map to the reference lift the exact match of records with several labels?",
        system="xECGNet",
        arms={"gamma 0": {"gamma": 0.0}}
        | {f"gamma {g:g}": {"gamma": float(g)} for g in _GAMMAS}
        | {f"gamma {g:g}, over all classes": {"gamma": float(g), "over": "classes"} for g in _GAMMAS},
        verdict=("gamma 0.01", "exact match, multi-label"),
    ),
    "loss of CNN-GAP": Question(
        asks="Does the macro-F2 loss give a higher F2 than cross-entropy?",
        system="CNN-GAP",
        arms={"cross-entropy": {"loss": "cross-entropy"}, "macro-F2": {"loss": "macro-F2"}}
        | {
            n: {"loss": n}
            for n in ("macro-F1", "weighted cross-entropy", "focal", "weighted focal", "challenge metric")
        },
        verdict=("macro-F2", "F2"),
    ),
    "loss of ECGMaster": Question(
        asks="Does weighting half-way (b = 0.5) with a focus (r = 2) give a higher F2 than cross-entropy?",
        system="ECGMaster",
        arms=_CONTROLLED | _SOFT,
        verdict=("b 0.5, r 2", "F2"),
    ),
    "balance and focus of CNN-GAP": Question(
        asks="Does weighting half-way (b = 0.5) with a focus (r = 2) give CNN-GAP a higher F2 than cross-entropy?",
        system="CNN-GAP",
        arms={name: arm | {"loss": "weighted focal"} for name, arm in _CONTROLLED.items()},
        verdict=("b 0.5, r 2", "F2"),
        variant=WeightedCNNGAP,
    ),
    "attention": Question(
        asks="Does class-wise attention find more than the mean, or the maximum, over time?",
        system="ECGMaster",
        arms={
            "mean": {"pooling": "mean"},
            "maximum": {"pooling": "max"},
            "attention": {},
            "attention, masked": {"masked": True},
        },
        verdict=("attention", "AUROC"),
        variant=AlteredECGMaster,
    ),
    "denoising": Question(
        asks="Does wavelet denoising help ECGMaster?",
        system="ECGMaster",
        arms={"no denoising": {"denoised": False}, "denoising": {}},
        verdict=("denoising", "AUROC"),
        variant=AlteredECGMaster,
    ),
    "mask": Question(
        asks="Does a right mask before the maximum help BUTTeam, against the published one?",
        system="BUTTeam",
        arms={"mask as published": {"mask": "published"}, "mask right": {}},
        verdict=("mask right", "AUROC"),
    ),
    "oversampling and augmentation": Question(
        asks="Do oversampling, flips and scales help CNN-GAP?",
        system="CNN-GAP",
        arms={
            "neither": {"oversampling_cap": 1, "flip": 0.0, "scale": 0.0},
            "oversampling": {"flip": 0.0, "scale": 0.0},
            "flips and scales": {"oversampling_cap": 1},
            "both": {},
        },
        verdict=("both", "F2"),
    ),
    "ensemble": Question(
        asks="Does an ensemble of eleven answer better than one network?",
        system="xECGNet",
        arms={"one": {}, "three": {"members": 3}, "eleven": {"members": 11}},
        verdict=("eleven", "F2, tuned"),
    ),
    # Not asked: CNN-GAP, for its cost, and BUTTeam, whose small copy has more parameters than the published network.
    "width of xECGNet": Question(
        asks="Does xECGNet as published answer better than at an eighth of its width?",
        system="xECGNet",
        arms={"an eighth": {}, "half": {"width": 0.5}, "as published": {"width": 1.0}},
        verdict=("as published", "AUROC"),
    ),
    "width of ECGMaster": Question(
        asks="Does ECGMaster as published (width, kernel, depth) answer better than the small one?",
        system="ECGMaster",
        arms={"small": {}, "as published": {"width": 1.0, "kernel": 1.0, "depth": 3}},
        verdict=("as published", "AUROC"),
    ),
    "epochs of CNN-GAP": Question(
        asks="Does the macro-F2 loss give a higher F2 than cross-entropy after the paper's hundred epochs?",
        system="CNN-GAP",
        arms={
            # both with other step sizes, too, so that neither is judged by those that suit the other
            ", ".join([loss, *(f"{name} {value:g}" for name, value in steps.items())]): {"loss": loss, "epochs": 100}
            | steps
            for loss, steps in (
                ("cross-entropy", {}),
                ("cross-entropy", {"rate": 3e-4}),
                ("macro-F2", {}),
                ("macro-F2", {"rate": 1e-4}),
                ("macro-F2", {"rate": 3e-4}),
                ("macro-F2", {"rate": 3e-3}),
                ("macro-F2", {"batch": 128}),
            )
        },
        verdict=("macro-F2", "F2"),
    ),
    # On simulated records as many steps as the leaderboard's 18,000 give in the demo's ten epochs.
    "epochs of xECGNet": Question(
        asks="Does xECGNet get better from 130 epochs on the same records?",
        system="xECGNet",
        arms={"as the chapter": {}, "130": {"epochs": 130}},
        verdict=("130", "AUROC"),
    ),
}


def system_of(question: str, arm: str, cohort: str) -> tuple[System, int]:
    """System of an arm, and the number of members of its ensemble."""
    asked = QUESTIONS[question]
    changes = dict(asked.arms[arm])
    system, _ = by_name(asked.system).of_profile(leaderboard.BOARDS[cohort].profile)
    members = changes.pop("members", 1)
    if asked.variant and changes.keys() - asdict(system).keys():
        return asked.variant(**asdict(system) | changes), members
    return replace(system, **changes), members


def train_run(
    system: System, cohort: Cohort, fold: int, member: int = 0, *, folds: int = FOLDS, quiet: bool = True
) -> training.Run:
    """Train, or open, the run of a fold: seed ``fold``, of another member of an ensemble ``fold + member * folds``."""
    split, seed = _split(system, cohort, fold, member, folds)
    return training.train(system, cohort, split, seed=seed, note=f"{system.name} fold {fold}", quiet=quiet)


def _split(
    system: System, cohort: Cohort, fold: int, member: int, folds: int
) -> tuple[dict[str, NDArray[np.intp]], int]:
    """Records of the run of a fold, and its seed."""
    seed = fold + member * folds
    test = np.flatnonzero(cohort.folds(folds, 0) == fold)
    return training.member_splits(system, cohort, test, 1, seed)[0], seed


def small_records(p: SimpleNamespace) -> Records:
    """Records of chapter 08's own small grid."""
    system, _ = by_name("ECGMaster").of_profile(p.profile)
    return Records(p.cohort, system.fs, p.records, p.balance, p.seed)


def small_losses(p: SimpleNamespace) -> list[str]:
    """Losses of the small grid: all, but where classes are one's own, the challenge's, which rewards the nine."""
    nine = own.classes(p.cohort) == CLASSES
    return [loss for loss in p.losses if nine or loss != "challenge metric"]


def small_tasks(p: SimpleNamespace) -> dict[str, list[Task]]:
    """The trainings of chapter 08's own small grid: loss → one a fold, of ECGMaster as its chapter has it."""
    system, _ = by_name("ECGMaster").of_profile(p.profile)
    records = small_records(p)
    arms = {loss: replace(system, loss=loss, epochs=p.epochs) for loss in small_losses(p)}
    return {
        loss: [Task(f"{loss}, fold {f + 1}", train_fold, (arm, records, f), (records.task,)) for f in range(p.folds)]
        for loss, arm in arms.items()
    }


def train_fold(system: System, records: Records, fold: int, *, only_open: bool = False) -> training.Run | None:
    """Train, or open, the run of a fold of a chapter's records."""
    cohort = records.made()
    return _trained(system, cohort, fold) if only_open else train_run(system, cohort, fold, quiet=False)


def _trained(system: System, cohort: Cohort, fold: int, member: int = 0) -> training.Run | None:
    split, seed = _split(system, cohort, fold, member, FOLDS)
    return training.trained(system, cohort, split, seed=seed)


def small_grid(p: SimpleNamespace) -> dict[str, list[training.Run]]:
    """Train chapter 08's own small grid, side by side, or open it: loss → one run a fold."""
    if left := [loss for loss in p.losses if loss not in small_losses(p)]:
        print(f"Left out, for its rewards are of the study's nine classes: {', '.join(left)}.")
    return together_by_name(small_tasks(p))


def path(cohort: str, question: str, arm: str, suffix: str) -> Path:
    """File of an arm's committed answer, whether it is there or not."""
    return FOLDER / cohort / question / f"{arm}{suffix}"


def missing(cohort: str, questions: list[str] | None = None) -> dict[tuple[str, str], float | None]:
    """Arms that have no committed answer, each with the seconds that it may take, if the cohort's other arms tell.

    They do where they are of the same system: by multiply-adds of the network, epochs, and number of runs.
    """
    pace: dict[str, float] = {}  # seconds for a multiply-add of a record in one epoch
    for question, asked in QUESTIONS.items():
        for arm in arms_of(cohort, question)[:1]:
            card, (system, _) = card_of(cohort, question, arm), system_of(question, arm, cohort)
            work = leaderboard.multiply_adds(system) * system.epochs * sum(map(len, card["runs"]))
            pace[asked.system] = max(card["seconds"] / work, pace.get(asked.system, 0.0))
    lacking: dict[tuple[str, str], float | None] = {}
    for question in questions or QUESTIONS:
        known = pace.get(QUESTIONS[question].system)
        for arm in QUESTIONS[question].arms:
            if not all(path(cohort, question, arm, s).exists() for s in (".json", ".parquet")):
                system, members = system_of(question, arm, cohort)
                runs = system.epochs * members * FOLDS
                lacking[question, arm] = known and known * leaderboard.multiply_adds(system) * runs
    return lacking


def tasks(cohort: str, question: str, arm: str) -> list[Task]:
    """The trainings that ``keep`` opens: one for each fold and each member of an ensemble."""
    system, members = system_of(question, arm, cohort)
    needs = (leaderboard.records_wanted(cohort, system.fs).task,)
    return [
        Task(
            f"{question}: {arm}, fold {fold + 1}{f', {member + 1}/{members}' if members > 1 else ''}",
            train_one,
            (cohort, system, fold, member),
            needs,
        )
        for member in range(members)
        for fold in range(FOLDS)
    ]


def train_one(cohort: str, system: System, fold: int, member: int, *, only_open: bool = False) -> training.Run | None:
    """Train, or open, one run of an arm; what `ecgstudy train` does side by side."""
    data = leaderboard.cohort_of(cohort, system.fs)
    if only_open:
        return _trained(system, data, fold, member)
    return train_run(system, data, fold, member, folds=FOLDS, quiet=False)


def answered(run: training.Run) -> pd.DataFrame:
    """What a run answered, as it is kept: part, record, and a log-odds for each class.

    Half precision of log-odds takes half the bytes and keeps the order of probabilities near 0 and 1.
    """
    table = run.predictions.drop(columns="name").rename(columns={"split": "part"})
    p = table[list(CLASSES)].to_numpy(dtype=np.float64).clip(1e-7, 1 - 1e-7)
    return table.assign(**pd.DataFrame(logit(p).astype(np.float16), columns=list(CLASSES), index=table.index))


def keep(cohort: str, question: str, arm: str) -> None:
    """Write an arm's answers, opening (or training) its runs."""
    system, members = system_of(question, arm, cohort)
    data = leaderboard.cohort_of(cohort, system.fs)
    fold_of = data.folds(FOLDS, 0)
    runs = [[train_run(system, data, fold, m, folds=FOLDS) for m in range(members)] for fold in range(FOLDS)]
    tables, logs = [], {}
    for fold, of_fold in enumerate(runs):
        for member, run in enumerate(of_fold):
            tables.append(answered(run).assign(run=run.folder.name, fold=np.int8(fold), member=np.int8(member)))
            logs[run.folder.name] = run.log[["epoch", "loss", "valid"]].round(4).to_dict("list")
    frame = pd.concat(tables).astype({"run": "category", "part": "category", "record": np.int32})
    card = {
        "question": question,
        "arm": arm,
        "cohort": data.checksum,
        "config": system.config,
        "runs": [[run.folder.name for run in of_fold] for of_fold in runs],
        "parameters": parameter_count(system.network()),
        "seconds": round(sum(run.card["seconds"] for of_fold in runs for run in of_fold), 1),
        "machine": training.machine(),
        "torch": torch.__version__,
        "logs": logs,
    }
    records = data.table[["name", "patient_id", "source"]].assign(fold=fold_of)
    records[list(CLASSES)] = data.labels
    card["sha256"] = training.fingerprint(records, frame)
    with written_whole(FOLDER / cohort / "records.parquet") as partial:
        write_compact(records, partial)
    with written_whole(path(cohort, question, arm, ".parquet")) as partial:
        write_compact(frame, partial)
    with written_whole(path(cohort, question, arm, ".json")) as partial:
        partial.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def records_of(cohort: str) -> pd.DataFrame:
    """Committed records of a cohort: name, patient_id, source, fold, and the nine labels."""
    return read_table(FOLDER / cohort / "records.parquet")


def card_of(cohort: str, question: str, arm: str) -> dict[str, Any]:
    """How a committed arm was made."""
    return read_json(path(cohort, question, arm, ".json"))


def arms_of(cohort: str, question: str) -> list[str]:
    """Arms of a question whose answers are committed, the control first."""
    return [arm for arm in QUESTIONS[question].arms if path(cohort, question, arm, ".json").exists()]


def trained_so_far() -> tuple[int, float]:
    """Number of trainings behind all committed answers, and the seconds that they took.

    Seconds of a training that several arms share count for each of them.
    """
    cards = [card_of(c, q, arm) for c in COHORTS for q in QUESTIONS for arm in arms_of(c, q)]
    runs = {run for card in cards for of_fold in card["runs"] for run in of_fold}
    return len(runs), sum(card["seconds"] for card in cards)


def growth(cohort: str, question: str, arm: str) -> float:
    """How many times the parameters of the question's control the network of a committed arm has."""
    control = card_of(cohort, question, QUESTIONS[question].control)
    return card_of(cohort, question, arm)["parameters"] / control["parameters"]
