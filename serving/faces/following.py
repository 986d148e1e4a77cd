"""Following of faces from frame to frame by the mesh alone, which is faster than detecting them and steadier."""

from __future__ import annotations

from serving.faces.alignment import Photo
from serving.faces.landmarks import Face, Landmarker, distinct, largest_first
from serving.faces.mesh import MeshLandmarker, fitted_face

INTERVAL = 10
"""Frames from one detection to the next while no face is lost: a new face is found within a third of a second."""


class FollowingLandmarker:
    """A landmarker for the frames of one stream: the mesh follows the faces, and the detector looks for new ones.

    The quick detector runs in every ``INTERVAL``-th frame, and in every frame in which there is no face or one is lost.
    """

    def __init__(self, landmarker: MeshLandmarker) -> None:
        self._mesh = landmarker.mesh
        self._detecting = MeshLandmarker(landmarker.quick, landmarker.mesh)
        self._followed: tuple[Face, ...] = ()
        self._age = 0

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        followed = [fitted_face(self._mesh, photo, face) for face in self._followed]
        faces = distinct(face for face in followed if face.mesh)
        self._age += 1
        if self._age >= INTERVAL or not faces or len(faces) < len(followed):
            self._age = 0
            faces = distinct([*faces, *self._detecting(photo, name)])
        self._followed = tuple(face for face in faces if face.mesh)
        return largest_first(faces)


def following(landmarker: Landmarker) -> Landmarker:
    """Return the landmarker to use for one stream: one that follows faces, if ``landmarker`` fits a mesh to them."""
    return FollowingLandmarker(landmarker) if isinstance(landmarker, MeshLandmarker) else landmarker
