"""Inputs of the video benchmark: drawn clips with sound, their landmarks, and a stand-in for the models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from threading import Lock

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray, Codes, Picture, Pictures
from engines.contract.closing import Closing
from export.demo_face import demo_code
from export.demo_models.clips import talking_head
from serving.controls import Style
from serving.faces.landmarks import Face, box_around

Points = NDArray[np.float64]

RATE = 25
SAMPLE_RATE = 48000
DRAWN_HEIGHT = 540
"""Larger frames are drawn at this height and enlarged, since drawing takes time and sharpness is not measured."""
CAMERA_NOISE = 2.0
"""Standard deviation of a camera's noise in levels of 255; without noise a drawing would be too easy to encode."""


@dataclass(frozen=True)
class DrawnClip:
    """A video file, and the five points [5, 2] of the face in each of its frames."""

    path: Path
    points: Sequence[Points]


def draw_clip(path: Path, size: tuple[int, int], frames: int, *, drawn: int) -> DrawnClip:
    """Write a clip as H.264 with a tone in AAC.

    Args:
        path: a file of a container format that takes both, such as MP4.
        size: width and height in pixels.
        frames: number of frames.
        drawn: number of different frames; the clip plays them forwards and backwards.
    """
    scale = max(size[1] / DRAWN_HEIGHT, 1.0)
    small = round(size[0] / scale), round(size[1] / scale)
    forwards = [*talking_head(demo_code(), drawn / RATE, rate=RATE, size=small)]
    shown = [*islice(cycle([*forwards, *reversed(forwards)]), frames)]
    _write(path, _with_camera_noise((frame.picture for frame in shown), size), size, frames)
    return DrawnClip(path, [(frame.points + 0.5) * scale - 0.5 for frame in shown])


def _with_camera_noise(pictures: Iterable[Picture], size: tuple[int, int]) -> Iterator[Picture]:
    """The pictures in full size with a camera's noise, cut for each frame from one noise field, which costs little."""
    rng = np.random.default_rng(0)
    width, height = size
    field = np.rint(rng.normal(0, CAMERA_NOISE, (height + 64, width + 64, 1))).astype(np.int16)
    for picture in pictures:
        x, y = rng.integers(64, size=2)
        large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        yield np.clip(large + field[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def _write(path: Path, pictures: Iterable[Picture], size: tuple[int, int], frames: int) -> None:
    with av.open(str(path), "w") as output:
        options = {"preset": "veryfast", "crf": "18"}
        video = output.add_stream("libx264", rate=RATE, width=size[0], height=size[1], options=options)
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for tone in _tones(frames / RATE):
            output.mux(sound.encode(tone))
        output.mux(sound.encode(None))


def _tones(seconds: float) -> Iterator[av.AudioFrame]:
    length = 1024
    for first in range(0, round(seconds * SAMPLE_RATE), length):
        wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(first, first + length) / SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.int16), 2)[None], "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
        yield frame


@dataclass(frozen=True)
class KnownLandmarks:
    """A landmarker that is given the points [5, 2] of every frame, and finds them by the frame's number."""

    points: Sequence[Points]

    def __call__(self, photo: Picture, name: str = "") -> tuple[Face, ...]:
        """See ``serving.faces.landmarks.Landmarker``."""
        points = self.points[int(name)]
        return (Face(points, box_around(points), 1.0),)


class StandInToonifier(Closing):
    """Stand-in for models on an accelerator: it waits for each picture, one batch at a time, and uses no core.

    Args:
        seconds: waiting time for each picture.
    """

    has_light_encoder = False

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._lock = Lock()

    def toonify(self, faces: Pictures, style: Style) -> Pictures:
        """See ``serving.toonifier.Toonifier``."""
        return self.render(self.encode(faces), style)

    def toonify_with_distance(self, faces: Pictures, style: Style) -> tuple[Pictures, None]:
        """Toonify faces; how far out their codes lie is not known."""
        return self.toonify(faces, style), None

    def encode(self, faces: Pictures, *, light: bool = False) -> Codes:
        """Return codes of zeros, float32 [N, 14, 8], without waiting."""
        return np.zeros((len(faces), 14, 8), np.float32)

    def encode_with_distance(self, faces: Pictures, *, light: bool = False) -> tuple[Codes, None]:
        """Encode faces; how far out their codes lie is not known."""
        return self.encode(faces, light=light), None

    def read_attributes(self, faces: Pictures) -> AnyArray | None:
        """Return None: there is no classifier."""
        return None

    def render(self, w: Codes, style: Style, shown: AnyArray | None = None) -> Pictures:
        """Return grey pictures, uint8 [N, 256, 256, 3], after waiting for each."""
        with self._lock:
            time.sleep(self._seconds * len(w))
        return np.full((len(w), 256, 256, 3), 128, np.uint8)
