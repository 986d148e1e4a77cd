"""The faces of picture files, found as the option ``--align`` says, and the aligned crop of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from threading import Lock

from engines.contract.arrays import Picture
from engines.contract.tensors import FACE_SIZE
from serving.faces.alignment import Photo, crop, prealigned
from serving.faces.landmarks import Face
from serving.faces.photograph import is_aligned, placed_faces
from serving.options import landmarker_from_option

Finder = Callable[[Photo, str], Sequence[Face] | None]
"""Finds the faces of a picture by its name, for threads to share; None stands for an aligned crop."""


def face_finder(align: str) -> Finder:
    """Return what finds the faces of pictures.

    With "auto", a picture of the encoder's own size is a crop without a search, so that crops need no landmarker; any
    other square picture is searched.

    Raises:
        AlignmentError: the option has another form, or the landmarker cannot be made.
    """
    # "auto" is made when it is first needed, which may download its models; all others report a mistake at once.
    landmarker = cache(partial(landmarker_from_option, align))
    if align not in ("auto", "none"):
        landmarker()
    one_at_a_time = Lock()

    def find(photo: Photo, name: str) -> Sequence[Face] | None:
        if align == "none" or (align == "auto" and photo.shape[:2] == (FACE_SIZE, FACE_SIZE)):
            return None
        with one_at_a_time:
            faces = landmarker()(photo, name)
        return None if align == "auto" and is_aligned(photo, faces) else faces

    return find


def aligned_face(photo: Photo, align: str, name: str) -> Picture:
    """Return the largest face of a picture file as an aligned crop, uint8 [256, 256, 3] RGB.

    Args:
        photo: the picture.
        align: the option ``--align``.
        name: the file's name.

    Raises:
        AlignmentError: no face is found, it cannot be aligned, or the landmarker cannot be made.
    """
    found = face_finder(align)(photo, name)
    if found is None:
        return prealigned(photo, name=name)[0]
    return crop(photo, placed_faces(found, name, smallest=0.0)[0][1])
