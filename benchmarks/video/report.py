"""The tables of the video benchmark, in Markdown, from the raw rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from benchmarks.generated import with_section
from benchmarks.rounds import Ratio, ratio_over_rounds
from benchmarks.video.rows import FailureRow, FlickerRow, MemoryRow, Row, SpeedCase, SpeedRow, StageRow, VideoResults

R = TypeVar("R", bound=Row)
Rounds = dict[int, float]
"""One number for each round, by the round's number."""


def with_tables(text: str, results: VideoResults) -> str:
    """Replace the text between this benchmark's markers by the tables."""
    return with_section(text, "benchmarks.video", tables(results))


def tables(results: VideoResults) -> str:
    """All tables in Markdown, with the run, the commit, the device and the versions."""
    rows = results.rows
    parts = (_speeds(rows, results.cores), _stages(rows), _memory(rows), _flicker(rows), _failures(rows))
    sections = ["\n".join(part) for part in parts]
    origin = f"Run {results.run}, commit {results.commit}; {results.device}; {results.versions}."
    return "\n" + "\n\n".join([*filter(None, sections), origin]) + "\n"


def rows_of(rows: Sequence[Row], kind: type[R]) -> list[R]:
    """The rows of one kind."""
    return [row for row in rows if isinstance(row, kind)]


def settings(rows: Sequence[Row]) -> list[str]:
    """Names of the measured settings, in the rows' order."""
    return [*dict.fromkeys(row.setting for row in rows_of(rows, SpeedRow))]


def slowest_stage(rows: Sequence[Row], setting: str) -> str:
    """The stage with the fewest frames per second when it runs alone; "" where none was measured."""
    alone = [row for row in rows_of(rows, SpeedRow) if (row.setting, row.condition) == (setting, "alone")]
    stages = {row.stage: _median_of(_fps(rows, setting, "alone", row.stage)) for row in alone}
    return min(stages, key=lambda stage: stages[stage], default="")


def efficiency(rows: Sequence[Row], setting: str) -> Ratio | None:
    """Frames per second of ``toonify_video`` over those of the slowest stage alone, round by round."""
    alone = _fps(rows, setting, "alone", slowest_stage(rows, setting))
    return _ratio(_fps(rows, setting, "toonify_video"), alone)


def _fps(rows: Sequence[Row], setting: str, condition: SpeedCase, stage: str = "") -> Rounds:
    wanted = (setting, condition, stage)
    return {row.round: row.fps for row in rows_of(rows, SpeedRow) if (row.setting, row.condition, row.stage) == wanted}


def _ratio(above: Rounds, below: Rounds) -> Ratio | None:
    ratios = [above[number] / below[number] for number in above.keys() & below.keys()]
    return ratio_over_rounds(ratios) if ratios else None


def _median_of(rounds: Mapping[int, float]) -> float:
    return statistics.median(rounds.values())


def _speeds(rows: Sequence[Row], cores: int) -> Iterator[str]:
    yield "| frames/s (cores busy) | `toonify_video` | one thread | times as fast | slowest stage alone | efficiency |"
    yield "|---|--:|--:|--:|--:|--:|"
    for setting in settings(rows):
        threads, loop = _whole(rows, setting, "toonify_video"), _whole(rows, setting, "one thread")
        faster = _ratio(_fps(rows, setting, "toonify_video"), _fps(rows, setting, "one thread"))
        slowest = slowest_stage(rows, setting)
        alone = f"{slowest}, {_median_of(_fps(rows, setting, 'alone', slowest)):.1f}" if slowest else ""
        yield f"| {setting} | {threads} | {loop} | {faster or ''} | {alone} | {_percent(efficiency(rows, setting))} |"
    yield f"\nMedians of the rounds, in parentheses behind ratios their range; there were {cores} cores."


def _whole(rows: Sequence[Row], setting: str, condition: SpeedCase) -> str:
    ours = [row for row in rows_of(rows, SpeedRow) if (row.setting, row.condition) == (setting, condition)]
    if not ours:
        return ""
    busy = statistics.median(row.cores_busy for row in ours)
    return f"{_median_of(_fps(rows, setting, condition)):.1f} ({busy:.1f})"


def _percent(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{100 * ratio.median:.0f} % ({100 * ratio.lowest:.0f} to {100 * ratio.highest:.0f})"


def _stages(rows: Sequence[Row]) -> Iterator[str]:
    for setting in settings(rows):
        by_case = {(row.condition, row.stage): row for row in rows_of(rows, StageRow) if row.setting == setting}
        yield f"| {setting}: ms of a frame | alone | in `toonify_video` | in one thread |\n|---|--:|--:|--:|"
        for stage in dict.fromkeys(stage for _, stage in by_case):
            cells = (_times(by_case.get((condition, stage))) for condition in ("alone", "toonify_video", "one thread"))
            yield f"| {stage} | {' | '.join(cells)} |"
        yield ""
    yield "Median, and 5th to 95th percentile."


def _times(row: StageRow | None) -> str:
    return f"{row.p50_ms:.1f} ({row.p5_ms:.1f} to {row.p95_ms:.1f})" if row else ""


def _memory(rows: Sequence[Row]) -> Iterator[str]:
    samples = rows_of(rows, MemoryRow)
    if samples:
        first, last = samples[0], samples[-1]
        highest = max(row.resident_mib for row in samples)
        yield (
            f"Resident memory: {first.resident_mib:.1f} MiB after {first.frames:,} frames, {last.resident_mib:.1f} MiB "
            f"after {last.frames:,}, {highest:.1f} MiB at most."
        )


def _flicker(rows: Sequence[Row]) -> Iterator[str]:
    by_series = {(row.smoothing, row.noise_px > 0, row.head): row for row in rows_of(rows, FlickerRow)}
    if not by_series:
        return
    yield "| landmarks, smoothing | jitter, still head | change of still parts | jitter, moving head | error |"
    yield "|---|--:|--:|--:|--:|"
    for smoothing, noisy in dict.fromkeys((smoothing, noisy) for smoothing, noisy, _ in by_series):
        still, moving = by_series.get((smoothing, noisy, "still")), by_series.get((smoothing, noisy, "moving"))
        cells = (
            _mean(still.jitter_px if still else ()),
            _mean(still.change if still else ()),
            _mean(moving.jitter_px if moving else ()),
            _mean(moving.error_px if moving else ()),
        )
        yield f"| {'noisy' if noisy else 'exact'}, {smoothing} | {' | '.join(cells)} |"
    yield "\nJitter and error in pixels, change in levels of 255; means over the clip."


def _mean(series: Sequence[float]) -> str:
    return f"{statistics.fmean(series):.2f}" if series else ""


def _failures(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows_of(rows, FailureRow):
        yield f"- {row.what} failed: {row.error}"
