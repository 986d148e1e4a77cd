"""Checks of a request's tensors before anything is computed from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.blends import check_blend
from engines.contract.checks import check_tensors
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, Signature

KEPT = np.float32(np.nan)
"""The target of an attribute that stays as it is in the face."""


def check_request(signature: Signature, given: Mapping[str, AnyArray]) -> None:
    """Check the tensors of one request against a model's inputs.

    Raises:
        RequestError: a tensor is missing or unknown, has another dtype or shape than the signature says or another
            batch size than its neighbours, holds infinity, or NaN in another tensor than ``attributes``, or a live
            blend's share is outside 0..1, or several have a sum above 1.
    """
    check_tensors(signature, given, RequestError, whole="request", part="tensor")
    for name, value in given.items():
        unusable = np.isinf if name == "attributes" else _is_not_finite
        if value.dtype.kind == "f" and unusable(value).any():
            raise RequestError(
                f"tensor {name!r}",
                got="a value that is NaN or infinite",
                expected="finite numbers",
                remedy="check the step that produced it",
            )

    if signature.blend and BLEND in given:
        check_blend(given[BLEND], signature.blend)


def check_code_array(w: object) -> None:
    """Raise RequestError unless ``w`` is an array of three dimensions, whose sizes can be compared with a model's."""
    if not isinstance(w, np.ndarray) or w.ndim != 3:
        raise RequestError(
            "tensor 'w'",
            got=f"{w.dtype} {list(w.shape)}" if isinstance(w, np.ndarray) else f"a {type(w).__name__}",
            expected="codes float32 [N,L,D], as encode returns them",
            remedy="convert the array before the call",
        )


def check_codes(w: object, signature: Signature) -> None:
    """Raise RequestError unless ``w`` are codes for a model, which has an input of that name."""
    check_code_array(w)
    (spec,) = (spec for spec in signature.inputs if spec.name == "w")
    array = np.asarray(w)
    rows, width = array.shape[1:]
    if (rows, width) != spec.dims:
        raise RequestError(
            "codes",
            got=f"{rows} rows of {width}",
            expected=f"{spec.dims[0]} rows of {spec.dims[1]}, as the model takes them",
            remedy="give codes for its generator",
        )
    check_request(Signature((spec,), ()), {"w": array})


def _is_not_finite(value: AnyArray) -> AnyArray:
    return ~np.isfinite(value)
