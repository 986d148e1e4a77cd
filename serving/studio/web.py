"""The studio's HTTP interface: its routes, its access rules, and its error responses."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from threading import Event, Timer
from typing import Any, TypeVar
from weakref import WeakSet

from engines.contract.errors import EngineError, ServerError, ToonifyError
from serving.faces.images import MAX_BYTES as MAX_PICTURE
from serving.faces.jpeg import jpeg_from_picture
from serving.studio.access import only_own_page
from serving.studio.catalogue import Catalogue
from serving.studio.clips import MAX_UNFINISHED_CLIPS, ClipJob, ClipQueue
from serving.studio.controls import PageControls, controls_from_json
from serving.studio.kept_faces import KeptFaces
from serving.studio.library import Handler, WSCloseCode, WSMsgType, web
from serving.studio.refusal import Refusal, Room
from serving.studio.studio import Studio, WebcamStream
from serving.studio.token import only_with_token
from serving.studio.uploads import IDLE_SECONDS, body_in_chunks, whole_body

PAGE = Path(__file__).parent / "page"

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MAX_FRAME = 16 * 2**20
"""Largest webcam frame in bytes."""

MAX_PICTURES, MAX_PICTURE_BYTES = 16, 2 * MAX_PICTURE
"""Largest number of pictures that are received, wait or are toonified, and of their bytes together."""

MAX_RUNNING_PICTURES = 2
"""Number of pictures that are toonified at a time; one of 100 megapixels takes more than a gigabyte."""

MAX_WEBCAMS = 8

SECONDS_TO_FINISH, SECONDS_TO_END = 2.0, 3.0
"""Seconds that running requests have when the studio is told to end, and after which the process ends in any case."""

_HEADERS = {
    # The page loads nothing from other hosts, and no other page may embed it in a frame.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
}

T = TypeVar("T")


def application(
    studio: Studio,
    catalogue: Catalogue,
    *,
    hosts: Collection[str] = LOOPBACK,
    max_upload: int = 2**30,
    token: str | None = None,
) -> web.Application:
    """Make the application that serves the page and its interface; its threads end with it.

    Args:
        studio: toonifies pictures, clips and frames.
        catalogue: the choices that the page offers.
        hosts: names and addresses under which browsers may reach the page. Pages of other sites cannot use the
            interface, not even through a host name of their own that resolves to this machine.
        max_upload: largest picture or clip in bytes.
        token: what every request must prove to know; None asks for nothing.
    """
    return _Interface(studio, catalogue, max_upload).application(hosts, token)


def run(app: web.Application, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then end all work and return.

    A step that cannot be interrupted, such as the decoding of a large picture, ends with the whole process after
    ``SECONDS_TO_END``.
    """
    interface = app[_INTERFACE]
    deadline = Timer(SECONDS_TO_END, interface.end_process)
    deadline.daemon = True

    async def start(app: web.Application) -> None:
        deadline.start()

    app.on_shutdown.insert(0, start)
    try:
        web.run_app(
            app,
            sock=listener,
            print=None,
            access_log=None,
            shutdown_timeout=SECONDS_TO_FINISH,
            handler_cancellation=True,
        )
    finally:
        deadline.cancel()


class _Interface:
    """Has one method for each route; a pool of threads does the blocking work."""

    def __init__(self, studio: Studio, catalogue: Catalogue, max_upload: int) -> None:
        self._studio, self._catalogue, self._max_upload = studio, catalogue, max_upload
        self._cameras: WeakSet[web.WebSocketResponse] = WeakSet()
        self._cancels: WeakSet[Event] = WeakSet()
        self._pictures = Room("pictures", MAX_PICTURES, MAX_PICTURE_BYTES)
        self._clip_room = Room("clips", MAX_UNFINISHED_CLIPS, 2 * max_upload)
        self._webcams = Room("webcams", MAX_WEBCAMS, 0)
        self._faces = KeptFaces()

    def application(self, hosts: Collection[str], token: str | None) -> web.Application:
        app = web.Application(middlewares=[_errors_as_json, only_own_page(hosts), only_with_token(token)])
        app[_INTERFACE] = self
        app.add_routes(
            [
                web.get("/", self.page),
                web.static("/page", PAGE),
                web.get("/api/models", self.models),
                web.post("/api/picture", self.picture),
                web.post("/api/attributes", self.attributes),
                web.post("/api/face", self.new_face),
                web.post("/api/face/{id}", self.face),
                web.post("/api/sheet", self.sheet),
                web.post("/api/sample", self.sample),
                web.get("/api/camera", self.camera),
                web.post("/api/clip", self.new_clip),
                web.get("/api/clip/{id}", self.clip),
                web.get("/api/clip/{id}/result", self.clip_result),
                web.delete("/api/clip/{id}", self.remove_clip),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._end_work)
        app.cleanup_ctx.append(self._workers)
        return app

    async def page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / "index.html")

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({**asdict(self._catalogue), "max_upload": self._max_upload})

    async def picture(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._of_picture(request, self._studio.picture), content_type="image/png")

    async def attributes(self, request: web.Request) -> web.Response:
        read = await self._of_picture(request, self._studio.attributes)
        return web.json_response(dict(zip(self._catalogue.attributes, read, strict=True)) if read else {})

    async def sample(self, request: web.Request) -> web.Response:
        controls = self._controls(request.query.get("controls", "{}"))
        place = self._pictures.enter()
        try:
            async with self._turns:
                png = await self._cancellable(self._studio.sample, controls)
        finally:
            place.leave()
        return web.Response(body=png, content_type="image/png")

    async def _of_picture(self, request: web.Request, function: Callable[[bytes, PageControls, Event], T]) -> T:
        """Receive a picture, and return what a function of the studio makes of it when its turn has come."""
        controls = self._controls(request.query.get("controls", "{}"))
        place = self._pictures.enter()
        try:
            data = await whole_body(request, min(self._max_upload, MAX_PICTURE), place)
            async with self._turns:
                return await self._cancellable(function, data, controls)
        finally:
            place.leave()

    async def new_face(self, request: web.Request) -> web.Response:
        id = self._faces.add(await self._of_picture(request, self._studio.encoded))
        return web.json_response({"id": id}, status=201)

    async def face(self, request: web.Request) -> web.Response:
        faces = self._faces.get(request.match_info["id"])
        style = self._controls(request.query.get("controls", "{}")).style
        async with self._turns:
            jpeg = await self._in_thread(lambda: jpeg_from_picture(faces.toonified(style)))
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def sheet(self, request: web.Request) -> web.Response:
        def sheet(data: bytes, controls: PageControls, cancel: Event) -> bytes:
            return self._studio.sheet(data, controls, self._catalogue.r_swaps(controls.model), cancel)

        return web.Response(body=await self._of_picture(request, sheet), content_type="image/png")

    async def camera(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(receive_timeout=IDLE_SECONDS, max_msg_size=MAX_FRAME, compress=False)
        await stream.prepare(request)
        try:
            place = self._webcams.enter()
        except Refusal as error:
            await stream.send_json({"error": str(error)})
        else:
            self._cameras.add(stream)
            try:
                await self._toonify_stream(stream)
            finally:
                place.leave()
        await stream.close()
        return stream

    async def _toonify_stream(self, stream: web.WebSocketResponse) -> None:
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

    async def new_clip(self, request: web.Request) -> web.Response:
        controls = self._controls(request.query.get("controls", "{}"))
        clip = self._clips.new()
        try:
            with clip.source.open("wb") as file:
                async for chunk in body_in_chunks(request, self._max_upload, clip.place):
                    file.write(chunk)
        except BaseException:
            self._clips.remove(clip)
            raise
        self._clips.start(clip, controls)
        return web.json_response({"id": clip.id}, status=202)

    async def clip(self, request: web.Request) -> web.Response:
        clip = self._clip(request)
        return web.json_response({**asdict(clip.state), "ahead": self._clips.ahead(clip)})

    async def clip_result(self, request: web.Request) -> web.StreamResponse:
        clip = self._clip(request)
        if clip.state.state != "done":
            got = f"a clip that is {clip.state.state}"
            raise Refusal(409, "clip", got=got, expected="a clip that is done", remedy="try again later")
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
            raise Refusal(404, "clip", got=got, expected=expected, remedy="send the clip again")
        return clip

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _cancellable(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread with an event as its last argument, which is set if this task is cancelled.

        Also then this method ends only with the function, so that its caller gives back no memory that is still in use.
        """
        cancel = Event()
        self._cancels.add(cancel)
        call = asyncio.ensure_future(self._in_thread(function, *arguments, cancel))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            cancel.set()
            with suppress(Exception):
                await call
            raise

    async def _workers(self, app: web.Application) -> AsyncIterator[None]:
        self._turns = asyncio.Semaphore(MAX_RUNNING_PICTURES)
        with (
            ThreadPoolExecutor(MAX_RUNNING_PICTURES + MAX_WEBCAMS, thread_name_prefix="studio") as self._threads,
            ClipQueue(self._studio, self._clip_room) as self._clips,
        ):
            yield

    async def _end_work(self, app: web.Application) -> None:
        self._clips.cancel()
        for cancel in {*self._cancels}:
            cancel.set()
        for stream in {*self._cameras}:
            await stream.close(code=WSCloseCode.GOING_AWAY)

    def end_process(self) -> None:
        """End the process at once, whatever it does, but remove the clips' files."""
        rmtree(self._clips.folder, ignore_errors=True)
        os._exit(0)


_INTERFACE = web.AppKey("interface", _Interface)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ToonifyError as error:
        return web.json_response({"error": str(error)}, status=_status_of(error))


def _status_of(error: ToonifyError) -> int:
    if isinstance(error, Refusal):
        return error.status
    return {ServerError: 502, EngineError: 500}.get(type(error), 422)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
