"""The systems of the study, each named once: chapters, leaderboard, ablations and explanations ask here."""

from ecgstudy.systems import System
from ecgstudy.systems.benchmark import WangSystem, XResNetSystem
from ecgstudy.systems.butt import BUTTSystem
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.ecgmaster import ECGMasterSystem
from ecgstudy.systems.local_evidence import LocalEvidenceSystem
from ecgstudy.systems.xecgnet import XECGNetSystem

CATALOGUE: dict[str, type[System]] = {}  # by name, in the order in which tables list them


def register(cls: type[System]) -> type[System]:
    """Add a system to the study; as a decorator it leaves the class as it is.

    Raises
    ------
    ValueError
        when another system has that name, or the class lacks what the study asks of every system.
    """
    if CATALOGUE.get(cls.name, cls) is not cls:
        raise ValueError(f"there is another system {cls.name!r}: name this one otherwise")
    lacking = [what for what in ("title", "feature_layer") if not getattr(cls, what)]
    if cls.kind != "benchmark":
        lacking += [what for what in ("chapter", "own_maps") if not getattr(cls, what)]
    if lacking:
        raise ValueError(f"{cls.__name__} does not say its {', '.join(lacking)}")
    CATALOGUE[cls.name] = cls
    return cls


for _system in (
    *(CNNGAPSystem, XECGNetSystem, BUTTSystem, ECGMasterSystem),
    *(LocalEvidenceSystem, XResNetSystem, WangSystem),
):
    register(_system)


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
    """Systems that have a chapter of their own, in the order of the tables: the papers', then the study's."""
    return [cls for cls in CATALOGUE.values() if cls.chapter]


def of_papers() -> list[type[System]]:
    """Systems that a paper published as a whole and a chapter rebuilds."""
    return [cls for cls in CATALOGUE.values() if cls.kind == "paper"]


def benchmarks() -> list[type[System]]:
    """Networks of other benchmarks, which have no chapter."""
    return [cls for cls in CATALOGUE.values() if cls.kind == "benchmark"]
