"""Every error that this project raises on purpose.

    ToonifyError
    ├── CheckpointError        a file that holds no trained network, or is not safe to read
    ├── BlendError             two networks, or a schedule, that cannot be blended
    ├── ExportError            a network that cannot be exported, or an output that is already there
    │   └── VerificationError  an exported model that differs from its PyTorch reference beyond the bound
    ├── ModelDirectoryError    a model directory or manifest that is incomplete, altered or of another version
    ├── EngineError            an engine that is not installed, or a model or tensor that it does not accept
    ├── RepositoryError        model directories that do not fit together in one Triton repository
    ├── SignatureError         a folder that the owner of a key has not signed as it is
    ├── ServerError            a Triton server that does not start or cannot be reached
    │   └── AnswerError        a request to which a server's answer is a failure, or not what was asked for
    ├── RequestError           a request that cannot be answered as it stands
    ├── AlignmentError         a photograph in which no usable face was found
    └── VideoError             a video that cannot be read or written

A ToonifyError reports a user's mistake or a broken input: commands print it as one line and exit with 1.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable


class ToonifyError(Exception):
    """One sentence that says which object is meant, what was got, what was expected and what to do."""

    def __init__(self, subject: str, *, got: str, expected: str, remedy: str) -> None:
        self.subject = subject
        self.got = got
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{subject}: got {got}, expected {expected}; {remedy}.")

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        # Pickle would call the class with the message alone, so that no error could come back from another process.
        return _restored, (type(self), *self.args), vars(self)


def _restored(kind: type[ToonifyError], message: str) -> ToonifyError:
    return kind.__new__(kind, message)


class CheckpointError(ToonifyError):
    """A file that holds no trained network, or is not safe to read."""


class BlendError(ToonifyError):
    """Two networks, or a schedule, that cannot be blended."""


class ExportError(ToonifyError):
    """A network that cannot be exported, or an output that is already there."""


class VerificationError(ExportError):
    """An exported model that differs from its PyTorch reference beyond the bound."""


class ModelDirectoryError(ToonifyError):
    """A model directory or manifest that is incomplete, altered or of another version."""


class EngineError(ToonifyError):
    """An engine that is not installed, or a model or tensor that it does not accept."""


class RepositoryError(ToonifyError):
    """Model directories that do not fit together in one Triton repository."""


class SignatureError(ToonifyError):
    """A folder that the owner of a key has not signed as it is."""


class ServerError(ToonifyError):
    """A Triton server that does not start or cannot be reached."""


class AnswerError(ServerError):
    """A request to which a server's answer is a failure, or not what was asked for."""


class RequestError(ToonifyError):
    """A request that cannot be answered as it stands."""


class AlignmentError(ToonifyError):
    """A photograph in which no usable face was found."""


class VideoError(ToonifyError):
    """A video that cannot be read or written."""
