"""The entry point of ``toonify``. It imports almost nothing, so that Ctrl-C during the imports is no traceback."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

_STANDARD_ERROR = 2


def start(module: str) -> None:
    """Import a module and call its ``main``."""
    _open_what_is_closed()
    if os.getpid() == 1:
        # The kernel drops signals for which PID 1 has no handler, so that SIGTERM would not stop a container.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main = import_module(module).main
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    main()


def _open_what_is_closed() -> None:
    """Let standard input, output and error lead nowhere where they are closed, as a service's may be.

    Otherwise the next file that is opened would get the number of one of them, and what is meant for a terminal.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", _STANDARD_ERROR)):
        if getattr(sys, name) is None:
            # Like Python's own standard error, it takes any text: a file's name need not be UTF-8.
            stream = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def main() -> None:
    """Entry point of ``toonify``."""
    start("serving.cli")
