"""One clock for all streams of a file that never jumps, whatever the file's own times do.

Recordings that were joined byte for byte begin anew in every part, counters wrap, and receivers lose their clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.video.libav import av, pictures_in

if TYPE_CHECKING:
    Packet = av.Packet[av.stream.Stream]

_JOINABLE_FORMATS = frozenset({"mpegts", "mpeg", "ogg"})
"""FFmpeg's names of the formats whose times may jump: files of them are joined byte for byte."""

_BACK = 0.5
"""Seconds by which the times of a stream fall at a jump: more than damaged files reorder, less than most clips last."""

_FORWARD = 3600.0
"""Seconds by which they rise at a jump: a picture may well be shown for minutes."""

_BACK_IN_BROADCASTS, _FORWARD_IN_BROADCASTS = 0.1, 10.0
"""The same in formats whose times may jump, which state them exactly and often. Both are FFmpeg's own values."""

_BEHIND = 1.0
"""Seconds by which one stream may lag behind another in a file."""

_REMEMBERED_PARTS = 8


def may_jump(container: av.container.InputContainer) -> bool:
    """Return whether the times of a container's format may jump, so that seeking by time misleads."""
    return container.format.name in _JOINABLE_FORMATS


def continuous_packets(
    container: av.container.InputContainer, left_out: MutableSequence[str] | None = None
) -> Iterator[Packet]:
    """Yield the packets of a file's pictures, sound and subtitles, from the present position, on one clock.

    Empty packets, which repeat what was shown before, are yielded too, and those that flush a decoder are not.
    Whoever reads the same file from the same position gets the same times. What cannot be read is appended to
    ``left_out``.
    """
    # The only packet of a cover has a time of its own.
    streams = [*pictures_in(container), *container.streams.audio, *container.streams.subtitles]
    clock = Timeline(broadcast=may_jump(container))
    if not streams:  # demux() without streams would read all streams of the file
        return
    packets = container.demux(*streams)
    while packet := _next_packet(packets, left_out):
        flushes = packet.size == 0 and packet.pts is None and packet.dts is None
        if not flushes and clock.place(packet):
            yield packet


def _next_packet(packets: Iterator[Packet], left_out: MutableSequence[str] | None) -> Packet | None:
    try:
        return next(packets, None)
    except IndexError:
        # PyAV ends so where streams have appeared that were not there at the start, as in joined broadcasts.
        if left_out is not None:
            left_out.append("streams that begin in the middle of the file")
        return None


@dataclass(eq=False)
class _Part:
    """A part of a file without a jump.

    ``offset``: seconds that are added to its times.
    ``latest``: the latest time in it, by the file's clock.
    ``next``: when the next packet of each stream in it is decoded if there is no gap, by the file's clock.
    """

    offset: float
    latest: float
    next: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Position:
    """Where a stream is: its part of the file, and its last packet.

    ``delay``: how long after decoding packets are shown.
    ``end``: the end of what was shown, by the continuous clock.
    """

    part: _Part
    delay: float
    end: float


@dataclass(frozen=True)
class _Stream:
    """Constants of a stream, which PyAV would compute for every packet: its tick, and a packet's usual length."""

    tick: float
    is_sound: bool
    length: float


class Timeline:
    """Moves the packets of a file onto one clock.

    A stream whose times jump enters a new part of the file, which begins where everything so far has ended. The other
    streams enter it when their times jump to it, and are moved by the same offset, so that sound stays in step.
    Times are float64 seconds, which tell any two ticks of a file apart.

    Args:
        broadcast: times may jump in this format, so that a smaller step is a jump.
    """

    def __init__(self, *, broadcast: bool) -> None:
        self._back = _BACK_IN_BROADCASTS if broadcast else _BACK
        self._forward = _FORWARD_IN_BROADCASTS if broadcast else _FORWARD
        self._parts: deque[_Part] = deque(maxlen=_REMEMBERED_PARTS)
        self._streams: dict[int, _Stream] = {}
        self._positions: dict[int, _Position] = {}
        self._end = 0.0

    def place(self, packet: Packet) -> bool:
        """Change a packet's times to those of the continuous clock; without any, sound follows its last packet.

        Returns False for sound at the start of a part that would be played at the same time as the end of another.
        """
        if packet.stream.type == "subtitle":
            self._place_subtitle(packet)
            return True
        index = packet.stream_index
        stream, position = self._stream_of(packet), self._positions.get(index)
        if packet.pts is None and packet.dts is None:
            if not stream.is_sound:
                return True
            packet.dts = round(position.part.next[index] / stream.tick) if position else 0
        decoded, shown = self._times(packet, stream.tick, position)
        part = self._part_of(index, position, decoded, shown)
        part.latest = max(part.latest, decoded)
        # The time until a jump may be stated as the length of the last packet before it.
        length = (packet.duration or 0) * stream.tick
        if not 0 < length <= self._forward:
            length = stream.length
            packet.duration = round(length / stream.tick)
        begin = shown + part.offset
        if position and part is not position.part and stream.is_sound and begin + length / 2 < position.end:
            return False
        self._end = max(self._end, begin + length)
        part.next[index] = decoded + length
        self._positions[index] = _Position(part, shown - decoded, begin + length)
        _set_times(packet, (decoded + part.offset) / stream.tick, begin / stream.tick)
        return True

    def _stream_of(self, packet: Packet) -> _Stream:
        index = packet.stream_index
        if index not in self._streams:
            stream = packet.stream
            rate = stream.guessed_rate if isinstance(stream, av.VideoStream) else None
            is_sound = stream.type == "audio"
            self._streams[index] = _Stream(float(packet.time_base), is_sound, float(1 / rate) if rate else 0.0)
        return self._streams[index]

    def _place_subtitle(self, packet: Packet) -> None:
        """Move a subtitle with the newest part: subtitles are too few to show a jump, and may outlast the pictures."""
        if self._parts and packet.pts is not None:
            begin = packet.pts + self._parts[-1].offset / float(packet.time_base)
            _set_times(packet, begin, begin)

    def _times(self, packet: Packet, tick: float, position: _Position | None) -> tuple[float, float]:
        """Return when a packet is decoded and shown, by the file's clock.

        FFmpeg derives some times from those of the next packet, which a jump may separate.
        """
        dts = packet.dts if packet.dts is not None else packet.pts
        pts = packet.pts if packet.pts is not None else packet.dts
        assert dts is not None
        assert pts is not None
        decoded, shown = dts * tick, pts * tick
        if not -_BACK <= shown - decoded <= self._forward:
            shown = decoded + (position.delay if position else 0)
        return decoded, shown

    def _part_of(self, index: int, position: _Position | None, decoded: float, shown: float) -> _Part:
        if not self._parts:
            self._parts.append(_Part(0.0, decoded))
        newest = self._parts[-1]
        if position is None:
            return newest
        current = position.part
        if self._follows(decoded, current.next[index]):
            return current
        if index not in newest.next and abs(decoded - newest.latest) <= self._forward:
            return newest
        visited = (part for part in self._parts if part is not current and index in part.next)
        for part in visited:  # after a single time that was wrong the stream goes on where it was
            if self._follows(decoded, part.next[index]) and shown + part.offset >= position.end - self._back:
                return part
        if decoded > current.next[index] and -_BEHIND <= decoded - current.latest <= self._forward:
            return current  # only this stream has a gap
        self._parts.append(_Part(self._end - shown, decoded))
        return self._parts[-1]

    def _follows(self, decoded: float, expected: float) -> bool:
        return -self._back <= decoded - expected <= self._forward


def _set_times(packet: Packet, decoded: float, shown: float) -> None:
    """Set the times that a packet has, in ticks; a picture without a presentation time gets none."""
    if packet.dts is not None:
        packet.dts = round(decoded)
    if packet.pts is not None or packet.stream.type == "audio":
        packet.pts = round(shown)
