"""PyAV and its side of libswscale (``sws``), and their errors in this project's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.contract.errors import VideoError

try:
    import av
    from av.video import reformatter as sws
except ModuleNotFoundError:
    raise VideoError(
        "video files",
        got="no such library",
        expected="the package av",
        remedy="install it with: pip install 'toonify-serve[video]'",
    ) from None

__all__ = ["as_video_errors", "av", "input_container", "not_a_video", "sws"]

_DEMUXERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc,ivf,mxf,yuv4mpegpipe,dv,nut"
"""Formats of files that hold a video. Left out: playlists, which name other files, and text, which becomes one too."""


def input_container(path: Path) -> av.container.InputContainer:
    """Open a video file for reading; the caller closes it.

    Raises:
        VideoError: there is no such file, or it is of no known video format.
    """
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        # "file:" keeps names such as "http:x" from being taken for addresses.
        return av.open(f"file:{path}", "r", container_options=options)
    except av.FFmpegError as error:
        # A name or a permission that is wrong has its own words; a format that is wrong has none worth reading.
        got = error.strerror if isinstance(error, OSError) else None
        raise not_a_video(path, got or "a file of another kind, or one that ends early") from None


def not_a_video(path: Path, got: str) -> VideoError:
    """The error for a file that cannot be read as a video."""
    return VideoError(str(path), got=got, expected="a video", remedy="check the file, or convert it to MP4 first")


@contextmanager
def as_video_errors(path: Path, expected: str, remedy: str) -> Iterator[None]:
    """Turn any error of FFmpeg's inside the block into a VideoError about ``path``."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(str(path), got=error.strerror or str(error), expected=expected, remedy=remedy) from error
