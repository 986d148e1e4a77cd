"""Tracks of subtitles, which are copied or converted."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from serving.video.libav import SubtitleStream, av
from serving.video.tracks import Track

if TYPE_CHECKING:
    from av.subtitles.codeccontext import SubtitleCodecContext

TextCodec = Literal["mov_text", "subrip"]

TEXT = frozenset({"ass", "mov_text", "ssa", "subrip", "text", "webvtt"})
"""Codecs of subtitles that are text."""

TEXT_CODECS: dict[str, TextCodec] = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
"""The codec to which text is converted for a format, by FFmpeg's name."""

_MILLISECOND = Fraction(1, 1000)


class Subtitles(Track):
    """Subtitles, copied or converted to another codec of text; one that begins before the clip is shown from its begin.

    Args:
        codec: the codec to which they are converted; None copies them.
    """

    def __init__(
        self,
        source: SubtitleStream,
        name: str,
        output: av.container.OutputContainer,
        begin: Fraction,
        codec: TextCodec | None = None,
    ) -> None:
        super().__init__(name, output, begin)
        self._source = source.codec_context
        self._encoder: SubtitleCodecContext | None = None
        if codec is None:
            self.stream = output.add_stream_from_template(source)
        else:
            self.stream = output.add_stream(codec)
            self._source.open(strict=False)
            self._encoder = self.stream.codec_context
            self._encoder.time_base = _MILLISECOND
            self._encoder.subtitle_header = self._source.subtitle_header
        self._last = -1

    def _write(self, packet: av.Packet[av.stream.Stream]) -> None:
        tick = self._since_begin(packet)
        end = tick + (packet.duration or 0)
        tick = max(tick, self._last + 1)
        shown = packet if end > tick else None
        if shown and self._encoder:
            shown = _converted(packet, self._source, self._encoder)
        if shown:
            self._last = tick
            shown.pts, shown.dts, shown.duration = tick, tick, end - tick
            shown.time_base, shown.stream = packet.time_base, self.stream
            self._output.mux_one(shown)


def _converted(
    packet: av.Packet[av.stream.Stream], source: SubtitleCodecContext, encoder: SubtitleCodecContext
) -> av.Packet[av.stream.Stream] | None:
    """Return a subtitle in another codec; None if it has no text, as between two subtitles of MP4."""
    text = source.decode2(packet)
    return encoder.encode_subtitle(text) if text and len(text) else None
