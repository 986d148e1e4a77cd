"""What a written video keeps of its source beside the pictures: sound, subtitles, chapters and tags."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

from serving.video.containers import can_hold, codec_of, kept_tags, lost_tags
from serving.video.decoding import Clip
from serving.video.libav import SubtitleStream, av, damaged_packets, input_container, is_cover, pictures_in
from serving.video.soundtrack import Audio, CopiedSound, EncodedSound, has_header
from serving.video.subtitles import TEXT, TEXT_CODECS, Subtitles
from serving.video.timeline import continuous_packets, may_jump
from serving.video.tracks import Track

if TYPE_CHECKING:
    Packet = av.Packet[av.stream.Stream]

_SEEK_MARGIN = 1
"""Seconds before the clip to which sound is sought, since files interleave it with pictures only roughly."""

_KINDS = {"audio": "sound", "subtitle": "subtitles", "video": "pictures", "data": "data", "attachment": "attachment"}


class SideStreams:
    """Writes the sound and the subtitles of a clip, each as far as the pictures have been written.

    The clip's file is opened a second time for them, so that no packets pile up while decoding of the pictures is
    ahead. Packets are copied if the output holds their codec; other sound is encoded as AAC, other subtitles of text
    are converted, and those of pictures are left out. The sound of a part of a file begins with the first packet that
    begins in it. Only FFmpeg's errors in writing are raised, and not translated.

    Args:
        clip: the file and the part of it.
        output: the output, before its first packet; ``container`` is FFmpeg's name of its format.
        audio: see ``serving.video.writing.VideoWriter``.

    Raises:
        VideoError: the clip's file cannot be opened.
    """

    def __init__(self, clip: Clip, output: av.container.OutputContainer, container: str, audio: Audio) -> None:
        self._clip = clip
        self._left_out: list[str] = []
        self._unread: str | None = None
        self._input = _opened_at_begin(clip)
        self._format = container
        self._pictures = _pictures_of(self._input)
        self._first = _first_packets(clip) if audio != "none" else {}
        self._copy_description(output)
        self._tracks = self._new_tracks(output, audio)
        self._packets = self._readable_packets()
        self._next = next(self._packets, None)

    @property
    def notes(self) -> list[str]:
        """What was left out of the file so far, as parts of a sentence."""
        damaged = [damaged_packets(track.damaged, track.name) for track in self._tracks.values() if track.damaged]
        return [*self._left_out, *damaged, *([self._unread] if self._unread else [])]

    def close(self) -> None:
        """Close the clip's file."""
        self._input.close()

    def write_until(self, pts: Fraction) -> None:
        """Write the packets that begin up to ``pts``, in seconds from the clip's begin."""
        while self._next is not None and _time(self._next) <= self._clip.begin + pts:
            self._write(self._next)

    def finish(self) -> None:
        """Write the remaining packets."""
        while self._next is not None:
            self._write(self._next)
        for track in self._tracks.values():
            track.finish()

    def _write(self, packet: Packet) -> None:
        self._tracks[packet.stream_index].write(packet)
        self._next = next(self._packets, None)

    def _copy_description(self, output: av.container.OutputContainer) -> None:
        if self._pictures:
            output.streams.video[0].metadata.update(kept_tags(self._pictures.metadata, self._format))
        tags = kept_tags(self._input.metadata, self._format)
        output.metadata.update(tags)
        if lost := lost_tags(self._format, tags):
            self._left_out.append(f"tags {', '.join(lost)}")
        output.set_chapters([*self._chapters()])

    def _chapters(self) -> Iterator[av.container.Chapter]:
        for chapter in self._input.chapters():
            tick = chapter["time_base"] or Fraction(1, 1000)
            begin = round(self._clip.begin / tick)
            end = chapter["end"] if self._clip.end is None else min(chapter["end"], round(self._clip.end / tick))
            if begin < end and chapter["start"] < end:
                start = max(chapter["start"] - begin, 0)
                yield {**chapter, "start": start, "end": end - begin, "metadata": dict(chapter["metadata"])}

    def _new_tracks(self, output: av.container.OutputContainer, audio: Audio) -> dict[int, Track]:
        tracks: dict[int, Track] = {}
        for stream in self._input.streams:
            name = _name(stream)
            track = self._new_track(stream, name, output, audio)
            if track:
                track.stream.metadata.update(kept_tags(stream.metadata, self._format))
                track.stream.disposition = stream.disposition
                tracks[stream.index] = track
            elif self._is_missed(stream, audio):
                self._left_out.append(name)
        return tracks

    def _new_track(
        self, stream: av.stream.Stream, name: str, output: av.container.OutputContainer, audio: Audio
    ) -> CopiedSound | EncodedSound | Subtitles | None:
        begin, first = self._clip.begin, self._first.get(stream.index)
        if isinstance(stream, av.AudioStream) and first:
            copied = audio == "copy" and can_hold(self._format, stream) and has_header(stream, first)
            return (CopiedSound if copied else EncodedSound)(stream, name, output, begin)
        if isinstance(stream, SubtitleStream):
            if can_hold(self._format, stream):
                return Subtitles(stream, name, output, begin)
            if codec_of(stream) in TEXT:
                return Subtitles(stream, name, output, begin, TEXT_CODECS[self._format])
        if isinstance(stream, av.stream.AttachmentStream) and self._format == "matroska":
            output.add_attachment(stream.name or name, stream.mimetype or "application/octet-stream", stream.data)
        return None

    def _is_missed(self, stream: av.stream.Stream, audio: Audio) -> bool:
        """Return whether a stream that has no track is to be named."""
        if stream.type == "attachment":
            return self._format != "matroska"
        if stream.type == "data":  # MP4 shows chapters as a stream, too, which is not meant to be read
            return stream.discard != av.stream.Discard.all
        if stream.type == "audio":
            return audio != "none" and (stream.codec_context is None or stream.index in self._first)
        return stream is not self._pictures

    def _readable_packets(self) -> Iterator[Packet]:
        """Yield the tracks' packets up to the first that cannot be read; the pictures' reader meets it, too."""
        try:
            yield from _packets_of_clip(self._input, self._clip, self._tracks)
        except av.FFmpegError as error:
            self._unread = f"sound and subtitles from where the file cannot be read ({error.strerror})"


def _packets_of_clip(container: av.container.InputContainer, clip: Clip, indices: Collection[int]) -> Iterator[Packet]:
    """Yield the packets of some streams, until all sound and the pictures have passed the clip's end."""
    unfinished = {stream.index for stream in (_pictures_of(container), *container.streams.audio) if stream}
    for packet in continuous_packets(container) if indices else ():
        if packet.size == 0 or packet.pts is None:
            continue
        if clip.end is not None and _time(packet) >= clip.end:
            unfinished.discard(packet.stream_index)
            if not unfinished:
                return
        elif packet.stream_index in indices and (clip.from_start or _belongs_to_clip(packet, clip.begin)):
            yield packet


def _first_packets(clip: Clip) -> dict[int, bytes]:
    """Return the first packet that can be decoded of every sound stream, by the stream's index.

    It is empty for a stream without a packet that can be decoded; one without any packet is left out. Such tracks are
    not written: with AAC whose configuration is part of its packets, the file could not be closed.
    """
    first: dict[int, bytes] = {}
    with _opened_at_begin(clip) as container, suppress(av.FFmpegError):
        missing = {stream.index for stream in container.streams.audio if stream.codec_context is not None}
        for packet in _packets_of_clip(container, clip, missing):
            first[packet.stream_index] = b""
            with suppress(av.FFmpegError):
                packet.decode()
                first[packet.stream_index] = bytes(packet)
                missing.remove(packet.stream_index)
            if not missing:
                break
    return first


def _pictures_of(container: av.container.InputContainer) -> av.VideoStream | None:
    return next(iter(pictures_in(container)), None)


def _opened_at_begin(clip: Clip) -> av.container.InputContainer:
    container = input_container(clip.path)
    if not clip.from_start and not may_jump(container) and not _seek_before(container, clip.begin):
        container.close()
        container = input_container(clip.path)
    return container


def _seek_before(container: av.container.InputContainer, begin: Fraction) -> bool:
    """Seek to just before ``begin``; return False if the file does not support it."""
    before = int((begin - _SEEK_MARGIN) * av.time_base)
    try:
        container.seek(before)
        sound = (packet for packet in continuous_packets(container) if packet.stream.type == "audio")
        first = next(sound, None)
        container.seek(before)
    except av.FFmpegError:
        return False
    return first is not None and _time(first) <= begin


def _name(stream: av.stream.Stream) -> str:
    """Return the name by which a person knows a stream, such as "subtitles 2 (fra, ass)"."""
    if is_cover(stream):
        return "a cover"
    number = 1 + sum(other.type == stream.type for other in [*stream.container.streams][: stream.index])
    is_file = isinstance(stream, av.stream.AttachmentStream)
    details = [stream.language, stream.name if is_file else codec_of(stream)]
    known = ", ".join(detail for detail in details if detail and detail != "und")
    return f"{_KINDS.get(stream.type, stream.type)} {number} ({known})"


def _time(packet: Packet) -> Fraction:
    return (packet.pts or 0) * packet.time_base


def _belongs_to_clip(packet: Packet, begin: Fraction) -> bool:
    """Return whether a packet belongs to a clip from ``begin`` on: sound that begins and subtitles that end there."""
    shown = (packet.duration or 0) * packet.time_base if packet.stream.type == "subtitle" else 0
    return _time(packet) >= begin or _time(packet) + shown > begin
