"""The formats of video files."""

from __future__ import annotations

from serving.jobs import FileKind

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the formats in which a video can be written, and FFmpeg's names of these formats."""

VIDEOS = FileKind(
    "video",
    found=frozenset(
        {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"}
        | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
    ),
    kept=frozenset(FORMATS),
    otherwise=".mp4",
)

DEFAULT_QUALITY = 70
