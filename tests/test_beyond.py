"""The commands of the page "Beyond one machine" do what it says, with fewer records and shards than there."""

import re
import shlex
import subprocess

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ecgstudy.cli import app
from ecgstudy.data import building
from ecgstudy.data.cohort import simulated_checksum, synthetic_cohort
from ecgstudy.paths import REPOSITORY

PAGE = (REPOSITORY / "book" / "beyond.md").read_text(encoding="utf-8")
COHORTS = PAGE[PAGE.index("## Large cohorts") : PAGE.index("## Many runs")]
FEWER = {"300000": "12", "37": "3"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch, small_data):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "RECORDS", 5)


def smaller(text):
    return re.sub("|".join(FEWER), lambda found: FEWER[found[0]], text)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", COHORTS, re.DOTALL)


def call(command):
    program, *arguments = shlex.split(command, comments=True)
    assert program == "ecgstudy"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (command, result.output)
    return result.stdout.splitlines()[-1]


def assert_whole():
    made = synthetic_cohort(12, 100, balance=1)
    assert len(made.shards) == 3 and len(made) == 12
    assert made.checksum == simulated_checksum(12, 100, balance=1)
    assert np.isfinite(made[11]).all()


def test_the_commands_of_a_laptop():
    lines = smaller(blocks("sh")[0]).replace("--jobs 4", "--jobs 1").splitlines()
    assert len(lines) == 3
    assert "12 records" in call(lines[0])
    assert "6 records" in call(lines[1])
    assert call(lines[2]) == "shard 3/3 is there; the cohort is whole"
    assert_whole()


def in_shell(command, **variables):
    """What a shell makes of a command: its words as one line."""
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], env=variables, check=True, capture_output=True, text=True
    )
    return shlex.join(words.stdout.splitlines())


def test_an_array_of_slurm():
    (line,) = smaller(blocks("sh")[1]).splitlines()
    program, array, option, command = shlex.split(line)
    assert (program, option) == ("sbatch", "--wrap")
    first, last = map(int, re.fullmatch(r"--array=(\d+)-(\d+)", array).groups())
    for number in reversed(range(first, last + 1)):
        call(in_shell(command, SLURM_ARRAY_TASK_ID=str(number)))
    assert_whole()


def test_an_indexed_job_of_kubernetes():
    job = yaml.safe_load(smaller(blocks("yaml")[0]))
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["sh", "-c"]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert {"name": "ECGSTUDY_CACHE", "value": mount["mountPath"]} in container["env"]
    (command,) = container["args"]
    for index in range(spec["completions"]):
        call(in_shell(command, JOB_COMPLETION_INDEX=str(index)))
    assert_whole()
