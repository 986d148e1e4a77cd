"""The ``with`` protocol of objects that are closed at the end of their block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class ContextManager(Protocol):
    """A context manager that returns itself from ``__enter__``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing:
    """A base class whose objects are closed when their ``with`` block ends, with or without an error."""

    def close(self) -> None:
        """Release the object's resources; the base class has none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
