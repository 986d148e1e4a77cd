"""A gRPC server in this process that answers like Triton, and fails where a test asks it to.

Its model "toonify" enlarges a face to 512x512, so that pictures can be told apart and a batch of six exceeds 4 MiB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import sleep
from typing import Any, NoReturn

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import (
    ModelConfigResponse,
    ModelInferRequest,
    ModelInferResponse,
    ModelReadyResponse,
    RepositoryIndexResponse,
    ServerReadyResponse,
    SystemSharedMemoryRegisterResponse,
    SystemSharedMemoryUnregisterResponse,
)
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from engines.contract.tensors import Geometry, Signature, toonify_jpeg_signature, toonify_signature
from serving.triton.model_configurations import ensemble_config

GEOMETRY = Geometry(512, attributes=("gender", "glasses", "age", "expression"))
PARAMETERS = {"resolution": "512", "attributes": ",".join(GEOMETRY.attributes), "r_swap": "16"}
LARGEST_BATCH = 8

_SIGNATURES = {"toonify": toonify_signature(GEOMETRY), "toonify_jpeg": toonify_jpeg_signature(GEOMETRY)}


def toonified(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The output of the model "toonify": uint8 [N, 256, 256, 3] -> [N, 512, 512, 3]."""
    return faces.repeat(2, axis=1).repeat(2, axis=2)


@dataclass
class FakeTriton(GRPCInferenceServiceServicer):
    """The server's behaviour and its record of requests.

    Attributes:
        failures: returned instead of answers, one for each inference, until none is left.
        models: the models by name; those that a test adds answer with zeros.
        parameters: what each model states of itself.
        requests: the tensors of the answered requests.
        metadata: the headers of all inferences.
        trailing: metadata that a failure comes with, such as a proxy's pushback.
        healthy: whether it says that it is ready, by gRPC's own health check too.
        busy: how many times it refuses to unregister shared memory, as Triton does for a moment after an answer.
    """

    failures: deque[tuple[grpc.StatusCode, str]] = field(default_factory=deque)
    models: dict[str, Signature] = field(default_factory=_SIGNATURES.copy)
    parameters: dict[str, str] = field(default_factory=PARAMETERS.copy)
    requests: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    attempts: Iterator[int] = field(default_factory=count)
    metadata: list[dict[str, str]] = field(default_factory=list)
    trailing: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    allow_shared_memory: bool = False
    refusal_of_shared_memory: grpc.StatusCode = grpc.StatusCode.UNIMPLEMENTED
    registrations: Iterator[int] = field(default_factory=count)
    healthy: bool = True
    busy: int = 0
    regions: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def ModelInfer(self, request: ModelInferRequest, context: grpc.ServicerContext) -> ModelInferResponse:
        next(self.attempts)
        self.metadata.append({name: str(value) for name, value in context.invocation_metadata()})
        sleep(self.delay)
        if self.failures:
            context.set_trailing_metadata(self.trailing)
            context.abort(*self.failures.popleft())
        signature = self._signature(request.model_name, context)
        tensors = dict(self._tensors(request))
        self.requests.append(tensors)
        if request.model_name == "toonify":
            return self._response(request, signature, toonified(tensors["face"]))
        if request.model_name == "toonify_jpeg":
            return self._response(request, signature, tensors["jpeg"])
        spec, batch = signature.outputs[0], len(next(iter(tensors.values())))
        return self._response(request, signature, np.zeros((batch, *spec.dims), spec.dtype.numpy))

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> ModelConfigResponse:
        config = ensemble_config(request.name, self._signature(request.name, context), (), self.parameters)
        config.max_batch_size = LARGEST_BATCH
        return ModelConfigResponse(config=config)

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> RepositoryIndexResponse:
        states = {"encoder": "READY", "toonify_old": "UNAVAILABLE", **dict.fromkeys(self.models, "READY")}
        model = RepositoryIndexResponse.ModelIndex
        return RepositoryIndexResponse(models=[model(name=name, state=state) for name, state in states.items()])

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self.healthy)

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> ModelReadyResponse:
        return ModelReadyResponse(ready=request.name in self.models)

    def SystemSharedMemoryRegister(
        self, request: Any, context: grpc.ServicerContext
    ) -> SystemSharedMemoryRegisterResponse:
        next(self.registrations)
        if not self.allow_shared_memory:
            context.abort(self.refusal_of_shared_memory, "client shared memory is disabled")
        self.regions[request.name] = f"/dev/shm{request.key}"
        return SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(
        self, request: Any, context: grpc.ServicerContext
    ) -> SystemSharedMemoryUnregisterResponse:
        if self.busy:
            self.busy -= 1
            context.abort(grpc.StatusCode.INTERNAL, "Cannot unregister: it is currently in use")
        del self.regions[request.name]
        return SystemSharedMemoryUnregisterResponse()

    def _signature(self, model: str, context: grpc.ServicerContext) -> Signature:
        if model not in self.models:
            _refuse(context, f"Request for unknown model: '{model}' is not found")
        return self.models[model]

    def _tensors(self, request: ModelInferRequest) -> Iterator[tuple[str, NDArray[Any]]]:
        raw = iter(request.raw_input_contents)
        types = {"UINT8": np.uint8, "FP32": np.float32, "INT64": np.int64}
        for tensor in request.inputs:
            if tensor.HasField("contents"):  # as from other languages
                contents = list(tensor.contents.bytes_contents or tensor.contents.fp32_contents)
                yield tensor.name, np.array(contents, object).reshape(tensor.shape)
                continue
            data = self._memory(tensor)[1] if tensor.parameters else next(raw)
            values = (
                deserialize_bytes_tensor(data)
                if tensor.datatype == "BYTES"
                else np.frombuffer(data, types[tensor.datatype])
            )
            yield tensor.name, values.reshape(tensor.shape)

    def _response(self, request: ModelInferRequest, signature: Signature, value: NDArray[Any]) -> ModelInferResponse:
        spec, (output,) = signature.outputs[0], request.outputs
        response = ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name=spec.name, datatype=spec.dtype.triton, shape=value.shape)
        if output.parameters:
            memory, place = self._memory(output)[0], output.parameters["shared_memory_offset"].int64_param
            memory[place : place + value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
        else:
            data = serialize_byte_tensor(value).item() if spec.dtype.triton == "BYTES" else value.tobytes()
            response.raw_output_contents.append(data)
        return response

    def _memory(self, tensor: Any) -> tuple[NDArray[np.uint8], bytes]:
        """The tensor's whole region, for writing, and the tensor's bytes in it."""
        region = np.memmap(self.regions[tensor.parameters["shared_memory_region"].string_param], np.uint8)
        start = tensor.parameters["shared_memory_offset"].int64_param
        size = tensor.parameters["shared_memory_byte_size"].int64_param
        return region, region[start : start + size].tobytes()


@contextmanager
def running(fake: FakeTriton, credentials: grpc.ServerCredentials | None = None) -> Iterator[FakeTriton]:
    """Serve on a free loopback port, written to ``fake.url``; with TLS if there are credentials."""
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads, options=limits)
        add_GRPCInferenceServiceServicer_to_server(fake, server)
        server.add_generic_rpc_handlers((_health_check(fake),))
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        fake.url = f"127.0.0.1:{port}"
        server.start()
        try:
            yield fake
        finally:
            server.stop(grace=None).wait()


def _health_check(fake: FakeTriton) -> grpc.GenericRpcHandler:
    """gRPC's health service, whose answer has the single field ``status``: 1 is SERVING, 2 is not."""
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01" if fake.healthy else b"\x08\x02")
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": answer})


def _refuse(context: grpc.ServicerContext, message: str) -> NoReturn:
    context.abort(grpc.StatusCode.NOT_FOUND, message)
    raise AssertionError("abort raises")
