"""One clock for all streams of a file that never jumps, whatever the file's own times do.

Recordings that were joined byte for byte begin anew in every part, counters wrap, and receivers lose their clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from serving.video.libav import av

if TYPE_CHECKING:
    Packet = av.Packet[av.stream.Stream]

_JOINABLE_FORMATS = frozenset({"mpegts", "mpeg", "ogg"})
"""FFmpeg's names of the formats whose times may jump: files of them are joined byte for byte."""

COVER = av.stream.Disposition.attached_pic

_BACK = Fraction(1, 2)
"""Seconds by which the times of a stream fall at a jump: more than damaged files reorder, less than most clips last."""

_FORWARD = 3600
"""Seconds by which they rise at a jump: a picture may well be shown for minutes."""

_BACK_IN_BROADCASTS, _FORWARD_IN_BROADCASTS = Fraction(1, 10), 10
"""The same in formats whose times may jump, which state them exactly and often. Both are FFmpeg's own values."""

_BEHIND = 1
"""Seconds by which one stream may lag behind another in a file."""

_REMEMBERED_PARTS = 8


def may_jump(container: av.container.InputContainer) -> bool:
    """Return whether the times of a container's format may jump, so that seeking by time misleads."""
    return container.format.name in _JOINABLE_FORMATS


def continuous_packets(container: av.container.InputContainer) -> Iterator[Packet]:
    """Yield the packets of a file's pictures, sound and subtitles, from the present position, on one clock.

    Empty packets, which repeat what was shown before, are yielded too, and those that flush a decoder are not.
    Whoever reads the same file from the same position gets the same times.
    """
    # A cover is a video stream whose only packet has a time of its own.
    pictures = [stream for stream in container.streams.video if not stream.disposition & COVER]
    streams = [*pictures, *container.streams.audio, *container.streams.subtitles]
    clock = Timeline(broadcast=may_jump(container))
    if not streams:  # demux() without streams would read all streams of the file
        return
    for packet in container.demux(*streams):
        flushes = packet.size == 0 and packet.pts is None and packet.dts is None
        if not flushes and clock.place(packet):
            yield packet


@dataclass(eq=False)
class _Part:
    """A part of a file without a jump.

    ``offset``: what is added to its times.
    ``latest``: the latest time in it, by the file's clock.
    ``next``: when the next packet of each stream in it is decoded if there is no gap, by the file's clock.
    """

    offset: Fraction
    latest: Fraction
    next: dict[int, Fraction] = field(default_factory=dict)


@dataclass(frozen=True)
class _Position:
    """Where a stream is: its part of the file, and its last packet.

    ``delay``: how long after decoding packets are shown.
    ``end``: the end of what was shown, by the continuous clock.
    """

    part: _Part
    delay: Fraction
    end: Fraction


class Timeline:
    """Moves the packets of a file onto one clock.

    A stream whose times jump enters a new part of the file, which begins where everything so far has ended. The other
    streams enter it when their times jump to it, and are moved by the same offset, so that sound stays in step.

    Args:
        broadcast: times may jump in this format, so that a smaller step is a jump.
    """

    def __init__(self, *, broadcast: bool) -> None:
        self._back = _BACK_IN_BROADCASTS if broadcast else _BACK
        self._forward = _FORWARD_IN_BROADCASTS if broadcast else _FORWARD
        self._parts: deque[_Part] = deque(maxlen=_REMEMBERED_PARTS)
        self._positions: dict[int, _Position] = {}
        self._end = Fraction(0)

    def place(self, packet: Packet) -> bool:
        """Change a packet's times to those of the continuous clock; without any, sound follows its last packet.

        Returns False for sound at the start of a part that would be played at the same time as the end of another.
        """
        if packet.stream.type == "subtitle":
            self._place_subtitle(packet)
            return True
        is_sound, position = packet.stream.type == "audio", self._positions.get(packet.stream_index)
        if packet.pts is None and packet.dts is None:
            if not is_sound:
                return True
            packet.dts = round(position.part.next[packet.stream_index] / packet.time_base) if position else 0
        decoded, shown = self._times(packet, position)
        part = self._part_of(packet, position, decoded, shown)
        part.latest = max(part.latest, decoded)
        length, begin = self._length(packet), shown + part.offset
        enters = position is not None and part is not position.part
        if enters and is_sound and position and begin + length / 2 < position.end:
            return False
        self._end = max(self._end, begin + length)
        part.next[packet.stream_index] = decoded + length
        self._positions[packet.stream_index] = _Position(part, shown - decoded, begin + length)
        _set_times(packet, decoded + part.offset, begin)
        return True

    def _place_subtitle(self, packet: Packet) -> None:
        """Move a subtitle with the newest part: subtitles are too few to show a jump, and may outlast the pictures."""
        if self._parts and packet.pts is not None:
            begin = packet.pts * packet.time_base + self._parts[-1].offset
            _set_times(packet, begin, begin)

    def _times(self, packet: Packet, position: _Position | None) -> tuple[Fraction, Fraction]:
        """Return when a packet is decoded and shown, by the file's clock.

        FFmpeg derives some times from those of the next packet, which a jump may separate.
        """
        dts = packet.dts if packet.dts is not None else packet.pts
        pts = packet.pts if packet.pts is not None else packet.dts
        assert dts is not None
        assert pts is not None
        decoded, shown = dts * packet.time_base, pts * packet.time_base
        if not -_BACK <= shown - decoded <= self._forward:
            shown = decoded + (position.delay if position else 0)
        return decoded, shown

    def _part_of(self, packet: Packet, position: _Position | None, decoded: Fraction, shown: Fraction) -> _Part:
        if not self._parts:
            self._parts.append(_Part(Fraction(0), decoded))
        newest, index = self._parts[-1], packet.stream_index
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

    def _follows(self, decoded: Fraction, expected: Fraction) -> bool:
        return -self._back <= decoded - expected <= self._forward

    def _length(self, packet: Packet) -> Fraction:
        """Return how long a packet is shown or heard; the time until a jump may be stated as its length."""
        length = (packet.duration or 0) * packet.time_base
        if 0 < length <= self._forward:
            return length
        stream = packet.stream
        return 1 / stream.guessed_rate if isinstance(stream, av.VideoStream) and stream.guessed_rate else Fraction(0)


def _set_times(packet: Packet, decoded: Fraction, shown: Fraction) -> None:
    """Set the times that a packet has; a picture without a presentation time gets none."""
    if packet.dts is not None:
        packet.dts = round(decoded / packet.time_base)
    if packet.pts is not None or packet.stream.type == "audio":
        packet.pts = round(shown / packet.time_base)
