"""Where faces are in a photograph, from whatever source of landmarks is at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from serving.alignment import Photo, Points
from serving.errors import AlignmentError

CANONICAL_POINTS = np.array(
    [(0.37692, 0.46865), (0.62286, 0.46913), (0.50124, 0.61332), (0.39309, 0.72541), (0.61151, 0.72490)]
)
"""Where the five points lie in an FFHQ crop on average, as parts of its side."""

_LONGEST_SIDE = 1024
"""Photographs are searched at this size at most: detectors know faces up to a few hundred pixels, and time grows."""

_DETECTIONS = 10
"""Overlapping detections that make a face: portraits gave 16 to 74, what was taken for one by mistake at most 8."""


@dataclass(frozen=True)
class Face:
    """A face in pixel indices of the photograph.

    ``points``: float64 [5, 2] as (x, y): eye, eye, nose, mouth corner, mouth corner, the left one in the image first.
    ``box``: x, y, width, height. ``score``: higher is surer; its scale is the landmarker's own.
    """

    points: Points
    box: tuple[float, float, float, float]
    score: float


class Landmarker(Protocol):
    """Any callable of this form serves; one may be used by one thread at a time."""

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        """Faces of a photograph, uint8 [H, W, 3] RGB, the largest box first; empty when there is none.

        ``name`` is the picture's file name, for landmarkers that look it up.
        """
        ...


class HaarLandmarker:
    """OpenCV's bundled Haar cascades: no download, and coarse.

    They find upright frontal faces and, often, the eyes; an eye that is not found is put where faces have it on
    average. Nose and mouth are not looked for: they follow from the eyes by the proportions of the average face. So a
    turned head, an open mouth or a tilt without visible eyes is aligned worse than by YuNet.

    Raises:
        AlignmentError: this OpenCV comes without cascades, as OpenCV 5 does.
    """

    def __init__(self) -> None:
        self._faces = _cascade("haarcascade_frontalface_alt2.xml")
        self._eyes = _cascade("haarcascade_eye_tree_eyeglasses.xml")

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        small, scale = _reduced(photo)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)).astype(np.uint8, copy=False)
        smallest = max(min(grey.shape) // 16, 24)
        boxes, counts = self._faces.detectMultiScale2(grey, 1.1, _DETECTIONS, minSize=(smallest, smallest))
        faces = (self._face(grey, box, float(count)) for box, count in zip(boxes, counts, strict=True))
        return largest_first(_unreduced(face, scale) for face in faces)

    def _face(self, grey: Photo, box: Sequence[int], score: float) -> Face:
        x, y, width, height = (int(value) for value in box)
        found = self._eyes.detectMultiScale(
            grey[y : y + height, x : x + width], 1.1, 4, minSize=(max(width // 8, 8),) * 2
        )
        centres = [((ex + ew / 2) / width, (ey + eh / 2) / height) for ex, ey, ew, eh in found]
        eyes = [x, y] + eyes_in_box(centres) * [width, height]
        return Face(points_from_eyes(eyes), (x, y, width, height), score)


def eyes_in_box(found: Sequence[tuple[float, float]]) -> Points:
    """Both eyes [2, 2] in parts of a frontal face's Haar box, from what was found in it.

    Of the detections near an eye's average place the nearest is the eye; the others are brows, nostrils and corners of
    the mouth. The average is that of portraits in which both eyes were found.
    """
    average = np.array([(0.32, 0.39), (0.68, 0.39)])
    candidates = np.array([*found]).reshape(-1, 2)
    eyes = average.copy()
    for row, place in enumerate(average):
        distances = np.hypot(*(candidates - place).T)
        if distances.size and distances.min() < 0.12:
            eyes[row] = candidates[distances.argmin()]
    return eyes


def points_from_eyes(eyes: ArrayLike) -> Points:
    """Five points [5, 2] from the two eyes [2, 2], by the similarity that takes the average face's eyes to them."""
    (left, right), canonical = _complex(eyes), _complex(CANONICAL_POINTS)
    points = left + (canonical - canonical[0]) * (right - left) / (canonical[1] - canonical[0])
    return np.stack([points.real, points.imag], axis=1)


class YuNetLandmarker:
    """OpenCV's ``FaceDetectorYN`` with a YuNet model file that the caller provides (about 230 kB, MIT licence).

    Args:
        model: for OpenCV 4 the file of 2023mar, for OpenCV 5 that of 2026may.
        score: detections below this (0..1) are dropped.

    Raises:
        AlignmentError: the file is missing, or OpenCV cannot load it.
    """

    def __init__(self, model: Path, score: float = 0.7) -> None:
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score)
        except cv2.error:
            remedy = "take face_detection_yunet from OpenCV's model zoo"
            raise unloadable(model, "OpenCV", "a YuNet model in ONNX form", remedy) from None

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        small, scale = _reduced(photo)
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        return largest_first(_unreduced(face_from_yunet(row), scale) for row in (() if rows is None else rows))


def face_from_yunet(row: NDArray[np.generic]) -> Face:
    """A detection of ``FaceDetectorYN``, [15]: box, five points beginning with the subject's right eye, score.

    The subject's right is the image's left.
    """
    x, y, width, height, *points, score = (float(value) for value in row)
    return Face(np.array(points).reshape(5, 2), (x, y, width, height), score)


_Point = tuple[float, float]


class _FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FaceRecord(_FileRecord):
    points: tuple[_Point, _Point, _Point, _Point, _Point]
    box: tuple[float, float, float, float] | None = None
    score: float = 1.0

    def face(self) -> Face:
        points = np.array(self.points, np.float64)
        return Face(points, self.box or box_around(points), self.score)


class _PictureRecord(_FileRecord):
    picture: str
    faces: tuple[_FaceRecord, ...]


class FileLandmarker:
    """Landmarks from a file, by the picture's file name.

    JSON, an array of ``{"picture": "a.jpg", "faces": [{"points": [[x, y], five of them]}]}``, or JSON Lines, one such
    object a line. ``box`` [x, y, width, height] and ``score`` may stand beside ``points``.

    Raises:
        AlignmentError: the file is missing or of another form, or (when called) does not name the picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            records = _records(path.read_bytes())
        except OSError as error:
            raise self._refused(error.strerror or "an unreadable file") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise self._refused(f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}") from None
        self._faces = {record.picture: record.faces for record in records}

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        if name not in self._faces:
            raise AlignmentError(
                str(self._path),
                got=f"no record of {name!r}",
                expected="one for every picture",
                remedy="add it, with no faces if there are none",
            )
        return largest_first(record.face() for record in self._faces[name])

    def _refused(self, got: str) -> AlignmentError:
        return AlignmentError(
            str(self._path),
            got=got,
            expected='an array or lines of {"picture": NAME, "faces": [{"points": [[x, y], ...]}]}',
            remedy="correct the file",
        )


def landmarker_from_option(option: str) -> Landmarker:
    """``haar``, ``yunet:PATH``, ``mediapipe:PATH`` or ``file:PATH``.

    Raises:
        AlignmentError: another word, or what the landmarker itself raises.
    """
    kind, _, path = option.partition(":")
    if option == "haar":
        return HaarLandmarker()
    if kind == "yunet" and path:
        return YuNetLandmarker(Path(path))
    if kind == "mediapipe" and path:
        from serving.mediapipe_landmarks import MediaPipeLandmarker  # which needs this module

        return MediaPipeLandmarker(Path(path))
    if kind == "file" and path:
        return FileLandmarker(Path(path))
    raise AlignmentError(
        "landmarks",
        got=repr(option),
        expected="none, haar, yunet:PATH, mediapipe:PATH or file:PATH",
        remedy="choose one of them",
    )


def unloadable(model: Path, library: str, expected: str, remedy: str) -> AlignmentError:
    """The error for a landmarker's model file that its library refuses."""
    got = f"a file that {library} cannot load" if model.is_file() else "no such file"
    return AlignmentError(str(model), got=got, expected=expected, remedy=remedy)


def largest_first(faces: Iterable[Face]) -> tuple[Face, ...]:
    """In the order in which every landmarker gives them."""
    return tuple(sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True))


def box_around(points: Points) -> tuple[float, float, float, float]:
    """x, y, width, height of the box around points [N, 2]."""
    (x, y), (width, height) = points.min(0).tolist(), np.ptp(points, axis=0).tolist()
    return x, y, width, height


def _records(data: bytes) -> list[_PictureRecord]:
    if data.lstrip().startswith(b"["):
        return TypeAdapter(list[_PictureRecord]).validate_json(data)
    return [_PictureRecord.model_validate_json(line) for line in data.splitlines() if line.strip()]


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


def _reduced(photo: Photo) -> tuple[Photo, float]:
    scale = min(_LONGEST_SIDE / max(photo.shape[:2]), 1.0)
    if scale == 1.0:
        return photo, scale
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), scale


def _unreduced(face: Face, scale: float) -> Face:
    """The face in the photograph's own pixels; pixel edges, not centres, stay in place when a picture is resized."""
    x, y, width, height = face.box
    box = ((x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, width / scale, height / scale)
    return Face((face.points + 0.5) / scale - 0.5, box, face.score)


def _complex(points: ArrayLike) -> NDArray[np.complex128]:
    x, y = np.asarray(points, np.float64).T
    return np.asarray(x + 1j * y)
