"""``make bench``: speed as a ratio to what a user would otherwise do, both measured in one run on the same input.

Writes ``results/bench.json``: name → ours, other, other_name, ratio (≥ 1: ours is better), unit, machine, date; where
two processes are measured against one, also ``apart``, what two that share nothing reach at that time. All are
measured, or those that are named: ``python -m ecgstudy.bench reading training``. Only when named: ``cohort_memory``
(five minutes, 5 GB of disk); ``cohort_shards`` (two idle cores); ``cohort_build_torch_ecg``, which wants
the package torch-ecg beside ours; ``explain`` and ``explain_page``, which want deepecgkit; ``gpu_training``, which
wants a GPU (a row for each of the six systems, see ``bench_gpu``); ``workflow``, which wants Snakemake
(``make env-cluster``) and two cores that do nothing else; ``book``, ``book_busy``, ``real_book`` and ``suite``, which
run make in two fresh clones of this repository: as it is committed, and as it was at ``BEFORE`` (an hour or more each,
``book_busy`` two and a half, on a machine that does nothing else, ``book`` without recordings as a newcomer has it);
``chapter`` and ``chapter_busy``, which do the same with one chapter by papermill; ``simulation_before`` and
``pretraining``, which run both packages in this environment, one thread each (minutes).
"""

import copy
import functools
import json
import multiprocessing
import os
import platform
import signal as signals
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from scipy import signal
from torch import nn

from ecgstudy import layers, maps
from ecgstudy.data import cohort
from ecgstudy.data.formats import wfdb
from ecgstudy.data.manifest import at_hand
from ecgstudy.data.records import read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import REPOSITORY, RESULTS, listed, written_whole
from ecgstudy.systems import cnn_gap


def seconds(ours: Callable[[], Any], other: Callable[[], Any], repeats: int = 5) -> tuple[float, float]:
    """Median seconds of each, measured in turn, so that a slow spell of the machine meets both; one warm-up each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, times in zip((ours, other), taken, strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                times.append(time.perf_counter() - start)
    return float(np.median(taken[0])), float(np.median(taken[1]))


def recordings(folder: Path, most: int = 200) -> list[Path]:
    """Paths of 12-lead records that wfdb reads too: real ones if at hand, else simulated ones written to ``folder``."""
    if "challenge-2021" in at_hand():
        paths = cohort.record_paths(["challenge-2021", "ptb-xl"])
        # wfdb refuses a record line that names a .mat file.
        named = [(p, p.read_text(encoding="utf-8", errors="replace").split()[0]) for p in paths]
        return [p for p, record in named if ".mat" not in record][::3][:most]
    folder.mkdir()
    synthetic.write((synthetic.simulate(i, 0) for i in range(most)), folder)
    return listed(folder, "*.hea")


def reading(paths: list[Path]) -> dict[str, Any]:
    """Read records to mV: ``read_record`` against ``wfdb.rdrecord``."""
    ours, other = seconds(
        lambda: [read_record(path) for path in paths],
        lambda: [wfdb.rdrecord(str(path.with_suffix(""))).p_signal for path in paths],
    )
    return {"ours": len(paths) / ours, "other": len(paths) / other, "other_name": "wfdb.rdrecord", "unit": "records/s"}


def cohort_build(paths: list[Path]) -> dict[str, Any]:
    """Build a cohort at 100 Hz on disk against rdrecord, a loop over leads of scipy's resample_poly, and np.save."""

    def lead_by_lead(x: np.ndarray, fs: int) -> np.ndarray:
        return np.array([signal.resample_poly(lead, 100, fs) for lead in x])

    return _cohort_build(paths, lead_by_lead, "scipy's resample_poly lead by lead")


def cohort_build_torch_ecg(paths: list[Path]) -> dict[str, Any]:
    """Build a cohort at 100 Hz on disk against rdrecord, torch_ecg's PreprocManager (resampling only), and np.save."""
    import torch_ecg
    from torch_ecg._preprocessors import PreprocManager  # the NumPy one, of single records

    manager = PreprocManager.from_config({"resample": {"fs": 100}})
    return _cohort_build(paths, lambda x, fs: manager(x, fs)[0], f"torch_ecg {torch_ecg.__version__}'s resampling")


def _cohort_build(paths: list[Path], preprocess: Callable[[np.ndarray, int], np.ndarray], name: str) -> dict[str, Any]:
    def ours() -> None:
        identity = {"bench": time.time_ns()}
        cohort.build_cohort(cohort.read_all(paths), fs=100, identity=identity)

    def other() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for number, path in enumerate(paths):
                record = wfdb.rdrecord(str(path.with_suffix("")))
                x = preprocess(np.ascontiguousarray(record.p_signal.T), round(record.fs))
                np.save(Path(folder) / f"{number}.npy", x.astype(np.float32))

    ours_s, other_s = seconds(ours, other, repeats=3)
    return {
        "ours": len(paths) / ours_s,
        "other": len(paths) / other_s,
        "other_name": f"wfdb.rdrecord and {name}",
        "unit": "records/s",
    }


def cohort_memory(records: int = 100_000) -> dict[str, Any]:
    """Peak memory of this process over building and iterating a cohort, beside what its signals would fill."""
    import resource  # which Windows lacks

    data = cohort.synthetic_cohort(records, 100)
    seen = sum(len(indices) for indices, _, _ in data.batches(256))
    assert seen == records
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)
    return {
        "ours": peak,
        "other": (data.folder / "signals.bin").stat().st_size / 2**30,
        "other_name": f"all signals of {records:,} records as one array",
        "unit": "GiB",
    }


def apart(repeats: int = 5) -> float:
    """How much more two processes that share nothing simulate than one does: what two cores of this machine give.

    They are up when the clock starts and write nothing. Virtual cores may be two threads of one real core, or lose
    time to neighbours, so it is measured beside whatever two processes are to speed up.
    """
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:

        def by(processes: int) -> Callable[[], Any]:
            return lambda: [*pool.map(_simulate, [150] * processes)]

        both, one = seconds(by(2), by(1), repeats)
    return 2 * one / both


def _simulate(records: int) -> None:
    for i in range(records):
        synthetic.simulate(i, 0)


def cohort_shards(records: int = 32_000) -> dict[str, Any]:
    """Simulate a cohort at 100 Hz by ``ecgstudy data build``: two processes, all that starts included, against one."""
    command = [
        sys.executable,
        "-m",
        "ecgstudy.cli",
        "data",
        "build",
        "--cohort",
        "synthetic",
        "--records",
        str(records),
    ]
    command += ["--fs", "100", "--balance", "1", "--jobs"]
    taken = []
    before = apart()
    with tempfile.TemporaryDirectory() as folder:
        for jobs in ("2", "1"):
            here = {**os.environ, "ECGSTUDY_CACHE": f"{folder}/{jobs}"}
            start = time.perf_counter()
            subprocess.run([*command, jobs], env=here, check=True)
            taken.append(time.perf_counter() - start)
    return {
        "ours": records / taken[0],
        "other": records / taken[1],
        "other_name": "one process",
        "unit": "records/s",
        "apart": (before + apart()) / 2,
    }


def simulation(records: int = 200) -> dict[str, Any]:
    """Simulate at 500 Hz with noise and answer key; beside it, reading as many such records back with wfdb."""
    with tempfile.TemporaryDirectory() as folder:
        synthetic.write((synthetic.simulate(i, 0) for i in range(records)), Path(folder))
        paths = [str(p.with_suffix("")) for p in Path(folder).glob("*.hea")]
        ours, other = seconds(
            lambda: [synthetic.simulate(i, 0) for i in range(records)], lambda: [wfdb.rdrecord(p) for p in paths], 3
        )
    name = "reading the same records with wfdb.rdrecord"
    return {"ours": records / ours, "other": records / other, "other_name": name, "unit": "records/s"}


def training(batches: int = 4, batch: int = 32) -> dict[str, Any]:
    """Train CNN-GAP at an eighth of its width, 10 s at 100 Hz: the fast layers against torch's in float32."""
    device = torch.device("cpu")
    x, y = torch.randn(batch, 12, 1000), (torch.rand(batch, 9) < 0.2).float()
    system = cnn_gap.CNNGAPSystem(fs=100, width=0.125)
    criterion = system.criterion(y.sum(dim=0), batch)
    precision = layers.best_precision(device)
    layers.keep_memory()

    def step(network: nn.Module, precision: torch.dtype) -> Callable[[], None]:
        optimiser = system.optimiser(network)

        def run() -> None:
            for _ in range(batches):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = network(x)
                optimiser.zero_grad()
                criterion(logits.float(), y).backward()
                optimiser.step()

        return run

    ours, other = seconds(step(system.network(), precision), step(plain(system.network()), torch.float32))
    name = f"torch's Conv1d in float32 (ours in {str(precision).removeprefix('torch.')})"
    n = batches * batch
    return {"ours": n / ours, "other": n / other, "other_name": name, "unit": "records/s"}


def cam(records: int = 256, batch: int = 32) -> dict[str, Any]:
    """Maps of all nine classes of CNN-GAP at an eighth of its width, 10 s at 100 Hz: one product against captum."""
    network, x = cnn_gap.CNNGAP(width=0.125).eval(), torch.randn(records, 12, 1000).split(batch)
    theirs = plain(copy.deepcopy(network))
    explainer = LayerGradCam(theirs, theirs.blocks)
    ours, other = seconds(
        lambda: [maps.cam(network, part) for part in x],
        lambda: [explainer.attribute(part, target=c) for part in x for c in range(9)],
        repeats=3,
    )
    name = "captum's LayerGradCam on torch's Conv1d, class by class"
    return {"ours": records / ours, "other": records / other, "other_name": name, "unit": "records/s"}


def explain(paths: list[Path], pages: bool) -> dict[str, Any]:
    """Read records, answer with the own network's five members and say why: with ``pages``, to a page each.

    Against deepecgkit's ECGExplainer (saliency, shares of leads and waves) on one network, CNN-GAP at an eighth of its
    width, of the same records; with ``pages``, its command's three figures, too.
    """
    from deepecgkit import __version__ as theirs
    from deepecgkit import explainability

    from ecgstudy.reading import explanation, page, shipped

    system, network = cnn_gap.CNNGAPSystem(fs=125, width=0.125), shipped.shipped("CNN-GAP").networks[0]
    explainer = explainability.ECGExplainer(network, "CNN-GAP", sampling_rate=125, device="cpu")

    def ours(path: Path) -> None:
        answer = explanation.explain(read_record(path), even_if_unfit=True)
        answer.shares(answer.main[0])
        if pages:
            page.page(answer, file=path.name)

    def other(path: Path, folder: str) -> None:
        x = np.stack(system.windows(explanation.prepared(read_record(path), 125)))
        result = explainer.explain(x[:1])
        result.summary()
        if pages:
            to = {"leads": result.lead_names}
            explainability.plot_attribution(
                result.signal[0], result.values[0], 125, save_path=f"{folder}/signal.png", **to
            )
            explainability.plot_lead_importance(result.lead_importance, save_path=f"{folder}/leads.png", **to)
            if result.beat_profile is not None:
                profile = result.beat_profile, result.beat_times_ms
                explainability.plot_beat_profile(*profile, save_path=f"{folder}/beats.png", **to)

    with tempfile.TemporaryDirectory() as folder:

        def all_ours() -> None:
            for path in paths:
                ours(path)

        def all_others() -> None:
            for path in paths:
                other(path, folder)

        ours_s, other_s = seconds(all_ours, all_others, repeats=2)
    name = f"deepecgkit {theirs}'s ECGExplainer on one network{', and its three figures' if pages else ''}"
    return {"ours": len(paths) / ours_s, "other": len(paths) / other_s, "other_name": name, "unit": "records/s"}


BEFORE = "406b581"  # trainings one after the other, with two threads each; the suite in one process


def make(target: str, *variables: str, **how: Any) -> dict[str, Any]:
    """Minutes of ``make <target>`` in a fresh clone, its environment included: now, and at ``BEFORE``.

    Parameters
    ----------
    target, variables
        What make is given: ``book``, ``PROFILE=real``.
    how
        As ``in_both`` takes it.
    """
    return in_both(["make", target, *variables], **how)


def papermill(notebook: str, *, busy: bool = False) -> dict[str, Any]:
    """Minutes of one chapter by bare papermill (profile demo), with all that it trains: now, and at ``BEFORE``.

    The environment is made before the clock starts.
    """
    command = [".venv/bin/papermill", "--no-progress-bar", f"notebooks/{notebook}.ipynb", "out.ipynb", "-p"]
    return in_both([*command, "profile", "demo"], first=["make", "env"], busy=busy)


def in_both(
    command: list[str],
    *,
    first: list[str] | None = None,
    busy: bool = False,
    recordings: bool = True,
    longest: float = 8,
) -> dict[str, Any]:
    """Minutes of a command in fresh clones of this repository: as it is committed, and as it was at ``BEFORE``.

    Parameters
    ----------
    command, first
        What is measured, and what is done before it.
    busy
        Beside a program that keeps one core busy all the time.
    recordings
        With the real recordings that are at hand; without them it is what a newcomer has.
    longest
        What takes more than so many times as long as now is stopped there, and the row says so.
    """
    # Nothing of this process: a path would bring its own package into the clones.
    mine = ["ECGSTUDY_CACHE", "PYTHONPATH", "VIRTUAL_ENV", *([] if recordings else ["ECGSTUDY_DATA"])]
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    minutes: list[float] = []
    stopped = ""
    with tempfile.TemporaryDirectory() as folder:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            for commit in ("HEAD", BEFORE):
                clone = Path(folder) / commit
                subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
                subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
                if first:
                    subprocess.run(first, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
                start = time.perf_counter()
                said = Path(folder) / f"{commit}.log"
                # A session of its own: what is stopped are all of its processes.
                with said.open("wb") as out:
                    process = subprocess.Popen(
                        command,
                        cwd=clone,
                        env=environment,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                try:
                    code = process.wait(timeout=longest * 60 * minutes[0] if minutes else None)
                    if code:
                        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
                        print(*lines[-30:], sep="\n", file=sys.stderr)
                        raise subprocess.CalledProcessError(code, command)
                except subprocess.TimeoutExpired:
                    stopped = ", stopped before its end"
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signals.SIGKILL)
                        process.wait()
                minutes.append((time.perf_counter() - start) / 60)
        finally:
            if other:
                other.kill()
                other.wait()
    name = f"{' '.join(command)} of commit {BEFORE}{', both beside a busy core' if busy else ''}{stopped}"
    return {"ours": minutes[0], "other": minutes[1], "other_name": name, "unit": "min"}


SIMULATE = """
import time
try:
    from ecgstudy.data.simulator.synthetic import simulate
except ImportError:  # where it was at first
    from ecgstudy.data.synthetic import simulate
simulate(0, 1, fs=125)
begun = time.perf_counter()
for i in range({records}):
    simulate(i, 0, fs=125, balance=1)
print(time.perf_counter() - begun)
"""
TRAIN = """
import time, numpy as np
from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.systems.local_evidence import LocalEvidenceSystem
cohort = synthetic_cohort({records} + 100, 125, balance=1)
there, asked = np.arange({records}), np.arange({records}, {records} + 100).reshape(2, 50)
system = LocalEvidenceSystem(fs=125, batch=32, depth=4, epochs={epochs})
begun = time.perf_counter()
training.train(system, cohort, dict(train=there, valid=asked[0], test=asked[1]), quiet=True)
print(time.perf_counter() - begun)
"""


def simulation_before(records: int = 1000) -> dict[str, Any]:
    """Simulate records at 125 Hz with noise and answer key, on one core."""
    return in_both_packages(SIMULATE.format(records=records), records)


def pretraining(records: int = 1600, epochs: int = 2) -> dict[str, Any]:
    """Train the own network in the size of the profile ``real`` on simulated records that are there, on one core."""
    return in_both_packages(TRAIN.format(records=records, epochs=epochs), records * epochs)


def in_both_packages(code: str, records: int, repeats: int = 3) -> dict[str, Any]:
    """Records a second of code that prints its seconds, by the package as it is committed and as it was at ``BEFORE``.

    Both run in this environment, in turn, each time in a new process with one thread and an empty cache.
    """
    taken: dict[str, list[float]] = {"HEAD": [], BEFORE: []}
    with tempfile.TemporaryDirectory() as folder:
        for commit in taken:
            clone = Path(folder) / commit
            subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
            subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
        for repeat in range(repeats):
            for commit, times in taken.items():
                clone = Path(folder) / commit
                here = {"PYTHONPATH": str(clone), "ECGSTUDY_CACHE": f"{clone}/.cache{repeat}", "OMP_NUM_THREADS": "1"}
                command = [sys.executable, "-c", code]
                said = subprocess.run(command, cwd=clone, env=os.environ | here, check=True, capture_output=True)
                times.append(float(said.stdout.split()[-1]))
    ours, other = (records / float(np.median(times)) for times in taken.values())
    return {"ours": ours, "other": other, "other_name": f"the same at commit {BEFORE}", "unit": "records/s"}


def workflow() -> dict[str, Any]:
    """Minutes in which the workflow finishes the eight runs that a chapter lacks: two jobs at a time, and one."""
    before = apart()
    asked = "plan=04_xecgnet --profile demo --again -p members=4"
    command = [sys.executable, "-m", "snakemake", "--profile", str(REPOSITORY / "workflow" / "profiles" / "local")]
    command += ["--snakefile", str(REPOSITORY / "workflow" / "Snakefile"), "--quiet", "all", "--config", asked]
    minutes = []
    with tempfile.TemporaryDirectory() as folder:
        for cores in ("2", "1"):
            here = {**os.environ, "ECGSTUDY_CACHE": f"{folder}/{cores}"}
            subprocess.run([*command, "--cores", cores, "--until", "cohort"], env=here, check=True)
            start = time.perf_counter()
            subprocess.run([*command, "--cores", cores, "--", "runs"], env=here, check=True)
            minutes.append((time.perf_counter() - start) / 60)
    return {
        "ours": minutes[0],
        "other": minutes[1],
        "other_name": "one job at a time",
        "unit": "min",
        "apart": (before + apart()) / 2,
    }


def plain(network: nn.Module) -> nn.Module:
    """Put torch's own layers back in place of the fast ones."""
    for module in network.modules():
        for theirs in (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.Dropout):
            if isinstance(module, theirs):
                module.__class__ = theirs
    return network


def main(names: list[str]) -> None:
    """Measure those named, else all that need nothing special; print and write them, keeping the others' rows."""
    from ecgstudy import bench_gpu  # which has the timing of this module

    cuda = torch.device("cuda")
    gpu = {f"gpu_training {name}": functools.partial(bench_gpu.gpu_training, name, cuda) for name in bench_gpu.SIX}
    if "gpu_training" in names:
        names = [name for name in names if name != "gpu_training"]
        if torch.cuda.is_available():
            names += gpu
        else:
            print("gpu_training was not measured: this machine has no GPU that torch can use (CUDA)")
            if not names:
                return
    about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "date": date.today().isoformat()}
    table = RESULTS / "bench.json"
    results = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ECGSTUDY_CACHE"] = f"{folder}/cache"
        read = {"reading", "cohort_build", "cohort_build_torch_ecg", "explain", "explain_page"}
        paths = recordings(Path(folder) / "records") if not names or read & {*names} else []
        always: dict[str, Callable[[], dict[str, Any]]] = {
            "reading": lambda: reading(paths),
            "cohort_build": lambda: cohort_build(paths),
            "simulation": simulation,
            "training": training,
            "cam": cam,
        }
        named: dict[str, Callable[[], dict[str, Any]]] = {
            "cohort_build_torch_ecg": lambda: cohort_build_torch_ecg(paths),
            "cohort_memory": cohort_memory,
            "cohort_shards": cohort_shards,
            "explain": lambda: explain(paths[:48], pages=False),
            "explain_page": lambda: explain(paths[:12], pages=True),
            "book": lambda: make("book", recordings=False),
            "book_busy": lambda: make("book", busy=True, recordings=False, longest=5),
            "chapter": lambda: papermill("04_xecgnet"),
            "chapter_busy": lambda: papermill("04_xecgnet", busy=True),
            "real_book": lambda: make("book", "PROFILE=real", longest=2),
            "workflow": workflow,
            "simulation_before": simulation_before,
            "pretraining": pretraining,
            "suite": lambda: make("test"),
            **gpu,
        }
        for name in names or always:
            row = (always | named)[name]()
            less = row["unit"] in ("GiB", "min")  # of memory and time the smaller number is the better one
            ratio = row["other"] / row["ours"] if less else row["ours"] / row["other"]
            row = {k: round(v, 2 if less or k == "apart" else 1) if isinstance(v, float) else v for k, v in row.items()}
            results[name] = {**row, "ratio": round(ratio, 2), **about}
            print(f"{name:<18}{row['ours']:>9g} against {row['other']:>8g} {row['unit']}", end=" ")
            share = f", {row['percent_of_peak']:g} % of {row['card']}'s peak" if "percent_of_peak" in row else ""
            share += f"; two processes that share nothing: {row['apart']:g} times one" if "apart" in row else ""
            print(f"({row['other_name']}): {results[name]['ratio']:.2f} times{share}", flush=True)
            with written_whole(table) as partial:
                partial.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
