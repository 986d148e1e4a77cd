"""Whole photographs: finding faces, toonifying them and pasting them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import Pictures
from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Placement, crop, placement_of_face, prealigned, side_of
from serving.faces.landmarks import Face
from serving.faces.outline import MaskKind, mask_of, outline_of
from serving.faces.paste import paste_into
from serving.faces.pose import facing

Toonify = Callable[[Pictures], Pictures]
"""Converts aligned faces, uint8 [N, 256, 256, 3], to pictures, uint8 [N, R, R, 3]; for example a client's method."""

_BATCH = 8
"""Number of faces toonified together; a photograph may show hundreds, whose pictures have 3 MB each."""


@dataclass(frozen=True)
class Pasting:
    """How pictures are put back.

    ``mask``: "ellipse", or "outline" for the face's own outline with room for hair, where the landmarker gives a mesh.
    ``colour_match``: 0 (the picture's own colours) to 1 (those of the photograph below it).
    """

    mask: MaskKind = "ellipse"
    colour_match: float = 0.0


def toonified_photograph(
    photo: Photo,
    faces: Sequence[Face],
    toonify: Toonify,
    *,
    every_face: bool = False,
    pasting: Pasting = Pasting(),
    name: str = "photograph",
) -> Photo:
    """Toonify the largest face of a photograph, or all faces, in place: uint8 [H, W, 3], RGB -> uint8 [H, W, 3], RGB.

    Args:
        photo: the photograph.
        faces: what a landmarker found in it.
        toonify: makes the pictures of a few faces in each call.
        every_face: toonify every face, instead of the largest.
        pasting: how the pictures are put back.
        name: stands for the photograph in errors.

    Raises:
        AlignmentError: there is no face that can be toonified.
        RequestError: the colour match is outside 0..1.
    """
    placed = placed_faces(faces, name)[: None if every_face else 1]
    result = photo.copy()
    for first in range(0, len(placed), _BATCH):
        batch = placed[first : first + _BATCH]
        pictures = toonify(np.stack([crop(photo, placement) for _, placement in batch]))
        for picture, (face, placement) in zip(pictures, batch, strict=True):
            mask = mask_of(outline_of(face, placement), pasting.mask)
            paste_into(result, picture, placement, mask=mask, colour_match=pasting.colour_match)
    return result


def toonified_face(photo: Photo, faces: Sequence[Face], toonify: Toonify, *, name: str = "photograph") -> Photo:
    """Toonify a photograph's largest face without pasting it back: uint8 [H, W, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: there is no face that can be toonified.
    """
    picture: Photo = toonify(crop(photo, placed_faces(faces, name)[0][1])[None])[0]
    return picture


def toonified_crop(photo: Photo, toonify: Toonify, *, name: str = "picture") -> Photo:
    """Toonify a crop that is already aligned: uint8 [H, H, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: the crop is not square.
    """
    picture: Photo = toonify(prealigned(photo, name=name)[0][None])[0]
    return picture


def is_aligned(photo: Photo, faces: Sequence[Face]) -> bool:
    """Return whether a picture is taken for an aligned crop: it is square, and no face in it says otherwise.

    A face says otherwise if its square is not nearly the whole picture. The largest one decides.
    """
    height, width = photo.shape[:2]
    if height != width:
        return False
    try:
        placement = placement_of_face(faces[0].points) if faces else None
    except AlignmentError:
        placement = None
    if placement is None:
        return True
    # Over drawn and real crops the mesh was off by 3 % of the side and 3 degrees at most, Haar by 10 % and 13 degrees.
    away = np.hypot(*(placement @ [0.5, 0.5, 1] - (width - 1) / 2)) / width
    tilt = np.degrees(np.arctan2(placement[1, 0], placement[0, 0]))
    return bool(away < 0.12 and 0.75 < side_of(placement) / width < 1.33 and abs(tilt) < 15)


def placed_faces(faces: Sequence[Face], name: str) -> list[tuple[Face, Placement]]:
    """Return the faces that can be toonified, in their order and at least one, with their placements.

    Raises:
        AlignmentError: there is none: no face, all are turned away, or none can be aligned.
    """
    towards = [face for face in faces if facing(face) != "away"]
    if not towards:
        raise _no_face(name, turned_away=len(faces))
    placed, refusals = [], []
    for face in towards:
        try:
            placed.append((face, placement_of_face(face.points)))
        except AlignmentError as error:
            refusals.append(error)
    if not placed:
        raise refusals[0]
    return placed


def _no_face(name: str, turned_away: int) -> AlignmentError:
    return AlignmentError(
        name,
        got=f"only faces that are turned away or not whole ({turned_away})" if turned_away else "no face",
        expected="at least one that looks towards the camera",
        remedy="see what toonify faces finds in it, or give the points in a file:PATH",
    )
