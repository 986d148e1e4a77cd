"""The served ensemble inside this process: face and control tensors in, picture out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Distances
from engines.contract.attributes import Ranges
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, FILLED, Geometry, Signature, condition_signature, toonify_signature
from engines.engine import Engine
from serving.code_spread import CodeSpread
from serving.condition import filled_controls, kept_attributes
from serving.requests import check_codes, check_request


class Pipeline:
    """Encoder, optional ISF head and generator, in the same steps as the served ensemble: the pictures are the same.

    With a ``classifier`` of its attributes, an edit keeps those that it does not name. ``default_blend`` are the shares
    of a live generator, for requests that give none, and ``ranges`` those of a head of directions; the manifests state
    them. With the ``spread`` of the encoder's codes, those that lie farther out are pulled in.

    The caller opens and closes the engines. One pipeline may be used by one thread at a time.
    """

    def __init__(
        self,
        encoder: Engine,
        generator: Engine,
        isf: Engine | None = None,
        classifier: Engine | None = None,
        *,
        default_blend: Sequence[float] = (),
        ranges: Ranges = MappingProxyType({}),
        spread: CodeSpread | None = None,
    ) -> None:
        self._default_blend = tuple(default_blend)
        self._ranges, self._spread = ranges, spread
        self._encoder, self._generator, self._isf, self._classifier = encoder, generator, isf, classifier
        geometry = _geometry(generator.signature, isf.signature if isf else None)
        self.signature = toonify_signature(geometry)
        self._condition = condition_signature(geometry)

    def run(
        self,
        face: AnyArray,
        *,
        attributes: AnyArray | None = None,
        z: AnyArray | None = None,
        seed: AnyArray | None = None,
        row_strength: AnyArray | None = None,
        psi: AnyArray | None = None,
        blend: AnyArray | None = None,
    ) -> AnyArray:
        """Toonify a batch: ``face`` uint8 [N, 256, 256, 3] RGB -> uint8 [N, R, R, 3] RGB.

        The controls are tensors; ``serving.condition.filled_controls`` documents their shapes and defaults.

        Raises:
            RequestError: a tensor does not fit the signature, is not finite, or contradicts another one.
            EngineError: the engines were not made for each other.
        """
        pictures, _ = self.run_with_distance(
            face, attributes=attributes, z=z, seed=seed, row_strength=row_strength, psi=psi, blend=blend
        )
        return pictures

    def run_with_distance(
        self,
        face: AnyArray,
        *,
        attributes: AnyArray | None = None,
        z: AnyArray | None = None,
        seed: AnyArray | None = None,
        row_strength: AnyArray | None = None,
        psi: AnyArray | None = None,
        blend: AnyArray | None = None,
    ) -> tuple[AnyArray, Distances | None]:
        """Toonify as ``run`` does, and tell how far out the faces' codes lay, [N]; None without a spread.

        Raises:
            RequestError, EngineError: see ``run``.
        """
        edit = {"attributes": attributes, "z": z, "seed": seed, "row_strength": row_strength}
        optional = {**edit, "psi": psi, BLEND: blend}
        controls = {name: value for name, value in optional.items() if value is not None}
        check_request(self.signature, {"face": face, **controls})
        if "attributes" in controls and np.isnan(controls["attributes"]).any() and self._classifier:
            controls["attributes"] = kept_attributes(controls["attributes"], self.read_attributes(face))
        w, distances = self.encode_with_distance(face)
        return self.render(w, controls), distances

    def encode(self, face: AnyArray) -> AnyArray:
        """Run the encoder: uint8 [N, 256, 256, 3] RGB -> codes float32 [N, L, D], as they are.

        Raises:
            EngineError: ``face`` has another dtype or shape.
        """
        return self._encoder.run({"face": face})["w"]

    def encode_with_distance(self, face: AnyArray) -> tuple[Codes, Distances | None]:
        """Run the encoder and the guard: codes [N, L, D], the input of ``render``, and how far out they lay, [N].

        Without a spread the codes are as they are, and the distances None.

        Raises:
            EngineError: ``face`` has another dtype or shape.
        """
        return self.guarded(self.encode(face))

    def guarded(self, w: Codes) -> tuple[Codes, Distances | None]:
        """Return codes [N, L', D] as ``encode_with_distance`` does; L' may be less than L."""
        return self._spread.guarded(w) if self._spread else (w, None)

    def read_attributes(self, face: AnyArray) -> AnyArray:
        """Run the classifier: uint8 [N, 256, 256, 3] RGB -> probabilities float32 [N, A].

        Raises:
            RequestError: there is no classifier.
            EngineError: ``face`` has another dtype or shape.
        """
        if self._classifier is None:
            raise RequestError(
                "attributes of faces",
                got="no classifier",
                expected="one, to read them",
                remedy="export it with toonify-export classifier, and load it beside the ISF head",
            )
        return self._classifier.run({"face": face})["probabilities"]

    def check_codes(self, w: object) -> None:
        """Raise RequestError unless ``w`` are codes for ``render``, float32 [N, L, D]."""
        check_codes(w, self._condition)

    def render(self, w: AnyArray, controls: Mapping[str, AnyArray]) -> AnyArray:
        """Run ISF head and generator: codes float32 [N, L, D] and the controls of ``run`` -> uint8 [N, R, R, 3] RGB.

        Raises:
            RequestError: see ``run``.
            EngineError: the engines were not made for each other.
        """
        given = {"w": w, **controls}
        filled = filled_controls(self._condition, given, default_blend=self._default_blend, ranges=self._ranges)
        if self._isf:
            w = self._isf.run({"w": w} | inputs_of(self._isf, filled))["w_edited"]
        return self._generator.run({"w": w} | inputs_of(self._generator, filled))["image"]


def inputs_of(engine: Engine, filled: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the inputs of an engine, but its codes ``w``, from filled-in controls, whose names end in ``FILLED``."""
    return {s.name: filled[s.name + FILLED] for s in engine.signature.inputs if s.name != "w"}


def _geometry(generator: Signature, isf: Signature | None) -> Geometry:
    resolution = generator.outputs[0].dims[0]
    rows, w_dim = generator.inputs[0].dims
    models = generator.transferred
    if isf is None:
        return Geometry(resolution, w_dim, (), 0, rows, transferred=models)
    dims = {spec.name: spec.dims[0] for spec in isf.inputs}
    # Only the number of attributes matters here. Their names are in the manifest; a signature does not hold them.
    attributes, noise = tuple(map(str, range(dims["attributes"]))), dims.get("z", 0)
    return Geometry(resolution, w_dim, attributes, noise, rows, transferred=models)
