"""The ``with`` protocol of everything that is closed at the end of its block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class ContextManager(Protocol):
    """What a ``with`` block gives its variable and ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing:
    """A base for classes whose objects are closed when their ``with`` block ends, by an error or without."""

    def close(self) -> None:
        """Release what the object holds; here it is nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
