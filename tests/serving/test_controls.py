from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.contract.errors import RequestError
from engines.contract.tensors import ISF_ATTRIBUTES, Geometry, toonify_signature
from serving.controls import Style, control_tensors, row_strength_for
from serving.live_blends import BlendChoices


@pytest.mark.parametrize(
    ("attributes", "rows"),
    [
        ("gender", {0, 1, 2, 3, 4, 5, 6, 7}),
        ("glasses", {2, 3}),
        ("age", {4, 5, 6, 7}),
        ("expression", {4, 5}),
        (["glasses", "expression"], {2, 3, 4, 5}),
    ],
)
def test_an_edit_is_confined_to_the_published_rows(attributes: str | list[str], rows: set[int]) -> None:
    strength = row_strength_for(attributes, 18)
    assert strength.dtype == np.float32
    np.testing.assert_array_equal(strength, [float(row in rows) for row in range(18)])


def test_rows_that_a_small_generator_lacks_are_left_out() -> None:
    np.testing.assert_array_equal(row_strength_for("age", 6), [0, 0, 0, 0, 1, 1])


def test_an_attribute_without_a_rule_is_refused() -> None:
    with pytest.raises(
        RequestError, match="attribute 'smile': got no published rule for its rows, expected one of gender, "
    ):
        row_strength_for("smile", 18)


def target(**controls: Any) -> NDArray[np.float32]:
    tensors = control_tensors(toonify_signature(Geometry(1024)), ISF_ATTRIBUTES, controls, 2, BlendChoices("toonify"))
    return tensors["attributes"]


def test_what_a_mapping_leaves_out_stays_as_it_is_in_the_face() -> None:
    np.testing.assert_array_equal(target(attributes={"age": 1, "gender": 0.5}), [[0.5, np.nan, 1, np.nan]] * 2)


def test_an_exact_mapping_is_the_full_target_and_what_it_leaves_out_is_zero() -> None:
    np.testing.assert_array_equal(target(attributes={"age": 1}, exact=True), [[0, 0, 1, 0]] * 2)


def test_what_the_faces_show_can_be_given_by_name_or_for_each_face() -> None:
    by_name = target(attributes={"age": 1}, keep={"gender": 1, "glasses": 0.2})
    np.testing.assert_array_equal(by_name, [[1, 0, 1, np.nan]] * 2)
    for_each = target(attributes={"age": 0}, keep=[[0.9, 0.1, 0.9, 0.4], [0, 1, 1, 1]])
    np.testing.assert_array_equal(for_each, [[1, 0, 0, 0], [0, 1, 0, 1]])


def test_an_unknown_attribute_that_is_kept_is_refused() -> None:
    with pytest.raises(RequestError, match="attribute 'beard': got no attribute of the model"):
        target(attributes={"age": 1}, keep={"beard": 1})


def test_controls_are_repeated_for_every_face_or_given_for_each() -> None:
    controls = {"seed": [1, 2, 3], "psi": 1, "z": None, "attributes": np.eye(4)[:3], "row_strength": np.ones(18)}
    tensors = control_tensors(toonify_signature(Geometry(1024)), ISF_ATTRIBUTES, controls, 3, BlendChoices("toonify"))
    assert {name: (value.dtype.name, value.shape) for name, value in tensors.items()} == {
        "seed": ("int64", (3, 1)),
        "psi": ("float32", (3, 1)),
        "attributes": ("float32", (3, 4)),
        "row_strength": ("float32", (3, 18)),
    }
    np.testing.assert_array_equal(tensors["seed"], [[1], [2], [3]])


def test_a_model_without_an_isf_head_takes_no_attributes() -> None:
    signature = toonify_signature(Geometry(256, attributes=(), noise_size=0))
    style = Style(attributes={"age": 1}, seed=3)  # the seed and the strength of each row belong to the attributes
    with pytest.raises(RequestError, match="control 'attributes': got a model that does not take it"):
        control_tensors(signature, (), {**style.controls(14)}, 1, BlendChoices("toonify"))
    with pytest.raises(
        RequestError, match="control 'attributes': got a model that does not take it, expected one of psi"
    ):
        control_tensors(signature, (), {"attributes": {"age": 1}}, 1, BlendChoices("toonify"))
