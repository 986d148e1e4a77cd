"""A generator or an encoder on a CPU over this package's own kernels, float32 or fixed point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine, EngineOptions
from engines.graph.encoder_weights import encoder_weights_from_graph
from engines.graph.generator_weights import generator_weights_from_graph, is_generator
from engines.graph.onnx_graph import OnnxGraph, read_graph
from engines.model_directory import Precision
from engines.winograd.encoder import WinogradEncoder
from engines.winograd.generator import WinogradGenerator
from engines.winograd.library import Kernels, Target, targets_here


class WinogradEngine(BaseEngine):
    """Runs an exported generator or encoder, picture by picture."""

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        target: Target | None = None,
    ) -> None:
        """Load ``model``; ``threads`` 0 takes every core, ``target`` None the fastest kernels that the processor runs.

        In ``int16`` the convolutions' products are of fixed point; everything else is float32.

        Raises:
            EngineError: no kernels were compiled, the processor runs none of them, or the model is none of this
                package's generators and encoders.
        """
        super().__init__(signature)
        kernels = Kernels(target, threads, fixed=precision == "int16")
        self._network = _network(read_graph(model), kernels)

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        batch = len(next(iter(inputs.values())))
        rows = [self._network({name: value[row] for name, value in inputs.items()}) for row in range(batch)]
        (output,) = self.signature.outputs
        return {output.name: np.stack(rows)}


def _network(graph: OnnxGraph, kernels: Kernels) -> Callable[[Mapping[str, AnyArray]], AnyArray]:
    """The network over one row of a batch."""
    if is_generator(graph):
        generator = WinogradGenerator(generator_weights_from_graph(graph), kernels)
        return lambda row: generator(row["w"], row["psi"][0])
    encoder = WinogradEncoder(encoder_weights_from_graph(graph), kernels)
    return lambda row: encoder(row["face"])


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``; none where no kernels were compiled that this processor runs."""
    return ("fp32", "int16") if targets_here() else ()


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> WinogradEngine:
    """See ``EngineModule``."""
    return WinogradEngine(model, signature, precision=options.precision, threads=options.threads)
