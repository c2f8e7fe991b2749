import copy
import dataclasses

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr

from ecgstudy.explain import beat_maps, faithfulness
from ecgstudy.systems import beat_gradcam as bg
from ecgstudy.systems import parameter_count
from tests.planted_beats import SYSTEM, planted_beats


@pytest.fixture(scope="module")
def beats():
    return planted_beats()


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


@pytest.mark.parametrize(("head", "share"), [("lstm", np.full(11, 1 / 11)), ("lstm-last", np.eye(11)[-1])])
def test_a_head_reads_all_states_alike_or_the_last_one_alone(batch, head, share):
    torch.manual_seed(0)
    network = bg.BeatSystem(network=head, every=3, median=False).make()
    np.testing.assert_allclose(beat_maps.head_gradient(network, *batch), share, atol=1e-6)
    assert network.training and all(p.grad is None for p in network.parameters())


def test_the_map_of_a_last_state_head_is_made_of_states_that_the_head_never_read(batch):
    torch.manual_seed(0)
    network, (x, rhythm, target) = bg.BeatSystem(network="lstm-last", every=3, median=False).make().eval(), batch
    with torch.no_grad():
        f = network.features(x)
        weights = (network.head.weight - network.head.weight.mean(dim=0))[target, : f.shape[1]]
        expected = torch.einsum("bk,bkt->bt", weights, f) / 11
    found = beat_maps.grad_cam(network, x, rhythm, target, relu=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[:, :-1]).mean() > 0.3 * np.abs(found[:, -1]).mean()


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
    for part in ("head", ""):
        other = faithfulness.randomised(network, part=part, redrawn=True, seed=7)
        after = beat_maps.grad_cam(other, x, rhythm, target, relu=False)
        assert np.abs(after - before).mean() > 0.3 * np.abs(before).mean()
        shared = [k for k, v in other.state_dict().items() if torch.equal(v, state[k])]
        assert all(k.startswith("head") for k in set(state) - set(shared)) == (part == "head")
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())


def test_weights_drawn_anew_are_those_of_a_new_network(network):
    """Drawn in the order in which a network is made, from the same seed."""
    other = faithfulness.randomised(network, part="head", redrawn=True, seed=11)
    torch.manual_seed(11)
    fresh = torch.nn.Linear(network.head.in_features, 4)
    assert torch.equal(other.head.weight, fresh.weight) and torch.equal(other.head.bias, fresh.bias)


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


def test_normalised_maps_have_their_maximum_at_1_or_are_empty():
    maps = np.array([[0.5, 2, 1], [0, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(beat_maps.normalised(maps), [[0.25, 1, 0.5], [0, 0, 0]])


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
    mean, low, high = beat_maps.by_patient(values, np.zeros(100))
    assert mean == pytest.approx(0.5) and np.isnan(low) and np.isnan(high)


def test_limits_over_patients_equal_a_loop_over_resamples():
    rng = np.random.default_rng(3)
    values, patients = rng.normal(size=60), rng.integers(7, size=60)
    values[::9] = np.nan
    kept = ~np.isnan(values)
    by_hand, drawn = [], np.random.default_rng(5)
    for _ in range(40):
        times = drawn.multinomial(7, [1 / 7] * 7)
        pool = np.concatenate([np.repeat(values[kept & (patients == i)], n) for i, n in enumerate(times)])
        by_hand.append(pool.mean())
    expected = values[kept].mean(), *np.quantile(by_hand, [0.025, 0.975])
    np.testing.assert_allclose(beat_maps.by_patient(values, patients, repeats=40, seed=5), expected)
