"""What ``python -m ecgstudy.bench gpu_training`` measures: records a second that a GPU trains, of the six systems.

All are as wide as published and see records of ten seconds, MIT-BIH's beats aside. Ours has the cohort on the GPU,
bfloat16 and the layers of ``ecgstudy.layers``. The other is what a user would otherwise write: torch's own layers in
float32, each batch copied from memory. Where the package torch-ecg is at hand, its trainer trains these, too.

The share of the arithmetic limit is operations of a record × records/s / peak. Operations are those of convolutions and
matrix products, forward and backward, as ``torch.utils.flop_counter`` counts them (a multiply-add is two); the peak is
the card's for dense bfloat16.
"""

import copy
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from ecgstudy import layers, training
from ecgstudy.bench import plain, seconds
from ecgstudy.data.beats import BEAT_CLASSES, SAMPLES
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.systems import Outputs, widened
from ecgstudy.systems.beat_gradcam import BeatSystem
from ecgstudy.systems.catalogue import by_name, with_chapter

SIX = [*(system.name for system in with_chapter()), BeatSystem.name]
# Operations a second, from NVIDIA's data sheets, by how the card's name begins.
PEAK = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100": 312e12,
}


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on: inputs (records, ...), targets (records, ...), steps of ``batch``."""

    network: nn.Module
    batch: int
    inputs: tuple[Tensor, ...]
    targets: Tensor
    augment: Callable[[Tensor, torch.Generator], Tensor]
    loss: Callable[[Any, Tensor], Tensor]


def case(name: str, **settings: Any) -> Case:
    """Make a system with its published settings, ``settings`` aside, and random records for two steps."""
    rng = np.random.default_rng(0)
    if name == BeatSystem.name:
        beats = BeatSystem(**settings)
        n = 2 * beats.batch
        inputs = torch.randn(n, 2 * beats.leads, SAMPLES), torch.randn(n, 4)
        targets = torch.randint(len(BEAT_CLASSES), (n,))
        return Case(beats.make(), beats.batch, inputs, targets, lambda x, _: x, F.cross_entropy)
    system = by_name(name)(**settings)
    n = 2 * system.batch
    signals = rng.standard_normal((n, len(LEADS), round(10 * system.fs)), dtype=np.float32)
    x = torch.from_numpy(np.stack([system.windows(signal)[0] for signal in signals]))
    labels = (torch.rand(n, len(CLASSES)) < 0.2).float()
    criterion = system.criterion(labels.sum(dim=0), n)

    def loss(outputs: Outputs, targets: Tensor) -> Tensor:
        return system.objective(outputs, targets, criterion)

    return Case(system.network(), system.batch, (x,), labels, system.augment, loss)


def trains(case: Case, network: nn.Module, inputs: tuple[Tensor, ...], precision: torch.dtype) -> Callable[[int], None]:
    """Make what trains a network for so many steps on inputs, wherever they lie."""
    device = next(network.parameters()).device
    optimiser, generator = torch.optim.AdamW(network.parameters()), torch.Generator().manual_seed(0)

    def train(steps: int) -> None:
        for _ in range(steps):
            chosen = torch.randperm(len(case.targets), generator=generator)[: case.batch]
            x, *others = (given[chosen] for given in inputs)
            batch = [given.to(device) for given in (case.augment(x, generator), *others)]
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                outputs = network(*batch)
            loss = case.loss(widened(outputs), case.targets[chosen].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return train


def torch_ecg_trains(case: Case, network: nn.Module, folder: str) -> Callable[[int], None]:
    """Make what trains a network for so many steps by torch_ecg's trainer, as a user of it would write that."""
    from torch_ecg.components.trainer import BaseTrainer

    device = next(network.parameters()).device
    network.__name__ = "network"  # type: ignore[assignment]  # which it asks for
    x, *others = case.inputs

    class Trainer(BaseTrainer):
        batch_dim = 0
        extra_required_train_config_fields: ClassVar[list[str]] = []

        def _setup_dataloaders(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
            data = TensorDataset(x, case.targets, *others)
            shown = RandomSampler(data, replacement=True, num_samples=self.train_config.steps * case.batch)
            self.train_loader = DataLoader(data, case.batch, sampler=shown, pin_memory=device.type == "cuda")

        def _setup_criterion(self) -> None:
            self.criterion = case.loss

        def run_one_step(self, *data: Tensor) -> tuple[Any, Tensor]:
            x, targets, *others = (given.to(device) for given in data)
            return self.model(x, *others), targets

        def evaluate(self, data_loader: Any) -> dict[str, float]:
            return {}

        def save_checkpoint(self, path: str) -> None:
            pass  # what is measured are steps

    def train(steps: int) -> None:
        settings = {"steps": steps, "classes": [], "n_epochs": 1, "batch_size": case.batch, "optimizer": "adamw"}
        settings |= {"learning_rate": 1e-3, "lr_scheduler": "none", "debug": False, "keep_checkpoint_max": 0}
        settings |= {"log_dir": folder, "checkpoints": folder, "model_dir": folder, "loss": "own", "monitor": None}
        settings |= dict.fromkeys(("txt_logger", "csv_logger", "tensorboardx_logger"), False)
        Trainer(network, None, {}, settings, device=device).train()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return train


def gpu_training(name: str, device: torch.device, steps: int = 20, **settings: Any) -> dict[str, Any]:
    """Measure one system; ``settings`` and a CPU as ``device`` are for tests."""
    made, precision = case(name, **settings), layers.best_precision(device)
    other = trains(made, plain(copy.deepcopy(made.network)).to(device), made.inputs, torch.float32)
    ours = trains(made, made.network.to(device), training.placed(device, *made.inputs), precision)
    with FlopCounterMode(display=False) as counter:
        ours(1)
    ours_s, other_s = seconds(lambda: ours(steps), lambda: other(steps), repeats=3)
    records, each = steps * made.batch, counter.get_total_flops() / made.batch
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    about: dict[str, Any] = {"card": card, "gflop_a_record": each / 1e9}
    peak = next((peak for beginning, peak in PEAK.items() if card.startswith(beginning)), None)
    if peak and precision == torch.bfloat16:
        about["percent_of_peak"] = 100 * each * records / ours_s / peak
    name = f"torch's own layers in float32, batches copied (ours in {str(precision).removeprefix('torch.')})"
    if importlib.util.find_spec("torch_ecg"):
        with tempfile.TemporaryDirectory() as folder:
            theirs = torch_ecg_trains(made, plain(copy.deepcopy(made.network)), folder)
            theirs_s, _ = seconds(lambda: theirs(steps), lambda: None, repeats=3)
        about["torch_ecg"] = records / theirs_s
    return {"ours": records / ours_s, "other": records / other_s, "other_name": name, "unit": "records/s", **about}
