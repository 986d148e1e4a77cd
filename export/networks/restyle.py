"""ReStyle (Alaluf et al., arXiv 2104.02699): an encoder that corrects its own code in several steps.

Its input has 6 channels, the face and the decoder's picture of the last step's code; its output is added to that code.
The first step starts from the average latent and its picture. Each step but the last runs the decoder at its full size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.tensors import FACE_SIZE
from export.networks.encoder import Encoder, encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.weights import EncoderWeights


class Restyle(nn.Module):
    """An encoder with its decoder: aligned faces [N, 3, 256, 256] in -1..1 -> W+ codes [N, L, D]."""

    def __init__(self, encoder: Encoder, decoder: Generator, steps: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.steps = encoder, decoder, steps

    def forward(self, x: Tensor) -> Tensor:
        w = self.encoder.latent_avg[None]
        for _ in range(self.steps):
            picture = self.picture(w).expand(len(x), -1, -1, -1)
            w = self.encoder.codes(torch.cat([x, picture], 1)) + w
        return w

    def picture(self, w: Tensor) -> Tensor:  # [N, L, D] -> [N, 3, 256, 256]
        """Return the decoder's picture in the size of a face."""
        return face_sized(self.decoder.synthesise(w))


def face_sized(image: Tensor) -> Tensor:
    """Average an image [N, 3, R, R] to the size of a face, or repeat the pixels of a smaller one."""
    return functional.adaptive_avg_pool2d(image, FACE_SIZE)


def restyle_from_weights(weights: EncoderWeights) -> Restyle:
    """Build a ReStyle encoder, whose weights have a decoder."""
    assert weights.decoder is not None
    decoder = generator_from_weights(weights.decoder)
    network = Restyle(encoder_from_weights(weights), decoder, weights.steps)
    network.eval().requires_grad_(False)
    return network


def face_encoder_from_weights(weights: EncoderWeights) -> Encoder | Restyle:
    """Build the network face -> code: an encoder, with its decoder if it has one."""
    return restyle_from_weights(weights) if weights.decoder else encoder_from_weights(weights)
