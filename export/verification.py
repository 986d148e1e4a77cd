"""Does the exported model, in the engine that will run it, give what the PyTorch reference gives?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import DType, Signature
from engines.loading import Target
from engines.model_directory import Precision, Verification
from export.parity import parity

Reference = Callable[..., Tensor]

BATCHES: dict[Target, tuple[int, ...]] = dict.fromkeys(get_args(Target), (1, 3, 6)) | {"cpu": (1, 2)}
"""Sizes of the batches that an engine is verified with; GPUs' are prepared for 1, 4 and 8, and fill up the others."""


@dataclass(frozen=True)
class Sample:
    """One batch of inputs and the reference's output for it."""

    inputs: Mapping[str, AnyArray]
    output: AnyArray


@dataclass(frozen=True)
class Bound:
    """What an engine's error may be; ``worst`` and ``mean`` as in ``Verification``, None = not looked at."""

    psnr: float
    mean: float | None = None
    worst: float | None = None

    def __str__(self) -> str:
        limits = {"mean": self.mean, "worst": self.worst}
        named = [f"{name} <= {limit:g}" for name, limit in limits.items() if limit is not None]
        return ", ".join([f"PSNR >= {self.psnr:g} dB", *named])

    def holds(self, found: Verification) -> bool:
        """Whether a measured error is within the bound; an error that is not a number never is."""
        return (
            (found.psnr is None or found.psnr >= self.psnr)
            and (self.mean is None or found.mean <= self.mean)
            and (self.worst is None or found.worst <= self.worst)
        )


def bound_for(output: DType, precision: Precision) -> Bound:
    """The bound for a component's output.

    Pictures in fp32: truncation to 8 bits turns a difference of 1e-6 into one level where a value lies on the edge of
    two, so single levels are allowed and more are not. Pictures in less: a mean of 1 level and 40 dB, below which
    differences are not seen. Latents in fp32: 80 dB is 1e-4 of their range, root mean square.
    """
    if precision != "fp32":
        return Bound(psnr=40, mean=1.0) if output is DType.UINT8 else Bound(psnr=40)
    return Bound(psnr=55, mean=0.1, worst=2) if output is DType.UINT8 else Bound(psnr=80)


def reference_samples(reference: Reference, batches: Sequence[Mapping[str, AnyArray]]) -> tuple[Sample, ...]:
    """Run the PyTorch reference, whose parameters are the signature's inputs by name, on each batch."""

    def output(batch: Mapping[str, AnyArray]) -> AnyArray:
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        size = len(next(iter(tensors.values())))
        # One by one: a batch of float32 maps at 1024x1024 would take gigabytes.
        rows = [reference(**{name: value[row : row + 1] for name, value in tensors.items()}) for row in range(size)]
        return torch.cat(rows).numpy()

    with torch.no_grad():
        return tuple(Sample(batch, output(batch)) for batch in batches)


def verify(engine: Engine, samples: Sequence[Sample], inputs: str, bound: Bound) -> Verification:
    """Measure an engine's error over all samples; ``inputs`` says in words what they are."""
    (output,) = engine.signature.outputs
    expected = np.concatenate([sample.output.ravel() for sample in samples])
    got = np.concatenate([engine.run(sample.inputs)[output.name].ravel() for sample in samples])
    return compared(expected, got, inputs, bound)


def compared(expected: AnyArray, got: AnyArray, inputs: str, bound: Bound) -> Verification:
    """The errors of an output; both arrays are of one shape."""
    found = parity(got, expected)
    psnr = None if found.psnr == np.inf else found.psnr
    return Verification(inputs=inputs, worst=found.worst, mean=found.mean, psnr=psnr, bound=str(bound))


def batches_for(
    signature: Signature, w: AnyArray | None = None, *, sizes: Sequence[int] = (1, 2), seed: int = 0
) -> list[dict[str, AnyArray]]:
    """Seeded inputs, in batches of several sizes, so that the dynamic batch is exercised too.

    Args:
        signature: the inputs to draw.
        w: W+ codes [K, L, D] to use in turn, where the model takes w.
        sizes: of the batches.
        seed: of everything that is drawn.
    """
    draw = np.random.default_rng(seed)
    count = sum(sizes)
    pools: dict[str, Callable[[tuple[int, ...]], AnyArray]] = {
        "face": lambda dims: _smooth_pictures(draw, count, dims),
        "w": lambda dims: draw.standard_normal((count, *dims)) if w is None else w[np.arange(count) % len(w)],
        "attributes": lambda dims: draw.integers(0, 2, (count, *dims)),
        "z": lambda dims: draw.standard_normal((count, *dims)),
        "row_strength": lambda dims: np.linspace(0, 1, count)[:, None] * np.ones((count, *dims)),
        "psi": lambda dims: np.linspace(1, 0.5, count)[:, None] * np.ones((count, *dims)),
    }
    drawn = {spec.name: pools[spec.name](spec.dims).astype(spec.dtype.numpy) for spec in signature.inputs}
    ends = np.cumsum(sizes)
    return [
        {name: value[end - size : end] for name, value in drawn.items()} for size, end in zip(sizes, ends, strict=True)
    ]


def in_batches(sizes: Sequence[int]) -> str:
    """In words."""
    *first, last = map(str, sizes)
    return f"in batches of {', '.join(first)} and {last}"


def _smooth_pictures(draw: np.random.Generator, count: int, dims: tuple[int, ...]) -> AnyArray:
    """Pictures [count, H, W, 3] with structure at several scales, 0..255."""
    height, width, channels = dims
    picture = np.zeros((count, height, width, channels))
    for size in (4, 16, 64):
        coarse = draw.uniform(-60, 60, (count, size, size, channels))
        picture += coarse.repeat(height // size, 1).repeat(width // size, 2)
    return np.clip(picture + 128, 0, 255)
