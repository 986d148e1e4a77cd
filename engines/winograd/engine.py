"""The engine ``winograd``: a generator or an encoder on a CPU in this package's own kernels, float32 or fixed point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine, EngineOptions
from engines.graph.encoder_reader import encoder_weights_from_graph
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.live_generator import LiveGeneratorWeights
from engines.graph.onnx_graph import OnnxGraph, read_graph
from engines.model_directory import Precision
from engines.winograd.encoder import WinogradEncoder
from engines.winograd.generator import WinogradGenerator
from engines.winograd.library import InstructionSet, WinogradKernels, instruction_sets_here
from engines.winograd.live_generator import LiveWinogradGenerator


class WinogradEngine(BaseEngine):
    """Runs an exported generator or encoder, one picture of a batch after the other."""

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        instruction_set: InstructionSet | None = None,
        opened: Path | None = None,
    ) -> None:
        """Load ``model``, an ONNX file.

        Args:
            model: an exported generator or encoder.
            signature: its inputs and outputs.
            precision: ``fp32``, or ``int16`` for convolutions in fixed point; everything else is float32 in both.
            threads: 0 takes every core.
            instruction_set: selects the kernels; None takes the fastest that run on this processor.
            opened: where to open the file instead, if it has been opened and hashed.

        Raises:
            EngineError: no kernels were compiled, the processor runs none of them, or the model is not a generator or
                encoder exported by this package.
        """
        super().__init__(signature)
        kernels = WinogradKernels(instruction_set, threads, fixed_point=precision == "int16")
        self._network = _network(opened or model, read_graph(model, opened), signature, kernels)

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        batch = len(next(iter(inputs.values())))
        rows = [self._network({name: value[row] for name, value in inputs.items()}) for row in range(batch)]
        (output,) = self.signature.outputs
        return {output.name: np.stack(rows)}


def _network(
    file: Path, graph: OnnxGraph, signature: Signature, kernels: WinogradKernels
) -> Callable[[Mapping[str, AnyArray]], AnyArray]:
    """Build the network as a function of one row of a batch."""
    if signature.blend:
        weights = LiveGeneratorWeights(graph, signature)
        live = LiveWinogradGenerator(weights, kernels)
        weights.keep_in_file(file)
        return lambda row: live(row["w"], row["psi"][0], row["blend"])
    if signature.inputs[0].name == "w":
        generator = WinogradGenerator(generator_weights_from_graph(graph, signature), kernels)
        return lambda row: generator(row["w"], row["psi"][0])
    encoder = WinogradEncoder(encoder_weights_from_graph(graph, signature), kernels)
    return lambda row: encoder(row["face"])


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``; empty where no compiled kernels run on this processor."""
    return ("fp32", "int16") if instruction_sets_here() else ()


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> WinogradEngine:
    """See ``EngineModule``."""
    return WinogradEngine(model, signature, precision=options.precision, threads=options.threads, opened=options.opened)
