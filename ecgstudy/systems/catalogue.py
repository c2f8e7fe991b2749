"""The systems of the study, each named once: chapters, leaderboard, ablations and explanations ask here."""

import importlib
import pkgutil

import ecgstudy.systems
from ecgstudy.systems import CATALOGUE, System

# Every file of the package is looked at: what it registers is in the study.
for _module in pkgutil.iter_modules(ecgstudy.systems.__path__):
    if _module.name != "catalogue":
        importlib.import_module(f"ecgstudy.systems.{_module.name}")


def by_name(name: str) -> type[System]:
    """Find a system.

    Raises
    ------
    ValueError
        when there is none of that name.
    """
    if name not in CATALOGUE:
        raise ValueError(f"no system {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def with_chapter() -> list[type[System]]:
    """Systems that have a chapter of their own, in the order of the tables."""
    return [cls for cls in CATALOGUE.values() if cls.chapter]


def of_papers() -> list[type[System]]:
    """Systems that a paper published as a whole and a chapter rebuilds."""
    return [cls for cls in CATALOGUE.values() if cls.kind == "paper"]


def benchmarks() -> list[type[System]]:
    """Networks of other benchmarks, which have no chapter."""
    return [cls for cls in CATALOGUE.values() if cls.kind == "benchmark"]
