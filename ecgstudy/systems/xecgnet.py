"""xECGNet: an attention branch whose map is drawn, in the loss, to the mean response map of the true labels.

Yoo J, Jun TJ, Kim Y-H. xECGNet: Fine-tuning attention map within convolutional neural network to improve detection and
explainability of concurrent cardiac arrhythmias. Comput Methods Programs Biomed 2021; 208:106281. We know the article's
abstract and the authors' public code, from which all numbers here are; what is neither is marked "our choice".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.layers import BatchNorm1d, Conv1d, MaxPool1d
from ecgstudy.losses import Loss, attention_regulariser
from ecgstudy.metrics import micro_f1
from ecgstudy.preprocessing import fit_length
from ecgstudy.systems import Arm, Outputs, OwnMaps, System, clip_thrice, register, rolled

# Filters of the backbone's convolutions (kernel 3); after each stage max pooling makes one cell of three.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 256, 128))


class Bottleneck(nn.Module):
    """Residual block: convolutions of kernel 1, 3 and 1, (batch, c, cells) to (batch, 2 c, cells)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = (channels, channels // 2, channels // 2, 2 * channels)
        for before, after, kernel in zip(sizes, sizes[1:], (1, 3, 1), strict=False):
            layers += [Conv1d(before, after, kernel, padding="same", bias=False), BatchNorm1d(after), nn.ReLU()]
        self.path = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential(Conv1d(channels, 2 * channels, 1, bias=False), BatchNorm1d(2 * channels))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu(self.path(x) + self.shortcut(x))


class XECGNet(nn.Module):
    """Backbone without activations, attention branch, perception branch.

    Parameters
    ----------
    width
        Share of the published number of filters, of which at least 16 are kept. At 1 and nine classes the network
        has the 4,125,718 numbers that the authors' code prints: 4,115,476 that are trained and 10,242 running means
        and variances of batch normalisation.
    pools
        How many of the five poolings are kept; the last are left out. At a quarter of the published rate, four of
        them make cells of about the published duration (0.65 s instead of 0.49 s).
    relu
        Whether response maps are rectified, as published; then no probability of the attention branch is below 0.5.

    Notes
    -----
    In training mode the output is (logits of the attention branch, logits of the perception branch, attention map,
    response maps); in evaluation mode logits whose sigmoid is the mean of the two branches' probabilities.
    """

    def __init__(
        self,
        *,
        leads: int = len(LEADS),
        classes: int = len(CLASSES),
        width: float = 1,
        pools: int = len(STAGES),
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.stride = 3**pools
        layers: list[nn.Module] = []
        channels = leads
        for stage, filters in enumerate(STAGES):
            for size in (max(16, round(f * width)) for f in filters):
                layers += [Conv1d(channels, size, 3, padding="same"), BatchNorm1d(size)]
                channels = size
            if stage < pools:
                layers.append(MaxPool1d(3, ceil_mode=True))
        self.backbone = nn.Sequential(*layers)
        self.respond = nn.Sequential(
            Bottleneck(channels),
            BatchNorm1d(2 * channels),
            Conv1d(2 * channels, classes, 1, bias=False),
            nn.ReLU() if relu else nn.Identity(),
        )
        self.attend = nn.Sequential(Conv1d(classes, 1, 1, bias=False), BatchNorm1d(1), nn.Sigmoid(), nn.Flatten())
        self.perceive = Bottleneck(channels)
        self.head = nn.Sequential(nn.Linear(2 * channels, 4 * channels), nn.Linear(4 * channels, classes))

    def responses(self, x: Tensor) -> Tensor:
        """Response maps R (batch, classes, cells) of (batch, leads, samples): their mean over time is the logit."""
        return self.respond(self.backbone(x))

    def attention(self, x: Tensor) -> Tensor:
        """Attention map M (batch, cells), between 0 and 1, of (batch, leads, samples): one for all classes."""
        return self.attend(self.responses(x))

    def forward(self, x: Tensor) -> Outputs:
        """Both branches of (batch, leads, samples), in training mode one by one, else joined: see the class."""
        features = self.backbone(x)
        responses = self.respond(features)
        attention = self.attend(responses)
        perceived = self.head(self.perceive(features * (1 + attention[:, None])).mean(dim=-1))
        attended = responses.float().mean(dim=-1)
        return (attended, perceived, attention, responses) if self.training else joined(attended, perceived.float())


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Logits whose sigmoid is (sigmoid(a) + sigmoid(b)) / 2, finite however sure a and b are."""
    return torch.logaddexp(F.logsigmoid(a), F.logsigmoid(b)) - torch.logaddexp(F.logsigmoid(-a), F.logsigmoid(-b))


@register
@dataclass(frozen=True, kw_only=True)
class XECGNetSystem(System):
    """The recipe: 144 s at 500 Hz, padded in front; cross-entropy of both branches and the regulariser; Adam.

    Parameters
    ----------
    width, pools, relu
        Of the network.
    gamma
        Weight of the distance between attention map and reference in the loss of each branch.
    over
        What the reference divides the sum of the true labels' response maps by: their number (``labels``, as the
        abstract says) or the number of all classes (``classes``, as the code does).
    roll
        Records are moved circularly by up to so many seconds in training (our choice for small cohorts); none in the
        authors' code.
    """

    name: ClassVar[str] = "xECGNet"
    title: ClassVar[str] = "xECGNet: a fine-tuned attention map"
    paper: ClassVar[str] = "yoo2021xecgnet"
    chapter: ClassVar[str] = "04_xecgnet"
    reported: ClassVar[Mapping[str, float]] = {
        "micro-F1": 0.812,
        "exact match": 0.726,
        "exact match, multi-label": 0.846,
    }
    feature_layer: ClassVar[str] = "backbone"
    # One attention map stands for all classes.
    own_maps: ClassVar[OwnMaps] = {
        "response maps": lambda network, x: network.responses(x),
        "attention": lambda network, x: network.attention(x)[:, None].expand(-1, network.head[-1].out_features, -1),
    }
    rules_miss: ClassVar[tuple[str, ...]] = ("DeepLIFT", "guided Grad-CAM")
    resampling: ClassVar[Literal["folds", "random"]] = "random"  # one network and a random validation part, no folds

    fs: float = 500
    seconds: float = 144
    epochs: int = 1000
    batch: int = 32
    rate: float = 1e-5
    patience: int | None = 50
    width: float = 1
    pools: int = len(STAGES)
    relu: bool = True
    gamma: float = 0.01
    over: Literal["labels", "classes"] = "labels"
    roll: float = 0

    def arms(self, p: SimpleNamespace) -> Mapping[str, Arm]:
        """Train as many members without the regulariser."""
        return {"γ = 0": Arm(replace(self, gamma=0), p.members)}

    def network(self, classes: int = len(CLASSES)) -> XECGNet:
        """Make the network, untrained."""
        return XECGNet(classes=classes, width=self.width, pools=self.pools, relu=self.relu)

    def windows(self, signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Subtract each lead's median; zero-pad a shorter record in front, clip a longer one at head, middle and end.

        Both but the padding are our choice: the authors standardise by statistics of all records, test included, and
        no record of theirs is longer than the input.
        """
        x = signal - np.median(signal, axis=-1, keepdims=True)
        return clip_thrice(x, self.samples) if x.shape[-1] > self.samples else [fit_length(x, self.samples, 1)[0]]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each record circularly by its own number of samples."""
        most = round(self.roll * self.fs)
        if not most:
            return x
        return rolled(x, torch.randint(-most, most + 1, (len(x),), generator=generator))

    def objective(self, outputs: Outputs, targets: Tensor, criterion: Loss) -> Tensor:
        """Sum over the two branches of cross-entropy + γ ‖Ref − M‖₂."""
        attended, perceived, attention, responses = outputs
        distance = attention_regulariser(attention, responses, targets, self.over)
        return criterion(attended, targets) + criterion(perceived, targets) + 2 * self.gamma * distance

    def selection(self, targets: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
        """Micro-F1 at threshold 0.5."""
        return float(micro_f1(targets, probabilities >= 0.5))


class Agreement(NamedTuple):
    """How near the attention map of a network is to its reference."""

    distance: NDArray[np.float32]  # (windows,): ‖Ref − M‖₂, as in the loss
    correlation: NDArray[np.float32]  # (windows,): over time, 0 where one of the two is constant
    silent: int  # classes whose response map is 0 in every cell of every window


@torch.inference_mode()
def agreement(network: XECGNet, x: Tensor, labels: NDArray[np.bool_]) -> Agreement:
    """Compare the attention map M with the mean response map Ref of the labels (windows, 9) of each input."""
    responses = network.responses(x)
    attention, y = network.attend(responses), torch.from_numpy(labels)
    reference = (responses * y[:, :, None]).sum(dim=1) / y.sum(dim=1, keepdim=True).clamp(min=1)
    distance = torch.linalg.vector_norm(reference - attention, dim=1)
    a, b = (v - v.mean(dim=1, keepdim=True) for v in (attention, reference))
    scale = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    correlation = torch.where(scale > 1e-9, (a * b).sum(dim=1) / scale, 0)
    silent = (responses.abs().amax(dim=(0, 2)) == 0).sum().item()
    return Agreement(distance.numpy(), correlation.numpy(), int(silent))
