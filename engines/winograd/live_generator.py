"""A live generator in the compiled kernels: the parents' blocks in memory, and the blends that were last asked for.

Where one parent has all, its block is picked, which takes no time. Any other block is computed, transformed and, in
fixed point, quantised when it is first asked for, one resolution at a time, and kept in a cache.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from engines.contract.blends import TransferShares, shares_by_resolution, terms
from engines.graph.live_generator import LiveGeneratorWeights
from engines.winograd.arrays import FloatArray
from engines.winograd.generator import Synthesis, SynthesisBlock, blocks_from_weights
from engines.winograd.library import WinogradKernels

CACHED_BLENDS = 2
"""Blends whose blocks are kept: the one in use, and the one before, to which a slider often goes back."""


class LiveWinogradGenerator:
    """A generator as a function (w, psi, blend) -> image; ``blend`` [G] or [G, T] is the transferred models' shares."""

    def __init__(self, weights: LiveGeneratorWeights, kernels: WinogradKernels) -> None:
        """Transform the parents' weights.

        Raises:
            EngineError: the graph is not a live generator of its signature.
        """
        self._weights, self._kernels = weights, kernels
        base = weights.parent(0)
        blocks = blocks_from_weights(base, kernels)
        self._synthesis = Synthesis(base.w_avg, blocks, kernels)
        del base  # one parent's raw weights at a time
        others = range(1, weights.parents)
        self._parents = [blocks, *(blocks_from_weights(weights.parent(number), kernels) for number in others)]
        self._blended = BlockCache(CACHED_BLENDS * sum(block.nbytes for block in blocks))

    def __call__(  # [L, D], [G] or [G, T] -> [R, R, 3]
        self, w: FloatArray, psi: np.float32, blend: FloatArray
    ) -> NDArray[np.uint8]:
        blocks = [self._block(level, shares) for level, shares in enumerate(shares_by_resolution(blend))]
        return self._synthesis(blocks, w, psi)

    def _block(self, level: int, shares: TransferShares) -> SynthesisBlock:
        (parent, _), *others = terms(shares)
        if not others:
            return self._parents[parent][level]
        block = self._blended.get((level, shares))
        if block is None:
            constant = None if level else self._weights.constant(shares)
            block = SynthesisBlock(self._weights.block(level, shares), self._kernels, constant)
            self._blended.put((level, shares), block)
        return block


BlockKey = tuple[int, TransferShares]
"""A resolution, counted from the lowest, and its shares."""


class BlockCache:
    """Blocks by resolution and shares; those that were not asked for longest are dropped above ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[BlockKey, SynthesisBlock] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """The memory of all blocks, in bytes."""
        return sum(block.nbytes for block in self._blocks.values())

    def get(self, key: BlockKey) -> SynthesisBlock | None:
        """Return a block, which becomes the last that was asked for, or None."""
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def put(self, key: BlockKey, block: SynthesisBlock) -> None:
        """Keep a block."""
        self._blocks[key] = block
        while self.nbytes > self._limit:
            self._blocks.popitem(last=False)
