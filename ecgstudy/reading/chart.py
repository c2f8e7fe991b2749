"""The standard 12-lead chart as SVG: 25 mm/s, 10 mm/mV, four columns of leads, lead II below, and a map over it.

Lengths are in hundredths of a millimetre. It is written as text, since matplotlib takes a second for one such chart.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from ecgstudy.data.records import LEADS
from ecgstudy.reading.waves import PARTS, Parts

CHART = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
SECONDS = 10.0  # that fit on the paper
DRAWN = 250.0  # Hz of what is drawn: 0.1 mm a sample
# From this share of the map's largest value on; each darker than the one before, in grey too.
LEVELS = ((0.1, "#d3e4f3"), (0.3, "#a4cbe5"), (0.55, "#63a5d2"), (0.8, "#2f7ab8"))
FOR, AGAINST, INK = "#2f7ab8", "#c65102", "#1a1a1a"
MARKED, MARK = "#bfe3ca", "#0b5d27"  # behind a trace where the evidence is, and the trace there
_ROW, _LEFT, _TOP = 2600, 700, 300  # height of a row; room for the calibration pulse; and above
_STRIP, _GAP = 1300, 350  # the map's own curve, below the leads
_MM_S, _MM_MV = 2500, 1000  # a second and a millivolt


def chart(
    signal: NDArray[np.floating],
    fs: float,
    *,
    title: str,
    description: str,
    number: int = 0,
    start: float = 0,
    maps: NDArray[np.floating] | None = None,
    map_fs: float = 1,
    parts: Parts | None = None,
    evidence: NDArray[np.bool_] | None = None,
    names: Sequence[tuple[float, float, str]] = (),
) -> Markup:
    """Draw up to ``SECONDS`` of an ECG and the map over it, or where its evidence is.

    Parameters
    ----------
    signal, fs
        (12, samples) in mV, and its rate in Hz.
    title, description
        What it is, and what it shows, for whoever cannot see it.
    number
        Of the chart on its page: no two have the same.
    start
        Second of the record at which it begins.
    maps, map_fs
        (samples,) or (12, samples), and its rate in Hz: what is positive is laid over the leads; the sum of the leads
        is drawn below.
    parts
        Beats and their parts, at the map's rate: drawn below, too.
    evidence
        (12, samples) at ``fs``: where it is, the trace is thick and the paper behind it is tinted.
    names
        Seconds, mV above the baseline and texts that stand there in the rhythm strip, such as the names of waves.
    """
    seconds = min(SECONDS, signal.shape[1] / fs)
    width = _LEFT + round(SECONDS * _MM_S)
    height = _TOP + len(CHART) * _ROW + (_GAP + _STRIP + 700 if maps is not None else 300)
    by_lead = None if maps is None else np.broadcast_to(maps, (len(LEADS), maps.shape[-1]))
    levels = None if by_lead is None else _levels(by_lead)
    under, over, marked = [], [], []
    zero = signal - np.median(signal, axis=1, keepdims=True)
    for row, leads in enumerate(CHART):
        base = _TOP + round((row + 0.55) * _ROW)
        over.append(f'<path d="M100 {base}h100v-{_MM_MV}h300v{_MM_MV}h100"/>')  # 1 mV for 0.12 s
        for place, lead in enumerate(leads):
            span = seconds / len(leads)
            first, x = place * span, _LEFT + round(place * span * _MM_S)
            i = LEADS.index(lead)
            if levels is not None:
                begin = round(first * map_fs)
                at, where = levels[i, begin : round((first + span) * map_fs)], _LEFT + begin / map_fs * _MM_S
                under.append(_shade(at, where, _TOP + row * _ROW + 60, _MM_S / map_fs, _ROW - 120))
            shown = slice(round(first * fs), round((first + span) * fs))
            y = zero[i, shown]
            over.append(_trace(y, x, base, _MM_S / fs))
            if evidence is not None:
                under.append(
                    f'<path fill="{MARKED}" d="{_runs(evidence[i, shown], x, base - 1300, _MM_S / fs, _ROW - 200)}"/>'
                )
                marked += [
                    _trace(y[begin:end], x + round(begin * _MM_S / fs), base, _MM_S / fs)
                    for begin, end in _edges(evidence[i, shown])
                ]
            if place:
                over.append(f'<path d="M{x} {base - 500}v1000" stroke-dasharray="60 60"/>')
            over.append(f'<text x="{x + 80}" y="{base - 800}" font-weight="bold">{lead}</text>')
    over += [
        f'<text x="{_LEFT + at * _MM_S:.0f}" y="{base - mv * _MM_MV:.0f}" text-anchor="middle">{escape(text)}</text>'
        for at, mv, text in names
    ]
    below = "" if maps is None else _strip(maps, map_fs, seconds, parts, _TOP + len(CHART) * _ROW + _GAP)
    bottom = _TOP + len(CHART) * _ROW
    said = "25 mm/s, 10 mm/mV" + (f", from second {start:.1f}" if start else "")
    name = f"chart{number}"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-about" font-family="system-ui,sans-serif" font-size="320">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-about">{escape(description)}</desc>'
        f'<defs><pattern id="{name}-mm" width="100" height="100" patternUnits="userSpaceOnUse">'
        f'<path d="M100 0H0V100" fill="none" stroke="#eeb9ad" stroke-width="7"/></pattern>'
        f'<pattern id="{name}-paper" width="500" height="500" patternUnits="userSpaceOnUse">'
        f'<rect width="500" height="500" fill="url(#{name}-mm)"/>'
        f'<path d="M500 0H0V500" fill="none" stroke="#dd9484" stroke-width="14"/></pattern>'
        f'<clipPath id="{name}-clip"><rect width="{width}" height="{bottom}"/></clipPath></defs>'
        f'<rect width="{width}" height="{bottom}" fill="#fffaf5"/>{"".join(under)}'
        f'<rect width="{width}" height="{bottom}" fill="url(#{name}-paper)" opacity=".75"/>'
        f'<g fill="none" stroke="{INK}" stroke-width="26" stroke-linejoin="round" clip-path="url(#{name}-clip)">'
        f"{''.join(one for one in over if one.startswith('<path'))}"
        f"{_group(marked)}</g>"
        f'<g fill="{INK}" stroke="#fffaf5" stroke-width="90" paint-order="stroke" stroke-linejoin="round">'
        f"{''.join(one for one in over if one.startswith('<text'))}"
        f'<text x="{width}" y="{_TOP - 60}" font-size="260" text-anchor="end">{said}</text></g>{below}</svg>'
    )


def _group(marked: Sequence[str]) -> str:
    return f'<g stroke="{MARK}" stroke-width="46">{"".join(marked)}</g>' if marked else ""


def _trace(y: NDArray[np.floating], x: int, base: int, step: float) -> str:
    """A lead from left to right: relative steps in whole hundredths of a millimetre, which do not drift."""
    across = np.rint(np.arange(len(y)) * step).astype(int)
    down = np.rint(np.clip(y, -20, 20) * -_MM_MV).astype(int)
    steps = np.column_stack([np.diff(across), np.diff(down)]).ravel().tolist()
    return f'<path d="M{x} {base + down[0]}l{" ".join(map(str, steps))}"/>'


def _levels(by_lead: NDArray[np.floating]) -> NDArray[np.intp]:
    """Number of the level of each sample, 0 for none."""
    top = by_lead.max()
    return np.searchsorted([share for share, _ in LEVELS], by_lead / top if top > 0 else by_lead * 0, side="right")


def _shade(levels: NDArray[np.intp], x: float, y: float, step: float, height: float) -> str:
    """One rectangle a run of samples of one level."""
    return "".join(
        f'<path fill="{colour}" d="{runs}"/>'
        for number, (_, colour) in enumerate(LEVELS, 1)
        if (runs := _runs(levels == number, x, y, step, height))
    )


def _runs(inside: NDArray[np.bool_], x: float, y: float, step: float, height: float) -> str:
    return "".join(
        f"M{x + begin * step:.0f} {y:.0f}h{(end - begin) * step:.0f}v{height:.0f}h-{(end - begin) * step:.0f}z"
        for begin, end in _edges(inside)
    )


def _edges(inside: NDArray[np.bool_]) -> list[list[int]]:
    """First sample and the one after the last of each run that is inside."""
    return np.flatnonzero(np.diff(inside, prepend=False, append=False)).reshape(-1, 2).tolist()


def _strip(maps: NDArray[np.floating], fs: float, seconds: float, parts: Parts | None, top: int) -> str:
    """The map as a curve over time, what is for a class above the line and what is against it below; beats; legend."""
    m = (maps.sum(axis=0) if maps.ndim == 2 else maps)[: round(seconds * fs)].astype(np.float64)
    largest = float(np.abs(m).max()) or 1.0
    middle, step = top + round(_STRIP * 0.62), _MM_S / fs
    areas = []
    for colour, one, height in ((FOR, m.clip(min=0), 0.6), (AGAINST, m.clip(max=0), 0.36)):
        scale = min(0.6 / largest, height / (float(np.abs(one).max()) or 1.0))
        y = np.rint(middle - one * scale * _STRIP).astype(int).tolist()
        points = " ".join(f"{_LEFT + round(i * step)} {v}" for i, v in enumerate(y))
        end = _LEFT + round((len(y) - 1) * step)
        areas.append(f'<path fill="{colour}" d="M{_LEFT} {middle}L{points} {end} {middle}z"/>')
    beats = ""
    if parts is not None:
        of_sample = parts.of_sample[: len(m)]
        for part, colour in (("P", "#9a9a9a"), ("QRS", "#1a1a1a"), ("T", "#9a9a9a")):
            runs = _runs(of_sample == PARTS.index(part), _LEFT, top + _STRIP + 60, step, 110)
            beats += f'<path fill="{colour}" d="{runs}"/>' if runs else ""
    foot = top + _STRIP + 480
    boxes = "".join(
        f'<rect x="{_LEFT + 6700 + 420 * i}" y="{foot - 230}" width="420" height="280" fill="{colour}"/>'
        for i, (_, colour) in enumerate(LEVELS)
    )
    return (
        f'<path d="M{_LEFT} {middle}H{_LEFT + round(seconds * _MM_S)}" stroke="#777" stroke-width="12"/>'
        f"{''.join(areas)}{beats}"
        f'<g fill="{INK}" font-size="260"><text x="0" y="{middle - 250}">for</text>'
        f'<text x="0" y="{middle + 330}" fill="#8a3a00">against</text>'
        f'<text x="{_LEFT}" y="{foot}">Over the leads: what speaks for it</text>'
        f'<text x="{_LEFT + 6600}" y="{foot}" text-anchor="end">little</text>'
        f'<text x="{_LEFT + 6800 + 420 * len(LEVELS)}" y="{foot}">much</text>'
        f'<text x="{_LEFT + 25000}" y="{foot}" text-anchor="end">Bars: QRS black, P and T grey</text></g>{boxes}'
    )


def bar(probability: float, threshold: float) -> Markup:
    """A small bar of a probability with a mark at its threshold; the numbers stand beside it."""
    return Markup(
        '<svg viewBox="0 0 90 14" aria-hidden="true"><rect y="3" width="90" height="8" fill="#e7e2db"/>'
        f'<rect y="3" width="{90 * probability:.1f}" height="8" fill="{FOR}"/>'
        f'<path d="M{90 * threshold:.1f} 0v14" stroke="{INK}" stroke-width="1.6"/></svg>'
    )
