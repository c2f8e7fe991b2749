import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, precision_score, recall_score

from ecgstudy import training
from ecgstudy.data.beats import BEAT_CLASSES, DS1, DS2, halves, random_halves
from ecgstudy.explain import beat_maps
from ecgstudy.studies import single_beats
from ecgstudy.systems import beat_gradcam as bg
from tests.planted_beats import PATIENT_OF, SYSTEM, planted_beats


@pytest.fixture(scope="module")
def beats():
    return planted_beats()


@pytest.fixture(scope="module")
def parts():
    return np.arange(0, 300), np.arange(300, 400)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_j_kappa_by_hand():
    confusion = np.array([[80, 5, 3, 2], [4, 10, 1, 0], [2, 1, 17, 0], [3, 0, 1, 1]], dtype=float)
    # Se_S = 10/15, Se_V = 17/20, P_S = 10/16, P_V = 17/22; 108 of 130 right; chance from the margins.
    chance = (90 * 89 + 15 * 16 + 20 * 22 + 5 * 3) / 130**2
    kappa = (108 / 130 - chance) / (1 - chance)
    expected = kappa / 2 + (10 / 15 + 17 / 20 + 10 / 16 + 17 / 22) / 8
    assert single_beats.scores(confusion)["j-kappa"] == pytest.approx(expected)
    assert single_beats.scores(np.diag([7.0, 3, 5, 1]))["j-kappa"] == 1
    none = np.array([[9.0, 0, 1, 0], [2, 0, 0, 0], [1, 0, 3, 0], [1, 0, 0, 0]])  # S is never answered: no precision
    kappa = (12 / 17 - (10 * 13 + 4 * 4) / 17**2) / (1 - (10 * 13 + 4 * 4) / 17**2)
    assert single_beats.scores(none)["j-kappa"] == pytest.approx(kappa / 2 + (3 / 4 + 3 / 4) / 8)


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    true, answer = rng.integers(4, size=(2, 500))
    answer = np.where(rng.random(500) < 0.6, true, answer)
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (true, answer), 1)
    ours = single_beats.scores(np.stack([confusion, confusion.T]))
    assert ours["accuracy"][0] == pytest.approx(accuracy_score(true, answer))
    assert ours["kappa"][0] == pytest.approx(cohen_kappa_score(true, answer))
    for name, theirs in (("sensitivity", recall_score), ("precision", precision_score), ("F1", f1_score)):
        np.testing.assert_allclose(ours[name][0], theirs(true, answer, average=None))
        np.testing.assert_allclose(ours[name][1], theirs(answer, true, average=None))
    assert ours["macro-F1"][0] == pytest.approx(f1_score(true, answer, average="macro"))


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fcn", "lstm"])
def test_learns_and_finds_a_planted_wave(beats, parts, name):
    system = dataclasses.replace(SYSTEM, network=name, epochs=6 if name == "fcn" else 20)
    run = single_beats.train(system, beats, *parts)
    table = single_beats.score_table([run], PATIENT_OF, repeats=100).set_index(["metric", "class"])
    assert table.loc[("accuracy", ""), "value"] > 0.9
    confusion = np.zeros((4, 4))
    answer = run.predictions[["N", "S", "V", "F"]].to_numpy().argmax(axis=1)
    np.add.at(confusion, (beats.target[parts[1]], answer), 1)
    for metric, values in single_beats.scores(confusion).items():
        np.testing.assert_allclose(table.loc[metric, "value"], values, err_msg=metric)
    low, value, high = table.loc[("accuracy", ""), ["low", "value", "high"]]
    assert low <= value <= high <= 1
    # What sets V apart is the wave after R, in segment 6: without it the logit falls most ...
    of_n, of_v = (parts[1][beats.target[parts[1]] == c] for c in (0, 2))
    x, rhythm = system.inputs(beats, of_v)
    drops = beat_maps.occlusion(run.network(), x, rhythm, torch.full((len(of_v),), 2)).mean(axis=0)
    assert drops.argmax() == 5
    # ... and there the map of V differs most between beats V and N (not so the LSTM's: its states remember).
    if name == "fcn":
        difference = 0
        for places, sign in ((of_v, 1), (of_n, -1)):
            x, rhythm = system.inputs(beats, places)
            maps = beat_maps.grad_cam(run.network(), x, rhythm, torch.full((len(places),), 2), relu=False)
            difference = difference + sign * beat_maps.to_samples(maps).mean(axis=0)
        assert 115 <= np.abs(difference).argmax() <= 149


def test_a_run_is_kept_and_named_by_what_makes_it(beats, parts, monkeypatch):
    system = dataclasses.replace(SYSTEM, epochs=1)
    run = single_beats.train(system, beats, *parts)
    p = single_beats.predict(run.network(), *system.inputs(beats, parts[1]))
    np.testing.assert_allclose(run.predictions[["N", "S", "V", "F"]], p, atol=1e-6)
    names = {run.folder}
    names.add(single_beats.train(system, beats, *parts, seed=1).folder)
    names.add(single_beats.train(dataclasses.replace(system, jitter=0), beats, *parts).folder)
    names.add(single_beats.train(system, beats, parts[0][1:], parts[1]).folder)
    changed = dataclasses.replace(beats, signal=beats.signal + np.float32(0.01))
    names.add(single_beats.train(system, changed, *parts).folder)
    assert len(names) == 5
    monkeypatch.setattr(single_beats, "_fit", lambda *_: pytest.fail("trained again"))
    assert single_beats.train(system, beats, parts[0][::-1], parts[1]).folder == run.folder
    with pytest.raises(ValueError, match="in training and test"):
        single_beats.train(system, beats, parts[0], parts[0][:5])
    file = run.folder / "predictions.parquet"
    whole = file.read_bytes()
    run.predictions[::-1].to_parquet(file)
    with pytest.raises(ValueError, match=rf"{run.folder} is broken .*predictions.parquet is not as it was written"):
        single_beats.train(system, beats, *parts)
    file.write_bytes(whole)
    assert single_beats.train(system, beats, *parts).folder == run.folder


@pytest.mark.parametrize("network", ["fcn", "lstm", "lstm-last"])
@pytest.mark.parametrize("rhythm", [True, False])
def test_a_beat_that_is_left_over_stops_no_training(beats, parts, network, rhythm):
    system = dataclasses.replace(SYSTEM, network=network, beats=17, batch=8, epochs=2, rhythm=rhythm)
    assert np.isfinite(single_beats.train(system, beats, *parts).predictions[list(BEAT_CLASSES)]).all(axis=None)


def test_answers_that_are_no_numbers_have_no_scores(beats, parts):
    run = single_beats.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    run.predictions.loc[3, "N"] = np.nan
    with pytest.raises(ValueError, match=r"predictions\.parquet holds NaN"):
        _ = run.confusion
    good = np.eye(4)[None] * 5
    for wrong in (good * np.nan, -good, good[:, :3], good[0, 0]):
        with pytest.raises(ValueError, match=r"^confusion "):
            single_beats.scores(wrong)


def test_results_have_the_columns_of_the_file_and_lose_nothing(beats, parts):
    run = single_beats.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    scores = single_beats.score_table([run, run], PATIENT_OF, repeats=10).assign(network="x", split="y", run="z")
    table = single_beats.results(scores)
    assert ",".join(table.columns) == "network,split,metric,class,value,low,high,n,paper_value,run"
    ours = table[table["run"] == "z"]
    assert len(ours) == len(scores) + scores["deviation"].notna().sum()
    assert (ours.loc[ours["metric"].str.endswith("deviation over seeds"), "value"] == 0).all()
    mondejar = table[table["network"].str.startswith("SVM") & (table["metric"] == "j-kappa")]
    assert mondejar["paper_value"].tolist() == [0.773]


def test_limits_come_from_whole_patients(beats, parts):
    run = single_beats.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    with pytest.raises(ValueError, match="at least two groups"):
        single_beats.score_table([run], dict.fromkeys(PATIENT_OF, "p"), repeats=10)
    several = (
        single_beats.score_table([run], PATIENT_OF, repeats=50).set_index(["metric", "class"]).loc[("accuracy", "")]
    )
    assert several["low"] < several["value"] < several["high"]


def test_every_arm_adds_one_thing():
    arms = single_beats.arms(bg.BeatSystem(width=0.5, every=3))
    assert len(set(arms.values())) == len(arms)
    given = [(s.rhythm, s.leads, s.median) for s in arms.values()]
    assert given[:4] == [(False, 1, False), (True, 1, False), (True, 2, False), (True, 1, True)]


def test_the_mean_over_seeds_and_its_spread(beats, parts):
    runs = [single_beats.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts, seed=s) for s in range(2)]
    tables = (single_beats.score_table(some, PATIENT_OF, repeats=10) for some in (runs[:1], runs[1:], runs))
    *each, both = (table.set_index(["metric", "class"]) for table in tables)
    each = [table["value"] for table in each]
    np.testing.assert_allclose(both["value"], (each[0] + each[1]) / 2)
    np.testing.assert_allclose(both["deviation"], np.abs(each[0] - each[1]) / np.sqrt(2), atol=1e-12)


def test_the_first_fcn_of_mitdb_has_the_name_that_the_results_give_it():
    config = bg.BeatSystem(width=0.5, every=3).config | {"seed": 0, "beats_checksum": "a71832d7367c6835"}
    config["parts"] = ["c118c3288e57", "ce813303304b"]
    table = single_beats.committed()
    runs = table.loc[table["network"] == single_beats.FCN, "run"].iloc[0]
    assert training.name_of(config) == runs.split()[0]


def test_arms_are_planned_with_their_seeds():
    best = dataclasses.replace(SYSTEM, rhythm=True, median=True)
    plan = single_beats.planned(best, of_mitdb=False, seeds=3, arm_seeds=1)
    assert len(plan) == 8 and sum(number for _, number in plan.values()) == 3 * 2 + 4 + 2
    assert plan[single_beats.FCN, "DS1/DS2"] == (best, 3)
    system, number = plan[single_beats.LSTM, "random beats"]
    assert system.network == "lstm" and number == 1
    more = single_beats.planned(best, of_mitdb=True, seeds=3, arm_seeds=1)
    assert list(more)[:8] == list(plan) and len(more) == 10
    wide, number = more[single_beats.WIDE, "DS1/DS2"]
    assert (wide.width, wide.every, number) == (1, 1, 3)


def test_beats_are_split_by_patient_at_random_or_with_record_201(beats):
    half = halves(beats)
    for mine, right in zip(single_beats.split_of(beats, "DS1/DS2"), (half["DS1"], half["DS2"]), strict=True):
        np.testing.assert_array_equal(mine, right)
    at_random = single_beats.split_of(beats, "random beats", 5)
    for mine, right in zip(at_random, random_halves(beats, 5), strict=True):
        np.testing.assert_array_equal(mine, right)
    names = dict(zip(PATIENT_OF, (*DS1[:3], "201", *DS2[:4]), strict=True))
    table = beats.table.assign(record=beats.table["record"].map(names))
    mitdb = dataclasses.replace(beats, table=table, medians={names[k]: v for k, v in beats.medians.items()})
    with_201, tested = single_beats.split_of(mitdb, "DS1 with 201/DS2")
    without, same = single_beats.split_of(mitdb, "DS1/DS2")
    assert set(table["record"].iloc[np.setdiff1d(with_201, without)]) == {"201"}
    np.testing.assert_array_equal(tested, same)


def test_a_chapters_network_of_beats_is_trained_once_with_its_own_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    p = SimpleNamespace(source="simulated", records=24, seed=4, width=0.125, every=3, epochs=1, draws=64)
    p.seeds = p.arm_seeds = 2
    monkeypatch.setattr(single_beats, "planned", lambda best, **_: {(single_beats.FCN, "DS1/DS2"): (best, 2)})
    assert [task(only_open=True) for task in single_beats.tasks(p)[single_beats.FCN, "DS1/DS2"]] == [None, None]
    runs = single_beats.train_arms(p)[single_beats.FCN, "DS1/DS2"]
    data = single_beats.Source.of_chapter(p).beats()
    assert single_beats.Source.of_chapter(p).beats() is data  # the page and its trainings share them
    parts = single_beats.split_of(data, "DS1/DS2")
    for number, run in enumerate(runs):
        assert run.folder == single_beats.train(single_beats.chapter_system(p), data, *parts, seed=4 + number).folder


# --- maps ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(beats):
    half = halves(beats)
    return {
        name: single_beats.train(dataclasses.replace(SYSTEM, network=net, epochs=2), beats, half["DS1"], half["DS2"])
        for name, net in (("FCN", "fcn"), ("LSTM", "lstm"))
    }


@pytest.fixture(scope="module")
def explained(beats, networks):
    return single_beats.explain(networks, beats, 12, seed=2)


def test_what_is_explained_are_tested_beats_of_the_class(beats, networks, explained):
    assert list(explained.places) == list(BEAT_CLASSES) and explained.tried == ["S", "V"]
    for c, places in explained.places.items():
        assert len(set(places)) == 12 and set(places) <= set(halves(beats)["DS2"])
        assert (beats.table["aami"].iloc[places] == c).all()
        np.testing.assert_allclose(np.median(explained.signals(c), axis=1), 0, atol=1e-6)
    c, place = "V", explained.places["V"][3]
    run = networks["LSTM"]
    x, rhythm = run.system.inputs(beats, np.array([place]))
    p = single_beats.predict(run.network(), x, rhythm)[0]
    assert explained.probability["LSTM", c][3] == pytest.approx(p[2], abs=1e-6)
    assert explained.right["LSTM", c][3] == (p.argmax() == 2)
    own = beat_maps.grad_cam(run.network(), x, rhythm, torch.tensor([2]))[0]
    np.testing.assert_allclose(explained.maps["LSTM", c][3], own, atol=1e-6)
    drops = beat_maps.occlusion(run.network(), x, rhythm, torch.tensor([2]))[0]
    np.testing.assert_allclose(explained.occluded["LSTM", c][3], drops, atol=1e-5)


def test_the_trial_in_the_window_by_hand(explained):
    table = single_beats.window_trial(explained, repeats=10, seed=1)
    assert list(table["class"].unique()) == ["S", "V"] and len(table) == 2 * (5 + 2 * 2)
    rows = table[table["class"] == "V"].set_index(["network", "metric"])
    share = [m[99 // 3 - 6 : 99 // 3 + 12].sum() / m.sum() for m in explained.maps["FCN", "V"]]  # −50 to 100 ms
    assert rows.loc[("FCN", "map in the window"), "value"] == pytest.approx(np.mean(share), abs=1e-6)
    run = explained.networks["FCN"]
    assert rows.loc[("FCN", "map in the window"), "run"] == run.folder.name
    x = explained.inputs("FCN", "V")[0][:, 0].numpy() ** 2
    energy = (x[:, 27:45].sum(axis=1) / x.sum(axis=1)).mean()
    assert rows.loc[("energy", "map in the window"), "value"] == pytest.approx(energy, abs=1e-6)
    assert rows.loc[("energy", "map in the window"), "run"] == ""
    more = rows.loc[("FCN", "map in the window, more than energy"), "value"]
    assert more == pytest.approx(np.mean(share) - energy, abs=1e-6)
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()


def test_the_trial_of_correlations(explained):
    table = single_beats.correlation_trial(explained, explained.networks, repeats=10)
    assert len(table) == 2 * (1 + 2 * 5)
    values = table.set_index(["class", "network", "metric"])["value"]
    itself = values[:, :, "map correlates with: its own of another seed"]  # here it is the same run
    assert len(itself) == 4 and (itself == 1).all()
    a, b = (beat_maps.by_segment(explained.signed[name, "S"]) for name in ("FCN", "LSTM"))
    expected = np.mean([pd.Series(x).corr(pd.Series(y), method="spearman") for x, y in zip(a, b, strict=True)])
    assert values["S", "FCN", "map correlates with: LSTM"] == pytest.approx(expected)
    assert values[:, :, "map correlates with: all weights drawn anew"].abs().max() < 0.9


def test_variance_by_record_has_a_row_for_each_map(explained):
    table = single_beats.variance_by_record(explained).set_index(["network", "class"])
    row, owner = table.loc[("LSTM", "S")], explained.of_table("record", "S")
    assert row["beats"] == 12 and row["records"] == len(set(owner))
    assert row["largest record"] == pd.Series(owner).value_counts(normalize=True).iloc[0]
    shape = beat_maps.normalised(explained.maps["LSTM", "S"])
    assert row["explained by record"] == pytest.approx(beat_maps.between_records(shape, owner))


def test_what_is_saved_is_what_is_read(explained, parts, beats, monkeypatch, tmp_path):
    monkeypatch.setattr(single_beats, "TABLE", tmp_path / "beats.csv")
    runs = {("FCN", "DS1/DS2"): [explained.networks["FCN"]]}
    scores = single_beats.score_runs(runs, PATIENT_OF, repeats=10)
    trial = single_beats.window_trial(explained, repeats=10)
    table = single_beats.save(scores, trial)
    assert list(table) == single_beats.COLUMNS
    assert len(table) == len(single_beats.results(scores)) + len(trial)
    own = table[(table["network"] == "FCN") & (table["metric"] == "accuracy")].iloc[0]
    right = explained.networks["FCN"].predictions
    accuracy = (right[list(BEAT_CLASSES)].to_numpy().argmax(axis=1) == right["target"]).mean()
    assert own["value"] == pytest.approx(accuracy, abs=1e-4) and own["class"] == "" and np.isnan(own["paper_value"])
    pd.testing.assert_frame_equal(single_beats.committed(), table)


def test_the_committed_table_has_what_the_chapter_cites():
    table = single_beats.committed()
    assert list(table) == single_beats.COLUMNS
    assert {single_beats.FCN, single_beats.LSTM, single_beats.WIDE} <= set(table["network"])
    assert table.loc[table["paper_value"].notna(), "network"].nunique() == len(single_beats.PUBLISHED)
    assert (table["class"].isin(["", *BEAT_CLASSES])).all() and table["value"].dtype == float
