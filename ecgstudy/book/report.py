"""Tables and numbers as the book shows them."""

import html
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from numbers import Number
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, display
from pandas.io.formats.style import Styler

from ecgstudy.text import printable


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3, index: bool = False) -> Styler:
    """Show a data frame as a table of the book: a caption, plain numbers, empty cells where there is nothing.

    Whatever text stands in it, headings and caption included, is shown as it is: none of it is markup of the page.
    """

    def cell(value: Any) -> Any:
        if pd.api.types.is_float(value):
            return number(value, digits)
        return f"{value:,}" if pd.api.types.is_integer(value) else value

    kinds = frame.dtypes.reset_index(drop=True)
    texts = [place for place, kind in kinds.items() if not pd.api.types.is_numeric_dtype(kind)]
    frame = frame.copy()
    for place in texts:
        frame.isetitem(place, pd.array([_plain(value) for value in frame.iloc[:, place]], dtype=object))
    for axis in (frame.index, frame.columns):
        axis.names = [name if name is None else _heading(name) for name in axis.names]
    # Cells without an id of their own: it would be a third of the page.
    shown = Styler(frame, cell_ids=False).format(cell, na_rep="", escape="html")
    shown = shown.format_index(_heading).format_index(_heading, axis="columns")
    shown = shown.set_caption(html.escape(printable(caption), quote=False))
    shown = shown.set_table_attributes('class="dataframe ecgstudy-table"')
    return shown if index else shown.hide(axis="index")


def folded(shown: Styler, summary: str) -> HTML:
    """Fold a table behind a line that says what is in it.

    It opens by mouse, touch and keyboard, and without scripts.
    """
    said = html.escape(printable(summary), quote=False)
    return HTML(f'<details class="ecgstudy-fold"><summary>Table: {said}</summary>\n{shown.to_html()}\n</details>')


def wide(rows: pd.DataFrame, names: str | Sequence[str], columns: str, *, digits: int = 3) -> pd.DataFrame:
    """Numbers with their intervals as texts of a frame, one row a name and one column a value of ``columns``.

    Parameters
    ----------
    rows
        Columns value, low, high, and those that are named; their order is kept. A row without limits is its number.
    names
        Column, or columns, that tell the rows apart.
    """
    index = [names] if isinstance(names, str) else list(names)
    order = rows[index].drop_duplicates()
    texts = rows.assign(text=intervals(rows, digits=digits)).pivot(index=index, columns=columns, values="text")
    keys = list(order[names]) if isinstance(names, str) else list(order.itertuples(index=False, name=None))
    return texts.loc[keys, list(dict.fromkeys(rows[columns]))].fillna("").rename_axis(columns=None).reset_index()


def with_p(rows: pd.DataFrame, names: str, heading: str) -> pd.DataFrame:
    """Differences with their intervals (``heading``) and p-values as texts of a frame, a row each by ``names``.

    ``rows`` have the columns value, low, high and p.
    """
    return pd.DataFrame({"": rows[names], heading: intervals(rows), "p": [p_value(p) for p in rows["p"]]})


def unread(failed: Sequence[Mapping[str, str]], consequence: str) -> None:
    """Show a table of records (name, error) that could not be read, and why; nothing where all could be."""
    if failed:
        display(table(pd.DataFrame(failed), f"Records that could not be read, and why: {consequence}."))


def number(value: float, digits: int = 3) -> str:
    """Write a number, rounded as one rounds what a results file says: 0.8775 is 0.878.

    In binary 0.8775 is a little less, and Python makes it 0.877. Numbers and intervals of the book are rounded here.
    """
    if not np.isfinite(value):
        return f"{value}"
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    # Adding 0 makes the -0 that rounding leaves a 0.
    return f"{rounded + 0:,}".replace("-", "−")


def _plain(cell: Any) -> Any:
    """A cell of text as text that prints; numbers and what is missing stay."""
    if isinstance(cell, Number) or cell is None or cell is pd.NA or cell is pd.NaT:
        return cell
    return printable(str(cell))


def _heading(label: Any) -> str:
    return html.escape(printable(str(label)))


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Write a number with its interval: ``0.812 (0.790–0.833)``, with ``to`` for a dash where a limit is negative."""
    middle, first, last = (number(limit, digits) for limit in (value, low, high))
    return f"{middle} ({first}{' to ' if first.startswith('−') else '–'}{last})"


def intervals(
    values: pd.DataFrame | Sequence[Any], columns: Sequence[str] = ("value", "low", "high"), digits: int = 3
) -> list[str]:
    """Write several numbers with their intervals: without where there is none, and empty where there is no number.

    Parameters
    ----------
    values
        A table, or three arrays (or numbers): a ``metrics.Interval``, say.
    columns
        Of a table: those that hold a number and its limits.
    """
    limits = values[list(columns)].T if isinstance(values, pd.DataFrame) else values[:3]
    rows = np.asarray(limits, dtype=float).reshape(3, -1).T
    return [
        "" if np.isnan(row[0]) else number(row[0], digits) if np.isnan(row[1]) else interval(*row, digits=digits)
        for row in rows
    ]


def p_value(p: float, *, sign: bool = False) -> str:
    """Write a p-value: ``0.012``, and what would be 0.000 as ``< 0.001``; with ``sign`` for a text, ``= 0.012``."""
    if pd.isna(p):
        return "not defined"
    if p < 0.001:
        return "< 0.001"
    return ("= " if sign else "") + number(p)


def glue_all(texts: Mapping[str, Any] = MappingProxyType({}), /, **more: Any) -> None:
    """Keep texts for the prose of a page, which shows each with the role ``glue:text``."""
    from myst_nb import glue  # only a page needs it, and it is slow to import

    for name, text in {**texts, **more}.items():
        glue(name, text, display=False)
