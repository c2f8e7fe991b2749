"""Maps cell by cell: what a network gives for each of its cells, beside the evidence that those samples hold.

``trials`` puts maps on trial at the samples of a record. A system's chapter looks at the cells themselves, which its
network weighs or lets win.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgstudy import maps
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.synthetic import SimulatedRecord
from ecgstudy.systems import System


class Inputs(NamedTuple):
    """Simulated records as a system sees them, and where their evidence is."""

    x: Tensor  # (records, leads, samples): the first input of each
    valid: NDArray[np.bool_]  # (records, samples): where the record is, and not padding
    key: NDArray[np.bool_]  # (records, 9, samples): evidence of each class in any lead
    labels: NDArray[np.bool_]  # (records, 9)
    patients: NDArray[np.str_]

    def even(self, stride: int, cells: int) -> NDArray[np.float64]:
        """Map that weighs all cells of a record alike and those of padding alone not at all: (records, 1, cells)."""
        there = in_cells(self.valid, stride, cells)
        return (there / there.sum(axis=-1, keepdims=True))[:, None]

    def energy(self, stride: int, cells: int) -> NDArray[np.float32]:
        """Share of the energy of all leads that is in each cell: (records, 1, cells)."""
        power = (self.x[:, : len(LEADS), : cells * stride] ** 2).sum(dim=1)
        power = power.reshape(len(power), cells, stride).sum(dim=-1)
        return (power / power.sum(dim=-1, keepdim=True)).numpy()[:, None]

    def inside(self, own: NDArray[np.floating], stride: int) -> NDArray[np.floating]:
        """Share of each map that is in cells with evidence of its class, NaN for a class without a label: (records, 9).

        ``own`` is (records, 9, cells), or (records, 1, cells) for one map of all classes.
        """
        return np.where(self.labels, mass_inside(own, in_cells(self.key, stride, own.shape[-1])), np.nan)


def inputs(system: System, records: Iterable[SimulatedRecord]) -> Inputs:
    """Make the inputs of simulated records at the rate of the system, with their answer keys at the same samples."""
    records = list(records)
    x = torch.from_numpy(np.stack([system.windows(s.record.signal)[0] for s in records]))
    valid = maps.validity(x)
    key = np.zeros((len(records), len(CLASSES), x.shape[-1]), dtype=bool)
    for row, there, s in zip(key, valid, records, strict=True):
        own = synthetic.answer_key(s.evidence, s.record.signal.shape[-1], leads=1)[:, 0]
        first = int(there.argmax())
        row[:, first : first + own.shape[-1]] = own[:, : x.shape[-1] - first]
    labels = np.array([[name in s.record.labels for name in CLASSES] for s in records])
    return Inputs(x, valid, key, labels, np.array([s.record.patient_id for s in records]))


def in_cells(at: NDArray[np.bool_], stride: int, cells: int) -> NDArray[np.bool_]:
    """Whether any of the ``stride`` samples of each cell is true: (..., samples) → (..., cells).

    Samples beyond the last cell are left out; a last cell that reaches beyond the samples has fewer.
    """
    whole = np.zeros((*at.shape[:-1], cells * stride), dtype=bool)
    whole[..., : at.shape[-1]] = at[..., : cells * stride]
    return np.any(whole.reshape(*at.shape[:-1], cells, stride), axis=-1)


def mass_inside(own: NDArray[np.floating], key: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Share of the positive part of maps (..., cells) in cells with evidence: (...), NaN where no cell is positive."""
    positive = np.maximum(own, 0)
    total = positive.sum(axis=-1)
    return np.where(total > 0, (positive * key).sum(axis=-1) / np.where(total > 0, total, 1), np.nan)


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Common part of two distributions over cells (..., cells): 1 where they are equal, 0 where they meet nowhere."""
    return np.minimum(a, b).sum(axis=-1)


def overlaps(weights: NDArray[np.floating], key: NDArray[np.bool_], labels: NDArray[np.bool_]) -> pd.DataFrame:
    """Do classes look at different places? What distributions over cells have in common, mean over members.

    Parameters
    ----------
    weights
        (members, records, classes, cells) that add up to 1, of two members or more.
    key
        (records, classes, cells): where the evidence is.
    labels
        (records, classes).

    Returns
    -------
    DataFrame
        A row a pair of true classes of a record, its index the record. Columns: the overlap of these two classes; that
        of any two classes of the record; that of the first of the pair in the first two members; and that of the
        classes' evidence, spread evenly over its cells.
    """
    record, a, b = np.array(
        [(r, *pair) for r, row in enumerate(labels) for pair in combinations(np.flatnonzero(row), 2)]
    ).T
    even = key / np.maximum(key.sum(axis=-1, keepdims=True), 1)
    every = [overlap(weights[:, :, c], weights[:, :, d]) for c, d in combinations(range(labels.shape[1]), 2)]
    return pd.DataFrame(
        {
            "two true classes": overlap(weights[:, record, a], weights[:, record, b]).mean(axis=0),
            "any two classes": np.mean(every, axis=(0, 1))[record],
            "one true class, two members": overlap(weights[0, record, a], weights[1, record, a]),
            "their answer keys": overlap(even[record, a], even[record, b]),
        },
        index=record,
    )
