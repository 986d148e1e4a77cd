"""Decoding of untrusted JPEG bytes to a face, and refusals before memory is allocated."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from engines.contract.errors import RequestError
from serving.faces.jpeg import MAX_BYTES, face_from_jpeg, jpeg_from_picture


def gradient(side: int) -> np.ndarray:
    """Make a picture whose red grows to the right and green downwards, with blue 64; JPEG loses little of it."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], side), np.full((side, side), 64, np.uint8)], -1)


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Add an EXIF segment with one tag, 0x0112 (Exif 2.32, 4.6.4)."""
    tiff = b"MM\0\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """Return the JPEG with another size in its header."""
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


JPEG = jpeg_from_picture(gradient(256))


@pytest.mark.parametrize("side", [64, 256, 1024])
def test_a_face_of_any_size_becomes_256_pixels_wide(side: int) -> None:
    face = face_from_jpeg(jpeg_from_picture(gradient(side)))
    assert face.shape == (256, 256, 3)
    assert face.dtype == np.uint8
    # Measured: 5 when enlarged from 64, otherwise at most 3, from JPEG's loss and the ramps' different steps.
    np.testing.assert_allclose(face.astype(int), gradient(256).astype(int), rtol=0, atol=6)


def test_a_face_lying_on_its_side_is_turned_upright() -> None:
    upright = face_from_jpeg(JPEG)
    turned = face_from_jpeg(with_exif_orientation(JPEG, 6))  # 6: the first row is the right side
    assert np.array_equal(turned, np.rot90(upright, -1))


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    grey = cv2.imencode(".jpg", gradient(256)[..., 0])[1].tobytes()
    face = face_from_jpeg(grey)
    assert np.array_equal(face[..., 0], face[..., 1])
    assert np.array_equal(face[..., 0], face[..., 2])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "got no bytes, expected a JPEG"),
        (b"not a picture", "got bytes that are not a JPEG"),
        (b"\xff\xd8\xff", "got a JPEG that ends early"),
        (cv2.imencode(".png", gradient(8))[1].tobytes(), "got bytes that are not a JPEG"),
        (JPEG[: len(JPEG) // 2], "got a JPEG that ends early, expected a whole baseline or progressive JPEG; send"),
        (JPEG[:100] + b"\xff\xd9", "got a JPEG that "),
        (JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9", "got a damaged JPEG"),
        (bytes(MAX_BYTES + 1), "got 32.0 MiB, expected at most 32 MiB"),
        (with_size(JPEG, 65535, 65535), "got 65535x65535 pixels, expected at most 16777216 pixels"),
        (with_size(JPEG, 0, 0), "got a JPEG of 0x0 pixels"),
        (jpeg_from_picture(gradient(64)[:32]), "got 64x32 pixels, expected the square picture of an aligned face"),
    ],
    ids=["empty", "text", "short", "png", "cut", "cut header", "no data", "too long", "bomb", "no pixels", "oblong"],
)
def test_what_is_not_the_jpeg_of_a_face_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(RequestError, match=f"tensor 'jpeg': {sentence}"):
        face_from_jpeg(data)


def test_a_face_of_a_few_pixels_is_refused() -> None:
    dot = cv2.imencode(".jpg", np.zeros((23, 23, 3), np.uint8))[1].tobytes()
    with pytest.raises(RequestError, match="got 23x23 pixels, expected an aligned face of at least 24 pixels"):
        face_from_jpeg(dot)
