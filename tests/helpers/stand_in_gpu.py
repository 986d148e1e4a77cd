"""A stand-in for a GPU and for the runtime of TensorRT for RTX, whose engines compute what an ONNX file says.

PyCUDA's device memory is arrays of this process. Everything else of the library is real: parser, builder, types.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import onnxruntime
import pytest

ENGINE_MODULES = ("engines.tensorrt.engine", "engines.tensorrt_rtx.engine")
"""Modules that hold what they import of PyCUDA."""


class StandInGpu:
    """The GPU and the runtime, and what they were asked to do.

    Attributes:
        model: the ONNX file that every engine computes; without it, the one whose path is an engine's content.
        validity: what the runtime says about an engine's header: the name of the validity, and the reasons' flags.
        loads: whether the runtime loads engines.
        launches: the batch size of every run.
        configs: the configuration of every execution context.
        cached: what runtime caches were given.
    """

    def __init__(self, name: str = "NVIDIA GeForce RTX 4090", capability: tuple[int, int] = (8, 9)) -> None:
        self.name, self.capability = name, capability
        self.model: Path | None = None
        self.validity, self.loads = ("VALID", 0), True
        self.launches: list[int] = []
        self.configs: list[MagicMock] = []
        self.cached: list[bytes] = []
        self.memory: dict[int, Any] = {}
        self._addresses = count(256, 256)

    def driver(self) -> types.ModuleType:
        """The module ``pycuda.driver``."""
        device = MagicMock()
        device.name.return_value, device.compute_capability.return_value = self.name, self.capability
        module = types.ModuleType("pycuda.driver")
        vars(module).update(
            init=lambda: None,
            Device=lambda index: device,
            Stream=MagicMock,
            pagelocked_zeros=lambda shape, dtype: np.zeros(shape, dtype),
            mem_alloc=lambda size: next(self._addresses),
            memcpy_htod_async=lambda place, array, stream: self.memory.update({place: array.copy()}),
            memcpy_dtoh_async=lambda array, place, stream: np.copyto(array, self.memory[place]),
        )
        return module

    def runtime(self, library: Any) -> type:
        """The class ``Runtime`` of the library."""
        gpu = self

        class Runtime:
            engine_header_size = 64

            def __init__(self, logger: Any) -> None: ...

            def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
                assert len(header) == self.engine_header_size
                name, reasons = gpu.validity
                return library.EngineValidity.__members__[name], reasons

            def deserialize_cuda_engine(self, content: bytes) -> Any:
                model = gpu.model or Path(content.decode().strip())
                return Engine(gpu, library, model) if gpu.loads else None

        return Runtime


class Engine:
    """An engine for batches of any size."""

    def __init__(self, gpu: StandInGpu, library: Any, model: Path) -> None:
        self._gpu, self._library = gpu, library
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs = {each.name: each for each in self.session.get_inputs()}
        self.tensors = {each.name: each for each in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return [*self.tensors][index]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._library.uint8 if "uint8" in self.tensors[name].type else self._library.float32

    def get_tensor_mode(self, name: str) -> Any:
        return self._library.TensorIOMode.INPUT if name in self.inputs else self._library.TensorIOMode.OUTPUT

    def create_runtime_config(self) -> Any:
        config = MagicMock()
        config.create_runtime_cache.return_value = self._cache()
        return config

    def _cache(self) -> Any:
        cache = MagicMock()
        cache.deserialize = lambda content: self._gpu.cached.append(content) or content == b"compiled"
        cache.serialize.return_value = b"compiled"
        return cache

    def create_execution_context(self, *, runtime_config: Any) -> Any:
        self._gpu.configs.append(runtime_config)
        return Context(self._gpu, self)


class Context:
    """An execution context."""

    def __init__(self, gpu: StandInGpu, engine: Engine) -> None:
        self._gpu, self._engine = gpu, engine
        self._addresses: dict[str, int] = {}
        self._batch = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> list[int]:
        return [self._batch, *self._engine.tensors[name].shape[1:]]

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, stream: object) -> bool:
        inputs = {name: self._gpu.memory[self._addresses[name]] for name in self._engine.inputs}
        outputs = [name for name in self._engine.tensors if name not in inputs]
        computed = self._engine.session.run(outputs, inputs)
        for name, value in zip(outputs, computed, strict=True):
            self._gpu.memory[self._addresses[name]] = value
        self._gpu.launches.append(self._batch)
        return True


@contextmanager
def machine_with(gpu: StandInGpu, library: Any) -> Iterator[StandInGpu]:
    """Within the block, this machine has the GPU."""
    with pytest.MonkeyPatch.context() as patch:
        driver, package = gpu.driver(), types.ModuleType("pycuda")
        vars(package)["driver"] = driver
        patch.setitem(sys.modules, "pycuda", package)
        patch.setitem(sys.modules, "pycuda.driver", driver)
        patch.setattr(library, "Runtime", gpu.runtime(library))
        forget_engine_modules()
        yield gpu
        forget_engine_modules()


def forget_engine_modules() -> None:
    for name in ENGINE_MODULES:
        sys.modules.pop(name, None)
