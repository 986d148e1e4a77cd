"""Faces that a session leaves alone: small ones, and on request those that the encoder does not know."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toon_fakes import FakeSink, FakeSource, FakeToonifier, Pixels, drawn, face_at, frames_of, landmarks, room
from toonify_command import Toonify
from video_files import STEADY, write_video

from engines.contract.errors import RequestError
from serving.back_end import BackEnd
from serving.controls import Style
from serving.video.pipeline import VideoReport, toonify_video
from serving.video.session import ToonSession
from serving.video.tracking import Tracking

FACE, SMALL = face_at(110, 120, 80), face_at(230, 110, 40)
PICTURE = drawn(SMALL, drawn(FACE, room()))
DARK, BRIGHT = (PICTURE // 4).astype(np.uint8), np.full_like(PICTURE, 255)
REACH = 240.0
"""The reach of the fake toonifier's codes: bright faces are farther out."""

LEAVING: dict[str, Any] = {"leave_far": True, "tracking": Tracking(fade=0.0)}


def report_of(pictures: list[Pixels], toonifier: FakeToonifier, **options: Any) -> tuple[VideoReport, FakeSink]:
    sink = FakeSink()
    with ToonSession(toonifier, landmarks((FACE, SMALL)), smoothing="off", **options) as session:
        return toonify_video(FakeSource(frames_of(pictures)), sink, session), sink


def test_a_small_face_is_left_alone_and_counted() -> None:
    report, sink = report_of([PICTURE] * 3, FakeToonifier())
    assert (report.frames, report.faces, report.small, report.far) == (3, 3, 3, None)
    for frame in sink.frames:
        np.testing.assert_array_equal(frame.pixels[:, 200:], PICTURE[:, 200:])
        assert (frame.pixels[:, :200] != PICTURE[:, :200]).any()


def test_small_faces_are_toonified_on_request() -> None:
    report, sink = report_of([PICTURE], FakeToonifier(), tracking=Tracking(smallest=30))
    assert report.small == 0
    assert (sink.frames[0].pixels[:, 200:] != PICTURE[:, 200:]).any()


@pytest.mark.parametrize("codes", [{}, {"codes": None}], ids=["smoothed", "raw"])
def test_far_faces_are_counted_and_by_default_shown(codes: dict[str, Any]) -> None:
    report, sink = report_of([DARK, BRIGHT, DARK, BRIGHT], FakeToonifier(reach=REACH), **codes)
    assert (report.far, report.faces) == (2, 4)
    for frame, picture in zip(sink.frames, [DARK, BRIGHT, DARK, BRIGHT], strict=True):
        assert (frame.pixels != picture).any()


@pytest.mark.parametrize("codes", [{}, {"codes": None}], ids=["smoothed", "raw"])
def test_far_faces_are_left_alone_on_request(codes: dict[str, Any]) -> None:
    pictures = [DARK, BRIGHT, DARK, BRIGHT]
    report, sink = report_of(pictures, FakeToonifier(reach=REACH), **LEAVING, **codes)
    assert (report.far, report.faces) == (2, 2)
    same = [np.array_equal(frame.pixels, picture) for frame, picture in zip(sink.frames, pictures, strict=True)]
    assert same == [False, True, False, True]


def test_a_face_that_becomes_a_far_one_fades_out_and_in_again() -> None:
    toonifier = FakeToonifier(reach=REACH)
    options: dict[str, Any] = {"leave_far": True, "tracking": Tracking(fade=0.08), "cut_threshold": float("inf")}
    with ToonSession(toonifier, landmarks((FACE,)), smoothing="off", **options) as session:
        shown = []
        for i, picture in enumerate([DARK, BRIGHT, BRIGHT, BRIGHT, DARK, DARK, DARK]):
            result = session.push(picture, Fraction(i, 25))
            assert result is not None
            shown.append([round(face.opacity, 6) for face in result.faces])
    assert shown == [[1], [0.5], [], [], [0.5], [1], [1]]


def test_a_kept_edit_counts_far_faces_too() -> None:
    toonifier = FakeToonifier(reach=REACH, attributes=lambda faces: np.zeros((len(faces), 2), np.float32))
    report, _ = report_of([DARK, BRIGHT], toonifier, codes=None, style=Style({"age": 1.0}))
    assert report.far == 1


def test_models_that_do_not_tell_cannot_leave_far_faces_alone() -> None:
    with pytest.raises(RequestError, match="far codes: got models that do not tell how far out a face's code lies"):
        report_of([PICTURE], FakeToonifier(), **LEAVING)


@pytest.fixture
def toonifier(monkeypatch: pytest.MonkeyPatch) -> FakeToonifier:
    fake = FakeToonifier(reach=1.0)
    monkeypatch.setattr(BackEnd, "toonifier", lambda self: fake)
    monkeypatch.setattr(BackEnd, "resolution", lambda self: 64)
    return fake


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of two faces, one of them small, and their landmarks."""
    records = [
        {"picture": str(number), "faces": [{"points": face.points.tolist()} for face in (FACE, SMALL)]}
        for number in range(2)
    ]
    (tmp_path / "faces.json").write_text(json.dumps(records))
    return write_video(tmp_path / "clip.mp4", STEADY[:2], size=(320, 240))


def test_the_command_says_what_it_left_alone(toonify: Toonify, toonifier: FakeToonifier, clip: Path) -> None:
    output = clip.with_name("toon.mp4")
    options = ["-o", output, "--align", f"file:{clip.with_name('faces.json')}", "--smoothing", "off"]
    code, out, err = toonify("video", clip, *options)
    assert (code, out) == (0, f"{output}\n")
    assert err == (
        f"note: faces of {output}, counted in each frame: 2 too small to be toonified (--smallest-face), "
        "2 unlike those that the encoder knows (--far-codes)\n"
    )
    _, out, _ = toonify("video", clip, *options, "--force", "--progress", "json", "--smallest-face", 0)
    assert {name: json.loads(out.splitlines()[-1])[name] for name in ("small", "far", "faces")} == {
        "small": 0,
        "far": 4,
        "faces": 2,
    }
    _, out, _ = toonify("video", clip, *options, "--force", "--progress", "json", "--far-codes", "leave")
    assert json.loads(out.splitlines()[-1])["faces"] == 0


def test_a_frame_that_is_a_face_is_never_too_small(toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", STEADY[:1], size=(32, 32))
    _, out, _ = toonify("video", clip, "-o", tmp_path / "toon.mp4", "--align", "none", "--progress", "json")
    assert json.loads(out.splitlines()[-1])["small"] == 0
