"""One training in many processes: ``torchrun`` starts them, DistributedDataParallel adds up what they compute.

``torchrun --nproc-per-node 2 -m ecgstudy.cli train ...`` runs the command in the process of rank 0. The others wait
until it trains; then all work on that run (``everywhere``), connected by gloo, on GPUs by NCCL. Each draws the random
numbers of the whole batch and takes its share of the records. Batch normalisation adds up its sums over the processes,
and every process computes the loss of the whole batch's outputs, whatever the loss. So the run is the one that a single
process makes, but for rounding, and has its name.
"""

import atexit
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecgstudy import workers
from ecgstudy.layers import at_least_float32

T = TypeVar("T")


@dataclass
class _Team:
    rank: int
    size: int
    store: dist.Store
    places: list[tuple[str, int]]  # machine and process of each rank
    working: bool = False  # whether all work on one thing


_team: _Team | None = None
_batch: int | None = None  # records of the training batch that goes through the network


def join() -> None:
    """Join the processes that ``torchrun`` started, if it did. Only rank 0 returns; the others help it, and exit.

    Raises
    ------
    ValueError
        when a machine has fewer GPUs than processes.
    """
    global _team
    if _team or "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return
    backend, local = "gloo", int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        if local >= (gpus := torch.cuda.device_count()):
            raise ValueError(f"more processes than GPUs: give torchrun --nproc-per-node {gpus} on this machine")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = next(dist.rendezvous("env://"))
    # Processes that torchrun started again would find there the addresses of those before them.
    store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    # Between two trainings the process of rank 0 may compute for days.
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(days=20))
    places: list[Any] = [None] * size
    dist.all_gather_object(places, (socket.gethostname(), os.getpid()))
    _team = _Team(rank, size, store, places)
    del os.environ["RANK"], os.environ["WORLD_SIZE"]  # what this process starts, such as a kernel, is none of them
    signal.signal(signal.SIGTERM, _stopped)
    workers.do_in_turn()
    if rank:
        _follow()
    atexit.register(_leave)


def processes() -> int:
    """How many processes train together."""
    return _team.size if _team else 1


def size() -> int:
    """How many processes work together now: one, while rank 0 does something else."""
    return processes() if _team and _team.working else 1


def leads() -> bool:
    """Whether this process writes files and shows progress."""
    return not _team or _team.rank == 0


def everywhere(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in all processes with the same arguments, and return what it gives here."""
    if not _team:
        return function(*arguments)
    with _together():
        of_first((function, arguments))
        return function(*arguments)


def of_first(value: Any) -> Any:
    """The value that rank 0 has."""
    values = [value]
    if size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """The values that all processes have, in the order of their ranks."""
    values = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def part(rows: int, rank: int | None = None) -> slice:
    """Which of so many rows are this process's, or another rank's: none is left out, and none is anyone else's."""
    rank = (_team.rank if _team else 0) if rank is None else rank
    return slice(rows * rank // size(), rows * (rank + 1) // size())


def _follow() -> None:
    """Do what rank 0 does in ``everywhere``, until it leaves."""
    torch.set_num_threads(1)
    try:
        with _together():
            while order := of_first(None):
                function, arguments = order
                function(*arguments)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            dist.barrier()
    except (OSError, ValueError, MemoryError) as error:
        print(f"ecgstudy: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    dist.destroy_process_group()
    raise SystemExit(0)


def _leave() -> None:
    """Let the other processes exit; they cannot be reached if this one was interrupted while all worked together."""
    assert _team
    if not _team.working:
        _team.working = True
        of_first(None)
        dist.barrier()
        dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    assert _team
    _team.working = True
    try:
        yield
    except RuntimeError:  # so collectives tell that a connection was lost
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if _ended():
                _stopped()
            time.sleep(0.05)
        raise
    _team.working = False


def _ended() -> list[int]:
    """Ranks on this machine whose process has ended."""
    assert _team
    here, gone = socket.gethostname(), []
    for rank, (machine, pid) in enumerate(_team.places):
        try:
            if machine == here and psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                gone.append(rank)
        except psutil.NoSuchProcess:
            gone.append(rank)
    return gone


def _stopped(*_: Any) -> None:
    """End this process, since another one has ended or it was told to; the first one to notice says so."""
    assert _team
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which torchrun sends when it notices
    _team.working, gone, first = True, _ended(), True
    with suppress(RuntimeError):  # the process that keeps the store may be the one that has ended
        first = _team.store.add("ecgstudy: told", 1) == 1
    if first:
        what = f"the process of rank {' and '.join(map(str, gone))} (of {_team.size})" if gone else "a process"
        text = (
            f"ecgstudy: {what} has ended. If no error stands above, it was killed, perhaps because memory ran out. "
            "Run the command again, with as many processes as you like: training goes on after its last whole epoch."
        )
        print(text, file=sys.stderr, flush=True)
    raise SystemExit(1)


# --- a batch ---------------------------------------------------------------------------------------------------------


def together(network: nn.Module) -> Callable[[Tensor], Tensor | tuple[Tensor, ...]]:
    """Make what computes a training batch: the network itself, or its copies in all processes.

    The function takes the whole batch, has each process compute its share, and gives the outputs of all. For that,
    batch normalisation and ``nn.Dropout`` in the network are replaced by layers that know of the whole batch.
    """
    if size() == 1:
        return network
    for module in network.modules():
        for ours, theirs in ((_BatchNorm, nn.modules.batchnorm._BatchNorm), (_Dropout, nn.Dropout)):
            if isinstance(module, theirs):
                module.__class__ = type(type(module).__name__, (ours, type(module)), {})
    device = next(network.parameters()).device
    parallel = DistributedDataParallel(network, [device] if device.type == "cuda" else None, forward_sync_buffers=False)

    def compute(batch: Tensor) -> Tensor | tuple[Tensor, ...]:
        global _batch
        _batch = len(batch)
        try:
            outputs = parallel(batch[part(len(batch))])
        finally:
            _batch = None
        if isinstance(outputs, Tensor):
            return _Gathered.apply(at_least_float32(outputs), len(batch))
        return tuple(_Gathered.apply(at_least_float32(output), len(batch)) for output in outputs)

    return compute


def largest(numbers: Tensor) -> int:
    """Largest of some whole numbers, one of each record; of the records of all processes while they train."""
    most = numbers.max() if len(numbers) else numbers.new_ones(())
    if _batch is not None:
        dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


class _Gathered(torch.autograd.Function):
    """Rows of the whole batch, of each process's own.

    Every process differentiates the same loss of all rows, and DistributedDataParallel takes the mean of their
    gradients where the sum is wanted: hence the factor.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, batch: int) -> Tensor:
        ctx.batch = batch
        padded = own.new_zeros(-(-batch // size()), *own.shape[1:])  # collectives want parts of one size
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(size())]
        if padded.numel():
            dist.all_gather(parts, padded)
        rows = [part(batch, rank) for rank in range(size())]
        return torch.cat([own[: row.stop - row.start] for own, row in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0][part(ctx.batch)] * size(), None


class _Sum(torch.autograd.Function):
    """Sum over the processes, as is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Sum.apply(gradients[0])


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the records of all processes, of which here may be none. (torch's own wants GPUs.)"""

    def forward(self, x: Tensor) -> Tensor:
        if _batch is None or not self.training:
            return super().forward(x)
        over, shape = [axis for axis in range(x.dim()) if axis != 1], [-1, *[1] * (x.dim() - 2)]
        number, wide = _batch * math.prod(x.shape[2:]), at_least_float32(x)
        mean = _Sum.apply(wide.sum(over)) / number
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / number
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            rate = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), rate)
            self.running_var.lerp_(variance.detach() * (number / (number - 1)), rate)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (y * self.weight.view(shape) + self.bias.view(shape) if self.affine else y).to(x.dtype)


class _Dropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch; each process takes its rows."""

    def forward(self, x: Tensor) -> Tensor:
        if _batch is None or not self.training:
            return super().forward(x)
        # In the layout of x, since a mask is drawn in the order of memory.
        shape, stride = (_batch, *x.shape[1:]), (math.prod(x.shape[1:]), *torch.empty_like(x).stride()[1:])
        ones = torch.empty_strided(shape, stride, dtype=x.dtype, device=x.device).fill_(1)
        return x * super().forward(ones)[part(_batch)]
