"""A sweep of r_swap over a clip: the blend of each frame, and ``toonify video --r-swap``."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tiny_models import DEFAULT_BLEND, TinyModels, gain_of_blend
from toon_fakes import FakeToonifier, face_at, landmarks, room
from toonify_command import Toonify
from video_files import STEADY, write_video

from engines.contract.errors import RequestError, VideoError
from serving.back_end import BackEnd
from serving.controls import Style
from serving.faces.images import read_picture
from serving.live_blends import BlendChoices, swapped_shares
from serving.video.session import ToonSession
from serving.video.sweeps import Sweep

FRAMES = 12
LIVE = BlendChoices("toonify_live", (0.0,) * 5)
"""A live model of 64 pixels."""


@pytest.fixture
def toonifier(monkeypatch: pytest.MonkeyPatch) -> FakeToonifier:
    fake = FakeToonifier()
    monkeypatch.setattr(BackEnd, "toonifier", lambda self: fake)
    monkeypatch.setattr(BackEnd, "resolution", lambda self: 64)
    monkeypatch.setattr(BackEnd, "blend_choices", lambda self: LIVE)
    return fake


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", STEADY[:FRAMES], size=(64, 64))


@pytest.mark.parametrize(("first", "last"), [(4, 32), (32, 4), (2, 64), (8, 8)])
def test_a_sweep_begins_and_ends_with_the_hard_swaps_of_its_ends(first: int, last: int) -> None:
    sweep = Sweep(first, last, LIVE)
    for position, r_swap in ((-1, first), (0, first), (1, last), (2, last)):
        assert sweep.shares(position) == swapped_shares(r_swap, 64)


def test_a_sweep_passes_every_hard_swap_and_the_shares_grow_between_them() -> None:
    sweep = Sweep(8, 64, LIVE)
    assert [sweep.shares(position / 3) for position in range(4)] == [swapped_shares(r, 64) for r in (8, 16, 32, 64)]
    assert sweep.shares(0.5) == (1, 1, 1, 0.5, 0)
    totals = [sum(sweep.shares(position / 100)) for position in range(101)]
    assert totals == sorted(totals)
    assert len({*totals}) == 3 * 8 + 1


@pytest.mark.parametrize("ends", [(8, 24), (3, 8), (8, 128), (0, 8)])
def test_an_end_that_is_no_resolution_of_the_model_is_refused(ends: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match=r"control 'r_swap': got (24|3|128|0), expected a power of two from 1 to 64"):
        Sweep(*ends, LIVE)


def test_a_sweep_of_a_model_that_is_not_live_names_r_swap(
    toonify: Toonify, tiny_model_directories: TinyModels, clip: Path, tmp_path: Path
) -> None:
    models = tiny_model_directories
    directories = ("--encoder", models.encoder, "--generator", models.generators["plain"])
    code, _, err = toonify(
        "video", clip, "-o", tmp_path / "toon.mp4", *directories, "--align", "none", "--r-swap", "8:32"
    )
    assert code == 1
    assert "control 'r_swap': got the model 'plain', whose blend is fixed, expected a live model" in err
    assert not (tmp_path / "toon.mp4").exists()


def test_a_sweep_is_that_of_the_model_which_the_style_names_or_of_the_first() -> None:
    sweep = Sweep(8, 64, replace(LIVE, default=(0.0,) * 10, transferred=("cartoon", "anime")))
    first, named = (sweep.style(style, 0.0, 2.0)(Fraction(2)) for style in (Style(), Style(transfer="anime")))
    assert first == Style(blend=swapped_shares(64, 64), transfer="cartoon")
    assert named == Style(blend=swapped_shares(64, 64), transfer="anime")


def test_a_file_without_a_duration_has_no_sweep() -> None:
    with pytest.raises(VideoError, match=r"got a file that does not state its duration, .*; give one r_swap"):
        Sweep(8, 64, LIVE).style(Style(), 0.0, None)


def test_a_sessions_style_may_depend_on_the_time() -> None:
    toonifier = FakeToonifier()
    find = landmarks([face_at(160, 120)])
    with ToonSession(
        toonifier, find, style=lambda pts: Style(seed=int(10 * pts)), smoothing="off", codes=None
    ) as stream:
        for number in range(3):
            stream.push(room(), number / 10)
    assert [style.seed for style in toonifier.styles] == [0, 1, 2]


def test_a_clip_is_swept_from_one_end_to_the_other(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path
) -> None:
    options = ("--align", "none", "--smoothing", "off", "--r-swap", "8:64", "--alpha", "0.5", "--batch", 1)
    assert toonify("video", clip, "-o", tmp_path / "toon.mp4", *options, "--in-flight", 1)[0] == 0
    blends = [style.blend for style in toonifier.styles]
    assert len(blends) == FRAMES
    assert blends == [Sweep(8, 64, LIVE).shares(number / FRAMES) for number in range(FRAMES)]
    assert {style.alpha for style in toonifier.styles} == {0.5}


def test_the_frames_of_a_part_and_of_its_preview_are_swept_over_the_part(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path
) -> None:
    options = ("--align", "none", "--smoothing", "off", "--r-swap", "8:64", "--trim", "0.2:", "--in-flight", 1)
    assert toonify("video", clip, "-o", tmp_path / "toon.mp4", *options)[0] == 0
    assert toonifier.styles[0].blend == swapped_shares(8, 64)
    assert np.sum(toonifier.styles[-1].blend or ()) > 4
    toonifier.styles.clear()
    assert toonify("video", clip, "-o", tmp_path / "sheet.png", *options, "--preview")[0] == 0
    assert toonifier.styles[0].blend == swapped_shares(8, 64)
    assert np.sum(toonifier.styles[-1].blend or ()) > 4


def test_one_r_swap_holds_for_the_whole_clip(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path
) -> None:
    options = ("--align", "none", "--smoothing", "off", "--r-swap", "16")
    assert toonify("video", clip, "-o", tmp_path / "toon.mp4", *options)[0] == 0
    assert {(style.r_swap, style.blend) for style in toonifier.styles} == {(16, None)}


@pytest.mark.parametrize("option", ["soft", "8:", ":64", "8:64:8", "9" * 5000])
def test_another_form_of_the_option_is_refused(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path, option: str
) -> None:
    code, _, err = toonify("video", clip, "-o", tmp_path / "toon.mp4", "--align", "none", "--r-swap", option)
    assert code == 2
    assert "--r-swap" in err


def test_a_live_model_of_this_process_is_swept(
    toonify: Toonify, tiny_model_directories: TinyModels, clip: Path, tmp_path: Path
) -> None:
    models, frames = tiny_model_directories, tmp_path / "frames"
    directories = ("--encoder", models.encoder, "--generator", models.live)
    options = ("--align", "none", "--smoothing", "off", "--output-style", "crop", "--size", "32", "--png")
    assert toonify("video", clip, "-o", tmp_path / "plain", *directories, *options, "--r-swap", "2")[0] == 0
    assert toonify("video", clip, "-o", frames, *directories, *options, "--r-swap", "2:32")[0] == 0
    last = Sweep(2, 32, BlendChoices("live", DEFAULT_BLEND)).shares((FRAMES - 1) / FRAMES)
    before, after = (read_picture(folder / f"{FRAMES - 1:06}.png") for folder in (tmp_path / "plain", frames))
    # The picture of the base alone is x, and the swept one gain * x, about the level 128.
    gain = gain_of_blend(last).item()
    np.testing.assert_allclose(after - 128.0, gain * (before - 128.0), atol=1)
    assert gain < 0
