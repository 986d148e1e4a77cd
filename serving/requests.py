"""Checks of what a request holds, before anything is computed from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import Signature, TensorSpec


def check_request(signature: Signature, given: Mapping[str, AnyArray]) -> None:
    """Check the tensors of one request against a model's inputs.

    Raises:
        RequestError: a tensor is missing or unknown, has another dtype or shape than the signature says or another
            batch size than its neighbours, or holds NaN or infinity.
    """
    expected = {spec.name: spec for spec in signature.inputs}
    required = {spec.name for spec in signature.inputs if not spec.optional}
    if not required <= given.keys() <= expected.keys():
        raise RequestError(
            "request",
            got=f"the tensors {sorted(given)}",
            expected=f"{sorted(required)} and optionally {sorted(expected.keys() - required)}",
            remedy="give each required tensor once and no others",
        )
    batch = given[signature.inputs[0].name].shape[:1]
    for name, value in given.items():
        _check_tensor(expected[name], value, batch)


def _check_tensor(spec: TensorSpec, value: AnyArray, batch: tuple[int, ...]) -> None:
    if not spec.fits(value) or value.shape[:1] != batch or batch in ((), (0,)):
        raise RequestError(
            f"tensor {spec.name!r}",
            got=f"{value.dtype} {list(value.shape)}",
            expected=f"{spec} with one N of at least 1 for all tensors",
            remedy="convert the array before the request",
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise RequestError(
            f"tensor {spec.name!r}",
            got="a value that is NaN or infinite",
            expected="finite numbers",
            remedy="look for the step that produced it",
        )
