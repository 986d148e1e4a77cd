"""Colour profiles of a few tags (ICC.1:2022) with what they mean by formula, EXIF data, and files that hold them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from picture_weapons import PNG_SIGNATURE, jpeg_segment, png_chunk, webp, webp_chunk
from PIL import Image

Floats = NDArray[np.float64]

SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
DISPLAY_P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
"""XYZ, for white D50, of the primaries in columns."""

_SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_SRGB_CURVE = b"para" + struct.pack(">IHH5i", 0, 3, 0, *(round(65536 * value) for value in _SRGB_PARAMETERS))


def gamma_curve(gamma: float) -> bytes:
    """A curve of one exponent."""
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * gamma)) + bytes(2)


def xyz(*values: float) -> bytes:
    """One colour."""
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def profile(space: bytes, connection: bytes, tags: Mapping[bytes, bytes], *, padding: int = 0) -> bytes:
    """A profile of a display (or of a press, if CMYK) with these tags, and ``padding`` bytes at its end."""
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    position, table, contents = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, position + len(contents), len(content))
        contents += content + bytes(-len(content) % 4)
    contents += bytes(padding)
    header = struct.pack(
        ">I4sI4s4s4s12s4s", position + len(contents), b"", 0x04200000, b"prtr" if space == b"CMYK" else b"mntr", space,
        connection, bytes(12), b"acsp",
    )  # fmt: skip
    header += bytes(28) + struct.pack(">3i", round(65536 * 0.9642), 65536, round(65536 * 0.8249))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


def rgb_profile(primaries: Floats, *, padding: int = 0) -> bytes:
    """A profile of three primaries with sRGB's curve."""
    names = zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True)
    tags = {name: xyz(*column) for name, column in names}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _SRGB_CURVE)
    return profile(b"RGB ", b"XYZ ", {**tags, **curves}, padding=padding)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey with an exponent."""
    return profile(b"GRAY", b"XYZ ", {b"kTRC": gamma_curve(gamma)})


def ink_profile() -> bytes:
    """A profile of four inks, each of which takes away lightness in proportion; all are neutral."""
    ramp = bytes(range(256))
    corners = bytes(value for inks in range(16) for value in (255 if inks == 0 else 0, 128, 128))
    identity = struct.pack(">9i", *(65536 * (row == column) for row in range(3) for column in range(3)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": table})


def linear(levels: NDArray[np.uint8]) -> Floats:
    """Light of sRGB's 8-bit levels."""
    values = levels / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def levels(light: Floats) -> Floats:
    """SRGB's levels of light, 0 to 255, not rounded."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def in_srgb(pixels: NDArray[np.uint8], primaries: Floats) -> Floats:
    """The levels in sRGB of colours by other primaries."""
    return levels(linear(pixels) @ (np.linalg.inv(SRGB) @ primaries).T)


def jpeg_with_profile(jpeg: bytes, content: bytes, *, part: int = 65_519) -> bytes:
    """The JPEG with a profile in as many segments as needed, the last one first."""
    starts = range(0, len(content), part)
    segments = [
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([number % 256, len(starts) % 256]) + content[start : start + part])
        for number, start in enumerate(starts, 1)
    ]
    return jpeg[:2] + b"".join(reversed(segments)) + jpeg[2:]


def png_with_profile(png: bytes, content: bytes) -> bytes:
    """The PNG with a profile after its header."""
    return png_with_chunk(png, b"iCCP", b"name\0\0" + zlib.compress(content))


def png_with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with a chunk after its header."""
    end = len(PNG_SIGNATURE) + 25
    return png[:end] + png_chunk(name, content) + png[end:]


def webp_with(picture: bytes, size: tuple[int, int], *, content: bytes = b"", exif: bytes = b"") -> bytes:
    """The WebP of one chunk with an extended header, a profile before its picture and EXIF data behind it."""
    flags = 0x20 * bool(content) + 0x08 * bool(exif)
    canvas = bytes([flags, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in size)
    parts = [webp_chunk(b"VP8X", canvas)]
    parts += [webp_chunk(b"ICCP", content)] if content else []
    parts += [picture[12:]]
    return webp(*parts, *([webp_chunk(b"EXIF", exif)] if exif else []))


def exif(orientation: int, order: str = ">") -> bytes:
    """EXIF data of one entry, the orientation."""
    signature = {">": b"MM\0*", "<": b"II*\0"}[order]
    return signature + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def avif(picture: NDArray[np.uint8], **options: object) -> bytes:
    """An AVIF of RGB, nearly without loss; the options are Pillow's."""
    file = BytesIO()
    size = (picture.shape[1], picture.shape[0])
    image = Image.frombytes("RGB", size, picture.tobytes())
    image.save(file, "AVIF", **{"quality": 98, "subsampling": "4:4:4", "speed": 8, **options})
    return file.getvalue()
