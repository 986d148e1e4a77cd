"""Checks of a request's tensors before anything is computed from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.checks import check_tensors
from engines.contract.errors import RequestError
from engines.contract.tensors import Signature


def check_request(signature: Signature, given: Mapping[str, AnyArray]) -> None:
    """Check the tensors of one request against a model's inputs.

    Raises:
        RequestError: a tensor is missing or unknown, has another dtype or shape than the signature says or another
            batch size than its neighbours, or holds NaN or infinity.
    """
    check_tensors(signature, given, RequestError, whole="request", part="tensor")
    for name, value in given.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise RequestError(
                f"tensor {name!r}",
                got="a value that is NaN or infinite",
                expected="finite numbers",
                remedy="check the step that produced it",
            )
