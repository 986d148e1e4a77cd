"""What every command that runs a process until it is told to stop shares: pauses before restarts, signals, progress."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LONGEST_PAUSE = 60.0
"""Seconds before another restart of a process that fails again and again."""

Progress = Callable[[str], None]
"""Called with a phrase at the start of every stage."""


def tell(progress: Progress, phrase: str) -> None:
    """Say what is done, if it can be said."""
    with suppress(OSError):  # a full disk behind the output must not end the server
        progress(phrase)


def pauses() -> Iterator[float]:
    """Yield the seconds before each attempt to start again."""
    yield 0.0
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Within the block SIGTERM and SIGINT raise KeyboardInterrupt."""
    # SIGINT is included because a shell without job control starts background commands with SIGINT ignored, and Python
    # keeps that setting.
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
