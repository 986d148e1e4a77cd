"""Requests to a real server with NVIDIA's client, without this package's own client."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from engines.contract.arrays import AnyArray

Tensors = dict[str, AnyArray]
TIMEOUT = 60.0  # seconds; nothing here takes a second, but the machine may be busy


def picture(client: InferenceServerClient, model: str, **tensors: AnyArray) -> AnyArray:
    """The single output of one request."""
    return _output(client.infer(model, _inputs(tensors), client_timeout=TIMEOUT))


def refusal(client: InferenceServerClient, model: str, **tensors: AnyArray) -> str:
    """The error message with which the server refuses an invalid request."""
    with pytest.raises(InferenceServerException) as caught:
        picture(client, model, **tensors)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT", caught.value
    return caught.value.message()


def send(client: InferenceServerClient, model: str, requests: Sequence[Tensors]) -> list[Future[AnyArray]]:
    """Send all requests at once, without waiting for answers."""
    return [_sent(client, model, tensors) for tensors in requests]


def executions(client: InferenceServerClient, model: str) -> tuple[int, int]:
    """How many requests the model has answered, and in how many batches."""
    (statistics,) = client.get_inference_statistics(model).model_stats
    return statistics.inference_count, statistics.execution_count


def _sent(client: InferenceServerClient, model: str, tensors: Tensors) -> Future[AnyArray]:
    future: Future[AnyArray] = Future()

    def done(result: InferResult | None, error: InferenceServerException | None) -> None:
        if error:
            future.set_exception(error)
        else:
            future.set_result(_output(result))

    client.async_infer(model, _inputs(tensors), done, client_timeout=TIMEOUT)
    return future


def _inputs(tensors: Tensors) -> list[InferInput]:
    inputs = [InferInput(name, [*value.shape], np_to_triton_dtype(value.dtype)) for name, value in tensors.items()]
    for tensor, value in zip(inputs, tensors.values(), strict=True):
        tensor.set_data_from_numpy(value)
    return inputs


def _output(result: InferResult) -> AnyArray:
    (output,) = result.get_response().outputs
    return result.as_numpy(output.name)
