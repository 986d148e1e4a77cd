"""The folder in the user's cache for what can be had again: downloaded models, and choices of engines."""

from __future__ import annotations

from pathlib import Path


def user_cache() -> Path:
    """Return the folder, which need not exist; on Linux ``XDG_CACHE_HOME`` moves it."""
    import pooch  # imported late, with the libraries for HTTP that it loads

    return Path(pooch.os_cache("toonify-serve"))
