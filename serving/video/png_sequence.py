"""A frame sink that writes numbered PNG files."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.contract.atomic import atomic_directory
from engines.contract.errors import ExportError
from serving.faces.images import write_picture
from serving.video.frames import Frame

_NUMBERED = re.compile(r"\d{6,}\.png")


class PngSequence:
    """Writes frames to a folder as 000000.png, 000001.png, ..., without their times; use it in a ``with`` block.

    The folder appears when it is complete; after an error there is none.

    Raises:
        ExportError: the folder exists and ``force`` is false, or the folder contains other files.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self._folder = folder
        self._replacement = atomic_directory(folder, force=force)
        self._count = 0

    def __enter__(self) -> Self:
        _refuse_other_files(self._folder)
        self._staging = self._replacement.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._replacement.__exit__(kind, error, traceback)

    def write(self, frame: Frame) -> None:
        """Write one frame as the next file."""
        write_picture(self._staging / f"{self._count:06}.png", frame.pixels)
        self._count += 1


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder with other files than the frames of an earlier run, since ``force`` replaces the whole folder."""
    paths = [*folder.iterdir()] if folder.is_dir() else [folder] if folder.exists() else []
    others = [path for path in paths if not (path.is_file() and _NUMBERED.fullmatch(path.name))]
    if others:
        raise ExportError(
            str(folder),
            got="a file" if folder in others else f"a folder that contains {others[0].name}",
            expected="a new folder, or one that contains only numbered PNG files",
            remedy="choose another folder",
        )
