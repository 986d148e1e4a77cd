"""Training of the demo's classifier: a rendered photograph -> which of the four attributes it shows.

It has the form of the classifier in an ISF checkpoint's discriminator, far narrower. Pictures are shifted, scaled and
rotated a little, blurred and made noisy, since it will see real crops and a generator's pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from export.demo_models.augmentation import jittered
from export.demo_models.dataset import Faces
from export.demo_models.judge import degraded
from export.demo_models.training import Schedule, device, mixed_precision, optimise
from export.demo_models.traits import ATTRIBUTES, attributes_of
from export.networks.classifier import Classifier
from export.networks.encoder import input_from_face

WIDTHS = (4, 8, 16, 32, 48, 48, 48)
HIDDEN = 48
FACES = 6144
"""The number of photographs, the first ones of the encoder's, that it is trained on."""
BATCH = 16
SCHEDULE = Schedule(steps=1000, rate=3e-3, matrix_rate=1.5e-3)

Batch = tuple[Tensor, Tensor]


def train_classifier(faces: Faces, schedule: Schedule, state: Path, *, seed: int) -> Classifier:
    """Train a classifier on rendered photographs."""
    torch.manual_seed(seed)
    classifier = Classifier(WIDTHS, HIDDEN, len(ATTRIBUTES))
    place = device()
    classifier.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only

    def loss(batch: Batch) -> Tensor:
        pictures, attributes = (tensor.to(place, non_blocking=True) for tensor in batch)
        with mixed_precision(place):
            logits = classifier(degraded(input_from_face(pictures)))
        return functional.binary_cross_entropy_with_logits(logits.float(), attributes)

    optimise(classifier, loss, _batches(faces, seed), schedule, state, "classifier")
    return classifier.cpu().eval()


def _batches(faces: Faces, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    count = min(len(faces.pictures), FACES)
    while True:
        chosen = np.sort(rng.choice(count, BATCH, replace=False))
        pictures = np.stack([jittered(picture, rng) for picture in faces.pictures[chosen]])
        yield torch.from_numpy(pictures), torch.from_numpy(attributes_of(faces.codes[chosen]))
