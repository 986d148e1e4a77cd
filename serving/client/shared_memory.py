"""Transport of faces and pictures through memory that client and server share on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import shared_memory as system_memory
from tritonclient.utils.shared_memory import SharedMemoryException

from engines.contract.arrays import AnyArray
from serving.client.calls import Call, infer_inputs, named_input


class SharedRegion:
    """One region of system shared memory for the first input and the output of a call; the ``with`` block removes it.

    Every call has a region of its own, since the server may still write to one after the client's deadline.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._name, self._input = next(iter(call.inputs.items()))
        self._shape = (call.batch, *call.output.dims)
        self._output_size = int(np.prod(self._shape)) * call.output.dtype.numpy.itemsize
        self.name = f"toonify-{uuid4().hex}"
        self.key = f"/{self.name}"
        self.size = self._input.nbytes + self._output_size

    def __enter__(self) -> Self:
        """Create the region and copy the input to its beginning.

        Raises:
            SharedMemoryException: the system has no shared memory, or too little of it is free.
        """
        self._handle = system_memory.create_shared_memory_region(self.name, self.key, self.size, create_only=True)
        try:
            _reserve(self.key, self.size)
            system_memory.set_shared_memory_region(self._handle, [self._input])
        except BaseException:
            system_memory.destroy_shared_memory_region(self._handle)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        system_memory.destroy_shared_memory_region(self._handle)

    def inputs(self) -> list[InferInput]:
        """Describe the inputs: the first one by reference, the small ones with their bytes."""
        first = named_input(self._name, self._input)
        first.set_shared_memory(self.name, self._input.nbytes)
        return [first, *infer_inputs({name: value for name, value in self._call.inputs.items() if name != self._name})]

    def output(self) -> InferRequestedOutput:
        """Describe the output by its place in the region, after the input."""
        output = InferRequestedOutput(self._call.output.name)
        output.set_shared_memory(self.name, self._output_size, self._input.nbytes)
        return output

    def read(self) -> AnyArray:
        """Return a copy of the output; call it after the server has answered."""
        dtype: Any = self._call.output.dtype.numpy
        view = system_memory.get_contents_as_numpy(self._handle, dtype, self._shape, self._input.nbytes)
        return np.array(view)


def _reserve(key: str, size: int) -> None:
    """Allocate the region's pages, because writing to pages that cannot be allocated kills the process with SIGBUS."""
    try:
        with Path(f"/dev/shm{key}").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise SharedMemoryException(f"/dev/shm: {error.strerror}") from None
