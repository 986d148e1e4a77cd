"""Training of the demo's ReStyle encoder: a face beside the picture of its code -> what the code lacks.

The demo's encoder is trained first; this one corrects its codes, once, as in ReStyle's encoder bootstrapping (Alaluf et
al., arXiv 2104.02699), and sees what they draw. The encoder is left as it is. It is easier to see how two pictures
differ than to estimate a whole face: after 1,315 steps from the encoder's weights, 96 unseen characters had 26.5 dB
instead of 25.9, where 12,141 further steps of the encoder alone had brought 26.4.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.contract.tensors import FACE_SIZE
from export.demo_models.dataset import Faces
from export.demo_models.encoder_training import (
    STAGES,
    Batch,
    PictureError,
    TrainedLayers,
    batches_of,
    code_layer_of,
    directions_of_traits,
    for_storage,
    for_training,
    new_encoder,
    rows_from_code,
    scale_convolutions,
)
from export.demo_models.generator_training import skip_pictures
from export.demo_models.training import Schedule, device, mixed_precision, optimise
from export.networks.encoder import AllRowsEncoder, input_from_face
from export.networks.generator import Generator
from export.networks.restyle import FirstEncoder, Restyle

SCHEDULE = Schedule(steps=7500, rate=1e-3, matrix_rate=7e-4)
PICTURE_WEIGHT = 100.0
"""Weight of the pictures' squared error in -1..1, relative to that of codes."""
EXACT_SHARE = 0.35
"""The share of pictures that are shown as rendered.

Only for these could both pictures be equal, so that every difference is an error of the code.
"""
LEFT_ALONE = ("age",)
"""The traits that are not corrected.

Nearly all of an older character's hair is grey. Highlights on dark hair look like grey hair beside the picture of a
character without them: of 79 people without grey hair, 10 were given it with this trait corrected, and 6 without; the
PSNR of 200 unseen characters was the same.
"""
CORRECTOR_STAGES = (2 * STAGES[0], *STAGES[1:])
CONTRAST = 2.0
"""The factor of the difference of both pictures, which is smaller than a picture, at the start of the training."""


def new_corrector(encoder: AllRowsEncoder, seed: int) -> AllRowsEncoder:
    """Return an encoder that corrects the codes of another one, and does not change them yet."""
    corrector = untrained_corrector(encoder.latent_avg, seed)
    _begin_as(encoder, corrector)
    return corrector


def untrained_corrector(latent_avg: Tensor, seed: int) -> AllRowsEncoder:
    """Return an encoder of the sizes of a corrector, for codes with an average [L, D] of equal rows."""
    return new_encoder(latent_avg[0], len(latent_avg), seed, stages=CORRECTOR_STAGES, inputs=6)


def restyle_of(encoder: AllRowsEncoder, corrector: AllRowsEncoder, generator: Generator) -> Restyle:
    """Return the network that corrects an encoder's codes once."""
    return Restyle(corrector, generator, 1, FirstEncoder(encoder, generator))


def encoders_of(restyle: Restyle) -> tuple[AllRowsEncoder, AllRowsEncoder]:
    """Return the first encoder, and the one that corrects its codes."""
    first = restyle.first and restyle.first.encoder
    assert isinstance(first, AllRowsEncoder)
    assert isinstance(restyle.encoder, AllRowsEncoder)
    return first, restyle.encoder


def _begin_as(encoder: AllRowsEncoder, corrector: AllRowsEncoder) -> None:
    """Give the corrector the encoder's trained units; the first of them, which has more inputs, only in part.

    Half of its stem reads the face as the encoder does, and the other half the difference of the two pictures.
    """
    given = TrainedLayers(deepcopy(encoder))
    scale_convolutions(given, for_training)
    layers = TrainedLayers(corrector)
    layers.units[1:].load_state_dict(given.units[1:].state_dict())
    stem = _convolution(given, "stem.0").weight
    face, difference = torch.cat([stem, torch.zeros_like(stem)], 1), CONTRAST * torch.cat([stem, -stem], 1)
    unit = _convolution(given, "units.0.res_layer.1").weight
    with torch.no_grad():
        _convolution(layers, "stem.0").weight.copy_(torch.cat([face, difference]))
        _convolution(layers, "units.0.res_layer.1").weight[:, : unit.shape[1]].copy_(unit)


def _convolution(layers: TrainedLayers, name: str) -> nn.Conv2d:
    layer = layers.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


def train_restyle(
    restyle: Restyle, faces: Faces, people: Faces, schedule: Schedule, state: Path, *, seed: int, compiled: bool = True
) -> None:
    """Train a ReStyle encoder of one step in place; its first encoder and its decoder stay as they are.

    ``people`` are the first of the faces, drawn as people look; ``state`` is the file to resume from.
    """
    place, generator = device(), restyle.decoder
    restyle.eval().requires_grad_(False)
    restyle.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    encoder, corrector = encoders_of(restyle)
    trained, first = TrainedLayers(corrector.train().requires_grad_(True)), TrainedLayers(encoder)
    left_alone = directions_of_traits(generator, LEFT_ALONE)
    error_of = PictureError(generator, PICTURE_WEIGHT, compiled=compiled)
    code_of, correction_of = (torch.compile(layers) if compiled else layers for layers in (first, trained))
    draw = torch.compile(skip_pictures) if compiled else skip_pictures

    def loss(batch: Batch) -> Tensor:
        pictures, codes, shown = (tensor.to(place, non_blocking=True) for tensor in batch)
        face = input_from_face(pictures)
        with torch.no_grad(), mixed_precision(place):
            code = code_of(face).float()
            picture = draw(generator, rows_from_code(generator, code), FACE_SIZE)[-1].to(face.dtype)
        both = torch.cat([face, picture], 1).contiguous(memory_format=torch.channels_last)
        with mixed_precision(place):
            correction = without_directions(correction_of(both).float(), left_alone)
        w = generator.mapping(codes) - generator.mapping.w_avg
        return error_of(code + correction, w, shown)

    batches = batches_of(faces, people, seed, exact_share=EXACT_SHARE)
    optimise(trained, loss, batches, schedule, state, "ReStyle encoder")
    restyle.cpu().eval()
    layer = code_layer_of(corrector)
    with torch.no_grad():
        layer.weight.copy_(without_directions(layer.weight.T, left_alone.cpu()).T)
        layer.bias.copy_(without_directions(layer.bias, left_alone.cpu()))
    restyle.requires_grad_(True)
    scale_convolutions(trained, for_storage)


def without_directions(codes: Tensor, directions: Tensor) -> Tensor:
    """Remove what codes [..., D] have along orthonormal directions [K, D]."""
    return codes - codes @ directions.T @ directions
