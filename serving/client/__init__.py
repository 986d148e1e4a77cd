"""Clients of a Triton server that toonifies faces, and the requests that they send.

Each name below is imported when it is first used: gRPC takes longer to load than most of what a command does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.lazy_names import lazy_names

if TYPE_CHECKING:
    from serving.client.async_client import AsyncToonifyClient
    from serving.client.client import ToonifyClient
    from serving.client.defaults import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL
    from serving.client.tls import tls_credentials

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_TIMEOUT",
    "DEFAULT_URL",
    "AsyncToonifyClient",
    "ToonifyClient",
    "tls_credentials",
]

_MODULE_OF = {
    "AsyncToonifyClient": "serving.client.async_client",
    "ToonifyClient": "serving.client.client",
    "tls_credentials": "serving.client.tls",
}

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept misspelt names
    __getattr__ = lazy_names(__name__, __all__, _MODULE_OF, "serving.client.defaults")
