"""The program ``python -m export.demo_models.train``: it draws the faces, trains six networks, writes checkpoints.

It takes one and a half hours on two cores. An interrupted run resumes where it stopped; ``--quick`` runs every step
with minimal effort, to check that it works.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
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
    ``mixed`` faces have random domains. A GPU is busy with larger batches only, of which fewer are needed.
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
        return tuple(
            replace(stage, batch=self.batch_factor * stage.batch, schedule=self.scaled(stage.schedule))
            for stage in stages
        )


FULL, QUICK = Effort(), Effort(64, 64, 64, 64, 64, schedule_fraction=0.001)
"""QUICK runs every step with minimal effort."""
FAST = Effort(12288, 4096, 6144, 4096, 3072, schedule_fraction=0.4, batch_factor=4)
"""For a GPU, which trains faster than its machine draws: fewer faces, each seen twice as often."""


def train(
    work: Annotated[Path | None, typer.Option(help="Folder for drawings and for what is needed to resume.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the checkpoints.")] = None,
    quick: Annotated[bool, typer.Option(help="Train for a few steps only, to check that everything runs.")] = False,
    characters: Annotated[bool, typer.Option(help="Train on three-dimensional characters, not on drawings.")] = False,
) -> None:
    """Draw the faces, train every network of the demo, write the checkpoints.

    The package's own checkpoints are replaced by those of drawings, not by those of characters, which are written to
    the folder "weights" in the work folder.
    """
    work = work or Path("build/character-training" if characters else "build/demo-training")
    output = output or (work / "weights" if characters else DIRECTORY)
    effort = QUICK if quick else FAST if device().type == "cuda" else FULL
    train_all(work, output, effort, CHARACTERS if characters else DRAWINGS)
    advice = "" if characters else " Now measure them: python -m benchmarks.demo_models"
    console.print(f"Done: {output}.{advice}")


def train_all(work: Path, output: Path, effort: Effort, artist: Artist = DRAWINGS) -> DemoFiles:
    """Draw the faces, train every network and write the checkpoints; ``work`` keeps what is needed to resume."""

    def drawn(name: str, count: int, seed: int, domain: Domain | None) -> Faces:
        return drawn_faces(work / f"{name}.npy", count, seed, domain, artist)

    photos, cartoons = drawn("photo", effort.photos, SEED, PHOTO), drawn("cartoon", effort.cartoons, SEED, CARTOON)
    proportions = drawn("between", effort.proportions, SEED + 2, Domain(structure=1, texture=0))
    mixed = drawn("mixed", effort.mixed, SEED + 1, None)
    base = new_generator(SEED)
    train_generator(base, photos, effort.stages(PHOTO_STAGES), work / "base.state", seed=SEED, compiled=effort.compiled)
    encoder = train_encoder(
        base, photos, effort.scaled(ENCODER_SCHEDULE), work / "encoder.state", seed=SEED, compiled=effort.compiled
    )
    isf = train_isf(base.mapping, len(encoder.styles), effort.scaled(ISF_SCHEDULE), work / "isf.state", seed=SEED)
    classifier = train_classifier(photos, effort.scaled(CLASSIFIER_SCHEDULE), work / "classifier.state", seed=SEED)
    judge = train_judge([photos, cartoons, mixed], effort.scaled(JUDGE_SCHEDULE), work / "judge.state", seed=SEED)
    if artist is DRAWINGS:
        base_weights, transfer_weights = _transferred(base, proportions, cartoons, effort, work)
    else:
        reverse = drawn("reverse", effort.reverse, SEED + 3, Domain(structure=0, texture=1))
        faces = Combinations(photos, proportions, cartoons, reverse)
        transfer = train_siblings(base, faces, SPLIT, effort.stages, work, seed=SEED + 1, compiled=effort.compiled)
        base_weights, transfer_weights = _generator_weights(base, "base"), _generator_weights(transfer, "transfer")
    files = DemoFiles(output)
    output.mkdir(parents=True, exist_ok=True)
    write_rosinality(base_weights, files.base, half=True, force=True)
    write_rosinality(transfer_weights, files.transfer, half=True, force=True)
    write_encoder(_encoder_weights(encoder), files.encoder, half=True, force=True)
    write_isf(_isf_weights(isf), files.isf, classifier=_classifier_weights(classifier), half=True, force=True)
    write_judge(judge, files.judge)
    return files


def _transferred(
    base: Generator, proportions: Faces, cartoons: Faces, effort: Effort, work: Path
) -> tuple[GeneratorWeights, GeneratorWeights]:
    """Train the cartoon network from the photograph network in place; return the weights of both."""
    photo_weights = _generator_weights(base, "base")
    for faces, stages, name in ((proportions, PROPORTION_STAGES, "proportions"), (cartoons, SURFACE_STAGES, "surface")):
        train_generator(
            base, faces, effort.stages(stages), work / f"{name}.state", seed=SEED + 1, compiled=effort.compiled
        )
    return photo_weights, _generator_weights(base, "transfer")


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
    return Source(Path(f"{name}.pt"), "trained on drawings", hashlib.sha256(recipe.encode()).hexdigest())


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    run(app)
