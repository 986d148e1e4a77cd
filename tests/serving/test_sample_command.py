"""``toonify sample`` and the sampler of one process."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import DEFAULT_BLEND, TinyModels, expected_samples, gain_of_blend
from toonify_command import Toonify

from engines.contract.errors import ModelDirectoryError, RequestError
from engines.contract.tensors import Geometry, draw_z_signature
from serving.faces.images import read_picture
from serving.random_faces import filled_sample
from serving.sampler import EngineSampler, codes_of_seeds, mapping_engine
from serving.sheet import GAP, sheet_of


@pytest.fixture
def plain(tiny_model_directories: TinyModels) -> Path:
    return tiny_model_directories.generators["plain"]


def test_a_seed_is_the_same_face_in_every_batch(plain: Path) -> None:
    with EngineSampler(plain) as sampler:
        faces = sampler.sample([4, 0, 4], psi=0.5)
        np.testing.assert_array_equal(faces, expected_samples([4, 0, 4], psi=0.5))
        np.testing.assert_array_equal(sampler.sample(4, psi=0.5), faces[:1])


@pytest.mark.parametrize("seed", [2**63 - 1, 2**63, 2**64])
def test_codes_are_drawn_of_the_same_seeds_as_faces(plain: Path, seed: int) -> None:
    with EngineSampler(plain) as sampler, mapping_engine(plain) as mapping:
        if seed < 2**63:
            assert len(sampler.sample(seed)) == len(codes_of_seeds(mapping, seed)) == 1
            return
        for draw in (sampler.sample, partial(codes_of_seeds, mapping)):
            with pytest.raises(RequestError, match=r"^seeds: got .*, expected one whole number below 2\^63"):
                draw(seed)


def test_what_is_no_folder_of_a_mapping_network_is_said(plain: Path, tmp_path: Path) -> None:
    for name, content in (("a file", tmp_path / "a file/mapping"), ("a link", None)):
        copy = Path(shutil.copytree(plain, tmp_path / name, ignore=shutil.ignore_patterns("mapping")))
        if content:
            content.write_bytes(b"")
        else:
            (copy / "mapping").symlink_to(tmp_path / "gone")
        with pytest.raises(ModelDirectoryError, match="got no folder, expected the model directory of a mapping"):
            EngineSampler(copy)


@pytest.mark.parametrize("unknown", [{"keep": [0, 1]}, {"exact": True}, {"attributes": {"age": 1}}, {"noise": 1}])
def test_a_sampler_refuses_what_it_does_not_take(tiny_model_directories: TinyModels, unknown: dict[str, Any]) -> None:
    with (
        EngineSampler(tiny_model_directories.generators["plain"]) as sampler,
        pytest.raises(RequestError, match=f"control '{next(iter(unknown))}': got a model that does not take it"),
    ):
        sampler.sample([1], **unknown)


def test_a_live_generator_draws_faces_at_its_default_blend(tiny_model_directories: TinyModels) -> None:
    with EngineSampler(tiny_model_directories.live) as sampler:
        faces = sampler.sample([4, 0], psi=0.5)
    np.testing.assert_array_equal(faces, expected_samples([4, 0], psi=0.5, gain=gain_of_blend(DEFAULT_BLEND)))


def test_the_command_chooses_the_blend_of_a_live_generator(
    toonify: Toonify, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    command = ("sample", "--generator", tiny_model_directories.live, "--seeds", 4, "-o", tmp_path / "face.png")
    assert toonify(*command, "--r-swap", 16, "--alpha", 0.5)[0] == 0
    (expected,) = expected_samples([4], gain=gain_of_blend([0.5, 0.5, 0.5, 0]))
    np.testing.assert_array_equal(read_picture(tmp_path / "face.png"), expected)


def test_a_psi_that_is_no_number_is_refused(plain: Path) -> None:
    with EngineSampler(plain) as sampler, pytest.raises(RequestError, match="tensor 'psi': got a value that is NaN"):
        sampler.sample(1, psi=float("nan"))


def test_a_request_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="request: got no tensor, expected 'seed' or 'z'"):
        filled_sample(draw_z_signature(Geometry(32, z_dim=4)), {})


def test_a_sheet_holds_every_face_in_the_order_of_the_seeds(toonify: Toonify, plain: Path, tmp_path: Path) -> None:
    output = tmp_path / "sheet.png"
    code, out, err = toonify("sample", "--seeds", "3:10", "--generator", plain, "--columns", 4, "-o", output)
    assert (code, out) == (0, f"{output}\n")
    assert "drawing faces 1 to 7 of 7" in err
    sheet, side = read_picture(output), 32 + 2 * GAP
    assert sheet.shape == (2 * side, 4 * side, 3)
    for number, face in enumerate(expected_samples(range(3, 10))):
        top, left = number // 4 * side + GAP, number % 4 * side + GAP
        np.testing.assert_array_equal(sheet[top : top + 32, left : left + 32], face)
    assert (sheet[side:, -side:] == 255).all()


def test_large_pictures_are_shrunk_in_a_sheet_only(toonify: Toonify, plain: Path, tmp_path: Path) -> None:
    command = ("sample", "--generator", plain, "--tile", 16)
    toonify(*command, "--seeds", "1,2", "-o", tmp_path / "sheet.png")
    toonify(*command, "--seeds", "1", "-o", tmp_path / "one.png")
    assert read_picture(tmp_path / "sheet.png").shape == (16 + 2 * GAP, 2 * (16 + 2 * GAP), 3)
    np.testing.assert_array_equal(read_picture(tmp_path / "one.png"), expected_samples([1])[0])


def test_a_folder_gets_a_file_for_each_seed_and_keeps_what_is_there(
    toonify: Toonify, plain: Path, tmp_path: Path
) -> None:
    command = ("sample", "--generator", plain, "-o", tmp_path / "faces")
    code, out, _ = toonify(*command, "--seeds", "7,12345")
    names = ["seed0007.png", "seed12345.png"]
    assert (code, out.split()) == (0, [str(tmp_path / "faces" / name) for name in names])
    np.testing.assert_array_equal(read_picture(tmp_path / "faces" / names[0]), expected_samples([7])[0])
    code, out, err = toonify(*command, "--seeds", "7:9")
    assert (code, out) == (0, f"{tmp_path / 'faces' / 'seed0008.png'}\n")
    assert f"skipped: {tmp_path / 'faces' / names[0]} exists already" in err


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--seeds", "5:5"], 2, "0 seeds; give 1 to"),
        (["--seeds", "0:2000"], 2, "a sheet holds 1000; name a folder"),
        (["--seeds", "-1"], 2, "is not A:B or whole"),
        (["--seeds", "1:2:3"], 2, "is not A:B or whole"),
        (["--seeds", "1,,2"], 2, "is not A:B or whole"),
        (["--url", "127.0.0.1:1"], 1, "models: got --url and a model directory, expected a server, or --generator"),
        (["--model", "toonify"], 1, "models: got --model and a model directory"),
        (["-o", "sheet.bmp"], 1, "sheet.bmp: got the suffix '.bmp'"),
    ],
)
def test_a_mistake_is_told_before_any_work(
    toonify: Toonify,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr("serving.sampler.EngineSampler", lambda *_: pytest.fail("the models were loaded"))
    result, out, err = toonify("sample", "--generator", plain, "-o", tmp_path / "sheet.png", *options)
    assert (result, out) == (code, "")
    assert sentence in " ".join(err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_that_is_there_is_kept(toonify: Toonify, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(b"mine")
    code, _, err = toonify("sample", "--generator", plain, "-o", tmp_path / "sheet.png")
    assert code == 1
    assert "already there" in err
    assert (tmp_path / "sheet.png").read_bytes() == b"mine"


def test_a_generator_without_a_mapping_network_is_refused(
    toonify: Toonify, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    small = tiny_model_directories.generators["small"]
    code, _, err = toonify("sample", "--generator", small, "-o", tmp_path / "sheet.png")
    assert code == 1
    assert f"error: {small}: got a generator without a mapping network, expected one with it" in err


def test_a_sheet_is_wider_than_high() -> None:
    faces = [np.zeros((8, 8, 3), np.uint8)] * 24
    side = 8 + 2 * GAP
    assert sheet_of(faces).shape == (4 * side, 6 * side, 3)
    assert sheet_of(faces[:2]).shape == (side, 2 * side, 3)
