"""The measured networks, with seeded random weights; they are exported once per state of the code, then reused.

torch is imported only in the functions that need it, since a process that measures another engine must not hold it in
memory. Modules that need pydantic are imported in the same way, since a machine with a GPU may not have it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import ROOT, versions
from engines.contract.tensors import (
    Geometry,
    Signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    toonify_signature,
)
from export.weights import EncoderWeights, GeneratorWeights, IsfWeights

if TYPE_CHECKING:
    from engines.loading import Target
    from export.targets import PrecisionChoice

Report = Callable[[str], None]

SEED = 0
COLOUR_GAIN = 0.2
"""Factor on the toRGB weights that keeps pictures from being clipped, as clipped levels would hide errors."""

OWN_SOURCES = [ROOT / "benchmarks" / name for name in ("networks.py", "baselines.py", "growth/live_models.py")]

CONFIG_F = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


@dataclass(frozen=True)
class Scale:
    """Sizes of all networks: channels by resolution, dimension of w, mapping layers, channels of encoder stages."""

    channels: Mapping[int, int]
    w_dim: int
    mapping_depth: int
    encoder_stages: tuple[int, int, int, int]

    @property
    def geometry(self) -> Geometry:
        return Geometry(max(self.channels), self.w_dim)

    def at(self, resolution: int) -> Scale:
        """The same networks for smaller pictures: the generator without its last layers."""
        return replace(self, channels={size: width for size, width in self.channels.items() if size <= resolution})


FULL = Scale(CONFIG_F, 512, 8, (64, 128, 256, 512))
"""StyleGAN2 config-f at 1024x1024, an e4e encoder of 267 M parameters, an ISF head of 16 M parameters."""
TINY = Scale({4: 8, 8: 8, 16: 8, 32: 8}, 16, 1, (4, 4, 4, 4))
"""Tiny networks for functional tests; their times mean nothing."""


@dataclass(frozen=True)
class BenchmarkModels:
    """Paths of the exported networks, of the server's model repository and of the reference data of one scale."""

    folder: Path
    scale: Scale

    def directory(self, stage: str) -> Path:
        return self.folder / stage

    @property
    def repository(self) -> Path:
        return self.folder / "model_repository"

    def port(self, batch: int) -> Path:
        """The port's ONNX file for one batch size."""
        return self.folder / f"port_batch{batch}.onnx"

    def onnx(self, stage: str) -> Path:
        """A network's ONNX file that lies outside a model directory."""
        return self.folder / f"{stage}.onnx"

    @property
    def on_gpu(self) -> BenchmarkModels:
        """The same networks, exported for a GPU."""
        return replace(self, folder=self.folder / "gpu")

    @property
    def reference_file(self) -> Path:
        return self.folder / "reference.npz"

    def at(self, resolution: int) -> BenchmarkModels:
        """The models of a smaller resolution, whose folder lies beside this one; 0 stands for these models."""
        if resolution in (0, self.scale.geometry.resolution):
            return self
        return models_for(self.scale.at(resolution), self.folder.parent)

    def served(self, stage: str) -> tuple[str, str]:
        """Engine and precision in which the served ensemble runs a stage; the stage's model must have been built."""
        from engines import read_manifest

        manifest = read_manifest(self.directory(stage))
        return manifest.engine, manifest.precision


def signature_of(stage: str, geometry: Geometry) -> Signature:
    """Inputs and outputs of a stage: "roof" has none, the whole service takes no ``seed``, since z is given."""
    if stage == "roof":
        return Signature((), ())
    if stage in ("pipeline", "ensemble"):
        whole = toonify_signature(geometry)
        return replace(whole, inputs=tuple(spec for spec in whole.inputs if spec.name != "seed"))
    return {"encoder": encoder_signature, "isf": isf_signature, "generator": generator_signature}[stage](geometry)


def generator_weights(scale: Scale) -> GeneratorWeights:
    """A random generator whose toRGB weights are scaled by ``COLOUR_GAIN``."""
    from export.random_weights import random_generator

    weights = random_generator(scale.channels, SEED, w_dim=scale.w_dim, mapping_depth=scale.mapping_depth)
    gain = np.float32(COLOUR_GAIN)
    tensors = {name: v * gain if name.endswith(".rgb.weight") else v for name, v in weights.tensors.items()}
    return replace(weights, tensors=tensors)


def encoder_weights(scale: Scale) -> EncoderWeights:
    """A random encoder with an average latent of 0."""
    from export.random_weights import random_encoder

    latent_avg = np.zeros((scale.geometry.rows, scale.w_dim), np.float32)
    return random_encoder(scale.encoder_stages, SEED, latent_avg=latent_avg)


def isf_weights(scale: Scale) -> IsfWeights:
    """A random ISF head."""
    from export.random_weights import random_isf

    return random_isf(scale.geometry.rows, SEED, w_dim=scale.w_dim)


def models_for(scale: Scale, folder: Path) -> BenchmarkModels:
    """The models of this scale for the current code, in a folder below ``folder``; they may not have been built yet."""
    files = [path for package in ("export", "engines") for path in sorted((ROOT / package).rglob("*"))]
    sources = [path for path in files if path.suffix in (".py", ".h", ".cpp")]
    digest = sha256(repr((scale, versions())).encode())
    for path in [*sources, *OWN_SOURCES]:
        digest.update(path.read_bytes())
    return BenchmarkModels(folder / f"{scale.geometry.resolution}-{digest.hexdigest()[:12]}", scale)


def build(models: BenchmarkModels, stages: Collection[str], report: Report, target: Target = "cpu") -> None:
    """Export, as a user would, the networks that the stages need and that do not exist yet; write a model repository.

    Raises:
        VerificationError: an exported model differs from PyTorch.
    """
    networks = ("encoder", "isf", "generator")
    whole = not {"pipeline", "ensemble"}.isdisjoint(stages)
    for stage in networks:
        if (whole or stage in stages) and not models.directory(stage).exists():
            _build_model(models, stage, report, target)
    if "ensemble" in stages:
        from serving.triton.repository import write_repository

        encoder, isf, generator = (models.directory(stage) for stage in networks)
        write_repository(models.repository, encoder=encoder, isf=isf, generators=[generator], force=True)


def _build_model(models: BenchmarkModels, stage: str, report: Report, target: Target) -> None:
    from export.build import build_encoder, build_generator, build_isf
    from export.targets import ExportOptions

    # The precision that a user gets; on a GPU float32 is not tried first, as that takes minutes.
    precision: PrecisionChoice = "fp32" if stage == "isf" else "auto" if target == "cpu" else "fp16"
    output = ExportOptions(models.directory(stage), "benchmark", target, "auto", precision)
    if stage == "encoder":
        build_encoder(encoder_weights(models.scale), output, report)
    elif stage == "isf":
        build_isf(isf_weights(models.scale), output, report)
    else:
        build_generator(generator_weights(models.scale), [], output, report)
