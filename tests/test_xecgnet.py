import dataclasses
import math

import numpy as np
import pytest
import torch

from ecgstudy.layers import Conv1d
from ecgstudy.systems import parameter_count, xecgnet
from ecgstudy.systems.xecgnet import XECGNet, XECGNetSystem
from tests.overfit import eight_labels, fit


@pytest.fixture
def system():
    return XECGNetSystem(fs=100, seconds=8, width=0.05, pools=4, rate=3e-3)


@pytest.fixture
def batch():
    """Inputs (6, 12, 800) and targets (6, 9): with one, two and three labels, and with none."""
    torch.manual_seed(0)
    x, y = torch.randn(6, 12, 800), torch.eye(9)[:6]
    y[1, 5] = y[2, 4] = y[2, 7] = 1
    y[3] = 0
    return x, y


def test_size_as_published():
    network = XECGNet().eval()
    running = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    assert parameter_count(network) == 4_115_476
    assert parameter_count(network) + running == 4_125_718  # what Keras prints: it counts the running statistics too
    with torch.inference_mode():
        assert network.backbone(torch.zeros(1, 12, 72_000)).shape == (1, 128, 297)


def test_maps_have_a_cell_a_stride(system, batch):
    network = system.network().eval()
    with torch.inference_mode():
        responses, attention = network.responses(batch[0]), network.attention(batch[0])
    cells = math.ceil(800 / network.stride)
    assert network.stride == 81
    assert responses.shape == (6, 9, cells) and attention.shape == (6, cells)
    attended, _, m, r = network.train()(batch[0])
    torch.testing.assert_close(r.mean(dim=-1), attended)
    assert m.shape == attention.shape and r.shape == responses.shape


def test_evaluation_is_the_mean_of_the_branches_probabilities(system, batch):
    torch.manual_seed(1)
    network = system.network().eval().double()
    x = batch[0].double()
    with torch.inference_mode():
        features = network.backbone(x)
        attention = network.attention(x)
        attended = torch.sigmoid(network.responses(x).mean(dim=-1))
        seen = network.perceive(features * attention[:, None] + features).mean(dim=-1)
        mean = (attended + torch.sigmoid(network.head(seen))) / 2
        torch.testing.assert_close(torch.sigmoid(network(x)), mean.float(), atol=1e-6, rtol=1e-6)


def test_joined_logits_stay_finite_and_exact():
    a = torch.tensor([100.0, -100.0, 100.0, 0.0, 3.0, -40.0, 0.0])
    b = torch.tensor([100.0, -100.0, -100.0, 0.0, -1.0, -60.0, -100.0])
    a.requires_grad_(), b.requires_grad_()
    z = xecgnet.joined(a, b)
    truth = []
    for p, q in zip(a.tolist(), b.tolist(), strict=True):  # odds by exact sums: 1 − σ(p) is σ(−p)
        yes = math.fsum(1 / (1 + math.exp(-v)) for v in (p, q))
        no = math.fsum(1 / (1 + math.exp(v)) for v in (p, q))
        truth.append(math.log(yes / no))
    torch.testing.assert_close(z, torch.tensor(truth), atol=1e-5, rtol=1e-5)
    z.sum().backward()
    assert torch.isfinite(a.grad).all() and torch.isfinite(b.grad).all()


@pytest.mark.parametrize("over", ["labels", "classes"])
def test_objective_is_the_sum_over_both_branches(system, over):
    rng = np.random.default_rng(0)
    attended, perceived = rng.normal(size=(2, 4, 9))
    attention, responses = rng.random((4, 7)), rng.random((4, 9, 7))
    targets = np.eye(9)[:4]
    targets[0, [3, 6]] = 1
    total = 0.0
    for i in range(4):
        labels = np.flatnonzero(targets[i])
        reference = [
            sum(responses[i, c, t] for c in labels) / (len(labels) if over == "labels" else 9) for t in range(7)
        ]
        distance = math.sqrt(sum((reference[t] - attention[i, t]) ** 2 for t in range(7)))
        for logits in (attended, perceived):
            p = 1 / (1 + np.exp(-logits[i]))
            entropy = -np.mean([math.log(p[c] if targets[i, c] else 1 - p[c]) for c in range(9)])
            total += (entropy + 0.3 * distance) / 4
    system = dataclasses.replace(system, gamma=0.3, over=over)
    y = torch.from_numpy(targets)
    outputs = tuple(torch.from_numpy(v) for v in (attended, perceived, attention, responses))
    assert system.objective(outputs, y, system.criterion(y.sum(dim=0), 4)).item() == pytest.approx(total, rel=1e-12)


def gradients(system, batch):
    """Loss and the gradient of each parameter, for one and the same network."""
    torch.manual_seed(0)
    network, (x, y) = system.network(), batch
    loss = system.objective(network(x), y, system.criterion(y.sum(dim=0), len(y)))
    loss.backward()
    return loss.item(), {name: p.grad for name, p in network.named_parameters()}


def test_gradient_reaches_every_parameter(system, batch):
    _, of = gradients(system, batch)
    # A bias before batch normalisation is subtracted again; the authors' backbone has them nevertheless.
    backbone = system.network().backbone
    idle = [f"backbone.{name}.bias" for name, module in backbone.named_children() if isinstance(module, Conv1d)]
    for name, gradient in of.items():
        assert gradient is not None
        if name not in idle:
            assert gradient.abs().sum() > 0, name


def test_the_regulariser_is_in_the_loss(system, batch):
    plain, without = gradients(dataclasses.replace(system, gamma=0), batch)
    fuller, with_it = gradients(dataclasses.replace(system, gamma=10), batch)
    assert fuller > plain + 1  # what the public logs lack: at gamma 10 the loss must be far larger
    for name in ("attend.0.weight", "attend.1.weight", "attend.1.bias", "respond.2.weight", "backbone.0.weight"):
        assert (with_it[name] - without[name]).norm() > 0.1 * without[name].norm()
    untouched = [name for name in without if name.startswith(("perceive", "head"))]
    for name in untouched:  # the perception branch comes after both maps
        torch.testing.assert_close(with_it[name], without[name])


def test_gamma_draws_the_map_to_the_reference(system, batch):
    x, y = batch
    distance = {}
    for gamma in (0, 1):
        network = fit(dataclasses.replace(system, gamma=gamma), x[..., :400], y, 25)
        _, _, attention, responses = network(x[..., :400])
        distance[gamma] = xecgnet.attention_regulariser(attention, responses, y).item()
    assert distance[1] < 0.6 * distance[0]


@pytest.mark.parametrize("gamma", [0, 0.01])
def test_overfits_eight_records(system, gamma):
    torch.manual_seed(0)
    x, y = torch.randn(8, 12, 400), eight_labels()
    network = fit(dataclasses.replace(system, gamma=gamma), x, y, 60)
    for branch in network(x)[:2]:
        assert (branch[y > 0] > 0).all()
    attended, perceived, _, _ = network(x)
    assert ((xecgnet.joined(attended, perceived) >= 0) == (y > 0)).all()


def test_rectified_responses_put_a_floor_under_the_loss(system, batch):
    x, y = torch.randn(20, 12, 400), torch.eye(9)[torch.arange(20) % 9]
    floor = 8 / 9 * math.log(2)  # a negative costs ln 2 at least, as its logit cannot fall below 0
    below = {}
    for relu in (True, False):
        s = dataclasses.replace(system, relu=relu, gamma=0)
        network = fit(s, x, y, 40)
        attended = network(x)[0]
        below[relu] = s.criterion(y.sum(dim=0), 20)(attended, y).item()
        assert (attended >= 0).all() == relu
    assert below[True] >= floor > below[False]


def test_shorter_records_are_padded_in_front_longer_ones_clipped_thrice(system):
    rng = np.random.default_rng(0)
    short = rng.normal(5, 1, size=(12, 300)).astype(np.float32)
    (window,) = system.windows(short)
    assert window.shape == (12, 800) and (window[:, :500] == 0).all()
    np.testing.assert_allclose(window[:, 500:], short - np.median(short, axis=1, keepdims=True), atol=1e-6)
    (window,) = XECGNetSystem().windows(short)
    assert window.shape == (12, 72_000) and (window[:, :-300] == 0).all() and (window[:, -300:] != 0).any()
    long = np.tile(np.arange(1801, dtype=np.float32), (12, 1))
    starts = [w[0, 0] + 900 for w in system.windows(long)]  # the median of the ramp is 900
    assert starts == [0, 500, 1001]


def test_records_are_moved_circularly_and_whole(system):
    x = torch.arange(800.0).expand(200, 12, 800)
    moved = dataclasses.replace(system, roll=0.5).augment(x, torch.Generator().manual_seed(0))
    shift = moved[:, 0, 0]
    assert torch.equal(moved, (shift[:, None, None] + x) % 800)
    reached = {int(s) if s < 400 else int(s) - 800 for s in shift}
    assert min(reached) >= -50 and max(reached) <= 50 and len(reached) > 60
    assert torch.equal(system.augment(x, torch.Generator()), x)


def test_the_epoch_is_chosen_by_micro_f1(system):
    targets = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=bool)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.6], [0.1, 0.2]], dtype=np.float32)
    assert system.selection(targets, probabilities) == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))


def test_agreement_of_attention_map_and_reference(system, batch):
    x, y = batch
    network = system.network().eval()
    network.respond[2].weight.data[7] = -1  # after the ReLUs before it no response of this class is above 0
    found = xecgnet.agreement(network, x, y.numpy() > 0)
    with torch.inference_mode():
        responses, attention = network.responses(x).double().numpy(), network.attention(x).double().numpy()
    for row, labels in enumerate(y.numpy() > 0):
        reference = responses[row][labels].mean(axis=0) if labels.any() else np.zeros(attention.shape[1])
        assert found.distance[row] == pytest.approx(np.sqrt(((reference - attention[row]) ** 2).sum()), rel=1e-4)
        level = np.ptp(reference) == 0 or np.ptp(attention[row]) == 0
        expected = 0 if level else np.corrcoef(reference, attention[row])[0, 1]
        assert found.correlation[row] == pytest.approx(expected, abs=1e-4)
    assert found.correlation[3] == 0  # a record without a label has no reference
    assert found.silent == sum(not responses[:, c].any() for c in range(9)) >= 1
