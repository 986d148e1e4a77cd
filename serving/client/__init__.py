"""Clients of a server that toonifies faces, and what they send over the wire."""

from serving.client.client import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL, AsyncToonifyClient, ToonifyClient

__all__ = ["DEFAULT_MODEL", "DEFAULT_TIMEOUT", "DEFAULT_URL", "AsyncToonifyClient", "ToonifyClient"]
