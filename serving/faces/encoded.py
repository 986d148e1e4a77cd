"""Encoded pictures: reading of a file's structure exactly as its decoder will, before anything is decoded.

A decoder that believes a file spends as much memory and time as the file says: a JPEG of 50 kB can claim 26000x26000
pixels or hold 300,000 scans, and an animated PNG of 300 bytes ends the process of OpenCV 4.11. The readers here walk
the whole structure, and return the size, the number of scans, and a copy of those parts alone that make the picture, so
that what was not read is not decoded either.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from serving.faces.colours import PROFILE_SIGNATURE
from serving.faces.encoded_picture import EncodedPicture, Format, UnreadableError
from serving.faces.exif import EXIF_SIGNATURE, orientation_of
from serving.faces.other_kinds import other_kind
from serving.faces.png_colours import COLOUR_CHUNKS

MAX_PARTS = 100_000
"""Largest number of chunks of a PNG or WebP, and of segments of a JPEG. Libpng writes a chunk for each 8 kB."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PARTS = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
_GREY_PNGS = (0, 4)  # colour types: without and with transparency

# The first byte of a JPEG's marker is 0xFF. Before it there may be fill bytes, which are 0xFF too. 0xFF00 is a byte of
# coded data. Restart markers and TEM (0x01) stand alone and can be skipped wherever they are (ITU-T T.81, B.1.1).
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_EOI, _SOS = 0xD9, 0xDA
_SOFS = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive; lossless and arithmetic coding are not for photographs
_TABLES = (0xC4, 0xDB, 0xDC, 0xDD)  # DHT, DQT, DNL, DRI
_APPLICATION_DATA = range(0xE0, 0xF0)
_COMMENT = 0xFE
_EXIF, _ICC = 0xE1, 0xE2
_KEPT = (*_SOFS, *_TABLES, _SOS, _EOI, 0xE0, 0xEE)  # JFIF and Adobe's (colours) among them
_MAX_PROFILE_PARTS = 255  # a part's number has one byte


def read_encoded(data: bytes) -> EncodedPicture:
    """Read the structure of a PNG, JPEG or WebP picture.

    Raises:
        UnreadableError: the bytes are of another format, damaged, cut, animated, or of a rare kind.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    kind = other_kind(data)
    raise UnreadableError(kind.name, kind.remedy)


def _png(data: bytes) -> EncodedPicture:
    """Walk the chunks: length, name, data and checksum (PNG specification, 5.3). The size is in the first, IHDR."""
    kept, names, position = [_PNG], set[bytes](), len(_PNG)
    profile = list[bytes]()
    orientation = 1
    for _ in range(MAX_PARTS):
        length, name = _unpacked(">I4s", data, position, "PNG")
        part, position = _slice(data, position, length + 12, "PNG")
        first_is_wrong = not names and (name, length) != (b"IHDR", 13)
        if first_is_wrong or name in names - {b"IDAT"}:
            raise UnreadableError("a damaged PNG")
        if name in _PNG_PARTS:
            names.add(name)
            kept.append(part)
        elif name == b"eXIf":
            orientation = orientation_of(part[8:-4])
        elif name in COLOUR_CHUNKS:
            profile.append(part[4:-4])
        if name == b"IEND":
            width, height, colour = struct.unpack_from(">IIxB", data, 16)
            channels = 1 if colour in _GREY_PNGS else 3
            size = (width, height, channels)
            return _checked(EncodedPicture("PNG", *size, 1, b"".join(kept), orientation, tuple(profile)))
    raise UnreadableError(f"a PNG of more than {MAX_PARTS} chunks")


def _jpeg(data: bytes) -> EncodedPicture:
    """Walk the segments up to the end marker; a scan's coded data lasts until the next marker."""
    kept, size, frames, scans = [data[:2]], (0, 0, 0), 0, 0
    exif, profile = b"", list[bytes]()
    for marker, segment in _segments(data):
        if marker in _SOFS:
            frames, size = frames + 1, _size_in_frame(segment)
        if marker in _KEPT:
            kept.append(segment)
        elif marker == _EXIF and segment.startswith(EXIF_SIGNATURE, 4):
            exif = exif or segment[4:]
        elif marker == _ICC and segment.startswith(PROFILE_SIGNATURE, 4):
            profile += [segment[4:]] if len(profile) <= _MAX_PROFILE_PARTS else []
        scans += marker == _SOS
    if frames != 1 or not scans:
        raise UnreadableError("a damaged JPEG")
    picture = EncodedPicture("JPEG", *size, scans, b"".join(kept), orientation_of(exif), tuple(profile))
    return _checked(picture)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker with its segment, with a scan's coded data, up to and with the end marker.

    Bytes between segments are skipped, as libjpeg does.
    """
    position = 2
    for _ in range(MAX_PARTS):
        start, marker = _next_marker(data, position)
        if marker == _EOI:
            yield marker, b"\xff\xd9"
            return
        if marker not in (*_KEPT, *_APPLICATION_DATA, _COMMENT):
            kind = "neither baseline nor progressive" if 0xC0 < marker <= 0xCF else "damaged"
            raise UnreadableError(f"a JPEG that is {kind}")
        (length,) = _unpacked(">H", data, start + 2, "JPEG")
        _, position = _slice(data, start + 2, max(length, 2), "JPEG")
        if marker == _SOS:
            position = _next_marker(data, position)[0]
        yield marker, data[start:position]
    raise UnreadableError(f"a JPEG of more than {MAX_PARTS} segments")


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    found = _MARKER.search(data, position)
    if not found:
        raise UnreadableError("a JPEG that ends early")
    return found.start(), data[found.start() + 1]


def _size_in_frame(segment: bytes) -> tuple[int, int, int]:
    """Return width, height and number of channels."""
    precision, height, width, channels = _unpacked(">BHHB", segment, 4, "JPEG")
    if precision != 8:
        raise UnreadableError(f"a JPEG of {precision} bits")
    return width, height, channels


def _webp(data: bytes) -> EncodedPicture:
    """Walk the chunks: extended header, profile, picture, EXIF data (RFC 9649, sections 2.5 to 2.7)."""
    canvas, profile, exif, position = None, tuple[bytes, ...](), b"", 12
    for _ in range(MAX_PARTS):
        name, part, position = _webp_chunk(data, position)
        if name == b"VP8X":
            canvas = _canvas(part)
        elif name == b"ICCP":
            profile = (part[8:],)
        elif name == b"EXIF":  # some programs write it before the picture
            exif = part[8:]
        elif name in (b"VP8 ", b"VP8L"):
            size = _lossy_size(part) if name == b"VP8 " else _lossless_size(part)
            if canvas not in (None, size):
                raise UnreadableError("a damaged WebP")
            # The canvas, transparency and colour profile are left out, so that the file is as short as it can be.
            part += bytes(len(part) % 2)
            simple = b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part
            orientation = orientation_of(exif or _webp_exif(data, position))
            return _checked(EncodedPicture("WebP", *size, 3, 1, simple, orientation, profile))
    raise UnreadableError(f"a WebP of more than {MAX_PARTS} chunks")


def _webp_exif(data: bytes, position: int) -> bytes:
    """Return the EXIF data behind the picture; a file that ends early after its picture has none."""
    with suppress(UnreadableError):
        for _ in range(MAX_PARTS):
            name, part, position = _webp_chunk(data, position)
            if name == b"EXIF":
                return part[8:]
    return b""


def _webp_chunk(data: bytes, position: int) -> tuple[bytes, bytes, int]:
    """Return a chunk's name, the chunk without its padding, and where the next one begins."""
    name, length = _unpacked("<4sI", data, position, "WebP")
    part, position = _slice(data, position, 8 + length, "WebP")
    return name, part, position + length % 2


def _canvas(part: bytes) -> tuple[int, int]:
    flags, width, height = _unpacked("<8xB3x3s3s", part, 0, "WebP")
    if flags & 2:
        raise UnreadableError("an animated WebP")
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1


def _lossless_size(part: bytes) -> tuple[int, int]:
    signature, bits = _unpacked("<8xBI", part, 0, "WebP")
    if signature != 0x2F:
        raise UnreadableError("a damaged WebP")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1  # two 14-bit numbers, each the size minus 1


def _lossy_size(part: bytes) -> tuple[int, int]:
    start_code, width, height = _unpacked("<11x3sHH", part, 0, "WebP")
    if start_code != b"\x9d\x01\x2a":
        raise UnreadableError("a damaged WebP")
    return width & 0x3FFF, height & 0x3FFF  # 14 bits each; the upper 2 bits are a display scale


def _checked(picture: EncodedPicture) -> EncodedPicture:
    if not picture.pixels:
        raise UnreadableError(f"a {picture.format} of {picture.width}x{picture.height} pixels")
    return picture


def _slice(data: bytes, start: int, length: int, format: Format) -> tuple[bytes, int]:
    """Return a part of a file and the position of its end."""
    if start + length > len(data):
        raise UnreadableError(f"a {format} that ends early")
    return data[start : start + length], start + length


def _unpacked(layout: str, data: bytes, position: int, format: Format) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, position)
    except struct.error:
        raise UnreadableError(f"a {format} that ends early") from None
