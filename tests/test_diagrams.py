import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from ecgstudy.book import diagrams


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def arrows(figure):
    """Start, end and style of each arrow, in the units of the boxes."""
    found = [text for text in figure.axes[0].texts if getattr(text, "arrow_patch", None)]
    return [(tuple(map(float, t.xyann)), tuple(map(float, t.xy)), t.arrowprops["arrowstyle"]) for t in found]


def test_a_row_names_boxes_by_their_first_line():
    boxes = diagrams.row(["stem\n6", "level 1\n6"], 2, x=1, step=1.5)
    assert boxes == {"stem": (1, 2, "stem\n6"), "level 1": (2.5, 2, "level 1\n6")}
    with pytest.raises(ValueError, match="one name"):
        diagrams.row(["nine\nunits", "nine\nsigmoids"], 0)


def test_arrows_go_from_edge_to_edge():
    boxes = {"a": (0, 0, "A"), "b": (2, 0, "B"), "c": (2, -1, "C"), "d": (0, -2, "D"), "e": (0, -1, "E")}
    figure = diagrams.diagram(boxes, [["a", "b", "c", "d", "e"]], width=1, height=0.5)
    drawn = arrows(figure)
    assert drawn[0][:2] == ((0.5, 0), (1.5, 0))  # to the right
    assert drawn[1][:2] == ((2, -0.25), (2, -0.75))  # down
    assert drawn[2][:2] == ((0, -1.5), (0, -1.75))  # to the left: around the corners, halfway between the rows
    corners = [line.get_xydata().tolist() for line in figure.axes[0].lines][2]
    assert corners == [[2, -1.25], [2, -1.5], [0, -1.5]]
    assert drawn[3][:2] == ((0, -1.75), (0, -1.25))  # up
    shapes = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch) and p.get_width()]
    middle = [(p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2) for p in shapes]
    np.testing.assert_allclose(middle, [box[:2] for box in boxes.values()])
    assert [t.get_text() for t in figure.axes[0].texts if t.get_text()] == ["A", "B", "C", "D", "E"]


def test_shortcuts_run_above_or_below_and_losses_are_dashed():
    boxes = diagrams.row(["a", "b", "c"], 0) | {"below": (0, -2, "below")}
    figure = diagrams.diagram(
        boxes, [], shortcuts=[("a", ["b", "c"], 1), ("a", ["c"], -1)], losses=[("a", "below", "drawn together")],
        notes=[(0, 1.5, "a note")], height=0.5,
    )  # fmt: skip
    assert [a[:2] for a in arrows(figure)[:3]] == [((1, 1), (1, 0.25)), ((2, 1), (2, 0.25)), ((2, -1), (2, -0.25))]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 0.25], [0, 1], [2, 1]]
    assert arrows(figure)[3] == ((0.4, 0), (0.4, -2), "<->")
    assert {"drawn together", "a note"} < {t.get_text() for t in figure.axes[0].texts}
    assert figure.axes[0].get_ylim() == pytest.approx((-2.5, 2))  # all of it is in the picture
