"""What the chapters train and try: known from their parameters, before the first of them is executed."""

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ecgstudy.data import own
from ecgstudy.data.labels import CLASSES
from ecgstudy.profiles import profile_values
from ecgstudy.studies import ablations, explanations, questions, single_beats
from ecgstudy.studies.trainings import Ensemble, Task
from ecgstudy.systems.catalogue import CATALOGUE, with_chapter
from ecgstudy.systems.local_evidence import LocalEvidenceSystem


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


def trains(chapter: str, profile: str) -> bool:
    """Whether a chapter wants something trained in this profile, whether it is there or not."""
    return bool(planned(chapter, SimpleNamespace(**profile_values(profile, chapter), profile=profile)))


def _all(tasks: Mapping[Any, Iterable[Task]]) -> list[Task]:
    return [task for some in tasks.values() for task in some]


def _explained(p: SimpleNamespace) -> list[Task]:
    """Chapter 09 tries the maps of other chapters' networks, and trains small ones."""
    found = []
    for one in explanations.trials_of_systems(p).values():
        found += [*one.ensemble.tasks(p.members), one.task]
    if "xECGNet" in p.systems:  # the second question
        found += Ensemble.of_profile("xECGNet", p.profile, p.seed, gamma=0).tasks(p.members)
    return [*found, *questions.small_tasks(p).values()]


def _others_maps(p: SimpleNamespace) -> list[Task]:
    """Chapter 12 tries its system's maps, and shows one of every other's network; of classes of one's own nothing."""
    if own.classes(p.cohort) != CLASSES:
        return []
    found = [explanations.trials_of_chapter(LocalEvidenceSystem.configured(vars(p)), p).task]
    others = [cls.name for cls in with_chapter() if cls.chapter != "12_local_evidence"]
    return [*found, *(task for name in others for task in Ensemble.of_profile(name, p.profile, p.seed).tasks(1))]


_OTHERS: dict[str, Callable[[SimpleNamespace], list[Task]]] = {
    "07_beat_gradcam": lambda p: _all(single_beats.tasks(p)),
    "08_ablations": lambda p: _all(ablations.small_tasks(p)),
    "09_cam_analysis": _explained,
    "12_local_evidence": _others_maps,
}
