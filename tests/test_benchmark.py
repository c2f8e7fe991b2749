import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch.nn import functional as F

from ecgstudy import systems, training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.layers import BatchNorm1d
from ecgstudy.systems import benchmark, parameter_count, rolled
from ecgstudy.systems.catalogue import CATALOGUE, by_name


def convolutions(*shapes):
    """Weights of convolutions without bias, given (channels, filters, kernel), and of the normalisation after each."""
    return sum(c * f * k + 2 * f for c, f, k in shapes)


def head(channels):
    return 2 * 2 * channels + (2 * channels + 1) * 128 + 2 * 128 + (128 + 1) * 9


def test_parameters_of_xresnet1d101():
    stem = convolutions((12, 32, 5), (32, 32, 5), (32, 64, 5))
    first = convolutions((64, 64, 1), (64, 64, 5), (64, 256, 1), (64, 256, 1))
    others = 32 * convolutions((256, 64, 1), (64, 64, 5), (64, 256, 1))
    assert parameter_count(benchmark.XResNet()) == stem + first + others + head(256) == 1_872_777
    convs = [m for m in benchmark.XResNet().blocks.modules() if isinstance(m, torch.nn.Conv1d)]
    # 101: one convolution, three in each of 33 blocks, the classifier; here the stem has two more, and a shortcut one.
    assert len(convs) + 1 == 101 + 2 + 1


def test_parameters_of_wang():
    blocks = 3 * convolutions((128, 128, 5), (128, 128, 3)) + 2 * convolutions((128, 128, 1))
    assert parameter_count(benchmark.WangResNet()) == convolutions((12, 128, 7)) + blocks + head(128) == 473_865


@pytest.fixture(params=[benchmark.XResNet, benchmark.WangResNet])
def network(request):
    """A network whose every normalisation does something."""
    torch.manual_seed(0)
    network = request.param(groups=(2, 2, 1, 2)) if request.param is benchmark.XResNet else request.param()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.weight.uniform_(0.3, 1)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
    return network


def naive(network, x):
    """Logits by torch's own 1-D functions, convolutions and normalisations in the order of the papers' figures."""
    layers = [m for m in network.blocks.modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.BatchNorm1d))]
    pairs = iter(zip(layers[::2], layers[1::2], strict=True))

    def normed(x, stride=1):
        conv, norm = next(pairs)
        x = F.conv1d(x, conv.weight, None, stride, (conv.weight.shape[-1] - 1) // 2)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    if isinstance(network, benchmark.XResNet):
        for stride in (2, 1, 1):
            x = normed(x, stride).relu()
        x = F.max_pool1d(x, 3, 2, 1)
        for stride in (1, 1, 2, 1, 2, 2, 1):
            y = normed(normed(normed(x).relu(), stride).relu())
            if stride == 2:
                x = F.avg_pool1d(x, 2, ceil_mode=True)
            x = (y + (normed(x) if x.shape[1] == 64 else x)).relu()
    else:
        x = normed(x).relu()
        for stride in (1, 2, 2):
            y = normed(normed(x, stride).relu())
            x = (y + (normed(x, stride) if stride == 2 else x)).relu()
    assert next(pairs, None) is None
    return network.head.layers(torch.cat([x.max(dim=-1).values, x.mean(dim=-1)], dim=1))


@pytest.mark.parametrize("samples", [500, 333])
def test_equals_a_naive_network(network, samples):
    network = network.double().eval()
    x = torch.randn(2, 12, samples, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), naive(network, x))
        assert network.features(x).shape[-1] == -(-samples // network.stride)


def test_blocks_of_xresnet_start_as_the_identity():
    blocks = [m for m in benchmark.XResNet(groups=(2, 2)).eval().blocks if isinstance(m, benchmark.Residual)]
    x = torch.rand(1, 64, 40)
    for block in blocks:
        with torch.no_grad():
            expected = block.shortcut(x).relu()
            torch.testing.assert_close(block(x), expected)
        x = expected


def test_gradient_reaches_every_parameter(network):
    network.train()
    network(torch.randn(8, 12, 256)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("system", [benchmark.XResNetSystem, benchmark.WangSystem])
def test_overfits_eight_records(system):
    torch.manual_seed(0)
    system = system(dropout=0, rate=2e-3)
    network = benchmark.XResNet(groups=(1, 1, 1, 1), dropout=0) if "xresnet" in system.name else system.network()
    optimiser = system.optimiser(network)
    x, y = torch.randn(8, 12, 128), torch.eye(9)[:8]
    y[:, 8] = torch.tensor([1.0, 0] * 4)
    for _ in range(30):
        optimiser.zero_grad()
        loss = system.objective(network(x), y, system.criterion(y.sum(dim=0), 8))
        loss.backward()
        optimiser.step()
    network.eval()
    assert ((network(x) > 0) == (y > 0)).all()


def test_augmentation_rolls_and_scales_whole_records():
    x = torch.randn(400, 12, 300)
    system = benchmark.WangSystem(roll=0.5, gain=2)
    y = system.augment(x, torch.Generator().manual_seed(0))
    gain = (y.square().sum(dim=(1, 2)) / x.square().sum(dim=(1, 2))).sqrt()
    assert 0.499 < gain.min() < 0.55 and 1.85 < gain.max() < 2.001
    assert 0.4 < (gain < 1).float().mean() < 0.6
    shifts = []
    for before, after in zip(x.numpy(), (y / gain[:, None, None]).numpy(), strict=True):
        peak = int(before[0].argmax())
        shift = (int(after[0].argmax()) - peak + 150) % 300 - 150
        np.testing.assert_allclose(after, np.roll(before, shift, axis=-1), rtol=1e-4, atol=1e-5)
        shifts.append(shift)
    assert -50 <= min(shifts) <= -47 and 47 <= max(shifts) <= 50


def test_no_augmentation_is_the_identity():
    x = torch.randn(5, 12, 300)
    torch.testing.assert_close(benchmark.WangSystem(roll=0, gain=1).augment(x, torch.Generator()), x)


def test_windows_lose_their_offset_but_keep_mv():
    system, rng = benchmark.XResNetSystem(), np.random.default_rng(0)
    signal = rng.normal(size=(12, 1000)).astype(np.float32)
    offset = np.arange(12, dtype=np.float32)[:, None]
    (window,), (moved,) = system.windows(signal), system.windows(signal + offset)
    np.testing.assert_allclose(window, moved, atol=1e-5)
    np.testing.assert_allclose(np.diff(window), np.diff(signal), atol=1e-5)
    np.testing.assert_allclose(np.median(window, axis=-1), 0, atol=1e-6)
    assert [w.shape for w in system.windows(rng.normal(size=(12, 3000)).astype(np.float32))] == [(12, 1000)] * 3
    (window,) = system.windows(signal[:, :600] + 5)
    assert (window[:, :200] == 0).all() and (window[:, 800:] == 0).all()


@pytest.mark.parametrize(("records", "shown"), [(33, 32), (34, 34), (64, 64), (65, 64)])
def test_no_record_is_alone_in_a_batch_of_what_normalises_over_records(records, shown):
    norm = BatchNorm1d(256)
    head = torch.nn.Sequential(norm, torch.nn.Dropout(), benchmark.PooledHead(256, 9, 0.5))
    order, x = torch.randperm(records), torch.randn(records, 256, 4)
    before, state = {name: value.clone() for name, value in head.state_dict().items()}, torch.get_rng_state()
    steps = systems.batches(order, 32, head, x)
    assert torch.equal(torch.cat(steps), order[:shown]) and max(map(len, steps)) <= 32
    # To try a record leaves no trace: no running mean, no random number.
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    for step in steps:
        head(torch.randn(len(step), 256, 4))  # raises on one
    # What normalises over time too learns from one record: its steps are what they were.
    whole = systems.batches(order, 32, torch.nn.Sequential(BatchNorm1d(12)), torch.randn(records, 12, 50))
    assert torch.equal(torch.cat(whole), order)
    for few, size in ((1, 32), (3, 1)):
        with pytest.raises(ValueError, match="give two records and a batch of two"):
            systems.batches(torch.arange(few), size, head, torch.randn(few, 256, 4))


@pytest.mark.parametrize("name", [*CATALOGUE])
def test_every_system_trains_on_one_record_more_than_its_batches(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))
    small = {"CNN-GAP": {"width": 0.03}, "xECGNet": {"width": 0.03}, "ECGMaster": {"width": 0.1, "depth": 1}}
    small |= {"BUTTeam": {"filters": 2, "levels": 2}, "Local evidence": {"channels": 4, "rhythm": 2}}
    system = by_name(name).of_profile("demo")[0]
    system = dataclasses.replace(system, fs=100, seconds=6, epochs=1, batch=4, **small.get(name, {}))
    system = dataclasses.replace(system, **({"oversampling_cap": 1} if name == "CNN-GAP" else {}))
    if name == "xresnet1d101":
        monkeypatch.setattr(type(system), "network", lambda self, classes=9: benchmark.XResNet(groups=(1, 1)))
    data = synthetic_cohort(9, 100, seconds=6, balance=1)
    run = training.train(system, data, {"train": np.arange(5), "valid": np.arange(5, 9)}, quiet=True)
    assert len(run.log) == 1 and np.isfinite(run.log["loss"]).all()


def test_epoch_is_chosen_by_auroc_and_thresholds_by_f1():
    rng = np.random.default_rng(0)
    targets = rng.random((200, 9)) < 0.2
    p = (targets * 0.1 + rng.random((200, 9)) * 0.3).astype(np.float32)
    system = benchmark.WangSystem()
    assert system.selection(targets, p) == pytest.approx(roc_auc_score(targets, p, average="macro"))
    chosen = f1_score(targets, p >= system.thresholds(targets, p), average=None)
    others = [f1_score(targets, p >= t, average=None, zero_division=0) for t in np.linspace(0, 0.5, 51)]
    np.testing.assert_allclose(chosen, np.max(others, axis=0))


def test_rolling_moves_each_record_by_its_own_shift():
    x = torch.arange(3 * 2 * 50.0).reshape(3, 2, 50)
    for one, before, shift in zip(rolled(x, torch.tensor([0, 7, -60])), x, (0, 7, -60), strict=True):
        torch.testing.assert_close(one, before.roll(shift, -1))
