"""Faces that are left alone: those that are too small, and those that the encoder does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Distances, Picture, Pictures
from engines.contract.errors import RequestError

SMALLEST_TOONIFIED = 48.0
"""Side of a face's square in pixels below which a face is left alone, unless a caller says otherwise.

Reducing 87 faces of photographs to this size moves the codes of the demo's encoders by 0.36 of the distance between two
of the faces (median), to 32 pixels by 0.51, to 24 by 0.61; half the light moves them by 0.25. The table in the model
card of the demo has more.
"""


@dataclass(frozen=True)
class FaceCounts:
    """How many faces of a picture, or of the frames of a video, were not simply toonified.

    ``small``: those that were left alone since they are small.
    ``far``: those whose codes lay farther out than those of good faces, and were pulled in or left alone; None if the
    models do not tell.
    """

    small: int = 0
    far: int | None = None

    @property
    def numbers(self) -> dict[str, int | None]:
        """The counts by name, for a program."""
        return {"small": self.small, "far": self.far}

    @property
    def remarks(self) -> list[str]:
        """The counts as parts of a sentence, for a person; none where there is nothing to say."""
        small = f"{self.small} too small to be toonified (--smallest-face)"
        far = f"{self.far} unlike those that the encoder knows (--far-codes)"
        return [remark for count, remark in ((self.small, small), (self.far, far)) if count]


def far_of(distances: Distances | None, *, leave: bool) -> NDArray[np.bool_] | None:
    """Return which codes lie farther out than those of good faces, from the distances [N]; None if these are not known.

    Raises:
        RequestError: they are not known, and such faces are to be left alone.
    """
    if distances is None and leave:
        raise unknown_distances()
    return None if distances is None else np.asarray(distances > 1)


def unknown_distances() -> RequestError:
    """The error about models that do not tell which faces are to be left alone."""
    return RequestError(
        "far codes",
        got="models that do not tell how far out a face's code lies, or JPEG on the wire",
        expected="an encoder that was exported with its generator",
        remedy="export the encoder and its repository again, or do without leaving such faces alone",
    )


class CountedFaces:
    """Toonifies the faces of one picture, and counts those whose codes lie too far out.

    Args:
        toonify: makes pictures of faces, and tells how far out their codes lay.
        leave: such faces get None instead of a picture.
    """

    def __init__(self, toonify: Callable[[Pictures], tuple[Pictures, Distances | None]], *, leave: bool) -> None:
        self._toonify, self._leave = toonify, leave
        self.far: int | None = None

    def __call__(self, faces: Pictures) -> list[Picture | None]:
        """Return a picture for each face, or None for one to be left alone.

        Raises:
            RequestError: see ``far_of``.
        """
        pictures, distances = self._toonify(faces)
        far = far_of(distances, leave=self._leave)
        if far is None:
            return [*pictures]
        self.far = (self.far or 0) + int(far.sum())
        return [None if self._leave and away else picture for picture, away in zip(pictures, far, strict=True)]


ToonifyFaces = Callable[[Pictures], Iterable[Picture | None]]
"""Converts aligned faces, uint8 [N, 256, 256, 3], to pictures, uint8 [R, R, 3] each, or None for one to leave alone."""
