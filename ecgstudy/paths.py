"""Where things are on disk, and how a file is written: never half of it for the whole, and no larger than need be."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    import pandas as pd

_PACKAGE = Path(__file__).resolve().parent
IN_CHECKOUT = (_PACKAGE.parent / "data_manifest.yaml").exists()
# What a wheel ships (see setup.py) stands for the repository, in the same places; nothing is ever written there.
REPOSITORY = _PACKAGE.parent if IN_CHECKOUT else _PACKAGE / "shipped"
MANIFEST = REPOSITORY / "data_manifest.yaml"
NOTEBOOKS = REPOSITORY / "notebooks"
RESULTS = (REPOSITORY if IN_CHECKOUT else platformdirs.user_data_path("ecgstudy")) / "results"


class BrokenError(ValueError):
    """A file that this package wrote and can no longer read: which one, and what to delete."""


def data_root() -> Path:
    """Folder of the real recordings: ``$ECGSTUDY_DATA``, else ``data/`` in the repository or the user's data folder."""
    default = REPOSITORY / "data" if IN_CHECKOUT else platformdirs.user_data_path("ecgstudy")
    return _resolved(os.environ.get("ECGSTUDY_DATA") or default)


def cache_root() -> Path:
    """Folder of all that can be made again: ``$ECGSTUDY_CACHE``, else ``.cache/`` in the repository or the user's."""
    default = REPOSITORY / ".cache" if IN_CHECKOUT else platformdirs.user_cache_path("ecgstudy")
    return _resolved(os.environ.get("ECGSTUDY_CACHE") or default)


def needs_checkout(what: str) -> None:
    """Raise unless the package stands in a checkout of the repository, which has chapters, pages and results.

    Raises
    ------
    FileNotFoundError
        that says what cannot be done, and the remedy.
    """
    if not (REPOSITORY / "_toc.yml").exists():  # neither wheels nor source archives have one
        raise FileNotFoundError(
            f"{what} needs the repository, with its notebooks and results, which an installed package lacks: "
            "clone it and run `make env` there"
        )


def _resolved(path: str | Path) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except RuntimeError as error:  # a ~user that there is not
        raise ValueError(f"{path}: {error}") from None


@contextmanager
def told_if_broken(path: Path) -> Iterator[None]:
    """Make what fails within, reading a file or folder that this package wrote, an error that says what to delete.

    Raises
    ------
    BrokenError
        naming ``path``. What the machine does wrong (no memory, a disk that fails) stays what it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
            raise
        if path.is_relative_to(RESULTS):
            needs_checkout(f"results/{path.relative_to(RESULTS).as_posix()}")
            remedy = f"bring it back with `git restore {path.relative_to(REPOSITORY)}`"
        else:
            remedy = "delete it and run the command again, which makes it anew"
        detail = str(error).partition("\n")[0]
        raise BrokenError(f"{path} is broken ({type(error).__name__}: {detail}): {remedy}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file that this package wrote; a broken one is a ``BrokenError`` that names it."""
    with told_if_broken(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_table(path: Path) -> "pd.DataFrame":
    """Read a Parquet table that this package wrote; a broken one is a ``BrokenError`` that names it."""
    import pandas as pd

    with told_if_broken(path):
        return pd.read_parquet(path)


# What systems, editors and browsers leave beside data, by name: hidden files (macOS's ._name and .DS_Store, notebooks'
# checkpoints), Windows' and Synology's own, backups, unfinished transfers, and where a download came from.
_SIDECAR = re.compile(
    r"\..*|~\$.*|#.*#|.*~|.*\.(tmp|temp|part|partial|crdownload)|.*zone\.identifier|(eh)?thumbs.*\.db|desktop\.ini|"
    r"icon\r|__macosx|__pycache__|@eadir|\$recycle\.bin|system volume information|lost\+found",
    re.IGNORECASE | re.DOTALL,
)


def is_sidecar(name: str) -> bool:
    """Whether a file or folder of this name is no data, but what a system or a program left beside them."""
    return bool(_SIDECAR.fullmatch(name))


def listed(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what below a folder matches a pattern, in order, without sidecars and what is in them."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not any(map(is_sidecar, path.relative_to(folder).parts)))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder but sidecars, in order; links to folders are followed, each folder once."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_sidecar(name))
        yield from (Path(parent, name) for name in sorted(names) if not is_sidecar(name))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield ``<path>.<pid>.partial`` to write to; it takes the name ``path`` only once it is whole and on disk.

    ``path`` may become a file or a folder. On any exception (a full disk, an interrupt) what was written is
    removed and an earlier ``path`` stays as it was. What a killed process left is removed by the next one.

    Raises
    ------
    OSError
        with the path and what to do, when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    for left in path.parent.glob(f"{path.name}.*.partial"):
        if not _alive(int(left.suffixes[-2][1:])):
            _remove(left)
    try:
        yield partial
        for part in [*partial.rglob("*"), partial] if partial.is_dir() else [partial]:
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except BaseException as error:
        _remove(partial)
        # safetensors, written in Rust, says it in words alone.
        if getattr(error, "errno", None) == errno.ENOSPC or f"(os error {errno.ENOSPC})" in str(error):
            raise OSError(
                errno.ENOSPC,
                f"the disk is full, nothing of {path} was kept: free some space there and run the command again",
            ) from error
        raise


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_compact(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table of answers as Parquet without its index, floating-point columns by byte planes.

    That takes a half to two thirds of the bytes of pandas' default, which looks for repeats where there are none.
    """
    numbers = [name for name, kind in frame.dtypes.items() if kind.kind == "f"]
    texts = [name for name in frame if name not in numbers]
    frame.to_parquet(path, index=False, compression="zstd", use_dictionary=texts, use_byte_stream_split=numbers)
