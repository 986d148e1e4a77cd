"""How much shared memory a block may take: it decides whether a convolution keeps its weights there."""

from __future__ import annotations

import torch

EVERYWHERE = 48 * 1024
"""Bytes that a block may take on every GPU without asking, and the most that TensorRT is known to grant a plugin."""

_RESERVED = 1024
"""Bytes of each block that CUDA takes itself."""


def half_of(multiprocessor: int) -> int:
    """The most that leaves room for a second block on a multiprocessor with so many bytes of shared memory.

    With one block of four warps, nothing would compute while it waits for memory.
    """
    return multiprocessor // 2 - _RESERVED


def alone(block_bytes: int) -> int:
    """The most that a block takes which has a multiprocessor to itself, where each of two may take ``block_bytes``."""
    return block_bytes if block_bytes <= EVERYWHERE else 2 * block_bytes + _RESERVED


def block_bytes(device: torch.device) -> int:
    """The most that a block launched on ``device`` should take."""
    if device.type != "cuda":
        return EVERYWHERE
    return max(EVERYWHERE, half_of(torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor))
