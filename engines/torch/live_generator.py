"""A live generator in PyTorch: both parents' parameters on the device, and one set of weights that a blend overwrites.

The weights stay where they are, and captured CUDA graphs read them there: no graph is captured for a blend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from engines.contract.blends import rows_by_blend
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
    is computed from the blend as it is when a generator is loaded, and rounded once: at a share of 0 or 1 it equals an
    exported blend's bit for bit.
    """

    def __init__(self, weights: LiveGeneratorWeights, backend: LayerBackend, device: torch.device) -> None:
        """Put both parents' parameters on ``device``, and a generator's weights in the format of ``backend``.

        Raises:
            EngineError: the graph is not a live generator of its signature.
        """
        base = weights.parent(0.0)
        self.generator = TorchGenerator(base, backend, device)
        self._base = _ParentParameters(base, device)
        del base  # one parent's arrays at a time
        self._transfer = _ParentParameters(weights.parent(1.0), device)
        self._shares = dict.fromkeys(range(len(self._base.blocks)), 0.0)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch: the tensors w and psi -> the tensor image."""
        return self.generator(inputs)

    def set_blend(self, blend: Sequence[float]) -> None:
        """Overwrite the weights of the resolutions whose share changes, on the device's current stream.

        Args:
            blend: the transferred model's share at each resolution, lowest first.
        """
        for number, share in enumerate(blend):
            if share != self._shares.get(number):
                self._shares.pop(number, None)  # if the device's memory ends here, the weights are of no share
                self._write(number, share)
                self._shares[number] = share

    def _write(self, number: int, share: float) -> None:
        base, transfer = self._base.blocks[number], self._transfer.blocks[number]
        if number == 0:
            self.generator.write_constant(blended_tensor(self._base.constant, self._transfer.constant, share))
        for place, pair in enumerate(zip(base.convolutions, transfer.convolutions, strict=True)):
            # The lowest resolution has one convolution, the others two.
            self.generator.write_convolution(max(2 * number - 1, 0) + place, blended(*pair, share))
        self.generator.write_rgb(number, blended(base.rgb, transfer.rgb, share))


class _ParentParameters:
    """A parent's constant input [1, C, 4, 4], and its parameters at each resolution."""

    def __init__(self, weights: ExportedGeneratorWeights, device: torch.device) -> None:
        self.constant = torch.tensor(weights.constant, device=device)
        self.blocks: list[BlockParameters] = [block_parameters(block, device) for block in weights.resolutions]


class LiveNetwork:
    """(w [N, L, D], psi [N, 1], blend [N, G]) -> image, uint8 [N, R, R, 3]; each blend's rows run on their own."""

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
            return self._run_at(blend[0].tolist(), others)
        parts = [
            self._run_at(blend[rows[0]].tolist(), {name: value[rows.tolist()] for name, value in others.items()})
            for rows in groups
        ]
        order = np.argsort(np.concatenate(groups)).tolist()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    def _run_at(self, blend: Sequence[float], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.live.set_blend(blend)
        return self._run(inputs)
