"""A drawn face for demonstrations, so that no person's photograph has to be shipped.

The portrait is a list of filled outlines, back to front, in the coordinates of an FFHQ-aligned crop: x to the right and
y down, the crop's side being 1. The same list is drawn as an aligned face and, turned, scaled and moved, into a
photograph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.landmarks import CANONICAL_POINTS
from serving.tensors import FACE_SIZE

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = tuple[int, int, int]

SKIN, LIGHT, SHADE, DEEP = (232, 184, 154), (250, 216, 192), (196, 136, 106), (132, 74, 56)
HAIR, HAIR_LIGHT = (70, 44, 32), (118, 78, 52)
LIP, LIP_LIGHT, BLUSH = (190, 96, 88), (224, 142, 130), (226, 142, 122)
WHITE, IRIS, BLACK = (246, 242, 238), (72, 108, 120), (26, 20, 20)
CLOTH, CLOTH_DARK = (58, 98, 122), (38, 68, 90)


@dataclass(frozen=True)
class Layer:
    """A filled outline; ``blur`` is the standard deviation of its edge, ``inside`` an outline that clips it."""

    outline: Points
    colour: Colour
    opacity: float = 1.0
    blur: float = 0.0
    inside: Points | None = None


@dataclass(frozen=True)
class Placement:
    """Where a unit square lies on a canvas: turned about its centre (degrees, clockwise), scaled and moved (pixels)."""

    side: float
    angle: float = 0.0
    corner: tuple[float, float] = (0.0, 0.0)

    def pixels(self, points: Points) -> Points:
        """Points of the square in pixels of the canvas, the first pixel's centre being (0, 0)."""
        placed: Points = (_turned(points - 0.5, self.angle) + 0.5) * self.side + np.array(self.corner) - 0.5
        return placed


def demo_face() -> Picture:
    """The face as an aligned crop: uint8 RGB [256, 256, 3]."""
    canvas = _gradient(FACE_SIZE, FACE_SIZE, (120, 146, 160), (204, 204, 192))
    return _drawn(canvas, _portrait(), Placement(FACE_SIZE))


def demo_photograph() -> tuple[Picture, Points]:
    """The face off the centre of a photograph, turned by 14 degrees.

    Returns:
        The photograph, uint8 RGB [480, 640, 3], and its five points in the order of ``CANONICAL_POINTS``, [5, 2],
        x and y in pixels, the first pixel's centre being (0, 0).
    """
    room = _drawn(_gradient(480, 640, (206, 196, 176), (158, 144, 126)), _room(), Placement(640))
    placement = Placement(230, 14, (240, 60))
    return _drawn(room, _portrait(), placement), placement.pixels(CANONICAL_POINTS)


def _drawn(canvas: Picture, layers: Iterable[Layer], placement: Placement) -> Picture:
    pixels = canvas.astype(np.float32)
    for layer in layers:
        mask = _mask(canvas, placement.pixels(layer.outline), layer.blur * placement.side)
        if layer.inside is not None:
            mask *= _mask(canvas, placement.pixels(layer.inside), 0)
        pixels += layer.opacity * mask[:, :, None] * (np.array(layer.colour, np.float32) - pixels)
    return np.rint(pixels).astype(np.uint8)


def _mask(canvas: Picture, outline: Points, blur: float) -> NDArray[np.float32]:
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], (255,), cv2.LINE_AA, shift=4)  # 4 fractional bits
    soft = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(soft, (0, 0), blur).astype(np.float32) if blur > 0.3 else soft


def _gradient(height: int, width: int, top: Colour, bottom: Colour) -> Picture:
    fraction = np.linspace(0, 1, height)[:, None, None]
    column = (1 - fraction) * np.array(top) + fraction * np.array(bottom)
    return np.broadcast_to(column, (height, width, 3)).astype(np.uint8)


def _turned(points: Points, degrees: float) -> Points:
    c, s = cos(radians(degrees)), sin(radians(degrees))
    turned: Points = points @ np.array([(c, s), (-s, c)])
    return turned


def _ellipse(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> Points:
    """By centre, half axes and tilt in degrees."""
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    ellipse: Points = _turned(np.stack([width * np.cos(t), height * np.sin(t)], 1), tilt) + np.array((x, y))
    return ellipse


def _closed(*points: tuple[float, float]) -> Points:
    """The closed Catmull-Rom curve through the points."""
    p = np.array(points)
    t = np.linspace(0, 1, 12, endpoint=False)[None, :, None]
    a, b, c, d = (np.roll(p, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    curve: Points = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return curve.reshape(-1, 2)


def _symmetric(*right: tuple[float, float]) -> Points:
    """A closed curve through points on the right and their mirror images."""
    return _closed(*right, *((1 - x, y) for x, y in reversed(right) if x != 0.5))


def _brush(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """A stroke along a quadratic Bezier curve, tapering to both ends."""
    t = np.linspace(0, 1, 24)[:, None]
    middle = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t**2 * np.array(end)
    tangent = np.gradient(middle, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = normal * (0.5 * width * np.sin(np.pi * t) ** 0.6)
    return np.concatenate([middle + offset, (middle - offset)[::-1]])


def _portrait() -> list[Layer]:
    head = _symmetric(
        (0.5, 0.14), (0.64, 0.165), (0.735, 0.28), (0.757, 0.45), (0.742, 0.62), (0.685, 0.775), (0.59, 0.88),
        (0.5, 0.912),
    )  # fmt: skip
    return [*_body(), *_head(head), *_hair(head), *_eye(head, -1), *_eye(head, 1), *_nose(), *_mouth(head)]


def _body() -> list[Layer]:
    hair = _symmetric((0.5, 0.05), (0.70, 0.09), (0.815, 0.25), (0.812, 0.42), (0.765, 0.575), (0.5, 0.65))
    neck = _symmetric((0.5, 0.72), (0.60, 0.74), (0.602, 0.90), (0.64, 0.98), (0.5, 1.10))
    shirt = _symmetric((0.5, 1.05), (0.62, 0.975), (0.80, 1.02), (1.02, 1.12), (1.18, 1.45), (1.24, 2.3), (0.5, 2.4))
    return [
        Layer(hair, HAIR, blur=0.004),
        Layer(neck, SHADE, blur=0.003),
        Layer(_ellipse(0.55, 0.98, 0.06, 0.09), SKIN, 0.7, 0.03, neck),
        Layer(_ellipse(0.5, 0.86, 0.17, 0.07), DEEP, 0.45, 0.025, neck),
        Layer(shirt, CLOTH, blur=0.002),
        Layer(_brush((-0.12, 1.2), (0.1, 1.6), (0.05, 2.3), 0.30), CLOTH_DARK, 0.7, 0.06, shirt),
        Layer(_brush((0.92, 1.5), (1.02, 1.7), (0.98, 2.3), 0.06), CLOTH_DARK, 0.7, 0.02, shirt),
        Layer(_brush((0.355, 0.955), (0.5, 1.20), (0.645, 0.955), 0.05), CLOTH_DARK, 1, 0.002),
    ]


def _head(head: Points) -> list[Layer]:
    return [
        Layer(_ellipse(0.238, 0.515, 0.034, 0.072), SKIN, blur=0.002),
        Layer(_ellipse(0.238, 0.515, 0.017, 0.045), SHADE, 0.7, 0.008),
        Layer(_ellipse(0.762, 0.515, 0.034, 0.072), SKIN, blur=0.002),
        Layer(_ellipse(0.762, 0.515, 0.017, 0.045), SHADE, 0.7, 0.008),
        Layer(head, SKIN, blur=0.002),
        Layer(_ellipse(0.27, 0.55, 0.085, 0.36), SHADE, 0.75, 0.05, head),
        Layer(_ellipse(0.765, 0.55, 0.04, 0.34), SHADE, 0.55, 0.04, head),
        Layer(_ellipse(0.5, 0.925, 0.22, 0.055), SHADE, 0.7, 0.03, head),
        Layer(_ellipse(0.545, 0.32, 0.13, 0.06), LIGHT, 0.7, 0.045, head),
        Layer(_ellipse(0.655, 0.585, 0.055, 0.05), LIGHT, 0.6, 0.03, head),
        Layer(_ellipse(0.345, 0.625, 0.065, 0.045), BLUSH, 0.5, 0.03, head),
        Layer(_ellipse(0.665, 0.635, 0.06, 0.042), BLUSH, 0.4, 0.03, head),
        Layer(_ellipse(0.51, 0.845, 0.06, 0.03), LIGHT, 0.5, 0.022, head),
    ]


def _hair(head: Points) -> list[Layer]:
    fringe = _closed(
        (0.225, 0.47), (0.195, 0.30), (0.265, 0.135), (0.40, 0.055), (0.56, 0.04), (0.715, 0.105), (0.805, 0.27),
        (0.778, 0.47), (0.752, 0.355), (0.70, 0.27), (0.60, 0.235), (0.47, 0.265), (0.345, 0.245), (0.275, 0.33),
    )  # fmt: skip
    strands = [
        Layer(_brush((0.33, 0.22), (0.45, 0.07), (0.66, 0.17), 0.035), HAIR_LIGHT, 0.6, 0.014, fringe),
        Layer(_brush((0.60, 0.08), (0.75, 0.14), (0.775, 0.36), 0.03), HAIR_LIGHT, 0.55, 0.012, fringe),
        Layer(_brush((0.225, 0.36), (0.235, 0.18), (0.36, 0.09), 0.024), HAIR_LIGHT, 0.4, 0.012, fringe),
    ]
    shadow = Layer(fringe + np.array((0.0, 0.022)), DEEP, 0.35, 0.018, head)
    return [shadow, Layer(fringe, HAIR, blur=0.003), *strands]


def _eye(head: Points, side: int) -> list[Layer]:
    """The image-left (-1) or image-right (1) eye and its brow."""
    x, y = CANONICAL_POINTS[0 if side < 0 else 1]

    def at(outwards: float, down: float) -> tuple[float, float]:
        return x + side * outwards, y + down

    white = _closed(
        at(-0.056, 0.010), at(-0.03, -0.018), at(0.005, -0.027), at(0.038, -0.016), at(0.058, 0.002), at(0.03, 0.018),
        at(-0.01, 0.023),
    )  # fmt: skip
    return [
        Layer(_ellipse(*at(-0.01, -0.02), 0.085, 0.045), SHADE, 0.6, 0.022, head),
        Layer(white, WHITE, blur=0.0015),
        Layer(_ellipse(*at(0, -0.003), 0.0275, 0.0275), IRIS, 1, 0.0015, white),
        Layer(_ellipse(*at(0, -0.003), 0.0125, 0.0125), BLACK, 1, 0.0015, white),
        Layer(_brush(at(-0.056, 0.004), at(0.0, -0.05), at(0.058, -0.004), 0.022), BLACK, 0.35, 0.006, white),
        Layer(_ellipse(x + 0.009, y - 0.012, 0.006, 0.006), WHITE, 1, 0.001),
        Layer(_brush(at(-0.058, 0.012), at(0.0, -0.062), at(0.066, -0.002), 0.011), BLACK, 0.9, 0.0015),
        Layer(_brush(at(-0.045, -0.022), at(0.0, -0.07), at(0.06, -0.022), 0.006), DEEP, 0.55, 0.003),
        Layer(_brush(at(-0.04, 0.02), at(0.005, 0.034), at(0.05, 0.012), 0.005), DEEP, 0.5, 0.002),
        Layer(_brush(at(-0.068, -0.068), at(0.0, -0.115), at(0.085, -0.06), 0.026), HAIR, 0.9, 0.003),
    ]


def _nose() -> list[Layer]:
    x, y = CANONICAL_POINTS[2]
    return [
        Layer(_brush((0.463, 0.45), (0.475, 0.55), (0.452, 0.625), 0.03), SHADE, 0.6, 0.014),
        Layer(_brush((0.505, 0.43), (0.51, 0.53), (0.506, 0.60), 0.022), LIGHT, 0.8, 0.009),
        Layer(_ellipse(x + 0.006, y - 0.008, 0.022, 0.018), LIGHT, 0.7, 0.009),
        Layer(_brush((x - 0.056, y + 0.002), (x - 0.05, y + 0.05), (x - 0.018, y + 0.03), 0.012), DEEP, 0.6, 0.004),
        Layer(_brush((x + 0.056, y + 0.002), (x + 0.05, y + 0.05), (x + 0.018, y + 0.03), 0.012), DEEP, 0.5, 0.004),
        Layer(_brush((x - 0.02, y + 0.03), (x, y + 0.042), (x + 0.02, y + 0.03), 0.012), SHADE, 0.9, 0.005),
        Layer(_ellipse(x - 0.026, y + 0.024, 0.011, 0.006, 20), BLACK, 0.55, 0.003),
        Layer(_ellipse(x + 0.026, y + 0.024, 0.011, 0.006, -20), BLACK, 0.55, 0.003),
    ]


def _mouth(head: Points) -> list[Layer]:
    (left, left_y), (right, right_y) = CANONICAL_POINTS[3:]
    upper = _closed(
        (left, left_y), (0.455, 0.705), (0.485, 0.697), (0.502, 0.703), (0.52, 0.697), (0.55, 0.705),
        (right, right_y), (0.502, 0.742),
    )  # fmt: skip
    lower = _closed(
        (left + 0.008, left_y + 0.002), (0.45, 0.735), (0.502, 0.739), (0.555, 0.735),
        (right - 0.008, right_y + 0.002), (0.56, 0.763), (0.502, 0.778), (0.445, 0.763),
    )  # fmt: skip
    line = _brush((left - 0.006, left_y - 0.003), (0.502, 0.757), (right + 0.006, right_y - 0.003), 0.009)
    return [
        Layer(_ellipse(0.502, 0.80, 0.06, 0.015), SHADE, 0.7, 0.012, head),
        Layer(lower, LIP, blur=0.003),
        Layer(_ellipse(0.512, 0.757, 0.04, 0.009), LIP_LIGHT, 0.9, 0.007),
        Layer(upper, LIP, blur=0.003),
        Layer(upper, DEEP, 0.25, 0.006),
        Layer(line, DEEP, 0.95, 0.0015),
    ]


def _room() -> list[Layer]:
    """A wall with a window and a shelf, in units of the photograph's width."""

    def box(left: float, top: float, right: float, bottom: float) -> Points:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])

    return [
        Layer(box(0.05, 0.05, 0.31, 0.46), (232, 228, 216)),
        Layer(box(0.065, 0.065, 0.172, 0.445), (158, 196, 214)),
        Layer(box(0.188, 0.065, 0.295, 0.445), (164, 202, 218)),
        Layer(_ellipse(0.12, 0.41, 0.08, 0.07), (112, 150, 108), 1, 0.004, box(0.065, 0.065, 0.295, 0.445)),
        Layer(box(0.78, 0.25, 0.98, 0.265), (116, 86, 62)),
        *(
            Layer(box(0.80 + 0.024 * i, 0.165 + 0.012 * (i % 3), 0.82 + 0.024 * i, 0.25), colour)
            for i, colour in enumerate([(150, 74, 66), (88, 110, 96), (196, 164, 96), (84, 92, 124), (140, 116, 130)])
        ),
    ]
