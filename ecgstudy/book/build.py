"""The study as a book: execute the notebooks in order, stage them beside the prose, render the pages."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError

from ecgstudy.paths import NOTEBOOKS, REPOSITORY, data_root, files_below, is_sidecar, label_tables, stamp, written_whole
from ecgstudy.profiles import BookError as BookError
from ecgstudy.profiles import ProfileError, nearest, profile_values, typed
from ecgstudy.text import without_folders


class OwnKernel(AsyncKernelManager):
    """Starts the Python that runs this code, whatever Jupyter on this machine calls ``python3``."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start it."""
        return KernelSpec(**get_kernel_dict())


def notebook_names() -> list[str]:
    """Names of the notebooks in the order in which they are executed."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


def build_folder(profile: str) -> Path:
    """Folder of everything that ``profile`` builds: executed notebooks and the rendered book."""
    return REPOSITORY / "_build" / profile


def _state() -> bytes:
    """Hash of everything that all notebooks depend on: the package, the pins, the results, the data at hand."""
    digest = hashlib.sha256(f"{sys.version} {version('torch')}".encode())  # no lock names torch
    code = [p for p in files_below(REPOSITORY / "ecgstudy") if p.suffix in {".py", ".csv", ".yaml"}]
    results = list(files_below(REPOSITORY / "results"))
    for path in sorted([*code, *results, REPOSITORY / "requirements.lock", REPOSITORY / "data_manifest.yaml"]):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + path.read_bytes())
    root = data_root()
    for path in [*files_below(root), *label_tables([root])]:
        digest.update(os.fsencode(os.path.relpath(path, root)) + f" {stamp(path)}".encode())
    return digest.digest()


def run_notebooks(
    profile: str,
    names: Iterable[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> list[Path]:
    """Execute notebooks in order, each only if something that it depends on has changed.

    Parameters
    ----------
    profile
        ``smoke``, ``demo``, ``real`` or ``paper``.
    names
        Names of the notebooks (without ``.ipynb``); all of them if None.
    parameters
        Values that replace the profile's, as ``profiles.typed`` takes them. Each must be known to at least one of the
        notebooks.
    force
        Also execute what has not changed.

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
        with the executed part.
    """
    if not notebook_names():
        raise ProfileError(
            f"{NOTEBOOKS} holds no chapter (NN_NAME.ipynb): let ECGSTUDY_NOTEBOOKS name a folder that does"
        )
    names, parameters = list(names or notebook_names()), dict(parameters or {})
    known = {name: profile_values(profile, name) for name in names}
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
    state, done = _state(), []
    for name in names:
        given = {"profile": profile} | passed[name]
        source, target = NOTEBOOKS / f"{name}.ipynb", build_folder(profile) / "notebooks" / f"{name}.ipynb"
        values = json.dumps(known[name] | given, sort_keys=True)
        key = hashlib.sha256(state + source.read_bytes() + values.encode()).hexdigest()
        done.append(target)
        if not force and _key_of(target) == key:
            print(f"{name}: unchanged", flush=True)
            continue
        _execute(source, target, given, key)
    return done


def _key_of(executed: Path) -> str | None:
    try:
        return json.loads(executed.read_text(encoding="utf-8"))["metadata"]["ecgstudy"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _execute(source: Path, target: Path, parameters: dict[str, Any], key: str) -> None:
    start, failed = time.monotonic(), target.with_name(f"{target.stem}.failed.ipynb")
    with written_whole(target) as partial:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The specified file")  # papermill's, of a name without .ipynb
                papermill.execute_notebook(
                    _literal(source),
                    _literal(partial),
                    parameters=parameters,
                    progress_bar={"desc": f"{source.stem:<20}", "unit": "cell"},
                    stderr_file=sys.stderr,  # for the progress of a training inside a cell
                    cwd=Path.cwd(),
                    kernel_manager_class=OwnKernel,
                    on_cell_executed=_stays,
                )
            notebook = nbformat.read(partial, as_version=4)
        except OSError:  # a full disk or a folder that may not be written to: not the notebook's fault
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                # The interrupted cell, for which nobody waits now, would report its own traceback.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            kept = ""
            if partial.exists():
                partial.replace(failed)
                kept = f"\nThe cells executed until then: {failed}"
            raise BookError(f"{_told(source, failed, error)}{kept}") from error
        notebook.metadata["ecgstudy"] = {"key": key, "seconds": round(time.monotonic() - start, 1)}
        # Where and when papermill wrote concerns this machine, not the book.
        notebook.metadata.pop("papermill", None)
        for cell in notebook.cells:
            _hide_folders(cell.get("outputs", []))
            cell.metadata.pop("papermill", None)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata["tags"].append("remove-cell")
        nbformat.write(notebook, partial)
    failed.unlink(missing_ok=True)


def _stays(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
    """Raise an error for a cell that exits with code 0: papermill takes that for the end of a good notebook."""
    reply = execute_reply["content"]
    asked = any(payload.get("source") == "ask_exit" for payload in reply.get("payload", ()))
    if asked or (reply.get("ename") == "SystemExit" and reply.get("evalue") in ("", "0")):
        raise BookError(f"cell {cell.execution_count} ends the notebook (exit, quit or SystemExit): take that out")


def _literal(path: Path) -> str:
    """Path with its braces doubled, since papermill fills in parameters where it finds single ones."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _told(source: Path, executed: Path, error: BaseException) -> str:
    """Say in a sentence what went wrong with a notebook and what helps."""
    if isinstance(error, BookError):
        return f"{source.name}: {error}"
    if isinstance(error, papermill.PapermillExecutionError):
        return f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
    cells = nbformat.read(executed, as_version=4).cells if executed.exists() else []
    begun = sum(bool(c.cell_type == "code" and c.metadata["papermill"]["start_time"]) for c in cells)
    where = f"in cell {begun}" if begun else "before its first cell"
    if isinstance(error, KeyboardInterrupt):
        return f"{source.name} was interrupted {where}: run the command again, trainings go on where they were"
    if isinstance(error, DeadKernelError):
        return (
            f"{source.name}: its Python ended {where}, probably because memory ran out: free some, or take fewer "
            "records (-p records=...), and run the command again"
        )
    return f"{source.name} could not be executed, it stopped {where}: {type(error).__name__}: {error}"


def _hide_folders(outputs: list[nbformat.NotebookNode]) -> None:
    """Remove this machine's folders from all text that cells left; a warning, for instance, names its file."""

    def shorter(text: Any) -> Any:
        if isinstance(text, list):
            return [shorter(line) for line in text]
        return without_folders(text) if isinstance(text, str) else text

    for output in outputs:
        for key in output.keys() & {"text", "evalue", "traceback"}:
            output[key] = shorter(output[key])
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                output["data"][kind] = shorter(content)


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
    from ecgstudy.book import computed  # executing notebooks needs none of what it imports

    build = build_folder(profile)
    source, rendered = build / "source", build / "rendered.sha256"
    with written_whole(source) as staging:
        # The staging tree mirrors the repository, so that links to the source of a page are right.
        shutil.copytree(REPOSITORY / "book", staging / "book", ignore=lambda _, names: set(filter(is_sidecar, names)))
        (staging / "notebooks").mkdir()
        for name in notebook_names():
            shutil.copy(build / "notebooks" / f"{name}.ipynb", staging / "notebooks")
        for name in ("_config.yml", "_toc.yml"):
            shutil.copy(REPOSITORY / name, staging)
        (staging / "book" / "computed").mkdir()
        for name, write in computed.COMPUTED.items():
            (staging / "book" / "computed" / f"{name}.md").write_text(write(), encoding="utf-8")
        # Besides their sources, this shapes the pages.
        digest = hashlib.sha256((REPOSITORY / "ecgstudy" / "book" / "pages.py").read_bytes())
        digest.update((REPOSITORY / "requirements.lock").read_bytes())
        digest.update(_content(staging))
    page = build / "_build" / "html" / "index.html"
    # The pages are part of the hash, so that a lost or emptied one is rendered again.
    if (
        rendered.exists()
        and rendered.read_text(encoding="utf-8") == f"{digest.hexdigest()} {_content(page.parent).hex()}"
    ):
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
    rendered.write_text(f"{digest.hexdigest()} {_content(page.parent).hex()}", encoding="utf-8")
    return page


def _content(folder: Path) -> bytes:
    """Hash of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.digest()
