"""Landmarkers made of the published model files, and what takes their place without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.contract.errors import AlignmentError
from serving.faces.haar import HaarLandmarker
from serving.faces.landmarks import Landmarker
from serving.faces.mesh import FaceMesh, MeshLandmarker
from serving.faces.mesh_network import mesh_network
from serving.faces.model_files import MESH, YUNET, ModelFile
from serving.faces.yunet import TURNS, UPRIGHT, YuNetLandmarker

_CANDIDATE_SCORE = 0.4
"""Least score of YuNet where the mesh checks each face; small and tilted faces have from 0.46."""


def mesh_landmarker(yunet: Path, task: Path) -> MeshLandmarker:
    """Make the landmarker that finds faces by YuNet and fits a mesh to each.

    Raises:
        AlignmentError: a file is missing or of another kind.
    """
    thorough, quick = (YuNetLandmarker(yunet, _CANDIDATE_SCORE, turns) for turns in (TURNS, UPRIGHT))
    return MeshLandmarker(thorough, FaceMesh(mesh_network(task)), quick)


def automatic_landmarker(obtain: Callable[[ModelFile], Path], warn: Callable[[str], None]) -> Landmarker:
    """Make ``mesh_landmarker`` of the published files; without them, the Haar cascades take its place with a warning.

    Args:
        obtain: returns the path of a file, for example ``serving.faces.model_files.obtained``.
        warn: takes one line that says what is missing.

    Raises:
        AlignmentError: neither can be had.
    """
    try:
        return mesh_landmarker(obtain(YUNET), obtain(MESH))
    except AlignmentError as error:
        haar = HaarLandmarker()
        warn(f"{error} Until then OpenCV's Haar cascades find the faces, and squares are coarse.")
        return haar
