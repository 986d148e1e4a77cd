"""Parsing of the values of options that ``toonify video`` has for itself."""

from __future__ import annotations

import typer

LONGEST_SWAP = 40
"""Characters of a value of ``--r-swap``; Python refuses to read far longer numbers."""


def side_from_option(size: str, output_style: str) -> int | None:
    """Parse ``--size``; None stands for "auto".

    Raises:
        BadParameter: the option has another form, or the output style has no size of its own.
    """
    if size == "auto":
        return None
    if not size.isdecimal() or len(size) > 4 or not 16 <= int(size) <= 4096:
        raise typer.BadParameter(f"{size!r} is neither auto nor a number of pixels, 16 to 4096", param_hint="--size")
    if output_style != "crop":
        raise typer.BadParameter(
            "only the face alone has a size of its own; give --output-style crop", param_hint="--size"
        )
    return int(size)


def part_from_option(trim: str | None) -> tuple[float | None, float | None]:
    """Parse ``--trim START:END``, whose ends may be left out.

    Raises:
        BadParameter: the option has another form.
    """
    if trim is None:
        return None, None
    start, colon, end = trim.partition(":")
    try:
        if not colon:
            raise ValueError
        return (float(start) if start else None), (float(end) if end else None)
    except ValueError:
        raise typer.BadParameter(f"{trim!r} is not START:END in seconds", param_hint="--trim") from None


def swaps_from_option(option: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """Parse ``--r-swap`` into one value, or into the two ends of a sweep.

    Raises:
        BadParameter: the option has another form.
    """
    if option is None:
        return None, None
    first, colon, last = option.partition(":")
    if len(option) > LONGEST_SWAP or not first.isdecimal() or (colon and not last.isdecimal()):
        raise typer.BadParameter(f"{option!r} is neither R nor FIRST:LAST", param_hint="--r-swap")
    return (None, (int(first), int(last))) if colon else (int(first), None)
