import errno
import subprocess
import sys

import pytest

from ecgstudy.paths import written_whole


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
