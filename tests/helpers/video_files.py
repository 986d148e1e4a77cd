"""Writes small video files for tests, of every awkward kind, whose frames show their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SIZE = (96, 64)
"""Width and height."""

STEADY = tuple(range(0, 1600, 40))
"""Times of 1.6 seconds of frames at 25 frames per second, in milliseconds."""

VARIABLE = (0, 40, 90, 100, 133, 500, 541, 1200, 1201, 1240, 1590)


@dataclass(frozen=True)
class Sound:
    """Sound that begins at ``start`` and lasts ``seconds``; the file lacks the part within ``gap`` (begin, end).

    A tone sounds all the time, or within ``tone`` alone, in seconds from the start.
    """

    codec: str
    seconds: float = 1.6
    start: float = 0.0
    rate: int = 48000
    gap: tuple[float, float] = (0.0, 0.0)
    tone: tuple[float, float] | None = None


def numbered(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """RGB pixels of a frame that shows its number as eight stripes, dark or light by the number's bits."""
    bits = number >> np.arange(8) & 1
    columns = np.repeat(bits, -(-size[0] // 8))[: size[0]] * 160 + 40
    return np.broadcast_to(columns[None, :, None], (size[1], size[0], 3)).astype(np.uint8)


def number_in(pixels: NDArray[np.uint8]) -> int:
    """The number that a frame shows."""
    width = pixels.shape[1]
    centres = (np.arange(8) * 2 + 1) * -(-width // 8) // 2
    return int(((pixels[pixels.shape[0] // 2, np.minimum(centres, width - 1), 0] > 120) << np.arange(8)).sum())


def write_video(
    path: Path,
    times: Sequence[int] = STEADY,
    *,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    sounds: Sequence[Sound] = (),
    rotation: float = 0,
    flipped: bool = False,
    last: int = 40,
    pixel_aspect: Fraction | None = None,
    index_first: bool = False,
    tick: Fraction = Fraction(1, 1000),
) -> Path:
    """Write a file with a frame at each of ``times`` (milliseconds), the last one shown for ``last``, and sounds.

    ``tick``: the encoder's time base, in seconds.
    """
    options = {"movflags": "+faststart"} if index_first and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=options) as output:
        picture = output.add_stream(codec, rate=25, time_base=tick, width=size[0], height=size[1])
        assert isinstance(picture, av.VideoStream)
        picture.pix_fmt = pixel_format
        picture.codec_context.flags |= av.codec.context.Flags.frame_duration
        if codec == "libx264":
            picture.options = {"preset": "ultrafast", "crf": "12", "g": "10"}
        if pixel_aspect:
            picture.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or flipped:
            picture.set_display_rotation(rotation, hflip=flipped)
        tracks = [(output.add_stream(sound.codec, rate=sound.rate, layout="stereo"), sound) for sound in sounds]
        ends = [*times[1:], times[-1] + last]
        for number, (time, end) in enumerate(zip(times, ends, strict=True)):
            frame = av.VideoFrame.from_ndarray(numbered(number, size), "rgb24")
            frame.pts, frame.time_base, frame.duration = time, Fraction(1, 1000), end - time
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        for stream, sound in tracks:
            for tone in _tones(sound):
                output.mux(stream.encode(tone))
            output.mux(stream.encode(None))
    return path


def _tones(sound: Sound) -> Iterator[av.AudioFrame]:
    time = np.arange(round(sound.seconds * sound.rate)) / sound.rate
    wave = (np.sin(2 * np.pi * 440 * time) * 8000).astype(np.int16)
    if sound.tone:
        wave[(time < sound.tone[0]) | (time >= sound.tone[1])] = 0
    for first in range(0, len(wave), 1024):
        if sound.gap[0] <= first / sound.rate < sound.gap[1]:
            continue
        frame = av.AudioFrame.from_ndarray(np.repeat(wave[first : first + 1024], 2)[None], "s16", "stereo")
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = round(sound.start * sound.rate) + first
        yield frame


def audio_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    """Bytes and time of each packet of the first audio stream."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(bytes(packet), packet.pts * packet.time_base) for packet in packets if packet.pts is not None]


def tones_in(path: Path) -> list[tuple[float, float]]:
    """Seconds at which each tone of the first audio stream begins and ends."""
    times, levels = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(float)).reshape(-1)
            wave = wave[: frame.samples] if frame.format.is_planar else wave[:: frame.layout.nb_channels]
            times.append(float(frame.pts * frame.time_base) + np.arange(len(wave)) / frame.rate)
            levels.append(wave)
    level = np.concatenate(levels)
    loud = np.concatenate(times)[level > level.max() / 4]
    breaks = np.flatnonzero(np.diff(loud) > 0.1)
    return [(float(part[0]), float(part[-1])) for part in np.split(loud, breaks + 1)]


def lengths(path: Path) -> tuple[float, float]:
    """Seconds until the last picture and until the last sound end, found by decoding them."""
    ends = []
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            *_, last = container.decode(**{kind: 0})
            duration = last.samples / last.rate if isinstance(last, av.AudioFrame) else last.duration * last.time_base
            ends.append(float(last.pts * last.time_base + duration))
    return ends[0], ends[1]
