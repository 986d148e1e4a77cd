"""PyAV and its interface to libswscale (``sws``), and the translation of their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.contract.errors import VideoError

try:
    import av
    from av.subtitles.stream import SubtitleStream
    from av.video import reformatter as sws
except ModuleNotFoundError:
    raise VideoError(
        "video files",
        got="no such library",
        expected="the package av",
        remedy="install it with: pip install 'toonify-serve[video]'",
    ) from None

__all__ = [
    "FRAME_LIMIT",
    "SubtitleStream",
    "as_video_errors",
    "av",
    "check_frame_size",
    "damaged_packets",
    "input_container",
    "is_cover",
    "not_a_video",
    "pictures_in",
    "sws",
]

_DEMUXERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc,ivf,mxf,yuv4mpegpipe,dv,nut"
"""Container formats to open. Playlists, which name other files, and text, which FFmpeg renders, are excluded."""

MAX_FRAME_PIXELS = 8192 * 4320
"""Largest frames; those of 8K have 7680x4320. About 30 frames are in memory at a time, of 3 bytes a pixel."""

FRAME_LIMIT = {"max_pixels": str(MAX_FRAME_PIXELS)}
"""Option of FFmpeg's decoders by which they refuse larger frames, also those in the middle of a video."""


def input_container(path: Path) -> av.container.InputContainer:
    """Open a video file for reading; the caller closes it.

    Raises:
        VideoError: there is no such file, or it has no known video format.
    """
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        # With "file:" a name such as "http:x" is not taken for an address.
        # Tags of old files may be in any encoding.
        return av.open(f"file:{path}", "r", container_options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        # FFmpeg's message is useful for a wrong name or permission, but not for a wrong format.
        got = error.strerror if isinstance(error, OSError) else None
        raise not_a_video(path, got or "a file of another kind, or one that ends early") from None


def is_cover(stream: av.stream.Stream) -> bool:
    """Return whether a stream is the cover of a sound file, which is a video stream with one picture."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def pictures_in(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Return a file's video streams without its covers."""
    return [stream for stream in container.streams.video if not is_cover(stream)]


def not_a_video(path: Path, got: str) -> VideoError:
    """Return the error for a file that cannot be read as a video."""
    return VideoError(str(path), got=got, expected="a video", remedy="check the file, or convert it to MP4 first")


def check_frame_size(path: Path, width: int, height: int) -> None:
    """Raise VideoError if a video's frames have more than ``MAX_FRAME_PIXELS``."""
    if width * height > MAX_FRAME_PIXELS:
        raise VideoError(
            str(path),
            got=f"frames of {width}x{height} pixels",
            expected=f"at most {MAX_FRAME_PIXELS / 10**6:.0f} megapixels, as in 8K",
            remedy="scale the video down first",
        )


def damaged_packets(count: int, of: str) -> str:
    """Return the part of a sentence that says how many packets of a stream were left out."""
    return f"{count} damaged {'packet' if count == 1 else 'packets'} of {of}"


@contextmanager
def as_video_errors(path: Path, expected: str, remedy: str) -> Iterator[None]:
    """Translate any error of FFmpeg inside the block to a VideoError about ``path``."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(str(path), got=error.strerror or str(error), expected=expected, remedy=remedy) from error
