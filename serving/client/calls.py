"""What a client sends and gets, without the sending: checks, batches, Triton's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import np_to_triton_dtype

from engines.contract.arrays import AnyArray, Pictures
from engines.contract.errors import RequestError, ServerError
from engines.contract.tensors import FILLED, Geometry, Signature, TensorSpec, condition_signature, rows_of
from serving.condition import filled_controls
from serving.controls import control_tensors
from serving.requests import check_request
from serving.signatures import signature_from_config

JPEG_SUFFIX = "_jpeg"
"""Of the ensembles with JPEG at both ends."""


@dataclass(frozen=True)
class ServedModel:
    """What a server says of one of its ensembles.

    ``parameters`` are what its model directories say of themselves: names, r_swap, hashes.
    """

    name: str
    max_batch: int
    signature: Signature
    parameters: Mapping[str, str]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the ISF attributes, in the order of the tensor; empty without an ISF head."""
        return tuple(name for name in self.parameters.get("attributes", "").split(",") if name)

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.parameters["resolution"])

    @property
    def rows(self) -> int:
        """Rows of W+, the length of ``row_strength``."""
        return int(self.parameters.get("rows") or rows_of(self.resolution))


def served_model_from_config(config: ModelConfig) -> ServedModel:
    """Read Triton's configuration of any model of a repository. Only ensembles have parameters."""
    parameters = {key: parameter.string_value for key, parameter in config.parameters.items()}
    signature = signature_from_config(MessageToDict(config, preserving_proto_field_name=True))
    return ServedModel(config.name, max(config.max_batch_size, 1), signature, parameters)


def checked_ensemble(model: ServedModel) -> ServedModel:
    """The model, if it is one of the ensembles of this package.

    Raises:
        RequestError: it is not.
    """
    if not model.parameters.get("resolution", "").isdigit():
        raise RequestError(
            f"model {model.name!r}",
            got="a model that does not say its resolution",
            expected="an ensemble that toonify-export made",
            remedy="choose one that the client's models() lists",
        )
    return model


@dataclass(frozen=True)
class Call:
    """One inference request: named tensors [N, ...] to a model that returns one tensor."""

    model: str
    inputs: Mapping[str, AnyArray]
    output: TensorSpec

    @property
    def batch(self) -> int:
        return len(next(iter(self.inputs.values())))


def face_calls(model: ServedModel, faces: Pictures, controls: Mapping[str, Any]) -> list[Call]:
    """Requests for uint8 [N, 256, 256, 3] or [256, 256, 3] faces, none larger than the server's largest batch.

    Raises:
        RequestError: an array of another form, or a control that does not fit the model.
    """
    array = np.asarray(faces)
    return _calls(model, array[None] if array.ndim == 3 else array, controls)


def filled_inputs(model: ServedModel, w: AnyArray, controls: Mapping[str, Any]) -> dict[str, AnyArray]:
    """The controls of an ensemble for codes [N, L, D], defaults filled in as its model ``condition`` does.

    Raises:
        RequestError: codes of another form, or a control that does not fit the model.
    """
    tensors = {"w": w, **control_tensors(model.signature, model.attributes, controls, len(w))}
    noise = next((spec.dims[0] for spec in model.signature.inputs if spec.name == "z"), 0)
    geometry = Geometry(model.resolution, w.shape[-1], model.attributes, noise, model.rows)
    filled = filled_controls(condition_signature(geometry), tensors)
    return {name.removesuffix(FILLED): value for name, value in filled.items()}


def step_calls(model: ServedModel, tensors: Mapping[str, AnyArray]) -> list[Call]:
    """Requests to one of the models that an ensemble is made of, for what it takes of ``tensors`` [N, ...].

    Raises:
        RequestError: a tensor is missing or of another form.
    """
    return _split(model, {spec.name: tensors[spec.name] for spec in model.signature.inputs if spec.name in tensors})


def jpeg_calls(model: ServedModel, jpegs: Sequence[bytes], controls: Mapping[str, Any]) -> list[Call]:
    """Requests for the JPEGs of aligned faces.

    Raises:
        RequestError: something that is not bytes, or a control that does not fit the model.
    """
    if not all(isinstance(jpeg, bytes) for jpeg in jpegs):
        raise RequestError("jpeg", got="something else", expected="the bytes of a JPEG file", remedy="read the file")
    # Of dtype object: NumPy's own byte strings lose zeros at their end.
    column = np.empty((len(jpegs), 1), object)
    column[:, 0] = jpegs
    return _calls(model, column, controls)


def infer_inputs(inputs: Mapping[str, AnyArray]) -> list[InferInput]:
    """Tensors as they travel in the request itself."""
    return [named_input(name, value).set_data_from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()]


def named_input(name: str, value: AnyArray) -> InferInput:
    """An input's description, its data still to be set."""
    return InferInput(name, value.shape, np_to_triton_dtype(value.dtype))


def requested_output(call: Call) -> InferRequestedOutput:
    """The description of the output that a call asks for."""
    return InferRequestedOutput(call.output.name)


def output_of(call: Call, result: InferResult) -> AnyArray:
    """The tensor that the server returned.

    Raises:
        ServerError: it is missing or has another form than the model's configuration says.
    """
    value = result.as_numpy(call.output.name)
    if value is None or value.shape != (call.batch, *call.output.dims) or value.dtype != call.output.dtype.numpy:
        raise ServerError(
            f"model {call.model!r}",
            got="no output" if value is None else f"an output of {value.dtype} {list(value.shape)}",
            expected=str(call.output),
            remedy="look whether the server was exchanged meanwhile, and connect again",
        )
    return np.asarray(value)


def joined(outputs: Iterable[AnyArray]) -> AnyArray:
    """One array, owned by the caller, of the batches' pictures or codes."""
    return np.concatenate([*outputs])


def jpegs_from(outputs: Iterable[AnyArray]) -> list[bytes]:
    """The JPEG files of all batches, one for each picture."""
    return [bytes(jpeg) for output in outputs for jpeg in output[:, 0]]


def _calls(model: ServedModel, first: AnyArray, controls: Mapping[str, Any]) -> list[Call]:
    tensors = {model.signature.inputs[0].name: first}
    check_request(Signature(model.signature.inputs[:1], ()), tensors)
    return _split(model, tensors | control_tensors(model.signature, model.attributes, controls, len(first)))


def _split(model: ServedModel, tensors: Mapping[str, AnyArray]) -> list[Call]:
    check_request(model.signature, tensors)
    output, batch = model.signature.outputs[0], len(next(iter(tensors.values())))
    return [
        Call(model.name, {name: value[start : start + model.max_batch] for name, value in tensors.items()}, output)
        for start in range(0, batch, model.max_batch)
    ]
