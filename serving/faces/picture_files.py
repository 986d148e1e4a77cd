"""The picture files of a folder."""

from __future__ import annotations

from serving.faces.images import WRITTEN_SUFFIXES
from serving.jobs import FileKind

PICTURES = FileKind(
    "picture",
    # Pictures that are not read count too: each is named, with what to do, instead of left out without a word.
    found=WRITTEN_SUFFIXES | {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jxl", ".tif", ".tiff"},
    kept=WRITTEN_SUFFIXES,
    otherwise=".png",
)
