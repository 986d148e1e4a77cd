"""ReStyle (Alaluf et al., arXiv 2104.02699): an encoder that corrects a code in several steps.

Its input has 6 channels, the face and the decoder's picture of the last step's code; its output is added to that code.
The first step corrects the average latent or, in the paper's encoder bootstrapping, the code of another encoder, seen
in the picture of that encoder's own decoder. Decoders run at their full size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.tensors import FACE_SIZE
from export.networks.encoder import Encoder, encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.networks.trunk import TrunkNetwork, leave_idle_residuals_out
from export.weights import EncoderWeights, FirstStep


class FirstEncoder(nn.Module):
    """The encoder whose code is corrected, with its decoder."""

    def __init__(self, encoder: Encoder | Restyle, decoder: Generator) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


class Restyle(nn.Module):
    """An encoder with its decoder: aligned faces [N, 3, 256, 256] in -1..1 -> W+ codes [N, L, D]."""

    def __init__(self, encoder: Encoder, decoder: Generator, steps: int, first: FirstEncoder | None = None) -> None:
        super().__init__()
        self.encoder, self.decoder, self.steps, self.first = encoder, decoder, steps, first

    def forward(self, x: Tensor) -> Tensor:
        w, decoder = self.start(x)
        for _ in range(self.steps):
            picture = picture_of(decoder, w).expand(len(x), -1, -1, -1)
            w, decoder = self.encoder.codes(torch.cat([x, picture], 1)) + w, self.decoder
        return w

    def start(self, x: Tensor) -> tuple[Tensor, Generator]:
        """Return the code that is corrected, [N, L, D] or [1, L, D], and the decoder whose picture of it is shown."""
        if self.first is None:
            return self.encoder.latent_avg[None], self.decoder
        return self.first.encoder(x), self.first.decoder


def picture_of(decoder: Generator, w: Tensor) -> Tensor:  # [N, L, D] -> [N, 3, 256, 256]
    """Return a decoder's picture in the size of a face."""
    return face_sized(decoder.synthesise(w))


def face_sized(image: Tensor) -> Tensor:
    """Average an image [N, 3, R, R] to the size of a face, or repeat the pixels of a smaller one."""
    return functional.adaptive_avg_pool2d(image, FACE_SIZE)


def restyle_from_weights(weights: EncoderWeights) -> Restyle:
    """Build a ReStyle encoder, whose weights have a decoder."""
    assert weights.decoder is not None
    decoder = generator_from_weights(weights.decoder)
    first = _first_encoder(weights.first) if weights.first else None
    network = Restyle(encoder_from_weights(weights), decoder, weights.steps, first)
    for part in network.modules():
        if isinstance(part, TrunkNetwork):
            leave_idle_residuals_out(part)
    network.eval().requires_grad_(False)
    return network


def _first_encoder(first: FirstStep) -> FirstEncoder:
    return FirstEncoder(face_encoder_from_weights(first.encoder), generator_from_weights(first.decoder))


def face_encoder_from_weights(weights: EncoderWeights) -> Encoder | Restyle:
    """Build the network face -> code: an encoder, with its decoder if it has one."""
    return restyle_from_weights(weights) if weights.decoder else encoder_from_weights(weights)
