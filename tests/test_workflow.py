"""The workflow: the same runs as anywhere else, byte by byte, whatever fails or is killed."""

import base64
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from ecgstudy import plans, workers
from ecgstudy.book import build
from ecgstudy.cli import app
from ecgstudy.data import building
from ecgstudy.paths import REPOSITORY, cache_root
from ecgstudy.studies import ablations, leaderboard, trainings
from ecgstudy.studies.trainings import Records, Task
from ecgstudy.systems.catalogue import by_name
from tests import slurm

WORKFLOW = REPOSITORY / "workflow"
GIVEN = {"epochs": "6", "records": "60"}
ASKED = " ".join(["05_butt --profile smoke --again", *(f"-p {name}={value}" for name, value in GIVEN.items())])
# It asks for a cohort, two members and an arm.


def planned(*arguments):
    """What ``ecgstudy plan`` writes."""
    file = cache_root() / "plan.json"
    said = CliRunner().invoke(app, ["plan", str(file), *map(str, arguments)])
    assert said.exit_code == 0, said.output
    return json.loads(file.read_text())


def kinds(plan):
    return [about["kind"] for about in plan.values()]


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A cache and results of its own, in which most of both studies is missing."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    board = tmp_path / "leaderboard" / "real"
    board.mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        shutil.copy(leaderboard.FOLDER / "real" / f"CNN-GAP{suffix}", board)
    shutil.copy(leaderboard.FOLDER / "real" / "records.parquet", board)
    shutil.copytree(ablations.FOLDER / "synthetic" / "mask", tmp_path / "ablations" / "synthetic" / "mask")
    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    monkeypatch.setattr(ablations, "FOLDER", tmp_path / "ablations")
    return tmp_path


STUDIES = (
    "--part",
    "synthetic",
    "--part",
    "ablations synthetic",
    "ECGMaster",
    "features and trees",
    "mask",
    "ensemble",
)


def test_the_plan_of_studies_is_what_train_lists_as_missing(own):
    listed = CliRunner().invoke(app, ["train", "--dry", *STUDIES]).output.splitlines()
    missing = [re.match(r"(.+?): (.+) is missing", line).groups() for line in listed]
    plan = planned(*STUDIES)
    entries = {(part, answer.partition(":")[0]) for part, answer in missing}
    answers = [about for about in plan.values() if about["kind"] == "answer"]
    assert [about["name"] for about in answers] == list(dict.fromkeys(": ".join(e) for e in sorted(
        entries, key=[(p, a.partition(":")[0]) for p, a in missing].index)))  # fmt: skip
    for about in answers:
        part, entry = about["name"].split(": ")
        assert about["command"] == ["train", entry, "--part", part]
        names = {plan[need]["name"] for need in about["needs"] if plan[need]["kind"] == "run"}
        if part == "synthetic":
            members = 0 if "trees" in entry else by_name(entry).of_profile("demo")[1]
            assert len(names) == 3 * members
        else:
            arms = [answer.partition(": ")[2] for p, answer in missing if p == part and answer.startswith(f"{entry}:")]
            of_arms = [ablations.system_of(entry, arm, "synthetic") for arm in arms]
            different = {(system, member) for system, members in of_arms for member in range(members)}
            assert len(names) == 5 * len(different) > 0  # ensembles of three and eleven share their first members
            assert {name.partition(": ")[2].partition(", fold ")[0] for name in names} <= set(arms)
    # Each run is there once, after the one cohort of its rate, and nothing has been simulated.
    cohorts = [job for job, about in plan.items() if about["kind"] == "cohort"]
    assert [plan[job]["name"] for job in cohorts] == ["2,000 synthetic records, 125 Hz"]
    for about in plan.values():
        if about["kind"] == "run":
            assert len(about["needs"]) == 1 and about["needs"][0] in cohorts
    assert not list((cache_root() / "cohorts").glob("*/cohort.json"))
    assert not any("mask right" in about["name"] for about in plan.values())


def test_the_plan_of_a_book_is_what_it_would_train_and_the_book(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path / profile)
    found = []
    monkeypatch.setattr(workers, "work_off", lambda jobs, number: found.extend(jobs) or [])
    build.run_notebooks("smoke")
    plan = planned("--profile", "smoke")
    assert kinds(plan)[-1] == "book"
    *tasks, book = plan.values()
    chapters = set(build.notebook_names())
    jobs = {job.name: job for job in found if job.name not in chapters}
    assert {about["name"] for about in tasks} == set(jobs)
    for about in tasks:
        assert {plan[need]["name"] for need in about["needs"]} == set(jobs[about["name"]].after)
    assert book["command"] == ["book", "--profile", "smoke"] and set(book["needs"]) == set(list(plan)[:-1])
    assert {about["kind"] for about in tasks} == {"cohort", "run"}


def test_what_is_done_is_not_planned_and_a_job_of_the_plan_does_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    plan = planned(*ASKED.split())
    assert kinds(plan) == ["cohort", "run", "run", "run", "book"]
    command = ["run", "05_butt", "--profile", "smoke", *(f"--parameter={n}={value}" for n, value in GIVEN.items())]
    assert list(plan.values())[-1]["command"] == command
    cohort, first, *_ = plan
    for job in (cohort, first):
        said = CliRunner().invoke(app, ["job", str(cache_root() / "plan.json"), job])
        assert said.exit_code == 0, said.output
    left = planned(*ASKED.split())
    assert list(left) == [job for job in plan if job not in (cohort, first)]  # under the same hashes
    assert len(list((cache_root() / "runs").glob("*/card.json"))) == 1
    said = CliRunner().invoke(app, ["job", str(cache_root() / "plan.json"), first])
    assert said.exit_code == 1 and f"has no task {first}: make the plan anew" in said.stderr


def test_a_large_cohort_is_planned_shard_by_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "RECORDS", 25)
    made = []
    for place in ("whole", "parts"):
        monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / place))
        plan = planned(*ASKED.split())
        assert kinds(plan) == [*["shard"] * 3, "cohort", "run", "run", "run", "book"]
        *parts, cohort = list(plan)[:4]
        task = pickle.loads(base64.b64decode(plan[cohort]["task"]))
        assert plan[cohort]["needs"] == parts and not any(plan[part]["needs"] for part in parts)
        assert all(plan[part]["minutes"] >= 10 for part in parts)
        for part in parts if place == "parts" else ():
            said = CliRunner().invoke(app, plan[part]["command"])
            assert said.exit_code == 0, said.output
        if place == "parts":
            plan = planned(*ASKED.split())  # the last shard has joined them all
            assert kinds(plan) == ["run", "run", "run", "book"]
        made.append(task())
    one, other = made
    assert one.checksum == other.checksum and not one.shards and len(other.shards) == 3


def test_an_answer_that_is_one_piece_of_work_is_one_job(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    plan = planned("--part", "trial", "--part", "realism", "--again", "CNN-GAP", "realism")
    assert kinds(plan) == [*["shard"] * 3, "cohort", *["run"] * 5, "answer", "answer"]  # 20,000 records
    trial, realism = list(plan.values())[-2:]
    assert len(trial["needs"]) == 3 + 1 + 5 and realism["needs"] == []
    assert realism["command"] == ["train", "realism", "--part", "realism", "--again"]


@pytest.mark.slow
def test_a_plan_has_the_same_hashes_in_every_process(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    assert os.environ.get("PYTHONHASHSEED") != "1"
    command = [sys.executable, "-m", "ecgstudy.cli", "plan", str(tmp_path / "other.json"), *ASKED.split()]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "1"}, check=True, cwd=REPOSITORY)
    assert list(json.loads((tmp_path / "other.json").read_text())) == list(planned(*ASKED.split()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "smoke", "--part", "real"), "--part is of the studies and --profile of the book"),
        (("-p", "epochs=3"), "parameters are of chapters: name their --profile"),
        (("--profile", "smok"), "did you mean 'smoke'?"),
        (("--profile", "smoke", "05_but"), "did you mean '05_butt'?"),
        (("gama",), "did you mean 'gamma'?"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(arguments, message, tmp_path):
    said = CliRunner().invoke(app, ["plan", str(tmp_path / "plan.json"), *arguments])
    assert said.exit_code == 1 and message in said.stderr and not list(tmp_path.iterdir())


def test_time_and_memory_follow_from_what_was_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    system, members = by_name("ECGMaster").of_profile("demo")
    records = Records("synthetic", system.fs, 1333, 1, 7)
    # Three folds and all members on two thirds of 2,000 records took so long.
    taken = leaderboard.card_of("synthetic", "ECGMaster")["wall_seconds"] / 3 / members
    on_others = leaderboard.seconds_of(system, 1333)
    assert on_others is not None and 0.2 < on_others / taken < 5  # by another, longer board of it
    (task,) = [Task("it", ablations.train_fold, (system, records, 0), (records.task,))]
    seconds, mem_mb = plans._cost(task)
    assert seconds == on_others
    assert mem_mb == pytest.approx(2048 + 2 * 1333 * 13 * 1500 * 4 / 2**20, abs=1)  # twelve leads and their mask
    assert plans._cost(records.task)[0] == pytest.approx(1333 / 311.9)
    plan = planned("05_butt", "--profile", "smoke", "--again")
    assert all(about["minutes"] >= 10 and about["mem_mb"] >= 2048 for about in plan.values())


def test_of_a_cohort_that_is_not_there_the_size_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    records = Records("synthetic", 100, 12, 1, 0)
    assert records.size == 12 and records.task(only_open=True) is None
    assert trainings.lacking([records.task]) == [records.task]
    assert not list((tmp_path / "cohorts").glob("*/*"))
    made = records.task()
    assert records.task(only_open=True).folder == made.folder and records.size == len(made)
    assert trainings.lacking([records.task]) == []


# --- the workflow ----------------------------------------------------------------------------------------------------


def snakemake(cache, *arguments, asked=ASKED, profile="local", begin=False, **environment):
    """Run the workflow with its cache there; with ``begin`` only start it."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile")]
    command += ["--profile", str(WORKFLOW / "profiles" / profile)]
    command += ["--config", f"plan={asked}", *arguments]
    here = {**os.environ, "ECGSTUDY_CACHE": str(cache), "PYTHONPATH": str(REPOSITORY), **environment}
    here = {name: value for name, value in here.items() if not name.startswith("PYTEST")}
    log = cache.parent / f"{cache.name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=here, stdout=out, stderr=out, start_new_session=True)
    if begin:
        return process
    try:
        code = process.wait()
    finally:
        kill_group(process)
    return code, log.read_text()


def kill_group(process):
    """End whatever is left of a workflow: its shells outlive it."""
    for one in psutil.process_iter():
        try:
            if os.getsid(one.pid) == process.pid:
                one.kill()
        except (psutil.Error, OSError):
            continue


def bytes_of(cache):
    """Every file of every run that says nothing of the clock."""
    names = ("config.json", "weights.safetensors", "predictions.parquet", "metrics.json")
    return {
        f"{folder.name}/{name}": (folder / name).read_bytes()
        for folder in sorted((cache / "runs").glob("*[0-9a-f]"))
        if (folder / "card.json").exists()
        for name in names
    }


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The same runs, one after the other in one process, without Snakemake."""
    cache = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(cache))
        chapter, _, profile, *_ = ASKED.split()
        for task in trainings.in_order(build.trainings(profile, [chapter], GIVEN, force=True)):
            task()
    found = bytes_of(cache)
    assert len(found) == 3 * 4
    return found


@pytest.mark.slow
def test_two_jobs_at_a_time_make_the_runs_of_one_process_whatever_is_killed(serial, tmp_path):
    """The main process is killed while two trainings are under way: one is killed too, and one goes on in its shell."""
    cache = tmp_path / "cache"
    process = snakemake(cache, "--cores", "2", "--", "runs", begin=True)
    try:
        patience = time.monotonic() + 300
        while not list((cache / "unfinished").glob("*.safetensors")):
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        jobs = [one for one in psutil.process_iter(["cmdline"]) if is_job(one, process.pid)]
        for one in jobs[:1]:
            one.kill()
        assert len(bytes_of(cache)) < len(serial)
        code, said = snakemake(cache, "--cores", "2", "--", "runs")
    finally:
        kill_group(process)
    assert code == 0 and bytes_of(cache) == serial, said
    assert "synthetic records" not in said  # only what lacked


def is_job(process, session):
    """Whether it is a training, or a cohort being built, of a workflow."""
    try:
        return os.getsid(process.pid) == session and "job" in process.cmdline() and "python" in process.name()
    except (psutil.Error, OSError):
        return False


@pytest.mark.slow
def test_a_chapter_is_executed_at_the_end(tmp_path):
    cache = tmp_path / "cache"
    code, said = snakemake(cache, "--cores", "2", asked="02_preprocessing --profile smoke")
    assert code == 0, said
    (log,) = (cache / "workflow" / "logs").glob("*.log")
    assert log.read_text().splitlines()[-1].endswith("02_preprocessing.ipynb")


SETTINGS = """
import sys
from snakemake.cli import parse_args
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
for folder in sys.argv[1:]:
    try:
        _, given = parse_args(["--profile", folder])
    except SystemExit as end:
        print(end.code)
    else:
        print(ExecutorPluginRegistry().get_plugin(given.executor or "local").get_settings(given), given.set_threads)
"""


def test_every_profile_is_read_by_snakemake_and_its_plugin(tmp_path):
    """What runs a job is not asked: they refuse an option that neither knows."""
    wanted = {
        "local": "SettingsBase",
        "slurm": "status_command='sacct'",
        "kubernetes": "persistent_volumes=[PersistentVolume(name='ecgstudy', path=PosixPath('/shared'))]",
    }
    assert {path.name for path in (WORKFLOW / "profiles").iterdir()} == set(wanted)
    folders = []
    for profile in wanted:
        text = (WORKFLOW / "profiles" / profile / "config.yaml").read_text()
        known = yaml.safe_load(text)
        assert known["keep-going"] and known["rerun-incomplete"] and known["nolock"]
        assert profile == known.get("executor", "local")
        for name, more in ((profile, ""), (f"{profile} with an error", "keep-goin: true\n")):
            folders.append(tmp_path / name)
            folders[-1].mkdir()
            (folders[-1] / "config.yaml").write_text(text + more)
    # One process reads them all: to load Snakemake takes longer.
    said = subprocess.run([sys.executable, "-c", SETTINGS, *folders], capture_output=True, text=True, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    for (profile, settings), read, refused in zip(wanted.items(), *[iter(said.stdout.splitlines())] * 2, strict=True):
        assert settings in read and refused == "2", (profile, said.stdout, said.stderr)


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm.lacking()), reason=f"no SLURM here: apt-get install {slurm.PACKAGES}")
def test_on_slurm_a_node_that_dies_changes_no_byte(serial, tmp_path):
    cache = tmp_path / "cache"
    with slurm.cluster() as cluster:
        options = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
        options += ["--default-resources", "slurm_account=none", "--latency-wait", "5", "--", "runs"]
        asked = f"{ASKED} -p members=1"  # a training for each node
        process = snakemake(cache, *options, asked=asked, profile="slurm", begin=True, **cluster.environment)
        try:
            killed, patience = "", time.monotonic() + 1800
            while process.poll() is None and time.monotonic() < patience:
                if not killed and list((cache / "unfinished").glob("*.safetensors")):
                    killed = cluster.kill_busy_node()
                time.sleep(0.1)
        finally:
            kill_group(process)
        said = (tmp_path / "cache.log").read_text()
        assert process.poll() == 0 and "Trying to restart job" in said, said
        assert killed and cluster.states()[killed].startswith("down"), cluster.states()
    found = bytes_of(cache)
    assert len(found) == 2 * 4 and found.items() <= serial.items()
    assert not cluster.alive()
