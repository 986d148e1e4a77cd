"""The command ``toonify-export``, which makes verified model directories and Triton repositories from checkpoints.

What loads PyTorch is imported where it is needed, so that help, descriptions and refusals come at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engines.contract.errors import ExportError
from engines.plan_metadata import Compatibility
from engines.tensorrt.options import PlanOptions
from export.blend_command import blend_command
from export.checkpoints import (
    describe,
    read_classifier,
    read_generator,
    read_isf,
    write_generator_safetensors,
    write_rosinality,
)
from export.demo_models.files import ISF_IS_RESIDUAL
from export.directions_command import directions_command
from export.encoder_command import encoder_command
from export.measure_command import measure_command
from export.options import (
    AsJson,
    AttributeNames,
    Checkpoint,
    DirectoryOption,
    EncoderKind,
    Engine,
    Label,
    Licences,
    Name,
    PictureSize,
    Plugins,
    Precision,
    Retry,
    TargetOption,
    attribute_names,
    check_resolution,
    console,
    demo_files,
    export_options,
    joined_name,
    print_result,
)
from export.project_command import project_command
from export.repository_commands import repository, seal, sign
from export.targets import check_export
from serving.command_line import common_options, run, stages
from serving.options import Force

app = typer.Typer(
    help="Export blended StyleGAN generators, ISF heads and encoders, verified against PyTorch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(common_options)
app.command("blend")(blend_command)
app.command("project")(project_command)
app.command("directions")(directions_command)
app.command("measure")(measure_command)
app.command("encoder")(encoder_command)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Any checkpoint that this package reads.")],
    kind: EncoderKind = None,
    attributes: AttributeNames = None,
    label: Label = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Describe a checkpoint's content, without running any code in it."""
    fields = describe(file, kind=kind, attributes=attribute_names(attributes), label=label).as_json()
    if as_json:
        typer.echo(json.dumps(fields, indent=2))
        return
    for key, value in fields.items():
        if value not in (None, "", (), [], {}):
            text = json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)
            console.print(f"{key.replace('_', ' '):14} {text}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="Any checkpoint that holds a generator.")],
    output: Annotated[Path, typer.Argument(help="NAME.pt (rosinality's layout) or NAME.safetensors (this package's).")],
    drop_clamp: Annotated[
        bool, typer.Option("--drop-clamp", help="Write .pt without the conv_clamp, which it cannot hold.")
    ] = False,
    label: Label = None,
    force: Force = False,
) -> None:
    """Convert a generator to another file format."""
    if output.suffix not in (".pt", ".safetensors"):
        raise ExportError(
            str(output), got=f"the suffix {output.suffix!r}", expected=".pt or .safetensors", remedy="choose one"
        )
    weights = read_generator(file, label)
    if output.suffix == ".pt":
        write_rosinality(weights, output, drop_clamp=drop_clamp, force=force)
    else:
        write_generator_safetensors(weights, output, force=force)
    console.print(f"{output}: {weights.resolution}x{weights.resolution}, from {file}")


@app.command()
def generator(
    checkpoint: Checkpoint | None = None,
    label: Label = None,
    resolution: PictureSize = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    plugins: Plugins = None,
    retry: Retry = False,
    as_json: AsJson = False,
) -> None:
    """Export one generator, unblended."""
    options = export_options(
        name or joined_name("generator", resolution),
        *(output, target, engine, precision, licences),
        force=force,
        retry=retry,
        plugins=plugins,
    )
    check_export("generator", options)
    path = checkpoint or demo_files().base
    with stages() as report:
        report(f"reading {path.name}")
        weights = read_generator(path, label)
        from export.build import build_generator

        sources = [("generator", weights.source)]
        manifest = build_generator(weights, sources, options, report, resolution=resolution)
    print_result(options.directory, manifest, as_json=as_json)


@app.command()
def isf(
    checkpoint: Checkpoint | None = None,
    attributes: AttributeNames = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="For a head trained with use_residual, which no checkpoint records.")
    ] = False,
    resolution: Annotated[int | None, typer.Option(help="For a head on W: the generator's resolution.")] = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "fp32",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    retry: Retry = False,
    as_json: AsJson = False,
) -> None:
    """Export an ISF head."""
    options = export_options(name or "isf", *(output, target, engine, precision, licences), force=force, retry=retry)
    check_resolution(resolution)
    check_export("isf", options)
    path = checkpoint or demo_files().isf
    with stages() as report:
        report(f"reading {path.name}")
        residual = residual if checkpoint else ISF_IS_RESIDUAL
        weights = read_isf(path, attribute_names(attributes), residual=residual)
        from export.build import build_isf

        manifest = build_isf(weights, options, report, resolution=resolution)
    print_result(options.directory, manifest, as_json=as_json)


@app.command()
def classifier(
    checkpoint: Checkpoint | None = None,
    attributes: AttributeNames = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    retry: Retry = False,
    as_json: AsJson = False,
) -> None:
    """Export the classifier of an ISF checkpoint, by which an edit keeps the attributes that it does not name."""
    options = export_options(
        name or "classifier", *(output, target, engine, precision, licences), force=force, retry=retry
    )
    check_export("classifier", options)
    path = checkpoint or demo_files().isf
    with stages() as report:
        report(f"reading {path.name}")
        weights = read_classifier(path, attribute_names(attributes))
        from export.build import build_classifier

        manifest = build_classifier(weights, options, report)
    print_result(options.directory, manifest, as_json=as_json)


@app.command("plans")
def plans_command(
    directory: Annotated[Path, typer.Argument(help="The model directory, which is replaced.")],
    plugins: Plugins = None,
    one_plan: Annotated[
        bool, typer.Option("--one-plan", help="One plan for all batch sizes, for Triton's own backend; no plugins.")
    ] = False,
    compatibility: Annotated[
        Compatibility, typer.Option(help="Other GPUs that can run the plans, at some cost in speed.")
    ] = "none",
    timing_cache: Annotated[
        Path | None, typer.Option(help="A folder for TensorRT's timing caches, which make the next build fast.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build TensorRT plans of a model directory for this machine."""
    from export.plans import rebuild_plans

    with stages() as report:
        options = PlanOptions(plugins != "off", one_plan, compatibility, timing_cache)
        manifest = rebuild_plans(directory, report, options)
    print_result(directory, manifest, as_json=as_json)


@app.command("verify")
def verify_command(
    directory: Annotated[Path, typer.Argument(help="A model directory of --target tensorrt-rtx.")],
    as_json: AsJson = False,
) -> None:
    """Verify an engine that was built without a GPU on this machine's GPU, and complete its manifest."""
    from export.rtx import verify_directory

    with stages() as report:
        manifest = verify_directory(directory, report)
    print_result(directory, manifest, as_json=as_json)


for command in (repository, seal, sign):
    app.command()(command)


def main() -> None:
    """Entry point of ``toonify-export`` and ``export``."""
    run(app)
