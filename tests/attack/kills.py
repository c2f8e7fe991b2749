"""Kill a command at any moment, start it again: the result is that of a command that nobody killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgstudy.paths import REPOSITORY
from tests.attack import servers
from tests.attack.runner import READ

TRIES = 10  # of each

COHORT = """
from ecgstudy.data.cohort import synthetic_cohort
synthetic_cohort(60, 100, seconds=6, balance=1)
"""
TRAINING = """
import numpy as np, torch
torch.set_num_threads(1)
from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.systems.cnn_gap import CNNGAPSystem
data = synthetic_cohort(24, 100, seconds=6, balance=1)
split = {"train": np.arange(16), "valid": np.arange(16, 20), "test": np.arange(20, 24)}
training.train(CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=12, batch=8), data, split, quiet=True)
"""
NOTEBOOK = """
import sys
from pathlib import Path
from ecgstudy.book import build
here = Path(sys.argv[1])
build.NOTEBOOKS = here / "notebooks"
build.build_folder = lambda profile: here / "build"
build.run_notebooks("smoke", ["02_preprocessing"])
"""
RENDER = """
import sys
from pathlib import Path
from ecgstudy.book import build, computed, explorer, game, live
here = Path(sys.argv[1])
build.REPOSITORY = here / "repository"
build.NOTEBOOKS = here / "repository" / "notebooks"
build.build_folder = lambda profile: here / "build"
computed.COMPUTED.clear()
computed.DRAWINGS.clear()
explorer.write = game.write = live.write = Path.mkdir
build.render("smoke")
"""
FETCH = """
import sys
from pathlib import Path
from ecgstudy.data.fetch import fetch
fetch("set", manifest=Path(sys.argv[1]) / "manifest.yaml", timeout=5, connections=2)
"""


def _start(code: str, folder: Path) -> subprocess.Popen:
    environment = os.environ | {
        "ECGSTUDY_CACHE": str(folder / "cache"),
        "ECGSTUDY_DATA": str(folder / "data"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_PROXY": "*",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(code: str, folder: Path) -> float:
    begun, process = time.monotonic(), _start(code, folder)
    _, said = process.communicate()
    assert process.returncode == 0, said[-1500:]
    return time.monotonic() - begun


def _prepare_nothing(folder: Path) -> Callable[[], None]:
    return lambda: None


def _prepare_notebook(folder: Path) -> Callable[[], None]:
    """A notebook of a few cells that computes a little."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "profiles.yaml").write_bytes((REPOSITORY / "notebooks" / "profiles.yaml").read_bytes())
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    sources = ["import time", "total = 0", *["time.sleep(0.1); total += 1; print(total)"] * 6]
    cells = [{**cell, "id": f"c{number}", "source": [source]} for number, source in enumerate(sources)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebooks" / "02_preprocessing.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return lambda: None


def _prepare_render(folder: Path) -> Callable[[], None]:
    """A book of two pages."""
    repository = folder / "repository"
    (repository / "book").mkdir(parents=True)
    (repository / "notebooks").mkdir()
    (repository / "ecgstudy" / "book").mkdir(parents=True)
    (repository / "ecgstudy" / "book" / "pages.py").write_text("", encoding="utf-8")
    for name in ("requirements.lock", "data_manifest.yaml"):
        (repository / name).write_text("", encoding="utf-8")
    (repository / "_config.yml").write_text("title: A book\nexecute: {execute_notebooks: 'off'}\n", encoding="utf-8")
    toc = "format: jb-book\nroot: book/index\nchapters: [{file: book/one}]\n"
    (repository / "_toc.yml").write_text(toc, encoding="utf-8")
    (repository / "book" / "index.md").write_text("# First\n\nText.\n", encoding="utf-8")
    (repository / "book" / "one.md").write_text("# Second\n\nMore text.\n", encoding="utf-8")
    return lambda: None


def _prepare_fetch(folder: Path) -> Callable[[], None]:
    """A server that takes its time."""
    files = {f"data/{number}.dat": bytes([number]) * 300_000 for number in range(6)}
    sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in files.items()).encode()
    server = servers.Server(files | {"SHA256SUMS.txt": sums})
    plain: Any = server.RequestHandlerClass

    class Slow(plain):
        def setup(self) -> None:
            super().setup()
            send = self.wfile.write

            def write(data: bytes) -> None:
                for start in range(0, len(data), 1 << 14):
                    time.sleep(0.005)
                    send(data[start : start + (1 << 14)])

            self.wfile.write = write

    server.RequestHandlerClass = Slow
    servers.described(
        folder,
        urls=[server.url],
        checksum_file="SHA256SUMS.txt",
        checksum_file_sha256=hashlib.sha256(sums).hexdigest(),
        size="10 MB",
    )
    return server.stop


def _cohort(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted((folder / "cache").glob("cohorts/*/*")):
        if path.name == "signals.bin":
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".parquet":
            found[path.name] = pd.read_parquet(path).to_csv()
        elif path.name == "cohort.json":
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))["checksum"]
    assert len(found) == 4, f"the cohort consists of {sorted(found)}"
    return found


def _run(folder: Path) -> dict[str, object]:
    (run,) = (path for path in (folder / "cache" / "runs").iterdir() if (path / "card.json").exists())
    weights = hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
    predictions = pd.read_parquet(run / "predictions.parquet").to_csv()
    log = pd.read_csv(run / "log.csv").drop(columns="seconds")
    assert not list((folder / "cache").glob("unfinished/*.safetensors"))
    return {"name": run.name, "weights": weights, "predictions": predictions, "log": log.to_csv()}


def _notebook(folder: Path) -> dict[str, object]:
    notebooks = sorted((folder / "build").rglob("*.ipynb"))
    assert [path.name for path in notebooks] == ["02_preprocessing.ipynb"], [path.name for path in notebooks]
    cells = json.loads(notebooks[0].read_text(encoding="utf-8"))["cells"]
    return {"outputs": [[o["text"] for o in cell["outputs"]] for cell in cells if cell["cell_type"] == "code"]}


def _pages(folder: Path) -> dict[str, object]:
    html = folder / "build" / "_build" / "html"
    return {path.relative_to(html).as_posix(): len(path.read_text(encoding="utf-8")) for path in html.rglob("*.html")}


def _fetched(folder: Path) -> dict[str, object]:
    at = folder / "data" / "set"
    assert not list(at.rglob("*.partial"))
    return dict(servers.content(at))


_UNDISTURBED: dict[str, tuple[float, dict[str, object]]] = {}  # of this process: seconds, result


def _attempt(name: str, seed: int, number: int, folder: Path) -> str:
    """Kill a command once or twice, let it finish, compare."""
    code, prepare, result = _COMMANDS[name]
    if name not in _UNDISTURBED:
        alone = folder / "undisturbed"
        alone.mkdir()
        stop = prepare(alone)
        try:
            _UNDISTURBED[name] = _finish(code, alone), result(alone)
        finally:
            stop()
    seconds, expected = _UNDISTURBED[name]
    rng = np.random.default_rng([seed, number])
    mine = folder / "killed"
    mine.mkdir()
    stop = prepare(mine)
    try:
        for _ in range(rng.integers(1, 3)):
            process = _start(code, mine)
            try:
                process.communicate(timeout=float(rng.uniform(0.3, 1)) * seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        _finish(code, mine)
        found = result(mine)
        differing = [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]
        assert not differing, f"differs from the undisturbed in {sorted(differing)[:5]}"
        left = [path.relative_to(mine).as_posix() for path in mine.rglob("*") if ".partial" in path.name]
        assert not left, f"left {left}"
    finally:
        stop()
    return READ


_COMMANDS = {
    "building a cohort": (COHORT, _prepare_nothing, _cohort),
    "training": (TRAINING, _prepare_nothing, _run),
    "running a notebook": (NOTEBOOK, _prepare_notebook, _notebook),
    "rendering": (RENDER, _prepare_render, _pages),
    "fetching": (FETCH, _prepare_fetch, _fetched),
}
ATTEMPTS = {name: partial(_attempt, name) for name in _COMMANDS}
