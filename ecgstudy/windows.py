"""Network inputs of many records: in memory where they fit, else read when they are asked for."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgstudy.data.cohort import Cohort
from ecgstudy.systems import System

IN_MEMORY = 2 * 2**30  # bytes of inputs that are kept
_REMEDY = "let `windows` cut by length alone, longer records into as many or more"


class Windows:
    """Network inputs (windows, leads, samples) of records, read and cut when some of them are asked for.

    ``x[chosen]`` and ``x[first:last]`` give, to the bit, what a tensor of all of them gives.

    Parameters
    ----------
    system
        Whose inputs; how many a record has must follow from its length.
    records
        Of the cohort.

    Attributes
    ----------
    owner
        (windows,) the place in ``records`` that each window is of.
    """

    def __init__(self, system: System, cohort: Cohort, records: NDArray[np.intp]) -> None:
        self._system, self._cohort, self._records = system, cohort, np.asarray(records)
        _, first, which = np.unique(_lengths(cohort, records), return_index=True, return_inverse=True)
        cut = [system.windows(cohort[int(self._records[place])]) for place in first]
        self._counts = np.array([len(windows) for windows in cut])[which]
        self.owner = np.repeat(np.arange(len(self._records)), self._counts)
        self._first = np.cumsum(self._counts) - self._counts  # window of each record
        self.shape = torch.Size((len(self.owner), *cut[0][0].shape))

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        places = np.arange(len(self))[chosen if isinstance(chosen, slice) else chosen.numpy()]
        owners = self.owner[places]
        self._cohort.ahead(np.unique(self._records[owners]))
        x, before = np.empty((len(places), *self.shape[1:]), dtype=np.float32), -1
        windows: list[NDArray[np.float32]] = []
        for row, (place, owner) in enumerate(zip(places, owners, strict=True)):
            if owner != before:
                windows, before = self._cut(int(owner)), owner
            x[row] = windows[place - self._first[owner]]
        return torch.from_numpy(x)

    def _cut(self, owner: int) -> list[NDArray[np.float32]]:
        record = int(self._records[owner])
        windows = self._system.windows(self._cohort[record])
        if len(windows) != self._counts[owner]:
            raise ValueError(
                f"{self._system.name} cuts record {record} into {len(windows)} inputs, and others of its length into "
                f"{self._counts[owner]}: {_REMEDY}"
            )
        return windows


def inputs(system: System, cohort: Cohort, records: NDArray[np.intp]) -> tuple[Tensor | Windows, NDArray[np.intp]]:
    """Network inputs (windows, leads, samples) of records, and the place in ``records`` that each window is of.

    More than ``IN_MEMORY`` bytes of them, if all records were as long as the longest, are not kept.
    """
    longest = system.windows(cohort[int(records[int(np.argmax(_lengths(cohort, records)))])])
    if len(records) * sum(window.nbytes for window in longest) > IN_MEMORY:
        windows = Windows(system, cohort, records)
        return windows, windows.owner
    # Pages that no input fills take no memory.
    x = np.empty((len(records) * len(longest), *longest[0].shape), dtype=np.float32)
    owner = np.empty(len(x), dtype=np.intp)
    filled = 0
    for place, record in enumerate(records):
        cut = system.windows(cohort[record])
        if filled + len(cut) > len(x):
            raise ValueError(f"{system.name} cuts record {record} into more inputs than a longer one: {_REMEDY}")
        for window in cut:
            x[filled], owner[filled] = window, place
            filled += 1
    return torch.from_numpy(x[:filled]), owner[:filled]


def _lengths(cohort: Cohort, records: NDArray[np.intp]) -> NDArray[np.int64]:
    return cohort.table["samples"].to_numpy()[records]
