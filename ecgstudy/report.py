"""Tables and numbers as the book shows them."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3, index: bool = False) -> Styler:
    """Show a data frame as a table of the book: a caption, plain numbers, empty cells where there is nothing."""

    def cell(value: Any) -> Any:
        if pd.api.types.is_float(value):
            return number(value, digits)
        return f"{value:,}" if pd.api.types.is_integer(value) else value

    shown = frame.style.format(cell, na_rep="").set_caption(caption)
    shown = shown.set_table_attributes('class="dataframe ecgstudy-table"')
    return shown if index else shown.hide(axis="index")


def number(value: float, digits: int = 3) -> str:
    """Write a number, rounded as one rounds what a results file says: 0.8775 is 0.878.

    In binary 0.8775 is a little less, and Python makes it 0.877. Numbers and intervals of the book are rounded here.
    """
    if not np.isfinite(value):
        return f"{value}"
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    # Adding 0 makes the -0 that rounding leaves a 0.
    return f"{rounded + 0:,}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval: ``0.812 (0.790–0.833)``, with ``to`` for a dash where a limit is negative."""
    value, low, high = (number(limit, digits) for limit in (value, low, high))
    return f"{value} ({low}{' to ' if low.startswith('−') else '–'}{high})"


def p_value(p: float, *, sign: bool = False) -> str:
    """Write a p-value: ``0.012``, and what would be 0.000 as ``< 0.001``; with ``sign`` for a text, ``= 0.012``."""
    if pd.isna(p):
        return "not defined"
    if p < 0.001:
        return "< 0.001"
    return ("= " if sign else "") + number(p)
