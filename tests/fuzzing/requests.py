"""Requests to the real server with altered tensors: each is answered, or refused in one sentence without paths."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from fuzzer import Check, Fuzzer
from tiny_models import write_tiny_models
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.utils import serialize_byte_tensor

from serving.faces.jpeg import jpeg_from_picture
from serving.triton.process_group import processes_of_session
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

TIMEOUT = 60.0
REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND"}
TOO_MANY = "max allowed is 8"
"""Triton refuses some batches that are too large as INTERNAL."""

PATH = "../../etc/passwd"
TYPES = ("UINT8", "FP32", "INT64", "BYTES", "BOOL", "FP64", "INT8", "NONSENSE", "")
NAMES = ("face", "jpeg", "image", "w", "psi", "seed", "attributes", "z", "row_strength", "blend", "gate", PATH, "")
MODELS = (
    "toonify",
    "toonify_jpeg",
    "encoder",
    "isf",
    "condition",
    "decode_face",
    "encode_picture_32",
    "generator_plain",
    "toonify_live",
    "condition_live",
    "generator_live",
)
DIMENSIONS = (0, 1, 2, 3, 8, 9, 255, 256, -1, -256, 100_000, 2**31, 2**62, -(2**63))
PATHS = re.compile(r"/\w+/\w+|Traceback|File \"|\.py\b")


@functools.cache
def originals() -> tuple[ModelInferRequest, ...]:
    """A good request to every kind of model; the first is the one that must be answered at any time."""
    face = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    jpeg = serialize_byte_tensor(np.array([[jpeg_from_picture(face)]], dtype=object)).item()
    blend = ("blend", "FP32", [1, 4], np.full(4, 0.5, np.float32).tobytes())
    w, one = ("w", "FP32", [1, 8, 16], np.zeros(128, np.float32).tobytes()), np.ones(1, np.float32).tobytes()
    return (
        _request("toonify", ("face", "UINT8", [1, 256, 256, 3], face.tobytes())),
        _request(
            "toonify",
            ("face", "UINT8", [1, 256, 256, 3], face.tobytes()),
            ("attributes", "FP32", [1, 2], one * 2),
            ("seed", "INT64", [1, 1], bytes(8)),
            ("psi", "FP32", [1, 1], one),
        ),
        _request("toonify_jpeg", ("jpeg", "BYTES", [1, 1], jpeg)),
        _request("condition", w, ("row_strength", "FP32", [1, 8], one * 8)),
        _request("generator_plain", w, ("psi", "FP32", [1, 1], one)),
        _request("toonify_live", ("face", "UINT8", [1, 256, 256, 3], face.tobytes()), blend),
        _request("condition_live", w, blend),
        _request("generator_live", w, ("psi", "FP32", [1, 1], one), blend),
        _request("encode_picture_32", ("image", "UINT8", [1, 32, 32, 3], bytes(3072))),
        _request("decode_face", ("jpeg", "BYTES", [1, 1], jpeg)),
    )


def make(source: random.Random) -> bytes:
    """A good request with up to three alterations, and rarely with bytes of the message itself changed."""
    request = ModelInferRequest()
    request.CopyFrom(source.choice(originals()))
    for _ in range(source.randint(1, 3)):
        source.choice(ALTERATIONS)(source, request)
    content = bytearray(request.SerializeToString())
    if source.random() < 0.02:
        content[source.randrange(min(len(content), 200))] = source.randrange(256)
    return bytes(content)


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check sends its input to a server of the tiny models, and asks for a picture after every hundredth."""
    models = write_tiny_models(folder / "models")
    generators = [models.generators["plain"], models.live]
    write_repository(folder / "repository", encoder=models.encoder, isf=models.isf, generators=generators)
    with (
        TritonServer(folder / "repository", log=folder / "log", grpc_port=0, metrics_port=0) as server,
        grpc.insecure_channel(server.url, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        processes, good, count = processes_of_session(server.pid), originals()[0].SerializeToString(), 0

        def check(content: bytes) -> None:
            nonlocal count
            count += 1
            code, message = _outcome(infer, content)
            assert code in REFUSALS | {"OK"} or TOO_MANY in message or _is_no_request(content), (code, message)
            assert all(path.encode() in content for path in PATHS.findall(message)), message  # Triton repeats names
            assert len(message) < 1000
            if count % 100 == 0:
                assert len(ModelInferResponse.FromString(infer(good, timeout=TIMEOUT)).raw_output_contents) == 1

        yield check
        assert infer(good, timeout=TIMEOUT)
        assert sorted(processes_of_session(server.pid)) == sorted(processes)


def _request(model: str, *tensors: tuple[str, str, list[int], bytes]) -> ModelInferRequest:
    request = ModelInferRequest(model_name=model)
    for name, datatype, shape, content in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(content)
    return request


def _outcome(infer: Any, content: bytes) -> tuple[str, str]:
    try:
        infer(content, timeout=TIMEOUT)
    except grpc.RpcError as error:
        call: Any = error
        return call.code().name, call.details() or ""
    return "OK", ""


def _is_no_request(content: bytes) -> bool:
    """Whether the bytes are no message of this type at all, which gRPC itself refuses with a status of its own."""
    try:
        ModelInferRequest.FromString(content)
    except Exception:  # protobuf's classes differ between its implementations
        return True
    return False


def _name(source: random.Random, request: ModelInferRequest) -> None:
    _any_input(source, request).name = source.choice(NAMES)


def _datatype(source: random.Random, request: ModelInferRequest) -> None:
    _any_input(source, request).datatype = source.choice(TYPES)


def _shape(source: random.Random, request: ModelInferRequest) -> None:
    tensor = _any_input(source, request)
    if source.random() < 0.5 and tensor.shape:
        tensor.shape[source.randrange(len(tensor.shape))] = source.choice(DIMENSIONS)
    else:
        del tensor.shape[:]
        tensor.shape.extend(source.choices(DIMENSIONS, k=source.randint(0, 5)))


def _content(source: random.Random, request: ModelInferRequest) -> None:
    if not request.raw_input_contents:
        return
    place = source.randrange(len(request.raw_input_contents))
    old = request.raw_input_contents[place]
    cut = source.randrange(len(old) + 1)
    changed = bytearray(old)
    for _ in range(min(len(old), source.randint(1, 20))):
        changed[source.randrange(min(len(old), 700))] = source.randrange(256)
    request.raw_input_contents[place] = source.choice(
        (
            old[:cut],
            old + source.randbytes(7),
            b"",
            source.randbytes(20),
            bytes(changed),
            b"\xff" * 4 + old[4:],
            old * 9,
        )
    )


def _not_finite(source: random.Random, request: ModelInferRequest) -> None:
    for place, tensor in enumerate(request.inputs[: len(request.raw_input_contents)]):
        if tensor.datatype == "FP32":
            value = np.float32(source.choice([np.nan, np.inf, -np.inf, 3e38, 1e-45])).tobytes()
            request.raw_input_contents[place] = value * (len(request.raw_input_contents[place]) // 4)


def _tensors(source: random.Random, request: ModelInferRequest) -> None:
    """Drop, repeat or add a tensor, with its content or without."""
    kind = source.randrange(4)
    if kind == 0 and request.inputs:
        del request.inputs[-1]
    elif kind == 1 and request.raw_input_contents:
        del request.raw_input_contents[-1]
    elif kind == 2:
        request.inputs.append(_any_input(source, request))
    else:
        request.inputs.add(name=source.choice(NAMES), datatype=source.choice(TYPES), shape=[1, 1])
        request.raw_input_contents.append(source.randbytes(source.choice((0, 4, 8))))


def _model(source: random.Random, request: ModelInferRequest) -> None:
    request.model_name = source.choice((*MODELS, "nobody", PATH, ""))
    request.model_version = source.choice(("", "", "", "1", "99", "-5", "abc", "../1"))


def _outputs(source: random.Random, request: ModelInferRequest) -> None:
    for _ in range(source.randint(1, 2)):
        request.outputs.add(name=source.choice(("image", "image_jpeg", "w", "nobody", "")))


def _parameters(source: random.Random, request: ModelInferRequest) -> None:
    target: Any = source.choice([request, _any_input(source, request)])
    key = source.choice(
        ("sequence_id", "priority", "timeout", "binary_data_size", "shared_memory_region", "sequence_end")
    )
    parameter = target.parameters[key]
    if source.random() < 0.5:
        parameter.int64_param = source.choice((0, 1, -1, 2**62))
    else:
        parameter.string_param = source.choice(("", "x", "/../../etc/passwd"))


ALTERATIONS = (
    _name,
    _datatype,
    _shape,
    _shape,
    _content,
    _content,
    _not_finite,
    _tensors,
    _model,
    _outputs,
    _parameters,
)


def _any_input(source: random.Random, request: ModelInferRequest) -> Any:
    return source.choice(request.inputs) if request.inputs else request.inputs.add(name="face")


FUZZER = Fuzzer("requests", make, checking, short=1000, server=True)
