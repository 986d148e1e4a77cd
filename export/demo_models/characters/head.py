"""The head's mesh, and the directions in which it changes (blend shapes): MakeHuman's data, from ``head.npz``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Quads = NDArray[np.int64]

HEAD_FILE = Path(__file__).parent / "head.npz"
UNIT = 5e-4
"""The step of the file's whole numbers: 0.05 mm, in the mesh's decimetres."""


@dataclass(frozen=True)
class Head:
    """The mesh of the mean head; x to the image's right, y up, z to the viewer, the middle of the eyes at 0.

    Attributes:
        vertices: positions in decimetres, [V, 3].
        eyes: centre and radius of both eyeballs, image-right one first, [2, 4].
        directions: changes of ``vertices`` by name, [V, 3] each.
        eye_directions: changes of ``eyes`` by name, [2, 4] each.
        quads: the vertices of each quad, [F, 4].
        lips, lids: rings round mouth and eyes, 0 where the lips meet and at the lids' margin, negative inside, [V].
        margins: vertices of the lids' margins, image-right eye first, [2, 28].
        landmarks: the nose's tip and the mouth's corners, image-left one first, [3].
    """

    vertices: Vectors
    eyes: Vectors
    directions: dict[str, Vectors]
    eye_directions: dict[str, Vectors]
    quads: Quads
    lips: NDArray[np.int8]
    lids: NDArray[np.int8]
    margins: NDArray[np.int64]
    landmarks: NDArray[np.int64]


@cache
def read_head() -> Head:
    """Read the head's file; the result is shared and must not be changed."""
    with np.load(HEAD_FILE, allow_pickle=False) as file:
        names = [str(name) for name in file["names"]]
        vertices, eyes = (file[key].astype(np.float32) * np.float32(UNIT) for key in ("vertices", "eyes"))
        quads, margins, landmarks = (file[key].astype(np.int64) for key in ("quads", "margins", "landmarks"))
        lips, lids = file["lips"], file["lids"]
    return Head(
        vertices[0],
        eyes[0],
        dict(zip(names, vertices[1:], strict=True)),
        dict(zip(names, eyes[1:], strict=True)),
        quads,
        lips,
        lids,
        margins,
        landmarks,
    )
