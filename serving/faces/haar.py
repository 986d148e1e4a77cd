"""Landmarks from OpenCV's bundled Haar cascades, which need no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Points
from serving.faces.landmarks import CANONICAL_POINTS, Face, from_resized, largest_first, moved, resized

_LONGEST_SIDE = 1024
"""Largest side in pixels at which photographs are searched; the time grows with the size."""

_DETECTIONS = 10
"""Overlapping detections required for a face.

No number separates faces from others: in 9 photographs faces had 9 to 80, while a badge on a sleeve had 27, a hand in
another photograph 13, and a picture of cells 11. At 10 one face of 17 is lost; at 14, which keeps out hand and cells,
two are, and the badge stays. The models of ``--align auto`` are the remedy.
"""


class HaarLandmarker:
    """Landmarks from OpenCV's bundled Haar cascades, which need no download but are coarse.

    The cascades detect upright frontal faces and often the eyes; an eye that is not detected gets its average position.
    Nose and mouth are not detected: they follow from the eyes by the proportions of the average face. A turned head, an
    open mouth or a tilt without visible eyes is therefore aligned worse than by YuNet.

    Raises:
        AlignmentError: this version of OpenCV has no cascades, such as OpenCV 5.
    """

    def __init__(self) -> None:
        self._faces = _cascade("haarcascade_frontalface_alt2.xml")
        self._eyes = _cascade("haarcascade_eye_tree_eyeglasses.xml")

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        scale = min(_LONGEST_SIDE / max(photo.shape[:2]), 1.0)
        small = resized(photo, scale)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)).astype(np.uint8, copy=False)
        smallest = max(min(grey.shape) // 16, 24)
        boxes, counts = self._faces.detectMultiScale2(grey, 1.1, _DETECTIONS, minSize=(smallest, smallest))
        faces = (self._face(grey, box, float(count)) for box, count in zip(boxes, counts, strict=True))
        return largest_first(moved(face, from_resized(scale)) for face in faces)

    def _face(self, grey: Photo, box: Sequence[int], score: float) -> Face:
        x, y, width, height = (int(value) for value in box)
        eye_boxes = self._eyes.detectMultiScale(
            grey[y : y + height, x : x + width], 1.1, 4, minSize=(max(width // 8, 8),) * 2
        )
        centres = [((ex + ew / 2) / width, (ey + eh / 2) / height) for ex, ey, ew, eh in eye_boxes]
        eyes = [x, y] + eyes_in_box(centres) * [width, height]
        return Face(points_from_eyes(eyes), (x, y, width, height), score)


def eyes_in_box(centres: Sequence[tuple[float, float]]) -> Points:
    """Return both eyes [2, 2] of a frontal face, from the centres of the detections in it, all as fractions of its box.

    An eye is the detection nearest to the eye's average position, within a limit; the other detections are brows,
    nostrils and corners of the mouth. The average was taken over portraits in which both eyes were detected.
    """
    average = np.array([(0.32, 0.39), (0.68, 0.39)])
    candidates = np.array([*centres]).reshape(-1, 2)
    eyes = average.copy()
    for row, place in enumerate(average):
        distances = np.hypot(*(candidates - place).T)
        if distances.size and distances.min() < 0.12:
            eyes[row] = candidates[distances.argmin()]
    return eyes


def points_from_eyes(eyes: ArrayLike) -> Points:
    """Return five points [5, 2] from two eyes [2, 2], by the similarity that maps the average face's eyes to them."""
    (left, right), canonical = _complex(eyes), _complex(CANONICAL_POINTS)
    points = left + (canonical - canonical[0]) * (right - left) / (canonical[1] - canonical[0])
    return np.stack([points.real, points.imag], axis=1)


def _cascade(name: str) -> cv2.CascadeClassifier:
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    if not hasattr(cv2, "CascadeClassifier") or not (Path(folder) / name).is_file():
        raise AlignmentError(
            f"OpenCV {cv2.__version__}",
            got="no Haar cascades",
            expected="a version that bundles them",
            remedy="install 'opencv-python-headless<5', or use yunet:PATH or file:PATH",
        )
    return cv2.CascadeClassifier(str(Path(folder) / name))


def _complex(points: ArrayLike) -> NDArray[np.complex128]:
    x, y = np.asarray(points, np.float64).T
    return np.asarray(x + 1j * y)
