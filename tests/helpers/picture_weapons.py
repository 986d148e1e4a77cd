"""Small pictures that cost a decoder much, or that a careless reader of headers takes for something else."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def plain(suffix: str, side: int = 64, *, quality: int = 90) -> bytes:
    """A black square as a PNG, a JPEG or a WebP; a WebP of quality 101 is lossless."""
    flags = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    options = [flags[suffix], quality] if suffix in flags else []
    return cv2.imencode(suffix, np.zeros((side, side, 3), np.uint8), options)[1].tobytes()


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """A grey progressive JPEG whose scans each say "no more coefficients" for every block, in 29 bytes for side 4096.

    Each scan refines the last one, so that the decoder looks at every coefficient.
    """
    bits = "0" + "10101010101010"  # the code of EOB14, and the low bits of a run of 27,306 blocks
    runs = -(-((side // 8) ** 2) // ((1 << 14) + 0b10101010101010))
    coded = "".join([bits] * runs)
    coded += "0" * (-len(coded) % 8)
    data = int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\0")
    parts = [b"\xff\xd8", jpeg_segment(0xDB, b"\0" + bytes([1] * 64))]
    parts += [jpeg_segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00")]
    parts += [jpeg_segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")]
    for number in range(scans):
        low = 13 - number % 14
        high = 0 if number % 14 == 0 else low + 1
        parts += [jpeg_segment(0xDA, bytes([1, 1, 0, 1, 63, high << 4 | low])), data]
    return b"".join([*parts, b"\xff\xd9"])


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """A segment with its marker and its length (ITU-T T.81, B.1.1.4)."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_that_hides_its_size(side: int, seen: int = 256) -> bytes:
    """A JPEG whose frame header, behind a fill byte, says ``side``.

    A reader that takes the fill byte for a marker jumps over the header to another one, inside a comment, which says
    ``seen``.
    """
    jpeg = plain(".jpg")
    start = jpeg.index(b"\xff\xc0")
    (length,) = struct.unpack_from(">H", jpeg, start + 2)
    header = bytearray(jpeg[start : start + 2 + length])
    struct.pack_into(">HH", header, 5, side, side)
    fake = jpeg_segment(0xC0, struct.pack(">BHHB", 8, seen, seen, 3) + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01")
    padding = bytes(0xC000 - len(header) - 3)
    return jpeg[:start] + b"\xff" + header + jpeg_segment(0xFE, padding + fake) + jpeg[start + 2 + length :]


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum (PNG specification, 5.3)."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(side: int, before: Iterable[bytes] = (), after: Iterable[bytes] = ()) -> bytes:
    """A black PNG with further chunks before and after its data."""
    compressor, row = zlib.compressobj(9), bytes(1 + 3 * side)
    data = b"".join([*(compressor.compress(row) for _ in range(side)), compressor.flush()])
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"".join([PNG_SIGNATURE, header, *before, png_chunk(b"IDAT", data), *after, png_chunk(b"IEND", b"")])


def animated_png(frame: int) -> bytes:
    """A PNG of 64x64 pixels whose animation begins with a frame of another size: it ends OpenCV 4.11's process."""
    control = struct.pack(">IIIIIHHBB", 0, frame, frame, 0, 0, 1, 100, 0, 0)
    return png(64, before=[png_chunk(b"acTL", struct.pack(">II", 2, 0)), png_chunk(b"fcTL", control)])


def png_of_text_bombs(count: int) -> bytes:
    """A PNG with compressed texts, of 7 kB each, that need 7 MiB each."""
    text = png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(7 << 20), 9))
    return png(64, before=[text] * count)


def webp_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length, padded to an even one (RFC 9649, section 2.3)."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def webp(*chunks: bytes) -> bytes:
    """A WebP file of these chunks."""
    return webp_chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def webp_canvas(width: int, height: int, *, animated: bool = False) -> bytes:
    """The chunk of an extended header (RFC 9649, section 2.7.1)."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp_chunk(b"VP8X", bytes([2 * animated, 0, 0, 0]) + size)


def animated_webp(canvas: int, frames: int) -> bytes:
    """A WebP of small frames on a canvas of any size: OpenCV would allocate the canvas twice, with transparency."""
    frame = bytes(6) + (63).to_bytes(3, "little") * 2 + b"\x64\0\0\0" + plain(".webp")[12:]
    return webp(
        webp_canvas(canvas, canvas, animated=True),
        webp_chunk(b"ANIM", bytes(6)),
        *[webp_chunk(b"ANMF", frame)] * frames,
    )
