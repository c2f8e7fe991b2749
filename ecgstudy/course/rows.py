"""Numbers that a text names and ``results/`` says, so that quizzes and slides hold none of their own.

A number is written as what it is, and a text has its name in double braces::

    numbers:
      trees: {rows: leaderboard, where: {system: features and trees, cohort: real, metric: AUROC}, show: interval}
      lost: {less: [{rows: ...}, {rows: ...}], digits: 2}

It is one of

- ``rows``: a table of ``TABLES``, with ``where`` (column: value, or a list of values) and ``column`` (``value`` unless
  it is given). Exactly one row must fit, or ``take: largest`` or ``smallest`` says which of them. Of a table with a
  column ``class`` the rows are those of all classes together unless ``where`` names one;
- ``count``: how many rows of a table fit ``where``;
- ``fact``: one of ``FACTS``;
- ``less`` or ``over``: the first of two numbers less the second, or divided by it.

``digits`` (2 unless it is given) and ``show`` (one of ``STYLES``) say how it is written.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ecgstudy.paths import RESULTS
from ecgstudy.text import printable

# Whoever renders a quiz has its numbers already, and shall not wait for torch: what they come from is imported late.
if TYPE_CHECKING:
    import pandas as pd

TABLES = {name: f"{name}.csv" for name in ("ablations", "audit", "beats", "leaderboard", "realism")}
TABLES["explanations"] = "explanations.csv.gz"
STYLES = ("number", "interval", "percent", "whole", "p")
_NAMED = re.compile(r"\{\{ *(\w+) *\}\}")


class RowError(ValueError):
    """A number that no row gives. The message says which number, and why."""


def _real() -> int:
    from ecgstudy.studies import leaderboard

    return len(leaderboard.records_of("real"))


def _folds() -> int:
    from ecgstudy.studies import leaderboard

    return leaderboard.BOARDS["real"].folds


def _few() -> int:
    """Simulated records that a network of the small board learns from: all but one of its folds."""
    from ecgstudy.studies import leaderboard

    folds = leaderboard.BOARDS["synthetic"].folds
    return 100 * round(len(leaderboard.records_of("synthetic")) * (folds - 1) / folds / 100)


def _many() -> int:
    from ecgstudy.studies import leaderboard

    return leaderboard.LARGE - len(leaderboard.records_of("synthetic-large"))


def _disagreement() -> float:
    from ecgstudy.data.simulator import synthetic

    return synthetic.DISAGREEMENT


def _doubles() -> int:
    hashes = _table("audit")["signal_hash"]
    counts = hashes[hashes != ""].value_counts()
    return int((counts > 1).sum())


# Counts that stand in no table of numbers.
FACTS: dict[str, Callable[[], float]] = {
    "real records": _real,
    "folds of the real records": _folds,
    "simulated records, few": _few,
    "simulated records, many": _many,
    "labels read as another": _disagreement,
    "signals under more than one name": _doubles,
}


@lru_cache
def _table(name: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(RESULTS / _known(name, TABLES, "table"), dtype=str, keep_default_na=False)


def _known(name: Any, known: Mapping[str, Any], what: str) -> Any:
    if name not in known:
        raise RowError(f"no {what} {name!r}; there are: {', '.join(known)}")
    return known[name]


def _fitting(name: str, where: Mapping[str, Any]) -> "pd.DataFrame":
    table = _table(name)
    overall = {"class": ""} if "class" in table else {}
    for column, value in (overall | dict(where)).items():
        if column not in table:
            raise RowError(f"{TABLES[name]} has no column {column!r}; it has: {', '.join(table)}")
        wanted = value if isinstance(value, list) else [value]
        table = table[table[column].isin([f"{one}" for one in wanted])]
    return table


def values(number: Mapping[str, Any]) -> tuple[float, ...]:
    """The number, and the ends of its interval where its row has one.

    Raises
    ------
    RowError
        where it is none of what the module's docstring lists, or no row, or more than one, fits.
    """
    kinds = [kind for kind in ("rows", "count", "fact", "less", "over") if kind in number]
    if len(kinds) != 1:
        raise RowError(f"a number is one of rows, count, fact, less, over, and not {printable(f'{dict(number)}')}")
    (kind,) = kinds
    if kind == "fact":
        return (float(_known(number["fact"], FACTS, "fact")()),)
    if kind == "count":
        return (float(len(_fitting(number["count"], number.get("where", {})))),)
    if kind in ("less", "over"):
        (first, *_), (second, *_) = (values(one) for one in number[kind])
        return (first - second if kind == "less" else first / second,)
    return _of_rows(number)


def _of_rows(number: Mapping[str, Any]) -> tuple[float, ...]:
    name, column, take = number["rows"], number.get("column", "value"), number.get("take")
    found = _fitting(name, number.get("where", {}))
    if column not in found:
        raise RowError(f"{TABLES[name]} has no column {column!r}; it has: {', '.join(found)}")
    if take and len(found):
        place = found[column].astype(float).argmax() if take == "largest" else found[column].astype(float).argmin()
        found = found.iloc[[place]]
    if len(found) != 1:
        where = ", ".join(f"{key}: {value}" for key, value in number.get("where", {}).items())
        raise RowError(f"{len(found)} rows of {TABLES[name]} fit ({where}), and one is wanted")
    ends = ("low", "high") if column == "value" else (f"{column}_low", f"{column}_high")
    texts = [found[one].item() for one in (column, *ends) if one in found]
    return tuple(float(text) for text in texts if text)


def text(number: Mapping[str, Any]) -> str:
    """A number as a page shows it: see the module's docstring.

    Raises
    ------
    RowError
        as ``values`` does, and for a style that is not known or does not fit.
    """
    style, digits = number.get("show", "number"), int(number.get("digits", 2))
    if style not in STYLES:
        raise RowError(f"a number is shown as {', '.join(STYLES)}, and not {style!r}")
    from ecgstudy.book import report

    value, *ends = values(number)
    if style == "interval":
        if len(ends) != 2:
            raise RowError("its row has no interval")
        return report.interval(value, *ends, digits=digits)
    if style == "percent":
        return f"{report.number(100 * value, int(number.get('digits', 0)))} %"
    if style == "p":
        return report.p_value(value, sign=True)
    return report.number(value, 0 if style == "whole" else digits)


def filled(told: str, numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """A text with its numbers in the places of their names.

    Raises
    ------
    RowError
        for a name that is not among the numbers, or a number that no row gives; the message has its name.
    """

    def shown(match: re.Match[str]) -> str:
        name = match[1]
        number = _known(name, numbers, "number")
        try:
            return text(number)
        except (RowError, TypeError, ZeroDivisionError, ValueError) as error:
            raise RowError(f"{name}: {error}") from error

    return _NAMED.sub(shown, told)


def names(told: str) -> set[str]:
    """The names of numbers that stand in a text."""
    return set(_NAMED.findall(told))
