"""NVIDIA's pickles of PyTorch and TensorFlow: they give the same tensors, and no code in them is run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import (
    DATA,
    assert_same,
    nvlabs_pickle,
    tensorflow_pickle,
    written,
)
from generators import random_generator
from numpy.typing import NDArray

from engines.contract.errors import CheckpointError
from export.checkpoints import read_generator
from export.checkpoints.opening import open_checkpoint
from export.weights import GeneratorWeights


@pytest.fixture(scope="module")
def generator() -> GeneratorWeights:
    return random_generator(16, 4, w_dim=8, mapping_depth=3)


def test_nvidias_own_pickle_is_read_without_running_its_source() -> None:
    weights = read_generator(DATA / "nv32_public.pkl")
    with np.load(DATA / "nv32_public.npz") as recorded:
        np.testing.assert_array_equal(weights.tensors["mapping.w_avg"], recorded["w_avg"])
    assert weights.channels == {4: 16, 8: 16, 16: 16, 32: 8}
    assert (weights.mapping_depth, weights.conv_clamp, weights.fp16_from, weights.notes) == (2, None, None, ())


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_an_nvidia_pickle_gives_its_tensors_clamp_and_precision(tmp_path: Path, depth: int) -> None:
    original = random_generator(32, {4: 8, 8: 8, 16: 4, 32: 2}, mapping_depth=depth, conv_clamp=256)
    weights = read_generator(written(tmp_path / "network.pkl", nvlabs_pickle(original, fp16_from=16)))
    assert_same(weights.tensors, original.tensors)
    assert (weights.conv_clamp, weights.fp16_from) == (256, 16)


@pytest.mark.parametrize("pickled", [nvlabs_pickle, tensorflow_pickle])
def test_a_generator_without_noise_gets_strengths_of_zero(
    tmp_path: Path, generator: GeneratorWeights, pickled: Callable[..., bytes]
) -> None:
    weights = read_generator(written(tmp_path / "network.pkl", pickled(generator, use_noise=False)))
    noise = {name: array for name, array in weights.tensors.items() if ".noise" in name}
    assert len(noise) == 10
    assert not any(array.any() for array in noise.values())
    assert weights.notes == ("the generator was trained without noise; its noise strengths are zero",)


@pytest.mark.parametrize("pickled", [nvlabs_pickle, tensorflow_pickle])
def test_the_average_latent_may_be_missing(
    tmp_path: Path, generator: GeneratorWeights, pickled: Callable[..., bytes]
) -> None:
    tensors = {name: array for name, array in generator.tensors.items() if name != "mapping.w_avg"}
    weights = read_generator(written(tmp_path / "network.pkl", pickled(replace(generator, tensors=tensors))))
    assert weights.tensors.keys() == tensors.keys()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_tensorflow_pickle_gives_the_same_tensors_under_every_protocol(
    tmp_path: Path, generator: GeneratorWeights, protocol: int
) -> None:
    path = written(tmp_path / "network.pkl", tensorflow_pickle(generator, protocol, resolution=16))
    # TensorFlow stores the bias of the affine layer without its 1.
    expected = {
        name: (array - np.float32(1)) + np.float32(1) if name.endswith("affine.bias") else array
        for name, array in generator.tensors.items()
    }
    weights = read_generator(path)
    assert_same(weights.tensors, expected)
    assert (weights.conv_clamp, weights.fp16_from) == (None, None)


class TransposedArray:
    """Pickles as NumPy 2.3 and later pickle an array whose axes lie in memory in another order."""

    def __init__(self, array: NDArray[np.float32], axes: object) -> None:
        self.array, self.axes = array, axes

    def __reduce__(self) -> tuple[Any, ...]:
        from_buffer = self.array.__reduce_ex__(5)[0]
        return from_buffer, (self.array.tobytes(), self.array.dtype, self.array.shape, "K", self.axes)


def test_an_array_keeps_the_order_of_axes_that_newer_numpy_stores(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    content = {"array": TransposedArray(array, (1, 2, 0))}
    read = open_checkpoint(written(tmp_path / "arrays.pkl", pickle.dumps(content, 4))).content["array"]
    assert np.array_equal(read.array(), array.transpose(1, 2, 0))


@pytest.mark.parametrize("axes", [None, (0, 1), (0, 0, 1), (0, 1, 5), (0, 1, -1), ("0", 1, 2)])
def test_an_order_of_axes_that_is_none_is_refused(tmp_path: Path, axes: object) -> None:
    content = {"array": TransposedArray(np.zeros((2, 3, 4), np.float32), axes)}
    with pytest.raises(CheckpointError, match="got a damaged or truncated pickle"):
        open_checkpoint(written(tmp_path / "arrays.pkl", pickle.dumps(content, 4)))


def test_a_tensorflow_pickle_of_the_ada_kind_gives_clamp_and_precision(
    tmp_path: Path, generator: GeneratorWeights
) -> None:
    options = {"conv_clamp": 256, "num_fp16_res": 1, "architecture": "skip", "resample_kernel": [1, 3, 3, 1]}
    weights = read_generator(written(tmp_path / "network.pkl", tensorflow_pickle(generator, **options)))
    assert (weights.conv_clamp, weights.fp16_from) == (256, 16)


def test_tensors_that_python_2_pickled_are_read(tmp_path: Path, generator: GeneratorWeights) -> None:
    # Python 2 wrote an array's bytes as a string, which Python 3 decodes as latin-1.
    raw = generator.tensors["mapping.w_avg"].tobytes()
    content = tensorflow_pickle(generator, 3)
    as_bytes, as_string = pickle.BINBYTES if len(raw) > 255 else pickle.SHORT_BINBYTES, pickle.SHORT_BINSTRING
    assert content.count(as_bytes + bytes([len(raw)]) + raw) == 1
    old = content.replace(as_bytes + bytes([len(raw)]) + raw, as_string + bytes([len(raw)]) + raw)
    weights = read_generator(written(tmp_path / "network.pkl", old))
    np.testing.assert_array_equal(weights.tensors["mapping.w_avg"], generator.tensors["mapping.w_avg"])
