"""Calls in several processes at once, of which a fault ends only one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from benchmarks.errors import SubjectError
from benchmarks.gpu.course import Course
from benchmarks.worker import Worker

Done = Callable[[Any, Any], None]
"""(item, answer or SubjectError) -> None; called in several threads."""


def in_parallel(
    course: Course, factory: Callable[[], object], method: str, items: Collection[Any], done: Done, *, timeout: float
) -> None:
    """Call ``method`` of a remote object with each of ``items``, which are tuples of arguments.

    Args:
        course: the run.
        factory: creates the remote object of each process.
        method: the method's name.
        items: its arguments.
        done: called with the result of each.
        timeout: seconds for one call.

    Raises:
        TimeUpError: the step's time was up; the items that were left out are not ``done``.
    """
    queue: SimpleQueue[Any] = SimpleQueue()
    for item in items:
        queue.put(item)
    count = min(course.options.processes, len(items))
    with ThreadPoolExecutor(max_workers=max(count, 1)) as pool:
        takers = [pool.submit(_take, course, factory, queue, method, done, timeout) for _ in range(count)]
    for taker in takers:
        taker.result()


def _take(
    course: Course, factory: Callable[[], object], queue: SimpleQueue[Any], method: str, done: Done, timeout: float
) -> None:
    with suppress(Empty):
        while True:
            item = queue.get_nowait()
            with course.worker(factory) as worker:
                while _asked(course, worker, method, item, done, timeout):
                    item = queue.get_nowait()


def _asked(course: Course, worker: Worker, method: str, item: Any, done: Done, timeout: float) -> bool:
    """Call the method for one item; return whether its process can be used further."""
    try:
        done(item, course.ask(worker, method, *item, timeout=timeout))
    except SubjectError as error:
        done(item, error)
        return False
    return True
