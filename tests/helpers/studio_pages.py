"""Serves a studio with a test's toonifier on a real port of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

from aiohttp import web
from toon_fakes import FakeToonifier, Pixels, face_at

from serving.faces.landmarks import Face
from serving.studio.catalogue import Catalogue, Choice
from serving.studio.studio import Studio
from serving.studio.web import application

CATALOGUE = Catalogue(
    (Choice("blend_r16", "--r-swap 16", 64, samples=True), Choice("blend_r64", "--r-swap 64", 64)),
    ("age", "smile"),
    keeps=True,
)

LIVE = Choice("live", "--r-swap 8", 64, (4, 8, 16, 32, 64), (1.0, 1.0, 0.0, 0.0, 0.0), ("toon",))
DUO = replace(LIVE, name="duo", transferred=("cartoon", "anime"))
LIVE_CATALOGUE = Catalogue((CATALOGUE.models[0], LIVE, DUO), ("age", "smile"))

MAX_UPLOAD = 2**20


def one_face(photo: Pixels, name: str = "") -> tuple[Face, ...]:
    """A landmarker that finds one face in the middle of a picture that is wider than high, and none in others."""
    height, width = photo.shape[:2]
    side = max(height / 2, 50)  # smaller faces are left alone
    return (face_at(width / 2, height / 2, side),) if width > height else ()


@contextmanager
def studio(toonifier: FakeToonifier, catalogue: Catalogue = CATALOGUE, *, token: str | None = None) -> Iterator[int]:
    """Serve a studio with this toonifier, and with a token if there is one; yields the port."""
    app = application(Studio(toonifier, one_face), catalogue, max_upload=MAX_UPLOAD, token=token)
    listener = socket.create_server(("127.0.0.1", 0))
    started, ended = Event(), Event()

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        started.set()
        await asyncio.to_thread(ended.wait)
        await runner.cleanup()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield listener.getsockname()[1]
    finally:
        ended.set()
        thread.join()
