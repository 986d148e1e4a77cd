"""Painting filled outlines with soft edges, each in a window of the picture around the outline."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, radians, sin

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Pixels = NDArray[np.float32]
Points = NDArray[np.float64]
Colour = tuple[float, float, float] | Pixels
"""One RGB colour in 0..255, or a picture of the canvas's size that gives each pixel's colour."""

_FRACTIONAL_BITS = 4


@dataclass(frozen=True)
class Canvas:
    """A picture being painted.

    Args:
        pixels: float32 [H, W, 3] RGB in 0..255, painted in place.
        matrix: the affine map from the face's coordinates to pixel indices, float64 [2, 3].
    """

    pixels: Pixels
    matrix: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Pixels per unit of the face."""
        return float(np.hypot(*self.matrix[:, 0]))

    def grid(self) -> tuple[Pixels, Pixels]:
        """Return the face's coordinates x and y of every pixel, float32 [H, W] each."""
        height, width = self.pixels.shape[:2]
        a, b = np.linalg.inv(self.matrix[:, :2]).astype(np.float32)
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        dx, dy = x - np.float32(self.matrix[0, 2]), y - np.float32(self.matrix[1, 2])
        return a[0] * dx + a[1] * dy, b[0] * dx + b[1] * dy

    def mask(self, outline: Points, blur: float = 0) -> Pixels:
        """Return an outline's coverage, float32 [H, W] in 0..1; ``blur`` is a standard deviation in the face's unit."""
        mask = np.zeros(self.pixels.shape[:2], np.float32)
        window, coverage = self._coverage(outline, blur)
        mask[window] = coverage
        return mask

    def fill(
        self, outline: Points, colour: Colour, opacity: float = 1, blur: float = 0, inside: Pixels | None = None
    ) -> None:
        """Paint an outline; ``inside``, if given, is a mask [H, W] in 0..1 that limits it."""
        if opacity <= 0:
            return
        window, coverage = self._coverage(outline, blur)
        if inside is not None:
            coverage = coverage * inside[window]
        pixels = self.pixels[window]
        source = colour[window] if isinstance(colour, np.ndarray) else np.array(colour, np.float32)
        pixels += (opacity * coverage)[:, :, None] * (source - pixels)

    def stroke(self, line: Points, width: float, colour: Colour, opacity: float = 1, *, closed: bool = False) -> None:
        """Draw a line of constant width, in the face's unit, along points."""
        window = self._window(line, width)
        points = self._window_points(line, window)
        coverage = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
        # OpenCV's line widths are whole pixels; drawing at three times the size allows thirds and smooths the edge.
        fine = cv2.resize(coverage, None, fx=3, fy=3) if coverage.size else coverage
        if not fine.size:
            return
        thickness = max(round(3 * width * self.scale), 1)
        scaled = np.rint((points * 3 + 1) * 2**_FRACTIONAL_BITS).astype(np.int32)
        cv2.polylines(fine, [scaled], closed, (255,), thickness, cv2.LINE_AA, shift=_FRACTIONAL_BITS)
        cover = cv2.resize(fine, coverage.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        pixels = self.pixels[window]
        source = colour[window] if isinstance(colour, np.ndarray) else np.array(colour, np.float32)
        pixels += (opacity * cover)[:, :, None] * (source - pixels)

    def _coverage(self, outline: Points, blur: float) -> tuple[tuple[slice, slice], Pixels]:
        window = self._window(outline, 3 * blur)
        coverage = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
        if not coverage.size:
            return window, coverage.astype(np.float32)
        points = np.rint(self._window_points(outline, window) * 2**_FRACTIONAL_BITS).astype(np.int32)
        cv2.fillPoly(coverage, [points], (255,), cv2.LINE_AA, shift=_FRACTIONAL_BITS)
        soft = coverage.astype(np.float32) / 255
        sigma = blur * self.scale
        return window, cv2.GaussianBlur(soft, (0, 0), sigma).astype(np.float32) if sigma > 0.3 else soft

    def _window(self, outline: Points, margin: float) -> tuple[slice, slice]:
        points = outline @ self.matrix[:, :2].T + self.matrix[:, 2]
        reach = ceil(margin * self.scale) + 2
        height, width = self.pixels.shape[:2]
        (x0, y0), (x1, y1) = np.floor(points.min(0)).astype(int) - reach, np.ceil(points.max(0)).astype(int) + reach
        left, top = min(max(x0, 0), width), min(max(y0, 0), height)
        return slice(top, max(min(y1, height), top)), slice(left, max(min(x1, width), left))

    def _window_points(self, outline: Points, window: tuple[slice, slice]) -> Points:
        placed: Points = outline @ self.matrix[:, :2].T + self.matrix[:, 2] - (window[1].start, window[0].start)
        return placed


def ellipse(x: float, y: float, width: float, height: float, tilt: float = 0, power: float = 2) -> Points:
    """Return a superellipse by centre, half axes and clockwise tilt in degrees; power 2 gives an ellipse.

    A higher power is nearer to a rectangle.
    """
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    shape = np.stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], 1)
    turn = np.array([(cos(radians(tilt)), sin(radians(tilt))), (-sin(radians(tilt)), cos(radians(tilt)))])
    points: Points = (shape * (width, height)) @ turn + (x, y)
    return points


def translated(points: Points, right: float, down: float) -> Points:
    """Return the outline shifted to the right and down."""
    placed: Points = points + np.array((right, down))
    return placed


def closed_curve(points: ArrayLike) -> Points:
    """Return the closed Catmull-Rom curve through points."""
    p = np.asarray(points, np.float64)
    return _spline(*(np.roll(p, shift, axis=0) for shift in (1, 0, -1, -2)))


def open_curve(points: ArrayLike) -> Points:
    """Return the Catmull-Rom curve from the first point to the last."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    return np.concatenate([_spline(p[:-3], p[1:-2], p[2:-1], p[3:]), p[-2:-1]])


def mirrored(right: ArrayLike) -> Points:
    """Return the closed curve through points right of x = 0.5, given from top to bottom, and their mirror images."""
    p = np.asarray(right, np.float64)
    left = p[::-1][np.abs(p[::-1, 0] - 0.5) > 1e-9] * (-1, 1) + (1, 0)
    return closed_curve(np.concatenate([p, left]))


def brush(points: ArrayLike, width: float) -> Points:
    """Return the outline of a brush stroke along a curve, tapered at both ends."""
    middle = open_curve(points)
    tangent = np.gradient(middle, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / np.hypot(tangent[:, :1], tangent[:, 1:])
    offset = normal * (0.5 * width * np.sin(np.pi * np.linspace(0, 1, len(middle))) ** 0.6)[:, None]
    return np.concatenate([middle + offset, (middle - offset)[::-1]])


def _spline(a: Points, b: Points, c: Points, d: Points) -> Points:
    t = np.linspace(0, 1, 10, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None] for p in (a, b, c, d))
    curve: Points = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return curve.reshape(-1, 2)
