import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from ecgstudy.book import ablation_pages as pages
from ecgstudy.studies import ablation_tables, ablations
from ecgstudy.studies.ablations import Question

GRID = "balance"


@pytest.fixture(autouse=True)
def questions(monkeypatch):
    """Two small questions: one of a loss, one of b and r."""
    arms = {f"b {b:g}, r {r}": {"b": b, "r": r, "loss": "weighted focal"} for b in (0, 0.5, 1) for r in (0, 2)}
    asked = {
        "loss": Question("Does it?", "CNN-GAP", {"plain": {}, "macro": {}, "focal": {}}, ("macro", "F2")),
        GRID: Question("And this?", "ECGMaster", arms, ("b 0.5, r 2", "F2")),
    }
    monkeypatch.setattr(ablations, "QUESTIONS", asked)
    yield
    plt.close("all")


def rows_of(question, cohort, values, differences=None, p=None, metric="F2"):
    """Rows of the committed table: intervals of 0.1 to either side of a value, of 0.2 around a difference."""
    asked = ablations.QUESTIONS[question]
    found = []
    for number, (arm, value) in enumerate(zip(asked.arms, values, strict=False)):
        d = np.nan if differences is None or number == 0 else differences[number]
        found.append(
            {"question": question, "arm": arm, "system": asked.system, "cohort": cohort, "metric": metric}
            | {"value": value, "low": value - 0.1, "high": value + 0.1}
            | {"difference": d, "difference_low": d - 0.2, "difference_high": d + 0.2}
            | {"p": np.nan if np.isnan(d) or p is None else p[number]}
        )
    return pd.DataFrame(found)


@pytest.fixture
def table():
    p_of_grid = [0, 1, 1, 1, 0.04, 1]
    return pd.concat(
        [
            rows_of("loss", "real", [0.5, 0.6, 0.65], [0, 0.1, 0.15], [0, 0.2, 0.3]),
            rows_of("loss", "real", [0.8, 0.7, 0.9], [0, -0.1, 0.1], [0, 0.0001, 0.3], "AUROC"),
            rows_of("loss", "synthetic", [0.5, 0.9, 0.8], [0, 0.4, 0.3], [0, 0.01, 0.02]),
            rows_of(GRID, "real", [0.1, 0.2, 0.3, 0.35, 0.7, 0.4], [0, 0.1, 0.2, 0.25, 0.6, 0.3], p_of_grid),
        ],
        ignore_index=True,
    )


def cells(styler):
    """Headings of a table, then its rows, as text."""
    return [list(styler.data), *styler.data.astype(str).to_numpy().tolist()]


def points(line):
    """Points of a line, x and y."""
    return np.asarray(line.get_xydata()).tolist()


def test_numbers_are_those_of_the_row(table):
    real, simulated = (pages.Answers(table, cohort) for cohort in ("real", "synthetic"))
    assert real.difference("loss", "macro", "F2") == "0.100 (−0.100 to 0.300)"
    assert simulated.difference("loss", "macro", "F2") == "0.400 (0.200–0.600)"
    assert real.shortfall("loss", "macro", "AUROC") == "0.100 (−0.100 to 0.300)"
    assert real.shortfall("loss", "macro", "F2") == "−0.100 (−0.300 to 0.100)"
    assert real.p("loss", "macro", "AUROC") == "< 0.001" and simulated.p("loss", "focal", "F2") == "= 0.020"
    assert real.value("loss", "focal", "F2") == "0.65" and real.percent("loss", "focal", "AUROC") == "90 %"
    assert real.comparisons("loss") == "2" and real.comparisons(GRID) == "5"
    assert real.differences("loss", "macro", a="F2", b="AUROC") == {
        "a": "0.100 (−0.100 to 0.300)",
        "b": "−0.100 (−0.300 to 0.100)",
    }
    assert real.p_values("loss", "macro", a_p="F2") == {"a_p": "= 0.200"}
    assert pages.typical_half_width(real, "F2") == "0.20"


def test_balance_and_focus_are_those_of_the_arm_and_not_of_its_name(table):
    real = pages.Answers(table, "real")
    grid = real.balance_and_focus(GRID)
    assert dict(zip(grid["arm"], zip(grid["b"], grid["r"], strict=True), strict=True))["b 0.5, r 2"] == (0.5, 2)
    assert len(grid) == 6 and real.balance_and_focus("loss").empty
    assert pages.without_focus(grid, "F2") == "0.10, 0.30, 0.70"
    assert pages.smallest_to_largest(grid, "F2") == "0.10 to 0.70"
    # Over b at r = 0: 0.1 to 0.7, at r = 2: 0.2 to 0.4. Over r at b = 1: 0.7 and 0.4.
    assert pages.reach(grid, "F2") == {"over_b": "0.20", "over_r": "0.30"}
    assert pages.best_pair(grid, "F2") == {
        "top": "b = 1, r = 0",
        "top_difference": "0.600 (0.400–0.800)",
        "top_p": "0.040",
    }
    assert pages.above_control(grid, "F2", "x") == {"x_above": "5", "x_least_p": "0.040"}


def test_heat_maps_have_b_across_and_r_down(table):
    grid = pages.Answers(table, "real").balance_and_focus(GRID)
    whole = pd.concat([grid.assign(metric=metric) for metric in ("AUROC", "F2", "F2, tuned")])
    figure = pages.heat({"real": whole, "others": whole.assign(value=0.5)})
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:3] == ["real: AUROC", "real: F2", "real: F2, tuned"] and titles[5] == "others: F2, tuned"
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.10", "0.30", "0.70", "0.20", "0.35", "0.40"]
    assert (figure.axes[3].get_xlabel(), ax.get_xlabel(), ax.get_ylabel()) == ("b", "", "r")


def test_spreads_are_within_a_system(table):
    rows = pages.Answers(table, "real").rows("loss", GRID)
    assert pages.spreads(rows, ["F2"]) == {"spread CNN-GAP F2": "0.15", "spread ECGMaster F2": "0.60"}


def test_a_constant_rests_where_its_loss_is_least():
    p = np.array([0.1, 0.5, 0.9])
    ax = pages.losses_of_constants(p, {"a": np.array([3.0, 1, 2]), "b": np.array([0.0, 5, 10])}).axes[0]
    curve, dot, other, other_dot = ax.lines
    assert points(curve) == [[0.1, 1], [0.5, 0], [0.9, 0.5]] and (curve.get_label(), other.get_label()) == ("a", "b")
    assert points(dot) == [[0.5, 0]] and points(other_dot) == [[0.1, 0]]


def test_the_small_grid_has_an_interval_only_over_folds():
    two = pd.DataFrame({"F1": [0.4, 0.6]})
    mean, low, high, _ = ablation_tables.corrected_t(two["F1"].to_numpy())
    shown = pages.small_grid({"focal": two, "macro-F2": two.head(1)}, ["F1"], "Small.")
    interval = f"0.50 (−{-low:.2f} to {high:.2f})"
    assert cells(shown) == [["loss", "F1"], ["focal", interval], ["macro-F2", "0.40"]]
    assert shown.caption == "Small." and mean == 0.5


def dots(ax):
    """Points x, y of the dots of an axes."""
    found = [one.get_offsets() for one in ax.collections if isinstance(one, PathCollection)]
    return sorted(map(tuple, np.round(np.concatenate(found), 6)))


def test_differences_leave_the_control_out(table):
    both = [pages.Answers(table, cohort) for cohort in ("real", "synthetic")]
    f2, auroc = pages.differences(both, "loss", ["F2", "AUROC"]).axes
    assert [label.get_text() for label in f2.get_yticklabels()] == ["macro", "focal"]
    # Of each loss the real cohort's dot stands above the simulated one's.
    assert dots(f2) == [(0.1, 0), (0.15, -1.6), (0.3, -2.2), (0.4, -0.6)]
    assert [ax.get_title(loc="left") for ax in (f2, auroc)] == ["F2", "AUROC"]
    assert dots(auroc) == [(-0.1, 0), (0.1, -1.6)]
    (some,) = pages.differences(both[:1], "loss", ["F2"], ["focal"]).axes
    assert dots(some) == [(0.15, 0)]


def test_parts_name_the_control_of_each(table):
    ax = pages.parts([pages.Answers(table, "real")], ["loss", GRID], ["F2"]).axes[0]
    names = {round(y): label.get_text() for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    names = [names[y] for y in sorted(names, reverse=True)]
    assert len(names) == 2 + 7 and names[0] == "CNN-GAP: loss" and names[3] == f"ECGMaster: {GRID}"
    assert names[1] == "macro, less plain" and names[-1] == "b 1, r 2, less b 0, r 0"


def test_thresholds_join_both_scores_of_an_arm(table):
    rows = pages.Answers(table, "real").rows("loss")
    tuned = rows[rows["metric"] == "F2"].assign(metric="F2, tuned", value=0.7)
    ax = pages.thresholds(pd.concat([rows, tuned])).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "CNN-GAP: plain",
        "CNN-GAP: macro",
        "CNN-GAP: focal",
    ]
    assert [x for x, _ in points(ax.lines[0])] == [0.5, 0.6, 0.65]
    assert [x for x, _ in points(ax.lines[1])] == [0.7] * 3


def test_arms_stand_in_the_order_of_the_question(table):
    real = pages.Answers(table.sample(frac=1, random_state=0), "real")
    shown = cells(pages.arms(real, "loss", ["F2", "AUROC"], "By loss."))
    assert shown == [
        ["arm", "F2", "AUROC"],
        ["plain", "0.50 (0.40–0.60)", "0.80 (0.70–0.90)"],
        ["macro", "0.60 (0.50–0.70)", "0.70 (0.60–0.80)"],
        ["focal", "0.65 (0.55–0.75)", "0.90 (0.80–1.00)"],
    ]


def test_validation_scores_are_drawn_with_the_epoch_where_others_stop():
    scores = pd.DataFrame({"a": [0.1, 0.2], "b": [0.3, 0.2]}, index=[1, 2])
    ax = pages.validation(scores, stop=2).axes[0]
    assert [points(line)[0] for line in ax.lines[:2]] == [[1, 0.1], [1, 0.3]]
    assert [x for x, _ in points(ax.lines[2])] == [2, 2]
    assert len(pages.validation(scores).axes[0].lines) == 2


def test_all_verdicts_have_a_row_a_question_and_cohort(table):
    found = pages.all_verdicts(table)
    shown = cells(pages.verdict_table(found, "One verdict a question."))
    assert shown[0] == ["question", "cohort", "difference", "in", "corrected p", "verdict"]
    assert [row[:2] + row[-2:] for row in shown[1:]] == [
        ["Does it?", "real cohort", "0.200", "undecided"],
        ["Does it?", "simulated cohort", "0.010", "supported"],
        ["And this?", "real cohort", "1.000", "undecided"],
    ]
    assert shown[2][2] == "0.400 (0.200–0.600)"


def test_verdicts_are_drawn_and_filled_where_they_are_decided(table):
    ax = pages.verdict_figure(pages.all_verdicts(table)).axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["loss: macro (F2)", f"{GRID}: b 0.5, r 2 (F2)"]
    assert dots(ax) == [(0.1, 0), (0.25, -1.6), (0.4, -0.6)]
    filled = [one for one in ax.collections if isinstance(one, PathCollection) and one.get_facecolor()[0][:3].min() < 1]
    assert [tuple(np.round(one.get_offsets()[0], 6)) for one in filled] == [(0.4, -0.6)]


def test_matches_show_what_the_tests_have():
    tests = pd.DataFrame(
        {"seed": ["0"], "records": [9], "right_control": [3], "right": [4], "only_control": [1], "only_arm": [2]}
        | {"p": [0.0001], "arm": ["x"]}
    )
    shown = cells(pages.matches(tests, ["arm", "seed"], "Seed by seed."))
    assert shown == [
        ["arm", "seed", "records", "right without", "right with", "only without", "only with", "p"],
        ["x", "0", "9", "3", "4", "1", "2", "< 0.001"],
    ]
    assert cells(pages.matches(tests.assign(corrected=0.03), ["arm"], "All."))[0][-2:] == ["p", "corrected p"]
