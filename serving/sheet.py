"""A sheet of pictures in rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt

import cv2
import numpy as np

from engines.contract.arrays import Picture

GAP = 4
"""White pixels around each picture."""

MAX_IN_SHEET = 1000
"""Largest number of small pictures in a sheet for which a command is asked."""

_NAME_HEIGHT = 24


def sheet_of(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Arrange pictures of one size, row by row: uint8 [H, W, 3] RGB each -> uint8 RGB.

    Without a number of columns the sheet is about three wide and two high.
    """
    columns = min(columns or ceil(sqrt(1.5 * len(pictures))), len(pictures))
    tiles = [np.pad(picture, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255) for picture in pictures]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def named_sheet(pictures: Mapping[str, Picture], columns: int | None = None) -> Picture:
    """Arrange pictures as ``sheet_of`` does, each with its name above it."""
    return sheet_of([_named(name, picture) for name, picture in pictures.items()], columns)


def _named(name: str, picture: Picture) -> Picture:
    tile = np.pad(picture, ((_NAME_HEIGHT, 0), (0, 0), (0, 0)), constant_values=255)
    cv2.putText(tile, name, (2, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def shrunk(picture: Picture, side: int) -> Picture:
    """Shrink a square picture to ``side`` pixels, by averaging; a smaller one stays as it is."""
    if len(picture) <= side:
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
