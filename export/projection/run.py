"""A whole projection: networks from weights, the start, the steps, and what is saved between them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engines.contract.arrays import Codes, Picture
from engines.contract.errors import EngineError, ExportError
from export.measures.lpips import Lpips
from export.networks.architectures import network_from_weights
from export.networks.encoder import Encoder, input_from_face
from export.networks.generator import StyleGenerator
from export.networks.restyle import Restyle, face_encoder_from_weights
from export.projection.objective import Objective
from export.projection.projector import Projector, Search, spread_of_w
from export.projection.saved_search import resume_search, write_search
from export.selection import ProgressCallback
from export.weights import EncoderWeights, GeneratorWeights

Start = Literal["encoder", "average"]

SAVE_EVERY = 20
"""Number of steps after which the search is reported and saved."""


@dataclass(frozen=True)
class Request:
    """What is projected, and how.

    Attributes:
        face: an aligned face, uint8 [256, 256, 3] RGB.
        generator: the generator into whose W+ it is projected.
        encoder: an encoder for it; its code is the start, and its features are compared where there is no LPIPS.
        lpips: LPIPS, and the SHA-256 of its files.
        start: the code at which the search begins; None is the encoder's, or the average without an encoder.
        steps: the largest number of steps.
        seed: the seed of the noise with which a search from the average begins.
        device: "cpu" or "cuda".
    """

    face: Picture
    generator: GeneratorWeights
    encoder: EncoderWeights | None = None
    lpips: tuple[Lpips, str] | None = None
    start: Start | None = None
    steps: int = 1000
    seed: int = 0
    device: str = "cpu"

    @property
    def begins_at(self) -> Start:
        """The code at which the search begins."""
        return self.start or ("encoder" if self.encoder else "average")

    @property
    def key(self) -> str:
        """A hash of all on which the steps depend; the exploration from the average has its share of their number."""
        parts: list[object] = [sha256(self.face.tobytes()).hexdigest(), self.generator.source.sha256, self.begins_at]
        parts.append(self.generator.notes)  # the class of a conditional generator is one
        parts += [self.encoder and _key_of_encoder(self.encoder), self.lpips and self.lpips[1]]
        parts += [self.steps, self.seed] if self.begins_at == "average" else []
        return sha256(json.dumps(parts).encode()).hexdigest()


def _key_of_encoder(encoder: EncoderWeights) -> object:
    first = encoder.first and encoder.first.encoder.source.sha256
    return [encoder.source.sha256, first] if first else encoder.source.sha256


@dataclass(frozen=True)
class Projection:
    """A face's code [1, L, D], the PSNR of its picture and of the start's in dB, and the number of steps."""

    code: Codes
    psnr: float
    start_psnr: float
    steps: int


def project(
    request: Request, report: ProgressCallback, *, progress: Path | None = None, resume: bool = False
) -> Projection:
    """Search for the code from which the generator draws the face best.

    Args:
        request: what is projected.
        report: called with a phrase now and then.
        progress: the file in which the search is saved every few steps; the caller removes it when the code is written.
        resume: continue the search that is saved there.

    Raises:
        ExportError: the encoder does not fit the generator, there is no code to start from, or the file is of another
            search.
        EngineError: there is no such device.
    """
    projector, start_psnr = _prepared(request)
    if resume and progress:
        resume_search(progress, projector, request.key)
    while not projector.done:
        projector.advance()
        if projector.step % SAVE_EVERY == 0:
            report(f"step {projector.step}: {projector.psnr():.1f} dB, at the start {start_psnr:.1f} dB")
            if progress:
                write_search(progress, projector, request.key)
    return Projection(projector.best.cpu().numpy(), projector.psnr(), start_psnr, projector.step)


def _prepared(request: Request) -> tuple[Projector, float]:
    """Return the projector before its first step, and the PSNR of the start."""
    if request.device != "cpu" and not torch.cuda.is_available():
        raise EngineError(
            f"--device {request.device}", got="no GPU that PyTorch finds", expected="one", remedy="leave --device out"
        )
    generator = network_from_weights(request.generator).to(request.device)
    network = _encoder(request)
    face = input_from_face(torch.from_numpy(request.face[None])).to(request.device)
    lpips = request.lpips[0].to(request.device) if request.lpips else None
    objective = Objective(face, lpips=lpips, encoder=reader_of_one_picture(network))
    search = _search(request, generator, network, face)
    return Projector(generator, objective, search), objective.psnr(generator.synthesise(search.start))


def _encoder(request: Request) -> Encoder | Restyle | None:
    encoder, generator = request.encoder, request.generator
    if encoder is None:
        return None
    if (encoder.rows, encoder.w_dim) != (generator.rows, generator.w_dim):
        raise ExportError(
            str(encoder.source.path),
            got=f"codes of {encoder.rows} rows of {encoder.w_dim}",
            expected=f"{generator.rows} rows of {generator.w_dim}, as {generator.source.path.name} takes",
            remedy="give the encoder that was trained for this generator",
        )
    network: Encoder | Restyle = face_encoder_from_weights(encoder).to(request.device)
    return network


def reader_of_one_picture(network: Encoder | Restyle | None) -> Encoder | None:
    """Return the encoder whose features are compared: those of ReStyle's are of two pictures, not of one."""
    while isinstance(network, Restyle):
        network = network.first.encoder if network.first else None
    return network


def _search(request: Request, generator: StyleGenerator, network: Encoder | Restyle | None, face: Tensor) -> Search:
    """Return the search from the encoder's code or from the average one."""
    spread = spread_of_w(generator.mapping)
    if request.begins_at == "encoder":
        if network is None:
            raise ExportError("--start encoder", got="no encoder", expected="one", remedy="give --encoder")
        with torch.no_grad():
            code: Tensor = network(face)
        # Without a mapping network there are no random w; how far the code is from the average stands for them.
        distance = float((code - generator.mapping.w_avg).square().mean().sqrt())
        return Search(code, spread or distance, request.steps)
    if spread is None:
        raise ExportError(
            str(request.generator.source.path),
            got="a generator without a mapping network, whose average code is unknown",
            expected="one with it, or an encoder's code to start from",
            remedy="give --encoder",
        )
    average = generator.mapping.w_avg.expand(1, request.generator.rows, -1).clone()
    return Search(average, spread, request.steps, explores=True, seed=request.seed)
