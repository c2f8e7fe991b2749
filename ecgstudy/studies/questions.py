"""What chapter 09's questions measure.

Maps on ST segments, on the evidence of all classes of a record, on that of the other class; trials that agree; maps of
a network trained on few records and of one trained on many.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import nn

from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import blind, evaluation, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.systems import System

ST = ("STD", "STE")
ENDS = ("value", "low", "high")


def focus_on_st(
    system: System,
    parts: Sequence[tuple[nn.Module, NDArray[np.floating], Cases]],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Do a system's own maps lie on the ST segments, where STD or STE is called right?

    A map focuses on them when more of its mass lies in the key than in 95 % of its own shifts in time.

    Parameters
    ----------
    parts
        A network, the thresholds (9,) from which it calls a class, and cases with STD and with STE that it has not
        seen; several where each fold has a network of its own.

    Returns
    -------
    DataFrame
        method, class (STD, STE, or both), n (true positives), and value, low and high of ``focus`` (the share that
        focuses, Wilson's interval: a bootstrap knows no uncertainty when none or all do) and of ``mass`` (excess mass,
        bootstrapped over patients). A class with true positives of one patient alone has no row.
    """
    right: list[tuple[nn.Module, Cases]] = []
    for network, thresholds, cases in parts:
        with torch.inference_mode():
            probability = torch.sigmoid(network(cases.inputs(system))).numpy()
        called = (probability >= thresholds)[np.arange(len(cases.classes)), cases.classes]
        if called.any():
            right.append((network, cases.take(np.flatnonzero(called))))
    columns = ["method", "class", "n", *(f"{what} {end}" for what in ("focus", "mass") for end in ENDS)]
    rows: list[tuple] = []
    if right:
        every = ("any_lead", "names_of_classes", "patients")
        key, classes, patients = (np.concatenate([getattr(cases, name) for _, cases in right]) for name in every)
    for method in system.own_maps if right else ():
        m = np.concatenate([evaluation.make_maps(method, system, network, cases) for network, cases in right])
        focus = trials.rank_among_shifts(m, key) >= 0.95
        mass = trials.localisation(m, key)["excess mass"]
        for label, of in (*((c, [c]) for c in ST), (" or ".join(ST), ST)):
            chosen = np.flatnonzero(np.isin(classes, of))
            if len(set(patients[chosen])) > 1:
                found, n = int(focus[chosen].sum()), len(chosen)
                wilson = binomtest(found, n).proportion_ci(method="wilson")
                interval = trials.mean_interval(mass[chosen, None], patients[chosen], repeats=repeats, seed=seed)
                rows.append((method, label, n, found / n, wilson.low, wilson.high, *np.ravel(interval)))
    return pd.DataFrame(rows, columns=columns)


def on_all_classes(
    system: System, arms: dict[str, Sequence[nn.Module]], cases: Cases, *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """AUC of a system's own maps in the evidence of all classes of a record, mean over an arm's networks.

    Of a method with a map for each class, those of the record's classes are summed.

    Parameters
    ----------
    arms
        Name → networks; there are two, of which the last row gives the difference.
    cases
        One row a record.

    Returns
    -------
    DataFrame
        arm, map, value, low, high: the arms' own maps, then the attention moved at random, the signal's energy, and
        the difference of the first arm's attention from the second's.
    """
    found: dict[tuple[str, str], NDArray[np.floating]] = {}
    for arm, of in arms.items():
        for method in system.own_maps:
            every = [
                [
                    evaluation.make_maps(method, system, network, cases, classes=np.full(len(cases.names), c))
                    for c in range(len(CLASSES))
                ]
                for network in of
            ]
            m = (np.array(every) * cases.labels.T[None, :, :, None]).sum(axis=1)
            found[arm, method] = np.mean([trials.localisation(one, cases.any_class)["AUC"] for one in m], axis=0)
    moved = blind.random_maps(m[0], np.random.default_rng(seed))
    found["random", "attention, moved"] = trials.localisation(moved, cases.any_class)["AUC"]
    energy = blind.energy_maps(cases.signals, system.fs)
    found["", "signal energy"] = trials.localisation(energy, cases.any_class)["AUC"]
    first, second = (found[arm, "attention"] for arm in arms)
    found["difference", "attention"] = first - second
    interval = trials.mean_interval(np.column_stack(list(found.values())), cases.patients, repeats=repeats, seed=seed)
    about = pd.DataFrame(list(found), columns=["arm", "map"])
    return about.assign(**dict(zip(ENDS, interval, strict=True)))


def couples(cases: Cases) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the first and of the second class, for every pair of classes of one record."""
    found = []
    for name in dict.fromkeys(cases.names):
        rows = np.flatnonzero(cases.names == name)
        found += [(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    a, b = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return a, b


def own_minus_other(
    maps: NDArray[np.floating], cases: Cases, a: NDArray[np.intp], b: NDArray[np.intp]
) -> NDArray[np.floating]:
    """AUC of a map in its class's key less that of the other class's map there, mean of both ways: (couples,).

    Parameters
    ----------
    maps
        (rows, n), of the cases.
    a, b
        As ``couples`` gives them.
    """
    own_a, other_a, own_b, other_b = (
        trials.localisation(maps[x], cases.any_lead[y])["AUC"] for x, y in ((a, a), (b, a), (b, b), (a, b))
    )
    return (own_a - other_a + own_b - other_b) / 2


def excess_of_two(
    system: System,
    networks: dict[str, nn.Module],
    cases: Cases,
    chosen: Sequence[str],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Excess mass of two networks' maps of the same explanations, and what the second has more than the first.

    Parameters
    ----------
    networks
        Name → network; there are two.
    chosen
        Methods, or maps that know nothing of a network.

    Returns
    -------
    DataFrame
        method, network (a name, or ``difference``), value, low, high (mean of the classes' means), n.
    """
    found: dict[tuple[str, str], NDArray[np.floating]] = {}
    for method in chosen:
        first, second = (
            trials.localisation(evaluation.make_maps(method, system, network, cases), cases.any_lead)["excess mass"]
            for network in networks.values()
        )
        found |= dict(zip(((method, name) for name in networks), (first, second), strict=True))
        found[method, "difference"] = second - first
    scores = pd.DataFrame(found).rename_axis(columns=["method", "network"])
    table = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats, seed=seed)
    return table.loc[table["class"] == "", ["method", "network", *ENDS, "n"]].reset_index(drop=True)


def families(ranks: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of each system's methods in each family of trials, of ``results.ranks``."""
    return pd.DataFrame(
        {family: ranks[[t for t in chosen if t in ranks]].mean(axis=1) for family, chosen in trials.FAMILIES.items()}
    )


def agreement(ranked: pd.DataFrame) -> NDArray[np.floating]:
    """Rank correlation of the families over a system's methods, mean over the systems: (families, families)."""
    each = [of.corr(method="spearman").to_numpy() for _, of in ranked.groupby("system")]
    return np.mean(np.nan_to_num(each), axis=0)


def mean_agreement(ranked: pd.DataFrame, *, repeats: int = 200, seed: int = 0) -> tuple[float, NDArray[np.floating]]:
    """Mean of ``agreement`` over the pairs of families; the same of ranks shuffled within each system, (repeats,)."""
    off = np.triu_indices(len(ranked.columns), 1)
    rng = np.random.default_rng(seed)
    shuffled = [
        agreement(ranked.groupby("system").transform(lambda c: rng.permutation(c)))[off].mean() for _ in range(repeats)
    ]
    return float(agreement(ranked)[off].mean()), np.array(shuffled)
