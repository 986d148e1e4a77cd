"""TensorRT plans on a GPU, run through PyCUDA.

Each batch size has its own buffers and a CUDA graph of the copies to the GPU, the plan and the copy back. The module
does not use ``engines.torch.cuda_graphs``, so that a server with plans needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pycuda.driver as cuda

from engines.batch_sizes import batch_slices
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature, TensorSpec
from engines.engine import BaseEngine
from engines.hashed_files import hashed_bytes
from engines.plan_metadata import PlanMetadata, check_platform, rebuild_remedy
from engines.tensorrt.cuda_graph import CudaGraph
from engines.tensorrt.device import current_context, current_platform, gpu

if TYPE_CHECKING:
    import tensorrt as trt


class PlanEngine(BaseEngine):
    """Runs plans of TensorRT, or engines of TensorRT for RTX, whose Python packages have the same classes.

    Args:
        library: the package ``tensorrt``, or that of TensorRT for RTX.
        files: the file for each batch size; several sizes may share one.
        signature: the model's inputs and outputs.
        remedy: the remedy in errors about a file that the library does not load.
        hashes: the SHA-256 of files by name: of such a file the library gets exactly the bytes with that hash.
        device: the GPU's index.

    Raises:
        ModelDirectoryError: a file has another hash.
        EngineError: the library does not load a file, or its tensors differ from the signature.
    """

    def __init__(
        self,
        library: ModuleType,
        files: Mapping[int, Path],
        signature: Signature,
        *,
        remedy: str,
        hashes: Mapping[str, str] = MappingProxyType({}),
        device: int = 0,
    ) -> None:
        super().__init__(signature)
        self._library, self._remedy = library, remedy
        # Held as long as the engine: the last release of a primary context destroys it with all its memory.
        self._context = gpu(device).retain_primary_context()
        self._logger = library.Logger(library.Logger.Severity.WARNING)
        self._graphs = ExitStack()
        with current_context(self._context), ExitStack() as failure:
            failure.callback(self._graphs.close)
            engines = {file: self._load(file, hashes.get(file.name)) for file in dict.fromkeys(files.values())}
            self._plans = {batch: self._plan(engines[file], batch, file) for batch, file in files.items()}
            self._prepare()
            failure.pop_all()

    def _load(self, file: Path, sha256: str | None) -> trt.ICudaEngine:
        runtime: trt.Runtime = self._library.Runtime(self._logger)
        # A plan is as good as a program: between hashing and loading it, no other one can take its place.
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(hashed_bytes(file, sha256))
        if engine is None:
            raise EngineError(
                str(file),
                got="a plan that TensorRT cannot load",
                expected="one for this TensorRT and GPU",
                remedy=self._remedy,
            )
        return engine

    def _plan(self, engine: trt.ICudaEngine, batch: int, file: Path) -> _Plan:
        context = self._new_context(engine)
        for spec in self.signature.inputs:
            # A plan for a range of batch sizes needs the shape; the result is False if it does not accept it.
            context.set_input_shape(spec.name, (batch, *spec.dims))
        self._check_tensors(engine, context, batch, file)
        return _Plan(context, self.signature, batch)

    def _new_context(self, engine: trt.ICudaEngine) -> trt.IExecutionContext:
        return engine.create_execution_context()

    def _prepare(self) -> None:
        """Do once, with the GPU's context current, what would make the first runs slow."""

    def _check_tensors(self, engine: trt.ICudaEngine, context: trt.IExecutionContext, batch: int, file: Path) -> None:
        """Raise EngineError unless the plan's tensors match the signature by name, type and shape."""
        names = map(engine.get_tensor_name, range(engine.num_io_tensors))
        actual = {self._describe_tensor(engine, context, name) for name in names}
        expected = {_describe_spec(spec, batch, "INPUT") for spec in self.signature.inputs}
        expected |= {_describe_spec(spec, batch, "OUTPUT") for spec in self.signature.outputs}
        if actual != expected:
            raise EngineError(
                str(file),
                got=", ".join(sorted(actual)),
                expected=", ".join(sorted(expected)),
                remedy=self._remedy,
            )

    def _describe_tensor(self, engine: trt.ICudaEngine, context: trt.IExecutionContext, name: str) -> str:
        element = np.dtype(self._library.nptype(engine.get_tensor_dtype(name))).name
        return f"{name} {engine.get_tensor_mode(name).name} {element} {[*context.get_tensor_shape(name)]}"

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


class TensorRtEngine(PlanEngine):
    """Runs the plans of a model directory, each as a CUDA graph."""

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
        """Load every plan; see ``PlanEngine``.

        Raises:
            EngineError: the plans were built for another TensorRT or GPU.
        """
        import tensorrt  # imported on demand: a machine with TensorRT for RTX may lack it

        check_platform(metadata, current_platform(device), directory)
        self._cuda_graph = cuda_graph
        files = {batch: directory / name for batch, name in metadata.plans.items()}
        remedy = rebuild_remedy(directory)
        super().__init__(tensorrt, files, signature, remedy=remedy, hashes=hashes, device=device)

    def _prepare(self) -> None:
        if self._cuda_graph:
            for plan in self._plans.values():
                self._graphs.enter_context(plan.capture())


class _Plan:
    """A plan at one batch size: its execution context, and its buffers on the host and on the GPU."""

    def __init__(self, context: trt.IExecutionContext, signature: Signature, batch: int) -> None:
        self._signature = signature
        self._stream = cuda.Stream()
        self._host = {s.name: cuda.pagelocked_zeros((batch, *s.dims), s.dtype.numpy) for s in signature}
        self._buffers = {name: cuda.mem_alloc(array.nbytes) for name, array in self._host.items()}
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, int(buffer))
        self._context = context
        self._graph: CudaGraph | None = None

    def warm_up(self) -> None:
        """Run once, with what the buffers hold: TensorRT allocates and initialises during the first run."""
        self._enqueue()
        self._stream.synchronize()

    def capture(self) -> CudaGraph:
        self.warm_up()  # the first run cannot be captured
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


def _describe_spec(spec: TensorSpec, batch: int, mode: str) -> str:
    return f"{spec.name} {mode} {spec.dtype.numpy.name} {[batch, *spec.dims]}"
