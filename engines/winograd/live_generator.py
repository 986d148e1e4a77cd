"""A live generator in the compiled kernels: both parents' blocks in memory, and the blends that were last asked for.

A share of 0 or 1 picks a parent's block, which takes no time. Any other one is blended, transformed and, in fixed
point, quantised when it is first asked for, one resolution at a time, and kept in a cache.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from engines.contract.blends import NEGLIGIBLE
from engines.graph.live_generator import LiveGeneratorWeights
from engines.winograd.arrays import FloatArray
from engines.winograd.generator import Synthesis, SynthesisBlock, blocks_from_weights
from engines.winograd.library import WinogradKernels

CACHED_BLENDS = 2
"""Blends whose blocks are kept: the one in use, and the one before, to which a slider often goes back."""


class LiveWinogradGenerator:
    """A generator as a function (w, psi, blend) -> image; ``blend`` [G] is the transferred model's shares."""

    def __init__(self, weights: LiveGeneratorWeights, kernels: WinogradKernels) -> None:
        """Transform both parents' weights.

        Raises:
            EngineError: the graph is not a live generator of its signature.
        """
        self._weights, self._kernels = weights, kernels
        base = weights.parent(0.0)
        self._base = blocks_from_weights(base, kernels)
        self._synthesis = Synthesis(base.w_avg, self._base, kernels)
        del base  # the raw weights are not needed while the others are transformed
        self._transfer = blocks_from_weights(weights.parent(1.0), kernels)
        self._blended = BlockCache(CACHED_BLENDS * sum(block.nbytes for block in self._base))

    def __call__(  # [L, D], [G] -> [R, R, 3]
        self, w: FloatArray, psi: np.float32, blend: FloatArray
    ) -> NDArray[np.uint8]:
        return self._synthesis([self._block(number, float(share)) for number, share in enumerate(blend)], w, psi)

    def _block(self, number: int, share: float) -> SynthesisBlock:
        if share <= NEGLIGIBLE:
            return self._base[number]
        if share == 1:
            return self._transfer[number]
        block = self._blended.get((number, share))
        if block is None:
            constant = None if number else self._weights.constant(share)
            block = SynthesisBlock(self._weights.block(number, share), self._kernels, constant)
            self._blended.put((number, share), block)
        return block


class BlockCache:
    """Blocks by resolution and share; those that were not asked for longest are dropped above ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[tuple[int, float], SynthesisBlock] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """The memory of all blocks, in bytes."""
        return sum(block.nbytes for block in self._blocks.values())

    def get(self, key: tuple[int, float]) -> SynthesisBlock | None:
        """Return a block, which becomes the last that was asked for, or None."""
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def put(self, key: tuple[int, float], block: SynthesisBlock) -> None:
        """Keep a block."""
        self._blocks[key] = block
        while self.nbytes > self._limit:
            self._blocks.popitem(last=False)
