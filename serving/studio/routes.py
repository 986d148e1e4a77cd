"""The routes of the studio's HTTP interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import Any, TypeVar
from weakref import WeakSet

from engines.contract.errors import ToonifyError
from serving.faces.images import MAX_BYTES as MAX_PICTURE
from serving.faces.jpeg import jpeg_from_picture
from serving.studio.catalogue import Catalogue
from serving.studio.clips import MAX_UNFINISHED_CLIPS, ClipJob, ClipQueue
from serving.studio.controls import PageControls, controls_from_json
from serving.studio.kept_faces import KeptFaces
from serving.studio.library import WSCloseCode, WSMsgType, web
from serving.studio.refusal import Refusal, Room
from serving.studio.studio import Studio, WebcamStream
from serving.studio.uploads import IDLE_SECONDS, body_in_chunks, whole_body

PAGE = Path(__file__).parent / "page"

MAX_FRAME = 16 * 2**20
"""Largest webcam frame in bytes."""

MAX_PICTURES, MAX_PICTURE_BYTES = 16, 2 * MAX_PICTURE
"""Largest number of pictures that are received, wait or are toonified, and of their bytes together."""

MAX_RUNNING_PICTURES = 2
"""Number of pictures that are toonified at a time; one of 100 megapixels takes more than a gigabyte."""

MAX_WEBCAMS = 8

T = TypeVar("T")


class Interface:
    """Has one method for each route; a pool of threads does the blocking work.

    Args:
        studio: toonifies pictures, clips and frames.
        catalogue: the choices that the page offers.
        max_upload: largest picture or clip in bytes.
    """

    def __init__(self, studio: Studio, catalogue: Catalogue, max_upload: int) -> None:
        self._studio, self._catalogue, self._max_upload = studio, catalogue, max_upload
        self._cameras: WeakSet[web.WebSocketResponse] = WeakSet()
        self._cancels: WeakSet[Event] = WeakSet()
        self._pictures = Room("pictures", MAX_PICTURES, MAX_PICTURE_BYTES)
        self._clip_room = Room("clips", MAX_UNFINISHED_CLIPS, 2 * max_upload)
        self._webcams = Room("webcams", MAX_WEBCAMS, 0)
        self._faces = KeptFaces()

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return the routes with their methods."""
        return [
            web.get("/", self.page),
            web.static("/page", PAGE),
            web.get("/api/models", self.models),
            web.post("/api/picture", self.picture),
            web.post("/api/attributes", self.attributes),
            web.post("/api/face", self.new_face),
            web.post("/api/face/{id}", self.face),
            web.post("/api/sheet", self.sheet),
            web.post("/api/sample", self.sample),
            web.post("/api/codes", self.codes),
            web.get("/api/camera", self.camera),
            web.post("/api/clip", self.new_clip),
            web.get("/api/clip/{id}", self.clip),
            web.get("/api/clip/{id}/result", self.clip_result),
            web.delete("/api/clip/{id}", self.remove_clip),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / "index.html")

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({**asdict(self._catalogue), "max_upload": self._max_upload})

    async def picture(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._of_picture(request, self._studio.picture), content_type="image/png")

    async def codes(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._of_picture(request, self._studio.codes), content_type="image/png")

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

    async def workers(self, app: web.Application) -> AsyncIterator[None]:
        """Have the threads that do the work as long as the application runs."""
        self._turns = asyncio.Semaphore(MAX_RUNNING_PICTURES)
        with (
            ThreadPoolExecutor(MAX_RUNNING_PICTURES + MAX_WEBCAMS, thread_name_prefix="studio") as self._threads,
            ClipQueue(self._studio, self._clip_room) as self._clips,
        ):
            yield

    async def end_work(self, app: web.Application) -> None:
        """End all work and all streams."""
        self._clips.cancel()
        for cancel in {*self._cancels}:
            cancel.set()
        for stream in {*self._cameras}:
            await stream.close(code=WSCloseCode.GOING_AWAY)

    def end_process(self) -> None:
        """End the process at once, whatever it does, but remove the clips' files."""
        rmtree(self._clips.folder, ignore_errors=True)
        os._exit(0)
