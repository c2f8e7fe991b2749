from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, spearmanr
from torch import nn

from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import evaluation
from ecgstudy.explain.cases import Cases
from ecgstudy.studies import questions
from ecgstudy.systems.cnn_gap import CNNGAPSystem
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
    trials = ["excess mass", "AUC", "deletion", "wrong class", "noise"]
    ranks = pd.DataFrame({t: rng.permutation(12) for t in trials}, index=index, dtype=float)
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
