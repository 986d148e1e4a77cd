"""Reading and writing of picture files; pictures in memory are sRGB, upright and of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from engines.contract.atomic import atomic_file
from engines.contract.errors import RequestError
from serving.faces.alignment import Photo
from serving.faces.avif import read_avif
from serving.faces.decoding import decoded
from serving.faces.encoded import read_encoded
from serving.faces.encoded_picture import EncodedPicture, UnreadableError
from serving.faces.other_kinds import heif_format

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)
_LOSSLESS_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)
_FLAGS = {".png": (), ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _LOSSLESS_WEBP}
WRITTEN_SUFFIXES = frozenset(_FLAGS)
"""Suffixes of the formats in which pictures can be written, in lower case."""

_LONGEST_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
"""The limits of libjpeg and of the format WebP."""

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 10**8
"""Larger than the pictures of cameras, and 300 MB when decoded. A file of 100 bytes can claim four gigapixels."""


def read_picture(path: Path) -> Photo:
    """Read a PNG, JPEG, WebP or AVIF file as it is to be seen: uint8 [H, W, 3], sRGB, upright as EXIF says.

    Grey becomes three equal channels, 16 bits become 8, transparency is dropped.

    Raises:
        RequestError: the file is missing, too large, of another format, or cannot be decoded.
    """
    with _in_one_sentence(str(path), "PNG, JPEG, WebP or AVIF", MAX_PIXELS):
        data = _bytes_of(path)
        picture = read_avif(data) if heif_format(data) == "AVIF" else read_encoded(data)
        return _decoded(picture, str(path), MAX_PIXELS)


def picture_from_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a PNG, JPEG or WebP picture as ``read_picture`` does; ``name`` stands for it in errors.

    Raises:
        RequestError: the picture is too large, animated, of another format, or cannot be decoded.
    """
    with _in_one_sentence(name, "PNG, JPEG or WebP", max_pixels):
        return _decoded(read_encoded(data), name, max_pixels)


def write_picture(path: Path, picture: Photo, *, force: bool = False) -> None:
    """Write uint8 [H, W, 3] RGB as PNG, JPEG (quality 95) or lossless WebP, chosen by the suffix; whole or not at all.

    Raises:
        RequestError: the path has another suffix, or the picture is larger than the format allows.
        ExportError: the file exists and ``force`` is false, or the disk is full.
    """
    check_suffix(path)
    with atomic_file(path, force=force) as partial:
        partial.write_bytes(bytes_from_picture(picture, path.suffix.lower()))


def bytes_from_picture(picture: Photo, suffix: str) -> bytes:
    """Encode uint8 [H, W, 3] RGB as ``write_picture`` does; ``suffix`` is one that it accepts, in lower case.

    Raises:
        RequestError: the picture is empty, or larger than the format allows.
    """
    height, width = picture.shape[:2]
    longest = _LONGEST_SIDES.get(suffix, MAX_PIXELS)
    if not 0 < min(height, width) <= max(height, width) <= longest:
        raise _unencodable(width, height, f"sides of at most {longest} pixels in {suffix}")
    encoded, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _FLAGS[suffix])
    if not encoded:
        raise _unencodable(width, height, f"a picture that OpenCV can write as {suffix}")
    return data.tobytes()


def check_suffix(path: Path) -> None:
    """Raise RequestError unless the path's suffix names a format in which pictures can be written."""
    if path.suffix.lower() not in _FLAGS:
        raise RequestError(
            str(path),
            got=f"the suffix {path.suffix!r}" if path.suffix else "no suffix",
            expected=f"one of {', '.join(_FLAGS)}",
            remedy="choose another name",
        )


def _unencodable(width: int, height: int, expected: str) -> RequestError:
    return RequestError(
        "A picture", got=f"{width}x{height} pixels", expected=expected, remedy="write .png, or a smaller picture"
    )


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device has no size, and no end
    except OSError as error:
        raise UnreadableError(error.strerror or "an unreadable file", "give another file") from None
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"more than {MAX_BYTES // 2**20} MiB")
    return data


def _decoded(picture: EncodedPicture, name: str, max_pixels: int) -> Photo:
    if picture.pixels > max_pixels:
        raise UnreadableError(f"{picture.width}x{picture.height} pixels", "make it smaller first")
    return decoded(picture, name)


@contextmanager
def _in_one_sentence(name: str, formats: str, max_pixels: int) -> Iterator[None]:
    """Within the block, an UnreadableError becomes a RequestError about the picture ``name``."""
    try:
        yield
    except UnreadableError as error:
        expected = f"a {formats} picture of at most {max_pixels // 10**6} megapixels"
        raise RequestError(name, got=error.got, expected=expected, remedy=error.remedy) from None
