import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, precision_score, recall_score

from ecgstudy.data.beats import BEAT_CLASSES, Beats
from ecgstudy.explain import beat_maps
from ecgstudy.systems import beat_gradcam as bg
from ecgstudy.systems import parameter_count


@pytest.fixture(scope="module")
def beats():
    """Beats with a slow wave at P and a quick one after R, whose signs tell the class, and nothing else does.

    Were there a wave in some classes only, standardising would spread it: mean and deviation of the beat would tell.
    """
    rng = np.random.default_rng(0)
    target = rng.choice(4, size=400, p=[0.4, 0.2, 0.2, 0.2])
    signal = 0.05 * rng.normal(size=(400, 2, 264)).astype(np.float32)
    for start, half, classes in ((48, 12, (1, 3)), (120, 6, (2, 3))):
        wave = np.repeat([0.8, -0.8] * (12 // half), half).astype(np.float32)
        signal[:, :, start : start + 24] += np.where(np.isin(target, classes), 1, -1)[:, None, None] * wave
    record = np.array([f"r{i % 8}" for i in range(400)])
    table = pd.DataFrame({"record": record, "patient_id": record, "sample": np.arange(400)})
    table["aami"] = np.array(["N", "S", "V", "F"])[target]
    medians = {name: np.median(signal[record == name], axis=0) for name in np.unique(record)}
    return Beats(signal, rng.normal(size=(400, 4)).astype(np.float32), table, medians)


SYSTEM = bg.BeatSystem(
    width=0.25, every=3, epochs=4, beats=800, batch=32, rate=5e-3, rhythm=False, median=False, balance=0
)


PATIENT_OF = {f"r{i}": f"p{i // 2}" for i in range(8)}


@pytest.fixture(scope="module")
def parts():
    return np.arange(0, 300), np.arange(300, 400)


@pytest.fixture(scope="module", params=["fcn", "lstm"])
def network(request):
    """A network that is not fresh: its batch statistics are those of data."""
    torch.manual_seed(0)
    network = dataclasses.replace(SYSTEM, network=request.param, rhythm=True).make()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(64, 1, 88), torch.randn(64, 4))
    return network.eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    x, rhythm = torch.randn(12, 1, 88, generator=generator), torch.randn(12, 4, generator=generator)
    return x, rhythm, torch.arange(12) % 4


def test_parameters_and_shapes_as_published():
    fcn = bg.FCN().eval()
    convolutions = (1 * 8 + 1) * 128 + (128 * 5 + 1) * 256 + (256 * 3 + 1) * 128
    assert parameter_count(fcn) == convolutions + 2 * (128 + 256 + 128) + (128 + 1) * 4 == 265_220
    lstm = bg.BeatLSTM().eval()
    assert parameter_count(lstm) == 4 * 128 * (24 + 128 + 2) + (128 + 1) * 4
    x = torch.zeros(2, 1, 264)
    with torch.no_grad():
        assert fcn.features(x).shape == (2, 128, 264) and lstm.features(x).shape == (2, 128, 11)


def test_a_cell_of_the_fcn_sees_14_samples():
    fcn = bg.FCN(width=0.1).double().eval()
    with torch.no_grad():
        for p in fcn.parameters():
            p.abs_().add_(0.01)
    x = torch.ones(1, 1, 264, dtype=torch.float64, requires_grad=True)
    fcn.features(x)[0, 0, 100].backward()
    seen = torch.nonzero(x.grad[0, 0]).flatten()
    assert len(seen) == 14 and seen[0] <= 100 <= seen[-1]


def test_an_lstm_step_sees_the_segments_up_to_it():
    torch.manual_seed(0)
    lstm = bg.BeatLSTM(leads=2).double()
    x = torch.randn(1, 2, 264, dtype=torch.float64, requires_grad=True)
    lstm.features(x)[0, :, 4].sum().backward()
    assert (x.grad[0, :, :120] != 0).all() and (x.grad[0, :, 120:] == 0).all()


@pytest.mark.parametrize("name", ["fcn", "lstm", "lstm-last"])
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    network = bg.BeatSystem(network=name, leads=2, median=True, width=0.1).make()
    logits = network(torch.randn(16, 4, 264), torch.randn(16, 4))
    torch.nn.functional.cross_entropy(logits, torch.arange(16) % 4).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_inputs_by_hand(beats):
    x, rhythm = bg.BeatSystem(every=3, leads=2, median=True).inputs(beats, np.array([7, 2]))
    assert x.shape == (2, 4, 88)
    for row, place in enumerate((7, 2)):
        for channel, source in enumerate((*beats.signal[place], *beats.medians[f"r{place}"])):
            by_hand = np.array([source[i : i + 3].mean() for i in range(0, 264, 3)])
            by_hand = (by_hand - by_hand.mean()) / by_hand.std()
            np.testing.assert_allclose(x[row, channel], by_hand, atol=1e-4)
    np.testing.assert_array_equal(rhythm, beats.rhythm[[7, 2]])


# --- maps ------------------------------------------------------------------------------------------------------------


def test_equals_captums(network, batch):
    class Flat(torch.nn.Module):
        """The network as captum wants it: the feature map as the output of a layer of its own."""

        def __init__(self):
            super().__init__()
            self.inner, self.layer = network, torch.nn.Identity()

        def forward(self, x, rhythm):
            return self.inner.decide(self.layer(self.inner.features(x)), rhythm)

    flat, (x, rhythm, target) = Flat(), batch
    for relu in (True, False):
        theirs = LayerGradCam(flat, flat.layer).attribute(
            x, target, additional_forward_args=rhythm, relu_attributions=relu
        )
        ours = beat_maps.grad_cam(network, x, rhythm, target, relu=relu)
        assert ours.max() > 1e-3
        np.testing.assert_allclose(ours, theirs[:, 0].detach(), atol=1e-5, rtol=1e-5)


def test_is_the_class_activation_map_under_mean_pooling(network, batch):
    x, rhythm, target = batch
    with torch.no_grad():
        f = network.features(x)
        logits = network(x, rhythm)
        weights = network.head.weight - network.head.weight.mean(dim=0)
        cam = torch.einsum("bk,bkt->bt", weights[target, : f.shape[1]], f)
        bias = network.head.bias - network.head.bias.mean()
        rest = network.timing(rhythm) @ weights[:, f.shape[1] :].T + bias
    ours = beat_maps.grad_cam(network, x, rhythm, target) * f.shape[-1]
    np.testing.assert_allclose(ours, cam.relu(), atol=1e-5)
    own = (cam.mean(dim=1)[:, None] + rest).gather(1, target[:, None])
    torch.testing.assert_close(own, logits.gather(1, target[:, None]), atol=1e-5, rtol=1e-5)


def test_equals_a_naive_float64_oracle(network, batch):
    x, rhythm, target = batch
    with torch.no_grad():
        f = network.features(x)
    f, head, timing = f.double(), network.head.weight.detach().double(), network.timing(rhythm).double()
    for b in range(3):

        def logit(features, b=b):
            pooled = torch.cat([features.mean(dim=-1), timing[b].detach()])
            return (head[target[b]] @ pooled - (head @ pooled).mean()).item()

        alpha = np.zeros(f.shape[1])
        for k in range(f.shape[1]):
            for t in range(f.shape[2]):  # central differences: exact for a linear head
                up, down = f[b].clone(), f[b].clone()
                up[k, t] += 0.5
                down[k, t] -= 0.5
                alpha[k] += (logit(up) - logit(down)) / f.shape[2]
        naive = np.maximum(alpha @ f[b].numpy(), 0)
        np.testing.assert_allclose(beat_maps.grad_cam(network, x, rhythm, target)[b], naive, atol=1e-5)


def test_what_all_logits_share_changes_no_map(network, batch):
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.head.weight += torch.randn(other.head.weight.shape[1])
    torch.testing.assert_close(other(*batch[:2]), network(*batch[:2]), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(beat_maps.grad_cam(other, *batch), beat_maps.grad_cam(network, *batch), atol=1e-5)


def test_a_last_state_head_has_no_gradient_before_the_last_step(batch):
    torch.manual_seed(0)
    network, (x, rhythm, target) = bg.BeatSystem(network="lstm-last", every=3, median=False).make().eval(), batch
    f = network.features(x).detach().requires_grad_()
    network.decide(f, rhythm).gather(1, target[:, None]).sum().backward()
    assert (f.grad[..., :-1] == 0).all() and (f.grad[..., -1] != 0).all()


def test_a_batch_is_its_beats_and_maps_leave_no_trace(network, batch):
    x, rhythm, target = batch
    maps = beat_maps.grad_cam(network, x, rhythm, target)
    each = [beat_maps.grad_cam(network, x[i : i + 1], rhythm[i : i + 1], target[i : i + 1])[0] for i in range(len(x))]
    np.testing.assert_allclose(maps, each, atol=1e-6)
    assert all(p.grad is None for p in network.parameters())


def test_occlusion_by_hand(network, batch):
    x, rhythm, target = batch
    drops = beat_maps.occlusion(network, x, rhythm, target)
    assert drops.shape == (12, 11)
    for b, segment in ((0, 0), (5, 4), (11, 10)):
        cut = x[b].numpy().copy()
        part = slice(segment * 8, segment * 8 + 8)
        cut[0, part] = np.interp(np.arange(8), [0, 7], cut[0, part][[0, -1]])
        with torch.no_grad():
            both = network(torch.stack([x[b], torch.from_numpy(cut)]), rhythm[[b, b]])[:, target[b]]
        assert drops[b, segment] == pytest.approx((both[0] - both[1]).item(), abs=1e-5)


def test_new_weights_change_the_map_and_leave_the_network(network, batch):
    x, rhythm, target = batch
    before = beat_maps.grad_cam(network, x, rhythm, target, relu=False)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    drawn = torch.get_rng_state()
    for head_only in (True, False):
        other = beat_maps.reinitialised(network, head_only=head_only, seed=7)
        after = beat_maps.grad_cam(other, x, rhythm, target, relu=False)
        assert np.abs(after - before).mean() > 0.3 * np.abs(before).mean()
        shared = [k for k, v in other.state_dict().items() if torch.equal(v, state[k])]
        assert all(k.startswith("head") for k in set(state) - set(shared)) == head_only
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())


def test_window_mass_by_hand():
    maps = np.zeros((4, 264), dtype=np.float32)
    maps[0, 99] = 1  # R
    maps[1, 99 - 90 : 99 - 18] = 1  # 250 to 50 ms before R
    maps[2] = 1
    np.testing.assert_allclose(beat_maps.window_mass(maps, "V"), [1, 0, 54 / 264, np.nan], atol=1e-6)
    np.testing.assert_allclose(beat_maps.window_mass(maps, "S"), [0, 1, 72 / 264, np.nan], atol=1e-6)
    segments = np.eye(11, dtype=np.float32)
    assert beat_maps.window_mass(segments, "V")[4] == pytest.approx((120 - 96 + 0) / 24)
    np.testing.assert_array_equal(beat_maps.to_samples(segments)[3], np.arange(264) // 24 == 3)
    np.testing.assert_allclose(beat_maps.by_segment(beat_maps.to_samples(segments)), segments)
    with pytest.raises(ValueError, match="whole number"):
        beat_maps.to_samples(segments[:, :7])


def test_maps_are_those_of_evaluation_mode_under_no_grad_too_and_refused_under_inference_mode(network, batch):
    x, rhythm, target = batch
    try:
        for make in (beat_maps.grad_cam, beat_maps.occlusion):
            expected = make(network.eval(), x, rhythm, target)
            with torch.no_grad():
                np.testing.assert_array_equal(make(network.train(), x, rhythm, target), expected)
            assert network.training
        with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
            beat_maps.grad_cam(network, x, rhythm, target)
    finally:
        network.eval()


def test_turned_maps_keep_their_values_and_neighbours():
    maps = np.random.default_rng(0).random((300, 88)).astype(np.float32)
    turned = beat_maps.turned(maps)
    shifts = []
    for before, after in zip(maps, turned, strict=True):
        shift = int(np.flatnonzero(before == after[0])[0])
        np.testing.assert_array_equal(np.roll(before, -shift), after)
        shifts.append(shift)
    assert len(set(shifts)) > 70
    np.testing.assert_allclose(beat_maps.normalised(maps).max(axis=1), 1)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.integers(5, size=(2, 20, 11)).astype(np.float32)
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(beat_maps.rank_correlation(a, b), expected, atol=1e-12)
    assert np.isnan(beat_maps.rank_correlation(np.ones((1, 11)), a[:1])).all()


def test_variance_between_records_by_hand():
    maps = np.array([[0.0, 1], [2, 1], [4, 1], [6, 1]])
    assert beat_maps.between_records(maps, np.array(list("aabb"))) == pytest.approx(16 / 20)
    assert beat_maps.between_records(maps, np.array(list("abba"))) == pytest.approx(0)


def test_limits_over_patients():
    values, patients = np.repeat([0.0, 1.0], 50), np.repeat(np.arange(10), 10)
    mean, low, high = beat_maps.by_patient(np.append(values, np.nan), np.append(patients, 3))
    assert mean == pytest.approx(0.5)
    assert low == pytest.approx(0.2, abs=0.11) and high == pytest.approx(0.8, abs=0.11)  # binomial, n = 10
    assert np.ptp(beat_maps.by_patient(np.tile([0.0, 1.0], 50), patients)) == pytest.approx(0)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_j_kappa_by_hand():
    confusion = np.array([[80, 5, 3, 2], [4, 10, 1, 0], [2, 1, 17, 0], [3, 0, 1, 1]], dtype=float)
    # Se_S = 10/15, Se_V = 17/20, P_S = 10/16, P_V = 17/22; 108 of 130 right; chance from the margins.
    chance = (90 * 89 + 15 * 16 + 20 * 22 + 5 * 3) / 130**2
    kappa = (108 / 130 - chance) / (1 - chance)
    expected = kappa / 2 + (10 / 15 + 17 / 20 + 10 / 16 + 17 / 22) / 8
    assert bg.scores(confusion)["j-kappa"] == pytest.approx(expected)
    assert bg.scores(np.diag([7.0, 3, 5, 1]))["j-kappa"] == 1
    none = np.array([[9.0, 0, 1, 0], [2, 0, 0, 0], [1, 0, 3, 0], [1, 0, 0, 0]])  # S is never answered: no precision
    kappa = (12 / 17 - (10 * 13 + 4 * 4) / 17**2) / (1 - (10 * 13 + 4 * 4) / 17**2)
    assert bg.scores(none)["j-kappa"] == pytest.approx(kappa / 2 + (3 / 4 + 3 / 4) / 8)


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    true, answer = rng.integers(4, size=(2, 500))
    answer = np.where(rng.random(500) < 0.6, true, answer)
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (true, answer), 1)
    ours = bg.scores(np.stack([confusion, confusion.T]))
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
    run = bg.train(system, beats, *parts)
    table = bg.score_table([run], PATIENT_OF, repeats=100).set_index(["metric", "class"])
    assert table.loc[("accuracy", ""), "value"] > 0.9
    confusion = np.zeros((4, 4))
    answer = run.predictions[["N", "S", "V", "F"]].to_numpy().argmax(axis=1)
    np.add.at(confusion, (beats.target[parts[1]], answer), 1)
    for metric, values in bg.scores(confusion).items():
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
    run = bg.train(system, beats, *parts)
    p = bg.predict(run.network(), *system.inputs(beats, parts[1]))
    np.testing.assert_allclose(run.predictions[["N", "S", "V", "F"]], p, atol=1e-6)
    names = {run.folder}
    names.add(bg.train(system, beats, *parts, seed=1).folder)
    names.add(bg.train(dataclasses.replace(system, jitter=0), beats, *parts).folder)
    names.add(bg.train(system, beats, parts[0][1:], parts[1]).folder)
    changed = dataclasses.replace(beats, signal=beats.signal + np.float32(0.01))
    names.add(bg.train(system, changed, *parts).folder)
    assert len(names) == 5
    monkeypatch.setattr(bg, "_fit", lambda *_: pytest.fail("trained again"))
    assert bg.train(system, beats, parts[0][::-1], parts[1]).folder == run.folder
    with pytest.raises(ValueError, match="in training and test"):
        bg.train(system, beats, parts[0], parts[0][:5])
    file = run.folder / "predictions.parquet"
    whole = file.read_bytes()
    run.predictions[::-1].to_parquet(file)
    with pytest.raises(ValueError, match=rf"{run.folder} is broken .*predictions.parquet is not as it was written"):
        bg.train(system, beats, *parts)
    file.write_bytes(whole)
    assert bg.train(system, beats, *parts).folder == run.folder


@pytest.mark.parametrize("network", ["fcn", "lstm", "lstm-last"])
@pytest.mark.parametrize("rhythm", [True, False])
def test_a_beat_that_is_left_over_stops_no_training(beats, parts, network, rhythm):
    system = dataclasses.replace(SYSTEM, network=network, beats=17, batch=8, epochs=2, rhythm=rhythm)
    assert np.isfinite(bg.train(system, beats, *parts).predictions[list(BEAT_CLASSES)]).all(axis=None)


def test_answers_that_are_no_numbers_have_no_scores(beats, parts):
    run = bg.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    run.predictions.loc[3, "N"] = np.nan
    with pytest.raises(ValueError, match=r"predictions\.parquet holds NaN"):
        _ = run.confusion
    good = np.eye(4)[None] * 5
    for wrong in (good * np.nan, -good, good[:, :3], good[0, 0]):
        with pytest.raises(ValueError, match=r"^confusion "):
            bg.scores(wrong)


def test_results_have_the_columns_of_the_file_and_lose_nothing(beats, parts):
    run = bg.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    scores = bg.score_table([run, run], PATIENT_OF, repeats=10).assign(network="x", split="y", run="z")
    table = bg.results(scores)
    assert ",".join(table.columns) == "network,split,metric,class,value,low,high,n,paper_value,run"
    ours = table[table["run"] == "z"]
    assert len(ours) == len(scores) + scores["deviation"].notna().sum()
    assert (ours.loc[ours["metric"].str.endswith("deviation over seeds"), "value"] == 0).all()
    mondejar = table[table["network"].str.startswith("SVM") & (table["metric"] == "j-kappa")]
    assert mondejar["paper_value"].tolist() == [0.773]


def test_limits_come_from_whole_patients(beats, parts):
    run = bg.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts)
    one = bg.score_table([run], dict.fromkeys(PATIENT_OF, "p"), repeats=10)
    np.testing.assert_array_equal(one["low"], one["high"])  # of one patient every resample is the same
    several = bg.score_table([run], PATIENT_OF, repeats=50).set_index(["metric", "class"]).loc[("accuracy", "")]
    assert several["low"] < several["value"] < several["high"]


def test_every_arm_adds_one_thing():
    arms = bg.arms(bg.BeatSystem(width=0.5, every=3))
    assert len(set(arms.values())) == len(arms)
    given = [(s.rhythm, s.leads, s.median) for s in arms.values()]
    assert given[:4] == [(False, 1, False), (True, 1, False), (True, 2, False), (True, 1, True)]


def test_the_mean_over_seeds_and_its_spread(beats, parts):
    runs = [bg.train(dataclasses.replace(SYSTEM, epochs=1), beats, *parts, seed=s) for s in range(2)]
    each = [bg.score_table([run], PATIENT_OF, repeats=10).set_index(["metric", "class"])["value"] for run in runs]
    both = bg.score_table(runs, PATIENT_OF, repeats=10).set_index(["metric", "class"])
    np.testing.assert_allclose(both["value"], (each[0] + each[1]) / 2)
    np.testing.assert_allclose(both["deviation"], np.abs(each[0] - each[1]) / np.sqrt(2), atol=1e-12)
