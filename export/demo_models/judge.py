"""A small network, the judge, that estimates a rendered face's traits and attributes, and how cartoon-like it is.

It is trained on renderings only, never on a generator's pictures, and can therefore measure those: the accuracy of
attributes, the preserved identity, the perceptual distance of two pictures, and the effect of blending on eyes, chin
and outlines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.atomic import atomic_file
from export.demo_models.dataset import Faces
from export.demo_models.domains import MEASURES
from export.demo_models.training import Schedule, device, mixed_precision, optimise
from export.demo_models.traits import ATTRIBUTES, TRAITS, attributes_of

INPUT_SIZE = 128
WIDTHS = (16, 32, 48, 64, 80)
HIDDEN = 80
OUTPUTS = [len(TRAITS), len(ATTRIBUTES), len(MEASURES)]
BATCH = 64
SCHEDULE = Schedule(steps=1200, rate=3e-3, matrix_rate=1.5e-3)


@dataclass(frozen=True)
class FaceEstimates:
    """The judge's estimates for N pictures.

    Args:
        traits: estimates of the normalised codes, [N, traits].
        attributes: probabilities in 0..1, [N, attributes].
        measures: the ``MEASURES``: heights and widths in pixels at 256, outline strength in 0..1, [N, 4].
        features: normalised activations of every level, for perceptual distances, [N, C, H, W] each.
    """

    traits: NDArray[np.float32]
    attributes: NDArray[np.float32]
    measures: NDArray[np.float32]
    features: tuple[Tensor, ...]


class Judge(nn.Module):
    """The judge: convolutions of stride 2 from 128x128 to 4x4, then linear layers."""

    measure_mean: Tensor
    measure_spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
            )
            for a, b in zip(widths[:-1], WIDTHS, strict=True)
        )  # fmt: skip
        self.hidden = nn.Linear(WIDTHS[-1] * 16, HIDDEN)
        self.out = nn.Linear(HIDDEN, sum(OUTPUTS))
        self.register_buffer("measure_mean", torch.zeros(len(MEASURES)))
        self.register_buffer("measure_spread", torch.ones(len(MEASURES)))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:  # [N, 3, 128, 128] -> [N, outputs], features
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return self.out(functional.relu(self.hidden(x.flatten(1)))), tuple(features)


def estimate_faces(judge: Judge, pictures: NDArray[np.uint8], batch: int = 64) -> FaceEstimates:
    """Run the judge on uint8 RGB pictures [N, R, R, 3] of any size."""
    with torch.no_grad():
        outputs = [
            judge(input_from_pictures(pictures[start : start + batch])) for start in range(0, len(pictures), batch)
        ]
    out = torch.cat([output[0] for output in outputs])
    traits, attributes, measures = torch.split(out, OUTPUTS, 1)
    features = tuple(
        functional.normalize(torch.cat(level), dim=1) for level in zip(*(output[1] for output in outputs), strict=True)
    )
    true_scale = measures * judge.measure_spread + judge.measure_mean
    return FaceEstimates(traits.numpy(), torch.sigmoid(attributes).numpy(), true_scale.numpy(), features)


class JudgePerception:
    """LPIPS (Zhang et al., arXiv 1801.03924) on the judge's features without learned weights, as a ``Perception``.

    The distance is that of unit features: squared differences, averaged over positions and summed over levels.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def features(self, pictures: NDArray[np.uint8]) -> Sequence[Tensor]:
        return estimate_faces(self._judge, pictures).features

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        levels = [(x - y).square().sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True)]
        return torch.stack(levels).sum(0)


def input_from_pictures(pictures: NDArray[np.uint8]) -> Tensor:
    """Convert pictures to the judge's input, uint8 [N, R, R, 3] -> float32 [N, 3, 128, 128] in -1..1."""
    small = np.stack(
        [cv2.resize(picture, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA) for picture in pictures]
    )
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_judge(faces: list[Faces], schedule: Schedule, state: Path, *, seed: int) -> Judge:
    """Train a judge on renderings."""
    torch.manual_seed(seed)
    judge = Judge()
    # In small parts, since float32 takes twice as much memory as what is kept.
    parts = (each.pictures[i : i + BATCH] for each in faces for i in range(0, len(each.pictures), BATCH))
    small = torch.cat([input_from_pictures(part).to(torch.bfloat16) for part in parts])
    codes = torch.from_numpy(np.concatenate([each.codes for each in faces]))
    measures = torch.from_numpy(np.concatenate([each.measures for each in faces]))
    judge.measure_mean.copy_(measures.mean(0))
    judge.measure_spread.copy_(measures.std(0))
    place = device()
    judge.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    scaled = (measures - judge.measure_mean.cpu()) / judge.measure_spread.cpu()
    small, codes, attributes, scaled = (
        tensor.to(place) for tensor in (small, codes, torch.from_numpy(attributes_of(codes.numpy())), scaled)
    )

    def loss(chosen: Tensor) -> Tensor:
        with mixed_precision(place):
            out, _ = judge(degraded(small[chosen].float()))
        traits, logits, seen = torch.split(out.float(), OUTPUTS, 1)
        return (
            functional.mse_loss(traits, codes[chosen])
            + functional.binary_cross_entropy_with_logits(logits, attributes[chosen])
            + functional.mse_loss(seen, scaled[chosen])
        )

    optimise(judge, loss, _batch_indices(len(codes), seed), schedule, state, "judge")
    return judge.cpu().eval()


def _batch_indices(count: int, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng(seed)
    while True:
        yield torch.from_numpy(rng.choice(count, BATCH, replace=False))


def degraded(x: Tensor) -> Tensor:
    """Blur pictures and add noise, since generated pictures are softer and noisier than renderings."""
    blurred = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, blurred, torch.rand(len(x), 1, 1, 1, device=x.device))
    return x + 0.04 * torch.rand(len(x), 1, 1, 1, device=x.device) * torch.randn_like(x)


def write_judge(judge: Judge, path: Path) -> None:
    """Store a judge in half precision."""
    with atomic_file(path, force=True) as partial:
        save_file({name: value.half().contiguous() for name, value in judge.state_dict().items()}, partial)


def read_judge(path: Path) -> Judge:
    """Load a judge for inference."""
    judge = Judge()
    tensors = load_file(path)
    dtypes = {name: value.dtype for name, value in judge.state_dict().items()}
    judge.load_state_dict({name: value.to(dtypes[name]) for name, value in tensors.items()})
    judge.requires_grad_(False)
    return judge.eval()
