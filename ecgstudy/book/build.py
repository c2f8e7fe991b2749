"""The study as a book: execute the notebooks in order, stage them beside the prose, render the pages."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ecgstudy.paths import (
    NOTEBOOKS,
    PACKAGE,
    REPOSITORY,
    code_hash,
    data_root,
    files_below,
    is_sidecar,
    label_tables,
    own_cohorts,
    stamp,
    written_whole,
)
from ecgstudy.profiles import BookError as BookError
from ecgstudy.profiles import ProfileError, nearest, profile_values, typed

if TYPE_CHECKING:
    from ecgstudy.studies.trainings import Task


def chapter_names() -> list[str]:
    """Names of the chapters' notebooks, by their numbers."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


def notebook_names() -> list[str]:
    """Names of the notebooks in the order in which they are executed: the chapters, then the class's."""
    return chapter_names() + sorted(path.stem for path in NOTEBOOKS.glob("class.ipynb"))


def build_folder(profile: str) -> Path:
    """Folder of everything that ``profile`` builds: executed notebooks and the rendered book."""
    return REPOSITORY / "_build" / profile


def _state() -> bytes:
    """Hash of everything that all notebooks depend on: the pins, the results, the data at hand."""
    digest = hashlib.sha256(f"{sys.version} {version('torch')}".encode())  # no lock names torch
    package = list(files_below(PACKAGE))
    # Of modules only the names: each notebook knows which it imported, but a new one may change any of them.
    digest.update("\n".join(path.relative_to(PACKAGE).as_posix() for path in package if path.suffix == ".py").encode())
    for path in package:
        if path.suffix in {".csv", ".yaml"}:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    results = files_below(REPOSITORY / "results")
    for path in sorted([*results, REPOSITORY / "requirements.lock", REPOSITORY / "data_manifest.yaml"]):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + path.read_bytes())
    root = data_root()
    for path in [*files_below(root), *label_tables([root])]:
        digest.update(os.fsencode(os.path.relpath(path, root)) + f" {stamp(path)}".encode())
    return digest.digest()


def _state_of_own(cohort: str) -> bytes:
    from ecgstudy.data import own  # which loads pandas

    return own.state(cohort).encode()


def _hashes() -> dict[str, str]:
    """Hash of each module of the package, by its path below it."""
    modules = (path for path in files_below(PACKAGE) if path.suffix == ".py")
    return {p.relative_to(PACKAGE).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in modules}


def run_notebooks(
    profile: str,
    names: Iterable[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    jobs: int | None = None,
) -> list[Path]:
    """Execute notebooks, each only if something that it depends on has changed.

    What they train is known before: it is trained side by side, and each notebook is executed when its networks are
    there. A change of a module of the package executes the notebooks that import it.

    Parameters
    ----------
    profile
        ``smoke``, ``class``, ``demo``, ``real`` or ``paper``.
    names
        Names of the notebooks (without ``.ipynb``); all of them if None.
    parameters
        Values that replace the profile's, as ``profiles.typed`` takes them. Each must be known to at least one of the
        notebooks.
    force
        Also execute what has not changed.
    jobs
        Processes of one thread each; by default as many as fit on this machine.

    Returns
    -------
    list of Path
        The executed notebooks, under ``build_folder(profile)``.

    Raises
    ------
    ProfileError
        for an unknown profile, notebook or parameter, or a value that does not fit; nothing is executed then.
    BookError
        when a cell fails, ends its Python or is interrupted. The message names the notebook, the error, and the file
        with the executed part. The other notebooks are executed all the same.
    """
    done, todo = _pending(profile, names, parameters, force)
    for name in (name for name in done if name not in todo):
        print(f"{name}: unchanged", flush=True)
    if todo:
        _work_off(todo, jobs)
    return list(done.values())


def trainings(
    profile: str,
    names: Iterable[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> "list[Task]":
    """What the notebooks that ``run_notebooks`` would execute want trained before, whether it is or not."""
    from ecgstudy.studies.chapters import planned  # which loads torch

    _, todo = _pending(profile, names, parameters, force)
    return [task for name, (values, _) in todo.items() for task in planned(name, values)]


Todo = dict[str, tuple[SimpleNamespace, tuple[Any, ...]]]  # name → parameters, and what ``execute`` is given


def _pending(
    profile: str, names: Iterable[str] | None, parameters: Mapping[str, Any] | None, force: bool
) -> tuple[dict[str, Path], Todo]:
    """Where each notebook goes that was named, and what is to be done for those that have changed."""
    if not chapter_names():
        raise ProfileError(
            f"{NOTEBOOKS} holds no chapter (NN_NAME.ipynb): let ECGSTUDY_NOTEBOOKS name a folder that does"
        )
    names, parameters = list(names or notebook_names()), dict(parameters or {})
    known = {name: profile_values(profile, name, names=False) for name in names}
    for name in names:
        if name not in notebook_names():
            hint = nearest(name.removesuffix(".ipynb"), notebook_names())
            raise ProfileError(f"no notebook {name!r}; there are {', '.join(notebook_names())}{hint}")
    for parameter in parameters:
        if not any(parameter in values for values in known.values()):
            every = dict.fromkeys(one for values in known.values() for one in values)
            who = f"none of {', '.join(names)} has a" if len(names) > 1 else f"{names[0]} has no"
            who = "no notebook has a" if names == notebook_names() else who
            hint = nearest(parameter, every, ".")
            raise ProfileError(f"{who} parameter {parameter!r}{hint} There are {', '.join(every)}.")
    passed = {
        name: {k: typed(k, v, name) for k, v in parameters.items() if k in values} for name, values in known.items()
    }
    state, hashes = _state(), _hashes()
    done = {name: build_folder(profile) / "notebooks" / f"{name}.ipynb" for name in names}
    todo: Todo = {}
    for name in names:
        source = NOTEBOOKS / f"{name}.ipynb"
        given = {"profile": profile} | passed[name]
        values = known[name] | given
        if name not in chapter_names():  # the class's is the same in every profile: it has no parameters
            given = {}
        cohort = values.get("cohort", "")
        mine = _state_of_own(cohort) if cohort in own_cohorts() else b""
        key = hashlib.sha256(
            state + source.read_bytes() + json.dumps(values, sort_keys=True).encode() + mine
        ).hexdigest()
        if force or not _is_of(done[name], key, hashes):
            todo[name] = SimpleNamespace(**values), (source, done[name], given, key, hashes)
    return done, todo


def _is_of(executed: Path, key: str, hashes: Mapping[str, str]) -> bool:
    """Whether a notebook was executed with this key, and has imported the modules as they are now."""
    try:
        about = json.loads(executed.read_text(encoding="utf-8"))["metadata"]["ecgstudy"]
        return about["key"] == key and all(hashes.get(name) == one for name, one in about["modules"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _work_off(todo: Mapping[str, tuple[SimpleNamespace, tuple[Any, ...]]], workers: int | None) -> None:
    """Train what notebooks need and execute each as soon as that is there, side by side. One that fails stops no other.

    ``todo``: name → the notebook's parameters, and what ``execute`` is given.
    """
    from ecgstudy.book.execute import execute  # these bring torch and Jupyter, which take seconds
    from ecgstudy.studies.chapters import planned
    from ecgstudy.studies.trainings import in_order, jobs
    from ecgstudy.workers import Job, WorkerError, work_off

    tasks = {name: planned(name, values) for name, (values, _) in todo.items()}
    made = jobs(task for some in tasks.values() for task in some)
    # Chapters that train come first, each right after its trainings; the others fill what is left, the long ones first:
    # the longer its file, the longer a notebook takes.
    length = {name: 0 if tasks.get(name) else about[0].stat().st_size for name, (_, about) in todo.items()}
    order: dict[str, Job] = {}
    for name in sorted(todo, key=lambda name: (length[name] > 0, -length[name])):
        for task in in_order(tasks.get(name, ())):
            order[made[task].name] = made[task]
        needed = tuple(dict.fromkeys(made[task].name for task in tasks.get(name, ())))
        order[name] = Job(name, partial(execute, *todo[name][1]), needed)
    failed: dict[str, BaseException] = {}
    try:
        for outcome in work_off(list(order.values()), workers):
            if outcome.error and outcome.job.name in todo:
                error = outcome.error
                told = f"{outcome.job.name}.ipynb: its training failed: {type(error).__name__}: {error}"
                failed[outcome.job.name] = error if outcome.begun else BookError(told)
    except WorkerError as error:
        raise BookError(str(error)) from error
    except KeyboardInterrupt:
        raise BookError("interrupted: run the command again, trainings go on where they were") from None
    for other in failed.values():
        if not isinstance(other, BookError):
            raise other
    if failed:
        raise BookError("\n".join(str(failed[name]) for name in todo if name in failed))


def render(profile: str) -> Path:
    """Render the executed notebooks and the prose to HTML, warnings as errors.

    Returns
    -------
    Path
        The book's first page.

    Raises
    ------
    BookError
        with Sphinx's messages, when a page does not render cleanly.
    """
    build = build_folder(profile)
    source, rendered, page = build / "source", build / "rendered.json", build / "_build" / "html" / "index.html"
    made_of = _made_of(build)
    # The pages are part of it, so that a lost or emptied one is rendered again.
    before = _kept(rendered)
    whole = before.get("pages") == _content(page.parent).hex()
    if whole and before.get("made of") == made_of:
        return page
    from ecgstudy.book import computed, explorer, game, live, opening, own_ecg  # with torch, which takes seconds
    from ecgstudy.course import notebooks, quizzes

    with written_whole(source) as staging:
        # The staging tree mirrors the repository, so that links to the source of a page are right.
        shutil.copytree(REPOSITORY / "book", staging / "book", ignore=lambda _, names: set(filter(is_sidecar, names)))
        (staging / "notebooks").mkdir()
        for name in notebook_names():
            text = (build / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
            timed = opening.with_time(text, name, profile)
            (staging / "notebooks" / f"{name}.ipynb").write_text(timed, encoding="utf-8")
        for name in ("_config.yml", "_toc.yml"):
            shutil.copy(REPOSITORY / name, staging)
        (staging / "book" / "computed").mkdir()
        for name, write in computed.COMPUTED.items():
            (staging / "book" / "computed" / f"{name}.md").write_text(write(), encoding="utf-8")
        for name, draw in computed.DRAWINGS.items():
            (staging / "book" / "computed" / f"{name}.svg").write_text(draw(), encoding="utf-8")
        for path in quizzes.FOLDER.glob("*.yaml"):
            (staging / "book" / "quizzes" / path.name).write_text(quizzes.resolved(path), encoding="utf-8")
        own_ecg.write_reports(staging / "book" / "static" / "reports")
        live.write(staging / "book" / "static" / "live")
        explorer.write(staging / "book" / "static" / "explorer")
        game.write(staging / "book" / "static" / "game")
        notebooks.write(staging / "book" / "static" / "exercises")
        # Besides their sources, these shape the pages.
        digest = hashlib.sha256(
            b"".join(
                (PACKAGE / "book" / name).read_bytes() for name in ("pages.py", "markup.py", "quiz.py", "readable.py")
            )
        )
        digest.update((REPOSITORY / "requirements.lock").read_bytes())
        digest.update(_content(staging))
    staged = digest.hexdigest()
    if whole and before.get("staged") == staged:
        rendered.write_text(json.dumps(before | {"made of": made_of}), encoding="utf-8")
        return page
    rendered.unlink(missing_ok=True)
    program = Path(sys.executable).with_name("jupyter-book")
    # Into an empty folder: beside the files of an earlier book other links come out, and pages of its own would stay.
    output = build / "rendering"
    shutil.rmtree(output, ignore_errors=True)
    options = ["--path-output", str(output), "-W", "-n", "--keep-going", "--all"]
    result = subprocess.run(
        [program, "build", source, *options],
        capture_output=True, encoding="utf-8", errors="replace", check=False,
        env={**os.environ, "PYTHONUTF8": "1"},  # the pages are UTF-8 in any locale
    )  # fmt: skip
    if result.returncode or not (output / "_build" / "html" / "index.html").exists():
        lines = [line for line in result.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookError("the book does not render:\n" + "\n".join(lines or result.stderr.splitlines()[-30:]))
    shutil.rmtree(build / "_build", ignore_errors=True)
    (output / "_build").replace(build / "_build")
    output.rmdir()
    pages = _content(page.parent).hex()
    rendered.write_text(json.dumps({"made of": made_of, "staged": staged, "pages": pages}), encoding="utf-8")
    return page


def _kept(file: Path) -> dict[str, str]:
    """What is known of the pages that are there; nothing, if the file is not there or was cut short."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _made_of(build: Path) -> str:
    """Hash of whatever may change a page: quick to compute, and the same only if nothing has changed."""
    digest = hashlib.sha256(_state() + json.dumps(_hashes()).encode() + _content(REPOSITORY / "book"))
    digest.update(code_hash("reading/*.html", "reading/*.css").encode())
    executed = [build / "notebooks" / f"{name}.ipynb" for name in notebook_names()]
    for path in [*executed, REPOSITORY / "_config.yml", REPOSITORY / "_toc.yml"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _content(folder: Path) -> bytes:
    """Hash of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.digest()
