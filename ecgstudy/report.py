"""Tables and numbers as the book shows them."""

import html
from numbers import Number
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from ecgstudy.text import printable


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3, index: bool = False) -> Styler:
    """Show a data frame as a table of the book: a caption, plain numbers, empty cells where there is nothing.

    Whatever text stands in it, headings and caption included, is shown as it is: none of it is markup of the page.
    """
    kinds = frame.dtypes.reset_index(drop=True)
    texts = [place for place, kind in kinds.items() if not pd.api.types.is_numeric_dtype(kind)]
    frame = frame.copy()
    for place in texts:
        frame.isetitem(place, pd.array([_plain(cell) for cell in frame.iloc[:, place]], dtype=object))
    for axis in (frame.index, frame.columns):
        axis.names = [name if name is None else _heading(name) for name in axis.names]
    shown = frame.style.format(precision=digits, na_rep="", thousands=",", escape="html")
    shown = shown.format_index(_heading).format_index(_heading, axis="columns")
    shown = shown.set_caption(html.escape(printable(caption), quote=False))
    shown = shown.set_table_attributes('class="dataframe ecgstudy-table"')
    return shown if index else shown.hide(axis="index")


def _plain(cell: Any) -> Any:
    """A cell of text as text that prints; numbers and what is missing stay."""
    if isinstance(cell, Number) or cell is None or cell is pd.NA or cell is pd.NaT:
        return cell
    return printable(str(cell))


def _heading(label: Any) -> str:
    return html.escape(printable(str(label)))


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval: ``0.812 (0.790–0.833)``, with ``to`` for a dash where a limit is negative."""
    # Adding 0 makes the -0 that rounding leaves a 0.
    value, low, high = (round(float(number), digits) + 0.0 for number in (value, low, high))
    between = " to " if low < 0 else "–"
    return f"{value:.{digits}f} ({low:.{digits}f}{between}{high:.{digits}f})".replace("-", "−")
