"""A face's outline from its mesh, and the mask of it through which a picture is pasted."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.faces.alignment import Placement, Points
from serving.faces.landmarks import Face
from serving.faces.paste import FEATHER, MASK_SIZE, Mask, smoothstep, soft_ellipse

MaskKind = Literal["ellipse", "outline"]

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Points of the mesh along the face's outline, from the middle of the forehead on (MediaPipe's FACE_OVAL)."""

_EYES, _BROW = 0.47, 0.25
"""Heights of the eyes and of the outline's top in an average crop, as fractions of its side."""

_HAIR, _AROUND = 0.12, 0.02
"""Room above the forehead for hair, and all around, in sides of the crop.

The mesh ends at the forehead, and hair at the crop's upper edge. With 0.17 and 0.05, chosen by eye like these, a rim of
generated background showed beside the hair of real photographs.
"""

_FEATHER = 0.1
"""Width of the soft edge in sides of the crop, half of it outside the outline with its room."""


def outline_of(face: Face, placement: Placement) -> Points | None:
    """Return a face's outline in its crop, float64 [36, 2] as fractions of the side; None without a mesh."""
    if face.mesh is None:
        return None
    points = face.mesh.points[[*OVAL], :2] - placement[:, 2]
    return np.asarray(np.linalg.solve(placement[:, :2], points.T).T, np.float64)


def mask_of(outline: Points | None, kind: MaskKind) -> Mask:
    """Return the mask of a face; without an outline it is the ellipse."""
    return soft_ellipse(FEATHER) if outline is None or kind == "ellipse" else outline_mask(outline)


def outline_mask(outline: Points) -> Mask:
    """Return opacities over the crop, float32 [256, 256], 0..1: the outline with room for hair, and a soft edge."""
    lift = np.clip((_EYES - outline[:, 1]) / (_EYES - _BROW), 0, None)
    lifted = outline - np.outer(_HAIR * lift, [0, 1])
    inside = np.zeros((MASK_SIZE, MASK_SIZE), np.uint8)
    cv2.fillPoly(inside, [np.rint(lifted * MASK_SIZE - 0.5).astype(np.int32)], (1,))
    outwards: NDArray[np.float32] = np.asarray(
        cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) - cv2.distanceTransform(inside, cv2.DIST_L2, 5), np.float32
    )
    depth = (_AROUND + _FEATHER / 2) * MASK_SIZE - outwards
    return np.asarray(np.minimum(smoothstep(depth / (_FEATHER * MASK_SIZE)), _border()), np.float32)


def _border() -> Mask:
    """Return a mask that is 0 at the crop's edges, beyond which there is no picture to paste."""
    axis = np.arange(MASK_SIZE, dtype=np.float32)
    ramp = smoothstep(np.minimum(axis, MASK_SIZE - 1 - axis) / (_FEATHER / 2 * MASK_SIZE))
    return np.asarray(np.minimum(ramp[None, :], ramp[:, None]), np.float32)
