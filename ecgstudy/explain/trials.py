"""Trials of maps against an answer key, against each other and against maps that have seen no network.

Rows are explanations, one record and one class each: relevance (rows, samples) or (rows, leads, samples), the key
booleans of the same shape. What supports the class is on trial, a map's positive part; a map without any points
nowhere and is scored as a level one. Each trial is batched and gives one number a row; ``summary`` gives their means
with intervals over patients. ``chance`` says what a map scores that does not know where the evidence is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from ecgstudy import metrics
from ecgstudy.data.labels import CLASSES

if TYPE_CHECKING:
    from ecgstudy.explain.evaluation import Made

Array = NDArray[np.float64]
LOCALISATION = ("mass", "excess mass", "pointing", "AUC", "AP", "top-k")


@dataclass(frozen=True)
class Trial:
    """What a trial says of itself, and how it scores.

    Parameters
    ----------
    name
        As tables have it.
    family
        Which of four questions it puts to a map; ``property`` for what is neither good nor bad.
    higher_is_better
        None for a property.
    score
        Function of ``evaluation.Made``, the maps of one method and all that they are compared with: (rows,).
    costly
        Whether it runs the network again for every map, so that only some cases go through it.
    needs
        Another network of the same system that it compares with: from another ``seed``, of another ``fold`` or
        ``member``; empty where there is none.
    """

    name: str
    family: Literal["localisation", "faithfulness", "sanity", "stability", "property"]
    higher_is_better: bool | None
    score: "Callable[[Made], Array]"
    costly: bool = False
    needs: str = ""

    def __post_init__(self) -> None:
        """See that the lists of trials will know it."""
        families = ("localisation", "faithfulness", "sanity", "stability", "property")
        if self.family not in families:
            raise ValueError(f"the trial {self.name!r} is of the family {self.family!r}: take {', '.join(families)}")
        if self.needs not in ("", "seed", "fold", "member"):
            raise ValueError(f"the trial {self.name!r} needs {self.needs!r}: take seed, fold, member or nothing")


def _located(name: str) -> "Callable[[Made], Array]":
    return lambda made: made.located[name]


def _agreement_with(other: str) -> "Callable[[Made], Array]":
    return lambda made: made.agrees(network=made.scene.others[other])


# In the order in which they are made, which is that of what the random map draws.
TRIALS = {
    trial.name: trial
    for trial in (
        *(Trial(name, "localisation", True, _located(name)) for name in LOCALISATION),
        # In the key with 0.1 s more on either side.
        Trial(
            "tolerant excess mass",
            "localisation",
            True,
            lambda made: localisation(made.maps, tolerant(made.key, round(0.1 * made.cases.fs)))["excess mass"],
        ),
        # On the ST segments, whatever the class.
        Trial("ST", "property", None, lambda made: localisation(made.maps, made.cases.st)["excess mass"]),
        Trial("Gini", "property", None, lambda made: gini(made.maps)),
        Trial("entropy", "property", None, lambda made: entropy(made.maps)),
        Trial("any positive", "property", None, lambda made: (made.maps > 0).any(axis=1).astype(float)),
        Trial("deletion", "faithfulness", False, lambda made: made.erased["deletion"], costly=True),
        Trial("insertion", "faithfulness", True, lambda made: made.erased["insertion"], costly=True),
        Trial("comprehensiveness", "faithfulness", True, lambda made: made.erased["comprehensiveness"], costly=True),
        Trial("sufficiency", "faithfulness", False, lambda made: made.erased["sufficiency"], costly=True),
        Trial("infidelity", "faithfulness", False, lambda made: made.infidelity, costly=True),
        # Agreement with the map of the network with shuffled weights, and of a class that the record does not have.
        Trial("random weights", "sanity", False, lambda made: made.agrees(network=made.scene.shuffled), costly=True),
        Trial("wrong class", "sanity", False, lambda made: made.agrees(classes=made.scene.wrong), costly=True),
        # In the key of the class's next case.
        Trial(
            "wrong record",
            "sanity",
            False,
            lambda made: localisation(made.maps, made.key[made.scene.following])["excess mass"],
            costly=True,
        ),
        # Agreement with the map of the record with white noise of 0.02 mV, and of the record moved by 0.12 s.
        Trial("noise", "stability", True, lambda made: made.agrees(cases=made.scene.noisy), costly=True),
        Trial(
            "time shift",
            "stability",
            True,
            lambda made: made.agrees(cases=made.scene.moved, back=made.scene.shift),
            costly=True,
        ),
        # Agreement with the map of the same system trained again: from another seed, on other folds, or as another
        # member of an ensemble, which differs in both.
        *(
            Trial(
                f"{need}s",
                "stability",
                True,
                _agreement_with(f"{need}s"),
                costly=True,
                needs=need,
            )
            for need in ("seed", "fold", "member")
        ),
    )
}
# What is ranked, by family; without the mass itself, which is in the excess mass.
FAMILIES = {
    family: tuple(t.name for t in TRIALS.values() if t.family == family and t.name != "mass")
    for family in ("localisation", "faithfulness", "sanity", "stability")
}
FULLEST = 0.9  # a key that fills more leaves no elsewhere: one stray sample would decide


def relevance(maps: NDArray[np.floating]) -> Array:
    """Positive part of maps (rows, ...), flattened to (rows, n), one where a map has none; its largest value is 1.

    Raises
    ------
    ValueError
        when a map is not finite.
    """
    m = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    if not np.isfinite(m).all():
        raise ValueError("a map holds NaN or infinity: look for the record that made it")
    m = m.clip(min=0)
    top = m.max(axis=1, keepdims=True)
    # Subnormal numbers would lose their ratios in the division below.
    silent = top < np.finfo(np.float64).tiny
    return np.where(silent, 1.0, m / np.where(silent, 1, top))


# --- localisation ----------------------------------------------------------------------------------------------------


def localisation(maps: NDArray[np.floating], key: NDArray[np.bool_]) -> dict[str, Array]:
    """Does the map lie where the evidence is? Name → (rows,), NaN where a key is empty or over nine tenths of all.

    - ``mass``: share of the relevance that is inside (Quantus: relevance mass accuracy).
    - ``excess mass``: (mass − share of time inside) / (1 − that share): 0 by chance, 1 at best, whatever the class.
    - ``pointing``: is the largest value inside (Zhang et al. 2018)? Of several equal ones, the share of them.
    - ``AUC``, ``AP``: do values inside rank above those outside: area under the ROC curve, average precision.
    - ``top-k``: share inside of the k largest values, k the size of the key (Quantus: relevance rank accuracy).
    """
    m = relevance(maps)
    inside = np.asarray(key, dtype=bool).reshape(len(m), -1)
    if inside.shape != m.shape:
        raise ValueError(f"maps {np.shape(maps)} and key {np.shape(key)} must have one shape")
    size = inside.sum(axis=1)
    mass, share = (m * inside).sum(axis=1) / m.sum(axis=1), size / m.shape[1]
    largest = m == 1
    pointing = (largest & inside).sum(axis=1) / largest.sum(axis=1)
    defined = (size > 0) & (share <= FULLEST)
    k_th = -np.sort(-m, axis=1)[np.arange(len(m)), np.maximum(size - 1, 0)][:, None]
    above, level = m > k_th, m == k_th
    # Of values equal to the last that counts, as many as fit, taken at random.
    fits = (size - above.sum(axis=1)) / level.sum(axis=1)
    top = ((above & inside).sum(axis=1) + (level & inside).sum(axis=1) * fits) / np.maximum(size, 1)
    excess = (mass - share) / np.where(defined, 1 - share, 1)
    found = (mass, excess, pointing, metrics.auroc(inside.T, m.T), metrics.auprc(inside.T, m.T), top)
    return {name: np.where(defined, v, np.nan) for name, v in zip(LOCALISATION, found, strict=True)}


def chance(key: NDArray[np.bool_]) -> dict[str, Array]:
    """What ``localisation`` gives on average to a map moved to a random time, (rows,) each (AP: to a level map)."""
    inside = np.asarray(key, dtype=bool).reshape(len(key), -1)
    share = inside.mean(axis=1)
    value = {"excess mass": np.zeros_like(share), "AUC": np.full_like(share, 0.5)}
    defined = (share > 0) & (share <= FULLEST)
    return {name: np.where(defined, value.get(name, share), np.nan) for name in LOCALISATION}


def rank_among_shifts(maps: NDArray[np.floating], key: NDArray[np.bool_]) -> Array:
    """Share of all circular shifts of each map (rows, samples) that have less of their mass inside: (rows,).

    Of a map that does not know where the evidence is, any share is as likely as any other: 0.95 and above is what one
    in twenty of them has (fewer, where shifts tie).
    """
    m = relevance(maps)
    spectrum = np.fft.rfft(m, axis=1) * np.conj(np.fft.rfft(np.asarray(key, dtype=float), axis=1))
    inside = np.fft.irfft(spectrum, n=m.shape[1], axis=1)
    return (inside < inside[:, :1] - 1e-9 * m.sum(axis=1, keepdims=True)).mean(axis=1)


def tolerant(key: NDArray[np.bool_], samples: int) -> NDArray[np.bool_]:
    """The key (..., time) with every interval longer by ``samples`` on either side, for maps of coarse cells."""
    shape = (1,) * (key.ndim - 1) + (2 * samples + 1,)
    return ndimage.binary_dilation(key, np.ones(shape, dtype=bool))


# --- stability and complexity ----------------------------------------------------------------------------------------


def agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """Pearson correlation of the positive parts of two sets of maps by row; 0 where one is level, NaN where both."""
    a, b = (m - m.mean(axis=1, keepdims=True) for m in (relevance(a), relevance(b)))
    of_a, of_b = (a**2).sum(axis=1), (b**2).sum(axis=1)
    norm = np.sqrt(of_a * of_b)
    value = np.where(norm > 1e-12, (a * b).sum(axis=1) / np.where(norm > 1e-12, norm, 1), 0)
    return np.where((of_a <= 1e-12) & (of_b <= 1e-12), np.nan, value)


def gini(maps: NDArray[np.floating]) -> Array:
    """Gini coefficient of the relevance of each row: 0 level, nearly 1 all in one sample (Chalasani et al. 2020)."""
    m = np.sort(relevance(maps), axis=1)
    n = m.shape[1]
    return ((2 * np.arange(1, n + 1) - n - 1) * m).sum(axis=1) / (n * m.sum(axis=1))


def entropy(maps: NDArray[np.floating]) -> Array:
    """Entropy of each row's relevance over a level map's: 1 level, 0 all in one sample (Bhatt et al. 2020)."""
    m = relevance(maps)
    p = m / m.sum(axis=1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1) / np.log(m.shape[1])


# --- intervals -------------------------------------------------------------------------------------------------------


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over rows of (rows, columns), NaN left out, NaN where nothing is left."""
    there = (weights @ ~np.isnan(values)).astype(float)
    return np.divide(weights @ np.nan_to_num(values), there, out=np.full_like(there, np.nan), where=there > 0)


def mean_interval(
    values: NDArray[np.floating],
    patients: Sequence | NDArray,
    *,
    repeats: int = 1000,
    seed: int = 0,
    multinomial: bool = False,
) -> metrics.Interval:
    """Mean over rows of (rows, columns) with a 95 % bootstrap interval over patients, NaN left out.

    ``multinomial`` is that of ``metrics.resamples``.
    """
    values = np.asarray(values, dtype=float)
    ones = np.ones(len(values))
    return metrics.bootstrap_interval(
        lambda _, v, weights: _mean(v, weights), ones, values, patients, repeats, seed, multinomial=multinomial
    )


def summary(
    scores: pd.DataFrame,
    classes: Sequence[str] | NDArray[np.str_],
    patients: Sequence | NDArray,
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Tidy table of means: the levels of the columns, class, value, low, high, n.

    Parameters
    ----------
    scores
        One row an explanation, one column a score; the columns' levels (system, method, trial …) become columns.
    classes
        Class that each row explains. The mean over all classes (class empty) is the mean of the classes' means, so
        that a common class does not outweigh a rare one.
    patients
        Of each row.
    """
    values, labels = scores.to_numpy(dtype=float), np.asarray(classes)
    names, indicator = _by_class(labels)

    def means(_: np.ndarray, v: np.ndarray, weights: np.ndarray) -> np.ndarray:
        by_class = _class_means(v, weights, indicator)
        return np.concatenate([metrics.class_mean(by_class)[..., None], by_class], axis=-1)

    interval = metrics.bootstrap_interval(means, np.ones(len(values)), values, patients, repeats, seed)
    n = [(~np.isnan(values)).sum(axis=0), *((~np.isnan(values[i])).sum(axis=0) for i in indicator)]
    index = scores.columns.to_frame(index=False)
    tables = [
        index.assign(**{"class": name, **{k: getattr(interval, k)[:, i] for k in interval._fields}, "n": n[i]})
        for i, name in enumerate(["", *names])
    ]
    return pd.concat(tables, ignore_index=True)


def _by_class(labels: NDArray) -> tuple[list[str], NDArray[np.bool_]]:
    """Names of the classes that there are, the nine in their order, then others as they come; (classes, rows)."""
    names = [c for c in dict.fromkeys([*CLASSES, *map(str, labels)]) if (labels == c).any()]
    return names, np.stack([labels == c for c in names])


def _class_means(values: Array, weights: Array, indicator: NDArray[np.bool_]) -> Array:
    """Means (..., columns, classes) of (rows, columns) over the rows of each class."""
    return np.stack([_mean(values[i], weights[..., i]) for i in indicator], axis=-1)


# Classes whose evidence is of one kind. NSR stands apart: its key is nearly everything, and says little.
GROUPS = {
    "": tuple(c for c in CLASSES if c != "NSR"),
    "waves": ("LBBB", "RBBB", "PVC", "PAC"),
    "segments": ("STD", "STE"),
    "rhythm and absence": ("AF", "I-AVB"),
}


def over_trainings(
    scores: Sequence[pd.DataFrame],
    classes: Sequence[str] | NDArray[np.str_],
    patients: Sequence | NDArray,
    *,
    level: float = 0.95,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Tidy table of means over several trainings of one system, whose intervals know patients and trainings.

    Parameters
    ----------
    scores
        Of each training: one row an explanation, the same in all, one column a score.
    classes, patients
        Of each row.
    level
        Of the intervals; several questions in a family ask for more than 0.95.

    Returns
    -------
    DataFrame
        The levels of the columns, class (one, or one of ``GROUPS``, whose mean is that of its classes), value, low,
        high, p (of no difference from 0), n (explanations) and trainings. One training alone has an interval over
        patients, and no p.
    """
    values, labels = np.stack([one.to_numpy(dtype=float) for one in scores]), np.asarray(classes)
    names, indicator = _by_class(labels)
    members = {group: [names.index(c) for c in some if c in names] for group, some in GROUPS.items()}
    members = {group: some for group, some in members.items() if some}

    def means(v: Array, weights: Array) -> Array:
        by_class = _class_means(v, weights, indicator)
        groups = [metrics.class_mean(by_class[..., some]) for some in members.values()]
        return np.concatenate([np.stack(groups, axis=-1), by_class], axis=-1)

    ones, number = np.ones(values.shape[1]), len(set(map(str, patients)))
    of_each = np.stack([means(v, ones) for v in values])
    # What is not defined for an explanation is so in every training.
    together = values.mean(axis=0)
    drawn = np.concatenate([means(together, w) for w in metrics.resamples(patients, len(ones), repeats, seed)])
    if len(values) > 1:
        found = metrics.interval_over_trainings(of_each, drawn, number, level)
    else:
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found = metrics.Difference(of_each[0], low, high, np.full_like(low, np.nan))
    there = ~np.isnan(together)
    n = [there[indicator[some].any(axis=0)].sum(axis=0) for some in members.values()]
    n += [there[i].sum(axis=0) for i in indicator]
    index = scores[0].columns.to_frame(index=False)
    tables = [
        index.assign(
            **{
                "class": name,
                **{k: getattr(found, k)[:, i] for k in found._fields},
                "n": n[i],
                "trainings": len(values),
            }
        )
        for i, name in enumerate([*members, *names])
    ]
    return pd.concat(tables, ignore_index=True)
