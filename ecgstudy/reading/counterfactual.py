"""What if the heart did not have it: a simulated record with and without one finding, all else equal.

Only a simulator can take a finding away and leave the rest. What then changes in the answer is the finding's own doing,
and a map that lies where the ECG has changed lies where the finding is.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain.trials import agreement, localisation
from ecgstudy.preprocessing import resample
from ecgstudy.reading.explanation import Explanation, explain
from ecgstudy.reading.shipped import OWN, Shipped

SEEN = 0.02  # mV: what differs by so much in a lead has changed visibly, a fifth of a small square


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A simulated record as it is and without one finding, and what the networks answer to both.

    Attributes
    ----------
    name
        The finding.
    has, lacks
        The records.
    answer, without
        What the networks answer to each.
    """

    name: str
    has: synthetic.SimulatedRecord
    lacks: synthetic.SimulatedRecord
    answer: Explanation
    without: Explanation

    @property
    def difference(self) -> NDArray[np.float32]:
        """What the finding adds to the ECG, (12, samples) in mV at the record's rate."""
        return self.has.record.signal - self.lacks.record.signal

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """Where a lead differs by ``SEEN``, at the rate of the maps: (samples,) of the window of the finding."""
        window = self.answer.window(self.name)
        difference = resample(self.difference, self.has.record.fs, window.fs)
        first = window.first
        return np.any(np.abs(difference[:, first : first + window.signal.shape[1]]) >= SEEN, axis=0)

    def numbers(self) -> dict[str, float]:
        """What changes, in numbers.

        Name → value: ``probability`` of the finding with it and ``without`` it, and whether it is ``called`` and
        ``called without``; ``others``, the largest change of another class's probability; ``ECG``, the largest
        difference in mV, and ``time``, the share of the time in which it can be seen; ``mass`` of the map there, and
        its ``excess mass`` (0 by chance, 1 all of it); ``maps``, how its maps with and without the finding agree (see
        ``trials.agreement``), NaN where both are level.
        """
        c = CLASSES.index(self.name)
        before, after = self.answer.probabilities, self.without.probabilities
        one, other = self.answer.map(self.name)[None], self.without.map(self.name)[None]
        located = localisation(one, self.changed[None])
        return {
            "probability": float(before[c]),
            "without": float(after[c]),
            "called": float(self.answer.called[c]),
            "called without": float(self.without.called[c]),
            "others": float(np.delete(np.abs(after - before), c).max()),
            "ECG": float(np.abs(self.difference).max()),
            "time": float(self.changed.mean()),
            "mass": float(located["mass"][0]),
            "excess mass": float(located["excess mass"][0]),
            "maps": float(agreement(one, other)[0]) if one.shape == other.shape else float("nan"),
        }


def compare(name: str, index: int, seed: int, *, system: str | Shipped = OWN, **settings: Any) -> Counterfactual:
    """Take a finding of a simulated record away and ask the networks about both; ``settings`` of ``simulate``."""
    has, lacks = (synthetic.simulate(index, seed, **settings, without=removed) for removed in ("", name))
    both = (explain(one.record, system=system, even_if_unfit=True) for one in (has, lacks))
    return Counterfactual(name, has, lacks, *both)


def compared(
    names: Sequence[str], records: int, seed: int, *, system: str | Shipped = OWN, **settings: Any
) -> pd.DataFrame:
    """Compare the first records of a cohort that have each finding, so many of each.

    Returns
    -------
    DataFrame
        A row a record and finding: class, record, and ``Counterfactual.numbers``.
    """
    rows = []
    for name in names:
        for index in _having(name, records, seed, float(settings.get("balance", 0)), settings.get("variety", "")):
            one = compare(name, index, seed, system=system, **settings)
            rows.append({"class": name, "record": one.has.record.name, **one.numbers()})
    return pd.DataFrame(rows)


def _having(name: str, records: int, seed: int, balance: float, variety: str) -> Iterable[int]:
    """Indices of the first records whose heart has a finding that can be taken away alone."""
    index, there = 0, 0
    while there < records:
        _, _, labels = synthetic.identity(index, seed, balance)
        # The label may be disputed, or taken away by a step of variety: the heart decides.
        if name in synthetic.removable(labels):
            truth = synthetic.simulate(index, seed, balance=balance, variety=variety, fs=100).parameters["truth"]
            if name in synthetic.removable({*truth}):
                there += 1
                yield index
        index += 1


def of_file(path: Path, answer: Explanation) -> list[Counterfactual]:
    """What a record of ``ecgstudy data simulate`` is without each of its findings; nothing for any other record.

    The folder's ``parameters.json`` says what was drawn; what is drawn again must be the record's own signal.
    """
    record, table = answer.record, path.parent / "parameters.json"
    if not (place := synthetic.parsed(record.name)) or not table.is_file():
        return []
    try:
        drawn = json.loads(table.read_text(encoding="utf-8"))[record.name]
        settings: dict[str, Any] = {"labels": frozenset(drawn["truth"]), "noise": float(drawn["noise"])}
    except (KeyError, TypeError, ValueError):  # another simulator's, or another version's
        return []
    settings["seconds"] = record.seconds
    if (again := synthetic.drawn_again(record, **settings)) is None:
        return []
    found = []
    for name in sorted(synthetic.removable(settings["labels"]), key=CLASSES.index):
        lacks = synthetic.simulate(*place, fs=record.fs, **settings, without=name)
        without = explain(lacks.record, system=answer.shipped, even_if_unfit=True)
        found.append(Counterfactual(name, again, lacks, answer, without))
    return found
