"""The blend of a request to a live generator: ``r_swap``, ``blend`` and ``alpha`` become its shares at each resolution.

Letters in shapes: N faces, G resolutions 4, 8, ..., R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.contract.blends import swapped_share
from engines.contract.errors import RequestError
from engines.contract.tensors import resolution_of_shares, resolutions_to

DEFAULT_BLEND = "default_blend"
BLEND_RESOLUTIONS = "blend_resolutions"
"""Names of the parameters by which a served model tells its default shares and the resolutions that they are for."""

BLEND_CONTROLS = ("r_swap", "blend", "alpha")
"""The controls that only live models take."""


@dataclass(frozen=True)
class BlendChoices:
    """A model's choices of blends.

    ``model``: the name by which errors name it.
    ``default`` [G]: the shares of requests that choose none; empty for a model that is not live.
    """

    model: str
    default: Sequence[float] = ()

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions 4, 8, ..., R of the shares; none for a model that is not live."""
        return resolutions_to(resolution_of_shares(len(self.default))) if self.default else ()

    def check_live(self, control: str) -> None:
        """Raise RequestError if the model is not live."""
        if not self.default:
            raise RequestError(
                f"control {control!r}",
                got=f"the model {self.model!r}, whose blend is fixed",
                expected="a live model, which toonify-export blend --live makes",
                remedy="leave it out or choose another model",
            )


def swapped_shares(r_swap: int, resolution: int) -> tuple[float, ...]:
    """Return the shares [G] of a hard swap: 1 at each resolution up to ``r_swap``, else 0.

    An r_swap below 4 takes every layer from the base, and one at ``resolution`` every layer from the transferred model.

    Raises:
        RequestError: ``r_swap`` is no power of two from 1 to ``resolution``.
    """
    if r_swap.bit_count() != 1 or not 1 <= r_swap <= resolution:
        raise RequestError(
            "control 'r_swap'",
            got=str(r_swap),
            expected=f"a power of two from 1 to {resolution}",
            remedy="choose one of the generator's resolutions",
        )
    return tuple(swapped_share(each, r_swap) for each in resolutions_to(resolution))


def scaled(shares: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the shares [N, G], each times its face's ``alpha`` [N, 1]: what stands in the place of a share of 1.

    Raises:
        RequestError: an alpha is not within 0..1.
    """
    outside = alpha[~((alpha >= 0) & (alpha <= 1))]
    if outside.size:
        raise RequestError(
            "control 'alpha'", got=f"{outside[0]:g}", expected="a number within 0..1", remedy="correct the value"
        )
    return alpha * shares


def blend_parameters(default: Sequence[float]) -> dict[str, str]:
    """Return the parameters by which a served model that is live tells its default shares [G]; none for another."""
    if not default:
        return {}
    resolutions = resolutions_to(resolution_of_shares(len(default)))
    return {BLEND_RESOLUTIONS: ",".join(map(str, resolutions)), DEFAULT_BLEND: ",".join(map(repr, default))}


def blend_from_text(text: str) -> tuple[float, ...]:
    """Read the parameter ``DEFAULT_BLEND``; an empty text stands for a model that is not live."""
    return tuple(float(share) for share in text.split(",") if share)
