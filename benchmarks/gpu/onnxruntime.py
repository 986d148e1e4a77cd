"""ONNX Runtime's CUDA provider, with inputs and outputs in GPU memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from engines.torch.cuda_graphs import empty


class OnnxRuntimeCuda(BaseEngine):
    """A session of ONNX Runtime that reads and writes PyTorch's tensors in GPU memory."""

    def __init__(self, model: Path, signature: Signature, device: torch.device) -> None:
        super().__init__(signature)
        self._device, index = device, device.index or 0
        provider = ("CUDAExecutionProvider", {"device_id": index})
        self._session = onnxruntime.InferenceSession(str(model), providers=[provider, "CPUExecutionProvider"])

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        (name,) = (spec.name for spec in self.signature.outputs)
        return {name: self._session.run([name], inputs)[0]}

    def run_on_gpu(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch, and return when its outputs are complete."""
        batch = len(next(iter(inputs.values())))
        outputs = {spec.name: empty(spec, batch, self._device) for spec in self.signature.outputs}
        binding, index = self._session.io_binding(), self._device.index or 0
        for spec in self.signature:
            tensor = {**inputs, **outputs}[spec.name]
            bind = binding.bind_input if spec.name in inputs else binding.bind_output
            bind(spec.name, "cuda", index, spec.dtype.numpy.type, tuple(tensor.shape), tensor.data_ptr())
        torch.cuda.current_stream().synchronize()  # the session has its own stream
        self._session.run_with_iobinding(binding)
        return outputs
