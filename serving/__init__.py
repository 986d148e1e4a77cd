"""Serve toonified faces: clients, the Triton server, and the same pipeline inside one process.

Each name below is imported when it is first used, so that a client does not load what only a server needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.lazy_names import lazy_names

if TYPE_CHECKING:
    from engines.contract import (
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
        VideoError,
    )
    from serving.client import AsyncToonifyClient, ToonifyClient
    from serving.controls import Style
    from serving.pipeline import Pipeline
    from serving.served_toonifier import ServedToonifier
    from serving.toonifier import EngineToonifier, Toonifier
    from serving.triton.server import TritonServer
    from serving.video.async_session import AsyncToonSession
    from serving.video.pipeline import VideoReport, toonify_video
    from serving.video.session import ToonSession

__all__ = [
    "AlignmentError",
    "AsyncToonSession",
    "AsyncToonifyClient",
    "BlendError",
    "CheckpointError",
    "EngineError",
    "EngineToonifier",
    "ExportError",
    "ModelDirectoryError",
    "Pipeline",
    "RepositoryError",
    "RequestError",
    "ServedToonifier",
    "ServerError",
    "Style",
    "ToonSession",
    "Toonifier",
    "ToonifyClient",
    "ToonifyError",
    "TritonServer",
    "VerificationError",
    "VideoError",
    "VideoReport",
    "toonify_video",
]

_MODULE_OF = {
    "AsyncToonifyClient": "serving.client",
    "ToonifyClient": "serving.client",
    "Pipeline": "serving.pipeline",
    "TritonServer": "serving.triton.server",
    "EngineToonifier": "serving.toonifier",
    "ServedToonifier": "serving.served_toonifier",
    "Style": "serving.controls",
    "Toonifier": "serving.toonifier",
    "AsyncToonSession": "serving.video.async_session",
    "ToonSession": "serving.video.session",
    "VideoReport": "serving.video.pipeline",
    "toonify_video": "serving.video.pipeline",
}

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept misspelt names
    __getattr__ = lazy_names(__name__, __all__, _MODULE_OF, "engines.contract")
