"""A live generator in PyTorch: all parents' parameters on the device, and one set of weights that a blend overwrites.

The weights stay where they are, and captured CUDA graphs read them there: no graph is captured for a blend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.contract.blends import TransferShares, rows_by_blend, shares_by_resolution
from engines.contract.tensors import BLEND
from engines.graph.generator_weights import ExportedGeneratorWeights
from engines.graph.live_generator import LiveGeneratorWeights
from engines.torch.cuda_graphs import Network
from engines.torch.generator import TorchGenerator
from engines.torch.layer_backends import LayerBackend
from engines.torch.layer_parameters import BlockParameters, blended, blended_tensor, block_parameters


class LiveTorchGenerator:
    """(w [N, L, D], psi [N, 1]) -> image, uint8 [N, R, R, 3], at the blend that was set last; first at the base.

    The parents' parameters are held in float32 with their gains. They are blended in float32, and what the layers read
    is computed from the blend as it is when a generator is loaded, and rounded once: where one parent has all it equals
    an exported blend's bit for bit.
    """

    def __init__(self, weights: LiveGeneratorWeights, backend: LayerBackend, device: torch.device) -> None:
        """Put all parents' parameters on ``device``, and a generator's weights in the format of ``backend``.

        Raises:
            EngineError: the graph is not a live generator of its signature.
        """
        base = weights.parent(0)
        self.generator = TorchGenerator(base, backend, device)
        parameters = _ParentParameters(base, device)
        del base  # one parent's arrays at a time
        others = range(1, weights.parents)
        self._parents = [parameters, *(_ParentParameters(weights.parent(number), device) for number in others)]
        self._shares: dict[int, TransferShares] = dict.fromkeys(range(len(parameters.blocks)), (0.0,) * len(others))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch: the tensors w and psi -> the tensor image."""
        return self.generator(inputs)

    def set_blend(self, blend: Sequence[TransferShares]) -> None:
        """Overwrite the weights of the resolutions whose shares change, on the device's current stream.

        Args:
            blend: the transferred models' shares at each resolution, lowest first.
        """
        for level, shares in enumerate(blend):
            if shares != self._shares.get(level):
                self._shares.pop(level, None)  # if the device's memory ends here, the weights are of no blend
                self._write(level, shares)
                self._shares[level] = shares

    def _write(self, level: int, shares: TransferShares) -> None:
        blocks = [parent.blocks[level] for parent in self._parents]
        if level == 0:
            self.generator.write_constant(blended_tensor([parent.constant for parent in self._parents], shares))
        for place, layers in enumerate(zip(*(block.convolutions for block in blocks), strict=True)):
            # The lowest resolution has one convolution, the others two.
            self.generator.write_convolution(max(2 * level - 1, 0) + place, blended(layers, shares))
        self.generator.write_rgb(level, blended([block.rgb for block in blocks], shares))


class _ParentParameters:
    """A parent's constant input [1, C, 4, 4], and its parameters at each resolution."""

    def __init__(self, weights: ExportedGeneratorWeights, device: torch.device) -> None:
        self.constant = torch.tensor(weights.constant, device=device)
        self.blocks: list[BlockParameters] = [block_parameters(block, device) for block in weights.resolutions]


class LiveNetwork:
    """(w [N, L, D], psi [N, 1], blend) -> image, uint8 [N, R, R, 3]; each blend's rows run on their own.

    ``blend`` is [N, G] or [N, G, T], as ``check_blend`` describes it.
    """

    def __init__(self, live: LiveTorchGenerator, run: Network | None = None) -> None:
        """Set the blends of ``live`` before ``run``, which replays it; None runs it itself."""
        self.live = live
        self._run: Network = run or live

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch; a ``blend`` that is on the host is not waited for."""
        blend = inputs[BLEND].cpu().numpy()
        others = {name: value for name, value in inputs.items() if name != BLEND}
        groups = rows_by_blend(blend)
        if len(groups) == 1:
            return self._run_at(blend[0], others)
        parts = [
            self._run_at(blend[rows[0]], {name: value[rows.tolist()] for name, value in others.items()})
            for rows in groups
        ]
        order = np.argsort(np.concatenate(groups)).tolist()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    def _run_at(self, blend: NDArray[np.float32], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.live.set_blend(shares_by_resolution(blend))
        return self._run(inputs)
