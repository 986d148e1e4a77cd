"""Stand-ins for everything that a session uses: toonifier, landmarks, frames, and drawn clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.controls import Style
from serving.faces.landmarks import CANONICAL_POINTS, Face
from serving.random_faces import Seeds, seed_list
from serving.video.frames import Frame

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

RATE = 25
"""Frames per second of every clip here."""


class _Closing:
    closed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1


@dataclass
class FakeToonifier(_Closing):
    """A toonifier whose codes are a face's mean level over 255.

    Its pictures, uint8 [N, 64, 64, 3], have the code's mean in red, the seed in green, and in blue 20 for each
    resolution of the transferred model's layers.

    Attributes:
        before: called at the start of every method.
        calls: the names of the called methods, with their numbers of faces or codes.
        light_rows: number of rows of a light code; None where there is no light encoder.
        attributes: the classifier; None where there is none.
        shown: the attributes that each rendering was given.
        styles: the style of each toonifying.
        rendered: the style of each rendering.
        reach: a face's code lies as far out as its highest level over this; None where that is not known.
    """

    before: Callable[[], Any] = lambda: None
    calls: list[tuple[str, int]] = field(default_factory=list)
    light_rows: int | None = None
    attributes: Callable[[Pixels], NDArray[np.float32]] | None = None
    shown: list[NDArray[np.float32] | None] = field(default_factory=list)
    styles: list[Style] = field(default_factory=list)
    rendered: list[Style] = field(default_factory=list)
    reach: float | None = None

    @property
    def has_light_encoder(self) -> bool:
        return self.light_rows is not None

    @property
    def reads_attributes(self) -> bool:
        return self.attributes is not None

    def encode(self, faces: Pixels, *, light: bool = False) -> NDArray[np.float32]:
        self._begin("light" if light else "encode", faces)
        return _codes(faces)[:, : self.light_rows if light else None]

    def encode_with_distance(
        self, faces: Pixels, *, light: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        return self.encode(faces, light=light), self._distances(faces)

    def read_attributes(self, faces: Pixels) -> NDArray[np.float32] | None:
        if self.attributes is None:
            return None
        self._begin("attributes", faces)
        return self.attributes(faces)

    def render(self, w: NDArray[np.float32], style: Style, shown: NDArray[np.float32] | None = None) -> Pixels:
        self._begin("render", w)
        self.shown.append(shown)
        self.rendered.append(style)
        return _pictures(w, style)

    def toonify(self, faces: Pixels, style: Style) -> Pixels:
        self._begin("toonify", faces)
        self.styles.append(style)
        return _pictures(_codes(faces), style)

    def toonify_with_distance(self, faces: Pixels, style: Style) -> tuple[Pixels, NDArray[np.float32] | None]:
        return self.toonify(faces, style), self._distances(faces)

    def _distances(self, faces: Pixels) -> NDArray[np.float32] | None:
        return None if self.reach is None else faces.reshape(len(faces), -1).max(1) / np.float32(self.reach)

    def sample_codes(self, seeds: Seeds, style: Style) -> NDArray[np.float32]:
        """Codes whose pictures have the seed's lowest byte in red."""
        means = np.float32([seed % 256 for seed in seed_list(seeds)]) / 255
        self._begin("sample", means)
        return np.broadcast_to(means[:, None, None], (len(means), 14, 4))

    def _begin(self, name: str, rows: NDArray[Any]) -> None:
        self.before()
        self.calls.append((name, len(rows)))


def _codes(faces: Pixels) -> NDArray[np.float32]:
    means = faces.reshape(len(faces), -1).mean(1, dtype=np.float64) / 255
    return np.broadcast_to(means[:, None, None], (len(faces), 14, 4)).astype(np.float32)


def _pictures(w: NDArray[np.float32], style: Style) -> Pixels:
    pictures = np.zeros((len(w), 64, 64, 3), np.uint8)
    pictures[..., 0] = np.rint(w.reshape(len(w), -1).mean(1) * 255)[:, None, None]
    pictures[..., 1] = style.seed
    pictures[..., 2] = round(20 * sum(style.blend or ())) + 20 * max((style.r_swap or 1).bit_length() - 2, 0)
    return pictures


@dataclass
class FakeSource(_Closing):
    """A source of frames from a list or from a generator function; ``frames_read`` counts those that were read."""

    frames: Sequence[Frame] | Callable[[], Iterator[Frame]]
    frame_count: int | None = None
    duration: float | None = None
    size: tuple[int, int] = (320, 240)
    frames_read: int = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames() if callable(self.frames) else self.frames:
            self.frames_read += 1
            yield frame


@dataclass
class FakeSink:
    """A sink that keeps the frames written to it; ``outcome`` is "whole" or "aborted" after the ``with`` block."""

    before: Callable[[Frame], Any] = lambda frame: None
    frames: list[Frame] = field(default_factory=list)
    outcome: str = "open"

    def write(self, frame: Frame) -> None:
        self.before(frame)
        self.frames.append(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.outcome = "aborted" if kind else "whole"


def face_at(x: float, y: float, side: float = 100, angle: float = 0) -> Face:
    """A face whose crop has about this centre and side (pixels) and this angle (radians)."""
    c, s = side * np.cos(angle), side * np.sin(angle)
    points = (CANONICAL_POINTS - 0.5) @ np.array([[c, s], [-s, c]]) + [x, y]
    return face_from_points(points)


def face_from_points(points: ArrayLike) -> Face:
    array = np.asarray(points, np.float64)
    low, size = array.min(0), np.ptp(array, 0)
    return Face(array, (low[0], low[1], size[0], size[1]), 1.0)


def landmarks(*frames: Sequence[Face]) -> Callable[[Pixels, str], tuple[Face, ...]]:
    """A landmarker that is given the faces of each frame by its number; later frames have those of the last one."""

    def find(photo: Pixels, name: str = "") -> tuple[Face, ...]:
        return tuple(frames[min(int(name), len(frames) - 1)])

    return find


def room(level: int = 120, width: int = 320, height: int = 240) -> Pixels:
    """A background with some texture that is brighter to the right."""
    slope = np.linspace(-30, 30, width)[None, :, None] + np.linspace(0, 20, height)[:, None, None]
    noise = np.random.default_rng(level).normal(0, 4, (height, width, 3))
    return np.clip(level + slope + noise, 0, 255).astype(np.uint8)


def drawn(face: Face, background: Pixels) -> Pixels:
    """Draw a simple head over a background, at the face's points."""
    pixels = background.copy()
    centre, size = face.points.mean(0), np.ptp(face.points[:, 0])
    axes = tuple(np.rint([1.3 * size, 1.7 * size]).astype(int).tolist())
    cv2.ellipse(pixels, _pixel(centre), axes, 0, 0, 360, (220, 180, 150), -1)
    for point in face.points:
        cv2.circle(pixels, _pixel(point), max(int(size / 6), 1), (40, 30, 30), -1)
    return pixels


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(point).astype(int).tolist()
    return x, y


def frames_of(pictures: Sequence[Pixels]) -> list[Frame]:
    return [Frame(picture, Fraction(i, RATE)) for i, picture in enumerate(pictures)]
