"""Are the committed results whole, and do their parts fit? Files, tables, answers, cards and runs, each by itself.

What ``verify`` recomputes is right only if what it recomputes from is: here NaN, probabilities above 1, rows
that are twice there or missing, names that are another record's, cards that do not fit their network, weights that do
not give the predictions beside them. Each fault is a sentence that names its file; nothing ends in an exception.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from ecgstudy import training
from ecgstudy.data.cohort import simulated_checksum
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import SEALS, crc32, listed
from ecgstudy.studies import ablations, class_runs, leaderboard
from ecgstudy.studies.checks import card, fault, read, restore, text_table, tried
from ecgstudy.systems import System, parameter_count
from ecgstudy.systems.catalogue import by_name

RECORDS = ["name", "patient_id", "source", "fold", *CLASSES]
CALLED = [f"called {c}" for c in CLASSES]
RUN_FILES = {"config.json", "log.csv", "metrics.json", "predictions.parquet", "weights.safetensors", "card.json"}
# Another machine, or another precision, gives other last digits.
PREDICTED = 1e-3
AGAIN = 4  # records of a run that are predicted again
# Tables that are made from recordings: columns that name a row, columns of text and numbers that are never empty.
TABLES = {
    "beats.csv": (["network", "split", "metric", "class"], []),
    "explanations.csv.gz": (["system", "method", "trial", "cohort", "trained", "class"], ["value", "low", "high", "n"]),
    "explanations_trial.csv.gz": (
        ["system", "method", "trial", "key", "cohort", "trained", "class"],
        ["value", "low", "high", "n", "trainings"],
    ),
    "verdicts.csv": (["question", "system", "method", "class"], ["value", "low", "high", "n", "trainings", "verdict"]),
    "sanity.csv": (["test", "system", "method", "measure", "step"], ["value", "low", "high", "n"]),
    "transfer.csv": (
        ["reader", "variety", "measure", "class"],
        ["value", "low", "high", "n", "positives", "trainings", "records"],
    ),
    "curve.csv": (
        ["reader", "records", "variety", "measure", "class"],
        ["value", "low", "high", "n", "positives", "trainings"],
    ),
    "starts.csv": (
        ["reader", "seen", "who", "tested", "measure", "class"],
        ["value", "low", "high", "n", "positives", "trainings"],
    ),
    "beat_transfer.csv": (["network", "reader", "tested", "metric", "class"], ["n", "trainings"]),
    "realism.csv": (["question", "group", "quantity", "statistic"], ["value", "n", "simulator"]),
    "audit.csv": (["source", "name"], []),
    "quality.csv": (["question", "source", "check", "fault", "strength"], ["n"]),
    "unlike.csv": (["question", "distance", "group"], ["value", "n"]),
    "costs.csv": (["task", "varied", "amount"], ["cpu_seconds", "wall_seconds", "peak_mib"]),
}
NUMBERS = (
    *("value", "low", "high", "n", "paper_value", "simulator", "fs", "seconds", "leads", "missing"),
    *("cpu_seconds", "wall_seconds", "peak_mib", "disk_mib"),
)


def _answers(folder: Path) -> list[str]:
    """Names of the answers in a folder; a file that is of none keeps its suffix."""
    found = (path for path in listed(folder) if path.name != "records.parquet")
    return sorted({path.stem if path.suffix in (".json", ".parquet") else path.name for path in found})


# --- records ---------------------------------------------------------------------------------------------------------


def record_faults(path: Path, folds: int) -> list[str]:
    """What is wrong with the committed records of a board."""
    table = read(path, pd.read_parquet)
    if list(table) != RECORDS or any(table[c].dtype != bool for c in CLASSES):
        return [fault(path, f"its columns are not {', '.join(RECORDS)}, the classes as booleans")]
    if table.isna().any(axis=None) or table["fold"].dtype.kind not in "iu":
        return [fault(path, "it has gaps, or folds that are no numbers")]
    wrong = [
        fault(path, f"record {name} of {source} is there twice")
        for source, name in table.loc[table.duplicated(["source", "name"]), ["source", "name"]].to_numpy()
    ]
    if sorted(table["fold"].unique()) != list(range(folds)):
        wrong.append(fault(path, f"its folds are not 0 … {folds - 1}"))
    spread = table.groupby("patient_id")["fold"].nunique()
    if (spread > 1).any():
        wrong.append(fault(path, f"patient {spread.idxmax()} is in several folds"))
    return wrong


_identity = lru_cache(maxsize=None)(synthetic.identity)


def drawn(records: Iterable[int], seed: int = 0, balance: float = 0.5) -> pd.DataFrame:
    """Names, patients and labels of simulated records as the simulator draws them, without simulating them."""
    rows = [_identity(int(index), seed, balance) for index in records]
    table = pd.DataFrame({"name": [r[0] for r in rows], "patient_id": [r[1] for r in rows], "source": "synthetic"})
    table[list(CLASSES)] = np.array([[c in labels for c in CLASSES] for *_, labels in rows])
    return table


def same_records(path: Path, expected: pd.DataFrame, source: str) -> list[str]:
    """Names, patients, sources and labels of committed records that are not those that they should be."""
    table = read(path, pd.read_parquet)
    if len(table) != len(expected):
        return [fault(path, f"{len(table)} records, {source} has {len(expected)}")]
    wrong = []
    for column in ("name", "patient_id", "source", *CLASSES):
        differs = np.flatnonzero(table[column].to_numpy() != expected[column].to_numpy())
        for row in differs[:1]:
            was, right = table[column].iloc[row], expected[column].iloc[row]
            wrong.append(fault(path, f"{column} of record {row} is {was}, {source} has {right}"))
    return wrong


def _as_simulated(path: Path) -> list[str]:
    """Records of a simulated board that are not those of the simulator: all boards test the same."""
    spec = leaderboard.simulated("synthetic")
    return same_records(path, drawn(range(spec["records"]), spec["seed"], spec["balance"]), "the simulator")


# --- answers ---------------------------------------------------------------------------------------------------------


def system_from(config: Mapping[str, Any]) -> System:
    """Make the system that a committed configuration is of."""
    cls = by_name(config["system"])
    variants = (question.variant for question in ablations.QUESTIONS.values() if question.system == cls.name)
    for candidate in (cls, *filter(None, variants)):
        try:
            return candidate.from_config(config)
        except ValueError as error:
            unknown = error
    raise unknown


@lru_cache(maxsize=256)
def _parameters(config: str) -> int:
    return parameter_count(system_from(json.loads(config)).network())


@lru_cache(maxsize=256)
def _multiply_adds(config: str) -> int:
    return leaderboard.multiply_adds(system_from(json.loads(config)))


def _size_faults(path: Path, said: Mapping[str, Any]) -> list[str]:
    """Sizes in a card that are not those of the network that its configuration makes."""
    config, sizes = json.dumps(said["config"]), {"parameters": _parameters, "multiply_adds": _multiply_adds}
    found = {name: size_of(config) for name, size_of in sizes.items() if name in said}
    return [fault(path, f"{k} {said[k]}, its network has {size}") for k, size in found.items() if said[k] != size]


def _runs(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(n, str) and len(n) == 12 for n in names) and len(names) > 0


def _beyond(table: pd.DataFrame, low: float, high: float) -> bool:
    """Whether an answer holds NaN, or numbers that are too small or too large."""
    values = table[list(CLASSES)].to_numpy()
    return values.dtype.kind != "f" or not ((values >= low) & (values <= high)).all()


def entry_faults(path: Path, tested: pd.DataFrame, folds: int) -> list[str]:
    """What is wrong with a committed answer of the leaderboard, its card (``path``) and its table."""
    said = card(path, entry=str, cohort=str, wall_seconds=(int, float), torch=str, machine=str, sha256=str)
    file = path.with_suffix(".parquet")
    table = read(file, pd.read_parquet)
    if list(table) != [*CLASSES, *CALLED]:
        return [fault(file, "its columns are not those of an answer")]
    wrong = []
    if len(table) != len(tested):
        wrong.append(fault(file, f"{len(table)} answers to {len(tested)} records"))
    if _beyond(table, 0, 1):
        wrong.append(fault(file, "it holds what is no probability (NaN, below 0, above 1)"))
    if any(table[c].dtype != bool for c in CALLED):
        wrong.append(fault(file, "it holds calls that are neither true nor false"))
    if not wrong and training.fingerprint(tested, table) != said["sha256"]:
        wrong.append(fault(file, f"the answer of {path.stem!r} is not the one that its card was written for"))
    if said["entry"] != path.stem:
        wrong.append(fault(path, f"it is the card of {said['entry']!r}"))
    if path.stem in leaderboard.BASELINES:
        return wrong
    said = card(path, config=dict, runs=list, parameters=int, multiply_adds=int, training_seconds=(int, float))
    folds = 1 if path.stem.endswith(leaderboard.ALONE) else folds  # one network answers all of them
    if not _runs(said["runs"]) or len(said["runs"]) % folds or len(set(said["runs"])) < len(said["runs"]):
        wrong.append(fault(path, f"its runs are not those of {folds} folds"))
    return wrong + _size_faults(path, said)


def board_faults(board: str) -> list[str]:
    """What is wrong with the committed answers of a board; without any, what is computed from them is sound."""
    folder, cohorts = leaderboard.FOLDER / board, dict[Any, str]()
    if board not in leaderboard.BOARDS:
        return [fault(folder, "it is of no board", "delete it")]
    path, folds = folder / "records.parquet", leaderboard.BOARDS[board].folds
    if wrong := tried(path, record_faults, folds):
        return wrong
    if leaderboard.BOARDS[board].simulated:
        wrong += tried(path, _as_simulated)
    tested = pd.read_parquet(path)
    for name in _answers(folder):
        if (folder / name).exists():
            wrong.append(fault(folder / name, "it belongs to no answer", "delete it"))
            continue
        path = folder / f"{name}.json"
        faults = tried(path, entry_faults, tested, folds)
        wrong += faults or _one_cohort(path, cohorts)
    return wrong


def _one_cohort(path: Path, cohorts: dict[Any, str]) -> list[str]:
    """Whether a card names the cohort that the cards before it name at its rate."""
    said = card(path)
    fs, cohort = said.get("config", said).get("fs"), said["cohort"]
    first = cohorts.setdefault(fs, cohort)
    return [] if first == cohort else [fault(path, f"cohort {cohort}, others at {fs} Hz have {first}")]


def arm_faults(path: Path, answered: pd.DataFrame) -> list[str]:
    """What is wrong with a committed arm of an ablation, its card (``path``) and its table.

    A run's name is the hash of what it was made of; so the names also tell whether configuration, cohort and records
    are those of the runs.
    """
    said = card(path, question=str, arm=str, cohort=str, config=dict, runs=list, parameters=int, logs=dict, sha256=str)
    file, folds = path.with_suffix(".parquet"), ablations.FOLDS
    table = read(file, pd.read_parquet)
    if list(table) != ["record", "part", *CLASSES, "run", "fold", "member"]:
        return [fault(file, "its columns are not those of an answer")]
    wrong = []
    if (said["question"], said["arm"]) != (path.parent.name, path.stem):
        wrong.append(fault(path, f"it is the card of {said['question']}: {said['arm']}"))
    if _beyond(table, -17, 17):
        wrong.append(fault(file, "it holds what is no log-odds of a probability"))
    if len(said["runs"]) != folds or not all(map(_runs, said["runs"])):
        return [*wrong, fault(path, f"its runs are not those of {folds} folds")]
    whole = {(f, m): name for f, of_fold in enumerate(said["runs"]) for m, name in enumerate(of_fold)}
    if set(whole.values()) != said["logs"].keys():
        wrong.append(fault(path, "its logs are not those of its runs"))
    for name, log in said["logs"].items():
        wrong += [fault(path, f"log of {name}: {what}") for what in log_faults(pd.DataFrame(log))]
    found = {key: rows for key, rows in iter(table.groupby(["fold", "member"]))}  # noqa: C416
    if found.keys() != whole.keys():
        return [*wrong, fault(file, "it has not one answer for each run of its card")]
    for (fold, member), rows in found.items():
        parts = {part: rows.loc[rows["part"] == part, "record"].to_numpy() for part in ("valid", "test")}
        known, everything = np.concatenate(list(parts.values())), np.arange(len(answered))
        if len(known) < len(rows) or len(np.unique(known)) < len(known) or not np.isin(known, everything).all():
            wrong.append(fault(file, f"fold {fold} answers a record twice, or one that is not there"))
        elif not np.array_equal(np.sort(parts["test"]), np.flatnonzero(answered["fold"] == fold)):
            wrong.append(fault(file, f"fold {fold} does not answer the records of its fold"))
        else:
            parts["train"] = np.setdiff1d(everything, known)
            config = said["config"] | {"seed": int(fold + member * folds), "cohort": said["cohort"]}
            made, run = training.name_of(config | {"split": training.split_names(parts)}), whole[fold, member]
            if {made} != {run, *rows["run"].astype(str)}:
                wrong.append(
                    fault(path, f"run {run} is of another configuration, cohort or records; these make {made}")
                )
    if not wrong and training.fingerprint(answered, table) != said["sha256"]:
        wrong.append(fault(file, f"the answer of {path.stem!r} is not the one that its card was written for"))
    return wrong + _size_faults(path, said)


def ablation_faults(cohort: str) -> dict[str, list[str]]:
    """What is wrong with the committed answers on a cohort, by question; under an empty name what concerns all."""
    folder, cohorts = ablations.FOLDER / cohort, dict[Any, str]()
    if cohort not in ablations.COHORTS:
        return {"": [fault(folder, "it is of no cohort", "delete it")]}
    path = folder / "records.parquet"
    if wrong := tried(path, record_faults, ablations.FOLDS):
        return {"": wrong}
    faults, answered = {"": wrong}, pd.read_parquet(path)
    if cohort == "synthetic":
        wrong += tried(path, _as_simulated)
    for question in listed(folder):
        arms = ablations.QUESTIONS[question.name].arms if question.name in ablations.QUESTIONS else {}
        if not arms and question != path:
            wrong.append(fault(question, "it belongs to no question", "delete it"))
        for name in _answers(question) if arms else ():
            found = faults.setdefault(question.name, [])
            if name in arms:
                card_of = question / f"{name}.json"
                found += tried(card_of, arm_faults, answered) or _one_cohort(card_of, cohorts)
            else:
                found.append(fault(question / name, "it belongs to no arm", "delete it"))
    return faults


# --- runs ------------------------------------------------------------------------------------------------------------


def log_faults(log: pd.DataFrame) -> list[str]:
    """What is wrong with the log of a training: a row an epoch, from 1, with numbers."""
    if not {"epoch", "loss", "valid"} <= set(log) or log.empty:
        return ["it lacks epochs, losses or validation scores"]
    numbers = log.apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy(float)).all():
        return ["it holds what is no number"]
    return [] if numbers["epoch"].tolist() == list(range(1, len(log) + 1)) else ["its epochs are not 1, 2, 3 …"]


def _known(config: Mapping[str, Any], records: pd.Series) -> tuple[pd.DataFrame | None, dict[str, Any] | None]:
    """Names and labels of records of a run's cohort, if they are known; how it is simulated, if it is."""
    specs = [leaderboard.simulated(name) for name, board in leaderboard.BOARDS.items() if board.simulated]
    specs += [*leaderboard.STARTS.values(), *class_runs.cohorts()]
    for spec in specs:
        if simulated_checksum(fs=config["fs"], **spec) == config["cohort"]:
            return drawn(records, **{k: spec[k] for k in ("seed", "balance") if k in spec}), spec
    real = leaderboard.FOLDER / "real"
    for path in listed(real):
        if path.suffix == ".json" and card(path).get("cohort") == config["cohort"]:
            return read(real / "records.parquet", pd.read_parquet).iloc[records], None
    return None, None


def run_faults(folder: Path) -> list[str]:
    """What is wrong with a committed run: its files, its name, its card, its weights and what they predict."""
    if not folder.is_dir():
        return [fault(folder, "it is no run", "delete it")]
    there = {path.name for path in listed(folder)}
    wrong = [fault(folder / name, "it belongs to no run", "delete it") for name in sorted(there - RUN_FILES)]
    wrong += [fault(folder / name, "it is missing") for name in sorted(RUN_FILES - there)]
    return wrong if RUN_FILES - there else wrong + tried(folder, _whole_run_faults)


def _whole_run_faults(folder: Path) -> list[str]:
    at = {name: folder / name for name in RUN_FILES}
    config = card(at["config.json"], system=str, fs=(int, float), cohort=str, split=dict, seed=int)
    said = card(at["card.json"], records=dict, sha256=dict, seconds=(int, float))
    log = read(at["log.csv"], pd.read_csv)
    table = read(at["predictions.parquet"], pd.read_parquet)
    if (made := training.name_of(config)) != folder.name:
        return [fault(folder, f"its configuration is that of {made}")]
    system = system_from({k: v for k, v in config.items() if k not in ("seed", "cohort", "split", "start", "mean_of")})
    network = system.network()
    weights = read(at["weights.safetensors"], lambda path: training.read_weights(path, network))

    wrong = [fault(at["log.csv"], what) for what in log_faults(log)]
    shapes, own = ({k: tuple(v.shape) for k, v in state.items()} for state in (weights, network.state_dict()))
    if shapes != own:
        wrong.append(fault(at["weights.safetensors"], "they are those of another network"))
    elif not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        wrong.append(fault(at["weights.safetensors"], "they hold NaN or infinity"))
    elif said["sha256"].get("weights") != training.fingerprint(weights):
        wrong.append(fault(at["weights.safetensors"], "they are not those that the card was written for"))
    if list(table) != ["record", "name", "split", *CLASSES]:
        return [*wrong, fault(at["predictions.parquet"], "its columns are not those of a run")]
    if _beyond(table, 0, 1):
        wrong.append(fault(at["predictions.parquet"], "it holds what is no probability (NaN, below 0, above 1)"))
    elif said["sha256"].get("predictions") != training.fingerprint(table):
        wrong.append(fault(at["predictions.parquet"], "they are not those that the card was written for"))
    parts = {part: rows.to_numpy() for part, rows in table.groupby("split")["record"]}
    parts["train"] = np.setdiff1d(np.arange(sum(said["records"].values())), table["record"])
    if {part: len(rows) for part, rows in parts.items()} != said["records"] or table["record"].duplicated().any():
        wrong.append(fault(folder, f"records {said['records']} of its card are not those of its predictions"))
    elif training.split_names(parts) != config["split"]:
        wrong.append(fault(at["predictions.parquet"], "its records are not those of the configuration"))
    if wrong:
        return wrong

    expected = {"system": system.name, "paper": system.paper, "cohort": config["cohort"]}
    expected |= {"parameters": parameter_count(network), "best_epoch": int(log["valid"].idxmax()) + 1}
    if not abs(said["seconds"] - log["seconds"].sum()) < 0.01:
        wrong.append(fault(at["card.json"], f"seconds {said['seconds']}, the log has {log['seconds'].sum():.2f}"))
    known, spec = _known(config, table["record"])
    if known is not None:
        expected["thresholds"], faults = _scored(system, at, log, table, known)
        wrong += faults
    for name, value in expected.items():
        if said.get(name) != value:
            wrong.append(fault(at["card.json"], f"{name} {said.get(name)}, expected {value}"))
    if spec is not None and not wrong:
        network.load_state_dict(weights)
        wrong += _predicted_again(folder, system, network.eval(), spec, table)
    return wrong


def _scored(
    system: System, at: Mapping[str, Path], log: pd.DataFrame, table: pd.DataFrame, known: pd.DataFrame
) -> tuple[dict[str, float], list[str]]:
    """Thresholds that follow from a run's predictions, and names and scores that do not."""
    wrong, scores = [], card(at["metrics.json"])
    for row in np.flatnonzero(table["name"].to_numpy() != known["name"].to_numpy())[:1]:
        name, right = table["name"].iloc[row], known["name"].iloc[row]
        wrong.append(fault(at["predictions.parquet"], f"it calls a record {name} that is {right}"))
    targets, p = known[list(CLASSES)].to_numpy(dtype=bool), table[list(CLASSES)].to_numpy()
    rows = {part: (table["split"] == part).to_numpy() for part in table["split"].unique()}
    found = {part: system.selection(targets[chosen], p[chosen]) for part, chosen in rows.items()}
    if scores.keys() != found.keys() or not all(abs(scores[part] - value) < 1e-6 for part, value in found.items()):
        wrong.append(fault(at["metrics.json"], f"its scores {scores} are not those of the predictions, {found}"))
    # Weights that are kept in eight bits answer a little differently from those of the log, and a mean has none.
    elif "mean_of" not in card(at["config.json"]) and not (
        abs(log["valid"].max() - found["valid"]) < (0.1 if card(at["card.json"]).get("kept") else 1e-6)
    ):
        wrong.append(fault(at["log.csv"], f"its best validation score is not {found['valid']}, the predictions'"))
    thresholds = system.thresholds(targets[rows["valid"]], p[rows["valid"]])
    return dict(zip(CLASSES, map(float, thresholds), strict=True)), wrong


@torch.inference_mode()
def _predicted_again(
    folder: Path, system: System, network: torch.nn.Module, spec: Mapping[str, Any], table: pd.DataFrame
) -> list[str]:
    """Whether the weights give the committed predictions of a few simulated records, from all over the table."""
    spec = dict(spec)
    seed, _ = spec.pop("seed", 0), spec.pop("records")
    for _, row in table.iloc[np.linspace(0, len(table) - 1, AGAIN).astype(int)].iterrows():
        record = synthetic.simulate(int(row["record"]), seed, fs=system.fs, **spec).record
        windows = torch.from_numpy(np.stack(system.windows(record.signal)))
        p = torch.sigmoid(network(windows).float()).mean(dim=0).numpy()
        difference = np.abs(p - row[list(CLASSES)].to_numpy(float)).max()
        if not difference < PREDICTED:
            return [fault(folder, f"its weights do not predict what it says of {row['name']}, by {difference:.3f}")]
    return []


# --- tables from recordings ------------------------------------------------------------------------------------------


def table_faults(path: Path, command: str) -> list[str]:
    """What is wrong with a table that is made from recordings, by ``command``: its rows, else its bytes."""
    return _row_faults(path, command) or _seal_faults(path, command)


def _seal_faults(path: Path, command: str) -> list[str]:
    """Whether a table is as it was written: rows that it lacks leave no trace in the others."""
    seals = path.with_name(SEALS)
    if not seals.exists() or card(seals).get(path.name) == crc32(path):
        return []
    what = "it is not as its command wrote it, rows may be missing"
    return [fault(path, what, f"{restore(path)}, or make it again: `{command}`")]


def _row_faults(path: Path, command: str) -> list[str]:
    keys, filled = TABLES[path.name]
    table, remedy = text_table(path), f"{restore(path)}, or make it again: `{command}`"
    if missing := [c for c in (*keys, *filled) if c not in table]:
        return [fault(path, f"it has no column {', '.join(missing)}", remedy)]
    faults, numbers = [(row, "it is there twice") for row in table.index[table.duplicated(keys)]], {}
    for column in (c for c in NUMBERS if c in table):
        numbers[column] = pd.to_numeric(table[column].where(table[column] != ""), errors="coerce")
        bad = (table[column] == "") if column in filled else False
        bad |= (table[column] != "") & ~np.isfinite(numbers[column])
        faults += [(row, f"{column} is {table.loc[row, column]!r}") for row in table.index[bad]]
    if {"value", "low", "high"} <= numbers.keys():
        value, low, high = (numbers[name] for name in ("value", "low", "high"))
        # A basic bootstrap takes out what sampling adds to a distance, which can then lie above its limits.
        within = table["statistic"] != "KS" if "statistic" in table else True
        bad = (low.isna() != high.isna()) | (low > high) | (((value < low) | (value > high)) & within)
        faults += [
            (row, f"{value[row]} is not within its limits {low[row]} and {high[row]}") for row in table.index[bad]
        ]
    return [fault(path, f"{', '.join(table.loc[row, keys])}: {what}", remedy) for row, what in faults]


def audit_faults(path: Path, command: str) -> list[str]:
    """What is wrong with ``audit.csv``: its rows, and whether it has the records of the real cohort as they are."""
    table, tested = text_table(path), leaderboard.FOLDER / "real" / "records.parquet"
    remedy = f"{restore(path)}, or make it again: `{command}`"
    if missing := [c for c in ("source", "name", "patient_id", *CLASSES) if c not in table]:
        return [fault(path, f"it has no column {', '.join(missing)}", remedy)]
    wrong = _row_faults(path, command)
    if wrong or not tested.exists():
        return wrong or _seal_faults(path, command)
    names, known = ["source", "name"], table.set_index(["source", "name"])
    records = read(tested, pd.read_parquet).astype(str).set_index(names)
    both = records.index.intersection(known.index)
    faults = [(row, "it is missing, and the real cohort has it") for row in records.index.difference(both)]
    for column in ("patient_id", *CLASSES):
        differs = known.loc[both, column] != records.loc[both, column]
        faults += [(row, f"{column} is not as the real cohort has it") for row in both[differs]]
    return [fault(path, f"{', '.join(row)}: {what}", remedy) for row, what in faults] or _seal_faults(path, command)


def arrays_faults(path: Path, command: str) -> list[str]:
    """What is wrong with arrays that are kept of recordings: they are finite, and as they were written."""
    arrays = read(path, load_file)
    if not (arrays and all(bool(torch.isfinite(values).all()) for values in arrays.values())):
        return [fault(path, "it holds NaN or infinity, or nothing", f"{restore(path)}, or make it again: `{command}`")]
    return _seal_faults(path, command)


def attack_faults(path: Path, remedy: str = "") -> list[str]:
    """What is wrong with the counts of ``attack.json``."""
    wrong = []
    for kind, row in card(path)["kinds"].items():
        counts = [row[key] for key in ("tried", "refused", "read", "failed")]
        if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts[1:]) != counts[0]:
            wrong.append(fault(path, f"the counts of {kind} do not add up", remedy))
    return wrong


def bench_faults(path: Path, command: str) -> list[str]:
    """What is wrong with the measurements of ``bench.json``."""
    wrong, remedy = [], f"{restore(path)}, or measure again: `{command}`"
    for name, row in card(path).items():
        numbers: list[Any] = [row.get(k) if isinstance(row, dict) else None for k in ("ours", "other", "ratio")]
        ours, other, ratio = numbers
        if not all(isinstance(n, int | float) and 0 < n < np.inf for n in numbers):
            wrong.append(fault(path, f"{name} has no positive numbers", remedy))
        elif min(abs(ratio * a / b - 1) for a, b in ((ours, other), (other, ours))) > 0.01:
            wrong.append(fault(path, f"ratio of {name} is {ratio}, not that of its numbers", remedy))
    return wrong
