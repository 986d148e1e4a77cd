from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from colour_profiles import avif, exif, png_with_chunk, webp_with
from numpy.typing import NDArray
from picture_weapons import jpeg_segment, webp_chunk
from PIL import Image

from engines.contract.errors import ExportError, RequestError
from engines.contract.tensors import FACE_SIZE
from serving.faces.encoded import read_encoded
from serving.faces.images import MAX_BYTES, picture_from_bytes, read_picture, write_picture
from serving.faces.jpeg import face_from_jpeg

WIDE = np.zeros((30, 50, 3), np.uint8)
WIDE[:, :25] = (200, 30, 30)
"""A picture that is red on the left."""


def encoded(suffix: str, picture: NDArray[np.generic] = WIDE, quality: int = 95) -> bytes:
    channels = picture[..., [2, 1, 0, *range(3, picture.shape[2])]] if picture.ndim == 3 else picture
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_WEBP_QUALITY, quality]
    return cv2.imencode(suffix, channels, flags if suffix != ".png" else [])[1].tobytes()


def with_orientation(suffix: str, orientation: int, order: str = ">", picture: NDArray[np.generic] = WIDE) -> bytes:
    """Return a picture with EXIF data."""
    data = exif(orientation, order)
    if suffix == ".avif":
        return avif(picture.astype(np.uint8), exif=data)
    plain = encoded(suffix, picture)
    if suffix == ".jpg":
        return plain[:2] + jpeg_segment(0xE1, b"Exif\0\0" + data) + plain[2:]
    if suffix == ".png":
        return png_with_chunk(plain, b"eXIf", data)
    return webp_with(plain, (picture.shape[1], picture.shape[0]), exif=data)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_a_picture_written_and_read_again_is_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_picture(path, WIDE)
    difference = np.abs(read_picture(path).astype(int) - WIDE)
    assert difference.mean() <= (2 if suffix in (".jpg", ".jpeg") else 0)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")],
)
def test_every_format_is_turned_upright_as_exif_says(
    tmp_path: Path, suffix: str, order: str, orientation: int, corners: str
) -> None:
    """The corners are named from the left above to the right below."""
    colours = {"r": (250, 5, 5), "g": (5, 250, 5), "b": (5, 5, 250), "w": (250, 250, 250)}
    stored = np.array([[colours["r"], colours["g"]], [colours["b"], colours["w"]]], np.uint8)
    stored = stored.repeat(16, axis=0).repeat(32, axis=1)
    upright = picture_in(tmp_path, with_orientation(suffix, orientation, order, stored))
    assert upright.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))
    seen = upright[[2, 2, -2, -2], [2, -2, 2, -2]]
    assert np.abs(seen.astype(int) - [colours[corner] for corner in corners]).max() < 15
    assert upright.flags.c_contiguous


@pytest.mark.parametrize(
    "data",
    [
        exif(0),
        exif(9),
        exif(6)[:-8],
        exif(6)[:6],
        exif(6).replace(b"MM", b"XX"),
        exif(6)[:4] + b"\xff" * 4 + exif(6)[8:],
        exif(6)[:8] + b"\xff\xff" + bytes(12) + exif(6)[22:],
        b"",
    ],
)
def test_exif_data_that_say_nothing_turn_nothing(data: bytes) -> None:
    picture = picture_from_bytes(png_with_chunk(encoded(".png"), b"eXIf", data), "camera")
    np.testing.assert_array_equal(picture, WIDE)


def test_some_programs_begin_a_webps_exif_data_as_in_a_jpeg() -> None:
    webp = webp_with(encoded(".webp"), (50, 30), exif=b"Exif\0\0" + exif(6))
    assert picture_from_bytes(webp, "camera").shape == (50, 30, 3)
    assert picture_from_bytes(webp[:-8], "cut behind its picture").shape == (30, 50, 3)
    before = webp[:30] + webp_chunk(b"EXIF", exif(6)) + webp[30:]
    assert picture_from_bytes(before, "before its picture").shape == (50, 30, 3)


def test_the_served_decoder_turns_pictures_too() -> None:
    half = np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8)
    half[:, : FACE_SIZE // 2] = (200, 30, 30)
    upright = face_from_jpeg(with_orientation(".jpg", 6, picture=half))  # 90 degrees clockwise
    assert upright[9, 128, 0] > 150 > upright[-9, 128, 0]


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
    files = [encoded(".png", picture), encoded(".jpg", picture), with_orientation(".jpg", 6, picture=picture)]
    files += [encoded(".webp", picture, 90), encoded(".webp", picture, 101), encoded(".webp", transparent, 90)]
    assert [(picture.width, picture.height) for picture in map(read_encoded, files)] == [size] * 6


def test_a_huge_claim_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    png = bytearray(encoded(".png"))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(RequestError, match=r"^bomb\.png: got 60000x60000 pixels, expected .* at most 100 megapixels"):
        picture_from_bytes(bytes(png), "bomb.png")


def picture_in(folder: Path, data: bytes) -> NDArray[np.uint8]:
    (folder / "picture").write_bytes(data)
    return read_picture(folder / "picture")


def test_an_avif_that_claims_gigapixels_is_refused(tmp_path: Path) -> None:
    data = avif(np.zeros((64, 64, 3), np.uint8))
    claim = data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 60_000, 60_000))
    assert claim != data
    with pytest.raises(RequestError, match=r"picture: got (60000x60000 pixels|a damaged AVIF), expected"):
        picture_in(tmp_path, claim)


def test_a_cut_avif_is_one_sentence(tmp_path: Path) -> None:
    data = avif(WIDE)
    for length in range(32, len(data) - 1, 31):
        with pytest.raises(RequestError, match="picture: got a damaged AVIF"):
            picture_in(tmp_path, data[:length])


def test_an_animated_avif_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film", "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(RequestError, match="got an animated AVIF"):
        read_picture(tmp_path / "film")


def test_what_comes_over_a_network_is_never_given_to_a_decoder_without_bounds() -> None:
    with pytest.raises(RequestError, match=r"^upload: got an AVIF, expected a PNG, JPEG or WebP picture"):
        picture_from_bytes(avif(WIDE), "upload")


def boxes(*brands: bytes) -> bytes:
    """The first box of a file, with its major and its compatible brands."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", len(content) + 4) + content + bytes(40)


@pytest.mark.parametrize(
    ("data", "got", "remedy"),
    [
        (b"", "an empty file", "copy or download it again"),
        (b"GIF89a" + bytes(40), "a GIF", "save it as PNG or JPEG first"),
        (b"BM" + bytes(40), "a BMP", "save it as PNG or JPEG first"),
        (b"II*\0" + bytes(40), "a TIFF or a camera's raw file", "save it as PNG or JPEG first"),
        (b"MM\0*" + bytes(40), "a TIFF or a camera's raw file", "save it as PNG or JPEG first"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a camera's raw file", "develop it"),
        (boxes(b"crx "), "a camera's raw file", "develop it"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL", "save it as PNG or JPEG first"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL", "save it as PNG or JPEG first"),
        (b"8BPS" + bytes(40), "a Photoshop document", "save it as PNG or JPEG first"),
        (b"%PDF-1.7\n", "a PDF", "export its page as PNG first"),
        (b"PK\3\4" + bytes(40), "a ZIP archive", "unpack it first"),
        (
            b"PK\3\4" + bytes(26) + b"w.npy" + bytes(40),
            "a file of codes or of another array",
            "give codes to toonify image",
        ),
        (b"\x93NUMPY\1\0" + bytes(40), "a file of codes or of another array", "give codes to toonify image"),
        (b"\x1aE\xdf\xa3" + bytes(40), r"a video \(MKV or WebM\)", "give it to toonify video"),
        (b"RIFF\0\0\0\0AVI LIST", r"a video \(AVI\)", "give it to toonify video"),
        (b"G" + bytes(187) + b"G" + bytes(187), r"a video \(MPEG-TS\)", "give it to toonify video"),
        (boxes(b"isom", b"isom", b"avc1"), r"a video \(MP4 or MOV\)", "give it to toonify video"),
        (boxes(b"qt  "), r"a video \(MP4 or MOV\)", "give it to toonify video"),
        (boxes(b"mif1", b"mif1", b"avif"), "an AVIF", "save it as PNG or JPEG first"),
        (boxes(b"mif1", b"mif1", b"heic"), "a HEIC", "save it as JPEG first"),
        (boxes(b"msf1", b"hevc"), "a HEIC", "save it as JPEG first"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg width='1'>", "an SVG", "export it as PNG first"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page", "download the picture itself"),
        ("Grüße\n".encode(), "a text", "give the file of a picture"),
        (("ü" * 5000).encode()[1:], "something else", "save it as PNG or JPEG first"),
        (b"a" + ("ü" * 5000).encode(), "a text", "give the file of a picture"),
        (bytes(40), "something else", "save it as PNG or JPEG first"),
        (encoded(".png")[:60], "a PNG that ends early", "save it as PNG or JPEG first"),
        (encoded(".webp", quality=90)[:60], "a WebP that ends early", "save it as PNG or JPEG first"),
        (encoded(".jpg")[:60], "a JPEG that ends early", "save it as PNG or JPEG first"),
    ],
)
def test_what_is_no_picture_is_named_with_what_to_do(data: bytes, got: str, remedy: str) -> None:
    with pytest.raises(RequestError, match=f"^file: got {got}, expected a PNG, JPEG or WebP .*; {remedy}"):
        picture_from_bytes(data, "file")


@pytest.mark.parametrize("name", ["w", "codes", "latents", "projected_w", "arr_0", "größe", "faces/w"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_codes_is_named_whatever_its_array_is_called(save: Callable[..., None], name: str) -> None:
    file = BytesIO()
    save(file, **{name: np.zeros((1, 18, 512), np.float32)})
    with pytest.raises(RequestError, match=r"^file: got a file of codes or of another array"):
        picture_from_bytes(file.getvalue(), "file")


@pytest.mark.parametrize("content", [torch.zeros(18, 512), {"latents": torch.zeros(1, 18, 512)}])
def test_a_file_of_codes_in_pytorchs_format_is_named(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "latents.pt")
    with pytest.raises(RequestError, match=r"got a PyTorch file, .*; give codes to toonify image as \.npz or \.npy"):
        read_picture(tmp_path / "latents.pt")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(RequestError, match="got more than 256 MiB"):
        read_picture(Path("/dev/zero"))


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


@pytest.mark.parametrize(
    ("size", "suffix", "longest"), [((16384, 2), ".webp", 16383), ((2, 65501), ".jpg", 65500), ((0, 4), ".png", 10**8)]
)
def test_a_picture_beyond_its_format_is_refused_in_one_sentence(
    tmp_path: Path, size: tuple[int, int], suffix: str, longest: int
) -> None:
    width, height = size
    sentence = f"A picture: got {width}x{height} pixels, expected sides of at most {longest} pixels in {suffix}; write"
    with pytest.raises(RequestError, match=sentence):
        write_picture(tmp_path / f"picture{suffix}", np.zeros((height, width, 3), np.uint8))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "suffix"), [((16383, 1), ".webp"), ((1, 65500), ".jpg"), ((65501, 1), ".png")])
def test_the_largest_picture_of_a_format_is_written(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    write_picture(tmp_path / f"picture{suffix}", np.zeros((*size[::-1], 3), np.uint8))
    assert (tmp_path / f"picture{suffix}").stat().st_size
