from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import PathPatch

from ecgstudy.book import report
from ecgstudy.book import simulator_pages as pages
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.studies import realism


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def distribution():
    """Two data sets measured in one quantity of the record and one of each lead; twins are higher by 1 and by 2."""
    rng = np.random.default_rng(0)
    names = ["RR (ms)", *(f"QRS (mV), {lead}" for lead in LEADS), *(f"T (mV), {lead}" for lead in LEADS)]
    tables = []
    for group, shift in (("PTB-XL", 1), ("CPSC 2018", 2)):
        values = rng.normal(size=(80, len(names))) + np.arange(len(names))
        real = pd.DataFrame(values, columns=names).assign(patient=np.arange(80).astype(str))
        tables.append(realism.distributions(group, real, real.assign(**{n: real[n] + shift for n in names}), 50))
    return pd.concat(tables, ignore_index=True)


def cells(styler):
    """Headings of a table, then its rows, as text."""
    return [list(styler.data), *styler.data.astype(str).to_numpy().tolist()]


def xs(line):
    """Where the points of a line stand."""
    return np.asarray(line.get_xdata()).tolist()


def test_a_row_is_found_by_its_columns_alone_if_it_is_one(distribution):
    value = pages.row_of(distribution, group="PTB-XL", quantity="RR (ms)", statistic="real p50")["value"]
    shown = pages.number_of(distribution, 1, group="PTB-XL", quantity="RR (ms)", statistic="real p50")
    assert shown == report.number(value, 1)
    ks = pages.row_of(distribution, group="PTB-XL", quantity="RR (ms)", statistic="KS")
    shown = pages.interval_of(distribution, group="PTB-XL", quantity="RR (ms)", statistic="KS")
    assert shown == report.interval(ks["value"], ks["low"], ks["high"])
    with pytest.raises(ValueError, match="0 rows"):
        pages.row_of(distribution, group="nowhere")
    with pytest.raises(ValueError, match="2 rows"):
        pages.row_of(distribution, quantity="RR (ms)", statistic="KS")


def test_what_was_drawn_is_told_by_the_heart_and_not_by_the_label():
    one = synthetic.simulate(3, 1, fs=100, noise=0, labels=frozenset({"I-AVB"}))
    fibrillation = synthetic.simulate(4, 1, fs=100, noise=0, labels=frozenset({"AF"}))
    drawn = pages.drawn_quantities([one, fibrillation])
    assert drawn["I-AVB"].tolist() == [True, False] and drawn["AF"].tolist() == [False, True]
    assert drawn.loc[0, "PR (ms)"] > 200 and np.isnan(drawn.loc[1, "PR (ms)"])
    assert drawn.loc[0, "QRS (ms)"] == pytest.approx(1000 * one.parameters["heart"]["qrs_duration"])
    rr = np.diff(fibrillation.parameters["beats"]["onset"])
    assert drawn.loc[1, "variation of RR"] == pytest.approx(rr.std() / rr.mean())


def test_records_with_and_without_a_finding_have_their_own_curves():
    drawn = pd.DataFrame(
        {"PR (ms)": [150, 160, 250], "QRS (ms)": [90, 130, 95], "variation of RR": [0.01, 0.5, 0.2]}
        | {"I-AVB": [False, False, True], "LBBB or RBBB": [False, True, False], "AF": [False, False, True]}
        | {"ectopic": [False, True, False]}
    )
    axes = pages.borderline(drawn).axes
    without, with_finding, limit = axes[0].lines
    assert xs(without)[1:] == [150, 160] and xs(with_finding)[1:] == [250]
    assert xs(limit) == [200, 200] and xs(axes[1].lines[2]) == [120, 120]
    # The record with an ectopic beat is in no curve of the rhythm, which has no limit.
    assert [xs(line)[1:] for line in axes[2].lines] == [[0.01], [0.2]]


def test_disputed_labels_are_counted_by_pair():
    records = [synthetic.simulate(i, 0, fs=100, seconds=6, noise=0, balance=1) for i in range(150)]
    shown = pages.disputed(records, "Disputed.", most=100).data
    wrong = [one for one in records if set(one.record.codes) != set(one.parameters["truth"])]
    assert shown["records"].sum() == len(wrong) > 0
    assert (shown["the heart has"] != shown["the label says"]).all()
    assert shown["records"].is_monotonic_decreasing


def test_both_sides_are_told_by_their_medians(distribution):
    shown = pages.side_by_side(distribution, "PTB-XL").set_index("quantity")
    assert shown["records"].eq(80).all() and len(shown) == 1 + 2 * len(LEADS)
    low, middle, high = (
        pages.row_of(distribution, group="PTB-XL", quantity="RR (ms)", statistic=f"simulated p{q}")["value"]
        for q in (5, 50, 95)
    )
    assert shown.loc["RR (ms)", "simulated"] == f"{middle:.4g} ({low:.4g} to {high:.4g})"
    once = pages.once_a_record(distribution, ["PTB-XL", "CPSC 2018"])
    assert once["quantity"].tolist() == ["RR (ms)"] * 2 and once["data set"].tolist() == ["PTB-XL", "CPSC 2018"]


def test_medians_and_ranges_are_named_by_their_side(distribution):
    told = pages.medians(distribution, "PTB-XL", rr="RR (ms)", t="T (mV), V1")
    assert list(told) == ["rr_real", "rr_simulated", "t_real", "t_simulated"]
    plain = {name: float(text.replace("−", "-")) for name, text in told.items()}
    assert plain["rr_simulated"] - plain["rr_real"] == pytest.approx(1, abs=0.011)
    (low, high) = map(float, pages.ranges(distribution, "PTB-XL", t="T (mV), V1")["t_real"].split(" to "))
    assert low < plain["t_real"] < high


def test_ks_in_words(distribution):
    ks = distribution[distribution["statistic"] == "KS"]
    told = pages.ks_in_words(distribution)
    assert told["ks_all"] == str(2 * (1 + 2 * len(LEADS))) and told["ks_worst_what"].endswith("in CPSC 2018")
    assert float(told["ks_worst"]) == pytest.approx(ks["value"].max(), abs=0.005)
    assert told["ks_clear"] == str(sum(low > 0.1 for low in ks["low"]))


def test_boxes_stand_at_the_percentiles_of_each_lead(distribution):
    figure = pages.boxes_by_lead(distribution, "PTB-XL", ["QRS (mV)", "T (mV)"])
    assert [ax.get_ylabel() for ax in figure.axes] == ["QRS (mV)", "T (mV)"]
    boxes = [np.asarray(patch.get_path().vertices) for patch in figure.axes[1].patches if isinstance(patch, PathPatch)]
    assert len(boxes) == 2 * len(LEADS)
    where = {"group": "PTB-XL", "quantity": "T (mV), V1"}
    quartiles = [pages.row_of(distribution, **where, statistic=f"real p{q}")["value"] for q in (25, 75)]
    of_v1 = boxes[LEADS.index("V1")]  # the real ones come first
    assert [of_v1[:, 1].min(), of_v1[:, 1].max()] == pytest.approx(quartiles)
    assert figure.axes[0].get_legend().get_texts()[1].get_text() == "simulated"


def test_ks_by_lead_is_in_hundredths(distribution):
    figure = pages.ks_by_lead(distribution, ["PTB-XL", "CPSC 2018"])
    assert [ax.get_title() for ax in figure.axes] == ["PTB-XL", "CPSC 2018"]
    numbers = [int(text.get_text()) for text in figure.axes[1].texts]
    of_t = [
        pages.row_of(distribution, group="CPSC 2018", quantity=f"T (mV), {lead}", statistic="KS")["value"]
        for lead in LEADS
    ]
    assert len(numbers) == 24 and numbers[12:] == [round(100 * value) for value in of_t]


def record_of(name, source, labels=("AF",)):
    x = np.tile(np.arange(12, dtype=np.float32)[:, None], 1000) + np.sin(np.arange(1000, dtype=np.float32))
    return Record(name, x, 100, LEADS, source, name, frozenset(labels))


def test_strips_show_five_seconds_of_two_leads():
    figure = pages.strips([record_of("a", "PTB-XL"), record_of("b", "georgia")])
    axes = figure.axes
    assert [ax.get_ylabel() for ax in axes] == ["1  II", "1  V2", "2  II", "2  V2"]
    assert len(xs(axes[0].lines[0])) == 500 and np.median(np.asarray(axes[3].lines[0].get_ydata())) == pytest.approx(0)


def test_the_solution_names_source_and_licence_of_what_is_real():
    real = [record_of("7", "PTB-XL", ["STD", "AF"]), record_of("8", "georgia")]
    told = pages.solution([*((record, True) for record in real), (record_of("9", "x"), False)])
    assert "Strip 1</summary>real (PTB-XL, CC BY 4.0, record 7): AF, STD<" in told
    assert "real (georgia, PhysioNet/CinC Challenge 2021, CC BY 4.0, record 8): AF<" in told
    assert "Strip 3</summary>simulated: AF<" in told and "no real recordings" not in told
    assert "no real recordings are at hand" in pages.solution([(record_of("9", "x"), False)])


def test_classifiers_and_what_gives_away():
    measured = pd.DataFrame(
        {"question": ["real or simulated", "other"], "group": ["trees", "x"], "value": [0.99, 0], "low": [0.98, 0]}
        | {"high": [1.0, 0], "n": [200, 1]}
    )
    rows = report.wide(pages.apart(measured), ["group", "n"], "metric")
    assert rows.to_numpy().tolist() == [["trees", 200, "0.990 (0.980–1.000)"]]
    ax = pages.gives_away(pd.Series({"most": 0.05, "less": 0.01})).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["less", "most"]
    bars: Any = ax.patches
    assert [bar.get_width() for bar in bars] == [0.01, 0.05]


@pytest.fixture
def transfer():
    arms = ("simulated alone, on simulated", "simulated alone", "real alone", "simulated, then real")
    rows = []
    for number, arm in enumerate(arms):
        for place, name in enumerate((*CLASSES, "macro")):
            rows.append((arm, name, "AUROC", 0.5 + 0.1 * number + 0.001 * place, 100 + place))
        rows.append((arm, "macro", "AUROC, mean of folds", 0.6 + 0.1 * number, 5))
        rows.append((arm, "macro", "AUROC above real alone", 0.1 * (number - 2), 5))
    frame = pd.DataFrame(rows, columns=["group", "quantity", "statistic", "value", "n"])
    return frame.assign(low=frame["value"] - 0.1, high=frame["value"] + 0.1)


def test_transfer_over_folds_has_a_row_an_arm(transfer):
    rows = transfer[(transfer["statistic"] != "AUROC above real alone") | (transfer["group"] != "real alone")]
    shown = report.wide(pages.transfer_over_folds(rows), "group", "statistic")
    assert shown["group"].tolist() == ["simulated alone", "real alone", "simulated, then real"]
    assert shown["AUROC, mean of folds"].tolist()[0] == "0.700 (0.600–0.800)"
    assert shown["AUROC above real alone"].tolist()[1:] == ["", "0.100 (0.000–0.200)"]


def test_classes_are_drawn_with_a_mark_an_arm(transfer):
    figure = pages.drawn_by_class(transfer)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(CLASSES)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "simulated alone",
        "real alone",
        "simulated, then real",
    ]
    numbers = [text.get_text() for text in figure.axes[0].texts if text.get_text() != "chance"]
    assert numbers[:: len(CLASSES)] == ["0.60", "0.70", "0.80"]


def test_ks_of_what_is_measured_once_a_record(distribution):
    ax, other = pages.ks_once_a_record(distribution, ["CPSC 2018", "PTB-XL"]).axes
    assert (ax.get_title(loc="left"), other.get_title(loc="left")) == ("CPSC 2018", "PTB-XL")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RR (ms)"]
    where = {"group": "CPSC 2018", "quantity": "RR (ms)", "statistic": "KS"}
    dots = next(one for one in ax.collections if isinstance(one, PathCollection))
    assert dots.get_offsets()[0, 0] == pytest.approx(pages.row_of(distribution, **where)["value"])


def test_transfer_by_class_counts_the_real_records(transfer):
    shown = pages.transfer_by_class(transfer, "By class.").data
    assert shown["class"].tolist() == list(CLASSES) and shown["real records"].tolist() == list(range(100, 109))
    assert shown.loc[1, "simulated, then real"] == "0.801 (0.701–0.901)"
    assert pages.real_records(transfer, all="macro", first=CLASSES[0]) == {"all": "109", "first": "100"}
