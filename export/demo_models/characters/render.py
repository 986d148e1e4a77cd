"""Drawing of a character's picture: geometry and surface chosen independently."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Picture
from engines.contract.tensors import FACE_SIZE
from export.demo_models.characters.photo_surface import photo_picture
from export.demo_models.characters.scene import scene_of
from export.demo_models.characters.surface import SAMPLES, surface_of
from export.demo_models.characters.toon_surface import toon_picture
from export.demo_models.faces import PHOTO, Domain


def draw_character(code: NDArray[np.float32], domain: Domain = PHOTO, size: int = FACE_SIZE) -> Picture:
    """Draw a character as the FFHQ crop of its own landmarks, uint8 RGB [size, size, 3]."""
    scene = scene_of(code, domain.structure)
    surface = surface_of(scene, SAMPLES * np.array([[size, 0, 0], [0, size, 0]], np.float64), size)
    texture = np.float32(domain.texture)
    pixels = np.zeros((size, size, 3), np.float32)
    if domain.texture < 1:
        pixels += (1 - texture) * photo_picture(surface)
    if domain.texture > 0:
        pixels += texture * toon_picture(surface)
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)
