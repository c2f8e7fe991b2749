"""How good are the answers: the challenges' own scores, the usual multi-label metrics, intervals and paired tests.

Throughout, ``targets`` and ``predictions`` are booleans (or exactly 0 and 1) and ``scores`` numbers, all (records,
classes). ``weights`` says how often each record counts: (records,), or (repeats, records) for many resamples at once,
which puts ``repeats`` in front of the result's shape. That is what makes a thousand bootstrap repeats cheap;
scikit-learn, with which the tests compare, takes one set of weights at a time. A metric that is undefined for a class
(AUROC without positives, say) is NaN there, and a mean over classes is over the defined ones.

Whatever is something else raises a ValueError that names the argument: a probability where a call belongs, a missing
or unknown label, scores that are not finite, shapes that do not agree.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as students_t

from ecgstudy.data.labels import CHALLENGE_2020, CHALLENGE_2020_EQUIVALENT, CHALLENGE_2020_MERGED, CLASSES

REWARDS_FILE = Path(__file__).parent / "data" / "challenge2020_weights.csv"
NSR_CODE = "426783006"
# The nine CLASSES as Challenge 2020 codes them; it scores neither STD nor STE.
CHALLENGE_CODES = (
    NSR_CODE,
    "164889003",
    "270492004",
    "164909002",
    "59118001",
    "284470004",
    "427172004",
    None,
    None,
)

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)[()]


def class_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, of the classes that are defined: (..., classes) to (...); NaN where none is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))


# --- what a metric takes ---------------------------------------------------------------------------------------------

# A mean of probabilities may be above 1 by its own rounding.
_ROUNDING = 1e-6
_CALLS = "give calls, true or false (of probabilities: those at or above a threshold)"
_LABELS = "give labels, true or false, and leave out records whose label is not known"


def _array(name: str, values: Any) -> np.ndarray:
    """Numbers or booleans as an array; an error for what has gaps or is neither."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors that are not on the CPU
        raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from None
    if np.ma.is_masked(values):
        raise ValueError(f"{name} have masked values: leave those records out")
    if array.dtype.kind == "O" and all(isinstance(v, (Real, np.bool_)) for v in array.flat):
        array = array.astype(float)  # what a table of mixed columns gives
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers or booleans without gaps, not {array.dtype}")
    return array


def _refuse(name: str, values: np.ndarray, wrong: np.ndarray, remedy: str) -> None:
    """Raise if any value is wrong: which, where, and what would be right."""
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(f"{name} hold {values[place]} at {list(place)}: {remedy}")


def _binary(name: str, values: Any, remedy: str = _CALLS) -> np.ndarray:
    """Booleans of booleans or of exact 0 and 1."""
    array = _array(name, values)
    if array.dtype.kind != "b":
        _refuse(name, array, (array != 0) & (array != 1), remedy)
    return array.astype(bool, copy=False)


def _finite(name: str, values: Any) -> np.ndarray:
    array = _array(name, values)
    _refuse(name, array, ~np.isfinite(array), "NaN or infinity; look for the records that produced them")
    return array


def _probabilities(name: str, values: Any) -> np.ndarray:
    array = _finite(name, values)
    _refuse(
        name, array, (array < -_ROUNDING) | (array > 1 + _ROUNDING), "give probabilities, of logits take the sigmoid"
    )
    return array


def _weighted(weights: Any, records: int) -> np.ndarray:
    """Weights (..., records), 1 where none are given."""
    if weights is None:
        return np.ones(records)
    weights = _array("weights", weights)
    if weights.ndim < 1 or weights.shape[-1] != records:
        raise ValueError(f"weights {weights.shape} must end in the number of records, {records}")
    # Minimum and maximum, which are NaN where one is: masks of a thousand resamples would cost as much as a metric.
    if weights.size and not (weights.min() >= 0 and weights.max() < np.inf):
        raise ValueError("weights must be finite and not negative: they say how often a record counts")
    return weights.astype(float, copy=False)


def _alike(**arrays: np.ndarray) -> None:
    """Require arrays of one shape (records, classes)."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2 or not next(iter(shapes))[1]:
        said = " and ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{said} must both be (records, classes)")


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _decided(targets: Any, predictions: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, predictions and weights of a metric of calls."""
    targets, predictions = _binary("targets", targets, _LABELS), _binary("predictions", predictions)
    _alike(targets=targets, predictions=predictions)
    return targets, predictions, _weighted(weights, len(targets))


def _scored(
    targets: Any, scores: Any, weights: Any, scored: Callable[[str, Any], np.ndarray] = _finite
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, scores and weights of a metric of scores."""
    targets, scores = _binary("targets", targets, _LABELS), scored("scores", scores)
    _alike(targets=targets, scores=scores)
    return targets, scores, _weighted(weights, len(targets))


# --- decisions -------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """True and false positives and negatives, each (..., classes)."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def counts(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> Counts:
    """Weighted counts per class."""
    targets, predictions, weights = _decided(targets, predictions, weights)
    cells = (targets & predictions, ~targets & predictions, targets & ~predictions, ~targets & ~predictions)
    return Counts(*(weights @ cell.astype(float) for cell in cells))


def f_beta(counts: Counts, beta: float = 1) -> np.ndarray:
    """F_β = (1+β²)·tp / ((1+β²)·tp + fp + β²·fn) per class; NaN for a class neither present nor predicted."""
    _beta(counts, beta)
    gain = (1 + beta**2) * counts.tp
    return _ratio(gain, gain + counts.fp + beta**2 * counts.fn)


def g_beta(counts: Counts, beta: float = 2) -> np.ndarray:
    """G_β = tp / (tp + fp + β·fn) per class (Challenge 2020, unofficial phase); NaN as for `f_beta`."""
    _beta(counts, beta)
    return _ratio(counts.tp, counts.tp + counts.fp + beta * counts.fn)


def _beta(counts: Any, beta: Any) -> None:
    if not isinstance(counts, Counts):
        raise ValueError("counts must be what `counts` gives of targets and predictions")
    if not isinstance(beta, Real) or not 0 <= float(beta) < np.inf:
        raise ValueError(f"beta must be a finite number and not negative, not {beta!r}")


def f2_g2(counts: Counts) -> np.ndarray:
    """√(F2·G2) per class: what BUTTeam's thresholds maximise."""
    return np.sqrt(f_beta(counts, 2) * g_beta(counts, 2))


def f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of each class, (..., classes)."""
    return f_beta(counts(targets, predictions, weights))


def macro_f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean F1 of the classes that are present or predicted."""
    return class_mean(f1(targets, predictions, weights))


def micro_f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of all classes' decisions thrown together (what xECGNet calls F1)."""
    return f_beta(Counts(*(cell.sum(axis=-1) for cell in counts(targets, predictions, weights))))


def _shared_counts(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> Counts:
    """Counts as Challenge 2020 has them: a record's weight divided by its number of labels (by 1 where it has none)."""
    targets, predictions, weights = _decided(targets, predictions, weights)
    return counts(targets, predictions, weights / np.maximum(targets.sum(axis=1), 1))


def f2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Challenge 2020's F2 of each class: a record counts 1 / (its number of labels) for every class."""
    return f_beta(_shared_counts(targets, predictions, weights), 2)


def g2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Challenge 2020's G2 of each class, counted as `f2`."""
    return g_beta(_shared_counts(targets, predictions, weights), 2)


def geometric_mean(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """√(macro-F2 · macro-G2), the unofficial phase's ranking score, over the classes present or predicted."""
    return np.sqrt(class_mean(f2(targets, predictions, weights)) * class_mean(g2(targets, predictions, weights)))


def exact_match(
    targets: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None = None,
    records: Literal["all", "single", "multi"] = "all",
) -> np.ndarray:
    """Share of the records whose every class is right: of all, of those with one label, or with two and more.

    xECGNet's "multilabel subset accuracy" is that of the multi-label records.
    """
    targets, predictions, weights = _decided(targets, predictions, weights)
    labels = targets.sum(axis=1)
    those = {"all": labels >= 0, "single": labels == 1, "multi": labels > 1}
    if records not in those:
        raise ValueError(f"records must be one of {', '.join(those)}, not {records!r}")
    counted = those[records]
    right = (targets == predictions).all(axis=1)
    return _ratio(weights @ (counted & right).astype(float), weights @ counted.astype(float))


# --- scores ----------------------------------------------------------------------------------------------------------


class _Ascending(NamedTuple):
    """Records of one kind in the order of their scores (n,), and the weight of the first none, one, … n: (n + 1, ...).

    Weights are (records, ...), since whole rows are copied and added in a third of the time that columns take.
    """

    scores: np.ndarray
    summed: np.ndarray

    @classmethod
    def of(cls, chosen: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> "_Ascending":
        order = np.flatnonzero(chosen)
        order = order[np.argsort(scores[order], kind="stable")]
        summed = np.empty((len(order) + 1, *weights.shape[1:]))
        summed[0] = 0
        np.cumsum(weights[order], axis=0, out=summed[1:])
        return cls(scores[order], summed)

    def below(self, scores: np.ndarray, *, ties: bool = False) -> np.ndarray:
        """Weight of those with a lower score than each given one, or with the same."""
        return self.summed[np.searchsorted(self.scores, scores, side="right" if ties else "left")]


def _by_record(weights: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(weights, -1, 0))


def auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of each class, (..., classes): P(positive above negative) + P(tie) / 2.

    NaN for a class without positives or without negatives.
    """
    targets, scores, weights = _scored(targets, scores, weights)
    weights, areas = _by_record(weights), []
    for target, score in zip(targets.T, scores.T, strict=True):
        negative, positive = _Ascending.of(~target, score, weights), weights[target]
        below = negative.below(score[target])
        below += negative.below(score[target], ties=True)
        below *= positive
        areas.append(_ratio(below.sum(axis=0) / 2, positive.sum(axis=0) * negative.summed[-1]))
    return np.stack(areas, axis=-1)


def auroc_within(groups: Sequence | np.ndarray) -> Metric:
    """AUROC of each class that compares a record with others of its group (source) alone.

    A pair of a positive and a negative counts if both are of one group, and all such pairs count alike. So neither the
    groups' shares of a class nor the level of whoever answered a group (another network, say) changes it.

    Parameters
    ----------
    groups
        (records,) group of each record.
    """
    groups = np.asarray(groups)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def within(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        targets, scores, weights = _scored(targets, scores, weights)
        if groups.shape != (len(targets),):
            raise ValueError(f"groups {groups.shape} for {len(targets)} records: give the group of every record")
        above, pairs = np.zeros(()), np.zeros(())
        for inside in members:
            target, weight = targets[inside].astype(float), weights[..., inside]
            here = (weight @ target) * (weight @ (1 - target))
            above = above + np.where(here > 0, np.nan_to_num(auroc(targets[inside], scores[inside], weight)) * here, 0)
            pairs = pairs + here
        return _ratio(above, pairs)

    return within


def auprc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the precision-recall curve of each class as average precision Σ ΔR·P (steps, not trapezia).

    NaN for a class without positives or without negatives.
    """
    targets, scores, weights = _scored(targets, scores, weights)
    weights, areas = _by_record(weights), []
    for target, score in zip(targets.T, scores.T, strict=True):
        positive, negative = (_Ascending.of(kind, score, weights) for kind in (target, ~target))
        # What is called positive at the score of each positive: all that is there or above.
        tp = positive.summed[-1] - positive.below(score[target])
        called = tp + (negative.summed[-1] - negative.below(score[target]))
        precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
        precision *= weights[target]
        area = _ratio(precision.sum(axis=0), positive.summed[-1])
        areas.append(np.where(negative.summed[-1] > 0, area, np.nan))
    return np.stack(areas, axis=-1)


def macro_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean AUROC of the classes with positives and negatives."""
    return class_mean(auroc(targets, scores, weights))


def macro_auprc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean AUPRC of the classes with positives and negatives."""
    return class_mean(auprc(targets, scores, weights))


def brier(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Brier score of each class: the mean squared difference of probability and label (Brier 1950)."""
    targets, scores, weights = _scored(targets, scores, weights, _probabilities)
    return _ratio(weights @ (scores - targets.astype(float)) ** 2, weights.sum(axis=-1, keepdims=True))


def calibration_error(
    targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> np.ndarray:
    """Expected calibration error of each class: Σ_b (n_b/n)·|mean probability − share of positives in bin b|.

    Bins of equal width on [0, 1] over the class's own probability (Guo 2017, for nine binary units).
    """
    targets, scores, weights = _scored(targets, scores, weights, _probabilities)
    _whole("bins", bins, 1)
    of_bin = np.minimum((scores * bins).astype(int), bins - 1)[..., None] == np.arange(bins)  # records, classes, bins
    gap = weights @ (of_bin * (scores - targets.astype(float))[..., None]).reshape(len(scores), -1)
    gap = gap.reshape(*weights.shape[:-1], -1, bins)
    return _ratio(np.abs(gap).sum(axis=-1), weights.sum(axis=-1, keepdims=True))


def best_thresholds(
    targets: np.ndarray,
    scores: np.ndarray,
    metric: Callable[[Counts], np.ndarray] = f_beta,
    grid: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Threshold of each class that maximises ``metric`` on these (validation) records; ``scores >= threshold`` decides.

    Of several equal maxima the middle one, which keeps a distance to the neighbouring scores. A class that has no
    positives or no negatives here teaches nothing and keeps 0.5.

    Parameters
    ----------
    targets, scores
        (records, classes).
    metric
        of the `Counts`, per class: `f_beta`, `f2_g2`, …
    grid
        thresholds to try; 0, 0.01, … 1 when not given, which needs scores that are probabilities.

    Returns
    -------
    (classes,) thresholds
    """
    targets, scores, _ = _scored(targets, scores, None, _probabilities if grid is None else _finite)
    grid = np.linspace(0, 1, 101) if grid is None else np.unique(_finite("grid", grid))
    if not grid.size:
        raise ValueError("grid has no thresholds to try")
    below = np.empty((2, len(grid), targets.shape[1]))  # positives and negatives under each threshold
    for c, (target, score) in enumerate(zip(targets.T, scores.T, strict=True)):
        for row, chosen in zip(below, (target, ~target), strict=True):
            row[:, c] = np.searchsorted(np.sort(score[chosen]), grid, side="left")
    positives, negatives = targets.sum(axis=0), (~targets).sum(axis=0)
    values = metric(Counts(positives - below[0], negatives - below[1], *below))
    thresholds = np.full(targets.shape[1], 0.5)
    for c in np.flatnonzero((positives > 0) & (negatives > 0)).tolist():
        best = np.flatnonzero(values[:, c] == np.nanmax(values[:, c]))
        thresholds[c] = grid[best[len(best) // 2]]
    return thresholds


# --- the challenges' own scores --------------------------------------------------------------------------------------


def challenge_rewards(codes: Sequence[str | None]) -> np.ndarray:
    """Challenge 2020's reward for answering one diagnosis where another is true: (codes, codes), symmetric, 1 = right.

    From ``weights.csv`` of github.com/physionetchallenges/evaluation-2020 (BSD-2-Clause), kept as package data.

    Parameters
    ----------
    codes
        SNOMED CT codes, of the 27 that the challenge scores. ``None`` stands for a class that it does not score (STD,
        STE); our choice: such a class is rewarded only where it is true.

    Raises
    ------
    ValueError
        naming the codes that the challenge does not score.
    """
    table = pd.read_csv(REWARDS_FILE, index_col=0).rename(index=str)
    unscored = [code for code in codes if code is not None and code not in table.columns]
    if unscored:
        raise ValueError(f"Challenge 2020 does not score {unscored}: give None for such classes")
    rewards = table.reindex(index=codes, columns=codes, fill_value=0).to_numpy(float)
    np.fill_diagonal(rewards, 1)
    return rewards


def challenge_metric(
    targets: np.ndarray, predictions: np.ndarray, rewards: np.ndarray, normal: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Challenge 2020's metric: 1 for all right, 0 for always answering the normal class; it can be negative.

    A record with labels x and answers y earns Σ_jk w_jk·x_j·y_k / max(|x ∪ y|, 1); the sum over records is scaled
    between that of always answering ``normal`` and that of the truth (Perez Alday 2020); 0 where these two agree.

    Parameters
    ----------
    targets, predictions
        (records, classes).
    rewards
        (classes, classes), see `challenge_rewards`.
    normal
        column of normal sinus rhythm.
    weights
        (records,) or (repeats, records).
    """
    targets, predictions, weights = _decided(targets, predictions, weights)
    rewards, classes = _finite("rewards", rewards), targets.shape[1]
    if rewards.shape != (classes, classes):
        raise ValueError(f"rewards {rewards.shape} must be (classes, classes), here {classes} × {classes}")
    if _whole("normal", normal, 0) >= classes:
        raise ValueError(f"normal must be the column of a class, 0 … {classes - 1}, not {normal}")

    def earned(answers: np.ndarray) -> np.ndarray:
        return weights @ (((targets @ rewards) * answers).sum(axis=1) / np.maximum((targets | answers).sum(axis=1), 1))

    always_normal = np.zeros_like(targets)
    always_normal[:, normal] = True
    nothing = earned(always_normal)
    return np.nan_to_num(_ratio(earned(predictions) - nothing, earned(targets) - nothing))


def challenge2020_unofficial(targets: np.ndarray, predictions: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Every number of the unofficial phase's scorer (evaluation-2020 at b9f51b5, February 2020).

    Accuracy and F-measures count a record 1 / (its number of labels) per class; where the script divides by zero (a
    record without labels) ours counts it once. Ratios of nothing are 1, so a class neither present nor predicted has
    F = G = 1. For the areas see `_unofficial_areas`.

    Parameters
    ----------
    targets, predictions, scores
        (records, classes); scores are probabilities.

    Returns
    -------
    dict
        ``accuracy f1 f2 g2 geometric_mean auroc auprc``, means over all classes.
    """
    targets, scores, _ = _scored(targets, scores, None, _probabilities)
    cells = _shared_counts(targets, predictions, None)
    f_1, f_2, g_2 = (np.nan_to_num(v, nan=1).mean() for v in (f_beta(cells), f_beta(cells, 2), g_beta(cells, 2)))
    roc, precision_recall = np.mean([_unofficial_areas(*c) for c in zip(targets.T, scores.T, strict=True)], axis=0)
    numbers = {
        "accuracy": ((cells.tp + cells.tn) / sum(cells)).mean(),
        "f1": f_1,
        "f2": f_2,
        "g2": g_2,
        "geometric_mean": np.sqrt(f_2 * g_2),
        "auroc": roc,
        "auprc": precision_recall,
    }
    return {name: float(number) for name, number in numbers.items()}


def _unofficial_areas(target: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """AUROC and AUPRC of one class (records,) as the unofficial phase's scorer draws the curves.

    They start at threshold 1 and leave out threshold 0: positives scored exactly 1 or 0 add no area. A class without
    positives has none either, for want of any rise in sensitivity.
    """
    thresholds = np.unique(np.append(score, 1))[::-1]
    thresholds = thresholds[thresholds != 0]
    tp, fp = (chosen.sum() - np.searchsorted(np.sort(score[chosen]), thresholds) for chosen in (target, ~target))
    cells = ((tp, target.sum()), ((~target).sum() - fp, (~target).sum()), (tp, tp + fp))
    sensitivity, specificity, precision = (np.nan_to_num(_ratio(*cell), nan=1) for cell in cells)
    rise = np.diff(sensitivity)
    return (rise * (specificity[1:] + specificity[:-1]) / 2).sum(), (rise * precision[1:]).sum()


def challenge2020_official(
    targets: np.ndarray, predictions: np.ndarray, scores: np.ndarray, codes: Sequence[str]
) -> dict[str, float | np.ndarray | list[str]]:
    """Every number of the official phase's scorer (evaluation-2020 at 8ad0242), over its 24 classes.

    Codes that are scored as one diagnosis are merged under the first: positive if any is, the mean of their scores.
    Unscored codes are ignored; scored ones that have no column count as never true and never answered.

    Parameters
    ----------
    targets, predictions, scores
        (records, codes).
    codes
        SNOMED CT codes of the columns.

    Returns
    -------
    dict
        ``auroc auprc accuracy f1 f2 g2 challenge_metric``; ``classes``, the 24 codes, and in their order
        ``auroc_per_class auprc_per_class f1_per_class``.

    Raises
    ------
    ValueError
        when none of the codes is scored, or when they are not one for each column.
    """
    classes = list(CHALLENGE_2020_MERGED)
    targets, scores, _ = _scored(targets, scores, None)
    _, predictions, _ = _decided(targets, predictions, None)
    codes = list(codes)
    if len(codes) != targets.shape[1]:
        raise ValueError(f"codes must name each of the {targets.shape[1]} columns; these are {len(codes)}")
    if not CHALLENGE_2020.keys() & set(codes):
        raise ValueError(f"Challenge 2020 scores none of {codes[:3]} …: give SNOMED CT's numbers, as text")
    merged = [np.zeros((len(targets), len(classes)), dtype) for dtype in (bool, bool, float)]
    for k, code in enumerate(classes):
        columns = [i for i, own in enumerate(codes) if CHALLENGE_2020_EQUIVALENT.get(own, own) == code]
        if columns:
            merged[0][:, k] = targets[:, columns].any(axis=1)
            merged[1][:, k] = predictions[:, columns].any(axis=1)
            merged[2][:, k] = scores[:, columns].mean(axis=1)
    targets, predictions, scores = merged
    # Precision is 1 throughout where all records are positive; the scorer keeps that.
    precision_recall = np.where(targets.all(axis=0), 1, auprc(targets, scores))
    roc, f_1 = auroc(targets, scores), f1(targets, predictions)
    numbers = {
        "auroc": class_mean(roc),
        "auprc": class_mean(precision_recall),
        "accuracy": exact_match(targets, predictions),
        "f1": class_mean(f_1),
        "f2": class_mean(f2(targets, predictions)),
        "g2": class_mean(g2(targets, predictions)),
        "challenge_metric": challenge_metric(targets, predictions, challenge_rewards(classes), classes.index(NSR_CODE)),
    }
    per_class = {"auroc_per_class": roc, "auprc_per_class": precision_recall, "f1_per_class": f_1}
    return {name: float(number) for name, number in numbers.items()} | {"classes": classes} | per_class


def cpsc2018_f1(references: np.ndarray, predictions: np.ndarray, classes: int = 9) -> np.ndarray:
    """CPSC 2018's F1 of each class; their mean is the challenge's score. Not comparable with multi-label F1.

    One answer per record. It is right if it is any of the reference labels, else an error against the first of them.
    F1_c = 2·N_cc / (row sum + column sum) of that confusion matrix; NaN for a class in neither.

    Parameters
    ----------
    references
        (records, up to 3) class numbers from 0 in the order of ``REFERENCE.csv``, −1 where there is none; the first
        is always there.
    predictions
        (records,) class numbers.
    classes
        how many there are.
    """
    _whole("classes", classes, 1)
    references, predictions = _finite("references", references), _finite("predictions", predictions)
    if references.ndim != 2 or not references.shape[1] or predictions.shape != references.shape[:1]:
        raise ValueError(
            f"references {references.shape} must be (records, labels), predictions {predictions.shape} one for each"
        )
    least = np.where(np.arange(references.shape[1]) > 0, -1, 0)  # only further labels may be missing
    for name, numbers, lowest in (("references", references, least), ("predictions", predictions, 0)):
        wrong = (numbers < lowest) | (numbers >= classes) | (numbers != np.floor(numbers))
        _refuse(name, numbers, wrong, f"give class numbers, 0 … {classes - 1}")
    references, predictions = references.astype(np.intp), predictions.astype(np.intp)
    right = (references == predictions[:, None]).any(axis=1)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (np.where(right, predictions, references[:, 0]), predictions), 1)
    return _ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


# --- how sure are we -------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A value and its confidence limits: numbers, or (classes,) each."""

    value: Any
    low: Any
    high: Any


class Difference(NamedTuple):
    """A difference, its confidence limits, and the two-sided p-value of no difference: numbers, or (classes,) each."""

    value: Any
    low: Any
    high: Any
    p: Any


class McNemar(NamedTuple):
    """Records that only a, and only b, has right, and the exact two-sided p-value of no difference."""

    only_a: int
    only_b: int
    p: float


def resamples(
    groups: Sequence | np.ndarray, records: int, repeats: int, seed: int, *, multinomial: bool = False
) -> Iterator[np.ndarray]:
    """Weights (some repeats, records) of as many groups (patients) drawn with replacement as there are.

    ``multinomial`` draws how often each group comes at once, in place of one group after the other: the law is the
    same, what a seed gives is not.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"groups must be (records,), the patient of every record, not {groups.shape}")
    if len(groups) != records:
        raise ValueError(f"{len(groups)} groups for {records} records: give the patient of every record")
    if pd.isna(groups).any():
        raise ValueError("groups have gaps: give the patient of every record, a name of its own where it is not known")
    try:
        names, group = np.unique(groups, return_inverse=True)
    except TypeError:
        raise ValueError("groups must be all of one kind, names or numbers: give the patient of every record") from None
    if len(names) < 2:
        raise ValueError("a bootstrap needs at least two groups (patients)")
    rng = np.random.default_rng(seed)
    most = max(1, 2**21 // len(group))  # 16 MB of weights at a time: near the caches, whatever the cohort
    for start in range(0, repeats, most):
        some = min(most, repeats - start)
        if multinomial:
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=some)
        else:
            drawn = rng.integers(len(names), size=(some, len(names))) + np.arange(some)[:, None] * len(names)
            times = np.bincount(drawn.ravel(), minlength=some * len(names)).reshape(some, len(names))
        yield times.astype(float)[:, group]


class Resampled(NamedTuple):
    """A metric of one answer: of the records as they are, and of each resample of the patients (repeats, ...).

    Several intervals and differences of an answer share it, so that the metric is computed once. ``drawn`` tells the
    resamples: of how many records, from which groups and how they were drawn.
    """

    value: Any
    samples: np.ndarray
    drawn: tuple[str, int, int, bool]

    def interval(self, level: float = 0.95) -> Interval:
        """Percentile limits; a resample in which the metric is undefined does not count towards them."""
        return Interval(self.value, *_limits(self.samples, level))

    def less(self, other: "Resampled", level: float = 0.95) -> Difference:
        """What it is more than another answer's to the same records, resample by resample: see bootstrap_difference.

        Raises
        ------
        ValueError
            when the two were not resampled alike.
        """
        if self.drawn != other.drawn or self.samples.shape != other.samples.shape:
            raise ValueError(
                "a difference is one of the same records and resamples: give both answers the same groups, repeats and "
                "seed, and a metric with as many values"
            )
        value, samples = self.value - other.value, self.samples - other.samples
        tail = 1 + np.minimum((samples <= 0).sum(axis=0), (samples >= 0).sum(axis=0))
        p = np.where(np.isnan(value), np.nan, np.minimum(1, 2 * tail / (1 + (~np.isnan(samples)).sum(axis=0))))[()]
        low, high = _limits(samples, level)
        return Difference(value, low, high, p)


def resampled(
    metric: Metric,
    targets: np.ndarray,
    scores: np.ndarray,
    groups: Sequence | np.ndarray,
    repeats: int = 1000,
    seed: int = 0,
    *,
    multinomial: bool = False,
) -> Resampled:
    """A metric of one answer over all records and in each resample; the same seed draws the same patients.

    Parameters as for `bootstrap_interval`.
    """
    _whole("repeats", repeats, 1)
    _whole("seed", seed, 0)
    drawn = resamples(groups, len(targets), repeats, seed, multinomial=multinomial)
    samples = np.concatenate([metric(targets, scores, weights) for weights in drawn])
    patients = hashlib.sha256("\n".join(map(str, groups)).encode()).hexdigest()
    return Resampled(metric(targets, scores, np.ones(len(targets))), samples, (patients, repeats, seed, multinomial))


def _level(level: float) -> None:
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level!r}")


def _limits(samples: np.ndarray, level: float) -> np.ndarray:
    _level(level)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN")  # a class that is undefined has undefined limits
        return np.nanquantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)


def bootstrap_interval(
    metric: Metric,
    targets: np.ndarray,
    scores: np.ndarray,
    groups: Sequence | np.ndarray,
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    *,
    multinomial: bool = False,
) -> Interval:
    """Percentile bootstrap over groups (patients): all records of a drawn patient come along, as often as drawn.

    A resample in which the metric is undefined (a class without positives) does not count towards its limits.

    Parameters
    ----------
    metric
        called with targets, scores and weights (repeats, records): any metric of this module.
    targets
        (records, classes).
    scores
        (records, classes) scores, or predictions, whichever the metric takes.
    groups
        (records,) patient of each record.
    multinomial
        See `resamples`.
    """
    _level(level)
    return resampled(metric, targets, scores, groups, repeats, seed, multinomial=multinomial).interval(level)


def interval_over_trainings(
    by_training: np.ndarray, resampled: np.ndarray, patients: int, level: float = 0.95
) -> Difference:
    """Interval of a mean over trainings that knows who was tested and how the networks came out; p of its being 0.

    The variance is that between trainings over their number, plus that of the mean over resamples of patients; the
    limits are Student's t, with Satterthwaite's degrees of freedom. Where the same patients differ between trainings,
    that part counts in both, so that the interval is a little too wide rather than too narrow.

    Parameters
    ----------
    by_training
        (trainings, ...): the score of each, from two trainings up.
    resampled
        (repeats, ...): the mean over all trainings, of patients drawn with replacement; NaN where it is undefined.
        Where it always is, so is the interval.
    patients
        How many there are.

    Raises
    ------
    ValueError
        with fewer than two trainings, patients or resamples, none of which tells a variance.
    """
    scores, drawn = _array("by_training", by_training), _array("resampled", resampled)
    if min(len(scores), len(drawn), _whole("patients", patients, 1)) < 2 or scores.shape[1:] != drawn.shape[1:]:
        raise ValueError(
            f"an interval over trainings needs two trainings, patients and resamples or more, of one shape: not "
            f"{scores.shape}, {patients} and {drawn.shape}"
        )
    value = scores.mean(axis=0)
    trained = scores.var(axis=0, ddof=1) / len(scores)
    known = (~np.isnan(drawn)).sum(axis=0) > 1
    tested = np.where(known, np.nanvar(np.where(known, drawn, 0.0), axis=0, ddof=1), np.nan)
    both = trained + tested
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = both**2 / (trained**2 / (len(scores) - 1) + tested**2 / (patients - 1))
        distance = np.abs(value) / np.sqrt(both)
    freedom = np.where(both > 0, freedom, 1)
    half = students_t.ppf((1 + level) / 2, freedom) * np.sqrt(both)
    return Difference(value, value - half, value + half, 2 * students_t.sf(distance, freedom))


def bootstrap_difference(
    metric: Metric,
    targets: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    groups: Sequence | np.ndarray,
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Paired bootstrap of metric(a) − metric(b): both systems are scored on the same resamples of the same records.

    Parameters as for `bootstrap_interval`. p is twice the smaller share of resamples on either side of 0, with one
    added to both counts (Davison & Hinkley 1997, ch. 4).
    """

    def sampled(name: str, scores: np.ndarray) -> Resampled:
        try:
            return resampled(metric, targets, scores, groups, repeats, seed)
        except ValueError as error:
            raise ValueError(re.sub("^(scores|predictions)", name, str(error))) from None

    _level(level)
    return sampled("scores_a", scores_a).less(sampled("scores_b", scores_b), level)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Exact McNemar test: of the records that one of two systems has right, is it as often the one as the other?

    Parameters
    ----------
    right_a, right_b
        (records,) booleans: does the system have the record right. Records are taken as independent: one a patient.
    """
    remedy = "give true or false for each record: is it right?"
    right_a, right_b = _binary("right_a", right_a, remedy), _binary("right_b", right_b, remedy)
    if right_a.ndim != 1 or right_a.shape != right_b.shape:
        raise ValueError(f"the same records for both: {right_a.shape} and {right_b.shape} must be (records,)")
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))


def summary(
    targets: np.ndarray,
    scores: np.ndarray,
    predictions: np.ndarray,
    groups: Sequence | np.ndarray,
    classes: Sequence[str] = CLASSES,
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One system on one cohort as a tidy table of every metric, with confidence limits.

    Parameters
    ----------
    targets
        (records, classes) true or false.
    scores
        (records, classes) probabilities: AUROC, AUPRC, Brier score and calibration error are of these.
    predictions
        (records, classes) true or false, what the system calls at its thresholds: all other metrics are of these.
    groups
        (records,) patient of each record, whose records are resampled together.
    classes
        Names of the columns. The Challenge 2020 metric is there only for ``CLASSES``, whose codes it rewards.
    repeats, seed, level
        As for `bootstrap_interval`: resamples, their seed, and the confidence level. All rows share the resamples.

    Returns
    -------
    Columns metric, class, value, low, high, n. ``class`` is a name for the metric of one class, and empty for its mean
    over the classes in which it is defined or for a metric of whole records. ``n`` is the number of records behind a
    row: for a class its positive records, for the exact match of single- or multi-label records these, else all.

    Raises
    ------
    ValueError
        when shapes differ, or scores are no probabilities or predictions not true or false.
    """
    targets, scores, _ = _scored(targets, scores, None, _probabilities)
    _, predictions, _ = _decided(targets, predictions, None)
    if targets.shape[1:] != (len(classes),):
        raise ValueError(f"targets {targets.shape} do not have the {len(classes)} classes {', '.join(classes)}")
    of_scores = {"AUROC": auroc, "AUPRC": auprc, "Brier score": brier, "calibration error": calibration_error}
    of_predictions = {"F1": f1, "F2": f2, "G2": g2}
    of_records = {
        "micro-F1": micro_f1,
        "geometric mean": geometric_mean,
        "exact match": exact_match,
        "exact match, single-label": lambda t, p, w: exact_match(t, p, w, "single"),
        "exact match, multi-label": lambda t, p, w: exact_match(t, p, w, "multi"),
    }
    if tuple(classes) == CLASSES:
        rewards, normal = challenge_rewards(CHALLENGE_CODES), CLASSES.index("NSR")
        of_records["challenge metric"] = lambda t, p, w: challenge_metric(t, p, rewards, normal, w)

    def every(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        per_class = [metric(targets, scores, weights) for metric in of_scores.values()]
        per_class += [metric(targets, predictions, weights) for metric in of_predictions.values()]
        columns = [part for values in per_class for part in (class_mean(values)[..., None], values)]
        columns += [metric(targets, predictions, weights)[..., None] for metric in of_records.values()]
        return np.concatenate(columns, axis=-1)

    interval = bootstrap_interval(every, targets, scores, groups, repeats, seed, level)
    labels, positives = targets.sum(axis=1), targets.sum(axis=0)
    rows = [
        (metric, name, n)
        for metric in (of_scores | of_predictions)
        for name, n in zip(("", *classes), (len(targets), *positives), strict=True)
    ]
    n_of = {"exact match, single-label": (labels == 1).sum(), "exact match, multi-label": (labels > 1).sum()}
    rows += [(metric, "", n_of.get(metric, len(targets))) for metric in of_records]
    table = pd.DataFrame(rows, columns=["metric", "class", "n"])
    return table.assign(**interval._asdict())[["metric", "class", "value", "low", "high", "n"]]


def verdict(low: float, high: float, border: float = 0, smallest: float = 0) -> str:
    """Answer to "is it more than ``border``?" by an interval.

    ``undecided`` where it holds the border, or is NaN; ``no difference`` where it also lies within ``smallest``, the
    smallest effect that would matter, on either side of the border.
    """
    if low > border:
        return "supported"
    if high < border:
        return "not supported"
    return "no difference" if border - smallest < low and high < border + smallest else "undecided"
