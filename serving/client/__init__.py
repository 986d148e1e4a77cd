"""Clients of a Triton server that toonifies faces, and the requests that they send."""

from serving.client.client import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL, AsyncToonifyClient, ToonifyClient
from serving.client.tls import tls_credentials

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_TIMEOUT",
    "DEFAULT_URL",
    "AsyncToonifyClient",
    "ToonifyClient",
    "tls_credentials",
]
