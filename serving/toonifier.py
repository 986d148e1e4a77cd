"""Toonifiers: from aligned faces to pictures. ``EngineToonifier`` computes them by engines in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Protocol

from engines import Engine, engine_from_directory
from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from engines.contract.closing import Closing, ContextManager
from engines.contract.errors import RequestError
from engines.contract.tensors import Signature
from engines.matching import check_classifier
from engines.model_directory import manifest_of
from serving.code_spread import code_spread_of
from serving.controls import Controls, Style, control_tensors
from serving.live_blends import choices_of_directory
from serving.loaded_models import check_all_codes, check_light_encoder, distinct_names
from serving.pipeline import Pipeline
from serving.random_faces import Seeds
from serving.requests import check_request
from serving.sampler import codes_of_seeds, mapping_engine


class Toonifier(ContextManager, Protocol):
    """Toonifies batches of aligned faces; use it in a ``with`` block. Threads may share one.

    ``toonify`` returns the same pictures as ``encode`` followed by ``render``, which are separate for codes that are
    smoothed in between. All raise RequestError for a request that cannot be fulfilled, and ServerError or EngineError
    if the back end fails.

    Where the spread of the encoder's codes is known, codes that lie farther out than those of good faces are pulled in.
    The methods ``..._with_distance`` also return how far out the codes lay, float32 [N], above 1 for those that were
    pulled in; None where that is not known.
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
        spread = code_spread_of(encoder, encoder_manifest) if guard else None
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
                    spread=spread,
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
        return pipeline.guarded(self._light.run({"face": faces})["w"])

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


class _LockedEngine(Closing):
    """An engine that threads may share; the owner of the wrapped engine closes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self.signature = engine.signature

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        with self._lock:
            return self._engine.run(inputs)
