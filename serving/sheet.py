"""A sheet of pictures in rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import cv2
import numpy as np

from engines.contract.arrays import Picture

GAP = 4
"""White pixels around each picture."""


def sheet_of(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Arrange pictures of one size, row by row: uint8 [H, W, 3] RGB each -> uint8 RGB.

    Without a number of columns the sheet is about three wide and two high.
    """
    columns = min(columns or ceil(sqrt(1.5 * len(pictures))), len(pictures))
    tiles = [np.pad(picture, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255) for picture in pictures]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def shrunk(picture: Picture, side: int) -> Picture:
    """Shrink a square picture to ``side`` pixels, by averaging; a smaller one stays as it is."""
    if len(picture) <= side:
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
