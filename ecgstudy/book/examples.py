"""One ECG with maps over it: simulated, with its answer key, or real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ecgstudy import maps
from ecgstudy.book import hearts, plots, real_records
from ecgstudy.data import audit
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.systems import System
from ecgstudy.training import Run


@dataclass(frozen=True, eq=False)
class Example:
    """A record to look at.

    Attributes
    ----------
    signal, fs
        (12, samples) in mV, and its rate in Hz.
    title
        ``simulated``, or source, name and labels of a real one.
    labels
        Those of the nine classes that it carries, in their order.
    key
        (9, 12, samples): where the evidence of each class is; None where nobody has marked it.
    """

    signal: NDArray[np.float32]
    fs: float
    title: str
    labels: tuple[str, ...]
    key: NDArray[np.bool_] | None = None

    @classmethod
    def simulated(cls, *labels: str, fs: float, seed: int = 0) -> Self:
        """Simulate a record that carries exactly these labels; of a single one, that which was chosen to show it."""
        single = len(labels) == 1
        s = hearts.shown(labels[0], fs).one if single else synthetic.simulate(0, seed, fs=fs, labels=frozenset(labels))
        key = synthetic.answer_key(s.evidence, s.record.signal.shape[-1])
        return cls(s.record.signal, fs, "simulated", _in_order(labels), key)

    @classmethod
    def real(cls, *labels: str, fs: float) -> Self | None:
        """Find real records, one with each of the labels, and take that with most.

        They are of the recordings at hand, or else of those that come with the book; None where neither has the label.
        """
        found = [record for label in labels if (record := _real(label)) is not None]
        if not found:
            return None
        record = max(found, key=lambda r: len(r.labels))
        signal = resample(fill_gaps(record.signal), record.fs, fs)
        labels = _in_order(record.labels)
        return cls(signal, fs, f"{record.source}/{record.name} ({', '.join(labels)})", labels)

    def input(self, system: System) -> Tensor:
        """Its first input of a system, (1, leads, samples)."""
        return torch.from_numpy(system.windows(self.signal)[0])[None]


def _real(label: str) -> Record | None:
    """A real record of a class: of the recordings at hand, else one that comes with the book."""
    given = (one.record for one in real_records.committed().values() if label in one.labels)
    return audit.example(label=label) or next(given, None)


def charts(label: str) -> list[tuple[Record, str]]:
    """The simulated record that was chosen to show a class, and a real one of it, each with a title."""
    found = [hearts.shown(label).one.record, _real(label)]
    return [(r, f"{r.source}, {r.name}: {', '.join(_in_order(r.labels))}") for r in found if r is not None]


def _in_order(labels: Sequence[str] | frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in CLASSES if name in labels)


def over_ecg(
    x: Tensor,
    fs: float,
    cells: Tensor,
    stride: int,
    titles: Sequence[str],
    *,
    evidence: NDArray[np.bool_] | None = None,
    stepped: bool = False,
    unit: float = 1,
    scale: str | None = None,
) -> Figure:
    """Draw maps of cells over the record that an input holds, without its padding.

    Parameters
    ----------
    x, fs
        The input (1, leads, samples) and its rate in Hz.
    cells, stride
        The maps (maps, cells), a column each, and the samples of a cell.
    titles
        Of the columns.
    evidence
        (maps, 12, samples of the record): where the answer key has it.
    stepped
        Draw each cell level, from its first sample to its last, instead of a line between the middles of the cells.
    unit
        What 1 of the input is in mV.
    scale
        What the colours mean, instead of for and against.
    """
    samples = x.shape[-1]
    fine = cells.repeat_interleave(stride, dim=-1).numpy() if stepped else maps.at_samples(cells, stride, samples)
    valid = maps.validity(x)[0]
    first, number = int(valid.argmax()), int(valid.sum())
    record = slice(first, first + number)
    signal = unit * x[0, : len(LEADS), record].numpy()
    figure = plots.map_over_ecg(
        signal, fs, fine[:, record], titles, evidence=None if evidence is None else evidence[..., :number]
    )
    if scale:
        figure.axes[-1].set_ylabel(scale)
    return figure


def class_map(
    example: Example | None, label: str, run: Run, own_map: str, *, stepped: bool = False, unit: float = 1
) -> Figure | None:
    """Draw one of the own maps of a trained system for a class over a record, with the evidence of that class.

    Parameters
    ----------
    example
        The record; where there is none, nothing is drawn.
    own_map
        Its name in ``System.own_maps``.
    stepped, unit
        As for ``over_ecg``.
    """
    return own_maps(example, {label: (run, own_map, [label])}, stepped=stepped, unit=unit)


def own_maps(
    example: Example | None,
    columns: Mapping[str, tuple[Run, str, Sequence[str]]],
    *,
    centred: bool = False,
    stepped: bool = False,
    unit: float = 1,
    scale: str | None = None,
) -> Figure | None:
    """Draw own maps of trained systems over a record, a column each: of the same system, trained in different ways.

    Parameters
    ----------
    example
        The record; where there is none, nothing is drawn, nor where a network does not know a class.
    columns
        Title → the run, the name of the map in ``System.own_maps``, and labels: the map is that of the first one, the
        evidence that of any.
    centred
        Whether the map's mean over the input is subtracted.
    stepped, unit, scale
        As for ``over_ecg``.
    """
    if example is None:
        return None
    known = {name for run, _, _ in columns.values() for name in run.classes}
    if lacking := {label: None for _, _, labels in columns.values() for label in labels if label not in known}:
        display(Markdown(f"*Left out: a map of {' and '.join(lacking)}. This cohort has other classes.*"))
        return None
    drawn, evidence = [], []
    for run, own_map, labels in columns.values():
        x, network = example.input(run.system), run.network()
        stride: Any = network.stride
        with torch.inference_mode():
            cells = run.system.own_maps[own_map](network, x)[0, run.classes.index(labels[0])]
        drawn.append(cells - cells.mean() if centred else cells)
        if example.key is not None:
            evidence.append(example.key[[CLASSES.index(label) for label in labels]].any(axis=0))
    return over_ecg(
        x,
        example.fs,
        torch.stack(drawn),
        stride,
        [f"{example.title}: {title}" for title in columns],
        evidence=np.stack(evidence) if evidence else None,
        stepped=stepped,
        unit=unit,
        scale=scale,
    )


def class_rows(
    x: Tensor,
    fs: float,
    cells: NDArray[np.floating],
    stride: int,
    *,
    evidence: NDArray[np.bool_],
    labels: Sequence[str],
    title: str,
    signed: bool = False,
) -> Figure:
    """Draw the maps of all classes of one record below its lead II, one row a class, without padding.

    Parameters
    ----------
    x, fs
        The input (leads, samples) and its rate in Hz.
    cells, stride
        The maps (9, cells), and the samples of a cell.
    evidence
        (9, cells): where a bar marks the evidence of each of the ``labels``.
    labels
        Classes that are true.
    title
        Of the colours.
    signed
        Whether the maps have two signs: red and blue around zero instead of grey.
    """
    valid = maps.validity(x[None])[0]
    first = int(valid.argmax()) // stride
    last = -(-(int(valid.argmax()) + int(valid.sum())) // stride)
    figure, (ax, rows) = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, height_ratios=(1, 3), layout="constrained")
    ax.plot(np.arange(x.shape[-1]) / fs, x[LEADS.index("II")], color=plots.INK, linewidth=0.8)
    ax.set_ylabel("II (mV)")
    plots.strip_paper(ax)
    edges, top = np.arange(cells.shape[-1] + 1) * stride / fs, np.abs(cells).max()
    colours = {"cmap": plots.SIGNED, "vmin": -top} if signed else {"cmap": "Greys", "vmin": 0}
    mesh = rows.pcolormesh(edges, np.arange(len(CLASSES) + 1), cells, vmax=top, **colours)
    for label in labels:
        c = CLASSES.index(label)
        for cell in np.flatnonzero(evidence[c]):
            rows.plot(edges[cell : cell + 2], [c + 0.93] * 2, color=plots.EVIDENCE, linewidth=4)
    plots.name_answer_key(rows)
    rows.set_yticks(np.arange(len(CLASSES)) + 0.5, [f"{n} (true)" if n in labels else n for n in CLASSES])
    rows.set(ylim=(len(CLASSES), 0), xlim=(edges[first], edges[min(last, cells.shape[-1])]), xlabel="time (s)")
    figure.colorbar(mesh, ax=rows, fraction=0.03, pad=0.02).set_label(title)
    return figure
