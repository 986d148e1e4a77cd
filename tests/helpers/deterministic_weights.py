"""Random weights that depend only on a seed and on each tensor's name, for checkpoints in official layouts.

Each tensor is standard normal from NumPy's frozen legacy generator, seeded with the CRC-32 of ``seed/name``, and scaled
so that the network's signals stay near 1. Recorded outputs of the official code were made with these weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64

Shape = tuple[int, ...]
Array = NDArray[Any]


def random_array(seed: str, name: str, shape: Shape) -> Array:
    state = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
    # The generator returns a Python number for an empty shape.
    return np.asarray(state.standard_normal(shape)).astype(np.float32)


def generator_value(seed: str, name: str, shape: Shape) -> Array:
    """A tensor of a StyleGAN2 generator, by its name in rosinality's code."""
    x = random_array(seed, name, shape)
    if name.endswith("kernel"):
        return FIR * 4
    if name.startswith("style."):
        # The file holds the weight without the factor 0.01 that the mapping network applies at run time.
        return x / np.float32(0.01) if name.endswith("weight") else x
    if name.endswith("modulation.bias"):
        return 1 + np.float32(0.1) * x
    return np.float32(0.1) * x if name.endswith(("noise.weight", "bias")) else x


def encoder_value(seed: str, name: str, shape: Shape) -> Array:
    """A tensor of a pSp or e4e encoder."""
    x = random_array(seed, name, shape)
    if name.endswith("num_batches_tracked"):
        return np.array(1, np.int64)
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(x)
    if len(shape) == 4:
        return x * np.float32(np.sqrt(1 / np.prod(shape[1:])))
    if name.endswith("linear.weight"):
        return x
    if name.endswith(("running_mean", "bias")):
        return np.float32(0.1) * x
    if name.endswith(("res_layer.2.weight", "input_layer.2.weight")):
        return np.float32(0.25) + np.float32(0.05) * x  # slopes of PReLU
    return 1 + np.float32(0.1) * x


def isf_value(seed: str, name: str, shape: Shape) -> Array:
    """A tensor of an ISF head."""
    x = random_array(seed, name, shape)
    if name.endswith("bias"):
        return np.float32(0.1) * x
    return 1 + np.float32(0.1) * x if len(shape) == 1 else x * np.float32(np.sqrt(1 / shape[1]))


def discriminator_value(seed: str, name: str, shape: Shape) -> Array:
    """A tensor of an ISF checkpoint's discriminator."""
    x = random_array(seed, name, shape)
    # He's initialisation keeps the signals of leaky ReLUs near 1.
    return np.float32(0.1) * x if len(shape) == 1 else x * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def state_dict(seed: str, shapes: Mapping[str, Shape], value: Callable[[str, str, Shape], Array]) -> dict[str, Array]:
    """Every tensor of ``shapes``, with values by one of the functions above."""
    return {name: value(seed, name, tuple(shape)) for name, shape in shapes.items()}
