"""The command ``toonify-export encoder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.contract.errors import ExportError, ToonifyError
from export.checkpoints import read_encoder, read_generator
from export.demo_models.files import DemoFiles
from export.options import (
    AsJson,
    Checkpoint,
    DirectoryOption,
    EncoderKind,
    Engine,
    Label,
    Licences,
    Name,
    Precision,
    Retry,
    Steps,
    TargetOption,
    demo_files,
    export_options,
    joined_name,
    notes,
    print_result,
    with_steps,
)
from export.targets import check_export
from export.weights import EncoderWeights, GeneratorWeights
from serving.command_line import stages
from serving.options import Force


def encoder_command(
    checkpoint: Checkpoint | None = None,
    kind: EncoderKind = None,
    light: Annotated[
        bool,
        typer.Option("--light", help="For toonify video --light-encoder: pose and expression only, half the work."),
    ] = False,
    steps: Steps = None,
    trained_for: Annotated[
        Path | None,
        typer.Option(
            "--generator",
            help="Checkpoint of the generator that the encoder was trained for, if it is not in the encoder's own: its "
            "random faces show how far out codes of good faces lie.",
        ),
    ] = None,
    label: Label = None,
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
    """Export an encoder of pSp, e4e or ReStyle; the latter with its decoder, in as many steps as it is run."""
    options = export_options(
        name or joined_name("encoder", "light" * light),
        *(output, target, engine, precision, licences),
        force=force,
        retry=retry,
    )
    check_export("encoder", options)
    _check_generator(trained_for, label, light=light)
    path = checkpoint or demo_files().encoder
    with stages() as report:
        report(f"reading {path.name}")
        weights = with_steps(read_encoder(path, kind=kind), steps)
        from export.build import build_encoder

        demo = checkpoint is None
        faces, refusal = (None, None) if light else _generator_of(weights, trained_for, label, demo=demo)
        manifest = build_encoder(weights, options, report, light=light, generator=faces)
    print_result(options.directory, manifest, as_json=as_json)
    if refusal:
        notes.print(f"note: far codes are not guarded: {refusal}", markup=False)


def _check_generator(given: Path | None, label: int | None, *, light: bool) -> None:
    """Raise ExportError if the options about the generator that an encoder was trained for contradict one another."""
    if given and light:
        raise ExportError(
            "--generator",
            got="--light",
            expected="the whole encoder, whose directory tells how far out codes lie for its light form too",
            remedy="leave one of the two out",
        )
    if label is not None and given is None:
        raise ExportError(
            f"--label {label}",
            got="no --generator",
            expected="the conditional generator whose class it is",
            remedy="give --generator or leave --label out",
        )


def _generator_of(
    weights: EncoderWeights, given: Path | None, label: int | None, *, demo: bool
) -> tuple[GeneratorWeights | None, ToonifyError | None]:
    """Read the generator that an encoder was trained for, or tell why there is none.

    Raises:
        ToonifyError: the file that was given for it cannot be read.
    """
    if given:
        return read_generator(given, label), None
    from export.code_spread import generator_of_encoder

    try:
        return read_generator(DemoFiles().base) if demo else generator_of_encoder(weights), None
    except ToonifyError as error:
        return None, error
