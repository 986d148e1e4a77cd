"""Decoding of a part of a video file by libav, to pictures with their times."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from engines.contract.atomic import DISK_ERRORS
from engines.contract.errors import VideoError
from serving.video.libav import FRAME_LIMIT, av, check_frame_size, input_container, not_a_video, pictures_in
from serving.video.timeline import continuous_packets, may_jump

if TYPE_CHECKING:
    VideoPacket = av.Packet[av.VideoStream]

_WITHOUT_PRESENTATION_TIMES = frozenset({"avi"})
"""FFmpeg's names of the formats that store when pictures are decoded, and not when they are shown."""

_FATAL = DISK_ERRORS | {errno.ENOMEM}

_MOST_HELD_PACKETS = 1000
"""Largest number of packets held while the last key frame is sought by reading; from then on all are decoded."""


@dataclass(frozen=True)
class Clip:
    """A part of a file: ``begin`` <= time < ``end``, in seconds of the file's continuous clock; None: to its end.

    ``from_start``: True if the clip starts where the file starts, so that it includes what the file has before
    ``begin``, such as a codec's lead-in.
    """

    path: Path
    begin: Fraction
    end: Fraction | None
    from_start: bool


class DecodedPicture(NamedTuple):
    """A decoded picture; ``tick`` counts from the clip's begin, and ``duration``, also in ticks, is 0 if unknown.

    ``pixel_aspect``: width of a pixel divided by its height.
    """

    tick: int
    duration: int
    frame: av.VideoFrame
    pixel_aspect: float


class Decoder:
    """Decodes a file's first video stream from ``start`` to ``end``, in seconds from the file's start; iterate once.

    ``damaged`` counts packets that could not be decoded, whose pictures are missing; ``left_out`` says what else is.
    FFmpeg's errors are not translated.

    Raises:
        VideoError: the file is missing, has no known video format, has no video stream, or frames that are too large.
    """

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        self.damaged = 0
        self.left_out: list[str] = []
        self._repeated_until = 0
        self._first_aspect: Fraction | None = None
        self._path = path
        self._open()
        self.time_base = self.stream.time_base or Fraction(1, 90000)
        self._origin = self._ticks(_origin(self._container, self.stream))
        # The begin is rounded to a whole tick, so that every time remains a multiple of the tick.
        self._begin = self._origin + self._ticks(start or 0)
        self._end = None if end is None else self._origin + self._ticks(end)
        until = None if self._end is None else self._end * self.time_base
        self.clip = Clip(path, self._begin * self.time_base, until, from_start=not start)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def duration(self) -> float | None:
        """Seconds of the clip, computed from the file's duration; None if the file does not state one."""
        length = self._container.duration
        if length is None or length <= 0:
            return None
        end = Fraction((self._container.start_time or 0) + length, av.time_base)
        end = end if self.clip.end is None else min(end, self.clip.end)
        return float(max(Fraction(0), end - self.clip.begin))

    def __iter__(self) -> Iterator[DecodedPicture]:
        """Yield the pictures. Each lasts until the next one; the last has its stated duration, or its predecessor's."""
        previous: tuple[int, av.VideoFrame, float] | None = None
        duration = 0
        for tick, frame in self._with_ticks():
            if previous is not None:
                duration = tick - previous[0]
                yield DecodedPicture(previous[0] - self._begin, duration, *previous[1:])
            previous = tick, frame, self._pixel_aspect()
        if previous is not None:
            tick, frame, pixel_aspect = previous
            duration = max(frame.duration or duration, self._repeated_until - tick)
            duration = duration if self._end is None else min(duration, self._end - tick)
            yield DecodedPicture(tick - self._begin, duration, frame, pixel_aspect)

    def _pixel_aspect(self) -> float:
        """Return the pixels' aspect ratio in the last decoded picture: the container's, changed as the codec's is."""
        now = self.stream.codec_context.sample_aspect_ratio or Fraction(1)
        self._first_aspect = self._first_aspect or now
        return float((self.stream.sample_aspect_ratio or 1) * now / self._first_aspect)

    def _open(self) -> None:
        self._container = input_container(self._path)
        streams = pictures_in(self._container)
        if not streams:
            self._container.close()
            raise not_a_video(self._path, "a file without a video stream")
        self.stream = streams[0]
        if self.stream.codec_context is None:
            self._container.close()
            raise not_a_video(self._path, "pictures in a codec that FFmpeg does not know")
        context = self.stream.codec_context
        try:
            check_frame_size(self._path, context.width, context.height)
        except VideoError:
            self._container.close()
            raise
        context.options = FRAME_LIMIT
        self.stream.thread_type = "AUTO"

    def _ticks(self, seconds: float | Fraction) -> int:
        return round(Fraction(seconds) / self.time_base)

    def _with_ticks(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the pictures of the clip with their ticks of the continuous clock, which rise strictly."""
        nominal = max(1, self._ticks(1 / (self.stream.guessed_rate or Fraction(25))))
        last: int | None = None
        for frame in self._frames():
            tick = frame.pts if frame.pts is not None else frame.dts
            if tick is None:
                tick = self._origin if last is None else last + (frame.duration or nominal)
            last = tick if last is None else max(tick, last + 1)
            if self._end is not None and last >= self._end:
                return
            if self.clip.from_start or last >= self._begin:
                yield last, frame

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decode from the last key frame before the clip, found by seeking if that is reliable, else by reading."""
        if self._begin > self._origin and not may_jump(self._container):
            frames = self._frames_from_key_frame()
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= self._begin:
                yield from chain([first], frames)
                return
            self._container.close()
            self._open()
        yield from self._decoded(_from_last_key_frame(self._packets(), self._begin))

    def _frames_from_key_frame(self) -> Iterator[av.VideoFrame]:
        try:
            self._container.seek(self._begin, stream=self.stream)
        except av.FFmpegError:
            return
        yield from self._decoded(self._packets())

    def _packets(self) -> Iterator[VideoPacket]:
        for packet in continuous_packets(self._container, self.left_out):
            if packet.stream is self.stream:
                yield cast("VideoPacket", packet)

    def _decoded(self, packets: Iterator[VideoPacket]) -> Iterator[av.VideoFrame]:
        """Decode packets; an empty one repeats the picture before it, which is therefore shown longer."""
        times = _DecodingTimes() if self._container.format.name in _WITHOUT_PRESENTATION_TIMES else None
        for packet in packets:
            if packet.size == 0:
                self._repeated_until = _end_of(packet)
                continue
            if times:
                times.push(packet)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if error.errno in _FATAL:
                    raise
                self.damaged += 1
            else:
                yield from map(times.presented, frames) if times else frames
        with suppress(av.error.InvalidDataError):
            frames = self.stream.decode(None)
            yield from map(times.presented, frames) if times else frames


class _DecodingTimes:
    """Presentation times for a container that stores the order of decoding alone.

    A decoder gives pictures in the order in which they are shown, so the earliest time that is left is the next one's.
    FFmpeg's own guess of these times is wrong where pictures are stored before those that are shown earlier.
    """

    def __init__(self) -> None:
        self._left: list[int] = []

    def push(self, packet: VideoPacket) -> None:
        """Take a packet's time, and make it the mark of its picture."""
        packet.pts = packet.dts
        if packet.dts is not None:
            heappush(self._left, packet.dts)

    def presented(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Give the next picture its time."""
        # Times before a key frame's that are left belong to packets without a picture.
        while frame.key_frame and frame.pts is not None and self._left and self._left[0] < frame.pts:
            heappop(self._left)
        if self._left:
            frame.pts = heappop(self._left)
        return frame


def _end_of(packet: VideoPacket) -> int:
    return (packet.pts or 0) + (packet.duration or 0)


def _from_last_key_frame(packets: Iterator[VideoPacket], begin: int) -> Iterator[VideoPacket]:
    """Leave out the packets before the last key frame that is shown up to the tick ``begin``."""
    held: list[VideoPacket] = []
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and packet.pts <= begin:
            held.clear()
        held.append(packet)
        if packet.pts is None or packet.pts >= begin or len(held) == _MOST_HELD_PACKETS:
            break
    return chain(held, packets)


def _origin(container: av.container.InputContainer, video: av.video.stream.VideoStream) -> Fraction:
    """Return the file's start by its own clock: the start of its pictures or of its sound, whichever comes first.

    Sound before 0 does not count, since it is a codec's lead-in, which players do not play.
    """
    starts = [_start(video), *(max(Fraction(0), _start(stream)) for stream in container.streams.audio)]
    return min(starts)


def _start(stream: av.stream.Stream) -> Fraction:
    return Fraction(stream.start_time or 0) * (stream.time_base or 0)
