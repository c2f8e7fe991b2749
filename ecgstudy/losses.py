"""What the systems minimise. Every loss takes logits and targets, both (batch, classes), and returns a scalar.

Written with log-sigmoids, not with logarithms of probabilities, so that no value or gradient is infinite however sure a
network is; half-precision logits are computed in float32. Targets are 0 and 1, or between for soft labels.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ecgstudy.layers import at_least_float32
from ecgstudy.metrics import CHALLENGE_CODES, challenge_rewards

Loss = Callable[[Tensor, Tensor], Tensor]


def _checked(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same tensors, of equal shape (batch, classes), in float32 or float64; targets are within 0 and 1."""
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must be (batch, classes)")
    if not ((targets >= 0) & (targets <= 1)).all():
        raise ValueError("targets must be labels, 0 or 1: leave out records whose label is not known (NaN, -1)")
    logits = at_least_float32(logits)
    return logits, targets.to(logits)


def _balance(positives: Tensor | Sequence[float], records: int, b: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N / N_c)^b of the positives and (N / (N − N_c))^b of the negatives, (classes,) each."""
    positives = torch.as_tensor(positives).to(like)
    if positives.shape != like.shape[1:]:
        raise ValueError(f"positives {tuple(positives.shape)} must be one count for each of {like.shape[1]} classes")
    # A class that is never, or always, positive in training has no term that the missing weight could multiply.
    negatives = records - positives
    return (records / positives.clamp(min=1)) ** b, (records / negatives.clamp(min=1)) ** b


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of independent units (one for each class), mean over all elements."""
    return F.binary_cross_entropy_with_logits(*_checked(logits, targets))


def _focal(logits: Tensor, targets: Tensor, w_positive: Tensor | float, w_negative: Tensor | float, r: float) -> Tensor:
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    # (1 − p)^r as exp(r·log(1 − p)): the power's own gradient is infinite at 0 for r < 1.
    positive = w_positive * targets * torch.exp(r * log_q) * log_p
    negative = w_negative * (1 - targets) * torch.exp(r * log_p) * log_q
    return -(positive + negative).mean()


def focal(logits: Tensor, targets: Tensor, r: float = 2.0) -> Tensor:
    """Focal loss −(1 − p_t)^r·log p_t (Lin 2017, eq. 4), mean over all elements.

    Parameters
    ----------
    logits, targets
        (batch, classes).
    r
        focusing (γ in Lin 2017); 0 is cross-entropy.
    """
    return _focal(*_checked(logits, targets), 1.0, 1.0, r)


def weighted_focal(
    logits: Tensor,
    targets: Tensor,
    positives: Tensor | Sequence[float],
    records: int,
    b: float = 0.5,
    r: float = 2.0,
) -> Tensor:
    """ECGMaster's weighted focal loss (Liu 2020, eq. 2–4), mean over all elements.

    −(N/N_c)^b·(1 − p)^r·log p for a positive, −(N/(N − N_c))^b·p^r·log(1 − p) for a negative of class c.

    Parameters
    ----------
    logits, targets
        (batch, classes).
    positives
        (classes,) number N_c of training records with each class; a class without any counts 1.
    records
        number N of training records.
    b
        balance between 0 (none) and 1 (positives weigh as much as negatives in total); 0.5 in the paper.
    r
        focusing; the paper gives no value, 2 is Lin 2017's.
    """
    logits, targets = _checked(logits, targets)
    return _focal(logits, targets, *_balance(positives, records, b, logits), r)


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, positives: Tensor | Sequence[float], records: int
) -> Tensor:
    """BUTTeam's weighted cross-entropy: w⁺ = N/N_c, w⁻ = N/(N − N_c) (Vicar 2020), mean over all elements.

    This is `weighted_focal`, which explains the parameters, with b = 1 and r = 0. BUTTeam clamps probabilities to
    [1e-6, 1 − 1e-6], which also stops the gradient of elements that are that wrong; ours does not.
    """
    return weighted_focal(logits, targets, positives, records, b=1, r=0)


def soft_macro_f(logits: Tensor, targets: Tensor, beta: float = 2.0) -> Tensor:
    r"""1 − mean over classes of F_β with soft counts over the batch (CNN-GAP's macro-F2 loss for β = 2).

    With p = sigmoid(logits), TP = Σ p·t, S = Σ p and N₊ = Σ t over the batch,
    F_β = (1 + β²)·TP / (β²·N₊ + S), so that for element i of a class

        ∂F_β/∂pᵢ = ((1 + β²)·tᵢ − F_β) / (β²·N₊ + S).

    For β = 2 that is (5·tᵢ − F2) / (4·N₊ + S): a positive pulls at least four times as hard as a negative pushes, and
    rare classes pull harder. A class absent from the batch has F = 0 and no gradient, hence large batches (64 and
    more) or class-aware sampling. The paper gives no formula: it is our reading, after the authors' earlier macro-F1.

    Parameters
    ----------
    logits, targets
        (batch, classes).
    beta
        weight of recall over precision: 1 for macro-F1, 2 for macro-F2.
    """
    logits, targets = _checked(logits, targets)
    p = torch.sigmoid(logits)
    true_positives, size = (p * targets).sum(dim=0), beta**2 * targets.sum(dim=0) + p.sum(dim=0)
    f = (1 + beta**2) * true_positives / size.clamp(min=1e-8)  # 0/0 when a class is neither present nor suspected
    return 1 - f.mean()


def soft_challenge_metric(logits: Tensor, targets: Tensor, rewards: Tensor | Sequence[Sequence[float]]) -> Tensor:
    """Negative soft Challenge 2020 metric, mean over the batch of −Σ_jk w_jk·t_j·p_k / N.

    N = Σ_c (t + p − t·p) is the soft size of the union of labels and answers. CNN-GAP's "Macro-Obs" writes it
    Σ_c ((1 − t)·p + t) and BUTTeam's official entry L + R − L⊙R, which is the same number. Both sum over the batch; the
    mean keeps the step independent of its size. Records without labels earn nothing and have no gradient.

    Parameters
    ----------
    logits, targets
        (batch, classes).
    rewards
        (classes, classes), see `ecgstudy.metrics.challenge_rewards`.
    """
    logits, targets = _checked(logits, targets)
    p = torch.sigmoid(logits)
    union = (targets + p - targets * p).sum(dim=1).clamp(min=1)  # below 1 only without labels
    # Sums, not a matrix product: under autocast that would round the rewards to bfloat16.
    earned = (torch.as_tensor(rewards).to(logits) * targets[:, :, None] * p[:, None, :]).sum(dim=(1, 2))
    return -(earned / union).mean()


def attention_regulariser(
    attention: Tensor, responses: Tensor, targets: Tensor, over: Literal["labels", "classes"] = "labels"
) -> Tensor:
    """Distance ‖Ref − M‖₂ over time, mean over the batch: xECGNet adds γ times it to the loss of each branch.

    The reference is the mean of the response maps of the record's true classes (Yoo 2021). Gradients flow into both,
    as in the authors' code. A record without labels has Ref = 0.

    Parameters
    ----------
    attention
        M, (batch, time), between 0 and 1.
    responses
        R, (batch, classes, time), not negative.
    targets
        (batch, classes), 0 or 1.
    over
        divide the sum of the true classes' maps by their number (``labels``, the paper's words) or by the number of
        all classes (``classes``, the authors' code).
    """
    batch, classes, time = responses.shape
    if attention.shape != (batch, time) or targets.shape != (batch, classes):
        raise ValueError(
            f"attention {tuple(attention.shape)}, responses {tuple(responses.shape)} and targets "
            f"{tuple(targets.shape)} must be (batch, time), (batch, classes, time) and (batch, classes)"
        )
    attention, responses = at_least_float32(attention), at_least_float32(responses)
    targets = targets.to(responses)
    number = targets.sum(dim=1, keepdim=True).clamp(min=1) if over == "labels" else classes
    reference = (responses * targets[:, :, None]).sum(dim=1) / number
    # The norm's gradient is undefined at 0; torch takes 0 there.
    return torch.linalg.vector_norm(reference - attention, dim=1).mean()


def _challenge_loss(positives: Tensor | Sequence[float]) -> Loss:
    rewards = challenge_rewards(CHALLENGE_CODES)
    if len(positives) != len(rewards):
        raise ValueError(
            f"the loss 'challenge metric' rewards the study's nine classes, and this cohort has {len(positives)}: "
            "take another loss"
        )
    return partial(soft_challenge_metric, rewards=torch.from_numpy(rewards))


# name → what takes (positives, records) of the training cohort and returns the loss: one signature for an ablation.
LOSSES: dict[str, Callable[[Tensor | Sequence[float], int], Loss]] = {
    "cross-entropy": lambda positives, records: cross_entropy,
    "weighted cross-entropy": lambda positives, records: partial(
        weighted_cross_entropy, positives=positives, records=records
    ),
    "focal": lambda positives, records: focal,
    "weighted focal": lambda positives, records: partial(weighted_focal, positives=positives, records=records),
    "macro-F1": lambda positives, records: partial(soft_macro_f, beta=1),
    "macro-F2": lambda positives, records: partial(soft_macro_f, beta=2),
    "challenge metric": lambda positives, records: _challenge_loss(positives),
}


def constant_losses(
    probabilities: NDArray[np.float64], positives: int, records: int, classes: int = 9
) -> dict[str, NDArray[np.float64]]:
    """Loss of a network that gives every record and every class the same probability.

    The challenge's metric is left out: what it pays for one class depends on all others.

    Parameters
    ----------
    probabilities
        (answers,), each above 0 and below 1.
    positives, records, classes
        Number of records, and how many of them each class has.

    Returns
    -------
    dict
        Name of a loss → its values (answers,).
    """
    targets = torch.zeros(records, classes)
    targets[:positives] = 1
    logits = torch.from_numpy(np.log(probabilities / (1 - probabilities))).float()
    losses = {name: made(targets.sum(dim=0), records) for name, made in LOSSES.items() if name != "challenge metric"}
    return {
        name: np.array([loss(logit.expand(records, classes), targets).item() for logit in logits])
        for name, loss in losses.items()
    }
