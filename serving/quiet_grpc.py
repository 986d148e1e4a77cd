"""gRPC for a command, which says in a sentence of its own what gRPC would write to stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERBOSITY = "GRPC_VERBOSITY"


@contextmanager
def quiet_grpc() -> Iterator[None]:
    """Keep gRPC, if it is first imported within the block, from writing to stderr.

    Only the import reads the variable, which a Triton server that the command starts must not inherit.
    """
    if _VERBOSITY in os.environ:
        yield
        return
    os.environ[_VERBOSITY] = "NONE"
    try:
        yield
    finally:
        del os.environ[_VERBOSITY]
