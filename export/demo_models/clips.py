"""Short clips of a rendered character who blinks, turns and speaks in a room, with exact landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Picture
from export.demo_models.characters.render import draw_character_into
from export.demo_models.traits import INDEX

BLINK_SECONDS = 0.22


@dataclass(frozen=True)
class ClipFrame:
    """A picture, uint8 RGB [H, W, 3], its time in seconds, and its face's five points at rest, [5, 2] in pixels."""

    picture: Picture
    seconds: float
    points: NDArray[np.float64]


def talking_head(
    code: NDArray[np.float32],
    seconds: float,
    *,
    rate: float = 25,
    size: tuple[int, int] = (640, 480),
    seed: int = 0,
    motion: float = 1,
) -> Iterator[ClipFrame]:
    """Draw the frames of a clip, one at a time.

    Args:
        code: the person's traits, float32 [traits].
        seconds: length of the clip.
        rate: frames per second.
        size: width and height in pixels.
        seed: the seed of the times of blinking and of the mouth's movement.
        motion: amplitude of the head's motion; with 0 only eyes and mouth move.
    """
    rng = np.random.default_rng(seed)
    blinks = np.cumsum(rng.uniform(1.2, 3.0, int(seconds) + 2))
    pitch, phase = rng.uniform(5, 9, 3), rng.uniform(0, 6, 6)
    background = room(*size)
    for index in range(round(seconds * rate)):
        t = index / rate
        rest = code.copy()
        rest[INDEX["yaw"]] = 1.3 * np.sin(0.8 * t + phase[4]) * motion
        rest[INDEX["pitch"]] = 0.8 * np.sin(0.6 * t + phase[5]) * motion
        frame_code = rest.copy()
        frame_code[INDEX["eye_opening"]] = -2.5 * _blink_amount(t, blinks) + 0.3 * (1 - _blink_amount(t, blinks))
        speech = np.sin(pitch * t + phase[:3]).sum() * (np.sin(0.9 * t + phase[3]) > -0.5)
        frame_code[INDEX["mouth_opening"]] = np.clip(0.3 + 0.8 * speech, -0.5, 2.4)
        picture, points = draw_character_into(background, frame_code, _crop_placement(t, size, motion), rest=rest)
        yield ClipFrame(picture, t, points)


def _blink_amount(t: float, blinks: NDArray[np.float64]) -> float:
    """Return how far the eyes are shut at time ``t``: 1 in the middle of a blink, 0 between blinks."""
    return float(np.maximum(1 - np.abs(t - blinks) / (0.5 * BLINK_SECONDS), 0).max())


def _crop_placement(t: float, size: tuple[int, int], motion: float) -> NDArray[np.float64]:
    """Return the placement of the face's crop at time ``t``, [2, 3]."""
    width, height = size
    side = 0.56 * height * (1 + 0.05 * motion * np.sin(0.7 * t))
    angle = 0.09 * motion * np.sin(1.1 * t)
    centre = np.array([0.52 * width + 0.05 * width * motion * np.sin(0.5 * t), 0.43 * height])
    x = side * np.array([np.cos(angle), np.sin(angle)])
    y = np.array([-x[1], x[0]])
    return np.column_stack([x, y, centre - (x + y) / 2])


@cache
def room(width: int, height: int) -> Picture:
    """Draw a wall with a window and a shelf, out of focus, uint8 RGB [H, W, 3]; the result is cached and read-only."""
    fraction = np.linspace(0, 1, height)[:, None, None]
    wall = (1 - fraction) * np.array([206, 196, 176]) + fraction * np.array([158, 144, 126])
    pixels = np.ascontiguousarray(np.broadcast_to(wall, (height, width, 3)).astype(np.uint8))

    def box(left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        corners = np.rint(np.array([left, top, right, bottom]) * width).astype(int).tolist()
        cv2.rectangle(pixels, (corners[0], corners[1]), (corners[2], corners[3]), colour, -1)

    box(0.05, 0.05, 0.31, 0.46, (232, 228, 216))
    box(0.065, 0.065, 0.172, 0.445, (158, 196, 214))
    box(0.188, 0.065, 0.295, 0.445, (164, 202, 218))
    box(0.78, 0.25, 0.98, 0.265, (116, 86, 62))
    spines = [(150, 74, 66), (88, 110, 96), (196, 164, 96), (84, 92, 124), (140, 116, 130)]
    for index, colour in enumerate(spines):
        box(0.80 + 0.024 * index, 0.165 + 0.012 * (index % 3), 0.82 + 0.024 * index, 0.25, colour)
    blurred = cv2.GaussianBlur(pixels, (0, 0), 0.006 * width).astype(np.uint8)
    blurred.setflags(write=False)
    return blurred
