"""The blend of a request to a live generator: ``r_swap``, ``blend`` and ``alpha`` become its shares at each resolution.

Letters in shapes: N faces, G resolutions 4, 8, ..., R, T transferred models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.contract.blends import swapped_share
from engines.contract.errors import RequestError
from engines.contract.tensors import resolution_of_shares, resolutions_to

if TYPE_CHECKING:
    from engines.model_directory import Manifest  # it needs pydantic, which a client does not

DEFAULT_BLEND = "default_blend"
BLEND_RESOLUTIONS = "blend_resolutions"
TRANSFERRED_MODELS = "transferred_models"
"""Names of the parameters by which a served model tells its default shares, the resolutions that they are for, and the
names of the models whose shares they are."""

BLEND_CONTROLS = ("r_swap", "blend", "alpha", "transfer")
"""The controls that only live models take."""


@dataclass(frozen=True)
class BlendChoices:
    """A model's choices of blends.

    ``model``: the name by which errors name it.
    ``default`` [G * T]: the shares of requests that choose none, the first resolution's first; empty for a model that
    is not live.
    ``transferred`` [T]: names of the transferred models.
    """

    model: str
    default: Sequence[float] = ()
    transferred: Sequence[str] = ("transfer",)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions 4, 8, ..., R of the shares; none for a model that is not live."""
        if not self.default:
            return ()
        return resolutions_to(resolution_of_shares(len(self.default) // len(self.transferred)))

    def check_live(self, control: str) -> None:
        """Raise RequestError if the model is not live."""
        if not self.default:
            raise RequestError(
                f"control {control!r}",
                got=f"the model {self.model!r}, whose blend is fixed",
                expected="a live model, which toonify-export blend --live makes",
                remedy="leave it out or choose another model",
            )

    def number_of(self, name: str) -> int:
        """Return the number of a transferred model, counted from 0.

        Raises:
            RequestError: there is no such model.
        """
        if name not in self.transferred:
            raise RequestError(
                "control 'transfer'",
                got=repr(name),
                expected=f"one of {', '.join(self.transferred)}",
                remedy="choose one of the models that the live model was made of",
            )
        return self.transferred.index(name)


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
    """Return the shares [N, ...], each times its face's ``alpha`` [N, 1]: what stands in the place of a share of 1.

    Raises:
        RequestError: an alpha is not within 0..1.
    """
    outside = alpha[~((alpha >= 0) & (alpha <= 1))]
    if outside.size:
        raise RequestError(
            "control 'alpha'", got=f"{outside[0]:g}", expected="a number within 0..1", remedy="correct the value"
        )
    return (alpha * shares.reshape(len(shares), -1)).reshape(shares.shape)


def blend_parameters(choices: BlendChoices) -> dict[str, str]:
    """Return the parameters by which a served model that is live tells its choices; none for another."""
    if not choices.default:
        return {}
    return {
        BLEND_RESOLUTIONS: ",".join(map(str, choices.resolutions)),
        DEFAULT_BLEND: ",".join(map(repr, choices.default)),
        TRANSFERRED_MODELS: ",".join(choices.transferred),
    }


def choices_of_directory(manifest: Manifest) -> BlendChoices:
    """Return the choices of a model directory's generator."""
    return BlendChoices(manifest.name, manifest.default_blend, manifest.transferred_models)


def choices_of_served(model: str, parameters: Mapping[str, str]) -> BlendChoices:
    """Return the choices of a served model, which its parameters tell; see ``blend_parameters``."""
    default = blend_from_text(parameters.get(DEFAULT_BLEND, ""))
    names = parameters.get(TRANSFERRED_MODELS)
    return BlendChoices(model, default, tuple(names.split(","))) if names else BlendChoices(model, default)


def blend_from_text(text: str) -> tuple[float, ...]:
    """Read the parameter ``DEFAULT_BLEND``; an empty text stands for a model that is not live."""
    return tuple(float(share) for share in text.split(",") if share)
