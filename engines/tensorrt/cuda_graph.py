"""CUDA graphs through the driver's C interface, since PyCUDA has no binding for them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from engines.contract.closing import Closing
from engines.contract.errors import EngineError

_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may use the GPU during the capture."""


class CudaGraph(Closing):
    """Work captured from a stream, to be launched as a whole; use it in a ``with`` block.

    Args:
        stream: the handle of a stream other than the default one.
        enqueue: the function that enqueues the work on the stream; it must not wait for the GPU.

    Raises:
        EngineError: the driver rejects the capture.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            enqueue()
        finally:
            # A stream that remains in capture mode rejects all further work.
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            flags = ctypes.c_ulonglong(0)
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, flags)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Enqueue the work on the stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Release the graph; a second call does nothing."""
        if self._executable:
            self._call("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status:
            raise EngineError(
                "CUDA graph",
                got=f"error {status} of {function}",
                expected="success",
                remedy="look at the driver's messages; the engine runs with cuda_graph=False",
            )
