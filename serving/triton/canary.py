"""Canary inferences: only an answered request proves that every process behind an ensemble is alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from engines.contract.arrays import AnyArray
from engines.contract.closing import Closing
from engines.contract.errors import ServerError
from engines.contract.tensors import FACE_SIZE, DType
from serving.faces.jpeg import jpeg_from_picture

TIMEOUT = 300.0
"""Seconds for a canary inference, which waits in the same queue as all other requests."""

_CHANNEL = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]


class Canary(Closing):
    """Requests the picture of a black face from the ensembles of one server; use it in a ``with`` block."""

    def __init__(self, url: str) -> None:
        self._client = InferenceServerClient(url, channel_args=_CHANNEL)

    def ensembles(self) -> list[str]:
        """Return the names of the server's ensembles.

        Raises:
            ServerError: the server does not answer.
        """
        with _server_errors("Triton server", "the list of its models"):
            names = [model.name for model in self._client.get_model_repository_index(client_timeout=TIMEOUT).models]
            models = [self._client.get_model_metadata(name, client_timeout=TIMEOUT) for name in names]
        return [model.name for model in models if model.platform == "ensemble"]

    def ask(self, ensemble: str) -> None:
        """Request one picture from an ensemble.

        Raises:
            ServerError: the server does not answer, or answers with an error.
        """
        with _server_errors(f"ensemble {ensemble!r}", "a picture"):
            self._client.infer(ensemble, [_black_face(ensemble)], client_timeout=TIMEOUT)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def _server_errors(subject: str, expected: str) -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        got = f"the error {str(error).strip()!r}"
        raise ServerError(subject, got=got, expected=expected, remedy="see the server's log") from None


def _black_face(ensemble: str) -> InferInput:
    face = np.zeros((1, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    if ensemble.endswith("_jpeg"):
        return _input("jpeg", DType.BYTES, np.array([[jpeg_from_picture(face[0])]], dtype=object))
    return _input("face", DType.UINT8, face)


def _input(name: str, dtype: DType, value: AnyArray) -> InferInput:
    tensor = InferInput(name, list(value.shape), dtype.triton)
    tensor.set_data_from_numpy(value)
    return tensor
