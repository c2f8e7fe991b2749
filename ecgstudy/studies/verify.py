"""Do the committed results hold? Recompute every number from the committed answers; train one run again and compare."""

import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from scipy.special import expit

from ecgstudy.data.cohort import simulated_checksum
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import RESULTS, listed
from ecgstudy.studies import ablation_tables, ablations, claims, intact, leaderboard
from ecgstudy.systems.catalogue import by_name

ROUNDING = 0.5e-4 + 1e-9  # of tables of four decimals; more are held to what they show
# Results files that are made from recordings and networks, which are not committed → what makes them again.
FROM_RECORDINGS = {
    "audit.csv": "ecgstudy data audit",
    "beats.csv": "ecgstudy run 07_beat_gradcam --profile real -p save=true",
    "explanations.csv.gz": "python -m ecgstudy.studies.explanations",
    "realism.csv": "python -m ecgstudy.studies.realism",
    "bench.json": "make bench",
    "attack.json": "make attack",
}
CHECKED = ("leaderboard.csv", "ablations.csv", "claims.yaml", "provenance.yaml")
FOLDERS = ("ablations", "leaderboard", "runs")
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


def _told(file: str) -> Callable[[Callable[[], Check]], Callable[[], Check]]:
    """Make a complaint of whatever keeps a check from its end: to find damaged files is what it is for."""

    def decorated(check: Callable[[], Check]) -> Callable[[], Check]:
        @functools.wraps(check)
        def told() -> Check:
            try:
                return check()
            except intact.Broken as error:
                return Check(file, 0, np.nan, [str(error)])
            except Exception as error:  # what no check of a part has thought of
                why = f"{type(error).__name__}: {error}".splitlines()[0]
                said = f"{file} cannot be checked ({why}): restore what was changed with `git checkout -- results`"
                return Check(file, 0, np.nan, [said])

        return told

    return decorated


def compare(file: str, committed: pd.DataFrame, computed: pd.DataFrame, keys: Sequence[str]) -> Check:
    """Compare two tables row by row: numbers within the rounding, all else as text, rows in their order.

    A number is missing only where the committed cell is empty and the computed one not defined.

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
    for column in numbers:
        found = pd.to_numeric(committed[column], errors="coerce")
        for row in committed.index[(committed[column] != "") & ~np.isfinite(found)]:
            name = tuple(committed.loc[row, list(keys)])
            wrong.append(f"{name}: {column} {committed.loc[row, column]}, expected a number or nothing")
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
    if not wrong and list(old.index) != list(new.index):
        wrong.append(f"the rows are in another order than they are computed in, from {old.index[0]}")
    old, new = old.loc[both], new.loc[both]
    for column in texts:
        differ = old[column] != new[column]
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]}" for row in both[differ]]
    difference = (old[numbers] - new[numbers]).abs()
    for column in numbers:
        decimals = int(committed[column].str.extract(r"\.(\d*)", expand=False).str.len().max() or 0)
        rounding = min(ROUNDING, 0.5 * 10.0**-decimals + 1e-9)
        differ = (difference[column] > rounding) | (old[column].isna() != new[column].isna())
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]:.6f}" for row in both[differ]]
    known = int(new[numbers].notna().to_numpy().sum()) + len(both) * len(texts)
    known_differences = difference.to_numpy()[difference.notna().to_numpy()]
    return Check(file, known, float(known_differences.max(initial=0)), wrong)


def read(file: str) -> pd.DataFrame:
    """Results file as text; no rows where it is not there."""
    path = RESULTS / file
    return intact.text_table(path) if path.exists() else pd.DataFrame()


@_told("leaderboard.csv")
def check_leaderboard() -> Check:
    """``leaderboard.csv`` against the committed answers of every trial that is whole; what is wrong with the others."""
    committed, keys = read("leaderboard.csv"), ["system", "cohort", "metric", "class"]
    tables, wrong, known = [], [], {path.name for path in listed(leaderboard.FOLDER)}
    for trial in sorted(known, key=[*leaderboard.TRIALS, *known].index):
        if faults := intact.trial_faults(trial):
            wrong += faults
            committed = committed[committed["cohort"] != trial] if len(committed) else committed
        else:
            tables.append(leaderboard.table(trial))
    if not tables:
        return Check("leaderboard.csv", 0, 0.0, wrong or (["its answers are not there"] if len(committed) else []))
    computed = pd.concat(tables)
    computed["paper_value"] = computed["paper_value"].astype(float)
    check = compare("leaderboard.csv", committed, computed, keys)
    return dataclasses.replace(check, wrong=wrong + check.wrong)


@_told("ablations.csv")
def check_ablations() -> Check:
    """``ablations.csv`` against the committed answers of every question that are whole; what is wrong with others."""
    committed, keys = read("ablations.csv"), ["question", "arm", "cohort", "metric"]
    tables, wrong = [], []
    for path in listed(ablations.FOLDER):
        faults = intact.ablation_faults(path.name)
        broken = [question for question, of in faults.items() if of]
        wrong += [fault for of in faults.values() for fault in of]
        if len(committed) and broken:
            elsewhere = committed["cohort"] != path.name
            committed = committed[elsewhere | ~(committed["question"].isin(broken) | ("" in broken))]
        if "" not in broken:
            sound = [q for q in ablations.QUESTIONS if q not in broken and ablations.arms_of(path.name, q)]
            tables += [ablation_tables.table(path.name, question) for question in sound]
    tables = [table for table in tables if len(table)]
    if not tables:
        return Check("ablations.csv", 0, 0.0, wrong or (["its answers are not there"] if len(committed) else []))
    check = compare("ablations.csv", committed, pd.concat(tables), keys)
    return dataclasses.replace(check, wrong=wrong + check.wrong)


@_told("claims.yaml")
def check_claims() -> Check:
    """``claims.yaml`` against the rows that its claims name."""
    values, largest, wrong = 0, 0.0, []
    for claim in intact.read(claims.FILE, lambda path: claims.load()):
        for name, found in claims.recompute(claim).items():
            values += found is not None
            if claim[name] != found:
                wrong.append(f"{claim['system']}: {claim['claim']}: {name} {claim[name]}, expected {found}")
            if isinstance(found, float) and isinstance(claim[name], float):
                largest = max(largest, abs(claim[name] - found))
    return Check("claims.yaml", values, largest, wrong)


@_told("provenance.yaml")
def check_settings() -> Check:
    """``provenance.yaml`` against the configuration of every committed answer."""
    wrong, count = [], 0
    tested = functools.cache(tested_on)
    for where, trial, arm, config in committed_configs():
        found, said = settings_of(where, trial, arm, config, tested)
        count, wrong = count + found, wrong + said
    return Check("provenance.yaml", count, 0.0, wrong)


@_told("leaderboard/synthetic* and ablations/synthetic")
def check_simulated() -> Check:
    """Answers on simulated records against the simulator as it is now: the checksum of the cohort they were made on."""
    wrong = []
    paths = [*listed(leaderboard.FOLDER, "synthetic*/*.json"), *listed(ablations.FOLDER, "synthetic/*/*.json")]
    for path in paths:
        card = intact.card(path, cohort=str)
        fs, trial = card.get("config", card)["fs"], path.relative_to(RESULTS).parts[1]
        now = simulated_checksum(fs=fs, **leaderboard.simulated(trial))
        if card["cohort"] != now:
            wrong.append(f"{path.relative_to(RESULTS)}: of cohort {card['cohort']}, which is {now} now")
    return Check("leaderboard/synthetic* and ablations/synthetic", len(paths), 0.0, wrong)


@_told("runs")
def check_runs() -> Check:
    """``runs``: each one whole, and its predictions against the answer that names it."""
    folders = listed(RESULTS / "runs")
    faults = {path.name: intact.run_faults(path) for path in folders}
    wrong, values, largest = [fault for of in faults.values() for fault in of], len(folders), 0.0
    sound = {name for name, of in faults.items() if not of}
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        trial, entry, where = path.parent.name, path.stem, f"leaderboard/{path.parent.name}/{path.stem}"
        if not sound >= set(of := intact.card(path).get("runs", [])):
            continue
        fold, answer = leaderboard.records_of(trial)["fold"], pd.read_parquet(path.with_suffix(".parquet"))
        if len(of) != fold.nunique():  # what several answer together is no run's
            continue
        seconds, said = 0.0, intact.card(path)["training_seconds"]
        for number, run in enumerate(leaderboard.runs_of(trial, entry)):
            rows, tested = run.predictions[run.predictions["split"] == "test"].sort_values("record"), fold == number
            p, seconds = rows[list(CLASSES)].to_numpy(), seconds + run.card["seconds"]
            differ = np.abs(answer.loc[tested, list(CLASSES)].to_numpy() - p)
            values, largest = values + differ.size, max(largest, float(differ.max()))
            called = run.system.vote(p[None], np.array([list(run.card["thresholds"].values())]))[1]
            if not differ.max() <= ROUNDING:
                wrong.append(f"{where}: fold {number} is not what runs/{run.folder.name} answered")
            elif (called != answer.loc[tested, intact.CALLED].to_numpy()).any():
                wrong.append(f"{where}: fold {number} is not called as the thresholds of runs/{run.folder.name} say")
        if not abs(seconds - said) < 0.06:
            wrong.append(f"{where}: training_seconds {said}, its runs took {seconds:.1f}")
    return Check("runs", values, largest, wrong)


@_told("leaderboard/by-source and ablations/real")
def check_real() -> Check:
    """Records of the real cohort: the same in all trials."""
    first = leaderboard.FOLDER / "real" / "records.parquet"
    paths = [leaderboard.FOLDER / "by-source" / first.name, ablations.FOLDER / "real" / first.name]
    paths = [path for path in paths if first.exists() and path.exists()]
    records = intact.read(first, pd.read_parquet) if paths else ()
    wrong = [fault for path in paths for fault in intact.same_records(path, records, "leaderboard/real")]
    return Check("leaderboard/by-source and ablations/real", len(paths) * len(records), 0.0, wrong)


def check_tables() -> Iterator[Check]:
    """The files that are made from recordings: whether such a table can be so."""
    faults = {
        "audit.csv": intact.audit_faults,
        "bench.json": intact.bench_faults,
        "attack.json": intact.attack_faults,
    }
    for file, command in FROM_RECORDINGS.items():
        path = RESULTS / file
        wrong = intact.tried(path, faults.get(file, intact.table_faults), command)
        rows = 0 if wrong else len(intact.card(path) if file.endswith(".json") else intact.text_table(path))
        yield Check(file, rows, 0.0, wrong)


@_told("")
def check_files() -> Check:
    """What stands under ``results``, and nothing else."""
    known, there = {*CHECKED, *FROM_RECORDINGS, *FOLDERS}, {path.name for path in listed(RESULTS)}
    wrong = [intact.fault(RESULTS / name, "it is missing") for name in sorted(known - there)]
    wrong += [
        intact.fault(RESULTS / name, "it is no result of the study", "delete it") for name in sorted(there - known)
    ]
    return Check("", len(there), 0.0, wrong)


def checks() -> Iterator[Check]:
    """Every results file: recomputed from what is committed, or looked at."""
    yield check_files()
    for check in (check_leaderboard, check_ablations, check_claims, check_settings, check_simulated, check_runs):
        yield check()
    yield check_real()
    yield from check_tables()


# --- where settings come from ----------------------------------------------------------------------------------------


def provenance() -> dict[str, Any]:
    """``results/provenance.yaml``: system → setting → values that differ from the paper's, why, and tuned on what."""
    return _parsed((RESULTS / "provenance.yaml").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _parsed(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def committed_configs() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Where it stands, trial, what an ablation's arm changes, and configuration of every committed network."""
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        if config := intact.card(path).get("config"):
            yield path.relative_to(leaderboard.FOLDER).as_posix(), path.parent.name, {}, config
    for path in listed(ablations.FOLDER, "*/*/*.json"):
        card = intact.card(path, config=dict)
        question = ablations.QUESTIONS.get(path.parent.name)
        if question is None or path.stem not in question.arms:  # check_ablations says so
            continue
        arm = question.arms[path.stem]
        yield path.relative_to(ablations.FOLDER).as_posix(), path.parent.parent.name, arm, card["config"]


def published(name: str) -> dict[str, Any]:
    """Settings of a system as its paper (or, for what the paper leaves open, its chapter) has them, as JSON."""
    return json.loads(json.dumps(dataclasses.asdict(by_name(name)())))


def tested_on(trial: str) -> dict[str, Any]:
    """Cohort (and seed, if it is simulated) that the answers of a trial are tested on."""
    if trial.startswith("synthetic"):
        return {"cohort": "synthetic", "seed": leaderboard.simulated(trial)["seed"]}
    return {"cohort": "real"}


def settings_of(
    where: str,
    trial: str,
    arm: dict[str, Any],
    config: dict[str, Any],
    tested: Callable[[str], dict[str, Any]] = tested_on,
) -> tuple[int, list[str]]:
    """Number of settings of a committed network that differ from the paper's, and what is wrong with them.

    Wrong is a setting that neither its ablation's question nor ``provenance.yaml`` names, and one that was tuned on
    the cohort on which the answer is tested, unless it is owned to as an exception: every record of a trial is tested
    once, so none is free to tune on.
    """
    known, wrong = provenance()["settings"].get(config["system"], {}), []
    system, default = intact.system_from(config), published(config["system"])
    settings = json.loads(json.dumps(dataclasses.asdict(system)))
    # What only a variant has is the variant's, as long as it is as the variant's default.
    default = json.loads(json.dumps(dataclasses.asdict(type(system)()))) | default
    differing = [s for s in settings if settings[s] != default[s]]
    for setting in differing:
        if setting in arm and arm[setting] == settings[setting]:
            continue
        entry, what = known.get(setting), f"{where}: {setting} = {settings[setting]}"
        if entry is None or settings[setting] not in entry["values"]:
            wrong.append(f"{what} differs from {default.get(setting)}, and nothing says why")
        elif (entry["why"] == "tuned") != ("data" in entry):
            wrong.append(f"{what} was tuned, or was it? Its entry does not say on what")
        elif not entry.get("exception") and any(
            data.items() >= tested(trial).items() for data in entry.get("data", ())
        ):
            wrong.append(f"{what} was tuned on the records that it is tested on")
    return len(differing), wrong


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
    card = intact.card(ablations.path(cohort, question, arm, ".json"), cohort=str, runs=list)
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
    old = intact.read(ablations.path(cohort, question, arm, ".parquet"), pd.read_parquet).query("member == 0")
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
