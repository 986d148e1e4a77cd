"""The studio's HTTP library, and the error if it is not installed."""

from __future__ import annotations

from engines.contract.errors import RequestError

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

__all__ = ["Handler", "Middleware", "WSCloseCode", "WSMsgType", "web"]
