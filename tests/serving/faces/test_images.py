from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.contract.errors import ExportError, RequestError
from serving.faces.encoded import read_encoded
from serving.faces.images import MAX_BYTES, picture_from_bytes, read_picture, write_picture

WIDE = np.zeros((30, 50, 3), np.uint8)
WIDE[:, :25] = (200, 30, 30)
"""A picture that is red on the left."""


def encoded(suffix: str, picture: NDArray[np.generic] = WIDE, quality: int = 95) -> bytes:
    channels = picture[..., [2, 1, 0, *range(3, picture.shape[2])]] if picture.ndim == 3 else picture
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_WEBP_QUALITY, quality]
    return cv2.imencode(suffix, channels, flags if suffix != ".png" else [])[1].tobytes()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Return the JPEG with an EXIF segment of one entry (tag 0x0112, short)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_a_picture_written_and_read_again_is_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_picture(path, WIDE)
    difference = np.abs(read_picture(path).astype(int) - WIDE)
    assert difference.mean() <= (2 if suffix in (".jpg", ".jpeg") else 0)
    assert [*tmp_path.iterdir()] == [path]


def test_pictures_are_turned_upright_as_exif_says() -> None:
    upright = picture_from_bytes(with_orientation(encoded(".jpg"), 6), "camera.jpg")  # 90 degrees clockwise
    assert upright.shape == (50, 30, 3)
    assert upright[2, 15, 0] > 150 > upright[-3, 15, 0]


@pytest.mark.parametrize(
    "picture",
    [
        np.full((9, 9), 77, np.uint8),
        np.full((9, 9), 77 * 257, np.uint16),
        np.dstack([np.full((9, 9, 3), 77, np.uint8), np.zeros((9, 9, 1), np.uint8)]),
    ],
    ids=["grey", "16 bits", "transparent"],
)
def test_every_kind_of_png_becomes_eight_bit_rgb(picture: NDArray[np.generic]) -> None:
    np.testing.assert_array_equal(picture_from_bytes(encoded(".png", picture), "a.png"), np.full((9, 9, 3), 77))


@pytest.mark.parametrize("size", [(50, 40), (1, 300), (4000, 2)])
def test_the_size_is_read_from_the_header(size: tuple[int, int]) -> None:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    transparent = np.zeros((size[1], size[0], 4), np.uint8)
    files = [encoded(".png", picture), encoded(".jpg", picture), with_orientation(encoded(".jpg", picture), 6)]
    files += [encoded(".webp", picture, 90), encoded(".webp", picture, 101), encoded(".webp", transparent, 90)]
    assert [(picture.width, picture.height) for picture in map(read_encoded, files)] == [size] * 6


def test_a_huge_claim_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    png = bytearray(encoded(".png"))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(RequestError, match=r"^bomb\.png: got 60000x60000 pixels, expected .* at most 100 megapixels"):
        picture_from_bytes(bytes(png), "bomb.png")


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "no bytes"),
        (b"GIF89a" + bytes(40), "something else"),
        (encoded(".png")[:60], "a PNG that ends early"),
        (encoded(".webp", quality=90)[:60], "a WebP that ends early"),
        (encoded(".jpg")[:60], "a JPEG that ends early"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, got: str) -> None:
    with pytest.raises(RequestError, match=f"^file: got {got}, expected a PNG, JPEG or WebP picture"):
        picture_from_bytes(data, "file")


def test_a_file_that_is_missing_or_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.png: got No such file or directory"):
        read_picture(tmp_path / "none.png")
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(RequestError, match=r"large\.png: got more than 256 MiB"):
        read_picture(large)


def test_an_existing_picture_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"precious")
    with pytest.raises(ExportError, match=r"picture\.png: got an output that is already there"):
        write_picture(path, WIDE)
    assert path.read_bytes() == b"precious"
    write_picture(path, WIDE, force=True)
    assert read_picture(path).shape == WIDE.shape


@pytest.mark.parametrize("name", ["picture", "picture.gif"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        RequestError, match=r"suffix.*, expected one of \.png, \.jpg, \.jpeg, \.webp; choose another name"
    ):
        write_picture(tmp_path / name, WIDE)
    assert not [*tmp_path.iterdir()]
