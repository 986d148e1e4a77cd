"""Colours of video files, compared with the standards' formulas and after a round trip from file to file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from numpy.typing import NDArray
from video_files import numbered, write_video

from serving.video.colour import ToYuv
from serving.video.frames import Frame
from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter

BT709, BT470BG, SMPTE170M, BT2020, UNSPECIFIED = 1, 5, 6, 9, 2
"""Values of AVColorSpace, which are those of H.273."""

WEIGHTS = {BT709: (0.2126, 0.0722), BT470BG: (0.299, 0.114), SMPTE170M: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
"""Weights of red and of blue in luma."""

COLOURS = np.array(
    [
        [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)],
        [(0, 0, 255), (128, 128, 128), (224, 172, 140), (20, 40, 90)],
    ]
)
CHART = np.repeat(np.repeat(COLOURS, 32, 0), 32, 1).astype(np.uint8)
"""A chart of RGB patches of 32 pixels."""


def planes(rgb: NDArray[np.generic], matrix: int, *, full: bool) -> NDArray[np.float64]:
    """Return Y, Cb, Cr of every pixel by the standards' formula: float64 [H, W, 3], in levels of 8 bits."""
    red, blue = WEIGHTS[matrix]
    part = np.asarray(rgb, np.float64) / 255
    luma = part @ (red, 1 - red - blue, blue)
    chroma = (part[..., 2] - luma) / (2 - 2 * blue), (part[..., 0] - luma) / (2 - 2 * red)
    if full:
        return np.dstack([luma * 255, *(plane * 255 + 128 for plane in chroma)])
    return np.dstack([luma * 219 + 16, *(plane * 224 + 128 for plane in chroma)])


def coded(yuv: NDArray[np.float64]) -> av.VideoFrame:
    """Make a 4:2:0 frame with these samples, rounded."""
    levels = np.clip(np.rint(yuv), 0, 255).astype(np.uint8)
    flat = np.concatenate([levels[..., 0].ravel(), *(levels[::2, ::2, channel].ravel() for channel in (1, 2))])
    return av.VideoFrame.from_ndarray(flat.reshape(-1, yuv.shape[1]), "yuv420p")


def lossless(path: Path, frame: av.VideoFrame, **tags: int) -> Path:
    """Write a file with one unchanged frame and tags such as ``colorspace``."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25, width=frame.width, height=frame.height, pix_fmt=frame.format.name)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def pixels_of(path: Path) -> NDArray[np.int64]:
    with VideoReader(path) as reader:
        return next(iter(reader)).pixels.astype(np.int64)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_matrix_and_range_are_taken_from_the_file(tmp_path: Path, matrix: int, full: bool) -> None:
    color_range = ColorRange.JPEG if full else ColorRange.MPEG
    path = lossless(
        tmp_path / "a.mkv", coded(planes(CHART, matrix, full=full)), colorspace=matrix, color_range=color_range
    )
    assert np.abs(pixels_of(path) - CHART).max() <= 1  # the error of rounding Y, Cb and Cr


@pytest.mark.parametrize(("size", "matrix"), [((720, 576), BT470BG), ((1280, 720), BT709)])
def test_a_file_that_does_not_say_is_taken_as_its_size_suggests(
    tmp_path: Path, size: tuple[int, int], matrix: int
) -> None:
    chart = np.resize(CHART, (*size[::-1], 3))
    chart[:] = CHART[40, 100]
    path = lossless(tmp_path / "a.mkv", coded(planes(chart, matrix, full=False)), colorspace=UNSPECIFIED)
    assert np.abs(pixels_of(path) - chart).max() <= 1


def test_what_is_written_is_tagged_and_coded_as_bt709_of_limited_range(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", size=CHART.shape[1::-1])
    with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mp4", reader, quality=100) as writer:
        writer.write(Frame(CHART, Fraction(0)))
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    tags = frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc
    assert tags == (BT709, ColorRange.MPEG, ColorPrimaries.BT709, ColorTrc.BT709)
    height, width = CHART.shape[:2]
    expected = planes(CHART, BT709, full=False)
    got = frame.to_ndarray().astype(float)
    # x264 runs at its highest quality here; measured: 1 level in the middle of a patch.
    middle = (slice(8, None, 32), slice(8, None, 32))
    assert np.abs(got[:height][middle] - expected[..., 0][middle]).max() <= 1.5
    blue = got[height : height + height // 4].reshape(height // 2, width // 2)
    assert np.abs(blue[4::16, 4::16] - expected[..., 1][middle]).max() <= 1.5


@pytest.mark.parametrize("matrix", [BT709, SMPTE170M])
def test_a_chart_survives_reading_and_writing(tmp_path: Path, matrix: int) -> None:
    source = lossless(
        tmp_path / "a.mkv",
        coded(planes(CHART, matrix, full=False)),
        colorspace=matrix,
        color_range=ColorRange.MPEG,
    )
    with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mp4", reader) as writer:
        for frame in reader:
            writer.write(frame)
    error = np.abs(pixels_of(tmp_path / "b.mp4") - CHART)
    # Measured at the default quality: 1 level inside patches, 1.5 on average, mostly where saturated patches meet.
    assert error[8::32, 8::32].max() <= 3
    assert error.mean() <= 2.5


def test_reading_and_encoding_change_no_sample_by_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    yuv = rng.uniform((60, 110, 110), (190, 145, 145), (64, 64, 3))
    before = coded(yuv)
    path = lossless(tmp_path / "a.mkv", before, colorspace=BT709, color_range=ColorRange.MPEG)
    with VideoReader(path) as reader:
        frame = next(iter(reader))
    np.testing.assert_array_equal(ToYuv(reader.size)(frame.pixels).to_ndarray(), before.to_ndarray())


def pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signal of SMPTE ST 2084 for a luminance."""
    power = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signal of ARIB STD-B67 for scene light from 0 to 1."""
    bright = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-12)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), bright)


def hdr_file(path: Path, signal: NDArray[np.float64], transfer: ColorTrc) -> Path:
    """Write a file with a patch of 16 pixels for each RGB signal, [N, 3] from 0 to 1, in BT.2020 and 10 bits."""
    patches = np.repeat(np.repeat(signal[None], 16, 1), 16, 0) * 255
    yuv = np.rint(planes(patches, BT2020, full=False) * 4).astype(np.uint16)
    flat = np.concatenate([yuv[..., 0].ravel(), *(yuv[::2, ::2, channel].ravel() for channel in (1, 2))])
    frame = av.VideoFrame.from_ndarray(flat.reshape(-1, patches.shape[1]), "yuv420p10le")
    tags = {"colorspace": BT2020, "color_range": ColorRange.MPEG, "color_primaries": ColorPrimaries.BT2020}
    return lossless(path, frame, **tags, color_trc=transfer)


def test_hdr_is_shown_with_its_reference_white_as_white_and_in_bt709s_primaries(tmp_path: Path) -> None:
    greys = np.repeat(np.array([[0.0], [10], [50], [100], [203], [1000]]), 3, 1)
    nits = np.concatenate([greys, [[120, 80, 60], [60, 90, 70]]])
    shown = pixels_of(hdr_file(tmp_path / "a.mkv", pq(nits), ColorTrc.SMPTE2084))[8, 8::16]
    to_bt709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    linear = np.clip(nits @ to_bt709.T / 203, 0, 1)
    assert (
        np.abs(shown - linear ** (1 / 2.4) * 255).max() <= 5
    )  # measured: 3.1; libswscale moves colours slightly towards grey


def test_hlg_rises_to_white(tmp_path: Path) -> None:
    greys = np.repeat(np.array([[0.0], [0.02], [0.06], [0.12], [0.2], [1.0]]), 3, 1)
    shown = pixels_of(hdr_file(tmp_path / "a.mkv", hlg(greys), ColorTrc.ARIB_STD_B67))[8, 8::16]
    assert (np.diff(shown, axis=0) > 15).all()
    assert (shown[0].max(), shown[-1].min()) == (0, 255)
    assert np.ptp(shown, axis=1).max() <= 1  # grey stays grey


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("ffv1", "gray"), ("ffv1", "bgra"), ("ffv1", "yuv422p10le"), ("mjpeg", "yuvj420p")]
)
def test_other_pixel_formats_are_read(tmp_path: Path, codec: str, pixel_format: str) -> None:
    path = write_video(tmp_path / "a.mkv", (0, 40), codec=codec, pixel_format=pixel_format)
    assert np.abs(pixels_of(path) - numbered(0)).max() <= 2
