"""The faces of a picture, encoded once: they are rendered anew for each blend that is tried, by the generator alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from engines.contract.arrays import AnyArray, Picture, Pictures
from serving.controls import Style
from serving.faces.alignment import Photo, Placement
from serving.faces.paste import paste_into
from serving.sheet import named_sheet, shrunk
from serving.toonifier import Toonifier

PREVIEW_SIDE = 1280
"""Longest side in pixels of a photograph into which faces are pasted while a slider is moved."""

SHEET_SIDE = 512
"""Largest side of the pictures of a sheet, in pixels."""


@dataclass(frozen=True)
class FoundFaces:
    """A few faces of a photograph, the largest first: their placements, and their crops uint8 [N, 256, 256, 3]."""

    placements: tuple[Placement, ...]
    crops: Pictures


class EncodedFaces:
    """The faces of a photograph and their codes; threads may share them.

    Args:
        toonifier: encodes and renders; the caller closes it.
        found: the faces.
        photo: the photograph into which they are pasted; without it the first one is shown alone.
    """

    def __init__(self, toonifier: Toonifier, found: FoundFaces, photo: Photo | None) -> None:
        self._toonifier, self._found = toonifier, found
        self._codes = toonifier.encode(found.crops)
        self._scale = min(PREVIEW_SIDE / max(photo.shape[:2]), 1.0) if photo is not None else 1.0
        self._photo = None if photo is None else _resized(photo, self._scale)

    def toonified(self, style: Style) -> Photo:
        """Render the faces, and return the photograph with them, at most ``PREVIEW_SIDE`` wide and high; or the first.

        Raises:
            RequestError: the toonifier refuses the style.
            ServerError, EngineError: the toonifier fails.
        """
        if self._photo is None:
            return self.picture(style)
        result = self._photo.copy()
        for picture, placement in zip(self._rendered(style, len(self._codes)), self._found.placements, strict=True):
            paste_into(result, picture, _scaled(placement, self._scale))
        return result

    def picture(self, style: Style) -> Picture:
        """Render the first face alone: uint8 [R, R, 3]; raises as ``toonified`` does."""
        picture: Picture = self._rendered(style, 1)[0]
        return picture

    def sheet(self, style: Style, r_swaps: Sequence[int]) -> Picture:
        """Arrange the first face and its pictures for each r_swap in two rows, each with its name above it.

        Raises:
            RequestError: the style's model is not live; or see ``toonified``.
        """
        pictures = {
            f"r_swap {r_swap}" if r_swap >= 4 else "base": self.picture(
                replace(style, r_swap=r_swap, blend=None, alpha=None)
            )
            for r_swap in r_swaps
        }
        side = min(SHEET_SIDE, *map(len, pictures.values()))
        face = np.asarray(cv2.resize(self._found.crops[0], (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        shown = {"face": face, **{name: shrunk(picture, side) for name, picture in pictures.items()}}
        return named_sheet(shown, columns=(len(shown) + 1) // 2)

    def _rendered(self, style: Style, count: int) -> Pictures:
        shown = self._shown if style.keeps else None
        return self._toonifier.render(self._codes[:count], style, None if shown is None else shown[:count])

    @cached_property
    def _shown(self) -> AnyArray | None:
        """The attributes that the faces show [N, A]; None without a classifier."""
        return self._toonifier.read_attributes(self._found.crops)


def _resized(photo: Photo, scale: float) -> Photo:
    height, width = (max(round(scale * length), 1) for length in photo.shape[:2])
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(placement: Placement, scale: float) -> Placement:
    """Return the placement in a photograph that was resized; pixel indices count from the centre of the first pixel."""
    return np.column_stack([scale * placement[:, :2], scale * (placement[:, 2] + 0.5) - 0.5])
