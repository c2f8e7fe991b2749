import ast
import errno
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest

from ecgstudy import paths
from ecgstudy.paths import (
    REPOSITORY,
    RESULTS,
    SEALS,
    BrokenError,
    files_below,
    is_sidecar,
    listed,
    read_json,
    read_sealed,
    read_table,
    told_if_broken,
    write_compact,
    write_sealed,
    written_table,
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


def test_a_table_keeps_its_checksum_beside_it(tmp_path):
    for name, text in (("a.csv", "1"), ("b.csv", "2"), ("a.csv", "3")):
        with written_table(tmp_path / name) as partial:
            partial.write_text(text)
    assert read_json(tmp_path / SEALS) == {"a.csv": f"{zlib.crc32(b'3'):08x}", "b.csv": f"{zlib.crc32(b'2'):08x}"}
    with pytest.raises(ZeroDivisionError), written_table(tmp_path / "a.csv") as partial:
        partial.write_text(str(1 / 0))
    assert read_json(tmp_path / SEALS)["a.csv"] == f"{zlib.crc32(b'3'):08x}"


KILLED = """
import os, signal
from pathlib import Path
from ecgstudy.paths import written_whole

os.getpid = lambda: 1  # as in two containers on one folder
with written_whole(Path("target")) as partial:
    partial.write_text("somebody's")
    print("begun", flush=True)
    input()
"""


def test_a_killed_writers_part_is_removed_and_a_live_ones_kept_whatever_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    command = {"args": [sys.executable, "-c", KILLED], "cwd": tmp_path, "text": True}
    writers = [subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [writer.stdout.readline() for writer in writers] == ["begun\n"] * 2
    killed, live = writers
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with written_whole(tmp_path / "target") as partial:
        partial.write_text("ours")
    assert sorted(p.name.split(".")[0] for p in tmp_path.iterdir()) == ["target", "target"]
    assert (tmp_path / "target").read_text() == "ours"
    live.communicate("\n")
    assert live.returncode == 0
    assert [p.read_text() for p in tmp_path.iterdir()] == ["somebody's"]


def test_parts_without_a_lock_are_removed_after_a_day(tmp_path):
    fresh, old = tmp_path / "file[1].12.partial", tmp_path / "file[1].13.partial"
    for left in (fresh, old):
        left.mkdir()
        (left / "half").touch()
    os.utime(old, (0, 0))
    with written_whole(tmp_path / "file[1]") as partial:
        partial.touch()
    assert {p.name for p in tmp_path.iterdir()} == {"file[1]", fresh.name}


TOGETHER = """
import os, sys
from pathlib import Path
from ecgstudy.paths import written_whole

os.getpid = lambda: 1
children = []
for number in range(4):
    child = os.fork()
    if not child:
        for turn in range(20):
            with written_whole(Path("folder")) as partial:
                partial.mkdir()
                for name in "ab":
                    (partial / name).write_text(f"{number} {turn}")
            with written_whole(Path("file")) as partial:
                partial.write_text("x" * 1000 * number)
        os._exit(0)
    children.append(child)
failed = [child for child in children if os.waitpid(child, 0)[1]]
left, written = sorted(os.listdir(".")), {p.read_text() for p in Path("folder").iterdir()}
assert not failed and left == ["file", "folder"] and len(written) == 1, (failed, left, written)
"""


def test_many_writers_of_one_target_all_succeed(tmp_path):
    result = subprocess.run([sys.executable, "-c", TOGETHER], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "whole").touch()
    with pytest.raises(IsADirectoryError), written_whole(tmp_path / "target") as partial:
        partial.write_text("a file for a folder")
    assert [p.name for p in tmp_path.rglob("*")] == ["target", "whole"]


def sealed(folder):
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(range(256)) * 10)
    (folder / "table").write_text("one\ntwo\n")
    write_sealed(folder / "about.json", {"name": "x", "fs": 100.0})
    return folder / "about.json"


def test_what_is_sealed_comes_back(tmp_path):
    assert read_sealed(sealed(tmp_path / "a")) == {"name": "x", "fs": 100.0}


@pytest.mark.parametrize("harm", ["zeros", "cut", "gone", "order", "about", "empty", "seal"])
def test_any_change_of_what_is_sealed_is_noticed(tmp_path, harm):
    about = sealed(tmp_path / "a")
    data, table = about.with_name("data.bin"), about.with_name("table")
    wrong = {"order": table, "about": about}.get(harm, data).name if harm not in ("empty", "seal") else ""
    match harm:
        case "zeros":
            data.write_bytes(data.read_bytes()[:500] + bytes(100) + data.read_bytes()[600:])
        case "cut":
            data.write_bytes(data.read_bytes()[:-1])
        case "gone":
            data.unlink()
        case "order":
            table.write_text("two\none\n")
        case "about":
            about.write_text(about.read_text().replace("100.0", "200.0"))
        case "empty":
            about.write_text("")
        case "seal":
            about.write_text(about.read_text().replace('"crc32"', '"other"'))
    with pytest.raises(BrokenError, match=rf"/a is broken \(.*{wrong}.*: delete it and run the command again"):
        read_sealed(about)


WRITERS = {
    "to_csv",
    "to_parquet",
    "write_table",
    "to_json",
    "write_text",
    "write_bytes",
    "savefig",
    "save_file",
    "save",
}
# What is written elsewhere than under results/ and the caches, or inside of a block of a caller's.
NOT_WHOLE = {
    ("paths.py", "write_compact"),
    ("paths.py", "write_sealed"),
    ("cohort.py", "_write_tables"),
    ("cohort.py", "_join"),
    ("plots.py", "svg"),  # to memory
    ("synthetic.py", "write"),
    ("beats.py", "checksum"),  # to a text in memory
    ("bench.py", "other"),  # a temporary folder
    ("build.py", "render"),  # _build
    ("own_ecg.py", "write_reports"),  # into what `render` writes whole
    ("live.py", "write"),  # the same
    ("training.py", "_write"),  # into what `train` and `mean_of` write whole
    ("07_beat_gradcam.ipynb", ""),  # calls single_beats.save, which writes whole
    ("pages.py", "_finish"),  # _build
    ("pages.py", "_mend"),  # the same
    ("pages.py", "_copies"),  # the same
    ("grading.py", "run"),  # a temporary folder
    ("slides.py", "stage"),  # the same
    ("slides.py", "shown"),  # the same
    ("slides.py", "_finish"),  # into what `make` writes whole
}


def test_code_is_known_by_the_files_that_match(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    (tmp_path / "explain").mkdir()
    one, other, page = tmp_path / "explain" / "one.py", tmp_path / "other.py", tmp_path / "page.css"
    for path in (one, other, page):
        path.write_text(path.name)

    def hashes():
        paths.code_hash.cache_clear()
        return [paths.code_hash(*p) for p in (("explain/*.py",), ("explain/*.py", "*.css"), ("**/*.py",))]

    before = hashes()
    assert len(set(before)) == 3
    for changed, wanted in ((one, [False] * 3), (page, [True, False, True]), (other, [True, True, False])):
        changed.write_text("changed")
        (tmp_path / "explain" / "._one.py").write_text("a sidecar")
        after = hashes()
        assert [a == b for a, b in zip(before, after, strict=True)] == wanted
        before = after
    paths.code_hash.cache_clear()


def test_everything_is_written_whole():
    code = {path: path.read_text() for path in (REPOSITORY / "ecgstudy").rglob("*.py")}
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        code[path] = "\n".join("".join(cell["source"]) for cell in cells)
    found = set()
    for path, text in code.items():
        if not any(f".{writer}(" in text or f" {writer}(" in text for writer in WRITERS):
            continue
        within = {}  # node → innermost function, and whether it is in a block of written_whole
        for node in ast.walk(ast.parse(text)):
            function, whole = within.get(node, ("", False))
            if isinstance(node, ast.FunctionDef):
                function = node.name
            elif isinstance(node, ast.With):
                opened = [ast.unparse(item.context_expr) for item in node.items]
                whole |= any("written_whole(" in text or "written_table(" in text for text in opened)
            elif isinstance(node, ast.Call) and not whole:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found |= {(path.name, function)} if name in WRITERS else set()
            within.update(dict.fromkeys(ast.iter_child_nodes(node), (function, whole)))
    assert ("paths.py", "write_compact") in found and found <= NOT_WHOLE, found - NOT_WHOLE
