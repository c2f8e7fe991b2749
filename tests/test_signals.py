import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import signals


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_one_lead_at_several_rates():
    x = np.sin(2 * np.pi * 3 * np.arange(2500) / 500).astype(np.float32)
    ax = signals.rates(x, 500, {500: "", 100: "o"}, seconds=2, ylabel="II (mV)").axes[0]
    fine, coarse = ax.lines
    assert len(fine.get_xdata()) == 1000 and len(coarse.get_xdata()) == 200
    np.testing.assert_allclose(coarse.get_ydata()[1:-1], fine.get_ydata()[5:-5:5], atol=0.01)
    np.testing.assert_allclose(coarse.get_xdata(), fine.get_xdata()[::5])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["500 Hz", "100 Hz"]


def test_spectra_peak_where_the_signal_swings():
    t = np.arange(5000) / 250
    ax = signals.spectra({"slow": np.sin(2 * np.pi * 5 * t), "fast": np.sin(2 * np.pi * 40 * t)}, 250).axes[0]
    peaks = [line.get_xdata()[line.get_ydata().argmax()] for line in ax.lines]
    np.testing.assert_allclose(peaks, [5, 40], atol=0.25)
    assert min(ax.lines[0].get_xdata()) > 0


def test_padding_has_no_bar():
    x = np.linspace(1, 2, 50, dtype=np.float32)
    figure = signals.padded(x, 10, 80, {"end": 0, "both": 0.5, "front": 1})
    starts = []
    for ax in figure.axes:
        y = ax.lines[0].get_ydata()
        starts.append(int(np.flatnonzero(y)[0]))
        span = ax.collections[0].get_paths()[0].vertices[:, 0]
        assert (span.min(), span.max()) == (starts[-1] / 10, (starts[-1] + 49) / 10)
    assert starts == [0, 15, 30] and [ax.get_title(loc="left") for ax in figure.axes] == ["end", "both", "front"]


# seaborn 0.13 draws boxes in a way that matplotlib 3.11 deprecates.
@pytest.mark.filterwarnings("ignore:vert. bool was deprecated")
def test_boxes_of_durations_and_deflections():
    table = pd.DataFrame({
        "source": ["a"] * 5 + ["b$"] * 5, "seconds": [10.0] * 5 + [6, 7, 8, 9, 10],
        "low": [-3.0] * 5 + [-1] * 5, "high": [1.0] * 5 + [2] * 5,
    })  # fmt: skip
    left, right = signals.durations(table).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", r"b\$"]
    assert left.get_xlabel() == "duration (s)" and right.get_xscale() == "log"
    middles = [line.get_xdata()[0] for line in left.lines if len(set(line.get_xdata())) == 1]
    assert {10, 8} <= set(np.round(middles, 6))
    largest = {round(float(x), 6) for line in right.lines for x in line.get_xdata()}
    assert largest == {3, 2}  # whichever of low and high is larger
    assert [t.get_text() for t in right.get_xticklabels()] == ["0.5", "1", "2", "5", "10", "20"]
