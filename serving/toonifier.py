"""Toonifiers: from aligned faces to pictures, computed by engines in this process or by a Triton server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines import Engine, engine_from_directory
from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from engines.contract.closing import Closing, ContextManager
from engines.contract.errors import RequestError
from engines.contract.tensors import Signature
from engines.matching import check_classifier
from engines.model_directory import manifest_of
from serving.client.defaults import DEFAULT_MODEL
from serving.code_spread import code_spread_of
from serving.controls import Controls, Style, control_tensors
from serving.faces.images import picture_from_bytes
from serving.faces.jpeg import jpeg_from_picture
from serving.live_blends import choices_of_directory
from serving.loaded_models import check_all_codes, check_light_encoder, distinct_names
from serving.pipeline import Pipeline
from serving.random_faces import Seeds
from serving.requests import check_code_array, check_request
from serving.sampler import codes_of_seeds, mapping_engine

if TYPE_CHECKING:  # models in this process need no gRPC
    from serving.client import ToonifyClient
    from serving.client.calls import ServedModel


class Toonifier(ContextManager, Protocol):
    """Toonifies batches of aligned faces; use it in a ``with`` block. Threads may share one.

    ``toonify`` returns the same pictures as ``encode`` followed by ``render``, which are separate for codes that are
    smoothed in between. All raise RequestError for a request that cannot be fulfilled, and ServerError or EngineError
    if the back end fails.

    Where the spread of the encoder's codes is known, codes that lie farther out than those of good faces are pulled in.
    The methods ``..._with_distance`` also tell how far out the codes lay, float32 [N]: above 1 one was pulled in. They
    give None where that is not known.
    """

    @property
    def has_light_encoder(self) -> bool:
        """True if ``encode`` can compute the first rows of the codes alone, in less time."""
        ...

    def read_attributes(self, faces: Pictures) -> AnyArray | None:
        """Read which attributes faces show, as probabilities float32 [N, A]; None if there is no classifier."""
        ...

    def toonify(self, faces: Pictures, style: Style) -> Pictures:
        """Toonify faces: uint8 [N, 256, 256, 3] RGB -> uint8 [N, R, R, 3] RGB."""
        ...

    def toonify_with_distance(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        """Toonify faces as ``toonify`` does, and tell how far out their codes lay, [N]."""
        ...

    def encode(self, faces: Pictures, *, light: bool = False) -> Codes:
        """Encode faces: uint8 [N, 256, 256, 3] RGB -> codes float32 [N, L, D].

        With ``light``, a toonifier that ``has_light_encoder`` returns only the rows that its light encoder computes.
        """
        ...

    def encode_with_distance(self, faces: Pictures, *, light: bool = False) -> tuple[Codes, Distances | None]:
        """Encode faces as ``encode`` does, and tell how far out the codes lay, [N]."""
        ...

    def render(self, w: Codes, style: Style, shown: AnyArray | None = None) -> Pictures:
        """Render codes: float32 [N, L, D] -> uint8 [N, R, R, 3] RGB.

        ``shown`` are the faces' attributes as ``read_attributes`` returned them, which an edit keeps.
        """
        ...


class SamplingToonifier(Toonifier, Protocol):
    """A toonifier of codes that are of no given face: it draws random ones."""

    @property
    def reads_attributes(self) -> bool:
        """True if there is a classifier, so that ``read_attributes`` is worth a picture."""
        ...

    def sample_codes(self, seeds: Seeds, style: Style) -> Codes:
        """Draw the codes of random faces for ``render``: one for each seed, float32 [N, L, D], untruncated.

        The style's generator needs a mapping network.
        """
        ...


class EngineToonifier(Closing):
    """Toonifies with model directories whose engines run in this process.

    Each engine runs one batch at a time: while one thread encodes, another may render.

    Args:
        encoder: model directory of the encoder.
        generators: model directories of the generators; the first one is the default.
        isf: model directory of the ISF head; without it no attribute can be edited.
        classifier: model directory of the classifier of the head's attributes; without it an edit must name them all.
        light_encoder: model directory of an encoder that computes the first rows of the same codes in less time.
        threads: number of threads of each engine; 0 uses every core.
        guard: pull in codes that lie farther out than those of good faces, if the encoder's directory knows these.

    Raises:
        ModelDirectoryError: a directory is incomplete or altered.
        EngineError: an engine's library is not installed.
        RequestError: there is no generator, or two have one name; a model's codes have another shape than the
            encoder's; the light encoder was not made from the encoder's checkpoint, or the classifier has other
            attributes than the ISF head.
    """

    def __init__(
        self,
        encoder: Path,
        generators: Sequence[Path],
        isf: Path | None = None,
        *,
        classifier: Path | None = None,
        light_encoder: Path | None = None,
        threads: int = 0,
        guard: bool = True,
    ) -> None:
        manifests = [manifest_of(generator) for generator in generators]
        names = distinct_names(manifests)
        self._default, self._directories = names[0], dict(zip(names, generators, strict=True))
        self._choices = {manifest.name: choices_of_directory(manifest) for manifest in manifests}
        self._mappings: dict[Path, Engine] = {}
        self._loading, self._threads = Lock(), threads
        encoder_manifest, isf_manifest = manifest_of(encoder), manifest_of(isf) if isf else None
        self._rows = encoder_manifest.sizes.geometry.rows
        self._attributes = isf_manifest.sizes.attributes if isf_manifest else ()
        self._spread = code_spread_of(encoder, encoder_manifest) if guard else None
        check_all_codes([*manifests, *([isf_manifest] if isf_manifest else [])], encoder_manifest)
        if light_encoder:
            check_light_encoder(light_encoder, encoder_manifest)
        if classifier:
            check_classifier(manifest_of(classifier), isf_manifest, RequestError, subject=str(classifier))
        with ExitStack() as stack:

            def load(directory: Path) -> Engine:
                return _LockedEngine(stack.enter_context(engine_from_directory(directory, threads=threads)))

            encoder_engine, isf_engine = load(encoder), load(isf) if isf else None
            self._classifier = load(classifier) if classifier else None
            self._light = load(light_encoder) if light_encoder else None
            self._pipelines = {
                manifest.name: Pipeline(
                    encoder_engine,
                    load(path),
                    isf_engine,
                    self._classifier,
                    default_blend=manifest.default_blend,
                    ranges=isf_manifest.ranges if isf_manifest else {},
                    spread=self._spread,
                )
                for manifest, path in zip(manifests, generators, strict=True)
            }
            self._engines = stack.pop_all()

    @property
    def has_light_encoder(self) -> bool:
        """See ``Toonifier``."""
        return self._light is not None

    @property
    def reads_attributes(self) -> bool:
        """See ``SamplingToonifier``."""
        return self._classifier is not None

    def toonify(self, faces: Pictures, style: Style) -> Pictures:
        """See ``Toonifier``."""
        return self.toonify_with_distance(faces, style)[0]

    def toonify_with_distance(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        """See ``Toonifier``."""
        pipeline = self._pipeline(style.model)
        controls = self._tensors(pipeline, style, style.controls(self._rows), len(faces))
        return pipeline.run_with_distance(faces, **controls)

    def read_attributes(self, faces: Pictures) -> AnyArray | None:
        """See ``Toonifier``."""
        return self._classifier.run({"face": faces})["probabilities"] if self._classifier else None

    def encode(self, faces: Pictures, *, light: bool = False) -> Codes:
        """See ``Toonifier``."""
        return self.encode_with_distance(faces, light=light)[0]

    def encode_with_distance(self, faces: Pictures, *, light: bool = False) -> tuple[Codes, Distances | None]:
        """See ``Toonifier``."""
        pipeline = self._pipelines[self._default]
        check_request(Signature(pipeline.signature.inputs[:1], ()), {"face": faces})
        if not (light and self._light):
            return pipeline.encode_with_distance(faces)
        w = self._light.run({"face": faces})["w"]
        return self._spread.guarded(w) if self._spread else (w, None)

    def render(self, w: Codes, style: Style, shown: AnyArray | None = None) -> Pictures:
        """See ``Toonifier``."""
        pipeline = self._pipeline(style.model)
        pipeline.check_codes(w)
        return pipeline.render(w, self._tensors(pipeline, style, style.controls(w.shape[1], shown), len(w)))

    def sample_codes(self, seeds: Seeds, style: Style) -> Codes:
        """See ``Toonifier``. A mapping network is loaded when it is first used."""
        directory = self._directories[self._known(style.model)]
        with self._loading:
            if directory not in self._mappings:
                self._mappings[directory] = self._load(mapping_engine(directory, threads=self._threads))
        return codes_of_seeds(self._mappings[directory], seeds)

    def _load(self, engine: Engine) -> Engine:
        return _LockedEngine(self._engines.enter_context(engine))

    def _tensors(self, pipeline: Pipeline, style: Style, controls: Controls, batch: int) -> dict[str, AnyArray]:
        choices = self._choices[style.model or self._default]
        return control_tensors(pipeline.signature, self._attributes, controls, batch, choices)

    def _pipeline(self, model: str | None) -> Pipeline:
        return self._pipelines[self._known(model)]

    def _known(self, model: str | None) -> str:
        name = model or self._default
        if name not in self._pipelines:
            raise RequestError(
                f"model {model!r}",
                got="no generator of that name",
                expected=f"one of {', '.join(self._pipelines)}",
                remedy="choose one of those, or load it too",
            )
        return name

    def close(self) -> None:
        """Close the engines."""
        self._engines.close()


class ServedToonifier(Closing):
    """Toonifies with the models of a Triton server.

    Args:
        client: the connection; the toonifier takes it over and closes it.
        model: the ensemble for styles that name no generator; a style with the generator NAME uses ``toonify_NAME``.
        jpeg: ``toonify`` sends and receives JPEG files, for slow networks; nothing tells then how far out codes lie.
        guard: pull in codes that lie farther out than those of good faces, if the server knows these.

    Raises:
        RequestError: ``jpeg`` without ``guard``: the ensembles of JPEG files cannot do without it.
    """

    has_light_encoder = False

    def __init__(
        self, client: ToonifyClient, model: str = DEFAULT_MODEL, *, jpeg: bool = False, guard: bool = True
    ) -> None:
        if jpeg and not guard:
            raise RequestError(
                "JPEG on the wire",
                got="codes to be kept however far out they lie",
                expected="codes that the server guards, or pictures on the wire",
                remedy="leave one of the two out",
            )
        self._client = client
        self._default = model
        self._jpeg, self._guard = jpeg, guard
        self._described: dict[str, ServedModel] = {}

    def toonify(self, faces: Pictures, style: Style) -> Pictures:
        """See ``Toonifier``. One request does both steps, so that the codes stay on the server."""
        if not self._guard and self._guards(style):
            return self._in_two_steps(faces, style)[0]
        model = self._ensemble(style)
        controls = style.controls(self._describe(model).rows)
        if not self._jpeg:
            return self._client.toonify(faces, model=model, **controls)
        answers = self._client.toonify_jpeg([jpeg_from_picture(face) for face in faces], model=model, **controls)
        return np.stack([picture_from_bytes(answer, "the server's answer") for answer in answers])

    def toonify_with_distance(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        """See ``Toonifier``. Where the server guards codes, the two steps are requests of their own.

        An ensemble cannot tell the distance: where a request names some outputs of several steps, Triton answers with
        an error.
        """
        if self._jpeg or not (self._guard and self._guards(style)):
            return self.toonify(faces, style), None
        return self._in_two_steps(faces, style)

    def _in_two_steps(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        w, distances = self.encode_with_distance(faces)
        return self.render(w, style, self.read_attributes(faces) if style.keeps else None), distances

    def _guards(self, style: Style) -> bool:
        return bool(self._describe(self._ensemble(style)).encode)

    def encode(self, faces: Pictures, *, light: bool = False) -> Codes:
        """See ``Toonifier``."""
        return self.encode_with_distance(faces)[0]

    def encode_with_distance(self, faces: Pictures, *, light: bool = False) -> tuple[Codes, Distances | None]:
        """See ``Toonifier``."""
        if not self._guard:
            return self._client.encode(faces), None
        return self._client.encode_with_distance(faces, model=self._default)

    @property
    def reads_attributes(self) -> bool:
        """See ``SamplingToonifier``."""
        return self._describe(self._default).reads_attributes

    def _describe(self, model: str) -> ServedModel:
        if model not in self._described:
            self._described[model] = self._client.describe(model)
        return self._described[model]

    def read_attributes(self, faces: Pictures) -> AnyArray | None:
        """See ``Toonifier``."""
        return self._client.read_attributes(faces) if self.reads_attributes else None

    def render(self, w: Codes, style: Style, shown: AnyArray | None = None) -> Pictures:
        """See ``Toonifier``."""
        check_code_array(w)
        return self._client.render(w, model=self._ensemble(style), **style.controls(w.shape[1], shown))

    def sample_codes(self, seeds: Seeds, style: Style) -> Codes:
        """See ``Toonifier``."""
        return self._client.sample_codes(seeds, model=self._ensemble(style))

    def _ensemble(self, style: Style) -> str:
        return f"toonify_{style.model}" if style.model else self._default

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class _LockedEngine(Closing):
    """An engine that threads may share; the owner of the wrapped engine closes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self.signature = engine.signature

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        with self._lock:
            return self._engine.run(inputs)
