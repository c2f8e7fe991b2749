import numpy as np
import pytest
import torch

from ecgstudy.explain import maps
from ecgstudy.systems.cnn_gap import CNNGAP


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = CNNGAP(width=0.05)
    with torch.no_grad():  # batch statistics, so that no channel is dead
        for _ in range(3):
            network(torch.randn(16, 12, 400))
    return network.eval()


def test_mean_of_the_map_and_bias_is_the_logit(network):
    x = torch.randn(5, 12, 1000)
    with torch.no_grad():
        logits = network(x)
    m = maps.cam(network, x)
    assert m.shape == (5, 9, 125)
    torch.testing.assert_close(m.mean(dim=-1) + network.head.bias, logits, atol=1e-5, rtol=1e-5)


def test_equals_a_naive_sum_in_float64(network):
    x = torch.randn(2, 12, 400)
    with torch.no_grad():
        f = network.features(x).double().numpy()
    w = network.head.weight.detach().double().numpy()
    naive = np.zeros((2, 9, f.shape[-1]))
    for record in range(2):
        for c in range(9):
            for t in range(f.shape[-1]):
                naive[record, c, t] = sum(w[c, k] * f[record, k, t] for k in range(f.shape[1]))
    np.testing.assert_allclose(maps.cam(network, x).numpy(), naive, atol=1e-5)


def test_equals_captums_gradcam_before_its_relu(network):
    # Under global average pooling Grad-CAM's channel weights are the head's, over the number of cells.
    from captum.attr import LayerGradCam

    x = torch.randn(3, 12, 400)
    m = maps.cam(network, x)
    for c in (0, 4, 8):
        theirs = LayerGradCam(network, network.blocks).attribute(x, target=c)[:, 0].detach()
        torch.testing.assert_close(theirs * m.shape[-1], m[:, c], atol=1e-4, rtol=1e-3)


def test_a_batch_is_its_records(network):
    x = torch.randn(3, 12, 400)
    one_by_one = torch.cat([maps.cam(network, x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(maps.cam(network, x), one_by_one, atol=1e-5, rtol=1e-4)


def test_linear_upsampling_interpolates_between_the_centres_of_cells():
    m = np.array([[0.0, 4.0, 2.0]], dtype=np.float32)
    centres = (np.arange(3) + 0.5) * 4 - 0.5
    np.testing.assert_allclose(maps.upsample(m, 12)[0], np.interp(np.arange(12), centres, m[0]), atol=1e-6)


def test_fourier_upsampling_keeps_the_mean_and_rings():
    m = np.zeros((2, 16), dtype=np.float32)
    m[:, 8:] = 1
    y = maps.upsample(m, 160, "fourier")
    np.testing.assert_allclose(y.mean(axis=-1), m.mean(axis=-1), atol=1e-6)
    assert y.max() > 1.02
    with pytest.raises(ValueError, match="'linear' or 'fourier'"):
        maps.upsample(m, 160, "cubic")
