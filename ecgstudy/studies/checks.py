"""What every check of committed results needs: files read with care, faults in words, two tables compared."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgstudy.paths import RESULTS

ROUNDING = 0.5e-4 + 1e-9  # of tables of four decimals; more are held to what they show


class Broken(ValueError):
    """A committed file that cannot be read, or that lacks what it must have."""


def restore(path: Path) -> str:
    """How to get a committed file back."""
    return f"restore it with `git checkout -- results/{name_of(path)}`"


def name_of(path: Path) -> str:
    """Name of a file under ``results``."""
    return path.relative_to(RESULTS).as_posix() if path.is_relative_to(RESULTS) else path.name


def fault(path: Path, what: str, remedy: str = "") -> str:
    """A sentence that names a file, what is wrong with it, and what to do."""
    return f"{name_of(path)}: {what}; {remedy or restore(path)}"


def tried(path: Path, check: Callable[..., list[str]], *given: Any) -> list[str]:
    """Faults that a check finds; whatever keeps it from its end is one of the file."""
    try:
        return check(path, *given)
    except Broken as error:
        return [str(error)]
    except Exception as error:  # damage that no check has thought of
        return [fault(path, f"it cannot be checked ({type(error).__name__}: {_line(error)})")]


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:100]


def read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Read a committed file.

    Raises
    ------
    Broken
        when it is not there or not whole: which, why, and what to do.
    """
    if not path.exists():
        raise Broken(fault(path, "it is missing"))
    try:
        return reader(path)
    except Exception as error:  # a damaged file raises whatever its reader has not thought of
        raise Broken(fault(path, f"it cannot be read ({_line(error)})")) from None


def card(path: Path, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Read a JSON file that must have some keys, each of a kind."""
    found = read(path, lambda p: json.loads(p.read_text(encoding="utf-8")))
    if not isinstance(found, dict):
        raise Broken(fault(path, "it is no object"))
    for key, kind in kinds.items():
        value = found.get(key)
        number = isinstance(value, int | float)
        if not isinstance(value, kind) or (number and (isinstance(value, bool) or not np.isfinite(found[key]))):
            raise Broken(fault(path, f"{key} is {found.get(key, 'missing')!r}"))
    return found


def text_table(path: Path) -> pd.DataFrame:
    """Read a table as text, empty where there is nothing."""
    table = read(path, lambda p: pd.read_csv(p, dtype=str, keep_default_na=False))
    cut = path.suffix == ".csv" and not path.read_bytes().endswith(b"\n")
    if cut or table.isna().any(axis=None):  # pandas fills what a short row lacks
        raise Broken(fault(path, "a row is cut off"))
    return table


@dataclass(frozen=True)
class Check:
    """A results file against what its sources give.

    Parameters
    ----------
    file
        Under ``results/``.
    values
        How many were compared.
    largest
        Difference of a committed number from the recomputed one, not rounded.
    wrong
        What does not agree, in words.
    """

    file: str
    values: int
    largest: float
    wrong: list[str]


def told(file: str) -> Callable[[Callable[..., Check]], Callable[..., Check]]:
    """Make a complaint of whatever keeps a check from its end: to find damaged files is what it is for."""

    def decorated(check: Callable[..., Check]) -> Callable[..., Check]:
        @functools.wraps(check)
        def guarded(*given: Any) -> Check:
            try:
                return check(*given)
            except Broken as error:
                return Check(file, 0, np.nan, [str(error)])
            except Exception as error:  # what no check of a part has thought of
                why = f"{type(error).__name__}: {error}".splitlines()[0]
                said = f"{file} cannot be checked ({why}): restore what was changed with `git checkout -- results`"
                return Check(file, 0, np.nan, [said])

        return guarded

    return decorated


def compare(file: str, committed: pd.DataFrame, computed: pd.DataFrame, keys: Sequence[str]) -> Check:
    """Compare two tables row by row: numbers within the rounding, all else as text, rows in their order.

    A number is missing only where the committed cell is empty and the computed one not defined.

    Parameters
    ----------
    file
        Name of the committed one.
    committed
        As text, empty where there is nothing (``as_text``).
    computed
        With numbers as they were computed.
    keys
        Columns that name a row.
    """
    wrong = []
    if list(committed) != list(computed):
        return Check(file, 0, np.nan, [f"columns {list(committed)}, expected {list(computed)}"])
    numbers = [c for c in computed if computed[c].dtype.kind == "f"]
    texts = [c for c in computed if c not in numbers and c not in keys]
    for column in numbers:
        found = pd.to_numeric(committed[column], errors="coerce")
        for row in committed.index[(committed[column] != "") & ~np.isfinite(found)]:
            name = tuple(committed.loc[row, list(keys)])
            wrong.append(f"{name}: {column} {committed.loc[row, column]}, expected a number or nothing")
    sides = []
    for table in (committed, computed):
        table = table.astype(dict.fromkeys((*keys, *texts), str)).set_index(list(keys))
        sides.append(table.assign(**{c: pd.to_numeric(table[c], errors="coerce") for c in numbers}))
    old, new = sides
    wrong += [f"{row} is there twice" for row in old.index[old.index.duplicated()].unique()]
    wrong += [f"{row} is not computed any more" for row in old.index.difference(new.index)]
    wrong += [f"{row} is missing" for row in new.index.difference(old.index)]
    old = old[~old.index.duplicated()]
    both = old.index.intersection(new.index)
    if not wrong and list(old.index) != list(new.index):
        wrong.append(f"the rows are in another order than they are computed in, from {old.index[0]}")
    old, new = old.loc[both], new.loc[both]
    for column in texts:
        differ = old[column] != new[column]
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]}" for row in both[differ]]
    difference = (old[numbers] - new[numbers]).abs()
    for column in numbers:
        decimals = int(committed[column].str.extract(r"\.(\d*)", expand=False).str.len().max() or 0)
        rounding = min(ROUNDING, 0.5 * 10.0**-decimals + 1e-9)
        differ = (difference[column] > rounding) | (old[column].isna() != new[column].isna())
        wrong += [f"{row}: {column} {old[column][row]}, expected {new[column][row]:.6f}" for row in both[differ]]
    known = int(new[numbers].notna().to_numpy().sum()) + len(both) * len(texts)
    known_differences = difference.to_numpy()[difference.notna().to_numpy()]
    return Check(file, known, float(known_differences.max(initial=0)), wrong)


def as_text(file: str) -> pd.DataFrame:
    """Results file as text; no rows where it is not there."""
    path = RESULTS / file
    return text_table(path) if path.exists() else pd.DataFrame()
