"""What a seed or z of a random face stands for: the computation of the served model ``draw_z``.

The same seed is the same z in every batch, client and server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import FILLED, Signature
from serving.condition import filled_generator_controls, refuse_contradictions, z_from_seed, z_from_seed_tensor
from serving.requests import check_request

Seeds = int | Sequence[int]


def filled_sample(
    signature: Signature, given: Mapping[str, AnyArray], default_blend: Sequence[float] = ()
) -> dict[str, AnyArray]:
    """Fill in the defaults of the controls of random faces.

    Args:
        signature: ``engines.contract.tensors.draw_z_signature``.
        given: at least one of ``z`` float32 [N, Z] or ``seed`` int64 [N, 1] (seed 0 if neither is given); ``psi``
            float32 [N, 1] (default 1); and, for a live generator, ``blend``; see ``serving.condition.filled_controls``.
        default_blend: a live generator's default shares.

    Returns:
        ``z_filled``, ``psi_filled`` and, for a live generator, ``blend_filled``.

    Raises:
        RequestError: nothing is given, a tensor does not fit the signature or is not finite, or z and seed are both
            given.
    """
    check_request(signature, given)
    refuse_contradictions(given)
    if not given:
        raise RequestError("request", got="no tensor", expected="'seed' or 'z'", remedy="add one of them")
    batch = len(next(iter(given.values())))
    dims = {spec.name: spec.dims for spec in signature.inputs}
    z = given["z"] if "z" in given else z_from_seed_tensor(given, batch, dims["z"])
    filled = {"z": z, **filled_generator_controls(signature, given, batch, default_blend)}
    return {name + FILLED: value for name, value in filled.items()}


def z_of_seeds(seeds: Seeds, size: int) -> NDArray[np.float32]:
    """Return the z of each seed, float32 [N, size].

    Raises:
        RequestError: there is no seed, one is negative, or something else is given.
    """
    return np.stack([z_from_seed(seed, size) for seed in seed_list(seeds)])


def seed_list(seeds: Seeds) -> list[int]:
    """Return one or several seeds as a list.

    Raises:
        RequestError: there is none, or something other than whole numbers below 2^63 is given, as servers take them.
    """
    array = np.atleast_1d(np.asarray(seeds))
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max:
        raise RequestError(
            "seeds",
            got="none" if not array.size else f"{array.dtype} {list(array.shape)}",
            expected="one whole number below 2^63, or several",
            remedy="give such as [0, 1, 2]",
        )
    return [int(seed) for seed in array]


def no_mapping(subject: str) -> RequestError:
    """The error about a generator that cannot draw faces."""
    return RequestError(
        subject,
        got="a generator without a mapping network",
        expected="one with it, which random faces need",
        remedy="export the generator again, from a checkpoint that holds the network",
    )
