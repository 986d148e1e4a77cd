"""Conditions that run in PyTorch: the port, and our reference networks in the forms that are fastest there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.baselines import PortedGenerator
from benchmarks.latency.conditions import COMPILED, PORT, Condition
from benchmarks.networks import Models, encoder_weights, generator_weights, isf_weights
from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import generator_from_weights, picture_from_output
from export.networks.isf import isf_from_weights

Forward = Callable[..., Tensor]


class TorchSubject(BaseEngine):
    """A function of tensors with the inputs and the output of a signature."""

    def __init__(self, signature: Signature, forward: Forward) -> None:
        super().__init__(signature)
        self._forward = forward

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        with torch.inference_mode():
            output = self._forward(*(torch.from_numpy(inputs[spec.name]) for spec in self.signature.inputs))
        return {self.signature.outputs[0].name: output.numpy()}


def open_torch(condition: Condition, models: Models, signature: Signature, threads: int) -> Engine:
    """Build the network from its seeded weights."""
    torch.set_num_threads(threads)
    if condition.engine == PORT:
        return TorchSubject(signature, PortedGenerator(generator_from_weights(generator_weights(models.scale))).eval())
    forward = _reference(condition, models)
    if condition.engine == COMPILED:
        # Freezing folds weights into constants: the fastest form on a CPU.
        forward = torch.compile(forward, dynamic=False, options={"freezing": True})
    return TorchSubject(signature, forward)


def _reference(condition: Condition, models: Models) -> Forward:
    dtype = torch.bfloat16 if condition.precision == "bf16" else torch.float32
    if condition.stage == "isf":
        return isf_from_weights(isf_weights(models.scale))
    if condition.stage == "encoder":
        encoder = _prepared(encoder_from_weights(encoder_weights(models.scale)), dtype)
        return lambda face: encoder(input_from_face(face).to(dtype)).float()
    generator = _prepared(generator_from_weights(generator_weights(models.scale)), dtype)
    # Pictures are made in float32: in bfloat16 a level of 255 would be off by one.
    return lambda w, psi: picture_from_output(generator(w.to(dtype), psi.to(dtype)).float())


def _prepared(network: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    prepared: nn.Module = network.to(dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return prepared
