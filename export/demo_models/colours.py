"""The colours of a drawn face, computed from its traits: RGB in 0..255."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from export.demo_models.shape import Shape

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """The colour of each part of the picture."""

    skin: Rgb
    hair: Rgb
    lips: Rgb
    iris: Rgb
    frame: Rgb
    cloth: Rgb
    background: Rgb


def palette_of(face: Shape) -> Palette:
    """Return the base colours of a face, for photograph and cartoon alike."""
    skin = _gradient(
        0.34 - 0.22 * face.trait("skin_light"), [(252, 218, 196), (234, 186, 154), (182, 126, 94), (112, 72, 54)]
    )
    skin = mixed(skin, (skin[0], skin[1] * 0.93, skin[2] * 0.82), 0.5 + 0.3 * face.trait("skin_warm"))
    dark = _gradient(
        0.42 + 0.26 * face.trait("hair_light"), [(30, 24, 24), (74, 48, 34), (140, 96, 58), (222, 184, 122)]
    )
    hair = mixed(dark, (150, 62, 30), float(np.clip(0.32 * face.trait("hair_red"), 0, 0.6)))
    if face.has("age"):
        hair = mixed(hair, (206, 206, 208), float(np.clip(0.66 + 0.22 * face.trait("grey"), 0.25, 1)))
    lip = mixed(
        mixed(skin, (176, 72, 70), 0.5),
        (176, 24, 52),
        (0.32 + 0.2 * face.trait("lip_colour")) * (not face.has("gender")),
    )
    iris = _gradient(
        0.5 + 0.3 * face.trait("iris"), [(70, 44, 26), (112, 84, 42), (76, 118, 78), (72, 124, 168), (120, 158, 190)]
    )
    frame = _gradient(
        0.4 + 0.3 * face.trait("frame_colour"), [(22, 22, 26), (58, 38, 30), (136, 30, 36), (180, 142, 70)]
    )
    return Palette(
        skin,
        hair,
        lip,
        iris,
        frame,
        cloth=_hue(face.trait("cloth_hue"), 0.52, 0.50 + 0.16 * face.trait("cloth_light")),
        background=_hue(face.trait("background_hue") - 0.1, 0.28, 0.64 + 0.13 * face.trait("background_light")),
    )


def mixed(a: Rgb, b: Rgb, fraction: float) -> Rgb:
    """Return a + fraction * (b - a), with the fraction clamped to 0..1."""
    fraction = min(max(fraction, 0.0), 1.0)
    return (a[0] + fraction * (b[0] - a[0]), a[1] + fraction * (b[1] - a[1]), a[2] + fraction * (b[2] - a[2]))


def scaled(colour: Rgb, factor: float) -> Rgb:
    """Return the colour multiplied by a factor, clamped to 255."""
    return (min(colour[0] * factor, 255), min(colour[1] * factor, 255), min(colour[2] * factor, 255))


def vivid(colour: Rgb, saturation: float = 1.35, value: float = 1.08) -> Rgb:
    """Return the colour with its saturation and value multiplied, as in a cartoon."""
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    r, g, b = colorsys.hsv_to_rgb(h, min(s * saturation, 1), min(v * value, 1))
    return (255 * r, 255 * g, 255 * b)


def _gradient(position: float, stops: list[Rgb]) -> Rgb:
    """Return the colour at a position in 0..1 of a gradient through ``stops``."""
    scaled_position = min(max(position, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(scaled_position), len(stops) - 2)
    return mixed(*list(pairwise(stops))[index], scaled_position - index)


def _hue(trait: float, saturation: float, value: float) -> Rgb:
    # Hues form a circle and traits a line: the middle 99 % of faces cover about one turn.
    r, g, b = colorsys.hsv_to_rgb((0.55 + 0.19 * trait) % 1, saturation, min(max(value, 0.12), 0.95))
    return (255 * r, 255 * g, 255 * b)
