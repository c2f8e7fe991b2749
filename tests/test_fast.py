import numpy as np
import pytest
import torch
from torch import nn

from ecgstudy import fast


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
    ours, theirs = fast.Conv1d(12, 8, 16, **settings), nn.Conv1d(12, 8, 16, **settings)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 12, 101)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert ours(x).shape == theirs(x).shape


def test_batch_norm_equals_torchs():
    ours, theirs, x = fast.BatchNorm1d(5), nn.BatchNorm1d(5), torch.randn(4, 5, 33) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="batch, channels, samples"):
        ours(x[0])


@pytest.mark.parametrize("settings", [(2,), (3, 3, 0), (3, 2, 1)])
@pytest.mark.parametrize("ceil", [False, True])
def test_pooling_equals_torchs(settings, ceil):
    x = torch.randn(2, 4, 50)
    torch.testing.assert_close(fast.MaxPool1d(*settings, ceil_mode=ceil)(x), nn.MaxPool1d(*settings, ceil_mode=ceil)(x))


def test_gradients_equal_torchs():
    torch.manual_seed(0)
    ours = nn.Sequential(fast.Conv1d(3, 4, 5, padding=2), fast.BatchNorm1d(4), nn.ReLU(), fast.MaxPool1d(2))
    theirs = nn.Sequential(nn.Conv1d(3, 4, 5, padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 40)
    gradients = []
    for network in (ours, theirs):
        network(x).square().sum().backward()
        gradients.append([p.grad.numpy() for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
