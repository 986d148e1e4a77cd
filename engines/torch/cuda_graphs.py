"""A network as CUDA graphs, one for each prepared batch size: hundreds of kernel launches are replayed as one.

A graph reads its inputs from fixed buffers and writes its outputs to others. Only captures wait for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from engines.batch_sizes import batch_slices
from engines.contract.tensors import DType, Signature, TensorSpec

Network = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

DTYPES = {DType.UINT8: torch.uint8, DType.FLOAT32: torch.float32}

_WARM_UPS = 3
"""The number of runs before a capture, during which kernels are compiled and cuDNN chooses its algorithms."""


class CudaGraphs:
    """A network for batches of any size; it serves one call at a time."""

    def __init__(self, network: Network, signature: Signature, device: torch.device, batches: Collection[int]) -> None:
        """Capture ``network`` on ``device`` for each size in ``batches``."""
        self._outputs = signature.outputs
        self._device = device
        # The graphs run one at a time and share memory; the first is the largest, and the others fit into its memory.
        pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(device):
            self._graphs = {
                batch: _CapturedGraph(
                    network, {spec.name: empty(spec, batch, device).zero_() for spec in signature.inputs}, pool
                )
                for batch in sorted(batches, reverse=True)
            }

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run on the device's current stream; the caller owns the results."""
        batch = len(next(iter(inputs.values())))
        outputs = {spec.name: empty(spec, batch, self._device) for spec in self._outputs}
        with torch.cuda.device(self._device):
            for size, part in batch_slices(batch, self._graphs):
                self._graphs[size].run(_slice_tensors(inputs, part), _slice_tensors(outputs, part))
        return outputs


class _CapturedGraph:
    """One captured batch size."""

    def __init__(self, network: Network, inputs: dict[str, Tensor], pool: Any) -> None:
        self._inputs = inputs
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        # PyTorch enables TF32 for float32 convolutions by default, which has 10 bits of mantissa.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    network(inputs)
            # Other threads may use the GPU during the capture.
            with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self._outputs = network(inputs)
        torch.cuda.current_stream().wait_stream(stream)

    def run(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Replay the graph; if the tensors hold fewer samples, the rest of the batch keeps its previous content."""
        for name, value in inputs.items():
            self._inputs[name][: len(value)].copy_(value)
        self._graph.replay()
        for name, value in outputs.items():
            value.copy_(self._outputs[name][: len(value)])


def empty(spec: TensorSpec, batch: int, device: torch.device, *, pinned: bool = False) -> Tensor:
    """An uninitialised batch of a signature's tensor."""
    return torch.empty((batch, *spec.dims), dtype=DTYPES[spec.dtype], device=device, pin_memory=pinned)


def _slice_tensors(tensors: Mapping[str, Tensor], samples: slice) -> dict[str, Tensor]:
    return {name: value[samples] for name, value in tensors.items()}
