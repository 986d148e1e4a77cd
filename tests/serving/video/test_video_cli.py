"""``toonify video`` and ``toonify cam``, as a shell would run them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_triton import FakeTriton, running
from tiny_models import TinyModels
from toon_fakes import FakeSource, FakeToonifier, drawn, face_at, room
from toonify_command import Toonify
from video_files import STEADY, Sound, audio_packets, number_in, write_video

from engines.contract.errors import AlignmentError, RequestError, ServerError
from serving.back_end import BackEnd
from serving.controls import Edit, Style
from serving.faces.alignment import crop, placement_of_face, prealigned
from serving.faces.images import read_picture
from serving.jobs import jobs_of
from serving.patience import Patience
from serving.video import camera
from serving.video.frames import Frame
from serving.video.prealigned import prealigned_landmarker
from serving.video.reading import VideoReader
from serving.video.targets import FORMATS, VIDEOS

ALIGNED = ("--align", "none")
FRAMES = 6


@pytest.fixture
def toonifier(monkeypatch: pytest.MonkeyPatch) -> FakeToonifier:
    fake = FakeToonifier()
    monkeypatch.setattr(BackEnd, "toonifier", lambda self: fake)
    monkeypatch.setattr(BackEnd, "resolution", lambda self: 1024)
    return fake


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", STEADY[:FRAMES], size=(64, 64))


@pytest.fixture
def clip(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path))


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    """A folder with two videos, a file with a video's suffix that is not one, and a text file."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mp4", "c.mov"):
        shutil.copy(clip, videos / name)
    (videos / "b.mp4").write_text("no video")
    (videos / "notes.txt").write_text("not looked at")
    return videos


def frames_in(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        return [*reader]


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_video_becomes_a_video_with_the_same_times(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path
) -> None:
    # The clip is longer than the look-ahead of the smoothing.
    clip, output = write_video(tmp_path / "clip.mp4", STEADY[:14], size=(64, 64)), tmp_path / "toon.mp4"
    assert toonify("video", clip, "-o", output, *ALIGNED) == (0, f"{output}\n", "")
    assert [frame.pts for frame in frames_in(output)] == [frame.pts for frame in frames_in(clip)]
    assert toonifier.closed == 1


def test_a_server_toonifies_a_video(toonify: Toonify, clip: Path, tmp_path: Path) -> None:
    options = ["--attribute", "age=1", "--seed", 7, "--strength", 0.5, "--psi", 0.7, "--rows", "preset", "--exact"]
    with running(FakeTriton()) as server:
        code, _, err = toonify(
            "video", clip, "-o", tmp_path / "toon.mp4", *ALIGNED, "--url", server.url, "--smoothing", "off", *options
        )
    assert (code, err) == (0, "")
    assert sum(len(request["face"]) for request in server.requests) == FRAMES
    request = server.requests[0]
    np.testing.assert_array_equal(request["attributes"][0], [0, 0, 1, 0])
    np.testing.assert_array_equal(request["row_strength"][0], [0] * 4 + [0.5] * 4 + [0] * 8)
    assert request["seed"].flat[0] == 7
    assert request["psi"].flat[0] == np.float32(0.7)


def test_what_a_video_lacks_of_its_source_is_said_in_one_line(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mkv", STEADY[:FRAMES], size=(64, 64), sounds=[Sound("aac"), Sound("flac")])
    clip.write_bytes(clip.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    output = tmp_path / "toon.mp4"
    note = f"note: {output} lacks sound 1 (unknown codec)\n"
    assert toonify("video", clip, "-o", output, *ALIGNED) == (0, f"{output}\n", note)
    _, out, _ = toonify("video", clip, "-o", output, *ALIGNED, "--force", "--progress", "json")
    assert events(out)[-1]["notes"] == ["sound 1 (unknown codec)"]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["paste"], (64, 64)),
        (["crop"], (256, 256)),
        (["crop", "--size", 512], (512, 512)),
        (["side-by-side"], (128, 64)),
    ],
)
def test_each_output_style_has_its_size(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path, options: list[object], size: tuple[int, int]
) -> None:
    output = tmp_path / "toon.mp4"
    assert toonify("video", clip, "-o", output, *ALIGNED, "--output-style", *options)[0] == 0
    with VideoReader(output) as reader:
        assert reader.size == size


def test_aligned_frames_have_two_names(toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path) -> None:
    for name in ("none", "prealigned"):
        assert toonify("video", clip, "-o", tmp_path / f"{name}.mp4", "--align", name)[0] == 0
    first, second = (frames_in(tmp_path / f"{name}.mp4") for name in ("none", "prealigned"))
    np.testing.assert_array_equal([frame.pixels for frame in first], [frame.pixels for frame in second])
    assert sum(rows for name, rows in toonifier.calls if name == "render") == 2 * FRAMES


def test_frames_become_a_folder_of_pictures(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "frames"
    assert toonify("video", clip, "-o", output, *ALIGNED, "--png") == (0, f"{output}\n", "")
    assert sorted(path.name for path in output.iterdir()) == [f"{number:06}.png" for number in range(FRAMES)]
    assert read_picture(output / "000000.png").shape == (64, 64, 3)
    code, _, err = toonify("video", clip, "-o", output, *ALIGNED, "--png")
    assert code == 1
    assert "already there" in err


def test_a_folder_of_videos_becomes_folders_of_pictures_those_already_whole_skipped(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "frames"
    (folder / "b.mp4").unlink()
    (output / "a").mkdir(parents=True)
    (output / "a" / "000000.png").touch()
    code, out, err = toonify("video", folder, "-o", output, *ALIGNED, "--png")
    assert (code, out) == (0, f"{output / 'c'}\n")
    assert err.startswith(f"skipped: {output / 'a'} ")
    assert len([*(output / "c").iterdir()]) == FRAMES


def test_sound_is_kept_or_left_out(toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.mp4", STEADY[:12], size=(64, 64), sounds=[Sound("aac", 0.4)])
    for audio, there in (("copy", True), ("none", False)):
        output = tmp_path / f"{audio}.mp4"
        assert toonify("video", source, "-o", output, *ALIGNED, "--audio", audio)[0] == 0
        if there:
            assert [data for data, _ in audio_packets(output)] == [data for data, _ in audio_packets(source)]
        else:
            with pytest.raises(IndexError):
                audio_packets(output)


@pytest.mark.parametrize(("trim", "numbers"), [("0.12:0.24", [3, 4, 5]), ("0.4:", [10, 11]), (":0.08", [0, 1])])
def test_a_part_of_a_video(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path, trim: str, numbers: list[int]
) -> None:
    source = write_video(tmp_path / "clip.mp4", STEADY[:12])
    (tmp_path / "nobody.json").write_text("\n".join(json.dumps({"picture": str(i), "faces": []}) for i in range(12)))
    output = tmp_path / "toon.mp4"
    options = ["--align", f"file:{tmp_path / 'nobody.json'}", "--trim", trim]
    assert toonify("video", source, "-o", output, *options)[0] == 0
    assert [number_in(frame.pixels) for frame in frames_in(output)] == numbers
    assert toonifier.calls == []


def test_a_folder_is_gone_through_whole_and_a_second_call_does_only_the_rest(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "toons"
    code, out, err = toonify("video", folder, "-o", output, *ALIGNED)
    assert code == 1
    assert out.split() == [str(output / name) for name in ("a.mp4", "c.mov")]
    assert err.startswith(f"error: {folder / 'b.mp4'}: got ")
    assert sorted(path.name for path in output.iterdir()) == ["a.mp4", "c.mov"]
    shutil.copy(clip, folder / "b.mp4")
    code, out, err = toonify("video", folder, "-o", output, *ALIGNED)
    assert (code, out) == (0, f"{output / 'b.mp4'}\n")
    assert [line.split()[:2] for line in err.splitlines()] == [
        ["skipped:", str(output / "a.mp4")],
        ["skipped:", str(output / "c.mov")],
    ]


def test_two_machines_share_a_folder_whatever_is_done_already(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, clip: Path, tmp_path: Path
) -> None:
    shutil.copy(clip, folder / "b.mp4")
    output = tmp_path / "toons"
    names = []
    for share in ("2/3", "1/3"):  # the second machine begins when the first one is ready
        code, out, err = toonify("video", folder, "-o", output, *ALIGNED, "--shard", share)
        assert (code, err) == (0, "")
        names.append([Path(line).name for line in out.splitlines()])
    assert sorted(name for share in names for name in share) == ["a.mp4", "b.mp4", "c.mov"]
    assert all(names)


def test_force_does_all_of_a_folder_again(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, tmp_path: Path
) -> None:
    (folder / "b.mp4").unlink()
    for _ in range(2):
        code, out, err = toonify("video", folder, "-o", tmp_path / "toons", *ALIGNED, "--force")
        assert (code, len(out.split()), err) == (0, 2, "")


def test_a_single_output_that_is_there_is_kept(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "toon.mp4"
    output.write_text("mine")
    code, _, err = toonify("video", clip, "-o", output, *ALIGNED)
    assert code == 1
    assert "already there" in err
    assert output.read_text() == "mine"


def test_a_back_end_that_fails_leaves_nothing(toonify: Toonify, toonifier: FakeToonifier, clip: Path) -> None:
    def fail() -> None:
        raise ServerError("server", got="no answer", expected="one", remedy="start it")

    toonifier.before = fail
    code, out, err = toonify("video", clip, "-o", clip.with_name("toon.mp4"), *ALIGNED)
    assert (code, out, err) == (1, "", "error: server: got no answer, expected one; start it.\n")
    assert [*clip.parent.iterdir()] == [clip]


@pytest.mark.parametrize(("failures", "expected"), [([True, True], 0), (repeat(True), 75)])
def test_a_server_that_is_away_for_a_while_costs_no_video_and_one_that_stays_away_ends_the_run(
    toonify: Toonify,
    toonifier: FakeToonifier,
    folder: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failures: Iterable[bool],
    expected: int,
) -> None:
    monkeypatch.setattr("serving.video.cli.Patience", partial(Patience, seconds=0.2, first_pause=0.01))
    output, remaining = tmp_path / "toons", iter(failures)
    for name in ("b.mp4", "d.mp4", "e.mp4"):
        shutil.copy(clip, folder / name)

    def fail_after_the_first_video() -> None:
        if (output / "a.mp4").exists() and next(remaining, False):
            raise ServerError("server", got="no answer", expected="one", remedy="start it")

    toonifier.before = fail_after_the_first_video
    code, out, err = toonify("video", folder, "-o", output, *ALIGNED)
    assert code == expected
    assert err.startswith(f"waiting: {output / 'b.mp4'} is tried again as soon as a server answers; server: got no ans")
    assert [Path(line).stem for line in out.splitlines()] == (["a"] if expected else ["a", "b", "c", "d", "e"])
    assert ("stopped: no server answers, and 1 were not begun;" in err) == bool(expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    threads = {*threading.enumerate()}
    once = iter([lambda: os.kill(os.getpid(), number)])
    toonifier.before = lambda: next(once, lambda: None)()
    code, out, err = toonify("video", folder, "-o", tmp_path / "toons", *ALIGNED)
    assert (code, out) == (128 + number, "")
    assert err == f"cancelled: {tmp_path / 'toons' / 'a.mp4'} was not written\n"
    assert [*(tmp_path / "toons").iterdir()] == []
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert {*threading.enumerate()} <= threads


def test_programs_read_progress_as_json_lines(
    toonify: Toonify, toonifier: FakeToonifier, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "toons"
    code, out, err = toonify("video", folder, "-o", output, *ALIGNED, "--progress", "json")
    assert (code, err) == (1, "")
    told = [event for event in events(out) if event["event"] != "progress"]
    assert [(event["event"], Path(event["target"]).name) for event in told] == [
        ("begun", "a.mp4"),
        ("finished", "a.mp4"),
        ("begun", "b.mp4"),
        ("failed", "b.mp4"),
        ("begun", "c.mov"),
        ("finished", "c.mov"),
    ]
    assert told[1]["frames"] == told[1]["total"] == told[1]["faces"] == FRAMES
    assert set(told[1]["stages"]) == {"decode", "detect", "align", "encode", "render", "paste", "write"}
    code, out, _ = toonify("video", folder / "a.mp4", folder / "c.mov", "-o", output, *ALIGNED, "--progress", "json")
    assert [event["event"] for event in events(out)] == ["skipped", "skipped"]


def test_a_bar_shows_speed_and_stages(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = clip.with_name("toon.mp4")
    code, out, err = toonify("video", clip, "-o", output, *ALIGNED, "--progress", "bar")
    assert code == 0
    assert str(output) in out
    assert "toon.mp4" in err


def test_statistics_name_every_stage(toonify: Toonify, toonifier: FakeToonifier, clip: Path) -> None:
    _, out, err = toonify("video", clip, "-o", clip.with_name("toon.mp4"), *ALIGNED, "--stats")
    assert out == f"{clip.with_name('toon.mp4')}\n"
    *table, summary = err.splitlines()
    stages = [line.split()[0] for line in table]
    assert {"stage", "decode", "detect", "align", "encode", "render", "paste", "write", "elapsed"} <= {*stages}
    assert summary.startswith(f"{FRAMES} frames, {FRAMES} with a face, 0 dropped, ")
    assert summary.endswith(" frames per second")


@pytest.mark.parametrize("style", ["paste", "crop"])
def test_a_preview_is_one_picture_of_frames_before_and_after(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, style: str
) -> None:
    sheet = clip.with_name("sheet.png")
    code, out, err = toonify("video", clip, "-o", sheet, *ALIGNED, "--preview", "--output-style", style)
    assert (code, out, err) == (0, f"{sheet}\n", "")
    assert read_picture(sheet).shape == (3 * 64, 4 * 64, 3)
    before = frames_in(clip)[0].pixels
    assert np.abs(read_picture(sheet)[:64, :64].astype(int) - before).max() <= 2


def test_a_preview_without_frames_in_its_part_is_refused(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path
) -> None:
    sheet = clip.with_name("sheet.png")
    code, _, err = toonify("video", clip, "-o", sheet, *ALIGNED, "--preview", "--trim", "9:10")
    assert code == 1
    assert "no picture in the requested part" in err
    assert not sheet.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trim", "3"], "START:END"),
        (["--trim", "a:b"], "START:END"),
        (["--rows", "preset"], "give --attribute"),
        (["--strength", 0.5], "give --attribute"),
        (["--align", "file:x.json", "--preview"], "cannot number the frames"),
        (["--batch", 0], "--batch"),
        (["--size", "large"], "neither auto nor a number of pixels"),
        (["--size", "9" * 5000], "neither auto nor a number of pixels"),
        (["--size", "9"], "16 to 4096"),
        (["--size", "256"], "give --output-style crop"),
        (["--png"], "frames are written to a folder"),
        (["--png", "--preview"], "a preview is one picture"),
        (["--shard", "3/2"], "'3/2' is not I/N with I from 1 to N"),
    ],
)
def test_usage_mistakes_end_with_2(
    toonify: Toonify,
    toonifier: FakeToonifier,
    clip: Path,
    options: list[object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, _, err = toonify("video", clip, "-o", clip.with_name("toon.mp4"), *options)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "{clip}"], "one of the inputs"),
        (["-o", "{clip}/../toon.gif", "--align", "haar"], "expected one of .mp4"),
        (["-o", "x.mp4", "--align", "wrong"], "'wrong'"),
        (["-o", "x.mp4", "--encoder", "e"], "only some of the model directories"),
        (["-o", "x.mp4", "--encoder", "e", "--generator", "g", "--url", "h:1"], "--url and model directories"),
        (["-o", "x.mp4", "--trim", "5:2", *ALIGNED], "a part from 5 s to 2 s"),
    ],
)
def test_other_mistakes_are_one_line(
    toonify: Toonify, toonifier: FakeToonifier, clip: Path, options: list[str], message: str
) -> None:
    code, out, err = toonify("video", clip, *(option.format(clip=clip) for option in options))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert message in err


def test_a_camera_is_recorded_for_some_seconds(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless() -> Iterator[Frame]:
        picture = drawn(face_at(160, 120), room())
        number = 0
        while True:
            yield Frame(picture, Fraction(number, 30))
            number += 1

    monkeypatch.setattr(camera, "CameraReader", lambda index: FakeSource(endless))
    output = tmp_path / "cam.mp4"
    assert toonify("cam", "-o", output, "--seconds", 0.2, "--align", "haar") == (0, f"{output}\n", "")
    assert len(frames_in(output)) >= 1


def test_a_camera_that_is_not_there_is_one_line(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCamera:
        def __init__(self, index: int) -> None: ...

        def read(self) -> tuple[bool, None]:
            return False, None

        def release(self) -> None: ...

    monkeypatch.setattr(camera.cv2, "VideoCapture", NoCamera)
    code, _, err = toonify("cam", "-o", tmp_path / "cam.mp4", "--camera", 3, "--align", "haar")
    assert code == 1
    assert err.startswith("error: camera 3: got no picture")


def test_a_cameras_face_alone_has_a_size_by_the_face(
    toonify: Toonify, toonifier: FakeToonifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = face_at(160, 120, 300).points.tolist()
    records = [{"picture": str(number), "faces": [{"points": points}]} for number in range(3)]
    (tmp_path / "face.json").write_text(json.dumps(records))
    source = FakeSource([Frame(room(), Fraction(number, 30)) for number in range(3)])
    monkeypatch.setattr(camera, "CameraReader", lambda index: source)
    output = tmp_path / "cam.mp4"
    options = ["--align", f"file:{tmp_path / 'face.json'}", "--output-style", "crop"]
    assert toonify("cam", "-o", output, *options)[0] == 0
    with VideoReader(output) as reader:
        assert reader.size == (512, 512)


def test_a_prealigned_frame_is_its_own_crop() -> None:
    frame = room(width=300, height=300)
    (face,) = prealigned_landmarker(frame, "0")
    cut = crop(frame, placement_of_face(face.points)).astype(int)
    assert np.abs(cut - prealigned(frame)[0]).max() <= 1
    with pytest.raises(AlignmentError, match="320x240"):
        prealigned_landmarker(room(), "0")
    with pytest.raises(AlignmentError, match="frame 0: got 16x16 pixels, expected an aligned face of at least 24"):
        prealigned_landmarker(room(width=16, height=16), "0")


def test_a_folders_targets_keep_the_suffixes_that_can_be_written() -> None:
    kept = [Path(f"a{suffix}") for suffix in FORMATS]
    videos = [*kept[:1], Path("b.mov"), Path("c.webm")]
    targets = [job.target for job in jobs_of(videos, Path("out"), VIDEOS, in_folder=True)]
    assert targets == [Path("out") / kept[0], Path("out/b.mov"), Path("out/c.mp4")]
    with pytest.raises(RequestError, match="two videos of that name"):
        jobs_of([Path("a.avi"), Path("a.webm")], Path("out"), VIDEOS, in_folder=True)


def test_several_videos_do_not_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RequestError, match="out: got a file, expected a folder"):
        jobs_of([Path("a.mov"), Path("b.mov")], tmp_path / "out", VIDEOS, in_folder=True)


def test_a_style_without_options_is_the_usual_one() -> None:
    assert BackEnd().style(Edit({}, {}), seed=0, strength=1.0, psi=1.0) == Style()


def test_the_chosen_generator_says_the_size_and_the_encoder_the_rows(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    small = BackEnd(model="small", encoder=models.encoder, generators=[*models.generators.values()], isf=models.isf)
    assert small.resolution() == 16
    assert replace(small, model=None).resolution() == 32
    style = small.style(Edit({"age": 1.0}, {}, rows="preset"), seed=0, strength=1.0, psi=1.0)
    assert style.row_strength is not None
    assert len(style.row_strength) == 8


def test_file_names_need_not_be_utf_8(toonify: Toonify, toonifier: FakeToonifier, clip: Path) -> None:
    source, target = (clip.with_name(os.fsdecode(name)) for name in (b"\xff.mp4", b"\xfe.mp4"))
    clip.rename(source)
    code, out, _ = toonify("video", source, "-o", target, *ALIGNED, "--progress", "json")
    assert code == 0
    assert events(out)[-1]["target"] == str(target)
    assert target.exists()
