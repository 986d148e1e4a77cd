"""The tables of the video benchmark, in Markdown, from the raw rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from benchmarks.generated import with_section
from benchmarks.rounds import Ratio, spread
from benchmarks.video.rows import Condition, Failed, Figures, Flicker, Memory, Row, Speed, Stage

R = TypeVar("R", bound=Row)
Rounds = dict[int, float]
"""A number for each round."""


def with_tables(text: str, figures: Figures) -> str:
    """A text with the tables between its markers."""
    return with_section(text, "benchmarks.video", tables(figures))


def tables(figures: Figures) -> str:
    """All tables, and what they were measured on."""
    rows = figures.rows
    parts = (_speeds(rows, figures.cores), _stages(rows), _memory(rows), _flicker(rows), _failures(rows))
    sections = ["\n".join(part) for part in parts]
    origin = f"Run {figures.run}, commit {figures.commit}; {figures.device}; {figures.versions}."
    return "\n" + "\n\n".join([*filter(None, sections), origin]) + "\n"


def rows_of(rows: Sequence[Row], kind: type[R]) -> list[R]:
    """The rows of one kind."""
    return [row for row in rows if isinstance(row, kind)]


def settings(rows: Sequence[Row]) -> list[str]:
    """Names of the settings that were measured, in their order."""
    return [*dict.fromkeys(row.setting for row in rows_of(rows, Speed))]


def slowest_stage(rows: Sequence[Row], setting: str) -> str:
    """The stage that had the fewest frames per second alone; "" where none was measured."""
    alone = [row for row in rows_of(rows, Speed) if (row.setting, row.condition) == (setting, "alone")]
    stages = {row.stage: _middle(_fps(rows, setting, "alone", row.stage)) for row in alone}
    return min(stages, key=lambda stage: stages[stage], default="")


def efficiency(rows: Sequence[Row], setting: str) -> Ratio | None:
    """Frames per second of ``toonify_video`` over those of the slowest stage alone, round by round."""
    alone = _fps(rows, setting, "alone", slowest_stage(rows, setting))
    return _ratio(_fps(rows, setting, "toonify_video"), alone)


def _fps(rows: Sequence[Row], setting: str, condition: Condition, stage: str = "") -> Rounds:
    wanted = (setting, condition, stage)
    return {row.round: row.fps for row in rows_of(rows, Speed) if (row.setting, row.condition, row.stage) == wanted}


def _ratio(above: Rounds, below: Rounds) -> Ratio | None:
    ratios = [above[number] / below[number] for number in above.keys() & below.keys()]
    return spread(ratios) if ratios else None


def _middle(rounds: Mapping[int, float]) -> float:
    return statistics.median(rounds.values())


def _speeds(rows: Sequence[Row], cores: int) -> Iterator[str]:
    yield "| frames/s (cores busy) | `toonify_video` | one thread | times as fast | slowest stage alone | efficiency |"
    yield "|---|--:|--:|--:|--:|--:|"
    for setting in settings(rows):
        threads, loop = _whole(rows, setting, "toonify_video"), _whole(rows, setting, "one thread")
        faster = _ratio(_fps(rows, setting, "toonify_video"), _fps(rows, setting, "one thread"))
        slowest = slowest_stage(rows, setting)
        alone = f"{slowest}, {_middle(_fps(rows, setting, 'alone', slowest)):.1f}" if slowest else ""
        yield f"| {setting} | {threads} | {loop} | {faster or ''} | {alone} | {_percent(efficiency(rows, setting))} |"
    yield f"\nMedians of the rounds, in parentheses behind ratios their range; there were {cores} cores."


def _whole(rows: Sequence[Row], setting: str, condition: Condition) -> str:
    ours = [row for row in rows_of(rows, Speed) if (row.setting, row.condition) == (setting, condition)]
    if not ours:
        return ""
    busy = statistics.median(row.cores_busy for row in ours)
    return f"{_middle(_fps(rows, setting, condition)):.1f} ({busy:.1f})"


def _percent(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{100 * ratio.median:.0f} % ({100 * ratio.lowest:.0f} to {100 * ratio.highest:.0f})"


def _stages(rows: Sequence[Row]) -> Iterator[str]:
    for setting in settings(rows):
        found = {(row.condition, row.stage): row for row in rows_of(rows, Stage) if row.setting == setting}
        yield f"| {setting}: ms of a frame | alone | in `toonify_video` | in one thread |\n|---|--:|--:|--:|"
        for stage in dict.fromkeys(stage for _, stage in found):
            cells = (_times(found.get((condition, stage))) for condition in ("alone", "toonify_video", "one thread"))
            yield f"| {stage} | {' | '.join(cells)} |"
        yield ""
    yield "Median, and 5th to 95th percentile."


def _times(row: Stage | None) -> str:
    return f"{row.p50_ms:.1f} ({row.p5_ms:.1f} to {row.p95_ms:.1f})" if row else ""


def _memory(rows: Sequence[Row]) -> Iterator[str]:
    samples = rows_of(rows, Memory)
    if samples:
        first, last = samples[0], samples[-1]
        highest = max(row.resident_mib for row in samples)
        yield (
            f"Resident memory: {first.resident_mib:.1f} MiB after {first.frames:,} frames, {last.resident_mib:.1f} MiB "
            f"after {last.frames:,}, {highest:.1f} MiB at most."
        )


def _flicker(rows: Sequence[Row]) -> Iterator[str]:
    found = {(row.smoothing, row.noise_px > 0, row.head): row for row in rows_of(rows, Flicker)}
    if not found:
        return
    yield "| landmarks, smoothing | jitter, still head | change of still parts | jitter, moving head | error |"
    yield "|---|--:|--:|--:|--:|"
    for smoothing, noisy in dict.fromkeys((smoothing, noisy) for smoothing, noisy, _ in found):
        still, moving = found.get((smoothing, noisy, "still")), found.get((smoothing, noisy, "moving"))
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
    for row in rows_of(rows, Failed):
        yield f"- {row.what} failed: {row.error}"
