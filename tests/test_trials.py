import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from ecgstudy import maps
from ecgstudy.data import qrs
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import blind, evaluation, faithfulness, methods, trials
from ecgstudy.explain.cases import Cases, real_st_cases, st_key, synthetic_cases, wave_key
from ecgstudy.studies import explanations
from ecgstudy.systems import butt, catalogue, cnn_gap, ecgmaster, xecgnet
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.small_gap import SmallGAPSystem

RNG = np.random.default_rng(0)


def blocks(rows, n, width, rng=RNG):
    """Keys with one interval each."""
    key = np.zeros((rows, n), dtype=bool)
    for row in key:
        start = rng.integers(n - width)
        row[start : start + width] = True
    return key


class Template(nn.Module):
    """Class 0 is the largest correlation of lead 1 with a wave of 21 samples; the others are 0."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv1d(12, 1, 21, padding="same", bias=False)
        self.head = nn.Linear(1, 9)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.weight[0, 1] = torch.sin(torch.linspace(0, np.pi, 21))
            self.head.weight.zero_()
            self.head.bias.fill_(-4)
            self.head.weight[0] = 1

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.features(x).amax(dim=-1))


@pytest.fixture(scope="module")
def planted():
    """Inputs (40, 12, 500) with one wave each, where it is, and the network that looks for it."""
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(1)
    x, key = 0.05 * torch.randn(40, 12, 500, generator=generator), np.zeros((40, 500), dtype=bool)
    for row, at in enumerate(rng.integers(30, 470, size=40)):
        x[row, 1, at - 10 : at + 11] += torch.sin(torch.linspace(0, np.pi, 21))
        key[row, at - 10 : at + 11] = True
    return x, key, Template().eval(), torch.zeros(40, dtype=torch.long)


def test_localisation_equals_naive_loops_and_sklearn():
    m, key = RNG.normal(size=(12, 60)), RNG.random((12, 60)) < 0.3
    m[3] = np.round(m[3])  # ties
    found = trials.localisation(m, key)
    for row in range(12):
        positive = [max(v, 0.0) for v in m[row]]
        inside = sum(v for v, k in zip(positive, key[row], strict=True) if k)
        assert found["mass"][row] == pytest.approx(inside / sum(positive))
        share = key[row].mean()
        assert found["excess mass"][row] == pytest.approx((inside / sum(positive) - share) / (1 - share))
        assert found["AUC"][row] == pytest.approx(roc_auc_score(key[row], positive))
        assert found["AP"][row] == pytest.approx(average_precision_score(key[row], positive))
        largest = [k for v, k in zip(positive, key[row], strict=True) if v == max(positive)]
        assert found["pointing"][row] == pytest.approx(np.mean(largest))
        if row != 3:
            k = key[row].sum()
            hits = key[row][np.argsort(positive)[::-1][:k]].mean()
            assert np.isclose(found["top-k"][row], hits) or sorted(positive)[-k] == 0


def test_ties_at_the_edge_of_the_top_count_by_the_share_that_fits():
    m, key = np.array([[3.0, 2, 2, 2, 1]]), np.array([[True, True, False, False, False]])
    assert trials.localisation(m, key)["top-k"][0] == pytest.approx((1 + 1 / 3) / 2)


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own source text
        import quantus
    return quantus


def test_localisation_equals_quantus(quantus):
    m, key = np.abs(RNG.normal(size=(6, 1, 80))), blocks(6, 80, 15)[:, None]
    found = trials.localisation(m, key)
    options = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}
    x, y = np.zeros((6, 1, 80)), np.zeros(6, dtype=int)
    theirs = {
        "mass": quantus.RelevanceMassAccuracy(**options),
        "pointing": quantus.PointingGame(**options),
        "AUC": quantus.AUC(**options),
        "top-k": quantus.TopKIntersection(k=15, **options),
    }
    for name, metric in theirs.items():
        scores = metric(model=None, x_batch=x, y_batch=y, a_batch=m.copy(), s_batch=key.copy())
        np.testing.assert_allclose(found[name], scores, err_msg=name)


def test_complexity_equals_quantus_and_naive_sums(quantus):
    m = np.abs(RNG.normal(size=(5, 1, 70)))
    options = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}
    x, y = np.zeros((5, 1, 70)), np.zeros(5, dtype=int)
    sparse = quantus.Sparseness(**options)(model=None, x_batch=x, y_batch=y, a_batch=m.copy())
    np.testing.assert_allclose(trials.gini(m), sparse, atol=1e-5)
    complexity = quantus.Complexity(**options)(model=None, x_batch=x, y_batch=y, a_batch=m.copy())
    np.testing.assert_allclose(trials.entropy(m) * np.log(70), complexity, atol=1e-6)
    flat = m[:, 0]
    apart = [np.abs(r[:, None] - r[None]).sum() / (2 * 70**2 * r.mean()) for r in flat]
    np.testing.assert_allclose(trials.gini(m), apart)
    np.testing.assert_allclose(trials.entropy(m), [scipy_entropy(r) / np.log(70) for r in flat])
    one = np.zeros((1, 70))
    assert trials.entropy(one)[0] == pytest.approx(1) and trials.gini(one)[0] == pytest.approx(0)
    one[0, 5] = 2
    assert trials.entropy(one)[0] == 0 and trials.gini(one)[0] == pytest.approx(1 - 1 / 70)


def test_over_all_shifts_a_map_scores_exactly_as_chance():
    m, key = np.random.default_rng(5).normal(size=90), blocks(1, 90, 20)
    shifted = np.stack([np.roll(m, s) for s in range(90)])
    found = trials.localisation(shifted, np.repeat(key, 90, axis=0))
    expected = trials.chance(key)
    for name in ("mass", "excess mass", "pointing", "AUC", "top-k"):
        assert found[name].mean() == pytest.approx(expected[name][0], abs=1e-12), name
    level = trials.localisation(np.zeros((1, 90)), key)
    for name in trials.LOCALISATION:
        assert level[name][0] == pytest.approx(expected[name][0]), name


def test_an_empty_key_has_no_score_and_a_sick_map_is_refused():
    keys = np.arange(30) < np.array([[0], [30], [28], [27]])
    found = trials.localisation(np.ones((4, 30)), keys)
    assert all(np.isnan(v).tolist() == [True, True, True, False] for v in found.values())
    with pytest.raises(ValueError, match="NaN"):
        trials.localisation(np.full((1, 4), np.nan), np.ones((1, 4), dtype=bool))
    with pytest.raises(ValueError, match="one shape"):
        trials.localisation(np.ones((1, 4)), np.ones((1, 5), dtype=bool))


def test_scores_do_not_depend_on_the_scale_of_a_map():
    m, key = RNG.normal(size=(4, 50)), blocks(4, 50, 9)
    a = trials.localisation(m, key)
    for factor in (1e-300, 1e-8, 1e6, 1e300):
        b = trials.localisation(m * factor, key)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], err_msg=f"{name} {factor}")


def test_leads_count_in_localisation_of_leadwise_maps():
    m, key = np.zeros((2, 3, 40)), np.zeros((2, 3, 40), dtype=bool)
    key[:, 1, 10:20] = True
    m[0, 1, 10:20] = 1  # right time, right lead
    m[1, 2, 10:20] = 1  # right time, wrong lead
    found = trials.localisation(m, key)
    assert found["mass"].tolist() == [1, 0] and found["pointing"].tolist() == [1, 0] and found["AUC"][0] == 1


def test_a_tolerant_key_is_longer_on_either_side_and_stays_in_its_lead():
    key = np.zeros((1, 2, 30), dtype=bool)
    key[0, 1, 10:12], key[0, 0, 0] = True, True
    wide = trials.tolerant(key, 3)
    assert np.flatnonzero(wide[0, 1]).tolist() == list(range(7, 15))
    assert np.flatnonzero(wide[0, 0]).tolist() == [0, 1, 2, 3]


def test_a_planted_wave_wins_every_localisation(planted):
    x, key, network, classes = planted
    exact = methods_map(network, x, classes)
    found, expected = trials.localisation(exact, key), trials.chance(key)
    for name in trials.LOCALISATION:
        assert found[name].mean() > 0.85, name
    random = trials.localisation(blind.random_maps(np.repeat(exact, 50, axis=0), RNG), np.repeat(key, 50, axis=0))
    for name in ("mass", "excess mass", "pointing", "AUC", "top-k"):
        error = random[name].std() / np.sqrt(2000)
        assert abs(random[name].mean() - expected[name].mean()) < 4 * error, name
    # A level map has an AP of the share inside; a random one of finitely many samples has a little more.
    assert random["AP"].mean() - expected["AP"].mean() < 0.1


def methods_map(network, x, classes):
    """Input times gradient of the planted network: it is the wave itself."""
    return methods.captum_map("input × gradient", network, x, classes).sum(dim=1).numpy()


def test_random_maps_keep_values_and_smoothness_and_lose_the_place():
    m = gaussian_filter1d(RNG.normal(size=(200, 100)), 4, axis=1, mode="wrap")
    r = blind.random_maps(m, RNG)
    np.testing.assert_allclose(np.sort(r, axis=1), np.sort(m, axis=1))
    assert np.abs(np.diff(r, axis=1)).mean() == pytest.approx(np.abs(np.diff(m, axis=1)).mean(), rel=0.01)
    assert abs(trials.agreement(m - m.mean(1, keepdims=True), blind.random_maps(m, RNG)).mean()) < 0.1
    leads = RNG.normal(size=(3, 12, 50))
    moved = blind.random_maps(leads, RNG)
    for a, b in zip(leads, moved, strict=True):
        np.testing.assert_allclose(np.sort(a.sum(axis=1)), np.sort(b.sum(axis=1)))


def test_random_maps_are_moved_to_later_times_or_to_earlier_ones():
    m = RNG.random((300, 88))
    for earlier in (False, True):
        shifts = []
        for before, after in zip(m, blind.random_maps(m, np.random.default_rng(0), earlier=earlier), strict=True):
            shifts.append(int(np.flatnonzero(after == before[0])[0]))
            np.testing.assert_array_equal(np.roll(before, shifts[-1]), after)
        draws = np.random.default_rng(0).integers(88, size=300)
        np.testing.assert_array_equal(shifts, -draws % 88 if earlier else draws)


def test_agreement_is_numpys_correlation_of_positive_parts():
    a, b = RNG.normal(size=(6, 40)), RNG.normal(size=(6, 40))
    expected = [np.corrcoef(i.clip(0), j.clip(0))[0, 1] for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(trials.agreement(a, b), expected)
    np.testing.assert_allclose(trials.agreement(a, 3 * a), 1)
    assert (trials.agreement(a, np.zeros_like(a)) == 0).all()
    assert np.isnan(trials.agreement(-np.abs(a), np.zeros_like(a))).all()


def test_curves_equal_a_naive_loop(planted):
    x, _, network, classes = (v[:3] if not isinstance(v, nn.Module) else v for v in planted)
    m = RNG.normal(size=(3, 500))  # no two segments of equal mass, whose order is random
    c = faithfulness.curves(network, x, classes, m, 25, fill="zero")
    for row in range(3):
        mass = [m[row, s * 25 : (s + 1) * 25].clip(0).sum() for s in range(20)]
        order = np.argsort(mass)[::-1]
        for step in range(11):
            gone, left = x[row : row + 1].clone(), torch.zeros_like(x[row : row + 1])
            for s in order[: 2 * step]:
                gone[..., s * 25 : (s + 1) * 25] = 0
                left[..., s * 25 : (s + 1) * 25] = x[row, :, s * 25 : (s + 1) * 25]
            with torch.no_grad():
                assert c.deletion[row, step] == pytest.approx(torch.sigmoid(network(gone))[0, 0].item(), abs=1e-6)
                assert c.insertion[row, step] == pytest.approx(torch.sigmoid(network(left))[0, 0].item(), abs=1e-6)
    scores = c.scores()
    np.testing.assert_allclose(scores["comprehensiveness"], c.deletion[:, 0] - c.deletion[:, 2])
    np.testing.assert_allclose(scores["sufficiency"], c.deletion[:, 0] - c.insertion[:, 2])
    np.testing.assert_allclose(scores["deletion"], [np.trapezoid(d, np.linspace(0, 1, 11)) for d in c.deletion])


def test_padding_is_not_erased_and_does_not_count_as_a_segment():
    class Lengths(nn.Module):
        """The logit of class 0 is how many samples of lead I are not zero."""

        def forward(self, x):
            return (x[:, :1] != 0).sum(-1).float().expand(-1, 9) / 1000

    x = torch.zeros(2, 13, 400)
    x[0, :, 100:300], x[1, :, 200:400] = 1, 1
    c = faithfulness.curves(Lengths(), x, torch.zeros(2, dtype=torch.long), RNG.normal(size=(2, 200)), 20, fill="zero")
    logits = np.log(c.deletion / (1 - c.deletion)) * 1000
    np.testing.assert_allclose(logits, np.tile(np.arange(200, -1, -20), (2, 1)), atol=1e-2)
    logits = np.log(c.insertion / (1 - c.insertion)) * 1000
    np.testing.assert_allclose(logits, np.tile(np.arange(0, 201, 20), (2, 1)), atol=1e-2)


def test_the_right_map_is_faithful_and_a_random_one_as_a_random_order(planted):
    x, _, network, classes = planted
    m = methods_map(network, x, classes)
    exact = faithfulness.curves(network, x, classes, m, 25, fill="zero").scores()
    # Maps moved to a random time, against orders of the segments drawn at random.
    many, rng = np.repeat(np.arange(40), 12), np.random.default_rng(2)
    level = faithfulness.curves(network, x[many], classes[many], np.zeros_like(m[many]), 25, fill="zero").scores()
    moved = blind.random_maps(m[many], rng)
    random = faithfulness.curves(network, x[many], classes[many], moved, 25, fill="zero").scores()
    for name, sign in (("deletion", -1), ("insertion", 1), ("comprehensiveness", 1), ("sufficiency", -1)):
        # Repeats of one record are not independent: the error is that of the forty records' means.
        a, b = (s[name].reshape(40, 12).mean(axis=1) for s in (level, random))
        assert abs((a - b).mean()) < 4 * (a - b).std() / np.sqrt(40), name
        assert sign * (exact[name].mean() - a.mean()) > 0.15, name
    bridged = faithfulness.curves(network, x, classes, m, 25, fill="bridge").scores()
    assert bridged["insertion"].mean() - bridged["deletion"].mean() > 0.3


def test_infidelity_equals_captums_and_is_one_for_a_random_map(planted):
    from captum.metrics import infidelity

    x, _, network, classes = (v[:6] if not isinstance(v, nn.Module) else v for v in planted)
    m = methods_map(network, x, classes)
    ours = faithfulness.infidelity(m, faithfulness.random_erasures(network, x, classes, 25, samples=30, seed=3))
    rng, masks = np.random.default_rng(3), []
    for _ in range(30):
        masks.append((rng.random((6, 20)).argsort(axis=1) < 4).repeat(25, axis=1))
    sets = torch.from_numpy(np.stack(masks, axis=1).reshape(180, 1, 500)).float()

    def perturb(inputs):
        return sets * inputs, inputs - sets * inputs

    # Captum sums relevance times what was taken away; ours takes the map's own sum, so it gets the gradient.
    with torch.enable_grad():
        y = x.clone().requires_grad_()
        gradient = torch.autograd.grad(network(y)[:, 0].sum(), y)[0]
    theirs = infidelity(network, perturb, x, gradient, target=0, n_perturb_samples=30, normalize=True)
    falls = []
    with torch.no_grad():
        for mask in masks:
            falls.append((network(x) - network(torch.where(torch.from_numpy(mask)[:, None], 0, x)))[:, 0].numpy())
    np.testing.assert_allclose(ours * (np.array(falls) ** 2).mean(axis=0), theirs, rtol=1e-3, atol=1e-5)
    assert ours.mean() < 0.3
    fallen = faithfulness.random_erasures(network, x, classes, 25, samples=100, seed=4)
    random = np.array([faithfulness.infidelity(blind.random_maps(m, RNG), fallen) for _ in range(30)])
    nothing = faithfulness.infidelity(np.zeros_like(m), fallen)
    assert (nothing == 1).all() and random.mean() > 0.8


def test_peaks_of_the_blind_detector_are_the_simulators_qrs_complexes():
    hits = beats = found = 0
    for i in range(30):
        s = synthetic.simulate(i, 11, fs=125)
        peaks = qrs.BLIND.find(s.record.signal, 125)
        complexes = s.waves[s.waves["wave"] == "QRS"].groupby("lead", observed=True)
        true = next(iter(complexes))[1][["onset", "offset"]].to_numpy()
        inside = (peaks >= true[:, :1] - 6) & (peaks <= true[:, 1:] + 6)
        hits, beats = hits + inside.any(axis=1).sum(), beats + len(true)
        found += (peaks > true[0, 0]).sum()
    assert hits / beats > 0.95 and hits / found > 0.9


def test_the_qrs_map_and_the_energy_map_find_a_bundle_branch_block_and_not_an_st_change():
    mass = {}
    for name in ("LBBB", "STD"):
        records = [synthetic.simulate(i, 5, fs=125, labels=frozenset({name})) for i in range(12)]
        x = np.stack([s.record.signal for s in records])
        key = np.stack([synthetic.answer_key(s.evidence, 1250, 1)[CLASSES.index(name), 0] for s in records])
        for baseline in (blind.energy_maps, blind.qrs_maps):
            mass[name, baseline] = np.nanmean(trials.localisation(baseline(x, 125), key)["excess mass"])
    for baseline in (blind.energy_maps, blind.qrs_maps):
        assert mass["LBBB", baseline] > 0.4 > 0.15 > mass["STD", baseline]


@pytest.mark.parametrize("name", ["NSR", "AF", "I-AVB", "LBBB", "RBBB", "STD", "STE"])
def test_the_key_from_waves_is_the_simulators_key(name):
    found = []
    for i in range(6):
        s = synthetic.simulate(i, 7, fs=250, labels=frozenset({name}), noise=0)
        key = synthetic.answer_key(s.evidence, 2500)[CLASSES.index(name)]
        ours = wave_key(s.waves, name, LEADS, 2500) & key.any(axis=1, keepdims=True)
        # Of a beat cut by the record's ends, and of a wave that a lead does not show, waves say nothing.
        found.append((ours[:, 250:2250], key[:, 250:2250]))
    ours, key = (np.stack(k) for k in zip(*found, strict=True))
    # (Where T begins, and so ST ends, a lead has an opinion of its own.)
    assert (ours & key).sum() / ours.sum() > 0.8
    ours, key = ours.any(axis=1), key.any(axis=1)
    assert (ours & key).sum() / (ours | key).sum() > 0.75
    with pytest.raises(ValueError, match="waves do not say"):
        wave_key(s.waves, "PVC", LEADS, 2500)


@pytest.mark.parametrize(("part", "changed"), [("", {"0", "1", "2", "4"}), ("4", {"4"})])
def test_randomisation_shuffles_weights_of_a_part_and_leaves_the_original(part, changed):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 3, 5), nn.BatchNorm1d(3), nn.Conv1d(3, 4, 5), nn.Flatten(), nn.Linear(8, 9))
    with torch.no_grad():
        network[1].weight.add_(torch.arange(3))  # else all alike, and shuffled in vain
    before = {k: v.clone() for k, v in network.state_dict().items()}
    drawn = torch.get_rng_state()
    state = faithfulness.randomised(network, part=part, seed=1).state_dict()
    assert {k.split(".")[0] for k, v in state.items() if not torch.equal(v, before[k])} == changed
    for k, v in state.items():
        torch.testing.assert_close(v.flatten().sort().values, before[k].flatten().sort().values)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_randomised_network_loses_the_planted_wave(planted):
    x, key, network, classes = planted
    torch.manual_seed(0)
    exact = trials.localisation(methods_map(network, x, classes), key)["excess mass"].mean()
    shuffled = faithfulness.randomised(network)
    assert trials.localisation(methods_map(shuffled, x, classes), key)["excess mass"].mean() < exact - 0.3


def test_summary_is_the_mean_of_class_means_with_intervals_over_patients():
    scores = pd.DataFrame({("a", "x"): RNG.normal(size=300), ("a", "y"): np.r_[[np.nan] * 100, RNG.normal(size=200)]})
    scores.columns = pd.MultiIndex.from_tuples(scores.columns, names=["system", "trial"])
    classes, patients = np.array(["AF"] * 100 + ["STE"] * 200), np.repeat(np.arange(100), 3)
    table = trials.summary(scores, classes, patients, repeats=400).set_index(["trial", "class"])
    of_af = scores["a", "x"][:100]
    assert table.loc[("x", "AF"), "value"] == pytest.approx(of_af.mean())
    assert table.loc[("x", ""), "value"] == pytest.approx((of_af.mean() + scores["a", "x"][100:].mean()) / 2)
    assert np.isnan(table.loc[("y", "AF"), "value"]) and table.loc[("y", "AF"), "n"] == 0
    assert table.loc[("y", ""), "value"] == pytest.approx(scores["a", "y"].mean())
    half = (table.loc[("x", "STE"), "high"] - table.loc[("x", "STE"), "low"]) / 2
    assert half == pytest.approx(1.96 / np.sqrt(200), rel=0.25)
    interval = trials.mean_interval(scores.to_numpy(), patients, repeats=400)
    np.testing.assert_allclose(interval.value, np.nanmean(scores, axis=0))
    assert (interval.low < interval.value).all() and (interval.value < interval.high).all()


SYSTEMS = {
    "CNN-GAP": cnn_gap.CNNGAPSystem(fs=125, width=0.03, dilation=0.5),
    "xECGNet": xecgnet.XECGNetSystem(fs=125, seconds=12, width=0.05, pools=4, relu=False),
    "BUTTeam": butt.BUTTSystem(fs=125, seconds=12, filters=3, convolutions=2, levels=5),
    "ECGMaster": ecgmaster.ECGMasterSystem(fs=125, seconds=12, width=0.25, depth=2),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_method_explains_every_system_on_its_record(name):
    system, n = SYSTEMS[name], 1250
    torch.manual_seed(0)
    network = system.network()
    signals = [synthetic.simulate(i, 2, fs=125).record.signal for i in range(2)]
    x = torch.from_numpy(np.stack([system.windows(s)[0] for s in signals]))
    with torch.no_grad():  # batch statistics, so that no channel is dead
        network.train()
        for _ in range(3):
            network(torch.cat([x, x.flip(0)]))
    network.eval()
    assert maps.validity(x).sum(axis=1).tolist() == [n, n]
    classes = torch.tensor([4, 7])
    found = {
        m: methods.explain(by_name(name), m, network, x, classes, width=125) for m in methods.methods(by_name(name))
    }
    for m, values in found.items():
        assert values.shape == (2, n) and np.isfinite(values).all() and values.any(axis=1).all(), m
    with torch.no_grad():
        fall = (network(x) - network(maps.erase(x, torch.from_numpy(window(x, 3)), "bridge"))).gather(
            1, classes[:, None]
        )
    if name == "CNN-GAP":  # no padding: the record's windows are the input's
        np.testing.assert_allclose(found["occlusion"][:, 3 * 125 + 62], fall[:, 0], atol=0.3 * fall.abs().max().item())
        by_gradient = methods.explain(by_name(name), "Grad-CAM", network, x, classes)
        np.testing.assert_allclose(found["CAM"], by_gradient * (n // 8), rtol=1e-2, atol=1e-4)
    with pytest.raises(ValueError, match="no method"):
        methods.explain(by_name(name), "guesswork", network, x, classes)


def window(x, number, width=125):
    mask = np.zeros((len(x), 1, x.shape[-1]), dtype=bool)
    mask[..., number * width : (number + 1) * width] = True
    return mask


def test_ludb_waves_make_keys(real_data):
    from ecgstudy.data.delineations import read_delineation
    from ecgstudy.data.records import read_record

    hits = beats = 0
    for path in sorted((real_data / "ludb").rglob("*.hea"))[:12]:
        record, waves = read_record(path), read_delineation(path)
        key = wave_key(waves, "RBBB", LEADS, record.signal.shape[1])
        one = waves[(waves["lead"] == "II") & (waves["wave"] == "QRS")].dropna()
        assert key[1].sum() == (one["offset"] - one["onset"] + 1).sum()
        peaks = qrs.BLIND.find(record.signal, record.fs)
        near = np.abs(peaks[:, None] - one["peak"].to_numpy(dtype=float)) < 0.08 * record.fs
        hits, beats = hits + near.any(axis=0).sum(), beats + len(one)
    assert hits / beats > 0.95


def test_st_key_of_a_record_whose_qrs_are_known():
    fs, at = 250, np.arange(250, 2250, 200)
    x = np.zeros((1, 12, 2500))
    for beat in at:
        x[..., beat - 8 : beat + 9] += np.hanning(17)
    found = np.flatnonzero(st_key(x, fs)[0])
    expected = (at[:, None] + np.arange(15, 39)).ravel()  # 60 to 150 ms; the detector may be 24 ms off
    assert len(found) == len(expected) and np.abs(found - expected).max() <= 6


def test_st_key_lies_in_what_cardiologists_delineated(real_data):
    """The shares in its docstring, of LUDB's records without a bundle branch block."""
    from ecgstudy.data.delineations import read_delineation
    from ecgstudy.data.records import find_records, read_record

    inside = found = there = 0
    for path in find_records(real_data / "ludb")[::3]:
        record, waves = read_record(path), read_delineation(path)
        if record.labels & {"LBBB", "RBBB"}:
            continue
        key = wave_key(waves, "STD", LEADS, record.signal.shape[1]).any(axis=0)
        st = st_key(record.signal[None], record.fs)[0]
        # The first and the last beats are not delineated.
        part = slice(*(np.flatnonzero(key)[[0, -1]] + (0, 1)))
        inside, found, there = inside + (key & st)[part].sum(), found + st[part].sum(), there + key[part].sum()
    assert inside / found == pytest.approx(0.99, abs=0.01)
    assert inside / there == pytest.approx(0.5, abs=0.05)


def test_real_st_cases_are_whole_records_with_std_or_ste_and_no_block(real_data):
    from ecgstudy.data.cohort import real_cohort

    cohort = real_cohort(125)
    cases = real_st_cases(cohort, np.arange(len(cohort)))
    assert set(cases.names_of_classes) == {"STD", "STE"} and cases.signals.shape[1:] == (12, 1250)
    assert not cases.labels[:, np.isin(CLASSES, ["LBBB", "RBBB"])].any()
    wanted = cohort.labels[:, np.isin(CLASSES, ["STD", "STE"])].sum()
    assert 0.7 * wanted < len(cases.classes) <= wanted
    row = len(cases.classes) // 2
    record = int(np.flatnonzero(cohort.table["name"] == cases.names[row])[0])
    np.testing.assert_array_equal(cases.signals[row], cohort[record][:, :1250])


def test_rank_among_shifts_equals_a_naive_loop_and_is_even_for_random_maps():
    m, key = RNG.normal(size=(3, 40)), blocks(3, 40, 8)
    found = trials.rank_among_shifts(m, key)
    for row in range(3):
        masses = [np.roll(m[row].clip(0), s)[key[row]].sum() for s in range(40)]
        assert found[row] == pytest.approx(np.mean([v < masses[0] - 1e-9 for v in masses]))
    # Positive everywhere: shifts that have no mass inside, or all of it, would tie, and ties do not count as less.
    m = np.exp(gaussian_filter1d(RNG.normal(size=(4000, 60)), 2, axis=1, mode="wrap"))
    key = blocks(4000, 60, 12)
    share = (trials.rank_among_shifts(m, key) >= 0.95).mean()
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000)


def test_cases_have_their_evidence_and_a_wrong_class():
    cases = synthetic_cases(125, 2, seed=1000)
    assert sorted(cases.names_of_classes) == sorted(list(CLASSES) * 2)
    assert cases.key.any(axis=(1, 2)).all() and cases.labels[np.arange(18), cases.classes].all()
    for row in (0, 7, 13):
        s = synthetic.simulate(int(cases.names[row].rpartition("-")[2]), 1000, fs=125, balance=1)
        np.testing.assert_array_equal(s.record.signal, cases.signals[row])
        keys = synthetic.answer_key(s.evidence, 1250)
        np.testing.assert_array_equal(cases.key[row], keys[cases.classes[row]])
        np.testing.assert_array_equal(cases.any_class[row], keys.any(axis=(0, 1)))
    several = synthetic_cases(125, 2, seed=1000, fewest=2)
    assert (several.labels.sum(axis=1) > 1).all() and "NSR" not in several.names_of_classes
    st = cases.take(np.isin(cases.names_of_classes, ["STD", "STE"]))
    assert (st.st & st.any_lead).sum() / st.any_lead.sum() > 0.8


def test_evaluation_puts_the_answer_first_and_random_maps_at_chance(monkeypatch):
    cases = synthetic_cases(125, 5, seed=1000, classes=CLASSES[1:])
    cases = cases.take(cases.labels.sum(axis=1) == 1)  # so that a record is one row
    system = SmallGAPSystem()
    torch.manual_seed(0)
    network = system.network().eval()
    keys = {x.numpy().tobytes(): k for x, k in zip(cases.inputs(system), cases.any_lead, strict=True)}

    def answers(system, method, network, x, classes, **_):
        return np.array([keys.get(one.numpy().tobytes(), np.zeros(1250)) for one in x], dtype=float)

    monkeypatch.setattr(methods, "explain", answers)
    scores = evaluation.evaluate(system, network, cases, ["CAM"], costly_every=4)
    means = scores.mean()
    assert means["CAM", "excess mass"] == 1 and means["CAM", "AUC"] == 1 and means["CAM", "pointing"] == 1
    for trial in ("excess mass", "tolerant excess mass"):
        error = scores["random", trial].std() / np.sqrt(scores["random", trial].notna().sum())
        assert abs(means["random", trial]) < 4 * error
    assert means["signal energy", "random weights"] == pytest.approx(1)  # it never asks the network
    assert scores["CAM", "deletion"].notna().sum() == len(range(0, len(scores), 4))
    assert set(scores.columns.get_level_values("trial")) == set(trials.TRIALS) - {"seeds", "folds", "members"}


def test_evaluation_is_the_same_twice_and_draws_from_no_global_generator():
    import random

    system, rng = SmallGAPSystem(dilations=(1,), pools=3, seconds=4), np.random.default_rng(4)
    key, classes = np.repeat(blocks(3, 500, 60, rng)[:, None], 12, axis=1), np.array([1, 1, 4])
    about = (key.any(axis=1), key.any(axis=1), np.eye(9, dtype=bool)[classes], np.array(list("abc")))
    signals = rng.normal(size=(3, 12, 500)).astype(np.float32)
    cases = Cases(signals, classes, key, *about, np.array(list("abc")), 125)
    torch.manual_seed(0)
    networks = [system.network().eval() for _ in range(2)]
    found = []
    for global_seed in (1, 2):
        random.seed(global_seed), np.random.seed(global_seed), torch.manual_seed(global_seed)  # noqa: NPY002
        state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        every = methods.methods(system)
        others = {"seeds": networks[1]}
        found.append(evaluation.evaluate(system, networks[0], cases, every, costly_every=3, others=others, seed=0))
        assert random.getstate() == state[0] and torch.equal(torch.get_rng_state(), state[2])
        assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    pd.testing.assert_frame_equal(*found, check_exact=True)
    assert set(found[0].columns.get_level_values("trial")) == set(trials.TRIALS) - {"folds", "members"}
    other = evaluation.evaluate(system, networks[0], cases, ["GradientSHAP"], costly_every=3, seed=1)
    for method in ("GradientSHAP", "random"):
        assert not np.allclose(other[method, "AUC"], found[0][method, "AUC"])


def test_a_row_is_explained_alike_in_any_batch():
    system = SmallGAPSystem(dilations=(1, 1), pools=3)
    torch.manual_seed(0)
    network, x, classes = system.network().eval(), torch.randn(5, 12, 200), torch.tensor([0, 3, 3, 1, 8])
    for method in methods.methods(system):
        whole = methods.explain(system, method, network, x, classes, seed=3)
        parts = methods.explain(system, method, network, x, classes, seed=3, batch=2)
        np.testing.assert_allclose(parts, whole, atol=1e-5 * np.abs(whole).max(), err_msg=method)


def test_deeplift_and_guided_gradcam_are_for_the_systems_that_their_rules_fit():
    every: list[Any] = [*catalogue.with_chapter(), SmallGAPSystem]
    listed = {cls.name: set(methods.methods(cls)) & {"DeepLIFT", "guided Grad-CAM"} for cls in every}
    both, guided = {"DeepLIFT", "guided Grad-CAM"}, {"guided Grad-CAM"}
    known = {
        "CNN-GAP": both,
        "small GAP": both,
        "ECGMaster": guided,
        "Local evidence": guided,
        "xECGNet": set(),
        "BUTTeam": set(),
    }
    assert listed | known == listed  # a new system says its own in its own test


def test_ranks():
    values = {("x", "mass"): 0.3, ("x", "deletion"): 0.2, ("y", "mass"): 0.1, ("y", "deletion"): 0.6}
    rows = [("s", method, trial, "", value) for (method, trial), value in values.items()]
    table = pd.DataFrame(rows, columns=["system", "method", "trial", "class", "value"])
    ranks = explanations.ranks(table)
    assert ranks.loc[("s", "x")].tolist() == [1, 1] and ranks.loc[("s", "y")].tolist() == [2, 2]


def test_beats_trials_are_those_of_their_own_file():
    """Excess mass by hand: S in 200 of 733 ms, V in 150; what is at chance there has none."""
    beats = pd.read_csv(explanations.RESULTS / "beats.csv", keep_default_na=False)
    found = explanations.beats().set_index(["system", "method", "trial", "class"])
    assert list(explanations.beats().columns) == list(explanations.COLUMNS) and found.index.is_unique
    for name, width in (("S", 200), ("V", 150)):
        row = beats.query("network == 'FCN' and metric == 'map in the window' and `class` == @name").iloc[0]
        share = width / (264 / 0.36)
        excess = found.loc[("FCN on beats", "Grad-CAM", "excess mass", name)]
        assert excess["value"] == pytest.approx((float(row["value"]) - share) / (1 - share))
        assert excess["run"] == row["run"]
        assert abs(found.loc[("FCN on beats", "random", "excess mass", name), "value"]) < 0.05
    committed = explanations.committed().query("cohort == 'MIT-BIH'").set_index(found.index.names)["value"]
    np.testing.assert_allclose(committed, found["value"].astype(float)[committed.index], atol=1e-4)
    assert len(committed) == len(found)


def test_the_committed_table_is_whole():
    table = explanations.committed()
    assert list(table.columns) == list(explanations.COLUMNS)
    assert not table.duplicated(["system", "method", "trial", "cohort", "trained", "class"]).any()
    shown = table.dropna(subset="value")
    assert (shown["low"] <= shown["value"] + 1e-4).all() and (shown["value"] <= shown["high"] + 1e-4).all()
    kinds = set(table[["cohort", "trained"]].itertuples(index=False, name=None))
    simulated = {(cohort, trained) for cohort in ("synthetic", "LUDB") for trained in ("synthetic", explanations.MANY)}
    assert kinds == simulated | {("LUDB", "real"), ("MIT-BIH", "MIT-BIH")}
    for _, part in table[table["cohort"] != "MIT-BIH"].groupby(["system", "cohort", "trained"]):
        assert set(blind.BASELINES) <= set(part["method"])
        whole = part[(part["class"] == "") & (part["method"] == "random")].set_index("trial")
        assert abs(whole.loc["excess mass", "value"]) < 0.15


@pytest.fixture
def smoke_runs(monkeypatch, tmp_path):
    """CNN-GAP of the smoke profile: its first member, one of another seed and one of another fold; no recordings."""
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    return explanations.of_profile("CNN-GAP", "smoke")


def test_a_chapters_network_and_those_it_is_compared_with(smoke_runs):
    run, others = smoke_runs
    assert set(others) == {"seeds", "folds"} and len({r.folder for r in (run, *others.values())}) == 3
    own, seeds, folds = (set(r.predictions.query("split == 'test'")["record"]) for r in (run, *others.values()))
    assert own and own == seeds and own.isdisjoint(folds)


def test_every_method_of_a_network_is_tried(smoke_runs):
    run, others = smoke_runs
    (table,) = explanations.tried(run, others, "synthetic", 1, 9)
    assert list(table.columns) == list(explanations.COLUMNS) and not table["value"].isna().any()
    assert set(table["method"]) == set(methods.methods(by_name("CNN-GAP"))) | set(blind.BASELINES)
    assert set(table["trial"]) >= {"excess mass", "deletion", "random weights", "seeds", "folds"}
    assert set(table["run"]) == {smoke_runs[0].folder.name} and set(table["cohort"]) == {"synthetic"}


def test_question_six_compares_two_networks_on_the_same_explanations(smoke_runs, monkeypatch):
    few, others = smoke_runs
    monkeypatch.setattr(explanations, "chapter_runs", lambda *_, **__: [few])
    monkeypatch.setattr(explanations.leaderboard, "runs_of", lambda *_: [others["seeds"]])
    table = explanations.many_answers("CNN-GAP", per_class=1)
    assert list(table.columns) == list(explanations.COLUMNS)
    assert set(table.loc[table["trained"] == "synthetic", "run"]) == {few.folder.name}
    values = table.set_index(["method", "trial", "trained"])["value"]
    for method in (*by_name("CNN-GAP").own_maps, "saliency", "input × gradient"):
        first, second = (
            values[method, explanations.SIX, "synthetic"],
            values[method, explanations.SIX, explanations.MANY],
        )
        assert values[method, explanations.SIX + ", many less few", explanations.MANY] == pytest.approx(second - first)
        assert first != second
    known = table[table["method"] == "signal energy"]
    assert set(known["trained"]) == {explanations.MANY}  # it knows no network, so it is told once


def test_a_small_network_sees_what_it_says():
    for dilations, pools in (((1, 1, 1), 3), ((1, 2, 4), 1)):
        network = SmallGAPSystem(dilations=dilations, pools=pools).network().eval()
        seen = maps.scale(network, "blocks", torch.randn(32, 12, 1024))
        assert seen.stride == network.stride == 2**pools
        assert network.receptive_field - 2 * network.stride <= seen.field <= network.receptive_field
