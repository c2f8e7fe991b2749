"""What is missing, as jobs for a workflow engine: which they are, what each needs before, what it may cost.

``ecgstudy plan`` writes such a plan and ``workflow/Snakefile`` reads it. A job is an ``ecgstudy`` command. It may be
interrupted, repeated or started twice at a time: a run has a lock, goes on after its last epoch, and is never trained
twice.
"""

import base64
import hashlib
import json
import math
import pickle
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecgstudy.book import build
from ecgstudy.data.building import Build
from ecgstudy.paths import RESULTS, read_json, written_whole
from ecgstudy.studies import Study, leaderboard, trainings
from ecgstudy.studies.trainings import Records, Task
from ecgstudy.systems import System
from ecgstudy.windows import IN_MEMORY
from ecgstudy.workers import Job, work_off

Plan = dict[str, dict[str, Any]]  # hash of a job → kind, name, needs, command, minutes, mem_mb and, of a task, itself
_TIMES, _START = 3, 10  # as slow may another machine be; minutes that a job may take to start
_UNKNOWN = 60  # minutes of a job of which nobody knows how long it takes
_MEMORY = 2048  # MiB of torch and its libraries, a network and a batch


def of_book(
    file: Path, profile: str, chapters: Sequence[str], parameters: Mapping[str, str], *, again: bool = False
) -> Plan:
    """Plan what a profile's book, or some of its chapters, would train, and the book or chapters themselves.

    Parameters
    ----------
    file
        Where the plan will be written.
    profile, chapters, parameters
        As ``build.run_notebooks`` takes them.
    again
        Also for chapters that have not changed.
    """
    plan = _of_tasks(file, build.trainings(profile, chapters, parameters, force=again))
    command = ["run", *chapters] if chapters else ["book"]
    command += ["--profile", profile, *(f"--parameter={name}={value}" for name, value in parameters.items())]
    return plan | _job("book", f"the book, profile {profile}", list(plan), command, _UNKNOWN * 60)


def of_studies(file: Path, asked: Iterable[tuple[Study, str, Sequence[str]]], *, again: bool = False) -> Plan:
    """Plan what studies lack: their trainings and, for each entry that lacks an answer, to write it.

    Parameters
    ----------
    file
        Where the plan will be written.
    asked
        Studies, each with one of its parts and the entries that are asked for there.
    again
        Also those that have committed answers.
    """
    plan: Plan = {}
    for study, part, entries in asked:
        for entry in entries:
            missing = study.missing(part, [entry], again=again)
            tasks = [task for answer in missing for task in study.tasks(part, answer)]
            if not missing:
                continue
            # Of an answer that is one piece of work only its own process can keep the result.
            whole = [task.function for task in tasks] == [trainings.anew]
            trained = _of_tasks(file, [] if whole else tasks)
            command = ["train", entry, "--part", part, *(["--again"] if again else [])]
            seconds = None if trained else sum(filter(None, missing.values()))
            plan |= trained | _job("answer", f"{part}: {entry}", list(trained), command, seconds)
    return plan


def write(plan: Plan, file: Path) -> None:
    """Write a plan as JSON."""
    with written_whole(file) as partial:
        partial.write_text(json.dumps(plan, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def do(file: Path, job: str) -> None:
    """Do a task of a plan, in this process.

    Raises
    ------
    ValueError
        when the plan has no such task: it may have been made anew since.
    Exception
        the task's.
    """
    about = read_json(file).get(job, {})
    if "task" not in about:
        raise ValueError(f"{file} has no task {job}: make the plan anew with `ecgstudy plan`")
    task = pickle.loads(base64.b64decode(about["task"]))
    for outcome in work_off([Job(about["name"], task)], 1):
        if outcome.error:
            raise outcome.error


def _of_tasks(file: Path, tasks: Sequence[Task]) -> Plan:
    """Jobs of those tasks that are not done, and of what these need."""
    plan: Plan = {}
    names = trainings.jobs(tasks)
    known: dict[Task, str] = {}
    for task in trainings.lacking(tasks):
        known[task] = _hash(pickle.dumps((task.function, task.arguments), protocol=5))
        needs = [known[need] for need in task.needs if need in known]
        seconds, mem_mb = _cost(task)
        kind = "cohort" if task.function is Records.do else "run"
        if kind == "cohort" and (parts := _shards(task.arguments[0], names[task].name, seconds)):
            plan |= parts
            needs, seconds = list(parts), None  # the cohort's job joins their tables
        plan |= _job(kind, names[task].name, needs, ["job", str(file), known[task]], seconds, mem_mb, known[task])
        plan[known[task]]["task"] = base64.b64encode(pickle.dumps(task)).decode()
    return plan


def _shards(records: Records, name: str, seconds: float | None) -> Plan:
    """Jobs of the shards that a large cohort lacks."""
    whole = Build(records.cohort, records.fs, records.records, records.balance, records.seed, records.variety)
    absent, count = whole.lacking()
    plan: Plan = {}
    for number in absent:
        command = [*shlex.split(whole.recipe.command)[1:], "--shard", f"{number}/{count}"]
        plan |= _job("shard", f"{name}, shard {number}/{count}", [], command, seconds and seconds / count)
    return plan


def _job(
    kind: str,
    name: str,
    needs: list[str],
    command: list[str],
    seconds: float | None = None,
    mem_mb: int = _MEMORY,
    job: str = "",
) -> Plan:
    minutes = _UNKNOWN if not seconds else math.ceil(_TIMES * seconds / 60) + _START
    about = {"kind": kind, "name": name, "needs": needs, "command": command, "minutes": minutes, "mem_mb": mem_mb}
    return {job or _hash(json.dumps(command).encode()): about}


def _hash(what: bytes) -> str:
    return hashlib.sha256(what).hexdigest()[:12]


def _cost(task: Task) -> tuple[float | None, int]:
    """Seconds that a task may take, None if nobody knows, and MiB of memory: of a training from network and records."""
    given = [*task.arguments, *(argument for need in task.needs for argument in need.arguments)]
    records = next((one for one in given if isinstance(one, Records)), None)
    if task.function is Records.do and records:
        measured = read_json(RESULTS / "bench.json")["simulation" if records.cohort == "synthetic" else "cohort_build"]
        return _size(records) / measured["ours"], _MEMORY
    system = next((one for one in (getattr(each, "system", each) for each in given) if isinstance(one, System)), None)
    if not system or not records:
        return None, _MEMORY
    one = system.windows(np.zeros((12, round(10 * system.fs)), np.float32))[0].nbytes
    inputs = min(_size(records) * one, IN_MEMORY)  # what is larger is read batch by batch
    # They are in memory twice while they are put together.
    return leaderboard.seconds_of(system, _size(records)), _MEMORY + math.ceil(2 * inputs / 2**20)


@lru_cache(maxsize=256)
def _size(records: Records) -> int:
    """How many records there are: to count real ones takes a while, and many trainings share them."""
    return records.size
