import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score, log_loss

from ecgstudy import losses
from ecgstudy.losses import (
    LOSSES,
    attention_regulariser,
    constant_losses,
    cross_entropy,
    focal,
    soft_challenge_metric,
    soft_macro_f,
    weighted_cross_entropy,
    weighted_focal,
)
from ecgstudy.metrics import CHALLENGE_CODES, challenge_metric, challenge_rewards

POSITIVES, RECORDS = [400, 200, 100, 60, 300, 90, 80, 70, 20], 1000
REWARDS = challenge_rewards(CHALLENGE_CODES)
BY_NAME = [pytest.param(factory(POSITIVES, RECORDS), id=name) for name, factory in LOSSES.items()]


@pytest.fixture
def batch():
    """Logits and targets (7, 9) in float64; class 8 is absent, record 6 has no label."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(7, 9, generator=generator, dtype=torch.float64)
    targets = (torch.rand(7, 9, generator=generator) < 0.3).double()
    targets[torch.arange(6), torch.arange(6)] = 1
    targets[:, 8] = 0
    targets[6] = 0
    return logits, targets


def per_element(logits, targets, term):
    """Mean of term(p, class) for positives and term(1 − p) for negatives, element by element."""
    total = 0.0
    for row, answer in zip(logits.tolist(), targets.tolist(), strict=True):
        for c, (z, t) in enumerate(zip(row, answer, strict=True)):
            p = 1 / (1 + math.exp(-z))
            total += term(p if t else 1 - p, c, bool(t))
    return total / logits.numel()


@pytest.mark.parametrize(
    ("loss", "term"),
    [
        (cross_entropy, lambda p, c, positive: -math.log(p)),
        (focal, lambda p, c, positive: -((1 - p) ** 2) * math.log(p)),
        (
            partial(focal, r=0.5),
            lambda p, c, positive: -((1 - p) ** 0.5) * math.log(p),
        ),
        (
            partial(weighted_cross_entropy, positives=POSITIVES, records=RECORDS),
            lambda p, c, positive: -1000 / (POSITIVES[c] if positive else 1000 - POSITIVES[c]) * math.log(p),
        ),
        (
            partial(weighted_focal, positives=torch.tensor(POSITIVES), records=RECORDS, b=0.3, r=3),
            lambda p, c, positive: (
                -((1000 / (POSITIVES[c] if positive else 1000 - POSITIVES[c])) ** 0.3) * (1 - p) ** 3 * math.log(p)
            ),
        ),
    ],
)
def test_equals_its_formula_written_element_by_element(batch, loss, term):
    assert loss(*batch).item() == pytest.approx(per_element(*batch, term=term), rel=1e-12)


def test_hand_computed():
    logits, targets = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 0.0]])  # p = 1/2, 3/4
    assert cross_entropy(logits, targets).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert focal(logits, targets).item() == pytest.approx((math.log(2) / 4 + 9 / 16 * math.log(4)) / 2)
    # N/N_c = 10, N/(N − N_c) = 10/6
    assert weighted_cross_entropy(logits, targets, positives=[1, 4], records=10).item() == pytest.approx(
        (10 * math.log(2) + 10 / 6 * math.log(4)) / 2
    )
    # F2 = 5·½ / (4 + ½) and 0
    assert soft_macro_f(logits, targets).item() == pytest.approx(1 - (2.5 / 4.5) / 2)
    assert soft_macro_f(logits, targets, beta=1).item() == pytest.approx(1 - (1 / 1.5) / 2)
    # earns 1·½ + 0.3·¾ of a union of 1 + ¾
    assert soft_challenge_metric(logits, targets, [[1, 0.3], [0.3, 1]]).item() == pytest.approx(
        -(0.5 + 0.3 * 0.75) / 1.75
    )


def test_cross_entropy_is_scikit_learns_log_loss(batch):
    logits, targets = batch
    ours = cross_entropy(logits, targets).item()
    assert ours == pytest.approx(log_loss(targets.ravel(), logits.sigmoid().ravel()), rel=1e-12)


def test_identities(batch):
    half, usual = (*batch, [500] * 9, RECORDS), (*batch, POSITIVES, RECORDS)
    torch.testing.assert_close(focal(*batch, r=0), cross_entropy(*batch))
    torch.testing.assert_close(weighted_focal(*usual, b=0), focal(*batch))
    torch.testing.assert_close(weighted_focal(*usual, b=1, r=0), weighted_cross_entropy(*usual))
    torch.testing.assert_close(weighted_cross_entropy(*half), 2 * cross_entropy(*batch))
    torch.testing.assert_close(weighted_focal(*half, b=0.5), math.sqrt(2) * focal(*batch))


def test_full_balance_gives_positives_and_negatives_equal_weight():
    targets = torch.zeros(RECORDS, 9, dtype=torch.float64)
    for c, number in enumerate(POSITIVES):
        targets[:number, c] = 1
    logits = torch.zeros_like(targets, requires_grad=True)
    weighted_cross_entropy(logits, targets, POSITIVES, RECORDS).backward()
    torch.testing.assert_close(logits.grad.sum(dim=0), torch.zeros(9, dtype=torch.float64), atol=1e-12, rtol=0)


def test_butteam_clamps_only_where_it_is_far_off(batch):
    logits, targets = batch
    p = logits.sigmoid().clamp(1e-6, 1 - 1e-6)
    w = torch.tensor(POSITIVES, dtype=torch.float64)
    clamped = -(targets * p.log() * RECORDS / w + (1 - targets) * (1 - p).log() * RECORDS / (RECORDS - w)).mean()
    torch.testing.assert_close(weighted_cross_entropy(logits, targets, POSITIVES, RECORDS), clamped)


@pytest.mark.parametrize("beta", [1, 2])
def test_soft_macro_f_class_by_class(batch, beta):
    logits, targets = (x.numpy() for x in batch)
    values = []
    for z, t in zip(logits.T, targets.T, strict=True):
        p = 1 / (1 + np.exp(-z))
        tp, fp, fn = sum(p * t), sum(p * (1 - t)), sum((1 - p) * t)
        values.append((1 + beta**2) * tp / ((1 + beta**2) * tp + fp + beta**2 * fn))
    assert values[8] == 0  # absent from the batch
    assert soft_macro_f(*batch, beta=beta).item() == pytest.approx(1 - np.mean(values), rel=1e-12)


@pytest.mark.parametrize("beta", [1, 2])
def test_soft_macro_f_of_sure_answers_is_the_f_measure(batch, beta):
    logits, targets = batch
    hard = fbeta_score(targets.numpy(), (logits > 0).numpy(), beta=beta, average="macro", zero_division=0)
    assert soft_macro_f(1000 * logits, targets, beta=beta).item() == pytest.approx(1 - hard, rel=1e-6)


def test_soft_macro_f2_gradient_is_the_stated_one(batch):
    logits, targets = batch
    logits.requires_grad_()
    soft_macro_f(logits, targets).backward()
    p = logits.detach().sigmoid()
    size = 4 * targets.sum(dim=0) + p.sum(dim=0)
    f2 = 5 * (p * targets).sum(dim=0) / size
    stated = (5 * targets - f2) / size
    torch.testing.assert_close(logits.grad, -stated / 9 * p * (1 - p))
    assert logits.grad[:, 8].abs().max() == 0


def test_challenge_loss_normaliser_as_both_teams_write_it(batch):
    logits, targets = batch
    p, t = logits.sigmoid().numpy(), targets.numpy()
    for normaliser in (lambda p, t: sum((1 - t) * p + t), lambda p, t: sum(t + p - t * p)):  # CNN-GAP, BUTTeam
        earned = [np.sum(np.outer(t[i], p[i]) / normaliser(p[i], t[i]) * REWARDS) for i in range(7)]
        assert soft_challenge_metric(logits, targets, REWARDS).item() == pytest.approx(-np.mean(earned), rel=1e-12)


def test_challenge_loss_of_sure_answers_orders_systems_as_the_metric(batch):
    logits, targets = batch

    def unscaled(answers):
        return -soft_challenge_metric(1000 * (2 * answers - 1), targets, torch.tensor(REWARDS)).item()

    always_normal = torch.zeros_like(targets)
    always_normal[:, 0] = 1
    answers = (logits > 0).double()
    scaled = (unscaled(answers) - unscaled(always_normal)) / (unscaled(targets) - unscaled(always_normal))
    assert scaled == pytest.approx(challenge_metric(targets, answers, REWARDS, normal=0), rel=1e-9)


def test_challenge_loss_ignores_records_without_labels(batch):
    logits, targets = batch
    logits.requires_grad_()
    soft_challenge_metric(logits, targets, REWARDS).backward()
    assert logits.grad[6].abs().max() == 0
    assert (logits.grad[:6].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("loss", BY_NAME)
def test_gradient_equals_finite_differences(loss, batch):
    logits, targets = batch
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), logits.requires_grad_())


@pytest.mark.parametrize("loss", [*BY_NAME, pytest.param(partial(focal, r=0.5), id="focal r<1")])
@pytest.mark.parametrize("targets", ["mixed", "none", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_however_sure(loss, targets, dtype, batch):
    targets = {"mixed": batch[1], "none": torch.zeros(7, 9), "all": torch.ones(7, 9)}[targets]
    for logits in (torch.full((7, 9), 100.0), torch.full((7, 9), -100.0), 100 * batch[0].sign(), torch.zeros(7, 9)):
        logits = logits.to(dtype).requires_grad_()
        value = loss(logits, targets)
        value.backward()
        assert value.ndim == 0 and value.dtype == torch.float32
        assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", BY_NAME)
def test_autocast_does_not_round(loss, batch):
    logits, targets = (x.float() for x in batch)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, targets)
    torch.testing.assert_close(inside, loss(logits, targets), rtol=0, atol=0)


@pytest.mark.parametrize("loss", BY_NAME)
def test_minimising_it_finds_the_labels(loss, batch):
    targets = batch[1][:6].float()  # a record without labels teaches the challenge's loss nothing
    logits = torch.zeros_like(targets, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss(logits, targets).backward()
        optimizer.step()
    learnt = targets.any(dim=0)  # soft F leaves an absent class alone
    assert ((logits > 0) == targets.bool())[:, learnt].all()


def test_class_absent_from_training_has_finite_weights(batch):
    absent = [*POSITIVES[:7], 0, RECORDS]
    targets = batch[1].clone()
    targets[:, 7], targets[:, 8] = 0, 1
    assert weighted_cross_entropy(batch[0], targets, absent, RECORDS).isfinite()


@pytest.mark.parametrize("loss", BY_NAME)
def test_wrong_shapes_are_refused(loss):
    with pytest.raises(ValueError, match=r"must be \(batch, classes\)"):
        loss(torch.zeros(4, 9), torch.zeros(4))


@pytest.mark.parametrize("loss", BY_NAME)
@pytest.mark.parametrize("value", [math.nan, -1, 2])
def test_what_is_no_label_is_refused(loss, value):
    with pytest.raises(ValueError, match="targets must be labels, 0 or 1"):
        loss(torch.zeros(4, 9), torch.tensor([[0.0] * 8 + [value]]).expand(4, -1))


def test_wrong_number_of_counts_is_refused():
    with pytest.raises(ValueError, match="one count for each of 9 classes"):
        weighted_focal(torch.zeros(4, 9), torch.zeros(4, 9), [1, 2, 3], 10)


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    responses = torch.rand(4, 9, 5, generator=generator, dtype=torch.float64)
    targets = torch.zeros(4, 9)
    targets[0, 2] = targets[1, [0, 4]] = targets[2, [1, 3, 8]] = 1  # 1, 2, 3 and no labels
    return attention, responses, targets


@pytest.mark.parametrize("over", ["labels", "classes"])
def test_attention_regulariser_record_by_record(over):
    attention, responses, targets = maps()
    distances = []
    for m, r, t in zip(attention.numpy(), responses.numpy(), targets.numpy(), strict=True):
        reference = sum((r[c] for c in np.flatnonzero(t)), np.zeros(5))
        reference /= max(t.sum(), 1) if over == "labels" else 9
        distances.append(math.sqrt(sum((reference - m) ** 2)))
    ours = attention_regulariser(attention, responses, targets, over)
    assert ours.item() == pytest.approx(np.mean(distances), rel=1e-12)


def test_attention_regulariser_hand_computed():
    responses = torch.tensor([[[3.0, 0.0], [1.0, 2.0], [9.0, 9.0]]])
    targets = torch.tensor([[1.0, 1.0, 0.0]])
    attention = torch.tensor([[2.0, 1.0]])
    assert attention_regulariser(attention, responses, targets) == 0
    attention = torch.tensor([[5.0, 5.0]])  # 3 and 4 away
    assert attention_regulariser(attention, responses, targets) == 5
    assert attention_regulariser(torch.zeros(1, 2), responses, targets, "classes").item() == pytest.approx(
        math.hypot(4 / 3, 2 / 3)
    )


def test_attention_regulariser_gradient():
    attention, responses, targets = maps()
    assert torch.autograd.gradcheck(
        lambda m, r: attention_regulariser(m, r, targets), (attention.requires_grad_(), responses.requires_grad_())
    )


def test_attention_regulariser_has_a_gradient_where_nothing_differs():
    attention = torch.zeros(2, 5, requires_grad=True)
    attention_regulariser(attention, torch.zeros(2, 9, 5), torch.ones(2, 9)).backward()
    assert torch.equal(attention.grad, torch.zeros(2, 5))


def test_attention_regulariser_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(batch, classes, time\)"):
        attention_regulariser(torch.zeros(4, 6), torch.zeros(4, 9, 5), torch.zeros(4, 9))


def test_every_public_loss_is_in_the_registry_or_tested_by_name():
    public = {
        name for name, member in vars(losses).items() if getattr(member, "__module__", "") == "ecgstudy.losses"
    } - {name for name in vars(losses) if name.startswith("_")}
    by_name: list[Any] = [p.values[0] for p in BY_NAME]
    reached = {getattr(loss, "func", loss).__name__ for loss in by_name}
    assert public - reached == {"attention_regulariser", "constant_losses"}  # no loss of a system


def test_losses_of_a_constant_are_least_where_they_must_be():
    p = np.linspace(0.002, 0.998, 250)
    found = constant_losses(p, 20, 400)
    assert set(found) == set(LOSSES) - {"challenge metric"}
    np.testing.assert_allclose(found["cross-entropy"], -(0.05 * np.log(p) + 0.95 * np.log(1 - p)), rtol=1e-5)
    least = {name: p[values.argmin()] for name, values in found.items()}
    assert least["cross-entropy"] == pytest.approx(0.05, abs=0.003)
    assert least["weighted cross-entropy"] == pytest.approx(0.5, abs=0.003)
    assert 0.05 < least["focal"] < 0.5 and 0.05 < least["weighted focal"] < 0.5
    # Soft counts of one class: F2 = 5·tp / (5·tp + fp + 4·fn) with tp = 20p, fp = 380p, fn = 20(1 − p).
    np.testing.assert_allclose(found["macro-F2"], 1 - 100 * p / (100 * p + 380 * p + 80 * (1 - p)), rtol=1e-5)
    assert least["macro-F2"] == p[-1]
