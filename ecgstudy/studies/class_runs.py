"""The networks of the profile ``class``, which ship in eight bits, so that nobody in a class has to train."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.torch import save_file

from ecgstudy import training
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import RESULTS, write_compact, written_whole
from ecgstudy.profiles import profile_values
from ecgstudy.studies import ablations, chapters
from ecgstudy.studies.trainings import Ensemble, Records, Task, in_order
from ecgstudy.systems.catalogue import CATALOGUE

PROFILE = "class"


def tasks() -> list[Task]:
    """The trainings of the chapters of this profile whose runs ship: of systems, their arms, and chapter 08's grid.

    The small networks of chapters 07 and 09 are trained where they are wanted, in seconds.
    """
    found: dict[Task, None] = {}
    for chapter in ("08_ablations", *(cls.chapter for cls in CATALOGUE.values() if cls.chapter)):
        p = SimpleNamespace(**profile_values(PROFILE, chapter), profile=PROFILE)
        planned = in_order(chapters.planned(chapter, p))
        found |= dict.fromkeys(t for t in planned if t.function in (Ensemble.member, ablations.train_fold))
    return list(found)


def cohorts() -> list[dict[str, Any]]:
    """How the cohorts of these runs are simulated: records, seed and balance of each."""
    found = []
    for chapter in ("08_ablations", *(cls.chapter for cls in CATALOGUE.values() if cls.chapter)):
        values = profile_values(PROFILE, chapter)
        spec = {name: values[name] for name in ("records", "seed", "balance")}
        if spec not in found:
            found.append(spec)
    return found


def missing() -> list[Task]:
    """Trainings whose runs do not ship yet. Their cohorts are made, if they are not there: it takes seconds."""
    for task in tasks():
        for need in task.needs:
            need()
    runs = [(task, task(only_open=True)) for task in tasks()]
    return [task for task, run in runs if run is None or not run.folder.is_relative_to(RESULTS)]


def ship() -> Iterator[Path]:
    """Train what is missing and put it under ``results/runs``, one after the other."""
    for task in missing():
        yield _shipped(task(), _cohort(task))


def _cohort(task: Task) -> Cohort:
    """The records that a task trains on."""
    first = task.arguments[0]
    return first.cohort() if isinstance(first, Ensemble) else _records(task).made()


def _records(task: Task) -> Records:
    (records,) = (argument for argument in task.arguments if isinstance(argument, Records))
    return records


def _shipped(run: training.Run, cohort: Cohort) -> Path:
    """Write a run with its weights in eight bits; what it predicts and its thresholds are those of these weights."""
    network = run.network()
    table = run.predictions.copy()
    with written_whole(RESULTS / "runs" / run.folder.name) as partial:
        partial.mkdir(parents=True)
        save_file(training.packed(network), partial / "weights.safetensors")
        weights = training.read_weights(partial / "weights.safetensors", network)
        network.load_state_dict(weights)
        # Half precision is enough for a probability, and takes half the bytes.
        p = training.predict(run.system, network, cohort, table["record"].to_numpy())
        table[list(CLASSES)] = p.astype(np.float16).astype(np.float32)
        write_compact(table, partial / "predictions.parquet")
        scores, thresholds = {}, np.zeros(0)
        for part, rows in table.groupby("split"):
            targets, probabilities = cohort.labels[rows["record"]], rows[list(CLASSES)].to_numpy()
            scores[part] = run.system.selection(targets, probabilities)
            if part == "valid":
                thresholds = run.system.thresholds(targets, probabilities)
        card = {name: value for name, value in run.card.items() if name not in ("crc32", "seal")}
        card["thresholds"] = dict(zip(CLASSES, map(float, thresholds), strict=True))
        card["kept"] = "weights as int8 with a scale a row, probabilities in half precision"
        card["sha256"] = {"predictions": training.fingerprint(table), "weights": training.fingerprint(weights)}
        texts = {"config": run.config, "metrics": scores, "card": card}
        for name, content in texts.items():
            (partial / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        run.log.to_csv(partial / "log.csv", index=False)
    return RESULTS / "runs" / run.folder.name
