"""Composers: from a frame and its toonified faces to the picture that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import cv2
import numpy as np

from serving.faces.alignment import Photo, Placement, Points, side_of
from serving.faces.landmarks import Landmarker
from serving.faces.outline import MaskKind, outline_mask
from serving.faces.paste import FEATHER, Mask, paste_into, soft_ellipse
from serving.video.frames import Frame
from serving.video.tracking import sightings_from_faces

_CROP_SIZES = (256, 512, 1024)

_MAX_SEARCHED_FRAMES = 50
"""Largest number of frames searched for a face before the first one is written: a second or two of a camera."""


@dataclass(frozen=True, eq=False)
class ToonFace:
    """A toonified face of one frame.

    ``track``: the number of the face's track, constant while the face is in sight.
    ``placement``: the placement of its crop in the frame.
    ``seen``: True if it was detected in this frame, False if it is only held in its place.
    ``opacity``: 0..1; below 1 while the face fades.
    ``crop``: the aligned face, uint8 [256, 256, 3].
    ``picture``: its toonified picture, uint8 [R, R, 3].
    ``outline``: its outline in the crop, float64 [36, 2] as fractions of the side; None without a mesh.
    """

    track: int
    placement: Placement
    seen: bool
    opacity: float
    crop: Photo
    picture: Photo
    outline: Points | None = None


class Masker(Protocol):
    """Makes the mask of a face. Any callable of this form is one; it is used by one thread at a time."""

    def __call__(self, crop: Photo) -> Mask:
        """Return the opacity of the picture over a crop, uint8 [256, 256, 3] RGB: float32 [S, S], 0..1, soft-edged."""
        ...


class Composer(Protocol):
    """Makes the picture to show. Any callable of this form is one; it is used by one thread at a time."""

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        """Return the picture to show, uint8 [H', W', 3], for a frame uint8 [H, W, 3], which is not modified.

        H' and W' are the same for every frame of a video.
        """
        ...


@dataclass(frozen=True)
class Paste:
    """Composer that pastes every face in its place; a frame without faces is returned as it is.

    ``feather``, ``opacity``, ``colour_match``: see ``serving.faces.paste``.
    ``masker``: makes the mask of each face; None uses ``mask``.
    ``mask``: "ellipse", or "outline" for the face's own outline, where the landmarker gives a mesh.
    """

    feather: float = FEATHER
    opacity: float = 1.0
    colour_match: float = 0.0
    masker: Masker | None = None
    mask: MaskKind = "ellipse"

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        if not faces:
            return pixels
        result = pixels.copy()
        for face in faces:
            paste_into(
                result,
                face.picture,
                face.placement,
                mask=self._mask_of(face),
                opacity=self.opacity * face.opacity,
                colour_match=self.colour_match,
            )
        return result

    def _mask_of(self, face: ToonFace) -> Mask:
        if self.masker:
            return self.masker(face.crop)
        if self.mask == "outline" and face.outline is not None:
            return outline_mask(face.outline)
        return soft_ellipse(self.feather)


@dataclass(frozen=True)
class SideBySide:
    """Composer that shows the frame on the left and the result of ``composer``, of equal height, on the right."""

    composer: Composer = Paste()

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        return np.hstack([pixels, self.composer(pixels, faces)])


@dataclass(frozen=True)
class FirstFace:
    """Composer that shows the face that has been in sight longest, uint8 [size, size, 3]; black if there is none."""

    size: int = 512

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        if not faces:
            return np.zeros((self.size, self.size, 3), np.uint8)
        picture = faces[0].picture
        interpolation = cv2.INTER_AREA if self.size < len(picture) else cv2.INTER_CUBIC
        return cv2.resize(picture, (self.size, self.size), interpolation=interpolation).astype(np.uint8, copy=False)


def crop_size_for(frames: Iterable[Frame], landmarker: Landmarker, resolution: int) -> int:
    """Choose the size for ``FirstFace`` from the face that it will show: the largest one of the first frame with any.

    The size is the smallest of 256, 512 and 1024 that shows the face no smaller than the frame does, or 1024. It is 512
    if there is no face in the first frames, and never exceeds ``resolution``, the side of the generator's pictures.
    """
    for number, frame in enumerate(islice(frames, _MAX_SEARCHED_FRAMES)):
        sightings = sightings_from_faces(landmarker(frame.pixels, str(number)))
        if sightings:
            enough = [size for size in _CROP_SIZES if size >= side_of(sightings[0].placement)]
            return min(*enough, _CROP_SIZES[-1], resolution)
    return min(FirstFace.size, resolution)


def composed_size(composer: Composer, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a composer's pictures for frames of ``size``, by composing a black frame."""
    height, width = composer(np.zeros((size[1], size[0], 3), np.uint8), ()).shape[:2]
    return width, height
