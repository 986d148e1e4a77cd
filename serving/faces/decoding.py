"""Decoding of untrusted pictures, most of them by OpenCV, in bounded memory and time."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from engines.contract.arrays import AnyArray, Picture
from serving.faces.avif import avif_pixels
from serving.faces.colours import Conversion, ProfileError, conversion_to_srgb, profile_of_jpeg
from serving.faces.encoded_picture import EncodedPicture, Format, UnreadableError
from serving.faces.exif import turned_upright
from serving.faces.png_colours import profile_of_png

MAX_SCANS = 100
"""Largest number of scans of a JPEG. Progressive ones have about 10, with four components up to 18."""

MAX_PASSED_PIXELS = 2 * 10**9
"""Largest number of pixels that all scans of a JPEG pass over together.

A refining scan without data costs 29 bytes of the file and 0.9 ns for each pixel.
"""


_log = logging.getLogger(__name__)


def decoded(picture: EncodedPicture, name: str) -> Picture:
    """Decode a picture as it is to be seen: uint8 [H, W, 3], sRGB, turned upright according to its EXIF orientation.

    Grey becomes three equal channels, 16 bits become 8, transparency is dropped. A colour profile that cannot be used
    is left out, which is logged in one line; ``name`` stands for the picture there. The caller has limited the number
    of pixels.

    Raises:
        UnreadableError: a JPEG has too many scans, or the picture cannot be decoded.
    """
    conversion = _conversion(picture, name)
    pixels = _cmyk(picture) if conversion and picture.channels == 4 else stored_pixels(picture)
    return turned_upright(conversion(pixels) if conversion else pixels, picture.orientation)


def stored_pixels(picture: EncodedPicture) -> Picture:
    """Decode a picture as it is stored, neither turned nor converted: uint8 [H, W, 3], RGB.

    Raises:
        UnreadableError: see ``decoded``.
    """
    _check_scans(picture)
    pixels = avif_pixels(picture) if picture.format == "AVIF" else _by_opencv(picture)
    if pixels is None or pixels.shape != (picture.height, picture.width, 3):
        raise _undecodable(picture)
    return pixels


def _by_opencv(picture: EncodedPicture) -> AnyArray | None:
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(picture.data, np.uint8), flags)
    except cv2.error:
        return None
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr).astype(np.uint8, copy=False)


def _cmyk(picture: EncodedPicture) -> AnyArray:
    """Decode a JPEG of inks by Pillow, since OpenCV mixes them as if they were ideal: uint8 [H, W, 4]."""
    from PIL.JpegImagePlugin import JpegImageFile

    _check_scans(picture)
    try:
        with JpegImageFile(io.BytesIO(picture.data)) as image:
            inks = np.asarray(image)
    except (OSError, SyntaxError):
        raise _undecodable(picture) from None
    if inks.shape != (picture.height, picture.width, 4):
        raise _undecodable(picture)
    return inks


def _conversion(picture: EncodedPicture, name: str) -> Conversion | None:
    """Return what converts the picture's colours to sRGB, or None."""
    if not picture.profile:
        return None
    try:
        profile = _PROFILES[picture.format](picture.profile)
        return conversion_to_srgb(profile, picture.channels) if profile else None
    except ProfileError as error:
        _log.warning("%s: its colours are taken for sRGB, since its colour profile is %s", name, error.what)
        return None


def _check_scans(picture: EncodedPicture) -> None:
    if picture.scans > MAX_SCANS or picture.scans * picture.pixels > MAX_PASSED_PIXELS:
        raise UnreadableError(f"{picture.scans} scans of {picture.width}x{picture.height} pixels")


def _undecodable(picture: EncodedPicture) -> UnreadableError:
    return UnreadableError(f"a {picture.format} that cannot be decoded")


_PROFILES: dict[Format, Callable[[Sequence[bytes]], bytes]] = {
    "JPEG": profile_of_jpeg,
    "PNG": profile_of_png,
    "WebP": b"".join,
    "AVIF": b"".join,
}
