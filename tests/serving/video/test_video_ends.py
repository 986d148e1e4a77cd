"""Sources and sinks of a video pipeline other than video files: numbered PNG files, and cameras."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from video_files import SIZE, number_in, numbered

from engines.contract.errors import ExportError, VideoError
from serving.faces.images import read_picture
from serving.video.camera import CameraReader
from serving.video.frames import Frame
from serving.video.png_sequence import PngSequence
from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter


def test_frames_become_numbered_pictures_without_loss(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8)
    with PngSequence(tmp_path / "out") as sequence:
        for number, picture in enumerate(pictures):
            sequence.write(Frame(picture, Fraction(number, 25)))
        assert not (tmp_path / "out").exists()
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    np.testing.assert_array_equal([read_picture(path) for path in paths], pictures)


def write_and_fail(sequence: PngSequence) -> None:
    with sequence:
        sequence.write(Frame(numbered(0), Fraction(0)))
        raise RuntimeError("in the middle")


def test_an_error_in_the_middle_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the middle"):
        write_and_fail(PngSequence(tmp_path / "out"))
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="got an output that is already there"):
        PngSequence(tmp_path / "out").__enter__()
    for _ in range(2):
        with PngSequence(tmp_path / "out", force=True) as write_one:
            write_one.write(Frame(numbered(0), Fraction(0)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000000.png"]


@pytest.mark.parametrize("name", ["holiday.png", "000000.png/deep"])
def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(
        ExportError, match=f"out: got a folder that contains {name.split('/')[0]}, expected a new folder"
    ):
        PngSequence(tmp_path / "out", force=True).__enter__()
    assert mine.read_text() == "mine"
    with pytest.raises(ExportError, match="got a file"):
        PngSequence(mine, force=True).__enter__()


class FakeCamera:
    """A fake of OpenCV's camera that returns a few pictures, the first two being equal."""

    def __init__(self, index: int, pictures: int = 4) -> None:
        self.asked: dict[int, float] = {}
        self.released = False
        self._pictures = iter([numbered(number) for number in range(pictures)] if index == 0 else [])

    def set(self, option: int, value: float) -> bool:
        self.asked[option] = value
        return True

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        picture = next(self._pictures, None)
        # The channels are BGR, and red is the brightest.
        return picture is not None, None if picture is None else picture - np.array([40, 0, 0], np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[FakeCamera]:
    made: list[FakeCamera] = []

    def make(index: int) -> FakeCamera:
        made.append(FakeCamera(index))
        return made[-1]

    monkeypatch.setattr("cv2.VideoCapture", make)
    return made


def test_a_camera_gives_rgb_with_rising_times_from_zero(cameras: list[FakeCamera]) -> None:
    with CameraReader(0, size=(1280, 720)) as camera:
        assert (camera.size, camera.frame_count, camera.duration) == (SIZE, None, None)
        frames = [*islice(camera, 3)]
    assert [number_in(frame.pixels) for frame in frames] == [1, 2, 3]
    assert (frames[0].pixels[0, 0] == numbered(1)[0, 0] - [0, 0, 40]).all()
    assert frames[0].pts == 0
    assert frames[0].pts < frames[1].pts < frames[2].pts
    assert [*cameras[0].asked.values()] == [1280, 720]
    assert cameras[0].released


def test_a_camera_that_stops_is_an_error(cameras: list[FakeCamera]) -> None:
    with CameraReader() as camera, pytest.raises(VideoError, match="camera 0: got no picture"):
        list(camera)
    assert cameras[0].released


def test_a_camera_that_is_not_there_is_named(cameras: list[FakeCamera]) -> None:
    with pytest.raises(VideoError, match="camera 7: got no picture, expected a camera that returns pictures"):
        CameraReader(7)
    assert cameras[0].released


def test_what_a_camera_gives_can_be_written(cameras: list[FakeCamera], tmp_path: Path) -> None:
    with CameraReader() as camera, VideoWriter(tmp_path / "a.mp4", camera) as writer:
        frames = [*islice(camera, 3)]
        for number, frame in enumerate(frames):
            writer.write(Frame(frame.pixels, frame.pts + Fraction(number, 30)))
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert [number_in(frame.pixels) for frame in reader] == [1, 2, 3]
