import errno
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ecgstudy.paths import write_compact, written_whole


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
