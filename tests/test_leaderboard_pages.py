import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import leaderboard_pages as pages
from ecgstudy.book import report
from ecgstudy.data.labels import CLASSES


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


@pytest.fixture
def scores():
    """Committed scores of three systems, of which "b" is the best."""
    rows = []
    for system, level in (("a", 0.7), ("b", 0.9), ("c", 0.8)):
        for metric, gain in (("AUROC", 0), ("F1", -0.5)):
            for name in ("", *CLASSES):
                value = level + gain + (0.01 * CLASSES.index(name) if name else 0)
                paper = 0.95 if (system, metric, name) == ("a", "F1", "") else np.nan
                rows.append((system, metric, name, value, value - 0.1, value + 0.05, paper))
    return pd.DataFrame(rows, columns=["system", "metric", "class", "value", "low", "high", "paper_value"])


def cells(styler):
    """Headings of a table, then its rows, as text."""
    return [list(styler.data), *styler.data.astype(str).to_numpy().tolist()]


def test_systems_are_in_order_of_their_macro_auroc(scores):
    ordered = pages.ordered(scores)
    assert list(ordered["system"].cat.categories) == ["b", "c", "a"] and "system" in scores
    assert ordered["system"].iloc[0] == "b" and len(ordered) == len(scores)
    assert pages.overall(ordered, "F1")["value"].tolist() == pytest.approx([0.4, 0.3, 0.2])
    both = pages.overall(ordered, "F1", "AUROC")
    assert both["metric"].tolist() == ["F1"] * 3 + ["AUROC"] * 3 and both["system"].tolist() == ["b", "c", "a"] * 2
    assert pages.best_of(ordered, ["a", "c"]) == "c"


def test_pairs_of_one_source_stand_beside_all_pairs_in_the_same_order(scores):
    within = pd.DataFrame({"system": ["a", "b", "c"], "value": [0.1, 0.2, 0.3], "low": 0.0, "high": 1.0})
    both = pages.pooled_and_within(pages.ordered(scores), within).set_index(["pairs", "system"])["value"]
    assert both["all pairs"].to_dict() == pytest.approx({"b": 0.9, "c": 0.8, "a": 0.7})
    assert list(both["pairs of one source"].items()) == [("b", 0.2), ("c", 0.3), ("a", 0.1)]


def test_first_members_can_be_left_out(scores):
    names = scores["system"].replace({"c": "b, one"})
    left = pages.without_first_members(scores.assign(system=pd.Categorical(names)))
    assert set(left["system"]) == {"a", "b"} and len(left) == len(scores) * 2 // 3


def test_means_have_a_row_a_system_and_a_column_a_metric(scores):
    shown = pages.means(pages.ordered(scores), ["F1", "AUROC"], "Means.")
    assert cells(shown) == [
        ["system", "F1", "AUROC"],
        ["b", "0.400 (0.300–0.450)", "0.900 (0.800–0.950)"],
        ["c", "0.300 (0.200–0.350)", "0.800 (0.700–0.850)"],
        ["a", "0.200 (0.100–0.250)", "0.700 (0.600–0.750)"],
    ]


def test_classes_are_drawn_with_their_numbers_of_records(scores):
    ax = pages.by_class(pages.ordered(scores), dict(zip(CLASSES, range(9), strict=True))).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "a"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"{c}\n{n}" for n, c in enumerate(CLASSES)]
    numbers = np.array([float(text.get_text()) for text in ax.texts]).reshape(3, 9)
    np.testing.assert_allclose(numbers[0], 0.9 + 0.01 * np.arange(9))


def test_differences_and_their_reverse():
    found = pd.DataFrame(
        {"system": ["a", "b"], "difference": [0.1, -0.02], "low": [0.05, -0.06], "high": [0.2, 0.01], "p": [0.0, 0.4]}
    )
    assert pages.difference(found, "a") == "0.100 (0.050–0.200)"
    assert pages.difference(found, "a", reverse=True) == "−0.100 (−0.200 to −0.050)"
    rows = pages.differences(found)
    assert rows[["system", "value", "low", "high"]].to_numpy().tolist() == [
        ["a", 0.1, 0.05, 0.2],
        ["b", -0.02, -0.06, 0.01],
    ]


def test_sources_keep_their_order_and_systems_that_of_the_page():
    found = pd.DataFrame(
        [
            (system, source, n, classes, value, value - 0.1, value + 0.1)
            for source, n, classes in (("PTB", 120, 8), ("CPSC", 60, 5))
            for system, value in (("a", 0.6), ("b", 0.8))
        ],
        columns=["system", "source", "n", "classes", "value", "low", "high"],
    )
    shown = report.wide(pages.within_sources(found, ["b", "a"]), "system", "source")
    assert [list(shown), *shown.astype(str).to_numpy().tolist()] == [
        ["system", "PTB\n120 records, 8 classes", "CPSC\n60 records, 5 classes"],
        ["b", "0.800 (0.700–0.900)", "0.800 (0.700–0.900)"],
        ["a", "0.600 (0.500–0.700)", "0.600 (0.500–0.700)"],
    ]


def test_few_and_many_stand_side_by_side():
    found = pd.DataFrame(
        {"system": ["a"], "few": [0.7], "many": [0.9], "difference": [0.2], "low": [0.1], "high": [0.3]}
    )
    shown = cells(pages.more_records(found, "1,333", "18,000 others", "More."))
    assert shown == [["", "1,333", "18,000 others", "difference"], ["a", "0.7", "0.9", "0.200 (0.100–0.300)"]]


def test_only_what_a_paper_reports_stands_beside_it(scores):
    shown = report.wide(pages.beside_papers(scores), ["system", "metric"], "whose")
    assert shown.to_dict("records") == [
        {"system": "a", "metric": "F1", "this cohort": "0.200 (0.100–0.250)", "paper": "0.950"}
    ]


def test_costs_are_those_of_the_cards():
    card = {"parameters": 12_345, "multiply_adds": 2_500_000, "records_per_second": 70, "runs": ["a", "b"]}
    shown = pages.costs({"x": card | {"training_seconds": 90.0}}, "Costs.")
    row = shown.data.iloc[0].to_dict()
    assert row == {
        "": "x",
        "parameters": 12_345,
        "multiply-adds (million)": 2.5,
        "records/s, one thread": 70,
        "networks trained": 2,
        "minutes of training": 1.5,
    }
    assert "12,345" in shown.to_html() and ">2.5<" in shown.to_html()
