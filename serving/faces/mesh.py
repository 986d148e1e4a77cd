"""The face mesh: 478 points of a face, fitted on an upright crop of it."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, exp, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Placement, Points, pixels_from_placement, side_of, square_of_any_size
from serving.faces.landmarks import Face, Landmarker, Mesh, box_around, distinct, largest_first
from serving.faces.mesh_network import MESH_SIZE, Network

MESH_ROWS = (
    (33, 160, 158, 133, 153, 144),
    (362, 385, 387, 263, 373, 380),
    (1,),
    (61,),
    (291,),
)
"""Points of the mesh whose means are the eyes, the nose and the mouth's corners, left in the image first.

An eye is the mean of its corners and of four points of the lids, as among the 68 points by which FFHQ was aligned. The
iris (468, 473) is not used, since it moves with the gaze. The points belong to FACE_LANDMARKS_RIGHT_EYE (the
subject's), _LEFT_EYE, _NOSE and _LIPS in ``mediapipe.tasks.python.vision.FaceLandmarksConnections``; 1 is the tip of
the nose.
"""

FITTED = 0.95
"""Least presence of a fitted face, as a probability.

On 23 real faces it was 0.998 and more, on two that are turned by 55 degrees and more below 0.95. No false detection in
27 pictures without people reached it once the crop was steady.
"""

CERTAIN = 0.7
"""Least score of a detection that is kept, with presence 0, where no mesh can be fitted: mostly a profile."""

_OUTER_CORNERS = (33, 263)
_MARGIN = 1.5
"""Side of the network's crop relative to the longer side of the box around the mesh, as MediaPipe chooses it."""

_PASSES = 6
"""Largest number of fits; the last ones are needed where a head is tilted by 45 degrees and the detector saw 10."""

_STEADY = 0.03
"""Largest move between two crops, relative to the side and in radians, after which another fit would change nothing."""


class FaceMesh:
    """Fits the mesh to faces whose places are roughly known; one thread at a time may use it.

    ``network``: computes the points on a crop; see ``serving.faces.mesh_network``.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def fit(self, photo: Photo, square: Placement) -> Mesh | None:
        """Fit the mesh near a square, float64 [2, 3], as ``crop_of_mesh`` returns it; None if there is no whole face.

        The fit is repeated on the crop that follows from its result, turned upright, until the crop is steady.
        """
        fitted: Mesh | None = None
        for _ in range(_PASSES):
            fitted = self._fit_once(photo, square)
            if fitted is None:
                return None
            before, square = square, crop_of_mesh(fitted.points)
            if not 1 < side_of(square) < np.inf:  # the points coincide, or are no numbers: nothing was fitted
                return None
            if _change(before, square) < _STEADY:
                break
        return fitted if fitted and fitted.presence >= FITTED else None

    def _fit_once(self, photo: Photo, square: Placement) -> Mesh | None:
        crop = _sampled(photo, square)
        if crop is None:
            return None
        points, logit = self._network(crop[None].astype(np.float32) / 255)
        # The network's coordinates are pixel indices: with half a pixel the median error of the centre is 15 % smaller.
        flat = (points[:, :2] + 0.5) / MESH_SIZE @ square[:, :2].T + square[:, 2]
        depth = points[:, 2:] * (side_of(square) / MESH_SIZE)
        return Mesh(np.hstack([flat, depth]).astype(np.float64), 1 / (1 + exp(-min(max(logit, -50.0), 50.0))))


class MeshLandmarker:
    """Faces of another landmarker, with the points of a mesh that is fitted to each.

    A face to which no mesh can be fitted has ``presence`` 0 and keeps its points; it is left out unless the landmarker
    is certain of it.

    Args:
        detector: finds the faces; their points are enough.
        mesh: fits the mesh to them.
        quick: takes the place of ``detector`` in the frames of a stream (see ``serving.faces.following``); None is
            ``detector``.
    """

    def __init__(self, detector: Landmarker, mesh: FaceMesh, quick: Landmarker | None = None) -> None:
        self._detector = detector
        self.mesh = mesh
        self.quick = quick or detector

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        fitted = (fitted_face(self.mesh, photo, face) for face in self._detector(photo, name))
        return largest_first(distinct(face for face in fitted if face.mesh or face.score >= CERTAIN))


def fitted_face(mesh: FaceMesh, photo: Photo, face: Face) -> Face:
    """Return a face with its mesh; with ``presence`` 0 and its own points where none can be fitted."""
    try:
        fitted = mesh.fit(photo, crop_of_mesh(face.mesh.points) if face.mesh else _crop_of_points(face.points))
    except AlignmentError:
        fitted = None
    return replace(face, mesh=None, presence=0.0) if fitted is None else face_from_mesh(fitted, face.score)


def face_from_mesh(mesh: Mesh, score: float = 1.0) -> Face:
    """Return the face of a mesh: its five points and the box around it."""
    flat = mesh.points[:, :2]
    points = np.stack([flat[[*rows]].mean(0) for rows in MESH_ROWS])
    return Face(points, box_around(flat), score, mesh.presence, mesh)


def crop_of_mesh(points: NDArray[np.float64]) -> Placement:
    """Return the upright square around a mesh [478, 2 or more] from which the network fits it again: float64 [2, 3]."""
    flat = points[:, :2]
    left, right = flat[[*_OUTER_CORNERS]]
    x = (right - left) / max(np.hypot(*(right - left)), 1e-9)
    axes = np.column_stack([x, [-x[1], x[0]]])
    upright = flat @ axes
    low, high = upright.min(0), upright.max(0)
    side = _MARGIN * float((high - low).max())
    return np.column_stack([side * axes, axes @ ((low + high - side) / 2)])


def _crop_of_points(points: Points) -> Placement:
    """Return about the square that ``crop_of_mesh`` gives, from five points: that of FFHQ, moved down by 6 %.

    Raises:
        AlignmentError: see ``square_of_any_size``.
    """
    placement = square_of_any_size(points)
    return np.column_stack([placement[:, :2], placement @ [0, 0.06, 1]])


def _change(a: Placement, b: Placement) -> float:
    """Return the largest of the changes of place and side, relative to the side, and of the angle in radians."""
    side, move = side_of(a), (b - a) @ [0.5, 0.5, 1]
    turn = abs(np.arctan2(a[0, 0] * b[1, 0] - a[1, 0] * b[0, 0], a[:, 0] @ b[:, 0]))
    return float(max(np.hypot(*move) / side, abs(side_of(b) / side - 1), turn))


def _sampled(photo: Photo, square: Placement) -> Photo | None:
    """Sample a square: uint8 [256, 256, 3]; None if it lies outside the photograph. Beyond it its edges are repeated.

    The part of the photograph that it needs is averaged down first: a warp alone would skip pixels.
    """
    corners = square @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    height, width = photo.shape[:2]
    x0, y0 = (max(floor(low) - 2, 0) for low in corners.min(1))
    x1, y1 = (min(ceil(high) + 3, length) for high, length in zip(corners.max(1), (width, height), strict=True))
    if x0 >= x1 or y0 >= y1:
        return None
    region = photo[y0:y1, x0:x1]
    inside = square - [[0, 0, x0], [0, 0, y0]]
    scale = min(MESH_SIZE / side_of(square), 1.0)
    if scale < 1:
        size = (max(round(region.shape[1] * scale), 1), max(round(region.shape[0] * scale), 1))
        factors = np.array([size[0] / region.shape[1], size[1] / region.shape[0]])
        region = cv2.resize(region, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        inside = inside * factors[:, None]
        inside[:, 2] += 0.5 * factors - 0.5
    # Small faces are enlarged: at 26 pixels the largest error of an angle is 3.9 degrees, by bilinear sampling 4.4.
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = pixels_from_placement(inside, MESH_SIZE)
    crop = cv2.warpAffine(region, matrix, (MESH_SIZE, MESH_SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return crop.astype(np.uint8, copy=False)
