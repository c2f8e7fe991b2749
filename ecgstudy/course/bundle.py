"""One zip for a room without a network: the built book, wheels, the repository, what a profile simulates, notebooks."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecgstudy import profiles
from ecgstudy.book.build import build_folder, trainings
from ecgstudy.course.notebooks import write, write_chapters
from ecgstudy.paths import REPOSITORY, cache_root, code_hash, files_below, written_whole
from ecgstudy.profiles import BookError

TOP = "ecgstudy-class"  # the folder that the zip unpacks into
LOCKS = ("requirements.lock", "requirements-class.lock")
# On Linux PyPI has torch for CUDA alone.
CPU = "https://download.pytorch.org/whl/cpu"
_STORED = {".whl", ".png", ".zip", ".gz", ".parquet"}  # compressed already
# What a checkout without git may hold besides its files.
_NOT_TRACKED = {".venv", "_build", ".cache", "data", "handout"}

README = """\
ecgstudy: a class on explainable machine learning for ECGs, without a network
=============================================================================

In a browser alone
    Open book/index.html. All pages, quizzes and games work from the folder. The slides, if they were made, are in
    slides: open slides/class.html.

To run the notebooks
{wheels}
    Linux, macOS: open a terminal in this folder and type

        {python} -m venv env
        env/bin/pip install --no-index --no-deps wheels/*.whl
        env/bin/pip install --no-index --no-deps --no-build-isolation -e repository
        export ECGSTUDY_CACHE="$PWD/cache"
        env/bin/jupyter lab notebooks

    Windows: install WSL with Ubuntu (wsl --install, which wants a network, once), copy this folder into its home
    folder, and type the same there.

    From the second time on, the last two lines are enough.

Begin with notebooks/chapters/class.ipynb. Exercises are in notebooks/exercises.

What is in here
    book/         the rendered book (profile {profile})
    slides/       a deck for each session, as HTML and PDF, if they were made
    notebooks/    its chapters and the class's notebook, and the exercises, to work in
    cache/        simulated records and networks, which the notebooks would make otherwise
    wheels/       the packages that they want
    repository/   the source of all of it, with the networks that come with it
"""


@dataclass(frozen=True)
class Part:
    """A part of the zip: its folder, how many files it has, and how many bytes they have in the zip and unpacked."""

    name: str
    files: int
    packed: int
    unpacked: int


def make(file: Path, profile: str, *, wheels: bool = True, show: Callable[[str], None] = print) -> list[Part]:
    """Write the zip. What takes long, wheels and simulated records, is kept in ``_build/PROFILE`` for the next time.

    Parameters
    ----------
    file
        Of the zip; it is there once it is whole.
    profile
        Of the book.
    wheels
        Whether the packages are in it, for this machine's system and Python.
    show
        Called with a line for each step.

    Raises
    ------
    BookError
        when the book is not built, or packages cannot be fetched; the message says what to do.
    OSError
        when the file cannot be written.
    """
    build = build_folder(profile)
    page = build / "_build" / "html" / "index.html"
    if not page.exists():
        raise BookError(f"no book of profile {profile} is built: run `ecgstudy book --profile {profile}`")
    with tempfile.TemporaryDirectory() as temporary, written_whole(file) as partial:
        made = Path(temporary)
        write(made / "exercises")
        write_chapters(made / "chapters", profile)
        folders = {"book": page.parent, "notebooks": made, "cache": filled_cache(profile, show)}
        if (build / "slides").exists():
            folders["slides"] = build / "slides"
        if wheels:
            folders["wheels"] = fetched_wheels(build / "wheels", show)
        contents = {name: [(p, p.relative_to(folder)) for p in files_of(folder)] for name, folder in folders.items()}
        contents["repository"] = [(REPOSITORY / path, path) for path in tracked()]
        with zipfile.ZipFile(partial, "w", compresslevel=6) as archive:
            archive.writestr(f"{TOP}/README.txt", readme(profile, wheels=wheels))
            parts = [_pack(archive, name, files) for name, files in contents.items()]
    return parts


def _pack(archive: zipfile.ZipFile, name: str, files: list[tuple[Path, Path]]) -> Part:
    packed = unpacked = 0
    for path, place in files:
        kind = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
        archive.write(path, f"{TOP}/{name}/{place.as_posix()}", kind)
        packed, unpacked = packed + archive.infolist()[-1].compress_size, unpacked + archive.infolist()[-1].file_size
    return Part(name, len(files), packed, unpacked)


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, in order, but for locks, hidden files, and what was begun and not ended."""
    return [path for path in files_below(folder) if path.suffix != ".lock"]


def tracked() -> list[Path]:
    """Files of the repository, relative to it: those that git tracks, or those of a checkout without git."""
    if (REPOSITORY / ".git").exists():
        listing = ["git", "-C", str(REPOSITORY), "ls-files", "-z"]
        told = subprocess.run(listing, capture_output=True, check=True, encoding="utf-8").stdout
        found = [Path(name) for name in told.split("\0") if name]
    else:
        found = [path.relative_to(REPOSITORY) for path in files_below(REPOSITORY)]
        found = [p for p in found if p.parts[0] not in _NOT_TRACKED and not p.parts[0].endswith(".egg-info")]
    return [path for path in found if (REPOSITORY / path).is_file()]


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("ECGSTUDY_CACHE")
    os.environ["ECGSTUDY_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["ECGSTUDY_CACHE"]
        os.environ |= {"ECGSTUDY_CACHE": before} if before is not None else {}


def filled_cache(profile: str, show: Callable[[str], None]) -> Path:
    """Folder of a cache with what the chapters of a profile train and simulate, and nothing else; made if it lacks."""
    from ecgstudy.studies.trainings import jobs, lacking
    from ecgstudy.workers import work_off

    # Made by other code or for other parameters, it may hold what nobody asks for any more.
    folder = _only(build_folder(profile) / "cache", code_hash("**/*.py"), profiles.file().read_text(encoding="utf-8"))
    with _cache(folder):
        if missing := lacking(trainings(profile, force=True)):
            show(f"cache: {len(missing)} trainings and cohorts to make")
            for outcome in work_off(list(jobs(missing).values())):
                if outcome.error:
                    raise outcome.error
        return cache_root()


def _only(folder: Path, *made_of: str) -> Path:
    """Folder within ``folder`` for what is made of these texts; those of others are removed."""
    name = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    for other in folder.glob("*"):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    return folder / name


def fetched_wheels(folder: Path, show: Callable[[str], None]) -> Path:
    """Folder of the wheels that the locks name, for this machine's system and Python; those that lack are fetched.

    Raises
    ------
    BookError
        with pip's last lines, when one cannot be fetched.
    """
    locks, torch = [REPOSITORY / name for name in LOCKS], torch_pin()
    folder = _only(folder, torch, platform(), *(lock.read_text(encoding="utf-8") for lock in locks))
    if (folder / ".whole").exists():
        return folder
    show("wheels: pip downloads them")
    offered = [Path(one) for one in os.environ.get("PIP_FIND_LINKS", "").split()]
    known = sys.platform != "linux" or any(list(one.glob("torch-*.whl")) for one in offered)
    asked = [*(["-r", str(lock)] for lock in locks), [torch, *([] if known else ["--index-url", CPU])]]
    for what in asked:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
        done = subprocess.run([*command, *what], capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            told = "\n".join(done.stderr.strip().splitlines()[-3:])
            raise BookError(f"packages could not be fetched (--no-wheels leaves them out):\n{told}")
    (folder / ".whole").touch()
    return folder


def torch_pin() -> str:
    """Torch's pin, which stands in no lock."""
    match = re.search(r'"(torch==[\d.]+)"', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    if match is None:
        raise BookError("pyproject.toml pins no torch")
    return match[1]


def platform() -> str:
    """Name the system and its Python: ``Python 3.11, linux-x86_64``."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}, {sysconfig.get_platform()}"


def readme(profile: str, *, wheels: bool) -> str:
    """The text of the zip's README."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    said = f"The wheels in here are for {platform()}. Another system needs a zip that was made there."
    if not wheels:
        said = "This zip holds no wheels: with a network, `make env-class` in repository does the first three lines."
    return README.format(profile=profile, python=python, wheels=f"    {said}\n")
