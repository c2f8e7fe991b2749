"""Do the committed results hold? Recompute every number from the committed answers; train one run again and compare."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from scipy.special import expit

from ecgstudy import ablation_tables, ablations, claims, leaderboard, training
from ecgstudy.data.cohort import simulated_checksum
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import RESULTS, listed
from ecgstudy.systems import System

ROUNDING = 0.5e-4 + 1e-9  # of the tables' four decimals
# Results files that are made from recordings and networks, which are not committed → what makes them again.
FROM_RECORDINGS = {
    "audit.csv": "ecgstudy data audit",
    "beats.csv": "ecgstudy run 07_beat_gradcam --profile real -p save=true",
    "explanations.csv.gz": "python -m ecgstudy.explain.results",
    "realism.csv": "python -m ecgstudy.realism",
    "bench.json": "make bench",
    "attack.json": "make attack",
}
SMALLEST = "synthetic/gamma/gamma 0/0"
# Training again on the same kind of machine gives the same probabilities, but for the half precision in which their
# log-odds are committed.
SAME = 2e-4
COMPARED = ["AUROC", "F1", "F2", "exact match"]


@dataclass(frozen=True)
class Check:
    """A results file against what its sources give.

    Parameters
    ----------
    file
        Under ``results/``.
    values
        How many were compared.
    largest
        Difference of a committed number from the recomputed one, not rounded.
    wrong
        What does not agree, in words.
    """

    file: str
    values: int
    largest: float
    wrong: list[str]


def compare(file: str, committed: pd.DataFrame, computed: pd.DataFrame, keys: Sequence[str]) -> Check:
    """Compare two tables row by row: numbers within the rounding, all else as text.

    Parameters
    ----------
    file
        Name of the committed one.
    committed
        As text, empty where there is nothing (``read``).
    computed
        With numbers as they were computed.
    keys
        Columns that name a row.
    """
    wrong = []
    if list(committed) != list(computed):
        return Check(file, 0, np.nan, [f"columns {list(committed)}, expected {list(computed)}"])
    numbers = [c for c in computed if computed[c].dtype.kind == "f"]
    texts = [c for c in computed if c not in numbers and c not in keys]
    sides = []
    for table in (committed, computed):
        table = table.astype(dict.fromkeys((*keys, *texts), str)).set_index(list(keys))
        sides.append(table.assign(**{c: pd.to_numeric(table[c], errors="coerce") for c in numbers}))
    old, new = sides
    wrong += [f"{row} is there twice" for row in old.index[old.index.duplicated()].unique()]
    wrong += [f"{row} is not computed any more" for row in old.index.difference(new.index)]
    wrong += [f"{row} is missing" for row in new.index.difference(old.index)]
    old = old[~old.index.duplicated()]
    both = old.index.intersection(new.index)
    old, new = old.loc[both], new.loc[both]
    for column in texts:
        differ = old[column] != new[column]
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]}" for row in both[differ]]
    difference = (old[numbers] - new[numbers]).abs()
    for column in numbers:
        differ = (difference[column] > ROUNDING) | (old[column].isna() != new[column].isna())
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]:.6f}" for row in both[differ]]
    known = int(new[numbers].notna().to_numpy().sum()) + len(both) * len(texts)
    return Check(file, known, float(np.nanmax(difference.to_numpy(), initial=0)), wrong)


def read(file: str) -> pd.DataFrame:
    """Results file as text; no rows where it is not there."""
    path = RESULTS / file
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame()


def check_leaderboard() -> Check:
    """``leaderboard.csv`` against the committed answers of every trial."""
    trials = [trial for trial in leaderboard.TRIALS if (leaderboard.FOLDER / trial).exists()]
    computed = pd.concat([leaderboard.table(trial) for trial in trials])
    computed["paper_value"] = computed["paper_value"].astype(float)
    return compare("leaderboard.csv", read("leaderboard.csv"), computed, ["system", "cohort", "metric", "class"])


def check_ablations() -> Check:
    """``ablations.csv`` against the committed answers of every arm."""
    tables = [
        ablation_tables.table(cohort, question)
        for cohort in ablations.COHORTS
        for question in ablations.QUESTIONS
        if ablations.arms_of(cohort, question)
    ]
    tables = [table for table in tables if len(table)]
    committed = read("ablations.csv")
    if not tables:
        return Check("ablations.csv", 0, 0.0, ["its answers are not there"] if len(committed) else [])
    return compare("ablations.csv", committed, pd.concat(tables), ["question", "arm", "cohort", "metric"])


def check_claims() -> Check:
    """``claims.yaml`` against the rows that its claims name."""
    values, largest, wrong = 0, 0.0, []
    for claim in claims.load():
        for name, found in claims.recompute(claim).items():
            values += found is not None
            if claim[name] != found:
                wrong.append(f"{claim['system']}: {claim['claim']}: {name} {claim[name]}, expected {found}")
            if isinstance(found, float) and isinstance(claim[name], float):
                largest = max(largest, abs(claim[name] - found))
    return Check("claims.yaml", values, largest, wrong)


def check_settings() -> Check:
    """``provenance.yaml`` against the configuration of every committed answer."""
    wrong, count = [], 0
    for where, trial, arm, config in committed_configs():
        found, said = settings_of(where, trial, arm, config)
        count, wrong = count + found, wrong + said
    return Check("provenance.yaml", count, 0.0, wrong)


def check_simulated() -> Check:
    """Answers on simulated records against the simulator as it is now: the checksum of the cohort they were made on."""
    wrong = []
    paths = [*listed(leaderboard.FOLDER, "synthetic*/*.json"), *listed(ablations.FOLDER, "synthetic/*/*.json")]
    for path in paths:
        card = json.loads(path.read_text(encoding="utf-8"))
        fs, trial = card.get("config", card)["fs"], path.relative_to(RESULTS).parts[1]
        now = simulated_checksum(fs=fs, **leaderboard.simulated(trial))
        if card["cohort"] != now:
            wrong.append(f"{path.relative_to(RESULTS)}: of cohort {card['cohort']}, which is {now} now")
    return Check("leaderboard/synthetic* and ablations/synthetic", len(paths), 0.0, wrong)


def check_runs() -> Check:
    """``runs``: each one's name against its configuration, its predictions against the answer that names it."""
    folders = {path.name: path for path in listed(RESULTS / "runs")}
    names = {
        name: training.name_of(json.loads((path / "config.json").read_text(encoding="utf-8")))
        for name, path in folders.items()
    }
    wrong = [f"runs/{name}: its configuration is that of {of}" for name, of in names.items() if name != of]
    values, largest = len(names), 0.0
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        trial, entry = path.parent.name, path.stem
        of, fold = json.loads(path.read_text(encoding="utf-8")).get("runs", []), leaderboard.records_of(trial)["fold"]
        if not folders.keys() >= set(of) or len(of) != fold.nunique():  # what several answer together is no run's
            continue
        answer = pd.read_parquet(path.with_suffix(".parquet"))[list(CLASSES)]
        for number, run in enumerate(leaderboard.runs_of(trial, entry)):
            rows = run.predictions[run.predictions["split"] == "test"].sort_values("record")
            differ = np.abs(answer[fold == number].to_numpy() - rows[list(CLASSES)].to_numpy())
            values, largest = values + differ.size, max(largest, float(differ.max()))
            if differ.max() > ROUNDING:
                wrong.append(f"leaderboard/{trial}/{entry}: fold {number} is not what runs/{run.folder.name} answered")
    return Check("runs", values, largest, wrong)


def checks() -> Iterator[Check]:
    """Every results file that can be recomputed from what is committed."""
    for check in (check_leaderboard, check_ablations, check_claims, check_settings, check_simulated, check_runs):
        yield check()


# --- where settings come from ----------------------------------------------------------------------------------------


def provenance() -> dict[str, Any]:
    """``results/provenance.yaml``: system → setting → values that differ from the paper's, why, and tuned on what."""
    return yaml.safe_load((RESULTS / "provenance.yaml").read_text(encoding="utf-8"))


def committed_configs() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Where it stands, trial, what an ablation's arm changes, and configuration of every committed network."""
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        if config := json.loads(path.read_text(encoding="utf-8")).get("config"):
            yield path.relative_to(leaderboard.FOLDER).as_posix(), path.parent.name, {}, config
    for path in listed(ablations.FOLDER, "*/*/*.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        arm = ablations.QUESTIONS[card["question"]].arms[card["arm"]]
        yield path.relative_to(ablations.FOLDER).as_posix(), path.parent.parent.name, arm, card["config"]


def published(name: str) -> dict[str, Any]:
    """Settings of a system as its paper (or, for what the paper leaves open, its chapter) has them, as JSON."""
    classes: dict[str, type[System]] = {cls.name: cls for cls, _ in leaderboard.CHAPTERS.values()}
    classes |= {system.name: type(system) for system in leaderboard.OUTSIDE.values()}
    extra = dataclasses.asdict(ablations.AlteredECGMaster()) if name == "ECGMaster" else {}
    return json.loads(json.dumps(extra | dataclasses.asdict(classes[name]())))


def settings_of(where: str, trial: str, arm: dict[str, Any], config: dict[str, Any]) -> tuple[int, list[str]]:
    """Number of settings of a committed network that differ from the paper's, and what is wrong with them.

    Wrong is a setting that neither its ablation's question nor ``provenance.yaml`` names, and one that was tuned on
    the cohort on which the answer is tested, unless it is owned to as an exception: every record of a trial is tested
    once, so none is free to tune on.
    """
    known, wrong = provenance()["settings"].get(config["system"], {}), []
    default = published(config["system"])
    differing = [s for s in config if s not in ("system", "version") and config[s] != default.get(s, ...)]
    for setting in differing:
        if setting in arm and arm[setting] == config[setting]:
            continue
        entry, what = known.get(setting), f"{where}: {setting} = {config[setting]}"
        if entry is None or config[setting] not in entry["values"]:
            wrong.append(f"{what} differs from {default.get(setting)}, and nothing says why")
        elif (entry["why"] == "tuned") != ("data" in entry):
            wrong.append(f"{what} was tuned, or was it? Its entry does not say on what")
        elif not entry.get("exception") and any(
            data.items() >= tested_on(trial).items() for data in entry.get("data", ())
        ):
            wrong.append(f"{what} was tuned on the records that it is tested on")
    return len(differing), wrong


def tested_on(trial: str) -> dict[str, Any]:
    """Cohort (and seed, if it is simulated) that the answers of a trial are tested on."""
    if trial.startswith("synthetic"):
        return {"cohort": "synthetic", "seed": leaderboard.simulated(trial)["seed"]}
    return {"cohort": "real"}


# --- once more -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Again:
    """A committed run beside the same one trained anew.

    Parameters
    ----------
    largest
        Difference of a probability, over validation and test records.
    scores
        Of the test records: one row a metric, columns committed, again, tolerance. Another machine makes another
        network, as another seed does, so a score may differ by what two runs of the arm differ by in 95 of 100 cases:
        by the scatter of its committed folds and Student's t.
    seconds
        Of the new training.
    """

    largest: float
    scores: pd.DataFrame
    seconds: float

    @property
    def right(self) -> bool:
        """Whether every score is within its tolerance."""
        return bool(((self.scores["committed"] - self.scores["again"]).abs() <= self.scores["tolerance"]).all())


def train_again(name: str) -> Again:
    """Train a committed run of an ablation (its first member) once more, in a cache of its own.

    Parameters
    ----------
    name
        ``cohort/question/arm/fold``. The real cohort needs the recordings.

    Raises
    ------
    ValueError
        when there is no such run, or when data or settings are no longer those that it was made with.
    """
    parts = name.split("/")
    if len(parts) != 4 or parts[0] not in ablations.COHORTS or parts[1] not in ablations.QUESTIONS:
        raise ValueError(f"no run {name!r}: write COHORT/QUESTION/ARM/FOLD, as in {SMALLEST!r}")
    cohort, question, arm, fold = parts
    if fold not in map(str, range(ablations.FOLDS)):
        raise ValueError(f"no fold {fold!r}: folds are numbered from 0 to {ablations.FOLDS - 1}")
    if arm not in (there := ablations.arms_of(cohort, question)):
        raise ValueError(f"no answer of {cohort}/{question}/{arm} is committed; there are {', '.join(there) or 'none'}")
    card = ablations.card_of(cohort, question, arm)
    system, _ = ablations.system_of(question, arm, cohort)
    before = os.environ.get("ECGSTUDY_CACHE")
    with TemporaryDirectory() as folder:
        os.environ["ECGSTUDY_CACHE"] = folder
        try:
            data = leaderboard.cohort_of(cohort, system.fs)
            same = data.checksum == card["cohort"]
            run = ablations.train_run(system, data, int(fold), folds=ablations.FOLDS) if same else None
            made, committed = run and run.folder.name, card["runs"][int(fold)][0]
            if made != committed:
                what = f"its settings make {made}" if run else f"its cohort {card['cohort']} is now {data.checksum}"
                raise ValueError(f"{name} cannot be trained again as the run {committed}: {what}")
            new, log, seconds = ablations.answered(run), run.log, run.card["seconds"]
        finally:
            os.environ.pop("ECGSTUDY_CACHE")
            if before is not None:
                os.environ["ECGSTUDY_CACHE"] = before
    old = pd.read_parquet(ablations.path(cohort, question, arm, ".parquet")).query("member == 0")
    for table in (old, new):  # both from the half precision in which answers are kept
        table[list(CLASSES)] = expit(table[list(CLASSES)].astype(np.float64))
    labels = ablations.records_of(cohort)[list(CLASSES)].to_numpy(dtype=bool)

    def scores(rows: pd.DataFrame) -> pd.Series:
        tested = ablation_tables.joined([rows], labels, [log])
        return pd.Series(ablation_tables.scores_of(tested, tested))[COMPARED]

    folds = pd.DataFrame({str(number): scores(rows) for number, rows in old.groupby("fold")})
    tolerance = folds.std(axis=1) * np.sqrt(2) * stats.t.ppf(0.975, folds.shape[1] - 1)
    table = pd.DataFrame({"committed": folds[fold], "again": scores(new), "tolerance": tolerance})
    same = old[old["fold"] == int(fold)].set_index("record")[list(CLASSES)]
    largest = (same - new.set_index("record")[list(CLASSES)]).abs().to_numpy().max()
    return Again(float(largest), table, seconds)


# --- for the page on reproducibility ---------------------------------------------------------------------------------


def run_table() -> str:
    """Markdown table: for every committed answer its runs, time of training and cohort; below it, the machines."""
    rows: list[tuple[str, str, int, float, dict[str, Any]]] = []
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        if not path.stem.endswith(", one"):
            seconds = card.get("training_seconds", card["wall_seconds"])
            rows.append((f"leaderboard/{path.parent.name}", path.stem, len(card.get("runs", [])), seconds, card))
    for folder in listed(ablations.FOLDER, "*/*"):
        cards = [json.loads(path.read_text(encoding="utf-8")) for path in listed(folder, "*.json")]
        if cards:
            runs = sum(len(of_fold) for card in cards for of_fold in card["runs"])
            what = f"{folder.name}: {len(cards)} of {len(ablations.QUESTIONS[folder.name].arms)} arms"
            seconds = sum(card["seconds"] for card in cards)
            rows.append((f"ablations/{folder.parent.name}", what, runs, seconds, cards[0]))
    head = ("under `results/`", "answers", "runs", "minutes", "cohort")
    lines, before = [head, ("---",) * len(head)], ""
    for where, what, runs, seconds, card in rows:
        place = "" if where == before else where
        lines.append((place, what, str(runs or ""), f"{seconds / 60:.1f}", f"`{card['cohort']}`"))
        before = where
    machines = Counter(f"{card['machine']}, torch {card['torch']}" for *_, card in rows)
    text = "".join(f"- {count} rows of the table: {machine}\n" for machine, count in machines.items())
    return _markdown(lines) + "\n" + text


def attack_table() -> str:
    """Markdown table of ``attack.json``: what the reading, fetching and building of the study were put to."""
    path = RESULTS / "attack.json"
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.exists() else {}
    lines = [("what", "tried", "refused", "read or right", "failed", "seconds"), ("---", *("---:",) * 5)]
    for name, row in kinds.items():
        counts = (f"{row[key]:,}" for key in ("tried", "refused", "read", "failed"))
        lines.append((name, *counts, f"{row['seconds']:,.0f}"))
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def settings_table() -> str:
    """Markdown table of ``provenance.yaml``: settings that differ from the paper's, and why."""
    lines = [("system", "setting", "here", "the paper", "why"), ("---",) * 5]
    for system, entries in provenance()["settings"].items():
        default = published(system)
        for number, (setting, entry) in enumerate(entries.items()):
            here = ", ".join("none" if value is None else f"{value}" for value in entry["values"])
            why = entry["why"]
            for place, data in enumerate(entry.get("data", ())):
                seed = f" of seed {data['seed']}" if "seed" in data else ""
                why += f"{' and' if place else ''} on {data['cohort']} records{seed} ({data['part']})"
            why += f": {entry['note']}" if "note" in entry else ""
            lines.append((system if not number else "", f"`{setting}`", here, f"{default[setting]}", why))
    return _markdown(lines)


def exceptions() -> str:
    """Markdown list of the choices that were made with records in view that are tested on."""
    return "".join(f"- {text}\n" for text in provenance()["exceptions"])
