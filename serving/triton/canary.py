"""Canary inferences: only an answered request proves that the process behind a model is alive."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from engines.contract.closing import Closing
from engines.contract.errors import ServerError
from engines.contract.tensors import FACE_SIZE
from serving.faces.jpeg import jpeg_from_picture

TIMEOUT = 300.0
"""Seconds for the first picture of an ensemble, when no other request waits."""

STATE_TIMEOUT = 10.0
"""Seconds for the state of a model, which the server knows without asking the model."""

PATIENCE = 60.0
"""Seconds without any answer of a model, while the canary's request waits there, after which it counts as hung.

A batch of eight pictures takes ten seconds on two cores. A busy model answers other requests meanwhile, however long
its queue is.
"""

_CHANNEL = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]


class Canary(Closing):
    """Requests to one server: black faces to its ensembles, zeros to its other models; use it in a ``with`` block.

    ``ensembles`` are the names of the server's ensembles.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        """Connect.

        Raises:
            ServerError: the server does not describe its models.
        """
        self._patience = patience
        self._client = InferenceServerClient(url, channel_args=_CHANNEL)
        with _server_errors("Triton server", "the configurations of its models"):
            names = [model.name for model in self._client.get_model_repository_index(client_timeout=TIMEOUT).models]
            answers = [self._client.get_model_config(name, client_timeout=TIMEOUT) for name in names]
        configs: dict[str, ModelConfig] = {answer.config.name: answer.config for answer in answers}
        ensembles = {name: config for name, config in configs.items() if config.platform == "ensemble"}
        self.ensembles = sorted(ensembles, key=lambda name: name.startswith("sample_"))  # those of faces come first
        self._ensembles = ensembles
        # All others, since one may be no step of an ensemble: the classifier is asked by another model.
        self._models = [configs[name] for name in sorted(configs.keys() - ensembles.keys())]

    def ask(self, ensemble: str) -> None:
        """Request one picture from an ensemble.

        Raises:
            ServerError: the server does not answer, or answers with an error.
        """
        with _server_errors(f"ensemble {ensemble!r}", "a picture"):
            self._client.infer(ensemble, _zeros(self._ensembles[ensemble]), client_timeout=TIMEOUT)

    def check(self) -> None:
        """Request an answer of each model that is no ensemble, and wait as long as that model answers anything.

        Raises:
            ServerError: a model answers with an error, or is hung.
        """
        for config in self._models:
            with _server_errors(f"model {config.name!r}", "an answer"):
                self._check(config)

    def has_ended(self, ensembles: Sequence[str]) -> bool:
        """Return whether these models are unloaded, which they are when their last accepted request is answered.

        Raises:
            ServerError: the server does not answer.
        """
        with _server_errors("Triton server", "the states of its models"):
            index = self._client.get_model_repository_index(client_timeout=STATE_TIMEOUT)
        states = {model.name: (model.state, model.reason) for model in index.models}
        return all(states.get(name) == ("UNAVAILABLE", "unloaded") for name in ensembles)

    def refuses(self, ensembles: Sequence[str]) -> bool:
        """Return whether further requests to all of these models are refused.

        Raises:
            ServerError: the server does not answer.
        """
        with _server_errors("Triton server", "the states of its models"):
            return not any(self._client.is_model_ready(name, client_timeout=STATE_TIMEOUT) for name in ensembles)

    def close(self) -> None:
        """Close the connection; a request that waits ends with an error."""
        self._client.close()

    def _check(self, config: ModelConfig) -> None:
        answer: Future[InferResult] = Future()

        def done(result: InferResult, error: InferenceServerException | None) -> None:
            answer.set_exception(error) if error else answer.set_result(result)

        self._client.async_infer(config.name, _zeros(config), done)
        answered, since = self._answered(config.name), time.monotonic()
        while time.monotonic() - since < self._patience:
            with suppress(TimeoutError):
                answer.result(timeout=min(1.0, self._patience))
                return
            if (count := self._answered(config.name)) != answered:
                answered, since = count, time.monotonic()
        raise InferenceServerException(f"no answer to any request for {self._patience:g} s")

    def _answered(self, model: str) -> int:
        """The number of requests that a model has answered or refused."""
        answer: Any = self._client.get_inference_statistics(model, client_timeout=self._patience)
        return sum(m.inference_stats.success.count + m.inference_stats.fail.count for m in answer.model_stats)


@contextmanager
def _server_errors(subject: str, expected: str) -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        got = f"the error {str(error).strip()!r}"
        raise ServerError(subject, got=got, expected=expected, remedy="see the server's log") from None


def _zeros(config: ModelConfig) -> list[InferInput]:
    """The required inputs of one face: zeros, and for a JPEG a black face; without any, the first optional one."""
    required = [spec for spec in config.input if not spec.optional]
    return [_zero(spec) for spec in required or config.input[:1]]


def _zero(spec: ModelInput) -> InferInput:
    dtype = DataType.Name(spec.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
    shape = [1, *(max(dim, 1) for dim in spec.dims)]  # -1 in a configuration stands for any length
    value = np.zeros(shape, triton_to_np_dtype(dtype))
    if dtype == "BYTES":
        value[:] = jpeg_from_picture(np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8))
    tensor = InferInput(spec.name, shape, dtype)
    tensor.set_data_from_numpy(value)
    return tensor
