"""The video benchmark: its measures, its raw rows and tables, and a whole quick run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import typer

from benchmarks.generated import VIDEO_README
from benchmarks.video.__main__ import QUICK, RESULTS, main
from benchmarks.video.clip import RATE, KnownLandmarks, StandInToonifier, draw_clip
from benchmarks.video.flicker import change, error, jitter, still_parts
from benchmarks.video.report import efficiency, slowest_stage, tables, with_tables
from benchmarks.video.rows import (
    FailureRow,
    FlickerRow,
    MemoryRow,
    SpeedRow,
    StageRow,
    VideoResults,
    read_results,
    write_results,
)
from benchmarks.video.speed import SPEED_CASES, STAGES, Setting, measure_speed
from engines.contract.errors import AlignmentError
from export.demo_face import demo_code
from export.demo_models.clips import talking_head
from serving.faces.alignment import Placement, placement_of_face

ROOT = Path(__file__).parents[2]

VIDEO_RESULTS = VideoResults(
    run="2026-01-01T00:00:00Z",
    commit="0123456789ab",
    device="a processor",
    cores=2,
    versions="python 3",
    rows=(
        SpeedRow("models", "toonify_video", "", 0, 100, 10.0, 1.9),
        SpeedRow("models", "one thread", "", 0, 100, 20.0, 1.0),
        SpeedRow("models", "alone", "decode", 0, 100, 1.0, 1.0),
        SpeedRow("models", "alone", "render", 0, 100, 8.0, 2.0),
        StageRow("models", "alone", "render", 100, 79.0, 80.0, 82.0),
        MemoryRow(500, 100.0),
        MemoryRow(1000, 101.25),
        FlickerRow("still", "off", 0.5, (2.0, 4.0), (1.0, 1.0, 1.0), (0.5, 0.7)),
        FailureRow("memory", "no such file"),
    ),
)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results" / "video.json"
    write_results(path, VIDEO_RESULTS)
    assert read_results(path) == VIDEO_RESULTS


def test_efficiency_is_relative_to_the_slowest_stage_alone() -> None:
    assert slowest_stage(VIDEO_RESULTS.rows, "models") == "render"
    ratio = efficiency(VIDEO_RESULTS.rows, "models")
    assert ratio is not None
    assert (ratio.median, ratio.lowest, ratio.highest) == (0.8, 0.8, 0.8)


def test_what_was_not_measured_has_no_ratio() -> None:
    threads_only = VIDEO_RESULTS.rows[:1]
    assert efficiency(threads_only, "models") is None
    assert "| models | 10.0 (1.9) |  |  |  |  |" in tables(replace(VIDEO_RESULTS, rows=threads_only))


def test_the_tables_hold_every_part_and_failures_with_their_reasons() -> None:
    text = tables(VIDEO_RESULTS)
    assert "| models | 10.0 (1.9) | 5.0 (1.0) | 2.00 (2.00 to 2.00) | render, 12.5 | 80 % (80 to 80) |" in text
    assert "| render | 80.0 (79.0 to 82.0) |  |  |" in text
    assert "100.0 MiB after 500 frames, 101.2 MiB after 1,000, 101.2 MiB at most" in text
    assert "| noisy, off | 3.00 | 0.60 |  |  |" in text
    assert "- memory failed: no such file" in text


def placement_at(x: float, y: float) -> Placement:
    return np.array([[100.0, 0, x], [0, 100.0, y]])


def test_corners_that_move_to_and_fro_jitter_by_that_distance() -> None:
    true = [placement_at(10, 20)] * 4
    estimated = [placement_at(10 + 3 * (i % 2), 20 + 4 * (i % 2)) for i in range(4)]
    np.testing.assert_allclose(jitter(estimated, true), 5)
    np.testing.assert_allclose(error(estimated, true), [0, 5, 0, 5])


def test_a_crop_that_follows_a_moving_head_does_not_jitter() -> None:
    true = [placement_at(7 * i, 20) for i in range(4)]
    late = [placement_at(7 * i - 2, 20) for i in range(4)]
    np.testing.assert_allclose(jitter(late, true), 0)
    np.testing.assert_allclose(error(late, true), 2)


def test_change_is_measured_where_it_is_asked_for() -> None:
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in (10, 12, 8)]
    pictures[2][0, 0] = 255
    where = np.ones((4, 4), bool)
    where[0, 0] = False
    np.testing.assert_allclose(change(pictures, where), [2, 4])


def test_the_still_parts_of_a_talking_head_are_covered_and_never_change() -> None:
    clip = [*talking_head(demo_code(), 0.8, rate=10, size=(160, 120), motion=0)]
    pictures = [frame.picture for frame in clip]
    where = still_parts(pictures, placement_of_face(clip[0].points))
    assert 500 < where.sum() < where.size / 2
    np.testing.assert_array_equal(change(pictures, where), 0)
    x, y = np.rint(clip[0].points[3:].mean(0)).astype(int)
    assert not where[y, x]  # the mouth


def test_a_drawn_clip_has_its_frames_a_tone_and_landmarks(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", (160, 120), 10, drawn=4)
    with av.open(str(clip.path)) as file:
        assert [frame.pts * frame.time_base * RATE for frame in file.decode(video=0)] == [*range(10)]
    with av.open(str(clip.path)) as file:
        assert max(np.abs(frame.to_ndarray()).max() for frame in file.decode(audio=0)) > 0.1
    assert len(clip.points) == 10
    np.testing.assert_array_equal(clip.points[3], clip.points[4])  # forwards and backwards
    assert np.abs(clip.points[0] - clip.points[3]).max() > 0


def test_points_of_an_enlarged_clip_are_in_its_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.video.clip.DRAWN_HEIGHT", 60)
    small, large = (draw_clip(tmp_path / f"{h}.mp4", (4 * h // 3, h), 2, drawn=1) for h in (60, 120))
    np.testing.assert_allclose(large.points[0], 2 * small.points[0] + 0.5)


def test_a_case_that_fails_is_a_row_beside_the_others(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", (160, 120), 10, drawn=2)
    landmarkers = iter([KnownLandmarks(clip.points), blind, KnownLandmarks(clip.points)])
    rows = measure_speed(
        Setting("models", clip, StandInToonifier(), lambda: next(landmarkers)), tmp_path, 1, lambda _: None
    )
    assert [row for row in rows if isinstance(row, FailureRow)] == [
        FailureRow("models, one thread, round 1", "face: got darkness, expected light; open your eyes.")
    ]
    assert {row.condition for row in rows if isinstance(row, SpeedRow | StageRow)} == {"toonify_video", "alone"}


def blind(photo: object, name: str = "") -> tuple[()]:
    raise AlignmentError("face", got="darkness", expected="light", remedy="open your eyes")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JSON file of a quick run."""
    results = tmp_path_factory.mktemp("video") / "video.json"
    command = [sys.executable, "-m", "benchmarks.video", "--quick", "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return results


def test_a_quick_run_measures_everything(quick: Path) -> None:
    rows = read_results(quick).rows
    assert [row for row in rows if isinstance(row, FailureRow)] == []
    speeds = [row for row in rows if isinstance(row, SpeedRow)]
    assert all(row.frames == QUICK.frames for row in speeds)
    measured = {(row.condition, row.stage, row.round) for row in speeds}
    stages = [("toonify_video", ""), ("one thread", ""), *(("alone", stage) for stage in STAGES)]
    assert measured == {(*each, number) for each in stages for number in range(QUICK.rounds)}
    assert len(speeds) == 2 * len(measured)  # two settings
    assert [row.frames for row in rows if isinstance(row, MemoryRow)] == [20, 40, 60]


def test_a_quick_run_times_every_frame_in_every_stage(quick: Path) -> None:
    rows = [row for row in read_results(quick).rows if isinstance(row, StageRow)]
    assert len(rows) == 2 * len(SPEED_CASES) * len(STAGES)
    assert {row.n for row in rows} == {QUICK.rounds * QUICK.frames}
    assert all(0 < row.p5_ms <= row.p50_ms <= row.p95_ms for row in rows)


def test_a_quick_run_finds_smoothing_to_help(quick: Path) -> None:
    rows = [row for row in read_results(quick).rows if isinstance(row, FlickerRow)]
    assert len(rows) == 8
    mean = {row.smoothing: np.mean(row.jitter_px) for row in rows if row.head == "still" and row.noise_px}
    assert mean["file"] < mean["live"] < mean["off"] / 2
    assert all(len(row.change) == (QUICK.still - 1 if row.head == "still" else 0) for row in rows)


def test_a_quick_run_draws_its_plots_and_has_tables(quick: Path) -> None:
    assert {path.name for path in quick.parent.iterdir()} == {"video.json", "video_flicker.png", "video_stages.png"}
    assert "stand-in, Haar landmarks" in tables(read_results(quick))


def test_a_quick_runs_rows_are_kept_out_of_the_results() -> None:
    with pytest.raises(typer.BadParameter, match="times mean nothing"):
        main(quick=True)


def test_other_text_stays_when_tables_are_written() -> None:
    text = "before\n<!-- generated: python -m benchmarks.video -->\nold\n<!-- end -->\nafter\n<!-- end -->\n"
    new = with_tables(text, VIDEO_RESULTS)
    assert new.startswith("before\n")
    assert new.endswith("<!-- end -->\nafter\n<!-- end -->\n")
    assert "old" not in new
    assert with_tables(new, VIDEO_RESULTS) == new


def test_the_tables_are_those_of_the_figures() -> None:
    assert tables(read_results(RESULTS)) in VIDEO_README.read_text(), "run python -m benchmarks.video"
