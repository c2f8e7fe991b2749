import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout

from ecgstudy import training, workers
from ecgstudy.paths import cache_root
from ecgstudy.profiles import PROFILES, profile_values
from ecgstudy.studies import Study, ablations, chapters, committing, explanations, questions, single_beats, trainings
from ecgstudy.studies.trainings import Ensemble, Records, Task, jobs, together, together_by_name
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.local_evidence import KeyedCohort
from ecgstudy.systems.xecgnet import XECGNetSystem

DONE = {}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    DONE.clear()


def remember(name, *, only_open):
    if not only_open:
        DONE[name] = DONE.get(name, 0) + 1
    return f"{name} done" if name in DONE else None


def parameters(**changes):
    given = {"profile": "smoke", "cohort": "synthetic", "records": 40, "balance": 1, "members": 2, "repeats": 5}
    return SimpleNamespace(**given | {"seed": 3} | changes)


@pytest.fixture(scope="module")
def system():
    return CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=2, batch=8)


def test_equal_tasks_are_done_once_and_what_is_there_is_opened():
    a, b, same = (Task(note, remember, (name,)) for note, name in (("x", "a"), ("y", "b"), ("z", "a")))
    assert a == same and a != b
    assert together([a, b, same]) == ["a done", "b done", "a done"]
    assert together_by_name({"first": [a], "second": [same, b]}) == {
        "first": ["a done"],
        "second": ["a done", "b done"],
    }
    assert DONE == {"a": 1, "b": 1}


def test_jobs_have_names_of_their_own_and_come_after_what_they_need():
    needed = Task("records", remember, ("records",))
    tasks = [Task("it", remember, (name,), (needed,)) for name in ("a", "b")]
    last = Task("last", remember, ("c",), tuple(tasks))
    made = jobs([last, *tasks, *tasks])
    assert [(job.name, job.after) for job in made.values()] == [
        ("records", ()), ("it", ("records",)), ("it (2)", ("records",)), ("last", ("it", "it (2)"))
    ]  # fmt: skip


def test_an_error_is_raised_once_the_others_are_done():
    def wrong(name, *, only_open):
        if not only_open:
            raise ValueError(name)

    with pytest.raises(ValueError, match="first"):
        together([Task("a", wrong, ("first",)), Task("b", remember, ("b",)), Task("c", wrong, ("last",))])
    assert DONE == {"b": 1}


class TwoAnswers(Study):
    """Two answers that share a training, and need one thing before."""

    file, keys = "two.csv", ()

    def __init__(self, wrong=()):
        need = Task("records", remember, ("records",))
        self.kept, self.wanted = {}, {
            answer: [Task(name, fails if name in wrong else remember, (name,), (need,)) for name in names]
            for answer, names in {"first": "ab", "second": "bc"}.items()
        }  # fmt: skip

    def parts(self):
        return ["part"]

    def entries(self, part):
        return list(self.wanted)

    def missing(self, part, entries=None, *, again=False):
        return dict.fromkeys(self.wanted)

    def tasks(self, part, answer):
        return self.wanted[answer]

    def keep(self, part, answer, found):
        self.kept[answer] = found

    def table(self):
        return None

    def check(self):
        return None


def fails(name, *, only_open=False):
    raise ValueError(name)


def test_answers_are_kept_as_soon_as_they_are_whole_and_what_they_share_is_done_once():
    study = TwoAnswers()
    done = [answer for answer, _ in study.answer_all("part", ["first", "second"])]
    assert done == ["first", "second"] and dict.fromkeys(["records", "a", "b", "c"], 1) == DONE
    assert study.kept == {"first": ["a done", "b done"], "second": ["b done", "c done"]}
    DONE.clear()
    study = TwoAnswers(wrong="c")
    with pytest.raises(ValueError, match=r"^c$"):
        list(study.answer_all("part", ["first", "second"]))
    assert list(study.kept) == ["first"]


def test_two_processes_do_not_write_results_at_a_time():
    with committing(), pytest.raises(Timeout):
        FileLock(cache_root() / "results.lock", timeout=0).acquire()
    FileLock(cache_root() / "results.lock", timeout=0).acquire()


def test_an_ensemble_is_what_train_members_trains(system):
    p = parameters()
    ensemble = Ensemble.of_chapter(system, p)
    cohort = ensemble.cohort()
    test = np.flatnonzero(cohort.folds(5, 3) == 0)
    runs = training.train_members(system, cohort, test, members=2, seed=3, quiet=True)
    assert [run.folder for run in ensemble.runs()] == [run.folder for run in runs]
    assert [run.folder for run in ensemble.runs(1)] == [runs[0].folder]
    np.testing.assert_array_equal(ensemble.test(cohort), test)
    other = dataclasses.replace(ensemble, fold=1)
    assert other.member(0, only_open=True) is None
    again = dataclasses.replace(ensemble, reseed=100).member(0)
    assert again.config["seed"] == 103 and again.config["split"] == runs[0].config["split"]


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit_of_a_run(tmp_path, monkeypatch):
    """Two workers at a time, one process alone, and one that other threads are allowed to."""
    system = CNNGAPSystem(fs=100, seconds=6, width=0.06, epochs=2, batch=8)
    found = {}
    for place, number, threads in (("two", 2, 1), ("one", 1, 1), ("threads", 1, 2)):
        monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / place))
        monkeypatch.setattr(workers, "processes", lambda number=number: number)
        torch.set_num_threads(threads)
        try:
            runs = Ensemble.of_chapter(system, parameters()).runs()
        finally:
            torch.set_num_threads(1)
        assert all(run.folder.is_relative_to(tmp_path / place) for run in runs)
        found[place] = [(run.folder.name, run.card["sha256"], run.log["loss"].tolist()) for run in runs]
    assert found["two"] == found["one"] == found["threads"]


# --- chapters --------------------------------------------------------------------------------------------------------


def values(chapter, profile):
    return SimpleNamespace(**profile_values(profile, chapter) | {"profile": profile})


def system_of(task):
    return next(one for one in task.arguments if hasattr(one, "config"))


def test_a_chapter_trains_its_members_and_its_arms():
    p = values("04_xecgnet", "demo")
    tasks = chapters.planned("04_xecgnet", p)
    assert [task.note for task in tasks] == ["xECGNet 1/2", "xECGNet 2/2", "xECGNet, γ = 0 1/2", "xECGNet, γ = 0 2/2"]
    ours, *_, plain = (task.arguments[0] for task in tasks)
    assert ours.system == XECGNetSystem.configured(vars(p)) and plain.system.gamma == 0 != ours.system.gamma
    assert ours.records == plain.records == Records("synthetic", 125, 2000, 1, p.seed)
    assert {task.needs for task in tasks} == {(ours.records.task,)}
    butt = chapters.planned("05_butt", values("05_butt", "demo"))
    assert [task.arguments[0].system.mask for task in butt] == ["correct"] * 3 + ["published"]
    assert chapters.planned("01_data_audit", values("01_data_audit", "demo")) == []


def test_chapter_09_wants_what_other_chapters_train_and_small_networks():
    others = [
        t
        for c in ("03_cnn_gap", "04_xecgnet", "05_butt", "06_ecgmaster")
        for t in chapters.planned(c, values(c, "demo"))
    ]
    p = values("09_cam_analysis", "demo")
    tasks = chapters.planned("09_cam_analysis", p)
    own = [task for task in tasks if task not in others]
    small = [task.note.removeprefix("small network, ") for task in own if task.note.startswith("small network")]
    tried = [task for task in own if task.note.endswith("trials of its maps")]
    assert small == list(questions.small_arms("demo")) and len(small) + len(tried) == len(own)
    assert [task.note.split(":")[0] for task in tried] == p.systems
    assert all(one in others for task in tried for one in task.needs)
    assert len(tasks) - len(own) == 4 * p.members + p.members


def test_chapter_12_trains_the_first_member_with_the_key_and_on_simulated_records_alone(system):
    key = chapters.planned("12_local_evidence", values("12_local_evidence", "smoke"))[2]
    cohort = key.arguments[0].cohort()
    assert isinstance(cohort, KeyedCohort) and cohort.checksum.endswith(", keyed")
    real = chapters.planned("12_local_evidence", values("12_local_evidence", "real"))
    assert not any("key" in task.note for task in real)


@pytest.mark.parametrize("profile", PROFILES)
def test_plans_can_be_pickled_and_give_each_job_a_name(profile):
    import pickle

    for chapter in ("03_cnn_gap", "07_beat_gradcam", "08_ablations", "09_cam_analysis", "12_local_evidence"):
        tasks = chapters.planned(chapter, values(chapter, profile))
        assert pickle.loads(pickle.dumps(tasks)) == tasks
        names = [job.name for job in jobs(tasks).values()]
        assert len(set(names)) == len(names)


def test_beats_have_a_task_for_each_seed_of_each_arm():
    p = values("07_beat_gradcam", "smoke")
    tasks = single_beats.tasks(p)
    assert len(tasks[single_beats.FCN, "DS1/DS2"]) == p.seeds and len(tasks["FCN, shape", "DS1/DS2"]) == p.arm_seeds
    assert not any("201" in split for _, split in tasks)
    p.source = "mitdb"
    assert {key for key in single_beats.tasks(p) if key not in tasks} == {
        (single_beats.FCN, "DS1 with 201/DS2"), (single_beats.WIDE, "DS1/DS2")
    }  # fmt: skip


def test_the_small_grid_of_chapter_08_is_of_train_run():
    p = values("08_ablations", "smoke")
    p.records, p.losses, p.folds = 40, ["macro-F2"], 1
    ((task,),) = ablations.small_tasks(p).values()
    assert task(only_open=True) is None
    ((run,),) = ablations.small_grid(p).values()
    cohort = ablations.small_records(p).made()
    assert ablations.train_run(run.system, cohort, 0).folder == run.folder == task(only_open=True).folder
    assert run.system.loss == "macro-F2" and run.system.epochs == p.epochs


def test_runs_of_a_chapter_with_another_field_are_the_arms(monkeypatch):
    asked = []
    monkeypatch.setattr(trainings, "together", lambda tasks: asked.append(tasks) or [])
    explanations.chapter_runs("xECGNet", "smoke", 2, seed=0, gamma=0)
    p = values("04_xecgnet", "smoke")
    assert asked[0] == Ensemble.of_chapter(XECGNetSystem.configured(vars(p)), p).all_tasks(p)["γ = 0"]
