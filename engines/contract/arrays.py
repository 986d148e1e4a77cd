"""The array types in the package's interfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]

Picture = NDArray[np.uint8]
"""A face or a picture, [H, W, 3] RGB."""

Pictures = NDArray[np.uint8]
"""Faces or pictures, [N, H, W, 3] RGB."""

Codes = NDArray[np.float32]
"""Latent codes in W+, [N, rows, width]."""

Distances = NDArray[np.float32]
"""Distances of codes from the mean code, [N], where 1 is as far out as the codes of good faces lie."""
