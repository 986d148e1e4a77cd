"""The videos that a command is given, and their output paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.contract.errors import RequestError, VideoError

INPUT_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of the files of a folder that count as videos; a file given by name is opened whatever its suffix."""

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the formats in which a video can be written, and FFmpeg's names of these formats."""

DEFAULT_QUALITY = 70


def videos_in(inputs: Sequence[Path]) -> list[Path]:
    """Return the files among ``inputs``, and the videos in the folders among them, sorted by name.

    Raises:
        VideoError: a folder contains no video.
    """
    videos: list[Path] = []
    for path in inputs:
        videos_found = _videos_of(path) if path.is_dir() else [path]
        if not videos_found:
            raise VideoError(str(path), got="no video in it", expected="at least one", remedy="give another folder")
        videos += videos_found
    return videos


def targets_of(videos: Sequence[Path], output: Path, *, in_folder: bool, suffix: str | None = None) -> list[Path]:
    """Return the output path of each video: ``output`` itself, or with ``in_folder`` the video's name in that folder.

    Names in a folder end in ``suffix``; None keeps the video's suffix, or ".mp4" if that format cannot be written.

    Raises:
        RequestError: a file exists where the folder should be, two targets have one name, or a video would overwrite
            itself.
    """
    if not in_folder:
        targets = [output]
    elif output.is_file():
        raise _refused(output, "a file", "a folder", "choose another output")
    else:
        targets = [output / f"{video.stem}{_suffix_for(video) if suffix is None else suffix}" for video in videos]
    originals = {video.resolve() for video in videos}
    for target in targets:
        if targets.count(target) > 1:
            raise _refused(target, "two videos of that name", "one", "run the command once for each")
        if target.resolve() in originals:
            raise _refused(target, "one of the inputs", "another file", "choose another output")
    return targets


def _videos_of(folder: Path) -> list[Path]:
    # A leading dot marks the unfinished file of a run.
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in INPUT_SUFFIXES)


def _suffix_for(video: Path) -> str:
    return video.suffix if video.suffix.lower() in FORMATS else ".mp4"


def _refused(target: Path, got: str, expected: str, remedy: str) -> RequestError:
    return RequestError(str(target), got=got, expected=expected, remedy=remedy)
