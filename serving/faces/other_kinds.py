"""Files that are not pictures of a format that is read, named as what they are."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Literal

HeifFormat = Literal["AVIF", "HEIC"]

SAVE_FIRST = "save it as PNG or JPEG first"
_VIDEO = "give it to toonify video"
_TEXT = "give the file of a picture"
_CAMERA = "develop it to JPEG or PNG first"


@dataclass(frozen=True)
class OtherKind:
    """What a file is, to complete "got ...", and what its owner can do."""

    name: str
    remedy: str


_HEIFS: dict[HeifFormat, OtherKind] = {
    "AVIF": OtherKind("an AVIF", SAVE_FIRST),
    "HEIC": OtherKind("a HEIC", "save it as JPEG first"),
}

_CODES = OtherKind("a file of codes or of another array", "give codes to toonify image as .npz or .npy")

_SIGNATURES = (
    (0, b"GIF8", OtherKind("a GIF", SAVE_FIRST)),
    (0, b"BM", OtherKind("a BMP", SAVE_FIRST)),
    (8, b"CR\2", OtherKind("a camera's raw file", _CAMERA)),
    (0, b"FUJIFILMCCD-RAW", OtherKind("a camera's raw file", _CAMERA)),
    (4, b"ftypcrx ", OtherKind("a camera's raw file", _CAMERA)),
    (0, b"II*\0", OtherKind("a TIFF or a camera's raw file", SAVE_FIRST)),
    (0, b"MM\0*", OtherKind("a TIFF or a camera's raw file", SAVE_FIRST)),
    (0, b"\0\0\0\x0cjP", OtherKind("a JPEG 2000", SAVE_FIRST)),
    (0, b"\xffO\xffQ", OtherKind("a JPEG 2000", SAVE_FIRST)),
    (0, b"\xff\x0a", OtherKind("a JPEG XL", SAVE_FIRST)),
    (0, b"\0\0\0\x0cJXL ", OtherKind("a JPEG XL", SAVE_FIRST)),
    (0, b"8BPS", OtherKind("a Photoshop document", SAVE_FIRST)),
    (0, b"%PDF", OtherKind("a PDF", "export its page as PNG first")),
    (0, b"\x93NUMPY", _CODES),
    (0, b"PK\3\4", OtherKind("a ZIP archive", "unpack it first")),
    (0, b"\x1f\x8b", OtherKind("compressed data", "unpack it first")),
    (0, b"\x1aE\xdf\xa3", OtherKind("a video (MKV or WebM)", _VIDEO)),
    (8, b"AVI ", OtherKind("a video (AVI)", _VIDEO)),
    (0, b"FLV\1", OtherKind("a video (FLV)", _VIDEO)),
    (0, b"\0\0\1\xba", OtherKind("a video (MPEG)", _VIDEO)),
    (188, b"G", OtherKind("a video (MPEG-TS)", _VIDEO)),
    (4, b"ftyp", OtherKind("a video (MP4 or MOV)", _VIDEO)),
)
"""Where the signature of another kind is, the signature, and the kind; the first one that fits counts."""

_ARCHIVES = (
    (re.compile(rb"PK\x03\x04.{26}[^\0]{1,200}?\.npy", re.DOTALL), _CODES),
    (re.compile(rb"PK\x03\x04.{26}[^\0]{1,200}?/data\.pkl", re.DOTALL), OtherKind("a PyTorch file", _CODES.remedy)),
)
"""ZIP archives by the name of their first file, which begins at byte 30."""

_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(!doctype html|html|head|body)[\s>]", re.IGNORECASE)
_READ = 4096
"""Number of bytes at a file's beginning that are looked at."""


def other_kind(data: bytes) -> OtherKind:
    """Name what is not read by the beginning of its bytes."""
    if not data:
        return OtherKind("an empty file", "copy or download it again")
    heif = heif_format(data)
    if heif:
        return _HEIFS[heif]
    for beginning, kind in _ARCHIVES:
        if beginning.match(data):
            return kind
    for start, signature, kind in _SIGNATURES:
        # The packets of MPEG-TS have 188 bytes and begin with the same letter.
        if data.startswith(signature, start) and (start != 188 or data.startswith(b"G")):
            return kind
    return _text(data[:_READ])


def heif_format(data: bytes) -> HeifFormat | None:
    """Tell an AVIF and a HEIC by their brands (ISO/IEC 14496-12, 4.3); other files of boxes are mostly videos."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), _READ)
    brands = {data[start : start + 4] for start in (8, *range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"} else None


def _text(start: bytes) -> OtherKind:
    if _SVG.search(start):
        return OtherKind("an SVG", "export it as PNG first")
    if _HTML.search(start):
        return OtherKind("a web page", "download the picture itself")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return OtherKind("something else", SAVE_FIRST)
    plain = all(letter.isprintable() or letter.isspace() for letter in text)
    return OtherKind("a text", _TEXT) if text and plain else OtherKind("something else", SAVE_FIRST)
