"""Subjects that run in PyTorch: the port, and our reference networks in PyTorch's fastest forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.baselines import PortedGenerator
from benchmarks.latency.cases import COMPILED, PORT, BenchmarkCase
from benchmarks.networks import BenchmarkModels, encoder_weights, generator_weights, isf_weights
from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import generator_from_weights, picture_from_output
from export.networks.isf import isf_from_weights

Forward = Callable[..., Tensor]


class TorchSubject(BaseEngine):
    """A function of tensors, as an engine with a signature's inputs and its single output."""

    def __init__(self, signature: Signature, forward: Forward) -> None:
        super().__init__(signature)
        self._forward = forward

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        with torch.inference_mode():
            output = self._forward(*(torch.from_numpy(inputs[spec.name]) for spec in self.signature.inputs))
        return {self.signature.outputs[0].name: output.numpy()}


def open_torch(case: BenchmarkCase, models: BenchmarkModels, signature: Signature, threads: int) -> Engine:
    """Build the case's network from its seeded weights."""
    torch.set_num_threads(threads)
    if case.engine == PORT:
        return TorchSubject(signature, PortedGenerator(generator_from_weights(generator_weights(models.scale))).eval())
    forward = _reference(case, models)
    if case.engine == COMPILED:
        # Freezing folds weights into constants, which is fastest on a CPU.
        forward = torch.compile(forward, dynamic=False, options={"freezing": True})
    return TorchSubject(signature, forward)


def _reference(case: BenchmarkCase, models: BenchmarkModels) -> Forward:
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    if case.stage == "isf":
        return isf_from_weights(isf_weights(models.scale))
    if case.stage == "encoder":
        encoder = _prepared(encoder_from_weights(encoder_weights(models.scale)), dtype)
        return lambda face: encoder(input_from_face(face).to(dtype)).float()
    generator = _prepared(generator_from_weights(generator_weights(models.scale)), dtype)
    # The picture is made in float32: in bfloat16 a level of 255 would be off by one.
    return lambda w, psi: picture_from_output(generator(w.to(dtype), psi.to(dtype)).float())


def _prepared(network: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    prepared: nn.Module = network.to(dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return prepared
