"""The settings chosen on the page, as the page sends them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.contract.errors import RequestError
from serving.controls import Style


class PageControls(BaseModel):
    """The settings of the page; all are optional, and the defaults give the first generator's unedited picture.

    ``model``, ``attributes``, ``seed``, ``strength``, ``psi``, ``blend``, ``transfer``: see
    ``serving.controls.Style``.
    ``face``: the seed of a random face.
    ``look``: "paste" pastes every face in its place, "crop" shows the largest face alone, and "aligned" detects no
    faces, since the picture, or each frame, is an aligned face.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    attributes: dict[str, float] | None = None
    seed: int = Field(0, ge=0, lt=2**63)
    strength: float = 1.0
    psi: float = 1.0
    blend: tuple[float, ...] | None = Field(None, max_length=16)
    transfer: str | None = None
    face: int = Field(0, ge=0, lt=2**63)
    look: Literal["paste", "crop", "aligned"] = "paste"

    @property
    def style(self) -> Style:
        """The settings that concern the toonifier."""
        return Style(
            self.attributes,
            self.seed,
            self.strength,
            psi=self.psi,
            model=self.model,
            blend=self.blend,
            transfer=self.transfer,
        )


def controls_from_json(text: str | bytes) -> PageControls:
    """Read the settings from a JSON object.

    Raises:
        RequestError: ``text`` is not a JSON object, or it has an unknown key or an invalid value.
    """
    try:
        return PageControls.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            "controls",
            got=f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}",
            expected=f"a JSON object with {', '.join(PageControls.model_fields)}",
            remedy="correct the value",
        ) from None
