"""``make bench`` measures what make takes now and took before: here make targets of a small repository that wait."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch

from ecgstudy import bench, bench_gpu, layers
from ecgstudy.systems import parameter_count
from ecgstudy.systems.catalogue import by_name


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits, of which the first waits for longer; each notes in ``seen`` what it was given."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setattr(bench, "REPOSITORY", folder)
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("ECGSTUDY_DATA", "/data")

    def git(*arguments):
        about = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *about, *arguments], cwd=folder, check=True, capture_output=True, text=True)

    git("init")
    for seconds in (1, 0.5):
        given = "$(PROFILE) $${ECGSTUDY_CACHE:-unset} $${PYTHONPATH:-unset} $${ECGSTUDY_DATA:-none}"
        note = f"@echo {seconds} {given}"
        (folder / "Makefile").write_text(f"book:\n\t{note} >> {tmp_path}/seen\n\t@sleep {seconds}\nfails:\n\t@false\n")
        git("add", "Makefile")
        git("commit", "-m", f"{seconds}")
    monkeypatch.setattr(bench, "BEFORE", git("rev-parse", "HEAD^").stdout.strip())
    return tmp_path / "seen"


def test_both_commits_are_made_anew(repository):
    row = bench.make("book", "PROFILE=x")
    assert repository.read_text().splitlines() == ["0.5 x unset unset /data", "1 x unset unset /data"]
    assert row["unit"] == "min" and min(row["ours"], row["other"]) > 0.5 / 60
    assert row["other_name"].startswith(f"make book PROFILE=x of commit {bench.BEFORE}")


def test_what_comes_first_is_not_measured(repository):
    row = bench.in_both(["make", "book", "PROFILE=y"], first=["sleep", "2"], recordings=False)
    assert repository.read_text().splitlines() == ["0.5 y unset unset none", "1 y unset unset none"]
    assert 0.5 / 60 < row["ours"] < 2 / 60 and row["other_name"].startswith("make book PROFILE=y of commit ")


def test_what_takes_far_longer_is_stopped_with_all_its_processes(repository, monkeypatch):
    folder = bench.REPOSITORY
    (folder / "Makefile").write_text("book:\n\t@sleep 300\n")
    about = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *about, "commit", "-qam", "long"], cwd=folder, check=True)
    long = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD^"], cwd=folder, check=True)
    monkeypatch.setattr(bench, "BEFORE", long.stdout.strip())
    row = bench.make("book", busy=True, longest=2)
    assert 8 * row["ours"] > row["other"] >= 2 * row["ours"] > 0
    assert row["other_name"].endswith("both beside a busy core, stopped before its end")
    own = psutil.Process(os.getpid()).children(recursive=True)
    assert not [p for p in own if "sleep" in p.name() or "while True" in " ".join(p.cmdline())]


def test_each_package_runs_the_same_code_with_a_cache_of_its_own(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    folder.mkdir()
    about = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for seconds in (4, 2):
        (folder / "measured.py").write_text(f"seconds = {seconds}\n")
        subprocess.run(["git", "add", "measured.py"], cwd=folder, check=True)
        subprocess.run(["git", *about, "commit", "-qm", f"{seconds}"], cwd=folder, check=True)
    first = subprocess.run(["git", "rev-parse", "HEAD^"], cwd=folder, check=True, capture_output=True, text=True)
    monkeypatch.setattr(bench, "REPOSITORY", folder)
    monkeypatch.setattr(bench, "BEFORE", first.stdout.strip())
    code = f"""
import os, measured
open({str(tmp_path / "seen")!r}, "a").write(os.environ["ECGSTUDY_CACHE"] + os.environ["OMP_NUM_THREADS"] + chr(10))
print(measured.seconds)
"""
    row = bench.in_both_packages(code, 8, repeats=2)
    assert (row["ours"], row["other"], row["unit"]) == (4, 2, "records/s") and row["other_name"].endswith(bench.BEFORE)
    seen = (tmp_path / "seen").read_text().splitlines()
    assert len(set(seen)) == 4 and all(line.endswith("1") for line in seen)


@pytest.mark.slow
def test_what_is_timed_runs_in_this_package(tmp_path):
    """The code of both rows, small."""
    sizes = {"records": 40, "epochs": 1}
    for code in (bench.SIMULATE, bench.TRAIN):
        here = os.environ | {"ECGSTUDY_CACHE": str(tmp_path)}
        said = subprocess.run([sys.executable, "-c", code.format(**sizes)], env=here, check=True, capture_output=True)
        assert float(said.stdout.split()[-1]) > 0


# Of each of the six systems, settings under which one step takes a moment.
SMALL = {
    "CNN-GAP": {"width": 0.01, "fs": 50, "seconds": 2},
    "xECGNet": {"width": 0.01, "fs": 50, "seconds": 10},
    "BUTTeam": {"filters": 1, "levels": 2, "fs": 50, "seconds": 10},
    "ECGMaster": {"width": 0.05, "depth": 1, "fs": 50, "seconds": 10},
    "Local evidence": {"channels": 4, "rhythm": 2, "fs": 50},
    "Grad-CAM on beats": {"width": 0.02},
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own layers warn
@pytest.mark.parametrize("name", bench_gpu.SIX)
def test_the_training_that_a_gpu_is_measured_by_runs_on_a_cpu_too(name):
    row = bench_gpu.gpu_training(name, torch.device("cpu"), steps=1, batch=2, **SMALL[name])
    assert min(row["ours"], row["other"], row["gflop_a_record"]) > 0 and "percent_of_peak" not in row
    assert row["card"] == "no GPU"


def test_what_a_gpu_trains_is_as_wide_as_published():
    made = bench_gpu.case("CNN-GAP", fs=50)
    assert parameter_count(made.network) == parameter_count(by_name("CNN-GAP").configured({}).network()) == 4_217_033


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_operations_are_counted_forward_and_backward(monkeypatch):
    """A convolution costs the same forward, for its weights, and for its input, of which the first one needs none."""
    monkeypatch.setattr(layers, "best_precision", lambda _: torch.float32)  # bfloat16 adds channels on a CPU
    row = bench_gpu.gpu_training("CNN-GAP", torch.device("cpu"), steps=1, batch=2, **SMALL["CNN-GAP"])
    sizes = bench_gpu.case("CNN-GAP", **SMALL["CNN-GAP"]).network.sizes
    channels, samples, forward = 12, 100, []
    for block, (filters, kernel, _) in enumerate(sizes):
        forward.append(2 * channels * kernel * filters * samples)
        channels, samples = filters, samples // (2 if block in (0, 4, 9) else 1)
    head = 2 * channels * 9
    assert row["gflop_a_record"] * 1e9 == pytest.approx(3 * (sum(forward) + head) - forward[0], rel=0.01)


def test_without_a_gpu_there_is_no_row_but_a_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    bench.main(["gpu_training"])
    assert capsys.readouterr().out.startswith("gpu_training was not measured: this machine has no GPU")
    assert not list(tmp_path.iterdir())


def test_a_gpu_gives_a_row_for_each_system(monkeypatch, tmp_path, capsys):
    def measured(name, device):
        assert device.type == "cuda"
        row = {"ours": 300.0, "other": 100.0, "other_name": name, "unit": "records/s"}
        return row | {"card": "NVIDIA H200", "percent_of_peak": 12.34}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bench_gpu, "gpu_training", measured)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))  # which bench sets, so that it is as before after the test
    bench.main(["gpu_training"])
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert list(rows) == [f"gpu_training {name}" for name in bench_gpu.SIX] and len(rows) == 6
    assert all(row["ratio"] == 3 and row["card"] == "NVIDIA H200" for row in rows.values())
    assert "3.00 times, 12.3 % of NVIDIA H200's peak" in capsys.readouterr().out


def test_what_fails_is_no_row_and_its_last_lines_are_told(repository, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        bench.make("fails")
    assert "[Makefile:5: fails] Error 1" in capfd.readouterr().err


@pytest.mark.parametrize(("both", "reached"), [(1.0, 2.0), (2.0, 1.0)])
def test_two_processes_apart_do_twice_the_work_of_one(both, reached, monkeypatch):
    """Where both end after as long as one alone, they reach twice; after twice as long, no more than one."""
    asked = []

    def seconds(ours, other, repeats):
        ours()
        assert len(asked) == 2
        other()
        return both, 1.0

    monkeypatch.setattr(bench, "seconds", seconds)
    monkeypatch.setattr(bench, "ProcessPoolExecutor", lambda processes, context: ThreadPoolExecutor(processes))
    monkeypatch.setattr(bench, "_simulate", asked.append)
    assert bench.apart() == reached
    assert len(asked) == 3 and len(set(asked)) == 1
