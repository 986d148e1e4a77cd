"""The queue of clips, which take longer than a request: they are toonified one by one, and report their progress."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
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
from serving.studio.refusal import Place, Room
from serving.studio.studio import Studio
from serving.video.composing import composed_size
from serving.video.pipeline import VideoProgress, toonify_video
from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter

MAX_FINISHED_CLIPS = 8
"""Largest number of finished clips whose files are kept; a new clip replaces the oldest one."""

MAX_UNFINISHED_CLIPS = 8
"""Largest number of clips that are received, wait or are toonified."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipState:
    """The progress of a clip.

    ``frames``: number of frames written so far.
    ``total``: number of frames stated by the file, or None.
    ``fps``: frames written per second.
    ``remaining``: estimated seconds left; None if unknown.
    ``error``: the reason why the clip has failed.
    """

    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    frames: int = 0
    total: int | None = None
    fps: float = 0.0
    remaining: float | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        """True if the clip is done or has failed."""
        return self.state in ("done", "failed")


@dataclass(eq=False)
class ClipJob:
    """A clip with a folder of its own; the file ``source`` must be written before ``ClipQueue.start``.

    ``place``: its place in the queue's room, with the size of its source.
    ``number``: how many clips were started before it; None until it is started.
    ``run``: the work on it; None until it is started.
    """

    id: str
    folder: Path
    place: Place
    number: int | None = None
    run: Future[None] | None = None
    state: ClipState = field(default_factory=ClipState)
    cancel: Event = field(default_factory=Event)

    @property
    def source(self) -> Path:
        """The uploaded video."""
        return self.folder / "clip"

    @property
    def result(self) -> Path:
        """The toonified video."""
        return self.folder / "toon.mp4"


class ClipQueue:
    """A studio's clips, in a temporary folder that the ``with`` block removes; one thread calls the methods."""

    def __init__(self, studio: Studio, room: Room) -> None:
        self._studio = studio
        self._room = room
        self._clips: dict[str, ClipJob] = {}
        self._started = 0

    @property
    def folder(self) -> str:
        """The temporary folder with the clips' files."""
        return self._temporary.name

    def new(self) -> ClipJob:
        """Make a clip without a source.

        Raises:
            Refusal: there are too many unfinished clips.
        """
        place = self._room.enter()
        ended = [clip for clip in self._clips.values() if clip.state.ended]
        if len(ended) >= MAX_FINISHED_CLIPS:
            self.remove(ended[0])
        id = token_urlsafe(16)
        clip = self._clips[id] = ClipJob(id, Path(self.folder, id), place)
        clip.folder.mkdir()
        return clip

    def start(self, clip: ClipJob, controls: PageControls) -> None:
        """Queue a clip for toonifying; its ``state`` shows the progress."""
        clip.number = self._started
        self._started += 1
        clip.run = self._worker.submit(self._run, clip, controls)

    def get(self, id: str) -> ClipJob | None:
        """Return the clip with an id; None if there is none, or if it was removed."""
        return self._clips.get(id)

    def ahead(self, clip: ClipJob) -> int:
        """Return the number of clips that must end before a clip begins."""
        numbers = (other.number for other in self._clips.values() if not other.state.ended)
        return sum(number is not None and clip.number is not None and number < clip.number for number in numbers)

    def remove(self, clip: ClipJob) -> None:
        """End the work on a clip; its files are removed as soon as they are not in use."""
        clip.cancel.set()
        del self._clips[clip.id]
        if clip.run is None or clip.run.cancel():
            _discard(clip)
        else:
            clip.run.add_done_callback(lambda _: _discard(clip))

    def cancel(self) -> None:
        """End the work on all clips."""
        for clip in self._clips.values():
            clip.cancel.set()

    def _run(self, clip: ClipJob, controls: PageControls) -> None:
        try:
            if not clip.cancel.is_set():
                self._toonify(clip, controls)
        except ToonifyError as error:
            self._fail(clip, str(error).replace(f"{clip.folder}/", ""))
        except Exception:
            _log.exception("clip %s", clip.id)
            self._fail(clip, "clip: got an unexpected error; see the output of toonify studio.")
        else:
            clip.state = replace(clip.state, state="done", remaining=0.0)
        clip.source.unlink(missing_ok=True)
        clip.place.leave()

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
        self._temporary = TemporaryDirectory(prefix="toonify-studio-")
        self._worker = ThreadPoolExecutor(1, "clips")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        self._worker.shutdown(cancel_futures=True)
        self._temporary.cleanup()


def _discard(clip: ClipJob) -> None:
    rmtree(clip.folder, ignore_errors=True)
    clip.place.leave()
