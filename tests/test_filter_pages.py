import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy import preprocessing
from ecgstudy.book import filter_pages as pages
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.records import LEADS, read_record


def averaged(x):
    return preprocessing.remove_baseline(x, 250)


@pytest.fixture(scope="module")
def levels():
    return pages.st_levels(averaged, hearts=60)


def test_a_level_is_the_median_difference_of_two_points():
    x = np.zeros(1000, np.float32)
    onset, offset = np.array([200, 400, 600]), np.array([250, 450, 650])
    x[onset - 10], x[offset + 30] = 0.1, (0.3, 0.2, 9.0)  # 20 ms before, 60 ms after at 500 Hz
    assert pages.st_level(x, onset, offset, 500) == pytest.approx(0.2)


def test_what_changes_no_difference_changes_no_level():
    raised = pages.st_levels(lambda x: 2 * x + 1, hearts=3)
    assert list(raised["class"]) == ["STD"] * 3 + ["STE"] * 3
    np.testing.assert_allclose(raised["after"], 2 * raised["before"], atol=1e-5)
    assert (raised.loc[raised["class"] == "STD", "before"] < -0.04).all()
    assert (raised.loc[raised["class"] == "STE", "before"] > 0.08).all()


def test_most_hearts_keep_their_deviation_and_fast_ones_gain_elevation(levels):
    change = levels["after"] - levels["before"]
    assert (change.abs() < 0.025).groupby(levels["class"]).mean().between(0.6, 1).all()
    left = (levels["after"] / levels["before"])[levels["class"] == "STE"]
    fast = levels["rate"] > 80
    assert left[~fast].median() == pytest.approx(1, abs=0.03) and left[fast].median() > 1.15


def test_the_figure_and_the_table_have_every_heart(levels):
    ax = pages.st_figure(levels).axes[0]
    assert [len(points.get_offsets()) for points in ax.collections] == [60, 60]
    plt.close("all")
    table = pages.st_table(levels, "a").data
    assert list(table["hearts"]) == [60, 60]
    rows = levels[levels["class"] == "STE"]
    assert table["median"].iloc[1] == f"{np.median(100 * rows['after'] / rows['before']):.0f} %"


@pytest.mark.slow
def test_real_hearts_do_the_same_as_the_chapter_says(real_data):
    rows = []
    for number in range(1, 201):
        path = real_data / "ludb" / "data" / str(number)
        record, marks = read_record(path), read_delineation(path)
        x, fs = record.signal, record.fs
        y = preprocessing.remove_baseline(x, round(fs))
        for lead, qrs in marks[marks["wave"] == "QRS"].dropna().groupby("lead"):
            onset, offset = qrs["onset"].to_numpy(np.intp), qrs["offset"].to_numpy(np.intp)
            inside = (onset > fs / 2) & (offset < x.shape[1] - 0.58 * fs)  # the window is within the record
            if inside.sum() > 1:
                at = LEADS.index(str(lead))
                both = [pages.st_level(signal[at], onset[inside], offset[inside], fs) for signal in (x, y)]
                rows.append((*both, 60 * fs / np.diff(onset).mean()))
    found = pd.DataFrame(rows, columns=["before", "after", "rate"])
    assert len(found) > 2300
    assert round(100 * ((found["after"] - found["before"]).abs() < 0.025).mean()) == 94
    raised = found[found["before"] > 0.1]
    left, fast = 100 * raised["after"] / raised["before"], raised["rate"] > 80
    assert round(left[~fast].median()) == 102 and round(left[fast].median()) == 124
    assert fast.sum() > 30
