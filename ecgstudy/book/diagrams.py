"""Block diagrams of networks: boxes of text, arrows between them, shortcuts around them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ecgstudy.book.plots import INK

FILL, LOSS = "#eef2f7", "#aa3377"

Box = tuple[float, float, str]  # centre (x, y) and text


def row(texts: Sequence[str], y: float, *, x: float = 0, step: float = 1) -> dict[str, Box]:
    """Boxes side by side, the first at ``x``, one each ``step``; the first line of a text names its box.

    Raises
    ------
    ValueError
        when two boxes would have one name.
    """
    boxes = {text.split("\n")[0]: (x + place * step, y, text) for place, text in enumerate(texts)}
    if len(boxes) < len(texts):
        raise ValueError(f"two boxes of one name, give them other first lines: {list(texts)}")
    return boxes


def diagram(
    boxes: Mapping[str, Box],
    chains: Sequence[Sequence[str]],
    *,
    shortcuts: Sequence[tuple[str, Sequence[str], float]] = (),
    losses: Sequence[tuple[str, str, str]] = (),
    notes: Sequence[Box] = (),
    width: float = 0.8,
    height: float = 0.6,
    size: tuple[float, float] = (9, 3.2),
) -> Figure:
    """Draw a network as boxes and arrows.

    Parameters
    ----------
    boxes
        Name → centre (x, y) and text.
    chains
        Names in the order of the arrows: each box points at the next of its chain. An arrow to the right goes from
        side to side, one to a box below or above from edge to edge, one to the left around the corners to its row.
    shortcuts
        (from, to whom, y): a line that leaves a box at its top, runs at the height ``y`` and enters others there;
        at the bottom where ``y`` lies below.
    losses
        (a, b, text): a dashed line between two boxes one above the other that a term of the loss draws together.
    notes
        Text (x, y, text) without a box, its left end at ``x``.
    width, height
        Of every box, in the units of the centres.
    size
        Of the figure in inches.
    """
    figure, ax = plt.subplots(figsize=size)
    for x, y, text in boxes.values():
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.08"
        ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=FILL, ec=INK, lw=0.9))
        ax.text(x, y, text, ha="center", va="center", fontsize=7.5)
    for chain in chains:
        for a, b in pairwise(chain):
            _arrow(ax, _route(boxes[a][:2], boxes[b][:2], width / 2, height / 2))
    for a, targets, level in shortcuts:
        (xa, ya, _), ends = boxes[a], [boxes[b][:2] for b in targets]
        edge = height / 2 if level > ya else -height / 2
        ax.plot([xa, xa, max(ends)[0]], [ya + edge, level, level], color=INK, linewidth=0.9)
        for x, y in ends:
            _arrow(ax, [(x, level), (x, y + edge)])
    for a, b, text in losses:
        (x, ya, _), (_, yb, _) = boxes[a], boxes[b]
        dashed = {"arrowstyle": "<->", "linestyle": "--", "color": LOSS, "connectionstyle": "arc3,rad=-0.8"}
        ax.annotate("", (x + width / 2, yb), (x + width / 2, ya), arrowprops=dashed)
        ax.text(x + width / 2 + 0.4 * abs(ya - yb) + 0.05, (ya + yb) / 2, text, color=LOSS, va="center", fontsize=8)
    for x, y, text in notes:
        ax.text(x, y, text, va="center", fontsize=8)
    xs, ys = [x for x, _, _ in boxes.values()], [y for _, y, _ in (*boxes.values(), *notes)]
    ys += [level for *_, level in shortcuts]
    ax.set(xlim=(min(xs) - width, max(xs) + width), ylim=(min(ys) - height, max(ys) + height))
    ax.axis("off")
    return figure


def _route(a: tuple[float, float], b: tuple[float, float], right: float, up: float) -> list[tuple[float, float]]:
    """Corners of an arrow between boxes whose centres are a and b, half a box being (right, up)."""
    (xa, ya), (xb, yb) = a, b
    down = up if yb < ya else -up
    if xb > xa:
        return [(xa + right, ya), (xb - right, yb)]
    if xb == xa:
        return [(xa, ya - down), (xb, yb + down)]
    middle = (ya + yb) / 2
    return [(xa, ya - down), (xa, middle), (xb, middle), (xb, yb + down)]


def _arrow(ax: Axes, corners: Sequence[tuple[float, float]]) -> None:
    xs, ys = zip(*corners[:-1], strict=True)
    ax.plot(xs, ys, color=INK, linewidth=0.9)
    style = {"arrowstyle": "->", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", corners[-1], corners[-2], arrowprops=style)
