"""The Frechet distance of two sets of features; of Inception's it is the FID (Heusel et al., arXiv 1706.08500)."""

from __future__ import annotations

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError


def frechet_distance(a: AnyArray, b: AnyArray) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), with means m and covariances C of features [N, D].

    The eigenvalues of C_a C_b are the squared singular values of A B^T / sqrt((n_a - 1) (n_b - 1)), A and B being the
    centred features, or the triangular factors of their QR decompositions. No root of a matrix is taken, which would
    fail where there are fewer pictures than features.

    Raises:
        RequestError: a set has fewer than two rows, so that it has no covariance.
    """
    check_count(a)
    check_count(b)
    (mean_a, factor_a), (mean_b, factor_b) = _mean_and_factor(a), _mean_and_factor(b)
    traces = np.square(factor_a).sum() + np.square(factor_b).sum()
    root = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    return float(np.square(mean_a - mean_b).sum() + traces - 2 * root)


def check_count(features: AnyArray) -> None:
    """Raise RequestError if there are fewer than two rows of features."""
    if len(features) < 2:
        raise RequestError(
            "FID", got=f"{len(features)} picture", expected="two or more on each side", remedy="give more pictures"
        )


def _mean_and_factor(features: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return the mean, and a triangular matrix R with R^T R = covariance."""
    exact = features.astype(np.float64)
    mean = exact.mean(0)
    factor: AnyArray = np.linalg.qr((exact - mean) / np.sqrt(len(exact) - 1), mode="r")  # type: ignore[assignment]
    return mean, factor
