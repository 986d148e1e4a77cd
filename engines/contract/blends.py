"""A live generator's blend: the check of a request's shares, and the arithmetic that combines the parents' weights.

Letters in shapes: N batch, G resolutions 4, 8, ..., R.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, DType, TensorSpec, resolutions_to

NEGLIGIBLE = 2.0**-25
"""The largest share that counts as 0: a term with it is lost to rounding when added to a float32 of equal size."""


def check_blend(blend: AnyArray, resolution: int) -> None:
    """Raise RequestError unless ``blend`` is a batch of blends for a live generator of pictures of this resolution.

    Args:
        blend: the transferred model's shares, float32 [N, G], each within 0..1.
        resolution: side of the pictures in pixels.
    """
    resolutions = resolutions_to(resolution)
    spec = TensorSpec(BLEND, DType.FLOAT32, (len(resolutions),))
    if blend.dtype != np.float32 or blend.shape[1:] != spec.dims:
        raise RequestError(
            f"tensor {BLEND!r}",
            got=f"{blend.dtype} {list(blend.shape)}",
            expected=f"{spec}, a share for each of the resolutions {', '.join(map(str, resolutions))}",
            remedy="give one row of shares for each picture",
        )
    outside = blend[~((blend >= 0) & (blend <= 1))]  # NaN is not within any bounds
    if outside.size:
        raise RequestError(
            f"tensor {BLEND!r}",
            got=f"the share {outside[0]:g}",
            expected="shares within 0..1",
            remedy="give the transferred model's share at each resolution",
        )


def rows_by_blend(blend: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Return the numbers of the rows of [N, G] that have each blend, in the order in which the blends first appear."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, row in enumerate(blend.tolist()):
        groups.setdefault(tuple(row), []).append(number)
    return [np.array(rows) for rows in groups.values()]


def swapped_share(resolution: int, r_swap: int) -> float:
    """Return the transferred model's share at a resolution by the paper's rule: 1 up to r_swap, else 0."""
    return float(resolution <= r_swap)


def combined(values: Sequence[NDArray[np.float32]], shares: Sequence[float]) -> NDArray[np.float32]:
    """Return the sum of the parents' arrays, each times its share; an array that has all is returned itself, no copy.

    Of two parents, the second one's share is rounded to float32 and the first one has the rest, so that a blend that is
    made at export and a live one, whose request has only the second one's share, are equal bit for bit.
    """
    (first, share), *others = terms(shares)
    if not others:
        return values[first]
    total: NDArray[np.float32] = np.asarray(np.float32(share) * values[first])
    for number, share in others:
        total += np.float32(share) * values[number]
    return total


def terms(shares: Sequence[float]) -> list[tuple[int, float]]:
    """Return the number and the share, rounded to float32, of each parent that counts; see ``combined``."""
    if len(shares) == 2:
        second = float(np.float32(shares[1]))
        shares = (1 - second, second)
    return [(number, float(np.float32(share))) for number, share in enumerate(shares) if share > NEGLIGIBLE]
