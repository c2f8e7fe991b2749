"""What the chapters train: known from their parameters, before the first of them is executed."""

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ecgstudy.data import own
from ecgstudy.data.labels import CLASSES
from ecgstudy.studies import ablations, questions, single_beats
from ecgstudy.studies.trainings import Ensemble, Task
from ecgstudy.systems.catalogue import CATALOGUE, with_chapter


def planned(chapter: str, p: SimpleNamespace) -> list[Task]:
    """The trainings of a chapter (the name of its notebook) with these parameters, in the order of its page.

    That of a system trains its ensemble and its arms; what others train stands in ``_OTHERS``.
    """
    found: list[Task] = []
    for cls in CATALOGUE.values():
        if cls.chapter == chapter:
            system = cls.configured(vars(p))
            found += _all(Ensemble.of_chapter(system, p).all_tasks(p))
    return found + (_OTHERS[chapter](p) if chapter in _OTHERS else [])


def _all(tasks: Mapping[Any, Iterable[Task]]) -> list[Task]:
    return [task for some in tasks.values() for task in some]


def _explained(p: SimpleNamespace) -> list[Task]:
    """Chapter 09 explains the networks of other chapters, and trains small ones."""
    found = []
    for name in p.systems:
        ensemble = Ensemble.of_profile(name, p.profile, p.seed)
        found += ensemble.tasks(p.members)
    if "xECGNet" in p.systems:  # the second question
        found += Ensemble.of_profile("xECGNet", p.profile, p.seed, gamma=0).tasks(p.members)
    return [*found, *questions.small_tasks(p).values()]


def _others_maps(p: SimpleNamespace) -> list[Task]:
    """Chapter 12 shows a map of every system's first network, beside one of its own that knows the same classes."""
    if own.classes(p.cohort) != CLASSES:
        return []
    others = [cls.name for cls in with_chapter() if cls.chapter != "12_local_evidence"]
    return [task for name in others for task in Ensemble.of_profile(name, p.profile, p.seed).tasks(1)]


_OTHERS: dict[str, Callable[[SimpleNamespace], list[Task]]] = {
    "07_beat_gradcam": lambda p: _all(single_beats.tasks(p)),
    "08_ablations": lambda p: _all(ablations.small_tasks(p)),
    "09_cam_analysis": _explained,
    "12_local_evidence": _others_maps,
}
