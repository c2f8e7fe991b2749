"""Where the cells of BUTTeam and ECGMaster look, over simulated records with their answer key."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgstudy import maps, metrics
from ecgstudy.book import chapter, examples, plots, report
from ecgstudy.book.chapter import Chapter, needs_key
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import cells, trials


@needs_key()
def winning_cells(ours: Chapter, shown: Sequence[str], seed: int, records: int = 50) -> pd.DataFrame:
    """Share of the first member's max CAM in cells with evidence, beside the share of cells that hold evidence.

    ``records`` of each of the classes ``shown`` are simulated, with no other label.

    Returns
    -------
    DataFrame
        class, records, won and chance (the two shares), and their difference as value, low, high.
    """
    system = ours.system
    member: Any = ours.runs[0].network()
    simulated = [
        synthetic.simulate(index, seed, fs=system.fs, labels=frozenset({label}))
        for label in shown
        for index in range(0, 3 * records, 3)  # every third: one record a patient
    ]
    seen, columns = cells.inputs(system, simulated), [CLASSES.index(label) for label in shown]
    won = maps.max_cam(member, seen.x).numpy()
    inside, chance = (seen.inside(m, member.stride)[:, columns] for m in (won, seen.even(member.stride, won.shape[-1])))
    chance = np.where(np.isnan(inside), np.nan, chance)
    gain = trials.mean_interval(inside - chance, seen.patients, repeats=ours.repeats)
    about = {"class": shown, "records": (~np.isnan(inside)).sum(axis=0)}
    shares = {"won": np.nanmean(inside, axis=0), "chance": np.nanmean(chance, axis=0)}
    return pd.DataFrame({**about, **shares, **gain._asdict()})


def drawn_winners(won: pd.DataFrame | None) -> Figure | None:
    """Draw the differences of ``winning_cells``; nothing where there are none."""
    if won is None:
        return None
    heading = "share of the map in cells with evidence, less share of such cells"
    return plots.forest(won, names="class", reference=0, said="chance", xlabel=heading)


def winners_table(won: pd.DataFrame | None) -> HTML | None:
    """``winning_cells`` as a table, folded; nothing where there are none."""
    if won is None:
        return None
    shown = won[["class", "records"]].assign(
        **{
            "from cells with evidence": won["won"],
            "cells with evidence": won["chance"],
            "difference": report.intervals(won),
        }
    )
    table = report.table(
        shown,
        "Share of the map's positive part that comes from cells with evidence, first member, means with 95 % "
        "intervals.",
    )
    return report.folded(table, "shares of the map and of the cells, with their difference")


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention of ECGMaster, with the padding in its softmax and masked, over simulated records.

    Attributes
    ----------
    ours, masked
        Both ensembles.
    records, seed
        How many records are simulated, and their seed.
    """

    ours: Chapter
    masked: Chapter
    records: int
    seed: int

    @property
    def has_key(self) -> bool:
        """As the chapter."""
        return self.ours.has_key

    @cached_property
    def seen(self) -> cells.Inputs:
        """The records as the network sees them."""
        system = self.ours.system
        return cells.inputs(
            system, [synthetic.simulate(i, self.seed, fs=system.fs, balance=1) for i in range(self.records)]
        )

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Attention (members, records, classes, cells) as published and masked."""
        found = {}
        for name, arm in (("as published", self.ours), ("masked", self.masked)):
            networks: list[Any] = [run.network() for run in arm.runs]
            with torch.inference_mode():
                found[name] = np.stack([network.attention(self.seen.x).numpy() for network in networks])
        return found

    @cached_property
    def member(self) -> Any:
        """The first masked network."""
        return self.masked.runs[0].network()

    @property
    def stride(self) -> int:
        """Samples of a cell."""
        return self.member.stride

    @cached_property
    def even(self) -> NDArray[np.float64]:
        """What weighs all cells of a record alike: (records, 1, cells)."""
        return self.seen.even(self.stride, self.weights["masked"].shape[-1])

    @cached_property
    def key(self) -> NDArray[np.bool_]:
        """Cells that hold evidence: (records, classes, cells)."""
        return cells.in_cells(self.seen.key, self.stride, self.even.shape[-1])

    @cached_property
    def _padding(self) -> pd.DataFrame:
        """Share of each class's attention, as published, that lies on padding: class, value, low, high."""
        share = (self.weights["as published"].mean(axis=0) * (self.even == 0)).sum(axis=-1)
        mean = trials.mean_interval(share, self.seen.patients, repeats=self.ours.repeats)
        return pd.DataFrame({"class": CLASSES, **mean._asdict()})

    @needs_key("padding_cells", "padding_low", "padding_high", "masking", "masking_p", "masking_verdict")
    def on_padding(self) -> Figure:
        """Draw each class's share of attention on padding; glued: its range, and what masking changes."""
        cells_there, share = (self.even == 0).mean(), self._padding["value"]
        gain = self.ours.difference(metrics.macro_auroc, self.masked.answer[0], self.ours.answer[0])
        percent = {"padding_cells": cells_there, "padding_low": share.min(), "padding_high": share.max()}
        report.glue_all(
            {name: f"{100 * value:.0f}" for name, value in percent.items()},
            **chapter.difference_facts("masking", gain),
            masking_verdict=chapter.decided(gain, "masking helps", "masking harms"),
        )
        line: dict[str, Any] = {"reference": cells_there, "said": "share of cells"}
        return plots.forest(self._padding, names="class", xlabel="share of the attention on padding", **line)

    @needs_key()
    def padding_table(self) -> HTML:
        """The same as a table, folded."""
        table = report.table(
            pd.DataFrame({"class": CLASSES, "attention on padding": report.intervals(self._padding)}),
            f"Share of each class's attention that lies on padding, as published, mean over {self.records} simulated "
            f"records and {len(self.ours.runs)} members, 95 % intervals.",
        )
        return report.folded(table, "attention on padding by class")

    @needs_key()
    def over_a_record(self, of_all: NDArray[np.float32], title: str, *, signed: bool = False) -> Figure:
        """Draw what each cell has for each class, of all records, over the first record with several labels.

        Parameters as for ``examples.class_rows``.
        """
        record = int(np.flatnonzero(self.seen.labels.sum(axis=1) > 1)[0])
        labels = [CLASSES[c] for c in np.flatnonzero(self.seen.labels[record])]
        return examples.class_rows(
            self.seen.x[record],
            self.ours.system.fs,
            of_all[record],
            self.stride,
            evidence=self.key[record],
            labels=labels,
            title=title,
            signed=signed,
        )

    @cached_property
    def _inside(self) -> pd.DataFrame:
        """Share on cells with evidence, of attentions, an even map and the energy: class, of, value, low, high."""
        spread = {
            "evenly over the record": self.even,
            "energy": self.seen.energy(self.stride, self.even.shape[-1]),
            **{f"attention, {name}": weights.mean(axis=0) for name, weights in self.weights.items()},
        }
        tables = []
        for name, m in spread.items():
            mean = trials.mean_interval(self.seen.inside(m, self.stride), self.seen.patients, repeats=self.ours.repeats)
            tables.append(pd.DataFrame({"class": CLASSES, "of": name, **mean._asdict()}))
        return pd.concat(tables, ignore_index=True)

    @needs_key()
    def inside(self) -> Figure:
        """Draw the share on cells with evidence of each class, of attentions, an even map and the energy."""
        return plots.forest(self._inside, names="class", series="of", xlabel="share on cells with evidence")

    @needs_key()
    def inside_table(self) -> HTML:
        """The same as a table, folded."""
        table = report.table(
            report.wide(self._inside, "class", "of", digits=2),
            f"Share that lies on cells with evidence, {self.records} simulated records, mean over members, 95 % "
            "intervals.",
        )
        return report.folded(table, "shares on cells with evidence by class")

    @cached_property
    def _overlaps(self) -> pd.DataFrame:
        """What attentions have in common: of, network, n (pairs), value, low, high."""
        tables = []
        for name, weights in self.weights.items():
            common = cells.overlaps(weights, self.key, self.seen.labels)
            mean = trials.mean_interval(common, self.seen.patients[common.index], repeats=self.ours.repeats)
            about = {"of": list(common.columns), "network": name, "n": len(common)}
            tables.append(pd.DataFrame({**about, **mean._asdict()}))
        return pd.concat(tables, ignore_index=True)

    @needs_key()
    def overlaps(self) -> Figure:
        """Draw what attentions have in common: of two true classes, of any two, of one class in two members."""
        return plots.forest(self._overlaps, names="of", series="network", xlabel="overlap")

    @needs_key()
    def overlaps_table(self) -> HTML:
        """The same as a table, folded."""
        table = report.table(
            report.wide(self._overlaps, "network", "of", digits=2).rename(columns={"network": ""}),
            f"Overlap of attentions in the {self._overlaps['n'].iloc[0]} pairs of true classes of simulated records, "
            "95 % intervals.",
        )
        return report.folded(table, "overlaps of attentions")
