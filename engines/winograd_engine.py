"""StyleGAN2's generator on a CPU over this package's own kernels, float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.engine import AnyArray, BaseEngine
from engines.generator_weights import weights_from_graph
from engines.onnx_graph import read_graph
from engines.winograd.generator import WinogradGenerator
from engines.winograd.library import Kernels, Target
from serving.tensors import Signature


class WinogradEngine(BaseEngine):
    """Runs an exported generator, picture by picture."""

    def __init__(self, model: Path, signature: Signature, *, threads: int = 0, target: Target | None = None) -> None:
        """Load ``model``; ``threads`` 0 takes every core, ``target`` None the fastest kernels that the processor runs.

        Raises:
            EngineError: no kernels were compiled, the processor runs none of them, or the model is none of this
                package's generators.
        """
        super().__init__(signature)
        self._generator = WinogradGenerator(weights_from_graph(read_graph(model)), Kernels(target, threads))

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        rows = zip(inputs["w"], inputs["psi"], strict=True)
        return {"image": np.stack([self._generator(w, psi[0]) for w, psi in rows])}
