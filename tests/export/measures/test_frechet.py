"""The Frechet distance against closed forms and the definition with a matrix root."""

from __future__ import annotations

import numpy as np
import pytest

from engines.contract.errors import RequestError
from export.measures.frechet import frechet_distance


def test_the_distance_of_normal_samples_is_that_of_their_means_and_deviations() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, (500, 1)), rng.normal(-2, 0.5, (800, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("count", [4, 60])
def test_the_distance_is_that_of_the_definition_also_with_fewer_pictures_than_features(count: int) -> None:
    rng = np.random.default_rng(count)
    mixing = rng.normal(size=(9, 9))
    a, b = rng.normal(size=(count, 9)), rng.normal(size=(count + 7, 9)) @ mixing + 1
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1])
    root = np.sqrt(np.maximum(eigenvalues.real, 0)).sum()
    traces = sum(np.trace(covariance) for covariance in covariances)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + traces - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself_and_one_picture_has_no_covariance() -> None:
    features = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)
    with pytest.raises(RequestError, match="FID: got 1 picture, expected two or more on each side"):
        frechet_distance(features, features[:1])
