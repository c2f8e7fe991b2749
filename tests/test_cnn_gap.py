import numpy as np
import pytest
import torch

from ecgstudy.systems import cnn_gap, parameter_count
from tests.overfit import eight_labels, fit


def test_parameters_and_shapes_as_published():
    network = cnn_gap.CNNGAP().eval()
    assert parameter_count(network) == 4_217_033
    with torch.no_grad():
        assert network.features(torch.zeros(1, 12, 2500)).shape == (1, 64, 312)
    assert network.receptive_field == 2246
    # The pads of the published blocks are alike on both sides; half the dilations at half the rate see the same time.
    assert abs(cnn_gap.CNNGAP(width=0.1, dilation=0.5).receptive_field * 2 - 2246) <= 8


@pytest.fixture
def positive():
    """A network in which every weight is positive, so that any change of any input that it sees changes its output."""
    torch.manual_seed(0)
    network = cnn_gap.CNNGAP(width=0.02).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.abs_().add_(0.01)
    return network.double()


def test_receptive_field_by_gradient(positive):
    x = torch.ones(1, 12, 8000, dtype=torch.float64, requires_grad=True)
    features = positive.features(x)
    features[0, 0, 500].backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1))).flatten()
    # Of two equal inputs max pooling takes one, so that the last few samples at either end may carry no gradient.
    assert abs((seen[-1] - seen[0] + 1).item() - positive.receptive_field) <= 8


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    system = cnn_gap.CNNGAPSystem(width=0.05, dropout=0)
    network, y = system.network(), torch.eye(9)
    system.criterion(y.sum(dim=0), 9)(network(torch.randn(9, 12, 500)), y).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_overfits_eight_records():
    torch.manual_seed(0)
    x, y = torch.randn(8, 12, 128), eight_labels()
    network = fit(cnn_gap.CNNGAPSystem(width=0.125, dropout=0, rate=2e-3), x, y, 250)
    assert ((network(x) > 0) == (y > 0)).all()


def test_records_of_rare_classes_are_shown_more_often():
    labels = np.zeros((111, 9), dtype=bool)
    labels[:100, 0], labels[100:110, 1], labels[110, 2] = True, True, True
    labels[0, 2] = True  # a record of the largest class that carries a rare one too
    times = cnn_gap.oversampling(labels, cap=4)
    assert times[0] == 4 and times[110] == 4
    assert (times[1:100] == 1).all()
    assert (times[100:110] == 4).all()
    assert cnn_gap.oversampling(labels, cap=20)[105] == 10
    assert (cnn_gap.oversampling(labels, cap=1) == 1).all()
    order = cnn_gap.CNNGAPSystem().epoch(labels, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(order), times)


def test_augmentation_flips_and_scales_whole_records():
    x = torch.randn(2000, 12, 5) + 3
    y = cnn_gap.CNNGAPSystem().augment(x, torch.Generator().manual_seed(0))
    gain = (y / x).reshape(2000, -1)
    torch.testing.assert_close(gain, gain[:, :1].expand_as(gain), atol=1e-3, rtol=1e-3)
    gain = gain[:, 0]
    assert 0.45 < (gain < 0).float().mean() < 0.55
    assert 0.45 < ((gain.abs() - 1).abs() < 1e-4).float().mean() < 0.55
    assert gain.abs().min() >= 0.499 and gain.abs().max() <= 2.501


def test_longer_records_are_clipped_three_times_shorter_padded():
    system, rng = cnn_gap.CNNGAPSystem(fs=100), np.random.default_rng(0)
    windows = system.windows(rng.normal(size=(12, 3000)).astype(np.float32))
    assert [w.shape for w in windows] == [(12, 1000)] * 3
    (window,) = system.windows(rng.normal(size=(12, 600)).astype(np.float32))
    assert (window[:, :200] == 0).all() and (window[:, 800:] == 0).all() and (window[:, 200:800] != 0).any()
