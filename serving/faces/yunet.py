"""Landmarks from OpenCV's YuNet detector, whose model file the user provides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.faces.alignment import Photo
from serving.faces.landmarks import Face, downscaled, largest_first, unloadable, upscaled_face


class YuNetLandmarker:
    """OpenCV's ``FaceDetectorYN`` with a YuNet model file (about 230 kB, MIT licence).

    Args:
        model: the model file; OpenCV 4 needs the version 2023mar, OpenCV 5 the version 2026may.
        score: detections with a lower score (0..1) are dropped.

    Raises:
        AlignmentError: the file is missing, or OpenCV cannot load it.
    """

    def __init__(self, model: Path, score: float = 0.7) -> None:
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score)
        except cv2.error:
            remedy = "download face_detection_yunet from OpenCV's model zoo"
            raise unloadable(model, "OpenCV", "a YuNet model in ONNX form", remedy) from None

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        small, scale = downscaled(photo)
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        return largest_first(upscaled_face(face_from_yunet(row), scale) for row in (() if rows is None else rows))


def face_from_yunet(row: NDArray[np.generic]) -> Face:
    """Convert a detection of ``FaceDetectorYN``, [15]: box, five points beginning with the subject's right eye, score.

    The subject's right eye is the left one in the image.
    """
    x, y, width, height, *points, score = (float(value) for value in row)
    return Face(np.array(points).reshape(5, 2), (x, y, width, height), score)
