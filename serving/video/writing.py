"""A video file, written in one pass: pictures as H.264, and the sound of the file that they came from."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.contract.atomic import atomic_file
from engines.contract.errors import VideoError
from serving.video.colour import ToYuv
from serving.video.encoders import Codec, chosen_encoder, encoder_options
from serving.video.frames import Frame, FrameSource
from serving.video.libav import as_video_errors, av
from serving.video.reading import VideoReader
from serving.video.soundtrack import Audio, Soundtrack
from serving.video.targets import DEFAULT_QUALITY, FORMATS

_DEFAULT_TIME_BASE = Fraction(1, 90000)
"""For frames that come from no file; the clock of MPEG, of which every usual frame rate is a multiple."""

_PLAUSIBLE_RATES = (1, 240)
"""Stated frame rates that are believed. They size buffers and name a level; the frames' own times are what counts."""


class VideoWriter:
    """Writes frames with their own times, and the sound of the clip that they were read from; use it in ``with``.

    H.264 in 8 bits, 4:2:0, BT.709, limited range. An odd width or height gets its last column or row twice, since
    4:2:0 needs even ones. The file appears under its name when it is whole; after an error there is none.

    Args:
        path: ends in one of ``FORMATS``.
        source: where the frames come from; of a VideoReader also the clock and the sound are taken.
        size: width and height of the frames; those of ``source`` unless given.
        audio: "copy" takes sound as it is, and encodes as AAC what the format does not take or many players do not
            play from it; "aac" always encodes; "none" leaves it out.
        codec: "auto" is NVENC where it works, else x264.
        quality: 0 to 100; 70 is hard to tell from the original.
        force: replace a file that is there.

    Raises:
        VideoError: another suffix, an encoder that does not work here, a frame of another size or out of order, no
            frame at all, or a disk that fails.
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
        self._last: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic_file(self._path, force=self._force))
            stack.enter_context(self._as_video_errors())
            container = FORMATS[self._path.suffix.lower()]
            options = _container_options(container, self._time_base)
            self._output = av.open(f"file:{partial}", "w", format=container, container_options=options)
            stack.push(self._close)
            self._stream = self._new_stream()
            self._sound: Soundtrack | None = None
            if self._source and self._audio != "none":
                self._sound = Soundtrack(self._source.clip, self._output, self._audio)
                stack.callback(self._sound.close)
            stack.push(self._finish)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.__exit__(kind, error, traceback)

    def write(self, frame: Frame) -> None:
        """Encode a frame of ``size``, later than the one before it, and write the sound up to its time."""
        height, width = frame.pixels.shape[:2]
        if (width, height) != self.size:
            raise self._refused(f"a frame of {width}x{height}", "{}x{}".format(*self.size), "give frames of one size")
        # Half a tick up, not to the even one: so neighbours remain apart.
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
            if self._sound:
                self._sound.write_until(frame.pts)

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
        if self._sound:
            self._sound.finish()

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error the file goes away, and what cannot be written into it any more says nothing new.
        with suppress(av.FFmpegError) if error else nullcontext():
            self._output.close()

    def _as_video_errors(self) -> AbstractContextManager[None]:
        return as_video_errors(self._path, "a video that can be written", "check the disk, or choose another codec")

    def _refused(self, got: str, expected: str, remedy: str) -> VideoError:
        return VideoError(str(self._path), got=got, expected=expected, remedy=remedy)


def _container_options(container: str, time_base: Fraction) -> dict[str, str]:
    if container == "matroska":
        # Else a codec's lead-in, which lies before 0, would move pictures and sound to later times.
        return {"avoid_negative_ts": "disabled"}
    # The index first, for the web; a picture that does not start at 0 is placed in ticks of the movie's clock.
    return {"movflags": "+faststart", "movie_timescale": str(max(1000, time_base.denominator))}


def _check(path: Path, quality: int) -> None:
    if path.suffix.lower() not in FORMATS:
        raise VideoError(
            str(path),
            got=f"the suffix {path.suffix!r}" if path.suffix else "no suffix",
            expected=", ".join(FORMATS),
            remedy="choose another name",
        )
    if not 0 <= quality <= 100:
        raise VideoError(str(path), got=f"quality {quality}", expected="0 to 100", remedy="choose another quality")
