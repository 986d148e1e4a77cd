"""The controls of a request, in the three forms that they take on their way to a model.

    Style     frozen; one value for all faces, and the model's name       toonifiers, sessions, command line
    Controls  keyword arguments; one value for all faces or one for each  ``ToonifyClient.toonify(**controls)``
    tensors   arrays [N, ...] with the names and dtypes of the model      the request itself, ``Pipeline.run``

``Style.controls`` and ``control_tensors`` convert each form to the next one; ``serving.condition`` then adds the
tensors that are absent, with their defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, DType, Signature, TensorSpec, blend_dims
from serving.condition import kept_attributes
from serving.live_blends import BLEND_CONTROLS, BlendChoices, scaled, swapped_shares
from serving.requests import KEPT

FarCodes = Literal["pull", "leave", "keep"]
"""What becomes of a face whose code lies too far out: the code is pulled in, the face left alone, or the code kept."""

EDIT_ROWS = {
    "gender": range(8),
    "glasses": range(2, 4),
    "age": range(4, 8),
    "expression": range(4, 6),
}
"""Rows of W+ to which ISF-GAN's authors confine an edit of one attribute (``use_post`` in their StyleGAN2 scripts)."""


class GeneratorControls(TypedDict, total=False):
    """The controls that a generator takes; see ``Controls``."""

    psi: ArrayLike | None
    r_swap: ArrayLike | None
    blend: ArrayLike | None
    alpha: ArrayLike | None
    transfer: str | Sequence[str] | None


class Controls(GeneratorControls, total=False):
    """The optional arguments of a request. Each is one value for all faces, or one per face along a first axis.

    ``attributes`` [A]: the target of the edit, 0 or 1 per attribute; values between and beyond interpolate and
    extrapolate. An attribute that a mapping by name leaves out, or that is NaN, stays as it is in the face, which the
    model's classifier reads. Without ``attributes`` a face passes unedited. A direction has a range, outside which it
    is refused, and stays at 0 where it is left out.
    ``keep`` [A]: what the faces show, 0 to 1 per attribute, by name or as ``read_attributes`` returns it; it replaces
    the classifier. A head of directions does not take it.
    ``exact``: an attribute that is left out becomes 0 instead of staying as it is.
    ``seed`` (default 0) or ``z`` [Z]: the noise that chooses among the possible edits.
    ``row_strength`` [L]: how far each row of W+ follows the edit, from 0 (not at all) to 1 (fully; the default).
    ``psi``: truncation towards the generator's average code, from 1 (none; the default) to 0 (the average itself).

    Only live models take the blend:

    ``r_swap``: layers up to this resolution, a power of two, come from the transferred model, and the others from the
    base.
    ``blend`` [G]: instead, the transferred model's share, 0 to 1, at each resolution 4, 8, ..., R. The model's default
    holds where neither is given.
    ``alpha``: factor of all shares, 0 to 1, and so the transferred model's share in the layers of ``r_swap``.
    ``transfer``: where there are several transferred models, the name of the one whose share ``r_swap`` or ``blend``
    is. Without it ``r_swap`` takes the first one, and ``blend`` [G, T] has the share of each, in sum at most 1.
    """

    attributes: Mapping[str, float] | ArrayLike | None
    keep: Mapping[str, float] | ArrayLike | None
    exact: bool
    seed: ArrayLike | None
    z: ArrayLike | None
    row_strength: ArrayLike | None


@dataclass(frozen=True)
class Edit:
    """An edit as a command's options state it: see ``Controls``; ``rows`` is "all" or "preset"."""

    attributes: Mapping[str, float]
    keep: Mapping[str, float]
    exact: bool = False
    rows: str = "all"


@dataclass(frozen=True)
class Style:
    """The look of all pictures of a run, as a value that is compared, kept and changed between frames.

    ``attributes``: the target of the ISF edit by name; an attribute that is left out stays as it is in the face. None
    edits nothing.
    ``keep``, ``exact``: see ``Controls``.
    ``seed``: chooses among the possible edits. It stands for the same noise in every frame.
    ``strength``: how far the codes follow the edit, from 0 (not at all) to 1 (fully).
    ``row_strength`` [L]: multiplies ``strength`` row by row; None is 1 for every row.
    ``psi``: truncation towards the generator's average code, from 1 (none) to 0 (the average itself).
    ``model``: the generator's name, such as "blend_r16"; None selects the default generator.
    ``r_swap``, ``blend``, ``alpha``, ``transfer``: a live model's blend, see ``Controls``; None is the model's own.
    """

    attributes: Mapping[str, float] | None = None
    seed: int = 0
    strength: float = 1.0
    row_strength: tuple[float, ...] | None = None
    psi: float = 1.0
    model: str | None = None
    keep: Mapping[str, float] | None = None
    exact: bool = False
    r_swap: int | None = None
    blend: tuple[float, ...] | tuple[tuple[float, ...], ...] | None = None
    alpha: float | None = None
    transfer: str | None = None

    @property
    def keeps(self) -> bool:
        """True if an edit may keep what the faces show: ``keep`` may leave attributes out, ``exact`` keeps nothing."""
        return self.attributes is not None and not self.exact

    def controls(self, rows: int, shown: AnyArray | None = None) -> Controls:
        """Return the style as the controls of a request to a model whose codes have ``rows`` rows.

        ``shown`` [N, A] are attributes read from the faces, in the place of which stands what ``keep`` names.
        """
        controls = Controls(psi=self.psi, r_swap=self.r_swap, blend=self.blend, alpha=self.alpha)
        controls["transfer"] = self.transfer
        if self.attributes is not None:
            by_row = np.ones(rows) if self.row_strength is None else np.asarray(self.row_strength)
            attributes = self.attributes if shown is None else self._targets()
            controls |= Controls(attributes=attributes, seed=self.seed, row_strength=self.strength * by_row)
            kept = self.keep if shown is None and not self.exact else shown
            controls |= Controls(keep=kept, exact=self.exact)
        return controls

    def _targets(self) -> Mapping[str, float]:
        """Return the attributes, and for those that are left out what ``keep`` says of them."""
        named = {name: value for name, value in (self.attributes or {}).items() if self.exact or not isnan(value)}
        kept = {} if self.exact else self.keep or {}
        return {name: float(value > 0.5) for name, value in kept.items() if not isnan(value)} | named


def row_strength_for(attributes: str | Iterable[str], rows: int) -> NDArray[np.float32]:
    """Return row strengths [rows] that confine an edit to the rows of its attributes: 1 in ``EDIT_ROWS``, 0 elsewhere.

    Rows that the generator does not have are left out. The published rules are for single attributes; for several
    attributes the union of their rows is taken.

    Raises:
        RequestError: ``EDIT_ROWS`` has no rule for an attribute.
    """
    strength = np.zeros(rows, np.float32)
    for name in [attributes] if isinstance(attributes, str) else attributes:
        if name not in EDIT_ROWS:
            raise RequestError(
                f"attribute {name!r}",
                got="no published rule for its rows",
                expected=f"one of {', '.join(EDIT_ROWS)}",
                remedy="give row_strength as an array, or edit all rows",
            )
        strength[[row for row in EDIT_ROWS[name] if row < rows]] = 1
    return strength


def attribute_vector(values: Mapping[str, float], names: Sequence[str], missing: float = float(KEPT)) -> list[float]:
    """Return the target vector in the order of ``names``; an attribute that ``values`` leaves out is ``missing``.

    Raises:
        RequestError: ``values`` has a name that the model does not have.
    """
    unknown = sorted(values.keys() - set(names))
    if unknown:
        raise RequestError(
            f"attribute {unknown[0]!r}",
            got="no attribute of the model",
            expected=f"one of {', '.join(names)}" if names else "none, since the model has no ISF head",
            remedy="choose one of those" if names else "leave it out or serve a model with an ISF head",
        )
    return [values.get(name, missing) for name in names]


def control_tensors(
    signature: Signature,
    attribute_names: Sequence[str],
    controls: Mapping[str, Any],
    batch: int,
    choices: BlendChoices,
) -> dict[str, AnyArray]:
    """Convert the controls that are given, not None, to tensors [batch, ...] with the model's dtypes.

    ``keep`` and ``exact`` become part of the attributes, ``r_swap``, ``alpha`` and ``transfer`` of the blend.

    Raises:
        RequestError: the model does not take a control, or a value cannot be converted to the control's tensor.
    """
    specs = {spec.name: spec for spec in signature.inputs if spec.optional}
    given = {name: value for name, value in controls.items() if value is not None}
    edits = "attributes" in specs
    keep, exact = (given.pop("keep", None), given.pop("exact", False)) if edits else (None, False)
    blend = {name: given.pop(name) for name in BLEND_CONTROLS if name in given}
    # The order of the controls decides which one is named: a seed follows the attributes that it belongs to.
    for name in (name for name in given if name not in specs):
        raise RequestError(
            f"control {name!r}",
            got="a model that does not take it",
            expected=f"one of {', '.join(specs)}",
            remedy="leave it out or choose another model",
        )
    if isinstance(given.get("attributes"), Mapping):
        given["attributes"] = attribute_vector(given["attributes"], attribute_names, 0.0 if exact else float(KEPT))
    tensors = {name: _per_face(specs[name], value, batch) for name, value in given.items()}
    if keep is not None and "attributes" in tensors:
        if "z" not in specs:  # a head of directions has no noise
            raise RequestError(
                "control 'keep'",
                got="a head of directions",
                expected="an ISF head: a direction that is not named stays at rest, whatever the face shows",
                remedy="leave it out",
            )
        shown = attribute_vector(keep, attribute_names) if isinstance(keep, Mapping) else keep
        tensors["attributes"] = kept_attributes(tensors["attributes"], _per_face(specs["attributes"], shown, batch))
    if blend:
        tensors[BLEND] = _blend_tensor(blend, choices, batch)
    return tensors


def _blend_tensor(controls: Mapping[str, Any], choices: BlendChoices, batch: int) -> AnyArray:
    """Return the shares, [batch, G] or [batch, G, T], of ``r_swap``, ``blend`` or the default, times ``alpha``."""
    choices.check_live(next(iter(controls)))
    _refuse_contradicting_blends(controls)
    spec = TensorSpec(BLEND, DType.FLOAT32, blend_dims(choices.resolutions[-1], len(choices.transferred)))
    if "r_swap" in controls:
        swaps = _per_face(TensorSpec("r_swap", DType.INT64, (1,)), controls["r_swap"], batch)
        own = np.array([swapped_shares(int(swap), choices.resolutions[-1]) for (swap,) in swaps], np.float32)
        shares = _shares_of_one(own, controls.get("transfer"), choices).reshape(batch, *spec.dims)
    elif "transfer" in controls:
        own = _per_face(replace(spec, dims=spec.dims[:1]), controls[BLEND], batch)
        shares = _shares_of_one(own, controls["transfer"], choices).reshape(batch, *spec.dims)
    else:
        shares = _per_face(spec, controls.get(BLEND, np.reshape(choices.default, spec.dims)), batch)
    return scaled(shares, _per_face(TensorSpec("alpha", DType.FLOAT32, (1,)), controls.get("alpha", 1.0), batch))


def _refuse_contradicting_blends(controls: Mapping[str, Any]) -> None:
    if "r_swap" in controls and BLEND in controls:
        raise RequestError(
            "controls", got="both 'r_swap' and 'blend'", expected="one of them or neither", remedy="leave one out"
        )
    if "transfer" in controls and not {"r_swap", BLEND} & controls.keys():
        raise RequestError(
            "controls",
            got="'transfer' without 'r_swap' or 'blend'",
            expected="one of them, the share of the model that it names",
            remedy="add r_swap or leave it out",
        )


def _shares_of_one(shares: AnyArray, transfer: str | Sequence[str] | None, choices: BlendChoices) -> AnyArray:
    """Return [N, G, T], in which the shares [N, G] are those of a named model, one for all faces or one for each."""
    names = np.atleast_1d(np.asarray(choices.transferred[0] if transfer is None else transfer, object)).tolist()
    if len(names) not in (1, len(shares)):
        raise RequestError(
            "control 'transfer'",
            got=f"{len(names)} names",
            expected=f"one for all faces or {len(shares)}, one for each",
            remedy="name one model for each face",
        )
    all_shares = np.zeros((*shares.shape, len(choices.transferred)), np.float32)
    numbers = [choices.number_of(name) for name in names]
    all_shares[np.arange(len(shares)), :, np.broadcast_to(numbers, len(shares))] = shares
    return all_shares


def _per_face(spec: TensorSpec, value: ArrayLike, batch: int) -> AnyArray:
    try:
        # "same_kind" converts 1 or 0.5 to float32, but refuses 0.5 as a seed. A value that overflows becomes infinite,
        # and ``check_request`` refuses it.
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
