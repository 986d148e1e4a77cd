"""Times of calls that follow each other without a pause: by CUDA events on a GPU, by the host's clock elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

MIN_TIMES = 3
"""Least number of timed blocks or calls, however long they take."""
BLOCK_MS = 20.0
"""Milliseconds of calls between two events; the launch of the first call is a small part of them."""
MAX_CALLS = 1000
"""Most calls between two events."""


def device_times(call: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of one call, for each block of calls that the device runs back to back."""
    if device.type != "cuda":
        return host_times(call, seconds)
    torch.cuda.synchronize(device)
    single = min(_block(call, 1) for _ in range(MIN_TIMES))
    calls = max(1, min(MAX_CALLS, round(BLOCK_MS / single)))
    return _repeated(lambda: _block(call, calls), seconds)


def _block(call: Callable[[], object], calls: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / calls


def host_times(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call by the host's clock; a call must not return before its result is complete."""

    def once() -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    return _repeated(once, seconds)


def captured(calls: Sequence[Callable[[], Any]], device: torch.device) -> Callable[[], list[Any]]:
    """A function that runs ``calls`` and returns their results: on a GPU it replays one CUDA graph of them.

    The calls run here too, so that kernels are compiled and algorithms chosen before anything is timed.
    """
    if device.type != "cuda":
        return lambda: [call() for call in calls]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        with torch.cuda.stream(stream):
            for call in calls:
                call()
        with torch.cuda.graph(graph, stream=stream):
            results = [call() for call in calls]
    torch.cuda.current_stream().wait_stream(stream)

    def replay() -> list[Any]:
        graph.replay()
        return results

    return replay


def graph_times(calls: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of one of ``calls`` in replays of one CUDA graph of all: the mean over the calls."""
    return [total / len(calls) for total in device_times(captured(calls, device), device, seconds)]


def _repeated(once: Callable[[], float], seconds: float) -> list[float]:
    end, times = time.perf_counter() + seconds, list[float]()
    while len(times) < MIN_TIMES or time.perf_counter() < end:
        times.append(once())
    return times
