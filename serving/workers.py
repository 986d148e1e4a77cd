"""Threads for a pipeline of iterators: each stage's items are prefetched in order, in bounded number, for the next.

An error of a stage is raised where its items are consumed, after the items that were made before it, and so reaches the
end of the pipeline. Leaving the ``with`` block ends all threads, even if items are left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition, Semaphore, Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """Owns the threads of one pipeline.

    Args:
        parallel: number of calls of ``mapped`` that run at the same time.
    """

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel
        self._pool = ThreadPoolExecutor(parallel, "toon call")
        self._queues: list[_Queue[Any]] = []
        self._threads: list[Thread] = []
        self._slots = Semaphore(0)
        self._ended = False

    @property
    def dropped(self) -> int:
        """Number of items that were dropped because a newer one came."""
        return sum(queue.dropped for queue in self._queues)

    def prefetched(self, items: Iterable[T], depth: int, *, drop_oldest: bool = False) -> Iterator[T]:
        """Yield the same items, made by a thread of their own, which runs at most ``depth`` items ahead.

        When it is that far ahead, the thread waits, or with ``drop_oldest`` the oldest item is dropped.
        """
        queue = _Queue[T](depth, drop_oldest)
        thread = Thread(target=_fill, args=(queue, items), name="toon stage", daemon=True)
        self._queues.append(queue)
        self._threads.append(thread)
        thread.start()
        return queue.taken()

    def mapped(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``function(item)`` for each item, in the order of the items; the calls run in parallel."""

        def calls() -> Iterator[Future[R]]:
            for item in items:
                yield self._pool.submit(function, item)

        return (call.result() for call in self.prefetched(calls(), self.parallel))

    def admitted(self, items: Iterable[T], count: int) -> Iterator[T]:
        """Yield the same items; at most ``count`` are admitted at a time, until ``release`` is called for each."""
        self._slots.release(count)
        iterator = iter(items)
        while True:
            self._slots.acquire()
            if self._ended:
                raise _EndedError
            try:
                yield next(iterator)
            except StopIteration:
                return

    def release(self) -> None:
        """Release the slot of an admitted item."""
        self._slots.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._slots.release()
        for queue in self._queues:
            queue.end()
        # The pool is shut down first, because a thread may be waiting for one of its calls.
        self._pool.shutdown(cancel_futures=True)
        for thread in self._threads:
            thread.join()


class _EndedError(Exception):
    """Ends a thread after the ``with`` block has been left."""


class _Queue(Generic[T]):
    """A bounded queue between one thread that puts items and one that takes them."""

    def __init__(self, depth: int, drop_oldest: bool) -> None:
        self._depth, self._drop_oldest = depth, drop_oldest
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._ended = self._complete = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> None:
        """Append an item, after waiting for a free place or dropping the oldest; raises _EndedError after ``end``."""
        with self._changed:
            if self._drop_oldest and len(self._items) == self._depth:
                self._items.popleft()
                self.dropped += 1
            self._wait_for(lambda: len(self._items) < self._depth)
            self._items.append(item)
            self._changed.notify()

    def complete(self, error: BaseException | None) -> None:
        """Mark the end of the items; ``error`` is raised after they are taken."""
        with self._changed:
            self._complete, self._error = True, error
            self._changed.notify()

    def taken(self) -> Iterator[T]:
        """Yield the items, waiting for each."""
        while True:
            with self._changed:
                self._wait_for(lambda: self._items or self._complete)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify()
            yield item
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Make both threads raise _EndedError."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], object]) -> None:
        self._changed.wait_for(lambda: self._ended or condition())
        if self._ended:
            raise _EndedError


def _fill(queue: _Queue[T], items: Iterable[T]) -> None:
    try:
        for item in items:
            queue.put(item)
    except _EndedError:
        return
    except BaseException as error:
        queue.complete(error)
    else:
        queue.complete(None)
