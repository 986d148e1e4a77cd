from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from face_fakes import face_of, points_at, upright_mesh

from serving.faces.landmarks import Face, Mesh
from serving.faces.pose import AWAY_YAW, TOWARDS_YAW, facing, yaw_of


def turned(yaw: float, tilt: float = 0.0, presence: float = 1.0) -> Face:
    """A face of flat points that is turned to its side, then tilted, in degrees."""
    points = points_at(300, 220, 200, tilt)
    flat = upright_mesh(points) - points.mean(0)
    along = np.array([np.cos(np.radians(tilt)), np.sin(np.radians(tilt))])
    across = flat @ along
    narrowed = flat + np.outer(across * (np.cos(np.radians(yaw)) - 1), along)
    mesh = np.column_stack([narrowed + points.mean(0), across * np.sin(np.radians(yaw))])
    return replace(face_of(points), mesh=Mesh(mesh, presence), presence=presence)


@pytest.mark.parametrize("tilt", [0, 40, -70])
@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
def test_the_yaw_of_a_mesh_follows_from_its_depth_at_any_tilt(yaw: float, tilt: float) -> None:
    assert yaw_of(turned(yaw, tilt)) == pytest.approx(yaw, abs=0.1)


@pytest.mark.parametrize(("shift", "yaw"), [(0, 0), (0.5, 45), (-0.5, -45), (1.0, 63.4)])
def test_the_yaw_of_five_points_follows_from_the_nose(shift: float, yaw: float) -> None:
    points = points_at(300, 220, 200, 25)
    eyes = points[1] - points[0]
    middle = (points[0] + points[1]) / 2
    points[2] = middle + shift * eyes + 0.5 * np.array([-eyes[1], eyes[0]])
    assert yaw_of(face_of(points)) == pytest.approx(yaw, abs=0.1)


def test_a_face_is_away_beyond_a_yaw_or_where_it_is_not_whole() -> None:
    assert facing(turned(TOWARDS_YAW - 1)) == "towards"
    assert facing(turned(-(TOWARDS_YAW + AWAY_YAW) / 2)) == "between"
    assert facing(turned(AWAY_YAW + 1)) == facing(turned(-AWAY_YAW - 1)) == "away"
    assert facing(turned(0, presence=0.0)) == "away"
