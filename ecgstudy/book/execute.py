"""One notebook executed: whole or not at all, in the Python of the command, without this machine's folders."""

import json
import logging
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError

from ecgstudy.paths import written_whole
from ecgstudy.profiles import BookError
from ecgstudy.text import without_folders
from ecgstudy.workers import Bar


class OwnKernel(AsyncKernelManager):
    """Starts the Python that runs this code, whatever Jupyter on this machine calls ``python3``."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start it."""
        return KernelSpec(**get_kernel_dict())


# The last cell of every notebook while it is executed.
_TELL_IMPORTED = """\
import json, os, sys
loaded = [m for name, m in sys.modules.items() if name.partition(".")[0] == "ecgstudy" and m.__file__]
print(json.dumps([os.path.relpath(m.__file__, sys.modules["ecgstudy"].__path__[0]) for m in loaded]))
"""


def execute(source: Path, target: Path, parameters: dict[str, Any], key: str, hashes: Mapping[str, str]) -> None:
    """Execute a notebook by papermill and clear the result of this machine's folders.

    Parameters
    ----------
    source, target
        The notebook, and where it goes once it was executed to its end.
    parameters
        Those that are passed.
    key
        Kept in the result: what it was made of.
    hashes
        Of the package's modules, by their paths; those that the notebook imported are kept, too.

    Raises
    ------
    BookError
        when it fails or is interrupted; what was executed is kept as ``<target>.failed.ipynb``.
    """
    start, failed = time.monotonic(), target.with_name(f"{target.stem}.failed.ipynb")
    with written_whole(target) as whole:
        try:
            notebook = nbformat.read(source, as_version=4)
            notebook.cells.append(nbformat.v4.new_code_cell(_TELL_IMPORTED))
            nbformat.write(notebook, whole)
            cells = 1 + sum(cell.cell_type == "code" for cell in notebook.cells)  # papermill adds the parameters
            bar = Bar(cells, note=source.stem, unit="cell")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The specified file")  # papermill's, of a name without .ipynb
                papermill.execute_notebook(
                    _literal(whole),
                    _literal(whole),
                    parameters=parameters,
                    progress_bar=False,
                    cwd=Path.cwd(),
                    kernel_manager_class=OwnKernel,
                    on_cell_executed=partial(_ended, bar),
                    coalesce_streams=True,  # else it is up to the clock in how many pieces a text comes
                )
            notebook = nbformat.read(whole, as_version=4)
            for cell in notebook.cells:
                _hide_stalls(cell.get("outputs", []))
        except OSError:  # a full disk or a folder that may not be written to: not the notebook's fault
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                # The interrupted cell, for which nobody waits now, would report its own traceback.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            kept = ""
            if whole.exists():
                notebook = nbformat.read(whole, as_version=4)
                notebook.cells.pop()
                nbformat.write(notebook, failed)
                kept = f"\nThe cells executed until then: {failed}"
            raise BookError(f"{_told(source, failed, error)}{kept}") from error
        notebook.metadata["ecgstudy"] = {
            "key": key,
            "modules": {name: hashes.get(name) for name in _imported(notebook.cells.pop()) or hashes},
            "seconds": round(time.monotonic() - start, 1),
        }
        # Where and when papermill wrote concerns this machine, not the book.
        notebook.metadata.pop("papermill", None)
        for cell in notebook.cells:
            _hide_folders(cell.get("outputs", []))
            cell.metadata.pop("papermill", None)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata["tags"].append("remove-cell")
        nbformat.write(notebook, whole)
    failed.unlink(missing_ok=True)


def _imported(cell: nbformat.NotebookNode) -> list[str]:
    """Modules of the package that a notebook imported, by what its last cell tells; none if its output was lost."""
    told = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return sorted(Path(name).as_posix() for name in json.loads(told or "[]"))


def _ended(bar: Bar, cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
    """Count a cell. One that exits with code 0 is an error: papermill takes that for the end of a good notebook."""
    bar.step()
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
    begun = sum(bool(c.cell_type == "code" and c.metadata.get("papermill", {}).get("start_time")) for c in cells)
    where = f"in cell {begun}" if begun else "before its first cell"
    if isinstance(error, KeyboardInterrupt):
        return f"{source.name} was interrupted {where}: run the command again, trainings go on where they were"
    if isinstance(error, DeadKernelError):
        return (
            f"{source.name}: its Python ended {where}, probably because memory ran out: free some, or take fewer "
            "records (-p records=...), and run the command again"
        )
    return f"{source.name} could not be executed, it stopped {where}: {type(error).__name__}: {error}"


def _hide_stalls(outputs: list[nbformat.NotebookNode]) -> None:
    """Remove ipykernel's note that output was more than ten seconds on its way: the machine was busy, not the book."""
    for output in outputs:
        if output.get("name") == "stderr":
            output.text = output.text.replace("IOStream.flush timed out\n", "")
    outputs[:] = [output for output in outputs if output.get("text") != ""]


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
