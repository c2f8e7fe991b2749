import numpy as np
import pytest
import torch

from ecgstudy.explain import maps, methods
from ecgstudy.fast import Conv1d, MaxPool1d
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


class MaxPooled(torch.nn.Module):
    """A small network with a global maximum before its head, every ReLU a module."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            Conv1d(12, 8, 5, padding="same"), torch.nn.ReLU(), MaxPool1d(4), Conv1d(8, 6, 3, padding="same")
        )
        self.head = torch.nn.Linear(6, 9)

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.features(x).amax(dim=-1))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 5, batch_first=True)
        self.head = torch.nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.lstm(x.transpose(1, 2))[0].mean(dim=1).tanh())


class Masked(torch.nn.Module):
    """Mean over the samples that the last row says are the record's."""

    def __init__(self):
        super().__init__()
        self.inner = Conv1d(12, 9, 9, padding="same")

    def forward(self, x):
        return (self.inner(x[:, :-1]).tanh() * x[:, -1:]).sum(-1) / x[:, -1:].sum(-1)


@pytest.fixture
def maximum():
    torch.manual_seed(1)
    return MaxPooled().eval()


def finite_difference(head, a, c, e=1e-6):
    """∂head(a)_c/∂a of one record's activations by central differences, in float64."""
    g = torch.zeros_like(a)
    for i in range(a.numel()):
        step = torch.zeros(a.numel(), dtype=a.dtype)
        step[i] = e
        step = step.reshape(a.shape)
        g.view(-1)[i] = (head(a + step)[c] - head(a - step)[c]) / (2 * e)
    return g


def test_max_cam_adds_up_to_the_logit_and_equals_hires_cam(maximum):
    x, classes = torch.randn(4, 12, 80), torch.tensor([0, 3, 3, 8])
    m = maps.max_cam(maximum, x)
    with torch.no_grad():
        torch.testing.assert_close(m.sum(dim=-1) + maximum.head.bias, maximum(x))
    torch.testing.assert_close(m[range(4), classes], maps.hires_cam(maximum, "body", x, classes))


def test_the_gradient_family_equals_naive_float64_sums(maximum):
    # A head that is not linear in the features, so that gradients differ from record to record.
    network = Curved().double().eval()
    x, classes = torch.randn(2, 12, 24, dtype=torch.float64), torch.tensor([1, 2])
    with torch.no_grad():
        activations = network.body(x)
    for row, c in enumerate(classes):
        a = activations[row]
        with torch.no_grad():
            g = finite_difference(lambda a: network.rest(a[None])[0], a, c)
        channels, cells = a.shape
        plain, hires, plus = np.zeros(cells), np.zeros(cells), np.zeros(cells)
        for k in range(channels):
            weight = sum(g[k, t].item() for t in range(cells)) / cells
            total = sum(a[k, t].item() for t in range(cells))
            weight_plus = 0.0
            for t in range(cells):
                below = 2 * g[k, t].item() ** 2 + total * g[k, t].item() ** 3
                weight_plus += g[k, t].item() ** 2 / below * max(g[k, t].item(), 0)
            for t in range(cells):
                plain[t] += weight * a[k, t].item()
                hires[t] += g[k, t].item() * a[k, t].item()
                plus[t] += weight_plus * a[k, t].item()
        one = x[row : row + 1], classes[row : row + 1]
        np.testing.assert_allclose(maps.grad_cam(network, "body", *one)[0], plain, atol=1e-7)
        np.testing.assert_allclose(maps.hires_cam(network, "body", *one)[0], hires, atol=1e-7)
        np.testing.assert_allclose(maps.grad_cam_plus_plus(network, "body", *one)[0], plus, rtol=1e-4, atol=1e-7)


class Curved(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv1d(12, 4, 5, padding="same"), torch.nn.Tanh())
        self.head = torch.nn.Linear(4, 9)

    def rest(self, a):
        return self.head((a**2).mean(dim=-1).exp())

    def forward(self, x):
        return self.rest(self.body(x))


def test_gradcam_of_the_lstm_equals_a_naive_float64_sum():
    torch.manual_seed(2)
    network = Recurrent().double()
    x = torch.randn(2, 3, 11, dtype=torch.float64)
    m = maps.lstm_grad_cam(network, "lstm", x, torch.tensor([3, 1]))
    assert m.shape == (2, 11)
    for row, c in enumerate((3, 1)):
        with torch.no_grad():
            h = network.lstm(x[row : row + 1].transpose(1, 2))[0][0]
            g = finite_difference(lambda h: network.head(h.mean(dim=0).tanh()), h, c)
        naive = [sum(g[:, k].mean().item() * h[t, k].item() for k in range(5)) for t in range(11)]
        np.testing.assert_allclose(m[row], naive, atol=1e-8)


def test_gradcam_equals_captums_and_cam_under_average_pooling(network):
    from captum.attr import LayerGradCam

    x, classes = torch.randn(3, 12, 400), torch.tensor([0, 4, 8])
    ours = maps.grad_cam(network, "blocks", x, classes)
    theirs = LayerGradCam(network, network.blocks).attribute(x, target=classes)[:, 0].detach()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    m = maps.cam(network, x)[range(3), classes] / ours.shape[-1]
    torch.testing.assert_close(ours, m, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(maps.hires_cam(network, "blocks", x, classes), m, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "hires_cam"])
def test_gradient_maps_of_a_batch_are_those_of_its_records(maximum, method):
    x, classes = torch.randn(3, 12, 80), torch.tensor([5, 0, 5])
    function = getattr(maps, method)
    one_by_one = torch.cat([function(maximum, "body", x[i : i + 1], classes[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(function(maximum, "body", x, classes), one_by_one)


def test_permuted_leads_and_shifted_time_permute_and_shift_the_map():
    class Circular(torch.nn.Module):
        def __init__(self, order):
            super().__init__()
            self.body = torch.nn.Conv1d(12, 9, 5, padding="same", padding_mode="circular")
            self.order = order

        def forward(self, x):
            return self.body(x[:, self.order]).tanh().mean(dim=-1)

    torch.manual_seed(3)
    order = torch.randperm(12)
    network, permuted = Circular(torch.arange(12)), Circular(order)
    permuted.load_state_dict(network.state_dict())
    x, classes = torch.randn(2, 12, 60), torch.tensor([2, 7])
    m = maps.grad_cam(network, "body", x, classes)
    shifted = maps.grad_cam(network, "body", x.roll(13, dims=-1), classes)
    torch.testing.assert_close(shifted, m.roll(13, dims=-1))
    leadwise = methods.captum_map("input × gradient", network, x[:, order], classes)
    torch.testing.assert_close(leadwise, methods.captum_map("input × gradient", permuted, x, classes)[:, order])


def test_other_weights_give_another_map(network):
    x, classes = torch.randn(2, 12, 400), torch.tensor([1, 6])
    torch.manual_seed(99)
    other = CNNGAP(width=0.05).eval()
    a, b = (maps.grad_cam(n, "blocks", x, classes).numpy() for n in (network, other))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.9


def test_hooks_are_gone_after_an_exception(maximum):
    with pytest.raises(RuntimeError):
        maps.grad_cam(maximum, "body", torch.randn(1, 5, 80), torch.tensor([0]))
    with pytest.raises(AttributeError, match="99"):
        maps.grad_cam(maximum, "body.99", torch.randn(1, 12, 80), torch.tensor([0]))
    with pytest.raises(RuntimeError):
        methods.captum_map("DeepLIFT", maximum, torch.randn(1, 5, 80), torch.tensor([0]))
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in maximum.modules())


def test_occlusion_equals_a_naive_loop(maximum):
    x, classes = torch.randn(2, 12, 70), torch.tensor([4, 1])
    m = maps.occlusion(maximum, x, classes, 16, fill="zero", by_lead=True, batch=7)
    assert m.shape == (2, 12, 5)
    with torch.no_grad():
        for row, lead, cell in ((0, 0, 0), (1, 11, 4), (0, 5, 2), (1, 3, 1)):
            y = x[row : row + 1].clone()
            y[0, lead, 16 * cell : 16 * (cell + 1)] = 0
            drop = (maximum(x[row : row + 1]) - maximum(y))[0, classes[row]]
            torch.testing.assert_close(m[row, lead, cell], drop)
    together = maps.occlusion(maximum, x, classes, 16)
    y = x.clone()
    y[:, :, 32:48] = torch.from_numpy(
        np.stack([[np.interp(np.arange(32, 48), [31, 48], [lead[31], lead[48]]) for lead in r] for r in x.numpy()])
    ).float()
    with torch.no_grad():
        drop = (maximum(x) - maximum(y)).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(together[:, 2], drop)


def test_a_bridge_is_numpys_interpolation_and_a_fill_leaves_the_rest():
    rng = np.random.default_rng(0)
    x, mask = torch.from_numpy(rng.normal(size=(3, 13, 50))), torch.from_numpy(rng.random((3, 12, 50)) < 0.6)
    mask[0, 0], mask[1, 2, :20], mask[2, 3, 30:] = True, True, True
    y = maps.erase(x, mask, "bridge")
    for row in range(3):
        for lead in range(12):
            kept = np.flatnonzero(~mask[row, lead].numpy())
            expected = np.interp(np.arange(50), kept, x[row, lead, kept]) if len(kept) else np.zeros(50)
            np.testing.assert_allclose(y[row, lead], expected)
    other = torch.full_like(x, 7.0)
    for fill, value in (("zero", 0.0), (other, 7.0)):
        y = maps.erase(x, mask, fill)
        assert (y[:, :12][mask] == value).all() and (y[:, :12][~mask] == x[:, :12][~mask]).all()
        assert (y[:, 12] == x[:, 12]).all()
    with pytest.raises(ValueError, match="'zero', 'bridge'"):
        maps.erase(x, mask, "cubic")


def test_integrated_gradients_and_deeplift_are_complete(maximum):
    x, classes = torch.randn(3, 12, 80), torch.tensor([0, 2, 8])
    with torch.no_grad():
        change = (maximum(x) - maximum(torch.zeros_like(x))).gather(1, classes[:, None])[:, 0]
    ig = methods.captum_map("integrated gradients", maximum, x, classes, steps=300)
    torch.testing.assert_close(ig.sum(dim=(1, 2)), change, atol=0.03, rtol=0.03)
    smooth = Curved().eval()
    with torch.no_grad():
        change = (smooth(x) - smooth(torch.zeros_like(x))).gather(1, classes[:, None])[:, 0]
    for method, steps in (("integrated gradients", 64), ("GradientSHAP", 3000)):
        m = methods.captum_map(method, smooth, x, classes, steps=steps)
        torch.testing.assert_close(m.sum(dim=(1, 2)), change, atol=0.01 if steps < 100 else 0.08, rtol=0.05)
    rectified = Rectified().eval()
    with torch.no_grad():
        change = (rectified(x) - rectified(torch.zeros_like(x))).gather(1, classes[:, None])[:, 0]
    deep = methods.captum_map("DeepLIFT", rectified, x, classes)
    torch.testing.assert_close(deep.sum(dim=(1, 2)), change, atol=1e-4, rtol=1e-3)


class Rectified(torch.nn.Module):
    """Its pooling is a subclass of torch's, which captum would take for a linear layer."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(Conv1d(12, 8, 5, padding="same"), torch.nn.ReLU(), MaxPool1d(4))
        self.head = torch.nn.Linear(8, 9)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=-1))


def test_input_times_gradient_of_a_linear_network_is_its_weights():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 * 20, 9))
    x, classes = torch.randn(2, 12, 20), torch.tensor([3, 5])
    weights = network[1].weight.detach()[classes].reshape(2, 12, 20)
    torch.testing.assert_close(methods.captum_map("input × gradient", network, x, classes), weights * x)
    torch.testing.assert_close(methods.captum_map("saliency", network, x, classes), weights.abs())
    with pytest.raises(ValueError, match="no method"):
        methods.captum_map("LIME", network, x, classes)


def test_guided_gradcam_is_guided_gradient_times_gradcam():
    from captum.attr import GuidedBackprop

    network = Rectified().eval()
    x, classes = torch.randn(2, 12, 80), torch.tensor([3, 5])
    ours = methods.captum_map("guided Grad-CAM", network, x, classes, layer="body")
    coarse = maps.grad_cam(network, "body", x, classes).clamp(min=0)
    with pytest.warns(UserWarning):
        guided = GuidedBackprop(network).attribute(x, target=classes)
    torch.testing.assert_close(ours, guided * coarse.repeat_interleave(4, dim=-1)[:, None], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("method", ["DeepLIFT", "guided Grad-CAM"])
def test_rules_for_rectifiers_refuse_a_network_that_hides_them(method):
    class Hidden(Rectified):
        def forward(self, x):
            return super().forward(torch.nn.functional.relu(x))

    with pytest.raises(ValueError, match="rectifies outside"):
        methods.captum_map(method, Hidden(), torch.randn(1, 12, 80), torch.tensor([0]), layer="body")


def test_padding_gets_no_relevance_and_validity_is_not_explained():
    torch.manual_seed(0)
    x = torch.randn(2, 13, 100)
    x[:, 12], x[0, :, 70:] = 1, 0
    assert maps.validity(x).sum(axis=1).tolist() == [70, 100]
    network, classes = Masked(), torch.tensor([1, 1])
    m = methods.captum_map("integrated gradients", network, x, classes)
    assert m.shape == (2, 12, 100)
    with torch.no_grad():
        flat = torch.cat([torch.zeros(2, 12, 100), x[:, 12:]], dim=1)
        change = (network(x) - network(flat))[:, 1]
    torch.testing.assert_close(m.sum(dim=(1, 2)), change, atol=1e-3, rtol=1e-3)
    assert [r.shape for r in maps.on_record(m, 1, x)] == [(12, 70), (12, 100)]
    # Without a validity row the zeros at either end are padding, those within the record are not.
    y = torch.zeros(1, 12, 30)
    y[:, 3, 8], y[:, 0, 20] = 1, -1
    assert np.flatnonzero(maps.validity(y)[0]).tolist() == list(range(8, 21))


def test_a_map_on_the_record_stands_where_its_cells_stand():
    x = torch.ones(1, 12, 50)  # 6 cells of 8 samples, two samples beyond the last
    cells = torch.arange(6.0)[None]
    (m,) = maps.on_record(cells, 8, x)
    np.testing.assert_allclose(m[:48], np.interp(np.arange(48), np.arange(6) * 8 + 3.5, np.arange(6)), atol=1e-6)
    assert (m[48:] == m[47]).all() and m.shape == (50,)


def test_scale_measures_stride_and_receptive_field():
    class Stack(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(Conv1d(12, 4, 9, padding="same"), MaxPool1d(4), Conv1d(4, 4, 3, dilation=2))
            self.head = torch.nn.Linear(4, 9)

        def forward(self, x):
            return self.head(self.body(x).mean(dim=-1))

    torch.manual_seed(0)
    s = maps.scale(Stack(), "body.1", torch.randn(64, 12, 400))
    assert (s.stride, s.field) == (4, 9 + 3)
    s = maps.scale(Stack(), "body", torch.randn(64, 12, 400))
    assert s.field == 9 + 3 + 4 * 4 and 6 < s.effective < s.field


def test_a_planted_wave_is_found_by_every_map():
    # A detector whose template is the wave: what it answers is the wave's moment, whoever explains it.
    wave = torch.sin(torch.linspace(0, np.pi, 21))
    network = Curved().eval()
    with torch.no_grad():
        network.body[0] = torch.nn.Conv1d(12, 4, 21, padding="same", bias=False)
        network.body[0].weight.zero_()
        network.body[0].weight[0, 1] = wave
        network.head.weight.zero_()
        network.head.weight[:, 0] = 1
    x = 0.01 * torch.randn(2, 12, 400)
    places = (110, 290)  # in the middle of a window of the occlusion
    for row, place in enumerate(places):
        x[row, 1, place - 10 : place + 11] += wave
    classes = torch.tensor([0, 0])
    found = {m: getattr(maps, m)(network, "body", x, classes) for m in ("grad_cam", "grad_cam_plus_plus", "hires_cam")}
    for method in ("saliency", "input × gradient", "integrated gradients", "GradientSHAP"):
        lead = methods.captum_map(method, network, x, classes)
        assert lead.sum(dim=-1).argmax(dim=-1).tolist() == [1, 1], method
        found[method] = lead.sum(dim=1)
    found["occlusion"] = maps.occlusion(network, x, classes, 20).repeat_interleave(20, dim=-1)
    for name, m in found.items():
        assert all(abs(int(m[row].argmax()) - place) <= 25 for row, place in enumerate(places)), name
