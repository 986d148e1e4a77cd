"""The studio's HTTP interface: its routes, its access rules, and its error responses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

from engines.contract.errors import EngineError, RequestError, ServerError, ToonifyError
from serving.faces.images import MAX_BYTES as MAX_PICTURE
from serving.studio.catalogue import Catalogue
from serving.studio.clips import ClipJob, ClipQueue
from serving.studio.controls import PageControls, controls_from_json
from serving.studio.studio import Studio, WebcamStream

try:
    from aiohttp import WSCloseCode, WSMsgType, web
    from aiohttp.typedefs import Handler, Middleware
except ModuleNotFoundError:
    raise RequestError(
        "toonify studio",
        got="no such library",
        expected="the package aiohttp",
        remedy="install it with: pip install 'toonify-serve[studio]'",
    ) from None

PAGE = Path(__file__).parent / "page"

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MAX_FRAME = 16 * 2**20
"""Largest webcam frame in bytes."""

IDLE_SECONDS = 60.0
"""Seconds after which the stream of a webcam that sends nothing is closed."""

_HEADERS = {
    # The page loads nothing from other hosts, and no other page may embed it in a frame.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

T = TypeVar("T")


def application(
    studio: Studio, catalogue: Catalogue, *, hosts: Collection[str] = LOOPBACK, max_upload: int = 2**30
) -> web.Application:
    """Make the application that serves the page and its interface; its threads end with it.

    Args:
        studio: toonifies pictures, clips and frames.
        catalogue: the choices that the page offers.
        hosts: names and addresses under which browsers may reach the page. Pages of other sites cannot use the
            interface, not even through a host name of their own that resolves to this machine.
        max_upload: largest picture or clip in bytes.
    """
    return _Interface(studio, catalogue, max_upload).application(hosts)


def run(app: web.Application, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then finish the running requests and return."""
    web.run_app(app, sock=listener, print=None, access_log=None, shutdown_timeout=5)


class _Refusal(RequestError):
    """An error with an HTTP status of its own."""

    def __init__(self, status: int, subject: str, **sentence: str) -> None:
        super().__init__(subject, **sentence)
        self.status = status


class _Interface:
    """Has one method for each route; a pool of threads does the blocking work."""

    def __init__(self, studio: Studio, catalogue: Catalogue, max_upload: int) -> None:
        self._studio, self._catalogue, self._max_upload = studio, catalogue, max_upload
        self._cameras: WeakSet[web.WebSocketResponse] = WeakSet()

    def application(self, hosts: Collection[str]) -> web.Application:
        app = web.Application(middlewares=[_errors_as_json, _require_known_host(hosts)])
        app.add_routes(
            [
                web.get("/", self.page),
                web.static("/page", PAGE),
                web.get("/api/models", self.models),
                web.post("/api/picture", self.picture),
                web.get("/api/camera", self.camera),
                web.post("/api/clip", self.new_clip),
                web.get("/api/clip/{id}", self.clip),
                web.get("/api/clip/{id}/result", self.clip_result),
                web.delete("/api/clip/{id}", self.remove_clip),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._close_cameras)
        app.cleanup_ctx.append(self._workers)
        return app

    async def page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / "index.html")

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({**asdict(self._catalogue), "max_upload": self._max_upload})

    async def picture(self, request: web.Request) -> web.Response:
        controls = self._controls(request.query.get("controls", "{}"))
        limit = min(self._max_upload, MAX_PICTURE)
        data = b"".join([chunk async for chunk in _body(request, limit)])
        answer = await self._in_thread(self._studio.picture, data, controls)
        return web.Response(body=answer, content_type="image/png")

    async def camera(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(receive_timeout=IDLE_SECONDS, max_msg_size=MAX_FRAME, compress=False)
        await stream.prepare(request)
        self._cameras.add(stream)
        camera = WebcamStream(self._studio, self._controls("{}"))
        try:
            async for message in stream:
                if message.type is WSMsgType.TEXT:
                    camera.choose(self._controls(message.data))
                elif message.type is WSMsgType.BINARY:
                    jpeg, faces = await self._in_thread(camera.push, message.data)
                    await stream.send_json({"faces": faces})
                    await stream.send_bytes(jpeg)
        except ToonifyError as error:
            await stream.send_json({"error": str(error)})
        except TimeoutError:
            await stream.send_json({"error": f"webcam: no frame came for {IDLE_SECONDS:g} seconds; start it again."})
        await stream.close()
        return stream

    async def new_clip(self, request: web.Request) -> web.Response:
        controls = self._controls(request.query.get("controls", "{}"))
        clip = self._clips.new()
        try:
            with clip.source.open("wb") as file:
                async for chunk in _body(request, self._max_upload):
                    file.write(chunk)
        except BaseException:
            self._clips.remove(clip)
            raise
        self._clips.start(clip, controls)
        return web.json_response({"id": clip.id}, status=202)

    async def clip(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self._clip(request).state))

    async def clip_result(self, request: web.Request) -> web.StreamResponse:
        clip = self._clip(request)
        if clip.state.state != "done":
            got = f"a clip that is {clip.state.state}"
            raise _Refusal(409, "clip", got=got, expected="a clip that is done", remedy="try again later")
        return web.FileResponse(clip.result)

    async def remove_clip(self, request: web.Request) -> web.Response:
        self._clips.remove(self._clip(request))
        return web.json_response({})

    def _controls(self, text: str) -> PageControls:
        controls = controls_from_json(text)
        return controls if controls.model else controls.model_copy(update={"model": self._catalogue.models[0].name})

    def _clip(self, request: web.Request) -> ClipJob:
        clip = self._clips.get(request.match_info["id"])
        if clip is None:
            got, expected = "an id that is unknown or removed", "the id of one of the last clips"
            raise _Refusal(404, "clip", got=got, expected=expected, remedy="send the clip again")
        return clip

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _workers(self, app: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(thread_name_prefix="studio") as self._threads, ClipQueue(self._studio) as self._clips:
            yield

    async def _close_cameras(self, app: web.Application) -> None:
        for stream in {*self._cameras}:
            await stream.close(code=WSCloseCode.GOING_AWAY)


async def _body(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body in chunks, and refuse it as soon as it is known to be too long."""
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if max(size, request.content_length or 0) > limit:
            raise _Refusal(
                413,
                "upload",
                got=f"more than {limit / 2**20:g} MiB",
                expected="at most that size",
                remedy="send a smaller file, or start the studio with a higher --max-upload",
            )
        yield chunk


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ToonifyError as error:
        return web.json_response({"error": str(error)}, status=_status_of(error))


def _status_of(error: ToonifyError) -> int:
    if isinstance(error, _Refusal):
        return error.status
    return {ServerError: 502, EngineError: 500}.get(type(error), 422)


def _require_known_host(hosts: Collection[str]) -> Middleware:
    """Make the middleware that refuses requests from another site's page or for another host name."""
    known = sorted({host.lower() for host in hosts})

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if _hostname(request.host) not in known:
            got, expected = f"a request to {request.host!r}", f"a request to {', '.join(known)}"
        elif origin is not None and origin.partition("://")[2] != request.host:
            got, expected = f"a request from {origin!r}", "a request from the studio's own page"
        else:
            return await handler(request)
        remedy = "open the page under one of its names, or add the name with --allow-host"
        raise _Refusal(403, "toonify studio", got=got, expected=expected, remedy=remedy)

    return check


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
