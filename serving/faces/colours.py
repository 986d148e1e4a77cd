"""Colour profiles: the colours of a picture converted to sRGB, which networks and files without a profile mean.

The conversion is littleCMS's, by Pillow. A profile is untrusted: its size is bounded before and after it is inflated,
and what would cost more than its size allows is refused.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from engines.contract.arrays import AnyArray

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

MAX_PROFILE = 4 * 2**20
"""Largest size of a profile in bytes; those of cameras and displays have some kB, those of presses up to 3 MB."""

PROFILE_SIGNATURE = b"ICC_PROFILE\0"
"""What a JPEG's segment begins with that holds a part of a profile; its number and the count of parts follow."""

_STRIP = 2**20
"""Number of pixels converted at a time; Pillow takes 4 bytes for each, and as much for the result."""

Conversion = Callable[[AnyArray], AnyArray]

_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
"""A profile's colour space, and Pillow's name of pixels in it."""

_NAMES = {"L": "grey pictures", "RGB": "RGB pictures", "CMYK": "CMYK pictures"}

_CHAINS = frozenset({b"D2B0", b"D2B1", b"D2B2", b"D2B3"})
"""Tags of processing elements, any number of which may share one place: 4,000 in 32 kB take 3 s of processor time."""


class ProfileError(Exception):
    """A profile that is not used; ``what`` says what it is, to complete a sentence."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def profile_of_jpeg(parts: Sequence[bytes]) -> bytes:
    """Join the contents of a JPEG's segments that begin with ``PROFILE_SIGNATURE`` (ICC.1:2022, annex B.4).

    Raises:
        ProfileError: a part is missing or there twice.
    """
    start = len(PROFILE_SIGNATURE)
    by_number = {part[start]: part[start + 2 :] for part in parts if len(part) > start + 1}
    counts = {part[start + 1] for part in parts if len(part) > start + 1}
    if len(by_number) < len(parts) or counts != {len(parts)} or set(by_number) != {*range(1, len(parts) + 1)}:
        raise ProfileError("incomplete")
    return b"".join(by_number[number] for number in sorted(by_number))


def conversion_to_srgb(profile: bytes, channels: int) -> Conversion:
    """Return what converts pixels of 1 (grey), 3 or 4 (CMYK) channels to sRGB, by littleCMS.

    It takes uint8 [H, W, 3], where grey has three equal channels, or [H, W, 4], and returns uint8 [H, W, 3]; RGB is
    converted in place. The colorimetric intent is relative, with compensation of the black point. Colours of a profile
    that means sRGB stay exactly as they are, and colours outside sRGB become the nearest ones in it.

    Raises:
        ProfileError: the profile is damaged, too long, for other channels, or not for pictures.
    """
    mode = _mode_of(profile)
    if len(mode) != channels and (mode, channels) != ("RGB", 1):  # grey is often said to be sRGB
        raise ProfileError(f"for {_NAMES[mode]}")
    convert = partial(_converted, mode, _transform(profile, mode))
    return (lambda pixels: pixels) if mode == "RGB" and _keeps_colours(convert) else partial(_by_strips, convert)


def _mode_of(profile: bytes) -> str:
    """Read a profile's header and the names in its table of tags (ICC.1:2022, 7.2 and 7.3)."""
    if len(profile) > MAX_PROFILE:
        raise ProfileError(f"longer than {MAX_PROFILE // 2**20} MiB")
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ProfileError("damaged")
    mode = _MODES.get(profile[16:20])
    (tags,) = struct.unpack_from(">I", profile, 128)
    names = {profile[place : place + 4] for place in range(132, min(132 + 12 * tags, len(profile)), 12)}
    if mode is None or names & _CHAINS:
        raise ProfileError("of a rare kind")
    return mode


def _transform(profile: bytes, mode: str) -> ImageCmsTransform:
    from PIL import ImageCms  # imported late: most pictures have no profile

    try:
        return ImageCms.buildTransform(
            ImageCms.getOpenProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        raise ProfileError("damaged") from None


def _converted(mode: str, transform: ImageCmsTransform, pixels: AnyArray) -> AnyArray:
    from PIL import Image

    stored = pixels[..., 0] if mode == "L" else pixels
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), stored.tobytes())
    return np.asarray(transform.apply(image))


def _by_strips(convert: Conversion, pixels: AnyArray) -> AnyArray:
    result = pixels if pixels.shape[2] == 3 else np.empty((*pixels.shape[:2], 3), np.uint8)
    rows = max(_STRIP // pixels.shape[1], 1)
    for first in range(0, len(pixels), rows):
        result[first : first + rows] = convert(pixels[first : first + rows])
    return result


def _keeps_colours(convert: Conversion) -> bool:
    """Return whether no colour of a grid changes by more than one level, which is what rounding does."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    return bool(np.abs(convert(grid).astype(int) - grid).max() <= 1)
