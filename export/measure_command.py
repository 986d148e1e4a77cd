"""The command ``toonify-export measure``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from engines.contract.atomic import atomic_file, check_output
from engines.contract.errors import RequestError
from export.demo_models.files import ISF_IS_RESIDUAL
from export.measures.inputs import Inputs, Unrecorded
from export.options import (
    AttributeNames,
    EncoderKind,
    FirstEncoder,
    Label,
    LpipsFiles,
    attribute_names,
    check_finite,
    demo_files,
)
from serving.command_line import stages
from serving.options import Force


def measure_command(
    generator: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint or model directory; repeat it to compare engines or blends side by side."),
    ] = None,
    encoder: Annotated[Path | None, typer.Option(help="Checkpoint or model directory of the encoder.")] = None,
    first_encoder: FirstEncoder = None,
    isf: Annotated[Path | None, typer.Option(help="Checkpoint or model directory of the ISF head.")] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="Model directory of the classifier; an ISF checkpoint's own is found in it.")
    ] = None,
    faces: Annotated[Path | None, typer.Option(help="Folder of aligned faces to reconstruct.")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of pictures to which FID compares the generator's.")] = None,
    lpips: LpipsFiles = None,
    face_recognition: Annotated[Path | None, typer.Option(help="OpenCV's face_recognition_sface_2021dec.onnx.")] = None,
    inception: Annotated[
        Path | None, typer.Option(help="pytorch-fid's pt_inception-2015-12-05-6726825d.pth, for FID.")
    ] = None,
    label: Label = None,
    kind: EncoderKind = None,
    attributes: AttributeNames = None,
    residual: Annotated[bool, typer.Option("--residual", help="For a head trained with use_residual.")] = False,
    count: Annotated[int, typer.Option(min=2, help="Number of random faces.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first random face.")] = 0,
    psi: Annotated[float, typer.Option(help="Truncation of the random faces.")] = 1.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report: NAME.md or NAME.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the page.")] = False,
    force: Force = False,
) -> None:
    """Measure generators, encoder and ISF head: FID, PPL, PIR, diversity, mAcc, FRS, PSNR and SSIM.

    Measures whose networks are not given are left out, and named with what to give.
    """
    models = (tuple(generator or ()), encoder, first_encoder, isf, classifier)
    inputs = Inputs(*models, faces, real, lpips, face_recognition, inception)
    inputs.check()
    check_finite("--psi", psi)
    _check_report(output, force=force)
    if not inputs.generator:
        files, residual = demo_files(), ISF_IS_RESIDUAL
        inputs = replace(
            inputs, generator=(files.base,), encoder=files.restyle, first_encoder=files.encoder, isf=files.isf
        )
    unrecorded = Unrecorded(label, kind, attribute_names(attributes), residual)
    unrecorded.check(inputs)
    from export.measures.measuring import Sample
    from export.measures.opening import measure  # imported late: they load PyTorch

    with ExitStack() as stack, stages() as report:
        measurements = measure(inputs, Sample(count, seed, psi), unrecorded, report, stack)
    text = json.dumps(measurements.as_json(), indent=1) + "\n"
    if output:
        with atomic_file(output, force=force) as partial:
            partial.write_text(text if output.suffix == ".json" else measurements.page())
    typer.echo(text if as_json else measurements.page(), nl=False)


def _check_report(output: Path | None, *, force: bool) -> None:
    if output is None:
        return
    if output.suffix not in (".md", ".json"):
        raise RequestError(
            str(output), got=f"the suffix {output.suffix!r}", expected=".md or .json", remedy="choose another name"
        )
    check_output(output, force=force)
