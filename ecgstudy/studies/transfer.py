"""From simulated hearts to real ones: which real records may adjust what is simulated, and which test it."""

from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgstudy.data.cohort import Cohort

DEVELOPMENT = Path(__file__).with_name("development.yaml")


@cache
def _listed() -> frozenset[tuple[str, str]]:
    records = yaml.safe_load(DEVELOPMENT.read_text(encoding="utf-8"))["records"]
    return frozenset((source, str(name)) for source, names in records.items() for name in names)


def development(cohort: Cohort) -> NDArray[np.bool_]:
    """Which records (records,) of the real cohort may adjust simulator and training; the others test them."""
    pairs = zip(cohort.table["source"], cohort.table["name"], strict=True)
    return np.array([pair in _listed() for pair in pairs], dtype=bool)
