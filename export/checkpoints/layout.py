"""The layers and tensors of a StyleGAN2 generator, which every checkpoint format names differently."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.weights import Array, Tensors

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
"""The resampling filter [1, 3, 3, 1] x [1, 3, 3, 1] with sum 1, [4, 4]; no other one is supported."""

LARGEST_RESOLUTION = 4096

SEEDED_NOISE = "the file holds no noise maps; fixed random ones were drawn"
NO_NOISE = "the generator was trained without noise; its noise strengths are zero"

RESAVE_GENERATOR = "convert it with the tools of its own project, or choose a StyleGAN2 generator"


@dataclass(frozen=True)
class Layer:
    """A modulated convolution; ``up`` and ``conv`` have noise, ``rgb`` is toRGB."""

    resolution: int
    kind: Literal["up", "conv", "rgb"]

    @property
    def name(self) -> str:
        return f"synthesis.{self.resolution}.{self.kind}"

    @property
    def noise_index(self) -> int:
        """The layer's index in the formats that number noise maps: 0 at 4x4, then two for each resolution."""
        return 2 * (self.resolution.bit_length() - 1) - (5 if self.kind == "up" else 4)

    @property
    def noise_names(self) -> tuple[str, ...]:
        """Canonical names of the layer's noise tensors."""
        return () if self.kind == "rgb" else (f"{self.name}.noise_strength", f"{self.name}.noise")

    @property
    def parts(self) -> tuple[str, ...]:
        common = ("weight", "bias", "affine.weight", "affine.bias")
        return common if self.kind == "rgb" else (*common, "noise_strength", "noise")


def layers_of(resolution: int) -> list[Layer]:
    """Return the layers from 4x4 to ``resolution`` in the order of computation."""
    layers = [Layer(4, "conv"), Layer(4, "rgb")]
    r = 8
    while r <= resolution:
        layers += [Layer(r, "up"), Layer(r, "conv"), Layer(r, "rgb")]
        r *= 2
    return layers


def zero_noise(layers: Iterable[Layer]) -> dict[str, Array]:
    """Return zero noise maps and strengths for layers that were trained without noise."""
    zeros: dict[str, Array] = {}
    for layer in layers:
        strength, noise = layer.noise_names
        zeros |= {strength: np.zeros((), np.float32), noise: np.zeros((layer.resolution,) * 2, np.float32)}
    return zeros


def count_matching(names: Collection[str], pattern: str) -> int:
    """Count the ``names`` that the regular expression ``pattern`` matches in full."""
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def checked_resolution(context: ReadContext, resolution: int) -> int:
    """Return ``resolution``; raise CheckpointError unless it is a power of two from 8 to 4096."""
    if not 8 <= resolution <= LARGEST_RESOLUTION or resolution & (resolution - 1):
        raise context.error(
            f"a generator of resolution {resolution}",
            expected=f"a power of two from 8 to {LARGEST_RESOLUTION}",
            remedy=RESAVE_GENERATOR,
        )
    return resolution


def checked_clamp(context: ReadContext, value: object) -> float | None:
    """Return a conv_clamp option as a float or None; raise CheckpointError unless it is a positive number or None."""
    if value is not None and not (isinstance(value, int | float) and 0 < value < 1e30):
        raise context.error(f"conv_clamp = {clipped(value)}", expected="a positive number or None")
    return None if value is None else float(value)


def require_tensor(context: ReadContext, tensors: StoredTensors, name: str, network: str = "StyleGAN2") -> StoredTensor:
    """Return the tensor ``name``; raise CheckpointError if it is missing."""
    if name not in tensors:
        raise context.error(f"no tensor {name!r}", expected=f"a complete {network} generator", remedy=RESAVE_GENERATOR)
    return tensors[name]


def width(tensors: Tensors, name: str) -> int:
    """Return the last dimension of the one tensor from which a width is read; 0 if there is none.

    All other tensors are compared with it.
    """
    array = tensors.get(name)
    return array.shape[-1] if array is not None and array.ndim else 0


def check_no_other_tensors(
    context: ReadContext, tensors: StoredTensors, known: set[str], network: str = "StyleGAN2"
) -> None:
    """Raise CheckpointError if there are tensors other than the ``known`` ones, as in another architecture."""
    others = sorted(tensors.keys() - known)
    if others:
        raise context.error(
            f"the tensor {clipped(others[0])} and {len(others) - 1} more that {network} does not have",
            expected=f"a {network} generator and nothing else",
            remedy=RESAVE_GENERATOR,
        )


def check_fir(context: ReadContext, name: str, tensor: StoredTensor, gain: float) -> None:
    """Raise CheckpointError unless ``tensor`` is the filter [1, 3, 3, 1] times ``gain``."""
    if tensor.shape != FIR.shape or not np.allclose(tensor.array(), FIR * gain, rtol=0, atol=1e-6):
        raise context.error(
            f"a resampling filter {name!r} other than [1, 3, 3, 1]",
            expected="the filter of StyleGAN2's configurations",
            remedy="choose a generator that was trained with that filter",
        )


def local_name(name: str) -> str:
    """Return a tensor's name within its resolution: ``up.weight`` for ``synthesis.8.up.weight``."""
    return name.split(".", 2)[-1]


def strip_unit_axes(context: ReadContext, name: str, array: Array, axes: tuple[int, int]) -> Array:
    """Drop leading and trailing axes of length 1; ``axes`` states how many of each there are."""
    lead, trail = axes
    shape = array.shape[lead : max(array.ndim - trail, lead)]
    if array.size != np.prod(shape, dtype=int) or array.ndim < lead + trail:
        raise context.error(
            f"a tensor of shape {list(array.shape)} for {name}",
            expected=f"{lead} leading and {trail} trailing axes of length 1",
            remedy=RESAVE_GENERATOR,
        )
    return array.reshape(shape)


def w_avg_from(context: ReadContext, latent_avg: object) -> Array | None:
    """Return the mean of w, [D], from a ``latent_avg`` of [D], [1, D] or [L, D] with equal rows; None for None.

    Raises:
        CheckpointError: the rows differ, or ``latent_avg`` is not a tensor.
    """
    if latent_avg is None:
        return None
    if not isinstance(latent_avg, StoredTensor) or len(latent_avg.shape) not in (1, 2):
        raise context.error("a latent_avg of another form", expected="a tensor [D] or [L, D]")
    rows: Array = latent_avg.array().reshape(-1, latent_avg.shape[-1])
    if np.any(rows != rows[0]):
        raise context.error(
            "a latent_avg whose rows differ", expected="one mean of w", remedy="store the mean of the mapping network"
        )
    return np.array(rows[0])
