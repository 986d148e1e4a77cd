"""Times of calls: on a GPU by its own events, elsewhere by the host's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

LEAST = 3
"""Calls that are timed at least, however long they take."""


def event_times(call: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds from the call's first work on the device to its last; each call starts on an idle device."""
    if device.type != "cuda":
        return host_times(call, seconds)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def once() -> float:
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    torch.cuda.synchronize(device)
    return _repeated(once, seconds)


def host_times(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of calls that return when their results are there."""

    def once() -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    return _repeated(once, seconds)


def graph_times(calls: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of one of ``calls``, which follow each other without the host; their mean in each repetition."""
    if device.type != "cuda":
        return [total / len(calls) for total in host_times(lambda: [call() for call in calls], seconds)]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        with torch.cuda.stream(stream):
            for call in calls:
                call()
        with torch.cuda.graph(graph, stream=stream):
            results = [call() for call in calls]  # kept, so that each has memory of its own
    torch.cuda.current_stream().wait_stream(stream)
    event_times(graph.replay, device, 0)
    times = [total / len(calls) for total in event_times(graph.replay, device, seconds)]
    del results
    return times


def _repeated(once: Callable[[], float], seconds: float) -> list[float]:
    end, times = time.perf_counter() + seconds, list[float]()
    while len(times) < LEAST or time.perf_counter() < end:
        times.append(once())
    return times
