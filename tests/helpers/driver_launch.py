"""Launches kernels through NVIDIA's driver from their PTX and their description alone, as a TensorRT plan does."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from engines.kernels.ahead_of_time import compile_ahead
from engines.kernels.capabilities import capability_for
from engines.kernels.launch import KernelSpec

_MAX_DYNAMIC_SHARED_BYTES = 8
"""The driver's attribute that admits blocks with more than 48 KiB of shared memory."""


@contextmanager
def launched_by_the_driver() -> Iterator[None]:
    """Inside the block, kernels are compiled ahead of time for the current GPU, and the driver launches them."""
    driver: Any = ctypes.CDLL("libcuda.so.1")
    major, minor = torch.cuda.get_device_capability()
    capability = capability_for(10 * major + minor)

    def launch(spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
        launch_by_driver(driver, spec, capability, batch, operands)

    with patch.object(KernelSpec, "launch", launch):
        yield


def launch_by_driver(
    driver: Any, spec: KernelSpec, capability: int, batch: int, operands: Mapping[str, Tensor | None]
) -> None:
    """Compile, load and launch on PyTorch's current stream, and wait, since the module is unloaded on return."""
    kernel = compile_ahead(spec, capability)
    tensors = [operands[name] for name in kernel.arguments]
    pointers = [ctypes.c_uint64(tensor.data_ptr()) for tensor in tensors if tensor is not None]
    assert len(pointers) == len(kernel.arguments)
    arguments = (ctypes.c_void_p * len(pointers))(*map(ctypes.addressof, pointers))
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    stream = torch.cuda.current_stream()
    _check(driver.cuModuleLoadData(ctypes.byref(module), kernel.ptx.encode()))
    try:
        _check(driver.cuModuleGetFunction(ctypes.byref(function), module, kernel.name.encode()))
        _check(driver.cuFuncSetAttribute(function, _MAX_DYNAMIC_SHARED_BYTES, kernel.shared_bytes))
        geometry = (*kernel.grid, batch, kernel.threads, 1, 1, kernel.shared_bytes)
        _check(driver.cuLaunchKernel(function, *geometry, ctypes.c_void_p(stream.cuda_stream), arguments, None))
        stream.synchronize()
    finally:
        driver.cuModuleUnload(module)


def _check(result: int) -> None:
    if result:
        raise RuntimeError(f"the driver's error {result}; its names are in cuda.h under CUresult")
