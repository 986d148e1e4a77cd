from __future__ import annotations

import numpy as np
import pytest
from face_fakes import face_of, photo_of_dots, points_at

from benchmarks.faces import TURNS, FaceRow, Results, Square, cases, tables
from serving.faces.alignment import placement_of_face, side_of


def square_of(points: np.ndarray) -> Square:
    placement = placement_of_face(points)
    x, y = (placement @ [0.5, 0.5, 1]).tolist()
    return Square((x, y), side_of(placement), float(np.degrees(np.arctan2(placement[1, 0], placement[0, 0]))))


def dots_of(photo: np.ndarray) -> np.ndarray:
    """The centres of the red and the blue dot."""
    pixels = photo.astype(int)
    masks = [pixels[..., channel] - pixels[..., 2 - channel] > 120 for channel in (0, 2)]
    return np.array([np.argwhere(mask)[:, ::-1].mean(0) for mask in masks])


def test_squares_move_with_the_turned_and_reduced_photograph() -> None:
    points = points_at(300, 220, 200, 5)
    made = [*cases("a.jpg", photo_of_dots(points), [square_of(points)])]
    assert [(case.turn, case.reduced) for case in made] == [
        (turn, small) for small in (False, True) for turn in TURNS if turn != 45
    ]
    for case in made:
        (square,) = case.references
        eyes = dots_of(case.photo)
        line = eyes[1] - eyes[0]
        assert np.degrees(np.arctan2(line[1], line[0])) == pytest.approx(square.angle, abs=6 if case.reduced else 1)
        assert np.hypot(*(eyes.mean(0) - square.centre)) < 0.1 * square.side
        assert square.side / 640 == pytest.approx(0.05, abs=1e-6) or not case.reduced


def test_a_rows_errors_are_those_of_the_nearest_square_within_reach() -> None:
    points = points_at(300, 220, 200)
    case = next(cases("a.jpg", photo_of_dots(points), [square_of(points)]))
    near, far = points_at(310, 220, 210, 3), points_at(500, 220, 200)
    (row,) = case.rows("x", lambda photo, name="": (face_of(far), face_of(near)))
    assert row.centre == pytest.approx(10 / square_of(points).side, rel=0.1)
    assert (row.side, row.angle) == (pytest.approx(1.05, rel=0.01), pytest.approx(3, abs=0.1))
    (lost,) = case.rows("x", lambda photo, name="": (face_of(far),))
    assert lost.angle is None


def test_the_tables_have_a_line_for_every_landmarker_and_tilt() -> None:
    rows = [
        FaceRow(kind, "a.jpg", 0, reduced, tilt, 0.05, 0.01, 1.02, -0.1 * tilt)
        for kind in ("haar", "auto")
        for tilt in (2.0, 20.0, 40.0)
        for reduced in (False, True)
    ]
    text = tables(Results("now", "abc", "a processor", rows, {"a photograph": (1.0, 2.0)}))
    assert "| `haar` | 6 of 6 | 1.0 (1.0) | 1.02 to 1.02 | 2.0 / 4.0 / 4.0 | -0.10 |" in text
    assert text.count("| `auto`") == 5
    assert "| a photograph | 1.0 | 2.0 |" in text
