"""Whole photographs: finding faces, toonifying them and pasting them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import Picture
from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Placement, crop, placement_of_face, prealigned, side_of, square_of_any_size
from serving.faces.landmarks import Face
from serving.faces.left_alone import SMALLEST_TOONIFIED, ToonifyFaces
from serving.faces.outline import MaskKind, mask_of, outline_of
from serving.faces.paste import paste_into
from serving.faces.pose import facing

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
    toonify: ToonifyFaces,
    *,
    every_face: bool = False,
    pasting: Pasting = Pasting(),
    smallest: float = SMALLEST_TOONIFIED,
    name: str = "photograph",
) -> Photo:
    """Toonify the largest face of a photograph, or all faces, in place: uint8 [H, W, 3], RGB -> uint8 [H, W, 3], RGB.

    Args:
        photo: the photograph.
        faces: what a landmarker found in it.
        toonify: makes the pictures of a few faces in each call.
        every_face: toonify every face, instead of the largest.
        pasting: how the pictures are put back.
        smallest: faces whose squares have fewer pixels on a side are left alone.
        name: stands for the photograph in errors.

    Raises:
        AlignmentError: there is no face that can be toonified.
        RequestError: the colour match is outside 0..1.
    """
    placed = placed_faces(faces, name, smallest)[: None if every_face else 1]
    result = photo.copy()
    for first in range(0, len(placed), _BATCH):
        batch = placed[first : first + _BATCH]
        pictures = toonify(np.stack([crop(photo, placement) for _, placement in batch]))
        for picture, (face, placement) in zip(pictures, batch, strict=True):
            if picture is None:
                continue
            mask = mask_of(outline_of(face, placement), pasting.mask)
            paste_into(result, picture, placement, mask=mask, colour_match=pasting.colour_match)
    return result


def toonified_face(
    photo: Photo,
    faces: Sequence[Face],
    toonify: ToonifyFaces,
    *,
    smallest: float = SMALLEST_TOONIFIED,
    name: str = "photograph",
) -> Photo:
    """Toonify a photograph's largest face without pasting it back: uint8 [H, W, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: there is no face that can be toonified.
    """
    return _toonified(crop(photo, placed_faces(faces, name, smallest)[0][1]), toonify, name)


def toonified_crop(photo: Photo, toonify: ToonifyFaces, *, name: str = "picture") -> Photo:
    """Toonify a crop that is already aligned: uint8 [H, H, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: the crop is not square, or is to be left alone.
    """
    return _toonified(prealigned(photo, name=name)[0], toonify, name)


def _toonified(face: Photo, toonify: ToonifyFaces, name: str) -> Picture:
    (picture,) = toonify(face[None])
    if picture is None:
        raise AlignmentError(
            name,
            got="a face unlike those that the encoder knows, which is left alone",
            expected="one with a picture to show by itself",
            remedy="choose another --far-codes",
        )
    return np.asarray(picture, np.uint8)


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


def placed_faces(
    faces: Sequence[Face], name: str, smallest: float = SMALLEST_TOONIFIED
) -> list[tuple[Face, Placement]]:
    """Return the faces that can be toonified, in their order and at least one, with their placements.

    Raises:
        AlignmentError: there is none: no face, all are turned away, none can be aligned, or all are too small.
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
    large = [(face, placement) for face, placement in placed if side_of(placement) >= smallest]
    if not large:
        raise _only_small_faces(name, [side_of(placement) for _, placement in placed], smallest)
    return large


def small_faces(faces: Sequence[Face], smallest: float) -> int:
    """Return how many faces look towards the camera, but are too small."""
    sides = (_side(face) for face in faces if facing(face) != "away")
    return sum(side is not None and side < smallest for side in sides)


def _side(face: Face) -> float | None:
    try:
        return side_of(square_of_any_size(face.points))
    except AlignmentError:
        return None


def _only_small_faces(name: str, sides: Sequence[float], smallest: float) -> AlignmentError:
    return AlignmentError(
        name,
        got=f"only small faces, the largest {max(sides):.0f} pixels wide",
        expected=f"at least one of {smallest:g} pixels",
        remedy="take a larger picture; toonify image --smallest-face N takes smaller faces",
    )


def _no_face(name: str, turned_away: int) -> AlignmentError:
    return AlignmentError(
        name,
        got=f"only faces that are turned away or not whole ({turned_away})" if turned_away else "no face",
        expected="at least one that looks towards the camera",
        remedy="see what toonify faces finds in it, or give the points in a file:PATH",
    )
