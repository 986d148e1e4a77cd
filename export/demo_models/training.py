"""The training loop of all demo networks: Adam, a learning-rate schedule, averaged weights, and resumption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from engines.contract.atomic import atomic_file

Batch = TypeVar("Batch")

AVERAGE_DECAY = 0.99
SAVE_EVERY = 100
SHOW_EVERY = 5


@dataclass(frozen=True)
class Schedule:
    """Number of steps, and the peak learning rate, reached after 2 % of them and decayed to a thirtieth by a cosine."""

    steps: int
    rate: float

    def factor(self, step: int) -> float:
        """Return the factor of the peak learning rate at a step."""
        warm = min(1.0, (step + 1) / (0.02 * self.steps))
        return warm * (0.033 + 0.967 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


def optimise(
    network: nn.Module,
    loss: Callable[[Batch], Tensor],
    batches: Iterator[Batch],
    schedule: Schedule,
    state: Path,
    title: str,
) -> None:
    """Train in place; the network ends with the running average of its weights.

    Args:
        network: the network; its parameters that require a gradient are trained.
        loss: the function of a batch to minimise.
        batches: an iterator over at least as many batches as the schedule has steps.
        schedule: number of steps and learning rate.
        state: the file for resuming an interrupted training; a finished training is not repeated.
        title: the title of the progress bar.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, schedule.rate, betas=(0.9, 0.99))
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.factor)
    average = deepcopy(network.state_dict())
    start = 0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device_of(network))
        start, average = saved["step"], saved["average"]
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        rates.load_state_dict(saved["rates"])
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.4f}")) as progress:  # fmt: skip
        task = progress.add_task(title, total=schedule.steps, completed=start, loss=math.nan)
        recent = math.nan
        ready = prefetched(batches)
        for step in range(start, schedule.steps):
            value = loss(next(ready))
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            rates.step()
            _average(average, network)
            if step % SHOW_EVERY == 0:  # a GPU would wait at each step for the loss to be read
                recent = value.item() if math.isnan(recent) else 0.9 * recent + 0.1 * value.item()
            progress.update(task, completed=step + 1, loss=recent)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == schedule.steps:
                _save(state, step + 1, network, optimiser, rates, average)
    network.load_state_dict(average)


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, preparing the next one in a thread while one is used."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, batches)
        while True:
            batch = upcoming.result()
            upcoming = thread.submit(next, batches)
            yield batch


def device() -> torch.device:
    """Return the device on which networks are trained: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters."""
    return next(network.parameters()).device


def mixed_precision(place: torch.device) -> torch.autocast:
    """Run convolutions in bfloat16, on a CPU only if it has that; emulated, it would be five times slower."""
    enabled = place.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(place.type, torch.bfloat16, enabled=enabled)


def _average(average: dict[str, Tensor], network: nn.Module) -> None:
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - AVERAGE_DECAY)
            else:
                average[name].copy_(value)


def _save(
    state: Path,
    step: int,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rates: torch.optim.lr_scheduler.LambdaLR,
    average: dict[str, Tensor],
) -> None:
    with atomic_file(state, force=True) as partial:
        torch.save({"step": step, "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                    "rates": rates.state_dict(), "average": average}, partial)  # fmt: skip
