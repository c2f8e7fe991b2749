#!/usr/bin/env bash
# quantus 0.6.0: explanations that do not change at all are called unstable, depending on batch size and order.
#
# The local Lipschitz estimate (Alvarez-Melis 2018) says how far an explanation moves when noise is added to the input.
# For a linear network the gradient is the same everywhere, so the estimate is 0. By default quantus divides explanations
# by their largest value, and that is the largest of all that it is handed at once. Maps that you computed beforehand
# are divided by the maximum of the whole set, and the maps of the noisy inputs by that of their batch. A batch without the
# recording that has the largest map is scaled otherwise, and the difference counts as instability. With maps that
# quantus computes, both maxima are those of the batch, so that this case is right; but a recording's score then depends
# on its neighbours in the batch. All metrics with normalise=True share this scaling.
#
# Seen with quantus 0.6.0, torch 2.13.0, numpy 2.4.6, four recordings of class 0, then four of class 1, whose weights are
# ten times as large (score of each; 0 is right):
#   maps given, one batch of 8:  0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0
#   maps given, batches of 4:    5.5 6.3 5.7 6.6 0.0 0.0 0.0 0.0
#   the same, classes in turn:   0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0
#   maps computed, batches of 4: 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0
#   not linear: the first recording alone 0.462, beside one ten times as large 0.045
# The numbers depend on random weights and noise; which are 0 does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check quantus==0.6.0 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
env/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import quantus
import torch
from torch import nn

print("quantus", version("quantus"), "torch", torch.__version__, "numpy", np.__version__)
SAMPLES = 40
torch.manual_seed(0)
linear = nn.Sequential(nn.Flatten(), nn.Linear(SAMPLES, 2)).eval()
with torch.no_grad():
    linear[1].weight[1] *= 10
signals = np.random.default_rng(0).normal(size=(8, 1, SAMPLES)).astype(np.float32)


class Energy(nn.Module):
    """Sum of squares: its gradient is twice the input, so that it grows with the input."""

    def forward(self, x):
        return (x**2).sum((1, 2))[:, None]


def gradient(model, inputs, targets, **_):
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
    model(x).gather(1, torch.as_tensor(targets)[:, None]).sum().backward()
    return x.grad.numpy()


def unstable(model, x, y, size, given):
    np.random.seed(0)
    metric = quantus.LocalLipschitzEstimate(nr_samples=5, disable_warnings=True)
    maps = gradient(model, x, y) if given else None
    return np.array(metric(model, x, y, a_batch=maps, explain_func=gradient, channel_first=True, batch_size=size))


sorted_classes, in_turn = np.repeat([0, 1], 4), np.tile([0, 1], 4)
whole = unstable(linear, signals, sorted_classes, 8, given=True)
batches = unstable(linear, signals, sorted_classes, 4, given=True)
mixed = unstable(linear, signals, in_turn, 4, given=True)
computed = unstable(linear, signals, sorted_classes, 4, given=False)
for name, scores in (
    ("maps given, one batch of 8:", whole),
    ("maps given, batches of 4:", batches),
    ("the same, classes in turn:", mixed),
    ("maps computed, batches of 4:", computed),
):
    print(f"{name:<28}", *(f"{score:.1f}" for score in scores))
for scores in (whole, mixed, computed, batches[4:]):
    assert np.abs(scores).max() < 1e-3, "the behaviour has changed"
assert batches[:4].min() > 1, "the behaviour of smaller batches has changed"

zeros, pair = np.zeros(2, dtype=int), np.stack([signals[0], 10 * signals[1]])
alone = unstable(Energy(), pair[:1], zeros[:1], 2, given=False)[0]
beside = unstable(Energy(), pair, zeros, 2, given=False)[0]
print(f"not linear: the first recording alone {alone:.3f}, beside one ten times as large {beside:.3f}")
assert beside < alone / 3, "the behaviour beside another recording has changed"
PY
echo "as described"
