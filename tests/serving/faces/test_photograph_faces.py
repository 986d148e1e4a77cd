from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from face_fakes import face_of, points_at

from engines.contract.arrays import Pictures
from engines.contract.errors import AlignmentError
from serving.faces.alignment import placement_of_face
from serving.faces.photograph import is_aligned, placed_faces, toonified_face, toonified_photograph

PHOTO = np.full((480, 640, 3), 128, np.uint8)
SQUARE = np.full((400, 400, 3), 128, np.uint8)
PINK = np.array((240, 90, 160), np.uint8)


def pink(faces: Pictures) -> Pictures:
    """A toonifier that paints every face."""
    return np.broadcast_to(PINK, (len(faces), 64, 64, 3)).copy()


def coloured(photo: Pictures) -> int:
    return int((photo == PINK).all(-1).sum())


def test_only_the_largest_face_is_toonified_unless_all_are_asked_for() -> None:
    faces = [face_of(points_at(450, 200, 200)), face_of(points_at(150, 200, 100))]
    one = toonified_photograph(PHOTO, faces, pink)
    both = toonified_photograph(PHOTO, faces, pink, every_face=True)
    assert (one[:, :240] == PHOTO[:, :240]).all()
    assert coloured(both) > coloured(one) > 0


def test_a_face_that_is_turned_away_is_left_as_it_is() -> None:
    away = replace(face_of(points_at(450, 200, 200)), presence=0.0)
    near = face_of(points_at(150, 200, 100))
    result = toonified_photograph(PHOTO, [away, near], pink, every_face=True)
    assert (result[:, 330:] == PHOTO[:, 330:]).all()
    assert coloured(result) > 0
    with pytest.raises(AlignmentError, match=r"photograph: got only faces that are turned away or not whole \(1\)"):
        toonified_face(PHOTO, [away], pink)


def test_a_face_too_small_to_align_does_not_spoil_the_others() -> None:
    tiny, near = face_of(points_at(150, 200, 10)), face_of(points_at(450, 200, 100))
    assert len(placed_faces([near, tiny], "a.jpg")) == 1
    with pytest.raises(AlignmentError, match="got a face 10 pixels wide"):
        placed_faces([tiny], "a.jpg")


def test_no_face_is_named() -> None:
    with pytest.raises(AlignmentError, match=r"a\.jpg: got no face, expected at least one that looks towards"):
        placed_faces([], "a.jpg")


@pytest.mark.parametrize(
    ("x", "y", "side", "tilt", "aligned"),
    [
        (200, 200, 400, 0, True),
        (210, 185, 360, 8, True),
        (200, 200, 250, 0, False),
        (120, 200, 400, 0, False),
        (200, 200, 400, 25, False),
    ],
)
def test_a_square_picture_is_aligned_unless_its_face_says_otherwise(
    x: float, y: float, side: float, tilt: float, aligned: bool
) -> None:
    points = points_at(200, 200, 400)
    placement = placement_of_face(points)
    # Moves the average face so that its crop is the whole picture.
    centre, scale = placement @ [0.5, 0.5, 1], 400 / np.hypot(*placement[:, 0])
    whole = (points - centre) * scale
    turn = np.radians(tilt)
    moved = whole * side / 400 @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [x, y]
    assert is_aligned(SQUARE, [face_of(moved)]) is aligned


def test_a_square_picture_without_a_face_is_aligned_and_an_oblong_one_never() -> None:
    assert is_aligned(SQUARE, [])
    assert not is_aligned(PHOTO, [])
