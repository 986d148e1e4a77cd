"""A sweep over the blends of a live model: r_swap moves from one resolution to another while a clip goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2

from engines.contract.errors import VideoError
from serving.controls import Style
from serving.live_blends import BlendChoices, swapped_shares
from serving.video.session import StyleByTime

STEPS = 8
"""Blends from one resolution to the next; frames with the same blend are rendered together."""


@dataclass(frozen=True)
class Sweep:
    """The values of r_swap at the two ends of a clip, and the blends of the model that makes its pictures.

    Raises:
        RequestError: the model is not live, or an r_swap is no power of two from 1 to its resolution.
    """

    first: int
    last: int
    choices: BlendChoices

    def __post_init__(self) -> None:
        self.choices.check_live("r_swap")
        for r_swap in (self.first, self.last):
            swapped_shares(r_swap, self.choices.resolutions[-1])

    def shares(self, position: float) -> tuple[float, ...]:
        """Return the shares [G] at a position in the clip, 0..1.

        A whole step is the hard swap of one resolution. Between two of them the share of the higher one's layers grows.
        """
        octaves = log2(self.last / self.first)
        level = log2(self.first) + round(STEPS * octaves * min(max(position, 0.0), 1.0)) / STEPS
        return tuple(min(max(level - log2(r) + 1, 0.0), 1.0) for r in self.choices.resolutions)

    def style(self, style: Style, start: float, duration: float | None) -> StyleByTime:
        """Return the style of each frame by its time.

        Args:
            style: everything but the blend.
            start: seconds at which the sweep begins.
            duration: seconds that it takes.

        Raises:
            VideoError: the duration is unknown.
        """
        if not duration:
            raise VideoError(
                "video",
                got="a file that does not state its duration",
                expected="one, to spread the sweep of r_swap over it",
                remedy="give one r_swap",
            )
        swept = replace(style, transfer=style.transfer or self.choices.transferred[0])
        return lambda pts: replace(swept, blend=self.shares((float(pts) - start) / duration))
