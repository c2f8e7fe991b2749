"""All methods of a system in all trials: one row an explanation, one column a method and trial.

The maps that have seen no network stand in the same table: ``random`` (the system's own map, moved), ``signal energy``
and ``QRS detector``.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy.explain import blind, faithfulness, methods, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import System


def make_maps(
    method: str,
    system: System,
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


def evaluate(
    system: System,
    network: nn.Module,
    cases: Cases,
    chosen: Sequence[str],
    *,
    costly_every: int = 1,
    others: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of explanations: one row a case, columns (method, trial), ``chosen`` methods and the baselines.

    Parameters
    ----------
    costly_every
        Every so many-th row also goes through the costly trials (faithfulness, sanity, stability); the others have NaN.
    others
        The same system trained again, by the trial that compares with it: from another seed (``seeds``), on other
        folds (``folds``), or as another member of an ensemble, which differs in both (``members``).
    seed
        Of all that is drawn: the same seed gives the same table, and no global generator is touched.

    Notes
    -----
    ``random weights``, ``noise``, ``time shift``, ``seeds`` (``folds``, ``members``): agreement with the map of the
    shuffled network, of the record with white noise of 0.02 mV, of the record moved by 0.12 s (and moved back), of the
    other network.
    ``wrong class``: agreement with the map of a class that the record does not have. ``wrong record``: excess mass in
    the key of the class's next case. ``ST``: excess mass on the ST segments, whatever the class. ``any
    positive``: is any of the map positive? Segments of faithfulness are 0.2 s; erased samples are bridged.
    """
    rng = np.random.default_rng(seed)
    x = cases.inputs(system)
    some = np.arange(0, len(x), costly_every)
    few, x_few = cases.take(some), x[some]
    classes, shift = torch.from_numpy(few.classes), round(0.12 * cases.fs)
    wrong = np.array([rng.choice(np.flatnonzero(~labels)) for labels in few.labels])
    noisy = few._replace(signals=few.signals + 0.02 * rng.standard_normal(few.signals.shape).astype(np.float32))
    moved = few._replace(signals=np.roll(few.signals, shift, axis=-1))
    *_, (_, shuffled) = faithfulness.randomised(network, 1, seed=seed)
    width = round(0.2 * cases.fs)
    erasures = faithfulness.random_erasures(network, x_few, classes, width, samples=20, seed=seed)
    wide, following = trials.tolerant(cases.any_lead, round(0.1 * cases.fs)), _next_of_class(few)
    columns = {}
    for method in (*chosen, *blind.BASELINES):
        of = partial(make_maps, method, system, rng=rng, seed=seed)
        m = of(network, cases, x=x)
        found = trials.localisation(m, cases.any_lead)
        found["tolerant excess mass"] = trials.localisation(m, wide)["excess mass"]
        found["ST"] = trials.localisation(m, cases.st)["excess mass"]
        found |= {
            "Gini": trials.gini(m),
            "entropy": trials.entropy(m),
            "any positive": (m > 0).any(axis=1).astype(float),
        }
        part = m[some]
        costly = faithfulness.curves(network, x_few, classes, part, width, seed=seed).scores()
        costly["infidelity"] = faithfulness.infidelity(part, erasures)
        costly["random weights"] = trials.agreement(part, of(shuffled, few, x=x_few))
        costly["wrong class"] = trials.agreement(part, of(network, few, x=x_few, classes=wrong))
        costly["wrong record"] = trials.localisation(part, few.any_lead[following])["excess mass"]
        costly["noise"] = trials.agreement(part, of(network, noisy))
        back = np.roll(of(network, moved), -shift, axis=-1)
        costly["time shift"] = trials.agreement(part, back)
        for trial, other in (others or {}).items():
            costly[trial] = trials.agreement(part, of(other, few, x=x_few))
        for name, values in costly.items():
            found[name] = np.full(len(x), np.nan)
            found[name][some] = values
        columns |= {(method, name): values for name, values in found.items()}
    return pd.DataFrame(columns).rename_axis(columns=["method", "trial"])


def _next_of_class(cases: Cases) -> NDArray[np.intp]:
    """For each row the next one of its class (the first after the last)."""
    following = np.empty(len(cases.classes), dtype=np.intp)
    for c in np.unique(cases.classes):
        rows = np.flatnonzero(cases.classes == c)
        following[rows] = np.roll(rows, -1)
    return following
