"""The layers of a 1-D network, computed the way two cores (and a GPU) compute them fastest.

Outside they are torch's own 1-D layers, with the same weights and shapes (batch, channels, samples). Inside each takes
its input as an image one pixel high in channels-last layout, for which torch has its fastest kernels; between layers
nothing is copied, because a view of that layout is what the next layer wants. With bfloat16 (``autocast``) training is
2 to 3 times faster than ``torch.nn.Conv1d`` in float32: ``make bench`` measures it.
"""

import ctypes
import platform

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _image(x: Tensor) -> Tensor:
    if x.dim() != 3:
        raise ValueError(f"expected (batch, channels, samples), got the shape {tuple(x.shape)}")
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of x on the CPU is computed in bfloat16, by its own type or by autocast."""
    if x.device.type != "cpu":
        return False
    cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return cast or x.dtype == torch.bfloat16


class Conv1d(nn.Conv1d):
    """``torch.nn.Conv1d`` with zero padding, as a 1 x k convolution.

    With torch 2.13 on processors that multiply bfloat16 in tiles, a bfloat16 convolution of an even number of channels
    below 16 is plainly wrong (relative error 1) where channels times kernel is a multiple of 64 and nothing is dilated:
    12 leads and a kernel of 16, for instance, in torch's own layer too. Channels of zeros up to 16 avoid that.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        stride, dilation, weight = self.stride[0], self.dilation[0], self.weight
        if (missing := 16 - weight.shape[1]) > 0 and self.groups == 1 and _in_bfloat16(x):
            x, weight = F.pad(x, (0, 0, 0, missing)), F.pad(weight, (0, 0, 0, missing))
        if isinstance(self.padding, str):
            pads = dilation * (self.kernel_size[0] - 1) if self.padding == "same" else 0
            x, padding = (F.pad(x, (0, 1)) if pads % 2 else x), pads // 2  # an odd one goes to the end, as torch has it
        else:
            padding = self.padding[0]
        y = F.conv2d(_image(x), weight.unsqueeze(2), self.bias, (1, stride), (0, padding), (1, dilation), self.groups)
        return y.squeeze(2)


class BatchNorm1d(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` over (batch, channels, samples)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(_image(x)).squeeze(2)

    def _check_input_dim(self, input: Tensor) -> None:
        """``_image`` has checked it."""


class MaxPool1d(nn.MaxPool1d):
    """``torch.nn.MaxPool1d`` with one number for each setting."""

    kernel_size: int
    stride: int
    padding: int

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        k, s, p = (1, self.kernel_size), (1, self.stride), (0, self.padding)
        return F.max_pool2d(_image(x), k, s, p, ceil_mode=self.ceil_mode).squeeze(2)


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``, its probability rounded to a 65,536th, at about a ninth of the time on a CPU.

    torch draws a float for each element and copies it through several types. Here four elements share one 64-bit random
    number, and the mask is made as integers: 0, or the bits of 1 / (1 − p).
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.p == 0:
            return x
        number = {2: torch.int16, 4: torch.int32}.get(x.element_size())
        if number is None or self.p == 1:
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = torch.empty(x.numel(), dtype=number, device=x.device)
        torch.ge(draws.view(torch.int16)[: x.numel()], round(self.p * 2**16) - 2**15, out=kept)
        scale = torch.tensor(1 / (1 - self.p), dtype=x.dtype).view(number).item()
        # In the layout of x, so that the product is one pass over memory.
        mask = kept.mul_(scale).view(x.dtype).as_strided(x.shape, torch.empty_like(x).stride())
        return x * mask


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, those in float64 as they are."""
    return values if values.dtype == torch.float64 else values.float()


def keep_memory() -> None:
    """Let glibc keep freed memory instead of giving each large tensor back to the system (10-30 % of training time)."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            libc.mallopt(option, 1 << 30)


def best_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if fast else torch.float32
