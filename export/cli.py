"""The command ``toonify-export``, which makes verified model directories and Triton repositories from checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from engines.contract.errors import ExportError
from engines.loading import Target
from engines.model_directory import Manifest
from engines.plan_metadata import Compatibility
from engines.tensorrt.options import PlanOptions
from export.blending import BlendReport, blend, schedule_from_options
from export.build import ExportOptions, build_classifier, build_encoder, build_generator, build_isf
from export.checkpoints import (
    describe,
    read_classifier,
    read_encoder,
    read_generator,
    read_isf,
    write_generator_safetensors,
    write_rosinality,
)
from export.demo_models.files import DESCRIPTION, ISF_IS_RESIDUAL, DemoFiles
from export.plans import rebuild_plans
from export.repository_commands import repository, seal, sign
from export.selection import EngineChoice, PrecisionChoice
from serving.command_line import run, stages

app = typer.Typer(
    help="Export blended StyleGAN2 generators, ISF heads and encoders, verified against PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

Checkpoint = Annotated[Path, typer.Option(help="The checkpoint file; without it, the package's demo model.")]
Name = Annotated[str | None, typer.Option(help="The model's name; letters, digits, _ and -.")]
DirectoryOption = Annotated[Path | None, typer.Option(help="The model directory to write; default build/NAME.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is already there.")]
TargetOption = Annotated[Target, typer.Option(help="What will run the model; for a GPU, export on a machine with one.")]
Plugins = Annotated[
    Literal["on", "off"], typer.Option(help="For --target tensorrt: fused kernels, or only TensorRT's own layers.")
]
Engine = Annotated[EngineChoice, typer.Option(help="auto: the fastest on this machine that passes verification.")]
Precision = Annotated[PrecisionChoice, typer.Option(help="auto: the fastest on this machine that passes verification.")]
Licences = Annotated[
    list[str] | None, typer.Option("--source-licence", help="Licence of each source, in order; kept in the manifest.")
]
PictureSize = Annotated[
    int | None, typer.Option(help="Side of the pictures, if smaller than the generator's: its higher layers are cut.")
]
EncoderKind = Annotated[
    Literal["psp", "e4e"] | None, typer.Option(help="The encoder's kind; needed only if its file does not record it.")
]
AttributeNames = Annotated[
    str | None, typer.Option(help="An ISF head's attributes in its own order, such as gender,glasses,age,expression.")
]


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Any checkpoint that this package reads.")],
    kind: EncoderKind = None,
    attributes: AttributeNames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Describe a checkpoint's content, without running any code in it."""
    fields = describe(file, kind=kind, attributes=_attribute_names(attributes)).as_json()
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
    force: Force = False,
) -> None:
    """Convert a generator to another file format."""
    if output.suffix not in (".pt", ".safetensors"):
        raise ExportError(
            str(output), got=f"the suffix {output.suffix!r}", expected=".pt or .safetensors", remedy="choose one"
        )
    weights = read_generator(file)
    if output.suffix == ".pt":
        write_rosinality(weights, output, drop_clamp=drop_clamp, force=force)
    else:
        write_generator_safetensors(weights, output, force=force)
    console.print(f"{output}: {weights.resolution}x{weights.resolution}, from {file}")


@app.command("blend")
def blend_command(
    base: Annotated[Path | None, typer.Option(help="The generator that gives the mapping network.")] = None,
    transfer: Annotated[
        list[Path] | None, typer.Option(help="Its fine-tuned sibling; repeat for schedules of more models.")
    ] = None,
    r_swap: Annotated[
        int | None, typer.Option(help="Layers up to this resolution come from --transfer (a power of two).")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="sigmoid:CENTRE,WIDTH | linear:A,B | per-resolution:4=1,8=.5,... | per-row:V0,V1,... | FILE.json"
        ),
    ] = None,
    compat: Annotated[
        str | None, typer.Option(help="Follow a public tool: pinkney | dvschultz | vtoonify | bryandlee.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Take low resolutions from --base instead.")] = False,
    mapping: Annotated[
        Literal["base", "transfer"] | None,
        typer.Option(help="Which model gives the mapping network and w_avg; base, unless --compat says otherwise."),
    ] = None,
    resolution: PictureSize = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    plugins: Plugins = "on",
) -> None:
    """Blend generators by resolution and export the result.

    Without --base and --transfer it blends the package's demo models.
    """
    blend_name = name or _blend_name(r_swap, compat, reverse, resolution)
    options = _options(blend_name, output, target, engine, precision, licences, force, plugins)
    base, transfer = _parents(base, transfer)
    with stages() as report:
        report(f"reading {', '.join(path.name for path in (base, *transfer))}")
        models = [read_generator(path) for path in (base, *transfer)]
        report("blending")
        blend_schedule = schedule_from_options(models[0].resolution, r_swap, schedule, compat, reverse)
        blended = blend(models, blend_schedule, mapping=mapping)
        _print_report(blended.report)
        sources = [("base" if i == 0 else "transfer", model.source) for i, model in enumerate(models)]
        details = {"blend": blended.report.as_json()}
        manifest = build_generator(blended.weights, sources, options, report, resolution=resolution, details=details)
    _print_result(manifest, options)


@app.command()
def generator(
    checkpoint: Checkpoint | None = None,
    resolution: PictureSize = None,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
    plugins: Plugins = "on",
) -> None:
    """Export one generator, unblended."""
    options = _options(
        name or _joined("generator", resolution), output, target, engine, precision, licences, force, plugins
    )
    path = checkpoint or _demo().base
    with stages() as report:
        report(f"reading {path.name}")
        weights = read_generator(path)
        sources = [("generator", weights.source)]
        manifest = build_generator(weights, sources, options, report, resolution=resolution)
    _print_result(manifest, options)


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
) -> None:
    """Export an ISF head."""
    options = _options(name or "isf", output, target, engine, precision, licences, force)
    path = checkpoint or _demo().isf
    with stages() as report:
        report(f"reading {path.name}")
        residual = residual if checkpoint else ISF_IS_RESIDUAL
        weights = read_isf(path, _attribute_names(attributes), residual=residual)
        manifest = build_isf(weights, options, report, resolution=resolution)
    _print_result(manifest, options)


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
) -> None:
    """Export the classifier of an ISF checkpoint, by which an edit keeps the attributes that it does not name."""
    options = _options(name or "classifier", output, target, engine, precision, licences, force)
    path = checkpoint or _demo().isf
    with stages() as report:
        report(f"reading {path.name}")
        manifest = build_classifier(read_classifier(path, _attribute_names(attributes)), options, report)
    _print_result(manifest, options)


@app.command()
def encoder(
    checkpoint: Checkpoint | None = None,
    kind: EncoderKind = None,
    light: Annotated[
        bool,
        typer.Option("--light", help="For toonify video --light-encoder: pose and expression only, half the work."),
    ] = False,
    name: Name = None,
    target: TargetOption = "cpu",
    engine: Engine = "auto",
    precision: Precision = "auto",
    output: DirectoryOption = None,
    licences: Licences = None,
    force: Force = False,
) -> None:
    """Export a pSp or e4e encoder."""
    options = _options(name or _joined("encoder", "light" * light), output, target, engine, precision, licences, force)
    path = checkpoint or _demo().encoder
    with stages() as report:
        report(f"reading {path.name}")
        manifest = build_encoder(read_encoder(path, kind=kind), options, report, light=light)
    _print_result(manifest, options)


@app.command("plans")
def plans_command(
    directory: Annotated[Path, typer.Argument(help="The model directory, which is replaced.")],
    plugins: Plugins = "on",
    one_plan: Annotated[
        bool, typer.Option("--one-plan", help="One plan for all batch sizes, for Triton's own backend; no plugins.")
    ] = False,
    compatibility: Annotated[
        Compatibility, typer.Option(help="Other GPUs that can run the plans, at some cost in speed.")
    ] = "none",
    timing_cache: Annotated[
        Path | None, typer.Option(help="A folder for TensorRT's timing caches, which make the next build fast.")
    ] = None,
) -> None:
    """Build TensorRT plans of a model directory for this machine."""
    with stages() as report:
        options = PlanOptions(plugins == "on", one_plan, compatibility, timing_cache)
        manifest = rebuild_plans(directory, report, options)
    console.print(f"{directory}: {manifest.plans and manifest.plans.platform}, verified: {manifest.verification}")


for command in (repository, seal, sign):
    app.command()(command)


def main() -> None:
    """Entry point of ``toonify-export`` and ``export``."""
    run(app)


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
    demo = _demo()
    return demo.base, [demo.transfer]


def _demo() -> DemoFiles:
    console.print(f"No checkpoint given: using the package's demo models ({DESCRIPTION}).")
    return DemoFiles()


def _attribute_names(attributes: str | None) -> tuple[str, ...] | None:
    return tuple(attributes.split(",")) if attributes else None


def _blend_name(r_swap: int | None, compat: str | None, reverse: bool, resolution: int | None) -> str:
    swap = None if r_swap is None else f"r{r_swap}"
    return _joined("blend", (compat or "").split(":")[0], swap, "reverse" * reverse, resolution)


def _joined(*parts: str | int | None) -> str:
    return "_".join(str(part) for part in parts if part)


def _options(
    name: str,
    directory: Path | None,
    target: Target,
    engine: EngineChoice,
    precision: PrecisionChoice,
    licences: list[str] | None,
    force: bool,
    plugins: Literal["on", "off"] = "on",
) -> ExportOptions:
    return ExportOptions(
        directory or Path("build") / name,
        name,
        target,
        engine,
        precision,
        tuple(licences or ()),
        force,
        plans=PlanOptions(plugins == "on"),
    )


def _print_report(report: BlendReport) -> None:
    base = report.sources[0].path.name
    for source, similarity in zip(report.sources[1:], report.similarities, strict=True):
        values = "  ".join(f"{r}: {value:.2f}" for r, value in similarity.by_resolution.items())
        console.print(f"  cosine similarity of the weights of {source.path.name} and {base} by resolution: {values}")
    for warning in report.warnings:
        console.print(f"  [yellow]warning:[/yellow] {warning}.")


def _print_result(manifest: Manifest, options: ExportOptions) -> None:
    console.print(
        f"{options.directory}: {manifest.component} {manifest.name}, {manifest.engine} {manifest.precision}, verified "
        f"against PyTorch: {manifest.verification}"
    )
    if cut := manifest.details.get("cut"):
        errors = f"mean error {cut['mean']:.3g}, PSNR {cut['psnr']:.1f} dB"
        console.print(f"  against pictures of {cut['from']}x{cut['from']}, shrunk: {errors}")
