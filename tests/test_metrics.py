import json
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from ecgstudy import metrics
from ecgstudy.data.labels import CHALLENGE_2020, CHALLENGE_2020_EQUIVALENT, CLASSES
from ecgstudy.metrics import (
    CHALLENGE_CODES,
    REWARDS_FILE,
    auprc,
    auroc,
    best_thresholds,
    bootstrap_difference,
    bootstrap_interval,
    brier,
    calibration_error,
    challenge2020_official,
    challenge2020_unofficial,
    challenge_metric,
    challenge_rewards,
    cpsc2018_f1,
    exact_match,
    f1,
    f2,
    f2_g2,
    f_beta,
    g2,
    geometric_mean,
    macro_auprc,
    macro_auroc,
    macro_f1,
    mcnemar,
    micro_f1,
    summary,
)

ORACLES = Path(__file__).parent / "oracles"


def cases(name):
    loaded = json.loads((ORACLES / f"challenge2020_{name}.json").read_text())["cases"]
    return [pytest.param(case, id=case["name"]) for case in loaded]


def random_answers(records=60, seed=0, ties=True):
    """Targets, scores and predictions of nine classes of growing frequency; with ties, scores have one decimal."""
    rng = np.random.default_rng(seed)
    targets = rng.random((records, 9)) < np.linspace(0.1, 0.6, 9)
    scores = 1 / (1 + np.exp(-rng.normal(2 * targets - 1, 1.5)))
    if ties:
        scores = scores.round(1)
    return targets, scores, scores > 0.5


# --- the official scorers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("unofficial"))
def test_unofficial_scorer(case):
    targets, predictions, scores = (np.array(case[key]) for key in ("labels", "binary", "scores"))
    ours = challenge2020_unofficial(targets, predictions, scores)
    assert ours == pytest.approx(case["expected"], abs=1e-9)


@pytest.mark.parametrize("case", cases("official"))
def test_official_scorer(case):
    targets, predictions, scores = official_arrays(case)
    ours = challenge2020_official(targets, predictions, scores, case["codes"])
    assert ours.keys() == case["expected"].keys()
    assert ours.pop("classes") == case["expected"]["classes"]
    for name, value in ours.items():
        np.testing.assert_allclose(value, np.array(case["expected"][name], float), rtol=0, atol=1e-9, err_msg=name)


def official_arrays(case):
    targets = np.array([[code in record["labels"] for code in case["codes"]] for record in case["records"]])
    return targets, *(np.array([record[key] for record in case["records"]]) for key in ("binary", "scores"))


def test_official_scorer_does_not_care_for_order_nor_for_unscored_or_missing_columns():
    case = json.loads((ORACLES / "challenge2020_official.json").read_text())["cases"][0]
    tables, codes = official_arrays(case), np.array(case["codes"])
    kept = np.flatnonzero(codes != "164889003")
    order = np.random.default_rng(0).permutation(kept)
    unscored = [np.column_stack([table[:, order], table[:, 0]]) for table in tables]
    without_af = [np.where(codes == "164889003", 0, table) for table in tables]
    ours = challenge2020_official(*unscored, codes=[*codes[order], "55827005"])
    expected = challenge2020_official(*without_af, codes=list(codes))
    for name in ours.keys() - {"classes"}:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-12)


def test_official_scorer_where_all_records_have_a_class():
    answers = challenge2020_official([[1, 1], [1, 0]], [[1, 1], [1, 0]], [[0.9, 0.8], [0.2, 0.1]], CHALLENGE_CODES[:2])
    everywhere, sometimes = (answers["classes"].index(code) for code in CHALLENGE_CODES[:2])
    assert answers["auprc_per_class"][everywhere] == answers["auprc_per_class"][sometimes] == 1
    assert np.isnan(answers["auroc_per_class"][everywhere]) and answers["auroc_per_class"][sometimes] == 1
    assert np.isnan(answers["auprc_per_class"]).sum() == 22


def test_unofficial_scorer_where_all_or_no_record_has_a_class():
    targets, scores = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.8], [0.2, 0.1]])
    answers = challenge2020_unofficial(targets, targets, scores)
    assert answers == pytest.approx(
        {"accuracy": 1, "f1": 1, "f2": 1, "g2": 1, "geometric_mean": 1, "auroc": 0.5, "auprc": 0.5}
    )


def test_unofficial_scorer_leaves_out_threshold_0():
    targets, scores = np.array([[1], [1], [0], [0]]), np.array([[0], [0.8], [0], [0.5]])
    answers = challenge2020_unofficial(targets, targets, scores)
    assert (answers["auroc"], answers["auprc"]) == (0.5, 0.5)
    assert (macro_auroc(targets, scores), macro_auprc(targets, scores)) == (0.625, 0.75)  # the whole curves


def test_official_scorer_refuses_class_names():
    targets, scores, predictions = random_answers()
    with pytest.raises(ValueError, match="SNOMED CT"):
        challenge2020_official(targets, predictions, scores, CLASSES)


def test_rewards_are_the_challenges(real_data):
    assert REWARDS_FILE.read_bytes() == (real_data / "challenge-2020-evaluation" / "weights.csv").read_bytes()


def test_rewards():
    rewards = challenge_rewards(CHALLENGE_CODES)
    np.testing.assert_array_equal(rewards, rewards.T)
    np.testing.assert_array_equal(rewards[7:], np.eye(9)[7:])
    assert rewards[CLASSES.index("AF"), CLASSES.index("NSR")] == 0.25  # row 164889003, column 426783006 of weights.csv
    codes = REWARDS_FILE.read_text().splitlines()[0].split(",")[1:]
    assert codes == list(CHALLENGE_2020)
    every = challenge_rewards(codes)
    for code, first in CHALLENGE_2020_EQUIVALENT.items():
        np.testing.assert_array_equal(every[codes.index(code)], every[codes.index(first)])
    with pytest.raises(ValueError, match="429622005"):
        challenge_rewards(["426783006", "429622005"])


def test_challenge_metric_record_by_record():
    targets, _, predictions = random_answers()
    rewards = challenge_rewards(CHALLENGE_CODES)

    def earned(answers):
        total = 0.0
        for x, y in zip(targets, answers, strict=True):
            for j in range(9):
                for k in range(9):
                    total += rewards[j, k] * (x[j] and y[k]) / max(sum(x | y), 1)
        return total

    normal = np.tile(np.arange(9) == 0, (60, 1))
    expected = (earned(predictions) - earned(normal)) / (earned(targets) - earned(normal))
    assert challenge_metric(targets, predictions, rewards, 0) == pytest.approx(expected)
    assert challenge_metric(targets, targets, rewards, 0) == 1
    assert challenge_metric(targets, normal, rewards, 0) == 0
    assert challenge_metric(normal, predictions, rewards, 0) == 0  # nothing to gain: as the scorer has it
    assert challenge_metric(targets, np.zeros_like(targets), rewards, 0) < 0


def test_cpsc2018_hand_computed():
    # Right by the second label; wrong, against the first (1); right; wrong, against 0.
    references, answers = [[0, 2, -1], [1, 2, -1], [1, -1, -1], [0, -1, -1]], [2, 0, 1, 1]
    np.testing.assert_allclose(cpsc2018_f1(references, answers, 4), [0, 2 * 1 / 4, 1, np.nan])


def test_cpsc2018_with_one_label_is_macro_f1():
    rng = np.random.default_rng(0)
    references, answers = rng.integers(9, size=(2, 200))
    ours = cpsc2018_f1(np.column_stack([references, np.full((200, 2), -1)]), answers)
    assert ours.mean() == pytest.approx(sklearn_metrics.f1_score(references, answers, average="macro"))


# --- decisions and scores against scikit-learn and naive definitions -------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighting", ["none", "integers", "fractions"])
def test_equal_to_scikit_learn(ties, weighting):
    targets, scores, predictions = random_answers(ties=ties)
    rng = np.random.default_rng(1)
    weights = {"none": None, "integers": rng.integers(4, size=60), "fractions": rng.random(60)}[weighting]
    per_class = {
        auroc: (sklearn_metrics.roc_auc_score, scores),
        auprc: (sklearn_metrics.average_precision_score, scores),
        brier: (sklearn_metrics.brier_score_loss, scores),
        f1: (sklearn_metrics.f1_score, predictions),
    }
    for ours, (theirs, answers) in per_class.items():
        expected = [theirs(t, a, sample_weight=weights) for t, a in zip(targets.T, answers.T, strict=True)]
        np.testing.assert_allclose(ours(targets, answers, weights), expected, rtol=1e-12, err_msg=ours.__name__)
    whole = {
        macro_auroc: partial(sklearn_metrics.roc_auc_score, targets, scores),
        macro_auprc: partial(sklearn_metrics.average_precision_score, targets, scores),
        macro_f1: partial(sklearn_metrics.f1_score, targets, predictions, average="macro"),
        micro_f1: partial(sklearn_metrics.f1_score, targets, predictions, average="micro"),
        exact_match: partial(sklearn_metrics.accuracy_score, targets, predictions),
    }
    for ours, theirs in whole.items():
        answers = scores if ours in (macro_auroc, macro_auprc) else predictions
        assert ours(targets, answers, weights) == pytest.approx(theirs(sample_weight=weights), rel=1e-12), ours.__name__


def test_auroc_within_groups_counts_pairs_of_one_group_alone():
    rng = np.random.default_rng(3)
    y, p, group = rng.random((60, 2)) < 0.4, rng.random((60, 2)).round(1), rng.choice(["a", "b", "c"], 60)
    y[group == "c", 0] = True  # this group has no pair of the first class
    weights = rng.integers(0, 3, (2, 60)).astype(float)
    found = metrics.auroc_within(group)(y, p, weights)
    for w, values in zip(weights, found, strict=True):
        for k, value in enumerate(values):
            above = pairs = 0.0
            for i in range(60):
                for j in range(60):
                    if y[i, k] and not y[j, k] and group[i] == group[j]:
                        pairs += w[i] * w[j]
                        above += w[i] * w[j] * ((p[i, k] > p[j, k]) + (p[i, k] == p[j, k]) / 2)
            assert value == pytest.approx(above / pairs)
    # What answers a group alike, at whatever level, knows nothing; pooled, its levels may help it or hurt it.
    level = np.repeat(np.select([group == "a", group == "b"], [0.9, 0.1], 0.5)[:, None], 2, axis=1)
    np.testing.assert_allclose(metrics.auroc_within(group)(y, level, np.ones(60)), 0.5)
    np.testing.assert_allclose(metrics.auroc_within(["x"] * 60)(y, p, np.ones(60)), metrics.auroc(y, p))
    with pytest.raises(ValueError, match="give the group of every record"):
        metrics.auroc_within(group[1:])(y, p, np.ones(60))


def test_auroc_pair_by_pair():
    targets, scores, _ = random_answers(records=25)
    for c, ours in enumerate(auroc(targets, scores)):
        above, below = scores[targets[:, c], c], scores[~targets[:, c], c]
        wins = [(a > b) + (a == b) / 2 for a in above for b in below]
        assert ours == pytest.approx(np.mean(wins), rel=1e-12)


def test_f2_and_g2_count_a_record_once_over_all_its_labels():
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
    predictions = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]], bool)
    # Weights ½, 1, 1. Class 0: tp ½, fp 1. Class 1: tp 1, fn ½. Class 2: fp 1.
    np.testing.assert_allclose(f2(targets, predictions), [2.5 / 3.5, 5 / 7, 0])
    np.testing.assert_allclose(g2(targets, predictions), [0.5 / 1.5, 1 / 2, 0])
    expected = math.sqrt((2.5 / 3.5 + 5 / 7) / 3 * (1 / 3 + 1 / 2) / 3)
    assert geometric_mean(targets, predictions) == pytest.approx(expected)


def test_exact_match_by_number_of_labels():
    targets = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    predictions = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    assert exact_match(targets, predictions) == 3 / 4
    assert exact_match(targets, predictions, records="multi") == 1 / 2
    assert exact_match(targets, predictions, records="single") == 1
    assert np.isnan(exact_match(targets[2:], predictions[2:], records="multi"))


def test_calibration_error_bin_by_bin():
    targets, scores, _ = random_answers(ties=False)
    scores[0, 0], scores[1, 0] = 0, 1
    weights = np.random.default_rng(1).integers(3, size=60)
    for c in range(9):
        total = 0.0
        for low in range(10):
            inside = (scores[:, c] >= low / 10) & ((scores[:, c] < (low + 1) / 10) | (low == 9)) & (weights > 0)
            if inside.any():
                w = weights[inside]
                gap = np.average(scores[inside, c], weights=w) - np.average(targets[inside, c], weights=w)
                total += w.sum() / weights.sum() * abs(gap)
        assert calibration_error(targets, scores, weights, bins=10)[c] == pytest.approx(total, rel=1e-9)


def test_calibration_error_of_honest_and_of_overconfident_probabilities():
    rng = np.random.default_rng(0)
    p = rng.random((20_000, 1))
    targets = rng.random((20_000, 1)) < p
    assert calibration_error(targets, p) < 0.02
    assert calibration_error(targets, p.round()) == pytest.approx(0.25, abs=0.01)  # sure, and wrong a quarter of times
    with pytest.raises(ValueError, match="sigmoid"):
        calibration_error(targets, 10 * p)


def test_undefined_classes_are_nan_and_left_out_of_the_mean():
    targets, scores, predictions = random_answers()
    targets[:, 0], targets[:, 1], predictions[:, 0] = False, True, False
    for metric in (auroc, auprc):
        assert np.isnan(metric(targets, scores)[:2]).all() and not np.isnan(metric(targets, scores)[2:]).any()
    assert macro_auroc(targets, scores) == pytest.approx(auroc(targets[:, 2:], scores[:, 2:]).mean())
    assert np.isnan(f1(targets, predictions)[0])
    assert macro_f1(targets, predictions) == pytest.approx(f1(targets[:, 1:], predictions[:, 1:]).mean())
    assert np.isnan(macro_auroc(np.zeros_like(targets), scores))


@pytest.mark.parametrize(
    "metric",
    [
        *(auroc, auprc, brier, calibration_error, macro_auroc, macro_auprc),
        *(f1, f2, g2, macro_f1, micro_f1, geometric_mean, exact_match, partial(exact_match, records="multi")),
        lambda t, p, w=None: challenge_metric(t, p, challenge_rewards(CHALLENGE_CODES), 0, w),
    ],
)
def test_many_resamples_at_once_equal_copies_of_records(metric):
    targets, scores, predictions = random_answers()
    answers = scores if metric in (auroc, auprc, brier, calibration_error, macro_auroc, macro_auprc) else predictions
    weights = np.random.default_rng(2).multinomial(60, np.full(60, 1 / 60), size=5)
    together = metric(targets, answers, weights)
    for row, weight in zip(together, weights, strict=True):
        copies = np.repeat(np.arange(60), weight)
        np.testing.assert_allclose(row, metric(targets[copies], answers[copies]), rtol=1e-12)


def test_bad_arrays_are_refused():
    targets, scores, predictions = random_answers()
    with pytest.raises(ValueError, match=r"must both be \(records, classes\)"):
        auroc(targets[:-1], scores)
    with pytest.raises(ValueError, match="number of records, 60"):
        f1(targets, predictions, np.ones(59))
    scores[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        auprc(targets, scores)


REWARDS = challenge_rewards(CHALLENGE_CODES)
OF_CALLS = [
    *(metrics.counts, f1, macro_f1, micro_f1, f2, g2, geometric_mean, exact_match),
    lambda targets, predictions: challenge_metric(targets, predictions, REWARDS, 0),
    lambda targets, predictions: challenge2020_unofficial(targets, predictions, targets),
    lambda targets, predictions: challenge2020_official(targets, predictions, targets, list(CHALLENGE_2020)[:9]),
    lambda targets, predictions: summary(targets, targets, predictions, np.arange(len(targets)), repeats=2),
    lambda targets, predictions: bootstrap_interval(f1, targets, predictions, np.arange(len(targets)), repeats=2),
    lambda targets, predictions: mcnemar(targets[:, 0], predictions[:, 0]),
]
OF_PROBABILITIES = [
    *(brier, calibration_error, best_thresholds),
    lambda targets, scores: challenge2020_unofficial(targets, targets, scores),
    lambda targets, scores: summary(targets, scores, targets, np.arange(len(targets)), repeats=2),
]
OF_SCORES = [
    *(auroc, auprc, macro_auroc, macro_auprc, *OF_PROBABILITIES),
    lambda targets, scores: best_thresholds(targets, scores, grid=[0.1]),
    lambda targets, scores: challenge2020_official(targets, targets, scores, list(CHALLENGE_2020)[:9]),
    lambda targets, scores: bootstrap_difference(auroc, targets, scores, scores, np.arange(len(targets)), repeats=2),
]
NO_LABEL = [math.nan, -1, 2, 0.5, math.inf, "1", None]


def with_one(values, value):
    """A copy that holds another value in one place of its first column."""
    copy = values.astype(object if isinstance(value, str | None) else float)
    copy[7, 0] = value
    return copy


@pytest.mark.parametrize("metric", [*OF_CALLS, *OF_SCORES])
@pytest.mark.parametrize("value", NO_LABEL)
def test_what_is_no_label_is_refused(metric, value):
    targets, scores, _ = random_answers()
    with pytest.raises(ValueError, match=r"^(targets|right_a) (hold .* at \[7|must be numbers)"):
        metric(with_one(targets, value), scores if metric in OF_SCORES else targets)


@pytest.mark.parametrize("metric", OF_CALLS)
def test_what_is_no_call_is_refused(metric):
    targets, scores, predictions = random_answers()
    for value in NO_LABEL:
        with pytest.raises(ValueError, match=r"^(predictions|right_b) (hold .* at \[7|must be numbers)"):
            metric(targets, with_one(predictions, value))
    for answers in (scores, 20 * scores - 10):  # probabilities, logits
        with pytest.raises(ValueError, match=r"^(predictions|right_b) hold .*: give"):
            metric(targets, answers)


@pytest.mark.parametrize("metric", OF_SCORES)
def test_what_is_no_score_is_refused(metric):
    targets, scores, _ = random_answers()
    for value in (math.nan, math.inf, -math.inf, "0.5", None):
        with pytest.raises(ValueError, match=r"^scores(_a)? (hold|must be numbers)"):
            metric(targets, with_one(scores, value))
    if metric in OF_PROBABILITIES:
        for value in (1.001, -0.001, 3.0):
            with pytest.raises(ValueError, match=r"^scores hold .* sigmoid"):
                metric(targets, with_one(scores, value))
    else:
        metric(targets, 20 * scores - 10)  # an order needs no probabilities


def test_calls_and_labels_may_be_numbers_or_a_table():
    targets, scores, predictions = random_answers()
    expected = f1(targets, predictions)
    for kind in (np.int8, np.float32, object):
        np.testing.assert_array_equal(f1(targets.astype(kind), predictions.astype(kind)), expected)
    table = pd.DataFrame(targets, columns=list(CLASSES)).astype({"AF": int, "PAC": float})
    np.testing.assert_array_equal(f1(table, pd.DataFrame(predictions)), expected)
    np.testing.assert_array_equal(auroc(table, pd.DataFrame(scores)), auroc(targets, scores))
    brier(targets, np.nextafter(np.ones_like(scores), 2))  # a mean's own rounding
    with pytest.raises(ValueError, match=r"^targets have masked values"):
        f1(np.ma.masked_array(targets, mask=~targets), predictions)
    with pytest.raises(ValueError, match=r"^predictions cannot be read as an array"):
        f1(targets, [[1, 0], [1]])


@pytest.mark.parametrize("metric", [*OF_CALLS[:8], *OF_SCORES[:6]])
def test_shapes_and_weights_are_checked(metric):
    targets, scores, predictions = random_answers()
    answers = scores if metric in OF_SCORES else predictions
    for wrong in (answers[:-1], answers[:, :-1], answers[:, 0]):
        with pytest.raises(ValueError, match=r"targets \(60, 9\) and (scores|predictions) .* must both be"):
            metric(targets, wrong)
    for weights in (np.ones(59), 1.0, np.full(60, -1.0), np.full((2, 60), math.nan), np.full(60, math.inf), ["a"] * 60):
        with pytest.raises(ValueError, match=r"^weights "):
            metric(targets, answers, weights)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("beta must", lambda t, s, c: f_beta(metrics.counts(t, c), -1)),
        ("beta must", lambda t, s, c: metrics.g_beta(metrics.counts(t, c), math.nan)),
        ("counts must be what", lambda t, s, c: f_beta(c)),
        ("records must be one of all, single, multi", lambda t, s, c: exact_match(t, c, records="several")),
        ("bins must be", lambda t, s, c: calibration_error(t, s, bins=0)),
        ("grid hold nan", lambda t, s, c: best_thresholds(t, s, grid=[0.1, math.nan])),
        ("grid has no", lambda t, s, c: best_thresholds(t, s, grid=[])),
        ("rewards", lambda t, s, c: challenge_metric(t, c, REWARDS[:3], 0)),
        ("rewards hold nan", lambda t, s, c: challenge_metric(t, c, REWARDS * math.nan, 0)),
        ("normal must", lambda t, s, c: challenge_metric(t, c, REWARDS, -1)),
        ("normal must", lambda t, s, c: challenge_metric(t, c, REWARDS, 9)),
        ("codes must name each", lambda t, s, c: challenge2020_official(t, c, s, list(CHALLENGE_2020)[:8])),
        ("repeats must", lambda t, s, c: bootstrap_interval(auroc, t, s, range(60), repeats=0)),
        ("repeats must", lambda t, s, c: bootstrap_interval(auroc, t, s, range(60), repeats=10.5)),
        ("seed must", lambda t, s, c: bootstrap_interval(auroc, t, s, range(60), seed=-1)),
        ("level must", lambda t, s, c: bootstrap_difference(auroc, t, s, s, range(60), level=95)),
        ("groups have gaps", lambda t, s, c: bootstrap_interval(auroc, t, s, [*range(59), None])),
        ("groups have gaps", lambda t, s, c: bootstrap_interval(auroc, t, s, [*range(59), math.nan])),
        ("groups must be all", lambda t, s, c: bootstrap_interval(auroc, t, s, np.array([*range(59), "a"], object))),
        ("groups must be \\(records,", lambda t, s, c: bootstrap_interval(auroc, t, s, np.ones((60, 2)))),
        ("predictions hold -1", lambda t, s, c: cpsc2018_f1([[0, -1], [1, 2]], [0, -1])),
        ("predictions hold 9", lambda t, s, c: cpsc2018_f1([[0, -1], [1, 2]], [0, 9])),
        ("predictions hold 0.5", lambda t, s, c: cpsc2018_f1([[0, -1], [1, 2]], [0, 0.5])),
        ("references hold -1", lambda t, s, c: cpsc2018_f1([[0, -1], [-1, 2]], [0, 1])),
        ("references hold nan", lambda t, s, c: cpsc2018_f1([[0, math.nan], [1, 2]], [0, 1])),
    ],
)
def test_every_other_argument_is_checked_and_named(message, call):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(*random_answers())


# --- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "of_counts"),
    [
        (f_beta, lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn)),
        (f2_g2, lambda tp, fp, fn: math.sqrt(5 * tp / (5 * tp + fp + 4 * fn) * tp / (tp + fp + 2 * fn))),
    ],
)
def test_thresholds_are_the_best_of_the_grid(metric, of_counts):
    targets, scores, _ = random_answers()
    grid = np.linspace(0, 1, 21).round(2)
    thresholds = best_thresholds(targets, scores, metric, grid)
    for t, s, threshold in zip(targets.T, scores.T, thresholds, strict=True):
        values = []
        for candidate in grid:
            p = s >= candidate
            values.append(of_counts((t & p).sum(), (~t & p).sum(), (t & ~p).sum()))
        best = grid[np.isclose(values, max(values), rtol=1e-12)]
        assert threshold == best[len(best) // 2]


def test_thresholds_stand_in_the_middle_of_a_gap_and_at_half_without_evidence():
    targets = np.array([[0, 0, 1], [0, 0, 1], [1, 0, 1]], bool)
    scores = np.tile([[0.1], [0.2], [0.8]], (1, 3))
    np.testing.assert_allclose(best_thresholds(targets, scores), [0.51, 0.5, 0.5])


# --- how sure are we -------------------------------------------------------------------------------------------------


def test_interval_has_the_known_width():
    """The mean of independent records: its standard error is √(p(1 − p)/n)."""
    targets = np.ones((2000, 1), bool)
    predictions = np.arange(2000)[:, None] % 5 > 0
    value, low, high = bootstrap_interval(exact_match, targets, predictions, np.arange(2000), repeats=4000)
    assert value == 0.8
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 2000), rel=0.06)
    assert (low + high) / 2 == pytest.approx(0.8, abs=0.002)


def test_intervals_cover_the_truth_when_patients_have_several_records():
    """Patients whose records stand or fall together: resampling patients covers, resampling records does not."""
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for experiment in range(200):
        patients = np.repeat(np.arange(60), 5)
        predictions = (rng.random(60) < 0.7)[patients][:, None]
        targets = np.ones_like(predictions)
        for i, groups in enumerate((patients, np.arange(300))):
            _, low, high = bootstrap_interval(exact_match, targets, predictions, groups, repeats=300, seed=experiment)
            covered[i] += low <= 0.7 <= high
    assert 0.90 <= covered[0] / 200 <= 0.99
    assert covered[1] / 200 < 0.8


def test_interval_of_each_class_with_one_that_is_rare_and_one_that_is_absent():
    targets, scores, _ = random_answers(ties=False)
    targets[:, 0], targets[:, 1] = False, np.arange(60) < 2
    interval = bootstrap_interval(auroc, targets, scores, np.arange(60))
    assert np.isnan([part[0] for part in interval]).all()
    assert (interval.low[1:] <= interval.value[1:]).all() and (interval.value[1:] <= interval.high[1:]).all()


def test_resamples_draw_whole_patients():
    records = 2**20  # enough for the repeats to be drawn in several pieces
    groups = np.arange(records) % 1000
    drawn = []

    def watch(targets, scores, weights):
        if weights.ndim == 2:
            drawn.append(weights[:, :1000])
            assert (weights[:, 1000:2000] == weights[:, :1000]).all()
        return weights.sum(axis=-1)

    bootstrap_interval(watch, np.zeros((records, 1)), np.zeros((records, 1)), groups, repeats=5)
    assert len(drawn) > 1
    resamples = np.concatenate(drawn)
    assert len(resamples) == 5 and (resamples.sum(axis=1) == 1000).all()
    assert len(np.unique(resamples, axis=0)) == 5


def test_interval_is_reproducible_and_its_seed_matters():
    targets, scores, _ = random_answers()
    patients = np.arange(60) // 2
    first, again, other = (bootstrap_interval(macro_auroc, targets, scores, patients, seed=s) for s in (1, 1, 2))
    assert first == again != other
    narrow = bootstrap_interval(macro_auroc, targets, scores, patients, seed=1, level=0.5)
    assert first.low < narrow.low < narrow.high < first.high


def test_a_difference_is_one_of_the_same_resamples():
    targets, scores, _ = random_answers()
    own = metrics.resampled(macro_auroc, targets, scores, np.arange(60))
    assert own.less(metrics.resampled(macro_auroc, targets, -scores, [str(i) for i in range(60)])).value > 0
    for other in (
        metrics.resampled(macro_auroc, targets, scores, np.arange(60), seed=1),
        metrics.resampled(macro_auroc, targets, scores, np.arange(60), repeats=1),
        metrics.resampled(macro_auroc, targets, scores, np.arange(60), multinomial=True),
        metrics.resampled(macro_auroc, targets, scores, np.arange(60) // 2),
        metrics.resampled(auroc, targets, scores, np.arange(60)),
    ):
        with pytest.raises(ValueError, match="give both answers the same groups, repeats and seed"):
            own.less(other)


def test_a_level_is_refused_before_anything_is_resampled():
    def never(targets, scores, weights):
        raise AssertionError

    targets, scores, _ = random_answers()
    with pytest.raises(ValueError, match="level must lie"):
        bootstrap_interval(never, targets, scores, np.arange(60), level=95)
    with pytest.raises(ValueError, match="level must lie"):
        bootstrap_difference(never, targets, scores, scores, np.arange(60), level=0)


def test_groups_are_checked():
    targets, scores, _ = random_answers()
    with pytest.raises(ValueError, match="59 groups for 60 records"):
        bootstrap_interval(macro_auroc, targets, scores, np.arange(59))
    with pytest.raises(ValueError, match="at least two groups"):
        bootstrap_difference(macro_auroc, targets, scores, scores, ["one"] * 60)


def test_difference_of_equal_and_of_unequal_systems():
    targets, scores, _ = random_answers(records=200, ties=False)
    patients = np.arange(200) // 2
    assert bootstrap_difference(macro_auroc, targets, scores, scores, patients) == (0, 0, 0, 1)
    noisy = scores + np.random.default_rng(1).normal(0, 0.3, scores.shape)
    better = bootstrap_difference(macro_auroc, targets, scores, noisy, patients)
    worse = bootstrap_difference(macro_auroc, targets, noisy, scores, patients)
    assert better.value == pytest.approx(macro_auroc(targets, scores) - macro_auroc(targets, noisy))
    assert 0 < better.low < better.value < better.high
    assert better.p == pytest.approx(2 / 1001)
    np.testing.assert_allclose(worse, (-better.value, -better.high, -better.low, better.p))
    one, two = (bootstrap_interval(macro_auroc, targets, s, patients) for s in (scores, noisy))
    assert better.high - better.low < math.hypot(one.high - one.low, two.high - two.low)  # pairing pays


def test_difference_names_the_scores_that_are_wrong():
    targets, scores, _ = random_answers(records=60, ties=False)
    gap = np.where(np.arange(60)[:, None] == 3, np.nan, scores)
    for name, a, b in (("scores_a", gap, scores), ("scores_b", scores, gap)):
        with pytest.raises(ValueError, match=rf"^{name} hold nan at \[3, 0\]"):
            bootstrap_difference(macro_auroc, targets, a, b, np.arange(60))


def test_difference_of_equally_good_systems_is_rarely_significant():
    rng = np.random.default_rng(0)
    targets = np.ones((100, 1), bool)
    p = [
        bootstrap_difference(exact_match, targets, a, b, np.arange(100), repeats=300).p
        for a, b in (rng.random((2, 100, 1)) < 0.8 for _ in range(200))
    ]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.10
    assert 0.4 < np.mean(p) < 0.65


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (1, 9), (12, 4), (40, 61)])
def test_mcnemar_by_counting_coin_tosses(only_a, only_b):
    right_a = np.repeat([True, False, True, False], [only_a, only_b, 20, 5])
    right_b = np.repeat([False, True, True, False], [only_a, only_b, 20, 5])
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(few + 1))
    answer = mcnemar(right_a, right_b)
    assert answer[:2] == (only_a, only_b)
    assert answer.p == pytest.approx(float(min(1, 2 * tail)), rel=1e-12)
    if n:
        assert answer.p == pytest.approx(binomtest(only_b, n, 0.5).pvalue, rel=1e-12)


def test_mcnemar_wants_the_same_records():
    with pytest.raises(ValueError, match="same records"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_summary():
    targets, scores, predictions = random_answers()
    targets[:, 8] = False
    patients = np.arange(60) // 2
    table = summary(targets, scores, predictions, patients, repeats=200, seed=5)
    assert list(table.columns) == ["metric", "class", "value", "low", "high", "n"]
    assert len(table) == 7 * 10 + 6
    rows = table.set_index(["metric", "class"])
    assert rows.index.is_unique
    for name, metric, answers in (("AUROC", auroc, scores), ("F1", f1, predictions), ("G2", g2, predictions)):
        for c, label in enumerate(CLASSES):
            assert rows.loc[(name, label), "value"] == pytest.approx(metric(targets, answers)[c], nan_ok=True)
    for name, metric, answers in (
        ("AUROC", macro_auroc, scores),
        ("AUPRC", macro_auprc, scores),
        ("F1", macro_f1, predictions),
        ("micro-F1", micro_f1, predictions),
        ("geometric mean", geometric_mean, predictions),
        ("exact match, multi-label", partial(exact_match, records="multi"), predictions),
    ):
        expected = bootstrap_interval(metric, targets, answers, patients, repeats=200, seed=5)
        np.testing.assert_allclose(rows.loc[(name, ""), ["value", "low", "high"]].to_numpy(float), expected)
    # The nine-class answers, written as the challenge's codes, for its own scorer's arithmetic.
    rewards = challenge_rewards(CHALLENGE_CODES)
    earned, best, normal = (
        sum(
            sum(rewards[j, k] for j in np.flatnonzero(t) for k in np.flatnonzero(a)) / max((t | a).sum(), 1)
            for t, a in zip(targets.astype(bool), answers, strict=True)
        )
        for answers in (predictions.astype(bool), targets.astype(bool), np.tile(np.eye(9, dtype=bool)[0], (60, 1)))
    )
    expected = (earned - normal) / (best - normal)
    assert rows.loc[("challenge metric", ""), "value"] == pytest.approx(expected)
    assert rows.loc[("AUROC", "AF"), "n"] == targets[:, 1].sum()
    assert rows.loc[("Brier score", ""), "n"] == 60
    assert rows.loc[("exact match, multi-label", ""), "n"] == (targets.sum(axis=1) > 1).sum()
    assert rows.loc[("AUROC", "STE"), ["value", "low", "high"]].isna().all()


def test_summary_wants_one_column_for_each_class():
    with pytest.raises(ValueError, match="NSR, AF"):
        summary(*(table[:, :4] for table in random_answers()), groups=np.arange(60))


def test_counts_of_many_resamples_add_up():
    targets, _, predictions = random_answers()
    weights = np.random.default_rng(0).random((3, 60))
    cells = metrics.counts(targets, predictions, weights)
    np.testing.assert_allclose(sum(cells), np.tile(weights.sum(axis=1)[:, None], 9))


def test_a_verdict_is_by_the_side_of_the_border():
    said = [metrics.verdict(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (np.nan, np.nan))]
    assert said == ["supported", "not supported", "undecided", "undecided"]
    assert metrics.verdict(0.4, 0.45, 0.5) == "not supported"


@pytest.mark.parametrize(("trained", "tested", "both"), [(1, 0.1, 0.1), (0.3, 1, 0.5), (0, 1, 1), (0.2, 1, 2)])
@pytest.mark.parametrize("patients", [20, 60])
@pytest.mark.parametrize("trainings", [3, 5])
def test_an_interval_over_trainings_holds_the_truth_as_often_as_it_says(trained, tested, both, patients, trainings):
    """Scores are a training's part plus a patient's plus one of both; standard deviations of the three are planted.

    The interval over patients alone, which forgets the trainings, misses far more often where these differ. Two
    trainings would be too few: their interval holds the truth in 90 of 100 where trainings differ most.
    """
    rng = np.random.default_rng(0)
    trials, repeats = 500, 200
    weights = rng.multinomial(patients, np.full(patients, 1 / patients), size=repeats) / patients
    held, forgetful = 0, 0
    for _ in range(trials):
        scores = trained * rng.standard_normal((trainings, 1)) + tested * rng.standard_normal((1, patients))
        scores = scores + both * rng.standard_normal((trainings, patients))
        resampled = weights @ scores.mean(axis=0)
        found = metrics.interval_over_trainings(scores.mean(axis=1), resampled, patients)
        held += found.low <= 0 <= found.high
        low, high = np.quantile(resampled, [0.025, 0.975])
        forgetful += low <= 0 <= high
    assert 0.925 <= held / trials <= 1
    if trained > 2 * np.hypot(tested, both) / np.sqrt(patients):
        assert forgetful / trials < 0.9


def test_an_interval_over_trainings_needs_two_of_each():
    with pytest.raises(ValueError, match="two trainings"):
        metrics.interval_over_trainings(np.ones(1), np.ones(9), 5)
    with pytest.raises(ValueError, match="of one shape"):
        metrics.interval_over_trainings(np.ones((2, 3)), np.ones((9, 2)), 5)
    same = metrics.interval_over_trainings(np.full((5, 2), 0.5), np.full((9, 2), 0.5), 5)
    assert same.low.tolist() == same.high.tolist() == [0.5, 0.5]


def test_an_interval_over_trainings_of_what_is_not_defined_is_not_defined():
    rng = np.random.default_rng(0)
    scores, drawn = rng.random((5, 2)), rng.random((9, 2))
    alone = metrics.interval_over_trainings(scores[:, :1], drawn[:, :1], 7)
    scores[:, 1] = drawn[:, 1] = np.nan
    both = metrics.interval_over_trainings(scores, drawn, 7)
    assert both.low[0] == alone.low[0] and both.high[0] == alone.high[0]
    assert np.isnan([both.value[1], both.low[1], both.high[1], both.p[1]]).all()
