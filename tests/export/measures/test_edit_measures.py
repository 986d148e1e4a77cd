"""PPL, PIR, diversity, mAcc and FRS against closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from generators import random_generator
from lpips_files import write_lpips
from onnx import TensorProto, helper
from torch import Tensor

from engines.contract.arrays import Pictures
from engines.contract.errors import CheckpointError
from export.measures.attributes import edit_accuracy
from export.measures.lpips import read_lpips
from export.measures.perception import (
    EPSILON,
    LpipsPerception,
    diversity,
    path_measures,
    perceptual_path_length,
    step_distances,
)
from export.measures.recognition import FaceRecognition, recognition_score
from export.networks.generator import generator_from_weights


class Brightness:
    """A perceptual distance that can be computed by hand: the difference of the pictures' first levels."""

    def features(self, pictures: Pictures) -> Sequence[Tensor]:
        return [torch.from_numpy(pictures[:, 0, 0, 0].astype(np.float32))]

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return (a[0] - b[0]).abs()


def of_levels(*levels: int) -> Pictures:
    return np.repeat(np.uint8(levels), 12).reshape(-1, 2, 2, 3)


def test_an_even_path_has_no_range_and_its_length_counts_steps_squared() -> None:
    assert path_measures(Brightness(), of_levels(0, 10, 20, 30, 40)) == (pytest.approx(10 * 4**2), 0)


def test_a_path_that_jumps_has_the_range_of_its_steps() -> None:
    length, spread = path_measures(Brightness(), of_levels(0, 0, 40, 50))
    assert length == pytest.approx((0 + 40 + 10) / 3 * 3**2)
    assert spread == pytest.approx((40 - 0) / 50)


def test_a_path_that_returns_to_its_start_has_a_finite_range() -> None:
    assert path_measures(Brightness(), of_levels(7, 9, 7))[1] == 0
    assert path_measures(Brightness(), of_levels(7, 7, 7)) == (0, 0)


def test_diversity_is_the_mean_over_different_pairs() -> None:
    assert diversity(Brightness(), of_levels(0, 10, 40)) == pytest.approx((10 + 40 + 30) / 3)


def test_ppl_is_the_distance_of_small_steps_over_their_square(tmp_path: Path) -> None:
    generator = generator_from_weights(random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5}))
    lpips = read_lpips(*write_lpips(tmp_path, "alexnet"))
    z = torch.randn(3, 2, generator.mapping.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w = generator.mapping(z.flatten(0, 1)).unflatten(0, (3, 2))
        start, step = w[:, 0], w[:, 0] + EPSILON * (w[:, 1] - w[:, 0])
        pictures = [generator.synthesise(code[:, None].expand(-1, 8, -1)) for code in (start, step)]
        expected = lpips(*pictures) / EPSILON**2
    np.testing.assert_allclose(step_distances(generator, lpips, z), expected, rtol=0.02)


def test_ppl_leaves_the_outer_percents_out() -> None:
    distances = np.concatenate([[0.0], np.full(198, 5.0), [1e6]]).astype(np.float32)
    assert perceptual_path_length(distances) == 5


def test_large_pictures_are_reduced_before_lpips(tmp_path: Path) -> None:
    perception = LpipsPerception(read_lpips(*write_lpips(tmp_path, "alexnet")))
    small = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    large = small.repeat(2, 1).repeat(2, 2)
    assert float(perception.distance(perception.features(small), perception.features(large))) < 1e-10


def test_accuracy_counts_the_edited_attribute_and_the_others_apart() -> None:
    seen = np.float32([[0.9, 0.2], [0.4, 0.6]])
    target = np.float32([[1, 0], [1, 0]])
    assert edit_accuracy(seen, target, 0) == (0.5, 0.5)
    assert edit_accuracy(seen, target, 1) == (0.5, 0.5)
    assert edit_accuracy(seen[:, :1], target[:, :1], 0) == (0.5, None)


@pytest.fixture
def mean_colours(tmp_path: Path) -> Path:
    """A network "for face recognition" whose vector is the face's mean colour."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("data", [1, 3, 112, 112]), ("vector", [1, 3]))
    ]
    graph = helper.make_graph(nodes, "colours", values[:1], values[1:])
    path = tmp_path / "colours.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_frs_is_the_cosine_of_the_vectors_of_the_face_without_its_surroundings(mean_colours: Path) -> None:
    faces = np.zeros((2, 512, 512, 3), np.uint8)
    faces[0], faces[1] = (200, 0, 0), (0, 200, 0)
    faces[:, :60] = 255  # the paper's code cuts off the upper 35 rows of 256
    vectors = FaceRecognition(mean_colours).vectors(faces)
    np.testing.assert_allclose(vectors, [[200, 0, 0], [0, 200, 0]], atol=1e-3)
    assert recognition_score(vectors, vectors) == pytest.approx(1)
    assert recognition_score(vectors, vectors[::-1]) == pytest.approx(0)
    assert recognition_score(vectors, np.float32([[1, 1, 0], [0, 3, 0]])) == pytest.approx((2**-0.5 + 1) / 2)
    assert recognition_score(np.zeros((1, 3), np.float32), vectors[:1]) == 0


def test_a_file_that_is_no_recognition_network_is_refused(tmp_path: Path, generator: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    for path in (tmp_path / "missing.onnx", tmp_path / "text.onnx", generator):
        with pytest.raises(CheckpointError, match="OpenCV cannot run on a face, expected a face-recognition network"):
            FaceRecognition(path)
