import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgstudy import paths
from ecgstudy.data import cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import LEADS, Record, RecordError, find_records, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import BrokenError, by_machine, cache_root
from ecgstudy.preprocessing import resample
from ecgstudy.profiles import ProfileError


def record(name, seed, *, fs=100, seconds=5, patient=None, labels=("NSR",), **other):
    x = np.random.default_rng(seed).normal(size=(12, fs * seconds)).astype(np.float32)
    return Record(name, x, fs, LEADS, "test", patient or name, frozenset(labels), **other)


def build(records, **options):
    return cohort.build_cohort(iter(records), **{"fs": 100.0, "identity": {"test": time.time_ns()}, **options})


def test_signals_and_labels_come_back():
    records = [record("a", 0, labels=("AF", "PVC")), record("b", 1, fs=500, seconds=12, labels=())]
    built = build(records)
    assert len(built) == 2
    np.testing.assert_array_equal(built[0], records[0].signal)
    np.testing.assert_array_equal(built[1], resample(records[1].signal, 500, 100))
    assert [CLASSES[c] for c in np.flatnonzero(built.labels[0])] == ["AF", "PVC"]
    assert not built.labels[1].any()
    assert built.table["seconds"].tolist() == [5, 12]


def test_int16_keeps_whole_microvolts():
    r = record("a", 0)
    np.testing.assert_allclose(build([r], dtype="int16")[0], r.signal, atol=5.1e-4)


def test_the_checksum_of_simulated_records_is_known_without_them():
    options = {"seed": 3, "seconds": 6.0, "balance": 1}
    built = cohort.synthetic_cohort(4, 100, **options)
    assert cohort.simulated_checksum(4, 100, **options) == built.checksum
    assert cohort.simulated_checksum(4, 100, **options | {"seed": 4}) != built.checksum
    compact = cohort.synthetic_cohort(4, 100, **options, dtype="int16")
    assert cohort.simulated_checksum(4, 100, **options, dtype="int16") == compact.checksum != built.checksum


def test_batches_say_what_is_padding():
    records = [record(str(i), i, seconds=s) for i, s in enumerate((3, 6, 2, 4, 5))]
    built = build(records)
    seen = []
    for indices, x, valid in built.batches(2):
        for row, i in enumerate(indices):
            n = records[i].signal.shape[1]
            assert valid[row].sum() == n and valid[row, :n].all()
            np.testing.assert_array_equal(x[row, :, :n], records[i].signal)
            assert (x[row, :, n:] == 0).all()
            seen.append(i)
    assert seen == [0, 1, 2, 3, 4]


def test_what_is_left_out_is_listed_with_its_reason():
    twin = Record("twin", record("a", 0).signal, 100, LEADS, "test", "other", frozenset({"AF"}))
    two_leads = Record("short", np.zeros((2, 500), np.float32), 100, ("MLII", "V5"), "test", "p")
    built = build([record("a", 0), twin, ("broken", RecordError("broken.hea: no samples")), two_leads])
    assert built.table["name"].tolist() == ["a"]
    left_out = built.left_out.set_index("name")
    assert left_out.loc["twin"].tolist() == ["same signal", "a"]
    assert left_out.loc["broken"].tolist() == ["unreadable", "broken.hea: no samples"]
    assert left_out.loc["short", "reason"] == "not twelve leads"


def test_a_cohort_of_nothing_is_an_error_and_leaves_nothing():
    with pytest.raises(ValueError, match="no record to make a cohort of"):
        build([("broken", RecordError("no"))], identity={"test": "nothing"})
    assert not list((cache_root() / "cohorts").glob("*.partial"))


def test_the_cache_is_opened_not_built_again():
    identity = {"test": "once"}
    first = build([record("a", 0)], identity=identity)

    def read_again():
        yield pytest.fail("read again")

    again = cohort.build_cohort(read_again(), fs=100.0, identity=identity)
    assert first.checksum == again.checksum
    np.testing.assert_array_equal(first[0], again[0])
    assert build([record("a", 0)], identity=identity, dtype="int16").folder != first.folder


def test_a_cache_that_may_only_be_read_is_shared(monkeypatch):
    """As a class's is on a hub; to root, who runs tests in a container, no folder is read-only."""
    there = {"identity": {"shared": time.time_ns()}}
    build([record("a", 0)], **there)

    def refused(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(paths.FileLock, "acquire", refused)
    assert len(build([record("a", 0)], **there)) == 1
    with pytest.raises(PermissionError, match=r"cohorts lacks \w+, and may not be written to: let ECGSTUDY_CACHE name"):
        build([record("a", 0)])


def test_checksum_is_of_content():
    assert build([record("a", 0)]).checksum == build([record("b", 0)]).checksum
    assert build([record("a", 0)]).checksum != build([record("a", 1)]).checksum
    assert build([record("a", 0)]).checksum != build([record("a", 0, labels=("AF",))]).checksum


def test_a_signal_file_that_lost_its_end_is_noticed():
    built = build([record("a", 0)], identity={"test": "cut"})
    with (built.folder / "signals.bin").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(BrokenError, match="delete it"):
        build([record("a", 0)], identity={"test": "cut"})


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("cohort.json", b"{"),
        ("cohort.json", b"[]"),
        ("cohort.json", b"{}"),
        ("table.parquet", b"PAR1"),
        ("left_out.parquet", b""),
    ],
)
def test_a_broken_cache_says_what_to_delete(file, content):
    built = build([record("a", 0)], identity={"test": "broken"})
    good = (built.folder / file).read_bytes()
    (built.folder / file).write_bytes(content)
    with pytest.raises(BrokenError, match=r"is broken \(.*\): delete it and run the command again") as told:
        build([record("a", 0)], identity={"test": "broken"})
    assert str(built.folder) in str(told.value)
    (built.folder / file).write_bytes(good)


def test_a_lost_signal_file_says_what_to_delete():
    built = build([record("a", 0)], identity={"test": "lost"})
    (built.folder / "signals.bin").unlink()
    with pytest.raises(BrokenError, match="delete it"):
        build([record("a", 0)], identity={"test": "lost"})


@pytest.fixture(scope="module")
def many():
    """300 records of 200 patients, some of whom are tied together by a shared signal."""
    rng = np.random.default_rng(0)
    labels = rng.random((300, 9)) < [0.3, 0.2, 0.1, 0.05, 0.2, 0.1, 0.1, 0.1, 0.03]
    table = pd.DataFrame(
        {
            "name": [str(i) for i in range(300)],
            "patient_id": [f"p{i % 200}" for i in range(300)],
            "signal_hash": [f"h{i}" for i in range(298)] + ["h5", "h7"],
        }
    )
    return cohort.Cohort(cache_root(), 100, table, labels, pd.DataFrame(), "x")


def test_no_patient_and_no_signal_is_in_two_folds(many):
    fold = many.folds(5, seed=1)
    for column in ("patient_id", "signal_hash"):
        spread = pd.Series(fold).groupby(many.table[column].to_numpy())
        assert (spread.min() == spread.max()).all()
    # Record 298 (patient p98) has record 5's signal, so patients p98 and p5 stay together, record 105's too.
    assert fold[298] == fold[5] == fold[98] == fold[205]


def test_folds_spread_the_classes(many):
    fold = many.folds(5, seed=1)
    share = np.array([many.labels[fold == f].sum(axis=0) for f in range(5)]) / many.labels.sum(axis=0)
    assert (np.bincount(fold) > 45).all()
    assert np.abs(share[:, many.labels.sum(axis=0) > 20] - 0.2).max() < 0.08


def test_folds_are_the_same_for_a_seed_and_in_any_order(many):
    np.testing.assert_array_equal(many.folds(5, seed=1), many.folds(5, seed=1))
    assert (many.folds(5, seed=1) != many.folds(5, seed=2)).any()
    among = np.arange(0, 300, 2)
    fold = many.folds(3, seed=1, among=among)
    assert (fold[1::2] == -1).all() and (fold[among] >= 0).all()


def test_official_split_parts_no_patient_and_no_signal(many):
    fold = np.where(np.arange(300) < 250, np.arange(300) % 10 + 1, 0)
    official = dataclasses.replace(many, table=many.table.assign(fold=np.where(fold, fold, np.nan)))
    split = official.official_split()
    assert split["test"].tolist() == list(range(9, 250, 10))  # every tenth fold, whole
    for earlier, later in (("train", "valid"), ("train", "test"), ("valid", "test")):
        for column in ("patient_id", "signal_hash"):
            a, b = (set(many.table[column].iloc[split[part]]) for part in (earlier, later))
            assert not a & b
    assert set(fold[split["train"]]) == set(range(1, 9)) and set(fold[split["valid"]]) == {9}


def test_folds_written_down(many):
    # The same on every machine: these were written down on one.
    assert "".join(map(str, many.folds(5, seed=0)[:40])) == "4432103314430044222203111342320131402403"


def test_more_folds_than_patients_is_an_error(many):
    with pytest.raises(ValueError, match="2 patients cannot be split into 5 folds"):
        many.folds(5, among=np.array([0, 1]))


def test_synthetic_cohort_is_what_the_simulator_says():
    built = cohort.synthetic_cohort(5, 100, seed=7, balance=0.5)
    for i in range(5):
        simulated = synthetic.simulate(i, 7, fs=100, balance=0.5).record
        np.testing.assert_array_equal(built[i], simulated.signal)
        assert {CLASSES[c] for c in np.flatnonzero(built.labels[i])} == simulated.labels


TOGETHER = """
import sys
from ecgstudy.data.cohort import synthetic_cohort
print(synthetic_cohort(60, 100, seconds=6)[59].sum())
"""


def test_processes_that_want_the_same_cohort_wait_for_each_other(tmp_path):
    environment = {**os.environ, "ECGSTUDY_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    answers = [p.communicate() for p in started]
    assert all(p.returncode == 0 for p in started), answers
    assert len({out for out, _ in answers}) == 1


KILL = """
import os, signal, shutil, sys, time
import numpy as np
from ecgstudy.data.cohort import build_cohort
from ecgstudy.data.records import LEADS, Record
from ecgstudy.paths import cache_root

signals = np.random.default_rng(0).normal(size=(40, 12, 500)).astype("f4")

def build():
    records = (Record(str(i), x, 100, LEADS, "t", str(i)) for i, x in enumerate(signals))
    return build_cohort(records, fs=100.0, identity={"test": "killed"})

folder = build().folder
shutil.rmtree(folder)
began = time.monotonic()
build()
took, killed = time.monotonic() - began, 0
for delay in np.random.default_rng(1).uniform(0, took, 200):
    if killed == 20:
        break
    shutil.rmtree(folder)
    child = os.fork()
    if not child:
        build()
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if folder.exists():
        assert sorted(os.listdir(folder)) == ["cohort.json", "left_out.parquet", "signals.bin", "table.parquet"]
    built = build()
    assert len(built) == 40 and all((built[i] == signals[i]).all() for i in range(40))
assert killed == 20, killed
left = {name for name in os.listdir(folder.parent) if not name.endswith(".lock")}
assert left == {folder.name}, left
"""


@pytest.mark.slow
def test_killed_while_building_never_leaves_a_wrong_cache(tmp_path):
    environment = {**os.environ, "ECGSTUDY_CACHE": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", KILL], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_named_cohort_is_of_what_is_at_hand_and_says_what_is_not(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    options = {"records": 3, "balance": None, "seed": 0}
    (tmp_path / "mitdb").symlink_to(real_data / "mitdb")  # is of no use here
    with pytest.raises(DataError, match=r"looked in .* for cpsc-2018-original, ptb-xl, challenge-2021\nGet one with"):
        cohort.named_cohort("real", 100, **options)
    (tmp_path / "ptb-xl").symlink_to(real_data / "ptb-xl")
    found = cohort.named_cohort("real", 100, **options)
    assert set(found.table["source"]) == {"PTB-XL"} and len(found) == 3
    lacking = "not at hand: cpsc-2018-original, challenge-2021."
    assert capsys.readouterr().out == f"The real cohort is here of ptb-xl alone; {lacking}\n"
    with pytest.raises(DataError, match="cpsc-2018-original"):  # what is committed wants all of them
        cohort.real_cohort(100, limit=3)
    monkeypatch.setenv("ECGSTUDY_DATA", str(real_data))
    assert set(cohort.named_cohort("real", 100, **options).table["source"]) > {"PTB-XL", "CPSC 2018"}
    assert capsys.readouterr().out == ""


def test_a_named_cohort_is_simulated_only_by_its_name():
    found = cohort.named_cohort("synthetic", 100, records=4, balance=1, seed=3)
    assert found.checksum == cohort.simulated_checksum(4, 100, seed=3, balance=1)
    for missing in ({"records": None, "balance": 1}, {"records": 4, "balance": None}):
        with pytest.raises(ProfileError, match="a simulated cohort needs both"):
            cohort.named_cohort("synthetic", 100, **missing, seed=3)
    with pytest.raises(ProfileError, match="'cohort' takes one of synthetic, real"):
        cohort.named_cohort("mine", 100, records=4, balance=1, seed=3)


def test_real_cohort_of_a_few(real_data):
    built = cohort.real_cohort(100, limit=6)
    assert set(built.table["source"]) >= {"CPSC 2018", "PTB-XL", "georgia", "cpsc_2018"}
    assert built.fs == 100 and built.labels.any()
    assert all(np.isfinite(built[i]).all() for i in range(len(built)))


@pytest.mark.slow
def test_real_cohort(real_data):
    built = cohort.real_cohort(125)
    assert len(built) == 937
    # Committed runs and answers name it so.
    assert built.checksum == "33f5758b7237784c"
    assert built.labels.sum(axis=0).tolist() == [415, 87, 26, 19, 52, 50, 42, 49, 11]
    assert (~built.labels.any(axis=1)).sum() == 241
    assert (built.left_out["reason"] == "same signal").all()
    # PTB-XL's 500, less five that repeat another's signal.
    assert [len(part) for part in built.official_split().values()] == [349, 80, 66]


def test_missing_data_set_names_place_and_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    with pytest.raises(Exception, match=rf"(?s)looked in {tmp_path}.*ecgstudy data fetch cpsc-2018-original"):
        cohort.real_cohort(100)


# What names a cache


def test_labels_patients_and_folds_in_memory_name_the_cache():
    identity = {"test": "stale"}
    first = build([record("a", 0, labels=("AF",), fold=1), record("b", 1)], identity=identity)
    for change in ({"labels": ("PVC",)}, {"patient": "p"}, {"fold": 2}, {"age": 60.0}, {"codes": ("x",)}):
        changed = record("a", 0, **{"labels": ("AF",), "fold": 1, **change})
        other = build([changed, record("b", 1)], identity=identity)
        assert other.folder != first.folder
        assert [CLASSES[c] for c in np.flatnonzero(other.labels[0])] == sorted(changed.labels)
        assert other.table.loc[0, ["patient_id", "fold"]].tolist() == [changed.patient_id, changed.fold]
        # Patients and folds reach a run through its split only, whose records are in the run's name.
        assert (other.checksum == first.checksum) == (changed.labels == {"AF"})
    signal = build([record("a", 5, labels=("AF",), fold=1), record("b", 1)], identity=identity)
    np.testing.assert_array_equal(signal[0], record("a", 5).signal)
    assert build([record("a", 0, labels=("AF",), fold=1), record("b", 1)], identity=identity).folder == first.folder


SOURCES = {"sources": ("cpsc-2018-original", "ptb-xl", "challenge-2021")}


def test_tables_of_labels_name_the_cache(small_data):
    without = cohort.real_cohort(100, **SOURCES)
    assert len(without) == 6 and without.labels.sum() == 2  # the Challenge's stand in the headers
    reference = small_data / "cpsc-2018-original" / "REFERENCE.csv"
    reference.write_text("Recording,First_label,Second_label,Third_label\nA0001,5,,\nA0002,8,,\n")
    table = "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold\n1,7,50,0,x,{'AFIB': 100.0},FOLD\n2,8,50,1,x,{},2\n"
    (small_data / "ptbxl_database.csv").write_text(table.replace("FOLD", "1"))
    found = cohort.real_cohort(100, **SOURCES)
    named = dict(zip(found.table["name"], found.labels, strict=True))
    assert [CLASSES[named[name].argmax()] for name in ("A0001", "A0002", "00001_hr")] == ["RBBB", "STD", "AF"]
    assert found.checksum != without.checksum
    # In the same process, of the same size.
    reference.write_text("Recording,First_label,Second_label,Third_label\nA0001,7,,\nA0002,8,,\n")
    (small_data / "ptbxl_database.csv").write_text(table.replace("FOLD", "9"))
    again = cohort.real_cohort(100, **SOURCES)
    about = again.table.set_index("name")
    assert about.loc["A0001", "codes"] == "7" and about.loc["00001_hr", "fold"] == 9
    assert again.checksum != found.checksum


@pytest.mark.parametrize("change", ["header", "signal", "renamed", "table above", "permission", "second file"])
def test_whatever_a_reading_depends_on_names_the_cache(small_data, monkeypatch, change):
    folder = small_data / "challenge-2021" / "training" / "georgia" / "g1"
    header, signal = folder / "E00001.hea", folder / "E00001.mat"
    if change == "second file":  # whatever a header calls it
        signal = signal.rename(folder / "E00001.signal")
        header.write_text(header.read_text().replace("E00001.mat", "E00001.signal"))
    before = cohort.real_cohort(100, sources=("challenge-2021",))
    match change:
        case "header":
            header.write_text(header.read_text().replace("164889003", "284470004"))
        case "signal" | "second file":
            signal.write_bytes(signal.read_bytes()[:-2] + b"\x07\x07")
        case "renamed":
            header.rename(folder / "E00003.hea")
        case "table above":
            (small_data.parent / "ptbxl_database.csv").write_text("ecg_id\n")
        case "permission":
            access = os.access
            monkeypatch.setattr(os, "access", lambda path, *a: Path(path) != signal and access(path, *a))
    assert cohort.real_cohort(100, sources=("challenge-2021",)).folder != before.folder


def test_annotations_above_and_hidden_files_do_not(small_data):
    before = cohort.real_cohort(100, sources=("challenge-2021",))
    (small_data / "challenge-2021" / "RECORDS").touch()
    (small_data / "challenge-2021" / "training" / "georgia" / "g1" / ".DS_Store").touch()
    assert cohort.real_cohort(100, sources=("challenge-2021",)).folder == before.folder


def test_files_that_change_while_they_are_read_are_told(small_data, monkeypatch):
    def read(path):
        (small_data / "cpsc-2018-original" / "REFERENCE.csv").write_text("A0001,5\n")
        return read_record(path)

    monkeypatch.setattr(cohort, "read_record", read)
    with pytest.raises(cohort.manifest.DataError, match="changed while it was built, nothing was kept: run again"):
        cohort.real_cohort(100, sources=("cpsc-2018-original",))
    monkeypatch.undo()


# What the machine fails at


def failing(times, error, only="E00001"):
    """Read records, but fail ``times`` at one of them as a machine does."""
    left = [times]

    def read(path):
        if path.stem == only and left[0]:
            left[0] -= 1
            raise RecordError(f"{path}: cannot be read ({error}); run again") from error
        return read_record(path)

    return read


MACHINE = [OSError(code, os.strerror(code)) for code in (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ESTALE)]


@pytest.mark.parametrize("error", [*MACHINE, MemoryError()], ids=repr)
def test_what_the_machine_fails_at_is_read_again_or_told_but_not_kept(small_data, monkeypatch, error):
    monkeypatch.setattr(cohort, "read_record", failing(1, error))
    assert len(cohort.real_cohort(100, sources=("challenge-2021",))) == 2
    monkeypatch.setattr(cohort, "read_record", failing(3, error))
    with pytest.raises(RecordError, match="E00001"):
        cohort.real_cohort(50, sources=("challenge-2021",))
    assert len(cohort.real_cohort(50, sources=("challenge-2021",))) == 2  # the third failure passed
    with pytest.raises(RecordError, match="a could not be read, nothing of the cohort was kept"):
        build([("a", error), record("b", 0)])


def test_a_failing_disk_is_the_machines_and_a_missing_file_the_records(small_data, monkeypatch):
    path = small_data / "challenge-2021" / "training" / "georgia" / "g1" / "E00001"
    for code, machines in ((errno.EIO, True), (errno.ENOENT, False), (errno.EACCES, False)):

        def fail(*_, code=code, **__):
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", fail)
            with pytest.raises(RecordError) as caught:
                read_record(path)
        assert by_machine(caught.value) == machines
    assert by_machine(MemoryError()) and not by_machine(RecordError("no samples"))


def test_a_folder_that_the_machine_cannot_list_is_told(small_data, monkeypatch):
    scandir = os.scandir

    def fail(folder):
        if Path(folder).name == "g1":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(RecordError, match="g1: cannot be listed"):
        find_records(small_data)


# What is left of a cache


@pytest.mark.parametrize("harm", ["zeros", "order", "cohort.json", "parquet"])
def test_a_cache_that_is_not_as_it_was_written_is_noticed(harm):
    records, identity = [record(name, i) for i, name in enumerate("abc")], {"test": f"harm {harm}"}
    folder = build(records, identity=identity).folder
    match harm:
        case "zeros":
            with (folder / "signals.bin").open("r+b") as file:
                file.seek(5000)
                file.write(bytes(300))
        case "order":
            table = pd.read_parquet(folder / "table.parquet")
            table[::-1].to_parquet(folder / "table.parquet")
        case "cohort.json":
            (folder / "cohort.json").write_text((folder / "cohort.json").read_text()[:50])
        case "parquet":
            (folder / "left_out.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenError, match=r"is broken \(.*\): delete it and run the command again"):
        build(records, identity=identity)


def test_checksums_of_cohorts_that_committed_runs_name(real_data):
    """The real cohort's, of a sixth of it: the whole one's is a slow test's."""
    config = {"version": cohort.CACHE_VERSION, "fs": 100.0, "dtype": "float32"}
    config |= {"cohort": "synthetic", "simulator": synthetic.VERSION}
    config |= {"records": 4, "seed": 3, "seconds": 6.0, "balance": 1}
    by_hand = hashlib.sha256(json.dumps(config).encode()).hexdigest()[:16]
    assert cohort.synthetic_cohort(4, 100.0, seed=3, seconds=6.0, balance=1).checksum == by_hand
    few = cohort.real_cohort(125.0, limit=2)
    digest = hashlib.sha256(b"125.0")
    for signal_hash, labels in zip(few.table["signal_hash"], few.labels, strict=True):
        digest.update(f"{signal_hash} {sorted(np.array(CLASSES)[labels].tolist())}".encode())
    assert few.checksum == digest.hexdigest()[:16]
