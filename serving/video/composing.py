"""From the frame and its toonified faces to the picture that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import cv2
import numpy as np

from serving.faces.alignment import Photo, Placement, side_of
from serving.faces.landmarks import Landmarker
from serving.faces.paste import FEATHER, Mask, paste_into, soft_ellipse
from serving.video.frames import Frame
from serving.video.tracking import placements_from_faces

_CROP_SIZES = (256, 512, 1024)

_MAX_SEARCHED_FRAMES = 50
"""Frames in which a face is looked for before the first is written: a second or two of a camera."""


@dataclass(frozen=True, eq=False)
class ToonFace:
    """A face of one frame.

    ``track``: its number, the same while it is in sight. ``placement``: of its crop in the frame. ``seen``: whether it
    was found in this very frame, and not just held in its place. ``opacity``: 1, and less while it fades.
    ``crop``: uint8 [256, 256, 3], what was toonified. ``picture``: uint8 [R, R, 3], what came of it.
    """

    track: int
    placement: Placement
    seen: bool
    opacity: float
    crop: Photo
    picture: Photo


class Masker(Protocol):
    """Any callable of this form serves; one is used by one thread at a time."""

    def __call__(self, crop: Photo) -> Mask:
        """What of a crop, uint8 [256, 256, 3] RGB, its picture shall cover: float32 [S, S], 0..1, soft at its edge."""
        ...


class Composer(Protocol):
    """Any callable of this form serves; one is used by one thread at a time."""

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        """The picture to show, uint8 [H', W', 3], for a frame uint8 [H, W, 3]; the frame itself stays as it is.

        H' and W' are the same for every frame of a video.
        """
        ...


@dataclass(frozen=True)
class Paste:
    """Every face back in its place; a frame without faces is returned as it is.

    ``feather``, ``opacity``, ``colour_match``: see ``serving.faces.paste``. ``masker``: in place of the soft ellipse.
    """

    feather: float = FEATHER
    opacity: float = 1.0
    colour_match: float = 0.0
    masker: Masker | None = None

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        if not faces:
            return pixels
        result = pixels.copy()
        for face in faces:
            paste_into(
                result,
                face.picture,
                face.placement,
                mask=self.masker(face.crop) if self.masker else soft_ellipse(self.feather),
                opacity=self.opacity * face.opacity,
                colour_match=self.colour_match,
            )
        return result


@dataclass(frozen=True)
class SideBySide:
    """The frame on the left, what ``composer`` makes of it on the right; both need the frame's height."""

    composer: Composer = Paste()

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        return np.hstack([pixels, self.composer(pixels, faces)])


@dataclass(frozen=True)
class FirstFace:
    """The picture of the face that has been in sight longest, uint8 [size, size, 3]; black while there is none."""

    size: int = 512

    def __call__(self, pixels: Photo, faces: Sequence[ToonFace]) -> Photo:
        if not faces:
            return np.zeros((self.size, self.size, 3), np.uint8)
        picture = faces[0].picture
        interpolation = cv2.INTER_AREA if self.size < len(picture) else cv2.INTER_CUBIC
        return cv2.resize(picture, (self.size, self.size), interpolation=interpolation).astype(np.uint8, copy=False)


def crop_size_for(frames: Iterable[Frame], landmarker: Landmarker, resolution: int) -> int:
    """A size for ``FirstFace``, by the face that it will show: the largest one of the first frame that has any.

    Of 256, 512 and 1024 the first that shows the face no smaller than the frame does, but never more than
    ``resolution``, the side of its picture; 512 where no face comes soon.
    """
    for number, frame in enumerate(islice(frames, _MAX_SEARCHED_FRAMES)):
        placements = placements_from_faces(landmarker(frame.pixels, str(number)))
        if placements:
            enough = [size for size in _CROP_SIZES if size >= side_of(placements[0])]
            return min(*enough, _CROP_SIZES[-1], resolution)
    return min(FirstFace.size, resolution)


def composed_size(composer: Composer, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what a composer makes of frames of ``size``, which an empty one tells."""
    height, width = composer(np.zeros((size[1], size[0], 3), np.uint8), ()).shape[:2]
    return width, height
