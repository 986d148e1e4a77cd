"""Options that several commands of ``toonify-export`` share."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from engines.contract.errors import ExportError
from engines.loading import Target
from engines.matching import mapping_of
from engines.model_directory import Manifest, manifest_of
from engines.rtx_metadata import unverified_sentence
from engines.tensorrt.options import PlanOptions
from engines.user_cache import user_cache
from export.checkpoints.pixel2style2pixel import MAX_STEPS
from export.demo_models.files import DESCRIPTION, DemoFiles
from export.engine_choices import EngineChoices
from export.targets import EngineChoice, ExportOptions, PrecisionChoice
from export.weights import EncoderWeights

Checkpoint = Annotated[Path, typer.Option(help="The checkpoint file; without it, the package's demo model.")]
Name = Annotated[str | None, typer.Option(help="The model's name; letters, digits, _ and -.")]
DirectoryOption = Annotated[Path | None, typer.Option(help="The model directory to write; default build/NAME.")]
TargetOption = Annotated[
    Target, typer.Option(help="What will run the model; for a GPU, export on a machine with one, except tensorrt-rtx.")
]
Plugins = Annotated[
    Literal["on", "off"] | None,
    typer.Option(help="For --target tensorrt: fused kernels (the default), or only TensorRT's own layers."),
]
Engine = Annotated[EngineChoice, typer.Option(help="auto: the fastest on this machine that passes verification.")]
Precision = Annotated[PrecisionChoice, typer.Option(help="auto: the fastest on this machine that passes verification.")]
Licences = Annotated[
    list[str] | None, typer.Option("--source-licence", help="Licence of each source, in order; kept in the manifest.")
]
PictureSize = Annotated[
    int | None, typer.Option(help="Side of the pictures, if smaller than the generator's: its higher layers are cut.")
]
Retry = Annotated[
    bool,
    typer.Option(
        "--retry", help="Measure the engines again, also where such a network was exported on this machine before."
    ),
]
EncoderKind = Annotated[
    Literal["psp", "e4e"] | None, typer.Option(help="The encoder's kind; needed only if its file does not record it.")
]
LpipsFiles = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="NETWORK HEADS",
        help="Files of LPIPS: torchvision's VGG16 or AlexNet, and the lpips package's v0.1/vgg.pth or v0.1/alex.pth.",
    ),
]
Label = Annotated[
    int | None,
    typer.Option(min=0, help="The class of a conditional generator, which is folded into its mapping network."),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_STEPS, help="Steps of a ReStyle encoder; without it, as many as in its training."),
]
FirstEncoder = Annotated[
    Path | None,
    typer.Option(
        "--first-encoder",
        help="Checkpoint of the encoder whose code a ReStyle encoder corrects (encoder bootstrapping); without it, the "
        "average is corrected.",
    ),
]
AttributeNames = Annotated[
    str | None, typer.Option(help="An ISF head's attributes in its own order, such as gender,glasses,age,expression.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each model.")]

console = Console(highlight=False, soft_wrap=True)
notes = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where everything but results is printed, so that standard output can be read by programs."""


def export_options(
    name: str,
    directory: Path | None,
    target: Target,
    engine: EngineChoice,
    precision: PrecisionChoice,
    licences: list[str] | None,
    *,
    force: bool,
    retry: bool,
    plugins: Literal["on", "off"] | None = None,
) -> ExportOptions:
    """Return the options of an export; the engines that were chosen before are in the user's cache.

    Raises:
        ExportError: plugins are asked for where there are none.
    """
    if target == "tensorrt-rtx" and plugins == "on":
        raise ExportError(
            "--target tensorrt-rtx",
            got="--plugins on",
            expected="native layers, as TensorRT for RTX has no plugins",
            remedy="leave --plugins out",
        )
    return ExportOptions(
        directory or Path("build") / name,
        name,
        target,
        engine,
        precision,
        tuple(licences or ()),
        force,
        plans=PlanOptions(plugins != "off"),
        choices=EngineChoices(user_cache() / "engines.json", forget=retry),
    )


def demo_files() -> DemoFiles:
    """Return the demo models, after a line that says that they are used."""
    notes.print(f"No checkpoint given: using the package's demo models ({DESCRIPTION}).")
    return DemoFiles()


def check_resolution(resolution: int | None) -> None:
    """Raise ExportError if a generator's resolution is given that no generator has."""
    if resolution is not None and (resolution.bit_count() != 1 or not 4 <= resolution <= 8192):
        raise ExportError(
            "--resolution", got=str(resolution), expected="a power of two from 4 to 8192", remedy="correct it"
        )


def check_finite(option: str, value: float) -> None:
    """Raise ExportError if an option's number is infinite or none."""
    if not isfinite(value):
        raise ExportError(option, got=f"{value:g}", expected="a finite number", remedy="correct it")


def attribute_names(attributes: str | None) -> tuple[str, ...] | None:
    """Return the names in an option's value."""
    return tuple(attributes.split(",")) if attributes else None


def with_steps(weights: EncoderWeights, steps: int | None) -> EncoderWeights:
    """Return a ReStyle encoder with another number of steps, or any encoder unchanged if ``steps`` is None.

    Raises:
        ExportError: steps are given for another encoder.
    """
    if steps is None:
        return weights
    if not weights.corrects:
        raise ExportError(
            f"--steps {steps}",
            got=f"an encoder of the architecture {weights.architecture}",
            expected="ReStyle, which corrects its code in steps",
            remedy="leave --steps out",
        )
    return replace(weights, steps=steps)


def joined_name(*parts: str | int | None) -> str:
    """Return a model's name of the parts that are given."""
    return "_".join(str(part) for part in parts if part)


def print_result(directory: Path, manifest: Manifest, *, as_json: bool) -> None:
    """Print a model directory that was written: a line about it, or its manifest with the directory's path."""
    if as_json:
        typer.echo(json.dumps({"directory": str(directory), **manifest.model_dump(mode="json")}))
        return
    place = f" for {manifest.plans}" if manifest.plans else ""
    what = "its graph " if manifest.is_unverified else ""
    console.print(
        f"{directory}: {manifest.component} {manifest.name}, {manifest.engine} {manifest.precision}{place}, "
        f"{what}verified against PyTorch: {manifest.verification}"
    )
    if manifest.is_unverified:
        console.print(f"  {unverified_sentence(directory)}")
    if manifest.component == "generator":
        mapping = mapping_of(directory)
        console.print(
            f"  with its mapping network, for pictures of random faces: {manifest_of(mapping).verification}"
            if mapping
            else "  without a mapping network, which the checkpoint does not hold: no pictures of random faces"
        )
    if cut := manifest.details.get("cut"):
        psnr = "equal" if cut["psnr"] is None else f"PSNR {cut['psnr']:.1f} dB"
        console.print(
            f"  against pictures of {cut['from']}x{cut['from']}, shrunk: mean error {cut['mean']:.3g}, {psnr}"
        )
