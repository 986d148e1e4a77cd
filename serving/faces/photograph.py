"""Whole photographs: finding faces, toonifying them and pasting them back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engines.contract.arrays import Pictures
from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, align, prealigned
from serving.faces.landmarks import Landmarker
from serving.faces.paste import paste_into

Toonify = Callable[[Pictures], Pictures]
"""Converts aligned faces, uint8 [N, 256, 256, 3], to pictures, uint8 [N, R, R, 3]; for example a client's method."""

_BATCH = 8
"""Number of faces toonified together; a photograph may show hundreds, whose pictures have 3 MB each."""


def toonified_photograph(
    photo: Photo, landmarker: Landmarker, toonify: Toonify, *, every_face: bool = False, name: str = "photograph"
) -> Photo:
    """Toonify the largest face of a photograph, or all faces, in place: uint8 [H, W, 3], RGB -> uint8 [H, W, 3], RGB.

    ``name`` is the picture's file name, for landmarkers that look it up and for errors.

    Raises:
        AlignmentError: no face is found, or one cannot be aligned.
    """
    faces = landmarker(photo, name)[: None if every_face else 1]
    if not faces:
        raise _no_face(name)
    original, photo = photo, photo.copy()
    for first in range(0, len(faces), _BATCH):
        crops, placements = zip(*(align(original, face.points) for face in faces[first : first + _BATCH]), strict=True)
        for picture, placement in zip(toonify(np.stack(crops)), placements, strict=True):
            paste_into(photo, picture, placement)
    return photo


def toonified_face(photo: Photo, landmarker: Landmarker, toonify: Toonify, *, name: str = "photograph") -> Photo:
    """Toonify a photograph's largest face without pasting it back: uint8 [H, W, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: no face is found, or it cannot be aligned.
    """
    faces = landmarker(photo, name)
    if not faces:
        raise _no_face(name)
    picture: Photo = toonify(align(photo, faces[0].points)[0][None])[0]
    return picture


def toonified_crop(photo: Photo, toonify: Toonify, *, name: str = "picture") -> Photo:
    """Toonify a crop that is already aligned: uint8 [H, H, 3] -> uint8 [R, R, 3], RGB.

    Raises:
        AlignmentError: the crop is not square.
    """
    picture: Photo = toonify(prealigned(photo, name=name)[0][None])[0]
    return picture


def _no_face(name: str) -> AlignmentError:
    return AlignmentError(
        name,
        got="no face",
        expected="at least one, upright and frontal",
        remedy="try another landmarker (yunet:PATH finds more than haar) or give the points in a file:PATH",
    )
