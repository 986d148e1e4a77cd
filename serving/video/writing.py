"""A frame sink that writes a video file in one pass: pictures as H.264, and what their source has beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.contract.atomic import DISK_ERRORS, atomic_file
from engines.contract.errors import VideoError
from serving.video.colour import ToYuv
from serving.video.encoders import Codec, chosen_encoder, encoder_options
from serving.video.frames import Frame, FrameSource
from serving.video.libav import av
from serving.video.reading import VideoReader
from serving.video.side_streams import SideStreams
from serving.video.soundtrack import Audio
from serving.video.targets import DEFAULT_QUALITY, FORMATS

_DEFAULT_TIME_BASE = Fraction(1, 90000)
"""Time base of frames that do not come from a file: MPEG's clock, a multiple of every usual frame rate."""

_PLAUSIBLE_RATES = (1, 240)
"""Range of stated frame rates that are used, to size buffers and choose a level; the frames keep their own times."""


class VideoWriter:
    """Writes frames with their own times; use it in a ``with`` block.

    The sound of the clip that they come from comes along, and as far as the format holds them its subtitles, chapters
    and tags, each track with its language, title and flags. ``notes`` says what does not.

    The video is H.264 in 8 bits, 4:2:0, BT.709, limited range. An odd width or height gets its last column or row
    twice, since 4:2:0 needs even sizes. The file appears when it is complete; after an error there is none.

    Args:
        path: output file; its suffix is one of ``FORMATS``.
        source: the source of the frames; a VideoReader also provides the clock and the sound.
        size: width and height of the frames; None is those of ``source``.
        audio: "copy" copies the sound, but encodes as AAC codecs that the format does not support or that many players
            do not play from it; "aac" always encodes; "none" leaves the sound out.
        codec: the encoder; "auto" selects NVENC if it works, else x264.
        quality: 0 to 100; 70 is hard to tell from the original.
        force: replace an existing file.

    Raises:
        VideoError: the path has another suffix, the quality is out of range, the encoder does not work here, a frame
            has another size or is out of order, there is no frame at all, or the disk fails.
        ExportError: the file exists and ``force`` is false.
    """

    def __init__(
        self,
        path: Path,
        source: FrameSource,
        *,
        size: tuple[int, int] | None = None,
        audio: Audio = "copy",
        codec: Codec = "auto",
        quality: int = DEFAULT_QUALITY,
        force: bool = False,
    ) -> None:
        _check(path, quality)
        self.size = size or source.size
        self._path = path
        self._source = source if isinstance(source, VideoReader) else None
        self._audio = audio
        self._encoder = chosen_encoder(codec)
        self._options = encoder_options(self._encoder, quality)
        self._force = force
        self._to_yuv = ToYuv(self.size)
        self._time_base = self._source.time_base if self._source else _DEFAULT_TIME_BASE
        self._side: SideStreams | None = None
        self._last: int | None = None

    @property
    def notes(self) -> list[str]:
        """What the file does not have of its source, as parts of a sentence; complete after the ``with`` block."""
        return self._side.notes if self._side else []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic_file(self._path, force=self._force))
            stack.enter_context(self._as_video_errors())
            container = FORMATS[self._path.suffix.lower()]
            options = _container_options(container, self._time_base)
            self._output = av.open(f"file:{partial}", "w", format=container, container_options=options)
            stack.push(self._close)
            self._stream = self._new_stream()
            if self._source:
                self._side = SideStreams(self._source.clip, self._output, container, self._audio)
                stack.callback(self._side.close)
            self._output.start_encoding()
            stack.push(self._finish)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.__exit__(kind, error, traceback)

    def write(self, frame: Frame) -> None:
        """Encode a frame, which has ``size`` and is later than the previous one, and write the sound up to its time."""
        height, width = frame.pixels.shape[:2]
        if (width, height) != self.size:
            raise self._refused(f"a frame of {width}x{height}", "{}x{}".format(*self.size), "give frames of one size")
        # Half ticks are always rounded up, not to even, so that neighbouring frames do not get the same tick.
        tick = math.floor(frame.pts / self._time_base + Fraction(1, 2))
        if self._last is not None and tick <= self._last:
            got = f"a frame at {float(frame.pts):g} s, not later than the one before it"
            raise self._refused(got, "frames in the order of their times", "write every frame once")
        self._last = tick
        with self._as_video_errors():
            picture = self._to_yuv(frame.pixels)
            picture.pts, picture.time_base = tick, self._time_base
            picture.duration = round(frame.duration / self._time_base)
            self._output.mux(self._stream.encode(picture))
            if self._side:
                self._side.write_until(frame.pts)

    def _new_stream(self) -> av.VideoStream:
        rate = self._source.rate if self._source else None
        stream = self._output.add_stream(
            self._encoder,
            rate=rate if rate and _PLAUSIBLE_RATES[0] <= rate <= _PLAUSIBLE_RATES[1] else 30,
            options=self._options,
            time_base=self._time_base,
            width=self._to_yuv.size[0],
            height=self._to_yuv.size[1],
        )
        context = stream.codec_context
        context.flags |= av.codec.context.Flags.frame_duration
        self._to_yuv.describe(context)
        return stream

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if self._last is None:
            raise self._refused("no frame", "at least one", "check what the frames come from")
        self._output.mux(self._stream.encode(None))
        if self._side:
            self._side.finish()

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error the file is removed, so further errors in writing it carry no information.
        with suppress(av.FFmpegError) if error else nullcontext():
            self._output.close()

    @contextmanager
    def _as_video_errors(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            remedy = "check the disk" if error.errno in DISK_ERRORS else "choose another format or codec"
            got = error.strerror or "an error of FFmpeg"
            raise self._refused(got, "a video that can be written", remedy) from error

    def _refused(self, got: str, expected: str, remedy: str) -> VideoError:
        return VideoError(str(self._path), got=got, expected=expected, remedy=remedy)


def _container_options(container: str, time_base: Fraction) -> dict[str, str]:
    if container == "matroska":
        # Otherwise a codec's lead-in, which lies before 0, would shift pictures and sound to later times.
        return {"avoid_negative_ts": "disabled"}
    # The index comes first, for streaming. The movie's clock must be as fine as the time base, since the start of a
    # picture track that does not begin at 0 is rounded to it.
    return {"movflags": "+faststart", "movie_timescale": str(max(1000, time_base.denominator))}


def _check(path: Path, quality: int) -> None:
    if path.suffix.lower() not in FORMATS:
        raise VideoError(
            str(path),
            got=f"the suffix {path.suffix!r}" if path.suffix else "no suffix",
            expected=f"one of {', '.join(FORMATS)}",
            remedy="choose another name",
        )
    if not 0 <= quality <= 100:
        raise VideoError(str(path), got=f"quality {quality}", expected="0 to 100", remedy="choose another quality")
