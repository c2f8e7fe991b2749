"""All methods of a system in all trials: one row an explanation, one column a method and trial.

The maps that have seen no network stand in the same table: ``random`` (the system's own map, moved), ``signal energy``
and ``QRS detector``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.explain import blind, faithfulness, methods, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import Tried


def make_maps(
    method: str,
    system: Tried,
    network: nn.Module,
    cases: Cases,
    *,
    x: Tensor | None = None,
    classes: NDArray[np.intp] | None = None,
    rng: np.random.Generator | None = None,
    seed: int = 0,
) -> NDArray[np.floating]:
    """Maps (rows, n) of cases by a method or a baseline: of their own classes or of others.

    ``x`` are the cases' inputs, if they are at hand; ``rng`` moves the random maps, ``seed`` is of methods that draw.
    """
    if method == "signal energy":
        return blind.energy_maps(cases.signals, cases.fs)
    if method == "QRS detector":
        return blind.qrs_maps(cases.signals, cases.fs)
    x = cases.inputs(system) if x is None else x
    chosen = torch.from_numpy(cases.classes if classes is None else classes)
    if method == "random":
        own = methods.explain(system, methods.methods(system)[0], network, x, chosen)
        return blind.random_maps(own, rng or np.random.default_rng(0))
    return methods.explain(system, method, network, x, chosen, width=round(0.4 * cases.fs), seed=seed)


@dataclass(frozen=True, eq=False)
class Scene:
    """What all methods meet in the trials of one network.

    Parameters
    ----------
    system, network, cases, x
        What is explained, and the inputs (rows, leads, samples) of all cases.
    some
        Rows that also go through the costly trials; everything below is of these alone.
    few
        Their cases.
    wrong
        A class that the record does not have, (rows,).
    following
        The next row of the same class, (rows,).
    noisy, moved, shift
        The records with white noise of 0.02 mV; moved in a circle by 0.12 s, which are ``shift`` samples.
    shuffled
        The network with shuffled weights.
    width, erasures
        Samples of a segment that is erased, 0.2 s; random erasures of such segments.
    others
        The same system trained again, by the trial that compares with it.
    seed, rng
        Of what methods draw, and of what moves the random maps.
    """

    system: Tried
    network: nn.Module
    cases: Cases
    x: Tensor
    some: NDArray[np.intp]
    few: Cases
    wrong: NDArray[np.intp]
    following: NDArray[np.intp]
    noisy: Cases
    moved: Cases
    shift: int
    shuffled: nn.Module
    width: int
    erasures: faithfulness.Erasures
    others: Mapping[str, nn.Module]
    seed: int
    rng: np.random.Generator


def set_scene(
    system: Tried,
    network: nn.Module,
    cases: Cases,
    *,
    costly_every: int = 1,
    others: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> Scene:
    """Draw and compute what all methods meet; parameters are those of ``evaluate``."""
    rng, x = np.random.default_rng(seed), cases.inputs(system)
    some = np.arange(0, len(x), costly_every)
    few, shift, width = cases.take(some), round(0.12 * cases.fs), round(0.2 * cases.fs)
    wrong = np.array([rng.choice(np.flatnonzero(~labels)) for labels in few.labels])
    noise = 0.02 * rng.standard_normal(few.signals.shape).astype(np.float32)
    shuffled = faithfulness.randomised(network, seed=seed)
    classes = torch.from_numpy(few.classes)
    erasures = faithfulness.random_erasures(network, x[some], classes, width, samples=20, seed=seed)
    return Scene(
        *(system, network, cases, x, some, few, wrong, next_of_class(few)),
        noisy=few._replace(signals=few.signals + noise),
        moved=few._replace(signals=np.roll(few.signals, shift, axis=-1)),
        shift=shift,
        shuffled=shuffled,
        width=width,
        erasures=erasures,
        others=others or {},
        seed=seed,
        rng=rng,
    )


@dataclass(frozen=True, eq=False)
class Made:
    """Maps of one method, of all cases of a scene or of the few of the costly trials: what a trial scores."""

    scene: Scene
    method: str
    cases: Cases
    x: Tensor
    maps: NDArray[np.floating]  # (rows, n)

    @property
    def key(self) -> NDArray[np.bool_]:
        """Where the evidence is, in any lead: (rows, n)."""
        return self.cases.any_lead

    @cached_property
    def located(self) -> dict[str, NDArray[np.float64]]:
        """Scores of localisation in the key."""
        return trials.localisation(self.maps, self.key)

    @cached_property
    def erased(self) -> dict[str, NDArray[np.float64]]:
        """Scores of erasing the record in the order of the map; what is erased is bridged."""
        scene, classes = self.scene, torch.from_numpy(self.cases.classes)
        curves = faithfulness.curves(scene.network, self.x, classes, self.maps, scene.width, seed=scene.seed)
        return curves.scores()

    @property
    def infidelity(self) -> NDArray[np.float64]:
        """How badly the map predicts random erasures."""
        return faithfulness.infidelity(self.maps, self.scene.erasures)

    def agrees(
        self,
        *,
        network: nn.Module | None = None,
        cases: Cases | None = None,
        classes: NDArray[np.intp] | None = None,
        back: int = 0,
    ) -> NDArray[np.float64]:
        """Agreement with the method's map of another network, of other records, or of other classes.

        Parameters
        ----------
        network, cases, classes
            What differs; the rest is as for these maps.
        back
            Samples by which the other map is moved back before it is compared.
        """
        scene = self.scene
        other = make_maps(
            self.method,
            scene.system,
            network or scene.network,
            cases or self.cases,
            x=None if cases else self.x,
            classes=classes,
            rng=scene.rng,
            seed=scene.seed,
        )
        return trials.agreement(self.maps, np.roll(other, -back, axis=-1))


def evaluate(
    system: Tried,
    network: nn.Module,
    cases: Cases,
    chosen: Sequence[str],
    *,
    costly_every: int = 1,
    others: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of explanations in all ``trials.TRIALS``: methods and baselines, one row a case.

    Parameters
    ----------
    system, network
        The network is explained as in evaluation mode.
    cases
        What is explained, one record and one class a row.
    chosen
        Names of methods; the baselines of ``blind`` are added.
    costly_every
        Every so many-th row also goes through the costly trials (faithfulness, sanity, stability); the others have NaN.
    others
        The same system trained again, by the trial that compares with it: from another seed (``seeds``), on other
        folds (``folds``), or as another member of an ensemble, which differs in both (``members``).
    seed
        Of all that is drawn: the same seed gives the same table, and no global generator is touched.

    Returns
    -------
    DataFrame
        One row a case, columns (method, trial).
    """
    scene = set_scene(system, network, cases, costly_every=costly_every, others=others, seed=seed)
    columns = {}
    for method in (*chosen, *blind.BASELINES):
        maps = make_maps(method, system, network, cases, x=scene.x, rng=scene.rng, seed=seed)
        whole = Made(scene, method, cases, scene.x, maps)
        part = Made(scene, method, scene.few, scene.x[scene.some], maps[scene.some])
        for trial in trials.TRIALS.values():
            if trial.needs and trial.name not in scene.others:
                continue
            column = np.full(len(maps), np.nan)
            column[scene.some if trial.costly else slice(None)] = _scored(trial, part if trial.costly else whole)
            columns[method, trial.name] = column
    return pd.DataFrame(columns).rename_axis(columns=["method", "trial"])


def _scored(trial: trials.Trial, made: Made) -> NDArray[np.float64]:
    """Scores (rows,) of a trial.

    Raises
    ------
    ValueError
        when it gives something else, or an infinity: which trial, of which method. NaN says that nothing is defined.
    """
    scores, wanted = np.asarray(trial.score(made)), (len(made.maps),)
    if scores.shape != wanted or scores.dtype.kind not in "fiub" or np.isinf(scores).any():
        found = (
            f"{scores.dtype} {scores.shape}"
            if scores.shape != wanted or scores.dtype.kind not in "fiub"
            else "infinity"
        )
        raise ValueError(f"the trial {trial.name!r} gave {found} for {wanted[0]} maps of {made.method!r}")
    return scores.astype(np.float64)


def next_of_class(cases: Cases) -> NDArray[np.intp]:
    """For each row the next one of its class (the first after the last)."""
    following = np.empty(len(cases.classes), dtype=np.intp)
    for c in np.unique(cases.classes):
        rows = np.flatnonzero(cases.classes == c)
        following[rows] = np.roll(rows, -1)
    return following
