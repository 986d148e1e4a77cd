"""Defaults of the optional controls, and refusal of controls that contradict each other or do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import Geometry, condition_signature
from serving.condition import filled_controls, z_from_seed

SIGNATURE = condition_signature(Geometry(32, 16, ("age", "smile"), 4))
WITHOUT_ISF = condition_signature(Geometry(32, 16, (), 0))
W = np.zeros((2, 8, 16), np.float32)
ATTRIBUTES = np.array([[0, 1], [1, 0.5]], np.float32)
STRENGTH = np.full((2, 8), 0.5, np.float32)
Z = np.ones((2, 4), np.float32)
SEED = np.array([[7], [8]])
PSI = np.array([[0.7], [1.2]], np.float32)


def filled(**controls: AnyArray) -> dict[str, AnyArray]:
    return filled_controls(SIGNATURE, {"w": W, **controls})


def test_the_outputs_are_those_of_the_signature() -> None:
    values = filled()
    for spec in SIGNATURE.outputs:
        assert values[spec.name].shape == (2, *spec.dims)
        assert values[spec.name].dtype == spec.dtype.numpy
    assert len(values) == len(SIGNATURE.outputs)


def test_without_attributes_the_isf_has_no_strength() -> None:
    assert not filled(seed=SEED)["row_strength_filled"].any()


def test_with_attributes_the_isf_has_full_strength() -> None:
    assert (filled(attributes=ATTRIBUTES)["row_strength_filled"] == 1).all()


def test_psi_defaults_to_no_truncation() -> None:
    assert (filled()["psi_filled"] == 1).all()


@pytest.mark.parametrize("given", [{"z": Z}, {"psi": PSI}, {"attributes": ATTRIBUTES, "row_strength": STRENGTH}])
def test_what_is_given_is_kept(given: dict[str, AnyArray]) -> None:
    values = filled(**given)
    for name, value in given.items():
        assert np.array_equal(values[f"{name}_filled"], value)


def test_each_row_has_the_noise_of_its_own_seed() -> None:
    z = filled(seed=SEED)["z_filled"]
    assert np.array_equal(z, [z_from_seed(7, 4), z_from_seed(8, 4)])
    assert not np.array_equal(z[0], z[1])


def test_the_default_seed_is_zero() -> None:
    assert np.array_equal(filled()["z_filled"], filled(seed=np.zeros((2, 1), np.int64))["z_filled"])


def test_a_seed_names_the_same_noise_everywhere() -> None:
    # If a version of NumPy draws other numbers, every seeded picture changes, which this test must notice. The printed
    # numbers have nine digits, which determine a float32.
    expected = np.array([1.11762202, -1.3871249, -0.426571608, -0.803587258], np.float32)
    assert np.array_equal(z_from_seed(0, 4), expected)


def test_without_an_isf_only_psi_is_left() -> None:
    assert filled_controls(WITHOUT_ISF, {"w": W, "psi": PSI}).keys() == {"psi_filled"}


def test_an_attribute_that_is_not_named_is_read_from_the_face() -> None:
    signature = condition_signature(Geometry(32, 16, ("age", "smile"), 4), face=True)
    faces = np.zeros((2, 256, 256, 3), np.uint8)
    faces[1] = 200
    given = {"w": W, "face": faces, "attributes": np.array([[np.nan, 0.3], [np.nan, np.nan]], np.float32)}
    values = filled_controls(signature, given, lambda face: face[:, 0, 0, :2] / np.float32(255))
    np.testing.assert_array_equal(values["attributes_filled"], np.array([[0, 0.3], [1, 1]], np.float32))


def test_a_classifier_runs_only_for_requests_that_keep_an_attribute() -> None:
    signature = condition_signature(Geometry(32, 16, ("age", "smile"), 4), face=True)
    given = {"w": W, "face": np.zeros((2, 256, 256, 3), np.uint8), "attributes": ATTRIBUTES}

    def classify(face: AnyArray) -> AnyArray:
        raise AssertionError("it ran")

    assert np.array_equal(filled_controls(signature, given, classify)["attributes_filled"], ATTRIBUTES)


def test_an_attribute_that_nothing_can_read_is_refused() -> None:
    with pytest.raises(RequestError, match=r"'attributes': got NaN, .* since no classifier reads them here"):
        filled(attributes=np.full((2, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("w", "z", "row_strength", "psi") for value in (np.nan, np.inf, -np.inf)]
    + [("attributes", np.inf), ("attributes", -np.inf)],
)
def test_numbers_that_are_not_finite_are_refused(name: str, value: float) -> None:
    given = {"w": W, "attributes": ATTRIBUTES, "z": Z, "row_strength": STRENGTH, "psi": PSI}
    given[name] = np.full_like(given[name], value)
    with pytest.raises(RequestError, match=f"tensor '{name}': got a value that is NaN or infinite"):
        filled_controls(SIGNATURE, given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"z": Z, "seed": SEED}, "got both 'z' and 'seed', expected one of them or neither"),
        ({"row_strength": STRENGTH}, "got 'row_strength' without 'attributes'"),
        ({"seed": -SEED}, "tensor 'seed': got -7, expected 0 or more"),
        ({"attributes": ATTRIBUTES[:, :1]}, r"tensor 'attributes': got float32 \[2, 1\], expected .*\[N,2\]"),
        ({"attributes": ATTRIBUTES[:1]}, r"tensor 'attributes': got float32 \[1, 2\], .*one N"),
        ({"psi": PSI.astype(np.float64)}, r"tensor 'psi': got float64 \[2, 1\]"),
        ({"style": PSI}, r"request: got the tensors \['style', 'w'\], expected \['w'\]"),
    ],
)
def test_controls_that_do_not_fit_are_refused(given: dict[str, AnyArray], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        filled(**given)


def test_an_isf_control_without_an_isf_is_refused() -> None:
    with pytest.raises(RequestError, match=r"got the tensors \['attributes', 'w'\]"):
        filled_controls(WITHOUT_ISF, {"w": W, "attributes": ATTRIBUTES})


def test_a_request_without_rows_is_refused() -> None:
    with pytest.raises(RequestError, match=r"tensor 'w': got float32 \[0, 8, 16\], .*at least 1"):
        filled_controls(SIGNATURE, {"w": W[:0]})
