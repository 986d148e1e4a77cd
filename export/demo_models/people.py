"""Characters drawn as people look (domain randomisation), so that the encoder finds people's traits in photographs.

People differ from all characters: their brows lie lower, their foreheads are bare, men have long hair and women short
hair, and a beard may be stubble. An encoder that has only seen characters takes such differences for traits, as if
bare skin in the place of hair were grey hair. Here a character is drawn with such differences, while its code stays
the same: the character of a person with the usual brows of people has the usual brows of characters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from export.demo_models.characters.person import Variation
from export.demo_models.traits import INDEX, TraitCodes

SHIFTS = {
    "brow_height": -2.5,
    "pitch": 1.0,
    "parting": -0.8,
    "face_length": -0.5,
    "eye_tilt": 0.5,
    "eye_distance": -0.4,
    "eye_opening": -0.4,
}
"""Mean traits of 95 photographed faces, as an encoder estimated them that had been trained on characters only."""
SPREAD = 0.3
"""Standard deviation of the shifted traits' further differences."""
BAREST, THINNEST, THICKEST = 24.0, 0.4, 1.8
"""The largest angle by which a hairline is raised, in degrees, and the range of the hair's thickness."""
EXCHANGED_SHARE = 0.4
"""The share of people whose hair is, to some degree, that of the other gender."""
MOST_STUBBLE = 0.6
"""The greatest degree to which a beard is stubble.

An encoder that was trained with degrees up to 1 took the shadow of a shaved beard for a beard.
"""


def people_like(codes: TraitCodes, rng: np.random.Generator) -> Iterator[tuple[TraitCodes, Variation]]:
    """Yield, for each code [N, traits], the traits [traits] and the variation with which it is drawn."""
    return ((_shifted(code, rng), _variation(rng)) for code in codes)


def _shifted(code: TraitCodes, rng: np.random.Generator) -> TraitCodes:
    """Return a code whose traits are moved by a random part of the shifts, [traits]."""
    shifted, part = code.copy(), rng.uniform(0, 1.2)
    for trait, shift in SHIFTS.items():
        shifted[INDEX[trait]] += part * shift + SPREAD * rng.standard_normal()
    return shifted


def _variation(rng: np.random.Generator) -> Variation:
    return Variation(
        bare=rng.uniform(0, BAREST),
        thickness=rng.uniform(THINNEST, THICKEST),
        exchanged=rng.random() if rng.random() < EXCHANGED_SHARE else 0.0,
        stubble=rng.uniform(0, MOST_STUBBLE),
    )
