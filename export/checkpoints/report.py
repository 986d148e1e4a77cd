"""A summary of a checkpoint for ``toonify-export inspect``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engines.contract.tensors import resolution_of
from export.checkpoints.layout import NO_NOISE, SEEDED_NOISE
from export.checkpoints.pixel2style2pixel import NO_LATENT_AVG
from export.checkpoints.reading import Network, read_checkpoint
from export.weights import EncoderKind, EncoderWeights, GeneratorWeights, IsfWeights

_ARCHITECTURES = {"StyleGAN1": "StyleGAN1, adaptive instance normalisation", "StyleGAN2": "StyleGAN2, skip connections"}


@dataclass(frozen=True)
class CheckpointReport:
    """The summary of a checkpoint; a field is None if it does not apply to the network or the file does not record it.

    ``w_avg`` states whether the file holds the average latent. ``architecture`` is a description for people.
    ``steps`` is the number of steps of a ReStyle encoder. ``left_out`` names the parts of the file that were not used,
    each with its reason.
    """

    kind: Network
    format: str
    sha256: str
    architecture: str
    rows: int
    w_dim: int
    resolution: int | None = None
    channels: dict[int, int] | None = None
    mapping_depth: int | None = None
    noise: Literal["stored", "seeded", "none"] | None = None
    conv_clamp: float | None = None
    fp16_from: int | None = None
    w_avg: bool | None = None
    attributes: tuple[str, ...] | None = None
    noise_size: int | None = None
    steps: int | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


def describe(
    path: Path,
    *,
    kind: EncoderKind | None = None,
    attributes: tuple[str, ...] | None = None,
    label: int | None = None,
) -> CheckpointReport:
    """Read a checkpoint with all its checks, and summarise it.

    Raises:
        CheckpointError: the checkpoint cannot be read; see ``read_checkpoint``.
    """
    match read_checkpoint(path, kind=kind, attributes=attributes, label=label):
        case GeneratorWeights() as weights:
            return _generator_report(weights)
        case EncoderWeights() as weights:
            return _encoder_report(weights)
        case IsfWeights() as weights:
            return _isf_report(weights)


def _generator_report(weights: GeneratorWeights) -> CheckpointReport:
    return CheckpointReport(
        kind="generator",
        format=weights.source.format,
        sha256=weights.source.sha256,
        architecture=_ARCHITECTURES[weights.architecture],
        rows=weights.rows,
        w_dim=weights.w_dim,
        resolution=weights.resolution,
        channels=weights.channels,
        mapping_depth=weights.mapping_depth,
        noise="seeded" if SEEDED_NOISE in weights.notes else "none" if NO_NOISE in weights.notes else "stored",
        conv_clamp=weights.conv_clamp,
        fp16_from=weights.fp16_from,
        w_avg="mapping.w_avg" in weights.tensors,
        notes=weights.notes,
        left_out=weights.source.left_out,
    )


def _encoder_report(weights: EncoderWeights) -> CheckpointReport:
    return CheckpointReport(
        kind="encoder",
        format=weights.source.format,
        sha256=weights.source.sha256,
        architecture=weights.architecture,
        rows=weights.rows,
        w_dim=weights.w_dim,
        resolution=resolution_of(weights.rows),
        w_avg=NO_LATENT_AVG not in weights.notes,
        steps=weights.steps if weights.corrects else None,
        notes=weights.notes,
        left_out=weights.source.left_out,
    )


def _isf_report(weights: IsfWeights) -> CheckpointReport:
    return CheckpointReport(
        kind="isf",
        format=weights.source.format,
        sha256=weights.source.sha256,
        architecture=f"ISF, {weights.norm}, {'pre' if weights.pre_norm else 'post'}-norm",
        rows=weights.rows,
        w_dim=weights.w_dim,
        attributes=weights.attributes,
        noise_size=weights.noise_size,
        notes=weights.notes,
        left_out=weights.source.left_out,
    )
