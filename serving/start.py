"""The entry point of ``toonify``. It imports almost nothing, so that Ctrl-C during the imports is no traceback."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module


def start(module: str) -> None:
    """Import a module and call its ``main``."""
    if os.getpid() == 1:
        # The kernel drops signals for which PID 1 has no handler, so that SIGTERM would not stop a container.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main = import_module(module).main
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    main()


def main() -> None:
    """Entry point of ``toonify``."""
    start("serving.cli")
