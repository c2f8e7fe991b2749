from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecgstudy.data.labels import CLASSES
from ecgstudy.metrics import best_thresholds, f_beta
from ecgstudy.studies import ablation_tables, ablations
from ecgstudy.studies.ablation_tables import Fold, corrected_t, holm, joined, scores_of


def test_without_overlap_it_is_the_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 7)
    mean, low, high, p = corrected_t(values, 0)
    oracle = stats.ttest_1samp(values, 0)
    assert p == pytest.approx(oracle.pvalue, rel=1e-12)
    assert (low, high) == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=1e-12)
    assert mean == pytest.approx(values.mean())


def test_the_overlap_widens_the_interval_by_its_formula():
    values = np.random.default_rng(1).normal(0, 1, 5)
    _, low, high, _ = corrected_t(values, 0)
    _, wide_low, wide_high, _ = corrected_t(values, 0.25)
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt((1 / 5 + 0.25) * 5))


def test_what_is_undefined_in_a_fold_is_left_out():
    values = np.array([0.1, np.nan, 0.3, 0.2])
    np.testing.assert_allclose(corrected_t(values, 0.2), corrected_t(values[[0, 2, 3]], 0.2))
    assert np.isnan(corrected_t(np.array([0.1, np.nan]))[1:]).all()
    assert corrected_t(np.zeros(5))[3] == 1


def test_holm_against_the_step_down_rule():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 9)) ** 3
        corrected = holm(p)
        for alpha in (0.01, 0.05, 0.2):
            rejected, order = set(), np.argsort(p)
            for step, i in enumerate(order):
                if p[i] > alpha / (len(p) - step):
                    break
                rejected.add(i)
            assert rejected == set(np.flatnonzero(corrected <= alpha))
    np.testing.assert_allclose(holm(np.array([np.nan, 0.01, 0.04])), [np.nan, 0.02, 0.04])


def members_of(rng, records=200, members=3):
    labels = rng.random((records, 9)) < 0.3
    tables = []
    for _ in range(members):
        p = np.clip(0.3 * labels + 0.7 * rng.random((records, 9)), 0, 1)
        table = pd.DataFrame(p, columns=list(CLASSES))
        tables.append(table.assign(record=np.arange(records), part=np.repeat(["valid", "test"], records // 2)))
    return labels, tables


def test_members_are_joined_by_mean_and_majority():
    labels, tables = members_of(np.random.default_rng(2))
    fold = joined(tables, labels, [])
    p = np.stack([t[list(CLASSES)].to_numpy() for t in tables])
    np.testing.assert_allclose(fold.probabilities, p[:, 100:].mean(axis=0))
    votes = [m[100:] >= best_thresholds(labels[:100], m[:100], f_beta) for m in p]
    np.testing.assert_array_equal(fold.tuned["F1"], np.sum(votes, axis=0) >= 2)
    np.testing.assert_array_equal(fold.targets, labels[100:])


def test_thresholds_come_from_validation_records_alone():
    labels, tables = members_of(np.random.default_rng(3), members=1)
    before = joined(tables, labels, [])
    changed = labels.copy()
    changed[100:] = ~changed[100:]
    after = joined(tables, changed, [])
    for name in ("F1", "F2"):
        np.testing.assert_array_equal(before.tuned[name], after.tuned[name])


def fold_of(p, targets, valid=(0.1, 0.5, 0.4)):
    called = p >= 0.5
    return Fold(targets, p, called, {"F1": called, "F2": called}, [pd.DataFrame({"valid": valid})])


def test_scores_of_a_perfect_answer_and_of_its_opposite():
    targets = np.random.default_rng(0).random((60, 9)) < 0.3
    right, wrong = (fold_of(np.abs(targets - e), targets) for e in (0.1, 0.9))
    scores = scores_of(right, right)
    assert (
        all(scores[m] == 1 for m in ("AUROC", "F1", "F1, tuned", "F2", "F2, tuned", "exact match"))
        and scores["epochs"] == 2
    )
    assert all(scores_of(wrong, right)[m] == 0 for m in ("AUROC", "F1", "F2", "exact match"))
    late, never = (fold_of(targets * 1.0, targets, v) for v in ((0.1, 0.2, 0.46), (0.1, 0.2, 0.3)))
    assert scores_of(late, right)["epochs"] == 3 and scores_of(never, right)["epochs"] == 4


def test_a_class_that_the_fold_lacks_is_left_out_of_every_mean():
    targets = np.random.default_rng(0).random((60, 9)) < 0.3
    targets[:, 8] = False
    p = np.abs(targets - 0.1)
    p[:5, 8] = 0.9  # false alarms of a class that cannot be scored
    assert scores_of(fold_of(p, targets), fold_of(p, targets))["F1"] == 1


def test_a_verdict_needs_a_difference_that_outlives_the_correction():
    question = "loss of CNN-GAP"
    arm, metric = ablations.QUESTIONS[question].verdict
    row = {"question": question, "arm": arm, "metric": metric}
    for difference, p, expected in [
        (0.1, 0.01, "supported"),
        (-0.1, 0.01, "not supported"),
        (0.1, 0.2, "undecided"),
        (0.1, np.nan, "undecided"),
    ]:
        rows = pd.DataFrame([row | {"difference": difference, "p": p}])
        assert ablation_tables.verdict(rows, question) == expected


def test_matched_records_add_up_over_the_seeds(monkeypatch):
    rng = np.random.default_rng(5)
    answers = {}
    for arm, error in (("gamma 0", 0.2), ("gamma 0.01", 0.05)):
        answers[arm] = []
        for seed in range(5):
            targets = np.random.default_rng(seed).random((80, 9)) < 0.25
            answers[arm].append(fold_of((targets ^ (rng.random((80, 9)) < error)) * 1.0, targets))
    monkeypatch.setattr(ablation_tables, "folds_of", lambda cohort, question, arm: answers[arm])
    table = ablation_tables.multi_label_matches("synthetic", "gamma 0.01").set_index("seed")
    counts = table.drop(columns="p")
    np.testing.assert_array_equal(counts.loc["all"], counts.drop("all").sum())
    several = sum((fold.targets.sum(axis=1) > 1).sum() for fold in answers["gamma 0"])
    assert counts.loc["all", "records"] == several
    a, b = counts.loc["all", ["only_control", "only_arm"]]
    assert table.loc["all", "p"] == pytest.approx(stats.binomtest(int(a), int(a + b)).pvalue) and b > a


def test_every_record_of_a_committed_cohort_is_tested_once_by_every_arm():
    for cohort in ablations.COHORTS:
        for question in ablations.QUESTIONS:
            for arm in ablations.arms_of(cohort, question):
                rows = pd.read_parquet(
                    ablations.path(cohort, question, arm, ".parquet"), columns=["record", "fold", "part", "member"]
                )
                records = ablations.records_of(cohort)
                for _, of in rows[rows["part"] == "test"].groupby("member"):
                    assert sorted(of["record"]) == list(range(len(records)))
                    assert (records["fold"].to_numpy()[of["record"]] == of["fold"]).all()
                # No patient is on both sides: whoever is validated on in a fold is not tested in it.
                patient = records["patient_id"].to_numpy()
                for _, of in rows.groupby("fold"):
                    valid, test = (set(patient[of.loc[of["part"] == p, "record"]]) for p in ("valid", "test"))
                    assert not valid & test


def test_tests_of_several_arms_are_corrected_for_their_number(monkeypatch):
    rng = np.random.default_rng(6)
    targets = rng.random((200, 9)) < 0.25
    answers = {
        arm: [fold_of((targets ^ (rng.random(targets.shape) < error)) * 1.0, targets)]
        for arm, error in (("gamma 0", 0.1), ("gamma 0.01", 0.05), ("gamma 0.1", 0.1))
    }
    monkeypatch.setattr(ablation_tables, "folds_of", lambda cohort, question, arm: answers[arm])
    monkeypatch.setattr(ablations, "arms_of", lambda cohort, question: list(answers))
    rows = ablation_tables.multi_label_tests("synthetic").set_index("arm")
    assert list(rows.index) == ["gamma 0.01", "gamma 0.1"] and set(rows["cohort"]) == {"synthetic"}
    for arm in rows.index:
        alone = ablation_tables.multi_label_matches("synthetic", arm).iloc[-1]
        assert (
            rows.loc[arm, ["right_control", "right", "p"]].tolist() == alone[["right_control", "right", "p"]].tolist()
        )
    less, more = sorted(rows["p"])
    assert sorted(rows["corrected"]) == pytest.approx([2 * less, max(2 * less, more)])


def test_one_run_is_a_fold_of_its_test_records():
    labels, (table,) = members_of(np.random.default_rng(7), members=1)
    log = pd.DataFrame({"valid": [0.1, 0.2]})
    run = SimpleNamespace(classes=CLASSES, predictions=table.rename(columns={"part": "split"}), log=log)
    fold = ablation_tables.of_run(run, labels)
    np.testing.assert_array_equal(fold.targets, labels[100:])
    np.testing.assert_array_equal(fold.probabilities, table[list(CLASSES)].to_numpy()[100:])
    np.testing.assert_array_equal(fold.tuned["F2"], joined([table], labels, [log]).tuned["F2"])


def test_scores_by_fold_are_held_against_the_first_arm():
    targets = np.random.default_rng(8).random((60, 9)) < 0.3
    right, wrong = np.abs(targets - 0.1), np.abs(~targets - 0.1)
    found = ablation_tables.scores_by_fold(
        {"control": [fold_of(right, targets, (0.1, 0.5))] * 2, "arm": [fold_of(wrong, targets, (0.46, 0.1))] * 2}
    )
    assert found["control"]["F1"].tolist() == [1, 1] and found["arm"]["AUROC"].tolist() == [0, 0]
    # The arm reaches nine tenths of the control's best in its first epoch, the control in its second.
    assert found["arm"]["epochs"].tolist() == [1, 1] and found["control"]["epochs"].tolist() == [2, 2]


def test_the_share_of_high_probabilities_is_over_all_folds(monkeypatch):
    targets = np.zeros((2, 9), dtype=bool)
    high, low = np.full((2, 9), 0.999), np.full((2, 9), 0.5)
    high[0, :3] = 0.99  # not above
    folds = [fold_of(p, targets) for p in (high, low)]
    monkeypatch.setattr(ablation_tables, "folds_of", lambda cohort, question, arm: folds)
    assert ablation_tables.share_above("synthetic", "loss", "arm", 0.99) == pytest.approx(15 / 36)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [([2, 2, 0, 2, 0], (2, 4)), ([2, 1, 1, 1, 1], (5, 5)), ([2, 0, 0, 0, 0], (1, 1)), ([0, 0, 2, 0, 0], (0, 3))],
)
def test_a_lead_ends_where_the_control_is_first_ahead(arm, expected):
    scores = pd.DataFrame({"arm": arm, "control": 1}, index=range(1, 6))
    assert ablation_tables.lead(scores, "arm", "control") == expected
