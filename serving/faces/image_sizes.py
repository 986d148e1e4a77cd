"""Reading of a picture's width and height from its file's header, before anything is decoded."""

from __future__ import annotations

import struct

# Segments before a JPEG's size. Real files have fewer than 100, mostly colour profile and EXIF.
_MAX_SEGMENTS = 1000
# The three markers that are excluded denote tables, not frames.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG or WebP; None for any other file and for a broken header."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_size(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:  # the header ends early
        pass
    return None


def _png_size(data: bytes) -> tuple[int, int]:
    """Read the IHDR chunk, which is the first one (PNG specification, 11.2.1)."""
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Read the first frame segment (ITU-T T.81, annex B)."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        start, marker, length = struct.unpack_from(">BBH", data, position)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        if start != 0xFF or length < 2:
            break
        position += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Read the first chunk: extended, lossless or lossy (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", data, 24)  # two 24-bit numbers, each the size minus 1
        return (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)  # two 14-bit numbers, each the size minus 1
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)  # 14 bits each; the upper 2 bits are a display scale
        return width & 0x3FFF, height & 0x3FFF
    return None
