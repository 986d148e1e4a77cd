"""Pictures of codes that were not made by the encoder: projected faces, random faces, other projects' codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Picture, Pictures
from serving.controls import Style
from serving.faces.alignment import prealigned
from serving.interpolation import interpolated_codes
from serving.sheet import sheet_of, shrunk
from serving.toonifier import Toonifier

TOGETHER = 8
"""Number of codes that are rendered with one request."""

TILE = 256
"""Largest side in pixels of the pictures of several codes, which are arranged in a sheet."""


def shown_by_codes(toonifier: Toonifier, w: Codes, style: Style) -> AnyArray | None:
    """Read the attributes [N, A] of codes, if the style's edit keeps any, from their unedited pictures.

    These are aligned faces. None if there is no classifier, or nothing to keep.

    Raises:
        RequestError: the codes do not fit the model.
    """
    if not style.keeps:
        return None
    unedited = toonifier.render(w, replace(style, attributes=None))
    return toonifier.read_attributes(np.stack([prealigned(picture, name="picture")[0] for picture in unedited]))


def picture_of_codes(toonifier: Toonifier, w: Codes, style: Style, steps: int | None = None) -> Picture:
    """Render codes [N, L, D]: one as a picture, several as a sheet of small ones.

    With ``steps`` the first code is rendered at that many strengths of the edit, in a sheet.

    Raises:
        RequestError: the codes do not fit the model, or it cannot make the edit.
    """
    if steps:
        shown = shown_by_codes(toonifier, w[:1], style)
        return sheet_of([picture for (picture,) in interpolated_codes(toonifier, w[:1], style, steps, shown)])
    if len(w) == 1:
        picture: Picture = _rendered(toonifier, w, style)[0]
        return picture
    batches = (_rendered(toonifier, w[start : start + TOGETHER], style) for start in range(0, len(w), TOGETHER))
    return sheet_of([shrunk(picture, TILE) for batch in batches for picture in batch])


def _rendered(toonifier: Toonifier, w: Codes, style: Style) -> Pictures:
    return toonifier.render(w, style, shown_by_codes(toonifier, w, style))
