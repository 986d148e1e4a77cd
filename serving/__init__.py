"""Serving toonified faces: the client, the server, and the same pipeline inside of one process.

The names below are loaded when first used, so that a part that needs little loads little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.client import AsyncToonifyClient, ToonifyClient
    from serving.errors import (
        AlignmentError,
        BlendError,
        CheckpointError,
        EngineError,
        ExportError,
        ModelDirectoryError,
        RepositoryError,
        RequestError,
        ServerError,
        ToonifyError,
        VerificationError,
    )
    from serving.pipeline import Pipeline
    from serving.server import TritonServer

__all__ = [
    "AlignmentError",
    "AsyncToonifyClient",
    "BlendError",
    "CheckpointError",
    "EngineError",
    "ExportError",
    "ModelDirectoryError",
    "Pipeline",
    "RepositoryError",
    "RequestError",
    "ServerError",
    "ToonifyClient",
    "ToonifyError",
    "TritonServer",
    "VerificationError",
]

_HOMES = {
    "AsyncToonifyClient": "serving.client",
    "ToonifyClient": "serving.client",
    "Pipeline": "serving.pipeline",
    "TritonServer": "serving.server",
}

if not TYPE_CHECKING:  # or every misspelt name would have a type

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "serving.errors")), name)
