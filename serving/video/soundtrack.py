"""Copying or encoding of a clip's sound into another file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Literal, cast

from serving.video.decoding import Clip
from serving.video.libav import av, input_container
from serving.video.timeline import continuous_packets, may_jump

Audio = Literal["copy", "aac", "none"]

_MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Codecs copied into MP4. It may hold others, such as Opus and PCM, which many players do not play from MP4."""

_BITS_PER_CHANNEL = 96_000

_SEEK_MARGIN = 1
"""Seconds before the clip to which sound is sought, since files interleave it with pictures only roughly."""

_RESAMPLER_OPTIONS = {"async": "1", "min_hard_comp": "0.01"}
"""Gaps of 10 ms and more are filled. With libswresample's default of 100 ms they would be audible and visible."""


class Soundtrack:
    """Writes all audio streams of a clip, each as far as the pictures have been written.

    The clip's file is opened a second time for the sound, so that no packets pile up while decoding of the pictures is
    ahead. Packets are copied if the output supports their codec, and encoded as AAC otherwise. The sound of a part of a
    file begins with the first packet that begins in it. FFmpeg's errors are not translated.

    Raises:
        VideoError: the clip's file cannot be opened.
    """

    def __init__(self, clip: Clip, output: av.container.OutputContainer, audio: Audio) -> None:
        self._clip = clip
        self._container = _opened_at_begin(clip)
        copied = frozenset() if audio == "aac" else _copied_codecs(output)
        self._tracks: dict[int, _CopiedTrack | _EncodedTrack] = {}
        for stream in _decodable_streams(self._container):
            track = _CopiedTrack if stream.codec_context.codec.canonical_name in copied else _EncodedTrack
            self._tracks[stream.index] = track(stream, output, clip.begin)
        self._packets = self._packets_of_clip()
        self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the clip's file."""
        self._container.close()

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

    def _write(self, packet: av.Packet[av.AudioStream]) -> None:
        self._tracks[packet.stream_index].write(packet)
        self._next = next(self._packets, None)

    def _packets_of_clip(self) -> Iterator[av.Packet[av.AudioStream]]:
        unfinished = set(self._tracks)
        for packet in _audio_packets(self._container):
            if self._clip.end is not None and _time(packet) >= self._clip.end:
                unfinished.discard(packet.stream_index)
                if not unfinished:
                    return
            elif self._clip.from_start or _time(packet) >= self._clip.begin:
                yield packet


class _CopiedTrack:
    """A track whose packets are copied; only their times change."""

    def __init__(self, source: av.AudioStream, output: av.container.OutputContainer, begin: Fraction) -> None:
        self._output = output
        self._stream = output.add_stream_from_template(source)
        self._begin = begin
        self._last: int | None = None

    def write(self, packet: av.Packet[av.AudioStream]) -> None:
        # Damaged files have times that do not rise, which muxers refuse.
        tick = round((_time(packet) - self._begin) / packet.time_base)
        self._last = tick if self._last is None else max(tick, self._last + 1)
        packet.pts = packet.dts = self._last
        packet.stream = self._stream
        self._output.mux_one(packet)

    def finish(self) -> None:
        pass


class _EncodedTrack:
    """A track that is decoded and encoded as AAC; gaps become silence, which keeps it in sync with the pictures."""

    def __init__(self, source: av.AudioStream, output: av.container.OutputContainer, begin: Fraction) -> None:
        self._source = source.codec_context
        self._output = output
        self._begin = begin
        rates = av.codec.Codec("aac", "w").audio_rates or []
        rate = source.rate if source.rate in rates else 48000
        layout = source.layout.name
        if layout.endswith("channels"):  # PCM need not specify its channels' positions
            layout = "mono" if source.channels == 1 else "stereo"
        self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._stream.bit_rate = _BITS_PER_CHANNEL * self._stream.channels
        self._resampler = av.AudioResampler("fltp", layout, rate, options=_RESAMPLER_OPTIONS)

    def write(self, packet: av.Packet[av.AudioStream]) -> None:
        with suppress(av.error.InvalidDataError):  # a damaged packet leaves a gap, which is filled
            self._encode(packet.decode())

    def finish(self) -> None:
        self._encode(self._source.decode(None))
        for frame in self._resampler.resample(None):
            self._output.mux(self._stream.encode(frame))
        self._output.mux(self._stream.encode(None))

    def _encode(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self._begin / frame.time_base)
            for resampled in self._resampler.resample(frame):
                self._output.mux(self._stream.encode(resampled))


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
        first = next(_audio_packets(container), None)
        container.seek(before)
    except av.FFmpegError:
        return False
    return first is not None and _time(first) <= begin


def _decodable_streams(container: av.container.InputContainer) -> tuple[av.AudioStream, ...]:
    """Return the audio streams that FFmpeg can decode; it knows too little of the others to copy them."""
    return tuple(stream for stream in container.streams.audio if stream.codec_context is not None)


def _audio_packets(container: av.container.InputContainer) -> Iterator[av.Packet[av.AudioStream]]:
    streams = _decodable_streams(container)
    for packet in continuous_packets(container) if streams else ():
        if packet.stream in streams:
            yield cast("av.Packet[av.AudioStream]", packet)


def _time(packet: av.Packet[av.AudioStream]) -> Fraction:
    tick = packet.pts if packet.pts is not None else packet.dts
    return Fraction(tick or 0) * packet.time_base


def _copied_codecs(output: av.container.OutputContainer) -> frozenset[str]:
    return _MP4_CODECS if output.format.name == "mp4" else frozenset(output.supported_codecs)
