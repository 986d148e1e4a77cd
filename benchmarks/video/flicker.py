"""Flicker of a toonified face, with and without smoothing, on drawn heads whose landmarks are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.video.clip import RATE, KnownLandmarks, Points, StandInToonifier
from benchmarks.video.rows import FlickerRow, Head, Row, rows_or_failure
from engines.contract.arrays import Picture
from export.demo_face import demo_code
from export.demo_models.clips import ClipFrame, talking_head
from serving.faces.alignment import Placement, placement_of_face, side_of
from serving.faces.paste import paste
from serving.toonifier import Toonifier
from serving.video.jobs import FrameResult
from serving.video.session import Smoothing, ToonSession
from serving.video.stability import ROW_WEIGHTS

NOISE = 1 / 600
"""Standard deviation of the landmarks' error, relative to the crop's side: about that of the eyes that OpenCV's Haar
cascades find in these drawings, without the error's mean."""

CASES: tuple[tuple[Smoothing, float], ...] = (("off", 0.0), ("off", NOISE), ("live", NOISE), ("file", NOISE))
MOTION: dict[Head, float] = {"still": 0.0, "moving": 1.0}

CORNERS = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])


def corners(placements: Sequence[Placement]) -> NDArray[np.float64]:
    """The crops' corners in pixels of the frame, [N, 4, 2]."""
    return np.array([(placement @ CORNERS).T for placement in placements])


def mean_lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean length of the four corners' vectors: [N, 4, 2] -> [N]."""
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]).mean(1))


def jitter(estimated: Sequence[Placement], true: Sequence[Placement]) -> NDArray[np.float64]:
    """Mean distance in pixels by which the corners move against the true ones from frame to frame, [N - 1]."""
    return mean_lengths(np.diff(corners(estimated) - corners(true), axis=0))


def error(estimated: Sequence[Placement], true: Sequence[Placement]) -> NDArray[np.float64]:
    """Mean distance of the corners from the true ones in pixels, [N]."""
    return mean_lengths(corners(estimated) - corners(true))


def change(pictures: Sequence[Picture], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean change from frame to frame of the pixels at ``where`` [H, W], in levels of 255, [N - 1]."""
    shown = np.array([picture[where] for picture in pictures], np.int16)
    return np.asarray(np.abs(np.diff(shown, axis=0)).mean((1, 2)))


def still_parts(pictures: Sequence[Picture], placement: Placement) -> NDArray[np.bool_]:
    """A mask [H, W] of pixels that a pasted picture covers, and near which the clip itself never changes."""
    moved = np.ptp(np.array(pictures), axis=0).max(-1) > 0
    reach = round(side_of(placement) / 16)
    near = cv2.dilate(moved.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    covered = paste(np.zeros_like(pictures[0]), np.full((256, 256, 3), 255, np.uint8), placement)
    return np.asarray((near == 0) & (covered[..., 0] > 127))


def measure_flicker(toonifier: Toonifier, frames: int) -> list[Row]:
    """Rows for a still and for a moving head, without smoothing and with each kind of it.

    Only the still head is toonified by ``toonifier``, since only its pictures are compared.
    """
    rows: list[Row] = []
    for head, motion in MOTION.items():
        clip = [*talking_head(demo_code(), frames / RATE, rate=RATE, motion=motion)]
        for smoothing, noise in CASES:
            work = partial(_rows, toonifier, clip, head, smoothing, noise)
            rows += rows_or_failure(f"flicker, {head} head, smoothing {smoothing}", work)
    return rows


def _rows(
    toonifier: Toonifier, clip: Sequence[ClipFrame], head: Head, smoothing: Smoothing, noise: float
) -> list[FlickerRow]:
    true = [placement_of_face(frame.points) for frame in clip]
    sigma = noise * side_of(true[0])
    points = _noisy([frame.points for frame in clip], sigma)
    results = _toonified(toonifier if head == "still" else StandInToonifier(), clip, points, smoothing)
    estimated = [result.faces[0].placement for result in results]
    changes: tuple[float, ...] = ()
    if head == "still":
        where = still_parts([frame.picture for frame in clip], true[0])
        changes = tuple(change([result.pixels for result in results], where).tolist())
    jitters, errors = jitter(estimated, true).tolist(), error(estimated, true).tolist()
    return [FlickerRow(head, smoothing, sigma, tuple(jitters), tuple(errors), changes)]


def _noisy(points: Sequence[Points], sigma: float) -> list[Points]:
    rng = np.random.default_rng(0)
    return [each + rng.normal(0, sigma, each.shape) for each in points]


def _toonified(
    toonifier: Toonifier, clip: Sequence[ClipFrame], points: Sequence[Points], smoothing: Smoothing
) -> list[FrameResult]:
    codes = None if smoothing == "off" else ROW_WEIGHTS  # as in the command `toonify video`
    with ToonSession(toonifier, KnownLandmarks(points), smoothing=smoothing, codes=codes) as session:
        pushed = [session.push(frame.picture, Fraction(number, RATE)) for number, frame in enumerate(clip)]
        return [result for result in pushed if result] + session.flush()
