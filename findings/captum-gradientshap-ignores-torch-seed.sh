#!/usr/bin/env bash
# captum 0.9.0: torch.manual_seed does not make GradientSHAP repeatable, because it draws from numpy's global generator.
#
# GradientSHAP is a mean over random points between baselines and input. captum draws its noise with torch, but the
# choice of baseline and the place between baseline and input with `numpy.random`. With torch's seed fixed, and only
# that, two calls give two maps; numpy's seed alone fixes them (where `stdevs` is 0, the default), and captum moves the
# state of numpy's generator for everything else in the program.
#
# Seen with captum 0.9.0, torch 2.13.0, numpy 2.4.6, five samples, a network with one hidden layer:
#   torch seeded twice: equal False
#   numpy seeded twice: equal True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check captum==0.9.0 torch==2.13.0 numpy==2.4.6
env/bin/python -W ignore - <<'PY'
import captum
import numpy as np
import torch
from captum.attr import GradientShap
from torch import nn

print("captum", captum.__version__, "torch", torch.__version__, "numpy", np.__version__)
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(100, 20), nn.Tanh(), nn.Linear(20, 1)).eval()
x = torch.randn(1, 100)


def explained(seed):
    seed(0)
    return GradientShap(network).attribute(x, torch.zeros_like(x), target=0, n_samples=5)


for name, seed in (("torch", torch.manual_seed), ("numpy", np.random.seed)):
    first, second = explained(seed), explained(seed)
    print(f"{name} seeded twice: equal {torch.equal(first, second)}")
    assert torch.equal(first, second) == (name == "numpy"), "the behaviour has changed"
PY
echo "as described"
