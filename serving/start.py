"""The entry point of ``toonify``. It imports almost nothing, so that Ctrl-C during the imports is no traceback."""

from __future__ import annotations

import signal
from importlib import import_module


def start(module: str) -> None:
    """Import a module and call its ``main``."""
    try:
        main = import_module(module).main
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    main()


def main() -> None:
    """Entry point of ``toonify``."""
    start("serving.cli")
