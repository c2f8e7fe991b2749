"""Do the systems' maps depend on weights, labels and time? The checks of Adebayo et al. 2018 in full.

``ecgstudy train --part sanity [SYSTEM ...]`` writes ``results/sanity.csv``. All three tests explain the same simulated
records, ``PER_CLASS`` of each class but NSR, whose key is nearly everything, by each of a system's own maps and two
gradients:

- ``cascade``: the network that learnt from ``MANY`` records loses its weights layer by layer.
- ``labels``: the small network of the system's chapter, and the same trained with permuted labels.
- ``time``: the network of ``MANY`` records is shown its records moved in a circle, and in pieces that changed places.

Maps of single beats (Grad-CAM, chapter 07) have trials of their own in ``studies.single_beats``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ecgstudy import metrics, training
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import blind, ceilings, evaluation, sanity, trials
from ecgstudy.explain.cases import Cases, synthetic_cases
from ecgstudy.explain.methods import METHODS
from ecgstudy.paths import RESULTS
from ecgstudy.profiles import profile_values
from ecgstudy.studies import leaderboard, put_rows, read_committed
from ecgstudy.studies.explanations import CASE_SEED, MANY
from ecgstudy.studies.questions import INPUT_GRADIENT
from ecgstudy.studies.trainings import Ensemble, Task, anew
from ecgstudy.systems import Tried, catalogue
from ecgstudy.systems.catalogue import by_name

TABLE = RESULTS / "sanity.csv"
COLUMNS = ("test", "system", "method", "measure", "step", "layer", "value", "low", "high", "n", "run")
NUMBERS = ("value", "low", "high")
ENTRY = "system"
PER_CLASS = 4
EXPLAINED = tuple(name for name in CLASSES if name != "NSR")
GRADIENTS = (INPUT_GRADIENT, "integrated gradients")
SPARING, EVERY = 2, 6  # a costly method explains every second record, and after every sixth layer
PROFILE = "demo"  # whose networks are trained with permuted labels
PIECE, LEAST = 0.2, 1.0  # seconds of a piece, longer than a QRS complex; by which a record is moved at least
MOVED, PIECES = "moved in a circle", "in pieces"

# What is measured.
LOST, ANOTHER, ENERGY = "after the loss", "another record's map", "the signal's energy"
MORE = "all lost, less another record's map"
ALIKE, LESS = "true labels with permuted", "excess mass, true less permuted"
TRUE, PERMUTED = "excess mass, true labels", "excess mass, permuted labels"
TESTED, TRAINED = "AUROC of tested records", "AUROC of training records"
FOLLOWS, STAYS, MORE_FOLLOWS = "put back in place", "left where it is", "put back, less left"
BEFORE, AFTER = "excess mass before", "excess mass after"
FORMER = "excess mass after, where the evidence was"
PROBABILITY = "probability of the class"
PERFECT = "perfect map on the cells"

Array = NDArray[np.floating]
Scores = Mapping[tuple[str, int, str], Array]  # by measure, step and layer: (rows,)


def cases_of(fs: float) -> Cases:
    """The simulated records that are explained, at a rate in Hz."""
    return synthetic_cases(fs, PER_CLASS, seed=CASE_SEED, classes=EXPLAINED)


def costly(method: str) -> bool:
    """Whether a method explains fewer records, after fewer layers."""
    return method in METHODS and METHODS[method].costly


def on_cells(system: Tried, network: nn.Module, cases: Cases, values: NDArray) -> Array:
    """Values (rows, n) as the cells of a system's own maps would have them, at the samples: (rows, n)."""
    cells = ceilings.cells_of(system, network, cases.inputs(system))
    return cells.placed(cells.averaged(values))


def lose_layers(system: Tried, network: nn.Module, cases: Cases, method: str) -> Scores:
    """Agreement of a method's maps with those of the network that lost ever more layers, from the logits down.

    Beside it what no relation reads like, the agreement with the map of the next record of the class, and how much of
    the whole network's map the signal's energy shows, on the same cells.
    """
    steps = sanity.cascade_maps(system, network, cases, method, every=EVERY if costly(method) else 1)
    _, _, whole = next(steps)
    found = {(LOST, step, layer): sanity.likeness(whole, after) for step, layer, after in steps}
    last = list(found.values())[-1]
    other = sanity.likeness(whole, whole[evaluation.next_of_class(cases)])
    energy: Array = blind.energy_maps(cases.signals, cases.fs)
    energy = on_cells(system, network, cases, energy) if ceilings.of_cells(system, method) else energy
    beside = {ANOTHER: other, ENERGY: sanity.likeness(whole, energy), MORE: last - other}
    return {**found, **_whole(beside)}


def _whole(measured: Mapping[str, Array]) -> Scores:
    """Scores that are of no step of the cascade."""
    return {(measure, 0, ""): values for measure, values in measured.items()}


def permuted(cohort: Cohort, split: training.Split, seed: int) -> Cohort:
    """The cohort with labels that changed places among the training records, and among those of validation.

    So each class stays as frequent in each part, no true label trains a network or chooses its epoch, and the records
    that it is tested on keep theirs.
    """
    rng, labels = np.random.default_rng(seed), cohort.labels.copy()
    for part in ("train", "valid"):
        labels[split[part]] = labels[rng.permutation(split[part])]
    return replace(cohort, labels=labels, checksum=f"{cohort.checksum}, training labels permuted by {seed}")


def ensemble_of(name: str) -> Ensemble:
    """The networks of a system's chapter, the first of which is trained once more."""
    return Ensemble.of_profile(name, PROFILE, profile_values(PROFILE, by_name(name).chapter)["seed"])


def split_of(ensemble: Ensemble, cohort: Cohort) -> dict[str, NDArray[np.intp]]:
    """Records that the first network of an ensemble is trained on, chosen by and tested on."""
    return training.member_splits(ensemble.system, cohort, ensemble.test(cohort), ensemble.members, ensemble.seed)[0]


def train_permuted(ensemble: Ensemble, *, only_open: bool = False) -> training.Run | None:
    """Train the first network of an ensemble with permuted labels, or open it; all else is the same but one thing.

    The last epoch is kept: with permuted labels validation prefers one by chance, often the first.
    """
    cohort, seed = ensemble.cohort(), ensemble.seed
    split = split_of(ensemble, cohort)
    given = ensemble.system, permuted(cohort, split, seed), split
    if only_open:
        return training.trained(*given, seed=seed, last=True)
    return training.train(*given, seed=seed, last=True, note=f"{ensemble.system.name}, permuted labels")


def trainings(name: str) -> tuple[Task, Task]:
    """Of a system: the first network of its chapter, and the same with permuted labels."""
    ensemble = ensemble_of(name)
    (plain,) = ensemble.tasks(1)
    return plain, Task(f"{name}, permuted labels", train_permuted, (ensemble,), (ensemble.records.task,))


def permute_labels(system: Tried, plain: nn.Module, unlearned: nn.Module, cases: Cases, method: str) -> Scores:
    """Agreement of the maps of two networks, of true labels and of permuted ones, and the excess mass of both."""
    m, those = (evaluation.make_maps(method, system, network, cases) for network in (plain, unlearned))
    one, other = (trials.localisation(made, cases.any_lead)["excess mass"] for made in (m, those))
    measured = {ALIKE: sanity.likeness(m, those), TRUE: one, PERMUTED: other, LESS: one - other}
    return _whole(measured)


def orders(rows: int, n: int, fs: float, seed: int = 0) -> dict[str, NDArray[np.intp]]:
    """Other orders of the samples (rows, n) of records, by name.

    A record that is moved in a circle keeps everything but its place, so that a map which finds evidence must move
    along. Pieces longer than a QRS complex and shorter than a beat keep what a wave looks like, and lose the rhythm and
    the order of the waves.
    """
    rng = np.random.default_rng(seed)
    return {
        MOVED: sanity.moved_in_a_circle(rows, n, round(LEAST * fs), rng),
        PIECES: sanity.in_pieces(rows, n, round(PIECE * fs), rng),
    }


def permute_time(system: Tried, network: nn.Module, cases: Cases, method: str, seed: int = 0) -> dict[str, Scores]:
    """Does a method's map follow samples that stand in another order, or stay where it was? By order.

    ``PERFECT`` is the answer key on the cells of the system's own maps, which follows as well as such cells can; the
    signal's energy follows but for the seams.
    """

    def made(some: Cases) -> Array:
        if method == PERFECT:
            return on_cells(system, network, some, some.any_lead)
        return evaluation.make_maps(method, system, network, some)

    before = made(cases)
    was = trials.localisation(before, cases.any_lead)["excess mass"]
    found: dict[str, Scores] = {}
    for how, order in orders(len(before), before.shape[1], cases.fs, seed).items():
        after = sanity.reordered(cases, order)
        m = made(after)
        now = trials.localisation(m, after.any_lead)["excess mass"]
        follows, stays = sanity.likeness(before, sanity.put_back(m, order)), sanity.likeness(before, m)
        measured = {FOLLOWS: follows, STAYS: stays, MORE_FOLLOWS: follows - stays}
        measured |= {BEFORE: was, AFTER: now, FORMER: trials.localisation(m, cases.any_lead)["excess mass"]}
        found[how] = _whole(measured)
    return found


def probabilities(system: Tried, network: nn.Module, cases: Cases) -> dict[str, Scores]:
    """Probability of each row's class before and after its samples changed places, by order."""

    def answered(some: Cases) -> Array:
        with torch.inference_mode():
            p = torch.sigmoid(network(some.inputs(system)).float()).numpy()
        return p[np.arange(len(p)), some.classes]

    there = orders(len(cases.signals), cases.signals.shape[-1], cases.fs)
    before = answered(cases)
    after = {how: answered(sanity.reordered(cases, order)) for how, order in there.items()}
    names = [f"{PROBABILITY}, {when}" for when in ("before", "after")]
    return {how: _whole(dict(zip(names, (before, p), strict=True))) for how, p in after.items()}


def means(found: Mapping[str, Scores], cases: Cases, **about: str) -> pd.DataFrame:
    """Rows of the table, of each method's scores: means of the classes' means, with intervals over patients."""
    columns: dict[tuple[str, str, int, str], Array] = {}
    for method, scores in found.items():
        for key, values in scores.items():
            column = np.full(len(cases.classes), np.nan)
            column[rows_of(cases, method)] = values
            columns[method, *key] = column
    table = pd.DataFrame(columns).rename_axis(columns=["method", "measure", "step", "layer"])
    table = trials.summary(table, cases.names_of_classes, cases.patients)
    return table[table["class"] == ""].assign(**about)[list(COLUMNS)]


def rows_of(cases: Cases, method: str) -> NDArray[np.intp]:
    """Rows that a method explains."""
    return np.arange(0, len(cases.classes), SPARING if costly(method) else 1)


def scores_of_answers(ensemble: Ensemble, runs: Mapping[str, training.Run]) -> pd.DataFrame:
    """Macro-AUROC of the two networks: on tested records, and on the training records by the labels it was taught."""
    cohort = ensemble.cohort()
    split, rows = split_of(ensemble, cohort), []
    patients = cohort.table["patient_id"].to_numpy()
    for which, run in runs.items():
        learnt = cohort if which == "true labels" else permuted(cohort, split, ensemble.seed)
        p = training.predict(run.system, run.network(), cohort, split["train"])
        for measure, part, answers in ((TESTED, "test", run.probabilities(split["test"])), (TRAINED, "train", p)):
            targets = learnt.labels[split[part]]
            limits = metrics.bootstrap_interval(metrics.macro_auroc, targets, answers, patients[split[part]])
            about: dict[str, str | int] = {
                "test": "labels",
                "system": run.system.name,
                "method": "",
                "measure": f"{measure}, {which}",
            }
            about |= {"step": 0, "layer": "", "n": len(targets), "run": run.folder.name}
            rows.append(about | {end: float(value) for end, value in limits._asdict().items()})
    return pd.DataFrame(rows)[list(COLUMNS)]


def compute(name: str) -> pd.DataFrame:
    """All rows of a system."""
    (many,) = leaderboard.runs_of(MANY, name)
    runs = dict(zip(("true labels", "permuted labels"), (task() for task in trainings(name)), strict=True))
    plain, unlearned = (run.network() for run in runs.values())
    small, system, network, cases = runs["true labels"].system, many.system, many.network(), cases_of(many.system.fs)
    few = {method: cases.take(rows_of(cases, method)) for method in (*system.own_maps, *GRADIENTS)}
    about = {"system": name, "run": many.folder.name}
    both = {"system": name, "run": " ".join(run.folder.name for run in runs.values())}
    lost = {method: lose_layers(system, network, some, method) for method, some in few.items()}
    other = {method: permute_labels(small, plain, unlearned, some, method) for method, some in few.items()}
    tables = [means(lost, cases, test="cascade", **about), means(other, cases, test="labels", **both)]
    tables.append(scores_of_answers(ensemble_of(name), runs))
    moved = {method: permute_time(system, network, some, method) for method, some in few.items()}
    moved |= {method: permute_time(system, network, cases, method) for method in (PERFECT, "signal energy")}
    moved[""] = probabilities(system, network, cases)
    for how in (MOVED, PIECES):
        found = {method: scores[how] for method, scores in moved.items()}
        tables.append(means(found, cases, test=f"time, {how}", **about))
    return pd.concat(tables, ignore_index=True)


def tasks(name: str) -> list[Task]:
    """One for a system, which needs its two trainings."""
    return [Task(f"{name}: sanity checks", anew, (compute, name), trainings(name))]


def keep(name: str, found: Sequence[pd.DataFrame]) -> None:
    """Put the rows of a system in the place of the committed ones; ``found`` is what its tasks gave."""
    order = [cls.name for cls in catalogue.with_chapter()]
    put_rows(TABLE, pd.concat(found), committed(), ENTRY, order, COLUMNS)


def committed() -> pd.DataFrame:
    """The table as committed."""
    return read_committed(TABLE, NUMBERS)
