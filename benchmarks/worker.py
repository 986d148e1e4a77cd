"""An object in a process of its own, whose memory can be measured and whose failure, on a GPU too, stays there."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from benchmarks.errors import SubjectError, subject_error
from benchmarks.memory import prefer_oom_kill
from engines.contract.closing import Closing

END_TIMEOUT = 30.0
"""Seconds that a process has to finish its call and to close what it opened, which may be a server."""


@runtime_checkable
class Closeable(Protocol):
    """A remote object that must be closed at the end."""

    def close(self) -> None: ...


class Worker(Closing):
    """Calls methods of an object that lives in another process; use it in a ``with`` block."""

    def __init__(self, factory: Callable[[], object], log: Path, preloaded: str = "") -> None:
        """Start a process, in which the first call creates the remote object.

        Args:
            factory: returns the remote object; must be picklable.
            log: file to which the process's output is appended.
            preloaded: a module that one process imports once, from which all such workers are forked; without it, the
                process begins with nothing imported, as one whose memory is measured must.
        """
        context: Any = multiprocessing.get_context("forkserver" if preloaded else "spawn")
        if preloaded:
            context.set_forkserver_preload([preloaded])
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, factory, log))
        self._process.start()
        child.close()  # only the process holds its end from here on: when it dies, reading here ends

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # the process ends when it reads from the closed connection
        for stronger in (self._process.terminate, self._process.kill):
            self._process.join(END_TIMEOUT)
            if self._process.exitcode is not None:
                return
            stronger()
        self._process.join()

    def ask(self, method: str, *arguments: object, timeout: float) -> Any:
        """Call a method of the remote object and wait for its result.

        Raises:
            SubjectError: the method raised an error, the process ended, or the call took more than ``timeout`` seconds;
                after a timeout the process is killed.
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


def _serve(connection: Connection, factory: Callable[[], object], log: Path) -> None:
    """The process's main function: answers calls until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    prefer_oom_kill()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    faulthandler.enable()  # a fault of a library leaves its stack in the log
    remote: object = None
    with ExitStack() as stack:
        while True:
            try:
                method, arguments = connection.recv()
            except EOFError:
                return
            try:
                if remote is None:
                    remote = factory()
                    if isinstance(remote, Closeable):
                        stack.callback(remote.close)
                answer = getattr(remote, method)(*arguments)
            except Exception as error:  # whatever the subject raises is its result
                answer = subject_error(error)
            try:
                connection.send(answer)
            except BrokenPipeError:
                return
