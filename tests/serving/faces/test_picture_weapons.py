"""Pictures made to cost much memory or time: each is refused in one sentence, or decoded without what makes it costly.

The limits of seconds only tell bounded work from work that lasts minutes.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_weapons import (
    animated_png,
    animated_webp,
    jpeg_of_scans,
    jpeg_segment,
    jpeg_that_hides_its_size,
    plain,
    png,
    png_chunk,
    png_of_text_bombs,
    webp,
    webp_canvas,
    webp_chunk,
)

from engines.contract.errors import RequestError
from serving.faces.decoding import MAX_SCANS, stored_pixels
from serving.faces.encoded import read_encoded
from serving.faces.images import picture_from_bytes
from serving.faces.jpeg import face_from_jpeg
from serving.triton.installation import find_installation

JPEG = plain(".jpg")
FRAME, SCAN = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < seconds


def with_process(marker: int) -> bytes:
    return JPEG[: FRAME + 1] + bytes([marker]) + JPEG[FRAME + 2 :]


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (jpeg_of_scans(3000, 64), "3000 scans of 64x64 pixels"),
        (jpeg_of_scans(50, 8192), "50 scans of 8192x8192 pixels"),
        (jpeg_that_hides_its_size(26000), "26000x26000 pixels"),
        (with_process(0xC3), "a JPEG that is neither baseline nor progressive"),
        (with_process(0xCA), "a JPEG that is neither baseline nor progressive"),
        (JPEG[:SCAN] + JPEG[FRAME:SCAN] + JPEG[SCAN:], "a damaged JPEG"),
        (JPEG[:FRAME] + JPEG[SCAN:], "a damaged JPEG"),
        (JPEG[:2] + b"\xff\x05" + JPEG[2:], "a JPEG that is damaged"),
        (JPEG[:2] + JPEG, "a JPEG that is damaged"),
        (JPEG[:2] + b"\xff\xfe\x00\x02" * 200_000 + JPEG[2:], "a JPEG of more than 100000 segments"),
        (JPEG[:2] + b"\xff\xfe\x00" * 500, "a JPEG that "),
        (png(64, before=[png_chunk(b"tEXt", b"a\0b")] * 200_000), "a PNG of more than 100000 chunks"),
        (png(64, before=[png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0))]), "a damaged PNG"),
        (animated_webp(20_000, 2), "an animated WebP"),
        (webp(webp_canvas(64, 64), plain(".webp", 300)[12:]), "a damaged WebP"),
        (webp(webp_canvas(9000, 9000), plain(".webp")[12:]), "a damaged WebP"),
        (webp(*[webp_chunk(b"XXXX", b"ab")] * 200_000), "a WebP of more than 100000 chunks"),
        (webp(webp_chunk(b"VP8 ", b"\0" * 9)), "a WebP that ends early"),
        (webp(webp_chunk(b"VP8 ", b"\0" * 30)), "a damaged WebP"),
        (webp(webp_chunk(b"VP8L", b"\0" * 30)), "a damaged WebP"),
        (plain(".webp")[20:], "something else"),
        *[
            (cv2.imencode(suffix, np.zeros((64, 64, 3), np.uint8))[1].tobytes(), got)
            for suffix, got in {
                ".bmp": "a BMP",
                ".tiff": "a TIFF",
                ".jp2": "a JPEG 2000",
                ".ppm": "something else",
                ".sr": "something else",
            }.items()
        ],
    ],
)  # fmt: skip
def test_a_picture_made_to_cost_much_is_refused(data: bytes, got: str) -> None:
    with within(20), pytest.raises(RequestError, match=f"^weapon: got {got}"):
        picture_from_bytes(data, "weapon")


def test_the_served_decoder_refuses_what_would_keep_it_busy_for_minutes() -> None:
    for jpeg in (jpeg_of_scans(20_000, 4096), jpeg_that_hides_its_size(26000)):
        with within(20), pytest.raises(RequestError, match=r"^tensor 'jpeg': got 2"):
            face_from_jpeg(jpeg)


def test_the_most_scans_that_are_decoded_take_seconds() -> None:
    with within(60):
        assert face_from_jpeg(jpeg_of_scans(MAX_SCANS, 4096)).shape == (256, 256, 3)


@pytest.mark.parametrize("data", [animated_png(64), animated_png(20_000), png_of_text_bombs(3000)])
def test_what_a_png_does_not_need_never_reaches_the_decoder(data: bytes) -> None:
    """With these chunks OpenCV 4.11 ends its process, or takes half a minute."""
    with within(20):
        np.testing.assert_array_equal(picture_from_bytes(data, "weapon"), np.zeros((64, 64, 3)))


def test_a_picture_that_decodes_to_another_size_than_was_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((65, 64, 3), np.uint8))
    with pytest.raises(RequestError, match=r"^weapon: got a JPEG that cannot be decoded"):
        picture_from_bytes(JPEG, "weapon")


def test_fill_bytes_bytes_between_segments_and_what_follows_the_end_are_skipped() -> None:
    data = JPEG[:2] + b"\xff" * 5 + JPEG[2:FRAME] + b"stray\xff\x00" + b"\xff\x01" + JPEG[FRAME:] + b"trailing"
    picture = read_encoded(data)
    assert (picture.width, picture.height, picture.scans) == (64, 64, 1)
    assert (picture.data[:2], picture.data[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    assert b"stray" not in picture.data
    np.testing.assert_array_equal(stored_pixels(picture), picture_from_bytes(JPEG, "plain"))


def test_a_progressive_jpeg_has_about_ten_scans() -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), options)[1].tobytes()
    assert read_encoded(jpeg).scans == 10


def test_restart_markers_belong_to_the_scan() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
    assert jpeg.count(b"\xff\xd0") > 0
    assert read_encoded(jpeg).scans == 1
    np.testing.assert_array_equal(
        stored_pixels(read_encoded(jpeg)), cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1]
    )


def test_profiles_and_comments_are_left_out() -> None:
    jpeg = JPEG[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes(60_000)) * 20 + jpeg_segment(0xFE, b"x") + JPEG[2:]
    assert read_encoded(jpeg).data == JPEG


def test_opencv_in_the_servers_processes_has_limits_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tritonserver").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "large.png").write_bytes(png(12_000))
    script = f"import cv2; assert cv2.imread({str(tmp_path / 'large.png')!r}) is None"
    environment = find_installation(tmp_path).environment
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "CV_IO_MAX_IMAGE_PIXELS" in result.stderr
