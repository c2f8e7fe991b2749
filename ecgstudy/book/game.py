"""Data of the game: ECGs whose evidence a reader marks, the answer key, and what the systems' own maps score there."""

import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgstudy.book import explorer
from ecgstudy.book.explorer import Shown, explained, maps_of, packed, real, scores, script, simulated
from ecgstudy.book.report import number
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator.synthetic import CRITERIA
from ecgstudy.reading.page import WORDS
from ecgstudy.reading.shipped import ENTRIES, shipped

STILL = "still.md"  # the file in the cache that has what a reader without scripts gets
REAL = explorer.RECORDS / "ludb-96.hea"
# What is asked for, all that the heart has, index and noise of the record: from what all see to what takes a ruler.
SIMULATED = (
    ("PVC", ("PVC",), 33, 0.3),
    ("LBBB", ("LBBB",), 16, 0.3),
    ("RBBB", ("RBBB",), 28, 0.3),
    ("STE", ("STE",), 6, 0.3),
    ("I-AVB", ("I-AVB",), 7, 0.5),
    ("STD", ("STD",), 4, 0.5),
    ("AF", ("AF",), 28, 0.5),
    ("PAC", ("PAC",), 13, 1.0),
    ("PVC", ("PVC", "RBBB"), 12, 1.0),
)


class Round(NamedTuple):
    """One ECG, and the finding whose evidence is to be marked."""

    finding: str
    shown: Shown


@lru_cache(maxsize=1)
def rounds() -> tuple[Round, ...]:
    """All rounds; the last is a real ECG, whose waves cardiologists marked."""
    drawn = (Round(finding, simulated(findings, index, noise)) for finding, findings, index, noise in SIMULATED)
    (finding,) = (last := real(REAL)).findings
    return (*drawn, Round(finding, last))


def rate() -> float:
    """Rate in Hz at which marks and maps are scored: that of the networks' input."""
    (fs,) = {shipped(name).system.fs for name in ENTRIES}
    return fs


def key_of(one: Round) -> NDArray[np.bool_]:
    """Where the evidence is, in any lead, (samples,) at ``rate``."""
    fs = rate()
    key = one.shown.key_at(fs, round(one.shown.first.seconds * fs))
    assert key is not None  # of records with marked waves
    return key[CLASSES.index(one.finding)]


def marked(marks: Sequence[tuple[float, float]], fs: float, samples: int) -> NDArray[np.float64]:
    """A reader's marks (from, to) in seconds as a map (samples,): 1 where any is, and at least one sample each."""
    made = np.zeros(samples)
    for begin, end in marks:
        first = min(int(np.floor(begin * fs + 0.5)), samples - 1)
        made[first : max(int(np.floor(end * fs + 0.5)), first + 1)] = 1
    return made


def about_round(one: Round) -> dict[str, Any]:
    """What ``round-N.js`` holds."""
    c, key, systems = CLASSES.index(one.finding), key_of(one), []
    for name in ENTRIES:
        explanation = explained(one.shown, name)
        own = maps_of(explanation, explanation.method)[[c]]
        excess = scores(own, key[None])[0, 2]
        p, yes = explanation.probabilities[c], bool(explanation.called[c])
        about = {"name": name, "excess": round(float(excess), 4), "probability": round(float(p), 4), "called": yes}
        systems.append(about | {"map": packed(own), "fs": explanation.system.fs / explorer.CELL})
    edges = np.flatnonzero(np.diff(key, prepend=False, append=False))
    spans = {"fs": rate(), "samples": len(key), "edges": edges.tolist()}
    return {**explorer.about_record(one.shown), "marking": spans, "systems": systems}


def about() -> dict[str, Any]:
    """What ``game.js`` holds: what is asked in each round."""
    asked = []
    for one in rounds():
        criterion = CRITERIA[one.finding]
        words = {"finding": one.finding, "words": WORDS[one.finding], "definition": criterion.definition}
        words |= {"evidence": criterion.evidence, "leads": criterion.leads}
        asked.append(words | {"source": one.shown.source, "findings": one.shown.findings})
    return {"rounds": asked, "systems": list(ENTRIES)}


def write(folder: Path) -> None:
    """Copy all data of the game into a new folder."""
    shutil.copytree(explorer.kept("game", _files), folder)


def still() -> str:
    """What a reader without scripts gets, in the book's Markdown: the rounds, their keys and the systems' scores."""
    return (explorer.kept("game", _files) / STILL).read_text(encoding="utf-8")


def _files() -> Iterable[tuple[str, str]]:
    yield "game.js", script("game", about())
    found = [about_round(one) for one in rounds()]
    for i, one in enumerate(found):
        yield f"round-{i}.js", script(f"round-{i}", one)
    yield STILL, _still_table([[system["excess"] for system in one["systems"]] for one in found])


def _still_table(excess: Sequence[Sequence[float]]) -> str:
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("round", "finding", "evidence", *ENTRIES))
    rows = []
    for i, (one, own) in enumerate(zip(rounds(), excess, strict=True), 1):
        texts = (WORDS[one.finding], CRITERIA[one.finding].evidence, *(number(value, 2) for value in own))
        rows.append(f"<tr><th scope='row'>{i}</th>{''.join(f'<td>{text}</td>' for text in texts)}</tr>")
    return explorer.without_scripts(
        "<p>The game needs scripts, and they are off. These are its rounds: where the evidence is, and the excess mass "
        "of each system's own map.</p>\n<div class='table-container'><table><caption>Excess mass of the systems' maps"
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
