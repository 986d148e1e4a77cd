"""Tracks of sound, which are copied or encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal, cast

import numpy as np

from serving.video.libav import av
from serving.video.tracks import Track

Audio = Literal["copy", "aac", "none"]

_BITS_PER_CHANNEL = 96_000

_RESAMPLER_OPTIONS = {"async": "1", "min_hard_comp": "0.01"}
"""Gaps of 10 ms and more are filled. With libswresample's default of 100 ms they would be audible and visible."""

_FRAME_SIZE = 1024
"""Samples of a resampled frame. Without a size, sound that is in AAC's format is passed through with its gaps."""


class CopiedSound(Track):
    """Sound whose packets are copied; every packet is decoded too, which shows whether it is damaged.

    The configuration of AAC is part of the container's header. Where it changes in the middle, as in broadcasts, the
    rest is encoded in the first configuration.
    """

    def __init__(
        self, source: av.AudioStream, name: str, output: av.container.OutputContainer, begin: Fraction
    ) -> None:
        super().__init__(name, output, begin)
        self.stream = output.add_stream_from_template(source)
        self._source = source.codec_context
        self._format = source.rate, source.layout.name
        self._header: bytes | None = None
        self._last: int | None = None
        self._end = Fraction(0)
        self._encoder: _AacEncoder | None = None

    def _write(self, packet: av.Packet[av.stream.Stream]) -> None:
        frames = self._source.decode(packet)
        if self._encoder is None and self._reconfigured(packet):
            self._encoder = _encoder_like(*self._format)
        if self._encoder:
            self._mux_encoded(self._encoder.encode(_shifted(frames, self._begin)))
            return
        # Damaged files have times that do not rise, which muxers refuse.
        tick = self._since_begin(packet)
        self._last = tick if self._last is None else max(tick, self._last + 1)
        self._end = (self._last + (packet.duration or 0)) * packet.time_base
        packet.pts = packet.dts = self._last
        packet.stream = self.stream
        self._output.mux_one(packet)

    def _finish(self) -> None:
        if self._encoder:
            self._mux_encoded(self._encoder.encode(_shifted(self._source.decode(None), self._begin)))
            self._mux_encoded(self._encoder.finish())

    def _reconfigured(self, packet: av.Packet[av.stream.Stream]) -> bool:
        if self._source.codec.canonical_name != "aac":  # other codecs state their configuration in every packet
            return False
        header = _adts_header(bytes(packet))
        self._header = self._header or header
        changed = header is not None and self._header is not None and header[2:4] != self._header[2:4]
        return changed or packet.has_sidedata("new_extradata")

    def _mux_encoded(self, packets: Iterable[av.Packet[av.stream.Stream]]) -> None:
        for packet in packets:
            if packet.pts is None or packet.pts * packet.time_base < self._end:
                continue  # the encoder's lead-in
            muxed = av.Packet(_with_adts_header(bytes(packet), self._header)) if self._header else packet
            muxed.pts, muxed.dts, muxed.duration = packet.pts, packet.pts, packet.duration
            muxed.time_base, muxed.stream = packet.time_base, self.stream
            self._output.mux_one(muxed)


class EncodedSound(Track):
    """Sound that is decoded and encoded as AAC; gaps become silence, which keeps it in sync with the pictures."""

    def __init__(
        self, source: av.AudioStream, name: str, output: av.container.OutputContainer, begin: Fraction
    ) -> None:
        super().__init__(name, output, begin)
        self._source = source.codec_context
        rate, layout = _encodable_format(source.rate, source.layout.name, source.channels)
        self.stream = output.add_stream("aac", rate=rate, layout=layout)
        self.stream.bit_rate = _BITS_PER_CHANNEL * self.stream.channels
        self._encoder = _AacEncoder(self.stream.codec_context, rate, layout)

    def _write(self, packet: av.Packet[av.stream.Stream]) -> None:
        self._mux(self._encoder.encode(_shifted(self._source.decode(packet), self._begin)))

    def _finish(self) -> None:
        with self._counted():
            self._mux(self._encoder.encode(_shifted(self._source.decode(None), self._begin)))
        self._mux(self._encoder.finish())

    def _mux(self, packets: Iterable[av.Packet[av.stream.Stream]]) -> None:
        for packet in packets:
            packet.stream = self.stream
            self._output.mux_one(packet)


class _AacEncoder:
    """Encodes frames of any format, which may change from one to the next, in one format."""

    def __init__(self, context: av.AudioCodecContext, rate: int, layout: str) -> None:
        self._context, self._rate, self._layout = context, rate, layout
        self._resampler: av.AudioResampler | None = None
        self._input: tuple[str, str, int] | None = None

    def encode(self, frames: Iterable[av.AudioFrame]) -> Iterator[av.Packet[av.stream.Stream]]:
        for frame in frames:
            shape = frame.format.name, frame.layout.name, frame.sample_rate
            if shape != self._input:
                yield from self._flushed_resampler()
                self._resampler = av.AudioResampler(
                    "fltp", self._layout, self._rate, _FRAME_SIZE, options=_RESAMPLER_OPTIONS
                )
                self._input = shape
            assert self._resampler is not None
            for resampled in self._resampler.resample(frame):
                yield from self._encoded(resampled)

    def finish(self) -> Iterator[av.Packet[av.stream.Stream]]:
        yield from self._flushed_resampler()
        yield from self._context.encode(None)

    def _flushed_resampler(self) -> Iterator[av.Packet[av.stream.Stream]]:
        if self._resampler:
            for frame in self._resampler.resample(None):
                yield from self._encoded(frame)

    def _encoded(self, frame: av.AudioFrame) -> list[av.Packet[av.stream.Stream]]:
        # FFmpeg's encoder refuses infinite samples, and does not end with samples a million times above full scale.
        for plane in frame.planes:
            samples = np.frombuffer(cast("bytearray", plane), np.float32)
            np.clip(np.nan_to_num(samples, copy=False), -1, 1, out=samples)
        return self._context.encode(frame)


def _shifted(frames: list[av.AudioFrame], begin: Fraction) -> list[av.AudioFrame]:
    for frame in frames:
        if frame.pts is not None and frame.time_base is not None:
            frame.pts -= round(begin / frame.time_base)
    return frames


def _encodable_format(rate: int, layout: str, channels: int) -> tuple[int, str]:
    """Return the rate and the layout in which AAC holds sound of another format."""
    rates = av.codec.Codec("aac", "w").audio_rates or []
    rate = rate if rate in rates else 48000
    # PCM need not specify its channels' positions, and AAC has no form for the layouts of very many channels.
    return rate, layout if _encoder_like(rate, layout) else "mono" if channels == 1 else "stereo"


def _encoder_like(rate: int, layout: str) -> _AacEncoder | None:
    """Return an encoder for a format; None if AAC has no such format."""
    context = av.AudioCodecContext.create("aac", "w")
    try:
        context.format, context.layout, context.sample_rate = av.AudioFormat("fltp"), layout, rate
        context.time_base = Fraction(1, rate)
        context.bit_rate = _BITS_PER_CHANNEL * context.channels
        context.open()
    except (av.FFmpegError, ValueError):
        return None
    return _AacEncoder(context, rate, layout)


def has_header(source: av.AudioStream, packet: bytes) -> bool:
    """Return whether packets can be copied: AAC has its configuration in the file's header or in its packets."""
    context = source.codec_context
    return context.codec.canonical_name != "aac" or bool(context.extradata) or _adts_header(packet) is not None


def _adts_header(data: bytes) -> bytes | None:
    """Return the header of an AAC packet of a broadcast, without its length; None if it has no header."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return None
    return bytes([0xFF, data[1] | 1, data[2] & 0xFD, data[3] & 0xC0])


def _with_adts_header(data: bytes, header: bytes) -> bytes:
    """Return an AAC packet with a header like that of another."""
    size = len(data) + 7
    length = bytes([header[3] | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC])
    return header[:3] + length + data
