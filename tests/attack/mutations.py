"""Files of every format that is read, changed here and there: each is read right, or refused with a sentence."""

import contextlib
import io
import os
import resource
import socket
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import scipy.io
import yaml

from ecgstudy.data.beats import read_beats
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError, load_manifest, read_checksums
from ecgstudy.data.records import LEADS, RecordError, find_records, read_record
from tests import device_files
from tests.attack.runner import READ, REFUSED, Kind

MEMORY = 200 << 20  # bytes beyond …
TIMES = 10  # … so many times the plain size
SAMPLES = 200


@dataclass(frozen=True)
class Case:
    """Files that read well, how they are read, which of them are changed, and the error that they may end in."""

    files: dict[str, bytes]
    read: Callable[[Path], object]
    changed: tuple[str, ...]
    error: type[Exception] = RecordError
    plain: int = 0  # bytes when unpacked


def record(name: str) -> Callable[[Path], None]:
    """Read a record and see that what was read can be one."""

    def read(folder: Path) -> None:
        found = read_record(folder / name)
        assert found.signal.dtype == np.float32 and found.signal.ndim == 2 and found.signal.size
        assert len(set(found.leads)) == len(found.leads) == len(found.signal) and all(found.leads)
        assert 10 <= found.fs <= 1e5 and found.labels <= set(CLASSES)
        assert np.nanmax(np.abs(found.signal)) <= 1e6  # also that not every sample is missing
        assert found.age is None or 0 <= found.age <= 120
        assert found.sex in ("F", "M", None)
        assert all(": " in note for note in found.notes)
        assert len(found.signal_hash) == 64
        find_records(folder)

    return read


def annotations(read: Callable, name: str) -> Callable[[Path], None]:
    """Read annotations and see that they are in a table of some columns and times that are numbers."""

    def read_all(folder: Path) -> None:
        table = read(folder / name)
        assert len(table) <= 10**6

    return read_all


def _header(form: str, suffix: str = "dat", leads: tuple[str, ...] = LEADS, comments: str = "") -> bytes:
    lines = [f"r {len(leads)} 500 {SAMPLES} 12:00:00 01/02/2003"]
    lines += [f"r.{suffix} {form} {1000 if form != '32' else 10**6}(0)/mV 16 0 5 77 0 {lead}" for lead in leads]
    return ("\n".join(lines) + "\n" + comments).encode()


def _struct(compressed: bool) -> tuple[bytes, int]:
    file = io.BytesIO()
    rng = np.random.default_rng(2)
    fields = {"sex": "Female", "age": 61, "data": np.round(rng.normal(0, 0.3, (12, SAMPLES)), 3)}
    scipy.io.savemat(file, {"ECG": fields}, do_compression=compressed)
    return file.getvalue(), 128 + 12 * SAMPLES * 8 + 1000


def _annotations(count: int = 60) -> bytes:
    rng = np.random.default_rng(3)
    words = b""
    for label, interval in zip(rng.choice([1, 5, 8, 28, 14], count), rng.integers(1, 900, count), strict=True):
        words += struct.pack("<H", int(label) << 10 | int(interval))
        if label == 28:
            words += struct.pack("<H", 63 << 10 | 4) + b"(AFI"
        if label == 14:
            words += struct.pack("<HHH", 59 << 10, 0, 2000) + struct.pack("<H", 1 << 10 | 3)
    return words + b"\0\0"


def _csv(separator: str = ",", header: bool = True, index: bool = False) -> bytes:
    rng = np.random.default_rng(4)
    rows = [["time" if index else None, *LEADS]] * header
    rows += [[i / 500, *np.round(rng.normal(0, 0.3, 12), 3)] for i in range(SAMPLES)]
    return "".join(separator.join(str(v) for v in (row if index else row[1:])) + "\n" for row in rows).encode()


@lru_cache
def cases() -> dict[str, Case]:
    """Name → a file of each format that is read."""
    rng = np.random.default_rng(1)
    counts = rng.integers(-900, 900, (SAMPLES, 12)).astype("<i2").tobytes()
    found: dict[str, Case] = {}
    comments = "#Age: 74\n#Sex: Male\n#Dx: 426783006,59118001\n#Rx: Unknown\n"
    header = _header("16", comments=comments)
    found["WFDB header"] = Case({"r.hea": header, "r.dat": counts}, record("r"), ("r.hea",))
    for form, width in {
        "16": 2,
        "212": 1.5,
        "80": 1,
        "8": 1,
        "24": 3,
        "32": 4,
        "61": 2,
        "160": 2,
        "310": 4 / 3,
    }.items():
        data = rng.integers(0, 256, int(SAMPLES * 12 * width) + 8, np.uint8).tobytes()
        files = {"r.hea": _header(form), "r.dat": data}
        found[f"WFDB format {form}"] = Case(files, record("r"), ("r.dat", "r.hea"))
    frames = header.replace(b" 16 ", b" 16x2 ", 3).replace(b" 16 ", b" 16:2 ", 2)
    found["WFDB frames and skew"] = Case({"r.hea": frames, "r.dat": counts * 2}, record("r"), ("r.hea", "r.dat"))
    found["Challenge record"] = Case(
        {
            "A0001.hea": _header("16+24", "mat", comments=comments).replace(b"r", b"A0001", 1),
            "r.mat": bytes(24) + counts,
        },
        record("A0001"),
        ("A0001.hea", "r.mat"),
    )
    table = b"Recording,First_label,Second_label,Third_label\nA0001,5,8,\nA0002,1,,\n"
    for compressed in (False, True):
        data, plain = _struct(compressed)
        files = {"A0001.mat": data, "REFERENCE.csv": table}
        name = "CPSC struct, compressed" if compressed else "CPSC struct"
        found[name] = Case(files, record("A0001"), ("A0001.mat",), plain=plain)
    found["CPSC table"] = Case(files, record("A0001"), ("REFERENCE.csv",), plain=plain)
    found["PTB-XL table"] = Case(
        {
            "00001_hr.hea": _header("16").replace(b"r.dat", b"00001_hr.dat").replace(b"r 12", b"00001_hr 12"),
            "00001_hr.dat": counts,
            "ptbxl_database.csv": b"ecg_id,patient_id,age,sex,scp_codes,strat_fold\n"
            b"1,15709.0,56.0,1,\"{'NORM': 100.0, 'LVOLT': 0.0, 'SR': 0.0}\",3\n"
            b"2,13243.0,300.0,0,\"{'CLBBB': 100.0, 'AFIB': 0.0}\",10\n",
        },
        record("00001_hr"),
        ("ptbxl_database.csv",),
    )
    array = io.BytesIO()
    np.save(array, rng.normal(0, 0.3, (12, SAMPLES)).astype(np.float32))
    read_array = partial(_read_array, "a.npy")
    found["NumPy array"] = Case({"a.npy": array.getvalue()}, read_array, ("a.npy",))
    for name, data in {
        "CSV": _csv(),
        "CSV with a time column": _csv(";", index=True),
        "CSV without names": _csv("\t", header=False),
    }.items():
        found[name] = Case({"a.csv": data}, partial(_read_array, "a.csv"), ("a.csv",))
    beats = {"r.hea": header, "r.dat": counts, "r.atr": _annotations()}
    found["annotations"] = Case(beats, annotations(read_beats, "r"), ("r.atr",))
    waves = {"1.hea": header, "r.dat": counts} | {f"1.{lead.lower()}": _annotations(20) for lead in LEADS}
    found["delineations"] = Case(waves, annotations(read_delineation, "1"), ("1.ii", "1.v6"))
    sums = "".join(f"{number:064x}  data/{number}.dat\n" for number in range(40)).encode()
    found["checksum list"] = Case({"sums": sums}, lambda folder: read_checksums(folder / "sums"), ("sums",), DataError)
    text = dict.fromkeys(
        ("title", "version", "licence", "licence_url", "citation", "landing_page", "users", "note"), "text"
    )
    entry = {**text, "records": 2, "size": "12 MB", "urls": ["http://one.test/"], "checksum_file": "sums"}
    entry["files"] = [{"path": "a.txt", "sha256": "0" * 64, "bytes": 3, "url": "http://two.test/a"}]
    entry["archives"] = [{"url": "http://three.test/b.zip", "checksum": "md5:" + "0" * 32}]
    found["manifest"] = Case(
        {"m.yaml": yaml.safe_dump({"one": entry, "two": entry}).encode()},
        lambda folder: load_manifest(folder / "m.yaml"),
        ("m.yaml",),
        DataError,
    )
    return found


@lru_cache
def device_cases() -> dict[str, Case]:
    """Name → a file of each device format."""
    signal, found = device_files.beats(500), {}
    for name, (suffix, write, _, leads) in device_files.FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(path := Path(folder) / f"r{suffix}", device_files.counts_of(signal, 1, leads), 500, leads, 1)
            found[name] = Case({path.name: path.read_bytes()}, record(path.name), (path.name,))
    return found


def _read_array(name: str, folder: Path) -> None:
    signal = read_record(folder / name, fs=500).signal
    assert signal.dtype == np.float32 and signal.ndim == 2 and signal.size
    find_records(folder)


# What is changed

_NUMBERS = ["0", "-1", "1", "7", "12", "1e309", "nan", "-inf", "99999999999999999999", "2147483648", "4294967296", ""]
_NUMBERS += ["1e-320", "0.1", "1_000", "1,5", "٣", "0x10", "+", "1000000", "65536"]
_TOKENS = [
    "",
    "#",
    ":",
    "/",
    "(",
    "\0",
    "\x1b[2J",
    "é",
    "\u2028",
    "<b>",
    "{x}",
    "[/b]",
    "../",
    "%s",
    "'",
    '"',
    "\\",
    "  ",
]


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(0, max(1, len(data)), rng.integers(1, 9)):
        data[place : place + 1] = bytes([rng.integers(256)])
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: rng.integers(0, len(data) + 1)]


def _slice(data: bytearray, rng: np.random.Generator) -> slice:
    start = int(rng.integers(0, len(data) + 1))
    return slice(start, start + int(rng.integers(0, 1 << int(rng.integers(1, 12)))))


def _without(data: bytearray, rng: np.random.Generator) -> bytearray:
    del data[_slice(data, rng)]
    return data


def _repeated(data: bytearray, rng: np.random.Generator) -> bytearray:
    where = _slice(data, rng)
    data[where] = data[where] * int(rng.integers(2, 2 + (1 << int(rng.integers(1, 8)))))
    return data[: 1 << 20]


def _filled(data: bytearray, rng: np.random.Generator) -> bytearray:
    where = _slice(data, rng)
    data[where] = bytes([rng.choice([0, 255, 32, 128])]) * len(data[where])
    return data


def _moved(data: bytearray, rng: np.random.Generator) -> bytearray:
    where = _slice(data, rng)
    part = bytes(data[where])
    del data[where]
    place = int(rng.integers(0, len(data) + 1))
    data[place:place] = part
    return data


def _noise(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(0, len(data) + 1))
    data[place:place] = rng.integers(0, 256, rng.integers(1, 40), np.uint8).tobytes()
    return data


def _token(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Put another number or text in the place of a word."""
    words = data.split(b" ") if rng.random() < 0.5 else data.split(b",")
    new = str(rng.choice(_NUMBERS if rng.random() < 0.6 else _TOKENS)).encode()
    words[rng.integers(len(words))] = bytearray(new)
    return bytearray(b" " if b" " in data else b",").join(words)


def _lines(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Leave out, repeat or exchange a line."""
    lines = data.split(b"\n")
    one, other = rng.integers(len(lines), size=2)
    match rng.integers(4):
        case 0:
            del lines[one]
        case 1:
            lines[one:one] = [lines[other]] * int(rng.integers(1, 1 << int(rng.integers(1, 10))))
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case 3:
            lines[one] += b" " * int(rng.integers(1, 2000))
    return bytearray(b"\n".join(lines)[: 1 << 20])


def _written(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The same text in another encoding or with other line ends."""
    text = data.decode("latin-1")
    match rng.integers(5):
        case 0:
            return bytearray(text.replace("\n", "\r\n").encode("latin-1"))
        case 1:
            return bytearray(text.replace("\n", "\r").encode("latin-1"))
        case 2:
            return bytearray(text.encode("utf-16"))
        case 3:
            return bytearray(b"\xef\xbb\xbf" + text.encode())
        case _:
            return bytearray(text.upper().encode())


_BYTES = [_flip, _flip, _cut, _without, _repeated, _filled, _moved, _noise]
_TEXT = [_token, _token, _token, _lines, _lines, _written]


def mutate(data: bytes, text: bool, rng: np.random.Generator) -> bytes:
    """One to three changes of a file."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        ways = _TEXT if text and rng.random() < 0.7 else _BYTES
        changed = bytearray(ways[rng.integers(len(ways))](changed, rng))
    return bytes(changed)


# One attempt


@contextlib.contextmanager
def memory(plain: int) -> Iterator[None]:
    """Let this process have only so much more memory than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        most = pages * resource.getpagesize() + TIMES * plain + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def judge(read: Callable[[], object], error: type[Exception], folder: Path, plain: int) -> str:
    """Read within the limit of memory; a refusal must be a sentence of the right kind that names a file."""
    with memory(plain), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read()
        except error as refusal:
            cause: BaseException | None = refusal
            while cause := cause.__cause__:
                assert not isinstance(cause, MemoryError), f"took more than {TIMES} times {plain} bytes and 200 MB"
            said = str(refusal)
            assert str(folder) in said, f"names no file: {said[:200]}"
            assert len(said) < 2000, f"a sentence of {len(said)} characters"
            return REFUSED
    return READ


def attempt(name: str, seed: int, number: int, folder: Path) -> str:
    """Change a file of a format, and read it."""
    case = (cases() | device_cases())[name]
    rng = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
    changed = case.changed[rng.integers(len(case.changed))]
    for file, data in case.files.items():
        text = file.endswith((".hea", ".csv", ".yaml", "sums", ".xml"))
        (folder / file).write_bytes(mutate(data, text, rng) if file == changed else data)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return judge(lambda: case.read(folder), case.error, folder, max(size, case.plain))


def kinds(tries: int) -> list[Kind]:
    """One kind a format, each with its part of the tries."""
    names = list(cases())
    return [
        Kind(f"changed: {name}", tries // len(names) + (place < tries % len(names)), partial(attempt, name))
        for place, name in enumerate(names)
    ]


def device_kinds(tries: int) -> list[Kind]:
    """One kind a device format, each with so many tries."""
    return [Kind(f"of a device: {name}", tries, partial(attempt, name)) for name in device_cases()]


# Files that are none


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(before)


def _sparse(path: Path) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(3 << 30)


def _hole(path: Path) -> None:
    """The right beginning, and then nothing."""
    data = path.read_bytes()
    _sparse(path)
    with path.open("r+b") as file:
        file.write(data)


_ODD: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "socket": _socket,
    "folder": lambda path: path.mkdir(),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "empty device": lambda path: path.symlink_to("/dev/null"),
    "empty": lambda path: path.write_bytes(b""),
    "hole": _sparse,
    "hole after a beginning": _hole,
}
_OF = {
    "WFDB header": "r.hea",
    "WFDB format 16": "r.dat",
    "WFDB format 24": "r.dat",
    "CPSC struct": "A0001.mat",
    "CPSC table": "REFERENCE.csv",
    "PTB-XL table": "ptbxl_database.csv",
    "NumPy array": "a.npy",
    "CSV": "a.csv",
    "annotations": "r.atr",
    "checksum list": "sums",
    "manifest": "m.yaml",
}
ODD = [(name, odd) for name in _OF for odd in _ODD]


def odd(seed: int, number: int, folder: Path) -> str:
    """Put something that is no file, or one of nothing, in a file's place."""
    name, what = ODD[number]
    case = cases()[name]
    for file, data in case.files.items():
        path = folder / file
        path.write_bytes(data)
        if file == _OF[name]:
            if what != "hole after a beginning":
                path.unlink()
            _ODD[what](path)
    return judge(lambda: case.read(folder), case.error, folder, sum(map(len, case.files.values())))
