"""The definitions that all packages share: tensors, arrays, errors and atomic outputs. They need NumPy only."""

from engines.contract.errors import (
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

__all__ = [
    "AlignmentError",
    "BlendError",
    "CheckpointError",
    "EngineError",
    "ExportError",
    "ModelDirectoryError",
    "RepositoryError",
    "RequestError",
    "ServerError",
    "ToonifyError",
    "VerificationError",
    "VideoError",
]
