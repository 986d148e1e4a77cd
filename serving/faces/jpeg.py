"""JPEG at both ends of an ensemble: decoding of untrusted bytes to a face, encoding of a picture."""

from __future__ import annotations

import cv2
import numpy as np

from engines.contract.arrays import Picture
from engines.contract.errors import RequestError
from engines.contract.tensors import FACE_SIZE
from serving.faces.alignment import SMALLEST_FACE
from serving.faces.decoding import decoded
from serving.faces.encoded import read_encoded
from serving.faces.encoded_picture import EncodedPicture, UnreadableError
from serving.faces.images import bytes_from_picture

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 4096 * 4096
"""Aligned faces usually have 1024x1024 pixels; a much larger size is a mistake or an attack on memory."""


def face_from_jpeg(data: bytes) -> Picture:
    """Decode the JPEG of an aligned face: uint8 [256, 256, 3], sRGB, turned upright as EXIF says.

    The size is read from the header before anything is decoded.

    Raises:
        RequestError: ``data`` is not a whole JPEG, exceeds 32 MiB or 16.8 megapixels, or the picture is not square or
            too small.
    """
    if len(data) > MAX_BYTES:
        raise _refused(f"{len(data) / 2**20:.1f} MiB", f"at most {MAX_BYTES // 2**20} MiB", "send a smaller JPEG")
    if not data.startswith(b"\xff\xd8\xff"):
        raise _refused("bytes that are not a JPEG" if data else "no bytes", "a JPEG", "send the file's bytes unchanged")
    try:
        jpeg = read_encoded(data)
        _check_size(jpeg)
        return _resized(decoded(jpeg, "tensor 'jpeg'"))
    except UnreadableError as error:
        remedy = "send the file's bytes unchanged, or save the picture again as a baseline JPEG"
        raise _refused(error.got, "a whole baseline or progressive JPEG", remedy) from None


def jpeg_from_picture(picture: Picture) -> bytes:
    """Encode a picture, uint8 [H, W, 3] RGB, as a JPEG of quality 95."""
    return bytes_from_picture(picture, ".jpg")


def _refused(got: str, expected: str, remedy: str) -> RequestError:
    return RequestError("tensor 'jpeg'", got=got, expected=expected, remedy=remedy)


def _check_size(jpeg: EncodedPicture) -> None:
    size = f"{jpeg.width}x{jpeg.height} pixels"
    if jpeg.pixels > MAX_PIXELS:
        raise _refused(size, f"at most {MAX_PIXELS} pixels", "send a smaller JPEG")
    if jpeg.height != jpeg.width:
        raise _refused(size, "the square picture of an aligned face", "align the photograph's face first")
    if jpeg.width < SMALLEST_FACE:
        raise _refused(size, f"an aligned face of at least {SMALLEST_FACE:.0f} pixels", "send a larger picture")


def _resized(picture: Picture) -> Picture:
    if len(picture) == FACE_SIZE:
        return picture
    # Averaging over areas is right for shrinking; for enlarging it would repeat pixels.
    method = cv2.INTER_AREA if len(picture) > FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(picture, (FACE_SIZE, FACE_SIZE), interpolation=method).astype(np.uint8, copy=False)
