from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Annotation

from ecgstudy.book import plots
from ecgstudy.data.records import LEADS, Record

# Machado, Oliveira and Fernandes (2009): what is left of linear RGB to eyes without the cones for green, or for red.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = XYZ.sum(axis=1)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def linear(colour):
    """Linear RGB of a colour in sRGB."""
    c = np.array(plt.matplotlib.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour, eye=None):
    """CIELAB (D65) of a colour, as an eye of these cones sees it."""
    seen = linear(colour) if eye is None else np.clip(eye @ linear(colour), 0, 1)
    t = XYZ @ seen / WHITE
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a, b):
    """Contrast of two colours as WCAG defines it."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def test_cielab_is_right():
    np.testing.assert_allclose(lab("white"), [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab("#ff0000"), [53.24, 80.09, 67.20], atol=0.02)  # published
    assert contrast("white", "black") == pytest.approx(21)


@pytest.mark.parametrize(("a", "b"), list(combinations(plots.PALETTE, 2)))
def test_any_two_colours_differ_to_every_eye_and_in_grey(a, b):
    for eye in (None, DEUTERANOPIA, PROTANOPIA):
        assert np.linalg.norm(lab(a, eye) - lab(b, eye)) > 20
    assert abs(lab(a)[0] - lab(b)[0]) > 7.5


def test_every_colour_stands_out_from_white_and_paper():
    for colour in (*plots.PALETTE, plots.INK, plots.EVIDENCE):
        assert contrast(colour, "white") >= 3 and contrast(colour, plots.PAPER) >= 2.9


def test_for_and_against_differ_to_every_eye_and_in_grey():
    against, nothing, what_is_for = (plots.SIGNED(place) for place in (0.0, 0.5, 1.0))
    for eye in (None, DEUTERANOPIA, PROTANOPIA):
        assert np.linalg.norm(lab(against, eye) - lab(what_is_for, eye)) > 50
    # From nothing both grow darker, and what is for a class is darker by far.
    lightness = [lab(colour)[0] for colour in (what_is_for, against, nothing)]
    assert np.diff(lightness).min() > 20


def test_a_name_looks_the_same_in_every_figure():
    order = ["a", "b", "c"]
    assert plots.looks(["c", "x"], order)["c"] == plots.looks(order)["c"]
    every = plots.looks(map(str, range(30)))
    assert len({str(look) for look in every.values()}) == 30


def test_labels_are_apart_and_in_order():
    assert plots.apart([0.2, 0.9], 0.1) == pytest.approx([0.2, 0.9])
    assert plots.apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert plots.apart([1.0, 0.98, 0.1], 0.1) == pytest.approx([1.0, 0.9, 0.1])
    crowded = plots.apart([0.5] * 30, 0.1)
    assert crowded == pytest.approx(np.linspace(0, 1, 30).tolist())


def test_each_line_is_named_at_its_end():
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="up")
    ax.plot([0, 1], [1, 0], label="down")
    ax.plot([0, 1], [0.5, 0.5], label="_not named")
    plots.label_ends(ax)
    up, down = (text for text in ax.texts if isinstance(text, Annotation))
    assert (up.get_text(), *up.xy) == ("up", 1, 1) and (down.get_text(), *down.xy) == ("down", 1, 0)
    assert up.xyann[1] > down.xyann[1] and ax.get_legend() is None


def test_the_stronger_a_map_the_wider_its_band():
    signal = np.zeros((12, 100), dtype=np.float32)
    signal[LEADS.index("II")] = np.sin(np.arange(100))
    m = np.linspace(-1, 0.5, 100)[None]
    key = np.zeros((1, 12, 100), dtype=bool)
    key[0, LEADS.index("II"), 20:30] = True
    ax = plots.map_over_ecg(signal, 100, m, ["PVC"], evidence=key).axes[0]
    band, bar = ax.collections
    np.testing.assert_allclose(np.asarray(band.get_linewidth()), 1 + 6 * np.abs(m[0, :-1]))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), signal[LEADS.index("II")])
    # The bar is below what is drawn, where one sees it: a twentieth of the height at least.
    box = bar.get_paths()[0].get_extents()
    assert box.y1 <= -1 and box.height > 0.05 * np.ptp(ax.get_ylim())
    assert (box.x0, box.x1) == (0.2, 0.29)
    assert "answer key" in ax.texts[0].get_text()


def test_the_tallest_wave_of_the_first_row_stays_on_the_paper():
    signal = np.zeros((12, 5000), dtype=np.float32)
    signal[LEADS.index("V4"), 4000] = 4.0
    (ax,) = plots.paper_ecg(Record(name="tall", signal=signal, fs=500.0, leads=LEADS, source="", patient_id="")).axes
    highest = max(np.asarray(line.get_ydata()).max() for line in ax.lines)
    assert highest < ax.get_ylim()[1] and ax.get_aspect() == 0.4


def test_a_strip_has_a_line_each_fifth_of_a_second_and_each_half_millivolt():
    _, (above, below) = plt.subplots(2, 1, sharex=True)
    above.plot([0, 2], [-0.6, 1.1])
    plots.strip_paper(above)
    xs, ys = above.get_xticks(minor=True), above.get_yticks(minor=True)
    np.testing.assert_allclose(np.diff(xs), 0.2)
    assert {-0.5, 0.0, 0.5, 1.0} <= set(np.round(ys, 9)) and np.diff(ys) == pytest.approx(0.5)
    below.plot([0, 2], [0, 500])
    plots.strip_paper(below)  # not in mV: more lines than one could tell apart
    assert len(below.get_yticks(minor=True)) == 0
