"""Archives and lists that lie, as far as a lie can be told harmlessly: refused whole, or unpacked rightly."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ecgstudy.data.fetch import unpack
from ecgstudy.data.manifest import DataError, read_checksums
from tests.attack.runner import READ, REFUSED

GOOD = {"top/A1.mat": b"one" * 500, "top/deep/A2.mat": b"two"}
MOST = 1 << 16
SUM = "0" * 64


def zipped(members: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], **options: int) -> bytes:
    """Make a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, body in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, body)
    return file.getvalue()


def tarred(
    members: dict[str, bytes] | list[tuple[str | tarfile.TarInfo, bytes]],
    pack: Callable[[bytes], bytes] = gzip.compress,
    form: int = tarfile.PAX_FORMAT,
) -> bytes:
    """Make a tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, body in members.items() if isinstance(members, dict) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or len(body)
            archive.addfile(info, io.BytesIO(body) if body else None)
    return pack(file.getvalue())


def _zip_link(name: str = "link", mode: int = stat.S_IFLNK) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o777) << 16
    return zipped([*GOOD.items(), (info, b"/etc")])


def _tar_special(kind: bytes, target: str = "/etc") -> bytes:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, target
    return tarred([*GOOD.items(), (info, b"")])


def _changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data and len(old) == len(new)
    return data.replace(old, new)


def _zip_stated(size: int) -> bytes:
    """A zip whose directory states another size of its members than they have."""
    data = bytearray(zipped({"A1.mat": bytes(1000)}))
    start = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, start + 24, size)
    return bytes(data)


def _encrypted() -> bytes:
    """A zip whose members are flagged as encrypted."""
    data = bytearray(zipped(GOOD))
    for signature, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            data[start + place] |= 1
    return bytes(data)


def _tar_sized(size: int) -> bytes:
    """A tar whose last member states a size that does not follow."""
    info = tarfile.TarInfo("A3.mat")
    info.size = size
    members = gzip.decompress(tarred(GOOD, form=tarfile.USTAR_FORMAT))[:3072]  # without the zeros at its end
    return gzip.compress(members + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def _tar_long_header() -> bytes:
    """A header that states a name of a gigabyte."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def _tar_wrong_header() -> bytes:
    """A tar of two members; the second one's header has a wrong sum."""
    data = bytearray(gzip.decompress(tarred({"A1.mat": b"one", "A2.mat": b"two"}, form=tarfile.USTAR_FORMAT)))
    data[1024 + 5] ^= 1
    return gzip.compress(bytes(data))


def _pax(path: str) -> bytes:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"path": path}
    return tarred([*GOOD.items(), (info, b"x")])


def _sums(*paths: str) -> bytes:
    return "".join(f"{SUM}  {path}\n" for path in paths).encode()


# Name → suffix, bytes, whether it may be used (None: either way, it does no harm).
CASES: dict[str, tuple[str, Callable[[], bytes], bool | None]] = {
    "a good zip": ("zip", lambda: zipped(GOOD), True),
    "a good tar": ("tar.gz", lambda: tarred(GOOD), True),
    "a tar by bzip2": ("tar.bz2", lambda: tarred(GOOD, bz2.compress), True),
    "a tar by xz": ("tar.xz", lambda: tarred(GOOD, lzma.compress), True),
    "a zip with a path above": ("zip", lambda: zipped(GOOD | {"../evil": b"x"}), False),
    "a tar with a path above": ("tar.gz", lambda: tarred(GOOD | {"top/../../evil": b"x"}), False),
    "a zip with an absolute path": ("zip", lambda: zipped(GOOD | {"/evil": b"x"}), False),
    "a tar with an absolute path": ("tar.gz", lambda: tarred(GOOD | {"/evil": b"x"}), False),
    "a tar with a long path above": ("tar.gz", lambda: _pax("../" * 40 + "evil"), False),
    "a tar with a NUL in a path": ("tar.gz", lambda: _pax("a\0b"), False),
    "a zip with backslashes": ("zip", lambda: zipped(GOOD | {"..\\evil": b"x"}), False),
    "a zip with a drive": ("zip", lambda: zipped(GOOD | {"C:evil": b"x"}), False),
    "a zip with a control character": ("zip", lambda: zipped(GOOD | {"a\x1b[2Jb": b"x"}), False),
    "a zip with a NUL in a path": (
        "zip",
        lambda: _changed(zipped(GOOD | {"a_b.mat": b"x"}), b"a_b.mat", b"a\0b.mat"),
        False,
    ),
    "a zip with a name of 5,000 letters": ("zip", lambda: zipped(GOOD | {"a" * 5000: b"x"}), False),
    "a tar with a name of 5,000 letters": ("tar.gz", lambda: tarred(GOOD | {"a" * 5000: b"x"}), False),
    "a zip with a link": ("zip", _zip_link, False),
    "a zip with a pipe": ("zip", lambda: _zip_link(mode=stat.S_IFIFO), False),
    "a tar with a link": ("tar.gz", lambda: _tar_special(tarfile.SYMTYPE), False),
    "a tar with a hard link": ("tar.gz", lambda: _tar_special(tarfile.LNKTYPE, "top/A1.mat"), False),
    "a tar with a pipe": ("tar.gz", lambda: _tar_special(tarfile.FIFOTYPE), False),
    "a tar with a device": ("tar.gz", lambda: _tar_special(tarfile.CHRTYPE), False),
    "a zip with one path twice": (
        "zip",
        lambda: _changed(zipped(GOOD | {"top/A3.mat": b"x"}), b"top/A3", b"top/A1"),
        False,
    ),
    "a tar with one path twice": ("tar.gz", lambda: tarred([("a", b"x"), ("a", b"y")]), False),
    "a zip with a file and a folder of one name": ("zip", lambda: zipped({"a": b"x", "a/b": b"y"}), False),
    "a tar with a file and a folder of one name": ("tar.gz", lambda: tarred({"a": b"x", "a/b": b"y"}), False),
    "a zip that is encrypted": ("zip", _encrypted, False),
    "a zip that states too little": ("zip", lambda: _zip_stated(10), False),
    "a zip that states too much": ("zip", lambda: _zip_stated(5000), False),
    "a zip that states gigabytes": ("zip", lambda: _zip_stated(4 << 29), False),
    "a zip of many zeros": ("zip", lambda: zipped({"a": bytes(1 << 18)}), False),
    "a tar of many zeros": ("tar.gz", lambda: tarred({"a": bytes(1 << 18)}), False),
    "a tar of many empty files": ("tar.gz", lambda: tarred({f"{i}": b"" for i in range(500)}), False),
    "a tar that states gigabytes": ("tar.gz", lambda: _tar_sized(5 << 30), False),
    "a tar that states more than it has": ("tar.gz", lambda: _tar_sized(5000), False),
    "a tar with a header of a gigabyte": ("tar.gz", _tar_long_header, False),
    "a tar with a wrong header": ("tar.gz", _tar_wrong_header, False),
    "a zip of nothing": ("zip", lambda: zipped({}), False),
    "a tar of nothing": ("tar.gz", lambda: tarred({}), False),
    "a zip of folders": ("zip", lambda: zipped({"a/": b"", "a/b/": b""}), False),
    "half a zip": ("zip", lambda: zipped(GOOD)[:-30], False),
    "half a tar": ("tar.gz", lambda: tarred(GOOD)[:-30], False),
    "a zip with a wrong sum": ("zip", lambda: zipped(GOOD).replace(zipped(GOOD)[45:50], b"abcde", 1), False),
    "a list with a NUL": ("list", lambda: _sums("data/1", "data\0/2"), False),
    "a list with a control character": ("list", lambda: _sums("a\x1b[2Jb"), False),
    "a list with a path above": ("list", lambda: _sums("data/1", "../2"), False),
    "a list with an absolute path": ("list", lambda: _sums("/etc/x"), False),
    "a list with a drive": ("list", lambda: _sums("C:/x"), False),
    "a list with a name of 5,000 letters": ("list", lambda: _sums("a" * 5000), False),
    "a list of the folder itself": ("list", lambda: _sums("."), False),
    "a list with two sums for a file": ("list", lambda: _sums("a") + b"1" * 64 + b"  ./a\n", False),
    "a list with one line twice": ("list", lambda: _sums("a", "a", "./b", "c//d"), True),
    "a list in UTF-16": ("list", lambda: _sums("a", "b").decode().encode("utf-16"), False),
    "a list with a mark and other line ends": (
        "list",
        lambda: b"\xef\xbb\xbf" + _sums("a", "b").replace(b"\n", b"\r\n"),
        True,
    ),
    "a list that is a page": ("list", lambda: b"<html></html>", False),
    "a list of nothing": ("list", lambda: b"\n\n", False),
}


def attempt(seed: int, number: int, folder: Path) -> str:
    """Unpack an archive or read a list; nothing may change but its own folder, and that not if it is refused."""
    suffix, make, usable = CASES[list(CASES)[number]]
    (folder / "inner").mkdir()
    inner = folder / "inner" / "set"
    inner.mkdir()
    (inner / "mine.txt").write_bytes(b"of the user")
    path = folder / f"made.{suffix}"
    path.write_bytes(make())
    before = _tree(folder)
    try:
        if suffix == "list":
            paths = read_checksums(path)
            assert all(not name.startswith((".", "/")) for name in paths)
            expected = before
        else:
            paths = unpack(path, inner, MOST)
            expected = before | {f"inner/set/{name}": (inner / name).read_bytes() for name in paths}
            assert sorted(paths) == ["A1.mat", "deep/A2.mat"]
        assert _tree(folder) == expected
        outcome = READ
    except DataError as error:
        assert path.name in str(error), str(error)
        assert _tree(folder) == before, "a refused archive left something"
        outcome = REFUSED
    assert usable is None or (outcome == READ) == usable, f"{list(CASES)[number]} was {outcome}"
    return outcome


def _tree(folder: Path) -> dict[str, bytes]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found
