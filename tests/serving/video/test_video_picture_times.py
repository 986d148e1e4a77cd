"""Times of pictures that a file states incompletely: AVI with B-frames, and packets without content."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import SIZE, STEADY, number_in, numbered, write_video

from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter


def avi(path: Path, codec: str, b_frames: int, count: int = 60) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, width=SIZE[0], height=SIZE[1])
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.gop_size = 20
        stream.codec_context.options = {"b_strategy": "0"} if codec == "mpeg4" else {"b-adapt": "0", "crf": "12"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def timeline(path: Path, **part: float) -> list[tuple[int, float, float]]:
    """Number, time and duration of every picture."""
    with VideoReader(path, **part) as reader:
        return [(number_in(frame.pixels), float(frame.pts), float(frame.duration)) for frame in reader]


@pytest.mark.parametrize("b_frames", [0, 1, 2, 5])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pictures_in_avi_have_even_times(tmp_path: Path, codec: str, b_frames: int) -> None:
    path = avi(tmp_path / "a.avi", codec, b_frames)
    assert timeline(path) == [(number, pytest.approx(number * 0.04), pytest.approx(0.04)) for number in range(60)]


def test_pictures_in_avi_have_even_times_when_they_are_written(tmp_path: Path) -> None:
    with (
        VideoReader(avi(tmp_path / "a.avi", "libx264", 2)) as reader,
        VideoWriter(tmp_path / "b.mp4", reader) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    np.testing.assert_allclose([time for _, time, _ in timeline(tmp_path / "b.mp4")], np.arange(60) * 0.04, atol=1e-4)


def test_a_part_of_an_avi_is_the_same_part(tmp_path: Path) -> None:
    read = timeline(avi(tmp_path / "a.avi", "libx264", 2), start=1.0, end=1.4)
    assert [number for number, _, _ in read] == [*range(25, 35)]


def test_a_damaged_packet_of_an_avi_moves_no_later_picture(tmp_path: Path) -> None:
    path = avi(tmp_path / "a.avi", "libx264", 2)
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][8]
    path.write_bytes(path.read_bytes().replace(packet, bytes(len(packet)), 1))
    after = [(number, time) for number, time, _ in timeline(path) if time >= 0.8]
    assert after == [(number, pytest.approx(number * 0.04)) for number in range(20, 60)]


def emptied(path: Path, numbers: list[int]) -> Path:
    """Make packets of a MOV of JPEGs empty; their content becomes a tail of the packet before, which is not decoded."""
    data = path.read_bytes()
    table = data.index(b"stsz") + 16
    (count,) = struct.unpack(">I", data[table - 4 : table])
    sizes = [*struct.unpack(f">{count}I", data[table : table + 4 * count])]
    for number in numbers:
        before = max(i for i in range(number) if sizes[i])
        sizes[before], sizes[number] = sizes[before] + sizes[number], 0
    path.write_bytes(data[:table] + struct.pack(f">{count}I", *sizes) + data[table + 4 * count :])
    return path


def test_an_empty_packet_repeats_the_picture_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", STEADY[:12], codec="mjpeg", pixel_format="yuvj420p")
    read = timeline(emptied(path, [4, 5, 10, 11]))
    assert [number for number, _, _ in read] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert [time for _, time, _ in read] == pytest.approx([0, 0.04, 0.08, 0.12, 0.24, 0.28, 0.32, 0.36])
    assert [duration for _, _, duration in read] == pytest.approx([0.04] * 3 + [0.12] + [0.04] * 3 + [0.12])


def test_a_video_with_empty_packets_keeps_its_length_when_it_is_written(tmp_path: Path) -> None:
    path = emptied(write_video(tmp_path / "a.mov", STEADY[:12], codec="mjpeg", pixel_format="yuvj420p"), [4, 10, 11])
    with VideoReader(path) as reader, VideoWriter(tmp_path / "b.mkv", reader) as writer:
        for frame in reader:
            writer.write(frame)
    with VideoReader(tmp_path / "b.mkv") as written:
        *_, last = written
    assert (last.pts + last.duration, writer.notes, reader.damaged) == (Fraction(12, 25), [], 0)
