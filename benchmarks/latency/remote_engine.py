"""The subject of a benchmark case in a process of its own, as an engine whose calls can be timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.errors import SubjectError
from benchmarks.latency.subjects import engine_seconds_of, processes_of
from benchmarks.memory import peak_bytes, reset_peaks, return_freed_memory
from benchmarks.worker import Worker
from engines import Engine
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine

ANSWER_TIMEOUT = 600.0
"""Seconds allowed for loading a subject, compilation included, or for timing it once."""

Inputs = Mapping[str, AnyArray]


@dataclass(frozen=True)
class TimedCalls:
    """Times of consecutive calls.

    Attributes:
        seconds: of each call.
        wall: seconds from the first call's start to the last one's end.
        peak_bytes: peak resident memory since the subject was loaded.
        engine_seconds: computing time of a server's engines for all calls; 0 where the subject is not a server.
    """

    seconds: tuple[float, ...]
    wall: float
    peak_bytes: int
    engine_seconds: float


class RemoteEngine(BaseEngine):
    """An engine in another process; once the subject has failed, every method raises its SubjectError."""

    def __init__(self, signature: Signature, open_engine: Callable[[], Engine], log: Path) -> None:
        """Start the process.

        Args:
            signature: of the engine.
            open_engine: loads the engine; must be picklable.
            log: file to which the process's output is appended.
        """
        super().__init__(signature)
        self._failure: SubjectError | None = None
        self._worker = Worker(partial(_RemoteSubject, open_engine), log)

    def close(self) -> None:
        self._worker.close()

    def load(self) -> float:
        """Load the subject, and return the seconds that this takes, imports included, by the process's own clock."""
        return float(self._ask("load"))

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        outputs: dict[str, AnyArray] = self._ask("run", inputs)
        return outputs

    def time_calls(self, inputs: Inputs, calls: int, in_flight: int) -> TimedCalls:
        """Time ``calls`` calls, keeping ``in_flight`` of them running at once until the last ones."""
        timed: TimedCalls = self._ask("time_calls", inputs, calls, in_flight)
        return timed

    def _ask(self, method: str, *arguments: object) -> Any:
        if self._failure:
            raise self._failure
        try:
            return self._worker.ask(method, *arguments, timeout=ANSWER_TIMEOUT)
        except SubjectError as error:
            self._failure = error
            raise


class _RemoteSubject:
    """The remote object: loads the engine in its own process, runs it and times it."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine
        self._stack = ExitStack()

    def load(self) -> float:
        start = time.perf_counter()
        self._subject = self._stack.enter_context(self._open_engine())
        seconds = time.perf_counter() - start
        return_freed_memory()
        reset_peaks(processes_of(self._subject))
        return seconds

    def run(self, inputs: Inputs) -> dict[str, AnyArray]:
        return self._subject.run(inputs)

    def time_calls(self, inputs: Inputs, calls: int, in_flight: int) -> TimedCalls:
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
        return TimedCalls(tuple(seconds), wall, peak_bytes(processes_of(self._subject)), engines)

    def close(self) -> None:
        self._stack.close()
