"""What ships: trained networks, how their answers are calibrated, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from ecgstudy import metrics
from ecgstudy.data import audit
from ecgstudy.data.cohort import patient_groups
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import read_table
from ecgstudy.profiles import nearest
from ecgstudy.reading.calibration import Calibration, cross_fitted, fitted
from ecgstudy.studies import leaderboard
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import of_papers
from ecgstudy.text import quoted
from ecgstudy.training import Run

OWN = "Local evidence"
_SIMULATED = "synthetic-large"


def _entry(name: str) -> tuple[str, str]:
    """Board and entry of a system's five networks between simulated and real records, or of its simulated one.

    CNN-GAP's five are not committed: they read real records no better than its simulated one.
    """
    entry = name + leaderboard.MIDWAY
    return ("real", entry) if leaderboard.has_weights("real", entry) else (_SIMULATED, name)


# Name → board and entry of the leaderboard whose networks these are. The own network ships twice: the second has been
# trained on simulated records alone.
ENTRIES = {OWN: _entry(OWN), f"{OWN}, simulated": (_SIMULATED, OWN), **{p.name: _entry(p.name) for p in of_papers()}}
USE = "Research and teaching only. This is no medical device and no diagnosis; nobody may be treated by what it says."


@dataclass(frozen=True, eq=False)
class Shipped:
    """The networks of one system that ship, its members, and what they answered to records that they had never seen.

    Parameters
    ----------
    name
        As it is asked for.
    board, entry
        Where its answers stand in ``results/leaderboard``.
    runs
        One a member.
    """

    name: str
    board: str
    entry: str
    runs: tuple[Run, ...]

    @property
    def system(self) -> System:
        """The recipe, which also makes the input."""
        return self.runs[0].system

    @cached_property
    def networks(self) -> list[nn.Module]:
        """The members, in evaluation mode."""
        return [run.network() for run in self.runs]

    @cached_property
    def records(self) -> pd.DataFrame:
        """Records on which it was tested: name, patient_id, source, fold, and the nine labels."""
        return leaderboard.records_of(self.board)

    @property
    def targets(self) -> NDArray[np.bool_]:
        """Labels (records, 9) of these records."""
        return self.records[list(CLASSES)].to_numpy(dtype=bool)

    @cached_property
    def _answers(self) -> pd.DataFrame:
        return read_table(leaderboard.FOLDER / self.board / f"{self.entry}.parquet")

    @property
    def answers(self) -> NDArray[np.float64]:
        """What it answered to them, (records, 9), each record by a member that had not seen it; not calibrated."""
        return self._answers[list(CLASSES)].to_numpy(dtype=np.float64)

    @property
    def called(self) -> NDArray[np.bool_]:
        """What it called there, (records, 9), from thresholds chosen on validation records."""
        return self._answers[[f"called {name}" for name in CLASSES]].to_numpy(dtype=bool)

    @cached_property
    def calibration(self) -> Calibration:
        """Platt's scaling, the same for all members, of all these answers."""
        return fitted(self.answers, self.targets)

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """Calibrated probabilities (members, 9) from which each member says yes: chosen on its validation records."""
        return self.calibration(np.array([[run.card["thresholds"][name] for name in CLASSES] for run in self.runs]))

    @cached_property
    def checked(self) -> pd.DataFrame:
        """How well it is calibrated, raw and calibrated by other folds' answers: class, and Brier score and error."""
        fold = self.records["fold"].to_numpy()
        if len(np.unique(fold)) == 1:  # tested at once: five folds of patients
            groups = patient_groups(self.records.assign(signal_hash=self.records["name"]))
            fold = groups % 5
        calibrated = cross_fitted(self.answers, self.targets, fold)
        columns: dict[str, Any] = {"class": CLASSES}
        for word, p in (("raw", self.answers), ("calibrated", calibrated)):
            columns[f"Brier score, {word}"] = metrics.brier(self.targets, p)
            columns[f"calibration error, {word}"] = metrics.calibration_error(self.targets, p)
        return pd.DataFrame(columns)

    @cached_property
    def _scores(self) -> dict[tuple[str, str], metrics.Interval]:
        """Rows of ``results/leaderboard.csv`` by metric and class."""
        rows = leaderboard.committed(self.board)
        rows = rows[rows["system"] == self.entry].fillna({"class": ""})
        keys = zip(rows["metric"], rows["class"], strict=True)
        values = rows[["value", "low", "high"]].astype(float).itertuples(index=False)
        return {key: metrics.Interval(*own) for key, own in zip(keys, values, strict=True)}

    def score(self, metric: str, name: str = "") -> metrics.Interval:
        """One of the scores, of a class or of all, with its 95 % interval over patients."""
        return self._scores[metric, name]

    @cached_property
    def yes(self) -> pd.DataFrame:
        """Of each class: how many of the tested records have it, how often it said yes, and how often rightly."""
        targets, called = self.targets, self.called
        return pd.DataFrame(
            {"has it": targets.sum(axis=0), "said yes": called.sum(axis=0), "right": (targets & called).sum(axis=0)},
            index=list(CLASSES),
        )

    @property
    def trained_on(self) -> str:
        """In a sentence: what the members learned from and were tested on."""
        train = [run.card["records"]["train"] for run in self.runs]
        if self.board == "real":
            sources = [name for name, folders in leaderboard.SOURCES.items() if self._holds(folders)]
            return (
                f"{self._drawn['records']:,} simulated records, then {min(train)} to {max(train)} of "
                f"{len(self.records)} real ones ({', '.join(sources)}): the mean of the weights before and after; each "
                "tested on the fifth that it had not seen"
            )
        return f"{train[0]:,} simulated records; tested on {len(self.records):,} others of the same simulator"

    def _holds(self, folders: Sequence[str]) -> bool:
        return bool(self.records["source"].isin(folders).any())

    def seen(self, record: Record) -> NDArray[np.bool_]:
        """Which members (members,) learned from this very record, or chose their epoch on it.

        A real record is known by name and source, or by its signal, whatever its file and folder are called; a
        simulated one by its name, a seed and an index, if that draws its signal.
        """
        real, drawn = self.board == "real", self._drawn
        index, seed = synthetic.parsed(record.name) or (-1, -1)
        of_cohort = seed == drawn["seed"] and index < drawn["records"]
        if of_cohort and synthetic.drawn_again(record, balance=drawn["balance"], variety=drawn.get("variety", "")):
            return np.array([real or index not in records for records in self._tested])
        at = None
        if real:
            at = self._place.get((record.name, record.source), self._place_of_signal.get(record.signal_hash[:16]))
        return np.array([at is not None and at not in records for records in self._tested])

    @property
    def _drawn(self) -> dict[str, Any]:
        """How the simulated records were drawn that its members learned from."""
        return leaderboard.STARTS.get(leaderboard.parts_of(self.entry)[1]) or leaderboard.simulated(self.board)

    @cached_property
    def _tested(self) -> list[frozenset[int]]:
        """Records that each member was tested on, by number."""
        tables = (run.predictions for run in self.runs)
        return [frozenset(table.loc[table["split"] == "test", "record"].tolist()) for table in tables]

    @cached_property
    def _place(self) -> dict[tuple[str, str], int]:
        """Number of each tested record, by its name and source."""
        return {key: i for i, key in enumerate(zip(self.records["name"], self.records["source"], strict=True))}

    @cached_property
    def _place_of_signal(self) -> dict[str, int]:
        """Number of each tested record, by the first digits of its signal's hash, as the audit has them."""
        audited = audit.committed()
        rows = zip(audited["name"], audited["source"], audited["signal_hash"], strict=True)
        return {digest: self._place[name, source] for name, source, digest in rows if (name, source) in self._place}


@cache
def shipped(name: str = OWN) -> Shipped:
    """Open what ships of a system.

    Raises
    ------
    ValueError
        when nothing ships by that name.
    FileNotFoundError
        when its networks are not there: an installed package has none, which says so.
    """
    if name not in ENTRIES:
        raise ValueError(f"no networks of {name!r} ship; there are {quoted(ENTRIES)}{nearest(name, ENTRIES)}")
    board, entry = ENTRIES[name]
    return Shipped(name, board, entry, tuple(leaderboard.runs_of(board, entry)))
