"""Do the committed results hold? Recompute every number from the committed answers; train one run again and compare."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file
from scipy import stats
from scipy.special import expit

from ecgstudy.data.cohort import simulated_checksum
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import RESULTS, SEALS, listed
from ecgstudy.studies import ablation_tables, ablations, claims, intact, leaderboard
from ecgstudy.studies.catalogue import STUDIES, FromRecordings
from ecgstudy.studies.checks import ROUNDING, Check, card, fault, read, text_table, told, tried
from ecgstudy.systems.catalogue import by_name

# Results files that are no study's → what makes them again.
OTHERS = {
    "explanations_trial.csv.gz": "ecgstudy train --part trial --again",
    "unlike.safetensors": "ecgstudy train --part unlike --again",
    "trees.safetensors": 'ecgstudy train "features and trees" --part real --again',
    "audit.csv": "ecgstudy data audit",
    "beats.csv": "ecgstudy run 07_beat_gradcam --profile real -p draws=8000 -p seeds=5 -p arm_seeds=2 -p save=true",
    "bench.json": "make bench",
    "attack.json": "make attack",
}
CHECKED = ("claims.yaml", "provenance.yaml", SEALS)
FOLDERS = ("ablations", "leaderboard", "runs")
SMALLEST = "synthetic/gamma/gamma 0/0"
# Training again on the same kind of machine gives the same probabilities, but for the half precision in which their
# log-odds are committed.
SAME = 2e-4
COMPARED = ["AUROC", "F1", "F2", "exact match"]


@told("claims.yaml")
def check_claims() -> Check:
    """``claims.yaml`` against the rows that its claims name."""
    values, largest, wrong = 0, 0.0, []
    for claim in read(claims.FILE, lambda path: claims.load()):
        for name, found in claims.recompute(claim).items():
            values += found is not None
            if claim[name] != found:
                wrong.append(f"{claim['system']}: {claim['claim']}: {name} {claim[name]}, expected {found}")
            if isinstance(found, float) and isinstance(claim[name], float):
                largest = max(largest, abs(claim[name] - found))
    return Check("claims.yaml", values, largest, wrong)


@told("provenance.yaml")
def check_settings() -> Check:
    """``provenance.yaml`` against the configuration of every committed answer."""
    wrong: list[str] = []
    count = 0
    tested = functools.cache(tested_on)
    for where, board, arm, config in committed_configs():
        found, said = settings_of(where, board, arm, config, tested)
        count, wrong = count + found, wrong + said
    return Check("provenance.yaml", count, 0.0, wrong)


@told("leaderboard/synthetic* and ablations/synthetic")
def check_simulated() -> Check:
    """Answers on simulated records against the simulator as it is now: the checksum of the cohort they were made on."""
    wrong = []
    paths = [*listed(leaderboard.FOLDER, "synthetic*/*.json"), *listed(ablations.FOLDER, "synthetic/*/*.json")]
    for path in paths:
        said = card(path, cohort=str)
        fs, board = said.get("config", said)["fs"], path.relative_to(RESULTS).parts[1]
        now = simulated_checksum(fs=fs, **leaderboard.simulated(board))
        if said["cohort"] != now:
            wrong.append(f"{path.relative_to(RESULTS)}: of cohort {said['cohort']}, which is {now} now")
    return Check("leaderboard/synthetic* and ablations/synthetic", len(paths), 0.0, wrong)


@told("runs")
def check_runs() -> Check:
    """``runs``: each one whole, and its predictions against the answer that names it."""
    folders = listed(RESULTS / "runs")
    faults = {path.name: intact.run_faults(path) for path in folders}
    wrong, values, largest = [fault for found in faults.values() for fault in found], len(folders), 0.0
    sound = {name for name, found in faults.items() if not found}
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        board, entry, where = path.parent.name, path.stem, f"leaderboard/{path.parent.name}/{path.stem}"
        if not sound >= set(names := card(path).get("runs", [])):
            continue
        fold, answer = leaderboard.records_of(board)["fold"], pd.read_parquet(path.with_suffix(".parquet"))
        if len(names) != fold.nunique():  # what several answer together is no run's
            continue
        seconds, said = 0.0, card(path)["training_seconds"]
        for number, run in enumerate(leaderboard.runs_of(board, entry)):
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


@told("leaderboard/by-source and ablations/real")
def check_real() -> Check:
    """Records of the real cohort: the same in all boards."""
    first = leaderboard.FOLDER / "real" / "records.parquet"
    paths = [leaderboard.FOLDER / "by-source" / first.name, ablations.FOLDER / "real" / first.name]
    paths = [path for path in paths if first.exists() and path.exists()]
    records = read(first, pd.read_parquet) if paths else ()
    wrong = [fault for path in paths for fault in intact.same_records(path, records, "leaderboard/real")]
    return Check("leaderboard/by-source and ablations/real", len(paths) * len(records), 0.0, wrong)


_ROWS: dict[str, Callable[[Path], int]] = {
    ".json": lambda path: len(card(path)),
    ".safetensors": lambda path: len(load_file(path)),
}


def check_others() -> Iterator[Check]:
    """The files that are made from recordings or measured: whether such a table can be so."""
    faults: dict[str, Callable[..., list[str]]] = {
        "unlike.safetensors": intact.arrays_faults,
        "trees.safetensors": intact.arrays_faults,
        "audit.csv": intact.audit_faults,
        "bench.json": intact.bench_faults,
        "attack.json": intact.attack_faults,
    }
    for file, command in OTHERS.items():
        path = RESULTS / file
        wrong = tried(path, faults.get(file, intact.table_faults), command)
        rows = 0 if wrong else _ROWS.get(path.suffix, lambda p: len(text_table(p)))(path)
        yield Check(file, rows, 0.0, wrong)


@told("")
def check_files() -> Check:
    """What stands under ``results``, and nothing else."""
    known, there = (
        {*CHECKED, *OTHERS, *FOLDERS, *(study.file for study in STUDIES)},
        {path.name for path in listed(RESULTS)},
    )
    wrong = [fault(RESULTS / name, "it is missing") for name in sorted(known - there)]
    wrong += [fault(RESULTS / name, "it is no result of the study", "delete it") for name in sorted(there - known)]
    return Check("", len(there), 0.0, wrong)


def checks() -> Iterator[Check]:
    """Every results file: recomputed from what is committed, or looked at."""
    yield check_files()
    for study in STUDIES:
        yield study.check()
    for check in (check_claims, check_settings, check_simulated, check_runs, check_real):
        yield check()
    yield from check_others()


# --- where settings come from ----------------------------------------------------------------------------------------


def provenance() -> dict[str, Any]:
    """``results/provenance.yaml``: system → setting → values that differ from the paper's, why, and tuned on what."""
    return _parsed((RESULTS / "provenance.yaml").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _parsed(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def committed_configs() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Where it stands, board, what an ablation's arm changes, and configuration of every committed network."""
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        if config := card(path).get("config"):
            yield path.relative_to(leaderboard.FOLDER).as_posix(), path.parent.name, {}, config
    for path in listed(ablations.FOLDER, "*/*/*.json"):
        said = card(path, config=dict)
        question = ablations.QUESTIONS.get(path.parent.name)
        if question is None or path.stem not in question.arms:  # check_ablations says so
            continue
        arm = question.arms[path.stem]
        yield path.relative_to(ablations.FOLDER).as_posix(), path.parent.parent.name, arm, said["config"]


def published(name: str) -> dict[str, Any]:
    """Settings of a system as its paper (or, for what the paper leaves open, its chapter) has them, as JSON."""
    return json.loads(json.dumps(dataclasses.asdict(by_name(name).configured({}))))


def tested_on(board: str) -> dict[str, Any]:
    """Cohort (and seed, if it is simulated) that the answers of a board are tested on."""
    if leaderboard.BOARDS[board].simulated:
        return {"cohort": "synthetic", "seed": leaderboard.simulated(board)["seed"]}
    return {"cohort": "real"}


def settings_of(
    where: str,
    board: str,
    arm: dict[str, Any],
    config: dict[str, Any],
    tested: Callable[[str], dict[str, Any]] = tested_on,
) -> tuple[int, list[str]]:
    """Number of settings of a committed network that differ from the paper's, and what is wrong with them.

    A setting is wrong if neither its ablation's question nor ``provenance.yaml`` names it, or if it was tuned on the
    cohort on which the answer is tested and is not a declared exception: every record of a board is tested once, so
    none is free for tuning.
    """
    known, wrong = provenance()["settings"].get(config["system"], {}), []
    system, default = intact.system_from(config), published(config["system"])
    settings = json.loads(json.dumps(dataclasses.asdict(system)))
    # What only a variant has is the variant's, as long as it is as the variant's default.
    default = json.loads(json.dumps(dataclasses.asdict(type(system).configured({})))) | default
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
            data.items() >= tested(board).items() for data in entry.get("data", ())
        ):
            wrong.append(f"{what} was tuned on the records that it is tested on")
    return len(differing), wrong


def not_recomputed() -> dict[str, str]:
    """Results files that do not follow from committed answers → what makes them again."""
    return OTHERS | {study.file: study.command for study in STUDIES if isinstance(study, FromRecordings)}


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
    said = card(ablations.path(cohort, question, arm, ".json"), cohort=str, runs=list)
    system, _ = ablations.system_of(question, arm, cohort)
    before = os.environ.get("ECGSTUDY_CACHE")
    with TemporaryDirectory() as folder:
        os.environ["ECGSTUDY_CACHE"] = folder
        try:
            data = leaderboard.cohort_of(cohort, system.fs)
            same = data.checksum == said["cohort"]
            run = ablations.train_run(system, data, int(fold), folds=ablations.FOLDS) if same else None
            made, committed = run and run.folder.name, said["runs"][int(fold)][0]
            if run is None or made != committed:
                what = f"its settings make {made}" if run else f"its cohort {said['cohort']} is now {data.checksum}"
                raise ValueError(f"{name} cannot be trained again as the run {committed}: {what}")
            new, log, seconds = ablations.answered(run), run.log, run.card["seconds"]
        finally:
            os.environ.pop("ECGSTUDY_CACHE")
            if before is not None:
                os.environ["ECGSTUDY_CACHE"] = before
    old = read(ablations.path(cohort, question, arm, ".parquet"), pd.read_parquet).query("member == 0")
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
