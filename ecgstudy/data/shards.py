"""Shards: parts of a cohort's cache that many processes and jobs make, in any order, each whole or absent.

They lie beside the cohort's own folder, in ``<cohort>.shards/<number>-of-<shards>``: signals, a table of the records,
another of those left out, and ``shard.json``, which seals them. Once all are there, whoever opens the cohort joins
their tables. The signals stay where they are.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ecgstudy.data.manifest import DataError
from ecgstudy.paths import read_json, read_sealed, told_if_broken

SEALED = "shard.json"
SAME = "same signal"  # why a record is left out


def folder_of(cohort: Path, number: int, shards: int) -> Path:
    """Where a shard is, counted from 1."""
    return cohort.with_name(f"{cohort.name}.shards") / f"{number}-of-{shards}"


def bounds(total: int, number: int, shards: int) -> tuple[int, int]:
    """First record of a shard, and the one after its last.

    Raises
    ------
    ValueError
        when there is no such shard, or there are more shards than records.
    """
    if not 1 <= number <= shards:
        raise ValueError(f"shard {number}/{shards}: shards are numbered from 1 to {shards}")
    if shards > total:
        raise ValueError(f"shard {number}/{shards}: {total:,} records make at most {total:,} shards")
    return total * (number - 1) // shards, total * number // shards


def begun(cohort: Path) -> int:
    """Into how many shards a cohort is being built: of several numbers the one that lacks fewest; 0 if into none."""
    sealed = folder_of(cohort, 1, 1).parent.glob(f"*-of-*/{SEALED}")
    found = Counter(int(path.parent.name.partition("-of-")[2]) for path in sealed)
    return min(found, key=lambda shards: (shards - found[shards], shards), default=0)


def lacking(cohort: Path, shards: int) -> list[int]:
    """Numbers of the shards that are not there."""
    numbers = range(1, shards + 1)
    return [number for number in numbers if not (folder_of(cohort, number, shards) / SEALED).exists()]


def all_of(cohort: Path, shards: int, command: str = "") -> tuple[Path, ...]:
    """Folders of all shards, in order.

    Parameters
    ----------
    command
        ``ecgstudy data build`` with the arguments that name the cohort, where no shard is left that knows it.

    Raises
    ------
    DataError
        when some lack: which, and the command that makes them.
    """
    every = tuple(folder_of(cohort, number, shards) for number in range(1, shards + 1))
    if absent := lacking(cohort, shards):
        there = [number for number in range(1, shards + 1) if number not in absent]
        command = command or read_json(every[there[0] - 1] / SEALED)["command"]
        numbers = ", ".join(map(str, absent[:20])) + (f" and {len(absent) - 20:,} more" if len(absent) > 20 else "")
        raise DataError(
            f"{every[0].parent} lacks shard{'s' if len(absent) > 1 else ''} {numbers} of {shards}. Make "
            f"{'each' if len(absent) > 1 else 'it'} with `{command} --shard {absent[0]}/{shards}`, or all with "
            f"`{command}`; or delete that folder, and the cohort is built in one piece"
        )
    return every


def join(folders: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.int64]]:
    """Join the tables of all shards to those that the cohort has when it is built in one piece.

    Of records with the same signal the first is kept, whichever shard it is in.

    Returns
    -------
    kept, left_out
        The tables; columns that only shards have are still in the first.
    places
        (records, 2): shard of each kept record, counted from 0, and where its samples begin there.
    """
    kept, left_out = (_joined(folders, name) for name in ("table", "left_out"))
    again = kept["signal_hash"].duplicated()
    kept, twice = kept[~again].reset_index(drop=True), kept[again]
    first = pd.Series(kept["name"].to_numpy(), kept["signal_hash"])
    doubled = twice.assign(reason=SAME)[list(left_out.columns.drop("detail"))]
    left_out = pd.concat([left_out, doubled], ignore_index=True)
    same = left_out["reason"] == SAME
    left_out["detail"] = left_out["detail"].astype(object).where(~same, left_out["signal_hash"].map(first))
    left_out = left_out.sort_values(["shard", "place"])
    places = kept[["shard", "offset"]].to_numpy(dtype=np.int64)
    kept["offset"] = kept["samples"].cumsum() - kept["samples"]
    return kept, left_out, places


def _joined(folders: Sequence[Path], name: str) -> pd.DataFrame:
    tables = []
    for number, folder in enumerate(folders):
        with told_if_broken(folder):
            table = parquet.read_table(folder / f"{name}.parquet").replace_schema_metadata()
        tables.append(table.append_column("shard", pa.array(np.full(len(table), number))))
    # A column that is empty in one shard has no type there.
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()


@cache
def signals(folder: Path) -> Path:
    """File of a shard's signals, which is compared with its checksum when it is first asked for."""
    read_sealed(folder / SEALED)
    return folder / "signals.bin"
