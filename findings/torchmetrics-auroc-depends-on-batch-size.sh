#!/usr/bin/env bash
# torchmetrics 1.9.0: the AUROC of a network's logits depends on how the recordings were cut into batches.
#
# Metrics of classification take probabilities or logits. Which of the two they were given is decided anew in each
# `update`: only where a value lies outside 0 to 1 does the batch go through a sigmoid. A batch whose logits happen to lie
# between 0 and 1 is kept as it is, and is pooled with the probabilities of the others. A positive recording with the
# logit 0.2 then stands below a negative one with the logit -1, which has become 0.27. That is no rarity where recordings
# of any length go through a network one at a time, or in a short last batch. Ranks are all that AUROC needs, and a sigmoid
# keeps them, so a good engineer gives it logits; average precision, F1 and calibration error go the same way. No warning
# is given. Probabilities, that is logits.sigmoid(), are safe. (Reported as torchmetrics issue 2195, open.)
#
# Seen with torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1:
#   a positive at 0.2, a negative at -1: AUROC 1.0000 in one batch, 0.0000 one by one
#   2000 recordings, scikit-learn: AUROC 0.8658, average precision 0.7434
#   batches of 2000: AUROC 0.8658, average precision 0.7434, F1 0.6759
#   batches of 2: AUROC 0.8599, average precision 0.7316, F1 0.6895
#   batches of 1: AUROC 0.8050, average precision 0.6651, F1 0.6738
#   probabilities, batches of 1: AUROC 0.8658; warnings: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check \
    torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 scikit-learn==1.9.1
env/bin/python - <<'PY'
import warnings

import sklearn
import torch
import torchmetrics
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryF1Score

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__, "scikit-learn", sklearn.__version__)
METRICS = {"AUROC": BinaryAUROC, "average precision": BinaryAveragePrecision, "F1": BinaryF1Score}


def scored(values, labels, size):
    """The metrics of all recordings, which are given in batches of ``size``."""
    seen = {name: kind() for name, kind in METRICS.items()}
    for metric in seen.values():
        for start in range(0, len(values), size):
            metric.update(values[start : start + size], labels[start : start + size])
    return {name: metric.compute().item() for name, metric in seen.items()}


def line(seen):
    return ", ".join(f"{name} {value:.4f}" for name, value in seen.items())


with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    two, truth = torch.tensor([0.2, -1.0]), torch.tensor([1, 0])
    together, apart = scored(two, truth, 2)["AUROC"], scored(two, truth, 1)["AUROC"]
    print(f"a positive at 0.2, a negative at -1: AUROC {together:.4f} in one batch, {apart:.4f} one by one")
    assert together == 1 and apart == 0, "the behaviour has changed"

    chance = torch.Generator().manual_seed(0)
    labels = (torch.rand(2000, generator=chance) < 0.3).long()
    logits = torch.randn(2000, generator=chance) + 1.5 * labels - 0.5
    right = {"AUROC": roc_auc_score(labels, logits), "average precision": average_precision_score(labels, logits)}
    print("2000 recordings, scikit-learn:", line(right))
    by_size = {size: scored(logits, labels, size) for size in (2000, 2, 1)}
    for size, seen in by_size.items():
        print(f"batches of {size}:", line(seen))
    probabilities = scored(logits.sigmoid(), labels, 1)["AUROC"]
print(f"probabilities, batches of 1: AUROC {probabilities:.4f}; warnings: {len(warned)}")
for name, value in right.items():
    assert abs(by_size[2000][name] - value) < 1e-4, f"{name} of one batch has changed"
    assert by_size[1][name] < value - 0.03 and by_size[2][name] < value - 0.003, f"{name}: the behaviour has changed"
assert abs(probabilities - right["AUROC"]) < 1e-4 and not warned, "the behaviour has changed"
PY
echo "as described"
