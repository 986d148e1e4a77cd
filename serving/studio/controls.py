"""What a person chose on the page, as it travels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.contract.errors import RequestError
from serving.controls import Style


class PageControls(BaseModel):
    """Everything is optional: nothing at all is the first blend's picture, unedited.

    ``model``, ``attributes``, ``seed``, ``strength``, ``psi``: see ``serving.controls.Style``.
    ``look``: "paste" puts every face back in its place, "crop" shows the largest alone; with "aligned" none is looked
    for, as the picture, or each frame, is an aligned face.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    attributes: dict[str, float] | None = None
    seed: int = Field(0, ge=0, lt=2**63)
    strength: float = 1.0
    psi: float = 1.0
    look: Literal["paste", "crop", "aligned"] = "paste"

    @property
    def style(self) -> Style:
        """The part that a toonifier sees."""
        return Style(self.attributes, self.seed, self.strength, psi=self.psi, model=self.model)


def controls_from_json(text: str | bytes) -> PageControls:
    """Read controls from a JSON object.

    Raises:
        RequestError: something else, or a value out of its range.
    """
    try:
        return PageControls.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            "controls",
            got=f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}",
            expected=f"a JSON object of {', '.join(PageControls.model_fields)}",
            remedy="correct the value",
        ) from None
