"""Trials of a chapter's maps: known from its parameters, done beside other work, and kept like a training."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from ecgstudy import training
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import evaluation, trials
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.explain.methods import METHODS
from ecgstudy.paths import (
    PACKAGE,
    alone,
    cache_root,
    code_hash,
    read_sealed,
    told_if_broken,
    write_sealed,
    written_whole,
)
from ecgstudy.studies.trainings import Ensemble, Task
from ecgstudy.systems import System

# Whatever changes here may change a score.
_SCORING = (
    *("explain/*.py", "systems/*.py", "data/simulator/*.py", "data/qrs.py", "data/delineations.py"),
    *("maps.py", "layers.py", "preprocessing.py"),
)


@dataclass(frozen=True)
class MapTrials:
    """All trials of the maps of one network, an ensemble's first, on simulated records with an answer key.

    Attributes
    ----------
    ensemble, members
        The networks; the second one, if there is one, tells how a map depends on the training.
    methods
        Names of those that are tried.
    per_class, case_seed
        Explanations of each class, and the seed of the records that are explained.
    costly_every, seed
        As ``evaluation.evaluate`` has them.
    """

    ensemble: Ensemble
    members: int
    methods: tuple[str, ...]
    per_class: int
    case_seed: int
    costly_every: int
    seed: int

    @property
    def system(self) -> System:
        """What is explained."""
        return self.ensemble.system

    @property
    def task(self) -> Task:
        """To try the maps, once the networks are trained."""
        needed = tuple(self.ensemble.tasks(self.members))
        return Task(f"{self.system.name}: trials of its maps", MapTrials.scores, (self,), needed)

    def scores(self, *, only_open: bool = False) -> pd.DataFrame | None:
        """One row an explanation, columns (method, trial): made, or opened.

        Raises as ``kept`` does.
        """
        runs = [task(only_open=only_open) for task in self.ensemble.tasks(self.members)]
        if None in runs:
            return None
        about = {
            "runs": [run.folder.name for run in runs],
            "methods": self.methods,
            "trials": list(trials.TRIALS),
            "cases": [self.per_class, self.case_seed, synthetic.VERSION],
            "costly_every": self.costly_every,
            "seed": self.seed,
        }
        return kept(about, type(self.system), lambda: self._made([run.network() for run in runs]), only_open=only_open)

    def _made(self, networks: list[nn.Module]) -> pd.DataFrame:
        return evaluation.evaluate(
            self.system,
            networks[0],
            synthetic_cases(self.system.fs, self.per_class, seed=self.case_seed),
            self.methods,
            costly_every=self.costly_every,
            others=dict(zip(("members",), networks[1:], strict=False)),
            seed=self.seed,
        )


def kept(
    about: dict[str, Any], system: type[System], make: Callable[[], pd.DataFrame], *, only_open: bool = False
) -> pd.DataFrame | None:
    """Scores that depend on what ``about`` says and on the code that scores a system's maps: made once, then opened.

    Raises
    ------
    ValueError
        when what is kept is not as it was written: which file, and the folder to delete.
    """
    about = about | {"code": _code(system)}
    folder = cache_root() / "trials" / training.name_of(about)
    if (found := _opened(folder)) is not None or only_open:
        return found
    with training.one_thread(), alone(folder):
        if (found := _opened(folder)) is not None:
            return found
        scores = make()
        with written_whole(folder) as partial:
            partial.mkdir()
            flat = scores.set_axis([json.dumps(column) for column in scores], axis=1)
            flat.to_parquet(partial / "scores.parquet")
            write_sealed(partial / "about.json", about | {"levels": list(scores.columns.names)})
        return scores


def _opened(folder: Path) -> pd.DataFrame | None:
    if not (folder / "about.json").exists():
        return None
    levels = read_sealed(folder / "about.json")["levels"]
    with told_if_broken(folder):
        flat = pd.read_parquet(folder / "scores.parquet")
    return flat.set_axis(pd.MultiIndex.from_tuples([json.loads(c) for c in flat], names=levels), axis=1)


def _code(system: type[System]) -> str:
    """Hash of the code that scores, with that of systems, methods and trials from outside the package."""
    functions = [system, *(m.function for m in METHODS.values()), *(t.score for t in trials.TRIALS.values())]
    outside = {f.__module__ for f in functions if f and f.__module__.partition(".")[0] != PACKAGE.name}
    digest = hashlib.sha256(code_hash(*_SCORING).encode())
    for name in sorted(outside):
        file = getattr(sys.modules[name], "__file__", None)
        # What was typed in a notebook cannot be told from an earlier version of it: nothing that is kept will do.
        digest.update(Path(file).read_bytes() if file else f"{time.time_ns()}".encode())
    return digest.hexdigest()
