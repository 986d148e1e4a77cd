"""From weights to a verified model directory: export, run the reference, choose an engine, write the manifest.

A directory appears whole and verified under its name, or not at all.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.contract.atomic import atomic_directory, check_output
from engines.contract.errors import ExportError
from engines.contract.tensors import (
    Signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    resolution_of,
    rows_of,
)
from engines.loading import Target
from engines.model_directory import Component, Manifest, Sizes, SourceFile, sha256_of, write_manifest
from engines.tensorrt.options import PlanOptions
from export.cutting import cut_at, light_encoder, likeness
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import Generator, generator_from_weights, picture_from_output
from export.networks.isf import isf_from_weights
from export.onnx_export import onnx_from_encoder, onnx_from_generator, onnx_from_isf
from export.plans import plans_of
from export.selection import EngineChoice, PrecisionChoice, Report, candidates_for, select_engine
from export.verification import BATCHES, Reference, batches_for, in_batches, reference_samples
from export.weights import EncoderWeights, GeneratorWeights, IsfWeights, Source

EXTERNAL_DATA_BYTES = 1 << 29
"""Larger models keep their weights in a file beside the graph: one protobuf message ends at 2 GiB."""

_PACKAGES = (
    "toonify-serve",
    "torch",
    "triton",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "numpy",
)


@dataclass(frozen=True)
class Output:
    """Where a model directory goes and how it is made; ``plans`` are TensorRT's."""

    directory: Path
    name: str
    target: Target = "cpu"
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"
    licences: tuple[str, ...] = ()
    force: bool = False
    plans: PlanOptions = field(default_factory=PlanOptions)

    def __post_init__(self) -> None:
        # The name becomes part of a served model's name and of a path.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ExportError(
                "--name", got=repr(self.name), expected="letters, digits, _ and -", remedy="choose another name"
            )


def build_generator(
    weights: GeneratorWeights,
    sources: Sequence[tuple[str, Source]],
    output: Output,
    report: Report,
    *,
    resolution: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Export a generator, or its layers up to a resolution.

    Args:
        weights: the network, blended or not.
        sources: role and file of everything that the weights came from.
        output: where to, and which engine.
        report: called with a phrase at every stage.
        resolution: side of the pictures, one of ``weights.resolutions``; None takes the largest.
        details: what else the manifest shall say, such as the blend's shares.

    Raises:
        ExportError: the directory is already there, or the generator has no pictures of that size.
        EngineError: the engine or precision cannot be had here.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    kept = weights if resolution is None else cut_at(weights, resolution)
    cut = kept.resolution < weights.resolution
    sizes = Sizes(resolution=kept.resolution, w_dim=weights.w_dim, rows=weights.rows if cut else None)
    signature = generator_signature(sizes.geometry)
    generator = generator_from_weights(kept)
    codes = _codes(generator, weights.rows)

    def reference(w: Tensor, psi: Tensor) -> Tensor:
        return picture_from_output(generator(w, psi))

    facts = {
        "channels": {str(r): c for r, c in kept.channels.items()},
        "conv_clamp": weights.conv_clamp,
        "notes": list(weights.notes),
        **(_cut_from(weights, generator, codes) if cut else {}),
        **(details or {}),
    }
    job = _Job("generator", sizes, signature, sources, facts, "seeded codes, psi 1 to 0.5")
    return _build(job, reference, lambda: onnx_from_generator(generator, signature), output, report, codes)


def _cut_from(weights: GeneratorWeights, cut: Generator, codes: AnyArray) -> dict[str, Any]:
    found = likeness(cut, generator_from_weights(weights), codes[:2])
    return {"cut": {"from": weights.resolution, "psnr": found.psnr, "mean": found.mean}}


def build_isf(weights: IsfWeights, output: Output, report: Report, *, resolution: int | None = None) -> Manifest:
    """Export an ISF head; a head on W needs the ``resolution`` of the generator that it will edit.

    Raises: as ``build_generator``.
    """
    sizes = Sizes(
        resolution=_isf_resolution(weights, resolution),
        w_dim=weights.w_dim,
        attributes=weights.attributes,
        noise_size=weights.noise_size,
    )
    signature = isf_signature(sizes.geometry)
    isf = isf_from_weights(weights)
    facts = {"pre_norm": weights.pre_norm, "norm": weights.norm, "residual": weights.residual, "heads": weights.rows}
    job = _Job(
        "isf", sizes, signature, [("isf", weights.source)], facts, "seeded codes, attributes and z, strength 0 to 1"
    )
    return _build(job, isf, lambda: onnx_from_isf(isf, signature), output, report)


def build_encoder(weights: EncoderWeights, output: Output, report: Report, *, light: bool = False) -> Manifest:
    """Export a pSp or e4e encoder, its average latent included; ``light``: of the first rows of W+ alone.

    Raises: as ``build_generator``.
    """
    kept = light_encoder(weights) if light else weights
    rows = kept.rows if kept.rows < weights.rows else None
    sizes = Sizes(resolution=resolution_of(weights.rows), w_dim=weights.w_dim, rows=rows)
    signature = encoder_signature(sizes.geometry)
    encoder = encoder_from_weights(kept)

    def reference(face: Tensor) -> Tensor:
        w: Tensor = encoder(input_from_face(face))
        return w

    facts = {"kind": weights.kind, "notes": list(weights.notes)}
    job = _Job("encoder", sizes, signature, [("encoder", weights.source)], facts, "seeded pictures")
    return _build(job, reference, lambda: onnx_from_encoder(encoder, signature), output, report)


@dataclass(frozen=True)
class _Job:
    component: Component
    sizes: Sizes
    signature: Signature
    sources: Sequence[tuple[str, Source]]
    details: Mapping[str, Any]
    inputs: str


def _build(
    job: _Job,
    reference: Reference,
    export: Callable[[], onnx.ModelProto],
    output: Output,
    report: Report,
    w: AnyArray | None = None,
) -> Manifest:
    # Refused now: minutes of work must not end in "already there" or "not installed".
    check_output(output.directory, force=output.force)
    candidates = candidates_for(job.component, output.target, output.engine, output.precision)
    sources = _source_files(job.sources, output.licences)
    report(f"running the {job.component} in PyTorch")
    sizes = BATCHES[output.target]
    samples = reference_samples(reference, batches_for(job.signature, w, sizes=sizes))
    report(f"exporting the {job.component} to ONNX")
    proto = export()
    with atomic_directory(output.directory, force=output.force) as directory:
        model = directory / f"{job.component}.onnx"
        _save(proto, model)
        plans = None
        if output.target == "tensorrt":
            ((_, precision),) = candidates
            plans = plans_of(model, job.signature, precision, report, output.plans)
        inputs = f"{job.inputs}, {in_batches(sizes)}"
        chosen, tried = select_engine(model, job.signature, samples, inputs, candidates, report, plans=plans)
        manifest = Manifest(
            component=job.component,
            name=output.name,
            sizes=job.sizes,
            engine=chosen.engine,
            precision=chosen.precision,
            sources=sources,
            files={path.name: sha256_of(path) for path in sorted(directory.iterdir())},
            details={**job.details, "engines_tried": [candidate.as_json() for candidate in tried]},
            tools=tools(),
            verification=chosen.verification,
            plans=plans,
        )
        write_manifest(directory, manifest)
    return manifest


def _save(proto: onnx.ModelProto, path: Path) -> None:
    large = proto.ByteSize() > EXTERNAL_DATA_BYTES
    onnx.save(proto, path, save_as_external_data=large, location=f"{path.name}.data" if large else None)
    onnx.checker.check_model(path, full_check=True)


def _source_files(sources: Sequence[tuple[str, Source]], licences: Sequence[str]) -> tuple[SourceFile, ...]:
    if licences and len(licences) != len(sources):
        raise ExportError(
            "--source-licence",
            got=f"{len(licences)} of them",
            expected=f"{len(sources)}, for {', '.join(source.path.name for _, source in sources)}",
            remedy="give one for each source, in this order",
        )
    given: Sequence[str | None] = licences or [None] * len(sources)
    return tuple(
        SourceFile(role=role, file=source.path.name, format=source.format, sha256=source.sha256, licence=licence)
        for (role, source), licence in zip(sources, given, strict=True)
    )


def tools() -> dict[str, str]:
    """The versions of Python and of the libraries that make a model, as manifests state them."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _codes(generator: Generator, rows: int) -> AnyArray:
    """Three W+ codes [3, L, D]: two of one z each, and one whose rows alternate between them."""
    draw = np.random.default_rng(0)
    w_avg: AnyArray = generator.mapping.w_avg.numpy()
    if len(list(generator.mapping.children())):
        z = torch.from_numpy(draw.standard_normal((2, generator.mapping.z_dim), dtype=np.float32))
        with torch.no_grad():
            w = generator.mapping(z).numpy()
    else:
        w = w_avg + draw.standard_normal((2, len(w_avg)), dtype=np.float32)
    alternating = w[np.arange(rows) % 2]
    return np.stack([w[0][None].repeat(rows, 0), w[1][None].repeat(rows, 0), alternating])


def _isf_resolution(weights: IsfWeights, resolution: int | None) -> int:
    own = None if weights.rows == 1 else resolution_of(weights.rows)
    if resolution is None and own is None:
        raise ExportError(
            str(weights.source.path),
            got="a head on W, which fits any generator",
            expected="a resolution",
            remedy="give --resolution",
        )
    if None not in (resolution, own) and resolution != own:
        raise ExportError(
            str(weights.source.path),
            got=f"{weights.rows} rows, which is resolution {own}",
            expected=f"the {rows_of(resolution or 0)} rows of --resolution {resolution}",
            remedy="leave --resolution out or take another head",
        )
    return resolution or own or 0
