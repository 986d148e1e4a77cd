"""Training of the demo's encoder: a rendered photograph -> the code from which the base generator draws it.

The code of a training picture is known, so the encoder first regresses codes, then it is trained to give codes whose
pictures are right: what no picture shows, such as the frames of a person without glasses, no longer matters then. The
network is pSp's ``BackboneEncoderUsingLastLayerIntoWPlus``: one linear layer reads the last map, and another gives all
rows. The latter is fixed to repeat the code in every row, so that every code lies in W. Style heads, as those of e4e,
are as wide as w, and rectified: at a width of 46 half of their channels were inactive for good, and the codes
explained 47 % of the variance of z, where ridge regression on their input explained 64 % (96 unseen characters).

Most residual units keep their initial residual of 0: they are identities and are skipped in training. All units of the
first stage are among them, so that the stem is computed at every second pixel only. Pictures are changed as photographs
differ from renderings (``augmentation.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.arrays import Picture
from engines.contract.tensors import ISF_ATTRIBUTES
from export.demo_models.augmentation import augmented, jittered
from export.demo_models.dataset import Faces
from export.demo_models.generator_training import skip_pictures, target_from_pictures
from export.demo_models.training import Schedule, device, mixed_precision, optimise
from export.demo_models.traits import INDEX, TRAITS, TraitCodes
from export.networks.encoder import AllRowsEncoder, input_from_face
from export.networks.generator import Generator
from export.networks.trunk import TrunkWidths
from export.weights import STAGE_UNITS

STAGES = (16, 32, 64, 128)
TRAINED_UNITS = (3, 4, 7, 8, 9, 10, 11, 21, 22, 23)
"""The trained residual units; those that change the number of channels must be among them."""
BATCH = 16
CODE_SCHEDULE = Schedule(steps=4000, rate=2e-3, matrix_rate=1e-3)
PICTURE_SCHEDULE = Schedule(steps=6000, rate=1e-3, matrix_rate=5e-4)
TRAINED_SIZE = 0.33
"""Root mean square of the weights of convolutions that are not rescaled for storage, after training with Muon."""
CODE_GAIN = 0.04
"""The factor of the code layer's output, which makes its weights about as large as those of convolutions.

Muon changes both by the same amount. With 0.013 the layer's root mean square was 1, and it followed the others too
slowly: after 10,372 steps, ridge regression on its input explained 69 % of the variance of z, the layer itself 58 %.
"""
PICTURE_SIDE = 64
"""The side of the pictures that are compared, in pixels; the generator's layers above it are not computed."""
PICTURE_WEIGHT = 60.0
"""Weight of the pictures' squared error in -1..1, relative to that of codes."""
DECIDED = (
    *ISF_ATTRIBUTES, "beard", "hair_length", "teeth", "hair_light", "hair_red", "skin_light", "yaw", "mouth_opening",
)  # fmt: skip
"""The traits whose estimates shall differ as much as the traits themselves.

An encoder that is unsure gives an average: a little beard, hair between light and dark. These traits are what one looks
for in a person's character. For those that no picture tells, such as the frames of a face without glasses, the average
is best.
"""
SPREAD_WEIGHT = 2.0
"""Weight of the squared difference of these spreads, relative to that of codes."""

CHANGED_SHARE = 0.6
"""The share of pictures that are changed like photographs; the others keep the encoder exact on renderings."""
PEOPLE_SHARE = 0.6
"""The share of the changed pictures that show a person instead of a character, if the face was drawn as one."""
SELDOM = {"glasses": 0.25, "age": 0.15}
"""How often faces with these attributes are shown, relative to others.

Half of the characters have glasses, and half have grey hair; few people in photographs do. An encoder that is unsure
gives what is frequent.
"""
DARK_HAIR = 0.3
"""How far the mean of the trait "hair_light" is moved: most people's hair is darker than most characters'."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Pictures uint8 [N, 256, 256, 3], their codes, and pictures without changes, float32 [N, 3, 64, 64] in -1..1."""


def new_encoder(
    w_avg: Tensor, rows: int, seed: int, *, stages: tuple[int, int, int, int] = STAGES, inputs: int = 3
) -> AllRowsEncoder:
    """Return an untrained encoder of the demo's size that outputs the average face's code.

    Its rows are the code layer's output times ``CODE_GAIN``; ``inputs`` is the number of channels of what it reads.
    """
    torch.manual_seed(seed)
    widths = [width for width, units in zip(stages, STAGE_UNITS["irse50"], strict=True) for _ in range(units)]
    squeezed = tuple(width // 8 if unit in TRAINED_UNITS else 2 for unit, width in enumerate(widths))
    encoder = AllRowsEncoder(TrunkWidths(stages[0], stages, squeezed, inputs), rows, len(w_avg))
    code_layer = code_layer_of(encoder)
    with torch.no_grad():
        encoder.latent_avg.copy_(w_avg.expand(rows, -1))
        for parameter in code_layer.parameters():
            parameter.zero_()
        identity = torch.eye(len(w_avg)).repeat(rows, 1)
        encoder.linear.weight.copy_(CODE_GAIN * sqrt(len(w_avg)) * identity)
        for index, unit in enumerate(encoder.body):
            if index not in TRAINED_UNITS:
                for name, residual in unit.named_parameters():
                    if name.startswith("res_layer."):
                        residual.zero_()
    return encoder


def code_layer_of(encoder: AllRowsEncoder) -> nn.Linear:
    """Return the layer that gives the code from means of the last map."""
    *_, layer = encoder.output_layer_2
    assert isinstance(layer, nn.Linear)
    return layer


def train_encoder(
    encoder: AllRowsEncoder,
    generator: Generator,
    faces: Faces,
    people: Faces,
    schedules: tuple[Schedule, Schedule],
    state: Path,
    *,
    seed: int,
    compiled: bool = True,
) -> None:
    """Train an encoder in place for a frozen generator, on codes, then on pictures, too.

    ``people`` are the first of the faces, drawn as people look; ``state`` names the files to resume from.
    """
    trained = TrainedLayers(encoder.train())
    place = device()
    trained.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    generator.to(place).requires_grad_(False)
    code_of = torch.compile(trained) if compiled else trained
    error_of = PictureError(generator, PICTURE_WEIGHT, compiled=compiled)

    def code_loss(batch: Batch) -> Tensor:
        predicted, w, _ = _predicted(code_of, generator, batch)
        return (predicted - w).square().mean()

    def picture_loss(batch: Batch) -> Tensor:
        return error_of(*_predicted(code_of, generator, batch))

    stages = zip(schedules, (code_loss, picture_loss), ("codes", "pictures"), strict=True)
    for index, (schedule, loss, name) in enumerate(stages):
        file = state.with_name(f"{state.stem}-{name}{state.suffix}")
        optimise(trained, loss, batches_of(faces, people, seed + index), schedule, file, f"encoder, {name}")
    generator.cpu().requires_grad_(True)
    encoder.cpu().eval()
    scale_convolutions(trained, for_storage)


class PictureError:
    """The loss of estimated codes: their error, that of their pictures, and the spread that they miss."""

    def __init__(self, generator: Generator, picture_weight: float, *, compiled: bool) -> None:
        self._generator, self._picture_weight = generator, picture_weight
        self._directions = directions_of_traits(generator, DECIDED)
        self._draw = torch.compile(skip_pictures) if compiled else skip_pictures

    def __call__(self, predicted: Tensor, w: Tensor, shown: Tensor) -> Tensor:
        """Return the loss, []; codes [N, D] are without the average, and the pictures shall be ``shown``."""
        rows = rows_from_code(self._generator, predicted)
        with mixed_precision(predicted.device):
            made = self._draw(self._generator, rows, PICTURE_SIDE)[-1]
        error = (predicted - w).square().mean() + self._picture_weight * (made.float() - shown).square().mean()
        return error + SPREAD_WEIGHT * missing_spread(predicted, w, self._directions)


def rows_from_code(generator: Generator, code: Tensor) -> Tensor:
    """Return codes without the average [N, D] as rows of W+ [N, L, D]."""
    return (generator.mapping.w_avg + code)[:, None].expand(-1, generator.rows, -1)


def _predicted(
    code_of: Callable[[Tensor], Tensor], generator: Generator, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Return estimated and true codes, both without the average [N, D], and the pictures to compare."""
    place = generator.mapping.w_avg.device
    pictures, codes, shown = (tensor.to(place, non_blocking=True) for tensor in batch)
    w = generator.mapping(codes) - generator.mapping.w_avg
    with mixed_precision(place):
        predicted = code_of(input_from_face(pictures))
    return predicted.float(), w, shown


def directions_of_traits(generator: Generator, traits: Sequence[str]) -> Tensor:
    """Return the unit vectors in W along which traits vary, [traits, D]; the mapping network is a reflection."""
    units = torch.eye(len(TRAITS), device=generator.mapping.w_avg.device)
    return functional.normalize(generator.mapping(units[[INDEX[trait] for trait in traits]]))


def missing_spread(predicted: Tensor, w: Tensor, directions: Tensor) -> Tensor:
    """Return the squared difference of the standard deviations of estimated and true codes [N, D] in a batch, [].

    It is summed over the directions [traits, D] and divided by D, as the mean squared error of codes is.
    """
    estimated, true = ((codes @ directions.T).std(0) for codes in (predicted, w))
    return (estimated - true).square().sum() / w.shape[1]


def scale_convolutions(trained: TrainedLayers, scale_of: Callable[[nn.Conv2d, nn.BatchNorm2d], Tensor]) -> None:
    """Rescale each convolution before a normalisation by its scale, [O] or []; the network's output does not change."""
    layers = [trained.stem, *(branch for unit in trained.units for branch in unit.children())]
    for convolution, norm in (pair for layer in layers for pair in pairwise(layer.children())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                scale = scale_of(convolution, norm).expand(len(convolution.weight))
                convolution.weight *= scale[:, None, None, None]
                norm.running_mean *= scale
                norm.running_var.copy_((norm.running_var + norm.eps) * scale.square() - norm.eps)


def for_storage(_: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Return the scales that give a convolution's output a variance of 1, within float16's range."""
    assert norm.running_var is not None
    return torch.rsqrt(norm.running_var + norm.eps)


def for_training(convolution: nn.Conv2d, _: nn.BatchNorm2d) -> Tensor:
    """Return the scale that gives a convolution's weights the size that they had in training.

    Muon changes weights by an absolute amount, which would overwrite those that were made small for storage.
    """
    return TRAINED_SIZE / convolution.weight.square().mean().sqrt().clamp_min(1e-6)  # all may be 0


class TrainedLayers(nn.Module):
    """The trained layers of an encoder: they give a row's code without the average latent, skipping identity units."""

    def __init__(self, encoder: AllRowsEncoder) -> None:
        super().__init__()
        self.stem = encoder.input_layer
        self.units = nn.ModuleList(encoder.body.get_submodule(str(index)) for index in TRAINED_UNITS)
        self.head = encoder.output_layer_2

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, 256, 256] -> [N, D]
        x = _with_stride(2, self.stem, x)
        for unit in self.units:
            x = unit(x)
        code: Tensor = CODE_GAIN * self.head(x)
        return code


def _with_stride(stride: int, layers: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution with another stride than its own, and then the layers after it."""
    convolution, *others = layers.children()
    assert isinstance(convolution, nn.Conv2d)
    x = functional.conv2d(x, convolution.weight, stride=stride, padding=convolution.padding)
    out: Tensor = nn.Sequential(*others)(x)
    return out


def frequencies_of(codes: TraitCodes) -> NDArray[np.float64]:
    """Return how often each face is shown, float64 [N] with a sum of 1: about as often as people look like it."""
    frequencies = np.exp(-DARK_HAIR * codes[:, INDEX["hair_light"]].astype(np.float64))
    for attribute, share in SELDOM.items():
        frequencies[codes[:, INDEX[attribute]] > 0] *= share
    return np.asarray(frequencies / frequencies.sum(), np.float64)


def batches_of(faces: Faces, people: Faces, seed: int, *, exact_share: float = 0) -> Iterator[Batch]:
    """Yield batches of faces without end, see ``frequencies_of`` and ``training_picture``."""
    rng = np.random.default_rng(seed)
    frequencies = frequencies_of(faces.codes)
    while True:
        chosen = np.sort(rng.choice(len(faces.pictures), BATCH, replace=False, p=frequencies))
        pictures = np.stack([training_picture(faces, people, index, rng, exact_share) for index in chosen])
        small = target_from_pictures(faces.pictures[chosen], PICTURE_SIDE)
        yield torch.from_numpy(pictures), torch.from_numpy(faces.codes[chosen]), small


def training_picture(
    faces: Faces, people: Faces, index: int, rng: np.random.Generator, exact_share: float = 0
) -> Picture:
    """Return a picture of a face as it is shown to an encoder, uint8 RGB [256, 256, 3].

    ``CHANGED_SHARE`` of the pictures are changed, ``exact_share`` are as rendered, and the others are jittered.
    """
    chosen = rng.random()
    if chosen < exact_share:
        return np.asarray(faces.pictures[index])
    if chosen < 1 - CHANGED_SHARE:
        return jittered(faces.pictures[index], rng)
    as_person = index < len(people.pictures) and rng.random() < PEOPLE_SHARE
    return augmented((people if as_person else faces).pictures[index], rng)
