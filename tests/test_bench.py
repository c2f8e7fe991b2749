"""``make bench`` measures what make takes now and took before: here make targets of a small repository that wait."""

import os
import subprocess

import psutil
import pytest

from ecgstudy import bench


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits, of which the first waits for longer; each notes in ``seen`` what it was given."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setattr(bench, "REPOSITORY", folder)
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def git(*arguments):
        about = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *about, *arguments], cwd=folder, check=True, capture_output=True, text=True)

    git("init")
    for seconds in (1, 0.5):
        note = f"@echo {seconds} $(PROFILE) $${{ECGSTUDY_CACHE:-unset}} $${{PYTHONPATH:-unset}} >> {tmp_path}/seen"
        (folder / "Makefile").write_text(f"book:\n\t{note}\n\t@sleep {seconds}\nfails:\n\t@false\n")
        git("add", "Makefile")
        git("commit", "-m", f"{seconds}")
    monkeypatch.setattr(bench, "BEFORE", git("rev-parse", "HEAD^").stdout.strip())
    return tmp_path / "seen"


def test_both_commits_are_made_anew(repository):
    row = bench.make("book", "PROFILE=x")
    assert repository.read_text().splitlines() == ["0.5 x unset unset", "1 x unset unset"]
    assert row["unit"] == "min" and min(row["ours"], row["other"]) > 0.5 / 60
    assert row["other_name"].startswith(f"make book PROFILE=x of commit {bench.BEFORE}")


def test_what_takes_far_longer_is_stopped_with_all_its_processes(repository, monkeypatch):
    folder = bench.REPOSITORY
    (folder / "Makefile").write_text("book:\n\t@sleep 300\n")
    about = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *about, "commit", "-qam", "long"], cwd=folder, check=True)
    long = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD^"], cwd=folder, check=True)
    monkeypatch.setattr(bench, "BEFORE", long.stdout.strip())
    row = bench.make("book", busy=True)
    assert row["other"] >= 8 * row["ours"] > 0
    assert row["other_name"].endswith("both beside a busy core, stopped before its end")
    own = psutil.Process(os.getpid()).children(recursive=True)
    assert not [p for p in own if "sleep" in p.name() or "while True" in " ".join(p.cmdline())]


def test_what_fails_is_no_row(repository):
    with pytest.raises(subprocess.CalledProcessError):
        bench.make("fails")
