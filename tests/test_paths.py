import errno
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ecgstudy.paths import (
    RESULTS,
    BrokenError,
    files_below,
    is_sidecar,
    listed,
    read_json,
    read_table,
    told_if_broken,
    write_compact,
    written_whole,
)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with written_whole(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    with pytest.raises(RuntimeError), written_whole(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_replaces_the_one_before(tmp_path):
    target = tmp_path / "folder"
    for content in ("first", "second"):
        with written_whole(target) as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["second"]


def test_a_full_disk_is_told_with_its_remedy(tmp_path):
    target = tmp_path / "file.bin"
    target.write_bytes(b"earlier")
    message = r"disk is full, nothing of .*file\.bin was kept: free some space"
    with pytest.raises(OSError, match=message) as caught, written_whole(target) as partial:
        partial.symlink_to("/dev/full")  # the kernel's own full disk
        partial.write_bytes(b"half")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"earlier"


def test_only_a_full_disk_asks_for_space(tmp_path):
    full = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")  # safetensors'
    with pytest.raises(OSError, match="free some space"), written_whole(tmp_path / "a"):
        raise full
    for other in (OSError(errno.EIO, "a bad disk"), PermissionError(errno.EACCES, "not yours"), RuntimeError("x")):
        with pytest.raises(type(other)) as caught, written_whole(tmp_path / "a"):
            raise other
        assert caught.value is other


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"PAR1" * 30])
@pytest.mark.parametrize("read", [read_json, read_table])
def test_a_broken_file_says_what_to_delete(tmp_path, read, content):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(BrokenError, match=r"broken is broken \(.*\): delete it and run the command again") as told:
        read(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(BrokenError, match="FileNotFoundError"):
        read(tmp_path / "none")


def test_a_broken_result_is_brought_back_and_a_bad_disk_is_no_broken_file(tmp_path):
    with pytest.raises(BrokenError, match="bring it back with `git restore results/x`"), told_if_broken(RESULTS / "x"):
        raise KeyError("x")
    for error in (OSError(errno.EIO, "a bad disk"), MemoryError(), PermissionError(errno.EACCES, "not yours")):
        with pytest.raises(type(error)) as caught, told_if_broken(tmp_path):
            raise error
        assert caught.value is error


def test_what_a_killed_process_left_is_removed_and_a_live_ones_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, live = tmp_path / f"file.txt.{dead.pid}.partial", tmp_path / "file.txt.1.partial"
    left.mkdir()
    live.write_text("somebody's")
    with written_whole(tmp_path / "file.txt") as partial:
        partial.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", live.name]


def test_a_compact_table_is_the_table_in_fewer_bytes(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(500, 3)).astype(np.float16), columns=list("abc"))
    frame["d"] = rng.random(500).astype(np.float32).astype(np.float64)
    frame = frame.assign(name=[f"r{i}" for i in range(500)], called=rng.random(500) > 0.5, record=np.arange(500))
    frame["part"] = pd.Categorical(np.where(frame["called"], "test", "valid"))
    write_compact(frame, tmp_path / "compact")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "compact"), frame)
    frame.to_parquet(tmp_path / "plain")
    assert (tmp_path / "compact").stat().st_size < 0.75 * (tmp_path / "plain").stat().st_size


SIDECARS = [
    "._1.hea", ".DS_Store", ".ipynb_checkpoints", ".~lock.a.csv#", "1.hea~", "1.hea.tmp", "1.dat.partial", "1.dat.part",
    "1.dat.crdownload", "1.hea:Zone.Identifier", "1.hea.Zone.Identifier", "1.heaZone.Identifier", "~$a.csv", "#1.hea#",
    "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN",
]  # fmt: skip
DATA = [
    "1.hea", "1.i", "A0001.mat", "x~y.csv", "tmp", "temp.hea", "part.npy", "a.b.dat", "RECORDS", "icons", "thumbs.csv",
    "A(1).hea",
]  # fmt: skip


def test_sidecars_are_known_by_name():
    assert all(map(is_sidecar, [*SIDECARS, "System Volume Information", "Icon\r"]))
    assert not any(map(is_sidecar, DATA))


def test_files_are_listed_without_sidecars(tmp_path):
    root = tmp_path / ".cache" / "data"  # a hidden folder above hides nothing
    for folder in ("a", "a/deep", "__MACOSX/a", "a/.ipynb_checkpoints"):
        (root / folder).mkdir(parents=True)
        for name in ("1.hea", "._1.hea", ".DS_Store", "1.hea~", "1.hea:Zone.Identifier"):
            (root / folder / name).touch()
    (root / "a" / "deep" / "loop").symlink_to(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.hea").touch()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "gone.hea").symlink_to(tmp_path / "nowhere")
    found = [path.relative_to(root).as_posix() for path in files_below(root)]
    assert found == ["gone.hea", "a/1.hea", "a/deep/1.hea", "linked/2.hea"]
    assert [path.relative_to(root).as_posix() for path in listed(root, "*/*.hea")] == ["a/1.hea", "linked/2.hea"]
