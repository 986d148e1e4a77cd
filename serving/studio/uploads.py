"""Receiving files from the page: no more than was allowed, and not without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from serving.studio.library import web
from serving.studio.refusal import Place, Refusal

IDLE_SECONDS = 60.0
"""Seconds after which an upload, or the stream of a webcam, that sends nothing is ended."""


async def whole_body(request: web.Request, limit: int, place: Place) -> bytes:
    """Return the body; see ``body_in_chunks``."""
    return b"".join([chunk async for chunk in body_in_chunks(request, limit, place)])


async def body_in_chunks(request: web.Request, limit: int, place: Place) -> AsyncIterator[bytes]:
    """Yield the body in chunks, and refuse it as soon as it is known to be too long; its bytes count for ``place``.

    Compressed bodies are refused, since few bytes become many.
    """
    if encoding := request.headers.get("Content-Encoding"):
        got = f"the Content-Encoding {encoding!r}"
        raise Refusal(415, "upload", got=got, expected="none", remedy="send the file's bytes unchanged")
    while chunk := await _next_chunk(request):
        if max(place.size + len(chunk), request.content_length or 0) > limit:
            raise Refusal(
                413,
                "upload",
                got=f"more than {limit / 2**20:g} MiB",
                expected="at most that size",
                remedy="send a smaller file, or start the studio with a higher --max-upload",
            )
        place.grow(len(chunk))
        yield chunk


async def _next_chunk(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await request.content.readany()
    except TimeoutError:
        got = f"nothing for {IDLE_SECONDS:g} seconds"
        raise Refusal(408, "upload", got=got, expected="the rest of the file", remedy="send it again") from None
    except web.RequestPayloadError:
        got = "a body that its headers do not describe"
        raise Refusal(400, "upload", got=got, expected="a whole file", remedy="send it again") from None
