"""The manifest, and fetching and checking data sets against a server that misbehaves on purpose."""

import csv
import errno
import gzip
import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import filelock
import pytest
import yaml

from ecgstudy import paths
from ecgstudy.data import fetch as fetching
from ecgstudy.data import manifest as manifests
from ecgstudy.data.fetch import Progress, fetch, unpack
from ecgstudy.data.manifest import (
    DataError,
    data_set,
    load_manifest,
    locate,
    manifest_checksum,
    read_checksums,
    safe_path,
    verify,
)
from tests.attack import archives

LARGE = bytes(range(256)) * 2048  # 512 KiB: several reads, so that half of it is on disk when the other half is not
FILES = {
    "data/1.hea": b"1 2 500 5000\n",
    "data/1.dat": LARGE,
    "data/2.hea": b"2 2 500 5000\n",
    "data/2.dat": b"the second record",
    "data/notes on both.txt": b"a table",
    "RECORDS": b"data/1\ndata/2\n",
}
FIELDS = {
    "title": "A set",
    "version": "1.0",
    "licence": "CC0",
    "licence_url": "http://licence.test/",
    "citation": "someone2020set",
    "landing_page": "http://landing.test/set/",
    "users": "anyone",
    "note": "for the tests",
    "records": 2,
}
QUICK = {"timeout": 0.5, "attempts": 3, "backoff": 0.01}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def listing(files):
    return "".join(f"{sha256(content)} {path}\n" for path, content in files.items()).encode()


class Handler(BaseHTTPRequestHandler):
    server: "Upstream"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        upstream = self.server
        path, wanted = unquote(self.path[1:]), self.headers.get("Range")
        upstream.asked.append((path, wanted))
        fault = next(upstream.faults.get(path, iter(())), "")
        if callable(fault):
            self.close_connection = True
            fault(self)
            return
        if upstream.together:
            upstream.together.wait(timeout=5)
        if fault.isdigit() or path not in upstream.files:
            self.send_error(int(fault or 404))
            return
        body = memoryview(upstream.files[path])
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and upstream.ranges else 0
        if start >= len(body) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if fault in ("cut", "stall"):
            self.wfile.write(rest[: len(rest) // 2])
            if fault == "stall":
                upstream.over.wait(5)
            self.close_connection = True
        elif fault == "slow":
            for begin in range(0, len(rest), 1 << 16):
                self.wfile.write(rest[begin : begin + (1 << 16)])
                upstream.over.wait(0.2)
        else:
            self.wfile.write(bytes(len(rest)) if fault == "wrong" else rest)

    def log_message(self, *args):
        pass


class Upstream(ThreadingHTTPServer):
    """Serves ``files``; each request for a path takes the next of its ``faults``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.ranges, self.together = {}, {}, True, None
        self.asked, self.over = [], threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def offer(self, files):
        self.files = files | {"SHA256SUMS.txt": listing(files)}

    def handle_error(self, request, client_address):
        pass  # the client hung up, as some tests mean it to

    def stop(self):
        self.over.set()
        self.shutdown()
        self.server_close()


def _served():
    server = Upstream()
    server.offer(dict(FILES))
    yield server
    server.stop()


upstream = pytest.fixture(_served, name="upstream")
mirror = pytest.fixture(_served, name="mirror")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the data set named ``set`` goes."""
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "data" / "set"


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest of one data set, given the fields that differ from the common ones."""

    def write(**changes):
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump({"set": FIELDS | changes}))
        return path

    return write


@pytest.fixture
def listed(manifest, upstream):
    """A data set with a checksum list whose own sum the manifest knows, on one server."""
    return manifest(
        urls=[upstream.url],
        checksum_file="SHA256SUMS.txt",
        checksum_file_sha256=sha256(upstream.files["SHA256SUMS.txt"]),
        record_files="data/*.hea",
    )


def content(folder):
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# ---- the manifest -------------------------------------------------------------------------------------------------


def test_shipped_manifest_holds_what_the_study_promises():
    known = load_manifest()
    assert {"ludb", "mitdb", "ptb-xl", "challenge-2021", "cpsc-2018-original", "challenge-2020-evaluation"} <= set(
        known
    )
    for dataset in known.values():
        assert dataset.folder == paths.data_root() / dataset.name
        assert all(url.startswith("https://") and url.endswith("/") for url in dataset.urls)
    assert known["ludb"].checksum_file_sha256.startswith("cccef1f3")
    assert sum(known["challenge-2021"].counts["sources"].values()) == known["challenge-2021"].records == 88253
    beats = known["mitdb"].counts
    assert sum(beats["all"].values()) == 109494
    assert all(beats["DS1"][kind] + beats["DS2"][kind] <= beats["all"][kind] for kind in "NSVFQ")
    assert manifest_checksum() == sha256(paths.MANIFEST.read_bytes())


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (FIELDS | {"colour": "red"}, "set: unknown field colour"),
        ({k: v for k, v in FIELDS.items() if k != "licence"}, "set: missing field licence"),
        (FIELDS | {"records": "many"}, "field records must be int"),
        (FIELDS | {"version": 1.0}, "field version must be str"),
        (FIELDS | {"urls": "http://one.test/"}, "field urls must be list"),
        (FIELDS | {"checksum_file": "sums", "checksum_file_sha256": "abc"}, "'abc' is not a SHA-256"),
        (FIELDS | {"files": [{"path": "a"}]}, r"files\[0\]: missing field sha256"),
        (FIELDS | {"files": [{"path": "../a", "sha256": "0" * 64}]}, "leads out of its folder"),
        (FIELDS | {"archives": ["a.zip"]}, r"archives\[0\] must be a mapping"),
        ("a word", "set must be a mapping"),
        (FIELDS | {"urls": [5]}, "field urls must be a list of texts"),
        (FIELDS | {"size": "some"}, "'some' is not a size"),
        (FIELDS | {"record_files": "/data/*.hea"}, "leads out of its folder"),
        (FIELDS | {"archives": [{"url": "http://one.test/a.zip", "checksum": "crc:00"}]}, "'crc:00' is not a checksum"),
    ],
)
def test_manifest_errors_name_file_data_set_and_field(tmp_path, entry, named):
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump({"set": entry}))
    with pytest.raises(DataError, match=rf"broken\.yaml: .*{named}"):
        load_manifest(path)


def test_lists_and_manifests_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(3 << 30)
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "hole", "folder"):
        for read in (read_checksums, load_manifest):
            with pytest.raises(DataError, match=rf"{name} is not a file of at most [\d,]+ bytes"):
                read(tmp_path / name)


@pytest.mark.parametrize("name", ["../up", "a/b", 5, "", "a\0b"])
def test_a_data_set_is_called_by_a_name_that_its_folder_can_have(tmp_path, name):
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump({name: FIELDS}))
    with pytest.raises(DataError, match=r"broken\.yaml"):
        load_manifest(tmp_path / "broken.yaml")


@pytest.mark.parametrize("text", [b"{not yaml", b"- a list", b"\xff\xfe\0", b"a: 2020-13-45", b"[" * 1200, b"a: \0"])
def test_manifest_that_is_no_mapping(tmp_path, text):
    (tmp_path / "broken.yaml").write_bytes(text)
    with pytest.raises(DataError, match=r"broken\.yaml"):
        load_manifest(tmp_path / "broken.yaml")
    with pytest.raises(DataError, match=r"absent\.yaml"):
        load_manifest(tmp_path / "absent.yaml")


def test_an_error_moves_no_cursor():
    assert str(DataError("a\x1b[2J\u202eb.csv:\n  line 2")) == "a\\x1b[2J\\u202eb.csv:\n  line 2"


def test_unknown_data_set_lists_the_known_ones(manifest):
    with pytest.raises(DataError, match=r"no data set 'other'.* has set"):
        data_set("other", manifest())


def test_locate_says_where_it_looked_and_what_mends_it(manifest, folder):
    path = manifest(record_files="*.hea")
    folder.mkdir(parents=True)
    (folder / "1.hea.partial").write_text("half a header")
    with pytest.raises(DataError) as error:
        locate("set", path)
    assert str(folder) in str(error.value)
    assert "`ecgstudy data fetch set`" in str(error.value)
    (folder / "1.hea").write_text("1 2 500 5000\n")
    assert locate("set", path) == folder
    assert locate("set", manifest()) == folder  # a set without records is at hand when any file of it is


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "C:/windows", "a\\..\\..\\up", "", ".", "./"])
def test_paths_that_lead_out_are_refused(path, tmp_path):
    with pytest.raises(DataError, match="leads out"):
        safe_path(path, "a list")
    if path:
        (tmp_path / "sums").write_text(f"{'0' * 64}  {path}\n")
        with pytest.raises(DataError, match="leads out"):
            read_checksums(tmp_path / "sums")


@pytest.mark.parametrize("path", ["a\0b", "a\x1b[2Jb", "a\x7f", "x" * 5000, "a/" + "é" * 130, "a\udc80"])
def test_paths_that_are_no_files_are_refused(path):
    with pytest.raises(DataError, match="no file can be called"):
        safe_path(path, "a list")


def test_paths_are_taken_in_their_plain_form(tmp_path):
    """As ``sha256sum`` writes them after ``find .``, and with the line ends and the mark of another system."""
    (tmp_path / "sums").write_bytes(f"\ufeff{'1' * 64}  ./a//b.dat\r\n{'1' * 64}  a/b.dat\r\n".encode())
    assert read_checksums(tmp_path / "sums") == {"a/b.dat": "1" * 64}
    (tmp_path / "sums").write_text(f"{'1' * 64}  ./a\n{'2' * 64}  a\n")
    with pytest.raises(DataError, match="two sums for 'a'"):
        read_checksums(tmp_path / "sums")


@pytest.mark.parametrize("path", ["a", "data/1.dat", "a..b/c", "with space.txt", "..hidden/x"])
def test_paths_that_stay_inside_are_taken(path, tmp_path):
    assert safe_path(path, "a list") == path
    (tmp_path / "sums").write_text(f"{'AB' * 32} *{path}\n\n")
    assert read_checksums(tmp_path / "sums") == {path: "ab" * 32}


@pytest.mark.parametrize("text", ["", "<html>not found</html>\n", f"{'0' * 63} short\n"])
def test_a_page_is_not_taken_for_a_list(tmp_path, text):
    (tmp_path / "sums").write_text(text)
    with pytest.raises(DataError, match=r"sums.*fetch again"):
        read_checksums(tmp_path / "sums")


# ---- fetching -----------------------------------------------------------------------------------------------------


def test_fetch_brings_everything_and_then_touches_no_network(listed, upstream, folder):
    summary = fetch("set", manifest=listed, **QUICK)
    assert content(folder) == upstream.files
    assert (summary.files, summary.fetched, summary.notes) == (6, 7, ())
    assert summary.bytes == sum(map(len, upstream.files.values()))
    assert verify("set", listed).whole
    upstream.asked.clear()
    again = fetch("set", manifest=listed, **QUICK)
    assert upstream.asked == []
    assert (again.files, again.fetched, again.bytes) == (6, 0, 0)


def test_only_what_is_missing_or_wrong_is_fetched(listed, upstream, folder):
    fetch("set", manifest=listed, **QUICK)
    (folder / "data/2.dat").write_bytes(b"the second recorD")
    (folder / "data/1.hea").unlink()
    upstream.asked.clear()
    assert fetch("set", manifest=listed, **QUICK).fetched == 2
    assert sorted(upstream.asked) == [("data/1.hea", None), ("data/2.dat", None)]
    assert content(folder) == upstream.files


def test_files_come_in_parallel(listed, upstream, folder):
    fetch("set", records=[], manifest=listed, **QUICK)
    upstream.together = threading.Barrier(4)  # no file comes before four are under way
    summary = fetch("set", manifest=listed, connections=4, timeout=5, attempts=1)
    assert summary.fetched == 4
    assert content(folder) == upstream.files


@pytest.mark.parametrize(
    "faults", [["cut"], ["cut", "cut"], ["stall"], ["500", "503"], ["cut", "500"], ["429"], ["408"]]
)
@pytest.mark.parametrize("ranges", [True, False])
def test_a_passing_fault_is_outlived(listed, upstream, folder, faults, ranges):
    upstream.ranges = ranges
    upstream.faults["data/1.dat"] = iter(faults)
    fetch("set", manifest=listed, **QUICK)
    assert content(folder) == upstream.files
    starts = [wanted for path, wanted in upstream.asked if path == "data/1.dat"]
    assert len(starts) == 1 + len(faults)
    if faults[0] in ("cut", "stall"):
        assert int(starts[1].removeprefix("bytes=").removesuffix("-")) >= len(LARGE) // 4  # it went on, not anew


@pytest.mark.parametrize("fault", ["404", "500", "wrong", "stall", "cut"])
def test_the_next_mirror_is_tried(manifest, upstream, mirror, folder, fault):
    path = manifest(urls=[upstream.url, mirror.url], checksum_file="SHA256SUMS.txt", record_files="data/*.hea")
    upstream.faults = {file: itertools.repeat(fault) for file in ("data/1.dat", "data/2.dat")}
    fetch("set", manifest=path, **QUICK)
    assert content(folder) == upstream.files
    assert {file for file, _ in mirror.asked} == {"data/1.dat", "data/2.dat"}
    assert Counter(file for file, _ in upstream.asked)["data/2.dat"] == 1


def test_wrong_list_is_not_taken(manifest, upstream, mirror, folder):
    path = manifest(
        urls=[upstream.url, mirror.url],
        checksum_file="SHA256SUMS.txt",
        checksum_file_sha256=sha256(mirror.files["SHA256SUMS.txt"]),
    )
    upstream.offer({"RECORDS": b"planted", "extra": b"planted"})
    fetch("set", manifest=path, **QUICK)
    assert content(folder) == mirror.files


def test_one_bad_file_does_not_stop_the_rest(manifest, upstream, mirror, folder):
    path = manifest(urls=[upstream.url, mirror.url], checksum_file="SHA256SUMS.txt")
    upstream.faults["data/1.dat"] = itertools.repeat("404")
    mirror.faults["data/1.dat"] = itertools.repeat("500")
    upstream.faults["data/2.dat"] = itertools.repeat("wrong")
    mirror.faults["data/2.dat"] = itertools.repeat("stall")
    with pytest.raises(DataError) as error:
        fetch("set", manifest=path, connections=2, **QUICK)
    for said in (
        "2 of 7 files of set did not arrive",
        f"{upstream.url}data/1.dat: 404 Not Found",
        f"{mirror.url}data/1.dat: 500 Internal Server Error",
        f"{upstream.url}data/2.dat: sent wrong bytes",
        f"{mirror.url}data/2.dat: silent for 0.5 s",
        "`ecgstudy data fetch set` tries again",
    ):
        assert said in str(error.value)
    asked = Counter(file for file, _ in upstream.asked) + Counter(file for file, _ in mirror.asked)
    assert asked["data/1.dat"] == 1 + QUICK["attempts"]  # a 404 is final, a 500 is not
    kept = {name: body for name, body in upstream.files.items() if name not in ("data/1.dat", "data/2.dat")}
    assert {name: body for name, body in content(folder).items() if not name.endswith(".partial")} == kept
    upstream.faults.clear()
    assert fetch("set", manifest=path, **QUICK).fetched == 2
    assert content(folder) == upstream.files


def test_unreachable_server_is_named(manifest, upstream):
    path = manifest(urls=["http://127.0.0.1:9/"], checksum_file="SHA256SUMS.txt")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/SHA256SUMS\.txt: ConnectionError"):
        fetch("set", manifest=path, **QUICK)


@pytest.mark.parametrize("left", [LARGE[:1000], LARGE, b"of an older version" * 9, LARGE + b"and more", b""])
def test_whatever_an_earlier_transfer_left_is_dealt_with(listed, upstream, folder, left):
    (folder / "data").mkdir(parents=True)
    (folder / "data/1.dat.partial").write_bytes(left)
    fetch("set", manifest=listed, timeout=1, attempts=1)
    assert content(folder) == upstream.files


def test_list_is_trusted_on_first_use_and_pinned(manifest, upstream, folder):
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt")
    assert "taken on trust" in fetch("set", manifest=path, **QUICK).notes[0]
    first = content(folder)
    upstream.offer(FILES | {"data/2.dat": b"changed upstream"})
    (folder / "data/2.dat").unlink()
    upstream.asked.clear()
    with pytest.raises(DataError, match=r"data/2\.dat: sent wrong bytes"):
        fetch("set", manifest=path, **QUICK)
    assert {file for file, _ in upstream.asked} == {"data/2.dat"}  # the list is not asked for again
    assert content(folder) == {name: body for name, body in first.items() if name != "data/2.dat"}


def test_half_a_list_of_another_day_is_not_gone_on_with(manifest, upstream, folder):
    folder.mkdir(parents=True)
    (folder / "SHA256SUMS.txt.partial").write_bytes(listing({"old": b"of another day"}))
    fetch("set", manifest=manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt"), **QUICK)
    assert content(folder) == upstream.files


def test_list_that_leads_out_of_the_folder_is_refused(manifest, upstream, folder, tmp_path):
    upstream.files["SHA256SUMS.txt"] = listing({"../planted": b"x", "RECORDS": FILES["RECORDS"]})
    upstream.files["../planted"] = b"x"
    with pytest.raises(DataError, match=r"SHA256SUMS\.txt: sent wrong bytes"):
        fetch("set", manifest=manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt"), **QUICK)
    assert content(tmp_path / "data") in ({}, {".set.lock": b""})


def test_records_bring_their_files_and_the_tables(listed, upstream, folder):
    fetch("set", records=["2"], manifest=listed, **QUICK)
    assert content(folder) == {name: body for name, body in upstream.files.items() if not name.startswith("data/1.")}
    report = verify("set", listed)
    assert (report.records, report.whole, report.missing) == (1, False, ("data/1.dat", "data/1.hea"))
    upstream.asked.clear()
    assert fetch("set", records=["2"], manifest=listed, **QUICK).fetched == 0
    assert upstream.asked == []
    with pytest.raises(DataError, match="set has no record 3, nine"):
        fetch("set", records=["2", "nine", "3"], manifest=listed, **QUICK)


def test_only_what_the_study_takes_is_fetched(manifest, upstream, folder):
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt", take=["data/1.*"], records=1)
    fetch("set", manifest=path, **QUICK)
    assert set(content(folder)) == {"SHA256SUMS.txt", "data/1.hea", "data/1.dat"}
    assert verify("set", path).missing == ()


def test_files_with_their_own_sums_and_addresses(manifest, upstream, folder):
    files = [
        {
            "path": "renamed.txt",
            "sha256": sha256(FILES["data/notes on both.txt"]),
            "url": upstream.url + "data/notes on both.txt",
        },
        {"path": "nowhere.csv", "sha256": "0" * 64},
    ]
    path = manifest(files=files)
    summary = fetch("set", manifest=path, **QUICK)
    assert content(folder) == {"renamed.txt": b"a table"}
    assert "nowhere.csv is not offered for download" in summary.notes[0]
    assert "http://landing.test/set/" in summary.notes[0]
    assert verify("set", path).missing == ("nowhere.csv",)


def test_data_set_that_nobody_offers(manifest):
    with pytest.raises(DataError, match=r"not offered for download: get it from http://landing\.test/set/"):
        fetch("set", manifest=manifest(files=[{"path": "a", "sha256": "0" * 64}]), **QUICK)


def test_progress_is_told(listed, upstream):
    upstream.faults["data/1.dat"] = iter(["stall"])
    seen: list[Progress] = []
    fetch("set", manifest=listed, progress=seen.append, timeout=0.5, attempts=2, backoff=0.01)
    assert any(0 < p.files < p.files_total for p in seen)  # told while a file was stalling
    assert [p.files for p in seen] == sorted(p.files for p in seen)
    assert (seen[-1].files, seen[-1].files_total) == (7, 7)
    assert seen[-1].bytes >= sum(map(len, upstream.files.values()))
    assert seen[-1].rate == pytest.approx(seen[-1].bytes / seen[-1].seconds)


@pytest.mark.parametrize("fault", ["stall", "slow"])
def test_an_interrupt_stops_and_keeps_what_came(listed, upstream, folder, fault):
    upstream.faults["data/1.dat"] = iter([fault])
    small = sum(len(body) for path, body in upstream.files.items() if path != "data/1.dat")

    def interrupt(progress):
        if progress.files == 6 and progress.bytes > small:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch("set", manifest=listed, progress=interrupt, timeout=0.5, attempts=50, backoff=10)
    assert time.monotonic() - began < 3
    kept = (folder / "data/1.dat.partial").stat().st_size
    assert 0 < kept < len(LARGE)
    upstream.asked.clear()
    fetch("set", manifest=listed, **QUICK)
    assert upstream.asked == [("data/1.dat", f"bytes={kept}-")]
    assert content(folder) == upstream.files


def test_a_killed_fetch_is_resumed(listed, upstream, folder):
    upstream.faults["data/1.dat"] = iter(["stall"])
    code = (
        f"from pathlib import Path; from ecgstudy.data.fetch import fetch; fetch('set', manifest=Path({str(listed)!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(paths.REPOSITORY)}
    ) as process:
        arriving, deadline = folder / "data/1.dat.partial", time.monotonic() + 30
        while not (arriving.exists() and arriving.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(DataError, match="another process is fetching set"):
            fetch("set", manifest=listed, **QUICK)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = arriving.stat().st_size
    assert 0 < kept < len(LARGE)
    assert not (folder / "data/1.dat").exists()
    upstream.asked.clear()
    fetch("set", manifest=listed, **QUICK)
    assert ("data/1.dat", f"bytes={kept}-") in upstream.asked
    assert content(folder) == upstream.files


def test_two_fetches_do_not_write_the_same_files(listed, folder):
    folder.mkdir(parents=True)
    with filelock.FileLock(folder.parent / ".set.lock"), pytest.raises(DataError, match="another process"):
        fetch("set", manifest=listed, **QUICK)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_said(listed, folder):
    (folder / "data").mkdir(parents=True)
    (folder / "data/1.dat.partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"(?s)cannot write to .*No space left.*Free some space"):
        fetch("set", manifest=listed, **QUICK)
    assert not (folder / "data/1.dat").exists()


def test_a_folder_that_cannot_be_made_is_said(listed, folder):
    folder.parent.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"(?s)cannot write to .*ECGSTUDY_DATA"):
        fetch("set", manifest=listed, **QUICK)


# What a server may do wrong: each of these on one path, for good. tests/attack/servers.py has more of them.


def head(handler, *lines, status=200):
    handler.wfile.write("\r\n".join([f"HTTP/1.1 {status} Whatever", *lines, "", ""]).encode())


def flood(handler, *lines, status=200, piece=bytes(1 << 16), most=1 << 26):
    """Send without end, as far as a test may."""
    head(handler, *lines, status=status)
    for _ in range(most // len(piece)):
        handler.wfile.write(piece)
    handler.server.flooded = True


def drip(handler, begin, piece):
    """Send a little again and again, more often than ``timeout``."""
    handler.wfile.write(begin)
    while not handler.server.over.wait(0.05):
        handler.wfile.write(piece)


CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda h: flood(h, CHUNKED, piece=CHUNK), r"more than the 1,100,000 that are stated"),
        (lambda h: flood(h), r"more than the 1,100,000 that are stated"),
        (lambda h: flood(h, "Content-Length: 1000", CHUNKED, piece=CHUNK), r"more than the 1,000 that are stated"),
        (lambda h: flood(h, "Content-Length: 99999999"), r"more than the 1,100,000 that are stated"),
        (lambda h: flood(h, "Location: /RECORDS", status=302), r"sent wrong bytes"),
        (lambda h: drip(h, ANSWER, b"X"), "silent for 1 s, or all but silent"),
        (lambda h: drip(h, ANSWER, b"X: y\r\n"), "silent for 1 s, or all but silent"),
        (lambda h: drip(h, b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "silent for 1 s, or all but silent"),
        (lambda h: drip(h, ANSWER + b"Content-Length: 9999\r\n\r\n", b"x"), "silent for 1 s, or all but silent"),
        (lambda h: drip(h, ANSWER + b"\r\n", b"x"), "silent for 1 s, or all but silent"),
        (lambda h: drip(h, ANSWER + CHUNKED.encode() + b"\r\n\r\n", b"0"), "silent for 1 s, or all but silent"),
        (lambda h: head(h, status=302), "302 Whatever, without an address"),
        (lambda h: head(h, f"Location: {h.path}", status=301), "leads on more than 10 times"),
        (lambda h: head(h, "Location: file:///etc/hostname", status=302), "leads to 'file:///etc/hostname'"),
        (lambda h: head(h, "Location: data:,x", status=302), "leads to 'data:,x'"),
        (lambda h: head(h, "Location: http://127.0.0.1:99999/", status=302), r"data/2\.dat: \w+: "),
        (lambda h: head(h, "Location: http://127.0.0.1:http/", status=307), r"data/2\.dat: \w+: "),
        (lambda h: head(h, "Location: http://a..b/", status=308), r"data/2\.dat: \w+: "),
        (lambda h: head(h, "Location: http://[::1/", status=303), r"data/2\.dat: \w+: "),
        (lambda h: head(h, status=204), "204 Whatever, which is not a file"),
        (lambda h: head(h, "Content-Length: 5", "Content-Length: 6"), r"data/2\.dat: \w+: "),
        (lambda h: h.wfile.write(b"SSH-2.0-x\r\n"), r"data/2\.dat: \w+: "),
    ],
)  # fmt: skip
def test_a_server_that_does_wrong_harms_one_file_only(manifest, upstream, folder, fault, said):
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt", size="1 MB")
    upstream.faults["data/2.dat"] = itertools.repeat(fault)
    upstream.flooded, began = False, time.monotonic()
    with pytest.raises(DataError, match=rf"(?s)1 of 7 files of set did not arrive.*{said}"):
        fetch("set", manifest=path, timeout=1, attempts=1)
    assert time.monotonic() - began < 10
    assert not upstream.flooded  # nobody waited for all of it
    there = content(folder)
    assert len(there.pop("data/2.dat.partial", b"")) <= 1_100_000
    assert there == {name: body for name, body in upstream.files.items() if name != "data/2.dat"}
    upstream.faults.clear()
    fetch("set", manifest=path, **QUICK)
    assert content(folder) == upstream.files


def test_a_file_is_no_larger_than_the_manifest_says(manifest, upstream, folder):
    upstream.files["a"] = LARGE
    file = {"path": "a", "sha256": sha256(LARGE), "url": upstream.url + "a"}
    with pytest.raises(DataError, match="more than the 1,000 that are stated"):
        fetch("set", manifest=manifest(files=[file | {"bytes": 1000}]), **QUICK)
    assert content(folder) == {}
    assert fetch("set", manifest=manifest(files=[file | {"bytes": len(LARGE)}]), **QUICK).fetched == 1


def test_what_nobody_states_the_size_of_is_bounded_too(manifest, upstream, folder, monkeypatch):
    monkeypatch.setattr(fetching, "_LARGEST_UNSTATED", 1 << 20)
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt")
    upstream.flooded = False
    upstream.faults["data/2.dat"] = itertools.repeat(lambda h: flood(h, CHUNKED, piece=CHUNK))
    with pytest.raises(DataError, match="more than 1,048,576, though no size is stated"):
        fetch("set", manifest=path, **QUICK)
    assert not upstream.flooded
    # In chunks, without a length, what is right is taken as well.
    body = FILES["data/2.dat"]
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    upstream.faults["data/2.dat"] = iter([lambda h: (head(h, CHUNKED), h.wfile.write(whole))])
    fetch("set", manifest=path, **QUICK)
    assert content(folder) == upstream.files


def test_a_redirect_is_followed(manifest, upstream, mirror, folder):
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt")
    for file in FILES:
        there = f"{mirror.url}{file.replace(' ', '%20')}"
        lines = ("Content-Length: 0", f"Location: {there}")
        upstream.faults[file] = itertools.repeat(lambda h, lines=lines: head(h, *lines, status=302))
    fetch("set", manifest=path, **QUICK)
    assert content(folder) == upstream.files
    assert {file for file, _ in mirror.asked} == set(FILES)


def test_compressed_unasked_it_is_not_unpacked(manifest, upstream, folder):
    """A server that takes a ``.gz`` for the compressed form of something else, as some do: its bytes are the file."""
    packed = gzip.compress(LARGE)
    upstream.offer({"a.tar.gz": packed})
    coded = ("Content-Encoding: gzip", f"Content-Length: {len(packed)}")
    upstream.faults["a.tar.gz"] = itertools.repeat(lambda h: (head(h, *coded), h.wfile.write(packed)))
    fetch("set", manifest=manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt"), **QUICK)
    assert content(folder) == upstream.files


def test_a_list_that_cannot_be_used_stops_no_file_with_its_own_sum(manifest, upstream, folder):
    files = [{"path": "table.csv", "sha256": sha256(b"a table"), "url": f"{upstream.url}data/notes on both.txt"}]
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt", files=files)
    upstream.files["SHA256SUMS.txt"] = listing({"data/1.hea": b"", "data\0/2.hea": b""})
    with pytest.raises(
        DataError, match=r"(?s)1 of 2 files .*SHA256SUMS\.txt: sent wrong bytes .*no file can be called"
    ):
        fetch("set", manifest=path, **QUICK)
    assert content(folder) == {"table.csv": b"a table"}


def test_one_name_for_a_file_and_a_folder_stops_only_these(manifest, upstream, folder):
    upstream.offer({"a": b"one", "a/b": b"two", "c": b"three"})
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt")
    with pytest.raises(DataError, match=rf"(?s)1 of 4 files .*{folder}/a\S*: cannot be written \(\w"):
        fetch("set", manifest=path, **QUICK)
    assert content(folder)["c"] == b"three"


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "Free some space there"), (errno.EROFS, "Mend that")])
def test_space_is_asked_for_only_where_it_is_wanting(listed, monkeypatch, number, remedy):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fetching._Transfer, "_receive", fail)
    with pytest.raises(DataError, match=rf"(?s){os.strerror(number)}\n{remedy}, or set ECGSTUDY_DATA"):
        fetch("set", manifest=listed, **QUICK)


def test_memory_does_not_grow_with_the_file(manifest, upstream, folder):
    upstream.offer({"large": bytes(48 << 20)})
    path = manifest(urls=[upstream.url], checksum_file="SHA256SUMS.txt")
    tracemalloc.start()
    fetch("set", manifest=path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / "large").stat().st_size == 48 << 20
    assert peak < 8 << 20


# ---- archives -----------------------------------------------------------------------------------------------------


def make_zip(path, members, link=None):
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


def make_tar(path, members, link=None, kind=tarfile.SYMTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = kind, "good.txt"
            archive.addfile(info)
    return path


MAKERS = pytest.mark.parametrize(("make", "suffix"), [(make_zip, "zip"), (make_tar, "tar.gz")])


@MAKERS
@pytest.mark.parametrize("top", ["", "TrainingSet1/"])
def test_unpack(tmp_path, make, suffix, top):
    archive = make(
        tmp_path / f"a.{suffix}", {f"{top}A1.mat": LARGE, f"{top}deep/A2.mat": b"two", f"{top}deep/A3.mat": b""}
    )
    folder = tmp_path / "unpacked"
    folder.mkdir()
    assert sorted(unpack(archive, folder)) == ["A1.mat", "deep/A2.mat", "deep/A3.mat"]
    assert content(folder) == {"A1.mat": LARGE, "deep/A2.mat": b"two", "deep/A3.mat": b""}


@MAKERS
def test_unpack_leaves_sidecars(tmp_path, make, suffix):
    """A zip made on macOS holds a second top folder."""
    members = {"Set/A1.mat": b"one", "Set/.DS_Store": b"x", "Set/._A1.mat": b"x", "__MACOSX/Set/._A1.mat": b"x"}
    archive = make(tmp_path / f"a.{suffix}", members)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    assert unpack(archive, folder) == ["A1.mat"] and content(folder) == {"A1.mat": b"one"}


@MAKERS
@pytest.mark.parametrize("evil", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt", "a\\..\\..\\evil.txt"])
def test_archive_that_leads_out_is_refused(tmp_path, make, suffix, evil):
    archive = make(tmp_path / f"a.{suffix}", {"good.txt": b"good", evil: b"evil"})
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match=rf"a\.{suffix} names .*leads out of its folder"):
        unpack(archive, folder)
    assert content(tmp_path).keys() == {f"a.{suffix}"}
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize(
    ("make", "suffix", "options"),
    [
        (make_zip, "zip", {}),
        (make_tar, "tar.gz", {"kind": tarfile.SYMTYPE}),
        (make_tar, "tar.gz", {"kind": tarfile.LNKTYPE}),
        (make_tar, "tar.gz", {"kind": tarfile.FIFOTYPE}),
    ],
)
def test_archive_with_a_link_is_refused(tmp_path, make, suffix, options):
    archive = make(tmp_path / f"a.{suffix}", {"good.txt": b"good"}, link="link", **options)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match="'link', a link or a device"):
        unpack(archive, folder)
    assert content(tmp_path).keys() == {f"a.{suffix}"}


@MAKERS
def test_broken_archive_is_said(tmp_path, make, suffix):
    archive = make(tmp_path / f"a.{suffix}", {"A1.mat": LARGE})
    whole = archive.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not an archive at all"):
        archive.write_bytes(broken)
        with pytest.raises(DataError, match="is broken"):
            unpack(archive, tmp_path)
        assert content(tmp_path).keys() == {f"a.{suffix}"}


@pytest.mark.parametrize(
    "case", [name for name, (suffix, *_) in archives.CASES.items() if suffix != "list"], ids=lambda name: name
)
def test_archives_that_lie_are_refused_whole(tmp_path, case):
    number = list(archives.CASES).index(case)
    archives.attempt(0, number, tmp_path)


def test_an_archive_takes_no_more_room_than_the_data_set(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"A1.mat": LARGE})
    with pytest.raises(DataError, match="unpacks to more than 524,287 bytes"):
        unpack(archive, tmp_path, len(LARGE) - 1)
    assert unpack(archive, tmp_path, len(LARGE)) == ["A1.mat"]


def test_what_is_in_the_way_of_an_archive_is_named(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"x/A1.mat": b"one", "y": b""})
    (tmp_path / "x").write_text("of the user")
    with pytest.raises(DataError, match=rf"{tmp_path}/x/A1\.mat cannot be written .*in its way"):
        unpack(archive, tmp_path)
    assert content(tmp_path).keys() <= {"a.zip", "x", "y"}


@pytest.fixture
def archived(manifest, upstream, tmp_path):
    """A data set of two archives, in which one file's own sum is known."""
    one = make_zip(tmp_path / "one.zip", {"One/A1.mat": LARGE, "One/A2.mat": b"two"}).read_bytes()
    two = make_tar(tmp_path / "two.tar.gz", {"Two/A3.mat": b"three"}).read_bytes()
    upstream.files = {"one.zip": one, "two.tar.gz": two}
    return manifest(
        files=[{"path": "A1.mat", "sha256": sha256(LARGE)}],
        archives=[
            {"url": upstream.url + "one.zip", "checksum": f"md5:{hashlib.md5(one).hexdigest()}"},
            {"url": upstream.url + "two.tar.gz", "checksum": f"sha256:{sha256(two)}"},
        ],
        checksum_file="SHA256SUMS.txt",
        record_files="A*.mat",
        records=3,
    )


def test_fetch_unpacks_archives_and_writes_their_list(archived, upstream, folder):
    fetch("set", manifest=archived, **QUICK)
    records = {"A1.mat": LARGE, "A2.mat": b"two", "A3.mat": b"three"}
    assert content(folder).keys() == records.keys() | {"SHA256SUMS.txt"}
    assert read_checksums(folder / "SHA256SUMS.txt") == {name: sha256(body) for name, body in records.items()}
    assert verify("set", archived).whole
    upstream.asked.clear()
    assert fetch("set", manifest=archived, **QUICK).fetched == 0
    assert upstream.asked == []
    (folder / "A2.mat").write_bytes(b"tow")
    fetch("set", manifest=archived, **QUICK)
    assert verify("set", archived).whole


def test_no_more_archives_than_the_records_need(archived, upstream, folder):
    fetch("set", records=["A1"], manifest=archived, **QUICK)
    assert upstream.asked == [("one.zip", None)]
    assert fetch("set", records=["A1"], manifest=archived, **QUICK).fetched == 0
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("fault", ["wrong", "404"])
def test_archive_that_does_not_arrive_is_named(archived, upstream, folder, fault):
    upstream.faults["two.tar.gz"] = itertools.repeat(fault)
    with pytest.raises(DataError, match=r"two\.tar\.gz: (sent wrong bytes|404)"):
        fetch("set", manifest=archived, **QUICK)
    assert content(folder).keys() == {"A1.mat", "A2.mat"}  # the other archive is unpacked all the same
    upstream.faults.clear()
    fetch("set", manifest=archived, **QUICK)
    assert verify("set", archived).whole


def test_archive_that_cannot_be_unpacked_stops_only_itself(archived, upstream, manifest, folder):
    fields = yaml.safe_load(archived.read_text())["set"]
    upstream.files["two.tar.gz"] = archives.CASES["a tar with a link"][1]()
    sums = {"url": upstream.url + "two.tar.gz", "checksum": f"sha256:{sha256(upstream.files['two.tar.gz'])}"}
    path = manifest(**fields | {"archives": [sums, fields["archives"][0]]})
    with pytest.raises(DataError, match=r"(?s)1 of 2 files .*two\.tar\.gz\n.*'link', a link or a device"):
        fetch("set", manifest=path, **QUICK)
    assert content(folder).keys() == {"A1.mat", "A2.mat", "two.tar.gz"}


def test_file_that_does_not_arrive_leaves_the_archives_be(archived, upstream, manifest, folder):
    fields = yaml.safe_load(archived.read_text())["set"]
    table = {"path": "REFERENCE.csv", "sha256": sha256(b"a table"), "url": upstream.url + "REFERENCE.csv"}
    path = manifest(**fields | {"files": [*fields["files"], table]})
    with pytest.raises(DataError, match=r"REFERENCE\.csv: 404"):
        fetch("set", manifest=path, **QUICK)
    assert content(folder).keys() == {"A1.mat", "A2.mat", "A3.mat", "SHA256SUMS.txt"}
    upstream.files["REFERENCE.csv"] = b"a table"
    upstream.asked.clear()
    assert fetch("set", manifest=path, **QUICK).fetched == 1
    assert upstream.asked == [("REFERENCE.csv", None)]


def test_archive_with_other_bytes_than_known_is_named(archived, upstream, manifest, folder):
    fields = yaml.safe_load(archived.read_text())["set"]
    path = manifest(**fields | {"files": [{"path": "A1.mat", "sha256": "0" * 64}]})
    with pytest.raises(DataError, match=r"A1\.mat\n.*one\.zip: does not hold it"):
        fetch("set", manifest=path, **QUICK)


# ---- verify -------------------------------------------------------------------------------------------------------


def test_verify_names_what_is_missing_wrong_and_extra(listed, folder):
    fetch("set", manifest=listed, **QUICK)
    (folder / "data/2.hea").unlink()
    (folder / "RECORDS").write_bytes(b"data/1\ndata/3\n")
    for number in range(8):
        (folder / f"mine{number}.txt").write_text("notes of the user")
    report = verify("set", listed)
    assert (report.missing, report.wrong, report.ok) == (("data/2.hea",), ("RECORDS",), 4)
    assert report.extra == tuple(f"mine{number}.txt" for number in range(8))
    assert (report.records, report.records_expected, report.checked, report.whole) == (1, 2, True, False)
    text = report.text(names=3)
    assert "1 of 2 records" in text
    assert "1 missing: data/2.hea" in text
    assert "1 wrong: RECORDS" in text
    assert "8 without a checksum: mine0.txt, mine1.txt, mine2.txt and 5 more" in text
    assert "`ecgstudy data fetch set`" in text


def test_sidecars_are_neither_records_nor_extra(listed, folder):
    fetch("set", manifest=listed, **QUICK)
    for name in ("._1.hea", "._1.dat", ".DS_Store", "1.hea~", "Thumbs.db", "1.hea:Zone.Identifier", "2.dat.tmp"):
        (folder / "data" / name).write_bytes(b"left")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "1.hea").write_bytes(b"left")
    report = verify("set", listed)
    assert report.whole and report.extra == () and report.records == 2
    for record in ("1", "2"):
        (folder / "data" / f"{record}.hea").unlink()
    with pytest.raises(DataError, match="not at hand"):
        locate("set", listed)


def test_verify_notices_an_altered_list(listed, folder):
    fetch("set", manifest=listed, **QUICK)
    (folder / "RECORDS").write_bytes(b"planted")
    (folder / "SHA256SUMS.txt").write_bytes(listing(FILES | {"RECORDS": b"planted"}))
    report = verify("set", listed)
    assert report.wrong == ("SHA256SUMS.txt",)
    assert not report.whole
    fetch("set", manifest=listed, **QUICK)  # and fetch mends both
    assert verify("set", listed).whole


def test_verify_without_a_list_checks_nothing_and_says_so(listed, folder):
    (folder / "data").mkdir(parents=True)
    (folder / "data/1.hea").write_bytes(b"anything")
    report = verify("set", listed)
    assert (report.checked, report.whole, report.extra) == (False, False, ("data/1.hea",))
    assert "nothing was checked" in report.text()


def test_a_file_that_cannot_be_read_is_named_and_fetched_again(listed, upstream, folder, monkeypatch):
    fetch("set", manifest=listed, **QUICK)
    read, bad = manifests.file_hash, (folder / "data/1.dat").stat().st_ino

    def fail(path, *args):
        if path.stat().st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(path, *args)

    monkeypatch.setattr(manifests, "file_hash", fail)
    report = verify("set", listed)
    assert (report.unreadable, report.wrong) == ({"data/1.dat": "Input/output error"}, ())
    assert (report.ok, report.whole) == (5, False)
    assert "1 unreadable: data/1.dat (Input/output error)" in report.text()
    upstream.asked.clear()
    fetch("set", manifest=listed, **QUICK)
    assert verify("set", listed).whole
    assert [path for path, _ in upstream.asked] == ["data/1.dat"]


def forbid(path, monkeypatch, *calls, error=errno.EACCES):
    """Let the system refuse a path and all below it: permissions do not stop root."""

    def refuse(call):
        def guarded(one=".", *args, **options):
            if isinstance(one, str | Path) and (Path(one) == path or path in Path(one).parents):
                raise OSError(error, os.strerror(error), str(one))
            return call(one, *args, **options)

        return guarded

    for module, name in calls:
        monkeypatch.setattr(module, name, refuse(getattr(module, name)))


EVERY_CALL = ((os, "scandir"), (os, "stat"), (io, "open"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_what_the_system_refuses_is_listed_and_stops_nothing(listed, folder, monkeypatch, number):
    fetch("set", manifest=listed, **QUICK)
    why = os.strerror(number)
    with monkeypatch.context() as one:
        forbid(folder / "SHA256SUMS.txt", one, (os, "stat"), (io, "open"), error=number)
        report = verify("set", listed)
        assert report.unreadable == {"SHA256SUMS.txt": why} and not report.checked and report.records == 2
        assert data_set("set", listed).pinned() is False
    with monkeypatch.context() as one:
        forbid(folder / "data", one, *EVERY_CALL, error=number)
        report = verify("set", listed)
        below = {path for path in FILES if path.startswith("data/")}
        assert report.unreadable == dict.fromkeys(["data/", *below], why)
        assert (report.ok, report.missing, report.wrong, report.records) == (1, (), (), 0)
        # Nothing of it is at hand; where the disk fails, nobody knows.
        said = {"match": f"data cannot be listed .{why}.: allow it"} if number == errno.EACCES else {}
        with pytest.raises(DataError if number == errno.EACCES else OSError, **said):
            locate("set", listed)
    assert verify("set", listed).whole


def test_what_stands_in_a_files_place_is_listed_and_brought(listed, folder):
    fetch("set", manifest=listed, **QUICK)
    for name in ("data/1.dat", "data/2.dat", "data/2.hea", "RECORDS"):
        (folder / name).unlink()
    (folder / "data/1.dat").mkdir()
    (folder / "data/2.dat").symlink_to("nowhere")
    (folder / "data/2.hea").symlink_to("2.hea")
    os.mkfifo(folder / "RECORDS")
    report = verify("set", listed)
    assert report.unreadable == {
        "RECORDS": "a folder, a pipe or a device stands there",
        "data/1.dat": "a folder, a pipe or a device stands there",
        "data/2.dat": "a link to nothing",
        "data/2.hea": "Too many levels of symbolic links",
    }
    assert (report.ok, report.records, report.whole) == (2, 1, False)
    with pytest.raises(DataError) as error:
        fetch("set", manifest=listed, **QUICK)
    assert "1 of 4 files of set did not arrive" in str(error.value) and "data/1.dat" in str(error.value)
    (folder / "data/1.dat").rmdir()
    fetch("set", manifest=listed, **QUICK)
    assert verify("set", listed).whole
    (folder / "SHA256SUMS.txt").unlink()
    (folder / "SHA256SUMS.txt").mkdir()
    report = verify("set", listed)
    assert list(report.unreadable) == ["SHA256SUMS.txt"] and not report.checked


def test_verify_of_what_is_not_at_hand(listed):
    with pytest.raises(DataError, match="`ecgstudy data fetch set`"):
        verify("set", listed)


# ---- the real files -----------------------------------------------------------------------------------------------


@pytest.fixture
def at_real_data(real_data, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(real_data))
    return real_data


def test_real_ludb_is_upstream_s(at_real_data):
    report = verify("ludb")
    # Some copies have lost line ends in these three; what the study reads must be upstream's to the byte.
    assert set(report.wrong) <= {"ANNOTATORS", "LICENSE.txt", "README"}
    assert report.missing == ()
    assert report.ok + len(report.wrong) == 2805
    assert report.records == report.records_expected == 200


def test_real_small_sets_have_the_manifest_s_sums_and_counts(at_real_data):
    for name in ("cpsc-2018-original", "challenge-2020-evaluation"):
        report = verify(name)
        assert (report.missing, report.wrong) == ((), ())
        assert report.ok >= len(data_set(name).files)
    with (at_real_data / "cpsc-2018-original/REFERENCE.csv").open() as file:
        rows = [row[1:] for row in csv.reader(file)][1:]
    classes = list(data_set("cpsc-2018-original").counts["classes"])
    found = Counter(classes[int(label) - 1] for row in rows for label in set(row) - {""})
    assert found == data_set("cpsc-2018-original").counts["classes"]
    assert len(rows) == data_set("cpsc-2018-original").records
    for name, count in data_set("challenge-2020-evaluation").counts["rows"].items():
        with (at_real_data / "challenge-2020-evaluation" / name).open() as file:
            assert sum(1 for _ in csv.reader(file)) - 1 == count
