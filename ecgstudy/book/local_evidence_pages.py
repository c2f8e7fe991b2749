"""Tables and figures of the chapter on local evidence."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.io.formats.style import Styler
from torch import Tensor, nn

from ecgstudy import metrics, training
from ecgstudy.book import explanation_tables, hearts, plots, report
from ecgstudy.book.chapter import Chapter, needs_key
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.explain import evaluation, methods, trials
from ecgstudy.explain.cases import Cases, ludb_at_hand, synthetic_cases
from ecgstudy.studies import explanations, leaderboard
from ecgstudy.studies.questions import INPUT_GRADIENT
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import by_name, with_chapter

ENDS = ["value", "low", "high"]
_DRAWN = ("excess mass", "pointing", "random weights", "time shift")  # trials that are drawn; a table has all


def times(system: System, network: nn.Module, signal: NDArray[np.float32], batch: int = 32) -> dict[str, str]:
    """Milliseconds that a record (12, samples) takes on one thread, as texts for ``report.glue_all``.

    ``ms_windows`` to prepare it, ``ms_one`` in the network alone, ``ms_many`` there in a batch.
    """
    x = torch.from_numpy(system.windows(signal)[0])[None]
    many = x.expand(batch, -1, -1).contiguous()
    found = {
        "ms_windows": _shortest(lambda: system.windows(signal), 20),
        "ms_one": _shortest(lambda: network(x), 20),
        "ms_many": _shortest(lambda: network(many), 5) / batch,
    }
    return {name: f"{1000 * seconds:.1f}" for name, seconds in found.items()}


@torch.inference_mode()
def _shortest(work: Callable[[], object], repeats: int) -> float:
    """Shortest time that some work takes on one thread, in s."""
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return min(taken)


def completeness(run: training.Run, x: Tensor, caption: str) -> Styler:
    """Largest difference between a logit and bias plus sum of the map, over inputs and classes, in two precisions."""
    rows = []
    for precision in (torch.float32, torch.float64):
        network: Any = run.network().to(precision)
        with torch.inference_mode():
            most = max(network.incompleteness(part.to(precision)).max().item() for part in x.split(64))
        rows.append({"precision": str(precision).removeprefix("torch."), "largest difference": f"{most:.1e}"})
    return report.table(pd.DataFrame(rows), caption)


@needs_key()
def every_system(ours: Chapter, classes: Sequence[str], p: SimpleNamespace) -> Figure:
    """``own_map_of_each`` of this chapter's first network and those of the other systems' chapters.

    Parameters
    ----------
    p
        Parameters of the notebook: ``profile`` and ``seed``.
    """
    runs = {
        cls.name: ours.runs[0]
        if cls.name == ours.system.name
        else explanations.chapter_runs(cls.name, p.profile, seed=p.seed)[0]
        for cls in with_chapter()
    }
    return own_map_of_each(runs, classes, ours.system.fs)


def own_map_of_each(runs: Mapping[str, training.Run], classes: Sequence[str], fs: float) -> Figure:
    """Lead II of the record that shows each class, at ``fs`` Hz, and below it the first own map of each system.

    The evidence is shaded; the positive part of a map is filled. The same record is simulated at each system's rate.
    """
    size: dict[str, Any] = {"figsize": (2.6 + 4.2 * len(classes), 6.5), "sharex": True, "layout": "constrained"}
    figure, axes = plt.subplots(1 + len(runs), len(classes), squeeze=False, **size)
    for column, name in zip(axes.T, classes, strict=True):
        shown = hearts.case(name, fs)
        _shaded(column[0], shown)
        column[0].plot(_seconds(shown), shown.signals[0, LEADS.index("II")], color=plots.INK, lw=0.7)
        column[0].set(title=f"{name}, lead II")
        for ax, run in zip(column[1:], runs.values(), strict=True):
            _own_map(ax, run, hearts.case(name, run.system.fs))
        column[-1].set_xlabel("seconds")
    for ax, (name, run) in zip(axes[1:, 0], runs.items(), strict=True):
        ax.set_ylabel(f"{name}\n{methods.methods(run.system)[0]}", rotation=0, ha="right", va="center")
    for ax in axes.flat:
        ax.set(yticks=[], xlim=(0, 10))
    for ax in axes[0]:
        plots.strip_paper(ax)
    plots.name_answer_key(axes[0, -1])
    return figure


def _seconds(case: Cases) -> NDArray[np.float64]:
    return np.arange(case.signals.shape[-1]) / case.fs


def _shaded(ax: Axes, case: Cases) -> None:
    """Shade the evidence of a case in any lead, over the whole height."""
    across = ax.get_xaxis_transform()
    ax.fill_between(
        _seconds(case), 0, 1, where=case.any_lead[0], transform=across, color=plots.EVIDENCE, alpha=0.25, lw=0
    )


def _own_map(ax: Axes, run: training.Run, case: Cases) -> None:
    """Fill the positive part of the first own map of a case, and say how much of it is inside the evidence."""
    m = evaluation.make_maps(methods.methods(run.system)[0], run.system, run.network(), case)
    _shaded(ax, case)
    ax.fill_between(_seconds(case), m[0].clip(min=0), color=plots.BLUE, lw=0)
    ax.set_ylim(0, max(1.05 * m.max(), 1e-9))
    mass = trials.localisation(m, case.any_lead)["mass"][0]
    said = f"{mass:.2f} inside" if (m > 0).any() else "silent"
    box = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1}
    ax.text(0.995, 0.9, said, ha="right", va="top", transform=ax.transAxes, fontsize=7, bbox=box)


def maps_of_others(table: pd.DataFrame, system: str) -> pd.DataFrame:
    """Rows of ``explanations.committed`` on simulated records, trained on such: the others' own maps and gradients."""
    rows = table[(table["cohort"] == "synthetic") & (table["trained"] == "synthetic") & (table["system"] != system)]
    own = [m in by_name(s).own_maps for s, m in zip(rows["system"], rows["method"], strict=True)]
    rows = rows[np.array(own, dtype=bool) | (rows["method"] == INPUT_GRADIENT)]
    return rows.sort_values(["system", "method"], kind="stable")


def excess_by_class(table: pd.DataFrame, names: tuple[str, str]) -> Figure:
    """Excess mass of two methods by class, with intervals, of ``explanations.tidy``'s rows of one system."""
    rows = table[(table["trial"] == "excess mass") & (table["class"] != "")].set_index(["class", "method"])[ENDS]
    both = pd.MultiIndex.from_product([CLASSES, names], names=["class", "method"])
    options: dict[str, Any] = {"names": "class", "series": "method", "reference": 0, "said": "chance"}
    return plots.forest(rows.reindex(both).reset_index(), xlabel="excess mass", **options)


def excess_texts(
    tried: pd.DataFrame, cases: Cases, mine: pd.DataFrame, theirs: pd.DataFrame, own: str, repeats: int
) -> dict[str, str]:
    """Tell of excess mass, mean of the classes, in texts for ``report.glue_all``.

    Parameters
    ----------
    tried
        Of ``evaluation.evaluate``, scores of each of the cases.
    mine, theirs
        Rows of ``explanations.tidy`` of this system, and of the others.
    own
        Name of this system's own map.

    Returns
    -------
    dict
        ``own_excess``, of the own map; ``above_gradient`` and ``above_verdict``, how much more that is than of input
        × gradient of the same network; ``best_own`` and ``best_gradient`` of the others, by name.
    """
    more = tried[own, "excess mass"] - tried[INPUT_GRADIENT, "excess mass"]
    paired = trials.summary(more.to_frame("difference"), cases.names_of_classes, cases.patients, repeats=repeats)
    value, low, high = paired.loc[paired["class"] == "", ENDS].iloc[0]
    means = {
        whose: rows[(rows["class"] == "") & (rows["trial"] == "excess mass")]
        for whose, rows in (("mine", mine), ("theirs", theirs))
    }
    gradient = means["theirs"]["method"] == INPUT_GRADIENT
    return {
        "own_excess": explanation_tables.intervals(means["mine"].query("method == @own"))[0],
        "above_gradient": report.interval(value, low, high, digits=2),
        "above_verdict": metrics.verdict(low, high),
        "best_own": _best(means["theirs"][~gradient]),
        "best_gradient": _best(means["theirs"][gradient]),
    }


def _best(rows: pd.DataFrame) -> str:
    top = rows.loc[[rows["value"].idxmax()]]
    return f"{top['system'].item()}'s {top['method'].item()}, {explanation_tables.intervals(top)[0]}"


def with_the_key(chapter: Chapter, arms: Mapping[str, training.Run], cases: Mapping[str, Cases]) -> pd.DataFrame:
    """How well networks do and where their evidence lies: with the answer key in the loss, and without.

    Parameters
    ----------
    arms
        What a network was taught with → its run, on the records of the chapter.
    cases
        Name → records with an answer key that no network has seen.

    Returns
    -------
    DataFrame
        taught with, metric, value, low, high.
    """
    rows = []
    for arm, run in arms.items():
        area = chapter.interval(metrics.macro_auroc, run.probabilities(chapter.test))
        rows.append({"taught with": arm, "metric": "macro-AUROC", **area._asdict()})
    tables = [pd.DataFrame(rows)]
    for name, some in cases.items():
        maps = {arm: evaluation.make_maps("evidence", run.system, run.network(), some) for arm, run in arms.items()}
        excess = pd.DataFrame({arm: trials.localisation(m, some.any_lead)["excess mass"] for arm, m in maps.items()})
        excess = excess.rename_axis(columns="taught with")
        found = trials.summary(excess, some.names_of_classes, some.patients, repeats=chapter.repeats)
        found = found[found["class"] == ""].assign(metric=f"excess mass, {name}")
        tables.append(found[["taught with", "metric", *ENDS]])
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, eq=False)
class OnTrial:
    """The trials of this chapter's maps on simulated records, beside the committed ones of the other systems.

    Attributes
    ----------
    ours
        The chapter, whose first network is tried.
    p
        Parameters of the notebook: ``members``, ``per_class``, ``costly_every``, ``seed`` and what names the cohort.
    """

    ours: Chapter
    p: SimpleNamespace

    @property
    def has_key(self) -> bool:
        """As the chapter."""
        return self.ours.has_key

    @cached_property
    def cases(self) -> Cases:
        """The simulated records that no network has seen."""
        return synthetic_cases(self.p.fs, self.p.per_class, seed=explanations.CASE_SEED)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of each of the cases, columns (method, trial)."""
        return explanations.trials_of_chapter(self.ours.system, self.p).scores()

    @cached_property
    def mine(self) -> pd.DataFrame:
        """Rows of ``explanations.tidy`` of this system."""
        return explanations.tidy(self.scores, self.cases, self.ours.runs[0], "synthetic", repeats=self.ours.repeats)

    @cached_property
    def theirs(self) -> pd.DataFrame:
        """Those of the others."""
        return maps_of_others(explanations.committed(), self.ours.system.name)

    @needs_key()
    def drawn(self) -> Figure:
        """Draw means over classes in some trials, this system's above those of the others."""
        rows = pd.concat([self.mine, self.theirs])
        rows = rows[(rows["class"] == "") & rows["trial"].isin(_DRAWN)]
        rows = rows.sort_values("trial", key=lambda names: names.map(_DRAWN.index), kind="stable")
        options: dict[str, Any] = {
            "names": "method",
            "groups": "system",
            "panels": "trial",
            "reference": {"excess mass": 0},
        }
        return plots.forest(rows, said="chance", **options)

    @needs_key()
    def table(self) -> HTML:
        """Means over classes in all trials, of this system and below of the others, folded."""
        shown = ["mass", "excess mass", "pointing", "any positive", "comprehensiveness", "infidelity"]
        shown += ["random weights", "noise", "time shift", "members", "seeds"]
        table = explanation_tables.trials(
            pd.concat([self.mine, self.theirs]),
            shown,
            f"Means over classes with 95 % intervals: this system on {len(self.cases.classes)} explanations made here; "
            "below, the others' own maps and gradients (results/explanations.csv.gz). Less is better for infidelity "
            "and random weights. Any positive: share of maps with any positive part.",
        )
        return report.folded(table, "every trial of each map, this system's above the others'")

    @needs_key()
    def by_class(self) -> Figure:
        """Excess mass of the own map and of the gradient."""
        return excess_by_class(self.mine, ("evidence", INPUT_GRADIENT))

    @needs_key("own_excess", "above_gradient", "above_verdict", "best_own", "best_gradient")
    def glue(self) -> None:
        """Glue ``excess_texts`` for the prose."""
        report.glue_all(excess_texts(self.scores, self.cases, self.mine, self.theirs, "evidence", self.ours.repeats))

    @cached_property
    def _taught(self) -> pd.DataFrame:
        """``with_the_key`` on the simulated records, and on LUDB's if it is at hand."""
        unread: list[dict[str, str]] = []
        real = ludb_at_hand([self.p.fs], 2 * self.p.per_class, unread)
        report.unread(unread, "they are not explained on this page")
        arms = {"labels alone": self.ours.runs[0], **{name: arm.runs[0] for name, arm in self.ours.arms.items()}}
        return with_the_key(self.ours, arms, {"simulated": self.cases, **({"LUDB": real[self.p.fs]} if real else {})})

    @needs_key()
    def drawn_with_the_key(self) -> Figure:
        """Draw how well a network does, and where its evidence lies, with the key in its loss and without."""
        line = {name: 0.0 for name in self._taught["metric"] if name != "macro-AUROC"}
        return plots.forest(self._taught, names="taught with", panels="metric", reference=line)

    @needs_key()
    def with_the_key(self) -> HTML:
        """The same as a table, folded."""
        table = report.table(
            report.wide(self._taught, "taught with", "metric"),
            "One network each, same seed and records, 95 % intervals. LUDB's records are real, its key is of "
            "delineated waves (AF, I-AVB, LBBB, NSR, RBBB).",
        )
        return report.folded(table, "the same numbers with their intervals")


def on_real_records(system: str, repeats: int) -> pd.DataFrame:
    """Macro-AUROC of a system on the real cohort, alone and midway, less that of the best before it and of trees.

    Of the committed answers of the leaderboard.

    Returns
    -------
    DataFrame
        entry, metric (``macro-AUROC`` or ``less <rival>``), value, low, high.
    """
    areas = leaderboard.committed("real").query("metric == 'AUROC' and `class` == ''").set_index("system")[ENDS]
    others = [cls.name for cls in with_chapter() if cls.name != system and cls.name in areas.index]
    rivals = [areas.loc[others, "value"].idxmax(), leaderboard.BASELINES[0]]
    entries = [name for name in (system, system + leaderboard.MIDWAY) if name in areas.index] + rivals
    tables = [areas.loc[entries].rename_axis("entry").reset_index().assign(metric="macro-AUROC")]
    for against in rivals:
        compared = [name for name in entries if name != against]
        found = leaderboard.differences("real", against, compared, repeats=repeats)
        found = found.rename(columns={"system": "entry", "difference": "value"}).assign(metric=f"less {against}")
        tables.append(found[["entry", *ENDS, "metric"]])
    return pd.concat(tables, ignore_index=True)
