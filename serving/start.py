"""The entry point of ``toonify``. It imports almost nothing, so that Ctrl-C during the imports is no traceback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

_VERBOSITY = "GRPC_VERBOSITY"


def start(module: str) -> None:
    """Import a module and call its ``main``."""
    try:
        with _quiet_grpc():
            main = import_module(module).main
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    main()


def main() -> None:
    """Entry point of ``toonify``."""
    start("serving.cli")


@contextmanager
def _quiet_grpc() -> Iterator[None]:
    """Keep gRPC, if it is imported within the block, from writing to stderr what a command's sentence says.

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
