"""Figures of the primer on convolutional networks: each step of one committed network, on one simulated ECG."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgstudy import training
from ecgstudy.book import hearts, plots
from ecgstudy.book.report import number
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.explain import evaluation, faithfulness, methods, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.studies import explanations, leaderboard
from ecgstudy.systems import catalogue

LABEL, LEAD = "RBBB", "V1"  # of the record that is read
BLUE, PURPLE = "#4477aa", "#aa3377"


class Read(NamedTuple):
    """A network with global average pooling and the record that it reads."""

    run: training.Run
    network: Any
    case: Cases
    x: Tensor  # (1, leads, samples)

    @property
    def time(self) -> NDArray[np.float64]:
        """Seconds of the samples of the input."""
        return np.arange(self.x.shape[-1]) / self.case.fs

    @property
    def c(self) -> int:
        """Number of the class."""
        return CLASSES.index(LABEL)


@lru_cache
def read() -> Read:
    """The first published system whose map is a class activation map under a mean, and the record of ``LABEL``."""
    cls = next(cls for cls in catalogue.of_papers() if cls.linear_head)
    run = leaderboard.runs_of(explanations.MANY, cls.name)[0]
    case = hearts.case(LABEL, run.system.fs)
    return Read(run, run.network(), case, case.inputs(run.system))


def _layers(r: Read) -> tuple[nn.Module, ...]:
    """Convolution, normalisation, ReLU and pooling of the first block."""
    return tuple(r.network.blocks[:4])


@torch.inference_mode()
def first_block(r: Read) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The filter of the first block that answers the record most unevenly, its answer, and that after pooling.

    Returns
    -------
    filter (12, taps), answer (samples,) after ReLU, pooled (samples / 2,)
    """
    convolution, norm, relu, pool = _layers(r)
    answer = relu(norm(convolution(r.x)))
    chosen = int(answer[0].std(dim=-1).argmax())
    weights: Any = convolution.weight
    return weights[chosen].numpy(), answer[0, chosen].numpy(), pool(answer)[0, chosen].numpy()


def _axes(rows: int, heights: Sequence[float], width: float = 7.0) -> tuple[Figure, Any]:
    plots.style()
    figure, axes = plt.subplots(
        rows, 1, figsize=(width, 0.5 + sum(heights)), height_ratios=heights, sharex=True, layout="constrained"
    )
    return figure, axes


def _ecg(ax: Axes, r: Read, lead: str, *, shaded: bool = False) -> None:
    y = r.case.signals[0, LEADS.index(lead)]
    t = np.arange(len(y)) / r.case.fs
    if shaded:
        ax.fill_between(
            t, 0, 1, where=r.case.any_lead[0], transform=ax.get_xaxis_transform(), color=plots.MARKED, linewidth=0
        )
    ax.plot(t, y, color=plots.INK, linewidth=0.9)
    ax.set_ylabel(f"{lead}\n(mV)", rotation=0, ha="right", va="center")


def convolution() -> Figure:
    """An ECG, a filter of the first layer, and how strongly the filter answers at each moment."""
    r = read()
    weights, answer, _ = first_block(r)
    lead = LEADS[int(np.abs(weights).sum(axis=1).argmax())]
    plots.style()
    figure, axes = plt.subplot_mosaic(
        [["ecg", "ecg", "filter"], ["answer", "answer", "filter"]], figsize=(7.4, 3.4), layout="constrained"
    )
    _ecg(axes["ecg"], r, lead)
    axes["answer"].fill_between(r.time, answer, color=BLUE, linewidth=0)
    axes["answer"].set_ylabel("answer", rotation=0, ha="right", va="center")
    for name in ("ecg", "answer"):
        axes[name].set_xlim(1, 4)
    axes["ecg"].set_xticklabels([])
    axes["answer"].set(xlabel="seconds", ylim=(0, None))
    taps = weights[LEADS.index(lead)]
    axes["filter"].bar(np.arange(len(taps)), taps, color=PURPLE)
    axes["filter"].axhline(0, color="0.5", linewidth=0.8)
    axes["filter"].set(title=f"the filter's {len(taps)} weights\nfor {lead}", xlabel="place in the window", yticks=[])
    return figure


def pooling() -> Figure:
    """The same answer before and after pooling, half a second."""
    r = read()
    _, answer, pooled = first_block(r)
    figure, (above, below) = _axes(2, (1.4, 1.4))
    middle = int(answer[round(1.2 * r.case.fs) : round(4 * r.case.fs)].argmax()) + round(1.2 * r.case.fs)
    first = middle / r.case.fs - 0.2
    above.step(r.time, answer, where="post", color=BLUE, linewidth=1.6)
    above.plot(r.time, answer, "o", color=BLUE, markersize=3)
    below.step(r.time[::2][: len(pooled)], pooled[: len(r.time[::2])], where="post", color=BLUE, linewidth=1.6)
    for ax, text in ((above, "before"), (below, "after")):
        ax.set_ylabel(text, rotation=0, ha="right", va="center")
        ax.set(xlim=(first, first + 0.5), ylim=(0, None))
    below.set_xlabel("seconds")
    return figure


@torch.inference_mode()
def logits(r: Read) -> NDArray[np.float32]:
    """What the network answers to the record, (9,)."""
    return r.network(r.x)[0].numpy()


def logit() -> Figure:
    """The nine logits of the record on the curve that makes them probabilities."""
    z = logits(read())
    low, high = min(-4.0, float(z.min()) - 0.5), max(4.0, float(z.max()) + 0.5)
    plots.style()
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    curve = np.linspace(low, high, 200)
    ax.plot(curve, 1 / (1 + np.exp(-curve)), color="0.6", linewidth=1.5)
    order = np.argsort(z)
    for place, c in enumerate(order):
        p, colour = 1 / (1 + np.exp(-z[c])), PURPLE if CLASSES[c] == LABEL else plots.INK
        height = 0.06 + 0.1 * (place % 5)
        up = p + height if p < 0.5 else p - height
        ax.plot(z[c], p, "o", color=colour, markersize=6)
        ax.annotate(
            CLASSES[c], (z[c], p), (z[c], up), ha="center", fontsize=9, color=colour,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.8},
        )  # fmt: skip
    ax.axhline(0.5, color="0.8", linestyle="--", linewidth=1)
    ax.set(xlabel="logit", ylabel="probability", xlim=(low, high), ylim=(0, 1.02))
    return figure


@torch.inference_mode()
def channels(r: Read, most: int = 3) -> tuple[list[tuple[float, NDArray[np.float32]]], NDArray[np.float32]]:
    """Channels of the last feature map that add most to or take most from the logit, and the map that all make.

    Returns
    -------
    list of (weight, channel (cells,)), map (cells,)
        The map is the sum over all channels of weight times channel.
    """
    features, weights = r.network.features(r.x)[0], r.network.head.weight[r.c]
    adds = (weights * features.mean(dim=-1)).abs()
    chosen = adds.argsort(descending=True)[:most].tolist()
    return [(float(weights[k]), features[k].numpy()) for k in chosen], (weights @ features).numpy()


def activation_map() -> Figure:
    """Three channels with their weights, and the class activation map that all channels make."""
    r = read()
    some, whole = channels(r)
    figure, axes = _axes(5, (1.1, 0.6, 0.6, 0.6, 1.1))
    _ecg(axes[0], r, LEAD, shaded=True)
    t = np.arange(len(whole)) * r.network.stride / r.case.fs
    for ax, (weight, channel) in zip(axes[1:4], some, strict=True):
        ax.fill_between(t, channel, color="0.55", linewidth=0)
        ax.set_ylabel(f"× {number(weight, 2)}", rotation=0, ha="right", va="center")
        ax.set_yticks([])
    axes[4].axhline(0, color="0.6", linewidth=0.8)
    axes[4].fill_between(t, whole.clip(min=0), color=BLUE, linewidth=0)
    axes[4].fill_between(t, whole.clip(max=0), color="#c65102", linewidth=0)
    axes[4].set_ylabel("map", rotation=0, ha="right", va="center")
    axes[4].set(xlabel="seconds", xlim=(0, 5), yticks=[])
    return figure


def gradient_map() -> Figure:
    """Two leads, and below each what input × gradient gives to its samples."""
    r = read()
    made = methods.explain(r.run.system, "input × gradient", r.network, r.x, torch.tensor([r.c]), by_lead=True)[0]
    figure, axes = _axes(4, (1.1, 0.7, 1.1, 0.7))
    top = np.abs(made).max()
    for place, lead in enumerate((LEAD, "V6")):
        _ecg(axes[2 * place], r, lead, shaded=True)
        m, ax = made[LEADS.index(lead)], axes[2 * place + 1]
        t = np.arange(len(m)) / r.case.fs
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.fill_between(t, m.clip(min=0), color=BLUE, linewidth=0)
        ax.fill_between(t, m.clip(max=0), color="#c65102", linewidth=0)
        ax.set_ylabel("map", rotation=0, ha="right", va="center")
        ax.set(ylim=(-top, top), yticks=[])
    axes[-1].set(xlabel="seconds", xlim=(0, 5))
    return figure


def coarse() -> Figure:
    """Two seconds of an ECG, and below it the cells of each system's map."""
    r = read()
    names = [cls.name for cls in catalogue.with_chapter() if not leaderboard.missing(explanations.MANY, [cls.name])]
    figure, axes = _axes(2, (1.4, 0.42 * len(names)))
    _ecg(axes[0], r, LEAD, shaded=True)
    for place, name in enumerate(names):
        run = leaderboard.runs_of(explanations.MANY, name)[0]
        network: Any = run.system.network()
        cell = network.stride / run.system.fs
        for number_, first in enumerate(np.arange(0, 5, cell)):
            shade = "#d5d5d5" if number_ % 2 else "#8a8a8a"
            axes[1].barh(place, cell, left=first, height=0.7, color=shade, linewidth=0)
        axes[1].text(5.05, place, f"{number(cell, 2)} s", va="center", fontsize=9)
    axes[1].set_yticks(range(len(names)), names)
    axes[1].set(xlim=(0, 5), ylim=(len(names) - 0.5, -0.5), xlabel="seconds")
    axes[1].tick_params(axis="y", length=0)
    return figure


def misleading() -> Figure:
    """Three maps over one record: the network's, that of the same network with shuffled weights, a QRS detector."""
    r = read()
    figure, axes = _axes(4, (1.2, 0.8, 0.8, 0.8))
    _ecg(axes[0], r, LEAD, shaded=True)
    for ax, (name, m) in zip(axes[1:], three_maps(r).items(), strict=True):
        t = np.arange(m.shape[-1]) / r.case.fs
        ax.fill_between(
            t, 0, 1, where=r.case.any_lead[0], transform=ax.get_xaxis_transform(), color=plots.MARKED, linewidth=0
        )
        positive = m[0].clip(min=0)
        ax.fill_between(t, positive, color=BLUE, linewidth=0)
        inside = trials.localisation(m, r.case.any_lead)["mass"][0]
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        ax.set(ylim=(0, 1.05 * max(float(positive.max()), 1e-9)), yticks=[])
        ax.text(
            0.995, 0.9, f"{number(inside, 2)} inside", ha="right", va="top", transform=ax.transAxes, fontsize=9,
            bbox={"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1},
        )  # fmt: skip
    axes[-1].set(xlabel="seconds", xlim=(0, 5))
    return figure


def three_maps(r: Read) -> dict[str, NDArray[np.floating]]:
    """Maps (1, samples) of the record, by what a figure calls them."""
    own = next(iter(r.run.system.own_maps))

    def made(network: Any) -> NDArray[np.floating]:
        return evaluation.make_maps(own, r.run.system, network, r.case)

    # The first order of the weights whose map supports the class anywhere.
    shuffled = (made(faithfulness.randomised(r.network, seed=seed)) for seed in range(100))
    return {
        "the network's\nmap": made(r.network),
        "the same, its\nweights shuffled": next(m for m in shuffled if (m > 0).any()),
        "a detector of\nQRS complexes": evaluation.make_maps("QRS detector", r.run.system, r.network, r.case),
    }


DRAWN: dict[str, Callable[[], Figure]] = {
    "cnn_convolution": convolution,
    "cnn_pooling": pooling,
    "cnn_logit": logit,
    "cnn_activation_map": activation_map,
    "cnn_gradient_map": gradient_map,
    "cnn_coarse": coarse,
    "cnn_misleading": misleading,
}
