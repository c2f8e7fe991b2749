"""Data of the pages that a reader can touch: ECGs, what networks answer to them, and maps, as scripts for the browser.

``index.js`` says what there is; ``record-N.js`` has an ECG and its answer key, ``maps-N-M.js`` what system M answers to
it, and the maps of all methods. Each calls ``EcgData.put(name, data)``, so that no server is needed.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgstudy import maps
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import blind, cells, methods, trials
from ecgstudy.explain.cases import WAVE_CLASSES, wave_key
from ecgstudy.paths import REPOSITORY, alone, cache_root, code_hash, crc32, listed, written_whole
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.profiles import profile_values
from ecgstudy.reading.chart import chart
from ecgstudy.reading.explanation import BY_LEAD, Explanation, explain
from ecgstudy.reading.page import WORDS, percent
from ecgstudy.reading.shipped import ENTRIES, Shipped, shipped
from ecgstudy.studies.explanations import CASE_SEED
from ecgstudy.studies.questions import chosen
from ecgstudy.systems import System

RECORDS = REPOSITORY / "book" / "records"
FS, SECONDS = 250.0, 10.0  # of the ECG that is drawn
SALIENCY = "saliency"
CELL = 2  # samples of a network's input that share a number of a map
NOISE = 0.5  # of the simulated records, as a share of what recordings have; their findings, and the index of each
SIMULATED = (
    (("RBBB",), 20),
    (("LBBB",), 34),
    (("PVC",), 13),
    (("PAC",), 28),
    (("AF",), 6),
    (("I-AVB",), 32),
    (("STD",), 6),
    (("STE",), 32),
    (("NSR",), 19),
    (("RBBB", "PVC"), 33),
)
# What changes the numbers, besides networks and recordings.
_CODE = (
    *("book/explorer.py", "book/game.py", "data/**/*.py", "explain/*.py", "maps.py", "preprocessing.py"),
    *("reading/*.py", "systems/*.py", "layers.py"),
)


@dataclass(frozen=True, eq=False)
class Shown:
    """An ECG that is shown.

    Attributes
    ----------
    name
        As links have it.
    title
        For the reader, with its findings.
    source
        Where it comes from, and its licence.
    record
        All of it.
    key
        (9, 12, samples) at its rate, of its first ``SECONDS``; None where nobody has marked the evidence.
    """

    name: str
    title: str
    source: str
    record: Record
    key: NDArray[np.bool_] | None

    @property
    def first(self) -> Record:
        """Its first ``SECONDS``."""
        return replace(self.record, signal=self.record.signal[:, : round(SECONDS * self.record.fs)])

    @property
    def findings(self) -> list[str]:
        """Those of the nine classes that it has, in their order."""
        return [name for name in CLASSES if name in self.record.labels]

    def key_at(self, fs: float, samples: int) -> NDArray[np.bool_] | None:
        """The key in any lead at a rate that divides its own, (9, samples)."""
        if self.key is None:
            return None
        return cells.in_cells(np.any(self.key, axis=1), round(self.record.fs / fs), samples)


def simulated(findings: Sequence[str], index: int, noise: float = NOISE) -> Shown:
    """Simulate a record of ``SECONDS`` with these findings, of a seed that no network has learned from."""
    s = synthetic.simulate(index, CASE_SEED, seconds=SECONDS, labels=frozenset(findings), noise=noise)
    key = synthetic.answer_key(s.evidence, s.record.signal.shape[1])
    name = "-".join(("simulated", *findings, f"{index}")).lower()
    return Shown(name, f"Simulated: {_listed(findings)}", "Simulated by this study (CC BY 4.0)", s.record, key)


def real(header: Path) -> Shown:
    """Read a WFDB record of the repository; its source is the first comment of its header."""
    record = read_record(header)
    text = header.read_text(encoding="utf-8")
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    source = next((line for line in comments if line.partition(":")[0].lower() not in _FIELDS), record.source)
    shown = Shown(header.stem, header.stem.replace("-", " ").upper(), source, record, None)
    title = f"{shown.title}: {_listed(shown.findings) or 'none of the nine findings'}"
    return replace(shown, title=title, key=_delineated(header, shown.first))


_FIELDS = ("dx", "age", "sex", "rx", "hx", "sx")


def _delineated(header: Path, record: Record) -> NDArray[np.bool_] | None:
    """Answer key that marked waves give, if such annotations lie beside the record; PAC and PVC have none."""
    if not header.with_suffix(".ii").exists():
        return None
    waves, samples = read_delineation(header), record.signal.shape[1]
    key = np.zeros((len(CLASSES), len(LEADS), samples), dtype=bool)
    for name in record.labels & set(WAVE_CLASSES):
        key[CLASSES.index(name)] = wave_key(waves, name, LEADS, samples)
    return key


@lru_cache(maxsize=1)
def records() -> tuple[Shown, ...]:
    """All records that the explorer shows, simulated ones first."""
    return (*(simulated(*one) for one in SIMULATED), *map(real, listed(RECORDS, "*.hea")))


def explained(shown: Shown, system: str) -> Explanation:
    """What the networks of an entry of ``shipped.ENTRIES`` answer; it knows which have learned from the record."""
    found = explain(shown.first, system=system, even_if_unfit=True)
    return replace(found, seen=_seen(found.shipped, shown))


def _seen(ships: Shipped, shown: Shown) -> NDArray[np.bool_]:
    """Which members have learned from a record, or from the one that its source says it was cut from."""
    seen = ships.seen(shown.record)
    if original := re.search(r"record ([\w./-]+)", shown.source):
        name = original[1].rpartition("/")[2]
        for source in {source for source in ships.records["source"] if source in shown.source}:
            seen = seen | ships.seen(replace(shown.record, name=name, source=source))
    return seen


def methods_of(system: System) -> list[str]:
    """Maps that are shown: a system's own, those of chapter 09 that ask the network once, and those that ask none."""
    general = profile_values("demo", "09_cam_analysis")["methods"]
    return [*chosen(system, [name for name in general if not methods.METHODS[name].costly]), *blind.BASELINES]


def maps_of(explanation: Explanation, method: str) -> NDArray[np.float64]:
    """Maps of all classes over what was read, the mean of the members that answer.

    Returns
    -------
    array (9, samples)
        (9, 12, samples) of ``BY_LEAD``; (1, samples) of maps that know no class.
    """
    window, system = explanation.windows[0], explanation.system
    random, energy, detector = blind.BASELINES
    if method == energy:
        return blind.energy_maps(window.signal[None], window.fs)
    if method == detector:
        return blind.qrs_maps(window.signal[None], window.fs)
    own = next(iter(system.own_maps))
    if method in (own, random):
        mean = window.maps[explanation.used].mean(axis=0, dtype=np.float64)
        return mean if method == own else blind.random_maps(mean, np.random.default_rng(0)).astype(np.float64)
    if method == BY_LEAD:
        return (_gradients(explanation) * window.x[: len(LEADS), window.there].numpy()).mean(axis=0)
    if method == SALIENCY:
        return np.abs(_gradients(explanation)).sum(axis=2).mean(axis=0)
    x, classes = window.x.expand(len(CLASSES), -1, -1), torch.arange(len(CLASSES))
    each = [methods.explain(system, method, network, x, classes) for network in explanation.used_networks]
    return np.mean(each, axis=0, dtype=np.float64)


@lru_cache(maxsize=1)
def _gradients(explanation: Explanation) -> NDArray[np.float64]:
    """Gradients of all logits where the record is, (members, 9, 12, samples): once, for the two methods they make."""
    window, each = explanation.windows[0], []
    for network in explanation.used_networks:
        with maps.gradients(network):
            x = window.x.repeat(len(CLASSES), 1, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(maps.logits_of(network, x).diagonal().sum(), x)
        each.append(gradient[:, : len(LEADS), window.there].double().numpy())
    return np.stack(each)


def scores(made: NDArray[np.floating], key: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mass, share of time and excess mass, (9, 3), of maps as ``maps_of`` gives them; NaN where nothing is defined."""
    flat = np.broadcast_to(made.sum(axis=1) if made.ndim == 3 else made, key.shape)
    located = trials.localisation(flat, key)
    return np.column_stack([located["mass"], key.mean(axis=1), located["excess mass"]])


def packed(made: NDArray[np.floating]) -> str:
    """Positive part of maps (rows, ..., samples), mean of ``CELL`` samples, as bytes: 255 is the largest of a row."""
    n = made.shape[-1] // CELL * CELL
    coarse = made[..., :n].clip(min=0).reshape(*made.shape[:-1], -1, CELL).mean(axis=-1)
    top = coarse.reshape(len(made), -1).max(axis=1).reshape(-1, *(1,) * (made.ndim - 1))
    return base64.b64encode(np.rint(255 * coarse / np.where(top > 0, top, 1)).astype(np.uint8).tobytes()).decode()


def signals(record: Record) -> str:
    """Twelve leads at ``FS`` Hz in whole microvolts, little-endian, one lead after the other."""
    drawn = resample(fill_gaps(record.signal), record.fs, FS)
    microvolts = np.rint(1000.0 * drawn).clip(-(2**15), 2**15 - 1)
    return base64.b64encode(microvolts.astype("<i2").tobytes()).decode()


def brackets(key: NDArray[np.bool_], fs: float) -> list[dict[str, Any]]:
    """A key (12, samples) as the chart takes it: leads with the same spans together, in seconds."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for lead, own in zip(LEADS, key, strict=True):
        edges = np.flatnonzero(np.diff(own, prepend=False, append=False))
        groups.setdefault(tuple(np.round(edges / fs, 3).tolist()), []).append(lead)
    return [
        {"leads": leads, "spans": [edges[i : i + 2] for i in range(0, len(edges), 2)]}
        for edges, leads in groups.items()
        if edges
    ]


def about_record(shown: Shown) -> dict[str, Any]:
    """What ``record-N.js`` holds."""
    keys = {}
    if shown.key is not None:
        keys = {name: brackets(own, shown.record.fs) for name, own in zip(CLASSES, shown.key, strict=True) if own.any()}
    return {"fs": FS, "leads": LEADS, "signals": signals(shown.first), "key": keys, "findings": shown.findings}


def about_maps(shown: Shown, system: str) -> dict[str, Any]:
    """What ``maps-N-M.js`` holds."""
    explanation, found = explained(shown, system), {}
    fs = explanation.system.fs
    for method in methods_of(explanation.system):
        made = maps_of(explanation, method)
        key = shown.key_at(fs, made.shape[-1])
        found[method] = {
            "leads": made.shape[1] if made.ndim == 3 else 1,
            "rows": len(made),
            "values": packed(made),
            "scores": [] if key is None else _rounded(scores(made, key)),
        }
    answers = {name: np.round(getattr(explanation, name), 4).tolist() for name in ("probabilities", "thresholds")}
    seen = int(explanation.seen.sum())
    return {"fs": fs / CELL, "maps": found, **answers, "called": explanation.called.tolist(), "seen": seen}


def _rounded(table: NDArray[np.float64]) -> list[list[float] | None]:
    return [None if np.isnan(row).any() else row.round(4).tolist() for row in table]


def about() -> dict[str, Any]:
    """What ``index.js`` holds: records, systems and classes in the order of the other files."""
    systems = []
    for name in ENTRIES:
        ships = shipped(name)
        about = {"name": name, "chapter": ships.system.chapter, "trained": ships.trained_on}
        systems.append(about | {"members": len(ships.runs), "methods": methods_of(ships.system)})
    fields = [{"name": r.name, "title": r.title, "source": r.source, "findings": r.findings} for r in records()]
    classes = [{"name": name, "words": WORDS[name]} for name in CLASSES]
    return {"records": fields, "systems": systems, "classes": classes}


def script(name: str, data: dict[str, Any]) -> str:
    """A script that gives data to the page."""
    return f"EcgData.put({json.dumps(name)}, {json.dumps(data, ensure_ascii=False, separators=(',', ':'))});\n"


def state() -> str:
    """Hash of all that the data follow from: code, recordings and networks."""
    digest = hashlib.sha256(code_hash(*_CODE).encode())
    for path in listed(RECORDS):
        digest.update(path.name.encode() + path.read_bytes())
    for name in ENTRIES:
        for run in shipped(name).runs:
            digest.update(f"{name} {run.folder.name} {crc32(run.folder / 'weights.safetensors')}".encode())
    return digest.hexdigest()[:16]


def kept(name: str, files: Callable[[], Iterable[tuple[str, str]]]) -> Path:
    """Folder in the cache with files (name, text) of this ``state``; they are made if it is not there."""
    folder = cache_root() / name / state()
    with alone(folder):
        if not folder.exists():
            with written_whole(folder) as partial:
                partial.mkdir()
                for file, text in files():
                    (partial / file).write_text(text, encoding="utf-8")
    return folder


def write(folder: Path) -> None:
    """Copy all data of the explorer into a new folder."""
    shutil.copytree(kept("explorer", _files), folder)


def still() -> str:
    """What a reader without scripts gets, in the book's Markdown: a picture, and what all systems answer there."""
    shown = records()[0]
    rows = []
    for system in ENTRIES:
        explanation = explained(shown, system)
        p, called = explanation.probabilities, explanation.called
        yes = [f"{name} ({percent(p[c])})" for c, name in enumerate(CLASSES) if called[c]]
        rows.append(f"<tr><th scope='row'>{system}</th><td>{', '.join(yes) or 'none'}</td></tr>")
    return without_scripts(
        f"<p>This page needs scripts, and they are off. Here is one of its views: {shown.title}.</p>\n"
        '<img src="../_static/explorer/still.svg" '
        'alt="A simulated 12-lead ECG on chart paper, and a map over it, darkest where it supports the finding">\n'
        f"<table><caption>What each system calls in this ECG</caption>{''.join(rows)}</table>"
    )


def _files() -> Iterable[tuple[str, str]]:
    yield "index.js", script("index", about())
    yield "still.svg", _still_picture()
    for i, shown in enumerate(records()):
        yield f"record-{i}.js", script(f"record-{i}", about_record(shown))
        for j, system in enumerate(ENTRIES):
            yield f"maps-{i}-{j}.js", script(f"maps-{i}-{j}", about_maps(shown, system))


def _still_picture() -> str:
    """What a reader without scripts sees: the first record, and the first system's own map of its finding."""
    shown, system = records()[0], next(iter(ENTRIES))
    explanation, finding = explained(shown, system), shown.findings[0]
    signal = resample(fill_gaps(shown.first.signal), shown.record.fs, FS)
    made = maps_of(explanation, explanation.method)[CLASSES.index(finding)]
    about = f"The map of {finding} by {system} over a simulated 12-lead ECG"
    return chart(signal, FS, title=shown.title, description=about, maps=made, map_fs=explanation.system.fs)


def without_scripts(text: str) -> str:
    """HTML that only a reader without scripts sees, in the book's Markdown."""
    return f"```{{raw}} html\n<noscript>\n{text}\n</noscript>\n```\n"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
