"""Both formats of ``torch.save``: every storage type and view, and false statements about storages."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import RawStorage, RawTensor, saved, torch_legacy, torch_pickle, torch_zip, written

from engines.contract.errors import CheckpointError
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.stored_tensors import StoredTensor

both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])

FOUR = np.arange(4, dtype="<f4").tobytes()


def content_of(path: Path) -> dict[str, StoredTensor]:
    content = open_checkpoint(path).content
    assert isinstance(content, dict)
    return content


@both_formats
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.bfloat16])
def test_floating_storages_become_float32(tmp_path: Path, legacy: bool, dtype: torch.dtype) -> None:
    tensor = torch.linspace(-3, 300, 24).reshape(2, 3, 4).to(dtype)
    loaded = content_of(saved(tmp_path / "a.pt", {"a": tensor}, legacy=legacy))["a"].array()
    np.testing.assert_array_equal(loaded, tensor.float().numpy(), strict=True)


@both_formats
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool])
def test_other_numbers_are_read_but_are_no_weights(tmp_path: Path, legacy: bool, dtype: torch.dtype) -> None:
    loaded = content_of(saved(tmp_path / "a.pt", {"a": torch.ones(3, dtype=dtype)}, legacy=legacy))["a"]
    assert loaded.shape == (3,)
    with pytest.raises(CheckpointError, match="among the weights, expected floating-point weights"):
        loaded.array()


@both_formats
@pytest.mark.parametrize(
    "view",
    [
        lambda base: base.T,
        lambda base: base[1::2, 3],
        lambda base: base[2:],
        lambda base: base[:, 1:3].permute(1, 0)[None],
        lambda base: base[1, 2],
    ],
    ids=["transposed", "strided", "offset", "permuted", "scalar"],
)
def test_views_that_share_a_storage_keep_their_numbers(
    tmp_path: Path, legacy: bool, view: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    base = torch.arange(20.0).reshape(5, 4)
    loaded = content_of(saved(tmp_path / "a.pt", {"base": base, "view": view(base)}, legacy=legacy))
    np.testing.assert_array_equal(loaded["base"].array(), base, strict=True)
    np.testing.assert_array_equal(loaded["view"].array(), view(base), strict=True)


def test_arrays_do_not_share_memory_with_each_other_or_the_file(tmp_path: Path) -> None:
    base = torch.arange(4.0)
    loaded = content_of(saved(tmp_path / "a.pt", {"a": base, "b": base}))
    loaded["a"].array()[:] = 7
    np.testing.assert_array_equal(loaded["b"].array(), base)


def test_an_untyped_storage_may_hold_the_numbers(tmp_path: Path) -> None:
    class OfType:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            storage = RawStorage("0", 16, torch.UntypedStorage)
            return torch._utils._rebuild_tensor_v3, (storage, 1, (3,), (1,), False, {}, torch.float32)

    path = written(tmp_path / "a.pt", torch_zip(torch_pickle({"a": OfType()}), {"data/0": FOUR}))
    np.testing.assert_array_equal(content_of(path)["a"].array(), np.float32([1, 2, 3]), strict=True)
    # torch itself reads the same numbers.
    np.testing.assert_array_equal(torch.load(path, weights_only=True)["a"], [1, 2, 3])


def test_an_untyped_storage_beside_a_tensor_is_read(tmp_path: Path) -> None:
    content = {"a": torch.arange(3.0), "untyped": torch.arange(3, dtype=torch.uint8).untyped_storage()}
    np.testing.assert_array_equal(content_of(saved(tmp_path / "a.pt", content))["a"].array(), [0, 1, 2])


def test_an_unsaved_tensor_in_a_plain_pickle_is_read(tmp_path: Path) -> None:
    # pickle.dump stores each storage as a whole legacy file behind torch.storage._load_from_bytes.
    state = {"half": torch.arange(6.0).half().reshape(2, 3).T, "parameter": torch.nn.Parameter(torch.ones(2))}
    loaded = content_of(written(tmp_path / "a.pkl", pickle.dumps(state)))
    np.testing.assert_array_equal(loaded["half"].array(), state["half"].float(), strict=True)
    np.testing.assert_array_equal(loaded["parameter"].array(), [1, 1])


def test_the_hand_made_files_of_these_tests_are_what_torch_reads(tmp_path: Path) -> None:
    state = {"a": RawTensor(RawStorage("0", 4), (2, 2), (2, 1))}
    zipped = torch_zip(torch_pickle(state), {"data/0": FOUR})
    for content in (zipped, torch_legacy(torch_pickle(state, legacy=True), {"0": FOUR})):
        expected = torch.load(io.BytesIO(content), weights_only=True)["a"]
        np.testing.assert_array_equal(content_of(written(tmp_path / "a.pt", content))["a"].array(), expected)


def test_reading_takes_no_torch(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"a": torch.ones(2)})
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import export.checkpoints\n"
        "from pathlib import Path; from export.checkpoints.opening import open_checkpoint\n"
        "print(open_checkpoint(Path(sys.argv[1])).content['a'].array())"
    )
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("[1. 1.]\n", "")


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (RawTensor(RawStorage("0", 4), (2, 2), (1, 1)), r"shape \[2, 2\] whose strides \[1, 1\] overlap"),
        (RawTensor(RawStorage("0", 4), (1000, 4), (0, 1)), r"whose strides \[0, 1\] overlap"),
        (RawTensor(RawStorage("0", 4), (2,), (-1,), 1), r"strides or offset \(-1\)"),
        (RawTensor(RawStorage("0", 4), (-4,), (1,)), r"strides or offset \(-4\)"),
        (RawTensor(RawStorage("0", 4), (1,), (1,), -1), r"strides or offset \(-1\)"),
        (RawTensor(RawStorage("0", 4), (5,), (1,)), "ends at byte 20 of a storage of 16 bytes"),
        (RawTensor(RawStorage("0", 4), (2,), (1,), 3), "ends at byte 20 of a storage of 16 bytes"),
        (RawTensor(RawStorage("0", 4), (2, 2), (3, 1)), "ends at byte 20 of a storage of 16 bytes"),
        (RawTensor(RawStorage("0", 4), (1 << 62, 1 << 62), (1, 1)), "ends at byte .* of a storage of 16 bytes"),
        (RawTensor(RawStorage("0", 4), (2, 2), (1,)), "a tensor with 2 sizes and 1 strides"),
        (RawTensor(RawStorage("0", 4), (1,) * 9, (1,) * 9), "at most eight numbers"),
    ],
)
@both_formats
def test_a_tensor_that_is_no_proper_view_of_its_storage_is_refused(
    tmp_path: Path, legacy: bool, tensor: RawTensor, sentence: str
) -> None:
    pickled = torch_pickle({"a": tensor}, legacy=legacy)
    content = torch_legacy(pickled, {"0": FOUR}) if legacy else torch_zip(pickled, {"data/0": FOUR})
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(written(tmp_path / "a.pt", content))


def test_a_storage_that_claims_more_bytes_than_it_has_is_refused(tmp_path: Path) -> None:
    pickled = torch_pickle({"a": RawTensor(RawStorage("0", 1 << 40), (4,), (1,))})
    sentence = "a storage of 16 bytes whose pickle claims 4398046511104"
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(written(tmp_path / "a.pt", torch_zip(pickled, {"data/0": FOUR})))
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(written(tmp_path / "a.pt", torch_legacy(pickled, {"0": FOUR}, counts={"0": 1 << 40})))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch_zip(torch_pickle({"a": RawTensor(RawStorage("0", 4), (4,), (1,))})), "no zip member 'data/0'"),
        (torch_legacy(torch_pickle({"a": RawTensor(RawStorage("0", 4), (4,), (1,))})), "no bytes for storage '0'"),
        (torch_legacy(torch_pickle({}), {"0": FOUR}), "a storage '0' that no tensor views"),
        (torch_zip(torch_pickle(RawStorage("0", 4, "Float")), {"data/0": FOUR}), "an unexpected persistent id"),
        (torch_zip(torch_pickle(RawStorage("0", -4)), {"data/0": FOUR}), "whose pickle claims -16"),
        (torch_zip(torch_pickle({}), {"byteorder": b"big"}), "a file of a big-endian machine"),
        (torch_zip(torch_pickle({}), {"constants.pkl": b""}), "a TorchScript program"),
        (
            torch_zip(torch_pickle([RawStorage("0", 4), RawStorage("0", 8, torch.HalfStorage)]), {"data/0": FOUR}),
            "storage '0' under two types or sizes",
        ),
    ],
)
def test_storages_that_contradict_their_file_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(written(tmp_path / "a.pt", content))


def test_altered_bytes_of_a_storage_are_noticed(tmp_path: Path) -> None:
    content = torch_zip(torch_pickle({"a": RawTensor(RawStorage("0", 4), (4,), (1,))}), {"data/0": FOUR})
    assert content.count(FOUR) == 1
    with pytest.raises(CheckpointError, match="altered bytes in zip member 'data/0'"):
        open_checkpoint(written(tmp_path / "a.pt", content.replace(FOUR, FOUR[::-1])))


def test_tensors_and_parameters_of_torch_before_0_4_are_read(tmp_path: Path) -> None:
    """torchvision's VGG16 and the heads of LPIPS are stored so."""

    class OldTensor:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return torch._utils._rebuild_tensor, (RawStorage("0", 4), 1, (3,), (1,))

    class OldParameter:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], object]:
            return torch.nn.Parameter, (OldTensor(),), (True, False, {})

    content = torch_legacy(torch_pickle({"a": OldTensor(), "b": OldParameter()}, legacy=True), {"0": FOUR})
    loaded = content_of(written(tmp_path / "a.pth", content))
    for name in ("a", "b"):
        np.testing.assert_array_equal(loaded[name].array(), np.float32([1, 2, 3]), strict=True)
