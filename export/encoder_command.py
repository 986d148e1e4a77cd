"""The command ``toonify-export encoder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.contract.errors import ExportError, ToonifyError
from export.checkpoints import read_encoder, read_generator
from export.options import (
    AsJson,
    Checkpoint,
    DirectoryOption,
    EncoderKind,
    Engine,
    FirstEncoder,
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
    first: FirstEncoder = None,
    trained_for: Annotated[
        Path | None,
        typer.Option(
            "--generator",
            help="Checkpoint of the generator that the encoder was trained for, if it is not in the encoder's own: its "
            "random faces show how far out codes of good faces lie, and it is ReStyle's decoder.",
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
    """Export an encoder of pSp, e4e or ReStyle; ReStyle's with its decoder and all its steps, as one network."""
    options = export_options(
        name or joined_name("encoder", "light" * light),
        *(output, target, engine, precision, licences),
        force=force,
        retry=retry,
    )
    check_export("encoder", options)
    _check_generator(trained_for, label, light=light)
    _check_first(first, checkpoint)
    with stages() as report:
        report("reading the encoder")
        generator = read_generator(trained_for, label) if trained_for else None
        weights, generator = _read(checkpoint, kind, first, generator)
        weights = with_steps(weights, steps)
        from export.build import build_encoder

        faces, refusal = (generator, None) if generator or light else _generator_of(weights)
        manifest = build_encoder(weights, options, report, light=light, generator=faces)
    print_result(options.directory, manifest, as_json=as_json)
    if refusal:
        notes.print(f"note: far codes are not guarded: {refusal}", markup=False)


def _read(
    checkpoint: Path | None, kind: EncoderKind, first: Path | None, generator: GeneratorWeights | None
) -> tuple[EncoderWeights, GeneratorWeights | None]:
    """Read the encoder, or without a checkpoint the demo's, and with it its generator if no other one is given."""
    if checkpoint:
        return read_encoder(checkpoint, kind, first=first, generator=generator), generator
    demo = demo_files()
    return demo.read_encoder(), generator or read_generator(demo.base)


def _check_first(first: Path | None, checkpoint: Path | None) -> None:
    """Raise ExportError if an encoder is given whose code no other one would correct."""
    if first and checkpoint is None:
        raise ExportError(
            "--first-encoder",
            got="no --checkpoint",
            expected="the ReStyle encoder that corrects its code",
            remedy="give --checkpoint, or leave --first-encoder out",
        )


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


def _generator_of(weights: EncoderWeights) -> tuple[GeneratorWeights | None, ToonifyError | None]:
    """Read the generator in an encoder's own file, or tell why there is none."""
    from export.code_spread import generator_of_encoder

    try:
        return generator_of_encoder(weights), None
    except ToonifyError as error:
        return None, error
