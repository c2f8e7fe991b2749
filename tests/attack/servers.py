"""A server on this machine that does everything wrong: a fetch ends, keeps what is right, and says what is not."""

import gzip
import hashlib
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import yaml

from ecgstudy.data.fetch import fetch
from ecgstudy.data.manifest import DataError, verify
from tests.attack.runner import READ, REFUSED

FILES = {
    "data/1.hea": b"1 2 500 5000\n",
    "data/1.dat": bytes(range(256)) * 400,
    "data/2.hea": b"2 2 500 5000\n",
    "data/2.dat": bytes(range(255)) * 400,
}
LIST = "".join(f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in FILES.items()).encode()
QUICK = {"timeout": 0.3, "attempts": 2, "backoff": 0.01, "connections": 2}
MOST = 1_100_000  # bytes: what "1 MB" in the manifest allows for a file


class Handler(BaseHTTPRequestHandler):
    """Answers rightly, but for one path, on which its server's ``fault`` answers in its place."""

    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path[1:])
        if self.server.fault and path.partition("?")[0] == self.server.faulty:
            self.close_connection = True
            self.server.asked += 1
            self.server.fault(self, self.server.files[self.server.faulty])
        elif path.partition("?")[0] in self.server.files:
            body, wanted = self.server.files[path.partition("?")[0]], self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if start >= len(body):
                self.head(416, "Content-Length: 0")
                return
            range_ = [f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"] if start else []
            self.head(206 if start else 200, f"Content-Length: {len(body) - start}", *range_)
            self.wfile.write(body[start:])
        else:
            self.head(404, "Content-Length: 0")

    def head(self, status: int, *lines: str, end: bool = True) -> None:
        """Send the first lines of an answer."""
        self.wfile.write("\r\n".join([f"HTTP/1.1 {status} Whatever", *lines, *["", ""] * end]).encode("latin-1"))

    def whole(self, body: bytes, *lines: str) -> None:
        """Send an answer that is right in its form."""
        self.head(200, f"Content-Length: {len(body)}", *lines)
        self.wfile.write(body)

    def drip(self, pieces: Callable[[], bytes]) -> None:
        """Send a little now and then, without end."""
        while not self.server.over.wait(0.05):
            self.wfile.write(pieces())

    def flood(self, piece: bytes, most: int = 1 << 30) -> None:
        """Send much more than anybody asked for."""
        for _ in range(most // len(piece)):
            if self.server.over.is_set():
                return
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Serves files on this machine, one of them wrongly for as long as ``fault`` says how."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.fault, self.faulty, self.asked, self.over = files, None, "", 0, threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: object) -> None:
        pass  # the client hung up, as it should

    def stop(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


def _redirect(target: str) -> Callable[[Handler, bytes], None]:
    return lambda h, body: h.head(302, f"Location: {target}", "Content-Length: 0")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _cut(h: Handler, body: bytes) -> None:
    h.head(200, f"Content-Length: {len(body)}")
    h.wfile.write(body[: len(body) // 2])


def _cut_in_chunks(h: Handler, body: bytes) -> None:
    h.head(200, "Transfer-Encoding: chunked")
    h.wfile.write(_chunk(body[: len(body) // 2]))


def _stall_within(h: Handler, body: bytes) -> None:
    _cut(h, body)
    h.server.over.wait(10)


def _drip_head(h: Handler, body: bytes) -> None:
    h.head(200, end=False)
    h.drip(lambda: b"X")


def _drip_lines(h: Handler, body: bytes) -> None:
    h.head(200, end=False)
    h.drip(lambda: b"\r\nX: y")


def _drip_body(h: Handler, body: bytes) -> None:
    h.head(200, f"Content-Length: {len(body)}")
    h.drip(lambda: b"x")


def _drip_chunks(h: Handler, body: bytes) -> None:
    h.head(200, "Transfer-Encoding: chunked")
    h.drip(lambda: b"0")


def _drip_unstated(h: Handler, body: bytes) -> None:
    h.head(200)
    h.drip(lambda: b"x")


def _more_than_stated(h: Handler, body: bytes) -> None:
    h.whole(body)
    h.flood(body, 10 * len(body))


def _flood_chunks(h: Handler, body: bytes) -> None:
    h.head(200, "Transfer-Encoding: chunked")
    h.flood(_chunk(bytes(1 << 16)))


def _flood_chunks_beside_a_length(h: Handler, body: bytes) -> None:
    h.head(200, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")
    h.flood(_chunk(bytes(1 << 16)))


def _flood(h: Handler, body: bytes) -> None:
    h.head(200)
    h.flood(bytes(1 << 16))


def _flood_redirect(h: Handler, body: bytes) -> None:
    h.head(302, "Location: /nowhere")
    h.flood(bytes(1 << 16))


def _flood_continue(h: Handler, body: bytes) -> None:
    h.drip(lambda: b"HTTP/1.1 100 Continue\r\n\r\n")


def _gzip(h: Handler, body: bytes) -> None:
    h.whole(gzip.compress(bytes(30 << 20)), "Content-Encoding: gzip")


def _reset(h: Handler, body: bytes) -> None:
    _cut(h, body)
    h.wfile.flush()
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    h.connection.close()


def _once(h: Handler, body: bytes) -> None:
    if h.server.asked > 1:
        h.whole(body)
    else:
        h.head(503, "Content-Length: 0", "Retry-After: 100000")


def _round(h: Handler, body: bytes) -> None:
    h.head(302, f"Location: {h.path}", "Content-Length: 0")


def _on_and_on(h: Handler, body: bytes) -> None:
    h.head(302, f"Location: /{h.server.faulty}?{h.server.asked}", "Content-Length: 0")


def _elsewhere(h: Handler, body: bytes) -> None:
    h.server.files["elsewhere"] = body
    h.head(301, "Location: ../../elsewhere", "Content-Length: 0")


def _another_range(h: Handler, body: bytes) -> None:
    h.head(206, "Content-Range: bytes 7-9/10", "Content-Length: 3")
    h.wfile.write(body[7:10])


FAULTS: dict[str, Callable[[Handler, bytes], None]] = {
    "half of it": _cut,
    "half of it in chunks": _cut_in_chunks,
    "silence": lambda h, body: h.server.over.wait(10),
    "silence within": _stall_within,
    "a header without end": _drip_head,
    "headers without end": _drip_lines,
    "a byte now and then": _drip_body,
    "a chunk's length without end": _drip_chunks,
    "a byte now and then, no size stated": _drip_unstated,
    "continue without end": _flood_continue,
    "more than stated": _more_than_stated,
    "much more, in chunks": _flood_chunks,
    "much more, in chunks, less stated": _flood_chunks_beside_a_length,
    "much more, no size stated": _flood,
    "much more, as stated": lambda h, body: (h.head(200, f"Content-Length: {10**13}"), h.flood(bytes(1 << 16))),
    "a redirect with much more": _flood_redirect,
    "a negative length": lambda h, body: (h.head(200, "Content-Length: -7"), h.wfile.write(body)),
    "a length in words": lambda h, body: (h.head(200, "Content-Length: many"), h.wfile.write(body)),
    "two lengths": lambda h, body: (h.head(200, "Content-Length: 5", "Content-Length: 9"), h.wfile.write(body)),
    "other bytes": lambda h, body: h.whole(bytes(len(body))),
    "nothing": lambda h, body: h.whole(b""),
    "a page": lambda h, body: h.whole(b"<html>log in first</html>"),
    "compressed zeros": _gzip,
    "a redirect to nowhere": lambda h, body: h.head(302, "Content-Length: 0"),
    "a redirect to itself": _round,
    "redirects without end": _on_and_on,
    "a redirect to a file": _redirect("file:///etc/hostname"),
    "a redirect to another scheme": _redirect("data:text/plain,x"),
    "a redirect to no port": _redirect("http://127.0.0.1:99999/x"),
    "a redirect to a port in words": _redirect("http://127.0.0.1:http/x"),
    "a redirect to no host": _redirect("http:///x"),
    "a redirect to a host with an empty part": _redirect("http://a..b/x"),
    "a redirect to half an address": _redirect("http://[::1/x"),
    "a redirect elsewhere": _elsewhere,
    "another range": _another_range,
    "no range": lambda h, body: (h.head(206, f"Content-Length: {len(body)}"), h.wfile.write(body)),
    "no content": lambda h, body: h.head(204),
    "no answer": lambda h, body: None,
    "another protocol": lambda h, body: h.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a chunk of no size": lambda h, body: (h.head(200, "Transfer-Encoding: chunked"), h.wfile.write(b"zz\r\nabc")),
    "a broken connection": _reset,
    "not there": lambda h, body: h.head(404, "Content-Length: 0"),
    "an error": lambda h, body: h.head(500, "Content-Length: 0"),
    "busy once, for a day": _once,
}  # fmt: skip


def described(folder: Path, **changes: object) -> Path:
    """Write a manifest of one data set, ``set``."""
    texts = ("title", "version", "licence", "licence_url", "citation", "landing_page", "users", "note")
    entry = {**dict.fromkeys(texts, "text"), "records": 2, "size": "1 MB", **changes}
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"set": entry}), encoding="utf-8")
    return path


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, without what is under way."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".partial"
    }


def attempt(seed: int, number: int, folder: Path) -> str:
    """Fetch from a server with one fault on one path, and again when it is mended."""
    os.environ |= {"ECGSTUDY_DATA": str(folder / "data"), "NO_PROXY": "*"}
    faulty = ("data/1.dat", "SHA256SUMS.txt")[(seed + number) % 2]
    server = Server(FILES | {"SHA256SUMS.txt": LIST})
    server.fault, server.faulty = FAULTS[list(FAULTS)[number]], faulty
    manifest = described(
        folder,
        urls=[server.url],
        checksum_file="SHA256SUMS.txt",
        checksum_file_sha256=hashlib.sha256(LIST).hexdigest(),
        record_files="data/*.hea",
    )
    at, begun = folder / "data" / "set", time.monotonic()
    try:
        try:
            fetch("set", manifest=manifest, **QUICK)
            outcome = READ
        except DataError as error:
            assert faulty in str(error), str(error)
            outcome = REFUSED
        assert time.monotonic() - begun < 10, "took too long"
        expected = FILES | {"SHA256SUMS.txt": LIST}
        if outcome == REFUSED:
            expected = {k: v for k, v in expected.items() if k != faulty} if faulty in FILES else {}
        assert content(at) == expected, f"holds {sorted(content(at))}"
        assert all(path.stat().st_size <= MOST for path in at.rglob("*.partial")), "wrote more than is stated"
        assert {path.name for path in folder.iterdir()} <= {"data", "manifest.yaml"}
        server.fault = None
        fetch("set", manifest=manifest, **QUICK)
        assert verify("set", manifest).whole
        assert not list(itertools.islice(at.rglob("*.partial"), 1))
    finally:
        server.stop()
    return outcome
