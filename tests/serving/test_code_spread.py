"""Codes that lie farther out than those of good faces are pulled in, and all others stay as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import TinyModels, with_code_spread, write_encoder

from engines.contract.errors import ModelDirectoryError
from engines.hashed_files import sha256_of
from engines.model_directory import Sizes, manifest_of, write_manifest
from serving.code_spread import CODE_SPREAD, CodeSpread, code_spread_of, write_code_spread
from serving.controls import Style
from serving.toonifier import EngineToonifier

RNG = np.random.default_rng(4)
MEAN = RNG.standard_normal((3, 8), np.float32)
REACH = np.array([1, 2, 4], np.float32)
SPREAD = CodeSpread(MEAN, REACH)
OUTWARD = RNG.standard_normal((3, 8), np.float32)
OUTWARD /= np.linalg.norm(OUTWARD, axis=1, keepdims=True)

FACES = np.random.default_rng(5).integers(0, 256, (4, 256, 256, 3), np.uint8)
FACES[1, :8, :16] = FACES[1, :8, :16] // 8 + 112  # in the middle of the levels, and so near the mean
FACES[3, :8, :16] = 0


def code_at(*distances: float) -> NDArray[np.float32]:
    """A code whose rows lie as far out as these numbers say."""
    return (MEAN + OUTWARD * REACH[:, None] * np.float32(distances)[:, None])[None]


def test_a_code_lies_as_far_out_as_its_farthest_row() -> None:
    codes = np.concatenate([code_at(0, 0, 0), code_at(0.5, 0.9, 0.2), code_at(0.1, 0.1, 3)])
    np.testing.assert_allclose(SPREAD.distances(codes), [0, 0.9, 3], atol=1e-6)


def test_codes_within_reach_stay_bit_for_bit() -> None:
    codes = np.concatenate([code_at(0, 0, 0), code_at(0.5, 0.99, 0.2)])
    guarded, distances = SPREAD.guarded(codes)
    assert guarded.tobytes() == codes.tobytes()
    assert (distances < 1).all()
    both, _ = SPREAD.guarded(np.concatenate([codes, code_at(5, 5, 5)]))
    assert both[:2].tobytes() == codes.tobytes()


def test_a_far_code_is_moved_straight_towards_the_mean() -> None:
    far = code_at(0.5, 4, 1)
    given = far.copy()
    guarded, distances = SPREAD.guarded(far)
    np.testing.assert_allclose(distances, [4], rtol=1e-6)
    np.testing.assert_allclose(guarded, code_at(0.125, 1, 0.25), atol=1e-6)
    assert far.tobytes() == given.tobytes(), "the caller's codes were changed"


def test_the_first_rows_alone_are_guarded_too() -> None:
    np.testing.assert_allclose(SPREAD.distances(code_at(0.5, 3, 9)[:, :2]), [3], rtol=1e-6)
    np.testing.assert_allclose(SPREAD.guarded(code_at(2, 1, 9)[:, :2])[0], code_at(1, 0.5, 0)[:, :2], atol=1e-6)


def test_codes_that_are_not_finite_are_left_to_the_checks_after_it() -> None:
    codes = code_at(0, 0, 0)
    codes[0, 1, 1] = np.nan
    assert np.isnan(SPREAD.guarded(codes)[0]).any()


@pytest.fixture
def encoder(tiny_model_directories: TinyModels, tmp_path: Path) -> Path:
    return with_code_spread(tiny_model_directories.encoder, tmp_path / "encoder")


def test_what_is_written_is_read(encoder: Path) -> None:
    spread = code_spread_of(encoder, manifest_of(encoder))
    assert spread is not None
    assert spread.mean.tobytes() == np.zeros((8, 16), np.float32).tobytes()
    assert spread.reach.tolist() == [3] * 8


def test_an_encoder_of_an_older_export_has_no_spread(tiny_model_directories: TinyModels) -> None:
    encoder = tiny_model_directories.encoder
    assert code_spread_of(encoder, manifest_of(encoder)) is None


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_another_shape(path: Path) -> None:
    write_code_spread(path.parent, CodeSpread(np.zeros((8, 15), np.float32), np.ones(8, np.float32)))


def without_reach(path: Path) -> None:
    write_code_spread(path.parent, CodeSpread(np.zeros((8, 16), np.float32), np.zeros(8, np.float32)))


def not_finite(path: Path) -> None:
    write_code_spread(path.parent, CodeSpread(np.full((8, 16), np.inf, np.float32), np.ones(8, np.float32)))


def a_pickle(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (damaged, "a damaged file"),
        (of_another_shape, r"an array of shape \[8, 16\]"),
        (without_reach, "numbers that are not finite, or a reach that is not above 0"),
        (not_finite, "numbers that are not finite, or a reach that is not above 0"),
        (a_pickle, "Python objects, which are not read"),
        (Path.unlink, "no such file"),
    ],
)
def test_files_that_hold_something_else_are_refused(encoder: Path, change: Callable[[Path], None], got: str) -> None:
    path = encoder / CODE_SPREAD
    change(path)
    manifest = manifest_of(encoder)
    sha256 = sha256_of(path) if path.exists() else "0"
    manifest = manifest.model_copy(update={"files": {**manifest.files, CODE_SPREAD: sha256}})
    with pytest.raises(ModelDirectoryError, match=rf"code_spread.npy: got {got}, expected float32 \[8, 17\], the mean"):
        code_spread_of(encoder, manifest)


def test_no_more_of_a_file_is_read_than_it_may_hold(encoder: Path) -> None:
    os.truncate(encoder / CODE_SPREAD, 2**40)
    with pytest.raises(ModelDirectoryError, match=r"code_spread.npy: got a larger file, expected at most 66624 bytes"):
        code_spread_of(encoder, manifest_of(encoder))


def test_an_altered_file_is_refused(encoder: Path) -> None:
    write_code_spread(encoder, CodeSpread(np.ones((8, 16), np.float32), np.ones(8, np.float32)))
    with pytest.raises(ModelDirectoryError, match=r"code_spread.npy: got a file that changed"):
        code_spread_of(encoder, manifest_of(encoder))


def test_engines_pull_far_codes_in(tiny_model_directories: TinyModels, encoder: Path) -> None:
    generators = [tiny_model_directories.generators["plain"]]
    with EngineToonifier(encoder, generators) as guarded, EngineToonifier(encoder, generators, guard=False) as free:
        codes, (w, distances) = free.encode(FACES), guarded.encode_with_distance(FACES)
        assert distances is not None
        np.testing.assert_array_equal(distances > 1, [False, False, False, True])
        assert w[:3].tobytes() == codes[:3].tobytes()
        np.testing.assert_allclose(w[3], codes[3] / distances[3], rtol=1e-6)
        style = Style()
        expected = free.render(w, style)
        pictures, told = guarded.toonify_with_distance(FACES, style)
        np.testing.assert_array_equal(pictures, expected)
        np.testing.assert_array_equal(told, distances)
        np.testing.assert_array_equal(guarded.toonify(FACES, style), expected)
        np.testing.assert_array_equal(guarded.encode(FACES), w)
        assert free.encode_with_distance(FACES)[1] is None
        assert free.toonify_with_distance(FACES, style)[1] is None
        assert not np.array_equal(free.toonify(FACES, style)[3], expected[3])
        np.testing.assert_array_equal(free.toonify(FACES, style)[:3], expected[:3])


def test_given_codes_are_rendered_as_they_are(tiny_model_directories: TinyModels, encoder: Path) -> None:
    generators = [tiny_model_directories.generators["plain"]]
    far = np.full((1, 8, 16), 5, np.float32)
    with EngineToonifier(encoder, generators) as guarded, EngineToonifier(encoder, generators, guard=False) as free:
        np.testing.assert_array_equal(guarded.render(far, Style()), free.render(far, Style()))


def test_a_light_encoder_is_guarded_by_the_spread_of_the_whole_one(
    tiny_model_directories: TinyModels, encoder: Path, tmp_path: Path
) -> None:
    light = write_encoder(tmp_path / "light", Sizes(resolution=32, w_dim=16, rows=7))
    with EngineToonifier(encoder, [tiny_model_directories.generators["plain"]], light_encoder=light) as toonifier:
        whole, rows = toonifier.encode(FACES), toonifier.encode(FACES, light=True)
    np.testing.assert_array_equal(rows, whole[:, :7])


def test_a_manifest_without_the_file_is_an_older_one(encoder: Path) -> None:
    manifest = manifest_of(encoder)
    files = {name: digest for name, digest in manifest.files.items() if name != CODE_SPREAD}
    write_manifest(encoder, manifest.model_copy(update={"files": files}))
    assert code_spread_of(encoder, manifest_of(encoder)) is None
