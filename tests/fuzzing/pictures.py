"""Pictures with altered, repeated and inserted parts: each is decoded to the size that was read, or refused."""

from __future__ import annotations

import functools
import os
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from colour_profiles import (
    DISPLAY_P3,
    avif,
    exif,
    jpeg_with_profile,
    png_with_chunk,
    png_with_profile,
    rgb_profile,
    webp_with,
)
from fuzzer import Check, Fuzzer
from picture_weapons import (
    PNG_SIGNATURE,
    animated_png,
    animated_webp,
    jpeg_of_scans,
    jpeg_segment,
    jpeg_that_hides_its_size,
    png_chunk,
    webp_canvas,
    webp_chunk,
)

from engines.contract.errors import RequestError
from serving.faces.decoding import stored_pixels
from serving.faces.encoded import read_encoded
from serving.faces.encoded_picture import UnreadableError
from serving.faces.images import picture_from_bytes, read_picture
from serving.faces.jpeg import face_from_jpeg
from serving.faces.other_kinds import heif_format

DECODED_PIXELS = 4 * 10**6
"""Larger pictures are read but not decoded, so that many inputs can be tried."""

SECONDS = 30
"""A bound for one input that only tells bounded work from work that lasts minutes."""

Source = random.Random


@functools.cache
def originals() -> tuple[bytes, ...]:
    """Small files of each format and kind that is read, and some that are refused."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 4), np.uint8)
    options = {
        ".jpg": ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        ".png": ([],),
        ".webp": ([cv2.IMWRITE_WEBP_QUALITY, 80], [cv2.IMWRITE_WEBP_QUALITY, 101]),
    }
    files = [
        cv2.imencode(suffix, np.ascontiguousarray(picture), choice)[1].tobytes()
        for suffix, choices in options.items()
        for choice in choices
        for picture in (pixels, pixels[..., :3], pixels[..., 0])
    ]
    jpeg, png, webp = files[1], files[10], files[-2]
    files.append(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes())
    colours = rgb_profile(DISPLAY_P3)
    files += [jpeg_with_profile(jpeg, colours, part=200), png_with_profile(png, colours)]
    files += [webp_with(webp, (40, 24), content=colours, exif=exif(6)), png_with_chunk(png, b"eXIf", exif(8))]
    files.append(avif(pixels[..., :3].copy(), icc_profile=colours, exif=exif(5)))
    return (*files, jpeg_that_hides_its_size(512), jpeg_of_scans(12, 64), animated_png(64), animated_webp(64, 2))


def make(source: Source) -> bytes:
    """One of the files, altered one to four times."""
    content = source.choice(originals())
    for _ in range(source.randint(1, 4)):
        content = source.choice(ALTERATIONS)(source, content)
    return with_valid_checksums(content) if content.startswith(PNG_SIGNATURE) else content


def changed_bytes(source: Source, content: bytes) -> bytes:
    """Set up to four bytes, most of them in the headers, often to values with a meaning."""
    altered = bytearray(content)
    for _ in range(source.randint(1, 4)):
        end = min(len(altered), 700) if source.random() < 0.8 else len(altered)
        altered[source.randrange(end)] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    return bytes(altered)


def repeated_part(source: Source, content: bytes) -> bytes:
    """Copy a part to another place."""
    start, place = source.choice(boundaries(content)), source.choice(boundaries(content))
    end = max(source.choice(boundaries(content)), start + source.randrange(20))
    return content[:place] + content[start:end] + content[place:]


def removed_part(source: Source, content: bytes) -> bytes:
    """Leave a part out, or cut the file."""
    start = source.choice(boundaries(content))
    end = source.choice((start + source.randrange(40), len(content)))
    return content[:start] + content[end:] or content


def inserted_part(source: Source, content: bytes) -> bytes:
    """Insert a marker, a segment, a chunk, fill bytes or anything."""
    inside = bytes(source.randrange(256) for _ in range(source.randrange(30)))
    number = struct.pack(">I", source.choice((0, 1, 12, 2**31 - 1, 2**31, 2**32 - 1)))
    name = source.choice((b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"IEND"))
    part = source.choice(
        (
            b"\xff" * source.randint(1, 5),
            bytes([0xFF, source.randrange(256)]),
            jpeg_segment(source.randrange(0xC0, 0x100), inside),
            png_chunk(name, inside),
            number + name,
            webp_chunk(source.choice((b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"XXXX")), inside),
            webp_canvas(source.choice((40, 24, 2**24)), 24, animated=source.random() < 0.5),
            inside,
        )
    )
    place = source.choice(boundaries(content))
    return content[:place] + part + content[place:]


def joined(source: Source, content: bytes) -> bytes:
    """Go on with another file in the middle."""
    other = source.choice(originals())
    return content[: source.choice(boundaries(content))] + other[source.choice(boundaries(other)) :]


ALTERATIONS: tuple[Callable[[Source, bytes], bytes], ...] = (
    changed_bytes,
    changed_bytes,
    repeated_part,
    removed_part,
    inserted_part,
    inserted_part,
    joined,
)


def boundaries(content: bytes) -> list[int]:
    """Places where a segment or chunk may begin, and some others."""
    if content.startswith(b"\xff\xd8"):
        return [index for index in range(len(content)) if content[index] == 0xFF] or [0]
    if content.startswith(PNG_SIGNATURE):
        return [start for start, _ in png_chunks(content)] or [0]
    return [12, 20, 30, *range(0, len(content), 64)]


def png_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each chunk, as far as they can be followed."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        yield position, min(end, len(content))
        position = end


def with_valid_checksums(content: bytes) -> bytes:
    """Correct the checksums of a PNG, without which its decoder would refuse every alteration."""
    altered = bytearray(content)
    for start, end in png_chunks(content):
        altered[end - 4 : end] = struct.pack(">I", zlib.crc32(altered[start + 4 : end - 4]))
    return bytes(altered)


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check reads and decodes its input, and compares with OpenCV's own reading of the whole file.

    PNGs are not compared, since OpenCV 4.11 itself does not survive some of them. The codecs' warnings are discarded.
    """

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "picture"

    def check(content: bytes) -> None:
        start = time.monotonic()
        file.write_bytes(content)
        for read in (
            lambda: picture_from_bytes(content, "picture", DECODED_PIXELS),
            lambda: face_from_jpeg(content),
            lambda: read_picture(file) if heif_format(content) == "AVIF" else None,
        ):
            sentence = ""
            try:
                read()
            except RequestError as error:
                sentence = str(error)
            assert len(sentence) < 300
        with suppress(UnreadableError):
            compare(content)
        assert time.monotonic() - start < SECONDS

    with quiet():
        yield check


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what the codecs print."""
    standard_error, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nothing)


def compare(content: bytes) -> None:
    """Compare with OpenCV's reading of the whole file, neither turned nor converted: the size, each pixel of a JPEG.

    A damaged lossless WebP is not compared by pixels: its decoder reads a little of what follows the picture.
    """
    picture = read_encoded(content)
    if picture.format == "PNG" or picture.pixels > DECODED_PIXELS:
        return
    ours = stored_pixels(picture)
    theirs = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if theirs is not None:
        assert ours.shape == theirs.shape
        assert picture.format == "WebP" or np.array_equal(ours, theirs[..., ::-1])


FUZZER = Fuzzer("pictures", make, checking, short=400)
