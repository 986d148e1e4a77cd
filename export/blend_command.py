"""The command ``toonify-export blend``: one or several blends of the same generators, each a model directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from engines.contract.errors import ExportError
from engines.model_directory import Manifest
from export.blend_requests import LIVE_R_SWAP, names_of, requests_from_options
from export.blending import Blend, BlendReport, BlendSchedule, blend, schedule_from_options
from export.blending.live import live_names, live_parents, live_schedule, live_shares
from export.checkpoints import read_generator
from export.options import (
    AsJson,
    Engine,
    Label,
    Licences,
    Name,
    PictureSize,
    Plugins,
    Precision,
    Retry,
    TargetOption,
    console,
    demo_files,
    export_options,
    notes,
    print_result,
)
from export.targets import ExportOptions, check_export
from export.weights import GeneratorWeights
from serving.command_line import print_table, stages
from serving.options import Force


def blend_command(
    base: Annotated[Path | None, typer.Option(help="The generator that gives the mapping network.")] = None,
    transfer: Annotated[
        list[Path] | None,
        typer.Option(
            "--transfer", "--model", help="Its fine-tuned sibling; repeat for --live, or a schedule, of more models."
        ),
    ] = None,
    r_swap: Annotated[
        str | None,
        typer.Option(
            metavar="R[,R...]",
            help="Layers up to this resolution come from --transfer (a power of two); several make several blends.",
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            help="sigmoid:CENTRE,WIDTH | linear:A,B | per-resolution:4=1,8=.5,... | per-row:V0,V1,... | FILE.json; "
            "repeat for several blends."
        ),
    ] = None,
    compat: Annotated[
        str | None, typer.Option(help="Follow a public tool: pinkney | dvschultz | vtoonify | bryandlee.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="One model of all the generators: every request chooses the blend; --r-swap or --schedule, by default "
            f"--r-swap {LIVE_R_SWAP}, is that of requests that choose none.",
        ),
    ] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="Take low resolutions from --base instead.")] = False,
    mapping: Annotated[
        Literal["base", "transfer"] | None,
        typer.Option(help="Which model gives the mapping network and w_avg; base, unless --compat says otherwise."),
    ] = None,
    label: Label = None,
    resolution: PictureSize = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="The model directory to write, default build/NAME; for several blends the folder of theirs."),
    ] = None,
    licences: Licences = None,
    force: Force = False,
    plugins: Plugins = None,
    retry: Retry = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what each layer would consist of, and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Blend generators by resolution and export the result.

    Without --base and --transfer it blends the package's demo models. For example:

    toonify-export blend --r-swap 16,32,64

    toonify-export blend --live

    toonify-export blend --base ffhq.pkl --transfer toon.pkl --schedule sigmoid:32,1 --name soft
    """
    requests = requests_from_options(r_swap, schedule or [], live=live)
    names = names_of(requests, name, compat, resolution, reverse=reverse, live=live)
    outputs = [
        export_options(
            model,
            output / model if output and len(names) > 1 else output,
            *(target, engine, precision, licences),
            force=force or dry_run,
            retry=retry,
            plugins=plugins,
        )
        for model in names
    ]
    candidates = [check_export("generator", options, live=live) for options in outputs]
    base, transfer = _parents(base, transfer)
    with stages() as report:
        report(f"reading {', '.join(path.name for path in (base, *transfer))}")
        models = [read_generator(path, label) for path in (base, *transfer)]
        size = models[0].resolution
        schedules = [schedule_from_options(size, one.r_swap, one.schedule, compat, reverse) for one in requests]
        parts = zip(schedules, outputs, candidates, strict=True)
        for number, (rule, options, to_try) in enumerate(parts, 1):
            blend_schedule = live_schedule(rule, len(models)) if live else rule
            report(f"blending {options.name}, {number} of {len(outputs)}" if len(outputs) > 1 else "blending")
            blended = blend(models, blend_schedule, mapping=mapping)
            if live:  # refused before anything is printed or written
                live_names(models)
                live_shares(blend_schedule, size)
                live_parents(models, blend_schedule, blended)
            _print_report(blended.report, similarities=number == 1)
            if dry_run:
                _print_plan(blended, options, to_try, as_json=as_json)
                continue
            manifest = _export(models, blend_schedule, blended, options, report, resolution, live=live)
            print_result(options.directory, manifest, as_json=as_json)


def _parents(base: Path | None, transfer: list[Path] | None) -> tuple[Path, list[Path]]:
    if base and transfer:
        return base, transfer
    if base or transfer:
        raise ExportError(
            "The models to blend",
            got=f"only {'--base' if base else '--transfer'}",
            expected="both --base and --transfer, or neither for the demo models",
            remedy="give the other one, or none",
        )
    demo = demo_files()
    return demo.base, [demo.transfer]


def _export(
    models: Sequence[GeneratorWeights],
    schedule: BlendSchedule,
    blended: Blend,
    options: ExportOptions,
    report: Callable[[str], None],
    resolution: int | None,
    *,
    live: bool,
) -> Manifest:
    # Both builders are imported late, since they load PyTorch.
    if live:
        from export.live import build_live_generator

        return build_live_generator(models, schedule, blended, options, report, resolution=resolution)
    from export.build import build_generator

    details = {"blend": blended.report.as_json()}
    return build_generator(
        blended.weights, blended.report.roles, options, report, resolution=resolution, details=details
    )


def _print_report(report: BlendReport, *, similarities: bool) -> None:
    """Print a blend's warnings and how alike its parents are, which is the same for all blends of a call."""
    base = report.sources[0].path.name
    for source, similarity in zip(report.sources[1:], report.similarities, strict=True) if similarities else ():
        values = "  ".join(f"{r}: {value:.2f}" for r, value in similarity.by_resolution.items())
        notes.print(f"  cosine similarity of the weights of {source.path.name} and {base} by resolution: {values}")
    for warning in report.warnings:
        notes.print(f"  [yellow]warning:[/yellow] {warning}.")


def _print_plan(blended: Blend, options: ExportOptions, candidates: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print what an export of the blend would consist of."""
    report, weights = blended.report, blended.weights
    numbers = sum(value.size for value in weights.tensors.values())
    names = [source.path.name for source in report.sources]
    licences = options.licences or ("not stated",) * len(names)
    engines = [" ".join(pair) for pair in candidates]
    if as_json:
        size = {"resolution": weights.resolution, "numbers": numbers}
        plan = {"directory": str(options.directory), **size, "licences": [*licences], "engines": engines}
        typer.echo(json.dumps({**plan, "blend": report.as_json()}))
        return
    console.print(
        f"{options.directory}: {weights.resolution}x{weights.resolution}, {numbers / 1e6:.1f} million numbers"
    )
    shares = Table("layers", *names, box=None, pad_edge=False)
    for group, share in report.shares.items():
        shares.add_row(str(group), *(f"{value:.3g}" for value in share.models))
    print_table(shares)
    console.print(f"licences: {', '.join(f'{name}: {text}' for name, text in zip(names, licences, strict=False))}")
    console.print(f"engines to try: {', '.join(engines)}")
