"""ClipQueue: work that outlasts a request, done one after the other, and told of while it goes on."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_urlsafe
from shutil import rmtree
from tempfile import TemporaryDirectory
from threading import Event
from types import TracebackType
from typing import Literal, Self

from engines.contract.errors import ToonifyError
from serving.studio.controls import PageControls
from serving.studio.studio import Studio
from serving.video.composing import composed_size
from serving.video.pipeline import VideoProgress, toonify_video
from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter

MAX_FINISHED_CLIPS = 8
"""Finished clips whose files are kept; the oldest goes when another one comes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipState:
    """How far a clip is.

    ``frames`` of ``total`` (None where the file does not say) are written, ``fps`` a second; ``remaining`` seconds are
    left, None where unknown. ``error`` says why a clip has failed.
    """

    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    frames: int = 0
    total: int | None = None
    fps: float = 0.0
    remaining: float | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")


@dataclass(eq=False)
class ClipJob:
    """A clip in a folder of its own. Whoever asked for it writes ``source`` before ``ClipQueue.start``."""

    id: str
    folder: Path
    state: ClipState = field(default_factory=ClipState)
    cancel: Event = field(default_factory=Event)

    @property
    def source(self) -> Path:
        return self.folder / "clip"

    @property
    def result(self) -> Path:
        return self.folder / "toon.mp4"


class ClipQueue:
    """A studio's clips, in a temporary folder that goes when the ``with`` block ends; one thread calls the methods."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._clips: dict[str, ClipJob] = {}

    def new(self) -> ClipJob:
        """Make an empty clip."""
        ended = [clip for clip in self._clips.values() if clip.state.ended]
        if len(ended) >= MAX_FINISHED_CLIPS:
            self.remove(ended[0])
        id = token_urlsafe(16)
        clip = self._clips[id] = ClipJob(id, Path(self._folder.name, id))
        clip.folder.mkdir()
        return clip

    def start(self, clip: ClipJob, controls: PageControls) -> None:
        """Toonify a clip when those before it have ended; its ``state`` tells what becomes of it."""
        self._worker.submit(self._run, clip, controls)

    def get(self, id: str) -> ClipJob | None:
        """The clip, unless it was removed or never there."""
        return self._clips.get(id)

    def remove(self, clip: ClipJob) -> None:
        """End the work on a clip; its files go as soon as nothing uses them."""
        clip.cancel.set()
        del self._clips[clip.id]
        self._worker.submit(rmtree, clip.folder)

    def _run(self, clip: ClipJob, controls: PageControls) -> None:
        try:
            if not clip.cancel.is_set():
                self._toonify(clip, controls)
        except ToonifyError as error:
            self._fail(clip, str(error).replace(f"{clip.folder}/", ""))
        except Exception:
            _log.exception("clip %s", clip.id)
            self._fail(clip, "clip: this is a fault of the program; what it prints says more.")
        else:
            clip.state = replace(clip.state, state="done", remaining=0.0)

    def _toonify(self, clip: ClipJob, controls: PageControls) -> None:
        def progress(now: VideoProgress) -> None:
            clip.state = ClipState("running", now.frames, now.total, now.fps, now.remaining)

        clip.state = ClipState("running")
        with VideoReader(clip.source) as reader, self._studio.session(controls, "file") as session:
            writer = VideoWriter(clip.result, reader, size=composed_size(session.composer, reader.size))
            toonify_video(reader, writer, session, progress=progress, cancel=clip.cancel)

    def _fail(self, clip: ClipJob, error: str) -> None:
        clip.state = replace(clip.state, state="failed", error=error)

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="toonify-studio-")
        self._worker = ThreadPoolExecutor(1, "clips")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for clip in self._clips.values():
            clip.cancel.set()
        self._worker.shutdown()
        self._folder.cleanup()
