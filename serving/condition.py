"""Default values of a request's optional control tensors: the computation of the served model ``condition``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray
from engines.contract.attributes import Ranges
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, FILLED, Signature
from serving.requests import check_request

DEFAULT_SEED = 0


Classify = Callable[[AnyArray], AnyArray]
"""Reads attributes: faces uint8 [N, 256, 256, 3] -> probabilities float32 [N, A]."""


def filled_controls(
    signature: Signature,
    given: Mapping[str, AnyArray],
    classify: Classify | None = None,
    default_blend: Sequence[float] = (),
    ranges: Ranges = MappingProxyType({}),
) -> dict[str, AnyArray]:
    """Fill in the defaults of the controls that a request leaves out.

    Values need only be finite. Labels, row strengths and psi beyond 0..1 extrapolate: that is a legitimate use, and the
    worst that a finite value causes is an ugly picture. Directions have ranges, which their exporter chose.

    Args:
        signature: ``engines.contract.tensors.condition_signature``.
        given: ``w`` float32 [N, L, D], which determines N and L; ``face`` uint8 [N, 256, 256, 3] if it is in the
            signature; and any of ``attributes`` float32 [N, A] (the target; NaN keeps what the face shows), ``z``
            float32 [N, Z] or ``seed`` int64 [N, 1] (seed 0 if neither is given), ``row_strength`` float32 [N, L]
            (default 1 with attributes; 0 without, so that w passes the ISF head unchanged) and ``psi`` float32 [N, 1]
            (default 1) and, for a live generator, ``blend`` float32 [N, G] or, for T transferred models, [N, G, T]
            (default ``default_blend``).
        classify: reads the attributes that are kept from ``face``; without it none can be kept.
        default_blend: a live generator's default: the share of each transferred model, resolution by resolution.
        ranges: of a head of directions; NaN becomes the rest, and values outside are refused.

    Returns:
        The signature's outputs: every control under its name with the suffix ``_filled``.

    Raises:
        RequestError: a tensor does not fit the signature, is not finite, or contradicts another one; or attributes are
            outside their ranges, or kept where nothing reads them from the face; or there is neither a blend nor a
            default for it.
    """
    check_request(signature, given)
    batch = len(given["w"])
    filled = filled_generator_controls(signature, given, batch, default_blend)
    dims = {spec.name: spec.dims for spec in signature.inputs}
    if "attributes" in dims:
        refuse_contradictions(given)
        if "z" in dims:
            filled["z"] = given["z"] if "z" in given else z_from_seed_tensor(given, batch, dims["z"])
        strength = np.float32("attributes" in given)
        filled["row_strength"] = given.get("row_strength", np.full((batch, *dims["row_strength"]), strength))
        target = np.zeros((batch, *dims["attributes"]), np.float32)
        if "attributes" in given:
            target = _with_kept(rested_attributes(given["attributes"], ranges), given.get("face"), classify)
        filled["attributes"] = target
    return {name + FILLED: value for name, value in filled.items()}


def rested_attributes(target: AnyArray, ranges: Ranges) -> AnyArray:
    """Return the target [N, A] with the attributes' values at rest in place of NaN, where they have such values.

    Raises:
        RequestError: a value is outside its attribute's range.
    """
    target = target.copy()
    for column, (name, bounds) in zip(target.T, ranges.items(), strict=False):
        if bounds.rest is None:
            continue
        column[np.isnan(column)] = bounds.rest
        outside = column[(column < np.float32(bounds.low)) | (column > np.float32(bounds.high))]
        if outside.size:
            raise RequestError(
                f"attribute {name!r}",
                got=f"{outside[0]:g}",
                expected=f"a number within {bounds.low:g}..{bounds.high:g}",
                remedy="correct the value, or export the directions with a larger --limit",
            )
    return target


def kept_attributes(target: AnyArray, shown: AnyArray) -> AnyArray:
    """Return the target [N, A] with what the faces show in place of NaN: probabilities [N, A], rounded to 0 or 1.

    An ISF head is trained on the values 0 and 1. Where ``shown`` is NaN, the target stays NaN.
    """
    rounded = np.where(np.isnan(shown), np.float32(np.nan), shown > 0.5).astype(np.float32)
    return np.where(np.isnan(target), rounded, target)


def refuse_kept(target: AnyArray) -> None:
    """Raise RequestError if a target keeps attributes, where no classifier can read them."""
    if np.isnan(target).any():
        raise RequestError(
            "tensor 'attributes'",
            got="NaN, which keeps what the face shows",
            expected="a number for every attribute, since no classifier reads them here",
            remedy="give all attributes, say by keep which the face has, or serve a classifier of its attributes",
        )


def _with_kept(target: AnyArray, face: AnyArray | None, classify: Classify | None) -> AnyArray:
    if face is None or classify is None:
        refuse_kept(target)
        return target
    return kept_attributes(target, classify(face)) if np.isnan(target).any() else target


def filled_generator_controls(
    signature: Signature, given: Mapping[str, AnyArray], batch: int, default_blend: Sequence[float]
) -> dict[str, AnyArray]:
    """Return ``psi`` [batch, 1], by default 1, and ``blend`` [batch, ...], if the signature has it.

    Raises:
        RequestError: there is neither a blend nor a default for it.
    """
    filled = {"psi": given.get("psi", np.ones((batch, 1), np.float32))}
    if signature.blend:
        filled[BLEND] = given[BLEND] if BLEND in given else _repeated(default_blend, batch, signature.blend.dims)
    return filled


def _repeated(default: Sequence[float], batch: int, dims: tuple[int, ...]) -> AnyArray:
    if len(default) != prod(dims):
        raise RequestError(
            f"tensor {BLEND!r}",
            got="none, and no default of the model's",
            expected=f"{prod(dims)} shares, one for each resolution and transferred model",
            remedy="give r_swap or blend",
        )
    return np.tile(np.asarray(default, np.float32), (batch, 1)).reshape(batch, *dims)


def z_from_seed(seed: int, size: int) -> NDArray[np.float32]:
    """Return the z of a seed, for an ISF head or a mapping network: standard normal float32 [size], NumPy's PCG64.

    Raises:
        RequestError: ``seed`` is negative.
    """
    if seed < 0:
        raise RequestError("tensor 'seed'", got=str(seed), expected="0 or more", remedy="choose another seed")
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def z_from_seed_tensor(given: Mapping[str, AnyArray], batch: int, dims: tuple[int, ...]) -> NDArray[np.float32]:
    """Return z [batch, Z] of the tensor ``seed`` [batch, 1], or of the default seed.

    Raises:
        RequestError: a seed is negative.
    """
    seeds = given.get("seed", np.full((batch, 1), DEFAULT_SEED))
    return np.stack([z_from_seed(int(seed), dims[0]) for (seed,) in seeds])


def refuse_contradictions(given: Mapping[str, AnyArray]) -> None:
    """Raise RequestError if tensors of a request contradict each other."""
    if "z" in given and "seed" in given:
        raise RequestError(
            "request", got="both 'z' and 'seed'", expected="one of them or neither", remedy="leave one out"
        )
    if "row_strength" in given and "attributes" not in given:
        raise RequestError(
            "request",
            got="'row_strength' without 'attributes'",
            expected="'attributes' too, the target that the rows are moved towards",
            remedy="add 'attributes' or leave 'row_strength' out",
        )
