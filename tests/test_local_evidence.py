import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from ecgstudy import training
from ecgstudy.data import qrs
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import methods
from ecgstudy.systems import local_evidence, parameter_count
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.local_evidence import INTERVALS, LocalEvidence, LocalEvidenceSystem, beat_intervals


def inputs(batch=3, samples=400, padding=0, seed=0):
    """Inputs (batch, 19, samples + padding): noise in leads and intervals, padding at the end."""
    x = torch.zeros(batch, 12 + INTERVALS + 1, samples + padding)
    x[:, :-1, :samples] = torch.randn(batch, 12 + INTERVALS, samples, generator=torch.Generator().manual_seed(seed))
    x[:, -1, :samples] = 1
    return x


def seasoned(**shape):
    """A network in evaluation mode none of whose numbers is at its start."""
    torch.manual_seed(0)
    network = LocalEvidence(**shape).eval()
    with torch.no_grad():
        for values in network.state_dict().values():
            if values.is_floating_point():
                values.add_(0.4 * (torch.rand_like(values) - 0.5))
    return network


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_logit_is_the_bias_and_the_sum_of_its_map(precision):
    network, x = seasoned().to(precision), inputs(padding=40).to(precision)
    with torch.inference_mode():
        parts, logits = network.contributions(x), network(x)
    assert logits.dtype == parts.dtype == precision and parts.shape == (3, 9, 110)
    tolerance = 1e-5 if precision == torch.float32 else 1e-12
    torch.testing.assert_close(parts.sum(dim=-1) + network.bias, logits, atol=tolerance, rtol=0)
    assert parts.std() > 1e-4  # an identity of zeros would hold too
    with torch.inference_mode():
        missed = network.incompleteness(x)
        torch.testing.assert_close(missed, (parts.sum(dim=-1) + network.bias - logits).abs())


def test_completeness_holds_in_training_under_bfloat16():
    network, x = seasoned().train(), inputs()
    with torch.autocast("cpu", torch.bfloat16):
        logits, parts, key = network(x)
    assert logits.dtype == parts.dtype == torch.float32 and key.shape == (3, 0, 100)
    torch.testing.assert_close(parts.sum(dim=-1) + network.bias, logits, atol=1e-5, rtol=0)


def test_evidence_equals_a_plain_computation_of_each_window_alone():
    """A cell's window cut out of the record says the same, by loops over plain convolutions in float64."""
    network = seasoned(channels=16, depth=2, rhythm=8).double()
    x = inputs(batch=2, samples=120).double()

    def unit(y, layers, stride=1):
        convolution, norm = layers
        y = F.conv1d(y, convolution.weight, stride=stride)  # no padding: the window is all there is
        y = (y - norm.running_mean[:, None]) / (norm.running_var[:, None] + norm.eps).sqrt()
        return F.relu(y * norm.weight[:, None] + norm.bias[:, None])

    def units(block):
        found = [m for m in block if hasattr(m, "weight")]
        return list(zip(found[::2], found[1::2], strict=True))

    with torch.no_grad():
        evidence = network.evidence(x)
        reach = network.receptive_field // 2
        assert network.receptive_field == 31
        for cell in range(-(-reach // 4), (120 - reach - 1) // 4):
            for row in range(2):
                middle = 4 * cell
                y = x[row : row + 1, :12, middle - reach : middle + reach + 1]
                for n, layers in enumerate(units(network.local)):
                    y = unit(y, layers, 2 if n < 2 else 1)
                r = x[row : row + 1, 12:18, middle : middle + 1]
                for layers in units(network.rhythm):
                    r = unit(r, layers)
                (joined,) = units(network.join)
                e = F.conv1d(unit(torch.cat([y, r], dim=1), joined), network.head.weight, network.head.bias)
                torch.testing.assert_close(evidence[row, :, cell], e[0, :, 0], atol=1e-10, rtol=1e-10)


def test_shares_are_the_softmax_of_the_record_alone():
    network, x = seasoned().double(), inputs(batch=1, padding=40).double()
    with torch.inference_mode():
        evidence = network.evidence(x)
        shares = network.shares(evidence, x)[0].numpy()
    for c in range(9):
        sharpness = math.exp(network.sharpness[c].item())
        powers = [math.exp(sharpness * evidence[0, c, t].item()) for t in range(100)]
        np.testing.assert_allclose(shares[c, :100], np.array(powers) / sum(powers), rtol=1e-10)
    assert (shares[:, 100:] == 0).all()


def test_a_cell_sees_its_receptive_field_and_nothing_else():
    network = LocalEvidenceSystem().network().eval()
    assert parameter_count(network) == 46_180 and network.receptive_field == 31
    x = inputs(batch=8, samples=200).requires_grad_()
    (gradient,) = torch.autograd.grad(network.evidence(x)[:, :, 25].sum(), x)
    seen = torch.nonzero(gradient[:, :12].abs().sum(dim=(0, 1))).flatten()
    assert (seen.min().item(), seen.max().item()) == (100 - 15, 100 + 15)
    moments = torch.nonzero(gradient[:, 12:18].abs().sum(dim=(0, 1))).flatten()
    assert moments.tolist() == [100]  # of the intervals, its own moment
    assert not gradient[:, 18].any()


def test_a_record_moved_by_cells_has_its_evidence_moved():
    network, x = seasoned(), inputs()
    moved = torch.roll(x, 40, dims=-1)
    with torch.inference_mode():
        a, b = network.evidence(x), network.evidence(moved)
    torch.testing.assert_close(a[..., 10:80], b[..., 20:90], atol=1e-5, rtol=1e-5)


def test_gradient_reaches_every_parameter_and_eight_records_are_learnt():
    torch.manual_seed(0)
    system = LocalEvidenceSystem(dropout=0, key_weight=0.1)
    network, x, y = system.network(), inputs(8, 400), torch.eye(9)[:8]
    x = torch.cat([x[:, :-1], (torch.rand(8, 9, 400) > 0.5).float(), x[:, -1:]], dim=1)
    y[:, 8] = torch.tensor([1.0, 0] * 4)
    optimiser, criterion = system.optimiser(network), system.criterion(y.sum(dim=0), 8)
    for step in range(60):
        optimiser.zero_grad()
        system.objective(network(x), y, criterion).backward()
        if step == 0:
            for name, p in network.named_parameters():
                assert p.grad is not None and p.grad.abs().sum() > 0, name
        optimiser.step()
    logits, *_ = network(x)
    assert ((logits > 0) == (y > 0)).all()


def test_a_planted_wave_is_where_the_map_is():
    """One class is a wave of 0.2 s somewhere in noise: taught by the label alone, the map finds it."""
    rng = np.random.default_rng(0)
    x, y, place = inputs(96, 400, seed=1), torch.zeros(96, 9), rng.integers(40, 340, size=96)
    x[:, :-1] *= 0.3
    for row, at in enumerate(place):
        if row % 2:
            x[row, 3, at : at + 25] += torch.hann_window(25) * 2
            y[row, 2] = 1
    torch.manual_seed(0)
    system = LocalEvidenceSystem(channels=16, depth=2)
    network, criterion = system.network(), system.criterion(y.sum(dim=0), 96)
    optimiser = system.optimiser(network)
    for _ in range(120):
        chosen = torch.from_numpy(rng.permutation(64)[:32])
        optimiser.zero_grad()
        system.objective(network(x[chosen]), y[chosen], criterion).backward()
        optimiser.step()
    unseen = torch.arange(65, 96, 2)  # records that were not trained on
    with torch.inference_mode():
        top = network.eval().contributions(x[unseen])[:, 2].argmax(dim=-1).numpy() * 4
    near = np.abs(top - (place[unseen] + 12)) <= 15
    assert near.mean() >= 0.9


# --- the intervals ---------------------------------------------------------------------------------------------------


def test_intervals_are_those_around_each_moment(monkeypatch):
    at = [100, 200, 300, 360, 500, 600, 700, 800]
    monkeypatch.setattr(qrs.Detector, "find", lambda *_: np.array(at))
    rows = beat_intervals(np.zeros((12, 1250)), 125)
    for moment in range(1250):
        own = next((k for k in range(7) if at[k] < moment <= at[k + 1]), -1 if moment <= at[0] else 7)
        for row, step in enumerate((-2, -1, 0, 1, 2)):
            k = own + step
            expected = math.log((at[k + 1] - at[k]) / 100) if 0 <= k < 7 else 0
            assert rows[row, moment] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(rows[5], 0, atol=1e-6)  # 100 samples are 0.8 s


@pytest.mark.parametrize("at", [[], [300], [300, 420]])
def test_a_record_without_three_beats_has_no_intervals(at, monkeypatch):
    monkeypatch.setattr(qrs.Detector, "find", lambda *_: np.array(at, dtype=int))
    assert not beat_intervals(np.zeros((12, 1250)), 125).any()


def test_an_early_beat_of_a_simulated_record_shows_in_its_interval():
    simulated = synthetic.simulate(2, 5, fs=125, labels=frozenset({"PAC"}), noise=0)
    waves = simulated.waves[(simulated.waves["lead"] == "II") & (simulated.waves["wave"] == "QRS")]
    onset, offset = (waves[edge].to_numpy(dtype=float) for edge in ("onset", "offset"))
    logs = np.log(np.diff((onset + offset) / 2) / np.median(np.diff((onset + offset) / 2)))
    rows = beat_intervals(simulated.record.signal, 125)
    middle = ((offset[:-1] + onset[1:]) / 2).astype(int)
    assert logs.min() < -0.15  # there is an early beat
    np.testing.assert_allclose(rows[2, middle], logs, atol=0.03)


def test_windows_carry_leads_intervals_and_validity():
    system = LocalEvidenceSystem(seconds=8)
    record = synthetic.simulate(0, 5, fs=125, seconds=30).record.signal
    windows = system.windows(record)
    assert [w.shape for w in windows] == [(19, 1000)] * 3
    assert all((w[-1] == 1).all() for w in windows)
    (short,) = system.windows(record[:, :800])
    assert not short[:, :100].any() and not short[:, 900:].any() and short[-1].sum() == 800
    plain = system.windows(record[:, :1000])[0]
    x = torch.from_numpy(plain)[None].repeat(6, 1, 1)
    scaled = system.augment(x, torch.Generator().manual_seed(0))
    ratio = (scaled[:, :12].norm(dim=-1) / x[:, :12].norm(dim=-1)).flatten()
    assert ratio.min() >= 0.8 and ratio.max() <= 1.2 and ratio.std() > 0.05
    assert torch.equal(scaled[:, 12:], x[:, 12:])


def test_the_baseline_goes_and_an_st_deviation_stays():
    seconds = np.arange(1250) / 125
    wander = np.tile(0.1 * np.sin(2 * np.pi * 0.3 * seconds), (12, 1))
    beats = np.zeros((12, 1250))
    for start in range(60, 1200, 100):  # a QRS of 1 mV, then 0.1 s of ST at 0.2 mV
        beats[:, start : start + 10] = 1
        beats[:, start + 10 : start + 22] = 0.2
    clean = local_evidence.without_baseline(beats + wander, 125)
    inside = slice(60, -60)
    assert np.abs(local_evidence.without_baseline(wander, 125))[:, inside].max() < 0.05
    st = np.array([clean[0, s + 12 : s + 20].mean() for s in range(60, 1200, 100)])
    np.testing.assert_allclose(st[1:-1], 0.2, atol=0.06)
    # Two plain medians at the full rate agree, but for what is faster than 25 Hz.
    slow = ndimage.median_filter(beats + wander, size=(1, 25))
    slow = ndimage.median_filter(slow, size=(1, 75))
    assert np.abs(beats + wander - slow - clean)[:, inside].mean() < 0.02


# --- taught with the answer key --------------------------------------------------------------------------------------


def test_what_the_key_adds_to_the_loss():
    rng = np.random.default_rng(0)
    parts, key = rng.normal(size=(4, 9, 30)), rng.random((4, 9, 30)) > 0.6
    logits, targets = rng.normal(size=(4, 9)), rng.random((4, 9)) > 0.5
    key[1, 2] = False
    targets[1, 2] = True  # a class of the label only: it has no evidence to look for
    expected = np.mean([math.log1p(math.exp(-z if y else z)) for z, y in zip(logits.flat, targets.flat, strict=True)])
    for i in range(4):
        for c in range(9):
            if targets[i, c] and key[i, c].any():
                positive = parts[i, c].clip(min=0)
                expected -= 0.3 * math.log(positive[key[i, c]].sum() / positive.sum()) / 4
    system, y = LocalEvidenceSystem(key_weight=0.3), torch.from_numpy(targets).double()
    outputs = (torch.from_numpy(logits), torch.from_numpy(parts), torch.from_numpy(key).double())
    loss = system.objective(outputs, y, system.criterion(y.sum(dim=0), 4))
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_a_keyed_cohort_gives_the_network_its_key_and_predicts_as_without():
    plain = synthetic_cohort(24, 125, seed=2, balance=1)
    cohort = local_evidence.keyed(plain, 2, 1)
    evidence = synthetic.simulate(5, 2, fs=125, balance=1).evidence
    np.testing.assert_array_equal(cohort[5][12:] > 0, synthetic.answer_key(evidence, 1250).any(axis=1))
    np.testing.assert_array_equal(cohort[5][:12], plain[5])
    system = LocalEvidenceSystem(channels=16, rhythm=8, depth=1, epochs=1, key_weight=0.1)
    (with_key,) = system.windows(cohort[5])
    (without,) = system.windows(plain[5])
    assert with_key.shape == (28, 1250) and without.shape == (19, 1250)
    split = {"train": np.arange(16), "valid": np.arange(16, 24)}
    run = training.train(system, cohort, split, quiet=True)
    assert run.folder != training.train(system, plain, split, quiet=True).folder
    network = run.network()
    a, b = (training.predict(system, network, c, np.arange(16, 24)) for c in (cohort, plain))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_teaching_draws_the_map_into_the_key():
    torch.manual_seed(0)
    x, y, key = inputs(16, 400, seed=3), torch.zeros(16, 9), torch.zeros(16, 9, 400)
    y[:, 4] = 1
    key[:, 4, 100:140] = 1
    keyed = torch.cat([x[:, :-1], key, x[:, -1:]], dim=1)
    inside = {}
    for taught in (0, 1):
        torch.manual_seed(0)
        system = dataclasses.replace(LocalEvidenceSystem(channels=16, rhythm=8, dropout=0), key_weight=taught)
        network = system.network()
        optimiser, criterion = system.optimiser(network), system.criterion(y.sum(dim=0), 16)
        for _ in range(40):
            optimiser.zero_grad()
            system.objective(network(keyed), y, criterion).backward()
            optimiser.step()
        parts = network(keyed)[1][:, 4].clamp(min=0)
        inside[taught] = (parts[:, 25:35].sum() / parts.sum()).item()
    assert inside[1] > 2 * inside[0]


def test_its_map_is_among_the_methods():
    assert methods.methods(by_name("Local evidence"))[0] == "evidence"
    network, x = seasoned(), inputs(samples=400)
    classes = torch.tensor([0, 4, 8])
    found = methods.explain(LocalEvidenceSystem, "evidence", network, x, classes)
    with torch.inference_mode():
        logits = network(x)[range(3), classes] - network.bias[classes]
    assert found.shape == (3, 400)
    # At the samples each cell is spread over four, the ends by interpolation.
    np.testing.assert_allclose(found.sum(axis=1) / 4, logits.numpy(), rtol=1e-3, atol=1e-3)
    by_gradient = methods.explain(LocalEvidenceSystem, "input × gradient", network, x, classes, by_lead=True)
    assert by_gradient.shape == (3, 12, 400)
