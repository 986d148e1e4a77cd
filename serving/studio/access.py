"""Who may use the studio: its own page in a browser, reached under a known name, and nobody's page else.

Any page in a local browser can send requests to this machine, and a host name of its own may resolve to it. A browser
tells such requests apart by headers that pages cannot forge:

    Host            the name in the address bar
    Origin          the sending page; absent from requests for pages, scripts and pictures, and from most GET requests
    Sec-Fetch-Site  whether the sending page is the studio's; only sent to localhost and over HTTPS

On other addresses a GET request of the page itself has neither of the last two. So the page adds ``PROOF``, which
another site's page could send only if the studio allowed it by CORS. The id of a clip is a proof too: it is random, and
only the page that sent the clip knows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from serving.studio.library import Handler, Middleware, web
from serving.studio.refusal import Refusal

PROOF = ("X-Requested-With", "toonify-studio")
"""A header and its value; programs may send it too."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]+)?", re.IGNORECASE)
_SINGLE_HEADERS = ("Host", "Origin", "Sec-Fetch-Site")


def only_own_page(hosts: Collection[str]) -> Middleware:
    """Make the middleware that refuses, with status 403, requests of other sites' pages and for other host names."""
    known = sorted({host.lower() for host in hosts})

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = _fault_of_address(request, known) or _fault_of_sender(request)
        if not fault:
            return await handler(request)
        raise Refusal(
            403,
            "toonify studio",
            got=f"a request {fault}",
            expected=f"one of the studio's own page at {', '.join(known)}",
            remedy=f"open the page under one of its names, add a name with --allow-host, or send {': '.join(PROOF)}",
        )

    return check


def _fault_of_address(request: web.Request, known: Collection[str]) -> str | None:
    for header in _SINGLE_HEADERS:
        if len(request.headers.getall(header, ())) > 1:
            return f"with more than one {header}"
    if _host_name(request.headers.get("Host", "")) not in known or not request.raw_path.startswith("/"):
        return f"to {request.headers.get('Host', '')!r}"
    return None


def _fault_of_sender(request: web.Request) -> str | None:
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    own_origins = [f"{scheme}://{request.headers['Host']}".lower() for scheme in ("http", "https")]
    if origin is not None and origin.lower() not in own_origins:
        return f"from {origin!r}"
    if site not in (None, "none", "same-origin") and not _opens_the_page(request):
        return "from another site's page"
    proven = origin or site == "same-origin" or request.headers.get(PROOF[0]) == PROOF[1] or "id" in request.match_info
    if request.path.startswith("/api/") and not proven:
        return "without a sign of its sender"
    return None


def _opens_the_page(request: web.Request) -> bool:
    """Return whether a link to the page was followed; the page itself does nothing, and cannot be put in a frame."""
    mode, destination = request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")
    return (request.method, request.path, mode, destination) == ("GET", "/", "navigate", "document")


def _host_name(host: str) -> str | None:
    """Return the name or address in a Host header; None if it holds anything else, such as a user's name."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else None
