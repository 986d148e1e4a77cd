"""Opens whatever was given, measures every generator with it, and names what could not be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray, Picture, Pictures
from engines.contract.errors import CheckpointError, RequestError
from engines.contract.tensors import FACE_SIZE
from export.checkpoints import read_generator
from export.measures.inception import Inception, read_inception
from export.measures.inputs import Inputs, Unrecorded
from export.measures.lpips import read_lpips
from export.measures.measuring import Instruments, Sample, agreement, check_fits, measured
from export.measures.perception import LpipsPerception
from export.measures.pictures import resized
from export.measures.recognition import FaceRecognition
from export.measures.report import Measurements
from export.measures.subjects import (
    ClassifyFaces,
    EncodeFaces,
    MeasuredGenerator,
    open_classifier,
    open_encoder,
    open_generator,
    open_head,
)
from serving.faces.images import read_picture
from serving.faces.picture_files import PICTURES
from serving.jobs import files_in
from serving.random_faces import no_mapping

LeftOut = dict[str, str]
"""What could not be measured, each with what to give."""


def measure(
    inputs: Inputs,
    sample: Sample,
    unrecorded: Unrecorded,
    report: Callable[[str], None],
    stack: ExitStack,
) -> Measurements:
    """Measure every generator of ``inputs`` with whatever else is given.

    Args:
        inputs: the paths.
        sample: which random faces are drawn.
        unrecorded: what the checkpoints do not record.
        report: is told each step.
        stack: closes the engines.

    Raises:
        ToonifyError: a path cannot be used, or a generator has no mapping network.
    """
    report("opening the models")
    generators = _generators(inputs, stack, unrecorded.label)
    tools, left_out = _instruments(inputs, unrecorded, stack)
    for generator in generators.values():  # before hours of measuring
        check_fits(generator, tools)
    if tools.lpips and any(generator.network is None for generator in generators.values()):
        left_out["PPL of an engine"] = "the checkpoint: 8 bits hide the small steps that PPL takes"
    first = next(iter(generators.values()))
    figures = {}
    for name, generator in generators.items():
        figures[name] = [*measured(generator, tools, sample, report)]
        if generator is not first:
            figures[name] += agreement(generator, first, sample)
    return Measurements(inputs.given(), sample, figures, left_out)


def _generators(inputs: Inputs, stack: ExitStack, label: int | None) -> dict[str, MeasuredGenerator]:
    """Open the generators; each has its own name, or its path where another has the same."""
    opened: dict[str, MeasuredGenerator] = {}
    for path in inputs.generator:
        generator = open_generator(path, stack, label)
        if not generator.z_dim:
            raise no_mapping(str(path))
        opened[str(path) if generator.name in opened else generator.name] = generator
    return opened


def _instruments(inputs: Inputs, unrecorded: Unrecorded, stack: ExitStack) -> tuple[Instruments, LeftOut]:
    left_out = _without_networks(inputs)
    names, residual = unrecorded.attributes, unrecorded.residual
    head = open_head(inputs.isf, names, stack, residual=residual) if inputs.isf else None
    inception = read_inception(inputs.inception) if inputs.inception else None
    lpips = read_lpips(*inputs.lpips) if inputs.lpips else None
    tools = Instruments(
        encoder=_encoder(inputs, unrecorded, stack),
        head=head,
        classifier=_classifier(inputs, head.attributes, stack, left_out) if head else None,
        lpips=lpips,
        perception=LpipsPerception(lpips) if lpips else None,
        recognition=FaceRecognition(inputs.face_recognition) if inputs.face_recognition else None,
        inception=inception,
        faces=_faces_in(inputs.faces) if inputs.faces else None,
        real=_features_in(inputs.real, inception) if inputs.real and inception else None,
    )
    return tools, left_out


def _encoder(inputs: Inputs, unrecorded: Unrecorded, stack: ExitStack) -> EncodeFaces | None:
    """Open the encoder; a decoder that its file does not hold is the first generator of which there is a checkpoint."""
    if inputs.encoder is None:
        return None
    checkpoint = next((path for path in inputs.generator if path.is_file()), None)
    generator = read_generator(checkpoint, unrecorded.label) if checkpoint else None
    return open_encoder(inputs.encoder, stack, unrecorded.kind, first=inputs.first_encoder, generator=generator)


def _without_networks(inputs: Inputs) -> LeftOut:
    """The measures of which a network or a folder is missing; a classifier may still be found."""
    missing = {
        "reconstruction (PSNR, SSIM)": ("--encoder and --faces", inputs.encoder and inputs.faces),
        "FID": ("--inception and --real", inputs.inception),
        "PPL": ("--lpips", inputs.lpips),
        "edits (mAcc, FRS, PPL, PIR, diversity)": ("--isf", inputs.isf),
    }
    if inputs.isf:
        missing["FRS"] = ("--face-recognition", inputs.face_recognition)
        missing["PPL, PIR and diversity of edits"] = ("--lpips", inputs.lpips)
    return {name: options for name, (options, given) in missing.items() if not given}


def _classifier(
    inputs: Inputs, attributes: tuple[str, ...], stack: ExitStack, left_out: LeftOut
) -> ClassifyFaces | None:
    """The classifier that is given, or that the head's checkpoint holds."""
    if inputs.classifier:
        return open_classifier(inputs.classifier, attributes, stack)
    assert inputs.isf is not None
    if inputs.isf.is_dir():
        left_out["mAcc"] = "--classifier"
        return None
    try:
        return open_classifier(inputs.isf, attributes, stack)
    except CheckpointError as error:
        left_out["mAcc"] = f"--classifier, or another --isf ({error.subject}: {error.got})"
        return None


def _pictures_in(folder: Path) -> Iterator[Picture]:
    for path in files_in([folder], PICTURES):
        picture = read_picture(path)
        height, width = picture.shape[:2]
        if height != width:
            raise RequestError(
                str(path),
                got=f"a picture of {width}x{height}",
                expected="a square one, an aligned face",
                remedy="cut the aligned faces out first",
            )
        yield picture


def _faces_in(folder: Path) -> Pictures:
    return np.concatenate([resized(picture[None], FACE_SIZE) for picture in _pictures_in(folder)])


def _features_in(folder: Path, inception: Inception) -> AnyArray:
    return np.concatenate([inception.features(picture[None]) for picture in _pictures_in(folder)])
