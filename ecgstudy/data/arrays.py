"""ECGs in plain arrays: ``.npy`` and ``.csv`` as numpy, pandas, wfdb and spreadsheets write them."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.recfunctions import structured_to_unstructured

from ecgstudy.data.formats import (
    _MV_PER_UNIT,
    CANONICAL,
    LEADS,
    Reading,
    RecordError,
    check_values,
    checked_size,
    source_of,
)

_MISSING = {"", "-", "nan", "-nan", "na", "n/a", "<na>", "#n/a", "#na", "null", "none"}  # in place of a sample
_HEAD = 4  # lines that show the layout: names, units and two of samples
_WIDE = 1000  # columns, beyond which pandas takes seconds
_FEW = 8  # samples, among which a lead may rise evenly by chance
_HIGHEST = 1e6  # mV, beyond any sample: codes of a table
_LARGEST = 2**27  # bytes of a CSV, which take two seconds
_LONGEST_START = 2**20  # characters of a line that show whether it holds samples
_CONTINUES = 0.1  # mV between two samples, less than between column numbers and a sample

# Words that the names of time and counter columns consist of; what the first set names may start again from 0.
_TIME = {"time", "times", "timestamp", "timestamps", "datetime", "date", "elapsed", "clock", "zeit"}
_SECONDS = dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0)
_SECONDS |= dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3)
_SECONDS |= dict.fromkeys(("us", "µs", "μs", "usec", "microsecond", "microseconds"), 1e-6)
_COUNTER = """t unnamed index idx sample samples sampling interval point points number num no nr n row rows line frame
    frames tick ticks count counter seq sequence step id in of since from start"""
_COUNTING = {*_TIME, *_SECONDS, *_COUNTER.split()}
_CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:\.(\d+))?)", re.ASCII)  # 0:00.003, [10:00:00.003 01/01/2000]


class _Layout(NamedTuple):
    """How a CSV is written."""

    names: list[str]  # of its columns; [] where it names none
    units: list[str]  # of its columns; [] where it states none
    first: list[str]  # cells of its first sample; [] where there is none
    skip: int  # lines before it
    separator: str  # " " for any blanks, "\n" for a single column
    decimal: str
    quote: str

    def cells(self, line: str) -> list[str]:
        """Cells of a line, without quotes."""
        if self.separator == " ":
            return [cell.strip("'\"") for cell in line.split()]
        if self.separator == "\n":
            return [line.strip(" '\"\n")]
        (found,) = csv.reader([line], delimiter=self.separator, quotechar=self.quote)
        return [cell.strip(" '\"\n") for cell in found]


@dataclass
class _Table:
    """Columns of numbers, and what the file calls them."""

    values: np.ndarray  # (rows, columns)
    names: list[str]  # [] where there are none: then the leads may be rows or columns
    units: list[str]  # [] where none are stated
    printed: bool = True  # a CSV
    fs: float | None = None
    notes: list[str] = field(default_factory=list)

    def drop(self, columns: list[int], why: str) -> None:
        """Leave out columns, with a note."""
        for column in columns:
            name = self.names[column] if self.names else ""
            self.notes.append(f"columns: {repr(name) if name else f'number {column + 1}'} left out: {why}")
        if columns:
            kept = np.delete(np.arange(self.values.shape[1]), columns)
            self.values = self.values[:, kept]
            self.names = [self.names[column] for column in kept] if self.names else []
            self.units = [self.units[column] for column in kept] if self.units else []


def read_array(file: Path, source: str | None, leads: Sequence[str] | None) -> Reading:
    """A ``.npy`` or ``.csv`` of mV, leads along either axis; columns of times and counters are left out."""
    try:
        table = _npy(file) if file.suffix == ".npy" else _csv(file)
        if table.names:
            _drop_counters(table)
            if not table.names:
                raise RecordError("holds only columns of times and counters, no leads; export it again")
        _to_mv(table)
        if _are_numbers(table.names):
            if table.names:
                table.notes.append(f"column numbers: {table.names[0]} to {table.names[-1]}, read as no sample")
            names = list(leads or LEADS)
            signal = _oriented(table, len(names), sure=leads is not None)
        else:
            signal, names = table.values.T, table.names
            _note_counters(table)
            if leads is not None and len(leads) != len(names):
                raise RecordError(
                    f"holds {len(names)} leads, {', '.join(names)}, not {len(leads)}; name those in leads="
                )
        signal = np.array(signal, np.float32)  # out of the map
        if table.fs:
            table.notes.append(f"rate: {table.fs:g} Hz by its column of times")
    except (RecordError, OSError, MemoryError):
        raise
    except Exception as error:  # numpy and pandas raise many kinds
        raise RecordError(f"is not an array of numbers ({type(error).__name__}: {error}); export it again") from error
    return Reading(signal=signal, leads=names, source=source or source_of(file), fs=table.fs, notes=table.notes)


def holds_samples(file: Path) -> bool:
    """Whether a CSV's first line names a standard lead (before numbers, if at all), or is numbers but for a counter.

    A file with nothing in it counts: reading tells.
    """
    try:
        layout = _layout(file, _LONGEST_START)
    except (csv.Error, ValueError):
        return False
    except OSError:
        return True  # reading it tells
    if not layout.first and not any(name.strip("\0") for name in layout.names):
        return True
    named = [_lead_and_unit(name)[0] for name in layout.names if name and not _words_of_counting(name)]
    # A lead a row, its name first; a table about leads has words beside it.
    rows = all(not cell.strip() or _is_number(cell, layout.decimal) for cell in layout.first[1:])
    if any(name.lower() in CANONICAL for name in [*named, *(layout.first[:1] if rows else [])]):
        return True
    if layout.names:
        return bool(named) and _are_numbers(named)
    cells = [cell for cell in layout.first if not _CLOCK.search(cell)]
    numbers = all(_is_number(cell, layout.decimal) for cell in cells)
    return bool(cells) and numbers and not (np.abs(_numbers(cells, layout.decimal)) > _HIGHEST).any()


# What a file holds


def _npy(file: Path) -> _Table:
    array: np.ndarray = np.lib.format.open_memmap(file, mode="r")  # a wrong shape allocates nothing
    check_values(array.size * len(array.dtype.names or " "))
    names = list(array.dtype.names or ())
    if names:
        array = structured_to_unstructured(array.ravel())
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
        raise RecordError("is not an array of real numbers with one or two axes; export it again")
    return _Table(array if array.ndim == 2 else array[:, None], names, [], printed=False)


def _csv(file: Path) -> _Table:
    checked_size(file, _LARGEST)
    layout = _layout(file)
    width, names = len(layout.first), layout.names
    if not width:
        raise RecordError("holds no samples and is not an array of numbers; export it again")
    if names and len(names) == width - 1:  # R does not name row numbers; some end every line with a separator
        names = [*names, ""] if layout.first[-1].lower() in _MISSING else ["", *names]
    if len(names) == width + 1 and not names[-1]:
        names = names[:-1]
    if len(names) not in (0, width):
        raise RecordError(
            f"names {len(names)} columns, holds {width}, and is not an array; correct its first line or export it again"
        )
    texts = [column for column, cell in enumerate(layout.first) if not _is_number(cell, layout.decimal)]
    if width > _WIDE:
        checked_size(file, _LARGEST // 2)  # its cells are examined one by one
    values, cells = (_read_wide if width > _WIDE else _read)(file, layout, texts)
    table = _Table(values, names, layout.units if len(layout.units) == width else [])
    clocks = [column for column in texts if _CLOCK.search(cells[column][0]) or (names and _names_time(names[column]))]
    for column in texts:
        if column in clocks:
            table.fs = table.fs or _rate(np.array([_seconds(cell) for cell in cells[column]]))
        elif not column and names and not re.search(r"\w", names[0]) and any(n.lower() in CANONICAL for n in names):
            clocks.append(column)  # an index of texts
        elif column or any(name.lower() in CANONICAL for name in names):
            where = repr(names[column]) if names else f"number {column + 1}"
            raise RecordError(f"is not an array of numbers: {cells[column][0][:20]!r} in column {where}; leave it out")
    if texts[:1] == [0] and not clocks:  # a lead a line, after its name
        return _Table(values[:, 1:].T, cells[0], [])
    table.drop(clocks, "it holds text")
    return table


def _layout(file: Path, longest: int = _LARGEST) -> _Layout:
    lines: list[tuple[int, str]] = []
    comment = ""
    with file.open(encoding="latin-1") as text:
        for number, raw in enumerate(iter(partial(text.readline, longest), "")):
            line = _decoded(raw)
            if not lines and re.match(r"\s*#|sep=.$", line.rstrip("\n")):  # sep=; is Excel's
                comment = line.lstrip(" #")
            elif line.strip():
                lines.append((number, line))
            if len(lines) == _HEAD:
                break
    last = lines[-1][1] if lines else ""
    separator = next((mark for mark in ";\t," if mark in last), " " if len(last.split()) > 1 else "\n")
    quote = "'" if "'" in last + "".join(line for _, line in lines[:1]) else '"'
    layout = _Layout([], [], [], 0, separator, ".", quote)
    rows = [layout.cells(line) for _, line in lines]
    if rows and any("," in cell for cell in rows[-1]) and not any("." in cell for cell in rows[-1]):
        layout = layout._replace(decimal=",")
    if rows and not _is_sample(rows, layout.decimal):
        layout = layout._replace(names=rows.pop(0))
        if rows and {cell.strip("[]()").lower() for cell in rows[0]} & {*_MV_PER_UNIT, *_SECONDS}:
            layout = layout._replace(units=[cell.strip("[]()") for cell in rows.pop(0)])
    elif comment and len(names := layout.cells(comment)) == len(rows[0] if rows else []):
        layout = layout._replace(names=names)
    return layout._replace(first=rows[0] if rows else [], skip=lines[-len(rows)][0] if rows else 0)


def _decoded(line: str) -> str:
    """A line of a file opened as Latin-1, which takes all bytes, as UTF-8 if it is."""
    try:
        return line.encode("latin-1").decode("utf-8-sig")
    except UnicodeDecodeError:
        return line


def _is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number or marks a missing one."""
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return cell.lower() in _MISSING
    return True


def _numbers(cells: Sequence[str], decimal: str = ".") -> np.ndarray:
    """Numbers; NaN where a cell is missing or not a number."""
    present = (_is_number(cell, decimal) and cell.lower() not in _MISSING for cell in cells)
    return np.array(
        [float(c.replace(decimal, ".")) if there else np.nan for c, there in zip(cells, present, strict=True)]
    )


def _is_sample(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first of these rows holds samples, not names or numbers of columns."""
    cells, values = rows[0], _numbers(rows[0], decimal)
    texts = [cell for cell in cells if not _is_number(cell, decimal)]
    if texts and np.isnan(values).all():
        return False
    numbered = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # of infinities, which are no steps
        steps = np.diff(values[numbered])
    counted = values[numbered][:1].tolist() in ([0], [1]) and (steps == 1).all()
    # one lead a line: the times of the samples, with nothing above the names of the leads
    timed = not numbered[0] and len(steps) > 1 and steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3)
    if not numbered[1:].all() or not (counted or timed) or len(rows) == 1:
        return True
    if texts:
        return all(map(_CLOCK.search, texts))
    follow = _numbers(rows[1], decimal)
    if not numbered[0] and len(follow) == len(values):  # nothing above row numbers
        below = rows[1][0]
        return below.lower() in _MISSING or (_is_number(below, decimal) and follow[0] % 1 != 0)
    if len(steps) == 0:  # pandas writes a Series below a 0
        return not (max(cells).isdecimal() and not rows[1][-1].isdecimal())
    return len(follow) == len(values) and bool((np.abs(follow - values)[numbered] < _CONTINUES).all())


def _read(file: Path, layout: _Layout, texts: list[int]) -> tuple[np.ndarray, dict[int, list[str]]]:
    """(lines, columns), and the cells of those columns that are text (NaN among the numbers)."""
    frame = pd.read_csv(
        file,
        sep={" ": r"\s+", "\n": "\t"}.get(layout.separator, layout.separator),
        header=None,
        skiprows=layout.skip,
        dtype={column: str if column in texts else np.float64 for column in range(len(layout.first))},
        decimal=layout.decimal,
        quotechar=layout.quote,
        na_values=["-"],
        skipinitialspace=True,
        encoding="latin-1",
    )
    cells = {column: [str(cell).strip(" '\"") for cell in frame[column]] for column in texts}
    frame[texts] = np.nan
    return frame.to_numpy(np.float64), cells


def _read_wide(file: Path, layout: _Layout, texts: list[int]) -> tuple[np.ndarray, dict[int, list[str]]]:
    """The same, each line read as a column."""
    rows: list[np.ndarray] = []
    cells: dict[int, list[str]] = {column: [] for column in texts}
    with file.open(encoding="latin-1") as lines:
        for line in islice(lines, layout.skip, None):
            if not line.strip():
                continue
            plain = not texts and layout.separator != " " and layout.quote not in line
            if plain and len(row := _as_column(line.replace(layout.separator, "\n"), layout)) == len(layout.first):
                rows.append(row)  # no cell is empty, so that there is no need to look at each
                continue
            found = layout.cells(line)
            for number in texts:
                cells[number].append(found[number])
                found[number] = ""
            rows.append(_as_column("\n".join(cell or "-" for cell in found), layout))
    return np.array(rows), cells


def _as_column(text: str, layout: _Layout) -> np.ndarray:
    """Numbers of lines of one cell each; empty lines are skipped."""
    options = {"header": None, "dtype": np.float64, "na_values": ["-"], "decimal": layout.decimal}
    return pd.read_csv(io.StringIO(text), sep="\t", **options)[0].to_numpy()


# Columns that are not leads


def _words_of_counting(name: str) -> list[str]:
    """The words of a column's name, if they are those of times and counters."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return words if _names_time(name) or all(word in _COUNTING for word in words) else []


def _names_time(name: str) -> bool:
    return "time" in name.lower() or bool(_TIME & set(re.findall(r"[^\W\d_]+", name.lower())))


def _drop_counters(table: _Table) -> None:
    """Leave out columns that are times or counters by name and content."""
    dropped = []
    for column, name in enumerate(table.names):
        words = _words_of_counting(name)
        nameless = not re.search(r"\w", name)
        if name.lower() in CANONICAL or not (words or nameless):
            continue
        values = np.asarray(table.values[:, column], np.float64)
        present = values[~np.isnan(values)]
        forward = np.diff(present) >= 0
        varies = len(present) == 1 or (present != present[:1]).any()
        counts = varies and (forward.all() or (_names_time(name) and forward.mean() > 0.9))  # time may start again
        whole = varies and (present == np.rint(present)).all()
        stated = table.units[column].lower() if table.units else " ".join(words)
        unit = re.search(r"([\d.]{1,9}(?= ))?\s{0,9}\b(" + "|".join(_SECONDS) + r")\b", stated)  # ms, 0.002 sec
        if not len(present) or counts or (whole and not unit and (words or column == 0)):
            dropped.append(column)
            if unit:
                table.fs = table.fs or _rate(values * float(unit[1] or 1) * _SECONDS[unit[2]])
        elif words:
            table.notes.append(f"columns: {name!r} read as a lead, since it does not rise as a counter does")
    table.drop(dropped, "it counts samples or time, or is empty")


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether names are numbers (or none): as pandas (0, 1 …), R (V1 … V12, X0 …) and numpy (f0 …) number columns."""
    if all(map(_is_number, names)):
        return True
    numbered = [match for name in names if (match := re.fullmatch(r"([VXf])(\d{1,6})", name, re.ASCII))]
    if len(numbered) < len(names) or len({match[1] for match in numbered}) > 1:
        return False
    first, last = int(numbered[0][2]), int(numbered[-1][2])
    counted = [int(match[2]) for match in numbered] == list(range(first, last + 1)) and first in (0, 1)
    return counted and (numbered[0][1] != "V" or last >= 10)  # V1 … V9 are leads


def _even(table: np.ndarray) -> list[int]:
    """Columns that rise evenly, apart from rounding, as an index or a time does; none if all do."""
    rows = len(table)
    if rows < 3:
        return []
    rising = np.flatnonzero((np.diff(table[:_FEW], axis=0) >= 0).all(axis=0))  # most leads do not
    chosen = np.asarray(table[:, rising], np.float64)
    step = (chosen[-1] - chosen[0]) / (rows - 1)
    away = np.abs(chosen - chosen[0] - step * np.arange(rows)[:, None]).max(axis=0)
    found = rising[(step > 0) & (away <= step * (0.51 if rows >= _FEW else 1e-6))].tolist()
    return found if len(found) < table.shape[1] else []


def _oriented(table: _Table, wanted: int, sure: bool) -> np.ndarray:
    """(leads, samples) of an array that names no leads, judged by its shape and by columns that count evenly."""
    values = table.values
    if values.shape == (wanted, wanted):
        table.notes.append(f"orientation: {wanted} × {wanted}, a lead a row")
    ways = (values, values.T) if values.shape[1] > 1 else (values.T,)  # one column is one lead, however short
    for leads_first in ways:
        samples = leads_first.T
        if len(leads_first) != wanted:
            continue
        if table.printed and leads_first is values and wanted > 1 and _is_index(values[:, 0]):
            table.notes.append("columns: the first, which numbers the rows, left out")
            return values[:, 1:]
        if not sure and len(samples) >= _FEW and (even := _even(samples)):
            raise RecordError(
                f"holds {wanted} columns, but number {even[0] + 1} rises evenly, as no lead does; name them in leads="
            )
        return leads_first
    for samples in (way.T for way in ways[::-1]):
        extra = sorted({*_even(samples), *np.flatnonzero(np.isnan(samples).all(axis=0)).tolist()})
        if samples.shape[1] - len(extra) == wanted:
            stripped = _Table(samples, [], [])
            stripped.drop(extra, "it rises evenly or is empty")
            table.notes += stripped.notes
            return stripped.values.T
    raise RecordError(f"holds an array of shape {values.shape}, not {wanted} leads; name its leads in leads=")


def _is_index(column: np.ndarray) -> bool:
    return column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _seconds(clock: str) -> float:
    """Seconds of a time written h:m:s; NaN for anything else."""
    found = _CLOCK.search(clock)
    return np.nan if not found else 3600.0 * int(found[1] or 0) + 60.0 * int(found[2]) + float(found[3])


def _rate(seconds: np.ndarray) -> float | None:
    """Samples per second of times that rise evenly, apart from rounding; None if they do not fix it to 0.2 %."""
    last = len(seconds) - 1
    span = seconds[-1] - seconds[0]
    if last < 1 or not span > 0:
        return None
    away = np.abs(seconds - seconds[0] - span / last * np.arange(last + 1)).max()
    rate, error = last / span, 2 * away / span + 1e-6
    if not (away <= span / last and error < 2e-3):
        return None
    return float(round(rate)) if abs(round(rate) - rate) <= error * rate else float(rate)


# Leads by name


def _lead_and_unit(name: str) -> tuple[str, str]:
    """Split ``I (mV)`` or ``V1_uV`` into lead and unit."""
    found = re.fullmatch(r"(.*\S)\s*[\[(]\s*([munµμ]?v)\s*[\])]|(.*[^\s_/])[\s_/]+([munµμ]v)", name, re.IGNORECASE)
    return (found[1] or found[3], found[2] or found[4]) if found else (name, "")


def _to_mv(table: _Table) -> None:
    """Convert the values to mV by the units that the file states, and remove the units from the leads' names."""
    split = [_lead_and_unit(name) for name in table.names]
    units = table.units or [unit for _, unit in split]
    table.names = [lead for lead, _ in split]
    if wrong := [unit for unit in units if unit and unit.lower() not in _MV_PER_UNIT]:
        raise RecordError(f"a lead in {wrong[0][:20]!r} is not an ECG in mV; remove that column or correct its unit")
    scale = [_MV_PER_UNIT[unit.lower() or "mv"] for unit in units]
    table.notes += sorted({f"unit: {unit} converted to mV" for unit, k in zip(units, scale, strict=True) if k != 1})
    if set(scale) - {1.0}:
        table.values = table.values * np.array(scale)


def _note_counters(table: _Table) -> None:
    """Note columns whose names are neither leads nor counters but which rise like a counter."""
    if len(table.values) >= _FEW:
        for name in (table.names[column] for column in _even(table.values)):
            if name.lower() not in CANONICAL:
                table.notes.append(f"columns: {name!r} rises evenly like a counter, read as a lead")
