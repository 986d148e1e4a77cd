"""Measures a live model beside exported blends: time of a picture, and memory of the process that holds them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.growth.live_models import FIRST_SWAP, LIVE, SECOND_SWAP, blend_name
from benchmarks.growth.live_rows import EXPORTED, HARD_SWAP, NEW_FRACTION, TWO_EXPORTED, LiveRow
from benchmarks.memory import return_freed_memory, smaps_bytes
from benchmarks.networks import SEED, BenchmarkModels
from benchmarks.reference import LARGEST_BATCH, PSI
from benchmarks.rounds import alternating, percentiles, text_of_medians
from benchmarks.worker import Worker
from engines import engine_from_directory
from engines.contract.arrays import AnyArray
from engines.contract.tensors import BLEND, resolution_of_shares, resolutions_to
from serving.faces.jpeg import jpeg_from_picture
from serving.live_blends import swapped_shares

TIMEOUT = 600.0
"""Seconds allowed for loading the models, or for the calls of one round."""

MIB = 2**20

ROUNDS = 4
"""Rounds of these cases for each round of the benchmark's other parts: a case is timed once in each of them."""

Shares = Callable[[int, int, int], AnyArray]
"""Returns the blends [N, G] of a call, given its number, the batch N and the number of resolutions G."""


def hard_swap(_: int, batch: int, count: int) -> AnyArray:
    """The first exported blend, for every picture."""
    return np.tile(swapped_shares(FIRST_SWAP, resolution_of_shares(count)), (batch, 1))


def one_fraction(_: int, batch: int, count: int) -> AnyArray:
    """The same fraction in every call."""
    return np.full((batch, count), 0.5)


def new_fraction(call: int, batch: int, count: int) -> AnyArray:
    """Another fraction in every call."""
    return np.full((batch, count), 0.25 + (call + 1) / 4096)


def every_swap(_: int, batch: int, count: int) -> AnyArray:
    """Another hard swap for every picture, as far as there are as many."""
    return np.arange(count) < (np.arange(batch) % (count + 1))[:, None]


def every_fraction(_: int, batch: int, count: int) -> AnyArray:
    """Another fraction for every picture, the same in every call."""
    return np.tile((np.arange(batch)[:, None] + 1) / (batch + 1), count)


def next_swap(call: int, batch: int, count: int) -> AnyArray:
    """The next hard swap in every call, as a slider over r_swap is dragged."""
    return np.tile(np.arange(count) < call % (count + 1), (batch, 1))


def moved_share(call: int, batch: int, count: int) -> AnyArray:
    """A hard swap in which the share of the middle resolution is another one in every call, as its bar is dragged."""
    shares = hard_swap(call, batch, count)
    shares[:, count // 2] = new_fraction(call, 1, 1)
    return shares


@dataclass(frozen=True)
class LiveCase:
    """One row: the models that a process holds, and what is asked of the last one.

    With ``as_jpeg`` each picture is encoded too, as the studio sends it.
    """

    name: str
    held: tuple[str, ...]
    batch: int = 1
    shares: Shares | None = None
    first_calls: int = 2
    as_jpeg: bool = False


_ONE, _TWO = (blend_name(FIRST_SWAP),), (blend_name(FIRST_SWAP), blend_name(SECOND_SWAP))
_EXPORTED = LiveCase(EXPORTED, _ONE)
_DRAGGED = (
    LiveCase("studio, r_swap dragged", (LIVE,), shares=next_swap, as_jpeg=True),
    LiveCase("studio, a share dragged", (LIVE,), shares=moved_share, as_jpeg=True),
)
CASES = (
    _EXPORTED,
    LiveCase("an exported blend, 8 pictures", _ONE, LARGEST_BATCH),
    LiveCase(TWO_EXPORTED, _TWO),
    LiveCase(HARD_SWAP, (LIVE,), shares=hard_swap),
    LiveCase("live, 8 pictures of different hard swaps", (LIVE,), LARGEST_BATCH, every_swap),
    LiveCase("live, fraction that was made before", (LIVE,), shares=one_fraction),
    LiveCase("live, 8 pictures of different fractions", (LIVE,), LARGEST_BATCH, every_fraction),
    LiveCase(NEW_FRACTION, (LIVE,), shares=new_fraction, first_calls=4),
    *_DRAGGED,
)
"""The first case of each batch is what the others are compared with."""
CASES_OF_SMALL_PICTURES = (_EXPORTED, *_DRAGGED)


@dataclass
class LiveState:
    """The results of one case so far; where it has failed, ``reason`` says why."""

    case: LiveCase
    reason: str = ""
    number: int = 0
    held: int = 0
    seconds: list[float] = field(default_factory=list)


class LiveRun:
    """One run of the benchmark with models of one resolution.

    A round times one call of each case, so that a busy moment slows neighbours alike. The call before it is not timed:
    it makes again what the other cases of the same process have displaced, such as a blend from the cache of blends.
    """

    def __init__(self, models: BenchmarkModels, cases: Sequence[LiveCase], rounds: int, run: str) -> None:
        """Time each case once in each round; ``run`` names the run in its rows."""
        self._models, self._cases, self._rounds, self._run = models, cases, rounds, run
        self._geometry = models.scale.geometry
        shape = (LARGEST_BATCH, self._geometry.rows, self._geometry.w_dim)
        self._w = np.random.default_rng(SEED).standard_normal(shape, np.float32)

    def measure(self, step: Callable[[str], None], keep: Callable[[list[LiveRow]], None]) -> None:
        """Measure all cases, alternating.

        Args:
            step: called with a phrase before each case is loaded and before it is timed.
            keep: called once with the rows, after an interruption too; then they hold the rounds that were finished.
        """
        states = [LiveState(case) for case in self._cases]
        with ExitStack() as stack:
            try:
                workers: dict[tuple[str, ...], Worker] = {}
                for state in states:
                    step(f"loading: {state.case.name}")
                    if state.case.held not in workers:
                        workers[state.case.held] = stack.enter_context(self._worker(state.case.held))
                    self._attempt(state, partial(self._first_calls, state, workers))
                for number, state in alternating(states, self._rounds):
                    step(f"round {number + 1}: {state.case.name}")
                    self._attempt(state, partial(self._time_round, state, workers))
            finally:
                keep([self._row(state) for state in states if state.seconds or state.reason])

    def _worker(self, names: Sequence[str]) -> Worker:
        directories = tuple(self._models.directory(name) for name in names)
        return Worker(partial(_HeldEngines, directories, machine.cores()), self._models.folder / "workers.log")

    def _attempt(self, state: LiveState, work: Callable[[], None]) -> None:
        if not state.reason:
            try:
                work()
            except SubjectError as error:
                state.reason = str(error)

    def _first_calls(self, state: LiveState, workers: dict[tuple[str, ...], Worker]) -> None:
        self._call(state, workers, state.case.first_calls)
        state.held = workers[state.case.held].ask("held", timeout=TIMEOUT)

    def _time_round(self, state: LiveState, workers: dict[tuple[str, ...], Worker]) -> None:
        state.seconds.append(self._call(state, workers, 2))

    def _call(self, state: LiveState, workers: dict[tuple[str, ...], Worker], calls: int) -> float:
        """Call a case several times, and return the seconds of the last call."""
        inputs = [self._inputs(state.case, number) for number in range(state.number, state.number + calls)]
        state.number += calls
        seconds: float = workers[state.case.held].ask("time_last", inputs, state.case.as_jpeg, timeout=TIMEOUT)
        return seconds

    def _inputs(self, case: LiveCase, number: int) -> dict[str, AnyArray]:
        inputs = {"w": self._w[: case.batch], "psi": np.full((case.batch, 1), PSI, np.float32)}
        if case.shares is not None:
            count = len(resolutions_to(self._geometry.resolution))
            inputs[BLEND] = case.shares(number, case.batch, count).astype(np.float32)
        return inputs

    def _row(self, state: LiveState) -> LiveRow:
        engine, precision = self._models.served(LIVE)
        common: dict[str, Any] = {
            "run": self._run,
            "time": machine.now(),
            "commit": machine.commit(),
            "case": state.case.name,
            "batch": state.case.batch,
            "resolution": self._geometry.resolution,
            "engine": engine,
            "precision": precision,
            "device": machine.device(),
            "versions": machine.versions(),
        }
        if state.reason:
            return LiveRow(**common, status="failed", reason=state.reason)
        times = [1e3 * seconds for seconds in state.seconds]
        p5, p50, p95 = percentiles(times)
        return LiveRow(
            **common,
            status="ok" if len(times) == self._rounds else "interrupted",
            n=len(times),
            p5_ms=p5,
            p50_ms=p50,
            p95_ms=p95,
            rounds_ms=text_of_medians([[ms] for ms in times]),
            held_mib=state.held / MIB,
        )


class _HeldEngines:
    """The remote object: engines in one process, of which the last one runs."""

    def __init__(self, directories: Sequence[Path], threads: int) -> None:
        self._stack = ExitStack()
        self._engines = [
            self._stack.enter_context(engine_from_directory(directory, threads=threads)) for directory in directories
        ]

    def time_last(self, inputs: Sequence[dict[str, AnyArray]], as_jpeg: bool) -> float:
        """Run once with each of the inputs, and return the seconds of the last run, with its pictures' encoding."""
        start = 0.0
        for one in inputs:
            start = time.perf_counter()
            pictures = self._engines[-1].run(one)["image"]
            if as_jpeg:
                [jpeg_from_picture(picture) for picture in pictures]
        return time.perf_counter() - start

    def held(self) -> int:
        """Return the memory of this process in bytes, when every engine has run."""
        for engine in self._engines[:-1]:
            engine.run({spec.name: np.zeros((1, *spec.dims), spec.dtype.numpy) for spec in engine.signature.inputs})
        return_freed_memory()
        return smaps_bytes([os.getpid()], "Pss")

    def close(self) -> None:
        self._stack.close()
