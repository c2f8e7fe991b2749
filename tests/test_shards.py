"""A cohort built in shards is, file by file, the one that is built in one piece."""

import dataclasses
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from ecgstudy.cli import app
from ecgstudy.data import building, cohort, own, shards
from ecgstudy.data.building import Build
from ecgstudy.data.cohort import Cohort, Recipe
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import LEADS, Record, RecordError
from ecgstudy.paths import BrokenError, cache_root, write_sealed


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))


def record(name, seed, *, fs=100, samples=300, labels=("NSR",), **other):
    x = np.random.default_rng(seed).normal(size=(12, samples)).astype(np.float32)
    return Record(name, x, fs, LEADS, "test", other.pop("patient", name), frozenset(labels), **other)


# Of ages, sexes and folds some are known; some shards know none, and some nothing but whole numbers.
MIXED = [
    record("a", 0, age=60, sex="Male", fold=1),
    record("b", 1, fs=500, samples=1700, labels=("AF", "PVC"), age=70, fold=2, codes=("x", "y")),
    record("b again", 1, fs=500, samples=1700),
    ("broken", RecordError("broken.hea: no samples")),
    record("c", 2, labels=()),
    record("d", 3, patient="p"),
    record("a again", 0, labels=("STD",), age=61.5),
    record("e", 4, samples=77, notes=("odd",), sex="Female"),
    Record("two leads", np.zeros((2, 300), np.float32), 100, ("MLII", "V5"), "test", "q"),
    record("a once more", 0),
    record("d again", 3),
    record("f", 5, age=35.5, fold=3),
]


def recipe_of(records, **options):
    def read(first, last):
        yield from records[first:last]

    return Recipe(100.0, {"test": "shards"}, len(records), read, **options)


def in_one_piece(monkeypatch, tmp_path, made):
    """What a function makes in a cache that has no shards."""
    with monkeypatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(tmp_path / "one piece"))
        return made()


def assert_same(a, b):
    """The same cohort to the bit: tables as they are on disk, checksum, classes, every signal."""
    assert a.folder.name == b.folder.name and a.folder != b.folder and a.checksum == b.checksum
    for name in ("table.parquet", "left_out.parquet"):
        assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes(), name
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)
    pd.testing.assert_frame_equal(a.left_out, b.left_out, check_exact=True)
    np.testing.assert_array_equal(a.labels, b.labels)
    assert (a.classes, a.dtype, a.fs, a.own) == (b.classes, b.dtype, b.fs, b.own)
    for i in range(len(a)):
        assert a[i].tobytes() == b[i].tobytes() and a[i].shape == b[i].shape


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("options", [{}, {"dtype": "int16"}, {"by_content": False}], ids=str)
def test_shards_in_any_order_are_the_cohort_in_one_piece(count, options, monkeypatch, tmp_path):
    recipe = recipe_of(MIXED, **options)
    whole = in_one_piece(monkeypatch, tmp_path, recipe.cohort)
    assert whole.table["name"].tolist() == list("abcdef") and not whole.shards
    for number in np.random.default_rng(count).permutation(count) + 1:
        recipe.shard(int(number), count)
    built = recipe.cohort()
    assert len(built.shards) == count
    assert_same(built, whole)
    assert built.left_out["detail"].tolist() == whole.left_out["detail"].tolist()
    np.testing.assert_array_equal(built.folds(2), whole.folds(2))
    for (_, x, valid), (_, y, known) in zip(built.batches(4), whole.batches(4), strict=True):
        assert x.tobytes() == y.tobytes() and valid.tobytes() == known.tobytes()


def test_classes_of_ones_own(monkeypatch, tmp_path):
    records = [record(str(i), i, labels=("wide",) if i % 2 else ()) for i in range(5)]
    recipe = recipe_of(records, classes=("narrow", "wide"))
    whole = in_one_piece(monkeypatch, tmp_path, recipe.cohort)
    for number in (2, 1):
        recipe.shard(number, 2)
    assert_same(recipe.cohort(), whole)


def test_a_shard_of_nothing_that_is_kept(monkeypatch, tmp_path):
    records = [record("a", 0), record("b", 1), ("x", RecordError("x: no")), ("y", RecordError("y: no"))]
    recipe = recipe_of(records)
    whole = in_one_piece(monkeypatch, tmp_path, recipe.cohort)
    for number in (1, 2):
        recipe.shard(number, 2)
    assert_same(recipe.cohort(), whole)
    nothing = recipe_of(records[2:], by_content=False)
    for number in (1, 2):
        dataclasses.replace(nothing, identity={"test": "nothing"}).shard(number, 2)
    with pytest.raises(ValueError, match=r"no record to make a cohort of \(2 left out\)"):
        dataclasses.replace(nothing, identity={"test": "nothing"}).cohort()


def test_what_the_machine_fails_at_leaves_no_shard():
    recipe = recipe_of([record("a", 0), ("b", OSError(5, "Input/output error"))])
    recipe.shard(1, 2)
    with pytest.raises(RecordError, match="b could not be read, nothing of the cohort was kept"):
        recipe.shard(2, 2)
    folder = shards.folder_of(recipe.folder, 1, 2).parent
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["1-of-2"]
    assert shards.lacking(recipe.folder, 2) == [2]


def test_bounds_part_all_records():
    for total, count in ((1, 1), (10, 3), (8193, 2), (300_000, 37)):
        parts = [shards.bounds(total, number, count) for number in range(1, count + 1)]
        assert [record for first, last in parts for record in range(first, last)] == list(range(total))
        sizes = {last - first for first, last in parts}
        assert max(sizes) - min(sizes) <= 1 and min(sizes) > 0
    for number, count, message in ((0, 3, "numbered from 1 to 3"), (4, 3, "from 1 to 3"), (1, 9, "at most 8 shards")):
        with pytest.raises(ValueError, match=message):
            shards.bounds(8, number, count)


# Named cohorts

SIMULATED = Build("synthetic", 100, 12, 1, 3)


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def named(build):
    options = {"records": build.records, "balance": build.balance, "seed": build.seed}
    return cohort.named_cohort(build.name, build.fs, **options, tell=False)


def test_the_command_makes_shards_and_then_the_cohort(monkeypatch, tmp_path):
    whole = in_one_piece(monkeypatch, tmp_path, lambda: named(SIMULATED))
    asked = ["data", "build", "--cohort", "synthetic", "--fs", 100, "--records", 12, "--balance", 1, "--seed", 3]
    said = []
    for shard in ("2/3", "3/3", "2/3", "1/3", "1/3"):
        result = call(*asked, "--shard", shard)
        assert result.exit_code == 0, result.output
        said.append(result.stdout.splitlines()[-1])
    assert said == [
        "shard 2/3 is there; 2 lack: 1, 3",
        "shard 3/3 is there; 1 lack: 1",
        "shard 2/3 is there; 1 lack: 1",
        "shard 1/3 is there; the cohort is whole",
        "shard 1/3 is there; the cohort is whole",
    ]
    built = named(SIMULATED)
    assert_same(built, whole)
    assert built.checksum == cohort.simulated_checksum(12, 100, seed=3, balance=1)
    result = call(*asked)
    assert result.exit_code == 0 and f"12 records, 0 left out, checksum {whole.checksum}" in result.stdout


def test_real_recordings_in_shards(small_data, monkeypatch, tmp_path):
    # The same signal under a second name, in another shard.
    folder = small_data / "challenge-2021" / "training" / "georgia" / "g1"
    for suffix in (".hea", ".mat"):
        content = (folder / f"E00001{suffix}").read_bytes()
        (folder / f"E00009{suffix}").write_bytes(content.replace(b"E00001", b"E00009"))
    (folder / "E00005.hea").write_text("E00005 12 500 5500\n")
    build = Build("real", 125, None, None, 0)
    whole = in_one_piece(monkeypatch, tmp_path, lambda: named(build))
    assert set(whole.left_out["reason"]) == {"same signal", "unreadable"}
    for number in (4, 2, 1, 3):
        absent = build.shard(number, 4)
    assert absent == []
    assert_same(named(build), whole)
    (folder / "E00001.hea").write_text((folder / "E00001.hea").read_text().replace("164889003", "284470004"))
    assert not named(build).shards  # other files: another cohort, which is built in one piece


def test_recordings_that_change_leave_no_shard(small_data, monkeypatch):
    recipe = cohort.real_recipe(125, sources=("challenge-2021",))
    (small_data / "challenge-2021" / "training" / "georgia" / "g1" / "E00003.hea").write_text("E00003 12 500 5500\n")
    with pytest.raises(DataError, match="changed while it was built, nothing was kept"):
        recipe.shard(1, 2)
    assert shards.lacking(recipe.folder, 2) == [1, 2]


def test_ones_own_recordings_in_shards(monkeypatch, tmp_path):
    (tmp_path / "recordings").mkdir()
    rows = ["record,labels,fold"]
    for number in range(6):
        x = np.random.default_rng(number % 5).normal(size=(12, 1500)).astype(np.float32)  # the last is the first
        np.save(tmp_path / "recordings" / f"r{number}.npy", x)
        rows.append(f"r{number},{'wide' if number % 2 else 'narrow'},{number % 3}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    def add():
        own.add_cohort("mine", tmp_path / "recordings", labels=tmp_path / "labels.csv", fs=250)

    def whole():
        add()
        return named(build)

    build = Build("mine", 125, None, None, 0)
    expected = in_one_piece(monkeypatch, tmp_path, whole)
    assert expected.left_out["detail"].tolist() == ["r0"]
    add()
    for number in (3, 1, 2):
        build.shard(number, 3)
    built = named(build)
    assert_same(built, expected)
    np.testing.assert_array_equal(built.given_folds(), expected.given_folds())


def test_shards_that_lack_are_named_with_the_command_that_makes_them():
    SIMULATED.shard(2, 4)
    SIMULATED.shard(4, 4)
    with pytest.raises(DataError, match=r"lacks shards 1, 3 of 4\. Make each with `(ecgstudy .*) --shard 1/4`") as told:
        named(SIMULATED)
    assert not SIMULATED.recipe.folder.exists()
    for number in (1, 3):
        command = re.search("`(.*?)`", str(told.value))[1].replace("--shard 1/4", f"--shard {number}/4")
        program, *arguments = shlex.split(command)
        assert program == "ecgstudy" and call(*arguments).exit_code == 0
    assert len(named(SIMULATED)) == 12
    # One that goes later is missed, too; the cohort knows the command even if all have gone.
    folder = shards.folder_of(SIMULATED.recipe.folder, 3, 4)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"lacks shard 3 of 4\. Make it with `ecgstudy data build .* --shard 3/4`"):
        named(SIMULATED)
    folder.parent.rename(folder.parent.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"lacks shards 1, 2, 3, 4 of 4\. Make each with `ecgstudy data build --cohort"):
        named(SIMULATED)


def test_of_two_numbers_of_shards_the_nearer_counts(monkeypatch, tmp_path):
    for number in (1, 2):
        SIMULATED.shard(number, 3)
    SIMULATED.shard(1, 2)
    SIMULATED.shard(1, 4)
    assert shards.begun(SIMULATED.recipe.folder) == 2
    assert SIMULATED.shard(3, 3) == [] and len(named(SIMULATED).shards) == 3
    assert shards.begun(Build("synthetic", 100, 13, 1, 3).recipe.folder) == 0


def test_a_shard_that_is_not_as_it_was_written_is_noticed_where_it_is_read():
    recipe = recipe_of([record(str(i), i) for i in range(6)])
    for number in (1, 2):
        recipe.shard(number, 2)
    built = recipe.cohort()
    with (built.shards[1] / "signals.bin").open("r+b") as file:
        file.seek(5000)
        file.write(bytes(300))
    shards.signals.cache_clear()
    assert built[2].any()
    with pytest.raises(BrokenError, match=r"2-of-2 is broken \(.*signals.bin is not as it was written\): delete it"):
        built[3]
    with pytest.raises(BrokenError, match="2-of-2 is broken"):
        recipe.shard(2, 2)
    (built.shards[1] / "table.parquet").write_bytes(b"PAR1")
    for path in built.folder.iterdir():
        path.unlink()
    built.folder.rmdir()
    with pytest.raises(BrokenError, match="2-of-2 is broken"):
        recipe.cohort()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "3"), "--shard 3: write it as i/n, for example 3/8"),
        (("--shard", "-1/3"), "write it as i/n"),
        (("--shard", "4/3"), "shards are numbered from 1 to 3"),
        (("--shard", "1/13"), "12 records make at most 12 shards"),
        (("--records", "many"), "parameter 'records' takes a whole number"),
        (("--fs", "0"), "parameter 'fs' takes a number (float), above 0"),
        (("--balance", "null"), "a simulated cohort needs both"),
        (("--cohort", "mine"), "parameter 'cohort' takes one of synthetic, real"),
        (("--cohort", "real"), "no real recordings are at hand"),
    ],
)
def test_what_cannot_be_built_is_told_in_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    asked = ["data", "build", "--cohort", "synthetic", "--fs", 100, "--records", 12, "--balance", 1, *arguments]
    result = call(*asked)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "cache" / "cohorts").exists()


# Many processes


def test_a_whole_cohort_by_several_processes(monkeypatch, tmp_path):
    whole = in_one_piece(monkeypatch, tmp_path, lambda: named(SIMULATED))
    monkeypatch.setattr(building, "RECORDS", 5)
    SIMULATED.shard(2, 3)
    stamped = (shards.folder_of(SIMULATED.recipe.folder, 2, 3) / shards.SEALED).stat().st_mtime_ns
    built = SIMULATED.whole(jobs=2)
    assert len(built.shards) == 3 and (built.shards[1] / shards.SEALED).stat().st_mtime_ns == stamped
    assert_same(built, whole)


def test_few_records_are_built_in_one_piece():
    assert not SIMULATED.whole(jobs=2).shards


def test_two_jobs_at_a_time_one_of_them_killed(monkeypatch, tmp_path):
    build = Build("synthetic", 100, 300, 1, 3)
    command = [sys.executable, "-m", "ecgstudy.cli", "data", "build", "--cohort", "synthetic", "--fs", "100"]
    command += ["--records", "300", "--balance", "1", "--seed", "3", "--shard"]
    jobs = [subprocess.Popen([*command, f"{number}/2"], stdout=subprocess.PIPE, text=True) for number in (1, 2)]
    folder = build.recipe.folder
    while not any(file.stat().st_size for file in folder.parent.glob(f"{folder.name}.shards/1-of-2.*/*/signals.bin")):
        assert jobs[0].poll() is None
        time.sleep(0.002)
    jobs[0].send_signal(signal.SIGKILL)
    jobs[0].communicate()
    assert jobs[1].communicate()[0] == "shard 2/2 is there; 1 lack: 1\n"
    assert [job.returncode for job in jobs] == [-signal.SIGKILL, 0]
    with pytest.raises(DataError, match="lacks shard 1 of 2"):
        named(build)
    assert build.shard(1, 2) == []
    left = {path.name for path in (folder.parent / f"{folder.name}.shards").iterdir() if path.is_dir()}
    assert left == {"1-of-2", "2-of-2"}
    assert_same(named(build), in_one_piece(monkeypatch, tmp_path, lambda: named(build)))


# Memory

RECORDS, SAMPLES = 40_000, 2500  # 4.5 GiB of signals


def sparse(folder, records):
    """A file of signals that is as long as it says, and takes no room on the disk."""
    folder.mkdir(parents=True)
    with (folder / "signals.bin").open("wb") as file:
        file.truncate(records * 12 * SAMPLES * 4)
        file.seek((records - 1) * 12 * SAMPLES * 4)
        file.write(np.full(12 * SAMPLES, 7, np.float32).tobytes())


def table_of(records):
    return pd.DataFrame({"samples": np.full(records, SAMPLES), "offset": np.arange(records) * SAMPLES})


def grown(data):
    """Bytes that this process has more after it has read records here and there."""
    data[0]
    before, order = psutil.Process().memory_info().rss, np.random.default_rng(0).permutation(len(data))[:2000]
    data.ahead(order[:50])
    seen = sum(float(data[int(record)].sum()) for record in order)
    assert seen % (7 * 12 * SAMPLES) == 0
    assert data[len(data) - 1].tobytes() == np.full((12, SAMPLES), 7, np.float32).tobytes()
    return psutil.Process().memory_info().rss - before


def test_random_access_does_not_load_a_cohort(tmp_path):
    sparse(tmp_path / "cohort", RECORDS)
    table, labels = table_of(RECORDS), np.zeros((RECORDS, len(CLASSES)), bool)
    data = Cohort(tmp_path / "cohort", 250, table, labels, pd.DataFrame(), "x")
    assert (tmp_path / "cohort" / "signals.bin").stat().st_size > 4 * 2**30
    assert grown(data) < 32 * 2**20  # 2,000 records are 228 MiB


def test_random_access_does_not_load_a_shard(tmp_path):
    folders = tuple(tmp_path / f"{number}-of-2" for number in (1, 2))
    for folder in folders:
        sparse(folder, 2000)
        write_sealed(folder / shards.SEALED, {})
    places = np.column_stack([np.repeat([0, 1], 2000), np.tile(np.arange(2000), 2) * SAMPLES])
    data = Cohort(tmp_path, 250, table_of(4000), np.zeros((4000, 9), bool), pd.DataFrame(), "x")
    data = dataclasses.replace(data, shards=folders, places=places)
    data[3999]  # both have been compared with their checksums
    assert grown(data) < 32 * 2**20  # the two shards have 458 MiB
    assert Path(cache_root()) not in folders[0].parents
