"""What every part of the package agrees on: tensors, arrays, errors and outputs. It needs NumPy only."""

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
