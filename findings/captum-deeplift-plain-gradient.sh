#!/usr/bin/env bash
# captum 0.9.0: DeepLIFT of a network with GELU, SiLU, ReLU6, PReLU, Hardswish or a functional softmax is not DeepLIFT.
#
# DeepLIFT's attributions add up to f(x) - f(baseline). captum changes the gradient of the activations that it has a
# rule for, which are known by their class: ReLU, ELU, LeakyReLU, Sigmoid, Tanh, Softplus, Softmax, MaxPool. Any other
# keeps its plain gradient, without a warning, and so does an attention written with torch.softmax. The result is then
# input x gradient under DeepLIFT's name, and the sum is wrong. `convergence_delta` would tell, but must be asked for.
#
# Seen with captum 0.9.0, torch 2.13.0 (sum of attributions, f(x) - f(0)):
#   ReLU  0.2047 0.2047    ReLU6  0.2628 0.2047 = input x gradient; GELU, SiLU, PReLU, Hardswish likewise
#   Tanh  0.1716 0.1716    attention by torch.softmax  0.1198 0.0691
# The numbers depend on random weights; whether the sums agree does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check captum==0.9.0 torch==2.13.0 numpy==2.4.6
env/bin/python -W ignore - <<'PY'
import captum
import torch
from captum.attr import DeepLift, InputXGradient
from torch import nn

print("captum", captum.__version__, "torch", torch.__version__)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.score, self.head = nn.Conv1d(2, 4, 5), nn.Conv1d(4, 1, 1), nn.Linear(4, 1)

    def forward(self, x):
        features = self.features(x).clamp(-9, 9)
        return self.head((features * torch.softmax(self.score(features), -1)).sum(-1))


def sums(network, x):
    """Sum of DeepLIFT's attributions, what it should be, and whether they are input x gradient."""
    given = DeepLift(network).attribute(x, torch.zeros_like(x), target=0)
    plain = InputXGradient(network).attribute(x, target=0)
    right = (network(x) - network(torch.zeros_like(x)))[0, 0].item()
    return given.sum().item(), right, torch.allclose(given, plain, atol=1e-5)


for activation in (nn.ReLU, nn.Tanh, nn.Softplus, nn.ReLU6, nn.GELU, nn.SiLU, nn.PReLU, nn.Hardswish):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 12), activation(), nn.Linear(12, 1)).eval()
    total, right, plain = sums(network, 4 * torch.randn(1, 4))
    print(f"{activation.__name__:<10} sum {total:8.4f}  f(x) - f(0) {right:8.4f}{'  = input x gradient' if plain else ''}")
    has_rule = activation in (nn.ReLU, nn.Tanh, nn.Softplus)
    assert (abs(total - right) < 1e-4) == has_rule and plain != has_rule, f"{activation.__name__}: the behaviour has changed"

torch.manual_seed(1)
total, right, _ = sums(Attention().eval(), 2 * torch.randn(1, 2, 40))
print(f"{'attention':<10} sum {total:8.4f}  f(x) - f(0) {right:8.4f}")
assert abs(total - right) > 0.02 * abs(right), "the behaviour of attention has changed"
PY
echo "as described"
