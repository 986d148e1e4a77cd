"""Painting a face as a photograph: shaded as a round head in soft light, with texture, without outlines."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from export.demo_models.canvas import Canvas, Pixels, brush, closed_curve, ellipse, translated
from export.demo_models.colours import Palette, Rgb, mixed, palette_of, scaled
from export.demo_models.shape import CENTRE, HALF_AXES, Shape

WHITE, BLACK = (238.0, 234.0, 230.0), (24.0, 18.0, 18.0)
GRAIN_SIZE = 256


def paint_photo(canvas: Canvas, face: Shape) -> None:
    """Paint a person over the canvas's background."""
    colours = palette_of(face)
    x, y = canvas.grid()
    light = _light(face, x, y)
    hair = _hair_colour(face, colours.hair, light, x, y)
    skin = _skin_colour(face, colours.skin, light, x, y)
    canvas.fill(face.hair_back(), hair, blur=0.006)
    _body(canvas, face, colours, skin, x, y)
    for side in (-1, 1):
        canvas.fill(face.ear(side), skin, blur=0.003)
        canvas.fill(face.ear(side, 0.55), scaled(colours.skin, 0.62), 0.5, 0.008)
    head = canvas.mask(face.head, 0.003)
    canvas.fill(face.head, skin, blur=0.003)
    _complexion(canvas, face, colours, head)
    if face.has("age"):
        _wrinkles(canvas, face, colours, head)
    _beard(canvas, face, colours, hair, head)
    canvas.fill(translated(face.hair_front(), 0, 0.02), scaled(colours.skin, 0.42), 0.45, 0.016, head)
    for side in (-1, 1):
        _eye(canvas, face, colours, side, head)
    _nose(canvas, face, colours)
    _mouth(canvas, face, colours, head)
    canvas.fill(face.hair_front(), hair, blur=0.005)
    if face.has("glasses"):
        _glasses(canvas, face, colours)


def _light(face: Shape, x: Pixels, y: Pixels) -> Pixels:
    """Return the brightness of a head-shaped surface, about 0.5..1.15, [H, W]."""
    nx = (x - CENTRE[0]) / (HALF_AXES[0] * 1.02)
    ny = (y - CENTRE[1]) / (HALF_AXES[1] * 1.02)
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.04))
    direction = np.array([0.55 * face.trait("light_side"), -0.55, 1.15])
    direction /= np.linalg.norm(direction)
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    lambert = np.maximum((nx * direction[0] + ny * direction[1] + nz * direction[2]) / length, 0)
    return np.asarray(0.46 + 0.66 * lambert, np.float32)


def _tint(face: Shape) -> Pixels:
    warmth = 0.045 * face.trait("light_warmth")
    return np.array([1 + warmth, 1, 1 - warmth], np.float32)


def _skin_colour(face: Shape, skin: Rgb, light: Pixels, x: Pixels, y: Pixels) -> Pixels:
    # Light scattered in skin is red, so shadows lose blue first.
    shade = np.exp(np.log(light)[:, :, None] * np.array([0.85, 1.08, 1.18], np.float32))
    texture = 1 + (0.018 + 0.010 * face.has("age")) * _grain(x, y)[:, :, None]
    return np.asarray(np.array(skin, np.float32) * shade * texture * _tint(face))


def _hair_colour(face: Shape, hair: Rgb, light: Pixels, x: Pixels, y: Pixels) -> Pixels:
    """Return the hair's colours, float32 [H, W, 3]: strands around the crown, and a sheen on the lit side."""
    dx, dy = x - 0.5 - 0.04 * face.trait("parting"), y - 0.16
    angle, radius = np.arctan2(dx, np.maximum(dy + 0.35, 0.02)), np.hypot(dx, dy)
    wave = 0.035 * np.clip(face.trait("hair_wave") + 0.8, 0, None) * np.sin(26 * radius)
    strands = np.sin(74 * (angle + wave)) + 0.7 * np.sin(47 * (angle + wave) + 2)
    sheen = np.exp(-(((radius - 0.16) / 0.055) ** 2)) * (0.5 + 0.8 * np.clip(light - 0.7, 0, 1))
    value = (0.62 + 0.42 * light) * (1 + 0.075 * strands) + 0.36 * sheen
    return np.asarray(np.array(hair, np.float32) * value[:, :, None] * _tint(face), np.float32)


def paint_photo_backdrop(canvas: Canvas, face: Shape) -> None:
    """Paint a wall out of focus over the whole canvas."""
    x, y = canvas.grid()
    fall = 1.10 - 0.22 * y + 0.10 * face.trait("light_side") * (x - 0.5)
    blobs = sum(np.exp(-((x - bx) ** 2 + (y - by) ** 2) / r) for bx, by, r in ((0.06, 0.2, 0.03), (0.97, 0.55, 0.05)))
    canvas.pixels[:] = (
        np.array(palette_of(face).background, np.float32) * (fall + 0.13 * blobs)[:, :, None] * _tint(face)
    )


def _body(canvas: Canvas, face: Shape, colours: Palette, skin: Pixels, x: Pixels, y: Pixels) -> None:
    neck = canvas.mask(face.neck(), 0.003)
    canvas.fill(face.neck(), skin * np.float32(0.92), blur=0.003)
    canvas.fill(
        face.turned(ellipse(0.5, face.chin_y - 0.02, 0.18, 0.085), 0.4), scaled(colours.skin, 0.34), 0.62, 0.022, neck
    )
    folds = 1 + 0.10 * np.sin(46 * (x - 0.5) + 6 * y)
    cloth = np.array(colours.cloth, np.float32) * folds[:, :, None].astype(np.float32) * _tint(face)
    canvas.fill(face.cloth(), cloth, blur=0.003)
    canvas.stroke(
        closed_curve([(0.38, 0.95), (0.5, 1.06), (0.62, 0.95), (0.5, 1.075)]), 0.012, scaled(colours.cloth, 0.6), 0.8
    )


def _complexion(canvas: Canvas, face: Shape, colours: Palette, head: Pixels) -> None:
    deep, bright = scaled(colours.skin, 0.55), scaled(colours.skin, 1.22)
    side = -0.03 * face.trait("light_side")
    canvas.fill(face.turned(ellipse(0.5, face.chin_y, 0.20, 0.04)), deep, 0.5, 0.025, head)
    canvas.fill(face.turned(ellipse(0.5 - side, 0.315, 0.12, 0.05)), bright, 0.40, 0.035, head)
    canvas.fill(face.turned(ellipse(0.5, face.chin_y - 0.065, 0.045, 0.026)), bright, 0.35, 0.018, head)
    for cheek in (-1, 1):
        canvas.fill(
            face.turned(ellipse(0.5 + cheek * 0.145, 0.632 - 0.012 * face.smile, 0.058, 0.042)),
            mixed(colours.skin, (214, 84, 76), 0.5),
            0.34,
            0.026,
            head,
        )
        canvas.fill(face.turned(ellipse(0.5 + cheek * 0.150 - side, 0.585, 0.045, 0.028)), bright, 0.42, 0.02, head)
        if face.smile:
            fold = brush(
                [(0.5 + cheek * 0.075, 0.625), (0.5 + cheek * 0.125, 0.675), (0.5 + cheek * 0.135, 0.735)], 0.016
            )
            canvas.fill(face.turned(fold), deep, 0.5, 0.006, head)


def _wrinkles(canvas: Canvas, face: Shape, colours: Palette, head: Pixels) -> None:
    deep = scaled(colours.skin, 0.48)
    strength = float(np.clip(0.62 + 0.22 * face.trait("wrinkles"), 0.2, 1))
    for height, half in ((0.285, 0.10), (0.318, 0.125), (0.352, 0.11)):
        line = brush(
            [
                (0.5 - half, height + 0.006),
                (0.5 - 0.4 * half, height - 0.004),
                (0.5 + 0.4 * half, height - 0.004),
                (0.5 + half, height + 0.006),
            ],
            0.010,
        )
        canvas.fill(face.turned(line), deep, strength, 0.002, head)
    for side in (-1, 1):
        bag = [(-0.05, 0.040), (0.0, 0.054), (0.055, 0.036)]
        canvas.fill(face.around_eye(side, brush(bag, 0.016)), deep, 0.75 * strength, 0.004, head)
        for drop in (-0.012, 0.008, 0.028):
            foot = [(0.075, 0.004 + 0.4 * drop), (0.092, 0.006 + 0.8 * drop), (0.112, 0.004 + 1.5 * drop)]
            canvas.fill(face.around_eye(side, brush(foot, 0.008)), deep, 0.8 * strength, 0.0015, head)
        fold = brush(
            [
                (0.5 + side * 0.062, 0.61),
                (0.5 + side * 0.105, 0.668),
                (0.5 + side * 0.118, 0.735),
                (0.5 + side * 0.10, 0.785),
            ],
            0.014,
        )
        canvas.fill(face.turned(fold), deep, 0.9 * strength, 0.003, head)
        hollow = ellipse(0.5 + side * 0.168, 0.695, 0.025, 0.06, -14 * side)
        canvas.fill(face.turned(hollow), deep, 0.5 * strength, 0.018, head)


def _beard(canvas: Canvas, face: Shape, colours: Palette, hair: Pixels, head: Pixels) -> None:
    if not face.has("gender"):
        return
    growth = float(np.clip(0.30 + 0.36 * face.trait("beard"), 0.06, 0.92))
    colour = 0.75 * hair + 0.25 * np.array(scaled(colours.skin, 0.5), np.float32)
    canvas.fill(face.beard(), colour, growth, 0.018, head)
    x, y = face.nose_tip
    moustache = [
        (0.5 - 0.085, 0.712),
        (0.5 - 0.04, y + 0.068),
        (x, y + 0.074),
        (0.5 + 0.04, y + 0.068),
        (0.5 + 0.085, 0.712),
    ]
    canvas.fill(face.turned(brush(moustache, 0.034)), colour, 0.8 * growth, 0.006, head)


def _eye(canvas: Canvas, face: Shape, colours: Palette, side: int, head: Pixels) -> None:
    w, h = face.eye_half_axes
    deep = scaled(colours.skin, 0.5)
    canvas.fill(face.around_eye(side, ellipse(-0.008, -0.012 - 0.4 * h, w * 1.35, h + 0.018)), deep, 0.42, 0.018, head)
    outline = face.eye_white(side)
    white = canvas.mask(outline, 0.0015)
    canvas.fill(outline, WHITE, blur=0.0015)
    canvas.fill(face.iris(side), scaled(colours.iris, 0.55), 1, 0.002, white)
    canvas.fill(face.iris(side, 0.84), colours.iris, 1, 0.003, white)
    canvas.fill(face.iris(side, 0.42), BLACK, 1, 0.0015, white)
    canvas.fill(face.upper_lid(side, -0.006, 0.018), BLACK, 0.4, 0.004, white)
    gleam = translated(face.iris(side, 0.2), 0.008, -0.009 * min(face.eye_openness, 1))
    canvas.fill(gleam, (255, 255, 255), 0.95, 0.001, white)
    woman = not face.has("gender")
    canvas.fill(face.upper_lid(side, 0.002, 0.009 + 0.004 * woman, 1.04), BLACK, 0.9, 0.0015)
    canvas.fill(face.upper_lid(side, 0.013, 0.006), deep, 0.6, 0.003)
    lower = [
        (-w, 0.006),
        (0, 0.90 * h * min(face.eye_openness, 1) + 0.6 * h * (1 - min(face.eye_openness, 1))),
        (w, 0.004),
    ]
    canvas.fill(face.around_eye(side, brush(lower, 0.006)), deep, 0.7, 0.002)
    canvas.fill(face.brow(side), scaled(colours.hair, 0.72), 0.88, 0.004, head)


def _nose(canvas: Canvas, face: Shape, colours: Palette) -> None:
    (x, y), w = face.nose_tip, face.nose_half_width
    deep, bright = scaled(colours.skin, 0.46), scaled(colours.skin, 1.24)
    lit = 1 if face.trait("light_side") > 0 else -1
    canvas.fill(
        face.turned(brush([(x - lit * 0.030, 0.45), (x - lit * 0.026, 0.54), (x - lit * 0.8 * w, y)], 0.030), 1.3),
        scaled(colours.skin, 0.62),
        0.5,
        0.012,
    )
    canvas.fill(face.turned(brush([(x, 0.44), (x + 0.002, 0.53), (x, y - 0.01)], 0.024), 1.4), bright, 0.6, 0.008)
    canvas.fill(face.turned(ellipse(x + lit * 0.006, y - 0.006, 0.020, 0.016), 1.5), bright, 0.62, 0.008)
    canvas.fill(
        face.turned(
            brush(
                [
                    (x - w, y + 0.014),
                    (x - 0.4 * w, y + 0.036),
                    (x, y + 0.040),
                    (x + 0.4 * w, y + 0.036),
                    (x + w, y + 0.014),
                ],
                0.020,
            ),
            1.4,
        ),
        deep,
        0.55,
        0.006,
    )
    for side in (-1, 1):
        wing = [(x + side * w * 0.86, y - 0.012), (x + side * w * 1.1, y + 0.008), (x + side * w * 0.8, y + 0.026)]
        canvas.fill(face.turned(brush(wing, 0.012), 1.3), deep, 0.6, 0.004)
        canvas.fill(
            face.turned(ellipse(x + side * 0.5 * w, y + 0.024, 0.011, 0.006, 18 * side), 1.4), BLACK, 0.6, 0.003
        )


def _mouth(canvas: Canvas, face: Shape, colours: Palette, head: Pixels) -> None:
    upper, lower, opening = face.mouth()
    half, _ = face.mouth_corner
    canvas.fill(
        face.turned(ellipse(0.5, 0.795 + face.lip_gap, 0.055, 0.013)),
        scaled(colours.skin, 0.5),
        0.55,
        0.011,
        head,
    )
    if face.lip_gap > 0.001:
        inside = canvas.mask(opening, 0.001)
        canvas.fill(opening, (70, 24, 26), blur=0.001)
        teeth = ellipse(
            0.5,
            0.735 + 0.012 * face.smile - 0.4 * face.lip_gap,
            0.82 * half,
            0.010 + 0.75 * face.lip_gap,
            0,
            2.6,
        )
        canvas.fill(face.turned(teeth, 1.05), (240, 236, 228), 1, 0.002, inside)
    canvas.fill(lower, colours.lips, 0.92, 0.003)
    canvas.fill(upper, scaled(colours.lips, 0.84), 0.92, 0.003)
    gleam = ellipse(0.5, 0.757 + 0.016 * face.smile + 1.3 * face.lip_gap, 0.45 * half, 0.006)
    canvas.fill(face.turned(gleam, 1.05), scaled(colours.lips, 1.4), 0.55, 0.006)
    if face.lip_gap <= 0.001:
        canvas.fill(face.mouth_line(0.008), scaled(colours.lips, 0.35), 0.95, 0.0015)


def _glasses(canvas: Canvas, face: Shape, colours: Palette) -> None:
    for side in (-1, 1):
        rim = face.glasses_rim(side)
        canvas.fill(rim, (210, 224, 236), 0.10, 0.002)
        canvas.stroke(translated(rim, 0, 0.007), 0.012, (40, 24, 20), 0.25, closed=True)
        canvas.stroke(rim, 0.014, colours.frame, closed=True)
        canvas.stroke(translated(rim, 0, -0.002), 0.004, scaled(colours.frame, 1.9), 0.5, closed=True)
        _, y = face.eye(side)
        ear = face.turned([(0.5 + side * (face.half_width + 0.005), y + 0.008)], 0)
        hinge = rim[np.argmax(side * rim[:, 0])][None] - (0, 0.01)
        canvas.stroke(np.concatenate([hinge, ear]), 0.012, colours.frame)
    left, right = face.glasses_rim(-1), face.glasses_rim(1)
    bridge = np.stack(
        [left[np.argmax(left[:, 0])], [0.5 + 0.0, left[:, 1].mean() - 0.022], right[np.argmin(right[:, 0])]]
    )
    bridge[1, 0] = 0.5 * (bridge[0, 0] + bridge[2, 0])
    canvas.stroke(bridge, 0.011, colours.frame)


def _grain(x: Pixels, y: Pixels) -> Pixels:
    """Return a fixed pattern of pores that moves with the face, about -1..1, [H, W]."""
    pattern = _pores()
    sampled = cv2.remap(pattern, x * GRAIN_SIZE, y * GRAIN_SIZE, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, np.float32)


@cache
def _pores() -> Pixels:
    noise = np.random.default_rng(7).standard_normal((GRAIN_SIZE, GRAIN_SIZE)).astype(np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), 0.9)
    return np.asarray(fine / fine.std(), np.float32)
