"""The training loop of all demo networks: Muon and Adam, a learning-rate schedule, averaged weights, and resumption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from engines.contract.atomic import atomic_file
from engines.contract.errors import ExportError

Batch = TypeVar("Batch")

AVERAGE_DECAY = 0.99
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that Muon's author gives; five steps bring all singular values near 1."""
SAVE_EVERY = 100
SHOW_EVERY = 5


@dataclass(frozen=True)
class Schedule:
    """Number of steps and peak learning rates, reached after 2 % of them and decayed to a thirtieth by a cosine.

    Attributes:
        steps: number of steps.
        rate: Adam's peak learning rate.
        matrix_rate: the root mean square of Muon's change of a matrix in a step, at the peak; with 0, Adam trains
            matrices and convolutions, too.
    """

    steps: int
    rate: float
    matrix_rate: float = 0

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
        state: the file for resuming an interrupted training, which takes new batches; a finished one is not repeated.
        title: the title of the progress bar.

    Raises:
        ExportError: the file to resume from is of a network of other sizes.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimisers = optimisers_of(trained, schedule)
    rates = [torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.factor) for optimiser in optimisers]
    average = deepcopy(network.state_dict())
    start = 0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device_of(network))
        check_sizes(
            state,
            saved["network"],
            network,
            got="the training of a network of other sizes",
            remedy="remove this file, or give another folder to --work",
        )
        start, average = saved["step"], saved["average"]
        network.load_state_dict(saved["network"])
        for optimiser, stored in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        for rate, stored in zip(rates, saved["rates"], strict=True):
            rate.load_state_dict(stored)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.4f}")) as progress:  # fmt: skip
        task = progress.add_task(title, total=schedule.steps, completed=start, loss=math.nan)
        recent = math.nan
        ready = prefetched(batches)
        for step in range(start, schedule.steps):
            value = loss(next(ready))
            network.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            for optimiser, rate in zip(optimisers, rates, strict=True):
                optimiser.step()
                rate.step()
            _average(average, network)
            if step % SHOW_EVERY == 0:  # a GPU would wait at each step for the loss to be read
                recent = value.item() if math.isnan(recent) else 0.9 * recent + 0.1 * value.item()
            progress.update(task, completed=step + 1, loss=recent)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == schedule.steps:
                _save(state, step + 1, network, optimisers, rates, average)
    network.load_state_dict(average)


def optimisers_of(parameters: Sequence[nn.Parameter], schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Return Muon for matrices and convolutions, if the schedule has a rate for them, and Adam for the others."""
    matrices = [each for each in parameters if schedule.matrix_rate and each.ndim in {2, 4}]
    ids = {id(each) for each in matrices}
    others = [each for each in parameters if id(each) not in ids]
    optimisers: list[torch.optim.Optimizer] = [Muon(matrices, schedule.matrix_rate)] if matrices else []
    return [*optimisers, torch.optim.Adam(others, schedule.rate, betas=(0.9, 0.99))]


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): the momentum of a matrix's gradient, with all its singular values set to 1.

    A convolution [O, I, k, k] counts as the matrix [O, I k k]; ``torch.optim.Muon`` takes no convolutions. A change
    is scaled to the root mean square ``rate``. The base generator at 32x32 reaches the loss of 300 steps of Adam in
    about 150 steps.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:  # a layer above the resolution of this stage
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - MUON_MOMENTUM)
                ahead = parameter.grad.lerp(momentum, MUON_MOMENTUM)  # Nesterov's form
                change = orthogonalised(ahead.flatten(1)).view_as(ahead)
                size = change.square().mean().sqrt() + 1e-12  # a tensor: a GPU would wait for a number to be read
                parameter.sub_(group["lr"] / size * change)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the matrix [M, K] with singular values near 1, between 0.7 and 1.2, by Newton-Schulz iterations.

    They are iterated on the Gram matrix [M, M], whose products are cheaper where K is far larger than M.
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonalised(matrix.T).T
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    gram, identity = x @ x.T, torch.eye(len(x), device=x.device)
    total = identity
    for _ in range(5):
        step = a * identity + b * gram + c * gram @ gram
        gram, total = step @ gram @ step, step @ total
    return total @ x


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


def check_sizes(file: Path, tensors: Mapping[str, Tensor], network: nn.Module, *, got: str, remedy: str) -> None:
    """Raise an ExportError unless a file's tensors have the names and shapes of a network's."""
    stored, own = ({name: value.shape for name, value in each.items()} for each in (tensors, network.state_dict()))
    if stored != own:
        raise ExportError(str(file), got=got, expected="the sizes that this program trains", remedy=remedy)


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
    optimisers: Sequence[torch.optim.Optimizer],
    rates: Sequence[torch.optim.lr_scheduler.LambdaLR],
    average: dict[str, Tensor],
) -> None:
    with atomic_file(state, force=True) as partial:
        torch.save({"step": step, "network": network.state_dict(), "average": average,
                    "optimisers": [each.state_dict() for each in optimisers],
                    "rates": [each.state_dict() for each in rates]}, partial)  # fmt: skip
