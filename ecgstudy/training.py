"""One engine trains every system: resumable, and the same run is never trained twice.

A run is named by the hash of its configuration (the system's, the seed, the records of each split) and its cohort's
checksum. Its folder holds config.json, log.csv, metrics.json, predictions.parquet, weights.safetensors and card.json;
committed runs stand in ``results/runs``, all others in the cache. Under ``torchrun`` many processes train one run
together: see ``distributed``.
"""

import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgstudy import distributed, layers, workers
from ecgstudy.data.cohort import Cohort
from ecgstudy.paths import (
    RESULTS,
    alone,
    cache_root,
    read_sealed,
    told_if_broken,
    write_compact,
    write_sealed,
    written_whole,
)
from ecgstudy.systems import System, batches, parameter_count, widened
from ecgstudy.windows import Windows, inputs

Split = Mapping[str, NDArray[np.intp]]  # "train", "valid" and, if there is one, "test": records of the cohort


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: what it was, how it went and what it predicts."""

    folder: Path
    system: System

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that names the run."""
        with told_if_broken(self.folder):
            return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    @cached_property
    def log(self) -> pd.DataFrame:
        """One row an epoch: epoch, loss, valid (the selection score), seconds."""
        with told_if_broken(self.folder):
            return pd.read_csv(self.folder / "log.csv")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a record outside training: record, name, split, and a probability for each class."""
        with told_if_broken(self.folder):
            return pd.read_parquet(self.folder / "predictions.parquet")

    def probabilities(self, records: NDArray[np.intp]) -> NDArray[np.float32]:
        """Saved probabilities (records, classes) of records outside training."""
        return self.predictions.set_index("record").loc[records, list(self.classes)].to_numpy(dtype=np.float32)

    @cached_property
    def card(self) -> dict[str, Any]:
        """How it was made: parameters, best epoch, thresholds, machine, versions."""
        with told_if_broken(self.folder):
            return json.loads((self.folder / "card.json").read_text(encoding="utf-8"))

    @property
    def classes(self) -> tuple[str, ...]:
        """What the network's outputs mean, in their order: the classes of the cohort that it was trained on."""
        return tuple(self.card["thresholds"])

    def network(self) -> nn.Module:
        """Load the trained network, in evaluation mode."""
        network = self.system.network(len(self.classes))
        with told_if_broken(self.folder):
            network.load_state_dict(read_weights(self.folder / "weights.safetensors", network))
        return network.eval()


def read_weights(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights of a network; those that were packed (``packed``) are told apart by the network's own."""
    kept = load_file(path)
    return _unpacked(kept, network) if set(kept) == {"rows", "halves", "whole"} else kept


def _unpacked(kept: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    weights, place = {}, dict.fromkeys(kept, 0)

    def taken(what: str, number: int) -> Tensor:
        first = place[what]
        place[what] = first + number
        if place[what] > kept[what].numel():
            raise ValueError("its weights are fewer than the network has")
        return kept[what][first : first + number]

    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            weights[name] = taken("whole", value.numel()).reshape(value.shape)
        elif _in_rows(value):
            scale = taken("halves", len(value)).float()[:, None]
            weights[name] = (taken("rows", value.numel()).reshape(len(value), -1) * scale).reshape(value.shape)
        else:
            weights[name] = taken("halves", value.numel()).float().reshape(value.shape)
    return weights


def _in_rows(value: Tensor) -> bool:
    return value.dim() > 1 and value.numel() >= 512


def packed(network: nn.Module) -> dict[str, Tensor]:
    """Weights of a network in a quarter of their bytes, for ``read_weights``.

    Kernels are int8 (``rows``) with a scale for each output channel, all that is small is in half precision
    (``halves``, scales among it), counters are as they were (``whole``). A weight of a kernel differs by at most 1/254
    of the largest of its channel.
    """
    parts: dict[str, list[Tensor]] = {"rows": [], "halves": [], "whole": []}
    for value in network.state_dict().values():
        if not value.is_floating_point():
            parts["whole"].append(value.flatten())
        elif _in_rows(value):
            rows = value.reshape(len(value), -1)
            scale = (rows.abs().amax(dim=1) / 127).clamp(min=1e-6).half()
            parts["halves"].append(scale)
            parts["rows"].append((rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).flatten())
        else:
            parts["halves"].append(value.half().flatten())
    kinds = {"rows": torch.int8, "halves": torch.half, "whole": torch.int64}
    return {name: torch.cat([torch.zeros(0, dtype=kinds[name]), *values]) for name, values in parts.items()}


def train(
    system: System,
    cohort: Cohort,
    split: Split,
    *,
    seed: int = 0,
    start: Run | None = None,
    last: bool = False,
    note: str = "",
    quiet: bool = False,
) -> Run:
    """Train a system once, or open the run that is there; an interrupted one goes on after its last epoch.

    While another process trains the same run, this one waits for it and opens what it made.

    Parameters
    ----------
    system
        The recipe. Its rate must be the cohort's.
    split
        Records to train on, to choose the epoch on, and to predict (``test``, never looked at before the end).
    seed
        Of weights, order and augmentation.
    start
        A run whose weights the training starts from (pre-training), instead of random ones.
    last
        Keep the last epoch, where validation records cannot tell which is best.
    note
        What the progress line begins with.
    quiet
        Show no progress.

    Raises
    ------
    ValueError
        when the cohort's rate is not the system's, a record is in two parts of the split, or the run that is there is
        not as it was written.
    """
    distributed.join()
    config = _config(system, cohort, split, seed, start, last)
    name = name_of(config)
    if run := opened(name, system):
        return run
    folder = cache_root() / "runs" / name
    waits = f"{note or system.name}: another process trains this run, waiting for it"
    with one_thread(), alone(folder, "" if quiet or workers.is_worker() else waits):
        if run := opened(name, system):
            return run
        unfinished = cache_root() / "unfinished" / f"{name}.safetensors"
        how = system, cohort, split, seed, start, last, unfinished, note or system.name, quiet
        network, log = distributed.everywhere(_fit, *how)
        with written_whole(folder) as partial:
            partial.mkdir()
            _write(partial, system, network, cohort, split, config, log, last=last)
        unfinished.unlink(missing_ok=True)
    return Run(folder, system)


def trained(
    system: System, cohort: Cohort, split: Split, *, seed: int = 0, start: Run | None = None, last: bool = False
) -> Run | None:
    """Open the run that ``train`` would make, if it is there."""
    return opened(name_of(_config(system, cohort, split, seed, start, last)), system)


def mean_of(runs: Sequence[Run], cohort: Cohort, split: Split) -> Run:
    """Make, or open, the run whose weights are the mean of others': of a network before and after it was fine-tuned.

    Wortsman et al. (2022) take this mean to keep what fine-tuning to few records takes away. It ships, and so what
    predicts is already in eight bits (``packed``).

    Parameters
    ----------
    runs
        Of one system, each trained from the one before: networks that began apart have no mean that works.
    cohort, split
        Of the last one. Its log is taken over, thresholds are chosen anew on its validation records.

    Raises
    ------
    ValueError
        when the systems differ.
    """
    last, names = runs[-1], [run.folder.name for run in runs]
    if any(run.system != last.system for run in runs):
        raise ValueError(f"{', '.join(names)} are of different systems: their weights have no mean")
    config = dict(last.config) | {"mean_of": names}
    folder = cache_root() / "runs" / name_of(config)
    with one_thread(), alone(folder):
        if run := opened(folder.name, last.system):
            return run
        weights = [run.network().state_dict() for run in runs]
        network = last.network()
        network.load_state_dict({key: _mean([each[key] for each in weights]) for key in weights[-1]})
        with written_whole(folder) as partial:
            partial.mkdir()
            kept = "the mean of the weights of several runs, as int8 with a scale a row"
            _write(partial, last.system, network, cohort, split, config, last.log, kept=kept)
    return Run(folder, last.system)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Mean of the same tensor of several networks, or the last one where it only counts."""
    return torch.stack(tensors).mean(dim=0) if tensors[-1].is_floating_point() else tensors[-1]


def _write(
    folder: Path,
    system: System,
    network: nn.Module,
    cohort: Cohort,
    split: Split,
    config: Mapping[str, Any],
    log: pd.DataFrame,
    *,
    last: bool = False,
    kept: str = "",
) -> None:
    """Write what a run's folder holds; the card comes last and seals it. ``kept`` says what was done to the weights."""
    weights = network.state_dict()
    if kept:
        weights = packed(network)
        network.load_state_dict(_unpacked(weights, network))
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    log.to_csv(folder / "log.csv", index=False)
    save_file(weights, folder / "weights.safetensors")
    predictions = _predictions(system, network, cohort, split)
    write_compact(predictions, folder / "predictions.parquet")
    scores = _scores(system, cohort, predictions)
    (folder / "metrics.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    card = _card(system, network, cohort, split, log, predictions, last)
    write_sealed(folder / "card.json", card | ({"kept": kept} if kept else {}))


def _config(system: System, cohort: Cohort, split: Split, seed: int, start: Run | None, last: bool) -> dict[str, Any]:
    if system.fs != cohort.fs:
        raise ValueError(
            f"{system.name} wants {system.fs:g} Hz, the cohort is at {cohort.fs:g} Hz: build it at that rate"
        )
    members = np.concatenate(list(split.values()))
    if len(np.unique(members)) < len(members):
        raise ValueError("a record is in two parts of the split")
    config = system.config | {"seed": seed, "cohort": cohort.checksum, "split": split_names(split)}
    if start:
        if start.classes != cohort.classes:
            raise ValueError(f"{start.folder.name} knows {', '.join(start.classes)}, the cohort other classes")
        config["start"] = start.folder.name
    return config | ({"kept": "last epoch"} if last else {})


def name_of(config: Mapping[str, Any]) -> str:
    """Name of a run: the hash of everything that makes it the run it is."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def split_names(split: Split) -> dict[str, str]:
    """Names of the parts of a split: the hash of the records in each, in whatever order."""
    return {part: hashlib.sha256(np.sort(i).astype("<i8").tobytes()).hexdigest()[:12] for part, i in split.items()}


def fingerprint(*parts: pd.DataFrame | Mapping[str, Tensor]) -> str:
    """SHA-256 of tables, row by row and column by column, or of weights: of what they hold, not of their files."""
    digest = hashlib.sha256()
    for part in parts:
        for name in part if isinstance(part, pd.DataFrame) else sorted(part):
            values = np.asarray(part[name])
            digest.update(f"{name} {values.shape} ".encode())
            if values.dtype.kind in "OUST":
                digest.update("\0".join(map(str, values)).encode())
            else:
                digest.update(values.astype("<f8").tobytes())
    return digest.hexdigest()


def opened(name: str, system: System) -> Run | None:
    """Open a run of a system, from ``results/runs`` or from the cache; None if it is in neither.

    Raises
    ------
    ValueError
        when a file of one in the cache is not as it was written: which, and the folder to delete. Those in
        ``results/runs`` are ``verify``'s to check.
    """
    folder = folder_of(name)
    return Run(folder, system) if folder else None


def folder_of(name: str, sealed: str = "card.json") -> Path | None:
    """Folder of a finished run, in ``results/runs`` or in the cache: the one that has the file that seals it.

    Raises
    ------
    ValueError
        as ``opened`` does.
    """
    for folder in (RESULTS / "runs" / name, cache_root() / "runs" / name):
        if (folder / sealed).exists():
            if folder.is_relative_to(cache_root()):
                read_sealed(folder / sealed)
            return folder
    return None


def member_splits(
    system: System, cohort: Cohort, test: NDArray[np.intp], members: int, seed: int = 0
) -> list[dict[str, NDArray[np.intp]]]:
    """Splits for the members of an ensemble: each chooses its epoch on another part of all that is not ``test``.

    That part is one of ``members`` folds, or (a single member, or a system that resamples at random) a random fifth.
    """
    rest = np.setdiff1d(np.arange(len(cohort)), test)
    if system.resampling == "folds" and members > 1:
        fold = cohort.folds(members, seed, rest)
        valid = [fold == f for f in range(members)]
    else:
        valid = [cohort.folds(5, seed + m, rest) == 0 for m in range(members)]
    return [{"train": np.setdiff1d(rest, np.flatnonzero(v)), "valid": np.flatnonzero(v), "test": test} for v in valid]


def train_members(
    system: System, cohort: Cohort, test: NDArray[np.intp], *, members: int, seed: int = 0, **options: Any
) -> list[Run]:
    """Train an ensemble on all but ``test`` (``member_splits``); ``options`` are those of ``train``."""
    return [
        train(system, cohort, split, seed=seed + m, note=f"{system.name} {m + 1}/{members}", **options)
        for m, split in enumerate(member_splits(system, cohort, test, members, seed))
    ]


def ensemble(runs: Sequence[Run], records: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities and predictions (records, classes) of the members together, as their system joins them."""
    probabilities = np.stack([run.probabilities(records) for run in runs])
    thresholds = np.array([list(run.card["thresholds"].values()) for run in runs])
    return runs[0].system.vote(probabilities, thresholds)


def machine() -> str:
    """What networks are trained on here, as the cards of committed answers name it: processor, device, precision."""
    device = best_device()
    precision = str(layers.best_precision(device)).removeprefix("torch.")
    return f"{platform.machine()} {platform.system()}, {device.type}, {precision}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work with one thread, as every training does: see ``threads``. A run is the same on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def placed(device: torch.device, *inputs: Any) -> tuple[Any, ...]:
    """Put network inputs on a GPU, where no step waits for a copy, if they take at most half of its free memory.

    Else they stay where they are. The other half is for the network, its gradients and what its layers give.
    """
    if device.type == "cpu" or 4 * sum(math.prod(x.shape) for x in inputs) > torch.cuda.mem_get_info(device)[0] / 2:
        return inputs
    there = tuple(torch.empty(x.shape, device=device) for x in inputs)
    for x, y in zip(inputs, there, strict=True):
        for first in range(0, len(x), 1024):
            y[first : first + 1024] = x[first : first + 1024]
    return there


def best_device() -> torch.device:
    """CUDA if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict(system: System, network: nn.Module, cohort: Cohort, records: NDArray[np.intp]) -> NDArray[np.float64]:
    """Probabilities (records, classes): the mean over each record's windows, network in evaluation mode."""
    # Part by part, so that memory does not grow with the cohort.
    parts = [_predict(network, *inputs(system, cohort, p)) for p in np.array_split(records, -(-len(records) // 1024))]
    return np.concatenate(parts)


@torch.inference_mode()
def _predict(network: nn.Module, x: Tensor | Windows, owner: NDArray[np.intp], batch: int = 256) -> NDArray[np.float64]:
    network.eval()
    device = next(network.parameters()).device
    mine = distributed.part(len(x))  # of several processes each predicts its own part: no window counts twice
    parts = (x[i : min(i + batch, mine.stop)] for i in range(mine.start, max(mine.stop, mine.start + 1), batch))
    own = torch.cat([torch.sigmoid(network(part.to(device)).float()).cpu() for part in parts]).numpy()
    p = np.concatenate(distributed.of_all(own))
    total = np.zeros((owner[-1] + 1, p.shape[1]), dtype=np.float32)
    np.add.at(total, owner, p)
    return total / np.bincount(owner)[:, None]


def _fit(
    system: System,
    cohort: Cohort,
    split: Split,
    seed: int,
    start: Run | None,
    last: bool,
    unfinished: Path,
    note: str,
    quiet: bool,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train a network and keep the weights of its best epoch.

    Best is the first epoch with the highest selection score on ``split["valid"]``, or the ``last`` one. Training ends
    after ``system.epochs``, or when ``system.patience`` epochs in a row have not improved on it.

    Parameters
    ----------
    system, cohort, split, seed, start, last, quiet
        As for ``train``; of ``split``, ``train`` and ``valid`` are looked at.
    unfinished
        File of what an interrupted run goes on from: weights now and at the best epoch, the optimiser's state, the log.
        It is written after each epoch.
    note
        What the progress line begins with.

    Returns
    -------
    network
        With the best weights, on the CPU, in evaluation mode.
    log
        One row an epoch: epoch (from 1), loss (mean over the windows trained on), valid (the selection score),
        seconds.
    """
    layers.keep_memory()
    device = best_device()
    precision = layers.best_precision(device)
    x, owner = inputs(system, cohort, split["train"])
    labels = cohort.labels[split["train"]]
    criterion = system.criterion(torch.from_numpy(labels.sum(axis=0)), len(labels))
    y = torch.from_numpy(labels[owner]).float()
    valid_x, valid_owner = inputs(system, cohort, split["valid"])
    valid_y = cohort.labels[split["valid"]]
    x, valid_x = placed(device, x, valid_x)

    torch.manual_seed(seed)
    network = system.network(len(cohort.classes))
    if start:
        network.load_state_dict(start.network().state_dict())
    network = network.to(device)
    optimiser = system.optimiser(network)
    log, best = _resume(unfinished, network, optimiser)
    together = distributed.together(network)
    bar = workers.Bar(system.epochs, len(log), note=note, quiet=quiet or not distributed.leads())
    for epoch in range(len(log), system.epochs):
        scores = [row["valid"] for row in log]
        if system.patience and scores and len(scores) - 1 - int(np.argmax(scores)) >= system.patience:
            break
        begun, total = time.monotonic(), 0.0
        # Each epoch draws from its own seed: one that is resumed is the one that would have been.
        torch.manual_seed(seed * 100_003 + epoch)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.from_numpy(system.epoch(y.numpy() > 0, np.random.default_rng([seed, epoch])))
        network.train()
        steps = batches(order, system.batch, network, x[:1])
        for step, chosen in enumerate(steps):
            for group in optimiser.param_groups:
                group["lr"] = system.learning_rate(epoch + step / len(steps), scores)
            batch = system.augment(x[chosen], generator).to(device)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                outputs = together(batch)
            loss = system.objective(widened(outputs), y[chosen].to(device), criterion)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(chosen)
        score = distributed.of_first(system.selection(valid_y, _predict(network, valid_x, valid_owner)))
        if last or not log or score > max(scores):
            best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        seconds = round(time.monotonic() - begun, 2)
        log.append({"epoch": epoch + 1, "loss": total / sum(map(len, steps)), "valid": score, "seconds": seconds})
        if distributed.leads():
            _save(unfinished, network, optimiser, log, best)
        bar.step(loss=log[-1]["loss"], valid=score)
    bar.close()
    network.load_state_dict(best)
    return network.cpu().eval(), pd.DataFrame(log)


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, log: list, best: dict) -> None:
    tensors = {f"network/{k}": v for k, v in network.state_dict().items()} | {f"best/{k}": v for k, v in best.items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{number}/{k}": torch.as_tensor(v) for k, v in state.items()}
    with written_whole(path) as partial:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, {"log": json.dumps(log)})


def _resume(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[list[dict], dict[str, Tensor]]:
    if not path.exists():
        return [], {}
    with told_if_broken(path):
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            log = json.loads(file.metadata()["log"])
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
        for key, value in tensors.items():
            part, _, rest = key.partition("/")
            parts[part][rest] = value
        network.load_state_dict(parts["network"])
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimiser"].items():
            number, _, name = key.partition("/")
            states.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict(optimiser.state_dict() | {"state": states})
        return log, parts["best"]


def _predictions(system: System, network: nn.Module, cohort: Cohort, split: Split) -> pd.DataFrame:
    tables = []
    for part, records in split.items():
        if part != "train":
            p = pd.DataFrame(predict(system, network, cohort, records), columns=list(cohort.classes))
            about = {"record": records, "name": cohort.table["name"].iloc[records].to_numpy(), "split": part}
            tables.append(pd.concat([pd.DataFrame(about), p], axis=1))
    return pd.concat(tables, ignore_index=True)


def _scores(system: System, cohort: Cohort, predictions: pd.DataFrame) -> dict[str, float]:
    return {
        part: system.selection(cohort.labels[rows["record"]], rows[list(cohort.classes)].to_numpy())
        for part, rows in predictions.groupby("split")
    }


def _card(
    system: System,
    network: nn.Module,
    cohort: Cohort,
    split: Split,
    log: pd.DataFrame,
    predictions: pd.DataFrame,
    last: bool,
) -> dict[str, Any]:
    valid = predictions[predictions["split"] == "valid"]
    thresholds = system.thresholds(cohort.labels[valid["record"]], valid[list(cohort.classes)].to_numpy())
    return {
        "system": system.name,
        "paper": system.paper,
        "parameters": parameter_count(network),
        "cohort": cohort.checksum,
        "records": {part: len(records) for part, records in split.items()},
        "best_epoch": len(log) if last else int(log["valid"].idxmax()) + 1,
        "thresholds": dict(zip(cohort.classes, map(float, thresholds), strict=True)),
        "seconds": float(log["seconds"].sum()),
        "device": best_device().type,
        "precision": str(layers.best_precision(best_device())).removeprefix("torch."),
        "machine": f"{platform.machine()} {platform.system()}, {torch.get_num_threads()} threads",
        **({"processes": distributed.processes()} if distributed.processes() > 1 else {}),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "sha256": {"predictions": fingerprint(predictions), "weights": fingerprint(network.state_dict())},
    }
