"""Verification of an exported model, in the engine that will run it, against the PyTorch reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import BLEND, DType, Signature
from engines.loading import Target
from engines.model_directory import Precision, Verification
from export.networks.generator import StyleGenerator
from export.parity import parity

Reference = Callable[..., Tensor]

BATCHES: dict[Target, tuple[int, ...]] = dict.fromkeys(get_args(Target), (1, 3, 6)) | {"cpu": (1, 2)}
"""Batch sizes of the verification; engines on GPUs are prepared for batches of 1, 4 and 8, and pad others."""


@dataclass(frozen=True)
class Sample:
    """A batch of inputs and the reference's output for it."""

    inputs: Mapping[str, AnyArray]
    output: AnyArray


@dataclass(frozen=True)
class Bound:
    """Limits of an engine's error: the least PSNR in dB, and the largest mean and worst error; None sets no limit."""

    psnr: float
    mean: float | None = None
    worst: float | None = None

    def __str__(self) -> str:
        limits = {"mean": self.mean, "worst": self.worst}
        named = [f"{name} <= {limit:g}" for name, limit in limits.items() if limit is not None]
        return ", ".join([f"PSNR >= {self.psnr:g} dB", *named])

    def holds(self, error: Verification) -> bool:
        """Return whether a measured error is within the bound; an error that is not a number never is."""
        return (
            (error.psnr is None or error.psnr >= self.psnr)
            and (self.mean is None or error.mean <= self.mean)
            and (self.worst is None or error.worst <= self.worst)
        )


def bound_for(output: DType, precision: Precision) -> Bound:
    """Return the bound for a component's output.

    Pictures in fp32 may differ by single levels: truncation to 8 bits turns a difference of 1e-6 into a whole level if
    a value lies on the edge between two. Pictures in lower precision may have a mean error of 1 level and a PSNR of
    40 dB, at which differences are not visible. Latents in fp32 must have 80 dB, a root mean square error of 1e-4 of
    their range.
    """
    if precision != "fp32":
        return Bound(psnr=40, mean=1.0) if output is DType.UINT8 else Bound(psnr=40)
    return Bound(psnr=55, mean=0.1, worst=2) if output is DType.UINT8 else Bound(psnr=80)


def reference_samples(reference: Reference, batches: Sequence[Mapping[str, AnyArray]]) -> tuple[Sample, ...]:
    """Run the PyTorch reference, whose parameters are the signature's inputs by name, on the largest batch.

    The other batches are the first rows of it, as ``batches_for`` draws them, and share its outputs.
    """
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    largest = batches[sizes.index(max(sizes))]
    tensors = {name: torch.from_numpy(value) for name, value in largest.items()}
    with torch.no_grad():
        # Samples run one by one, since a batch of float32 maps at 1024x1024 would take gigabytes.
        rows = [reference(**{name: value[k : k + 1] for name, value in tensors.items()}) for k in range(max(sizes))]
    outputs = torch.cat(rows).numpy()
    return tuple(Sample(batch, outputs[:size]) for batch, size in zip(batches, sizes, strict=True))


def verify(engine: Engine, samples: Sequence[Sample], inputs: str, bound: Bound) -> Verification:
    """Measure an engine's error over all samples; ``inputs`` describes them in words."""
    (output,) = engine.signature.outputs
    return error_of([engine.run(sample.inputs)[output.name] for sample in samples], samples, inputs, bound)


def error_of(outputs: Sequence[AnyArray], samples: Sequence[Sample], inputs: str, bound: Bound) -> Verification:
    """Measure the error of the outputs for all samples."""
    expected = np.concatenate([sample.output.ravel() for sample in samples])
    return compare(expected, np.concatenate([output.ravel() for output in outputs]), inputs, bound)


def compare(expected: AnyArray, got: AnyArray, inputs: str, bound: Bound) -> Verification:
    """Measure the error of an output against an array of the same shape."""
    error = parity(got, expected)
    psnr = None if error.psnr == np.inf else error.psnr
    return Verification(inputs=inputs, worst=error.worst, mean=error.mean, psnr=psnr, bound=str(bound))


def batches_for(
    signature: Signature,
    w: AnyArray | None = None,
    *,
    blends: AnyArray | None = None,
    sizes: Sequence[int] = (1, 2),
    seed: int = 0,
) -> list[dict[str, AnyArray]]:
    """Draw seeded inputs, in batches of several sizes, so that the dynamic batch is exercised too.

    Each batch is the first rows of the largest one: the reference need not run again for it, and an engine whose result
    depends on a sample's neighbours is found.

    Args:
        signature: the inputs to draw.
        w: W+ codes [K, L, D] to use in turn for the input w; None draws it from a normal distribution.
        blends: blends [K, G] or [K, G, T] to use in turn for the input blend; None takes ``blends_to_verify``.
        sizes: the batch sizes.
        seed: the seed of all inputs.
    """
    rng = np.random.default_rng(seed)
    count = max(sizes)
    samplers: dict[str, Callable[[tuple[int, ...]], AnyArray]] = {
        "face": lambda dims: _smooth_pictures(rng, count, dims),
        "w": lambda dims: rng.standard_normal((count, *dims)) if w is None else _in_turn(w, count),
        "attributes": lambda dims: rng.integers(0, 2, (count, *dims)),
        "z": lambda dims: rng.standard_normal((count, *dims)),
        "row_strength": lambda dims: np.linspace(0, 1, count)[:, None] * np.ones((count, *dims)),
        "psi": lambda dims: np.linspace(1, 0.5, count)[:, None] * np.ones((count, *dims)),
        BLEND: lambda dims: _in_turn(blends_to_verify(dims) if blends is None else blends, count),
    }
    drawn = {spec.name: samplers[spec.name](spec.dims).astype(spec.dtype.numpy) for spec in signature.inputs}
    return [{name: value[:size] for name, value in drawn.items()} for size in sizes]


def blends_to_verify(dims: tuple[int, ...]) -> AnyArray:
    """Return the blends at which a live generator is verified, for its input's dims [G] or [G, T]: [K, *dims].

    They are the base, every hard swap to each transferred model, and a smooth blend of all.
    """
    count, models = dims[0], prod(dims[1:])
    steps = np.arange(count) < np.arange(1, count + 1)[:, None]
    swaps = [step[:, None] * (np.arange(models) == model) for model in range(models) for step in steps]
    parts = np.arange(1, models + 1) / np.arange(1, models + 1).sum()
    smooth = np.linspace(1, 0, count + 2)[1:-1, None] * parts
    blends: AnyArray = np.stack([np.zeros((count, models)), *swaps, smooth]).astype(np.float32)
    return blends.reshape(-1, *dims)


def seeded_codes(generator: StyleGenerator, rows: int) -> AnyArray:
    """Return three W+ codes, [3, L, D]: one whose rows alternate between two w, and those two with equal rows."""
    rng = np.random.default_rng(0)
    w_avg: AnyArray = generator.mapping.w_avg.numpy()
    if len(list(generator.mapping.children())):
        z = torch.from_numpy(rng.standard_normal((2, generator.mapping.z_dim), dtype=np.float32))
        with torch.no_grad():
            w = generator.mapping(z).numpy()
    else:
        w = w_avg + rng.standard_normal((2, len(w_avg)), dtype=np.float32)
    alternating = w[np.arange(rows) % 2]
    return np.stack([alternating, w[0][None].repeat(rows, 0), w[1][None].repeat(rows, 0)])


def _in_turn(values: AnyArray, count: int) -> AnyArray:
    taken: AnyArray = values[np.arange(count) % len(values)]
    return taken


def describe_batches(sizes: Sequence[int]) -> str:
    """Describe batch sizes in words, as in "in batches of 1, 3 and 6"."""
    *first, last = map(str, sizes)
    return f"in batches of {', '.join(first)} and {last}"


def _smooth_pictures(rng: np.random.Generator, count: int, dims: tuple[int, ...]) -> AnyArray:
    """Draw pictures [count, H, W, 3] in 0..255 with structure at several scales."""
    height, width, channels = dims
    picture = np.zeros((count, height, width, channels))
    for size in (4, 16, 64):
        coarse = rng.uniform(-60, 60, (count, size, size, channels))
        picture += coarse.repeat(height // size, 1).repeat(width // size, 2)
    return np.clip(picture + 128, 0, 255)
