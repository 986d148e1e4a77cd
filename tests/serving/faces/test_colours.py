"""Colours of pictures with a profile, against what the profile says by formula."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_profiles import (
    DISPLAY_P3,
    SRGB,
    avif,
    grey_profile,
    in_srgb,
    ink_profile,
    jpeg_with_profile,
    levels,
    png_with_chunk,
    png_with_profile,
    profile,
    rgb_profile,
    webp_with,
)
from fake_triton import FakeTriton, running
from numpy.typing import NDArray
from PIL import Image
from toonify_command import Toonify

from engines.contract.tensors import FACE_SIZE
from export.demo_face import demo_photograph
from serving.faces.colours import MAX_PROFILE
from serving.faces.encoded import read_encoded
from serving.faces.images import picture_from_bytes, read_picture
from serving.faces.jpeg import face_from_jpeg

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
P3 = rgb_profile(DISPLAY_P3)
LONG_P3 = rgb_profile(DISPLAY_P3, padding=150_000)


def encoded(suffix: str, picture: NDArray[np.generic] = COLOURS) -> bytes:
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
    channels = picture[..., ::-1] if picture.ndim == 3 else picture
    return cv2.imencode(suffix, channels, options.get(suffix, []))[1].tobytes()


def with_profile(suffix: str, content: bytes, picture: NDArray[np.generic] = COLOURS) -> bytes:
    plain = encoded(suffix, picture)
    if suffix == ".jpg":
        return jpeg_with_profile(plain, content)
    if suffix == ".png":
        return png_with_profile(plain, content)
    return webp_with(plain, (picture.shape[1], picture.shape[0]), content=content)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("content", [P3, LONG_P3], ids=["short", "in three segments"])
def test_colours_of_a_wide_display_are_those_that_its_profile_means(suffix: str, content: bytes) -> None:
    stored = picture_from_bytes(encoded(suffix), "plain")
    expected = in_srgb(stored, DISPLAY_P3)
    assert np.abs(expected - stored).mean() > 3
    seen = picture_from_bytes(with_profile(suffix, content), "wide")
    assert np.abs(seen - expected).max() <= 1.5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_profile_that_means_srgb_changes_no_pixel(suffix: str) -> None:
    seen = picture_from_bytes(with_profile(suffix, rgb_profile(SRGB)), "usual")
    np.testing.assert_array_equal(seen, picture_from_bytes(encoded(suffix), "plain"))


CHUNKS_OF_P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    png = encoded(".png")
    for name, content in reversed(chunks):
        png = png_with_chunk(png, name, content)
    return png


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"cHRM", CHUNKS_OF_P3), (b"gAMA", struct.pack(">I", 45455))],
        [(b"cHRM", CHUNKS_OF_P3)],
        [(b"cICP", bytes([12, 13, 0, 1]))],
        [(b"sRGB", b"\0"), (b"cICP", bytes([12, 13, 0, 1])), (b"iCCP", b"name\0\0" + zlib.compress(rgb_profile(SRGB)))],
        [(b"iCCP", b"name\0\0" + zlib.compress(P3)), (b"gAMA", struct.pack(">I", 100_000))],
    ],
    ids=["primaries and exponent", "primaries", "code points", "code points before others", "profile before exponent"],
)
def test_a_png_says_in_several_ways_what_its_colours_mean(chunks: list[tuple[bytes, bytes]]) -> None:
    seen = picture_from_bytes(png_with(*chunks), "wide")
    assert np.abs(seen - in_srgb(COLOURS, DISPLAY_P3)).max() <= 1.5


def test_a_png_of_light_without_a_curve_is_given_one() -> None:
    seen = picture_from_bytes(png_with((b"gAMA", struct.pack(">I", 100_000))), "linear")
    assert np.abs(seen - levels(COLOURS / 255)).max() <= 1.5


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))],
        [(b"cICP", bytes([1, 1, 0, 1])), (b"iCCP", b"name\0\0" + zlib.compress(P3))],
        [(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))],
    ],
    ids=["its exponent", "before an exponent", "its code points", "its primaries"],
)
def test_a_png_that_says_srgb_keeps_its_pixels(chunks: list[tuple[bytes, bytes]]) -> None:
    np.testing.assert_array_equal(picture_from_bytes(png_with(*chunks), "usual"), COLOURS)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (b"gAMA", bytes(4), "damaged"),
        (b"gAMA", b"1", "damaged"),
        (b"gAMA", struct.pack(">I", 1), "damaged"),
        (b"cHRM", bytes(32), "damaged"),
        (b"cHRM", struct.pack(">8I", *[30_000] * 8), "damaged"),
        (b"cHRM", struct.pack(">8I", *[2**32 - 1, 1] * 4), "damaged"),
        (b"cHRM", b"short", "damaged"),
        (b"cICP", b"\x0c", "damaged"),
        (b"cICP", bytes([9, 16, 0, 1]), "of a rare kind"),
        (b"cICP", bytes([12, 13, 0, 0]), "of a rare kind"),
    ],
)
def test_what_a_png_says_and_cannot_be_used_costs_one_line_and_not_the_picture(
    name: bytes, content: bytes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    np.testing.assert_array_equal(picture_from_bytes(png_with((name, content)), "odd"), COLOURS)
    assert caplog.messages == [f"odd: its colours are taken for sRGB, since its colour profile is {what}"]


def test_an_avif_is_converted_too(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(avif(COLOURS))
    (tmp_path / "wide").write_bytes(avif(COLOURS, icc_profile=P3))
    stored, seen = read_picture(tmp_path / "plain"), read_picture(tmp_path / "wide")
    assert np.abs(seen - in_srgb(stored, DISPLAY_P3)).max() <= 1.5


def test_a_16_bit_png_is_converted_too() -> None:
    png = png_with_profile(encoded(".png", COLOURS.astype(np.uint16) * 257), P3)
    assert np.abs(picture_from_bytes(png, "deep") - in_srgb(COLOURS, DISPLAY_P3)).max() <= 1.5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_has_profiles_of_its_own(suffix: str) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = picture_from_bytes(encoded(suffix, ramp), "plain")
    seen = picture_from_bytes(with_profile(suffix, grey_profile(1.8), ramp), "grey")
    assert np.abs(seen - levels((stored / 255) ** (461 / 256))).max() <= 1.5
    in_colour = picture_from_bytes(with_profile(suffix, P3, ramp), "grey in colour")
    np.testing.assert_allclose(in_colour, stored, rtol=0, atol=1)


def test_inks_become_the_colours_that_their_profile_means() -> None:
    black = np.repeat(np.arange(0, 256, 17, dtype=np.uint8), 8)[None].repeat(8, axis=0)
    seen = picture_from_bytes(jpeg_with_profile(jpeg_of_inks(black), ink_profile()), "print")
    lightness = 100 * (1 - np.arange(0, 256, 17) / 255)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    assert np.abs(seen[4, 4::8] - levels(light)[:, None]).max() <= 2
    assert picture_from_bytes(jpeg_of_inks(black), "print").shape == (8, 128, 3)  # without a profile


def jpeg_of_inks(black: NDArray[np.uint8]) -> bytes:
    """A JPEG of CMYK with black ink alone; Pillow stores it inverted, as Adobe's programs do."""
    inks = np.zeros((*black.shape, 4), np.uint8)
    inks[..., 3] = black
    file = BytesIO()
    Image.frombytes("CMYK", black.shape[::-1], inks.tobytes()).save(file, "JPEG", quality=100)
    jpeg = file.getvalue()
    assert read_encoded(jpeg).channels == 4
    return jpeg


def test_the_served_decoder_converts_colours_too() -> None:
    flat = np.full((FACE_SIZE, FACE_SIZE, 3), (200, 60, 40), np.uint8)
    seen = face_from_jpeg(jpeg_with_profile(encoded(".jpg", flat), P3))
    assert np.abs(seen - in_srgb(flat, DISPLAY_P3)).max() <= 3  # JPEG's own error is 2


def test_the_untouched_part_of_a_photograph_keeps_its_colours(toonify: Toonify, tmp_path: Path) -> None:
    photo, _ = demo_photograph()
    (tmp_path / "photo.png").write_bytes(with_profile(".png", P3, photo))
    with running(FakeTriton()) as fake:
        options = ("--url", fake.url, "--align", "haar")
        assert toonify("image", tmp_path / "photo.png", "-o", tmp_path / "toon.png", *options)[0] == 0
    result = read_picture(tmp_path / "toon.png")
    assert np.abs(result[:50] - in_srgb(photo[:50], DISPLAY_P3)).max() <= 1.5


def chains() -> bytes:
    """A profile whose 300,000 processing elements share one place: each colour would pass through all."""
    count = 300_000
    element = b"matf" + bytes(4) + struct.pack(">HH", 3, 3) + struct.pack(">12f", 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    places = struct.pack(">II", 16 + 8 * count, len(element)) * count
    tag = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, count) + places + element
    return profile(b"RGB ", b"XYZ ", {b"D2B1": tag})


def endless_grid() -> bytes:
    """A profile that claims a table of 255 points along each of four axes."""
    table = b"mft1" + bytes(4) + bytes([4, 3, 255, 0]) + struct.pack(">9i", *[0] * 9)
    return profile(b"CMYK", b"Lab ", {b"A2B0": table + bytes(3000)})


PNG, JPEG = encoded(".png"), encoded(".jpg")
TWO_PARTS = jpeg_with_profile(JPEG, P3, part=300)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png_with_profile(PNG, P3[:200]), "damaged"),
        (png_with_profile(PNG, b"profile" * 100), "damaged"),
        (png_with_profile(PNG, b""), "damaged"),
        (png_with_chunk(PNG, b"iCCP", b"name\0\0no deflated data"), "damaged"),
        (png_with_chunk(PNG, b"iCCP", b"name\0\0" + zlib.compress(P3)[:100]), "incomplete"),
        (png_with_chunk(PNG, b"iCCP", b""), "incomplete"),
        (png_with_profile(PNG, bytes(2**30)), "longer than 4 MiB"),
        (jpeg_with_profile(JPEG, rgb_profile(DISPLAY_P3, padding=MAX_PROFILE)), "longer than 4 MiB"),
        (TWO_PARTS.replace(b"ICC_PROFILE\0\2", b"ICC_PROFILE\0\1"), "incomplete"),
        (TWO_PARTS.replace(b"ICC_PROFILE\0\2\2", b"ICC_PROFILE\0\2\3"), "incomplete"),
        (jpeg_with_profile(JPEG, bytes(2000), part=7), "incomplete"),
        (png_with_profile(PNG, grey_profile(2.2)), "for grey pictures"),
        (png_with_profile(PNG, ink_profile()), "for CMYK pictures"),
        (png_with_profile(PNG, P3.replace(b"RGB ", b"7CLR")), "of a rare kind"),
        (png_with_profile(PNG, chains()), "of a rare kind"),
        (png_with_profile(encoded(".png", COLOURS[..., 0]), endless_grid()), "for CMYK pictures"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_costs_one_line_and_not_the_picture(
    data: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = picture_from_bytes(PNG if data[:4] == PNG[:4] else JPEG, "plain")
    tracemalloc.start()
    start = time.perf_counter()
    seen = picture_from_bytes(data, "odd.png")
    assert time.perf_counter() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 8 * MAX_PROFILE
    tracemalloc.stop()
    if seen.shape == plain.shape and (seen[..., 0] != seen[..., 1]).any():
        np.testing.assert_array_equal(seen, plain)
    (line,) = caplog.messages
    assert line == f"odd.png: its colours are taken for sRGB, since its colour profile is {reason}"


def test_a_table_without_bounds_in_a_profile_of_inks_is_damage(caplog: pytest.LogCaptureFixture) -> None:
    inks = jpeg_of_inks(np.zeros((8, 8), np.uint8))
    start = time.perf_counter()
    assert picture_from_bytes(jpeg_with_profile(inks, endless_grid()), "print").shape == (8, 8, 3)
    assert time.perf_counter() - start < 10
    assert "colour profile is damaged" in caplog.text


def test_the_longest_profile_is_used() -> None:
    content = rgb_profile(DISPLAY_P3, padding=MAX_PROFILE - len(P3))
    assert len(content) == MAX_PROFILE
    seen = picture_from_bytes(png_with_profile(PNG, content), "long")
    np.testing.assert_array_equal(seen, picture_from_bytes(png_with_profile(PNG, P3), "short"))
