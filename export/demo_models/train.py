"""The program ``python -m export.demo_models.train``: it draws the faces, trains seven networks, writes checkpoints.

README.md says how long that takes, and what differs on a GPU. An interrupted run resumes where it stopped; ``--start``
goes on with trained checkpoints; ``--quick`` runs every step with minimal effort in a folder of its own, to check that
it works.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from engines.contract.tensors import ISF_ATTRIBUTES
from engines.hashed_files import sha256_of
from export.checkpoints import read_encoder, read_generator, write_encoder, write_isf, write_rosinality
from export.demo_models.classifier_training import SCHEDULE as CLASSIFIER_SCHEDULE
from export.demo_models.classifier_training import train_classifier
from export.demo_models.dataset import Faces, drawn_faces, drawn_people
from export.demo_models.domains import CARTOON, PHOTO, PHOTO_HALF, PHOTO_TOON, TOON_HALF, TOON_PHOTO, Domain
from export.demo_models.encoder_training import (
    CODE_SCHEDULE,
    PICTURE_SCHEDULE,
    TrainedLayers,
    for_training,
    new_encoder,
    scale_convolutions,
    train_encoder,
)
from export.demo_models.files import DIRECTORY, DemoFiles
from export.demo_models.generator_training import PHOTO_STAGES, Stage, new_generator, parameters_of, train_generator
from export.demo_models.isf_training import SCHEDULE as ISF_SCHEDULE
from export.demo_models.isf_training import train_isf
from export.demo_models.judge import SCHEDULE as JUDGE_SCHEDULE
from export.demo_models.judge import train_judge, write_judge
from export.demo_models.models import Models
from export.demo_models.restyle_training import SCHEDULE as RESTYLE_SCHEDULE
from export.demo_models.restyle_training import (
    encoders_of,
    new_corrector,
    restyle_of,
    train_restyle,
    untrained_corrector,
)
from export.demo_models.sibling_training import train_siblings
from export.demo_models.training import Schedule, check_sizes, device
from export.networks.classifier import Classifier
from export.networks.encoder import AllRowsEncoder, Encoder, encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.networks.isf import Isf
from export.weights import ClassifierWeights, EncoderWeights, GeneratorWeights, IsfWeights, Source
from serving.command_line import run

SEED = 1

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Effort:
    """Number of faces drawn in each domain, and the fraction of each training schedule that is run.

    The first ``people`` of the photographs' faces are drawn a second time, as people look. ``proportions`` faces have a
    cartoon's geometry and a photograph's surface, ``reverse`` ones the opposite, ``halves`` one of the two geometries
    and a surface in between, and ``mixed`` ones random domains. ``batch_factor`` multiplies the generators' batches,
    since small ones leave a GPU idle; fewer steps are needed then.
    """

    photos: int = 16384
    people: int = 8192
    proportions: int = 6144
    cartoons: int = 6144
    reverse: int = 3072
    halves: int = 2048
    mixed: int = 1024
    schedule_fraction: float = 1
    batch_factor: int = 1

    def scaled(self, schedule: Schedule) -> Schedule:
        """Return the schedule with its number of steps scaled."""
        return replace(schedule, steps=max(round(self.schedule_fraction * schedule.steps), 2))

    @property
    def compiled(self) -> bool:
        """True if the networks are compiled, which takes a minute for each."""
        return self.schedule_fraction == 1

    def stages(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        """Return a generator's stages with their batches and their numbers of steps scaled."""
        return tuple(
            replace(stage, batch=self.batch_factor * stage.batch, schedule=self.scaled(stage.schedule))
            for stage in stages
        )


FULL = Effort()
QUICK = Effort(
    photos=64, people=64, proportions=64, cartoons=64, reverse=64, halves=64, mixed=64, schedule_fraction=0.001
)
"""For a check that every step runs."""
FAST = Effort(schedule_fraction=0.4, batch_factor=4)
"""For a GPU, where larger batches cost little: the generators see 1.6 times as many faces in fewer steps."""


def train(
    work: Annotated[Path | None, typer.Option(help="Folder for drawings and for what is needed to resume.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the checkpoints.")] = None,
    start: Annotated[Path | None, typer.Option(help="Folder of checkpoints to go on with.")] = None,
    quick: Annotated[bool, typer.Option(help="Train for a few steps only, to check that everything runs.")] = False,
) -> None:
    """Draw the faces, train every network of the demo, write the checkpoints.

    By default, the checkpoints replace the package's own; those of a quick check go to the folder "weights" in the work
    folder.
    """
    work = work or default_work(quick=quick)
    output = output or (work / "weights" if quick else DIRECTORY)
    effort = QUICK if quick else FAST if device().type == "cuda" else FULL
    train_all(work, output, effort, DemoFiles(start) if start else None)
    advice = "" if quick else " Now measure them: python -m benchmarks.demo_models"
    console.print(f"Done: {output}.{advice}")


def default_work(*, quick: bool) -> Path:
    """Return a folder for each kind of training: a whole one shall not go on from the few steps of a quick one."""
    return Path("build") / f"demo-training{'-quick' * quick}"


@dataclass(frozen=True)
class Drawings:
    """The faces of each domain, drawn when they are first used; ``work`` keeps them."""

    work: Path
    effort: Effort

    @cached_property
    def photos(self) -> Faces:
        return self._drawn("photo", self.effort.photos, SEED, PHOTO)

    @cached_property
    def people(self) -> Faces:
        return drawn_people(self.work / "people.npy", self.effort.people, SEED)

    @cached_property
    def cartoons(self) -> Faces:
        return self._drawn("cartoon", self.effort.cartoons, SEED, CARTOON)

    @cached_property
    def mixed(self) -> Faces:
        return self._drawn("mixed", self.effort.mixed, SEED + 1, None)

    @cached_property
    def proportions(self) -> Faces:
        return self._drawn("between", self.effort.proportions, SEED + 2, TOON_PHOTO)

    @cached_property
    def reverse(self) -> Faces:
        return self._drawn("reverse", self.effort.reverse, SEED + 3, PHOTO_TOON)

    @cached_property
    def of_blends(self) -> dict[Domain, Faces]:
        """The faces of each domain that blends show."""
        return {
            PHOTO: self.photos,
            CARTOON: self.cartoons,
            TOON_PHOTO: self.proportions,
            PHOTO_TOON: self.reverse,
            TOON_HALF: self._drawn("toon-half", self.effort.halves, SEED + 4, TOON_HALF),
            PHOTO_HALF: self._drawn("photo-half", self.effort.halves, SEED + 5, PHOTO_HALF),
        }

    def _drawn(self, name: str, count: int, seed: int, domain: Domain | None) -> Faces:
        return drawn_faces(self.work / f"{name}.npy", count, seed, domain)


def train_all(work: Path, output: Path, effort: Effort, start: DemoFiles | None = None) -> DemoFiles:
    """Draw the faces, train every network and write the checkpoints; ``work`` keeps what is needed to resume.

    Generators and encoders begin as those of ``start``, if there is one, and the others from nothing.

    Raises:
        CheckpointError: a checkpoint of ``start`` is missing.
        ExportError: one has other sizes than those of this training.
    """
    faces, compiled = Drawings(work, effort), effort.compiled
    base, transfer, encoder, corrector = _begun(start) if start else (new_generator(SEED), None, None, None)
    # What was trained from other weights, or from nothing, is not to be taken for a part of this training.
    states = work / f"after-{_begun_with(start)}" if start else work
    states.mkdir(parents=True, exist_ok=True)
    photos = faces.photos
    if not start:
        train_generator(base, photos, effort.stages(PHOTO_STAGES), states / "base.state", seed=SEED, compiled=compiled)
    transfer = train_siblings(base, transfer, faces.of_blends, effort.stages, states, seed=SEED + 1, compiled=compiled)
    encoder = encoder or new_encoder(base.mapping.w_avg, base.rows, SEED)
    schedules = effort.scaled(CODE_SCHEDULE), effort.scaled(PICTURE_SCHEDULE)
    train_encoder(
        encoder, base, photos, faces.people, schedules, states / "encoder.state", seed=SEED, compiled=compiled
    )
    restyle = restyle_of(encoder, corrector or new_corrector(encoder, SEED), base)
    schedule, state = effort.scaled(RESTYLE_SCHEDULE), states / "restyle.state"
    train_restyle(restyle, photos, faces.people, schedule, state, seed=SEED, compiled=compiled)
    isf = train_isf(base.mapping, base.rows, effort.scaled(ISF_SCHEDULE), work / "isf.state", seed=SEED)
    classifier = train_classifier(photos, effort.scaled(CLASSIFIER_SCHEDULE), work / "classifier.state", seed=SEED)
    seen = [photos, faces.cartoons, faces.mixed, faces.proportions, faces.reverse]
    judge = train_judge(seen, effort.scaled(JUDGE_SCHEDULE), work / "judge.state", seed=SEED)
    generators = _generator_weights(base, "base"), _generator_weights(transfer, "transfer")
    files = DemoFiles(output)
    _write(Models(*generators, restyle, isf, classifier, judge), files)
    return files


def _begun(files: DemoFiles) -> tuple[Generator, Generator, AllRowsEncoder, AllRowsEncoder]:
    """Return the generators and the encoders of a training to go on with."""
    weights = read_generator(files.base)
    base, transfer = map(generator_from_weights, (weights, read_generator(files.transfer)))
    encoder = encoder_from_weights(read_encoder(files.encoder))
    corrector = encoder_from_weights(read_encoder(files.restyle, generator=weights))
    untrained = new_generator(SEED)
    average = untrained.mapping.w_avg.expand(untrained.rows, -1)
    for network, like, file in (
        (base, untrained, files.base),
        (transfer, untrained, files.transfer),
        (encoder, new_encoder(average[0], len(average), SEED), files.encoder),
        (corrector, untrained_corrector(average, SEED), files.restyle),
    ):
        check_sizes(
            file,
            network.state_dict(),
            like,
            got="a network of other sizes",
            remedy="give a folder that it has written",
        )
        network.requires_grad_(True)
    assert isinstance(encoder, AllRowsEncoder)  # no other one has parameters of its names
    assert isinstance(corrector, AllRowsEncoder)
    for each in (encoder, corrector):
        scale_convolutions(TrainedLayers(each), for_training)
    return base, transfer, encoder, corrector


def _begun_with(files: DemoFiles) -> str:
    """Return a name for the checkpoints that a training goes on with."""
    begun = (files.base, files.transfer, files.encoder, files.restyle)
    hashes = "".join(sha256_of(file) for file in begun)
    return hashlib.sha256(hashes.encode()).hexdigest()[:12]


def _write(models: Models, files: DemoFiles) -> None:
    """Write the checkpoints, and replace those that are there."""
    write_rosinality(models.base, files.base, half=True, force=True)
    write_rosinality(models.transfer, files.transfer, half=True, force=True)
    encoder, corrector = map(_encoder_weights, encoders_of(models.encoder))
    write_encoder(encoder, files.encoder, half=True, force=True)
    write_encoder(corrector, files.restyle, half=True, force=True)
    classifier = _classifier_weights(models.classifier)
    write_isf(_isf_weights(models.isf), files.isf, classifier=classifier, half=True, force=True)
    write_judge(models.judge, files.judge)


def _generator_weights(network: Generator, name: str) -> GeneratorWeights:
    return GeneratorWeights({key: value.copy() for key, value in parameters_of(network).items()}, _source(name))


def _encoder_weights(encoder: Encoder) -> EncoderWeights:
    tensors = {
        name: value for name, value in parameters_of(encoder).items() if not name.endswith("num_batches_tracked")
    }
    latent_avg = tensors.pop("latent_avg")
    return EncoderWeights(tensors, _source("encoder"), "psp", latent_avg)


def _isf_weights(isf: Isf) -> IsfWeights:
    return IsfWeights(parameters_of(isf), _source("isf"), ISF_ATTRIBUTES, residual=isf.residual)


def _classifier_weights(classifier: Classifier) -> ClassifierWeights:
    return ClassifierWeights(parameters_of(classifier), _source("classifier"), ISF_ATTRIBUTES)


def _source(name: str) -> Source:
    recipe = json.dumps({"network": name, "seed": SEED})
    return Source(Path(f"{name}.pt"), "trained on synthetic faces", hashlib.sha256(recipe.encode()).hexdigest())


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    run(app)
