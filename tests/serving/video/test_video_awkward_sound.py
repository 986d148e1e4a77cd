"""Sound that changes, is damaged, or does not fit the format of the output: it never costs the pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from video_files import STEADY, Sound, lengths, numbered, tones_in, write_video

from serving.video import side_streams
from serving.video.reading import VideoReader
from serving.video.soundtrack import Audio
from serving.video.timeline import continuous_packets
from serving.video.writing import VideoWriter

AAC_FRAME = 1024 / 48000
TARGETS = [".mp4", ".mov", ".mkv"]


def copied(source: Path, target: Path, *, audio: Audio = "copy") -> list[str]:
    """Copy a video, and return the notes about it."""
    with VideoReader(source) as reader, VideoWriter(target, reader, audio=audio) as writer:
        for frame in reader:
            writer.write(frame)
    return writer.notes


def aac(layout: str = "stereo", rate: int = 48000, seconds: float = 1.0) -> list[bytes]:
    """A tone as AAC packets with the headers that they have in broadcasts."""
    file = io.BytesIO()
    with av.open(file, "w", format="adts") as output:
        stream = output.add_stream("aac", rate=rate, layout=layout)
        channels = stream.channels
        for first in range(0, round(seconds * rate), 1024):
            wave = np.sin(2 * np.pi * 440 * np.arange(first, first + 1024) / rate) / 4
            frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (channels, 1)), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data, packets = file.getvalue(), []
    while data:
        size = int.from_bytes(data[3:6], "big") >> 5 & 0x1FFF
        packets.append(data[:size])
        data = data[size:]
    return packets


def broadcast(path: Path, sound: Iterable[tuple[bytes, float]]) -> Path:
    """Write two seconds of pictures, and AAC packets of the given lengths in seconds."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=25, width=96, height=64, options={"bf": "0", "g": "10"})
        stream = output.add_mux_stream("aac", rate=48000, time_base=Fraction(1, 90000))
        packets: list[av.Packet[av.stream.Stream]] = []
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts = number
            packets += picture.encode(frame)
        packets += picture.encode(None)
        begin = 0.0
        for data, seconds in sound:
            packet = av.Packet(data)
            packet.pts = packet.dts = round(begin * 90000)
            packet.time_base, packet.duration, packet.stream = Fraction(1, 90000), round(seconds * 90000), stream
            packets.append(packet)
            begin += seconds
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            output.mux_one(packet)
    return path


def timed(packets: Iterable[bytes], rate: int = 48000) -> list[tuple[bytes, float]]:
    return [(packet, 1024 / rate) for packet in packets]


def formats_in(path: Path) -> list[tuple[str, int]]:
    """Layout and rate of the sound, each once."""
    with av.open(str(path)) as container:
        return [*dict.fromkeys((frame.layout.name, frame.rate) for frame in container.decode(audio=0))]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("audio", ["copy", "aac"])
@pytest.mark.parametrize(
    "change", [("mono", 48000, "stereo", 48000), ("stereo", 48000, "5.1", 48000), ("stereo", 48000, "stereo", 24000)]
)
def test_sound_that_changes_in_the_middle_is_written_in_its_first_form(
    tmp_path: Path, change: tuple[str, int, str, int], audio: Audio, target: str
) -> None:
    sound = timed(aac(*change[:2]), change[1]) + timed(aac(*change[2:]), change[3])
    source = broadcast(tmp_path / "a.ts", sound)
    assert copied(source, tmp_path / f"b{target}", audio=audio) == []
    assert formats_in(tmp_path / f"b{target}") == [change[:2]]
    assert lengths(tmp_path / f"b{target}") == pytest.approx((2, 2.04), abs=0.1)
    # Each encoder's lead-in is a short gap at most.
    assert sum(end - begin for begin, end in tones_in(tmp_path / f"b{target}")) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("audio", ["copy", "aac"])
@pytest.mark.parametrize(("place", "value"), [(0, 0), (2, 0x3C), (4, 0xFF), (20, 0)], ids=str)
def test_damaged_packets_of_sound_are_left_out_and_counted(
    tmp_path: Path, place: int, value: int, audio: Audio, target: str
) -> None:
    packets = [bytearray(packet) for packet in aac(seconds=2.0)]
    packets[20][place : place + (40 if place == 20 else 1)] = bytes([value]) * (40 if place == 20 else 1)
    source = broadcast(tmp_path / "a.ts", timed(map(bytes, packets)))
    (note,) = copied(source, tmp_path / f"b{target}", audio=audio)
    assert "damaged packet" in note
    assert "sound 1 (aac)" in note
    picture, sound = lengths(tmp_path / f"b{target}")
    assert (picture, sound) == pytest.approx((2, 2), abs=0.1)


@pytest.mark.parametrize(
    ("codec", "target", "becomes"),
    [
        ("flac", ".mov", "aac"),
        ("libopus", ".mov", "aac"),
        ("wavpack", ".mov", "aac"),
        ("wavpack", ".mp4", "aac"),
        ("tta", ".mp4", "aac"),
        ("pcm_s24le", ".mp4", "aac"),
        ("pcm_s24le", ".mov", "pcm_s24le"),
        ("ac3", ".mp4", "ac3"),
        ("wavpack", ".mkv", "wavpack"),
    ],
)
def test_sound_that_a_format_does_not_hold_is_encoded(tmp_path: Path, codec: str, target: str, becomes: str) -> None:
    source = write_video(tmp_path / "a.mkv", sounds=[Sound(codec)])
    assert copied(source, tmp_path / f"b{target}") == []
    with av.open(str(tmp_path / f"b{target}")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == becomes
    assert lengths(tmp_path / f"b{target}") == pytest.approx((1.6, 1.6), abs=0.04)
    (begin, end), *_ = tones_in(tmp_path / f"b{target}")
    assert (begin, end) == pytest.approx((0, 1.6), abs=0.01)


def test_a_gap_in_sound_of_the_same_format_becomes_silence(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", sounds=[Sound("aac", gap=(0.4, 0.9))])
    copied(source, tmp_path / "b.mp4", audio="aac")
    (first, last), (_, end) = tones_in(tmp_path / "b.mp4")
    assert (first, last, end) == pytest.approx((0, 0.4, 1.6), abs=2 * AAC_FRAME)


def picture_with_sound(path: Path, codec: str, layout: str, wave: np.ndarray[Any, Any]) -> Path:
    """Write a video of one picture, whose sound at 48 kHz has these interleaved samples."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=25, width=96, height=64)
        stream = output.add_stream(codec, rate=48000, layout=layout)
        output.mux(picture.encode(av.VideoFrame.from_ndarray(numbered(0), "rgb24")))
        output.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(wave, "s16" if wave.dtype == np.int16 else "flt", layout)
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_sound_of_more_channels_than_aac_has_becomes_stereo(tmp_path: Path) -> None:
    wave = np.full((1, 16 * 4800), 1000, np.int16)
    path = picture_with_sound(tmp_path / "a.mkv", "pcm_s16le", "hexadecagonal", wave)
    assert copied(path, tmp_path / "b.mp4") == []
    assert formats_in(tmp_path / "b.mp4") == [("stereo", 48000)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e8])
def test_samples_beyond_any_scale_are_clipped(tmp_path: Path, value: float) -> None:
    wave = np.sin(np.arange(9600) / 5, dtype=np.float32)
    wave[3000:3100] = value
    path = picture_with_sound(tmp_path / "a.mkv", "pcm_f32le", "mono", wave[None])
    assert copied(path, tmp_path / "b.mp4") == []
    assert lengths(tmp_path / "b.mp4")[1] == pytest.approx(0.2, abs=2 * AAC_FRAME)


def test_sound_of_an_unknown_codec_is_named(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", STEADY[:5], sounds=[Sound("aac"), Sound("libmp3lame")])
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert copied(source, tmp_path / "b.mp4") == ["sound 1 (unknown codec)"]
    assert copied(source, tmp_path / "c.mp4", audio="none") == []


def test_sound_without_any_good_packet_costs_nothing_else(tmp_path: Path) -> None:
    source = broadcast(tmp_path / "a.ts", timed(aac(seconds=2.0)))
    data = source.read_bytes()
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    spoilt = [
        packet[:20] + bytes(168) if (packet[1] & 0x1F, packet[2]) == (1, 1) and not packet[1] & 0x40 else packet
        for packet in packets
    ]
    source.write_bytes(b"".join(spoilt))
    assert copied(source, tmp_path / "b.mp4") == ["sound 1 (aac)"]
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert len([*reader]) == 50


@pytest.mark.parametrize("target", TARGETS)
def test_a_part_without_sound_is_written_without(tmp_path: Path, target: str) -> None:
    source = broadcast(tmp_path / "a.ts", timed(aac(seconds=1.0)))
    with (
        VideoReader(source, start=1.4) as reader,
        VideoWriter(tmp_path / f"b{target}", reader) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    assert writer.notes == []
    with VideoReader(tmp_path / f"b{target}") as written:
        assert len([*written]) == 15


def test_a_file_that_cannot_be_read_to_its_end_is_no_error_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(container: av.container.InputContainer) -> Iterator[av.Packet[av.stream.Stream]]:
        yield from islice(continuous_packets(container), 30)
        raise av.error.InvalidDataError(1, "damaged")

    monkeypatch.setattr(side_streams, "continuous_packets", failing)
    source = write_video(tmp_path / "a.mkv", sounds=[Sound("aac")])
    assert copied(source, tmp_path / "b.mp4") == ["sound and subtitles from where the file cannot be read (damaged)"]
    assert lengths(tmp_path / "b.mp4")[0] == pytest.approx(1.6)
