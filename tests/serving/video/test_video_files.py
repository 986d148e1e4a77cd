"""Reading and writing of video files: every frame once, at its time, upright; no partial files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from video_files import SIZE, STEADY, VARIABLE, Sound, number_in, numbered, write_video

from engines.contract.errors import ExportError, VideoError
from serving.video.encoders import chosen_encoder, nvenc_works
from serving.video.frames import Frame
from serving.video.reading import VideoReader
from serving.video.writing import FORMATS, VideoWriter

Timeline = list[tuple[int, Fraction]]


def timeline(path: Path, start: float | None = None, end: float | None = None) -> Timeline:
    with VideoReader(path, start=start, end=end) as reader:
        return [(number_in(frame.pixels), frame.pts) for frame in reader]


def expected(times: tuple[int, ...]) -> Timeline:
    return [(number, Fraction(time, 1000)) for number, time in enumerate(times)]


def copy(source: Path, target: Path, *, start: float | None = None, end: float | None = None) -> None:
    with VideoReader(source, start=start, end=end) as reader:
        write_all(reader, target, reader)


def write_all(frames: Iterable[Frame], target: Path, reader: VideoReader, **options: Any) -> None:
    with VideoWriter(target, reader, **options) as writer:
        for frame in frames:
            writer.write(frame)


def failing(frames: Iterable[Frame]) -> Iterator[Frame]:
    yield from frames
    raise RuntimeError("in the middle")


@pytest.mark.parametrize("times", [STEADY, VARIABLE], ids=["steady", "variable"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_every_frame_comes_once_with_its_own_time(tmp_path: Path, times: tuple[int, ...], suffix: str) -> None:
    assert timeline(write_video(tmp_path / f"a{suffix}", times)) == expected(times)


@pytest.mark.parametrize("suffix", FORMATS)
def test_frames_are_written_at_the_times_at_which_they_were_read(tmp_path: Path, suffix: str) -> None:
    source = write_video(tmp_path / "a.mkv", VARIABLE, last=300)
    copy(source, tmp_path / f"b{suffix}")
    assert timeline(tmp_path / f"b{suffix}") == expected(VARIABLE)
    with VideoReader(tmp_path / f"b{suffix}") as reader:
        assert [*reader][-1].duration == Fraction(3, 10)
        assert reader.duration == pytest.approx(1.89)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mkv", f"b{suffix}"}


def test_a_video_that_starts_later_than_its_file_still_does_when_written(tmp_path: Path) -> None:
    times = tuple(time + 517 for time in STEADY)
    source = write_video(tmp_path / "a.mp4", times, sounds=[Sound("aac", 2.1)])
    copy(source, tmp_path / "b.mp4")
    assert timeline(source) == timeline(tmp_path / "b.mp4") == expected(times)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9")])
def test_other_formats_keep_the_distances_of_their_frames(tmp_path: Path, name: str, codec: str) -> None:
    read = timeline(write_video(tmp_path / name, STEADY[:12], codec=codec))
    assert [number for number, _ in read] == [*range(12)]
    np.testing.assert_allclose(np.diff([float(pts) for _, pts in read]), 0.04, atol=1e-9)


def test_a_stream_without_times_gets_them_from_its_rate(tmp_path: Path) -> None:
    read = timeline(write_video(tmp_path / "a.h264", STEADY))
    assert read == expected(STEADY)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("start", [0.0, 0.35, 0.36, 1.56])
def test_a_part_starts_with_the_first_frame_in_it(tmp_path: Path, suffix: str, start: float) -> None:
    source = write_video(tmp_path / f"a{suffix}", STEADY)
    inside = [number for number, time in enumerate(STEADY) if time >= start * 1000]
    assert [number for number, _ in timeline(source, start)] == inside


def test_a_part_ends_before_its_end_and_counts_from_its_start(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", STEADY)
    with VideoReader(source, start=0.3, end=0.4) as reader:
        frames = [*reader]
        assert (reader.frame_count, reader.duration) == (None, pytest.approx(0.1))
    assert [number_in(frame.pixels) for frame in frames] == [8, 9]
    assert [frame.pts for frame in frames] == [Fraction(20, 1000), Fraction(60, 1000)]
    assert frames[-1].pts + frames[-1].duration == Fraction(1, 10)


def test_the_reader_says_what_the_file_says(tmp_path: Path) -> None:
    with VideoReader(write_video(tmp_path / "a.mp4")) as reader:
        assert (reader.size, reader.frame_count, reader.duration, reader.rate) == (SIZE, 40, 1.6, 25)
    with VideoReader(write_video(tmp_path / "a.mkv")) as reader:
        assert (reader.frame_count, reader.duration) == (None, pytest.approx(1.6))
    with VideoReader(write_video(tmp_path / "a.h264")) as reader:
        assert (reader.frame_count, reader.duration) == (None, None)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_frames_are_turned_as_the_file_asks(tmp_path: Path, rotation: int, flipped: bool) -> None:
    source = write_video(tmp_path / "a.mp4", STEADY[:2], rotation=rotation, flipped=flipped)
    with VideoReader(source) as reader:
        frame = [*reader][1]
        assert reader.size == (SIZE if rotation in (0, 180) else SIZE[::-1])
    upright = np.rot90(numbered(1), rotation // 90)[:, :: -1 if flipped else 1]  # both count counterclockwise
    assert frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 5


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", STEADY[:2], pixel_aspect=Fraction(4, 3))
    with VideoReader(source) as reader:
        assert reader.size == (128, 64)
        assert [number_in(frame.pixels) for frame in reader] == [0, 1]


def test_pixels_of_an_impossible_shape_are_taken_as_square(tmp_path: Path) -> None:
    with VideoReader(write_video(tmp_path / "a.mkv", STEADY[:2], pixel_aspect=Fraction(200))) as reader:
        assert reader.size == SIZE


def test_odd_sides_are_padded_by_repeating_their_last_line(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", STEADY[:3], size=(95, 63), codec="ffv1", pixel_format="yuv444p")
    copy(source, tmp_path / "b.mp4")
    with VideoReader(tmp_path / "b.mp4") as reader:
        frames = [frame.pixels.astype(int) for frame in reader]
    assert reader.size == (96, 64)
    for number, pixels in enumerate(frames):
        assert np.abs(pixels[:63, :95] - numbered(number, (95, 63))).max() < 12
        assert np.abs(pixels[:, 95] - pixels[:, 94]).max() < 12


def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1, width=16, height=16, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
        output.mux(cover.encode(None))
    with pytest.raises(VideoError, match=r"a\.m4a: got a file without a video stream, expected a video"):
        VideoReader(path)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 500, b"\x00\x00\x00\x18ftypmp42" + bytes(99), b"\x89PNG\r\n"])
@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".mkv"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"a\{suffix}: got .*, expected a video; check the file, or convert it"):
        VideoReader(path)


def test_tags_in_another_encoding_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, width=96, height=64)
        output.metadata["title"] = "My film"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(3), "rgb24")))
        output.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"My film", "Mÿ film".encode("latin-1")))
    copy(path, tmp_path / "b.mp4")
    assert [number for number, _ in timeline(tmp_path / "b.mp4")] == [3]


def test_pictures_of_an_unknown_codec_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", STEADY[:3])
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    with pytest.raises(VideoError, match="got pictures in a codec that FFmpeg does not know, expected a video"):
        VideoReader(path)


def test_a_playlist_that_names_other_files_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.ts", STEADY[:3])
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "a.ffconcat").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("a.m3u8", "a.ffconcat"):
        with pytest.raises(VideoError, match="expected a video"):
            VideoReader(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: got No such file or directory, expected a video"):
        VideoReader(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, None), (2.0, 1.0), (1.0, 1.0), (float("nan"), None), (0.0, float("inf"))]
)
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    with pytest.raises(VideoError, match="expected 0 <= start < end"):
        VideoReader(tmp_path / "a.mp4", start=start, end=end)


def test_a_part_behind_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="got no picture in the requested part"):
        VideoReader(write_video(tmp_path / "a.mp4"), start=99)


@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_file_that_ends_early_gives_what_it_has(tmp_path: Path, suffix: str, part: float) -> None:
    whole = write_video(tmp_path / f"a{suffix}", STEADY, index_first=True)
    cut = tmp_path / f"b{suffix}"
    cut.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * part)])
    read = timeline(cut)
    assert 0 < len(read) < 40
    assert [pts for _, pts in read] == [pts for _, pts in timeline(whole)[: len(read)]]


def test_an_mp4_that_ends_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="got a file of another kind, or one that ends early"):
        VideoReader(tmp_path / "b.mp4")


@pytest.mark.parametrize(
    ("width", "height", "aspect", "got"),
    [(8000, 8000, "1:1", "8000x8000"), (5000, 5000, "3:1", "15000x5000")],
)
def test_frames_larger_than_8k_are_refused(tmp_path: Path, width: int, height: int, aspect: str, got: str) -> None:
    header = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A{aspect} C420\nFRAME\n"
    (tmp_path / "large.y4m").write_bytes(header.encode() + bytes(width * height * 3 // 2))
    with pytest.raises(VideoError, match=f"got frames of {got} pixels, expected at most 35 megapixels, as in 8K"):
        VideoReader(tmp_path / "large.y4m")


def test_damaged_packets_are_counted_and_the_others_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", STEADY, codec="ffv1")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        read = [(number_in(frame.pixels), frame.pts) for frame in reader]
    assert len(read) + reader.damaged == 40


@pytest.fixture
def three_frames() -> Iterator[Frame]:
    return (Frame(numbered(number), Fraction(number, 25)) for number in range(3))


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, three_frames: Iterator[Frame]) -> None:
    source = write_video(tmp_path / "a.mp4", sounds=[Sound("aac")])
    with VideoReader(source) as reader, pytest.raises(RuntimeError, match="in the middle"):
        write_all(failing(three_frames), tmp_path / "b.mp4", reader)
    assert [*tmp_path.iterdir()] == [source]


def test_an_error_leaves_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_text("old")
    source = write_video(tmp_path / "a.mp4")
    with (
        pytest.raises(RuntimeError),
        VideoReader(source) as reader,
        VideoWriter(tmp_path / "b.mp4", reader, force=True),
    ):
        raise RuntimeError
    assert (tmp_path / "b.mp4").read_text() == "old"


def test_an_encoder_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4")
    wide = (16500, 16)
    frames = [Frame(numbered(0, wide), Fraction(0))]
    with VideoReader(source) as reader, pytest.raises(VideoError, match="expected a video that can be written"):
        write_all(frames, tmp_path / "b.mp4", reader, size=wide)
    assert [*tmp_path.iterdir()] == [source]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "got no frame, expected at least one"),
        ([Frame(numbered(0, (90, 60)), Fraction(0))], "got a frame of 90x60, expected 96x64"),
        ([Frame(numbered(0), Fraction(1)), Frame(numbered(1), Fraction(1))], "got a frame at 1 s, not later than"),
    ],
    ids=["none", "size", "order"],
)
def test_frames_that_cannot_be_written_are_refused(tmp_path: Path, frames: list[Frame], message: str) -> None:
    with VideoReader(write_video(tmp_path / "a.mp4")) as reader, pytest.raises(VideoError, match=message):
        write_all(frames, tmp_path / "b.mp4", reader)
    assert not (tmp_path / "b.mp4").exists()


def test_wrong_targets_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with VideoReader(write_video(tmp_path / "a.mp4")) as reader:
        for name, got in [("b.avi", "the suffix '.avi'"), ("b", "no suffix")]:
            with pytest.raises(VideoError, match=rf"got {got}, expected one of \.mp4, \.m4v, \.mov, \.mkv"):
                VideoWriter(tmp_path / name, reader)
        with pytest.raises(VideoError, match="got quality 101, expected 0 to 100"):
            VideoWriter(tmp_path / "b.mp4", reader, quality=101)
        with pytest.raises(ExportError, match=r"a\.mp4: got an output that is already there"):
            VideoWriter(tmp_path / "a.mp4", reader).__enter__()
    assert [*tmp_path.iterdir()] == [tmp_path / "a.mp4"]


def test_higher_quality_is_nearer_and_larger(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", STEADY[:10])
    noise = np.random.default_rng(0).integers(0, 60, (10, SIZE[1], SIZE[0], 3), np.uint8)
    sizes, errors = [], []
    for quality in (20, 60, 100):
        target = tmp_path / f"{quality}.mp4"
        with VideoReader(source) as reader:
            frames = [Frame(frame.pixels + noise[number], frame.pts) for number, frame in enumerate(reader)]
            write_all(frames, target, reader, quality=quality)
        with VideoReader(target) as reader:
            differences = [a.pixels.astype(int) - b.pixels for a, b in zip(reader, frames, strict=True)]
        sizes.append(target.stat().st_size)
        errors.append(np.square(differences).mean())
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > errors[1] > errors[2]


def test_auto_takes_the_encoder_that_works() -> None:
    assert chosen_encoder("auto") == ("h264_nvenc" if nvenc_works() else "libx264")


def test_nvenc_that_does_not_open_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.video.encoders.nvenc_works", lambda: False)
    assert chosen_encoder("auto") == "libx264"
    with pytest.raises(VideoError, match="encoder h264_nvenc: got an encoder that cannot be opened"):
        chosen_encoder("h264_nvenc")


def test_without_the_library_the_remedy_is_named() -> None:
    probe = "import sys\nsys.modules['av'] = None\nimport serving.video.frames, serving.video.reading"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "VideoError: video files: got no such library, expected the package av" in run.stderr
    assert "pip install 'toonify-serve[video]'" in run.stderr
