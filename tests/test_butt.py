import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ecgstudy import training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.maps import max_cam
from ecgstudy.systems import butt, parameter_count
from tests.overfit import eight_labels, fit


def record(samples, padding=0, seed=0):
    """An input (1, 13, samples + padding) whose end is padding."""
    x = torch.zeros(1, 13, samples + padding)
    x[:, :12, :samples] = torch.randn(1, 12, samples, generator=torch.Generator().manual_seed(seed))
    x[:, 12, :samples] = 1
    return x


def trained(**shape):
    """A network in evaluation mode whose batch normalisations have seen something, so that padding would not stay 0."""
    torch.manual_seed(0)
    network = butt.BUTT(**shape).eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                for values in (layer.running_mean, layer.weight, layer.bias):
                    values.add_(0.3 * torch.randn_like(values))
                layer.running_var.mul_(0.5 + torch.rand_like(layer.running_var))
    return network


def test_parameters_and_shapes_as_published():
    network = butt.BUTT().eval()
    assert parameter_count(network) == 285_939
    with torch.no_grad():
        assert network.features(record(5000)).shape == (1, 48, 20)
    assert network.stride == 256


def test_network_equals_a_plain_one_in_float64():
    network = trained(filters=3, convolutions=3, kernel=5, levels=4).double()
    x = record(320).double()

    def unit(layer, y):
        c, b = layer.convolution, layer.norm
        y = F.conv1d(y, c.weight, c.bias, padding=2)
        return F.relu(F.batch_norm(y, b.running_mean, b.running_var, b.weight, b.bias))

    with torch.no_grad():
        y = stem = unit(network.stem, x[:, :12])
        for level, (one, two, three) in enumerate(network.levels):
            first = unit(one, y)
            y = unit(three, unit(two, first))
            y = F.max_pool1d(torch.cat([F.avg_pool1d(stem, 2**level), y, first], dim=1), 2)
        y = unit(network.last, y).max(dim=-1).values @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(x), y)


@pytest.mark.parametrize("samples", [1, 255, 256, 700, 1281])
def test_padding_changes_nothing(samples):
    network = trained(filters=4, levels=6)
    with torch.no_grad():
        alone = network(record(samples))
        torch.testing.assert_close(network(record(samples, 1000)), alone, atol=1e-5, rtol=1e-5)
        longer = record(2000, seed=1)
        mixed = torch.cat([record(samples, 2000 - samples), longer])
        torch.testing.assert_close(network(mixed), torch.cat([alone, network(longer)]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mask", ["correct", "published"])
def test_the_maximum_is_over_the_cells_of_the_mask(mask):
    network = trained(filters=2, convolutions=2, kernel=3, levels=3, mask=mask)
    with torch.no_grad():
        network.last.norm.bias.fill_(1e3)  # so that every cell is positive before the mask
    lengths = [1, 3, 8, 9, 23, 40, 64]
    features = network.features(torch.cat([record(n, 64 - n) for n in lengths]))
    for n, cells in zip(lengths, (features > 0).all(dim=1).tolist(), strict=True):
        counted = 0
        if mask == "correct":
            while counted * 8 < n:  # a cell that begins before the record ends
                counted += 1
        else:
            while (counted + 1) * 4 <= n:  # half a cell that ends before the record does
                counted += 1
        assert cells == [cell < counted for cell in range(len(cells))]


def test_as_published_padding_can_win():
    network = trained(filters=4, levels=4, mask="published")
    with torch.no_grad():
        cell = network.features(record(100)).argmax(dim=-1)
    # 100 samples fill seven cells, and twelve are kept.
    assert 7 <= cell.max() < 12
    with pytest.raises(ValueError, match="'correct' or 'published', not 'none'"):
        butt.BUTT(mask="none")


def test_winning_cells_are_the_logit():
    network = trained(filters=3, levels=4)
    x = torch.cat([record(300, 100), record(400, seed=1)])
    cells = max_cam(network, x)
    with torch.no_grad():
        torch.testing.assert_close(cells.sum(dim=-1) + network.head.bias, network(x), atol=1e-5, rtol=1e-5)
        features, weight = network.features(x).numpy(), network.head.weight.numpy()
    by_hand = np.zeros(cells.shape)
    for i in range(2):
        for k in range(features.shape[1]):
            t = features[i, k].argmax()
            by_hand[i, :, t] += weight[:, k] * features[i, k, t]
    np.testing.assert_allclose(cells.numpy(), by_hand, atol=1e-5)
    assert (cells[0, :, 19:] == 0).all()


@pytest.mark.parametrize("mask", ["correct", "published"])
def test_gradient_reaches_every_parameter(mask):
    torch.manual_seed(0)
    system = butt.BUTTSystem(levels=4, mask=mask)
    network, y = system.network(), torch.eye(9)
    x = torch.cat([record(200 + 10 * i, 120 - 10 * i, seed=i) for i in range(9)])
    system.criterion(y.sum(dim=0), 9)(network(x), y).backward()
    for name, p in network.named_parameters():
        # What batch normalisation subtracts has no gradient but rounding's.
        assert p.grad is not None and (p.grad.abs().sum() > 0 or name.endswith("convolution.bias"))


def test_overfits_eight_records():
    x, y = torch.cat([record(150 + 10 * i, 100 - 10 * i, seed=i) for i in range(8)]), eight_labels()
    network = fit(butt.BUTTSystem(levels=4), x, y, 60)
    assert ((network(x) > 0) == (y > 0)).all()


@pytest.fixture
def batch():
    return torch.cat([record(50 + 7 * i, 150 - 7 * i, seed=i) for i in range(20)])


def augmented(batch, **system):
    return butt.BUTTSystem(**({"chance": 1, "stretch": 0, "gain": 0} | system)).augment(
        batch, torch.Generator().manual_seed(0)
    )


def test_augmentation_leaves_padding_zero_and_validity_true(batch):
    y = augmented(batch, stretch=0.2, gain=0.2)
    lengths = (y[:, 12] > 0).sum(dim=-1)
    assert y.shape == (20, 13, lengths.max())
    for row, n, before in zip(y, lengths.tolist(), (batch[:, 12] > 0).sum(dim=-1).tolist(), strict=True):
        assert (row[12, :n] == 1).all() and (row[:, n:] == 0).all()
        assert (row[:12, :n] != 0).any(dim=0).all()
        assert 0.8 * before - 1 <= n <= 1.2 * before + 1
    assert len({round(float(n / (50 + 7 * i)), 2) for i, n in enumerate(lengths)}) > 10


def test_shift_is_a_circle(batch):
    y, shifts = augmented(batch), set()
    for before, after in zip(batch, y, strict=True):
        n = int(before[12].sum())
        found = [s for s in range(n) if torch.equal(after[:12, :n], before[:12, :n].roll(-s, -1))]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 10


def test_gain_scales_each_lead_for_itself_and_chance_is_a_chance(batch):
    batch = batch[:1].expand(2000, 13, -1)
    gain = augmented(batch, gain=0.2, chance=0.7)[:, :12].norm(dim=-1) / batch[:, :12].norm(dim=-1)
    assert gain.min() >= 0.7999 and gain.max() <= 1.2001
    changed = (gain - 1).abs() > 1e-5
    assert 0.66 < changed.any(dim=1).float().mean() < 0.74
    assert gain[changed.any(dim=1)].std(dim=1).min() > 0.01
    torch.testing.assert_close(augmented(batch, stretch=0.2, gain=0.2, chance=0)[..., :50], batch[..., :50])


def test_stretch_keeps_the_ends_and_the_line_between():
    x = torch.ones(30, 13, 100)
    x[:, :12] = torch.linspace(1, 2, 100)
    y = augmented(x, stretch=0.2, chance=1)
    for row in y:
        n = int(row[12].sum())
        steps = row[0, :n].diff()
        seam = int(steps.argmin())  # where the shifted ramp begins anew
        steps[max(0, seam - 1) : seam + 2] = 1 / (n - 1)
        torch.testing.assert_close(steps, torch.full_like(steps, 1 / (n - 1)), atol=1e-5, rtol=0)


def test_windows_standardise_the_record_not_its_padding():
    system = butt.BUTTSystem(fs=100, seconds=10)
    signal = np.random.default_rng(0).normal(3, 0.4, (12, 600)).astype(np.float32)
    (x,) = system.windows(signal)
    assert x.shape == (13, 1000) and (x[:, 600:] == 0).all() and (x[12, :600] == 1).all()
    np.testing.assert_allclose(x[:12, :600], (signal - signal.mean(axis=1, keepdims=True)) * 5, atol=1e-4)
    (longer,) = system.windows(np.tile(signal, 2))
    np.testing.assert_allclose(longer[:12, :600], x[:12, :600], atol=1e-4)
    assert (longer[12] == 1).all()


def root_f2_g2(target, called):
    tp, fp, fn = (target & called).sum(), (~target & called).sum(), (target & ~called).sum()
    return np.sqrt(5 * tp / (5 * tp + fp + 4 * fn) * tp / (tp + fp + 2 * fn))


def test_thresholds_and_selection_by_hand():
    rng, system = np.random.default_rng(0), butt.BUTTSystem()
    targets = rng.random((60, 9)) < 0.3
    probabilities = (0.5 * rng.random((60, 9)) + 0.2 * targets).astype(np.float32) ** 2
    chosen, best = system.thresholds(targets, probabilities), []
    for c in range(9):
        tried = [k / 99 * 0.1 for k in range(100)] + [k / 99 for k in range(100)]
        best.append(max(root_f2_g2(targets[:, c], probabilities[:, c] >= t) for t in tried))
        assert root_f2_g2(targets[:, c], probabilities[:, c] >= chosen[c]) == pytest.approx(best[-1])
    assert system.selection(targets, probabilities) == pytest.approx(np.mean(best))


def test_vote_by_hand():
    rng = np.random.default_rng(0)
    for members in (3, 4):
        p, thresholds = rng.random((members, 50, 9)).astype(np.float32), rng.random((members, 9))
        mean, called = butt.BUTTSystem().vote(p, thresholds)
        np.testing.assert_allclose(mean, sum(p) / members, rtol=1e-6)
        for i in range(50):
            for c in range(9):
                votes = sum(p[m, i, c] >= thresholds[m, c] for m in range(members))
                assert called[i, c] == (votes > members / 2)


def test_thresholds_come_from_validation_records_only(tmp_path, monkeypatch):
    system = butt.BUTTSystem(fs=100, seconds=6, levels=4, filters=4, epochs=1, batch=16)
    data = synthetic_cohort(48, 100, seconds=6, balance=1)
    test = np.arange(36, 48)
    run, again = [], dataclasses.replace(data, labels=np.where(np.arange(48)[:, None] >= 36, ~data.labels, data.labels))
    for number, cohort in enumerate((data, again)):
        monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / str(number)))
        run += training.train_members(system, cohort, test, members=1, quiet=True)
    assert run[0].card["thresholds"] == run[1].card["thresholds"]
    valid = run[0].predictions.query("split == 'valid'")["record"].to_numpy()
    by_hand = system.thresholds(data.labels[valid], run[0].probabilities(valid))
    assert list(run[0].card["thresholds"].values()) == by_hand.tolist()


def test_published_schedule():
    system = butt.BUTTSystem()
    rates = [system.learning_rate(e, []) for e in (0, 34.9, 35, 69.9, 70, 104.9, 105, 106.9)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_official_entry_trains_on_from_the_first_loss_to_the_challenges_own():
    first, second = butt.BUTTSystem.official(filters=2)
    second.network().load_state_dict(first.network().state_dict())
    logits, y = torch.randn(9, 9), torch.eye(9)
    weighted, challenge = (s.criterion(y.sum(dim=0), 9) for s in (first, second))
    assert weighted(logits, y) > 0 > challenge(logits, y)
    assert second.learning_rate(15, []) == pytest.approx(1e-4) == first.learning_rate(30, [])
    network = first.network()
    assert network.stride == 64 and [len(level) for level in network.levels] == [3] * 6
