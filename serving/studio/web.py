"""The studio's HTTP application: its access rules, its headers, its error responses, and its end."""

from __future__ import annotations

import socket
from collections.abc import Collection
from threading import Timer

from engines.contract.errors import EngineError, ServerError, ToonifyError
from serving.studio.access import only_own_page
from serving.studio.catalogue import Catalogue
from serving.studio.library import Handler, web
from serving.studio.refusal import Refusal
from serving.studio.routes import Interface
from serving.studio.studio import Studio
from serving.studio.token import only_with_token

LOOPBACK = ("127.0.0.1", "localhost", "::1")

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

_INTERFACE = web.AppKey("interface", Interface)


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
    interface = Interface(studio, catalogue, max_upload)
    app = web.Application(middlewares=[_errors_as_json, only_own_page(hosts), only_with_token(token)])
    app[_INTERFACE] = interface
    app.add_routes(interface.routes())
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(interface.end_work)
    app.cleanup_ctx.append(interface.workers)
    return app


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
