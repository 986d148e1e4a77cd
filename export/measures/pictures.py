"""Pictures in the forms that the measures take, and their structural similarity."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.contract.arrays import Picture, Pictures

MEASURED_SIDE = 256
"""Side in pixels to which larger pictures are reduced before perceptual distances, as StyleGAN2's code does."""


def resized(pictures: Pictures, side: int) -> Pictures:
    """Return square pictures with another side: means of areas where it falls, bilinear where it grows."""
    if pictures.shape[1] == side:
        return pictures
    way = cv2.INTER_AREA if pictures.shape[1] > side else cv2.INTER_LINEAR
    return np.stack([cv2.resize(picture, (side, side), interpolation=way) for picture in pictures], dtype=np.uint8)


def centred(pictures: Pictures) -> Tensor:
    """Convert pictures, uint8 [N, R, R, 3] -> float32 [N, 3, R, R] in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def reduced(output: Tensor) -> Tensor:
    """Reduce [N, 3, R, R] to ``MEASURED_SIDE`` by the means of squares; smaller pictures stay as they are."""
    factor = output.shape[-1] // MEASURED_SIDE
    return functional.avg_pool2d(output, factor) if factor > 1 else output


def ssim(a: Picture, b: Picture) -> float:
    """Return the structural similarity (Wang et al. 2004) of two uint8 RGB pictures [H, W, 3], 1 if they are equal.

    The window is a Gaussian with a standard deviation of 1.5 pixels.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)

    def mean(picture: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.GaussianBlur(picture, (11, 11), 1.5).astype(np.float64)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
