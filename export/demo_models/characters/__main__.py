"""``python -m export.demo_models.characters``: writes a sheet of characters in all combinations of the two domains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from engines.contract.arrays import Picture
from engines.contract.atomic import check_output
from export.demo_models.characters.render import draw_character
from export.demo_models.domains import CARTOON, PHOTO, PHOTO_TOON, TOON_PHOTO
from export.demo_models.traits import random_codes
from serving.command_line import run
from serving.faces.images import check_suffix, write_picture

COMBINATIONS = (PHOTO, TOON_PHOTO, PHOTO_TOON, CARTOON)
"""The rows of a sheet: photographs, cartoons' geometry with a photograph's surface, the reverse, cartoons."""


def main(
    output: Annotated[Path, typer.Argument(help="The picture to write.")] = Path("build/characters.jpg"),
    faces: Annotated[int, typer.Option(min=1, max=100, help="Number of characters.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="The seed of their traits.")] = 30_000_011,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Width of each in pixels.")] = 256,
    force: Annotated[bool, typer.Option(help="Replace an existing picture.")] = False,
) -> None:
    """Draw characters: each column is one, each row a combination of geometry and surface."""
    check_suffix(output)
    check_output(output, force=force)  # before minutes of drawing
    write_picture(output, sheet(faces, seed, size), force=force)


def sheet(faces: int, seed: int, size: int) -> Picture:
    """Return the characters of a seed in all combinations, uint8 RGB [4 * size, faces * size, 3]."""
    codes = random_codes(faces, seed)
    rows = [np.concatenate([draw_character(code, domain, size) for code in codes], 1) for domain in COMBINATIONS]
    return np.concatenate(rows)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
