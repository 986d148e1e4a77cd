"""The clock of a video: continuous for all streams, whatever the times in the file do."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import STEADY, Sound, lengths, number_in, tones_in, write_video

from serving.video.libav import input_container
from serving.video.reading import VideoReader
from serving.video.timeline import Timeline, continuous_packets
from serving.video.writing import VideoWriter

TWO_SECONDS = tuple(range(0, 2000, 40))
WRAP = Fraction(2**33, 90000)
AAC_FRAME = 1024 / 48000


def numbers_and_times(path: Path, **part: float) -> tuple[list[int], list[float]]:
    with VideoReader(path, **part) as reader:
        frames = [(number_in(frame.pixels), float(frame.pts)) for frame in reader]
    return [number for number, _ in frames], [time for _, time in frames]


def copied(source: Path, target: Path, **part: float) -> Path:
    with VideoReader(source, **part) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            writer.write(frame)
    return target


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def clip(path: Path, begin: float = 0.0) -> Path:
    """Two seconds of pictures with a tone from 0.5 s to 1 s, whose times begin at ``begin``."""
    times = [time + round(1000 * begin) for time in TWO_SECONDS]
    codec, sound, tick = ("mpeg2video", "mp2", 25) if path.suffix == ".mpg" else ("libx264", "aac", 1000)
    tone = Sound(sound, 2.0, start=begin, tone=(0.5, 1.0))
    return write_video(path, times, codec=codec, sounds=[tone], tick=Fraction(1, tick))


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize(
    "begins", [(0.0, 0.0), (1.4, 1.4), (0.0, 1000.0), (5000.0, 3.0), (0.0, 0.0, 0.0), (0.0, 1000.0, 2.5)]
)
def test_joined_recordings_last_as_long_as_their_parts_with_sound_in_step(
    tmp_path: Path, suffix: str, target: str, begins: tuple[float, ...]
) -> None:
    parts = [clip(tmp_path / f"{i}{suffix}", begin) for i, begin in enumerate(begins)]
    after = copied(joined(tmp_path / f"joined{suffix}", *parts), tmp_path / f"b{target}")
    assert lengths(after) == pytest.approx((2 * len(begins),) * 2, abs=0.1)
    numbers, times = numbers_and_times(after)
    assert numbers == [*range(50)] * len(begins)
    assert max(np.diff(times)) < 0.1
    starts = np.array(times)[np.array(numbers) == 0]
    np.testing.assert_allclose([begin for begin, _ in tones_in(after)] - starts, 0.5, atol=AAC_FRAME + 0.01)
    np.testing.assert_allclose([end - begin for begin, end in tones_in(after)], 0.5, atol=AAC_FRAME + 0.01)


@pytest.mark.parametrize(("start", "first"), [(0.5, 12), (2.5, 12), (3.0, 24)])
def test_a_part_of_a_joined_recording_is_counted_on_the_continuous_clock(
    tmp_path: Path, start: float, first: int
) -> None:
    a = write_video(tmp_path / "a.ts", TWO_SECONDS)
    numbers, times = numbers_and_times(joined(tmp_path / "b.ts", a, a), start=start, end=start + 0.4)
    assert numbers == [*range(numbers[0], numbers[0] + 10)]
    assert abs(numbers[0] - first) <= 1
    assert times[0] < 0.041


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    begin = float(WRAP) - 1
    after = copied(clip(tmp_path / "a.ts", begin), tmp_path / "b.mp4")
    assert lengths(after) == pytest.approx((2, 2), abs=0.1)
    assert tones_in(after)[0] == pytest.approx((0.5, 1.0), abs=0.1)


def test_a_jump_of_hours_in_any_format_is_closed(tmp_path: Path) -> None:
    times = (*STEADY[:10], *(time + 7_200_000 for time in STEADY[:10]))
    read = numbers_and_times(write_video(tmp_path / "a.mkv", times))[1]
    np.testing.assert_allclose(read, np.arange(20) * 0.04, atol=1e-9)


@pytest.mark.parametrize(("suffix", "pause"), [(".ts", 9), (".mkv", 600)])
def test_a_picture_that_is_shown_long_is_no_jump(tmp_path: Path, suffix: str, pause: int) -> None:
    times = (0, 40, 80 + 1000 * pause, 120 + 1000 * pause)
    read = numbers_and_times(write_video(tmp_path / f"a{suffix}", times))[1]
    assert np.diff(read) == pytest.approx([0.04, pause + 0.04, 0.04])


def test_pictures_that_pause_while_the_sound_goes_on_are_no_jump(tmp_path: Path) -> None:
    times = (*STEADY[:10], *(time + 15_000 for time in STEADY[:10]))
    path = write_video(tmp_path / "a.mkv", times, sounds=[Sound("aac", 16.0)])
    mixed = remuxed(path, tmp_path / "b.ts")
    assert max(np.diff(numbers_and_times(mixed)[1])) == pytest.approx(15 - 9 * 0.04)


def test_times_before_zero_begin_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.nut"
    write_video(path, [time - 200 for time in STEADY])
    numbers, times = numbers_and_times(path)
    assert (numbers[0], times[0]) == (0, 0)
    assert np.diff(times) == pytest.approx([0.04] * 39)


def remuxed(source: Path, target: Path) -> Path:
    """The same packets in another format, in the order of their times."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = [(packet.dts * packet.time_base, packet) for packet in container.demux() if packet.dts is not None]
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            packet.stream = streams[packet.stream_index]
            output.mux_one(packet)
    return target


def placed(path: Path, change: Callable[[int, av.Packet[av.stream.Stream]], None], kind: str) -> list[float]:
    """The times that a Timeline gives to the packets of a kind, each changed before."""
    timeline, times = Timeline(broadcast=True), []
    with input_container(path) as container:
        packets = [packet for packet in container.demux() if packet.size]
        for number, packet in enumerate(packets):
            change(number, packet)
            timeline.place(packet)
            if packet.stream.type == kind and packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    return times


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_one_time_that_is_wrong_moves_no_other(tmp_path: Path, kind: str) -> None:
    path = remuxed(clip(tmp_path / "a.mkv"), tmp_path / "b.ts")

    def spoil(number: int, packet: av.Packet[av.stream.Stream]) -> None:
        if number == 60 and packet.pts is not None:
            packet.pts = packet.dts = packet.pts + 90000 * 1000

    right = placed(path, lambda number, packet: None, kind)
    np.testing.assert_allclose(placed(path, spoil, kind)[-20:], right[-20:], atol=1e-4)


def test_packets_with_equal_times_are_all_written(tmp_path: Path) -> None:
    path = tmp_path / "b.mkv"
    with av.open(str(clip(tmp_path / "a.mkv"))) as container, av.open(str(path), "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = sorted((packet for packet in container.demux() if packet.size), key=lambda packet: packet.dts or 0)
        for packet in packets:
            tick = round((packet.dts or 0) * packet.time_base * 10) * Fraction(1, 10)  # ten times a second
            packet.pts = packet.dts = max(round(tick / packet.time_base), 0)
            packet.stream = streams[packet.stream_index]
            output.mux_one(packet)
    copied(path, tmp_path / "c.mp4")
    assert numbers_and_times(tmp_path / "c.mp4")[0] == [*range(50)]
    assert lengths(tmp_path / "c.mp4") == pytest.approx((2, 2), abs=0.15)


def test_sound_without_times_follows_what_was_before(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", STEADY, sounds=[Sound("aac", 1.6)])

    def strip(number: int, packet: av.Packet[av.stream.Stream]) -> None:
        if packet.stream.type == "audio" and number % 3:
            packet.pts = packet.dts = None

    right = placed(path, lambda number, packet: None, "audio")
    np.testing.assert_allclose(placed(path, strip, "audio"), right, atol=AAC_FRAME / 2)


def test_every_reader_of_a_file_sees_the_same_times(tmp_path: Path) -> None:
    a = clip(tmp_path / "a.ts")
    path = joined(tmp_path / "b.ts", a, a, a)

    def times() -> list[tuple[int, int | None]]:
        with input_container(path) as container:
            return [(packet.stream_index, packet.pts) for packet in continuous_packets(container)]

    assert times() == times()
    for index in (0, 1):
        rising = np.diff([pts for stream, pts in times() if stream == index and pts is not None])
        assert rising.min() > 0
        assert rising.max() < 9000
