"""Drawing of a character's picture: geometry and surface chosen independently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Picture
from engines.contract.tensors import FACE_SIZE
from export.demo_models.characters.person import CHARACTER, Variation
from export.demo_models.characters.photo_surface import photo_picture
from export.demo_models.characters.rasteriser import Values
from export.demo_models.characters.scene import landmarks, scene_of
from export.demo_models.characters.surface import SAMPLES, Surface, surface_of
from export.demo_models.characters.toon_surface import toon_picture
from export.demo_models.domains import PHOTO, Domain
from serving.faces.alignment import Points


def draw_character(
    code: NDArray[np.float32], domain: Domain = PHOTO, size: int = FACE_SIZE, *, variation: Variation = CHARACTER
) -> Picture:
    """Draw a character as the FFHQ crop of its own landmarks, uint8 RGB [size, size, 3]."""
    scene = scene_of(code, domain.structure, variation)
    surface = surface_of(scene, SAMPLES * np.array([[size, 0, 0], [0, size, 0]], np.float64), size)
    return _rounded(_coloured(surface, domain.texture, None))


def draw_character_into(
    background: Picture,
    code: NDArray[np.float32],
    placement: NDArray[np.float64],
    domain: Domain = PHOTO,
    *,
    rest: NDArray[np.float32] | None = None,
) -> tuple[Picture, Points]:
    """Draw a character in front of a background.

    Args:
        background: uint8 RGB [H, W, 3].
        code: the face's traits, float32 [traits].
        placement: placement of the face's FFHQ crop, as defined in ``serving.faces.alignment``, [2, 3].
        domain: geometry and surface.
        rest: the same face at rest, whose points are aligned and returned, so that speaking does not move the head.

    Returns:
        The picture, uint8 RGB [H, W, 3], and the face's five points, [5, 2] in pixels.
    """
    height, width = background.shape[:2]
    size = max(height, width)
    size += size % 2
    behind = np.zeros((size, size, 3), np.float32)
    behind[:height, :width] = background.astype(np.float32) / 255
    scene = scene_of(code, domain.structure)
    aligned = scene if rest is None else scene_of(rest, domain.structure)
    scene = replace(scene, placement=aligned.placement)
    # A placement counts pixels from the first one's centre, samples are counted from its corner.
    matrix = SAMPLES * (placement + np.array([[0, 0, 0.5], [0, 0, 0.5]]))
    picture = _rounded(_coloured(surface_of(scene, matrix, size), domain.texture, behind)[:height, :width])
    crop = landmarks(aligned.points, aligned.figure) @ aligned.placement[:, :2].T + aligned.placement[:, 2]
    return picture, crop @ placement[:, :2].T + placement[:, 2]


def _coloured(surface: Surface, texture: float, background: Values | None) -> Values:
    """Mix the two surfaces, RGB in 0..1, [size, size, 3]; without a background, each has its own wall."""
    pixels = np.zeros((surface.size, surface.size, 3), np.float32)
    if texture < 1:
        pixels += np.float32(1 - texture) * photo_picture(surface, background)
    if texture > 0:
        pixels += np.float32(texture) * toon_picture(surface, background)
    return pixels


def _rounded(pixels: Values) -> Picture:
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)
