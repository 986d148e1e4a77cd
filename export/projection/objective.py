"""What a projection minimises: how far a generator's picture is from a face."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from export.measures.lpips import Lpips
from export.networks.encoder import Encoder
from export.networks.restyle import face_sized

SCALES = 5
"""Number of sizes at which pixels are compared: 256, 128, ..., 16."""

FEATURE_WEIGHT = 0.1
"""Weight of the encoder's features beside the pixels, as relative errors are larger than the pixels' squared ones."""


class Objective:
    """The distance of pictures from one face.

    Pixels are compared at several scales. LPIPS is added to them, as in Image2StyleGAN (Abdal et al., arXiv
    1904.03189), or else, if there is an encoder, the relative squared error of the maps from which it reads its codes.
    """

    def __init__(self, face: Tensor, *, lpips: Lpips | None = None, encoder: Encoder | None = None) -> None:
        """Take the face, float32 [1, 3, 256, 256] in -1..1, and at most one network; the encoder takes 3 channels."""
        self._face, self._lpips = face, lpips
        self._encoder = None if lpips else encoder
        with torch.no_grad():
            self._scales = _scales(face)
            self._unit_features = lpips.unit_features(face) if lpips else []
            self._maps = self._encoder.maps(face) if self._encoder else []

    def __call__(self, image: Tensor) -> Tensor:
        """Return the distance of an image [1, 3, R, R] in -1..1, a scalar; larger images are averaged first."""
        picture = face_sized(image)
        distance = _mean_square(_scales(picture), self._scales)
        if self._lpips:
            distance = distance + self._lpips.distance(self._lpips.unit_features(picture), self._unit_features)[0]
        if self._encoder:
            relative = [
                (got - goal).square().mean() / goal.square().mean()
                for got, goal in zip(self._encoder.maps(picture), self._maps, strict=True)
            ]
            distance = distance + FEATURE_WEIGHT * torch.stack(relative).mean()
        return distance

    def psnr(self, image: Tensor) -> float:
        """Return the PSNR of an image in dB, at the size of a face."""
        error = (face_sized(image).clamp(-1, 1) - self._face).square().mean()
        return float(10 * torch.log10(4 / error))


def _scales(picture: Tensor) -> list[Tensor]:
    scales = [picture]
    while len(scales) < SCALES:
        scales.append(functional.avg_pool2d(scales[-1], 2))
    return scales


def _mean_square(got: Sequence[Tensor], goal: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a - b).square().mean() for a, b in zip(got, goal, strict=True)]).mean()
