from __future__ import annotations

import numpy as np
import pytest
from face_fakes import face_of, points_at, upright_mesh

from serving.faces.alignment import Points, placement_of_face
from serving.faces.landmarks import Face, Mesh
from serving.faces.outline import OVAL, mask_of, outline_mask, outline_of
from serving.faces.paste import FEATHER, soft_ellipse
from serving.faces.photograph import Pasting, toonified_photograph
from serving.video.composing import Paste, ToonFace

ANGLES = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
AVERAGE = np.column_stack([0.5 + 0.23 * np.sin(ANGLES), 0.6 - 0.33 * np.cos(ANGLES)])
"""An outline in its crop, from the middle of the forehead on."""


def face_at(x: float, y: float, side: float, degrees: float) -> Face:
    points = points_at(x, y, side, degrees)
    mesh = np.column_stack([upright_mesh(points), np.zeros(478)])
    placement = placement_of_face(points)
    mesh[[*OVAL], :2] = AVERAGE @ placement[:, :2].T + placement[:, 2]
    return Face(points, face_of(points).box, 0.9, 1.0, Mesh(mesh, 1.0))


@pytest.mark.parametrize("degrees", [0, 35, -80])
def test_the_outline_lies_in_the_crop_wherever_the_face_is(degrees: float) -> None:
    face = face_at(300, 220, 180, degrees)
    outline = outline_of(face, placement_of_face(face.points))
    assert outline is not None
    np.testing.assert_allclose(outline, AVERAGE, rtol=0, atol=1e-9)


def test_the_mask_covers_the_face_and_its_hair_and_ends_within_the_crop() -> None:
    mask = outline_mask(AVERAGE)
    assert (mask.shape, mask.dtype) == ((256, 256), np.float32)
    assert mask.min() == 0
    inside = np.rint((AVERAGE - [0.5, 0.6]) * 0.9 * 256 + [128, 0.6 * 256]).astype(int)
    assert (mask[inside[:, 1], inside[:, 0]] > 0.9).all()
    assert mask[int(0.2 * 256), 128] > 0.9  # hair
    assert mask[:, [0, -1]].max() == mask[[0, -1]].max() == 0
    beside = mask[int(0.6 * 256)]
    assert beside[: int(0.17 * 256)].max() == 0
    assert soft_ellipse(FEATHER)[int(0.6 * 256), int(0.17 * 256)] > 0.3  # where the ellipse shows background


def test_the_masks_edge_is_soft() -> None:
    mask = outline_mask(AVERAGE)
    assert np.abs(np.diff(mask, axis=0)).max() < 0.12
    assert np.abs(np.diff(mask, axis=1)).max() < 0.12


def test_without_a_mesh_the_mask_is_the_ellipse() -> None:
    points = points_at(300, 220, 180)
    assert outline_of(face_of(points), placement_of_face(points)) is None
    np.testing.assert_array_equal(mask_of(None, "outline"), soft_ellipse(FEATHER))
    np.testing.assert_array_equal(mask_of(AVERAGE, "ellipse"), soft_ellipse(FEATHER))


def test_a_photograph_is_pasted_through_the_chosen_mask_and_with_matched_colours() -> None:
    photo = np.full((440, 600, 3), (60, 90, 60), np.uint8)
    face = face_at(300, 220, 250, 10)

    def toonify(faces: np.ndarray) -> np.ndarray:
        return np.full((len(faces), 256, 256, 3), (240, 200, 160), np.uint8)

    changed = {}
    for kind in ("ellipse", "outline"):
        result = toonified_photograph(photo, [face], toonify, pasting=Pasting(kind))
        changed[kind] = (result != photo).any(-1).sum()
    assert 0.3 < changed["outline"] / changed["ellipse"] < 0.8
    matched = toonified_photograph(photo, [face], toonify, pasting=Pasting(colour_match=1.0))
    assert np.abs(matched.astype(int) - photo).max() < 6


def test_in_a_video_the_outline_of_a_tracked_face_masks_it() -> None:
    frame = np.full((300, 400, 3), 90, np.uint8)
    white = np.full((64, 64, 3), 255, np.uint8)
    placement = np.array([[200, 0, 100], [0, 200, 50]], np.float64)

    def covered(outline: Points | None, composer: Paste) -> int:
        face = ToonFace(0, placement, True, 1.0, white, white, outline)
        return int((composer(frame, [face]) > 90).any(-1).sum())

    ellipse = covered(AVERAGE, Paste())
    assert covered(None, Paste(mask="outline")) == ellipse
    assert 0.3 < covered(AVERAGE, Paste(mask="outline")) / ellipse < 0.8
