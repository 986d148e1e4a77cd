"""A model directory: an exported model with a manifest that describes it and holds the hashes of its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from engines.contract.atomic import atomic_file
from engines.contract.attributes import AttributeRange
from engines.contract.errors import ModelDirectoryError
from engines.contract.tensors import (
    Geometry,
    Signature,
    classifier_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    mapping_signature,
    resolutions_to,
)
from engines.external_data import external_files
from engines.hashed_files import altered, content_of, opened_files
from engines.manifest_entry import ManifestEntry
from engines.plan_metadata import PlanMetadata
from engines.rtx_metadata import RtxMetadata

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1

Component = Literal["generator", "mapping", "isf", "encoder", "classifier"]
EngineName = Literal["onnxruntime", "openvino", "winograd", "torch", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "bf16", "fp16", "int16"]


def _power_of_two(size: int) -> int:
    if size & (size - 1):
        raise PydanticCustomError("power_of_two", "Input should be a power of two")
    return size


# The largest sizes are several times those of public networks: whoever reads a manifest allocates by them.
_Resolution = Annotated[int, Field(ge=4, le=8192), AfterValidator(_power_of_two)]
_Width = Annotated[int, Field(ge=0, le=4096)]
# File systems raise errors about longer names.
_FileName = Annotated[str, Field(max_length=255)]


class SourceFile(ManifestEntry):
    """A source file of the model."""

    role: str
    file: str
    format: str
    sha256: str
    licence: str | None = None


class Sizes(ManifestEntry):
    """``Geometry`` as the manifest stores it; ``rows`` is set only if it differs from that of the resolution.

    ``w_dim`` is 0 for a classifier, which has no codes; ``z_dim`` is set for a mapping network.
    """

    resolution: _Resolution
    w_dim: _Width
    attributes: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    noise_size: Annotated[int, Field(ge=0, le=4096)] = 0
    rows: Annotated[int, Field(ge=1, le=64)] | None = None
    z_dim: _Width = 0

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.resolution, self.w_dim, self.attributes, self.noise_size, self.rows or 0, self.z_dim)


class Verification(ManifestEntry):
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


class LiveBlend(ManifestEntry):
    """What makes a generator live: it holds the parents of a blend, and every request may choose the blend.

    Attributes:
        resolutions: the resolutions 4, 8, ..., R, for each of which a request gives each transferred model's share.
        default: the shares, 0..1, of requests that give none: [G], or for several transferred models [G, T] row by row.
        models: names of the transferred models.
    """

    resolutions: tuple[int, ...]
    default: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    models: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")], ...] = ("transfer",)


class Manifest(ManifestEntry):
    """The content of ``manifest.json``; ``live`` is set for a live generator, ``ranges`` for a head of directions.

    ``plans`` is set if the engine is TensorRT, or TensorRT for RTX. The ``verification`` of an engine that
    ``is_unverified`` is that of its graph, in ONNX Runtime on a processor.
    """

    schema_version: int = SCHEMA_VERSION
    component: Component
    name: str
    sizes: Sizes
    engine: EngineName
    precision: Precision
    sources: tuple[SourceFile, ...]
    files: dict[_FileName, str]
    details: dict[str, Any]
    tools: dict[str, str]
    verification: Verification
    plans: PlanMetadata | RtxMetadata | None = None
    live: LiveBlend | None = None
    ranges: dict[str, AttributeRange] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ranges_fit_attributes(self) -> Manifest:
        if self.ranges and (self.component != "isf" or tuple(self.ranges) != self.sizes.attributes):
            raise PydanticCustomError("ranges", "Only an isf should have ranges, one for each attribute in their order")
        if not all(each.is_usable for each in self.ranges.values()):
            raise PydanticCustomError("range", "A range should be low < high, with rest between them")
        return self

    @model_validator(mode="after")
    def _sizes_fit_component(self) -> Manifest:
        if self.component in ("isf", "classifier") and not self.sizes.attributes:
            raise PydanticCustomError("no_attributes", "An isf or a classifier should have attributes")
        if self.component != "classifier" and not self.sizes.w_dim:
            raise PydanticCustomError("no_codes", "Codes should have a width")
        if self.component == "mapping" and not self.sizes.z_dim:
            raise PydanticCustomError("no_z", "A mapping network should have a width of z")
        return self

    @model_validator(mode="after")
    def _live_fits_component(self) -> Manifest:
        if self.live is not None:
            if self.component != "generator":
                raise PydanticCustomError("live_component", "Only a generator can be live")
            resolutions, models = resolutions_to(self.sizes.resolution), len(set(self.live.models))
            if not 0 < models == len(self.live.models):
                raise PydanticCustomError("live_models", "A live generator should have models of different names")
            if self.live.resolutions != resolutions or len(self.live.default) != len(resolutions) * models:
                raise PydanticCustomError("live_shares", "A live generator should have one share for each resolution")
        return self

    @property
    def geometry(self) -> Geometry:
        """The sizes from which the signature follows."""
        return replace(self.sizes.geometry, transferred=len(self.live.models) if self.live else 0)

    @property
    def default_blend(self) -> tuple[float, ...]:
        """The shares of a live generator for requests that give none, as in ``LiveBlend``; empty if it is not live."""
        return self.live.default if self.live else ()

    @property
    def transferred_models(self) -> tuple[str, ...]:
        """Names of a live generator's transferred models; none if it is not live."""
        return self.live.models if self.live else ()

    @property
    def signature(self) -> Signature:
        build = {
            "encoder": encoder_signature,
            "isf": isf_signature,
            "generator": generator_signature,
            "mapping": mapping_signature,
            "classifier": classifier_signature,
        }
        return build[self.component](self.geometry)

    @property
    def is_unverified(self) -> bool:
        """Whether the engine was built, but not verified on a GPU."""
        return isinstance(self.plans, RtxMetadata) and self.plans.verified_on is None

    @property
    def model_file(self) -> str:
        return f"{self.component}.onnx"


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a model directory, whole or not at all."""
    with atomic_file(directory / MANIFEST, force=True) as path:
        path.write_text(manifest.model_dump_json(indent=2) + "\n")


def read_manifest(directory: Path) -> Manifest:
    """Read a model directory's manifest and check the hash of every file of the model.

    Raises:
        ModelDirectoryError: there is no manifest, it does not parse or does not name every file that an engine loads,
            or a file is missing or altered.
    """
    with hashed_files(directory) as hashed:
        return hashed.manifest


@dataclass(frozen=True)
class HashedModel:
    """A manifest, and where to open the model's file: there lies what was hashed, whatever has its name meanwhile.

    ``opened`` is None for a model with external data, which engines look for beside the file's name.
    """

    manifest: Manifest
    opened: Path | None


@contextmanager
def hashed_files(directory: Path) -> Iterator[HashedModel]:
    """Read and check a manifest as ``read_manifest`` does; at the end of the block the files must be the hashed ones.

    Engines are given a path and not the bytes that were hashed, with which ONNX Runtime and OpenVINO need up to three
    times the memory: 1537 instead of 584 MiB, and 2055 instead of 1030, for a model of 512 MiB.

    Raises:
        ModelDirectoryError: see ``read_manifest``; or a file was replaced or written within the block.
    """
    manifest = manifest_of(directory)
    with opened_files(directory, manifest.files) as places:
        external = external_files(places[manifest.model_file])
        for location in sorted(external - manifest.files.keys()):
            raise altered(
                directory / manifest.model_file,
                f"weights in the file {location[:100]!r}",
                "weights in files beside the model that the manifest has hashes of",
            )
        yield HashedModel(manifest, None if external else places[manifest.model_file])


_LARGEST_MANIFEST = 2**24
"""Bytes; manifests have some kilobytes."""


def manifest_of(directory: Path) -> Manifest:
    """Read a model directory's manifest without a look at the files of the model.

    Raises:
        ModelDirectoryError: there is no manifest, it does not parse or does not name every file that an engine loads.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ModelDirectoryError(
            str(directory),
            got="no manifest.json" if directory.is_dir() else "no such directory",
            expected="a model directory",
            remedy="make one with toonify-export",
        )
    manifest = _parsed(path)
    plans = manifest.plans.files if manifest.plans else ()
    for name in (manifest.model_file, *plans):
        if name not in manifest.files:
            raise altered(path, f"no hash of {name!r}", "a hash of every file that an engine loads")
    for name in manifest.files:
        if Path(name).name != name or "\0" in name or name in ("", "..", MANIFEST):
            raise altered(path, f"the file name {name[:100]!r}", "names of files beside the manifest")
    return manifest


def _parsed(path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(content_of(path, _LARGEST_MANIFEST))
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
    return manifest
