"""Encoder, ISF head and generator one after the other: are their errors together still invisible?

Each model was verified alone. In half precision an encoder's small error becomes a larger one in the picture.
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
from engines.model_directory import Manifest, Verification
from export.demo_face import demo_face
from export.verification import Bound, compared
from serving.pipeline import Pipeline

BOUND = Bound(psnr=40)
"""Below 40 dB differences are seen; each engine's own bound is the same."""


@dataclass(frozen=True)
class Chain:
    """Model directories that are to be served together."""

    encoder: Path
    isf: Path | None
    generators: Sequence[Path]


def all_float32(models: Iterable[Manifest]) -> bool:
    """Whether a chain of these models is float32 itself."""
    return all(model.precision == "fp32" for model in models)


def verify_chain(chain: Chain) -> dict[Path, Verification]:
    """Compare each generator's pictures of a drawn face, edited where there is an ISF head, with float32's.

    Float32 is that of the same ONNX files in ONNX Runtime, which were verified against PyTorch.

    Raises:
        VerificationError: a picture is not within ``BOUND``.
        EngineError, ModelDirectoryError: a model cannot be loaded.
    """
    # One after the other: both chains together would need twice the memory.
    served, exact = (list(_pictures(chain, load)) for load in (engine_from_directory, _in_float32))
    found = {
        directory: compared(expected, got, "a drawn face through the whole chain", BOUND)
        for directory, expected, got in zip(chain.generators, exact, served, strict=True)
    }
    for directory, verification in found.items():
        if not BOUND.holds(verification):
            raise VerificationError(
                f"{chain.encoder}{f', {chain.isf}' if chain.isf else ''} and {directory} together",
                got=f"{verification} against float32",
                expected=str(BOUND),
                remedy="export the encoder again with --precision fp32; nothing was written",
            )
    return found


def _pictures(chain: Chain, load: Callable[[Path], Engine]) -> Iterator[AnyArray]:
    with ExitStack() as stack:
        encoder = stack.enter_context(load(chain.encoder))
        isf = stack.enter_context(load(chain.isf)) if chain.isf else None
        w = encoder.run({"face": demo_face()[None]})["w"]
        controls = {"attributes": np.ones((1, *_attributes(isf)), np.float32)} if isf else {}
        for directory in chain.generators:
            with load(directory) as generator:
                yield Pipeline(encoder, generator, isf).render(w, controls)


def _attributes(isf: Engine) -> tuple[int, ...]:
    return next(spec.dims for spec in isf.signature.inputs if spec.name == "attributes")


def _in_float32(directory: Path) -> Engine:
    manifest = read_manifest(directory)
    return engine_from_onnx(directory / manifest.model_file, manifest.signature, "onnxruntime")
