"""The schema of ``results/video.json``: what identifies the run, and a row for each measurement or failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from engines.contract.errors import ToonifyError
from serving.video.session import Smoothing

SpeedCase = Literal["toonify_video", "one thread", "alone"]
Head = Literal["still", "moving"]

DIGITS = 5
"""Significant digits of every number in the file."""


@dataclass(frozen=True)
class SpeedRow:
    """The time of one case in one round; the cases of a setting and a round ran one after the other.

    Attributes:
        setting: name of the models and landmarks that were used.
        condition: "toonify_video", the loop in "one thread", or one stage "alone", without other stages beside it.
        stage: the stage that ran alone; "" for the whole video.
        seconds: wall time, with opening and closing of files.
        cores_busy: mean number of busy cores in this time.
    """

    setting: str
    condition: SpeedCase
    stage: str
    round: int
    frames: int
    seconds: float
    cores_busy: float
    part: Literal["speed"] = "speed"

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


@dataclass(frozen=True)
class StageRow:
    """Milliseconds that one stage takes for one frame (its share of a batch), over the ``n`` frames of all rounds."""

    setting: str
    condition: SpeedCase
    stage: str
    n: int
    p5_ms: float
    p50_ms: float
    p95_ms: float
    part: Literal["stage"] = "stage"


@dataclass(frozen=True)
class MemoryRow:
    """Resident memory of a process that has written ``frames`` frames of one video."""

    frames: int
    resident_mib: float
    part: Literal["memory"] = "memory"


@dataclass(frozen=True)
class FlickerRow:
    """Flicker of the toonified face of a drawn head.

    Attributes:
        head: "still" moves eyes and mouth only; "moving" moves as a whole.
        noise_px: standard deviation of the landmarks' error in pixels.
        jitter_px: mean distance by which the crop's corners move against the true ones, from each frame to the next.
        error_px: mean distance of the crop's corners from the true ones, in each frame.
        change: for a still head, the mean change from each frame to the next, in levels of 255, of pixels that do not
            change in the drawing.
    """

    head: Head
    smoothing: Smoothing
    noise_px: float
    jitter_px: tuple[float, ...]
    error_px: tuple[float, ...]
    change: tuple[float, ...] = ()
    part: Literal["flicker"] = "flicker"


@dataclass(frozen=True)
class FailureRow:
    """A measurement that failed, and its error."""

    what: str
    error: str
    part: Literal["failed"] = "failed"


Row = SpeedRow | StageRow | MemoryRow | FlickerRow | FailureRow


@dataclass(frozen=True)
class VideoResults:
    """One run of the benchmark; ``run`` is the UTC time of its start, ``cores`` the number of cores it could use."""

    run: str
    commit: str
    device: str
    cores: int
    versions: str
    rows: tuple[Annotated[Row, Field(discriminator="part")], ...]


def rows_or_failure(what: str, work: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    """The rows that ``work`` returns, or a single row with its error."""
    try:
        return work()
    except ToonifyError as error:
        return [FailureRow(what, str(error))]
    except Exception as error:  # whatever the error, the other measurements go on
        return [FailureRow(what, f"{type(error).__name__}: {error}")]


def write_results(path: Path, results: VideoResults) -> None:
    """Write a run as JSON, with one row on each line."""
    document = asdict(results)
    rows = ",\n".join(f"  {json.dumps(_rounded(row))}" for row in document.pop("rows"))
    head = json.dumps(document, indent=1).removesuffix("\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n')


def read_results(path: Path) -> VideoResults:
    """Read a file that ``write_results`` has written.

    Raises:
        pydantic.ValidationError: the file does not match the schema.
    """
    return TypeAdapter(VideoResults).validate_json(path.read_bytes())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
