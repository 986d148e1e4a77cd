"""The engine of TensorRT for RTX on a GPU: one file for all batch sizes, compiled for this GPU while it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engines.batch_sizes import BATCH_SIZES
from engines.contract.tensors import Signature
from engines.tensorrt.engine import PlanEngine
from engines.tensorrt_rtx.runtime_cache import RuntimeCache

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as trt


class RtxEngine(PlanEngine):
    """Runs an engine in the prepared batch sizes; see ``PlanEngine``.

    The library captures its CUDA graphs itself: only it knows when its kernels for a shape are complete.
    """

    def __init__(
        self,
        library: ModuleType,
        file: Path,
        signature: Signature,
        cache: RuntimeCache,
        *,
        remedy: str,
        hashes: Mapping[str, str],
    ) -> None:
        self._cache = cache
        super().__init__(library, dict.fromkeys(BATCH_SIZES, file), signature, remedy=remedy, hashes=hashes)

    def _new_context(self, engine: trt.ICudaEngine) -> trt.IExecutionContext:
        config: trt.IRuntimeConfig = engine.create_runtime_config()
        # Not later in the background: what is verified is what runs.
        config.dynamic_shapes_kernel_specialization_strategy = (
            self._library.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        config.cuda_graph_strategy = self._library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache.attach(config)
        return engine.create_execution_context(runtime_config=config)

    def _prepare(self) -> None:
        for plan in self._plans.values():
            plan.warm_up()
        self._cache.save()
