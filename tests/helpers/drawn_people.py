"""Codes and pictures of drawn people, for tests of characters and of what is made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.demo_models.traits import INDEX


def with_traits(code: NDArray[np.float32], **values: float) -> NDArray[np.float32]:
    """The same person with some traits set."""
    changed = code.copy()
    for name, value in values.items():
        changed[INDEX[name]] = value
    return changed


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """The mean difference of two pictures' values."""
    return float(np.abs(a.astype(int) - b).mean())
