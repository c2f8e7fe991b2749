"""Tables and numbers as the book shows them."""

import pandas as pd
from pandas.io.formats.style import Styler


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3, index: bool = False) -> Styler:
    """Show a data frame as a table of the book: a caption, plain numbers, empty cells where there is nothing."""
    shown = frame.style.format(precision=digits, na_rep="", thousands=",").set_caption(caption)
    shown = shown.set_table_attributes('class="dataframe ecgstudy-table"')
    return shown if index else shown.hide(axis="index")


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval, e.g. ``0.812 (0.790-0.833)``."""
    return f"{value:.{digits}f} ({low:.{digits}f}\N{EN DASH}{high:.{digits}f})"
