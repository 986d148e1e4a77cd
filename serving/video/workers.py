"""Threads for a chain of iterators: what one makes lies ready, in order and in bounded number, when the next wants it.

An error of any link arrives where its items are taken, after those that were made before it, and so at the end of the
chain. Leaving the ``with`` block ends all threads, whether their items were taken or not.
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
    """Owns the threads of one chain.

    Args:
        parallel: how many calls of ``mapped`` run at the same time.
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
        """Items that nobody took in time."""
        return sum(queue.dropped for queue in self._queues)

    def prefetched(self, items: Iterable[T], depth: int, *, drop_oldest: bool = False) -> Iterator[T]:
        """The same items, made by a thread of their own, at most ``depth`` of them lying ready.

        Where no more may lie ready, the thread waits, or the oldest is dropped.
        """
        queue = _Queue[T](depth, drop_oldest)
        thread = Thread(target=_fill, args=(queue, items), name="toon stage", daemon=True)
        self._queues.append(queue)
        self._threads.append(thread)
        thread.start()
        return queue.taken()

    def mapped(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """``function`` of each item, in the order of the items; calls run side by side."""

        def calls() -> Iterator[Future[R]]:
            for item in items:
                yield self._pool.submit(function, item)

        return (call.result() for call in self.prefetched(calls(), self.parallel))

    def admitted(self, items: Iterable[T], count: int) -> Iterator[T]:
        """The same items, each taken only when fewer than ``count`` are on their way between here and ``release``."""
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
        """An item that was admitted is on its way no more."""
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
        # The pool first: a thread may be waiting for one of its calls.
        self._pool.shutdown(cancel_futures=True)
        for thread in self._threads:
            thread.join()


class _EndedError(Exception):
    """The block was left: the thread has nothing more to do."""


class _Queue(Generic[T]):
    """Between one thread that puts and one that takes."""

    def __init__(self, depth: int, drop_oldest: bool) -> None:
        self._depth, self._drop_oldest = depth, drop_oldest
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._ended = self._complete = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> None:
        """Wait for room, or make it; raises _EndedError once the block was left."""
        with self._changed:
            if self._drop_oldest and len(self._items) == self._depth:
                self._items.popleft()
                self.dropped += 1
            self._wait_for(lambda: len(self._items) < self._depth)
            self._items.append(item)
            self._changed.notify()

    def complete(self, error: BaseException | None) -> None:
        """Nothing more is put."""
        with self._changed:
            self._complete, self._error = True, error
            self._changed.notify()

    def taken(self) -> Iterator[T]:
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
