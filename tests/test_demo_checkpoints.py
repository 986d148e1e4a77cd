"""The demo's checkpoints and its drawn face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.blending import blend, schedule_from_options
from export.checkpoints import read_encoder, read_generator, read_isf
from export.demo_checkpoints import DemoCheckpoints, demo_checkpoints
from export.demo_face import demo_face, demo_photograph
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import generator_from_weights, picture_from_output
from export.networks.isf import isf_from_weights
from export.weights import GeneratorWeights
from serving.landmarks import CANONICAL_POINTS


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoCheckpoints:
    return demo_checkpoints(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def codes(demo: DemoCheckpoints) -> torch.Tensor:
    """W+ codes of two faces: the drawn one, and the same person from a photograph, cut out coarsely."""
    photograph, _ = demo_photograph()
    faces = np.stack([demo_face(), cv2.resize(photograph[60:290, 240:470], (256, 256))])
    with torch.no_grad():
        w: torch.Tensor = encoder_from_weights(read_encoder(demo.encoder))(input_from_face(torch.from_numpy(faces)))
    return w


def pictures(weights: GeneratorWeights, w: torch.Tensor) -> NDArray[np.float64]:
    """Pictures in levels 0..255."""
    return picture_from_output(generator_from_weights(weights).synthesise(w)).numpy().astype(np.float64)


def test_the_four_files_fit_each_other(demo: DemoCheckpoints) -> None:
    base, transfer = read_generator(demo.base), read_generator(demo.transfer)
    encoder, isf = read_encoder(demo.encoder), read_isf(demo.isf)
    assert base.resolution == transfer.resolution == 256
    assert base.rows == encoder.rows == isf.rows == 14
    assert base.w_dim == encoder.w_dim == isf.w_dim == 64
    assert encoder.kind == "e4e"
    np.testing.assert_array_equal(encoder.latent_avg, np.tile(base.tensors["mapping.w_avg"], (14, 1)))


def test_the_pair_blends_as_siblings(demo: DemoCheckpoints) -> None:
    report = blend(
        [read_generator(demo.base), read_generator(demo.transfer)], schedule_from_options(256, r_swap=16)
    ).report
    assert report.kinship[0].equal_noise
    assert report.warnings == ()


def test_pictures_have_contrast_and_little_is_clipped(demo: DemoCheckpoints, codes: torch.Tensor) -> None:
    for file in (demo.base, demo.transfer):
        picture = pictures(read_generator(file), codes[:1])
        # Measured: standard deviations of 43 and 56 levels, 0.4 % and 2.7 % clipped.
        assert 35 < picture.std() < 75
        assert ((picture == 0) | (picture == 255)).mean() < 0.1


def test_another_face_blend_or_attribute_gives_another_picture(demo: DemoCheckpoints, codes: torch.Tensor) -> None:
    base, transfer = read_generator(demo.base), read_generator(demo.transfer)
    blended = blend([base, transfer], schedule_from_options(256, r_swap=16)).weights
    first, second = pictures(blended, codes)
    isf = isf_from_weights(read_isf(demo.isf))
    attributes = torch.cat([torch.zeros(1, 4), torch.eye(4)])
    edited = isf(codes[:1].expand(5, -1, -1), attributes, torch.zeros(5, 64), torch.ones(5, 14))
    plain, *changed = pictures(blended, edited)
    # Mean differences of 10 levels are plainly visible; the smallest measured is 23.
    assert abs(first - second).mean() > 10
    assert abs(first - pictures(base, codes[:1])[0]).mean() > 10
    assert all(abs(picture - plain).mean() > 10 for picture in changed)


def test_whole_files_are_reused_and_damaged_ones_made_again(tmp_path: Path) -> None:
    made = demo_checkpoints(tmp_path)
    content = [path.read_bytes() for path in made.files]
    times = [path.stat().st_mtime_ns for path in made.files]
    assert demo_checkpoints(tmp_path) == made
    assert [path.stat().st_mtime_ns for path in made.files] == times
    made.isf.write_bytes(content[3][:1000])
    made.encoder.unlink()
    assert demo_checkpoints(tmp_path) == made
    assert [path.read_bytes() for path in made.files] == content
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.pt",
        "demo.json",
        "encoder.pt",
        "isf.ckpt",
        "transfer.pt",
    ]


def test_the_face_in_the_photograph_is_the_aligned_face_at_its_points() -> None:
    photograph, points = demo_photograph()
    matrix, _ = cv2.estimateAffinePartial2D(points, CANONICAL_POINTS * 256 - 0.5)
    aligned = cv2.warpAffine(photograph, matrix, (256, 256), flags=cv2.INTER_CUBIC)
    head = (slice(50, 220), slice(70, 186))
    difference = abs(aligned[head].astype(float) - demo_face()[head])
    # Measured 2.4 levels, as the photograph is drawn with fewer pixels; a shift of half a pixel gives 3.8.
    assert difference.mean() < 3
