"""A client's requests and answers without the transport: checks, batches, Triton's messages."""

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
from engines.contract.attributes import ATTRIBUTE_RANGES, LABEL, AttributeRange, ranges_from_text
from engines.contract.errors import AnswerError, RequestError
from engines.contract.tensors import FILLED, Geometry, Signature, TensorSpec, condition_signature, rows_of
from serving.condition import filled_controls, refuse_kept, rested_attributes
from serving.controls import control_tensors
from serving.live_blends import BlendChoices, choices_of_served
from serving.random_faces import Seeds, no_mapping, seed_list, z_of_seeds
from serving.requests import check_code_array, check_request
from serving.signatures import signature_from_config

JPEG_SUFFIX = "_jpeg"
"""Suffix of the names of ensembles that take and return JPEG files."""


@dataclass(frozen=True)
class ServedModel:
    """A server's description of one of its models.

    ``name``: the name to send requests to.
    ``max_batch``: the largest number of faces in one request.
    ``signature``: the model's inputs and outputs.
    ``parameters``: of an ensemble, what its model directories record: names, resolution, blend, hashes.
    """

    name: str
    max_batch: int
    signature: Signature
    parameters: Mapping[str, str]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the ISF attributes, in the tensor's order; empty if the ensemble has no ISF head."""
        return tuple(name for name in self.parameters.get("attributes", "").split(",") if name)

    @property
    def attribute_ranges(self) -> dict[str, AttributeRange]:
        """The range of each attribute's values, by its name."""
        ranges = ranges_from_text(self.parameters.get(ATTRIBUTE_RANGES, ""))
        return ranges or dict.fromkeys(self.attributes, LABEL)

    @property
    def reads_attributes(self) -> bool:
        """True if the server has a classifier, so that an edit keeps the attributes that it does not name."""
        return "classifier_manifest_sha256" in self.parameters

    @property
    def blend_choices(self) -> BlendChoices:
        """The blends that a request may choose."""
        return choices_of_served(self.name, self.parameters)

    @property
    def default_blend(self) -> tuple[float, ...]:
        """The shares of a live model for requests that choose no blend; empty if the model is not live.

        They are those of each of ``transferred_models`` at the first of ``blend_resolutions``, then at the next one.
        """
        return tuple(self.blend_choices.default)

    @property
    def blend_resolutions(self) -> tuple[int, ...]:
        """The resolutions 4, 8, ..., R for which a live model takes shares; empty if the model is not live."""
        return self.blend_choices.resolutions

    @property
    def transferred_models(self) -> tuple[str, ...]:
        """Names of the models that a live model blends with its base; empty if the model is not live."""
        return tuple(self.blend_choices.transferred) if self.default_blend else ()

    @property
    def mapping(self) -> str:
        """Name of the served mapping network, which draws the codes of random faces; empty if there is none."""
        return self.parameters.get("mapping", "")

    @property
    def encode(self) -> str:
        """Name of the ensemble that encodes and guards: codes that lie too far out are pulled in; empty without one."""
        return self.parameters.get("encode", "")

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.parameters["resolution"])

    @property
    def rows(self) -> int:
        """Number of rows of W+, which is the length of ``row_strength``."""
        return int(self.parameters.get("rows") or rows_of(self.resolution))


def served_model_from_config(config: ModelConfig) -> ServedModel:
    """Read the Triton configuration of any model of a repository; only ensembles have parameters."""
    parameters = {key: parameter.string_value for key, parameter in config.parameters.items()}
    signature = signature_from_config(MessageToDict(config, preserving_proto_field_name=True))
    return ServedModel(config.name, max(config.max_batch_size, 1), signature, parameters)


def checked_ensemble(model: ServedModel) -> ServedModel:
    """Return the model if it is an ensemble of this package that toonifies faces.

    Raises:
        RequestError: the model is not one.
    """
    states_resolution = model.parameters.get("resolution", "").isdigit()
    if not states_resolution or model.signature.inputs[0].name not in ("face", "jpeg"):
        raise RequestError(
            f"model {model.name!r}",
            got=f"a model that {'takes no faces' if states_resolution else 'does not state its resolution'}",
            expected="an ensemble written by toonify-export",
            remedy="choose one that the client's models() lists",
        )
    return model


@dataclass(frozen=True)
class Call:
    """One inference request: named tensors [N, ...] for a model that returns one tensor."""

    model: str
    inputs: Mapping[str, AnyArray]
    output: TensorSpec

    @property
    def batch(self) -> int:
        """Number of faces, N."""
        return len(next(iter(self.inputs.values())))


def face_calls(model: ServedModel, faces: Pictures, controls: Mapping[str, Any]) -> list[Call]:
    """Make requests for faces uint8 [N, 256, 256, 3] or [256, 256, 3], each within the server's largest batch.

    Raises:
        RequestError: ``faces`` has another dtype or shape, or a control does not fit the model.
    """
    array = np.asarray(faces)
    return _calls(model, array[None] if array.ndim == 3 else array, controls)


def filled_inputs(model: ServedModel, w: AnyArray, controls: Mapping[str, Any]) -> dict[str, AnyArray]:
    """Convert an ensemble's controls to tensors for codes [N, L, D], with the defaults of its model ``condition``.

    Raises:
        RequestError: the codes have another dtype or shape, or a control does not fit the model.
    """
    check_code_array(w)
    tensors = {"w": w, **_control_tensors(model, controls, len(w))}
    noise = next((spec.dims[0] for spec in model.signature.inputs if spec.name == "z"), 0)
    transferred = model.signature.transferred
    geometry = Geometry(model.resolution, w.shape[-1], model.attributes, noise, model.rows, transferred=transferred)
    filled = filled_controls(
        condition_signature(geometry), tensors, default_blend=model.default_blend, ranges=model.attribute_ranges
    )
    return {name.removesuffix(FILLED): value for name, value in filled.items()}


def step_calls(model: ServedModel, tensors: Mapping[str, AnyArray]) -> list[Call]:
    """Make requests to one step of an ensemble with those of ``tensors`` [N, ...] that the step takes.

    Raises:
        RequestError: a tensor is missing, or has another dtype or shape.
    """
    return _split(model, {spec.name: tensors[spec.name] for spec in model.signature.inputs if spec.name in tensors})


def checked_mapping(model: ServedModel) -> str:
    """Return the name of an ensemble's mapping network.

    Raises:
        RequestError: it has none.
    """
    if not model.mapping:
        raise no_mapping(f"model {model.name!r}")
    return model.mapping


def sample_calls(model: ServedModel, seeds: Seeds, controls: Mapping[str, Any], choices: BlendChoices) -> list[Call]:
    """Make requests to an ensemble ``sample_<name>`` for the faces of seeds; ``choices`` names the model in errors.

    Raises:
        RequestError: there is no seed, one is no whole number, or a control does not fit the model.
    """
    numbers = seed_list(seeds)
    given = {**controls, "seed": numbers}
    return _split(model, control_tensors(model.signature, (), given, len(numbers), choices))


def code_calls(model: ServedModel, seeds: Seeds) -> list[Call]:
    """Make requests to a mapping network for the codes of seeds.

    Raises:
        RequestError: there is no seed, one is negative, or one is no whole number.
    """
    return _split(model, {"z": z_of_seeds(seeds, model.signature.inputs[0].dims[0])})


def jpeg_calls(model: ServedModel, jpegs: Sequence[bytes], controls: Mapping[str, Any]) -> list[Call]:
    """Make requests for the JPEG files of aligned faces.

    Raises:
        RequestError: an item of ``jpegs`` is not bytes, or a control does not fit the model.
    """
    if not all(isinstance(jpeg, bytes) for jpeg in jpegs):
        raise RequestError("jpeg", got="something else", expected="the bytes of a JPEG file", remedy="read the file")
    # The dtype is object because NumPy's byte strings drop trailing zero bytes.
    column = np.empty((len(jpegs), 1), object)
    column[:, 0] = jpegs
    return _calls(model, column, controls)


def infer_inputs(inputs: Mapping[str, AnyArray]) -> list[InferInput]:
    """Convert tensors to inputs whose data is part of the request."""
    return [named_input(name, value).set_data_from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()]


def named_input(name: str, value: AnyArray) -> InferInput:
    """Describe an input by name, shape and dtype; its data is still to be set."""
    return InferInput(name, value.shape, np_to_triton_dtype(value.dtype))


def requested_output(call: Call) -> InferRequestedOutput:
    """Describe the output that a call requests."""
    return InferRequestedOutput(call.output.name)


def output_of(call: Call, result: InferResult) -> AnyArray:
    """Return the tensor of the server's answer.

    Raises:
        AnswerError: it is missing, or its dtype or shape differs from the model's configuration.
    """
    value = result.as_numpy(call.output.name)
    if value is None or value.shape != (call.batch, *call.output.dims) or value.dtype != call.output.dtype.numpy:
        raise AnswerError(
            f"model {call.model!r}",
            got="no output" if value is None else f"an output of {value.dtype} {list(value.shape)}",
            expected=str(call.output),
            remedy="check whether the server's models were replaced meanwhile, and connect again",
        )
    return np.asarray(value)


def joined(outputs: Iterable[AnyArray]) -> AnyArray:
    """Concatenate the pictures or codes of all batches into one array that the caller owns."""
    return np.concatenate([*outputs])


def jpegs_from(outputs: Iterable[AnyArray]) -> list[bytes]:
    """Return the JPEG files of all batches, one for each picture."""
    return [bytes(jpeg) for output in outputs for jpeg in output[:, 0]]


def _calls(model: ServedModel, first: AnyArray, controls: Mapping[str, Any]) -> list[Call]:
    tensors = {model.signature.inputs[0].name: first}
    check_request(Signature(model.signature.inputs[:1], ()), tensors)
    tensors |= _control_tensors(model, controls, len(first))
    if "attributes" in tensors and not model.reads_attributes:
        refuse_kept(rested_attributes(tensors["attributes"], model.attribute_ranges))
    return _split(model, tensors)


def _control_tensors(model: ServedModel, controls: Mapping[str, Any], batch: int) -> dict[str, AnyArray]:
    return control_tensors(model.signature, model.attributes, controls, batch, model.blend_choices)


def _split(model: ServedModel, tensors: Mapping[str, AnyArray]) -> list[Call]:
    check_request(model.signature, tensors)
    output, batch = model.signature.outputs[0], len(next(iter(tensors.values())))
    return [
        Call(model.name, {name: value[start : start + model.max_batch] for name, value in tensors.items()}, output)
        for start in range(0, batch, model.max_batch)
    ]
