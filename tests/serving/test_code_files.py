"""Files of codes: which are read, that hostile ones are refused unread, and the pictures that commands make of them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import TinyModels
from toon_fakes import FakeToonifier
from toonify_command import Toonify

from engines.contract.errors import ExportError, RequestError
from serving import code_files
from serving.code_files import read_codes, write_codes
from serving.code_pictures import TILE, picture_of_codes
from serving.controls import Style
from serving.faces.images import read_picture
from serving.interpolation import interpolated_codes
from serving.sheet import GAP, sheet_of
from serving.toonifier import EngineToonifier

CODES = np.random.default_rng(0).standard_normal((3, 8, 16), np.float32)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def with_header(text: str, content: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + content


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_written_codes_are_read_as_they_were(tmp_path: Path) -> None:
    write_codes(tmp_path / "codes.npz", CODES)
    np.testing.assert_array_equal(read_codes(tmp_path / "codes.npz"), CODES, strict=True)
    with pytest.raises(ExportError, match="already there"):
        write_codes(tmp_path / "codes.npz", CODES)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy(CODES), CODES),
        (npy(CODES[0]), CODES[:1]),
        (npy(CODES[:, None]), CODES),
        (npy(CODES[None]), CODES),
        (npy(np.asfortranarray(CODES)), CODES),
        (npy(CODES.astype(np.float64)), CODES),
        (npy(CODES.astype(">f4")), CODES),
        (npy(CODES.astype(np.float16)), CODES.astype(np.float16).astype(np.float32)),
        (npz(anything=npy(CODES)), CODES),
        (npz(noise=npy(np.zeros(3)), w=npy(CODES)), CODES),
        (npz(projected_w=npy(CODES[None, 0])), CODES[:1]),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L, 1L), }", bytes(8), version=2), None),
    ],
)
def test_the_forms_of_other_projects_are_read(tmp_path: Path, content: bytes, expected: Any) -> None:
    read = read_codes(written(tmp_path / "codes", content))
    expected = np.zeros((2, 1, 1), np.float32) if expected is None else expected
    np.testing.assert_array_equal(read, expected, strict=True)


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 18, 512), }"
EMPTY = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 999999999, 999999999, 999999999), }"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a file of another format"),
        (npy({"face.png": CODES}, allow_pickle=True), "Python objects, which are not read"),
        (npz(w=npy(np.array([None]), allow_pickle=True)), "Python objects, which are not read"),
        (with_header(HUGE), "a damaged file"),
        (npz(w=with_header(HUGE)), "a damaged file"),
        (with_header("-" * 60000), "a damaged file, or one that NumPy did not write"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2 4, 8), }"), "a damaged file, or one that"),
        (with_header("(" * 9000), "a damaged file, or one that NumPy did not write"),
        (npy(CODES)[:-1], "a damaged file"),
        (npz(w=npy(CODES))[:200], "a damaged file"),
        (npz(w=npy(CODES))[:200] + bytes(8) + npz(w=npy(CODES))[208:], "a damaged file"),
        (npy(CODES.astype(np.int64)), "numbers of the type <i8"),
        (npy(np.array(["a"])), "numbers of the type <U1"),
        (npy(CODES[0, 0]), r"an array of shape \[16\]"),
        (npy(CODES.reshape(3, 2, 4, 16)), r"an array of shape \[3, 2, 4, 16\]"),
        (npy(np.zeros((0, 8, 16), np.float32)), r"an array of shape \[0, 8, 16\]"),
        (npy(np.full((8, 16), np.nan)), "NaN, infinity or numbers beyond float32"),
        (npy(np.full((8, 16), 1e300)), "NaN, infinity or numbers beyond float32"),
        (npz(a=npy(CODES), b=npy(CODES)), "2 arrays, none of them called w or codes or latents or projected_w"),
        (npz(**{"w.npy/w": npy(CODES)}).replace(b".npy", b".txt"), "0 arrays"),
        (npz(**{f"a{i}": b"" for i in range(200)}), "more than 100 arrays"),
        (npz(zipfile.ZIP_LZMA, w=npy(CODES)), "a compression that NumPy does not write"),
        (with_header(EMPTY), r"an array of shape \[0, 999999999, 999999999, 999999999\]"),
    ],
)
def test_a_hostile_or_other_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as refusal:
        read_codes(written(tmp_path / "codes.npz", content))
    assert str(refusal.value).startswith(str(tmp_path / "codes.npz"))


def test_no_more_is_read_or_unpacked_than_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_files, "MAX_BYTES", 4000)
    with pytest.raises(RequestError, match="more than 0 MiB"):
        read_codes(written(tmp_path / "large.npy", bytes(4001)))
    with pytest.raises(RequestError, match="an array of more than 0 MiB"):
        read_codes(written(tmp_path / "bomb.npz", npz(w=npy(np.zeros((1, 100, 100))))))
    with pytest.raises(RequestError, match="No such file"):
        read_codes(tmp_path / "none.npz")


def test_a_command_renders_one_code_as_a_picture(
    toonify: Toonify, tmp_path: Path, tiny_model_directories: TinyModels
) -> None:
    models = tiny_model_directories
    write_codes(tmp_path / "face.npz", CODES[:1])
    model = ("--encoder", models.encoder, "--generator", models.generators["plain"])
    output = tmp_path / "toon.png"
    assert toonify("image", tmp_path / "face.npz", "-o", output, *model) == (0, f"{output}\n", "")
    with EngineToonifier(models.encoder, [models.generators["plain"]]) as toonifier:
        (expected,) = toonifier.render(CODES[:1], Style())
    np.testing.assert_array_equal(read_picture(output), expected)


def test_codes_of_another_shape_than_the_models_are_refused(
    toonify: Toonify, tmp_path: Path, tiny_model_directories: TinyModels
) -> None:
    models = tiny_model_directories
    write_codes(tmp_path / "face.npz", np.zeros((1, 18, 512), np.float32))
    model = ("--encoder", models.encoder, "--generator", models.generators["plain"], "--isf", models.isf)
    for edit in ((), ("--attribute", "age=1", "--exact")):
        code, _, err = toonify("image", tmp_path / "face.npz", "-o", tmp_path / "toon.png", *model, *edit)
        assert code == 1
        assert "codes: got 18 rows of 512, expected 8 rows of 16, as the model takes them; give codes for" in err


def test_folders_of_pictures_may_hold_codes(
    toonify: Toonify, tmp_path: Path, tiny_model_directories: TinyModels
) -> None:
    models, album = tiny_model_directories, tmp_path / "album"
    album.mkdir()
    write_codes(album / "a.npz", CODES[:1])
    written(album / "other.npy", b"not codes")
    model = ("--encoder", models.encoder, "--generator", models.generators["plain"])
    code, out, _ = toonify("image", album, "-o", tmp_path / "toons", *model)
    assert (code, out.split()) == (0, [str(tmp_path / "toons" / "a.png")])


def test_several_codes_become_a_sheet_and_are_rendered_a_few_at_a_time() -> None:
    toonifier = FakeToonifier()
    w = np.repeat(np.linspace(0, 1, 11, dtype=np.float32)[:, None, None], 14, 1)
    sheet = picture_of_codes(toonifier, w, Style())
    assert toonifier.calls == [("render", 8), ("render", 3)]
    tile = min(TILE, 64) + 2 * GAP
    assert sheet.shape == (3 * tile, 5 * tile, 3)


def test_an_edit_keeps_what_the_codes_own_picture_shows() -> None:
    toonifier = FakeToonifier(attributes=lambda faces: faces[:, 0, 0, :2] / np.float32(255))
    w = np.full((1, 14, 4), 0.6, np.float32)
    picture_of_codes(toonifier, w, Style({"age": 1.0}))
    assert toonifier.calls == [("render", 1), ("attributes", 1), ("render", 1)]
    np.testing.assert_allclose(toonifier.shown[-1], [[0.6, 0]], atol=1e-6)
    assert toonifier.rendered[0].attributes is None


def test_without_a_classifier_no_unedited_picture_is_drawn_in_vain() -> None:
    toonifier = FakeToonifier()
    picture_of_codes(toonifier, np.zeros((1, 14, 4), np.float32), Style({"smile": 1.0}))
    assert toonifier.calls == [("render", 1)]


def test_more_pictures_than_a_sheet_holds_are_refused_before_the_first() -> None:
    toonifier, style = FakeToonifier(), Style({"age": 1.0}, exact=True)
    for count, steps in ((1001, None), (101, 10)):
        with pytest.raises(RequestError, match=rf"{count} codes: got 10\d\d pictures, expected at most 1000"):
            picture_of_codes(toonifier, np.zeros((count, 1, 1), np.float32), style, steps)
    assert toonifier.calls == []


def test_the_steps_of_several_codes_are_the_rows_of_a_sheet() -> None:
    toonifier, style = FakeToonifier(), Style({"age": 1.0}, exact=True)
    sheet = picture_of_codes(toonifier, CODES, style, steps=4)
    rows = np.split(sheet, 3)
    assert sheet.shape[1] == 4 * (64 + 2 * GAP)
    for row, w in zip(rows, CODES, strict=True):
        expected = sheet_of([picture for (picture,) in interpolated_codes(toonifier, w[None], style, 4, None)], 4)
        np.testing.assert_array_equal(row, expected)


def test_steps_of_a_code_are_its_interpolation() -> None:
    toonifier, style, w = FakeToonifier(), Style({"age": 1.0}, exact=True), CODES
    sheet = picture_of_codes(toonifier, w[:1], style, steps=4)
    expected = sheet_of([picture for (picture,) in interpolated_codes(toonifier, w[:1], style, 4, None)])
    np.testing.assert_array_equal(sheet, expected)
    assert [style.strength for style in toonifier.rendered[:4]] == pytest.approx([0, 1 / 3, 2 / 3, 1])
