"""Frames as numbered PNG files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.atomic import atomic_directory
from serving.images import write_picture
from serving.video.frames import Frame


class PngSequence:
    """Writes frames into a folder as 000000.png, 000001.png, ...; their times are not kept. Use it in ``with``.

    The folder appears when it is whole; after an error there is none.

    Raises:
        ExportError: the folder exists and ``force`` is false.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self._folder = folder
        self._force = force
        self._count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._staging = stack.enter_context(atomic_directory(self._folder, force=self._force))
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.__exit__(kind, error, traceback)

    def write(self, frame: Frame) -> None:
        """Write one frame as the next file."""
        write_picture(self._staging / f"{self._count:06}.png", frame.pixels)
        self._count += 1
