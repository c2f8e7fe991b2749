"""Trials of a chapter's maps are those of ``evaluation.evaluate``, kept until something that they depend on differs."""

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest

from ecgstudy.explain import evaluation, trials
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.paths import BrokenError
from ecgstudy.studies import chapters, explanations, map_trials, questions
from ecgstudy.studies.trainings import Ensemble
from ecgstudy.systems.xecgnet import XECGNetSystem

P = {"profile": "smoke", "cohort": "synthetic", "records": 40, "balance": 1, "members": 2, "repeats": 5, "seed": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(cache))


@pytest.fixture(scope="module")
def tried(cache):
    system = XECGNetSystem(fs=100, seconds=10, width=0.03, pools=4, epochs=1, batch=8)
    p = SimpleNamespace(**P, per_class=1, costly_every=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(cache))
        one = explanations.map_trials(Ensemble.of_chapter(system, p), p, ["attention", "saliency"])
        assert one.scores(only_open=True) is None  # the networks are missing
        for task in one.ensemble.tasks():
            task()
        assert one.scores(only_open=True) is None
        yield one, one.scores()


def test_scores_are_those_of_evaluate(tried):
    one, scores = tried
    networks = [run.network() for run in one.ensemble.runs()]
    cases = synthetic_cases(100, 1, seed=explanations.CASE_SEED)
    others = {"members": networks[1]}
    wanted = evaluation.evaluate(one.system, networks[0], cases, one.methods, costly_every=4, others=others, seed=3)
    pd.testing.assert_frame_equal(scores, wanted, check_exact=True)


def test_what_was_made_is_opened(tried, monkeypatch):
    one, scores = tried
    monkeypatch.setattr(evaluation, "evaluate", None)
    pd.testing.assert_frame_equal(one.scores(), scores, check_exact=True)
    pd.testing.assert_frame_equal(one.task(only_open=True), scores, check_exact=True)


@pytest.mark.parametrize(
    "change", [{"per_class": 2}, {"methods": ("attention",)}, {"case_seed": 1}, {"costly_every": 2}, {"seed": 4}]
)
def test_other_settings_are_other_trials(tried, change):
    one, _ = tried
    assert dataclasses.replace(one, **change).scores(only_open=True) is None


def test_other_code_and_other_trials_make_it_again(tried, monkeypatch):
    one, _ = tried
    entropy = trials.TRIALS["entropy"]
    with monkeypatch.context() as patch:
        patch.setitem(trials.TRIALS, "own", dataclasses.replace(entropy, name="own"))
        assert one.scores(only_open=True) is None
    with monkeypatch.context() as patch:  # the same name, a function of this file
        patch.setitem(trials.TRIALS, "entropy", dataclasses.replace(entropy, score=lambda made: made.maps.mean(axis=1)))
        assert one.scores(only_open=True) is None
    with monkeypatch.context() as patch:
        patch.setattr(map_trials, "code_hash", lambda *_: "other code")
        assert one.scores(only_open=True) is None
    assert one.scores(only_open=True) is not None


def test_a_changed_file_is_noticed(tried):
    one, _ = tried
    other = dataclasses.replace(one, methods=("attention",), costly_every=9)
    other.scores()
    file = max(map_trials.cache_root().glob("trials/*/scores.parquet"), key=lambda f: f.stat().st_mtime)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BrokenError, match=r"scores\.parquet"):
        other.scores()


def test_a_chapter_tries_the_maps_of_what_it_trains():
    p = SimpleNamespace(**P, per_class=1, costly_every=3, systems=["BUTTeam"], methods=["saliency", "HiRes-CAM"])
    (one,) = explanations.trials_of_systems(p).values()
    assert one.methods == tuple(questions.chosen(one.system, p.methods)) == ("CAM", "max CAM", "saliency")
    assert one.task.needs == tuple(one.ensemble.tasks(2))
    p = SimpleNamespace(**P, per_class=1, costly_every=3, key_weight=0)
    planned = [task.note for task in chapters.planned("12_local_evidence", p)]
    assert "Local evidence: trials of its maps" in planned
