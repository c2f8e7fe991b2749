import numpy as np
import pytest
import torch
from torch import nn

from ecgstudy import layers


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own copy warns
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"padding": 15, "dilation": 2},
        {"stride": 2, "padding": 3},
        {"groups": 4},
        {"padding": "same"},
        {"padding": "same", "dilation": 4},
    ],
)
def test_convolution_equals_torchs(settings):
    torch.manual_seed(0)
    ours, theirs = layers.Conv1d(12, 8, 16, **settings), nn.Conv1d(12, 8, 16, **settings)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 12, 101)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert ours(x).shape == theirs(x).shape


def test_batch_norm_equals_torchs():
    ours, theirs, x = layers.BatchNorm1d(5), nn.BatchNorm1d(5), torch.randn(4, 5, 33) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="batch, channels, samples"):
        ours(x[0])


@pytest.mark.parametrize("settings", [(2,), (3, 3, 0), (3, 2, 1)])
@pytest.mark.parametrize("ceil", [False, True])
def test_pooling_equals_torchs(settings, ceil):
    x = torch.randn(2, 4, 50)
    torch.testing.assert_close(
        layers.MaxPool1d(*settings, ceil_mode=ceil)(x), nn.MaxPool1d(*settings, ceil_mode=ceil)(x)
    )


def test_gradients_equal_torchs():
    torch.manual_seed(0)
    ours = nn.Sequential(layers.Conv1d(3, 4, 5, padding=2), layers.BatchNorm1d(4), nn.ReLU(), layers.MaxPool1d(2))
    theirs = nn.Sequential(nn.Conv1d(3, 4, 5, padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 40)
    gradients = []
    for network in (ours, theirs):
        network(x).square().sum().backward()
        gradients.append([p.grad.numpy() for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 1.0])
def test_dropout_drops_its_share_and_scales_the_rest(p, dtype):
    torch.manual_seed(0)
    y = layers.Dropout(p)(torch.ones(50, 20, 301, dtype=dtype))
    n = y.numel()
    assert abs((y == 0).sum().item() / n - p) < 4 * (p * (1 - p) / n) ** 0.5 + 2**-16
    if p < 1:
        assert y.unique().tolist() == [0, torch.tensor(1 / (1 - p), dtype=dtype).item()]
    # Each element on its own: channels, samples and neighbours are dropped independently.
    dropped = (y == 0).float()
    for axis in range(3):
        a, b = dropped.narrow(axis, 0, y.shape[axis] - 1), dropped.narrow(axis, 1, y.shape[axis] - 1)
        assert abs((a * b).mean() - p**2) < 0.006


def test_dropout_in_any_layout():
    dropout = layers.Dropout(0.4)
    x = torch.randn(4, 6, 33)
    last = layers._image(x).squeeze(2).requires_grad_()
    for view in (x.requires_grad_(), last, x[:, ::2, ::3], x.transpose(1, 2)):
        torch.manual_seed(1)
        y = dropout(view)
        kept = y != 0
        torch.testing.assert_close(y, view * kept / 0.6)
        (gradient,) = torch.autograd.grad(y.sum(), view)
        torch.testing.assert_close(gradient, kept / 0.6)
        torch.manual_seed(1)
        assert (dropout(view) == y).all() and (dropout(view) != y).any()


def test_dropout_rests_in_evaluation():
    x = torch.randn(2, 3, 8)
    assert layers.Dropout(0.5).eval()(x) is x and layers.Dropout(0.0)(x) is x


@pytest.mark.parametrize("channels", [2, 4, 8, 12, 13, 14, 16, 24])
@pytest.mark.parametrize("kernel", [7, 8, 16, 32])
def test_bfloat16_equals_float32_to_its_precision(channels, kernel):
    torch.manual_seed(0)
    layer, x = layers.Conv1d(channels, 32, kernel), torch.randn(4, channels, 200, requires_grad=True)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(x).float()
        gradients.append([y, *torch.autograd.grad((y * y).sum(), [x, layer.weight, layer.bias])])
    for exact, rounded in zip(*gradients, strict=True):
        assert (rounded - exact).norm() < 0.02 * exact.norm()
