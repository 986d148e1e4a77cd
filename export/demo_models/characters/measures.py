"""The measures of a character's picture that layer swapping changes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import FACE_SIZE
from export.demo_models.characters.head import read_head
from export.demo_models.characters.person import Person
from export.demo_models.characters.scene import crop_of_landmarks, landmarks, projected
from export.demo_models.characters.shape import Figure, posed
from export.demo_models.domains import Domain
from export.demo_models.traits import INDEX

CHIN = (0.36, -0.93, 0.10)
"""A place on the mean head beside the chin's tip, image-right, in decimetres."""
JAW = (0.57, -0.65, -0.34)
"""A place on the mean head's outline at the height of the mouth, image-right, in decimetres."""


def measures_of_character(code: NDArray[np.float32], domain: Domain) -> NDArray[np.float32]:
    """Return a character's ``MEASURES``, float32 [4], as if it looked straight ahead, eyes open and mouth closed."""
    still = code.copy()
    still[[INDEX[name] for name in ("eye_opening", "yaw", "pitch", "mouth_opening")]] = 0
    figure = Figure(Person(still), domain.structure)
    points = posed(figure.vertices, figure.person)
    crop = crop_of_landmarks(landmarks(points, figure))
    flat = (projected(points) @ crop[:, :2].T) * FACE_SIZE
    lids = flat[figure.head.margins][:, :, 1]
    widths = [np.abs(np.diff(flat[list(_pair(place)), 0])).item() for place in (CHIN, JAW)]
    return np.array([np.ptp(lids, axis=1).mean(), *widths, domain.texture], np.float32)


@cache
def _pair(place: tuple[float, float, float]) -> tuple[int, int]:
    """Return the mean head's vertices that are nearest to a place and to its mirror image."""
    head = read_head()
    right, left = (int(np.argmin(((head.vertices - np.multiply(place, (side, 1, 1))) ** 2).sum(1))) for side in (1, -1))
    return right, left
