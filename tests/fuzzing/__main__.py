"""Run the fuzzers for long: ``python -m tests.fuzzing [NAME ...] --seconds 600 --seed 1``; ``make fuzz`` runs all."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from fuzzer import fuzz

from tests.fuzzing.fuzzers import FUZZERS


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which of: {', '.join(FUZZERS)}. Default: all.")] = None,
    seconds: Annotated[float, typer.Option(help="For each fuzzer.")] = 600,
    seed: Annotated[int | None, typer.Option(help="Default: a random one, which is printed.")] = None,
    folder: Annotated[Path, typer.Option(help="Where inputs that fail are saved.")] = Path("build/fuzz"),
) -> None:
    """Print one line for each fuzzer; exit with 1 if any input failed."""
    console, failed = Console(), False
    chosen = random.SystemRandom().randrange(2**32) if seed is None else seed
    for name in names or FUZZERS:
        count, failures = fuzz(FUZZERS[name], folder / name, seed=chosen, seconds=seconds)
        console.print(f"{name}: seed {chosen}, {count} inputs, {len(failures)} failures", highlight=False)
        for failure in failures[:5]:
            console.print(f"{failure.path}\n{failure.report}", markup=False, highlight=False)
        failed |= bool(failures)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
