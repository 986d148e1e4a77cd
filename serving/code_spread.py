"""How far out an encoder's codes lie for good faces, and the guard that pulls in those that lie farther.

The spread is measured at export (``export.code_spread``) and kept beside the encoder.

Letters in shapes: N codes, L rows of W+, D width of a row.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Codes, Distances
from engines.hashed_files import altered, hashed_bytes
from engines.model_directory import Manifest
from serving.file_contents import UnusableFileError
from serving.npy_arrays import array_from_npy

CODE_SPREAD = "code_spread.npy"
"""File of an encoder's model directory: float32 [L, D + 1], the mean code and, after each of its rows, the reach."""

_LONGEST_HEADER = 2**16
"""Bytes before the numbers of an .npy file, which have 8 bytes at most."""


@dataclass(frozen=True, eq=False)
class CodeSpread:
    """The mean of an encoder's codes, and how far from it the codes of good faces lie.

    ``mean``: float32 [L, D].
    ``reach``: float32 [L], the largest distance from the mean that a good face's code has in each row, above 0.
    """

    mean: Codes
    reach: NDArray[np.float32]

    def distances(self, w: Codes) -> Distances:
        """Return how far out codes [N, L', D] lie, by the row that lies farthest; L' may be less than L.

        Rows are compared one by one, since a face that an encoder does not know may confuse a few rows only.
        """
        rows = w.shape[1]
        by_row = np.linalg.norm(w - self.mean[:rows], axis=2) / self.reach[:rows]
        return np.asarray(by_row.max(1), np.float32)

    def guarded(self, w: Codes) -> tuple[Codes, Distances]:
        """Return the codes [N, L', D], and how far out they lay; those above 1 are moved towards the mean, to 1.

        All other codes are returned bit for bit.
        """
        distances = self.distances(w)
        far = distances > 1
        if not far.any():
            return w, distances
        mean, result = self.mean[: w.shape[1]], w.copy()
        result[far] = mean + (w[far] - mean) / distances[far, None, None]
        return result, distances


def write_code_spread(directory: Path, spread: CodeSpread) -> None:
    """Write ``CODE_SPREAD`` into a model directory."""
    content = io.BytesIO()
    np.save(content, np.column_stack([spread.mean, spread.reach]).astype(np.float32), allow_pickle=False)
    (directory / CODE_SPREAD).write_bytes(content.getvalue())


def code_spread_of(directory: Path, manifest: Manifest) -> CodeSpread | None:
    """Read the spread of an encoder's codes from its model directory; None if it was not measured.

    Raises:
        ModelDirectoryError: the file is missing, altered, or holds something else.
    """
    if CODE_SPREAD not in manifest.files:
        return None
    geometry = manifest.sizes.geometry
    shape = (geometry.rows, geometry.w_dim)
    return read_code_spread(directory / CODE_SPREAD, shape, sha256=manifest.files[CODE_SPREAD])


def read_code_spread(path: Path, shape: tuple[int, ...], *, sha256: str | None = None) -> CodeSpread:
    """Read the spread of codes of the shape (L, D) from a file, which has this SHA-256 if one is given.

    Raises:
        ModelDirectoryError: the file is missing, has another hash, or holds something else.
    """
    rows, width = shape
    expected = f"float32 [{rows}, {width + 1}], the mean code and the reach of each of its rows"
    if not path.is_file():
        raise altered(path, "no such file", expected)
    try:
        array = array_from_npy(hashed_bytes(path, sha256, most=_LONGEST_HEADER + 8 * rows * (width + 1)))
    except UnusableFileError as error:
        raise altered(path, error.why, expected) from None
    if array.shape != (rows, width + 1):
        raise altered(path, f"an array of shape {list(array.shape)}", expected)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not (np.isfinite(array).all() and (array[:, -1] > 0).all()):
        raise altered(path, "numbers that are not finite, or a reach that is not above 0", expected)
    return CodeSpread(np.ascontiguousarray(array[:, :-1]), np.ascontiguousarray(array[:, -1]))
