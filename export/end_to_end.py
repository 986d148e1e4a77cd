"""Verification of encoder, ISF head and generator together: the sum of their errors must stay invisible.

Each model is verified by itself at export, but in half precision an encoder's small error grows in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines import Engine, engine_from_directory, engine_from_onnx, read_manifest
from engines.contract.arrays import AnyArray
from engines.contract.errors import VerificationError
from engines.model_directory import Manifest, Verification, manifest_of
from export.demo_face import demo_face
from export.verification import Bound, compare
from serving.pipeline import Pipeline

BOUND = Bound(psnr=40)
"""Differences below 40 dB are visible; an engine in half precision has the same bound by itself."""


@dataclass(frozen=True)
class ModelSet:
    """The model directories of an encoder, an ISF head and generators that are served together."""

    encoder: Path
    isf: Path | None
    generators: Sequence[Path]


def all_float32(models: Iterable[Manifest]) -> bool:
    """Return whether all models run in float32, so that there is no error to measure."""
    return all(model.precision == "fp32" for model in models)


def verify_end_to_end(models: ModelSet) -> dict[Path, Verification]:
    """Compare each generator's picture of a drawn face, edited if there is an ISF head, with the one in float32.

    The float32 reference is the same ONNX files in ONNX Runtime, which were verified against PyTorch.

    Returns:
        The error of each generator's picture, by model directory.

    Raises:
        VerificationError: a picture is not within ``BOUND``.
        EngineError: a model cannot be loaded.
        ModelDirectoryError: a model directory is incomplete or altered.
    """
    # One after the other, since both sets of engines together would need twice the memory.
    served, exact = (list(_pictures(models, load)) for load in (engine_from_directory, _float32_engine))
    errors = {
        directory: compare(expected, got, "a drawn face through the whole chain", BOUND)
        for directory, expected, got in zip(models.generators, exact, served, strict=True)
    }
    for directory, verification in errors.items():
        if not BOUND.holds(verification):
            raise VerificationError(
                f"{models.encoder}{f', {models.isf}' if models.isf else ''} and {directory} together",
                got=f"{verification} against float32",
                expected=str(BOUND),
                remedy="export the encoder again with --precision fp32; nothing was written",
            )
    return errors


def _pictures(models: ModelSet, load: Callable[[Path], Engine]) -> Iterator[AnyArray]:
    with ExitStack() as stack:
        encoder = stack.enter_context(load(models.encoder))
        isf = stack.enter_context(load(models.isf)) if models.isf else None
        w = encoder.run({"face": demo_face()[None]})["w"]
        controls = {"attributes": np.ones((1, *_attributes(isf)), np.float32)} if isf else {}
        for directory in models.generators:
            with load(directory) as generator:
                blend = manifest_of(directory).default_blend
                yield Pipeline(encoder, generator, isf, default_blend=blend).render(w, controls)


def _attributes(isf: Engine) -> tuple[int, ...]:
    return next(spec.dims for spec in isf.signature.inputs if spec.name == "attributes")


def _float32_engine(directory: Path) -> Engine:
    manifest = read_manifest(directory)
    return engine_from_onnx(directory / manifest.model_file, manifest.signature, "onnxruntime")
