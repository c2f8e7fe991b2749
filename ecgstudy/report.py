"""Tables and numbers as the book shows them."""

import pandas as pd
from pandas.io.formats.style import Styler


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3, index: bool = False) -> Styler:
    """Show a data frame as a table of the book: a caption, plain numbers, empty cells where there is nothing."""
    shown = frame.style.format(precision=digits, na_rep="", thousands=",").set_caption(caption)
    shown = shown.set_table_attributes('class="dataframe ecgstudy-table"')
    return shown if index else shown.hide(axis="index")


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval: ``0.812 (0.790–0.833)``, with ``to`` for a dash where a limit is negative."""
    # Adding 0 makes the -0 that rounding leaves a 0.
    value, low, high = (round(float(number), digits) + 0.0 for number in (value, low, high))
    between = " to " if low < 0 else "–"
    return f"{value:.{digits}f} ({low:.{digits}f}{between}{high:.{digits}f})".replace("-", "−")
