"""The code behind the ``model.py`` files: adapters between Triton's python backend and this package.

This module is imported only in the backend's own processes: ``triton_python_backend_utils`` exists nowhere else.

A request that cannot be fulfilled gets its error as INVALID_ARGUMENT, while the other requests of its batch are
answered. An unexpected error is logged with its traceback and reported as INTERNAL without it, since a traceback
reveals paths.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from engines.contract.arrays import AnyArray
from engines.contract.attributes import ATTRIBUTE_RANGES, ranges_from_text
from engines.contract.errors import ModelDirectoryError, RequestError
from engines.contract.tensors import CODE_DISTANCE, FILLED, Signature
from serving.code_spread import CODE_SPREAD, CodeSpread, read_code_spread
from serving.condition import filled_controls
from serving.faces.jpeg import face_from_jpeg, jpeg_from_picture
from serving.live_blends import DEFAULT_BLEND, blend_from_text
from serving.random_faces import filled_sample
from serving.requests import check_request
from serving.signatures import signature_from_config

Tensors = dict[str, AnyArray]


class RequestModel:
    """Base of all adapters; answers request by request."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Triton calls this once, with the model's configuration as JSON."""
        self.name = args["model_name"]
        self.signature = signature_from_config(json.loads(args["model_config"]))

    def execute(self, requests: Iterable[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Triton calls this with all requests of one batch; the answers have the same order."""
        given = [self._attempt(self._tensors, request) for request in requests]
        answers = iter(self._answers([tensors for tensors in given if isinstance(tensors, dict)]))
        return [_response(next(answers) if isinstance(tensors, dict) else tensors) for tensors in given]

    def answer(self, given: Tensors) -> Tensors:
        """Return the outputs, [N, ...] each, for the checked inputs of one request."""
        raise NotImplementedError

    def _answers(self, batch: list[Tensors]) -> list[Any]:
        return [self._attempt(self.answer, given) for given in batch]

    def _tensors(self, request: pb.InferenceRequest) -> Tensors:
        inputs = {spec.name: pb.get_input_tensor_by_name(request, spec.name) for spec in self.signature.inputs}
        given = {name: tensor.as_numpy() for name, tensor in inputs.items() if tensor is not None}
        check_request(self.signature, given)
        return given

    def _attempt(self, step: Callable[[Any], Any], given: Any) -> Any:
        """Return the result of ``step(given)``, or a TritonError that states why it failed."""
        try:
            return step(given)
        except RequestError as error:
            return pb.TritonError(str(error), pb.TritonError.INVALID_ARG)
        except Exception:
            pb.Logger.log_error(f"{self.name}: {traceback.format_exc()}")
            return pb.TritonError(f"{self.name}: an unexpected error; see the server's log", pb.TritonError.INTERNAL)


class DefaultsModel(RequestModel):
    """Base of the models that fill in defaults; a live generator's default blend is in the model's configuration."""

    def initialize(self, args: Mapping[str, str]) -> None:
        super().initialize(args)
        self.default_blend = blend_from_text(_parameter(args, DEFAULT_BLEND))


class ConditionModel(DefaultsModel):
    """Fills in the defaults of the controls, and guards the codes.

    The ranges of directions are in the model's configuration, the spread of the codes in a file beside ``model.py``.
    """

    def initialize(self, args: Mapping[str, str]) -> None:
        super().initialize(args)
        self.ranges = ranges_from_text(_parameter(args, ATTRIBUTE_RANGES))
        self.spread = self._spread(Path(args["model_repository"], args["model_version"])) if self._guards else None

    @property
    def _guards(self) -> bool:
        return CODE_DISTANCE in self.signature.outputs

    def _spread(self, directory: Path) -> CodeSpread:
        (codes,) = (spec for spec in self.signature.inputs if spec.name == "w")
        return read_code_spread(directory.resolve() / CODE_SPREAD, codes.dims)

    def answer(self, given: Tensors) -> Tensors:
        classify = _classified if "face" in given else None
        filled = filled_controls(self.signature, given, classify, self.default_blend, self.ranges)
        if self.spread is None:
            return filled
        w, distances = self.spread.guarded(given["w"])
        return {**filled, f"w{FILLED}": w, CODE_DISTANCE.name: distances[:, None]}


class DrawZModel(DefaultsModel):
    """Draws the z of random faces from their seeds."""

    def answer(self, given: Tensors) -> Tensors:
        return filled_sample(self.signature, given, self.default_blend)


class DecodeFaceModel(RequestModel):
    """Decodes the JPEG of an aligned face."""

    def answer(self, given: Tensors) -> Tensors:
        return {"face": np.stack([face_from_jpeg(jpeg) for jpeg in given["jpeg"].ravel()])}


class EncodePictureModel(RequestModel):
    """Encodes a picture as a JPEG."""

    def answer(self, given: Tensors) -> Tensors:
        jpegs = [[jpeg_from_picture(picture)] for picture in given["image"]]
        return {"image_jpeg": np.array(jpegs, dtype=object)}


class EngineModel(RequestModel):
    """Runs the engine of the model directory beside ``model.py``, once for all requests of a batch."""

    def initialize(self, args: Mapping[str, str]) -> None:
        # Imported here so that the other adapters start without the engines' libraries.
        from engines.loading import CACHE_VARIABLE, engine_from_directory

        super().initialize(args)
        # Resolved because errors name it, and the server may have been given a link to the repository.
        directory = Path(args["model_repository"], args["model_version"]).resolve()
        cache = os.environ.get(CACHE_VARIABLE)
        if cache:
            _allow_large_files()
        self.engine = engine_from_directory(directory, cache=Path(cache) if cache else None)
        if self.engine.signature != self.signature:
            raise ModelDirectoryError(
                str(directory),
                got=_text(self.engine.signature),
                expected=f"{_text(self.signature)} as in the model's configuration",
                remedy="write the repository again",
            )

    def _answers(self, batch: list[Tensors]) -> list[Any]:
        outcome = self._attempt(self._run_together, batch) if batch else []
        return outcome if isinstance(outcome, list) else [outcome] * len(batch)

    def _run_together(self, batch: list[Tensors]) -> list[Tensors]:
        joined = {spec.name: np.concatenate([given[spec.name] for given in batch]) for spec in self.signature.inputs}
        outputs = self.engine.run(joined)
        first = self.signature.inputs[0].name
        ends = np.cumsum([len(given[first]) for given in batch])[:-1]
        parts = zip(*(np.split(value, ends) for value in outputs.values()), strict=True)
        return [dict(zip(outputs, part, strict=True)) for part in parts]

    def finalize(self) -> None:
        """Triton calls this once, before the process ends."""
        self.engine.close()


def _parameter(args: Mapping[str, str], name: str) -> str:
    """Return a parameter of the model's configuration; empty if it is not there."""
    parameters = json.loads(args["model_config"]).get("parameters", {})
    return str(parameters.get(name, {}).get("string_value", ""))


def _allow_large_files() -> None:
    """Lift the server's limit, which bounds the shared memory of requests, for a process that keeps compiled models."""
    import resource  # imported here, since Windows has none

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _classified(face: AnyArray) -> AnyArray:
    """Ask the model ``classifier`` which attributes faces show; only requests that keep some pay for it."""
    request = pb.InferenceRequest(
        model_name="classifier", requested_output_names=["probabilities"], inputs=[pb.Tensor("face", face)]
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(response.error().message())
    probabilities: AnyArray = pb.get_output_tensor_by_name(response, "probabilities").as_numpy()
    return probabilities


def _response(outcome: Any) -> pb.InferenceResponse:
    if isinstance(outcome, dict):
        return pb.InferenceResponse([pb.Tensor(name, value) for name, value in outcome.items()])
    return pb.InferenceResponse([], error=outcome)


def _text(signature: Signature) -> str:
    return ", ".join(map(str, signature))
