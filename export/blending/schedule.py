"""Parsing the options of ``toonify-export blend`` into each model's share in each layer group.

    --r-swap R                            the paper's rule: layers with r <= R from the transferred model
    --schedule sigmoid:CENTRE,WIDTH       smooth in log2 r, half-way between CENTRE and 2 CENTRE
    --schedule linear:A,B                 1 up to A, falling linearly in log2 r to 0 at B
    --schedule per-resolution:4=1,8=.5    one alpha for every resolution of the generator
    --schedule per-row:V0,...,V17         one alpha for every row of W+
    --schedule FILE.json                  any number of models, layer by layer: see ``export.blending.layer_file``
    --compat TOOL[:OPTION=VALUE] --r-swap R        the rule of a public tool: see ``export.blending.presets``
    --reverse                             exchanges the two models' shares in the synthesis network

A schedule's name may be followed by a space instead of the colon. Options that contradict each other are refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engines.contract.errors import BlendError
from export.blending.groups import BlendSchedule, Shares, groups_of
from export.blending.layer_file import shares_from_file
from export.blending.presets import preset_from_text
from export.blending.rules import HardSwap, Linear, PerResolution, PerRow, Rule, Sigmoid

FORMS = {
    "sigmoid": "sigmoid:CENTRE,WIDTH",
    "linear": "linear:A,B",
    "per-resolution": "per-resolution:4=ALPHA,8=ALPHA,...",
    "per-row": "per-row:V0,V1,...",
}


def schedule_from_options(
    resolution: int,
    r_swap: int | None = None,
    schedule: str | None = None,
    compat: str | None = None,
    reverse: bool = False,
) -> BlendSchedule:
    """Build the schedule that the options describe, for generators of one resolution.

    Raises:
        BlendError: options are missing, contradict each other, do not parse or do not fit the resolution.
    """
    named = {"--r-swap": r_swap, "--schedule": schedule, "--compat": compat}
    given = [f"{option} {value}" for option, value in named.items() if value is not None]
    description = " ".join(given + ["--reverse"] * reverse)
    match (r_swap, schedule, compat, reverse):
        case (int(), None, None, _):
            return _from_rule(description, resolution, HardSwap(r_swap), reverse)
        case (None, str(), None, False) if schedule.endswith(".json"):
            return BlendSchedule(description, shares_from_file(Path(schedule), resolution))
        case (None, str(), None, _) if not schedule.endswith(".json"):
            return _from_rule(description, resolution, rule_from_text(schedule), reverse)
        case (int(), None, str(), False):
            preset = preset_from_text(compat, resolution, r_swap)
            plain = _from_rule(description, resolution, preset.rule, reverse)
            return replace(
                plain, mapping=preset.mapping, noise=preset.noise, warnings=preset.warnings, stylegan2_only=True
            )
    raise BlendError(
        "The blend's options",
        got=description or "no options",
        expected="--r-swap R or --schedule RULE, each with or without --reverse, or --schedule FILE.json, "
        "or --compat TOOL with --r-swap R",
        remedy="give one of these",
    )


def rule_from_text(text: str) -> Rule:
    """Parse a rule in one of ``FORMS``."""
    name, _, values = text.partition(":" if ":" in text else " ")
    try:
        match name:
            case "sigmoid":
                centre, width = values.split(",")
                return Sigmoid(int(centre), float(width))
            case "linear":
                start, end = values.split(",")
                return Linear(int(start), int(end))
            case "per-resolution":
                pairs = [item.split("=") for item in values.split(",")]
                alphas = {int(resolution): float(alpha) for resolution, alpha in pairs}
                if len(alphas) == len(pairs):
                    return PerResolution(alphas)
            case "per-row":
                return PerRow(tuple(float(value) for value in values.split(",")))
    except ValueError:
        pass
    raise BlendError(
        "The schedule",
        got=repr(text),
        expected=FORMS.get(name, f"{', '.join(FORMS.values())} or FILE.json"),
        remedy="correct it",
    )


def _from_rule(description: str, resolution: int, rule: Rule, reverse: bool) -> BlendSchedule:
    rule.check(resolution)
    alphas = {group: rule.alpha(group) for group in groups_of(resolution)}
    shares = {g: Shares((alpha, 1 - alpha) if reverse else (1 - alpha, alpha)) for g, alpha in alphas.items()}
    return BlendSchedule(description, shares, stylegan2_only=isinstance(rule, PerRow))
