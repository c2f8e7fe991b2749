"""Tables and figures of the chapter on how far simulated hearts carry."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import real_records, report
from ecgstudy.book import transfer_pages as pages
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.paths import NOTEBOOKS
from ecgstudy.studies import curve, fair_trial, leaderboard, starts, transfer

THREE = (transfer.REAL, transfer.SIMULATED, transfer.BOTH)

NUMBERS = ["value", "low", "high"]


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    """A number for each reader, what it has seen, measure and class; no other is equal to it."""
    readers, measures = (transfer.TREES, "Local evidence", transfer.MEAN), (transfer.AUROC, transfer.LESS_REAL)
    keys = list(itertools.product(readers, THREE, measures, ("", *CLASSES)))
    table = pd.DataFrame(keys, columns=["reader", "seen", "measure", "class"])
    table = table.assign(value=0.5 + np.arange(len(table)) / 1000, n=30, positives=7, p=0.01)
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)


def number(rows, *key):
    return rows.set_index(["reader", "seen", "measure", "class"]).loc[key, "value"]


def test_hearts_of_a_row_have_one_finding_and_one_lead_on_one_scale():
    found = {name: pages.hearts(name, 3, 7) for name in ("RBBB", "STD")}
    for name, records in found.items():
        assert [what for what, _ in records] == ["real", "plain", "varied"]
        assert all(name in record.labels for _, record in records)
        assert pages.SHOWN[name][0] in real_records.committed()
        (_, plain), (_, varied) = records[1:]
        assert plain.fs == varied.fs and not np.array_equal(plain.signal, varied.signal)
    axes = pages.side_by_side(found).axes
    assert [ax.get_title(loc="left") for ax in axes[:3]] == [f"RBBB, V1: {w}" for w in ("real", "plain", "varied")]
    assert len({ax.get_ylim() for ax in axes[:3]}) == 1
    (_, real), y = found["STD"][0], np.asarray(axes[3].lines[0].get_ydata())
    shown = real.signal[LEADS.index("V5"), : round(pages.SECONDS * real.fs)]
    np.testing.assert_allclose(y, shown - np.median(shown))


def test_starts_and_classes_are_drawn_with_a_mark_for_each_training(rows):
    figure = pages.starts(rows, seen=THREE, reference=0.6)
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [transfer.TREES, "Local evidence", transfer.MEAN]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(THREE)
    written = {t.get_text() for t in ax.texts}
    assert report.number(number(rows, "Local evidence", transfer.BOTH, transfer.AUROC, "")) in written
    ax = pages.by_class(rows, transfer.MEAN, seen=THREE).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(CLASSES)
    assert f"{number(rows, transfer.MEAN, transfer.REAL, transfer.AUROC, 'AF'):.2f}" in {t.get_text() for t in ax.texts}
    assert pages.area(rows, transfer.TREES, transfer.REAL) == number(rows, transfer.TREES, transfer.REAL, "AUROC", "")


def test_tables_have_a_row_for_each_reader_and_what_it_has_seen_or_class(rows):
    shown = pages.table(rows, "All.", seen=THREE).data
    assert len(shown) == 9 and list(shown) == ["reader", "seen", transfer.AUROC, transfer.LESS_REAL]
    shown = pages.table(rows, "By class.", seen=THREE, classes=True).data
    assert len(shown) == 9 * 3 and list(shown) == ["class", "records with it", "reader", *THREE]


def test_the_prose_is_told_what_the_rows_say(rows):
    told, where = pages.told(rows), ("Local evidence", transfer.SIMULATED)
    mean, first = (
        number(rows, *where, measure, c) for measure, c in ((transfer.AUROC, ""), (transfer.LESS_REAL, "I-AVB"))
    )
    assert told["own_alone"] == report.interval(mean, mean - 0.1, mean + 0.1)
    assert told["own_alone_less_real_IAVB"] == report.interval(first, first - 0.1, first + 0.1)
    assert not [key for key in told if key.startswith("butt")] and told["n_AF"] == str(transfer.held_out()["AF"].sum())


def test_steps_are_drawn_by_reader_and_told_by_class():
    rows = transfer.committed()
    ax = pages.steps(rows).axes[0]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert set(rows["reader"]) < set(labels) and transfer.PLAIN not in labels
    told = pages.of_steps(rows, transfer.TREES, "trees")
    row = rows.query(
        "reader == @transfer.TREES and variety == 'all' and measure == @transfer.AUROC and `class` == 'I-AVB'"
    )
    assert told["trees_all_IAVB"] == report.number(row["value"].iloc[0]) and "trees_all_but_recorders_more" in told
    assert len(pages.steps_by_class(rows, "Steps.").data) == 10 * rows["reader"].nunique()


def test_the_curve_is_drawn_and_told():
    rows = curve.committed()
    ax = pages.by_records(rows).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1,000", "2,000", "6,000", "18,000"]
    labels = [t.get_text() for t in ax.figure.axes[0].get_legend().get_texts()]
    assert labels == [f"{reader}{end}" for reader in curve.ENTRIES for end in ("", ", with unlabelled")]
    areas = rows[rows["measure"] == transfer.AUROC].set_index(["reader", "records", "variety", "class"])["value"]
    told = pages.of_curve(rows)
    assert told["curve_own_18000"] == report.number(areas["Local evidence", 18_000, transfer.ALL, ""], 3)
    assert told["curve_trees_unlabelled_NSR"] == report.number(areas[transfer.TREES, 18_000, transfer.WIDEST, "NSR"], 3)
    gain = areas["Local evidence", 18_000, transfer.ALL, ""] - areas["Local evidence", 2000, transfer.ALL, ""]
    assert float(told["curve_own_gain"].split()[0]) == pytest.approx(gain, abs=6e-4)
    assert len(pages.curve_by_class(rows, "Curve.").data) == 10 * len(curve.ENTRIES)
    # What the chapter says of it.
    less = rows[(rows["measure"] == curve.LESS) & (rows["class"] == "")].set_index(["reader", "records", "variety"])
    for reader in curve.ENTRIES[:2]:
        more = less.loc[(reader, 2000, transfer.ALL)]
        assert more["low"] < 0 < more["high"] and abs(more["value"]) < 0.02
    assert less.loc[("ECGMaster", 2000, transfer.ALL), "high"] < 0
    most = [areas[reader, 18_000, transfer.ALL, ""] for reader in curve.ENTRIES]
    assert most[2] == max(most)
    trees, own, ecgmaster = (less.loc[(reader, 18_000, transfer.WIDEST), "value"] for reader in curve.ENTRIES)
    assert trees > 0.01 and abs(own) < 0.01 and abs(ecgmaster) < 0.01
    for reader in curve.ENTRIES[1:]:
        simulated = rows[(rows["measure"] == curve.ON_SIMULATED) & (rows["reader"] == reader)].sort_values("records")
        assert simulated["value"].is_monotonic_increasing and len(simulated) == 4


def test_five_starts_are_drawn_and_told():
    rows = starts.committed()
    figure = pages.by_start(rows)
    labels = sorted(figure.axes[0].get_yticklabels(), key=lambda label: -label.get_position()[1])
    usual = [starts.ONE, starts.ONE_WITH_TREES, starts.TOGETHER, starts.WITH_TREES]
    more = [starts.NONE_REAL, starts.ALL_SIMULATED], [starts.EVERYTHING], []
    rows_of_it = [one for seen, others in zip(starts.SEEN, more, strict=True) for one in (seen, *usual, *others)]
    assert [label.get_text() for label in labels] == rows_of_it
    means = (
        rows[rows["class"] == ""].set_index(["who", "seen", "measure", "tested"])[["value", "low", "high"]].sort_index()
    )
    told = pages.of_starts(rows)
    assert told["five_trees_midway_all"] == report.interval(
        *means.loc[(starts.WITH_TREES, transfer.MIDWAY, transfer.AUROC, starts.ALL_RECORDS)], digits=3
    )
    assert told["one_both_less_alone"] == report.interval(
        *means.loc[(starts.ONE, transfer.BOTH, starts.LESS_ALONE, starts.HELD_OUT)], digits=3
    )
    pair = means.loc[(starts.ONE_WITH_TREES, transfer.MIDWAY, transfer.AUROC)]
    assert told["one_trees_midway"] == report.interval(*pair.loc[starts.HELD_OUT], digits=3)
    # What the chapter says of them.
    held = means.xs(starts.HELD_OUT, level="tested")
    trees = row_of_trees()
    assert abs(held.loc[(starts.ONE, transfer.MIDWAY, transfer.AUROC), "value"] - trees) < 0.01
    assert held.loc[(starts.ONE, transfer.MIDWAY, starts.LESS_ALONE), "low"] > 0
    gain = held.loc[(starts.ONE, transfer.BOTH, starts.LESS_ALONE)]
    assert gain["low"] < 0 < gain["high"]
    level = held.loc[(starts.TOGETHER, transfer.MIDWAY, transfer.LESS_TREES)]
    assert level["low"] < 0 < level["high"]
    for measure in (transfer.LESS_TREES, starts.LESS_ONE):
        assert held.loc[(starts.WITH_TREES, transfer.MIDWAY, measure), "low"] > 0
    less = held.loc[(starts.NONE_REAL, transfer.SIMULATED, transfer.LESS_TREES)]
    assert less["low"] < 0 < less["high"] and less["value"] > 0
    assert (
        held.loc[(starts.EVERYTHING, transfer.MIDWAY, transfer.AUROC), "value"]
        < (held.loc[(starts.WITH_TREES, transfer.MIDWAY, transfer.AUROC), "value"])
    )
    assert (
        held.loc[(starts.ALL_SIMULATED, transfer.SIMULATED, transfer.AUROC), "value"]
        < (held.loc[(starts.NONE_REAL, transfer.SIMULATED, transfer.AUROC), "value"])
    )
    before = means.xs((transfer.AUROC, starts.DEVELOPMENT), level=("measure", "tested"))["value"]
    assert before[starts.EVERYTHING, transfer.MIDWAY] == before.max()
    assert before[starts.ALL_SIMULATED, transfer.SIMULATED] > before[starts.NONE_REAL, transfer.SIMULATED]
    classes = rows[(rows["tested"] == starts.HELD_OUT) & (rows["who"] == starts.NONE_REAL)]
    classes = classes[classes["measure"] == transfer.LESS_TREES].set_index("class")
    assert classes.loc["I-AVB", "low"] > 0 > classes.loc["NSR", "high"]
    # What it says of LUDB.
    figure = pages.by_start(rows, starts.ELSEWHERE)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == sorted([*starts.SEEN, *3 * usual])
    there = (
        rows[rows["tested"] == starts.ELSEWHERE].set_index(["who", "seen", "measure", "class"])[NUMBERS].sort_index()
    )
    by_trees = there.loc[(transfer.TREES, transfer.REAL, transfer.AUROC, "")]
    assert told["trees_ludb"] == report.interval(*by_trees, digits=3)
    areas = there.xs((transfer.AUROC, ""), level=("measure", "class")).drop(transfer.TREES, level="who")
    assert len(areas) == 12 and areas["value"].min() > by_trees["value"] + 0.02
    assert areas["value"].max() - areas["value"].min() < 0.015
    for seen in (transfer.MIDWAY, transfer.BOTH):
        change = there.loc[(starts.ONE, seen, starts.LESS_ALONE, "")]
        assert change["low"] < 0 < change["high"]
    less = there.xs((starts.TOGETHER, transfer.SIMULATED, transfer.LESS_TREES))
    assert less.loc["", "low"] > 0 and less.loc["I-AVB", "low"] > 0
    assert [name for name in less.index if name and less.loc[name, "low"] > 0] == ["I-AVB", "RBBB"]
    assert less.loc[["I-AVB", "RBBB"], "value"].sum() > 7 * less.loc["", "value"]  # all of it comes from these two
    positives = rows[rows["tested"] == starts.ELSEWHERE].groupby("class")["positives"].first()
    assert positives["RBBB"] == positives["LBBB"] == positives.min() and len(positives) == 1 + 7
    assert told["n_any_ludb"] == str(positives[""]) and positives["NSR"] > 0.8 * positives[""]
    assert rows.loc[rows["tested"] == starts.ELSEWHERE, "n"].eq(200).all()
    best = leaderboard.committed("real")
    best = best[(best["metric"] == "AUROC") & (best["class"] == "")]["value"].max()
    assert means.loc[(starts.WITH_TREES, transfer.MIDWAY, transfer.AUROC, starts.ALL_RECORDS), "value"] > best


def row_of_trees():
    rows = transfer.tested(repeats=2).set_index(["reader", "seen", "measure", "class"])["value"]
    return rows[transfer.TREES, transfer.REAL, transfer.AUROC, ""]


def test_what_nsr_is_told_from_is_drawn_and_told():
    keys = list(
        itertools.product(
            (transfer.TREES, "Local evidence"), THREE, (transfer.ANOTHER, transfer.NONE, transfer.NONE_THERE)
        )
    )
    rows = pd.DataFrame(keys, columns=["reader", "seen", "against"])
    rows["value"] = 0.6 + np.arange(len(rows)) / 100
    rows = rows.assign(low=rows["value"] - 0.1, high=rows["value"] + 0.1, n=[5, 8, 3] * 6)
    figure = pages.normal(rows, ["Local evidence"], seen=THREE[:2])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["Local evidence", *THREE[:2]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [transfer.ANOTHER, transfer.NONE]
    told = pages.told_of_normal(rows)
    value = rows.set_index(["reader", "seen", "against"]).loc[("Local evidence", transfer.SIMULATED, transfer.NONE)]
    assert told["own_alone_none"] == report.interval(*value[["value", "low", "high"]], digits=3)
    assert told["n_another"] == "5" and told["n_none"] == "8" and told["n_there"] == "3"
    labels = leaderboard.records_of("real")[list(CLASSES)].to_numpy(dtype=bool)
    assert int(told["all_none"]) == (~labels.any(axis=1)).sum()
    assert int(told["all_with_nsr_and_more"]) == sum(row[0] and row[1:].any() for row in labels)


def test_maps_are_those_of_the_trial():
    rows = fair_trial.table().query("system == 'Local evidence' and cohort == 'LUDB' and trial == 'excess mass'")
    rows = rows.query("method == 'evidence' and `class` == '' and key == @fair_trial.KEYS[1]").set_index("trained")
    told = pages.maps("Local evidence")
    for name, trained in (("plain", "pre-trained"), ("varied", "varied records first"), ("midway", "midway")):
        assert told[f"map_{name}"] == report.interval(*rows.loc[trained, ["value", "low", "high"]], digits=2)


def test_the_captions_of_the_chapter_are_true_of_its_rows():
    page, areas = (NOTEBOOKS / "14_transfer.ipynb").read_text(encoding="utf-8"), transfer.tested(repeats=200)
    mean = areas[areas["class"] == ""].set_index(["measure", "reader", "seen"])["value"].sort_index()
    auroc, within = mean[transfer.AUROC], mean[transfer.WITHIN]
    better = ["BUTTeam", "ECGMaster", "Local evidence"]
    assert all(auroc[name, transfer.SIMULATED] > auroc[name, transfer.REAL] for name in better)
    assert "BUTTeam, ECGMaster and the study's own network read better after simulated ECGs alone" in page
    gains = mean[transfer.LESS_REAL].xs(transfer.SIMULATED, level="seen")
    assert gains.drop([transfer.MEAN, transfer.WITH_TREES]).idxmax() == "BUTTeam" and "BUTTeam gains most" in page
    several = [name for name in within.index.unique("reader") if (name, transfer.SIMULATED) in within.index]
    for name in several:
        if (name, transfer.ASIDE) in within.index:
            assert within[name, transfer.SIMULATED] > within[name, transfer.ASIDE]
        if (name, transfer.BOTH_ASIDE) in within.index and name != "CNN-GAP":
            assert within[name, transfer.SIMULATED] > within[name, transfer.BOTH_ASIDE] > within[name, transfer.ASIDE]
    assert "simulated records alone lie furthest to the right for all networks but CNN-GAP" in page
    gap = [within["CNN-GAP", seen] for seen in (transfer.ASIDE, transfer.SIMULATED, transfer.BOTH_ASIDE)]
    assert (
        max(gap) == gap[2]
        and max(auroc["CNN-GAP"]) < 0.7
        and "In this size CNN-GAP learns little from real records" in page
    )
    less = areas[(areas["measure"] == transfer.LESS_REAL) & (areas["seen"] == transfer.SIMULATED)]
    for reader in (transfer.MEAN, "Local evidence"):
        gains = less[less["reader"] == reader].set_index("class")["value"]
        assert gains[list(CLASSES)].idxmax() == "I-AVB" and gains["NSR"] < 0
    for name in ("ECGMaster", "BUTTeam"):
        assert auroc[name, transfer.BOTH] < auroc[name, transfer.SIMULATED]
    normal = transfer.normal(repeats=200).set_index(["reader", "against", "seen"]).sort_index()
    own = {against: normal.loc[("Local evidence", against)] for against in (transfer.ANOTHER, transfer.NONE)}
    for reader in ("Local evidence", transfer.TREES):
        other, none = (normal.loc[(reader, against), "value"] for against in (transfer.ANOTHER, transfer.NONE))
        assert abs(other[transfer.SIMULATED] - other[transfer.REAL]) < 0.02
        assert none[transfer.REAL] - none[transfer.SIMULATED] > 0.08
    assert own[transfer.NONE].loc[transfer.SIMULATED, "high"] < own[transfer.NONE].loc[transfer.REAL, "low"]
    assert "both readers lose little against other classes, and much against the records without a class" in page
    there = normal.loc[("Local evidence", transfer.NONE_THERE), "value"]
    falls = [rows[transfer.REAL] - rows[transfer.SIMULATED] for rows in (own[transfer.NONE]["value"], there)]
    assert falls[1] > falls[0] and "the network falls as much" in page
    for name in ("xECGNet", "ECGMaster"):
        row = normal.loc[(name, transfer.ANOTHER), "value"]
        assert 0.02 < row[transfer.REAL] - row[transfer.SIMULATED] < 0.05
    for against in (transfer.ANOTHER, transfer.NONE):
        row = normal.loc[("BUTTeam", against), "value"]
        assert row[transfer.SIMULATED] > row[transfer.REAL]
    ends = own[transfer.NONE]["value"]
    back_share = (ends[transfer.MIDWAY] - ends[transfer.SIMULATED]) / (ends[transfer.REAL] - ends[transfer.SIMULATED])
    assert 0.5 < back_share < 0.75 and "Real records bring more than half of it back" in page
    # Halfway.
    limits = areas[areas["class"] == ""].set_index(["measure", "reader", "seen"])[["low", "high"]]
    back = limits.loc[[transfer.LESS_TUNED, transfer.LESS_ALONE]].xs(transfer.MIDWAY, level="seen")
    for name in ("xECGNet", "BUTTeam", "Local evidence"):
        assert within[name, transfer.MIDWAY] > max(within[name, transfer.SIMULATED], within[name, transfer.BOTH])
    for name in ("ECGMaster", "CNN-GAP"):
        ends = within[name, transfer.BOTH], within[name, transfer.SIMULATED]
        assert ends[0] < within[name, transfer.MIDWAY] < ends[1]
    assert "for ECGMaster and CNN-GAP between them" in page
    assert (back["high"] > 0).all() and "halfway no network is clearly behind either end" in page
    assert back.loc[(transfer.LESS_ALONE, "Local evidence"), "low"] > 0 and "for certain" in page
    for name in several:
        if (name, transfer.MIDWAY_ASIDE) in within.index and name != "CNN-GAP":
            end, *way = (
                within[name, seen] for seen in (transfer.BOTH_ASIDE, transfer.MIDWAY_ASIDE, transfer.SIMULATED)
            )
            assert way[0] - end > (way[1] - end) / 2
    assert "the way back undoes most of the loss where there is one" in page
    assert limits.loc[(transfer.LESS_ALONE, "Local evidence", transfer.MIDWAY_ASIDE), "high"] < 0
    assert "a small loss stays" in page
    told = pages.maps("Local evidence")
    assert max(told[f"map_{name}"] for name in ("plain", "varied", "midway")) == told["map_midway"]
    # The aim that is reached, and those that are not.
    assert limits.loc[(transfer.WITHIN, "Local evidence", transfer.MIDWAY_ASIDE), "low"] > 0.8
    low = limits["low"].loc[transfer.AUROC]
    assert low["Local evidence", transfer.MIDWAY] < 0.94 and low[transfer.WITH_TREES, transfer.MIDWAY] < 0.96
    assert low["Local evidence", transfer.SIMULATED] > 0.8 and low[transfer.WITH_TREES, transfer.BOTH] < 0.96
    assert low["Local evidence", transfer.SIMULATED] < 0.93 and low["Local evidence", transfer.BOTH] < 0.94
