"""JPEG at both ends of an ensemble: decoding of untrusted bytes to a face, encoding of a picture."""

from __future__ import annotations

import cv2
import numpy as np

from engines.contract.arrays import Picture
from engines.contract.errors import RequestError
from engines.contract.tensors import FACE_SIZE
from serving.faces.image_sizes import size_in_header
from serving.faces.images import bytes_from_picture

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 4096 * 4096
"""Aligned faces usually have 1024x1024 pixels; a much larger size is a mistake or an attack on memory."""

_UNCHANGED = "send the file's bytes unchanged"


def face_from_jpeg(data: bytes) -> Picture:
    """Decode the JPEG of an aligned face: uint8 [256, 256, 3], RGB, turned upright according to its EXIF orientation.

    The size is read from the header before anything is decoded.

    Raises:
        RequestError: ``data`` is not a whole JPEG, exceeds 32 MiB or 16.8 megapixels, or the picture is not square.
    """
    if len(data) > MAX_BYTES:
        raise _refused(f"{len(data) / 2**20:.1f} MiB", f"at most {MAX_BYTES // 2**20} MiB", "send a smaller JPEG")
    size = size_in_header(data) if data.startswith(b"\xff\xd8\xff") else None
    if size is None:
        raise _refused("bytes that are not a JPEG" if data else "no bytes", "a JPEG", _UNCHANGED)
    width, height = size
    if width * height > MAX_PIXELS:
        raise _refused(f"{width}x{height} pixels", f"at most {MAX_PIXELS} pixels", "send a smaller JPEG")
    if height != width:
        raise _refused(
            f"{width}x{height} pixels", "the square picture of an aligned face", "align the photograph's face first"
        )
    return _resized(_decoded(data))


def jpeg_from_picture(picture: Picture) -> bytes:
    """Encode a picture, uint8 [H, W, 3] RGB, as a JPEG of quality 95."""
    return bytes_from_picture(picture, ".jpg")


def _refused(got: str, expected: str, remedy: str) -> RequestError:
    return RequestError("tensor 'jpeg'", got=got, expected=expected, remedy=remedy)


def _decoded(data: bytes) -> Picture:
    # An end marker cannot occur inside coded data, so the last one is the file's own unless the file was cut. Without
    # this check the decoder silently fills the missing part with grey.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise _refused("a JPEG that ends early", "a whole JPEG", _UNCHANGED)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise _refused("a JPEG that cannot be decoded", "a whole JPEG", "save the picture again as a baseline JPEG")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _resized(picture: Picture) -> Picture:
    if len(picture) == FACE_SIZE:
        return picture
    # Averaging over areas is right for shrinking; for enlarging it would repeat pixels.
    method = cv2.INTER_AREA if len(picture) > FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(picture, (FACE_SIZE, FACE_SIZE), interpolation=method).astype(np.uint8, copy=False)
