"""The attack in small: every kind of attempt works, and what would be a failure is counted as one."""

import json

import numpy as np
import pytest

from ecgstudy.book import computed
from ecgstudy.data.records import RecordError
from tests.attack import archives, kinds, mutations, runner, servers, trivial
from tests.attack.runner import FAILED, READ, REFUSED, Kind


def test_time_limits_deaths_and_stray_errors_are_failures(tmp_path):
    worker = runner.Worker(tmp_path)
    try:
        assert worker.attempt(Kind("well", 1, trivial.well), 0, 0) == (READ, "")
        assert worker.attempt(Kind("raises", 1, trivial.raises), 0, 7) == (FAILED, "ValueError: attempt 7")
        assert worker.attempt(Kind("sleeps", 1, trivial.sleeps, 0.1), 0, 0) == (FAILED, "took more than 0.1 s")
        assert worker.attempt(Kind("well", 1, trivial.well), 0, 0) == (READ, "")  # of a new process
        assert worker.attempt(Kind("dies", 1, trivial.dies), 0, 0) == (FAILED, "died (3)")
    finally:
        worker.end()


def test_a_share_is_tried_and_counted():
    some = [Kind("well", 100, trivial.well), Kind("raises", 3, trivial.raises)]
    rows = dict(runner.run(some, share=0.05, jobs=2))
    assert (rows["well"].tried, rows["well"].read, rows["well"].failed) == (5, 5, 0)
    assert (rows["raises"].tried, rows["raises"].failed) == (2, 2)
    assert set(rows["raises"].failures) == {0, 1}


def test_the_whole_attack_is_as_large_as_it_says():
    counted = {kind.name: kind.tries for kind in kinds.all_kinds()}
    assert sum(tries for name, tries in counted.items() if name.startswith("changed")) == 100_000
    assert sum(tries for name, tries in counted.items() if name.startswith("of a device")) == 8_000
    assert sum(tries for name, tries in counted.items() if name.startswith("kills")) == 50
    assert counted["faults of a server"] >= 30 and counted["archives and lists"] >= 30


@pytest.mark.parametrize("name", [*mutations.cases(), *mutations.device_cases()])
def test_a_format_unchanged_is_read_and_changed_does_no_harm(tmp_path, name):
    case = (mutations.cases() | mutations.device_cases())[name]
    for file, data in case.files.items():
        (tmp_path / file).write_bytes(data)
    assert mutations.judge(lambda: case.read(tmp_path), case.error, tmp_path, 1 << 20) == READ
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert mutations.attempt(name, 0, number, folder) in (READ, REFUSED)


def test_a_mutation_is_the_same_another_time_and_seldom_none():
    data = mutations.cases()["WFDB header"].files["r.hea"]

    def changed():
        return [mutations.mutate(data, True, np.random.default_rng([0, number])) for number in range(40)]

    assert changed() == changed()
    assert sum(one != data for one in changed()) > 35


def test_too_much_memory_and_a_refusal_without_a_file_are_failures(tmp_path):
    def greedy():
        try:
            np.ones(60_000_000)
        except MemoryError as error:
            raise RecordError(f"{tmp_path}: cannot be read") from error

    with pytest.raises(AssertionError, match="200 MB"):
        mutations.judge(greedy, RecordError, tmp_path, 1000)
    assert mutations.judge(greedy, RecordError, tmp_path, 60_000_000) == READ

    def vague():
        raise RecordError("cannot be read")

    with pytest.raises(AssertionError, match="names no file"):
        mutations.judge(vague, RecordError, tmp_path, 1000)


def test_servers_and_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", "")  # the attempt sets both
    monkeypatch.setenv("NO_PROXY", "")
    for number, name in enumerate(("half of it", "much more, in chunks", "a redirect elsewhere")):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = servers.attempt(0, list(servers.FAULTS).index(name), folder)
        assert outcome == (READ if name == "a redirect elsewhere" else REFUSED)
    for number, (name, (suffix, *_)) in enumerate(archives.CASES.items()):
        if suffix == "list":
            folder = tmp_path / name
            folder.mkdir()
            archives.attempt(0, number, folder)


def test_the_book_shows_the_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(computed, "RESULTS", tmp_path)
    assert computed.attack_table().count("\n") == 2
    row = {"tried": 5000, "read": 3000, "refused": 2000, "failed": 0, "seconds": 61.4}
    (tmp_path / "attack.json").write_text(json.dumps({"seed": 0, "kinds": {"changed: CSV": row}}))
    assert computed.attack_table().splitlines()[2] == "| changed: CSV | 5,000 | 2,000 | 3,000 | 0 | 61 |"


def test_a_kind_that_is_attacked_again_replaces_its_counts_alone(tmp_path, monkeypatch):
    import sys

    from tests.attack import __main__ as attack
    from tests.attack.runner import Row

    monkeypatch.setattr(attack, "run", lambda kinds, *_: iter([(kind.name, Row(tried=6, refused=6)) for kind in kinds]))
    out, old = tmp_path / "attack.json", {"tried": 9, "refused": 9, "read": 0, "failed": 0, "seconds": 1.0}
    out.write_text(json.dumps({"seed": 3, "kinds": {"changed: CSV": old, "files that are none": old}}))
    command = ["attack", "--only", "files that are none", "--share", "0.05", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--seed", "3"])
    assert attack.main() == 0
    kinds = json.loads(out.read_text())["kinds"]
    assert kinds["changed: CSV"] == old and kinds["files that are none"]["tried"] == 6
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):  # of another seed
        attack.main()
