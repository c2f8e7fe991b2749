#!/usr/bin/env bash
# quantus 0.6.0: Sensitivity-n gives an exact explanation 0.44 instead of 1, and looks at the first 64 recordings only.
#
# Sensitivity-n (Ancona 2018) takes features away at random, n at a time, and correlates the change of the output with
# the sum of the attributions of what was taken away. For a linear network the attribution "input x weight" is exact, and
# the correlation is 1 for every n. quantus takes the features away in the order of their attribution and one step after
# the other: the change is that of all steps so far, but the sum is that of the last step alone. It also reads the
# result of the first batch only (64 recordings, unless `batch_size` says otherwise) and drops the rest without a word:
# noise instead of the explanations of recordings 65 to 128 leaves the score as it was, to the last digit.
#
# Seen with quantus 0.6.0, torch 2.13.0, numpy 2.4.6, 128 recordings of 40 samples, baseline 0 (mean over n):
#   by definition, exact explanation: 1.000
#   quantus, exact explanation: 0.438
#   quantus, the latter half replaced by noise: 0.438, equal True
#   quantus, one batch of 128: exact 0.520, half noise -0.207
# The numbers depend on random weights.
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
RECORDINGS, SAMPLES = 128, 40
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(SAMPLES, 2, bias=False)).eval()
chance = np.random.default_rng(0)
signals = chance.normal(size=(RECORDINGS, 1, SAMPLES)).astype(np.float32)
targets = np.zeros(RECORDINGS, dtype=int)
exact = signals * network[1].weight[0].detach().numpy()
half_noise = exact.copy()
half_noise[64:] = chance.normal(size=half_noise[64:].shape)


def by_definition(maps):
    """Mean over n of the correlation between the change of the output and the sum of what was taken away."""
    correlations = []
    for n in range(1, 33):
        taken = np.stack([chance.choice(SAMPLES, n, replace=False) for _ in range(RECORDINGS)])[:, None]
        without = signals.copy()
        np.put_along_axis(without, taken, 0, axis=2)
        with torch.no_grad():
            change = (network(torch.from_numpy(signals)) - network(torch.from_numpy(without)))[:, 0].numpy()
        correlations.append(np.corrcoef(change, np.take_along_axis(maps, taken, 2).sum((1, 2)))[0, 1])
    return np.mean(correlations)


def by_quantus(maps, **options):
    metric = quantus.SensitivityN(perturb_baseline=0.0, normalise=False, return_aggregate=False, disable_warnings=True)
    return np.array(metric(network, signals, targets, a_batch=maps.copy(), channel_first=True, **options))


right, seen, ignored = by_definition(exact), by_quantus(exact), by_quantus(half_noise)
print(f"by definition, exact explanation: {right:.3f}")
print(f"quantus, exact explanation: {seen.mean():.3f}")
print(f"quantus, the latter half replaced by noise: {ignored.mean():.3f}, equal {np.array_equal(seen, ignored)}")
whole, spoilt = (by_quantus(maps, batch_size=RECORDINGS).mean() for maps in (exact, half_noise))
print(f"quantus, one batch of {RECORDINGS}: exact {whole:.3f}, half noise {spoilt:.3f}")
assert right > 0.9999 and seen.max() < 0.8 and whole < 0.8, "the score of an exact explanation has changed"
assert np.array_equal(seen, ignored) and spoilt < whole - 0.3, "the behaviour beyond the first batch has changed"
PY
echo "as described"
