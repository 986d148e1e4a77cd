"""The demo's seven networks together, as they are trained and measured."""

from __future__ import annotations

from dataclasses import dataclass

from export.checkpoints import read_classifier, read_generator, read_isf
from export.demo_models.files import ISF_IS_RESIDUAL, DemoFiles
from export.demo_models.judge import Judge, read_judge
from export.networks.classifier import Classifier, classifier_from_weights
from export.networks.isf import Isf, isf_from_weights
from export.networks.restyle import Restyle, restyle_from_weights
from export.weights import GeneratorWeights


@dataclass(frozen=True)
class Models:
    """The demo's seven networks."""

    base: GeneratorWeights
    transfer: GeneratorWeights
    encoder: Restyle
    isf: Isf
    classifier: Classifier
    judge: Judge


def load_models(files: DemoFiles) -> Models:
    """Load the demo's networks."""
    return Models(
        base=read_generator(files.base),
        transfer=read_generator(files.transfer),
        encoder=restyle_from_weights(files.read_encoder()),
        isf=isf_from_weights(read_isf(files.isf, residual=ISF_IS_RESIDUAL)),
        classifier=classifier_from_weights(read_classifier(files.isf)),
        judge=read_judge(files.judge),
    )
