"""The accuracy of edits, mAcc: how often a classifier sees what was asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def edit_accuracy(
    probabilities: NDArray[np.float32], target: NDArray[np.float32], attribute: int
) -> tuple[float, float | None]:
    """Return the share of faces that show the target of the edited attribute, and that of kept other attributes.

    The paper's mAcc (Liu et al., section V) is the mean of the first over all attributes.

    Args:
        probabilities: what a classifier sees in the edited faces, [N, A].
        target: the target of every attribute, 0 or 1, [N, A].
        attribute: the index of the edited attribute; where it is the only one, None stands for the others.
    """
    hits = (probabilities > 0.5) == (target > 0.5)
    others = np.delete(hits, attribute, axis=1)
    return float(hits[:, attribute].mean()), float(others.mean()) if others.size else None
