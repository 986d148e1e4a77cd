"""TensorRT plans on a GPU, run through PyCUDA.

Each batch size has its own buffers and a CUDA graph of the copies to the GPU, the plan and the copy back. The module
does not use ``engines.torch.cuda_graphs``, so that a server with plans needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pycuda.driver as cuda
import tensorrt as trt

from engines.batch_sizes import batch_slices
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature, TensorSpec
from engines.engine import BaseEngine
from engines.hashed_files import hashed_bytes
from engines.plan_metadata import PlanMetadata, check_platform, rebuild_remedy
from engines.tensorrt.cuda_graph import CudaGraph
from engines.tensorrt.device import current_context, current_platform, gpu


class TensorRtEngine(BaseEngine):
    """Runs the plans of a model directory."""

    def __init__(
        self,
        directory: Path,
        signature: Signature,
        metadata: PlanMetadata,
        *,
        hashes: Mapping[str, str] = MappingProxyType({}),
        device: int = 0,
        cuda_graph: bool = True,
    ) -> None:
        """Load every plan; of one that ``hashes`` has the SHA-256 of, TensorRT gets exactly the bytes with that hash.

        Raises:
            ModelDirectoryError: a plan has another hash.
            EngineError: the plans were built for another TensorRT or GPU, or their tensors differ from the signature.
        """
        super().__init__(signature)
        check_platform(metadata, current_platform(device), directory)
        # Held as long as the engine: the last release of a primary context destroys it with all its memory.
        self._context = gpu(device).retain_primary_context()
        self._logger = trt.Logger(trt.Logger.Severity.WARNING)
        with current_context(self._context), ExitStack() as graphs:
            runtime: trt.Runtime = trt.Runtime(self._logger)
            files = {name: directory / name for name in metadata.plans.values()}
            engines = {name: _load_engine(runtime, file, hashes.get(name)) for name, file in files.items()}
            self._plans = {
                batch: _Plan(engines[name], signature, batch, files[name]) for batch, name in metadata.plans.items()
            }
            if cuda_graph:
                for plan in self._plans.values():
                    graphs.enter_context(plan.capture())
            self._graphs = graphs.pop_all()

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        batch = len(next(iter(inputs.values())))
        with current_context(self._context):
            parts = [
                self._plans[size].run({name: value[part] for name, value in inputs.items()})
                for size, part in batch_slices(batch, self._plans)
            ]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.signature.outputs}

    def close(self) -> None:
        """Release graphs, plans and buffers; a second call does nothing."""
        with current_context(self._context):
            self._graphs.close()
            self._plans.clear()


def _load_engine(runtime: trt.Runtime, file: Path, sha256: str | None) -> trt.ICudaEngine:
    # A plan is as good as a program: between hashing and loading it, no other one can take its place.
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(hashed_bytes(file, sha256))
    if engine is None:
        raise EngineError(
            str(file),
            got="a plan that TensorRT cannot load",
            expected="one for this TensorRT and GPU",
            remedy=rebuild_remedy(file.parent),
        )
    return engine


class _Plan:
    """A plan at one batch size: its execution context, and its buffers on the host and on the GPU."""

    def __init__(self, engine: trt.ICudaEngine, signature: Signature, batch: int, file: Path) -> None:
        context: trt.IExecutionContext = engine.create_execution_context()
        for spec in signature.inputs:
            # A plan for a range of batch sizes needs the shape; the result is False if it does not accept it.
            context.set_input_shape(spec.name, (batch, *spec.dims))
        check_plan_tensors(engine, context, signature, batch, file)
        self._engine = engine
        self._signature = signature
        self._stream = cuda.Stream()
        self._host = {s.name: cuda.pagelocked_zeros((batch, *s.dims), s.dtype.numpy) for s in signature}
        self._buffers = {name: cuda.mem_alloc(array.nbytes) for name, array in self._host.items()}
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, int(buffer))
        self._context = context
        self._graph: CudaGraph | None = None

    def capture(self) -> CudaGraph:
        # The first run is not captured: TensorRT allocates and initialises during it.
        self._enqueue()
        self._stream.synchronize()
        self._graph = CudaGraph(self._stream.handle, self._enqueue)
        return self._graph

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run up to a full batch; with fewer samples, the rest of the batch keeps its previous content."""
        size = len(next(iter(inputs.values())))
        for name, value in inputs.items():
            self._host[name][:size] = value
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._stream.synchronize()
        return {spec.name: self._host[spec.name][:size].copy() for spec in self._signature.outputs}

    def _enqueue(self) -> None:
        for spec in self._signature.inputs:
            cuda.memcpy_htod_async(self._buffers[spec.name], self._host[spec.name], self._stream)
        context: trt.IExecutionContext = self._context
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(
                "TensorRT plan", got="a failed launch", expected="success", remedy="look at TensorRT's messages above"
            )
        for spec in self._signature.outputs:
            cuda.memcpy_dtoh_async(self._host[spec.name], self._buffers[spec.name], self._stream)


def check_plan_tensors(
    engine: trt.ICudaEngine, context: trt.IExecutionContext, signature: Signature, batch: int, file: Path
) -> None:
    """Raise EngineError unless the plan's tensors match the signature by name, type and shape."""
    actual = {
        _describe_tensor(engine, context, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)
    }
    expected = {_describe_spec(spec, batch, "INPUT") for spec in signature.inputs}
    expected |= {_describe_spec(spec, batch, "OUTPUT") for spec in signature.outputs}
    if actual != expected:
        raise EngineError(
            str(file),
            got=", ".join(sorted(actual)),
            expected=", ".join(sorted(expected)),
            remedy=rebuild_remedy(file.parent),
        )


def _describe_tensor(engine: trt.ICudaEngine, context: trt.IExecutionContext, name: str) -> str:
    element = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
    return f"{name} {engine.get_tensor_mode(name).name} {element} {[*context.get_tensor_shape(name)]}"


def _describe_spec(spec: TensorSpec, batch: int, mode: str) -> str:
    return f"{spec.name} {mode} {spec.dtype.numpy.name} {[batch, *spec.dims]}"
