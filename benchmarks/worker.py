"""A servant in a process of its own: memory can be attributed to it, and its failure, on a GPU too, is only its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from benchmarks.failures import SubjectError, one_line
from benchmarks.memory import be_killed_first
from engines.contract.closing import Closing

END_TIMEOUT = 30.0
"""Seconds that a process has to end its call and to close what it opened, which may be a server."""


@runtime_checkable
class Closeable(Protocol):
    """A servant that has something to end."""

    def close(self) -> None: ...


class Worker(Closing):
    """Calls methods of an object that lives elsewhere; use it in a ``with`` block."""

    def __init__(self, made: Callable[[], object], log: Path) -> None:
        """Start a process that calls ``made``, which must be picklable; what it prints is appended to ``log``."""
        spawn = multiprocessing.get_context("spawn")
        self._connection, child = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(child, made, log))
        self._process.start()
        child.close()  # only the process holds its end now: where it dies, reading here ends

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # which the process takes as the end
        for stronger in (self._process.terminate, self._process.kill):
            self._process.join(END_TIMEOUT)
            if self._process.exitcode is not None:
                return
            stronger()
        self._process.join()

    def ask(self, method: str, *arguments: object, timeout: float) -> Any:
        """Call a method and wait for its result.

        Raises:
            SubjectError: it raised something, its process ended, or it took more than ``timeout`` seconds; then the
                process is ended.
        """
        try:
            self._connection.send((method, arguments))
            if not self._connection.poll(max(timeout, 0)):
                self._process.kill()
                raise SubjectError(f"no answer for {timeout:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            raise SubjectError(f"its process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, SubjectError):
            raise answer
        return answer


def _serve(connection: Connection, made: Callable[[], object], log: Path) -> None:
    """In the new process: answer until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    be_killed_first()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    servant: object = None
    with ExitStack() as stack:
        while True:
            try:
                method, arguments = connection.recv()
            except EOFError:
                return
            try:
                if servant is None:
                    servant = made()
                    if isinstance(servant, Closeable):
                        stack.callback(servant.close)
                answer = getattr(servant, method)(*arguments)
            except Exception as error:  # whatever a subject raises is its result
                answer = SubjectError(one_line(error))
            try:
                connection.send(answer)
            except BrokenPipeError:
                return
