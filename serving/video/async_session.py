"""Toonifying of a stream under asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import TracebackType
from typing import Self, TypeVar

from serving.faces.alignment import Photo
from serving.video.jobs import FrameResult
from serving.video.session import ToonSession

T = TypeVar("T")


class AsyncToonSession:
    """A ``ToonSession`` for asyncio, which does its work in a thread of its own, in the order of the calls."""

    def __init__(self, session: ToonSession) -> None:
        self.session = session
        self._thread = ThreadPoolExecutor(1, "toon session")

    async def push(self, pixels: Photo, pts: Fraction | float) -> FrameResult | None:
        """See ``ToonSession.push``."""
        return await self._run(lambda: self.session.push(pixels, pts))

    async def flush(self) -> list[FrameResult]:
        """See ``ToonSession.flush``."""
        return await self._run(self.session.flush)

    async def reset(self) -> None:
        """See ``ToonSession.reset``."""
        await self._run(self.session.reset)

    async def _run(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.reset()
        self._thread.shutdown()
