"""Networks without some of their layers: generators of smaller pictures, and encoders of fewer rows.

A StyleGAN2 generator with skip connections adds up the toRGB outputs of all resolutions, so that each partial sum is a
picture; a StyleGAN1 generator has pictures of one size only. A cut generator takes W+ codes with all rows of the full
one and ignores those of the removed layers. An encoder has a style head for each row; the finest rows' heads, on the
largest feature maps, are half of its work.
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
from export.networks.generator import StyleGenerator, picture_from_output
from export.parity import Parity, parity
from export.weights import EncoderWeights, GeneratorWeights


def cut_generator(weights: GeneratorWeights, resolution: int) -> GeneratorWeights:
    """Remove the layers above a resolution.

    Raises:
        ExportError: the generator has no pictures of that resolution.
    """
    if resolution not in weights.picture_sizes:
        raise ExportError(
            "--resolution",
            got=str(resolution),
            expected=f"one of {', '.join(map(str, weights.picture_sizes))}, the sizes of this generator's pictures",
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
    """Keep only the first ``LIGHT_ENCODER_ROWS`` style heads, which give the same rows as the full encoder.

    Raises:
        ExportError: the encoder's heads read no pyramid, so that this would save no work, or all rows are needed.
    """
    if weights.heads != "pyramid" or weights.corrects:
        raise ExportError(
            "--light",
            got=f"an encoder of the architecture {weights.architecture}",
            expected="pSp or e4e, whose finest style heads are half of the work",
            remedy="leave --light out",
        )
    heads = {f"styles.{row}" for row in range(LIGHT_ENCODER_ROWS)}
    tensors = {
        name: value
        for name, value in weights.tensors.items()
        if not name.startswith("styles.") or ".".join(name.split(".")[:2]) in heads
    }
    return replace(weights, tensors=tensors, latent_avg=weights.latent_avg[:LIGHT_ENCODER_ROWS])


def cut_parity(cut: StyleGenerator, whole: StyleGenerator, codes: AnyArray) -> Parity:
    """Compare a cut generator's pictures with the full one's, downsampled by averaging areas.

    The error depends on the trained network: the removed layers may contribute more than fine details.

    Args:
        cut: the generator without its highest layers.
        whole: the full generator.
        codes: W+ codes [N, L, D] for both.
    """
    shrunk, small = [], []
    with torch.no_grad():
        for w in torch.from_numpy(codes)[:, None]:
            small.append(cut.synthesise(w))
            # Clamped first, as the full generator's pictures would be before anyone downsamples them.
            shrunk.append(functional.interpolate(whole.synthesise(w).clamp(-1, 1), small[-1].shape[2:], mode="area"))
    return parity(_pictures(small), _pictures(shrunk))


def _pictures(images: Iterable[Tensor]) -> AnyArray:
    return np.concatenate([picture_from_output(image).numpy() for image in images])
