"""What an output format can hold, found by trial: FFmpeg's tables name codecs that its writers then refuse."""

from __future__ import annotations

import io
from collections.abc import Mapping

from serving.video.libav import av

_PLAYED_FROM_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Codecs of sound that are copied into MP4. It may hold others, such as Opus, FLAC and PCM, which many players do not
play from MP4."""

_OF_ONE_FILE = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "vendor_id",
    "rotate",
    "duration",
    "bps",
)
_STATISTICS = ("number_of_", "_statistics", "bps-", "duration-")
"""Tags, and beginnings of tags, that describe how one file was written, and would be wrong in another."""

_QUICKTIME_LANGUAGES = {
    "bod": "tib",
    "deu": "ger",
    "ell": "gre",
    "hye": "arm",
    "isl": "ice",
    "kat": "geo",
    "mkd": "mac",
    "msa": "may",
    "mya": "bur",
    "nld": "dut",
    "sqi": "alb",
    "swe": "sve",
    "zho": "chi",
}
"""Languages that FFmpeg's writer of MOV knows by another code of ISO 639-2, or by one of its own."""


def can_hold(container: str, stream: av.stream.Stream) -> bool:
    """Return whether a format, by FFmpeg's name, holds the packets of an input stream as they are."""
    if stream.codec_context is None:
        return False
    if container == "mp4" and stream.type == "audio" and codec_of(stream) not in _PLAYED_FROM_MP4:
        return False
    try:
        # Some formats read the codec's header only when the file is closed.
        with av.open(io.BytesIO(), "w", format=container) as output:
            output.add_stream_from_template(stream)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def codec_of(stream: av.stream.Stream) -> str:
    """Return the name of a stream's codec, and of a codec that FFmpeg cannot decode "unknown codec"."""
    return "unknown codec" if stream.codec_context is None else stream.codec_context.codec.canonical_name


def kept_tags(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """Return the tags of a file or a stream that still hold when it is written to another file."""
    kept = {
        key: value
        for key, value in tags.items()
        if key.lower() not in _OF_ONE_FILE and not key.lower().startswith(_STATISTICS)
    }
    if "name" in kept:  # the title of a stream in MP4
        kept.setdefault("title", kept.pop("name"))
    if container == "mov" and "language" in kept:
        kept["language"] = _QUICKTIME_LANGUAGES.get(kept["language"], kept["language"])
    return kept


def lost_tags(container: str, tags: Mapping[str, str]) -> list[str]:
    """Return the names of a file's tags that a format does not keep."""
    if container == "matroska" or not tags:  # Matroska keeps tags of any name
        return []
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        output.add_stream("pcm_s16le", rate=48000, layout="mono")
        output.metadata.update(tags)
        output.start_encoding()
    file.seek(0)
    with av.open(file, "r") as written:
        kept = {key.lower() for key in written.metadata}
    return [key for key in tags if key.lower() not in kept]
