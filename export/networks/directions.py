"""Linear directions in W+ as an editing head, such as InterFaceGAN's, GANSpace's and StyleCLIP's global ones.

Letters in shapes: N batch, L rows of W+, D width of w, A attributes.
"""

from __future__ import annotations

from torch import Tensor, nn


class Directions(nn.Module):
    """The map w -> w + sum of attributes times their directions [A, L, D], with a strength per row."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions, requires_grad=False)

    def forward(self, w: Tensor, attributes: Tensor, row_strength: Tensor) -> Tensor:
        """Compute the edited codes: [N, L, D], [N, A], [N, L] -> [N, L, D]."""
        offset = (attributes @ self.directions.flatten(1)).view_as(w)
        return w + row_strength[:, :, None] * offset
