"""What a map can score at all: a perfect map, and blind maps, on the cells of a network.

A map of cells of half a second cannot follow a QRS complex of a tenth, whatever its network has learnt. Its score means
something beside its *ceiling*, what a perfect map scores on the same cells, and its *floor*, the best that maps score
there which have seen no network. A method that goes down to the samples has a perfect map's 1 for its ceiling.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ecgstudy import maps
from ecgstudy.explain import blind, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.explain.methods import METHODS
from ecgstudy.systems import Explained, Tried

CEILINGS = ("perfect map", "best cell")
FLOORS = blind.BASELINES[1:]
BLURS = (0.05, 0.1, 0.2)  # seconds, of a Gaussian's standard deviation


class Cells(NamedTuple):
    """Cells of a network's map over its inputs."""

    x: Tensor  # (rows, leads, samples)
    stride: int  # samples of a cell
    number: int

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where the record is, and not padding: (rows, samples)."""
        return maps.validity(self.x)

    def averaged(self, values: NDArray) -> NDArray[np.float64]:
        """Mean of each cell over the samples of the record in it, 0 where there are none: (rows, n) → (rows, cells)."""
        valid = self.valid
        if (valid.sum(axis=1) != values.shape[1]).any():
            raise ValueError(f"{values.shape[1]} samples a row, where the inputs hold {valid.sum(axis=1).tolist()}")
        whole = np.zeros(valid.shape)
        whole[valid] = np.ravel(values)
        begins = np.arange(self.number) * self.stride  # what lies beyond the last cell counts to it
        samples = np.add.reduceat(valid, begins, axis=1, dtype=float)
        return np.add.reduceat(whole, begins, axis=1) / np.maximum(samples, 1)

    def placed(self, cells: NDArray) -> NDArray[np.float32]:
        """Cells (rows, cells) at the samples of their records, as the network's own maps are: (rows, n)."""
        return np.stack(maps.on_record(torch.from_numpy(np.asarray(cells, dtype=np.float32)), self.stride, self.x))

    def best(self, key: NDArray[np.bool_]) -> NDArray[np.float64]:
        """One cell a row, that of whose map most lies inside the key (rows, n): (rows, cells)."""
        valid = self.valid
        whole = np.zeros(valid.shape)
        whole[valid] = np.ravel(key)
        shapes = maps.at_samples(torch.eye(self.number), self.stride, self.x.shape[-1]).astype(np.float64)
        inside, total = whole @ shapes.T, valid @ shapes.T
        share = np.divide(inside, total, out=np.full_like(inside, -1), where=total > 0)
        return np.eye(self.number)[share.argmax(axis=1)]


def cells_of(system: Explained, network: nn.Module, x: Tensor) -> Cells:
    """Cells of a system's own maps or, if it has none, of its feature layer."""
    known: Any = network
    if system.own_maps:
        with torch.no_grad(), maps.evaluating(network):
            count = next(iter(system.own_maps.values()))(network, x[:1]).shape[-1]
    elif system.feature_layer:
        count = maps.hires_cam(network, system.feature_layer, x[:1], torch.zeros(1, dtype=torch.long)).shape[-1]
    else:
        raise ValueError(f"{system.name} has neither maps of its own nor a feature layer: its maps are of samples")
    return Cells(x, known.stride, count)


def of_cells(system: Explained, method: str) -> bool:
    """Whether a method's map of a system has a value a cell, and not one a sample."""
    return method in system.own_maps or (method in METHODS and METHODS[method].gives == "layer")


def references(cases: Cases, cells: Cells | None = None) -> dict[str, NDArray[np.floating]]:
    """Maps (rows, n) by name: ``CEILINGS``, then ``FLOORS``, on the cells or, without any, at the samples.

    A perfect map's cell is the share of it that is evidence. All weight on the best cell is as high as excess mass can
    be without a negative cell; at the samples it is the perfect map.
    """
    key = cases.any_lead
    blindly = {
        "signal energy": blind.energy_maps(cases.signals, cases.fs),
        "QRS detector": blind.qrs_maps(cases.signals, cases.fs),
    }
    if cells is None:
        return dict.fromkeys(CEILINGS, key.astype(float)) | blindly
    made = {"perfect map": cells.placed(cells.averaged(key)), "best cell": cells.placed(cells.best(key))}
    return made | {name: cells.placed(cells.averaged(m)) for name, m in blindly.items()}


def scores(cases: Cases, cells: Cells | None = None) -> pd.DataFrame:
    """What ``references`` score: one row a case, columns (method, trial), the trials of localisation."""
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, made in references(cases, cells).items():
        found |= {(name, trial): s for trial, s in trials.localisation(made, cases.any_lead).items()}
    return pd.DataFrame(found).rename_axis(columns=["method", "trial"])


def bounds(summary: pd.DataFrame) -> pd.DataFrame:
    """Ceiling and floor of each trial and class, of a ``trials.summary`` of ``scores``.

    Returns
    -------
    DataFrame
        Index (trial, class), columns ceiling (the perfect map's mean) and floor (the best of the blind maps', or of a
        map moved to a random time, if that is more).
    """
    by_map = summary.pivot(index=["trial", "class"], columns="method", values="value")
    chance = by_map.index.get_level_values("trial").map({"excess mass": 0.0, "AUC": 0.5}.get).astype(float)
    floor = by_map[list(FLOORS)].max(axis=1)
    return pd.DataFrame({"ceiling": by_map["perfect map"], "floor": np.fmax(floor, chance)}, index=by_map.index)


def of_methods(system: Tried, network: nn.Module, cases: Cases, methods: Sequence[str]) -> pd.DataFrame:
    """Ceiling and floor of methods of a system: index (method, trial, class), columns as ``bounds`` has them."""
    found = {}
    for coarse in {of_cells(system, method) for method in methods}:
        cells = cells_of(system, network, cases.inputs(system)) if coarse else None
        means = trials.summary(scores(cases, cells), cases.names_of_classes, cases.patients, repeats=1)
        found[coarse] = bounds(means)
    return pd.concat({method: found[of_cells(system, method)] for method in methods}, names=["method"])


def planted(cases: Cases, cells: int = 1) -> dict[str, NDArray[np.floating]]:
    """Perfect maps that are spoilt in known ways, by name: what a metric takes off for what is no fault of the map.

    Blurred, with a constant of the map's own height added, and moved by one cell of ``cells`` samples.
    """
    perfect = cases.any_lead.astype(float)
    made = {"perfect": perfect}
    made |= {f"blurred by {s:g} s": ndimage.gaussian_filter1d(perfect, s * cases.fs, axis=-1) for s in BLURS}
    return made | {"plus a constant": perfect + 1, "moved by one cell": np.roll(perfect, cells, axis=-1)}


def sensitivity(cases: Cases, cells: int = 1) -> pd.DataFrame:
    """What ``planted`` maps score: one row a case, columns (method, trial)."""
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, made in planted(cases, cells).items():
        found |= {(name, trial): s for trial, s in trials.localisation(made, cases.any_lead).items()}
    return pd.DataFrame(found).rename_axis(columns=["method", "trial"])
