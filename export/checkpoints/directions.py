"""Reader of linear directions: a ``.npy`` or ``.pt`` file with one direction, or GANSpace's principal components.

A direction is stored as [D] or [1, D] for W, and as [L, D] or [1, L, D] for W+: the boundaries of InterFaceGAN (Shen et
al., arXiv 1907.10786), e4e's directions, StyleCLIP's global ones in W+. A file of components holds ``comp`` [K, 1, D]
and ``std`` [K] (Harkonen et al., arXiv 2004.02546); a value of 1 is one standard deviation of a component.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from engines.contract.errors import CheckpointError, ExportError
from engines.contract.tensors import rows_of
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.stored_tensors import StoredTensor
from export.weights import Array, DirectionWeights, Source
from serving.file_contents import UnusableFileError, file_content
from serving.npy_arrays import array_from_npy

_MOST_ROWS, _WIDEST = 64, 4096
"""The largest shape of a direction, far above any generator's, which bounds what a file makes this reader allocate."""

_MOST_BYTES = 3 * 2**20
"""As many rows of that width in float64 take 2 MiB."""

_PLACE = re.compile(r"(?P<file>.+?)(#(?P<component>\d{1,6}))?(:(?P<first>\d{1,3})-(?P<last>\d{1,3}))?", re.DOTALL)


@dataclass(frozen=True)
class DirectionPlace:
    """Where a direction is: ``FILE[#COMPONENT][:FIRST-LAST]``.

    ``component`` counts GANSpace's components from 0. ``rows`` are the first and the last row of W+ that it moves; None
    means all.
    """

    file: Path
    component: int | None = None
    rows: tuple[int, int] | None = None

    @classmethod
    def parsed(cls, text: str) -> DirectionPlace:
        """Parse the text of an argument; a file's name may itself contain the signs."""
        if _exists(Path(text)):
            return cls(Path(text))
        match = _PLACE.fullmatch(text)
        if match is None:
            return cls(Path(text))
        component = None if match["component"] is None else int(match["component"])
        rows = None if match["first"] is None else (int(match["first"]), int(match["last"]))
        return cls(Path(match["file"]), component, rows)

    @property
    def name(self) -> str:
        """The attribute's name: that of the file, and the component's number."""
        return self.file.stem if self.component is None else f"{self.file.stem}_{self.component}"


def read_directions(
    places: Sequence[DirectionPlace], names: Sequence[str], resolution: int | None, scale: float = 1.0
) -> DirectionWeights:
    """Read directions for the codes of a generator.

    Args:
        places: the files.
        names: the attributes' names in the same order; none names them after the files.
        resolution: the generator's; None takes the rows of the files in W+, or 1024.
        scale: multiplies every direction.

    Raises:
        CheckpointError: a file is damaged or unsafe, or holds something else.
        ExportError: the directions do not fit one another or the resolution, or names are missing or not different.
    """
    attributes = _checked_names(names or [place.name for place in places], len(places))
    read = [_read(place) for place in places]
    stored = {len(array) for array, _ in read if len(array) > 1}
    rows = rows_of(resolution) if resolution else max(stored, default=rows_of(1024))
    widths = {array.shape[1] for array, _ in read}
    if stored - {rows} or len(widths) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, (array, _) in zip(attributes, read, strict=True))
        raise ExportError(
            "directions",
            got=shapes,
            expected=f"{rows} rows or one, all of one width",
            remedy="give directions of one generator, and its --resolution",
        )
    directions = [_limited(np.repeat(a, rows // len(a), 0), place) for place, (a, _) in zip(places, read, strict=True)]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.stack(directions) * np.float32(scale)
    if not (np.isfinite(scaled).all() and scaled.any((1, 2)).all()):
        raise ExportError(
            "directions",
            got=f"one of nothing but zeros, or of numbers that are not finite, by its rows and the scale {scale:g}",
            expected="finite numbers",
            remedy="correct --scale or the rows",
        )
    return DirectionWeights(scaled, attributes, tuple(source for _, source in read))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # about a name that no file can have
        return False


def _checked_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    usable = [name for name in names if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)]
    if len(names) != count or len({*usable}) != count or not 0 < count <= 64:
        raise ExportError(
            "directions",
            got=f"{count} of them with the names {', '.join(names) or 'none'}",
            expected="1 to 64, each with a name of its own of letters, digits, '_', '.' and '-'",
            remedy="give --name for each, in order",
        )
    return tuple(names)


def _limited(direction: Array, place: DirectionPlace) -> Array:
    """Keep the rows that the place names, and set the others to 0."""
    if place.rows is None:
        return direction
    first, last = place.rows
    if not first <= last < len(direction):
        raise ExportError(
            str(place.file),
            got=f"rows {first}-{last}",
            expected=f"rows within 0-{len(direction) - 1}, in order",
            remedy="correct the range",
        )
    kept = np.zeros_like(direction)
    kept[first : last + 1] = direction[first : last + 1]
    return kept


def _read(place: DirectionPlace) -> tuple[Array, Source]:
    """Read one direction as [1, D] or [L, D], and where it is from."""
    if place.file.suffix.lower() == ".npy":
        array, source = _read_npy(place)
    else:
        checkpoint = open_checkpoint(place.file)
        array, source = _from_checkpoint(checkpoint, place), checkpoint.source("a direction")
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not (0 < len(array) <= _MOST_ROWS and 0 < array.shape[1] <= _WIDEST):
        raise _refused(place.file, f"an array of shape {list(array.shape)}")
    if not np.isfinite(array).all() or not array.any():
        raise _refused(place.file, "NaN, infinity, or nothing but zeros")
    return array, source


def _read_npy(place: DirectionPlace) -> tuple[Array, Source]:
    _refuse_component(place)
    try:
        content = file_content(place.file, _MOST_BYTES)
        array = array_from_npy(content)
    except UnusableFileError as error:
        raise _refused(place.file, error.why) from None
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, which is refused
        return array.astype(np.float32), Source(place.file, "NumPy", sha256(content).hexdigest())


def _from_checkpoint(checkpoint: Checkpoint, place: DirectionPlace) -> Array:
    content = checkpoint.content
    if isinstance(content, StoredTensor):
        _refuse_component(place)
        return content.array()
    components, deviations = (content.get(name) if isinstance(content, dict) else None for name in ("comp", "std"))
    if not isinstance(components, StoredTensor) or not isinstance(deviations, StoredTensor):
        raise _refused(place.file, "something else")
    count = components.shape[0] if components.shape else 0
    if deviations.shape != (count,):
        raise _refused(place.file, f"{count} components and deviations {list(deviations.shape)}")
    if place.component is None or place.component >= count:
        got = "no number" if place.component is None else f"component {place.component}"
        raise _refused(place.file, f"{got} of {count} components", f"name one, such as {place.file.name}#0")
    component: Array = components.array()[place.component] * deviations.array()[place.component]
    return component


def _refuse_component(place: DirectionPlace) -> None:
    if place.component is not None:
        raise _refused(place.file, f"one direction, and the number #{place.component}", "leave the number out")


def _refused(path: Path, got: str, remedy: str = "check that this is the file of a direction") -> CheckpointError:
    return CheckpointError(
        str(path),
        got=got,
        expected="a direction [D] or [L, D] as .npy or .pt, or GANSpace's components",
        remedy=remedy,
    )
