"""Maps: what each moment of an ECG contributed to each class. Small functions over a network and a batch."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal
from torch import Tensor, nn


class PooledNetwork(Protocol):
    """A network whose logits are a linear head over the time average of its feature map."""

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """(batch, leads, samples) → (batch, channels, cells)."""


@torch.no_grad()
def cam(network: PooledNetwork, x: Tensor) -> Tensor:
    """Class activation maps of all classes of a batch, in one pass (Zhou et al. 2016; Lin et al. 2020).

    Parameters
    ----------
    network
        In evaluation mode, with global average pooling before its head.
    x
        (batch, leads, samples).

    Returns
    -------
    Tensor (batch, classes, cells)
        CAM_c(t) = Σ_k w_ck f_k(t). Its mean over time plus the head's bias is the logit.
    """
    return torch.einsum("ck,bkt->bct", network.head.weight, network.features(x))


def upsample(maps: NDArray[np.float32], samples: int, method: str = "linear") -> NDArray[np.float32]:
    """Bring maps (..., cells) to (..., samples).

    Parameters
    ----------
    method
        ``linear``: between the centres of the cells, constant beyond the outermost. ``fourier``: as CNN-GAP's authors'
        code does it, which rings where a map steps, and joins its ends.
    """
    if method == "fourier":
        return signal.resample(maps, samples, axis=-1).astype(np.float32)
    if method != "linear":
        raise ValueError(f"upsample by 'linear' or 'fourier', not {method!r}")
    x = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).reshape(1, -1, maps.shape[-1])
    y = nn.functional.interpolate(x, size=samples, mode="linear", align_corners=False)
    return y.reshape(*maps.shape[:-1], samples).numpy()
