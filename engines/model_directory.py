"""A model directory: an exported model with a manifest that describes it and holds the hashes of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.contract.errors import ModelDirectoryError, ToonifyError
from engines.contract.tensors import (
    Geometry,
    Signature,
    classifier_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
)
from engines.plan_metadata import PlanMetadata

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1

Component = Literal["generator", "isf", "encoder", "classifier"]
EngineName = Literal["onnxruntime", "openvino", "winograd", "torch", "onnxruntime-cuda", "tensorrt"]
Precision = Literal["fp32", "bf16", "fp16", "int16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class SourceFile(_Frozen):
    """A source file of the model."""

    role: str
    file: str
    format: str
    sha256: str
    licence: str | None = None


class Sizes(_Frozen):
    """``Geometry`` as the manifest stores it; ``rows`` is set only if it differs from that of the resolution."""

    resolution: int
    w_dim: int
    attributes: tuple[str, ...] = ()
    noise_size: int = 0
    rows: int | None = None

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.resolution, self.w_dim, self.attributes, self.noise_size, self.rows or 0)


class Verification(_Frozen):
    """The engine's error relative to the float32 PyTorch reference.

    ``worst`` and ``mean`` are absolute errors in the output's unit: levels 0..255 for pictures, latent units for codes.
    ``psnr`` in dB is relative to 255 for pictures and to the reference's range for codes; None = equal.
    """

    inputs: str
    worst: float
    mean: float
    psnr: float | None
    bound: str

    def __str__(self) -> str:
        psnr = "equal" if self.psnr is None else f"PSNR {self.psnr:.1f} dB"
        return f"worst error {self.worst:.3g}, mean {self.mean:.3g}, {psnr}"


class Manifest(_Frozen):
    """The content of ``manifest.json``; ``plans`` is set if the engine is TensorRT."""

    schema_version: int = SCHEMA_VERSION
    component: Component
    name: str
    sizes: Sizes
    engine: EngineName
    precision: Precision
    sources: tuple[SourceFile, ...]
    files: dict[str, str]
    details: dict[str, Any]
    tools: dict[str, str]
    verification: Verification
    plans: PlanMetadata | None = None

    @property
    def signature(self) -> Signature:
        build = {
            "encoder": encoder_signature,
            "isf": isf_signature,
            "generator": generator_signature,
            "classifier": classifier_signature,
        }
        return build[self.component](self.sizes.geometry)

    @property
    def model_file(self) -> str:
        return f"{self.component}.onnx"


def check_codes(model: Manifest, encoder: Manifest, error: type[ToonifyError], *, subject: str, remedy: str) -> None:
    """Raise ``error`` unless the model takes codes of the encoder's shape."""
    got, expected = _codes(model), _codes(encoder)
    if got != expected:
        raise error(
            subject,
            got=f"codes of {got}",
            expected=f"{expected}, as encoder {encoder.name} gives them",
            remedy=remedy,
        )


def check_classifier(classifier: Manifest, isf: Manifest | None, error: type[ToonifyError], *, subject: str) -> None:
    """Raise ``error`` unless the model is a classifier of the ISF head's attributes, in the same order."""
    expected = isf.sizes.attributes if isf else ()
    if classifier.component != "classifier" or not isf or classifier.sizes.attributes != expected:
        names = ", ".join(classifier.sizes.attributes) or "none"
        raise error(
            subject,
            got=f"a model of component {classifier.component} with the attributes {names}",
            expected=f"a classifier of {', '.join(expected)}"
            if isf
            else "a classifier beside the ISF head that it is for",
            remedy="export classifier and ISF head from one checkpoint with the same --attributes",
        )


def _codes(manifest: Manifest) -> str:
    return f"{manifest.sizes.geometry.rows} rows of {manifest.sizes.w_dim}"


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a model directory."""
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def read_manifest(directory: Path) -> Manifest:
    """Read a model directory's manifest and check the hash of every file that it names.

    Raises:
        ModelDirectoryError: there is no manifest, it does not parse, or a file is missing or altered.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ModelDirectoryError(
            str(directory),
            got="no manifest.json" if directory.is_dir() else "no such directory",
            expected="a model directory",
            remedy="make one with toonify-export",
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelDirectoryError(
            str(path),
            got=f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}",
            expected=f"a manifest of schema version {SCHEMA_VERSION}",
            remedy="export the model again",
        ) from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise ModelDirectoryError(
            str(path),
            got=f"schema version {manifest.schema_version}",
            expected=str(SCHEMA_VERSION),
            remedy="export the model again with this version of the package",
        )
    for name, expected in manifest.files.items():
        _check_file(directory, name, expected)
    return manifest


def _check_file(directory: Path, name: str, expected: str) -> None:
    path = directory / name
    if Path(name).name != name:
        got = f"the file name {name!r}"
    elif not path.is_file():
        got = "no such file"
    elif (digest := sha256_of(path)) != expected:
        got = f"a file with sha256 {digest[:12]}"
    else:
        return
    raise ModelDirectoryError(
        str(path),
        got=got,
        expected=f"the file with sha256 {expected[:12]} that the manifest names",
        remedy="copy the model directory again or export it again",
    )
