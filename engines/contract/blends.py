"""A live generator's blend: the check of a request's shares, and the arithmetic that combines the parents' weights.

The parents are the base, number 0, and T transferred models. Shares are those of the transferred models; the base
has the rest. Letters in shapes: N batch, G resolutions 4, 8, ..., R, T transferred models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import BLEND, TensorSpec, resolution_of_shares, resolutions_to

NEGLIGIBLE = 2.0**-25
"""The largest share that counts as 0: a term with it is lost to rounding when added to a float32 of equal size."""

ROUNDING = 1e-6
"""How far beyond 1 a sum of shares may be, each of which was rounded."""

TransferShares = tuple[float, ...]
"""The share of each transferred model at one resolution."""


def check_blend(blend: AnyArray, spec: TensorSpec) -> None:
    """Raise RequestError unless ``blend`` is a batch of blends for a live generator with the input ``spec``.

    Args:
        blend: float32 [N, G], the transferred model's shares, each within 0..1; or [N, G, T], those of several models,
            whose sum is at most 1.
        spec: the generator's input.
    """
    if blend.dtype != spec.dtype.numpy or blend.shape[1:] != spec.dims:
        resolutions = resolutions_to(resolution_of_shares(spec.dims[0]))
        each = f", of each of {spec.dims[1]} models" if len(spec.dims) > 1 else ""
        raise RequestError(
            f"tensor {BLEND!r}",
            got=f"{blend.dtype} {list(blend.shape)}",
            expected=f"{spec}, a share for each of the resolutions {', '.join(map(str, resolutions))}{each}",
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
    sums = blend.sum(tuple(range(2, blend.ndim)), np.float64)
    if (sums > 1 + ROUNDING).any():
        raise RequestError(
            f"tensor {BLEND!r}",
            got=f"shares at one resolution whose sum is {sums.max():g}",
            expected="a sum of at most 1, of which the base has the rest",
            remedy="give smaller shares",
        )


def rows_by_blend(blend: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Return the numbers of the rows of [N, G] or [N, G, T] that have each blend, in the order in which these come."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, row in enumerate(blend.reshape(len(blend), -1).tolist()):
        groups.setdefault(tuple(row), []).append(number)
    return [np.array(rows) for rows in groups.values()]


def shares_by_resolution(blend: NDArray[np.float32]) -> list[TransferShares]:
    """Return the shares at each resolution, lowest first, of one blend [G] or [G, T]."""
    return [tuple(shares) for shares in blend.reshape(len(blend), -1).tolist()]


def swapped_share(resolution: int, r_swap: int) -> float:
    """Return the transferred model's share at a resolution by the paper's rule: 1 up to r_swap, else 0."""
    return float(resolution <= r_swap)


def combined(values: Sequence[NDArray[np.float32]], shares: TransferShares) -> NDArray[np.float32]:
    """Return the sum of the parents' arrays, base first, each times its share; see ``terms``.

    An array that has all is returned itself, no copy.
    """
    (first, factor), *others = terms(shares)
    if not others:
        return values[first]
    total: NDArray[np.float32] = np.asarray(np.float32(factor) * values[first])
    for number, factor in others:
        total += np.float32(factor) * values[number]
    return total


def terms(shares: TransferShares) -> list[tuple[int, float]]:
    """Return the number and the share of each parent that counts, base first, for the transferred models' shares.

    The shares are rounded to float32, and the base has the rest. A blend that is made at export and a live one, whose
    request has only the transferred models' shares in float32, are therefore equal bit for bit.
    """
    rounded = [np.float32(share) for share in shares]
    rest = np.float32(1)
    for share in rounded:
        rest -= share
    return [(number, float(share)) for number, share in enumerate([rest, *rounded]) if share > NEGLIGIBLE]
