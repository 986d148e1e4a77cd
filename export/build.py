"""Building the model directory of each component from its weights; ``export.directory`` builds what all have alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.contract.attributes import AttributeRange
from engines.contract.errors import ExportError
from engines.contract.tensors import (
    FACE_SIZE,
    classifier_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    mapping_signature,
    resolution_of,
    rows_of,
)
from engines.matching import MAPPING
from engines.model_directory import Manifest, Sizes
from export.code_spread import FACES, MARGIN, check_generator_of, encoding, measured_code_spread
from export.cutting import cut_generator, cut_parity, light_encoder
from export.directory import Job, build_directory
from export.graphs.architectures import onnx_from_network
from export.graphs.classifier import onnx_from_classifier
from export.graphs.directions import onnx_from_directions
from export.graphs.encoder import onnx_from_encoder
from export.graphs.isf import onnx_from_isf
from export.graphs.mapping import onnx_from_mapping
from export.graphs.restyle import onnx_from_restyle
from export.networks.architectures import network_from_weights
from export.networks.classifier import classifier_from_weights
from export.networks.directions import Directions
from export.networks.encoder import input_from_face
from export.networks.generator import StyleGenerator, picture_from_output
from export.networks.isf import isf_from_weights
from export.networks.restyle import Restyle, face_encoder_from_weights
from export.provenance import readable_name
from export.selection import ProgressCallback
from export.targets import EngineChoice, ExportOptions
from export.verification import seeded_codes
from export.weights import ClassifierWeights, DirectionWeights, EncoderWeights, GeneratorWeights, IsfWeights, Source
from serving.code_spread import write_code_spread


def build_generator(
    weights: GeneratorWeights,
    sources: Sequence[tuple[str, Source]],
    options: ExportOptions,
    report: ProgressCallback,
    *,
    resolution: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Export a generator, or its layers up to a resolution, and its mapping network, if it has one, into ``MAPPING``.

    Args:
        weights: the network, blended or not.
        sources: role and file of each checkpoint from which the weights come.
        options: the directory to write, and the engine.
        report: called with a phrase at every stage.
        resolution: side of the pictures in pixels, one of ``weights.resolutions``; None means the largest.
        details: further entries of the manifest's ``details``, such as the blend's shares.

    Raises:
        ExportError: the directory already exists, or the generator has no pictures of that size.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    kept = weights if resolution is None else cut_generator(weights, resolution)
    cut = kept.resolution < weights.resolution
    sizes = Sizes(resolution=kept.resolution, w_dim=weights.w_dim, rows=weights.rows if cut else None)
    signature = generator_signature(sizes.geometry)
    generator = network_from_weights(kept)
    codes = seeded_codes(generator, weights.rows)

    def reference(w: Tensor, psi: Tensor) -> Tensor:
        return picture_from_output(generator(w, psi))

    all_details = generator_details(weights, kept, generator, codes) | {**(details or {})}
    job = Job("generator", sizes, signature, sources, all_details, "seeded codes, psi 1 to 0.5")
    export = partial(onnx_from_network, generator, signature)
    more = mapping_writer(weights, generator, job, options, report)
    return build_directory(job, reference, export, options, report, codes, add_more=more)


def generator_details(
    weights: GeneratorWeights, kept: GeneratorWeights, generator: StyleGenerator, codes: AnyArray
) -> dict[str, Any]:
    """Return the manifest's details of a generator of which the weights ``kept`` are exported.

    Pictures without the highest layers are compared with those of all layers; a PSNR of None says that they are equal.
    """
    details: dict[str, Any] = {
        "channels": {str(r): c for r, c in kept.channels.items()},
        "conv_clamp": weights.conv_clamp,
        "notes": list(weights.notes),
    }
    if kept.resolution < weights.resolution:
        error = cut_parity(generator, network_from_weights(weights), codes[:2])
        psnr = error.psnr if math.isfinite(error.psnr) else None  # JSON has no infinity
        details["cut"] = {"from": weights.resolution, "psnr": psnr, "mean": error.mean}
    return details


def mapping_writer(
    weights: GeneratorWeights, generator: StyleGenerator, job: Job, options: ExportOptions, report: ProgressCallback
) -> Callable[[Path], None]:
    """Return what adds the mapping network to the model directory of a generator, if its checkpoint has one."""

    def write(directory: Path) -> None:
        if weights.mapping_depth:
            _build_mapping(generator, job, _options_of_mapping(directory, options), report)

    return write


def _options_of_mapping(generator: Path, options: ExportOptions) -> ExportOptions:
    """Return the options of the mapping network of a generator whose model directory is being written.

    It is small: a lower precision would save no time, and one engine serves as well as another.
    """
    engine: EngineChoice = "onnxruntime" if options.target == "cpu" else "auto"
    return replace(options, directory=generator / MAPPING, engine=engine, precision="fp32", force=False)


def _build_mapping(network: StyleGenerator, generator: Job, options: ExportOptions, report: ProgressCallback) -> None:
    mapping = network.mapping
    sizes = generator.sizes.model_copy(update={"z_dim": mapping.z_dim})
    signature, rows = mapping_signature(sizes.geometry), sizes.geometry.rows

    def reference(z: Tensor) -> Tensor:
        w: Tensor = mapping(z)
        return w[:, None].repeat(1, rows, 1)

    job = Job("mapping", sizes, signature, generator.sources, {}, "seeded z")
    build_directory(job, reference, partial(onnx_from_mapping, mapping, signature), options, report)


def build_isf(
    weights: IsfWeights, options: ExportOptions, report: ProgressCallback, *, resolution: int | None = None
) -> Manifest:
    """Export an ISF head; a head on W needs the ``resolution`` of the generator whose codes it will edit.

    Raises:
        ExportError: the directory already exists, or the resolution is missing or contradicts the head's rows.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    sizes = Sizes(
        resolution=_isf_resolution(weights, resolution),
        w_dim=weights.w_dim,
        attributes=weights.attributes,
        noise_size=weights.noise_size,
    )
    signature = isf_signature(sizes.geometry)
    isf = isf_from_weights(weights)
    details = {"pre_norm": weights.pre_norm, "norm": weights.norm, "residual": weights.residual, "heads": weights.rows}
    inputs = "seeded codes, attributes and z, strength 0 to 1"
    job = Job("isf", sizes, signature, [("isf", weights.source)], details, inputs)
    return build_directory(job, isf, lambda: onnx_from_isf(isf, signature), options, report)


def build_directions(
    weights: DirectionWeights, limit: float, options: ExportOptions, report: ProgressCallback
) -> Manifest:
    """Export linear directions as a head in the place of an ISF head; each attribute ranges from -limit to limit.

    Raises:
        ExportError: the directory already exists.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    _, rows, w_dim = weights.directions.shape
    sizes = Sizes(resolution=resolution_of(rows), w_dim=w_dim, attributes=weights.attributes)
    signature = isf_signature(sizes.geometry)
    ranges = dict.fromkeys(weights.attributes, AttributeRange(-limit, limit, 0.0))
    network = Directions(torch.from_numpy(weights.directions))
    sources = [(f"direction {name}", source) for name, source in zip(weights.attributes, weights.sources, strict=True)]
    inputs = "seeded codes and attributes, strength 0 to 1"
    job = Job("isf", sizes, signature, sources, {"kind": "directions"}, inputs, ranges=ranges)
    return build_directory(job, network, lambda: onnx_from_directions(network, signature), options, report)


def build_encoder(
    weights: EncoderWeights,
    options: ExportOptions,
    report: ProgressCallback,
    *,
    light: bool = False,
    generator: GeneratorWeights | None = None,
) -> Manifest:
    """Export an encoder with its average latent and, if it is ReStyle's, all that its steps need, as one network.

    ``light`` exports the first rows of W+ only. With the ``generator`` that the encoder was trained for, the directory
    tells how far out the codes of good faces lie.

    Raises:
        ExportError: the directory already exists, the encoder has no light form, or the generator has other codes.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    kept = light_encoder(weights) if light else weights
    rows = kept.rows if kept.rows < weights.rows else None
    sizes = Sizes(resolution=resolution_of(weights.rows), w_dim=weights.w_dim, rows=rows)
    signature = encoder_signature(sizes.geometry)
    network = face_encoder_from_weights(kept)

    def reference(face: Tensor) -> Tensor:
        w: Tensor = network(input_from_face(face))
        return w

    def graph() -> onnx.ModelProto:
        if isinstance(network, Restyle):
            return onnx_from_restyle(network, signature)
        return onnx_from_encoder(network, signature)

    details: dict[str, Any] = {"kind": weights.kind, "architecture": weights.architecture, "notes": list(weights.notes)}
    details |= {"steps": weights.steps} if weights.corrects else {}

    def add_spread(directory: Path) -> None:
        if generator:
            report(f"measuring the codes of {FACES} random faces")
            with encoding(network, directory / "encoder.onnx", signature) as encode:
                write_code_spread(directory, measured_code_spread(encode, generator))

    if generator:
        check_generator_of(weights, generator)
        source = {"file": readable_name(generator.source.path), "sha256": generator.source.sha256}
        details["code_spread"] = {"faces": FACES, "margin": MARGIN, "generator": source}
    job = Job("encoder", sizes, signature, _sources_of_encoder(weights), details, "seeded pictures")
    return build_directory(job, reference, graph, options, report, add_files=add_spread)


def _sources_of_encoder(weights: EncoderWeights) -> list[tuple[str, Source]]:
    """Return the files of which an encoder is made, each once, with its role."""
    parts: list[tuple[str, EncoderWeights | GeneratorWeights | None]]
    parts = [("encoder", weights), ("decoder", weights.decoder)]
    if weights.first:
        parts += [("first encoder", weights.first.encoder), ("first decoder", weights.first.decoder)]
    sources: dict[Path, tuple[str, Source]] = {}
    for role, part in parts:
        if part:
            sources.setdefault(part.source.path, (role, part.source))
    return [*sources.values()]


def build_classifier(weights: ClassifierWeights, options: ExportOptions, report: ProgressCallback) -> Manifest:
    """Export a classifier of attributes.

    Raises:
        ExportError: the directory already exists.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    # It has pictures, but no codes.
    sizes = Sizes(resolution=FACE_SIZE, w_dim=0, attributes=weights.attributes)
    signature = classifier_signature(sizes.geometry)
    classifier = classifier_from_weights(weights)

    def reference(face: Tensor) -> Tensor:
        return torch.sigmoid(classifier(input_from_face(face)))

    job = Job("classifier", sizes, signature, [("classifier", weights.source)], {}, "seeded pictures")
    return build_directory(job, reference, lambda: onnx_from_classifier(classifier, signature), options, report)


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
