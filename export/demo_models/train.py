"""The program ``python -m export.demo_models.train``: it draws the faces, trains six networks, writes checkpoints.

README.md says how long that takes, and what differs on a GPU. An interrupted run resumes where it stopped; ``--quick``
runs every step with minimal effort in a folder of its own, to check that it works.
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
from export.checkpoints import write_encoder, write_isf, write_rosinality
from export.demo_models.characters.measures import CHARACTERS
from export.demo_models.classifier_training import SCHEDULE as CLASSIFIER_SCHEDULE
from export.demo_models.classifier_training import train_classifier
from export.demo_models.dataset import Faces, drawn_faces
from export.demo_models.encoder_training import SCHEDULE as ENCODER_SCHEDULE
from export.demo_models.encoder_training import train_encoder
from export.demo_models.faces import CARTOON, DRAWINGS, PHOTO, Artist, Domain
from export.demo_models.files import DIRECTORY, DemoFiles
from export.demo_models.generator_training import (
    PHOTO_STAGES,
    PROPORTION_STAGES,
    SURFACE_STAGES,
    Stage,
    new_generator,
    parameters_of,
    train_generator,
)
from export.demo_models.isf_training import SCHEDULE as ISF_SCHEDULE
from export.demo_models.isf_training import train_isf
from export.demo_models.judge import SCHEDULE as JUDGE_SCHEDULE
from export.demo_models.judge import train_judge, write_judge
from export.demo_models.models import Models
from export.demo_models.sibling_training import Combinations, train_siblings
from export.demo_models.training import Schedule, device
from export.networks.classifier import Classifier
from export.networks.encoder import Encoder
from export.networks.generator import Generator
from export.networks.isf import Isf
from export.weights import ClassifierWeights, EncoderWeights, GeneratorWeights, IsfWeights, Source
from serving.command_line import run

SEED = 1
SPLIT = 16
"""The resolution at which the characters' generators are divided into geometry and surface."""

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Effort:
    """Number of faces drawn in each domain, and the fraction of each training schedule that is run.

    ``proportions`` faces have a cartoon's proportions and a photograph's surface, ``reverse`` ones the opposite;
    ``mixed`` faces have random domains. ``batch_factor`` multiplies the generators' batches, since small ones leave a
    GPU idle; fewer steps are needed then.
    """

    photos: int = 16384
    proportions: int = 6144
    cartoons: int = 8192
    reverse: int = 6144
    mixed: int = 4096
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
QUICK = Effort(photos=64, proportions=64, cartoons=64, reverse=64, mixed=64, schedule_fraction=0.001)
"""For a check that every step runs."""
FAST = Effort(
    photos=12288,
    proportions=4096,
    cartoons=6144,
    reverse=4096,
    mixed=3072,
    schedule_fraction=0.4,
    batch_factor=4,
)
"""For a GPU, which trains faster than its machine draws: fewer faces, each seen twice as often."""


def train(
    work: Annotated[Path | None, typer.Option(help="Folder for drawings and for what is needed to resume.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the checkpoints.")] = None,
    quick: Annotated[bool, typer.Option(help="Train for a few steps only, to check that everything runs.")] = False,
    characters: Annotated[bool, typer.Option(help="Train on three-dimensional characters, not on drawings.")] = False,
) -> None:
    """Draw the faces, train every network of the demo, write the checkpoints.

    By default, checkpoints that are trained on drawings replace the package's own; those that are trained on characters
    or for a check go to the folder "weights" in the work folder.
    """
    work = work or default_work(quick=quick, characters=characters)
    output = output or (work / "weights" if characters or quick else DIRECTORY)
    effort = QUICK if quick else FAST if device().type == "cuda" else FULL
    train_all(work, output, effort, CHARACTERS if characters else DRAWINGS)
    advice = "" if characters or quick else " Now measure them: python -m benchmarks.demo_models"
    console.print(f"Done: {output}.{advice}")


def default_work(*, quick: bool, characters: bool) -> Path:
    """Return a folder for each kind of training: a whole one shall not go on from the few steps of a quick one."""
    return Path("build") / f"{'character' if characters else 'demo'}-training{'-quick' * quick}"


@dataclass(frozen=True)
class Drawings:
    """The faces of each domain, drawn when they are first used; ``work`` keeps them."""

    work: Path
    effort: Effort
    artist: Artist

    @cached_property
    def photos(self) -> Faces:
        return self._drawn("photo", self.effort.photos, SEED, PHOTO)

    @cached_property
    def cartoons(self) -> Faces:
        return self._drawn("cartoon", self.effort.cartoons, SEED, CARTOON)

    @cached_property
    def mixed(self) -> Faces:
        return self._drawn("mixed", self.effort.mixed, SEED + 1, None)

    @cached_property
    def proportions(self) -> Faces:
        return self._drawn("between", self.effort.proportions, SEED + 2, Domain(structure=1, texture=0))

    @cached_property
    def reverse(self) -> Faces:
        return self._drawn("reverse", self.effort.reverse, SEED + 3, Domain(structure=0, texture=1))

    def _drawn(self, name: str, count: int, seed: int, domain: Domain | None) -> Faces:
        return drawn_faces(self.work / f"{name}.npy", count, seed, domain, self.artist)


def train_all(work: Path, output: Path, effort: Effort, artist: Artist = DRAWINGS) -> DemoFiles:
    """Draw the faces, train every network and write the checkpoints; ``work`` keeps what is needed to resume."""
    faces, base, compiled = Drawings(work, effort, artist), new_generator(SEED), effort.compiled
    photos = faces.photos
    train_generator(base, photos, effort.stages(PHOTO_STAGES), work / "base.state", seed=SEED, compiled=compiled)
    schedule = effort.scaled(ENCODER_SCHEDULE)
    encoder = train_encoder(base, photos, schedule, work / "encoder.state", seed=SEED, compiled=compiled)
    isf = train_isf(base.mapping, len(encoder.styles), effort.scaled(ISF_SCHEDULE), work / "isf.state", seed=SEED)
    classifier = train_classifier(photos, effort.scaled(CLASSIFIER_SCHEDULE), work / "classifier.state", seed=SEED)
    seen = [photos, faces.cartoons, faces.mixed]
    judge = train_judge(seen, effort.scaled(JUDGE_SCHEDULE), work / "judge.state", seed=SEED)
    generators = (_fine_tuned if artist is DRAWINGS else _siblings)(base, faces)
    files = DemoFiles(output)
    _write(Models(*generators, encoder, isf, classifier, judge), files)
    return files


def _fine_tuned(base: Generator, faces: Drawings) -> tuple[GeneratorWeights, GeneratorWeights]:
    """Train the cartoon network from the photograph network in place; return the weights of both."""
    photo_weights = _generator_weights(base, "base")
    steps = ((faces.proportions, PROPORTION_STAGES, "proportions"), (faces.cartoons, SURFACE_STAGES, "surface"))
    for chosen, stages, name in steps:
        state, compiled = faces.work / f"{name}.state", faces.effort.compiled
        train_generator(base, chosen, faces.effort.stages(stages), state, seed=SEED + 1, compiled=compiled)
    return photo_weights, _generator_weights(base, "transfer")


def _siblings(base: Generator, faces: Drawings) -> tuple[GeneratorWeights, GeneratorWeights]:
    """Train both networks so that their blends at ``SPLIT`` are trained too; return the weights of both."""
    combinations = Combinations(faces.photos, faces.proportions, faces.cartoons, faces.reverse)
    stages, compiled = faces.effort.stages, faces.effort.compiled
    transfer = train_siblings(base, combinations, SPLIT, stages, faces.work, seed=SEED + 1, compiled=compiled)
    return _generator_weights(base, "base"), _generator_weights(transfer, "transfer")


def _write(models: Models, files: DemoFiles) -> None:
    """Write the checkpoints, and replace those that are there."""
    write_rosinality(models.base, files.base, half=True, force=True)
    write_rosinality(models.transfer, files.transfer, half=True, force=True)
    write_encoder(_encoder_weights(models.encoder), files.encoder, half=True, force=True)
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
    return EncoderWeights(tensors, _source("encoder"), "e4e", latent_avg)


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
