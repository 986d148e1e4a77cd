"""Painting a face as a cartoon: flat colours, one hard shadow, dark outlines."""

from __future__ import annotations

import numpy as np

from export.demo_models.canvas import Canvas, Points, brush, closed_curve, ellipse, translated
from export.demo_models.colours import Palette, Rgb, mixed, palette_of, scaled, vivid
from export.demo_models.shape import Shape

INK: Rgb = (38, 24, 30)
LINE = 0.0115
"""Width of the outlines in the face's unit; about three pixels at 256."""


def paint_cartoon(canvas: Canvas, face: Shape) -> None:
    """Paint a person over the canvas's background."""
    colours = _flat(palette_of(face))
    _inked(canvas, face.hair_back(), colours.hair)
    _body(canvas, face, colours)
    for side in (-1, 1):
        _inked(canvas, face.ear(side), colours.skin)
        canvas.stroke(face.ear(side, 0.5)[4:30], LINE * 0.6, scaled(colours.skin, 0.6))
    _head(canvas, face, colours)
    for side in (-1, 1):
        _eye(canvas, face, colours, side)
    _nose_and_mouth(canvas, face, colours)
    _hair(canvas, face, colours)
    for side in (-1, 1):
        canvas.fill(face.brow(side), scaled(colours.hair, 0.55))
    if face.has("glasses"):
        _glasses(canvas, face, colours)


def paint_cartoon_backdrop(canvas: Canvas, face: Shape) -> None:
    """Paint a plain wall with a disc over the whole canvas."""
    background = _flat(palette_of(face)).background
    canvas.pixels[:] = background
    canvas.fill(ellipse(0.5, 0.52, 0.50, 0.50), scaled(background, 1.12))


def _flat(colours: Palette) -> Palette:
    return Palette(
        skin=vivid(colours.skin, 1.22, 1.12),
        hair=vivid(mixed(colours.hair, (110, 84, 80), 0.15), 1.5, 1.22),
        lips=vivid(colours.lips, 1.25, 1.1),
        iris=vivid(colours.iris, 1.5, 1.25),
        frame=vivid(colours.frame, 1.3, 1.1),
        cloth=vivid(colours.cloth, 1.35, 1.25),
        background=vivid(colours.background, 1.4, 1.12),
    )


def _inked(canvas: Canvas, outline: Points, colour: Rgb, width: float = LINE) -> None:
    canvas.fill(outline, colour)
    canvas.stroke(outline, width, INK, closed=True)


def _body(canvas: Canvas, face: Shape, colours: Palette) -> None:
    neck = canvas.mask(face.neck())
    _inked(canvas, face.neck(), colours.skin)
    canvas.fill(face.turned(ellipse(0.5, face.chin_y - 0.02, 0.2, 0.095), 0.4), scaled(colours.skin, 0.72), inside=neck)
    _inked(canvas, face.cloth(), colours.cloth)
    canvas.stroke(
        closed_curve([(0.38, 0.95), (0.5, 1.06), (0.62, 0.95), (0.5, 1.075)]), LINE, scaled(colours.cloth, 0.6)
    )


def _head(canvas: Canvas, face: Shape, colours: Palette) -> None:
    head = canvas.mask(face.head)
    canvas.fill(face.head, colours.skin)
    shade = scaled(colours.skin, 0.80)
    dark_side = -1 if face.trait("light_side") > 0 else 1
    away = 0.03 + 0.02 * min(abs(face.trait("light_side")), 1.5)
    lit = canvas.mask(translated(face.head, -(dark_side * away), -0.012))
    canvas.fill(face.head, shade, inside=head * (1 - lit))
    if face.has("gender"):
        growth = float(np.clip(0.22 + 0.34 * face.trait("beard"), 0, 0.95))
        canvas.fill(
            face.beard(), mixed(scaled(colours.skin, 0.7), scaled(colours.hair, 0.8), growth + 0.2), growth, 0, head
        )
    for cheek in (-1, 1):
        blush = ellipse(0.5 + cheek * 0.155, 0.645 - 0.012 * face.smile, 0.044, 0.026)
        canvas.fill(
            face.turned(blush),
            mixed(colours.skin, (255, 90, 90), 0.5),
            0.45 if face.has("gender") else 0.75,
            0.004,
            head,
        )
    if face.has("age"):
        _wrinkles(canvas, face, colours)
    canvas.fill(translated(face.hair_front(), 0, 0.018), shade, inside=head)
    canvas.stroke(face.head, LINE, INK, closed=True)


def _wrinkles(canvas: Canvas, face: Shape, colours: Palette) -> None:
    ink, strength = scaled(colours.skin, 0.5), float(np.clip(0.75 + 0.2 * face.trait("wrinkles"), 0.3, 1))
    for height, half in ((0.295, 0.10), (0.335, 0.115)):
        line = [(0.5 - half, height + 0.006), (0.5, height - 0.004), (0.5 + half, height + 0.006)]
        canvas.fill(face.turned(brush(line, 0.012)), ink, strength)
    for side in (-1, 1):
        fold = [(0.5 + side * 0.07, 0.625), (0.5 + side * 0.108, 0.68), (0.5 + side * 0.112, 0.745)]
        canvas.fill(face.turned(brush(fold, 0.012)), ink, strength)
        bag = [
            (-0.04, face.eye_half_axes[1] + 0.018),
            (0.01, face.eye_half_axes[1] + 0.026),
            (0.05, face.eye_half_axes[1] + 0.012),
        ]
        canvas.fill(face.around_eye(side, brush(bag, 0.009)), ink, strength)


def _eye(canvas: Canvas, face: Shape, colours: Palette, side: int) -> None:
    outline = face.eye_white(side)
    white = canvas.mask(outline)
    canvas.fill(outline, (255, 255, 255))
    canvas.fill(face.iris(side), scaled(colours.iris, 0.45), inside=white)
    canvas.fill(face.iris(side, 0.85), colours.iris, inside=white)
    canvas.fill(face.iris(side, 0.5), INK, inside=white)
    up = 0.020 * min(face.eye_openness, 1)
    canvas.fill(translated(face.iris(side, 0.30), 0.014, -up), (255, 255, 255), inside=white)
    canvas.fill(translated(face.iris(side, 0.15), -0.014, up), (255, 255, 255), inside=white)
    canvas.stroke(outline, LINE * 0.5, INK, closed=True)
    canvas.fill(face.upper_lid(side, 0.003, 0.024 if face.has("gender") else 0.030, 1.05), INK)


def _nose_and_mouth(canvas: Canvas, face: Shape, colours: Palette) -> None:
    (x, y), w = face.nose_tip, face.nose_half_width
    nose = [(x - w, y + 0.014), (x - 0.3 * w, y + 0.030), (x + 0.5 * w, y + 0.026), (x + w, y + 0.010)]
    canvas.fill(face.turned(brush(nose, 0.014), 1.4), scaled(colours.skin, 0.42))
    upper, lower, opening = face.mouth()
    canvas.fill(lower, colours.lips)
    canvas.fill(upper, scaled(colours.lips, 0.85))
    if face.lip_gap > 0.001:
        inside = canvas.mask(opening)
        canvas.fill(opening, (124, 34, 44))
        half, _ = face.mouth_corner
        teeth = ellipse(
            0.5,
            0.735 + 0.012 * face.smile - 0.4 * face.lip_gap,
            0.82 * half,
            0.010 + 0.75 * face.lip_gap,
            0,
            2.6,
        )
        canvas.fill(face.turned(teeth, 1.05), (255, 255, 255), inside=inside)
        canvas.stroke(opening, LINE * 0.6, INK, closed=True)
    else:
        canvas.fill(face.mouth_line(0.014), INK)


def _hair(canvas: Canvas, face: Shape, colours: Palette) -> None:
    outline = face.hair_front()
    mask = canvas.mask(outline)
    canvas.fill(outline, colours.hair)
    side = 0.08 if face.trait("light_side") > 0 else -0.08
    band = brush([(0.5 + side - 0.17, 0.19), (0.5 + side, 0.125), (0.5 + side + 0.17, 0.19)], 0.045)
    canvas.fill(face.turned(band, 0.3), scaled(mixed(colours.hair, (255, 255, 255), 0.28), 1.15), 0.9, 0, mask)
    parting = 0.5 + 0.10 * float(np.clip(face.trait("parting"), -1.8, 1.8))
    for reach in (-0.5, 0.5):
        strand = [(parting, face.hair_top + 0.05), (parting + 0.28 * reach, 0.17), (parting + 0.36 * reach, 0.235)]
        canvas.fill(face.turned(brush(strand, 0.010), 0.3), scaled(colours.hair, 0.6), 1, 0, mask)
    canvas.stroke(outline, LINE, INK, closed=True)


def _glasses(canvas: Canvas, face: Shape, colours: Palette) -> None:
    for side in (-1, 1):
        rim = face.glasses_rim(side)
        canvas.fill(rim, (220, 240, 255), 0.22)
        canvas.stroke(rim, 0.024, INK, closed=True)
        canvas.stroke(rim, 0.013, colours.frame, closed=True)
        ear = face.turned([(0.5 + side * (face.half_width + 0.005), 0.48)], 0)
        canvas.stroke(np.concatenate([rim[np.argmax(side * rim[:, 0])][None] - (0, 0.01), ear]), 0.018, INK)
    left, right = face.glasses_rim(-1), face.glasses_rim(1)
    ends = left[np.argmax(left[:, 0])], right[np.argmin(right[:, 0])]
    canvas.stroke(np.stack([ends[0], (ends[0] + ends[1]) / 2 - (0, 0.02), ends[1]]), 0.016, INK)
