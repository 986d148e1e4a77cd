"""Videos whose pictures change their size in the middle: each keeps its proportions in the size of the first."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_files import STEADY, numbered, write_video

from serving.video.frames import Frame
from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter

FIRST = (96, 64)


def joined(path: Path, *shapes: tuple[tuple[int, int], Fraction | None]) -> Path:
    """Write ten pictures of each size and pixel aspect."""
    parts = [
        write_video(path.with_stem(f"part{i}"), STEADY[:10], size=size, pixel_aspect=aspect).read_bytes()
        for i, (size, aspect) in enumerate(shapes)
    ]
    path.write_bytes(b"".join(parts))
    return path


def frames_in(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        assert reader.size == FIRST
        return [*reader]


def without_bars(frame: Frame) -> tuple[Sequence[int], Sequence[int]]:
    """First and last column, and first and last row, of what is not black."""
    bright = frame.pixels.max(2) > 30
    return tuple(np.flatnonzero(bright.any(axis))[[0, -1]].tolist() for axis in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("size", "aspect", "columns", "rows"),
    [
        ((96, 32), None, [0, 95], [16, 47]),
        ((192, 64), None, [0, 95], [16, 47]),
        ((48, 32), None, [0, 95], [0, 63]),
        ((32, 64), None, [32, 63], [0, 63]),
        ((96, 64), Fraction(2), [0, 95], [16, 47]),
        ((48, 64), Fraction(2), [0, 95], [0, 63]),
    ],
)
def test_pictures_of_another_size_are_fitted_between_bars(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction | None, columns: list[int], rows: list[int]
) -> None:
    frames = frames_in(joined(tmp_path / "a.ts", (FIRST, None), (size, aspect), (FIRST, None)))
    assert len(frames) == 30
    assert [without_bars(frame) for frame in frames] == [([0, 95], [0, 63])] * 10 + [(columns, rows)] * 10 + [
        ([0, 95], [0, 63])
    ] * 10
    inside = frames[13].pixels[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
    assert np.abs(inside.astype(int) - numbered(3, inside.shape[1::-1])).mean() < 12


def test_faces_are_not_followed_across_a_change_of_size(tmp_path: Path) -> None:
    frames = frames_in(joined(tmp_path / "a.ts", (FIRST, None), ((96, 32), None), (FIRST, None)))
    assert [number for number, frame in enumerate(frames) if frame.new_scene] == [10, 20]


def test_a_video_that_changes_its_size_is_written_in_the_first(tmp_path: Path) -> None:
    source = joined(tmp_path / "a.ts", (FIRST, None), ((32, 64), None))
    with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mp4", reader) as writer:
        for frame in reader:
            writer.write(frame)
    frames = frames_in(tmp_path / "b.mp4")
    assert len(frames) == 20
    np.testing.assert_allclose(np.diff([float(frame.pts) for frame in frames]), 0.04, atol=1e-3)
