import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import beat_tables
from ecgstudy.data.beats import BEAT_CLASSES
from tests.planted_beats import planted_beats


def row(network, metric, c, value, split="DS1/DS2", paper=np.nan):
    low, high = value - 0.1, value + 0.1
    about = {"network": network, "split": split, "metric": metric, "class": c}
    return about | {"value": value, "low": low, "high": high, "n": 5, "paper_value": paper, "run": ""}


def test_counts_are_of_the_beats_of_each_part():
    beats = planted_beats()
    parts = {"one": np.arange(100), "none": np.arange(0)}
    table = beat_tables.class_counts(beats, parts, "caption").data.set_index("class")
    assert list(table.index) == list(BEAT_CLASSES)
    assert table.loc["V", "one"] == (beats.table["aami"][:100] == "V").sum()
    assert (table["none"] == 0).all()


def test_scores_have_a_row_a_network_and_split_in_their_order():
    rows = [row("Z", "accuracy", "", 0.9), row("Z", "F1", "S", 0.5), row("Z", "precision", "S", 0.1)]
    rows += [row("A", "accuracy", "", 0.8), row("Z", "accuracy", "", 0.7, "random beats")]
    table = beat_tables.scores(pd.DataFrame(rows), "caption").data
    assert list(table.columns) == ["network", "tested on", "accuracy", "F1 S"]
    assert table["network"].tolist() == ["Z", "A", "Z"]
    assert table["tested on"].tolist() == ["DS1/DS2", "DS1/DS2", "random beats"]
    assert table["accuracy"].tolist() == ["0.90 (0.80–1.00)", "0.80 (0.70–0.90)", "0.70 (0.60–0.80)"]
    assert table["F1 S"][0] == "0.50 (0.40–0.60)"


def test_a_cited_number_is_that_of_its_row_or_none():
    rows = pd.DataFrame([row("A", "F1", "S", 0.5), row("A", "F1", "V", 0.05), row("A", "F1", "S", 0.7, "random beats")])
    assert beat_tables.cited(rows, "A", "F1", "V") == "0.05 (−0.05 to 0.15)"
    assert beat_tables.cited(rows, "A", "F1", "S", "random beats") == "0.70 (0.60–0.80)"
    with pytest.raises(LookupError, match="no row of A, DS1/DS2, F1, F"):
        beat_tables.cited(rows, "A", "F1", "F")


def test_what_others_report_is_theirs_alone():
    rows = [row("ours", "F1", "S", 0.5), row("theirs", "F1", "S", np.nan, paper=0.8)]
    rows += [row("theirs", "accuracy", "", np.nan, paper=0.95)]
    table = beat_tables.reported(pd.DataFrame(rows), "caption").data
    assert table.to_dict("records") == [{"network": "theirs", "F1 S": 0.8, "accuracy": 0.95}]


def test_the_worst_records_stand_first():
    """Of a one S beat is missed and one N beat called S; of b one S beat is found, one N beat called V; c is right."""
    answers = [("a", "S", "N"), ("a", "N", "S"), ("b", "S", "S"), ("b", "N", "V"), ("b", "S", "F"), ("c", "N", "N")]
    p = pd.DataFrame(np.eye(4)[[BEAT_CLASSES.index(given) for *_, given in answers]], columns=list(BEAT_CLASSES))
    target = [BEAT_CLASSES.index(true) for _, true, _ in answers]
    table = beat_tables.errors_by_record(p.assign(record=[r for r, *_ in answers], target=target), 2, "caption").data
    assert table["record"].tolist() == ["a", "b"]
    assert table.iloc[0].tolist() == ["a", 1, 0, 1, 1, 0]
    assert table.iloc[1].tolist() == ["b", 2, 1, 1, 0, 1]


def test_shares_in_the_window_beside_their_rivals():
    rows = [row("FCN", "map in the window", "S", 0.3), row("FCN", "map in the window, more than random", "S", 0.2)]
    rows += [row("energy", "map in the window", "S", 0.6), row("FCN", "map in the window", "V", 0.4)]
    table = beat_tables.in_window(pd.DataFrame(rows), "caption").data
    assert list(table.columns) == ["class", "map", "in the window", "more than random"]
    assert table[["class", "map"]].to_numpy().tolist() == [["S", "FCN"], ["S", "energy"], ["V", "FCN"]]
    assert table["in the window"].tolist() == ["0.30 (0.20–0.40)", "0.60 (0.50–0.70)", "0.40 (0.30–0.50)"]
    assert table["more than random"].tolist() == ["0.20 (0.10–0.30)", "", ""]


def test_correlations_have_a_column_a_class():
    rows = [row("FCN", "map correlates with: LSTM", c, v) for c, v in (("S", 0.2), ("V", 0.6))]
    table = beat_tables.correlations(pd.DataFrame(rows), "caption").data
    expected = {"map of": "FCN", "with": "LSTM", "S": "0.20 (0.10–0.30)", "V": "0.60 (0.50–0.70)"}
    assert table.to_dict("records") == [expected]
