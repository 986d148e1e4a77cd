"""A condition's subject in a process of its own: its memory can be attributed, and its failure is only its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.failures import SubjectError, one_line
from benchmarks.memory import be_killed_first, peak_bytes, reset_peaks, return_freed_memory
from benchmarks.subjects import processes_of
from engines import Engine
from engines.engine import AnyArray, BaseEngine
from serving.tensors import Signature

ANSWER_TIMEOUT = 600.0
"""Seconds for a load, with its compilation, or for one turn."""
END_TIMEOUT = 90.0
"""Seconds that a process has to end its call and to close what it opened; a server drains first."""

Inputs = Mapping[str, AnyArray]


@dataclass(frozen=True)
class Turn:
    """Some calls in a row: seconds of each, seconds of all, and the peak memory since the subject was loaded."""

    seconds: tuple[float, ...]
    wall: float
    peak_bytes: int


class Worker(BaseEngine):
    """An engine that runs elsewhere. Every method raises SubjectError where the subject fails."""

    def __init__(self, signature: Signature, opened: Callable[[], Engine], log: Path) -> None:
        """Start a process that calls ``opened``, which must be picklable; what it prints is appended to ``log``."""
        super().__init__(signature)
        self._failure: SubjectError | None = None
        spawn = multiprocessing.get_context("spawn")
        self._connection, child = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(child, opened, log))
        self._process.start()
        child.close()  # only the process holds its end now: where it dies, reading here ends

    def close(self) -> None:
        self._connection.close()  # which the process takes as the end
        for stronger in (self._process.terminate, self._process.kill):
            self._process.join(END_TIMEOUT)
            if self._process.exitcode is not None:
                return
            stronger()
        self._process.join()

    def load(self) -> float:
        """Load the subject; seconds from nothing to loaded, in the process's own clock."""
        return float(self._answer())

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        outputs: dict[str, AnyArray] = self._ask("run", inputs)
        return outputs

    def turn(self, inputs: Inputs, calls: int, in_flight: int) -> Turn:
        """Time ``calls`` calls, always ``in_flight`` of them at once until the last ones."""
        turn: Turn = self._ask("turn", inputs, calls, in_flight)
        return turn

    def _ask(self, method: str, *arguments: object) -> Any:
        if self._failure:
            raise self._failure
        try:
            self._connection.send((method, arguments))
        except OSError:
            raise self._death() from None
        return self._answer()

    def _answer(self) -> Any:
        if not self._connection.poll(ANSWER_TIMEOUT):
            self._failure = SubjectError(f"no answer for {ANSWER_TIMEOUT:.0f} s")
            raise self._failure
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(answer, SubjectError):
            self._failure = answer
            raise answer
        return answer

    def _death(self) -> SubjectError:
        self._process.join(1)
        return SubjectError(f"its process ended with exit code {self._process.exitcode}")


def _serve(connection: Connection, opened: Callable[[], Engine], log: Path) -> None:
    """In the new process: load, then answer until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    be_killed_first()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        start = time.perf_counter()
        with opened() as subject:
            connection.send(time.perf_counter() - start)
            return_freed_memory()
            reset_peaks(processes_of(subject))
            _answer_all(connection, subject)
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        connection.send(SubjectError(one_line(error)))


def _answer_all(connection: Connection, subject: Engine) -> None:
    while True:
        method, arguments = connection.recv()
        connection.send(subject.run(*arguments) if method == "run" else _turn(subject, *arguments))


def _turn(subject: Engine, inputs: Inputs, calls: int, in_flight: int) -> Turn:
    def call(_: int) -> float:
        start = time.perf_counter()
        subject.run(inputs)
        return time.perf_counter() - start

    begin = time.perf_counter()
    if in_flight == 1:
        seconds = [call(k) for k in range(calls)]
    else:
        with ThreadPoolExecutor(in_flight) as pool:
            seconds = list(pool.map(call, range(calls)))
    return Turn(tuple(seconds), time.perf_counter() - begin, peak_bytes(processes_of(subject)))
