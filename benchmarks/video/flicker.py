"""How still a toonified face is, and how still smoothing makes it, on drawn heads whose landmarks are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.video.clip import RATE, KnownLandmarks, Points, StandIn
from benchmarks.video.rows import Flicker, Head, Row, attempted
from engines.contract.arrays import Picture
from export.demo_face import demo_code
from export.demo_models.clips import ClipFrame, talking_head
from serving.faces.alignment import Placement, placement_of_face, side_of
from serving.faces.paste import paste
from serving.toonifier import Toonifier
from serving.video.session import FrameResult, Smoothing, ToonSession
from serving.video.stability import ROW_WEIGHTS

NOISE = 1 / 600
"""Standard deviation of the landmarks' error in sides of the crop: about that of the eyes which OpenCV's Haar cascades
find in these drawings, after its mean is taken off."""

CASES: tuple[tuple[Smoothing, float], ...] = (("off", 0.0), ("off", NOISE), ("live", NOISE), ("file", NOISE))
MOTION: dict[Head, float] = {"still": 0.0, "moving": 1.0}

CORNERS = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])


def corners(placements: Sequence[Placement]) -> NDArray[np.float64]:
    """The corners of crops in the frame, [N, 4, 2], in pixels."""
    return np.array([(placement @ CORNERS).T for placement in placements])


def lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean length of the corners' vectors: [N, 4, 2] -> [N]."""
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]).mean(1))


def jitter(found: Sequence[Placement], true: Sequence[Placement]) -> NDArray[np.float64]:
    """Mean distance in pixels by which the corners move against the true ones from frame to frame, [N - 1]."""
    return lengths(np.diff(corners(found) - corners(true), axis=0))


def error(found: Sequence[Placement], true: Sequence[Placement]) -> NDArray[np.float64]:
    """Mean distance in pixels of the corners from the true ones, [N]."""
    return lengths(corners(found) - corners(true))


def change(pictures: Sequence[Picture], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean change of the pixels at ``where`` [H, W], in levels of 255, from frame to frame, [N - 1]."""
    shown = np.array([picture[where] for picture in pictures], np.int16)
    return np.asarray(np.abs(np.diff(shown, axis=0)).mean((1, 2)))


def still_parts(pictures: Sequence[Picture], placement: Placement) -> NDArray[np.bool_]:
    """Where a clip never changes, nor close by, although a picture of this placement covers it: [H, W]."""
    moved = np.ptp(np.array(pictures), axis=0).max(-1) > 0
    reach = round(side_of(placement) / 16)
    near = cv2.dilate(moved.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    covered = paste(np.zeros_like(pictures[0]), np.full((256, 256, 3), 255, np.uint8), placement)
    return np.asarray((near == 0) & (covered[..., 0] > 127))


def measure_flicker(toonifier: Toonifier, frames: int) -> list[Row]:
    """A still head and a moving one, without smoothing and with each kind of it.

    Only of the still one are pictures compared, so that only it is toonified by ``toonifier``.
    """
    rows: list[Row] = []
    for head, motion in MOTION.items():
        clip = [*talking_head(demo_code(), frames / RATE, rate=RATE, motion=motion)]
        for smoothing, noise in CASES:
            work = partial(_rows, toonifier, clip, head, smoothing, noise)
            rows += attempted(f"flicker, {head} head, smoothing {smoothing}", work)
    return rows


def _rows(
    toonifier: Toonifier, clip: Sequence[ClipFrame], head: Head, smoothing: Smoothing, noise: float
) -> list[Flicker]:
    true = [placement_of_face(frame.points) for frame in clip]
    sigma = noise * side_of(true[0])
    points = _noisy([frame.points for frame in clip], sigma)
    results = _toonified(toonifier if head == "still" else StandIn(), clip, points, smoothing)
    found = [result.faces[0].placement for result in results]
    changes: tuple[float, ...] = ()
    if head == "still":
        where = still_parts([frame.picture for frame in clip], true[0])
        changes = tuple(change([result.pixels for result in results], where).tolist())
    jitters, errors = jitter(found, true).tolist(), error(found, true).tolist()
    return [Flicker(head, smoothing, sigma, tuple(jitters), tuple(errors), changes)]


def _noisy(points: Sequence[Points], sigma: float) -> list[Points]:
    rng = np.random.default_rng(0)
    return [each + rng.normal(0, sigma, each.shape) for each in points]


def _toonified(
    toonifier: Toonifier, clip: Sequence[ClipFrame], points: Sequence[Points], smoothing: Smoothing
) -> list[FrameResult]:
    codes = None if smoothing == "off" else ROW_WEIGHTS  # as the command `toonify video` has it
    with ToonSession(toonifier, KnownLandmarks(points), smoothing=smoothing, codes=codes) as session:
        given = [session.push(frame.picture, Fraction(number, RATE)) for number, frame in enumerate(clip)]
        return [result for result in given if result] + session.flush()
