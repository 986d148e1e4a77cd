"""Lets tests ask the asyncio client as they ask the blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from serving.client import AsyncToonifyClient


class Blocking:
    """``AsyncToonifyClient`` with the methods of ``ToonifyClient``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def make() -> AsyncToonifyClient:
            return AsyncToonifyClient(*arguments, **options)

        try:
            self._client = self._runner.run(make())
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._runner.run(getattr(self._client, name)(*arguments, **options))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()
