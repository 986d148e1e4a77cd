"""Landmarks from OpenCV's YuNet detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.faces.alignment import Photo
from serving.faces.landmarks import Face, distinct, from_resized, largest_first, moved, resized, unloadable

SCORE = 0.7
"""Least score of a face, 0..1, where nothing else checks it.

Real faces of 10 % of the picture and more had 0.82 and more, but for heads tilted by more than 30 degrees; 27 pictures
without faces had one detection above 0.7, a motorcycle with 0.76.
"""

UPRIGHT = (0.0,)
TURNS = (0.0, -40.0, 40.0)
"""Turns of the picture, in degrees, in which heads tilted by up to 80 degrees are found.

A head tilted by 42 degrees had a score below 0.3 in the upright picture.
"""

_SEARCHED_SIDE = 640
"""Longer side, in pixels, of the pictures that are searched.

Faces of 5 % of a picture had 0.60 and more at this size, those that fill it 0.82; at 1024 pixels the latter fall to
0.7, and the search takes three times as long.
"""

_SHORTEST_SIDE = 32
"""Shorter side below which a picture is not searched: in lines of pixels YuNet sees certain faces without bounds."""

_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_STRIDES = (8, 16, 32)


class YuNetLandmarker:
    """OpenCV's ``FaceDetectorYN`` with a YuNet model file (about 230 kB, MIT licence).

    Args:
        model: the model file; OpenCV 4 needs the version 2023mar, OpenCV 5 the version 2026may.
        score: detections with a lower score (0..1) are dropped.
        turns: degrees by which the picture is turned for each search.

    Raises:
        AlignmentError: the file is missing, OpenCV cannot load it, or it is another network.
    """

    def __init__(self, model: Path, score: float = SCORE, turns: Sequence[float] = UPRIGHT) -> None:
        self._turns = turns
        remedy = "take face_detection_yunet_2023mar.onnx as toonify models get stores it"
        refused = unloadable(model, "OpenCV", "a YuNet model in ONNX form", remedy)
        try:
            with _without_log():
                if not _has_the_outputs(model):
                    raise refused
                self._detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score)
        except cv2.error:
            raise refused from None

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        scale = _SEARCHED_SIDE / max(photo.shape[:2])
        small = resized(photo, scale)
        if min(small.shape[:2]) < _SHORTEST_SIDE:
            return ()
        found = [face for turn in self._turns for face in self._search(small, turn)]
        return largest_first(moved(face, from_resized(scale)) for face in distinct(found))

    def _search(self, photo: Photo, turn: float) -> Iterator[Face]:
        turned, back = _turned(photo, turn)
        self._detector.setInputSize((turned.shape[1], turned.shape[0]))
        _, rows = self._detector.detect(cv2.cvtColor(turned, cv2.COLOR_RGB2BGR))
        for row in () if rows is None else rows[np.isfinite(rows).all(1)]:
            yield moved(face_from_yunet(row), back)


def face_from_yunet(row: NDArray[np.generic]) -> Face:
    """Convert a detection of ``FaceDetectorYN``, [15]: box, five points beginning with the subject's right eye, score.

    The subject's right eye is the left one in the image.
    """
    x, y, width, height, *points, score = (float(value) for value in row)
    return Face(np.array(points).reshape(5, 2), (x, y, width, height), score)


def _turned(photo: Photo, degrees: float) -> tuple[Photo, NDArray[np.float64]]:
    """Return a photograph turned clockwise, whole and on grey, and the map [2, 3] from its pixels to the original's."""
    if not degrees:
        return photo, np.eye(2, 3)
    height, width = photo.shape[:2]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    axes = np.array([[cos, sin], [-sin, cos]])  # from the turned picture to the original
    size = np.ceil(np.abs(axes.T) @ [width, height]).astype(int)
    centre = np.array([width - 1, height - 1]) / 2 - axes @ ((size - 1) / 2)
    back = np.column_stack([axes, centre])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(photo, back, (int(size[0]), int(size[1])), flags=flags, borderValue=(128, 128, 128))
    return turned.astype(np.uint8, copy=False), back


def _has_the_outputs(model: Path) -> bool:
    """Return whether a network has YuNet's outputs for pictures of any size.

    ``FaceDetectorYN`` does not check them: it reads beyond the end of shorter ones.
    """
    network = cv2.dnn.readNetFromONNX(str(model))
    names = [f"{name}_{stride}" for name in _OUTPUTS for stride in _STRIDES]
    if not {*names}.issubset(network.getUnconnectedOutLayersNames()):
        return False
    for side in (64, 96):
        network.setInput(np.zeros((1, 3, side, side), np.float32))
        expected = [(1, (side // stride) ** 2, width) for width in _OUTPUTS.values() for stride in _STRIDES]
        if [np.shape(output) for output in network.forward(names)] != expected:
            return False
    return True


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep OpenCV from writing why it cannot load a file, beside the sentence that says so."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)
