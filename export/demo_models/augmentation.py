"""Random changes to renderings of faces, so that an encoder trained on them works on real photographs too.

The alignment of real faces is imprecise, and their light, colours, sharpness and surroundings are those of no
rendering. The code of a face stays the same under these changes, so the encoder learns to see through them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Picture

JITTER = (0.012, 0.02, 1.5)
"""Standard deviations of the crop's shift (a fraction of its side), of its scale, and of its angle in degrees."""
PLAIN_SHARE = 0.25
"""The share of new surroundings that are black or white, like a night or a window behind a person."""
WIDE_HAIR_SHARE = 0.3
"""The share of new surroundings in which hair stands off the head: curls, and long hair over the shoulders."""


@dataclass(frozen=True)
class Spread:
    """How far light and colours differ.

    Attributes:
        exposure: mean and standard deviation of the logarithm of a picture's light.
        cast: standard deviation of the logarithm of each colour's light.
        contrast: standard deviation of the logarithm of the gamma.
        saturation: the least and the greatest saturation; 1 keeps it, and 0 is black-and-white.
    """

    exposure: tuple[float, float]
    cast: float
    contrast: float
    saturation: tuple[float, float]


USUAL = Spread(exposure=(0.0, 0.12), cast=0.03, contrast=0.15, saturation=(0.75, 1.15))
"""The light of most pictures.

With all changes but unusual light, the logarithm of the cheeks' light has a standard deviation of 0.18, and that of red
over green 0.10. In 95 photographed faces they are 0.17 and 0.09. With changes twice as large, the encoder gave nearly
every photographed face skin of the average colour.
"""
UNUSUAL = Spread(exposure=(-0.6, 0.6), cast=0.2, contrast=0.3, saturation=(-0.5, 1.3))
"""Dim and coloured light, and pictures in black-and-white: a saturation below 0 counts as 0."""
UNUSUAL_SHARE = 0.1
"""The share of unusual light."""
HIGHEST_HAIRLINE = 0.1
"""By how much the hairline is raised at most, as a fraction of the side.

A character's hair covers much of the forehead. The bare foreheads of people look like light hair in its place.
"""
WARP = 0.008
"""Standard deviation of the displacement of a face's parts, as a fraction of the picture's side."""

_WALL_TOLERANCE = 3
"""The largest difference between neighbouring pixels of a plain wall, in grey levels of 0..255."""


def jittered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Shift, scale and rotate a picture [H, H, 3] a little, as an imprecise alignment does."""
    side = picture.shape[0]
    shift = JITTER[0] * side * rng.standard_normal(2)
    size, angle = 1 + JITTER[1] * rng.standard_normal(), JITTER[2] * rng.standard_normal()
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, size)
    matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + shift])
    warped = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.uint8, copy=False)


def augmented(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change a rendering [H, H, 3] as cameras, lamps and rooms would, and jitter it."""
    picture = _covered(_with_local_contrast(with_other_surroundings(picture, rng), rng), rng)
    picture = _warped(_relit(picture, rng), rng)
    return _photographed(jittered(picture, rng), rng)


def with_other_surroundings(picture: Picture, rng: np.random.Generator) -> Picture:
    """Replace the wall behind the head by coloured patches or one shade, and sometimes by wide hair before them."""
    side = picture.shape[0]
    wall = _wall(picture)
    patches = rng.integers(0, 256, (int(rng.integers(1, 9)), int(rng.integers(1, 9)), 3), np.uint8)
    if rng.random() < PLAIN_SHARE:
        patches = np.full((1, 1, 3), rng.choice([0, 255]), np.uint8)
    sharp = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_CUBIC
    behind = cv2.resize(patches, (side, side), interpolation=sharp).astype(np.float32)
    if rng.random() < WIDE_HAIR_SHARE:
        hair = _softened(_near_the_head(wall, rng))
        colour = above_forehead(picture).mean((0, 1), np.float32)
        behind += hair * (colour * np.exp(_texture(side, rng))[..., None] - behind)
    return np.asarray(np.clip(picture + _softened(wall) * (behind - picture), 0, 255), np.uint8)


def _wall(picture: Picture) -> NDArray[np.uint8]:
    """Return 255 where the wall is, which is plain and reaches both upper corners, and 0 elsewhere, [H, H]."""
    side = picture.shape[0]
    mask = np.zeros((side + 2, side + 2), np.uint8)
    canvas = picture.copy()  # OpenCV asks for a writable picture, though it fills the mask only
    for corner in ((0, 0), (side - 1, 0)):
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | 255 << 8
        cv2.floodFill(canvas, mask, corner, (0, 0, 0), (_WALL_TOLERANCE,) * 3, (_WALL_TOLERANCE,) * 3, flags)
    return mask[1:-1, 1:-1]


def _near_the_head(wall: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return 255 for parts of the wall next to the head, down to a random height, and 0 elsewhere, [H, H]."""
    side = wall.shape[0]
    cells = int(rng.integers(3, 20))
    reach = _noise(side, (cells, cells), rng) * rng.uniform(0, 0.1) + rng.uniform(0, 0.12)
    reach[round(side * rng.uniform(0.15, 1)) :] = 0
    distance = cv2.distanceTransform(np.ascontiguousarray(wall), cv2.DIST_L2, 3)
    return np.asarray(255 * (distance < side * reach), np.uint8)


def above_forehead(face: Picture) -> Picture:
    """Return the part of an aligned face [H, H, 3] above the forehead, where most people have hair."""
    side = face.shape[0]
    return face[side // 12 : side // 6, side * 2 // 5 : side * 3 // 5]


def _softened(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a mask's values between 0 and 1 with soft borders, [H, H, 1]."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] / np.float32(255), np.float32)


def _noise(side: int, cells: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return normally distributed values of a grid of cells, rows and columns, and smooth ones between them, [H, H]."""
    coarse = rng.standard_normal(cells, np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _warped(picture: Picture, rng: np.random.Generator) -> Picture:
    """Displace the parts of a face a little and raise its hairline: people have other proportions than characters."""
    side = picture.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    dx, dy = (WARP * side * _noise(side, (6, 6), rng) for _ in "xy")
    above_the_brows = np.sin(np.pi * np.clip(y / side / 0.36, 0, 1)) ** 2
    dy += np.float32(rng.uniform(0, HIGHEST_HAIRLINE) * side) * above_the_brows
    warped = cv2.remap(picture, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.uint8, copy=False)


def _with_local_contrast(picture: Picture, rng: np.random.Generator) -> Picture:
    """Strengthen differences from the surroundings: skin and eyes of people have more of them than renderings."""
    blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 10))
    more = rng.uniform(0, 1.5)
    return np.asarray(cv2.addWeighted(picture, 1 + more, blurred, -more, 0), np.uint8)


def _covered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cover small parts by spots and lines in colours of the picture: hands, strands of hair, lashes, jewellery."""
    side = picture.shape[0]
    canvas = picture.copy()
    for _ in range(int(rng.integers(0, 4))):
        cv2.fillPoly(canvas, [_ellipse(side, rng, 0.12)], _shade(picture, rng), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 9))):
        corners = _ellipse(side, rng, 0.3)
        arc = corners[: int(rng.integers(2, len(corners) // 2 + 3))]
        cv2.polylines(canvas, [arc], False, _shade(picture, rng), int(rng.integers(1, 4)), cv2.LINE_AA)
    return canvas


def _shade(picture: Picture, rng: np.random.Generator) -> list[float]:
    """Return a lighter or darker shade of the colour of a random pixel."""
    y, x = rng.integers(0, picture.shape[0], 2)
    shade: list[float] = np.clip(picture[y, x] * np.exp(0.5 * rng.standard_normal()), 0, 255).tolist()
    return shade


def _ellipse(side: int, rng: np.random.Generator, largest: float) -> NDArray[np.int32]:
    """Return the corners of an ellipse anywhere in the picture, whose half axes are up to ``largest`` of its side."""
    centre = rng.integers(0, side, 2)
    axes = np.maximum(side * largest * rng.random(2), 2)
    corners = cv2.ellipse2Poly(centre.tolist(), axes.astype(int).tolist(), int(rng.integers(0, 180)), 0, 360, 10)
    return np.asarray(corners, np.int32)


def _relit(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change exposure, contrast, colour and fall of the light, saturation and texture."""
    side, spread = picture.shape[0], UNUSUAL if rng.random() < UNUSUAL_SHARE else USUAL
    gamma = np.exp(spread.contrast * rng.standard_normal())
    curved = cv2.LUT(picture, np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(gamma))
    gains = np.exp(rng.normal(*spread.exposure) + spread.cast * rng.standard_normal(3))
    saturation = max(rng.uniform(*spread.saturation), 0)
    to_grey = np.full((3, 3), 1 / 3)
    colours = 255 * gains[:, None] * (to_grey + saturation * (np.eye(3) - to_grey))
    light = np.exp(_fall(side, rng) + (_texture(side, rng) - _shadow(side, rng))[..., None])
    return np.asarray(np.clip(cv2.transform(curved, colours) * light, 0, 255), np.uint8)


def _fall(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the logarithm of a light that falls, and changes its colour, from one side to the other, [H, H, 3]."""
    across, down = (0.2 * rng.standard_normal((2, 1)) + 0.04 * rng.standard_normal((2, 3))).astype(np.float32)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)[:, None]
    return np.asarray(across * ramp + (down * ramp)[:, None], np.float32)


def _shadow(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the negative logarithm of a shadow with a soft or sharp border, [H, H]; half of all have none."""
    shade = np.zeros((side, side), np.float32)
    if rng.random() < 0.5:
        cv2.fillPoly(shade, [_ellipse(side, rng, 0.6)], (rng.uniform(0, 0.8),))
        shade = cv2.GaussianBlur(shade, (0, 0), rng.uniform(1, side / 12)).astype(np.float32, copy=False)
    return shade


def _texture(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the logarithm of a random texture, [H, H]: curls, strands and make-up, which no rendering has."""
    noise = _noise(side, (int(rng.integers(3, 60)), int(rng.integers(3, 60))), rng)
    return np.asarray(np.float32(rng.uniform(0, 0.15)) * noise, np.float32)


def _photographed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lose detail as small, blurred, noisy or strongly compressed photographs do."""
    side = picture.shape[0]
    if rng.random() < 0.5:
        small = int(rng.integers(side // 5, side))
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    noise: NDArray[np.float32] = rng.standard_normal((side, side, 1), np.float32) * np.float32(rng.uniform(0, 10))
    noisy = np.asarray(np.clip(picture + noise, 0, 255), np.uint8)
    if rng.random() < 0.5:
        _, jpeg = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        noisy = cv2.imdecode(jpeg, cv2.IMREAD_COLOR).astype(np.uint8, copy=False)
    return noisy
