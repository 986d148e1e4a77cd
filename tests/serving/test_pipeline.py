"""The in-process pipeline, tested against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import GAINS, TinyModels, expected_pictures

from engines.contract.errors import RequestError
from serving.condition import z_from_seed

FACES = np.random.default_rng(1).integers(0, 256, (3, 256, 256, 3), np.uint8)
ATTRIBUTES = np.array([[0, 1], [1, 1], [0.5, -1]], np.float32)


@pytest.mark.parametrize("generator", GAINS)
def test_without_controls_the_code_goes_straight_to_the_generator(
    tiny_model_directories: TinyModels, generator: str
) -> None:
    pictures = tiny_model_directories.pipeline(generator).run(FACES)
    assert np.array_equal(pictures, expected_pictures(FACES, gain=GAINS[generator]))


def test_psi_scales_the_code(tiny_model_directories: TinyModels) -> None:
    pictures = tiny_model_directories.pipeline().run(FACES, psi=np.full((3, 1), 0.5, np.float32))
    assert np.array_equal(pictures, expected_pictures(FACES, psi=0.5))


def test_attributes_noise_and_row_strength_move_the_code(tiny_model_directories: TinyModels) -> None:
    strength = np.linspace(0, 1, 24, dtype=np.float32).reshape(3, 8)
    seeds = np.array([[5], [6], [7]])
    pictures = tiny_model_directories.pipeline().run(FACES, attributes=ATTRIBUTES, seed=seeds, row_strength=strength)
    noise = np.array([[z_from_seed(int(seed), 4)[0]] for (seed,) in seeds])
    shift = (ATTRIBUTES.sum(1, keepdims=True) + noise) / 4 * strength
    assert np.array_equal(pictures, expected_pictures(FACES, shift=shift[..., None]))


def test_zero_strength_equals_no_isf(tiny_model_directories: TinyModels) -> None:
    zero = np.zeros((3, 8), np.float32)
    with_isf = tiny_model_directories.pipeline().run(FACES, attributes=ATTRIBUTES, row_strength=zero)
    without_isf = tiny_model_directories.pipeline(isf=False).run(FACES)
    assert np.array_equal(with_isf, without_isf)


def test_a_batch_equals_its_rows_one_by_one(tiny_model_directories: TinyModels) -> None:
    pipeline = tiny_model_directories.pipeline()
    batch = pipeline.run(FACES, attributes=ATTRIBUTES)
    singles = [pipeline.run(FACES[i : i + 1], attributes=ATTRIBUTES[i : i + 1]) for i in range(3)]
    assert np.array_equal(batch, np.concatenate(singles))


def test_a_face_of_another_size_is_refused(tiny_model_directories: TinyModels) -> None:
    with pytest.raises(RequestError, match=r"tensor 'face': got uint8 \[3, 128, 256, 3\], expected face uint8"):
        tiny_model_directories.pipeline().run(FACES[:, :128])


def test_attributes_without_an_isf_are_refused(tiny_model_directories: TinyModels) -> None:
    with pytest.raises(RequestError, match=r"got the tensors \['attributes', 'face'\]"):
        tiny_model_directories.pipeline(isf=False).run(FACES, attributes=ATTRIBUTES)
