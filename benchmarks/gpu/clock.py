"""Times of calls: by CUDA events on a GPU, by the host's clock elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

MIN_CALLS = 3
"""Least number of timed calls, however long they take."""


def event_times(call: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of each call from its first work on the device to its last; each call starts on an idle device."""
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
    """Milliseconds of each call by the host's clock; a call must not return before its result is complete."""

    def once() -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    return _repeated(once, seconds)


def graph_times(calls: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of one of ``calls``, captured as one CUDA graph: the mean over the calls, in each replay."""
    if device.type != "cuda":
        return [total / len(calls) for total in host_times(lambda: [call() for call in calls], seconds)]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        with torch.cuda.stream(stream):
            for call in calls:
                call()
        with torch.cuda.graph(graph, stream=stream):
            results = [call() for call in calls]  # kept, so that each result has its own memory
    torch.cuda.current_stream().wait_stream(stream)
    event_times(graph.replay, device, 0)
    times = [total / len(calls) for total in event_times(graph.replay, device, seconds)]
    del results
    return times


def _repeated(once: Callable[[], float], seconds: float) -> list[float]:
    end, times = time.perf_counter() + seconds, list[float]()
    while len(times) < MIN_CALLS or time.perf_counter() < end:
        times.append(once())
    return times
