"""The controls of a request, in the three forms that they take on their way to a model.

    Style     frozen; one value for all faces, and the model's name       toonifiers, sessions, command line
    Controls  keyword arguments; one value for all faces or one for each  ``ToonifyClient.toonify(**controls)``
    tensors   arrays [N, ...] with the names and dtypes of the model      the request itself, ``Pipeline.run``

``Style.controls`` and ``control_tensors`` convert each form to the next one; ``serving.condition`` then adds the
tensors that are absent, with their defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import Signature, TensorSpec

EDIT_ROWS = {
    "gender": range(8),
    "glasses": range(2, 4),
    "age": range(4, 8),
    "expression": range(4, 6),
}
"""Rows of W+ in which the authors of ISF-GAN keep an edit of one attribute (their StyleGAN2 scripts' ``use_post``)."""


class Controls(TypedDict, total=False):
    """What may be asked for beside the faces; of each, one value for all faces or one for each along a first axis.

    ``attributes``: where to move each face, 0/1 for each attribute, values between and beyond interpolate. It is the
    FULL target: a mapping by name means 0 for every attribute that it leaves out, and not "as it is". Without
    attributes a face passes unedited.
    ``seed`` (0) or ``z`` [Z]: the noise that chooses among the possible edits.
    ``row_strength`` [L]: how far each row of W+ follows the edit, 0 not at all, 1 (with attributes) wholly.
    ``psi``: truncation towards the generator's average, 1 none, 0 wholly.
    """

    attributes: Mapping[str, float] | ArrayLike | None
    seed: ArrayLike | None
    z: ArrayLike | None
    row_strength: ArrayLike | None
    psi: ArrayLike | None


@dataclass(frozen=True)
class Style:
    """The look of all pictures of a run, as a value that is compared, kept and changed between frames.

    ``attributes``: the full target of the ISF edit by name; an attribute that is left out is 0. None edits nothing.
    ``seed``: chooses among the possible edits. It stands for the same noise in every frame.
    ``strength``: how far the codes follow the edit, from 0 (not at all) to 1 (fully).
    ``row_strength`` [L]: multiplies ``strength`` row by row; None is 1 for every row.
    ``psi``: truncation towards the generator's average code, from 1 (none) to 0 (the average itself).
    ``model``: the generator's name, such as "blend_r16"; None selects the default generator.
    """

    attributes: Mapping[str, float] | None = None
    seed: int = 0
    strength: float = 1.0
    row_strength: tuple[float, ...] | None = None
    psi: float = 1.0
    model: str | None = None

    def controls(self, rows: int) -> Controls:
        """Return the style as the controls of a request to a model whose codes have ``rows`` rows."""
        controls = Controls(psi=self.psi)
        if self.attributes is not None:
            by_row = np.ones(rows) if self.row_strength is None else np.asarray(self.row_strength)
            controls |= Controls(attributes=self.attributes, seed=self.seed, row_strength=self.strength * by_row)
        return controls


def row_strength_for(attributes: str | Iterable[str], rows: int) -> NDArray[np.float32]:
    """Row strengths [rows] that confine an edit to the rows of its attributes: 1 in ``EDIT_ROWS``, 0 elsewhere.

    Rows beyond the generator's are left out. The authors give rules for single attributes; several take the union.

    Raises:
        RequestError: there is no rule for an attribute.
    """
    strength = np.zeros(rows, np.float32)
    for name in [attributes] if isinstance(attributes, str) else attributes:
        if name not in EDIT_ROWS:
            raise RequestError(
                f"attribute {name!r}",
                got="no rule for its rows",
                expected=f"one of {', '.join(EDIT_ROWS)}",
                remedy="give row_strength as an array, or edit all rows",
            )
        strength[[row for row in EDIT_ROWS[name] if row < rows]] = 1
    return strength


def attribute_vector(values: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """The full target vector in the order of ``names``; what ``values`` leaves out is 0.

    Raises:
        RequestError: a name that the model does not have.
    """
    unknown = sorted(values.keys() - set(names))
    if unknown:
        raise RequestError(
            f"attribute {unknown[0]!r}",
            got="no attribute of the model",
            expected=f"one of {', '.join(names)}" if names else "none, as it has no ISF head",
            remedy="choose among those",
        )
    return [values.get(name, 0) for name in names]


def control_tensors(
    signature: Signature, attribute_names: Sequence[str], controls: Mapping[str, Any], batch: int
) -> dict[str, AnyArray]:
    """The tensors [batch, ...] of the controls that are given.

    Raises:
        RequestError: a control that the model does not take, or that cannot become its tensor.
    """
    specs = {spec.name: spec for spec in signature.inputs if spec.optional}
    given = {name: value for name, value in controls.items() if value is not None}
    for name in given.keys() - specs.keys():
        raise RequestError(
            f"control {name!r}",
            got="a model without it",
            expected=f"one of {', '.join(specs)}",
            remedy="leave it out or choose another model",
        )
    if isinstance(given.get("attributes"), Mapping):
        given["attributes"] = attribute_vector(given["attributes"], attribute_names)
    return {name: _per_face(specs[name], value, batch) for name, value in given.items()}


def _per_face(spec: TensorSpec, value: ArrayLike, batch: int) -> AnyArray:
    try:
        # "same_kind": 1 or 0.5 becomes float32, but 0.5 never silently a seed; what overflows is found as infinite.
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(spec.dtype.numpy, casting="same_kind")
    except (TypeError, ValueError):
        raise _misfit(spec, "something else", batch) from None
    if spec.dims == (1,) and array.ndim < 2:
        array = array.reshape(-1, 1)
    if array.shape not in (spec.dims, (1, *spec.dims), (batch, *spec.dims)):
        raise _misfit(spec, f"shape {list(array.shape)}", batch)
    return np.broadcast_to(array, (batch, *spec.dims))


def _misfit(spec: TensorSpec, got: str, batch: int) -> RequestError:
    return RequestError(
        f"control {spec.name!r}",
        got=got,
        expected=f"{spec.dtype.numpy.name} {list(spec.dims)} for all faces or {[batch, *spec.dims]} for each",
        remedy="correct the value",
    )
