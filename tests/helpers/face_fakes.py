"""A face mesh without MediaPipe's network: it follows two dots, which stand for the eyes of a face."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.faces.landmarks import CANONICAL_POINTS, Face
from serving.faces.mesh import MESH_ROWS

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


def upright_mesh(points: Points = CANONICAL_POINTS) -> Points:
    """478 points [478, 2] of a face: those of which five points are means, the others on an oval around them."""
    angles = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    eyes = points[1] - points[0]
    side = np.hypot(*eyes) / 0.246
    axes = np.column_stack([eyes, [-eyes[1], eyes[0]]]) / np.hypot(*eyes)
    mesh: Points = points.mean(0) + side * np.column_stack([0.25 * np.cos(angles), 0.36 * np.sin(angles)]) @ axes.T
    mesh[[234, 454]] = points.mean(0) + np.array([[-0.25], [0.25]]) * side * axes[:, 0]  # the cheeks
    for rows, point in zip(MESH_ROWS, points, strict=True):
        offsets = np.arange(len(rows)) - (len(rows) - 1) / 2
        mesh[[*rows]] = point + 0.01 * side * offsets[:, None] * axes[:, 0]
    return mesh


def photo_of_dots(*faces: Points, size: tuple[int, int] = (640, 480)) -> Pixels:
    """A grey photograph with a red dot at the left eye and a blue one at the right eye of every face [5, 2]."""
    photo = np.full((size[1], size[0], 3), 128, np.uint8)
    for points in faces:
        radius = max(round(0.1 * float(np.hypot(*(points[1] - points[0])))), 1)
        for eye, colour in ((points[0], (255, 0, 0)), (points[1], (0, 0, 255))):
            cv2.circle(photo, (round(eye[0]), round(eye[1])), radius, colour, -1)
    return photo


@dataclass
class FakeMesh:
    """A network that finds the dots in a crop; ``calls`` counts its runs."""

    calls: int = 0
    flat: bool = field(default=True)

    def __call__(self, picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        self.calls += 1
        eyes = [_centroid(picture[0], channel) for channel in (0, 2)]
        mesh = np.zeros((478, 3), np.float32)
        if any(eye is None for eye in eyes):
            return mesh, -20.0
        (left, right) = (complex(*eye) for eye in eyes if eye is not None)
        canonical = CANONICAL_POINTS @ [1, 1j]
        scale = (right - left) / (canonical[1] - canonical[0])
        placed = left + (upright_mesh() @ [1, 1j] - canonical[0]) * scale
        mesh[:, 0], mesh[:, 1] = placed.real, placed.imag
        return mesh, 20.0


def _centroid(picture: NDArray[np.float32], channel: int) -> Points | None:
    """The mean place (x, y) of the pixels in which a channel is far above the opposite one; None without any."""
    rows, columns = np.nonzero(picture[..., channel] - picture[..., 2 - channel] > 0.5)
    return np.array([columns.mean(), rows.mean()]) if rows.size else None


@dataclass
class FakeDetector:
    """A landmarker that returns ``faces`` and counts its calls."""

    faces: tuple[Face, ...] = ()
    calls: int = 0

    def __call__(self, photo: Pixels, name: str = "") -> tuple[Face, ...]:
        self.calls += 1
        return self.faces


def face_of(points: Points, score: float = 0.9) -> Face:
    """A face as a detector reports it."""
    (x, y), (width, height) = points.min(0).tolist(), np.ptp(points, axis=0).tolist()
    return Face(points, (x, y, width, height), score)


def points_at(x: float, y: float, side: float = 200, degrees: float = 0) -> Points:
    """Five points [5, 2] of the average face, about a centre, in a crop of this side, turned clockwise."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (CANONICAL_POINTS - 0.5) * side @ turn + [x, y]
