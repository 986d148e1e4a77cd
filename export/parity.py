"""The error of an output against its expected value; needs only NumPy, for machines with few libraries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import AnyArray


@dataclass(frozen=True)
class Parity:
    """Largest and mean absolute error in the output's own unit, and PSNR in dB, infinite if the arrays are equal."""

    worst: float
    mean: float
    psnr: float


def parity(output: AnyArray, expected: AnyArray) -> Parity:
    """Compare two arrays of one shape; the PSNR's peak is 255 for uint8, else the range of ``expected``."""
    error = np.abs(output.astype(np.float64) - expected)
    # A NaN or an infinity in the output must not look like a small error.
    error[~np.isfinite(error)] = np.inf
    peak = 255.0 if output.dtype == np.uint8 else float(np.ptp(expected))
    square = float(np.mean(error**2))
    psnr = np.inf if square == 0 else float(10 * np.log10(peak**2 / square)) if np.isfinite(square) else -np.inf
    return Parity(float(error.max()), float(error.mean()), psnr)
