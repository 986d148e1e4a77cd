"""Landmarks from MediaPipe's face landmarker, whose package and model file the user provides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Points
from serving.faces.landmarks import Face, box_around, largest_first, unloadable

INSTALLATION = "pip install --no-deps mediapipe; pip install certifi matplotlib"
"""Installed with its dependencies, MediaPipe would replace this package's OpenCV by one without Haar cascades."""

MESH_ROWS = (
    (33, 160, 158, 133, 153, 144),
    (362, 385, 387, 263, 373, 380),
    (1,),
    (61,),
    (291,),
)
"""Points of MediaPipe's face mesh whose means are the eyes, the nose and the mouth's corners, left in the image first.

An eye is the mean of its corners and of four points of the lids, as among the 68 points by which FFHQ was aligned. The
iris (468, 473) is not used, since it moves with the gaze. The points belong to FACE_LANDMARKS_RIGHT_EYE (the
subject's), _LEFT_EYE, _NOSE and _LIPS in ``mediapipe.tasks.python.vision.FaceLandmarksConnections``; 1 is the tip of
the nose.
"""


class MediaPipeLandmarker:
    """MediaPipe's face landmarker (478 points) in its mode for single images; the package is imported on construction.

    Args:
        model: the file ``face_landmarker.task`` from MediaPipe's page about the face landmarker.
        faces: the largest number of faces to find in a picture.

    Raises:
        AlignmentError: the package is not installed, the file is missing, or MediaPipe cannot load it.
    """

    def __init__(self, model: Path, faces: int = 8) -> None:
        self._mediapipe = _mediapipe()
        tasks = self._mediapipe.tasks
        base = tasks.BaseOptions(model_asset_path=str(model))
        try:
            self._landmarker = tasks.vision.FaceLandmarker.create_from_options(
                tasks.vision.FaceLandmarkerOptions(base_options=base, num_faces=faces)
            )
        except (OSError, RuntimeError, ValueError):
            remedy = "download face_landmarker.task from MediaPipe's page about the face landmarker"
            raise unloadable(model, "MediaPipe", "a face landmarker of MediaPipe Tasks", remedy) from None

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photo))
        height, width = photo.shape[:2]
        meshes = self._landmarker.detect(image).face_landmarks
        # MediaPipe's coordinates are fractions from edge to edge; here index 0 is the first pixel's centre.
        return largest_first(
            face_from_mesh(np.array([(point.x, point.y) for point in mesh]) * [width, height] - 0.5) for mesh in meshes
        )


def face_from_mesh(mesh: Points) -> Face:
    """Return the five points of a face mesh [468 or more, 2] and the box around it; the score, which it lacks, is 1."""
    return Face(np.stack([mesh[[*rows]].mean(0) for rows in MESH_ROWS]), box_around(mesh), 1.0)


def _mediapipe() -> Any:
    try:
        import mediapipe
    except ModuleNotFoundError as error:
        raise AlignmentError(
            "landmarks by MediaPipe",
            got=f"no module {error.name}",
            expected="the package mediapipe",
            remedy=f"install it with: {INSTALLATION}",
        ) from None
    return mediapipe
