"""Presets that reproduce what public blending tools do, including where they differ from the paper.

    preset      alpha = 1 where                  const  torgb of r        mapping, w_avg  noise maps  options
    pinkney     r <= r_swap                      yes    with conv of r    transfer        transfer    width, level
    dvschultz   r <= r_swap                      yes    with conv of r    transfer        transfer    none
    vtoonify    row of W+ <= row of conv r_swap  no     with up of 2r     base            base        none
    bryandlee   r <= r_swap                      yes    with conv of r    base            majority    width

``width`` selects the tool's smooth form, ``level=1`` moves pinkney's cut by half a resolution. pinkney is
justinpinkney/stylegan2's blend_models.py; eps696's and t27's scripts follow its rule. The tools call the transferred
model "low" and the base "high".

bryandlee's snippet is not copied in two details. It averages the noise maps; here each map comes from the model with
the greater share, which is the same for its sharp form and for siblings with equal maps. Which mapping network it uses
is not public; VToonify's adaptation of it keeps the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engines.contract.errors import BlendError
from engines.contract.tensors import rows_of
from export.blending.groups import CONST, Donor, Group, NoiseDonor
from export.blending.rules import HardSwap, PerRow, Rule, check_resolution, check_width, falling_sigmoid


@dataclass(frozen=True)
class Preset:
    """A tool's rule, and its donors of mapping network and noise maps."""

    rule: Rule
    mapping: Donor
    noise: NoiseDonor
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PinkneyRule:
    """A cut over positions, of which each resolution has two: ``up`` (at 4 the constant), then ``conv`` and ``rgb``.

    The smooth form is centred on the first position of r_swap, 1.5 positions below the sharp cut. It therefore does not
    tend to the sharp form as its width tends to 0.
    """

    r_swap: int
    width: float | None = None
    level: int = 0

    def check(self, resolution: int) -> None:
        if self.width is not None:
            check_width("pinkney's width", self.width)
        if self.level not in (0, 1):
            raise BlendError("pinkney's level", got=str(self.level), expected="0 or 1", remedy="give one of the two")

    def alpha(self, group: Group) -> float:
        if group == Group(4, "conv"):
            return 1.0  # the tool looks for "Conv1", but TensorFlow's layer at 4x4 is "Conv" and is never blended
        position = 2 * group.level + (group.part != "up")
        distance = position - (2 * (self.r_swap.bit_length() - 1) + self.level)
        return float(distance <= 1) if self.width is None else falling_sigmoid(distance / self.width)


@dataclass(frozen=True)
class BryandleeRule:
    """A cut over blocks; in the smooth form alpha is 0.5 at r_swap. The default width is the snippet's own."""

    r_swap: int
    width: float | None = 3.0

    def check(self, resolution: int) -> None:
        if self.width is not None:
            check_width("bryandlee's width", self.width)

    def alpha(self, group: Group) -> float:
        distance = group.level - (self.r_swap.bit_length() - 1)
        return float(distance <= 0) if self.width is None else falling_sigmoid(distance / self.width)


def preset_from_text(text: str, resolution: int, r_swap: int) -> Preset:
    """Parse ``NAME`` or ``NAME:OPTION=VALUE,...``, such as ``pinkney:width=0.5`` or ``bryandlee:width=none``.

    Raises:
        BlendError: the tool or an option is unknown, or r_swap is below 4, which the tools do not accept.
    """
    check_resolution(f"r_swap with --compat {text}", r_swap, CONST.resolution, resolution)
    name, _, rest = text.partition(":")
    match name:
        case "pinkney":
            options = _options(text, rest, {"width": _width, "level": int})
            return Preset(PinkneyRule(r_swap, **options), mapping="transfer", noise="transfer")
        case "dvschultz":
            _options(text, rest, {})
            return Preset(HardSwap(r_swap), mapping="transfer", noise="transfer")
        case "vtoonify":
            _options(text, rest, {})
            return Preset(vtoonify_rule(resolution, r_swap), mapping="base", noise="base")
        case "bryandlee":
            rule = BryandleeRule(r_swap, **_options(text, rest, {"width": _width}))
            return Preset(rule, mapping="base", noise="majority", warnings=_averaging_warning(rule, resolution))
    raise BlendError(
        f"--compat {text}",
        got=f"the tool {name!r}",
        expected="pinkney, dvschultz, vtoonify or bryandlee",
        remedy="choose one of them",
    )


def vtoonify_rule(resolution: int, r_swap: int) -> PerRow:
    """Return VToonify's step vector as a rule: [1]*7 + [0]*11 for r_swap 32 at 1024."""
    ones = 2 * r_swap.bit_length() - 5
    return PerRow((1.0,) * ones + (0.0,) * (rows_of(resolution) - ones))


def _width(text: str) -> float | None:
    return None if text == "none" else float(text)


def _options(text: str, rest: str, types: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    pairs = [item.partition("=") for item in rest.split(",")] if rest else []
    try:
        options = {key: types[key](value) for key, _, value in pairs}
    except (KeyError, ValueError):
        options = {}
    if len(options) != len(pairs):
        raise BlendError(
            f"--compat {text}",
            got=f"the options {rest!r}",
            expected=f"{' and '.join(f'{key}=NUMBER' for key in types) or 'none'}, each at most once",
            remedy="correct them",
        )
    return options


def _averaging_warning(rule: BryandleeRule, resolution: int) -> tuple[str, ...]:
    first, last = rule.alpha(CONST), rule.alpha(Group(resolution, "rgb"))
    if first - last > 0.8:
        return ()
    return (
        f"bryandlee's width {rule.width:g} blends all resolutions alike (alpha {first:.2f} at 4, {last:.2f} at "
        f"{resolution}): bryandlee:width=none gives its sharp cut",
    )
