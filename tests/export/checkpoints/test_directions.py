"""Files of linear directions in every form, their rows and names, and what is refused."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import saved, written

from engines.contract.errors import CheckpointError, ExportError, ToonifyError
from export.checkpoints.directions import DirectionPlace, read_directions

D = np.arange(1, 9, dtype=np.float32)


def saved_npy(path: Path, array: object) -> Path:
    np.save(path, array)
    return path


def read(*texts: object, names: tuple[str, ...] = (), resolution: int | None = 32, scale: float = 1.0) -> np.ndarray:
    places = [DirectionPlace.parsed(str(text)) for text in texts]
    return read_directions(places, names, resolution, scale).directions


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8)])
def test_a_direction_in_w_moves_every_row(tmp_path: Path, shape: tuple[int, ...]) -> None:
    expected = np.tile(D, (1, 8, 1))
    np.testing.assert_array_equal(read(saved_npy(tmp_path / "age.npy", D.reshape(shape))), expected, strict=True)
    np.testing.assert_array_equal(read(saved(tmp_path / "age.pt", torch.tensor(D).reshape(shape))), expected)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_a_direction_in_w_plus_tells_the_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).standard_normal(shape)
    path = saved_npy(tmp_path / "pose.npy", rows)
    weights = read_directions([DirectionPlace(path)], (), None)
    np.testing.assert_allclose(weights.directions, rows.reshape(1, 8, 8), rtol=1e-6)
    assert weights.attributes == ("pose",)
    assert weights.sources[0].path == path


def test_without_rows_of_its_own_a_direction_is_for_1024(tmp_path: Path) -> None:
    assert read(saved_npy(tmp_path / "age.npy", D), resolution=None).shape == (1, 18, 8)


def test_a_component_of_ganspace_moves_by_its_standard_deviation(tmp_path: Path) -> None:
    components = {
        "comp": torch.tensor(np.stack([D, -D])[:, None]),
        "std": torch.tensor([2.0, 0.5]),
        "mean": torch.ones(1),
    }
    path = saved(tmp_path / "ffhq_pca.pt", components)
    place = DirectionPlace.parsed(f"{path}#1:2-3")
    assert (place.name, place.component, place.rows) == ("ffhq_pca_1", 1, (2, 3))
    expected = np.zeros((1, 8, 8), np.float32)
    expected[:, 2:4] = -D / 2
    np.testing.assert_array_equal(read(f"{path}#1:2-3"), expected)


def test_a_scale_multiplies_and_names_replace_those_of_the_files(tmp_path: Path) -> None:
    path = saved_npy(tmp_path / "stylegan_ffhq_age_w_boundary.npy", D[None])
    weights = read_directions([DirectionPlace(path), DirectionPlace(path)], ("age", "again"), 32, -2.0)
    assert weights.attributes == ("age", "again")
    np.testing.assert_array_equal(weights.directions[1, 5], -2 * D)


def test_a_file_of_python_2_is_read_without_a_warning(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8L,), }\n"
    path = written(tmp_path / "AGE.NPY", b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header + D.tobytes())
    np.testing.assert_array_equal(read(path), np.tile(D, (1, 8, 1)))


def test_a_name_that_no_file_can_have_is_refused_in_one_sentence() -> None:
    with pytest.raises(CheckpointError, match="got File name too long"):
        read("a" * 300, names=("age",))


def test_a_file_whose_name_looks_like_a_place_is_that_file(tmp_path: Path) -> None:
    path = saved_npy(tmp_path / "age:1-2.npy", D)
    assert DirectionPlace.parsed(str(path)) == DirectionPlace(path)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones((2, 3, 8), np.float32), r"an array of shape \[2, 3, 8\]"),
        (np.ones((65, 8), np.float32), r"an array of shape \[65, 8\]"),
        (np.zeros(8, np.float32), "nothing but zeros"),
        (np.array([1, np.nan], np.float32), "NaN, infinity"),
        (np.full(4, 1e300), "NaN, infinity"),
        (np.arange(8), "numbers of the type <i8"),
        (np.float32(3), r"an array of shape"),
        (np.ones((600, 600)), r"an array of shape \[600, 600\]"),
        (np.ones((700, 700)), "more than 3 MiB"),
    ],
)
def test_arrays_that_are_no_direction_are_refused(tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read(saved_npy(tmp_path / "a.npy", array))


def test_objects_and_damaged_files_are_refused_and_run_nothing(tmp_path: Path) -> None:
    class Marker:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "executed",)

    objects = np.empty(1, object)
    objects[0] = Marker()
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 100000), }"
    zipped = io.BytesIO()
    np.savez(zipped, D)
    files = {
        "pickle.npy": pickle.dumps(Marker()),
        "huge.npy": b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n" + b"\0" * 64,
        "text.npy": b"no array",
        "zip.npy": zipped.getvalue(),
        "empty.npy": b"",
        "half.npy": (tmp_path / "objects.npy").read_bytes()[:20],
        "marker.pt": pickle.dumps(Marker()),
    }
    for number, damaged in enumerate((b"{'descr': (", b"(" * 9000, b"-" * 5000 + b"1", b"{'shape': (True,), }")):
        # Python's parser has an error of another kind for each.
        files[f"damaged{number}.npy"] = b"\x93NUMPY\x01\x00" + len(damaged).to_bytes(2, "little") + damaged
    for name, content in files.items():
        written(tmp_path / name, content)
    for name in ("objects.npy", "missing.npy", *files):
        with pytest.raises(CheckpointError, match=f"{name}: got "):
            read(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("texts", "options", "sentence"),
    [
        (
            ["age.npy", "pose.npy"],
            {"resolution": 64},
            r"age \[1, 8\], pose \[8, 8\], expected 10 rows or one, all of one",
        ),
        (["age.npy", "wide.npy"], {}, r"wide \[1, 9\], expected 8 rows or one, all of one width"),
        (["age.npy", "age.npy"], {}, "2 of them with the names age, age"),
        (["age.npy"], {"names": ("a:b",)}, "with the names a:b"),
        (["age.npy"], {"names": ("a", "b")}, "1 of them with the names a, b"),
        (["age.npy:6-8"], {}, "rows 6-8, expected rows within 0-7"),
        (["age.npy:5-2"], {}, "rows 5-2"),
        (["age.npy#0"], {}, "one direction, and the number #0.*leave the number out"),
        (["age.pt#0"], {}, "one direction, and the number #0"),
        (["pca.pt"], {}, "no number of 2 components.*name one, such as pca.pt#0"),
        (["pca.pt#2"], {}, "component 2 of 2 components"),
        (["odd.pt#0"], {}, r"2 components and deviations \[3\]"),
        (["other.pt"], {}, "something else"),
    ],
)
def test_directions_that_do_not_fit_are_refused(
    tmp_path: Path, texts: list[str], options: dict[str, object], sentence: str
) -> None:
    saved_npy(tmp_path / "age.npy", D)
    saved_npy(tmp_path / "wide.npy", np.ones(9))
    saved_npy(tmp_path / "pose.npy", np.ones((8, 8)))
    saved(tmp_path / "age.pt", torch.tensor(D))
    saved(tmp_path / "pca.pt", {"comp": torch.ones(2, 1, 8), "std": torch.ones(2)})
    saved(tmp_path / "odd.pt", {"comp": torch.ones(2, 1, 8), "std": torch.ones(3)})
    saved(tmp_path / "other.pt", {"weight": torch.ones(2)})
    with pytest.raises((CheckpointError, ExportError), match=sentence) as raised:
        read(*(tmp_path / text for text in texts), **options)  # type: ignore[arg-type]
    assert isinstance(raised.value, ToonifyError)
