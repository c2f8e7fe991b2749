"""How good are the answers: the challenges' own scores, the usual multi-label metrics, intervals and paired tests.

Throughout, ``targets`` and ``predictions`` are booleans and ``scores`` numbers, all (records, classes). ``weights``
says how often each record counts: (records,), or (repeats, records) for many resamples at once, which puts ``repeats``
in front of the result's shape. That is what makes a thousand bootstrap repeats cheap; scikit-learn, with which the
tests compare, takes one set of weights at a time. A metric that is undefined for a class (AUROC without positives,
say) is NaN there, and a mean over classes is over the defined ones.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

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


def _checked(
    targets: np.ndarray, values: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same arrays, of equal shape (records, classes) and without NaN, and weights of 1 where none are given."""
    targets, values = np.asarray(targets).astype(bool), np.asarray(values)
    if targets.ndim != 2 or targets.shape != values.shape:
        raise ValueError(f"targets {targets.shape} and answers {values.shape} must both be (records, classes)")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity: look for the records that produced them")
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, float)
    if weights.shape[-1] != len(targets):
        raise ValueError(f"weights {weights.shape} must end in the number of records, {len(targets)}")
    return targets, values, weights


# --- decisions -------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """True and false positives and negatives, each (..., classes)."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def counts(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> Counts:
    """Weighted counts per class."""
    targets, predictions, weights = _checked(targets, np.asarray(predictions).astype(bool), weights)
    cells = (targets & predictions, ~targets & predictions, targets & ~predictions, ~targets & ~predictions)
    return Counts(*(weights @ cell.astype(float) for cell in cells))


def f_beta(counts: Counts, beta: float = 1) -> np.ndarray:
    """F_β = (1+β²)·tp / ((1+β²)·tp + fp + β²·fn) per class; NaN for a class neither present nor predicted."""
    gain = (1 + beta**2) * counts.tp
    return _ratio(gain, gain + counts.fp + beta**2 * counts.fn)


def g_beta(counts: Counts, beta: float = 2) -> np.ndarray:
    """G_β = tp / (tp + fp + β·fn) per class (Challenge 2020, unofficial phase); NaN as for `f_beta`."""
    return _ratio(counts.tp, counts.tp + counts.fp + beta * counts.fn)


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


def _label_shared(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Record weights divided by the record's number of labels (by 1 where it has none), as Challenge 2020 counts."""
    return (1.0 if weights is None else np.asarray(weights)) / np.maximum(np.asarray(targets).sum(axis=1), 1)


def f2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Challenge 2020's F2 of each class: a record counts 1 / (its number of labels) for every class."""
    return f_beta(counts(targets, predictions, _label_shared(targets, weights)), 2)


def g2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Challenge 2020's G2 of each class, counted as `f2`."""
    return g_beta(counts(targets, predictions, _label_shared(targets, weights)), 2)


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
    targets, predictions, weights = _checked(targets, np.asarray(predictions).astype(bool), weights)
    labels = targets.sum(axis=1)
    counted = {"all": labels >= 0, "single": labels == 1, "multi": labels > 1}[records]
    right = (targets == predictions).all(axis=1)
    return _ratio(weights @ (counted & right).astype(float), weights @ counted.astype(float))


# --- scores ----------------------------------------------------------------------------------------------------------


def _ranked(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per class, the weight of positives and of negatives at each distinct score, ascending: (..., distinct) each."""
    for target, score in zip(targets.T, scores.T, strict=True):
        order = np.argsort(score, kind="stable")
        starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
        weight = weights[..., order]
        positive, negative = weight * target[order], weight * ~target[order]
        if len(starts) < len(order):
            positive, negative = (np.add.reduceat(part, starts, axis=-1) for part in (positive, negative))
        yield positive, negative


def auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of each class, (..., classes): P(positive above negative) + P(tie) / 2.

    NaN for a class without positives or without negatives.
    """
    areas = []
    for positive, negative in _ranked(*_checked(targets, scores, weights)):
        below = np.cumsum(negative, axis=-1) - negative / 2
        pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
        areas.append(_ratio((positive * below).sum(axis=-1), pairs))
    return np.stack(areas, axis=-1)


def auprc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the precision-recall curve of each class as average precision Σ ΔR·P (steps, not trapezia).

    NaN for a class without positives or without negatives.
    """
    areas = []
    for positive, negative in _ranked(*_checked(targets, scores, weights)):
        tp, predicted = (np.cumsum(part[..., ::-1], axis=-1) for part in (positive, positive + negative))
        precision = np.divide(tp, predicted, out=np.zeros_like(tp), where=predicted > 0)
        area = _ratio((positive[..., ::-1] * precision).sum(axis=-1), positive.sum(axis=-1))
        areas.append(np.where(negative.sum(axis=-1) > 0, area, np.nan))
    return np.stack(areas, axis=-1)


def macro_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean AUROC of the classes with positives and negatives."""
    return class_mean(auroc(targets, scores, weights))


def macro_auprc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean AUPRC of the classes with positives and negatives."""
    return class_mean(auprc(targets, scores, weights))


def brier(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Brier score of each class: the mean squared difference of probability and label (Brier 1950)."""
    targets, scores, weights = _checked(targets, scores, weights)
    return weights @ (scores - targets.astype(float)) ** 2 / weights.sum(axis=-1, keepdims=True)


def calibration_error(
    targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> np.ndarray:
    """Expected calibration error of each class: Σ_b (n_b/n)·|mean probability − share of positives in bin b|.

    Bins of equal width on [0, 1] over the class's own probability (Guo 2017, for nine binary units).

    Raises
    ------
    ValueError
        when scores are no probabilities.
    """
    targets, scores, weights = _checked(targets, scores, weights)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"calibration needs probabilities, not {scores.min()} … {scores.max()}: take the sigmoid")
    of_bin = np.minimum((scores * bins).astype(int), bins - 1)[..., None] == np.arange(bins)  # records, classes, bins
    gap = weights @ (of_bin * (scores - targets.astype(float))[..., None]).reshape(len(scores), -1)
    gap = gap.reshape(*weights.shape[:-1], -1, bins)
    return np.abs(gap).sum(axis=-1) / weights.sum(axis=-1, keepdims=True)


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
        thresholds to try; 0, 0.01, … 1 when not given.

    Returns
    -------
    (classes,) thresholds
    """
    targets, scores, _ = _checked(targets, scores, None)
    grid = np.linspace(0, 1, 101) if grid is None else np.unique(grid)
    below = np.empty((2, len(grid), targets.shape[1]))  # positives and negatives under each threshold
    for c, (target, score) in enumerate(zip(targets.T, scores.T, strict=True)):
        for row, chosen in zip(below, (target, ~target), strict=True):
            row[:, c] = np.searchsorted(np.sort(score[chosen]), grid, side="left")
    positives, negatives = targets.sum(axis=0), (~targets).sum(axis=0)
    values = metric(Counts(positives - below[0], negatives - below[1], *below))
    thresholds = np.full(targets.shape[1], 0.5)
    for c in np.flatnonzero((positives > 0) & (negatives > 0)):
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
    targets, predictions, weights = _checked(targets, np.asarray(predictions).astype(bool), weights)

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
    targets, scores, _ = _checked(targets, scores, None)
    cells = counts(targets, predictions, _label_shared(targets, None))
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
        when none of the codes is scored.
    """
    classes = list(CHALLENGE_2020_MERGED)
    if not CHALLENGE_2020.keys() & set(codes):
        raise ValueError(f"Challenge 2020 scores none of {list(codes)[:3]} …: give SNOMED CT's numbers, as text")
    targets, predictions, scores = (np.asarray(table) for table in (targets, predictions, scores))
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
        (records, up to 3) class numbers from 0 in the order of ``REFERENCE.csv``, −1 where there is none.
    predictions
        (records,) class numbers.
    classes
        how many there are.
    """
    references, predictions = np.asarray(references), np.asarray(predictions)
    if references.ndim != 2 or predictions.shape != references.shape[:1]:
        raise ValueError(f"references {references.shape} must be (records, labels), predictions one for each")
    right = (references == predictions[:, None]).any(axis=1)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (np.where(right, predictions, references[:, 0]), predictions), 1)
    return _ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


# --- how sure are we -------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A value and its confidence limits: numbers, or (classes,) each."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Difference(NamedTuple):
    """A difference, its confidence limits, and the two-sided p-value of no difference."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


class McNemar(NamedTuple):
    """Records that only a, and only b, has right, and the exact two-sided p-value of no difference."""

    only_a: int
    only_b: int
    p: float


def _resamples(groups: Sequence | np.ndarray, records: int, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Weights (some repeats, records) of as many groups drawn with replacement as there are."""
    if len(groups) != records:
        raise ValueError(f"{len(groups)} groups for {records} records: give the patient of every record")
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError("a bootstrap needs at least two groups (patients)")
    rng = np.random.default_rng(seed)
    most = max(1, 2**21 // len(group))  # 16 MB of weights at a time: near the caches, whatever the cohort
    for start in range(0, repeats, most):
        some = min(most, repeats - start)
        drawn = rng.integers(len(names), size=(some, len(names))) + np.arange(some)[:, None] * len(names)
        times = np.bincount(drawn.ravel(), minlength=some * len(names)).reshape(some, len(names))
        yield times.astype(float)[:, group]


def _limits(samples: np.ndarray, level: float) -> np.ndarray:
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
    """
    resamples = _resamples(groups, len(targets), repeats, seed)
    samples = np.concatenate([metric(targets, scores, w) for w in resamples])
    return Interval(metric(targets, scores, np.ones(len(targets))), *_limits(samples, level))


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
    resamples = _resamples(groups, len(targets), repeats, seed)
    samples = np.concatenate([metric(targets, scores_a, w) - metric(targets, scores_b, w) for w in resamples])
    once = np.ones(len(targets))
    value = metric(targets, scores_a, once) - metric(targets, scores_b, once)
    tail = 1 + np.minimum((samples <= 0).sum(axis=0), (samples >= 0).sum(axis=0))
    p = np.where(np.isnan(value), np.nan, np.minimum(1, 2 * tail / (1 + (~np.isnan(samples)).sum(axis=0))))[()]
    return Difference(value, *_limits(samples, level), p)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Exact McNemar test: of the records that one of two systems has right, is it as often the one as the other?

    Parameters
    ----------
    right_a, right_b
        (records,) booleans: does the system have the record right. Records are taken as independent: one a patient.
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
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
    """One system on one cohort as a tidy table: metric, class, value, low, high, n.

    ``class`` is empty for the mean over the defined classes or for the whole records. ``n`` is the number of records
    behind a row: for a class its positive records, for the exact match of single- or multi-label records these.
    Limits are those of `bootstrap_interval`; all rows share their resamples.
    """
    targets = np.asarray(targets).astype(bool)
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
