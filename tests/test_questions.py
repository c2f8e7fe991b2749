from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm, spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

from ecgstudy import training
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import ceilings, evaluation, methods, trials
from ecgstudy.explain.blind import BASELINES
from ecgstudy.explain.cases import Cases
from ecgstudy.studies import explanations, leaderboard, questions
from ecgstudy.studies.trainings import Records
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.ecgmaster import ECGMasterSystem
from ecgstudy.systems.small_gap import SmallGAP, SmallGAPSystem
from ecgstudy.systems.xecgnet import XECGNetSystem

SAMPLES = 400


def some_cases(classes, names=None, seed=0):
    """Cases whose key is one stretch of 40 samples, for each row another."""
    rng = np.random.default_rng(seed)
    rows = len(classes)
    key = np.zeros((rows, 12, SAMPLES), dtype=bool)
    for row, start in enumerate(rng.permutation(np.arange(0, SAMPLES - 40, 45))[:rows]):
        key[row, :, start : start + 40] = True
    names = np.array(names if names is not None else [f"r{i}" for i in range(rows)])
    labels = np.stack([np.isin(range(9), np.array(classes)[names == name]) for name in names])
    union = np.stack([key[names == name].any(axis=(0, 1)) for name in names])
    signals = rng.normal(size=(rows, 12, SAMPLES)).astype(np.float32)
    return Cases(signals, np.array(classes), key, union, union, labels, names, names, 100.0)


class Sure(nn.Module):
    """Calls every class in records whose first sample in lead I is positive."""

    def forward(self, x):
        return torch.sign(x[:, 0, :1]).expand(-1, 9) * 5


def test_focus_is_the_share_of_true_positives_whose_map_lies_in_the_key(monkeypatch):
    std, ste = (CLASSES.index(c) for c in questions.ST)
    cases = some_cases([std] * 5 + [ste] * 3)
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.from_numpy(self.signals))
    cases.signals[:, 0, 0] = [1, 1, 1, 1, -1, 1, 1, -1]

    def made(method, system, network, some):
        """The key itself, but of the record with the second key its other half of time."""
        return np.stack([~k if (k == cases.any_lead[1]).all() else k for k in some.any_lead]).astype(float)

    monkeypatch.setattr(evaluation, "make_maps", made)
    found = questions.focus_on_st(CNNGAPSystem(), [(Sure(), np.full(9, 0.5), cases)], repeats=20)
    # In two parts, each with a network of its own, or in one: the same cases.
    halves = [(Sure(), np.full(9, 0.5), cases.take(part)) for part in np.split(np.arange(8), [3])]
    pd.testing.assert_frame_equal(found, questions.focus_on_st(CNNGAPSystem(), halves, repeats=20))
    found = found.set_index("class")
    assert found["n"].to_dict() == {"STD": 4, "STE": 2, "STD or STE": 6}
    assert found["focus value"].to_dict() == {"STD": 3 / 4, "STE": 1, "STD or STE": pytest.approx(5 / 6)}
    z, n, p = norm.ppf(0.975), 6, 5 / 6  # Wilson (1927)
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = found.loc["STD or STE", ["focus low", "focus high"]].to_list()
    assert ends == pytest.approx([(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)])
    chance = 40 / SAMPLES
    assert found.loc["STE", "mass value"] == pytest.approx(1)
    assert found.loc["STD", "mass value"] == pytest.approx((3 - chance / (1 - chance)) / 4)


def test_without_true_positives_there_is_nothing_to_say(monkeypatch):
    cases = some_cases([CLASSES.index("STD")] * 3)
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.from_numpy(self.signals))
    cases.signals[:, 0, 0] = -1
    found = questions.focus_on_st(CNNGAPSystem(), [(Sure(), np.full(9, 0.5), cases)])
    assert found.empty and {"method", "class", "n", "focus value", "mass high"} <= set(found)


def test_the_arm_whose_attention_is_the_union_wins_by_what_the_other_lacks(monkeypatch):
    cases = some_cases([1, 3, 5, 7])
    good, poor = nn.Identity(), nn.Flatten()
    rng = np.random.default_rng(1)
    noise = rng.random(cases.any_class.shape)

    def made(method, system, network, some, classes):
        return cases.any_class.astype(float) if network is good else noise

    monkeypatch.setattr(evaluation, "make_maps", made)
    found = questions.on_all_classes(
        XECGNetSystem(fs=100), {"with": [good, good], "without": [poor]}, cases, repeats=20
    )
    value = found.set_index(["arm", "method"])["value"]
    assert value["with", "attention"] == value["with", "response maps"] == 1
    # Mann and Whitney's count of pairs.
    by_hand = np.mean([(m[k][:, None] > m[~k]).mean() for m, k in zip(noise, cases.any_class, strict=True)])
    assert value["without", "attention"] == pytest.approx(by_hand)
    assert found.iloc[-1][["arm", "method"]].tolist() == ["difference", "attention"]
    assert value["difference", "attention"] == pytest.approx(1 - by_hand)
    assert {("random", "attention, moved"), ("", "signal energy")} < set(value.index)


def test_response_maps_are_summed_over_the_records_own_classes(monkeypatch):
    every = some_cases([1, 3, 1, 3], names=["q", "q", "r", "r"])
    cases = every.take(np.array([0, 2]))
    keys = {1: every.any_lead[[0, 2]], 3: every.any_lead[[1, 3]]}

    def made(method, system, network, some, classes):
        """Each class of a record where its evidence is; the classes it lacks shout elsewhere."""
        return keys.get(int(classes[0]), 10 * ~cases.any_class).astype(float)

    monkeypatch.setattr(evaluation, "make_maps", made)
    arms = {"a": [nn.Identity()], "b": [nn.Identity()]}
    found = questions.on_all_classes(XECGNetSystem(fs=100), arms, cases, repeats=5)
    assert (found.loc[found["method"] == "response maps", "value"] == 1).all()


def test_the_second_network_has_more_by_what_the_first_lacks(monkeypatch):
    cases = some_cases([1, 1, 1, 4])
    network = {"few": nn.Identity(), "many": nn.Flatten()}
    half = cases.any_lead.astype(float) / 40 + ~cases.any_lead / (SAMPLES - 40)  # half of the mass inside

    def made(method, system, of, some):
        if method == "random" or of is network["few"]:
            return half
        return np.stack([k if c == 4 else h for k, c, h in zip(some.any_lead, some.classes, half, strict=True)])

    monkeypatch.setattr(evaluation, "make_maps", made)
    found = questions.excess_of_two(CNNGAPSystem(), network, cases, ["CAM", "random"], repeats=50)
    value = found.set_index(["method", "network"])["value"]
    share = 40 / SAMPLES
    by_half = (0.5 - share) / (1 - share)
    assert value["CAM", "few"] == value["random", "many"] == pytest.approx(by_half)
    # The mean of the classes' means: the one explanation of its class counts as much as the other three.
    assert value["CAM", "many"] == pytest.approx((by_half + 1) / 2)
    assert value["CAM", "difference"] == pytest.approx((1 - by_half) / 2) and value["random", "difference"] == 0
    assert (found["n"] == 4).all() and len(found) == 6
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()


def test_couples_are_all_pairs_within_a_record():
    names = ["x", "y", "x", "z", "x", "y"]
    a, b = questions.couples(some_cases([0, 1, 2, 3, 4, 5], names=names))
    expected = {(i, j) for i, j in combinations(range(6), 2) if names[i] == names[j]}
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected
    a, b = questions.couples(some_cases([0, 1]))
    assert len(a) == len(b) == 0


def test_own_minus_other_knows_whose_evidence_a_map_lies_on():
    cases = some_cases([2, 4, 6, 8], names=["x", "x", "y", "y"])
    a, b = questions.couples(cases)
    own = cases.any_lead.astype(float)
    # On its own key a map has AUC 1; the other's key lies outside: there it has less than half.
    apart = questions.own_minus_other(own, cases, a, b)
    other = (1 - 40 / (SAMPLES - 40)) / 2
    assert apart == pytest.approx(1 - other, abs=0.01)
    assert questions.own_minus_other(own[[1, 0, 3, 2]], cases, a, b) == pytest.approx(-apart)
    same = np.repeat(own[[0, 2]], 2, axis=0)
    assert questions.own_minus_other(same, cases, a, b) == pytest.approx(0)


def test_families_and_their_agreement():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([["s", "t"], [f"m{i}" for i in range(6)]], names=["system", "method"])
    names = ["excess mass", "AUC", "deletion", "wrong class", "noise"]
    ranks = pd.DataFrame({name: rng.permutation(12) for name in names}, index=index, dtype=float)
    found = questions.families(ranks)
    assert list(found) == list(trials.FAMILIES)
    assert found["localisation"].tolist() == ((ranks["excess mass"] + ranks["AUC"]) / 2).tolist()
    by_hand = np.mean([spearmanr(found.loc[s].to_numpy()).statistic for s in ("s", "t")], axis=0)
    np.testing.assert_allclose(questions.agreement(found), by_hand)

    mean, shuffled = questions.mean_agreement(found, repeats=100)
    assert mean == pytest.approx(by_hand[np.triu_indices(4, 1)].mean())
    assert len(shuffled) == 100 and abs(shuffled.mean()) < 0.05
    alike = pd.DataFrame(dict.fromkeys(found, found["sanity"]))
    mean, shuffled = questions.mean_agreement(alike, repeats=100)
    assert mean == pytest.approx(1) and np.quantile(shuffled, 0.975) < 0.9


class Finished:
    """A training that is over: a system, its network, and what its card says."""

    def __init__(self, system, network=None, name="run"):
        self.system, self.folder, self.made = system, Path(name), network
        self.card = {"thresholds": dict.fromkeys(CLASSES, 0.5)}

    def network(self):
        return (self.made or self.system.network()).eval()

    def probabilities(self, records):
        return np.random.default_rng(5).random((1000, 9))[records]


def excess_by_hand(m, key):
    """Mass inside less the share of time inside, over what is left to 1."""
    m = np.maximum(m, 0)
    share = key.mean()
    return (m[key].sum() / m.sum() - share) / (1 - share)


def test_a_subject_is_an_ensemble_of_which_the_first_is_explained(monkeypatch):
    first, second = nn.Identity(), nn.Flatten()
    runs = [Finished(CNNGAPSystem(fs=100), first, "a"), Finished(CNNGAPSystem(fs=100), second, "b")]
    subject = questions.Subject(runs)
    assert subject.networks == [first, second]
    assert (subject.fs, subject.names, subject.own) == (100, "a b", ("CAM",))
    # CNN-GAP's Grad-CAM is its CAM and so explains nothing more.
    assert subject.chosen(["Grad-CAM", "saliency"]) == ["CAM", "saliency"]
    asked = []
    monkeypatch.setattr(evaluation, "make_maps", lambda *given: asked.append(given))
    cases = some_cases([1, 2])
    subject.maps("saliency", cases)
    assert asked == [("saliency", runs[0].system, first, cases)]


def test_a_verdict_is_by_the_side_of_the_border_that_the_interval_lies_on():
    def said(low, high, **options):
        return questions.Answer("5a: really?", "something", ((low + high) / 2, low, high), **options).verdict

    assert [said(0.1, 0.2), said(-0.2, -0.1), said(-0.1, 0.1)] == ["supported", "not supported", "undecided"]
    below = {"border": 0.5, "above": False}
    assert [said(0.1, 0.2, **below), said(0.6, 0.7, **below), said(0.4, 0.6, **below)] == [
        *("supported", "not supported", "undecided")
    ]
    assert questions.Answer("1: nothing?", "").verdict == "undecided"
    assert said(0.1, 0.2, testable=False) == "not testable"
    assert questions.Answer("5a: really?", "").number == "5a"


def test_an_answers_row_says_what_was_measured_where():
    found = pd.DataFrame(
        [("s", "CAM", 3, "r1", 0.5, 0.4, 0.6), ("t", "CAM", 4, "r2", 0.1, 0, 0.2)],
        columns=["system", "method", "n", "run", *(f"mass {end}" for end in questions.ENDS)],
    )
    told = questions.measured(found, "mass", system="t")
    assert told == {"system": "t", "method": "CAM", "n": 4, "run": "r2", "interval": (0.1, 0, 0.2)}
    assert questions.measured(found, "mass", system="u") == {}
    answers = [questions.Answer("1: a", "b", trial="1, c", **told), questions.Answer("2: a", "b", **told)]
    (row,) = questions.rows(answers, "real").to_dict("records")
    about = {"system": "t", "method": "CAM", "trial": "answer 1, c", "cohort": "synthetic", "trained": "real"}
    assert row == about | {"class": "", "value": 0.1, "low": 0, "high": 0.2, "n": 4, "run": "r2"}
    assert set(row) == set(explanations.COLUMNS)


class Guess(nn.Module):
    """Logits that follow nine samples of lead I; its map's cells would be four samples wide."""

    stride, receptive_field = 4, 30

    def forward(self, x):
        return x[:, 0, :9]


def test_the_table_of_networks_has_auroc_and_seconds(monkeypatch):
    cases = some_cases([0, 1, 2, 3, 4, 5, 6, 7, 8])
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.from_numpy(self.signals))
    subjects = {"s": questions.Subject([Finished(ECGMasterSystem(fs=100), Guess())])}
    (row,) = questions.networks(subjects, {100: cases}).to_dict("records")
    aurocs = [roc_auc_score(cases.labels[:, c], cases.signals[:, 0, c]) for c in range(9)]
    assert row["AUROC"] == pytest.approx(np.mean(aurocs))
    assert (row["system"], row["cell"], row["field"]) == ("s", 0.04, 0.3)
    assert row["maps"] == "attention, contributions"


def test_the_share_of_evidence_is_that_of_time():
    share = questions.evidence_share(some_cases([1, 1, 4]))
    assert share.to_dict() == {CLASSES[1]: 40 / SAMPLES, CLASSES[4]: 40 / SAMPLES}


def test_a_method_beats_the_blind_maps_of_its_own_system_or_not():
    values = {
        "s": {"CAM": 0.3, "saliency": 0.12, "random": 0, "signal energy": 0.1, "QRS detector": 0.05},
        "t": {"CAM": 0.3, "random": 0.25, "signal energy": 0.1, "QRS detector": 0.05},
    }
    rows = [(s, m, "excess mass", "", v, v - 0.1, v + 0.1) for s, each in values.items() for m, v in each.items()]
    rows += [("s", "CAM", "AUC", "", 0.9, 0.8, 1.0), ("s", "CAM", "excess mass", "AF", 0.9, 0.8, 1.0)]
    table = pd.DataFrame(rows, columns=["system", "method", "trial", "class", *questions.ENDS])
    found = questions.localisation(table).set_index(["system", "method"])
    assert found["beats"].to_dict() == {("s", "CAM"): True, ("s", "saliency"): False, ("t", "CAM"): False}


def test_a_map_of_the_right_time_in_the_wrong_leads_is_half_right(monkeypatch):
    cases = some_cases([CLASSES.index(c) for c in ("AF", "LBBB", "STE", "STE")])
    cases.key[:, 6:] = False  # evidence in six leads
    cases.signals[:] = 0
    cases.signals[cases.key] = np.tile([0, 0, 1, 1], cases.key.sum() // 4)  # and only there a signal
    asked = []

    def explained(system, method, network, x, classes, *, by_lead):
        asked.append((method, by_lead, classes.tolist()))
        return np.broadcast_to(cases.any_lead[1:, None], cases.key[1:].shape).astype(float)

    monkeypatch.setattr(methods, "explain", explained)
    subject = questions.Subject([Finished(CNNGAPSystem(fs=100, seconds=4), nn.Identity())])
    found = questions.by_lead(subject, cases, repeats=20).set_index(["map", "class"])
    # AF's evidence is in every lead, so that its case has been left out.
    assert asked == [("input × gradient", True, cases.classes[1:].tolist())]
    assert set(found.index.get_level_values("class")) == {"", "LBBB", "STE"}
    share = 20 / SAMPLES
    assert found.loc[("input × gradient", ""), "value"] == pytest.approx((0.5 - share) / (1 - share))
    assert found.loc[("signal energy", ""), "value"] > 0.8
    assert abs(found.loc[("the same, moved", ""), "value"]) < 0.3


def asked(*rows):
    """What is known of systems and classes, of which only this counts: are they asked."""
    return pd.DataFrame(rows, columns=["system", "class", "asked"])


def test_focus_of_systems_is_that_of_each_that_tells_the_class(monkeypatch):
    std, ste = (CLASSES.index(c) for c in questions.ST)
    cases = some_cases([std] * 4 + [ste] * 4)
    cases.signals[:, 0, 0] = 1
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.from_numpy(self.signals))
    right = {"CNN-GAP": True, "ECGMaster": False}

    def made(method, system, network, some):
        return (some.any_lead if right[system.name] else ~some.any_lead).astype(float)

    monkeypatch.setattr(evaluation, "make_maps", made)
    systems = {"a": CNNGAPSystem(fs=100), "b": ECGMasterSystem(fs=100), "c": CNNGAPSystem(fs=100)}
    subjects = {name: questions.Subject([Finished(system, Sure(), name * 2)]) for name, system in systems.items()}
    known = asked(*((name, c, name == "a" or (name, c) == ("b", "STD")) for name in "abc" for c in questions.ST))
    found = questions.focus_of_systems(subjects, {100: cases}, known, repeats=10)
    value = found.set_index(["system", "method", "class"])["focus value"]
    # The second is asked about one class, and so not about both; the third about none.
    of_a = {("a", "CAM", c): 1 for c in ("STD", "STE", "STD or STE")}
    assert value.to_dict() == of_a | {("b", m, "STD"): 0 for m in ("attention", "contributions")}
    assert found.set_index("system")["run"].to_dict() == {"a": "aa", "b": "bb"}
    nobody = questions.focus_of_systems(subjects, {100: cases}, known.assign(asked=False), repeats=10)
    assert nobody.empty and "focus value" in nobody
    assert questions.asked_of(known, "a") and not questions.asked_of(known, "b") and not questions.asked_of(known, "c")


def test_a_network_that_says_yes_to_everything_is_not_asked_where_it_looks():
    rng = np.random.default_rng(0)
    target = rng.random(400) < 0.2
    patients = np.arange(400).astype(str)
    noise = rng.random(400)
    always = questions.recognition(target, noise, np.ones(400, bool), patients, repeats=200)
    assert always["recall value"] == 1 and always["precision value"] == pytest.approx(target.mean())
    assert always["AUROC value"] == pytest.approx(roc_auc_score(target, noise)) and not always["asked"]
    assert (always["n"], always["absent"]) == (target.sum(), (~target).sum())
    better = np.clip(noise + 0.4 * target, 0, 1)
    knows = questions.recognition(target, better, better > 0.9, patients, repeats=200)
    called = better > 0.9
    assert knows["recall value"] == pytest.approx(called[target].mean())
    assert knows["precision value"] == pytest.approx(target[called].mean())
    assert knows["AUROC low"] > 0.7 and knows["asked"]
    assert knows["AUROC low"] < knows["AUROC value"] < knows["AUROC high"]
    # The same network, seen in few records: its AUROC may be lower than it seems.
    few = np.concatenate([np.flatnonzero(target)[:4], np.flatnonzero(~target)[:8]])
    least = questions.recognition(target[few], better[few], called[few], patients[few], repeats=200)
    assert least["AUROC low"] < 0.7 and not least["asked"]


class Fifth(nn.Module):
    """Logits that are the second sample of lead I, the same for every class."""

    def forward(self, x):
        return x[:, 0, 1:2].expand(-1, 9)


def test_a_class_is_to_be_told_from_records_without_it(monkeypatch):
    std, ste = (CLASSES.index(c) for c in questions.ST)
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.from_numpy(self.signals))
    monkeypatch.setattr(ceilings, "cells_of", lambda system, network, x: ceilings.Cells(x, 1, x.shape[-1]))
    cases = some_cases([std] * 4 + [ste] * 4)
    # Six rows are five records: one has STD as well as AF, and another two classes besides.
    others = some_cases([std, 1, 2, 2, 3, 5], names=["x", "x", "y", "z", "z", "u"], seed=1)
    cases.signals[:, 0, 1], others.signals[:, 0, 1] = 3, -3
    cases.signals[0, 0, 1] = -5
    others.signals[others.names == "y", 0, 1] = 4
    subjects = {"s": questions.Subject([Finished(CNNGAPSystem(fs=100), Fifth())])}
    found = questions.recognition_of_st(subjects, {100: cases}, {100: others}, repeats=50).set_index("class")
    assert found["n"].to_dict() == {"STD": 4, "STE": 4} and found["absent"].to_dict() == {"STD": 3, "STE": 4}
    # Of the four with STD three are called, and of the three without it one, which is above all of them.
    assert found.loc["STD", ["recall value", "precision value"]].tolist() == [3 / 4, 3 / 4]
    assert found.loc["STD", "AUROC value"] == pytest.approx(3 * 2 / 12)
    assert found.loc["STE", ["recall value", "precision value"]].tolist() == [1, 4 / 5]
    assert found.loc["STE", "AUROC value"] == pytest.approx(4 * 3 / 16)


def test_a_perfect_map_cannot_focus_where_cells_are_longer_than_the_beat(monkeypatch):
    fs, beats = 100, np.arange(50, 980, 93)
    key = np.zeros((3, 12, 1000), dtype=bool)
    for row in range(3):
        for at in beats + 7 * row:
            key[row, :, at : at + 10] = True
    cases = some_cases([7, 7, 8])._replace(key=key, signals=np.zeros((3, 12, 1000), np.float32), fs=fs)
    monkeypatch.setattr(Cases, "inputs", lambda self, system: torch.ones(self.signals.shape))
    share = {}
    for cell in (1, 4, 200):
        monkeypatch.setattr(ceilings, "cells_of", lambda system, network, x, n=cell: ceilings.Cells(x, n, 1000 // n))
        m = questions.blurred_perfect(CNNGAPSystem(fs=fs), nn.Identity(), cases)
        assert m.shape == (3, 1000)
        share[cell] = questions.focuses(m, cases.any_lead).mean()
    assert share[1] == share[4] == 1 and share[200] < 1
    by_hand = gaussian_filter1d(cases.any_lead.astype(float), questions.BLUR * fs, axis=-1)
    monkeypatch.setattr(ceilings, "cells_of", lambda system, network, x: ceilings.Cells(x, 1, 1000))
    fine = questions.blurred_perfect(CNNGAPSystem(fs=fs), nn.Identity(), cases)
    np.testing.assert_allclose(fine, by_hand, atol=1e-6)


def test_a_map_that_knows_nothing_focuses_once_in_twenty():
    rng = np.random.default_rng(0)
    key = np.zeros((4000, 500), dtype=bool)
    key[:, 100:150] = True
    assert questions.focuses(rng.random((4000, 500)), key).mean() == pytest.approx(0.05, abs=0.012)


def test_a_board_tells_how_well_one_network_tells_a_class(monkeypatch):
    rng = np.random.default_rng(2)
    records = pd.DataFrame(rng.random((60, 9)) < 0.4, columns=list(CLASSES)).assign(patient_id=[*map(str, range(60))])
    answers = {name: (rng.random((60, 9)), rng.random((60, 9)) < 0.5) for name in ("s", "s, one", "t")}
    monkeypatch.setattr(leaderboard, "records_of", lambda board: records)
    monkeypatch.setattr(leaderboard, "answers_of", lambda board: answers)
    found = questions.recognition_on_board(["s", "t"], repeats=20).set_index(["system", "class"])
    assert list(found.index) == [(name, c) for name in "st" for c in questions.ST]
    for name, entry in (("s", "s, one"), ("t", "t")):
        probabilities, called = (part[:, CLASSES.index("STE")] for part in answers[entry])
        row, label = found.loc[(name, "STE")], records["STE"].to_numpy()
        assert row["AUROC value"] == pytest.approx(roc_auc_score(label, probabilities))
        assert row["precision value"] == pytest.approx(label[called].mean())


def test_two_maps_of_a_record_overlap_by_their_correlation(monkeypatch):
    cases = some_cases([2, 4, 6, 8], names=["x", "x", "y", "y"])
    rng = np.random.default_rng(2)
    made = {"attention": cases.any_lead.astype(float), "contributions": rng.random(cases.any_lead.shape)}
    monkeypatch.setattr(evaluation, "make_maps", lambda method, *rest: made[method])
    subjects = {"s": questions.Subject([Finished(ECGMasterSystem(fs=100), nn.Identity())])}
    found = questions.apart(subjects, {100: cases}, repeats=10).set_index(["system", "method"])
    m = made["contributions"]
    by_hand = np.mean([np.corrcoef(m[0], m[1])[0, 1], np.corrcoef(m[2], m[3])[0, 1]])
    assert found.loc[("s", "contributions"), "overlap value"] == pytest.approx(by_hand)
    key = made["attention"]
    of_keys = np.mean([np.corrcoef(key[0], key[1])[0, 1], np.corrcoef(key[2], key[3])[0, 1]])
    assert found.loc[("answer key", ""), "overlap value"] == pytest.approx(of_keys)
    assert found.loc[("s", "attention"), "overlap value"] == pytest.approx(of_keys)
    assert found.loc[("s", "attention"), "apart value"] == pytest.approx(1 - (1 - 40 / (SAMPLES - 40)) / 2, abs=0.01)
    assert abs(found.loc[("s", "contributions"), "apart value"]) < 0.2
    assert np.isnan(found.loc[("answer key", ""), "apart value"]) and (found["n"] == 2).all()


def test_likeness_is_the_mean_correlation_of_two_methods(monkeypatch):
    cases = some_cases([1, 2])
    rng = np.random.default_rng(3)
    made = {"CAM": rng.random((2, SAMPLES)), "saliency": rng.random((2, SAMPLES))}
    monkeypatch.setattr(evaluation, "make_maps", lambda method, *rest: made[method])
    subject = questions.Subject([Finished(CNNGAPSystem(fs=100), nn.Identity())])
    found = questions.likeness(subject, cases, ["CAM", "saliency"])
    pairs = zip(made["CAM"], made["saliency"], strict=True)
    by_hand = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    np.testing.assert_allclose(found.loc[["CAM", "saliency"], ["CAM", "saliency"]], [[1, by_hand], [by_hand, 1]])


def few_records(rows=60):
    rng = np.random.default_rng(4)
    names = [f"r{i}" for i in range(rows)]
    table = pd.DataFrame({"name": names, "patient_id": names, "signal_hash": names, "source": "simulated"})
    return Cohort(Path(), 100, table, rng.random((rows, 9)) < 0.3, pd.DataFrame(), "sum")


def test_shuffled_labels_are_the_same_labels_of_other_records_in_the_same_folds(monkeypatch):
    cohort, trained = few_records(), []
    monkeypatch.setattr(training, "train", lambda *given, seed, note: trained.append((*given, seed)) or "run")
    monkeypatch.setattr(Records, "made", lambda self: cohort)
    given, records = SmallGAPSystem(fs=100, epochs=3, dilations=(1, 2), pools=1), Records("synthetic", 100, 60, 1, 1)
    for shuffled in (False, True):
        assert questions.train_small(given, records, shuffled) == "run"
    (system, plain, split, seed), (again, mixed, other_split, _) = trained
    assert system is again is given and seed == 1
    assert plain is cohort and mixed.checksum != cohort.checksum
    assert sorted(map(tuple, mixed.labels)) == sorted(map(tuple, cohort.labels))
    assert 0.1 < (mixed.labels != cohort.labels).mean() < 0.9
    for part, records in split.items():
        np.testing.assert_array_equal(records, other_split[part])
    np.testing.assert_array_equal(split["test"], questions.small_test(cohort, 1))
    assert len(split["test"]) == pytest.approx(12, abs=2)


def small_subject(seed=0, **options):
    torch.manual_seed(seed)
    system = SmallGAPSystem(fs=100, seconds=SAMPLES / 100, **options)
    return questions.Subject([Finished(system, SmallGAP(system.dilations, system.pools))])


def test_the_maps_of_small_networks_are_those_of_the_last_layer_the_first_block_and_the_samples():
    cases = some_cases([1, 3, 3])
    subject = small_subject(dilations=(1, 1), pools=2)
    found = questions.small_excess({"short": subject}, cases)
    assert list(found) == [("short", m) for m in ("CAM", questions.FIRST_BLOCK, "input × gradient")]
    network, x = subject.networks[0], cases.inputs(subject.system)
    for row, c in enumerate(cases.classes):
        one = x[row : row + 1].clone().requires_grad_()
        block = network.blocks[:4](one)
        block.retain_grad()
        last = network.blocks[4:](block)
        network.head(last.mean(dim=-1))[0, c].backward()
        cam = (network.head.weight[c][:, None] * last[0]).sum(dim=0).detach().numpy()
        early = (block.grad * block).sum(dim=1)[0].detach().numpy()
        samples = (one.grad * one).sum(dim=1)[0].detach().numpy()
        key = cases.any_lead[row]
        for method, m, stride in zip(found, (cam, early, samples), (4, 2, 1), strict=True):
            centres = (np.arange(len(m)) + 0.5) * stride - 0.5
            fine = np.interp(np.arange(SAMPLES), centres, m)
            assert found.loc[row, method] == pytest.approx(excess_by_hand(fine, key), abs=2e-4)

    means = questions.mean_of_classes(found, cases, repeats=10).set_index(["network", "method"])["value"]
    each = found["short", "CAM"]
    assert means["short", "CAM"] == pytest.approx((each[0] + (each[1] + each[2]) / 2) / 2)
    cam, early = ("short", "CAM"), ("short", questions.FIRST_BLOCK)
    value, low, high = questions.difference(found, early, cam, cases, repeats=50)
    assert value == pytest.approx(means[early] - means[cam]) and low <= value <= high


def test_the_scale_of_a_small_network_follows_from_its_layers():
    cases, cohort = some_cases([1, 3, 3]), few_records()
    found = questions.small_scales({"short": small_subject(dilations=(1, 2), pools=1)}, cases, cohort)
    (row,) = found.to_dict("records")
    # Kernels of 7: 7 samples, 2 pooled are 8, then 6 steps of 2 × 2 samples more.
    assert (row["network"], row["cell"], row["field"]) == ("short", 0.02, 0.32)
    assert 0 < row["effective"] <= row["field"]
    test = questions.small_test(cohort)
    probabilities = np.random.default_rng(5).random((1000, 9))[test]
    assert row["AUROC"] == pytest.approx(roc_auc_score(cohort.labels[test], probabilities, average="macro"))


def test_on_waves_tries_own_maps_and_baselines_on_the_key_and_on_the_st_segments(monkeypatch):
    cases = some_cases([1, 3])
    cases = cases._replace(st=np.roll(cases.any_lead, 100, axis=1))
    monkeypatch.setattr(evaluation, "make_maps", lambda method, *rest: cases.any_lead.astype(float))
    found = questions.on_waves(questions.Subject([Finished(ECGMasterSystem(fs=100), nn.Identity())]), cases)
    tried = ("attention", "contributions", "input × gradient", *BASELINES)
    assert tuple(dict.fromkeys(found.columns.get_level_values("method"))) == tried
    assert (found["attention"][["excess mass", "pointing", "AUC"]] == 1).all(axis=None)
    share = 40 / SAMPLES
    assert found["QRS detector", "ST"].tolist() == pytest.approx([-share / (1 - share)] * 2)


def six():
    """Answers of the sixth question: two systems, few and many records."""
    rows = [
        ("s", "CAM", "answer 6, excess mass", "synthetic", 0.1),
        ("s", "CAM", "answer 6, excess mass", "synthetic-large", 0.5),
        ("s", "CAM", "answer 6, excess mass, many less few", "synthetic-large", 0.4),
        ("t", "map", "answer 6, excess mass", "synthetic", 0.35),
        ("t", "map", "answer 6, excess mass", "synthetic-large", 0.6),
        ("s", "saliency", "answer 6, excess mass", "synthetic-large", 0.7),
        ("s", "QRS detector", "answer 6, excess mass", "synthetic-large", 0.2),
        ("t", "QRS detector", "answer 6, excess mass", "synthetic-large", 0.3),
        ("s", "CAM", "answer 1, focus on ST", "synthetic", 0.9),
    ]
    table = pd.DataFrame(rows, columns=["system", "method", "trial", "trained", "value"])
    return table.assign(cohort="synthetic", low=table["value"] - 0.05, high=table["value"] + 0.05, n=9, run="r")


def test_few_and_many():
    found = questions.few_and_many(six())
    assert found["network"].tolist() == ["few", "many", "many less few", "few", "many", "many", "many", "many"]
