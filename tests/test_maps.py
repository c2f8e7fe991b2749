import copy
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecgstudy import maps
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import methods
from ecgstudy.layers import Conv1d, MaxPool1d
from ecgstudy.reading.shipped import ENTRIES, shipped
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.cnn_gap import CNNGAP
from ecgstudy.systems.ecgmaster import ECGMaster
from ecgstudy.systems.local_evidence import LocalEvidence


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
    with torch.no_grad():
        m = maps.grad_cam(network, "lstm", x, torch.tensor([3, 1]), steps_first=True)
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
    y = maps.erase(x, mask, "zero")
    assert (y[:, :12][mask] == 0).all() and (y[:, :12][~mask] == x[:, :12][~mask]).all()
    assert (y[:, 12] == x[:, 12]).all()
    with pytest.raises(ValueError, match="'zero' or 'bridge'"):
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
    lifted = methods.captum_map("DeepLIFT", rectified, x, classes)
    torch.testing.assert_close(lifted.sum(dim=(1, 2)), change, atol=1e-4, rtol=1e-3)


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


def change_of(network, x, classes):
    """f(x) − f(0) of each row's class, validity kept."""
    with torch.no_grad():
        flat = torch.cat([torch.zeros_like(x[:, :12]), x[:, 12:]], dim=1)
        return (network(x) - network(flat)).double().gather(1, classes[:, None])[:, 0]


@pytest.mark.parametrize("name", ENTRIES)
def test_maps_of_the_networks_that_ship_are_complete_where_they_promise_it(name):
    run, *_ = shipped(name).runs
    network, system = run.network(), run.system
    signal = synthetic.simulate(3, 1000, fs=system.fs, balance=1).record.signal
    x, classes = torch.from_numpy(system.windows(signal)[0])[None], torch.tensor([1])
    change = change_of(network, x, classes)
    m = methods.captum_map("integrated gradients", network, x, classes)
    assert ((m.double().sum(dim=(1, 2)) - change).abs() <= 0.01 * change.abs()).all()
    torch.testing.assert_close(
        methods.completeness(network, x, classes, m), (change - m.double().sum(dim=(1, 2))) / change.abs()
    )
    if "DeepLIFT" in methods.methods(type(system)):
        m = methods.captum_map("DeepLIFT", network, x, classes)
        assert ((m.double().sum(dim=(1, 2)) - change).abs() <= 1e-4 * change.abs()).all()
    else:
        with pytest.raises(ValueError, match="rule"):
            methods.captum_map("DeepLIFT", network, x, classes)


class Stacked(nn.Module):
    """ReLU and pooling in a row, twice: captum 0.9 alone gives the first the wrong gradient."""

    def __init__(self, last=None):
        super().__init__()
        layers = [nn.Conv1d(12, 6, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(6, 6, 5, padding=2)]
        self.body = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.MaxPool1d(3, ceil_mode=True))
        self.head, self.last = nn.Linear(6, 9), last or (lambda f: f.mean(dim=-1))

    def forward(self, x):
        return self.head(self.last(self.body(x)))


def deeplift(network, x, c):
    """Multipliers of the rescale rule by hand, layer by layer from the head, for ``Stacked``, times x."""
    layers, states = list(network.body), [(x, torch.zeros_like(x))]
    for layer in layers:
        states.append(tuple(layer(s.clone()) for s in states[-1]))
    cells = states[-1][0].shape[-1]
    m = (network.head.weight[c] / cells)[:, None].expand(-1, cells)
    for layer, (a, b), (after, flat) in zip(layers[::-1], states[-2::-1], states[:0:-1], strict=True):
        if isinstance(layer, nn.Conv1d):
            m = F.conv_transpose1d(m[None], layer.weight, padding=2)[0]
        elif isinstance(layer, nn.ReLU):
            m = m * torch.where(a != b, (after - flat) / torch.where(a != b, a - b, 1), (a > 0).to(a))
        else:  # each maximum's change goes to the two places that had it, over what changed there
            new, width = torch.zeros_like(a), layer.kernel_size
            for k in range(a.shape[0]):
                for t in range(after.shape[-1]):
                    i, j = (t * width + int(s[k, t * width : (t + 1) * width].argmax()) for s in (a, b))
                    top = torch.maximum(after[k, t], flat[k, t])
                    for place, part in ((i, top - flat[k, t]), (j, after[k, t] - top)):
                        if a[k, place] != b[k, place]:
                            new[k, place] += m[k, t] * part / (a - b)[k, place]
            m = new
    return m * x


def test_deeplift_of_relu_and_pooling_in_a_row_is_the_rule_by_hand():
    torch.manual_seed(4)
    network, x, classes = Stacked().double().eval(), torch.randn(3, 12, 40).double(), torch.tensor([2, 2, 7])
    m = methods.captum_map("DeepLIFT", network, x, classes)
    torch.testing.assert_close(m.sum(dim=(1, 2)), change_of(network, x, classes), atol=1e-9, rtol=1e-7)
    with torch.no_grad():
        by_hand = torch.stack([deeplift(network, row, c) for row, c in zip(x, classes, strict=True)])
    torch.testing.assert_close(m, by_hand, atol=1e-9, rtol=1e-7)
    assert network.body[4].inplace  # it is the copy that is changed


LSTM = nn.LSTM(7, 1, batch_first=True)
BENT = {
    "functional softmax": lambda f: (f.softmax(dim=-1) * f).sum(dim=-1),
    "attention by products": lambda f: torch.bmm(f @ f.transpose(1, 2), f).mean(dim=-1),
    "einsum": lambda f: torch.einsum("bkt,bkt->bk", f, f),
    "sigmoid": lambda f: f.mean(dim=-1).sigmoid(),
    "tanh": lambda f: f.mean(dim=-1).tanh(),
    "GELU": lambda f: F.gelu(f - 1).mean(dim=-1),
    "SiLU": lambda f: F.silu(f - 1).mean(dim=-1),
    "maximum": lambda f: f.amax(dim=-1),
    "absolute": lambda f: (f - 0.3).abs().mean(dim=-1),
    "norm": lambda f: F.normalize(f, dim=1).mean(dim=-1),
    "clamp": lambda f: f.clamp(max=0.1).mean(dim=-1),
    "deviation": lambda f: f.std(dim=-1),
    "softmax module": nn.Sequential(nn.Flatten(), nn.Linear(42, 6), nn.Softmax(dim=-1)),
    "LSTM": lambda f: LSTM(f)[0][..., 0],
}


@pytest.mark.parametrize("last", BENT)
def test_deeplift_refuses_what_is_not_linear_outside_modules_with_rules(last):
    x, classes = torch.randn(2, 12, 40), torch.tensor([2, 7])
    network = Stacked(BENT[last]).eval()
    with pytest.raises(ValueError, match=r"not linear|not complete"):
        methods.captum_map("DeepLIFT", network, x, classes)
    m = methods.captum_map("integrated gradients", network, x, classes)
    assert (methods.completeness(network, x, classes, m).abs() <= 0.01).all()


def test_deeplift_takes_what_is_linear_whoever_computes_it_and_refuses_a_module_called_twice():
    x, classes = torch.randn(2, 12, 40), torch.tensor([2, 7])
    weights = torch.rand(7)
    for last in (lambda f: F.avg_pool1d(f, 7)[..., 0] * 2 - 1, lambda f: (f * weights.softmax(0)).sum(-1)):
        network = Stacked(last).eval()
        m = methods.captum_map("DeepLIFT", network, x, classes)
        torch.testing.assert_close(m.sum(dim=(1, 2)).double(), change_of(network, x, classes), atol=1e-4, rtol=1e-3)

    class Again(Stacked):
        def forward(self, x):
            return self.head(self.body[1](self.body(x) - 0.1).mean(dim=-1))

    network = Again()
    with pytest.raises(ValueError, match="calls one ReLU twice"):
        methods.captum_map("DeepLIFT", network, x, classes)


def test_integrated_gradients_are_captums_of_many_steps(network):
    from captum.attr import IntegratedGradients

    x, classes = 2 * torch.randn(1, 12, 200), torch.tensor([6])
    ours = methods.captum_map("integrated gradients", network, x, classes)
    theirs = IntegratedGradients(network).attribute(x, target=classes, n_steps=300, internal_batch_size=200)
    for a, b in zip(ours.flatten(1), theirs.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([a, b]).float())[0, 1] > 0.995
    assert (methods.completeness(network, x, classes, ours).abs() <= 0.01).all()


def test_what_cannot_be_complete_says_so():
    class Rounded(Rectified):  # its gradient is not that of what it computes
        def forward(self, x):
            y = super().forward(x)
            return y + (y.round() - y).detach()

    x, classes = 5 * torch.randn(2, 12, 80), torch.tensor([3, 5])
    with pytest.warns(methods.IncompleteMap, match=r"integrated gradients of Rounded is not complete: in \d of 2 rows"):
        methods.captum_map("integrated gradients", Rounded().eval(), x, classes, steps=500)
    with pytest.raises(ValueError, match=r"not linear|not complete"):
        methods.captum_map("DeepLIFT", Rounded().eval(), x, classes)


class GuidedReLU(nn.Module):
    """The rule written out: a gradient passes where input and gradient are positive."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g.clamp(min=0) * (x > 0)

    def forward(self, x):
        return self.Rule.apply(x)


@pytest.mark.parametrize("name", ["ECGMaster", "Local evidence"])
def test_guided_gradcam_of_attention_networks_is_its_rule_written_out_and_stands_at_multiples_of_the_stride(name):
    torch.manual_seed(5)
    if name == "ECGMaster":
        network, x = ECGMaster(width=0.25, kernel=0.25, depth=1), torch.randn(2, 13, 235)
        x[:, 12] = 1
    else:
        network, x = LocalEvidence(channels=16, rhythm=8), torch.randn(2, 19, 235)
        x[:, 18] = 1
    with torch.no_grad():
        for _ in range(3):
            network.train()(x)
    network.eval()
    classes, layer = torch.tensor([4, 1]), by_name(name).feature_layer
    ours = methods.captum_map("guided Grad-CAM", network, x, classes, layer=layer)
    ruled = copy.deepcopy(network)
    for module in list(ruled.modules()):
        for child, inner in module.named_children():
            if isinstance(inner, nn.ReLU):
                setattr(module, child, GuidedReLU())
    y = x.clone().requires_grad_()
    guided = torch.autograd.grad(ruled(y).gather(1, classes[:, None]).sum(), y)[0][:, :12]
    cells = maps.grad_cam(network, layer, x, classes).clamp(min=0)
    assert x.shape[-1] % network.stride and cells.shape[-1] in (29, 59)
    expected = torch.zeros_like(guided)
    for t in range(x.shape[-1]):
        expected[..., t] = guided[..., t] * cells[:, min(t // network.stride, cells.shape[-1] - 1), None]
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours, expected, atol=1e-7, rtol=1e-4)


def test_guided_gradcam_of_a_minute_ends_where_its_cells_end():
    """ECGMaster at 250 Hz: 29 cells of 512 samples, not of 15000 / 29."""
    cells = torch.arange(29.0)[None]
    placed = methods._placed(ECGMaster(), cells, None, 15000)[0, 0]
    assert [int((placed == i).nonzero()[0]) for i in range(29)] == [512 * i for i in range(29)]
    assert (placed[28 * 512 :] == 28).all()
    with pytest.raises(ValueError, match="name the layer's stride"):
        methods._placed(nn.Identity(), cells, None, 15000)
    with pytest.raises(ValueError, match="beyond 15000 samples"):
        methods._placed(nn.Identity(), cells, 600, 15000)


def test_a_rectifier_hidden_in_a_clamp_is_seen_and_a_harmless_clamp_is_not():
    x, classes = torch.randn(1, 12, 80), torch.tensor([0])
    for hidden in (lambda y: y.clamp(min=0), lambda y: torch.clamp_min(y, 0), F.relu6, lambda y: y.relu_()):
        with pytest.raises(ValueError, match="rectifies outside"):
            methods.captum_map(
                "guided Grad-CAM", Stacked(lambda f, r=hidden: r(f - 0.1).mean(-1)), x, classes, layer="body"
            )
    fine = Stacked(lambda f: f.clamp(min=-9).mean(-1))
    assert methods.captum_map("guided Grad-CAM", fine, x, classes, layer="body", stride=6).shape == (1, 12, 80)


def test_gradient_shap_is_the_same_twice_and_in_any_batch_and_draws_from_no_global_generator():
    import random

    network, x, classes = Curved().eval(), torch.randn(5, 12, 40), torch.tensor([0, 3, 3, 1, 8])
    random.seed(7), np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state().clone()  # noqa: NPY002
    m = methods.captum_map("GradientSHAP", network, x, classes, seed=1)
    for method in methods.CAPTUMS[:-2]:
        methods.captum_map(method, network, x, classes)
    assert random.getstate() == before[0] and (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(m, methods.captum_map("GradientSHAP", network, x, classes, seed=1))
    assert not torch.allclose(m, methods.captum_map("GradientSHAP", network, x, classes, seed=2))
    alone = [methods.captum_map("GradientSHAP", network, x[i : i + 1], classes[i : i + 1], seed=1) for i in range(5)]
    torch.testing.assert_close(torch.cat(alone), m)
    drawn = torch.rand(32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    naive = torch.zeros_like(x[0])
    for share in drawn:
        y = (share.float() * x[2:3]).requires_grad_()
        naive += torch.autograd.grad(network(y)[0, 3], y)[0][0] * x[2] / 32
    torch.testing.assert_close(m[2], naive)


class InPlace(nn.Module):
    """What follows its layer works in place, on the layer's own output."""

    def __init__(self, after):
        super().__init__()
        self.layer, self.after, self.head = nn.Conv1d(12, 3, 3, padding=1), after, nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.after(self.layer(x)).square().mean(dim=-1))


def added(y):
    y += 1
    return y


def test_a_layer_with_operations_in_place_after_it_is_seen_as_it_was():
    from captum.attr import LayerGradCam

    torch.manual_seed(6)
    x, classes = torch.randn(2, 12, 20), torch.tensor([1, 3])
    apart = {nn.ReLU(inplace=True): nn.ReLU(), added: lambda y: y + 1, lambda y: y.mul_(2): lambda y: y * 2}
    for after, outside in apart.items():
        network, plain = InPlace(after).eval(), InPlace(outside).eval()
        plain.load_state_dict(network.state_dict())
        m = maps.grad_cam(network, "layer", x, classes)
        torch.testing.assert_close(m, maps.grad_cam(plain, "layer", x, classes))
        theirs = LayerGradCam(network, network.layer).attribute(x, target=classes)[:, 0].detach()
        torch.testing.assert_close(m, theirs)
        for method in (maps.hires_cam, maps.grad_cam_plus_plus):
            torch.testing.assert_close(method(network, "layer", x, classes), method(plain, "layer", x, classes))
        a, b = (methods.captum_map("guided Grad-CAM", n, x, classes, layer="layer") for n in (network, plain))
        torch.testing.assert_close(a, b)


BY_GRADIENT = {
    **{
        m: lambda n, x, c, m=m: getattr(maps, m)(n, "body", x, c)
        for m in ("grad_cam", "grad_cam_plus_plus", "hires_cam")
    },
    "scale": lambda n, x, c: torch.tensor(maps.scale(n, "body", x)),
    **{m: lambda n, x, c, m=m: methods.captum_map(m, n, x, c, layer="body") for m in methods.CAPTUMS},
}


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_gradients_are_taken_under_no_grad_and_refused_under_inference_mode(method):
    torch.manual_seed(0)
    network, x, classes = Rectified().eval(), torch.randn(2, 12, 40), torch.tensor([3, 5])
    expected = BY_GRADIENT[method](network, x, classes)
    with torch.no_grad():
        torch.testing.assert_close(BY_GRADIENT[method](network, x, classes), expected)
    with torch.inference_mode():
        seen, made = x * 1, Rectified().eval()
        with pytest.raises(RuntimeError, match=r"leave it, or use torch.no_grad\(\)"):
            BY_GRADIENT[method](network, x, classes)
    torch.testing.assert_close(BY_GRADIENT[method](network, seen, classes), expected)  # an input from there is fine
    with pytest.raises(RuntimeError, match="make it outside"):
        BY_GRADIENT[method](made, x, classes)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_network_in_training_mode_frozen_or_with_several_outputs_gives_the_same_map(method):
    class Several(Rectified):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(8)
            self.norm.running_mean += 0.3

        def forward(self, x):
            f = self.body(x)
            logits = self.head(F.dropout(self.norm(f), 0.5, self.training).mean(dim=-1))
            return (logits, f) if self.training else logits

    torch.manual_seed(0)
    network, x, classes = Several().eval(), torch.randn(2, 12, 40), torch.tensor([3, 5])
    expected, state = BY_GRADIENT[method](network, x, classes), copy.deepcopy(network.state_dict())
    network.train()
    network.body[0].eval()  # as in a frozen part
    for p in network.parameters():
        p.requires_grad_(False)
    torch.testing.assert_close(BY_GRADIENT[method](network, x, classes), expected)
    assert network.training and network.norm.training and not network.body[0].training
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_the_first_of_several_outputs_is_the_logits(method):
    class Always(Rectified):
        def forward(self, x):
            return super().forward(x), x

    torch.manual_seed(0)
    network, always, x, classes = Rectified(), Always(), torch.randn(2, 12, 40), torch.tensor([3, 5])
    always.load_state_dict(network.state_dict())
    torch.testing.assert_close(BY_GRADIENT[method](always, x, classes), BY_GRADIENT[method](network, x, classes))


def test_maps_by_algebra_and_occlusion_are_those_of_evaluation_mode(maximum):
    x, classes = torch.randn(2, 12, 80), torch.tensor([3, 5])
    network = nn.Sequential(nn.Conv1d(12, 6, 3, padding=1), nn.BatchNorm1d(6), nn.Dropout(0.5))
    network.features, network.head = lambda x: network[:3](x), maximum.head
    for f in (maps.cam, maps.max_cam):
        expected = f(network.eval(), x)
        torch.testing.assert_close(f(network.train(), x), expected)
        assert network.training and network[1].num_batches_tracked == 0
    dropping = Stacked(lambda f: F.dropout(f, 0.5, dropping.training).mean(dim=-1)).eval()
    expected = maps.occlusion(dropping, x, classes, 16)
    torch.testing.assert_close(maps.occlusion(dropping.train(), x, classes, 16), expected)


def test_a_layer_called_twice_counts_at_its_last_call_and_one_that_gives_several_things_at_the_first():
    from captum.attr import LayerGradCam

    class Twice(Curved):
        def __init__(self):
            super().__init__()
            self.again = nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, x):
            return self.rest(self.again(self.again(self.body(x)).tanh()))

    x, classes = torch.randn(2, 12, 24), torch.tensor([1, 2])
    network = Twice().eval()
    theirs = LayerGradCam(network, network.again).attribute(x, target=classes)[:, 0].detach()
    torch.testing.assert_close(maps.grad_cam(network, "again", x, classes), theirs)

    Both = namedtuple("Both", "first second")

    class Pair(nn.Module):
        kind: Any = tuple

        def forward(self, x):
            return self.kind([x.tanh(), x])

    class Named(Pair):
        kind = Both._make

    class Listed(Pair):
        kind = list

    for pair in (Pair(), Named(), Listed()):
        network = Curved().eval()
        network.body[1] = nn.Identity()
        network.pair = pair
        network.forward = lambda x, n=network: n.rest(n.pair(n.body(x))[0])
        expected = maps.grad_cam(network, "body", x, classes)  # before the pair
        network.body[1] = nn.Tanh()
        plain = maps.grad_cam(Curved_like(network), "body", x, classes)
        network.body[1] = nn.Identity()
        torch.testing.assert_close(maps.grad_cam(network, "pair", x, classes), plain)
        assert not torch.allclose(expected, plain)


def Curved_like(network):
    other = Curved().eval()
    other.body[0], other.head = network.body[0], network.head
    return other


def test_layers_that_cannot_be_explained_are_named():
    class Odd(Curved):
        def __init__(self):
            super().__init__()
            self.unused, self.aside, self.text = nn.Conv1d(12, 4, 3), nn.Conv1d(12, 4, 3), Text()

        def forward(self, x):
            self.aside(x)
            self.text(x)
            return super().forward(x)

    class Text(nn.Module):
        def forward(self, x):
            return "no tensor"

    network, x, classes = Odd().eval(), torch.randn(2, 12, 24), torch.tensor([1, 2])
    for layer, said in (
        ("unused", "never calls its layer 'unused'"),
        ("aside", "no logit depends on what the layer 'aside' gives"),
        ("head", r"the layer 'head' gives \(2, 9\), not \(batch, channels, cells\)"),
        ("text", "must give a tensor, or several, not str"),
    ):
        with pytest.raises(ValueError, match=said):
            maps.grad_cam(network, layer, x, classes)
    assert not any(m._forward_hooks for m in network.modules())
    flat = nn.Sequential(nn.Conv1d(12, 4, 3)).eval()
    with pytest.raises(ValueError, match=r"must give logits \(batch, classes\) for 2 inputs, not \(2, 4, 22\)"):
        maps.grad_cam(flat, "0", x, classes)
    network.forward = lambda x: Curved.forward(network, x).detach()
    for method in methods.CAPTUMS:
        with pytest.raises(ValueError, match="no gradient of Odd reaches its input"):
            methods.captum_map(method, network, x, classes, layer="body")


def test_a_backbone_without_gradients_is_explained_all_the_same():
    network, x, classes = Curved().eval(), torch.randn(2, 12, 24), torch.tensor([1, 2])
    expected = maps.grad_cam(network, "body", x, classes)

    def forward(x):
        with torch.no_grad():
            f = network.body(x)
        return network.rest(f)

    network.forward = forward
    torch.testing.assert_close(maps.grad_cam(network, "body", x, classes), expected)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_map_of_float64(kind):
    torch.manual_seed(0)
    network, x, classes = Curved().eval(), torch.randn(2, 12, 24), torch.tensor([1, 2])
    for method in (maps.grad_cam, maps.hires_cam, maps.grad_cam_plus_plus):
        exact = method(copy.deepcopy(network).double(), "body", x.double(), classes)
        m = method(copy.deepcopy(network).to(kind), "body", x.to(kind), classes)
        assert m.dtype == torch.float32
        assert (m - exact).abs().max() < 0.05 * exact.abs().max()
    m = methods.captum_map("input × gradient", copy.deepcopy(network).to(kind), x.to(kind), classes)
    assert all(r.dtype == np.float32 and r.shape == (12, 24) for r in maps.on_record(m, 1, x))


def test_gradcam_plus_plus_of_small_gradients_is_that_of_float64():
    torch.manual_seed(0)
    network, x, classes = Curved().eval(), torch.randn(1, 12, 24), torch.tensor([1])
    with torch.no_grad():
        network.head.weight *= 1e-30  # the square of such a gradient is zero in float32
    exact = maps.grad_cam_plus_plus(copy.deepcopy(network).double(), "body", x.double(), classes)
    m = maps.grad_cam_plus_plus(network, "body", x, classes)
    assert m.any()
    torch.testing.assert_close(m.double(), exact, rtol=1e-4, atol=1e-36)


def test_a_last_cell_that_ends_with_the_input_has_its_centre_there():
    x, cells = torch.ones(1, 12, 70), torch.tensor([[3.0, -1, 4, 1, 5]])  # the last of 6 samples, not 16
    (m,) = maps.on_record(cells, 16, x)
    np.testing.assert_allclose(m, np.interp(np.arange(70), [7.5, 23.5, 39.5, 55.5, 66.5], cells[0]), atol=1e-6)
    (m,) = maps.on_record(cells[:, :1], 100, x)  # one cell, shorter
    assert (m == 3).all()
    (m,) = maps.on_record(cells[:, :2], 69, x)  # the last of one sample
    np.testing.assert_allclose(m, np.interp(np.arange(70), [34, 69], [3, -1]), atol=1e-6)
    m = maps.at_samples(cells, 13, 70)  # five cells of 13, five samples beyond the last
    np.testing.assert_allclose(m[0], np.interp(np.arange(70), np.arange(5) * 13 + 6, cells[0]), atol=1e-6)


def test_scale_measures_the_stride_at_any_length():
    torch.manual_seed(0)
    network = CNNGAP(width=0.05).eval()
    for samples in (400, 418):  # 418 / 52 is 8.04
        assert maps.scale(network, "blocks", torch.randn(1, 12, samples)).stride == 8
    x = torch.randn(1, 13, 350)
    x[:, 12] = 1
    network = ECGMaster(width=0.25, kernel=0.25, depth=2).eval()
    assert maps.scale(network, "blocks", x).stride == network.stride == 64  # 5 cells: 70

    class Fixed(Rectified):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8 * 21, 9)

        def forward(self, x):
            return self.head(self.body(x).flatten(1))

    assert maps.scale(Fixed().eval(), "body", torch.randn(8, 12, 85)).stride == 4
