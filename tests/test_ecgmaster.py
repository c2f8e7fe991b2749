import math

import numpy as np
import pytest
import torch
from torch import nn

from ecgstudy.preprocessing import denoise, remove_baseline
from ecgstudy.systems import parameter_count
from ecgstudy.systems.ecgmaster import ECGMaster, ECGMasterSystem
from tests.overfit import eight_labels, fit


def padded(batch, samples, start, stop):
    """Noise from ``start`` to ``stop``, zeros elsewhere, and the validity row that says so: (batch, 13, samples)."""
    x = torch.zeros(batch, 13, samples, dtype=torch.float64)
    x[:, :-1, start:stop] = torch.randn(batch, 12, stop - start, generator=torch.Generator().manual_seed(1)).double()
    x[:, -1, start:stop] = 1
    return x


@pytest.fixture
def make():
    """Small networks in float64 whose attention is far from uniform and whose normalisation shifts the padding."""

    def network(**options):
        torch.manual_seed(0)
        made = ECGMaster(**{"width": 0.25, "kernel": 0.25, "depth": 1, "dropout": 0} | options).double().eval()
        with torch.no_grad():
            for part in made.modules():
                if isinstance(part, nn.BatchNorm1d):
                    nn.init.normal_(part.weight)
                    nn.init.normal_(part.bias)
            made.key.weight.mul_(10)
        return made

    return network


def test_parameters_are_those_of_the_stated_sizes():
    # The stated sizes, one by one: stem; two convolutions and two normalisations (scale and shift) a block; a 1 x 1
    # convolution where the filters grow; the last normalisation; a key and a linear unit with bias for nine classes.
    expected, channels = 12 * 32 * 32, 32
    for filters, kernel in [(32, 32)] * 3 + [(64, 16)] * 3 + [(96, 8)] * 3:
        expected += channels * filters * kernel + filters * filters * kernel + 2 * channels + 2 * filters
        expected += channels * filters if channels != filters else 0
        channels = filters
    expected += 2 * 96 + 2 * 9 * (96 + 1)
    assert parameter_count(ECGMaster()) == expected == 999_442


def test_a_minute_becomes_29_cells():
    system = ECGMasterSystem()
    network = system.network().eval()
    assert (system.samples, network.stride, network.receptive_field) == (15_000, 512, 8_929)
    with torch.no_grad():
        x = torch.zeros(1, 13, system.samples)
        assert network.features(x).shape == (1, 96, 29)
        assert network.attention(x).shape == network.contributions(x).shape == (1, 9, 29)


def test_receptive_field_by_gradient(make):
    network = make(depth=2)
    with torch.no_grad():
        for p in network.parameters():  # all positive: any change of any input that a cell sees changes the cell
            p.abs_().add_(0.01)
    x = torch.ones(1, 13, 4000, dtype=torch.float64, requires_grad=True)
    network.features(x)[0, 0, 30].backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1))).flatten()
    # Of two equal inputs max pooling takes one, so that up to stride − 1 samples carry no gradient.
    assert 0 <= network.receptive_field - (seen[-1] - seen[0] + 1).item() < network.stride


@pytest.mark.parametrize("masked", [False, True])
def test_network_is_the_papers_attention_written_slowly(make, masked):
    network = make(masked=masked)
    x = padded(3, 160, 40, 100)  # cells of 8 samples: the record is in the cells 5 to 12, the last only in half
    with torch.no_grad():
        values = network.features(x).numpy()
        attention, logits = network.attention(x).numpy(), network(x).numpy()
    key, bias = network.key.weight.detach().numpy(), network.key.bias.detach().numpy()
    weight, offset = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    cells = range(5, 13) if masked else range(20)
    for record in range(3):
        for c in range(9):
            query = np.eye(9)[c]
            score = {t: query @ (key @ values[record, :, t] + bias) for t in cells}
            total = sum(math.exp(s) for s in score.values())
            vector = np.zeros(values.shape[1])
            for t in cells:
                share = math.exp(score[t]) / total
                assert attention[record, c, t] == pytest.approx(share, rel=1e-9)
                vector += share * values[record, :, t]
            assert logits[record, c] == pytest.approx(weight[c] @ vector + offset[c], rel=1e-9)


def test_attention_sums_to_one_and_masked_is_zero_on_padding(make):
    x = padded(2, 160, 40, 100)
    with torch.no_grad():
        paper, masked = make()(x), make(masked=True)(x)
        everywhere, on_record = make().attention(x), make(masked=True).attention(x)
    for attention in (everywhere, on_record):
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 9, dtype=torch.float64))
    assert (on_record[..., :5] == 0).all() and (on_record[..., 13:] == 0).all() and (on_record[..., 5:13] > 0).all()
    assert (everywhere > 0).all()
    # Masking takes the padding out and leaves the proportions on the record.
    rest = everywhere[..., 5:13]
    torch.testing.assert_close(on_record[..., 5:13], rest / rest.sum(dim=-1, keepdim=True))
    assert (paper - masked).abs().max() > 1e-3


def test_only_the_masked_network_is_blind_to_more_padding(make):
    masked, paper = make(masked=True), make()
    room = -(-masked.receptive_field // masked.stride) * masked.stride  # more than any cell sees beyond the record
    short, long = (padded(2, 2 * room * k + 400, room * k, room * k + 400) for k in (1, 3))
    with torch.no_grad():
        a, b = masked.attention(short), masked.attention(long)
        skipped, kept = 2 * room // masked.stride, 400 // masked.stride
        here = slice(room // masked.stride, room // masked.stride + kept)
        there = slice(here.start + skipped, here.stop + skipped)
        torch.testing.assert_close(a[..., here], b[..., there])
        torch.testing.assert_close(masked(short), masked(long))
        assert (paper(short) - paper(long)).abs().max() > 1e-3


@pytest.mark.parametrize("masked", [False, True])
def test_contributions_and_bias_are_the_logit(make, masked):
    network = make(masked=masked, depth=2, width=0.5)
    x = padded(4, 1600, 300, 1500)
    with torch.no_grad():
        torch.testing.assert_close(network.contributions(x).sum(dim=-1) + network.head.bias, network(x))


def test_gradient_reaches_every_parameter_but_the_keys_bias():
    torch.manual_seed(0)
    system = ECGMasterSystem(width=0.25, kernel=0.25, dropout=0)
    network, y = system.network().double(), torch.eye(9).double()
    system.criterion(y.sum(dim=0), 9)(network(padded(9, 2048, 300, 1800)), y).backward()
    size = {name: p.grad.abs().max().item() for name, p in network.named_parameters()}
    # The softmax of eq. 1 is over time and b is the same at all times: it cancels.
    assert size.pop("key.bias") < 1e-12
    assert min(size.values()) > 1e-8


def test_overfits_eight_records():
    x, y = padded(8, 256, 40, 200).float(), eight_labels()
    network = fit(ECGMasterSystem(width=0.25, kernel=0.25, depth=1, dropout=0, rate=1e-2), x, y, 60)
    assert ((network(x) > 0) == (y > 0)).all()


@pytest.mark.parametrize(("b", "r"), [(0.5, 2.0), (0.0, 0.0), (1.0, 1.5)])
def test_objective_is_the_weighted_focal_loss_written_slowly(b, r):
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(6, 9)), rng.random((6, 9)) < 0.3
    positives, records = rng.integers(5, 90, 9), 100
    expected = 0.0
    for i in range(6):
        for c in range(9):
            p = 1 / (1 + math.exp(-logits[i, c]))
            if targets[i, c]:
                expected -= (records / positives[c]) ** b * (1 - p) ** r * math.log(p) / 54
            else:
                expected -= (records / (records - positives[c])) ** b * p**r * math.log(1 - p) / 54
    system = ECGMasterSystem(b=b, r=r)
    criterion = system.criterion(torch.from_numpy(positives), records)
    got = system.objective(torch.from_numpy(logits), torch.from_numpy(targets).double(), criterion)
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_another_loss_can_be_chosen():
    logits, targets = torch.randn(4, 9), torch.eye(9)[:4]
    got = ECGMasterSystem(loss="cross-entropy").criterion(torch.ones(9), 4)(logits, targets)
    torch.testing.assert_close(got, nn.functional.binary_cross_entropy_with_logits(logits, targets))


def test_augmentation_moves_a_record_whole_and_its_validity_with_it():
    x = padded(400, 60, 10, 50)
    y = ECGMasterSystem().augment(x, torch.Generator().manual_seed(0))
    starts = []
    for before, after in zip(x, y, strict=True):
        (at,) = np.nonzero(after[-1].numpy())
        assert len(at) == 40 and at[-1] - at[0] == 39
        torch.testing.assert_close(after[:, at[0] : at[0] + 40], before[:, 10:50], rtol=0, atol=0)
        assert after.abs().sum() == before.abs().sum()
        starts.append(at[0])
    assert set(starts) == set(range(21))  # 20 samples of room: 21 places
    full = padded(3, 60, 0, 60)
    torch.testing.assert_close(ECGMasterSystem().augment(full, torch.Generator()), full, rtol=0, atol=0)


def test_windows_are_cleaned_then_padded_or_cut():
    system, rng = ECGMasterSystem(seconds=20), np.random.default_rng(0)
    short = rng.normal(size=(12, 2500)).astype(np.float32) + 3
    (window,) = system.windows(short)
    assert window.shape == (13, 5000) and window.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(window[-1]), np.arange(1250, 3750))
    np.testing.assert_array_equal(window[:-1, 1250:3750], denoise(remove_baseline(short, 250), "db4", 3))
    assert (window[:-1, :1250] == 0).all() and (window[:-1, 3750:] == 0).all()
    longer = rng.normal(size=(12, 9000)).astype(np.float32)
    clean = denoise(remove_baseline(longer, 250), "db4", 3)
    for window, start in zip(system.windows(longer), (0, 2000, 4000), strict=True):
        np.testing.assert_array_equal(window[:-1], clean[:, start : start + 5000])
        assert (window[-1] == 1).all()


@pytest.mark.parametrize("fs", [500, 250, 125])
def test_wavelet_levels_follow_the_rate(fs):
    # A weak wave below the lowest detail band (15.6 Hz at each rate) passes; a weak one above it is taken as noise.
    t = np.arange(10 * fs) / fs
    noise = 0.05 * np.random.default_rng(0).normal(size=(12, len(t)))
    system = ECGMasterSystem(fs=fs)

    def power(frequency):
        x = (0.05 * np.sin(2 * np.pi * frequency * t) + noise).astype(np.float32)
        y = system.windows(x)[0][0][system.windows(x)[0][-1] > 0]
        return np.abs(np.exp(-2j * np.pi * frequency * t) @ y) / np.abs(np.exp(-2j * np.pi * frequency * t) @ x[0])

    assert power(8) > 0.7
    assert power(45) < 0.3


def test_the_published_schedule_drops_at_each_plateau():
    system = ECGMasterSystem(plateau=3)
    scores = [0.1, 0.2, 0.2, 0.1, 0.15, 0.3, 0.3, 0.3, 0.2, 0.1, 0.1, 0.1]
    rates = [system.learning_rate(n, scores[:n]) for n in range(len(scores) + 1)]
    assert rates == pytest.approx([1e-3] * 5 + [1e-4] * 4 + [1e-5] * 3 + [1e-6])
    assert ECGMasterSystem(schedule="one-cycle", epochs=10).learning_rate(3, [0.5] * 9) == pytest.approx(1e-3)


def test_thresholds_maximise_the_geometric_mean_of_f2_and_g2():
    rng = np.random.default_rng(0)
    targets = rng.random((80, 9)) < 0.3
    scores = np.clip(0.3 * targets + rng.random((80, 9)) * 0.6, 0, 1).astype(np.float32)

    def quality(called, truth):
        tp, fp, fn = (called & truth).sum(), (called & ~truth).sum(), (~called & truth).sum()
        return 5 * tp / (5 * tp + fp + 4 * fn) * tp / (tp + fp + 2 * fn)

    chosen = ECGMasterSystem().thresholds(targets, scores)
    for c in range(9):
        best = max(quality(scores[:, c] >= g / 100, targets[:, c]) for g in range(100))
        assert quality(scores[:, c] >= chosen[c], targets[:, c]) == pytest.approx(best)


def test_half_precision_gives_the_same_answer():
    # At the published kernels: oneDNN has computed a bfloat16 convolution of 12 channels wrongly.
    torch.manual_seed(0)
    network, x = ECGMaster(width=0.5, depth=1, dropout=0).eval(), padded(2, 800, 100, 700).float()
    with torch.no_grad():
        exact = network.features(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network.features(x).float()
    assert (half - exact).norm() < 0.03 * exact.norm()
