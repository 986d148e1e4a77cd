"""The client of a server that toonifies faces, for asyncio; see ``serving.client.client``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import tritonclient.grpc.aio

from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from serving.client.calls import ServedModel
from serving.client.client import prepared
from serving.client.defaults import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL
from serving.client.headers import Metadata, Traceparent
from serving.client.operations import CLOSING_ATTEMPTS
from serving.client.steps import Blocking, Operation, Pause, Step
from serving.controls import Controls, GeneratorControls
from serving.random_faces import Seeds

T = TypeVar("T")


class AsyncToonifyClient:
    """``ToonifyClient`` for asyncio: the same arguments, results and errors. Create it inside the running loop."""

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        shared_memory: bool = False,
        headers: Mapping[str, str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        traceparent: Traceparent = None,
    ) -> None:
        self._operations, channel = prepared(
            url, Metadata(headers, traceparent), credentials, timeout=timeout, shared_memory=shared_memory
        )
        self._rpc: Any = tritonclient.grpc.aio.InferenceServerClient(**channel)

    async def toonify(
        self,
        faces: Pictures,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """See ``ToonifyClient.toonify``."""
        return await self._run(self._operations.toonify(faces, model, timeout, controls))

    async def toonify_jpeg(
        self,
        jpegs: bytes | Sequence[bytes],
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[Controls],
    ) -> list[bytes]:
        """See ``ToonifyClient.toonify_jpeg``."""
        return await self._run(self._operations.toonify_jpeg(jpegs, model, timeout, controls))

    async def encode(self, faces: Pictures, *, timeout: float | None = None) -> Codes:
        """See ``ToonifyClient.encode``."""
        return await self._run(self._operations.encode(faces, timeout))

    async def encode_with_distance(
        self, faces: Pictures, *, model: str = DEFAULT_MODEL, timeout: float | None = None
    ) -> tuple[Codes, Distances | None]:
        """See ``ToonifyClient.encode_with_distance``."""
        return await self._run(self._operations.encode_with_distance(faces, model, timeout))

    async def read_attributes(self, faces: Pictures, *, timeout: float | None = None) -> AnyArray:
        """See ``ToonifyClient.read_attributes``."""
        return await self._run(self._operations.read_attributes(faces, timeout))

    async def render(
        self, w: Codes, *, model: str = DEFAULT_MODEL, timeout: float | None = None, **controls: Unpack[Controls]
    ) -> Pictures:
        """See ``ToonifyClient.render``."""
        return await self._run(self._operations.render(w, model, timeout, controls))

    async def sample(
        self,
        seeds: Seeds,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[GeneratorControls],
    ) -> Pictures:
        """See ``ToonifyClient.sample``."""
        return await self._run(self._operations.sample(seeds, model, timeout, controls))

    async def sample_codes(self, seeds: Seeds, *, model: str = DEFAULT_MODEL, timeout: float | None = None) -> Codes:
        """See ``ToonifyClient.sample_codes``."""
        return await self._run(self._operations.sample_codes(seeds, model, timeout))

    async def models(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """See ``ToonifyClient.models``."""
        return await self._run(self._operations.models(timeout))

    async def describe(self, model: str = DEFAULT_MODEL, *, timeout: float | None = None) -> ServedModel:
        """See ``ToonifyClient.describe``."""
        return await self._run(self._operations.describe(model, timeout))

    async def is_ready(self, model: str = DEFAULT_MODEL, *, timeout: float | None = None) -> bool:
        """See ``ToonifyClient.is_ready``."""
        return await self._run(self._operations.is_ready(model, timeout))

    async def close(self) -> None:
        """See ``ToonifyClient.close``."""
        await self._run(self._operations.release(CLOSING_ATTEMPTS))
        await self._rpc.close()

    async def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                try:
                    answer = await self._perform(step)
                except BaseException as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Blocking):
            return await asyncio.to_thread(step.function)
        return await getattr(self._rpc, step.method)(**step.arguments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
