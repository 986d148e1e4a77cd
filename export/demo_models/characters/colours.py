"""The colours of a character, smooth functions of its traits: RGB in 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.person import Person, smoothstep

Colour = NDArray[np.float32]

SKIN = ((255, 222, 200), (247, 198, 162), (224, 160, 118), (168, 112, 80), (104, 66, 50))
HAIR = ((46, 36, 38), (74, 48, 38), (126, 80, 48), (190, 136, 78), (236, 200, 138))
RED, GREY = (158, 62, 30), (222, 220, 222)
IRIS = ((74, 44, 26), (118, 80, 40), (92, 124, 70), (66, 132, 158), (104, 156, 206))
FRAMES = ((30, 30, 36), (92, 48, 34), (158, 40, 52), (36, 74, 122), (196, 158, 92))
CLOTH = ((38, 54, 92), (38, 104, 122), (106, 142, 116), (212, 168, 84), (206, 106, 84), (134, 54, 74))
BACKGROUND = ((150, 176, 204), (150, 192, 190), (186, 200, 168), (222, 206, 176), (222, 184, 172), (186, 172, 200))


@dataclass(frozen=True)
class Palette:
    """The colour of each part."""

    skin: Colour
    lips: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    frame: Colour
    cloth: Colour
    background: Colour


def palette_of(person: Person) -> Palette:
    """Return a person's colours, for both surfaces alike."""
    t, man, old = person.trait, person.has("gender"), person.has("age")
    skin = gradient(SKIN, 0.36 - 0.24 * t("skin_light"))
    skin = skin * np.array([1, 1 - 0.014 * t("skin_warm"), 1 - 0.045 * t("skin_warm")], np.float32)
    hair = gradient(HAIR, 0.42 + 0.25 * t("hair_light"))
    hair = mixed(hair, colour(RED), 0.75 * float(smoothstep(t("hair_red"), 0.0, 2.2)))
    grey = old * (0.80 + 0.10 * t("grey"))
    brow = mixed(hair * np.float32(0.72), colour(GREY), 0.8 * grey)
    hair = mixed(hair, colour(GREY), grey)
    rose = mixed(skin * np.array([0.89, 0.58, 0.60], np.float32), colour((196, 44, 66)), 0.20 + 0.15 * t("lip_colour"))
    lips = mixed(rose, skin * np.array([0.90, 0.68, 0.64], np.float32), 0.85 * man)
    cloth = gradient(CLOTH, 0.5 + 0.24 * t("cloth_hue")) * np.float32(1 + 0.16 * t("cloth_light"))
    wall = gradient(BACKGROUND, 0.5 + 0.24 * t("background_hue")) * np.float32(0.92 + 0.13 * t("background_light"))
    return Palette(
        skin=np.clip(skin, 0, 1),
        lips=lips,
        hair=hair,
        brow=brow,
        iris=gradient(IRIS, 0.5 + 0.27 * t("iris")),
        frame=gradient(FRAMES, 0.45 + 0.27 * t("frame_colour")),
        cloth=np.clip(cloth, 0, 1),
        background=np.clip(wall, 0, 1),
    )


def colour(rgb: tuple[int, int, int]) -> Colour:
    """Return a colour given in 0..255."""
    return np.array(rgb, np.float32) / np.float32(255)


def mixed(a: Colour, b: Colour, fraction: float) -> Colour:
    """Return the colour between two."""
    return np.asarray(a + np.float32(np.clip(fraction, 0, 1)) * (b - a), np.float32)


def gradient(stops: tuple[tuple[int, int, int], ...], position: float) -> Colour:
    """Return the colour at a position in 0..1, a smooth average of the stops near it."""
    places = np.linspace(0, 1, len(stops))
    width = 0.55 / (len(stops) - 1)
    weights = np.exp(-0.5 * ((places - np.clip(position, 0, 1)) / width) ** 2)
    return np.asarray(weights / weights.sum() @ np.array(stops) / 255, np.float32)
