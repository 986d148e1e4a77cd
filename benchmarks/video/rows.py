"""The schema of ``results/video.json``: facts of the run, and a row for each thing that was measured or has failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from engines.contract.errors import ToonifyError
from serving.video.session import Smoothing

Condition = Literal["toonify_video", "one thread", "alone"]
Head = Literal["still", "moving"]

DIGITS = 5
"""Significant ones of every number in the file."""


@dataclass(frozen=True)
class Speed:
    """One turn of one condition; the conditions of a setting and a round ran after each other.

    Attributes:
        setting: which models and landmarks.
        condition: "alone" is one stage with nothing beside it.
        stage: "" for the whole.
        seconds: opening and closing of files included.
        cores_busy: on average, in the time of this row.
    """

    setting: str
    condition: Condition
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
class Stage:
    """Milliseconds of one stage for one frame, over all rounds; of a batch, the frame's share. ``n``: frames."""

    setting: str
    condition: Condition
    stage: str
    n: int
    p5_ms: float
    p50_ms: float
    p95_ms: float
    part: Literal["stage"] = "stage"


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process that has written so many frames of one video."""

    frames: int
    resident_mib: float
    part: Literal["memory"] = "memory"


@dataclass(frozen=True)
class Flicker:
    """How still the toonified face of a drawn head is.

    Attributes:
        head: "still" moves eyes and mouth only.
        noise_px: standard deviation of the landmarks' error.
        jitter_px: mean distance by which the crop's corners move against the true ones, from each frame to the next.
        error_px: mean distance of the crop's corners from the true ones, in each frame.
        change: mean change, in levels of 255, of the pixels that the drawing keeps, from each frame to the next; of a
            still head.
    """

    head: Head
    smoothing: Smoothing
    noise_px: float
    jitter_px: tuple[float, ...]
    error_px: tuple[float, ...]
    change: tuple[float, ...] = ()
    part: Literal["flicker"] = "flicker"


@dataclass(frozen=True)
class Failed:
    """What could not be measured, and why."""

    what: str
    error: str
    part: Literal["failed"] = "failed"


Row = Speed | Stage | Memory | Flicker | Failed


@dataclass(frozen=True)
class Figures:
    """One run of the benchmark. ``run``: UTC time of its start. ``cores``: that it could use."""

    run: str
    commit: str
    device: str
    cores: int
    versions: str
    rows: tuple[Annotated[Row, Field(discriminator="part")], ...]


def attempted(what: str, work: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    """The rows that ``work`` gives, or the one that says why there are none."""
    try:
        return work()
    except ToonifyError as error:
        return [Failed(what, str(error))]
    except Exception as error:  # whatever it is, the other measurements are worth having
        return [Failed(what, f"{type(error).__name__}: {error}")]


def write_figures(path: Path, figures: Figures) -> None:
    """Write a run as JSON, a row on each line."""
    facts = asdict(figures)
    rows = ",\n".join(f"  {json.dumps(_rounded(row))}" for row in facts.pop("rows"))
    head = json.dumps(facts, indent=1).removesuffix("\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n')


def read_figures(path: Path) -> Figures:
    """Read what ``write_figures`` has written.

    Raises:
        pydantic.ValidationError: the file is not of the schema.
    """
    return TypeAdapter(Figures).validate_json(path.read_bytes())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
