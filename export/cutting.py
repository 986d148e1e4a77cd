"""Networks without some of their layers: a generator of smaller pictures, an encoder of fewer rows.

A StyleGAN2 generator with skip connections sums up a picture at every resolution, so that the sum so far is one too. It
takes W+ codes of as many rows as before; those of the layers left out change nothing. An encoder has a style head for
each row, and the finest rows' heads, on the largest maps, are half of its work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.contract.arrays import AnyArray
from engines.contract.errors import ExportError
from engines.contract.tensors import LIGHT_ENCODER_ROWS
from export.networks.generator import Generator, picture_from_output
from export.parity import Parity, parity
from export.weights import EncoderWeights, GeneratorWeights


def cut_at(weights: GeneratorWeights, resolution: int) -> GeneratorWeights:
    """The layers up to a resolution.

    Raises:
        ExportError: the generator has no pictures of that size.
    """
    if resolution not in weights.resolutions:
        raise ExportError(
            "--resolution",
            got=str(resolution),
            expected=f"one of {', '.join(map(str, weights.resolutions))}, the sizes of this generator's pictures",
            remedy="choose one, or leave --resolution out for the largest",
        )
    kept = [str(size) for size in weights.resolutions if size <= resolution]
    tensors = {
        name: value
        for name, value in weights.tensors.items()
        if not name.startswith("synthesis.") or name.split(".")[1] in kept
    }
    return replace(weights, tensors=tensors)


def light_encoder(weights: EncoderWeights) -> EncoderWeights:
    """The style heads of rows 0 to ``LIGHT_ENCODER_ROWS`` - 1 alone; their codes are those of the whole encoder."""
    heads = {f"styles.{row}" for row in range(LIGHT_ENCODER_ROWS)}
    tensors = {
        name: value
        for name, value in weights.tensors.items()
        if not name.startswith("styles.") or ".".join(name.split(".")[:2]) in heads
    }
    return replace(weights, tensors=tensors, latent_avg=weights.latent_avg[:LIGHT_ENCODER_ROWS])


def likeness(cut: Generator, whole: Generator, codes: AnyArray) -> Parity:
    """How near the pictures of a cut generator are to the whole one's, each pixel the mean of an area.

    How much of a picture the highest layers give, beside its details, is for the trained network to say.
    """
    shrunk, small = [], []
    with torch.no_grad():
        for w in torch.from_numpy(codes)[:, None]:
            small.append(cut.synthesise(w))
            # Clamped first, as the pictures are that one would shrink.
            shrunk.append(functional.interpolate(whole.synthesise(w).clamp(-1, 1), small[-1].shape[2:], mode="area"))
    return parity(_pictures(small), _pictures(shrunk))


def _pictures(images: Iterable[Tensor]) -> AnyArray:
    return np.concatenate([picture_from_output(image).numpy() for image in images])
