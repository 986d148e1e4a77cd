"""The command ``toonify-export directions``."""

from __future__ import annotations

from typing import Annotated

import typer

from export.checkpoints.directions import DirectionPlace, read_directions
from export.options import (
    AsJson,
    DirectoryOption,
    Engine,
    Licences,
    Precision,
    Retry,
    TargetOption,
    check_finite,
    check_resolution,
    export_options,
    print_result,
)
from export.targets import check_export
from serving.command_line import stages
from serving.options import Force


def directions_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE[#N][:FIRST-LAST]...",
            help=".npy or .pt with a direction in W or W+; #N is a component of GANSpace's file, FIRST-LAST the rows "
            "of W+ that it moves.",
        ),
    ],
    names: Annotated[
        list[str] | None, typer.Option("--name", help="Name of each attribute, in order; default: the files' names.")
    ] = None,
    limit: Annotated[float, typer.Option(min=1e-6, help="Largest value of an attribute, to both sides.")] = 3.0,
    scale: Annotated[float, typer.Option(help="Multiplies every direction: what a value of 1 adds.")] = 1.0,
    resolution: Annotated[
        int | None, typer.Option(help="The generator's resolution; default: that of a file in W+, or 1024.")
    ] = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "fp32",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    retry: Retry = False,
    as_json: AsJson = False,
) -> None:
    """Export linear directions as an editing head in the place of an ISF head: a value x adds x times the direction.

    An attribute that a request does not name stays at 0, where it changes nothing.
    """
    options = export_options("directions", *(output, target, engine, precision, licences), force=force, retry=retry)
    check_resolution(resolution)
    check_finite("--limit", limit)
    check_export("isf", options)
    with stages() as report:
        report("reading the directions")
        weights = read_directions([DirectionPlace.parsed(text) for text in files], names or (), resolution, scale)
        from export.build import build_directions

        manifest = build_directions(weights, limit, options, report)
    print_result(options.directory, manifest, as_json=as_json)
