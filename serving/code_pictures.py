"""Pictures of codes that were not made by the encoder: projected faces, random faces, other projects' codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Picture
from engines.contract.errors import RequestError
from serving.controls import Style
from serving.faces.alignment import prealigned
from serving.interpolation import interpolated_codes
from serving.sheet import MAX_IN_SHEET, sheet_of, shrunk
from serving.toonifier import SamplingToonifier

TOGETHER = 8
"""Number of codes that are rendered with one request."""

TILE = 256
"""Largest side in pixels of the pictures of several codes, which are arranged in a sheet."""


def shown_by_codes(toonifier: SamplingToonifier, w: Codes, style: Style) -> AnyArray | None:
    """Read the attributes [N, A] of codes, if the style's edit keeps any, from their unedited pictures.

    These are aligned faces. None if there is no classifier, or nothing to keep.

    Raises:
        RequestError: the codes do not fit the model.
    """
    if not (style.keeps and toonifier.reads_attributes):
        return None
    unedited = toonifier.render(w, replace(style, attributes=None))
    return toonifier.read_attributes(np.stack([prealigned(picture, name="picture")[0] for picture in unedited]))


def picture_of_codes(toonifier: SamplingToonifier, w: Codes, style: Style, steps: int | None = None) -> Picture:
    """Render codes [N, L, D]: one as a picture, several as a sheet of small ones.

    With ``steps`` a code is rendered at that many strengths of the edit, in a sheet; each of several codes has a row.

    Raises:
        RequestError: the codes do not fit the model, it cannot make the edit, or a sheet does not hold the pictures.
    """
    count = len(w) * (steps or 1)
    if count > MAX_IN_SHEET:
        raise RequestError(
            f"{len(w)} codes",
            got=f"{count} pictures",
            expected=f"at most {MAX_IN_SHEET} in a sheet",
            remedy="give them in several files" + " or fewer --steps" * bool(steps),
        )
    pictures = _pictures(toonifier, w, style, steps)
    if len(w) > 1:
        return sheet_of([shrunk(picture, TILE) for picture in pictures], steps)
    return sheet_of([*pictures]) if steps else next(pictures)


def _pictures(toonifier: SamplingToonifier, w: Codes, style: Style, steps: int | None) -> Iterator[Picture]:
    """Yield the picture of each code, or those of its steps."""
    together = 1 if steps else TOGETHER
    for start in range(0, len(w), together):
        some = w[start : start + together]
        shown = shown_by_codes(toonifier, some, style)
        if steps:
            yield from (picture for (picture,) in interpolated_codes(toonifier, some, style, steps, shown))
        else:
            yield from toonifier.render(some, style, shown)
