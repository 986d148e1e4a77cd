"""How far each of the head's directions is used: smooth functions of the traits."""

from __future__ import annotations

import numpy as np

from export.demo_models.characters.person import Person, smoothstep, softplus


def bared(person: Person) -> float:
    """Return how far a smile shows the teeth, 0 or more."""
    return softplus(0.45 + 0.28 * person.trait("teeth"), 0.1) * person.has("expression")


def spoken(person: Person) -> float:
    """Return how far the mouth is open in speech, 0..1."""
    return float(smoothstep(person.trait("mouth_opening"), 0.5, 2.4))


def direction_weights(person: Person, structure: float) -> dict[str, float]:
    """Return the weight of each of the head's directions by name.

    Args:
        person: the traits.
        structure: 0 = a photograph's proportions, 1 = a cartoon's.
    """
    weights = {**_kinds(person), **_lines(person), **_mouth(person), **_lids(person, structure)}
    for (more, less), weight in _opposites(person).items():
        weights[more], weights[less] = _split(weight)
    return weights


def _kinds(person: Person) -> dict[str, float]:
    """Return the weights of gender, age and ancestry, and of what goes with them."""
    man, old = person.has("gender"), person.has("age")
    male, aged = 2 * man - 1, 1.35 * old - 1
    dark = float(smoothstep(-person.trait("skin_light"), 0.2, 1.8))
    folded = float(smoothstep(-person.trait("eye_tilt"), 0.3, 1.8)) * (1 - dark)
    return {
        "male": male,
        "old": aged,
        "male-old": male * aged,
        "african": 0.9 * dark,
        "asian": 0.9 * folded,
        "epicanthus": 0.6 * folded,
        "chin-prominent": 0.2 * man,
        "cheek-bones": 0.15 * (1 - man),
        "nose-hump": 0.15 * man,
        "neck-slim": 0.6 * (1 - man),
    }


def _lines(person: Person) -> dict[str, float]:
    """Return the weights of what age draws into a face."""
    old = person.has("age")
    wrinkles = old * (0.75 + 0.3 * person.trait("wrinkles"))
    return {
        "cheeks-full": 0.15 * (1 - old),
        "eye-bags": 0.9 * wrinkles,
        "laugh-lines": 1.1 * wrinkles,
        "cheeks-hollow": 0.5 * wrinkles,
        "head-aged": 0.5 * wrinkles,
    }


def _mouth(person: Person) -> dict[str, float]:
    """Return the weights of smile and speech."""
    smile, teeth = person.has("expression"), bared(person)
    return {
        "smile": 0.26 + 0.10 * person.has("age") + smile * (0.68 + 0.13 * person.trait("smile_width")),
        "dimples": 0.3 * smile,
        "squint": 0.45 * smile,
        "upper-lip-up": 0.35 * teeth,
        "lower-lip-down": 0.3 * teeth,
        "jaw-open": 0.16 * teeth + 0.36 * spoken(person),
    }


def _lids(person: Person, structure: float) -> dict[str, float]:
    """Return the weights of how far the eyes are open."""
    smile, opening = person.has("expression"), person.trait("eye_opening")
    blink = float(smoothstep(-opening, 0.35, 2.3))
    wide = float(smoothstep(opening, 0.0, 2.5))
    return {
        "lids-tight": 0.25 * smile,
        "blink": blink + 0.08 * smile,
        "wide": (0.35 + 0.25 * structure + 0.6 * wide) * (1 - blink),
        "eyes-tall": (0.35 + 0.9 * structure) * (1 - 0.9 * blink),
    }


def _opposites(person: Person) -> dict[tuple[str, str], float]:
    """Return the signed weights of pairs of opposite directions: positive ones are those of the first name."""
    t, man, old = person.trait, person.has("gender"), person.has("age")
    male = 2 * man - 1
    return {
        ("head-wide", "head-narrow"): 0.28 * t("face_width"),
        ("head-fat", "head-lean"): 0.32 * t("face_width"),
        ("head-long", "head-short"): 0.18 * t("face_length"),
        ("chin-long", "chin-short"): 0.28 * t("face_length"),
        ("head-square", "head-triangular"): 0.30 * t("jaw") + 0.20 * male,
        ("chin-wide", "chin-narrow"): 0.45 * t("chin") + 0.1 * male,
        ("eyes-large", "eyes-small"): 0.5 * t("eye_size") + 0.35 - 0.2 * man,
        ("eyes-apart", "eyes-together"): 0.4 * t("eye_distance"),
        ("eyes-up", "eyes-down"): 0.5 * t("eye_tilt"),
        ("brows-up", "brows-down"): 0.35 * t("brow_height"),
        ("nose-long", "nose-short"): 0.35 * t("nose_length"),
        ("nose-down", "nose-up"): 0.16 * t("nose_length") - 0.12 + 0.12 * old,
        ("nose-wide", "nose-narrow"): 0.45 * t("nose_width"),
        ("nose-large", "nose-small"): 0.2 * t("nose_width"),
        ("look-right", "look-left"): 0.4 * t("gaze"),
        ("mouth-wide", "mouth-narrow"): 0.4 * t("mouth_width"),
        ("lips-full", "lips-thin"): 0.28 * t("lip_fullness") + 0.3 - 0.35 * man - 0.2 * old,
    }


def _split(weight: float) -> tuple[float, float]:
    """Divide a signed weight smoothly between a direction and its opposite."""
    positive = 0.5 * (weight + np.sqrt(weight * weight + 0.01))
    return positive, positive - weight
