"""For what a model is exported: its directory, the machine that will run it, and the engines to try there.

Nothing here loads PyTorch, so that a command refuses a missing engine at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engines.contract.atomic import check_output
from engines.contract.errors import EngineError, ExportError
from engines.loading import ENGINES, Target, available_precisions, check_live, is_installed
from engines.model_directory import Component, EngineName, Precision
from engines.tensorrt.options import PlanOptions
from export.engine_choices import EngineChoices

EngineChoice = Literal["auto", "onnxruntime", "openvino", "winograd"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16", "int16"]


@dataclass(frozen=True)
class ExportOptions:
    """Location, name, engine and sources' licences of a model directory.

    ``plans`` applies to target tensorrt only. With ``choices`` an engine that was chosen before for such a network is
    verified only; on a GPU there is little to choose from.
    """

    directory: Path
    name: str
    target: Target = "cpu"
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"
    licences: tuple[str, ...] = ()
    force: bool = False
    plans: PlanOptions = field(default_factory=PlanOptions)
    choices: EngineChoices = field(default_factory=EngineChoices)

    def __post_init__(self) -> None:
        # The name becomes part of the served model's name and of paths.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ExportError(
                "--name", got=repr(self.name), expected="letters, digits, _ and -", remedy="choose another name"
            )


def check_export(
    component: Component, options: ExportOptions, *, live: bool = False
) -> list[tuple[EngineName, Precision]]:
    """Check what can be checked before any work, and return the engines to try; see ``candidates_for``.

    Raises:
        ExportError: the directory is already there, or cannot be written.
        EngineError: the engine or precision is not available on this machine.
    """
    check_output(options.directory, force=options.force)
    return candidates_for(component, options.target, options.engine, options.precision, live=live)


def candidates_for(
    component: Component, target: Target, engine: EngineChoice, precision: PrecisionChoice, *, live: bool = False
) -> list[tuple[EngineName, Precision]]:
    """Return the pairs of engine and precision to try for a component on this machine.

    What usually wins comes first, so that slower ones are given up early.

    Raises:
        EngineError: no pair is left, since the machine does not fit the target or an engine is not installed, or the
            generator is ``live`` and the target has no engine for it.
    """
    kinds = {name: kind for name, kind in ENGINES.items() if kind.target == target and component in kind.components}
    if live:
        check_live(f"--target {target}", kinds)
        kinds = {name: kind for name, kind in kinds.items() if kind.live}
    names = [name for name in kinds if engine in ("auto", name)]
    pairs = [(name, p) for name in names if is_installed(name) for p in available_precisions(name)][::-1]
    # A plan takes minutes to build, and there may be no GPU to compare precisions on: only one is tried.
    one_only = target in ("tensorrt", "tensorrt-rtx")
    requested = "fp16" if one_only and precision == "auto" else precision
    chosen = [(name, p) for name, p in pairs if requested in ("auto", p)]
    if not chosen:
        remedies = sorted({kinds[name].remedy for name in names or kinds})
        raise EngineError(
            f"{component} with --target {target} --engine {engine} --precision {precision}",
            got=f"{' and '.join(f'{name} {p}' for name, p in pairs) or 'no such engine'} on this machine",
            expected="an engine that offers it",
            remedy=f"choose another combination, or {', or '.join(remedies)}",
        )
    return chosen
