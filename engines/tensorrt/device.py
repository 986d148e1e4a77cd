"""Access to the GPU through PyCUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engines.contract.errors import EngineError
from engines.plan_metadata import Platform

if TYPE_CHECKING:
    import pycuda.driver as cuda


def gpu(device: int = 0, *, packages: str = "'toonify-serve[tensorrt]'") -> cuda.Device:
    """The GPU with this index; ``packages`` are those that bring PyCUDA, as pip is given them.

    Raises:
        EngineError: there is no such GPU, or no driver.
    """
    # Imported on demand: without NVIDIA's driver, importing PyCUDA fails, which must become an EngineError.
    try:
        import pycuda.driver as cuda

        cuda.init()
        return cuda.Device(device)
    except (ImportError, RuntimeError) as error:  # PyCUDA's own errors are RuntimeErrors
        raise EngineError(
            f"TensorRT's GPU {device}",
            got="no PyCUDA that loads" if isinstance(error, ImportError) else "no such GPU, or no driver",
            expected="an NVIDIA GPU with its driver",
            remedy=f"check nvidia-smi and pip install {packages}, or use --target cpu",
        ) from error


@contextmanager
def current_context(context: cuda.Context) -> Iterator[None]:
    """Make a CUDA context the thread's current one for the duration of a ``with`` block."""
    context.push()
    try:
        yield
    finally:
        context.pop()


def current_platform(device: int = 0) -> Platform:
    """This machine's TensorRT and GPU.

    Raises:
        EngineError: TensorRT or a GPU is missing.
    """
    try:
        import tensorrt as trt
    except ImportError as error:
        raise EngineError(
            "TensorRT",
            got="no such package, or one that does not load",
            expected="its Python package, 10.13 or newer",
            remedy="install it with: pip install 'toonify-serve[tensorrt]'",
        ) from error
    hardware = gpu(device)
    major, minor = hardware.compute_capability()
    return Platform(tensorrt=trt.__version__, gpu=hardware.name(), capability=10 * major + minor)
