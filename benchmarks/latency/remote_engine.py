"""A condition's subject in a process of its own, as an engine that can be timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.failures import SubjectError
from benchmarks.latency.subjects import engine_seconds_of, processes_of
from benchmarks.memory import peak_bytes, reset_peaks, return_freed_memory
from benchmarks.worker import Worker
from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine

ANSWER_TIMEOUT = 600.0
"""Seconds for a load, with its compilation, or for one turn."""

Inputs = Mapping[str, AnyArray]


@dataclass(frozen=True)
class Turn:
    """Some calls in a row: seconds of each, seconds of all, and the peak memory since the subject was loaded.

    ``engine_seconds`` are what a server's engines computed for all of them; 0 of what is no server.
    """

    seconds: tuple[float, ...]
    wall: float
    peak_bytes: int
    engine_seconds: float


class RemoteEngine(BaseEngine):
    """An engine that runs elsewhere. Every method raises SubjectError where the subject fails, and from then on."""

    def __init__(self, signature: Signature, opened: Callable[[], Engine], log: Path) -> None:
        """Start a process for what ``opened`` gives, which must be picklable; what it prints is appended to ``log``."""
        super().__init__(signature)
        self._failure: SubjectError | None = None
        self._worker = Worker(partial(_Servant, opened), log)

    def close(self) -> None:
        self._worker.close()

    def load(self) -> float:
        """Load the subject; seconds from nothing to loaded, in the process's own clock."""
        return float(self._ask("load"))

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
            return self._worker.ask(method, *arguments, timeout=ANSWER_TIMEOUT)
        except SubjectError as error:
            self._failure = error
            raise


class _Servant:
    """What the process does."""

    def __init__(self, opened: Callable[[], Engine]) -> None:
        self._opened = opened
        self._stack = ExitStack()

    def load(self) -> float:
        start = time.perf_counter()
        self._subject = self._stack.enter_context(self._opened())
        seconds = time.perf_counter() - start
        return_freed_memory()
        reset_peaks(processes_of(self._subject))
        return seconds

    def run(self, inputs: Inputs) -> dict[str, AnyArray]:
        return self._subject.run(inputs)

    def turn(self, inputs: Inputs, calls: int, in_flight: int) -> Turn:
        def call(_: int) -> float:
            start = time.perf_counter()
            self._subject.run(inputs)
            return time.perf_counter() - start

        before = engine_seconds_of(self._subject)
        begin = time.perf_counter()
        if in_flight == 1:
            seconds = [call(k) for k in range(calls)]
        else:
            with ThreadPoolExecutor(in_flight) as pool:
                seconds = list(pool.map(call, range(calls)))
        wall = time.perf_counter() - begin
        engines = engine_seconds_of(self._subject) - before
        return Turn(tuple(seconds), wall, peak_bytes(processes_of(self._subject)), engines)

    def close(self) -> None:
        self._stack.close()
